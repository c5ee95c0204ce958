//! All roles in one process on the embedded store: wires the adapters to the engine.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hiendien_acme::{AcmeCertificates, AcmeSettings};
use hiendien_api::{Api, ApiState};
use hiendien_container::{BuilderSettings, ContainerBuilder};
use hiendien_dns::{Asker, DnsServer, ServerSettings};
use hiendien_edge::{Edge, EdgeSettings, MtaStsPolicy};
use hiendien_engine::clock::{Clock, SystemClock};
use hiendien_engine::retry::RetryPolicy;
use hiendien_engine::step::{Ports, StepSettings};
use hiendien_engine::store::{ApiKey, ApiKeys};
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_mail::{
    MailProbe, MailboxSettings, OwnerLetters, SmtpMessages, SmtpSettings, SqliteMailboxes,
};
use hiendien_store::revisions::FolderRevisions;
use hiendien_store::{Place, Store, StoreSettings};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::Config;
use crate::platform;
use crate::probes::{OutsideProbes, mail_settings};

/// Bound of one site build.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an owner may take to set a password.
const PASSWORD_LINK_FOR: Duration = Duration::from_hours(14 * 24);

/// Runs until SIGTERM or SIGINT, then ends what is under way.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let state = &config.state;
    std::fs::create_dir_all(state.join("secrets"))
        .with_context(|| format!("cannot make the state directory `{}`", state.display()))?;
    let _lock = lock(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let shared_platform = Arc::new(config.platform.clone());

    let settings = StoreSettings {
        place: Place::Sqlite(state.join("store.db")),
        seal_key: state.join("secrets/seal.key"),
    };
    let store =
        Arc::new(Store::open(&settings, Arc::clone(&clock)).context("cannot open the store")?);
    let broken = store
        .break_leases(clock.now())
        .await
        .context("cannot take up operations again")?;
    if broken > 0 {
        tracing::warn!(
            operations = broken,
            "an earlier process ended in the middle of operations; they go on"
        );
    }
    put_operator_key(&config, &store, &*clock).await?;
    let revisions = FolderRevisions::open(&state.join("revisions"))
        .context("cannot open the folder of revisions")?;
    let revisions = Arc::new(revisions);
    let mailbox_settings = MailboxSettings {
        database: config.mail.database.clone(),
        dkim: config.mail.dkim.clone(),
    };
    let mailboxes = SqliteMailboxes::open(&mailbox_settings, Arc::clone(&clock))?;

    // All sockets first: a taken port is told before anything is done.
    let dns_settings = ServerSettings {
        listen: config.dns.listen.clone(),
        listen_registry: config.dns.listen_registry.clone(),
        platform: Arc::clone(&shared_platform),
    };
    let dns = DnsServer::bind(&dns_settings, store.clone()).await?;
    let edge_settings = EdgeSettings::new(
        config.edge.http.clone(),
        config.edge.https.clone(),
        config.platform.clone(),
    );
    let policy_id = MtaStsPolicy::new(&edge_settings).id();
    let edge = Edge::bind(edge_settings, store.clone(), revisions.clone()).await?;
    let (stop, stopping) = watch::channel(false);
    let api_state = ApiState {
        platform: Arc::clone(&shared_platform),
        clock: Arc::clone(&clock),
        intake: store.clone(),
        directory: store.clone(),
        keys: store.clone(),
        operations: store.clone(),
        idempotency: store.clone(),
        password_links: store.clone(),
        mailboxes: Arc::new(mailboxes.clone()),
        templates: config.builder.templates.clone(),
        stopping: stopping.clone(),
    };
    let api = Api::bind(config.api.listen, api_state).await?;

    let mut roles = JoinSet::new();
    let stopped = stopping.clone();
    roles.spawn(async move { dns.run(stopped).await.map_err(anyhow::Error::from) });
    let mut stopped = stopping.clone();
    roles.spawn(async move {
        let stopped = async move {
            // A sender that is gone stops the edge as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        edge.run(stopped).await;
        Ok(())
    });
    roles.spawn(async move {
        api.run().await;
        Ok(())
    });

    platform::write_zone(&config, &*store, &policy_id)
        .await
        .context("cannot write the platform's own zone")?;
    let mail = MailProbe::new(mail_settings(&config)?, mailboxes.clone())
        .context("cannot set up the mail probe")?;
    let probes = Arc::new(OutsideProbes {
        asker: Asker::default(),
        platform: Arc::clone(&shared_platform),
        parent_servers: config.dns.parent_servers.clone(),
        issuing_roots: config.acme.issuing_roots.clone(),
        mail,
        clock: Arc::clone(&clock),
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
        Arc::clone(&clock),
    ));
    let builder = Arc::new(ContainerBuilder::start(BuilderSettings {
        socket: config.builder.socket.clone(),
        render_binary: config.builder.render_binary.clone(),
        templates: config.builder.templates.clone(),
        owner: owner(&config),
        warm: config.builder.warm,
        concurrency_max: config.builder.concurrency_max,
        timeout: BUILD_TIMEOUT,
    }));
    let ports = Arc::new(Ports {
        platform: Arc::clone(&shared_platform),
        settings: StepSettings {
            mailbox_quota_bytes: config.mail.quota_mib * 1024 * 1024,
            password_url: format!("{}/mat-khau/", config.api.public_url),
            password_link_for: PASSWORD_LINK_FOR,
        },
        clock,
        zones: store.clone(),
        delegations: store.clone(),
        certificates: certificates.clone(),
        builder: builder.clone(),
        sites: revisions,
        publications: store.clone(),
        mailboxes: Arc::new(mailboxes),
        password_links: store.clone(),
        messages: Arc::new(SmtpMessages::new(SmtpSettings {
            host: config.mail.letters.ip().to_string(),
            port: config.mail.letters.port(),
            sender: config.platform.sender_address(),
            sender_name: "Hiện diện trực tuyến".to_owned(),
            reply_to: config.platform.report_address("hotro"),
        })),
        letters: Arc::new(OwnerLetters {
            platform: shared_platform,
        }),
        probes,
    });
    let mut worker = WorkerSettings::named(format!(
        "{}-{}",
        std::process::id(),
        Uuid::new_v4().simple()
    ));
    worker.slots = config.worker.slots;
    worker.retry = RetryPolicy {
        wait_max: Duration::from_secs(config.worker.retry_wait_secs_max),
        ..RetryPolicy::default()
    };
    let (stopped, of_config) = (stopping.clone(), Arc::clone(&config));
    roles.spawn(async move {
        // Mail programs verify the mail hosts' certificate, so it comes before the first operation.
        platform::keep_certificate(of_config, certificates, stopped.clone()).await;
        work(worker, store, ports, stopped).await;
        Ok(())
    });
    tracing::info!(api = %config.api.listen, "serving");

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut result = Ok(());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(ended) = roles.join_next() => {
            result = ended.map_err(anyhow::Error::from).and_then(|ended| ended);
            if result.is_ok() {
                result = Err(anyhow::anyhow!("a role ended by itself"));
            }
        }
    }
    tracing::info!("stopping: what is under way ends first");
    stop.send_replace(true);
    while roles.join_next().await.is_some() {}
    builder.shutdown().await;
    result
}

