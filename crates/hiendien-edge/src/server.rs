//! Sockets, handshakes and connections, each with a bound.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hiendien_domain::name::DomainName;
use hiendien_engine::ports::{Serving, SiteStore};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::server::Acceptor;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::idle::IdleStream;
use crate::responder::{Arrival, Responder};
use crate::settings::{EdgeSettings, Limits};

/// The edge with its sockets bound. Bind first, drop privileges next, then [`Edge::run`].
pub struct Edge {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    shared: Arc<Shared>,
}

/// Why the edge could not be set up.
#[derive(Debug, Error)]
pub enum EdgeError {
    #[error(
        "cannot listen on `{0}`: another program does already\n\
         hint: find it with `ss -ltnp 'sport = :{port}'` and stop it, or choose another address for the edge",
        port = .0.port()
    )]
    InUse(SocketAddr),
    #[error(
        "cannot listen on `{0}`: not permitted\n\
         hint: ports below 1024 need root or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit file"
    )]
    NotPermitted(SocketAddr),
    #[error(
        "cannot listen on `{0}`: this machine has no such address\n\
         hint: `ip -brief address` lists what it has"
    )]
    NoSuchAddress(SocketAddr),
    #[error("cannot listen on `{address}`")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

struct Shared {
    responder: Responder,
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Edge")
            .field("http", &self.http)
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Binds all sockets; nothing is answered before [`Edge::run`].
    pub async fn bind(
        settings: EdgeSettings,
        serving: Arc<dyn Serving>,
        sites: Arc<dyn SiteStore>,
    ) -> Result<Self, EdgeError> {
        let http = listen(&settings.http).await?;
        let https = listen(&settings.https).await?;
        let limits = settings.limits.clone();
        let responder = Responder::new(settings, serving, sites).map_err(EdgeError::Tls)?;
        let shared = Shared {
            responder,
            http1: http1_settings(&limits),
            http2: http2_settings(&limits),
            limits,
        };
        Ok(Self {
            http,
            https,
            shared: Arc::new(shared),
        })
    }

    /// Where plain HTTP is answered; tells the port where 0 was asked for.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.http)
    }

    /// Where HTTPS is answered.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.https)
    }

    /// Answers until `shutdown` is ready; then takes no more connections, lets requests in flight
    /// end, and returns after [`Limits::drain`] at the latest.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(false);
        let connections = self.shared.limits.connections;
        let slots = Arc::new(Semaphore::new(connections as usize));
        let mut listeners = JoinSet::new();
        let plain = self
            .http
            .into_iter()
            .map(|listener| (listener, Kind::Plain));
        let tls = self.https.into_iter().map(|listener| (listener, Kind::Tls));
        for (listener, kind) in plain.chain(tls) {
            listeners.spawn(accept(
                listener,
                kind,
                Arc::clone(&self.shared),
                Arc::clone(&slots),
                stopped.clone(),
            ));
        }
        shutdown.await;
        stop.send_replace(true);
        while listeners.join_next().await.is_some() {}
        // Each connection gives its slot back when it ends, and ends itself after the drain time.
        let all_ended = slots.acquire_many(connections);
        let grace = self.shared.limits.drain + Duration::from_millis(200);
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::warn!("Some connections of the edge did not end in time");
        }
    }
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect()
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, EdgeError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => EdgeError::InUse(address),
                io::ErrorKind::PermissionDenied => EdgeError::NotPermitted(address),
                io::ErrorKind::AddrNotAvailable => EdgeError::NoSuchAddress(address),
                _ => EdgeError::Listen { address, source },
            })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn http1_settings(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_headers(limits.header_count as usize)
        .max_header_size(limits.header_bytes as usize)
        .max_buf_size(limits.header_bytes as usize + 8 * 1024);
    builder
}

fn http2_settings(limits: &Limits) -> http2::Builder<TokioExecutor> {
    // The bounds on streams that a client resets (CVE-2023-44487) are hyper's defaults.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_send_buf_size(64 * 1024);
    builder
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Tls,
}

type Stopped = watch::Receiver<bool>;

