//! What the engine needs from its store, in three narrow parts: taking claims in, keeping the
//! log of operations under leases, and reading.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{Standing, Verb};
use hiendien_domain::name::DomainName;
use hiendien_domain::secret::Secret;
use hiendien_domain::site::RevisionHash;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::operation::{Event, Operation, PlaneChange, RunEnd, StepLog};
use crate::ports::{PortError, SiteService};
use crate::presence::{Life, Presence, PresencePlan};

/// A checked claim on its way into the store.
#[derive(Debug, Clone)]
pub struct NewClaim {
    pub claim: ClaimId,
    pub presence: PresenceId,
    pub operation: OperationId,
    pub registrar: String,
    pub reference: String,
    /// Names the content: equal claims have equal fingerprints.
    pub fingerprint: String,
    /// Names who is entitled, for the one-per-subject rule; the store keeps only a keyed hash of it.
    pub subject_key: Secret,
    /// The claim as it is kept; sealed by the store.
    pub document: Secret,
    pub plan: PresencePlan,
    pub life: Life,
    /// When the clock looks at it for the first time.
    pub care_at: Timestamp,
    /// Steps of the provision verb, in their order.
    pub steps: Vec<&'static str>,
}

/// Where a claim ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub claim: ClaimId,
    pub presence: PresenceId,
    pub operation: OperationId,
    /// The same claim had been handed in before; nothing was changed.
    pub repeated: bool,
}

/// Why a claim is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error(
        "registrar `{registrar}` has used reference `{reference}` for a claim with other content"
    )]
    ReferenceReused {
        registrar: String,
        reference: String,
    },
    #[error("`{name}` already has a presence")]
    NameTaken { name: DomainName },
    /// The name only where the same registrar handed it in: to others it is not theirs to know.
    #[error("this subject already has the one presence that its programme grants{}", named(name.as_ref()))]
    SubjectServed { name: Option<DomainName> },
    #[error("could not store the claim")]
    Store(#[source] PortError),
}

fn named(name: Option<&DomainName>) -> String {
    name.map(|name| format!(", `{name}`")).unwrap_or_default()
}

/// Takes claims in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Stores the claim, its presence and its provision operation in one transaction. The same
    /// (registrar, reference) with the same fingerprint gives what was made before.
    async fn accept(&self, claim: NewClaim, now: Timestamp) -> Result<Accepted, AcceptError>;
}

/// A verb asked of a presence, with all it changes at once.
#[derive(Debug, Clone)]
pub struct NewOperation {
    pub operation: OperationId,
    pub presence: PresenceId,
    pub verb: Verb,
    /// The presence's operation begun last when this one was worked out: a newer one makes it stale.
    pub seen: OperationId,
    /// What the presence is meant to be from now on.
    pub standing: Standing,
    pub change: Change,
    pub input: Value,
    pub asked_by: String,
    /// The key of the request that asked, which will name this operation from then on.
    pub asked_with: Option<RequestKey>,
    /// Steps of the verb, in their order.
    pub steps: Vec<&'static str>,
}

/// Names one request of one caller; see [`IdempotencyKeys`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    pub caller: String,
    pub key: String,
}

/// What asking a verb changes of the presence, beside its standing. `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    pub plan: Option<PresencePlan>,
    /// Registrar and the registrar's reference.
    pub registrar: Option<(String, String)>,
    pub term_ends_at: Option<Timestamp>,
    pub touched_at: Option<Timestamp>,
    /// When its service has ended for good.
    pub ended_at: Option<Timestamp>,
    /// Why a person has to look at it before it goes out.
    pub held_for: Option<String>,
    /// What the page in the plan was made from.
    pub content: Option<KeptContent>,
}

/// What a page is made from, as its owner gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptContent {
    /// JSON of a document; `None` where a claim came anew and never a document.
    pub document: Option<Secret>,
    /// JSON of [`hiendien_domain::document::Facts`].
    pub facts: Secret,
}

/// Why a verb was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("there is no such presence")]
    Unknown,
    /// Work it out again from what is stored now.
    #[error("the presence has changed meanwhile")]
    Stale,
    #[error("operation `{operation}` ({verb}) is under way")]
    UnderWay { operation: OperationId, verb: Verb },
    /// An earlier request with the same key has begun this one.
    #[error("operation `{0}` was begun by the same request")]
    Made(OperationId),
    #[error("could not begin the operation")]
    Store(#[source] PortError),
}

