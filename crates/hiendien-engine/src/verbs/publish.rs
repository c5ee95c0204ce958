//! New content or another template for a site that is served.

use crate::step::StepSpec;
use crate::verbs::provision::{BuildSite, PublishSite, VerifySite};

/// The steps of the verb.
pub const STEPS: &[StepSpec] = &[
    StepSpec::of::<BuildSite>(),
    StepSpec::of::<PublishSite>(),
    StepSpec::of::<VerifySite>(),
];
