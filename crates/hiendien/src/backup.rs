//! `hiendien backup`: a whole copy of all that is kept, taken while the service runs.
//!
//! Databases first, then the files they name, so that whatever a copied row names is in the copy.
//! A backup is written beside its place and renamed into it: it is there whole or not at all. It
//! deliberately knows no schedule, no retention and no other machine; a timer and rsync do.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use hiendien_engine::clock::{Clock as _, SystemClock};
use hiendien_store::Place;
use hiendien_store::backup::{
    copy_sqlite_to_new, faults_of_sqlite, published_revisions, schema_of_sqlite,
};
use serde_json::Value;

use crate::config::{Config, S3};
use crate::manifest::{
    self, CONFIG, DKIM, Entry, MAIL, Manifest, PICTURES, Pace, REVISIONS, SECRETS, STORE,
    STORED_MAIL, entries, flush, flush_tree, make_directory, name,
};
use crate::restore::refuse_unfinished;

/// Ends the name of a backup that is being written.
const PARTIAL: &str = ".partial";
/// How often a backup is begun anew when presences are erased while it is taken.
const ATTEMPTS: u32 = 5;
/// How often the stored mail is looked through for messages that moved while they were copied.
const MAIL_PASSES: u32 = 3;

/// Where to, or which.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Options {
    /// Directory that gets a new one, named by the time, with the backup in it
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Reads a backup from end to end and tells what is wrong with it
    #[arg(long, value_name = "BACKUP")]
    check: Option<PathBuf>,
}

/// Takes a backup or checks one. A check needs no configuration, and fails when it finds a fault.
pub(crate) async fn run(options: Options, config: PathBuf) -> anyhow::Result<ExitCode> {
    tokio::task::spawn_blocking(move || match (&options.to, &options.check) {
        (Some(to), _) => {
            back_up(&Config::read(&config)?, &config, to)?;
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(backup)) => check(backup),
        (None, None) => bail!("say `--to DIR` or `--check BACKUP`"),
    })
    .await?
}

fn check(backup: &Path) -> anyhow::Result<ExitCode> {
    let (manifest, faults) = examine(backup)?;
    for fault in &faults {
        println!("fault: {fault}");
    }
    if !faults.is_empty() {
        println!(
            "`{}` has {} faults: do not rely on it",
            backup.display(),
            faults.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "`{}` of {} is whole: {} files, {} bytes",
        backup.display(),
        manifest.made_at,
        manifest.files.len(),
        manifest.bytes()
    );
    Ok(ExitCode::SUCCESS)
}

/// Reads a whole backup: its manifest, and what is wrong with the rest.
pub(crate) fn examine(backup: &Path) -> anyhow::Result<(Manifest, Vec<String>)> {
    let manifest = Manifest::read(backup)?;
    let mut faults = manifest.faults(backup);
    for database in [STORE, MAIL] {
        if manifest.files.contains_key(database) {
            let found = faults_of_sqlite(&backup.join(database))
                .with_context(|| format!("cannot check `{database}`"))?;
            faults.extend(
                found
                    .into_iter()
                    .map(|fault| format!("`{database}`: {fault}")),
            );
        }
    }
    if manifest.schema.is_some() && faults.is_empty() {
        faults.extend(missing_revisions(backup, &manifest)?);
    }
    Ok((manifest, faults))
}

/// The revisions that the copied store publishes and the backup does not hold whole.
fn missing_revisions(backup: &Path, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    if manifest.revisions_elsewhere {
        return Ok(Vec::new());
    }
    let held: BTreeSet<&str> = manifest.under(REVISIONS).map(|(path, _)| path).collect();
    let published = published_revisions(&backup.join(STORE))
        .context("cannot read which revisions are published")?;
    let mut missing = Vec::new();
    for (presence, revision) in published {
        // As programs before this one kept them.
        if held.contains(format!("{presence}/{revision}/manifest.json").as_str()) {
            continue;
        }
        let place = format!("{presence}/revisions/{revision}.json");
        if !held.contains(place.as_str()) {
            missing.push(format!(
                "revision `{presence}/{revision}` is published and missing"
            ));
            continue;
        }
        let path = backup.join(REVISIONS).join(&place);
        let json = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let parts: Value = serde_json::from_slice(&json)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        let mut blobs = BTreeSet::new();
        named_blobs(&parts, &mut blobs);
        let lost = blobs
            .iter()
            .filter(|blob| !held.contains(format!("{presence}/blobs/{blob}").as_str()))
            .count();
        if lost > 0 {
            missing.push(format!(
                "revision `{presence}/{revision}` is published, and {lost} of its files are missing"
            ));
        }
    }
    Ok(missing)
}

/// The hashes that the manifest of a revision names.
fn named_blobs<'a>(json: &'a Value, blobs: &mut BTreeSet<&'a str>) {
    match json {
        Value::Object(members) => {
            blobs.extend(members.get("sha256").and_then(Value::as_str));
            for member in members.values() {
                named_blobs(member, blobs);
            }
        }
        Value::Array(items) => {
            for item in items {
                named_blobs(item, blobs);
            }
        }
        _ => {}
    }
}

