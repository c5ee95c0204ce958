//! From bytes to a claim: shape first, then the rules, every fault at once.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::identifiers::{self, CitizenIdFault, TaxIdFault};
use super::policy::{self, RESERVED};
use super::reader::{Findings, Object, fault};
use super::{
    Bank, Business, CLAIM_BYTES_MAX, Checked, Claim, Consent, Contact, Dossier, DossierState,
    Evidence, Geo, Hours, Industry, Link, Network, Origin, Person, Post, PostalAddress, Product,
    Profile, Province, Purpose, Representative, School, SubjectType, names, provinces,
};
use crate::fault::Faults;
use crate::lifecycle::Programme;
use crate::name::{DomainName, LocalPart, MailAddress};

const MAILBOXES_MAX: usize = 5;
const PRODUCTS_MAX: usize = 200;
const POSTS_MAX: usize = 100;

/// Checks a claim. All faults come back at once; a claim that is too large, is not UTF-8 or is not
/// JSON gives that one fault.
pub fn parse(bytes: &[u8]) -> Result<Checked, Faults> {
    let document = document(bytes).map_err(|fault| Faults(vec![fault]))?;
    let mut findings = Findings::default();
    let claim =
        Object::new(&document, "", &mut findings).and_then(|object| claim(object, &mut findings));
    match claim {
        Some(claim) if findings.faults.is_empty() => Ok(Checked {
            claim,
            warnings: findings.warnings,
        }),
        _ => Err(Faults(findings.faults)),
    }
}

fn document(bytes: &[u8]) -> Result<Value, crate::fault::Fault> {
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
            format!("Byte thứ {at} không phải UTF-8; hãy lưu tệp với bảng mã UTF-8."),
            format!("byte {at} is not UTF-8; save the file as UTF-8"),
        )
    })?;
    serde_json::from_str(text.trim_start_matches('\u{FEFF}')).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        fault(
            "",
            "document.json",
            format!("JSON sai cú pháp ở dòng {line}, cột {column}; hãy sửa tại đó."),
            format!("the JSON is broken at line {line}, column {column}: {error}"),
        )
    })
}

const DATE_VI: &str = "Hãy ghi ngày theo dạng `YYYY-MM-DD`, ví dụ `2025-06-01`.";
const DATE_EN: &str = "write the date as `YYYY-MM-DD`, such as `2025-06-01`";
const MOMENT_VI: &str =
    "Hãy ghi thời điểm theo RFC 3339 có múi giờ, ví dụ `2025-06-01T09:00:00+07:00`.";
const MOMENT_EN: &str =
    "write the moment as RFC 3339 with offset, such as `2025-06-01T09:00:00+07:00`";

fn date(object: &mut Object<'_>, name: &'static str, findings: &mut Findings) -> Option<Date> {
    object.parsed(name, "date.format", DATE_VI, DATE_EN, findings)
}

