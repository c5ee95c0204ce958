//! Leases operations and runs their steps.
//!
//! A worker never holds a transaction: it holds a lease that expires, extends it while it works,
//! and carries the lease's fence on every write. `Started` is durable before a step acts, its
//! output is durable before a later step sees it; after a kill the steps that stand as `Started`
//! run again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hiendien_domain::lifecycle::{Plane, PlaneState, StepState};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument, info, info_span, warn};

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
            linger_max: Duration::from_secs(1),
            poll: Duration::from_secs(1),
        }
    }
}

/// Runs operations until `stopping` turns true, then lets go of what it holds.
pub async fn work(
    settings: WorkerSettings,
    log: Arc<dyn OperationLog>,
    ports: Arc<Ports>,
    mut stopping: watch::Receiver<bool>,
) {
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
            log: Arc::clone(&log),
            ports: Arc::clone(&ports),
            stopping: stopping.clone(),
            steps: verbs::steps(operation.verb),
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
    log: Arc<dyn OperationLog>,
    ports: Arc<Ports>,
    stopping: watch::Receiver<bool>,
    steps: &'static [StepSpec],
    lease: Lease,
}

/// Where a step stands in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// To be tried once its needs are met, and not before this moment.
    Due(Option<Timestamp>),
    Running,
    Done,
    /// Refused for good.
    Refused,
}

struct Progress {
    standing: BTreeMap<&'static str, Standing>,
    attempts: BTreeMap<&'static str, u32>,
    outputs: Arc<BTreeMap<&'static str, Value>>,
    /// Last failure of each step that is not over it, and whether an operator has to act.
    failures: BTreeMap<&'static str, (bool, String)>,
}

impl Progress {
    fn of(operation: &Operation, steps: &'static [StepSpec]) -> Self {
        let mut progress = Self {
            standing: BTreeMap::new(),
            attempts: BTreeMap::new(),
            outputs: Arc::default(),
            failures: BTreeMap::new(),
        };
        for step in steps {
            let record = operation
                .steps
                .iter()
                .find(|record| record.name == step.name);
            let standing = match record.map(|record| (record.state, &record.output)) {
                Some((StepState::Succeeded, Some(output))) => {
                    Arc::make_mut(&mut progress.outputs).insert(step.name, output.clone());
                    Standing::Done
                }
                Some((StepState::Waiting, _)) => {
                    Standing::Due(record.and_then(|record| record.next_attempt_at))
                }
                // A step that stands as `Started` may have happened; it runs again.
                _ => Standing::Due(None),
            };
            progress.standing.insert(step.name, standing);
            progress
                .attempts
                .insert(step.name, record.map_or(0, |record| record.attempt));
        }
        progress
    }

    fn is_done(&self, step: &str) -> bool {
        self.standing.get(step) == Some(&Standing::Done)
    }

