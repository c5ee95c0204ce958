use std::fmt::Write;

use jiff::civil::{Date, date};
use serde_json::{Value, json};

use super::check::KIND;
use super::identifiers::{
    CitizenId, TaxIdFault, check_tax_id, phone, phone_display, public_number,
};
use super::names::{ascii_name, granted, host, without_marks};
use super::policy::{AgeReading, Policy, age, policies, policy};
use super::{Checked, Province, ProvinceScheme, parse, provinces};
use crate::fault::{Fault, Faults};
use crate::lifecycle::Programme;
use crate::reader::{FAULTS_MAX, Findings};

const SHOP: &str = include_str!("../../../../tests/claims/good/pho-shop.json");
const ENTERPRISE: &str = include_str!("../../../../tests/claims/good/enterprise.json");
const STUDENT: &str = include_str!("../../../../tests/claims/good/student.json");
const OWNERS_ID: &str = include_str!("../../../../tests/claims/good/household-personal-id.json");

/// A sample with members replaced or added, each by its pointer.
fn with(sample: &str, changes: &[(&str, Value)]) -> Value {
    let mut claim: Value = serde_json::from_str(sample).unwrap();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match claim.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[name] = value.clone(),
        }
    }
    claim
}

fn read(sample: &str, changes: &[(&str, Value)]) -> Result<Checked, Faults> {
    parse(with(sample, changes).to_string().as_bytes())
}

fn told(faults: Vec<Fault>) -> Vec<String> {
    let one = |fault: Fault| format!("{} {}", fault.pointer, fault.code);
    let mut told: Vec<String> = faults.into_iter().map(one).collect();
    told.sort();
    told
}

fn faults(sample: &str, changes: &[(&str, Value)]) -> Vec<String> {
    read(sample, changes).map_or_else(|faults| told(faults.0), |_| Vec::new())
}

fn warnings(sample: &str, changes: &[(&str, Value)]) -> Vec<String> {
    told(read(sample, changes).unwrap().warnings)
}

#[test]
fn tax_ids_keep_their_check_digit() {
    for good in [
        "0100233488",
        "0100109106",
        "0300588569",
        "0101248141",
        "0314409058002",
        "1001234563",
    ] {
        assert_eq!(check_tax_id(good), [], "{good}");
    }
    assert_eq!(check_tax_id("0100233489"), [TaxIdFault::CheckDigit]);
    assert_eq!(check_tax_id("0314409058000"), [TaxIdFault::Branch]);
    assert_eq!(check_tax_id("01002334"), [TaxIdFault::Length]);
    assert_eq!(check_tax_id("010023348x"), [TaxIdFault::Length]);
    assert_eq!(
        check_tax_id("0100000000000"),
        [
            TaxIdFault::Serial,
            TaxIdFault::Branch,
            TaxIdFault::CheckDigit
        ]
    );
}

#[test]
fn citizen_ids_tell_a_place_and_a_year() {
    let id = |digits: &str| CitizenId::of(digits).unwrap();
    assert_eq!(id("034203000000").birth_year, 2003);
    assert_eq!(id("034103000000").birth_year, 1903);
    assert_eq!(id("087084000000").birth_year, 1984);
    assert!(id("034203000000").has_a_place() && !id("034203000000").is_from_abroad());
    assert!(!id("003203000000").has_a_place());
    assert!(!id("000203000000").has_a_place());
    assert!(id("113203000000").has_a_place() && id("113203000000").is_from_abroad());
    assert_eq!(CitizenId::of("03420300000"), None);
    assert_eq!(CitizenId::of("03420300000x"), None);
}

#[test]
fn ages_count_completed_years() {
    assert_eq!(age(date(2000, 6, 1), date(2024, 5, 31)), 23);
    assert_eq!(age(date(2000, 6, 1), date(2024, 6, 1)), 24);
}