fn back_up(config: &Config, config_path: &Path, to: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    if !config.state.is_dir() {
        bail!(
            "there is no state directory `{}`: has the service run?",
            config.state.display()
        );
    }
    refuse_unfinished(config)?;
    make_directory(to)?;
    let _turn = turn(to)?;
    // Nobody else writes here, so what is partial is left of a backup that did not end.
    for entry in entries(to)? {
        if name(&entry)?.ends_with(PARTIAL) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
        }
    }
    let previous = newest(to)?;
    let now = SystemClock.now();
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let (partial, place) = (to.join(format!("{stamp}{PARTIAL}")), to.join(&stamp));
    if place.exists() {
        bail!("`{}` is there already: wait a second", place.display());
    }
    let mut missing = Vec::new();
    for _ in 0..ATTEMPTS {
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .with_context(|| format!("cannot remove `{}`", partial.display()))?;
        }
        make_directory(&partial)?;
        let mut taken = Taken {
            root: partial.clone(),
            previous: previous.as_ref(),
            manifest: Manifest::new(None, now.to_string()),
            pace: Pace::default(),
            linked: 0,
            left_out: Vec::new(),
        };
        taken.take(config, config_path)?;
        // A presence that was released meanwhile takes its revisions along; the next copy of the
        // database does not name them.
        missing = match taken.manifest.schema {
            Some(_) => missing_revisions(&partial, &taken.manifest)?,
            None => Vec::new(),
        };
        if missing.is_empty() {
            taken.manifest.write(&partial)?;
            flush_tree(&partial)?;
            fs::rename(&partial, &place)
                .with_context(|| format!("cannot rename `{}`", partial.display()))?;
            flush(to)?;
            taken.tell(config, &place, began);
            return Ok(());
        }
    }
    bail!(
        "the folder of revisions and the store do not agree: {}",
        missing.join(", ")
    )
}

/// One backup at a time in a directory.
fn turn(to: &Path) -> anyhow::Result<File> {
    let path = to.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another `hiendien backup` writes to `{}`: let it end first",
            to.display()
        ),
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}

/// The newest backup that is whole, to share what never changes with.
fn newest(to: &Path) -> anyhow::Result<Option<(PathBuf, Manifest)>> {
    let mut places: Vec<PathBuf> = entries(to)?.iter().map(fs::DirEntry::path).collect();
    places.sort();
    let mut whole = places
        .into_iter()
        .rev()
        .filter(|place| place.is_dir())
        .filter_map(|place| {
            let manifest = Manifest::read(&place).ok()?;
            Some((place, manifest))
        });
    Ok(whole.next())
}

/// Whether a file was gone by the time it was to be copied.
fn is_gone(error: &anyhow::Error) -> bool {
    error
        .root_cause()
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether what a file is named by tells all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    Fixed,
    Changing,
}

