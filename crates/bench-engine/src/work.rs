//! What runs as a process of its own: a worker, and the calls whose plans are looked at.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hiendien_domain::content::SiteContent;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{Programme, Verb};
use hiendien_domain::secret::Secret;
use hiendien_engine::presence::{Life, PresencePlan};
use hiendien_engine::store::{Directory, Intake, Lifecycle, NewClaim};
use hiendien_engine::verbs;
use hiendien_engine::webhooks::{NewWebhook, Outbox, Outcome, Settled, Wanted, Webhooks};
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_store::Store;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::idle;
use crate::place::Site;

/// Whose claims are measured.
pub(crate) const REGISTRAR: &str = "bench";
const CONTENT: &str = include_str!("../../../site-templates/storefront/sample.toml");
/// Claims handed in at once.
const AT_ONCE: usize = 16;

/// How a worker process is to work.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Worker {
    kind: String,
    database: String,
    seal_key: String,
    name: String,
    slots: usize,
    lease_ms: u64,
    /// How long a build takes.
    build_ms: u64,
}

impl Worker {
    pub(crate) fn arguments(site: &Site, name: &str, how: &How) -> Vec<String> {
        let mut arguments = vec!["work".to_owned()];
        arguments.extend(site.arguments());
        arguments.push(name.to_owned());
        arguments.push(how.slots.to_string());
        arguments.push(how.lease.as_millis().to_string());
        arguments.push(how.build.as_millis().to_string());
        arguments
    }
}

/// What workers differ in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) slots: usize,
    pub(crate) lease: Duration,
    pub(crate) build: Duration,
}

/// Opens the store, says so, waits for a line, and works until its standard input ends.
#[expect(clippy::print_stdout, reason = "its parent waits for it")]
pub(crate) fn run_worker(worker: &Worker) -> anyhow::Result<()> {
    let site = Site::told(&worker.kind, &worker.database, &worker.seal_key)?;
    let store = Arc::new(site.open()?);
    let build = Duration::from_millis(worker.build_ms);
    let ports = Arc::new(idle::ports(Arc::clone(&store), build)?);
    let settings = WorkerSettings {
        slots: worker.slots,
        lease: Duration::from_millis(worker.lease_ms),
        ..WorkerSettings::named(&worker.name)
    };
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    let (stop, stopping) = watch::channel(false);
    let runtime = tokio::runtime::Runtime::new()?;
    let working = runtime.spawn(work(settings, store, ports, stopping));
    io::stdin().read_to_end(&mut Vec::new())?;
    stop.send_replace(true);
    runtime.block_on(working)?;
    Ok(())
}

/// A claim to a name nobody has.
fn claim(content: &SiteContent) -> anyhow::Result<NewClaim> {
    let presence = PresenceId::new();
    let label = presence.to_string();
    Ok(NewClaim {
        claim: ClaimId::new(),
        presence,
        operation: OperationId::new(),
        registrar: REGISTRAR.to_owned(),
        reference: format!("ref-{label}"),
        fingerprint: format!("print-{label}"),
        subject_key: Secret::new(format!("subject-{label}")),
        document: Secret::new("x".repeat(2000)),
        plan: PresencePlan {
            name: format!("b{label}.biz.vn").parse()?,
            programme: Programme::Biz,
            owner_name: "Bench".to_owned(),
            contact_email: "bench@outside.test".parse()?,
            mailboxes: vec!["lien-he".parse()?],
            template: "storefront".to_owned(),
            content: content.clone(),
        },
        life: Life::default(),
        care_at: Timestamp::now() + SignedDuration::from_hours(24 * 365),
        steps: verbs::step_names(Verb::Provision),
    })
}

/// Hands claims in; tells how long that took.
pub(crate) fn hand_in(site: &Site, count: usize) -> anyhow::Result<Duration> {
    let mut content: SiteContent = toml::from_str(CONTENT)?;
    // Nobody has uploaded those of the sample.
    content.site_mut().pictures.clear();
    let store = site.open()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let began = std::time::Instant::now();
    runtime.block_on(async {
        let mut under_way: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for _ in 0..count {
            if under_way.len() >= AT_ONCE
                && let Some(accepted) = under_way.join_next().await
            {
                accepted??;
            }
            let (store, claim) = (store.clone(), claim(&content)?);
            under_way.spawn(async move {
                store.accept(claim, Timestamp::now()).await?;
                Ok(())
            });
        }
        while let Some(accepted) = under_way.join_next().await {
            accepted??;
        }
        anyhow::Ok(())
    })?;
    Ok(began.elapsed())
}

/// Makes every call that is made often, once or a few times, but those of a worker.
pub(crate) fn exercise(site: &Site) -> anyhow::Result<()> {
    let store = site.open()?;
    tokio::runtime::Runtime::new()?.block_on(calls(&store))
}

async fn calls(store: &Store) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let found = store.presences(Some(REGISTRAR), None, 20).await?;
    let presence = found.first().context("a presence")?;
    store.presences(None, Some(presence.id), 20).await?;
    store.presence_by_name(&presence.plan.name).await?;
    store
        .presence_by_name(&"khong-ai-co.biz.vn".parse()?)
        .await?;
    store.operations(presence.id, 10).await?;
    let newest = store.events(Some(presence.id), 0, 100).await?;
    let last = newest.last().map_or(0, |event| event.sequence);
    store.events(None, last, 100).await?;
    let late = now + SignedDuration::from_hours(24 * 3650);
    for cared in store
        .take_for_care(late, Duration::from_secs(1), 10)
        .await?
    {
        let seen = cared.life.care_at.context("it is due")?;
        store.cared(cared.id, seen, Some(late), None).await?;
    }
    for due in store.due(now, 10).await? {
        let hold = Duration::from_secs(30);
        for delivery in store.take(due.webhook, now, hold, 10).await? {
            let settled = Settled {
                outcome: Outcome::Delivered,
                status: Some(204),
                error: None,
            };
            store.settle(&delivery.held, settled, now).await?;
        }
    }
    Ok(())
}

/// An endpoint that is told of all, so that events have someone to go to.
pub(crate) fn set_up_endpoint(site: &Site) -> anyhow::Result<()> {
    let store = site.open()?;
    let new = NewWebhook {
        registrar: REGISTRAR.to_owned(),
        name: "crm".to_owned(),
        url: "https://crm.test/".to_owned(),
        wanted: Wanted::default(),
    };
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    tokio::runtime::Runtime::new()?.block_on(store.set_up(new, secret, Timestamp::now()))?;
    Ok(())
}
