//! Reads what is stored.

use async_trait::async_trait;
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::name::DomainName;
use hiendien_engine::operation::{Event, Operation, StepRecord};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::{PlaneStatus, Presence};
use hiendien_engine::store::Directory;
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::watch;

use crate::SqliteStore;
use crate::error::StoreError;
use crate::row::{IntoPort, from_json, moment, optional_moment, optional_text, parse, text};

const PRESENCE: &str =
    "SELECT id, claim_id, registrar, reference, state, plan, created_at, live_at,
    operation_id, revision FROM presence";

fn presence(connection: &Connection, row: &Row<'_>) -> Result<Presence, StoreError> {
    let id: PresenceId = text(row, "id")?;
    let planes = connection
        .prepare_cached(
            "SELECT plane, state, reason, since, next_attempt_at FROM plane WHERE presence_id = ?1",
        )?
        .query_and_then([id.to_string()], |row| {
            Ok::<_, StoreError>(PlaneStatus {
                plane: text(row, "plane")?,
                state: text(row, "state")?,
                reason: row.get("reason")?,
                since: moment(row, "since")?,
                next_attempt_at: optional_moment(row, "next_attempt_at")?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Presence {
        id,
        claim: text(row, "claim_id")?,
        registrar: row.get("registrar")?,
        reference: row.get("reference")?,
        state: text(row, "state")?,
        created_at: moment(row, "created_at")?,
        live_at: optional_moment(row, "live_at")?,
        plan: from_json("presence.plan", &row.get::<_, String>("plan")?)?,
        revision: optional_text(row, "revision")?,
        planes,
        operation: text(row, "operation_id")?,
    })
}

/// Reads the presence whose `column` (a name of ours, never a caller's) is `value`.
pub(crate) fn read_presence(
    connection: &Connection,
    column: &'static str,
    value: &str,
) -> Result<Option<Presence>, StoreError> {
    connection
        .prepare_cached(&format!("{PRESENCE} WHERE {column} = ?1"))?
        .query_and_then([value], |row| presence(connection, row))?
        .next()
        .transpose()
}

pub(crate) fn read_operation(
    connection: &Connection,
    id: OperationId,
) -> Result<Option<Operation>, StoreError> {
    let mut steps = connection
        .prepare_cached(
            "SELECT name, state, attempt, output, error, started_at, ended_at, next_attempt_at
             FROM step WHERE operation_id = ?1 ORDER BY position",
        )?
        .query_and_then([id.to_string()], |row| {
            let output: Option<String> = row.get("output")?;
            Ok::<_, StoreError>(StepRecord {
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
        })?
        .collect::<Result<Vec<_>, _>>()?;
    connection
        .prepare_cached(
            "SELECT id, presence_id, verb, state, created_at, ended_at, due_at, reason FROM operation WHERE id = ?1",
        )?
        .query_and_then([id.to_string()], |row| {
            Ok(Operation {
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
        })?
        .next()
        .transpose()
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl Directory for SqliteStore {
    async fn presence(&self, id: PresenceId) -> Result<Option<Presence>, PortError> {
        let read = move |connection: &Connection| read_presence(connection, "id", &id.to_string());
        self.database.read(read).await.port("reading a presence")
    }

    async fn presence_by_name(&self, name: &DomainName) -> Result<Option<Presence>, PortError> {
        let name = name.clone();
        let read = move |connection: &Connection| read_presence(connection, "name", name.as_str());
        self.database.read(read).await.port("reading a presence")
    }

    async fn claim_presence(&self, claim: ClaimId) -> Result<Option<PresenceId>, PortError> {
        let read = move |connection: &Connection| {
            let id: Option<String> = connection
                .prepare_cached("SELECT presence_id FROM claim WHERE id = ?1")?
                .query_row([claim.to_string()], |row| row.get(0))
                .optional()?;
            id.map(|id| parse("claim.presence_id", &id)).transpose()
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
        let read = move |connection: &Connection| match registrar {
            Some(registrar) => connection
                .prepare_cached(&format!(
                    "{PRESENCE} WHERE registrar = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
                ))?
                .query_and_then((registrar, after, limit(most)), |row| {
                    presence(connection, row)
                })?
                .collect(),
            None => connection
                .prepare_cached(&format!("{PRESENCE} WHERE id > ?1 ORDER BY id LIMIT ?2"))?
                .query_and_then((after, limit(most)), |row| presence(connection, row))?
                .collect(),
        };
        self.database.read(read).await.port("listing presences")
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, PortError> {
        let read = move |connection: &Connection| read_operation(connection, id);
        self.database.read(read).await.port("reading an operation")
    }

    async fn operations(
        &self,
        presence: PresenceId,
        most: usize,
    ) -> Result<Vec<Operation>, PortError> {
        let read = move |connection: &Connection| {
            let ids: Vec<OperationId> = connection
                .prepare_cached(
                    "SELECT id FROM operation WHERE presence_id = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_and_then((presence.to_string(), limit(most)), |row| text(row, "id"))?
                .collect::<Result<_, StoreError>>()?;
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
                detail: from_json("event.detail", &row.get::<_, String>("detail")?)?,
            })
        };
        let read = move |connection: &Connection| match presence {
            Some(presence) => connection
                .prepare_cached(&format!(
                    "{EVENT} WHERE presence_id = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3"
                ))?
                .query_and_then((presence.to_string(), after, limit(most)), event)?
                .collect(),
            None => connection
                .prepare_cached(&format!(
                    "{EVENT} WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"
                ))?
                .query_and_then((after, limit(most)), event)?
                .collect(),
        };
        self.database.read(read).await.port("reading events")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}
