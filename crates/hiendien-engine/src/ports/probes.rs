use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::records::Rrset;
use hiendien_domain::site::BlobHash;
use serde::{Deserialize, Serialize};

use super::{PortError, SiteService};

/// What the name servers said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneProof {
    pub serial: u32,
    /// Number of server addresses asked; each answered the serial.
    pub servers: usize,
}

/// What the edge said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProof {
    /// Serial number of the certificate of the handshake, hexadecimal.
    pub certificate_serial: String,
    /// Revision hash, from the response header `x-revision`.
    pub revision: String,
    /// `h2` or `http/1.1`.
    pub protocol: String,
}

/// A file of a site as an outsider has to get it, uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProof {
    /// As in a file tree, such as `gioi-thieu/index.html`.
    pub path: String,
    pub sha256: BlobHash,
}

/// What the mail servers said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailProof {
    /// Message-ID of the message that came in from outside and was read over IMAP.
    pub received: String,
    /// Message-ID of the message submitted and received outside.
    pub sent: String,
    /// Selector of the DKIM signature that verified against the published key.
    pub selector: String,
}

/// Asks the world whether it is so, as an outsider would: over the wire, never our tables.
/// Transient when the answer is not the wanted one yet, or could not be asked.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Every address of every name server, over UDP and TCP, answers `serial` or newer for the
    /// apex, and the parent zone delegates to exactly the name servers of the platform.
    async fn zone(&self, apex: &DomainName, serial: u32) -> Result<ZoneProof, PortError>;

    /// Every name server answers exactly this RRset.
    async fn rrset(&self, apex: &DomainName, rrset: &Rrset) -> Result<(), PortError>;

    /// `https://apex/` and `https://www.apex/` answer with a certificate that verifies, 200 with
    /// the revision, and a redirect; `http://apex/` redirects to HTTPS.
    async fn site(&self, apex: &DomainName, revision: &str) -> Result<SiteProof, PortError>;

    /// `https://apex/` answers each of these paths with 200 and exactly the octets of this hash.
    async fn site_files(&self, apex: &DomainName, files: &[FileProof]) -> Result<(), PortError>;

    /// A message from outside reaches the mailbox and is read over IMAP; one goes out through
    /// submission, and its DKIM signature verifies against the zone.
    async fn mail(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<MailProof, PortError>;

    /// The mail exchanger takes mail for the address, and a good credential opens it at IMAP. Cheaper than
    /// [`Probes::mail`]: no message is sent.
    async fn mail_served(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError>;

    /// No name server answers for the apex with authority, and the parent does not delegate it.
    async fn zone_absent(&self, apex: &DomainName) -> Result<(), PortError>;

    /// `https://apex/` and `https://www.apex/` answer with the notice of this service (not `Serving`), with
    /// no word of the site, over a certificate that verifies.
    async fn site_stopped(&self, apex: &DomainName, service: SiteService) -> Result<(), PortError>;

    /// The edge does not know the apex nor `www`: no certificate for them, and over HTTP the page of unknown names.
    async fn site_absent(&self, apex: &DomainName) -> Result<(), PortError>;

    /// The mail exchanger takes mail for the address, and signing in with a good credential is refused
    /// at IMAP and at submission.
    async fn mail_stopped(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError>;

    /// Every mail exchanger refuses mail for the address for good, and nobody can sign in as it.
    async fn mail_absent(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError>;
}
