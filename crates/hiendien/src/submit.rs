//! Hands claims in and shows their steps.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::join_all;
use hiendien_api::ClaimAccepted;
use hiendien_domain::lifecycle::{OperationState, StepState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::client::Client;

const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) wait: bool,
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
}

pub(crate) async fn submit(
    client: &Client,
    files: &[PathBuf],
    options: &Options,
) -> anyhow::Result<ExitCode> {
    let mut accepted = Vec::new();
    let mut code = ExitCode::SUCCESS;
    // One that is refused keeps no other back.
    for file in files {
        match hand_in(client, file).await {
            Ok(answer) => {
                if !options.json {
                    print_accepted(&answer);
                }
                accepted.push(answer);
            }
            Err(error) => {
                let refused = format!("`{}` was not taken: {error:#}", file.display());
                if options.json {
                    println!("{}", json!({ "file": file, "refused": refused }));
                } else {
                    println!("{refused}");
                }
                code = ExitCode::FAILURE;
            }
        }
    }
    if !options.wait {
        if options.json {
            for answer in &accepted {
                println!("{}", json!(answer));
            }
        }
        return Ok(code);
    }
    let bars = (std::io::stdout().is_terminal() && !options.json).then(MultiProgress::new);
    let ended = join_all(
        accepted
            .iter()
            .map(|answer| follow(client, answer, options, bars.as_ref())),
    )
    .await;
    for (answer, ended) in accepted.iter().zip(ended) {
        let (live, presence) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let error = format!("{}: not seen to its end: {error:#}", answer.name);
                if options.json {
                    println!("{}", json!({ "claim": answer, "error": error }));
                } else {
                    println!("{error}");
                }
                code = ExitCode::FAILURE;
                continue;
            }
        };
        if options.json {
            println!("{presence}");
        } else if live {
            println!("{}: live at https://{}/", answer.name, answer.name);
        } else {
            println!(
                "{}: not live yet; `hiendien status {}` tells why and what goes on by itself",
                answer.name, answer.name
            );
        }
        if !live {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

async fn hand_in(client: &Client, file: &Path) -> anyhow::Result<ClaimAccepted> {
    let bytes = std::fs::read(file).context("it cannot be read")?;
    client.submit(bytes).await
}

fn print_accepted(answer: &ClaimAccepted) {
    let before = if answer.repeated {
        " (handed in before)"
    } else {
        ""
    };
    println!(
        "{}: accepted as operation {}{before}",
        answer.name, answer.operation
    );
    for warning in &answer.warnings {
        println!("  warning: `{}`: {}", warning.pointer, warning.en);
    }
}

/// Shows the steps until the operation has succeeded or the time is over.
async fn follow(
    client: &Client,
    answer: &ClaimAccepted,
    options: &Options,
    bars: Option<&MultiProgress>,
) -> anyhow::Result<(bool, serde_json::Value)> {
    let began = Instant::now();
    let bar = bars.map(|bars| {
        let style = ProgressStyle::with_template("{prefix:32!} {bar:24} {pos}/{len} {msg}");
        let bar = bars
            .add(ProgressBar::new(0))
            .with_prefix(answer.name.to_string());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    });
    let mut after = 0;
    let mut pause = tokio::time::interval(LOOK_EVERY);
    loop {
        pause.tick().await;
        let late = began.elapsed() > options.timeout;
        // The service may be started anew meanwhile; the work goes on, and so does the wait.
        let operation = match client.operation(answer.operation).await {
            Ok(operation) => operation,
            Err(error) if late => return Err(error),
            Err(_) => continue,
        };
        if let Some(bar) = &bar {
            let done = operation
                .steps
                .iter()
                .filter(|step| step.state == StepState::Succeeded)
                .count();
            bar.set_length(operation.steps.len() as u64);
            bar.set_position(done as u64);
            let under_way: Vec<&str> = operation
                .steps
                .iter()
                .filter(|step| matches!(step.state, StepState::Started | StepState::Waiting))
                .map(|step| step.name.as_str())
                .collect();
            bar.set_message(under_way.join(", "));
        } else if !options.json {
            after = print_events(client, answer, after).await.unwrap_or(after);
        }
        let live = operation.state == OperationState::Succeeded;
        if live || late || operation.state == OperationState::Stuck {
            if let Some(bar) = &bar {
                bar.finish();
            }
            let presence = client.presence(&answer.presence.to_string()).await?;
            return Ok((
                live,
                json!({ "presence": presence, "operation": operation }),
            ));
        }
    }
}

async fn print_events(client: &Client, answer: &ClaimAccepted, after: i64) -> anyhow::Result<i64> {
    let page = client.events(&answer.presence.to_string(), after).await?;
    for event in &page.events {
        let step = event.step.as_deref().unwrap_or_default();
        let duration = event
            .detail
            .get("duration_ms")
            .map(|ms| format!("{ms} ms"))
            .unwrap_or_default();
        match event.kind.as_str() {
            "step.succeeded" => println!("{}: {step} done in {duration}", answer.name),
            "step.failed" => {
                let error = event
                    .detail
                    .get("error")
                    .and_then(|error| error.as_str())
                    .unwrap_or_default();
                let next = match event.detail.get("next_attempt_at") {
                    Some(at) if !at.is_null() => "will be tried again",
                    _ => "needs a person",
                };
                println!("{}: {step} failed, {next}: {error}", answer.name);
            }
            _ => {}
        }
    }
    Ok(page.events.last().map_or(after, |event| event.sequence))
}
