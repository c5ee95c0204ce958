use async_trait::async_trait;
use hiendien_domain::content::SiteContent;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};

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

/// Keeps revisions, content-addressed and immutable.
#[async_trait]
pub trait SiteStore: Send + Sync {
    /// Keeps the tree durably under its own hash; a revision that is there already is no change.
    /// A tree is there whole or not at all.
    async fn put_revision(
        &self,
        presence: PresenceId,
        tree: &FileTree,
    ) -> Result<RevisionHash, PortError>;

    /// All revisions kept for a presence, in no order.
    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError>;

    /// Erases all that is kept for a presence. Nothing kept is no error.
    async fn remove_revisions(&self, presence: PresenceId) -> Result<(), PortError>;

    /// One file of a revision, `None` where the revision has no such path.
    async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError>;
}
