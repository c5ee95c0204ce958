//! What the engine needs from the world, in its own words.
//!
//! Each port states an end, can be repeated, and says how it fails in one of a few ways
//! ([`FailureKind`]). Adapters add the timeout of each remote call; the engine adds the retry.

mod certificates;
mod mailboxes;
mod messages;
mod pictures;
mod probes;
mod serving;
mod sites;
mod zones;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use certificates::{Certificate, CertificateOrder, CertificateVault, Certificates};
pub use mailboxes::{MailDomain, MailService, Mailboxes, PasswordLink, PasswordLinks};
pub use messages::{Letter, Messages};
pub use pictures::{Made, PictureFiles, PictureMaker};
pub use probes::{FileProof, MailProof, Probes, SiteProof, ZoneProof};
pub use serving::{HostRole, Serving, ServingSite, SiteService};
pub use sites::{
    Blob, BuildJob, Damage, DamageFault, KeepRules, Keeping, Origin, Revision, RevisionFile,
    RevisionPart, RevisionShelf, SiteBuilder, SiteStore, Tidied,
};
pub use zones::{Delegation, Delegations, ServedZone, ZoneSource, Zones};

/// How a port failed: a code to branch on, an action to read, and the cause behind it.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed")]
pub struct PortError {
    pub kind: FailureKind,
    /// What was tried, in a few words with its literals in backticks.
    pub action: String,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// One kind per thing the engine does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Try again, not before `retry_after` where the remote named one.
    Transient { retry_after: Option<Duration> },
    /// A person has to decide first; asked again at leisure, and at once when the decision is made.
    Held,
    /// The remote understood and refuses for good.
    Rejected,
    /// A setting or a missing server of ours is the cause: an operator must act, and trying again then succeeds.
    Misconfigured,
}

impl PortError {
    pub fn transient(
        action: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: FailureKind::Transient { retry_after: None },
            action: action.into(),
            source: Some(source.into()),
        }
    }

    pub fn rejected(
        action: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: FailureKind::Rejected,
            action: action.into(),
            source: Some(source.into()),
        }
    }

    pub fn held(
        action: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: FailureKind::Held,
            action: action.into(),
            source: Some(source.into()),
        }
    }

    pub fn misconfigured(
        action: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: FailureKind::Misconfigured,
            action: action.into(),
            source: Some(source.into()),
        }
    }
}

/// Prints an error and all its causes on one line, joined by `: `.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
