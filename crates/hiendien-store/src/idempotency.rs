//! Remembers the answers to POSTs by their `Idempotency-Key`.

use async_trait::async_trait;
use hiendien_domain::ids::OperationId;
use hiendien_engine::ports::PortError;
use hiendien_engine::store::{IdempotencyKeys, IdempotentReply};
use jiff::Timestamp;

use crate::Store;
use crate::row::{IntoPort, optional_text};
use crate::sql::{Connection, params};

/// How long an answer is kept.
const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;
/// A call that has not ended after this long was cut off by a crash; its key is free again.
const IN_FLIGHT_MS_MAX: i64 = 60 * 1000;

/// A kept key: fingerprint, status, body, the operation it has begun.
type Held = (String, Option<u16>, Option<String>, Option<OperationId>);

#[async_trait]
impl IdempotencyKeys for Store {
    async fn begin(
        &self,
        caller: &str,
        key: &str,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<IdempotentReply, PortError> {
        let (caller, key, fingerprint) =
            (caller.to_owned(), key.to_owned(), fingerprint.to_owned());
        let at = now.as_millisecond();
        let begin = move |connection: &Connection<'_>| {
            connection.execute(
                "DELETE FROM idempotency WHERE begun_at < ?1
                     OR (caller = ?2 AND key = ?3 AND status IS NULL AND operation_id IS NULL
                         AND begun_at < ?4)",
                params![at - KEPT_MS, &caller, &key, at - IN_FLIGHT_MS_MAX],
            )?;
            let held: Option<Held> = connection.query_first(
                "SELECT fingerprint, status, body, operation_id FROM idempotency
                 WHERE caller = ?1 AND key = ?2 FOR UPDATE",
                params![&caller, &key],
                |row| {
                    Ok((
                        row.get("fingerprint")?,
                        row.get("status")?,
                        row.get("body")?,
                        optional_text(row, "operation_id")?,
                    ))
                },
            )?;
            Ok(match held {
                None => {
                    connection.execute(
                        "INSERT INTO idempotency (caller, key, fingerprint, begun_at)
                         VALUES (?1, ?2, ?3, ?4)",
                        params![&caller, &key, &fingerprint, at],
                    )?;
                    IdempotentReply::Begun
                }
                Some((held, ..)) if held != fingerprint => IdempotentReply::Mismatch,
                Some((_, Some(status), Some(body), _)) => {
                    IdempotentReply::Finished { status, body }
                }
                Some((_, _, _, Some(operation))) => IdempotentReply::Made(operation),
                Some(_) => IdempotentReply::InFlight,
            })
        };
        self.database
            .write(begin)
            .await
            .port("remembering an idempotency key")
    }

    async fn finish(
        &self,
        caller: &str,
        key: &str,
        status: u16,
        body: &str,
    ) -> Result<(), PortError> {
        let (caller, key, body) = (caller.to_owned(), key.to_owned(), body.to_owned());
        let finish = move |connection: &Connection<'_>| {
            connection.execute(
                "UPDATE idempotency SET status = ?3, body = ?4 WHERE caller = ?1 AND key = ?2",
                params![&caller, &key, status, &body],
            )?;
            Ok(())
        };
        self.database
            .write(finish)
            .await
            .port("remembering an answer")
    }

    async fn forget(&self, caller: &str, key: &str) -> Result<(), PortError> {
        let (caller, key) = (caller.to_owned(), key.to_owned());
        let forget = move |connection: &Connection<'_>| {
            connection.execute(
                "DELETE FROM idempotency WHERE caller = ?1 AND key = ?2 AND operation_id IS NULL",
                params![&caller, &key],
            )?;
            Ok(())
        };
        self.database
            .write(forget)
            .await
            .port("forgetting an idempotency key")
    }
}
