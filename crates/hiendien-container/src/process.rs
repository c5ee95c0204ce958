//! Processes that confine themselves, where no container engine can run.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;

use futures_util::StreamExt;
use hiendien_render::confine::{self, Work};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use crate::pool::{End, Held, Ready, Said, Trouble};

/// What a process may take to confine itself, on a busy machine.
const CONFINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of what it says before its job, bytes.
const FIRST_WORDS_BYTES_MAX: u64 = 1024;

/// Starts them.
pub(crate) struct Processes {
    render_binary: PathBuf,
    told: Once,
}

/// A process that was started. Killed when dropped; it can have no children.
pub(crate) struct Started(Child);

impl Started {
    pub(crate) fn end(&mut self) -> End {
        if let Ok(Some(status)) = self.0.try_wait() {
            tracing::debug!(%status, "A process ended without a word");
        }
        // One that runs out of memory says so by itself.
        End::Other
    }
}

impl Processes {
    pub(crate) fn new(render_binary: PathBuf) -> Self {
        Self {
            render_binary,
            told: Once::new(),
        }
    }

    /// A process that is confined and waits for its job.
    pub(crate) async fn start(&self, work: Work) -> Result<Ready, Trouble> {
        let failed = |cause: String| Trouble {
            action: "starting a confined process to build in (where the kernel does not let it, \
                     set `builder.engine` to \"container\")"
                .to_owned(),
            cause,
        };
        let spawned = Command::new(&self.render_binary)
            .arg(work.argument())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for the service, which ends what is under way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| failed(error.to_string()))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(out), Some(mut fault)) = streams else {
            return Err(failed("it has no standard streams".to_owned()));
        };
        let mut out = BufReader::new(out);
        let mut words = Vec::new();
        let mut first = (&mut out).take(FIRST_WORDS_BYTES_MAX);
        let said = first.read_until(b'\n', &mut words);
        match tokio::time::timeout(CONFINE_TIMEOUT, said).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(elapsed) => return Err(failed(elapsed.to_string())),
        }
        let words = String::from_utf8_lossy(&words);
        let Some(by) = words.strip_prefix(confine::CONFINED) else {
            let mut reason = String::new();
            let read = fault.read_to_string(&mut reason);
            // It ends when it cannot be confined; whatever it says is short.
            let _ = tokio::time::timeout(CONFINE_TIMEOUT, read).await;
            return Err(failed(format!("it is not confined: {}", reason.trim())));
        };
        self.told.call_once(|| {
            tracing::warn!(
                held_by = by.trim(),
                "Sites are built in bare processes, which are held less firmly than containers: \
                 they share the kernel's limits of memory and processor with the service"
            );
        });
        let output = futures_util::stream::select(
            ReaderStream::new(out).map(|said| said.map(Said::Answer)),
            ReaderStream::new(fault).map(|said| said.map(Said::Fault)),
        );
        Ok(Ready {
            input: Box::pin(input),
            output: Box::pin(output),
            held: Held::Process(Started(child)),
        })
    }
}
