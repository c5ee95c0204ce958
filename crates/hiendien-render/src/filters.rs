//! What templates may call, and the values they see.

use std::fmt::Write as _;
use std::sync::Arc;

use hiendien_domain::content::{BankTransfer, OpeningHours, SiteContent};
use minijinja::value::{Kwargs, ViaDeserialize};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unicode_normalization::UnicodeNormalization as _;

use crate::markdown::{self, Pictures};
use crate::qr;

/// Where a link may lead.
const SCHEMES: [&str; 4] = ["https://", "http://", "mailto:", "tel:"];
pub(crate) fn add(environment: &mut Environment<'_>, pictures: &Arc<Pictures>) {
    let pictures = Arc::clone(pictures);
    environment.add_filter("vnd", vnd);
    environment.add_filter("timetable", timetable);
    environment.add_filter("date_vi", date_vi);
    environment.add_filter("date_long", date_long);
    environment.add_filter("date_rfc3339", date_rfc3339);
    environment.add_filter("years_after", years_after);
    environment.add_filter("fill", fill);
    environment.add_filter("group_by_group", group_by_group);
    environment.add_filter("vietqr", |bank: ViaDeserialize<BankTransfer>| {
        qr::vietqr(&bank.bin, &bank.account)
    });
    environment.add_filter("qr_svg", |text: Option<&str>, label: &str| {
        text.and_then(|text| qr::svg(text, label))
            .map_or_else(|| Value::from(""), Value::from_safe_string)
    });
    environment.add_filter("unbroken", |text: &str| text.replace(' ', "\u{a0}"));
    environment.add_filter("bank_name", |bin: &str| {
        qr::bank_name(bin).unwrap_or_default()
    });
    environment.add_filter("initials", initials);
    environment.add_filter("paragraphs", paragraphs);
    environment.add_filter("pick", pick);
    environment.add_filter("href", |url: &str| href(url).to_owned());
    environment.add_filter("jsonld", jsonld);
    environment.add_filter("markdown", {
        let pictures = Arc::clone(&pictures);
        move |text: &str| Value::from_safe_string(markdown::to_html(text, &pictures))
    });
    // The HTML as text, for a feed that carries it escaped.
    environment.add_filter("markdown_source", move |text: &str| {
        markdown::to_html(text, &pictures)
    });
    environment.add_filter("markdown_lead", |text: &str| markdown::lead(text));
    environment.add_filter("json", |value: ViaDeserialize<serde_json::Value>| {
        Value::from_safe_string(script_safe(&value.to_string()))
    });
}

/// The content without the characters that no page and no XML may hold.
pub(crate) fn cleaned(content: &SiteContent) -> SiteContent {
    fn clean(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::String(text) => {
                let fit = text.chars().filter(|letter| is_fit(*letter));
                serde_json::Value::String(fit.nfc().collect())
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
    // Names and numbers of our own making have none of these characters.
    serde_json::from_value(clean(value)).unwrap_or_else(|_| content.clone())
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

/// One row of the table of opening hours.
#[derive(Serialize)]
struct Row {
    /// `Thứ Hai – Thứ Sáu`.
    days: String,
    /// `06:00 – 10:30`; empty on days when it is closed.
    spans: Vec<String>,
}

/// Opening hours by day: neighbouring days with the same hours share a row, a break at noon makes
/// two spans of one row.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn timetable(
    state: &State<'_, '_>,
    hours: ViaDeserialize<Vec<OpeningHours>>,
) -> Result<Value, Error> {
    let words: Words = word(state, "days")?;
    let daily: String = word(state, "daily")?;
    Ok(Value::from_serialize(rows(&hours, &words, &daily)))
}

type Words = [String; 7];

/// A word of the interface.
fn word<T: DeserializeOwned>(state: &State<'_, '_>, name: &str) -> Result<T, Error> {
    let text = state.lookup("text").unwrap_or_default();
    T::deserialize(text.get_attr(name)?)
}

fn rows(hours: &[OpeningHours], names: &Words, daily: &str) -> Vec<Row> {
    let mut week: [Vec<String>; 7] = Default::default();
    for span in hours {
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
            0 => names[first].clone(),
            1 => format!("{}, {}", names[first], names[last]),
            6 => daily.to_owned(),
            _ => format!("{} – {}", names[first], names[last]),
        },
        spans,
    };
    rows.into_iter().map(row).collect()
}

/// Equal groups together, in the order in which each is first seen: `[{name, products}]`. What has no
/// group stands under a name of none.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn group_by_group(products: Value) -> Result<Value, Error> {
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for product in products.try_iter()? {
        let group = product.get_attr("group")?;
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, members)) => members.push(product),
            None => groups.push((group, vec![product])),
        }
    }
    Ok(groups
        .into_iter()
        .map(|(name, products)| minijinja::context! { name, products })
        .collect())
}

