//! Reads a JSON document member by member and goes on after a fault, so that all come out at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::check::sweep;
use crate::fault::Fault;

/// After so many faults the rest is left for the next try, so that a hostile document has a bounded answer.
const FAULTS_MAX: usize = 100;

/// Collects faults and warnings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

pub(crate) fn fault(
    pointer: &str,
    code: &str,
    vi: impl Into<String>,
    en: impl Into<String>,
) -> Fault {
    Fault {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        vi: vi.into(),
        en: en.into(),
    }
}

impl Findings {
    pub(crate) fn refuse(
        &mut self,
        pointer: &str,
        code: &str,
        vi: impl Into<String>,
        en: impl Into<String>,
    ) {
        match self.faults.len() {
            ..FAULTS_MAX => self.faults.push(fault(pointer, code, vi, en)),
            FAULTS_MAX => self.faults.push(fault(
                "",
                "document.too_many_faults",
                format!("Hồ sơ có hơn {FAULTS_MAX} lỗi; hãy sửa các lỗi đã nêu rồi kiểm tra lại."),
                format!("there are more than {FAULTS_MAX} faults; mend these and check again"),
            )),
            _ => {}
        }
    }

    /// Whether further faults would not be told any more.
    pub(crate) fn is_full(&self) -> bool {
        self.faults.len() > FAULTS_MAX
    }

    pub(crate) fn warn(
        &mut self,
        pointer: &str,
        code: &str,
        vi: impl Into<String>,
        en: impl Into<String>,
    ) {
        self.warnings.push(fault(pointer, code, vi, en));
    }

    pub(crate) fn wrong_type(&mut self, pointer: &str, vi: &str, en: &str) {
        self.refuse(
            pointer,
            "type",
            format!("Sai kiểu dữ liệu; hãy ghi {vi}."),
            format!("this value has the wrong type; write {en}"),
        );
    }

    /// A text made NFC and trimmed; control and bidirectional characters are refused.
    pub(crate) fn clean(&mut self, pointer: &str, text: &str, lines: Lines) -> Option<String> {
        let text: String = text.trim().replace("\r\n", "\n").nfc().collect();
        self.has_only_plain_characters(pointer, &text, lines)
            .then_some(text)
    }

    /// Refuses what hides in a text or turns it around.
    pub(crate) fn has_only_plain_characters(
        &mut self,
        pointer: &str,
        text: &str,
        lines: Lines,
    ) -> bool {
        let forbidden = |character: char| {
            let laid_out = lines == Lines::Many && matches!(character, '\n' | '\r' | '\t');
            (character.is_control() && !laid_out)
                || matches!(character,
                    // Marks, embeddings, overrides and isolates of UAX #9; line separators; byte order mark.
                    '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
                    | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
        };
        let found = text.chars().find(|&character| forbidden(character));
        if let Some(character) = found {
            let code = u32::from(character);
            let (vi, en) = match character {
                '\n' | '\r' | '\t' => (
                    "Chỉ ghi trên một dòng; hãy bỏ dấu xuống dòng và dấu tab.".to_owned(),
                    "write this on one line; remove line breaks and tabs".to_owned(),
                ),
                _ => (
                    format!("Có ký tự điều khiển ẩn U+{code:04X}; hãy xoá ký tự đó."),
                    format!("there is a hidden control character U+{code:04X}; remove it"),
                ),
            };
            self.refuse(pointer, "text.control_character", vi, en);
        }
        found.is_none()
    }
}

/// Whether a text may have line breaks and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    One,
    Many,
}

