//! Granted names: NFC, the Vietnamese repertoire, IDNA, reserved labels.

use unicode_normalization::UnicodeNormalization;

use super::policy;
use super::reader::Findings;
use crate::lifecycle::Programme;
use crate::name::DomainName;

/// Lower-case Vietnamese letters beyond a-z, NFC.
const VIETNAMESE: &str = "àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ";

/// A name in A-labels from U-labels or A-labels; `None` when IDNA refuses it.
pub fn ascii_name(text: &str) -> Option<String> {
    let name: String = text
        .trim()
        .trim_end_matches('.')
        .nfc()
        .collect::<String>()
        .to_lowercase();
    let ascii = idna::domain_to_ascii_strict(&name).ok()?;
    (!ascii.is_empty()).then_some(ascii)
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

/// Checks a granted name; tells every fault it has.
pub(crate) fn granted(
    text: &str,
    programme: Option<Programme>,
    pointer: &str,
    findings: &mut Findings,
) -> Option<DomainName> {
    let name: String = text
        .trim()
        .trim_end_matches('.')
        .nfc()
        .collect::<String>()
        .to_lowercase();
    let suffix = programme.map(Programme::suffix);
    let split = ["biz.vn", "id.vn"].into_iter().find_map(|known| {
        name.strip_suffix(known)?
            .strip_suffix('.')
            .map(|label| (label.to_owned(), known))
    });
    let Some((label, found)) = split else {
        let wanted = suffix.unwrap_or("biz.vn");
        findings.refuse(
            pointer,
            "domain.suffix",
            format!("Tên miền phải kết thúc bằng `.{wanted}`; hãy ghi đủ."),
            format!("write the whole name, which ends in `.{wanted}`"),
        );
        return None;
    };
    let before = findings.faults.len();
    if let Some(wanted) = suffix.filter(|wanted| *wanted != found) {
        findings.refuse(
            pointer,
            "domain.suffix",
            format!("Chương trình này cấp tên dưới `.{wanted}`, không phải `.{found}`; hãy sửa tên hoặc `programme`."),
            format!("this programme grants names under `.{wanted}`, not `.{found}`; mend the name or `programme`"),
        );
    }
    if label.is_empty() || label.contains('.') {
        findings.refuse(
            pointer,
            "domain.labels",
            format!("Chỉ được có một nhãn trước `.{found}`, ví dụ `ten-cua-ban.{found}`."),
            format!("have exactly one label before `.{found}`, such as `your-name.{found}`"),
        );
        return None;
    }
    // A-labels are judged by what they show, and must be the ones that IDNA makes of it.
    let unicode = if label.starts_with("xn--") {
        let (unicode, decoded) = idna::domain_to_unicode(&label);
        if decoded.is_err() || ascii_name(&unicode).as_deref() != Some(label.as_str()) {
            findings.refuse(
                pointer,
                "domain.idna",
                "Nhãn `xn--` này không phải tên IDNA hợp lệ; hãy gửi tên ở dạng có dấu.",
                "this `xn--` label is not valid IDNA; send the name in its Unicode form",
            );
            return None;
        }
        unicode
    } else {
        label
    };
    let vietnamese = |character: char| {
        character.is_ascii_lowercase()
            || character.is_ascii_digit()
            || character == '-'
            || VIETNAMESE.contains(character)
    };
    if let Some(character) = unicode.chars().find(|&character| !vietnamese(character)) {
        let code = u32::from(character);
        let position = unicode
            .chars()
            .take_while(|&other| other != character)
            .count()
            + 1;
        findings.refuse(
            pointer,
            "domain.repertoire",
            format!("Ký tự thứ {position} (U+{code:04X}) không thuộc bảng chữ cái tiếng Việt, dù có thể trông giống; hãy gõ lại tên bằng chữ cái tiếng Việt, chữ số và dấu `-`."),
            format!("character {position} (U+{code:04X}) is not in the Vietnamese repertoire, even if it looks so; type the name anew with Vietnamese letters, digits and `-`"),
        );
        return None;
    }
    if unicode.starts_with('-') || unicode.ends_with('-') || unicode.contains("--") {
        findings.refuse(
            pointer,
            "domain.hyphen",
            "Tên không được bắt đầu hoặc kết thúc bằng `-`, không có hai dấu `-` liền nhau; hãy bỏ bớt dấu `-`.",
            "remove each `-` at the beginning or end and where two stand in a row",
        );
    }
    let Some(ascii) = ascii_name(&unicode) else {
        if findings.faults.len() == before {
            findings.refuse(
                pointer,
                "domain.length",
                "Tên quá dài: tối đa 63 ký tự ở dạng `xn--`; hãy chọn tên ngắn hơn.",
                "the name is too long, at most 63 octets in its `xn--` form; choose a shorter one",
            );
        }
        return None;
    };
    if policy::is_reserved_label(&without_marks(&unicode)) {
        findings.refuse(
            pointer,
            "domain.reserved",
            format!("Tên `{unicode}` dành riêng, không cấp trong chương trình; hãy chọn tên khác."),
            format!("`{unicode}` is reserved and not granted; choose another name"),
        );
    }
    if findings.faults.len() > before {
        return None;
    }
    format!("{ascii}.{found}").parse().ok()
}
