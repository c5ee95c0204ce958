//! Operations out, and the one thing a person may ask of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hiendien_engine::operation::Operation;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::wire::OperationView;
use crate::{ApiState, Problem};

/// Most operations listed of a presence.
const OPERATIONS_MAX: usize = 50;

async fn seen_operation(
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
    seen_presence(state, caller, &operation.presence.to_string())
        .await
        .map_err(|_| unknown())?;
    Ok(operation)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path<String>,
) -> Result<Json<Vec<OperationView>>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let operations = state
        .directory
        .operations(presence.id, OPERATIONS_MAX)
        .await?;
    Ok(Json(operations.into_iter().map(Into::into).collect()))
}

pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path<String>,
) -> Result<Json<OperationView>, Problem> {
    Ok(Json(seen_operation(&state, &caller, &which).await?.into()))
}

/// Makes a parked or stuck operation due at once; asking for one that runs or has ended changes nothing.
pub(crate) async fn retry(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path<String>,
) -> Result<(StatusCode, Json<OperationView>), Problem> {
    let operation = seen_operation(&state, &caller, &which).await?;
    state
        .operations
        .retry(operation.id, state.clock.now())
        .await?;
    let operation = seen_operation(&state, &caller, &which).await?;
    Ok((StatusCode::ACCEPTED, Json(operation.into())))
}
