//! Pieces in a folder: one directory per presence.
//!
//! A piece is written beside its place, flushed, and renamed into it. What is erased is renamed out
//! of its place first. Whoever is to be alone with a presence holds a lock of the file system, which
//! ends with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_engine::ports::PortError;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::{Former, Found, Hold, Piece, Pieces, Wait};

/// Begins the name of what is on its way in.
const NEW: &str = ".new-";
/// Begins the name of a presence's directory on its way out.
const GONE: &str = ".gone-";
const LOCK: &str = ".lock";
/// How long a lock is waited for, and the pause between two looks.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

const FORMER_MANIFEST: &str = "manifest.json";
const FORMER_FILES: &str = "files";

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Of what the pieces are.
    what: &'static str,
}

/// What a revision of the former format holds, by path.
#[derive(Debug, Deserialize)]
struct FormerManifest {
    files: BTreeMap<String, FormerEntry>,
}

#[derive(Debug, Deserialize)]
struct FormerEntry {
    /// Name under `files`.
    body: String,
    media_type: String,
    gzip: bool,
    brotli: bool,
}

impl Folder {
    /// Uses the folder `root`, made where there is none; what a crash left half-erased is cleared away.
    pub(crate) fn open(root: &Path, what: &'static str) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for presence in fs::read_dir(root)? {
            let presence = presence?;
            if begins(&presence.file_name(), GONE) {
                unless_gone(fs::remove_dir_all(presence.path()))?;
            }
        }
        Ok(Self {
            root: root.to_owned(),
            what,
        })
    }

    fn directory(&self, presence: PresenceId) -> PathBuf {
        self.root.join(presence.to_string())
    }

    /// Does it off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| self.error(doing, error))
    }

    fn error(&self, doing: &str, error: io::Error) -> PortError {
        let (root, what) = (self.root.display(), self.what);
        let action = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                format!("{doing} {what}: the disk that holds `{root}` is full, free some space; it")
            }
            _ => format!("{doing} {what} under `{root}`"),
        };
        PortError::transient(action, error)
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

fn write(directory: &Path, piece: &Piece) -> io::Result<PathBuf> {
    let place = directory.join(&piece.name);
    let folder = place.parent().unwrap_or(directory).to_owned();
    fs::create_dir_all(&folder)?;
    let new = folder.join(format!("{NEW}{}", Uuid::new_v4()));
    let written = File::create(&new).and_then(|mut file| {
        // Held until it is in its place, so that it is told from what a crash has left.
        file.lock()?;
        file.write_all(&piece.octets)?;
        file.sync_all()?;
        fs::rename(&new, &place)
    });
    if written.is_err() {
        // Nothing half-made stays; what cannot be removed now is cleared away later.
        let _ = fs::remove_file(&new);
    }
    written.map(|()| folder)
}

fn put(root: &Path, directory: &Path, pieces: &[Piece]) -> io::Result<()> {
    let is_new = !directory.exists();
    let mut folders = BTreeSet::new();
    for piece in pieces {
        folders.insert(write(directory, piece)?);
    }
    for folder in &folders {
        File::open(folder)?.sync_all()?;
    }
    File::open(directory)?.sync_all()?;
    if is_new {
        File::open(root)?.sync_all()?;
    }
    Ok(())
}

fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let Some(entries) = unless_gone(fs::read_dir(folder))? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What is on its way in is not there yet.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if let Some(metadata) = unless_gone(entry.metadata())? {
            let written_at = Timestamp::try_from(metadata.modified()?);
            found.push(Found {
                name,
                bytes: metadata.len(),
                written_at: written_at.map_err(io::Error::other)?,
            });
        }
    }
    Ok(found)
}

/// Erases the directory of `presence`, and what an earlier attempt left of it.
fn erase(root: &Path, presence: PresenceId) -> io::Result<()> {
    let gone = format!("{GONE}{presence}-");
    let away = root.join(format!("{gone}{}", Uuid::new_v4()));
    unless_gone(fs::rename(root.join(presence.to_string()), away))?;
    // First of all it must not come back after a power cut.
    File::open(root)?.sync_all()?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if begins(&entry.file_name(), &gone) {
            // Another attempt may have been first.
            unless_gone(fs::remove_dir_all(entry.path()))?;
        }
    }
    File::open(root)?.sync_all()
}

fn formers(directory: &Path) -> io::Result<Vec<RevisionHash>> {
    let Some(entries) = unless_gone(fs::read_dir(directory))? else {
        return Ok(Vec::new());
    };
    let mut formers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        formers.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(formers)
}

