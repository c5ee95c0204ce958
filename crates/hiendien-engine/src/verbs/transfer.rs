//! Another registrar, another registrant, or both. Who held the mailboxes before holds them no more.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};

use crate::ports::PortError;
use crate::request::Request;
use crate::step::{Notice, Run, Step, StepSpec};
use crate::verbs::mailbox::SendLinks;
use crate::verbs::shared::tell;

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<CloseAccess>(),
    StepSpec::of::<TellNewRegistrant>(),
    StepSpec::of::<SendLinks>(),
];

fn registrant_changes(run: &Run) -> Result<bool, PortError> {
    let request = run.input::<Request>()?;
    Ok(matches!(
        request,
        Request::Transfer {
            registrant: Some(_),
            ..
        }
    ))
}

/// Forgets the former registrant's passwords and links, where the registrant changes. That cannot be
/// taken back, and need not: the owner gets new links in any case.
#[derive(Debug)]
pub struct CloseAccess;

#[async_trait]
impl Step for CloseAccess {
    const NAME: &'static str = "close-access";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        if !registrant_changes(run)? {
            return Ok(());
        }
        run.ports
            .password_links
            .remove_links(run.presence.id)
            .await?;
        run.ports.mailboxes.clear_passwords(run.presence.id).await
    }
}

/// Writes to the new registrant.
#[derive(Debug)]
pub struct TellNewRegistrant;

#[async_trait]
impl Step for TellNewRegistrant {
    const NAME: &'static str = "tell-new-registrant";
    const NEEDS: &'static [&'static str] = &[CloseAccess::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Letters;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        if !registrant_changes(run)? {
            return Ok(());
        }
        tell(run, "transferred", &Notice::Transferred).await
    }
}
