//! The nouns and rules of the programme as values.
//!
//! Nothing here performs I/O, awaits, or reads a clock: callers pass the day or the instant in.
//! Wire formats other than the claim live with the wire.

pub mod claim;
pub mod content;
pub mod document;
pub mod fault;
pub mod ids;
pub mod lifecycle;
pub mod name;
pub mod picture;
pub mod platform;
mod reader;
pub mod records;
pub mod risk;
pub mod secret;
pub mod site;
pub mod term;
