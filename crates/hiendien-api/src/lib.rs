//! The HTTP API for registrars and operators, and the page on which an owner sets a password.
//!
//! Wire types, authentication, problem documents (RFC 9457), pages and events as a stream. It
//! decides nothing: claims are checked by the domain and taken in by the engine. A handler does
//! not retry; its caller does.

mod auth;
mod claims;
mod content;
mod events;
mod export;
mod idempotent;
mod images;
mod keys;
mod linger;
mod operations;
mod password;
mod presences;
mod problem;
mod request;
mod revisions;
mod server;
mod template;
mod verbs;
mod webhooks;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use hiendien_domain::claim::CLAIM_BYTES_MAX;
use hiendien_domain::picture::UPLOAD_BYTES_MAX;
use hiendien_domain::platform::Platform;
use hiendien_domain::term::TermRules;
use hiendien_engine::clock::Clock;
use hiendien_engine::pictures::Pictures;
use hiendien_engine::ports::{Mailboxes, PasswordLinks, PictureFiles, RevisionShelf, SiteStore};
use hiendien_engine::store::{
    ApiKeys, Contents, Directory, IdempotencyKeys, Intake, Lifecycle, OperationLog,
};
use hiendien_engine::webhooks::Webhooks;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use content::{PreviewFile, PreviewView, Previews};
pub use problem::Problem;
pub use revisions::{ChangeView, DiffView, FileView, RevisionView, RevisionsView, VerifyView};
pub use verbs::{Review, ReviewDecision};
pub use webhooks::{
    DeliveryPage, DeliveryView, HttpSender, NewEndpoint, Replay, ReplayView, SenderError,
    TargetError, TargetRules, TestView, WebhookView,
};
pub use wire::{
    AttentionView, ClaimAccepted, EventPage, ImageList, ImageView, KeyView, NewKey, OperationView,
    PlaneView, PresencePage, PresenceView, StepView,
};

/// Bound of a request other than an event stream.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// What the handlers act through. Holds no CA account, no DNS key and no container socket.
#[derive(Clone)]
pub struct ApiState {
    pub platform: Arc<Platform>,
    pub clock: Arc<dyn Clock>,
    pub intake: Arc<dyn Intake>,
    pub directory: Arc<dyn Directory>,
    pub keys: Arc<dyn ApiKeys>,
    pub operations: Arc<dyn OperationLog>,
    pub lifecycle: Arc<dyn Lifecycle>,
    pub term: TermRules,
    pub idempotency: Arc<dyn IdempotencyKeys>,
    pub password_links: Arc<dyn PasswordLinks>,
    pub mailboxes: Arc<dyn Mailboxes>,
    pub webhooks: Arc<dyn Webhooks>,
    pub sites: Arc<dyn SiteStore>,
    pub shelf: Arc<dyn RevisionShelf>,
    pub pictures: Arc<dyn Pictures>,
    pub picture_files: Arc<dyn PictureFiles>,
    /// Where registrars may have webhooks sent; the sender looks again at each request.
    pub webhook_targets: TargetRules,
    /// Directory of the site templates, looked at when a claim names one and for previews.
    pub templates: PathBuf,
    pub contents: Arc<dyn Contents>,
    pub previews: Previews,
    /// Turns true when the service stops: no more requests are taken, and event streams end.
    pub stopping: watch::Receiver<bool>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ApiState")
            .field("platform", &self.platform.apex)
            .finish_non_exhaustive()
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "cannot listen on `{address}` for the API: is another program on that port? `ss -ltnp` tells which"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// The API with its socket bound.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    router: Router,
    stopping: watch::Receiver<bool>,
}

impl Api {
    pub async fn bind(address: SocketAddr, state: ApiState) -> Result<Self, ApiError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ApiError::Listen { address, source })?;
        Ok(Self {
            listener,
            stopping: state.stopping.clone(),
            router: router(state),
        })
    }

    /// Serves until [`ApiState::stopping`] turns true; requests under way may end first.
    pub async fn run(self) {
        server::run(self.listener, self.router, self.stopping).await;
    }
}

