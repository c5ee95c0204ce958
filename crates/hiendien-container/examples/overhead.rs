//! Measures what confinement costs a build that finds a warm room: the same job built through an
//! engine and rendered here, in milliseconds, as JSON.
//!
//!     cargo run --release -p hiendien-container --example overhead -- ENGINE RENDER_BINARY TEMPLATES [BUILDS]
//!
//! ENGINE is the socket of Docker or Podman, or `process`.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hiendien_container::{BuilderSettings, ContainerBuilder, Engine};
use hiendien_engine::ports::{BuildJob, ErrorChain, SiteBuilder};
use hiendien_render::{Template, render, template};
use serde_json::{Value, json};

/// Rooms that are kept warm.
const WARM: usize = 4;
const BUILDS: usize = 50;
/// What is built or rendered first, unmeasured.
const UNMEASURED: usize = 3;
const FILL_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, render_binary, templates, builds @ ..] = arguments.as_slice() else {
        return Err("usage: overhead ENGINE RENDER_BINARY TEMPLATES [BUILDS]".into());
    };
    let builds = match builds.first() {
        Some(builds) => builds.parse()?,
        None => BUILDS,
    };
    let templates = PathBuf::from(templates);
    let files = std::env::temp_dir().join(format!("hiendien-overhead-{}", std::process::id()));
    let builder = ContainerBuilder::start(BuilderSettings {
        engine: match engine.as_str() {
            "process" => Engine::Process,
            socket => Engine::Container {
                socket: socket.into(),
                files: files.clone(),
            },
        },
        render_binary: render_binary.into(),
        templates: templates.clone(),
        owner: format!("overhead-{}", std::process::id()),
        warm: WARM,
        concurrency_max: WARM,
        timeout: Duration::from_secs(10),
    });
    let mut measured = Vec::new();
    for name in template::names(&templates)? {
        measured.push(measure(&builder, &templates, &name, builds).await?);
    }
    builder.shutdown().await;
    if files.exists() {
        std::fs::remove_dir_all(&files)?;
    }
    println!(
        "{:#}",
        json!({ "engine": engine, "builds": builds, "templates": measured })
    );
    Ok(())
}

async fn measure(
    builder: &ContainerBuilder,
    templates: &std::path::Path,
    name: &str,
    builds: usize,
) -> Result<Value, Box<dyn Error>> {
    let content = template::sample(templates, name)?;
    let job = BuildJob {
        template: name.to_owned(),
        content: content.clone(),
    };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    // Tells why, where no room can be started.
    let first = builder.build(&job).await;
    first.map_err(|error| ErrorChain(&error).to_string())?;
    for number in 0..builds + UNMEASURED {
        let full = async {
            while builder.warm_rooms() < WARM {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(FILL_TIMEOUT, full).await?;
        // Taking turns, so that a busy machine is as busy for both.
        let began = Instant::now();
        let rendered = render(&Template::load(templates, name)?, &content)?;
        let rendered_in = began.elapsed();
        let began = Instant::now();
        let built = builder.build(&job).await;
        let built_in = began.elapsed();
        let built = built.map_err(|error| ErrorChain(&error).to_string())?;
        if built != rendered {
            return Err(format!("`{name}` is another site when it is built").into());
        }
        if number >= UNMEASURED {
            here.push(rendered_in);
            there.push(built_in);
        }
    }
    let overhead: Vec<Duration> = there
        .iter()
        .zip(&here)
        .map(|(there, here)| there.saturating_sub(*here))
        .collect();
    Ok(json!({
        "template": name,
        "rendered_here_ms": spread(here),
        "built_ms": spread(there),
        "overhead_ms": spread(overhead),
    }))
}

fn spread(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times
            .get(index)
            .map(|time| (time.as_secs_f64() * 1e5).round() / 100.0)
    };
    json!({ "median": at(50), "p95": at(95), "max": times.last().map(|time| (time.as_secs_f64() * 1e5).round() / 100.0) })
}
