//! Verbs, their steps, the runner, and the ports they need.

pub mod ports;
