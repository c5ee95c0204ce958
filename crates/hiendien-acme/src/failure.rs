//! What a CA's refusal means for the engine.

use std::time::{Duration, Instant};

use hiendien_engine::ports::{FailureKind, PortError};
use instant_acme::Error;

/// A CA that limits our rate without naming a time is left alone for this long.
const RATE_LIMITED_FOR: Duration = Duration::from_mins(5);

pub(crate) fn port_error(action: String, error: Error) -> PortError {
    let transient = FailureKind::Transient { retry_after: None };
    let kind = match &error {
        Error::Api(problem) => {
            let word = problem
                .r#type
                .as_deref()
                .and_then(|kind| kind.rsplit(':').next())
                .unwrap_or_default();
            match word {
                "rateLimited" => FailureKind::Transient {
                    retry_after: Some(RATE_LIMITED_FOR),
                },
                "rejectedIdentifier" | "unsupportedIdentifier" | "badCSR" | "badPublicKey" => {
                    FailureKind::Rejected
                }
                "accountDoesNotExist" | "externalAccountRequired" | "userActionRequired" => {
                    FailureKind::Misconfigured
                }
                // Among them dns, caa, connection, unauthorized, serverInternal: true today, mended tomorrow.
                _ => transient,
            }
        }
        Error::Timeout(Some(at)) => FailureKind::Transient {
            retry_after: Some(at.saturating_duration_since(Instant::now())),
        },
        Error::Unsupported(_) => FailureKind::Misconfigured,
        _ => transient,
    };
    let hint = match &error {
        Error::Hyper(_) | Error::Other(_) => "; is the CA running and reachable from here? It",
        _ => "",
    };
    PortError {
        kind,
        action: format!("{action}{hint}"),
        source: Some(Box::new(error)),
    }
}
