//! One request in, one answer out. Knows nothing of connections but their transport and SNI.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::site::RevisionHash;
use hiendien_engine::ports::{ErrorChain, HostRole, PortError, Serving, ServingSite, SiteStore};
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, LOCATION, RETRY_AFTER, VARY,
};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};

use crate::directory::Directory;
use crate::files::{Files, Served};
use crate::headers::{self, Transport};
use crate::negotiation::{self, Coding, Span};
use crate::pages::{self, Page, Pages};
use crate::path::SitePath;
use crate::services::{self, MtaStsPolicy};
use crate::settings::EdgeSettings;

const REVISION: HeaderName = HeaderName::from_static("x-revision");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// Tells a probe which of our pages this is.
const SERVICE: HeaderName = HeaderName::from_static("x-service");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");

type Answer = Response<Full<Bytes>>;

/// See the module.
pub(crate) struct Responder {
    pub(crate) directory: Directory,
    files: Files,
    pages: Pages,
    settings: EdgeSettings,
    mta_sts: MtaStsPolicy,
}

/// How a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Plain,
    /// With the server name of the handshake.
    Tls(DomainName),
}

impl Responder {
    pub(crate) fn new(
        settings: EdgeSettings,
        serving: Arc<dyn Serving>,
        sites: Arc<dyn SiteStore>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            directory: Directory::new(serving, &settings.limits)?,
            files: Files::new(sites, &settings.limits),
            mta_sts: MtaStsPolicy::new(&settings),
            pages: Pages::new(&settings.platform.abuse_url),
            settings,
        })
    }

    pub(crate) async fn answer(&self, arrival: &Arrival, request: Request<Incoming>) -> Answer {
        let began = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let host = requested_host(&request);

        let mut answer = match &host {
            _ if self.is_too_large(&request) => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Nội dung gửi lên quá lớn.\nThe request body is too large.\n",
            ),
            None => plain(
                StatusCode::BAD_REQUEST,
                "Yêu cầu thiếu hoặc sai tên máy chủ (Host).\nThe request names no host, or a malformed one.\n",
            ),
            Some(host) => {
                let result = match arrival {
                    Arrival::Plain => self.answer_plain(host, &request).await,
                    Arrival::Tls(name) => self.answer_tls(name, host, request).await,
                };
                result.unwrap_or_else(|error| {
                    tracing::warn!(
                        error = %ErrorChain(&error),
                        "Could not answer a request for `{host}`"
                    );
                    self.page(Page::Unavailable)
                })
            }
        };

        let transport = match arrival {
            Arrival::Plain => Transport::Plain,
            Arrival::Tls(_) => Transport::Tls,
        };
        headers::secure(answer.headers_mut(), transport);
        let bytes = answer.body().size_hint().exact().unwrap_or_default();
        if method == Method::HEAD {
            answer
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(bytes));
            *answer.body_mut() = Full::default();
        }
        // Without query string and client address: neither is needed to run an edge.
        tracing::debug!(
            host = host.as_ref().map_or("-", DomainName::as_str),
            %method,
            path,
            status = answer.status().as_u16(),
            bytes,
            duration_us = began.elapsed().as_micros(),
            "answered"
        );
        answer
    }

    fn is_too_large(&self, request: &Request<Incoming>) -> bool {
        request.body().size_hint().lower() > u64::from(self.settings.limits.body_bytes)
    }

    /// Plain HTTP: everything of ours is sent to HTTPS.
    async fn answer_plain(
        &self,
        host: &DomainName,
        request: &Request<Incoming>,
    ) -> Result<Answer, PortError> {
        // Certificates are ordered by dns-01. An http-01 responder would answer here, before
        // the redirect.
        if request
            .uri()
            .path()
            .starts_with("/.well-known/acme-challenge/")
        {
            return Ok(plain(
                StatusCode::NOT_FOUND,
                "no such challenge; certificates are validated by dns-01\n",
            ));
        }
        let Some(site) = self.directory.site(host).await? else {
            return Ok(self.page(Page::Unknown));
        };
        if self.directory.tls(host).await?.is_none() {
            // A redirect now would end in a broken handshake.
            return Ok(self.page(notice(&site).unwrap_or(Page::Pending)));
        }
        let port = match self.settings.https.first().map(std::net::SocketAddr::port) {
            Some(443) | None => String::new(),
            Some(port) => format!(":{port}"),
        };
        Ok(redirect(
            request.method(),
            &format!("https://{host}{port}{}", path_and_query(request)),
        ))
    }

    async fn answer_tls(
        &self,
        server_name: &DomainName,
        host: &DomainName,
        request: Request<Incoming>,
    ) -> Result<Answer, PortError> {
        let site = self.directory.site(host).await?;
        if host != server_name {
            // Browsers reuse a connection for names of the same certificate (RFC 9113, 9.1.1),
            // which are the names of the same presence.
            let other = self.directory.site(server_name).await?;
            let presence =
                |site: &Option<Arc<ServingSite>>| site.as_ref().map(|site| site.presence);
            if presence(&site).is_none() || presence(&site) != presence(&other) {
                return Ok(plain(
                    StatusCode::MISDIRECTED_REQUEST,
                    "Yêu cầu đến nhầm kết nối.\nThis connection was opened for another name.\n",
                ));
            }
        }
        let Some(site) = site else {
            return Ok(self.page(Page::Unknown));
        };
        if let Some(notice) = notice(&site) {
            return Ok(self.page(notice));
        }
        match site.role {
            HostRole::Apex => self.site(&site, &request).await,
            HostRole::Www => {
                let target = format!("https://{}{}", site.apex, path_and_query(&request));
                Ok(redirect(request.method(), &target))
            }
            HostRole::MtaSts => Ok(self.mta_sts(&request)),
            HostRole::Autoconfig => Ok(match request.uri().path() {
                "/mail/config-v1.1.xml" => self.autoconfig(&site, &request),
                _ => nothing_here(),
            }),
            HostRole::Autodiscover => Ok(self.autodiscover(&site, request).await),
        }
    }

    async fn site(
        &self,
        site: &ServingSite,
        request: &Request<Incoming>,
    ) -> Result<Answer, PortError> {
        if request.uri().path() == "/.well-known/autoconfig/mail/config-v1.1.xml" {
            return Ok(self.autoconfig(site, request));
        }
        if let Some(refusal) = only_get(request) {
            return Ok(refusal);
        }
        let Some(revision) = &site.revision else {
            return Ok(self.page(Page::Pending));
        };
        let Some(path) = SitePath::parse(request.uri().path()) else {
            return Ok(plain(
                StatusCode::BAD_REQUEST,
                "Đường dẫn không hợp lệ.\nThe path is malformed.\n",
            ));
        };
        let file =
            |path: String| async move { self.files.file(site.presence, revision, &path).await };
        if let Some(found) = file(path.file()).await? {
            return Ok(present(&found, path.as_str(), revision, request));
        }
        if let Some(directory) = path.directory()
            && file(directory.file()).await?.is_some()
        {
            let query = request
                .uri()
                .query()
                .map_or(String::new(), |query| format!("?{query}"));
            let target = format!("{}{query}", directory.as_str());
            return Ok(redirect(request.method(), &target));
        }
        Ok(match file("404.html".to_owned()).await? {
            Some(found) => absent(&found, revision, request),
            None => self.page(Page::NotFound),
        })
    }

    fn page(&self, page: Page) -> Answer {
        let mut answer = document(page.status(), HTML, self.pages.html(page));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, pages::policy());
        if let Some(secs) = page.retry_after_secs() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(service) = page.service() {
            headers.insert(SERVICE, HeaderValue::from_static(service));
        }
        if page.is_notice() {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
        }
        answer
    }

    fn mta_sts(&self, request: &Request<Incoming>) -> Answer {
        match only_get(request) {
            Some(refusal) => refusal,
            None if request.uri().path() == "/.well-known/mta-sts.txt" => {
                plain(StatusCode::OK, self.mta_sts.text().to_owned())
            }
            None => nothing_here(),
        }
    }

    fn autoconfig(&self, site: &ServingSite, request: &Request<Incoming>) -> Answer {
        only_get(request).unwrap_or_else(|| {
            let xml = services::autoconfig(&site.apex, &self.settings.platform);
            document(StatusCode::OK, XML, xml)
        })
    }

    async fn autodiscover(&self, site: &ServingSite, request: Request<Incoming>) -> Answer {
        if !request
            .uri()
            .path()
            .eq_ignore_ascii_case("/autodiscover/autodiscover.xml")
        {
            return nothing_here();
        }
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        let limits = &self.settings.limits;
        let body = Limited::new(request.into_body(), limits.body_bytes as usize).collect();
        let address = match tokio::time::timeout(BODY_LIMIT, body).await {
            Ok(Ok(body)) => String::from_utf8(body.to_bytes().into())
                .ok()
                .and_then(|body| services::autodiscover_address(&body)),
            Ok(Err(_)) | Err(_) => None,
        };
        // The platform's own host answers for all domains (the SRV record points there).
        let ours = |address: &MailAddress| {
            site.apex == self.settings.platform.apex || address.domain() == site.apex.as_str()
        };
        let xml = match address.filter(ours) {
            Some(address) => services::autodiscover(&address, &self.settings.platform),
            None => services::autodiscover_refusal(),
        };
        document(StatusCode::OK, XML, xml)
    }
}

