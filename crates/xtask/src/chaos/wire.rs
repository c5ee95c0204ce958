//! Speaks to the servers of a stack as an outsider: HTTP to the API, SMTP, DNS by `dig`, pages and
//! mailboxes by `curl`, rows by `psql` and `sqlite3`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::stack::{Stack, output};

/// Bound of one look at one server.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Between two looks at the same state, in a tool that is not async.
#[expect(
    clippy::disallowed_methods,
    reason = "faults and load are paced by time, and nothing here is async"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What the API answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// The API with the operator's key. Every request has a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Api {
    address: SocketAddr,
    key: String,
}

impl Api {
    pub(super) fn of(stack: &Stack) -> anyhow::Result<Self> {
        let key = std::fs::read_to_string(stack.state.join("secrets/operator-key"))
            .context("the service has not made its key")?;
        Ok(Self {
            address: format!("{}.8:8080", stack.net).parse()?,
            key: key.trim().to_owned(),
        })
    }

    fn begin(&self, head: &str, body: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let request = format!(
            "{head}Host: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    pub(super) fn get(&self, path: &str) -> io::Result<Answer> {
        read_answer(self.begin(&format!("GET {path} HTTP/1.1\r\n"), "")?)
    }

    pub(super) fn post(&self, path: &str, key: &str, body: &str) -> io::Result<Answer> {
        let head = format!("POST {path} HTTP/1.1\r\nIdempotency-Key: {key}\r\n");
        read_answer(self.begin(&head, body)?)
    }

    /// Sends a request and goes away before anything is answered.
    pub(super) fn post_and_cut(&self, path: &str, key: &str, body: &str) -> io::Result<()> {
        let head = format!("POST {path} HTTP/1.1\r\nIdempotency-Key: {key}\r\n");
        let stream = self.begin(&head, body)?;
        stream.shutdown(std::net::Shutdown::Both)
    }

    /// Every presence there is.
    pub(super) fn presences(&self) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/presences?limit=200{after}"))?;
            let found = page.body["presences"].as_array();
            let Some(found) = found.filter(|_| page.status == 200) else {
                bail!("a page of presences: {} {}", page.status, page.body);
            };
            all.extend(found.iter().cloned());
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(all),
            }
        }
    }
}

fn read_answer(mut stream: TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is not whole");
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(cut)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok());
    let body = &bytes[end + 4..];
    if length.is_some_and(|length| body.len() < length) {
        return Err(cut());
    }
    let body = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
    Ok(Answer { status, body })
}

/// What a name server answered.
#[derive(Debug, Default)]
pub(super) struct DnsAnswer {
    /// Such as `NOERROR`; empty where nothing was answered.
    pub(super) status: String,
    /// Records of the answer and the authority section.
    pub(super) records: Vec<String>,
}

pub(super) fn dig(server: &str, name: &str, kind: &str) -> DnsAnswer {
    let asked = Command::new("dig")
        .args(["+norecurse", "+tries=2", "+time=3", "+noall", "+comments"])
        .args(["+answer", "+authority", &format!("@{server}"), name, kind])
        .stdin(Stdio::null())
        .output();
    let text = asked.map_or_else(
        |_| String::new(),
        |asked| String::from_utf8_lossy(&asked.stdout).into_owned(),
    );
    let mut answer = DnsAnswer::default();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("status: ") {
            rest.split(',')
                .next()
                .unwrap_or_default()
                .clone_into(&mut answer.status);
        } else if !line.is_empty() && !line.starts_with(';') {
            let fields: Vec<&str> = line.split_whitespace().collect();
            answer.records.push(fields.join(" "));
        }
    }
    answer
}

/// What a visitor sees of a name: the status and the revision; or why there is no page.
pub(super) fn page(stack: &Stack, name: &str) -> Result<(u16, String), String> {
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "15"])
        .args(["--output", "/dev/null"])
        .args(["--write-out", "%{http_code} %header{x-revision}"])
        .args(["--resolve", &format!("{name}:443:{}.80", stack.net)])
        .arg("--cacert")
        .arg(stack.state.join("pebble/roots.pem"))
        .arg(format!("https://{name}/"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !asked.status.success() {
        return Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let (status, revision) = text.split_once(' ').unwrap_or((&text, ""));
    let status = status.parse().map_err(|_| text.clone())?;
    Ok((status, revision.trim().to_owned()))
}

/// What the mail exchanger says of each recipient.
pub(super) fn recipients(stack: &Stack, addresses: &[String]) -> io::Result<Vec<String>> {
    let stream = TcpStream::connect((format!("{}.25", stack.net), 25))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut say = |line: &str| -> io::Result<String> {
        if !line.is_empty() {
            writer.write_all(format!("{line}\r\n").as_bytes())?;
        }
        loop {
            let mut reply = String::new();
            if reader.read_line(&mut reply)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "hung up"));
            }
            if reply.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply.trim().to_owned());
            }
        }
    };
    say("")?;
    say("EHLO chaos.outside.test")?;
    say("MAIL FROM:<chaos@outside.test>")?;
    let replies = addresses
        .iter()
        .map(|address| say(&format!("RCPT TO:<{address}>")))
        .collect::<io::Result<Vec<_>>>()?;
    say("QUIT")?;
    Ok(replies)
}

/// Whether the mail server lets this login in; `Err` where it says neither yes nor no.
pub(super) fn logs_in(stack: &Stack, login: &str, password: &str) -> Result<bool, String> {
    let asked = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "15"])
        .args([
            "--request",
            "NOOP",
            "--user",
            &format!("{login}:{password}"),
        ])
        .arg(format!("imaps://{}.25:993/", stack.net))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    match asked.status.code() {
        Some(0) => Ok(true),
        // The login was denied.
        Some(67) => Ok(false),
        _ => Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned()),
    }
}

/// Rows of the store as JSON objects.
pub(super) fn store_rows(stack: &Stack, select: &str) -> anyhow::Result<Vec<Value>> {
    let text = output(
        Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "postgres", "-d", "hiendien", "-h"])
            .arg(stack.state.join("postgres"))
            .args([
                "-c",
                &format!("SELECT coalesce(json_agg(t), '[]') FROM ({select}) t"),
            ])
            .stdin(Stdio::null()),
    )?;
    Ok(serde_json::from_str(&text)?)
}

/// Rows of the mail servers' database as JSON objects.
pub(super) fn mail_rows(database: &Path, sql: &str) -> anyhow::Result<Vec<Value>> {
    let text = output(
        Command::new("sqlite3")
            .args(["-json", "-cmd", ".timeout 10000"])
            .arg(database)
            .arg(sql)
            .stdin(Stdio::null()),
    )?;
    match text.trim() {
        "" => Ok(Vec::new()),
        text => Ok(serde_json::from_str(text)?),
    }
}

/// A member of a row as text.
pub(super) fn text<'a>(row: &'a Value, member: &str) -> &'a str {
    row[member].as_str().unwrap_or_default()
}
