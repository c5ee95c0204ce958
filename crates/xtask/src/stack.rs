//! A stack of real servers, by the same script that people and tests use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Where a stack keeps its state, and its loopback network as three octets.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) state: PathBuf,
    pub(crate) net: String,
}

impl Stack {
    pub(crate) fn new(state: &str, net: &str) -> Self {
        Self {
            state: PathBuf::from(state),
            net: net.to_owned(),
        }
    }

    /// Runs a verb of `deploy/lab` to its end.
    pub(crate) fn lab(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<()> {
        run(self.lab_command(verb, arguments)?.stdin(Stdio::null()))
    }

    /// A verb of `deploy/lab`, to be run.
    pub(crate) fn lab_command(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new("deploy/lab");
        command
            .arg(verb)
            .arg(&self.state)
            .arg(&self.net)
            .args(arguments)
            .env("CARGO_TARGET_DIR", target_directory()?);
        Ok(command)
    }

    /// The command line of the stack's service, as `profile` built it.
    pub(crate) fn hiendien(&self, profile: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(profile)?);
        command
            .arg("--config")
            .arg(self.state.join("hiendien.toml"))
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// `hiendien` as a profile built it.
pub(crate) fn program(profile: &str) -> anyhow::Result<PathBuf> {
    built(profile, "hiendien")
}

/// A program as a profile built it: beside this one.
pub(crate) fn built(profile: &str, name: &str) -> anyhow::Result<PathBuf> {
    let program = target_directory()?.join(profile).join(name);
    if !program.exists() {
        bail!("`{}` is not built", program.display());
    }
    Ok(program)
}

/// This program lies in TARGET/PROFILE.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("a program knows its own path")?;
    let target = own.ancestors().nth(2).map(Path::to_owned);
    target.context("this program does not lie in a target directory")
}

/// Runs a command to its end; what it says goes to the terminal.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed; a failure carries what it said.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}\n{text}{said}", output.status);
    }
    Ok(text)
}
