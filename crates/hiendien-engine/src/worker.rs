//! Leases operations and runs their steps.
//!
//! A worker never holds a transaction: it holds a lease that expires, extends it while it works,
//! and carries the lease's fence on every write. `Started` is durable before a step acts, its
//! output is durable before a later step sees it; after a kill the steps that stand as `Started`
//! run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hiendien_domain::lifecycle::{Direction, Plane, PlaneState, Standing, StepState};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument, info, info_span, warn};

use crate::gate::{GateSettings, Gates};
use crate::operation::{Operation, PlaneChange, RunEnd, StepLog};
use crate::ports::{ErrorChain, FailureKind, PortError};
use crate::presence::Presence;
use crate::retry::RetryPolicy;
use crate::step::{Ports, Run, StepSpec};
use crate::store::{Lease, LeaseError, OperationLog};
use crate::verbs;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Unique among the workers of a store.
    pub name: String,
    /// Operations run at once.
    pub slots: usize,
    /// A lease that is not extended for this long is anyone's.
    pub lease: Duration,
    pub retry: RetryPolicy,
    pub gates: GateSettings,
    /// Stands between the worker and the steps in tests of their standard runs; `None` in service.
    pub injection: Option<Arc<dyn Injection>>,
    /// A wait up to this long keeps the operation in its slot; a longer one parks it.
    pub linger_max: Duration,
    /// How long an idle worker waits before it looks again without having been woken.
    pub poll: Duration,
}

impl WorkerSettings {
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            slots: 16,
            lease: Duration::from_secs(15),
            retry: RetryPolicy::default(),
            gates: GateSettings::default(),
            injection: None,
            linger_max: Duration::from_secs(1),
            poll: Duration::from_secs(1),
        }
    }
}

/// Makes faults that the world makes rarely, for the standard runs that every step has to stand.
pub trait Injection: Send + Sync + std::fmt::Debug {
    /// Fails an attempt before its effect.
    fn before(&self, step: &'static str, attempt: u32, direction: Direction) -> Option<PortError>;

    /// Loses the reply of an attempt whose effect has happened.
    fn after(&self, step: &'static str, attempt: u32, direction: Direction) -> Option<PortError>;

    /// How often the effect is brought about in one attempt; at least once.
    fn times(&self, step: &'static str, direction: Direction) -> u32;
}

/// Runs operations until `stopping` turns true, then lets go of what it holds.
pub async fn work(
    settings: WorkerSettings,
    log: Arc<dyn OperationLog>,
    ports: Arc<Ports>,
    mut stopping: watch::Receiver<bool>,
) {
    let gates = Arc::new(Gates::new(settings.gates.clone()));
    let settings = Arc::new(settings);
    let slots = Arc::new(Semaphore::new(settings.slots));
    let mut runs = JoinSet::new();
    let mut changes = log.changes();
    while !*stopping.borrow() {
        while runs.try_join_next().is_some() {}
        // What changes from here on wakes the wait below, so nothing is missed in between.
        changes.borrow_and_update();
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the slots are never closed"),
            _ = stopping.changed() => break,
        };
        let now = ports.clock.now();
        let (lease, operation, presence) =
            match log.lease_next(&settings.name, now, settings.lease).await {
                Ok(Some(leased)) => leased,
                Ok(None) => {
                    wait(&mut changes, settings.poll, &mut stopping).await;
                    continue;
                }
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "could not look for work, will look again");
                    wait(&mut changes, settings.poll, &mut stopping).await;
                    continue;
                }
            };
        let span = info_span!(
            "operation",
            operation.id = %operation.id,
            operation.verb = %operation.verb,
            presence.name = %presence.plan.name,
        );
        let run = OperationRun {
            settings: Arc::clone(&settings),
            gates: Arc::clone(&gates),
            log: Arc::clone(&log),
            ports: Arc::clone(&ports),
            stopping: stopping.clone(),
            steps: verbs::steps(operation.verb),
            direction: operation.direction,
            lease,
        };
        let work = async move {
            let _slot = slot;
            if let Err(error) = run.run(&operation, presence).await {
                warn!(error = %ErrorChain(&error), "let go of the operation");
            }
        };
        runs.spawn(work.instrument(span));
    }
    while runs.join_next().await.is_some() {}
}

