//! Tax ids, citizen ids and telephone numbers.

use super::provinces;

/// What is wrong with a tax id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaxIdFault {
    Length,
    Serial,
    Branch,
    CheckDigit,
}

/// Weights of the first nine digits of a tax id.
const TAX_ID_WEIGHTS: [u32; 9] = [31, 29, 23, 19, 17, 13, 7, 5, 3];

/// Removes the separators people write.
pub(crate) fn digits(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_whitespace() && !matches!(character, '-' | '.'))
        .collect()
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks 10 digits, or 10 with a 3-digit branch; tells all that is wrong.
pub(crate) fn check_tax_id(digits: &str) -> Vec<TaxIdFault> {
    if !matches!(digits.len(), 10 | 13) || !all_digits(digits) {
        return vec![TaxIdFault::Length];
    }
    let value = |byte: u8| u32::from(byte - b'0');
    let bytes = digits.as_bytes();
    let sum: u32 = bytes
        .iter()
        .zip(TAX_ID_WEIGHTS)
        .map(|(&byte, weight)| value(byte) * weight)
        .sum();
    // A remainder of 0 gives 10, which no digit can be.
    let has_check_digit = 10 - sum % 11 == value(bytes[9]);
    let faults = [
        (TaxIdFault::Serial, &digits[2..9] == "0000000"),
        (TaxIdFault::Branch, digits.get(10..) == Some("000")),
        (TaxIdFault::CheckDigit, !has_check_digit),
    ];
    faults
        .into_iter()
        .filter_map(|(fault, is_so)| is_so.then_some(fault))
        .collect()
}

/// What the 12 digits of a citizen id tell; there is no check digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CitizenId {
    /// Where the birth was registered: a province of the 63, from 100 on a country abroad.
    place: u16,
    pub(crate) birth_year: i16,
}

impl CitizenId {
    /// Reads 12 digits.
    pub(crate) fn of(digits: &str) -> Option<Self> {
        if digits.len() != 12 || !all_digits(digits) {
            return None;
        }
        let century: i16 = digits[3..4].parse().ok()?;
        let year: i16 = digits[4..6].parse().ok()?;
        Some(Self {
            place: digits[..3].parse().ok()?,
            // Even for a man and odd for a woman of the same hundred years.
            birth_year: 1900 + 100 * (century / 2) + year,
        })
    }

    pub(crate) fn is_from_abroad(self) -> bool {
        self.place >= 100
    }

    pub(crate) fn has_a_place(self) -> bool {
        self.is_from_abroad() || provinces::is_gso63(&format!("{:02}", self.place))
    }
}

/// Normalises a Vietnamese telephone number to `+84…`.
pub(crate) fn phone(text: &str) -> Option<String> {
    let bare: String = text
        .chars()
        .filter(|character| {
            !character.is_whitespace() && !matches!(character, '.' | '-' | '(' | ')')
        })
        .collect();
    let international = bare
        .strip_prefix("+84")
        .or_else(|| bare.strip_prefix("0084"))
        .or_else(|| bare.strip_prefix("84").filter(|rest| rest.len() >= 9))
        // As in `+84 (0)24…`.
        .map(|national| national.strip_prefix('0').unwrap_or(national));
    let national = international.or_else(|| bare.strip_prefix('0'))?;
    let mobile =
        national.len() == 9 && matches!(national.as_bytes()[0], b'3' | b'5' | b'7' | b'8' | b'9');
    let landline = national.len() == 10 && national.as_bytes()[0] == b'2';
    (all_digits(national) && (mobile || landline)).then(|| format!("+84{national}"))
}

/// `+84710000001` as people write it: `0710 000 001`.
pub(crate) fn phone_display(e164: &str) -> String {
    let national = e164.strip_prefix("+84").unwrap_or(e164);
    match national.len() {
        9 => format!("0{} {} {}", &national[..3], &national[3..6], &national[6..]),
        10 => format!("0{} {} {}", &national[..2], &national[2..6], &national[6..]),
        _ => e164.to_owned(),
    }
}

/// A tax id or registration number fit for print. Twelve digits in a row may be a person's id, so they
/// show their last three only, also with something before or behind them.
pub(crate) fn public_number(number: &str) -> String {
    let bare = digits(number);
    if bare.len() == 13 && check_tax_id(&bare).is_empty() {
        return format!("{}-{}", &bare[..10], &bare[10..]);
    }
    let masked = mask_long_runs(&bare);
    if masked == bare {
        number.to_owned()
    } else {
        masked
    }
}

/// Stars for all but the last three digits of each run of 12 or more.
fn mask_long_runs(text: &str) -> String {
    let mut masked = String::new();
    let mut run = String::new();
    for character in text.chars().map(Some).chain([None]) {
        if let Some(digit) = character.filter(char::is_ascii_digit) {
            run.push(digit);
            continue;
        }
        let hidden = if run.len() >= 12 { run.len() - 3 } else { 0 };
        masked.push_str(&"*".repeat(hidden));
        masked.push_str(&run[hidden..]);
        run.clear();
        masked.extend(character);
    }
    masked
}
