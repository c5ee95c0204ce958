//! One TOML file, read once into final types. Unknown keys are refused; secrets are file paths.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use hiendien_api::TargetRules;
use hiendien_container::Engine;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
use hiendien_domain::term::TermRules;
use hiendien_engine::ports::KeepRules;
use hiendien_engine::webhooks::DeliverySettings;
use hiendien_store::{Place, PostgresSettings, S3Settings, StoreSettings};
use serde::Deserialize;

/// Everything an operator sets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of all that is kept.
    pub(crate) state: PathBuf,
    pub(crate) platform: Platform,
    pub(crate) dns: Dns,
    pub(crate) edge: Edge,
    pub(crate) api: Api,
    pub(crate) acme: Acme,
    pub(crate) builder: Builder,
    pub(crate) mail: Mail,
    #[serde(default)]
    pub(crate) worker: Worker,
    #[serde(default)]
    pub(crate) webhooks: Webhooks,
    /// The days in the life of a name.
    #[serde(default)]
    pub(crate) term: TermRules,
    /// What was built of sites: where it is kept, and how long.
    #[serde(default)]
    pub(crate) revisions: RevisionsPlace,
    /// Where the rows are kept; without it in SQLite under `state`.
    #[serde(default)]
    pub(crate) store: Option<PostgresStore>,
}

/// A PostgreSQL that many processes share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresStore {
    /// `postgres://hiendien@db.example/hiendien`, without a password.
    pub(crate) postgres: String,
    /// File with the password.
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
    /// PEM file with the roots of the server's certificate; with it every connection is TLS.
    #[serde(default)]
    pub(crate) tls_roots: Option<PathBuf>,
    /// Connections of this process at most, beside the one that listens.
    #[serde(default = "PostgresStore::pool_max")]
    pub(crate) pool_max: usize,
}

