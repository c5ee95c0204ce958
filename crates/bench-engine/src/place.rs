//! Where a store of the bench is, and plain SQL in it, beside the store's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use hiendien_engine::clock::SystemClock;
use hiendien_store::{Place, PostgresSettings, Store, StoreSettings, migrate};
use postgres::{Client, NoTls, SimpleQueryMessage};
use rusqlite::types::ValueRef;

/// Connections of a worker process; the same for every worker, and the peer has more.
const POOL_MAX: usize = 16;

/// A database of the bench. Its text is what a worker process is told.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) seal_key: PathBuf,
}

impl Site {
    pub(crate) fn sqlite(folder: &Path, name: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        Self::made(
            Place::Sqlite(folder.join(format!("{name}.sqlite"))),
            folder.join("seal.key"),
        )
    }

    pub(crate) fn postgres(settings: PostgresSettings, folder: &Path) -> anyhow::Result<Self> {
        Self::made(Place::Postgres(settings), folder.join("seal.key"))
    }

    fn made(place: Place, seal_key: PathBuf) -> anyhow::Result<Self> {
        migrate(&place)?;
        let site = Self { place, seal_key };
        drop(site.open()?);
        Ok(site)
    }

    /// What another process is told: kind, database, file of the key.
    pub(crate) fn arguments(&self) -> [String; 3] {
        let (kind, database) = match &self.place {
            Place::Sqlite(path) => ("sqlite", path.display().to_string()),
            Place::Postgres(settings) => ("postgres", settings.url.clone()),
        };
        [
            kind.to_owned(),
            database,
            self.seal_key.display().to_string(),
        ]
    }

    pub(crate) fn told(kind: &str, database: &str, seal_key: &str) -> anyhow::Result<Self> {
        let place = match kind {
            "sqlite" => Place::Sqlite(PathBuf::from(database)),
            "postgres" => Place::Postgres(PostgresSettings {
                url: database.to_owned(),
                password_file: None,
                tls_roots: None,
                pool_max: POOL_MAX,
            }),
            other => bail!("`{other}` is neither `sqlite` nor `postgres`"),
        };
        Ok(Self {
            place,
            seal_key: PathBuf::from(seal_key),
        })
    }

    pub(crate) fn open(&self) -> anyhow::Result<Store> {
        let settings = StoreSettings {
            place: self.place.clone(),
            seal_key: self.seal_key.clone(),
        };
        Ok(Store::open(&settings, Arc::new(SystemClock))?)
    }

    pub(crate) fn sql(&self) -> anyhow::Result<Sql> {
        Ok(match &self.place {
            Place::Sqlite(path) => Sql::Sqlite(rusqlite::Connection::open(path)?),
            Place::Postgres(settings) => Sql::Postgres(Client::connect(&settings.url, NoTls)?),
        })
    }
}

/// A connection of the bench's own.
pub(crate) enum Sql {
    Sqlite(rusqlite::Connection),
    Postgres(Client),
}

impl Sql {
    pub(crate) fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(sql)?,
            Self::Postgres(client) => client.batch_execute(sql)?,
        }
        Ok(())
    }

    /// Rows as text; NULL is empty.
    pub(crate) fn rows(&mut self, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare(sql)?;
                let columns = statement.column_count();
                // Parameters of a statement that is only explained are left open.
                let mut rows = statement.raw_query();
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let mut cells = Vec::with_capacity(columns);
                    for column in 0..columns {
                        cells.push(match row.get_ref(column)? {
                            ValueRef::Null => String::new(),
                            ValueRef::Integer(value) => value.to_string(),
                            ValueRef::Real(value) => value.to_string(),
                            ValueRef::Text(text) | ValueRef::Blob(text) => {
                                String::from_utf8_lossy(text).into_owned()
                            }
                        });
                    }
                    found.push(cells);
                }
                Ok(found)
            }
            Self::Postgres(client) => {
                let mut found = Vec::new();
                for message in client.simple_query(sql)? {
                    if let SimpleQueryMessage::Row(row) = message {
                        let cells = (0..row.len())
                            .map(|column| row.get(column).unwrap_or_default().to_owned());
                        found.push(cells.collect());
                    }
                }
                Ok(found)
            }
        }
    }

    pub(crate) fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        let rows = self.rows(sql)?;
        let cell = rows.first().and_then(|row| row.first());
        cell.context("a number")?.parse().context("a number")
    }
}
