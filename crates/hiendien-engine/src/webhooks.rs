//! Tells registrars what happened to their presences, by HTTP requests to endpoints of theirs.
//!
//! Whatever writes an event worth telling puts a delivery into the outbox in the same transaction,
//! so that nothing is told that did not happen and nothing that happened goes untold. [`deliver`]
//! takes them out and sends them, at least once each: a receiver tells repetitions by the message's
//! identifier. To one endpoint, what happened to one presence is told in its order, and one that
//! cannot be delivered holds up the later ones of its presence alone.
//!
//! What goes over the wire is the sender's; see docs/api.md.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::{OperationId, PresenceId, WebhookId};
use hiendien_domain::lifecycle::{PresenceState, Standing};
use hiendien_domain::name::DomainName;
use hiendien_domain::secret::Secret;
use jiff::Timestamp;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::ports::{ErrorChain, PortError};
use crate::retry::RetryPolicy;

/// How long a secret that was replaced signs beside the new one.
pub const FORMER_SECRET_FOR: Duration = Duration::from_hours(24);
/// Endpoints of one registrar.
pub const ENDPOINTS_MAX: usize = 16;
/// Patterns of one endpoint's list.
pub const PATTERNS_MAX: usize = 32;
/// Presences that fail in a row before an endpoint is left alone for a while; one sick presence never does it.
pub const FAILING_MAX: u32 = 3;
/// Deliveries put back by one call of [`Webhooks::replay`].
pub const REPLAY_MAX: usize = 1000;

/// The kind of the event that only a test sends.
pub const TEST_KIND: &str = "webhook.test";

/// Says in place of a chain of causes, which names hosts, files and what other services answered.
pub const WITHHELD: &str = "it did not succeed yet; the operators of the platform see why";

/// Takes out of an event's detail what is for operators alone.
pub fn withhold(detail: &mut Value) {
    if let Some(error) = detail.get_mut("error") {
        *error = WITHHELD.into();
    }
}

/// Whether an event of this kind is ever told. Asked for every event that is written.
pub fn is_told(kind: &str) -> bool {
    match kind.split_once('.') {
        Some(("presence" | "review" | "dossier" | "plane", _)) => true,
        Some(("operation", rest)) => matches!(rest, "succeeded" | "stuck" | "abandoned"),
        _ => false,
    }
}

/// Whether an endpoint that names no kinds is told of this one.
fn is_told_unasked(kind: &str) -> bool {
    is_told(kind) && !kind.starts_with("plane.") && kind != "operation.succeeded"
}

/// What one endpoint wants to be told of: kinds, or `FAMILY.*`. Without any it is what registrars
/// need: all but `plane.*` and `operation.succeeded`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wanted(Vec<Pattern>);

impl Wanted {
    /// `None` where there are more than [`PATTERNS_MAX`].
    pub fn new(patterns: Vec<Pattern>) -> Option<Self> {
        (patterns.len() <= PATTERNS_MAX).then_some(Self(patterns))
    }

    pub fn includes(&self, kind: &str) -> bool {
        if self.0.is_empty() {
            return is_told_unasked(kind);
        }
        self.0.iter().any(|pattern| pattern.matches(kind))
    }
}

/// One kind of event, such as `presence.live`, or a family of them, such as `plane.*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// A pattern that no event can match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no event that is told: use kinds such as `presence.live`, or one of `presence.*`, `operation.*`, `review.*`, `dossier.*`, `plane.*`"
)]
pub struct NoSuchPattern(String);

impl Pattern {
    fn matches(&self, kind: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(family) => is_told(kind) && kind.starts_with(family),
            None => self.0 == kind,
        }
    }
}

impl FromStr for Pattern {
    type Err = NoSuchPattern;

