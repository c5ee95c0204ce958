//! The edge on real sockets, asked by curl, by a browser-like client, and by clients that misbehave.
#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up fails the test, in helpers too"
)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::{Platform, PlatformHost};
use hiendien_domain::records::service_names;
use hiendien_domain::secret::Secret;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_edge::probe::{
    CertificateFinding, Prober, Resolve, Roots, Scheme, SiteProbeSettings, probe_site,
    probe_site_absent, probe_site_stopped,
};
use hiendien_edge::{Edge, EdgeSettings, Limits, MtaStsMode, MtaStsPolicy};
use hiendien_engine::ports::{
    Certificate, ErrorChain, FailureKind, HostRole, Origin, PortError, Serving, ServingSite,
    SiteService, SiteStore,
};
use integration_tests::net;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SHOP: &str = "quan-pho-mau.biz.vn";
const STUDENT: &str = "sinh-vien-mau.id.vn";
const PLATFORM: &str = "hiendien.test";
const LONG: Duration = Duration::from_secs(10);

// --- the stories ---------------------------------------------------------------------------

#[tokio::test]
async fn curl_reaches_two_sites_by_their_names() {
    let bed = Bed::start().await;
    for name in [SHOP, STUDENT] {
        let answer = bed.curl(&["--http2", &format!("https://{name}/")]).await;
        let body = text(&answer.stdout);
        assert!(body.contains(&format!("Mẫu: trang của {name}")), "{body}");
        let compressed = bed
            .curl(&["--compressed", &format!("https://{name}/")])
            .await;
        assert_eq!(text(&compressed.stdout), body);
    }
    let said = bed
        .curl(&[
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{response_code} %{num_redirects} %{url_effective}",
            "--location",
            &format!("http://www.{SHOP}/bai-viet?trang=2"),
        ])
        .await;
    assert_eq!(
        text(&said.stdout),
        format!("2 200 3 https://{SHOP}/bai-viet/?trang=2")
    );
}

#[tokio::test]
async fn redirects_keep_path_and_query() {
    let bed = Bed::start().await;
    let moved = |url: String| {
        let client = bed.client();
        async move {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY, "{url}");
            header(&answer, "location")
        }
    };
    assert_eq!(
        moved(format!("http://{SHOP}/a%20b?c=d")).await,
        format!("https://{SHOP}/a%20b?c=d")
    );
    assert_eq!(
        moved(format!("http://www.{SHOP}/")).await,
        format!("https://www.{SHOP}/")
    );
    assert_eq!(
        moved(format!("https://www.{SHOP}/a?b")).await,
        format!("https://{SHOP}/a?b")
    );
    assert_eq!(
        moved(format!("https://{SHOP}/bai-viet?x=1")).await,
        "/bai-viet/?x=1"
    );
    let posted = bed.client().post(format!("http://{SHOP}/")).send().await;
    assert_eq!(posted.unwrap().status(), StatusCode::PERMANENT_REDIRECT);
    let challenge = bed
        .get(&format!("http://{SHOP}/.well-known/acme-challenge/x"))
        .await;
    assert_eq!(challenge.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn headers_of_a_page() {
    let bed = Bed::start().await;
    let answer = bed.get(&format!("https://{SHOP}/")).await;
    insta::assert_snapshot!(headers(&answer), @r#"
    accept-ranges: bytes
    cache-control: no-cache
    content-length: [bytes]
    content-security-policy: default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    date: [date]
    etag: [etag]
    permissions-policy: browsing-topics=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()
    referrer-policy: strict-origin-when-cross-origin
    strict-transport-security: max-age=31536000
    vary: accept-encoding
    x-content-type-options: nosniff
    x-revision: [revision]
    "#);
    assert_eq!(header(&answer, "x-revision"), bed.revision(SHOP).as_str());
    let plain = bed.get(&format!("http://{SHOP}/")).await;
    assert_eq!(header(&plain, "strict-transport-security"), "");
    assert_eq!(header(&plain, "x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn each_coding_is_the_same_page() {
    let bed = Bed::start().await;
    let client = bed.client();
    let mut etags = Vec::new();
    for (accepted, coding) in [
        ("br, gzip", "br"),
        ("gzip;q=1, br;q=0.1", "gzip"),
        ("identity", ""),
        ("zstd", ""),
    ] {
        let answer = client
            .get(format!("https://{SHOP}/"))
            .header("accept-encoding", accepted)
            .send()
            .await
            .unwrap();
        assert_eq!(header(&answer, "content-encoding"), coding);
        assert_eq!(header(&answer, "vary"), "accept-encoding");
        let etag = header(&answer, "etag");
        let body = answer.bytes().await.unwrap();
        let page = match coding {
            "br" => {
                let mut page = Vec::new();
                brotli::Decompressor::new(&body[..], 4096)
                    .read_to_end(&mut page)
                    .unwrap();
                page
            }
            "gzip" => {
                let mut page = Vec::new();
                flate2::read::GzDecoder::new(&body[..])
                    .read_to_end(&mut page)
                    .unwrap();
                page
            }
            _ => body.to_vec(),
        };
        assert_eq!(text(&page), front_page(SHOP));

        let again = client
            .get(format!("https://{SHOP}/"))
            .header("accept-encoding", accepted)
            .header("if-none-match", &etag)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, "etag"), etag);
        assert_eq!(again.bytes().await.unwrap().len(), 0);
        etags.push(etag);
    }
    etags.dedup();
    assert_eq!(etags.len(), 3, "one entity tag for each form");
}

#[tokio::test]
async fn ranges_head_and_methods() {
    let bed = Bed::start().await;
    let client = bed.client();
    let picture = format!("https://{SHOP}/anh/pho.png");
    let asked = |range: &'static str| {
        client
            .get(&picture)
            .header("range", range)
            .header("accept-encoding", "br, gzip")
            .send()
    };
    let whole = client.get(&picture).send().await.unwrap();
    // What an image is called is told by its octets.
    assert_eq!(
        header(&whole, "cache-control"),
        "public, max-age=31536000, immutable"
    );
    let whole = whole.bytes().await.unwrap();

    let part = asked("bytes=10-19").await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        header(&part, "content-range"),
        format!("bytes 10-19/{}", whole.len())
    );
    assert_eq!(header(&part, "content-encoding"), "");
    assert_eq!(part.bytes().await.unwrap(), whole[10..20]);
    let tail = asked("bytes=-5").await.unwrap().bytes().await.unwrap();
    assert_eq!(tail, whole[whole.len() - 5..]);
    let outside = asked("bytes=999999-").await.unwrap();
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        header(&outside, "content-range"),
        format!("bytes */{}", whole.len())
    );
    let several = asked("bytes=0-1,5-6").await.unwrap();
    assert_eq!(several.status(), StatusCode::OK);

    let head = bed
        .curl(&["--head", "--http1.1", &format!("https://{SHOP}/")])
        .await;
    let head = text(&head.stdout).to_lowercase();
    let length = format!("content-length: {}", front_page(SHOP).len());
    assert!(head.contains(&length), "{head}");
    let head = client
        .head(format!("https://{SHOP}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        header(&head, "content-length"),
        front_page(SHOP).len().to_string()
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);

    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = client
            .request(method, format!("https://{SHOP}/"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&answer, "allow"), "GET, HEAD");
    }
}

