//! Verbs asked of a presence from the command line.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::path::PathBuf;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use hiendien_api::ReviewDecision;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::Client;

/// Presences, by name or identifier
#[derive(Debug, Subcommand)]
pub(crate) enum PresenceCommand {
    /// Shows another template, or takes a claim anew; `hiendien content publish` takes a document
    Publish {
        name: String,
        #[arg(long)]
        template: Option<String>,
        /// The claim again, where its facts have changed
        #[arg(long)]
        claim: Option<PathBuf>,
    },
    /// Stops site and mailboxes; mail is still taken in
    Suspend {
        name: String,
        /// Why; the owner gets to read it
        #[arg(long)]
        reason: String,
    },
    /// Brings a suspended presence back
    Resume { name: String },
    /// Sets the end of a new term, and renews the certificate where that is due
    Renew {
        name: String,
        /// The end of the new term, such as `2028-06-01T00:00:00+07:00`
        #[arg(long)]
        until: Option<Timestamp>,
    },
    /// Hands it to another registrant, another registrar, or both
    Transfer {
        name: String,
        #[arg(long, requires = "email")]
        owner: Option<String>,
        #[arg(long, requires = "owner")]
        email: Option<String>,
        #[arg(long, requires = "reference")]
        registrar: Option<String>,
        /// The new registrar's reference
        #[arg(long, requires = "registrar")]
        reference: Option<String>,
    },
    /// Gives a mailbox another address; the former one becomes its alias
    RenameMailbox {
        name: String,
        from: String,
        to: String,
    },
    /// Sends the owner a link to set a mailbox's password anew
    ResetPassword { name: String, mailbox: String },
    /// Makes all planes again what they are meant to be
    Repair { name: String },
    /// Stops serving and gives the name back; site and mail are kept for a while
    Release {
        name: String,
        /// What is given back cannot be taken back
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Erases what is kept of a released presence, now
    Purge {
        name: String,
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Decides on a name that is held back
    Review { name: String, decision: Verdict },
    /// Notes that the registrant's papers are complete
    DossierComplete { name: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Verdict {
    Approve,
    Refuse,
}

pub(crate) async fn run(client: &Client, command: &PresenceCommand) -> anyhow::Result<()> {
    use PresenceCommand as Verb;
    let (name, verb, body): (&str, &str, Value) = match command {
        Verb::Publish {
            name,
            template,
            claim,
        } => {
            let claim = claim.as_ref().map(|path| {
                let text = std::fs::read(path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                serde_json::from_slice::<Value>(&text)
                    .with_context(|| format!("`{}` is not JSON", path.display()))
            });
            let claim = claim.transpose()?;
            (
                name,
                "publish",
                json!({ "template": template, "claim": claim }),
            )
        }
        Verb::Suspend { name, reason } => (name, "suspend", json!({ "reason": reason })),
        Verb::Resume { name } => (name, "resume", json!({})),
        Verb::Renew { name, until } => (name, "renew", json!({ "term_ends_at": until })),
        Verb::Transfer {
            name,
            owner,
            email,
            registrar,
            reference,
        } => {
            let registrant = owner
                .as_ref()
                .map(|owner| json!({ "owner_name": owner, "contact_email": email }));
            let registrar = registrar
                .as_ref()
                .map(|registrar| json!({ "name": registrar, "reference": reference }));
            let body = json!({ "registrant": registrant, "registrar": registrar });
            (name, "transfer", body)
        }
        Verb::RenameMailbox { name, from, to } => {
            (name, "rename-mailbox", json!({ "from": from, "to": to }))
        }
        Verb::ResetPassword { name, mailbox } => {
            (name, "reset-password", json!({ "mailbox": mailbox }))
        }
        Verb::Repair { name } => (name, "repair", json!({})),
        Verb::Release { name, .. } => (name, "release", json!({})),
        Verb::Purge { name, .. } => (name, "purge", json!({})),
        Verb::Review { name, decision } => {
            let decision = match decision {
                Verdict::Approve => ReviewDecision::Approve,
                Verdict::Refuse => ReviewDecision::Refuse,
            };
            (name, "review", json!({ "decision": decision }))
        }
        Verb::DossierComplete { name } => (name, "dossier-complete", json!({})),
    };
    let operation = client.ask(name, verb, &body).await?;
    println!(
        "operation `{}` ({}): {}",
        operation.id, operation.verb, operation.state
    );
    Ok(())
}