fn router(state: ApiState) -> Router {
    Router::new()
        .route("/v1/claims", post(claims::submit))
        .route("/v1/claims/check", post(claims::check))
        .route("/v1/claims/{claim}", get(claims::show))
        .route("/v1/presences", get(presences::list))
        .route("/v1/attention", get(presences::attention))
        .route("/v1/presences/{presence}", get(presences::show))
        .route("/v1/presences/{presence}/operations", get(operations::list))
        .route("/v1/presences/{presence}/revisions", get(revisions::list))
        .route(
            "/v1/presences/{presence}/revisions/{revision}/verify",
            get(revisions::verify),
        )
        .route(
            "/v1/presences/{presence}/revisions/{revision}/diff/{to}",
            get(revisions::diff),
        )
        .route("/v1/presences/{presence}/export", get(export::export))
        .route("/v1/presences/{presence}/review", post(verbs::review))
        .route(
            "/v1/presences/{presence}/dossier-complete",
            post(verbs::complete_dossier),
        )
        .route(
            "/v1/presences/{presence}/images",
            get(images::list)
                .post(images::add)
                .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX)),
        )
        .route(
            "/v1/presences/{presence}/images/{image}",
            get(images::show).delete(images::remove),
        )
        .route(
            "/v1/presences/{presence}/images/{image}/{file}",
            get(images::file),
        )
        .route("/v1/presences/{presence}/content", get(content::show))
        .route(
            "/v1/presences/{presence}/content/resume",
            get(content::resume),
        )
        .route(
            "/v1/presences/{presence}/preview",
            post(content::preview).layer(DefaultBodyLimit::max(content::BODY_BYTES_MAX)),
        )
        .route(
            "/v1/presences/{presence}/{verb}",
            post(verbs::ask_verb).layer(DefaultBodyLimit::max(content::BODY_BYTES_MAX)),
        )
        .route("/v1/operations/{operation}", get(operations::show))
        .route("/v1/operations/{operation}/abandon", post(verbs::abandon))
        .route("/v1/operations/{operation}/retry", post(operations::retry))
        .route("/v1/keys", get(keys::list))
        .route("/v1/keys/{name}", put(keys::put).delete(keys::remove))
        .route("/v1/webhooks", get(webhooks::list))
        .route(
            "/v1/webhooks/{name}",
            put(webhooks::put).delete(webhooks::remove),
        )
        .route("/v1/webhooks/{name}/rotate", post(webhooks::rotate))
        .route("/v1/webhooks/{name}/test", post(webhooks::test))
        .route("/v1/webhooks/{name}/deliveries", get(webhooks::deliveries))
        .route("/v1/webhooks/{name}/replay", post(webhooks::replay))
        .route("/mat-khau/{token}", get(password::show).post(password::set))
        .route("/healthz", get(health))
        .route("/v1/presences/{presence}/events", get(events::of_presence))
        .route("/v1/events", get(events::all))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(bound))
        // One byte more than a claim may have, so that the claim's own fault is what the sender reads.
        .layer(DefaultBodyLimit::max(CLAIM_BYTES_MAX + 1))
        .layer(middleware::from_fn(linger::linger))
        .with_state(state)
}

/// Bounds the time until an answer begins (an event stream goes on after it), and lets nobody keep it.
async fn bound(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let detail = format!(
            "the request took longer than {} s",
            REQUEST_TIME_MAX.as_secs()
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail)
            .retryable()
            .into_response()
    });
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 once the store answers.
async fn health(State(state): State<ApiState>) -> Result<&'static str, Problem> {
    state.directory.events(None, i64::MAX, 1).await?;
    Ok("ok\n")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path knows other methods: see docs/api.md",
    )
}

async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path: see docs/api.md for those there are",
    )
}
