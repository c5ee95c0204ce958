//! The approved claim.
