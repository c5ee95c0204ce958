//! The members of a claim that both programmes have: who verified it, where it is delegated, how the
//! owner is reached, what the owner agreed to.

use serde_json::Value;

use super::super::{
    Channel, Consent, Contact, Delegation, Dossier, DossierState, Evidence, Locale, Origin,
    PostalAddress, Province, ProvinceScheme, Purpose, identifiers, names, policy, provinces,
};
use super::{if_digits, moment, optional_date};
use crate::name::{DomainName, LocalPart, MailAddress};
use crate::reader::{Findings, Format, Object};

const MAILBOXES_MAX: usize = 5;
const CONSENTS_MAX: usize = 20;
const NAME_SERVERS_MAX: usize = 13;

pub(crate) fn evidence(mut object: Object<'_>, findings: &mut Findings) -> Option<Evidence> {
    let words = ["ekyc", "digital_signature", "dept_database", "manual"];
    let method = object.word("method", &words, findings);
    let verifier = object.text("verifier", 200, findings);
    let verified_at = moment(&mut object, "verified_at", findings);
    let reference = object.text("reference", 200, findings);
    object.finish(findings);
    Some(Evidence {
        method: method?,
        verifier: verifier?,
        verified_at: verified_at?,
        reference: reference?,
    })
}

pub(crate) fn dossier(mut object: Object<'_>, findings: &mut Findings) -> Option<Dossier> {
    let state = object.word("state", &["complete", "pending"], findings);
    let given = object.optional("deadline").is_some();
    let deadline = optional_date(&mut object, "deadline", findings);
    if state == Some(DossierState::Pending) && !given {
        findings.refuse(
            &object.at("deadline"),
            "missing",
            "Hồ sơ còn thiếu giấy tờ (`pending`) thì phải có hạn bổ sung; hãy ghi `deadline`.",
            "a `pending` dossier has a day by which it is to be complete; add `deadline`",
        );
    }
    object.finish(findings);
    Some(Dossier {
        state: state?,
        deadline,
    })
}

pub(crate) fn locale(object: &mut Object<'_>, findings: &mut Findings) -> Option<Locale> {
    object.optional("locale")?;
    object.word("locale", &["vi"], findings)
}

pub(crate) fn delegation(mut object: Object<'_>, findings: &mut Findings) -> Delegation {
    let mut ns: Vec<DomainName> = Vec::new();
    let written = object.required("ns", findings);
    for (pointer, item) in object.items("ns", NAME_SERVERS_MAX, findings) {
        match item.as_str().and_then(names::host) {
            Some(name) if ns.contains(&name) => findings.refuse(
                &pointer,
                "delegation.twice",
                format!("Máy chủ tên `{name}` được nêu hai lần; hãy bỏ một."),
                format!("the name server `{name}` stands twice; remove one"),
            ),
            Some(name) => ns.push(name),
            None => findings.refuse(
                &pointer,
                "delegation.ns",
                "Hãy ghi tên đầy đủ của máy chủ tên, ví dụ `ns1.nha-dang-ky.vn`.",
                "write the full name of a name server, such as `ns1.registrar.vn`",
            ),
        }
    }
    if written
        .and_then(Value::as_array)
        .is_some_and(|names| names.len() < 2)
    {
        findings.refuse(
            &object.at("ns"),
            "delegation.few",
            "Cần ít nhất hai máy chủ tên; hãy ghi thêm.",
            "name at least two name servers",
        );
    }
    let ds_supported = object.flag("ds_supported", findings).unwrap_or(false);
    object.finish(findings);
    Delegation { ns, ds_supported }
}

