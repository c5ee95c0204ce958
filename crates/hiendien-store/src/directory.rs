//! Reads what is stored.

use std::collections::HashMap;

use async_trait::async_trait;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::name::DomainName;
use hiendien_engine::operation::{Event, Operation, StepRecord};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::{Life, PlaneStatus, Presence};
use hiendien_engine::store::Directory;
use tokio::sync::watch;

use crate::Store;
use crate::error::StoreError;
use crate::row::{IntoPort, from_json, moment, optional_moment, optional_text, text};
use crate::sql::{Connection, Row, params};

const PRESENCE: &str =
    "SELECT id, claim_id, registrar, reference, standing, state, plan, created_at, live_at,
    operation_id, revision, term_ends_at, ended_at, dossier_due_at, held_for, touched_at, reminded,
    care_at FROM presence";

const PLANE: &str =
    "SELECT presence_id, plane, plane.state, reason, since, next_attempt_at FROM plane";

/// Reads a row of `presence`; its planes are rows of their own.
fn presence(row: &Row<'_>) -> Result<Presence, StoreError> {
    Ok(Presence {
        id: text(row, "id")?,
        claim: text(row, "claim_id")?,
        registrar: row.get("registrar")?,
        reference: row.get("reference")?,
        standing: text(row, "standing")?,
        state: text(row, "state")?,
        created_at: moment(row, "created_at")?,
        live_at: optional_moment(row, "live_at")?,
        plan: from_json("presence.plan", row.str("plan")?)?,
        revision: optional_text(row, "revision")?,
        planes: Vec::new(),
        operation: text(row, "operation_id")?,
        life: Life {
            term_ends_at: optional_moment(row, "term_ends_at")?,
            ended_at: optional_moment(row, "ended_at")?,
            dossier_due_at: optional_moment(row, "dossier_due_at")?,
            held_for: row.get("held_for")?,
            touched_at: optional_moment(row, "touched_at")?,
            reminded: row.get("reminded")?,
            care_at: optional_moment(row, "care_at")?,
        },
    })
}

fn plane(row: &Row<'_>) -> Result<PlaneStatus, StoreError> {
    Ok(PlaneStatus {
        plane: text(row, "plane")?,
        state: text(row, "state")?,
        reason: row.get("reason")?,
        since: moment(row, "since")?,
        next_attempt_at: optional_moment(row, "next_attempt_at")?,
    })
}

/// Reads the presence whose `column` (a name of ours, never a caller's) is `value`.
pub(crate) fn read_presence(
    connection: &Connection<'_>,
    column: &'static str,
    value: &str,
) -> Result<Option<Presence>, StoreError> {
    let found = connection.query_first(
        &format!("{PRESENCE} WHERE {column} = ?1"),
        params![value],
        presence,
    )?;
    let Some(mut found) = found else {
        return Ok(None);
    };
    found.planes = connection.query(
        &format!("{PLANE} WHERE presence_id = ?1 ORDER BY plane"),
        params![&found.id.to_string()],
        plane,
    )?;
    Ok(Some(found))
}

