//! Containers that were started in advance and wait for their one job.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use bollard::{ClientVersion, Docker};
use futures_util::Stream;
use hiendien_engine::ports::PortError;
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, mpsc, watch};
use tokio::task::JoinSet;

use crate::{BuilderSettings, image};

/// On each container of ours, whichever stack it is of.
const LABEL: &str = "hiendien.build";
const OWNER_LABEL: &str = "hiendien.owner";
/// Containers being started at once, at most.
const STARTERS_MAX: usize = 4;
/// What the engine may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a job may wait for a container while the engine answers: others are before it.
const TAKE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a process that ends waits for its containers to be gone.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
pub(crate) const MEMORY_MIB_MAX: i64 = 128;
const PIDS_MAX: i64 = 16;
const NANO_CPUS: i64 = 1_000_000_000;
/// Of the engine's API, the newest first: engines refuse versions above their own, and new ones
/// those below 1.44; all we use is in 1.41.
const API_MINOR_VERSIONS: [usize; 2] = [44, 41];
/// `nobody`.
const USER: &str = "65534:65534";

pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// A started container that waits for its job. Removed when dropped.
pub(crate) struct Ready {
    id: String,
    docker: Docker,
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) output: Output,
}

/// Why a container ended without a word.
pub(crate) enum End {
    OutOfMemory,
    /// Killed, died before, or the engine cannot tell.
    Other,
}

impl Ready {
    pub(crate) async fn end(&mut self) -> End {
        let inspected = self
            .docker
            .inspect_container(&self.id, None::<InspectContainerOptions>)
            .await;
        match inspected.ok().and_then(|found| found.state) {
            Some(state) if state.oom_killed == Some(true) => End::OutOfMemory,
            _ => End::Other,
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Outside of a runtime the process is ending, and the next one clears up.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { remove(&docker, &id).await });
        }
    }
}

/// What keeps containers from being started; told to all who wait for one.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) action: String,
    pub(crate) cause: String,
}

pub(crate) struct Pool {
    ready: AsyncMutex<mpsc::Receiver<Ready>>,
    trouble: watch::Receiver<Option<Trouble>>,
    stop: watch::Sender<bool>,
    starters: AsyncMutex<JoinSet<()>>,
    filler: Arc<Filler>,
}

