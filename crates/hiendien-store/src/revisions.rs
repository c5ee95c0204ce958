//! Revisions in a folder: one directory per presence, one in it per revision, named by its hash.
//!
//! A revision is written beside its place, flushed, and renamed into it: it is there whole or not
//! at all. It never changes afterwards.

use std::collections::BTreeMap;
use std::fs::{self, File};
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
    /// Uses the folder `root`, made where there is none; what a crash left half-written is cleared away.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for presence in fs::read_dir(root)? {
            for entry in fs::read_dir(presence?.path())? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(".new-") {
                    fs::remove_dir_all(entry.path())?;
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
    let new = directory.join(format!(".new-{}", Uuid::new_v4()));
    fs::create_dir(&new)?;
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
}
