//! Rooms to build in that were started in advance: containers or processes, each for one job.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hiendien_engine::ports::PortError;
use hiendien_render::confine::Work;
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::container::{self, Containers};
use crate::process::{self, Processes};
use crate::{BuilderSettings, Engine};

/// Rooms being started at once, at most.
const STARTS_MAX: usize = 4;
/// What a job may wait for a room while rooms can be started: others are before it.
const TAKE_TIMEOUT: Duration = Duration::from_mins(1);
/// What a job waits for a room that was started before the trouble began.
const LEFT_OVER_TIMEOUT: Duration = Duration::from_millis(100);
/// A room that waited for longer gives way to a new one, so that none outlives an upgrade of the
/// kernel's or the engine's rules by much.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// How often a waiting room is looked at: its age, and whether the binary is another one now.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a process that ends waits for its containers to be gone.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A piece of what a room says.
pub(crate) enum Said {
    Answer(Bytes),
    Fault(Bytes),
}

pub(crate) type Output = Pin<Box<dyn Stream<Item = io::Result<Said>> + Send>>;

/// A started room that waits for its job. Gone when dropped.
pub(crate) struct Ready {
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) output: Output,
    pub(crate) held: Held,
}

/// What ends with the room.
pub(crate) enum Held {
    Container(container::Started),
    Process(process::Started),
}

/// Why a room ended without a word.
pub(crate) enum End {
    OutOfMemory,
    /// Killed, died before, or nobody can tell.
    Other,
}

impl Ready {
    pub(crate) async fn end(&mut self) -> End {
        match &mut self.held {
            Held::Container(started) => started.end().await,
            Held::Process(started) => started.end(),
        }
    }
}

/// What keeps rooms from being started; told to all who wait for one.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) action: String,
    pub(crate) cause: String,
}

/// Where rooms come from.
enum Source {
    Containers(Box<Containers>),
    Processes(Processes),
}

impl Source {
    fn of(settings: &BuilderSettings) -> Self {
        let binary = settings.render_binary.clone();
        match &settings.engine {
            Engine::Container { socket, files } => Self::Containers(Box::new(Containers::new(
                socket.clone(),
                files.clone(),
                binary,
                settings.owner.clone(),
            ))),
            Engine::Process => Self::Processes(Processes::new(binary)),
        }
    }

    async fn start(&self, work: Work) -> Result<Ready, Trouble> {
        match self {
            Self::Containers(containers) => containers.start(work).await,
            Self::Processes(processes) => processes.start(work).await,
        }
    }

    async fn forget(&self) {
        if let Self::Containers(containers) = self {
            containers.forget().await;
        }
    }

    async fn clear(&self) -> Result<usize, bollard::errors::Error> {
        match self {
            Self::Containers(containers) => containers.clear().await,
            // Each is killed and reaped where it is dropped.
            Self::Processes(_) => Ok(0),
        }
    }
}

/// Someone who waits for a room.
type Request = oneshot::Sender<Ready>;

pub(crate) struct Pool {
    requests: mpsc::Sender<Request>,
    trouble: watch::Receiver<Option<Trouble>>,
    stop: watch::Sender<bool>,
    keepers: Mutex<JoinSet<()>>,
    shared: Arc<Shared>,
}

