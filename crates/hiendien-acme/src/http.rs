//! The HTTPS client towards the CA: explicit trust, explicit TLS provider, a bound on everything.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Largest answer read, octets. Certificate chains are a few kilobytes.
const ANSWER_OCTETS_MAX: usize = 1 << 20;
/// Bound of setting up a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the client could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot read the CA's root certificate from `{path}`")]
    Root {
        path: String,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("`{path}` has no usable root certificate in it")]
    NoRoot { path: String },
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the HTTPS client cannot be set up")]
    Client(#[source] reqwest::Error),
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is larger than {ANSWER_OCTETS_MAX} octets")]
struct TooLarge;

/// When a CA that is busy wants to be asked again, shared by all clients of one CA.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<Option<Instant>>>);

impl Busy {
    /// How long the CA last asked us to stay away, from now on.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now()))
    }

    fn note(&self, status: StatusCode, headers: &HeaderMap) {
        let busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if busy && let Some(wait) = retry_after(headers) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Instant::now().checked_add(wait);
        }
    }
}

/// RFC 9110, 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    at.duration_since(Timestamp::now()).try_into().ok()
}

/// A client of the CA.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    busy: Busy,
}

impl Http {
    /// Trusts the root in the PEM file alone, or the public roots where none is given.
    pub(crate) fn new(
        root: Option<&Path>,
        request_timeout: Duration,
        busy: Busy,
    ) -> Result<Self, HttpError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = root {
            let shown = || path.display().to_string();
            let unread = |source| HttpError::Root {
                path: shown(),
                source,
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
                let certificate = certificate.map_err(unread)?;
                roots
                    .add(certificate)
                    .map_err(|_| HttpError::NoRoot { path: shown() })?;
            }
            if roots.is_empty() {
                return Err(HttpError::NoRoot { path: shown() });
            }
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        // Two providers are linked, so that the default would be a guess.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(request_timeout)
            .build()
            .map_err(HttpError::Client)?;
        Ok(Self { client, busy })
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let request =
            reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(other)?;
        let mut answer = self.client.execute(request).await.map_err(other)?;
        self.busy.note(answer.status(), answer.headers());
        let mut octets = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(other)? {
            if octets.len() + chunk.len() > ANSWER_OCTETS_MAX {
                return Err(other(TooLarge));
            }
            octets.extend_from_slice(&chunk);
        }
        let status = answer.status();
        let body = if status.is_client_error() || status.is_server_error() {
            problem_document(status, &octets)
        } else {
            octets.freeze()
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(BytesResponse::from(response))
    }
}

/// The problem document (RFC 9457) of an error answer, made up where a server in between or a CA
/// in haste sent none, so that its status is not lost.
fn problem_document(status: StatusCode, body: &[u8]) -> Bytes {
    let told = serde_json::from_slice(body).unwrap_or_default();
    let mut document = match told {
        serde_json::Value::Object(document) => document,
        _ => serde_json::Map::from_iter([("detail".to_owned(), status.to_string().into())]),
    };
    document.insert("status".to_owned(), status.as_u16().into());
    Bytes::from(serde_json::Value::Object(document).to_string())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move { http.exchange(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after_as_seconds_and_as_date() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("90"), Some(Duration::from_secs(90)));
        assert!(of("Tue, 31 Dec 2199 23:59:59 GMT").unwrap() > Duration::from_hours(24));
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn an_error_keeps_its_status_and_its_words() {
        let document = |body: &str| {
            let body = problem_document(StatusCode::NOT_FOUND, body.as_bytes());
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()
        };
        for foreign in ["", "<html>", "[]", "7"] {
            let expected = serde_json::json!({ "status": 404, "detail": "404 Not Found" });
            assert_eq!(document(foreign), expected);
        }
        let told = document(r#"{"type": "urn:ietf:params:acme:error:malformed"}"#);
        assert_eq!(told["type"], "urn:ietf:params:acme:error:malformed");
        assert_eq!(told["status"], 404);
    }

    #[test]
    fn only_a_busy_answer_holds_us_off() {
        let busy = Busy::default();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "60".parse().unwrap());
        busy.note(StatusCode::OK, &headers);
        assert_eq!(busy.left(), None);
        busy.note(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert!(busy.left().unwrap() > Duration::from_secs(50));
    }
}
