//! The part of the service that runs operations and looks after presences: in `serve` beside the
//! other roles, or as processes of its own on a store that many share.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hiendien_acme::{AcmeCertificates, AcmeSettings};
use hiendien_api::HttpSender;
use hiendien_container::{BuilderSettings, ConfinedBuilder};
use hiendien_dns::Asker;
use hiendien_engine::care;
use hiendien_engine::clock::{Clock, SystemClock};
use hiendien_engine::pictures::{PictureWork, work_off};
use hiendien_engine::retry::RetryPolicy;
use hiendien_engine::step::{Ports, StepSettings};
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_mail::{
    MailProbe, MailboxSettings, OwnerLetters, SessionSettings, SmtpMessages, SmtpSettings,
    SqliteMailboxes,
};
use hiendien_store::Store;
use hiendien_store::picture_files::PicturePlace;
use hiendien_store::revisions::Revisions;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::Config;
use crate::probes::{OutsideProbes, mail_settings};
use crate::serve::{Holder, lock, stop_signal};
use crate::webhooks;

/// Bound of one site build.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an owner may take to set a password.
const PASSWORD_LINK_FOR: Duration = Duration::from_hours(14 * 24);
/// Worker processes of one state directory at most.
const WORKERS_MAX: usize = 64;

/// What is kept, and where.
#[derive(Clone)]
pub struct Kept {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<Store>,
    pub revisions: Arc<Revisions>,
    pub picture_files: Arc<PicturePlace>,
    pub mailboxes: SqliteMailboxes,
}

impl Kept {
    /// Opens what a process of this configuration keeps.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (settings, store_clock) = (config.store_settings(), Arc::clone(&clock));
        let opened =
            tokio::task::spawn_blocking(move || Store::open(&settings, store_clock)).await?;
        let store = Arc::new(opened.context("cannot open the store")?);
        let pictures = config.state.join("pictures");
        let (revisions, picture_files) = match &config.revisions.s3 {
            None => (
                Revisions::in_folder(&config.state.join("revisions"))
                    .context("cannot open the folder of revisions")?,
                PicturePlace::in_folder(&pictures).context("cannot open the folder of pictures")?,
            ),
            Some(s3) => {
                refuse_left_behind(&pictures)?;
                let (settings, unusable) =
                    (s3.settings(), "cannot use the bucket of `revisions.s3`");
                (
                    Revisions::in_bucket(&settings, Arc::clone(&clock)).context(unusable)?,
                    PicturePlace::in_bucket(&settings, Arc::clone(&clock)).context(unusable)?,
                )
            }
        };
        let mailboxes = SqliteMailboxes::open(&mailbox_settings(config), Arc::clone(&clock))?;
        Ok(Self {
            clock,
            store,
            revisions: Arc::new(revisions),
            picture_files: Arc::new(picture_files),
            mailboxes,
        })
    }
}

/// With a bucket, pictures that were kept in the folder would be missed.
fn refuse_left_behind(pictures: &Path) -> anyhow::Result<()> {
    let first = match fs::read_dir(pictures) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => entries?.next().transpose()?,
    };
    ensure!(
        first.is_none(),
        "`{0}` holds pictures, and with `revisions.s3` they are looked for in the bucket: stop the service, \
         `aws s3 sync {0} s3://BUCKET/PREFIX/pictures`, and move the folder away",
        pictures.display()
    );
    Ok(())
}

