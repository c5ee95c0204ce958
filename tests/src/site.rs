//! What building sites needs: the container engine, the static render binary, the templates.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hiendien_container::BuilderSettings;

use crate::lab::root;

pub fn templates() -> PathBuf {
    root().join("site-templates")
}

/// Socket of a container engine that answers, started where none does. It goes on running;
/// `deploy/lab docker release tests` stops it.
pub fn engine_socket() -> PathBuf {
    let lab = root().join("deploy/lab");
    let output = Command::new(lab)
        .args(["docker", "tests"])
        .output()
        .unwrap();
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no container engine: {fault}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The render binary, static, from the sources as they are.
pub fn render_binary() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "-p", "hiendien-render", "--bin", "hiendien-render"])
        .args([
            "--message-format",
            "json",
            "--",
            "-C",
            "target-feature=+crt-static",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cannot build the render binary: {fault}"
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.expect("cargo names the executable it made")
}

/// Settings of a builder whose containers are `owner`'s.
pub fn builder_settings(owner: &str, render_binary: PathBuf) -> BuilderSettings {
    BuilderSettings {
        socket: engine_socket(),
        render_binary,
        templates: templates(),
        owner: owner.to_owned(),
        warm: 2,
        concurrency_max: 4,
        timeout: Duration::from_secs(10),
    }
}
