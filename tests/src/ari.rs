//! Renewal information (RFC 9773) in front of a Pebble that has none.
//!
//! Debian's Pebble is older than the RFC. All of ACME is its own and goes through as it is; only what
//! the RFC adds is answered here: the directory's entry, the windows, and the field `replaces` of an order.

#![expect(
    clippy::unwrap_used,
    reason = "a test bed that cannot be set up fails the test"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::pebble::Pebble;

const PORT: u16 = 14001;
const INFO: &str = "/renewal-info";

/// The front. It stops on `Drop`.
#[derive(Debug)]
pub struct AriFront {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    pebble: SocketAddr,
    front: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For certificates without a window of their own; none is answered 404.
    window: Option<Window>,
    windows: HashMap<String, Window>,
    retry_after: Option<u64>,
    /// Whom windows were asked for, each time.
    asked: Vec<String>,
    replaced: Vec<String>,
    refuses: bool,
}

/// Start and end.
pub type Window = (Timestamp, Timestamp);

impl AriFront {
    pub async fn start(pebble: &Pebble) -> Self {
        let front = SocketAddr::new(pebble.address().ip(), PORT);
        let listener = TcpListener::bind(front).await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(pebble.server_tls()));
        let shared = Arc::new(Shared {
            client: pebble.client(),
            pebble: pebble.address(),
            front,
            state: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let running = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let request = Request::read(&mut stream).await;
                    let answer = shared.answer(request).await;
                    // Who asked may be gone.
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { shared, running }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.shared.front)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap())
    }

    /// What is answered for every certificate that has no window of its own.
    pub fn suggest(&self, window: Option<Window>, retry_after_secs: Option<u64>) {
        self.change(|state| {
            state.window = window;
            state.retry_after = retry_after_secs;
        });
    }

    /// What is answered for one certificate, as [`AriFront::asked`] names it.
    pub fn suggest_for(&self, certificate: &str, window: Window) {
        self.change(|state| state.windows.insert(certificate.to_owned(), window));
    }

    /// Refuses orders that say what they replace (RFC 9773, 7.4).
    pub fn refuse_replacements(&self) {
        self.change(|state| state.refuses = true);
    }

    /// The certificates asked for, each time.
    pub fn asked(&self) -> Vec<String> {
        self.change(|state| state.asked.clone())
    }

    /// The certificates that orders said to replace.
    pub fn replaced(&self) -> Vec<String> {
        self.change(|state| state.replaced.clone())
    }
}

impl Drop for AriFront {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct Request {
    method: Method,
    path: String,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl Request {
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut octets = Vec::new();
        let head = loop {
            let end = octets.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(stream.read_buf(&mut octets).await.unwrap() > 0, "cut short");
        };
        let mut body = octets.split_off(head);
        let head = String::from_utf8(octets).unwrap();
        let field = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_wanted = name.eq_ignore_ascii_case(wanted);
                is_wanted.then(|| value.trim().to_owned())
            })
        };
        let length = field("content-length").map_or(0, |text| text.parse().unwrap());
        while body.len() < length {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0, "cut short");
        }
        let mut words = head.split_whitespace();
        Self {
            method: words.next().unwrap().parse().unwrap(),
            path: words.next().unwrap().to_owned(),
            content_type: field("content-type"),
            body,
        }
    }

    /// The certificate that the order in a signed body says to replace.
    fn replaces(&self) -> Option<String> {
        let signed: Value = serde_json::from_slice(&self.body).ok()?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str()?);
        let payload: Value = serde_json::from_slice(&payload.ok()?).ok()?;
        payload["replaces"].as_str().map(str::to_owned)
    }
}

fn written(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let length = ("content-length".to_owned(), body.len().to_string());
    let close = ("connection".to_owned(), "close".to_owned());
    let lines: Vec<String> = headers
        .iter()
        .chain([&length, &close])
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!("HTTP/1.1 {status} Told\r\n{}\r\n", lines.concat());
    [head.as_bytes(), body].concat()
}

fn told(status: u16, headers: &[(String, String)], body: &Value) -> Vec<u8> {
    written(status, headers, body.to_string().as_bytes())
}

impl Shared {
    async fn answer(&self, request: Request) -> Vec<u8> {
        if let Some(certificate) = request.path.strip_prefix(INFO) {
            return self.window(certificate.trim_start_matches('/'));
        }
        let replaces = request.replaces();
        if replaces.is_some() && self.state.lock().unwrap().refuses {
            let word = "urn:ietf:params:acme:error:alreadyReplaced";
            return told(409, &[], &json!({ "type": word, "detail": "sample" }));
        }
        let (status, headers, body) = self.passed_on(&request).await;
        let mut document: Value = match serde_json::from_slice(&body) {
            Ok(document) if request.path == "/dir" || replaces.is_some() => document,
            _ => return written(status, &headers, &body),
        };
        if let Some(certificate) = replaces {
            document["replaces"] = json!(certificate);
            self.state.lock().unwrap().replaced.push(certificate);
        } else {
            document["renewalInfo"] = json!(format!("https://{}{INFO}", self.front));
        }
        told(status, &headers, &document)
    }

    fn window(&self, certificate: &str) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(certificate.to_owned());
        let own = state.windows.get(certificate).copied();
        let Some((start, end)) = own.or(state.window) else {
            return told(404, &[], &json!({ "detail": "no such certificate" }));
        };
        let retry_after = state.retry_after.map(|secs| secs.to_string());
        let headers: Vec<_> = retry_after
            .map(|secs| ("retry-after".to_owned(), secs))
            .into_iter()
            .collect();
        let window = json!({ "start": start.to_string(), "end": end.to_string() });
        told(200, &headers, &json!({ "suggestedWindow": window }))
    }

    /// Asks Pebble under the front's own authority, which it puts into the URLs that it gives out
    /// and wants to see signed.
    async fn passed_on(&self, request: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let url = format!("https://{}{}", self.pebble, request.path);
        let mut onward = self
            .client
            .request(request.method.clone(), url)
            .header("host", self.front.to_string())
            .body(request.body.clone());
        if let Some(media_type) = &request.content_type {
            onward = onward.header("content-type", media_type);
        }
        let answer = onward.send().await.unwrap();
        let status = answer.status().as_u16();
        let kept = [
            "replay-nonce",
            "location",
            "link",
            "retry-after",
            "content-type",
        ];
        let headers = kept
            .iter()
            .flat_map(|name| {
                let values = answer.headers().get_all(*name).iter();
                values.map(|value| ((*name).to_owned(), value.to_str().unwrap().to_owned()))
            })
            .collect();
        (status, headers, answer.bytes().await.unwrap().to_vec())
    }
}
