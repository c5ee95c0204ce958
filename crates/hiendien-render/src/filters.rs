//! What templates may call, and the values they see.

use hiendien_domain::content::SiteContent;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::markdown;

/// Where a link may lead.
const SCHEMES: [&str; 4] = ["https://", "http://", "mailto:", "tel:"];
const DAYS: [&str; 7] = [
    "Thứ Hai",
    "Thứ Ba",
    "Thứ Tư",
    "Thứ Năm",
    "Thứ Sáu",
    "Thứ Bảy",
    "Chủ nhật",
];
/// As schema.org names them.
const SCHEMA_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(crate) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("vnd", vnd);
    environment.add_filter("timetable", timetable);
    environment.add_filter("schema_hours", schema_hours);
    environment.add_filter("date_vi", date_vi);
    environment.add_filter("years_after", years_after);
    environment.add_filter("initials", initials);
    environment.add_filter("paragraphs", paragraphs);
    environment.add_filter("pick", pick);
    environment.add_filter("href", |url: &str| href(url).to_owned());
    environment.add_filter("jsonld", jsonld);
    environment.add_filter("markdown", |text: &str| {
        Value::from_safe_string(markdown::to_html(text))
    });
    // The HTML as text, for a feed that carries it escaped.
    environment.add_filter("markdown_source", |text: &str| markdown::to_html(text));
    environment.add_filter("markdown_lead", |text: &str| markdown::lead(text));
}

/// The content as templates see it, without the characters that no page and no XML may hold.
pub(crate) fn content_value(content: &SiteContent) -> Value {
    fn clean(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::String(text) => {
                serde_json::Value::String(text.chars().filter(|letter| is_fit(*letter)).collect())
            }
            serde_json::Value::Array(items) => items.into_iter().map(clean).collect(),
            serde_json::Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (name, clean(value)))
                .collect(),
            other => other,
        }
    }
    let value = serde_json::to_value(content).expect("content has text keys only");
    Value::from_serialize(clean(value))
}

/// Neither a control character, nor one that turns the direction of what follows, nor a non-character.
fn is_fit(letter: char) -> bool {
    matches!(letter, '\n' | '\t')
        || !(letter.is_control()
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'))
}

/// `url` where it leads to a page, a mailbox or a telephone; `#` otherwise.
pub(crate) fn href(url: &str) -> &str {
    let leads = |scheme: &&str| {
        url.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if SCHEMES.iter().any(leads) { url } else { "#" }
}

/// `1234567` as `1.234.567 ₫`.
fn vnd(amount: u64) -> String {
    let digits = amount.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 4);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    text + "\u{a0}₫"
}

#[derive(Deserialize)]
struct Span {
    days: Vec<u8>,
    opens: String,
    closes: String,
}

/// One row of the table of opening hours.
#[derive(Serialize)]
struct Row {
    /// `Thứ Hai – Thứ Sáu`.
    days: String,
    /// `06:00 – 10:30`; empty on days when it is closed.
    spans: Vec<String>,
}

fn spans(hours: &Value) -> Result<Vec<Span>, Error> {
    let unfit = |error| {
        Error::new(ErrorKind::InvalidOperation, "these are not opening hours").with_source(error)
    };
    serde_json::to_value(hours)
        .and_then(serde_json::from_value)
        .map_err(unfit)
}

/// Opening hours by day: neighbouring days with the same hours share a row, a break at noon makes
/// two spans of one row.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn timetable(hours: Value) -> Result<Value, Error> {
    let mut week: [Vec<String>; 7] = Default::default();
    for span in spans(&hours)? {
        let days = span.days.iter().map(|day| usize::from(*day));
        for day in days.filter(|day| (1..=7).contains(day)) {
            week[day - 1].push(format!("{} – {}", span.opens, span.closes));
        }
    }
    let mut rows: Vec<(usize, usize, Vec<String>)> = Vec::new();
    for (day, mut spans) in week.into_iter().enumerate() {
        spans.sort();
        match rows.last_mut() {
            Some((_, last, same)) if *same == spans => *last = day,
            _ => rows.push((day, day, spans)),
        }
    }
    let row = |(first, last, spans): (usize, usize, Vec<String>)| Row {
        days: match last - first {
            0 => DAYS[first].to_owned(),
            1 => format!("{}, {}", DAYS[first], DAYS[last]),
            6 => "Hằng ngày".to_owned(),
            _ => format!("{} – {}", DAYS[first], DAYS[last]),
        },
        spans,
    };
    Ok(Value::from_serialize(
        rows.into_iter().map(row).collect::<Vec<_>>(),
    ))
}

/// Opening hours in the words of schema.org.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn schema_hours(hours: Value) -> Result<Value, Error> {
    let specification = |span: Span| {
        let days = span.days.iter().map(|day| usize::from(*day));
        let names: Vec<&str> = days
            .filter(|day| (1..=7).contains(day))
            .map(|day| SCHEMA_DAYS[day - 1])
            .collect();
        serde_json::json!({
            "@type": "OpeningHoursSpecification",
            "dayOfWeek": names,
            "opens": span.opens,
            "closes": span.closes,
        })
    };
    Ok(Value::from_serialize(
        spans(&hours)?
            .into_iter()
            .map(specification)
            .collect::<Vec<_>>(),
    ))
}

