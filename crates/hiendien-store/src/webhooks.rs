//! Endpoints of registrars, and the outbox: what is to be told is written with what happened.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::{PresenceId, WebhookId};
use hiendien_domain::lifecycle::{PresenceState, Standing};
use hiendien_domain::secret::Secret;
use hiendien_engine::ports::PortError;
use hiendien_engine::webhooks::{
    About, Delivery, DeliveryLine, DeliveryState, Due, ENDPOINTS_MAX, FORMER_SECRET_FOR, Held,
    Message, NewWebhook, Outbox, Outcome, REPLAY_MAX, Replayed, SetUp, Settled, TEST_KIND, Told,
    Wanted, Webhook, Webhooks, withhold,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::Store;
use crate::error::StoreError;
use crate::operations::millis;
use crate::row::{IntoPort, add_event, from_json, moment, optional_moment, parse, text, to_json};
use crate::seal::Seal;
use crate::sql::{Connection, Row, params};

const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";
const REMOVED: &str = "removed";

/// Secrets that sign at once, however often one rotates.
const SECRETS_MAX: usize = 4;

/// A secret as it lies in the sealed list.
#[derive(Clone, Serialize, Deserialize)]
struct Signing {
    secret: Secret,
    /// When it was replaced it got an end, in milliseconds.
    until: Option<i64>,
}

fn place(webhook: &str) -> String {
    format!("webhook.secrets.{webhook}")
}

fn open_secrets(seal: &Seal, webhook: &str, row: &Row<'_>) -> Result<Vec<Signing>, StoreError> {
    from_json(
        "webhook.secrets",
        &seal.open(&place(webhook), row.bytes("secrets")?)?,
    )
}

fn seal_secrets(seal: &Seal, webhook: &str, secrets: &[Signing]) -> Result<Vec<u8>, StoreError> {
    seal.seal(&place(webhook), &to_json("webhook.secrets", &secrets)?)
}

/// An event that was just written.
pub(crate) struct NewEvent<'a> {
    pub(crate) now: Timestamp,
    pub(crate) sequence: i64,
    pub(crate) presence: &'a str,
    pub(crate) operation: Option<&'a str>,
    pub(crate) kind: &'a str,
    pub(crate) detail: &'a Value,
}

/// Puts a delivery into the outbox for each enabled endpoint of the presence's registrar that wants this kind.
pub(crate) fn tell(connection: &Connection<'_>, event: &NewEvent<'_>) -> Result<(), StoreError> {
    // The second condition on the state is what its index asks for. In one order everywhere, so that two who tell of one presence do not wait for each other.
    let found = connection.query(
        "SELECT webhook.id AS webhook_id, webhook.wanted AS wanted, presence.name AS name,
             presence.registrar AS registrar, presence.reference AS reference,
             presence.state AS state, presence.standing AS standing
         FROM presence JOIN webhook ON webhook.registrar = presence.registrar
             AND webhook.state = 'enabled' AND webhook.state <> 'removed'
         WHERE presence.id = ?1 ORDER BY webhook.id",
        params![event.presence],
        |row| {
            let wanted: Wanted = from_json("webhook.wanted", row.str("wanted")?)?;
            if !wanted.includes(event.kind) {
                return Ok(None);
            }
            let mut detail = event.detail.clone();
            withhold(&mut detail);
            let state: PresenceState = text(row, "state")?;
            let standing: Standing = text(row, "standing")?;
            let about = About {
                presence: parse("event.presence_id", event.presence)?,
                name: text(row, "name")?,
                registrar: row.get("registrar")?,
                reference: row.get("reference")?,
                state,
                standing,
                operation: event
                    .operation
                    .map(|operation| parse("event.operation_id", operation))
                    .transpose()?,
                sequence: event.sequence,
                detail,
            };
            let webhook: String = row.get("webhook_id")?;
            Ok(Some((webhook, about)))
        },
    )?;
    for (webhook, about) in found.into_iter().flatten() {
        let told = Told {
            kind: event.kind.to_owned(),
            at: event.now,
            about: Some(about),
        };
        queue(connection, &webhook, event.presence, &told, event.now)?;
    }
    Ok(())
}

