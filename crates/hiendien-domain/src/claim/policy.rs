//! Who is eligible when: dated rows, not code.

use std::sync::LazyLock;

use jiff::civil::Date;
use serde::Deserialize;

use crate::lifecycle::Programme;

/// A row of the policy table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) programme: Programme,
    pub(crate) granted_from: Date,
    pub(crate) granted_to: Date,
    #[serde(rename = "free_months")]
    pub(crate) _free_months: u32,
    pub(crate) company_age_months_max: Option<u32>,
    pub(crate) age_min: Option<i16>,
    pub(crate) age_max: Option<i16>,
}

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/policies.json"))
        .expect("the policy table is well formed")
});

#[derive(Debug, Deserialize)]
pub(crate) struct Reserved {
    pub(crate) labels: Vec<String>,
    pub(crate) local_parts: Vec<String>,
}

/// Labels and local parts that are not given out.
pub(crate) static RESERVED: LazyLock<Reserved> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/reserved.json"))
        .expect("the reserved words are well formed")
});

/// The policy for a name granted on a day.
pub(crate) fn policy(programme: Programme, granted_on: Date) -> Option<&'static Policy> {
    POLICIES.iter().find(|row| {
        row.programme == programme && (row.granted_from..=row.granted_to).contains(&granted_on)
    })
}

/// All rows of a programme, for messages.
pub(crate) fn windows(programme: Programme) -> String {
    let row = |row: &Policy| format!("{}: {} – {}", row.id, row.granted_from, row.granted_to);
    POLICIES
        .iter()
        .filter(|row_| row_.programme == programme)
        .map(row)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Completed years between two days.
pub(crate) fn age(birth: Date, on: Date) -> i16 {
    let before_birthday = (on.month(), on.day()) < (birth.month(), birth.day());
    on.year() - birth.year() - i16::from(before_birthday)
}
