//! API keys, for operators to hand out and to end.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use hiendien_domain::name::is_slug;
use hiendien_engine::store::ApiKey;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::Caller;
use crate::request::{Path, whole};
use crate::wire::{KeyView, NewKey};
use crate::{ApiState, Problem};

/// The key that the service makes for its own operator at its start.
const OPERATOR: &str = "operator";

fn fault(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_key", detail)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<Vec<KeyView>>, Problem> {
    caller.must_be_operator("see the API keys")?;
    let keys = state.keys.list().await?;
    Ok(Json(keys.into_iter().map(Into::into).collect()))
}

/// Makes a key and tells it, this once; an earlier key of the same name ends.
pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<KeyView>), Problem> {
    caller.must_be_operator("make API keys")?;
    let body = whole(body)?;
    let new: NewKey = serde_json::from_slice(&body).map_err(|error| {
        fault(format!(
            "write the body as `{{\"registrar\": \"my-registrar\"}}`, or `null` for an operator's key: {error}"
        ))
    })?;
    let named = [Some(name.as_str()), new.registrar.as_deref()];
    if let Some(wrong) = named.into_iter().flatten().find(|text| !is_slug(text)) {
        return Err(fault(format!(
            "`{wrong}` is not 1 to 64 of a-z, 0-9 and `-`"
        )));
    }
    if name == OPERATOR {
        return Err(fault(
            "`operator` is the service's own key; choose another name",
        ));
    }
    let prefix = if new.registrar.is_some() { "re" } else { "op" };
    let secret = format!(
        "{prefix}_{}{}",
        Uuid::new_v4().simple(),
        Uuid::new_v4().simple()
    );
    let key = ApiKey {
        name,
        registrar: new.registrar,
    };
    let hash: [u8; 32] = Sha256::digest(&secret).into();
    state.keys.put(hash, &key, state.clock.now()).await?;
    tracing::info!(key.name, by = caller.0.name, "API key made");
    let mut view = KeyView::from(key);
    view.key = Some(secret);
    Ok((StatusCode::CREATED, Json(view)))
}

/// Ends a key; asking for one that is not there succeeds.
pub(crate) async fn remove(
    State(state): State<ApiState>,
    caller: Caller,
    Path(name): Path,
) -> Result<StatusCode, Problem> {
    caller.must_be_operator("end API keys")?;
    if name == OPERATOR {
        return Err(fault(
            "`operator` is the service's own key and comes back at its start",
        ));
    }
    if state.keys.remove(&name).await? {
        tracing::info!(key.name = name, by = caller.0.name, "API key ended");
    }
    Ok(StatusCode::NO_CONTENT)
}
