//! The days in the life of a granted name (Circular 20/2023/TT-BTTTT; `design/programme.md`, 3): the
//! service stops on the day its term ends, may be renewed for a while, then waits to be withdrawn,
//! and is withdrawn at a moment of its own. Data is kept a while longer, then erased.
//!
//! Names that were granted on one day do not all move in one second: every moment is spread by what
//! names the presence, the same at each look.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::PresenceId;

/// Days and spreads, as an operator may set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TermRules {
    /// Days after the end of the term in which it can be renewed.
    pub renewable_days: u16,
    /// Days after those in which the name is withdrawn, each at a moment of its own.
    pub withdrawal_days: u16,
    /// Days before the end of the term on which the owner is reminded, the first first.
    pub reminder_days: Vec<u16>,
    /// Days before papers are due on which the owner is told that they are missing.
    pub dossier_reminder_days: u16,
    /// Days for which site, mail and claim are kept after the service has ended for good.
    pub kept_days: u16,
    /// Days after going live without a sign of the owner after which the presence counts as dormant.
    pub dormant_days: u16,
    /// Hours over which what is due on one day is spread.
    pub spread_hours: u16,
    /// Minutes between two looks at the servers of a presence that serves.
    pub observe_minutes: u32,
}

impl Default for TermRules {
    fn default() -> Self {
        Self {
            renewable_days: 25,
            withdrawal_days: 15,
            reminder_days: vec![60, 30, 14, 7, 1],
            dossier_reminder_days: 3,
            kept_days: 30,
            dormant_days: 60,
            spread_hours: 6,
            observe_minutes: 360,
        }
    }
}

const DAY: Duration = Duration::from_hours(24);

fn after(moment: Timestamp, wait: Duration) -> Timestamp {
    moment.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

impl TermRules {
    fn spread(&self) -> Duration {
        Duration::from_hours(u64::from(self.spread_hours))
    }

    /// When the service of a presence stops, on the day its term ends.
    pub fn expires_at(&self, presence: PresenceId, term_ends_at: Timestamp) -> Timestamp {
        after(term_ends_at, share(presence, "expire", self.spread()))
    }

    /// Until when an expired term can be renewed.
    pub fn renewable_until(&self, term_ends_at: Timestamp) -> Timestamp {
        after(term_ends_at, DAY * u32::from(self.renewable_days))
    }

    /// When the name is withdrawn: somewhere in the days of withdrawal.
    pub fn withdrawn_at(&self, presence: PresenceId, term_ends_at: Timestamp) -> Timestamp {
        let days = DAY * u32::from(self.withdrawal_days);
        after(
            self.renewable_until(term_ends_at),
            share(presence, "withdraw", days),
        )
    }

    /// Until when data is kept at least.
    pub fn kept_until(&self, ended_at: Timestamp) -> Timestamp {
        after(ended_at, DAY * u32::from(self.kept_days))
    }

    /// When data is erased.
    pub fn purged_at(&self, presence: PresenceId, ended_at: Timestamp) -> Timestamp {
        let spread = share(presence, "purge", self.spread());
        after(self.kept_until(ended_at), spread)
    }

    /// When an owner is reminded of what comes at `due_at`, `days` before.
    pub fn reminded_at(&self, presence: PresenceId, due_at: Timestamp, days: u16) -> Timestamp {
        let day = due_at
            .saturating_sub(DAY * u32::from(days))
            .unwrap_or(Timestamp::MIN);
        after(day, share(presence, "remind", self.spread()))
    }

    /// When a presence counts as dormant if its owner has given no sign until then.
    pub fn dormant_at(&self, presence: PresenceId, live_at: Timestamp) -> Timestamp {
        let spread = share(presence, "dormant", self.spread());
        after(live_at, DAY * u32::from(self.dormant_days) + spread)
    }

    /// The look at the servers after one at `seen`: the wait is spread by a fifth, so that what came
    /// together does not stay together.
    pub fn observed_after(&self, presence: PresenceId, seen: Timestamp) -> Timestamp {
        let wait = Duration::from_mins(u64::from(self.observe_minutes.max(1)));
        let spread = share(presence, &seen.as_second().to_string(), wait / 5);
        after(seen, wait * 9 / 10 + spread)
    }
}

/// A share of `whole` that is the presence's own for a purpose, the same each time.
fn share(presence: PresenceId, purpose: &str, whole: Duration) -> Duration {
    let drawn = Sha256::new()
        .chain_update(presence.as_uuid().as_bytes())
        .chain_update(purpose)
        .finalize();
    let drawn = u32::from_be_bytes([drawn[0], drawn[1], drawn[2], drawn[3]]);
    whole.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_granted_together_do_not_end_together() {
        let rules = TermRules::default();
        let end = Timestamp::from_second(1_830_000_000).unwrap();
        let mut per_hour = [0; 6];
        for _ in 0..6000 {
            let at = rules.expires_at(PresenceId::new(), end);
            let hour = at.duration_since(end).as_hours();
            per_hour[usize::try_from(hour).unwrap()] += 1;
        }
        assert!(
            per_hour.iter().all(|count| (800..1200).contains(count)),
            "{per_hour:?}"
        );
        let presence = PresenceId::new();
        assert_eq!(
            rules.expires_at(presence, end),
            rules.expires_at(presence, end)
        );
    }

    #[test]
    fn withdrawal_lies_between_day_26_and_day_40() {
        let rules = TermRules::default();
        let end = Timestamp::from_second(1_830_000_000).unwrap();
        for _ in 0..1000 {
            let day = rules
                .withdrawn_at(PresenceId::new(), end)
                .duration_since(end)
                .as_hours()
                / 24;
            assert!((25..40).contains(&day), "{day}");
        }
    }
}
