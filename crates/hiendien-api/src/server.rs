//! Serves connections with a bound on everything a client can hold open.
//!
//! HTTP/1.1 only: what stands in front of it with TLS speaks the newer versions to the world.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take to send the head of a request.
const HEADERS_TIME_MAX: Duration = Duration::from_secs(10);
/// The life of a connection; longer than an event stream's, whose reader may have stopped reading.
const CONNECTION_TIME_MAX: Duration = Duration::from_mins(20);
/// How long requests under way may take when the service stops.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept, which means that file descriptors or memory ran out.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `stopping` turns true, then for [`DRAIN`] at most what was begun.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME_MAX);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    loop {
        let taken = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            taken = taken => taken,
            // A sender that is gone stops the API as well.
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection, will retry");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a connection to the API ended early");
                }
                Err(_) => tracing::debug!("a connection to the API was cut after its time"),
            }
            drop(slot);
        });
    }
    if tokio::time::timeout(DRAIN, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests to the API did not end in time");
    }
}
