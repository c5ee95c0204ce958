//! The embedded authoritative server, over UDP and TCP.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::Platform;
use hiendien_engine::ports::{ErrorChain, ZoneSource};
use quick_cache::sync::Cache;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::convert;

/// Zones kept ready to answer.
const ZONES_MAX: usize = 10_000;
/// A TCP connection that is silent for this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Responses waiting per TCP connection.
const TCP_RESPONSES_MAX: usize = 32;
/// The zones of the lab's own registry.
const PARENTS: [&str; 3] = ["biz.vn", "id.vn", "vn"];

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
        "cannot listen on `{address}` ({transport}) for DNS: another program may hold the port \
         (`ss -lunpt 'sport = :{}'` tells which), or the program may not bind ports below 1024",
        address.port()
    )]
    Listen {
        address: SocketAddr,
        transport: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the DNS server stopped")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The server with its sockets bound.
pub struct DnsServer {
    servers: Vec<Server<Handler>>,
}

impl fmt::Debug for DnsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DnsServer({} listeners)", self.servers.len())
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
        });
        let mut servers = Vec::new();
        for (addresses, side) in [
            (&settings.listen, Side::Zones),
            (&settings.listen_registry, Side::Registry),
        ] {
            if !addresses.is_empty() {
                let mut server = Server::new(Handler {
                    zones: Arc::clone(&zones),
                    side,
                });
                for &address in addresses {
                    let failed = |transport| {
                        move |source| DnsError::Listen {
                            address,
                            transport,
                            source,
                        }
                    };
                    server.register_socket(UdpSocket::bind(address).await.map_err(failed("UDP"))?);
                    let listener = TcpListener::bind(address).await.map_err(failed("TCP"))?;
                    server.register_listener(listener, TCP_IDLE, TCP_RESPONSES_MAX);
                }
                servers.push(server);
            }
        }
        Ok(Self { servers })
    }

    /// Answers until `stopping` turns true.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) -> Result<(), DnsError> {
        // A sender that is gone stops the server as well.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        for server in &mut self.servers {
            server
                .shutdown_gracefully()
                .await
                .map_err(|error| DnsError::Serve(Box::new(error)))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Zones,
    Registry,
}

struct Handler {
    zones: Arc<Zones>,
    side: Side,
}

struct Zones {
    source: Arc<dyn ZoneSource>,
    /// By apex; an entry of another serial is replaced.
    ready: Cache<DomainName, (u32, Arc<Catalog>)>,
    platform: Arc<Platform>,
}

type LookupError = Box<dyn std::error::Error + Send + Sync>;

impl Zones {
    /// The catalog of the zone with the longest apex that `name` is at or below, if it is ours.
    fn find(&self, name: &DomainName) -> Result<Option<Arc<Catalog>>, LookupError> {
        let mut apex = Some(name.clone());
        while let Some(candidate) = apex {
            if let Some(serial) = self.source.zone_serial(&candidate)? {
                return self.ready(&candidate, serial).map(Some);
            }
            apex = candidate.parent();
        }
        Ok(None)
    }

    fn ready(&self, apex: &DomainName, serial: u32) -> Result<Arc<Catalog>, LookupError> {
        if let Some((of_serial, catalog)) = self.ready.get(apex)
            && of_serial == serial
        {
            return Ok(catalog);
        }
        let zone = self
            .source
            .zone(apex)?
            .ok_or("the zone went away while it was asked for")?;
        let catalog = Arc::new(catalog(apex, convert::zone(&zone)?)?);
        self.ready
            .insert(apex.clone(), (zone.serial, Arc::clone(&catalog)));
        Ok(catalog)
    }