fn mailbox_settings(config: &Config) -> MailboxSettings {
    MailboxSettings {
        database: config.mail.database.clone(),
        dkim: config.mail.dkim.clone(),
        sessions: config
            .mail
            .sessions
            .as_ref()
            .map(|sessions| SessionSettings {
                address: sessions.address,
                key_file: sessions.key_file.clone(),
            }),
        erase: config.mail.erase.clone(),
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// What steps act through.
pub struct Hands {
    pub ports: Arc<Ports>,
    pub certificates: Arc<AcmeCertificates>,
    pub builder: Arc<ConfinedBuilder>,
    pub webhooks: Arc<HttpSender>,
}

impl Hands {
    /// `name` tells this process's containers from those of others on the same state directory.
    pub fn make(config: &Config, kept: &Kept, name: &str) -> anyhow::Result<Self> {
        let platform = Arc::new(config.platform.clone());
        let (store, clock) = (&kept.store, &kept.clock);
        let mail = MailProbe::new(mail_settings(config)?, kept.mailboxes.clone())
            .context("cannot set up the mail probe")?;
        let probes = Arc::new(OutsideProbes {
            asker: Asker::default(),
            platform: Arc::clone(&platform),
            parent_servers: config.dns.parent_servers.clone(),
            issuing_roots: config.acme.issuing_roots.clone(),
            mail,
            clock: Arc::clone(clock),
        });
        let acme_settings = AcmeSettings {
            root: config.acme.root.clone(),
            contact: config.acme.contact.clone(),
            validation_wait: Duration::from_secs(config.acme.validation_wait_secs),
            ..AcmeSettings::new(
                config.acme.directory.clone(),
                config.acme.issuer_domain.clone(),
            )
        };
        let certificates = Arc::new(AcmeCertificates::new(
            acme_settings,
            store.clone(),
            store.clone(),
            probes.clone(),
            Arc::clone(clock),
        ));
        let webhooks = webhooks::sender(config)?;
        let builder = Arc::new(ConfinedBuilder::start(BuilderSettings {
            engine: config.builder.engine(config.state.join("builder"))?,
            render_binary: config.builder.render_binary.clone(),
            templates: config.builder.templates.clone(),
            owner: owner(config, name),
            warm: config.builder.warm,
            concurrency_max: config.builder.concurrency_max,
            timeout: BUILD_TIMEOUT,
        }));
        let ports = Ports {
            platform: Arc::clone(&platform),
            settings: StepSettings {
                mailbox_quota_bytes: config.mail.quota_mib * 1024 * 1024,
                password_url: format!("{}/mat-khau/", config.api.public_url),
                password_link_for: PASSWORD_LINK_FOR,
                term: config.term.clone(),
                revisions: config.revisions.rules(),
            },
            clock: Arc::clone(clock),
            zones: store.clone(),
            delegations: store.clone(),
            certificates: certificates.clone(),
            builder: builder.clone(),
            sites: kept.revisions.clone(),
            shelf: kept.revisions.clone(),
            pictures: kept.store.clone(),
            picture_files: kept.picture_files.clone(),
            publications: store.clone(),
            lifecycle: store.clone(),
            mailboxes: Arc::new(kept.mailboxes.clone()),
            password_links: store.clone(),
            messages: Arc::new(SmtpMessages::new(SmtpSettings {
                host: config.mail.letters.ip().to_string(),
                port: config.mail.letters.port(),
                sender: config.platform.sender_address(),
                sender_name: "Hiện diện trực tuyến".to_owned(),
                reply_to: config.platform.report_address("hotro"),
            })),
            letters: Arc::new(OwnerLetters { platform }),
            probes,
        };
        Ok(Self {
            ports: Arc::new(ports),
            certificates,
            builder,
            webhooks: Arc::new(webhooks),
        })
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hands").finish_non_exhaustive()
    }
}

/// Runs operations, looks after presences, makes pictures, and tells registrars of them, until `stopping` turns true.
pub(crate) async fn run(
    config: &Config,
    slots: usize,
    kept: &Kept,
    hands: &Hands,
    stopping: watch::Receiver<bool>,
) {
    let name = format!("{}-{}", std::process::id(), Uuid::new_v4().simple());
    let settings = WorkerSettings {
        slots,
        retry: RetryPolicy {
            wait_max: Duration::from_secs(config.worker.retry_wait_secs_max),
            ..RetryPolicy::default()
        },
        lease: Duration::from_secs(config.worker.lease_secs),
        ..WorkerSettings::named(name)
    };
    let (store, ports) = (&kept.store, &hands.ports);
    let pictures = PictureWork {
        queue: store.clone(),
        files: kept.picture_files.clone(),
        maker: hands.builder.clone(),
        clock: Arc::clone(&kept.clock),
    };
    tokio::join!(
        work(settings, store.clone(), Arc::clone(ports), stopping.clone()),
        care::keep(
            Arc::clone(ports),
            store.clone(),
            stopping.clone(),
            care::ROUND_EVERY
        ),
        work_off(pictures, stopping.clone()),
        webhooks::run(config, kept, Arc::clone(&hands.webhooks), stopping),
    );
}

/// The role `work`: as many processes as are started, on a store that they share.
pub(crate) async fn role(config: Config, slots: Option<usize>) -> anyhow::Result<()> {
    ensure!(
        config.store.is_some(),
        "an embedded store has its worker in `hiendien serve`: set `[store] postgres` to have workers beside it"
    );
    let slots = slots.unwrap_or(config.worker.slots);
    ensure!(slots > 0, "a worker needs at least one slot");
    let _lock = lock(&config, Holder::Service)?;
    let (name, _place) = place(&config)?;
    let kept = Kept::open(&config).await?;
    let hands = Hands::make(&config, &kept, &name)?;
    let (stop, stopping) = watch::channel(false);
    tracing::info!(slots, worker = name, "working");
    tokio::join!(run(&config, slots, &kept, &hands, stopping), async {
        let waited = stop_signal().await;
        tracing::info!("stopping: what is under way ends first");
        stop.send_replace(true);
        waited
    })
    .1?;
    hands.builder.shutdown().await;
    Ok(())
}

/// A place among the worker processes of this state directory, kept as long as the file is open: a worker
/// that is started in the place of one that was killed takes its place, and clears up after it.
fn place(config: &Config) -> anyhow::Result<(String, File)> {
    for number in 1..=WORKERS_MAX {
        let name = format!("work-{number}");
        let path = config.state.join(format!("{name}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok((name, file)),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
            }
        }
    }
    bail!(
        "{WORKERS_MAX} workers run on `{}` already",
        config.state.display()
    )
}

/// Containers of one process are told from those of another by its state directory and its name.
fn owner(config: &Config, name: &str) -> String {
    let digest = Sha256::new()
        .chain_update(config.state.as_os_str().as_encoded_bytes())
        .chain_update(name)
        .finalize();
    hiendien_domain::site::hex(&digest)[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_a_bucket_would_hide_are_told_and_an_empty_folder_is_not() {
        let state = tempfile::tempdir().unwrap();
        let pictures = state.path().join("pictures");
        refuse_left_behind(&pictures).unwrap();
        fs::create_dir(&pictures).unwrap();
        refuse_left_behind(&pictures).unwrap();
        fs::create_dir(pictures.join("presence")).unwrap();
        let told = refuse_left_behind(&pictures).unwrap_err().to_string();
        assert!(told.contains("aws s3 sync"), "{told}");
    }
}
