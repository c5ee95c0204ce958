//! Asks one name server at a time, as an outsider would.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::Platform;
use hiendien_domain::records::Rrset;
use hiendien_engine::ports::{PortError, ZoneProof};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::convert;

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

/// Why a question has no answer.
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
        name: String,
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
            timeout: Duration::from_secs(2),
            limit: Duration::from_secs(5),
        }
    }
}

impl Asker {
    /// Asks one question, without recursion, over exactly this transport.
    pub async fn ask(
        &self,
        server: IpAddr,
        name: &Name,
        kind: RecordType,
        transport: Transport,
    ) -> Result<Message, AskError> {
        let server = SocketAddr::new(server, self.port);
        let mut question = Message::query();
        question.add_query(Query::query(name.clone(), kind));
        let id = question.metadata.id;
        let octets = question
            .to_bytes()
            .map_err(|_| AskError::Malformed { server })?;
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
        let message = Message::from_vec(&answer).map_err(|_| AskError::Malformed { server })?;
        if message.metadata.id != id {
            return Err(AskError::Malformed { server });
        }
        Ok(message)
    }

    /// Asks over UDP, and over TCP when the answer was cut.
    async fn ask_either(
        &self,
        server: IpAddr,
        name: &Name,
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
        let address = SocketAddr::new(server, self.port);
        let name = wire_name(apex, address)?;
        let answer = self.ask(server, &name, RecordType::SOA, transport).await?;
        let code = answer.metadata.response_code;
        if code != ResponseCode::NoError {
            return Err(AskError::Refused {
                server: address,
                name: apex.to_string(),
                code,
            });
        }
        let serial = answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name == name => Some(soa.serial),
            _ => None,
        });
        match serial.filter(|_| answer.metadata.authoritative) {
            Some(serial) => Ok(serial),
            None => Err(AskError::Different {
                server: address,
                seen: format!("has no authoritative SOA for `{apex}`"),
            }),
        }
    }

    /// The records of one owner name and type, sorted as text; empty when there are none.
    pub async fn records(
        &self,
        server: IpAddr,
        owner: &DomainName,
        kind: RecordType,
    ) -> Result<Vec<Record>, AskError> {
        let address = SocketAddr::new(server, self.port);
        let name = wire_name(owner, address)?;
        let answer = self.ask_either(server, &name, kind).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => {
                return Err(AskError::Refused {
                    server: address,
                    name: owner.to_string(),
                    code,
                });
            }
        }
        let mut records: Vec<Record> = answer
            .answers
            .into_iter()
            .filter(|record| record.name == name && record.record_type() == kind)
            .collect();
        records.sort_by_key(|record| record.data.to_string());
        Ok(records)
    }

    /// The name servers that the parent delegates `child` to, sorted.
    pub async fn delegation(
        &self,
        parent_server: IpAddr,
        child: &DomainName,
    ) -> Result<Vec<String>, AskError> {
        let address = SocketAddr::new(parent_server, self.port);
        let name = wire_name(child, address)?;
        let answer = self
            .ask_either(parent_server, &name, RecordType::NS)
            .await?;
        let mut servers: Vec<String> = answer
            .authorities
            .iter()
            .chain(&answer.answers)
            .filter(|record| record.name == name)
            .filter_map(|record| match &record.data {
                RData::NS(server) => Some(
                    server
                        .0
                        .to_ascii()
                        .trim_end_matches('.')
                        .to_ascii_lowercase(),
                ),
                _ => None,
            })
            .collect();
        servers.sort();
        servers.dedup();
        Ok(servers)
    }

    /// Waits until every address of every name server answers `serial` or newer over UDP and TCP,
    /// and the parent (where one is given) delegates to exactly the platform's name servers.
    pub async fn prove_zone(
        &self,
        platform: &Platform,
        parent_servers: &[IpAddr],
        apex: &DomainName,
        serial: u32,
    ) -> Result<ZoneProof, PortError> {
        let action = format!("asking the name servers for `{apex}`");
        self.until(&action, || {
            self.zone_once(platform, parent_servers, apex, serial)
        })
        .await
    }

    async fn zone_once(
        &self,
        platform: &Platform,
        parent_servers: &[IpAddr],
        apex: &DomainName,
        serial: u32,
    ) -> Result<ZoneProof, AskError> {
        let servers: Vec<IpAddr> = crate::server::platform_addresses(platform);
        for &server in &servers {
            for transport in [Transport::Udp, Transport::Tcp] {
                let seen = self.soa_serial(server, apex, transport).await?;
                // Serial arithmetic (RFC 1982, 3.2).
                if seen.wrapping_sub(serial) > u32::MAX / 2 {
                    let seen =
                        format!("still answers serial {seen} over {transport}, {serial} is wanted");
                    return Err(AskError::Different {
                        server: SocketAddr::new(server, self.port),
                        seen,
                    });
                }
            }
        }
        let mut wanted: Vec<String> = platform
            .name_servers
            .iter()
            .map(|server| server.name.to_string())
            .collect();
        wanted.sort();
        for &parent in parent_servers {
            let delegated = self.delegation(parent, apex).await?;
            if delegated != wanted {
                let seen = format!("delegates `{apex}` to {delegated:?}, {wanted:?} are wanted");
                return Err(AskError::Different {
                    server: SocketAddr::new(parent, self.port),
                    seen,
                });
            }
        }
        Ok(ZoneProof {
            serial,
            servers: servers.len(),
        })
    }

    /// Waits until every name server answers exactly this RRset.
    pub async fn prove_rrset(&self, platform: &Platform, rrset: &Rrset) -> Result<(), PortError> {
        let action = format!(
            "asking the name servers for the records of `{}`",
            rrset.owner
        );
        let Some(kind) = rrset
            .records
            .first()
            .map(|data| convert::record_type(data.kind()))
        else {
            return Ok(());
        };
        let mut wanted: Vec<String> = convert::records(rrset)
            .map_err(|error| PortError::rejected(action.clone(), error))?
            .iter()
            .map(|record| record.data.to_string())
            .collect();
        wanted.sort();
        self.until(&action, || async {
            for server in crate::server::platform_addresses(platform) {
                let records = self.records(server, &rrset.owner, kind).await?;
                let seen: Vec<String> = records
                    .iter()
                    .map(|record| record.data.to_string())
                    .collect();
                if seen != wanted {
                    let seen = format!("answers {seen:?}, {wanted:?} is wanted");
                    return Err(AskError::Different {
                        server: SocketAddr::new(server, self.port),
                        seen,
                    });
                }
            }
            Ok(())
        })
        .await
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
                Err(error) if began.elapsed() >= self.limit => {
                    return Err(PortError::transient(action, error));
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

fn wire_name(name: &DomainName, server: SocketAddr) -> Result<Name, AskError> {
    convert::name(name).map_err(|_| AskError::Malformed { server })
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let local = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
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
