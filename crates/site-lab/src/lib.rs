//! Sites for who looks at them: templates filled with content of several kinds, served by the real edge on a loopback
//! address. `cargo xtask judge` and one integration test open them in Chromium.
//!
//! Knows no judge and no browser: what is found wrong is found by programs outside.

pub mod content;
pub mod corpus;
pub mod pictures;
pub mod plan;
pub mod serve;
