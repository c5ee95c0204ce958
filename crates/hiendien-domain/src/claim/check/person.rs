//! The rules of programme `id`: a young citizen, the résumé and the posts.

use jiff::civil::Date;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::identifiers::{self, CitizenIdFault};
use super::super::policy::{self, Policy};
use super::super::reader::{Findings, Lines, Object, escape};
use super::super::{Person, Post, School};
use super::date;
use crate::site::hex;

const POSTS_MAX: usize = 100;
const POST_CHARACTERS_MAX: usize = 50_000;
const RESUME_VALUES_MAX: usize = 5000;
const RESUME_TEXT_CHARACTERS_MAX: usize = 10_000;

/// Sections of JSON Resume 1.3.1 that are lists.
const RESUME_LISTS: [&str; 11] = [
    "work",
    "volunteer",
    "education",
    "awards",
    "certificates",
    "publications",
    "skills",
    "languages",
    "interests",
    "references",
    "projects",
];

pub(crate) fn read(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    findings: &mut Findings,
) -> Option<Person> {
    let full_name = object.name("full_name", 100, findings);
    let lettered = |name: &str| {
        name.chars().all(|character| {
            character.is_alphabetic() || matches!(character, ' ' | '-' | '\'' | '’')
        })
    };
    if full_name.as_deref().is_some_and(|name| !lettered(name)) {
        findings.refuse(
            &object.at("full_name"),
            "full_name.characters",
            "Họ tên chỉ gồm chữ cái, dấu cách, dấu gạch nối và dấu nháy; hãy bỏ chữ số và ký hiệu.",
            "write the person's name with letters, spaces, hyphens and apostrophes only",
        );
    }
    let birth_date = date(&mut object, "birth_date", findings);
    check_age(
        birth_date,
        granted_on,
        policy,
        &object.at("birth_date"),
        findings,
    );
    let personal_id_hash = object
        .text("personal_id_hash", 64, findings)
        .map(|hash| hash.to_ascii_lowercase());
    if personal_id_hash
        .as_deref()
        .is_some_and(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        findings.refuse(
            &object.at("personal_id_hash"),
            "personal_id_hash.format",
            "Hãy gửi HMAC-SHA-256 của số định danh, gồm 64 chữ số thập lục phân; không gửi chính số định danh.",
            "send the HMAC-SHA-256 of the personal id, 64 hexadecimal digits, never the id itself",
        );
    }
    if let Some(cccd) = object.optional_text("cccd", 20, findings) {
        let cccd = identifiers::digits(&cccd);
        check_citizen_id(&cccd, birth_date, &object.at("cccd"), findings);
        if personal_id_hash == Some(hex(&Sha256::digest(&cccd))) {
            findings.refuse(
                &object.at("personal_id_hash"),
                "personal_id_hash.unkeyed",
                "Đây là SHA-256 không có khoá, ai cũng dò lại được; hãy gửi HMAC-SHA-256 với khoá của nhà đăng ký.",
                "this is a SHA-256 without a key, which anyone can turn back; send the HMAC-SHA-256 under the registrar's key",
            );
        }
    }
    let school = object
        .optional_object("school", findings)
        .and_then(|mut object| {
            let name = object.name("name", 200, findings);
            let code = object.optional_text("code", 20, findings);
            object.finish(findings);
            Some(School { name: name?, code })
        });
    let study_field = object.optional_text("study_field", 120, findings);
    let resume = object.optional("resume").cloned();
    if let Some(resume) = &resume {
        check_resume(resume, &object.at("resume"), findings);
    }
    let mut posts = Vec::new();
    for (pointer, item) in object.items("posts", POSTS_MAX, findings) {
        posts.extend(
            Object::new(item, &pointer, findings).and_then(|object| post(object, findings)),
        );
    }
    object.finish(findings);
    Some(Person {
        full_name: full_name?,
        birth_date: birth_date?,
        personal_id_hash: personal_id_hash?,
        cccd: None,
        school,
        study_field,
        resume,
        posts,
    })
}

fn check_age(
    birth_date: Option<Date>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    pointer: &str,
    findings: &mut Findings,
) {
    let (Some(birth), Some(granted), Some(policy)) = (birth_date, granted_on, policy) else {
        return;
    };
    let (Some(min), Some(max)) = (policy.age_min, policy.age_max) else {
        return;
    };
    let age = policy::age(birth, granted);
    if !(min..=max).contains(&age) {
        findings.refuse(
            pointer,
            "birth_date.age",
            format!("Chương trình dành cho người từ đủ {min} đến {max} tuổi vào ngày cấp; hãy kiểm tra lại ngày sinh và ngày cấp."),
            format!("the programme is for ages {min} to {max} on the day of the grant; check the birth date and the day of the grant"),
        );
    }
}

