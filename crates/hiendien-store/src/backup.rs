//! Whole copies of SQLite files that others are writing to, for backups; and what such a copy holds.
//!
//! PostgreSQL has tools of its own for this. Nothing here knows what else belongs to a backup.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::StoreError;
use crate::migrations::SCHEMA_VERSION;

/// Pages copied at a time, and the pause before the next: a disk that others use stays usable.
const STEP_PAGES: i32 = 256;
const STEP_PAUSE: Duration = Duration::from_millis(5);
/// How long a copy waits for a lock that another process holds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Copies the database `from` as it is at one moment over all that is in `to`, which is made where
/// there is none. Others may read and write `from` meanwhile, and read `to`: they see what was there
/// before or all of the copy. `to` keeps its owner, its mode and its kind of journal.
pub fn copy_sqlite(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    source.busy_timeout(LOCK_WAIT)?;
    source.pragma_update(None, "query_only", true)?;
    // Without a snapshot that is held throughout, each commit of another would begin the copy anew.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut copy = Connection::open(to)?;
    copy.busy_timeout(LOCK_WAIT)?;
    let backup = Backup::new(&source, &mut copy)?;
    let mut moved_at = Instant::now();
    loop {
        match backup.step(STEP_PAGES)? {
            StepResult::Done => break,
            StepResult::More => moved_at = Instant::now(),
            // Busy, or locked by another in this process.
            _ if moved_at.elapsed() > LOCK_WAIT => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None).into());
            }
            _ => {}
        }
        pause();
    }
    Ok(())
}

/// Copies the database `from` as [`copy_sqlite`] does into the new file `to`, which is then one file
/// without a journal beside it, on the disk.
pub fn copy_sqlite_to_new(from: &Path, to: &Path) -> Result<(), StoreError> {
    copy_sqlite(from, to)?;
    let copy = Connection::open(to)?;
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|source| StoreError::file("flush to the disk", to, source))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause is the point, and this runs off the async threads"
)]
fn pause() {
    thread::sleep(STEP_PAUSE);
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    Ok(connection)
}

/// Reads all of a database and tells what is wrong with it; nothing, in the best case.
pub fn faults_of_sqlite(path: &Path) -> Result<Vec<String>, StoreError> {
    match look_for_faults(path) {
        // So much is wrong that it cannot be read.
        Err(StoreError::Sqlite(error))
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) =>
        {
            Ok(vec![error.to_string()])
        }
        found => found,
    }
}

fn look_for_faults(path: &Path) -> Result<Vec<String>, StoreError> {
    let connection = read_only(path)?;
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let told: Vec<String> = check
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut faults: Vec<String> = told.into_iter().filter(|line| line != "ok").collect();
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let dangling: Vec<String> = check
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    faults.extend(
        dangling
            .into_iter()
            .map(|table| format!("a row of `{table}` refers to one that is missing")),
    );
    Ok(faults)
}

/// The schema a file has, 0 where it is empty.
pub fn schema_of_sqlite(path: &Path) -> Result<i64, StoreError> {
    Ok(read_only(path)?.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Refuses a schema of the store that is newer than this program knows.
pub fn refuse_newer_schema(path: &Path, found: i64) -> Result<(), StoreError> {
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew {
            place: path.display().to_string(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(())
}

/// Whether there is a row in any table of the database; a file that is missing or empty has none.
pub fn has_rows(path: &Path) -> Result<bool, StoreError> {
    if !path.exists() {
        return Ok(false);
    }
    let connection = read_only(path)?;
    let mut tables = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\")");
        if connection.query_row(&sql, [], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The revisions that are published according to a copy of the store: presence and hash.
pub fn published_revisions(path: &Path) -> Result<Vec<(String, String)>, StoreError> {
    let connection = read_only(path)?;
    let mut presences =
        connection.prepare("SELECT id, revision FROM presence WHERE revision IS NOT NULL")?;
    let rows = presences.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_of_one_moment_though_others_write() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().join("store.db"),
            directory.path().join("copy.db"),
        );
        let writer = Connection::open(&from).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer
            .execute_batch(
                "CREATE TABLE one (n INTEGER, filling BLOB); CREATE TABLE other (n INTEGER);
                 PRAGMA user_version = 2; INSERT INTO one VALUES (0, randomblob(3000000))",
            )
            .unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let stopped = &stop;
        let written = thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut number = 0;
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    number += 1;
                    writer
                        .execute_batch(&format!(
                            "BEGIN; INSERT INTO one VALUES ({number}, NULL);
                             INSERT INTO other VALUES ({number}); COMMIT"
                        ))
                        .unwrap();
                }
                number
            });
            copy_sqlite_to_new(&from, &to).unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            writing.join().unwrap()
        });
        let copy = read_only(&to).unwrap();
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table} WHERE n > 0");
            copy.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count("one"), count("other"));
        assert!(count("one") < written, "others wrote meanwhile");
        assert_eq!(faults_of_sqlite(&to).unwrap(), Vec::<String>::new());
        assert_eq!(schema_of_sqlite(&to).unwrap(), 2);
        assert!(!directory.path().join("copy.db-wal").exists());
        assert!(has_rows(&to).unwrap());
    }

    #[test]
    fn a_copy_over_a_file_in_use_is_seen_by_who_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().join("copy.db"),
            directory.path().join("mail.db"),
        );
        let source = Connection::open(&from).unwrap();
        source
            .execute_batch("CREATE TABLE mailbox (n INTEGER); INSERT INTO mailbox VALUES (7)")
            .unwrap();
        let user = Connection::open(&to).unwrap();
        user.pragma_update(None, "journal_mode", "WAL").unwrap();
        user.execute_batch("CREATE TABLE mailbox (n INTEGER)")
            .unwrap();
        assert!(!has_rows(&to).unwrap());
        copy_sqlite(&from, &to).unwrap();
        let (number, journal): (i64, String) = (
            user.query_row("SELECT n FROM mailbox", [], |row| row.get(0))
                .unwrap(),
            user.query_row("PRAGMA journal_mode", [], |row| row.get(0))
                .unwrap(),
        );
        assert_eq!((number, journal.as_str()), (7, "wal"));
    }

    #[test]
    fn a_broken_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::write(&path, [b'x'; 8192]).unwrap();
        assert_eq!(faults_of_sqlite(&path).unwrap().len(), 1);
        assert!(!has_rows(&directory.path().join("none.db")).unwrap());
    }
}
