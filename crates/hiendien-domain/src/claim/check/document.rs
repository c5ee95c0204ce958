//! From bytes to a JSON document: size, UTF-8, syntax, and no member twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::super::CLAIM_BYTES_MAX;
use super::super::reader::{Findings, escape, fault};
use crate::fault::Fault;

/// Deepest nesting, levels. A claim has 6, a résumé a few more.
const DEPTH_MAX: usize = 32;

/// Longest member name, bytes.
const MEMBER_NAME_BYTES_MAX: usize = 256;

/// Reads the document. A document that cannot be read at all gives one fault.
pub(crate) fn read(bytes: &[u8], findings: &mut Findings) -> Result<Value, Fault> {
    if bytes.len() > CLAIM_BYTES_MAX {
        let size = bytes.len();
        return Err(fault(
            "",
            "document.too_large",
            format!(
                "Hồ sơ có {size} byte, tối đa {CLAIM_BYTES_MAX} byte; hãy bỏ hình ảnh và rút ngắn nội dung."
            ),
            format!(
                "the claim has {size} bytes, at most {CLAIM_BYTES_MAX} are taken; leave out images and shorten the texts"
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
    let mut twice = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text.trim_start_matches('\u{FEFF}'));
    let node = Node {
        path: &mut Vec::new(),
        twice: &mut twice,
    };
    let document = node
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document))
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let whole = error.to_string();
            let reason = whole.split(" at line ").next().unwrap_or(&whole);
            fault(
                "",
                "document.json",
                format!("JSON sai cú pháp ở dòng {line}, cột {column} ({reason}); hãy sửa tại đó."),
                format!(
                    "the JSON is broken at line {line}, column {column}: {reason}; mend it there"
                ),
            )
        })?;
    for pointer in twice {
        findings.refuse(
            &pointer,
            "member.twice",
            "Trường này xuất hiện hai lần trong cùng một đối tượng; hãy chỉ giữ một.",
            "this member stands twice in its object; keep only one",
        );
    }
    Ok(document)
}

/// The value at one place of the document. `serde_json::Value` alone would let the last of two
/// equal members win in silence.
struct Node<'a> {
    path: &'a mut Vec<String>,
    twice: &'a mut Vec<String>,
}

impl Node<'_> {
    fn below<E: Error>(&mut self, token: String) -> Result<Node<'_>, E> {
        if self.path.len() >= DEPTH_MAX {
            return Err(E::custom(format_args!(
                "nested deeper than {DEPTH_MAX} levels"
            )));
        }
        self.path.push(token);
        Ok(Node {
            path: self.path,
            twice: self.twice,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
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
        let mut items = Vec::new();
        loop {
            let node = self.below(items.len().to_string())?;
            let item = access.next_element_seed(node)?;
            self.path.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if name.len() > MEMBER_NAME_BYTES_MAX {
                return Err(A::Error::custom(format_args!(
                    "a member name is longer than {MEMBER_NAME_BYTES_MAX} bytes"
                )));
            }
            let node = self.below(escape(&name))?;
            let value = access.next_value_seed(node)?;
            if members.insert(name, value).is_some() {
                self.twice.push(format!("/{}", self.path.join("/")));
            }
            self.path.pop();
        }
        Ok(Value::Object(members))
    }
}
