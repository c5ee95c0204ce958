//! Revisions in a folder: one directory per presence, one in it per revision, named by its hash.
//!
//! A revision is written beside its place, flushed, and renamed into it: it is there whole or not
//! at all. It never changes afterwards. What is erased is renamed out of its place first, so that
//! the same holds on its way out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_engine::ports::{PortError, SiteStore};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const MANIFEST: &str = "manifest.json";
const FILES: &str = "files";
/// Begins the name of a revision on its way in.
const NEW: &str = ".new-";
/// Begins the name of a presence's directory on its way out.
const GONE: &str = ".gone-";

/// The [`SiteStore`] port over a folder.
#[derive(Debug, Clone)]
pub struct FolderRevisions {
    root: PathBuf,
}

/// What a revision holds, by path.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Name under `files`.
    body: String,
    media_type: String,
    gzip: bool,
    brotli: bool,
}

impl FolderRevisions {
    /// Uses the folder `root`, made where there is none; what a crash left half-written or
    /// half-erased is cleared away.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for presence in fs::read_dir(root)? {
            let presence = presence?;
            if begins(&presence.file_name(), GONE) {
                unless_gone(fs::remove_dir_all(presence.path()))?;
                continue;
            }
            let Some(entries) = unless_gone(fs::read_dir(presence.path()))? else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                if begins(&entry.file_name(), NEW) {
                    clear(&entry.path())?;
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    fn directory(&self, presence: PresenceId) -> PathBuf {
        self.root.join(presence.to_string())
    }

    fn error(&self, action: &str, error: io::Error) -> PortError {
        let root = self.root.display();
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                format!("{action}: the disk that holds `{root}` is full, free some space; it")
            }
            _ => format!("{action} under `{root}`"),
        };
        PortError::transient(hint, error)
    }
}

fn begins(name: &OsStr, with: &str) -> bool {
    name.to_string_lossy().starts_with(with)
}

/// `None` where it is not there any more: other processes work on the same folder.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Clears a half-written revision away, unless a process that lives is about to write it.
fn clear(new: &Path) -> io::Result<()> {
    let Some(directory) = unless_gone(File::open(new))? else {
        return Ok(());
    };
    match directory.try_lock() {
        Ok(()) => unless_gone(fs::remove_dir_all(new)).map(drop),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(octets)?;
    file.sync_all()
}

fn write_tree(directory: &Path, tree: &FileTree) -> io::Result<()> {
    let files = directory.join(FILES);
    fs::create_dir_all(&files)?;
    let mut manifest = Manifest {
        files: BTreeMap::new(),
    };
    for (number, (path, file)) in tree.iter().enumerate() {
        let body = number.to_string();
        write(&files.join(&body), &file.identity)?;
        for (suffix, form) in [("gz", &file.gzip), ("br", &file.brotli)] {
            if let Some(form) = form {
                write(&files.join(format!("{body}.{suffix}")), form)?;
            }
        }
        let entry = Entry {
            body,
            media_type: file.media_type.clone(),
            gzip: file.gzip.is_some(),
            brotli: file.brotli.is_some(),
        };
        manifest.files.insert(path.to_owned(), entry);
    }
    write(&directory.join(MANIFEST), &serde_json::to_vec(&manifest)?)?;
    File::open(&files)?.sync_all()?;
    File::open(directory)?.sync_all()
}

fn put(directory: &Path, tree: &FileTree, revision: &RevisionHash) -> io::Result<()> {
    let place = directory.join(revision.as_str());
    if place.join(MANIFEST).exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let new = directory.join(format!("{NEW}{}", Uuid::new_v4()));
    fs::create_dir(&new)?;
    // Held while it is written, so that a process that starts knows it from what a crash has left.
    let held = File::open(&new)?;
    held.lock()?;
    let written = write_tree(&new, tree).and_then(|()| match fs::rename(&new, &place) {
        // Another attempt was first; both hold the same.
        Err(_) if place.join(MANIFEST).exists() => fs::remove_dir_all(&new),
        renamed => renamed,
    });
    if written.is_err() {
        // Nothing half-made stays; what cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&new);
    }
    written?;
    drop(held);
    File::open(directory)?.sync_all()
}

fn read(place: &Path, path: &str) -> io::Result<Option<SiteFile>> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(place.join(MANIFEST))?)?;
    let Some(entry) = manifest.files.get(path) else {
        return Ok(None);
    };
    let body = place.join(FILES).join(&entry.body);
    let form = |there: bool, suffix: &str| {
        there
            .then(|| fs::read(body.with_extension(suffix)))
            .transpose()
    };
    Ok(Some(SiteFile {
        media_type: entry.media_type.clone(),
        gzip: form(entry.gzip, "gz")?,
        brotli: form(entry.brotli, "br")?,
        identity: fs::read(&body)?,
    }))
}

fn list(directory: &Path) -> io::Result<Vec<RevisionHash>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut revisions = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // One on its way in has a name that is no hash.
        revisions.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(revisions)
}

