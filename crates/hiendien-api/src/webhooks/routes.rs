//! Endpoints of registrars, set up and looked after by themselves.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::is_slug;
use hiendien_engine::webhooks::{
    DeliveryLine, DeliveryState, ENDPOINTS_MAX, NewWebhook, PATTERNS_MAX, Pattern, SetUp, Wanted,
    Webhook,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::sender::new_secret;
use crate::auth::Caller;
use crate::request::{Path, Query, whole};
use crate::{ApiState, Problem};

/// Most lines of a page of the delivery log.
const PAGE_MAX: usize = 200;

/// Where a registrar wants to be told, and of what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    pub url: String,
    /// Kinds such as `presence.live`, or `plane.*`; none for what registrars need.
    #[serde(default)]
    pub events: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct WebhookView {
    pub registrar: String,
    pub name: String,
    pub url: String,
    /// Empty for what registrars need.
    pub events: Wanted,
    /// `false` once it answered 410; `PUT` enables it again.
    pub enabled: bool,
    pub created_at: Timestamp,
    /// It fails for one presence after another and is left alone until then.
    pub paused_until: Option<Timestamp>,
    /// Deliveries that were given up.
    pub given_up: u32,
    /// Told once, in the answer to the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for WebhookView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WebhookView")
            .field("registrar", &self.registrar)
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        let NewWebhook {
            registrar,
            name,
            url,
            wanted,
        } = webhook.set_up;
        Self {
            registrar,
            name,
            url,
            events: wanted,
            enabled: webhook.is_enabled,
            created_at: webhook.created_at,
            paused_until: webhook.paused_until,
            given_up: webhook.given_up,
            secret: None,
        }
    }
}

/// A test that is on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TestView {
    /// Its `webhook-id`.
    pub message: String,
}

/// From where on to send again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The `sequence` of an event; what was told of later ones is sent again.
    pub after: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ReplayView {
    pub replayed: usize,
    /// Give it as `after` to go on; `null` where nothing is left.
    pub next: Option<i64>,
}

/// A line of the delivery log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryView {
    pub number: i64,
    pub message: String,
    pub kind: String,
    pub sequence: Option<i64>,
    pub presence: Option<PresenceId>,
    pub state: DeliveryState,
    pub attempts: u32,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    pub queued_at: Timestamp,
    pub changed_at: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
}

impl From<DeliveryLine> for DeliveryView {
    fn from(line: DeliveryLine) -> Self {
        Self {
            number: line.number,
            message: line.message,
            kind: line.kind,
            sequence: line.sequence,
            presence: line.presence,
            state: line.state,
            attempts: line.attempts,
            last_status: line.last_status,
            last_error: line.last_error,
            queued_at: line.queued_at,
            changed_at: line.changed_at,
            next_attempt_at: line.next_attempt_at,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryPage {
    pub deliveries: Vec<DeliveryView>,
    /// Give it as `after` to read on; `null` on the last page.
    pub next: Option<i64>,
}

/// Whose endpoints, and from where on.
#[derive(Debug, Deserialize)]
pub(crate) struct Of {
    registrar: Option<String>,
    after: Option<i64>,
}

/// The registrar that the caller acts for; operators say which.
fn whose(caller: &Caller, of: &Of) -> Result<String, Problem> {
    match (&caller.0.registrar, &of.registrar) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(asked)) if own == asked => Ok(own.clone()),
        (Some(_), Some(_)) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "other_registrar",
            "`registrar` is not the one this key acts for",
        )),
        (None, Some(asked)) if is_slug(asked) => Ok(asked.clone()),
        (None, _) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_query",
            "an operator says whose webhooks: add `?registrar=NAME`",
        )),
    }
}

fn fault(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_webhook", detail)
}

fn no_such(name: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = format!("there is no webhook `{shown}`");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Query(of): Query<Of>,
) -> Result<Json<Vec<WebhookView>>, Problem> {
    let registrar = whose(&caller, &of)?;
    let webhooks = state.webhooks.webhooks(&registrar).await?;
    Ok(Json(webhooks.into_iter().map(Into::into).collect()))
}

/// The view of one endpoint.
async fn shown(state: &ApiState, registrar: &str, name: &str) -> Result<WebhookView, Problem> {
    let webhooks = state.webhooks.webhooks(registrar).await?;
    let found = webhooks
        .into_iter()
        .find(|webhook| webhook.set_up.name == name);
    found.map(Into::into).ok_or_else(|| no_such(name))
}