#[test]
fn phones_become_international() {
    for written in [
        "0710 000 001",
        "+84 710000001",
        "84710000001",
        "0084710000001",
        "(0)710.000.001",
        "+84 (0)710-000-001",
    ] {
        assert_eq!(phone(written).as_deref(), Some("+84710000001"), "{written}");
    }
    assert_eq!(phone("024 1000 0001").as_deref(), Some("+842410000001"));
    for wrong in [
        "0110000001",
        "071000000",
        "00710000001",
        "phone",
        "",
        "+1 202 555 0100",
    ] {
        assert_eq!(phone(wrong), None, "{wrong}");
    }
    assert_eq!(phone_display("+84710000001"), "0710 000 001");
    assert_eq!(phone_display("+842410000001"), "024 1000 0001");
}

#[test]
fn a_personal_id_is_masked_in_print() {
    for (number, printed) in [
        ("034203000000", "*********000"),
        ("034 203 000.000", "*********000"),
        ("GCN 034203000000", "GCN*********000"),
        ("034203000000/HKD", "*********000/HKD"),
        ("0342030000001", "**********001"),
        ("0314409058002", "0314409058-002"),
        ("34A8999999", "34A8999999"),
        ("Số 12/2025-GCN", "Số 12/2025-GCN"),
    ] {
        assert_eq!(public_number(number), printed, "{number}");
    }
}

#[test]
fn a_personal_id_stands_in_its_own_place_alone() {
    assert_eq!(warnings(OWNERS_ID, &[]), [""; 0]);
    for written in ["GCN 034185000000", "034185000000/HKD", "0341850000001"] {
        assert_eq!(
            faults(OWNERS_ID, &[("/business/registration_no", json!(written))]),
            ["/business/registration_no text.personal_id"],
            "{written}"
        );
    }
    let spaced = [("/business/registration_no", json!("034 185 000 000"))];
    assert_eq!(faults(OWNERS_ID, &spaced), [""; 0]);
}

#[test]
fn vietnamese_names_go_to_a_labels() {
    assert_eq!(
        ascii_name("quán-phở-hòa.biz.vn").as_deref(),
        Some("xn--qun-ph-ha-11a7qt946a.biz.vn")
    );
    assert_eq!(
        without_marks("Nguyễn Thị Hường Đặng"),
        "Nguyen Thi Huong Dang"
    );
    let ascii = |text: &str| host(text).map(String::from);
    assert_eq!(ascii("Tiền.vn").as_deref(), Some("xn--tin-hkz.vn"));
    for wrong in ["192.0.2.1", "localhost", "a b.vn", "", "-a.vn"] {
        assert_eq!(ascii(wrong), None, "{wrong}");
    }
}

fn findings(name: &str, programme: Option<Programme>) -> Findings {
    let mut findings = Findings::of(&KIND);
    granted(name, programme, "/domain", &mut findings);
    findings
}

fn codes(name: &str) -> Vec<String> {
    let faults = findings(name, Some(Programme::Biz)).faults;
    faults.into_iter().map(|fault| fault.code).collect()
}

#[test]
fn granted_names_are_checked() {
    for good in [
        "pho-hoa.biz.vn",
        "Quán-Phở-Hòa.biz.vn",
        "xn--qun-ph-ha-11a7qt946a.biz.vn",
        "a1.biz.vn",
    ] {
        assert!(codes(good).is_empty(), "{good}: {:?}", codes(good));
    }
    // The second letter is Cyrillic.
    assert_eq!(codes("b\u{0430}nh-mi.biz.vn"), ["domain.repertoire"]);
    assert_eq!(codes("a--b.biz.vn"), ["domain.hyphen"]);
    assert_eq!(codes("-ab.biz.vn"), ["domain.hyphen"]);
    assert_eq!(codes("a.b.biz.vn"), ["domain.labels"]);
    assert_eq!(codes("shop.id.vn"), ["domain.suffix"]);
    assert_eq!(codes("shop.example"), ["domain.suffix"]);
    assert_eq!(codes(&format!("{}.biz.vn", "a".repeat(63))), [""; 0]);
    assert_eq!(
        codes(&format!("{}.biz.vn", "a".repeat(64))),
        ["domain.length"]
    );
    assert_eq!(
        codes(&format!("-\u{0430}{}.id.vn", "ă".repeat(64))),
        [
            "domain.suffix",
            "domain.repertoire",
            "domain.hyphen",
            "domain.length"
        ]
    );
    let without_programme = findings("shop.example", None).faults;
    assert!(without_programme[0].vi.contains("`.biz.vn` hoặc `.id.vn`"));
}

