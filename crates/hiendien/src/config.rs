//! One TOML file, read once into final types. Unknown keys are refused; secrets are file paths.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hiendien_api::TargetRules;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
use hiendien_domain::term::TermRules;
use hiendien_engine::webhooks::DeliverySettings;
use hiendien_store::{Place, PostgresSettings, StoreSettings};
use serde::Deserialize;

/// Everything an operator sets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
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
    /// Unix socket of Docker or Podman.
    pub(crate) socket: PathBuf,
    pub(crate) render_binary: PathBuf,
    pub(crate) templates: PathBuf,
    #[serde(default = "Builder::warm")]
    pub(crate) warm: usize,
    #[serde(default = "Builder::concurrency_max")]
    pub(crate) concurrency_max: usize,
}

impl Builder {
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
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
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
            self.webhooks.private_addresses || !self.webhooks.plain_http_to_loopback,
            "`webhooks.plain_http_to_loopback` needs `webhooks.private_addresses`"
        );
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
