//! Keeps ACME accounts, orders and certificates; keys are sealed.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::secret::Secret;
use hiendien_engine::ports::{Certificate, CertificateOrder, CertificateVault, PortError};

use crate::Store;
use crate::error::StoreError;
use crate::lifecycle::{made_unless_given_up, may_make};
use crate::row::{IntoPort, from_json, moment, to_json};
use crate::seal::Seal;
use crate::serving::bump_version;
use crate::sql::{Connection, Row, params};

fn account_place(directory: &str) -> String {
    format!("acme_account.credentials.{directory}")
}

fn order_place(presence: &str) -> String {
    format!("certificate_order.key_pem.{presence}")
}

fn certificate_place(presence: &str, serial: &str) -> String {
    format!("certificate.key_pem.{presence}.{serial}")
}

/// Reads a row of `certificate`.
pub(crate) fn certificate(seal: &Seal, row: &Row<'_>) -> Result<Certificate, StoreError> {
    let presence: String = row.get("presence_id")?;
    let serial: String = row.get("serial")?;
    let key = seal.open(
        &certificate_place(&presence, &serial),
        row.bytes("key_pem")?,
    )?;
    Ok(Certificate {
        names: from_json("certificate.names", row.str("names")?)?,
        chain_pem: row.get("chain_pem")?,
        key_pem: Secret::new(key),
        serial,
        not_before: moment(row, "not_before")?,
        not_after: moment(row, "not_after")?,
    })
}

