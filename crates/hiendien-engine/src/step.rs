//! What a step is, and the graph that the steps of a verb make.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::Plane;
use hiendien_domain::name::MailAddress;
use hiendien_domain::platform::Platform;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::ports::{
    Certificates, Delegations, Mailboxes, Messages, PasswordLinks, PortError, Probes, SiteBuilder,
    SiteStore, Zones,
};
use crate::presence::Presence;
use crate::store::Publications;

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
    pub publications: Arc<dyn Publications>,
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
}

/// One step of a verb. Its output is kept in the log and read by later steps by its type.
///
/// `apply` states an end and can be repeated: it may have happened already, in whole or in part.
#[async_trait]
pub trait Step {
    const NAME: &'static str;
    /// Names of the steps whose success comes first.
    const NEEDS: &'static [&'static str];
    const PLANE: Plane;
    /// Planes that are observed from outside to work once this step succeeded.
    const PROVES: &'static [Plane] = &[];
    /// Bound of one attempt.
    const TIMEOUT: Duration;
    type Output: Serialize + DeserializeOwned;

    async fn apply(run: &Run) -> Result<Self::Output, PortError>;
}

/// What a step sees of its operation.
#[derive(Debug, Clone)]
pub struct Run {
    pub operation: OperationId,
    /// When the operation was asked for.
    pub began_at: Timestamp,
    pub presence: Arc<Presence>,
    pub ports: Arc<Ports>,
    outputs: Arc<BTreeMap<&'static str, Value>>,
    needs: &'static [&'static str],
}

impl Run {
    pub(crate) fn new(
        operation: OperationId,
        began_at: Timestamp,
        presence: Arc<Presence>,
        ports: Arc<Ports>,
        outputs: Arc<BTreeMap<&'static str, Value>>,
        needs: &'static [&'static str],
    ) -> Self {
        Self {
            operation,
            began_at,
            presence,
            ports,
            outputs,
            needs,
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
    pub proves: &'static [Plane],
    pub timeout: Duration,
    pub(crate) apply: fn(Run) -> ApplyFuture,
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
        }
    }
}

#[cfg(test)]
pub(crate) fn check_graph(steps: &[StepSpec]) {
    let mut seen: Vec<&str> = Vec::new();
    for step in steps {
        assert!(
            !seen.contains(&step.name),
            "step `{}` stands twice",
            step.name
        );
        for need in step.needs {
            assert!(
                seen.contains(need),
                "`{}` needs `{need}`, which does not come before it",
                step.name
            );
        }
        seen.push(step.name);
    }
}
