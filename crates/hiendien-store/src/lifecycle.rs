//! Begins verbs, turns operations round, and keeps what the clock has to look at.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{
    Direction, OperationState, PresenceState, Standing, StepState, Verb,
};
use hiendien_engine::operation::{Before, PlaneChange};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::{Presence, PresencePlan};
use hiendien_engine::store::{Abandoning, BeginError, Decision, Lifecycle, NewOperation};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Store;
use crate::contents;
use crate::directory::{read_operation, read_presence};
use crate::error::StoreError;
use crate::operations::{change_planes, millis};
use crate::row::{IntoPort, add_event, from_json, no_detail, optional_text, text, to_json};
use crate::sql::{Connection, params};

/// A row of `operation` on its way in, with its steps.
pub(crate) struct NewRow<'a> {
    pub(crate) operation: &'a str,
    pub(crate) presence: &'a str,
    pub(crate) verb: Verb,
    /// JSON.
    pub(crate) input: &'a str,
    /// JSON of [`Before`].
    pub(crate) prior: Option<&'a str>,
    pub(crate) asked_by: &'a str,
    pub(crate) steps: &'a [&'static str],
}

/// Adds an operation that is due at once.
pub(crate) fn add_operation(
    connection: &Connection<'_>,
    new: &NewRow<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO operation (id, presence_id, verb, state, direction, input, prior, asked_by,
             created_at, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        params![
            new.operation,
            new.presence,
            new.verb.word(),
            OperationState::Queued.word(),
            Direction::Apply.word(),
            new.input,
            new.prior,
            new.asked_by,
            now.as_millisecond(),
        ],
    )?;
    for (position, step) in (0i64..).zip(new.steps) {
        connection.execute(
            "INSERT INTO step (operation_id, name, position, state) VALUES (?1, ?2, ?3, ?4)",
            params![new.operation, *step, position, StepState::Pending.word()],
        )?;
    }
    connection.announce();
    Ok(())
}

/// Whether something may be made for a presence: only while an operation is under way, not while it is
/// being undone, and not once its name was given up, so that a worker that slept through its lease
/// makes nothing that nobody will take away. What has no presence, such as the platform's own zone, may.
pub(crate) fn may_make(
    connection: &Connection<'_>,
    presence: PresenceId,
) -> Result<bool, StoreError> {
    let refused = connection.query_first(
        "SELECT presence.id FROM presence JOIN operation ON operation.id = presence.operation_id
         WHERE presence.id = ?1 AND (presence.standing IN (?2, ?3, ?4)
             OR operation.ended_at IS NOT NULL
             OR (operation.direction = ?5 AND operation.prior IS NULL))",
        params![
            &presence.to_string(),
            Standing::Released.word(),
            Standing::Abandoned.word(),
            Standing::Purged.word(),
            Direction::Undo.word(),
        ],
        |_| Ok(()),
    )?;
    Ok(refused.is_none())
}

/// What [`may_make`] refuses with.
pub(crate) const GIVEN_UP: &str =
    "the presence has given its name up, is being undone, or has no operation under way";

/// Refuses where [`may_make`] did.
pub(crate) fn made_unless_given_up(made: bool, action: impl Into<String>) -> Result<(), PortError> {
    if made {
        return Ok(());
    }
    Err(PortError::rejected(action, GIVEN_UP))
}

#[async_trait]
impl Lifecycle for Store {
    async fn begin(&self, new: NewOperation, now: Timestamp) -> Result<(), BeginError> {
        let sealed = match &new.change.content {
            Some(content) => match contents::seal(&self.seal, new.presence, content) {
                Ok(sealed) => Some(sealed),
                Err(error) => {
                    let error = error.into_port("sealing content");
                    return Err(BeginError::Store(error));
                }
            },
            None => None,
        };
        let begun = self
            .database
            .write(move |connection| {
                let begun = begin(connection, &new, now)?;
                if let (Ok(()), Some(sealed)) = (&begun, &sealed) {
                    contents::put(connection, new.presence, new.operation, sealed)?;
                }
                Ok(begun)
            })
            .await;
        begun.unwrap_or_else(|error| {
            Err(BeginError::Store(error.into_port("beginning an operation")))
        })
    }