/// What became of the wish to abandon an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoning {
    /// It goes back from now on.
    Begun,
    /// It goes back already, or is back.
    Already,
    /// A worker is at it this moment, or it has succeeded: nothing was changed.
    Refused,
}

/// A person's decision on a name that is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Approve,
    /// The provisioning is abandoned and undone.
    Refuse,
}

/// Moves presences from one standing to the next.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// Stores the operation and what it changes, in one transaction, where no other is under way.
    async fn begin(&self, new: NewOperation, now: Timestamp) -> Result<(), BeginError>;

    /// Turns a parked, stuck or waiting operation round: its steps are undone from now on.
    async fn abandon(
        &self,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<Abandoning, PortError>;

    /// Decides on a name that is held back, and makes its operation due. `false` when it is not held.
    async fn decide(
        &self,
        presence: PresenceId,
        decision: Decision,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Notes that the registrant's papers are complete. `false` where none were missing.
    async fn complete_dossier(
        &self,
        presence: PresenceId,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Notes that the owner was there: a password was set, content was changed.
    async fn touch(&self, presence: PresenceId, now: Timestamp) -> Result<(), PortError>;

    /// Hands out presences the clock is to look at, the longest overdue first, and to no other before
    /// `now + hold`: that is their `care_at` when they come.
    async fn take_for_care(
        &self,
        now: Timestamp,
        hold: Duration,
        limit: usize,
    ) -> Result<Vec<Presence>, PortError>;

    /// Notes when the clock looks again and which reminder was sent last, unless something has made it
    /// due at another moment than `seen`. `false` then.
    async fn cared(
        &self,
        presence: PresenceId,
        seen: Timestamp,
        next: Option<Timestamp>,
        reminded: Option<String>,
    ) -> Result<bool, PortError>;

    /// Notes what a look at the servers has found of planes, and the drift as an event where there is any, unless an
    /// operation has begun after the one of `seen`: its steps know better. `false` then.
    async fn observed(
        &self,
        seen: &Presence,
        planes: Vec<PlaneChange>,
        drift: Option<Value>,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Adds an event of the engine's own, such as `presence.reminded`.
    async fn note(
        &self,
        presence: PresenceId,
        kind: &'static str,
        detail: Value,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// Erases what the store keeps of the registrant: the claim's document, the plan's personal data, the links.
    async fn erase(&self, presence: PresenceId, now: Timestamp) -> Result<(), PortError>;
}

/// What pages are made from. A verb changes it, by [`Change::content`].
#[async_trait]
pub trait Contents: Send + Sync {
    /// What was published last; `None` where nothing was since the claim.
    async fn content(&self, presence: PresenceId) -> Result<Option<KeptContent>, PortError>;

    /// The claim as it was taken in; `None` once it was erased.
    async fn claim_document(&self, presence: PresenceId) -> Result<Option<Secret>, PortError>;

    /// The images that were uploaded for a presence, without what they show.
    async fn pictures(&self, presence: PresenceId)
    -> Result<BTreeMap<ImageId, Picture>, PortError>;
}

/// The right to work on one operation until it expires. Every write carries its fence, so that a
/// worker that slept through its lease cannot write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub operation: OperationId,
    pub worker: String,
    pub fence: i64,
}

/// Why a write under a lease did not happen.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("the lease on operation `{0}` is lost")]
    Lost(OperationId),
    #[error("could not write to the operation log")]
    Store(#[source] PortError),
}

/// Keeps operations and their logs.
#[async_trait]
pub trait OperationLog: Send + Sync {
    /// Gives the operation that is due and waits longest to `worker`, until `now + lease`.
    /// `None` when nothing is due.
    async fn lease_next(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<(Lease, Operation, Presence)>, PortError>;

    async fn extend(&self, lease: &Lease, now: Timestamp, by: Duration) -> Result<(), LeaseError>;

    /// Adds lines and plane changes in one transaction. Durable when it returns.
    async fn write(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        now: Timestamp,
    ) -> Result<(), LeaseError>;

    /// Adds the last lines and lets go of the operation, in one transaction.
    async fn end_run(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        end: RunEnd,
        now: Timestamp,
    ) -> Result<(), LeaseError>;

    /// Makes a stuck or parked operation due at once. `false` when it is neither.
    async fn retry(&self, operation: OperationId, now: Timestamp) -> Result<bool, PortError>;

    /// Moves on when something may have become due. A hint: look again from time to time in any case.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Makes revisions the ones that are served.
#[async_trait]
pub trait Publications: Send + Sync {
    /// Moves the presence's pointer to `revision` and makes its host names answer, in one transaction.
    async fn publish(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        revision: &RevisionHash,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// Makes the presence's host names show its site, or a notice instead.
    async fn set_service(
        &self,
        presence: PresenceId,
        service: SiteService,
    ) -> Result<(), PortError>;

    /// Takes the presence's host names away: the edge knows them no more. Gone already is no error.
    async fn withdraw(&self, presence: PresenceId) -> Result<(), PortError>;
}

/// Reads what is stored, for the API. Pages are bounded by `limit`.
#[async_trait]
pub trait Directory: Send + Sync {
    async fn presence(&self, id: PresenceId) -> Result<Option<Presence>, PortError>;

    async fn presence_by_name(&self, name: &DomainName) -> Result<Option<Presence>, PortError>;

    async fn claim_presence(&self, claim: ClaimId) -> Result<Option<PresenceId>, PortError>;

    /// Presences of a registrar (all where `None`) after `after`, by identifier, which is by age.
    async fn presences(
        &self,
        registrar: Option<&str>,
        after: Option<PresenceId>,
        limit: usize,
    ) -> Result<Vec<Presence>, PortError>;

    /// Presences for which a person must act, of a registrar (all where `None`) after `after`.
    async fn needing_attention(
        &self,
        registrar: Option<&str>,
        after: Option<PresenceId>,
        limit: usize,
    ) -> Result<Vec<Presence>, PortError>;

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, PortError>;

    /// Operations of a presence, the newest first.
    async fn operations(
        &self,
        presence: PresenceId,
        limit: usize,
    ) -> Result<Vec<Operation>, PortError>;

    /// Events of a presence (all where `None`) written after `after`, in order.
    async fn events(
        &self,
        presence: Option<PresenceId>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Event>, PortError>;

    /// Moves on when events may have been written. A hint: look again from time to time in any case.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Who may call the API. Keys are kept by their SHA-256 only.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Lets whoever holds the key with this hash call as `key` says. A key of the same name ends.
    async fn put(&self, key_hash: [u8; 32], key: &ApiKey, now: Timestamp) -> Result<(), PortError>;

    /// Looks up who a key belongs to.
    async fn find(&self, key_hash: &[u8; 32]) -> Result<Option<ApiKey>, PortError>;

    /// All keys, by name.
    async fn list(&self) -> Result<Vec<ApiKey>, PortError>;

    /// Ends a key. `false` when there was none of that name.
    async fn remove(&self, name: &str) -> Result<bool, PortError>;
}

/// Who may call the API, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub name: String,
    /// The registrar the key acts for; `None` for the platform's operators, who see all.
    pub registrar: Option<String>,
}

/// The stored answer to a POST that carried an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotentReply {
    /// First time: go on, then call [`IdempotencyKeys::finish`].
    Begun,
    /// An earlier request with this key has begun this operation, and its answer was not kept.
    Made(OperationId),
    /// The same key and body: send this again.
    Finished { status: u16, body: String },
    /// The same key with another body.
    Mismatch,
    /// The first call has not ended.
    InFlight,
}

/// Remembers the answers to POSTs (draft-ietf-httpapi-idempotency-key-header). Kept for 7 days.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync {
    async fn begin(
        &self,
        caller: &str,
        key: &str,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<IdempotentReply, PortError>;

    async fn finish(
        &self,
        caller: &str,
        key: &str,
        status: u16,
        body: &str,
    ) -> Result<(), PortError>;

    /// Forgets a call that ended without an answer worth keeping, such as a failure of ours; not one that has
    /// begun an operation.
    async fn forget(&self, caller: &str, key: &str) -> Result<(), PortError>;
}
