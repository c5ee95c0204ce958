//! Operations, their step logs and their events, as values.

use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{
    Direction, OperationState, Plane, PlaneState, PresenceState, Standing, StepState, Verb,
};
use hiendien_domain::site::RevisionHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::presence::PresencePlan;

/// One run of a verb on a presence.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub id: OperationId,
    pub presence: PresenceId,
    pub verb: Verb,
    pub state: OperationState,
    pub direction: Direction,
    /// What the verb was asked with, for its steps.
    pub input: Value,
    /// How the presence was before; kept until the operation ends. Provisioning has none.
    pub before: Option<Before>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// When a parked operation is due again.
    pub next_run_at: Option<Timestamp>,
    /// Who asked: a registrar, `operator`, or `clock` and `reconciler`.
    pub asked_by: String,
    /// Why it is stuck, in English, for operators.
    pub reason: Option<String>,
    /// In the order of the verb's definition.
    pub steps: Vec<StepRecord>,
}

/// How a presence was before a verb changed what it is meant to be: undoing leads back here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub standing: Standing,
    pub state: PresenceState,
    pub plan: PresencePlan,
    pub registrar: String,
    pub reference: String,
    pub term_ends_at: Option<Timestamp>,
    pub revision: Option<RevisionHash>,
}

/// The log of one step, folded to its latest state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    pub name: String,
    pub state: StepState,
    /// Attempts begun so far.
    pub attempt: u32,
    pub output: Option<Value>,
    /// Chain of causes of the last failure.
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
}

/// A line to be added to the log of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum StepLog {
    /// The intent, written before the effect.
    Started { step: &'static str, attempt: u32 },
    Succeeded {
        step: &'static str,
        attempt: u32,
        duration_ms: u64,
        output: Value,
    },
    Failed {
        step: &'static str,
        attempt: u32,
        duration_ms: u64,
        error: String,
        /// `None` when only a person can help.
        next_attempt_at: Option<Timestamp>,
    },
    /// The intent to undo, written before the effect is taken back.
    UndoStarted { step: &'static str, attempt: u32 },
    Undone {
        step: &'static str,
        attempt: u32,
        duration_ms: u64,
    },
    UndoFailed {
        step: &'static str,
        attempt: u32,
        duration_ms: u64,
        error: String,
        next_attempt_at: Option<Timestamp>,
    },
}

impl StepLog {
    pub fn step(&self) -> &'static str {
        match self {
            Self::Started { step, .. }
            | Self::Succeeded { step, .. }
            | Self::Failed { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::Undone { step, .. }
            | Self::UndoFailed { step, .. } => step,
        }
    }
}

/// A change of what is known of a plane, written with the log lines that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneChange {
    pub plane: Plane,
    pub state: PlaneState,
    pub reason: Option<String>,
    pub next_attempt_at: Option<Timestamp>,
}

/// How a worker lets go of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    /// What had been done is taken back: the presence is as it was before.
    Undone,
    /// Nothing can be done before `until`. `needs_attention` tells that an operator has to mend something first.
    Parked {
        until: Timestamp,
        needs_attention: bool,
    },
    Stuck {
        reason: String,
    },
    /// The worker is stopping; another may take over at once.
    Released,
}

/// Something that happened to a presence, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by the order of writing; a reader asks for what came after.
    pub sequence: i64,
    pub at: Timestamp,
    pub presence: PresenceId,
    pub operation: Option<OperationId>,
    /// Such as `step.succeeded`, `operation.parked`, `presence.live`.
    pub kind: String,
    pub step: Option<String>,
    /// Values for programs: `attempt`, `duration_ms`, `error`, `next_attempt_at`.
    pub detail: Value,
}
