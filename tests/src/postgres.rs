//! A PostgreSQL of this test's own (Debian package `postgresql`), with a new database in it.

#![expect(
    clippy::unwrap_used,
    reason = "a test bed that cannot be set up fails the test"
)]

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hiendien_store::PostgresSettings;
use rcgen::{CertificateParams, KeyPair};

use crate::net::{address, slot};

/// The last octet of the address it listens on.
const HOST: u8 = 43;
const PORT: u16 = 5432;
/// Where the cluster is, and where one recovered from a base backup is.
const DATA: &str = "data";
const RECOVERED: &str = "recovered";
const BASE: &str = "base";
const ARCHIVE: &str = "archive";
const PASSWORD: &str = "chỉ để thử";

/// A running cluster. It listens on a socket without a password, and on the test's address with
/// one, with TLS for who wants it. It is stopped on `Drop`; what a killed test left is cleared up at
/// the next start.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    server: Option<Child>,
    /// Settings beside those every cluster has.
    settings: Vec<String>,
    /// Name of the directory that the server runs on.
    data: &'static str,
    /// One test at a time in this slot, should the tests not run under nextest.
    _turn: File,
}

/// Where the newest of Debian's PostgreSQL has its programs.
fn programs() -> PathBuf {
    let missing = "no PostgreSQL here: `apt-get install postgresql`";
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let newest = fs::read_dir("/usr/lib/postgresql")
        .expect(missing)
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path));
    newest.expect(missing).join("bin")
}

/// PostgreSQL does not run as root; Debian has a user for it.
fn account() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let id = |kind: &str| -> u32 {
        let output = Command::new("id")
            .args([kind, "postgres"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim()
            .parse()
            .expect("no user `postgres`: `apt-get install postgresql`")
    };
    Some((id("-u"), id("-g")))
}

/// A command that runs as PostgreSQL's own user, and is told to stop when this thread ends.
fn command(program: &Path) -> Command {
    let Some((user, group)) = account() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user.to_string(), "--regid", &group.to_string()])
        .args(["--clear-groups", "--pdeathsig", "QUIT", "--"])
        .arg(program)
        .current_dir("/");
    command
}

