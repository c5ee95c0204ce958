//! The durable store, embedded: one SQLite database (WAL, `synchronous=FULL`) and a folder of
//! revisions.
//!
//! One thread writes; writes that arrive together share a transaction and one flush to disk.
//! Reads go through a small pool of connections. Secrets are sealed before they are written.
//! The mail servers' own database is the mail adapter's, not this one.

mod api_keys;
mod certificates;
mod claims;
mod database;
mod directory;
mod error;
mod idempotency;
mod links;
mod migrations;
mod operations;
pub mod revisions;
mod row;
mod seal;
mod serving;
mod zones;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hiendien_engine::clock::Clock;

use database::Database;
pub use error::StoreError;
pub use seal::Seal;

/// The embedded store. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    database: Arc<Database>,
    seal: Arc<Seal>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SqliteStore")
            .field("path", &self.database.path())
            .finish_non_exhaustive()
    }
}

/// Where the store lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    pub database: PathBuf,
    /// File with the 32-byte sealing key; made where there is none. Without it, sealed values are lost.
    pub seal_key: PathBuf,
}

impl SqliteStore {
    /// Opens the store, makes it where there is none, and brings it to the newest schema.
    pub fn open(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let database = Database::open(&settings.database)?;
        let seal = Seal::load_or_make(&settings.seal_key)?;
        Ok(Self {
            database: Arc::new(database),
            seal: Arc::new(seal),
            clock,
        })
    }

    pub fn path(&self) -> &Path {
        self.database.path()
    }
}
