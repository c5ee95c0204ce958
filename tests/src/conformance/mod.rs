//! What every adapter of a port has to do, whichever it is.

pub mod revisions;
pub mod store;
