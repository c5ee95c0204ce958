//! Security headers, the same on every answer.

use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// One year. Without `includeSubDomains`: a name may move to another provider, and a year in which
/// browsers refuse its other hosts would be our doing. The edge has no host without HTTPS anyway.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What a site may load: its own styles, images, fonts and media, and nothing from elsewhere; images also out of its
/// stylesheet, where blurred likenesses of photos are. No script runs at all; a `<script type="application/ld+json">` is
/// data and not touched by this. Nothing connects, but Lighthouse reads `robots.txt` under the page's policy and takes it for
/// broken when it may not.
pub(crate) const SITE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; media-src 'self'; connect-src 'self'; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// For answers that load nothing.
pub(crate) const BARE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Whether the answer goes out over TLS; HSTS means nothing without it (RFC 6797, 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// Adds the security headers. A policy that is set already stays.
pub(crate) fn secure(headers: &mut HeaderMap, transport: Transport) {
    const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
    const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    const FEATURES: HeaderValue = HeaderValue::from_static(
        "browsing-topics=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

    if transport == Transport::Tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(BARE_POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        REFERRER_POLICY,
        HeaderValue::from_static("strict-origin-when-cross-origin"),
    );
    headers.insert(PERMISSIONS_POLICY, FEATURES);
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
}
