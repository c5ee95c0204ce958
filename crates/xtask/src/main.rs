//! The workspace's own tools: `cargo xtask ci` is all that CI checks, in one order.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod bench;
mod chaos;
mod dev;
mod stack;

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

/// Tools of the workspace
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Clone, Subcommand)]
enum Task {
    /// Runs all checks: format, lints, builds, tests
    Ci,
    /// Builds the static render binary that becomes the build image
    Image,
    /// Starts a stack for a person who works on the code, and serves; Ctrl-C stops the service
    Dev {
        /// Stop the stack and erase its state
        #[arg(long)]
        down: bool,
    },
    /// Tries a whole stack under load and faults, then looks for what was lost, doubled or left over
    Chaos(chaos::Settings),
    /// Measures, beside a peer in the same run
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Clone, Subcommand)]
enum Bench {
    /// Claim to live, beside a plain script of well-known tools
    Provision(bench::provision::Settings),
    /// Whole operations of steps that do nothing, beside a queue of durable step functions
    Engine(bench::engine::Settings),
}

/// A step: what it is called and what is run.
type Step = (&'static str, &'static [&'static str]);

const PROGRAM: Step = (
    "program",
    &["cargo", "build", "--locked", "--package", "hiendien"],
);

const RELEASE: Step = (
    "program",
    &[
        "cargo",
        "build",
        "--locked",
        "--release",
        "--package",
        "hiendien",
    ],
);

const BENCH_ENGINE: Step = (
    "program",
    &[
        "cargo",
        "build",
        "--locked",
        "--release",
        "--package",
        "bench-engine",
    ],
);

const IMAGE: Step = (
    "render binary",
    &[
        "cargo",
        "rustc",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        "hiendien-render",
        "--bin",
        "hiendien-render",
        "--",
        "-C",
        "target-feature=+crt-static",
    ],
);

const CI: &[Step] = &[
    // All that is locked, also for other systems: the check of licences reads it.
    ("crates", &["cargo", "fetch", "--locked"]),
    ("format", &["cargo", "fmt", "--all", "--check"]),
    (
        "lints",
        &[
            "cargo",
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("spelling", &["typos"]),
    ("TOML", &["taplo", "fmt", "--check"]),
    (
        "scripts",
        &[
            "shellcheck",
            "--external-sources",
            ".ci/run",
            "deploy/apt-quiet",
            "deploy/lab",
            "deploy/lib.sh",
            "deploy/mail/node",
            "deploy/quickstart",
            "deploy/test",
            "crates/xtask/src/bench/by-script",
        ],
    ),
    (
        "licences and sources",
        &[
            "cargo",
            "deny",
            "--offline",
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ],
    ),
    PROGRAM,
    IMAGE,
    (
        "tests",
        &["cargo", "nextest", "run", "--locked", "--workspace"],
    ),
];

/// Without what `cargo run` tells of this package: build scripts look at it, and would build their
/// crates anew each time a person and this program take turns.
fn outside_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

fn run(steps: &[Step]) -> anyhow::Result<()> {
    for (name, command) in steps {
        let began = Instant::now();
        println!("== {name}: {}", command.join(" "));
        let status = outside_cargo(Command::new(command[0]).args(&command[1..]))
            .status()
            .with_context(|| {
                format!(
                    "cannot run `{}`; deploy/test installs what is needed",
                    command[0]
                )
            })?;
        if !status.success() {
            bail!("{name} failed; repeat it with\n  {}", command.join(" "));
        }
        println!("== {name}: {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a tool for a terminal")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Ci => run(CI),
        Task::Image => run(&[IMAGE]),
        Task::Dev { down: true } => dev::down(),
        Task::Dev { down: false } => run(&[PROGRAM, IMAGE]).and_then(|()| dev::up()),
        Task::Chaos(settings) => run(&[PROGRAM, IMAGE]).and_then(|()| chaos::run_chaos(&settings)),
        Task::Bench(Bench::Provision(settings)) => {
            run(&[RELEASE, IMAGE]).and_then(|()| bench::provision::run_bench(&settings))
        }
        Task::Bench(Bench::Engine(settings)) => {
            run(&[BENCH_ENGINE]).and_then(|()| bench::engine::run_bench(&settings))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
