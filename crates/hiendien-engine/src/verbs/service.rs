//! Suspend, resume, expire and renew: the planes follow the standing that the verb has set.
//!
//! Nothing is lost on the way down, so the way up needs nothing but the same steps.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane, Standing};
use hiendien_domain::records::service_names;

use crate::ports::PortError;
use crate::request::Request;
use crate::step::{Notice, Run, Step, StepSpec};
use crate::verbs::provision::{CertificateNote, CreateMailboxes, PublishSite};
use crate::verbs::shared::{put_mail, site_service, tell};

/// The steps of suspend, resume and expire.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<SettleSite>(),
    StepSpec::of::<SettleMail>(),
    StepSpec::of::<VerifySettledSite>(),
    StepSpec::of::<VerifySettledMail>(),
    StepSpec::of::<TellOwner>(),
];

/// The steps of renew.
pub const RENEW: &[StepSpec] = &[
    StepSpec::of::<RenewCertificate>(),
    StepSpec::of::<SettleSite>(),
    StepSpec::of::<SettleMail>(),
    StepSpec::of::<VerifySettledSite>(),
    StepSpec::of::<VerifySettledMail>(),
    StepSpec::of::<TellOwner>(),
];

/// Replaces the certificate where its renewal is due; the one before stays served until then.
#[derive(Debug)]
pub struct RenewCertificate;

#[async_trait]
impl Step for RenewCertificate {
    const NAME: &'static str = "renew-certificate";
    const NEEDS: &'static [&'static str] = &["verify-restored-zone"];
    const PLANE: Plane = Plane::Tls;
    const DEPENDENCY: Dependency = Dependency::Ca;
    const TIMEOUT: Duration = Duration::from_mins(2);
    type Output = CertificateNote;

    async fn apply(run: &Run) -> Result<CertificateNote, PortError> {
        let apex = &run.presence.plan.name;
        let names = service_names(apex);
        let certificate = run
            .ports
            .certificates
            .renew(run.presence.id, apex, &names)
            .await?;
        Ok(certificate.into())
    }
}

/// Has the edge show the site, or the notice in its place.
#[derive(Debug)]
pub struct SettleSite;

#[async_trait]
impl Step for SettleSite {
    const NAME: &'static str = "settle-site";
    const NEEDS: &'static [&'static str] = &[PublishSite::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let service = site_service(run.presence.standing);
        run.ports
            .publications
            .set_service(run.presence.id, service)
            .await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        let Some(before) = &run.before else {
            return Ok(());
        };
        let service = site_service(before.standing);
        run.ports
            .publications
            .set_service(run.presence.id, service)
            .await
    }
}

/// Lets the owner in at the mail servers, or not.
#[derive(Debug)]
pub struct SettleMail;

#[async_trait]
impl Step for SettleMail {
    const NAME: &'static str = "settle-mail";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let presence = &run.presence;
        put_mail(run, &presence.plan, presence.standing)
            .await
            .map(drop)
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        match &run.before {
            Some(before) => put_mail(run, &before.plan, before.standing).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Sees at the edge what the standing wants: the site, or the notice and no word of the site.
#[derive(Debug)]
pub struct VerifySettledSite;

#[async_trait]
impl Step for VerifySettledSite {
    const NAME: &'static str = "verify-settled-site";
    const NEEDS: &'static [&'static str] = &[SettleSite::NAME, RenewCertificate::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Edge;
    const PROVES: &'static [Plane] = &[Plane::Site, Plane::Tls];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (probes, presence) = (&run.ports.probes, &run.presence);
        let name = &presence.plan.name;
        match presence.standing {
            Standing::Suspended | Standing::Expired => {
                let service = site_service(presence.standing);
                probes.site_stopped(name, service).await
            }
            _ => {
                let revision = run.served_revision()?;
                probes.site(name, revision.as_str()).await.map(drop)
            }
        }
    }
}

/// Sees at the mail servers what the standing wants: mail goes in and out, or comes in alone.
#[derive(Debug)]
pub struct VerifySettledMail;

#[async_trait]
impl Step for VerifySettledMail {
    const NAME: &'static str = "verify-settled-mail";
    const NEEDS: &'static [&'static str] = &[SettleMail::NAME, CreateMailboxes::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const PROVES: &'static [Plane] = &[Plane::Mail];
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (probes, presence) = (&run.ports.probes, &run.presence);
        let plan = &presence.plan;
        let address = plan.mailboxes[0].at(&plan.name);
        match presence.standing {
            Standing::Suspended | Standing::Expired => {
                probes.mail_stopped(presence.id, &address).await
            }
            _ => probes.mail(presence.id, &address).await.map(drop),
        }
    }
}

/// Writes to the owner what has happened and what to do.
#[derive(Debug)]
pub struct TellOwner;

#[async_trait]
impl Step for TellOwner {
    const NAME: &'static str = "tell-owner";
    const NEEDS: &'static [&'static str] = &[VerifySettledSite::NAME, VerifySettledMail::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Letters;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let life = &run.presence.life;
        let notice = match run.input::<Request>()? {
            Request::Suspend { reason } => Notice::Suspended { reason },
            Request::Resume => Notice::Resumed,
            Request::Expire => Notice::TermEnded {
                renew_until: run
                    .ports
                    .settings
                    .term
                    .renewable_until(life.term_ends_at.unwrap_or(run.began_at)),
            },
            Request::Renew {
                term_ends_at: Some(until),
            } => Notice::Renewed { until: Some(until) },
            // A fresh certificate is nothing to write about.
            _ => return Ok(()),
        };
        tell(run, "service", &notice).await
    }
}
