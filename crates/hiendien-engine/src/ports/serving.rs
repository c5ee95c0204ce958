use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::site::RevisionHash;
use serde::{Deserialize, Serialize};

use super::{Certificate, PortError};

/// What a host name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostRole {
    /// Serves the site.
    Apex,
    /// Redirects to the apex.
    Www,
    /// Serves the MTA-STS policy (RFC 8461).
    MtaSts,
    /// Serves mail client settings.
    Autoconfig,
    Autodiscover,
}

/// Whether a presence's site is shown, or a notice in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteService {
    Serving,
    /// Notice: stopped by a decision.
    Suspended,
    /// Notice: the term has ended, and renewing it brings the site back.
    Expired,
}

impl SiteService {
    /// The value of the header `x-service` with which the edge answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
        }
    }
}

/// What the edge needs to know of one host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingSite {
    pub presence: PresenceId,
    pub apex: DomainName,
    pub role: HostRole,
    /// `None` while nothing is published yet.
    pub revision: Option<RevisionHash>,
    /// Says what the apex and `www` show. The other roles answer in any case: mail still comes in.
    pub service: SiteService,
}

/// Read-only view for the edge. An indexed look-up each.
#[async_trait]
pub trait Serving: Send + Sync {
    /// The site behind a host name, `None` for a name that is not ours.
    async fn site(&self, host: &DomainName) -> Result<Option<ServingSite>, PortError>;

    /// The certificate served for a host name.
    async fn certificate(&self, host: &DomainName) -> Result<Option<Certificate>, PortError>;

    /// A number that moves on with every change to what [`Serving::site`] or
    /// [`Serving::certificate`] answer, so that a cache can tell that it is stale without asking for each name.
    async fn version(&self) -> Result<u64, PortError>;
}