#[tokio::test]
async fn what_a_site_lacks_is_told_by_the_site_or_by_us() {
    let bed = Bed::start().await;
    let own = bed.get(&format!("https://{SHOP}/khong-co")).await;
    assert_eq!(own.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&own, "x-revision"), bed.revision(SHOP).as_str());
    assert_eq!(own.text().await.unwrap(), "<p>Mẫu: không có trang này</p>");
    // The second site has no 404.html.
    let ours = bed.get(&format!("https://{STUDENT}/khong-co")).await;
    assert_eq!(ours.status(), StatusCode::NOT_FOUND);
    let policy = header(&ours, "content-security-policy");
    assert!(policy.contains("style-src 'sha256-"), "{policy}");
    assert!(ours.text().await.unwrap().contains("Không tìm thấy trang"));
}

#[tokio::test]
async fn paths_that_try_to_escape_are_refused() {
    let bed = Bed::start().await;
    for (path, status) in [
        ("/../../etc/passwd", 400),
        ("/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/bai-viet/..%2f..%2findex.html", 400),
        ("/%00index.html", 400),
        ("/..\\index.html", 400),
        ("/%c0%ae%c0%ae/x", 400),
        ("/%zz", 400),
        ("//example.org/%2e%2e", 400),
        ("//example.org", 404),
        ("/bai-viet//", 404),
        ("/ph%E1%BB%9F", 404),
        ("/%69ndex.html", 200),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {SHOP}\r\nconnection: close\r\n\r\n");
        let answer = bed.raw_tls(SHOP, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(!answer.contains("root:"), "{path}");
    }
}

#[tokio::test]
async fn names_that_are_not_ours() {
    let bed = Bed::start().await;
    let unknown = bed.get("http://khong-co-that.biz.vn/").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let page = unknown.text().await.unwrap();
    assert!(page.contains("Chưa có trang web ở địa chỉ này"), "{page}");
    assert!(
        page.contains("There is no website at this address"),
        "{page}"
    );

    let refused = bed
        .curl_with("khong-co-that.biz.vn", &["https://khong-co-that.biz.vn/"])
        .await;
    assert_eq!(refused.status.code(), Some(35), "{refused:?}");
    let fault = text(&refused.stderr);
    assert!(fault.contains("unrecognized name"), "{fault}");

    for host in [STUDENT, "khong-co-that.biz.vn", "127.0.0.1"] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = bed.raw_tls(SHOP, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
    }
    // Names of the same presence share a certificate, so they may share a connection.
    let coalesced = format!("GET /a HTTP/1.1\r\nhost: WWW.{SHOP}.\r\nconnection: close\r\n\r\n");
    let answer = bed.raw_tls(SHOP, coalesced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");

    for broken in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {SHOP}\r\nhost: {STUDENT}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a@{SHOP}\r\n\r\n"),
        "GET / HTTP/1.1\r\nhost: quán-phở.biz.vn\r\n\r\n".to_owned(),
        format!("GET http://{STUDENT}/ HTTP/1.1\r\nhost: {SHOP}\r\n\r\n"),
    ] {
        let request = broken.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        let answer = bed.raw(80, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{broken}: {answer}");
    }
}

#[tokio::test]
async fn a_change_is_seen_at_once_and_nothing_is_read_twice() {
    let bed = Bed::start().await;
    let before = bed.certificate_of(SHOP).await;
    bed.get(&format!("https://{SHOP}/")).await;
    let reads = bed.memory.reads();
    for _ in 0..5 {
        assert_eq!(bed.certificate_of(SHOP).await, before);
        bed.get(&format!("https://{SHOP}/")).await;
    }
    assert_eq!(bed.memory.reads(), reads, "all came from memory");

    // Another name changes: ours is read again, and is the same.
    bed.memory.put_certificate(&bed.ca.certificate(STUDENT));
    assert_eq!(bed.certificate_of(SHOP).await, before);
    assert!(bed.memory.reads() > reads);

    let renewed = bed.ca.certificate(SHOP);
    bed.memory.put_certificate(&renewed);
    let after = bed.certificate_of(SHOP).await;
    assert_eq!(after.serial, renewed.serial);
    assert_ne!(after.serial, before.serial);

    let mut tree = FileTree::default();
    tree.insert("index.html", page("<p>Mẫu: bản mới</p>"))
        .unwrap();
    bed.memory.publish(SHOP, &tree);
    let body = bed.get(&format!("https://{SHOP}/")).await.text().await;
    assert_eq!(body.unwrap(), "<p>Mẫu: bản mới</p>");

    // One client throughout: its open connection must not keep a removed site alive.
    bed.memory.remove(SHOP);
    let gone = bed.get(&format!("http://{SHOP}/")).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let refused = bed.curl_with(SHOP, &[&format!("https://{SHOP}/")]).await;
    assert_eq!(refused.status.code(), Some(35), "{refused:?}");
}

#[tokio::test]
async fn a_site_that_is_not_published_yet() {
    let bed = Bed::start().await;
    let name = "moi-mau.biz.vn";
    bed.memory.put_presence(name);
    let expect_pending = async |url: String| {
        let answer = bed.client_for(name).get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&answer, "retry-after"), "10");
        let page = answer.text().await.unwrap();
        assert!(page.contains("đang được khởi tạo"), "{page}");
    };
    // Without a certificate a redirect would lead nowhere.
    expect_pending(format!("http://{name}/")).await;
    bed.memory.put_certificate(&bed.ca.certificate(name));
    expect_pending(format!("https://{name}/")).await;
}

