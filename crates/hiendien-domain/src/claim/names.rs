//! Granted names: NFC, the Vietnamese repertoire, IDNA, reserved labels.

use unicode_normalization::UnicodeNormalization;

use super::policy::RESERVED;
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
            format!("Tên miền phải kết thúc bằng `.{wanted}`."),
            format!("the name must end in `.{wanted}`"),
        );
        return None;
    };
    let before = findings.faults.len();
    if let Some(wanted) = suffix.filter(|wanted| *wanted != found) {
        findings.refuse(
            pointer,
            "domain.suffix",
            format!("Chương trình này cấp tên dưới `.{wanted}`, không phải `.{found}`."),
            format!("this programme grants names under `.{wanted}`, not `.{found}`"),
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
    // A-labels are judged by what they show.
    let (unicode, decoded) = idna::domain_to_unicode(&label);
    if decoded.is_err() {
        findings.refuse(
            pointer,
            "domain.idna",
            "Nhãn `xn--` này không phải tên IDNA hợp lệ; hãy gửi tên có dấu.",
            "this `xn--` label is not valid IDNA; send the name in its Unicode form",
        );
        return None;
    }
    let vietnamese = |character: char| {
        character.is_ascii_lowercase()
            || character.is_ascii_digit()
            || character == '-'
            || VIETNAMESE.contains(character)
    };
    if let Some(character) = unicode.chars().find(|&character| !vietnamese(character)) {
        let code = u32::from(character);
        findings.refuse(
            pointer,
            "domain.repertoire",
            format!("Ký tự U+{code:04X} không thuộc bảng chữ cái tiếng Việt; tên chỉ gồm chữ cái tiếng Việt, chữ số và dấu `-`."),
            format!("the character U+{code:04X} is not in the Vietnamese repertoire; use Vietnamese letters, digits and `-` only"),
        );
    }
    if unicode.starts_with('-') || unicode.ends_with('-') || unicode.contains("--") {
        findings.refuse(
            pointer,
            "domain.hyphen",
            "Tên không được bắt đầu hoặc kết thúc bằng `-`, và không có hai dấu `-` liền nhau.",
            "the name must not begin or end with `-` nor have two in a row",
        );
    }
    let ascii = ascii_name(&unicode).filter(|ascii| ascii.len() <= 63);
    let Some(ascii) = ascii else {
        if findings.faults.len() == before {
            findings.refuse(
                pointer,
                "domain.length",
                "Tên quá dài: tối đa 63 ký tự sau khi chuyển sang dạng `xn--`.",
                "the name is too long: at most 63 octets in its `xn--` form",
            );
        }
        return None;
    };
    let plain = without_marks(&unicode);
    let joined = plain.replace('-', "");
    if RESERVED
        .labels
        .iter()
        .any(|reserved| *reserved == plain || *reserved == joined)
    {
        findings.refuse(
            pointer,
            "domain.reserved",
            format!("Tên `{unicode}` được giữ lại và không cấp; hãy chọn tên khác."),
            format!("`{unicode}` is reserved and not granted; choose another name"),
        );
    }
    if findings.faults.len() > before {
        return None;
    }
    format!("{ascii}.{found}").parse().ok()
}