/// Sets an endpoint up. A new one's secret is told, this once; one that was there keeps its own.
pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<WebhookView>), Problem> {
    let registrar = whose(&caller, &of)?;
    let body = whole(body)?;
    if !is_slug(&name) {
        return Err(fault("the name is not 1 to 64 of a-z, 0-9 and `-`"));
    }
    let NewEndpoint { url, events } = serde_json::from_slice(&body).map_err(|error| {
        fault(format!(
            "write the body as `{{\"url\": \"https://…\"}}`, with or without `events`: {error}"
        ))
    })?;
    let url = state
        .webhook_targets
        .check(&url)
        .map_err(|error| fault(error.to_string()))?;
    let patterns: Vec<Pattern> = events
        .iter()
        .map(|pattern| pattern.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: hiendien_engine::webhooks::NoSuchPattern| {
            fault(format!("`events`: {error}"))
        })?;
    let wanted = Wanted::new(patterns)
        .ok_or_else(|| fault(format!("`events` has more than {PATTERNS_MAX}")))?;
    let new = NewWebhook {
        registrar: registrar.clone(),
        name: name.clone(),
        url: url.into(),
        wanted,
    };
    let secret = new_secret();
    let now = state.clock.now();
    let set_up = state.webhooks.set_up(new, secret.clone(), now).await?;
    let (status, secret) = match set_up {
        SetUp::Made => (StatusCode::CREATED, Some(secret.expose().to_owned())),
        SetUp::Changed => (StatusCode::OK, None),
        SetUp::TooMany => {
            let detail = format!("a registrar has at most {ENDPOINTS_MAX} webhooks: remove one");
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "too_many_webhooks",
                detail,
            ));
        }
    };
    tracing::info!(
        webhook.name = name,
        webhook.registrar = registrar,
        by = caller.0.name,
        "webhook set up"
    );
    let mut view = shown(&state, &registrar, &name).await?;
    view.secret = secret;
    Ok((status, Json(view)))
}

/// Ends an endpoint; asking for one that is not there succeeds.
pub(crate) async fn remove(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
) -> Result<StatusCode, Problem> {
    let registrar = whose(&caller, &of)?;
    if state.webhooks.take_down(&registrar, &name).await? {
        tracing::info!(
            webhook.name = name,
            webhook.registrar = registrar,
            by = caller.0.name,
            "webhook removed"
        );
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new secret and tells it, this once; the former one signs beside it for a day.
pub(crate) async fn rotate(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
) -> Result<Json<WebhookView>, Problem> {
    let registrar = whose(&caller, &of)?;
    let (secret, now) = (new_secret(), state.clock.now());
    let rotated = state
        .webhooks
        .rotate(&registrar, &name, secret.clone(), now)
        .await?;
    if !rotated {
        return Err(no_such(&name));
    }
    tracing::info!(
        webhook.name = name,
        webhook.registrar = registrar,
        by = caller.0.name,
        "webhook's secret rotated"
    );
    let mut view = shown(&state, &registrar, &name).await?;
    view.secret = Some(secret.expose().to_owned());
    Ok(Json(view))
}

/// Sends a test; what comes of it is in the delivery log.
pub(crate) async fn test(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
) -> Result<(StatusCode, Json<TestView>), Problem> {
    let registrar = whose(&caller, &of)?;
    let now = state.clock.now();
    let message = state.webhooks.test(&registrar, &name, now).await?;
    let message = message.ok_or_else(|| no_such(&name))?;
    Ok((StatusCode::ACCEPTED, Json(TestView { message })))
}

pub(crate) async fn deliveries(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
) -> Result<Json<DeliveryPage>, Problem> {
    let registrar = whose(&caller, &of)?;
    let after = of.after.unwrap_or(0);
    let lines = state
        .webhooks
        .deliveries(&registrar, &name, after, PAGE_MAX)
        .await?
        .ok_or_else(|| no_such(&name))?;
    let next = lines
        .last()
        .filter(|_| lines.len() == PAGE_MAX)
        .map(|line| line.number);
    Ok(Json(DeliveryPage {
        deliveries: lines.into_iter().map(Into::into).collect(),
        next,
    }))
}

/// Sends again what was told of events after a sequence number.
pub(crate) async fn replay(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    Query(of): Query<Of>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    let registrar = whose(&caller, &of)?;
    let body = whole(body)?;
    let Replay { after } = serde_json::from_slice(&body)
        .map_err(|error| fault(format!("write the body as `{{\"after\": 17}}`: {error}")))?;
    let now = state.clock.now();
    let replayed = state.webhooks.replay(&registrar, &name, after, now).await?;
    let replayed = replayed.ok_or_else(|| no_such(&name))?;
    tracing::info!(
        webhook.name = name,
        webhook.registrar = registrar,
        by = caller.0.name,
        count = replayed.count,
        "webhooks replayed"
    );
    let view = ReplayView {
        replayed: replayed.count,
        next: replayed.next,
    };
    Ok((StatusCode::ACCEPTED, Json(view)))
}
