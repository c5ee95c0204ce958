//! Which form of a file a request gets (RFC 9110, sections 12.5.3, 13 and 14).

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, IF_NONE_MATCH, IF_RANGE, RANGE};

/// Content codings we keep files in, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
    Identity,
}

impl Coding {
    /// The token in `Content-Encoding`, `None` for identity, which has none.
    pub(crate) fn token(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

/// The coding the client likes best of those there are; the smallest of equally liked ones.
/// Identity where it accepts none at all: an answer it can complain about is better than none.
pub(crate) fn coding(headers: &HeaderMap, brotli: bool, gzip: bool) -> Coding {
    let accepted = accepted(headers);
    [(Coding::Brotli, brotli), (Coding::Gzip, gzip)]
        .into_iter()
        .filter(|&(_, there)| there)
        .map(|(coding, _)| (coding, weight(&accepted, coding)))
        .filter(|&(_, weight)| weight > 0)
        // `max_by_key` keeps the last of equals.
        .rev()
        .max_by_key(|&(_, weight)| weight)
        .filter(|&(_, best)| best >= weight(&accepted, Coding::Identity))
        .map_or(Coding::Identity, |(coding, _)| coding)
}

/// Thousandths, as a quality value has at most three digits.
fn weight(accepted: &[(String, u16)], coding: Coding) -> u16 {
    let of = |token: &str| {
        accepted
            .iter()
            .find(|(name, _)| name == token)
            .map(|&(_, weight)| weight)
    };
    match coding {
        // Acceptable unless it is excluded, but never asked for by silence.
        Coding::Identity => of("identity").unwrap_or(0),
        Coding::Brotli => of("br").or_else(|| of("*")).unwrap_or(0),
        Coding::Gzip => of("gzip")
            .or_else(|| of("x-gzip"))
            .or_else(|| of("*"))
            .unwrap_or(0),
    }
}

fn accepted(headers: &HeaderMap) -> Vec<(String, u16)> {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let token = parts.next().filter(|token| !token.is_empty())?;
            let weight = match parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            {
                Some(text) => quality(text)?,
                None => 1000,
            };
            Some((token.to_ascii_lowercase(), weight))
        })
        .collect()
}

fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Whether the client has this very form already. Weak comparison, as `If-None-Match` demands.
pub(crate) fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What a `Range` header asks of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// The whole: no range, one we do not serve (several, another unit), or a failed `If-Range`.
    Whole,
    /// From `first` up to, not including, `end`.
    Part { first: usize, end: usize },
    /// Outside of the body: 416.
    Unsatisfiable,
}

/// Whether a part of the file is asked for, so that only its identity form will do.
pub(crate) fn wants_part(headers: &HeaderMap) -> bool {
    headers.contains_key(RANGE)
}

/// Reads `Range` and `If-Range` against the identity form of `length` bytes with this entity tag.
pub(crate) fn span(headers: &HeaderMap, etag: &str, length: usize) -> Span {
    // A date cannot match: we send no Last-Modified.
    if headers.get(IF_RANGE).is_some_and(|value| value != etag) {
        return Span::Whole;
    }
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Span::Whole;
    };
    let Some((first, last)) = range
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .filter(|spec| !spec.contains(','))
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return Span::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are more bytes than there are.
        digits.then(|| text.parse::<usize>().unwrap_or(usize::MAX))
    };
    match (
        first.is_empty(),
        number(first),
        last.is_empty(),
        number(last),
    ) {
        (true, None, false, Some(suffix)) if suffix > 0 && length > 0 => Span::Part {
            first: length.saturating_sub(suffix),
            end: length,
        },
        (true, None, false, Some(_)) => Span::Unsatisfiable,
        (false, Some(first), true, None) if first < length => Span::Part { first, end: length },
        (false, Some(_), true, None) => Span::Unsatisfiable,
        (false, Some(first), false, Some(last)) if first <= last => {
            if first < length {
                let end = last.saturating_add(1).min(length);
                Span::Part { first, end }
            } else {
                Span::Unsatisfiable
            }
        }
        _ => Span::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_best_liked_coding_is_chosen() {
        let chosen = |value: &str| coding(&header(ACCEPT_ENCODING, value), true, true);
        assert_eq!(coding(&HeaderMap::new(), true, true), Coding::Identity);
        assert_eq!(chosen("gzip, deflate, br, zstd"), Coding::Brotli);
        assert_eq!(chosen("gzip, deflate"), Coding::Gzip);
        assert_eq!(chosen("br;q=0.5, gzip"), Coding::Gzip);
        assert_eq!(
            chosen("br;q=0.5, gzip;q=0.8, identity;q=0.9"),
            Coding::Identity
        );
        assert_eq!(chosen("br;q=0, *"), Coding::Gzip);
        assert_eq!(chosen("*"), Coding::Brotli);
        assert_eq!(chosen("GZIP;Q=1.000"), Coding::Gzip);
        assert_eq!(chosen("br;q=2, gzip;q=x"), Coding::Identity);
        assert_eq!(chosen("identity;q=0, *;q=0"), Coding::Identity);
        assert_eq!(chosen(""), Coding::Identity);
        let br = header(ACCEPT_ENCODING, "br");
        assert_eq!(coding(&br, false, true), Coding::Identity);
    }

    #[test]
    fn spans_are_cut_to_the_body() {
        let of = |value: &str| span(&header(RANGE, value), "\"x\"", 10);
        let part = |first, end| Span::Part { first, end };
        assert_eq!(of("bytes=0-3"), part(0, 4));
        assert_eq!(of("bytes=4-"), part(4, 10));
        assert_eq!(of("bytes=-3"), part(7, 10));
        assert_eq!(of("bytes=-99"), part(0, 10));
        assert_eq!(of("bytes=9-99"), part(9, 10));
        assert_eq!(of("bytes=0-99999999999999999999999"), part(0, 10));
        assert_eq!(of("bytes=10-"), Span::Unsatisfiable);
        assert_eq!(of("bytes=-0"), Span::Unsatisfiable);
        assert_eq!(of("bytes=10-12"), Span::Unsatisfiable);
        for whole in [
            "bytes=3-1",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=-",
            "bytes=a-b",
            "bytes",
        ] {
            assert_eq!(of(whole), Span::Whole, "{whole}");
        }
        assert_eq!(
            span(&header(RANGE, "bytes=0-3"), "\"x\"", 0),
            Span::Unsatisfiable
        );
        let mut headers = header(RANGE, "bytes=0-3");
        headers.insert(IF_RANGE, "\"other\"".parse().unwrap());
        assert_eq!(span(&headers, "\"x\"", 10), Span::Whole);
        headers.insert(IF_RANGE, "\"x\"".parse().unwrap());
        assert_eq!(span(&headers, "\"x\"", 10), part(0, 4));
    }

    #[test]
    fn entity_tags_match_weakly() {
        let same = |value: &str| not_modified(&header(IF_NONE_MATCH, value), "\"a\"");
        assert!(same("\"a\""));
        assert!(same("\"b\", W/\"a\""));
        assert!(same("*"));
        assert!(!same("\"b\""));
        assert!(!same("a"));
    }
}
