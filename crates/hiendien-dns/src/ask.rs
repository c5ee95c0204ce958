//! Asks one name server at a time, as an outsider would.
//!
//! It follows nothing and keeps nothing: each answer is what that server said just now.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable as _;
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::Platform;
use hiendien_domain::records::{RecordData, RecordKind, Rrset};
use hiendien_engine::ports::{PortError, ZoneProof};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::convert;
use crate::server::name_server_addresses;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Why a question has no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("`{server}` did not answer over {transport} within {} ms", within.as_millis())]
    Silent {
        server: SocketAddr,
        transport: Transport,
        within: Duration,
    },
    #[error("could not talk to `{server}` over {transport}")]
    Io {
        server: SocketAddr,
        transport: Transport,
        #[source]
        source: std::io::Error,
    },
    #[error("`{server}` sent what is no DNS answer to the question")]
    Malformed { server: SocketAddr },
    #[error("`{server}` answered {code} for `{name}`")]
    Refused {
        server: SocketAddr,
        name: DomainName,
        code: ResponseCode,
    },
    #[error("`{server}` {seen}")]
    Different { server: SocketAddr, seen: String },
}

/// Asks with a bounded wait.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub port: u16,
    /// Bound of one question over one transport.
    pub timeout: Duration,
    /// Bound of waiting for a wanted answer.
    pub limit: Duration,
}

impl Default for Asker {
    fn default() -> Self {
        Self {
            port: 53,
            timeout: Duration::from_secs(1),
            limit: Duration::from_secs(10),
        }
    }
}

