//! `hiendien restore`: puts a backup in the place of what is kept.
//!
//! All is copied beside its place and compared with the manifest first, so that a bad backup or a
//! full disk changes nothing. What was there before is moved aside and never deleted. Between the
//! first move and the last there is a mark, and with it the service does not start.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use hiendien_engine::clock::{Clock as _, SystemClock};
use hiendien_store::Place;
use hiendien_store::backup::{
    copy_sqlite, copy_sqlite_to_new, has_rows, refuse_newer_schema, schema_of_sqlite,
};
use uuid::Uuid;

use crate::backup::examine;
use crate::config::Config;
use crate::manifest::{
    self, DKIM, MAIL, Manifest, PICTURES, Pace, REVISIONS, SECRETS, STORE, STORED_MAIL, entries,
    flush, flush_tree, make_directory,
};
use crate::serve::{Holder, lock};

/// Is in the state directory while it is half the former state and half the backup.
const MARK: &str = "restore-unfinished";
/// Begins the name of what gets the former files.
const ASIDE: &str = "before-restore-";
/// Begins the name of the directory in `state` that gets the copies.
const STAGE: &str = ".restore-";
/// What the service keeps under `state`: what a restore replaces and an empty state lacks.
const PIECES: [&str; 6] = [
    "store.db",
    "store.db-wal",
    "store.db-shm",
    REVISIONS,
    PICTURES,
    SECRETS,
];

/// What to restore, and over what.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The backup: a directory with a `manifest.json`
    #[arg(long, value_name = "BACKUP")]
    from: PathBuf,
    /// Move what is kept now aside
    #[arg(long)]
    replace: bool,
}

/// Restores a backup into the places that the configuration names.
pub(crate) async fn run(options: Options, config: Config) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || restore(&options, &config)).await?
}

/// Refuses a state directory that is partly the former one and partly a backup.
pub(crate) fn refuse_unfinished(config: &Config) -> anyhow::Result<()> {
    let mark = config.state.join(MARK);
    match fs::read_to_string(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        told => bail!(
            "a restore has not ended, so `{}` is not whole: run it again with `--replace`\n  {}",
            config.state.display(),
            told.unwrap_or_default().trim()
        ),
    }
}

fn restore(options: &Options, config: &Config) -> anyhow::Result<()> {
    let from = &options.from;
    let (manifest, faults) = examine(from)?;
    ensure!(
        faults.is_empty(),
        "`{}` is not whole, nothing was changed: {}",
        from.display(),
        faults.join("; ")
    );
    let embedded = matches!(config.store_settings().place, Place::Sqlite(_));
    match (embedded, manifest.schema) {
        (true, None) => bail!(
            "`{}` holds no database, its store was on PostgreSQL: configure `[store]`",
            from.display()
        ),
        (false, Some(_)) => bail!(
            "`{}` holds an embedded store, and the configuration names PostgreSQL: leave `[store]` out",
            from.display()
        ),
        (true, Some(_)) => {
            let store = from.join(STORE);
            refuse_newer_schema(&store, schema_of_sqlite(&store)?)?;
        }
        (false, None) => {}
    }
    make_directory(&config.state)?;
    let _lock = lock(config, Holder::Restore)?;
    let former = former(config)?;
    if !former.is_empty() && !options.replace {
        bail!(
            "there is something in the place already, nothing was changed: {}\n  \
             `--replace` moves it aside",
            former.join(", ")
        );
    }
    clear_stages(&config.state)?;
    let stage = config.state.join(format!("{STAGE}{}", Uuid::new_v4()));
    let staged =
        make_directory(&stage).and_then(|()| stage_pieces(from, &manifest, &stage, &config.state));
    if staged.is_err() {
        // What cannot be removed now is removed by the next restore.
        let _ = fs::remove_dir_all(&stage);
    }
    staged?;

    let stamp = SystemClock.now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mark = config.state.join(MARK);
    fs::write(&mark, format!("`{}` was being restored\n", from.display()))
        .and_then(|()| File::open(&mark)?.sync_all())
        .with_context(|| format!("cannot write `{}`", mark.display()))?;
    flush(&config.state)?;
    let mut aside = Vec::new();
    move_aside(
        &config.state,
        &PIECES.map(str::to_owned),
        &stamp,
        &mut aside,
    )?;
    for piece in [REVISIONS, PICTURES, SECRETS, STORE] {
        let (staged, place) = (stage.join(piece), config.state.join(piece));
        if staged.exists() {
            fs::rename(&staged, &place)
                .with_context(|| format!("cannot rename `{}`", staged.display()))?;
        }
    }
    if manifest.files.contains_key(MAIL) {
        restore_mail_database(from, config, &manifest, &stamp, &mut aside)?;
    }
    restore_directory(from, DKIM, &config.mail.dkim, &manifest, &stamp, &mut aside)?;
    let has_mail = manifest.under(STORED_MAIL).next().is_some();
    if let (Some(store), true) = (&config.mail.store, has_mail) {
        restore_directory(from, STORED_MAIL, store, &manifest, &stamp, &mut aside)?;
    }
    flush(&config.state)?;
    fs::remove_dir_all(&stage).with_context(|| format!("cannot remove `{}`", stage.display()))?;
    fs::remove_file(&mark).with_context(|| format!("cannot remove `{}`", mark.display()))?;
    flush(&config.state)?;

    println!(
        "`{}` of {} is restored into `{}`",
        from.display(),
        manifest.made_at,
        config.state.display()
    );
    for place in aside {
        println!("  what was there before is in `{}`", place.display());
    }
    if has_mail && config.mail.store.is_none() {
        println!("  the stored mail was left in the backup: `mail.store` is not set");
    }
    if !embedded {
        println!("  the database is not of this backup: PostgreSQL restores it");
    }
    println!("next:");
    println!("  restart the mail servers, so that they open the files that are there now");
    println!("  start the service: operations that were under way go on by themselves");
    println!("  `hiendien doctor NAME` for a few names asks from outside whether all is well");
    Ok(())
}

