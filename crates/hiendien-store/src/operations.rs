//! Keeps operations, their logs and their leases.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::{OperationState, PlaneState, PresenceState, Standing, StepState};
use hiendien_engine::operation::{Operation, PlaneChange, RunEnd, StepLog};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::Presence;
use hiendien_engine::store::{Lease, LeaseError, OperationLog};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::Store;
use crate::database::Place;
use crate::directory::{read_operation, read_presence};
use crate::error::StoreError;
use crate::lifecycle::{restore, retry};
use crate::row::{IntoPort, add_event, no_detail, parse, text};
use crate::sql::{Connection, params};

pub(crate) fn millis(moment: Timestamp, plus: Duration) -> i64 {
    let plus = i64::try_from(plus.as_millis()).unwrap_or(i64::MAX);
    moment.as_millisecond().saturating_add(plus)
}

impl Store {
    /// Makes every leased operation due at once. Call it at start: on an embedded store no other
    /// process can be at work, and a worker that was killed cannot give its leases back itself. On
    /// a server others may be, so there it does nothing: leases end when they expire.
    pub async fn break_leases(&self, now: Timestamp) -> Result<u64, StoreError> {
        match self.place() {
            Place::Sqlite(_) => {}
            Place::Postgres(_) => return Ok(0),
        }
        self.database
            .write(move |connection| {
                connection.execute(
                    "UPDATE operation
                     SET due_at = ?1, fence = fence + 1, lease_owner = NULL, state = ?2
                     WHERE state = ?3",
                    params![
                        now.as_millisecond(),
                        OperationState::Queued.word(),
                        OperationState::Running.word(),
                    ],
                )
            })
            .await
    }

    async fn write_leased<F>(&self, lease: &Lease, change: F) -> Result<(), LeaseError>
    where
        F: Fn(&Connection<'_>, &str) -> Result<(), StoreError> + Send + Sync + 'static,
    {
        let held = lease.clone();
        let written = self
            .database
            .write(move |connection| {
                let operation = held.operation.to_string();
                let presence: Option<String> = connection.query_first(
                    "SELECT presence_id FROM operation
                     WHERE id = ?1 AND fence = ?2 AND lease_owner = ?3 FOR UPDATE",
                    params![&operation, held.fence, &held.worker],
                    |row| row.get("presence_id"),
                )?;
                match presence {
                    Some(presence) => change(connection, &presence).map(|()| true),
                    None => Ok(false),
                }
            })
            .await;
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(LeaseError::Lost(lease.operation)),
            Err(error) => Err(LeaseError::Store(
                error.into_port("writing the operation log"),
            )),
        }
    }
}

