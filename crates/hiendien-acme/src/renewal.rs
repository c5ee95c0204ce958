//! When a certificate is to be renewed: what the CA suggests (RFC 9773), else a share of its lifetime.
//!
//! Lifetimes differ between CAs and shrink over the years, so that nothing here names one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hiendien_domain::ids::PresenceId;
use hiendien_engine::ports::{Certificate, ErrorChain};
use instant_acme::{CertificateIdentifier, Error, RenewalInfo};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::AcmeCertificates;
use crate::failure::Failure;

/// Bounds of what a CA may say about when to ask again (RFC 9773, 4.3.2).
const ASK_AGAIN_FIRST: Duration = Duration::from_mins(1);
const ASK_AGAIN_LAST: Duration = Duration::from_hours(24);
/// After an answer that is of no use (RFC 9773, 4.3.3).
const ASK_AGAIN_USELESS: Duration = Duration::from_hours(6);

/// The time in which a certificate is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// From two thirds of the lifetime on, over a thirtieth of it: many certificates issued at once
    /// are not renewed at once.
    fn of_lifetime(certificate: &Certificate) -> Self {
        let begin = certificate.not_before.as_second();
        let life = certificate.not_after.as_second() - begin;
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or(certificate.not_after);
        Self {
            start: at(begin + life * 2 / 3),
            end: at(begin + life * 7 / 10),
        }
    }

    /// The CA's, `None` where it is no window or would let the certificate run out.
    fn suggested(info: &RenewalInfo, certificate: &Certificate) -> Option<Self> {
        let window = &info.suggested_window;
        let start = Timestamp::from_second(window.start.unix_timestamp()).ok()?;
        let end = Timestamp::from_second(window.end.unix_timestamp()).ok()?;
        let end = end.min(certificate.not_after);
        (start < end).then_some(Self { start, end })
    }

    /// The moment in the window that is this presence's, the same at each call.
    pub(crate) fn moment(self, presence: PresenceId) -> Timestamp {
        // Random in every version of UUID that we make.
        let [.., a, b, c, d] = *presence.as_uuid().as_bytes();
        let share = i128::from(u32::from_be_bytes([a, b, c, d]));
        let (start, end) = (self.start.as_second(), self.end.as_second());
        let after = ((i128::from(end) - i128::from(start)) * share) >> 32;
        i64::try_from(i128::from(start) + after)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(self.start)
    }
}

/// What was last heard of a presence's certificate.
#[derive(Debug, Clone)]
struct Heard {
    /// Of another certificate it says nothing.
    serial: String,
    /// `None` where the CA suggests nothing.
    window: Option<Window>,
    /// Asked again from then on.
    until: Timestamp,
}

/// What was heard, kept as long as the CA said. A restart asks anew.
#[derive(Debug, Default)]
pub(crate) struct Suggestions(Mutex<HashMap<PresenceId, Heard>>);

impl Suggestions {
    fn of(&self, presence: PresenceId, serial: &str) -> Option<Heard> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_presence = heard.get(&presence);
        of_presence.filter(|heard| heard.serial == serial).cloned()
    }

    fn note(&self, presence: PresenceId, heard: Heard) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(presence, heard);
    }

    pub(crate) fn forget(&self, presence: PresenceId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&presence);
    }
}

/// When a certificate is due.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    pub(crate) at: Timestamp,
    /// How the CA names the certificate, where it takes part in planning its renewal.
    pub(crate) replaces: Option<CertificateIdentifier<'static>>,
}

impl AcmeCertificates {
    /// Never fails: a CA that cannot be asked must not keep a certificate from being renewed in time.
    pub(crate) async fn renewal(&self, presence: PresenceId, certificate: &Certificate) -> Renewal {
        let identifier = identifier(certificate);
        let window = match &identifier {
            Some(identifier) => self.suggestion(presence, certificate, identifier).await,
            None => None,
        };
        Renewal {
            at: window
                .unwrap_or_else(|| Window::of_lifetime(certificate))
                .moment(presence),
            replaces: identifier.filter(|_| window.is_some()),
        }
    }

