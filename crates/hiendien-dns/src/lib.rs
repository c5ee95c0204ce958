//! Answers for our zones, and asks name servers as an outsider would.
//!
//! [`server`] is the embedded authoritative server: it reads zones through
//! [`ZoneSource`](hiendien_engine::ports::ZoneSource) and keeps only a bounded cache, so a new zone
//! is visible without restart. It does no recursion, no transfers and no updates.
//! [`ask`] speaks to one given server address at a time and believes nothing else.

pub mod ask;
mod convert;
mod registry;
pub mod server;
mod tcp;

pub use ask::{AskError, Asker, Transport};
pub use server::{DnsError, DnsServer, ServerSettings};