pub(crate) fn mailboxes(object: &mut Object<'_>, findings: &mut Findings) -> Vec<LocalPart> {
    let items = object.items("mailboxes", MAILBOXES_MAX, findings);
    let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    if object.optional("mailboxes").is_none_or(none) {
        findings.refuse(
            "/mailboxes",
            "mailboxes.empty",
            "Cần ít nhất một hộp thư; hãy ghi, ví dụ, `[\"lienhe\"]`.",
            "name at least one mailbox, such as `[\"lienhe\"]`",
        );
    }
    let mut mailboxes: Vec<LocalPart> = Vec::new();
    for (pointer, item) in items {
        let Some(local) = item
            .as_str()
            .and_then(|text| text.parse::<LocalPart>().ok())
        else {
            findings.refuse(
                &pointer,
                "mailbox.local_part",
                "Tên hộp thư gồm 1 đến 64 ký tự a-z, 0-9, `.`, `_`, `-`, bắt đầu và kết thúc bằng chữ hoặc số, không có `..`; hãy ghi lại, ví dụ `lienhe`.",
                "write a mailbox name with 1 to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit at both ends and no `..`, such as `lienhe`",
            );
            continue;
        };
        if policy::reserved_local_parts()
            .iter()
            .any(|reserved| reserved == local.as_str())
        {
            findings.refuse(
                &pointer,
                "mailbox.reserved",
                format!("`{local}` được giữ cho việc vận hành; hãy chọn tên khác, ví dụ `lienhe`."),
                format!("`{local}` is reserved for operations; choose another, such as `lienhe`"),
            );
        } else if mailboxes.contains(&local) {
            findings.refuse(
                &pointer,
                "mailbox.twice",
                format!("Hộp thư `{local}` được nêu hai lần; hãy bỏ một."),
                format!("the mailbox `{local}` stands twice; remove one"),
            );
        } else {
            mailboxes.push(local);
        }
    }
    mailboxes
}

const PHONE: Format = Format {
    code: "phone.format",
    vi: "Đây không phải số điện thoại Việt Nam; hãy ghi, ví dụ, `0710 000 001` hoặc `024 1000 0001`.",
    en: "this is not a Vietnamese number; write it as `0710 000 001` or `+84710000001`",
};

const EMAIL: Format = Format {
    code: "email.format",
    vi: "Địa chỉ thư không đúng; hãy ghi theo dạng `ten@nha-cung-cap.vn`.",
    en: "this is not a mail address; write it as `name@provider.vn`",
};

/// Longest mail address, octets (RFC 5321, 4.5.3.1.3 without the brackets).
const EMAIL_OCTETS_MAX: usize = 254;

/// A mail address; its host may be written in U-labels.
fn email(text: &str) -> Option<MailAddress> {
    let (local, host) = text.rsplit_once('@')?;
    let host = names::host(host)?;
    let address: MailAddress = format!("{local}@{host}").parse().ok()?;
    (address.as_str().len() <= EMAIL_OCTETS_MAX).then_some(address)
}

pub(crate) fn contact(
    mut object: Object<'_>,
    domain: Option<&DomainName>,
    findings: &mut Findings,
) -> Option<Contact> {
    let phone = object.formatted("phone", &PHONE, identifiers::phone, findings);
    let email = object.formatted("email", &EMAIL, email, findings);
    let is_inside = |email: &MailAddress| -> bool {
        let host: Result<DomainName, _> = email.domain().parse();
        matches!((host, domain), (Ok(host), Some(domain)) if host.is_at_or_below(domain))
    };
    if email.as_ref().is_some_and(is_inside) {
        findings.refuse(
            &object.at("email"),
            "email.inside",
            "Hãy dùng địa chỉ thư đang có ở nơi khác: hộp thư dưới tên miền mới chưa nhận được liên kết đặt mật khẩu của chính nó.",
            "use an address elsewhere that exists already: a mailbox of the new name cannot receive its own password link",
        );
    }
    object.finish(findings);
    Some(Contact {
        phone: phone?,
        email: email?,
    })
}

const WARD_CODE: Format = Format {
    code: "ward_code.format",
    vi: "Mã phường/xã gồm 5 chữ số; hãy ghi lại, ví dụ `00004`.",
    en: "write the ward code with 5 digits, such as `00004`",
};

pub(crate) fn address(mut object: Object<'_>, findings: &mut Findings) -> Option<PostalAddress> {
    let line = object.text("line", 200, findings);
    let ward = object.optional_text("ward", 100, findings);
    let code = |text: &str| if_digits(text, 5..=5);
    let ward_code = object.optional_formatted("ward_code", &WARD_CODE, code, findings);
    let district_text = object.optional_text("district_text", 100, findings);
    let raw = object.optional_lines("raw", 500, findings);
    let province = object
        .object("province", findings)
        .and_then(|object| province(object, findings));
    object.finish(findings);
    Some(PostalAddress {
        line: line?,
        ward,
        ward_code,
        district_text,
        raw,
        province: province?,
    })
}

const PROVINCE_CODE: Format = Format {
    code: "province.code",
    vi: "Mã tỉnh gồm 2 chữ số; hãy ghi lại, ví dụ `01`.",
    en: "write the province code with 2 digits, such as `01`",
};

