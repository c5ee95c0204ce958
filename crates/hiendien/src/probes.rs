//! The [`Probes`] port: each question goes to the adapter that knows how to ask it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_dns::Asker;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
use hiendien_domain::records::Rrset;
use hiendien_edge::probe::{
    Resolve, Roots, SiteProbeSettings, probe_site, probe_site_absent, probe_site_files,
    probe_site_stopped,
};
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    FileProof, MailProof, PortError, Probes, SiteProof, SiteService, ZoneProof,
};
use hiendien_mail::{MailProbe, MailProbeSettings, OutsideMailbox};

use crate::config::Config;

/// Asks name servers, the edge and the mail servers over the wire.
pub(crate) struct OutsideProbes {
    pub(crate) asker: Asker,
    pub(crate) platform: Arc<Platform>,
    pub(crate) parent_servers: Vec<IpAddr>,
    pub(crate) issuing_roots: PathBuf,
    pub(crate) mail: MailProbe,
    pub(crate) clock: Arc<dyn Clock>,
}

impl OutsideProbes {
    /// Who is asked for the delegation. The platform's own name is delegated by its own registrar,
    /// not by the parents of presences.
    fn parents(&self, apex: &DomainName) -> &[IpAddr] {
        if *apex == self.platform.apex {
            &[]
        } else {
            &self.parent_servers
        }
    }
}

/// How the edge is asked from outside.
pub(crate) fn site_settings(
    platform: &Platform,
    issuing_roots: &std::path::Path,
) -> Result<SiteProbeSettings, PortError> {
    let roots = std::fs::read_to_string(issuing_roots).map_err(|error| {
        PortError::misconfigured(
            format!(
                "reading `acme.issuing_roots`, `{}`",
                issuing_roots.display()
            ),
            error,
        )
    })?;
    let mut settings = SiteProbeSettings::new(
        Resolve::Addresses(platform.edge_addresses.clone()),
        Roots::Pem(roots),
    );
    settings.limit = Duration::from_secs(5);
    Ok(settings)
}

#[async_trait]
impl Probes for OutsideProbes {
    async fn zone(&self, apex: &DomainName, serial: u32) -> Result<ZoneProof, PortError> {
        self.asker
            .prove_zone(&self.platform, self.parents(apex), apex, serial)
            .await
    }

    async fn zone_absent(&self, apex: &DomainName) -> Result<(), PortError> {
        self.asker
            .prove_zone_absent(&self.platform, self.parents(apex), apex)
            .await
    }

    async fn rrset(&self, _apex: &DomainName, rrset: &Rrset) -> Result<(), PortError> {
        self.asker.prove_rrset(&self.platform, rrset).await
    }

    async fn site(&self, apex: &DomainName, revision: &str) -> Result<SiteProof, PortError> {
        let settings = site_settings(&self.platform, &self.issuing_roots)?;
        probe_site(&settings, apex, revision).await
    }

    async fn site_files(&self, apex: &DomainName, files: &[FileProof]) -> Result<(), PortError> {
        let settings = site_settings(&self.platform, &self.issuing_roots)?;
        probe_site_files(&settings, apex, files).await
    }

    async fn site_stopped(&self, apex: &DomainName, service: SiteService) -> Result<(), PortError> {
        let settings = site_settings(&self.platform, &self.issuing_roots)?;
        probe_site_stopped(&settings, apex, service).await
    }

    async fn site_absent(&self, apex: &DomainName) -> Result<(), PortError> {
        let settings = site_settings(&self.platform, &self.issuing_roots)?;
        probe_site_absent(&settings, apex).await
    }

    async fn mail(
        &self,
        _presence: PresenceId,
        address: &MailAddress,
    ) -> Result<MailProof, PortError> {
        self.mail.prove(address, self.clock.now()).await
    }

    async fn mail_served(
        &self,
        _presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        self.mail.prove_served(address, self.clock.now()).await
    }

    async fn mail_stopped(
        &self,
        _presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        self.mail.prove_stopped(address, self.clock.now()).await
    }

    async fn mail_absent(
        &self,
        _presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        self.mail.prove_absent(address, self.clock.now()).await
    }
}

/// How the mail servers are asked from outside.
pub(crate) fn mail_settings(config: &Config) -> anyhow::Result<MailProbeSettings> {
    use anyhow::Context;
    let (outside, platform) = (&config.mail.outside, &config.platform);
    let exchanger = &platform.mail_exchangers[0];
    let address = exchanger
        .addresses
        .first()
        .context("`platform.mail_exchangers` needs an address")?;
    Ok(MailProbeSettings {
        exchanger_host: exchanger.name.clone(),
        exchanger: *address,
        exchangers: platform
            .mail_exchangers
            .iter()
            .flat_map(|host| host.addresses.iter().copied())
            .collect(),
        imap_host: platform.imap_host(),
        smtp_host: platform.smtp_host(),
        mail: platform.mail_address,
        roots: config.acme.issuing_roots.clone(),
        outside: OutsideMailbox {
            address: outside.address.clone(),
            imap: outside.imap,
            imap_name: outside.imap_name.clone(),
            roots: outside.roots.clone(),
            password_file: outside.password_file.clone(),
        },
        name_servers: config.dns.listen.clone(),
        delivery_limit: Duration::from_secs(15),
    })
}
