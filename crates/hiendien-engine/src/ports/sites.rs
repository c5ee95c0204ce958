use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::SiteContent;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::site::{BlobHash, FileTree, RevisionHash, SiteFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PortError;

/// What a site is built from.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildJob {
    /// Name of a directory under the site templates.
    pub template: String,
    pub content: SiteContent,
}

/// Renders content into files, isolated from everything else.
#[async_trait]
pub trait SiteBuilder: Send + Sync {
    /// Builds the files, compressed forms included. Equal jobs give equal trees.
    ///
    /// Rejected when the template itself is at fault; misconfigured when no container engine answers.
    async fn build(&self, job: &BuildJob) -> Result<FileTree, PortError>;
}

/// Where a revision comes from. Kept with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub built_at: Timestamp,
    pub template: String,
    pub operation: OperationId,
    /// JSON of what it was built from.
    pub content: Vec<u8>,
}

/// Keeps revisions, content-addressed, each octet sequence once within a presence. Nothing is shared
/// between presences.
#[async_trait]
pub trait SiteStore: Send + Sync {
    /// Keeps the tree durably under its own hash, whole or not at all. Of a revision that is there
    /// already, what is damaged is mended, and its origin and age are those given now.
    async fn put_revision(
        &self,
        presence: PresenceId,
        tree: &FileTree,
        origin: &Origin,
    ) -> Result<RevisionHash, PortError>;

    /// All revisions kept for a presence, in no order.
    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError>;

    /// Erases all that is kept for a presence. Nothing kept is no error.
    async fn remove_revisions(&self, presence: PresenceId) -> Result<(), PortError>;

    /// One file of a revision, `None` where the revision has no such path. A damaged file is an
    /// error, never handed out; a damaged compressed form is left out.
    async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError>;
}

/// Looks after the revisions that are kept.
#[async_trait]
pub trait RevisionShelf: Send + Sync {
    /// What a revision is made of, `None` where it is not kept.
    async fn revision(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Revision>, PortError>;

    /// JSON of the content that a revision was built from, `None` where it is not kept with it.
    async fn content(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Vec<u8>>, PortError>;

    /// Makes a revision as young as one built `now`, so that [`RevisionShelf::tidy`] leaves it.
    /// `false` where it is not kept.
    async fn keep(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        now: Timestamp,
    ) -> Result<bool, PortError>;

    /// Reads all of a revision and tells what is not as it was written; a revision that is not kept
    /// lacks its manifest.
    async fn damage(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Vec<Damage>, PortError>;

    /// Takes away what `keeping` does not keep. Does nothing while another adds to the presence or
    /// takes from it; bounded, so that much is taken away in several rounds.
    async fn tidy(&self, presence: PresenceId, keeping: &Keeping) -> Result<Tidied, PortError>;
}

/// A revision that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub hash: RevisionHash,
    pub built_at: Timestamp,
    /// `None` where it was kept before this was noted; so for the next.
    pub template: Option<String>,
    pub operation: Option<OperationId>,
    pub files: BTreeMap<String, RevisionFile>,
}

impl Revision {
    /// Size of the uncompressed files, bytes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.identity.bytes).sum()
    }
}

/// One file of a revision, by the hashes of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionFile {
    pub media_type: String,
    pub identity: Blob,
    pub gzip: Option<Blob>,
    pub brotli: Option<Blob>,
}

/// Octets, by their hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    pub sha256: BlobHash,
    pub bytes: u64,
}

/// Something of a revision that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file, empty for the manifest and the content.
    pub path: String,
    pub part: RevisionPart,
    pub fault: DamageFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionPart {
    Identity,
    Gzip,
    Brotli,
    /// What it was built from.
    Content,
    /// What it is made of; without it nothing of the revision can be read.
    Manifest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageFault {
    Missing,
    Changed,
}

/// How long revisions are kept that are not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepRules {
    /// This many of the youngest, however old.
    pub last: usize,
    /// And all that are younger.
    pub younger_than: Duration,
    /// How long octets stay that no revision names any more: a reader may be at them.
    pub grace: Duration,
}

impl Default for KeepRules {
    fn default() -> Self {
        Self {
            last: 10,
            younger_than: Duration::from_hours(30 * 24),
            grace: Duration::from_hours(24),
        }
    }
}

/// What is not to be taken away from a presence.
#[derive(Debug, Clone)]
pub struct Keeping {
    pub rules: KeepRules,
    /// Whatever their age: what is served.
    pub named: Vec<RevisionHash>,
    pub now: Timestamp,
}

/// What a round has taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    pub revisions: usize,
    pub blobs: usize,
}
