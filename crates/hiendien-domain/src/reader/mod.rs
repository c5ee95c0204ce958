//! Reads a JSON document member by member and goes on after a fault, so that all come out at once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use crate::fault::Fault;

pub(crate) mod json;

/// After so many faults the rest is left for the next try, so that a hostile document has a bounded answer.
pub(crate) const FAULTS_MAX: usize = 100;

/// No formatted text is longer; what is, is refused unread.
const FORMATTED_BYTES_MAX: usize = 1024;

/// What kind of document is read, for the words of its faults.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Such as `claim/v1`.
    pub(crate) version: &'static str,
    /// What it is called at the beginning of a sentence.
    pub(crate) vi: &'static str,
    /// With its article.
    pub(crate) en: &'static str,
    /// What a member is that nobody asked for.
    pub(crate) stray: fn(&str) -> Stray,
}

/// What a member is that is not known where it stands.
#[derive(Debug)]
pub(crate) enum Stray {
    Unknown,
    /// Another look at the whole document tells of it.
    ToldElsewhere,
    /// It belongs to another document.
    Refused(&'static Format),
}

/// Collects faults and warnings.
#[derive(Debug)]
pub(crate) struct Findings {
    kind: &'static Kind,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

/// How a text has to be written, and how it is told when it is not.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) code: &'static str,
    pub(crate) vi: &'static str,
    pub(crate) en: &'static str,
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
    pub(crate) fn of(kind: &'static Kind) -> Self {
        Self {
            kind,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

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
                format!(
                    "{} có hơn {FAULTS_MAX} lỗi; hãy sửa các lỗi đã nêu rồi kiểm tra lại.",
                    self.kind.vi
                ),
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

    pub(crate) fn misses(&mut self, pointer: &str, format: &Format) {
        self.refuse(pointer, format.code, format.vi, format.en);
    }

    pub(crate) fn wrong_type(&mut self, pointer: &str, vi: &str, en: &str) {
        self.refuse(
            pointer,
            "type",
            format!("Sai kiểu dữ liệu; hãy ghi {vi}."),
            format!("this value has the wrong type; write {en}"),
        );
    }

    /// A text on which [`clean`] has left nothing that hides.
    pub(crate) fn clean(&mut self, pointer: &str, text: &str, lines: Lines) -> Option<String> {
        let text = clean(text);
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
        let found = text.chars().find(|&character| match lines {
            Lines::One => turns_or_controls(character) || is_invisible(character),
            Lines::Many => turns_or_controls(character) && !matches!(character, '\n' | '\r' | '\t'),
        });
        let Some(character) = found else {
            return true;
        };
        let code = u32::from(character);
        let (vi, en) = match character {
            '\n' | '\r' | '\t' => (
                "Chỉ ghi trên một dòng; hãy bỏ dấu xuống dòng và dấu tab.".to_owned(),
                "write this on one line; remove line breaks and tabs".to_owned(),
            ),
            _ => (
                format!("Có ký tự ẩn U+{code:04X}; hãy xoá ký tự đó."),
                format!("there is a hidden character U+{code:04X}; remove it"),
            ),
        };
        self.refuse(pointer, "text.control_character", vi, en);
        false
    }

    /// Whether a text has a length, characters, that is taken.
    pub(crate) fn fits(
        &mut self,
        pointer: &str,
        text: &str,
        length: &RangeInclusive<usize>,
    ) -> bool {
        let (has, min, max) = (text.chars().count(), length.start(), length.end());
        let (vi, en) = if has < *min {
            (
                format!("Quá ngắn: cần ít nhất {min} ký tự, hiện có {has}; hãy ghi đủ."),
                format!("too short: {has} characters, at least {min} are needed; write it in full"),
            )
        } else if has > *max {
            (
                format!("Quá dài: tối đa {max} ký tự, hiện có {has}; hãy rút gọn."),
                format!("too long: {has} characters, at most {max} are taken; shorten it"),
            )
        } else {
            return true;
        };
        self.refuse(pointer, "text.length", vi, en);
        false
    }
}

/// Trims a text and makes it NFC, with `\n` for every line break.
fn clean(text: &str) -> String {
    let text = text.trim().replace("\r\n", "\n").replace('\r', "\n");
    text.nfc().collect()
}

/// Controls, marks, embeddings, overrides and isolates of UAX #9, line separators, byte order mark.
fn turns_or_controls(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
            | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

/// What leaves no trace on paper: it would let two texts differ that look the same. U+FE0F is taken,
/// since telephones write it behind symbols such as a red heart.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0E}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
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

/// Shows `look` a value and all below it, each with its pointer; a value comes before what is in it.
pub(crate) fn walk(value: &Value, pointer: &mut String, look: &mut dyn FnMut(&str, &Value)) {
    look(pointer, value);
    let length = pointer.len();
    let mut below = |name: &str, value: &Value| {
        pointer.push('/');
        pointer.push_str(name);
        walk(value, pointer, look);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                below(&escape(name), member);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                below(&index.to_string(), item);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
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
        self.sized(name, Lines::One, max, findings)
    }

    /// Like [`Object::text`], with line breaks allowed.
    pub(crate) fn lines(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        self.sized(name, Lines::Many, max, findings)
    }

    fn sized(
        &mut self,
        name: &'static str,
        lines: Lines,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let text = self.written(name, lines, findings)?;
        findings
            .fits(&self.at(name), &text, &(1..=max))
            .then_some(text)
    }

    /// A name people read: words with single spaces between them, 2 characters at least, one of them a letter or digit.
    pub(crate) fn name(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        let text = self.written(name, Lines::One, findings)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        if !findings.fits(&self.at(name), &text, &(2..=max)) {
            return None;
        }
        if !text.contains(char::is_alphanumeric) {
            findings.refuse(
                &self.at(name),
                "name.letters",
                "Tên phải có ít nhất một chữ cái hoặc chữ số; hãy ghi lại.",
                "a name has at least one letter or digit; write it anew",
            );
            return None;
        }
        Some(text)
    }

    pub(crate) fn optional_text(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        self.optional(name)?;
        self.text(name, max, findings)
    }

    /// Like [`Object::optional_text`], with line breaks allowed.
    pub(crate) fn optional_lines(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Option<String> {
        self.optional(name)?;
        self.lines(name, max, findings)
    }

    /// A text of any length, clean.
    pub(crate) fn written(
        &mut self,
        name: &'static str,
        lines: Lines,
        findings: &mut Findings,
    ) -> Option<String> {
        let text = self.string(name, findings)?;
        findings.clean(&self.at(name), text, lines)
    }

    fn string(&mut self, name: &'static str, findings: &mut Findings) -> Option<&'a str> {
        let value = self.required(name, findings)?;
        if !value.is_string() {
            findings.wrong_type(
                &self.at(name),
                "một chuỗi ký tự trong dấu ngoặc kép",
                "a string in double quotes",
            );
        }
        value.as_str()
    }

    /// A text that `read` must accept. Its length is the format's concern, so that one fault is told once.
    pub(crate) fn formatted<T>(
        &mut self,
        name: &'static str,
        format: &Format,
        read: impl FnOnce(&str) -> Option<T>,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.written(name, Lines::One, findings)?;
        let value = if text.len() > FORMATTED_BYTES_MAX {
            None
        } else {
            read(&text)
        };
        if value.is_none() {
            findings.misses(&self.at(name), format);
        }
        value
    }

    pub(crate) fn optional_formatted<T>(
        &mut self,
        name: &'static str,
        format: &Format,
        read: impl FnOnce(&str) -> Option<T>,
        findings: &mut Findings,
    ) -> Option<T> {
        self.optional(name)?;
        self.formatted(name, format, read, findings)
    }

    /// One of a few words.
    pub(crate) fn word<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &'static str,
        words: &[&str],
        findings: &mut Findings,
    ) -> Option<T> {
        // A word is a string: the library would take the object `{"biz": null}` for one as well.
        let word = self.string(name, findings)?;
        let parsed = serde_json::from_value(word.into()).ok();
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

    /// The items of an array with their pointers, the first `max` of too many; none when absent.
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
        let count = items.len();
        if count > max {
            findings.refuse(
                &pointer,
                "list.length",
                format!("Tối đa {max} mục, hiện có {count}; hãy bỏ bớt."),
                format!("write at most {max} items, there are {count}"),
            );
        }
        items
            .iter()
            .take(max)
            .enumerate()
            .map(|(index, item)| (format!("{pointer}/{index}"), item))
            .collect()
    }

    /// Like [`Object::items`], each item an object.
    pub(crate) fn objects(
        &mut self,
        name: &'static str,
        max: usize,
        findings: &mut Findings,
    ) -> Vec<Object<'a>> {
        let items = self.items(name, max, findings);
        items
            .into_iter()
            .filter_map(|(pointer, item)| Object::new(item, &pointer, findings))
            .collect()
    }

    /// Refuses members nobody asked for, with the nearest known one.
    pub(crate) fn finish(self, findings: &mut Findings) {
        let Kind { version, stray, .. } = *findings.kind;
        let unknown = |name: &&String| !self.known.contains(name.as_str());
        for name in self.map.keys().filter(unknown) {
            if findings.is_full() {
                return;
            }
            match stray(name) {
                Stray::Unknown => {}
                Stray::ToldElsewhere => continue,
                Stray::Refused(format) => {
                    findings.misses(&self.at(name), format);
                    continue;
                }
            }
            let nearest = self.known.iter().min_by_key(|known| distance(name, known));
            let near = nearest.filter(|known| distance(name, known) <= 1 + known.len() / 3);
            let (vi, en) = match near {
                Some(known) => (
                    format!("{version} không có trường này; hãy sửa thành `{known}`, hoặc bỏ đi."),
                    format!("{version} has no such member; make it `{known}`, or remove it"),
                ),
                None => (
                    format!("{version} không có trường này; hãy bỏ đi."),
                    format!("{version} has no such member; remove it"),
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
