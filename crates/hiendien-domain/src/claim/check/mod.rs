//! From bytes to a claim: the document, then its shape and rules together, every fault at once.

mod business;
mod document;
mod person;
pub(crate) mod sweep;

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;

use super::policy::{self, Policy};
use super::reader::{Findings, Object};
use super::{
    Checked, Claim, Consent, Contact, Dossier, DossierState, Evidence, Origin, PostalAddress,
    Province, Purpose, identifiers, names, provinces,
};
use crate::fault::Faults;
use crate::lifecycle::Programme;
use crate::name::{DomainName, LocalPart, MailAddress};

const MAILBOXES_MAX: usize = 5;
const CONSENTS_MAX: usize = 20;

/// Checks a claim. All faults come back at once; a claim that is too large, is not UTF-8 or is not
/// JSON gives that one fault.
pub fn parse(bytes: &[u8]) -> Result<Checked, Faults> {
    let mut findings = Findings::default();
    let document = document::read(bytes, &mut findings).map_err(|fault| Faults(vec![fault]))?;
    let claim =
        Object::new(&document, "", &mut findings).and_then(|object| claim(object, &mut findings));
    sweep::sweep(&document, &mut findings);
    match claim {
        Some(claim) if findings.faults.is_empty() => Ok(Checked {
            claim,
            warnings: findings.warnings,
        }),
        _ => Err(Faults(findings.faults)),
    }
}

/// A day in the one form that is taken, `YYYY-MM-DD`.
struct Day(Date);

impl FromStr for Day {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parsed: Date = text.parse().map_err(|_| ())?;
        if parsed.to_string() == text {
            Ok(Self(parsed))
        } else {
            Err(())
        }
    }
}

const DAY_VI: &str = "Hãy ghi ngày có thật theo dạng `YYYY-MM-DD`, ví dụ `2025-06-01`.";
const DAY_EN: &str = "write a day that exists as `YYYY-MM-DD`, such as `2025-06-01`";

fn date(object: &mut Object<'_>, name: &'static str, findings: &mut Findings) -> Option<Date> {
    let day: Day = object.parsed(name, "date.format", DAY_VI, DAY_EN, findings)?;
    Some(day.0)
}

