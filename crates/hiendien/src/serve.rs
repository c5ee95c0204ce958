//! All roles in one process on the embedded store: wires the adapters to the engine.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use anyhow::{Context, bail};
use hiendien_api::{Api, ApiState, Previews};
use hiendien_dns::{DnsServer, ServerSettings};
use hiendien_edge::{Edge, EdgeSettings, MtaStsPolicy};
use hiendien_engine::clock::Clock;
use hiendien_engine::store::{ApiKey, ApiKeys};
use hiendien_store::{Place, Store};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::Config;
use crate::work::{Hands, Kept};
use crate::{platform, restore, work};

/// Runs until SIGTERM or SIGINT, then ends what is under way.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let state = &config.state;
    std::fs::create_dir_all(state.join("secrets"))
        .with_context(|| format!("cannot make the state directory `{}`", state.display()))?;
    let _lock = lock(&config, Holder::Service)?;
    let shared_platform = Arc::new(config.platform.clone());
    let kept = Kept::open(&config).await?;
    let Kept {
        clock,
        store,
        revisions,
        picture_files,
        mailboxes,
    } = kept.clone();
    // On a server, leases may be those of processes that live.
    if let Place::Sqlite(_) = store.place() {
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
    }
    put_operator_key(&config, &store, &*clock).await?;
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
        lifecycle: store.clone(),
        term: config.term.clone(),
        idempotency: store.clone(),
        password_links: store.clone(),
        mailboxes: Arc::new(mailboxes.clone()),
        webhooks: store.clone(),
        sites: revisions.clone(),
        shelf: revisions.clone(),
        pictures: store.clone(),
        picture_files,
        webhook_targets: config.webhooks.targets(),
        templates: config.builder.templates.clone(),
        contents: store.clone(),
        previews: Previews::default(),
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
    let hands = Hands::make(&config, &kept, "serve")?;
    let builder = Arc::clone(&hands.builder);
    let (mut stopped, of_config) = (stopping.clone(), Arc::clone(&config));
    roles.spawn(async move {
        // Mail programs verify the mail hosts' certificate, so it comes before the first operation.
        let certificates = hands.certificates.clone();
        platform::keep_certificate(Arc::clone(&of_config), certificates, stopped.clone()).await;
        let renewal = platform::renew_certificate(
            &of_config,
            &*hands.certificates,
            &*kept.clock,
            stopped.clone(),
        );
        let work = async {
            match of_config.worker.slots {
                // Others work; a sender that is gone ends this as well.
                0 => drop(stopped.wait_for(|stopped| *stopped).await),
                slots => work::run(&of_config, slots, &kept, &hands, stopped).await,
            }
        };
        tokio::join!(renewal, work);
        Ok(())
    });
    tracing::info!(api = %config.api.listen, "serving");

    let mut result = Ok(());
    tokio::select! {
        waited = stop_signal() => waited?,
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

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Who works on a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Service,
    Restore,
}

/// Two processes on one embedded store would break each other's leases. Those that share a server
/// may share a state directory too; nobody else may be there during a restore.
pub(crate) fn lock(config: &Config, holder: Holder) -> anyhow::Result<File> {
    let path = config.state.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let shared = holder == Holder::Service && config.store.is_some();
    let locked = if shared {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match locked {
        Ok(()) if holder == Holder::Service => {
            restore::refuse_unfinished(config)?;
            Ok(file)
        }
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!(
                "another `hiendien serve` or `hiendien restore` runs on `{}`: stop it first",
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
