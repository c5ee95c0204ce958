//! What templates may call.

use minijinja::{Environment, Value};

use crate::markdown;

pub(crate) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("vnd", vnd);
    environment.add_filter("days", days);
    environment.add_filter("date_vi", date_vi);
    environment.add_filter("initials", initials);
    environment.add_filter("paragraphs", paragraphs);
    // The HTML as text, for a feed that carries it escaped.
    environment.add_filter("markdown_source", |text: &str| markdown::to_html(text));
    environment.add_filter("markdown", |text: &str| {
        Value::from_safe_string(markdown::to_html(text))
    });
}

/// `1234567` as `1.234.567 ₫`.
fn vnd(amount: u64) -> String {
    let digits = amount.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 4);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('.');
        }
        text.push(digit);
    }
    text + "\u{a0}₫"
}

const DAYS: [&str; 7] = [
    "Thứ Hai",
    "Thứ Ba",
    "Thứ Tư",
    "Thứ Năm",
    "Thứ Sáu",
    "Thứ Bảy",
    "Chủ nhật",
];

/// ISO weekdays as people say them: `[1, 2, 3, 6]` as `Thứ Hai – Thứ Tư, Thứ Bảy`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn days(days: Vec<u8>) -> String {
    if days.len() == DAYS.len() {
        return "Hằng ngày".to_owned();
    }
    let name = |day: u8| {
        DAYS.get(usize::from(day).wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    };
    let mut spans: Vec<(u8, u8)> = Vec::new();
    for &day in &days {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == day => *last = day,
            _ => spans.push((day, day)),
        }
    }
    let span = |&(first, last): &(u8, u8)| match last - first {
        0 => name(first).to_owned(),
        1 => format!("{}, {}", name(first), name(last)),
        _ => format!("{} – {}", name(first), name(last)),
    };
    spans.iter().map(span).collect::<Vec<_>>().join(", ")
}

/// `2025-06-01` as `01/06/2025`.
fn date_vi(date: &str) -> String {
    let parts: Vec<&str> = date.split('-').collect();
    match parts.as_slice() {
        [year, month, day] => format!("{day}/{month}/{year}"),
        _ => date.to_owned(),
    }
}

/// One or two capital letters for an icon.
fn initials(name: &str) -> String {
    let letters: Vec<char> = name
        .split_whitespace()
        .filter_map(|word| word.chars().find(|letter| letter.is_alphanumeric()))
        .collect();
    let chosen: Vec<char> = match letters.as_slice() {
        [] => vec!['·'],
        [only] => vec![*only],
        [first, .., last] => vec![*first, *last],
    };
    chosen.into_iter().flat_map(char::to_uppercase).collect()
}

/// The paragraphs of a text, parted by blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in text.lines() {
        let line = line.trim();
        let Some(last) = paragraphs.last_mut() else {
            continue;
        };
        if line.is_empty() {
            if !last.is_empty() {
                paragraphs.push(String::new());
            }
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_days_and_initials_read_as_written_in_vietnam() {
        assert_eq!(vnd(0), "0\u{a0}₫");
        assert_eq!(vnd(45_000), "45.000\u{a0}₫");
        assert_eq!(vnd(1_234_567), "1.234.567\u{a0}₫");
        assert_eq!(days(vec![1, 2, 3, 6]), "Thứ Hai – Thứ Tư, Thứ Bảy");
        assert_eq!(days(vec![6, 7]), "Thứ Bảy, Chủ nhật");
        assert_eq!(days((1..=7).collect()), "Hằng ngày");
        assert_eq!(initials("Phở Hoà (Mẫu)"), "PM");
        assert_eq!(initials("đặng"), "Đ");
        assert_eq!(date_vi("2025-06-01"), "01/06/2025");
        assert_eq!(paragraphs("a\nb\n\n\nc"), ["a b", "c"]);
    }
}
