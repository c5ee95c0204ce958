//! The test bed: real servers on addresses of their own, and ways to wait for a state.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

pub mod ari;
pub mod conformance;
pub mod dns;
pub mod lab;
pub mod net;
pub mod pebble;
pub mod postgres;
pub mod resume;
pub mod s3;
pub mod site;
pub mod wait;
pub mod world;