impl PostgresStore {
    fn pool_max() -> usize {
        16
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns {
    pub(crate) listen: Vec<SocketAddr>,
    /// Answers for the lab parents; leave it out where a real registry delegates.
    #[serde(default)]
    pub(crate) listen_registry: Vec<SocketAddr>,
    /// Servers of the parent zone, asked for the delegation.
    #[serde(default)]
    pub(crate) parent_servers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edge {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    pub(crate) listen: SocketAddr,
    /// Where people reach the API, without a final slash.
    pub(crate) public_url: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acme {
    pub(crate) directory: String,
    /// PEM file with the root of the CA's HTTPS server, where it is not a public one.
    #[serde(default)]
    pub(crate) root: Option<PathBuf>,
    #[serde(default)]
    pub(crate) contact: Option<MailAddress>,
    /// The CA's issuer domain name for CAA records.
    pub(crate) issuer_domain: String,
    /// Wait after a validation that failed, seconds; CAs count failures.
    #[serde(default = "Acme::validation_wait_secs")]
    pub(crate) validation_wait_secs: u64,
    /// PEM file with the roots that issued certificates verify against.
    pub(crate) issuing_roots: PathBuf,
}

impl Acme {
    fn validation_wait_secs() -> u64 {
        720
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Builder {
    /// What confines a build.
    #[serde(default)]
    pub(crate) engine: BuilderEngine,
    /// Unix socket of Docker or Podman; a build in a process needs none.
    #[serde(default)]
    pub(crate) socket: Option<PathBuf>,
    pub(crate) render_binary: PathBuf,
    pub(crate) templates: PathBuf,
    #[serde(default = "Builder::warm")]
    pub(crate) warm: usize,
    #[serde(default = "Builder::concurrency_max")]
    pub(crate) concurrency_max: usize,
}

/// Both take the same jobs and make the same sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BuilderEngine {
    /// A container of the engine behind `builder.socket`.
    #[default]
    Container,
    /// A process that confines itself, where no container engine can run.
    Process,
}

impl Builder {
    /// As the builder takes it; `files` is a directory for what an engine must be handed as a file.
    pub(crate) fn engine(&self, files: PathBuf) -> anyhow::Result<Engine> {
        Ok(match self.engine {
            BuilderEngine::Process => Engine::Process,
            BuilderEngine::Container => Engine::Container {
                socket: self.socket.clone().context(
                    "`builder.socket` is missing: name that of Docker or Podman, or set `builder.engine = \"process\"`",
                )?,
                files,
            },
        })
    }

    fn warm() -> usize {
        4
    }

    fn concurrency_max() -> usize {
        4
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// The database the mail servers read.
    pub(crate) database: PathBuf,
    /// Directory of DKIM keys.
    pub(crate) dkim: PathBuf,
    /// Directory that gets `cert.pem` and `key.pem` of the mail hosts.
    pub(crate) tls: PathBuf,
    /// Directory of the stored mail; only backups look at it, and leave it out where this is not set.
    #[serde(default)]
    pub(crate) store: Option<PathBuf>,
    /// Run after the certificate of the mail hosts has changed.
    #[serde(default)]
    pub(crate) reload: Vec<String>,
    /// Where letters are handed in.
    pub(crate) letters: SocketAddr,
    /// Where mail sessions are ended. Without it no mailbox can be suspended, closed or taken away: the
    /// operation waits and says so.
    #[serde(default)]
    pub(crate) sessions: Option<Sessions>,
    /// Command that erases the stored mail of the presence whose identifier is appended. Without it no mail
    /// is ever erased: the operation waits and says so.
    #[serde(default)]
    pub(crate) erase: Vec<String>,
    #[serde(default = "Mail::quota_mib")]
    pub(crate) quota_mib: u64,
    pub(crate) outside: Outside,
}

impl Mail {
    fn quota_mib() -> u64 {
        1024
    }
}

/// Dovecot's administration interface (doveadm over HTTP). Its key needs to allow `kick` only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    /// Without TLS: an address that leaves no machine.
    pub(crate) address: SocketAddr,
    pub(crate) key_file: PathBuf,
}

/// A mailbox at another provider, for the proof that mail goes out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outside {
    pub(crate) address: MailAddress,
    pub(crate) imap: SocketAddr,
    pub(crate) imap_name: DomainName,
    pub(crate) roots: PathBuf,
    pub(crate) password_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Worker {
    /// Operations at once; 0 leaves them to other processes, on a store that others share.
    pub(crate) slots: usize,
    /// Longest wait between two attempts of a step, seconds.
    pub(crate) retry_wait_secs_max: u64,
    /// How long a worker that is gone keeps its operations, seconds.
    pub(crate) lease_secs: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            slots: 16,
            retry_wait_secs_max: 60,
            lease_secs: 15,
        }
    }
}

/// Revisions of sites, and pictures: in the folders `revisions` and `pictures` under `state`, or in a bucket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RevisionsPlace {
    /// This many of the youngest of a presence are kept, however old.
    keep_last: usize,
    /// And all that are younger than so many days.
    keep_days: u16,
    /// How long files stay that no revision names any more, hours.
    grace_hours: u16,
    pub(crate) s3: Option<S3>,
}

impl Default for RevisionsPlace {
    fn default() -> Self {
        Self {
            keep_last: 10,
            keep_days: 30,
            grace_hours: 24,
            s3: None,
        }
    }
}

/// A bucket of an S3 service. Everybody who builds or serves sites needs it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    /// Without the bucket, such as `https://s3.example.vn`.
    endpoint: url::Url,
    bucket: String,
    /// Begins the name of every object.
    #[serde(default)]
    prefix: String,
    #[serde(default = "S3::region")]
    region: String,
    access_key_file: PathBuf,
    secret_key_file: PathBuf,
    /// Whether the bucket is named in the path; otherwise it is the first label of the host name.
    #[serde(default)]
    path_style: bool,
    /// PEM file with the roots of the service's certificate, where they are not public ones.
    #[serde(default)]
    roots: Option<PathBuf>,
}

impl S3 {
    fn region() -> String {
        "us-east-1".to_owned()
    }

    pub(crate) fn secrets(&self) -> [&PathBuf; 2] {
        [&self.access_key_file, &self.secret_key_file]
    }

    pub(crate) fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            region: self.region.clone(),
            access_key_file: self.access_key_file.clone(),
            secret_key_file: self.secret_key_file.clone(),
            path_style: self.path_style,
            roots: self.roots.clone(),
        }
    }
}

impl RevisionsPlace {
    pub(crate) fn rules(&self) -> KeepRules {
        KeepRules {
            last: self.keep_last,
            younger_than: Duration::from_hours(u64::from(self.keep_days) * 24),
            grace: Duration::from_hours(u64::from(self.grace_hours)),
        }
    }
}

/// How registrars are told what happened to their presences.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhooks {
    /// Whether this process sends them; others may, on a store that they share.
    pub(crate) deliver: bool,
    /// PEM file with roots to trust beside the public ones.
    pub(crate) extra_roots: Option<PathBuf>,
    /// Let them go to private, link-local and loopback addresses as well: registrars then reach into this network.
    pub(crate) private_addresses: bool,
    /// Let them go without TLS, to loopback addresses alone; `private_addresses` must allow those.
    pub(crate) plain_http_to_loopback: bool,
    /// On their way at once.
    pub(crate) at_once_max: usize,
    /// Of those, to one endpoint.
    pub(crate) at_once_of_endpoint_max: usize,
}

