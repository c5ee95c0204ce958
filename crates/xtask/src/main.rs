//! The workspace's own tools: `cargo xtask ci` is all that CI checks, in one order.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

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

#[derive(Debug, Clone, Copy, Subcommand)]
enum Task {
    /// Runs all checks: format, lints, builds, tests
    Ci,
    /// Builds the static render binary that becomes the build image
    Image,
}

/// A step of CI: what it is called and what is run.
type Step = (&'static str, &'static [&'static str]);

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
    (
        "program",
        &["cargo", "build", "--locked", "--package", "hiendien"],
    ),
    IMAGE,
    (
        "tests",
        &["cargo", "nextest", "run", "--locked", "--workspace"],
    ),
];

fn run(steps: &[Step]) -> anyhow::Result<()> {
    for (name, command) in steps {
        let began = Instant::now();
        println!("== {name}: {}", command.join(" "));
        let status = Command::new(command[0])
            .args(&command[1..])
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
    let steps = match Arguments::parse().command {
        Task::Ci => CI,
        Task::Image => &[IMAGE],
    };
    match run(steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