#[test]
fn words_of_the_state_are_not_given_out() {
    for reserved in [
        "dịch-vụ-công",
        "cong-an-mau",
        "congan-hanoi",
        "conganphuong-mau",
        "ubndxa-x",
        "ubnd-mau",
        "uy-ban-nhan-dan-xa-mau",
        "thue",
        "thuế",
        "hà-nội",
    ] {
        let name = format!("{reserved}.biz.vn");
        assert_eq!(codes(&name), ["domain.reserved"], "{name}");
    }
    for free in [
        "thue-xe-mau",
        "thuê-nhà",
        "cong-anh-mau",
        "co-ngan-quan",
        "so-do-mau",
    ] {
        let name = format!("{free}.biz.vn");
        assert_eq!(codes(&name), [""; 0], "{name}");
    }
    let person = findings("thái-bình.id.vn", Some(Programme::Id));
    assert_eq!(told(person.faults), [""; 0]);
    assert_eq!(told(person.warnings), ["/domain domain.province"]);
}

#[test]
fn a_province_code_means_what_its_scheme_says() {
    let name = |scheme, code: &str| {
        provinces::current_name(&Province {
            scheme,
            code: code.to_owned(),
        })
    };
    assert_eq!(name(ProvinceScheme::Gso63, "34"), Some("Hưng Yên"));
    assert_eq!(name(ProvinceScheme::Gso34, "33"), Some("Hưng Yên"));
    assert_eq!(name(ProvinceScheme::Gso63, "24"), Some("Bắc Ninh"));
    assert_eq!(name(ProvinceScheme::Gso34, "34"), None);
}

#[test]
fn rows_of_the_policy_table_meet_and_do_not_overlap() {
    for programme in [Programme::Biz, Programme::Id] {
        let mut rows: Vec<&Policy> = policies()
            .iter()
            .filter(|row| row.programme == programme)
            .collect();
        rows.sort_by_key(|row| row.valid_from);
        for row in &rows {
            assert!(row.valid_from <= row.valid_to, "{}", row.id);
        }
        for pair in rows.windows(2) {
            assert_eq!(
                pair[0].valid_to.tomorrow().unwrap(),
                pair[1].valid_from,
                "{} and {}",
                pair[0].id,
                pair[1].id
            );
        }
        let on = |day| policy(programme, day).map(|row| row.id.as_str());
        assert_eq!(on(date(2023, 5, 31)), None);
        assert_eq!(on(date(2023, 6, 1)), Some(rows[0].id.as_str()));
        assert_eq!(on(date(2025, 5, 2)), Some(rows[0].id.as_str()));
        assert_eq!(on(date(2025, 5, 3)), Some(rows[1].id.as_str()));
        assert_eq!(on(date(2025, 12, 31)), Some(rows[1].id.as_str()));
        assert_eq!(on(date(2026, 1, 1)), None);
    }
}

#[test]
fn the_free_term_ends_with_the_month() {
    let until = |granted: &str| {
        let changes = [("/granted_on", json!(granted))];
        read(STUDENT, &changes).unwrap().claim.free_until()
    };
    assert_eq!(until("2024-02-29"), Some(date(2026, 2, 28)));
    assert_eq!(until("2025-06-02"), Some(date(2027, 6, 2)));
}

