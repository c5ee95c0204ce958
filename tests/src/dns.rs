//! The embedded DNS server on a store of its own, with the lab's registry, and `dig`.

#![expect(
    clippy::unwrap_used,
    reason = "a test bed that cannot be set up fails the test"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_dns::{Asker, DnsError, DnsServer, ServerSettings};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::{Platform, PlatformHost};
use hiendien_domain::records::Rrset;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    FileProof, MailProof, PortError, Probes, SiteProof, SiteService, ZoneProof,
};
use hiendien_store::{Place, Store, StoreSettings};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::net::address;

/// A server with its store. It stops on `Drop`.
#[derive(Debug)]
pub struct Dns {
    pub store: Store,
    pub platform: Arc<Platform>,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), DnsError>>,
}

/// A platform whose name servers are this test's; all else are addresses for documentation (RFC 5737).
pub fn platform() -> Platform {
    let host = |name: &str, address: &str| PlatformHost {
        name: name.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
    };
    let server = |name: &str, host: u8| PlatformHost {
        name: name.parse().unwrap(),
        addresses: vec![address(host).into()],
    };
    Platform {
        apex: "hiendien.test".parse().unwrap(),
        name_servers: vec![
            server("ns1.hiendien.test", 53),
            server("ns2.hiendien.test", 54),
        ],
        edge_addresses: vec![
            "192.0.2.10".parse().unwrap(),
            "2001:db8::10".parse().unwrap(),
        ],
        mail_exchangers: vec![
            host("mx1.mail.hiendien.test", "192.0.2.25"),
            host("mx2.mail.hiendien.test", "192.0.2.26"),
        ],
        mail_address: "192.0.2.25".parse().unwrap(),
        outbound_addresses: vec!["192.0.2.25".parse().unwrap()],
        abuse_url: "https://hiendien.test/bao-cao".to_owned(),
    }
}

/// Where the servers of a test listen: two name servers and the registry.
pub fn settings(platform: &Arc<Platform>) -> ServerSettings {
    let at = |host| SocketAddr::from((address(host), 53));
    ServerSettings {
        listen: vec![at(53), at(54)],
        listen_registry: vec![at(10)],
        platform: Arc::clone(platform),
    }
}

impl Dns {
    /// Opens a new store and answers from it.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store_settings = StoreSettings {
            place: Place::Sqlite(folder.path().join("store.db")),
            seal_key: folder.path().join("seal.key"),
        };
        let store = Store::open(&store_settings, clock).unwrap();
        let platform = Arc::new(platform());
        let server = DnsServer::bind(&settings(&platform), Arc::new(store.clone()))
            .await
            .unwrap();
        let (stop, stopping) = watch::channel(false);
        Self {
            store,
            platform,
            _folder: folder,
            _stop: stop,
            running: tokio::spawn(server.run(stopping)),
        }
    }

    /// Asks the servers of this bed.
    pub fn outsider(&self) -> Outsider {
        Outsider {
            asker: Asker {
                limit: Duration::from_secs(3),
                ..Asker::default()
            },
            platform: Arc::clone(&self.platform),
            parents: vec![address(10).into()],
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Probes of a bed that has DNS and nothing else.
#[derive(Debug, Clone)]
pub struct Outsider {
    pub asker: Asker,
    pub platform: Arc<Platform>,
    pub parents: Vec<IpAddr>,
}

fn absent(what: &str) -> PortError {
    PortError::misconfigured(format!("asking {what}"), "this test bed has DNS only")
}

#[async_trait]
impl Probes for Outsider {
    async fn zone(&self, apex: &DomainName, serial: u32) -> Result<ZoneProof, PortError> {
        self.asker
            .prove_zone(&self.platform, &self.parents, apex, serial)
            .await
    }

    async fn rrset(&self, _apex: &DomainName, rrset: &Rrset) -> Result<(), PortError> {
        self.asker.prove_rrset(&self.platform, rrset).await
    }

    async fn site(&self, _apex: &DomainName, _revision: &str) -> Result<SiteProof, PortError> {
        Err(absent("the site"))
    }

    async fn site_files(&self, _apex: &DomainName, _files: &[FileProof]) -> Result<(), PortError> {
        Err(absent("the site"))
    }

    async fn mail(
        &self,
        _presence: PresenceId,
        _address: &MailAddress,
    ) -> Result<MailProof, PortError> {
        Err(absent("the mail servers"))
    }

    async fn mail_served(
        &self,
        _presence: PresenceId,
        _address: &MailAddress,
    ) -> Result<(), PortError> {
        Err(absent("the mail servers"))
    }

    async fn zone_absent(&self, apex: &DomainName) -> Result<(), PortError> {
        self.asker
            .prove_zone_absent(&self.platform, &self.parents, apex)
            .await
    }

    async fn site_stopped(
        &self,
        _apex: &DomainName,
        _service: SiteService,
    ) -> Result<(), PortError> {
        Err(absent("the site"))
    }

    async fn site_absent(&self, _apex: &DomainName) -> Result<(), PortError> {
        Err(absent("the site"))
    }

    async fn mail_stopped(
        &self,
        _presence: PresenceId,
        _address: &MailAddress,
    ) -> Result<(), PortError> {
        Err(absent("the mail servers"))
    }

    async fn mail_absent(
        &self,
        _presence: PresenceId,
        _address: &MailAddress,
    ) -> Result<(), PortError> {
        Err(absent("the mail servers"))
    }
}

/// Runs `dig` at one of this test's servers and returns what it prints, runs of blanks made one.
pub async fn dig(host: u8, arguments: &str) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", address(host)))
        .args(["+norecurse", "+tries=1", "+timeout=3"])
        .args(arguments.split_whitespace())
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!("cannot run `dig` ({error}): `apt-get install bind9-dnsutils`")
        });
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n")
}
