//! Tax ids, citizen ids and telephone numbers.

use jiff::civil::Date;

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

/// Checks 10 digits, or 10 with a 3-digit branch.
pub(crate) fn check_tax_id(digits: &str) -> Result<(), TaxIdFault> {
    if !matches!(digits.len(), 10 | 13) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TaxIdFault::Length);
    }
    if &digits[2..9] == "0000000" {
        return Err(TaxIdFault::Serial);
    }
    if digits.get(10..) == Some("000") {
        return Err(TaxIdFault::Branch);
    }
    let value = |byte: u8| u32::from(byte - b'0');
    let bytes = digits.as_bytes();
    let sum: u32 = bytes
        .iter()
        .zip(TAX_ID_WEIGHTS)
        .map(|(&byte, weight)| value(byte) * weight)
        .sum();
    // A remainder of 0 gives 10, which no digit can be.
    if 10 - sum % 11 == value(bytes[9]) {
        Ok(())
    } else {
        Err(TaxIdFault::CheckDigit)
    }
}

/// What is wrong with a 12-digit citizen id, as far as it can be told: it has no check digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CitizenIdFault {
    Length,
    Province,
    BirthYear,
}

/// Checks the shape, the province of birth registration, and the birth year where one is given.
pub(crate) fn check_citizen_id(
    digits: &str,
    birth_date: Option<Date>,
) -> Result<(), CitizenIdFault> {
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CitizenIdFault::Length);
    }
    let number = |range: std::ops::Range<usize>| digits[range].parse::<i16>().unwrap_or_default();
    let province = number(0..3);
    // From 100 on: countries of birth abroad.
    if province == 0 || (province < 100 && !super::provinces::is_gso63(&digits[1..3])) {
        return Err(CitizenIdFault::Province);
    }
    let year = 1900 + 100 * (number(3..4) / 2) + number(4..6);
    match birth_date {
        Some(date) if date.year() != year => Err(CitizenIdFault::BirthYear),
        _ => Ok(()),
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
    let national = bare
        .strip_prefix("+84")
        .or_else(|| bare.strip_prefix("0084"))
        .or_else(|| bare.strip_prefix('0'))
        .or_else(|| bare.strip_prefix("84").filter(|rest| rest.len() >= 9))?;
    let national = national.strip_prefix('0').unwrap_or(national);
    let all_digits = national.bytes().all(|byte| byte.is_ascii_digit());
    let mobile =
        national.len() == 9 && matches!(national.as_bytes()[0], b'3' | b'5' | b'7' | b'8' | b'9');
    let landline = national.len() == 10 && national.as_bytes()[0] == b'2';
    (all_digits && (mobile || landline)).then(|| format!("+84{national}"))
}

/// `+84912345678` as people write it: `0912 345 678`.
pub(crate) fn phone_display(e164: &str) -> String {
    let national = e164.strip_prefix("+84").unwrap_or(e164);
    match national.len() {
        9 => format!("0{} {} {}", &national[..3], &national[3..6], &national[6..]),
        10 => format!("0{} {} {}", &national[..2], &national[2..6], &national[6..]),
        _ => e164.to_owned(),
    }
}

/// A tax id or registration number fit for print: 12 digits are a person's id and show their last
/// three only.
pub(crate) fn public_number(number: &str) -> String {
    let digits = digits(number);
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.len() {
        12 if only_digits => format!("*********{}", &digits[9..]),
        13 if only_digits => format!("{}-{}", &digits[..10], &digits[10..]),
        _ => number.to_owned(),
    }
}
