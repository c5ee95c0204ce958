//! Mail: rows and keys for Postfix, Dovecot and rspamd, letters to people, and a probe that
//! proves that mail comes in and goes out.
//!
//! Provisioning a mailbox is rows and keys, never a reload. The servers themselves are set up
//! once, under `deploy/mail`; this crate starts and stops none. It cannot touch stored mail either:
//! that is erased by a command of the mail node's.

pub mod checks;
mod dialogue;
mod keys;
mod letters;
mod mailboxes;
mod messages;
mod probe;
mod sessions;
mod tls;

pub use letters::OwnerLetters;
pub use mailboxes::{MailboxSettings, OpenError, ProbeCredential, SqliteMailboxes};
pub use messages::{SmtpMessages, SmtpSettings};
pub use probe::{MailProbe, MailProbeSettings, OutsideMailbox};
pub use sessions::SessionSettings;