    fn from_str(text: &str) -> Result<Self, NoSuchPattern> {
        let no_such = || NoSuchPattern(text.chars().take(64).collect());
        let (family, rest) = text.split_once('.').ok_or_else(no_such)?;
        let is_word = (1..=32).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_family = rest == "*" && (is_told(text) || family == "operation");
        if is_family || (is_word && is_told(text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(no_such())
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = NoSuchPattern;

    fn try_from(text: String) -> Result<Self, NoSuchPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What an endpoint is told. Kept as it was when it happened, so that every attempt says the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub kind: String,
    pub at: Timestamp,
    /// `None` in a test.
    pub about: Option<About>,
}

/// A presence as it was right after the event. No personal data, and no reasons: [`withhold`] took them out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub presence: PresenceId,
    pub name: DomainName,
    pub registrar: String,
    pub reference: String,
    pub state: PresenceState,
    pub standing: Standing,
    pub operation: Option<OperationId>,
    /// Of the event; grows over all presences.
    pub sequence: i64,
    pub detail: Value,
}

/// An endpoint as its registrar set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    pub registrar: String,
    /// Tells it from the registrar's others.
    pub name: String,
    pub url: String,
    pub wanted: Wanted,
}

/// An endpoint and how it fares. Its secrets are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub set_up: NewWebhook,
    /// `false` once it answered 410; setting it up again enables it.
    pub is_enabled: bool,
    pub created_at: Timestamp,
    /// Until when it is left alone, because one presence after another failed at it.
    pub paused_until: Option<Timestamp>,
    /// Deliveries that were given up since it was set up.
    pub given_up: u32,
}

/// What became of setting an endpoint up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUp {
    /// It is new, and signs with the secret that was handed in.
    Made,
    /// It was there: it has this URL and list from now on, is enabled, and keeps its secret.
    Changed,
    /// The registrar has [`ENDPOINTS_MAX`] others: nothing was changed.
    TooMany,
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Waiting,
    Delivered,
    GivenUp,
}

impl DeliveryState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

/// A word that is none of a delivery's states.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the state of a delivery")]
pub struct NoSuchState(String);

impl FromStr for DeliveryState {
    type Err = NoSuchState;

    fn from_str(text: &str) -> Result<Self, NoSuchState> {
        [Self::Waiting, Self::Delivered, Self::GivenUp]
            .into_iter()
            .find(|state| state.word() == text)
            .ok_or_else(|| NoSuchState(text.to_owned()))
    }
}

/// A line of an endpoint's delivery log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryLine {
    /// Grows with the log; a reader asks for what came after.
    pub number: i64,
    /// The `webhook-id` that every attempt carries.
    pub message: String,
    pub kind: String,
    /// Of the event; `None` in a test.
    pub sequence: Option<i64>,
    pub presence: Option<PresenceId>,
    pub state: DeliveryState,
    pub attempts: u32,
    /// What the endpoint answered last.
    pub last_status: Option<u16>,
    /// Why there was no answer the last time, in a word.
    pub last_error: Option<String>,
    pub queued_at: Timestamp,
    pub changed_at: Timestamp,
    /// `None` where it waits for an earlier one of its presence, or is over.
    pub next_attempt_at: Option<Timestamp>,
}

/// What was put back to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    pub count: usize,
    /// Replay after this one to go on; `None` where nothing is left.
    pub next: Option<i64>,
}

/// Sets endpoints up, for the API. `None` and `false` say that the registrar has none of that name.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Sets an endpoint up; `secret` is for one that was not there.
    async fn set_up(
        &self,
        new: NewWebhook,
        secret: Secret,
        now: Timestamp,
    ) -> Result<SetUp, PortError>;

    /// The endpoints of a registrar, by name.
    async fn webhooks(&self, registrar: &str) -> Result<Vec<Webhook>, PortError>;

    /// Ends an endpoint: nothing is sent to it any more, but what is on its way this moment.
    async fn take_down(&self, registrar: &str, name: &str) -> Result<bool, PortError>;

    /// Makes `secret` the one that signs. Those before sign beside it, each for [`FORMER_SECRET_FOR`]
    /// from when it was replaced.
    async fn rotate(
        &self,
        registrar: &str,
        name: &str,
        secret: Secret,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Puts a test into the outbox; answers with the message's identifier.
    async fn test(
        &self,
        registrar: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<String>, PortError>;

    /// The delivery log after `after`, in order. Deliveries are kept for 30 days.
    async fn deliveries(
        &self,
        registrar: &str,
        name: &str,
        after: i64,
        limit: usize,
    ) -> Result<Option<Vec<DeliveryLine>>, PortError>;

    /// Sends again what was told of events after the one with the sequence `after` and is over, at
    /// most [`REPLAY_MAX`] at once. Messages keep their identifiers.
    async fn replay(
        &self,
        registrar: &str,
        name: &str,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<Replayed>, PortError>;
}

/// An endpoint that has something due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub webhook: WebhookId,
    /// Presences that failed at it in a row.
    pub failing: u32,
}

/// The right to settle one delivery. Once it has been held too long another may have it, and the fence tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub webhook: WebhookId,
    pub number: i64,
    /// What waits for it to be over: the later ones of its presence.
    pub lane: String,
    pub fence: i64,
}

