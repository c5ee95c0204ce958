//! Builds sites, and makes pictures, in locked-down containers through a Docker or Podman socket, or in
//! processes that confine themselves where no engine can run.
//!
//! A container has no network, no capability, a read-only root with one static binary in it, and
//! serves one job: what a template does there harms no neighbour. A few rooms, as containers and
//! processes are called here alike, are started in advance and wait for their job. The image is made
//! here, from the binary, so nothing is pulled. What a room answers is taken as hostile.

mod container;
mod image;
mod pool;
mod process;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use hiendien_domain::content::ImageId;
use hiendien_domain::picture::PictureFault;
use hiendien_domain::site::FileTree;
use hiendien_engine::ports::{BuildJob, Made, PictureMaker, PortError, SiteBuilder};
use hiendien_render::confine::Work;
use hiendien_render::job::{
    ImageJob, Job, answer_octets, image_octets, job_octets, read_picture, read_tree,
};
use hiendien_render::{Template, TemplateError};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

pub use image::{ImageArchive, ImageFile, image_archive, image_files};
use pool::{End, Pool, Ready, Said, Trouble};

/// What a failed render may say, bytes.
const FAULT_BYTES_MAX: usize = 4 * 1024;
const BUILDING: &str = "building the site";
const PICTURING: &str = "making a picture";
/// Bound of one picture, from the moment it has a room.
const PICTURE_TIMEOUT: Duration = Duration::from_mins(2);
/// How a program of ours says that it was given no more memory.
const OUT_OF_MEMORY: &[u8] = b"memory allocation of ";

/// What jobs are confined by.
#[derive(Debug, Clone)]
pub enum Engine {
    /// A container engine.
    Container {
        /// Unix socket of Docker or Podman.
        socket: PathBuf,
        /// Directory for what an engine must be handed as a file.
        files: PathBuf,
    },
    /// The kernel alone: Landlock, seccomp, limits. Refuses to work where the kernel lacks one.
    Process,
}

/// How sites are built.
#[derive(Debug, Clone)]
pub struct BuilderSettings {
    pub engine: Engine,
    /// The static render binary, which becomes the image.
    pub render_binary: PathBuf,
    /// Directory with one directory per template.
    pub templates: PathBuf,
    /// Marks our containers, so that those left by a killed worker are found; unique per stack.
    pub owner: String,
    /// Rooms that wait for a job.
    pub warm: usize,
    /// Builds at once.
    pub concurrency_max: usize,
    /// Bound of one build, from the moment it has a room.
    pub timeout: Duration,
}

/// The [`SiteBuilder`] port over containers or confined processes.
pub struct ConfinedBuilder {
    settings: BuilderSettings,
    pool: Pool,
    slots: Semaphore,
}

impl fmt::Debug for ConfinedBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConfinedBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why the render binary cannot be used, and what to do.
fn no_binary(path: &Path, error: &io::Error) -> Trouble {
    Trouble {
        action: format!(
            "reading the render binary `{}` (to build it: `cargo rustc -p hiendien-render --bin hiendien-render \
             --release -- -C target-feature=+crt-static`)",
            path.display()
        ),
        cause: error.to_string(),
    }
}

/// How one room served its job.
enum Served<T> {
    Answered(T),
    /// It used more memory than it may, and was killed.
    OutOfMemory,
    /// It ended before its answer did: it had died before the job came, or was killed.
    Silent,
}

impl ConfinedBuilder {
    /// Begins to fill the pool in the background; the engine need not be there yet. Must be called
    /// within a Tokio runtime.
    pub fn start(settings: BuilderSettings) -> Self {
        let slots = Semaphore::new(settings.concurrency_max.max(1));
        let pool = Pool::start(&settings);
        Self {
            settings,
            pool,
            slots,
        }
    }

    /// Rooms that wait for a job.
    pub fn warm_rooms(&self) -> usize {
        self.pool.waiting()
    }

    /// Stops filling and ends all rooms of this owner.
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

