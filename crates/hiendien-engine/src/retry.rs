//! When to try again: exponential backoff with full jitter.

use std::time::Duration;

use jiff::Timestamp;

use crate::ports::FailureKind;

/// How long a step that waits for a person's decision is left alone; the decision itself makes it due at once.
const HELD_WAIT: Duration = Duration::from_hours(1);

/// How long to wait between attempts. Attempts are unbounded in count and bounded in rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Upper bound of the first wait.
    pub first_max: Duration,
    /// Upper bound of every wait.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_max: Duration::from_millis(250),
            wait_max: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// When a step that failed for the `attempt`th time is due again; `None` when trying again
    /// cannot help. `jitter` lies in `0.0..1.0`. What the remote asked for is a lower bound.
    pub fn next_attempt_at(
        &self,
        failure: FailureKind,
        attempt: u32,
        now: Timestamp,
        jitter: f64,
    ) -> Option<Timestamp> {
        let asked = match failure {
            FailureKind::Rejected => return None,
            FailureKind::Transient { retry_after } => retry_after.unwrap_or_default(),
            FailureKind::Misconfigured => Duration::ZERO,
            FailureKind::Held => HELD_WAIT,
        };
        self.wait_until(attempt, now.checked_add(asked).ok()?, jitter)
    }

    /// The end of the `attempt`th wait from `from` on. `jitter` lies in `0.0..1.0`.
    pub fn wait_until(&self, attempt: u32, from: Timestamp, jitter: f64) -> Option<Timestamp> {
        let ceiling = self
            .first_max
            .saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)))
            .min(self.wait_max);
        // A floor of an eighth keeps a run of small draws from hammering a remote that is down.
        let wait = ceiling.div_f64(8.0) + ceiling.mul_f64(jitter * 7.0 / 8.0);
        from.checked_add(wait).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        first_max: Duration::from_secs(1),
        wait_max: Duration::from_secs(8),
    };
    const TRANSIENT: FailureKind = FailureKind::Transient { retry_after: None };

    fn wait(failure: FailureKind, attempt: u32, jitter: f64) -> Option<Duration> {
        let now = Timestamp::UNIX_EPOCH;
        let due = POLICY.next_attempt_at(failure, attempt, now, jitter)?;
        Some(due.duration_since(now).unsigned_abs())
    }

    #[test]
    fn doubles_up_to_the_bound() {
        let waits: Vec<_> = (1..=6)
            .map(|attempt| wait(TRANSIENT, attempt, 1.0))
            .collect();
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(
            waits,
            [
                seconds(1),
                seconds(2),
                seconds(4),
                seconds(8),
                seconds(8),
                seconds(8)
            ]
        );
        assert_eq!(wait(TRANSIENT, u32::MAX, 1.0), seconds(8));
    }

    #[test]
    fn never_waits_less_than_the_remote_asked() {
        let asked = FailureKind::Transient {
            retry_after: Some(Duration::from_secs(30)),
        };
        assert!(wait(asked, 1, 0.0).unwrap() >= Duration::from_secs(30));
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        assert_eq!(wait(FailureKind::Rejected, 1, 0.5), None);
        assert!(wait(FailureKind::Misconfigured, 1, 0.5).is_some());
    }
}