impl Pool {
    pub(crate) fn start(settings: &BuilderSettings) -> Self {
        let warm = settings.warm.max(1);
        let (requests, asked) = mpsc::channel(settings.concurrency_max.max(1));
        let (told, trouble) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            source: Source::of(settings),
            binary: settings.render_binary.clone(),
            warm,
            waiting: AtomicUsize::new(0),
            asked: Mutex::new(asked),
            starts: Semaphore::new(STARTS_MAX),
            told,
        });
        let mut keepers = JoinSet::new();
        for _ in 0..warm {
            let (shared, mut stopped) = (Arc::clone(&shared), stopped.clone());
            keepers.spawn(async move {
                tokio::select! {
                    () = shared.keep() => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
        }
        Self {
            requests,
            trouble,
            stop,
            keepers: Mutex::new(keepers),
            shared,
        }
    }

    /// Rooms that wait for a job.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// A room to use; an error at once while none can be started.
    pub(crate) async fn take(&self) -> Result<Ready, PortError> {
        let action = "waiting for a room to build in";
        let stopping = || PortError::transient(action, "the builder is stopping");
        let (request, mut room) = oneshot::channel();
        let take = async {
            let mut trouble = self.trouble.clone();
            self.requests.send(request).await.map_err(|_| stopping())?;
            tokio::select! {
                biased;
                room = &mut room => return room.map_err(|_| stopping()),
                told = trouble.wait_for(Option::is_some) => match told.as_deref() {
                    Ok(Some(_)) => {}
                    _ => return Err(stopping()),
                }
            }
            if let Ok(Ok(room)) = tokio::time::timeout(LEFT_OVER_TIMEOUT, room).await {
                return Ok(room);
            }
            let told = trouble.borrow().clone();
            Err(match told {
                Some(trouble) => PortError::misconfigured(trouble.action, trouble.cause),
                None => PortError::transient(action, "rooms could not be started a moment ago"),
            })
        };
        match tokio::time::timeout(TAKE_TIMEOUT, take).await {
            Ok(taken) => taken,
            Err(elapsed) => Err(PortError::transient(action, elapsed)),
        }
    }

    /// A room of its own, for work that those which wait are not made for.
    pub(crate) async fn start_apart(&self, work: Work) -> Result<Ready, PortError> {
        let started = self.shared.source.start(work).await;
        started.map_err(|trouble| PortError::misconfigured(trouble.action, trouble.cause))
    }

    pub(crate) async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut keepers = self.keepers.lock().await;
        while keepers.join_next().await.is_some() {}
        self.shared.asked.lock().await.close();
        // An engine lets a removal be that nobody waits for any more: all must be seen to be gone.
        let cleared = tokio::time::timeout(CLEAR_TIMEOUT, async {
            while self.shared.source.clear().await? > 0 {
                tokio::time::sleep(PAUSE_FIRST).await;
            }
            Ok::<_, bollard::errors::Error>(())
        });
        let fault: Box<dyn std::error::Error + Send + Sync> = match cleared.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        tracing::warn!(error = %fault, "Could not remove the build containers, the next start does");
    }
}

/// What the keepers have in common.
struct Shared {
    source: Source,
    binary: PathBuf,
    warm: usize,
    /// Rooms that wait for a job.
    waiting: AtomicUsize,
    asked: Mutex<mpsc::Receiver<Request>>,
    starts: Semaphore,
    told: watch::Sender<Option<Trouble>>,
}

/// Why a room does not wait any more.
enum Over {
    Taken,
    /// Too old, or of a binary that is there no more.
    Outdated,
    /// It ended, or said something unasked.
    Ended,
    Stopping,
}

impl Shared {
    /// Keeps one room warm: starts it, waits with it for a job, starts the next.
    async fn keep(&self) {
        let mut pause = PAUSE_FIRST;
        loop {
            let started = {
                let Ok(_turn) = self.starts.acquire().await else {
                    return;
                };
                self.start().await
            };
            let (room, stamp) = match started {
                Ok(started) => started,
                Err(trouble) => {
                    self.source.forget().await;
                    if self.told.send_replace(Some(trouble.clone())).is_none() {
                        let Trouble { action, cause } = trouble;
                        tracing::error!(error = %cause, "{action} failed, no site can be built; will keep trying");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
            };
            pause = PAUSE_FIRST;
            if self.told.send_if_modified(|told| told.take().is_some()) {
                tracing::info!("Rooms to build in can be started again");
            }
            let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
            if waiting == self.warm {
                tracing::debug!(waiting, "All rooms to build in are warm");
            }
            let over = self.wait_for_job(room, &stamp).await;
            let waiting = self.waiting.fetch_sub(1, Ordering::Relaxed) - 1;
            match over {
                Over::Taken => {}
                Over::Outdated => {
                    tracing::debug!(waiting, "Put a new room in the place of an old one");
                    self.source.forget().await;
                }
                Over::Ended => {
                    tracing::warn!(
                        waiting,
                        "A room to build in ended while it waited; another takes its place"
                    );
                }
                Over::Stopping => return,
            }
        }
    }

    async fn start(&self) -> Result<(Ready, Stamp), Trouble> {
        // First: a binary that changes in between is seen to have changed.
        let stamp =
            Stamp::of(&self.binary).map_err(|error| crate::no_binary(&self.binary, &error))?;
        Ok((self.source.start(Work::Site).await?, stamp))
    }

    async fn wait_for_job(&self, mut room: Ready, stamp: &Stamp) -> Over {
        let began = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let request = async { self.asked.lock().await.recv().await };
            tokio::select! {
                biased;
                _ = room.output.next() => return Over::Ended,
                request = request => {
                    let Some(request) = request else { return Over::Stopping };
                    match request.send(room) {
                        Ok(()) => return Over::Taken,
                        // Whoever asked has given up.
                        Err(back) => room = back,
                    }
                }
                _ = look.tick() => {
                    let is_same = Stamp::of(&self.binary).is_ok_and(|now| now == *stamp);
                    if !is_same || began.elapsed() > IDLE_MAX {
                        return Over::Outdated;
                    }
                }
            }
        }
    }
}

/// What tells one state of a file from another.
#[derive(PartialEq)]
struct Stamp {
    inode: u64,
    octets: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
