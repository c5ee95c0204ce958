use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::ZoneSpec;
use serde::{Deserialize, Serialize};

use super::PortError;

/// Makes zones answerable at our authoritative servers.
#[async_trait]
pub trait Zones: Send + Sync {
    /// Makes `spec` the whole zone at its apex, keeping the challenge values, and returns the SOA
    /// serial the servers will answer with. A zone that already is so keeps its serial.
    ///
    /// Rejected when the apex belongs to another presence, or when a brake refuses the change.
    async fn put_zone(&self, presence: PresenceId, spec: &ZoneSpec) -> Result<u32, PortError>;

    /// Takes the presence's zone at `apex` away, challenges included. One that is gone already, or
    /// that belongs to another presence by now, is no error and no change.
    async fn remove_zone(&self, presence: PresenceId, apex: &DomainName) -> Result<(), PortError>;

    /// Adds the values to the TXT RRsets at their owner names, beside whatever stands there
    /// (RFC 8555, 8.4), and returns the new serial. Values that stand already are no change.
    async fn add_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<u32, PortError>;

    /// Takes all challenge values of the zone away, whosever they were. None there is no error.
    async fn clear_challenges(&self, apex: &DomainName) -> Result<(), PortError>;

    /// Takes exactly these values away. Values that are gone already are no error.
    async fn remove_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<(), PortError>;
}

/// What the parent zone says of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    pub child: DomainName,
    pub name_servers: Vec<DomainName>,
}

/// Hands delegations to the parent zone: the embedded lab parent, or a registrar.
#[async_trait]
pub trait Delegations: Send + Sync {
    /// Makes `delegation` the whole NS RRset for its child in the parent zone.
    async fn put_delegation(
        &self,
        presence: PresenceId,
        delegation: &Delegation,
    ) -> Result<(), PortError>;

    /// Has the parent zone delegate the presence's child no more. A delegation that is gone already,
    /// or that belongs to another presence by now, is no error and no change.
    async fn remove_delegation(
        &self,
        presence: PresenceId,
        child: &DomainName,
    ) -> Result<(), PortError>;
}

/// A zone as the authoritative server answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedZone {
    pub spec: ZoneSpec,
    pub serial: u32,
    /// Challenge values beside the desired records.
    pub challenges: Vec<(DomainName, String)>,
}

/// Where the embedded authoritative server reads its zones. Blocking: an indexed look-up each.
pub trait ZoneSource: Send + Sync {
    /// The serial of the zone at exactly this apex, `None` where there is none.
    fn zone_serial(&self, apex: &DomainName) -> Result<Option<u32>, PortError>;

    /// The whole zone at exactly this apex.
    fn zone(&self, apex: &DomainName) -> Result<Option<ServedZone>, PortError>;

    /// The delegation of exactly this child from a lab parent zone.
    fn delegation(&self, child: &DomainName) -> Result<Option<Delegation>, PortError>;
}
