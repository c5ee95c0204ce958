//! DNS records as desired states: a zone is written whole, from a presence and the platform.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::DomainName;
use crate::platform::Platform;

/// Addresses move between nodes: 5 minutes.
pub const ADDRESS_TTL_SECS: u32 = 300;
/// Policy records: 1 hour.
pub const POLICY_TTL_SECS: u32 = 3600;
/// Name servers: 1 day.
pub const NS_TTL_SECS: u32 = 86_400;
/// A name looked up a second before it exists must not stay dead for a day (RFC 2308).
pub const NEGATIVE_TTL_SECS: u32 = 300;

/// The data of one record. Absent targets stand for the root, "not offered" (RFC 2782, RFC 7505).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum RecordData {
    A {
        address: Ipv4Addr,
    },
    Aaaa {
        address: Ipv6Addr,
    },
    Cname {
        target: DomainName,
    },
    Ns {
        target: DomainName,
    },
    Mx {
        preference: u16,
        exchange: DomainName,
    },
    /// One text; it is cut into strings of at most 255 octets on the wire.
    Txt {
        text: String,
    },
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: Option<DomainName>,
    },
    /// RFC 8659.
    Caa {
        tag: CaaTag,
        value: String,
    },
    /// RFC 9460, service mode at the owner itself.
    Https {
        priority: u16,
        alpn: Vec<String>,
    },
}

/// CAA property tags we write (RFC 8659, RFC 9495).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaaTag {
    Issue,
    IssueWild,
    IssueMail,
    Iodef,
}

impl CaaTag {
    pub fn word(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::IssueWild => "issuewild",
            Self::IssueMail => "issuemail",
            Self::Iodef => "iodef",
        }
    }
}

/// The types of [`RecordData`], by their IANA mnemonics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    A,
    Aaaa,
    Cname,
    Ns,
    Mx,
    Txt,
    Srv,
    Caa,
    Https,
}

impl RecordData {
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::A { .. } => RecordKind::A,
            Self::Aaaa { .. } => RecordKind::Aaaa,
            Self::Cname { .. } => RecordKind::Cname,
            Self::Ns { .. } => RecordKind::Ns,
            Self::Mx { .. } => RecordKind::Mx,
            Self::Txt { .. } => RecordKind::Txt,
            Self::Srv { .. } => RecordKind::Srv,
            Self::Caa { .. } => RecordKind::Caa,
            Self::Https { .. } => RecordKind::Https,
        }
    }

    fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::A { address },
            IpAddr::V6(address) => Self::Aaaa { address },
        }
    }
}

/// All records of one owner name and type, with their common TTL (RFC 9499).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rrset {
    pub owner: DomainName,
    pub ttl_secs: u32,
    pub records: Vec<RecordData>,
}

/// The desired state of a whole zone, without SOA serial and without signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSpec {
    pub apex: DomainName,
    pub primary: DomainName,
    /// Mailbox of the responsible person, `@` written as a dot.
    pub hostmaster: DomainName,
    pub negative_ttl_secs: u32,
    /// In order of owner, then type; every RRset once.
    pub rrsets: Vec<Rrset>,
}

/// Collects records and hands them out as ordered RRsets.
#[derive(Debug, Default)]
struct Collector(BTreeMap<(DomainName, RecordKind), Rrset>);

impl Collector {
    /// Begins a zone with its name servers.
    fn at(apex: &DomainName, platform: &Platform) -> Self {
        let mut zone = Self::default();
        for server in &platform.name_servers {
            let target = server.name.clone();
            zone.add(apex, NS_TTL_SECS, RecordData::Ns { target });
        }
        zone
    }

    fn add(&mut self, owner: &DomainName, ttl_secs: u32, data: RecordData) {
        self.0
            .entry((owner.clone(), data.kind()))
            .or_insert_with(|| Rrset {
                owner: owner.clone(),
                ttl_secs,
                records: Vec::new(),
            })
            .records
            .push(data);
    }

    fn into_zone(self, apex: &DomainName, platform: &Platform) -> ZoneSpec {
        ZoneSpec {
            apex: apex.clone(),
            primary: platform.name_servers[0].name.clone(),
            hostmaster: platform.hostmaster(),
            negative_ttl_secs: NEGATIVE_TTL_SECS,
            rrsets: self.0.into_values().collect(),
        }
    }
}

/// A CA that may issue for a zone (RFC 8659), bound to our account there (RFC 8657).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaaIssuer {
    /// The CA's issuer domain name, such as `letsencrypt.org`.
    pub domain: String,
    /// URL of our ACME account.
    pub account_uri: Option<String>,
}

/// A DKIM key as it is published (RFC 6376, 3.6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimRecord {
    /// Dated selector, such as `k2611r`.
    pub selector: String,
    /// The whole TXT value, such as `v=DKIM1; k=rsa; p=…`.
    pub text: String,
}