/// A delivery that was taken out to be sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub held: Held,
    pub message: Message,
    /// Counts from 1, anew after a replay.
    pub attempt: u32,
    pub queued_at: Timestamp,
    pub failing: u32,
}

/// What is sent, and where to.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same at every attempt.
    pub id: String,
    /// The endpoint's name.
    pub name: String,
    pub url: String,
    /// Each signs it; the newest comes first.
    pub secrets: Vec<Secret>,
    pub told: Told,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// Again at this moment. The endpoint as a whole is left alone until `pause` if another presence failed before.
    Again {
        at: Timestamp,
        pause: Option<Timestamp>,
    },
    GivenUp,
    /// The endpoint wants no more: it is disabled. What waits keeps waiting for it to be set up again.
    Gone,
}

/// What came of an attempt, with what the log shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub error: Option<&'static str>,
}

/// Hands out deliveries, under holds that expire.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Endpoints that have something due and are not left alone.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError>;

    /// Takes out, of each presence that is due at the endpoint, the oldest delivery that is not over, and gives them
    /// to no other before `now + hold`.
    async fn take(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        hold: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError>;

    /// Notes what came of one. `false` when its hold was lost and nothing was noted.
    async fn settle(
        &self,
        held: &Held,
        settled: Settled,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Deletes up to `limit` deliveries that have not changed since `before`, and what is left of
    /// endpoints that were taken down. Tells how many rows went.
    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<u64, PortError>;

    /// Moves on when something may have become due. A hint: look again from time to time in any case.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What an endpoint answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("an endpoint could not be told: {word}")]
pub struct SendError {
    /// Stable, for the delivery log.
    pub word: &'static str,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SendError {
    pub fn new(
        word: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            word,
            source: Some(source.into()),
        }
    }
}

/// Sends one message, once. Bounds its own time; see [`DeliverySettings::hold`].
#[async_trait]
pub trait WebhookSender: Send + Sync {
    async fn send(&self, message: &Message, now: Timestamp) -> Result<Reply, SendError>;
}

/// How deliveries are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Deliveries at once in this process.
    pub at_once_max: usize,
    /// Of those, to one endpoint. One that fails for presence after presence is tried with one at a time.
    pub at_once_of_endpoint_max: usize,
    /// How long no other process takes what was taken here; longer than sending lasts.
    pub hold: Duration,
    /// Waits between two attempts of one delivery.
    pub retry: RetryPolicy,
    /// How long an endpoint that fails for presence after presence is left alone.
    pub pause: RetryPolicy,
    /// After this long a delivery that fails is given up. Each is tried at least once.
    pub give_up_after: Duration,
    /// The longest wait an endpoint may ask for by `Retry-After`.
    pub retry_after_max: Duration,
    /// How long deliveries are kept for the log and for replay.
    pub kept_for: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            at_once_max: 128,
            at_once_of_endpoint_max: 4,
            hold: Duration::from_mins(1),
            retry: RetryPolicy {
                first_max: Duration::from_secs(10),
                wait_max: Duration::from_hours(6),
            },
            pause: RetryPolicy {
                first_max: Duration::from_secs(5),
                wait_max: Duration::from_mins(5),
            },
            give_up_after: Duration::from_hours(3 * 24),
            retry_after_max: Duration::from_hours(24),
            kept_for: Duration::from_hours(30 * 24),
        }
    }
}

/// Endpoints looked at in one round.
const ROUND_MAX: usize = 256;
/// Two rounds are at least this far apart, however much is written meanwhile.
const ROUND_EVERY_MIN: Duration = Duration::from_millis(100);
/// An idle round waits this long for the next.
const ROUND_EVERY: Duration = Duration::from_secs(2);
/// How often old deliveries are deleted, and how many at a time.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
const SWEEP_MAX: usize = 500;

