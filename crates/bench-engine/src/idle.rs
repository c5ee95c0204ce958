//! Ports that do nothing and say yes, so that what is left is the engine and its store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
use hiendien_domain::records::{CaaIssuer, DkimRecord, Rrset, ZoneSpec};
use hiendien_domain::secret::Secret;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_domain::term::TermRules;
use hiendien_engine::clock::SystemClock;
use hiendien_engine::pictures::Image;
use hiendien_engine::ports::{
    BuildJob, Certificate, Certificates, Damage, Delegation, Delegations, FileProof, KeepRules,
    Keeping, Letter, MailDomain, MailProof, Mailboxes, Messages, Origin, PasswordLink,
    PasswordLinks, PictureFiles, PortError, Probes, Revision, RevisionShelf, SiteBuilder,
    SiteProof, SiteService, SiteStore, Tidied, ZoneProof, Zones,
};
use hiendien_engine::presence::Presence;
use hiendien_engine::step::{Letters, Notice, Ports, StepSettings, WelcomeFacts};
use hiendien_engine::store::Publications;
use hiendien_store::Store;
use jiff::{SignedDuration, Timestamp};

const PLATFORM: &str = r#"
    apex = "hiendien.test"
    name_servers = [
        { name = "ns1.hiendien.test", addresses = ["127.0.0.1"] },
        { name = "ns2.hiendien.test", addresses = ["127.0.0.2"] },
    ]
    edge_addresses = ["127.0.0.3"]
    mail_exchangers = [{ name = "mx1.mail.hiendien.test", addresses = ["127.0.0.4"] }]
    mail_address = "127.0.0.4"
    outbound_addresses = ["127.0.0.4"]
    abuse_url = "https://hiendien.test/bao-cao/"
"#;

/// Every port in one.
#[derive(Debug)]
struct Idle {
    /// How long a build takes, for a worker that is to be killed in the middle of it.
    build: Duration,
    revision: RevisionHash,
}

/// Ports on which every step but those that the store itself answers does nothing; a build takes `build`.
pub(crate) fn ports(store: Arc<Store>, build: Duration) -> anyhow::Result<Ports> {
    let revision = "0".repeat(64).parse().context("a revision has 64 digits")?;
    let idle = Arc::new(Idle { build, revision });
    Ok(Ports {
        platform: Arc::new(toml::from_str::<Platform>(PLATFORM)?),
        settings: StepSettings {
            mailbox_quota_bytes: 1 << 30,
            password_url: "https://hiendien.test/mat-khau/".to_owned(),
            password_link_for: Duration::from_hours(14 * 24),
            term: TermRules::default(),
            revisions: KeepRules::default(),
        },
        clock: Arc::new(SystemClock),
        zones: idle.clone(),
        delegations: idle.clone(),
        certificates: idle.clone(),
        builder: idle.clone(),
        sites: idle.clone(),
        shelf: idle.clone(),
        pictures: store.clone(),
        picture_files: idle.clone(),
        publications: idle.clone(),
        lifecycle: store,
        mailboxes: idle.clone(),
        password_links: idle.clone(),
        messages: idle.clone(),
        letters: idle.clone(),
        probes: idle,
    })
}

#[async_trait]
impl Zones for Idle {
    async fn put_zone(&self, _: PresenceId, _: &ZoneSpec) -> Result<u32, PortError> {
        Ok(1)
    }

    async fn remove_zone(&self, _: PresenceId, _: &DomainName) -> Result<(), PortError> {
        Ok(())
    }

    async fn add_challenges(
        &self,
        _: &DomainName,
        _: &[(DomainName, String)],
    ) -> Result<u32, PortError> {
        Ok(1)
    }

    async fn clear_challenges(&self, _: &DomainName) -> Result<(), PortError> {
        Ok(())
    }

