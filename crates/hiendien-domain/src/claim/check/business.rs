//! The rules of programme `biz`: an enterprise or a household business, and its shop window.

use jiff::civil::Date;
use serde_json::Value;
use url::Url;

use super::super::identifiers::{self, CitizenId, TaxIdFault};
use super::super::policy::{self, Policy};
use super::super::{
    Bank, Business, Geo, Hours, Industry, Link, Network, Product, Profile, Representative,
    SubjectType,
};
use super::{if_digits, is_below, optional_date, spoken};
use crate::reader::{Findings, Format, Lines, Object};

const PRODUCTS_MAX: usize = 200;
const LINKS_MAX: usize = 10;
/// Three spans on each day.
const HOURS_MAX: usize = 21;
const PRICE_VND_MAX: u64 = 1_000_000_000_000;
const URL_CHARACTERS_MAX: usize = 300;

pub(crate) fn read(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    findings: &mut Findings,
) -> Option<Business> {
    let subject_type = object.word("subject_type", &["enterprise", "household"], findings);
    let legal_name = object.name("legal_name", 200, findings);
    let trade_name = object.name("trade_name", 200, findings);
    let registration_no = registration_no(&mut object, subject_type, findings);
    let registered_on = optional_date(&mut object, "registered_on", findings);
    let tax_id = object
        .written("tax_id", Lines::One, findings)
        .map(|text| identifiers::digits(&text));
    if let Some(tax_id) = &tax_id {
        let subject = Subject {
            kind: subject_type,
            registered_on,
            granted_on,
        };
        check_tax_id(tax_id, &subject, &object.at("tax_id"), findings);
    }
    check_registration(
        subject_type,
        registered_on,
        granted_on,
        policy,
        &mut object,
        findings,
    );
    let registered_by = object.optional_text("registered_by", 200, findings);
    let representative = object
        .optional_object("representative", findings)
        .and_then(|object| representative(object, findings));
    let industry = object
        .optional_object("industry", findings)
        .map(|object| industry(object, findings));
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

fn registration_no(
    object: &mut Object<'_>,
    subject_type: Option<SubjectType>,
    findings: &mut Findings,
) -> Option<String> {
    let is_household = subject_type == Some(SubjectType::Household);
    if is_household && object.optional("registration_no").is_none() {
        findings.refuse(
            &object.at("registration_no"),
            "missing",
            "Hộ kinh doanh phải có giấy chứng nhận đăng ký; hãy ghi số giấy vào `registration_no`.",
            "a household business has a registration certificate; add its number as `registration_no`",
        );
    }
    object.optional_text("registration_no", 32, findings)
}

/// Whose tax id is checked, as far as it is known.
struct Subject {
    kind: Option<SubjectType>,
    registered_on: Option<Date>,
    granted_on: Option<Date>,
}

fn check_tax_id(tax_id: &str, subject: &Subject, pointer: &str, findings: &mut Findings) {
    let may_be_a_household = subject.kind != Some(SubjectType::Enterprise);
    if may_be_a_household && tax_id.len() == 12 {
        return check_owners_id(tax_id, subject, pointer, findings);
    }
    let faults = identifiers::check_tax_id(tax_id);
    for fault in &faults {
        let (code, vi, en) = told(*fault, subject.kind);
        // Codes that households got long ago do not always keep the rule.
        if *fault == TaxIdFault::CheckDigit && subject.kind == Some(SubjectType::Household) {
            findings.warn(pointer, code, vi, en);
        } else {
            findings.refuse(pointer, code, vi, en);
        }
    }
    if subject.kind == Some(SubjectType::Household) && !faults.contains(&TaxIdFault::Length) {
        check_old_form(subject, pointer, findings);
    }
}

fn told(
    fault: TaxIdFault,
    kind: Option<SubjectType>,
) -> (&'static str, &'static str, &'static str) {
    match (fault, kind) {
        (TaxIdFault::Length, Some(SubjectType::Enterprise)) => (
            "tax_id.length",
            "Mã số thuế doanh nghiệp có 10 chữ số, hoặc 13 chữ số cho đơn vị phụ thuộc; hãy ghi đúng số chữ số, không lẫn chữ cái.",
            "write an enterprise's tax id with 10 digits, or 13 for a branch, and without letters",
        ),
        (TaxIdFault::Length, Some(SubjectType::Household)) => (
            "tax_id.length",
            "Mã số thuế hộ kinh doanh có 12 chữ số (số định danh của chủ hộ), mã cũ có 10 hoặc 13 chữ số; hãy ghi đúng số chữ số, không lẫn chữ cái.",
            "write a household's tax id with 12 digits, or 10 or 13 for an older code, and without letters",
        ),
        (TaxIdFault::Length, None) => (
            "tax_id.length",
            "Mã số thuế có 10 hoặc 13 chữ số, của hộ kinh doanh có 12 chữ số; hãy ghi đúng số chữ số, không lẫn chữ cái.",
            "write the tax id with 10 or 13 digits, a household's with 12, and without letters",
        ),
        (TaxIdFault::Serial, _) => (
            "tax_id.serial",
            "Phần số thứ tự của mã số thuế không thể toàn số 0; hãy ghi đúng mã đã được cấp.",
            "the serial part of a tax id cannot be 0000000; write the id as it was given",
        ),
        (TaxIdFault::Branch, _) => (
            "tax_id.branch",
            "Không có đơn vị phụ thuộc `000`; hãy dùng mã 10 chữ số.",
            "there is no branch `000`; write the 10-digit id",
        ),
        (TaxIdFault::CheckDigit, _) => (
            "tax_id.check_digit",
            "Chữ số kiểm tra (chữ số thứ 10) của mã số thuế không khớp; hãy kiểm tra lại từng chữ số.",
            "the check digit of the tax id, its tenth, does not match; check each digit",
        ),
    }
}

/// Checks a household's tax id that is its owner's personal id.
fn check_owners_id(digits: &str, subject: &Subject, pointer: &str, findings: &mut Findings) {
    let Some(id) = CitizenId::of(digits) else {
        let (code, vi, en) = told(TaxIdFault::Length, subject.kind);
        return findings.refuse(pointer, code, vi, en);
    };
    if !id.has_a_place() {
        findings.refuse(
            pointer,
            "tax_id.citizen",
            "Ba chữ số đầu của số định danh không phải mã nơi đăng ký khai sinh; hãy kiểm tra lại từng chữ số.",
            "the first three digits of the personal id are no place of birth registration; check each digit",
        );
    } else if id.is_from_abroad() {
        findings.warn(
            pointer,
            "tax_id.abroad",
            "Ba chữ số đầu của số định danh là mã nước ngoài; hãy xem lại nếu chủ hộ khai sinh tại Việt Nam.",
            "the first three digits of the personal id mean a birth abroad; look again if the owner was registered in Viet Nam",
        );
    }
    let is_born_later = |granted: Date| id.birth_year > granted.year();
    if subject.granted_on.is_some_and(is_born_later) {
        findings.refuse(
            pointer,
            "tax_id.birth_year",
            "Năm sinh trong số định danh sau năm cấp tên miền; hãy kiểm tra lại từng chữ số.",
            "the birth year in the personal id comes after the grant; check each digit",
        );
    }
}

/// Households that register since the law changed have no code of their own any more.
fn check_old_form(subject: &Subject, pointer: &str, findings: &mut Findings) {
    let from = policy::household_personal_id_from();
    let from_vi = spoken(from);
    let is_since = |day: Option<Date>| day.is_some_and(|day| day >= from);
    if is_since(subject.registered_on) {
        findings.refuse(
            pointer,
            "tax_id.old_form",
            format!("Hộ kinh doanh đăng ký từ {from_vi} dùng số định danh cá nhân 12 chữ số của chủ hộ làm mã số thuế; hãy ghi số đó."),
            format!("a household that registered since {from} has its owner's 12-digit personal id for a tax id; write that"),
        );
    } else if is_since(subject.granted_on) {
        findings.warn(
            pointer,
            "tax_id.old_form",
            format!("Từ {from_vi} mã số thuế của hộ kinh doanh là số định danh cá nhân của chủ hộ; hãy xem lại mã cũ này."),
            format!("since {from} a household's tax id is its owner's personal id; look again at this older code"),
        );
    }
}

/// An enterprise is new: registered within the policy's months before the grant. A household may be of any age.
fn check_registration(
    subject_type: Option<SubjectType>,
    registered_on: Option<Date>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    object: &mut Object<'_>,
    findings: &mut Findings,
) {
    let pointer = object.at("registered_on");
    let is_enterprise = subject_type == Some(SubjectType::Enterprise);
    if is_enterprise && object.optional("registered_on").is_none() {
        findings.refuse(
            &pointer,
            "missing",
            "Doanh nghiệp cần ngày đăng ký lần đầu để xét ưu đãi; hãy ghi `registered_on`.",
            "an enterprise is judged by the day of its first registration; add `registered_on`",
        );
    }
    let (Some(registered), Some(granted)) = (registered_on, granted_on) else {
        return;
    };
    if registered > granted {
        findings.refuse(
            &pointer,
            "registered_on.future",
            "Ngày đăng ký kinh doanh không thể sau ngày cấp tên miền; hãy kiểm tra cả hai ngày.",
            "the registration cannot come after the grant; check both days",
        );
        return;
    }
    let months_max = policy.and_then(|policy| policy.company_age_months_max);
    if let (true, Some(months)) = (is_enterprise, months_max) {
        // Adding months clamps to the end of the month.
        let last = registered.saturating_add(jiff::Span::new().months(months));
        if granted > last {
            let last_vi = spoken(last);
            findings.refuse(
                &pointer,
                "registered_on.too_old",
                format!("Ưu đãi dành cho doanh nghiệp đăng ký trong vòng {months} tháng trước ngày cấp; doanh nghiệp này chỉ đủ điều kiện đến hết ngày {last_vi}. Hãy kiểm tra lại ngày đăng ký lần đầu."),
                format!("the programme is for enterprises registered within {months} months before the grant, for this one until {last}; check the day of first registration"),
            );
        }
    }
}

fn representative(mut object: Object<'_>, findings: &mut Findings) -> Option<Representative> {
    let full_name = object.name("full_name", 100, findings);
    let role = object.text("role", 100, findings);
    object.finish(findings);
    Some(Representative {
        full_name: full_name?,
        role: role?,
    })
}

const INDUSTRY_CODE: Format = Format {
    code: "industry.code",
    vi: "Mã ngành VSIC gồm 4 hoặc 5 chữ số; hãy ghi lại, ví dụ `56101`.",
    en: "write the VSIC code with 4 or 5 digits, such as `56101`",
};

fn industry(mut object: Object<'_>, findings: &mut Findings) -> Industry {
    let code = |text: &str| if_digits(text, 4..=5);
    let code = object.optional_formatted("code", &INDUSTRY_CODE, code, findings);
    let text = object.optional_text("text", 120, findings);
    object.finish(findings);
    Industry { code, text }
}

fn profile(mut object: Object<'_>, findings: &mut Findings) -> Profile {
    let about = object.optional_lines("about", 4000, findings);
    let hours = all_hours(&mut object, findings);
    let products = object.objects("products", PRODUCTS_MAX, findings);
    let products = products
        .into_iter()
        .filter_map(|object| product(object, findings))
        .collect();
    let links = object.objects("links", LINKS_MAX, findings);
    let links = links
        .into_iter()
        .filter_map(|object| link(object, findings))
        .collect();
    let geo = object
        .optional_object("geo", findings)
        .and_then(|object| geo(object, findings));
    let bank = object
        .optional_object("bank", findings)
        .and_then(|object| bank(object, findings));
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

pub(crate) fn all_hours(object: &mut Object<'_>, findings: &mut Findings) -> Vec<Hours> {
    let mut all: Vec<Hours> = Vec::new();
    for item in object.objects("hours", HOURS_MAX, findings) {
        let pointer = item.pointer.clone();
        let Some(span) = opening(item, findings) else {
            continue;
        };
        if all.iter().any(|other| overlap(other, &span)) {
            findings.refuse(
                &pointer,
                "hours.overlap",
                "Khoảng giờ này chồng lên một khoảng khác cùng ngày; hãy sửa lại hoặc gộp hai khoảng.",
                "this span overlaps another of the same day; mend or merge them",
            );
        }
        all.push(span);
    }
    all
}

/// Whether two spans share a moment of the same day. Spans past midnight are left alone.
fn overlap(left: &Hours, right: &Hours) -> bool {
    let within_a_day = |span: &Hours| span.opens < span.closes;
    left.days.iter().any(|day| right.days.contains(day))
        && within_a_day(left)
        && within_a_day(right)
        && left.opens < right.closes
        && right.opens < left.closes
}

const TIME: Format = Format {
    code: "hours.time",
    vi: "Hãy ghi giờ theo dạng `HH:MM`, 24 giờ, ví dụ `06:30`.",
    en: "write the time as `HH:MM`, 24-hour clock, such as `06:30`",
};

/// `HH:MM` as it is.
fn time(text: &str) -> Option<String> {
    let (hour, minute) = text.split_once(':')?;
    (is_below(hour, 24) && is_below(minute, 60)).then(|| text.to_owned())
}

fn opening(mut object: Object<'_>, findings: &mut Findings) -> Option<Hours> {
    let days = days(&mut object, findings);
    let opens = object.formatted("opens", &TIME, time, findings);
    let closes = object.formatted("closes", &TIME, time, findings);
    if opens.is_some() && opens == closes {
        findings.refuse(
            &object.at("closes"),
            "hours.empty",
            "Giờ đóng cửa trùng giờ mở cửa; nếu mở cả ngày, hãy ghi `00:00` và `23:59`.",
            "it closes when it opens; for a whole day write `00:00` and `23:59`",
        );
    }
    object.finish(findings);
    Some(Hours {
        days,
        opens: opens?,
        closes: closes?,
    })
}

fn days(object: &mut Object<'_>, findings: &mut Findings) -> Vec<u8> {
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
                "Ngày trong tuần là số từ 1 (thứ Hai) đến 7 (Chủ nhật), mỗi ngày ghi một lần; hãy sửa lại.",
                "write a day as a number from 1 (Monday) to 7 (Sunday), each once",
            ),
        }
    }
    days.sort_unstable();
    let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    if object.optional("days").is_none_or(none) {
        findings.refuse(
            &object.at("days"),
            "hours.days",
            "Hãy ghi ít nhất một ngày, ví dụ `[1, 2, 3, 4, 5]`.",
            "name at least one day, such as `[1, 2, 3, 4, 5]`",
        );
    }
    days
}