/// Erases the directory of `presence`, and what an earlier attempt left of it.
fn erase(root: &Path, presence: PresenceId) -> io::Result<()> {
    let gone = format!("{GONE}{presence}-");
    let away = root.join(format!("{gone}{}", Uuid::new_v4()));
    match fs::rename(root.join(presence.to_string()), away) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed?,
    }
    // First of all it must not come back after a power cut.
    File::open(root)?.sync_all()?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if begins(&entry.file_name(), &gone) {
            match fs::remove_dir_all(entry.path()) {
                // Another attempt was first.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    File::open(root)?.sync_all()
}

#[async_trait]
impl SiteStore for FolderRevisions {
    async fn put_revision(
        &self,
        presence: PresenceId,
        tree: &FileTree,
    ) -> Result<RevisionHash, PortError> {
        let (directory, tree) = (self.directory(presence), tree.clone());
        let task = tokio::task::spawn_blocking(move || {
            let revision = tree.revision();
            put(&directory, &tree, &revision).map(|()| revision)
        });
        let put = task
            .await
            .map_err(|error| PortError::transient("writing a revision", error))?;
        put.map_err(|error| self.error("writing a revision", error))
    }

    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        let directory = self.directory(presence);
        let action = "listing the revisions";
        let list = tokio::task::spawn_blocking(move || list(&directory)).await;
        let list = list.map_err(|error| PortError::transient(action, error))?;
        list.map_err(|error| self.error(action, error))
    }

    async fn remove_revisions(&self, presence: PresenceId) -> Result<(), PortError> {
        let root = self.root.clone();
        let action = "erasing the revisions";
        let erased = tokio::task::spawn_blocking(move || erase(&root, presence)).await;
        let erased = erased.map_err(|error| PortError::transient(action, error))?;
        erased.map_err(|error| self.error(action, error))
    }

    async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError> {
        let (place, path) = (
            self.directory(presence).join(revision.as_str()),
            path.to_owned(),
        );
        let task = tokio::task::spawn_blocking(move || read(&place, &path));
        let read = task
            .await
            .map_err(|error| PortError::transient("reading a revision", error))?;
        read.map_err(|error| self.error("reading a revision", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_revision_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let store = FolderRevisions::open(root.path()).unwrap();
        let presence = PresenceId::new();
        let mut tree = FileTree::default();
        let file = |text: &str| SiteFile {
            media_type: "text/html; charset=utf-8".to_owned(),
            identity: text.as_bytes().to_vec(),
            gzip: None,
            brotli: Some(vec![1]),
        };
        tree.insert("index.html", file("a")).unwrap();
        tree.insert("x/index.html", file("b")).unwrap();
        let revision = store.put_revision(presence, &tree).await.unwrap();
        assert_eq!(store.put_revision(presence, &tree).await.unwrap(), revision);
        assert_eq!(
            store
                .file(presence, &revision, "x/index.html")
                .await
                .unwrap(),
            Some(file("b"))
        );
        assert_eq!(
            store
                .file(presence, &revision, "../manifest.json")
                .await
                .unwrap(),
            None
        );
        assert!(
            store
                .file(PresenceId::new(), &revision, "index.html")
                .await
                .is_err()
        );

        let left = root.path().join(presence.to_string()).join(".new-left");
        fs::create_dir(&left).unwrap();
        FolderRevisions::open(root.path()).unwrap();
        assert!(!left.exists());
    }

    fn tree(text: &str) -> FileTree {
        let mut tree = FileTree::default();
        let file = SiteFile {
            media_type: "text/html; charset=utf-8".to_owned(),
            identity: text.as_bytes().to_vec(),
            gzip: None,
            brotli: None,
        };
        tree.insert("index.html", file).unwrap();
        tree
    }

    #[tokio::test]
    async fn what_is_erased_is_gone_and_nobody_else_loses_anything() {
        let root = tempfile::tempdir().unwrap();
        let store = FolderRevisions::open(root.path()).unwrap();
        let (leaving, staying) = (PresenceId::new(), PresenceId::new());
        assert_eq!(store.revisions(leaving).await.unwrap(), []);
        let mut kept = Vec::new();
        for text in ["a", "b"] {
            kept.push(store.put_revision(leaving, &tree(text)).await.unwrap());
        }
        let other = store.put_revision(staying, &tree("a")).await.unwrap();
        // One on its way in is not listed.
        let half = root.path().join(leaving.to_string()).join(".new-half");
        fs::create_dir(&half).unwrap();
        let mut listed = store.revisions(leaving).await.unwrap();
        listed.sort();
        kept.sort();
        assert_eq!(listed, kept);

        for _ in 0..2 {
            store.remove_revisions(leaving).await.unwrap();
            assert_eq!(store.revisions(leaving).await.unwrap(), []);
            let file = store.file(leaving, &kept[0], "index.html").await;
            assert!(file.is_err(), "{file:?}");
        }
        let names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [OsStr::new(&staying.to_string())]);
        assert_eq!(store.revisions(staying).await.unwrap(), [other]);
        // Its name may be used again.
        store.put_revision(leaving, &tree("a")).await.unwrap();
        assert_eq!(store.revisions(leaving).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_was_half_erased_is_never_served_and_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let store = FolderRevisions::open(root.path()).unwrap();
        let presence = PresenceId::new();
        let revision = store.put_revision(presence, &tree("a")).await.unwrap();
        let left = root.path().join(format!("{GONE}{presence}-left"));
        // As after a crash right behind the renaming.
        fs::rename(root.path().join(presence.to_string()), &left).unwrap();
        assert_eq!(store.revisions(presence).await.unwrap(), []);
        assert!(store.file(presence, &revision, "index.html").await.is_err());
        store.remove_revisions(presence).await.unwrap();
        assert!(!left.exists(), "the next attempt clears it away");

        fs::create_dir(&left).unwrap();
        FolderRevisions::open(root.path()).unwrap();
        assert!(!left.exists(), "the next start clears it away");
    }
}