impl Pool {
    pub(crate) fn start(settings: BuilderSettings) -> Arc<Self> {
        let warm = settings.warm.max(1);
        let (filled, ready) = mpsc::channel(warm);
        let (told, trouble) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let filler = Arc::new(Filler {
            settings,
            told,
            docker: Mutex::new(None),
            image: AsyncMutex::new(None),
            cleared: OnceCell::new(),
        });
        let mut starters = JoinSet::new();
        for _ in 0..warm.min(STARTERS_MAX) {
            let (filler, filled) = (Arc::clone(&filler), filled.clone());
            let mut stopped = stopped.clone();
            starters.spawn(async move {
                tokio::select! {
                    () = filler.fill(&filled) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
        }
        Arc::new(Self {
            ready: AsyncMutex::new(ready),
            trouble,
            stop,
            starters: AsyncMutex::new(starters),
            filler,
        })
    }

    /// A container to use; an error at once while none can be started.
    pub(crate) async fn take(&self) -> Result<Ready, PortError> {
        let take = async {
            let mut trouble = self.trouble.clone();
            let mut ready = self.ready.lock().await;
            tokio::select! {
                biased;
                container = ready.recv() => container.ok_or(None),
                told = trouble.wait_for(Option::is_some) => {
                    Err(told.ok().and_then(|told| told.clone()))
                }
            }
        };
        match tokio::time::timeout(TAKE_TIMEOUT, take).await {
            Ok(Ok(container)) => Ok(container),
            Ok(Err(Some(trouble))) => Err(PortError::misconfigured(trouble.action, trouble.cause)),
            Ok(Err(None)) => Err(PortError::transient(
                "waiting for a build container",
                "the builder is stopping",
            )),
            Err(elapsed) => Err(PortError::transient(
                "waiting for a build container",
                elapsed,
            )),
        }
    }

    pub(crate) async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut starters = self.starters.lock().await;
        while starters.join_next().await.is_some() {}
        let mut ready = self.ready.lock().await;
        ready.close();
        while ready.recv().await.is_some() {}
        let Some(docker) = self.filler.connected() else {
            return;
        };
        // An engine lets a removal be that nobody waits for any more: all must be seen to be gone.
        let cleared = tokio::time::timeout(CLEAR_TIMEOUT, async {
            while clear(&docker, &self.filler.settings.owner).await? > 0 {
                tokio::time::sleep(PAUSE_FIRST).await;
            }
            Ok::<_, Error>(())
        });
        let fault: Box<dyn std::error::Error + Send + Sync> = match cleared.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        tracing::warn!(error = %fault, "Could not remove the build containers, the next start does");
    }
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    match docker.remove_container(id, Some(options)).await {
        // Gone already, or going, is gone.
        Ok(())
        | Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => {}
        Err(error) => {
            tracing::warn!(%error, container = id, "Could not remove a build container");
        }
    }
}

/// Removes all containers of this owner, and tells how many there were.
async fn clear(docker: &Docker, owner: &str) -> Result<usize, Error> {
    let label = format!("{OWNER_LABEL}={owner}");
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let containers = docker.list_containers(Some(options)).await?;
    let found = containers.len();
    let ids = containers.into_iter().filter_map(|container| container.id);
    futures_util::future::join_all(ids.map(|id| async move { remove(docker, &id).await })).await;
    Ok(found)
}

/// Starts containers as long as somebody may want them.
struct Filler {
    settings: BuilderSettings,
    told: watch::Sender<Option<Trouble>>,
    docker: Mutex<Option<Docker>>,
    /// The image, once it is there; held while it is made, so that it is made once.
    image: AsyncMutex<Option<String>>,
    /// Done once what an earlier life left behind is gone, before a container of this life is there.
    cleared: OnceCell<()>,
}

impl Filler {
    async fn fill(&self, filled: &mpsc::Sender<Ready>) {
        let mut pause = PAUSE_FIRST;
        loop {
            // A place first: no container is started that nobody waits for.
            let Ok(place) = filled.reserve().await else {
                return;
            };
            match self.start_one().await {
                Ok(container) => {
                    pause = PAUSE_FIRST;
                    self.told.send_if_modified(|told| told.take().is_some());
                    place.send(container);
                }
                Err(trouble) => {
                    drop(place);
                    *self.image.lock().await = None;
                    self.set_connected(None);
                    if self.told.send_replace(Some(trouble.clone())).is_none() {
                        let Trouble { action, cause } = trouble;
                        tracing::error!(error = %cause, "{action} failed, no site can be built; will keep trying");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn connected(&self) -> Option<Docker> {
        self.docker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_connected(&self, docker: Option<Docker>) {
        *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = docker;
    }

    async fn docker(&self) -> Result<Docker, Trouble> {
        if let Some(docker) = self.connected() {
            return Ok(docker);
        }
        let socket = self.settings.socket.to_string_lossy();
        let away = |error: Error| Trouble {
            action: format!(
                "reaching a container engine at `{socket}` (start Docker or Podman, or name its socket in the configuration)"
            ),
            cause: error.to_string(),
        };
        let mut versions = API_MINOR_VERSIONS.into_iter().peekable();
        while let Some(minor_version) = versions.next() {
            let version = ClientVersion {
                major_version: 1,
                minor_version,
            };
            let timeout_secs = CALL_TIMEOUT.as_secs();
            let docker =
                Docker::connect_with_unix(&socket, timeout_secs, &version).map_err(away)?;
            match docker.version().await {
                Ok(_) => {
                    self.set_connected(Some(docker.clone()));
                    return Ok(docker);
                }
                Err(Error::DockerResponseServerError {
                    status_code: 400, ..
                }) if versions.peek().is_some() => {}
                Err(error) => return Err(away(error)),
            }
        }
        unreachable!("the last version is answered by a connection or an error")
    }

    async fn start_one(&self) -> Result<Ready, Trouble> {
        let docker = self.docker().await?;
        let failed = |error: Error| Trouble {
            action: "starting a build container".to_owned(),
            cause: error.to_string(),
        };
        self.cleared
            .get_or_try_init(async || clear(&docker, &self.settings.owner).await.map(drop))
            .await
            .map_err(failed)?;
        let image = {
            let mut image = self.image.lock().await;
            match image.as_ref() {
                Some(image) => image.clone(),
                None => image
                    .insert(image::ensure(&docker, &self.settings.render_binary).await?)
                    .clone(),
            }
        };
        let options = CreateContainerOptionsBuilder::new().build();
        let created = docker
            .create_container(Some(options), self.container(image))
            .await
            .map_err(failed)?;
        let attach = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let started = async {
            let attached = docker.attach_container(&created.id, Some(attach)).await?;
            docker
                .start_container(&created.id, None::<StartContainerOptions>)
                .await?;
            Ok::<_, Error>(attached)
        };
        match started.await {
            Ok(AttachContainerResults { output, input }) => Ok(Ready {
                id: created.id,
                docker,
                input,
                output,
            }),
            Err(error) => {
                remove(&docker, &created.id).await;
                Err(failed(error))
            }
        }
    }

    /// Nothing that a renderer does not need.
    fn container(&self, image: String) -> ContainerCreateBody {
        let labels = [
            (LABEL.to_owned(), "1".to_owned()),
            (OWNER_LABEL.to_owned(), self.settings.owner.clone()),
        ];
        let memory_bytes = MEMORY_MIB_MAX * 1024 * 1024;
        ContainerCreateBody {
            image: Some(image),
            cmd: Some(vec![image::COMMAND.to_owned()]),
            user: Some(USER.to_owned()),
            labels: Some(HashMap::from(labels)),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                // Without shared memory there is nothing at all to write to.
                ipc_mode: Some("none".to_owned()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
                memory: Some(memory_bytes),
                // The same as memory: no swap.
                memory_swap: Some(memory_bytes),
                pids_limit: Some(PIDS_MAX),
                nano_cpus: Some(NANO_CPUS),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}
