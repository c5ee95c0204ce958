//! The program's own library: configuration and adapters put together, for the one binary and for tests
//! that put faults between the two.
//!
//! The only crate that names adapters. Nothing deeper reads the environment or the configuration.

mod backup;
mod cli;
mod client;
mod config;
mod content;
mod doctor;
mod images;
mod manifest;
mod migrate;
mod platform;
mod presence;
mod probes;
mod restore;
mod revisions;
mod serve;
mod submit;
mod webhooks;
mod work;

pub use cli::{Arguments, run};
pub use config::Config;
pub use work::{Hands, Kept};
