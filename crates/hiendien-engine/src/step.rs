//! What a step is, and the graph that the steps of a verb make.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::{Dependency, Plane};
use hiendien_domain::name::MailAddress;
use hiendien_domain::platform::Platform;
use hiendien_domain::site::RevisionHash;
use hiendien_domain::term::TermRules;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::operation::{Before, Operation};
use crate::pictures::Pictures;
use crate::ports::{
    Certificates, Delegations, KeepRules, Mailboxes, Messages, PasswordLinks, PictureFiles,
    PortError, Probes, RevisionShelf, SiteBuilder, SiteStore, Zones,
};
use crate::presence::Presence;
use crate::store::{Lifecycle, Publications};

/// Everything steps act through. Made once, by the binary.
#[derive(Clone)]
pub struct Ports {
    pub platform: Arc<Platform>,
    pub settings: StepSettings,
    pub clock: Arc<dyn Clock>,
    pub zones: Arc<dyn Zones>,
    pub delegations: Arc<dyn Delegations>,
    pub certificates: Arc<dyn Certificates>,
    pub builder: Arc<dyn SiteBuilder>,
    pub sites: Arc<dyn SiteStore>,
    pub shelf: Arc<dyn RevisionShelf>,
    pub pictures: Arc<dyn Pictures>,
    pub picture_files: Arc<dyn PictureFiles>,
    pub publications: Arc<dyn Publications>,
    pub lifecycle: Arc<dyn Lifecycle>,
    pub mailboxes: Arc<dyn Mailboxes>,
    pub password_links: Arc<dyn PasswordLinks>,
    pub messages: Arc<dyn Messages>,
    pub letters: Arc<dyn Letters>,
    pub probes: Arc<dyn Probes>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ports")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Settings that steps read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSettings {
    /// Quota of a new mailbox, bytes.
    pub mailbox_quota_bytes: u64,
    /// Base of the page on which an owner sets a password; the token is appended.
    pub password_url: String,
    /// How long a password link stays good.
    pub password_link_for: Duration,
    pub term: TermRules,
    /// How long revisions are kept that are not served.
    pub revisions: KeepRules,
}

/// What the letter writer needs to know; the words are the mail adapter's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WelcomeFacts {
    pub operation: OperationId,
    /// Each mailbox with the absolute URL of its one-time page.
    pub password_urls: Vec<(MailAddress, String)>,
    pub links_expire_at: Timestamp,
}

/// Writes the letters that people get.
pub trait Letters: Send + Sync {
    /// To the owner's outside address, with the password link.
    fn welcome(&self, presence: &Presence, facts: &WelcomeFacts) -> crate::ports::Letter;

    /// Into the new mailbox, so that it is not empty.
    fn first(&self, presence: &Presence, operation: OperationId) -> crate::ports::Letter;

    /// To the owner's outside address: what has happened or is about to. `id` makes a repeated letter one.
    fn notice(&self, presence: &Presence, id: &str, notice: &Notice) -> crate::ports::Letter;
}

/// What an owner is written about; the words are the mail adapter's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// New links to set passwords with.
    PasswordLinks {
        /// Each mailbox with the absolute URL of its one-time page.
        password_urls: Vec<(MailAddress, String)>,
        links_expire_at: Timestamp,
    },
    /// The term ends soon: renew it at the registrar.
    TermEnds {
        at: Timestamp,
    },
    /// The term has ended; until `renew_until` renewing brings all back.
    TermEnded {
        renew_until: Timestamp,
    },
    /// Stopped by a decision; mail is still taken in.
    Suspended {
        reason: String,
    },
    Resumed,
    Renewed {
        until: Option<Timestamp>,
    },
    /// Another registrant holds the name now.
    Transferred,
    /// The name was given back; site and mail are kept until `erased_at`.
    Released {
        erased_at: Timestamp,
    },
    /// Papers are missing.
    DossierDue {
        by: Timestamp,
    },
    /// The page has never been changed and the mailbox never opened.
    Dormant,
}

