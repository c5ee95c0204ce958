//! Keeps what is known of uploaded images, and hands out those that wait for their picture.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::ImageId;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::lifecycle::Standing;
use hiendien_domain::picture::{IMAGES_BYTES_MAX, IMAGES_MAX};
use hiendien_engine::operation::Before;
use hiendien_engine::pictures::{
    Added, HeldImage, Image, ImageState, Noted, PictureOutcome, PictureQueue, Pictures, Removed,
};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::PresencePlan;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::Store;
use crate::error::StoreError;
use crate::operations::millis;
use crate::row::{IntoPort, add_event, from_json, moment, text, to_json};
use crate::sql::{Connection, Row, params};

const WAITING: &str = "waiting";
const READY: &str = "ready";
const REFUSED: &str = "refused";

const IMAGE: &str =
    "SELECT id, state, picture, fault, uploaded_at, upload_bytes, kept_bytes FROM picture";

fn bytes(row: &Row<'_>, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.integer(column)?).map_err(|error| StoreError::corrupt(column, error))
}

fn integer(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn image(row: &Row<'_>) -> Result<Image, StoreError> {
    let missing = |column| StoreError::corrupt(column, "it is NULL");
    let state = match row.str("state")? {
        WAITING => ImageState::Waiting,
        READY => {
            let picture = row.optional_str("picture")?;
            let picture = picture.ok_or_else(|| missing("picture.picture"))?;
            ImageState::Ready(from_json("picture.picture", picture)?)
        }
        REFUSED => ImageState::Refused(text(row, "fault")?),
        word => return Err(StoreError::corrupt("picture.state", word.to_owned())),
    };
    Ok(Image {
        id: text(row, "id")?,
        state,
        uploaded_at: moment(row, "uploaded_at")?,
        upload_bytes: bytes(row, "upload_bytes")?,
        kept_bytes: bytes(row, "kept_bytes")?,
    })
}

fn read_image(
    connection: &Connection<'_>,
    presence: &str,
    id: &ImageId,
) -> Result<Option<Image>, StoreError> {
    connection.query_first(
        &format!("{IMAGE} WHERE presence_id = ?1 AND id = ?2"),
        params![presence, id.as_str()],
        image,
    )
}

/// Locks a presence that may have images, and tells what it is made of. Who adds or removes one waits here.
fn lock(connection: &Connection<'_>, presence: &str) -> Result<Option<PresencePlan>, StoreError> {
    connection.query_first(
        "SELECT plan FROM presence WHERE id = ?1 AND standing NOT IN (?2, ?3, ?4) FOR UPDATE",
        params![
            presence,
            Standing::Released.word(),
            Standing::Abandoned.word(),
            Standing::Purged.word(),
        ],
        |row| from_json("presence.plan", row.str("plan")?),
    )
}

fn add(
    connection: &Connection<'_>,
    presence: &str,
    id: &ImageId,
    upload_bytes: u64,
    now: Timestamp,
) -> Result<Added, StoreError> {
    if lock(connection, presence)?.is_none() {
        return Ok(Added::GivenUp);
    }
    let known = read_image(connection, presence, id)?;
    if let Some(known) = known.filter(|known| !matches!(known.state, ImageState::Refused(_))) {
        return Ok(Added::Known(known));
    }
    let (others, kept) = connection.query_one(
        "SELECT count(*) AS others, CAST(coalesce(sum(kept_bytes), 0) AS BIGINT) AS kept FROM picture
         WHERE presence_id = ?1 AND id <> ?2",
        params![presence, id.as_str()],
        |row| Ok((bytes(row, "others")?, bytes(row, "kept")?)),
    )?;
    if others >= IMAGES_MAX as u64 {
        return Ok(Added::TooMany);
    }
    if kept + upload_bytes > IMAGES_BYTES_MAX {
        return Ok(Added::TooMuch);
    }
    connection.execute(
        "INSERT INTO picture (presence_id, id, state, upload_bytes, kept_bytes, uploaded_at, due_at)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?5)
         ON CONFLICT (presence_id, id) DO UPDATE SET state = excluded.state, fault = NULL,
             upload_bytes = excluded.upload_bytes, kept_bytes = excluded.kept_bytes,
             uploaded_at = excluded.uploaded_at, due_at = excluded.due_at, attempts = 0",
        params![
            presence,
            id.as_str(),
            WAITING,
            integer(upload_bytes),
            now.as_millisecond()
        ],
    )?;
    connection.announce();
    Ok(Added::Waits(Image {
        id: id.clone(),
        state: ImageState::Waiting,
        uploaded_at: now,
        upload_bytes,
        kept_bytes: upload_bytes,
    }))
}

fn remove(
    connection: &Connection<'_>,
    presence: &str,
    id: &ImageId,
) -> Result<Removed, StoreError> {
    let shows = |plan: &PresencePlan| {
        let mut pictures = plan.content.site().pictures.iter();
        pictures.any(|picture| picture.id == *id)
    };
    let plan = lock(connection, presence)?;
    // What an operation under way would go back to is still in use.
    let prior: Option<Option<String>> = connection.query_first(
        "SELECT operation.prior AS prior FROM presence
         JOIN operation ON operation.id = presence.operation_id
         WHERE presence.id = ?1 AND operation.ended_at IS NULL",
        params![presence],
        |row| row.get("prior"),
    )?;
    let before: Option<Before> = prior
        .flatten()
        .map(|json| from_json("operation.prior", &json))
        .transpose()?;
    if plan.is_some_and(|plan| shows(&plan)) || before.is_some_and(|before| shows(&before.plan)) {
        return Ok(Removed::InUse);
    }
    let removed = connection.execute(
        "DELETE FROM picture WHERE presence_id = ?1 AND id = ?2",
        params![presence, id.as_str()],
    )?;
    Ok(match removed {
        0 => Removed::Unknown,
        _ => Removed::Removed,
    })
}

#[async_trait]
impl Pictures for Store {
    async fn add(
        &self,
        presence: PresenceId,
        image: &ImageId,
        upload_bytes: u64,
        now: Timestamp,
    ) -> Result<Added, PortError> {
        let (presence, image) = (presence.to_string(), image.clone());
        let write = move |connection: &Connection<'_>| {
            add(connection, &presence, &image, upload_bytes, now)
        };
        self.database.write(write).await.port("taking an image in")
    }

    async fn images(&self, presence: PresenceId) -> Result<Vec<Image>, PortError> {
        let read = move |connection: &Connection<'_>| {
            connection.query(
                &format!("{IMAGE} WHERE presence_id = ?1 ORDER BY id"),
                params![&presence.to_string()],
                image,
            )
        };
        self.database.read(read).await.port("listing images")
    }

    async fn image(
        &self,
        presence: PresenceId,
        image: &ImageId,
    ) -> Result<Option<Image>, PortError> {
        let image = image.clone();
        let read = move |connection: &Connection<'_>| {
            read_image(connection, &presence.to_string(), &image)
        };
        self.database.read(read).await.port("reading an image")
    }

    async fn remove(&self, presence: PresenceId, image: &ImageId) -> Result<Removed, PortError> {
        let (presence, image) = (presence.to_string(), image.clone());
        let write = move |connection: &Connection<'_>| remove(connection, &presence, &image);
        self.database.write(write).await.port("removing an image")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}

