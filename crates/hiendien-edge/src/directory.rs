//! What is served under which host name: the edge's view of [`Serving`], kept in bounded caches.
//!
//! An entry remembers the version it was read at. Once the version moved, each name is read again
//! when it is next asked for, so a change is seen at once and costs one look-up per name in use.
//! Names that are not ours are never kept, so asking for them cannot push ours out. While the
//! store cannot be asked, what is in memory keeps being served.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hiendien_domain::name::DomainName;
use hiendien_engine::ports::{Certificate, ErrorChain, PortError, Serving, ServingSite};
use quick_cache::sync::Cache;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Limits;

/// See the module.
pub(crate) struct Directory {
    serving: Arc<dyn Serving>,
    sites: Names<Arc<ServingSite>>,
    certificates: Names<Arc<HostTls>>,
    /// What all names have in common; their session tickets too (rustls resumes only under the same name).
    base: ServerConfig,
    provider: Arc<CryptoProvider>,
    store_timeout: Duration,
    /// Whether the last read of the store failed; said once, not per request.
    failing: AtomicBool,
}

type Names<T> = Cache<DomainName, Read<T>>;

#[derive(Clone)]
struct Read<T> {
    version: u64,
    value: T,
}

struct HostTls {
    certificate: Certificate,
    config: Arc<ServerConfig>,
}

impl Directory {
    pub(crate) fn new(serving: Arc<dyn Serving>, limits: &Limits) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut base = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        base.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        base.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let cached_names = limits.cached_names as usize;
        Ok(Self {
            serving,
            sites: Cache::new(cached_names),
            certificates: Cache::new(cached_names),
            base,
            provider,
            store_timeout: limits.store,
            failing: AtomicBool::new(false),
        })
    }

    /// The site behind a host name, `None` for a name that is not ours.
    pub(crate) async fn site(
        &self,
        host: &DomainName,
    ) -> Result<Option<Arc<ServingSite>>, PortError> {
        self.current(&self.sites, host, async |_| {
            let site = self.bounded("site", host, self.serving.site(host)).await?;
            Ok(site.map(Arc::new))
        })
        .await
    }

    /// How to answer a TLS handshake for a host name, `None` where there is no certificate for it.
    pub(crate) async fn tls(
        &self,
        host: &DomainName,
    ) -> Result<Option<Arc<ServerConfig>>, PortError> {
        let tls = self
            .current(&self.certificates, host, async |known| {
                let certificate = self.serving.certificate(host);
                match (self.bounded("certificate", host, certificate).await?, known) {
                    (None, _) => Ok(None),
                    (Some(certificate), Some(known)) if known.certificate == certificate => {
                        Ok(Some(known))
                    }
                    (Some(certificate), _) => self.host_tls(host, certificate).map(Some),
                }
            })
            .await?;
        Ok(tls.map(|tls| Arc::clone(&tls.config)))
    }

    fn host_tls(
        &self,
        host: &DomainName,
        certificate: Certificate,
    ) -> Result<Arc<HostTls>, PortError> {
        let action = || format!("use the stored certificate of `{host}`");
        let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PortError::rejected(action(), error))?;
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.expose().as_bytes())
            .map_err(|error| PortError::rejected(action(), error))?;
        let certified = CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|error| PortError::rejected(action(), error))?;
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Ok(Arc::new(HostTls {
            certificate,
            config: Arc::new(config),
        }))
    }

    /// Answers from `cache` where it is of the present version, otherwise by `read`, which is
    /// given the value of an older version. A failure is an answer only where nothing is cached.
    async fn current<T: Clone>(
        &self,
        cache: &Names<T>,
        host: &DomainName,
        read: impl AsyncFnOnce(Option<T>) -> Result<Option<T>, PortError>,
    ) -> Result<Option<T>, PortError> {
        let known = cache.get(host);
        // Read before the value: a change in between makes the entry too old, never too new.
        let result = match self.bounded("version", host, self.serving.version()).await {
            Ok(version) => match &known {
                Some(known) if known.version == version => return Ok(Some(known.value.clone())),
                _ => {
                    let older = known.as_ref().map(|known| known.value.clone());
                    read(older).await.map(|value| (version, value))
                }
            },
            Err(error) => Err(error),
        };
        match (result, known) {
            (Ok((version, Some(value))), _) => {
                let entry = Read {
                    version,
                    value: value.clone(),
                };
                cache.insert(host.clone(), entry);
                self.recovered();
                Ok(Some(value))
            }
            (Ok((_, None)), _) => {
                cache.remove(host);
                self.recovered();
                Ok(None)
            }
            (Err(error), Some(known)) => {
                self.failed(&error);
                Ok(Some(known.value))
            }
            (Err(error), None) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    async fn bounded<T>(
        &self,
        what: &str,
        host: &DomainName,
        read: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        match tokio::time::timeout(self.store_timeout, read).await {
            Ok(result) => result,
            Err(elapsed) => {
                let action = format!("read the {what} for `{host}`");
                Err(PortError::transient(action, elapsed))
            }
        }
    }

    fn failed(&self, error: &PortError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = %ErrorChain(error),
                "The edge cannot read the store; names in memory are still served"
            );
        }
    }

    fn recovered(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("The edge reads the store again");
        }
    }
}

/// Stands in the base configuration, which answers no handshake itself.
#[derive(Debug)]
struct NoCertificate;

impl rustls::server::ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