/// What a host of a stopped site shows instead. Mail still comes in, so its hosts answer in any case.
fn notice(site: &ServingSite) -> Option<Page> {
    match site.role {
        HostRole::Apex | HostRole::Www => Page::notice(site.service),
        HostRole::MtaSts | HostRole::Autoconfig | HostRole::Autodiscover => None,
    }
}

/// How long the body of a request may take.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// The host a request is for, `None` where it names none, several, or none that could be ours.
fn requested_host(request: &Request<Incoming>) -> Option<DomainName> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => Some(Authority::try_from(field.as_bytes()).ok()?),
        (None, _) => None,
        (Some(_), Some(_)) => return None,
    };
    let authority = match (request.uri().authority(), field) {
        (Some(authority), Some(field)) if *authority != field => return None,
        (Some(authority), _) => authority.clone(),
        (None, Some(field)) => field,
        (None, None) => return None,
    };
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host();
    host.strip_suffix('.').unwrap_or(host).parse().ok()
}

fn path_and_query(request: &Request<Incoming>) -> &str {
    request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
}

/// A file with 200, 206, 304 or 416.
fn present(
    file: &Served,
    path: &str,
    revision: &RevisionHash,
    request: &Request<Incoming>,
) -> Answer {
    let asked = request.headers();
    let parts_allowed = request.method() == Method::GET;
    let coding = if parts_allowed && negotiation::wants_part(asked) {
        Coding::Identity
    } else {
        negotiation::coding(asked, file.brotli.is_some(), file.gzip.is_some())
    };
    let mut answer = file_answer(file, coding, revision);
    let etag = answer.headers()[ETAG].clone();
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, cache_control(path, &file.media_type));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));

    if etag
        .to_str()
        .is_ok_and(|etag| negotiation::not_modified(asked, etag))
    {
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = Full::default();
        return answer;
    }
    if parts_allowed && coding == Coding::Identity {
        let bytes = &file.identity.bytes;
        let span = etag.to_str().map_or(Span::Whole, |etag| {
            negotiation::span(asked, etag, bytes.len())
        });
        match span {
            Span::Whole => {}
            Span::Part { first, end } => {
                let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
                headers.insert(CONTENT_RANGE, ascii(&range));
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                *answer.body_mut() = Full::new(bytes.slice(first..end));
            }
            Span::Unsatisfiable => {
                let mut answer = plain(StatusCode::RANGE_NOT_SATISFIABLE, "");
                let range = format!("bytes */{}", bytes.len());
                answer.headers_mut().insert(CONTENT_RANGE, ascii(&range));
                return answer;
            }
        }
    }
    answer
}