/// What to note of an attempt that ended at `now`. `jitter` lies in `0.0..1.0`.
pub fn judge(
    settings: &DeliverySettings,
    delivery: &Delivery,
    answer: &Result<Reply, SendError>,
    now: Timestamp,
    jitter: f64,
) -> Settled {
    let (status, error, asked) = match answer {
        Ok(reply) => (Some(reply.status), None, reply.retry_after),
        Err(error) => (None, Some(error.word), None),
    };
    let outcome = match status {
        Some(200..=299) => Outcome::Delivered,
        Some(410) => Outcome::Gone,
        _ => {
            // Elsewhere the header means something else (RFC 9110, 10.2.3).
            let asked = asked
                .filter(|_| matches!(status, Some(429 | 503)))
                .unwrap_or_default()
                .min(settings.retry_after_max);
            let end = now
                .checked_sub(settings.give_up_after)
                .unwrap_or(Timestamp::MIN);
            let again = now
                .checked_add(asked)
                .ok()
                .and_then(|from| settings.retry.wait_until(delivery.attempt, from, jitter));
            let failing = delivery.failing.saturating_add(1);
            let pause = failing
                .checked_sub(FAILING_MAX)
                .and_then(|over| settings.pause.wait_until(over + 1, now, jitter));
            match again {
                Some(at) if delivery.queued_at > end => Outcome::Again { at, pause },
                _ => Outcome::GivenUp,
            }
        }
    };
    Settled {
        outcome,
        status,
        error,
    }
}

/// Sends what the outbox holds until `stopping` turns true; what is on its way then ends first. May
/// run in several processes at once.
pub async fn deliver(
    settings: DeliverySettings,
    outbox: Arc<dyn Outbox>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    mut stopping: watch::Receiver<bool>,
) {
    let settings = Arc::new(settings);
    let mut deliverer = Deliverer {
        settings: Arc::clone(&settings),
        outbox: Arc::clone(&outbox),
        sender,
        clock: Arc::clone(&clock),
        sending: JoinSet::new(),
        on_the_way: HashMap::new(),
    };
    let mut changes = outbox.changes();
    let mut swept_at: Option<Instant> = None;
    while !*stopping.borrow() {
        deliverer.reap();
        changes.borrow_and_update();
        let began = Instant::now();
        deliverer.round().await;
        if swept_at.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            let before = clock.now().checked_sub(settings.kept_for);
            let swept = outbox
                .sweep(before.unwrap_or(Timestamp::MIN), SWEEP_MAX)
                .await;
            match swept {
                // More is left: the next round goes on.
                Ok(count) if count >= SWEEP_MAX as u64 => {}
                Ok(_) => swept_at = Some(Instant::now()),
                Err(error) => {
                    swept_at = Some(Instant::now());
                    warn!(error = %ErrorChain(&error), "could not delete old webhook deliveries, will again");
                }
            }
        }
        let next = async {
            tokio::time::sleep_until(began + ROUND_EVERY_MIN).await;
            // A delivery that ended makes room, and may have made the next of its presence due.
            tokio::select! {
                () = tokio::time::sleep_until(began + ROUND_EVERY) => {}
                Ok(()) = changes.changed() => {}
                Some(ended) = deliverer.sending.join_next_with_id() => deliverer.ended(ended),
            }
        };
        tokio::select! {
            () = next => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
    while deliverer.sending.join_next().await.is_some() {}
}

struct Deliverer {
    settings: Arc<DeliverySettings>,
    outbox: Arc<dyn Outbox>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    sending: JoinSet<()>,
    /// The endpoint that each of those is sent to.
    on_the_way: HashMap<Id, WebhookId>,
}

impl Deliverer {
    /// Begins to send all that is due and has room.
    async fn round(&mut self) {
        let now = self.clock.now();
        let mut due = match self.outbox.due(now, ROUND_MAX).await {
            Ok(due) => due,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "could not look for webhooks to deliver, will again");
                return;
            }
        };
        // Where there is not room for all, none is always last.
        due.shuffle(&mut rand::rng());
        for Due { webhook, failing } in due {
            let most = if failing >= FAILING_MAX {
                1
            } else {
                self.settings.at_once_of_endpoint_max
            };
            let busy = self.on_the_way.values();
            let busy = busy.filter(|other| **other == webhook).count();
            let room = most
                .saturating_sub(busy)
                .min(self.settings.at_once_max.saturating_sub(self.sending.len()));
            if room == 0 {
                continue;
            }
            let taken = self.outbox.take(webhook, now, self.settings.hold, room);
            let taken = match taken.await {
                Ok(taken) => taken,
                Err(error) => {
                    // The others are none the worse for it.
                    warn!(webhook.id = %webhook, error = %ErrorChain(&error), "could not take webhooks out of the outbox, will again");
                    continue;
                }
            };
            for delivery in taken {
                let settings = Arc::clone(&self.settings);
                let (outbox, sender) = (Arc::clone(&self.outbox), Arc::clone(&self.sender));
                let clock = Arc::clone(&self.clock);
                let task = self.sending.spawn(async move {
                    send(&settings, &*outbox, &*sender, &*clock, &delivery).await;
                });
                self.on_the_way.insert(task.id(), webhook);
            }
        }
    }

    fn reap(&mut self) {
        while let Some(ended) = self.sending.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                warn!(%error, "sending a webhook broke off, it is sent again once its hold is over");
                error.id()
            }
        };
        self.on_the_way.remove(&id);
    }
}

