//! Sends webhooks: one HTTP request to an address that was looked at first, signed by the scheme of
//! Standard Webhooks.
//!
//! It follows no redirect, keeps no connection and no answer, and does not retry: the engine does.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hiendien_domain::secret::Secret;
use hiendien_engine::webhooks::{Message, Reply, SendError, Told, WebhookSender};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::address::is_public;

/// From looking the host up to the end of the answer's head.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Of which one address may take this much to be connected to.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// The head of an answer, octets; hyper's least is 8 KiB.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// What is read of an answer's body, and thrown away.
const BODY_MAX: usize = 1024;
const BODY_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest URL of an endpoint, octets.
const URL_MAX: usize = 2048;

const PREFIX: &str = "whsec_";
const SECRET_LEN: usize = 32;

/// Where webhooks may go. The default is what the Internet needs: HTTPS to public addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetRules {
    /// Private, link-local and loopback addresses as well. Registrars then reach into the platform's own network.
    pub private_addresses: bool,
    /// Also HTTP without TLS, to loopback addresses alone, where those are allowed.
    pub plain_http_to_loopback: bool,
}

/// Why a URL is not one that webhooks may go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("`url` is not a URL")]
    Unreadable,
    #[error("`url` is longer than {URL_MAX} octets")]
    TooLong,
    #[error("`url` must begin with `https://`")]
    NotHttps,
    #[error("`url` must have no user name, password or fragment: requests are signed instead")]
    Decorated,
    #[error("`url` leads to an address that is not public")]
    NotPublic,
}

impl TargetRules {
    /// Looks at what can be told of a URL without looking its host up.
    pub(crate) fn check(self, text: &str) -> Result<Url, TargetError> {
        if text.len() > URL_MAX {
            return Err(TargetError::TooLong);
        }
        let url: Url = text.parse().map_err(|_| TargetError::Unreadable)?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" if self.plain_http_to_loopback => false,
            _ => return Err(TargetError::NotHttps),
        };
        let bare = url.username().is_empty() && url.password().is_none();
        if !bare || url.fragment().is_some() {
            return Err(TargetError::Decorated);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(TargetError::Unreadable),
        };
        if address.is_some_and(|address| !self.allow(address, is_secure)) {
            return Err(TargetError::NotPublic);
        }
        Ok(url)
    }

    fn allow(self, address: IpAddr, is_secure: bool) -> bool {
        let is_reachable = self.private_addresses || is_public(address);
        let is_loopback = address.to_canonical().is_loopback();
        is_reachable && (is_secure || (self.plain_http_to_loopback && is_loopback))
    }
}

/// Why webhooks cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error("cannot read the extra roots for webhooks from `{}`", path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot set up TLS for webhooks")]
    Tls(#[source] rustls::Error),
}

/// Sends webhooks over HTTP/1.1 and TLS.
#[derive(Clone)]
pub struct HttpSender {
    rules: TargetRules,
    tls: TlsConnector,
}

impl fmt::Debug for HttpSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpSender")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl HttpSender {
    /// Trusts the public roots, and those in the PEM file where one is named.
    pub fn new(rules: TargetRules, extra_roots: Option<&Path>) -> Result<Self, SenderError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = extra_roots {
            add_roots(&mut roots, path).map_err(|source| SenderError::Roots {
                path: path.to_owned(),
                source,
            })?;
        }
        // Two providers are linked, so that the default would be a guess.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(SenderError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            rules,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    async fn exchange(&self, message: &Message, now: Timestamp) -> Result<Reply, SendError> {
        // The rules may have become stricter since it was set up.
        let url = self.rules.check(&message.url).map_err(|error| {
            let word = match error {
                TargetError::NotPublic => "address_refused",
                _ => "url_refused",
            };
            SendError::new(word, error)
        })?;
        let request = request(message, &url, now)?;
        let (stream, host) = self.connect(&url).await?;
        if url.scheme() == "http" {
            return answer(stream, request, now).await;
        }
        let name =
            ServerName::try_from(host).map_err(|error| SendError::new("tls_failed", error))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| SendError::new("tls_failed", error))?;
        answer(stream, request, now).await
    }

    /// Connects to an address of the URL's host that may be connected to: to the very one that was
    /// looked at, so that a second look-up cannot answer another.
    async fn connect(&self, url: &Url) -> Result<(TcpStream, String), SendError> {
        let port = url.port_or_known_default().unwrap_or(443);
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(SendError::new("url_refused", TargetError::Unreadable)),
        };
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| SendError::new("host_unknown", error))?
            .collect();
        let is_secure = url.scheme() == "https";
        let allowed: Vec<SocketAddr> = found
            .into_iter()
            .filter(|address| self.rules.allow(address.ip(), is_secure))
            .take(ADDRESSES_MAX)
            .collect();
        let mut failure = SendError::new("address_refused", TargetError::NotPublic);
        for address in allowed {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
                Ok(Ok(stream)) => return Ok((stream, host)),
                Ok(Err(error)) => failure = SendError::new("connect_failed", error),
                Err(error) => failure = SendError::new("connect_failed", error),
            }
        }
        Err(failure)
    }
}

fn add_roots(
    roots: &mut RootCertStore,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.len() == before {
        return Err("there is no certificate in it".into());
    }
    Ok(())
}

#[async_trait]
impl WebhookSender for HttpSender {
    async fn send(&self, message: &Message, now: Timestamp) -> Result<Reply, SendError> {
        match tokio::time::timeout(TIME_MAX, self.exchange(message, now)).await {
            Ok(answer) => answer,
            Err(error) => Err(SendError::new("timeout", error)),
        }
    }
}

/// Makes a secret for an endpoint, as its receiver is told it.
pub(crate) fn new_secret() -> Secret {
    let drawn: [u8; SECRET_LEN] = rand::random();
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(drawn)))
}