async fn wait(
    changes: &mut watch::Receiver<u64>,
    at_most: Duration,
    stopping: &mut watch::Receiver<bool>,
) {
    tokio::select! {
        _ = changes.changed() => {}
        () = tokio::time::sleep(at_most) => {}
        _ = stopping.changed() => {}
    }
}

struct OperationRun {
    settings: Arc<WorkerSettings>,
    gates: Arc<Gates>,
    log: Arc<dyn OperationLog>,
    ports: Arc<Ports>,
    stopping: watch::Receiver<bool>,
    steps: &'static [StepSpec],
    direction: Direction,
    lease: Lease,
}

/// Where a step stands in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To be tried once its turn has come, and not before this moment.
    Due(Option<Timestamp>),
    Running,
    Done,
    /// Refused for good.
    Refused,
}

struct Progress {
    places: BTreeMap<&'static str, Place>,
    attempts: BTreeMap<&'static str, u32>,
    outputs: Arc<BTreeMap<&'static str, Value>>,
    /// Last failure of each step that is not over it, and whether a person has to act.
    failures: BTreeMap<&'static str, (bool, String)>,
}

impl Progress {
    fn of(operation: &Operation, steps: &'static [StepSpec]) -> Self {
        let mut progress = Self {
            places: BTreeMap::new(),
            attempts: BTreeMap::new(),
            outputs: Arc::default(),
            failures: BTreeMap::new(),
        };
        for step in steps {
            let record = operation
                .steps
                .iter()
                .find(|record| record.name == step.name);
            let state = record.map_or(StepState::Pending, |record| record.state);
            let next_attempt_at = record.and_then(|record| record.next_attempt_at);
            if let Some(output) = record.and_then(|record| record.output.clone()) {
                Arc::make_mut(&mut progress.outputs).insert(step.name, output);
            }
            let (place, attempts_count) = match (operation.direction, state) {
                (Direction::Apply, StepState::Succeeded) => (Place::Done, true),
                (Direction::Apply, StepState::Waiting) => (Place::Due(next_attempt_at), true),
                // A step that stands as `Started` may have happened; it runs again.
                (Direction::Apply, _) => (Place::Due(None), true),
                (Direction::Undo, StepState::Pending | StepState::Undone) => (Place::Done, false),
                (Direction::Undo, StepState::UndoWaiting) => (Place::Due(next_attempt_at), true),
                (Direction::Undo, StepState::Undoing) => (Place::Due(None), true),
                // It has happened, or may have.
                (Direction::Undo, _) => (Place::Due(None), false),
            };
            progress.places.insert(step.name, place);
            let attempts = record.filter(|_| attempts_count);
            let attempts = attempts.map_or(0, |record| record.attempt);
            progress.attempts.insert(step.name, attempts);
        }
        progress
    }

    fn is_done(&self, step: &str) -> bool {
        self.places.get(step) == Some(&Place::Done)
    }

    /// A need that the verb does not have is met.
    fn is_met(&self, need: &str) -> bool {
        self.places
            .get(need)
            .is_none_or(|place| *place == Place::Done)
    }

    /// Steps whose turn has come, with the moment before which they must not run: those whose needs
    /// are met; undoing, the last that is not undone.
    fn candidates(
        &self,
        steps: &'static [StepSpec],
        direction: Direction,
    ) -> Vec<(&'static StepSpec, Option<Timestamp>)> {
        let due = |step: &'static StepSpec| match self.places[step.name] {
            Place::Due(at) => Some((step, at)),
            _ => None,
        };
        match direction {
            Direction::Apply => steps
                .iter()
                .filter(|step| step.needs.iter().all(|need| self.is_met(need)))
                .filter_map(due)
                .collect(),
            Direction::Undo => steps
                .iter()
                .rev()
                .find(|step| !self.is_done(step.name))
                .and_then(due)
                .into_iter()
                .collect(),
        }
    }
}

