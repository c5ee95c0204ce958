//! Events, as a page of JSON or as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use hiendien_domain::ids::PresenceId;
use hiendien_engine::operation::Event;
use hiendien_engine::ports::ErrorChain;
use serde::Deserialize;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::wire::EventPage;
use crate::{ApiState, Problem};

/// Most events of a page, and of one read of a stream.
const PAGE_MAX: usize = 500;
/// A stream looks again this often without having been woken.
const POLL: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
pub(crate) struct After {
    after: Option<i64>,
}

pub(crate) async fn of_presence(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    answer(state, Some(presence.id), &query, &headers).await
}

pub(crate) async fn all(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must_be_operator("read the events of all presences")?;
    answer(state, None, &query, &headers).await
}

async fn answer(
    state: ApiState,
    presence: Option<PresenceId>,
    query: &After,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    // A browser that lost its connection says where it was.
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let after = resumed.or(query.after).unwrap_or(0);
    let wants_stream = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if wants_stream {
        let stream = Sse::new(follow(state, presence, after)).keep_alive(KeepAlive::default());
        return Ok(stream.into_response());
    }
    let events = state.directory.events(presence, after, PAGE_MAX).await?;
    Ok(Json(EventPage { events }).into_response())
}

fn follow(
    state: ApiState,
    presence: Option<PresenceId>,
    after: i64,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let changes = state.directory.changes();
    let pending: std::vec::IntoIter<Event> = Vec::new().into_iter();
    stream::unfold(
        (state, changes, after, pending),
        move |(state, mut changes, mut after, mut pending)| async move {
            loop {
                if let Some(event) = pending.next() {
                    after = event.sequence;
                    let item = sse::Event::default()
                        .id(event.sequence.to_string())
                        .event(event.kind.clone())
                        .json_data(&event)
                        .unwrap_or_default();
                    return Some((Ok(item), (state, changes, after, pending)));
                }
                changes.borrow_and_update();
                match state.directory.events(presence, after, PAGE_MAX).await {
                    Ok(events) if !events.is_empty() => pending = events.into_iter(),
                    Ok(_) => {
                        // Running out of time is the other way to wake.
                        let _ = tokio::time::timeout(POLL, changes.changed()).await;
                    }
                    Err(error) => {
                        tracing::warn!(error = %ErrorChain(&error), "an event stream ended");
                        return None;
                    }
                }
            }
        },
    )
}
