//! How likely a name is meant to deceive, by the name alone: a look-alike of a bank or a shop, a
//! gambling den, a lure. A high score does not refuse the name; it has a person look first.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::claim::without_marks;
use crate::name::DomainName;

/// From this score on a person decides before the name goes out.
pub const HOLD_FROM: u8 = 60;

/// What a name was found to be, and how bad that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// 0 to 100.
    pub score: u8,
    /// In English, for operators; empty where nothing was found.
    pub reasons: Vec<String>,
}

impl Risk {
    /// Why a person has to look, or `None` where nobody has to.
    pub fn hold(&self) -> Option<String> {
        (self.score >= HOLD_FROM)
            .then(|| format!("risk {}: {}", self.score, self.reasons.join("; ")))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RiskWords {
    brands: Vec<String>,
    gambling: Vec<String>,
    lures: Vec<String>,
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

    let mut risk = Risk {
        score: 0,
        reasons: Vec::new(),
    };
    let mut found = |kind: &str, words: &[String], inside_from: usize, score: u8| {
        for word in words {
            let alone = parts.contains(&word.as_str()) || joined == *word;
            let within =
                word.len() >= inside_from && (joined.contains(word) || read.contains(word));
            if alone || within {
                risk.score = risk.score.saturating_add(score);
                risk.reasons.push(format!("{kind} `{word}`"));
            } else if word.len() >= 7 && near(&joined, word) {
                risk.score = risk.score.saturating_add(score);
                risk.reasons
                    .push(format!("one letter away from {kind} `{word}`"));
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
    risk.score = risk.score.min(100);
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
