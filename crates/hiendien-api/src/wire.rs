//! What goes over the wire. Inner types do not leave the process by accident.

use hiendien_domain::fault::Fault;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{
    OperationState, Plane, PlaneState, PresenceState, Programme, StepState, Verb,
};
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_engine::operation::{Event, Operation, StepRecord};
use hiendien_engine::presence::{PlaneStatus, Presence};
use hiendien_engine::store::ApiKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

impl From<PlaneStatus> for PlaneView {
    fn from(status: PlaneStatus) -> Self {
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
            reason,
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
    pub state: PresenceState,
    pub planes: Vec<PlaneView>,
    pub mailboxes: Vec<MailAddress>,
    pub template: String,
    pub revision: Option<String>,
    pub created_at: Timestamp,
    pub live_at: Option<Timestamp>,
    pub operation: OperationId,
}

impl From<Presence> for PresenceView {
    fn from(presence: Presence) -> Self {
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
            state: presence.state,
            planes: presence.planes.into_iter().map(Into::into).collect(),
            template: plan.template,
            revision: presence.revision.map(Into::into),
            created_at: presence.created_at,
            live_at: presence.live_at,
            operation: presence.operation,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PresencePage {
    pub presences: Vec<PresenceView>,
    /// Give it as `after` to read on; absent on the last page.
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

impl From<StepRecord> for StepView {
    fn from(record: StepRecord) -> Self {
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
            error,
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
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub steps: Vec<StepView>,
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        Self {
            id: operation.id,
            presence: operation.presence,
            verb: operation.verb,
            state: operation.state,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
            steps: operation.steps.into_iter().map(Into::into).collect(),
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
    /// The registrar the key acts for; `null` for an operator, who sees all.
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
