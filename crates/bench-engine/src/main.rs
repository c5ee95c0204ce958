//! What the engine alone costs: whole `provision` operations over ports that do nothing, on both stores, beside
//! a peer; with many presences stored; and after a worker was killed. Run it by `cargo xtask bench engine`.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod cluster;
mod idle;
mod place;
mod plans;
mod seed;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use hiendien_domain::lifecycle::Verb;
use hiendien_engine::verbs;
use jiff::Timestamp;
use serde_json::{Value, json};

use cluster::Cluster;
use place::{Site, Sql};
use plans::Plan;
use work::{How, Worker};

/// Nothing that is waited for here takes longer.
const LIMIT: Duration = Duration::from_mins(10);

#[derive(Debug, Parser)]
#[command(name = "bench-engine")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures
    Run(Settings),
    /// Works on operations; started by `run`
    #[command(hide = true)]
    Work(Worker),
}

/// How the benchmark is run.
#[derive(Debug, Clone, clap::Args)]
struct Settings {
    /// Operations of each run
    #[arg(long, default_value_t = 200)]
    operations: usize,
    /// Runs of each kind, taken in turns; what is printed is their median
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Operations a worker has under way at once
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Presences stored before, smaller store
    #[arg(long, default_value_t = 10_000)]
    some: u32,
    /// Presences stored before, larger store; one takes about 40 kB of disk
    #[arg(long, default_value_t = 50_000)]
    many: u32,
    /// Measure this database alone, so that the disk need hold but one store of many
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Lease of the worker that is killed, in milliseconds
    #[arg(long, default_value_t = 15_000)]
    lease_ms: u64,
    /// Program of the peer
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Databases are made here, and removed in the end
    #[arg(long, default_value = "/var/tmp/hiendien-bench-engine")]
    folder: PathBuf,
    /// Write the numbers here as JSON too
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Kind {
    Sqlite,
    Postgres,
}

/// The stores that are measured, by kind and how many presences they hold.
type Stores = BTreeMap<(Kind, &'static str), Site>;

/// What is run in turns.
#[derive(Debug, Clone)]
enum Side {
    Ours { site: Site, workers: usize },
    Peer { workers: usize },
}

/// What one run gave.
#[derive(Debug, Clone)]
struct Ran {
    seconds: f64,
    /// From the lease of each operation to its end, in milliseconds.
    took_ms: Vec<f64>,
    /// Operations each worker ended.
    shares: Vec<usize>,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Run(settings) => {
            let folder = &settings.folder;
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
            let measured = measure(&settings);
            fs::remove_dir_all(folder)?;
            measured
        }
        Task::Work(worker) => work::run_worker(&worker),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at the same state, in code that is not async"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn measure(settings: &Settings) -> anyhow::Result<()> {
    let cluster = Cluster::start(&settings.folder.join("postgres"))?;
    let how = How {
        slots: settings.slots,
        lease: Duration::from_secs(15),
        build: Duration::ZERO,
    };
    let mut stores = Stores::new();
    for (size, presences) in [
        ("none", 0),
        ("some", settings.some),
        ("many", settings.many),
    ] {
        cluster.make(&format!("store_{size}"))?;
        let on_postgres = cluster.settings(&format!("store_{size}"));
        for (kind, site) in [
            (Kind::Sqlite, Site::sqlite(&settings.folder, size)?),
            (
                Kind::Postgres,
                Site::postgres(on_postgres, &settings.folder)?,
            ),
        ] {
            if settings.only.is_some_and(|only| only != kind) {
                continue;
            }
            // The first of each store is the model of its seed, and does not count.
            run_ours(&site, 1, 1, &how)?;
            if presences > 0 {
                let began = Instant::now();
                seed::fill(&site, presences)?;
                println!(
                    "filled {kind:?} with {presences} presences in {:.0} s",
                    began.elapsed().as_secs_f64()
                );
            }
            stores.insert((kind, size), site);
        }
    }
    let ours = |kind, size, workers| {
        let site = stores.get(&(kind, size))?.clone();
        Some(Side::Ours { site, workers })
    };
    let peer = |workers| settings.peer.as_ref().map(|_| Side::Peer { workers });
    let sides: Vec<(&str, Side)> = [
        ("SQLite, 1 worker", ours(Kind::Sqlite, "none", 1)),
        ("PostgreSQL, 1 worker", ours(Kind::Postgres, "none", 1)),
        ("underway, 1 worker", peer(1)),
        ("PostgreSQL, 3 workers", ours(Kind::Postgres, "none", 3)),
        ("underway, 3 workers", peer(3)),
        ("SQLite, some stored", ours(Kind::Sqlite, "some", 1)),
        ("SQLite, many stored", ours(Kind::Sqlite, "many", 1)),
        ("PostgreSQL, some stored", ours(Kind::Postgres, "some", 1)),
        ("PostgreSQL, many stored", ours(Kind::Postgres, "many", 1)),
    ]
    .into_iter()
    .filter_map(|(name, side)| Some((name, side?)))
    .collect();
    let mut ran: BTreeMap<&str, Vec<Ran>> = BTreeMap::new();
    for round in 1..=settings.rounds {
        println!("round {round} of {}", settings.rounds);
        // Each round begins with another, so that none is always the one after a certain other.
        let order = sides.iter().cycle().skip(round).take(sides.len());
        for (name, side) in order {
            let one = match (side, &settings.peer) {
                (Side::Ours { site, workers }, _) => {
                    run_ours(site, settings.operations, *workers, &how)?
                }
                (Side::Peer { workers }, Some(peer)) => {
                    run_peer(&cluster, peer, settings, *workers)?
                }
                (Side::Peer { .. }, None) => continue,
            };
            ran.entry(name).or_default().push(one);
        }
    }
    let mut numbers = table(settings, &sides, &ran);
    let kind = settings.only.unwrap_or(Kind::Postgres);
    let recovery = killed(&stores[&(kind, "none")], settings)?;
    println!(
        "\nA worker killed amid {} operations, lease {:.1} s: another had the first of them after {:.1} s, the last after {:.1} s",
        recovery.operations,
        f64::from(u32::try_from(settings.lease_ms)?) / 1000.0,
        recovery.first.as_secs_f64(),
        recovery.last.as_secs_f64(),
    );
    numbers["killed"] = json!({
        "lease_seconds": f64::from(u32::try_from(settings.lease_ms)?) / 1000.0,
        "first_seconds": recovery.first.as_secs_f64(),
        "last_seconds": recovery.last.as_secs_f64(),
    });
    let verdict = explain(&cluster, &stores, &how)?;
    if let Some(path) = &settings.json {
        fs::write(path, format!("{numbers:#}\n"))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if verdict > 0 {
        bail!("{verdict} plans read a growing table from end to end");
    }
    Ok(())
}

/// A worker process that has opened its store and waits to be let loose.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self(child))
    }

    fn worker(site: &Site, name: &str, how: &How) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(Worker::arguments(site, name, how))
            .stdout(Stdio::piped());
        let mut worker = Self::start(command)?;
        let told = worker.0.stdout.take().context("its output is piped")?;
        BufReader::new(told).read_line(&mut String::new())?;
        Ok(worker)
    }

