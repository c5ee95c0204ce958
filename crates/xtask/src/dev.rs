//! The stack a person works with: the servers of `deploy/lab`, and the service in the foreground.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::os::unix::process::CommandExt;

use anyhow::Context;

use crate::stack::Stack;

fn stack() -> Stack {
    Stack::new("/var/tmp/hiendien-dev", "127.82.0")
}

/// Starts what does not run yet, then serves until Ctrl-C. The servers and their state stay for the next time.
pub(crate) fn up() -> anyhow::Result<()> {
    let stack = stack();
    stack.lab("up", &[])?;
    stack.lab("config", &[])?;
    let mut hiendien = stack.hiendien("debug")?;
    println!(
        "\nIn another terminal, for example:\n  {} --config {}/hiendien.toml claim submit tests/claims/good/*.json --wait\n\
         Ctrl-C ends the service; `cargo xtask dev --down` ends the servers too.\n",
        hiendien.get_program().to_string_lossy(),
        stack.state.display(),
    );
    // Marked as every server of a stack is, so that taking the stack down ends it too.
    let ended = hiendien
        .arg("serve")
        .env("HIENDIEN_STACK", &stack.state)
        .exec();
    Err(ended).context("cannot run the service")
}

/// Stops the servers and erases their state.
pub(crate) fn down() -> anyhow::Result<()> {
    stack().lab("down", &["--purge"])
}
