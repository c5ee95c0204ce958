//! Reads a JSON document member by member and goes on after a fault, so that all come out at once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use crate::fault::Fault;

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
        self.faults.push(fault(pointer, code, vi, en));
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

    fn wrong_type(&mut self, pointer: &str, vi: &str, en: &str) {
        self.refuse(
            pointer,
            "type",
            format!("Giá trị này phải là {vi}."),
            format!("this value must be {en}"),
        );
    }

    /// A text made NFC and trimmed; control and bidirectional characters are refused.
    pub(crate) fn clean(&mut self, pointer: &str, text: &str, lines: bool) -> Option<String> {
        let text: String = text.trim().nfc().collect();
        let forbidden = |character: char| {
            (character.is_control() && !(lines && character == '\n'))
                || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}')
        };
        if let Some(character) = text.chars().find(|&character| forbidden(character)) {
            let code = u32::from(character);
            self.refuse(
                pointer,
                "text.control_character",
                format!("Có ký tự điều khiển ẩn U+{code:04X}; hãy xoá ký tự đó."),
                format!("there is a hidden control character U+{code:04X}; remove it"),
            );
            return None;
        }
        if text.to_ascii_lowercase().starts_with("data:") {
            self.refuse(
                pointer,
                "text.data_url",
                "Không nhận hình ảnh hay tệp đính kèm trong hồ sơ; hãy bỏ giá trị `data:` này.",
                "images and files are not taken in a claim; remove this `data:` value",
            );
            return None;
        }
        Some(text)
    }
}

/// Escapes a member name for a JSON Pointer (RFC 6901).
fn escape(name: &str) -> String {
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
        self.as_text(name, value, 1, max, false, findings)
    }

    pub(crate) fn optional_text(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.optional(name)?;
        self.as_text(name, value, 1, max, false, findings)
    }

    /// Like [`Object::optional_text`], with line breaks allowed.
    pub(crate) fn optional_lines(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let value = self.optional(name)?;
        self.as_text(name, value, 1, max, true, findings)
    }

    pub(crate) fn as_text(
        &self,
        name: &str,
        value: &Value,
        min: usize,
        max: usize,
        lines: bool,
        findings: &mut Findings,
    ) -> Option<String> {
        let pointer = self.at(name);
        let Value::String(text) = value else {
            findings.wrong_type(&pointer, "một chuỗi ký tự", "a string");
            return None;
        };
        let text = findings.clean(&pointer, text, lines)?;
        let length = text.chars().count();
        if length < min || length > max {
            findings.refuse(
                &pointer,
                "text.length",
                format!("Cần từ {min} đến {max} ký tự, hiện có {length}."),
                format!("needs {min} to {max} characters, has {length}"),
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

    pub(crate) fn optional_parsed<T: std::str::FromStr>(
        &mut self,
        name: &'static str,
        code: &str,
        vi: &str,
        en: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        self.optional(name)?;
        self.parsed(name, code, vi, en, findings)
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
                format!("Tối đa {max} mục, hiện có {count}."),
                format!("at most {max} items, there are {count}"),
            );
            return Vec::new();
        }
        items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("{pointer}/{index}"), item))
            .collect()
    }

    /// Refuses members nobody asked for, with the nearest known one.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for name in self
            .map
            .keys()
            .filter(|name| !self.known.contains(name.as_str()))
        {
            let nearest = self.known.iter().min_by_key(|known| distance(name, known));
            let near = nearest.filter(|known| distance(name, known) <= 1 + known.len() / 3);
            let (hint_vi, hint_en) = near.map_or_else(Default::default, |known| {
                (
                    format!(" Có phải bạn muốn viết `{known}`?"),
                    format!("; did you mean `{known}`?"),
                )
            });
            findings.refuse(
                &self.at(name),
                "unknown_member",
                format!("Không có trường này trong claim/v1.{hint_vi}"),
                format!("claim/v1 has no such member{hint_en}"),
            );
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