/// Adds a delivery at the end of its lane; answers with the message's identifier.
fn queue(
    connection: &Connection<'_>,
    webhook: &str,
    lane: &str,
    told: &Told,
    now: Timestamp,
) -> Result<String, StoreError> {
    open_lane(connection, webhook, lane, now)?;
    let message = format!("msg_{}", Uuid::now_v7().simple());
    connection.execute(
        "INSERT INTO webhook_delivery (webhook_id, lane, message, sequence, kind, told, state,
             queued_at, changed_at, next_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?8)",
        params![
            webhook,
            lane,
            &message,
            told.about.as_ref().map(|about| about.sequence),
            &told.kind,
            &to_json("webhook_delivery.told", told)?,
            DeliveryState::Waiting.word(),
            now.as_millisecond(),
        ],
    )?;
    Ok(message)
}

/// Makes the lane be there, and locks it: numbers within a lane are drawn in the order of their commits.
fn open_lane(
    connection: &Connection<'_>,
    webhook: &str,
    lane: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO webhook_lane (webhook_id, lane, due_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (webhook_id, lane) DO UPDATE SET due_at = webhook_lane.due_at",
        params![webhook, lane, now.as_millisecond()],
    )?;
    Ok(())
}

/// The identifier of an endpoint that was not taken down.
fn find(
    connection: &Connection<'_>,
    registrar: &str,
    name: &str,
) -> Result<Option<String>, StoreError> {
    connection.query_first(
        "SELECT id FROM webhook WHERE registrar = ?1 AND name = ?2 AND state <> 'removed'",
        params![registrar, name],
        |row| row.get("id"),
    )
}

fn set_up(
    connection: &Connection<'_>,
    new: &NewWebhook,
    id: &str,
    secrets: &[u8],
    now: Timestamp,
) -> Result<SetUp, StoreError> {
    let wanted = to_json("webhook.wanted", &new.wanted)?;
    let changed = connection.execute(
        "UPDATE webhook SET url = ?3, wanted = ?4, state = ?5, failing = 0, failing_lane = NULL,
             paused_until = 0
         WHERE registrar = ?1 AND name = ?2 AND state <> 'removed'",
        params![&new.registrar, &new.name, &new.url, &wanted, ENABLED],
    )?;
    if changed > 0 {
        return Ok(SetUp::Changed);
    }
    let others = connection.query_one(
        "SELECT count(*) AS others FROM webhook WHERE registrar = ?1 AND state <> 'removed'",
        params![&new.registrar],
        |row| row.integer("others"),
    )?;
    if usize::try_from(others).unwrap_or(usize::MAX) >= ENDPOINTS_MAX {
        return Ok(SetUp::TooMany);
    }
    let made = connection.execute(
        "INSERT INTO webhook (id, registrar, name, url, wanted, secrets, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO NOTHING",
        params![
            id,
            &new.registrar,
            &new.name,
            &new.url,
            &wanted,
            secrets,
            ENABLED,
            now.as_millisecond(),
        ],
    )?;
    // Another set it up this moment, with another secret: this one is not the one that signs.
    Ok(if made > 0 {
        SetUp::Made
    } else {
        SetUp::Changed
    })
}

#[async_trait]
impl Webhooks for Store {
    async fn set_up(
        &self,
        new: NewWebhook,
        secret: Secret,
        now: Timestamp,
    ) -> Result<SetUp, PortError> {
        let action = "setting up a webhook";
        let id = WebhookId::new().to_string();
        let signing = Signing {
            secret,
            until: None,
        };
        let secrets = seal_secrets(&self.seal, &id, &[signing]).port(action)?;
        self.database
            .write(move |connection| set_up(connection, &new, &id, &secrets, now))
            .await
            .port(action)
    }