/// JSON-LD fit for a `<script>`: nothing in it ends the element, empty members are left out.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn jsonld(value: Value) -> Result<Value, Error> {
    fn full(value: serde_json::Value) -> Option<serde_json::Value> {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::Object(members) => Some(
                members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, full(value)?)))
                    .collect(),
            ),
            serde_json::Value::Array(items) if items.is_empty() => None,
            serde_json::Value::Array(items) => Some(items.into_iter().filter_map(full).collect()),
            other => Some(other),
        }
    }
    let unfit = |error| {
        Error::new(
            ErrorKind::InvalidOperation,
            "this cannot be written as JSON",
        )
        .with_source(error)
    };
    let value = serde_json::to_value(&value).map_err(unfit)?;
    let mut text = full(value).unwrap_or_default().to_string();
    for letter in ['<', '>', '&', '\'', '\u{2028}', '\u{2029}'] {
        text = text.replace(letter, &format!("\\u{:04x}", u32::from(letter)));
    }
    Ok(Value::from_safe_string(text))
}

/// `2025-06-01` as `01/06/2025`.
fn date_vi(date: &str) -> String {
    let parts: Vec<&str> = date.split('-').collect();
    match parts.as_slice() {
        [year, month, day] => format!("{day}/{month}/{year}"),
        _ => date.to_owned(),
    }
}

/// The first day of the same month, so many years later: `2025-06-15` and 2 give `2027-06-01`.
fn years_after(date: &str, years: u16) -> Result<String, Error> {
    let unfit = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("`{date}` is not a date"),
        )
    };
    let (year, rest) = date.split_once('-').ok_or_else(unfit)?;
    let month = rest.get(..2).ok_or_else(unfit)?;
    let year: u16 = year.parse().map_err(|_| unfit())?;
    Ok(format!("{:04}-{month}-01", year.saturating_add(years)))
}

/// One or two capital letters for an icon.
fn initials(name: &str) -> String {
    let letter = |word: &str| word.chars().find(|letter| letter.is_alphanumeric());
    // What stands in brackets says something about the name and is not the name.
    let name = name.split(['(', '[']).next().unwrap_or_default();
    let letters: Vec<char> = name.split_whitespace().filter_map(letter).collect();
    let chosen: &[char] = match letters.as_slice() {
        [] => &['·'],
        [only] => &[*only],
        [first, .., last] => &[*first, *last],
    };
    chosen
        .iter()
        .flat_map(|letter| letter.to_uppercase())
        .collect()
}

/// A number below `count` that is always the same for the same text: chooses a look that is a site's own.
fn pick(text: &str, count: u32) -> u32 {
    // FNV-1a, 32 bits.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % count.max(1)
}

/// The paragraphs of a text, parted by blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    lines
        .split(|line| line.is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .map(|paragraph| paragraph.join(" "))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_dates_and_initials_read_as_written_in_vietnam() {
        assert_eq!(vnd(0), "0\u{a0}₫");
        assert_eq!(vnd(45_000), "45.000\u{a0}₫");
        assert_eq!(vnd(1_234_567), "1.234.567\u{a0}₫");
        assert_eq!(initials("Phở Hoà (Mẫu)"), "PH");
        assert_eq!(initials("đặng"), "Đ");
        assert_eq!(initials("(…)"), "·");
        assert_eq!(date_vi("2025-06-01"), "01/06/2025");
        assert_eq!(years_after("2024-02-29", 2).unwrap(), "2026-02-01");
        assert!(years_after("soon", 2).is_err());
        assert_eq!(pick("", 6), 0x811c_9dc5 % 6);
        assert_eq!(pick("a", 0), 0);
        assert_eq!(paragraphs("a\nb\n\n \nc"), ["a b", "c"]);
    }

    #[test]
    fn the_timetable_joins_days_and_shows_breaks_and_closed_days() {
        let hours = serde_json::json!([
            { "days": [1, 2, 3, 4, 5], "opens": "15:00", "closes": "21:00" },
            { "days": [1, 2, 3, 4, 5], "opens": "06:00", "closes": "10:30" },
            { "days": [6, 99], "opens": "06:00", "closes": "12:00" },
        ]);
        let rows = timetable(Value::from_serialize(hours)).unwrap();
        let rows: serde_json::Value = serde_json::to_value(rows).unwrap();
        assert_eq!(
            rows,
            serde_json::json!([
                { "days": "Thứ Hai – Thứ Sáu", "spans": ["06:00 – 10:30", "15:00 – 21:00"] },
                { "days": "Thứ Bảy", "spans": ["06:00 – 12:00"] },
                { "days": "Chủ nhật", "spans": [] },
            ])
        );
        let daily = serde_json::json!([{ "days": [1, 2, 3, 4, 5, 6, 7], "opens": "06:00", "closes": "21:00" }]);
        let rows = serde_json::to_value(timetable(Value::from_serialize(daily)).unwrap()).unwrap();
        assert_eq!(rows[0]["days"], "Hằng ngày");
    }

    #[test]
    fn links_lead_to_pages_mailboxes_and_telephones_only() {
        assert_eq!(href("HTTPS://a.example/"), "HTTPS://a.example/");
        assert_eq!(href("tel:+84912345678"), "tel:+84912345678");
        for url in [
            "javascript:alert(1)",
            " https://a.example/",
            "//a.example/",
            "data:text/html,x",
            "đ",
            "",
        ] {
            assert_eq!(href(url), "#", "{url}");
        }
    }

    #[test]
    fn json_ends_no_script_and_holds_nothing_empty() {
        let value = serde_json::json!({ "a": "</script>&\u{2028}", "b": null, "c": { "d": [] } });
        let text = jsonld(Value::from_serialize(value)).unwrap().to_string();
        assert_eq!(text, r#"{"a":"\u003c/script\u003e\u0026\u2028","c":{}}"#);
    }
}
