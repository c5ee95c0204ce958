//! What a backup says about itself: `manifest.json`, and the digest of that file beside it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hiendien_domain::site::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the layout that this module writes and reads.
const FORMAT: u32 = 1;
const NAME: &str = "manifest.json";
const DIGEST: &str = "manifest.json.sha256";
const CHUNK: usize = 256 * 1024;
/// After this much copied or read there is a pause, so that a disk that others use stays usable.
const PACE_BYTES: u64 = 4 * 1024 * 1024;
const PACE_PAUSE: Duration = Duration::from_millis(20);

/// Copy of the store's database, where it is embedded.
pub(crate) const STORE: &str = "store.db";
/// Copy of the mail servers' database.
pub(crate) const MAIL: &str = "mail.db";
pub(crate) const REVISIONS: &str = "revisions";
pub(crate) const PICTURES: &str = "pictures";
pub(crate) const SECRETS: &str = "secrets";
pub(crate) const DKIM: &str = "dkim";
pub(crate) const STORED_MAIL: &str = "mail";
pub(crate) const CONFIG: &str = "hiendien.toml";

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Version of the program that made it.
    pub(crate) program: String,
    /// Schema of the store's database; none where PostgreSQL keeps it.
    pub(crate) schema: Option<i64>,
    pub(crate) made_at: String,
    /// Whether revisions and pictures were in a bucket, which has backups of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) revisions_elsewhere: bool,
    /// By path inside the backup, parts joined by `/`.
    pub(crate) files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Permission bits of the original, octal. The copy has 0600.
    pub(crate) mode: String,
}

impl Entry {
    pub(crate) fn mode(&self) -> anyhow::Result<u32> {
        let mode = u32::from_str_radix(&self.mode, 8)
            .with_context(|| format!("`{}` is no mode", self.mode))?;
        ensure!(mode & !0o777 == 0, "`{}` is no mode", self.mode);
        Ok(mode)
    }
}

impl Manifest {
    pub(crate) fn new(schema: Option<i64>, made_at: String) -> Self {
        Self {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema,
            made_at,
            revisions_elsewhere: false,
            files: BTreeMap::new(),
        }
    }

    /// Reads the manifest of the backup in `directory`. Its paths stay inside the backup.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(NAME);
        let text = fs::read(&path).with_context(|| {
            format!(
                "`{}` is no whole backup: cannot read `{}`",
                directory.display(),
                path.display()
            )
        })?;
        let told = fs::read_to_string(directory.join(DIGEST))
            .with_context(|| format!("cannot read `{}`", directory.join(DIGEST).display()))?;
        ensure!(
            told == digest_line(&text),
            "`{}` is not as it was written",
            path.display()
        );
        let manifest: Self = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        ensure!(
            manifest.format == FORMAT,
            "`{}` has format {}, and this program reads {FORMAT}",
            path.display(),
            manifest.format
        );
        for (path, entry) in &manifest.files {
            let inside = Path::new(path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            ensure!(
                inside && !path.is_empty(),
                "`{path}` leads out of the backup"
            );
            entry.mode().with_context(|| format!("entry `{path}`"))?;
        }
        Ok(manifest)
    }

    /// Writes it into `directory`, on the disk.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        for (name, text) in [(NAME, &text[..]), (DIGEST, digest_line(&text).as_bytes())] {
            let path = directory.join(name);
            new_file(&path, 0o600)
                .and_then(|mut file| {
                    file.write_all(text)?;
                    file.sync_all()
                })
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Compares every file with what was noted of it, and tells each that differs.
    pub(crate) fn faults(&self, directory: &Path) -> Vec<String> {
        let mut pace = Pace::default();
        let mut faults = Vec::new();
        for (path, entry) in &self.files {
            match hash(&directory.join(path), &mut pace) {
                Err(error) => faults.push(format!("`{path}` cannot be read: {error}")),
                Ok((bytes, _)) if bytes != entry.bytes => faults.push(format!(
                    "`{path}` has {bytes} bytes instead of {}",
                    entry.bytes
                )),
                Ok((_, sha256)) if sha256 != entry.sha256 => {
                    faults.push(format!("`{path}` is not as it was written"));
                }
                Ok(_) => {}
            }
        }
        faults
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }

    /// The files under a directory of the backup, by their paths in it.
    pub(crate) fn under(&self, directory: &str) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().filter_map(move |(path, entry)| {
            let inside = path.strip_prefix(directory)?.strip_prefix('/')?;
            Some((inside, entry))
        })
    }
}

fn digest_line(text: &[u8]) -> String {
    format!("{}  {NAME}\n", hex(&Sha256::digest(text)))
}

/// Counts what is read and pauses now and then.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since_pause: u64,
}

impl Pace {
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause is the point, and this runs off the async threads"
    )]
    fn count(&mut self, bytes: usize) {
        self.since_pause += bytes as u64;
        if self.since_pause >= PACE_BYTES {
            self.since_pause = 0;
            thread::sleep(PACE_PAUSE);
        }
    }
}

/// Size and SHA-256 of a file.
pub(crate) fn hash(path: &Path, pace: &mut Pace) -> io::Result<(u64, String)> {
    pass(&mut File::open(path)?, None, pace)
}

fn pass(from: &mut File, mut to: Option<&mut File>, pace: &mut Pace) -> io::Result<(u64, String)> {
    let mut chunk = vec![0; CHUNK];
    let (mut bytes, mut digest) = (0, Sha256::new());
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex(&digest.finalize()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += read as u64;
        digest.update(&chunk[..read]);
        if let Some(to) = &mut to {
            to.write_all(&chunk[..read])?;
        }
        pace.count(read);
    }
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

/// Copies a file into a new one of this mode, on the disk when this returns.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    mode: u32,
    pace: &mut Pace,
) -> io::Result<(u64, String)> {
    let mut from = File::open(from)?;
    let mut copy = new_file(to, 0o600)?;
    let copied = pass(&mut from, Some(&mut copy), pace)?;
    // Whatever the process's umask is.
    copy.set_permissions(Permissions::from_mode(mode))?;
    copy.sync_all()?;
    Ok(copied)
}

/// Makes a directory and those above it, for its owner alone.
pub(crate) fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make `{}`", path.display()))
}

/// Puts the names in a directory, and in those under it, on the disk.
pub(crate) fn flush_tree(directory: &Path) -> anyhow::Result<()> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        directories.extend(subdirectories(&directory)?);
        flush(&directory)?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in entries(directory)? {
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

pub(crate) fn flush(directory: &Path) -> anyhow::Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot flush `{}`", directory.display()))
}

/// The entries of a directory.
pub(crate) fn entries(directory: &Path) -> anyhow::Result<Vec<fs::DirEntry>> {
    let cannot = || format!("cannot read the directory `{}`", directory.display());
    let entries = fs::read_dir(directory).with_context(cannot)?;
    entries.collect::<io::Result<_>>().with_context(cannot)
}

/// The name of an entry as text; ours all are.
pub(crate) fn name(entry: &fs::DirEntry) -> anyhow::Result<String> {
    match entry.file_name().into_string() {
        Ok(name) => Ok(name),
        Err(_) => bail!("the name of `{}` is not text", entry.path().display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Manifest {
        let mut manifest = Manifest::new(Some(2), "2026-11-25T00:00:00Z".to_owned());
        let entry = Entry {
            bytes: 3,
            sha256: hex(&Sha256::digest(b"abc")),
            mode: "0640".to_owned(),
        };
        manifest.files.insert(path.to_owned(), entry);
        manifest
    }

    #[test]
    fn tells_each_changed_file_and_a_changed_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        of("store.db").write(place).unwrap();
        let read = Manifest::read(place).unwrap();
        assert_eq!(read.faults(place).len(), 1, "it is missing");
        for (text, faults) in [("abc", 0), ("abx", 1), ("abcd", 1)] {
            fs::write(place.join("store.db"), text).unwrap();
            assert_eq!(read.faults(place).len(), faults, "{text}");
        }
        let path = place.join(NAME);
        let changed = fs::read_to_string(&path).unwrap().replace("0640", "0666");
        fs::write(&path, changed).unwrap();
        assert!(Manifest::read(place).is_err());
    }

    #[test]
    fn refuses_paths_that_lead_out() {
        for path in ["../seal.key", "/etc/passwd", "a/../../b", ""] {
            let directory = tempfile::tempdir().unwrap();
            of(path).write(directory.path()).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "{path}");
        }
    }
}
