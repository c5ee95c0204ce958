//! What stands in the place of remote servers: each keeps its port's contract in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::name::{DomainName, LocalPart, MailAddress};
use hiendien_domain::records::{CaaIssuer, DkimRecord, RecordData, Rrset, service_names};
use hiendien_domain::secret::Secret;
use hiendien_domain::site::{BlobHash, FileTree, RevisionHash, SiteFile};
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    BuildJob, Certificate, CertificateVault, Certificates, FileProof, HostRole, Letter, MailDomain,
    MailProof, MailService, Mailboxes, Messages, PortError, Probes, Serving, SiteBuilder,
    SiteProof, SiteService, SiteStore, ZoneProof, ZoneSource,
};
use hiendien_engine::presence::Presence;
use hiendien_engine::step::{Letters, Notice, WelcomeFacts};
use hiendien_store::Store;
use hiendien_store::revisions::Revisions;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{MovedClock, locked, not_so};

/// A certificate authority that issues at once.
#[derive(Debug)]
pub struct Ca {
    store: Arc<Store>,
    clock: MovedClock,
    orders: Mutex<u32>,
    /// Ordered and perhaps not kept yet: whoever asks again gets the same, as with an order that is resumed.
    pending: Mutex<BTreeMap<PresenceId, Certificate>>,
    revoked: Mutex<BTreeSet<String>>,
}

