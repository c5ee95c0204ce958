use jiff::civil::date;

use super::identifiers::{
    CitizenIdFault, TaxIdFault, check_citizen_id, check_tax_id, phone, phone_display, public_number,
};
use super::names::{ascii_name, granted, without_marks};
use super::policy::age;
use super::reader::Findings;
use super::{Province, ProvinceScheme, provinces};
use crate::lifecycle::Programme;

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
        assert_eq!(check_tax_id(good), Ok(()), "{good}");
    }
    assert_eq!(check_tax_id("0100233489"), Err(TaxIdFault::CheckDigit));
    assert_eq!(check_tax_id("0314409058000"), Err(TaxIdFault::Branch));
    assert_eq!(check_tax_id("0100000000"), Err(TaxIdFault::Serial));
    assert_eq!(check_tax_id("01002334"), Err(TaxIdFault::Length));
    assert_eq!(check_tax_id("010023348x"), Err(TaxIdFault::Length));
}

#[test]
fn citizen_ids_agree_with_the_birth_year() {
    let birth = Some(date(2003, 9, 15));
    assert_eq!(check_citizen_id("034203001234", birth), Ok(()));
    assert_eq!(
        check_citizen_id("034103001234", birth),
        Err(CitizenIdFault::BirthYear)
    );
    assert_eq!(check_citizen_id("087084000999", None), Ok(()));
    assert_eq!(
        check_citizen_id("003203001234", None),
        Err(CitizenIdFault::Province)
    );
    assert_eq!(
        check_citizen_id("03420300123", None),
        Err(CitizenIdFault::Length)
    );
}

#[test]
fn ages_count_completed_years() {
    assert_eq!(age(date(2000, 6, 1), date(2024, 5, 31)), 23);
    assert_eq!(age(date(2000, 6, 1), date(2024, 6, 1)), 24);
}

#[test]
fn phones_become_international() {
    for written in [
        "0912 345 678",
        "+84 912345678",
        "84912345678",
        "0084912345678",
        "(0)912.345.678",
    ] {
        assert_eq!(phone(written).as_deref(), Some("+84912345678"), "{written}");
    }
    assert_eq!(phone("024 3556 4944").as_deref(), Some("+842435564944"));
    for wrong in ["0112345678", "091234567", "phone", "", "+1 202 555 0100"] {
        assert_eq!(phone(wrong), None, "{wrong}");
    }
    assert_eq!(phone_display("+84912345678"), "0912 345 678");
    assert_eq!(phone_display("+842435564944"), "024 3556 4944");
}

#[test]
fn a_personal_id_is_masked_in_print() {
    assert_eq!(public_number("034203001234"), "*********234");
    assert_eq!(public_number("0314409058002"), "0314409058-002");
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
}

fn codes(name: &str) -> Vec<String> {
    let mut findings = Findings::default();
    granted(name, Some(Programme::Biz), "/domain", &mut findings);
    findings
        .faults
        .into_iter()
        .map(|fault| fault.code)
        .collect()
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
    assert_eq!(codes("dịch-vụ-công.biz.vn"), ["domain.reserved"]);
    assert_eq!(
        codes(&format!("{}.biz.vn", "a".repeat(64))),
        ["domain.length"]
    );
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