    async fn abandon(
        &self,
        operation: OperationId,
        now: Timestamp,
    ) -> Result<Abandoning, PortError> {
        self.database
            .write(move |connection| abandon(connection, &operation.to_string(), now))
            .await
            .port("abandoning an operation")
    }

    async fn decide(
        &self,
        presence: PresenceId,
        decision: Decision,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        self.database
            .write(move |connection| {
                let id = presence.to_string();
                let operation: Option<String> = connection.query_first(
                    "SELECT operation_id FROM presence WHERE id = ?1 AND held_for IS NOT NULL FOR UPDATE",
                    params![&id],
                    |row| row.get("operation_id"),
                )?;
                let Some(operation) = operation else {
                    return Ok(false);
                };
                let (kind, done) = match decision {
                    Decision::Approve => {
                        connection.execute(
                            "UPDATE presence SET held_for = NULL WHERE id = ?1",
                            params![&id],
                        )?;
                        ("review.approved", retry(connection, &operation, now)?)
                    }
                    Decision::Refuse => {
                        let abandoned = abandon(connection, &operation, now)?;
                        ("review.refused", abandoned != Abandoning::Refused)
                    }
                };
                add_event(connection, now, &id, Some(&operation), kind, None, &no_detail())?;
                // An approval stands even where a worker is at the operation: it finds it at its next attempt.
                Ok(done || decision == Decision::Approve)
            })
            .await
            .port("deciding on a held name")
    }

    async fn complete_dossier(
        &self,
        presence: PresenceId,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        self.database
            .write(move |connection| {
                let id = presence.to_string();
                let changed = connection.execute(
                    "UPDATE presence SET dossier_due_at = NULL, care_at = ?2
                     WHERE id = ?1 AND dossier_due_at IS NOT NULL",
                    params![&id, now.as_millisecond()],
                )?;
                if changed > 0 {
                    let kind = "dossier.completed";
                    add_event(connection, now, &id, None, kind, None, &no_detail())?;
                }
                Ok(changed > 0)
            })
            .await
            .port("noting that the papers are complete")
    }

    async fn touch(&self, presence: PresenceId, now: Timestamp) -> Result<(), PortError> {
        self.database
            .write(move |connection| {
                connection.execute(
                    "UPDATE presence SET touched_at = ?2 WHERE id = ?1",
                    params![&presence.to_string(), now.as_millisecond()],
                )?;
                Ok(())
            })
            .await
            .port("noting a sign of the owner")
    }

