//! Ends live IMAP sessions, through the administration interface of Dovecot (doveadm over HTTP).
//!
//! The server lets its key do nothing but this (`doveadm_allowed_commands`). SMTP sessions need no
//! ending: Postfix asks for each message whether the mailbox may still send.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hiendien_engine::ports::PortError;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::probe::Failure;

/// Bound of one question.
const QUESTION: Duration = Duration::from_secs(5);
/// How long sessions may take to end.
const LIMIT: Duration = Duration::from_secs(15);
/// A sign-in that was let through a moment ago becomes a session within this time.
const SETTLE: Duration = Duration::from_millis(100);
const ANSWER_MAX: usize = 1024 * 1024;
/// What doveadm says when nobody matches (`EX_NOUSER` and its own `NOTFOUND` are one number).
const NOBODY: u64 = 68;

/// Where Dovecot lets its sessions be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// doveadm's HTTP listener, without TLS: an address that leaves no machine.
    pub address: SocketAddr,
    /// File with the key (`doveadm_api_key`). Read each time.
    pub key_file: PathBuf,
}

/// What came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kick {
    Some,
    Nobody,
}

/// Ends all sessions of mailboxes under the name, and returns when there are none. Call it only once
/// the rows let nobody sign in, or new ones may begin.
pub(crate) async fn end_all(settings: &SessionSettings, name: &str) -> Result<(), PortError> {
    let action = format!("ending the mail sessions of `{name}`");
    let key = tokio::fs::read_to_string(&settings.key_file)
        .await
        .map_err(|error| {
            let file = settings.key_file.display();
            PortError::misconfigured(format!("reading `{file}`"), error)
        })?;
    let end = Instant::now() + LIMIT;
    let mut before = Kick::Some;
    loop {
        let kicked = tokio::time::timeout(QUESTION, kick(settings.address, key.trim(), name))
            .await
            .map_err(|elapsed| PortError::transient(&action, elapsed))?
            .map_err(|refusal| refusal.into_port_error(&action))?;
        // Nobody twice: a sign-in that the rows had let through before may have had no session yet.
        if (before, kicked) == (Kick::Nobody, Kick::Nobody) {
            return Ok(());
        }
        if Instant::now() > end {
            let told = format!("there still are some after {} s", LIMIT.as_secs());
            return Err(PortError::transient(action, told));
        }
        before = kicked;
        tokio::time::sleep(SETTLE).await;
    }
}

#[derive(Debug)]
enum Refusal {
    /// The key or the server's settings are wrong.
    Settings(String),
    Failed(Failure),
}

impl Refusal {
    fn into_port_error(self, action: &str) -> PortError {
        match self {
            Self::Settings(told) => PortError::misconfigured(action, told),
            Self::Failed(error) => PortError::transient(action, error),
        }
    }
}

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn kick(server: SocketAddr, key: &str, name: &str) -> Result<Kick, Refusal> {
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    let mut authorization =
        HeaderValue::try_from(format!("X-Dovecot-API {}", STANDARD.encode(key)))?;
    authorization.set_sensitive(true);
    // A name has no character that is a wildcard to doveadm.
    let body = json!([["kick", { "mask": [format!("*@{name}")] }, "kick"]]).to_string();
    let request = Request::post("/doveadm/v1")
        .header(HOST, server.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, authorization)
        .body(Full::new(Bytes::from(body)))?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
        read(parts.status, &body)
    };
    let serve = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = serve => unreachable!("it is pending for ever"),
    }
}

/// Reads `[["doveadmResponse", …, "kick"]]` or `[["error", {…}, "kick"]]`.
fn read(status: StatusCode, body: &[u8]) -> Result<Kick, Refusal> {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(Refusal::Settings(format!(
            "Dovecot answers {status}: is the key file its `doveadm_api_key`?"
        )));
    }
    if status != StatusCode::OK {
        return Err(Refusal::Failed(format!("Dovecot answers {status}").into()));
    }
    let answer: Value = serde_json::from_slice(body)?;
    let (kind, told) = (&answer[0][0], &answer[0][1]);
    if kind == "doveadmResponse" {
        return Ok(Kick::Some);
    }
    if told["type"] == "exitCode" && told["exitCode"] == NOBODY {
        return Ok(Kick::Nobody);
    }
    if told["type"] == "unAuthorized" {
        let told = "Dovecot's `doveadm_allowed_commands` does not allow `kick`".to_owned();
        return Err(Refusal::Settings(told));
    }
    Err(Refusal::Failed(format!("Dovecot answers {answer}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_dovecot_are_told_apart() {
        let ok = StatusCode::OK;
        let some = br#"[["doveadmResponse",[{"result":"info@a.biz.vn"}],"kick"]]"#;
        assert_eq!(read(ok, some).unwrap(), Kick::Some);
        let nobody = br#"[["error",{"type":"exitCode", "exitCode":68},"kick"]]"#;
        assert_eq!(read(ok, nobody).unwrap(), Kick::Nobody);
        let failed = br#"[["error",{"type":"exitCode", "exitCode":75},"kick"]]"#;
        assert!(matches!(read(ok, failed), Err(Refusal::Failed(_))));
        let forbidden = br#"[["error",{"type":"unAuthorized", "exitCode":0},"kick"]]"#;
        assert!(matches!(read(ok, forbidden), Err(Refusal::Settings(_))));
        let key = read(StatusCode::UNAUTHORIZED, b"");
        assert!(matches!(key, Err(Refusal::Settings(_))));
        assert!(matches!(read(ok, b"<html>"), Err(Refusal::Failed(_))));
        assert!(matches!(read(ok, b"[]"), Err(Refusal::Failed(_))));
    }
}
