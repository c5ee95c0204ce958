//! What the engine alone costs, and what it achieves with real servers on both stores. The measuring program is a crate of its own, since this one has none of ours; the
//! peer is one outside the workspace, so that what it depends on is nothing of ours.

use std::process::Command;

use crate::stack::{built, run};

const PEER: &str = "crates/xtask/src/bench/peer-queue";

/// How the benchmark is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Measure only this engine
    #[arg(long)]
    without_peer: bool,
    /// Claims each way that are provisioned at the real servers too, on each store; 0 leaves them out
    #[arg(long, default_value_t = 20)]
    pub(crate) claims: usize,
    /// What else the measuring program is told; `-- --help` lists it
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run_bench(settings: &Settings) -> anyhow::Result<()> {
    let mut bench = Command::new(built("release", "bench-engine")?);
    bench.arg("run");
    if !settings.without_peer {
        let target = crate::stack::target_directory()?.join("peer-queue");
        let mut build = Command::new("cargo");
        build
            .args(["build", "--locked", "--release", "--manifest-path"])
            .arg(format!("{PEER}/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target);
        run(crate::outside_cargo(&mut build))?;
        bench.arg("--peer").arg(target.join("release/peer-queue"));
    }
    run(bench.args(&settings.arguments))?;
    if settings.claims > 0 {
        super::provision::on_both_stores(settings.claims)?;
    }
    Ok(())
}
