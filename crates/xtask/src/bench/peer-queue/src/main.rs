//! The peer of `cargo xtask bench engine`: underway's durable step functions, thirteen steps that do nothing.
//!
//! Each step hands the outputs so far on as the next one's input, which underway keeps in a row of its own.

use std::env;
use std::io;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use underway::job::Context;
use underway::task::Result as TaskResult;
use underway::{Job, To};

/// What is known of an operation so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outputs {
    operation: u64,
    of_steps: Vec<String>,
}

/// A step that does nothing and has an output.
async fn step(_: Context<()>, mut outputs: Outputs) -> TaskResult<To<Outputs>> {
    outputs.of_steps.push("done".to_owned());
    To::next(outputs)
}

async fn last(_: Context<()>, _: Outputs) -> TaskResult<To<()>> {
    To::done()
}

/// `prepare URL COUNT` makes the tables and puts jobs in; `work URL SLOTS` waits for a line, then works until it is killed.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [verb, url, number] = arguments.as_slice() else {
        bail!("usage: peer-queue prepare|work URL COUNT|SLOTS");
    };
    let number: u32 = number.parse().context("a number comes last")?;
    // A connection for each slot, one for its heart beat, and those that listen.
    let connections = if verb == "work" { 2 * number + 4 } else { 4 };
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .connect(url)
        .await?;
    if verb == "prepare" {
        underway::run_migrations(&pool).await?;
    }
    let job: Job<Outputs, ()> = Job::builder()
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(step)
        .step(last)
        .name("bench")
        .pool(pool)
        .build()
        .await?;
    match verb.as_str() {
        "prepare" => {
            for operation in 0..u64::from(number) {
                let outputs = Outputs {
                    operation,
                    of_steps: Vec::new(),
                };
                job.enqueue(&outputs).await?;
            }
        }
        "work" => {
            io::stdin().read_line(&mut String::new())?;
            let mut worker = job.worker();
            worker.set_concurrency_limit(usize::try_from(number)?);
            worker.run().await?;
        }
        other => bail!("`{other}` is neither `prepare` nor `work`"),
    }
    Ok(())
}
