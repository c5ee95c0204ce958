//! Claims: the samples pass, and broken input is refused with all its faults.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

use hiendien_domain::claim::{self, CLAIM_BYTES_MAX};
use integration_tests::lab::sample;
use serde_json::{Value, json};

fn codes(bytes: &[u8]) -> Vec<(String, String)> {
    match claim::parse(bytes) {
        Ok(_) => Vec::new(),
        Err(faults) => {
            for fault in &faults.0 {
                assert!(!fault.vi.is_empty() && !fault.en.is_empty(), "{fault:?}");
            }
            faults
                .0
                .into_iter()
                .map(|fault| (fault.pointer, fault.code))
                .collect()
        }
    }
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap()
}

/// The pho shop's claim with one member replaced.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut claim = read("pho-shop.json");
    *claim.pointer_mut(pointer).unwrap() = value;
    claim.to_string().into_bytes()
}

#[test]
fn the_samples_are_claims_and_keep_the_schema() {
    let validator = jsonschema::validator_for(&claim::schema()).unwrap();
    for name in ["pho-shop.json", "student.json"] {
        let value = read(name);
        assert_eq!(codes(value.to_string().as_bytes()), [], "{name}");
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        // A name may be sent in U-labels, which the schema's text takes as well.
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn each_rule_names_its_member() {
    let cases: [(&str, Value, &str); 14] = [
        (
            "/domain",
            json!("b\u{0430}nh-mi.biz.vn"),
            "domain.repertoire",
        ),
        ("/domain", json!("shop.id.vn"), "domain.suffix"),
        ("/domain", json!("dich-vu-cong.biz.vn"), "domain.reserved"),
        ("/granted_on", json!("2030-01-01"), "policy.window"),
        ("/granted_on", json!("01/06/2025"), "date.format"),
        ("/mailboxes", json!([]), "mailboxes.empty"),
        ("/mailboxes/0", json!("admin"), "mailbox.reserved"),
        ("/contact/phone", json!("12345"), "phone.format"),
        (
            "/contact/email",
            json!("a@xn--qun-ph-mu-11a6005f0ra.biz.vn"),
            "email.inside",
        ),
        ("/address/province/code", json!("99"), "province.unknown"),
        ("/business/tax_id", json!("123"), "tax_id.length"),
        (
            "/business/trade_name",
            json!("a\u{202E}b"),
            "text.control_character",
        ),
        (
            "/business/profile/links/0/url",
            json!("javascript:alert(1)"),
            "link.url",
        ),
        (
            "/business/profile/products/0/price_vnd",
            json!(-1),
            "price.format",
        ),
    ];
    for (pointer, value, code) in cases {
        assert_eq!(
            codes(&with(pointer, value)),
            [(pointer.to_owned(), code.to_owned())]
        );
    }
}

#[test]
fn hostile_documents_get_one_clear_fault() {
    let one = |bytes: &[u8]| {
        codes(bytes)
            .into_iter()
            .map(|(_, code)| code)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        one(&vec![b' '; 10 * CLAIM_BYTES_MAX]),
        ["document.too_large"]
    );
    assert_eq!(one(b"{\"a\": \"\xff\"}"), ["document.utf8"]);
    assert_eq!(one(b"{\"a\": "), ["document.json"]);
    assert_eq!(one("[".repeat(100_000).as_bytes()), ["document.json"]);
    assert_eq!(one(b"[]"), ["type"]);
    assert!(one(b"{}").len() > 8, "all that is missing comes at once");
}

#[test]
fn a_script_is_text_and_an_unknown_member_is_not() {
    assert_eq!(
        codes(&with(
            "/business/trade_name",
            json!("<script>alert(1)</script>")
        )),
        []
    );
    let mut claim = read("pho-shop.json");
    claim["contact"]["emial"] = json!("a@outside.test");
    let expected = ("/contact/emial".to_owned(), "unknown_member".to_owned());
    assert_eq!(codes(claim.to_string().as_bytes()), [expected]);
}

#[test]
fn a_fingerprint_follows_the_content_alone() {
    let print = |bytes: &[u8]| claim::parse(bytes).unwrap().claim.fingerprint();
    let plain = std::fs::read(sample("student.json")).unwrap();
    assert_eq!(
        print(&plain),
        print(read("student.json").to_string().as_bytes())
    );
    let mut other = read("student.json");
    other["person"]["study_field"] = json!("Toán học");
    assert_ne!(print(&plain), print(other.to_string().as_bytes()));
    // A citizen number is checked and not kept.
    let mut with_id = read("student.json");
    with_id["person"]["cccd"] = json!("001304001234");
    let kept = claim::parse(with_id.to_string().as_bytes()).unwrap().claim;
    assert!(!kept.canonical_json().expose().contains("001304001234"));
}

#[test]
fn the_committed_schema_is_in_step() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/claim-v1.schema.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hint = "regenerate it with `hiendien claim schema > docs/claim-v1.schema.json`";
    assert_eq!(committed, claim::schema(), "{hint}");
}
