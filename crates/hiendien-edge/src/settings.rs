//! What the edge is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use hiendien_domain::platform::Platform;

/// Settings of one edge process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Where to answer plain HTTP. `[::]:80` alone takes IPv4 as well; do not list both.
    pub http: Vec<SocketAddr>,
    /// Where to answer HTTPS. The port of the first one is where plain HTTP is redirected to.
    pub https: Vec<SocketAddr>,
    pub platform: Platform,
    pub mta_sts_mode: MtaStsMode,
    /// How long senders keep the MTA-STS policy (RFC 8461, 3.2), seconds; at most 31,557,600.
    pub mta_sts_max_age_secs: u32,
    pub limits: Limits,
}

impl EdgeSettings {
    /// Safe defaults: the MTA-STS policy starts in `testing` and is kept for a week.
    pub fn new(http: Vec<SocketAddr>, https: Vec<SocketAddr>, platform: Platform) -> Self {
        Self {
            http,
            https,
            platform,
            mta_sts_mode: MtaStsMode::Testing,
            mta_sts_max_age_secs: 604_800,
            limits: Limits::default(),
        }
    }
}

/// What a sender does when the mail exchanger fails the policy (RFC 8461, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtaStsMode {
    /// Only report. For a platform whose exchangers have not passed yet.
    Testing,
    /// Do not deliver.
    Enforce,
}

/// Every bound of the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's queue.
    pub connections: u32,
    /// From accept to the end of the TLS handshake, look-up of the certificate included.
    pub handshake: Duration,
    /// From the first wait for a request to the end of its headers (HTTP/1.1); also how long
    /// a connection is kept alive without a request.
    pub headers: Duration,
    /// A connection on which no byte moves for so long is closed.
    pub idle: Duration,
    /// A connection older than this is ended after the requests in flight.
    pub connection_age: Duration,
    /// How long requests in flight may take when the edge stops or a connection is too old.
    pub drain: Duration,
    /// One read of the store.
    pub store: Duration,
    /// Request line and headers, bytes.
    pub header_bytes: u32,
    pub header_count: u32,
    /// Request body, bytes. Only mail client settings are asked for with a body.
    pub body_bytes: u32,
    /// Concurrent HTTP/2 streams of a connection.
    pub streams: u32,
    /// Host names whose certificate and site are kept in memory.
    pub cached_names: u32,
    /// Bodies of site files kept in memory, bytes.
    pub cached_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            connection_age: Duration::from_mins(10),
            drain: Duration::from_secs(10),
            store: Duration::from_secs(3),
            header_bytes: 16 * 1024,
            header_count: 64,
            body_bytes: 8 * 1024,
            streams: 100,
            cached_names: 20_000,
            cached_file_bytes: 256 * 1024 * 1024,
        }
    }
}
