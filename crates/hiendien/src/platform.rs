//! The platform's own zone and the certificate of its mail hosts.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::platform_zone;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{Certificate, Certificates, ErrorChain, PortError, Zones};
use tokio::process::Command;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::Config;

const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often is looked whether the certificate of the mail hosts is to be renewed. Renewal is due weeks before
/// the end, so a look that fails leaves many more.
const RENEWAL_LOOK_EVERY: Duration = Duration::from_hours(6);
/// Bound of the command that makes the mail servers read their certificate again.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(20);

/// What the platform itself owns is kept under this identifier.
fn own() -> PresenceId {
    PresenceId::from_uuid(Uuid::nil())
}

/// Writes the platform's zone; needs nothing but the store.
pub(crate) async fn write_zone(
    config: &Config,
    zones: &dyn Zones,
    policy_id: &str,
) -> Result<u32, PortError> {
    zones
        .put_zone(own(), &platform_zone(&config.platform, policy_id))
        .await
}

/// Names that mail programs verify.
fn names(config: &Config) -> Vec<DomainName> {
    let platform = &config.platform;
    let mut names = vec![
        platform.apex.clone(),
        platform.edge_host(),
        platform.imap_host(),
        platform.smtp_host(),
        platform.autodiscover_host(),
    ];
    names.extend(
        platform
            .mail_exchangers
            .iter()
            .map(|host| host.name.clone()),
    );
    names
}

/// Obtains the certificate and hands it to the mail servers; tries until it is done or `stopping` turns true.
pub(crate) async fn keep_certificate(
    config: Arc<Config>,
    certificates: Arc<dyn Certificates>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_FIRST;
    loop {
        match install(&config, &*certificates).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "no certificate for the mail hosts yet, will retry");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Renews the certificate in time, and hands it to the mail servers, until `stopping` turns true.
pub(crate) async fn renew_certificate(
    config: &Config,
    certificates: &dyn Certificates,
    clock: &dyn Clock,
    mut stopping: watch::Receiver<bool>,
) {
    while !*stopping.borrow() {
        tokio::select! {
            () = tokio::time::sleep(RENEWAL_LOOK_EVERY) => {}
            _ = stopping.changed() => return,
        }
        if let Err(error) = renew_if_due(config, certificates, clock).await {
            tracing::error!(error = %ErrorChain(&error), "the certificate of the mail hosts is not renewed yet, will retry");
        }
    }
}

async fn renew_if_due(
    config: &Config,
    certificates: &dyn Certificates,
    clock: &dyn Clock,
) -> Result<(), PortError> {
    let renewal_at = certificates.renewal_at(own()).await?;
    if renewal_at.is_none_or(|at| at > clock.now()) {
        return Ok(());
    }
    let certificate = certificates
        .renew(own(), &config.platform.apex, &names(config))
        .await?;
    hand_over(config, certificate).await
}

async fn install(config: &Config, certificates: &dyn Certificates) -> Result<(), PortError> {
    let certificate = certificates
        .obtain(own(), &config.platform.apex, &names(config))
        .await?;
    hand_over(config, certificate).await
}

async fn hand_over(config: &Config, certificate: Certificate) -> Result<(), PortError> {
    let tls = config.mail.tls.clone();
    let write = move || write_pair(&tls, &certificate);
    let action = format!(
        "writing the certificate of the mail hosts to `{}`",
        config.mail.tls.display()
    );
    tokio::task::spawn_blocking(write)
        .await
        .map_err(|error| PortError::transient(action.clone(), error))?
        .map_err(|error| PortError::misconfigured(action, error))?;
    // Also when nothing changed: a process before this one may have ended before it came to this.
    reload(&config.mail.reload).await
}

fn write_pair(directory: &Path, certificate: &Certificate) -> std::io::Result<()> {
    for (name, text) in [
        ("key.pem", certificate.key_pem.expose()),
        ("cert.pem", &certificate.chain_pem),
    ] {
        let new = directory.join(format!(".{name}.new"));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, directory.join(name))?;
    }
    Ok(())
}

async fn reload(command: &[String]) -> Result<(), PortError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let action = format!("running `mail.reload`, `{}`", command.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(RELOAD_TIMEOUT, status).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(PortError::misconfigured(
            action,
            format!("it ended with {status}"),
        )),
        Ok(Err(error)) => Err(PortError::misconfigured(action, error)),
        Err(elapsed) => Err(PortError::transient(action, elapsed)),
    }
}
