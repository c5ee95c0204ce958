//! From bytes to a JSON document: size, UTF-8, syntax, depth, and no member twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Findings, Kind, escape, fault};
use crate::fault::Fault;

/// Deepest nesting, levels. A claim has 6, a résumé a few more.
const DEPTH_MAX: usize = 32;

/// Longest member name, bytes.
const MEMBER_NAME_BYTES_MAX: usize = 256;

/// Most values of a document. The largest claim that keeps the rules has a third of them.
const VALUES_MAX: usize = 20_000;

/// Reads the document. A document that cannot be read to its end gives one fault.
pub(crate) fn read(
    bytes: &[u8],
    bytes_max: usize,
    findings: &mut Findings,
) -> Result<Value, Fault> {
    let kind = findings.kind;
    if bytes.len() > bytes_max {
        let size = bytes.len();
        return Err(fault(
            "",
            "document.too_large",
            format!(
                "{} có {size} byte, tối đa {bytes_max} byte; hãy bỏ hình ảnh và rút ngắn nội dung.",
                kind.vi
            ),
            format!(
                "{} has {size} bytes, at most {bytes_max} are taken; leave out images and shorten the texts",
                kind.en
            ),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        fault(
            "",
            "document.utf8",
            format!("Byte tại vị trí {at} (đếm từ 0) không phải UTF-8; hãy lưu lại tệp với bảng mã UTF-8."),
            format!("the byte at offset {at} is not UTF-8; save the file as UTF-8"),
        )
    })?;
    let mut values = 0;
    let mut deserializer = serde_json::Deserializer::from_str(text.trim_start_matches('\u{FEFF}'));
    let node = Node {
        path: &mut Vec::new(),
        values: &mut values,
        findings,
    };
    let document = node
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document));
    document.map_err(|error| {
        if values > VALUES_MAX {
            too_many_values(kind)
        } else {
            broken(&error)
        }
    })
}

fn too_many_values(kind: &Kind) -> Fault {
    fault(
        "",
        "document.too_many_values",
        format!("{} có hơn {VALUES_MAX} giá trị; hãy rút gọn.", kind.vi),
        format!("{} has more than {VALUES_MAX} values; shorten it", kind.en),
    )
}

fn broken(error: &serde_json::Error) -> Fault {
    let (line, column) = (error.line(), error.column());
    let (vi, en) = if error.is_eof() {
        (
            format!("Tệp JSON bị cắt cụt ở dòng {line}, cột {column}; hãy gửi lại đủ tệp."),
            format!("the JSON is cut off at line {line}, column {column}; send the whole file"),
        )
    } else {
        let whole = error.to_string();
        let reason = whole.split(" at line ").next().unwrap_or(&whole);
        (
            format!(
                "JSON sai cú pháp ở dòng {line}, cột {column}; hãy kiểm tra dấu phẩy, dấu ngoặc và dấu nháy tại đó."
            ),
            format!("the JSON is broken at line {line}, column {column}: {reason}; mend it there"),
        )
    };
    fault("", "document.json", vi, en)
}

/// The value at one place of the document. `serde_json::Value` alone would let the last of two
/// equal members win in silence.
struct Node<'a> {
    path: &'a mut Vec<String>,
    values: &'a mut usize,
    findings: &'a mut Findings,
}

impl Node<'_> {
    fn below(&mut self, token: String) -> Node<'_> {
        self.path.push(token);
        Node {
            path: self.path,
            values: self.values,
            findings: self.findings,
        }
    }

    fn pointer(&self) -> String {
        let tokens = self.path.iter().map(|token| format!("/{token}"));
        tokens.collect()
    }

    /// Tells a fault at this place. A pointer may be long and the faults many, so none is made that is not told.
    fn refuse(&mut self, code: &str, vi: impl Into<String>, en: impl Into<String>) {
        if !self.findings.is_full() {
            let pointer = self.pointer();
            self.findings.refuse(&pointer, code, vi, en);
        }
    }

    /// Whether a list or an object may stand here.
    fn is_shallow(&mut self) -> bool {
        let is_shallow = self.path.len() < DEPTH_MAX;
        if !is_shallow {
            self.refuse(
                "document.depth",
                format!("Lồng sâu quá {DEPTH_MAX} tầng; hãy bỏ bớt tầng."),
                format!("nested deeper than {DEPTH_MAX} levels; take some out"),
            );
        }
        is_shallow
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.values += 1;
        if *self.values > VALUES_MAX {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        if !self.is_shallow() {
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut items = Vec::new();
        loop {
            let node = self.below(items.len().to_string());
            let item = access.next_element_seed(node)?;
            self.path.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        if !self.is_shallow() {
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if name.len() > MEMBER_NAME_BYTES_MAX {
                self.refuse(
                    "member.too_long",
                    format!("Có tên trường dài quá {MEMBER_NAME_BYTES_MAX} byte; hãy bỏ trường đó."),
                    format!("a member name is longer than {MEMBER_NAME_BYTES_MAX} bytes; remove that member"),
                );
                access.next_value::<IgnoredAny>()?;
                continue;
            }
            let mut node = self.below(escape(&name));
            if members.contains_key(&name) {
                node.refuse(
                    "member.twice",
                    "Trường này xuất hiện hai lần trong cùng một đối tượng; hãy chỉ giữ một.",
                    "this member stands twice in its object; keep only one",
                );
            }
            let value = access.next_value_seed(node)?;
            members.insert(name, value);
            self.path.pop();
        }
        Ok(Value::Object(members))
    }
}
