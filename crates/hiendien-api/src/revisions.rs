//! Revisions of a site: which are kept, what changed between two, whether one is whole.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path as AxumPath, State};
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::site::{BlobHash, RevisionHash};
use hiendien_engine::ports::{Blob, Damage, ErrorChain, PortError, Revision, RevisionFile};
use hiendien_engine::presence::Presence;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::request::Path;
use crate::{ApiState, Problem};

/// Revisions read at once for a listing.
const READ_AT_ONCE: usize = 8;
/// Digits of a revision that stand for all of it where no other begins so.
const DIGITS_MIN: usize = 8;
/// Largest text that is compared line by line, and the most that is told of all files, bytes.
const DIFF_FILE_BYTES_MAX: u64 = 64 * 1024;
const DIFF_BYTES_MAX: usize = 256 * 1024;
/// Bound of comparing one file; what is found by then is told.
const DIFF_TIME_MAX: Duration = Duration::from_millis(200);

/// All revisions of a presence, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionsView {
    /// The one that visitors get, or would get if the site were not stopped.
    pub served: Option<RevisionHash>,
    pub revisions: Vec<RevisionView>,
}

/// One revision. What cannot be read of it, or was not noted when it was kept, is `null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionView {
    pub revision: RevisionHash,
    pub served: bool,
    pub built_at: Option<Timestamp>,
    pub template: Option<String>,
    /// The operation that built it.
    pub operation: Option<OperationId>,
    pub files: Option<usize>,
    /// Size of the uncompressed files.
    pub bytes: Option<u64>,
}

/// What changed from one revision to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiffView {
    pub from: RevisionHash,
    pub to: RevisionHash,
    pub added: Vec<FileView>,
    pub removed: Vec<FileView>,
    pub changed: Vec<ChangeView>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileView {
    pub path: String,
    pub bytes: u64,
    pub sha256: BlobHash,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeView {
    pub path: String,
    pub from: Blob,
    pub to: Blob,
    /// The lines that changed (unified format), where it is a text of reasonable size.
    pub diff: Option<String>,
}

/// Whether a revision is as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyView {
    pub revision: RevisionHash,
    pub served: bool,
    pub is_whole: bool,
    pub damage: Vec<Damage>,
    /// The files by path, to compare with what is served; `null` where the manifest cannot be read.
    pub files: Option<BTreeMap<String, Blob>>,
}

fn unknown(which: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is no revision `{which}`, or it is not kept any more"),
    )
}

/// Finds a revision by its hash, or by enough of its first digits.
pub(crate) async fn seen_revision(
    state: &ApiState,
    presence: PresenceId,
    which: &str,
) -> Result<RevisionHash, Problem> {
    let kept = state.sites.revisions(presence).await?;
    if let Ok(hash) = which.parse::<RevisionHash>() {
        return kept
            .into_iter()
            .find(|kept| *kept == hash)
            .ok_or_else(|| unknown(which));
    }
    if which.len() < DIGITS_MIN {
        return Err(unknown(which));
    }
    let mut found = kept
        .into_iter()
        .filter(|revision| revision.as_str().starts_with(which));
    match (found.next(), found.next()) {
        (Some(revision), None) => Ok(revision),
        (Some(_), Some(_)) => {
            let detail = format!("several revisions begin with `{which}`: give more digits");
            Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
        }
        (None, _) => Err(unknown(which)),
    }
}

fn not_text(_: axum::extract::rejection::PathRejection) -> Problem {
    let detail = "a part of the path is not UTF-8";
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

async fn described(
    state: &ApiState,
    presence: PresenceId,
    revision: &RevisionHash,
) -> Result<Revision, Problem> {
    let found = state.shelf.revision(presence, revision).await?;
    found.ok_or_else(|| unknown(revision.as_str()))
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<RevisionsView>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let kept = state.sites.revisions(presence.id).await?;
    let read = kept.into_iter().map(|revision| async {
        let found = state.shelf.revision(presence.id, &revision).await;
        view(&presence, revision, found)
    });
    let mut revisions: Vec<RevisionView> = stream::iter(read)
        .buffer_unordered(READ_AT_ONCE)
        .collect()
        .await;
    revisions.sort_by(|left, right| {
        (right.built_at, &right.revision).cmp(&(left.built_at, &left.revision))
    });
    Ok(Json(RevisionsView {
        served: presence.revision,
        revisions,
    }))
}

fn view(
    presence: &Presence,
    revision: RevisionHash,
    found: Result<Option<Revision>, PortError>,
) -> RevisionView {
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(presence.id = %presence.id, %revision, error = %ErrorChain(&error), "a revision cannot be read");
        None
    });
    let found = found.as_ref();
    RevisionView {
        served: presence.revision.as_ref() == Some(&revision),
        built_at: found.map(|found| found.built_at),
        template: found.and_then(|found| found.template.clone()),
        operation: found.and_then(|found| found.operation),
        files: found.map(|found| found.files.len()),
        bytes: found.map(Revision::bytes),
        revision,
    }
}

