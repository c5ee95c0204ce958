//! Takes claims in.

use async_trait::async_trait;
use hiendien_domain::lifecycle::{
    OperationState, Plane, PlaneState, PresenceState, StepState, Verb,
};
use hiendien_engine::store::{AcceptError, Accepted, Intake, NewClaim};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use crate::SqliteStore;
use crate::error::StoreError;
use crate::row::{add_event, text, to_json};

#[async_trait]
impl Intake for SqliteStore {
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

fn place(claim: &hiendien_domain::ids::ClaimId) -> String {
    format!("claim.document.{claim}")
}

fn accept(
    connection: &Connection,
    claim: &NewClaim,
    document: &[u8],
    subject: &str,
    now: Timestamp,
) -> Result<Result<Accepted, AcceptError>, StoreError> {
    let earlier = connection
        .prepare_cached(
            "SELECT id, presence_id, operation_id, fingerprint FROM claim
             WHERE registrar = ?1 AND reference = ?2",
        )?
        .query_and_then((&claim.registrar, &claim.reference), |row| {
            let accepted = Accepted {
                claim: text(row, "id")?,
                presence: text(row, "presence_id")?,
                operation: text(row, "operation_id")?,
                repeated: true,
            };
            Ok::<_, StoreError>((accepted, row.get::<_, String>("fingerprint")?))
        })?
        .next()
        .transpose()?;
    if let Some((accepted, fingerprint)) = earlier {
        return Ok(if fingerprint == claim.fingerprint {
            Ok(accepted)
        } else {
            let (registrar, reference) = (claim.registrar.clone(), claim.reference.clone());
            Err(AcceptError::ReferenceReused {
                registrar,
                reference,
            })
        });
    }

    let name = &claim.plan.name;
    let taken: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM presence WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    if taken.is_some() {
        return Ok(Err(AcceptError::NameTaken { name: name.clone() }));
    }
    let served = connection
        .prepare_cached("SELECT name, registrar FROM presence WHERE subject_key = ?1")?
        .query_and_then([subject], |row| {
            let registrar: String = row.get("registrar")?;
            let name = text(row, "name")?;
            Ok::<_, StoreError>((registrar == claim.registrar).then_some(name))
        })?
        .next()
        .transpose()?;
    if let Some(name) = served {
        return Ok(Err(AcceptError::SubjectServed { name }));
    }

    let (claim_id, presence, operation) = (
        claim.claim.to_string(),
        claim.presence.to_string(),
        claim.operation.to_string(),
    );
    let at = now.as_millisecond();
    connection
        .prepare_cached(
            "INSERT INTO claim (id, presence_id, operation_id, registrar, reference, fingerprint,
                 document, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            &claim_id,
            &presence,
            &operation,
            &claim.registrar,
            &claim.reference,
            &claim.fingerprint,
            document,
            at,
        ))?;
    connection
        .prepare_cached(
            "INSERT INTO presence (id, claim_id, registrar, reference, name, subject_key, state, plan,
                 created_at, operation_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            &presence,
            &claim_id,
            &claim.registrar,
            &claim.reference,
            name.as_str(),
            subject,
            PresenceState::Accepted.word(),
            to_json("presence.plan", &claim.plan)?,
            at,
            &operation,
        ))?;
    for plane in Plane::ALL {
        connection
            .prepare_cached(
                "INSERT INTO plane (presence_id, plane, state, since) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((&presence, plane.word(), PlaneState::Pending.word(), at))?;
    }
    connection
        .prepare_cached(
            "INSERT INTO operation (id, presence_id, verb, state, created_at, due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )?
        .execute((
            &operation,
            &presence,
            Verb::Provision.word(),
            OperationState::Queued.word(),
            at,
        ))?;
    for (position, step) in (0i64..).zip(&claim.steps) {
        connection
            .prepare_cached(
                "INSERT INTO step (operation_id, name, position, state) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((&operation, step, position, StepState::Pending.word()))?;
    }
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
    Ok(Ok(Accepted {
        claim: claim.claim,
        presence: claim.presence,
        operation: claim.operation,
        repeated: false,
    }))
}
