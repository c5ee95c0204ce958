//! Stops serving and gives the name back. The tombstone stands before the first step; the name is
//! free only when every server was seen to know it no more. Site and mail are kept until purged.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};

use crate::ports::PortError;
use crate::step::{Notice, Run, Step, StepSpec};
use crate::verbs::shared::tell;

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<RemoveDelegation>(),
    StepSpec::of::<RemoveZone>(),
    StepSpec::of::<WithdrawSite>(),
    StepSpec::of::<RemoveCertificates>(),
    StepSpec::of::<EndAccess>(),
    StepSpec::of::<RemoveMail>(),
    StepSpec::of::<VerifyZoneGone>(),
    StepSpec::of::<VerifySiteGone>(),
    StepSpec::of::<VerifyMailGone>(),
    StepSpec::of::<TellFormerOwner>(),
];

/// Has the parent zone delegate no more, before our servers forget the zone: no lame delegation.
#[derive(Debug)]
pub struct RemoveDelegation;

#[async_trait]
impl Step for RemoveDelegation {
    const NAME: &'static str = "remove-delegation";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::Registry;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let presence = &run.presence;
        run.ports
            .delegations
            .remove_delegation(presence.id, &presence.plan.name)
            .await
    }
}

/// Takes the zone away.
#[derive(Debug)]
pub struct RemoveZone;

#[async_trait]
impl Step for RemoveZone {
    const NAME: &'static str = "remove-zone";
    const NEEDS: &'static [&'static str] = &[RemoveDelegation::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let presence = &run.presence;
        run.ports
            .zones
            .remove_zone(presence.id, &presence.plan.name)
            .await
    }
}

/// Makes the edge forget the host names. The revisions stay for an export.
#[derive(Debug)]
pub struct WithdrawSite;

#[async_trait]
impl Step for WithdrawSite {
    const NAME: &'static str = "withdraw-site";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.publications.withdraw(run.presence.id).await
    }
}

/// Revokes the certificates and erases their keys: the next holder of the name must be the only one with any.
#[derive(Debug)]
pub struct RemoveCertificates;

#[async_trait]
impl Step for RemoveCertificates {
    const NAME: &'static str = "remove-certificates";
    const NEEDS: &'static [&'static str] = &[WithdrawSite::NAME];
    const PLANE: Plane = Plane::Tls;
    const DEPENDENCY: Dependency = Dependency::Ca;
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.certificates.remove(run.presence.id).await
    }
}

/// Ends the links with which passwords could be set.
#[derive(Debug)]
pub struct EndAccess;

#[async_trait]
impl Step for EndAccess {
    const NAME: &'static str = "end-access";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.password_links.remove_links(run.presence.id).await
    }
}

/// Takes the mail domain away. Stored mail stays for an export.
#[derive(Debug)]
pub struct RemoveMail;

#[async_trait]
impl Step for RemoveMail {
    const NAME: &'static str = "remove-mail";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.mailboxes.remove_domain(run.presence.id).await
    }
}

/// Sees that no name server answers for the name, and that the parent does not delegate it.
#[derive(Debug)]
pub struct VerifyZoneGone;

#[async_trait]
impl Step for VerifyZoneGone {
    const NAME: &'static str = "verify-zone-gone";
    const NEEDS: &'static [&'static str] = &[RemoveZone::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const PROVES: &'static [Plane] = &[Plane::Dns];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.probes.zone_absent(&run.presence.plan.name).await
    }
}

/// Sees that the edge knows the name no more.
#[derive(Debug)]
pub struct VerifySiteGone;

#[async_trait]
impl Step for VerifySiteGone {
    const NAME: &'static str = "verify-site-gone";
    const NEEDS: &'static [&'static str] = &[WithdrawSite::NAME, RemoveCertificates::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Edge;
    const PROVES: &'static [Plane] = &[Plane::Site, Plane::Tls];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.probes.site_absent(&run.presence.plan.name).await
    }
}

/// Sees that the mail servers know no mailbox of the name any more.
#[derive(Debug)]
pub struct VerifyMailGone;

#[async_trait]
impl Step for VerifyMailGone {
    const NAME: &'static str = "verify-mail-gone";
    const NEEDS: &'static [&'static str] = &[RemoveMail::NAME, EndAccess::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const PROVES: &'static [Plane] = &[Plane::Mail];
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let plan = &run.presence.plan;
        for mailbox in &plan.mailboxes {
            run.ports
                .probes
                .mail_absent(run.presence.id, &mailbox.at(&plan.name))
                .await?;
        }
        Ok(())
    }
}

/// Writes to the former owner until when site and mail are kept.
#[derive(Debug)]
pub struct TellFormerOwner;

#[async_trait]
impl Step for TellFormerOwner {
    const NAME: &'static str = "tell-former-owner";
    const NEEDS: &'static [&'static str] = &[
        VerifyZoneGone::NAME,
        VerifySiteGone::NAME,
        VerifyMailGone::NAME,
    ];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Letters;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let ended_at = run.presence.life.ended_at.unwrap_or(run.began_at);
        let erased_at = run.ports.settings.term.kept_until(ended_at);
        tell(run, "released", &Notice::Released { erased_at }).await
    }
}
