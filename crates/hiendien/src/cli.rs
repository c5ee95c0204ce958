//! The verbs of the command line.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use hiendien_container::{image_archive, image_files};
use hiendien_domain::claim;
use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::OperationState;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::client::Client;
use crate::config::Config;
use crate::content::ContentCommand;
use crate::images::ImageCommand;
use crate::presence::PresenceCommand;
use crate::revisions::RevisionCommand;
use crate::webhooks::WebhookCommand;
use crate::{
    backup, content, doctor, images, migrate, presence, restore, revisions, serve, submit,
    webhooks, work,
};

/// One-click website and e-mail provisioning for names under .vn
#[derive(Debug, Parser)]
#[command(name = "hiendien", version)]
pub struct Arguments {
    /// The configuration file
    #[arg(long, global = true, default_value = "/etc/hiendien/hiendien.toml")]
    config: PathBuf,
    /// Speak to the API at this URL; without it to that of the configuration
    #[arg(long, global = true)]
    api: Option<String>,
    /// File with the API key; without it the operator's own
    #[arg(long, global = true)]
    key_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

impl Arguments {
    fn config(&self) -> anyhow::Result<Config> {
        Config::read(&self.config)
    }

    /// A registrar has a URL and a key, an operator the configuration.
    fn client(&self) -> anyhow::Result<Client> {
        if let (Some(api), Some(key_file)) = (&self.api, &self.key_file) {
            return Client::new(api, key_file);
        }
        let config = self.config()?;
        let api = format!("http://{}", config.api.listen);
        let key_file = config.operator_key();
        Client::new(
            self.api.as_ref().unwrap_or(&api),
            self.key_file.as_ref().unwrap_or(&key_file),
        )
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs all roles in one process on the embedded store
    Serve {
        /// Log as JSON lines
        #[arg(long)]
        log_json: bool,
    },
    /// Runs operations, beside other processes, on a store that they share
    Work {
        /// Operations at once; without it as the configuration says
        #[arg(long)]
        slots: Option<usize>,
        /// Log as JSON lines
        #[arg(long)]
        log_json: bool,
    },
    /// Checks the configuration file and says what is wrong with it
    Check,
    /// Brings the database to the schema of this program
    Migrate,
    /// Copies all that is kept while the service runs, or checks such a copy
    Backup(backup::Options),
    /// Puts a backup in the place of what is kept; the service must not run
    Restore(restore::Options),
    #[command(subcommand)]
    Claim(ClaimCommand),
    /// Shows where a presence stands
    Status {
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// Shows what happened to a presence
    Events {
        name: String,
        #[arg(long)]
        json: bool,
        /// Keep showing what happens
        #[arg(long)]
        follow: bool,
    },
    /// Lists what waits for a person, and what to do
    Attention {
        #[arg(long)]
        json: bool,
    },
    /// Writes the image that sites are built in, for `docker load` and `podman load`
    BuilderImage {
        /// The static render binary; without it that of the configuration
        #[arg(long)]
        render_binary: Option<PathBuf>,
        /// The file to write
        #[arg(long)]
        output: PathBuf,
    },
    /// Asks DNS, TLS, HTTP, SMTP and IMAP from outside and says what to do
    Doctor { name: String },
    /// Lists the revisions of a site, the newest first; `*` marks the one that is served
    Revisions {
        name: String,
        #[arg(long)]
        json: bool,
    },
    #[command(subcommand)]
    Revision(RevisionCommand),
    /// Serves an earlier revision of a site again, as it is kept
    Rollback { name: String, revision: String },
    /// Writes a site with all it was built from into a zip file
    Export {
        name: String,
        file: PathBuf,
        /// Another revision than the one that is served
        #[arg(long)]
        revision: Option<String>,
    },
    #[command(subcommand)]
    Presence(PresenceCommand),
    #[command(subcommand)]
    Content(ContentCommand),
    #[command(subcommand)]
    Operation(OperationCommand),
    #[command(subcommand)]
    Key(KeyCommand),
    #[command(subcommand)]
    Webhook(WebhookCommand),
    #[command(subcommand)]
    Image(ImageCommand),
    /// Prints a completion script for a shell
    Completions { shell: Shell },
}

/// Claims
#[derive(Debug, Subcommand)]
enum ClaimCommand {
    /// Tells all the faults of a claim; hands nothing in
    Check { file: PathBuf },
    /// Hands claims in
    Submit {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Wait until they are live, showing each step
        #[arg(long)]
        wait: bool,
        /// Give up waiting after this many seconds
        #[arg(long, default_value_t = 300)]
        timeout: u64,
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of a claim
    Schema,
}

/// API keys
#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a key and prints it, this once; an earlier key of the same name ends
    Add {
        name: String,
        #[command(flatten)]
        holder: Holder,
    },
    /// Lists the keys, without their secrets
    List,
    /// Ends a key
    Remove { name: String },
}

/// Whom a key is for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Holder {
    /// The registrar the key acts for
    #[arg(long)]
    registrar: Option<String>,
    /// The key is an operator's, who sees all
    #[arg(long)]
    operator: bool,
}

/// Operations
#[derive(Debug, Subcommand)]
enum OperationCommand {
    /// Makes a parked or stuck operation due at once
    Retry { id: OperationId },
    /// Gives a parked or stuck operation up: what it did is undone
    Abandon { id: OperationId },
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Serve { log_json } => {
            let config = arguments.config()?;
            start_log(*log_json);
            serve::serve(config).await?;
        }
        Command::Work { slots, log_json } => {
            let config = arguments.config()?;
            start_log(*log_json);
            work::role(config, *slots).await?;
        }
        Command::Check => {
            arguments.config()?;
            println!("`{}` is well formed", arguments.config.display());
        }
        Command::Migrate => migrate::migrate(&arguments.config()?).await?,
        Command::Backup(options) => {
            return backup::run(options.clone(), arguments.config.clone()).await;
        }
        Command::Restore(options) => {
            restore::run(options.clone(), arguments.config()?).await?;
        }
        Command::Claim(ClaimCommand::Check { file }) => return check(file),
        Command::Claim(ClaimCommand::Schema) => println!("{:#}", claim::schema()),
        Command::Claim(ClaimCommand::Submit {
            files,
            wait,
            timeout,
            json,
        }) => {
            let options = submit::Options {
                wait: *wait,
                timeout: Duration::from_secs(*timeout),
                json: *json,
            };
            return submit::submit(&arguments.client()?, files, &options).await;
        }
        Command::Status { name, json } => status(&arguments.client()?, name, *json).await?,
        Command::Events { name, json, follow } => {
            events(&arguments.client()?, name, *json, *follow).await?;
        }
        Command::Attention { json } => attention(&arguments.client()?, *json).await?,
        Command::Doctor { name } => {
            return doctor::examine(&arguments.config()?, arguments.client(), name).await;
        }
        Command::Revisions { name, json } => {
            revisions::list(&arguments.client()?, name, *json).await?;
        }
        Command::Revision(command) => {
            return revisions::run(&arguments.client()?, command).await;
        }
        Command::Rollback { name, revision } => {
            revisions::roll_back(&arguments.client()?, name, revision).await?;
        }
        Command::Export {
            name,
            file,
            revision,
        } => {
            let client = arguments.client()?;
            revisions::export(&client, name, file, revision.as_deref()).await?;
        }
        Command::BuilderImage {
            render_binary,
            output,
        } => {
            let render_binary = match render_binary {
                Some(render_binary) => render_binary.clone(),
                None => arguments.config()?.builder.render_binary,
            };
            write_image(&render_binary, output)?;
        }
        Command::Presence(command) => {
            presence::run(&arguments.client()?, command).await?;
        }
        Command::Content(command) => content::run(|| arguments.client(), command).await?,
        Command::Operation(OperationCommand::Abandon { id }) => {
            let operation = arguments.client()?.abandon(*id).await?;
            println!("operation `{id}` is undone: {}", operation.state);
        }
        Command::Operation(OperationCommand::Retry { id }) => {
            let operation = arguments.client()?.retry(*id).await?;
            println!("operation `{id}` is {}", operation.state);
        }
        Command::Key(KeyCommand::Add { name, holder }) => {
            let registrar = holder.registrar.clone();
            let made = arguments.client()?.put_key(name, registrar).await?;
            println!("{}", made.key.unwrap_or_default());
        }
        Command::Key(KeyCommand::List) => {
            for key in arguments.client()?.keys().await? {
                let acts_for = key.registrar.unwrap_or_else(|| "(operator)".to_owned());
                println!("{:<32} {acts_for}", key.name);
            }
        }
        Command::Key(KeyCommand::Remove { name }) => {
            arguments.client()?.remove_key(name).await?;
        }
        Command::Image(command) => {
            images::ask(&arguments.client()?, command).await?;
        }
        Command::Webhook(command) => {
            webhooks::ask(&arguments.client()?, command).await?;
        }
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "hiendien",
                &mut io::stdout(),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,hickory_server=error"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}

/// The same files make the same octets, whoever writes them and when.
fn write_image(render_binary: &Path, output: &Path) -> anyhow::Result<()> {
    let files = image_files(render_binary)
        .with_context(|| format!("cannot read `{}`", render_binary.display()))?;
    let archive = image_archive(&files)?;
    std::fs::write(output, &archive.octets)
        .with_context(|| format!("cannot write `{}`", output.display()))?;
    println!("{} in `{}`", archive.name, output.display());
    Ok(())
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    match claim::parse(&bytes) {
        Ok(checked) => {
            for warning in &checked.warnings {
                println!(
                    "warning: `{}`: {} [{}]\n    {}",
                    warning.pointer, warning.en, warning.code, warning.vi
                );
            }
            println!(
                "`{}` is a claim for `{}`",
                file.display(),
                checked.claim.domain()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            println!(
                "`{}` has {} faults:\n{faults}",
                file.display(),
                faults.0.len()
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn status(client: &Client, name: &str, json: bool) -> anyhow::Result<()> {
    let presence = client.presence(name).await?;
    let operation = client.operation(presence.operation).await?;
    if json {
        println!(
            "{:#}",
            json!({ "presence": presence, "operation": operation })
        );
        return Ok(());
    }
    println!(
        "{}  {}  {}",
        presence.name_unicode, presence.state, presence.url
    );
    for plane in &presence.planes {
        let reason = plane
            .reason
            .as_deref()
            .map(|reason| format!("  {reason}"))
            .unwrap_or_default();
        println!(
            "  {:<5} {:<8}{reason}",
            plane.plane.to_string(),
            plane.state.to_string()
        );
    }
    let due = operation
        .next_run_at
        .map(|at| format!(", goes on at {at}"))
        .unwrap_or_default();
    println!(
        "operation {} ({}): {}{due}",
        operation.id, operation.verb, operation.state
    );
    if operation.state == OperationState::Stuck {
        println!(
            "  mend what the step tells, then `hiendien operation retry {}`",
            operation.id
        );
    }
    for step in &operation.steps {
        let error = step
            .error
            .as_deref()
            .map(|error| format!("  {error}"))
            .unwrap_or_default();
        println!(
            "  {:<20} {:<10} attempt {}{error}",
            step.name,
            step.state.to_string(),
            step.attempt
        );
    }
    Ok(())
}

async fn attention(client: &Client, json: bool) -> anyhow::Result<()> {
    let waiting = client.attention().await?;
    if json {
        println!("{:#}", json!(waiting));
        return Ok(());
    }
    if waiting.is_empty() {
        println!("nothing waits for a person");
    }
    for item in waiting {
        println!(
            "{}  {} {}",
            item.presence.name_unicode, item.operation.verb, item.operation.state
        );
        let failed = item
            .operation
            .steps
            .iter()
            .filter(|step| step.error.is_some());
        for step in failed {
            println!(
                "  `{}`: {}",
                step.name,
                step.error.as_deref().unwrap_or_default()
            );
        }
        println!("  {}", item.to_do);
    }
    Ok(())
}

async fn events(client: &Client, name: &str, json: bool, follow: bool) -> anyhow::Result<()> {
    let presence = client.presence(name).await?;
    let which = presence.id.to_string();
    let mut after = 0;
    let mut pause = tokio::time::interval(Duration::from_millis(250));
    loop {
        let page = client.events(&which, after).await?;
        for event in &page.events {
            after = event.sequence;
            if json {
                println!("{}", json!(event));
            } else {
                let step = event.step.as_deref().unwrap_or_default();
                println!(
                    "{}  {:<20} {step:<20} {}",
                    event.at, event.kind, event.detail
                );
            }
        }
        if page.events.is_empty() {
            if !follow {
                return Ok(());
            }
            pause.tick().await;
        }
    }
}