    async fn remove_challenges(
        &self,
        _: &DomainName,
        _: &[(DomainName, String)],
    ) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Delegations for Idle {
    async fn put_delegation(&self, _: PresenceId, _: &Delegation) -> Result<(), PortError> {
        Ok(())
    }

    async fn remove_delegation(&self, _: PresenceId, _: &DomainName) -> Result<(), PortError> {
        Ok(())
    }
}

fn certificate(names: &[DomainName]) -> Certificate {
    let now = Timestamp::now();
    Certificate {
        names: names.to_vec(),
        chain_pem: "chain".to_owned(),
        key_pem: Secret::new("key"),
        serial: "01".to_owned(),
        not_before: now,
        not_after: now + SignedDuration::from_hours(90 * 24),
    }
}

#[async_trait]
impl Certificates for Idle {
    async fn issuers(&self) -> Result<Vec<CaaIssuer>, PortError> {
        Ok(vec![CaaIssuer {
            domain: "ca.test".to_owned(),
            account_uri: Some("https://ca.test/account/1".to_owned()),
        }])
    }

    async fn obtain(
        &self,
        _: PresenceId,
        _: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        Ok(certificate(names))
    }

    async fn renewal_at(&self, _: PresenceId) -> Result<Option<Timestamp>, PortError> {
        Ok(None)
    }

    async fn renew(
        &self,
        _: PresenceId,
        _: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        Ok(certificate(names))
    }

