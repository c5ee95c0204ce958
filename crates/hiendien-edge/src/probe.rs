//! Asks an edge what an outsider would see: name, chain, redirects, revision.
//!
//! Each question is one fresh connection with a real, fully verified handshake, so that nothing
//! cached in a client can answer in place of the server. The pieces are public for diagnosis; what
//! an operator should do about a finding is not decided here.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hiendien_domain::name::DomainName;
use hiendien_domain::site::{BlobHash, hex};
use hiendien_engine::ports::{FileProof, PortError, SiteProof, SiteService};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;

use crate::pages::UNKNOWN_SERVICE;

/// How to ask.
#[derive(Debug, Clone)]
pub struct SiteProbeSettings {
    pub resolve: Resolve,
    pub roots: Roots,
    pub http_port: u16,
    pub https_port: u16,
    /// One question: connect, handshake and answer.
    pub timeout: Duration,
    /// How long [`probe_site`] keeps asking before it fails.
    pub limit: Duration,
}

impl SiteProbeSettings {
    /// The standard ports, 5 seconds for a question, and one try of everything.
    pub fn new(resolve: Resolve, roots: Roots) -> Self {
        Self {
            resolve,
            roots,
            http_port: 80,
            https_port: 443,
            timeout: Duration::from_secs(5),
            limit: Duration::ZERO,
        }
    }
}

/// Where the addresses of a name come from.
#[derive(Clone)]
pub enum Resolve {
    /// The same for all names: the edges themselves. Each of them is asked.
    Addresses(Vec<IpAddr>),
    /// Asked for each name; every address it answers is asked.
    With(ResolveFn),
}

/// Answers the addresses of a host name.
pub type ResolveFn = Arc<
    dyn Fn(DomainName) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, PortError>> + Send>>
        + Send
        + Sync,
>;

impl fmt::Debug for Resolve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(addresses) => {
                formatter.debug_tuple("Addresses").field(addresses).finish()
            }
            Self::With(_) => formatter.write_str("With(..)"),
        }
    }
}

/// Which certification authorities count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that Mozilla's programme trusts, as browsers do.
    Mozilla,
    /// Exactly these, in PEM: the root of a lab.
    Pem(String),
}

/// Plain or over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// What one server answered to one `GET`.
#[derive(Debug, Clone)]
pub struct Answer {
    pub address: SocketAddr,
    /// `h2` or `http/1.1`.
    pub protocol: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most 1 MiB.
    pub body: Bytes,
    /// `None` for plain HTTP.
    pub tls: Option<TlsFinding>,
}

impl Answer {
    /// The text of a header, empty where it is absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Security headers every site of ours has and this answer lacks.
    pub fn missing_security_headers(&self) -> Vec<&'static str> {
        [
            "strict-transport-security",
            "content-security-policy",
            "x-content-type-options",
            "referrer-policy",
            "permissions-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
        ]
        .into_iter()
        .filter(|&name| !self.headers.contains_key(name))
        .collect()
    }
}

/// The handshake of an answer. Chain, name and dates were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFinding {
    /// Such as `TLSv1.3`.
    pub version: String,
    pub certificate: CertificateFinding,
}