    /// A parent zone as far as `name` is concerned: its apex and the one delegation on the way to
    /// `name`. Its cost does not grow with the number of delegations.
    fn parent(&self, name: &DomainName) -> Result<Option<Arc<Catalog>>, LookupError> {
        let parents = PARENTS.map(|parent| parent.parse::<DomainName>());
        for parent in parents {
            let parent = parent?;
            if !name.is_at_or_below(&parent) {
                continue;
            }
            let mut records = self.parent_apex(&parent)?;
            let depth = parent.labels().count() + 1;
            let labels: Vec<&str> = name.labels().collect();
            if labels.len() >= depth {
                let child: DomainName = labels[labels.len() - depth..].join(".").parse()?;
                let servers = if PARENTS.contains(&child.as_str()) {
                    vec![self.platform.apex.prefixed("a.registry")?]
                } else {
                    self.source
                        .delegation(&child)?
                        .map(|delegation| delegation.name_servers)
                        .unwrap_or_default()
                };
                for server in servers {
                    let ns = RData::NS(NS(convert::name(&server)?));
                    records.push(Record::from_rdata(convert::name(&child)?, 3600, ns));
                }
            }
            return Ok(Some(Arc::new(catalog(&parent, records)?)));
        }
        Ok(None)
    }

    fn parent_apex(&self, parent: &DomainName) -> Result<Vec<Record>, LookupError> {
        let apex = convert::name(parent)?;
        let server = convert::name(&self.platform.apex.prefixed("a.registry")?)?;
        let soa = SOA::new(
            server.clone(),
            convert::name(&self.platform.hostmaster())?,
            1,
            7200,
            900,
            1_209_600,
            300,
        );
        Ok(vec![
            Record::from_rdata(apex.clone(), 300, RData::SOA(soa)),
            Record::from_rdata(apex, 3600, RData::NS(NS(server))),
        ])
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
        handler.upsert_mut(record, 0);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
    Ok(catalog)
}

/// The name of a question as ours; `None` for the root and for names we could never hold.
fn asked(name: &Name) -> Option<DomainName> {
    name.to_ascii().trim_end_matches('.').parse().ok()
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response: R,
    ) -> ResponseInfo {
        let question = request
            .request_info()
            .ok()
            .map(|info| (info.query.name().clone(), info.query.query_type()));
        let found = match question.and_then(|(name, kind)| Some((asked(&Name::from(&name))?, kind)))
        {
            None => Ok(None),
            Some((name, kind)) => {
                let zones = Arc::clone(&self.zones);
                let side = self.side;
                let look_up = move || match side {
                    Side::Zones => zones.find(&name),
                    // The parent itself answers for DS (RFC 4035, 3.1.4.1).
                    Side::Registry if kind == RecordType::DS => {
                        zones.parent(&name.parent().unwrap_or(name))
                    }
                    Side::Registry => zones.parent(&name),
                };
                match tokio::task::spawn_blocking(look_up).await {
                    Ok(found) => found,
                    Err(error) => Err(error.into()),
                }
            }
        };
        match found {
            Ok(Some(catalog)) => catalog.handle_request::<R, T>(request, response).await,
            // An empty catalog refuses.
            Ok(None) => {
                Catalog::new()
                    .handle_request::<R, T>(request, response)
                    .await
            }
            Err(error) => {
                tracing::error!(error = %ErrorChain(&*error), "could not look a zone up, answering SERVFAIL");
                serve_failed(request, response).await
            }
        }
    }
}

async fn serve_failed<R: ResponseHandler>(request: &Request, mut response: R) -> ResponseInfo {
    let builder = MessageResponseBuilder::from_message_request(request);
    let answer = builder.error_msg(&request.metadata, ResponseCode::ServFail);
    match response.send_response(answer).await {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "could not send a response");
            let header = hickory_proto::op::Header {
                metadata: request.metadata,
                counts: hickory_proto::op::HeaderCounts::default(),
            };
            ResponseInfo::from(header)
        }
    }
}

/// The addresses of a host of the platform, for those who have no resolver to ask.
pub fn platform_addresses(platform: &Platform) -> Vec<IpAddr> {
    platform
        .name_servers
        .iter()
        .flat_map(|server| server.addresses.iter().copied())
        .collect()
}
