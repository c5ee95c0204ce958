//! Builds sites in locked-down containers through a Docker or Podman socket.
//!
//! A container has no network, no capability, a read-only root with one static binary in it, and
//! serves one job: what a template does there harms no neighbour. A few are started in advance and
//! wait for their job. The image is made here, from the binary, so nothing is pulled.

mod image;
mod pool;
mod templates;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use hiendien_domain::site::FileTree;
use hiendien_engine::ports::{BuildJob, PortError, SiteBuilder};
use hiendien_render::job::{ANSWER_BYTES_MAX, Job, job_octets, read_tree};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use pool::{Pool, Ready};

/// What a failed render may say, bytes.
const STDERR_BYTES_MAX: usize = 8 * 1024;

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
    /// Bound of one build.
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

impl ContainerBuilder {
    /// Begins to fill the pool in the background; the engine need not be there yet.
    pub fn start(settings: BuilderSettings) -> Self {
        let slots = Semaphore::new(settings.concurrency_max.max(1));
        let pool = Pool::start(settings.clone());
        Self {
            settings,
            pool,
            slots,
        }
    }

    /// Stops filling and removes the containers that wait.
    pub async fn shutdown(&self) {
        self.pool.shutdown().await;
    }

    async fn run(&self, mut container: Ready, octets: &[u8]) -> Result<FileTree, PortError> {
        let action = "building a site in a container";
        let exchange = async {
            // A container that ended already answers below.
            let written = container.input.write_all(octets).await;
            let flushed = container.input.flush().await;
            let (mut out, mut fault) = (Vec::new(), Vec::new());
            while let Some(chunk) = container.output.next().await {
                match chunk {
                    Ok(bollard::container::LogOutput::StdOut { message }) => {
                        if (out.len() + message.len()) as u64 > ANSWER_BYTES_MAX {
                            return Err(PortError::rejected(
                                action,
                                "the answer is larger than its bound",
                            ));
                        }
                        out.extend_from_slice(&message);
                    }
                    Ok(bollard::container::LogOutput::StdErr { message }) => {
                        let room = STDERR_BYTES_MAX.saturating_sub(fault.len());
                        fault.extend_from_slice(&message[..message.len().min(room)]);
                    }
                    Ok(_) => {}
                    Err(error) => return Err(PortError::transient(action, error)),
                }
            }
            if !fault.is_empty() {
                let fault = String::from_utf8_lossy(&fault).trim().to_owned();
                return Err(PortError::rejected(action, fault));
            }
            written
                .and(flushed)
                .map_err(|error| PortError::transient(action, error))?;
            if out.is_empty() {
                return Err(PortError::transient(
                    action,
                    "the container ended without a word, as one that is killed does",
                ));
            }
            read_tree(&mut out.as_slice()).map_err(|error| PortError::rejected(action, error))
        };
        let timeout = self.settings.timeout;
        let result = tokio::time::timeout(timeout, exchange).await;
        self.pool.discard(container.id.clone());
        result.unwrap_or_else(|_| {
            Err(PortError::rejected(
                action,
                format!("it took longer than {} s and was killed", timeout.as_secs()),
            ))
        })
    }
}

#[async_trait]
impl SiteBuilder for ContainerBuilder {
    async fn build(&self, job: &BuildJob) -> Result<FileTree, PortError> {
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| PortError::transient("waiting for a build slot", error))?;
        let template = templates::load(&self.settings.templates, &job.template).await?;
        let job = Job {
            template,
            content: job.content.clone(),
        };
        let octets = job_octets(&job)
            .map_err(|error| PortError::rejected("writing the build job", error))?;
        let container = self.pool.take(self.settings.timeout).await?;
        self.run(container, &octets).await
    }
}
