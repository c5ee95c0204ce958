//! One file per verb, or per few that share their steps: the steps in reading order, then what each does.

pub mod mailbox;
pub mod provision;
pub mod publish;
pub mod purge;
pub mod release;
pub mod repair;
pub mod rollback;
pub mod service;
pub(crate) mod shared;
pub mod transfer;

use hiendien_domain::lifecycle::Verb;

use crate::step::StepSpec;

/// The steps of a verb, in an order in which every step comes after those it needs.
pub fn steps(verb: Verb) -> &'static [StepSpec] {
    match verb {
        Verb::Provision => provision::STEPS,
        Verb::Publish => publish::STEPS,
        Verb::Rollback => rollback::STEPS,
        Verb::Suspend | Verb::Resume | Verb::Expire => service::STEPS,
        Verb::Renew => service::RENEW,
        Verb::Transfer => transfer::STEPS,
        Verb::RenameMailbox => mailbox::RENAME,
        Verb::ResetPassword => mailbox::RESET,
        Verb::Repair => repair::STEPS,
        Verb::Release => release::STEPS,
        Verb::Purge => purge::STEPS,
    }
}

/// The names of a verb's steps, as a store keeps them.
pub fn step_names(verb: Verb) -> Vec<&'static str> {
    steps(verb).iter().map(|step| step.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_after_those_it_needs() {
        for verb in Verb::ALL {
            let mut seen: Vec<&str> = Vec::new();
            let names = step_names(*verb);
            assert!(!names.is_empty(), "{verb} does nothing");
            for step in steps(*verb) {
                let name = step.name;
                assert!(!seen.contains(&name), "{verb}: `{name}` stands twice");
                for need in step.needs.iter().filter(|need| names.contains(need)) {
                    assert!(
                        seen.contains(need),
                        "{verb}: `{name}` needs `{need}`, which does not come before it"
                    );
                }
                seen.push(name);
            }
        }
    }
}
