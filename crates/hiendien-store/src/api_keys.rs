//! Who may call the API.

use async_trait::async_trait;
use hiendien_engine::ports::PortError;
use hiendien_engine::store::{ApiKey, ApiKeys};
use jiff::Timestamp;

use crate::Store;
use crate::error::StoreError;
use crate::row::IntoPort;
use crate::sql::{Connection, Row, params};

fn key(row: &Row<'_>) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        name: row.get("name")?,
        registrar: row.get("registrar")?,
    })
}

#[async_trait]
impl ApiKeys for Store {
    async fn put(&self, key_hash: [u8; 32], key: &ApiKey, now: Timestamp) -> Result<(), PortError> {
        let key = key.clone();
        let write = move |connection: &Connection<'_>| {
            connection.execute("DELETE FROM api_key WHERE name = ?1", params![&key.name])?;
            connection.execute(
                "INSERT INTO api_key (key_hash, name, registrar, created_at)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    &key_hash[..],
                    &key.name,
                    key.registrar.as_deref(),
                    now.as_millisecond()
                ],
            )?;
            Ok(())
        };
        self.database.write(write).await.port("storing an API key")
    }

    async fn find(&self, key_hash: &[u8; 32]) -> Result<Option<ApiKey>, PortError> {
        let key_hash = *key_hash;
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT name, registrar FROM api_key WHERE key_hash = ?1",
                params![&key_hash[..]],
                key,
            )
        };
        self.database.read(read).await.port("reading an API key")
    }

    async fn list(&self) -> Result<Vec<ApiKey>, PortError> {
        let read = move |connection: &Connection<'_>| {
            connection.query(
                "SELECT name, registrar FROM api_key ORDER BY name",
                params![],
                key,
            )
        };
        self.database.read(read).await.port("listing API keys")
    }

    async fn remove(&self, name: &str) -> Result<bool, PortError> {
        let name = name.to_owned();
        let write = move |connection: &Connection<'_>| {
            Ok(connection.execute("DELETE FROM api_key WHERE name = ?1", params![&name])? > 0)
        };
        self.database.write(write).await.port("removing an API key")
    }
}
