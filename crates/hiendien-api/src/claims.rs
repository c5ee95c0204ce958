//! Claims in.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hiendien_domain::claim::{self, CLAIM_BYTES_MAX, Checked};
use hiendien_domain::fault::Faults;
use hiendien_engine::intake;
use hiendien_engine::ports::PortError;
use hiendien_engine::store::RequestKey;
use serde_json::json;

use crate::auth::Caller;
use crate::idempotent::{Answer, once};
use crate::presences::seen_presence_or;
use crate::request::Path;
use crate::wire::{ClaimAccepted, PresenceView};
use crate::{ApiState, Problem, template};

fn body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        let detail = format!("a claim has at most {CLAIM_BYTES_MAX} bytes; send images and long texts later, as content");
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "claim_too_large", detail),
            status => Problem::new(status, "body_unreadable", rejection.body_text()),
        }
    })
}

/// Tells the faults of a claim and stores nothing.
pub(crate) async fn check(
    State(state): State<ApiState>,
    caller: Caller,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let checked = checked(&state, &caller, &body(bytes)?).await?;
    let answer = json!({ "name": checked.claim.domain(), "warnings": checked.warnings });
    Ok(axum::Json(answer).into_response())
}

/// The claim, if it has no fault and the caller may hand it in.
pub(crate) async fn checked(
    state: &ApiState,
    caller: &Caller,
    bytes: &Bytes,
) -> Result<Checked, Problem> {
    let (bytes, root) = (bytes.clone(), state.templates.clone());
    // Work on a megabyte, and on files.
    let checked = tokio::task::spawn_blocking(move || {
        let fault = template::fault(&root, &bytes);
        match (claim::parse(&bytes), fault) {
            (Ok(checked), None) => Ok(checked),
            (Ok(_), Some(fault)) => Err(Faults(vec![fault])),
            (Err(Faults(mut faults)), fault) => {
                faults.extend(fault);
                Err(Faults(faults))
            }
        }
    });
    let checked = checked
        .await
        .map_err(|error| PortError::transient("checking a claim", error))??;
    if caller.acts_for(checked.claim.registrar()) {
        return Ok(checked);
    }
    let detail = format!(
        "this API key does not act for registrar `{}`",
        checked.claim.registrar()
    );
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "other_registrar",
        detail,
    ))
}

/// Takes a claim in: 202 with where to look.
pub(crate) async fn submit(
    State(state): State<ApiState>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let bytes = body(bytes)?;
    let work = async |_: RequestKey| {
        let accepted = take_in(&state, &caller, &bytes).await?;
        Ok(Answer {
            status: StatusCode::ACCEPTED,
            body: json!(accepted).to_string(),
        })
    };
    once(&state, &caller, &headers, uri.path(), &bytes, work).await
}

async fn take_in(
    state: &ApiState,
    caller: &Caller,
    bytes: &Bytes,
) -> Result<ClaimAccepted, Problem> {
    let checked = checked(state, caller, bytes).await?;
    let claim = &checked.claim;
    let accepted = intake::accept(
        &*state.intake,
        &state.platform,
        &state.term,
        claim,
        state.clock.now(),
    )
    .await?;
    tracing::info!(
        claim.id = %accepted.claim,
        presence.name = %claim.domain(),
        operation.id = %accepted.operation,
        repeated = accepted.repeated,
        "claim accepted"
    );
    Ok(ClaimAccepted {
        claim: accepted.claim,
        presence: accepted.presence,
        operation: accepted.operation,
        name: claim.domain().clone(),
        repeated: accepted.repeated,
        warnings: checked.warnings,
    })
}

/// The presence that came of a claim.
pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    Path(claim): Path,
) -> Result<axum::Json<PresenceView>, Problem> {
    let unknown = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no claim `{claim}`"),
        )
    };
    let id = claim.parse().map_err(|_| unknown())?;
    let presence = state
        .directory
        .claim_presence(id)
        .await?
        .ok_or_else(unknown)?;
    let presence = seen_presence_or(&state, &caller, presence, unknown).await?;
    Ok(axum::Json(PresenceView::of(presence, &caller)))
}