fn former(place: &Path) -> io::Result<Option<Former>> {
    let path = place.join(FORMER_MANIFEST);
    let Some(json) = unless_gone(fs::read(&path))? else {
        return Ok(None);
    };
    let manifest: FormerManifest = serde_json::from_slice(&json)?;
    let built_at = fs::metadata(&path)?.modified()?;
    let mut tree = FileTree::default();
    for (path, entry) in manifest.files {
        let body = place.join(FORMER_FILES).join(&entry.body);
        let form = |there: bool, suffix: &str| {
            there
                .then(|| fs::read(body.with_extension(suffix)))
                .transpose()
        };
        let file = SiteFile {
            media_type: entry.media_type,
            gzip: form(entry.gzip, "gz")?,
            brotli: form(entry.brotli, "br")?,
            identity: fs::read(&body)?,
        };
        tree.insert(&path, file).map_err(io::Error::other)?;
    }
    let built_at = Timestamp::try_from(built_at).map_err(io::Error::other)?;
    Ok(Some(Former { tree, built_at }))
}

/// Clears half-written pieces away, of this format and of the former one.
fn clear(directory: &Path) -> io::Result<()> {
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let is_new = begins(&entry.file_name(), NEW);
            match (entry.file_type()?.is_dir(), is_new) {
                (true, true) => drop(unless_gone(fs::remove_dir_all(entry.path()))?),
                // Pieces lie in folders of one level.
                (true, false) if folder == directory => folders.push(entry.path()),
                (false, true) => clear_file(&entry.path())?,
                (_, false) => {}
            }
        }
    }
    Ok(())
}

/// Clears a half-written file away, unless a living process writes it.
fn clear_file(new: &Path) -> io::Result<()> {
    let Some(file) = unless_gone(File::open(new))? else {
        return Ok(());
    };
    match file.try_lock() {
        Ok(()) => unless_gone(fs::remove_file(new)).map(drop),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The lock file of a presence, held.
#[derive(Debug)]
struct Locked(#[expect(dead_code, reason = "the lock lasts as long as it is open")] File);

#[async_trait]
impl Hold for Locked {
    fn lasts(&self) -> bool {
        true
    }

    async fn let_go(self: Box<Self>) {}
}

#[async_trait]
impl Pieces for Folder {
    async fn put(&self, presence: PresenceId, pieces: Vec<Piece>) -> Result<(), PortError> {
        let (root, directory) = (self.root.clone(), self.directory(presence));
        let work = move || put(&root, &directory, &pieces);
        self.blocking("writing", work).await
    }

    async fn get(&self, presence: PresenceId, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let path = self.directory(presence).join(name);
        let work = move || unless_gone(fs::read(path));
        self.blocking("reading", work).await
    }

    async fn list(&self, presence: PresenceId, folder: &str) -> Result<Vec<Found>, PortError> {
        let folder = self.directory(presence).join(folder);
        let work = move || list(&folder);
        self.blocking("listing", work).await
    }

    async fn remove(&self, presence: PresenceId, names: Vec<String>) -> Result<(), PortError> {
        let directory = self.directory(presence);
        let work = move || {
            let mut folders = BTreeSet::new();
            for name in names {
                let place = directory.join(name);
                folders.extend(place.parent().map(Path::to_owned));
                unless_gone(fs::remove_file(place))?;
            }
            // What was erased must not come back after a power cut.
            for folder in folders {
                unless_gone(File::open(folder))?.map_or(Ok(()), |folder| folder.sync_all())?;
            }
            Ok(())
        };
        self.blocking("taking from", work).await
    }

    async fn erase(&self, presence: PresenceId, _: Option<&str>) -> Result<(), PortError> {
        let root = self.root.clone();
        let work = move || erase(&root, presence);
        self.blocking("erasing", work).await
    }

    async fn hold(
        &self,
        presence: PresenceId,
        wait: Wait,
    ) -> Result<Option<Box<dyn Hold>>, PortError> {
        let doing = "locking";
        let directory = self.directory(presence);
        let open = move || {
            fs::create_dir_all(&directory)?;
            File::create(directory.join(LOCK))
        };
        let file = self.blocking(doing, open).await?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Box::new(Locked(file)))),
                Err(TryLockError::Error(error)) => return Err(self.error(doing, error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if wait == Wait::No || began.elapsed() > LOCK_WAIT {
                return Ok(None);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn formers(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        let directory = self.directory(presence);
        let work = move || formers(&directory);
        self.blocking("listing", work).await
    }

    async fn former(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Former>, PortError> {
        let place = self.directory(presence).join(revision.as_str());
        let work = move || former(&place);
        self.blocking("reading", work).await
    }

    async fn remove_former(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<(), PortError> {
        let directory = self.directory(presence);
        let place = directory.join(revision.as_str());
        let work = move || {
            // Out of its place first, so that it is never there in part.
            let away = directory.join(format!("{NEW}{}", Uuid::new_v4()));
            if unless_gone(fs::rename(place, &away))?.is_some() {
                fs::remove_dir_all(away)?;
            }
            Ok(())
        };
        self.blocking("taking from", work).await
    }

    async fn clear(&self, presence: PresenceId) -> Result<(), PortError> {
        let directory = self.directory(presence);
        let work = move || clear(&directory);
        self.blocking("clearing half-written pieces away from", work)
            .await
    }
}