impl Ca {
    pub(super) fn new(store: Arc<Store>, clock: MovedClock) -> Self {
        Self {
            store,
            clock,
            orders: Mutex::default(),
            pending: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    /// Certificates issued so far.
    pub fn orders(&self) -> u32 {
        *locked(&self.orders)
    }

    async fn issue(
        &self,
        presence: PresenceId,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        let certificate = {
            let mut pending = locked(&self.pending);
            let ordered = pending.entry(presence).or_insert_with(|| {
                let mut orders = locked(&self.orders);
                *orders += 1;
                let now = self.clock.now();
                Certificate {
                    names: names.to_vec(),
                    chain_pem: format!("chain {orders}"),
                    key_pem: Secret::new(format!("key {orders}")),
                    serial: format!("{:08x}", *orders),
                    not_before: now,
                    not_after: now + SignedDuration::from_hours(90 * 24),
                }
            });
            ordered.clone()
        };
        self.store.put_certificate(presence, &certificate).await?;
        locked(&self.pending).remove(&presence);
        Ok(certificate)
    }
}

#[async_trait]
impl Certificates for Ca {
    async fn issuers(&self) -> Result<Vec<CaaIssuer>, PortError> {
        Ok(vec![CaaIssuer {
            domain: "ca.test".to_owned(),
            account_uri: Some("https://ca.test/account/1".to_owned()),
        }])
    }

    async fn obtain(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        // A CA looks at the zone.
        let store = Arc::clone(&self.store);
        let at = apex.clone();
        let zone = tokio::task::spawn_blocking(move || store.zone_serial(&at));
        if zone.await.unwrap()?.is_none() {
            return Err(not_so("validating the name", "there is no zone"));
        }
        match CertificateVault::certificate(&*self.store, presence).await? {
            Some(there) if there.names == names => Ok(there),
            _ => self.issue(presence, names).await,
        }
    }

    async fn renewal_at(&self, presence: PresenceId) -> Result<Option<Timestamp>, PortError> {
        let there = CertificateVault::certificate(&*self.store, presence).await?;
        Ok(there.map(|there| there.not_after - SignedDuration::from_hours(30 * 24)))
    }

    async fn renew(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        match self.renewal_at(presence).await? {
            Some(at) if at <= self.clock.now() => self.issue(presence, names).await,
            _ => self.obtain(presence, apex, names).await,
        }
    }

    async fn remove(&self, presence: PresenceId) -> Result<(), PortError> {
        for certificate in self.store.certificates(presence).await? {
            locked(&self.revoked).insert(certificate.serial);
        }
        self.store.remove_certificates(presence).await
    }
}

/// Renders nothing but what it was given.
#[derive(Debug)]
pub(super) struct Builder;

#[async_trait]
impl SiteBuilder for Builder {
    async fn build(&self, job: &BuildJob) -> Result<FileTree, PortError> {
        let mut tree = FileTree::default();
        let text = json!({ "template": job.template, "content": job.content }).to_string();
        let file = SiteFile {
            media_type: "text/html; charset=utf-8".to_owned(),
            identity: text.into_bytes(),
            gzip: None,
            brotli: None,
        };
        tree.insert("index.html", file).unwrap();
        Ok(tree)
    }
}

#[derive(Debug, Clone)]
struct Domain {
    name: DomainName,
    service: MailService,
    /// Local part to password.
    mailboxes: BTreeMap<LocalPart, Option<String>>,
    aliases: BTreeSet<MailAddress>,
    dkim: Vec<DkimRecord>,
}

/// Mail servers.
#[derive(Debug, Default)]
pub struct Mail {
    domains: Mutex<BTreeMap<PresenceId, Domain>>,
    /// Who has stored mail.
    stored: Mutex<BTreeSet<PresenceId>>,
    removed: Mutex<BTreeSet<PresenceId>>,
}

impl Mail {
    pub(super) fn picture(&self, presence: PresenceId) -> Value {
        let domains = locked(&self.domains);
        let domain = domains.get(&presence).map(|domain| {
            let mailboxes: BTreeMap<String, bool> = domain
                .mailboxes
                .iter()
                .map(|(local, password)| (local.to_string(), password.is_some()))
                .collect();
            let selectors: Vec<_> = domain.dkim.iter().map(|key| &key.selector).collect();
            json!({
                "name": domain.name,
                "service": domain.service,
                "mailboxes": mailboxes,
                "aliases": domain.aliases,
                "dkim": selectors,
            })
        });
        json!({ "domain": domain, "stored": locked(&self.stored).contains(&presence) })
    }

    /// A domain that was lost, as by a fault of its server.
    pub fn lose(&self, presence: PresenceId) {
        locked(&self.domains).remove(&presence);
    }

    fn with<T>(
        &self,
        presence: PresenceId,
        action: &str,
        work: impl FnOnce(&mut Domain) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let mut domains = locked(&self.domains);
        let domain = domains
            .get_mut(&presence)
            .ok_or_else(|| PortError::rejected(action, "there is no such mail domain"))?;
        work(domain)
    }

    fn answers(&self, presence: PresenceId, address: &MailAddress) -> Option<MailService> {
        let domains = locked(&self.domains);
        let domain = domains.get(&presence)?;
        let known = domain
            .mailboxes
            .keys()
            .any(|local| local.at(&domain.name) == *address);
        known.then_some(domain.service)
    }
}

#[async_trait]
impl Mailboxes for Mail {
    async fn put_domain(
        &self,
        presence: PresenceId,
        domain: &MailDomain,
    ) -> Result<Vec<DkimRecord>, PortError> {
        let action = "setting up mail";
        if locked(&self.removed).contains(&presence) {
            return Err(PortError::rejected(
                action,
                "the presence has given its mail up",
            ));
        }
        let mut domains = locked(&self.domains);
        let taken = domains
            .iter()
            .any(|(holder, held)| *holder != presence && held.name == domain.name);
        if taken {
            return Err(PortError::rejected(
                action,
                "the name belongs to another presence",
            ));
        }
        let kept = domains.entry(presence).or_insert_with(|| Domain {
            name: domain.name.clone(),
            service: domain.service,
            mailboxes: BTreeMap::new(),
            aliases: BTreeSet::new(),
            dkim: vec![DkimRecord {
                selector: "hd2611r".to_owned(),
                text: "v=DKIM1; k=rsa; p=AAAA".to_owned(),
            }],
        });
        kept.service = domain.service;
        for local in &domain.mailboxes {
            kept.mailboxes.entry(local.clone()).or_default();
        }
        locked(&self.stored).insert(presence);
        Ok(kept.dkim.clone())
    }

    async fn set_password(
        &self,
        presence: PresenceId,
        address: &MailAddress,
        password: &Secret,
    ) -> Result<(), PortError> {
        self.with(presence, "setting a password", |domain| {
            let name = domain.name.clone();
            for (local, kept) in &mut domain.mailboxes {
                if local.at(&name) == *address {
                    *kept = Some(password.expose().to_owned());
                }
            }
            Ok(())
        })
    }

    async fn rename(
        &self,
        presence: PresenceId,
        from: &MailAddress,
        to: &MailAddress,
    ) -> Result<(), PortError> {
        let action = "renaming a mailbox";
        self.with(presence, action, |domain| {
            let name = domain.name.clone();
            let find = |address: &MailAddress| {
                let mut locals = domain.mailboxes.keys();
                locals.find(|local| local.at(&name) == *address).cloned()
            };
            let local = to.as_str().split('@').next().unwrap_or_default();
            let new: LocalPart = local.parse().unwrap();
            match (find(from), find(to)) {
                (None, Some(_)) if domain.aliases.contains(from) => return Ok(()),
                (None, _) => return Err(PortError::rejected(action, "there is none")),
                (Some(_), Some(_)) => return Err(PortError::rejected(action, "it is taken")),
                (Some(old), None) => {
                    let password = domain.mailboxes.remove(&old).flatten();
                    domain.mailboxes.insert(new, password);
                }
            }
            domain.aliases.remove(to);
            domain.aliases.insert(from.clone());
            Ok(())
        })
    }

    async fn remove_alias(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        self.with(presence, "removing an alias", |domain| {
            domain.aliases.remove(address);
            Ok(())
        })
    }

    async fn clear_passwords(&self, presence: PresenceId) -> Result<(), PortError> {
        self.with(presence, "clearing passwords", |domain| {
            domain.mailboxes.values_mut().for_each(|kept| *kept = None);
            Ok(())
        })
    }

    async fn remove_domain(&self, presence: PresenceId) -> Result<(), PortError> {
        locked(&self.domains).remove(&presence);
        locked(&self.removed).insert(presence);
        Ok(())
    }

    async fn erase_mail(&self, presence: PresenceId) -> Result<(), PortError> {
        if locked(&self.domains).contains_key(&presence) {
            return Err(PortError::rejected(
                "erasing mail",
                "it still has a mail domain",
            ));
        }
        locked(&self.stored).remove(&presence);
        Ok(())
    }
}

/// A mail server that takes letters.
#[derive(Debug, Default)]
pub struct Post {
    letters: Mutex<BTreeMap<String, Letter>>,
    /// Subjects in the order they were handed in, repeated ones too.
    handed_in: Mutex<Vec<String>>,
}

impl Post {
    /// How often letters with this subject were handed in.
    pub fn sent(&self, subject: &str) -> usize {
        let handed_in = locked(&self.handed_in);
        handed_in.iter().filter(|sent| *sent == subject).count()
    }

    /// What each letter was about and to whom; one that was sent twice is one to its reader.
    pub fn letters(&self) -> Vec<String> {
        let letters = locked(&self.letters);
        let mut told: Vec<_> = letters
            .values()
            .map(|letter| format!("{} to {}", letter.subject, letter.to))
            .collect();
        told.sort();
        told
    }
}

#[async_trait]
impl Messages for Post {
    async fn send(&self, letter: &Letter) -> Result<(), PortError> {
        locked(&self.handed_in).push(letter.subject.clone());
        let mut letters = locked(&self.letters);
        if let Some(earlier) = letters.insert(letter.id.clone(), letter.clone()) {
            assert_eq!(earlier, *letter, "a letter sent again says the same");
        }
        Ok(())
    }
}

/// Writes letters of one word.
#[derive(Debug)]
pub(super) struct Writer;

fn letter(id: String, to: &MailAddress, subject: &str, text: String) -> Letter {
    Letter {
        id,
        to: to.clone(),
        subject: subject.to_owned(),
        text,
        html: None,
    }
}

impl Letters for Writer {
    fn welcome(&self, presence: &Presence, facts: &WelcomeFacts) -> Letter {
        let text = format!("{:?}", facts.password_urls);
        let id = format!("welcome-{}", facts.operation);
        letter(id, &presence.plan.contact_email, "welcome", text)
    }

    fn first(&self, presence: &Presence, operation: OperationId) -> Letter {
        let to = presence.plan.mailboxes[0].at(&presence.plan.name);
        letter(format!("first-{operation}"), &to, "first", String::new())
    }

    fn notice(&self, presence: &Presence, id: &str, notice: &Notice) -> Letter {
        let text = format!("{notice:?}");
        let subject = text
            .split(|letter: char| !letter.is_alphanumeric())
            .next()
            .unwrap_or_default()
            .to_owned();
        letter(id.to_owned(), &presence.plan.contact_email, &subject, text)
    }
}

/// Sees what is served.
#[derive(Debug)]
pub(super) struct Eyes {
    pub(super) store: Arc<Store>,
    pub(super) mail: Arc<Mail>,
    pub(super) revisions: Arc<Revisions>,
}

#[async_trait]
impl Probes for Eyes {
    async fn zone(&self, apex: &DomainName, serial: u32) -> Result<ZoneProof, PortError> {
        let (store, at) = (Arc::clone(&self.store), apex.clone());
        let asked = tokio::task::spawn_blocking(move || {
            Ok::<_, PortError>((store.zone_serial(&at)?, store.delegation(&at)?))
        });
        let (found, delegation) = asked.await.unwrap()?;
        if delegation.is_none() {
            return Err(not_so("asking the parent", "it does not delegate"));
        }
        match found {
            Some(found) if found >= serial => Ok(ZoneProof {
                serial: found,
                servers: 2,
            }),
            found => Err(not_so("asking the name servers", format!("{found:?}"))),
        }
    }

    async fn rrset(&self, apex: &DomainName, rrset: &Rrset) -> Result<(), PortError> {
        let (store, at) = (Arc::clone(&self.store), apex.clone());
        let zone = tokio::task::spawn_blocking(move || store.zone(&at))
            .await
            .unwrap()?;
        let kind = rrset.records.first().map(RecordData::kind);
        let there = zone.is_some_and(|zone| {
            zone.spec.rrsets.iter().any(|found| {
                found.owner == rrset.owner
                    && found.records.first().map(RecordData::kind) == kind
                    && found.records == rrset.records
            })
        });
        if there {
            return Ok(());
        }
        Err(not_so(
            "asking for an RRset",
            format!("{rrset:?} is not there"),
        ))
    }

    async fn site(&self, apex: &DomainName, revision: &str) -> Result<SiteProof, PortError> {
        let action = "asking the edge";
        for host in &service_names(apex)[..2] {
            let site = self.store.site(host).await?;
            let site = site.ok_or_else(|| not_so(action, "it does not know the name"))?;
            if site.service != SiteService::Serving {
                return Err(not_so(action, "it shows a notice"));
            }
            let served = site.revision.as_ref().map(RevisionHash::as_str);
            if site.role == HostRole::Apex && served != Some(revision) {
                return Err(not_so(action, format!("it serves {served:?}")));
            }
        }
        let certificate = self.store.certificate_of(apex).await?;
        Ok(SiteProof {
            certificate_serial: certificate.serial,
            revision: revision.to_owned(),
            protocol: "h2".to_owned(),
        })
    }

    async fn site_files(&self, apex: &DomainName, files: &[FileProof]) -> Result<(), PortError> {
        let action = "asking the edge for files";
        let site = self.store.site(apex).await?;
        let site = site.ok_or_else(|| not_so(action, "it does not know the name"))?;
        let revision = site
            .revision
            .ok_or_else(|| not_so(action, "it serves nothing"))?;
        for file in files {
            let read = self.revisions.file(site.presence, &revision, &file.path);
            let read = read.await?;
            let read = read.ok_or_else(|| not_so(action, "it has no such file"))?;
            if BlobHash::of(&read.identity) != file.sha256 {
                return Err(not_so(action, format!("`{}` is another", file.path)));
            }
        }
        Ok(())
    }

    async fn mail(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<MailProof, PortError> {
        self.mail_served(presence, address).await?;
        Ok(MailProof {
            received: "in".to_owned(),
            sent: "out".to_owned(),
            selector: "hd2611r".to_owned(),
        })
    }

    async fn mail_served(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        match self.mail.answers(presence, address) {
            Some(MailService::Active) => Ok(()),
            other => Err(not_so("asking the mail servers", format!("{other:?}"))),
        }
    }

    async fn zone_absent(&self, apex: &DomainName) -> Result<(), PortError> {
        let (store, at) = (Arc::clone(&self.store), apex.clone());
        let asked = tokio::task::spawn_blocking(move || {
            Ok::<_, PortError>((store.zone_serial(&at)?, store.delegation(&at)?))
        });
        match asked.await.unwrap()? {
            (None, None) => Ok(()),
            found => Err(not_so(
                "asking for a zone that is gone",
                format!("{found:?}"),
            )),
        }
    }

    async fn site_stopped(&self, apex: &DomainName, service: SiteService) -> Result<(), PortError> {
        let action = "asking the edge for a notice";
        let site = self.store.site(apex).await?;
        let site = site.ok_or_else(|| not_so(action, "it does not know the name"))?;
        self.store.certificate_of(apex).await?;
        if site.service == service {
            return Ok(());
        }
        Err(not_so(action, format!("it shows {:?}", site.service)))
    }

    async fn site_absent(&self, apex: &DomainName) -> Result<(), PortError> {
        for host in service_names(apex) {
            let known = self.store.site(&host).await?.is_some()
                || Serving::certificate(&*self.store, &host).await?.is_some();
            if known {
                return Err(not_so("asking the edge", "it knows the name still"));
            }
        }
        Ok(())
    }

    async fn mail_stopped(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        match self.mail.answers(presence, address) {
            Some(MailService::Suspended) => Ok(()),
            other => Err(not_so("asking the mail servers", format!("{other:?}"))),
        }
    }

    async fn mail_absent(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        match self.mail.answers(presence, address) {
            None => Ok(()),
            other => Err(not_so("asking the mail servers", format!("{other:?}"))),
        }
    }
}

/// The certificate served for a host, which must be there.
#[async_trait]
trait Served {
    async fn certificate_of(&self, host: &DomainName) -> Result<Certificate, PortError>;
}

#[async_trait]
impl Served for Store {
    async fn certificate_of(&self, host: &DomainName) -> Result<Certificate, PortError> {
        let found = Serving::certificate(self, host).await?;
        found.ok_or_else(|| not_so("asking the edge", "it has no certificate for the name"))
    }
}