    /// Steps whose needs are met, with the moment before which they must not run.
    fn candidates<'a>(
        &'a self,
        steps: &'static [StepSpec],
    ) -> impl Iterator<Item = (&'static StepSpec, Option<Timestamp>)> + 'a {
        steps
            .iter()
            .filter_map(|step| match self.standing[step.name] {
                Standing::Due(at) if step.needs.iter().all(|need| self.is_done(need)) => {
                    Some((step, at))
                }
                _ => None,
            })
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
        let presence = Arc::new(presence);
        let mut progress = Progress::of(operation, self.steps);
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        let mut lines: Vec<StepLog> = Vec::new();
        let mut planes: Vec<PlaneChange> = Vec::new();
        let mut heartbeat = tokio::time::interval(self.settings.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();

        loop {
            let now = self.ports.clock.now();
            let stopping = *self.stopping.borrow();
            let mut due = Vec::new();
            let mut next_due: Option<Timestamp> = None;
            for (step, at) in progress.candidates(self.steps) {
                match at.filter(|&at| at > now) {
                    Some(at) => next_due = Some(next_due.map_or(at, |sooner| sooner.min(at))),
                    None if stopping => {}
                    None => due.push(step),
                }
            }
            for step in &due {
                let attempt = progress.attempts.entry(step.name).or_insert(0);
                *attempt += 1;
                progress.standing.insert(step.name, Standing::Running);
                lines.push(StepLog::Started {
                    step: step.name,
                    attempt: *attempt,
                });
                if !self.is_proven(&progress, step.plane) {
                    planes.push(plane_change(step.plane, PlaneState::Working));
                }
            }

            if attempts.is_empty() && due.is_empty() {
                let end = self.end(&progress, stopping, now, next_due);
                match end {
                    Some(end) => {
                        info!(end = ?end, "the run ended");
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
                self.begin(&mut attempts, step, operation, &presence, &progress);
            }

            let wait = next_due.map(|at| at.duration_since(self.ports.clock.now()).unsigned_abs());
            let mut stopping_changed = self.stopping.clone();
            tokio::select! {
                Some(ended) = attempts.join_next() => {
                    self.note(ended, &mut progress, &mut lines, &mut planes);
                    // What else has ended already goes into the same transaction.
                    while let Some(ended) = attempts.try_join_next() {
                        self.note(ended, &mut progress, &mut lines, &mut planes);
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

    /// Whether the plane was seen to work from outside.
    fn is_proven(&self, progress: &Progress, plane: Plane) -> bool {
        self.steps
            .iter()
            .any(|step| step.proves.contains(&plane) && progress.is_done(step.name))
    }

    /// How the run ends when nothing runs and nothing is due; `None` to wait in the slot.
    fn end(
        &self,
        progress: &Progress,
        stopping: bool,
        now: Timestamp,
        next_due: Option<Timestamp>,
    ) -> Option<RunEnd> {
        if progress
            .standing
            .values()
            .all(|standing| *standing == Standing::Done)
        {
            return Some(RunEnd::Succeeded);
        }
        if stopping {
            return Some(RunEnd::Released);
        }
        if let Some(until) = next_due {
            let linger = until.duration_since(now).unsigned_abs() <= self.settings.linger_max;
            let needs_attention = progress.failures.values().any(|(operator, _)| *operator);
            return (!linger).then_some(RunEnd::Parked {
                until,
                needs_attention,
            });
        }
        let reasons: Vec<String> = progress
            .failures
            .iter()
            .map(|(step, (_, error))| format!("`{step}`: {error}"))
            .collect();
        Some(RunEnd::Stuck {
            reason: reasons.join("; "),
        })
    }

    fn begin(
        &self,
        attempts: &mut JoinSet<Attempt>,
        step: &'static StepSpec,
        operation: &Operation,
        presence: &Arc<Presence>,
        progress: &Progress,
    ) {
        let run = Run::new(
            operation.id,
            operation.created_at,
            Arc::clone(presence),
            Arc::clone(&self.ports),
            Arc::clone(&progress.outputs),
            step.needs,
        );
        let number = progress.attempts[step.name];
        let span = info_span!("step", step = step.name, attempt = number);
        let apply = async move {
            let began = Instant::now();
            // The inner task turns a panic of the step into a value.
            let task = tokio::spawn((step.apply)(run).in_current_span());
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
        attempts.spawn(apply.instrument(span));
    }

    /// Turns an ended attempt into log lines and plane changes.
    fn note(
        &self,
        ended: Result<Attempt, JoinError>,
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
                info!(step = step.name, attempt, duration_ms, "step succeeded");
                progress.standing.insert(step.name, Standing::Done);
                Arc::make_mut(&mut progress.outputs).insert(step.name, output.clone());
                planes.extend(
                    step.proves
                        .iter()
                        .map(|&plane| plane_change(plane, PlaneState::Ready)),
                );
                let recovered = progress.failures.remove(step.name).is_some();
                if recovered && self.is_proven(progress, step.plane) {
                    planes.push(plane_change(step.plane, PlaneState::Ready));
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
                let due = self
                    .settings
                    .retry
                    .next_attempt_at(error.kind, attempt, now, jitter);
                let chain = ErrorChain(&error).to_string();
                match due {
                    Some(_) => {
                        warn!(step = step.name, attempt, error = %chain, "step failed, will retry");
                    }
                    None => {
                        tracing::error!(step = step.name, attempt, error = %chain, "step was refused");
                    }
                }
                let standing = due.map_or(Standing::Refused, |due| Standing::Due(Some(due)));
                progress.standing.insert(step.name, standing);
                let operator = !matches!(error.kind, FailureKind::Transient { .. });
                progress
                    .failures
                    .insert(step.name, (operator, chain.clone()));
                planes.push(PlaneChange {
                    plane: step.plane,
                    state: if operator {
                        PlaneState::Failed
                    } else {
                        PlaneState::Working
                    },
                    reason: Some(format!("`{}`: {chain}", step.name)),
                    next_attempt_at: due,
                });
                lines.push(StepLog::Failed {
                    step: step.name,
                    attempt,
                    duration_ms,
                    error: chain,
                    next_attempt_at: due,
                });
            }
        }
    }
}

fn plane_change(plane: Plane, state: PlaneState) -> PlaneChange {
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
