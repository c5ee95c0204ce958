//! One file per verb: its steps in reading order, then what each does.

pub mod provision;

use hiendien_domain::lifecycle::Verb;

use crate::step::StepSpec;

/// The steps of a verb, in an order in which every step comes after those it needs.
pub fn steps(verb: Verb) -> &'static [StepSpec] {
    match verb {
        Verb::Provision => provision::STEPS,
    }
}
