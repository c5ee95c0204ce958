//! From bytes to a claim: the document, then its shape and rules together, every fault at once.

pub(crate) mod business;
pub(crate) mod envelope;
pub(crate) mod person;
pub(crate) mod sweep;

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::policy::{self, Policy};
use super::{CLAIM_BYTES_MAX, Checked, Claim, Purpose, identifiers, names};
use crate::fault::Faults;
use crate::lifecycle::Programme;
use crate::reader::{Findings, Format, Kind, Object, Stray, json};

pub(crate) const KIND: Kind = Kind {
    version: "claim/v1",
    vi: "Hồ sơ",
    en: "the claim",
    stray: |name| {
        if sweep::names_an_image(name) {
            // By the sweep.
            Stray::ToldElsewhere
        } else {
            Stray::Unknown
        }
    },
};

/// Checks a claim. All faults come back at once; a claim that is too large, has too many values, is
/// not UTF-8 or is not JSON gives that one fault.
pub fn parse(bytes: &[u8]) -> Result<Checked, Faults> {
    let mut findings = Findings::of(&KIND);
    let document =
        json::read(bytes, CLAIM_BYTES_MAX, &mut findings).map_err(|fault| Faults(vec![fault]))?;
    let claim =
        Object::new(&document, "", &mut findings).and_then(|object| claim(object, &mut findings));
    check_bank_consent(&document, &mut findings);
    sweep::sweep(&document, &mut findings);
    match claim {
        Some(claim) if findings.faults.is_empty() => {
            look_again(&claim, &mut findings);
            Ok(Checked {
                claim,
                warnings: findings.warnings,
            })
        }
        _ => Err(Faults(findings.faults)),
    }
}

/// Years in which a day or a moment of a claim may lie; those of a birth among them.
const YEARS: RangeInclusive<i16> = 1900..=2100;

const DAY: Format = Format {
    code: "date.format",
    vi: "Hãy ghi ngày có thật, từ năm 1900 đến 2100, theo dạng `YYYY-MM-DD`, ví dụ `2025-06-01`.",
    en: "write a day that exists, from 1900 to 2100, as `YYYY-MM-DD`, such as `2025-06-01`",
};

/// A day in the one form that is taken, `YYYY-MM-DD`.
fn day(text: &str) -> Option<Date> {
    let day: Date = text.parse().ok()?;
    (day.to_string() == text && YEARS.contains(&day.year())).then_some(day)
}