fn product(mut object: Object<'_>, findings: &mut Findings) -> Option<Product> {
    let name = object.text("name", 120, findings);
    let unit = object.optional_text("unit", 30, findings);
    let price_vnd = price(&mut object, findings);
    let tax_included = object.flag("tax_included", findings).unwrap_or(false);
    object.finish(findings);
    Some(Product {
        name: name?,
        unit,
        price_vnd,
        tax_included,
    })
}

/// Whole đồng; absent is "giá liên hệ".
pub(crate) fn price(object: &mut Object<'_>, findings: &mut Findings) -> Option<u64> {
    let price = object.optional("price_vnd");
    let price_vnd = price
        .and_then(Value::as_u64)
        .filter(|price| *price <= PRICE_VND_MAX);
    if price.is_some() && price_vnd.is_none() {
        let billions = PRICE_VND_MAX / 1_000_000_000;
        findings.refuse(
            &object.at("price_vnd"),
            "price.format",
            format!("Giá là số nguyên đồng từ 0 đến {billions} tỷ, không có dấu chấm; hãy ghi, ví dụ, `45000`, hoặc bỏ trường này nếu muốn hiện “giá liên hệ”."),
            format!("write the price as a whole number of đồng from 0 to {billions} billion, such as `45000`, or leave it out for \"giá liên hệ\""),
        );
    }
    price_vnd
}

