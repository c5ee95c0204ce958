//! Who may call the API.

use async_trait::async_trait;
use hiendien_engine::ports::PortError;
use hiendien_engine::store::{ApiKey, ApiKeys};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::SqliteStore;
use crate::row::IntoPort;

fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        name: row.get("name")?,
        registrar: row.get("registrar")?,
    })
}

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn put(&self, key_hash: [u8; 32], key: &ApiKey, now: Timestamp) -> Result<(), PortError> {
        let key = key.clone();
        let write = move |connection: &Connection| {
            connection.execute("DELETE FROM api_key WHERE name = ?1", [&key.name])?;
            connection.execute(
                "INSERT INTO api_key (key_hash, name, registrar, created_at) VALUES (?1, ?2, ?3, ?4)",
                (&key_hash[..], &key.name, &key.registrar, now.as_millisecond()),
            )?;
            Ok(())
        };
        self.database.write(write).await.port("storing an API key")
    }

    async fn find(&self, key_hash: &[u8; 32]) -> Result<Option<ApiKey>, PortError> {
        let key_hash = *key_hash;
        let read = move |connection: &Connection| {
            Ok(connection
                .prepare_cached("SELECT name, registrar FROM api_key WHERE key_hash = ?1")?
                .query_row([&key_hash[..]], key)
                .optional()?)
        };
        self.database.read(read).await.port("reading an API key")
    }

    async fn list(&self) -> Result<Vec<ApiKey>, PortError> {
        let read = move |connection: &Connection| {
            Ok(connection
                .prepare_cached("SELECT name, registrar FROM api_key ORDER BY name")?
                .query_map([], key)?
                .collect::<Result<_, _>>()?)
        };
        self.database.read(read).await.port("listing API keys")
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        let name = name.to_owned();
        let write = move |connection: &Connection| {
            Ok(connection.execute("DELETE FROM api_key WHERE name = ?1", [name])? > 0)
        };
        self.database.write(write).await.port("removing an API key")
    }
}