fn check_citizen_id(
    digits: &str,
    birth_date: Option<Date>,
    pointer: &str,
    findings: &mut Findings,
) {
    let (code, vi, en) = match identifiers::check_citizen_id(digits, birth_date) {
        Ok(()) => {
            if !digits.starts_with('0') {
                findings.warn(
                    pointer,
                    "cccd.abroad",
                    "Ba chữ số đầu là mã nước ngoài; hãy xem lại nếu người này khai sinh tại Việt Nam.",
                    "the first three digits mean a birth abroad; look again if this person was registered in Viet Nam",
                );
            }
            return;
        }
        Err(CitizenIdFault::Length) => (
            "cccd.length",
            "Số định danh cá nhân có 12 chữ số; hãy ghi đủ.",
            "write the personal id with its 12 digits",
        ),
        Err(CitizenIdFault::Province) => (
            "cccd.province",
            "Ba chữ số đầu của số định danh không phải mã nơi đăng ký khai sinh; hãy kiểm tra lại.",
            "the first three digits are no place of birth registration; check them",
        ),
        Err(CitizenIdFault::BirthYear) => (
            "cccd.birth_year",
            "Năm sinh trong số định danh không khớp `birth_date`; hãy kiểm tra cả hai.",
            "the birth year in the personal id differs from `birth_date`; check both",
        ),
    };
    findings.refuse(pointer, code, vi, en);
}

/// A résumé is kept as it is: only what could do harm is refused, and what a page cannot show is warned of.
fn check_resume(resume: &Value, pointer: &str, findings: &mut Findings) {
    if !resume.is_object() {
        findings.wrong_type(
            pointer,
            "một đối tượng JSON Resume `{…}`",
            "a JSON Resume object `{…}`",
        );
        return;
    }
    let mut count = 0;
    check_resume_value(resume, &mut pointer.to_owned(), &mut count, findings);
    if count > RESUME_VALUES_MAX {
        findings.refuse(
            pointer,
            "resume.size",
            format!("Hồ sơ năng lực có {count} giá trị, tối đa {RESUME_VALUES_MAX}; hãy rút gọn."),
            format!(
                "the résumé has {count} values, at most {RESUME_VALUES_MAX} are taken; shorten it"
            ),
        );
    }
    let misshapen = |name: &str, fits: fn(&Value) -> bool| {
        resume
            .get(name)
            .is_some_and(|section| !section.is_null() && !fits(section))
    };
    let lists = RESUME_LISTS
        .iter()
        .filter(|name| misshapen(name, Value::is_array));
    let basics = ["basics"];
    let basics = basics
        .iter()
        .filter(|name| misshapen(name, Value::is_object));
    for name in lists.chain(basics) {
        findings.warn(
            &format!("{pointer}/{name}"),
            "resume.section",
            "Mục này không đúng dạng của JSON Resume 1.3.1 nên sẽ không hiện trên trang.",
            "this section has not the shape JSON Resume 1.3.1 gives it, so the page will not show it",
        );
    }
}

fn check_resume_value(
    value: &Value,
    pointer: &mut String,
    count: &mut usize,
    findings: &mut Findings,
) {
    *count += 1;
    let length = pointer.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointer.push('/');
                pointer.push_str(&escape(name));
                check_resume_value(member, pointer, count, findings);
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                check_resume_value(item, pointer, count, findings);
                pointer.truncate(length);
            }
        }
        Value::String(text) => {
            findings.has_only_plain_characters(pointer, text, Lines::Many);
            let has = text.chars().count();
            if has > RESUME_TEXT_CHARACTERS_MAX {
                findings.refuse(
                    pointer,
                    "text.length",
                    format!(
                        "Tối đa {RESUME_TEXT_CHARACTERS_MAX} ký tự, hiện có {has}; hãy rút gọn."
                    ),
                    format!(
                        "write at most {RESUME_TEXT_CHARACTERS_MAX} characters, there are {has}"
                    ),
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn post(mut object: Object<'_>, findings: &mut Findings) -> Option<Post> {
    let title = object.text("title", 200, findings);
    let date = date(&mut object, "date", findings);
    let body = object.lines("body", POST_CHARACTERS_MAX, findings);
    object.finish(findings);
    Some(Post {
        title: title?,
        date: date?,
        body: body?,
    })
}
