//! A PostgreSQL of this run's own, as durable as Debian's defaults make it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hiendien_store::PostgresSettings;
use postgres::{Client, NoTls};

const PORT: u16 = 5432;

/// A running cluster; it ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    server: Child,
}

/// Where the newest of Debian's PostgreSQL has its programs.
fn programs() -> anyhow::Result<PathBuf> {
    let missing = "no PostgreSQL here: `apt-get install postgresql`";
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let mut there = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").context(missing)? {
        there.push(entry?.path());
    }
    there.retain(|path| path.join("bin/initdb").exists());
    let newest = there.into_iter().max_by_key(|path| version(path));
    Ok(newest.context(missing)?.join("bin"))
}

/// PostgreSQL does not run as root; Debian has a user for it.
fn account() -> anyhow::Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let id = |kind: &str| -> anyhow::Result<u32> {
        let output = Command::new("id").args([kind, "postgres"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim()
            .parse()
            .context("no user `postgres`: `apt-get install postgresql`")
    };
    Ok(Some((id("-u")?, id("-g")?)))
}

/// A command that runs as PostgreSQL's own user and ends with this process.
fn command(program: &str) -> anyhow::Result<Command> {
    let program = programs()?.join(program);
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = account()? {
        command
            .args(["--reuid", &user.to_string(), "--regid", &group.to_string()])
            .arg("--clear-groups");
    }
    command
        .args(["--pdeathsig", "QUIT", "--"])
        .arg(program)
        .current_dir("/");
    Ok(command)
}

impl Cluster {
    /// Makes a cluster in `folder` and starts it.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        if let Some((user, group)) = account()? {
            chown(folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let made = command("initdb")?
            .args([
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--auth=trust",
                "--pgdata",
            ])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        let log = File::create(folder.join("log"))?;
        let settings = [
            "listen_addresses=".to_owned(),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", folder.display()),
            "shared_buffers=256MB".to_owned(),
            "max_wal_size=512MB".to_owned(),
            "max_connections=300".to_owned(),
            "log_line_prefix=".to_owned(),
        ];
        let server = command("postgres")?
            .arg("-D")
            .arg(&data)
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let cluster = Self {
            folder: folder.to_owned(),
            server,
        };
        let began = Instant::now();
        while let Err(error) = cluster.connect("postgres") {
            if began.elapsed() > Duration::from_mins(1) {
                return Err(error.context("PostgreSQL does not start"));
            }
            crate::pause(Duration::from_millis(50));
        }
        Ok(cluster)
    }

    pub(crate) fn connect(&self, database: &str) -> anyhow::Result<Client> {
        let url = self.settings(database).url;
        Client::connect(&url, NoTls).with_context(|| format!("cannot connect to {url}"))
    }

    /// Makes a database anew.
    pub(crate) fn make(&self, database: &str) -> anyhow::Result<()> {
        let mut client = self.connect("postgres")?;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
        client.batch_execute(&format!("CREATE DATABASE {database}"))?;
        Ok(())
    }

    pub(crate) fn settings(&self, database: &str) -> PostgresSettings {
        PostgresSettings {
            url: format!(
                "host={} port={PORT} user=postgres dbname={database}",
                self.folder.display()
            ),
            password_file: None,
            tls_roots: None,
            pool_max: 16,
        }
    }

    /// The same database as other clients want to be told of it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@localhost:{PORT}/{database}?host={}",
            self.folder.display()
        )
    }

    /// All the server has written to its log.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.join("log"))?).into_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT: a fast shutdown, which leaves nothing of its shared memory.
        let told = Command::new("kill")
            .args(["-INT", &self.server.id().to_string()])
            .status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