/// The first that waits, of a presence that may have images.
const DUE: &str = "SELECT presence_id, id FROM picture
     WHERE state = 'waiting' AND due_at <= ?1 AND NOT EXISTS (
         SELECT 1 FROM presence WHERE presence.id = picture.presence_id AND standing IN (?2, ?3, ?4))
     ORDER BY due_at LIMIT 1";

fn take(
    connection: &Connection<'_>,
    now: Timestamp,
    held_until: i64,
) -> Result<Option<HeldImage>, StoreError> {
    let due: Option<(String, String)> = connection.query_first(
        // Where others look at the same time, each gets one that no other has.
        &format!("{DUE} FOR UPDATE SKIP LOCKED"),
        params![
            now.as_millisecond(),
            Standing::Released.word(),
            Standing::Abandoned.word(),
            Standing::Purged.word(),
        ],
        |row| Ok((row.get("presence_id")?, row.get("id")?)),
    )?;
    let Some((presence, id)) = due else {
        return Ok(None);
    };
    connection.query_first(
        "UPDATE picture SET due_at = ?3, attempts = attempts + 1, fence = fence + 1
         WHERE presence_id = ?1 AND id = ?2 RETURNING presence_id, id, fence, attempts",
        params![&presence, &id, held_until],
        |row| {
            Ok(HeldImage {
                presence: text(row, "presence_id")?,
                image: text(row, "id")?,
                fence: row.get("fence")?,
                attempt: row.get("attempts")?,
            })
        },
    )
}