/// Becomes ready when the edge stops, or is gone.
async fn until_stopped(stopped: &mut Stopped) {
    // An error means that the sender is gone, and the edge with it.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn accept(
    listener: TcpListener,
    kind: Kind,
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    mut stopped: Stopped,
) {
    /// After a failed accept, which means that file descriptors or memory ran out.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        // The slot second: otherwise each listener would keep one while nobody comes. While all
        // are taken, one connection per listener waits here and the others in the kernel's queue.
        let taken = async {
            let accepted = listener.accept().await;
            (accepted, Arc::clone(&slots).acquire_owned().await)
        };
        let (accepted, slot) = tokio::select! {
            () = until_stopped(&mut stopped) => return,
            taken = taken => taken,
        };
        // The semaphore is never closed.
        let Ok(slot) = slot else { return };
        match accepted {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    shared.connection(stream, kind, stopped).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Could not accept a connection, will retry");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Shared {
    async fn connection(self: &Arc<Self>, stream: TcpStream, kind: Kind, mut stopped: Stopped) {
        // Answers are small; without this the last segment may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let stream = IdleStream::new(stream, self.limits.idle);
        match kind {
            Kind::Plain => self.http1(stream, Arrival::Plain, stopped).await,
            Kind::Tls => {
                let handshake = tokio::time::timeout(self.limits.handshake, self.handshake(stream));
                let result = tokio::select! {
                    () = until_stopped(&mut stopped) => return,
                    result = handshake => result,
                };
                match result {
                    Ok(Ok((name, stream))) => self.tls(name, stream, stopped).await,
                    Ok(Err(error)) => tracing::debug!(%error, "A TLS handshake failed"),
                    Err(_) => tracing::debug!("A TLS handshake took too long"),
                }
            }
        }
    }

    async fn handshake(
        &self,
        stream: IdleStream,
    ) -> io::Result<(DomainName, TlsStream<IdleStream>)> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let name: Option<DomainName> = start
            .client_hello()
            .server_name()
            .and_then(|name| name.parse().ok());
        let found = match &name {
            Some(name) => self.responder.directory.tls(name).await,
            None => Ok(None),
        };
        match (name, found) {
            (Some(name), Ok(Some(config))) => Ok((name, start.into_stream(config).await?)),
            (_, Ok(_)) => {
                start.io.write_all(&fatal_alert(UNRECOGNIZED_NAME)).await?;
                start.io.shutdown().await?;
                Err(io::Error::other("no certificate for the server name"))
            }
            (_, Err(error)) => {
                start.io.write_all(&fatal_alert(INTERNAL_ERROR)).await?;
                start.io.shutdown().await?;
                Err(io::Error::other(error))
            }
        }
    }

    async fn tls(
        self: &Arc<Self>,
        name: DomainName,
        stream: TlsStream<IdleStream>,
        stopped: Stopped,
    ) {
        let arrival = Arrival::Tls(name);
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(stream, arrival, stopped).await,
            _ => self.http1(stream, arrival, stopped).await,
        }
    }

    async fn http1<S>(&self, stream: S, arrival: Arrival, stopped: Stopped)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.answer(&arrival, request));
        let connection = self.http1.serve_connection(TokioIo::new(stream), service);
        let end = http1::Connection::graceful_shutdown;
        self.drive(pin!(connection), end, stopped).await;
    }

    async fn http2<S>(self: &Arc<Self>, stream: S, arrival: Arrival, stopped: Stopped)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(self);
        let arrival = Arc::new(arrival);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            let arrival = Arc::clone(&arrival);
            async move { shared.answer(&arrival, request).await }
        });
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        let end = http2::Connection::graceful_shutdown;
        self.drive(pin!(connection), end, stopped).await;
    }

    async fn answer(
        &self,
        arrival: &Arrival,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(self.responder.answer(arrival, request).await)
    }

    /// Serves a connection until its end; asks it to end when the edge stops or its time is over,
    /// and ends it after the drain time.
    async fn drive<C>(
        &self,
        mut connection: Pin<&mut C>,
        end: fn(Pin<&mut C>),
        mut stopped: Stopped,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::select! {
            result = connection.as_mut() => return log_end(result),
            () = until_stopped(&mut stopped) => {}
            () = tokio::time::sleep(self.limits.connection_age) => {}
        }
        end(connection.as_mut());
        if let Ok(result) = tokio::time::timeout(self.limits.drain, connection).await {
            log_end(result);
        } else {
            tracing::debug!("A connection was cut after the drain time");
        }
    }
}

fn log_end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "A connection ended early");
    }
}

const UNRECOGNIZED_NAME: u8 = 112;
const INTERNAL_ERROR: u8 = 80;

/// A fatal alert before any key is agreed (RFC 8446, 5.1 and 6): rustls sends none of our choice.
fn fatal_alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