#[async_trait]
impl OperationLog for Store {
    async fn lease_next(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<(Lease, Operation, Presence)>, PortError> {
        const DUE: &str = "SELECT id FROM operation WHERE due_at <= ?1 ORDER BY due_at LIMIT 1";
        // Where others look at the same time, each gets one that no other has.
        const TAKE: &str = "SELECT id FROM operation WHERE due_at <= ?1 ORDER BY due_at LIMIT 1
             FOR UPDATE SKIP LOCKED";
        // Most looks find nothing; they need not take a turn at the writer.
        let look = move |connection: &Connection<'_>| {
            let due = connection.query_first(DUE, params![now.as_millisecond()], |_| Ok(()))?;
            Ok(due.is_some())
        };
        if !self.database.read(look).await.port("looking for work")? {
            return Ok(None);
        }
        let worker = worker.to_owned();
        let take = move |connection: &Connection<'_>| {
            let due: Option<String> =
                connection.query_first(TAKE, params![now.as_millisecond()], |row| row.get("id"))?;
            let Some(id) = due else { return Ok(None) };
            let fence = connection.query_one(
                "UPDATE operation
                 SET state = ?2, lease_owner = ?3, due_at = ?4, fence = fence + 1, reason = NULL
                 WHERE id = ?1 RETURNING fence",
                params![
                    &id,
                    OperationState::Running.word(),
                    &worker,
                    millis(now, lease),
                ],
                |row| row.get("fence"),
            )?;
            let operation_id: OperationId = parse("operation.id", &id)?;
            let operation = read_operation(connection, operation_id)?
                .ok_or_else(|| StoreError::corrupt("operation.id", "it vanished"))?;
            let presence = read_presence(connection, "id", &operation.presence.to_string())?
                .ok_or_else(|| StoreError::corrupt("operation.presence_id", "no such presence"))?;
            // One that needs attention keeps saying so until something has come of this run.
            if presence.state == PresenceState::Accepted {
                connection.execute(
                    "UPDATE presence SET state = ?2 WHERE id = ?1",
                    params![&presence.id.to_string(), PresenceState::Provisioning.word()],
                )?;
            }
            add_event(
                connection,
                now,
                &presence.id.to_string(),
                Some(&id),
                "operation.running",
                None,
                &json!({ "worker": worker }),
            )?;
            let lease = Lease {
                operation: operation_id,
                worker: worker.clone(),
                fence,
            };
            Ok(Some((lease, operation, presence)))
        };
        self.database.write(take).await.port("taking a lease")
    }

    async fn extend(&self, lease: &Lease, now: Timestamp, by: Duration) -> Result<(), LeaseError> {
        let id = lease.operation.to_string();
        self.write_leased(lease, move |connection, _| {
            connection.execute(
                "UPDATE operation SET due_at = ?2 WHERE id = ?1",
                params![&id, millis(now, by)],
            )?;
            Ok(())
        })
        .await
    }

    async fn write(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        let id = lease.operation.to_string();
        self.write_leased(lease, move |connection, presence| {
            add_lines(connection, &id, presence, &lines, now)?;
            change_planes(connection, presence, &planes, now)
        })
        .await
    }

    async fn end_run(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        end: RunEnd,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        let id = lease.operation.to_string();
        self.write_leased(lease, move |connection, presence| {
            add_lines(connection, &id, presence, &lines, now)?;
            change_planes(connection, presence, &planes, now)?;
            end_run(connection, &id, presence, &end, now)
        })
        .await
    }

    async fn retry(&self, operation: OperationId, now: Timestamp) -> Result<bool, PortError> {
        self.database
            .write(move |connection| retry(connection, &operation.to_string(), now))
            .await
            .port("making the operation due")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}

/// Writes one step's row; a step that came with a newer program than the operation is added.
fn put_step(
    connection: &Connection<'_>,
    operation: &str,
    line: &StepLog,
    at: i64,
) -> Result<(), StoreError> {
    // Nearly always it is there, so that it is not looked for first.
    if change_step(connection, operation, line, at)? == 0 {
        connection.execute(
            "INSERT INTO step (operation_id, name, position, state)
             SELECT ?1, ?2, count(*), ?3 FROM step WHERE operation_id = ?1",
            params![operation, line.step(), StepState::Pending.word()],
        )?;
        change_step(connection, operation, line, at)?;
    }
    Ok(())
}

/// Changes one step's row, and tells how many rows that was.
fn change_step(
    connection: &Connection<'_>,
    operation: &str,
    line: &StepLog,
    at: i64,
) -> Result<u64, StoreError> {
    let step = line.step();
    let begin = |state: StepState, attempt: u32| {
        connection.execute(
            "UPDATE step SET state = ?3, attempt = ?4, started_at = ?5, ended_at = NULL,
                 next_attempt_at = NULL
             WHERE operation_id = ?1 AND name = ?2",
            params![operation, step, state.word(), attempt, at],
        )
    };
    let fail = |state: StepState, error: &str, next_attempt_at: Option<Timestamp>| {
        connection.execute(
            "UPDATE step SET state = ?3, error = ?4, ended_at = ?5, next_attempt_at = ?6
             WHERE operation_id = ?1 AND name = ?2",
            params![
                operation,
                step,
                state.word(),
                error,
                at,
                next_attempt_at.map(Timestamp::as_millisecond),
            ],
        )
    };
    match line {
        StepLog::Started { attempt, .. } => begin(StepState::Started, *attempt),
        StepLog::UndoStarted { attempt, .. } => begin(StepState::Undoing, *attempt),
        StepLog::Succeeded { output, .. } => connection.execute(
            "UPDATE step SET state = ?3, output = ?4, error = NULL, ended_at = ?5
             WHERE operation_id = ?1 AND name = ?2",
            params![
                operation,
                step,
                StepState::Succeeded.word(),
                &output.to_string(),
                at,
            ],
        ),
        StepLog::Undone { .. } => connection.execute(
            "UPDATE step SET state = ?3, error = NULL, ended_at = ?4
             WHERE operation_id = ?1 AND name = ?2",
            params![operation, step, StepState::Undone.word(), at],
        ),
        StepLog::Failed {
            error,
            next_attempt_at,
            ..
        } => fail(StepState::Waiting, error, *next_attempt_at),
        StepLog::UndoFailed {
            error,
            next_attempt_at,
            ..
        } => fail(StepState::UndoWaiting, error, *next_attempt_at),
    }
}

