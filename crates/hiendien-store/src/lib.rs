//! The durable store: rows in SQLite or PostgreSQL, revisions and pictures in a folder or a bucket.
//!
//! Every statement and every rule is written once, for both (`sql`). Embedded, it is one SQLite
//! file (WAL, `synchronous=FULL`) that one process holds: one thread writes, and writes that arrive
//! together share a transaction and one flush to disk. On PostgreSQL many processes share it, and
//! each write is a transaction that locks the rows it decides on.
//!
//! Secrets are sealed before they are written. The mail servers' own database is the mail
//! adapter's, not this one.

mod api_keys;
pub mod backup;
mod certificates;
mod claims;
mod contents;
mod database;
mod directory;
mod error;
mod idempotency;
mod lifecycle;
mod links;
mod migrations;
mod operations;
pub mod picture_files;
mod pictures;
mod pieces;
pub mod revisions;
mod row;
mod seal;
mod serving;
mod sql;
mod webhooks;
mod zones;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hiendien_engine::clock::Clock;

use database::Database;
pub use database::Place;
pub use error::StoreError;
pub use migrations::{Migrated, SCHEMA_VERSION, migrate, migrate_to};
pub use pieces::{S3Error, S3Settings};
pub use seal::Seal;
pub use sql::postgres::PostgresSettings;

/// The store, of either kind. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    seal: Arc<Seal>,
    clock: Arc<dyn Clock>,
    place: Arc<Place>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Where the store lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    pub place: Place,
    /// File with the 32-byte sealing key; made where there is none. Without it, sealed values are
    /// lost. Processes that share a database share this key.
    pub seal_key: PathBuf,
}

impl Store {
    /// Opens the store. An embedded one is made where there is none and brought to the newest
    /// schema; a server has to have that schema already, by [`migrate`].
    pub fn open(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let database = Database::open(&settings.place)?;
        let seal = Seal::load_or_make(&settings.seal_key)?;
        Ok(Self {
            database: Arc::new(database),
            seal: Arc::new(seal),
            clock,
            place: Arc::new(settings.place.clone()),
        })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }
}