    async fn webhooks(&self, registrar: &str) -> Result<Vec<Webhook>, PortError> {
        let registrar = registrar.to_owned();
        let now = self.clock.now();
        let read = move |connection: &Connection<'_>| {
            connection.query(
                "SELECT registrar, name, url, wanted, state, created_at, paused_until, given_up
                 FROM webhook WHERE registrar = ?1 AND state <> 'removed' ORDER BY name",
                params![&registrar],
                |row| {
                    let paused_until = moment(row, "paused_until")?;
                    Ok(Webhook {
                        set_up: NewWebhook {
                            registrar: row.get("registrar")?,
                            name: row.get("name")?,
                            url: row.get("url")?,
                            wanted: from_json("webhook.wanted", row.str("wanted")?)?,
                        },
                        is_enabled: row.str("state")? == ENABLED,
                        created_at: moment(row, "created_at")?,
                        paused_until: (paused_until > now).then_some(paused_until),
                        given_up: row.get("given_up")?,
                    })
                },
            )
        };
        self.database.read(read).await.port("listing webhooks")
    }

    async fn take_down(&self, registrar: &str, name: &str) -> Result<bool, PortError> {
        let (registrar, name) = (registrar.to_owned(), name.to_owned());
        let write = move |connection: &Connection<'_>| {
            // What it was told of is swept away bit by bit; its secrets go now.
            let changed = connection.execute(
                "UPDATE webhook SET state = ?3, secrets = ?4
                 WHERE registrar = ?1 AND name = ?2 AND state <> 'removed'",
                params![&registrar, &name, REMOVED, &Vec::<u8>::new()],
            )?;
            Ok(changed > 0)
        };
        self.database
            .write(write)
            .await
            .port("taking a webhook down")
    }

    async fn rotate(
        &self,
        registrar: &str,
        name: &str,
        secret: Secret,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let (registrar, name) = (registrar.to_owned(), name.to_owned());
        let seal = Arc::clone(&self.seal);
        let write = move |connection: &Connection<'_>| {
            let found = connection.query_first(
                "SELECT id, secrets FROM webhook
                 WHERE registrar = ?1 AND name = ?2 AND state <> 'removed' FOR UPDATE",
                params![&registrar, &name],
                |row| {
                    let id: String = row.get("id")?;
                    let secrets = open_secrets(&seal, &id, row)?;
                    Ok((id, secrets))
                },
            )?;
            let Some((id, former)) = found else {
                return Ok(false);
            };
            let mut secrets = vec![Signing {
                secret: secret.clone(),
                until: None,
            }];
            let ends_at = millis(now, FORMER_SECRET_FOR);
            secrets.extend(still_good(former, now).map(|former| Signing {
                until: former.until.or(Some(ends_at)),
                ..former
            }));
            secrets.truncate(SECRETS_MAX);
            connection.execute(
                "UPDATE webhook SET secrets = ?2 WHERE id = ?1",
                params![&id, &seal_secrets(&seal, &id, &secrets)?],
            )?;
            Ok(true)
        };
        self.database
            .write(write)
            .await
            .port("rotating a webhook's secret")
    }

    async fn test(
        &self,
        registrar: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<String>, PortError> {
        let (registrar, name) = (registrar.to_owned(), name.to_owned());
        let write = move |connection: &Connection<'_>| {
            let Some(id) = find(connection, &registrar, &name)? else {
                return Ok(None);
            };
            let told = Told {
                kind: TEST_KIND.to_owned(),
                at: now,
                about: None,
            };
            queue(connection, &id, &id, &told, now).map(Some)
        };
        self.database.write(write).await.port("testing a webhook")
    }

    async fn deliveries(
        &self,
        registrar: &str,
        name: &str,
        after: i64,
        limit: usize,
    ) -> Result<Option<Vec<DeliveryLine>>, PortError> {
        let (registrar, name) = (registrar.to_owned(), name.to_owned());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = move |connection: &Connection<'_>| {
            let Some(id) = find(connection, &registrar, &name)? else {
                return Ok(None);
            };
            let lines = connection.query(
                "SELECT number, lane, message, sequence, kind, state, queued_at, changed_at,
                     attempts, last_status, last_error, next_at
                 FROM webhook_delivery WHERE webhook_id = ?1 AND number > ?2
                 ORDER BY number LIMIT ?3",
                params![&id, after, limit],
                line,
            )?;
            Ok(Some(lines))
        };
        self.database
            .read(read)
            .await
            .port("reading webhook deliveries")
    }

    async fn replay(
        &self,
        registrar: &str,
        name: &str,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<Replayed>, PortError> {
        let (registrar, name) = (registrar.to_owned(), name.to_owned());
        let write = move |connection: &Connection<'_>| {
            let Some(id) = find(connection, &registrar, &name)? else {
                return Ok(None);
            };
            replay(connection, &id, after, now).map(Some)
        };
        self.database.write(write).await.port("replaying webhooks")
    }
}

