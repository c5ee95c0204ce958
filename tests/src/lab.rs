//! A whole stack of real servers for one test, by the same script that people use.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::net;
use crate::wait::wait_for;

/// A running stack; taken down and erased when dropped.
#[derive(Debug)]
pub struct Lab {
    state: PathBuf,
}

/// A `hiendien work` of its own; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    process: std::process::Child,
}

impl Worker {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "the worker is gone");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The checkout whose tests run, which need not be the one they were built in: two may share a
/// target directory. Tests are run in their package's directory.
pub fn root() -> PathBuf {
    let package = std::env::current_dir().expect("a test has a directory");
    let root = package.parent();
    root.expect("the test package lies in the workspace")
        .to_owned()
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
        Self::start_with(|config, _| config)
    }

    /// Like [`Lab::start`], with the service's configuration changed; the state directory is told.
    pub fn start_with(change: impl FnOnce(String, &Path) -> String) -> Self {
        let lab = Self::up_with(&[], change);
        lab.serve();
        lab
    }

    /// A stack whose store is on a PostgreSQL of its own, and whose `hiendien serve` leaves the
    /// operations to [`Lab::worker`]s.
    pub fn start_on_postgres(change: impl FnOnce(String, &Path) -> String) -> Self {
        let lab = Self::up_with(&["postgres"], |config, state| {
            change(config.replace("[worker]\n", "[worker]\nslots = 0\n"), state)
        });
        lab.serve();
        lab
    }

    fn up_with(parts: &[&str], change: impl FnOnce(String, &Path) -> String) -> Self {
        let state = PathBuf::from(format!("/var/tmp/hiendien-test-{}", net::slot()));
        let lab = Self { state };
        lab.run(&["down"], &["--purge"]);
        lab.run(&["up"], &[]);
        if !parts.is_empty() {
            lab.run(&["up"], parts);
        }
        lab.run(&["config"], &[]);
        let path = lab.state.join("hiendien.toml");
        let config = std::fs::read_to_string(&path).expect("deploy/lab has written it");
        std::fs::write(&path, change(config, &lab.state))
            .expect("the configuration can be changed");
        lab
    }

    /// Starts `hiendien work`; its log is `log/<name>.log`.
    pub fn worker(&self, name: &str, slots: usize) -> Worker {
        let log = std::fs::File::create(self.state.join(format!("log/{name}.log")))
            .expect("a log can be made");
        let process = self
            .hiendien()
            .args(["work", "--slots", &slots.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        Worker { process }
    }

    /// Starts one of the stack's servers again.
    pub fn up(&self, part: &str) {
        self.run(&["up"], &[part]);
    }

    /// Starts `hiendien serve`, or does nothing while it runs.
    pub fn serve(&self) {
        let program = built("debug", "hiendien");
        self.run(&["serve"], &[&program.to_string_lossy()]);
    }

    /// Kills `hiendien serve`, or another server of the stack, without warning.
    pub fn kill(&self, server: &str) {
        self.end(server, "-KILL");
    }

    /// Asks a server of the stack to end, and waits until it has.
    pub fn stop(&self, server: &str) {
        self.end(server, "-TERM");
    }

    fn end(&self, server: &str, signal: &str) {
        let pid = std::fs::read_to_string(self.state.join(format!("run/{server}.pid")))
            .unwrap_or_else(|error| panic!("{server} does not run: {error}"));
        let killed = Command::new("kill")
            .args([signal, pid.trim()])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        // Its addresses are free once it is gone.
        let gone = Command::new("timeout")
            .args(["15", "tail", "-f", "/dev/null"])
            .arg(format!("--pid={}", pid.trim()))
            .status()
            .expect("tail runs");
        assert!(gone.success(), "{server} does not end");
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

    /// Asks the command line; whether it succeeded, and what it printed.
    pub fn asks(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.hiendien().args(arguments).output();
        let output = output.expect("the program runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Gets a page as a visitor does: by the edge's address, its certificate verified against the CA's roots.
    pub fn page(&self, name: &str, path: &str) -> String {
        output(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--max-time", "10"])
                .args(["--resolve", &format!("{name}:443:{}", net::address(80))])
                .arg("--cacert")
                .arg(self.state.join("pebble/roots.pem"))
                .arg(format!("https://{name}{path}")),
        )
    }

    /// Signs in over IMAP; whether the server lets it.
    pub fn signs_in(&self, user: &str, password: &str) -> bool {
        let script = "import imaplib,ssl,sys\n\
            c=ssl.create_default_context();c.check_hostname=False;c.verify_mode=ssl.CERT_NONE\n\
            m=imaplib.IMAP4_SSL(sys.argv[1],993,ssl_context=c)\n\
            try:\n\x20 m.login(sys.argv[2],sys.stdin.read());print('in')\n\
            except imaplib.IMAP4.error:print('refused')\n";
        let mut python = Command::new("python3")
            .args(["-c", script, &net::address(25).to_string(), user])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut stdin = python.stdin.take().expect("its input is piped");
        let written = stdin.write_all(password.as_bytes());
        drop(stdin);
        written.expect("it reads the password");
        let told = python.wait_with_output().expect("python3 ends");
        let errors = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "{errors}");
        String::from_utf8_lossy(&told.stdout).contains("in\n")
    }

    /// A client of the API, as its operator.
    pub fn api(&self) -> Api {
        self.api_at(&self.state)
    }

    /// The same where the service keeps its state in another directory.
    pub fn api_at(&self, state: &Path) -> Api {
        // The second of two finds the first one's provider there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = std::fs::read_to_string(state.join("secrets/operator-key"));
        Api {
            base: format!("http://{}:8080", net::address(8)),
            key: key.expect("the service has made its key").trim().to_owned(),
            http: reqwest::Client::builder()
                .no_proxy()
                // A connection that was kept may be one to a service that was killed since.
                .pool_max_idle_per_host(0)
                .timeout(Duration::from_secs(30))
                .build()
                .expect("a client can be made"),
        }
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

impl Lab {
    /// The command line of someone who has a key and the API's address, and no configuration.
    pub fn hiendien_elsewhere(&self) -> Command {
        let mut command = Command::new(built("debug", "hiendien"));
        command
            .args(["--api", &format!("http://{}:8080", net::address(8))])
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

/// The API as a caller with one key sees it.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    pub key: String,
    http: reqwest::Client,
}

/// Status, headers, and the body as JSON where it is.
pub type Answer = (u16, HeaderMap, Value);

impl Api {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key)
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("the API answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("the answer is whole");
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        let value = serde_json::from_slice(&body).unwrap_or_else(|_| text());
        (status, headers, value)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn submit(&self, claim: impl Into<Vec<u8>>, idempotency_key: &str) -> Answer {
        let request = self
            .request(Method::POST, "/v1/claims")
            .header("idempotency-key", idempotency_key)
            .body(claim.into());
        self.send(request).await
    }

    /// Opens the stream of events at a path, and gives what it says until it has said `words`.
    pub async fn stream(
        &self,
        path: &str,
        words: &str,
    ) -> (String, impl Stream<Item = reqwest::Result<Bytes>>) {
        let request = self
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        let mut stream = request
            .send()
            .await
            .expect("the API answers")
            .bytes_stream();
        let mut text = String::new();
        while !text.contains(words) {
            let next = tokio::time::timeout(Duration::from_mins(1), stream.next()).await;
            let next = next.unwrap_or_else(|_| panic!("`{words}` never came:\n{text}"));
            let chunk = next
                .expect("the stream goes on")
                .expect("the stream is whole");
            text += &String::from_utf8_lossy(&chunk);
        }
        (text, stream)
    }

    /// Waits until the presence of this name is live.
    pub async fn live(&self, name: &str, limit: Duration) -> Value {
        self.comes_to(name, "live", limit).await
    }

    /// Waits until the presence of this name is in a state.
    pub async fn comes_to(&self, name: &str, state: &str, limit: Duration) -> Value {
        wait_for(&format!("`{name}` to be {state}"), limit, async || {
            let (_, _, presence) = self.get(&format!("/v1/presences/{name}")).await;
            if presence["state"] == state {
                Ok(presence)
            } else {
                Err(format!("{}: {:#}", presence["state"], presence["planes"]))
            }
        })
        .await
    }

    /// Waits until a step of the presence's operation has failed with these words.
    pub async fn fails(&self, name: &str, step: &str, words: &[&str]) {
        let what = format!("`{step}` of `{name}` to fail with {words:?}");
        wait_for(&what, Duration::from_secs(45), async || {
            let (_, _, presence) = self.get(&format!("/v1/presences/{name}")).await;
            let operation = presence["operation"].as_str().unwrap_or_default();
            let (_, _, operation) = self.get(&format!("/v1/operations/{operation}")).await;
            let steps = operation["steps"].as_array().cloned().unwrap_or_default();
            let error = steps
                .iter()
                .find(|found| found["name"] == step)
                .and_then(|found| found["error"].as_str())
                .unwrap_or_default();
            if words.iter().all(|words| error.contains(words)) {
                Ok(())
            } else {
                Err(error.to_owned())
            }
        })
        .await;
    }
}

/// A sample claim made another's: its own reference, name and subject.
pub fn variant(file: &str, number: usize) -> Value {
    let bytes = std::fs::read(sample(file)).expect("the sample is there");
    let mut claim: Value = serde_json::from_slice(&bytes).expect("the sample is JSON");
    let suffix = if claim["programme"] == "biz" {
        "biz.vn"
    } else {
        "id.vn"
    };
    claim["reference"] = format!("MAU-BAN-{number}").into();
    claim["domain"] = format!("mau-so-{number}.{suffix}").into();
    claim["contact"]["email"] = format!("mau-so-{number}@outside.test").into();
    if suffix == "biz.vn" {
        // A household's old number with a false check digit is warned of, not refused.
        claim["business"]["tax_id"] = format!("1{:09}", 100 + number).into();
    } else {
        claim["person"]["personal_id_hash"] = format!("{number:064x}").into();
    }
    claim
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