    async fn take_for_care(
        &self,
        now: Timestamp,
        hold: Duration,
        limit: usize,
    ) -> Result<Vec<Presence>, PortError> {
        const DUE: &str = "SELECT id FROM presence WHERE care_at <= ?1 ORDER BY care_at LIMIT ?2";
        // Where others look at the same time, each gets what no other has.
        const TAKE: &str = "SELECT id FROM presence WHERE care_at <= ?1 ORDER BY care_at LIMIT ?2
            FOR UPDATE SKIP LOCKED";
        let action = "looking for presences to care for";
        let at = now.as_millisecond();
        let look = move |connection: &Connection<'_>| {
            let due = connection.query_first(DUE, params![at, 1_i64], |_| Ok(()))?;
            Ok(due.is_some())
        };
        if !self.database.read(look).await.port(action)? {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let held_until = millis(now, hold);
        let take = move |connection: &Connection<'_>| {
            let due: Vec<String> =
                connection.query(TAKE, params![at, limit], |row| row.get("id"))?;
            let mut taken = Vec::with_capacity(due.len());
            for id in due {
                connection.execute(
                    "UPDATE presence SET care_at = ?2 WHERE id = ?1",
                    params![&id, held_until],
                )?;
                taken.extend(read_presence(connection, "id", &id)?);
            }
            Ok(taken)
        };
        self.database.write(take).await.port(action)
    }

    async fn cared(
        &self,
        presence: PresenceId,
        seen: Timestamp,
        next: Option<Timestamp>,
        reminded: Option<String>,
    ) -> Result<bool, PortError> {
        self.database
            .write(move |connection| {
                let changed = connection.execute(
                    "UPDATE presence SET care_at = ?3, reminded = coalesce(?4, reminded)
                     WHERE id = ?1 AND care_at = ?2",
                    params![
                        &presence.to_string(),
                        seen.as_millisecond(),
                        next.map(Timestamp::as_millisecond),
                        reminded.as_deref(),
                    ],
                )?;
                Ok(changed > 0)
            })
            .await
            .port("noting when the clock looks again")
    }

    async fn observed(
        &self,
        seen: &Presence,
        planes: Vec<PlaneChange>,
        drift: Option<Value>,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let (presence, operation) = (seen.id.to_string(), seen.operation.to_string());
        self.database
            .write(move |connection| {
                let as_seen = connection.query_first(
                    "SELECT id FROM presence WHERE id = ?1 AND operation_id = ?2 FOR UPDATE",
                    params![&presence, &operation],
                    |_| Ok(()),
                )?;
                if as_seen.is_none() {
                    return Ok(false);
                }
                change_planes(connection, &presence, &planes, now)?;
                if let Some(drift) = &drift {
                    let detail = json!({ "drift": drift });
                    add_event(
                        connection,
                        now,
                        &presence,
                        None,
                        "drift.found",
                        None,
                        &detail,
                    )?;
                }
                Ok(true)
            })
            .await
            .port("noting what was seen of the planes")
    }

    async fn note(
        &self,
        presence: PresenceId,
        kind: &'static str,
        detail: Value,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.database
            .write(move |connection| {
                let id = presence.to_string();
                add_event(connection, now, &id, None, kind, None, &detail)
            })
            .await
            .port("noting an event")
    }

    async fn erase(&self, presence: PresenceId, now: Timestamp) -> Result<(), PortError> {
        self.database
            .write(move |connection| erase(connection, presence, now))
            .await
            .port("erasing personal data")
    }
}