#[test]
fn ages_are_judged_on_the_day_of_the_grant() {
    let born = |birth: &str| faults(STUDENT, &[("/person/birth_date", json!(birth))]);
    // The sample is granted on 2025-06-02.
    assert_eq!(born("2007-06-02"), [""; 0], "the 18th birthday");
    assert_eq!(born("2007-06-03"), ["/person/birth_date birth_date.age"]);
    assert_eq!(
        born("2001-06-03"),
        [""; 0],
        "the day before the 24th birthday"
    );
    assert_eq!(born("2001-06-02"), ["/person/birth_date birth_date.age"]);
    assert_eq!(born("2025-06-03"), ["/person/birth_date birth_date.future"]);

    let row = policy(Programme::Id, date(2025, 6, 2)).unwrap();
    let other = Policy {
        age_reading: AgeReading::Birthday,
        ..row.clone()
    };
    let leap = date(2004, 2, 29);
    let days = |policy: &Policy, birth: Date| policy.days_of_age(birth).unwrap();
    assert_eq!(days(row, leap), (date(2022, 3, 1), date(2028, 2, 28)));
    assert_eq!(days(&other, leap), (date(2022, 3, 1), date(2027, 3, 1)));
    let biz = policy(Programme::Biz, date(2025, 6, 2)).unwrap();
    assert_eq!(biz.days_of_age(leap), None);
}

#[test]
fn an_enterprise_is_new_for_twelve_months() {
    let registered = |day: &str| faults(ENTERPRISE, &[("/business/registered_on", json!(day))]);
    // The sample is granted on 2025-08-15.
    assert_eq!(registered("2024-08-15"), [""; 0]);
    assert_eq!(
        registered("2024-08-14"),
        ["/business/registered_on registered_on.too_old"]
    );
    assert_eq!(registered("2025-08-15"), [""; 0]);
    assert_eq!(
        registered("2025-08-16"),
        ["/business/registered_on registered_on.future"]
    );
}

#[test]
fn a_households_tax_id_has_the_form_of_its_time() {
    let at = |registered: Value, granted: &str| {
        [
            ("/business/registered_on", registered),
            ("/granted_on", json!(granted)),
        ]
    };
    assert_eq!(
        faults(SHOP, &at(json!("2025-07-01"), "2025-07-01")),
        ["/business/tax_id tax_id.old_form"]
    );
    for registered in [json!("2025-06-30"), Value::Null] {
        let changes = at(registered, "2025-07-01");
        assert_eq!(
            warnings(SHOP, &changes),
            ["/business/tax_id tax_id.old_form"]
        );
    }
    assert_eq!(
        warnings(SHOP, &at(json!("2025-06-30"), "2025-06-30")),
        [""; 0]
    );
    let owner = |id: &str| [("/business/tax_id", json!(id))];
    assert_eq!(
        faults(OWNERS_ID, &owner("034326000000")),
        ["/business/tax_id tax_id.birth_year"]
    );
    assert_eq!(
        faults(OWNERS_ID, &owner("003326000000")),
        [
            "/business/tax_id tax_id.birth_year",
            "/business/tax_id tax_id.citizen"
        ]
    );
}

#[test]
fn what_is_not_wrong_is_warned_of() {
    for sample in [SHOP, ENTERPRISE, STUDENT, OWNERS_ID] {
        assert_eq!(warnings(sample, &[]), [""; 0]);
    }
    for (sample, pointer, value, warning) in [
        (
            SHOP,
            "/business/tax_id",
            json!("1099999928"),
            "/business/tax_id tax_id.check_digit",
        ),
        (
            OWNERS_ID,
            "/business/tax_id",
            json!("113185000000"),
            "/business/tax_id tax_id.abroad",
        ),
        (
            STUDENT,
            "/person/cccd",
            json!("113304000000"),
            "/person/cccd cccd.abroad",
        ),
        (
            STUDENT,
            "/person/resume",
            json!({"work": {}}),
            "/person/resume/work resume.section",
        ),
        (
            STUDENT,
            "/person/resume",
            json!({"basics": []}),
            "/person/resume/basics resume.section",
        ),
        (
            SHOP,
            "/origin",
            json!({"channel": "union"}),
            "/origin/org_id origin.org_id",
        ),
        (
            STUDENT,
            "/domain",
            json!("khánh-hòa.id.vn"),
            "/domain domain.province",
        ),
    ] {
        assert_eq!(warnings(sample, &[(pointer, value)]), [warning]);
    }
    // A number in a link is as public as one in print.
    let link = json!([{"network": "zalo", "url": "https://zalo.me/0710000001"}]);
    let provision = json!([{"purpose": "provision", "given": true, "at": "2025-06-02T08:50:00+07:00", "text_version": "v1"}]);
    let link = ("/business/profile/links", link);
    assert_eq!(warnings(SHOP, std::slice::from_ref(&link)), [""; 0]);
    assert_eq!(
        warnings(SHOP, &[link, ("/consents", provision)]),
        ["/business/profile/links/0/url link.phone"]
    );
}

