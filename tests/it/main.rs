//! The one integration-test binary. Each module tells the story of one feature on real servers.

mod api;
mod certificates;
mod claims;
mod deploy;
mod edge;
mod faults;
mod mail;
mod provision;
mod site;
mod tidy;
mod zones;