fn event_of(line: &StepLog) -> (&'static str, Value) {
    match line {
        StepLog::Started { attempt, .. } => ("step.started", json!({ "attempt": attempt })),
        StepLog::UndoStarted { attempt, .. } => ("step.undoing", json!({ "attempt": attempt })),
        StepLog::Succeeded {
            attempt,
            duration_ms,
            ..
        } => (
            "step.succeeded",
            json!({ "attempt": attempt, "duration_ms": duration_ms }),
        ),
        StepLog::Undone {
            attempt,
            duration_ms,
            ..
        } => (
            "step.undone",
            json!({ "attempt": attempt, "duration_ms": duration_ms }),
        ),
        StepLog::Failed {
            attempt,
            duration_ms,
            error,
            next_attempt_at,
            ..
        }
        | StepLog::UndoFailed {
            attempt,
            duration_ms,
            error,
            next_attempt_at,
            ..
        } => {
            let kind = match line {
                StepLog::Failed { .. } => "step.failed",
                _ => "step.undo_failed",
            };
            let detail = json!({
                "attempt": attempt,
                "duration_ms": duration_ms,
                "error": error,
                "next_attempt_at": next_attempt_at,
            });
            (kind, detail)
        }
    }
}

fn add_lines(
    connection: &Connection<'_>,
    operation: &str,
    presence: &str,
    lines: &[StepLog],
    now: Timestamp,
) -> Result<(), StoreError> {
    for line in lines {
        put_step(connection, operation, line, now.as_millisecond())?;
        let (kind, detail) = event_of(line);
        let step = Some(line.step());
        add_event(
            connection,
            now,
            presence,
            Some(operation),
            kind,
            step,
            &detail,
        )?;
    }
    Ok(())
}

pub(crate) fn change_planes(
    connection: &Connection<'_>,
    presence: &str,
    planes: &[PlaneChange],
    now: Timestamp,
) -> Result<(), StoreError> {
    for change in planes {
        let changed = connection.execute(
            "UPDATE plane
             SET since = CASE WHEN state = ?3 THEN since ELSE ?5 END,
                 state = ?3, reason = ?4, next_attempt_at = ?6
             WHERE presence_id = ?1 AND plane = ?2
                 AND (state <> ?3 OR reason IS DISTINCT FROM ?4
                 OR next_attempt_at IS DISTINCT FROM ?6)",
            params![
                presence,
                change.plane.word(),
                change.state.word(),
                change.reason.as_deref(),
                now.as_millisecond(),
                change.next_attempt_at.map(Timestamp::as_millisecond),
            ],
        )?;
        let kind = match change.state {
            PlaneState::Ready => "plane.ready",
            PlaneState::Suspended => "plane.suspended",
            PlaneState::Removed => "plane.removed",
            PlaneState::Pending
            | PlaneState::Working
            | PlaneState::Degraded
            | PlaneState::Failed => continue,
        };
        if changed > 0 {
            let detail = json!({ "plane": change.plane });
            add_event(connection, now, presence, None, kind, None, &detail)?;
        }
    }
    Ok(())
}

