//! One-time password links, kept by the hash of their token.

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::secret::Secret;
use hiendien_engine::ports::{PasswordLink, PasswordLinks, PortError};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::Store;
use crate::error::StoreError;
use crate::lifecycle::{made_unless_given_up, may_make};
use crate::row::{IntoPort, moment, text};
use crate::sql::{Connection, Row, params};

fn hash(token: &Secret) -> Vec<u8> {
    Sha256::digest(token.expose()).to_vec()
}

fn link(row: &Row<'_>) -> Result<PasswordLink, StoreError> {
    Ok(PasswordLink {
        presence: text(row, "presence_id")?,
        address: text(row, "address")?,
        expires_at: moment(row, "expires_at")?,
    })
}

#[async_trait]
impl PasswordLinks for Store {
    async fn put_link(&self, link: &PasswordLink) -> Result<Secret, PortError> {
        let expires_at = link.expires_at.as_millisecond();
        let token = self
            .seal
            .token(&format!("{} {} {expires_at}", link.presence, link.address));
        let token = Secret::new(token);
        let (link, token_hash) = (link.clone(), hash(&token));
        let put = move |connection: &Connection<'_>| {
            if !may_make(connection, link.presence)? {
                return Ok(false);
            }
            let (presence, address) = (link.presence.to_string(), link.address.as_str());
            connection.execute(
                "DELETE FROM password_link
                 WHERE presence_id = ?1 AND address = ?2 AND token_hash <> ?3",
                params![&presence, address, &token_hash],
            )?;
            connection.execute(
                "INSERT INTO password_link (token_hash, presence_id, address, expires_at)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![&token_hash, &presence, address, expires_at],
            )?;
            Ok(true)
        };
        let action = "storing a password link";
        let made = self.database.write(put).await.port(action)?;
        made_unless_given_up(made, action).map(|()| token)
    }

    async fn link(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Option<PasswordLink>, PortError> {
        let token_hash = hash(token);
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT presence_id, address, expires_at FROM password_link
                 WHERE token_hash = ?1 AND used_at IS NULL AND expires_at > ?2",
                params![&token_hash, now.as_millisecond()],
                link,
            )
        };
        self.database
            .read(read)
            .await
            .port("reading a password link")
    }

    async fn take_link(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Option<PasswordLink>, PortError> {
        let token_hash = hash(token);
        let take = move |connection: &Connection<'_>| {
            connection.query_first(
                "UPDATE password_link SET used_at = ?2
                 WHERE token_hash = ?1 AND used_at IS NULL AND expires_at > ?2
                 RETURNING presence_id, address, expires_at",
                params![&token_hash, now.as_millisecond()],
                link,
            )
        };
        self.database
            .write(take)
            .await
            .port("using a password link")
    }

    async fn remove_links(&self, presence: PresenceId) -> Result<(), PortError> {
        self.database
            .write(move |connection| {
                connection.execute(
                    "DELETE FROM password_link WHERE presence_id = ?1",
                    params![&presence.to_string()],
                )?;
                Ok(())
            })
            .await
            .port("ending password links")
    }
}