/// A backup while it is taken.
struct Taken<'a> {
    root: PathBuf,
    previous: Option<&'a (PathBuf, Manifest)>,
    manifest: Manifest,
    pace: Pace,
    linked: usize,
    /// What is not in the backup, for people.
    left_out: Vec<String>,
}

impl Taken<'_> {
    fn take(&mut self, config: &Config, config_path: &Path) -> anyhow::Result<()> {
        match config.store_settings().place {
            Place::Sqlite(store) => {
                self.database(&store, STORE)?;
                let schema = schema_of_sqlite(&self.root.join(STORE))
                    .context("cannot read the schema of the copy")?;
                self.manifest.schema = Some(schema);
            }
            Place::Postgres(_) => self.left_out.push(
                "the database: PostgreSQL's own tools back it up, see `docs/operating.md`"
                    .to_owned(),
            ),
        }
        if config.mail.database.exists() {
            self.database(&config.mail.database, MAIL)?;
        } else {
            self.left_out.push(format!(
                "the mail servers' database: there is no `{}` yet",
                config.mail.database.display()
            ));
        }
        self.directory(&config.mail.dkim, DKIM)?;
        if config.revisions.s3.is_some() {
            self.manifest.revisions_elsewhere = true;
            self.left_out.push(
                "revisions and pictures: the bucket of `revisions.s3` has backups of its own"
                    .to_owned(),
            );
        } else {
            self.revisions(&config.state.join("revisions"))?;
            self.pictures(&config.state.join("pictures"))?;
        }
        self.directory(&config.state.join("secrets"), SECRETS)?;
        self.file(config_path, CONFIG, Contents::Changing)?;
        match &config.mail.store {
            Some(store) => self.stored_mail(store)?,
            None => self
                .left_out
                .push("the stored mail: `mail.store` is not set".to_owned()),
        }
        let secrets = config.state.join("secrets");
        let elsewhere = [
            Some(&config.mail.outside.password_file),
            config
                .store
                .as_ref()
                .and_then(|store| store.password_file.as_ref()),
            config
                .mail
                .sessions
                .as_ref()
                .map(|sessions| &sessions.key_file),
        ];
        let of_bucket = config.revisions.s3.as_ref().map(S3::secrets);
        let elsewhere = elsewhere.into_iter().flatten();
        for path in elsewhere.chain(of_bucket.into_iter().flatten()) {
            if !path.starts_with(&secrets) {
                self.left_out.push(format!(
                    "`{}`, which the configuration names",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    fn database(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        let copy = self.root.join(to);
        // Made by us, for our eyes, before SQLite writes into it.
        make_private(&copy)?;
        copy_sqlite_to_new(from, &copy)
            .with_context(|| format!("cannot copy `{}`", from.display()))?;
        let mode = mode_of(from)?;
        let (bytes, sha256) = manifest::hash(&copy, &mut self.pace)
            .with_context(|| format!("cannot read `{}`", copy.display()))?;
        self.note(to, bytes, sha256, mode);
        Ok(())
    }

    fn note(&mut self, path: &str, bytes: u64, sha256: String, mode: u32) {
        let mode = format!("{mode:04o}");
        let entry = Entry {
            bytes,
            sha256,
            mode,
        };
        self.manifest.files.insert(path.to_owned(), entry);
    }

    fn file(&mut self, from: &Path, to: &str, contents: Contents) -> anyhow::Result<()> {
        let mode = mode_of(from)?;
        let place = self.root.join(to);
        if contents == Contents::Fixed
            && let Some((bytes, sha256)) = self.link(from, to)?
        {
            self.linked += 1;
            self.note(to, bytes, sha256, mode);
            return Ok(());
        }
        let (bytes, sha256) = manifest::copy(from, &place, 0o600, &mut self.pace)
            .with_context(|| format!("cannot copy `{}`", from.display()))?;
        self.note(to, bytes, sha256, mode);
        Ok(())
    }

    /// Shares a file with the previous backup, if that has it and it is still as it was written.
    fn link(&mut self, from: &Path, to: &str) -> anyhow::Result<Option<(u64, String)>> {
        let Some((previous, manifest)) = self.previous else {
            return Ok(None);
        };
        let Some(entry) = manifest.files.get(to) else {
            return Ok(None);
        };
        let theirs = previous.join(to);
        let size = fs::metadata(from)
            .with_context(|| format!("cannot look at `{}`", from.display()))?
            .len();
        let same = size == entry.bytes
            && manifest::hash(&theirs, &mut self.pace)
                .is_ok_and(|(_, sha256)| sha256 == entry.sha256);
        // A file system without links is copied on.
        if same && fs::hard_link(&theirs, self.root.join(to)).is_ok() {
            return Ok(Some((entry.bytes, entry.sha256.clone())));
        }
        Ok(None)
    }

    /// Copies a directory that holds little; files on their way in, and gone ones, are passed over.
    fn directory(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        make_directory(&self.root.join(to))?;
        if !from.exists() {
            self.left_out
                .push(format!("`{}`, which is not there", from.display()));
            return Ok(());
        }
        for entry in entries(from)? {
            let name = name(&entry)?;
            let (path, inside) = (entry.path(), format!("{to}/{name}"));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.directory(&path, &inside)?;
            } else if kind.is_file() && !name.starts_with('.') {
                match self.file(&path, &inside, Contents::Changing) {
                    Err(error) if is_gone(&error) => {}
                    copied => copied?,
                }
            }
        }
        Ok(())
    }

    /// Copies the revisions. What is erased meanwhile is left out.
    fn revisions(&mut self, from: &Path) -> anyhow::Result<()> {
        make_directory(&self.root.join(REVISIONS))?;
        if !from.exists() {
            return Ok(());
        }
        for presence in entries(from)? {
            let presence_name = name(&presence)?;
            if presence_name.starts_with('.') {
                continue;
            }
            let place = format!("{REVISIONS}/{presence_name}");
            match self.revisions_of(&presence.path(), &place) {
                Err(error) if is_gone(&error) => {
                    let inside = format!("{place}/");
                    self.manifest
                        .files
                        .retain(|path, _| !path.starts_with(&inside));
                    fs::remove_dir_all(self.root.join(&place))?;
                }
                copied => copied?,
            }
        }
        Ok(())
    }

    /// What a presence's revisions are made of first, then what they name: that stays longer.
    fn revisions_of(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        make_directory(&self.root.join(to))?;
        let mut pieces = entries(from)?;
        pieces.sort_by_key(|piece| piece.file_name() == "blobs");
        for piece in pieces {
            let name = name(&piece)?;
            if name.starts_with('.') {
                continue;
            }
            let (path, inside) = (piece.path(), format!("{to}/{name}"));
            match name.as_str() {
                "blobs" => self.blobs(&path, &inside)?,
                "revisions" => self.directory(&path, &inside)?,
                _ if piece.file_type()?.is_dir() => self.fixed_tree(&path, &inside)?,
                _ => match self.file(&path, &inside, Contents::Changing) {
                    Err(error) if is_gone(&error) => {}
                    copied => copied?,
                },
            }
        }
        Ok(())
    }

    /// Files named by their hash; those on their way in, and gone ones, are passed over.
    fn blobs(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        make_directory(&self.root.join(to))?;
        for blob in entries(from)? {
            let name = name(&blob)?;
            if name.starts_with('.') {
                continue;
            }
            match self.file(&blob.path(), &format!("{to}/{name}"), Contents::Fixed) {
                Err(error) if is_gone(&error) => {}
                copied => copied?,
            }
        }
        Ok(())
    }

    /// Copies the images. One that is erased or done with meanwhile is left out.
    fn pictures(&mut self, from: &Path) -> anyhow::Result<()> {
        if !from.exists() {
            return Ok(());
        }
        for presence in entries(from)? {
            let presence_name = name(&presence)?;
            if presence_name.starts_with('.') {
                continue;
            }
            let files = match entries(&presence.path()) {
                Err(error) if is_gone(&error) => continue,
                files => files?,
            };
            for file in files {
                let name = name(&file)?;
                if name.starts_with('.') {
                    continue;
                }
                make_directory(&self.root.join(PICTURES).join(&presence_name))?;
                let place = format!("{PICTURES}/{presence_name}/{name}");
                match self.file(&file.path(), &place, Contents::Fixed) {
                    Err(error) if is_gone(&error) => {}
                    copied => copied?,
                }
            }
        }
        Ok(())
    }

    fn fixed_tree(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        make_directory(&self.root.join(to))?;
        for entry in entries(from)? {
            let inside = format!("{to}/{}", name(&entry)?);
            if entry.file_type()?.is_dir() {
                self.fixed_tree(&entry.path(), &inside)?;
            } else {
                self.file(&entry.path(), &inside, Contents::Fixed)?;
            }
        }
        Ok(())
    }

    /// Copies the stored mail as it lies there. Messages come and move meanwhile, so it looks again.
    fn stored_mail(&mut self, from: &Path) -> anyhow::Result<()> {
        for _ in 0..MAIL_PASSES {
            if self.mail_pass(from, STORED_MAIL)? == 0 {
                return Ok(());
            }
        }
        self.left_out.push(
            "some messages that were moved or deleted while they were to be copied".to_owned(),
        );
        Ok(())
    }

    /// Copies what is not copied yet, and counts what was gone by the time it was to be copied.
    fn mail_pass(&mut self, from: &Path, to: &str) -> anyhow::Result<usize> {
        make_directory(&self.root.join(to))?;
        let listed = match entries(from) {
            Err(error) if is_gone(&error) && to != STORED_MAIL => return Ok(1),
            listed => listed?,
        };
        let mut gone = 0;
        for entry in listed {
            let name = name(&entry)?;
            let inside = format!("{to}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                gone += self.mail_pass(&entry.path(), &inside)?;
            } else if kind.is_file() && !self.manifest.files.contains_key(&inside) {
                // Dovecot's indexes change in place, a message never does.
                let contents = if name.starts_with("dovecot") {
                    Contents::Changing
                } else {
                    Contents::Fixed
                };
                match self.file(&entry.path(), &inside, contents) {
                    Err(error) if is_gone(&error) => gone += 1,
                    copied => copied?,
                }
            }
        }
        Ok(gone)
    }

    fn tell(&self, config: &Config, place: &Path, began: Instant) {
        println!(
            "`{}`: {} files, {} bytes, {} of the files shared with the backup before; {:.1} s",
            place.display(),
            self.manifest.files.len(),
            self.manifest.bytes(),
            self.linked,
            began.elapsed().as_secs_f64()
        );
        let count = |directory| self.manifest.under(directory).count();
        if let Some(schema) = self.manifest.schema {
            println!("  in it: the store's database, schema {schema}");
        }
        if self.manifest.files.contains_key(MAIL) {
            println!("  in it: the mail servers' database");
        }
        println!("  in it: {} files of DKIM keys", count(DKIM));
        println!("  in it: {} files of revisions", count(REVISIONS));
        println!("  in it: {} files of images", count(PICTURES));
        println!(
            "  in it: {} secrets; whoever has the backup can read all of it",
            count(SECRETS)
        );
        println!("  in it: the configuration");
        if config.mail.store.is_some() {
            println!("  in it: {} files of stored mail", count(STORED_MAIL));
        }
        for left_out in &self.left_out {
            println!("  not in it: {left_out}");
        }
        println!("check it: `hiendien backup --check {}`", place.display());
    }
}

fn mode_of(path: &Path) -> anyhow::Result<u32> {
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
    Ok(metadata.mode() & 0o777)
}

fn make_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .with_context(|| format!("cannot make `{}`", path.display()))
}
