//! The one integration-test binary. Each module tells the story of one feature on real servers.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

mod api;
mod certificates;
mod claims;
mod edge;
mod hostile;
mod mail;
mod provision;
mod site;
mod store;
mod tidy;
mod zones;