fn optional_date(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Date> {
    object.optional(name)?;
    date(object, name, findings)
}

fn moment(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Timestamp> {
    object.parsed(
        name,
        "moment.format",
        "Hãy ghi thời điểm theo RFC 3339 có múi giờ, ví dụ `2025-06-01T09:00:00+07:00`.",
        "write the moment as RFC 3339 with offset, such as `2025-06-01T09:00:00+07:00`",
        findings,
    )
}

/// As people in Viet Nam write a day.
fn spoken(date: Date) -> String {
    date.strftime("%d/%m/%Y").to_string()
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_slug(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn claim(mut object: Object<'_>, findings: &mut Findings) -> Option<Claim> {
    let schema_version = object.text("schema_version", 32, findings);
    if schema_version
        .as_deref()
        .is_some_and(|version| version != "claim/v1")
    {
        findings.refuse(
            "/schema_version",
            "schema_version.unknown",
            "Dịch vụ này chỉ nhận phiên bản `claim/v1`; hãy ghi `claim/v1`.",
            "write `claim/v1`, the version this service takes",
        );
    }
    let registrar = object.text("registrar", 64, findings);
    if registrar.as_deref().is_some_and(|text| !is_slug(text)) {
        findings.refuse(
            "/registrar",
            "registrar.format",
            "Mã nhà đăng ký chỉ gồm a-z, 0-9 và dấu `-`; hãy ghi lại, ví dụ `nha-dang-ky`.",
            "write the registrar's identifier with a-z, 0-9 and `-` only, such as `my-registrar`",
        );
    }
    let reference = object.text("reference", 128, findings);
    if reference
        .as_deref()
        .is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        findings.refuse(
            "/reference",
            "reference.format",
            "Mã tham chiếu chỉ gồm ký tự ASCII in được, không có dấu cách và chữ có dấu; hãy ghi lại.",
            "write the reference with printable ASCII characters only, without spaces",
        );
    }
    let programme: Option<Programme> = object.word("programme", &["biz", "id"], findings);
    let domain = object
        .text("domain", 255, findings)
        .and_then(|text| names::granted(&text, programme, "/domain", findings));
    let granted_on = date(&mut object, "granted_on", findings);
    let expires_on = optional_date(&mut object, "expires_on", findings);
    if let (Some(granted), Some(expires)) = (granted_on, expires_on)
        && expires <= granted
    {
        findings.refuse(
            "/expires_on",
            "date.order",
            "Ngày hết hạn phải sau ngày cấp `granted_on`; hãy kiểm tra cả hai.",
            "the expiry must come after `granted_on`; check both",
        );
    }
    let policy = policy(programme, granted_on, findings);
    let approved_at = moment(&mut object, "approved_at", findings);
    let approved_by = object.text("approved_by", 200, findings);
    let evidence = object
        .object("evidence", findings)
        .and_then(|object| evidence(object, findings));
    let dossier = object
        .optional_object("dossier", findings)
        .and_then(|object| dossier(object, findings));
    let template = template(&mut object, findings);
    let mailboxes = mailboxes(&mut object, findings);
    let contact = object
        .object("contact", findings)
        .and_then(|object| contact(object, domain.as_ref(), findings));
    let address = object
        .object("address", findings)
        .and_then(|object| address(object, findings));
    let origin = object
        .optional_object("origin", findings)
        .and_then(|object| origin(object, findings));
    let consents = consents(&mut object, findings);

    let wanted = |of: Programme| programme == Some(of);
    for (other, member) in [(Programme::Id, "business"), (Programme::Biz, "person")] {
        if object.optional(member).is_some() && wanted(other) {
            findings.refuse(
                &object.at(member),
                "programme.member",
                format!("Trường `{member}` không thuộc chương trình `{other}`; hãy bỏ đi, hoặc sửa `programme`."),
                format!("`{member}` does not belong to programme `{other}`; remove it, or mend `programme`"),
            );
        }
    }
    let business = if wanted(Programme::Biz) {
        object.object("business", findings)
    } else if wanted(Programme::Id) {
        None
    } else {
        object.optional_object("business", findings)
    }
    .and_then(|object| business::read(object, granted_on, policy, findings));
    let person = if wanted(Programme::Id) {
        object.object("person", findings)
    } else if wanted(Programme::Biz) {
        None
    } else {
        object.optional_object("person", findings)
    }
    .and_then(|object| person::read(object, granted_on, policy, findings));
    object.finish(findings);

    let claim = Claim {
        schema_version: schema_version?,
        registrar: registrar?,
        reference: reference?,
        programme: programme?,
        domain: domain?,
        granted_on: granted_on?,
        expires_on,
        approved_at: approved_at?,
        approved_by: approved_by?,
        evidence: evidence?,
        dossier,
        template,
        mailboxes,
        contact: contact?,
        address: address?,
        origin,
        consents,
        business,
        person,
    };
    if claim.shows_bank() && !claim.consents_to(Purpose::PublishQr) {
        findings.refuse(
            "/business/profile/bank",
            "bank.consent",
            "Muốn hiện tài khoản ngân hàng, hãy gửi kèm sự đồng ý `publish_qr`; nếu chủ hộ không đồng ý, hãy bỏ `bank`.",
            "to show a bank account send the consent `publish_qr`; where it is not given, leave `bank` out",
        );
    }
    Some(claim)
}

fn policy(
    programme: Option<Programme>,
    granted_on: Option<Date>,
    findings: &mut Findings,
) -> Option<&'static Policy> {
    let (programme, granted_on) = (programme?, granted_on?);
    let found = policy::policy(programme, granted_on);
    if found.is_none() {
        let rows = || {
            policy::policies()
                .iter()
                .filter(|row| row.programme == programme)
        };
        let spans_vi: Vec<_> = rows()
            .map(|row| {
                let (from, to) = (spoken(row.valid_from), spoken(row.valid_to));
                format!("{from} – {to} ({})", row.basis)
            })
            .collect();
        let spans_en: Vec<_> = rows()
            .map(|row| format!("{} to {} (`{}`)", row.valid_from, row.valid_to, row.id))
            .collect();
        findings.refuse(
            "/granted_on",
            "policy.window",
            format!(
                "Ngày cấp {} không nằm trong đợt ưu đãi nào; các đợt là: {}. Hãy kiểm tra lại ngày cấp.",
                spoken(granted_on),
                spans_vi.join("; ")
            ),
            format!(
                "no policy gives a name free of charge on {granted_on}; there are {}; check the day of the grant",
                spans_en.join(", ")
            ),
        );
    }
    found
}

fn evidence(mut object: Object<'_>, findings: &mut Findings) -> Option<Evidence> {
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

fn dossier(mut object: Object<'_>, findings: &mut Findings) -> Option<Dossier> {
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

fn template(object: &mut Object<'_>, findings: &mut Findings) -> Option<String> {
    let template = object.optional_text("template", 64, findings)?;
    if !is_slug(&template) {
        findings.refuse(
            "/template",
            "template.format",
            "Tên mẫu trang chỉ gồm a-z, 0-9 và dấu `-`; hãy ghi lại, ví dụ `business`.",
            "write the template's name with a-z, 0-9 and `-` only, such as `business`",
        );
    }
    Some(template)
}

fn mailboxes(object: &mut Object<'_>, findings: &mut Findings) -> Vec<LocalPart> {
    let items = object.items("mailboxes", MAILBOXES_MAX, findings);
    let none = |value: &serde_json::Value| value.as_array().is_some_and(Vec::is_empty);
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

fn contact(
    mut object: Object<'_>,
    domain: Option<&DomainName>,
    findings: &mut Findings,
) -> Option<Contact> {
    let written = object.text("phone", 32, findings);
    let phone = written.as_deref().and_then(identifiers::phone);
    if written.is_some() && phone.is_none() {
        findings.refuse(
            &object.at("phone"),
            "phone.format",
            "Đây không phải số điện thoại Việt Nam; hãy ghi, ví dụ, `0912 345 678` hoặc `024 3555 0100`.",
            "this is not a Vietnamese number; write it as `0912 345 678` or `+84912345678`",
        );
    }
    let email: Option<MailAddress> = object.parsed(
        "email",
        "email.format",
        "Địa chỉ thư không đúng; hãy ghi theo dạng `ten@nha-cung-cap.vn`.",
        "this is not a mail address; write it as `name@provider.vn`",
        findings,
    );
    let inside = |email: &MailAddress| -> bool {
        let host: Result<DomainName, _> = email.domain().parse();
        matches!((host, domain), (Ok(host), Some(domain)) if host.is_at_or_below(domain))
    };
    if email.as_ref().is_some_and(inside) {
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

fn address(mut object: Object<'_>, findings: &mut Findings) -> Option<PostalAddress> {
    let line = object.text("line", 200, findings);
    let ward = object.optional_text("ward", 100, findings);
    let ward_code = object.optional_text("ward_code", 5, findings);
    if ward_code
        .as_deref()
        .is_some_and(|code| code.len() != 5 || !all_digits(code))
    {
        findings.refuse(
            &object.at("ward_code"),
            "ward_code.format",
            "Mã phường/xã gồm 5 chữ số; hãy ghi lại, ví dụ `00004`.",
            "write the ward code with 5 digits, such as `00004`",
        );
    }
    let district_text = object.optional_text("district_text", 100, findings);
    let province = object
        .object("province", findings)
        .and_then(|object| province(object, findings));
    object.finish(findings);
    Some(PostalAddress {
        line: line?,
        ward,
        ward_code,
        district_text,
        province: province?,
    })
}

fn province(mut object: Object<'_>, findings: &mut Findings) -> Option<Province> {
    let scheme = object.word("scheme", &["gso63", "gso34"], findings);
    let code = object.text("code", 2, findings);
    let pointer = object.at("code");
    object.finish(findings);
    let province = Province {
        scheme: scheme?,
        code: code?,
    };
    if provinces::current_name(&province).is_none() {
        let code = &province.code;
        findings.refuse(
            &pointer,
            "province.unknown",
            format!("Mã tỉnh `{code}` không có trong bảng mã đã chọn; hãy kiểm tra mã và `scheme` (`gso63`: 63 tỉnh cũ, `gso34`: 34 tỉnh từ 01/07/2025)."),
            format!("`{code}` is no province of this scheme; check the code, and whether `gso63` (until 2025-06-30) or `gso34` is meant"),
        );
        return None;
    }
    Some(province)
}

fn origin(mut object: Object<'_>, findings: &mut Findings) -> Option<Origin> {
    let words = ["portal", "dept", "union", "support_point"];
    let channel = object.word("channel", &words, findings);
    let org_id = object.optional_text("org_id", 64, findings);
    let support_point_id = object.optional_text("support_point_id", 64, findings);
    let campaign = object.optional_text("campaign", 64, findings);
    object.finish(findings);
    Some(Origin {
        channel: channel?,
        org_id,
        support_point_id,
        campaign,
    })
}

fn consents(object: &mut Object<'_>, findings: &mut Findings) -> Vec<Consent> {
    let words = [
        "provision",
        "directory",
        "publish_phone",
        "publish_qr",
        "statistics",
    ];
    let mut consents: Vec<Consent> = Vec::new();
    for (pointer, item) in object.items("consents", CONSENTS_MAX, findings) {
        let Some(mut item) = Object::new(item, &pointer, findings) else {
            continue;
        };
        let purpose = item.word("purpose", &words, findings);
        item.required("given", findings);
        let given = item.flag("given", findings);
        let at = moment(&mut item, "at", findings);
        let text_version = item.text("text_version", 64, findings);
        item.finish(findings);
        if purpose == Some(Purpose::Provision) && given == Some(false) {
            findings.refuse(
                &format!("{pointer}/given"),
                "consent.provision",
                "Chủ thể chưa đồng ý khởi tạo dịch vụ (`provision`); hãy xin sự đồng ý trước khi gửi hồ sơ.",
                "the subject does not consent to `provision`; obtain the consent before sending the claim",
            );
        }
        if consents.iter().any(|other| Some(other.purpose) == purpose) {
            findings.refuse(
                &pointer,
                "consent.twice",
                "Mục đích này được nêu hai lần; hãy chỉ giữ sự đồng ý mới nhất.",
                "this purpose stands twice; keep only the latest consent",
            );
        }
        if let (Some(purpose), Some(given), Some(at), Some(text_version)) =
            (purpose, given, at, text_version)
        {
            consents.push(Consent {
                purpose,
                given,
                at,
                text_version,
            });
        }
    }
    consents
}
