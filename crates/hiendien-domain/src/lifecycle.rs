//! The states of a presence, the verbs that move it, and what outsiders see of each plane.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word used in the store, on the wire and in logs.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { kind: stringify!($name), word: text.to_owned() }),
                }
            }
        }
    };
}

/// A stored or sent word that names no value of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{word}` is not a {kind}")]
pub struct UnknownWord {
    pub kind: &'static str,
    pub word: String,
}

words!(
    /// The roll-up state of a presence. Detail by plane is in [`PlaneState`].
    PresenceState {
        Accepted = "accepted",
        Provisioning = "provisioning",
        /// Only after a probe from outside succeeded on every plane.
        Live = "live",
        /// An operation cannot go on without a person; the reason is with the operation.
        NeedsAttention = "needs_attention",
    }
);

words!(
    /// What can be asked of a presence. More verbs arrive with the lifecycle.
    Verb {
        Provision = "provision",
    }
);

words!(
    /// The four independently visible parts of a presence.
    Plane {
        Dns = "dns",
        Site = "site",
        Tls = "tls",
        Mail = "mail",
    }
);

words!(
    /// What was last observed of one plane.
    PlaneState {
        Pending = "pending",
        Working = "working",
        Ready = "ready",
        Failed = "failed",
    }
);

words!(
    /// Where an operation stands.
    OperationState {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker holds its lease.
        Running = "running",
        /// Waits for the moment of its next attempt, without a worker.
        Parked = "parked",
        Succeeded = "succeeded",
        /// A remote refused for good, or a setting is wrong: a person must act, then it goes on.
        Stuck = "stuck",
    }
);

impl OperationState {
    /// Whether the operation will never run again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded)
    }
}

words!(
    /// Where one step of an operation stands.
    StepState {
        Pending = "pending",
        /// The intent is in the store; the effect may or may not have happened.
        Started = "started",
        Succeeded = "succeeded",
        /// The last attempt failed; another is due.
        Waiting = "waiting",
    }
);

words!(
    /// The two programmes: `biz.vn` for businesses, `id.vn` for people aged 18 to 23.
    Programme {
        Biz = "biz",
        Id = "id",
    }
);

impl Programme {
    /// The suffix under which the programme grants names.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Biz => "biz.vn",
            Self::Id => "id.vn",
        }
    }
}
