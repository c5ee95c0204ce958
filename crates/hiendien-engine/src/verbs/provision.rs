//! From an approved claim to a live site and a working mailbox.
//!
//! DNS, the site build and the mailbox do not wait for one another. The certificate is ordered
//! only once every name server answers for the zone; what promises HTTPS is published only once
//! the certificate answers.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};
use hiendien_domain::records::{
    CaaIssuer, DkimRecord, ZoneInputs, ZoneSpec, ZoneStage, presence_zone, service_names,
};
use hiendien_domain::site::RevisionHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::{BuildJob, Certificate, Delegation, MailProof, PortError, SiteProof, ZoneProof};
use crate::request::Request;
use crate::step::{Run, Step, StepSpec, WelcomeFacts};
use crate::verbs::publish::AdmitContent;
use crate::verbs::shared::{
    build_site, make_links, mend_site, prove_absence, put_mail, serve, serve_as_before,
};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<Admit>(),
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<CreateMailboxes>(),
    StepSpec::of::<PrepareIssuers>(),
    StepSpec::of::<WriteZone>(),
    StepSpec::of::<Delegate>(),
    StepSpec::of::<VerifyZone>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<ObtainCertificate>(),
    StepSpec::of::<VerifyMail>(),
    StepSpec::of::<VerifySite>(),
    StepSpec::of::<CompleteZone>(),
    StepSpec::of::<SendWelcome>(),
];

/// Lets the name go out: waits while a person has to decide whether it may. The first to begin, it
/// is the last to be undone, and then sees that nothing of the presence is left at any server.
#[derive(Debug)]
pub struct Admit;

#[async_trait]
impl Step for Admit {
    const NAME: &'static str = "admit";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        match &run.presence.life.held_for {
            Some(reason) => Err(PortError::held("letting the name out", reason.clone())),
            None => Ok(()),
        }
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        prove_absence(run).await
    }
}

/// Renders the content in a container and keeps the files as a revision.
#[derive(Debug)]
pub struct BuildSite;

#[async_trait]
impl Step for BuildSite {
    const NAME: &'static str = "build-site";
    // Content that is refused becomes no revision, so that nobody can roll back to it.
    const NEEDS: &'static [&'static str] = &[AdmitContent::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Builder;
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = RevisionHash;

    async fn apply(run: &Run) -> Result<RevisionHash, PortError> {
        let plan = &run.presence.plan;
        let job = BuildJob {
            template: plan.template.clone(),
            content: plan.content.clone(),
        };
        match run.input::<Request>() {
            Ok(Request::Repair) => mend_site(run, job).await,
            _ => build_site(run, &job).await,
        }
    }

    /// Of a presence that was there before, the revision stays: it can be published again.
    async fn undo(run: &Run) -> Result<(), PortError> {
        match run.before {
            None => {
                let ports = &run.ports;
                ports.sites.remove_revisions(run.presence.id).await?;
                ports.picture_files.remove_images(run.presence.id).await
            }
            Some(_) => Ok(()),
        }
    }
}

/// Makes the mail domain, its mailboxes, the reserved aliases and the DKIM key.
#[derive(Debug)]
pub struct CreateMailboxes;

#[async_trait]
impl Step for CreateMailboxes {
    const NAME: &'static str = "create-mailboxes";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = Vec<DkimRecord>;

    async fn apply(run: &Run) -> Result<Vec<DkimRecord>, PortError> {
        let presence = &run.presence;
        put_mail(run, &presence.plan, presence.standing).await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        let (mailboxes, presence) = (&run.ports.mailboxes, run.presence.id);
        if let Some(before) = &run.before {
            return put_mail(run, &before.plan, before.standing).await.map(drop);
        }
        mailboxes.remove_domain(presence).await?;
        mailboxes.erase_mail(presence).await
    }
}

/// Makes sure that we have an account at each CA, since the zone's CAA records name it.
#[derive(Debug)]
pub struct PrepareIssuers;

#[async_trait]
impl Step for PrepareIssuers {
    const NAME: &'static str = "prepare-issuers";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Tls;
    const DEPENDENCY: Dependency = Dependency::Ca;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = Vec<CaaIssuer>;

    async fn apply(run: &Run) -> Result<Vec<CaaIssuer>, PortError> {
        run.ports.certificates.issuers().await
    }
}

fn zone(run: &Run, stage: ZoneStage) -> Result<ZoneSpec, PortError> {
    let inputs = ZoneInputs {
        apex: &run.presence.plan.name,
        issuers: &run.output::<PrepareIssuers>()?,
        dkim: &run.output::<CreateMailboxes>()?,
        stage,
    };
    Ok(presence_zone(inputs, &run.ports.platform))
}

/// Writes the zone without the records that promise HTTPS.
#[derive(Debug)]
pub struct WriteZone;

#[async_trait]
impl Step for WriteZone {
    const NAME: &'static str = "write-zone";
    const NEEDS: &'static [&'static str] =
        &[Admit::NAME, CreateMailboxes::NAME, PrepareIssuers::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// SOA serial.
    type Output = u32;

    async fn apply(run: &Run) -> Result<u32, PortError> {
        let zone = zone(run, ZoneStage::BeforeCertificate)?;
        run.ports.zones.put_zone(run.presence.id, &zone).await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        let presence = &run.presence;
        run.ports
            .zones
            .remove_zone(presence.id, &presence.plan.name)
            .await
    }
}

/// Has the parent zone delegate to our name servers.
#[derive(Debug)]
pub struct Delegate;

