//! One gate per dependency: how many steps lean on it at once, and a circuit breaker, so that an
//! outage stops only the steps that need what is out.
//!
//! A breaker opens when several operations in a row have failed at it and none has succeeded: one
//! sick name alone never opens it. While it is open nothing is tried but one step now and then;
//! the first success closes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::Dependency;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use crate::retry::RetryPolicy;

/// How gates keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSettings {
    /// Steps at once on one dependency.
    pub steps_max: usize,
    /// Other bounds for some.
    pub steps_max_of: BTreeMap<Dependency, usize>,
    /// Operations that fail in a row before the breaker opens.
    pub failing_operations_max: usize,
    /// How long an open breaker waits before it lets one step try.
    pub open: RetryPolicy,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            steps_max: 32,
            // A CA limits what an account has open; a builder has few containers.
            steps_max_of: BTreeMap::from([(Dependency::Ca, 16), (Dependency::Builder, 8)]),
            failing_operations_max: 3,
            open: RetryPolicy {
                first_max: Duration::from_secs(1),
                wait_max: Duration::from_secs(30),
            },
        }
    }
}

/// How long others wait while one step tries whether an open breaker may close.
const TRIAL_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Breaker {
    /// Operations that failed since the last success.
    failing: BTreeSet<OperationId>,
    /// `None` while closed.
    open_until: Option<Timestamp>,
    /// Times it opened or stayed open since the last success.
    openings: u32,
}

#[derive(Debug)]
struct Gate {
    places: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
}

/// The gates of one worker process.
#[derive(Debug)]
pub struct Gates {
    settings: GateSettings,
    gates: BTreeMap<Dependency, Gate>,
}

impl Gates {
    pub fn new(settings: GateSettings) -> Self {
        let gates = Dependency::ALL.iter().map(|dependency| {
            let places = settings
                .steps_max_of
                .get(dependency)
                .unwrap_or(&settings.steps_max);
            let gate = Gate {
                places: Arc::new(Semaphore::new(*places)),
                breaker: Mutex::default(),
            };
            (*dependency, gate)
        });
        Self {
            gates: gates.collect(),
            settings,
        }
    }

    /// Until when nothing is to be tried; `None` when a step may begin now. Of those that ask while
    /// the breaker is open and its wait is over, the first alone may.
    pub fn closed_until(&self, dependency: Dependency, now: Timestamp) -> Option<Timestamp> {
        let mut breaker = self.breaker(dependency);
        let until = breaker.open_until?;
        if until > now {
            return Some(until);
        }
        // Whoever asks next waits for what comes of this one, and not much longer.
        breaker.open_until = now.checked_add(TRIAL_WAIT).ok();
        None
    }

    /// Waits for a place.
    pub async fn enter(&self, dependency: Dependency) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.gates[&dependency].places);
        places
            .acquire_owned()
            .await
            .expect("the places are never closed")
    }

    /// Notes that a step got what it wanted.
    pub fn succeeded(&self, dependency: Dependency) {
        let mut breaker = self.breaker(dependency);
        if breaker.open_until.is_some() {
            info!(dependency = %dependency, "works again");
        }
        *breaker = Breaker::default();
    }

    /// Notes that a step could not get what it wanted, for a reason that may pass. `jitter` lies in `0.0..1.0`.
    pub fn failed(
        &self,
        dependency: Dependency,
        operation: OperationId,
        now: Timestamp,
        jitter: f64,
    ) {
        if dependency == Dependency::Store {
            return;
        }
        let mut breaker = self.breaker(dependency);
        breaker.failing.insert(operation);
        if breaker.open_until.is_none()
            && breaker.failing.len() < self.settings.failing_operations_max
        {
            return;
        }
        breaker.openings = breaker.openings.saturating_add(1);
        let until = self.settings.open.wait_until(breaker.openings, now, jitter);
        if breaker.openings == 1 {
            warn!(dependency = %dependency, until = ?until, "fails for one operation after another, steps that need it wait");
        }
        breaker.open_until = until;
    }

    fn breaker(&self, dependency: Dependency) -> std::sync::MutexGuard<'_, Breaker> {
        self.gates[&dependency]
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: Dependency = Dependency::Ca;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_sick_name_never_opens_it_and_three_do() {
        let gates = Gates::new(GateSettings::default());
        let sick = OperationId::new();
        for _ in 0..10 {
            gates.failed(CA, sick, second(0), 1.0);
        }
        assert_eq!(gates.closed_until(CA, second(0)), None);
        gates.failed(CA, OperationId::new(), second(0), 1.0);
        assert_eq!(gates.closed_until(CA, second(0)), None);
        gates.failed(CA, OperationId::new(), second(0), 1.0);
        assert_eq!(gates.closed_until(CA, second(0)), Some(second(1)));
        assert_eq!(gates.closed_until(Dependency::Edge, second(0)), None);
    }

    #[test]
    fn lets_one_try_and_closes_on_success() {
        let gates = Gates::new(GateSettings::default());
        for _ in 0..3 {
            gates.failed(CA, OperationId::new(), second(0), 1.0);
        }
        assert_eq!(gates.closed_until(CA, second(1)), None, "the first may try");
        assert!(
            gates.closed_until(CA, second(1)).is_some(),
            "others wait for it"
        );
        gates.failed(CA, OperationId::new(), second(2), 1.0);
        assert_eq!(
            gates.closed_until(CA, second(2)),
            Some(second(4)),
            "waits longer"
        );
        gates.succeeded(CA);
        assert_eq!(gates.closed_until(CA, second(2)), None);
    }
}
