//! The ACME test CA Pebble (Debian package `pebble`), with validation on.

#![expect(
    clippy::unwrap_used,
    reason = "a test bed that cannot be set up fails the test"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::wait::wait_for;

const DIRECTORY_PORT: u16 = 14000;
const MANAGEMENT_PORT: u16 = 15000;

/// A Pebble with its own folder and HTTPS certificate. It is killed on `Drop`, and forgets all
/// accounts, orders and roots whenever it stops.
#[derive(Debug)]
pub struct Pebble {
    address: Ipv4Addr,
    dns: SocketAddr,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Pebble {
    /// Prepares a Pebble at `address` that asks the name server at `dns`. It does not run yet.
    pub fn new(address: Ipv4Addr, dns: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root_key = KeyPair::generate().unwrap();
        let mut root_params = CertificateParams::default();
        root_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = root_params.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new([address.to_string()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("root.pem"), root.pem()).unwrap();
        std::fs::write(file("cert.pem"), own.pem()).unwrap();
        std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": SocketAddr::from((address, DIRECTORY_PORT)),
            "managementListenAddress": SocketAddr::from((address, MANAGEMENT_PORT)),
            "certificate": file("cert.pem"),
            "privateKey": file("key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
        }});
        std::fs::write(file("config.json"), config.to_string()).unwrap();
        Self {
            address,
            dns,
            folder,
            child: None,
        }
    }

    /// Starts it without its artificial sleeps and waits until it listens. `environment` goes on
    /// top, such as `PEBBLE_WFE_NONCEREJECT`.
    pub async fn start(&mut self, environment: &[(&str, &str)]) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(self.folder.path().join("config.json"))
            .args(["-strict", "-dnsserver", &self.dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start `pebble` ({error}): `apt-get install pebble`")
            });
        self.child = Some(child);
        let address = SocketAddr::from((self.address, DIRECTORY_PORT));
        wait_for("pebble to listen", Duration::from_secs(10), || async {
            TcpStream::connect(address)
                .await
                .map_err(|error| format!("{error}; its log says: {}", self.log()))
        })
        .await;
    }

    /// Stops it and waits until it is gone.
    pub async fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    pub fn directory(&self) -> String {
        format!("https://{}:{DIRECTORY_PORT}/dir", self.address)
    }

    /// PEM file with the root of its HTTPS certificate.
    pub fn https_root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How often its log has this text.
    pub fn log_count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// The root of the certificates it issues, of this start.
    pub async fn issuing_root(&self) -> CertificateDer<'static> {
        let answer = self.managed("roots/0").await.bytes().await.unwrap();
        CertificateDer::from_pem_slice(&answer).unwrap()
    }

    /// What it says of a certificate by its hexadecimal serial: `Valid`, or `Revoked` with the number
    /// of the reason (RFC 5280, 5.3.1).
    pub async fn certificate_status(&self, serial: &str) -> (String, Option<u64>) {
        let serial = serial.trim_start_matches('0');
        let answer = self
            .managed(&format!("cert-status-by-serial/{serial}"))
            .await;
        assert!(answer.status().is_success(), "{serial}: {answer:?}");
        let told: serde_json::Value = answer.json().await.unwrap();
        let status = told["Status"].as_str().unwrap().to_owned();
        (status, told["Reason"].as_u64())
    }

    /// Asks its management interface.
    async fn managed(&self, path: &str) -> reqwest::Response {
        let address = IpAddr::from(self.address);
        let url = format!("https://{address}:{MANAGEMENT_PORT}/{path}");
        self.client().get(url).send().await.unwrap()
    }

    /// A client that trusts its HTTPS certificate.
    pub(crate) fn client(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_backend_preconfigured(trusting(&[pem(&self.https_root())]))
            .timeout(Duration::from_secs(5))
            .http1_only()
            .no_proxy()
            .build()
            .unwrap()
    }

    /// A TLS server that shows its HTTPS certificate, at the same address.
    pub(crate) fn server_tls(&self) -> ServerConfig {
        let file = |name: &str| self.folder.path().join(name);
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pem(&file("cert.pem"))], key)
            .unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((self.address, DIRECTORY_PORT))
    }
}

fn pem(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    store
}

/// A TLS client that trusts these roots and nothing else.
pub fn trusting(roots: &[CertificateDer<'static>]) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store(roots))
        .with_no_client_auth()
}

/// Verifies a chain for a host as a TLS client does.
pub fn verify(
    chain_pem: &str,
    root: &CertificateDer<'static>,
    host: &str,
) -> Result<(), rustls::Error> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let (leaf, intermediates) = chain.split_first().unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(store(std::slice::from_ref(root))),
        Arc::new(aws_lc_rs::default_provider()),
    )
    .build()
    .unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    verifier
        .verify_server_cert(leaf, intermediates, &name, &[], UnixTime::now())
        .map(|_| ())
}