/// `text` with each `{name}` replaced by the argument of that name.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the template engine hands filters their arguments"
)]
fn fill(text: &str, arguments: Kwargs) -> Result<String, Error> {
    let mut filled = text.to_owned();
    for name in arguments.args() {
        let value: Value = arguments.get(name)?;
        filled = filled.replace(&format!("{{{name}}}"), &value.to_string());
    }
    arguments.assert_all_used()?;
    Ok(filled)
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
    let text = full(value).unwrap_or_default().to_string();
    Ok(Value::from_safe_string(script_safe(&text)))
}

/// JSON in which nothing ends a script or begins an entity.
fn script_safe(json: &str) -> String {
    let mut text = json.to_owned();
    for letter in ['<', '>', '&', '\'', '\u{2028}', '\u{2029}'] {
        text = text.replace(letter, &format!("\\u{:04x}", u32::from(letter)));
    }
    text
}

/// For a query: everything but letters and digits of ASCII is encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        encoded
    })
}

/// `2025-06-01` as `01/06/2025`.
fn date_vi(date: &str) -> String {
    let parts: Vec<&str> = date.split('-').collect();
    match parts.as_slice() {
        [year, month, day] => format!("{day}/{month}/{year}"),
        _ => date.to_owned(),
    }
}

/// `2025-06-01` in words, in the language of the page.
fn date_long(state: &State<'_, '_>, date: &str) -> Result<String, Error> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let parts: Vec<usize> = date
        .split('-')
        .filter_map(|part| part.parse().ok())
        .collect();
    let [year, month, day] = parts[..] else {
        return Ok(date.to_owned());
    };
    let english = word::<String>(state, "lang")? == "en";
    Ok(match MONTHS.get(month.wrapping_sub(1)) {
        Some(name) if english => format!("{day} {name} {year}"),
        _ => format!("ngày {day} tháng {month} năm {year}"),
    })
}

/// Midnight of the day in Vietnam.
pub(crate) fn date_rfc3339(date: &str) -> String {
    format!("{date}T00:00:00+07:00")
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
pub(crate) fn initials(name: &str) -> String {
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
pub(crate) fn paragraphs(text: &str) -> Vec<String> {
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
        let span = |days: &[u8], opens: &str, closes: &str| OpeningHours {
            days: days.to_vec(),
            opens: opens.to_owned(),
            closes: closes.to_owned(),
        };
        let names = ["hai", "ba", "tư", "năm", "sáu", "bảy", "CN"].map(str::to_owned);
        let told = |hours: &[OpeningHours]| {
            let rows = rows(hours, &names, "hằng ngày");
            serde_json::to_value(rows).unwrap()
        };
        let hours = [
            span(&[1, 2, 3, 4, 5], "15:00", "21:00"),
            span(&[1, 2, 3, 4, 5], "06:00", "10:30"),
            span(&[6, 99], "06:00", "12:00"),
        ];
        assert_eq!(
            told(&hours),
            serde_json::json!([
                { "days": "hai – sáu", "spans": ["06:00 – 10:30", "15:00 – 21:00"] },
                { "days": "bảy", "spans": ["06:00 – 12:00"] },
                { "days": "CN", "spans": [] },
            ])
        );
        let daily = [span(&[1, 2, 3, 4, 5, 6, 7], "06:00", "21:00")];
        assert_eq!(told(&daily)[0]["days"], "hằng ngày");
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