fn settle(
    connection: &Connection<'_>,
    held: &HeldImage,
    outcome: &PictureOutcome,
    now: Timestamp,
) -> Result<Noted, StoreError> {
    let (presence, id) = (held.presence.to_string(), held.image.as_str());
    if lock(connection, &presence)?.is_none() {
        return Ok(Noted::Gone);
    }
    let found: Option<(String, i64)> = connection.query_first(
        "SELECT state, fence FROM picture WHERE presence_id = ?1 AND id = ?2 FOR UPDATE",
        params![&presence, id],
        |row| Ok((row.get("state")?, row.get("fence")?)),
    )?;
    match found {
        None => return Ok(Noted::Gone),
        Some((state, fence)) if state != WAITING || fence != held.fence => return Ok(Noted::Lost),
        Some(_) => {}
    }
    let event = |kind, detail| add_event(connection, now, &presence, None, kind, None, &detail);
    match outcome {
        PictureOutcome::Ready {
            picture,
            kept_bytes,
        } => {
            connection.execute(
                "UPDATE picture SET state = ?3, picture = ?4, kept_bytes = ?5
                 WHERE presence_id = ?1 AND id = ?2",
                params![
                    &presence,
                    id,
                    READY,
                    &to_json("picture.picture", picture)?,
                    integer(*kept_bytes)
                ],
            )?;
            event("image.ready", json!({ "image": id }))?;
        }
        PictureOutcome::Refused(fault) => {
            connection.execute(
                "UPDATE picture SET state = ?3, fault = ?4, kept_bytes = 0
                 WHERE presence_id = ?1 AND id = ?2",
                params![&presence, id, REFUSED, fault.code()],
            )?;
            event(
                "image.refused",
                json!({ "image": id, "code": fault.code() }),
            )?;
        }
        PictureOutcome::Again(at) => {
            connection.execute(
                "UPDATE picture SET due_at = ?3 WHERE presence_id = ?1 AND id = ?2",
                params![&presence, id, at.as_millisecond()],
            )?;
        }
    }
    connection.announce();
    Ok(Noted::Noted)
}

#[async_trait]
impl PictureQueue for Store {
    async fn take(&self, now: Timestamp, hold: Duration) -> Result<Option<HeldImage>, PortError> {
        let action = "looking for images that wait";
        // Most looks find nothing; they need not take a turn at the writer.
        let look = move |connection: &Connection<'_>| {
            let due = connection.query_first(
                "SELECT 1 AS one FROM picture WHERE state = 'waiting' AND due_at <= ?1 LIMIT 1",
                params![now.as_millisecond()],
                |_| Ok(()),
            )?;
            Ok(due.is_some())
        };
        if !self.database.read(look).await.port(action)? {
            return Ok(None);
        }
        let held_until = millis(now, hold);
        let write = move |connection: &Connection<'_>| take(connection, now, held_until);
        self.database.write(write).await.port(action)
    }

    async fn settle(
        &self,
        held: &HeldImage,
        outcome: PictureOutcome,
        now: Timestamp,
    ) -> Result<Noted, PortError> {
        let held = held.clone();
        let write = move |connection: &Connection<'_>| settle(connection, &held, &outcome, now);
        self.database
            .write(write)
            .await
            .port("noting what came of an image")
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.database.committed()
    }
}
