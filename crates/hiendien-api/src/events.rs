//! Events, as a page of JSON or as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hiendien_domain::ids::PresenceId;
use hiendien_engine::operation::Event;
use hiendien_engine::ports::ErrorChain;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::request::{Path, Query};
use crate::wire::{EventPage, for_caller};
use crate::{ApiState, Problem};

/// Most events of a page, and of one read of a stream.
const PAGE_MAX: usize = 500;
/// A stream looks again this often without having been woken.
const POLL: Duration = Duration::from_secs(2);
/// A stream ends after this long; its reader comes again with `Last-Event-ID`, and with a key that is still good.
const STREAM_TIME_MAX: Duration = Duration::from_mins(15);
/// Streams at once.
const STREAMS_MAX: usize = 256;

static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

#[derive(Debug, Deserialize)]
pub(crate) struct After {
    after: Option<i64>,
}

pub(crate) async fn of_presence(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    answer(state, caller, Some(presence.id), &query, &headers).await
}

pub(crate) async fn all(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must_be_operator("read the events of all presences")?;
    answer(state, caller, None, &query, &headers).await
}

async fn answer(
    state: ApiState,
    caller: Caller,
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
        let Ok(slot) = STREAMS.try_acquire() else {
            let detail = format!("{STREAMS_MAX} event streams are open; read pages meanwhile");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, "too_many_streams", detail).retryable());
        };
        let follow = Follow {
            changes: state.directory.changes(),
            pending: Vec::new().into_iter(),
            end: Instant::now() + STREAM_TIME_MAX,
            state,
            caller,
            presence,
            after,
            _slot: slot,
        };
        let events = stream::unfold(follow, async |mut follow| {
            let event = follow.next().await?;
            let item = sse::Event::default()
                .id(event.sequence.to_string())
                .event(event.kind.clone())
                .json_data(&event)
                .unwrap_or_default();
            Some((Ok::<_, Infallible>(item), follow))
        });
        let stream = Sse::new(events).keep_alive(KeepAlive::default());
        return Ok(stream.into_response());
    }
    let events = state.directory.events(presence, after, PAGE_MAX).await?;
    let events = events.into_iter().map(|event| for_caller(event, &caller));
    Ok(Json(EventPage {
        events: events.collect(),
    })
    .into_response())
}

/// Where an open stream stands.
struct Follow {
    state: ApiState,
    caller: Caller,
    presence: Option<PresenceId>,
    after: i64,
    pending: std::vec::IntoIter<Event>,
    changes: watch::Receiver<u64>,
    end: Instant,
    _slot: SemaphorePermit<'static>,
}

impl Follow {
    /// The next event; `None` when the service stops or the stream's time is over.
    async fn next(&mut self) -> Option<Event> {
        let mut stopping = self.state.stopping.clone();
        loop {
            if *stopping.borrow() || Instant::now() >= self.end {
                return None;
            }
            if let Some(event) = self.pending.next() {
                self.after = event.sequence;
                return Some(for_caller(event, &self.caller));
            }
            self.changes.borrow_and_update();
            let read = self
                .state
                .directory
                .events(self.presence, self.after, PAGE_MAX);
            match read.await {
                Ok(events) if !events.is_empty() => {
                    self.pending = events.into_iter();
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %ErrorChain(&error), "an event stream ended");
                    return None;
                }
            }
            tokio::select! {
                // Running out of time is the other way to wake.
                _ = tokio::time::timeout(POLL, self.changes.changed()) => {}
                () = tokio::time::sleep_until(self.end) => return None,
                _ = stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }
}