fn begin(
    connection: &Connection<'_>,
    new: &NewOperation,
    now: Timestamp,
) -> Result<Result<(), BeginError>, StoreError> {
    let (id, operation) = (new.presence.to_string(), new.operation.to_string());
    // Whoever else begins a verb on it waits here.
    let locked = connection.query_first(
        "SELECT id FROM presence WHERE id = ?1 FOR UPDATE",
        params![&id],
        |_| Ok(()),
    )?;
    let found = match locked {
        Some(()) => read_presence(connection, "id", &id)?,
        None => None,
    };
    let Some(found) = found else {
        return Ok(Err(BeginError::Unknown));
    };
    if let Some(asked_with) = &new.asked_with {
        let made: Option<Option<OperationId>> = connection.query_first(
            "SELECT operation_id FROM idempotency WHERE caller = ?1 AND key = ?2 FOR UPDATE",
            params![&asked_with.caller, &asked_with.key],
            |row| optional_text(row, "operation_id"),
        )?;
        if let Some(Some(made)) = made {
            return Ok(Err(BeginError::Made(made)));
        }
    }
    let last = read_operation(connection, found.operation)?
        .ok_or_else(|| StoreError::corrupt("presence.operation_id", "no such operation"))?;
    if !last.state.is_final() {
        return Ok(Err(BeginError::UnderWay {
            operation: last.id,
            verb: last.verb,
        }));
    }
    if found.operation != new.seen {
        return Ok(Err(BeginError::Stale));
    }
    let before = Before {
        standing: found.standing,
        state: found.state,
        plan: found.plan.clone(),
        registrar: found.registrar.clone(),
        reference: found.reference.clone(),
        term_ends_at: found.life.term_ends_at,
        revision: found.revision.clone(),
    };
    let row = NewRow {
        operation: &operation,
        presence: &id,
        verb: new.verb,
        input: &to_json("operation.input", &new.input)?,
        prior: Some(&to_json("operation.prior", &before)?),
        asked_by: &new.asked_by,
        steps: &new.steps,
    };
    add_operation(connection, &row, now)?;
    if let Some(asked_with) = &new.asked_with {
        connection.execute(
            "UPDATE idempotency SET operation_id = ?3 WHERE caller = ?1 AND key = ?2",
            params![&asked_with.caller, &asked_with.key, &operation],
        )?;
    }

    let change = &new.change;
    let (registrar, reference) = change
        .registrar
        .clone()
        .unwrap_or((found.registrar, found.reference));
    let state = match new.verb {
        Verb::Release => PresenceState::Releasing,
        _ => found.state,
    };
    let in_millis =
        |new: Option<Timestamp>, old: Option<Timestamp>| new.or(old).map(Timestamp::as_millisecond);
    connection.execute(
        "UPDATE presence SET operation_id = ?2, standing = ?3, state = ?4, plan = ?5, registrar = ?6,
             reference = ?7, term_ends_at = ?8, touched_at = ?9, ended_at = ?10, held_for = ?11
         WHERE id = ?1",
        params![
            &id,
            &operation,
            new.standing.word(),
            state.word(),
            &to_json("presence.plan", change.plan.as_ref().unwrap_or(&found.plan))?,
            &registrar,
            &reference,
            in_millis(change.term_ends_at, found.life.term_ends_at),
            in_millis(change.touched_at, found.life.touched_at),
            in_millis(change.ended_at, found.life.ended_at),
            // What was held before has been decided, or has ended with its operation.
            change.held_for.as_deref(),
        ],
    )?;
    let detail = json!({ "verb": new.verb, "asked_by": new.asked_by });
    add_event(
        connection,
        now,
        &id,
        Some(&operation),
        "operation.queued",
        None,
        &detail,
    )?;
    Ok(Ok(()))
}

/// Makes a stuck or parked operation due at once.
pub(crate) fn retry(
    connection: &Connection<'_>,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed: Option<String> = connection.query_first(
        "UPDATE operation SET state = ?2, due_at = ?3, reason = NULL
         WHERE id = ?1 AND state IN (?4, ?5) RETURNING presence_id",
        params![
            id,
            OperationState::Queued.word(),
            now.as_millisecond(),
            OperationState::Stuck.word(),
            OperationState::Parked.word(),
        ],
        |row| row.get("presence_id"),
    )?;
    let Some(presence) = changed else {
        return Ok(false);
    };
    connection.execute(
        "UPDATE step SET next_attempt_at = NULL WHERE operation_id = ?1 AND state IN (?2, ?3)",
        params![id, StepState::Waiting.word(), StepState::UndoWaiting.word()],
    )?;
    let kind = "operation.retried";
    add_event(
        connection,
        now,
        &presence,
        Some(id),
        kind,
        None,
        &no_detail(),
    )?;
    connection.announce();
    Ok(true)
}