/// Reads a page of presences: one statement for them and one for all their planes.
fn read_presences(
    connection: &Connection<'_>,
    registrar: Option<&str>,
    after: &str,
    most: usize,
) -> Result<Vec<Presence>, StoreError> {
    let mut page = match registrar {
        Some(registrar) => connection.query(
            &format!("{PRESENCE} WHERE registrar = ?1 AND id > ?2 ORDER BY id LIMIT ?3"),
            params![registrar, after, limit(most)],
            presence,
        ),
        None => connection.query(
            &format!("{PRESENCE} WHERE id > ?1 ORDER BY id LIMIT ?2"),
            params![after, limit(most)],
            presence,
        ),
    }?;
    let (Some(first), Some(last)) = (page.first(), page.last()) else {
        return Ok(page);
    };
    let (first, last) = (first.id.to_string(), last.id.to_string());
    let mut planes: HashMap<PresenceId, Vec<PlaneStatus>> = HashMap::with_capacity(page.len());
    let collect = |row: &Row<'_>| {
        let of = planes.entry(text(row, "presence_id")?).or_default();
        of.push(plane(row)?);
        Ok(())
    };
    match registrar {
        Some(registrar) => connection.query(
            &format!(
                "{PLANE} JOIN presence ON presence.id = presence_id
                 WHERE presence.registrar = ?1 AND presence.id >= ?2 AND presence.id <= ?3
                 ORDER BY plane"
            ),
            params![registrar, &first, &last],
            collect,
        ),
        None => connection.query(
            &format!("{PLANE} WHERE presence_id >= ?1 AND presence_id <= ?2 ORDER BY plane"),
            params![&first, &last],
            collect,
        ),
    }?;
    for presence in &mut page {
        presence.planes = planes.remove(&presence.id).unwrap_or_default();
    }
    Ok(page)
}