fn moment(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Timestamp> {
    object.parsed(name, "moment.format", MOMENT_VI, MOMENT_EN, findings)
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
            "Hãy ghi `claim/v1`.",
            "write `claim/v1`, the version this service takes",
        );
    }
    let registrar = object.text("registrar", 64, findings);
    if let Some(registrar) = &registrar
        && !registrar
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        findings.refuse(
            "/registrar",
            "registrar.format",
            "Mã nhà đăng ký chỉ gồm a-z, 0-9 và dấu `-`.",
            "a registrar's identifier has only a-z, 0-9 and `-`",
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
            "Mã tham chiếu chỉ gồm ký tự ASCII in được, không có khoảng trắng.",
            "a reference has only printable ASCII characters and no space",
        );
    }
    let programme: Option<Programme> = object.word("programme", &["biz", "id"], findings);
    let domain = object
        .text("domain", 255, findings)
        .and_then(|text| names::granted(&text, programme, "/domain", findings));
    let granted_on = date(&mut object, "granted_on", findings);
    let expires_on: Option<Date> =
        object.optional_parsed("expires_on", "date.format", DATE_VI, DATE_EN, findings);
    if let (Some(granted), Some(expires)) = (granted_on, expires_on)
        && expires <= granted
    {
        findings.refuse(
            "/expires_on",
            "date.order",
            "Ngày hết hạn phải sau ngày cấp `granted_on`.",
            "the expiry must come after `granted_on`",
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

    let of_programme =
        |wanted, other: &'static str, object: &mut Object<'_>, findings: &mut Findings| {
            if programme == Some(wanted) && object.optional(other).is_some() {
                findings.refuse(
                    &object.at(other),
                    "programme.member",
                    format!("Trường `{other}` không thuộc chương trình `{wanted}`; hãy bỏ đi."),
                    format!("`{other}` does not belong to programme `{wanted}`; remove it"),
                );
            }
        };
    of_programme(Programme::Biz, "person", &mut object, findings);
    of_programme(Programme::Id, "business", &mut object, findings);
    let business = match programme {
        Some(Programme::Biz) => {
            let business = object
                .object("business", findings)
                .and_then(|object| business(object, granted_on, policy, findings))?;
            if business
                .profile
                .as_ref()
                .is_some_and(|profile| profile.bank.is_some())
                && !consents
                    .iter()
                    .any(|consent| consent.purpose == Purpose::PublishQr && consent.given)
            {
                findings.refuse(
                    "/business/profile/bank",
                    "bank.consent",
                    "Muốn hiện tài khoản ngân hàng, hãy gửi kèm sự đồng ý `publish_qr`; nếu không, hãy bỏ `bank`.",
                    "to show a bank account send the consent `publish_qr`, or leave `bank` out",
                );
            }
            Some(business)
        }
        _ => None,
    };
    let person = match programme {
        Some(Programme::Id) => Some(
            object
                .object("person", findings)
                .and_then(|object| person(object, granted_on, policy, findings))?,
        ),
        _ => None,
    };
    for other in ["business", "person"] {
        object.optional(other);
    }
    object.finish(findings);

    Some(Claim {
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
    })
}

fn policy(
    programme: Option<Programme>,
    granted_on: Option<Date>,
    findings: &mut Findings,
) -> Option<&'static policy::Policy> {
    let (programme, granted_on) = (programme?, granted_on?);
    let policy = policy::policy(programme, granted_on);
    if policy.is_none() {
        let windows = policy::windows(programme);
        findings.refuse(
            "/granted_on",
            "policy.window",
            format!("Không có chính sách ưu đãi nào áp dụng cho ngày cấp {granted_on}. Các đợt: {windows}."),
            format!("no policy grants a free name on {granted_on}; there are {windows}"),
        );
    }
    policy
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
    let deadline = object.optional_parsed("deadline", "date.format", DATE_VI, DATE_EN, findings);
    if state == Some(DossierState::Pending) && deadline.is_none() {
        findings.refuse(
            &object.at("deadline"),
            "missing",
            "Hồ sơ còn thiếu giấy tờ thì phải có hạn `deadline`.",
            "a pending dossier needs a `deadline`",
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
    let well_formed = template
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !well_formed {
        findings.refuse(
            "/template",
            "template.format",
            "Tên mẫu trang chỉ gồm a-z, 0-9 và dấu `-`, ví dụ `business`.",
            "a template's name has only a-z, 0-9 and `-`, such as `business`",
        );
    }
    well_formed.then_some(template)
}

fn mailboxes(object: &mut Object<'_>, findings: &mut Findings) -> Vec<LocalPart> {
    let items = object.items("mailboxes", MAILBOXES_MAX, findings);
    if items.is_empty() {
        findings.refuse(
            "/mailboxes",
            "mailboxes.empty",
            "Cần ít nhất một hộp thư, ví dụ `[\"lienhe\"]`.",
            "have at least one mailbox, such as `[\"lienhe\"]`",
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
                "Tên hộp thư gồm 1 đến 64 ký tự a-z, 0-9, `.`, `_`, `-`, bắt đầu và kết thúc bằng chữ hoặc số, không có `..`.",
                "a mailbox name has 1 to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit at both ends, no `..`",
            );
            continue;
        };
        if RESERVED
            .local_parts
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
            "Số điện thoại không đúng; hãy ghi số Việt Nam, ví dụ `0912 345 678` hoặc `024 3556 4944`.",
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
            "Hãy dùng địa chỉ thư đang có ở nơi khác: hộp thư dưới tên miền mới chưa tồn tại nên không nhận được mật khẩu.",
            "use an address elsewhere that exists already: mailboxes of the new name cannot receive their own password link",
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
        .is_some_and(|code| code.len() != 5 || !code.bytes().all(|byte| byte.is_ascii_digit()))
    {
        findings.refuse(
            &object.at("ward_code"),
            "ward_code.format",
            "Mã phường/xã gồm 5 chữ số.",
            "a ward code has 5 digits",
        );
    }
    let district_text = object.optional_text("district_text", 100, findings);
    let province = object.object("province", findings).and_then(|mut object| {
        let scheme = object.word("scheme", &["gso63", "gso34"], findings);
        let code = object.text("code", 2, findings);
        let pointer = object.at("code");
        object.finish(findings);
        let province = Province { scheme: scheme?, code: code? };
        if provinces::current_name(&province).is_none() {
            let code = &province.code;
            findings.refuse(
                &pointer,
                "province.unknown",
                format!("Mã tỉnh `{code}` không có trong bảng mã đã chọn; kiểm tra `scheme` (63 tỉnh cũ hay 34 tỉnh mới)."),
                format!("`{code}` is no province of this scheme; check whether `gso63` or `gso34` is meant"),
            );
            return None;
        }
        Some(province)
    });
    object.finish(findings);
    Some(PostalAddress {
        line: line?,
        ward,
        ward_code,
        district_text,
        province: province?,
    })
}

fn origin(mut object: Object<'_>, findings: &mut Findings) -> Option<Origin> {
    let channel = object.word(
        "channel",
        &["portal", "dept", "union", "support_point"],
        findings,
    );
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
    let mut consents = Vec::new();
    for (pointer, item) in object.items("consents", 20, findings) {
        let Some(mut item) = Object::new(item, &pointer, findings) else {
            continue;
        };
        let words = [
            "provision",
            "directory",
            "publish_phone",
            "publish_qr",
            "statistics",
        ];
        let purpose = item.word("purpose", &words, findings);
        item.required("given", findings);
        let given = item.flag("given", findings);
        let at = moment(&mut item, "at", findings);
        let text_version = item.text("text_version", 64, findings);
        item.finish(findings);
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
    if consents
        .iter()
        .any(|consent| consent.purpose == Purpose::Provision && !consent.given)
    {
        findings.refuse(
            "/consents",
            "consent.provision",
            "Chủ thể chưa đồng ý tạo dịch vụ (`provision`), nên không thể tiếp tục.",
            "the subject does not consent to `provision`, so nothing can be made",
        );
    }
    consents
}

fn business(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&policy::Policy>,
    findings: &mut Findings,
) -> Option<Business> {
    let subject_type: Option<SubjectType> =
        object.word("subject_type", &["enterprise", "household"], findings);
    let mut name = |member: &'static str, findings: &mut Findings| {
        let value = object.required(member, findings)?;
        object.as_text(member, value, 2, 200, false, findings)
    };
    let legal_name = name("legal_name", findings);
    let trade_name = name("trade_name", findings);
    let tax_id = object
        .text("tax_id", 20, findings)
        .map(|text| identifiers::digits(&text));
    if let (Some(tax_id), Some(subject_type)) = (&tax_id, subject_type) {
        check_tax_id(tax_id, subject_type, &object.at("tax_id"), findings);
    }
    let registration_no = object.optional_text("registration_no", 32, findings);
    let registered_on: Option<Date> =
        object.optional_parsed("registered_on", "date.format", DATE_VI, DATE_EN, findings);
    if subject_type == Some(SubjectType::Enterprise) {
        check_company_age(
            registered_on,
            granted_on,
            policy,
            &object.at("registered_on"),
            findings,
        );
    }
    let registered_by = object.optional_text("registered_by", 200, findings);
    let representative =
        object
            .optional_object("representative", findings)
            .and_then(|mut object| {
                let full_name = object.text("full_name", 100, findings);
                let role = object.text("role", 100, findings);
                object.finish(findings);
                Some(Representative {
                    full_name: full_name?,
                    role: role?,
                })
            });
    let industry = object
        .optional_object("industry", findings)
        .map(|mut object| {
            let code = object.optional_text("code", 5, findings);
            if code.as_deref().is_some_and(|code| {
                !matches!(code.len(), 4 | 5) || !code.bytes().all(|byte| byte.is_ascii_digit())
            }) {
                findings.refuse(
                    &object.at("code"),
                    "industry.code",
                    "Mã ngành VSIC gồm 4 hoặc 5 chữ số.",
                    "a VSIC code has 4 or 5 digits",
                );
            }
            let text = object.optional_text("text", 120, findings);
            object.finish(findings);
            Industry { code, text }
        });
    let profile = object
        .optional_object("profile", findings)
        .map(|object| profile(object, findings));
    object.finish(findings);
    Some(Business {
        subject_type: subject_type?,
        legal_name: legal_name?,
        trade_name: trade_name?,
        tax_id: tax_id?,
        registration_no,
        registered_on,
        registered_by,
        representative,
        industry,
        profile,
    })
}

fn check_tax_id(tax_id: &str, subject_type: SubjectType, pointer: &str, findings: &mut Findings) {
    if subject_type == SubjectType::Household && tax_id.len() == 12 {
        if identifiers::check_citizen_id(tax_id, None).is_err() {
            findings.refuse(
                pointer,
                "tax_id.citizen",
                "Số định danh 12 chữ số không đúng; hãy kiểm tra lại từng chữ số.",
                "this is not a 12-digit personal id; check each digit",
            );
        }
        return;
    }
    let Err(fault) = identifiers::check_tax_id(tax_id) else {
        return;
    };
    let (code, vi, en) = match (fault, subject_type) {
        (TaxIdFault::Length, SubjectType::Enterprise) => (
            "tax_id.length",
            "Mã số thuế doanh nghiệp có 10 hoặc 13 chữ số.",
            "an enterprise's tax id has 10 or 13 digits",
        ),
        (TaxIdFault::Length, SubjectType::Household) => (
            "tax_id.length",
            "Mã số thuế hộ kinh doanh có 10, 12 hoặc 13 chữ số.",
            "a household's tax id has 10, 12 or 13 digits",
        ),
        (TaxIdFault::Serial, _) => (
            "tax_id.serial",
            "Bảy chữ số thứ tự trong mã số thuế không thể toàn số 0.",
            "the serial part of a tax id cannot be 0000000",
        ),
        (TaxIdFault::Branch, _) => (
            "tax_id.branch",
            "Mã đơn vị phụ thuộc `000` không tồn tại; hãy dùng mã 10 chữ số.",
            "there is no branch `000`; use the 10-digit id",
        ),
        (TaxIdFault::CheckDigit, _) => (
            "tax_id.check_digit",
            "Chữ số kiểm tra của mã số thuế không khớp; hãy kiểm tra lại từng chữ số.",
            "the check digit of the tax id does not match; check each digit",
        ),
    };
    // Codes that households got long ago do not always keep the rule.
    if fault == TaxIdFault::CheckDigit && subject_type == SubjectType::Household {
        findings.warn(pointer, code, vi, en);
    } else {
        findings.refuse(pointer, code, vi, en);
    }
}

fn check_company_age(
    registered_on: Option<Date>,
    granted_on: Option<Date>,
    policy: Option<&policy::Policy>,
    pointer: &str,
    findings: &mut Findings,
) {
    let Some(months) = policy.and_then(|policy| policy.company_age_months_max) else {
        return;
    };
    let (Some(registered), Some(granted)) = (registered_on, granted_on) else {
        if registered_on.is_none() {
            findings.refuse(
                pointer,
                "missing",
                "Doanh nghiệp cần có ngày đăng ký lần đầu `registered_on`.",
                "an enterprise needs the day of its first registration, `registered_on`",
            );
        }
        return;
    };
    if registered > granted {
        findings.refuse(
            pointer,
            "registered_on.future",
            "Ngày đăng ký không thể sau ngày cấp tên miền.",
            "the registration cannot come after the grant",
        );
        return;
    }
    // Adding months clamps to the end of the month.
    let last = registered.saturating_add(jiff::Span::new().months(months));
    if granted > last {
        findings.refuse(
            pointer,
            "registered_on.too_old",
            format!("Doanh nghiệp phải đăng ký trong vòng {months} tháng trước ngày cấp; hạn cuối là {last}."),
            format!("the enterprise must have registered within {months} months before the grant; the last day was {last}"),
        );
    }
}

fn profile(mut object: Object<'_>, findings: &mut Findings) -> Profile {
    let about = object.optional_lines("about", 4000, findings);
    let mut hours = Vec::new();
    for (pointer, item) in object.items("hours", 21, findings) {
        hours.extend(
            Object::new(item, &pointer, findings).and_then(|object| opening(object, findings)),
        );
    }
    let mut products = Vec::new();
    for (pointer, item) in object.items("products", PRODUCTS_MAX, findings) {
        let Some(mut item) = Object::new(item, &pointer, findings) else {
            continue;
        };
        let name = item.text("name", 120, findings);
        let unit = item.optional_text("unit", 30, findings);
        let price = item.optional("price_vnd");
        let price_vnd = price
            .and_then(Value::as_u64)
            .filter(|price| *price <= 1_000_000_000_000);
        if price.is_some() && price_vnd.is_none() {
            findings.refuse(
                &item.at("price_vnd"),
                "price.format",
                "Giá là số nguyên đồng không âm, ví dụ `45000`; bỏ trống nếu muốn ghi “giá liên hệ”.",
                "a price is a whole number of đồng, not negative, such as `45000`; leave it out for \"giá liên hệ\"",
            );
        }
        let tax_included = item.flag("tax_included", findings).unwrap_or(false);
        item.finish(findings);
        products.extend(name.map(|name| Product {
            name,
            unit,
            price_vnd,
            tax_included,
        }));
    }
    let mut links = Vec::new();
    for (pointer, item) in object.items("links", 10, findings) {
        links.extend(
            Object::new(item, &pointer, findings).and_then(|object| link(object, findings)),
        );
    }
    let geo = object
        .optional_object("geo", findings)
        .and_then(|mut object| {
            let mut degrees = |name: &'static str, bound: f64, findings: &mut Findings| {
                let degrees = object
                    .required(name, findings)?
                    .as_f64()
                    .filter(|degrees| degrees.abs() <= bound);
                if degrees.is_none() {
                    findings.refuse(
                        &object.at(name),
                        "geo.range",
                        format!("Toạ độ là số độ thập phân trong khoảng ±{bound}."),
                        format!("give decimal degrees within ±{bound}"),
                    );
                }
                degrees
            };
            let lat = degrees("lat", 90.0, findings);
            let lon = degrees("lon", 180.0, findings);
            object.finish(findings);
            Some(Geo {
                lat: lat?,
                lon: lon?,
            })
        });
    let bank =
        object
            .optional_object("bank", findings)
            .and_then(|mut object| {
                let bin = object.text("bin", 6, findings);
                if bin.as_deref().is_some_and(|bin| {
                    bin.len() != 6 || !bin.bytes().all(|byte| byte.is_ascii_digit())
                }) {
                    findings.refuse(
                        &object.at("bin"),
                        "bank.bin",
                        "Mã ngân hàng (BIN) gồm 6 chữ số.",
                        "a bank's BIN has 6 digits",
                    );
                }
                let account = object.text("account", 19, findings);
                if account.as_deref().is_some_and(|account| {
                    !account.bytes().all(|byte| byte.is_ascii_alphanumeric())
                }) {
                    findings.refuse(
                        &object.at("account"),
                        "bank.account",
                        "Số tài khoản gồm 1 đến 19 chữ cái hoặc chữ số.",
                        "an account has 1 to 19 letters or digits",
                    );
                }
                let holder = object.text("holder", 100, findings);
                object.finish(findings);
                Some(Bank {
                    bin: bin?,
                    account: account?,
                    holder: holder?,
                })
            });
    object.finish(findings);
    Profile {
        about,
        hours,
        products,
        links,
        geo,
        bank,
    }
}

fn opening(mut object: Object<'_>, findings: &mut Findings) -> Option<Hours> {
    let mut days = Vec::new();
    for (pointer, item) in object.items("days", 7, findings) {
        let day = item
            .as_u64()
            .and_then(|day| u8::try_from(day).ok())
            .filter(|day| (1..=7).contains(day));
        match day {
            Some(day) if !days.contains(&day) => days.push(day),
            _ => findings.refuse(
                &pointer,
                "hours.day",
                "Ngày trong tuần là số từ 1 (thứ Hai) đến 7 (Chủ nhật), mỗi ngày một lần.",
                "a day is a number from 1 (Monday) to 7 (Sunday), each once",
            ),
        }
    }
    days.sort_unstable();
    let mut time = |name: &'static str, findings: &mut Findings| {
        let text = object.text(name, 5, findings)?;
        let valid = text.split_once(':').is_some_and(|(hour, minute)| {
            let number = |text: &str, bound: u8| {
                text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < bound)
            };
            number(hour, 24) && number(minute, 60)
        });
        if !valid {
            findings.refuse(
                &object.at(name),
                "hours.time",
                "Giờ ghi theo dạng `HH:MM`, 24 giờ, ví dụ `06:30`.",
                "write the time as `HH:MM`, 24-hour clock, such as `06:30`",
            );
        }
        valid.then_some(text)
    };
    let opens = time("opens", findings);
    let closes = time("closes", findings);
    if days.is_empty() {
        findings.refuse(
            &object.at("days"),
            "hours.days",
            "Hãy nêu ít nhất một ngày, ví dụ `[1, 2, 3, 4, 5]`.",
            "name at least one day, such as `[1, 2, 3, 4, 5]`",
        );
    }
    object.finish(findings);
    Some(Hours {
        days,
        opens: opens?,
        closes: closes?,
    })
}

