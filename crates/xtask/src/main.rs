//! The workspace's own tools: `cargo xtask ci` is all that CI checks, in one order.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

mod bench;
mod chaos;
mod dev;
mod judge;
mod site;
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
    /// Builds the static render binary and packs it into the build image, for `docker load` and `podman load`
    Image,
    /// Starts a stack for a person who works on the code, and serves; Ctrl-C stops the service
    Dev {
        /// Stop the stack and erase its state
        #[arg(long)]
        down: bool,
    },
    /// Writes the rendered site of a template into a folder, for a look at it with any web server
    Site(site::Settings),
    /// Tries a whole stack under load and faults, then looks for what was lost, doubled or left over
    Chaos(chaos::Settings),
    /// Judges every page of every template in Chromium
    Judge(judge::Settings),
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
    /// Sites a second, beside Hugo on the same content
    Sites(bench::sites::Settings),
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

/// Quick where they are there already.
const FONTS: Step = ("fonts of the sites", &["deploy/fonts/make"]);

const SITE_LAB: Step = (
    "site lab",
    &["cargo", "build", "--locked", "--package", "site-lab"],
);

const XTASK_RELEASE: Step = (
    "this program, optimised",
    &[
        "cargo",
        "build",
        "--locked",
        "--release",
        "--package",
        "xtask",
    ],
);

const OVERHEAD: Step = (
    "what measures containers",
    &[
        "cargo",
        "build",
        "--locked",
        "--release",
        "--package",
        "hiendien-container",
        "--example",
        "overhead",
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
            "deploy/fonts/make",
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
    FONTS,
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

/// Beside the binary, by the program that would make the same image where an engine has none.
fn pack_image() -> anyhow::Result<()> {
    let render_binary = stack::built("release", "hiendien-render")?;
    let mut pack = Command::new(stack::program("debug")?);
    pack.arg("builder-image")
        .arg("--output")
        .arg(render_binary.with_extension("tar"))
        .arg("--render-binary")
        .arg(&render_binary);
    stack::run(&mut pack)
}

/// The renderer is part of this program, so this program itself must be optimised.
fn sites(settings: &bench::sites::Settings) -> anyhow::Result<()> {
    if !cfg!(debug_assertions) {
        return bench::sites::run_bench(settings);
    }
    run(&[FONTS, XTASK_RELEASE])?;
    if !settings.without_container {
        run(&[FONTS, OVERHEAD, IMAGE])?;
    }
    stack::run(Command::new(stack::built("release", "xtask")?).args(std::env::args_os().skip(1)))
}

#[expect(clippy::print_stderr, reason = "a tool for a terminal")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Ci => run(CI),
        Task::Image => run(&[PROGRAM, IMAGE]).and_then(|()| pack_image()),
        Task::Dev { down: true } => dev::down(),
        Task::Dev { down: false } => run(&[FONTS, PROGRAM, IMAGE]).and_then(|()| dev::up()),
        Task::Site(settings) => {
            run(&[FONTS, SITE_LAB, IMAGE]).and_then(|()| site::write(&settings))
        }
        Task::Chaos(settings) => {
            run(&[FONTS, PROGRAM, IMAGE]).and_then(|()| chaos::run_chaos(&settings))
        }
        Task::Judge(settings) => {
            run(&[FONTS, SITE_LAB, IMAGE]).and_then(|()| judge::run_judge(&settings))
        }
        Task::Bench(Bench::Provision(settings)) => {
            run(&[FONTS, RELEASE, IMAGE]).and_then(|()| bench::provision::run_bench(&settings))
        }
        Task::Bench(Bench::Engine(settings)) => {
            let needed: &[Step] = match settings.claims {
                0 => &[BENCH_ENGINE],
                _ => &[BENCH_ENGINE, FONTS, RELEASE, IMAGE],
            };
            run(needed).and_then(|()| bench::engine::run_bench(&settings))
        }
        Task::Bench(Bench::Sites(settings)) => sites(&settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