    fn go(&mut self) -> anyhow::Result<()> {
        let stdin = self.0.stdin.as_mut().context("its input is piped")?;
        stdin.write_all(b"go\n")?;
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }

    fn kill(mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a statement gives this number.
fn wait_for(sql: &mut Sql, statement: &str, number: i64, every: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    while sql.number(statement)? != number {
        if began.elapsed() > LIMIT {
            bail!("waited for {number} in vain: {statement}");
        }
        pause(every);
    }
    Ok(())
}

fn run_ours(site: &Site, operations: usize, workers: usize, how: &How) -> anyhow::Result<Ran> {
    let mut sql = site.sql()?;
    work::hand_in(site, operations)?;
    let before = sql.number("SELECT coalesce(max(sequence), 0) FROM event")?;
    let mut processes = (1..=workers)
        .map(|number| Process::worker(site, &format!("worker-{number}"), how))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let began = Timestamp::now();
    for process in &mut processes {
        process.go()?;
    }
    let every = Duration::from_millis(20);
    let left = "SELECT count(*) FROM operation WHERE due_at IS NOT NULL";
    wait_for(&mut sql, left, 0, every)?;
    for process in processes {
        process.end()?;
    }
    let events = sql.rows(&format!(
        "SELECT operation_id, kind, at, detail FROM event
         WHERE sequence > {before} AND kind IN ('operation.running', 'operation.succeeded')
         ORDER BY sequence"
    ))?;
    let mut leased: BTreeMap<String, (i64, String)> = BTreeMap::new();
    let mut ran = Ran {
        seconds: 0.0,
        took_ms: Vec::new(),
        shares: Vec::new(),
    };
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    let mut last = began.as_millisecond();
    for event in events {
        let [operation, kind, at, detail] =
            <[String; 4]>::try_from(event).map_err(|_| anyhow::anyhow!("four columns"))?;
        let at: i64 = at.parse()?;
        if kind == "operation.running" {
            let detail: Value = serde_json::from_str(&detail)?;
            let worker = detail["worker"].as_str().unwrap_or_default().to_owned();
            leased.insert(operation, (at, worker));
        } else if let Some((since, worker)) = leased.remove(&operation) {
            ran.took_ms.push(float(at - since));
            *shares.entry(worker).or_default() += 1;
            last = last.max(at);
        }
    }
    if ran.took_ms.len() != operations {
        bail!("{} of {operations} operations ended", ran.took_ms.len());
    }
    ran.seconds = float(last - began.as_millisecond()) / 1000.0;
    ran.shares = shares.into_values().collect();
    Ok(ran)
}

fn run_peer(
    cluster: &Cluster,
    peer: &Path,
    settings: &Settings,
    workers: usize,
) -> anyhow::Result<Ran> {
    // It looks through all it has ever done, so each run has a database of its own.
    cluster.make("peer")?;
    let url = cluster.url("peer");
    let prepared = Command::new(peer)
        .args(["prepare", &url, &settings.operations.to_string()])
        .status()?;
    if !prepared.success() {
        bail!("the peer does not get ready: {prepared}");
    }
    let mut sql = Sql::Postgres(cluster.connect("peer")?);
    // So does its planner, with what it is told of the tables.
    sql.run("VACUUM ANALYZE")?;
    let mut processes = (0..workers)
        .map(|_| {
            let mut command = Command::new(peer);
            command.args(["work", &url, &settings.slots.to_string()]);
            Process::start(command)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Connected by then, as ours are.
    let connected = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = 'peer' AND pid <> pg_backend_pid()";
    wait_for(
        &mut sql,
        connected,
        i64::try_from(workers)?,
        Duration::from_millis(20),
    )?;
    let began = Timestamp::now();
    for process in &mut processes {
        process.go()?;
    }
    let left = "SELECT count(*) FROM (SELECT 1 FROM underway.task
        WHERE state IN ('pending', 'in_progress') LIMIT 1) AS left_over";
    wait_for(&mut sql, left, 0, Duration::from_millis(100))?;
    for process in processes {
        process.kill()?;
    }
    let last = sql.number(
        "SELECT (extract(epoch FROM max(completed_at)) * 1000)::bigint FROM underway.task
         WHERE state = 'succeeded'",
    )?;
    let done = sql.number("SELECT count(*) FROM underway.task WHERE state = 'succeeded'")?;
    let steps = verbs::steps(Verb::Provision).len() * settings.operations;
    if usize::try_from(done)? != steps {
        bail!("the peer did {done} of {steps} steps");
    }
    Ok(Ran {
        seconds: float(last - began.as_millisecond()) / 1000.0,
        took_ms: Vec::new(),
        shares: Vec::new(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn float(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn of_count(number: usize) -> f64 {
    number as f64
}

/// The smallest value that this share of them does not exceed.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let rank = (of_count(sorted.len()) * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// Ratio of two kinds of runs, each pair taken in the same round.
fn ratio(ours: &[Ran], theirs: &[Ran]) -> f64 {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| theirs.seconds / ours.seconds)
        .collect();
    quantile(&ratios, 0.5)
}

fn table(settings: &Settings, sides: &[(&str, Side)], ran: &BTreeMap<&str, Vec<Ran>>) -> Value {
    let steps = verbs::steps(Verb::Provision).len();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{} operations of {steps} steps that do nothing, {} slots a worker, median of {} rounds, {cores} cores",
        settings.operations, settings.slots, settings.rounds
    );
    println!(
        "stored before: some {}, many {}",
        settings.some, settings.many
    );
    println!(
        "\n{:<24} {:>12} {:>9} {:>9} {:>9}  operations a worker",
        "", "operations/s", "steps/s", "p50 ms", "p95 ms"
    );
    let mut numbers = json!({
        "operations": settings.operations,
        "steps": steps,
        "slots": settings.slots,
        "rounds": settings.rounds,
        "cores": cores,
        "some": settings.some,
        "many": settings.many,
        "sides": {},
    });
    for (name, _) in sides {
        let runs = ran.get(name).map(Vec::as_slice).unwrap_or_default();
        let over = |value: &dyn Fn(&Ran) -> f64| {
            let values: Vec<f64> = runs.iter().map(value).collect();
            quantile(&values, 0.5)
        };
        let rate = over(&|run| of_count(settings.operations) / run.seconds);
        let p50 = over(&|run| quantile(&run.took_ms, 0.5));
        let p95 = over(&|run| quantile(&run.took_ms, 0.95));
        let shares = runs
            .last()
            .map(|run| run.shares.clone())
            .unwrap_or_default();
        let shown = |value: f64| match value {
            0.0 => "-".to_owned(),
            value => format!("{value:.0}"),
        };
        let shares_shown: Vec<String> = shares.iter().map(ToString::to_string).collect();
        println!(
            "{name:<24} {rate:>12.1} {:>9.0} {:>9} {:>9}  {}",
            rate * of_count(steps),
            shown(p50),
            shown(p95),
            shares_shown.join(" "),
        );
        numbers["sides"][name] = json!({
            "operations_per_second": rate,
            "steps_per_second": rate * of_count(steps),
            "p50_ms": p50,
            "p95_ms": p95,
            "shares": shares,
            "seconds": runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
        });
    }
    println!("\nRatios, each of two runs in the same round, and their median:");
    for (what, ours, theirs) in [
        (
            "ours / peer, 1 worker",
            "PostgreSQL, 1 worker",
            "underway, 1 worker",
        ),
        (
            "ours / peer, 3 workers",
            "PostgreSQL, 3 workers",
            "underway, 3 workers",
        ),
        (
            "SQLite, cost with some / none",
            "SQLite, 1 worker",
            "SQLite, some stored",
        ),
        (
            "SQLite, cost with many / none",
            "SQLite, 1 worker",
            "SQLite, many stored",
        ),
        (
            "PostgreSQL, cost with some / none",
            "PostgreSQL, 1 worker",
            "PostgreSQL, some stored",
        ),
        (
            "PostgreSQL, cost with many / none",
            "PostgreSQL, 1 worker",
            "PostgreSQL, many stored",
        ),
    ] {
        if let (Some(ours), Some(theirs)) = (ran.get(ours), ran.get(theirs)) {
            let ratio = ratio(ours, theirs);
            println!("  {what:<34} {ratio:.2}");
            numbers["ratios"][what] = json!(ratio);
        }
    }
    println!(
        "
Ours: that a step is begun and what came of it are durable before the next step that needs it, each with an event;
      writes carry the fence of a lease that expires and is extended; independent steps run side by side.
underway: one step after the other; that a step is taken is durable, then its end together with the next step's
      input; heart beats instead of leases, no fence, no events; rows that are done stay for 14 days."
    );
    numbers
}

/// How long it took until another worker had what a killed one had.
struct Recovery {
    operations: usize,
    first: Duration,
    last: Duration,
}

fn killed(site: &Site, settings: &Settings) -> anyhow::Result<Recovery> {
    let lease = Duration::from_millis(settings.lease_ms);
    let slow = How {
        slots: settings.slots,
        lease,
        build: Duration::from_secs(45),
    };
    let quick = How {
        build: Duration::ZERO,
        ..slow
    };
    let mut sql = site.sql()?;
    work::hand_in(site, settings.slots)?;
    let before = sql.number("SELECT coalesce(max(sequence), 0) FROM event")?;
    let mut doomed = Process::worker(site, "doomed", &slow)?;
    let mut heir = Process::worker(site, "heir", &quick)?;
    doomed.go()?;
    // All its operations wait for their builds, and it has extended its leases once or twice.
    let waiting = format!(
        "SELECT count(*) FROM event WHERE sequence > {before} AND kind = 'step.succeeded'
         AND step = 'obtain-certificate'"
    );
    let all = i64::try_from(settings.slots)?;
    wait_for(&mut sql, &waiting, all, Duration::from_millis(50))?;
    pause(lease / 2);
    doomed.kill()?;
    let at = Timestamp::now().as_millisecond();
    heir.go()?;
    let left = "SELECT count(*) FROM operation WHERE due_at IS NOT NULL";
    wait_for(&mut sql, left, 0, Duration::from_millis(50))?;
    heir.end()?;
    let taken = |which: &str| {
        format!(
            "SELECT {which}(at) FROM event WHERE sequence > {before} AND kind = 'operation.running'
             AND detail LIKE '%heir%'"
        )
    };
    let after = |moment: i64| Duration::from_millis(u64::try_from(moment - at).unwrap_or_default());
    Ok(Recovery {
        operations: settings.slots,
        first: after(sql.number(&taken("min"))?),
        last: after(sql.number(&taken("max"))?),
    })
}

/// Prints how both databases go about what is asked of them often, and counts what must not be.
fn explain(cluster: &Cluster, stores: &Stores, how: &How) -> anyhow::Result<usize> {
    let Some(site) = stores.get(&(Kind::Postgres, "many")) else {
        println!(
            "\nThe statements whose plans are looked at are PostgreSQL's: see the run without `--only`."
        );
        return Ok(0);
    };
    let database = "store_many";
    let mut server = Sql::Postgres(cluster.connect("postgres")?);
    work::set_up_endpoint(site)?;
    for statement in plans::WRITE_DOWN.split(';') {
        server.run(&statement.replace("{database}", database))?;
    }
    // More than five times, after which PostgreSQL may settle on one plan for all values.
    let operations = 12;
    run_ours(site, operations, 1, how)?;
    let run = plans::count_in_log(&cluster.log()?);
    println!(
        "\n{:.0} statements an operation on PostgreSQL, with its claim and an endpoint that is told",
        of_count(run) / of_count(operations)
    );
    work::exercise(site)?;
    server.run(&plans::WRITE_NO_MORE.replace("{database}", database))?;
    let on_postgres: Vec<Plan> = plans::in_log(&cluster.log()?)
        .into_iter()
        .filter(|plan| {
            !plan
                .statement
                .contains("count(*) FROM operation WHERE due_at IS NOT NULL")
        })
        .collect();
    if on_postgres.is_empty() {
        bail!("the server has written no plan down");
    }
    let on_sqlite = match stores.get(&(Kind::Sqlite, "many")) {
        Some(site) => plans::of_sqlite(&mut site.sql()?, &on_postgres),
        None => Vec::new(),
    };
    let mut faults = 0;
    for (database, found) in [("PostgreSQL", &on_postgres), ("SQLite", &on_sqlite)] {
        println!(
            "\nPlans of {database} with many presences stored, {}:",
            found.len()
        );
        for plan in found {
            let mark = if plan.reads_all { "!!" } else { "  " };
            let statement: String = plan.statement.chars().take(100).collect();
            println!("{mark} {statement}\n       {}", plan.ways.join(", "));
            faults += usize::from(plan.reads_all);
        }
    }
    println!("\n{faults} plans read a growing table from end to end");
    Ok(faults)
}
