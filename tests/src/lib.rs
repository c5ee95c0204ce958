//! The test bed: real servers on addresses of their own, and ways to wait for a state.

pub mod net;
pub mod wait;
