//! The rules of programme `biz`: an enterprise or a household business, and its shop window.

use jiff::civil::Date;
use serde_json::Value;
use url::Url;

use super::super::identifiers::{self, TaxIdFault};
use super::super::policy::Policy;
use super::super::reader::{Findings, Object};
use super::super::{
    Bank, Business, Geo, Hours, Industry, Link, Network, Product, Profile, Representative,
    SubjectType,
};
use super::{all_digits, optional_date, spoken};

const PRODUCTS_MAX: usize = 200;
const LINKS_MAX: usize = 10;
/// Three spans on each day.
const HOURS_MAX: usize = 21;
const PRICE_VND_MAX: u64 = 1_000_000_000_000;

pub(crate) fn read(
    mut object: Object<'_>,
    granted_on: Option<Date>,
    policy: Option<&Policy>,
    findings: &mut Findings,
) -> Option<Business> {
    let subject_type = object.word("subject_type", &["enterprise", "household"], findings);
    let legal_name = object.name("legal_name", 200, findings);
    let trade_name = object.name("trade_name", 200, findings);
    let tax_id = object
        .text("tax_id", 20, findings)
        .map(|text| identifiers::digits(&text));
    if let (Some(tax_id), Some(subject_type)) = (&tax_id, subject_type) {
        check_tax_id(tax_id, subject_type, &object.at("tax_id"), findings);
    }
    let registration_no = object.optional_text("registration_no", 32, findings);
    if subject_type == Some(SubjectType::Household) && object.optional("registration_no").is_none()
    {
        findings.refuse(
            &object.at("registration_no"),
            "missing",
            "Hộ kinh doanh phải có giấy chứng nhận đăng ký; hãy ghi số giấy vào `registration_no`.",
            "a household business has a registration certificate; add its number as `registration_no`",
        );
    }
    let registered_on = optional_date(&mut object, "registered_on", findings);
    check_registration(
        subject_type,
        registered_on,
        granted_on,
        policy,
        &mut object,
        findings,
    );
    let registered_by = object.optional_text("registered_by", 200, findings);
    let representative =
        object
            .optional_object("representative", findings)
            .and_then(|mut object| {
                let full_name = object.name("full_name", 100, findings);
                let role = object.text("role", 100, findings);
                object.finish(findings);
                Some(Representative {
                    full_name: full_name?,
                    role: role?,
                })
            });
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

fn check_tax_id(tax_id: &str, subject_type: SubjectType, pointer: &str, findings: &mut Findings) {
    if subject_type == SubjectType::Household && tax_id.len() == 12 {
        match identifiers::check_citizen_id(tax_id, None) {
            Ok(()) => {}
            Err(_) => findings.refuse(
                pointer,
                "tax_id.citizen",
                "Đây không phải số định danh cá nhân 12 chữ số; hãy kiểm tra lại từng chữ số.",
                "this is not a 12-digit personal id; check each digit",
            ),
        }
        return;
    }
    let Err(fault) = identifiers::check_tax_id(tax_id) else {
        return;
    };
    let (code, vi, en) = match (fault, subject_type) {
        (TaxIdFault::Length, SubjectType::Enterprise) => (
            "tax_id.length",
            "Mã số thuế doanh nghiệp có 10 chữ số, hoặc 13 chữ số cho đơn vị phụ thuộc; hãy ghi đủ.",
            "write an enterprise's tax id with 10 digits, or 13 for a branch",
        ),
        (TaxIdFault::Length, SubjectType::Household) => (
            "tax_id.length",
            "Mã số thuế hộ kinh doanh có 12 chữ số (số định danh của chủ hộ), mã cũ có 10 hoặc 13 chữ số; hãy ghi đủ.",
            "write a household's tax id with 12 digits, or 10 or 13 for an older code",
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
    };
    // Codes that households got long ago do not always keep the rule.
    if fault == TaxIdFault::CheckDigit && subject_type == SubjectType::Household {
        findings.warn(pointer, code, vi, en);
    } else {
        findings.refuse(pointer, code, vi, en);
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

fn industry(mut object: Object<'_>, findings: &mut Findings) -> Industry {
    let code = object.optional_text("code", 5, findings);
    if code
        .as_deref()
        .is_some_and(|code| !matches!(code.len(), 4 | 5) || !all_digits(code))
    {
        findings.refuse(
            &object.at("code"),
            "industry.code",
            "Mã ngành VSIC gồm 4 hoặc 5 chữ số; hãy ghi lại, ví dụ `56101`.",
            "write the VSIC code with 4 or 5 digits, such as `56101`",
        );
    }
    let text = object.optional_text("text", 120, findings);
    object.finish(findings);
    Industry { code, text }
}

fn profile(mut object: Object<'_>, findings: &mut Findings) -> Profile {
    let about = object.optional_lines("about", 4000, findings);
    let hours = all_hours(&mut object, findings);
    let mut products = Vec::new();
    for (pointer, item) in object.items("products", PRODUCTS_MAX, findings) {
        products.extend(
            Object::new(item, &pointer, findings).and_then(|object| product(object, findings)),
        );
    }
    let mut links = Vec::new();
    for (pointer, item) in object.items("links", LINKS_MAX, findings) {
        links.extend(
            Object::new(item, &pointer, findings).and_then(|object| link(object, findings)),
        );
    }
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

fn all_hours(object: &mut Object<'_>, findings: &mut Findings) -> Vec<Hours> {
    let mut all: Vec<Hours> = Vec::new();
    for (pointer, item) in object.items("hours", HOURS_MAX, findings) {
        let Some(span) =
            Object::new(item, &pointer, findings).and_then(|object| opening(object, findings))
        else {
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
    let mut time = |name: &'static str, findings: &mut Findings| {
        let text = object.text(name, 5, findings)?;
        let number = |text: &str, bound: u8| {
            text.len() == 2
                && all_digits(text)
                && text.parse::<u8>().is_ok_and(|number| number < bound)
        };
        let valid = text
            .split_once(':')
            .is_some_and(|(hour, minute)| number(hour, 24) && number(minute, 60));
        if !valid {
            findings.refuse(
                &object.at(name),
                "hours.time",
                "Hãy ghi giờ theo dạng `HH:MM`, 24 giờ, ví dụ `06:30`.",
                "write the time as `HH:MM`, 24-hour clock, such as `06:30`",
            );
        }
        valid.then_some(text)
    };
    let opens = time("opens", findings);
    let closes = time("closes", findings);
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

fn product(mut object: Object<'_>, findings: &mut Findings) -> Option<Product> {
    let name = object.text("name", 120, findings);
    let unit = object.optional_text("unit", 30, findings);
    let price = object.optional("price_vnd");
    let price_vnd = price
        .and_then(Value::as_u64)
        .filter(|price| *price <= PRICE_VND_MAX);
    if price.is_some() && price_vnd.is_none() {
        findings.refuse(
            &object.at("price_vnd"),
            "price.format",
            "Giá là số nguyên đồng, không âm, không có dấu chấm; hãy ghi, ví dụ, `45000`, hoặc bỏ trường này nếu muốn hiện “giá liên hệ”.",
            "write the price as a whole number of đồng, such as `45000`, or leave it out for \"giá liên hệ\"",
        );
    }
    let tax_included = object.flag("tax_included", findings).unwrap_or(false);
    object.finish(findings);
    Some(Product {
        name: name?,
        unit,
        price_vnd,
        tax_included,
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
    let is_own = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let known = |known: &&str| {
            host.strip_suffix(known)
                .is_some_and(|head| head.is_empty() || head.ends_with('.'))
        };
        url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && network.hosts().iter().any(known)
    };
    let is_markup = text.contains(|character: char| {
        character.is_whitespace() || matches!(character, '<' | '>' | '"' | '\'' | '\\' | '`')
    });
    let url = Url::parse(&text).ok().filter(is_own);
    if url.is_none() || is_markup {
        let hosts = network.hosts().join(", ");
        findings.refuse(
            &pointer,
            "link.url",
            format!("Liên kết phải bắt đầu bằng `https://`, trỏ đến {hosts} và không có ký tự lạ; hãy chép lại từ thanh địa chỉ của trình duyệt."),
            format!("write a plain link that begins with `https://` and points at {hosts}"),
        );
    }
    Some(Link {
        network,
        url: url?.into(),
    })
}

fn geo(mut object: Object<'_>, findings: &mut Findings) -> Option<Geo> {
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

fn bank(mut object: Object<'_>, findings: &mut Findings) -> Option<Bank> {
    let bin = object.text("bin", 6, findings);
    if bin
        .as_deref()
        .is_some_and(|bin| bin.len() != 6 || !all_digits(bin))
    {
        findings.refuse(
            &object.at("bin"),
            "bank.bin",
            "Mã ngân hàng (BIN) gồm 6 chữ số; hãy ghi lại, ví dụ `970400`.",
            "write the bank's BIN with 6 digits, such as `970400`",
        );
    }
    let account = object.text("account", 19, findings);
    if account
        .as_deref()
        .is_some_and(|account| !account.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        findings.refuse(
            &object.at("account"),
            "bank.account",
            "Số tài khoản gồm 1 đến 19 chữ cái không dấu hoặc chữ số; hãy bỏ dấu cách và dấu chấm.",
            "write the account with 1 to 19 letters or digits, without spaces and dots",
        );
    }
    let holder = object.name("holder", 100, findings);
    object.finish(findings);
    Some(Bank {
        bin: bin?,
        account: account?,
        holder: holder?,
    })
}