#[test]
fn a_bank_account_needs_a_consent_and_no_more() {
    let bank = json!({"bin": "970400", "account": "0000000000", "holder": "NGUYEN VAN MAU"});
    let bank = ("/business/profile/bank", bank);
    let consent = |given: Value, at: &str| json!([{"purpose": "publish_qr", "given": given, "at": at, "text_version": "v1"}]);
    let moment = "2025-06-02T08:50:00+07:00";
    // Told together with a fault elsewhere.
    assert_eq!(
        faults(SHOP, &[bank.clone(), ("/registrar", json!("?"))]),
        [
            "/business/profile/bank bank.consent",
            "/registrar registrar.format"
        ]
    );
    let refused = ("/consents", consent(json!(false), moment));
    assert_eq!(
        faults(SHOP, &[bank.clone(), refused]),
        ["/business/profile/bank bank.consent"]
    );
    // A consent with a fault of its own is not told to be missing.
    let misdated = ("/consents", consent(json!(true), "today"));
    assert_eq!(
        faults(SHOP, &[bank.clone(), misdated]),
        ["/consents/0/at moment.format"]
    );
    let given = ("/consents", consent(json!(true), moment));
    assert_eq!(faults(SHOP, &[bank, given]), [""; 0]);
}

#[test]
fn one_fault_does_not_hide_another() {
    for (sample, changes, expected) in [
        (
            SHOP,
            vec![
                ("/domain", json!("vietcombank.biz.vn")),
                ("/contact/email", json!("a@mail.vietcombank.biz.vn")),
            ],
            vec!["/contact/email email.inside", "/domain domain.reserved"],
        ),
        (
            SHOP,
            vec![
                ("/business/subject_type", json!("shop")),
                ("/business/tax_id", json!("12")),
            ],
            vec![
                "/business/subject_type word.unknown",
                "/business/tax_id tax_id.length",
            ],
        ),
        (
            SHOP,
            vec![
                ("/mailboxes", json!(["?", "a", "b", "c", "d", "e"])),
                (
                    "/business/profile/links/0",
                    json!({"network": "x", "url": "http://zalo.me/x"}),
                ),
            ],
            vec![
                "/business/profile/links/0/network word.unknown",
                "/business/profile/links/0/url link.url",
                "/mailboxes list.length",
                "/mailboxes/0 mailbox.local_part",
            ],
        ),
        (
            SHOP,
            vec![("/address/province", json!({"code": "99"}))],
            vec![
                "/address/province/code province.unknown",
                "/address/province/scheme missing",
            ],
        ),
        (
            SHOP,
            vec![("/address/province", json!({"scheme": "gso34", "code": "1"}))],
            vec!["/address/province/code province.code"],
        ),
        (
            SHOP,
            vec![(
                "/consents",
                json!([
                    {"purpose": "directory", "given": true, "at": "?", "text_version": "v1"},
                    {"purpose": "directory", "at": "2025-06-02T08:50:00Z", "text_version": "v1"},
                ]),
            )],
            vec![
                "/consents/0/at moment.format",
                "/consents/1 consent.twice",
                "/consents/1/given missing",
            ],
        ),
        (
            ENTERPRISE,
            vec![("/business/tax_id", json!("0100000000-000"))],
            vec![
                "/business/tax_id tax_id.branch",
                "/business/tax_id tax_id.check_digit",
                "/business/tax_id tax_id.serial",
            ],
        ),
        (
            STUDENT,
            vec![("/person/resume_photo", json!("x"))],
            vec!["/person/resume_photo image.refused"],
        ),
    ] {
        assert_eq!(faults(sample, &changes), expected);
    }
}