async fn send(
    settings: &DeliverySettings,
    outbox: &dyn Outbox,
    sender: &dyn WebhookSender,
    clock: &dyn Clock,
    delivery: &Delivery,
) {
    let (held, message) = (&delivery.held, &delivery.message);
    let answer = sender.send(message, clock.now()).await;
    let now = clock.now();
    let jitter = rand::rng().random_range(0.0..1.0);
    let settled = judge(settings, delivery, &answer, now, jitter);
    let (outcome, status) = (settled.outcome, settled.status);
    let failure = answer.err().map(|error| ErrorChain(&error).to_string());
    match outbox.settle(held, settled, now).await {
        Ok(true) => {}
        Ok(false) => {
            info!(webhook.id = %held.webhook, message.id, "another process has sent a webhook meanwhile");
            return;
        }
        Err(error) => {
            warn!(webhook.id = %held.webhook, message.id, error = %ErrorChain(&error), "could not note what came of a webhook, it is sent again once its hold is over");
            return;
        }
    }
    let attempt = delivery.attempt;
    match outcome {
        Outcome::Delivered => {}
        Outcome::Again { at, .. } => {
            info!(webhook.id = %held.webhook, message.id, attempt, status, error = failure, next_attempt_at = %at, "a webhook was not taken, will again");
        }
        Outcome::GivenUp => {
            warn!(webhook.id = %held.webhook, message.id, attempt, status, error = failure, "a webhook was given up");
        }
        Outcome::Gone => {
            warn!(webhook.id = %held.webhook, name = message.name, "a webhook's endpoint says it is gone: it is disabled until it is set up again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(attempt: u32, failing: u32) -> Delivery {
        let webhook = WebhookId::new();
        Delivery {
            held: Held {
                webhook,
                number: 1,
                lane: "lane".to_owned(),
                fence: 1,
            },
            message: Message {
                id: "msg_1".to_owned(),
                name: "main".to_owned(),
                url: "https://example.vn/".to_owned(),
                secrets: Vec::new(),
                told: Told {
                    kind: TEST_KIND.to_owned(),
                    at: Timestamp::UNIX_EPOCH,
                    about: None,
                },
            },
            attempt,
            queued_at: Timestamp::UNIX_EPOCH,
            failing,
        }
    }

    fn at(duration: Duration) -> Timestamp {
        Timestamp::UNIX_EPOCH + duration
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the answer of a sender, which can fail"
    )]
    fn answer(status: u16, retry_after: Option<u64>) -> Result<Reply, SendError> {
        Ok(Reply {
            status,
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    fn outcome(delivery: &Delivery, answer: &Result<Reply, SendError>, now: Timestamp) -> Outcome {
        judge(&DeliverySettings::default(), delivery, answer, now, 1.0).outcome
    }

    #[test]
    fn waits_grow_to_their_bound_and_end_after_three_days() {
        let now = at(Duration::ZERO);
        let waits: Vec<_> = [1, 2, 3, 20]
            .into_iter()
            .map(
                |attempt| match outcome(&delivery(attempt, 0), &answer(500, None), now) {
                    Outcome::Again { at, pause: None } => at.duration_since(now).unsigned_abs(),
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        let bounds = [10, 20, 40, 6 * 3600].map(Duration::from_secs);
        assert_eq!(waits, bounds);
        let three_days = at(Duration::from_hours(72));
        let late = outcome(&delivery(1, 0), &answer(500, None), three_days);
        assert_eq!(late, Outcome::GivenUp);
        let error = Err(SendError::new("timeout", "slow"));
        let settled = judge(
            &DeliverySettings::default(),
            &delivery(1, 0),
            &error,
            now,
            0.0,
        );
        assert_eq!(settled.error, Some("timeout"));
        assert!(matches!(settled.outcome, Outcome::Again { .. }));
    }

    #[test]
    fn retry_after_is_a_lower_bound_with_an_upper_one() {
        let now = at(Duration::ZERO);
        let wait = |answer| match outcome(&delivery(1, 0), &answer, now) {
            Outcome::Again { at, .. } => at.duration_since(now).unsigned_abs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(answer(429, Some(60))), Duration::from_secs(70));
        assert_eq!(wait(answer(503, Some(60))), Duration::from_secs(70));
        assert_eq!(wait(answer(500, Some(60))), Duration::from_secs(10));
        let day = Duration::from_hours(24) + Duration::from_secs(10);
        assert_eq!(wait(answer(503, Some(u64::MAX))), day);
    }

    #[test]
    fn any_2xx_is_delivered_410_ends_and_a_redirect_is_a_failure() {
        let now = at(Duration::ZERO);
        let of = |status| outcome(&delivery(1, 0), &answer(status, None), now);
        assert_eq!(of(200), Outcome::Delivered);
        assert_eq!(of(204), Outcome::Delivered);
        assert_eq!(of(410), Outcome::Gone);
        assert!(matches!(of(302), Outcome::Again { .. }));
        assert!(matches!(of(404), Outcome::Again { .. }));
    }

    #[test]
    fn leaves_an_endpoint_alone_after_a_row_of_failures() {
        let now = at(Duration::ZERO);
        let pause = |failing| match outcome(&delivery(1, failing), &answer(500, None), now) {
            Outcome::Again { pause, .. } => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!(pause(1), None);
        assert_eq!(pause(2), Some(at(Duration::from_secs(5))));
        assert_eq!(pause(3), Some(at(Duration::from_secs(10))));
        assert_eq!(pause(u32::MAX), Some(at(Duration::from_mins(5))));
    }

    #[test]
    fn wants_what_it_names() {
        let wanted = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap());
            Wanted::new(patterns.collect()).unwrap()
        };
        let unasked = Wanted::default();
        for kind in [
            "presence.live",
            "operation.stuck",
            "review.approved",
            "dossier.completed",
        ] {
            assert!(unasked.includes(kind), "{kind}");
        }
        for kind in [
            "plane.ready",
            "operation.succeeded",
            "step.failed",
            "drift.found",
        ] {
            assert!(!unasked.includes(kind), "{kind}");
        }
        let some = wanted(&["presence.live", "plane.*", "operation.*"]);
        assert!(some.includes("plane.ready") && some.includes("operation.succeeded"));
        assert!(!some.includes("presence.suspended") && !some.includes("operation.running"));
        for pattern in [
            "step.*",
            "*",
            "presence",
            "presence.",
            "presence.l*",
            "operation.running",
        ] {
            assert!(pattern.parse::<Pattern>().is_err(), "{pattern}");
        }
    }

    #[test]
    fn reasons_are_withheld() {
        let mut detail = serde_json::json!({ "error": "host x refused a@b.vn", "attempt": 1 });
        withhold(&mut detail);
        assert_eq!(
            detail,
            serde_json::json!({ "error": WITHHELD, "attempt": 1 })
        );
    }
}