fn succeeded(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Postgres {
    /// Starts a cluster with an empty database `store`.
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// Starts one that archives its log, so that it can be brought back to a moment.
    pub fn start_archiving() -> Self {
        let archive = PathBuf::from(format!("/var/tmp/hiendien-postgres-{}", slot())).join(ARCHIVE);
        // As docs/operating.md has it.
        let command = format!(
            "archive_command=d={}; test ! -f $d/%f && cp %p $d/.%f && sync $d/.%f && mv $d/.%f $d/%f",
            archive.display()
        );
        Self::start_with(vec!["archive_mode=on".to_owned(), command])
    }

    fn start_with(settings: Vec<String>) -> Self {
        let folder = PathBuf::from(format!("/var/tmp/hiendien-postgres-{}", slot()));
        let turn = File::create(folder.with_extension("lock")).unwrap();
        turn.lock().unwrap();
        clear(&folder);
        fs::create_dir(&folder).unwrap();
        let own = |path: &Path, mode: u32| {
            if let Some((user, group)) = account() {
                chown(path, Some(user), Some(group)).unwrap();
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        own(&folder, 0o755);
        fs::create_dir(folder.join(ARCHIVE)).unwrap();
        own(&folder.join(ARCHIVE), 0o700);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([address(HOST).to_string()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        for (name, text) in [
            ("password", PASSWORD.to_owned()),
            ("key.pem", key.serialize_pem()),
            ("cert.pem", certificate.pem()),
        ] {
            fs::write(folder.join(name), text).unwrap();
            own(&folder.join(name), 0o600);
        }
        let made = command(&programs().join("initdb"))
            .args(["--no-sync", "--username=postgres", "--encoding=UTF8"])
            .args([
                "--locale=C.UTF-8",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
            ])
            .arg("--pwfile")
            .arg(folder.join("password"))
            .arg("--pgdata")
            .arg(folder.join(DATA))
            .output()
            .unwrap();
        succeeded("initdb", &made);
        let mut postgres = Self {
            folder,
            server: None,
            settings,
            data: DATA,
            _turn: turn,
        };
        postgres.run();
        postgres.ask("postgres", "CREATE DATABASE store");
        postgres
    }

    /// Starts the server on the data that is there and waits until it answers.
    pub fn run(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = File::create(self.folder.join("log")).unwrap();
        let file = |name: &str| self.folder.join(name).display().to_string();
        // No test outlives a power cut, so there is no sense in waiting for the disk.
        let mut settings = vec![
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            format!("listen_addresses={}", address(HOST)),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", self.folder.display()),
            "shared_buffers=32MB".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("cert.pem")),
            format!("ssl_key_file={}", file("key.pem")),
        ];
        settings.extend(self.settings.iter().cloned());
        let server = command(&programs().join("postgres"))
            .arg("-D")
            .arg(self.folder.join(self.data))
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        let began = Instant::now();
        while !self.answers() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "PostgreSQL does not start; its log says: {log}"
            );
            pause();
        }
    }

    fn answers(&self) -> bool {
        UnixStream::connect(self.folder.join(format!(".s.PGSQL.{PORT}"))).is_ok()
            && TcpStream::connect((address(HOST), PORT)).is_ok()
            && self.psql("postgres", "SELECT 1").status.success()
    }

    /// Stops the server as a power cut does, as far as its clients can tell.
    pub fn cut(&mut self) {
        if let Some(mut server) = self.server.take() {
            let told = Command::new("kill")
                .args(["-QUIT", &server.id().to_string()])
                .status();
            if !told.is_ok_and(|status| status.success()) {
                server.kill().unwrap();
            }
            server.wait().unwrap();
        }
    }

    /// Takes a base backup while the server runs.
    pub fn back_up(&self) {
        let output = command(&programs().join("pg_basebackup"))
            .args([
                "--checkpoint=fast",
                "--wal-method=none",
                "-U",
                "postgres",
                "-h",
            ])
            .arg(&self.folder)
            .args(["-p", &PORT.to_string(), "-D"])
            .arg(self.folder.join(BASE))
            .output()
            .unwrap();
        succeeded("pg_basebackup", &output);
    }

    /// Waits until all that is written by now is in the archive.
    pub fn archive(&self) {
        let segment = self.ask("store", "SELECT pg_walfile_name(pg_current_wal_lsn())");
        self.ask("store", "SELECT pg_switch_wal()");
        let began = Instant::now();
        while !self.folder.join(ARCHIVE).join(&segment).exists() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "`{segment}` is not archived: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            pause();
        }
    }

    /// Ends the server and starts another one, on the base backup brought forward to this moment.
    pub fn recover(&mut self, moment: &str) {
        self.cut();
        let base = self.folder.join(BASE);
        fs::rename(base, self.folder.join(RECOVERED)).unwrap();
        let signal = self.folder.join(RECOVERED).join("recovery.signal");
        fs::write(&signal, "").unwrap();
        if let Some((user, group)) = account() {
            chown(&signal, Some(user), Some(group)).unwrap();
        }
        self.data = RECOVERED;
        let archive = self.folder.join(ARCHIVE);
        self.settings = vec![
            format!("restore_command=cp {}/%f %p", archive.display()),
            format!("recovery_target_time={moment}"),
            "recovery_target_action=promote".to_owned(),
        ];
        self.run();
        let began = Instant::now();
        while self.ask("postgres", "SELECT pg_is_in_recovery()") != "f" {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it stays in recovery"
            );
            pause();
        }
    }

    /// How to reach the database `store` by its socket.
    pub fn settings(&self) -> PostgresSettings {
        self.settings_of("store")
    }

    pub fn settings_of(&self, database: &str) -> PostgresSettings {
        PostgresSettings {
            url: format!(
                "host={} port={PORT} user=postgres dbname={database}",
                self.folder.display()
            ),
            password_file: None,
            tls_roots: None,
            pool_max: 8,
        }
    }

    /// How to reach it over the network, with password and TLS.
    pub fn settings_over_tls(&self) -> PostgresSettings {
        PostgresSettings {
            url: format!("postgres://postgres@{}:{PORT}/store", self.address()),
            password_file: Some(self.folder.join("password")),
            tls_roots: Some(self.folder.join("cert.pem")),
            pool_max: 2,
        }
    }

    pub fn address(&self) -> Ipv4Addr {
        address(HOST)
    }

    /// Puts a line-by-line session of `psql` on the database `store`.
    pub fn session(&self) -> Child {
        self.psql_command("store")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Asks the server itself; rows come a line each, their columns parted by `|`.
    pub fn ask(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        succeeded(sql, &output);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        self.psql_command(database)
            .args(["-c", sql])
            .output()
            .unwrap()
    }

    fn psql_command(&self, database: &str) -> Command {
        let mut psql = command(&programs().join("psql"));
        psql.args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
        ])
        .arg("-h")
        .arg(&self.folder)
        .args(["-p", &PORT.to_string(), "-d", database]);
        psql
    }

    /// The tables and indexes of a database, as the server tells them.
    pub fn schema(&self, database: &str) -> String {
        let output = command(&programs().join("pg_dump"))
            .args(["--schema-only", "--no-owner", "-U", "postgres", "-h"])
            .arg(&self.folder)
            .args(["-p", &PORT.to_string(), database])
            .output()
            .unwrap();
        succeeded("pg_dump", &output);
        let text = String::from_utf8(output.stdout).unwrap();
        // Newer ones guard their output with a word drawn by lot.
        let lines = text.lines().filter(|line| !line.starts_with('\\'));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.cut();
        // What cannot be cleared away now is cleared away at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Stops what an earlier test left running in `folder`, and removes it.
fn clear(folder: &Path) {
    let began = Instant::now();
    while let Some(server) = left_over(folder) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "process {server} of an earlier test does not end"
        );
        let _ = Command::new("kill")
            .args(["-QUIT", &server.to_string()])
            .status();
        pause();
    }
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
}

/// The server that runs on data in `folder`: the one its file names, if it is that one still.
fn left_over(folder: &Path) -> Option<u32> {
    [DATA, RECOVERED].iter().find_map(|data| {
        let data = folder.join(data);
        let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let process: u32 = file.lines().next()?.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
        command
            .contains(&data.display().to_string())
            .then_some(process)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at the same state, in code that is not async"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