/// One step of a verb. Its output is kept in the log and read by later steps by its type.
///
/// `apply` states an end and can be repeated: it may have happened already, in whole or in part.
#[async_trait]
pub trait Step {
    const NAME: &'static str;
    /// Names of the steps whose success comes first, where the verb has them.
    const NEEDS: &'static [&'static str];
    const PLANE: Plane;
    /// What it leans on.
    const DEPENDENCY: Dependency;
    /// Planes that are observed from outside to work once this step succeeded.
    const PROVES: &'static [Plane] = &[];
    /// Bound of one attempt.
    const TIMEOUT: Duration;
    type Output: Serialize + DeserializeOwned;

    async fn apply(run: &Run) -> Result<Self::Output, PortError>;

    /// Takes back what `apply` may have done, wholly, in part or not at all, and returns once that is
    /// so. Repeated, and run with the steps after it undone already. A step that only asks or only
    /// tells has nothing to take back.
    async fn undo(_run: &Run) -> Result<(), PortError> {
        Ok(())
    }
}

/// What a step sees of its operation.
#[derive(Debug, Clone)]
pub struct Run {
    pub operation: OperationId,
    /// When the operation was asked for.
    pub began_at: Timestamp,
    /// As the verb wants it.
    pub presence: Arc<Presence>,
    /// As it was before the verb was asked.
    pub before: Option<Arc<Before>>,
    input: Arc<Value>,
    pub ports: Arc<Ports>,
    outputs: Arc<BTreeMap<&'static str, Value>>,
    needs: &'static [&'static str],
}

impl Run {
    pub(crate) fn new(operation: &Operation, presence: Arc<Presence>, ports: Arc<Ports>) -> Self {
        Self {
            operation: operation.id,
            began_at: operation.created_at,
            presence,
            before: operation.before.clone().map(Arc::new),
            input: Arc::new(operation.input.clone()),
            ports,
            outputs: Arc::default(),
            needs: &[],
        }
    }

    /// The same for one step, with what other steps have put out so far.
    pub(crate) fn of_step(
        &self,
        step: &StepSpec,
        outputs: &Arc<BTreeMap<&'static str, Value>>,
    ) -> Self {
        Self {
            outputs: Arc::clone(outputs),
            needs: step.needs,
            ..self.clone()
        }
    }

    /// What the verb was asked with.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, PortError> {
        T::deserialize(&*self.input).map_err(|error| {
            PortError::misconfigured("reading what the verb was asked with", error)
        })
    }

    /// The revision that is to be seen at the edge: the one built by this operation, else the one published before.
    pub fn served_revision(&self) -> Result<RevisionHash, PortError> {
        let action = "telling which revision is served";
        match self.outputs.get("build-site") {
            Some(output) => RevisionHash::deserialize(output)
                .map_err(|error| PortError::misconfigured(action, error)),
            None => self
                .presence
                .revision
                .clone()
                .ok_or_else(|| PortError::misconfigured(action, "none was ever published")),
        }
    }

    /// The output of a step that this one declares to need.
    pub fn output<S: Step>(&self) -> Result<S::Output, PortError> {
        let action = || format!("reading the output of step `{}`", S::NAME);
        debug_assert!(
            self.needs.contains(&S::NAME),
            "`{}` is not among the declared needs",
            S::NAME
        );
        let value = self
            .outputs
            .get(S::NAME)
            .ok_or_else(|| PortError::misconfigured(action(), "the log has none"))?;
        S::Output::deserialize(value).map_err(|error| PortError::misconfigured(action(), error))
    }
}

type ApplyFuture = Pin<Box<dyn Future<Output = Result<Value, PortError>> + Send>>;

/// A [`Step`] with its type taken away, as the worker runs it.
#[derive(Clone, Copy)]
pub struct StepSpec {
    pub name: &'static str,
    pub needs: &'static [&'static str],
    pub plane: Plane,
    pub dependency: Dependency,
    pub proves: &'static [Plane],
    pub timeout: Duration,
    pub(crate) apply: fn(Run) -> ApplyFuture,
    pub(crate) undo: fn(Run) -> ApplyFuture,
}

impl fmt::Debug for StepSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StepSpec({} needs {:?})", self.name, self.needs)
    }
}

impl StepSpec {
    pub const fn of<S: Step + 'static>() -> Self {
        Self {
            name: S::NAME,
            needs: S::NEEDS,
            plane: S::PLANE,
            dependency: S::DEPENDENCY,
            proves: S::PROVES,
            timeout: S::TIMEOUT,
            apply: |run| {
                Box::pin(async move {
                    let output = S::apply(&run).await?;
                    serde_json::to_value(output).map_err(|error| {
                        PortError::rejected(
                            format!("keeping the output of step `{}`", S::NAME),
                            error,
                        )
                    })
                })
            },
            undo: |run| Box::pin(async move { S::undo(&run).await.map(|()| Value::Null) }),
        }
    }
}
