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
                formatter.pad(self.word())
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
    /// What a presence is meant to be. Only verbs move it, at the moment they are asked; the planes
    /// follow. [`PresenceState`] tells how far they have come.
    Standing {
        /// Claimed, and never live so far.
        Provisioned = "provisioned",
        Serving = "serving",
        /// Stopped by a decision: notice instead of the site, no login, mail still stored.
        Suspended = "suspended",
        /// Stopped because its term ended; renewing it brings it back.
        Expired = "expired",
        /// Given up: serves nothing, its name is free once absence was seen; data kept for a while.
        Released = "released",
        /// Never came to be: provisioning was undone, and its name is free.
        Abandoned = "abandoned",
        /// Its data is erased.
        Purged = "purged",
    }
);

impl Standing {
    /// Whether the presence holds its name: no other may be made under it.
    pub fn holds_name(self) -> bool {
        matches!(
            self,
            Self::Provisioned | Self::Serving | Self::Suspended | Self::Expired
        )
    }

    /// Where the standing leads when a verb is asked. Total: every standing answers every verb.
    ///
    /// Asking for what already is so is [`Transition::Already`], no error.
    pub fn after(self, verb: Verb) -> Result<Transition, IllegalTransition> {
        use Standing::{Abandoned, Expired, Provisioned, Purged, Released, Serving, Suspended};
        use Transition::{Already, To};
        let hint = match (verb, self) {
            (Verb::Provision, Provisioned | Serving) => return Ok(Already),
            (Verb::Provision, _) => "a name is provisioned once, by its claim",

            (
                Verb::Publish | Verb::Rollback | Verb::RenameMailbox | Verb::ResetPassword,
                Serving,
            ) => {
                return Ok(To(Serving));
            }
            (Verb::Suspend, Serving | Expired) => return Ok(To(Suspended)),
            (Verb::Suspend, Suspended) => return Ok(Already),
            (Verb::Resume, Suspended) => return Ok(To(Serving)),
            (Verb::Resume, Serving) => return Ok(Already),
            (Verb::Resume | Verb::Publish | Verb::Rollback, Expired) => {
                "its term has ended: renew it"
            }
            (Verb::Expire, Serving) => return Ok(To(Expired)),
            (Verb::Expire, Suspended | Expired) => return Ok(Already),
            (Verb::Renew, Serving | Expired) => return Ok(To(Serving)),
            (Verb::Renew, Suspended) => return Ok(To(Suspended)),
            (Verb::Transfer | Verb::Repair, Serving | Suspended | Expired) => {
                return Ok(To(self));
            }
            (Verb::Release, Serving | Suspended | Expired) => return Ok(To(Released)),
            (Verb::Release, Released | Abandoned | Purged) => return Ok(Already),
            (Verb::Purge, Released | Abandoned) => return Ok(To(Purged)),
            (Verb::Purge, Purged) => return Ok(Already),
            (Verb::Purge, _) => "release it first",

            (_, Provisioned) => "it is not live yet: wait for it, or abandon its operation",
            (_, Suspended) => "it is suspended: resume it first",
            (_, Expired) => "its term has ended: renew it first",
            (_, Released) => "it is already released",
            (_, Abandoned) => "it never came to be",
            (_, Purged) => "its data is erased",
        };
        Err(IllegalTransition {
            verb,
            standing: self,
            hint,
        })
    }

    /// The roll-up state once an operation has made the planes so.
    pub fn reached(self) -> PresenceState {
        match self {
            Self::Provisioned | Self::Serving => PresenceState::Live,
            Self::Suspended => PresenceState::Suspended,
            Self::Expired => PresenceState::Expired,
            Self::Released => PresenceState::Released,
            Self::Abandoned => PresenceState::Abandoned,
            Self::Purged => PresenceState::Purged,
        }
    }
}

/// What asking a verb leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    To(Standing),
    /// It is so already: nothing is begun.
    Already,
}

/// A verb that the standing of a presence does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot {verb} while it is {standing}: {hint}")]
pub struct IllegalTransition {
    pub verb: Verb,
    pub standing: Standing,
    /// What to do instead.
    pub hint: &'static str,
}

words!(
    /// The roll-up state of a presence. Detail by plane is in [`PlaneState`].
    PresenceState {
        Accepted = "accepted",
        Provisioning = "provisioning",
        /// Only after a probe from outside succeeded on every plane.
        Live = "live",
        Suspended = "suspended",
        Expired = "expired",
        /// The tombstone is written; not every plane was seen to be gone.
        Releasing = "releasing",
        Released = "released",
        Abandoned = "abandoned",
        Purged = "purged",
        /// An operation cannot go on without a person; the reason is with the operation.
        NeedsAttention = "needs_attention",
    }
);

words!(
    /// What can be asked of a presence.
    Verb {
        Provision = "provision",
        /// New content or another template.
        Publish = "publish",
        /// An earlier revision again, as it is kept.
        Rollback = "rollback",
        Suspend = "suspend",
        Resume = "resume",
        /// The clock's: the term has ended.
        Expire = "expire",
        /// A longer term, and a fresh certificate where one is due.
        Renew = "renew",
        /// Another registrar or another registrant.
        Transfer = "transfer",
        RenameMailbox = "rename_mailbox",
        ResetPassword = "reset_password",
        /// Makes all planes again what they are meant to be; asked where a reconciler found drift.
        Repair = "repair",
        /// Stops serving and gives the name back; the data is kept for a while.
        Release = "release",
        /// Erases the data.
        Purge = "purge",
    }
);

impl Verb {
    /// Whether an operation of this verb can be abandoned and undone. What was told to be gone
    /// cannot be brought back: a released name may have been seen free.
    pub fn can_be_undone(self) -> bool {
        !matches!(self, Self::Release | Self::Purge)
    }
}

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
        /// Serves, but not as it is meant to.
        Degraded = "degraded",
        Suspended = "suspended",
        Removed = "removed",
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
        /// Given up, and what it had done is undone.
        Abandoned = "abandoned",
    }
);

impl OperationState {
    /// Whether the operation will never run again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Abandoned)
    }
}

words!(
    /// Which way an operation goes.
    Direction {
        Apply = "apply",
        /// It was abandoned: what its steps may have done is taken back, the last first.
        Undo = "undo",
    }
);

words!(
    /// Where one step of an operation stands.
    StepState {
        Pending = "pending",
        /// The intent is in the store; the effect may or may not have happened.
        Started = "started",
        Succeeded = "succeeded",
        /// The last attempt failed; another is due.
        Waiting = "waiting",
        /// The intent to undo is in the store.
        Undoing = "undoing",
        /// The last attempt to undo failed; another is due.
        UndoWaiting = "undo_waiting",
        Undone = "undone",
    }
);

words!(
    /// What a step leans on. Each has its own bound of calls at once and its own circuit breaker, so
    /// that an outage of one stops only the steps that need it.
    Dependency {
        /// The store itself; no breaker of its own can help.
        Store = "store",
        NameServers = "name_servers",
        Registry = "registry",
        Ca = "ca",
        Builder = "builder",
        Edge = "edge",
        MailServers = "mail_servers",
        Letters = "letters",
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

#[cfg(test)]
mod tests;
