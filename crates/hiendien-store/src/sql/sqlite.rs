//! SQLite: one writer thread with group commit, and a pool of readers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rusqlite::types::{FromSqlError, ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql, params_from_iter};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Connection, Param, Row};
use crate::error::StoreError;
use crate::migrations::migrate_sqlite;

/// Writes waiting for the writer; a caller beyond that waits.
const QUEUE_MAX: usize = 1024;
/// Writes that share one transaction.
const BATCH_MAX: usize = 256;
/// Idle read connections kept.
const READERS_MAX: usize = 8;
/// How long SQLite waits for a lock held by another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A write: changes rows inside a savepoint, then gets told whether the commit held.
type Write = Box<dyn FnOnce(Result<&rusqlite::Connection, StoreError>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Option<StoreError>) + Send>;

pub(crate) struct SqliteDatabase {
    path: PathBuf,
    writes: mpsc::Sender<Write>,
    readers: Mutex<Vec<rusqlite::Connection>>,
    committed: watch::Sender<u64>,
}

impl SqliteDatabase {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = rusqlite::Connection::open(path)?;
        configure(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        migrate_sqlite(&mut connection, path)?;
        let (writes, queue) = mpsc::channel(QUEUE_MAX);
        let (committed, _) = watch::channel(0);
        let (thread_path, thread_committed) = (path.to_owned(), committed.clone());
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_batches(&connection, &thread_path, queue, &thread_committed))
            .map_err(|source| StoreError::File {
                action: "start the writer of",
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            path: path.to_owned(),
            writes,
            readers: Mutex::default(),
            committed,
        })
    }

    /// Moves on with every commit.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Runs `change` in the writer. When it fails, all it did is undone. Durable when this returns.
    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        let write: Write = Box::new(move |transaction| {
            let result = transaction.and_then(|connection| in_savepoint(connection, change));
            Box::new(move |commit_error| {
                let result = match (result, commit_error) {
                    (Ok(_), Some(error)) => Err(error),
                    (Err(StoreError::Sqlite(error)), _) => Err(told(&error, &path)),
                    (result, _) => result,
                };
                // A caller that gave up does not need the answer.
                let _ = reply.send(result);
            })
        });
        self.writes
            .send(write)
            .await
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Runs `query` on a read connection, on this thread.
    pub(crate) fn read_blocking<T>(
        &self,
        query: impl FnOnce(&Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self
            .readers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .pop();
        let connection = if let Some(connection) = idle {
            connection
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = rusqlite::Connection::open_with_flags(&self.path, flags)?;
            configure(&connection)?;
            connection
        };
        let result = query(&Connection::Sqlite(&connection));
        let mut readers = self
            .readers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }
}

fn configure(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn in_savepoint<T>(
    connection: &rusqlite::Connection,
    change: impl FnOnce(&Connection<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT change")?.execute([])?;
    let result = change(&Connection::Sqlite(connection));
    if result.is_err() {
        connection
            .prepare_cached("ROLLBACK TO change")?
            .execute([])?;
    }
    connection.prepare_cached("RELEASE change")?.execute([])?;
    result
}

fn write_batches(
    connection: &rusqlite::Connection,
    path: &Path,
    mut queue: mpsc::Receiver<Write>,
    committed: &watch::Sender<u64>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let mut replies = Vec::with_capacity(batch.len());
        for write in batch.drain(..) {
            let transaction = match &begun {
                Ok(()) => Ok(connection),
                Err(error) => Err(told(error, path)),
            };
            replies.push(write(transaction));
        }
        if begun.is_err() {
            for reply in replies {
                reply(None);
            }
            continue;
        }
        let commit = if connection.is_autocommit() {
            // SQLite itself rolled the transaction back, as it does on a full disk.
            let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            Err(rusqlite::Error::SqliteFailure(full, None))
        } else {
            connection.execute_batch("COMMIT")
        };
        if commit.is_err()
            && !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back");
        }
        if commit.is_ok() {
            committed.send_modify(|count| *count = count.wrapping_add(1));
        }
        for reply in replies {
            reply(commit.as_ref().err().map(|error| told(error, path)));
        }
    }
}

/// A copy of a commit's error for each of those who waited for it.
fn told(error: &rusqlite::Error, path: &Path) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull {
            path: path.to_owned(),
        },
        code => StoreError::Sqlite(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error {
                code: code.unwrap_or(ErrorCode::Unknown),
                extended_code: 0,
            },
            Some(error.to_string()),
        )),
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

/// The one writer locks all there is.
fn without_row_locks(sql: &str) -> &str {
    let sql = sql.strip_suffix(" SKIP LOCKED").unwrap_or(sql);
    sql.strip_suffix("FOR UPDATE").unwrap_or(sql)
}

pub(super) fn execute(
    connection: &rusqlite::Connection,
    sql: &str,
    params: &[Param<'_>],
) -> Result<u64, StoreError> {
    let changed = connection
        .prepare_cached(without_row_locks(sql))?
        .execute(params_from_iter(params))?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// Whether the reader of rows wants another one.
pub(super) enum Next {
    Row,
    Stop,
}

pub(super) fn query(
    connection: &rusqlite::Connection,
    sql: &str,
    params: &[Param<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<Next, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(without_row_locks(sql))?;
    let mut rows = statement.query(params_from_iter(params))?;
    while let Some(row) = rows.next()? {
        match read(&Row::Sqlite(row))? {
            Next::Row => {}
            Next::Stop => break,
        }
    }
    Ok(())
}

/// Names the column that does not hold what we wrote there.
pub(super) fn wrong<T>(
    column: &'static str,
    value: Result<T, FromSqlError>,
) -> Result<T, StoreError> {
    value.map_err(|error| StoreError::corrupt(column, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_locks_are_left_out() {
        for (ours, theirs) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT 1 FOR UPDATE", "SELECT 1 "),
            ("SELECT 1 FOR UPDATE SKIP LOCKED", "SELECT 1 "),
        ] {
            assert_eq!(without_row_locks(ours), theirs);
        }
    }
}