#[test]
fn only_one_form_of_a_value_is_taken() {
    for (pointer, value, code) in [
        ("/granted_on", json!("20250602"), "date.format"),
        ("/expires_on", json!("2101-01-01"), "date.format"),
        ("/expires_on", json!("-002025-06-02"), "date.format"),
        (
            "/approved_at",
            json!("20250602T09+07[Asia/Saigon]"),
            "moment.format",
        ),
        (
            "/approved_at",
            json!("2025-06-02 09:00:00Z"),
            "moment.format",
        ),
        ("/approved_at", json!("2025-06-02T09:00Z"), "moment.format"),
        (
            "/approved_at",
            json!("2025-06-02T09:00:00"),
            "moment.format",
        ),
        (
            "/approved_at",
            json!("2025-06-02T09:00:00+0700"),
            "moment.format",
        ),
        (
            "/approved_at",
            json!("2025-06-02T09:00:00+24:00"),
            "moment.format",
        ),
        (
            "/approved_at",
            json!("2025-06-02T09:00:00.Z"),
            "moment.format",
        ),
        (
            "/approved_at",
            json!("1899-06-02T09:00:00Z"),
            "moment.format",
        ),
        ("/programme", json!({"biz": null}), "type"),
        ("/locale", json!("en"), "word.unknown"),
        ("/plan", json!("Gói 1"), "plan.format"),
        ("/contact/email", json!("a@192.0.2.1"), "email.format"),
        ("/contact/email", json!("a@b"), "email.format"),
        ("/contact/phone", json!("00912345678"), "phone.format"),
        ("/contact/phone", json!(""), "phone.format"),
        ("/contact/phone", json!("1".repeat(100_000)), "phone.format"),
        (
            "/business/trade_name",
            json!("Quán\u{200B}"),
            "text.control_character",
        ),
        (
            "/business/trade_name",
            json!("Quán \u{3164}Mẫu"),
            "text.control_character",
        ),
        (
            "/business/trade_name",
            json!("Quán\u{E0041}"),
            "text.control_character",
        ),
        ("/business/trade_name", json!("---"), "name.letters"),
        (
            "/business/legal_name",
            json!("\u{A0} A \u{A0}"),
            "text.length",
        ),
        ("/business/tax_id", json!("10999999290x"), "tax_id.length"),
        ("/business/industry/code", json!("561011"), "industry.code"),
    ] {
        assert_eq!(
            faults(SHOP, &[(pointer, value)]).first(),
            Some(&format!("{pointer} {code}")),
        );
    }
    for taken in [
        "2025-06-02T09:00:00Z",
        "2025-06-02t09:00:00.123456789z",
        "2025-06-02T09:00:00-07:30",
    ] {
        assert_eq!(faults(SHOP, &[("/approved_at", json!(taken))]), [""; 0]);
    }
    // A red heart has a variation selector.
    let heart = [("/business/trade_name", json!("Phở \u{2764}\u{FE0F}"))];
    assert_eq!(faults(SHOP, &heart), [""; 0]);
    let name = [("/person/full_name", json!(" H’Ơ\u{306}i\u{A0} Mẫu "))];
    assert_eq!(
        read(STUDENT, &name).unwrap().claim.owner_name(),
        "H’Ơ\u{306}i Mẫu"
    );
    let unicode = [("/contact/email", json!("mau@tiền.vn"))];
    let claim = read(SHOP, &unicode).unwrap().claim;
    assert_eq!(claim.contact_email().as_str(), "mau@xn--tin-hkz.vn");
}

