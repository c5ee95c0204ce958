//! Benchmarks: ours beside a peer in one run, as a ratio. Never a timed test.

pub(crate) mod engine;
pub(crate) mod provision;
pub(crate) mod sites;
