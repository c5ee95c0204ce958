//! What a caller reads when something is wrong (RFC 9457).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::fault::{Fault, Faults};
use hiendien_engine::ports::{ErrorChain, FailureKind, PortError};
use hiendien_engine::store::AcceptError;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// A problem document with our extension members.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
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
            status,
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
        tracing::info!(
            code = self.code,
            status = self.status.as_u16(),
            correlation_id = %self.correlation_id,
            "a request was refused"
        );
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response();
        let mut put = |name, value| {
            response
                .headers_mut()
                .insert(name, header::HeaderValue::from_static(value))
        };
        if self.retryable {
            put(header::RETRY_AFTER, "5");
        }
        if self.status == StatusCode::UNAUTHORIZED {
            put(header::WWW_AUTHENTICATE, "Bearer");
        }
        response
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// The faults of a document of an owner's.
    pub(crate) fn of_content(faults: Faults) -> Self {
        let detail = format!(
            "the content has {} faults, listed in `errors`",
            faults.0.len()
        );
        Self {
            errors: faults.0,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_content", detail)
        }
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
        let problem = match error.kind {
            FailureKind::Rejected | FailureKind::Held => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the service cannot do this; its operators find the reason by `correlation_id`",
            ),
            FailureKind::Transient { .. } | FailureKind::Misconfigured => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the service does not answer at the moment; nothing was lost, try again later",
            )
            .retryable(),
        };
        tracing::error!(error = %ErrorChain(&error), correlation_id = %problem.correlation_id, "a request failed");
        problem
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
