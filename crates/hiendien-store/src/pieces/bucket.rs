//! Pieces in a bucket of an S3 service, in the same layout as in a folder.
//!
//! S3 has no locks. Whoever is to be alone with a presence writes a lease into one object,
//! by a conditional put; it is let go by making it end, and one that was left behind ends by itself.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hiendien_domain::ids::PresenceId;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::PortError;
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectMeta, ObjectStore as _, ObjectStoreExt as _,
    PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{Found, Hold, Piece, Pieces, Wait, Writing};

/// Requests at once of one call.
const AT_ONCE: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One try of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const RETRIES_MAX: usize = 3;
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// All tries of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(25);
const IDLE_MAX: Duration = Duration::from_mins(1);

const LEASE: &str = "lease.json";
/// How long a lease that was left behind is in the way.
const LEASE_FOR: Duration = Duration::from_secs(75);
/// How long a lease of another is waited for, and the pause between two looks.
const LEASE_WAIT: Duration = Duration::from_secs(10);
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// A bucket, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// `https://s3.example`; plain HTTP to a loopback address alone.
    pub endpoint: Url,
    pub bucket: String,
    /// Begins the name of every object; empty for the whole bucket.
    pub prefix: String,
    pub region: String,
    pub access_key_file: PathBuf,
    pub secret_key_file: PathBuf,
    /// Whether the bucket is named in the path, not in the host name.
    pub path_style: bool,
    /// PEM file with the roots of the service's certificate; without it those that browsers trust.
    pub roots: Option<PathBuf>,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("cannot read `{path}`")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{0}` holds no certificate")]
    Roots(PathBuf),
    #[error("`{0}` speaks plain HTTP, which is for a loopback address alone: use `https://`")]
    Plain(Url),
    #[error("the settings of the bucket do not go together")]
    Settings(#[source] Error),
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

pub(crate) struct Bucket {
    store: Arc<AmazonS3>,
    /// Begins the name of every object of ours, empty or with a slash at its end.
    prefix: String,
    /// Of what the pieces are.
    what: &'static str,
    place: String,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Bucket").field(&self.place).finish()
    }
}

/// Hands out the one client, with our TLS and our limits.
#[derive(Debug)]
struct OneClient(reqwest::Client);

impl HttpConnector for OneClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