pub(crate) async fn verify(
    State(state): State<ApiState>,
    caller: Caller,
    path: Result<AxumPath<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Json<VerifyView>, Problem> {
    let AxumPath((which, revision)) = path.map_err(not_text)?;
    let presence = seen_presence(&state, &caller, &which).await?;
    let revision = seen_revision(&state, presence.id, &revision).await?;
    let damage = state.shelf.damage(presence.id, &revision).await?;
    let found = state.shelf.revision(presence.id, &revision).await;
    let files = found.ok().flatten().map(|found| {
        let files = found.files.into_iter();
        files.map(|(path, file)| (path, file.identity)).collect()
    });
    Ok(Json(VerifyView {
        served: presence.revision.as_ref() == Some(&revision),
        revision,
        is_whole: damage.is_empty(),
        damage,
        files,
    }))
}

pub(crate) async fn diff(
    State(state): State<ApiState>,
    caller: Caller,
    path: Result<AxumPath<(String, String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Json<DiffView>, Problem> {
    let AxumPath((which, from, to)) = path.map_err(not_text)?;
    let presence = seen_presence(&state, &caller, &which).await?.id;
    let from = seen_revision(&state, presence, &from).await?;
    let to = seen_revision(&state, presence, &to).await?;
    let (from, to) = (
        described(&state, presence, &from).await?,
        described(&state, presence, &to).await?,
    );
    let only = |of: &Revision, other: &Revision| -> Vec<FileView> {
        let own = of.files.iter();
        own.filter(|(path, _)| !other.files.contains_key(*path))
            .map(|(path, file)| FileView {
                path: path.clone(),
                bytes: file.identity.bytes,
                sha256: file.identity.sha256.clone(),
            })
            .collect()
    };
    let (added, removed) = (only(&to, &from), only(&from, &to));
    let mut changed = Vec::new();
    let mut left = DIFF_BYTES_MAX;
    for (path, new) in &to.files {
        let Some(old) = from.files.get(path).filter(|old| *old != new) else {
            continue;
        };
        if old.identity == new.identity && old.media_type == new.media_type {
            // Compressed anew.
            continue;
        }
        let mut diff = None;
        if is_short_text(old) && is_short_text(new) && left > 0 {
            let (old, new) = (
                text(&state, presence, &from.hash, path).await,
                text(&state, presence, &to.hash, path).await,
            );
            if let (Some(old), Some(new)) = (old, new) {
                let compared = tokio::task::spawn_blocking(move || compared(&old, &new));
                diff = compared.await.ok().filter(|diff| diff.len() <= left);
                left -= diff.as_ref().map_or(0, String::len);
            }
        }
        changed.push(ChangeView {
            path: path.clone(),
            from: old.identity.clone(),
            to: new.identity.clone(),
            diff,
        });
    }
    Ok(Json(DiffView {
        from: from.hash,
        to: to.hash,
        added,
        removed,
        changed,
    }))
}

fn is_short_text(file: &RevisionFile) -> bool {
    let media_type = file.media_type.as_str();
    let is_text = media_type.starts_with("text/")
        || ["json", "xml", "javascript"]
            .iter()
            .any(|kind| media_type.contains(kind));
    is_text && file.identity.bytes <= DIFF_FILE_BYTES_MAX
}

/// A text that cannot be read is told by its hash alone.
async fn text(
    state: &ApiState,
    presence: PresenceId,
    revision: &RevisionHash,
    path: &str,
) -> Option<String> {
    let file = state.sites.file(presence, revision, path).await;
    String::from_utf8(file.ok()??.identity).ok()
}

fn compared(old: &str, new: &str) -> String {
    TextDiff::configure()
        .timeout(DIFF_TIME_MAX)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(2)
        .to_string()
}
