//! What building sites needs: the engines, the static render binary, the templates.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hiendien_container::{BuilderSettings, Engine};

use crate::lab::root;

pub fn templates() -> PathBuf {
    root().join("site-templates")
}

/// What sites are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEngine {
    Docker,
    Podman,
    Process,
}

impl BuildEngine {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Process => "process",
        }
    }

    /// Socket of a container engine that answers, started where none does. It goes on running;
    /// `deploy/lab docker release tests` and the same with `podman` stop it.
    pub fn socket(self) -> Option<PathBuf> {
        if self == Self::Process {
            return None;
        }
        let lab = root().join("deploy/lab");
        let output = Command::new(lab)
            .args([self.as_str(), "tests"])
            .output()
            .unwrap();
        let fault = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no {}: {fault}", self.as_str());
        Some(PathBuf::from(
            String::from_utf8(output.stdout).unwrap().trim(),
        ))
    }

    pub fn engine(self) -> Engine {
        match self.socket() {
            Some(socket) => Engine::Container {
                socket,
                files: PathBuf::from("/run/hiendien-lab/files"),
            },
            None => Engine::Process,
        }
    }
}

/// The render binary, static, from the sources as they are.
pub fn render_binary() -> PathBuf {
    static_program("--bin", "hiendien-render")
}

/// A program that does what its job tells it, and all of it is hostile.
pub fn hostile_renderer() -> PathBuf {
    static_program("--example", "hostile")
}

fn static_program(kind: &str, name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "-p", "hiendien-render", kind, name])
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
        "cannot build `{name}` as a static program: {fault}"
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.expect("cargo names the executable it made")
}

/// Settings of a builder whose rooms are `owner`'s.
pub fn builder_settings(
    engine: BuildEngine,
    owner: &str,
    render_binary: PathBuf,
) -> BuilderSettings {
    BuilderSettings {
        engine: engine.engine(),
        render_binary,
        templates: templates(),
        owner: owner.to_owned(),
        warm: 2,
        concurrency_max: 4,
        timeout: Duration::from_secs(10),
    }
}
