//! DNS over TCP (RFC 7766) with a bound on connections, which the library's own listener lacks.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections open at once per listener; more wait in the backlog.
const CONNECTIONS_MAX: usize = 256;
/// A connection that is silent, or takes no answer, for this long is closed (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(5);
/// Wait after the system could not give us a connection, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `stopping`; open connections are closed then.
pub(crate) async fn serve<H: RequestHandler + Clone>(
    listener: TcpListener,
    handler: H,
    stopping: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let handler = handler.clone();
                connections.spawn(async move {
                    if let Err(error) = converse(stream, peer, &handler).await {
                        tracing::debug!(%peer, %error, "a DNS connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a DNS connection, will go on");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse<H: RequestHandler>(
    mut stream: TcpStream,
    peer: SocketAddr,
    handler: &H,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let silent = |_| io::Error::from(io::ErrorKind::TimedOut);
    loop {
        let length = match tokio::time::timeout(IDLE, stream.read_u16()).await {
            Ok(Ok(length)) => length,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let mut question = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut question))
            .await
            .map_err(silent)??;
        let request =
            Request::from_bytes(question, peer, Protocol::Tcp).map_err(io::Error::other)?;
        let reply = Reply::default();
        handler
            .handle_request::<_, TokioTime>(&request, reply.clone())
            .await;
        let answer = reply.take();
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE, stream.write_all(&framed))
            .await
            .map_err(silent)??;
    }
}

/// Takes one encoded answer.
#[derive(Clone, Default)]
struct Reply(Arc<Mutex<Vec<u8>>>);

impl Reply {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ResponseHandler for Reply {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(u16::MAX);
        let sent = response.destructive_emit(&mut encoder)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = octets;
        Ok(sent)
    }
}
