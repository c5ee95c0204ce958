//! The one integration-test binary. Each module tells the story of one feature on real servers.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

mod api;
mod backup;
mod builds;
mod care;
mod certificates;
mod claims;
mod contents;
mod edge;
mod faults;
mod hostile;
mod lifecycle;
mod mail;
mod pictures;
mod provision;
mod revisions;
mod site;
mod store;
mod tidy;
mod upgrade;
mod verbs;
mod webhooks;
mod workers;
mod xss;
mod zones;
