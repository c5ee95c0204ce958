//! Where sequences of octets lie, the pieces of revisions and pictures: in a folder or in a bucket. A piece has a
//! name within its presence.

mod bucket;
mod folder;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{FileTree, RevisionHash};
use hiendien_engine::ports::PortError;
use jiff::Timestamp;

pub(crate) use bucket::Bucket;
pub use bucket::{S3Error, S3Settings};
pub(crate) use folder::Folder;

/// A piece on its way in.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) octets: Bytes,
    pub(crate) writing: Writing,
}

impl Piece {
    /// One that takes the place of any of its name.
    pub(crate) fn over(name: String, octets: impl Into<Bytes>) -> Self {
        Self {
            name,
            octets: octets.into(),
            writing: Writing::Over,
        }
    }
}

/// Whether a piece may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Named by its own hash: whoever was first has written the same.
    Once,
    Over,
}

/// A piece that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Without the folder it was listed by.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) written_at: Timestamp,
}

/// A revision in the format before this one: a folder with all its files.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) tree: FileTree,
    pub(crate) built_at: Timestamp,
}

/// A folder, or a bucket. Every piece is there whole or not at all.
#[async_trait]
pub(crate) trait Pieces: fmt::Debug + Send + Sync {
    /// Writes the pieces, in no order. Durable when it returns.
    async fn put(&self, presence: PresenceId, pieces: Vec<Piece>) -> Result<(), PortError>;

    async fn get(&self, presence: PresenceId, name: &str) -> Result<Option<Vec<u8>>, PortError>;

    /// All pieces whose names begin with `folder/`; for an empty one those of a presence that has no folders.
    async fn list(&self, presence: PresenceId, folder: &str) -> Result<Vec<Found>, PortError>;

    /// Takes pieces away; gone already is no error.
    async fn remove(&self, presence: PresenceId, names: Vec<String>) -> Result<(), PortError>;

    /// Takes all away at once; where that cannot be, those in the folder `first` go first.
    async fn erase(&self, presence: PresenceId, first: Option<&str>) -> Result<(), PortError>;

    /// Waits to be the only one who adds to a presence or takes from it; `None` where the wait is over
    /// and another still is.
    async fn hold(
        &self,
        presence: PresenceId,
        wait: Wait,
    ) -> Result<Option<Box<dyn Hold>>, PortError>;

    /// Revisions in the former format.
    async fn formers(&self, _: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        Ok(Vec::new())
    }

    async fn former(&self, _: PresenceId, _: &RevisionHash) -> Result<Option<Former>, PortError> {
        Ok(None)
    }

    async fn remove_former(&self, _: PresenceId, _: &RevisionHash) -> Result<(), PortError> {
        Ok(())
    }

    /// Clears away what a crash has left half-written, not what a living process writes.
    async fn clear(&self, _: PresenceId) -> Result<(), PortError> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Bounded,
}

/// The right to add to a presence and to take from it. It ends by being let go, with its process,
/// or after a while.
#[async_trait]
pub(crate) trait Hold: Send + Sync {
    /// Whether it will last for one more call to the place.
    fn lasts(&self) -> bool;

    async fn let_go(self: Box<Self>);
}