impl Default for Webhooks {
    fn default() -> Self {
        let delivery = DeliverySettings::default();
        Self {
            deliver: true,
            extra_roots: None,
            private_addresses: false,
            plain_http_to_loopback: false,
            at_once_max: delivery.at_once_max,
            at_once_of_endpoint_max: delivery.at_once_of_endpoint_max,
        }
    }
}

impl Webhooks {
    pub(crate) fn targets(&self) -> TargetRules {
        TargetRules {
            private_addresses: self.private_addresses,
            plain_http_to_loopback: self.plain_http_to_loopback,
        }
    }
}

impl Config {
    /// Reads the file at `path` and checks it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read the configuration `{}`; name it with `--config FILE`",
                path.display()
            )
        })?;
        let config: Self = toml::from_str(&text)
            .with_context(|| format!("the configuration `{}` is at fault", path.display()))?;
        config
            .check()
            .with_context(|| format!("the configuration `{}` is at fault", path.display()))?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.platform
            .check()
            .context("`platform.apex` is too long")?;
        ensure!(
            self.platform.name_servers.len() >= 2,
            "`platform.name_servers` needs at least two (RFC 2182)"
        );
        ensure!(
            !self.platform.mail_exchangers.is_empty(),
            "`platform.mail_exchangers` needs at least one"
        );
        ensure!(
            !self.platform.edge_addresses.is_empty(),
            "`platform.edge_addresses` needs at least one"
        );
        ensure!(
            self.worker.slots > 0 || self.store.is_some(),
            "`worker.slots` must be at least 1 without `store.postgres`: nobody else would do the work"
        );
        ensure!(
            (3..=3600).contains(&self.worker.lease_secs),
            "`worker.lease_secs` must be 3 to 3600"
        );
        ensure!(
            self.store.as_ref().is_none_or(|store| store.pool_max > 0),
            "`store.pool_max` must be at least 1"
        );
        ensure!(
            self.webhooks.at_once_max > 0 && self.webhooks.at_once_of_endpoint_max > 0,
            "`webhooks.at_once_max` and `webhooks.at_once_of_endpoint_max` must be at least 1; `deliver = false` sends none"
        );
        ensure!(
            self.revisions.keep_last > 0 && self.revisions.keep_days > 0,
            "`revisions.keep_last` and `revisions.keep_days` must be at least 1: what is about to be served is young"
        );
        ensure!(
            self.revisions.grace_hours > 0,
            "`revisions.grace_hours` must be at least 1: a reader may be at what no revision names any more"
        );
        ensure!(
            self.webhooks.private_addresses || !self.webhooks.plain_http_to_loopback,
            "`webhooks.plain_http_to_loopback` needs `webhooks.private_addresses`"
        );
        self.builder.engine(PathBuf::new())?;
        ensure!(
            !self.api.public_url.ends_with('/'),
            "`api.public_url` must not end in `/`"
        );
        Ok(())
    }

    /// Where the store is and what opens its sealed values.
    pub(crate) fn store_settings(&self) -> StoreSettings {
        let place = match &self.store {
            None => Place::Sqlite(self.state.join("store.db")),
            Some(store) => Place::Postgres(PostgresSettings {
                url: store.postgres.clone(),
                password_file: store.password_file.clone(),
                tls_roots: store.tls_roots.clone(),
                pool_max: store.pool_max,
            }),
        };
        StoreSettings {
            place,
            seal_key: self.state.join("secrets/seal.key"),
        }
    }

    /// File with the operator's API key; made at the first start.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.state.join("secrets/operator-key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(lines: &str) -> anyhow::Result<Engine> {
        let text = format!("{lines}\nrender_binary = \"/b\"\ntemplates = \"/t\"");
        toml::from_str::<Builder>(&text)?.engine("/files".into())
    }

    #[test]
    fn a_builder_has_a_container_engine_or_none() {
        let socket = "socket = \"/run/docker.sock\"";
        assert!(matches!(builder(socket), Ok(Engine::Container { .. })));
        let process = "engine = \"process\"";
        assert!(matches!(builder(process), Ok(Engine::Process)));
        let missing = builder("engine = \"container\"").unwrap_err().to_string();
        assert!(missing.contains("`builder.socket` is missing"), "{missing}");
        assert!(builder("engine = \"jail\"").is_err());
    }
}
