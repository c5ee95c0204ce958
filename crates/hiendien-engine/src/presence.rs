//! A presence as the engine and the views see it.

use hiendien_domain::content::SiteContent;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{Plane, PlaneState, PresenceState, Programme, Standing};
use hiendien_domain::name::{DomainName, LocalPart, MailAddress};
use hiendien_domain::risk::{self, Risk};
use hiendien_domain::site::RevisionHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a claim asks the engine to make: all that steps need, and nothing that is not needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresencePlan {
    pub name: DomainName,
    pub programme: Programme,
    /// Who the presence belongs to, for letters.
    pub owner_name: String,
    pub contact_email: MailAddress,
    /// The first is the one shown on the site.
    pub mailboxes: Vec<LocalPart>,
    pub template: String,
    pub content: SiteContent,
}

impl PresencePlan {
    /// How likely its site is meant to deceive.
    pub fn content_risk(&self) -> Risk {
        let mut registrants = vec![self.owner_name.as_str()];
        if let SiteContent::Business(business) = &self.content {
            registrants.push(&business.legal.legal_name);
            registrants.extend(business.legal.representative.as_deref());
        }
        risk::of_content(&self.content, &registrants)
    }
}

/// The row of a presence.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    pub id: PresenceId,
    pub claim: ClaimId,
    pub registrar: String,
    pub reference: String,
    /// What it is meant to be.
    pub standing: Standing,
    /// How far it has come.
    pub state: PresenceState,
    pub created_at: Timestamp,
    /// When it was live for the first time.
    pub live_at: Option<Timestamp>,
    pub plan: PresencePlan,
    pub revision: Option<RevisionHash>,
    pub planes: Vec<PlaneStatus>,
    /// The operation begun last.
    pub operation: OperationId,
    pub life: Life,
}

/// What the clock needs to know of a presence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// The end of the term that is paid for or free; service stops then. `None` has no end.
    pub term_ends_at: Option<Timestamp>,
    /// When its service stopped for good: since then its data is kept until it is erased.
    pub ended_at: Option<Timestamp>,
    /// By when the registrant's papers are to be complete; `None` when they are.
    pub dossier_due_at: Option<Timestamp>,
    /// Why its name or its new content is held back until a person has decided, in English; `None` when neither is.
    pub held_for: Option<String>,
    /// When the owner last changed its content or signed in for the first time; `None` never.
    pub touched_at: Option<Timestamp>,
    /// The reminder of each kind that was sent last, with a space between, so that each is sent once.
    pub reminded: Option<String>,
    /// When the clock looks at it next; `None` when nothing is left to look at.
    pub care_at: Option<Timestamp>,
}

impl Life {
    fn reminders(&self) -> impl Iterator<Item = &str> {
        self.reminded.iter().flat_map(|keys| keys.split(' '))
    }

    /// Whether this reminder is the last of its kind that was sent.
    pub fn was_reminded(&self, key: &str) -> bool {
        self.reminders().any(|sent| sent == key)
    }

    /// Whether any reminder of a kind was sent.
    pub fn was_reminded_of(&self, kind: &str) -> bool {
        self.reminders().any(|sent| kind_of(sent) == kind)
    }

    /// What to keep once this reminder was sent too.
    pub fn reminded_too(&self, key: &str) -> String {
        let others = self
            .reminders()
            .filter(|sent| kind_of(sent) != kind_of(key));
        others.chain([key]).collect::<Vec<_>>().join(" ")
    }
}

fn kind_of(key: &str) -> &str {
    key.split_once('-').map_or(key, |(kind, _)| kind)
}

/// What was last observed of one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneStatus {
    pub plane: Plane,
    pub state: PlaneState,
    /// Why it is not ready, in English, for operators.
    pub reason: Option<String>,
    pub since: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
}
