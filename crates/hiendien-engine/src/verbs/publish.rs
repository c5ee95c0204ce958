//! New content or another template for a site that is served.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};

use crate::ports::PortError;
use crate::step::{Run, Step, StepSpec};
use crate::verbs::provision::{BuildSite, PublishSite, VerifySite};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<AdmitContent>(),
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<VerifySite>(),
];

/// Lets new content out: waits while a person has to decide whether it may. What is served stays meanwhile.
#[derive(Debug)]
pub struct AdmitContent;

#[async_trait]
impl Step for AdmitContent {
    const NAME: &'static str = "admit-content";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        match &run.presence.life.held_for {
            Some(reason) => Err(PortError::held("letting the content out", reason.clone())),
            None => Ok(()),
        }
    }

    async fn undo(_run: &Run) -> Result<(), PortError> {
        Ok(())
    }
}