/// How much of the zone may be out: records that promise HTTPS appear after the certificate
/// answers and go before it is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneStage {
    BeforeCertificate,
    Complete,
}

/// What the zone of a presence is made from, besides the platform.
#[derive(Debug, Clone, Copy)]
pub struct ZoneInputs<'a> {
    pub apex: &'a DomainName,
    pub issuers: &'a [CaaIssuer],
    pub dkim: &'a [DkimRecord],
    pub stage: ZoneStage,
}

/// Names a presence's certificate covers and the edge answers for, the apex first.
pub fn service_names(apex: &DomainName) -> Vec<DomainName> {
    let mut names = vec![apex.clone()];
    names.extend(
        ["www", "mta-sts", "autoconfig", "autodiscover"]
            .into_iter()
            .map(|label| {
                apex.prefixed(label)
                    .expect("a granted name leaves room for its service labels")
            }),
    );
    names
}

/// Makes the desired zone of a presence: the record set for a name with website and mail.
pub fn presence_zone(inputs: ZoneInputs<'_>, platform: &Platform) -> ZoneSpec {
    let ZoneInputs {
        apex,
        issuers,
        dkim,
        stage,
    } = inputs;
    let below = |labels: &str| {
        apex.prefixed(labels)
            .expect("a granted name leaves room for its service labels")
    };
    let mut zone = Collector::at(apex, platform);
    let txt = |text: String| RecordData::Txt { text };

    for &address in &platform.edge_addresses {
        zone.add(apex, ADDRESS_TTL_SECS, RecordData::address(address));
    }
    zone.add(
        &below("www"),
        ADDRESS_TTL_SECS,
        RecordData::Cname {
            target: apex.clone(),
        },
    );
    for label in ["mta-sts", "autoconfig", "autodiscover"] {
        zone.add(
            &below(label),
            ADDRESS_TTL_SECS,
            RecordData::Cname {
                target: platform.edge_host(),
            },
        );
    }

    for (preference, exchanger) in (10u16..).step_by(10).zip(&platform.mail_exchangers) {
        zone.add(
            apex,
            POLICY_TTL_SECS,
            RecordData::Mx {
                preference,
                exchange: exchanger.name.clone(),
            },
        );
    }
    zone.add(
        apex,
        POLICY_TTL_SECS,
        txt(format!("v=spf1 include:{} -all", platform.spf_host())),
    );
    for key in dkim {
        zone.add(
            &below(&format!("{}._domainkey", key.selector)),
            POLICY_TTL_SECS,
            txt(key.text.clone()),
        );
    }
    // RFC 9989 dropped `pct`; `np` covers names that do not exist.
    let dmarc_report = platform.report_address("dmarc");
    let dmarc =
        format!("v=DMARC1; p=quarantine; sp=reject; np=reject; adkim=s; rua=mailto:{dmarc_report}");
    zone.add(&below("_dmarc"), POLICY_TTL_SECS, txt(dmarc));
    let tls_report = platform.report_address("tlsrpt");
    zone.add(
        &below("_smtp._tls"),
        POLICY_TTL_SECS,
        txt(format!("v=TLSRPTv1; rua=mailto:{tls_report}")),
    );

    let offered = |port: u16, target: DomainName| RecordData::Srv {
        priority: 0,
        weight: 1,
        port,
        target: Some(target),
    };
    let not_offered = || RecordData::Srv {
        priority: 0,
        weight: 0,
        port: 0,
        target: None,
    };
    zone.add(
        &below("_autodiscover._tcp"),
        POLICY_TTL_SECS,
        offered(443, platform.autodiscover_host()),
    );
    zone.add(
        &below("_imaps._tcp"),
        POLICY_TTL_SECS,
        offered(993, platform.imap_host()),
    );
    zone.add(
        &below("_submissions._tcp"),
        POLICY_TTL_SECS,
        offered(465, platform.smtp_host()),
    );
    zone.add(&below("_imap._tcp"), POLICY_TTL_SECS, not_offered());
    zone.add(&below("_pop3._tcp"), POLICY_TTL_SECS, not_offered());
    zone.add(&below("_submission._tcp"), POLICY_TTL_SECS, not_offered());

    let caa = |tag: CaaTag, value: String| RecordData::Caa { tag, value };
    for issuer in issuers {
        let account = issuer
            .account_uri
            .iter()
            .map(|uri| format!("; accounturi={uri}"));
        let value = account.fold(issuer.domain.clone(), |value, parameter| value + &parameter);
        zone.add(
            apex,
            POLICY_TTL_SECS,
            caa(CaaTag::Issue, value + "; validationmethods=dns-01"),
        );
    }
    zone.add(
        apex,
        POLICY_TTL_SECS,
        caa(CaaTag::IssueWild, ";".to_owned()),
    );
    zone.add(
        apex,
        POLICY_TTL_SECS,
        caa(CaaTag::IssueMail, ";".to_owned()),
    );
    let caa_report = platform.report_address("caa");
    zone.add(
        apex,
        POLICY_TTL_SECS,
        caa(CaaTag::Iodef, format!("mailto:{caa_report}")),
    );

    if stage == ZoneStage::Complete {
        zone.add(
            &below("_mta-sts"),
            ADDRESS_TTL_SECS,
            RecordData::Cname {
                target: platform.mta_sts_host(),
            },
        );
        zone.add(
            apex,
            ADDRESS_TTL_SECS,
            RecordData::Https {
                priority: 1,
                alpn: vec!["h2".to_owned()],
            },
        );
    }
    zone.into_zone(apex, platform)
}

