//! From a claim to live: this service beside a plain script with PowerDNS, lego, Hugo, nginx and
//! `doveadm`, on the same machine, the same CA and the same mail servers, one after the other.
//!
//! Both must prove the same from outside before a claim counts as live: the zone at every name
//! server and the delegation, the page over HTTPS, a message in and one out with its signature.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stack::{Stack, output, program, run};

const SCRIPT: &str = "crates/xtask/src/bench/by-script";
const SAMPLES: [&str; 2] = [
    "tests/claims/good/pho-shop.json",
    "tests/claims/good/student.json",
];

/// How the benchmark is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Claims handed in one by one, and as many at once
    #[arg(long, default_value_t = 50)]
    claims: usize,
    /// Claims the script works on at once; more than the processors can carry makes it slower
    #[arg(long, default_value_t = 4)]
    script_at_once: usize,
    /// Measure only this service
    #[arg(long)]
    without_script: bool,
    /// Write the numbers here as JSON too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Times from handing in to live.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The smallest time that this share of the claims did not exceed.
    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a small count"
        )]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
    }
}

/// What one side achieved.
#[derive(Debug)]
struct Measured {
    one_by_one: Times,
    at_once: Times,
}

/// Ends before anything is measured where the script could not run.
fn need_packages() -> anyhow::Result<()> {
    let packages = output(Command::new(SCRIPT).arg("packages"))?;
    let is_missing = |package: &&str| {
        let asked = Command::new("dpkg-query")
            .args(["--status", package])
            .output();
        !asked.is_ok_and(|asked| asked.status.success())
    };
    let missing: Vec<&str> = packages.lines().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the script needs packages that are missing; install them with\n  deploy/apt-quiet {}\nor measure with `--without-script`",
        missing.join(" ")
    )
}