fn abandon(
    connection: &Connection<'_>,
    id: &str,
    now: Timestamp,
) -> Result<Abandoning, StoreError> {
    let found = connection.query_first(
        "SELECT presence_id, verb, state, direction FROM operation WHERE id = ?1 FOR UPDATE",
        params![id],
        |row| {
            let presence: String = row.get("presence_id")?;
            let verb: Verb = text(row, "verb")?;
            let state: OperationState = text(row, "state")?;
            let direction: Direction = text(row, "direction")?;
            Ok((presence, verb, state, direction))
        },
    )?;
    let Some((presence, verb, state, direction)) = found else {
        return Ok(Abandoning::Refused);
    };
    match (state, direction) {
        (OperationState::Abandoned, _) | (_, Direction::Undo) => return Ok(Abandoning::Already),
        (OperationState::Running | OperationState::Succeeded, _) => {
            return Ok(Abandoning::Refused);
        }
        (OperationState::Queued | OperationState::Parked | OperationState::Stuck, _) => {}
    }
    if !verb.can_be_undone() {
        return Ok(Abandoning::Refused);
    }
    connection.execute(
        "UPDATE operation SET state = ?2, direction = ?3, due_at = ?4, reason = NULL WHERE id = ?1",
        params![
            id,
            OperationState::Queued.word(),
            Direction::Undo.word(),
            now.as_millisecond(),
        ],
    )?;
    let kind = "operation.abandoning";
    add_event(
        connection,
        now,
        &presence,
        Some(id),
        kind,
        None,
        &no_detail(),
    )?;
    connection.announce();
    Ok(Abandoning::Begun)
}

/// Ends an operation that was undone: the presence is what it was before, or never was.
pub(crate) fn restore(
    connection: &Connection<'_>,
    operation: &str,
    presence: &str,
    now: Timestamp,
) -> Result<PresenceState, StoreError> {
    let prior: Option<Before> = connection
        .query_one(
            "SELECT prior FROM operation WHERE id = ?1",
            params![operation],
            |row| row.get::<Option<String>>("prior"),
        )?
        .map(|json| from_json("operation.prior", &json))
        .transpose()?;
    let Some(before) = prior else {
        connection.execute(
            "UPDATE presence SET standing = ?2, state = ?3, held_name = NULL, subject_key = NULL,
                 held_for = NULL, ended_at = ?4, care_at = ?4, revision = NULL
             WHERE id = ?1",
            params![
                presence,
                Standing::Abandoned.word(),
                PresenceState::Abandoned.word(),
                now.as_millisecond(),
            ],
        )?;
        return Ok(PresenceState::Abandoned);
    };
    contents::take_back(connection, operation, presence)?;
    let state = match before.state {
        // It needs no one any more.
        PresenceState::NeedsAttention => before.standing.reached(),
        state => state,
    };
    connection.execute(
        "UPDATE presence SET standing = ?2, state = ?3, plan = ?4, registrar = ?5, reference = ?6,
             term_ends_at = ?7, care_at = ?8, held_for = NULL
         WHERE id = ?1",
        params![
            presence,
            before.standing.word(),
            state.word(),
            &to_json("presence.plan", &before.plan)?,
            &before.registrar,
            &before.reference,
            before.term_ends_at.map(Timestamp::as_millisecond),
            now.as_millisecond(),
        ],
    )?;
    Ok(state)
}

/// The former name stays: it is public, and says which presence this was.
fn erase(
    connection: &Connection<'_>,
    presence: PresenceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = presence.to_string();
    let Some(found) = read_presence(connection, "id", &id)? else {
        return Ok(());
    };
    let plan = PresencePlan {
        owner_name: String::new(),
        contact_email: found.plan.mailboxes[0].at(&found.plan.name),
        content: found.plan.content.emptied(),
        ..found.plan
    };
    connection.execute(
        "UPDATE presence SET plan = ?2, revision = NULL, subject_key = NULL WHERE id = ?1",
        params![&id, &to_json("presence.plan", &plan)?],
    )?;
    connection.execute(
        "UPDATE claim SET document = ?2 WHERE presence_id = ?1",
        params![&id, &Vec::<u8>::new()],
    )?;
    connection.execute(
        "UPDATE operation SET input = 'null', prior = NULL WHERE presence_id = ?1",
        params![&id],
    )?;
    for erased in [
        "DELETE FROM password_link WHERE presence_id = ?1",
        "DELETE FROM content WHERE presence_id = ?1",
        "DELETE FROM picture WHERE presence_id = ?1",
    ] {
        connection.execute(erased, params![&id])?;
    }
    add_event(
        connection,
        now,
        &id,
        None,
        "presence.erased",
        None,
        &no_detail(),
    )
}