/// Makes the platform's own zone: the names every presence's zone points at.
///
/// `policy_id` is the MTA-STS policy id (RFC 8461, 3.1): up to 32 letters and digits, changed with the policy.
pub fn platform_zone(platform: &Platform, policy_id: &str) -> ZoneSpec {
    let apex = &platform.apex;
    let below = |labels: &str| {
        apex.prefixed(labels)
            .expect("a checked platform apex leaves room for its host names")
    };
    let mut zone = Collector::at(apex, platform);
    let txt = |text: String| RecordData::Txt { text };

    for host in platform
        .name_servers
        .iter()
        .chain(&platform.mail_exchangers)
    {
        if host.name.is_at_or_below(apex) {
            for &address in &host.addresses {
                zone.add(&host.name, ADDRESS_TTL_SECS, RecordData::address(address));
            }
        }
    }
    for &address in &platform.edge_addresses {
        for host in [
            platform.edge_host(),
            platform.autodiscover_host(),
            apex.clone(),
        ] {
            zone.add(&host, ADDRESS_TTL_SECS, RecordData::address(address));
        }
    }
    for host in [platform.imap_host(), platform.smtp_host()] {
        zone.add(
            &host,
            ADDRESS_TTL_SECS,
            RecordData::address(platform.mail_address),
        );
    }
    for (preference, exchanger) in (10u16..).step_by(10).zip(&platform.mail_exchangers) {
        for owner in [apex.clone(), below("reports")] {
            zone.add(
                &owner,
                POLICY_TTL_SECS,
                RecordData::Mx {
                    preference,
                    exchange: exchanger.name.clone(),
                },
            );
        }
    }
    let senders: Vec<String> = platform
        .outbound_addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => format!("ip4:{address}"),
            IpAddr::V6(address) => format!("ip6:{address}"),
        })
        .collect();
    zone.add(
        &platform.spf_host(),
        POLICY_TTL_SECS,
        txt(format!("v=spf1 {} -all", senders.join(" "))),
    );
    zone.add(
        apex,
        POLICY_TTL_SECS,
        txt(format!("v=spf1 include:{} -all", platform.spf_host())),
    );
    zone.add(
        &below("_dmarc"),
        POLICY_TTL_SECS,
        txt("v=DMARC1; p=reject; adkim=s".to_owned()),
    );
    zone.add(
        &platform.mta_sts_host(),
        ADDRESS_TTL_SECS,
        txt(format!("v=STSv1; id={policy_id}")),
    );

    zone.into_zone(apex, platform)
}

/// Why a change of a zone is held back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BrakeError {
    #[error("the change would replace the apex NS records of `{0}`")]
    NameServers(DomainName),
    #[error(
        "the change would take away {removed} of the {total} records of `{apex}`, more than 30 %"
    )]
    TooMuch {
        apex: DomainName,
        removed: usize,
        total: usize,
    },
}

/// Zones with fewer records than this may change freely.
const BRAKE_RECORDS_MIN: usize = 10;

/// Holds back a change that takes away more than 30 % of a zone's records, or any apex NS record:
/// such a change is more likely a fault of ours than a wish. Additions always pass.
pub fn guard(old: &ZoneSpec, new: &ZoneSpec) -> Result<(), BrakeError> {
    let pairs = |zone: &ZoneSpec| -> BTreeSet<(DomainName, RecordData)> {
        let of = |rrset: &Rrset| -> Vec<_> {
            rrset
                .records
                .iter()
                .map(|data| (rrset.owner.clone(), data.clone()))
                .collect()
        };
        zone.rrsets.iter().flat_map(of).collect()
    };
    let (before, after) = (pairs(old), pairs(new));
    let removed: Vec<_> = before.difference(&after).collect();
    if removed
        .iter()
        .any(|(owner, data)| *owner == old.apex && data.kind() == RecordKind::Ns)
    {
        return Err(BrakeError::NameServers(old.apex.clone()));
    }
    if before.len() >= BRAKE_RECORDS_MIN && removed.len() * 10 > before.len() * 3 {
        let (removed, total) = (removed.len(), before.len());
        return Err(BrakeError::TooMuch {
            apex: old.apex.clone(),
            removed,
            total,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
