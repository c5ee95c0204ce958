//! Containers of a Docker or Podman engine, locked down.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerState, HostConfig, HostConfigLogConfig, ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use bollard::{ClientVersion, Docker};
use futures_util::StreamExt;
use hiendien_render::confine::{self, Work};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::image;
use crate::pool::{End, Held, Ready, Said, Trouble};

/// On each container of ours, whichever stack it is of.
const LABEL: &str = "hiendien.build";
const OWNER_LABEL: &str = "hiendien.owner";
/// What the engine may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an engine may take to know that a container has ended, and how often it is asked.
const END_TIMEOUT: Duration = Duration::from_secs(15);
const END_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Exit code of a program that was ended by `SIGKILL`: the kernel's answer to one that has used up its memory.
const KILLED: i64 = 128 + 9;
/// How long it is waited before a container that is still there is removed again; twice as long each time.
const REMOVE_AGAIN_FIRST: Duration = Duration::from_millis(50);
const REMOVE_AGAIN_MAX: Duration = Duration::from_secs(7);
/// One process; the runtime that starts it has a few threads.
const PIDS_MAX: i64 = 16;
const NANO_CPUS: i64 = 1_000_000_000;
/// The runtime opens a few on its way to the program.
const DESCRIPTORS_MAX: i64 = 64;
/// Of all processes of `nobody`; those of a container are bounded by `PIDS_MAX`. Named since Podman
/// would raise it otherwise, which it need not have the right to.
const NOBODYS_PROCESSES_MAX: i64 = 4096;
/// Podman mounts a writable tmpfs here where the root is read-only and nothing else is asked for.
const PODMANS_MOUNTS: [&str; 3] = ["/run", "/tmp", "/var/tmp"];
const NOTHING_TO_WRITE_TO: &str = "ro,noexec,nosuid,nodev,size=4k,mode=555";
/// Of the engine's API, the newest first: engines refuse versions above their own, and new ones
/// those below 1.44; all we use is in 1.41.
const API_MINOR_VERSIONS: [usize; 2] = [44, 41];

/// An engine behind a socket, and what it has of ours.
pub(crate) struct Containers {
    socket: PathBuf,
    /// Directory for what an engine must be handed as a file.
    files: PathBuf,
    render_binary: PathBuf,
    owner: String,
    connected: Mutex<Option<Connected>>,
    /// The image, once it is there; held while it is made, so that it is made once.
    image: AsyncMutex<Option<String>>,
    /// Done once what an earlier life left behind is gone, before a container of this life is there.
    cleared: OnceCell<()>,
}

#[derive(Clone)]
struct Connected {
    docker: Docker,
    is_podman: bool,
    /// What this engine takes as a profile of system calls.
    seccomp: String,
    /// Where it would mount something to write to, and what it is to mount there.
    mounts: HashMap<String, String>,
}

/// A container that was started. Removed when dropped.
pub(crate) struct Started {
    id: String,
    docker: Docker,
    /// Podman need not tell that memory ran out. It kills no container when it stops itself, as Docker
    /// does, so that one of its own that was killed in the middle of a job has used up its memory.
    is_podmans: bool,
}

impl Started {
    /// Why it has ended. Its streams end a moment before the engine knows.
    pub(crate) async fn end(&self) -> End {
        let ended = async {
            loop {
                let inspected = self
                    .docker
                    .inspect_container(&self.id, None::<InspectContainerOptions>)
                    .await;
                match inspected.map(|found| found.state) {
                    Ok(Some(state)) if state.oom_killed == Some(true) => return End::OutOfMemory,
                    Ok(Some(state)) if self.is_podmans && state.exit_code == Some(KILLED) => {
                        return End::OutOfMemory;
                    }
                    // Podman says `stopped`, which Docker's API does not know, until it has seen the exit code.
                    Ok(Some(ContainerState {
                        running: Some(true),
                        ..
                    }))
                    | Err(Error::JsonDataError { .. }) => {
                        tokio::time::sleep(END_LOOK_EVERY).await;
                    }
                    _ => return End::Other,
                }
            }
        };
        tokio::time::timeout(END_TIMEOUT, ended)
            .await
            .unwrap_or(End::Other)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Outside of a runtime the process is ending, and the next one clears up.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { remove(&docker, &id).await });
        }
    }
}

