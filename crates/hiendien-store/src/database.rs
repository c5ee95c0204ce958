//! The one database behind the store, of either kind. What is above this module knows of none.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::StoreError;
use crate::migrations::check_postgres;
use crate::sql::Connection;
use crate::sql::postgres::{self, PostgresDatabase, PostgresSettings, Server};
use crate::sql::sqlite::SqliteDatabase;

/// Where the rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of this process alone.
    Sqlite(PathBuf),
    /// A server that many processes share.
    Postgres(PostgresSettings),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "{}", path.display()),
            Self::Postgres(settings) => formatter.write_str(&postgres::place(settings)),
        }
    }
}

pub(crate) enum Database {
    Sqlite(Arc<SqliteDatabase>),
    Postgres(PostgresDatabase),
}

impl Database {
    /// Opens the database. A file is made where there is none and brought to the newest schema; a
    /// server's is not touched, and has to have the schema this program knows.
    pub(crate) fn open(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::Sqlite(path) => Ok(Self::Sqlite(Arc::new(SqliteDatabase::open(path)?))),
            Place::Postgres(settings) => {
                let session = postgres::apart(|| {
                    let session = Server::new(settings)?.connect()?;
                    check_postgres(&session, place)?;
                    Ok(session)
                })?;
                Ok(Self::Postgres(PostgresDatabase::start(settings, session)?))
            }
        }
    }

    /// Moves on with every commit of this process, and with what others announce. A hint: a
    /// commit of another process may go by without one.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        match self {
            Self::Sqlite(database) => database.committed(),
            Self::Postgres(database) => database.committed(),
        }
    }

    /// Runs `change` in a transaction. When it fails, all it did is undone. Durable when this
    /// returns. Where others are in the way it is run again from the start, so it reads what it
    /// needs in the transaction and has no effect beside it.
    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(database) => database.write(change).await,
            Self::Postgres(database) => database.write(change).await,
        }
    }

    /// Runs `query` on a connection for reading, off the async threads. Each statement of it sees
    /// what is committed by then.
    pub(crate) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    {
        match self {
            Self::Sqlite(database) => {
                let database = Arc::clone(database);
                tokio::task::spawn_blocking(move || database.read_blocking(query))
                    .await
                    .map_err(|_| StoreError::Stopped)?
            }
            Self::Postgres(database) => database.read(query).await,
        }
    }

    /// Runs `query` as [`Database::read`] does, on this thread, which must not be an async one.
    pub(crate) fn read_blocking<T>(
        &self,
        query: impl Fn(&Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(database) => database.read_blocking(query),
            Self::Postgres(database) => database.read_blocking(&query),
        }
    }
}
