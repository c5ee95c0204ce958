//! Takes claims in.

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Plane, PlaneState, PresenceState, Standing, Verb};
use hiendien_engine::store::{AcceptError, Accepted, Intake, NewClaim};
use jiff::Timestamp;
use serde_json::json;

use crate::Store;
use crate::error::StoreError;
use crate::lifecycle::{NewRow, add_operation};
use crate::row::{add_event, text, to_json};
use crate::sql::{Connection, params};

#[async_trait]
impl Intake for Store {
    async fn accept(&self, claim: NewClaim, now: Timestamp) -> Result<Accepted, AcceptError> {
        let document = self
            .seal
            .seal(&place(&claim.claim), claim.document.expose());
        let subject = self.seal.token(claim.subject_key.expose());
        let accepted = match document {
            Ok(document) => {
                self.database
                    .write(move |connection| accept(connection, &claim, &document, &subject, now))
                    .await
            }
            Err(error) => Err(error),
        };
        accepted
            .unwrap_or_else(|error| Err(AcceptError::Store(error.into_port("storing the claim"))))
    }
}

pub(crate) fn place(claim: &hiendien_domain::ids::ClaimId) -> String {
    format!("claim.document.{claim}")
}

fn accept(
    connection: &Connection<'_>,
    claim: &NewClaim,
    document: &[u8],
    subject: &str,
    now: Timestamp,
) -> Result<Result<Accepted, AcceptError>, StoreError> {
    if let Some(answer) = earlier(connection, claim)? {
        return Ok(answer);
    }
    if let Some(refusal) = refusal(connection, claim, subject)? {
        // What stands in the way may be this very claim, committed between the two looks.
        let earlier = earlier(connection, claim)?;
        return Ok(earlier.unwrap_or(Err(refusal)));
    }

    let name = &claim.plan.name;
    let (claim_id, presence, operation) = (
        claim.claim.to_string(),
        claim.presence.to_string(),
        claim.operation.to_string(),
    );
    let at = now.as_millisecond();
    connection.execute(
        "INSERT INTO claim (id, presence_id, operation_id, registrar, reference, fingerprint,
             document, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            &claim_id,
            &presence,
            &operation,
            &claim.registrar,
            &claim.reference,
            &claim.fingerprint,
            document,
            at,
        ],
    )?;
    connection.execute(
        "INSERT INTO presence (id, claim_id, registrar, reference, name, held_name, subject_key, standing,
             state, plan, created_at, operation_id, term_ends_at, dossier_due_at, held_for, care_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            &presence,
            &claim_id,
            &claim.registrar,
            &claim.reference,
            name.as_str(),
            subject,
            Standing::Provisioned.word(),
            PresenceState::Accepted.word(),
            &to_json("presence.plan", &claim.plan)?,
            at,
            &operation,
            claim.life.term_ends_at.map(Timestamp::as_millisecond),
            claim.life.dossier_due_at.map(Timestamp::as_millisecond),
            claim.life.held_for.as_deref(),
            claim.care_at.as_millisecond(),
        ],
    )?;
    for plane in Plane::ALL {
        connection.execute(
            "INSERT INTO plane (presence_id, plane, state, since) VALUES (?1, ?2, ?3, ?4)",
            params![&presence, plane.word(), PlaneState::Pending.word(), at],
        )?;
    }
    let new = NewRow {
        operation: &operation,
        presence: &presence,
        verb: Verb::Provision,
        input: "null",
        prior: None,
        asked_by: &claim.registrar,
        steps: &claim.steps,
    };
    add_operation(connection, &new, now)?;
    let detail =
        json!({ "name": name, "registrar": claim.registrar, "reference": claim.reference });
    add_event(
        connection,
        now,
        &presence,
        Some(&operation),
        "claim.accepted",
        None,
        &detail,
    )?;
    connection.announce();
    Ok(Ok(Accepted {
        claim: claim.claim,
        presence: claim.presence,
        operation: claim.operation,
        repeated: false,
    }))
}

/// The answer to a claim whose reference has been used before.
fn earlier(
    connection: &Connection<'_>,
    claim: &NewClaim,
) -> Result<Option<Result<Accepted, AcceptError>>, StoreError> {
    let earlier = connection.query_first(
        "SELECT id, presence_id, operation_id, fingerprint FROM claim
         WHERE registrar = ?1 AND reference = ?2",
        params![&claim.registrar, &claim.reference],
        |row| {
            let accepted = Accepted {
                claim: text(row, "id")?,
                presence: text(row, "presence_id")?,
                operation: text(row, "operation_id")?,
                repeated: true,
            };
            Ok((accepted, row.str("fingerprint")? == claim.fingerprint))
        },
    )?;
    Ok(earlier.map(|(accepted, same)| {
        if same {
            return Ok(accepted);
        }
        Err(AcceptError::ReferenceReused {
            registrar: claim.registrar.clone(),
            reference: claim.reference.clone(),
        })
    }))
}

/// Why a new claim is not taken in, where it is not.
fn refusal(
    connection: &Connection<'_>,
    claim: &NewClaim,
    subject: &str,
) -> Result<Option<AcceptError>, StoreError> {
    let name = &claim.plan.name;
    let taken = connection.query_first(
        "SELECT id FROM presence WHERE held_name = ?1",
        params![name.as_str()],
        |_| Ok(AcceptError::NameTaken { name: name.clone() }),
    )?;
    if taken.is_some() {
        return Ok(taken);
    }
    connection.query_first(
        "SELECT name, registrar FROM presence WHERE subject_key = ?1",
        params![subject],
        |row| {
            let name = text(row, "name")?;
            let theirs = row.str("registrar")? == claim.registrar;
            Ok(AcceptError::SubjectServed {
                name: theirs.then_some(name),
            })
        },
    )
}