fn end_run(
    connection: &Connection<'_>,
    operation: &str,
    presence: &str,
    end: &RunEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = now.as_millisecond();
    let (kind, detail) = match end {
        RunEnd::Succeeded => ("operation.succeeded", no_detail()),
        RunEnd::Undone => ("operation.abandoned", no_detail()),
        RunEnd::Parked {
            until,
            needs_attention,
        } => (
            "operation.parked",
            json!({ "until": until, "needs_attention": needs_attention }),
        ),
        RunEnd::Stuck { reason } => ("operation.stuck", json!({ "error": reason })),
        RunEnd::Released => ("operation.released", no_detail()),
    };
    let reached = match end {
        RunEnd::Succeeded => Some(reach(connection, presence, now)?),
        RunEnd::Undone => Some(restore(connection, operation, presence, now)?),
        RunEnd::Stuck { .. }
        | RunEnd::Parked {
            needs_attention: true,
            ..
        } => set_state(connection, presence, PresenceState::NeedsAttention)?,
        RunEnd::Parked { .. } => {
            go_on(connection, presence)?;
            None
        }
        RunEnd::Released => None,
    };
    let (state, due_at, ended_at, reason) = match end {
        RunEnd::Succeeded => (OperationState::Succeeded, None, Some(at), None),
        RunEnd::Undone => (OperationState::Abandoned, None, Some(at), None),
        RunEnd::Parked { until, .. } => (
            OperationState::Parked,
            Some(until.as_millisecond()),
            None,
            None,
        ),
        RunEnd::Stuck { reason } => (OperationState::Stuck, None, None, Some(reason)),
        RunEnd::Released => (OperationState::Queued, Some(at), None, None),
    };
    connection.execute(
        "UPDATE operation SET state = ?2, due_at = ?3, ended_at = ?4, reason = ?5, lease_owner = NULL
         WHERE id = ?1",
        params![operation, state.word(), due_at, ended_at, reason],
    )?;
    if ended_at.is_some() {
        // How it was before may name the former holder: it is not kept longer than it is needed.
        connection.execute(
            "UPDATE operation SET prior = NULL WHERE id = ?1",
            params![operation],
        )?;
        // What it ordered it has got, or given up; an order left over by a worker that came too late is nobody's.
        connection.execute(
            "DELETE FROM certificate_order WHERE presence_id = ?1",
            params![presence],
        )?;
    }
    // Whoever is told of it is told what the presence is now.
    add_event(
        connection,
        now,
        presence,
        Some(operation),
        kind,
        None,
        &detail,
    )?;
    if let Some(state) = reached {
        let kind = match state {
            PresenceState::Live => "presence.live",
            PresenceState::Suspended => "presence.suspended",
            PresenceState::Expired => "presence.expired",
            PresenceState::Released => "presence.released",
            PresenceState::Abandoned => "presence.abandoned",
            PresenceState::Purged => "presence.purged",
            PresenceState::NeedsAttention
            | PresenceState::Accepted
            | PresenceState::Provisioning
            | PresenceState::Releasing => "presence.needs_attention",
        };
        let operation = Some(operation);
        add_event(
            connection,
            now,
            presence,
            operation,
            kind,
            None,
            &no_detail(),
        )?;
    }
    connection.announce();
    Ok(())
}

/// Sets the roll-up state; `None` where it was so.
fn set_state(
    connection: &Connection<'_>,
    presence: &str,
    state: PresenceState,
) -> Result<Option<PresenceState>, StoreError> {
    let changed = connection.execute(
        "UPDATE presence SET state = ?2 WHERE id = ?1 AND state <> ?2",
        params![presence, state.word()],
    )?;
    Ok((changed > 0).then_some(state))
}

fn standing_of(connection: &Connection<'_>, presence: &str) -> Result<Standing, StoreError> {
    connection.query_one(
        "SELECT standing FROM presence WHERE id = ?1",
        params![presence],
        |row| text(row, "standing"),
    )
}

/// A presence that needed a person and waits for a server alone says what it is again.
fn go_on(connection: &Connection<'_>, presence: &str) -> Result<(), StoreError> {
    let state = match standing_of(connection, presence)? {
        Standing::Provisioned => PresenceState::Provisioning,
        Standing::Released => PresenceState::Releasing,
        standing => standing.reached(),
    };
    connection.execute(
        "UPDATE presence SET state = ?2 WHERE id = ?1 AND state IN (?3, ?4)",
        params![
            presence,
            state.word(),
            PresenceState::NeedsAttention.word(),
            PresenceState::Accepted.word(),
        ],
    )?;
    Ok(())
}

/// The planes are what the standing wants. A name that was given up is free from now on.
fn reach(
    connection: &Connection<'_>,
    presence: &str,
    now: Timestamp,
) -> Result<PresenceState, StoreError> {
    // What was provisioned serves from now on.
    let standing = match standing_of(connection, presence)? {
        Standing::Provisioned => Standing::Serving,
        standing => standing,
    };
    let state = standing.reached();
    let at = now.as_millisecond();
    let live_at = (state == PresenceState::Live).then_some(at);
    connection.execute(
        "UPDATE presence SET standing = ?2, state = ?3, live_at = coalesce(live_at, ?4), care_at = ?5
         WHERE id = ?1",
        params![presence, standing.word(), state.word(), live_at, at],
    )?;
    if !standing.holds_name() {
        connection.execute(
            "UPDATE presence SET held_name = NULL, subject_key = NULL WHERE id = ?1",
            params![presence],
        )?;
    }
    Ok(state)
}
