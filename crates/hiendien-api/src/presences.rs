//! Presences out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_engine::presence::Presence;
use serde::Deserialize;

use crate::auth::Caller;
use crate::request::{Path, Query};
use crate::wire::{AttentionView, PresencePage, PresenceView};
use crate::{ApiState, Problem};

/// Most presences of a page.
const PAGE_MAX: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    after: Option<PresenceId>,
    limit: Option<usize>,
}

/// Finds a presence by identifier or name, if the caller may see it; else it is as if there were none.
pub(crate) async fn seen_presence(
    state: &ApiState,
    caller: &Caller,
    which: &str,
) -> Result<Presence, Problem> {
    let found = if let Ok(id) = which.parse::<PresenceId>() {
        state.directory.presence(id).await?
    } else {
        let ascii = hiendien_domain::claim::ascii_name(which);
        match ascii.as_deref().unwrap_or(which).parse::<DomainName>() {
            Ok(name) => state.directory.presence_by_name(&name).await?,
            Err(_) => None,
        }
    };
    found
        .filter(|presence| caller.may_see(presence))
        .ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is no presence `{which}`"),
            )
        })
}

/// The presence behind something else that was asked for. Where the caller may not see it the answer
/// is `unknown`, so that nothing is learnt of the presence; a store that fails is told as such.
pub(crate) async fn seen_presence_or(
    state: &ApiState,
    caller: &Caller,
    presence: PresenceId,
    unknown: impl FnOnce() -> Problem,
) -> Result<Presence, Problem> {
    let seen = seen_presence(state, caller, &presence.to_string()).await;
    seen.map_err(|problem| match problem.status {
        StatusCode::NOT_FOUND => unknown(),
        _ => problem,
    })
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<PresencePage>, Problem> {
    let limit = page.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let presences = state
        .directory
        .presences(caller.0.registrar.as_deref(), page.after, limit)
        .await?;
    let next = presences
        .last()
        .filter(|_| presences.len() == limit)
        .map(|presence| presence.id);
    Ok(Json(PresencePage {
        presences: presences
            .into_iter()
            .map(|presence| PresenceView::of(presence, &caller))
            .collect(),
        next,
    }))
}

/// What waits for a person, and what that person has to do.
pub(crate) async fn attention(
    State(state): State<ApiState>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Vec<AttentionView>>, Problem> {
    let limit = page.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let registrar = caller.0.registrar.as_deref();
    let found = state
        .directory
        .needing_attention(registrar, page.after, limit)
        .await?;
    let mut views = Vec::with_capacity(found.len());
    for presence in found {
        if let Some(operation) = state.directory.operation(presence.operation).await? {
            views.push(AttentionView::of(presence, operation, &caller));
        }
    }
    Ok(Json(views))
}

pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<PresenceView>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    Ok(Json(PresenceView::of(presence, &caller)))
}
