//! Granted names: NFC, the Vietnamese repertoire, IDNA, reserved labels.

use unicode_normalization::UnicodeNormalization;

use super::policy::{self, Reserved};
use crate::lifecycle::Programme;
use crate::name::DomainName;
use crate::reader::Findings;

/// Lower-case Vietnamese letters beyond a-z, NFC.
const VIETNAMESE: &str = "àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ";

/// Longest label, octets (RFC 1035, 2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// No host is longer, also in U-labels; what is, is not decoded.
const HOST_BYTES_MAX: usize = 1024;

/// A name in A-labels from U-labels or A-labels; `None` when IDNA refuses it.
pub fn ascii_name(text: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(&folded(text)).ok()?;
    (!ascii.is_empty()).then_some(ascii)
}

/// NFC, lower case, without a final dot.
fn folded(text: &str) -> String {
    let name: String = text.trim().trim_end_matches('.').nfc().collect();
    name.to_lowercase()
}

/// The name of a host elsewhere, such as a mail provider's or a name server's: not one label, not an address.
pub(crate) fn host(text: &str) -> Option<DomainName> {
    if text.len() > HOST_BYTES_MAX || text.contains(char::is_whitespace) {
        return None;
    }
    let name: DomainName = ascii_name(text)?.parse().ok()?;
    let (_, last) = name.as_str().rsplit_once('.')?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then_some(name)
}

/// Letters without their marks: `đ` becomes `d`, `ế` becomes `e`.
pub(crate) fn without_marks(text: &str) -> String {
    text.nfd()
        .filter(|character| !unicode_normalization::char::is_combining_mark(*character))
        .map(|character| match character {
            'đ' => 'd',
            'Đ' => 'D',
            other => other,
        })
        .collect()
}

/// What stands before the programme's suffix, and the suffix.
fn split(name: &str) -> Option<(&str, &'static str)> {
    ["biz.vn", "id.vn"].into_iter().find_map(|suffix| {
        let head = name.strip_suffix(suffix)?;
        Some((head.strip_suffix('.')?, suffix))
    })
}

/// The name that is meant, whatever else is wrong with it.
pub(crate) fn meant(text: &str) -> Option<DomainName> {
    let name = folded(text);
    let (label, _) = split(&name)?;
    if label.is_empty() {
        return None;
    }
    ascii_name(text)?.parse().ok()
}

/// Checks a granted name; tells every fault it has.
pub(crate) fn granted(
    text: &str,
    programme: Option<Programme>,
    pointer: &str,
    findings: &mut Findings,
) -> Option<DomainName> {
    let before = findings.faults.len();
    let name = folded(text);
    let wanted = programme.map(Programme::suffix);
    let Some((label, suffix)) = split(&name) else {
        let (vi, en) = match wanted {
            Some(suffix) => (format!("`.{suffix}`"), format!("`.{suffix}`")),
            None => (
                "`.biz.vn` hoặc `.id.vn`".to_owned(),
                "`.biz.vn` or `.id.vn`".to_owned(),
            ),
        };
        findings.refuse(
            pointer,
            "domain.suffix",
            format!("Tên miền phải kết thúc bằng {vi}; hãy ghi đủ."),
            format!("write the whole name, which ends in {en}"),
        );
        return None;
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != suffix) {
        findings.refuse(
            pointer,
            "domain.suffix",
            format!("Chương trình này cấp tên dưới `.{wanted}`, không phải `.{suffix}`; hãy sửa tên hoặc `programme`."),
            format!("this programme grants names under `.{wanted}`, not `.{suffix}`; mend the name or `programme`"),
        );
    }
    if label.is_empty() || label.contains('.') {
        findings.refuse(
            pointer,
            "domain.labels",
            format!("Chỉ được có một nhãn trước `.{suffix}`, ví dụ `ten-cua-ban.{suffix}`."),
            format!("have exactly one label before `.{suffix}`, such as `your-name.{suffix}`"),
        );
        return None;
    }
    let Some(label) = unicode_label(label) else {
        findings.refuse(
            pointer,
            "domain.idna",
            "Nhãn `xn--` này không phải tên IDNA hợp lệ; hãy gửi tên ở dạng có dấu.",
            "this `xn--` label is not valid IDNA; send the name in its Unicode form",
        );
        return None;
    };
    check_label(&label, pointer, findings);
    check_reserved(&label, suffix, pointer, findings);
    if findings.faults.len() > before {
        return None;
    }
    ascii_name(&format!("{label}.{suffix}"))?.parse().ok()
}

/// An A-label is judged by what it shows, and must be the one that IDNA makes of it.
fn unicode_label(label: &str) -> Option<String> {
    if !label.starts_with("xn--") {
        return Some(label.to_owned());
    }
    let (unicode, decoded) = idna::domain_to_unicode(label);
    let is_its_own = decoded.is_ok() && ascii_name(&unicode).as_deref() == Some(label);
    is_its_own.then_some(unicode)
}

fn check_label(label: &str, pointer: &str, findings: &mut Findings) {
    let vietnamese = |character: char| {
        character.is_ascii_lowercase()
            || character.is_ascii_digit()
            || character == '-'
            || VIETNAMESE.contains(character)
    };
    let foreign = label
        .chars()
        .enumerate()
        .find(|(_, character)| !vietnamese(*character));
    if let Some((index, character)) = foreign {
        let (position, code) = (index + 1, u32::from(character));
        findings.refuse(
            pointer,
            "domain.repertoire",
            format!("Ký tự thứ {position} (U+{code:04X}) không thuộc bảng chữ cái tiếng Việt, dù có thể trông giống; hãy gõ lại tên bằng chữ cái tiếng Việt, chữ số và dấu `-`."),
            format!("character {position} (U+{code:04X}) is not in the Vietnamese repertoire, even if it looks so; type the name anew with Vietnamese letters, digits and `-`"),
        );
    }
    if label.starts_with('-') || label.ends_with('-') || label.contains("--") {
        findings.refuse(
            pointer,
            "domain.hyphen",
            "Tên không được bắt đầu hoặc kết thúc bằng `-`, không có hai dấu `-` liền nhau; hãy bỏ bớt dấu `-`.",
            "remove each `-` at the beginning or end and where two stand in a row",
        );
    }
    let octets = if label.is_ascii() {
        Some(label.len())
    } else {
        idna::punycode::encode_str(label).map(|code| "xn--".len() + code.len())
    };
    if octets.is_none_or(|octets| octets > LABEL_OCTETS_MAX) {
        findings.refuse(
            pointer,
            "domain.length",
            format!("Tên quá dài: tối đa {LABEL_OCTETS_MAX} ký tự ở dạng `xn--`; hãy chọn tên ngắn hơn."),
            format!("the name is too long, at most {LABEL_OCTETS_MAX} octets in its `xn--` form; choose a shorter one"),
        );
    }
}

fn check_reserved(label: &str, suffix: &str, pointer: &str, findings: &mut Findings) {
    match policy::reserved(&without_marks(label)) {
        // A person may be called Thái Bình or Khánh Hòa.
        Some(Reserved::Province) if suffix == "id.vn" => findings.warn(
            pointer,
            "domain.province",
            format!("`{label}` là tên một tỉnh; hãy xem lại nếu đây không phải tên của chủ thể."),
            format!("`{label}` is the name of a province; look again unless it is the registrant's own name"),
        ),
        Some(_) => findings.refuse(
            pointer,
            "domain.reserved",
            format!("Tên `{label}` nằm trong danh sách tên dành riêng; hãy chọn tên khác."),
            format!("`{label}` is on the list of reserved names; choose another"),
        ),
        None => {}
    }
}