/// The certificate that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFinding {
    /// The DNS names it covers.
    pub names: Vec<String>,
    /// Lower-case hexadecimal, as the certificate encodes it.
    pub serial: String,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Why there is no answer, or not the wanted one.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("the root certificates are not PEM or hold no certificate")]
    Roots,
    #[error("`{0}` has no address")]
    NoAddress(DomainName),
    #[error("resolving `{0}` failed")]
    Resolve(DomainName, #[source] PortError),
    #[error("no answer from `{0}` in time")]
    Timeout(SocketAddr),
    #[error("cannot connect to `{0}`")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// The chain, the name or the date of the certificate is wrong, or the server ended the handshake.
    #[error("TLS handshake with `{0}` failed")]
    Tls(SocketAddr, #[source] std::io::Error),
    #[error("the certificate of `{0}` cannot be read: {1}")]
    Certificate(SocketAddr, String),
    #[error("HTTP with `{0}` failed")]
    Http(
        SocketAddr,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
    #[error("`{url}` at `{address}` answered {found}, wanted {wanted}")]
    Unwanted {
        url: String,
        address: SocketAddr,
        found: String,
        wanted: String,
    },
}

/// Asks until the site at `apex` is out with `revision`, at most for [`SiteProbeSettings::limit`].
///
/// Every address answers over HTTPS with a certificate that verifies, HTTP/2 and 200 with the
/// revision; `www` redirects to the apex; plain HTTP redirects to HTTPS.
pub async fn probe_site(
    settings: &SiteProbeSettings,
    apex: &DomainName,
    revision: &str,
) -> Result<SiteProof, PortError> {
    let action = format!("probe the site `{apex}`");
    let prober = prober(settings, &action)?;
    until(settings, &action, || prober.site(apex, revision)).await
}

/// Asks until every address of `apex` answers each of `files` with 200 and exactly the octets of its
/// hash, at most for [`SiteProbeSettings::limit`].
pub async fn probe_site_files(
    settings: &SiteProbeSettings,
    apex: &DomainName,
    files: &[FileProof],
) -> Result<(), PortError> {
    let action = format!("compare what `{apex}` serves with its revision");
    let prober = prober(settings, &action)?;
    until(settings, &action, || prober.files(apex, files)).await
}

/// The path of the URL at which a file of a site is served.
pub fn path_of(file: &str) -> String {
    let directory = file
        .strip_suffix("index.html")
        .filter(|directory| directory.is_empty() || directory.ends_with('/'));
    format!("/{}", directory.unwrap_or(file))
}

/// Asks until `https://apex/` and `https://www.apex/` answer with the notice of `service` over a
/// certificate that verifies, at most for [`SiteProbeSettings::limit`].
///
/// Rejected for [`SiteService::Serving`], which has no notice. Transient while any address answers
/// otherwise or cannot be asked.
pub async fn probe_site_stopped(
    settings: &SiteProbeSettings,
    apex: &DomainName,
    service: SiteService,
) -> Result<(), PortError> {
    let action = format!("probe the notice of `{apex}`");
    if service == SiteService::Serving {
        let fault = "a site that is served has no notice";
        return Err(PortError::rejected(action, fault));
    }
    let prober = prober(settings, &action)?;
    until(settings, &action, || prober.stopped(apex, service)).await
}

/// Asks until no address knows the apex nor `www`, at most for [`SiteProbeSettings::limit`]: it
/// refuses the handshake because it has no such name, and over HTTP answers the page of unknown
/// names.
///
/// Whoever is silent, or ends a handshake for another reason, has not said so: that is transient.
pub async fn probe_site_absent(
    settings: &SiteProbeSettings,
    apex: &DomainName,
) -> Result<(), PortError> {
    let action = format!("probe that `{apex}` is not served");
    let prober = prober(settings, &action)?;
    until(settings, &action, || prober.absent(apex)).await
}

fn prober<'a>(settings: &'a SiteProbeSettings, action: &str) -> Result<Prober<'a>, PortError> {
    Prober::new(settings).map_err(|error| PortError::misconfigured(action, error))
}

