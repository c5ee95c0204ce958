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
    pub service: MailService,
}

/// What a presence's mailboxes may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailService {
    Active,
    /// Mail is still taken in and stored; nobody signs in, nobody sends, and sessions have ended.
    Suspended,
}

/// Administers the mail servers: rows and keys, never a reload.
#[async_trait]
pub trait Mailboxes: Send + Sync {
    /// Makes the mail domain, its mailboxes, the reserved aliases and its service so, and returns
    /// the DKIM records to publish. A key or a password that is there already stays. Returns once
    /// sessions that the service no longer allows have ended.
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

    /// Gives the mailbox another address: its mail and its password stay, the former address becomes
    /// an alias of it. Done already is no error.
    ///
    /// Rejected when `to` is another mailbox, or `from` none.
    async fn rename(
        &self,
        presence: PresenceId,
        from: &MailAddress,
        to: &MailAddress,
    ) -> Result<(), PortError>;

    /// Takes an alias of a mailbox away. Gone already is no error; a mailbox of this address stays.
    async fn remove_alias(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError>;

    /// Forgets all passwords of the presence and ends its sessions: nobody signs in before a new one is set.
    async fn clear_passwords(&self, presence: PresenceId) -> Result<(), PortError>;

    /// Takes the mail domain away with its mailboxes, aliases and DKIM keys: no mail comes in, nobody
    /// signs in, nothing is signed, sessions have ended. Stored mail stays until it is erased. Gone already is no error.
    async fn remove_domain(&self, presence: PresenceId) -> Result<(), PortError>;

    /// Erases the stored mail of a presence whose mail domain was taken away. Nothing stored is no error.
    ///
    /// Rejected while the presence still has a mail domain.
    async fn erase_mail(&self, presence: PresenceId) -> Result<(), PortError>;
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

    /// Ends all links of a presence.
    async fn remove_links(&self, presence: PresenceId) -> Result<(), PortError>;
}