    async fn remove(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl SiteBuilder for Idle {
    async fn build(&self, _: &BuildJob) -> Result<FileTree, PortError> {
        if !self.build.is_zero() {
            tokio::time::sleep(self.build).await;
        }
        Ok(FileTree::default())
    }
}

#[async_trait]
impl SiteStore for Idle {
    async fn put_revision(
        &self,
        _: PresenceId,
        _: &FileTree,
        _: &Origin,
    ) -> Result<RevisionHash, PortError> {
        Ok(self.revision.clone())
    }

    async fn revisions(&self, _: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        Ok(Vec::new())
    }

    async fn remove_revisions(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }

    async fn file(
        &self,
        _: PresenceId,
        _: &RevisionHash,
        _: &str,
    ) -> Result<Option<SiteFile>, PortError> {
        Ok(None)
    }
}

#[async_trait]
impl RevisionShelf for Idle {
    async fn revision(
        &self,
        _: PresenceId,
        _: &RevisionHash,
    ) -> Result<Option<Revision>, PortError> {
        Ok(None)
    }

    async fn content(&self, _: PresenceId, _: &RevisionHash) -> Result<Option<Vec<u8>>, PortError> {
        Ok(None)
    }

    async fn keep(&self, _: PresenceId, _: &RevisionHash, _: Timestamp) -> Result<bool, PortError> {
        Ok(true)
    }

    async fn damage(&self, _: PresenceId, _: &RevisionHash) -> Result<Vec<Damage>, PortError> {
        Ok(Vec::new())
    }

    async fn tidy(&self, _: PresenceId, _: &Keeping) -> Result<Tidied, PortError> {
        Ok(Tidied::default())
    }
}

#[async_trait]
impl PictureFiles for Idle {
    async fn put_upload(&self, _: PresenceId, _: &ImageId, _: Vec<u8>) -> Result<(), PortError> {
        Ok(())
    }

    async fn upload(&self, _: PresenceId, _: &ImageId) -> Result<Option<Vec<u8>>, PortError> {
        Ok(None)
    }

    async fn remove_upload(&self, _: PresenceId, _: &ImageId) -> Result<(), PortError> {
        Ok(())
    }

    async fn put_files(&self, _: PresenceId, _: &ImageId, _: FileTree) -> Result<(), PortError> {
        Ok(())
    }

    async fn files(&self, _: PresenceId, _: &Picture) -> Result<Option<FileTree>, PortError> {
        Ok(None)
    }

    async fn file(&self, _: PresenceId, _: &str) -> Result<Option<SiteFile>, PortError> {
        Ok(None)
    }

    async fn remove_image(&self, _: PresenceId, _: &ImageId) -> Result<(), PortError> {
        Ok(())
    }

    async fn tidy(&self, _: PresenceId, _: &[Image], _: Timestamp) -> Result<usize, PortError> {
        Ok(0)
    }

    async fn remove_images(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Publications for Idle {
    async fn publish(
        &self,
        _: PresenceId,
        _: &DomainName,
        _: &RevisionHash,
        _: Timestamp,
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn set_service(&self, _: PresenceId, _: SiteService) -> Result<(), PortError> {
        Ok(())
    }

    async fn withdraw(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Mailboxes for Idle {
    async fn put_domain(
        &self,
        _: PresenceId,
        _: &MailDomain,
    ) -> Result<Vec<DkimRecord>, PortError> {
        Ok(vec![DkimRecord {
            selector: "hd2611r".to_owned(),
            text: "v=DKIM1; k=rsa; p=AAAA".to_owned(),
        }])
    }

    async fn set_password(
        &self,
        _: PresenceId,
        _: &MailAddress,
        _: &Secret,
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn rename(
        &self,
        _: PresenceId,
        _: &MailAddress,
        _: &MailAddress,
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn remove_alias(&self, _: PresenceId, _: &MailAddress) -> Result<(), PortError> {
        Ok(())
    }

    async fn clear_passwords(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }

    async fn remove_domain(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }

    async fn erase_mail(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl PasswordLinks for Idle {
    async fn put_link(&self, _: &PasswordLink) -> Result<Secret, PortError> {
        Ok(Secret::new("token"))
    }

    async fn link(&self, _: &Secret, _: Timestamp) -> Result<Option<PasswordLink>, PortError> {
        Ok(None)
    }

    async fn take_link(&self, _: &Secret, _: Timestamp) -> Result<Option<PasswordLink>, PortError> {
        Ok(None)
    }

    async fn remove_links(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Messages for Idle {
    async fn send(&self, _: &Letter) -> Result<(), PortError> {
        Ok(())
    }
}

fn letter(presence: &Presence) -> Letter {
    Letter {
        id: "bench".to_owned(),
        to: presence.plan.contact_email.clone(),
        subject: String::new(),
        text: String::new(),
        html: None,
    }
}

impl Letters for Idle {
    fn welcome(&self, presence: &Presence, _: &WelcomeFacts) -> Letter {
        letter(presence)
    }

    fn first(&self, presence: &Presence, _: OperationId) -> Letter {
        letter(presence)
    }

    fn notice(&self, presence: &Presence, _: &str, _: &Notice) -> Letter {
        letter(presence)
    }
}

#[async_trait]
impl Probes for Idle {
    async fn zone(&self, _: &DomainName, serial: u32) -> Result<ZoneProof, PortError> {
        Ok(ZoneProof { serial, servers: 2 })
    }

    async fn rrset(&self, _: &DomainName, _: &Rrset) -> Result<(), PortError> {
        Ok(())
    }

    async fn site(&self, _: &DomainName, revision: &str) -> Result<SiteProof, PortError> {
        Ok(SiteProof {
            certificate_serial: "01".to_owned(),
            revision: revision.to_owned(),
            protocol: "h2".to_owned(),
        })
    }

    async fn site_files(&self, _: &DomainName, _: &[FileProof]) -> Result<(), PortError> {
        Ok(())
    }

    async fn mail(&self, _: PresenceId, _: &MailAddress) -> Result<MailProof, PortError> {
        Ok(MailProof {
            received: "in".to_owned(),
            sent: "out".to_owned(),
            selector: "hd2611r".to_owned(),
        })
    }

    async fn mail_served(&self, _: PresenceId, _: &MailAddress) -> Result<(), PortError> {
        Ok(())
    }

    async fn zone_absent(&self, _: &DomainName) -> Result<(), PortError> {
        Ok(())
    }

    async fn site_stopped(&self, _: &DomainName, _: SiteService) -> Result<(), PortError> {
        Ok(())
    }

    async fn site_absent(&self, _: &DomainName) -> Result<(), PortError> {
        Ok(())
    }

    async fn mail_stopped(&self, _: PresenceId, _: &MailAddress) -> Result<(), PortError> {
        Ok(())
    }

    async fn mail_absent(&self, _: PresenceId, _: &MailAddress) -> Result<(), PortError> {
        Ok(())
    }
}