impl Network {
    /// Hosts whose pages are a network's own.
    pub(crate) fn hosts(self) -> &'static [&'static str] {
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
    let text = object.text("url", URL_CHARACTERS_MAX, findings);
    let pointer = object.at("url");
    object.finish(findings);
    let Some(url) = plain_link(&text?, network) else {
        let hosts = network.map_or(&[][..], Network::hosts);
        let at_vi = match hosts {
            [] => String::new(),
            hosts => format!(", trỏ đến {}", hosts.join(" hoặc ")),
        };
        let at_en = match hosts {
            [] => String::new(),
            hosts => format!(" and points at {}", hosts.join(" or ")),
        };
        findings.refuse(
            &pointer,
            "link.url",
            format!("Liên kết phải bắt đầu bằng `https://`{at_vi} và không có ký tự lạ; hãy chép lại từ thanh địa chỉ của trình duyệt."),
            format!("write a plain link that begins with `https://`{at_en}"),
        );
        return None;
    };
    // A link is kept as browsers write it, which may be longer.
    let url = String::from(url);
    if !findings.fits(&pointer, &url, &(1..=URL_CHARACTERS_MAX)) {
        return None;
    }
    Some(Link {
        network: network?,
        url,
    })
}

/// A link without markup, credentials and port, at the network's hosts or below, or anywhere where
/// the network is not known.
pub(crate) fn plain_link(text: &str, network: Option<Network>) -> Option<Url> {
    let is_markup = |character: char| {
        character.is_whitespace() || matches!(character, '<' | '>' | '"' | '\'' | '\\' | '`')
    };
    if text.contains(is_markup) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let is_own = |own: &&str| {
        host.strip_suffix(*own)
            .is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    let is_plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && network.is_none_or(|network| network.hosts().iter().any(is_own));
    is_plain.then_some(url)
}

pub(crate) fn geo(mut object: Object<'_>, findings: &mut Findings) -> Option<Geo> {
    let mut degrees = |name: &'static str, bound: f64, findings: &mut Findings| {
        let degrees = object
            .required(name, findings)?
            .as_f64()
            .filter(|degrees| degrees.abs() <= bound);
        if degrees.is_none() {
            findings.refuse(
                &object.at(name),
                "geo.range",
                format!(
                    "Toạ độ là số độ thập phân trong khoảng ±{bound}; hãy ghi, ví dụ, `20.4463`."
                ),
                format!("write decimal degrees within ±{bound}, such as `20.4463`"),
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
}

const BIN: Format = Format {
    code: "bank.bin",
    vi: "Mã ngân hàng (BIN) gồm 6 chữ số; hãy ghi lại, ví dụ `970400`.",
    en: "write the bank's BIN with 6 digits, such as `970400`",
};

const ACCOUNT: Format = Format {
    code: "bank.account",
    vi: "Số tài khoản gồm 1 đến 19 chữ cái không dấu hoặc chữ số; hãy bỏ dấu cách và dấu chấm.",
    en: "write the account with 1 to 19 letters or digits, without spaces and dots",
};

fn account(text: &str) -> Option<String> {
    let is_account =
        (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_account.then(|| text.to_owned())
}

pub(crate) fn bank(mut object: Object<'_>, findings: &mut Findings) -> Option<Bank> {
    let bin = object.formatted("bin", &BIN, |text| if_digits(text, 6..=6), findings);
    let account = object.formatted("account", &ACCOUNT, account, findings);
    let holder = object.name("holder", 100, findings);
    object.finish(findings);
    Some(Bank {
        bin: bin?,
        account: account?,
        holder: holder?,
    })
}