impl Network {
    /// Hosts whose pages are a network's own.
    fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Zalo => &["zalo.me"],
            Self::Facebook => &["facebook.com", "fb.com"],
            Self::Shopee => &["shopee.vn"],
            Self::Tiktok => &["tiktok.com"],
            Self::Lazada => &["lazada.vn"],
            Self::Youtube => &["youtube.com"],
        }
    }
}

fn link(mut object: Object<'_>, findings: &mut Findings) -> Option<Link> {
    let words = ["zalo", "facebook", "shopee", "tiktok", "lazada", "youtube"];
    let network: Option<Network> = object.word("network", &words, findings);
    let text = object.text("url", 300, findings);
    let pointer = object.at("url");
    object.finish(findings);
    let (network, text) = (network?, text?);
    let url = url::Url::parse(&text).ok().filter(|url| {
        let host = url.host_str().unwrap_or_default();
        let own = |known: &str| host == known || host.ends_with(&format!(".{known}"));
        url.scheme() == "https"
            && url.username().is_empty()
            && network.hosts().iter().any(|known| own(known))
    });
    if url.is_none() {
        let hosts = network.hosts().join(", ");
        findings.refuse(
            &pointer,
            "link.url",
            format!("Liên kết phải bắt đầu bằng `https://` và ở trên {hosts}."),
            format!("the link must begin with `https://` and be at {hosts}"),
        );
    }
    Some(Link {
        network,
        url: url?.into(),
    })
}

