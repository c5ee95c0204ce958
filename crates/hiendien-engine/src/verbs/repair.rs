//! Makes all planes again what the presence is meant to be. Every step states an end, so what is
//! right already stays untouched.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};
use hiendien_domain::records::{ZoneInputs, ZoneStage, presence_zone};

use crate::ports::{PortError, ZoneProof};
use crate::step::{Run, Step, StepSpec};
use crate::verbs::provision::{BuildSite, CreateMailboxes, Delegate, PrepareIssuers, PublishSite};
use crate::verbs::service::{RenewCertificate, SettleSite, VerifySettledMail, VerifySettledSite};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<CreateMailboxes>(),
    StepSpec::of::<PrepareIssuers>(),
    StepSpec::of::<RestoreZone>(),
    StepSpec::of::<Delegate>(),
    StepSpec::of::<VerifyRestoredZone>(),
    StepSpec::of::<RenewCertificate>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<SettleSite>(),
    StepSpec::of::<VerifySettledSite>(),
    StepSpec::of::<VerifySettledMail>(),
];

/// Writes the whole zone, with the records that promise HTTPS: it was live before.
#[derive(Debug)]
pub struct RestoreZone;

#[async_trait]
impl Step for RestoreZone {
    const NAME: &'static str = "restore-zone";
    const NEEDS: &'static [&'static str] = &[CreateMailboxes::NAME, PrepareIssuers::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// SOA serial.
    type Output = u32;

    async fn apply(run: &Run) -> Result<u32, PortError> {
        let inputs = ZoneInputs {
            apex: &run.presence.plan.name,
            issuers: &run.output::<PrepareIssuers>()?,
            dkim: &run.output::<CreateMailboxes>()?,
            stage: ZoneStage::Complete,
        };
        let zone = presence_zone(inputs, &run.ports.platform);
        run.ports.zones.put_zone(run.presence.id, &zone).await
    }
}

/// Asks every name server and the parent.
#[derive(Debug)]
pub struct VerifyRestoredZone;

#[async_trait]
impl Step for VerifyRestoredZone {
    const NAME: &'static str = "verify-restored-zone";
    const NEEDS: &'static [&'static str] = &[RestoreZone::NAME, Delegate::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const PROVES: &'static [Plane] = &[Plane::Dns];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ZoneProof;

    async fn apply(run: &Run) -> Result<ZoneProof, PortError> {
        let serial = run.output::<RestoreZone>()?;
        run.ports.probes.zone(&run.presence.plan.name, serial).await
    }
}