#[async_trait]
impl CertificateVault for Store {
    async fn account(&self, directory: &str) -> Result<Option<Secret>, PortError> {
        let directory = directory.to_owned();
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT credentials FROM acme_account WHERE directory = ?1",
                params![&directory],
                |row| {
                    seal.open(&account_place(&directory), row.bytes("credentials")?)
                        .map(Secret::new)
                },
            )
        };
        self.database
            .read(read)
            .await
            .port("reading the ACME account")
    }

    async fn put_account(&self, directory: &str, credentials: &Secret) -> Result<(), PortError> {
        let action = "storing the ACME account";
        let sealed = self
            .seal
            .seal(&account_place(directory), credentials.expose())
            .port(action)?;
        let directory = directory.to_owned();
        let put = move |connection: &Connection<'_>| {
            connection.execute(
                "INSERT INTO acme_account (directory, credentials) VALUES (?1, ?2)
                 ON CONFLICT (directory) DO UPDATE SET credentials = excluded.credentials",
                params![&directory, &sealed],
            )?;
            Ok(())
        };
        self.database.write(put).await.port(action)
    }

    async fn order(&self, presence: PresenceId) -> Result<Option<CertificateOrder>, PortError> {
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            let presence = presence.to_string();
            connection.query_first(
                "SELECT directory, order_url, names, key_pem FROM certificate_order
                 WHERE presence_id = ?1",
                params![&presence],
                |row| {
                    let key = seal.open(&order_place(&presence), row.bytes("key_pem")?)?;
                    Ok(CertificateOrder {
                        directory: row.get("directory")?,
                        order_url: row.get("order_url")?,
                        key_pem: Secret::new(key),
                        names: from_json("certificate_order.names", row.str("names")?)?,
                    })
                },
            )
        };
        self.database
            .read(read)
            .await
            .port("reading the certificate order")
    }

    async fn put_order(
        &self,
        presence: PresenceId,
        order: &CertificateOrder,
    ) -> Result<(), PortError> {
        let action = "storing the certificate order";
        let id = presence;
        let presence = presence.to_string();
        let sealed = self
            .seal
            .seal(&order_place(&presence), order.key_pem.expose())
            .port(action)?;
        let order = order.clone();
        let put = move |connection: &Connection<'_>| {
            if !may_make(connection, id)? {
                return Ok(false);
            }
            connection.execute(
                "INSERT INTO certificate_order
                     (presence_id, directory, order_url, names, key_pem)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (presence_id) DO UPDATE SET directory = excluded.directory,
                     order_url = excluded.order_url, names = excluded.names,
                     key_pem = excluded.key_pem",
                params![
                    &presence,
                    &order.directory,
                    &order.order_url,
                    &to_json("certificate_order.names", &order.names)?,
                    &sealed,
                ],
            )?;
            Ok(true)
        };
        let made = self.database.write(put).await.port(action)?;
        made_unless_given_up(made, action)
    }

    async fn remove_order(&self, presence: PresenceId) -> Result<(), PortError> {
        let remove = move |connection: &Connection<'_>| {
            connection.execute(
                "DELETE FROM certificate_order WHERE presence_id = ?1",
                params![&presence.to_string()],
            )?;
            Ok(())
        };
        self.database
            .write(remove)
            .await
            .port("forgetting the certificate order")
    }

    async fn certificate(&self, presence: PresenceId) -> Result<Option<Certificate>, PortError> {
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT presence_id, serial, names, chain_pem, key_pem, not_before, not_after
                 FROM certificate WHERE presence_id = ?1 ORDER BY id DESC LIMIT 1",
                params![&presence.to_string()],
                |row| certificate(&seal, row),
            )
        };
        self.database
            .read(read)
            .await
            .port("reading the certificate")
    }

    async fn put_certificate(
        &self,
        presence: PresenceId,
        certificate: &Certificate,
    ) -> Result<(), PortError> {
        let action = "storing the certificate";
        let id = presence;
        let presence = presence.to_string();
        let place = certificate_place(&presence, &certificate.serial);
        let sealed = self
            .seal
            .seal(&place, certificate.key_pem.expose())
            .port(action)?;
        let certificate = certificate.clone();
        let put = move |connection: &Connection<'_>| {
            if !may_make(connection, id)? {
                return Ok(false);
            }
            connection.execute(
                "INSERT INTO certificate
                     (presence_id, serial, names, chain_pem, key_pem, not_before, not_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (presence_id, serial) DO NOTHING",
                params![
                    &presence,
                    &certificate.serial,
                    &to_json("certificate.names", &certificate.names)?,
                    &certificate.chain_pem,
                    &sealed,
                    certificate.not_before.as_millisecond(),
                    certificate.not_after.as_millisecond(),
                ],
            )?;
            let id: i64 = connection.query_one(
                "SELECT id FROM certificate WHERE presence_id = ?1 AND serial = ?2",
                params![&presence, &certificate.serial],
                |row| row.get("id"),
            )?;
            for name in &certificate.names {
                connection.execute(
                    "INSERT INTO certificate_host (host, certificate_id) VALUES (?1, ?2)
                     ON CONFLICT (host) DO UPDATE SET certificate_id = excluded.certificate_id",
                    params![name.as_str(), id],
                )?;
            }
            connection.execute(
                "DELETE FROM certificate_order WHERE presence_id = ?1",
                params![&presence],
            )?;
            bump_version(connection)?;
            Ok(true)
        };
        let made = self.database.write(put).await.port(action)?;
        made_unless_given_up(made, action)
    }

    async fn certificates(&self, presence: PresenceId) -> Result<Vec<Certificate>, PortError> {
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            connection.query(
                "SELECT presence_id, serial, names, chain_pem, key_pem, not_before, not_after
                 FROM certificate WHERE presence_id = ?1 ORDER BY id DESC",
                params![&presence.to_string()],
                |row| certificate(&seal, row),
            )
        };
        self.database
            .read(read)
            .await
            .port("reading the certificates")
    }

    async fn remove_certificates(&self, presence: PresenceId) -> Result<(), PortError> {
        let presence = presence.to_string();
        let remove = move |connection: &Connection<'_>| {
            connection.execute(
                "DELETE FROM certificate_host WHERE certificate_id IN
                     (SELECT id FROM certificate WHERE presence_id = ?1)",
                params![&presence],
            )?;
            let removed = connection.execute(
                "DELETE FROM certificate WHERE presence_id = ?1",
                params![&presence],
            )?;
            connection.execute(
                "DELETE FROM certificate_order WHERE presence_id = ?1",
                params![&presence],
            )?;
            match removed {
                0 => Ok(()),
                _ => bump_version(connection),
            }
        };
        self.database
            .write(remove)
            .await
            .port("erasing certificates")
    }
}
