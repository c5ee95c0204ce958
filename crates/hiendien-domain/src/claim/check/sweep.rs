//! What no rule about a single member sees: images, and a citizen number written into other texts.

use serde_json::Value;

use super::super::identifiers;
use super::super::reader::{Findings, escape};

/// The owner's own résumé, which has an `image` member by its standard.
const RESUME: &str = "/person/resume";

/// Where a citizen number may stand.
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
        .filter(|digits| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit()))
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
                if names_an_image(name) && !pointer.starts_with(RESUME) {
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
            } else if !CITIZEN_ID_PLACES.contains(&pointer.as_str()) {
                let bare = identifiers::digits(text);
                if citizen_ids.iter().any(|id| bare.contains(id)) {
                    findings.refuse(
                        pointer,
                        "text.personal_id",
                        "Có số định danh cá nhân trong nội dung này; hãy xoá đi để không bị lộ.",
                        "the personal id stands in this text; remove it, so that it does not become public",
                    );
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
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

/// Whether a text is or contains a `data:` URL (RFC 2397).
fn holds_a_file(text: &str) -> bool {
    let text = text.trim_start();
    let is_data_url = text
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
        && text
            .split_once(',')
            .is_some_and(|(head, _)| !head.contains(char::is_whitespace));
    is_data_url || text.contains(";base64,") || text.contains("data:image/")
}
