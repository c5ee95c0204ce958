//! Webhooks: the part of the service that sends them, and the commands that set them up.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use hiendien_api::{HttpSender, NewEndpoint};
use hiendien_engine::webhooks::{DeliverySettings, deliver};
use tokio::sync::watch;

use crate::client::Client;
use crate::config::Config;
use crate::work::Kept;

/// What webhooks are sent with.
pub(crate) fn sender(config: &Config) -> anyhow::Result<HttpSender> {
    let settings = &config.webhooks;
    HttpSender::new(settings.targets(), settings.extra_roots.as_deref())
        .context("cannot set up webhooks")
}

/// Sends webhooks until `stopping` turns true, where this process is to. Several processes may.
pub(crate) async fn run(
    config: &Config,
    kept: &Kept,
    sender: Arc<HttpSender>,
    stopping: watch::Receiver<bool>,
) {
    if !config.webhooks.deliver {
        return;
    }
    let settings = DeliverySettings {
        at_once_max: config.webhooks.at_once_max,
        at_once_of_endpoint_max: config.webhooks.at_once_of_endpoint_max,
        ..DeliverySettings::default()
    };
    deliver(
        settings,
        kept.store.clone(),
        sender,
        Arc::clone(&kept.clock),
        stopping,
    )
    .await;
}

/// Webhooks: what happened to presences, told to a registrar's endpoints
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Sets one up and prints its secret, this once; one that is there gets the URL and the list, and keeps its secret
    Add {
        name: String,
        #[arg(long)]
        url: String,
        /// A kind of event, or such as `plane.*`; without any what registrars need
        #[arg(long = "event")]
        events: Vec<String>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Lists them
    List {
        #[command(flatten)]
        whose: Whose,
    },
    /// Ends one
    Remove {
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Makes a new secret and prints it, this once; the former one signs beside it for a day
    Rotate {
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Sends a test
    Test {
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Sends again what was told of events after a sequence number
    Replay {
        name: String,
        #[arg(long)]
        after: i64,
        #[command(flatten)]
        whose: Whose,
    },
    /// Shows what was sent and what came of it
    Deliveries {
        name: String,
        #[arg(long, default_value_t = 0)]
        after: i64,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose webhooks, where the key is an operator's.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// The registrar; a registrar's own key tells it
    #[arg(long)]
    registrar: Option<String>,
}

impl Whose {
    fn name(&self) -> Option<&str> {
        self.registrar.as_deref()
    }
}

pub(crate) async fn ask(client: &Client, command: &WebhookCommand) -> anyhow::Result<()> {
    match command {
        WebhookCommand::Add {
            name,
            url,
            events,
            whose,
        } => {
            let endpoint = NewEndpoint {
                url: url.clone(),
                events: events.clone(),
            };
            let webhook = client.put_webhook(name, whose.name(), &endpoint).await?;
            match webhook.secret {
                Some(secret) => println!("{secret}"),
                None => println!("`{name}` was there: it keeps its secret"),
            }
        }
        WebhookCommand::List { whose } => {
            for webhook in client.webhooks(whose.name()).await? {
                let state = match (webhook.enabled, webhook.paused_until) {
                    (false, _) => "disabled".to_owned(),
                    (true, Some(until)) => format!("paused until {until}"),
                    (true, None) => "enabled".to_owned(),
                };
                println!("{:<32} {state:<10} {}", webhook.name, webhook.url);
            }
        }
        WebhookCommand::Remove { name, whose } => {
            client.remove_webhook(name, whose.name()).await?;
        }
        WebhookCommand::Rotate { name, whose } => {
            let webhook = client.rotate_webhook(name, whose.name()).await?;
            println!("{}", webhook.secret.unwrap_or_default());
        }
        WebhookCommand::Test { name, whose } => {
            let test = client.test_webhook(name, whose.name()).await?;
            println!("{}", test.message);
        }
        WebhookCommand::Replay { name, after, whose } => {
            let (mut after, mut count) = (*after, 0);
            loop {
                let replayed = client.replay_webhook(name, whose.name(), after).await?;
                count += replayed.replayed;
                match replayed.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            println!("{count} are sent again");
        }
        WebhookCommand::Deliveries { name, after, whose } => {
            let mut after = *after;
            loop {
                let page = client.webhook_deliveries(name, whose.name(), after).await?;
                for line in &page.deliveries {
                    let came = match (line.last_status, &line.last_error) {
                        (Some(status), _) => status.to_string(),
                        (None, Some(error)) => error.clone(),
                        (None, None) => String::new(),
                    };
                    let next = line
                        .next_attempt_at
                        .map(|at| format!("  again at {at}"))
                        .unwrap_or_default();
                    println!(
                        "{:<8} {:<24} {:<10} attempt {} {came}{next}",
                        line.number,
                        line.kind,
                        line.state.word(),
                        line.attempts
                    );
                }
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
    }
    Ok(())
}
