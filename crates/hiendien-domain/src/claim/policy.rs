//! Who is eligible when, and which words are not given out: data files, not code.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::civil::Date;
use serde::Deserialize;

use super::{names, provinces};
use crate::lifecycle::Programme;

/// A row of the policy table. Rows of one programme do not overlap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) programme: Programme,
    /// First and last day of a grant under this row.
    pub(crate) valid_from: Date,
    pub(crate) valid_to: Date,
    /// Months from the grant until the first fee.
    pub(crate) free_months: u32,
    /// How long before the grant an enterprise may have registered.
    pub(crate) company_age_months_max: Option<u32>,
    /// Completed years on the day of the grant.
    pub(crate) age_min: Option<i16>,
    pub(crate) age_max: Option<i16>,
    /// Live grants of one subject.
    pub(crate) per_subject_limit: u32,
    /// The legal text the row comes from.
    pub(crate) basis: String,
}

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/policies.json"))
        .expect("the policy table is well formed")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservedWords {
    /// Without marks and hyphens.
    labels: BTreeSet<String>,
    /// What a label may not begin with, in whole words.
    first_words: Vec<String>,
    local_parts: Vec<String>,
}

static RESERVED: LazyLock<ReservedWords> = LazyLock::new(|| {
    let mut words: ReservedWords = serde_json::from_str(include_str!("../../data/reserved.json"))
        .expect("the reserved words are well formed");
    let plain = |name: &str| -> String {
        let letters = names::without_marks(name).to_lowercase();
        letters
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect()
    };
    words.labels.extend(provinces::names().map(plain));
    words
});

pub(crate) fn policies() -> &'static [Policy] {
    &POLICIES
}

/// The policy for a name granted on a day.
pub(crate) fn policy(programme: Programme, granted_on: Date) -> Option<&'static Policy> {
    POLICIES.iter().find(|row| {
        row.programme == programme && (row.valid_from..=row.valid_to).contains(&granted_on)
    })
}

/// Whether a label, given without marks, is reserved: words of the platform, of the State, of
/// provinces and banks, with or without hyphens.
pub(crate) fn is_reserved_label(plain: &str) -> bool {
    let begins = |words: &String| {
        plain
            .strip_prefix(words.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    RESERVED.labels.contains(&plain.replace('-', "")) || RESERVED.first_words.iter().any(begins)
}

/// Local parts that are aliases of the platform's desk in every presence, never mailboxes.
pub fn reserved_local_parts() -> &'static [String] {
    &RESERVED.local_parts
}

/// Completed years between two days.
pub(crate) fn age(birth: Date, on: Date) -> i16 {
    let before_birthday = (on.month(), on.day()) < (birth.month(), birth.day());
    on.year() - birth.year() - i16::from(before_birthday)
}