pub(crate) fn date(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Date> {
    object.formatted(name, &DAY, day, findings)
}

pub(crate) fn optional_date(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Date> {
    object.optional_formatted(name, &DAY, day, findings)
}

const MOMENT: Format = Format {
    code: "moment.format",
    vi: "Hãy ghi thời điểm theo RFC 3339 có múi giờ, từ năm 1900 đến 2100, ví dụ `2025-06-01T09:00:00+07:00`.",
    en: "write the moment as RFC 3339 with offset, from 1900 to 2100, such as `2025-06-01T09:00:00+07:00`",
};

/// A moment as RFC 3339, 5.6 has it. The library takes other forms of ISO 8601 as well, so the shape
/// is checked here.
fn instant(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let head = text.get(..SHAPE.len())?;
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte.eq_ignore_ascii_case(shape),
    };
    let rest = &text[SHAPE.len()..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|character: char| character.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    if !head.bytes().zip(SHAPE).all(fits) || !is_offset(zone) {
        return None;
    }
    let moment: Timestamp = text.parse().ok()?;
    let year = moment.to_zoned(TimeZone::UTC).year();
    YEARS.contains(&year).then_some(moment)
}

/// `Z` or `+07:00`.
fn is_offset(text: &str) -> bool {
    let signed = text.strip_prefix(['+', '-']);
    let is_signed = signed
        .and_then(|offset| offset.split_once(':'))
        .is_some_and(|(hours, minutes)| is_below(hours, 24) && is_below(minutes, 60));
    is_signed || text.eq_ignore_ascii_case("z")
}

pub(crate) fn moment(
    object: &mut Object<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<Timestamp> {
    object.formatted(name, &MOMENT, instant, findings)
}

/// As people in Viet Nam write a day.
pub(crate) fn spoken(date: Date) -> String {
    date.strftime("%d/%m/%Y").to_string()
}

/// The text, where it is so many digits and nothing else.
pub(crate) fn if_digits(text: &str, length: RangeInclusive<usize>) -> Option<String> {
    let is_so = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_so.then(|| text.to_owned())
}

/// Whether a text is a number of two digits below a bound.
pub(crate) fn is_below(text: &str, bound: u8) -> bool {
    let number = if_digits(text, 2..=2).and_then(|text| text.parse::<u8>().ok());
    number.is_some_and(|number| number < bound)
}

/// The text, where it is 1 to 64 of a-z, 0-9 and `-`.
fn slug(text: &str) -> Option<String> {
    crate::name::is_slug(text).then(|| text.to_owned())
}

const SCHEMA_VERSION: Format = Format {
    code: "schema_version.unknown",
    vi: "Dịch vụ này chỉ nhận phiên bản `claim/v1`; hãy ghi `claim/v1`.",
    en: "write `claim/v1`, the version this service takes",
};

const REGISTRAR: Format = Format {
    code: "registrar.format",
    vi: "Mã nhà đăng ký gồm 1 đến 64 ký tự a-z, 0-9 và dấu `-`; hãy ghi lại, ví dụ `nha-dang-ky`.",
    en: "write the registrar's identifier with 1 to 64 of a-z, 0-9 and `-`, such as `my-registrar`",
};

const REFERENCE: Format = Format {
    code: "reference.format",
    vi: "Mã tham chiếu gồm 1 đến 128 ký tự ASCII in được, không có dấu cách và chữ có dấu; hãy ghi lại.",
    en: "write the reference with 1 to 128 printable ASCII characters, without spaces",
};

const TEMPLATE: Format = Format {
    code: "template.format",
    vi: "Tên mẫu trang gồm 1 đến 64 ký tự a-z, 0-9 và dấu `-`; hãy ghi lại, ví dụ `business`.",
    en: "write the template's name with 1 to 64 of a-z, 0-9 and `-`, such as `business`",
};

const PLAN: Format = Format {
    code: "plan.format",
    vi: "Mã gói dịch vụ gồm 1 đến 64 ký tự a-z, 0-9 và dấu `-`; hãy ghi lại, ví dụ `goi-co-ban`.",
    en: "write the plan's name with 1 to 64 of a-z, 0-9 and `-`, such as `basic`",
};

fn reference(text: &str) -> Option<String> {
    let is_reference =
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_reference.then(|| text.to_owned())
}

fn claim(mut object: Object<'_>, findings: &mut Findings) -> Option<Claim> {
    let version = |text: &str| (text == "claim/v1").then(|| text.to_owned());
    let schema_version = object.formatted("schema_version", &SCHEMA_VERSION, version, findings);
    let registrar = object.formatted("registrar", &REGISTRAR, slug, findings);
    let reference = object.formatted("reference", &REFERENCE, reference, findings);
    let programme = programme(&mut object, findings);
    let written_domain = object.text("domain", 255, findings);
    let domain = written_domain
        .as_deref()
        .and_then(|text| names::granted(text, programme, "/domain", findings));
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
        .and_then(|object| envelope::evidence(object, findings));
    let dossier = object
        .optional_object("dossier", findings)
        .and_then(|object| envelope::dossier(object, findings));
    let delegation = object
        .optional_object("delegation", findings)
        .map(|object| envelope::delegation(object, findings));
    let plan = object.optional_formatted("plan", &PLAN, slug, findings);
    let template = object.optional_formatted("template", &TEMPLATE, slug, findings);
    let locale = envelope::locale(&mut object, findings);
    let mailboxes = envelope::mailboxes(&mut object, findings);
    // Also a name that is refused would be the one the address lies under.
    let meant = written_domain.as_deref().and_then(names::meant);
    let contact = object
        .object("contact", findings)
        .and_then(|object| envelope::contact(object, meant.as_ref(), findings));
    let address = object
        .object("address", findings)
        .and_then(|object| envelope::address(object, findings));
    let origin = object
        .optional_object("origin", findings)
        .and_then(|object| envelope::origin(object, findings));
    let consents = envelope::consents(&mut object, findings);
    let business = part(&mut object, "business", Programme::Biz, programme, findings)
        .and_then(|object| business::read(object, granted_on, policy, findings));
    let person = part(&mut object, "person", Programme::Id, programme, findings)
        .and_then(|object| person::read(object, granted_on, policy, findings));
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
        delegation,
        plan,
        template,
        locale,
        mailboxes,
        contact: contact?,
        address: address?,
        origin,
        consents,
        business,
        person,
    })
}

fn programme(object: &mut Object<'_>, findings: &mut Findings) -> Option<Programme> {
    if object.optional("programme").is_none() {
        findings.refuse(
            "/programme",
            "missing",
            "Thiếu trường `programme`; hãy ghi `biz` hoặc `id`. Chưa có trường này thì chưa xét được đợt ưu đãi và phần `business` hoặc `person`.",
            "the member `programme` is missing; write `biz` or `id`. Without it the policy, and `business` or `person`, cannot be judged in full",
        );
        return None;
    }
    object.word("programme", &["biz", "id"], findings)
}

/// The part of a claim that belongs to a programme: required there, refused in the other one, and
/// read where there is none.
fn part<'a>(
    object: &mut Object<'a>,
    name: &'static str,
    of: Programme,
    programme: Option<Programme>,
    findings: &mut Findings,
) -> Option<Object<'a>> {
    match programme {
        Some(programme) if programme == of => object.object(name, findings),
        Some(other) => {
            if object.optional(name).is_some() {
                findings.refuse(
                    &object.at(name),
                    "programme.member",
                    format!("Trường `{name}` không thuộc chương trình `{other}`; hãy bỏ đi, hoặc sửa `programme`."),
                    format!("`{name}` does not belong to programme `{other}`; remove it, or mend `programme`"),
                );
            }
            None
        }
        None => object.optional_object(name, findings),
    }
}

