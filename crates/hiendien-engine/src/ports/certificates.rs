use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::CaaIssuer;
use hiendien_domain::secret::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PortError;

/// An issued certificate with its key, as the edge serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The apex first.
    pub names: Vec<DomainName>,
    /// PEM, end entity first (RFC 8555, 9.1).
    pub chain_pem: String,
    /// PKCS #8 PEM.
    pub key_pem: Secret,
    /// Hexadecimal serial number.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Obtains certificates.
#[async_trait]
pub trait Certificates: Send + Sync {
    /// The issuers the zone's CAA records must allow, with our account at each; makes the account
    /// where there is none yet.
    async fn issuers(&self) -> Result<Vec<CaaIssuer>, PortError>;

    /// Returns a certificate for exactly `names`, kept in the vault under `presence`. A valid one
    /// that is there already is returned as it is; an order that was begun is taken up again.
    /// Call it only once every name server answers for the zone at `apex`.
    async fn obtain(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError>;

    /// When the presence's certificate is to be renewed: a moment inside the window that the CA
    /// suggests (RFC 9773), else after two thirds of its lifetime; spread by presence, and the same
    /// at each call. `None` where there is no certificate.
    async fn renewal_at(&self, presence: PresenceId) -> Result<Option<Timestamp>, PortError>;

    /// Like [`Certificates::obtain`], but replaces a certificate whose renewal is due.
    async fn renew(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError>;

    /// Revokes what is still valid of the presence's certificates (RFC 8555, 7.6; reason
    /// `cessationOfOperation`), deactivates what an order left pending, and erases keys and orders.
    /// Nothing there is no error.
    async fn remove(&self, presence: PresenceId) -> Result<(), PortError>;
}

/// An order that was begun: written before it is used, so that a crash resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateOrder {
    /// Which CA, by its directory URL.
    pub directory: String,
    pub order_url: String,
    /// PKCS #8 PEM of the key the certificate will have.
    pub key_pem: Secret,
    pub names: Vec<DomainName>,
}

/// Keeps accounts, orders and certificates durably. A restart orders nothing.
#[async_trait]
pub trait CertificateVault: Send + Sync {
    /// The serialized credentials of our account at the CA with this directory URL.
    async fn account(&self, directory: &str) -> Result<Option<Secret>, PortError>;
    async fn put_account(&self, directory: &str, credentials: &Secret) -> Result<(), PortError>;

    async fn order(&self, presence: PresenceId) -> Result<Option<CertificateOrder>, PortError>;
    async fn put_order(
        &self,
        presence: PresenceId,
        order: &CertificateOrder,
    ) -> Result<(), PortError>;
    async fn remove_order(&self, presence: PresenceId) -> Result<(), PortError>;

    /// The newest certificate of the presence.
    async fn certificate(&self, presence: PresenceId) -> Result<Option<Certificate>, PortError>;

    /// Keeps the certificate, makes it the one served for its names, and forgets the order, in one transaction.
    async fn put_certificate(
        &self,
        presence: PresenceId,
        certificate: &Certificate,
    ) -> Result<(), PortError>;

    /// All certificates of the presence, the newest first.
    async fn certificates(&self, presence: PresenceId) -> Result<Vec<Certificate>, PortError>;

    /// Erases the presence's certificates with their keys, and its order; they are served no more.
    async fn remove_certificates(&self, presence: PresenceId) -> Result<(), PortError>;
}