#[tokio::test]
async fn a_stopped_site_is_a_notice_and_nothing_else() {
    let bed = Bed::start().await;
    // One client throughout: an open connection must not keep a site alive.
    let client = bed.client();
    let get = async |url: &str| client.get(url).send().await.unwrap();
    let front = format!("https://{SHOP}/");
    assert_eq!(get(&front).await.status(), StatusCode::OK);

    for (service, title, advice) in [
        (
            SiteService::Suspended,
            "Trang web đang tạm ngưng",
            "contact your registrar",
        ),
        (
            SiteService::Expired,
            "Trang web đã hết hạn",
            "renew it at your registrar",
        ),
    ] {
        bed.memory.set_service(SHOP, service);
        for (host, path) in [
            (SHOP, "/"),
            (SHOP, "/bai-viet?trang=2"),
            (SHOP, "/anh/pho.png"),
            (SHOP, "/%2e%2e/x"),
            (SHOP, "/khong-co"),
            (SHOP, "/.well-known/autoconfig/mail/config-v1.1.xml"),
            (&format!("www.{SHOP}"), "/a?b"),
        ] {
            let url = format!("https://{host}{path}");
            let answer = get(&url).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{url}");
            assert_eq!(header(&answer, "x-service"), service.word());
            assert_eq!(header(&answer, "x-revision"), "");
            assert_eq!(header(&answer, "etag"), "");
            let page = answer.text().await.unwrap();
            assert!(page.contains(title), "{url}: {page}");
            assert!(page.contains("nhà đăng ký"), "{page}");
            assert!(page.contains(advice), "{page}");
            assert!(page.contains("href=\"https://hiendien.test/abuse\""));
            let vietnamese = page.find(title).unwrap();
            assert!(vietnamese < page.find("<div lang=\"en\">").unwrap());
            for word in ["Mẫu", SHOP, "http-equiv"] {
                assert!(!page.contains(word), "{url} tells `{word}`: {page}");
            }
        }
        let posted = client.post(&front).body("x").send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::SERVICE_UNAVAILABLE);
        let head = client.head(&front).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&head, "x-service"), service.word());

        // Its address stays what it was, and mail goes on.
        let plain = get(&format!("http://{SHOP}/a")).await;
        assert_eq!(header(&plain, "location"), format!("https://{SHOP}/a"));
        for url in [
            format!("https://mta-sts.{SHOP}/.well-known/mta-sts.txt"),
            format!("https://autoconfig.{SHOP}/mail/config-v1.1.xml"),
        ] {
            assert_eq!(get(&url).await.status(), StatusCode::OK, "{url}");
        }
        let url = format!("https://autodiscover.{SHOP}/autodiscover/autodiscover.xml");
        let found = client.post(url).body(String::new()).send().await.unwrap();
        assert_eq!(found.status(), StatusCode::OK);
        // Nobody else is stopped.
        let other = get(&format!("https://{STUDENT}/")).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
    insta::assert_snapshot!(headers(&get(&front).await), @r"
    cache-control: no-store
    content-length: [bytes]
    content-security-policy: default-src 'none'; style-src 'sha256-Q/dkhG/wfae5PRHIHNGoEdqbGkKA8ani086Lw2q5t9k='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
    content-type: text/html; charset=utf-8
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    date: [date]
    permissions-policy: browsing-topics=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()
    referrer-policy: strict-origin-when-cross-origin
    retry-after: 3600
    strict-transport-security: max-age=31536000
    x-content-type-options: nosniff
    x-robots-tag: noindex
    x-service: expired
    ");

    bed.memory.set_service(SHOP, SiteService::Serving);
    let back = get(&front).await;
    assert_eq!(back.status(), StatusCode::OK);
    assert_eq!(header(&back, "x-service"), "");
    assert_eq!(back.text().await.unwrap(), front_page(SHOP));
}