/// What of ours is in the places that a restore would fill, for people.
fn former(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut former = Vec::new();
    for piece in PIECES.iter().chain([&MARK]) {
        let place = config.state.join(piece);
        let there = place.is_file() || (place.is_dir() && !entries(&place)?.is_empty());
        if there {
            former.push(format!("`{}`", place.display()));
        }
    }
    if has_rows(&config.mail.database)
        .with_context(|| format!("cannot read `{}`", config.mail.database.display()))?
    {
        former.push(format!("`{}`", config.mail.database.display()));
    }
    Ok(former)
}

fn clear_stages(state: &Path) -> anyhow::Result<()> {
    for entry in entries(state)? {
        if entry.file_name().to_string_lossy().starts_with(STAGE) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Copies the pieces of the state directory beside their places, owned as that is.
fn stage_pieces(
    from: &Path,
    manifest: &Manifest,
    stage: &Path,
    state: &Path,
) -> anyhow::Result<()> {
    let mut pace = Pace::default();
    make_directory(&stage.join(REVISIONS))?;
    make_directory(&stage.join(SECRETS))?;
    for (path, entry) in &manifest.files {
        let ours = path == STORE
            || path.starts_with(&format!("{REVISIONS}/"))
            || path.starts_with(&format!("{PICTURES}/"))
            || path.starts_with(&format!("{SECRETS}/"));
        if ours {
            copy_verified(from, path, entry, &stage.join(path), &mut pace)?;
        }
    }
    give_to_owner_of(state, stage)?;
    flush_tree(stage)
}

/// Copies one file of the backup into a new one, with its former mode.
fn copy_verified(
    from: &Path,
    path: &str,
    entry: &manifest::Entry,
    to: &Path,
    pace: &mut Pace,
) -> anyhow::Result<()> {
    if let Some(directory) = to.parent() {
        make_directory(directory)?;
    }
    let (_, sha256) = manifest::copy(&from.join(path), to, entry.mode()?, pace)
        .with_context(|| format!("cannot copy `{path}` to `{}`", to.display()))?;
    ensure!(
        sha256 == entry.sha256,
        "`{path}` of the backup changed while it was read"
    );
    Ok(())
}

/// Gives a tree to the owner and the group of a directory, where it is another's.
fn give_to_owner_of(directory: &Path, tree: &Path) -> anyhow::Result<()> {
    let looked = || format!("cannot look at `{}`", directory.display());
    let owner = fs::metadata(directory).with_context(looked)?;
    let mut places = vec![tree.to_owned()];
    while let Some(place) = places.pop() {
        let own = fs::symlink_metadata(&place)
            .with_context(|| format!("cannot look at `{}`", place.display()))?;
        if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
            let uid = (own.uid() != owner.uid()).then_some(owner.uid());
            chown(&place, uid, Some(owner.gid())).with_context(|| {
                format!(
                    "cannot give `{}` to the owner of `{}`: run this as root or as that user",
                    place.display(),
                    directory.display()
                )
            })?;
        }
        if own.is_dir() {
            places.extend(entries(&place)?.iter().map(fs::DirEntry::path));
        }
    }
    Ok(())
}

/// A new directory beside `place` for what was in it, or in it where beside is another disk or
/// another's directory: what is moved must not be copied.
fn aside_directory(place: &Path, stamp: &str) -> anyhow::Result<PathBuf> {
    let suffix = format!("{ASIDE}{stamp}");
    let inside = place.join(&suffix);
    if let (Some(parent), Some(name)) = (place.parent(), place.file_name()) {
        let beside = parent.join(format!("{}.{suffix}", name.to_string_lossy()));
        if fs::metadata(parent)?.dev() == fs::metadata(place)?.dev()
            && make_directory(&beside).is_ok()
        {
            return Ok(beside);
        }
    }
    make_directory(&inside)?;
    Ok(inside)
}

/// Moves those of the paths in `place` that are there out of it.
fn move_aside(
    place: &Path,
    names: &[String],
    stamp: &str,
    moved: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let there: Vec<&String> = names
        .iter()
        .filter(|name| place.join(name).exists())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let aside = aside_directory(place, stamp)?;
    for name in there {
        let (from, to) = (place.join(name), aside.join(name));
        if let Some(directory) = to.parent() {
            make_directory(directory)?;
        }
        fs::rename(&from, &to)
            .with_context(|| format!("cannot move `{}` to `{}`", from.display(), to.display()))?;
    }
    flush_tree(&aside)?;
    flush(place)?;
    moved.push(aside);
    Ok(())
}

/// Fills the mail servers' database in its place, so that it keeps the group they read it by and
/// those that have it open see what is in it now.
fn restore_mail_database(
    from: &Path,
    config: &Config,
    manifest: &Manifest,
    stamp: &str,
    aside: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let (copy, place) = (from.join(MAIL), &config.mail.database);
    let directory = place.parent().unwrap_or(Path::new("/"));
    if !directory.exists() {
        make_directory(directory)?;
    }
    if place.exists() {
        if has_rows(place)? {
            let mut former = place.clone().into_os_string();
            former.push(format!(".{ASIDE}{stamp}"));
            let former = PathBuf::from(former);
            copy_sqlite_to_new(place, &former)
                .with_context(|| format!("cannot copy `{}` aside", place.display()))?;
            // It holds hashes of passwords.
            fs::set_permissions(&former, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            aside.push(former);
        }
    } else if let Some(entry) = manifest.files.get(MAIL) {
        manifest::copy(&copy, place, entry.mode()?, &mut Pace::default())
            .with_context(|| format!("cannot make `{}`", place.display()))?;
        give_to_owner_of(directory, place)?;
    }
    // The backup's directory may be one that cannot be written to, and SQLite wants to.
    let stage = config.state.join(format!("{STAGE}{}", Uuid::new_v4()));
    make_directory(&stage)?;
    let source = stage.join(MAIL);
    manifest::copy(&copy, &source, 0o600, &mut Pace::default())
        .with_context(|| format!("cannot copy `{}`", copy.display()))?;
    let filled =
        copy_sqlite(&source, place).with_context(|| format!("cannot fill `{}`", place.display()));
    fs::remove_dir_all(&stage).with_context(|| format!("cannot remove `{}`", stage.display()))?;
    filled
}

/// Puts the files of a directory of the backup in their places, owned as that directory is. The
/// files that were there are moved aside; the directories stay, since others look into them by their
/// owner, group and mode.
fn restore_directory(
    from: &Path,
    directory: &str,
    place: &Path,
    manifest: &Manifest,
    stamp: &str,
    aside: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    make_directory(place)?;
    move_aside(place, &files_under(place)?, stamp, aside)?;
    let mut pace = Pace::default();
    for (path, entry) in manifest.under(directory) {
        let to = place.join(path);
        make_like(place, to.parent().unwrap_or(place))?;
        copy_verified(from, &format!("{directory}/{path}"), entry, &to, &mut pace)?;
        give_to_owner_of(place, &to)?;
    }
    flush_tree(place)
}

/// The files under a directory by their paths in it, without what was moved aside before.
fn files_under(place: &Path) -> anyhow::Result<Vec<String>> {
    let (mut files, mut directories) = (Vec::new(), vec![String::new()]);
    while let Some(directory) = directories.pop() {
        for entry in entries(&place.join(&directory))? {
            let name = manifest::name(&entry)?;
            if directory.is_empty() && name.starts_with(ASIDE) {
                continue;
            }
            let path = format!("{directory}{name}");
            if entry.file_type()?.is_dir() {
                directories.push(format!("{path}/"));
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Makes `directory`, and those above it, with the owner, group and mode of `place`, which it is in.
fn make_like(place: &Path, directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make_like(place, parent)?;
    }
    make_directory(directory)?;
    give_to_owner_of(place, directory)?;
    let mode = fs::metadata(place)
        .with_context(|| format!("cannot look at `{}`", place.display()))?
        .permissions();
    fs::set_permissions(directory, mode)
        .with_context(|| format!("cannot set the mode of `{}`", directory.display()))
}