fn province(mut object: Object<'_>, findings: &mut Findings) -> Option<Province> {
    let scheme: Option<ProvinceScheme> = object.word("scheme", &["gso63", "gso34"], findings);
    let code = |text: &str| if_digits(text, 2..=2);
    let code = object.formatted("code", &PROVINCE_CODE, code, findings);
    let pointer = object.at("code");
    object.finish(findings);
    let code = code?;
    // Without a scheme a code is wrong only where neither scheme has it.
    let schemes = match scheme {
        Some(scheme) => vec![scheme],
        None => vec![ProvinceScheme::Gso63, ProvinceScheme::Gso34],
    };
    let is_known = schemes.into_iter().any(|scheme| {
        let code = code.clone();
        provinces::current_name(&Province { scheme, code }).is_some()
    });
    if !is_known {
        findings.refuse(
            &pointer,
            "province.unknown",
            format!("Mã tỉnh `{code}` không có trong bảng mã đã chọn; hãy kiểm tra mã và `scheme` (`gso63`: 63 tỉnh cũ, `gso34`: 34 tỉnh từ 01/07/2025)."),
            format!("`{code}` is no province of this scheme; check the code, and whether `gso63` (until 2025-06-30) or `gso34` is meant"),
        );
    }
    Some(Province {
        scheme: scheme?,
        code,
    })
}

pub(crate) fn origin(mut object: Object<'_>, findings: &mut Findings) -> Option<Origin> {
    let words = ["portal", "dept", "union", "support_point"];
    let channel = object.word("channel", &words, findings);
    let org_id = object.optional_text("org_id", 64, findings);
    let support_point_id = object.optional_text("support_point_id", 64, findings);
    let campaign = object.optional_text("campaign", 64, findings);
    if channel.is_some_and(|channel| channel != Channel::Portal) && org_id.is_none() {
        findings.warn(
            &object.at("org_id"),
            "origin.org_id",
            "Hồ sơ không đến từ cổng mà chưa ghi đơn vị giới thiệu, nên không vào báo cáo của đơn vị nào; hãy ghi `org_id` nếu biết.",
            "this claim did not come by the portal, and without its organisation it is in no organisation's report; add `org_id` if it is known",
        );
    }
    object.finish(findings);
    Some(Origin {
        channel: channel?,
        org_id,
        support_point_id,
        campaign,
    })
}

pub(crate) fn consents(object: &mut Object<'_>, findings: &mut Findings) -> Vec<Consent> {
    let words = [
        "provision",
        "directory",
        "publish_phone",
        "publish_qr",
        "statistics",
    ];
    let mut consents = Vec::new();
    let mut purposes: Vec<Purpose> = Vec::new();
    for object in object.objects("consents", CONSENTS_MAX, findings) {
        let pointer = object.pointer.clone();
        let (purpose, consent) = consent(object, &words, findings);
        let Some(purpose) = purpose else {
            continue;
        };
        if purposes.contains(&purpose) {
            findings.refuse(
                &pointer,
                "consent.twice",
                "Mục đích này bị ghi hai lần; hãy chỉ giữ lần đồng ý mới nhất.",
                "this purpose stands twice; keep only the latest consent",
            );
        }
        purposes.push(purpose);
        consents.extend(consent);
    }
    consents
}

/// The purpose also where the rest of the consent has faults.
fn consent(
    mut object: Object<'_>,
    words: &[&str],
    findings: &mut Findings,
) -> (Option<Purpose>, Option<Consent>) {
    let purpose = object.word("purpose", words, findings);
    object.required("given", findings);
    let given = object.flag("given", findings);
    let at = moment(&mut object, "at", findings);
    let text_version = object.text("text_version", 64, findings);
    if purpose == Some(Purpose::Provision) && given == Some(false) {
        findings.refuse(
            &object.at("given"),
            "consent.provision",
            "Chủ thể chưa đồng ý khởi tạo dịch vụ (`provision`); hãy xin sự đồng ý trước khi gửi hồ sơ.",
            "the subject does not consent to `provision`; obtain the consent before sending the claim",
        );
    }
    object.finish(findings);
    let complete = || {
        Some(Consent {
            purpose: purpose?,
            given: given?,
            at: at?,
            text_version: text_version?,
        })
    };
    (purpose, complete())
}
