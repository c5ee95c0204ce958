//! A mailbox gets another address, or its owner new links to set passwords with.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};
use hiendien_domain::name::LocalPart;

use crate::ports::{FailureKind, PortError};
use crate::request::Request;
use crate::step::{Notice, Run, Step, StepSpec};
use crate::verbs::provision::{BuildSite, PublishSite, VerifySite};
use crate::verbs::service::VerifySettledMail;
use crate::verbs::shared::{make_links, tell};
use crate::verbs::transfer::CloseAccess;

/// The steps of renaming a mailbox: the site shows the address, so it is published again.
pub const RENAME: &[StepSpec] = &[
    StepSpec::of::<RenameMailbox>(),
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<VerifySite>(),
    StepSpec::of::<VerifyRenamedMail>(),
];

/// The steps of a password reset.
pub const RESET: &[StepSpec] = &[StepSpec::of::<SendLinks>()];

fn renamed(run: &Run) -> Result<(LocalPart, LocalPart), PortError> {
    match run.input::<Request>()? {
        Request::RenameMailbox { from, to } => Ok((from, to)),
        _ => Err(PortError::misconfigured(
            "renaming a mailbox",
            "the operation was not asked with the two local parts",
        )),
    }
}

/// Gives the mailbox its new address; the former one becomes an alias.
#[derive(Debug)]
pub struct RenameMailbox;

#[async_trait]
impl Step for RenameMailbox {
    const NAME: &'static str = "rename-mailbox";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (from, to) = renamed(run)?;
        let name = &run.presence.plan.name;
        run.ports
            .mailboxes
            .rename(run.presence.id, &from.at(name), &to.at(name))
            .await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        let (from, to) = renamed(run)?;
        let name = &run.presence.plan.name;
        let (mailboxes, presence) = (&run.ports.mailboxes, run.presence.id);
        let (from, to) = (from.at(name), to.at(name));
        match mailboxes.rename(presence, &to, &from).await {
            Ok(()) => mailboxes.remove_alias(presence, &to).await,
            // There is no mailbox of the new address: it never came to be.
            Err(error) if error.kind == FailureKind::Rejected => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sends a message through the mailbox, under its new address.
#[derive(Debug)]
pub struct VerifyRenamedMail;

#[async_trait]
impl Step for VerifyRenamedMail {
    const NAME: &'static str = "verify-renamed-mail";
    const NEEDS: &'static [&'static str] = &[RenameMailbox::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const PROVES: &'static [Plane] = &[Plane::Mail];
    const TIMEOUT: Duration = VerifySettledMail::TIMEOUT;
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (_, to) = renamed(run)?;
        let address = to.at(&run.presence.plan.name);
        run.ports
            .probes
            .mail(run.presence.id, &address)
            .await
            .map(drop)
    }
}

/// Writes to the owner's outside address, with a link for each mailbox whose password is to be set anew.
#[derive(Debug)]
pub struct SendLinks;

#[async_trait]
impl Step for SendLinks {
    const NAME: &'static str = "send-links";
    const NEEDS: &'static [&'static str] = &[CloseAccess::NAME];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::Letters;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let mailboxes = match run.input::<Request>()? {
            Request::ResetPassword { mailbox } => vec![mailbox],
            Request::Transfer {
                registrant: Some(_),
                ..
            } => run.presence.plan.mailboxes.clone(),
            _ => return Ok(()),
        };
        let links = make_links(run, &mailboxes).await?;
        let notice = Notice::PasswordLinks {
            password_urls: links.urls,
            links_expire_at: links.expire_at,
        };
        tell(run, "links", &notice).await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        run.ports.password_links.remove_links(run.presence.id).await
    }
}
