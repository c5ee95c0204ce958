//! The embedded authoritative server, over UDP and TCP.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata};
use hickory_proto::rr::{DNSClass, LowerName, Name, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AxfrPolicy, Catalog, MessageResponse, MessageResponseBuilder, ZoneType,
};
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::Platform;
use hiendien_engine::ports::{ErrorChain, ZoneSource};
use quick_cache::sync::Cache;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::registry::{self, Answer};
use crate::{convert, tcp};

/// Zones kept ready to answer.
const ZONES_MAX: usize = 4096;
/// Questions looked up at once; more are answered SERVFAIL, which sends the asker to the next server.
const LOOKUPS_MAX: usize = 1024;
/// No apex of ours has more labels, so a question costs at most this many look-ups.
const APEX_LABELS_MAX: usize = 8;
/// Largest answer over UDP, octets: fits every path unfragmented (RFC 9715).
const UDP_OCTETS_MAX: u16 = 1232;

/// Where the server listens.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Answers for all zones of the source.
    pub listen: Vec<SocketAddr>,
    /// Answers for the lab parents `vn`, `biz.vn` and `id.vn` with referrals; empty outside of a lab.
    pub listen_registry: Vec<SocketAddr>,
    pub platform: Arc<Platform>,
}

/// Why the server does not answer.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(
        "cannot listen on `{address}` ({transport}) for DNS: another program does already\n\
         hint: find it with `ss -lunpt 'sport = :{port}'` and stop it, or choose another address for DNS",
        port = address.port()
    )]
    InUse {
        address: SocketAddr,
        transport: &'static str,
    },
    #[error(
        "cannot listen on `{address}` ({transport}) for DNS: not permitted\n\
         hint: ports below 1024 need root or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit file"
    )]
    NotPermitted {
        address: SocketAddr,
        transport: &'static str,
    },
    #[error(
        "cannot listen on `{address}` ({transport}) for DNS: this machine has no such address\n\
         hint: `ip -brief address` lists what it has"
    )]
    NoSuchAddress {
        address: SocketAddr,
        transport: &'static str,
    },
    #[error("cannot listen on `{address}` ({transport}) for DNS")]
    Listen {
        address: SocketAddr,
        transport: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the DNS server stopped by itself")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DnsError {
    fn listen(address: SocketAddr, transport: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, transport },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address, transport },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address, transport },
            _ => Self::Listen {
                address,
                transport,
                source,
            },
        }
    }
}

/// The server with its sockets bound.
pub struct DnsServer {
    listeners: Vec<(Handler, UdpSocket, TcpListener)>,
}

impl fmt::Debug for DnsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DnsServer({} addresses)", self.listeners.len())
    }
}

