//! Verbs, their steps, the worker that runs them, and the ports they need.
//!
//! Three contexts, three retry rules: an API handler does not retry (its caller does); a step is
//! retried for as long as its failure is transient; a reconciler does not retry, its next
//! activation does.
//!
//! The engine knows no adapter, no SQL and no wire format. Time comes through [`clock::Clock`].

pub mod care;
pub mod clock;
pub mod content;
pub mod gate;
pub mod intake;
pub mod operation;
pub mod pictures;
pub mod ports;
pub mod presence;
pub mod reconcile;
pub mod request;
pub mod retry;
pub mod step;
pub mod store;
pub mod verbs;
pub mod webhooks;
pub mod worker;