/// Containers of this state directory are told from those of another by its path.
fn owner(config: &Config) -> String {
    hiendien_domain::site::hex(&Sha256::digest(config.state.as_os_str().as_encoded_bytes()))[..16]
        .to_owned()
}

/// Two processes on one embedded store would break each other's leases.
fn lock(config: &Config) -> anyhow::Result<File> {
    let path = config.state.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!(
                "another `hiendien serve` runs on `{}`: stop it first",
                config.state.display()
            )
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
        }
    }
}

/// Makes the operator's key at the first start, and lets its holder in.
async fn put_operator_key(config: &Config, store: &Store, clock: &dyn Clock) -> anyhow::Result<()> {
    let path = config.operator_key();
    if !path.exists() {
        let key = format!("op_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        // Whole or not there at all.
        let new = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .with_context(|| format!("cannot make `{}`", new.display()))?;
        writeln!(file, "{key}")
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let key = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let key = key.trim();
    if key.is_empty() {
        bail!("`{}` is empty: remove it and start again", path.display());
    }
    let hash: [u8; 32] = Sha256::digest(key).into();
    let operator = ApiKey {
        name: "operator".to_owned(),
        registrar: None,
    };
    store
        .put(hash, &operator, clock.now())
        .await
        .context("cannot store the operator's API key")
}
