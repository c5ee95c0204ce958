//! Builds sites in locked-down containers through a Docker or Podman socket.
//!
//! A container has no network, no capability, a read-only root with one static binary in it, and
//! serves one job: what a template does there harms no neighbour. A few are started in advance and
//! wait for their job. The image is made here, from the binary, so nothing is pulled. What a
//! container answers is taken as hostile.

mod image;
mod pool;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::LogOutput;
use futures_util::StreamExt;
use hiendien_domain::site::FileTree;
use hiendien_engine::ports::{BuildJob, PortError, SiteBuilder};
use hiendien_render::job::{Job, answer_octets, job_octets, read_tree};
use hiendien_render::{Template, TemplateError};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use pool::{End, Pool, Ready};

/// What a failed render may say, bytes.
const FAULT_BYTES_MAX: usize = 4 * 1024;
const BUILDING: &str = "building the site in a container";

/// How sites are built.
#[derive(Debug, Clone)]
pub struct BuilderSettings {
    /// Unix socket of the container engine.
    pub socket: PathBuf,
    /// The static render binary, which becomes the image.
    pub render_binary: PathBuf,
    /// Directory with one directory per template.
    pub templates: PathBuf,
    /// Marks our containers, so that those left by a killed worker are found; unique per stack.
    pub owner: String,
    /// Containers that wait for a job.
    pub warm: usize,
    /// Builds at once.
    pub concurrency_max: usize,
    /// Bound of one build, from the moment it has a container.
    pub timeout: Duration,
}

/// The [`SiteBuilder`] port over a container engine.
pub struct ContainerBuilder {
    settings: BuilderSettings,
    pool: Arc<Pool>,
    slots: Semaphore,
}

impl fmt::Debug for ContainerBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ContainerBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How one container served its job.
enum Served {
    Answered(FileTree),
    /// It ended without a word: it had died before the job came, or was killed.
    Silent,
}

impl ContainerBuilder {
    /// Begins to fill the pool in the background; the engine need not be there yet. Must be called
    /// within a Tokio runtime.
    pub fn start(settings: BuilderSettings) -> Self {
        let slots = Semaphore::new(settings.concurrency_max.max(1));
        let pool = Pool::start(settings.clone());
        Self {
            settings,
            pool,
            slots,
        }
    }

    /// Stops filling and removes all containers of this owner.
    pub async fn shutdown(&self) {
        self.pool.shutdown().await;
    }

    async fn template(&self, name: &str) -> Result<Template, PortError> {
        let action = "loading the site's template";
        let (root, name) = (self.settings.templates.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || Template::load(&root, &name))
            .await
            .map_err(|error| PortError::transient(action, error))?
            .map_err(|error| match error {
                TemplateError::Unknown { .. } => PortError::rejected(action, error),
                _ => PortError::misconfigured(action, error),
            })
    }

    async fn serve(&self, container: &mut Ready, job: &[u8]) -> Result<Served, PortError> {
        let exchange = async {
            // Sent while the answer is read; one that cannot be sent is a container that has ended.
            let sent = async {
                container.input.write_all(job).await?;
                container.input.flush().await
            };
            let read = read_answer(&mut container.output);
            let (sent, answer) = tokio::join!(sent, read);
            answer.map(|answer| (sent, answer))
        };
        let limit = self.settings.timeout;
        let Ok(exchanged) = tokio::time::timeout(limit, exchange).await else {
            // A renderer ends every loop by itself, so this is a machine that is too busy.
            let fault = format!("it took longer than {} s and was killed", limit.as_secs());
            return Err(PortError::transient(BUILDING, fault));
        };
        let (sent, answer) = exchanged?;
        let Answer { out, fault } = answer;
        if !fault.is_empty() {
            let fault = String::from_utf8_lossy(&fault);
            return Err(PortError::rejected(BUILDING, fault.trim().to_owned()));
        }
        if out.is_empty() {
            return match container.end().await {
                End::OutOfMemory => Err(PortError::rejected(
                    BUILDING,
                    format!(
                        "it used more than {} MiB and was killed",
                        pool::MEMORY_MIB_MAX
                    ),
                )),
                End::Other => Ok(Served::Silent),
            };
        }
        match read_tree(&out) {
            Ok(tree) => Ok(Served::Answered(tree)),
            // A cut-off answer is the fault of what cut it off.
            Err(error) if sent.is_err() => Err(PortError::transient(BUILDING, error)),
            Err(error) => Err(PortError::rejected(BUILDING, error)),
        }
    }
}

#[derive(Default)]
struct Answer {
    out: Vec<u8>,
    fault: Vec<u8>,
}

async fn read_answer(output: &mut pool::Output) -> Result<Answer, PortError> {
    let mut answer = Answer::default();
    while let Some(chunk) = output.next().await {
        match chunk {
            Ok(LogOutput::StdOut { message }) => {
                answer.out.extend_from_slice(&message);
                let octets = answer_octets(&answer.out)
                    .map_err(|error| PortError::rejected(BUILDING, error))?;
                // The container's end need not be awaited.
                if octets.is_some_and(|octets| answer.out.len() >= octets) {
                    break;
                }
            }
            Ok(LogOutput::StdErr { message }) => {
                let room = FAULT_BYTES_MAX.saturating_sub(answer.fault.len());
                answer
                    .fault
                    .extend_from_slice(&message[..message.len().min(room)]);
            }
            Ok(_) => {}
            // The connection broke: the same as an end without a word.
            Err(_) => break,
        }
    }
    Ok(answer)
}

#[async_trait]
impl SiteBuilder for ContainerBuilder {
    async fn build(&self, job: &BuildJob) -> Result<FileTree, PortError> {
        let job = Job {
            template: self.template(&job.template).await?,
            content: job.content.clone(),
        };
        let octets = job_octets(&job)
            .map_err(|error| PortError::rejected("writing the site's build job", error))?;
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| PortError::transient("waiting for a build slot", error))?;
        // Containers that waited may all have died, as when the engine was restarted; the one
        // behind them has not.
        for _ in 0..self.settings.warm + 2 {
            let mut container = self.pool.take().await?;
            if let Served::Answered(tree) = self.serve(&mut container, &octets).await? {
                return Ok(tree);
            }
        }
        let fault = "each container ended without a word, as one that is killed does";
        Err(PortError::transient(BUILDING, fault))
    }
}
