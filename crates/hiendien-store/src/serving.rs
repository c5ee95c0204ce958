//! What the edge reads, and the pointer that publishing moves.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::service_names;
use hiendien_domain::site::RevisionHash;
use hiendien_engine::ports::{Certificate, HostRole, PortError, Serving, ServingSite, SiteService};
use hiendien_engine::store::Publications;
use jiff::Timestamp;

use crate::Store;
use crate::certificates::certificate;
use crate::error::StoreError;
use crate::lifecycle::{made_unless_given_up, may_make};
use crate::row::{IntoPort, optional_text, text};
use crate::sql::{Connection, Row, params};

/// The roles of a presence's service names, in the order of [`service_names`].
const ROLES: [(&str, HostRole); 5] = [
    ("apex", HostRole::Apex),
    ("www", HostRole::Www),
    ("mta_sts", HostRole::MtaSts),
    ("autoconfig", HostRole::Autoconfig),
    ("autodiscover", HostRole::Autodiscover),
];

/// Tells edges that routes or certificates have changed. Comes last in a write: all who publish
/// wait for this one row.
pub(crate) fn bump_version(connection: &Connection<'_>) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE serving SET version = version + 1 WHERE id = 1",
        params![],
    )?;
    connection.announce();
    Ok(())
}

#[async_trait]
impl Publications for Store {
    async fn publish(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        revision: &RevisionHash,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let (apex, revision) = (apex.clone(), revision.clone());
        let publish = move |connection: &Connection<'_>| {
            if !may_make(connection, presence)? {
                return Ok(false);
            }
            let presence = presence.to_string();
            connection.execute(
                "UPDATE presence SET revision = ?2, published_at = ?3
                 WHERE id = ?1 AND revision IS DISTINCT FROM ?2",
                params![&presence, revision.as_str(), now.as_millisecond()],
            )?;
            for (host, (role, _)) in service_names(&apex).iter().zip(ROLES) {
                connection.execute(
                    "INSERT INTO route (host, presence_id, apex, role) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (host) DO UPDATE SET presence_id = excluded.presence_id,
                         apex = excluded.apex, role = excluded.role",
                    params![host.as_str(), &presence, apex.as_str(), role],
                )?;
            }
            bump_version(connection)?;
            Ok(true)
        };
        let action = "publishing a revision";
        let made = self.database.write(publish).await.port(action)?;
        made_unless_given_up(made, action)
    }

    async fn set_service(
        &self,
        presence: PresenceId,
        service: SiteService,
    ) -> Result<(), PortError> {
        let set = move |connection: &Connection<'_>| {
            if !may_make(connection, presence)? {
                return Ok(false);
            }
            let presence = presence.to_string();
            let changed = connection.execute(
                "UPDATE presence SET service = ?2 WHERE id = ?1 AND service <> ?2",
                params![&presence, service.word()],
            )?;
            if changed > 0 {
                bump_version(connection)?;
            }
            Ok(true)
        };
        let action = "setting what the edge shows";
        let made = self.database.write(set).await.port(action)?;
        made_unless_given_up(made, action)
    }

    async fn withdraw(&self, presence: PresenceId) -> Result<(), PortError> {
        let presence = presence.to_string();
        let withdraw = move |connection: &Connection<'_>| {
            let changed = connection.execute(
                "DELETE FROM route WHERE presence_id = ?1",
                params![&presence],
            )?;
            match changed {
                0 => Ok(()),
                _ => bump_version(connection),
            }
        };
        self.database
            .write(withdraw)
            .await
            .port("withdrawing a site")
    }
}

/// The words of a column `service`.
fn service(row: &Row<'_>) -> Result<SiteService, StoreError> {
    let word = row.str("service")?;
    [
        SiteService::Serving,
        SiteService::Suspended,
        SiteService::Expired,
    ]
    .into_iter()
    .find(|service| service.word() == word)
    .ok_or_else(|| StoreError::corrupt("presence.service", word.to_owned()))
}

#[async_trait]
impl Serving for Store {
    async fn site(&self, host: &DomainName) -> Result<Option<ServingSite>, PortError> {
        let host = host.clone();
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT route.presence_id, route.apex, route.role, presence.revision, presence.service
                 FROM route JOIN presence ON presence.id = route.presence_id
                 WHERE route.host = ?1",
                params![host.as_str()],
                |row| {
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
                        service: service(row)?,
                    })
                },
            )
        };
        self.database.read(read).await.port("reading a route")
    }

    async fn certificate(&self, host: &DomainName) -> Result<Option<Certificate>, PortError> {
        let (host, seal) = (host.clone(), self.seal.clone());
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT presence_id, serial, names, chain_pem, key_pem, not_before, not_after
                 FROM certificate_host JOIN certificate ON certificate.id = certificate_id
                 WHERE host = ?1",
                params![host.as_str()],
                |row| certificate(&seal, row),
            )
        };
        self.database.read(read).await.port("reading a certificate")
    }

    async fn version(&self) -> Result<u64, PortError> {
        let read = |connection: &Connection<'_>| {
            let version: i64 = connection.query_one(
                "SELECT version FROM serving WHERE id = 1",
                params![],
                |row| row.get("version"),
            )?;
            Ok(version.unsigned_abs())
        };
        self.database
            .read(read)
            .await
            .port("reading the serving version")
    }
}