/// The site's own page for what it does not have.
fn absent(file: &Served, revision: &RevisionHash, request: &Request<Incoming>) -> Answer {
    let coding = negotiation::coding(
        request.headers(),
        file.brotli.is_some(),
        file.gzip.is_some(),
    );
    let mut answer = file_answer(file, coding, revision);
    *answer.status_mut() = StatusCode::NOT_FOUND;
    let headers = answer.headers_mut();
    headers.remove(ETAG);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn file_answer(file: &Served, coding: Coding, revision: &RevisionHash) -> Answer {
    let form = match coding {
        Coding::Brotli => file.brotli.as_ref(),
        Coding::Gzip => file.gzip.as_ref(),
        Coding::Identity => None,
    }
    .unwrap_or(&file.identity);
    let mut answer = Response::new(Full::new(form.bytes.clone()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, file.media_type.clone());
    headers.insert(CONTENT_SECURITY_POLICY, headers::SITE_POLICY);
    headers.insert(ETAG, form.etag.clone());
    headers.insert(REVISION, ascii(revision.as_str()));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(token) = coding.token() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(token));
    }
    answer
}

/// Pages and what they are made of are asked for again each time (304 is cheap, and a publication
/// is seen at once); what carries its hash in its name is kept for a year; pictures, fonts and
/// documents for an hour.
fn cache_control(path: &str, media_type: &HeaderValue) -> HeaderValue {
    let media_type = media_type.to_str().unwrap_or_default();
    let lasting = ["image/", "font/", "audio/", "video/", "application/pdf"];
    let value = if is_fingerprinted(path) || is_picture(path) {
        "public, max-age=31536000, immutable"
    } else if lasting.iter().any(|kind| media_type.starts_with(kind)) {
        "public, max-age=3600"
    } else {
        "no-cache"
    };
    HeaderValue::from_static(value)
}

