//! POSTs that make something: done once, however often they are sent.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::site::hex;
use hiendien_engine::store::{IdempotentReply, RequestKey};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::auth::Caller;
use crate::operations::seen_operation;
use crate::wire::OperationView;
use crate::{ApiState, Problem};

/// Longest `Idempotency-Key`, octets.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// What a POST came to: kept, and sent again to whoever sends the same again.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// JSON.
    pub(crate) body: String,
}

/// Does `work` for the first request with this key and body; later ones get its answer. A refusal
/// changed nothing, so its key stays free for the mended request.
pub(crate) async fn once(
    state: &ApiState,
    caller: &Caller,
    headers: &HeaderMap,
    path: &str,
    body: &[u8],
    work: impl AsyncFnOnce(RequestKey) -> Result<Answer, Problem>,
) -> Result<Response, Problem> {
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .filter(|key| !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_MAX)
        .ok_or_else(|| {
            let detail = "send an `Idempotency-Key` header of 1 to 255 characters, a fresh one for each new request";
            Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_missing", detail)
        })?;
    let fingerprint = hex(&Sha256::new()
        .chain_update(path)
        .chain_update([0])
        .chain_update(body)
        .finalize());
    // A key of the same name that acts for another registrar is another caller.
    let who = match &caller.0.registrar {
        Some(registrar) => format!("{}/{registrar}", caller.0.name),
        None => caller.0.name.clone(),
    };
    let now = state.clock.now();
    match state
        .idempotency
        .begin(&who, key, &fingerprint, now)
        .await?
    {
        IdempotentReply::Begun => {}
        IdempotentReply::Made(operation) => {
            let found = seen_operation(state, caller, &operation.to_string()).await?;
            return Ok(respond(Answer {
                status: StatusCode::ACCEPTED,
                body: json!(OperationView::of(found, caller)).to_string(),
            }));
        }
        IdempotentReply::Finished { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            return Ok(respond(Answer { status, body }));
        }
        IdempotentReply::Mismatch => {
            let detail = "this `Idempotency-Key` was used for another request; use a fresh key";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                detail,
            ));
        }
        IdempotentReply::InFlight => {
            let detail = "the first request with this `Idempotency-Key` has not ended yet";
            return Err(Problem::new(StatusCode::CONFLICT, "in_flight", detail).retryable());
        }
    }
    let asked_with = RequestKey {
        caller: who.clone(),
        key: key.to_owned(),
    };
    match work(asked_with).await {
        Ok(answer) => {
            let status = answer.status.as_u16();
            state
                .idempotency
                .finish(&who, key, status, &answer.body)
                .await?;
            Ok(respond(answer))
        }
        Err(problem) => {
            state.idempotency.forget(&who, key).await?;
            Err(problem)
        }
    }
}

/// The answer on its way out, with where to look next: the operation it names.
fn respond(answer: Answer) -> Response {
    let named: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
    let operation = named.as_ref().and_then(|body| {
        let operation = body.get("operation").or_else(|| body.get("id"))?;
        operation.as_str()
    });
    let location = format!("/v1/operations/{}", operation.unwrap_or_default());
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, location),
        (header::RETRY_AFTER, "1".to_owned()),
    ];
    (answer.status, headers, answer.body).into_response()
}
