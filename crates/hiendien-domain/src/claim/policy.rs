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
    #[serde(default)]
    pub(crate) age_reading: AgeReading,
    /// Live grants of one subject.
    pub(crate) per_subject_limit: u32,
    /// The legal text the row comes from.
    pub(crate) basis: String,
}

/// How "đến `age_max` tuổi" is read; the circular can be read both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgeReading {
    /// As long as someone is that old: until the day before the next birthday.
    #[default]
    WholeYear,
    /// Until the birthday itself.
    Birthday,
}

impl Policy {
    /// First and last day on which someone born on a day may be granted a name; `None` where age does not matter.
    pub(crate) fn days_of_age(&self, birth: Date) -> Option<(Date, Date)> {
        let first = birthday(birth, self.age_min?)?;
        let last = match self.age_reading {
            AgeReading::WholeYear => birthday(birth, self.age_max? + 1)?.yesterday().ok()?,
            AgeReading::Birthday => birthday(birth, self.age_max?)?,
        };
        Some((first, last))
    }
}

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/policies.json"))
        .expect("the policy table is well formed")
});

/// How households are numbered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HouseholdTaxIds {
    /// From this day on a household's tax id is its owner's personal id.
    personal_id_from: Date,
    #[expect(
        dead_code,
        reason = "the legal text, for whoever reads or changes the data"
    )]
    basis: String,
}

static HOUSEHOLD_TAX_IDS: LazyLock<HouseholdTaxIds> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/household_tax_ids.json"))
        .expect("the day of the new tax ids is well formed")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservedWords {
    /// Without marks and hyphens.
    labels: BTreeSet<String>,
    /// What a label may not begin with, in whole words; also written as one word.
    first_words: Vec<String>,
    /// What the first word of a label may not begin with, such as `ubnd` for `ubndxa-mau`.
    beginnings: Vec<String>,
    local_parts: Vec<String>,
}

static RESERVED: LazyLock<ReservedWords> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/reserved.json"))
        .expect("the reserved words are well formed")
});

/// Names of provinces without marks, spaces and hyphens.
static PROVINCES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let plain = |name: &str| -> String {
        let letters = names::without_marks(name).to_lowercase();
        letters
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect()
    };
    provinces::names().map(plain).collect()
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

/// The first day on which a household that registers gets its owner's personal id for a tax id.
pub(crate) fn household_personal_id_from() -> Date {
    HOUSEHOLD_TAX_IDS.personal_id_from
}

/// Why a label is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// A word of the platform, of the State, of a bank.
    Word,
    Province,
}

/// Whether a label, given without marks, is reserved, with or without hyphens.
pub(crate) fn reserved(plain: &str) -> Option<Reserved> {
    let joined = plain.replace('-', "");
    let begins_with = |words: &str| {
        plain
            .strip_prefix(words)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let has_first_words =
        |words: &String| begins_with(words) || begins_with(&words.replace('-', ""));
    // Not across a hyphen: `co-ngan-quan` is a shop, `conganquan` reads as the police.
    let has_beginning = |beginning: &String| plain.starts_with(beginning.as_str());
    if RESERVED.labels.contains(&joined)
        || RESERVED.first_words.iter().any(has_first_words)
        || RESERVED.beginnings.iter().any(has_beginning)
    {
        Some(Reserved::Word)
    } else {
        PROVINCES.contains(&joined).then_some(Reserved::Province)
    }
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

/// The day on which someone completes so many years; who was born on 29 February does so on 1 March of other years.
fn birthday(birth: Date, years: i16) -> Option<Date> {
    let year = birth.year().checked_add(years)?;
    Date::new(year, birth.month(), birth.day())
        .or_else(|_| Date::new(year, 3, 1))
        .ok()
}