fn line(row: &Row<'_>) -> Result<DeliveryLine, StoreError> {
    let sequence = row.optional_integer("sequence")?;
    let presence: Option<PresenceId> = match sequence {
        Some(_) => Some(text(row, "lane")?),
        None => None,
    };
    Ok(DeliveryLine {
        number: row.get("number")?,
        message: row.get("message")?,
        kind: row.get("kind")?,
        sequence,
        presence,
        state: text(row, "state")?,
        attempts: row.get("attempts")?,
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        queued_at: moment(row, "queued_at")?,
        changed_at: moment(row, "changed_at")?,
        next_attempt_at: optional_moment(row, "next_at")?,
    })
}

fn still_good(secrets: Vec<Signing>, now: Timestamp) -> impl Iterator<Item = Signing> {
    let now = now.as_millisecond();
    let good = move |signing: &Signing| signing.until.is_none_or(|until| until > now);
    secrets.into_iter().filter(good)
}

fn replay(
    connection: &Connection<'_>,
    webhook: &str,
    after: i64,
    now: Timestamp,
) -> Result<Replayed, StoreError> {
    let most = i64::try_from(REPLAY_MAX).unwrap_or(i64::MAX);
    let found: Vec<(i64, i64, String)> = connection.query(
        "SELECT number, sequence, lane FROM webhook_delivery
         WHERE webhook_id = ?1 AND sequence > ?2 AND state <> 'waiting'
         ORDER BY sequence LIMIT ?3",
        params![webhook, after, most],
        |row| Ok((row.get("number")?, row.get("sequence")?, row.get("lane")?)),
    )?;
    let mut lanes: Vec<&String> = found.iter().map(|(_, _, lane)| lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    for lane in lanes {
        open_lane(connection, webhook, lane, now)?;
    }
    for (number, _, _) in &found {
        connection.execute(
            "UPDATE webhook_delivery SET state = ?2, queued_at = ?3, changed_at = ?3, next_at = ?3,
                 attempts = 0
             WHERE number = ?1 AND state <> 'waiting'",
            params![*number, DeliveryState::Waiting.word(), now.as_millisecond(),],
        )?;
    }
    let next = found.last().map(|(_, sequence, _)| *sequence);
    Ok(Replayed {
        count: found.len(),
        next: next.filter(|_| found.len() == REPLAY_MAX),
    })
}

#[async_trait]
impl Outbox for Store {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = move |connection: &Connection<'_>| {
            // By the first of each endpoint's lanes: asked whether there is any, PostgreSQL reads them all.
            connection.query(
                "SELECT id, failing FROM webhook
                 WHERE state = 'enabled' AND paused_until <= ?1 AND (
                     SELECT min(due_at) FROM webhook_lane
                     WHERE webhook_lane.webhook_id = webhook.id) <= ?1
                 LIMIT ?2",
                params![now.as_millisecond(), limit],
                |row| {
                    Ok(Due {
                        webhook: text(row, "id")?,
                        failing: row.get("failing")?,
                    })
                },
            )
        };
        self.database
            .read(read)
            .await
            .port("looking for webhooks to deliver")
    }

    async fn take(
        &self,
        webhook: WebhookId,
        now: Timestamp,
        hold: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, PortError> {
        let seal = Arc::clone(&self.seal);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let held_until = millis(now, hold);
        let write = move |connection: &Connection<'_>| {
            take(connection, &seal, webhook, now, held_until, limit)
        };
        self.database
            .write(write)
            .await
            .port("taking webhooks out of the outbox")
    }

    async fn settle(
        &self,
        held: &Held,
        settled: Settled,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        let held = held.clone();
        self.database
            .write(move |connection| settle(connection, &held, &settled, now))
            .await
            .port("noting what came of a webhook")
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<u64, PortError> {
        let action = "deleting old webhook deliveries";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let before = before.as_millisecond();
        let look = move |connection: &Connection<'_>| {
            let old = connection.query_first(
                "SELECT number FROM webhook_delivery WHERE changed_at < ?1 LIMIT 1",
                params![before],
                |_| Ok(()),
            )?;
            let removed = connection.query_first(
                "SELECT id FROM webhook WHERE state = 'removed' LIMIT 1",
                params![],
                |_| Ok(()),
            )?;
            Ok(old.is_some() || removed.is_some())
        };
        if !self.database.read(look).await.port(action)? {
            return Ok(0);
        }
        self.database
            .write(move |connection| sweep(connection, before, limit))
            .await
            .port(action)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}

