//! What pages are made from, sealed: a résumé or a claim may have what is not to be public.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::secret::Secret;
use hiendien_engine::pictures::{ImageState, Pictures};
use hiendien_engine::ports::PortError;
use hiendien_engine::store::{Contents, KeptContent};

use crate::Store;
use crate::claims;
use crate::error::StoreError;
use crate::row::{IntoPort, text};
use crate::seal::Seal;
use crate::sql::{Connection, params};

/// The place of what was published last, and of what was before it.
const PRESENT: i64 = 0;
const BEFORE: i64 = 1;

/// Content on its way in.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// Empty where there is none.
    document: Vec<u8>,
    facts: Vec<u8>,
}

fn document_place(presence: PresenceId) -> String {
    format!("content.document.{presence}")
}

fn facts_place(presence: PresenceId) -> String {
    format!("content.facts.{presence}")
}

pub(crate) fn seal(
    seal: &Seal,
    presence: PresenceId,
    content: &KeptContent,
) -> Result<Sealed, StoreError> {
    let document = content
        .document
        .as_ref()
        .map(|document| seal.seal(&document_place(presence), document.expose()));
    Ok(Sealed {
        document: document.transpose()?.unwrap_or_default(),
        facts: seal.seal(&facts_place(presence), content.facts.expose())?,
    })
}

/// Keeps what an operation publishes, and what was there before it.
pub(crate) fn put(
    connection: &Connection<'_>,
    presence: PresenceId,
    operation: OperationId,
    content: &Sealed,
) -> Result<(), StoreError> {
    let id = presence.to_string();
    connection.execute(
        "DELETE FROM content WHERE presence_id = ?1 AND place = ?2",
        params![&id, BEFORE],
    )?;
    connection.execute(
        "UPDATE content SET place = ?3 WHERE presence_id = ?1 AND place = ?2",
        params![&id, PRESENT, BEFORE],
    )?;
    connection.execute(
        "INSERT INTO content (presence_id, place, operation_id, document, facts)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            &id,
            PRESENT,
            &operation.to_string(),
            &content.document,
            &content.facts,
        ],
    )?;
    Ok(())
}

/// Brings back what was there before an operation that is undone. One that published nothing changes nothing.
pub(crate) fn take_back(
    connection: &Connection<'_>,
    operation: &str,
    presence: &str,
) -> Result<(), StoreError> {
    let taken = connection.execute(
        "DELETE FROM content WHERE presence_id = ?1 AND place = ?2 AND operation_id = ?3",
        params![presence, PRESENT, operation],
    )?;
    if taken > 0 {
        connection.execute(
            "UPDATE content SET place = ?3 WHERE presence_id = ?1 AND place = ?2",
            params![presence, BEFORE, PRESENT],
        )?;
    }
    Ok(())
}

#[async_trait]
impl Contents for Store {
    async fn content(&self, presence: PresenceId) -> Result<Option<KeptContent>, PortError> {
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            connection.query_first(
                "SELECT document, facts FROM content WHERE presence_id = ?1 AND place = ?2",
                params![&presence.to_string(), PRESENT],
                |row| {
                    let document = Some(row.bytes("document")?)
                        .filter(|sealed| !sealed.is_empty())
                        .map(|sealed| seal.open(&document_place(presence), sealed))
                        .transpose()?;
                    let facts = seal.open(&facts_place(presence), row.bytes("facts")?)?;
                    Ok(KeptContent {
                        document: document.map(Secret::new),
                        facts: Secret::new(facts),
                    })
                },
            )
        };
        self.database.read(read).await.port("reading content")
    }

    async fn claim_document(&self, presence: PresenceId) -> Result<Option<Secret>, PortError> {
        let seal = self.seal.clone();
        let read = move |connection: &Connection<'_>| {
            let found = connection.query_first(
                "SELECT id, document FROM claim WHERE presence_id = ?1",
                params![&presence.to_string()],
                |row| {
                    let claim: ClaimId = text(row, "id")?;
                    let sealed = row.bytes("document")?;
                    // Erased.
                    if sealed.is_empty() {
                        return Ok(None);
                    }
                    let document = seal.open(&claims::place(&claim), sealed)?;
                    Ok(Some(Secret::new(document)))
                },
            )?;
            Ok(found.flatten())
        };
        self.database.read(read).await.port("reading a claim")
    }

    async fn pictures(
        &self,
        presence: PresenceId,
    ) -> Result<BTreeMap<ImageId, Picture>, PortError> {
        let images = self.images(presence).await?.into_iter();
        let pictures = images.filter_map(|image| match image.state {
            ImageState::Ready(picture) => Some((image.id, picture)),
            ImageState::Waiting | ImageState::Refused(_) => None,
        });
        Ok(pictures.collect())
    }
}
