//! The service's processes, and what is done to them and to the servers they lean on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::random::Random;
use super::wire::pause;
use crate::stack::{Stack, output, run};

/// A process that is started again whenever it has ended, as a service manager does.
#[derive(Debug)]
struct Process {
    name: String,
    arguments: Vec<String>,
    child: Option<Child>,
    /// Not to be started for now.
    is_held: bool,
    started: Option<Instant>,
}

/// `hiendien serve` and the workers.
#[derive(Debug)]
pub(super) struct Service<'a> {
    stack: &'a Stack,
    processes: Vec<Mutex<Process>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

pub(super) const SERVE: usize = 0;

impl<'a> Service<'a> {
    pub(super) fn new(stack: &'a Stack, workers: usize, slots: usize) -> Self {
        let process = |name: String, arguments: &[&str]| {
            Mutex::new(Process {
                name,
                arguments: arguments
                    .iter()
                    .map(|argument| (*argument).to_owned())
                    .collect(),
                child: None,
                is_held: false,
                started: None,
            })
        };
        let slots = slots.to_string();
        let mut processes = vec![process("serve".to_owned(), &["serve"])];
        for number in 1..=workers {
            processes.push(process(
                format!("worker-{number}"),
                &["work", "--slots", &slots],
            ));
        }
        Self {
            stack,
            processes,
            counts: Mutex::default(),
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.processes.len() - 1
    }

    pub(super) fn count(&self, what: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn process(&self, index: usize) -> std::sync::MutexGuard<'_, Process> {
        self.processes[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, process: &mut Process) -> anyhow::Result<()> {
        let log = self.stack.state.join(format!("log/{}.log", process.name));
        let log = File::options().create(true).append(true).open(log)?;
        let child = self
            .stack
            .hiendien("debug")?
            .args(&process.arguments)
            // Marked as every server of a stack is, so that taking the stack down ends it too.
            .env("HIENDIEN_STACK", &self.stack.state)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the service")?;
        process.child = Some(child);
        process.started = Some(Instant::now());
        Ok(())
    }

    /// Starts what does not run and is not held.
    pub(super) fn tend(&self) -> anyhow::Result<()> {
        for index in 0..self.processes.len() {
            let mut process = self.process(index);
            if let Some(child) = &mut process.child
                && child.try_wait()?.is_some()
            {
                process.child = None;
                if !process.is_held {
                    self.count(&format!("ended by itself: {}", process.name));
                }
            }
            let rested = process
                .started
                .is_none_or(|started| started.elapsed() > Duration::from_secs(1));
            if process.child.is_none() && !process.is_held && rested {
                self.start(&mut process)?;
            }
        }
        Ok(())
    }

    /// Kills a process without warning, and lets it be started again after a while.
    fn kill(&self, index: usize, rest: Duration, stop: &AtomicBool) -> anyhow::Result<()> {
        let name = {
            let mut process = self.process(index);
            process.is_held = true;
            if let Some(mut child) = process.child.take() {
                child.kill()?;
                child.wait()?;
            }
            process.name.clone()
        };
        self.count(&format!("killed: {}", kind(&name)));
        rest_for(rest, stop);
        self.process(index).is_held = false;
        Ok(())
    }

    /// Stops a process for a while, longer than its leases last.
    fn freeze(&self, index: usize, rest: Duration, stop: &AtomicBool) {
        let pid = self.process(index).child.as_ref().map(Child::id);
        let Some(pid) = pid else { return };
        signal("STOP", &[pid]);
        self.count("frozen: worker");
        rest_for(rest, stop);
        signal("CONT", &[pid]);
    }

    /// Asks all to end and waits until they have.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        for index in 0..self.processes.len() {
            let mut process = self.process(index);
            process.is_held = true;
            if let Some(child) = &process.child {
                signal("CONT", &[child.id()]);
                signal("TERM", &[child.id()]);
            }
        }
        let began = Instant::now();
        for index in 0..self.processes.len() {
            let mut process = self.process(index);
            let name = process.name.clone();
            let Some(child) = &mut process.child else {
                continue;
            };
            while child.try_wait()?.is_none() {
                if began.elapsed() > Duration::from_mins(1) {
                    child.kill()?;
                    self.count(&format!("did not end when asked: {name}"));
                }
                pause(Duration::from_millis(50));
            }
            process.child = None;
        }
        Ok(())
    }
}

fn kind(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Waits, or less where all is to end.
pub(super) fn rest_for(rest: Duration, stop: &AtomicBool) {
    let began = Instant::now();
    while began.elapsed() < rest && !stop.load(Ordering::Relaxed) {
        pause(Duration::from_millis(50).min(rest));
    }
}

fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    // One that has ended already is no fault.
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids.iter().map(ToString::to_string))
        .stderr(Stdio::null())
        .status();
}