fn secret(path: &PathBuf) -> Result<String, S3Error> {
    let text = fs::read_to_string(path).map_err(|source| S3Error::File {
        path: path.clone(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

fn client(settings: &S3Settings) -> Result<reqwest::Client, S3Error> {
    let mut roots = RootCertStore::empty();
    match &settings.roots {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let pem = fs::read(path).map_err(|source| S3Error::File {
                path: path.clone(),
                source,
            })?;
            for root in CertificateDer::pem_slice_iter(&pem) {
                let added = root.is_ok_and(|root| roots.add(root).is_ok());
                if !added {
                    return Err(S3Error::Roots(path.clone()));
                }
            }
            if roots.is_empty() {
                return Err(S3Error::Roots(path.clone()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(S3Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_idle_timeout(IDLE_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(S3Error::Client)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(_)) | None => false,
    }
}

impl Bucket {
    /// Uses what begins with `folder`, after the prefix of the settings. Asks nothing yet.
    pub(crate) fn open(
        settings: &S3Settings,
        folder: &str,
        what: &'static str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, S3Error> {
        let plain = settings.endpoint.scheme() != "https";
        if plain && !is_loopback(&settings.endpoint) {
            return Err(S3Error::Plain(settings.endpoint.clone()));
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: RETRY_PAUSE_FIRST,
                max_backoff: RETRY_PAUSE_MAX,
                base: 2.0,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: REQUEST_LIMIT,
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(settings.endpoint.as_str().trim_end_matches('/'))
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(secret(&settings.access_key_file)?)
            .with_secret_access_key(secret(&settings.secret_key_file)?)
            .with_virtual_hosted_style_request(!settings.path_style)
            .with_allow_http(plain)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .with_http_connector(OneClient(client(settings)?))
            .build()
            .map_err(S3Error::Settings)?;
        let mut prefix = String::new();
        for part in [settings.prefix.trim_matches('/'), folder] {
            if !part.is_empty() {
                prefix.push_str(part);
                prefix.push('/');
            }
        }
        Ok(Self {
            store: Arc::new(store),
            prefix,
            what,
            place: format!("{} at {}", settings.bucket, settings.endpoint),
            clock,
        })
    }

    fn root(&self, presence: PresenceId) -> String {
        format!("{}{presence}", self.prefix)
    }

    fn key(&self, presence: PresenceId, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.root(presence)))
    }

    fn error(&self, doing: &str, error: Error) -> PortError {
        let action = format!("{doing} {} in bucket `{}`", self.what, self.place);
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                PortError::misconfigured(
                    format!("{action}: the key of `revisions.s3` does not allow it; it"),
                    error,
                )
            }
            error => PortError::transient(action, error),
        }
    }

    /// All objects under a key.
    async fn under(&self, key: &Key, doing: &str) -> Result<Vec<ObjectMeta>, PortError> {
        let listed: Result<Vec<_>, _> = self.store.list(Some(key)).try_collect().await;
        listed.map_err(|error| self.error(doing, error))
    }

    async fn remove_keys(&self, keys: Vec<Key>, doing: &str) -> Result<(), PortError> {
        let keys = stream::iter(keys.into_iter().map(Ok)).boxed();
        let removed = self.store.delete_stream(keys);
        let removed: Vec<Result<Key, Error>> = removed.collect().await;
        for removed in removed {
            match removed {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error(doing, error)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Pieces for Bucket {
    async fn put(&self, presence: PresenceId, pieces: Vec<Piece>) -> Result<(), PortError> {
        let puts = pieces.into_iter().map(|piece| {
            let key = self.key(presence, &piece.name);
            async move {
                let mode = match piece.writing {
                    Writing::Once => PutMode::Create,
                    Writing::Over => PutMode::Overwrite,
                };
                let payload = PutPayload::from_bytes(piece.octets);
                match self.store.put_opts(&key, payload, mode.into()).await {
                    Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
                    Err(error) => Err(self.error("writing", error)),
                }
            }
        });
        stream::iter(puts)
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    async fn get(&self, presence: PresenceId, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let read = async {
            let found = self.store.get(&self.key(presence, name)).await?;
            found.bytes().await
        };
        match read.await {
            Ok(octets) => Ok(Some(octets.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("reading", error)),
        }
    }

    async fn list(&self, presence: PresenceId, folder: &str) -> Result<Vec<Found>, PortError> {
        let key = self.key(presence, folder);
        let found = self.under(&key, "listing").await?;
        let found = found.into_iter().filter_map(|object| {
            Some(Found {
                name: object.location.filename()?.to_owned(),
                bytes: object.size,
                written_at: Timestamp::from_second(object.last_modified.timestamp()).ok()?,
            })
        });
        Ok(found.collect())
    }

    async fn remove(&self, presence: PresenceId, names: Vec<String>) -> Result<(), PortError> {
        let keys = names.iter().map(|name| self.key(presence, name)).collect();
        self.remove_keys(keys, "taking from").await
    }

    async fn erase(&self, presence: PresenceId, first: Option<&str>) -> Result<(), PortError> {
        let doing = "erasing";
        let first = first.map(|first| self.key(presence, first));
        for root in first.into_iter().chain([Key::from(self.root(presence))]) {
            let keys = self.under(&root, doing).await?;
            let keys = keys.into_iter().map(|object| object.location).collect();
            self.remove_keys(keys, doing).await?;
        }
        Ok(())
    }

    async fn hold(
        &self,
        presence: PresenceId,
        wait: Wait,
    ) -> Result<Option<Box<dyn Hold>>, PortError> {
        let key = self.key(presence, LEASE);
        let began = Instant::now();
        loop {
            if let Some(lease) = self.lease(&key).await? {
                return Ok(Some(Box::new(lease)));
            }
            if wait == Wait::No || began.elapsed() > LEASE_WAIT {
                return Ok(None);
            }
            tokio::time::sleep(LEASE_PAUSE).await;
        }
    }
}

/// What the object of a lease says.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    holder: Uuid,
    until: Timestamp,
}

impl Written {
    fn payload(&self) -> PutPayload {
        let json = format!(r#"{{"holder":"{}","until":"{}"}}"#, self.holder, self.until);
        PutPayload::from_bytes(Bytes::from(json))
    }
}

struct Lease {
    store: Arc<AmazonS3>,
    key: Key,
    version: UpdateVersion,
    written: Written,
    taken: Instant,
}

impl Bucket {
    /// Takes the lease where no other holds it.
    async fn lease(&self, key: &Key) -> Result<Option<Lease>, PortError> {
        let doing = "taking the lease of";
        let now = self.clock.now();
        let mode = match self.store.get(key).await {
            Err(Error::NotFound { .. }) => PutMode::Create,
            Err(error) => return Err(self.error(doing, error)),
            Ok(found) => {
                let version = UpdateVersion {
                    e_tag: found.meta.e_tag.clone(),
                    version: found.meta.version.clone(),
                };
                let json = found.bytes().await;
                let json = json.map_err(|error| self.error(doing, error))?;
                // One that cannot be read holds nothing.
                let held: Option<Written> = serde_json::from_slice(&json).ok();
                if held.is_some_and(|held| held.until > now) {
                    return Ok(None);
                }
                PutMode::Update(version)
            }
        };
        let written = Written {
            holder: Uuid::new_v4(),
            until: now.saturating_add(LEASE_FOR).unwrap_or(now),
        };
        let taken = Instant::now();
        let options = PutOptions::from(mode);
        match self.store.put_opts(key, written.payload(), options).await {
            Ok(put) => Ok(Some(Lease {
                store: Arc::clone(&self.store),
                key: key.clone(),
                version: put.into(),
                written,
                taken,
            })),
            // Another was first.
            Err(
                Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. },
            ) => Ok(None),
            Err(error) => Err(self.error(doing, error)),
        }
    }
}

#[async_trait]
impl Hold for Lease {
    fn lasts(&self) -> bool {
        self.taken.elapsed() + REQUEST_LIMIT + CONNECT_TIMEOUT < LEASE_FOR
    }

    /// A lease that cannot be let go ends by itself.
    async fn let_go(self: Box<Self>) {
        let ended = Written {
            until: Timestamp::UNIX_EPOCH,
            ..self.written
        };
        let options = PutOptions::from(PutMode::Update(self.version));
        let put = self.store.put_opts(&self.key, ended.payload(), options);
        if let Err(error) = put.await {
            tracing::debug!(%error, "a lease could not be let go, it ends by itself");
        }
    }
}