fn take(
    connection: &Connection<'_>,
    seal: &Seal,
    webhook: WebhookId,
    now: Timestamp,
    held_until: i64,
    limit: i64,
) -> Result<Vec<Delivery>, StoreError> {
    let id = webhook.to_string();
    let found = connection.query_first(
        "SELECT name, url, secrets, failing FROM webhook WHERE id = ?1 AND state = 'enabled'",
        params![&id],
        |row| {
            let name: String = row.get("name")?;
            let url: String = row.get("url")?;
            let failing: u32 = row.get("failing")?;
            Ok((name, url, open_secrets(seal, &id, row)?, failing))
        },
    )?;
    let Some((name, url, secrets, failing)) = found else {
        return Ok(Vec::new());
    };
    let secrets: Vec<Secret> = still_good(secrets, now)
        .map(|signing| signing.secret)
        .collect();
    // Where others look at the same time, each gets what no other has.
    let lanes: Vec<String> = connection.query(
        "SELECT lane FROM webhook_lane WHERE webhook_id = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3
         FOR UPDATE SKIP LOCKED",
        params![&id, now.as_millisecond(), limit],
        |row| row.get("lane"),
    )?;
    let mut taken = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let Some(number) = first_waiting(connection, &id, &lane)? else {
            close_lane(connection, &id, &lane)?;
            continue;
        };
        connection.execute(
            "UPDATE webhook_lane SET due_at = ?3 WHERE webhook_id = ?1 AND lane = ?2",
            params![&id, &lane, held_until],
        )?;
        let delivery = connection.query_one(
            "UPDATE webhook_delivery SET attempts = attempts + 1, fence = fence + 1 WHERE number = ?1
             RETURNING message, told, attempts, fence, queued_at",
            params![number],
            |row| {
                Ok(Delivery {
                    held: Held {
                        webhook,
                        number,
                        lane: lane.clone(),
                        fence: row.get("fence")?,
                    },
                    message: Message {
                        id: row.get("message")?,
                        name: name.clone(),
                        url: url.clone(),
                        secrets: secrets.clone(),
                        told: from_json("webhook_delivery.told", row.str("told")?)?,
                    },
                    attempt: row.get("attempts")?,
                    queued_at: moment(row, "queued_at")?,
                    failing,
                })
            },
        )?;
        taken.push(delivery);
    }
    Ok(taken)
}

fn first_waiting(
    connection: &Connection<'_>,
    webhook: &str,
    lane: &str,
) -> Result<Option<i64>, StoreError> {
    connection.query_first(
        "SELECT number FROM webhook_delivery
         WHERE webhook_id = ?1 AND lane = ?2 AND state = 'waiting' ORDER BY number LIMIT 1",
        params![webhook, lane],
        |row| row.get("number"),
    )
}

fn close_lane(connection: &Connection<'_>, webhook: &str, lane: &str) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM webhook_lane WHERE webhook_id = ?1 AND lane = ?2",
        params![webhook, lane],
    )?;
    Ok(())
}

