//! Erases what was kept of a presence that serves no more. What stays is that it once was.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};

use crate::ports::PortError;
use crate::step::{Run, Step, StepSpec};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<EraseSite>(),
    StepSpec::of::<EraseMail>(),
    StepSpec::of::<ErasePersonalData>(),
];

/// Erases all revisions and images, and sees that no revision is left.
#[derive(Debug)]
pub struct EraseSite;

#[async_trait]
impl Step for EraseSite {
    const NAME: &'static str = "erase-site";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let (sites, presence) = (&run.ports.sites, run.presence.id);
        run.ports.picture_files.remove_images(presence).await?;
        sites.remove_revisions(presence).await?;
        match sites.revisions(presence).await?.len() {
            0 => Ok(()),
            left => Err(PortError::transient(
                "erasing the revisions",
                format!("{left} are still there"),
            )),
        }
    }
}

/// Erases the stored mail.
#[derive(Debug)]
pub struct EraseMail;

#[async_trait]
impl Step for EraseMail {
    const NAME: &'static str = "erase-mail";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Mail;
    const DEPENDENCY: Dependency = Dependency::MailServers;
    const TIMEOUT: Duration = Duration::from_mins(5);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        run.ports.mailboxes.erase_mail(run.presence.id).await
    }
}

/// Erases the claim and what the store knows of the registrant, last: the steps before need it.
#[derive(Debug)]
pub struct ErasePersonalData;

#[async_trait]
impl Step for ErasePersonalData {
    const NAME: &'static str = "erase-personal-data";
    const NEEDS: &'static [&'static str] = &[EraseSite::NAME, EraseMail::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let now = run.ports.clock.now();
        run.ports.lifecycle.erase(run.presence.id, now).await
    }
}
