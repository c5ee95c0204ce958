//! The platform's own names and addresses, which every zone points at.
//!
//! Moving a mail node or an edge is one edit here and not one per presence: zones name the
//! platform's hosts, and only `A` and `AAAA` at the apex are written per presence.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::{DomainName, DomainNameError, MailAddress};

/// Settings shared by all presences. Read once from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The platform's own zone, such as `hiendien.test`.
    pub apex: DomainName,
    /// Authoritative servers of every presence's zone; at least two.
    pub name_servers: Vec<PlatformHost>,
    /// Addresses the edge answers on.
    pub edge_addresses: Vec<IpAddr>,
    /// Mail exchangers in order of preference.
    pub mail_exchangers: Vec<PlatformHost>,
    /// Where the mailboxes are read and mail is submitted.
    pub mail_address: IpAddr,
    /// Addresses that mail leaves from, for SPF; usually those of the exchangers.
    pub outbound_addresses: Vec<IpAddr>,
    /// Where anyone can report abuse (absolute URL).
    pub abuse_url: String,
}

/// A host of the platform with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformHost {
    pub name: DomainName,
    pub addresses: Vec<IpAddr>,
}

impl Platform {
    fn host(&self, labels: &str) -> DomainName {
        self.try_host(labels)
            .expect("a checked platform apex leaves room for the platform's host names")
    }

    fn try_host(&self, labels: &str) -> Result<DomainName, DomainNameError> {
        self.apex.prefixed(labels)
    }

    /// Tells whether the longest host name the platform derives still fits in a domain name.
    pub fn check(&self) -> Result<(), DomainNameError> {
        self.try_host("_autodiscover._tcp.autodiscover.mail")
            .map(|_| ())
    }

    /// The host that `www`, `mta-sts`, `autoconfig` and `autodiscover` names point at.
    pub fn edge_host(&self) -> DomainName {
        self.host("edge")
    }

    pub fn imap_host(&self) -> DomainName {
        self.host("imap.mail")
    }

    pub fn smtp_host(&self) -> DomainName {
        self.host("smtp.mail")
    }

    pub fn autodiscover_host(&self) -> DomainName {
        self.host("autodiscover.mail")
    }

    /// Owner of the SPF record that every presence includes.
    pub fn spf_host(&self) -> DomainName {
        self.host("_spf.mail")
    }

    /// Owner of the MTA-STS policy id that every presence's `_mta-sts` points at.
    pub fn mta_sts_host(&self) -> DomainName {
        self.host("_mta-sts.mail")
    }

    /// Receives DMARC, TLS and CAA reports.
    pub fn report_address(&self, local: &str) -> MailAddress {
        format!("{local}@reports.{}", self.apex)
            .parse()
            .expect("a report address made from a domain name is an address")
    }

    /// From whom letters to owners come.
    pub fn sender_address(&self) -> MailAddress {
        format!("xin-chao@{}", self.apex)
            .parse()
            .expect("a sender address made from a domain name is an address")
    }

    /// Responsible person of every zone, in the SOA's name form.
    pub fn hostmaster(&self) -> DomainName {
        self.host("hostmaster")
    }
}
