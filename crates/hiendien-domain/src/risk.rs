//! How likely a name or a site is meant to deceive: a look-alike of a bank or a shop, a gambling den, a
//! lure. A high score refuses nothing; it has a person look first.

mod content;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::claim::without_marks;
use crate::name::DomainName;

pub use content::of_content;

/// From this score on a person decides before the name goes out.
pub const HOLD_FROM: u8 = 60;
const SCORE_MAX: u8 = 100;
/// More reasons than a person needs to begin looking.
const REASONS_MAX: usize = 12;

/// What a name or a site was found to be, and how bad that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Risk {
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// Where it stands: a member of the claim or of the content.
    field: String,
    /// In English, for operators.
    what: String,
    score: u8,
}

impl Risk {
    /// 0 to 100.
    pub fn score(&self) -> u8 {
        let add = |score: u8, finding: &Finding| score.saturating_add(finding.score);
        self.findings.iter().fold(0, add).min(SCORE_MAX)
    }

    /// Why a person has to look, in English, or `None` where nobody has to.
    pub fn hold(&self) -> Option<String> {
        if self.score() < HOLD_FROM {
            return None;
        }
        let reasons: Vec<String> = self
            .findings
            .iter()
            .take(REASONS_MAX)
            .map(|finding| format!("`{}`: {}", finding.field, finding.what))
            .collect();
        Some(format!("risk {}: {}", self.score(), reasons.join("; ")))
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self
    }

    /// What is not in `known`, wherever it stands there: what a person has let through once.
    #[must_use]
    pub fn beyond(mut self, known: &Self) -> Self {
        let is_known = |finding: &Finding| {
            known
                .findings
                .iter()
                .any(|known| known.what == finding.what)
        };
        self.findings.retain(|finding| !is_known(finding));
        self
    }

    /// Adds a finding; the same word all over a site is one.
    fn add(&mut self, field: &str, score: u8, what: String) {
        if self.findings.iter().all(|finding| finding.what != what) {
            self.findings.push(Finding {
                field: field.to_owned(),
                what,
                score,
            });
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RiskWords {
    brands: Vec<String>,
    gambling: Vec<String>,
    lures: Vec<String>,
    /// With their marks; one that ends in `!` means something harmless without them.
    gambling_phrases: Vec<String>,
    gambling_brands: Vec<String>,
    /// With their scores.
    phishing_phrases: BTreeMap<String, u8>,
    /// Hosts that hide where a link leads.
    shorteners: Vec<String>,
    /// Where a brand's own links lead.
    official_hosts: BTreeMap<String, Vec<String>>,
}

static WORDS: LazyLock<RiskWords> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/risk_words.json"))
        .expect("the risk words are well formed")
});

/// A word shorter than this counts only where it stands between hyphens or alone: `acb` is a bank,
/// `acbuilding` is not.
const INSIDE_FROM: usize = 5;
/// Gambling words stand with numbers behind them, as in `nohu88`.
const GAMBLING_INSIDE_FROM: usize = 4;

/// Scores the label that was granted.
pub fn of_name(name: &DomainName) -> Risk {
    let unicode = name.to_unicode();
    let label = unicode.split('.').next().unwrap_or_default();
    let plain = without_marks(label).to_lowercase();
    let joined: String = plain.chars().filter(char::is_ascii_alphanumeric).collect();
    // Digits that are read as letters, as in `techc0mbank`.
    let read: String = joined.chars().map(letter_for).collect();
    let parts: Vec<&str> = plain.split('-').collect();

    let mut risk = Risk::default();
    let mut found = |kind: &str, words: &[String], inside_from: usize, score: u8| {
        for word in words {
            let alone = parts.contains(&word.as_str()) || joined == *word;
            let within =
                word.len() >= inside_from && (joined.contains(word) || read.contains(word));
            if alone || within {
                risk.add("domain", score, format!("{kind} `{word}`"));
            } else if word.len() >= 7 && near(&joined, word) {
                risk.add(
                    "domain",
                    score,
                    format!("one letter away from {kind} `{word}`"),
                );
            }
        }
    };
    found("the brand", &WORDS.brands, INSIDE_FROM, 60);
    found(
        "the gambling word",
        &WORDS.gambling,
        GAMBLING_INSIDE_FROM,
        60,
    );
    found("the lure", &WORDS.lures, INSIDE_FROM, 35);
    risk
}

fn letter_for(digit: char) -> char {
    match digit {
        '0' => 'o',
        '1' => 'l',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        other => other,
    }
}

/// Whether one letter changed, added or left out leads from one word to the other.
fn near(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let same_start = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let (left, right) = (&left[same_start..], &right[same_start..]);
    let same_end = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (left, right) = (left.len() - same_end, right.len() - same_end);
    left.max(right) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(name: &str) -> bool {
        of_name(&name.parse().unwrap()).hold().is_some()
    }

    #[test]
    fn deceptive_names_are_held_and_shops_are_not() {
        for name in [
            "vietcombank-hanoi.biz.vn",
            "techc0mbank.biz.vn",
            "vietconbank.biz.vn",
            "xac-thuc-otp.biz.vn",
            "nohu88.biz.vn",
            "momo.biz.vn",
        ] {
            assert!(
                held(name),
                "{name} should be looked at: {:?}",
                of_name(&name.parse().unwrap())
            );
        }
        for name in [
            "phobo24.biz.vn",
            "acbuilding.biz.vn",
            "quan-tam.biz.vn",
            "nguyenvanmau.id.vn",
            "dangkyhoc.id.vn",
        ] {
            assert!(!held(name), "{name}: {:?}", of_name(&name.parse().unwrap()));
        }
    }
}
