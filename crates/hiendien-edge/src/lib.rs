//! The edge: the web server in front of every presence.
//!
//! It answers HTTPS for all names by SNI, sends HTTP and `www` to where they belong, and serves the
//! two small machine-read services of a mail domain (MTA-STS policy, mail client settings). It
//! reads the two ports [`Serving`] and [`SiteStore`] and nothing else.
//!
//! Deliberately not here: no certificate is ever ordered by a handshake, no site is built or
//! rendered, nothing is written, and no key but those of the served certificates is known.
//!
//! [`probe`] is the other side: it asks an edge what an outsider would see.
//!
//! [`Serving`]: hiendien_engine::ports::Serving
//! [`SiteStore`]: hiendien_engine::ports::SiteStore

mod directory;
mod files;
mod headers;
mod idle;
mod negotiation;
mod pages;
mod path;
pub mod probe;
mod responder;
mod server;
mod services;
mod settings;

pub use server::{Edge, EdgeError};
pub use services::MtaStsPolicy;
pub use settings::{EdgeSettings, Limits, MtaStsMode};