impl DnsServer {
    /// Binds all sockets; nothing is answered before [`DnsServer::run`] is awaited.
    pub async fn bind(
        settings: &ServerSettings,
        source: Arc<dyn ZoneSource>,
    ) -> Result<Self, DnsError> {
        let zones = Arc::new(Zones {
            source,
            ready: Cache::new(ZONES_MAX),
            platform: Arc::clone(&settings.platform),
            lookups: Semaphore::new(LOOKUPS_MAX),
        });
        let sides = [
            (&settings.listen, Side::Zones),
            (&settings.listen_registry, Side::Registry),
        ];
        let mut listeners = Vec::new();
        for (addresses, side) in sides {
            for &address in addresses {
                let handler = Handler {
                    zones: Arc::clone(&zones),
                    side,
                };
                let socket = UdpSocket::bind(address)
                    .await
                    .map_err(|error| DnsError::listen(address, "UDP", error))?;
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|error| DnsError::listen(address, "TCP", error))?;
                listeners.push((handler, socket, listener));
            }
        }
        Ok(Self { listeners })
    }

    /// Answers until `stopping` turns true or its sender is gone.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) -> Result<(), DnsError> {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for (handler, socket, listener) in self.listeners {
            let mut server = Server::new(handler.clone());
            server.register_socket(socket);
            let own_stop = stop.clone();
            running.spawn(async move {
                tokio::select! {
                    ended = server.block_until_done() => ended,
                    () = own_stop.cancelled() => server.shutdown_gracefully().await,
                }
            });
            let own_stop = stop.clone();
            running.spawn(async move {
                tcp::serve(listener, handler, own_stop).await;
                Ok(())
            });
        }
        tokio::select! {
            // A sender that is gone stops the server as well.
            _ = stopping.wait_for(|stopping| *stopping) => {}
            Some(ended) = running.join_next() => {
                return Err(DnsError::Serve(match ended {
                    Ok(Ok(())) => "a listener ended".into(),
                    Ok(Err(error)) => error.into(),
                    Err(panic) => panic.into(),
                }));
            }
        }
        stop.cancel();
        while let Some(ended) = running.join_next().await {
            if let Ok(Err(error)) = ended {
                return Err(DnsError::Serve(error.into()));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Zones,
    Registry,
}

#[derive(Clone)]
struct Handler {
    zones: Arc<Zones>,
    side: Side,
}

struct Zones {
    source: Arc<dyn ZoneSource>,
    /// By apex; an entry of another serial is replaced. Challenges move the serial on.
    ready: Cache<DomainName, (u32, Arc<Catalog>)>,
    platform: Arc<Platform>,
    lookups: Semaphore,
}

pub(crate) type LookupError = Box<dyn std::error::Error + Send + Sync>;

impl Zones {
    /// The catalog of the zone with the longest apex that `name` is at or below, if it is ours.
    fn find(&self, name: &Name) -> Result<Option<Arc<Catalog>>, LookupError> {
        for apex in suffixes(name) {
            if let Some(serial) = self.source.zone_serial(&apex)? {
                return self.ready(&apex, serial);
            }
            // A zone made anew at this apex may come to the serial of the one that is gone.
            self.ready.remove(&apex);
        }
        Ok(None)
    }

    fn ready(&self, apex: &DomainName, serial: u32) -> Result<Option<Arc<Catalog>>, LookupError> {
        if let Some((of_serial, catalog)) = self.ready.get(apex)
            && of_serial == serial
        {
            return Ok(Some(catalog));
        }
        // It may have gone away since its serial was read.
        let Some(zone) = self.source.zone(apex)? else {
            return Ok(None);
        };
        let catalog = Arc::new(catalog(apex, convert::zone(&zone)?)?);
        self.ready
            .insert(apex.clone(), (zone.serial, Arc::clone(&catalog)));
        Ok(Some(catalog))
    }
}

fn catalog(apex: &DomainName, records: Vec<Record>) -> Result<Catalog, LookupError> {
    let origin = convert::name(apex)?;
    let mut handler = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
    );
    for record in records {
        let refused = format!(
            "the zone cannot hold `{} {}`",
            record.name,
            record.record_type()
        );
        if !handler.upsert_mut(record, 0) {
            return Err(refused.into());
        }
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
    Ok(catalog)
}

/// The names at and above `name` that could be an apex of ours, the longest first.
pub(crate) fn suffixes(name: &Name) -> impl Iterator<Item = DomainName> {
    let labels = name.iter().count();
    (1..=labels.min(APEX_LABELS_MAX))
        .rev()
        .filter_map(|labels| convert::domain(&name.trim_to(labels)))
}

/// What a look-up says to do with a question.
enum Found {
    Zone(Arc<Catalog>),
    Answer(Answer),
    NotOurs,
}

impl Handler {
    async fn look_up(&self, name: Name, kind: RecordType) -> Result<Found, LookupError> {
        let Ok(_lookup) = self.zones.lookups.try_acquire() else {
            tracing::debug!("more than {LOOKUPS_MAX} questions at once, answering SERVFAIL");
            return Ok(Found::Answer(Answer::failure()));
        };
        let zones = Arc::clone(&self.zones);
        let side = self.side;
        let look_up = move || match side {
            Side::Zones => Ok(zones.find(&name)?.map_or(Found::NotOurs, Found::Zone)),
            Side::Registry => {
                let answer = registry::answer(&*zones.source, &zones.platform, &name, kind)?;
                Ok(answer.map_or(Found::NotOurs, Found::Answer))
            }
        };
        tokio::task::spawn_blocking(look_up).await?
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response: R,
    ) -> ResponseInfo {
        let response = Capped(response);
        let question = request.request_info().ok().and_then(|info| {
            let kind = info.query.query_type();
            let is_answered = info.query.query_class() == DNSClass::IN && kind != RecordType::IXFR;
            is_answered.then(|| (Name::from(info.query.name()), kind))
        });
        let found = match question {
            Some((name, kind)) => self.look_up(name, kind).await,
            None => Ok(Found::NotOurs),
        };
        match found {
            Ok(Found::Zone(catalog)) => catalog.handle_request::<_, T>(request, response).await,
            Ok(Found::Answer(answer)) => send(request, response, &answer).await,
            // An empty catalog refuses, and says what is malformed.
            Ok(Found::NotOurs) => {
                Catalog::new()
                    .handle_request::<_, T>(request, response)
                    .await
            }
            Err(error) => {
                tracing::error!(error = %ErrorChain(&*error), "could not look a zone up, answering SERVFAIL");
                send(request, response, &Answer::failure()).await
            }
        }
    }
}

async fn send<R: ResponseHandler>(
    request: &Request,
    mut response: R,
    answer: &Answer,
) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = answer.code;
    metadata.authoritative = answer.authoritative;
    let edns = request.edns.as_ref().map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().max(512));
        edns
    });
    let message = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
        metadata,
        &answer.answers,
        &answer.authorities,
        &[],
        &answer.additionals,
    );
    match response.send_response(message).await {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "could not send a response");
            let counts = HeaderCounts::default();
            ResponseInfo::from(Header { metadata, counts })
        }
    }
}

/// Sends on, with the size over UDP capped at ours whatever the asker allows.
#[derive(Clone)]
struct Capped<R>(R);

#[async_trait]
impl<R: ResponseHandler> ResponseHandler for Capped<R> {
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
        let capped = response.edns().map(|edns| {
            let mut capped = edns.clone();
            capped.set_max_payload(edns.max_payload().min(UDP_OCTETS_MAX));
            capped
        });
        let mut response = response;
        if let Some(capped) = &capped {
            response.set_edns(capped);
        }
        self.0.send_response(response).await
    }
}

/// The addresses of the platform's name servers, for those who have no resolver to ask.
pub fn name_server_addresses(platform: &Platform) -> Vec<IpAddr> {
    platform
        .name_servers
        .iter()
        .flat_map(|server| server.addresses.iter().copied())
        .collect()
}
