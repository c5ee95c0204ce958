//! Operations out, and the one thing a person may ask of them.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::lifecycle::OperationState;
use hiendien_engine::operation::Operation;

use crate::auth::Caller;
use crate::presences::{seen_presence, seen_presence_or};
use crate::request::Path;
use crate::wire::OperationView;
use crate::{ApiState, Problem};

/// Most operations listed of a presence.
const OPERATIONS_MAX: usize = 50;

pub(crate) async fn seen_operation(
    state: &ApiState,
    caller: &Caller,
    which: &str,
) -> Result<Operation, Problem> {
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no operation `{which}`"),
        )
    };
    let id = which.parse().map_err(|_| unknown())?;
    let operation = state.directory.operation(id).await?.ok_or_else(unknown)?;
    seen_presence_or(state, caller, operation.presence, unknown).await?;
    Ok(operation)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<Vec<OperationView>>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let operations = state
        .directory
        .operations(presence.id, OPERATIONS_MAX)
        .await?;
    let views = operations
        .into_iter()
        .map(|operation| OperationView::of(operation, &caller));
    Ok(Json(views.collect()))
}

pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<OperationView>, Problem> {
    let operation = seen_operation(&state, &caller, &which).await?;
    Ok(Json(OperationView::of(operation, &caller)))
}

/// Makes a parked or stuck operation due at once; asking for one that runs or has ended changes nothing.
///
/// An operation that only waits for its next attempt is the operators' to hurry: the wait may be
/// what a CA asked for.
pub(crate) async fn retry(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Response, Problem> {
    let operation = seen_operation(&state, &caller, &which).await?;
    if operation.state == OperationState::Parked && caller.0.registrar.is_some() {
        let detail =
            "the operation waits for its next attempt, `next_run_at`, and goes on by itself";
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "goes_on_by_itself",
            detail,
        ));
    }
    state
        .operations
        .retry(operation.id, state.clock.now())
        .await?;
    let operation = seen_operation(&state, &caller, &which).await?;
    let headers = [
        (header::LOCATION, format!("/v1/operations/{}", operation.id)),
        (header::RETRY_AFTER, "1".to_owned()),
    ];
    let view = OperationView::of(operation, &caller);
    Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
}
