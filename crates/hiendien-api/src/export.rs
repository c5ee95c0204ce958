//! A site as one zip file, with all that it was built from: for its owner to keep, to look at
//! without a network, or to serve elsewhere.
//!
//! The same revision gives the same octets. Links between its own pages and files are made
//! relative, so that they lead somewhere without a server; everything else is as it is served.

mod links;

use std::collections::BTreeMap;
use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hiendien_domain::site::RevisionHash;
use hiendien_engine::ports::{Blob, ErrorChain, PortError, Revision};
use hiendien_engine::presence::Presence;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::request::{Path, Query};
use crate::revisions::seen_revision;
use crate::{ApiState, Problem};

/// Exports at once; each has a thread.
const EXPORTS_MAX: usize = 8;
/// Octets handed on at a time, and how many such parts wait for a slow reader.
const PART_BYTES: usize = 64 * 1024;
const PARTS_MAX: usize = 4;

static EXPORTS: Semaphore = Semaphore::const_new(EXPORTS_MAX);

const README: &str = "Bản sao trang web của bạn\n\
\n\
  site/index.html   mở tệp này bằng trình duyệt để xem, không cần mạng\n\
  site/             toàn bộ trang; chép thư mục này lên máy chủ web bất kỳ để dùng tiếp\n\
  content.json      nội dung mà trang được dựng từ đó\n\
  revision.json     ngày dựng, giao diện và mã SHA-256 của từng tệp như khi được phục vụ\n\
\n\
A copy of your site. Open site/index.html to look at it without a network, or serve the\n\
folder site/ from any web server.\n";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Another than the one that is served.
    revision: Option<String>,
}

/// What `revision.json` tells.
#[derive(Debug, Serialize)]
struct Told<'a> {
    name: &'a str,
    revision: &'a RevisionHash,
    template: Option<&'a str>,
    files: BTreeMap<&'a str, &'a Blob>,
}

pub(crate) async fn export(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
    Query(query): Query<Which>,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let revision = match (&query.revision, &presence.revision) {
        (Some(revision), _) => seen_revision(&state, presence.id, revision).await?,
        (None, Some(served)) => served.clone(),
        (None, None) => return Err(nothing("nothing was published, or all of it is erased")),
    };
    let found = state.shelf.revision(presence.id, &revision).await?;
    let found = found.ok_or_else(|| nothing("its revision is not kept any more"))?;
    let Ok(slot) = EXPORTS.try_acquire() else {
        let detail = format!("{EXPORTS_MAX} exports are under way; try again when one has ended");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Problem::new(status, "too_many_exports", detail).retryable());
    };
    let file_name = format!("{}-{}.zip", presence.plan.name, &revision.as_str()[..12]);
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let mut parts = Parts {
            sender: sender.clone(),
            part: Vec::with_capacity(PART_BYTES),
        };
        let written = write(&state, &presence, &found, &mut parts, &runtime);
        if let Err(error) = written.and_then(|()| parts.flush()) {
            tracing::warn!(presence.id = %presence.id, %error, "an export was cut off");
            // The reader must not take what it has for the whole.
            let _ = sender.blocking_send(Err(io::Error::other("the export failed")));
        }
    });
    let body = stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
    let mut response = Body::from_stream(body).into_response();
    let disposition = format!("attachment; filename=\"{file_name}\"");
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/zip"),
    );
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

fn nothing(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

fn failed(error: &PortError) -> io::Error {
    io::Error::other(ErrorChain(error).to_string())
}

/// Writes the whole export. Runs on a thread of its own.
fn write(
    state: &ApiState,
    presence: &Presence,
    revision: &Revision,
    to: impl Write,
    runtime: &Handle,
) -> io::Result<()> {
    // Times stay at the earliest that the format knows.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new_stream(to);
    let mut add = |name: &str, octets: &[u8]| {
        zip.start_file(name, options).map_err(io::Error::other)?;
        zip.write_all(octets)
    };
    add("DOC-TRUOC.txt", README.as_bytes())?;
    let content = runtime.block_on(state.shelf.content(presence.id, &revision.hash));
    let content = match content.map_err(|error| failed(&error))? {
        Some(content) => serde_json::from_slice(&content)?,
        // Of a revision with which none was kept: the one that is meant now.
        None => serde_json::to_value(&presence.plan.content)?,
    };
    add("content.json", &serde_json::to_vec_pretty(&content)?)?;
    let files = revision.files.iter();
    let told = Told {
        name: presence.plan.name.as_str(),
        revision: &revision.hash,
        template: revision.template.as_deref(),
        files: files
            .map(|(path, file)| (path.as_str(), &file.identity))
            .collect(),
    };
    add("revision.json", &serde_json::to_vec_pretty(&told)?)?;
    for path in revision.files.keys() {
        let file = state.sites.file(presence.id, &revision.hash, path);
        let file = runtime.block_on(file).map_err(|error| failed(&error))?;
        let file = file.ok_or_else(|| io::Error::other(format!("`{path}` is not there")))?;
        let known = |path: &str| revision.files.contains_key(path);
        let octets = links::relative(path, &file.media_type, file.identity, &known);
        add(&format!("site/{path}"), &octets)?;
    }
    zip.finish().map_err(io::Error::other).map(drop)
}

/// Hands octets on to the answer, part by part.
struct Parts {
    sender: mpsc::Sender<io::Result<Bytes>>,
    part: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = octets.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&octets[..taken]);
        if self.part.len() == PART_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES));
        let sent = self.sender.blocking_send(Ok(part.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader is gone"))
    }
}