async fn until<T, F>(
    settings: &SiteProbeSettings,
    action: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T, PortError>
where
    F: Future<Output = Result<T, ProbeError>>,
{
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + settings.limit;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask().await {
            Ok(seen) => return Ok(seen),
            Err(error) => error,
        };
        if Instant::now() + pause > deadline {
            return Err(PortError::transient(action, error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks single questions.
#[derive(Debug)]
pub struct Prober<'a> {
    settings: &'a SiteProbeSettings,
    tls: Arc<ClientConfig>,
}

impl<'a> Prober<'a> {
    pub fn new(settings: &'a SiteProbeSettings) -> Result<Self, ProbeError> {
        let mut roots = RootCertStore::empty();
        match &settings.roots {
            Roots::Mozilla => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Roots::Pem(pem) => {
                for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let root = root.map_err(|_| ProbeError::Roots)?;
                    roots.add(root).map_err(|_| ProbeError::Roots)?;
                }
            }
        }
        if roots.is_empty() {
            return Err(ProbeError::Roots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| ProbeError::Roots)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Each question is a full handshake, so that the certificate is shown.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            settings,
            tls: Arc::new(tls),
        })
    }

    /// The addresses of a host name; at least one.
    pub async fn addresses(&self, host: &DomainName) -> Result<Vec<IpAddr>, ProbeError> {
        let addresses = match &self.settings.resolve {
            Resolve::Addresses(addresses) => addresses.clone(),
            Resolve::With(resolve) => {
                let answer = tokio::time::timeout(self.settings.timeout, resolve(host.clone()));
                match answer.await {
                    Ok(Ok(addresses)) => addresses,
                    Ok(Err(error)) => return Err(ProbeError::Resolve(host.clone(), error)),
                    Err(elapsed) => {
                        let error = PortError::transient("ask for the addresses", elapsed);
                        return Err(ProbeError::Resolve(host.clone(), error));
                    }
                }
            }
        };
        if addresses.is_empty() {
            return Err(ProbeError::NoAddress(host.clone()));
        }
        Ok(addresses)
    }

    /// Asks one address for `path` of `host` and does not follow redirects.
    pub async fn get(
        &self,
        scheme: Scheme,
        host: &DomainName,
        address: IpAddr,
        path: &str,
    ) -> Result<Answer, ProbeError> {
        let port = match scheme {
            Scheme::Http => self.settings.http_port,
            Scheme::Https => self.settings.https_port,
        };
        let address = SocketAddr::new(address, port);
        // On the heap: the states of a handshake and of two protocols are large.
        let ask = Box::pin(self.ask(scheme, host, address, path));
        match tokio::time::timeout(self.settings.timeout, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(ProbeError::Timeout(address)),
        }
    }

    async fn ask(
        &self,
        scheme: Scheme,
        host: &DomainName,
        address: SocketAddr,
        path: &str,
    ) -> Result<Answer, ProbeError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| ProbeError::Connect(address, error))?;
        if scheme == Scheme::Http {
            let response = ask_http1(stream, host, path).await;
            let response = response.map_err(|error| ProbeError::Http(address, error))?;
            return Ok(answer(address, response, "http/1.1", None));
        }
        let name = ServerName::try_from(host.as_str().to_owned())
            .map_err(|error| ProbeError::Tls(address, std::io::Error::other(error)))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|error| ProbeError::Tls(address, error))?;
        let (_, session) = stream.get_ref();
        let shown = session
            .peer_certificates()
            .and_then(<[CertificateDer<'_>]>::first)
            .ok_or_else(|| ProbeError::Certificate(address, "none was shown".to_owned()))?;
        let finding = TlsFinding {
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
                other => format!("{other:?}"),
            },
            certificate: CertificateFinding::read(shown)
                .map_err(|fault| ProbeError::Certificate(address, fault))?,
        };
        let (response, protocol) = if session.alpn_protocol() == Some(b"h2") {
            (ask_http2(stream, host, path).await, "h2")
        } else {
            (ask_http1(stream, host, path).await, "http/1.1")
        };
        let response = response.map_err(|error| ProbeError::Http(address, error))?;
        Ok(answer(address, response, protocol, Some(finding)))
    }

    async fn site(&self, apex: &DomainName, revision: &str) -> Result<SiteProof, ProbeError> {
        let www = www(apex)?;
        let (proof, (), ()) = tokio::try_join!(
            self.front_page(apex, revision),
            self.redirect(Scheme::Https, &www, apex),
            self.redirect(Scheme::Http, apex, apex),
        )?;
        Ok(proof)
    }

    async fn files(&self, apex: &DomainName, files: &[FileProof]) -> Result<(), ProbeError> {
        for address in self.addresses(apex).await? {
            for file in files {
                self.file(apex, address, file).await?;
            }
        }
        Ok(())
    }

    /// One address answers with exactly the octets of this file.
    pub async fn file(
        &self,
        apex: &DomainName,
        address: IpAddr,
        file: &FileProof,
    ) -> Result<(), ProbeError> {
        let path = path_of(&file.path);
        let answer = self.get(Scheme::Https, apex, address, &path).await?;
        let found = BlobHash::of(&answer.body);
        if answer.status == StatusCode::OK && found == file.sha256 {
            return Ok(());
        }
        Err(ProbeError::Unwanted {
            url: format!("https://{apex}{path}"),
            address: answer.address,
            found: format!("{} with SHA-256 `{found}`", answer.status.as_u16()),
            wanted: format!("200 with SHA-256 `{}`", file.sha256),
        })
    }

    async fn stopped(&self, apex: &DomainName, service: SiteService) -> Result<(), ProbeError> {
        let www = www(apex)?;
        tokio::try_join!(self.notice(apex, service), self.notice(&www, service))?;
        Ok(())
    }

    /// Every address of `host` answers with the notice and with nothing that a revision has.
    async fn notice(&self, host: &DomainName, service: SiteService) -> Result<(), ProbeError> {
        for address in self.addresses(host).await? {
            let answer = self.get(Scheme::Https, host, address, "/").await?;
            let (found, revision) = (answer.header("x-service"), answer.header("x-revision"));
            let is_notice = answer.status == StatusCode::SERVICE_UNAVAILABLE
                && found == service.word()
                && revision.is_empty();
            if !is_notice {
                return Err(ProbeError::Unwanted {
                    url: format!("https://{host}/"),
                    address: answer.address,
                    found: format!(
                        "{} with service `{found}` and revision `{revision}`",
                        answer.status.as_u16()
                    ),
                    wanted: format!("503 with service `{}` and no revision", service.word()),
                });
            }
        }
        Ok(())
    }

    async fn absent(&self, apex: &DomainName) -> Result<(), ProbeError> {
        let www = www(apex)?;
        tokio::try_join!(
            self.no_certificate(apex),
            self.no_certificate(&www),
            self.unknown_page(apex),
            self.unknown_page(&www),
        )?;
        Ok(())
    }

    /// Every address of `host` refuses the handshake as for a name it does not have.
    async fn no_certificate(&self, host: &DomainName) -> Result<(), ProbeError> {
        for address in self.addresses(host).await? {
            match self.get(Scheme::Https, host, address, "/").await {
                Err(ProbeError::Tls(_, error)) if is_unrecognised_name(&error) => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    let serial = answer.tls.map(|tls| tls.certificate.serial);
                    return Err(ProbeError::Unwanted {
                        url: format!("https://{host}/"),
                        address: answer.address,
                        found: format!(
                            "{} over the certificate `{}`",
                            answer.status.as_u16(),
                            serial.unwrap_or_default()
                        ),
                        wanted: "no certificate for the name".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn unknown_page(&self, host: &DomainName) -> Result<(), ProbeError> {
        for address in self.addresses(host).await? {
            let answer = self.get(Scheme::Http, host, address, "/").await?;
            let found = answer.header("x-service");
            if answer.status != StatusCode::NOT_FOUND || found != UNKNOWN_SERVICE {
                return Err(ProbeError::Unwanted {
                    url: format!("http://{host}/"),
                    address: answer.address,
                    found: format!("{} with service `{found}`", answer.status.as_u16()),
                    wanted: format!("404 with service `{UNKNOWN_SERVICE}`"),
                });
            }
        }
        Ok(())
    }

    async fn front_page(&self, apex: &DomainName, revision: &str) -> Result<SiteProof, ProbeError> {
        let mut proof = None;
        for address in self.addresses(apex).await? {
            let answer = self.get(Scheme::Https, apex, address, "/").await?;
            let found = answer.header("x-revision");
            let (StatusCode::OK, Some(tls), true) = (answer.status, &answer.tls, found == revision)
            else {
                return Err(ProbeError::Unwanted {
                    url: format!("https://{apex}/"),
                    address: answer.address,
                    found: format!("{} with revision `{found}`", answer.status.as_u16()),
                    wanted: format!("200 with revision `{revision}`"),
                });
            };
            proof = Some(SiteProof {
                certificate_serial: tls.certificate.serial.clone(),
                revision: revision.to_owned(),
                protocol: answer.protocol,
            });
        }
        proof.ok_or_else(|| ProbeError::NoAddress(apex.clone()))
    }

    /// Every address of `host` redirects to HTTPS at `target`.
    async fn redirect(
        &self,
        scheme: Scheme,
        host: &DomainName,
        target: &DomainName,
    ) -> Result<(), ProbeError> {
        let wanted = format!("https://{target}");
        for address in self.addresses(host).await? {
            let answer = self.get(scheme, host, address, "/").await?;
            let location = answer.header("location");
            let arrives = location
                .strip_prefix(&wanted)
                .is_some_and(|rest| rest.starts_with(['/', ':']));
            let permanent = matches!(
                answer.status,
                StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT
            );
            if !(arrives && permanent) {
                let scheme = match scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                };
                return Err(ProbeError::Unwanted {
                    url: format!("{scheme}://{host}/"),
                    address: answer.address,
                    found: format!("{} to `{location}`", answer.status.as_u16()),
                    wanted: format!("a permanent redirect to `{wanted}/`"),
                });
            }
        }
        Ok(())
    }
}

fn www(apex: &DomainName) -> Result<DomainName, ProbeError> {
    apex.prefixed("www")
        .map_err(|_| ProbeError::NoAddress(apex.clone()))
}

/// Whether the server ended the handshake with the alert for a name it does not serve (RFC 6066, 3).
fn is_unrecognised_name(error: &std::io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::AlertReceived(
            rustls::AlertDescription::UnrecognisedName
        ))
    )
}

impl CertificateFinding {
    /// Reads an end-entity certificate; the fault is for people.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| error.to_string())?
            .map(|extension| &extension.value.general_names)
            .into_iter()
            .flatten()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        let instant = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let validity = certificate.validity();
        Ok(Self {
            names,
            serial: hex(certificate.raw_serial()),
            issuer: certificate.issuer().to_string(),
            not_before: instant(validity.not_before)?,
            not_after: instant(validity.not_after)?,
        })
    }
}

type HttpError = Box<dyn std::error::Error + Send + Sync>;

fn answer(
    address: SocketAddr,
    response: Response<Bytes>,
    protocol: &str,
    tls: Option<TlsFinding>,
) -> Answer {
    let (parts, body) = response.into_parts();
    Answer {
        address,
        protocol: protocol.to_owned(),
        status: parts.status,
        headers: parts.headers,
        body,
        tls,
    }
}

async fn ask_http1<S>(
    stream: S,
    host: &DomainName,
    path: &str,
) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = request(path)
        .header(HOST, host.as_str())
        .body(Empty::<Bytes>::new())?;
    driven(connection, async move {
        whole(sender.send_request(request).await?).await
    })
    .await
}

async fn ask_http2<S>(
    stream: S,
    host: &DomainName,
    path: &str,
) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let request = request(&format!("https://{host}{path}")).body(Empty::<Bytes>::new())?;
    driven(connection, async move {
        whole(sender.send_request(request).await?).await
    })
    .await
}

fn request(target: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(USER_AGENT, "hiendien-probe")
}

/// Waits for the answer while the connection is served. The end of the connection is not an
/// answer: where it comes too early, `answer` fails by itself.
async fn driven<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let serve = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = serve => unreachable!("it is pending for ever"),
    }
}

async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, HttpError> {
    const MOST_BYTES: usize = 1024 * 1024;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn where_a_file_is_served() {
        for (file, path) in [
            ("index.html", "/"),
            ("bai-viet/index.html", "/bai-viet/"),
            ("bai-viet/my-index.html", "/bai-viet/my-index.html"),
            ("404.html", "/404.html"),
            ("phong/chu.woff2", "/phong/chu.woff2"),
        ] {
            assert_eq!(path_of(file), path);
        }
    }
}
