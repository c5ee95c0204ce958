//! One TOML file, read once into final types. Unknown keys are refused; secrets are file paths.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
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
    /// Run after the certificate of the mail hosts has changed.
    #[serde(default)]
    pub(crate) reload: Vec<String>,
    /// Where letters are handed in.
    pub(crate) letters: SocketAddr,
    #[serde(default = "Mail::quota_mib")]
    pub(crate) quota_mib: u64,
    pub(crate) outside: Outside,
}

impl Mail {
    fn quota_mib() -> u64 {
        1024
    }
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
    /// Operations at once.
    pub(crate) slots: usize,
    /// Longest wait between two attempts of a step, seconds.
    pub(crate) retry_wait_secs_max: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            slots: 16,
            retry_wait_secs_max: 60,
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
        ensure!(self.worker.slots > 0, "`worker.slots` must be at least 1");
        ensure!(
            !self.api.public_url.ends_with('/'),
            "`api.public_url` must not end in `/`"
        );
        Ok(())
    }

    /// File with the operator's API key; made at the first start.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.state.join("secrets/operator-key")
    }
}
