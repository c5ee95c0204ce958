//! The whole stack of real servers under load and faults, then an auditor who asks the servers, and them
//! alone, whether anything was lost, doubled or left over.
//!
//! A seed repeats the decisions: who asks what, which fault comes next. When they meet is the machine's.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod audit;
mod faults;
mod load;
mod random;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::Value;

use crate::stack::{Stack, run};
use faults::Service;
use load::Load;
use random::Random;
use wire::{Api, pause, store_rows, text};

/// How the stack is tried.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Minutes of load
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Repeats the decisions of an earlier run; without it one is drawn and told
    #[arg(long)]
    seed: Option<u64>,
    /// Claims of different names, handed in over the first third
    #[arg(long, default_value_t = 500)]
    presences: usize,
    /// Load alone
    #[arg(long)]
    no_faults: bool,
    /// Leave the stack running at the end, to look at
    #[arg(long)]
    keep: bool,
    /// Minutes after the load within which all operations must have ended
    #[arg(long, default_value_t = 5)]
    settle_minutes: u64,
    /// Worker processes
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Milliseconds between two verbs of one of the registrars, on average
    #[arg(long, default_value_t = 10_000)]
    gap_ms: usize,
}

const LEASE: Duration = Duration::from_secs(5);
const SLOTS: usize = 8;
/// Registrars at once. One whose request was cut off waits for up to a minute.
const LANES: usize = 24;

pub(crate) fn run_chaos(settings: &Settings) -> anyhow::Result<()> {
    let seed = settings.seed.unwrap_or_else(|| {
        u64::from(Timestamp::now().subsec_nanosecond().unsigned_abs()) % 1_000_000
    });
    let stack = Stack::new("/var/tmp/hiendien-chaos", "127.85.0");
    stack.lab("down", &["--purge"])?;
    // Whatever ends this program, its servers end too.
    let guard = guard(&stack)?;
    println!(
        "chaos: seed {seed}, {} presences, {} min{}",
        settings.presences,
        settings.minutes,
        if settings.no_faults {
            ", no faults"
        } else {
            ""
        }
    );
    let result = set_up(&stack).and_then(|()| try_it(&stack, settings, seed));
    dismiss(guard);
    if settings.keep {
        println!(
            "the stack still runs; `deploy/lab down {} {} --purge` ends it",
            stack.state.display(),
            stack.net
        );
    } else {
        stack.lab("down", &[])?;
    }
    let findings = result?;
    if findings > 0 {
        bail!(
            "{findings} findings; repeat with\n  cargo xtask chaos --minutes {} --seed {seed} --presences {}\n\
             logs and state are in `{}`",
            settings.minutes,
            settings.presences,
            stack.state.display()
        );
    }
    Ok(())
}

/// A process that waits for this one's end, by Ctrl-C for instance, and takes the stack down.
fn guard(stack: &Stack) -> anyhow::Result<Child> {
    let down = format!(
        "tail --pid={} -f /dev/null; exec deploy/lab down {} {}",
        std::process::id(),
        stack.state.display(),
        stack.net
    );
    Command::new("setsid")
        .args(["bash", "-c", &down])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run `setsid`")
}

fn dismiss(mut guard: Child) {
    // Its group: the shell and what it waits with.
    let _ = Command::new("kill")
        .args(["-KILL", "--", &format!("-{}", guard.id())])
        .stderr(Stdio::null())
        .status();
    let _ = guard.kill();
    let _ = guard.wait();
}

fn set_up(stack: &Stack) -> anyhow::Result<()> {
    faults::bring_up(stack, &["postgres", "engine", "pebble", "mail"])?;
    stack.lab("config", &[])?;
    let path = stack.state.join("hiendien.toml");
    let config = fs::read_to_string(&path)?;
    let ours = format!(
        "[worker]\nslots = 0\nlease_secs = {}\nretry_wait_secs_max = 5\n",
        LEASE.as_secs()
    );
    let changed = config.replace("[worker]\nretry_wait_secs_max = 10\n", &ours);
    if changed == config {
        bail!("`deploy/hiendien.lab.toml` has another section `worker` than this program knows");
    }
    fs::write(&path, changed)?;
    run(stack.hiendien("debug")?.arg("migrate"))
}

/// Load and faults, then rest, then the audit. How many findings there are.
fn try_it(stack: &Stack, settings: &Settings, seed: u64) -> anyhow::Result<usize> {
    let service = Service::new(stack, settings.workers, SLOTS);
    let tending = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let tender = scope.spawn(|| {
            while tending.load(Ordering::Relaxed) {
                service.tend()?;
                pause(Duration::from_millis(200));
            }
            anyhow::Ok(())
        });
        let tried = under_way(stack, settings, seed, &service);
        // The workers end before what they left is counted.
        tending.store(false, Ordering::Relaxed);
        let tended = tender.join();
        service.end()?;
        let (load, findings) = tried?;
        tended.map_err(|_| anyhow::anyhow!("starting the service panicked"))??;
        report(stack, settings, &service, &load, findings)
    })
}

