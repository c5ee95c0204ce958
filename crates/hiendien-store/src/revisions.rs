//! Revisions in a folder.
