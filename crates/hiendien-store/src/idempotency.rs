//! Remembers the answers to POSTs by their `Idempotency-Key`.

use async_trait::async_trait;
use hiendien_engine::ports::PortError;
use hiendien_engine::store::{IdempotencyKeys, IdempotentReply};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::SqliteStore;
use crate::row::IntoPort;

/// How long an answer is kept.
const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;
/// A call that has not ended after this long was cut off by a crash; its key is free again.
const IN_FLIGHT_MS_MAX: i64 = 60 * 1000;

#[async_trait]
impl IdempotencyKeys for SqliteStore {
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
        let begin = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "DELETE FROM idempotency WHERE begun_at < ?1
                     OR (caller = ?2 AND key = ?3 AND status IS NULL AND begun_at < ?4)",
                )?
                .execute((at - KEPT_MS, &caller, &key, at - IN_FLIGHT_MS_MAX))?;
            let held: Option<(String, Option<u16>, Option<String>)> = connection
                .prepare_cached("SELECT fingerprint, status, body FROM idempotency WHERE caller = ?1 AND key = ?2")?
                .query_row((&caller, &key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            Ok(match held {
                None => {
                    connection
                        .prepare_cached(
                            "INSERT INTO idempotency (caller, key, fingerprint, begun_at) VALUES (?1, ?2, ?3, ?4)",
                        )?
                        .execute((&caller, &key, &fingerprint, at))?;
                    IdempotentReply::Begun
                }
                Some((held, _, _)) if held != fingerprint => IdempotentReply::Mismatch,
                Some((_, Some(status), Some(body))) => IdempotentReply::Finished { status, body },
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
        let finish = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "UPDATE idempotency SET status = ?3, body = ?4 WHERE caller = ?1 AND key = ?2",
                )?
                .execute((&caller, &key, status, &body))?;
            Ok(())
        };
        self.database
            .write(finish)
            .await
            .port("remembering an answer")
    }

    async fn forget(&self, caller: &str, key: &str) -> Result<(), PortError> {
        let (caller, key) = (caller.to_owned(), key.to_owned());
        let forget = move |connection: &Connection| {
            connection
                .prepare_cached("DELETE FROM idempotency WHERE caller = ?1 AND key = ?2")?
                .execute((&caller, &key))?;
            Ok(())
        };
        self.database
            .write(forget)
            .await
            .port("forgetting an idempotency key")
    }
}