fn settle(
    connection: &Connection<'_>,
    held: &Held,
    settled: &Settled,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (webhook, lane) = (held.webhook.to_string(), &held.lane);
    let at = now.as_millisecond();
    // Whoever adds to the lane waits here, so that what it adds is seen or finds the lane closed.
    connection.query_first(
        "SELECT lane FROM webhook_lane WHERE webhook_id = ?1 AND lane = ?2 FOR UPDATE",
        params![&webhook, lane],
        |_| Ok(()),
    )?;
    let (state, next_at) = match settled.outcome {
        Outcome::Delivered => (DeliveryState::Delivered, None),
        Outcome::GivenUp => (DeliveryState::GivenUp, None),
        Outcome::Again { at, .. } => (DeliveryState::Waiting, Some(at.as_millisecond())),
        Outcome::Gone => (DeliveryState::Waiting, None),
    };
    let changed = connection.execute(
        "UPDATE webhook_delivery SET state = ?3, changed_at = ?4, last_status = ?5, last_error = ?6,
             next_at = ?7
         WHERE number = ?1 AND fence = ?2 AND state = 'waiting'",
        params![
            held.number,
            held.fence,
            state.word(),
            at,
            settled.status,
            settled.error,
            next_at,
        ],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    match settled.outcome {
        Outcome::Delivered | Outcome::GivenUp => {
            if first_waiting(connection, &webhook, lane)?.is_some() {
                due_at(connection, &webhook, lane, at)?;
            } else {
                close_lane(connection, &webhook, lane)?;
            }
        }
        Outcome::Again { at, .. } => due_at(connection, &webhook, lane, at.as_millisecond())?,
        Outcome::Gone => due_at(connection, &webhook, lane, at)?,
    }
    match settled.outcome {
        Outcome::Delivered => {
            connection.execute(
                "UPDATE webhook SET failing = 0, failing_lane = NULL, paused_until = 0
                 WHERE id = ?1 AND failing <> 0",
                params![&webhook],
            )?;
        }
        Outcome::Again { pause, .. } => fail(connection, &webhook, lane, pause)?,
        Outcome::GivenUp => {
            fail(connection, &webhook, lane, None)?;
            connection.execute(
                "UPDATE webhook SET given_up = given_up + 1 WHERE id = ?1",
                params![&webhook],
            )?;
        }
        Outcome::Gone => {
            let name: Option<String> = connection.query_first(
                "UPDATE webhook SET state = ?2 WHERE id = ?1 AND state = 'enabled' RETURNING name",
                params![&webhook, DISABLED],
                |row| row.get("name"),
            )?;
            // A test's lane is the endpoint itself, and no presence's event.
            if let Some(name) = name.filter(|_| *lane != webhook) {
                let detail = json!({ "webhook": name });
                add_event(
                    connection,
                    now,
                    lane,
                    None,
                    "webhook.disabled",
                    None,
                    &detail,
                )?;
            }
        }
    }
    Ok(true)
}

fn due_at(
    connection: &Connection<'_>,
    webhook: &str,
    lane: &str,
    at: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE webhook_lane SET due_at = ?3 WHERE webhook_id = ?1 AND lane = ?2",
        params![webhook, lane, at],
    )?;
    Ok(())
}

/// Counts a failure of another presence than the one that failed last.
fn fail(
    connection: &Connection<'_>,
    webhook: &str,
    lane: &str,
    pause: Option<Timestamp>,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE webhook SET failing = failing + 1, failing_lane = ?2,
             paused_until = CASE WHEN paused_until > ?3 THEN paused_until ELSE ?3 END
         WHERE id = ?1 AND failing_lane IS DISTINCT FROM ?2",
        params![webhook, lane, pause.map_or(0, Timestamp::as_millisecond),],
    )?;
    Ok(())
}

fn sweep(connection: &Connection<'_>, before: i64, limit: i64) -> Result<u64, StoreError> {
    let old = connection.execute(
        "DELETE FROM webhook_delivery WHERE number IN (
             SELECT number FROM webhook_delivery WHERE changed_at < ?1 ORDER BY changed_at LIMIT ?2)",
        params![before, limit],
    )?;
    let of_removed = connection.execute(
        "DELETE FROM webhook_delivery WHERE number IN (
             SELECT webhook_delivery.number FROM webhook
             JOIN webhook_delivery ON webhook_delivery.webhook_id = webhook.id
             WHERE webhook.state = 'removed' LIMIT ?1)",
        params![limit],
    )?;
    let lanes = connection.execute(
        "DELETE FROM webhook_lane WHERE (webhook_id, lane) IN (
             SELECT webhook_lane.webhook_id, webhook_lane.lane FROM webhook
             JOIN webhook_lane ON webhook_lane.webhook_id = webhook.id
             WHERE webhook.state = 'removed' LIMIT ?1)",
        params![limit],
    )?;
    let endpoints = connection.execute(
        "DELETE FROM webhook WHERE state = 'removed'
             AND NOT EXISTS (SELECT 1 FROM webhook_delivery WHERE webhook_delivery.webhook_id = webhook.id)
             AND NOT EXISTS (SELECT 1 FROM webhook_lane WHERE webhook_lane.webhook_id = webhook.id)",
        params![],
    )?;
    Ok(old + of_removed + lanes + endpoints)
}