#[test]
fn name_servers_and_the_dossiers_own_address_are_kept() {
    let ns = |names: Value| faults(SHOP, &[("/delegation", json!({"ns": names}))]);
    assert_eq!(
        ns(json!(["ns1.mau.test", "NS2.mau.test.", "ns3.máy-chủ.vn"])),
        [""; 0]
    );
    assert_eq!(
        ns(json!(["ns1.mau.test"])),
        ["/delegation/ns delegation.few"]
    );
    assert_eq!(ns(Value::Null), ["/delegation/ns missing"]);
    assert_eq!(
        ns(json!(["ns1.mau.test", "NS1.mau.test", "192.0.2.1", 1])),
        [
            "/delegation/ns/1 delegation.twice",
            "/delegation/ns/2 delegation.ns",
            "/delegation/ns/3 delegation.ns"
        ]
    );
    let changes = [
        (
            "/delegation",
            json!({"ns": ["ns1.mau.test", "ns2.mau.test"], "ds_supported": true}),
        ),
        ("/plan", json!("goi-mau")),
        ("/locale", json!("vi")),
        ("/address/raw", json!("Số 1\r\nđường Mẫu")),
    ];
    let claim = read(SHOP, &changes).unwrap().claim;
    let stored = claim.canonical_json();
    for kept in ["ns2.mau.test", "goi-mau", "locale", r"Số 1\nđường Mẫu"] {
        assert!(stored.expose().contains(kept), "{kept}");
    }
    assert_eq!(parse(stored.expose().as_bytes()).unwrap().claim, claim);
}

#[test]
fn what_is_kept_reads_as_the_same_claim() {
    let link = |length: usize| {
        // Each letter takes six characters once it is percent-encoded.
        let url = format!("https://zalo.me/{}", "ă".repeat(length));
        [("/business/profile/links/0/url", json!(url))]
    };
    assert_eq!(faults(SHOP, &link(47)), [""; 0]);
    assert_eq!(
        faults(SHOP, &link(48)),
        ["/business/profile/links/0/url text.length"]
    );
    for (sample, pointer, value) in [
        (SHOP, "/business/profile/links/0/url", link(47)[0].1.clone()),
        (SHOP, "/business/profile/about", json!("a\r\r\nb\rc")),
        (SHOP, "/business/profile/geo/lat", json!(61.0 / 3.0)),
        (
            SHOP,
            "/contact/email",
            json!(format!("{}@tiền.vn", "a".repeat(64))),
        ),
        (
            STUDENT,
            "/person/resume",
            json!({"x": [2.3e-17, -0.1, 1e22, -0.0, u64::MAX, "a\r\n\u{200B}"]}),
        ),
        (
            STUDENT,
            "/person/full_name",
            json!("Nguyễn\u{A0}\u{2003}Mẫu"),
        ),
    ] {
        let claim = read(sample, &[(pointer, value)]).unwrap().claim;
        let again = parse(claim.canonical_json().expose().as_bytes()).unwrap();
        assert_eq!(again.claim, claim, "{pointer}");
        assert_eq!(again.claim.fingerprint(), claim.fingerprint(), "{pointer}");
    }
}

#[test]
fn files_are_refused_in_any_dress() {
    let mixed = "aB3/".repeat(250);
    for file in [
        "DATA:image/png;BASE64,AAAA",
        "ảnh: Data:Image/JPEG,xx",
        &format!("/9j/4AAQSkZJRgABAQAA{}", "A".repeat(12)),
        &format!("Đây:\niVBORw0KGgoAAAANSUhEUg{}", "A".repeat(12)),
        &format!("JVBERi0xLjcK{}", "A".repeat(20)),
        &mixed,
        &mixed.replace("aB3/aB3/", "aB3/aB3/\n"),
    ] {
        assert_eq!(
            faults(SHOP, &[("/business/profile/about", json!(file))]),
            ["/business/profile/about image.refused"],
            "{file}"
        );
    }
    for text in [
        "data: số liệu, bảng biểu",
        "/9j/ là gì",
        &"a".repeat(4000),
        &"aB3/ ".repeat(300),
    ] {
        let changes = [("/business/profile/about", json!(text))];
        assert_eq!(faults(SHOP, &changes), [""; 0], "{text}");
    }
    // The standard's own member, but nothing in it that is a file.
    let resume = |image: &str| json!({"basics": {"image": image}});
    let linked = [("/person/resume", resume("https://mau.test/mau.jpg"))];
    assert_eq!(faults(STUDENT, &linked), [""; 0]);
    let sent = [("/person/resume", resume("data:image/png;base64,AAAA"))];
    assert_eq!(
        faults(STUDENT, &sent),
        ["/person/resume/basics/image image.refused"]
    );
}