pub(crate) fn run_bench(settings: &Settings) -> anyhow::Result<()> {
    if !settings.without_script {
        need_packages()?;
    }
    let ours = Stack::new("/var/tmp/hiendien-bench", "127.83.0");
    let theirs = Stack::new("/var/tmp/hiendien-bench-script", "127.84.0");
    println!("Claim to live, {} claims each way", settings.claims);
    let (measured, steps) = with_stack(&ours, &[], |stack| service(stack, settings.claims))?;
    print_side("hiendien", &measured);
    println!("\nSteps of hiendien one by one, median and 95th percentile in ms:");
    for (step, times) in &steps {
        println!(
            "  {step:<20} {:>6} {:>6}",
            times.quantile(0.5).as_millis(),
            times.quantile(0.95).as_millis()
        );
    }
    let mut numbers = json!({ "claims": settings.claims, "hiendien": numbers(&measured) });
    if !settings.without_script {
        let peer = with_stack(&theirs, &[], |stack| script(stack, settings))?;
        println!();
        print_side("hiendien", &measured);
        print_side("script", &peer);
        let ratio = |way: fn(&Measured) -> &Times, share| {
            way(&peer).quantile(share).as_secs_f64() / way(&measured).quantile(share).as_secs_f64()
        };
        println!(
            "ratio script / hiendien: one by one p50 {:.1}, p95 {:.1}; at once p50 {:.1}, p95 {:.1}",
            ratio(|side| &side.one_by_one, 0.5),
            ratio(|side| &side.one_by_one, 0.95),
            ratio(|side| &side.at_once, 0.5),
            ratio(|side| &side.at_once, 0.95),
        );
        numbers["script"] = self::numbers(&peer);
    }
    if let Some(path) = &settings.json {
        std::fs::write(path, format!("{numbers:#}\n"))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// Claims provisioned at the real servers on each store, as many one by one as at once.
pub(crate) fn on_both_stores(claims_each_way: usize) -> anyhow::Result<Value> {
    let stack = Stack::new("/var/tmp/hiendien-bench", "127.83.0");
    let mut told = json!({});
    println!("\nWith real servers, claim to live, {claims_each_way} claims each way:");
    for (name, besides) in [("SQLite", &[][..]), ("PostgreSQL", &["postgres"])] {
        let (measured, _) = with_stack(&stack, besides, |stack| service(stack, claims_each_way))?;
        print_side(name, &measured);
        told[name] = numbers(&measured);
    }
    Ok(told)
}

fn print_side(name: &str, side: &Measured) {
    for (way, times) in [("one by one", &side.one_by_one), ("at once", &side.at_once)] {
        println!(
            "{name:<10} {way:<11} p50 {:>7.3} s   p95 {:>7.3} s   last {:>7.3} s",
            times.quantile(0.5).as_secs_f64(),
            times.quantile(0.95).as_secs_f64(),
            times.quantile(1.0).as_secs_f64(),
        );
    }
}

fn numbers(side: &Measured) -> Value {
    let way = |times: &Times| {
        json!({
            "p50_seconds": times.quantile(0.5).as_secs_f64(),
            "p95_seconds": times.quantile(0.95).as_secs_f64(),
            "last_seconds": times.quantile(1.0).as_secs_f64(),
        })
    };
    json!({ "one_by_one": way(&side.one_by_one), "at_once": way(&side.at_once) })
}

/// Starts the servers that both sides use, and takes them down whatever comes of the work.
fn with_stack<T>(
    stack: &Stack,
    besides: &[&str],
    work: impl FnOnce(&Stack) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    stack.lab("down", &["--purge"])?;
    let result = stack
        .lab("up", &[besides, &["pebble", "docker", "mail"]].concat())
        .and_then(|()| work(stack));
    stack.lab("down", &["--purge"])?;
    result
}

/// A running service takes claims from the command line, as a registrar's script would hand them in.
fn service(
    stack: &Stack,
    claims_each_way: usize,
) -> anyhow::Result<(Measured, BTreeMap<String, Times>)> {
    stack.lab("config", &[])?;
    stack.lab("serve", &[&program("release")?.to_string_lossy()])?;
    let files = claims(&stack.state, 2 * claims_each_way + 1)?;
    let (warm_up, files) = files.split_first().context("there is a claim")?;
    // One claim that does not count: the account at the CA and the mail hosts' certificate are made with it.
    submit(stack, std::slice::from_ref(warm_up))?;
    let (first, rest) = files.split_at(claims_each_way);

    let mut one_by_one = Times::default();
    let mut steps: BTreeMap<String, Times> = BTreeMap::new();
    for file in first {
        let began = Instant::now();
        let live = submit(stack, std::slice::from_ref(file))?;
        one_by_one.0.push(began.elapsed());
        for event in events(stack, &live[0])? {
            if event["kind"] == "step.succeeded" {
                let step = event["step"].as_str().unwrap_or_default().to_owned();
                let took = event["detail"]["duration_ms"].as_u64().unwrap_or_default();
                let times = steps.entry(step).or_default();
                times.0.push(Duration::from_millis(took));
            }
        }
    }

    let began = Timestamp::now();
    let live = submit(stack, rest)?;
    let mut at_once = Times::default();
    for name in &live {
        let events = events(stack, name)?;
        let event = events.iter().find(|event| event["kind"] == "presence.live");
        let at: Timestamp = event
            .and_then(|event| event["at"].as_str())
            .with_context(|| format!("`{name}` has no event `presence.live`"))?
            .parse()?;
        at_once.0.push(at.duration_since(began).unsigned_abs());
    }
    Ok((
        Measured {
            one_by_one,
            at_once,
        },
        steps,
    ))
}

/// Hands claims in with one command, waits until all are live, and returns their names.
fn submit(stack: &Stack, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut command = stack.hiendien("release")?;
    let told = output(
        command
            .args(["claim", "submit", "--wait", "--json"])
            .args(files),
    )?;
    let names: Vec<String> = told
        .lines()
        .map(|line| {
            let told: Value = serde_json::from_str(line)?;
            let name = told["presence"]["name"].as_str();
            Ok(name.context("a presence has a name")?.to_owned())
        })
        .collect::<anyhow::Result<_>>()?;
    if names.len() != files.len() {
        bail!("{} of {} claims are live", names.len(), files.len());
    }
    Ok(names)
}

fn events(stack: &Stack, name: &str) -> anyhow::Result<Vec<Value>> {
    let mut command = stack.hiendien("release")?;
    let told = output(command.args(["events", name, "--json"]))?;
    told.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// The same claims by the script: one process a claim.
fn script(stack: &Stack, settings: &Settings) -> anyhow::Result<Measured> {
    let by_script = |verb: &str| {
        let mut command = Command::new(SCRIPT);
        command.arg(verb).arg(&stack.state).arg(&stack.net);
        command
    };
    run(&mut by_script("up"))?;
    let measure = || {
        let files = claims(&stack.state, 2 * settings.claims + 1)?;
        let (warm_up, files) = files.split_first().context("there is a claim")?;
        output(by_script("provision").arg(warm_up))?;
        let (first, rest) = files.split_at(settings.claims);
        let mut one_by_one = Times::default();
        for file in first {
            let began = Instant::now();
            output(by_script("provision").arg(file))?;
            one_by_one.0.push(began.elapsed());
        }
        let (next, began) = (AtomicUsize::new(0), Instant::now());
        let ended = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..settings.script_at_once.max(1) {
                scope.spawn(|| {
                    while let Some(file) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = output(by_script("provision").arg(file));
                        let mut ended = ended.lock().expect("no thread panics while it holds it");
                        ended.push(result.map(|_| began.elapsed()));
                    }
                });
            }
        });
        let ended = ended.into_inner().expect("no thread panicked");
        let at_once = Times(ended.into_iter().collect::<anyhow::Result<_>>()?);
        Ok(Measured {
            one_by_one,
            at_once,
        })
    };
    let measured = measure();
    run(&mut by_script("down"))?;
    measured
}

/// Sample claims made `count` others, half of each programme: reference, name and subject of their own.
fn claims(state: &Path, count: usize) -> anyhow::Result<Vec<PathBuf>> {
    let directory = state.join("claims");
    std::fs::create_dir_all(&directory)?;
    (0..count)
        .map(|number| {
            let sample = std::fs::read(SAMPLES[number % 2]).context("run this in the checkout")?;
            let mut claim: Value = serde_json::from_slice(&sample)?;
            let suffix = claim["programme"].as_str().unwrap_or_default().to_owned();
            claim["reference"] = format!("MAU-DO-{number}").into();
            claim["domain"] = format!("mau-do-{number}.{suffix}.vn").into();
            claim["contact"]["email"] = format!("mau-do-{number}@outside.test").into();
            if suffix == "biz" {
                // A household's old number with a false check digit is warned of, not refused.
                claim["business"]["tax_id"] = format!("1{:09}", 100 + number).into();
            } else {
                claim["person"]["personal_id_hash"] = format!("{number:064x}").into();
            }
            let file = directory.join(format!("{number}.json"));
            std::fs::write(&file, claim.to_string())?;
            Ok(file)
        })
        .collect()
}