fn under_way(
    stack: &Stack,
    settings: &Settings,
    seed: u64,
    service: &Service<'_>,
) -> anyhow::Result<(Load, Vec<audit::Finding>)> {
    faults::heal(stack)?;
    let api = Api::of(stack)?;
    let load = Load::new(api.clone(), seed, settings.presences)?;
    let time = Duration::from_secs(settings.minutes * 60);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        for lane in 0..LANES {
            let (load, stop) = (&load, &stop);
            let gap_ms = settings.gap_ms;
            lanes.push(scope.spawn(move || {
                load.work(lane, LANES, time / 3, gap_ms, stop);
                anyhow::Ok(())
            }));
        }
        if !settings.no_faults {
            let random = |lane| Random::new(seed, lane);
            let (workers, serve, servers) = (random(1), random(2), random(3));
            let stop = &stop;
            lanes.push(scope.spawn(move || faults::trouble_workers(service, workers, LEASE, stop)));
            lanes.push(scope.spawn(move || faults::trouble_serve(service, serve, stop)));
            lanes.push(scope.spawn(move || faults::trouble_servers(service, servers, stop)));
        }
        let mut told = Instant::now();
        while began.elapsed() < time
            && !lanes.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            pause(Duration::from_millis(200));
            if told.elapsed() > Duration::from_secs(20) {
                told = Instant::now();
                let waiting =
                    unfinished(stack).map_or_else(|_| "?".to_owned(), |all| all.len().to_string());
                let promised = load.told();
                println!(
                    "{:>4} s: {} claims, {} operations, {waiting} of them under way",
                    began.elapsed().as_secs(),
                    promised.claims.len(),
                    promised.operations.len(),
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
        for lane in lanes {
            lane.join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    faults::heal(stack)?;
    let settled = settle(stack, Duration::from_secs(settings.settle_minutes * 60))?;
    println!(
        "load lasted {minutes:.1} min, all operations had ended {} s later; auditing",
        settled.as_secs()
    );
    let findings = audit::audit(stack, &api, &load.told())?;
    Ok((load, findings))
}

/// Operations that have not ended, with what they wait for.
fn unfinished(stack: &Stack) -> anyhow::Result<Vec<Value>> {
    store_rows(
        stack,
        "SELECT o.id, o.verb, o.state, o.direction, o.reason, o.presence_id,
             (SELECT string_agg(s.name || ' ' || s.state || ': ' || coalesce(s.error, ''), '; ')
              FROM step s WHERE s.operation_id = o.id
              AND s.state NOT IN ('pending', 'succeeded', 'undone')) AS waits
         FROM operation o WHERE o.state NOT IN ('succeeded', 'abandoned')",
    )
}

/// Waits until no operation is due; what is stuck waits for a person. How long it took.
fn settle(stack: &Stack, limit: Duration) -> anyhow::Result<Duration> {
    let (began, mut told) = (Instant::now(), Instant::now());
    loop {
        let left: Vec<Value> = unfinished(stack)?
            .into_iter()
            .filter(|operation| text(operation, "state") != "stuck")
            .collect();
        if left.is_empty() || began.elapsed() > limit {
            return Ok(began.elapsed());
        }
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            let mut waits: BTreeMap<String, usize> = BTreeMap::new();
            for operation in &left {
                let wait: String = text(operation, "waits").chars().take(160).collect();
                let what = format!(
                    "{} {}: {wait}",
                    text(operation, "verb"),
                    text(operation, "state")
                );
                *waits.entry(what).or_default() += 1;
            }
            println!("  waiting for {} operations, such as", left.len());
            for (what, count) in waits.iter().take(6) {
                println!("    {count} x {what}");
            }
        }
        pause(Duration::from_secs(1));
    }
}

/// Prints what was done and what was found.
fn report(
    stack: &Stack,
    settings: &Settings,
    service: &Service<'_>,
    load: &Load,
    mut findings: Vec<audit::Finding>,
) -> anyhow::Result<usize> {
    findings.extend(audit::containers_left(stack)?);
    let told = load.told();
    println!(
        "\nrequests {} (repeated because nothing or a fault was answered: {})",
        load.requests.load(Ordering::Relaxed),
        load.repeats.load(Ordering::Relaxed)
    );
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let per_minute = told.claims.len() as f64 / settings.minutes.max(1) as f64;
    println!(
        "presences {}, claims per minute {per_minute:.1}, operations asked {}",
        told.claims.len(),
        told.operations.len()
    );
    println!("faults:");
    for (what, count) in service.counts() {
        println!("  {count:>5} {what}");
    }
    println!("answers:");
    let mut answers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((what, end), count) in &told.answers {
        answers
            .entry(what)
            .or_default()
            .push(format!("{end}: {count}"));
    }
    for (what, ends) in answers {
        println!("  {what:<16} {}", ends.join(", "));
    }
    println!("operations:");
    let ends = store_rows(
        stack,
        "SELECT verb, string_agg(state || ': ' || n, ', ' ORDER BY state) AS ends FROM
             (SELECT verb, state, count(*) AS n FROM operation GROUP BY 1, 2) c GROUP BY 1 ORDER BY 1",
    )?;
    for row in &ends {
        println!("  {:<16} {}", text(row, "verb"), text(row, "ends"));
    }
    let stuck: Vec<Value> = unfinished(stack)?
        .into_iter()
        .filter(|operation| text(operation, "state") == "stuck")
        .collect();
    if !stuck.is_empty() {
        println!("stuck with a reason, which a person would read:");
        for operation in &stuck {
            let reason: String = text(operation, "reason").chars().take(300).collect();
            println!(
                "  {} {} of {}: {reason}",
                text(operation, "verb"),
                text(operation, "id"),
                text(operation, "presence_id")
            );
        }
    }
    audit::print(&findings);
    Ok(findings.len())
}
