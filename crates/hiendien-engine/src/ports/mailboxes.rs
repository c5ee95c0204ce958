use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, LocalPart, MailAddress};
use hiendien_domain::records::DkimRecord;
use hiendien_domain::secret::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PortError;

/// The mail side of a presence as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailDomain {
    pub name: DomainName,
    pub mailboxes: Vec<LocalPart>,
    /// Quota of each mailbox, bytes.
    pub quota_bytes: u64,
    /// Where mail to the reserved local parts (`postmaster`, `abuse` and the like) goes.
    pub desk: MailAddress,
}

/// Administers the mail servers: rows and keys, never a reload.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// Makes the mail domain, its mailboxes and the reserved aliases so, and returns the DKIM
    /// records to publish. A key or a password that is there already stays.
    ///
    /// Rejected when the name belongs to another presence.
    async fn put_domain(
        &self,
        presence: PresenceId,
        domain: &MailDomain,
    ) -> Result<Vec<DkimRecord>, PortError>;

    /// Sets the password of a mailbox, kept only as an Argon2id hash.
    async fn set_password(
        &self,
        presence: PresenceId,
        address: &MailAddress,
        password: &Secret,
    ) -> Result<(), PortError>;
}

/// A link with which the owner sets a password, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordLink {
    pub presence: PresenceId,
    pub address: MailAddress,
    pub expires_at: Timestamp,
}

/// Keeps one-time links by the hash of their token, so that the store alone opens nothing.
#[async_trait]
pub trait PasswordLinks: Send + Sync {
    /// Keeps the link and returns its token. The same link gives the same token, so that a letter
    /// sent twice says the same; a link that was used stays used. Earlier links of the mailbox stop working.
    async fn put_link(&self, link: &PasswordLink) -> Result<Secret, PortError>;

    /// Looks at the link without using it up; `None` when unknown, used or expired at `now`.
    async fn link(&self, token: &Secret, now: Timestamp)
    -> Result<Option<PasswordLink>, PortError>;

    /// Uses the link up; only the first caller gets it.
    async fn take_link(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Option<PasswordLink>, PortError>;
}