pub(crate) fn read_operation(
    connection: &Connection<'_>,
    id: OperationId,
) -> Result<Option<Operation>, StoreError> {
    let mut steps = connection.query(
        "SELECT name, state, attempt, output, error, started_at, ended_at, next_attempt_at
         FROM step WHERE operation_id = ?1 ORDER BY position",
        params![&id.to_string()],
        |row| {
            let output: Option<String> = row.get("output")?;
            Ok(StepRecord {
                name: row.get("name")?,
                state: text(row, "state")?,
                attempt: row.get("attempt")?,
                output: output
                    .map(|json| from_json("step.output", &json))
                    .transpose()?,
                error: row.get("error")?,
                started_at: optional_moment(row, "started_at")?,
                ended_at: optional_moment(row, "ended_at")?,
                next_attempt_at: optional_moment(row, "next_attempt_at")?,
            })
        },
    )?;
    connection.query_first(
        "SELECT id, presence_id, verb, state, direction, input, prior, asked_by, created_at, ended_at,
             due_at, reason
         FROM operation WHERE id = ?1",
        params![&id.to_string()],
        |row| {
            let prior = row.optional_str("prior")?;
            Ok(Operation {
                direction: text(row, "direction")?,
                input: from_json("operation.input", row.str("input")?)?,
                before: prior
                    .map(|json| from_json("operation.prior", json))
                    .transpose()?,
                asked_by: row.get("asked_by")?,
                id: text(row, "id")?,
                presence: text(row, "presence_id")?,
                verb: text(row, "verb")?,
                state: text(row, "state")?,
                created_at: moment(row, "created_at")?,
                ended_at: optional_moment(row, "ended_at")?,
                next_run_at: optional_moment(row, "due_at")?,
                reason: row.get("reason")?,
                steps: std::mem::take(&mut steps),
            })
        },
    )
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl Directory for Store {
    async fn presence(&self, id: PresenceId) -> Result<Option<Presence>, PortError> {
        let read =
            move |connection: &Connection<'_>| read_presence(connection, "id", &id.to_string());
        self.database.read(read).await.port("reading a presence")
    }

    async fn presence_by_name(&self, name: &DomainName) -> Result<Option<Presence>, PortError> {
        let name = name.clone();
        // Whoever holds it; where no one does, who held it last.
        let read = move |connection: &Connection<'_>| {
            let holder = read_presence(connection, "held_name", name.as_str())?;
            if holder.is_some() {
                return Ok(holder);
            }
            let last: Option<String> = connection.query_first(
                "SELECT id FROM presence WHERE name = ?1 ORDER BY id DESC LIMIT 1",
                params![name.as_str()],
                |row| row.get("id"),
            )?;
            last.map_or(Ok(None), |id| read_presence(connection, "id", &id))
        };
        self.database.read(read).await.port("reading a presence")
    }

    async fn claim_presence(&self, claim: ClaimId) -> Result<Option<PresenceId>, PortError> {
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT presence_id FROM claim WHERE id = ?1",
                params![&claim.to_string()],
                |row| text(row, "presence_id"),
            )
        };
        self.database.read(read).await.port("reading a claim")
    }

    async fn presences(
        &self,
        registrar: Option<&str>,
        after: Option<PresenceId>,
        most: usize,
    ) -> Result<Vec<Presence>, PortError> {
        let registrar = registrar.map(str::to_owned);
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let read = move |connection: &Connection<'_>| {
            read_presences(connection, registrar.as_deref(), &after, most)
        };
        self.database.read(read).await.port("listing presences")
    }

    async fn needing_attention(
        &self,
        registrar: Option<&str>,
        after: Option<PresenceId>,
        most: usize,
    ) -> Result<Vec<Presence>, PortError> {
        let registrar = registrar.map(str::to_owned);
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let read = move |connection: &Connection<'_>| {
            // The state stands in the text: its index holds no other.
            let ids: Vec<String> = match &registrar {
                Some(registrar) => connection.query(
                    "SELECT id FROM presence WHERE state = 'needs_attention' AND id > ?1 AND registrar = ?3
                     ORDER BY id LIMIT ?2",
                    params![&after, limit(most), registrar],
                    |row| row.get("id"),
                ),
                None => connection.query(
                    "SELECT id FROM presence WHERE state = 'needs_attention' AND id > ?1
                     ORDER BY id LIMIT ?2",
                    params![&after, limit(most)],
                    |row| row.get("id"),
                ),
            }?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.extend(read_presence(connection, "id", &id)?);
            }
            Ok(found)
        };
        self.database
            .read(read)
            .await
            .port("listing presences that need a person")
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, PortError> {
        let read = move |connection: &Connection<'_>| read_operation(connection, id);
        self.database.read(read).await.port("reading an operation")
    }

    async fn operations(
        &self,
        presence: PresenceId,
        most: usize,
    ) -> Result<Vec<Operation>, PortError> {
        let read = move |connection: &Connection<'_>| {
            let ids: Vec<OperationId> = connection.query(
                "SELECT id FROM operation WHERE presence_id = ?1 ORDER BY id DESC LIMIT ?2",
                params![&presence.to_string(), limit(most)],
                |row| text(row, "id"),
            )?;
            ids.into_iter()
                .filter_map(|id| read_operation(connection, id).transpose())
                .collect()
        };
        self.database.read(read).await.port("listing operations")
    }

    async fn events(
        &self,
        presence: Option<PresenceId>,
        after: i64,
        most: usize,
    ) -> Result<Vec<Event>, PortError> {
        const EVENT: &str =
            "SELECT sequence, at, presence_id, operation_id, kind, step, detail FROM event";
        let event = |row: &Row<'_>| {
            Ok(Event {
                sequence: row.get("sequence")?,
                at: moment(row, "at")?,
                presence: text(row, "presence_id")?,
                operation: optional_text(row, "operation_id")?,
                kind: row.get("kind")?,
                step: row.get("step")?,
                detail: from_json("event.detail", row.str("detail")?)?,
            })
        };
        let page = move |connection: &Connection<'_>, up_to: i64| match presence {
            Some(presence) => connection.query(
                &format!(
                    "{EVENT} WHERE presence_id = ?1 AND sequence > ?2 AND sequence <= ?3
                     ORDER BY sequence LIMIT ?4"
                ),
                params![&presence.to_string(), after, up_to, limit(most)],
                event,
            ),
            None => connection.query(
                &format!(
                    "{EVENT} WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3"
                ),
                params![after, up_to, limit(most)],
                event,
            ),
        };
        let read = move |connection: &Connection<'_>| {
            let events = page(connection, i64::MAX)?;
            let Some(last) = events.last() else {
                return Ok(events);
            };
            match connection.settled_events(last.sequence)? {
                Some(settled) => page(connection, settled),
                None => Ok(events),
            }
        };
        self.database.read(read).await.port("reading events")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}
