//! The rules of programme `id`: a young citizen, the résumé and the posts.

use jiff::civil::Date;
use serde_json::Value;
use sha2::{Digest, Sha256};
use unicode_normalization::char::is_combining_mark;

use super::super::identifiers::{self, CitizenId};
use super::super::policy::{self, Policy};
use super::super::{Person, Post, School};
use super::{date, spoken};
use crate::reader::{Findings, Format, Lines, Object, walk};
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

const PERSONAL_ID_HASH: Format = Format {
    code: "personal_id_hash.format",
    vi: "Hãy gửi HMAC-SHA-256 của số định danh, gồm 64 chữ số thập lục phân; không gửi chính số định danh.",
    en: "send the HMAC-SHA-256 of the personal id, 64 hexadecimal digits, never the id itself",
};

fn personal_id_hash(text: &str) -> Option<String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_ascii_lowercase())
}

pub(crate) fn read(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    findings: &mut Findings,
) -> Option<Person> {
    let full_name = full_name(&mut object, findings);
    let birth_date = date(&mut object, "birth_date", findings);
    if let (Some(birth), Some(granted), Some(policy)) = (birth_date, granted_on, policy) {
        check_age(birth, granted, policy, &object.at("birth_date"), findings);
    }
    let personal_id_hash = object.formatted(
        "personal_id_hash",
        &PERSONAL_ID_HASH,
        personal_id_hash,
        findings,
    );
    check_cccd(
        &mut object,
        birth_date,
        personal_id_hash.as_deref(),
        findings,
    );
    let school = object
        .optional_object("school", findings)
        .and_then(|object| school(object, findings));
    let study_field = object.optional_text("study_field", 120, findings);
    let resume = object.optional("resume");
    if let Some(resume) = resume {
        check_resume(resume, &object.at("resume"), findings);
    }
    let posts = object.objects("posts", POSTS_MAX, findings);
    let posts = posts
        .into_iter()
        .filter_map(|object| post(object, findings))
        .collect();
    object.finish(findings);
    Some(Person {
        full_name: full_name?,
        birth_date: birth_date?,
        personal_id_hash: personal_id_hash?,
        cccd: None,
        school,
        study_field,
        resume: resume.cloned(),
        posts,
    })
}

fn full_name(object: &mut Object<'_>, findings: &mut Findings) -> Option<String> {
    let name = object.name("full_name", 100, findings)?;
    // Some letters of the Central Highlands' languages have no single character: their mark comes after them.
    let of_a_name = |character: char| {
        character.is_alphabetic()
            || is_combining_mark(character)
            || matches!(character, ' ' | '-' | '\'' | '’')
    };
    if !name.chars().all(of_a_name) {
        findings.refuse(
            &object.at("full_name"),
            "full_name.characters",
            "Họ tên chỉ gồm chữ cái, dấu cách, dấu gạch nối và dấu nháy; hãy bỏ chữ số và ký hiệu.",
            "write the person's name with letters, spaces, hyphens and apostrophes only",
        );
    }
    Some(name)
}

fn check_age(birth: Date, granted: Date, policy: &Policy, pointer: &str, findings: &mut Findings) {
    if birth > granted {
        return findings.refuse(
            pointer,
            "birth_date.future",
            "Ngày sinh không thể sau ngày cấp tên miền; hãy kiểm tra cả hai ngày.",
            "the birth cannot come after the grant; check both days",
        );
    }
    let Some((first, last)) = policy.days_of_age(birth) else {
        return;
    };
    if !(first..=last).contains(&granted) {
        let age = policy::age(birth, granted);
        let (granted_vi, first_vi, last_vi) = (spoken(granted), spoken(first), spoken(last));
        findings.refuse(
            pointer,
            "birth_date.age",
            format!("Vào ngày cấp {granted_vi} người này {age} tuổi; người sinh ngày này chỉ được cấp từ {first_vi} đến hết {last_vi}. Hãy kiểm tra lại ngày sinh và ngày cấp."),
            format!("this person is {age} years old on {granted}, the day of the grant; a name can be granted from {first} to {last}; check the birth date and the day of the grant"),
        );
    }
}

