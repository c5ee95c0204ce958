//! What no rule about a single member sees: images, and a citizen number written into other texts.

use serde_json::Value;

use super::super::identifiers::{self, CitizenId};
use crate::reader::{Findings, escape};

/// What lies in the owner's own résumé, which has an `image` member by its standard.
const IN_RESUME: &str = "/person/resume/";

/// Where a citizen number may stand, alone.
const CITIZEN_ID_PLACES: [&str; 3] = [
    "/business/tax_id",
    "/business/registration_no",
    "/person/cccd",
];

/// Goes over the whole document.
pub(crate) fn sweep(document: &Value, findings: &mut Findings) {
    let citizen_ids: Vec<String> = CITIZEN_ID_PLACES
        .iter()
        .filter_map(|pointer| document.pointer(pointer)?.as_str())
        .map(identifiers::digits)
        .filter(|digits| CitizenId::of(digits).is_some())
        .collect();
    visit(document, &mut String::new(), &citizen_ids, findings);
}

fn visit(value: &Value, pointer: &mut String, citizen_ids: &[String], findings: &mut Findings) {
    let length = pointer.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointer.push('/');
                pointer.push_str(&escape(name));
                if names_an_image(name) && !pointer.starts_with(IN_RESUME) {
                    refuse_image(pointer, findings);
                } else {
                    visit(member, pointer, citizen_ids, findings);
                }
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                visit(item, pointer, citizen_ids, findings);
                pointer.truncate(length);
            }
        }
        Value::String(text) => {
            if holds_a_file(text) {
                refuse_image(pointer, findings);
            } else if shows_a_citizen_id(text, pointer, citizen_ids) {
                findings.refuse(
                    pointer,
                    "text.personal_id",
                    "Có số định danh cá nhân trong nội dung này; hãy xoá đi để không bị lộ.",
                    "the personal id stands in this text; remove it, so that it does not become public",
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text holds one of the numbers and is not the number in its own place, where it is masked in print.
fn shows_a_citizen_id(text: &str, pointer: &str, citizen_ids: &[String]) -> bool {
    let bare = identifiers::digits(text);
    let is_in_place = CITIZEN_ID_PLACES.contains(&pointer) && CitizenId::of(&bare).is_some();
    !is_in_place && citizen_ids.iter().any(|id| bare.contains(id))
}

fn refuse_image(pointer: &str, findings: &mut Findings) {
    findings.refuse(
        pointer,
        "image.refused",
        "Không nhận hình ảnh trong hồ sơ, nhất là ảnh giấy tờ tuỳ thân; hãy bỏ đi và chỉ ghi kết quả xác minh trong `evidence`.",
        "images are not taken in a claim, least of all of identity papers; remove it and tell the result of the check in `evidence`",
    );
}

/// Whether a member name says that it holds an image.
pub(crate) fn names_an_image(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "image", "images", "photo", "photos", "picture", "selfie", "scan", "anh", "img", "portrait",
    ];
    name.split(|character: char| !character.is_ascii_alphanumeric())
        .any(|word| WORDS.contains(&word.to_ascii_lowercase().as_str()))
}

/// Whether a text is or contains a file: a `data:` URL (RFC 2397), or base64 without one.
pub(crate) fn holds_a_file(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_data_url = lower.trim_start().starts_with("data:")
        && lower
            .trim_start()
            .split_once(',')
            .is_some_and(|(head, _)| !head.contains(char::is_whitespace));
    let foreign = |character: char| !is_base64(character);
    let foreign_but_line_ends =
        |character: char| !is_base64(character) && !matches!(character, '\r' | '\n');
    is_data_url
        || lower.contains(";base64,")
        || lower.contains("data:image/")
        || text.split(foreign).any(begins_as_a_file)
        || text.split(foreign_but_line_ends).any(is_long_and_mixed)
}

/// The alphabets of RFC 4648, 4 and 5.
fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '-' | '_' | '=')
}

/// Whether base64 begins as that of a JPEG, PNG, PDF, GIF or WebP file does.
fn begins_as_a_file(base64: &str) -> bool {
    const BEGINNINGS: [&str; 6] = ["/9j/", "_9j_", "iVBORw0KGgo", "JVBERi0", "R0lGOD", "UklGR"];
    base64.len() >= 32
        && BEGINNINGS
            .iter()
            .any(|beginning| base64.starts_with(beginning))
}

/// Whether base64 is longer than any key or link, and not one letter held down.
fn is_long_and_mixed(base64: &str) -> bool {
    base64.len() >= 1000
        && base64.contains(|character: char| character.is_ascii_lowercase())
        && base64.contains(|character: char| character.is_ascii_uppercase())
        && base64.contains(|character: char| character.is_ascii_digit())
}
