//! What a CA's refusal means for the engine.

use std::time::{Duration, Instant};

use hiendien_engine::ports::{FailureKind, PortError};
use instant_acme::{Error, Problem};

/// A CA that limits our rate without naming a time is left alone for this long.
const RATE_LIMITED_FOR: Duration = Duration::from_mins(5);

/// A failure of one of the two sides we stand between.
#[derive(Debug)]
pub(crate) enum Failure {
    Ca { doing: &'static str, error: Error },
    Port(PortError),
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

/// Names what was tried with the CA.
pub(crate) fn doing(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure::Ca { doing, error }
}

/// The error type of RFC 8555, 6.7, without its URN prefix.
fn word(problem: &Problem) -> &str {
    let word = problem.r#type.as_deref();
    word.and_then(|urn| urn.strip_prefix("urn:ietf:params:acme:error:"))
        .unwrap_or_default()
}

impl Failure {
    /// The CA has no account for our key, as a lab CA has none after a restart.
    pub(crate) fn is_unknown_account(&self) -> bool {
        matches!(self, Self::Ca { error: Error::Api(problem), .. } if word(problem) == "accountDoesNotExist")
    }

    pub(crate) fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Ca { error: Error::Api(problem), .. } if word(problem) == "badNonce")
    }

    /// What we know of the CA may be out of date: its directory must be read anew.
    pub(crate) fn is_estranged(&self) -> bool {
        let Self::Ca { error, .. } = self else {
            return false;
        };
        match error {
            Error::Api(problem) => problem.status == Some(404),
            Error::Other(_) | Error::Json(_) | Error::Str(_) => true,
            _ => false,
        }
    }

    /// `busy_for` is how long the CA last asked us to stay away.
    pub(crate) fn into_port(self, directory: &str, busy_for: Option<Duration>) -> PortError {
        let (doing, error) = match self {
            Self::Port(error) => return error,
            Self::Ca { doing, error } => (doing, error),
        };
        let action = format!("{doing} at the CA `{directory}`");
        let kind = kind(&error, busy_for);
        let source: Box<dyn std::error::Error + Send + Sync> = match error {
            Error::Other(source) => Box::new(Unreachable(source)),
            error => Box::new(error),
        };
        PortError {
            kind,
            action,
            source: Some(source),
        }
    }
}

/// Whether the CA has forgotten an order that we remember, or will not go on with it.
pub(crate) fn is_gone(error: &Error) -> bool {
    match error {
        Error::Api(problem) if word(problem) == "accountDoesNotExist" => false,
        Error::Api(problem) => {
            matches!(problem.status, Some(403 | 404 | 410)) || word(problem) == "malformed"
        }
        // In a state that RFC 8555 does not know: Pebble calls one `deactivated` whose authorizations are.
        Error::Json(error) => error.is_data(),
        _ => false,
    }
}

/// What was to be revoked is revoked.
pub(crate) fn is_already_revoked(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if word(problem) == "alreadyRevoked")
}

/// The CA has no such certificate: it has forgotten all, or another CA issued it.
pub(crate) fn is_unknown_certificate(error: &Error) -> bool {
    match error {
        Error::Api(problem) => problem.status == Some(404) || word(problem) == "malformed",
        _ => false,
    }
}

/// The CA understood who asks and what for, and says no: asking again is of no use.
pub(crate) fn is_refused(error: &Error) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let is_of_the_moment = matches!(
        word(problem),
        "accountDoesNotExist" | "badNonce" | "rateLimited"
    );
    let is_clients = problem
        .status
        .is_some_and(|status| (400..500).contains(&status) && status != 429);
    is_clients && !is_of_the_moment
}

fn kind(error: &Error, busy_for: Option<Duration>) -> FailureKind {
    let transient = FailureKind::Transient {
        retry_after: busy_for,
    };
    match error {
        Error::Api(problem) => match word(problem) {
            "rateLimited" => FailureKind::Transient {
                retry_after: Some(busy_for.unwrap_or(RATE_LIMITED_FOR)),
            },
            "rejectedIdentifier" | "unsupportedIdentifier" | "badCSR" | "badPublicKey" => {
                FailureKind::Rejected
            }
            "accountDoesNotExist"
            | "externalAccountRequired"
            | "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "badSignatureAlgorithm" => FailureKind::Misconfigured,
            // Among them dns, caa, connection, unauthorized, serverInternal: so today, mended tomorrow.
            _ => transient,
        },
        Error::Timeout(Some(at)) => FailureKind::Transient {
            retry_after: Some(at.saturating_duration_since(Instant::now())),
        },
        Error::Unsupported(_) | Error::InvalidUri(_) | Error::KeyRejected => {
            FailureKind::Misconfigured
        }
        _ => transient,
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the CA does not answer\n\
     hint: check that it runs, that its directory URL is right, that its HTTPS certificate is one we trust, \
     and that this machine may reach it"
)]
struct Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(word: &str) -> Error {
        Error::Api(Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{word}")),
            detail: None,
            status: Some(400),
            subproblems: Vec::new(),
        })
    }

    fn port(error: Error, busy_for: Option<Duration>) -> PortError {
        doing("placing an order")(error).into_port("https://ca.example/dir", busy_for)
    }

    #[test]
    fn each_problem_has_its_kind() {
        let kind = |word| port(problem(word), None).kind;
        assert_eq!(kind("rejectedIdentifier"), FailureKind::Rejected);
        assert_eq!(kind("userActionRequired"), FailureKind::Misconfigured);
        let transient = FailureKind::Transient { retry_after: None };
        for word in ["dns", "caa", "serverInternal", "badNonce", "unheardOf"] {
            assert_eq!(kind(word), transient, "{word}");
        }
    }

    #[test]
    fn a_rate_limit_waits_for_as_long_as_the_ca_says() {
        let asked = Some(Duration::from_secs(42));
        let limited = FailureKind::Transient { retry_after: asked };
        assert_eq!(port(problem("rateLimited"), asked).kind, limited);
        let unnamed = FailureKind::Transient {
            retry_after: Some(RATE_LIMITED_FOR),
        };
        assert_eq!(port(problem("rateLimited"), None).kind, unnamed);
    }
}