    async fn serve<T>(
        room: &mut Ready,
        action: &'static str,
        job: &[u8],
        limit: Duration,
        read: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> Result<Served<T>, PortError> {
        let exchange = async {
            // Sent while the answer is read; one that cannot be sent is to a room that has ended.
            let sent = async {
                room.input.write_all(job).await?;
                room.input.flush().await
            };
            let answer = read_answer(&mut room.output, action);
            let (sent, answer) = tokio::join!(sent, answer);
            answer.map(|answer| (sent, answer))
        };
        let Ok(exchanged) = tokio::time::timeout(limit, exchange).await else {
            // A renderer ends every loop by itself, so this is a machine that is too busy.
            let fault = format!("it took longer than {} s and was killed", limit.as_secs());
            return Err(PortError::transient(action, fault));
        };
        let (sent, answer) = exchanged?;
        let Answer { out, fault } = answer;
        if fault.starts_with(OUT_OF_MEMORY) {
            return Ok(Served::OutOfMemory);
        }
        if !fault.is_empty() {
            let fault = String::from_utf8_lossy(&fault);
            return Err(PortError::rejected(action, fault.trim().to_owned()));
        }
        let fault = if out.is_empty() {
            io::ErrorKind::UnexpectedEof.into()
        } else {
            match read(&out) {
                Ok(answer) => return Ok(Served::Answered(answer)),
                Err(fault) => fault,
            }
        };
        // It ended before its answer did, as one that is killed does.
        if fault.kind() == io::ErrorKind::UnexpectedEof {
            return Ok(match room.end().await {
                End::OutOfMemory => Served::OutOfMemory,
                End::Other => Served::Silent,
            });
        }
        Err(match sent {
            // What was cut off is the fault of what cut it off.
            Err(_) => PortError::transient(action, fault),
            Ok(()) => PortError::rejected(action, fault),
        })
    }
}

#[derive(Default)]
struct Answer {
    out: Vec<u8>,
    fault: Vec<u8>,
}

async fn read_answer(output: &mut pool::Output, action: &'static str) -> Result<Answer, PortError> {
    let mut answer = Answer::default();
    while let Some(chunk) = output.next().await {
        match chunk {
            Ok(Said::Answer(message)) => {
                answer.out.extend_from_slice(&message);
                let octets = answer_octets(&answer.out)
                    .map_err(|error| PortError::rejected(action, error))?;
                // The room's end need not be awaited.
                if octets.is_some_and(|octets| answer.out.len() >= octets) {
                    break;
                }
            }
            Ok(Said::Fault(message)) => {
                let room = FAULT_BYTES_MAX.saturating_sub(answer.fault.len());
                answer
                    .fault
                    .extend_from_slice(&message[..message.len().min(room)]);
            }
            // The connection broke: the same as an end without a word.
            Err(_) => break,
        }
    }
    Ok(answer)
}

#[async_trait]
impl SiteBuilder for ConfinedBuilder {
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
        // Rooms that waited may all have died, as when the engine was restarted; the one behind them
        // has not.
        for _ in 0..self.settings.warm + 2 {
            let mut room = self.pool.take().await?;
            let limit = self.settings.timeout;
            match Self::serve(&mut room, BUILDING, &octets, limit, read_tree).await? {
                Served::Answered(tree) => return Ok(tree),
                Served::OutOfMemory => {
                    let most = Work::Site.memory_mib_max();
                    let fault = format!("it used more than {most} MiB and was killed");
                    return Err(PortError::rejected(BUILDING, fault));
                }
                Served::Silent => {}
            }
        }
        let fault = "each room ended without a word, as one that is killed does";
        Err(PortError::transient(BUILDING, fault))
    }
}

#[async_trait]
impl PictureMaker for ConfinedBuilder {
    /// Takes no slot and no waiting room of the sites, whose turn must not wait for pictures: whoever asks
    /// asks for one picture at a time.
    async fn make(&self, image: &ImageId, upload: Vec<u8>) -> Result<Made, PortError> {
        let id = image.clone();
        let octets = image_octets(&ImageJob { id, upload })
            .map_err(|error| PortError::rejected("writing the picture's job", error))?;
        let mut room = self.pool.start_apart(Work::Picture).await?;
        let read = |answer: &[u8]| read_picture(image, answer);
        let served = Self::serve(&mut room, PICTURING, &octets, PICTURE_TIMEOUT, read).await?;
        match served {
            Served::Answered(Ok((picture, files))) => Ok(Made::Picture { picture, files }),
            Served::Answered(Err(fault)) => Ok(Made::Refused(fault)),
            Served::OutOfMemory => Ok(Made::Refused(PictureFault::TooHeavy)),
            Served::Silent => {
                let fault = "the room ended without a word, as one that is killed does";
                Err(PortError::transient(PICTURING, fault))
            }
        }
    }
}
