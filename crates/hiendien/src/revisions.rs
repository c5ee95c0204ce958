//! Revisions of a site from the command line: listed, compared, checked, served again, exported.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Subcommand;
use hiendien_domain::site::RevisionHash;
use serde_json::json;

use crate::client::Client;

/// Digits that stand for a revision in a listing.
const SHORT: usize = 12;

/// Revisions of a site; one is named by its hash or by the first digits of it
#[derive(Debug, Subcommand)]
pub(crate) enum RevisionCommand {
    /// Tells which files were added, removed and changed from one to another
    Diff {
        name: String,
        from: String,
        to: String,
        #[arg(long)]
        json: bool,
    },
    /// Reads all of a revision and tells what is not as it was written
    Verify {
        name: String,
        /// Without it the one that is served
        revision: Option<String>,
    },
}

/// Lists the revisions of a site, the newest first.
pub(crate) async fn list(client: &Client, name: &str, json: bool) -> anyhow::Result<()> {
    let listed = client.revisions(name).await?;
    if json {
        println!("{:#}", json!(listed));
        return Ok(());
    }
    if listed.revisions.is_empty() {
        println!("no revision is kept");
    }
    for revision in &listed.revisions {
        let told = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
        println!(
            "{} {}  {}  {:<16} {} files, {} bytes",
            if revision.served { "*" } else { " " },
            short(&revision.revision),
            told(revision.built_at.map(|at| at.to_string())),
            told(revision.template.clone()),
            told(revision.files.map(|files| files.to_string())),
            told(revision.bytes.map(|bytes| bytes.to_string())),
        );
    }
    Ok(())
}

fn short(revision: &RevisionHash) -> &str {
    &revision.as_str()[..SHORT]
}

pub(crate) async fn run(client: &Client, command: &RevisionCommand) -> anyhow::Result<ExitCode> {
    match command {
        RevisionCommand::Diff {
            name,
            from,
            to,
            json,
        } => {
            let diff = client.revision_diff(name, from, to).await?;
            if *json {
                println!("{:#}", json!(diff));
                return Ok(ExitCode::SUCCESS);
            }
            for file in &diff.removed {
                println!("- {} ({} bytes)", file.path, file.bytes);
            }
            for file in &diff.added {
                println!("+ {} ({} bytes)", file.path, file.bytes);
            }
            for file in &diff.changed {
                println!(
                    "~ {} ({} bytes, before {})",
                    file.path, file.to.bytes, file.from.bytes
                );
                if let Some(lines) = &file.diff {
                    print!("{lines}");
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        RevisionCommand::Verify { name, revision } => {
            let revision = match revision {
                Some(revision) => revision.clone(),
                None => served(client, name).await?.to_string(),
            };
            let told = client.verify_revision(name, &revision).await?;
            for damage in &told.damage {
                println!("{}", json!(damage));
            }
            if told.is_whole {
                let files = told.files.map_or(0, |files| files.len());
                println!("revision `{}` is whole: {files} files", told.revision);
                return Ok(ExitCode::SUCCESS);
            }
            println!(
                "revision `{}` is damaged in {} places; of the served one `hiendien presence repair` makes it whole",
                told.revision,
                told.damage.len()
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn served(client: &Client, name: &str) -> anyhow::Result<RevisionHash> {
    let listed = client.revisions(name).await?;
    listed
        .served
        .with_context(|| format!("nothing of `{name}` was published"))
}

/// Serves an earlier revision again.
pub(crate) async fn roll_back(client: &Client, name: &str, revision: &str) -> anyhow::Result<()> {
    let body = json!({ "revision": revision });
    let operation = client.ask(name, "rollback", &body).await?;
    println!(
        "operation `{}` ({}): {}; the next publish builds from the content of the presence again",
        operation.id, operation.verb, operation.state
    );
    Ok(())
}

/// Writes the export beside its place and renames it into it.
pub(crate) async fn export(
    client: &Client,
    name: &str,
    file: &Path,
    revision: Option<&str>,
) -> anyhow::Result<()> {
    let new = {
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        PathBuf::from(new)
    };
    let cannot = || format!("cannot write `{}`", new.display());
    let mut bytes = 0;
    let mut out = std::fs::File::create(&new).with_context(cannot)?;
    let mut answer = client.export(name, revision).await?;
    while let Some(part) = answer.chunk().await.context("the export was cut off")? {
        out.write_all(&part).with_context(cannot)?;
        bytes += part.len();
    }
    out.sync_all().with_context(cannot)?;
    ensure!(bytes > 0, "the export is empty");
    std::fs::rename(&new, file).with_context(|| format!("cannot rename `{}`", new.display()))?;
    println!("`{}`: {bytes} bytes", file.display());
    Ok(())
}