/// Processes that work in a directory of the mail node.
fn pids_in(directory: &Path) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter(|process| {
            let program = fs::read_link(process.path().join("exe")).unwrap_or_default();
            let program = program.to_string_lossy();
            ["/postfix/", "dovecot", "rspamd"]
                .iter()
                .any(|name| program.contains(name))
        })
        .filter(|process| {
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

/// A server that others lean on.
#[derive(Debug, Clone, Copy)]
enum Server {
    Postgres,
    Engine,
    Pebble,
    PostfixAndDovecot,
    Rspamd,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Engine => "container engine",
            Self::Pebble => "Pebble",
            Self::PostfixAndDovecot => "Postfix and Dovecot",
            Self::Rspamd => "rspamd",
        }
    }

    /// Ends it, as a crash does.
    fn kill(self, stack: &Stack) {
        let pid = |file: &str| -> Vec<u32> {
            let text = fs::read_to_string(stack.state.join(file)).unwrap_or_default();
            text.trim().parse().into_iter().collect()
        };
        let mail = stack.state.join("mail");
        match self {
            // All of its processes at once; killed alone, the first leaves the others for a while.
            Self::Postgres => signal("QUIT", &pid("run/postgres.pid")),
            Self::Engine => signal("KILL", &pid("engine/docker.pid")),
            Self::Pebble => signal("KILL", &pid("run/pebble.pid")),
            Self::PostfixAndDovecot => {
                for part in ["postfix", "outside", "dovecot"] {
                    signal("KILL", &pids_in(&mail.join(part)));
                }
            }
            Self::Rspamd => signal("KILL", &pids_in(&mail.join("rspamd"))),
        }
    }

    fn part(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Engine => "engine",
            Self::Pebble => "pebble",
            Self::PostfixAndDovecot | Self::Rspamd => "mail",
        }
    }
}

/// Percent of nonces that Pebble refuses, and of authorizations that it takes up again.
const PEBBLE: [(&str, &str); 2] = [
    ("PEBBLE_WFE_NONCEREJECT", "50"),
    ("PEBBLE_AUTHZREUSE", "10"),
];

/// Starts parts of the stack; what is there already stays.
pub(super) fn bring_up(stack: &Stack, parts: &[&str]) -> anyhow::Result<()> {
    let mut command = stack.lab_command("up", parts)?;
    command.envs(PEBBLE).stdin(Stdio::null());
    match output(&mut command) {
        Ok(_) => Ok(()),
        // A server that was killed may hold its place a little longer.
        Err(first) => {
            pause(Duration::from_secs(3));
            run(&mut command).with_context(|| format!("after {first:#}"))
        }
    }
}

/// Kills and freezes workers until `stop`, one at a time in this lane.
pub(super) fn trouble_workers(
    service: &Service<'_>,
    mut random: Random,
    lease: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        rest_for(random.between(2_000, 8_000), stop);
        let worker = 1 + random.below(service.workers());
        let is_freeze = random.below(3) == 0;
        // Long enough for others to take up what it had, and for another verb to come.
        let rest = random.between(0, if is_freeze { 12_000 } else { 4_000 });
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if is_freeze {
            service.freeze(worker, lease + Duration::from_secs(1) + rest, stop);
        } else {
            service.kill(worker, rest, stop)?;
        }
    }
    Ok(())
}

/// Kills `hiendien serve` until `stop`.
pub(super) fn trouble_serve(
    service: &Service<'_>,
    mut random: Random,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        rest_for(random.between(12_000, 35_000), stop);
        let rest = random.between(0, 3_000);
        if !stop.load(Ordering::Relaxed) {
            service.kill(SERVE, rest, stop)?;
        }
    }
    Ok(())
}

/// Takes one server after another away for a while until `stop`.
pub(super) fn trouble_servers(
    service: &Service<'_>,
    mut random: Random,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        rest_for(random.between(6_000, 16_000), stop);
        let server = random.weighted(&[
            (Server::Postgres, 3),
            (Server::Engine, 2),
            (Server::Pebble, 2),
            (Server::PostfixAndDovecot, 3),
            (Server::Rspamd, 2),
        ]);
        let rest = random.between(1_000, 9_000);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        server.kill(service.stack);
        service.count(&format!("outage: {}", server.name()));
        rest_for(rest, stop);
        bring_up(service.stack, &[server.part()])?;
    }
    Ok(())
}

/// All of the stack's servers run once more.
pub(super) fn heal(stack: &Stack) -> anyhow::Result<()> {
    let all = [
        Server::Postgres,
        Server::Engine,
        Server::Pebble,
        Server::PostfixAndDovecot,
    ];
    for server in all {
        bring_up(stack, &[server.part()])?;
    }
    let asked = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "5"])
        .args(["--retry", "60", "--retry-delay", "1", "--retry-all-errors"])
        .arg(format!("http://{}.8:8080/healthz", stack.net))
        .output()?;
    if !asked.status.success() {
        bail!("the service is not healthy a minute after the last fault");
    }
    Ok(())
}