/// Escapes a member name for a JSON Pointer (RFC 6901).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// One object under reading; knows which members were asked for.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    pub(crate) pointer: String,
    known: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    pub(crate) fn new(value: &'a Value, pointer: &str, findings: &mut Findings) -> Option<Self> {
        let Value::Object(map) = value else {
            findings.wrong_type(pointer, "một đối tượng JSON `{…}`", "a JSON object `{…}`");
            return None;
        };
        Some(Self {
            map,
            pointer: pointer.to_owned(),
            known: BTreeSet::new(),
        })
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escape(name))
    }

    /// A member; `null` counts as absent.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn required(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
    ) -> Option<&'a Value> {
        let value = self.optional(name);
        if value.is_none() {
            findings.refuse(
                &self.at(name),
                "missing",
                format!("Thiếu trường `{name}`; hãy bổ sung."),
                format!("the member `{name}` is missing; add it"),
            );
        }
        value
    }

    pub(crate) fn text(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.required(name, findings)?;
        self.as_text(name, value, 1..=max, Lines::One, findings)
    }

    /// A name people read: 2 characters at least.
    pub(crate) fn name(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.required(name, findings)?;
        self.as_text(name, value, 2..=max, Lines::One, findings)
    }

    /// Like [`Object::text`], with line breaks allowed.
    pub(crate) fn lines(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.required(name, findings)?;
        self.as_text(name, value, 1..=max, Lines::Many, findings)
    }

    pub(crate) fn optional_text(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.optional(name)?;
        self.as_text(name, value, 1..=max, Lines::One, findings)
    }

    /// Like [`Object::optional_text`], with line breaks allowed.
    pub(crate) fn optional_lines(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.optional(name)?;
        self.as_text(name, value, 1..=max, Lines::Many, findings)
    }

    fn as_text(
        &self,
        name: &str,
        value: &Value,
        length: RangeInclusive<usize>,
        lines: Lines,
        findings: &mut Findings,
    ) -> Option<String> {
        let pointer = self.at(name);
        let Value::String(text) = value else {
            findings.wrong_type(
                &pointer,
                "một chuỗi ký tự trong dấu ngoặc kép",
                "a string in double quotes",
            );
            return None;
        };
        let text = findings.clean(&pointer, text, lines)?;
        let (has, min, max) = (text.chars().count(), length.start(), length.end());
        if !length.contains(&has) {
            findings.refuse(
                &pointer,
                "text.length",
                format!("Cần từ {min} đến {max} ký tự, hiện có {has}; hãy viết lại cho vừa."),
                format!("write {min} to {max} characters, there are {has}"),
            );
            return None;
        }
        Some(text)
    }

    /// A text that must parse; `vi` and `en` tell what is expected.
    pub(crate) fn parsed<T: std::str::FromStr>(
        &mut self,
        name: &'static str,
        code: &str,
        vi: &str,
        en: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.text(name, 255, findings)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            findings.refuse(&self.at(name), code, vi, en);
        }
        parsed
    }

    /// One of a few words.
    pub(crate) fn word<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &'static str,
        words: &[&str],
        findings: &mut Findings,
    ) -> Option<T> {
        let value = self.required(name, findings)?;
        let parsed = serde_json::from_value(value.clone()).ok();
        if parsed.is_none() {
            let list = words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
            findings.refuse(
                &self.at(name),
                "word.unknown",
                format!("Hãy dùng một trong các giá trị: {list}."),
                format!("use one of {list}"),
            );
        }
        parsed
    }

    pub(crate) fn flag(&mut self, name: &'static str, findings: &mut Findings) -> Option<bool> {
        let value = self.optional(name)?;
        if !value.is_boolean() {
            findings.wrong_type(&self.at(name), "`true` hoặc `false`", "`true` or `false`");
        }
        value.as_bool()
    }

    pub(crate) fn object(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
    ) -> Option<Object<'a>> {
        let value = self.required(name, findings)?;
        Object::new(value, &self.at(name), findings)
    }

    pub(crate) fn optional_object(
        &mut self,
        name: &'static str,
        findings: &mut Findings,
    ) -> Option<Object<'a>> {
        let value = self.optional(name)?;
        Object::new(value, &self.at(name), findings)
    }

    /// The items of an array with their pointers; empty when absent.
    pub(crate) fn items(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Vec<(String, &'a Value)> {
        let Some(value) = self.optional(name) else {
            return Vec::new();
        };
        let pointer = self.at(name);
        let Value::Array(items) = value else {
            findings.wrong_type(&pointer, "một danh sách `[…]`", "an array `[…]`");
            return Vec::new();
        };
        if items.len() > max {
            let count = items.len();
            findings.refuse(
                &pointer,
                "list.length",
                format!("Tối đa {max} mục, hiện có {count}; hãy bỏ bớt."),
                format!("write at most {max} items, there are {count}"),
            );
            return Vec::new();
        }
        items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("{pointer}/{index}"), item))
            .collect()
    }

    /// Refuses members nobody asked for, with the nearest known one. Those that look like images
    /// are told of by the sweep over the whole document.
    pub(crate) fn finish(self, findings: &mut Findings) {
        let unknown =
            |name: &&String| !self.known.contains(name.as_str()) && !sweep::names_an_image(name);
        for name in self.map.keys().filter(unknown) {
            if findings.is_full() {
                return;
            }
            let nearest = self.known.iter().min_by_key(|known| distance(name, known));
            let near = nearest.filter(|known| distance(name, known) <= 1 + known.len() / 3);
            let (vi, en) = match near {
                Some(known) => (
                    format!("claim/v1 không có trường này. Có phải bạn muốn viết `{known}`?"),
                    format!("claim/v1 has no such member; did you mean `{known}`?"),
                ),
                None => (
                    "claim/v1 không có trường này; hãy bỏ đi.".to_owned(),
                    "claim/v1 has no such member; remove it".to_owned(),
                ),
            };
            findings.refuse(&self.at(name), "unknown_member", vi, en);
        }
    }
}

/// Levenshtein distance, characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