#[async_trait]
impl Step for Delegate {
    const NAME: &'static str = "delegate";
    const NEEDS: &'static [&'static str] = &[WriteZone::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::Registry;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let servers = &run.ports.platform.name_servers;
        let delegation = Delegation {
            child: run.presence.plan.name.clone(),
            name_servers: servers.iter().map(|server| server.name.clone()).collect(),
        };
        run.ports
            .delegations
            .put_delegation(run.presence.id, &delegation)
            .await
    }

    /// Of a presence that was there before, the delegation stays as it is.
    async fn undo(run: &Run) -> Result<(), PortError> {
        let presence = &run.presence;
        match run.before {
            None => {
                run.ports
                    .delegations
                    .remove_delegation(presence.id, &presence.plan.name)
                    .await
            }
            Some(_) => Ok(()),
        }
    }
}

/// Asks every name server and the parent.
#[derive(Debug)]
pub struct VerifyZone;

#[async_trait]
impl Step for VerifyZone {
    const NAME: &'static str = "verify-zone";
    const NEEDS: &'static [&'static str] = &[WriteZone::NAME, Delegate::NAME];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const PROVES: &'static [Plane] = &[Plane::Dns];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ZoneProof;

    async fn apply(run: &Run) -> Result<ZoneProof, PortError> {
        let serial = run.output::<WriteZone>()?;
        run.ports.probes.zone(&run.presence.plan.name, serial).await
    }
}

/// Makes the built revision the one that is served.
#[derive(Debug)]
pub struct PublishSite;

#[async_trait]
impl Step for PublishSite {
    const NAME: &'static str = "publish-site";
    const NEEDS: &'static [&'static str] = &[AdmitContent::NAME, BuildSite::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let revision = run.output::<BuildSite>()?;
        serve(run, &revision).await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        serve_as_before(run).await
    }
}

/// What the log keeps of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateNote {
    pub serial: String,
    pub not_after: Timestamp,
}

impl From<Certificate> for CertificateNote {
    fn from(certificate: Certificate) -> Self {
        Self {
            serial: certificate.serial,
            not_after: certificate.not_after,
        }
    }
}

/// One order with all the names the edge answers for.
#[derive(Debug)]
pub struct ObtainCertificate;

#[async_trait]
impl Step for ObtainCertificate {
    const NAME: &'static str = "obtain-certificate";
    const NEEDS: &'static [&'static str] = &[VerifyZone::NAME];
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
            .obtain(run.presence.id, apex, &names)
            .await?;
        Ok(certificate.into())
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        run.ports.certificates.remove(run.presence.id).await
    }
}

/// Sends a message in and one out, and reads both.
#[derive(Debug)]
pub struct VerifyMail;

#[async_trait]
impl Step for VerifyMail {
    const NAME: &'static str = "verify-mail";
    const NEEDS: &'static [&'static str] = &[CreateMailboxes::NAME, VerifyZone::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const PROVES: &'static [Plane] = &[Plane::Mail];
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = MailProof;

    async fn apply(run: &Run) -> Result<MailProof, PortError> {
        let plan = &run.presence.plan;
        let address = plan.mailboxes[0].at(&plan.name);
        run.ports.probes.mail(run.presence.id, &address).await
    }
}

/// Asks the edge as a visitor would.
#[derive(Debug)]
pub struct VerifySite;

#[async_trait]
impl Step for VerifySite {
    const NAME: &'static str = "verify-site";
    const NEEDS: &'static [&'static str] =
        &[BuildSite::NAME, PublishSite::NAME, ObtainCertificate::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Edge;
    const PROVES: &'static [Plane] = &[Plane::Site, Plane::Tls];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = SiteProof;

    async fn apply(run: &Run) -> Result<SiteProof, PortError> {
        let revision = run.output::<BuildSite>()?;
        run.ports
            .probes
            .site(&run.presence.plan.name, revision.as_str())
            .await
    }
}

/// Adds the records that promise HTTPS, now that it answers, and sees them served.
#[derive(Debug)]
pub struct CompleteZone;

#[async_trait]
impl Step for CompleteZone {
    const NAME: &'static str = "complete-zone";
    const NEEDS: &'static [&'static str] = &[
        CreateMailboxes::NAME,
        PrepareIssuers::NAME,
        VerifySite::NAME,
    ];
    const PLANE: Plane = Plane::Dns;
    const DEPENDENCY: Dependency = Dependency::NameServers;
    const PROVES: &'static [Plane] = &[Plane::Dns];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ZoneProof;

    async fn apply(run: &Run) -> Result<ZoneProof, PortError> {
        let zone = zone(run, ZoneStage::Complete)?;
        let serial = run.ports.zones.put_zone(run.presence.id, &zone).await?;
        run.ports.probes.zone(&zone.apex, serial).await
    }
}

/// Writes to the owner, with the links on which the mailbox passwords are set, and into the mailbox.
#[derive(Debug)]
pub struct SendWelcome;

#[async_trait]
impl Step for SendWelcome {
    const NAME: &'static str = "send-welcome";
    const NEEDS: &'static [&'static str] = &[CompleteZone::NAME, VerifyMail::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Letters;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (ports, plan) = (&run.ports, &run.presence.plan);
        let links = make_links(run, &plan.mailboxes).await?;
        let facts = WelcomeFacts {
            operation: run.operation,
            password_urls: links.urls,
            links_expire_at: links.expire_at,
        };
        ports
            .messages
            .send(&ports.letters.welcome(&run.presence, &facts))
            .await?;
        ports
            .messages
            .send(&ports.letters.first(&run.presence, run.operation))
            .await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        run.ports.password_links.remove_links(run.presence.id).await
    }
}