/// Checks a citizen id that was sent along; it is not kept.
fn check_cccd(
    object: &mut Object<'_>,
    birth_date: Option<Date>,
    personal_id_hash: Option<&str>,
    findings: &mut Findings,
) {
    if object.optional("cccd").is_none() {
        return;
    }
    let pointer = object.at("cccd");
    let Some(written) = object.written("cccd", Lines::One, findings) else {
        return;
    };
    let digits = identifiers::digits(&written);
    match CitizenId::of(&digits) {
        Some(id) => check_citizen_id(id, birth_date, &pointer, findings),
        None => findings.refuse(
            &pointer,
            "cccd.length",
            "Số định danh cá nhân có 12 chữ số; hãy ghi đúng số chữ số, không lẫn chữ cái.",
            "write the personal id with its 12 digits, without letters",
        ),
    }
    if personal_id_hash == Some(hex(&Sha256::digest(&digits)).as_str()) {
        findings.refuse(
            &object.at("personal_id_hash"),
            "personal_id_hash.unkeyed",
            "Đây là SHA-256 không có khoá, ai cũng dò lại được; hãy gửi HMAC-SHA-256 với khoá của nhà đăng ký.",
            "this is a SHA-256 without a key, which anyone can turn back; send the HMAC-SHA-256 under the registrar's key",
        );
    }
}

fn check_citizen_id(
    id: CitizenId,
    birth_date: Option<Date>,
    pointer: &str,
    findings: &mut Findings,
) {
    if !id.has_a_place() {
        findings.refuse(
            pointer,
            "cccd.province",
            "Ba chữ số đầu của số định danh không phải mã nơi đăng ký khai sinh; hãy kiểm tra lại từng chữ số.",
            "the first three digits are no place of birth registration; check each digit",
        );
    } else if id.is_from_abroad() {
        findings.warn(
            pointer,
            "cccd.abroad",
            "Ba chữ số đầu là mã nước ngoài; hãy xem lại nếu người này khai sinh tại Việt Nam.",
            "the first three digits mean a birth abroad; look again if this person was registered in Viet Nam",
        );
    }
    if birth_date.is_some_and(|birth| birth.year() != id.birth_year) {
        findings.refuse(
            pointer,
            "cccd.birth_year",
            "Năm sinh trong số định danh không khớp `birth_date`; hãy kiểm tra cả hai.",
            "the birth year in the personal id differs from `birth_date`; check both",
        );
    }
}

fn school(mut object: Object<'_>, findings: &mut Findings) -> Option<School> {
    let name = object.name("name", 200, findings);
    let code = object.optional_text("code", 20, findings);
    object.finish(findings);
    Some(School { name: name?, code })
}

/// A résumé is kept as it is: only what could do harm is refused, and what a page cannot show is warned of.
pub(crate) fn check_resume(resume: &Value, pointer: &str, findings: &mut Findings) {
    if !resume.is_object() {
        findings.wrong_type(
            pointer,
            "một đối tượng JSON Resume `{…}`",
            "a JSON Resume object `{…}`",
        );
        return;
    }
    let mut count = 0;
    walk(resume, &mut pointer.to_owned(), &mut |pointer, value| {
        count += 1;
        if let Value::String(text) = value {
            findings.has_only_plain_characters(pointer, text, Lines::Many);
            findings.fits(pointer, text, &(0..=RESUME_TEXT_CHARACTERS_MAX));
        }
    });
    if count > RESUME_VALUES_MAX {
        findings.refuse(
            pointer,
            "resume.size",
            format!(
                "Bản CV (`resume`) có {count} giá trị, tối đa {RESUME_VALUES_MAX}; hãy rút gọn."
            ),
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
