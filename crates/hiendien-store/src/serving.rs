//! What the edge reads, and the pointer that publishing moves.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::service_names;
use hiendien_domain::site::RevisionHash;
use hiendien_engine::ports::{Certificate, HostRole, PortError, Serving, ServingSite};
use hiendien_engine::store::Publications;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::SqliteStore;
use crate::certificates::certificate;
use crate::error::StoreError;
use crate::row::{IntoPort, optional_text, text};

/// The roles of a presence's service names, in the order of [`service_names`].
const ROLES: [(&str, HostRole); 5] = [
    ("apex", HostRole::Apex),
    ("www", HostRole::Www),
    ("mta_sts", HostRole::MtaSts),
    ("autoconfig", HostRole::Autoconfig),
    ("autodiscover", HostRole::Autodiscover),
];

/// Tells edges that routes or certificates have changed.
pub(crate) fn bump_version(connection: &Connection) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE serving SET version = version + 1 WHERE id = 1")?
        .execute([])?;
    Ok(())
}

#[async_trait]
impl Publications for SqliteStore {
    async fn publish(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        revision: &RevisionHash,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let (presence, apex, revision) = (presence.to_string(), apex.clone(), revision.clone());
        let publish = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "UPDATE presence SET revision = ?2, published_at = ?3
                     WHERE id = ?1 AND revision IS NOT ?2",
                )?
                .execute((&presence, revision.as_str(), now.as_millisecond()))?;
            for (host, (role, _)) in service_names(&apex).iter().zip(ROLES) {
                connection
                    .prepare_cached(
                        "INSERT INTO route (host, presence_id, apex, role) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (host) DO UPDATE SET presence_id = excluded.presence_id,
                             apex = excluded.apex, role = excluded.role",
                    )?
                    .execute((host.as_str(), &presence, apex.as_str(), role))?;
            }
            bump_version(connection)
        };
        self.database
            .write(publish)
            .await
            .port("publishing a revision")
    }
}

#[async_trait]
impl Serving for SqliteStore {
    async fn site(&self, host: &DomainName) -> Result<Option<ServingSite>, PortError> {
        let host = host.clone();
        let read = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT route.presence_id, route.apex, route.role, presence.revision
                     FROM route JOIN presence ON presence.id = route.presence_id
                     WHERE route.host = ?1",
                )?
                .query_and_then([host.as_str()], |row| {
                    let word: String = row.get("role")?;
                    let role = ROLES
                        .iter()
                        .find(|(name, _)| *name == word)
                        .map(|(_, role)| *role);
                    Ok(ServingSite {
                        presence: text(row, "presence_id")?,
                        apex: text(row, "apex")?,
                        role: role.ok_or_else(|| StoreError::corrupt("route.role", word))?,
                        revision: optional_text(row, "revision")?,
                    })
                })?
                .next()
                .transpose()
        };
        self.database.read(read).await.port("reading a route")
    }

    async fn certificate(&self, host: &DomainName) -> Result<Option<Certificate>, PortError> {
        let (host, seal) = (host.clone(), self.seal.clone());
        let read = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT presence_id, serial, names, chain_pem, key_pem, not_before, not_after
                     FROM certificate_host JOIN certificate ON certificate.id = certificate_id
                     WHERE host = ?1",
                )?
                .query_and_then([host.as_str()], |row| certificate(&seal, row))?
                .next()
                .transpose()
        };
        self.database.read(read).await.port("reading a certificate")
    }

    async fn version(&self) -> Result<u64, PortError> {
        let read = |connection: &Connection| {
            let version: i64 = connection
                .prepare_cached("SELECT version FROM serving WHERE id = 1")?
                .query_row([], |row| row.get(0))?;
            Ok(version.unsigned_abs())
        };
        self.database
            .read(read)
            .await
            .port("reading the serving version")
    }
}