    /// The CA's window, asked anew only once it says so.
    async fn suggestion(
        &self,
        presence: PresenceId,
        certificate: &Certificate,
        identifier: &CertificateIdentifier<'_>,
    ) -> Option<Window> {
        let now = self.clock.now();
        let heard = self.suggestions.of(presence, &certificate.serial);
        if let Some(heard) = &heard
            && now < heard.until
        {
            return heard.window;
        }
        let (window, pause) = match self.ask(identifier).await {
            Ok((info, pause)) => {
                let window = Window::suggested(&info, certificate);
                let pause = match window {
                    Some(_) => pause.clamp(ASK_AGAIN_FIRST, ASK_AGAIN_LAST),
                    None => ASK_AGAIN_USELESS,
                };
                (window, pause)
            }
            Err(Failure::Ca {
                error: Error::Unsupported(_),
                ..
            }) => (None, ASK_AGAIN_LAST),
            Err(failure) => {
                let pause = match &failure {
                    Failure::Ca {
                        error: Error::Api(_) | Error::Str(_) | Error::Json(_),
                        ..
                    } => ASK_AGAIN_USELESS,
                    _ => ASK_AGAIN_FIRST,
                };
                let error = self.port_error(failure);
                tracing::debug!(
                    presence.id = %presence,
                    error = %ErrorChain(&error),
                    "The CA does not say when to renew, going by what is known"
                );
                (heard.and_then(|heard| heard.window), pause)
            }
        };
        let until = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let heard = Heard {
            serial: certificate.serial.clone(),
            window,
            until,
        };
        self.suggestions.note(presence, heard);
        window
    }

    async fn ask(
        &self,
        identifier: &CertificateIdentifier<'_>,
    ) -> Result<(RenewalInfo, Duration), Failure> {
        let account = self.account().await?;
        let info = account.renewal_info(identifier).await;
        info.map_err(crate::failure::doing("asking when to renew"))
    }
}

/// How a CA names the certificate (RFC 9773, 4.1); `None` for one without an authority key identifier.
fn identifier(certificate: &Certificate) -> Option<CertificateIdentifier<'static>> {
    let leaf = CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes()).ok()?;
    CertificateIdentifier::try_from(&leaf)
        .ok()
        .map(CertificateIdentifier::into_owned)
}

#[cfg(test)]
mod tests {
    use hiendien_domain::secret::Secret;

    use super::*;

    fn certificate(not_before: &str, not_after: &str) -> Certificate {
        Certificate {
            names: Vec::new(),
            chain_pem: String::new(),
            key_pem: Secret::new(String::new()),
            serial: "01".to_owned(),
            not_before: not_before.parse().unwrap(),
            not_after: not_after.parse().unwrap(),
        }
    }

    fn info(start: &str, end: &str) -> RenewalInfo {
        let window = serde_json::json!({ "suggestedWindow": { "start": start, "end": end } });
        serde_json::from_value(window).unwrap()
    }

    #[test]
    fn without_a_suggestion_two_thirds_of_any_lifetime_go_by_first() {
        for (not_after, from, to) in [
            // 90 days, and 6 days and 16 hours.
            (
                "2027-01-30T00:00:00Z",
                "2026-12-31T00:00:00Z",
                "2027-01-03T00:00:00Z",
            ),
            (
                "2026-11-07T16:00:00Z",
                "2026-11-05T10:40:00Z",
                "2026-11-05T16:00:00Z",
            ),
        ] {
            let window = Window::of_lifetime(&certificate("2026-11-01T00:00:00Z", not_after));
            let wanted = Window {
                start: from.parse().unwrap(),
                end: to.parse().unwrap(),
            };
            assert_eq!(window, wanted);
        }
    }

    #[test]
    fn presences_are_spread_over_the_window_and_stay_where_they_are() {
        let window =
            Window::of_lifetime(&certificate("2026-11-01T00:00:00Z", "2027-01-30T00:00:00Z"));
        let mut moments: Vec<Timestamp> = (0..200)
            .map(|_| {
                let presence = PresenceId::new();
                assert_eq!(window.moment(presence), window.moment(presence));
                window.moment(presence)
            })
            .collect();
        moments.sort();
        assert!(window.start <= moments[0] && moments[199] < window.end);
        let middle = window.start.as_second().midpoint(window.end.as_second());
        let early = moments.iter().filter(|moment| moment.as_second() < middle);
        let early = early.count();
        assert!((50..=150).contains(&early), "{early} of 200 in one half");
    }

    #[test]
    fn a_suggestion_that_is_none_is_not_taken() {
        let certificate = certificate("2026-11-01T00:00:00Z", "2027-01-30T00:00:00Z");
        let suggested = |start, end| Window::suggested(&info(start, end), &certificate);
        let good = suggested("2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z").unwrap();
        assert_eq!(good.start, "2026-11-20T00:00:00Z".parse().unwrap());
        // Its end before its start, and a window that opens when the certificate has run out.
        assert_eq!(
            suggested("2026-11-22T00:00:00Z", "2026-11-20T00:00:00Z"),
            None
        );
        assert_eq!(
            suggested("2027-02-01T00:00:00Z", "2027-02-03T00:00:00Z"),
            None
        );
        let late = suggested("2027-01-29T00:00:00Z", "2027-02-03T00:00:00Z").unwrap();
        assert_eq!(late.end, certificate.not_after);
    }
}