/// Removes a container, and sees that it is gone: Podman refuses while it starts or stops it itself.
async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let removed = async {
        let mut wait = REMOVE_AGAIN_FIRST;
        loop {
            let removed = docker.remove_container(id, Some(options.clone())).await;
            if is_missing(&removed) {
                return Ok(());
            }
            let there = docker
                .inspect_container(id, None::<InspectContainerOptions>)
                .await;
            if is_missing(&there) {
                return Ok(());
            }
            if wait > REMOVE_AGAIN_MAX {
                return removed;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    };
    if let Err(error) = removed.await {
        tracing::warn!(%error, container = id, "Could not remove a build container, the next start does");
    }
}

fn is_missing<T>(answer: &Result<T, Error>) -> bool {
    matches!(
        answer,
        Err(Error::DockerResponseServerError {
            status_code: 404,
            ..
        })
    )
}

impl Containers {
    pub(crate) fn new(
        socket: PathBuf,
        files: PathBuf,
        render_binary: PathBuf,
        owner: String,
    ) -> Self {
        Self {
            socket,
            files,
            render_binary,
            owner,
            connected: Mutex::new(None),
            image: AsyncMutex::new(None),
            cleared: OnceCell::new(),
        }
    }

    /// Removes all containers of this owner, and tells how many there were. An engine that was never
    /// reached has none.
    pub(crate) async fn clear(&self) -> Result<usize, Error> {
        match self.connected() {
            Some(connected) => clear(&connected.docker, &self.owner).await,
            None => Ok(0),
        }
    }

    /// Takes nothing for granted any more: the engine may be another one, the image gone.
    pub(crate) async fn forget(&self) {
        *self.image.lock().await = None;
        self.set_connected(None);
    }

    fn connected(&self) -> Option<Connected> {
        let connected = self.connected.lock();
        connected.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_connected(&self, connected: Option<Connected>) {
        *self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = connected;
    }

    async fn connect(&self) -> Result<Connected, Trouble> {
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        let socket = self.socket.to_string_lossy();
        let away = |error: Error| Trouble {
            action: format!(
                "reaching a container engine at `{socket}` (start Docker or Podman, name its socket in the configuration, \
                 or set `builder.engine` to \"process\")"
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
                Ok(version) => {
                    let components = version.components.unwrap_or_default();
                    let is_podman = components.iter().any(|part| part.name == "Podman Engine");
                    let connected = if is_podman {
                        Connected {
                            docker,
                            is_podman,
                            seccomp: self.profile_file()?,
                            mounts: PODMANS_MOUNTS
                                .map(|path| (path.to_owned(), NOTHING_TO_WRITE_TO.to_owned()))
                                .into(),
                        }
                    } else {
                        Connected {
                            docker,
                            is_podman,
                            seccomp: confine::container_profile().to_string(),
                            mounts: HashMap::new(),
                        }
                    };
                    self.set_connected(Some(connected.clone()));
                    return Ok(connected);
                }
                Err(Error::DockerResponseServerError {
                    status_code: 400, ..
                }) if versions.peek().is_some() => {}
                Err(error) => return Err(away(error)),
            }
        }
        unreachable!("the last version is answered by a connection or an error")
    }

    /// Docker takes the profile itself; Podman takes a path and reads the file as its own user.
    fn profile_file(&self) -> Result<String, Trouble> {
        let path = self.files.join("seccomp.json");
        let profile = format!("{:#}\n", confine::container_profile());
        write_readable(&path, &profile).map_err(|error| Trouble {
            action: format!("writing `{}`, which Podman reads", path.display()),
            cause: error.to_string(),
        })?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A started container that waits for its job.
    pub(crate) async fn start(&self, work: Work) -> Result<Ready, Trouble> {
        let connected = self.connect().await?;
        let docker = connected.docker.clone();
        let failed = |error: Error| Trouble {
            action: "starting a build container".to_owned(),
            cause: error.to_string(),
        };
        self.cleared
            .get_or_try_init(async || clear(&docker, &self.owner).await.map(drop))
            .await
            .map_err(failed)?;
        let image = {
            let mut image = self.image.lock().await;
            match image.as_ref() {
                Some(image) => image.clone(),
                None => image
                    .insert(image::ensure(&docker, &self.render_binary).await?)
                    .clone(),
            }
        };
        let wanted = self.locked_down(image, &connected, work);
        // Whoever gives up on the start does not leave behind what the engine has made of it meanwhile.
        let created = tokio::spawn(async move {
            let options = CreateContainerOptionsBuilder::new().build();
            let created = docker.create_container(Some(options), wanted).await?;
            Ok(Started {
                id: created.id,
                docker,
                is_podmans: connected.is_podman,
            })
        });
        let started = match created.await {
            Ok(created) => created.map_err(failed)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let attach = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let (id, docker) = (&started.id, &started.docker);
        let AttachContainerResults { output, input } = docker
            .attach_container(id, Some(attach))
            .await
            .map_err(failed)?;
        docker
            .start_container(id, None::<StartContainerOptions>)
            .await
            .map_err(failed)?;
        let found = docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
            .map_err(failed)?;
        let dropped = limits_dropped(&found.host_config.unwrap_or_default());
        if !dropped.is_empty() {
            return Err(Trouble {
                action: format!(
                    "limiting what a job uses in the engine at `{}` (run it as root, or give it cgroup v2 with these controllers)",
                    self.socket.display()
                ),
                cause: format!("it drops the limits of {}", dropped.join(", ")),
            });
        }
        let output = output.filter_map(async |said| match said {
            Ok(LogOutput::StdOut { message }) => Some(Ok(Said::Answer(message))),
            Ok(LogOutput::StdErr { message }) => Some(Ok(Said::Fault(message))),
            Ok(_) => None,
            Err(error) => Some(Err(std::io::Error::other(error))),
        });
        Ok(Ready {
            input,
            output: Box::pin(output),
            held: Held::Container(started),
        })
    }

    /// Nothing that a renderer does not need.
    fn locked_down(&self, image: String, engine: &Connected, work: Work) -> ContainerCreateBody {
        let labels = [
            (LABEL.to_owned(), "1".to_owned()),
            (OWNER_LABEL.to_owned(), self.owner.clone()),
        ];
        let memory_bytes = i64::from(work.memory_mib_max()) * 1024 * 1024;
        let ulimit = |name: &str, most: i64| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(most),
            hard: Some(most),
        };
        ContainerCreateBody {
            image: Some(image),
            cmd: Some(vec![image::COMMAND.to_owned()]),
            user: Some(format!("{0}:{0}", confine::NOBODY)),
            labels: Some(HashMap::from(labels)),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                // Without shared memory, and without a tmpfs, which rendering has no use for, there is
                // nothing at all to write to.
                ipc_mode: Some("none".to_owned()),
                readonly_rootfs: Some(true),
                tmpfs: Some(engine.mounts.clone()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec![
                    "no-new-privileges:true".to_owned(),
                    format!("seccomp={}", engine.seccomp),
                ]),
                memory: Some(memory_bytes),
                // The same as memory: no swap.
                memory_swap: Some(memory_bytes),
                pids_limit: Some(PIDS_MAX),
                nano_cpus: Some(NANO_CPUS),
                ulimits: Some(vec![
                    ulimit("nofile", DESCRIPTORS_MAX),
                    ulimit("nproc", NOBODYS_PROCESSES_MAX),
                    ulimit("fsize", 0),
                    ulimit("core", 0),
                    ulimit("cpu", i64::from(work.cpu_secs_max())),
                ]),
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

/// Whole or not at all: others may read it while it is written.
/// The limits that a container was started without. An engine drops what it cannot hold and need not tell: without root
/// and with cgroup v1 Podman drops them all.
fn limits_dropped(found: &HostConfig) -> Vec<&'static str> {
    let is_held = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
    [
        ("memory", is_held(found.memory)),
        ("pids", is_held(found.pids_limit)),
        ("cpu", is_held(found.nano_cpus) || is_held(found.cpu_quota)),
    ]
    .into_iter()
    .filter_map(|(controller, is_held)| (!is_held).then_some(controller))
    .collect()
}

fn write_readable(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = path.with_extension(format!("json.{}", std::process::id()));
    std::fs::write(&new, text)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_an_engine_drops_are_seen() {
        let of_docker = HostConfig {
            memory: Some(128 << 20),
            pids_limit: Some(PIDS_MAX),
            nano_cpus: Some(NANO_CPUS),
            ..HostConfig::default()
        };
        assert_eq!(limits_dropped(&of_docker), [""; 0]);
        let of_podman = HostConfig {
            nano_cpus: Some(0),
            cpu_quota: Some(100_000),
            ..of_docker.clone()
        };
        assert_eq!(limits_dropped(&of_podman), [""; 0]);
        let of_podman_without_root = HostConfig {
            memory: Some(0),
            pids_limit: Some(0),
            nano_cpus: Some(0),
            ..HostConfig::default()
        };
        assert_eq!(
            limits_dropped(&of_podman_without_root),
            ["memory", "pids", "cpu"]
        );
        let without_swap_accounting = HostConfig {
            memory_swap: Some(-1),
            ..of_docker
        };
        assert_eq!(limits_dropped(&without_swap_accounting), [""; 0]);
    }
}