#[tokio::test]
async fn a_stopped_site_without_certificate_or_revision_is_not_being_set_up() {
    let bed = Bed::start().await;
    let name = "moi-mau.biz.vn";
    bed.memory.put_presence(name);
    bed.memory.set_service(name, SiteService::Suspended);
    let suspended = async |url: String| {
        let answer = bed.client_for(name).get(url).send().await.unwrap();
        assert_eq!(header(&answer, "x-service"), "suspended");
        assert_eq!(header(&answer, "retry-after"), "3600");
    };
    suspended(format!("http://{name}/")).await;
    bed.memory.put_certificate(&bed.ca.certificate(name));
    suspended(format!("https://{name}/")).await;
}

#[tokio::test]
async fn the_probe_tells_a_notice_from_a_site() {
    let bed = Bed::start().await;
    let settings = bed.probe();
    let shop: DomainName = SHOP.parse().unwrap();
    let stopped = async |service| probe_site_stopped(&settings, &shop, service).await;
    let refusal = async |service| {
        let error = stopped(service).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
        ErrorChain(&error).to_string()
    };
    let served = refusal(SiteService::Suspended).await;
    assert!(
        served.contains("wanted 503 with service `suspended`"),
        "{served}"
    );

    bed.memory.set_service(SHOP, SiteService::Suspended);
    stopped(SiteService::Suspended).await.unwrap();
    let other = refusal(SiteService::Expired).await;
    assert!(other.contains("503 with service `suspended`"), "{other}");
    bed.memory.set_service(SHOP, SiteService::Expired);
    stopped(SiteService::Expired).await.unwrap();
    let revision = bed.revision(SHOP);
    let site = probe_site(&settings, &shop, revision.as_str()).await;
    assert!(site.is_err(), "a notice is no site: {site:?}");
    let senseless = stopped(SiteService::Serving).await.unwrap_err();
    assert_eq!(senseless.kind, FailureKind::Rejected);

    // A certificate that does not verify is no notice.
    let stranger = SiteProbeSettings {
        roots: Roots::Pem(Ca::new().pem),
        ..settings.clone()
    };
    let untrusted = probe_site_stopped(&stranger, &shop, SiteService::Expired).await;
    let untrusted = ErrorChain(&untrusted.unwrap_err()).to_string();
    assert!(
        untrusted.contains("invalid peer certificate"),
        "{untrusted}"
    );

    // It waits for a decision that is carried out while it asks.
    let patient = SiteProbeSettings {
        limit: LONG,
        ..settings.clone()
    };
    let asked = probe_site_stopped(&patient, &shop, SiteService::Suspended);
    let (seen, ()) = tokio::join!(asked, async {
        bed.memory.set_service(SHOP, SiteService::Suspended);
    });
    seen.unwrap();
}

#[tokio::test]
async fn the_probe_takes_only_an_answer_for_absence() {
    let mut bed = Bed::start().await;
    let settings = bed.probe();
    let shop: DomainName = SHOP.parse().unwrap();
    let refusal = async || {
        let error = probe_site_absent(&settings, &shop).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
        ErrorChain(&error).to_string()
    };
    for service in [SiteService::Serving, SiteService::Suspended] {
        bed.memory.set_service(SHOP, service);
        let there = refusal().await;
        assert!(there.contains("wanted "), "{there}");
    }
    // Known still, without certificate: the handshake is refused, and plain HTTP knows the name.
    let apex_gone = |state: &mut State| {
        for name in service_names(&shop) {
            state.certificates.remove(&name);
        }
    };
    bed.memory.change(apex_gone);
    let known = refusal().await;
    assert!(
        known.contains("wanted 404 with service `unknown`"),
        "{known}"
    );
    // The apex is gone and `www` is not.
    bed.memory.change(|state| {
        state.sites.remove(&shop);
    });
    let half = refusal().await;
    assert!(half.contains(&format!("http://www.{SHOP}/")), "{half}");

    bed.memory.remove(SHOP);
    probe_site_absent(&settings, &shop).await.unwrap();
    // Another's name says nothing of ours, nor does a store that cannot be read.
    let other = probe_site_absent(&settings, &STUDENT.parse().unwrap()).await;
    assert!(other.is_err());
    bed.memory.failing.store(true, Ordering::SeqCst);
    let broken = refusal().await;
    assert!(
        broken.contains("failed") || broken.contains("503"),
        "{broken}"
    );
    bed.memory.failing.store(false, Ordering::SeqCst);

    // Nobody there is no proof, nor is somebody who says nothing.
    bed.stop().await;
    let nobody = refusal().await;
    assert!(nobody.contains("cannot connect"), "{nobody}");
    let silent = tokio::net::TcpListener::bind(address(443)).await.unwrap();
    let impatient = SiteProbeSettings {
        timeout: Duration::from_millis(200),
        ..settings.clone()
    };
    let prober = Prober::new(&impatient).unwrap();
    let unanswered = prober
        .get(Scheme::Https, &shop, address(443).ip(), "/")
        .await;
    let unanswered = unanswered.unwrap_err().to_string();
    assert!(unanswered.contains("in time"), "{unanswered}");
    assert!(probe_site_absent(&impatient, &shop).await.is_err());
    drop(silent);
}

