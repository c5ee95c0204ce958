//! An earlier revision again: nothing is built, the pointer moves, and the edge is asked.
//!
//! What the presence's content is meant to be stays: the next `publish` builds from it.

use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Dependency, Plane};
use hiendien_domain::site::RevisionHash;

use crate::ports::{PortError, SiteProof};
use crate::request::Request;
use crate::step::{Run, Step, StepSpec};
use crate::verbs::shared::{serve, serve_as_before};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<KeepRevision>(),
    StepSpec::of::<ServeRevision>(),
    StepSpec::of::<VerifyRevision>(),
];

/// Sees that the revision is whole, and makes it as young as a new one, so that it is not taken away
/// before it is served.
#[derive(Debug)]
pub struct KeepRevision;

#[async_trait]
impl Step for KeepRevision {
    const NAME: &'static str = "keep-revision";
    const NEEDS: &'static [&'static str] = &[];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Output = RevisionHash;

    async fn apply(run: &Run) -> Result<RevisionHash, PortError> {
        let action = "taking up an earlier revision";
        let Request::Rollback { revision } = run.input()? else {
            return Err(PortError::misconfigured(action, "no revision was named"));
        };
        let (shelf, presence) = (&run.ports.shelf, run.presence.id);
        if !shelf
            .keep(presence, &revision, run.ports.clock.now())
            .await?
        {
            return Err(PortError::rejected(
                action,
                format!("revision `{revision}` is not kept any more"),
            ));
        }
        match shelf.damage(presence, &revision).await?.len() {
            0 => Ok(revision),
            damaged => Err(PortError::rejected(
                action,
                format!("{damaged} parts of revision `{revision}` are damaged: publish instead"),
            )),
        }
    }
}

/// Makes the revision the one that is served.
#[derive(Debug)]
pub struct ServeRevision;

#[async_trait]
impl Step for ServeRevision {
    const NAME: &'static str = "serve-revision";
    const NEEDS: &'static [&'static str] = &[KeepRevision::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Store;
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = ();

    async fn apply(run: &Run) -> Result<(), PortError> {
        let revision = run.output::<KeepRevision>()?;
        serve(run, &revision).await
    }

    async fn undo(run: &Run) -> Result<(), PortError> {
        serve_as_before(run).await
    }
}

/// Asks the edge as a visitor would.
#[derive(Debug)]
pub struct VerifyRevision;

#[async_trait]
impl Step for VerifyRevision {
    const NAME: &'static str = "verify-revision";
    const NEEDS: &'static [&'static str] = &[KeepRevision::NAME, ServeRevision::NAME];
    const PLANE: Plane = Plane::Site;
    const DEPENDENCY: Dependency = Dependency::Edge;
    const PROVES: &'static [Plane] = &[Plane::Site];
    const TIMEOUT: Duration = Duration::from_secs(30);
    type Output = SiteProof;

    async fn apply(run: &Run) -> Result<SiteProof, PortError> {
        let revision = run.output::<KeepRevision>()?;
        run.ports
            .probes
            .site(&run.presence.plan.name, revision.as_str())
            .await
    }
}
