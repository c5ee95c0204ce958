//! Measures what confinement costs a build that finds a warm room: the same job built through an
//! engine and rendered here, in milliseconds, as JSON. With TEMPLATE also how many of its sample are
//! built a second where they are asked for without pause, so that every room must be started first.
//!
//!     cargo run --release -p hiendien-container --example overhead -- ENGINE RENDER_BINARY TEMPLATES [BUILDS [TEMPLATE]]
//!
//! ENGINE is the socket of Docker or Podman, or `process`.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{TryStreamExt as _, stream};
use hiendien_container::{BuilderSettings, ConfinedBuilder, Engine};
use hiendien_domain::content::ImageId;
use hiendien_engine::ports::{BuildJob, ErrorChain, PictureMaker, PortError, SiteBuilder};
use hiendien_render::{Template, render, template};
use serde_json::{Value, json};
use tokio::time::error::Elapsed;

/// Rooms that are kept warm.
const WARM: usize = 4;
const BUILDS: usize = 50;
const SITES_WITH_PICTURES: usize = 6;
/// What is built or rendered first, unmeasured.
const UNMEASURED: usize = 3;
const FILL_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, render_binary, templates, builds @ ..] = arguments.as_slice() else {
        return Err("usage: overhead ENGINE RENDER_BINARY TEMPLATES [BUILDS [TEMPLATE]]".into());
    };
    let (builds, fast) = match builds {
        [builds, fast @ ..] => (builds.parse()?, fast.first()),
        [] => (BUILDS, None),
    };
    let templates = PathBuf::from(templates);
    let files = std::env::temp_dir().join(format!("hiendien-overhead-{}", std::process::id()));
    let builder = ConfinedBuilder::start(BuilderSettings {
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
    let mut told = json!({ "engine": engine, "builds": builds, "templates": measured });
    if let Some(name) = fast {
        told["without_pause"] = without_pause(&builder, &templates, name, builds).await?;
    }
    builder.shutdown().await;
    if files.exists() {
        std::fs::remove_dir_all(&files)?;
    }
    println!("{told:#}");
    Ok(())
}

/// Sites a second, as many at once as there are processors: as they are, and with all pictures of the sample made anew for
/// each, every picture in a room of its own.
async fn without_pause(
    builder: &ConfinedBuilder,
    templates: &Path,
    name: &str,
    builds: usize,
) -> Result<Value, Box<dyn Error>> {
    let at_once = std::thread::available_parallelism()?.get();
    let job = BuildJob {
        template: name.to_owned(),
        content: template::sample(templates, name)?,
    };
    let mut uploads = Vec::new();
    let folder = templates.join(name).join("sample");
    if folder.exists() {
        for entry in std::fs::read_dir(folder)? {
            let upload = std::fs::read(entry?.path())?;
            uploads.push((ImageId::of(&upload), upload));
        }
    }
    let rate = async |sites: usize, uploads: &[(ImageId, Vec<u8>)]| {
        full(builder).await?;
        let began = Instant::now();
        stream::iter((0..sites).map(Ok))
            .try_for_each_concurrent(at_once, async |_| {
                for (id, upload) in uploads {
                    builder.make(id, upload.clone()).await?;
                }
                builder.build(&job).await.map(drop)
            })
            .await
            .map_err(|error: PortError| ErrorChain(&error).to_string())?;
        let sites = u32::try_from(sites)?;
        Ok::<f64, Box<dyn Error>>(f64::from(sites) / began.elapsed().as_secs_f64())
    };
    let plain = rate(builds, &[]).await?;
    let pictured = rate(SITES_WITH_PICTURES, &uploads).await?;
    Ok(json!({
        "template": name,
        "at_once": at_once,
        "sites_per_second": plain,
        "pictures": uploads.len(),
        "sites_per_second_with_pictures": pictured,
    }))
}

/// All rooms are warm.
async fn full(builder: &ConfinedBuilder) -> Result<(), Elapsed> {
    let full = async {
        while builder.warm_rooms() < WARM {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FILL_TIMEOUT, full).await
}

async fn measure(
    builder: &ConfinedBuilder,
    templates: &Path,
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
        full(builder).await?;
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
