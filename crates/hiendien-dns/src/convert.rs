//! Our records as the wire library's records.

use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, MX, NS, NULL, SOA, SRV, SVCB, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{RecordData, RecordKind, Rrset};
use hiendien_engine::ports::ServedZone;

/// Longest string inside a TXT record, octets (RFC 1035, 3.3).
const TXT_STRING_MAX: usize = 255;
/// Challenge values change within seconds.
const CHALLENGE_TTL_SECS: u32 = 1;
/// For secondaries (RFC 1912, 2.2): refresh, retry, expire, seconds.
const SOA_TIMERS: (i32, i32, i32) = (7200, 900, 1_209_600);

pub(crate) fn name(domain: &DomainName) -> Result<Name, ProtoError> {
    Name::from_ascii(format!("{domain}."))
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

pub(crate) fn txt(text: &str) -> RData {
    let strings: Vec<&[u8]> = text.as_bytes().chunks(TXT_STRING_MAX).collect();
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
            // Written octet by octet (RFC 8659, 4.1): flags, tag length, tag, value. The library
            // would rewrite the parameters of the value.
            let tag = tag.word().as_bytes();
            let mut octets = vec![0, u8::try_from(tag.len()).unwrap_or(u8::MAX)];
            octets.extend_from_slice(tag);
            octets.extend_from_slice(value.as_bytes());
            RData::Unknown {
                code: RecordType::CAA,
                rdata: NULL::with(octets),
            }
        }
        RecordData::Https { priority, alpn } => {
            let parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn.clone())))];
            RData::HTTPS(HTTPS(SVCB::new(*priority, Name::root(), parameters)))
        }
    })
}

pub(crate) fn records(rrset: &Rrset) -> Result<Vec<Record>, ProtoError> {
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

/// All records of a zone, its SOA first.
pub(crate) fn zone(zone: &ServedZone) -> Result<Vec<Record>, ProtoError> {
    let spec = &zone.spec;
    let (refresh, retry, expire) = SOA_TIMERS;
    let soa = SOA::new(
        name(&spec.primary)?,
        name(&spec.hostmaster)?,
        zone.serial,
        refresh,
        retry,
        expire,
        spec.negative_ttl_secs,
    );
    let apex = name(&spec.apex)?;
    // The SOA's own TTL bounds negative answers as well (RFC 2308, 3).
    let mut all = vec![Record::from_rdata(
        apex,
        spec.negative_ttl_secs,
        RData::SOA(soa),
    )];
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