/// Peak memory of this process, KiB.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

#[test]
fn hostile_documents_get_a_bounded_answer() {
    let codes = |document: &str| {
        let faults = parse(document.as_bytes()).unwrap_err().0;
        faults
            .into_iter()
            .map(|fault| fault.code)
            .collect::<Vec<_>>()
    };
    // Deep and long names make a long pointer, and each of the many repeats would have one.
    let name = "n".repeat(256);
    let mut document = String::new();
    for _ in 0..30 {
        write!(document, "{{\"{name}\":").unwrap();
    }
    document.push_str("{\"a\":0");
    document.push_str(&",\"a\":0".repeat(19_000));
    document.push_str(&"}".repeat(31));
    let faults = parse(document.as_bytes()).unwrap_err().0;
    assert_eq!(faults.len(), FAULTS_MAX + 1);
    assert_eq!(faults[FAULTS_MAX].code, "document.too_many_faults");
    let size: usize = faults.iter().map(|fault| fault.pointer.len()).sum();
    assert!(size < 1024 * 1024, "{size} bytes of pointers");
    assert!(peak_memory_kib() < 100 * 1024, "{} KiB", peak_memory_kib());

    let values = "0,".repeat(20_000);
    assert_eq!(
        codes(&format!("{{\"a\": [{values}0]}}")),
        ["document.too_many_values"]
    );
    let (open, shut) = ("[".repeat(40), "]".repeat(40));
    let deep = format!("{{\"a\": {open}{shut}}}");
    assert!(codes(&deep).contains(&"document.depth".to_owned()));
    let long = format!("{{\"{}\": 1}}", "n".repeat(257));
    assert!(codes(&long).contains(&"member.too_long".to_owned()));
    // Faults of one member do not hide what else there is to tell of the document.
    let both = SHOP.replacen(
        '{',
        &format!("{{\"{}\": 1, \"colour\": {open}{shut},", "n".repeat(257)),
        1,
    );
    assert_eq!(
        told(parse(both.as_bytes()).unwrap_err().0),
        [
            " member.too_long",
            "/colour unknown_member",
            &format!("/colour{} document.depth", "/0".repeat(31)),
        ]
    );
}

#[test]
fn a_broken_document_is_told_where() {
    let only = |document: &str| {
        let faults = parse(document.as_bytes()).unwrap_err().0;
        assert_eq!(
            (faults.len(), faults[0].code.as_str()),
            (1, "document.json")
        );
        faults[0].vi.clone()
    };
    assert_eq!(
        only("{\"a\": 1,"),
        "Tệp JSON bị cắt cụt ở dòng 1, cột 8; hãy gửi lại đủ tệp."
    );
    assert_eq!(
        only("{\"a\" 1}"),
        "JSON sai cú pháp ở dòng 1, cột 6; hãy kiểm tra dấu phẩy, dấu ngoặc và dấu nháy tại đó."
    );
}

#[test]
fn a_resume_has_a_bounded_size() {
    let resume = |resume: Value| faults(STUDENT, &[("/person/resume", resume)]);
    assert_eq!(
        resume(json!({"work": vec![0; 5000]})),
        ["/person/resume resume.size"]
    );
    assert_eq!(
        resume(json!({"basics": {"summary": "ă ".repeat(5001)}})),
        ["/person/resume/basics/summary text.length"]
    );
}
