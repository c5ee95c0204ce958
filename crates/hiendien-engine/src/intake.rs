//! From a checked claim to a presence that is being made.

use hiendien_domain::claim::Claim;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::Verb;
use hiendien_domain::platform::Platform;
use hiendien_domain::risk;
use hiendien_domain::term::TermRules;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::presence::{Life, PresencePlan};
use crate::store::{AcceptError, Accepted, Intake, NewClaim};
use crate::verbs;

/// Takes a claim in: its presence and the operation that provisions it exist when this returns.
pub async fn accept(
    intake: &dyn Intake,
    platform: &Platform,
    rules: &TermRules,
    claim: &Claim,
    now: Timestamp,
) -> Result<Accepted, AcceptError> {
    let plan = PresencePlan {
        name: claim.domain().clone(),
        programme: claim.programme(),
        owner_name: claim.owner_name().to_owned(),
        contact_email: claim.contact_email().clone(),
        mailboxes: claim.mailboxes().to_vec(),
        template: claim.template().to_owned(),
        content: claim.content(platform),
    };
    let presence = PresenceId::new();
    let life = Life {
        term_ends_at: claim.term_ends_on().and_then(start_of_day),
        dossier_due_at: claim.dossier_due_on().and_then(start_of_day),
        held_for: risk::of_name(claim.domain())
            .and(plan.content_risk())
            .hold(),
        ..Life::default()
    };
    let new = NewClaim {
        claim: ClaimId::new(),
        presence,
        operation: OperationId::new(),
        registrar: claim.registrar().to_owned(),
        reference: claim.reference().to_owned(),
        fingerprint: claim.fingerprint(),
        subject_key: claim.subject_key(),
        document: claim.canonical_json(),
        plan,
        life,
        // Before it is live there is little to care for; the first look is soon, and cheap.
        care_at: rules.observed_after(presence, now),
        steps: verbs::step_names(Verb::Provision),
    };
    intake.accept(new, now).await
}

/// When a day begins in Vietnam.
fn start_of_day(day: Date) -> Option<Timestamp> {
    // UTC+7 all year, by law.
    let zone = TimeZone::fixed(jiff::tz::offset(7));
    day.to_zoned(zone).ok().map(|start| start.timestamp())
}
