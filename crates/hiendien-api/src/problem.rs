//! What a caller reads when something is wrong (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::fault::{Fault, Faults};
use hiendien_engine::ports::{ErrorChain, FailureKind, PortError};
use hiendien_engine::store::AcceptError;
use serde::Serialize;
use uuid::Uuid;

/// A problem document with our extension members.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Stable word to branch on.
    pub code: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Finds the request in our logs.
    pub correlation_id: Uuid,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:hiendien:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            retryable: false,
            correlation_id: Uuid::now_v7(),
            errors: Vec::new(),
        }
    }

    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        if self.retryable {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = format!(
            "the claim has {} faults, listed in `errors`",
            faults.0.len()
        );
        Self {
            errors: faults.0,
            ..Self::new(status, "invalid_claim", detail)
        }
    }
}

/// The causes go to our log, not to the caller.
impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "a part of the service does not answer at the moment; nothing was lost, try again later",
        );
        tracing::error!(error = %ErrorChain(&error), correlation_id = %problem.correlation_id, "a request failed");
        match error.kind {
            FailureKind::Rejected => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
                title: "Internal Server Error",
                ..problem
            },
            FailureKind::Transient { .. } | FailureKind::Misconfigured => problem.retryable(),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        let code = match error {
            AcceptError::ReferenceReused { .. } => "reference_reused",
            AcceptError::NameTaken { .. } => "name_taken",
            AcceptError::SubjectServed { .. } => "subject_served",
            AcceptError::Store(error) => return error.into(),
        };
        Self::new(StatusCode::CONFLICT, code, error.to_string())
    }
}
