//! Content of a presence from the command line.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use hiendien_domain::document;
use hiendien_domain::fault::Fault;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::Client;

/// What a site says (`content/v1`), by the presence's name or identifier
#[derive(Debug, Subcommand)]
pub(crate) enum ContentCommand {
    /// Prints the document that was published last, or one that makes the page of the claim
    Show {
        name: String,
        /// The résumé alone, as JSON Resume
        #[arg(long)]
        resume: bool,
    },
    /// Tells all the faults of a document; publishes nothing
    Check { name: String, file: PathBuf },
    /// Publishes a document
    Publish {
        name: String,
        file: PathBuf,
        /// Another template as well
        #[arg(long)]
        template: Option<String>,
    },
    /// Renders without publishing: lists the files, or gives them
    Preview {
        name: String,
        /// The document; without it what is published
        file: Option<PathBuf>,
        #[arg(long)]
        template: Option<String>,
        /// Print the file at this path, such as `/bai-viet/`
        #[arg(long, conflicts_with = "to")]
        path: Option<String>,
        /// Write all files below this directory
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Prints the JSON Schema of a document
    Schema,
}

/// A document as it is, so that the service tells its faults.
fn read(file: &Path) -> anyhow::Result<Box<RawValue>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    let text = text.trim_start_matches('\u{feff}').to_owned();
    RawValue::from_string(text.trim().to_owned())
        .with_context(|| format!("`{}` is not JSON", file.display()))
}

fn print_warnings(warnings: &[Fault]) {
    for warning in warnings {
        println!(
            "warning: `{}`: {} [{}]\n    {}",
            warning.pointer, warning.en, warning.code, warning.vi
        );
    }
}

/// A document with what goes beside it, as `publish` and a preview take them.
#[derive(Debug, Serialize)]
struct Draft<'a> {
    content: Option<Box<RawValue>>,
    template: Option<&'a str>,
}

/// Asks a client for what needs one.
pub(crate) async fn run(
    client: impl Fn() -> anyhow::Result<Client>,
    command: &ContentCommand,
) -> anyhow::Result<()> {
    match command {
        ContentCommand::Schema => println!("{:#}", document::schema()),
        ContentCommand::Show { name, resume } => {
            let what = if *resume { "content/resume" } else { "content" };
            let shown: Value = client()?.content(name, what).await?;
            println!("{shown:#}");
        }
        ContentCommand::Check { name, file } => {
            let body = Draft {
                content: Some(read(file)?),
                template: None,
            };
            let preview = client()?.preview(name, &body).await?;
            print_warnings(&preview.warnings);
            println!(
                "`{}` is content for `{name}`: {} files",
                file.display(),
                preview.files.len()
            );
        }
        ContentCommand::Publish {
            name,
            file,
            template,
        } => {
            let body = Draft {
                content: Some(read(file)?),
                template: template.as_deref(),
            };
            let operation = client()?.ask(name, "publish", &body).await?;
            println!(
                "operation `{}` ({}): {}",
                operation.id, operation.verb, operation.state
            );
        }
        ContentCommand::Preview {
            name,
            file,
            template,
            path,
            to,
        } => {
            let body = Draft {
                content: file.as_deref().map(read).transpose()?,
                template: template.as_deref(),
            };
            if let Some(path) = path {
                let bytes = client()?.preview_file(name, &body, path).await?;
                std::io::stdout().write_all(&bytes)?;
                return Ok(());
            }
            let preview = client()?.preview(name, &body).await?;
            print_warnings(&preview.warnings);
            for shown in &preview.files {
                if let Some(to) = to {
                    let bytes = client()?.preview_file(name, &body, &shown.path).await?;
                    write(to, &shown.path, &bytes)?;
                }
                println!(
                    "{:>9}  {:<28} {}",
                    shown.bytes, shown.media_type, shown.path
                );
            }
        }
    }
    Ok(())
}

fn write(to: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut relative = path.trim_start_matches('/').to_owned();
    if relative.is_empty() || relative.ends_with('/') {
        relative.push_str("index.html");
    }
    if relative
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        bail!("the API names a file `{path}`, which is not below the directory");
    }
    let file = to.join(relative);
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make `{}`", directory.display()))?;
    }
    std::fs::write(&file, bytes).with_context(|| format!("cannot write `{}`", file.display()))
}
