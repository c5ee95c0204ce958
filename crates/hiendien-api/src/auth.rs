//! Who is calling: API keys, kept only as SHA-256.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use hiendien_engine::presence::Presence;
use hiendien_engine::store::ApiKey;
use sha2::{Digest, Sha256};

use crate::{ApiState, Problem};

/// A caller whose key was found.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) ApiKey);

impl Caller {
    /// Whether this caller may see and change what belongs to `registrar`.
    pub(crate) fn acts_for(&self, registrar: &str) -> bool {
        self.0
            .registrar
            .as_deref()
            .is_none_or(|own| own == registrar)
    }

    /// Refuses whoever is not an operator of the platform.
    pub(crate) fn must_be_operator(&self, what: &str) -> Result<(), Problem> {
        if self.0.registrar.is_none() {
            return Ok(());
        }
        let detail = format!("only operators {what}; this key acts for a registrar");
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "operators_only",
            detail,
        ))
    }

    pub(crate) fn may_see(&self, presence: &Presence) -> bool {
        self.acts_for(&presence.registrar)
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let unauthorized =
            |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        let key = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .filter(|key| !key.is_empty())
            .ok_or_else(|| unauthorized("send your API key as `Authorization: Bearer KEY`"))?;
        let key_hash: [u8; 32] = Sha256::digest(key).into();
        match state.keys.find(&key_hash).await? {
            Some(key) => Ok(Self(key)),
            None => Err(unauthorized("this API key is not known")),
        }
    }
}