/// What came of one attempt.
struct Attempt {
    step: &'static StepSpec,
    number: u32,
    duration_ms: u64,
    result: Result<Value, PortError>,
}

impl OperationRun {
    async fn run(self, operation: &Operation, presence: Presence) -> Result<(), LeaseError> {
        let run = Run::new(operation, Arc::new(presence), Arc::clone(&self.ports));
        let mut progress = Progress::of(operation, self.steps);
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        let mut lines: Vec<StepLog> = Vec::new();
        let mut planes: Vec<PlaneChange> = Vec::new();
        // Planes that were last said to be worked on: once is enough.
        let mut working: BTreeSet<Plane> = BTreeSet::new();
        let mut heartbeat = tokio::time::interval(self.settings.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();

        loop {
            let now = self.ports.clock.now();
            let stopping = *self.stopping.borrow();
            let mut due = Vec::new();
            let mut next_due: Option<Timestamp> = None;
            for (step, at) in progress.candidates(self.steps, self.direction) {
                let at = at.filter(|&at| at > now);
                let closed = || self.gates.closed_until(step.dependency, now);
                match at {
                    None if stopping => {}
                    _ => match at.or_else(closed) {
                        Some(at) => next_due = Some(next_due.map_or(at, |sooner| sooner.min(at))),
                        None => due.push(step),
                    },
                }
            }
            for step in &due {
                let attempt = progress.attempts.entry(step.name).or_insert(0);
                *attempt += 1;
                progress.places.insert(step.name, Place::Running);
                lines.push(self.begun(step, *attempt));
                if self.proves(step.plane)
                    && !self.is_proven(&progress, step.plane)
                    && working.insert(step.plane)
                {
                    planes.push(plane_change(step.plane, PlaneState::Working));
                }
            }

            if attempts.is_empty() && due.is_empty() {
                match self.end(&progress, stopping, now, next_due) {
                    Some(end) => {
                        info!(end = ?end, "the run ended");
                        planes.extend(self.resting_planes(&end, operation, &run.presence));
                        return self.log.end_run(&self.lease, lines, planes, end, now).await;
                    }
                    None if !lines.is_empty() => {
                        let (lines, planes) =
                            (std::mem::take(&mut lines), std::mem::take(&mut planes));
                        self.log.write(&self.lease, lines, planes, now).await?;
                    }
                    None => {}
                }
            } else if !lines.is_empty() {
                let (lines, planes) = (std::mem::take(&mut lines), std::mem::take(&mut planes));
                self.log.write(&self.lease, lines, planes, now).await?;
            }

            for step in due {
                self.begin(&mut attempts, step, &run, &progress);
            }

            let wait = next_due.map(|at| at.duration_since(self.ports.clock.now()).unsigned_abs());
            let mut stopping_changed = self.stopping.clone();
            tokio::select! {
                Some(ended) = attempts.join_next() => {
                    self.note(ended, operation, &run, &mut progress, &mut lines, &mut planes);
                    // What else has ended already goes into the same transaction.
                    while let Some(ended) = attempts.try_join_next() {
                        self.note(ended, operation, &run, &mut progress, &mut lines, &mut planes);
                    }
                    for change in &planes {
                        working.remove(&change.plane);
                    }
                }
                () = sleep_for(wait), if wait.is_some() => {}
                _ = heartbeat.tick() => {
                    self.log.extend(&self.lease, self.ports.clock.now(), self.settings.lease).await?;
                }
                _ = stopping_changed.changed(), if !stopping => {}
            }
        }
    }

    fn begun(&self, step: &StepSpec, attempt: u32) -> StepLog {
        let step = step.name;
        match self.direction {
            Direction::Apply => StepLog::Started { step, attempt },
            Direction::Undo => StepLog::UndoStarted { step, attempt },
        }
    }

    /// Whether the verb asks from outside about the plane, and so may say how it is.
    fn proves(&self, plane: Plane) -> bool {
        self.steps.iter().any(|step| step.proves.contains(&plane))
    }

    /// Whether the plane was asked about from outside, in this operation.
    fn is_proven(&self, progress: &Progress, plane: Plane) -> bool {
        self.direction == Direction::Apply
            && self
                .steps
                .iter()
                .any(|step| step.proves.contains(&plane) && progress.is_done(step.name))
    }

    /// What is known of the planes once all is undone.
    fn resting_planes(
        &self,
        end: &RunEnd,
        operation: &Operation,
        presence: &Presence,
    ) -> Vec<PlaneChange> {
        if *end != RunEnd::Undone {
            return Vec::new();
        }
        let standing = match &operation.before {
            Some(before) => before.standing,
            None if presence.standing.holds_name() => Standing::Abandoned,
            None => presence.standing,
        };
        let planes = Plane::ALL
            .iter()
            .filter(|plane| operation.before.is_none() || self.proves(**plane));
        planes
            .map(|plane| plane_change(*plane, resting_state(standing, *plane)))
            .collect()
    }

    /// How the run ends when nothing runs and nothing is due; `None` to wait in the slot.
    fn end(
        &self,
        progress: &Progress,
        stopping: bool,
        now: Timestamp,
        next_due: Option<Timestamp>,
    ) -> Option<RunEnd> {
        if progress.places.values().all(|place| *place == Place::Done) {
            return Some(match self.direction {
                Direction::Apply => RunEnd::Succeeded,
                Direction::Undo => RunEnd::Undone,
            });
        }
        if stopping {
            return Some(RunEnd::Released);
        }
        if let Some(until) = next_due {
            let linger = until.duration_since(now).unsigned_abs() <= self.settings.linger_max;
            let needs_attention = progress.failures.values().any(|(person, _)| *person);
            return (!linger).then_some(RunEnd::Parked {
                until,
                needs_attention,
            });
        }
        let undo = match self.direction {
            Direction::Apply => "",
            Direction::Undo => "undoing ",
        };
        let reasons: Vec<String> = progress
            .failures
            .iter()
            .map(|(step, (_, error))| format!("{undo}`{step}`: {error}"))
            .collect();
        Some(RunEnd::Stuck {
            reason: reasons.join("; "),
        })
    }

    fn begin(
        &self,
        attempts: &mut JoinSet<Attempt>,
        step: &'static StepSpec,
        run: &Run,
        progress: &Progress,
    ) {
        let run = run.of_step(step, &progress.outputs);
        let number = progress.attempts[step.name];
        let span = info_span!("step", step = step.name, attempt = number);
        let gates = Arc::clone(&self.gates);
        let direction = self.direction;
        let injection = self.settings.injection.clone();
        let attempt = async move {
            let _place = gates.enter(step.dependency).await;
            let began = Instant::now();
            let work = async move {
                let act = |run: Run| match direction {
                    Direction::Apply => (step.apply)(run),
                    Direction::Undo => (step.undo)(run),
                };
                let Some(injection) = injection else {
                    return act(run).await;
                };
                if let Some(fault) = injection.before(step.name, number, direction) {
                    return Err(fault);
                }
                for _ in 1..injection.times(step.name, direction) {
                    act(run.clone()).await?;
                }
                let result = act(run).await;
                match injection.after(step.name, number, direction) {
                    Some(fault) if result.is_ok() => Err(fault),
                    _ => result,
                }
            };
            // The inner task turns a panic of the step into a value.
            let task = tokio::spawn(work.in_current_span());
            let aborter = AbortOnDrop(task.abort_handle());
            let result = tokio::time::timeout(step.timeout, task).await;
            drop(aborter);
            let result = match result {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(PortError::misconfigured(
                    format!("step `{}` stopped by a fault of its own; it", step.name),
                    panic,
                )),
                Err(elapsed) => Err(PortError::transient(
                    format!("step `{}` within {} s", step.name, step.timeout.as_secs()),
                    elapsed,
                )),
            };
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            Attempt {
                step,
                number,
                duration_ms,
                result,
            }
        };
        attempts.spawn(attempt.instrument(span));
    }

    /// Turns an ended attempt into log lines and plane changes.
    fn note(
        &self,
        ended: Result<Attempt, JoinError>,
        operation: &Operation,
        run: &Run,
        progress: &mut Progress,
        lines: &mut Vec<StepLog>,
        planes: &mut Vec<PlaneChange>,
    ) {
        let Attempt {
            step,
            number: attempt,
            duration_ms,
            result,
        } = ended.expect("an attempt catches the panic of its step and is never aborted");
        match result {
            Ok(output) => {
                info!(step = step.name, attempt, duration_ms, direction = %self.direction, "step succeeded");
                self.gates.succeeded(step.dependency);
                progress.places.insert(step.name, Place::Done);
                let recovered = progress.failures.remove(step.name).is_some();
                if self.direction == Direction::Undo {
                    lines.push(StepLog::Undone {
                        step: step.name,
                        attempt,
                        duration_ms,
                    });
                    return;
                }
                Arc::make_mut(&mut progress.outputs).insert(step.name, output.clone());
                let rest = |plane| plane_change(plane, resting_state(run.presence.standing, plane));
                planes.extend(step.proves.iter().map(|&plane| rest(plane)));
                if recovered && self.is_proven(progress, step.plane) {
                    planes.push(rest(step.plane));
                }
                lines.push(StepLog::Succeeded {
                    step: step.name,
                    attempt,
                    duration_ms,
                    output,
                });
            }
            Err(error) => {
                let now = self.ports.clock.now();
                let jitter = rand::random::<f64>();
                match error.kind {
                    FailureKind::Transient { .. } | FailureKind::Misconfigured => {
                        self.gates
                            .failed(step.dependency, operation.id, now, jitter);
                    }
                    // It answered, and so it works.
                    FailureKind::Rejected => self.gates.succeeded(step.dependency),
                    FailureKind::Held => {}
                }
                let due = self
                    .settings
                    .retry
                    .next_attempt_at(error.kind, attempt, now, jitter);
                let chain = ErrorChain(&error).to_string();
                match due {
                    Some(_) => {
                        warn!(step = step.name, attempt, error = %chain, direction = %self.direction, "step failed, will retry");
                    }
                    None => {
                        tracing::error!(step = step.name, attempt, error = %chain, direction = %self.direction, "step was refused");
                    }
                }
                let place = due.map_or(Place::Refused, |due| Place::Due(Some(due)));
                progress.places.insert(step.name, place);
                let person = !matches!(error.kind, FailureKind::Transient { .. });
                progress.failures.insert(step.name, (person, chain.clone()));
                if self.proves(step.plane) {
                    planes.push(PlaneChange {
                        plane: step.plane,
                        state: match error.kind {
                            FailureKind::Transient { .. } => PlaneState::Working,
                            FailureKind::Held => PlaneState::Pending,
                            FailureKind::Rejected | FailureKind::Misconfigured => {
                                PlaneState::Failed
                            }
                        },
                        reason: Some(format!("`{}`: {chain}", step.name)),
                        next_attempt_at: due,
                    });
                }
                lines.push(match self.direction {
                    Direction::Apply => StepLog::Failed {
                        step: step.name,
                        attempt,
                        duration_ms,
                        error: chain,
                        next_attempt_at: due,
                    },
                    Direction::Undo => StepLog::UndoFailed {
                        step: step.name,
                        attempt,
                        duration_ms,
                        error: chain,
                        next_attempt_at: due,
                    },
                });
            }
        }
    }
}

/// How a plane was seen to be when it is as the standing wants it.
pub(crate) fn resting_state(standing: Standing, plane: Plane) -> PlaneState {
    match (standing, plane) {
        (Standing::Provisioned | Standing::Serving, _) => PlaneState::Ready,
        (Standing::Suspended | Standing::Expired, Plane::Site | Plane::Mail) => {
            PlaneState::Suspended
        }
        (Standing::Suspended | Standing::Expired, Plane::Dns | Plane::Tls) => PlaneState::Ready,
        (Standing::Released | Standing::Abandoned | Standing::Purged, _) => PlaneState::Removed,
    }
}

pub(crate) fn plane_change(plane: Plane, state: PlaneState) -> PlaneChange {
    PlaneChange {
        plane,
        state,
        reason: None,
        next_attempt_at: None,
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn sleep_for(wait: Option<Duration>) {
    tokio::time::sleep(wait.unwrap_or_default()).await;
}