/// An account is shown only where its holder agrees. Judged on the document, so that it is told
/// together with any other fault, and not where a consent is there but has a fault of its own.
fn check_bank_consent(document: &Value, findings: &mut Findings) {
    const BANK: &str = "/business/profile/bank";
    let consents = document.get("consents").and_then(Value::as_array);
    let agrees = |consent: &Value| {
        let is_of_qr = consent
            .get("purpose")
            .is_some_and(|purpose| purpose == "publish_qr");
        is_of_qr && consent.get("given") != Some(&Value::Bool(false))
    };
    let is_shown = document.get("programme").is_none_or(|word| word != "id")
        && document.pointer(BANK).is_some_and(|bank| !bank.is_null());
    if is_shown && !consents.into_iter().flatten().any(agrees) {
        findings.refuse(
            BANK,
            "bank.consent",
            "Muốn hiện tài khoản ngân hàng, hãy gửi kèm sự đồng ý `publish_qr`; nếu chủ tài khoản không đồng ý, hãy bỏ `bank`.",
            "to show a bank account send the consent `publish_qr`; where its holder does not agree, leave `bank` out",
        );
    }
}

/// What only the whole claim tells, and is not wrong.
fn look_again(claim: &Claim, findings: &mut Findings) {
    if claim.consents_to(Purpose::PublishPhone) {
        return;
    }
    let business = claim.business.as_ref();
    let profile = business.and_then(|business| business.profile.as_ref());
    let links = profile.map_or(&[][..], |profile| &profile.links);
    for (index, link) in links.iter().enumerate() {
        let is_phone = |part: &str| identifiers::phone(part).as_ref() == Some(&claim.contact.phone);
        if link.url.split(['/', '?', '#', '=', '&']).any(is_phone) {
            findings.warn(
                &format!("/business/profile/links/{index}/url"),
                "link.phone",
                "Liên kết này cho thấy số điện thoại liên hệ mà chưa có sự đồng ý `publish_phone`; hãy xin sự đồng ý, hoặc dùng liên kết không chứa số.",
                "this link shows the contact number, for which there is no consent `publish_phone`; obtain it, or use a link without the number",
            );
        }
    }
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
                "Ngày cấp {} không nằm trong đợt ưu đãi nào; các đợt là: {}. Hãy kiểm tra lại ngày cấp; nếu ngày cấp đúng, tên này phải đăng ký có thu phí, ngoài chương trình.",
                spoken(granted_on),
                spans_vi.join("; ")
            ),
            format!(
                "no policy gives a name free of charge on {granted_on}; there are {}; check the day of the grant; if it is right, the name is registered for a fee, outside of the programme",
                spans_en.join(", ")
            ),
        );
    }
    found
}
