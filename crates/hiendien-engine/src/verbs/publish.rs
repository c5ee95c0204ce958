//! New content or another template for a site that is served.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};

use crate::ports::{PortError, SiteProof};
use crate::step::{Run, Step, StepSpec};
use crate::verbs::provision::{BuildSite, PublishSite};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<VerifyRevision>(),
];

/// Sees the new revision at the edge.
#[derive(Debug)]
pub struct VerifyRevision;

#[async_trait]
impl Step for VerifyRevision {
    const NAME: &'static str = "verify-site";
    const NEEDS: &'static [&'static str] = &[BuildSite::NAME, PublishSite::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Edge;
    const PROVES: &'static [Plane] = &[Plane::Site, Plane::Tls];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = SiteProof;

    async fn apply(run: &Run) -> Result<SiteProof, PortError> {
        let revision = run.output::<BuildSite>()?;
        run.ports
            .probes
            .site(&run.presence.plan.name, revision.as_str())
            .await
    }
}