impl Asker {
    /// Asks one question, without recursion, over exactly this transport.
    pub async fn ask(
        &self,
        server: IpAddr,
        name: &DomainName,
        kind: RecordType,
        transport: Transport,
    ) -> Result<Message, AskError> {
        let server = SocketAddr::new(server, self.port);
        let malformed = || AskError::Malformed { server };
        let mut question = Message::query();
        question.add_query(Query::query(wire_name(name, server)?, kind));
        let octets = question.to_bytes().map_err(|_| malformed())?;
        let exchange = async {
            match transport {
                Transport::Udp => over_udp(server, &octets).await,
                Transport::Tcp => over_tcp(server, &octets).await,
            }
        };
        let answer = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| AskError::Silent {
                server,
                transport,
                within: self.timeout,
            })?
            .map_err(|source| AskError::Io {
                server,
                transport,
                source,
            })?;
        let answer = Message::from_vec(&answer).map_err(|_| malformed())?;
        if answer.metadata.id != question.metadata.id || answer.queries != question.queries {
            return Err(malformed());
        }
        Ok(answer)
    }

    /// Asks over UDP, and over TCP when the answer was cut.
    async fn ask_either(
        &self,
        server: IpAddr,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<Message, AskError> {
        let answer = self.ask(server, name, kind, Transport::Udp).await?;
        if answer.metadata.truncation {
            return self.ask(server, name, kind, Transport::Tcp).await;
        }
        Ok(answer)
    }

    /// The serial of the zone at `apex`, answered with authority.
    pub async fn soa_serial(
        &self,
        server: IpAddr,
        apex: &DomainName,
        transport: Transport,
    ) -> Result<u32, AskError> {
        let answer = self.ask(server, apex, RecordType::SOA, transport).await?;
        let server = SocketAddr::new(server, self.port);
        if answer.metadata.response_code != ResponseCode::NoError {
            return Err(AskError::Refused {
                server,
                name: apex.clone(),
                code: answer.metadata.response_code,
            });
        }
        let name = wire_name(apex, server)?;
        let serial = answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name == name => Some(soa.serial),
            _ => None,
        });
        serial
            .filter(|_| answer.metadata.authoritative)
            .ok_or_else(|| AskError::Different {
                server,
                seen: format!("has no authoritative SOA for `{apex}`"),
            })
    }

    /// The RRset of one owner name and type, its records sorted; `None` when there is none.
    /// Records of a form that we never publish are an error: they are not ours.
    pub async fn rrset(
        &self,
        server: IpAddr,
        owner: &DomainName,
        kind: RecordKind,
    ) -> Result<Option<Rrset>, AskError> {
        let record_type = convert::record_type(kind);
        let answer = self.ask_either(server, owner, record_type).await?;
        let server = SocketAddr::new(server, self.port);
        match answer.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Ok(None),
            code => {
                return Err(AskError::Refused {
                    server,
                    name: owner.clone(),
                    code,
                });
            }
        }
        let name = wire_name(owner, server)?;
        let of_kind = |record: &&Record| record.name == name && record.record_type() == record_type;
        let found: Vec<&Record> = answer.answers.iter().filter(of_kind).collect();
        let Some(first) = found.first() else {
            return Ok(None);
        };
        let mut records = Vec::with_capacity(found.len());
        for record in &found {
            let ours = convert::record_data(&record.data).ok_or_else(|| AskError::Different {
                server,
                seen: format!("answers `{record}`, which we never publish"),
            })?;
            records.push(ours);
        }
        records.sort();
        Ok(Some(Rrset {
            owner: owner.clone(),
            ttl_secs: first.ttl,
            records,
        }))
    }

    /// The name servers that the parent refers to for `child`, sorted; empty when it does not.
    pub async fn delegation(
        &self,
        parent_server: IpAddr,
        child: &DomainName,
    ) -> Result<Vec<DomainName>, AskError> {
        let answer = self
            .ask_either(parent_server, child, RecordType::NS)
            .await?;
        let server = SocketAddr::new(parent_server, self.port);
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => {
                return Err(AskError::Refused {
                    server,
                    name: child.clone(),
                    code,
                });
            }
        }
        let name = wire_name(child, server)?;
        let mut servers: Vec<DomainName> = answer
            .authorities
            .iter()
            .filter(|record| record.name == name)
            .filter_map(|record| match &record.data {
                RData::NS(target) => convert::domain(&target.0),
                _ => None,
            })
            .collect();
        servers.sort();
        servers.dedup();
        Ok(servers)
    }

    /// Waits until every address of every name server answers `serial` or newer over UDP and TCP,
    /// and every parent server (where there are any to ask) delegates to exactly the platform's
    /// name servers. Transient with the last status once the limit is over.
    pub async fn prove_zone(
        &self,
        platform: &Platform,
        parent_servers: &[IpAddr],
        apex: &DomainName,
        serial: u32,
    ) -> Result<ZoneProof, PortError> {
        let servers = name_server_addresses(platform);
        let mut wanted: Vec<DomainName> = platform
            .name_servers
            .iter()
            .map(|server| server.name.clone())
            .collect();
        wanted.sort();
        let wanted = &wanted;
        let observe = || async {
            let serials = servers
                .iter()
                .flat_map(|&server| [(server, Transport::Udp), (server, Transport::Tcp)])
                .map(|(server, transport)| self.holds_serial(server, transport, apex, serial));
            let parents = parent_servers
                .iter()
                .map(|&parent| self.delegates(parent, apex, wanted));
            tokio::try_join!(try_join_all(serials), try_join_all(parents))?;
            Ok(ZoneProof {
                serial,
                servers: servers.len(),
            })
        };
        self.until(&format!("asking the name servers for `{apex}`"), observe)
            .await
    }

    async fn holds_serial(
        &self,
        server: IpAddr,
        transport: Transport,
        apex: &DomainName,
        wanted: u32,
    ) -> Result<(), AskError> {
        let seen = self.soa_serial(server, apex, transport).await?;
        // Serial arithmetic (RFC 1982, 3.2).
        if seen.wrapping_sub(wanted) > u32::MAX / 2 {
            return Err(AskError::Different {
                server: SocketAddr::new(server, self.port),
                seen: format!(
                    "still answers serial {seen} for `{apex}` over {transport}, {wanted} is wanted"
                ),
            });
        }
        Ok(())
    }

    async fn delegates(
        &self,
        parent: IpAddr,
        apex: &DomainName,
        wanted: &[DomainName],
    ) -> Result<(), AskError> {
        let seen = self.delegation(parent, apex).await?;
        if seen != wanted {
            return Err(AskError::Different {
                server: SocketAddr::new(parent, self.port),
                seen: format!(
                    "delegates `{apex}` to {}, {} are wanted",
                    listed(&seen),
                    listed(wanted)
                ),
            });
        }
        Ok(())
    }

    /// Waits until no address of any name server answers for `apex` with authority over UDP or TCP,
    /// and no parent server delegates it. Transient with the last status once the limit is over.
    ///
    /// Only an answer proves absence: a name server refuses, or answers from a zone above that there
    /// is nothing; a parent answers with its own authority that there is nothing. Who is silent, fails,
    /// or refuses to speak for the parent zone may still answer others.
    pub async fn prove_zone_absent(
        &self,
        platform: &Platform,
        parent_servers: &[IpAddr],
        apex: &DomainName,
    ) -> Result<(), PortError> {
        let servers = name_server_addresses(platform);
        let observe = || async {
            let zones = servers
                .iter()
                .flat_map(|&server| [(server, Transport::Udp), (server, Transport::Tcp)])
                .map(|(server, transport)| self.has_no_zone(server, transport, apex));
            let parents = parent_servers
                .iter()
                .map(|&parent| self.has_no_delegation(parent, apex));
            tokio::try_join!(try_join_all(zones), try_join_all(parents))?;
            Ok(())
        };
        let action = format!("asking the name servers whether `{apex}` is gone");
        self.until(&action, observe).await
    }

    async fn has_no_zone(
        &self,
        server: IpAddr,
        transport: Transport,
        apex: &DomainName,
    ) -> Result<(), AskError> {
        let answer = self.ask(server, apex, RecordType::SOA, transport).await?;
        if answer.metadata.response_code == ResponseCode::Refused {
            return Ok(());
        }
        let server = SocketAddr::new(server, self.port);
        denied_from_above(server, apex, &answer)
    }

    async fn has_no_delegation(&self, parent: IpAddr, apex: &DomainName) -> Result<(), AskError> {
        let answer = self.ask_either(parent, apex, RecordType::NS).await?;
        let server = SocketAddr::new(parent, self.port);
        denied_from_above(server, apex, &answer)
    }

    /// Waits until every address of every name server answers exactly this RRset.
    /// Transient with the last status once the limit is over.
    pub async fn prove_rrset(&self, platform: &Platform, rrset: &Rrset) -> Result<(), PortError> {
        let action = format!(
            "asking the name servers for the records of `{}`",
            rrset.owner
        );
        let Some(kind) = rrset.records.first().map(RecordData::kind) else {
            return Err(PortError::rejected(
                action,
                "an RRset without records has no type to ask for",
            ));
        };
        let servers = name_server_addresses(platform);
        let mut wanted = rrset.records.clone();
        wanted.sort();
        let wanted = &wanted;
        let observe = || async {
            let each = servers
                .iter()
                .map(|&server| self.holds_records(server, kind, &rrset.owner, wanted));
            try_join_all(each).await.map(|_| ())
        };
        self.until(&action, observe).await
    }

    async fn holds_records(
        &self,
        server: IpAddr,
        kind: RecordKind,
        owner: &DomainName,
        wanted: &[RecordData],
    ) -> Result<(), AskError> {
        let seen = self.rrset(server, owner, kind).await?;
        let seen = seen.map(|rrset| rrset.records).unwrap_or_default();
        if seen != wanted {
            return Err(AskError::Different {
                server: SocketAddr::new(server, self.port),
                seen: format!("answers {seen:?} for `{owner}`, {wanted:?} is wanted"),
            });
        }
        Ok(())
    }

    async fn until<T, F>(
        &self,
        action: &str,
        mut observe: impl FnMut() -> F,
    ) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, AskError>>,
    {
        let began = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            match observe().await {
                Ok(seen) => return Ok(seen),
                Err(error) if began.elapsed() + pause >= self.limit => {
                    return Err(PortError::transient(action, error));
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

/// Whether the answer says, with the authority of a zone above `apex`, that there is nothing at it
/// (RFC 2308, 2).
fn denied_from_above(
    server: SocketAddr,
    apex: &DomainName,
    answer: &Message,
) -> Result<(), AskError> {
    let code = answer.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(AskError::Refused {
            server,
            name: apex.clone(),
            code,
        });
    }
    let name = wire_name(apex, server)?;
    let is_from_above = answer.authorities.iter().any(|record| {
        record.record_type() == RecordType::SOA && record.name != name && record.name.zone_of(&name)
    });
    if answer.metadata.authoritative && answer.answers.is_empty() && is_from_above {
        return Ok(());
    }
    let seen = if answer.metadata.authoritative {
        format!("still answers for `{apex}`")
    } else {
        format!("still refers to others for `{apex}`")
    };
    Err(AskError::Different { server, seen })
}

fn listed(names: &[DomainName]) -> String {
    if names.is_empty() {
        return "no server".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn wire_name(name: &DomainName, server: SocketAddr) -> Result<Name, AskError> {
    convert::name(name).map_err(|_| AskError::Malformed { server })
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let local = match server {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], question].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
