//! The lab's own registry: the parent zones with referrals to their children.
//!
//! It stands in for the registry of a country, which is not ours to run, so that a lab is whole.
//! A referral is looked up by its child alone; nothing here grows with the number of children.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, NS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hiendien_domain::name::DomainName;
use hiendien_domain::platform::Platform;
use hiendien_domain::records::{ADDRESS_TTL_SECS, NEGATIVE_TTL_SECS};
use hiendien_engine::ports::ZoneSource;
use std::net::IpAddr;

use crate::convert;
use crate::server::{LookupError, suffixes};

/// The parent zones.
const PARENTS: [&str; 3] = ["biz.vn", "id.vn", "vn"];
/// A child delegated a moment ago must be seen as it is: no day of caching in a lab.
const REFERRAL_TTL_SECS: u32 = 300;
/// The apex records never change.
const SERIAL: u32 = 1;

/// What to answer, section by section.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Answer {
    /// SERVFAIL, which sends the asker to the next server.
    pub(crate) fn failure() -> Self {
        Self {
            code: ResponseCode::ServFail,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

/// Answers as the servers of the parent zones; `None` for a name that is not below them.
pub(crate) fn answer(
    source: &dyn ZoneSource,
    platform: &Platform,
    name: &Name,
    kind: RecordType,
) -> Result<Option<Answer>, LookupError> {
    let path: Vec<DomainName> = suffixes(name).collect();
    let is_parent = |domain: &DomainName| PARENTS.contains(&domain.as_str());
    // For DS the parent side of the cut answers (RFC 4035, 3.1.4.1).
    let asks_above = kind == RecordType::DS && path.first().is_some_and(is_parent);
    let Some(at) = path
        .iter()
        .position(is_parent)
        .map(|at| at + usize::from(asks_above))
    else {
        return Ok(None);
    };
    let Some(parent) = path.get(at) else {
        return Ok(None);
    };
    let own_server = platform.apex.prefixed("a.registry")?;
    let soa = convert::soa(
        parent,
        &own_server,
        &platform.hostmaster(),
        SERIAL,
        NEGATIVE_TTL_SECS,
    )?;
    let negative = |code| Answer {
        code,
        authoritative: true,
        answers: Vec::new(),
        authorities: vec![soa.clone()],
        additionals: Vec::new(),
    };

    // The wire name has labels that are no `DomainName`, such as `*`: then the child is no child of ours.
    let depth = parent.labels().count();
    let is_apex = name.iter().count() == depth;
    if is_apex {
        let answers = match kind {
            RecordType::SOA => vec![soa.clone()],
            RecordType::NS => vec![ns(parent, &own_server)?],
            _ => return Ok(Some(negative(ResponseCode::NoError))),
        };
        return Ok(Some(Answer {
            answers,
            authorities: Vec::new(),
            ..negative(ResponseCode::NoError)
        }));
    }
    let child = path
        .iter()
        .find(|domain| domain.labels().count() == depth + 1);
    let Some(child) = child else {
        return Ok(Some(negative(ResponseCode::NXDomain)));
    };
    let servers = match source.delegation(child)? {
        Some(delegation) => delegation.name_servers,
        None if is_parent(child) => vec![own_server.clone()],
        None => return Ok(Some(negative(ResponseCode::NXDomain))),
    };
    if kind == RecordType::DS && name.iter().count() == depth + 1 {
        return Ok(Some(negative(ResponseCode::NoError)));
    }
    let mut referral = Answer {
        code: ResponseCode::NoError,
        ..Answer::failure()
    };
    for server in &servers {
        referral.authorities.push(ns(child, server)?);
        // Whoever has to ask below the cut for the server's own address would never get there (RFC 1034, 4.2.1).
        if server.is_at_or_below(parent) {
            referral.additionals.extend(glue(platform, server)?);
        }
    }
    Ok(Some(referral))
}

fn ns(owner: &DomainName, server: &DomainName) -> Result<Record, LookupError> {
    let data = RData::NS(NS(convert::name(server)?));
    Ok(Record::from_rdata(
        convert::name(owner)?,
        REFERRAL_TTL_SECS,
        data,
    ))
}

fn glue(platform: &Platform, server: &DomainName) -> Result<Vec<Record>, LookupError> {
    let owner = convert::name(server)?;
    let hosts = platform
        .name_servers
        .iter()
        .filter(|host| host.name == *server);
    Ok(hosts
        .flat_map(|host| &host.addresses)
        .map(|address| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        })
        .map(|data| Record::from_rdata(owner.clone(), ADDRESS_TTL_SECS, data))
        .collect())
}
