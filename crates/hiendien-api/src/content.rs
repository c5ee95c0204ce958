//! Content out, and a look at content that nobody has published yet.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::claim::CLAIM_BYTES_MAX;
use hiendien_domain::content::SiteContent;
use hiendien_domain::document::{CONTENT_BYTES_MAX, Checked};
use hiendien_domain::fault::Fault;
use hiendien_domain::lifecycle::Standing;
use hiendien_domain::site::{FileTree, RevisionHash};
use hiendien_engine::content::{Sources, sources};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::Presence;
use hiendien_render::{RenderError, Template, render};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::request::{Path, Query, whole};
use crate::verbs::{must_have_template, read};
use crate::{ApiState, Problem};

/// Bound of a body with a document in it, and a claim, and the members around them; bytes.
pub(crate) const BODY_BYTES_MAX: usize = CONTENT_BYTES_MAX + CLAIM_BYTES_MAX + 4096;
/// Sites rendered at once for previews; each takes a core.
const PREVIEWS_AT_ONCE: usize = 2;
/// How long a preview waits for others to end.
const PREVIEW_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a preview may take. One that takes longer keeps its place until it ends.
const PREVIEW_TIME_MAX: Duration = Duration::from_secs(15);

/// Bounds the previews of a process.
#[derive(Clone)]
pub struct Previews(Arc<Semaphore>);

impl Default for Previews {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PREVIEWS_AT_ONCE)))
    }
}

impl fmt::Debug for Previews {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Previews")
            .field("free", &self.0.available_permits())
            .finish()
    }
}

/// What the page of a presence is made from.
pub(crate) async fn sources_of(state: &ApiState, presence: &Presence) -> Result<Sources, Problem> {
    if presence.standing == Standing::Purged {
        let detail = "the content of this presence was erased";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    }
    Ok(sources(&*state.contents, &state.platform, presence).await?)
}

/// Checks a document off the threads that answer: it may have a megabyte.
pub(crate) async fn checked(
    sources: Arc<Sources>,
    document: Vec<u8>,
    page: SiteContent,
) -> Result<Checked, Problem> {
    let check = tokio::task::spawn_blocking(move || sources.check(&document, &page));
    let checked = check
        .await
        .map_err(|error| PortError::transient("checking content", error))?;
    checked.map_err(Problem::of_content)
}

/// The document that was published last, or one that makes the page of the claim.
pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let document = sources_of(&state, &presence).await?.document_json();
    let headers = [(header::CONTENT_TYPE, "application/json")];
    Ok((headers, document.expose().to_owned()).into_response())
}

/// The résumé as it was given: JSON Resume.
pub(crate) async fn resume(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<Value>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let sources = sources_of(&state, &presence).await?;
    let of_document = |document: &str| {
        let document: Value = serde_json::from_str(document).ok()?;
        document.pointer("/cv/resume").cloned()
    };
    let resume = of_document(sources.document_json().expose())
        .or_else(|| of_document(sources.facts.document().canonical_json().expose()));
    resume.map(Json).ok_or_else(|| {
        let detail = "a business has no résumé";
        Problem::new(StatusCode::NOT_FOUND, "no_resume", detail)
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// A directory under the site templates.
    template: Option<String>,
    content: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    path: Option<String>,
}

/// The files of a site that nobody has published.
#[derive(Debug, Serialize, Deserialize)]
pub struct PreviewView {
    pub template: String,
    /// What the revision would be called.
    pub revision: RevisionHash,
    pub files: Vec<PreviewFile>,
    pub warnings: Vec<Fault>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct PreviewFile {
    /// As a browser asks for it, such as `/bai-viet/`.
    pub path: String,
    pub media_type: String,
    pub bytes: usize,
}

/// Renders what is not stored, by the program that renders what is published: the bytes are the same.
pub(crate) async fn preview(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
    Query(wanted): Query<Wanted>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = whole(body)?;
    let presence = seen_presence(&state, &caller, &which).await?;
    let Draft { template, content } = read(&body)?;
    if let Some(template) = &template {
        must_have_template(&state, &presence.plan, template).await?;
    }
    let template = template.unwrap_or_else(|| presence.plan.template.clone());
    let sources = Arc::new(sources_of(&state, &presence).await?);
    let page = presence.plan.content.clone();
    let (page, warnings) = match content {
        Some(content) => {
            let document = content.get().as_bytes().to_vec();
            let checked = checked(sources, document, page).await?;
            (checked.content, checked.warnings)
        }
        None => (page, Vec::new()),
    };
    let tree = rendered(&state, template.clone(), page).await?;
    if let Some(path) = wanted.path {
        return one_file(&tree, &path);
    }
    let files = tree.iter().map(|(path, file)| PreviewFile {
        path: address(path),
        media_type: file.media_type.clone(),
        bytes: file.identity.len(),
    });
    let view = PreviewView {
        template,
        revision: tree.revision(),
        files: files.collect(),
        warnings,
    };
    Ok(Json(view).into_response())
}

/// Renders on a thread of its own, a few at once.
async fn rendered(
    state: &ApiState,
    template: String,
    page: SiteContent,
) -> Result<FileTree, Problem> {
    let busy = |detail: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "preview_busy", detail).retryable()
    };
    let free = Arc::clone(&state.previews.0).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(PREVIEW_WAIT_MAX, free).await else {
        return Err(busy("other previews are being made; try again"));
    };
    let root = state.templates.clone();
    let work = tokio::task::spawn_blocking(move || {
        // Kept while the work lasts, whoever has stopped waiting for it.
        let _place = place;
        let template = Template::load(&root, &template)
            .map_err(|error| PortError::misconfigured("loading a template", error))?;
        Ok::<_, PortError>(render(&template, &page))
    });
    let Ok(ended) = tokio::time::timeout(PREVIEW_TIME_MAX, work).await else {
        return Err(busy("the preview took too long"));
    };
    let rendered = ended.map_err(|error| PortError::transient("rendering a preview", error))??;
    rendered.map_err(|error| match error {
        RenderError::PageTooLarge { .. } | RenderError::SiteTooLarge => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "site_too_large",
            format!("{error}: shorten the content"),
        ),
        error => PortError::misconfigured("rendering a preview", error).into(),
    })
}

/// How a browser asks for a file.
fn address(path: &str) -> String {
    match path.strip_suffix("index.html") {
        Some(directory) if directory.is_empty() || directory.ends_with('/') => {
            format!("/{directory}")
        }
        _ => format!("/{path}"),
    }
}

fn one_file(tree: &FileTree, wanted: &str) -> Result<Response, Problem> {
    let path = wanted.trim_start_matches('/');
    let path = if path.is_empty() || path.ends_with('/') {
        format!("{path}index.html")
    } else {
        path.to_owned()
    };
    let Some(file) = tree.get(&path) else {
        let detail = format!("the site has no file at `{wanted}`");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_such_file", detail));
    };
    let media_type = HeaderValue::from_str(&file.media_type)
        .map_err(|error| PortError::misconfigured("naming a media type", error))?;
    let mut response = file.identity.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    // What an owner wrote gets no right at the address of the API.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}