/// Whether the file's name has a part of at least eight lower-case hexadecimal digits before its
/// extension, as in `style.1f2e3d4c.css` or `logo-1f2e3d4c.svg`.
fn is_fingerprinted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, _)) = name.rsplit_once('.') else {
        return false;
    };
    let (_, last) = stem.rsplit_once(['.', '-']).unwrap_or(("", ""));
    last.len() >= 8
        && last
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && last.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether it is a form of an uploaded picture, `/anh/{hash}-{width}.{form}`: another picture has
/// another name.
fn is_picture(path: &str) -> bool {
    path.starts_with("/anh/")
}

fn only_get(request: &Request<Incoming>) -> Option<Answer> {
    match *request.method() {
        Method::GET | Method::HEAD => None,
        _ => Some(not_allowed("GET, HEAD")),
    }
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "Phương thức không được hỗ trợ.\nThe method is not supported here.\n",
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn nothing_here() -> Answer {
    plain(
        StatusCode::NOT_FOUND,
        "Không có gì ở đường dẫn này.\nThere is nothing at this path.\n",
    )
}

/// 301, which every client knows, and 308 where the method must stay.
fn redirect(method: &Method, target: &str) -> Answer {
    let status = match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let mut answer = plain(status, "");
    answer.headers_mut().insert(LOCATION, ascii(target));
    answer
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    document(status, TEXT, text)
}

fn document(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// For texts made of what was parsed before: host names, request targets, hashes, numbers.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_file_may_be_kept() {
        let kept = |path: &str, media_type: &'static str| {
            let value = cache_control(path, &HeaderValue::from_static(media_type));
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(kept("/", "text/html; charset=utf-8"), "no-cache");
        assert_eq!(kept("/style.css", "text/css"), "no-cache");
        assert_eq!(kept("/logo.svg", "image/svg+xml"), "public, max-age=3600");
        for hashed in [
            "/style.1f2e3d4c.css",
            "/a/logo-0123456789abcdef.svg",
            "/phong/be-vietnam-pro-400.ecb6f63c2e5141ee.woff2",
            "/anh/0123456789abcdef0123456789abcdef-640.avif",
        ] {
            assert_eq!(
                kept(hashed, "text/css"),
                "public, max-age=31536000, immutable"
            );
        }
        for plain in ["/facade-deadbeef.css", "/1f2e3d4c.css", "/a.1f2e3d4c/b.css"] {
            assert_eq!(kept(plain, "text/css"), "no-cache", "{plain}");
        }
    }
}