fn person(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&policy::Policy>,
    findings: &mut Findings,
) -> Option<Person> {
    let full_name = {
        let value = object.required("full_name", findings);
        value.and_then(|value| object.as_text("full_name", value, 2, 100, false, findings))
    };
    let lettered = |name: &str| {
        name.chars().all(|character| {
            character.is_alphabetic() || matches!(character, ' ' | '-' | '\'' | '’' | '(' | ')')
        })
    };
    if full_name.as_deref().is_some_and(|name| !lettered(name)) {
        findings.refuse(
            &object.at("full_name"),
            "full_name.characters",
            "Họ tên chỉ gồm chữ cái, khoảng trắng, dấu gạch nối và dấu nháy.",
            "a person's name has only letters, spaces, hyphens and apostrophes",
        );
    }
    let birth_date = date(&mut object, "birth_date", findings);
    if let (Some(birth), Some(granted), Some(policy)) = (birth_date, granted_on, policy)
        && let (Some(min), Some(max)) = (policy.age_min, policy.age_max)
    {
        let age = policy::age(birth, granted);
        if !(min..=max).contains(&age) {
            findings.refuse(
                &object.at("birth_date"),
                "birth_date.age",
                format!("Vào ngày cấp người này {age} tuổi; chương trình dành cho người từ đủ {min} đến {max} tuổi."),
                format!("on the day of the grant this person is {age}; the programme is for ages {min} to {max}"),
            );
        }
    }
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
            "Hãy gửi HMAC-SHA-256 của số định danh: 64 chữ số thập lục phân, không gửi số định danh.",
            "send the HMAC-SHA-256 of the personal id, 64 hexadecimal digits, never the id itself",
        );
    }
    if let Some(cccd) = object.optional_text("cccd", 20, findings)
        && let Err(fault) = identifiers::check_citizen_id(&identifiers::digits(&cccd), birth_date)
    {
        let (code, vi, en) = match fault {
            CitizenIdFault::Length => (
                "cccd.length",
                "Số định danh có 12 chữ số.",
                "a personal id has 12 digits",
            ),
            CitizenIdFault::Province => (
                "cccd.province",
                "Ba chữ số đầu của số định danh không phải mã nơi đăng ký khai sinh.",
                "the first three digits are no place of birth registration",
            ),
            CitizenIdFault::BirthYear => (
                "cccd.birth_year",
                "Năm sinh trong số định danh không khớp `birth_date`; hãy kiểm tra cả hai.",
                "the birth year in the personal id differs from `birth_date`; check both",
            ),
        };
        findings.refuse(&object.at("cccd"), code, vi, en);
    }
    let school = object
        .optional_object("school", findings)
        .and_then(|mut object| {
            let name = object.text("name", 200, findings);
            let code = object.optional_text("code", 20, findings);
            object.finish(findings);
            Some(School { name: name?, code })
        });
    let study_field = object.optional_text("study_field", 120, findings);
    let resume = object.optional("resume").cloned();
    if resume.as_ref().is_some_and(|resume| !resume.is_object()) {
        findings.refuse(
            &object.at("resume"),
            "type",
            "`resume` là một đối tượng JSON Resume `{…}`.",
            "`resume` is a JSON Resume object `{…}`",
        );
    }
    let mut posts = Vec::new();
    for (pointer, item) in object.items("posts", POSTS_MAX, findings) {
        let Some(mut item) = Object::new(item, &pointer, findings) else {
            continue;
        };
        let title = item.text("title", 200, findings);
        let date = date(&mut item, "date", findings);
        item.required("body", findings);
        let body = item.optional_lines("body", 50_000, findings);
        item.finish(findings);
        if let (Some(title), Some(date), Some(body)) = (title, date, body) {
            posts.push(Post { title, date, body });
        }
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