fn body(message: &Message) -> Vec<u8> {
    let Told { kind, at, about } = &message.told;
    let data = match about {
        Some(about) => json!(about),
        None => json!({ "webhook": message.name }),
    };
    json!({ "type": kind, "timestamp": at, "data": data })
        .to_string()
        .into_bytes()
}

/// One signature for each secret, parted by spaces.
fn signatures(message: &Message, timestamp: i64, body: &[u8]) -> Result<String, SendError> {
    let mut signed = format!("{}.{timestamp}.", message.id).into_bytes();
    signed.extend_from_slice(body);
    let signatures = message.secrets.iter().map(|secret| {
        let key = secret.expose();
        let key = STANDARD
            .decode(key.strip_prefix(PREFIX).unwrap_or(key))
            .map_err(|error| SendError::new("secret_unreadable", error))?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        Ok(format!("v1,{}", STANDARD.encode(tag)))
    });
    let signatures: Vec<String> = signatures.collect::<Result<_, SendError>>()?;
    Ok(signatures.join(" "))
}

fn request(
    message: &Message,
    url: &Url,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, SendError> {
    let body = body(message);
    let timestamp = now.as_second();
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(SendError::new("url_refused", TargetError::Unreadable)),
    };
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("Hiendien/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signatures(message, timestamp, &body)?)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| SendError::new("url_refused", error))
}

/// Sends the request and reads the head of the answer, and so much of its body that a well-behaved
/// server is not cut off.
async fn answer<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    now: Timestamp,
) -> Result<Reply, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unanswered = |error: hyper::Error| SendError::new("no_answer", error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(unanswered)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let reply = Reply {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers(), now),
        };
        let rest = Limited::new(response.into_body(), BODY_MAX).collect();
        // Whatever comes of it, the answer was given.
        let _ = tokio::time::timeout(BODY_TIME_MAX, rest).await;
        Ok(reply)
    };
    // The connection ends with this call, however it ends: nobody else drives it.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let reply = tokio::select! {
        biased;
        reply = &mut exchange => reply,
        // It has ended already; what it received is with the exchange.
        _ = &mut connection => exchange.await,
    };
    reply.map_err(unanswered)
}

/// RFC 9110, 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    at.duration_since(now).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str, secrets: &[&str]) -> Message {
        Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            name: "main".to_owned(),
            url: url.to_owned(),
            secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
            told: Told {
                kind: "webhook.test".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                about: None,
            },
        }
    }

    #[test]
    fn signs_as_standard_webhooks_does() {
        // The example of the specification and its libraries.
        let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let signed = |secrets: &[&str]| {
            signatures(
                &message("https://example.vn/", secrets),
                1_614_265_330,
                body,
            )
            .unwrap()
        };
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(&[one]), signature);
        let other = new_secret();
        let both = signed(&[other.expose(), one]);
        assert!(both.ends_with(&format!(" {signature}")), "{both}");
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn secrets_have_32_octets() {
        let secret = new_secret();
        let text = secret.expose().strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap().len(), 32);
        assert_ne!(secret, new_secret());
    }

    #[test]
    fn refuses_urls_that_lead_elsewhere() {
        let strict = TargetRules::default();
        assert!(strict.check("https://hooks.example.vn/a?b=c").is_ok());
        assert!(strict.check("https://8.8.8.8:8443/").is_ok());
        for (url, error) in [
            ("http://hooks.example.vn/", TargetError::NotHttps),
            ("http://127.0.0.1/", TargetError::NotHttps),
            ("file:///etc/passwd", TargetError::NotHttps),
            ("gopher://example.vn/", TargetError::NotHttps),
            ("hooks", TargetError::Unreadable),
            ("https://", TargetError::Unreadable),
            ("https://a:b@example.vn/", TargetError::Decorated),
            ("https://a@example.vn/", TargetError::Decorated),
            ("https://example.vn/#a", TargetError::Decorated),
            ("https://127.0.0.1/", TargetError::NotPublic),
            // Other ways to write the same.
            ("https://2130706433/", TargetError::NotPublic),
            ("https://0x7f.1/", TargetError::NotPublic),
            ("https://0177.0.0.1/", TargetError::NotPublic),
            ("https://[::1]/", TargetError::NotPublic),
            ("https://[::ffff:10.0.0.1]/", TargetError::NotPublic),
            (
                "https://169.254.169.254/latest/meta-data",
                TargetError::NotPublic,
            ),
        ] {
            assert_eq!(strict.check(url), Err(error), "{url}");
        }
        let long = format!("https://example.vn/{}", "a".repeat(URL_MAX));
        assert_eq!(strict.check(&long), Err(TargetError::TooLong));
        let plain_only = TargetRules {
            plain_http_to_loopback: true,
            ..strict
        };
        assert_eq!(
            plain_only.check("http://127.0.0.1/"),
            Err(TargetError::NotPublic)
        );
        let lab = TargetRules {
            private_addresses: true,
            plain_http_to_loopback: true,
        };
        assert!(lab.check("http://127.0.0.1/").is_ok());
        assert_eq!(lab.check("http://10.0.0.1/"), Err(TargetError::NotPublic));
        assert_eq!(lab.check("http://8.8.8.8/"), Err(TargetError::NotPublic));
        assert!(lab.check("https://10.0.0.1/").is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_inwards_is_refused_after_its_look_up() {
        let sender = HttpSender::new(TargetRules::default(), None).unwrap();
        let secret = new_secret();
        let inwards = message("https://localhost/", &[secret.expose()]);
        let refused = sender.send(&inwards, Timestamp::UNIX_EPOCH).await;
        assert_eq!(refused.unwrap_err().word, "address_refused");
    }
}