#[tokio::test]
async fn what_is_in_memory_survives_a_store_that_fails() {
    let bed = Bed::start().await;
    bed.get(&format!("https://{SHOP}/")).await;
    bed.memory.failing.store(true, Ordering::SeqCst);
    let answer = bed.get(&format!("https://{SHOP}/")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cold = bed.get(&format!("http://{STUDENT}/")).await;
    assert_eq!(cold.status(), StatusCode::SERVICE_UNAVAILABLE);
    let page = cold.text().await.unwrap();
    assert!(page.contains("tạm thời gián đoạn"), "{page}");
    bed.memory.failing.store(false, Ordering::SeqCst);
    let answer = bed.get(&format!("https://{STUDENT}/")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_mta_sts_policy() {
    let bed = Bed::start().await;
    let url = format!("https://mta-sts.{SHOP}/.well-known/mta-sts.txt");
    let answer = bed.get(&url).await;
    assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
    let policy = answer.text().await.unwrap();
    assert_eq!(
        policy,
        "version: STSv1\r\nmode: testing\r\nmx: mx1.mail.hiendien.test\r\nmax_age: 604800\r\n"
    );
    let testing = EdgeSettings::new(Vec::new(), Vec::new(), platform());
    assert_eq!(MtaStsPolicy::new(&testing).text(), policy);
    let enforce = EdgeSettings {
        mta_sts_mode: MtaStsMode::Enforce,
        ..testing.clone()
    };
    let (one, other) = (MtaStsPolicy::new(&testing), MtaStsPolicy::new(&enforce));
    assert_ne!(one.id(), other.id(), "a changed policy has another id");
    assert_eq!(one.id().len(), 32);
    let other = bed.get(&format!("https://mta-sts.{SHOP}/")).await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn mail_clients_find_their_settings() {
    let bed = Bed::start().await;
    for url in [
        format!("https://autoconfig.{SHOP}/mail/config-v1.1.xml?emailaddress=lan%40{SHOP}"),
        format!("https://{SHOP}/.well-known/autoconfig/mail/config-v1.1.xml"),
    ] {
        let xml = bed.get(&url).await.text().await.unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(element(&document, "domain"), [SHOP]);
        assert_eq!(
            element(&document, "hostname"),
            ["imap.mail.hiendien.test", "smtp.mail.hiendien.test"]
        );
        assert_eq!(element(&document, "port"), ["993", "465"]);
        assert_eq!(element(&document, "socketType"), ["SSL", "SSL"]);
    }

    let discover = async |host: &str, address: &str| {
        let request = format!(
            "<?xml version=\"1.0\"?><Autodiscover><Request><EMailAddress>{address}</EMailAddress>\
             <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\
             </AcceptableResponseSchema></Request></Autodiscover>"
        );
        let answer = bed
            .client()
            .post(format!("https://{host}/Autodiscover/Autodiscover.xml"))
            .body(request)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    };
    let address = format!("o'lan@{SHOP}");
    for host in [
        format!("autodiscover.{SHOP}"),
        "autodiscover.mail.hiendien.test".to_owned(),
    ] {
        let xml = discover(&host, &address).await;
        let document = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(element(&document, "Type"), ["IMAP", "SMTP"]);
        assert_eq!(element(&document, "Port"), ["993", "465"]);
        assert_eq!(
            element(&document, "LoginName"),
            [address.as_str(), address.as_str()]
        );
    }
    for wrong in [format!("lan@{STUDENT}"), "<b>@x".to_owned(), String::new()] {
        let xml = discover(&format!("autodiscover.{SHOP}"), &wrong).await;
        let document = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(element(&document, "ErrorCode"), ["600"], "{wrong}");
    }
    let url = format!("https://autodiscover.{SHOP}/autodiscover/autodiscover.xml");
    let got = bed.get(&url).await;
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&got, "allow"), "POST");
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let bed = Bed::start().await;
    let long = "a".repeat(20_000);
    let request = format!("GET / HTTP/1.1\r\nhost: {SHOP}\r\nx: {long}\r\n\r\n");
    let answer = bed.raw_tls(SHOP, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "x: y\r\n".repeat(200);
    let request = format!("GET / HTTP/1.1\r\nhost: {SHOP}\r\n{many}\r\n");
    let answer = bed.raw_tls(SHOP, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let request = bed.client().get(format!("https://{SHOP}/"));
    let answer = request.header("x", &long).send().await;
    // HTTP/2: refused by status, or by resetting the stream.
    let refused = |status: StatusCode| status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert!(answer.map_or(true, |answer| refused(answer.status())));

    let url = format!("https://autodiscover.{SHOP}/autodiscover/autodiscover.xml");
    let answer = bed.client().post(url).body(long).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn clients_that_dawdle_are_cut_off() {
    let short = Duration::from_millis(300);
    let bed = Bed::start_with(Limits {
        handshake: short,
        headers: short,
        idle: Duration::from_millis(900),
        ..Limits::default()
    })
    .await;
    // A handshake that is never finished, not begun, or garbage.
    for begun in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        bed.raw(443, begun).await;
    }
    // Headers that never end; a connection that asks for nothing.
    for begun in [&b"GET / HTTP/1.1\r\nhost: a.vn\r\n"[..], b""] {
        bed.raw(80, begun).await;
        bed.raw_tls(SHOP, begun).await;
    }
    // An HTTP/2 connection that falls silent after its preface.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    bed.raw_tls_with(SHOP, b"h2", preface).await;
    // Still there for others.
    let answer = bed.get(&format!("https://{SHOP}/")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let _bed = Bed::start_with(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let first = TcpStream::connect(address(80)).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {SHOP}\r\nconnection: close\r\n\r\n");
    let mut second = TcpStream::connect(address(80)).await.unwrap();
    second.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(early.is_err(), "the only place is taken");
    drop(first);
    let answer = read_to_end(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_returns() {
    let mut bed = Bed::start().await;
    bed.get(&format!("https://{SHOP}/")).await;
    let mut idle = TcpStream::connect(address(80)).await.unwrap();
    let request = format!("HEAD / HTTP/1.1\r\nhost: {SHOP}\r\n\r\n");
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    bed.stop().await;
    read_to_end(&mut idle).await;
    let refused = TcpStream::connect(address(443)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_port_that_cannot_be_had() {
    let bed = Bed::start().await;
    let bind = async |address: SocketAddr| {
        let settings = EdgeSettings::new(Vec::new(), vec![address], platform());
        let (serving, sites) = (Arc::clone(&bed.memory), Arc::clone(&bed.memory));
        let error = Edge::bind(settings, serving, sites).await.unwrap_err();
        ErrorChain(&error).to_string()
    };
    let address = address(443);
    insta::assert_snapshot!(bind(address).await.replace(&address.to_string(), "ADDRESS:443"), @r"
    cannot listen on `ADDRESS:443`: another program does already
    hint: find it with `ss -ltnp 'sport = :443'` and stop it, or choose another address for the edge
    ");
    insta::assert_snapshot!(bind("192.0.2.1:443".parse().unwrap()).await, @r"
    cannot listen on `192.0.2.1:443`: this machine has no such address
    hint: `ip -brief address` lists what it has
    ");
}

#[tokio::test]
async fn the_probe_sees_what_an_outsider_sees() {
    let bed = Bed::start().await;
    let settings = bed.probe();
    let shop: DomainName = SHOP.parse().unwrap();
    let revision = bed.revision(SHOP);
    let proof = probe_site(&settings, &shop, revision.as_str())
        .await
        .unwrap();
    assert_eq!(proof.protocol, "h2");
    assert_eq!(
        proof.certificate_serial,
        bed.certificate_of(SHOP).await.serial
    );

    let fault = async |settings: &SiteProbeSettings, revision: &str| {
        let error = probe_site(settings, &shop, revision).await.unwrap_err();
        ErrorChain(&error).to_string()
    };
    let other = fault(&settings, "another").await;
    assert!(
        other.contains("wanted 200 with revision `another`"),
        "{other}"
    );
    let stranger = SiteProbeSettings {
        roots: Roots::Pem(Ca::new().pem),
        ..settings.clone()
    };
    let untrusted = fault(&stranger, revision.as_str()).await;
    assert!(
        untrusted.contains("invalid peer certificate"),
        "{untrusted}"
    );
    let public = SiteProbeSettings {
        roots: Roots::Mozilla,
        ..settings.clone()
    };
    let untrusted = fault(&public, revision.as_str()).await;
    assert!(
        untrusted.contains("invalid peer certificate"),
        "{untrusted}"
    );
    let nonsense = SiteProbeSettings {
        roots: Roots::Pem("not PEM".to_owned()),
        ..settings.clone()
    };
    assert!(fault(&nonsense, "x").await.contains("root certificates"));
    let nowhere = SiteProbeSettings {
        resolve: Resolve::With(Arc::new(|_| Box::pin(async { Ok(Vec::new()) }))),
        ..settings.clone()
    };
    assert!(fault(&nowhere, "x").await.contains("has no address"));

    // It waits for a publication that comes while it asks.
    let patient = SiteProbeSettings {
        limit: LONG,
        ..settings.clone()
    };
    let mut tree = FileTree::default();
    tree.insert("index.html", page("<p>Mẫu: bản mới</p>"))
        .unwrap();
    let wanted = tree.revision();
    let (proof, ()) = tokio::join!(probe_site(&patient, &shop, wanted.as_str()), async {
        bed.memory.publish(SHOP, &tree);
    });
    assert_eq!(proof.unwrap().revision, wanted.as_str());

    let prober = Prober::new(&settings).unwrap();
    let address = address(443).ip();
    let answer = prober
        .get(Scheme::Https, &shop, address, "/")
        .await
        .unwrap();
    assert_eq!(answer.missing_security_headers(), Vec::<&str>::new());
    let tls = answer.tls.unwrap();
    assert_eq!(tls.version, "TLSv1.3");
    let names = service_names(&shop);
    let names: Vec<&str> = names.iter().map(DomainName::as_str).collect();
    assert_eq!(tls.certificate.names, names);
}

// --- the bed -------------------------------------------------------------------------------

/// A running edge with two published presences and the platform's own.
struct Bed {
    memory: Arc<Memory>,
    ca: Ca,
    ca_file: tempfile::NamedTempFile,
    stop: Option<oneshot::Sender<()>>,
    edge: Option<JoinHandle<()>>,
}

impl Bed {
    async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    async fn start_with(limits: Limits) -> Self {
        let ca = Ca::new();
        let memory = Arc::new(Memory::default());
        for name in [SHOP, STUDENT, PLATFORM] {
            memory.put_presence(name);
            memory.put_certificate(&ca.certificate(name));
        }
        memory.put_host(
            PLATFORM,
            "autodiscover.mail.hiendien.test",
            HostRole::Autodiscover,
        );
        memory.publish(SHOP, &shop());
        memory.publish(STUDENT, &student());

        let settings = EdgeSettings {
            limits,
            ..EdgeSettings::new(vec![address(80)], vec![address(443)], platform())
        };
        let (serving, sites) = (Arc::clone(&memory), Arc::clone(&memory));
        let edge = Edge::bind(settings, serving, sites).await.unwrap();
        assert_eq!(edge.http_addresses(), [address(80)]);
        assert_eq!(edge.https_addresses(), [address(443)]);
        let (stop, stopped) = oneshot::channel::<()>();
        let edge = tokio::spawn(edge.run(async {
            let _ = stopped.await;
        }));
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        ca_file.write_all(ca.pem.as_bytes()).unwrap();
        Self {
            memory,
            ca,
            ca_file,
            stop: Some(stop),
            edge: Some(edge),
        }
    }

    async fn stop(&mut self) {
        drop(self.stop.take());
        let edge = self.edge.take().unwrap();
        tokio::time::timeout(LONG, edge).await.unwrap().unwrap();
    }

    fn revision(&self, name: &str) -> RevisionHash {
        let state = self.memory.state.lock().unwrap();
        let site = &state.sites[&name.parse::<DomainName>().unwrap()];
        site.revision.clone().unwrap()
    }

    fn probe(&self) -> SiteProbeSettings {
        let addresses = vec![IpAddr::V4(net::address(80))];
        SiteProbeSettings::new(
            Resolve::Addresses(addresses),
            Roots::Pem(self.ca.pem.clone()),
        )
    }

    /// Looks at the certificate in a handshake of its own.
    async fn certificate_of(&self, name: &str) -> CertificateFinding {
        let settings = self.probe();
        let prober = Prober::new(&settings).unwrap();
        let answer = prober
            .get(
                Scheme::Https,
                &name.parse().unwrap(),
                address(443).ip(),
                "/",
            )
            .await
            .unwrap();
        answer.tls.unwrap().certificate
    }

    fn client(&self) -> Client {
        self.client_for("khong-co-that.biz.vn")
    }

    /// A client that follows nothing, decodes nothing, and finds our names and one more.
    fn client_for(&self, name: &str) -> Client {
        let mut tls = client_tls(&self.ca.pem);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut names = vec![
            name.to_owned(),
            "autodiscover.mail.hiendien.test".to_owned(),
        ];
        for apex in [SHOP, STUDENT] {
            let service = service_names(&apex.parse().unwrap());
            names.extend(service.into_iter().map(String::from));
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(LONG);
        for name in names {
            builder = builder.resolve(&name, SocketAddr::from((net::address(80), 0)));
        }
        builder.build().unwrap()
    }

    async fn get(&self, url: &str) -> Response {
        self.client().get(url).send().await.unwrap()
    }

    async fn curl(&self, arguments: &[&str]) -> Output {
        let output = self.curl_with(SHOP, arguments).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    async fn curl_with(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                "10",
            ])
            .arg("--cacert")
            .arg(self.ca_file.path());
        for host in [name, SHOP, STUDENT, &format!("www.{SHOP}")] {
            for port in [80, 443] {
                let address = net::address(80);
                command.args(["--resolve", &format!("{host}:{port}:{address}")]);
            }
        }
        command
            .args(arguments)
            .output()
            .await
            .expect("curl runs; install it with `apt-get install curl`")
    }

    /// Sends bytes over plain TCP and reads until the server closes.
    async fn raw(&self, port: u16, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address(port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn raw_tls(&self, name: &str, bytes: &[u8]) -> String {
        self.raw_tls_with(name, b"http/1.1", bytes).await
    }

    async fn raw_tls_with(&self, name: &str, protocol: &[u8], bytes: &[u8]) -> String {
        let mut tls = client_tls(&self.ca.pem);
        tls.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(address(443)).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
            .unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }
}

/// Where the edge of this test answers.
fn address(port: u16) -> SocketAddr {
    SocketAddr::from((net::address(80), port))
}

/// Reads until the end, whichever way the server ends it; fails when it does not.
async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes the connection")
        .ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn client_tls(root_pem: &str) -> rustls::ClientConfig {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls_pki_types::CertificateDer::from_pem_slice(root_pem.as_bytes());
    roots.add(root.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header(answer: &Response, name: &str) -> String {
    text(
        answer
            .headers()
            .get(name)
            .map_or(b"", |value| value.as_bytes()),
    )
}

/// The headers in order of their names, what differs from run to run taken out.
fn headers(answer: &Response) -> String {
    let headers: &HeaderMap = answer.headers();
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "content-length" => format!("{name}: [bytes]"),
            "date" => format!("{name}: [date]"),
            "etag" => format!("{name}: [etag]"),
            "x-revision" => format!("{name}: [revision]"),
            _ => format!("{name}: {}", text(value.as_bytes())),
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn element(document: &roxmltree::Document<'_>, name: &str) -> Vec<String> {
    document
        .descendants()
        .filter(|node| node.has_tag_name(name) || node.tag_name().name() == name)
        .filter_map(|node| node.text().map(str::to_owned))
        .collect()
}

fn platform() -> Platform {
    let host = |name: &str, last: u8| PlatformHost {
        name: name.parse().unwrap(),
        addresses: vec![net::address(last).into()],
    };
    Platform {
        apex: PLATFORM.parse().unwrap(),
        name_servers: vec![host("ns1.hiendien.test", 53), host("ns2.hiendien.test", 54)],
        edge_addresses: vec![net::address(80).into()],
        mail_exchangers: vec![host("mx1.mail.hiendien.test", 25)],
        mail_address: net::address(25).into(),
        outbound_addresses: vec![net::address(25).into()],
        abuse_url: "https://hiendien.test/abuse".to_owned(),
    }
}

fn front_page(name: &str) -> String {
    format!(
        "<!doctype html><p>Mẫu: trang của {name}</p>{}",
        "<br>".repeat(200)
    )
}

fn page(html: &str) -> SiteFile {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(html.as_bytes()).unwrap();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    brotli.write_all(html.as_bytes()).unwrap();
    SiteFile {
        media_type: "text/html; charset=utf-8".to_owned(),
        identity: html.as_bytes().to_vec(),
        gzip: Some(gzip.finish().unwrap()),
        brotli: Some(brotli.into_inner()),
    }
}

fn shop() -> FileTree {
    let mut tree = FileTree::default();
    tree.insert("index.html", page(&front_page(SHOP))).unwrap();
    tree.insert("bai-viet/index.html", page("<p>Mẫu: bài viết</p>"))
        .unwrap();
    tree.insert("404.html", page("<p>Mẫu: không có trang này</p>"))
        .unwrap();
    let picture = SiteFile {
        media_type: "image/png".to_owned(),
        identity: (0..=255).cycle().take(5000).collect(),
        gzip: None,
        brotli: None,
    };
    tree.insert("anh/pho.png", picture).unwrap();
    tree
}

fn student() -> FileTree {
    let mut tree = FileTree::default();
    tree.insert("index.html", page(&front_page(STUDENT)))
        .unwrap();
    tree
}

/// A certification authority of its own for each bed.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a leaf that is named like its issuer for a self-signed certificate.
        let name = "Hiendien sample root";
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    fn certificate(&self, apex: &str) -> Certificate {
        let mut names = service_names(&apex.parse().unwrap());
        if apex == PLATFORM {
            names.push("autodiscover.mail.hiendien.test".parse().unwrap());
        }
        let texts: Vec<String> = names.iter().cloned().map(String::from).collect();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(texts).unwrap();
        let issued = parameters.signed_by(&key, &self.issuer).unwrap();
        let finding = CertificateFinding::read(issued.der()).unwrap();
        Certificate {
            names,
            chain_pem: issued.pem(),
            key_pem: Secret::new(key.serialize_pem()),
            serial: finding.serial,
            not_before: finding.not_before,
            not_after: finding.not_after,
        }
    }
}

/// The two ports of the edge over maps, which count how often they are read.
#[derive(Default)]
struct Memory {
    state: Mutex<State>,
    version: AtomicU64,
    reads: AtomicUsize,
    failing: AtomicBool,
}

#[derive(Default)]
struct State {
    sites: HashMap<DomainName, ServingSite>,
    certificates: HashMap<DomainName, Certificate>,
    trees: HashMap<(PresenceId, RevisionHash), FileTree>,
}

impl Memory {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, PortError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(PortError::transient("read the memory", "told to fail"));
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(read(&self.state.lock().unwrap()))
    }

    fn put_presence(&self, apex: &str) {
        let apex: DomainName = apex.parse().unwrap();
        let presence = PresenceId::new();
        let roles = [
            HostRole::Apex,
            HostRole::Www,
            HostRole::MtaSts,
            HostRole::Autoconfig,
            HostRole::Autodiscover,
        ];
        self.change(|state| {
            for (host, role) in service_names(&apex).into_iter().zip(roles) {
                let site = ServingSite {
                    presence,
                    apex: apex.clone(),
                    role,
                    revision: None,
                    service: SiteService::Serving,
                };
                state.sites.insert(host, site);
            }
        });
    }

    fn put_host(&self, apex: &str, host: &str, role: HostRole) {
        self.change(|state| {
            let apex: DomainName = apex.parse().unwrap();
            let site = state.sites[&apex].clone();
            let host = host.parse().unwrap();
            state.sites.insert(host, ServingSite { role, ..site });
        });
    }

    fn put_certificate(&self, certificate: &Certificate) {
        self.change(|state| {
            for name in &certificate.names {
                state.certificates.insert(name.clone(), certificate.clone());
            }
        });
    }

    fn publish(&self, apex: &str, tree: &FileTree) {
        self.change(|state| {
            let apex: DomainName = apex.parse().unwrap();
            let revision = tree.revision();
            let presence = state.sites[&apex].presence;
            state
                .trees
                .insert((presence, revision.clone()), tree.clone());
            for site in state.sites.values_mut().filter(|site| site.apex == apex) {
                site.revision = Some(revision.clone());
            }
        });
    }

    fn set_service(&self, apex: &str, service: SiteService) {
        self.change(|state| {
            let apex: DomainName = apex.parse().unwrap();
            for site in state.sites.values_mut().filter(|site| site.apex == apex) {
                site.service = service;
            }
        });
    }

    fn remove(&self, apex: &str) {
        self.change(|state| {
            for name in service_names(&apex.parse().unwrap()) {
                state.sites.remove(&name);
                state.certificates.remove(&name);
            }
        });
    }
}

#[async_trait]
impl Serving for Memory {
    async fn site(&self, host: &DomainName) -> Result<Option<ServingSite>, PortError> {
        self.read(|state| state.sites.get(host).cloned())
    }

    async fn certificate(&self, host: &DomainName) -> Result<Option<Certificate>, PortError> {
        self.read(|state| state.certificates.get(host).cloned())
    }

    async fn version(&self) -> Result<u64, PortError> {
        Ok(self.version.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl SiteStore for Memory {
    async fn put_revision(
        &self,
        presence: PresenceId,
        tree: &FileTree,
        _: &Origin,
    ) -> Result<RevisionHash, PortError> {
        let revision = tree.revision();
        self.change(|state| {
            state
                .trees
                .insert((presence, revision.clone()), tree.clone());
        });
        Ok(revision)
    }

    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        self.read(|state| {
            let keys = state.trees.keys();
            keys.filter(|(of, _)| *of == presence)
                .map(|(_, revision)| revision.clone())
                .collect()
        })
    }

    async fn remove_revisions(&self, presence: PresenceId) -> Result<(), PortError> {
        self.change(|state| state.trees.retain(|(of, _), _| *of != presence));
        Ok(())
    }

    async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError> {
        let key = (presence, revision.clone());
        self.read(|state| state.trees.get(&key)?.get(path).cloned())
    }
}
