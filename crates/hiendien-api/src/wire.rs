//! What goes over the wire. Inner types do not leave the process by accident.

use hiendien_domain::content::ImageId;
use hiendien_domain::fault::Fault;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{
    Direction, OperationState, Plane, PlaneState, PresenceState, Programme, Standing, StepState,
    Verb,
};
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_engine::operation::{Event, Operation, StepRecord};
use hiendien_engine::pictures::{Image, ImageState};
use hiendien_engine::presence::{PlaneStatus, Presence};
use hiendien_engine::store::ApiKey;
use hiendien_engine::webhooks::{WITHHELD, withhold};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::Caller;

/// The answer to a claim that was taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimAccepted {
    pub claim: ClaimId,
    pub presence: PresenceId,
    pub operation: OperationId,
    pub name: DomainName,
    /// The same claim had been handed in before.
    pub repeated: bool,
    #[serde(default)]
    pub warnings: Vec<Fault>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlaneView {
    pub plane: Plane,
    pub state: PlaneState,
    pub reason: Option<String>,
    pub since: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
}

/// What a caller may read of why something failed: operators all of it.
fn reason_for(caller: &Caller, reason: Option<String>) -> Option<String> {
    match &caller.0.registrar {
        None => reason,
        Some(_) => reason.map(|_| WITHHELD.to_owned()),
    }
}

/// An event as a caller may read it.
pub(crate) fn for_caller(mut event: Event, caller: &Caller) -> Event {
    if caller.0.registrar.is_some() {
        withhold(&mut event.detail);
    }
    event
}

