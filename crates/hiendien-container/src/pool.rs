//! Containers that were started in advance and wait for their one job.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::Stream;
use hiendien_engine::ports::{ErrorChain, PortError};
use tokio::io::AsyncWrite;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::JoinSet;

use crate::{BuilderSettings, image};

const LABEL: &str = "hiendien.owner";
/// Containers being started at once.
const STARTERS: usize = 2;
/// Seconds the engine may take for one call.
const CALL_TIMEOUT_SECS: u64 = 30;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const MEMORY_BYTES_MAX: i64 = 128 * 1024 * 1024;
const PIDS_MAX: i64 = 16;

/// A started container that waits for its job.
pub(crate) struct Ready {
    pub(crate) id: String,
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) output: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
}

pub(crate) struct Pool {
    ready: AsyncMutex<mpsc::Receiver<Ready>>,
    /// Why no container can be started at the moment.
    trouble: watch::Receiver<Option<String>>,
    stop: watch::Sender<bool>,
    docker: Arc<Mutex<Option<Docker>>>,
    starters: AsyncMutex<JoinSet<()>>,
    owner: String,
}

impl Pool {
    pub(crate) fn start(settings: BuilderSettings) -> Arc<Self> {
        let (filled, ready) = mpsc::channel(settings.warm.max(1));
        let (told, trouble) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let docker = Arc::new(Mutex::new(None));
        let owner = settings.owner.clone();
        let mut starters = JoinSet::new();
        let filler = Filler {
            settings,
            docker: Arc::clone(&docker),
            told,
        };
        let filler = Arc::new(filler);
        // The first clears up what an earlier life left behind, before any container of this life is there.
        let cleared = Arc::new(tokio::sync::OnceCell::new());
        for _ in 0..STARTERS {
            let (filler, filled, mut stopped) =
                (Arc::clone(&filler), filled.clone(), stopped.clone());
            let cleared = Arc::clone(&cleared);
            starters.spawn(async move {
                tokio::select! {
                    () = filler.fill(&filled, &cleared) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
        }
        Arc::new(Self {
            ready: AsyncMutex::new(ready),
            trouble,
            stop,
            docker,
            starters: AsyncMutex::new(starters),
            owner,
        })
    }

    /// A container to use, waiting up to `limit`; at once an error while the engine is known to be away.
    pub(crate) async fn take(&self, limit: Duration) -> Result<Ready, PortError> {
        let take = async {
            let mut trouble = self.trouble.clone();
            let mut ready = self.ready.lock().await;
            tokio::select! {
                biased;
                container = ready.recv() => container.ok_or_else(|| "the builder is stopping".to_owned()),
                told = trouble.wait_for(Option::is_some) => {
                    Err(told.ok().and_then(|told| told.clone()).unwrap_or_default())
                }
            }
        };
        let action = "starting a build container";
        match tokio::time::timeout(limit, take).await {
            Ok(Ok(container)) => Ok(container),
            Ok(Err(trouble)) => Err(PortError::misconfigured(action, trouble)),
            Err(elapsed) => Err(PortError::transient(action, elapsed)),
        }
    }

    /// Removes a container that has served, in the background.
    pub(crate) fn discard(&self, id: String) {
        let docker = self
            .docker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(docker) = docker {
            tokio::spawn(async move { remove(&docker, &id).await });
        }
    }

    pub(crate) async fn shutdown(&self) {
        // The starters may be gone already.
        let _ = self.stop.send(true);
        let mut starters = self.starters.lock().await;
        while starters.join_next().await.is_some() {}
        let docker = self
            .docker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(docker) = docker {
            clear(&docker, &self.owner).await;
        }
    }
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    match docker.remove_container(id, Some(options)).await {
        // Gone already is gone.
        Ok(())
        | Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => {}
        Err(error) => tracing::warn!(%error, container = id, "could not remove a build container"),
    }
}

/// Removes all containers of this owner.
async fn clear(docker: &Docker, owner: &str) {
    let filters = HashMap::from([("label", vec![format!("{LABEL}={owner}")])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    match docker.list_containers(Some(options)).await {
        Ok(containers) => {
            for id in containers.into_iter().filter_map(|container| container.id) {
                remove(docker, &id).await;
            }
        }
        Err(error) => tracing::warn!(%error, "could not list build containers"),
    }
}

struct Filler {
    settings: BuilderSettings,
    docker: Arc<Mutex<Option<Docker>>>,
    told: watch::Sender<Option<String>>,
}

impl Filler {
    async fn fill(&self, filled: &mpsc::Sender<Ready>, cleared: &tokio::sync::OnceCell<()>) {
        let mut pause = PAUSE_FIRST;
        let mut image = None;
        loop {
            // A place first: no container is started that nobody waits for.
            let Ok(place) = filled.reserve().await else {
                return;
            };
            match self.start_one(&mut image, cleared).await {
                Ok(container) => {
                    pause = PAUSE_FIRST;
                    self.told
                        .send_if_modified(|trouble| trouble.take().is_some());
                    place.send(container);
                }
                Err(error) => {
                    drop(place);
                    image = None;
                    *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    let chain = ErrorChain(&error).to_string();
                    let socket = self.settings.socket.display();
                    let hint = format!("is a container engine running at `{socket}`? {chain}");
                    if self.told.send_replace(Some(hint)).is_none() {
                        tracing::error!(error = %chain, "cannot start build containers, will keep trying");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn docker(&self) -> Result<Docker, PortError> {
        if let Some(docker) = self
            .docker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        {
            return Ok(docker);
        }
        let action = "connecting to the container engine";
        let failed = |error| PortError::misconfigured(action, error);
        let socket = self.settings.socket.to_string_lossy();
        // The oldest version of the engine's API that has all we use; a newer engine raises it.
        let version = bollard::ClientVersion {
            major_version: 1,
            minor_version: 41,
        };
        let docker =
            Docker::connect_with_unix(&socket, CALL_TIMEOUT_SECS, &version).map_err(failed)?;
        let docker = match docker.version().await {
            Ok(_) => docker,
            Err(_) => docker.negotiate_version().await.map_err(failed)?,
        };
        *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    async fn start_one(
        &self,
        image: &mut Option<String>,
        cleared: &tokio::sync::OnceCell<()>,
    ) -> Result<Ready, PortError> {
        let docker = self.docker().await?;
        cleared
            .get_or_init(|| clear(&docker, &self.settings.owner))
            .await;
        let image = match image {
            Some(image) => image.clone(),
            None => image
                .insert(image::ensure(&docker, &self.settings.render_binary).await?)
                .clone(),
        };
        let failed = |error| PortError::transient("starting a container", error);
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
        ContainerCreateBody {
            image: Some(image),
            cmd: Some(vec!["/hiendien-render".to_owned()]),
            user: Some("65534:65534".to_owned()),
            labels: Some(HashMap::from([(
                LABEL.to_owned(),
                self.settings.owner.clone(),
            )])),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
                memory: Some(MEMORY_BYTES_MAX),
                memory_swap: Some(MEMORY_BYTES_MAX),
                pids_limit: Some(PIDS_MAX),
                nano_cpus: Some(1_000_000_000),
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
