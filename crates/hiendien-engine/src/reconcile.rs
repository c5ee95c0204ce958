//! Compares what a presence is meant to be with what the servers show. It changes nothing: where they
//! differ, a `repair` is asked, which holds the presence's one operation while it works.

use std::time::Duration;

use hiendien_domain::lifecycle::{Plane, Standing};
use hiendien_domain::records::{RecordData, RecordKind, ZoneInputs, ZoneStage, presence_zone};
use serde::{Deserialize, Serialize};

use crate::ports::{ErrorChain, PortError};
use crate::presence::Presence;
use crate::step::Ports;
use crate::verbs::shared::site_service;

/// Bound of one look at one plane.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What a plane does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub plane: Plane,
    pub found: String,
}

/// Asks about every plane of a presence at once; empty when all is as it is meant to be.
pub async fn observe(ports: &Ports, presence: &Presence) -> Vec<Drift> {
    let (zone, site, mail) = tokio::join!(
        bounded(zone(ports, presence)),
        bounded(site(ports, presence)),
        bounded(mail(ports, presence)),
    );
    [(Plane::Dns, zone), (Plane::Site, site), (Plane::Mail, mail)]
        .into_iter()
        .filter_map(|(plane, found)| {
            let error = found.err()?;
            let found = ErrorChain(&error).to_string();
            Some(Drift { plane, found })
        })
        .collect()
}

async fn bounded(look: impl Future<Output = Result<(), PortError>>) -> Result<(), PortError> {
    match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(found) => found,
        Err(elapsed) => Err(PortError::transient("looking at the servers", elapsed)),
    }
}

/// Every name server answers, the parent delegates to them, and the addresses are ours.
async fn zone(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let apex = &presence.plan.name;
    ports.probes.zone(apex, 0).await?;
    let inputs = ZoneInputs {
        apex,
        issuers: &[],
        dkim: &[],
        stage: ZoneStage::Complete,
    };
    let wanted = presence_zone(inputs, &ports.platform);
    for rrset in &wanted.rrsets {
        let kind = rrset.records.first().map(RecordData::kind);
        let is_address = matches!(
            kind,
            Some(RecordKind::A | RecordKind::Aaaa | RecordKind::Mx)
        );
        if is_address && rrset.owner == *apex {
            ports.probes.rrset(apex, rrset).await?;
        }
    }
    Ok(())
}

async fn site(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let apex = &presence.plan.name;
    match presence.standing {
        Standing::Suspended | Standing::Expired => {
            let service = site_service(presence.standing);
            ports.probes.site_stopped(apex, service).await
        }
        _ => {
            let revision = presence.revision.as_ref().ok_or_else(|| {
                PortError::misconfigured("telling which revision is served", "none is published")
            })?;
            ports.probes.site(apex, revision.as_str()).await.map(drop)
        }
    }
}

/// The mail exchanger takes mail for every mailbox; where the standing allows it, a message goes round.
async fn mail(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let plan = &presence.plan;
    for mailbox in &plan.mailboxes {
        let address = mailbox.at(&plan.name);
        match presence.standing {
            Standing::Suspended | Standing::Expired => {
                ports.probes.mail_stopped(presence.id, &address).await?;
            }
            _ => ports.probes.mail_served(presence.id, &address).await?,
        }
    }
    Ok(())
}

/// Looks in a row that may find drift before repairs are held.
const DRIFTING_MAX: u32 = 5;

/// Holds repairs when one presence after another drifts: then a server is at fault, not they.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    drifting: u32,
}

impl Brake {
    pub(crate) fn note(&mut self, is_sound: bool) {
        self.drifting = if is_sound { 0 } else { self.drifting + 1 };
    }

    pub(crate) fn holds(&self) -> bool {
        self.drifting >= DRIFTING_MAX
    }

    /// Lets one more look through: it tells whether the fault is over.
    pub(crate) fn release(&mut self) {
        self.drifting = self.drifting.min(DRIFTING_MAX.saturating_sub(1));
    }
}
