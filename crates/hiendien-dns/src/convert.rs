//! Our records as the wire library's records, and back.

use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, HTTPS, MX, NS, SOA, SRV, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{CaaTag, RecordData, RecordKind, Rrset};
use hiendien_engine::ports::ServedZone;

/// Longest string inside a TXT record, octets (RFC 1035, 3.3).
const TXT_STRING_OCTETS_MAX: usize = 255;
/// Challenge values change within seconds.
const CHALLENGE_TTL_SECS: u32 = 1;
/// What secondaries go by (RFC 1912, 2.2): refresh, retry and expire, seconds.
const SOA_TIMERS_SECS: (i32, i32, i32) = (7200, 900, 1_209_600);

pub(crate) fn name(domain: &DomainName) -> Result<Name, ProtoError> {
    Name::from_ascii(format!("{domain}."))
}

/// The name as ours; `None` for the root and for names with characters we never hold.
pub(crate) fn domain(name: &Name) -> Option<DomainName> {
    name.to_ascii().strip_suffix('.')?.parse().ok()
}

pub(crate) fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Ns => RecordType::NS,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::Caa => RecordType::CAA,
        RecordKind::Https => RecordType::HTTPS,
    }
}

fn txt(text: &str) -> RData {
    // A TXT record holds at least one string, if an empty one (RFC 1035, 3.3.14).
    let strings: Vec<&[u8]> = match text {
        "" => vec![b""],
        text => text.as_bytes().chunks(TXT_STRING_OCTETS_MAX).collect(),
    };
    RData::TXT(TXT::from_bytes(strings))
}

pub(crate) fn rdata(data: &RecordData) -> Result<RData, ProtoError> {
    Ok(match data {
        RecordData::A { address } => RData::A(A(*address)),
        RecordData::Aaaa { address } => RData::AAAA(AAAA(*address)),
        RecordData::Cname { target } => RData::CNAME(CNAME(name(target)?)),
        RecordData::Ns { target } => RData::NS(NS(name(target)?)),
        RecordData::Mx {
            preference,
            exchange,
        } => RData::MX(MX::new(*preference, name(exchange)?)),
        RecordData::Txt { text } => txt(text),
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => {
            let target = target.as_ref().map_or_else(|| Ok(Name::root()), name)?;
            RData::SRV(SRV::new(*priority, *weight, *port, target))
        }
        RecordData::Caa { tag, value } => {
            // The library's own constructors would rewrite the parameters of the value.
            let mut caa = CAA::new_issue(false, None, Vec::new());
            tag.word().clone_into(&mut caa.tag);
            caa.value = value.as_bytes().to_vec();
            RData::CAA(caa)
        }
        RecordData::Https { priority, alpn } => {
            let parameters = match alpn.as_slice() {
                [] => Vec::new(),
                alpn => vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn.to_vec())))],
            };
            RData::HTTPS(HTTPS(SVCB::new(*priority, Name::root(), parameters)))
        }
    })
}

/// The data as ours; `None` for what we never publish, so that it can equal nothing of ours.
pub(crate) fn record_data(data: &RData) -> Option<RecordData> {
    Some(match data {
        RData::A(A(address)) => RecordData::A { address: *address },
        RData::AAAA(AAAA(address)) => RecordData::Aaaa { address: *address },
        RData::CNAME(CNAME(target)) => RecordData::Cname {
            target: domain(target)?,
        },
        RData::NS(NS(target)) => RecordData::Ns {
            target: domain(target)?,
        },
        RData::MX(mx) => RecordData::Mx {
            preference: mx.preference,
            exchange: domain(&mx.exchange)?,
        },
        RData::TXT(txt) => RecordData::Txt {
            text: String::from_utf8(txt.txt_data.concat()).ok()?,
        },
        RData::SRV(srv) => RecordData::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: match &srv.target {
                root if root.is_root() => None,
                target => Some(domain(target)?),
            },
        },
        RData::CAA(caa) if caa.flags() == 0 => RecordData::Caa {
            tag: [
                CaaTag::Issue,
                CaaTag::IssueWild,
                CaaTag::IssueMail,
                CaaTag::Iodef,
            ]
            .into_iter()
            .find(|tag| tag.word() == caa.tag)?,
            value: String::from_utf8(caa.value.clone()).ok()?,
        },
        RData::HTTPS(HTTPS(svcb)) if svcb.target_name.is_root() => RecordData::Https {
            priority: svcb.svc_priority,
            alpn: match svcb.svc_params.as_slice() {
                [] => Vec::new(),
                [(SvcParamKey::Alpn, SvcParamValue::Alpn(alpn))] => alpn.0.clone(),
                _ => return None,
            },
        },
        _ => return None,
    })
}

fn records(rrset: &Rrset) -> Result<Vec<Record>, ProtoError> {
    let owner = name(&rrset.owner)?;
    rrset
        .records
        .iter()
        .map(|data| {
            Ok(Record::from_rdata(
                owner.clone(),
                rrset.ttl_secs,
                rdata(data)?,
            ))
        })
        .collect()
}

/// An SOA record with our timers. Its own TTL bounds negative answers as well (RFC 2308, 3).
pub(crate) fn soa(
    apex: &DomainName,
    primary: &DomainName,
    hostmaster: &DomainName,
    serial: u32,
    negative_ttl_secs: u32,
) -> Result<Record, ProtoError> {
    let (refresh, retry, expire) = SOA_TIMERS_SECS;
    let soa = SOA::new(
        name(primary)?,
        name(hostmaster)?,
        serial,
        refresh,
        retry,
        expire,
        negative_ttl_secs,
    );
    Ok(Record::from_rdata(
        name(apex)?,
        negative_ttl_secs,
        RData::SOA(soa),
    ))
}

/// All records of a zone, its SOA first.
pub(crate) fn zone(zone: &ServedZone) -> Result<Vec<Record>, ProtoError> {
    let spec = &zone.spec;
    let mut all = vec![soa(
        &spec.apex,
        &spec.primary,
        &spec.hostmaster,
        zone.serial,
        spec.negative_ttl_secs,
    )?];
    for rrset in &spec.rrsets {
        all.extend(records(rrset)?);
    }
    for (owner, value) in &zone.challenges {
        all.push(Record::from_rdata(
            name(owner)?,
            CHALLENGE_TTL_SECS,
            txt(value),
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
