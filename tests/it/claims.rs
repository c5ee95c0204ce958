//! Claims: the samples pass, and broken input is refused with all its faults.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

use std::collections::BTreeMap;
use std::fmt::Write;

use hiendien_domain::claim::{self, CLAIM_BYTES_MAX};
use integration_tests::lab::{root, sample};
use integration_tests::resume;
use proptest::prelude::*;
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

/// The sample claims of a directory, by file name.
fn samples(kind: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = sample("").parent().unwrap().join(kind);
    let found: BTreeMap<_, _> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    assert!(found.len() >= 12, "{kind} has only {} samples", found.len());
    found
}

/// A claim that passes, keeps the schema as it came and as it is kept, and survives being stored.
fn is_whole(name: &str, bytes: &[u8]) {
    let checked = match claim::parse(bytes) {
        Ok(checked) => checked,
        Err(faults) => panic!("{name}:\n{faults}"),
    };
    assert_eq!(checked.warnings, [], "{name}");
    let kept = checked.claim;
    let stored = kept.canonical_json();
    let validator = jsonschema::validator_for(&claim::schema()).unwrap();
    for json in [bytes, stored.expose().as_bytes()] {
        let value: Value = serde_json::from_slice(json).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
    let again = claim::parse(stored.expose().as_bytes()).unwrap().claim;
    assert_eq!(again, kept, "{name}");
    assert_eq!(again.fingerprint(), kept.fingerprint(), "{name}");
}

#[test]
fn good_samples_keep_the_schema_and_survive_being_stored() {
    for (name, bytes) in samples("good") {
        is_whole(&name, &bytes);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["registrar"], "nha-dang-ky-mau", "{name}");
        let reference = value["reference"].as_str().unwrap();
        assert!(reference.starts_with("MAU-"), "{name}: {reference}");
    }
}

#[test]
fn the_public_sample_of_json_resume_is_taken_as_it_is() {
    let mut claim = read("minimal-student.json");
    claim["person"]["resume"] = resume::public_sample();
    is_whole("with a résumé", claim.to_string().as_bytes());
}

#[test]
fn bad_samples_give_exactly_the_faults_beside_them() {
    let mut messages = String::new();
    for (name, bytes) in samples("bad") {
        let mut found = codes(&bytes);
        found.sort();
        let wanted = sample("")
            .parent()
            .unwrap()
            .join(format!("bad/{name}.faults"));
        let mut wanted: Vec<(String, String)> = std::fs::read_to_string(wanted)
            .unwrap()
            .lines()
            .map(|line| {
                let (pointer, code) = line.rsplit_once(' ').unwrap();
                (pointer.to_owned(), code.to_owned())
            })
            .collect();
        wanted.sort();
        assert_eq!(found, wanted, "{name}");
        let faults = claim::parse(&bytes).unwrap_err();
        writeln!(messages, "{name}\n{faults}\n").unwrap();
    }
    // What people read, for the eye of whoever changes a message.
    insta::assert_snapshot!("messages_of_bad_claims", messages);
}

/// The place of every value in a document.
pub(crate) fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9 .+-]{0,20}".prop_map(Value::from),
        "\\PC{0,40}\\.(biz|id)\\.vn".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:30:00(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:30)"
            .prop_map(Value::from),
        "https://(zalo\\.me|www\\.facebook\\.com)/\\PC{0,100}".prop_map(Value::from),
        "[a-z.]{1,64}@\\PC{1,20}\\.vn".prop_map(Value::from),
        "([\r\n\t .,a-zÀ-ỹ]|\\PC){0,40}".prop_map(Value::from),
    ];
    nested(leaf, "[a-z_]{0,12}")
}

/// Arrays and objects of `leaf`, whose members have names like `member`.
pub(crate) fn nested(
    leaf: impl Strategy<Value = Value> + 'static,
    member: &'static str,
) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(member, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands at whatever place: an answer, never a panic; and what is taken can be stored.
    #[test]
    fn any_change_of_a_claim_gets_an_answer(
        which in any::<proptest::sample::Index>(),
        place in any::<proptest::sample::Index>(),
        value in any_value(),
    ) {
        let all: Vec<Vec<u8>> = samples("good").into_values().collect();
        let mut document: Value = serde_json::from_slice(&all[which.index(all.len())]).unwrap();
        let mut places = Vec::new();
        pointers(&document, "", &mut places);
        if let Some(at) = document.pointer_mut(&places[place.index(places.len())]) {
            *at = value;
        }
        match claim::parse(document.to_string().as_bytes()) {
            Ok(checked) => {
                let stored = checked.claim.canonical_json();
                prop_assert_eq!(claim::parse(stored.expose().as_bytes()).unwrap().claim, checked.claim);
            }
            Err(faults) => prop_assert!(!faults.0.is_empty()),
        }
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(claim::parse(&bytes).is_err());
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
    assert_eq!(
        one("[0],".repeat(CLAIM_BYTES_MAX / 4).as_bytes()),
        ["document.json"]
    );
    assert_eq!(
        one(format!("[{}0]", "0,".repeat(400_000)).as_bytes()),
        ["document.too_many_values"]
    );
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
    with_id["person"]["cccd"] = json!("001304000000");
    let kept = claim::parse(with_id.to_string().as_bytes()).unwrap().claim;
    assert!(!kept.canonical_json().expose().contains("001304000000"));
}

#[test]
fn the_committed_schema_is_in_step() {
    let path = root().join("docs/claim-v1.schema.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hint = "regenerate it with `hiendien claim schema > docs/claim-v1.schema.json`";
    assert_eq!(committed, claim::schema(), "{hint}");
}
