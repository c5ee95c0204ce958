//! A whole stack of real servers for one test, by the same script that people use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::net;

/// A running stack; taken down and erased when dropped.
#[derive(Debug)]
pub struct Lab {
    state: PathBuf,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the test package lies in the workspace")
}

/// Directory with what `cargo build` made: beside the running test binary.
pub fn built(profile: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test
        .ancestors()
        .nth(3)
        .expect("a test binary lies in TARGET/PROFILE/deps")
        .to_owned();
    let path = target.join(profile).join(name);
    assert!(
        path.exists(),
        "`{}` is missing: run `cargo xtask ci`, which builds it",
        path.display()
    );
    path
}

impl Lab {
    /// Starts Pebble, the container engine, the mail node and `hiendien serve` on this test's addresses.
    pub fn start() -> Self {
        let state = PathBuf::from(format!("/var/tmp/hiendien-test-{}", net::slot()));
        let lab = Self { state };
        lab.run(&["down"], &["--purge"]);
        lab.run(&["up"], &[]);
        lab.run(&["config"], &[]);
        lab.serve();
        lab
    }

    /// Starts `hiendien serve`, or does nothing while it runs.
    pub fn serve(&self) {
        let program = built("debug", "hiendien");
        self.run(&["serve"], &[&program.to_string_lossy()]);
    }

    /// Kills `hiendien serve` without warning.
    pub fn kill(&self) {
        let pid =
            std::fs::read_to_string(self.state.join("run/hiendien.pid")).expect("hiendien runs");
        let killed = Command::new("kill")
            .args(["-9", pid.trim()])
            .status()
            .expect("kill runs");
        assert!(killed.success());
    }

    fn run(&self, before: &[&str], after: &[&str]) {
        let net = format!("127.77.{}", net::slot());
        let log = std::fs::File::create(format!("{}.log", self.state.display()))
            .expect("a log can be made");
        let errors = log.try_clone().expect("a log can be shared");
        let target = built("debug", "hiendien");
        let status = Command::new(root().join("deploy/lab"))
            .args(before)
            .arg(&self.state)
            .arg(&net)
            .args(after)
            .env(
                "CARGO_TARGET_DIR",
                target.ancestors().nth(2).expect("TARGET/debug/hiendien"),
            )
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .expect("deploy/lab runs");
        let log =
            std::fs::read_to_string(format!("{}.log", self.state.display())).unwrap_or_default();
        assert!(status.success(), "deploy/lab {before:?} failed:\n{log}");
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The command line of this stack.
    pub fn hiendien(&self) -> Command {
        let mut command = Command::new(built("debug", "hiendien"));
        command
            .arg("--config")
            .arg(self.state.join("hiendien.toml"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Whatever came of the test, the addresses must be free for the next; the state of one that
        // failed stays for a look.
        let net = format!("127.77.{}", net::slot());
        let mut down = Command::new(root().join("deploy/lab"));
        down.arg("down").arg(&self.state).arg(net);
        if !std::thread::panicking() {
            down.arg("--purge");
        }
        let _ = down
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A sample claim's path.
pub fn sample(name: &str) -> PathBuf {
    root().join("tests/claims/good").join(name)
}
