//! From a checked claim to a presence that is being made.

use hiendien_domain::claim::Claim;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::Verb;
use hiendien_domain::platform::Platform;
use jiff::Timestamp;

use crate::presence::PresencePlan;
use crate::store::{AcceptError, Accepted, Intake, NewClaim};
use crate::verbs;

/// Takes a claim in: its presence and the operation that provisions it exist when this returns.
pub async fn accept(
    intake: &dyn Intake,
    platform: &Platform,
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
    let new = NewClaim {
        claim: ClaimId::new(),
        presence: PresenceId::new(),
        operation: OperationId::new(),
        registrar: claim.registrar().to_owned(),
        reference: claim.reference().to_owned(),
        fingerprint: claim.fingerprint(),
        subject_key: claim.subject_key(),
        document: claim.canonical_json(),
        plan,
        steps: verbs::steps(Verb::Provision)
            .iter()
            .map(|step| step.name)
            .collect(),
    };
    intake.accept(new, now).await
}
