//! Sites in memory behind the real edge, with a certificate of a key made for this run.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::{Platform, PlatformHost};
use hiendien_domain::secret::Secret;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_edge::probe::CertificateFinding;
use hiendien_edge::{Edge, EdgeSettings};
use hiendien_engine::ports::{
    Certificate, HostRole, Origin, PortError, Serving, ServingSite, SiteService, SiteStore,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

const APEX: &str = "hiendien.test";

/// Sites by host name, as an edge reads them.
#[derive(Debug)]
pub struct Served {
    sites: HashMap<DomainName, (ServingSite, Certificate)>,
    trees: HashMap<PresenceId, FileTree>,
    /// Base64 of the SHA-256 of the certificate's public key: what a browser is told to trust.
    pub key_pin: String,
}

impl Served {
    pub fn new(trees: impl IntoIterator<Item = (DomainName, FileTree)>) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let (mut sites, mut kept) = (HashMap::new(), HashMap::new());
        for (host, tree) in trees {
            let site = ServingSite {
                presence: PresenceId::new(),
                apex: host.clone(),
                role: HostRole::Apex,
                revision: Some(tree.revision()),
                service: SiteService::Serving,
            };
            kept.insert(site.presence, tree);
            let certificate = certificate(&host, &key)?;
            sites.insert(host, (site, certificate));
        }
        let pin = digest::digest(&digest::SHA256, &key.subject_public_key_info());
        Ok(Self {
            sites,
            trees: kept,
            key_pin: STANDARD.encode(pin),
        })
    }

    /// Binds an edge to port 443 of a loopback address; [`Edge::run`] serves.
    pub async fn bind(self: &Arc<Self>, address: IpAddr) -> anyhow::Result<Edge> {
        let host = |label: &str| -> anyhow::Result<PlatformHost> {
            Ok(PlatformHost {
                name: format!("{label}.{APEX}").parse()?,
                addresses: vec![address],
            })
        };
        let platform = Platform {
            apex: APEX.parse()?,
            name_servers: vec![host("ns1")?, host("ns2")?],
            edge_addresses: vec![address],
            mail_exchangers: vec![host("mx1")?],
            mail_address: address,
            outbound_addresses: vec![address],
            abuse_url: format!("https://{APEX}/abuse"),
        };
        let settings =
            EdgeSettings::new(Vec::new(), vec![SocketAddr::from((address, 443))], platform);
        let (serving, store) = (Arc::clone(self), Arc::clone(self));
        let edge = Edge::bind(settings, serving, store).await;
        edge.with_context(|| format!("cannot serve on {address}"))
    }
}

fn certificate(host: &DomainName, key: &KeyPair) -> anyhow::Result<Certificate> {
    let issued = CertificateParams::new(vec![host.to_string()])?.self_signed(key)?;
    let finding = CertificateFinding::read(issued.der()).map_err(anyhow::Error::msg)?;
    Ok(Certificate {
        names: vec![host.clone()],
        chain_pem: issued.pem(),
        key_pem: Secret::new(key.serialize_pem()),
        serial: finding.serial,
        not_before: finding.not_before,
        not_after: finding.not_after,
    })
}

#[async_trait]
impl Serving for Served {
    async fn site(&self, host: &DomainName) -> Result<Option<ServingSite>, PortError> {
        Ok(self.sites.get(host).map(|(site, _)| site.clone()))
    }

    async fn certificate(&self, host: &DomainName) -> Result<Option<Certificate>, PortError> {
        Ok(self
            .sites
            .get(host)
            .map(|(_, certificate)| certificate.clone()))
    }

    async fn version(&self) -> Result<u64, PortError> {
        Ok(1)
    }
}

/// Read only: what an edge does not ask for is refused.
#[async_trait]
impl SiteStore for Served {
    async fn put_revision(
        &self,
        _: PresenceId,
        _: &FileTree,
        _: &Origin,
    ) -> Result<RevisionHash, PortError> {
        Err(PortError::rejected(
            "keeping a revision",
            "these sites are for looking at",
        ))
    }

    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        let of = self
            .sites
            .values()
            .filter(|(site, _)| site.presence == presence);
        Ok(of.filter_map(|(site, _)| site.revision.clone()).collect())
    }

    async fn remove_revisions(&self, _: PresenceId) -> Result<(), PortError> {
        Err(PortError::rejected(
            "removing revisions",
            "these sites are for looking at",
        ))
    }

    async fn file(
        &self,
        presence: PresenceId,
        _: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError> {
        let tree = self.trees.get(&presence);
        Ok(tree.and_then(|tree| tree.get(path).cloned()))
    }
}