impl PlaneView {
    fn of(status: PlaneStatus, caller: &Caller) -> Self {
        let PlaneStatus {
            plane,
            state,
            reason,
            since,
            next_attempt_at,
        } = status;
        Self {
            plane,
            state,
            reason: reason_for(caller, reason),
            since,
            next_attempt_at,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PresenceView {
    pub id: PresenceId,
    pub claim: ClaimId,
    pub registrar: String,
    pub reference: String,
    pub programme: Programme,
    pub name: DomainName,
    /// The name as people read it.
    pub name_unicode: String,
    pub url: String,
    /// What it is meant to be.
    pub standing: Standing,
    /// How far it has come.
    pub state: PresenceState,
    pub planes: Vec<PlaneView>,
    pub mailboxes: Vec<MailAddress>,
    pub template: String,
    pub revision: Option<String>,
    pub created_at: Timestamp,
    pub live_at: Option<Timestamp>,
    /// The end of its term; the service stops on that day.
    pub term_ends_at: Option<Timestamp>,
    /// When its service has ended for good.
    pub ended_at: Option<Timestamp>,
    /// By when the registrant's papers are to be complete; `null` when they are.
    pub dossier_due_at: Option<Timestamp>,
    /// A person has to let the name out before anything is published.
    pub held_for_review: bool,
    pub operation: OperationId,
}

impl PresenceView {
    pub(crate) fn of(presence: Presence, caller: &Caller) -> Self {
        let plan = presence.plan;
        Self {
            id: presence.id,
            claim: presence.claim,
            registrar: presence.registrar,
            reference: presence.reference,
            programme: plan.programme,
            name_unicode: plan.name.to_unicode(),
            url: format!("https://{}/", plan.name),
            mailboxes: plan
                .mailboxes
                .iter()
                .map(|local| local.at(&plan.name))
                .collect(),
            name: plan.name,
            standing: presence.standing,
            state: presence.state,
            planes: presence
                .planes
                .into_iter()
                .map(|plane| PlaneView::of(plane, caller))
                .collect(),
            template: plan.template,
            revision: presence.revision.map(Into::into),
            created_at: presence.created_at,
            live_at: presence.live_at,
            term_ends_at: presence.life.term_ends_at,
            ended_at: presence.life.ended_at,
            dossier_due_at: presence.life.dossier_due_at,
            held_for_review: presence.life.held_for.is_some(),
            operation: presence.operation,
        }
    }
}

/// A presence that waits for a person, with what that person has to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttentionView {
    pub presence: PresenceView,
    pub operation: OperationView,
    pub to_do: String,
}

impl AttentionView {
    pub(crate) fn of(presence: Presence, operation: Operation, caller: &Caller) -> Self {
        let id = operation.id;
        let abandonable = operation.verb.can_be_undone() && operation.direction == Direction::Apply;
        let to_do = if presence.life.held_for.is_some() {
            "an operator decides whether the name or the new content may go out: review it"
                .to_owned()
        } else if operation.state != OperationState::Stuck {
            format!(
                "mend what the failed step tells; it goes on by itself at its next attempt, at once by retrying operation `{id}`"
            )
        } else if abandonable {
            format!("mend what the failed step tells and retry operation `{id}`, or abandon it")
        } else {
            format!("mend what the failed step tells and retry operation `{id}`")
        };
        Self {
            operation: OperationView::of(operation, caller),
            presence: PresenceView::of(presence, caller),
            to_do,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PresencePage {
    pub presences: Vec<PresenceView>,
    /// Give it as `after` to read on; `null` on the last page.
    pub next: Option<PresenceId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepView {
    pub name: String,
    pub state: StepState,
    pub attempt: u32,
    pub output: Option<Value>,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
}

impl StepView {
    fn of(record: StepRecord, caller: &Caller) -> Self {
        let StepRecord {
            name,
            state,
            attempt,
            output,
            error,
            started_at,
            ended_at,
            next_attempt_at,
        } = record;
        Self {
            name,
            state,
            attempt,
            output,
            error: reason_for(caller, error),
            started_at,
            ended_at,
            next_attempt_at,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationView {
    pub id: OperationId,
    pub presence: PresenceId,
    pub verb: Verb,
    pub state: OperationState,
    /// `undo` while what it did is taken back.
    pub direction: Direction,
    pub asked_by: String,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// When a parked operation is due again.
    pub next_run_at: Option<Timestamp>,
    /// Why it is stuck.
    pub reason: Option<String>,
    pub steps: Vec<StepView>,
}

impl OperationView {
    pub(crate) fn of(operation: Operation, caller: &Caller) -> Self {
        Self {
            id: operation.id,
            presence: operation.presence,
            verb: operation.verb,
            state: operation.state,
            direction: operation.direction,
            asked_by: operation.asked_by,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
            next_run_at: operation
                .next_run_at
                .filter(|_| operation.state == OperationState::Parked),
            reason: reason_for(caller, operation.reason),
            steps: operation
                .steps
                .into_iter()
                .map(|step| StepView::of(step, caller))
                .collect(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventPage {
    pub events: Vec<Event>,
}

/// What a new API key is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The registrar the key acts for; `null`, which must be written, for an operator, who sees all.
    #[serde(deserialize_with = "Option::deserialize")]
    pub registrar: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct KeyView {
    pub name: String,
    pub registrar: Option<String>,
    /// Told once, in the answer to the request that made the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl std::fmt::Debug for KeyView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyView")
            .field("name", &self.name)
            .field("registrar", &self.registrar)
            .finish_non_exhaustive()
    }
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            name: key.name,
            registrar: key.registrar,
            key: None,
        }
    }
}

/// An uploaded image, and the picture it became.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageView {
    pub id: ImageId,
    /// `waiting`, `ready`, `refused`.
    pub state: String,
    pub uploaded_at: Timestamp,
    pub upload_bytes: u64,
    /// Of all that is kept of it.
    pub kept_bytes: u64,
    /// Of the largest form; where it is ready, as are the next three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widths: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// Where it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl ImageView {
    pub(crate) fn of(image: Image) -> Self {
        let (state, picture, fault) = match image.state {
            ImageState::Waiting => ("waiting", None, None),
            ImageState::Ready(picture) => ("ready", Some(picture), None),
            ImageState::Refused(fault) => ("refused", None, Some(fault.fault())),
        };
        let size = picture
            .as_ref()
            .map(|picture| (picture.width, picture.height));
        let (widths, placeholder) = picture
            .map(|picture| (picture.widths, picture.placeholder))
            .unzip();
        Self {
            id: image.id,
            state: state.to_owned(),
            uploaded_at: image.uploaded_at,
            upload_bytes: image.upload_bytes,
            kept_bytes: image.kept_bytes,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            widths: widths.unwrap_or_default(),
            placeholder,
            fault,
        }
    }
}

/// All images of a presence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageList {
    pub images: Vec<ImageView>,
}
