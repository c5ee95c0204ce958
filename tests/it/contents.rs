//! Content: what owners write is read, told its faults, published, read back, and shown before it is published.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use hiendien_domain::claim;
use hiendien_domain::content::{ImageId, Picture, SiteContent};
use hiendien_domain::document::{self, Checked, Facts, RESERVED_SLUGS};
use hiendien_domain::fault::Faults;
use integration_tests::lab::{Lab, root, sample, variant};
use integration_tests::net;
use integration_tests::resume;
use integration_tests::wait::wait_for;
use integration_tests::world::platform;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};

use crate::lifecycle::{ask, done, ends};

const LIMIT: Duration = Duration::from_secs(90);
const IMAGE: &str = "0123456789abcdef0123456789abcdef";

fn facts(claim: &str) -> Facts {
    let bytes = std::fs::read(sample(claim)).unwrap();
    claim::parse(&bytes).unwrap().claim.facts(&platform())
}

fn pictures() -> BTreeMap<ImageId, Picture> {
    let id: ImageId = IMAGE.parse().unwrap();
    let picture = Picture {
        id: id.clone(),
        alt: String::new(),
        width: 1600,
        height: 1200,
        widths: vec![400, 800, 1600],
        placeholder: "data:image/webp;base64,UklGRhYAAABXRUJQ".to_owned(),
    };
    BTreeMap::from([(id, picture)])
}

/// Whose content a sample is.
fn facts_for(name: &str) -> Facts {
    facts(if name.starts_with("cv-") {
        "student.json"
    } else if name.starts_with("owner-") {
        "household-personal-id.json"
    } else {
        "pho-shop.json"
    })
}

fn check(document: &Value, facts: &Facts) -> Result<Checked, Faults> {
    document::check(document.to_string().as_bytes(), facts, &pictures())
}

fn samples(kind: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = root().join("tests/contents").join(kind);
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect()
}

/// A document that passes, keeps the schema as it came and as it is kept, and makes the same page from what is kept.
fn is_whole(name: &str, bytes: &[u8], facts: &Facts) -> Checked {
    let checked = match document::check(bytes, facts, &pictures()) {
        Ok(checked) => checked,
        Err(faults) => panic!("{name}:\n{faults}"),
    };
    let kept = checked.document.canonical_json();
    let validator = jsonschema::validator_for(&document::schema()).unwrap();
    for json in [bytes, kept.expose().as_bytes()] {
        let value: Value = serde_json::from_slice(json).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
    let again = document::check(kept.expose().as_bytes(), facts, &pictures()).unwrap();
    assert_eq!(again.document, checked.document, "{name}");
    assert_eq!(again.content, checked.content, "{name}");
    checked
}

#[test]
fn good_samples_keep_the_schema_and_survive_being_kept() {
    let all = samples("good");
    assert!(all.len() >= 6);
    for (name, bytes) in &all {
        let checked = is_whole(name, bytes, &facts_for(name));
        assert_eq!(checked.warnings, [], "{name}");
    }
    let minimal = &all["minimal"];
    for claim in ["pho-shop.json", "student.json", "blog.json"] {
        let facts = facts(claim);
        let checked = is_whole(claim, minimal, &facts);
        assert_eq!(&checked.content, facts.content(), "{claim}");
    }
    let whole = is_whole("whole", &all["shop-whole"], &facts("pho-shop.json"));
    insta::assert_json_snapshot!("a_whole_shop", whole.content);
    let whole = is_whole("whole", &all["cv-whole"], &facts("student.json"));
    insta::assert_json_snapshot!("a_whole_cv", whole.content);
}

#[test]
fn a_photo_of_a_project_that_the_claims_resume_has_no_more_is_left_out_with_a_warning() {
    let mut facts = facts("student.json");
    let photo = json!({ "image": IMAGE, "alt": "Bìa" });
    let document = json!({ "content": "content/v1",
        "cv": { "project_photos": [{ "project": "Dự án mẫu", "photo": photo }] } });
    let shown = |facts: &Facts| {
        let checked = check(&document, facts).unwrap();
        let SiteContent::Cv(page) = checked.content else {
            panic!("a student has a CV");
        };
        let shown = page
            .projects
            .iter()
            .filter(|project| project.picture.is_some());
        let warnings: Vec<_> = checked
            .warnings
            .iter()
            .map(|warning| warning.code.clone())
            .collect();
        (shown.count(), page.site.pictures.len(), warnings)
    };
    assert_eq!(shown(&facts), (0, 0, vec!["project.unknown".to_owned()]));
    let with_it = json!({ "projects": [{ "name": "Dự án mẫu" }] });
    let mut kept: Value = serde_json::from_str(facts.to_json().expose()).unwrap();
    kept["resume"] = with_it;
    facts = Facts::from_json(&kept.to_string()).unwrap();
    assert_eq!(shown(&facts), (1, 1, vec![]));
}

#[test]
fn bad_samples_give_exactly_the_faults_beside_them() {
    let mut messages = String::new();
    for (name, bytes) in samples("bad") {
        let faults = document::check(&bytes, &facts_for(&name), &pictures()).unwrap_err();
        let mut found = Vec::new();
        for fault in &faults.0 {
            assert!(!fault.vi.is_empty() && !fault.en.is_empty(), "{fault:?}");
            found.push(format!("{} {}", fault.pointer, fault.code));
        }
        found.sort();
        let wanted = root().join(format!("tests/contents/bad/{name}.faults"));
        let wanted = std::fs::read_to_string(wanted).unwrap();
        let mut wanted: Vec<&str> = wanted.lines().collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{name}");
        writeln!(messages, "{name}\n{faults}\n").unwrap();
    }
    // What people read, for the eye of whoever changes a message.
    insta::assert_snapshot!("messages_of_bad_contents", messages);
}

#[test]
fn a_document_made_from_a_claim_makes_the_page_of_the_claim() {
    let claims = sample("").parent().unwrap().join("good");
    for entry in std::fs::read_dir(claims).unwrap() {
        let path = entry.unwrap().path();
        let claim = claim::parse(&std::fs::read(&path).unwrap()).unwrap().claim;
        let facts = claim.facts(&platform());
        assert_eq!(facts.content(), &claim.content(&platform()));
        let document = facts.document().to_value();
        let checked = check(&document, &facts)
            .unwrap_or_else(|faults| panic!("{}:\n{faults}", path.display()));
        assert_eq!(&checked.content, facts.content(), "{}", path.display());
        // What the store keeps of it is the same, also where only the page is left.
        let stored = Facts::from_json(facts.to_json().expose()).unwrap();
        assert_eq!(stored, facts);
        let of_page = Facts::of_page(facts.content());
        let checked = check(&json!({ "content": "content/v1" }), &of_page).unwrap();
        assert_eq!(&checked.content, facts.content(), "{}", path.display());
    }
}

#[test]
fn what_is_shown_of_phone_and_account_follows_consent() {
    let shown = |facts: &Facts, consents: Value, bank: bool| {
        let mut document = json!({ "content": "content/v1", "consents": consents, "business": {} });
        if bank {
            document["business"]["bank"] =
                json!({ "bin": "970400", "account": "0000000001", "holder": "TRAN THI MAU" });
        }
        check(&document, facts).map(|checked| match checked.content {
            SiteContent::Business(page) => (page.phone.is_some(), page.bank.is_some()),
            SiteContent::Cv(_) => panic!("a shop"),
        })
    };
    let says = |purpose: &str, given: bool| json!([{ "purpose": purpose, "given": given, "at": "2026-11-01T09:00:00+07:00", "text_version": "v2" }]);
    let neither = facts("minimal-business.json");
    assert_eq!(shown(&neither, json!([]), false).unwrap(), (false, false));
    assert_eq!(
        shown(&neither, says("publish_phone", true), false).unwrap(),
        (true, false)
    );
    assert_eq!(
        shown(&neither, says("publish_qr", true), true).unwrap(),
        (false, true)
    );
    assert!(shown(&neither, json!([]), true).is_err());
    let both = facts("bank-and-consents.json");
    assert_eq!(shown(&both, json!([]), false).unwrap(), (true, true));
    assert_eq!(
        shown(&both, says("publish_phone", false), false).unwrap(),
        (false, true)
    );
    assert_eq!(
        shown(&both, says("publish_qr", false), false).unwrap(),
        (true, false)
    );
    assert!(shown(&both, says("publish_qr", false), true).is_err());
}

#[test]
fn a_resume_comes_out_as_it_came_in_and_shows_nothing_private() {
    let facts = facts("student.json");
    let mut resumes = vec![resume::public_sample()];
    let whole: Value = serde_json::from_slice(&samples("good")["cv-whole"]).unwrap();
    resumes.push(whole["cv"]["resume"].clone());
    for resume in resumes {
        let document = json!({ "content": "content/v1", "cv": { "resume": resume } });
        let checked = is_whole("a résumé", document.to_string().as_bytes(), &facts);
        assert_eq!(checked.document.resume(), Some(&resume));
        let shown = serde_json::to_string(&checked.content).unwrap();
        let basics = &resume["basics"];
        for private in [
            "/phone",
            "/email",
            "/birth",
            "/location/address",
            "/location/postalCode",
        ] {
            if let Some(private) = basics.pointer(private).and_then(Value::as_str) {
                assert!(!shown.contains(private), "{private} is shown");
            }
        }
    }
}

#[test]
fn pages_lie_beside_those_a_site_has() {
    let facts = facts("pho-shop.json");
    for slug in RESERVED_SLUGS {
        let page = json!({ "title": slug, "body": "x" });
        let document = json!({ "content": "content/v1", "pages": [page] });
        let SiteContent::Business(page) = check(&document, &facts).unwrap().content else {
            panic!("a shop");
        };
        assert_ne!(page.pages[0].slug, *slug);
    }
}

#[test]
fn the_committed_schema_is_in_step() {
    let path = root().join("docs/content-v1.schema.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hint = "regenerate it with `hiendien content schema > docs/content-v1.schema.json`";
    assert_eq!(committed, document::schema(), "{hint}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300f64).prop_map(Value::from),
        "[ -~À-ỹ]{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from(IMAGE)),
        "(\\]\\(|anh:|[0-9a-f]|\n){0,80}".prop_map(Value::from),
    ];
    crate::claims::nested(leaf, "[a-zA-Z$_/~ ]{0,12}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands at whatever place: an answer, never a panic; and what is taken can be kept.
    #[test]
    fn any_change_of_a_document_gets_an_answer(
        which in any::<proptest::sample::Index>(),
        place in any::<proptest::sample::Index>(),
        value in any_value(),
    ) {
        let all: Vec<(String, Vec<u8>)> = samples("good").into_iter().collect();
        let (name, bytes) = &all[which.index(all.len())];
        let mut document: Value = serde_json::from_slice(bytes).unwrap();
        let mut places = Vec::new();
        crate::claims::pointers(&document, "", &mut places);
        if let Some(at) = document.pointer_mut(&places[place.index(places.len())]) {
            *at = value;
        }
        let facts = facts_for(name);
        match check(&document, &facts) {
            Ok(checked) => {
                let kept = checked.document.to_value();
                let again = check(&kept, &facts).unwrap();
                prop_assert_eq!(again.document, checked.document);
                prop_assert_eq!(again.content, checked.content);
            }
            Err(faults) => prop_assert!(!faults.0.is_empty()),
        }
    }

    /// Whatever a résumé holds, what is taken comes out as it came in.
    #[test]
    fn any_resume_that_is_taken_is_kept_whole(members in proptest::collection::btree_map("[a-zA-Z$ ]{1,12}", any_value(), 0..5)) {
        let resume = Value::Object(members.into_iter().collect());
        let document = json!({ "content": "content/v1", "cv": { "resume": resume } });
        if let Ok(checked) = check(&document, &facts("student.json")) {
            let kept: Value = serde_json::from_str(checked.document.canonical_json().expose()).unwrap();
            prop_assert_eq!(&kept["cv"]["resume"], &resume);
        }
    }
}

/// What the edge serves at a path, its body alone.
pub(crate) fn served(lab: &Lab, name: &str, path: &str) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "10"])
        .args(["--resolve", &format!("{name}:443:{}", net::address(80))])
        .arg("--cacert")
        .arg(lab.state().join("pebble/roots.pem"))
        .arg(format!("https://{name}{path}"))
        .output()
        .unwrap();
    output.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_is_shown_before_it_is_published_then_built_the_same_and_read_back() {
    let lab = Lab::start();
    let api = lab.api();
    let name = "mau-so-1.biz.vn";
    let claim = variant("pho-shop.json", 1);
    let (status, _, _) = api.submit(claim.to_string(), "first").await;
    assert_eq!(status, 202);
    api.live(name, LIMIT).await;
    let path = |what: &str| format!("/v1/presences/{name}/{what}");
    let preview = async |query: &str, body: &Value| {
        let request = api
            .request(Method::POST, &path(&format!("preview{query}")))
            .body(body.to_string());
        request.send().await.unwrap()
    };

    // Before anything was given an editor begins with what the claim gave, and publishing that changes nothing.
    let (status, _, begun) = api.get(&path("content")).await;
    assert_eq!(
        (status, &begun["content"]),
        (200, &json!("content/v1")),
        "{begun:#}"
    );
    assert_eq!(
        begun["business"]["trade_name"],
        claim["business"]["trade_name"]
    );
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    let answer = preview("", &json!({ "content": begun })).await;
    let same: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(same["revision"], presence["revision"]);

    // Content that would harm gets an answer that tells why, and nothing is stored.
    let hostile = json!({ "content": "content/v1", "business": { "tagline": "a\u{202e}b", "cover": { "image": IMAGE, "alt": "" } },
        "pages": [{ "title": "x", "slug": "rieng-tu", "body": "x" }] });
    let (status, problem) = ask(&api, name, "publish", json!({ "content": hostile })).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("invalid_content")),
        "{problem:#}"
    );
    let codes: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| &fault["code"])
        .collect();
    assert_eq!(
        codes,
        ["text.control_character", "image.unknown", "slug.reserved"]
    );
    let twice = r##"{"content":{"content":"content/v1","accent":"#112233","accent":"#112234"}}"##;
    let request = api.request(Method::POST, &path("preview")).body(twice);
    let (status, _, problem) = api.send(request).await;
    assert_eq!(
        (status, &problem["errors"][0]["code"]),
        (422, &json!("member.twice")),
        "{problem:#}"
    );
    let (_, _, again) = api.get(&path("content")).await;
    assert_eq!(again, begun);

    // A page with markup in it is text, in the preview as on the site, byte by byte.
    let mut changed = begun.clone();
    changed["business"]["trade_name"] = "Quán <script>alert(1)</script> Mẫu".into();
    changed["business"]["tagline"] = "Nước dùng ninh mười hai tiếng".into();
    let answer = preview("?path=/", &json!({ "content": changed })).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let first_page = answer.bytes().await.unwrap();
    let text = String::from_utf8_lossy(&first_page).into_owned();
    assert!(text.contains("Quán &lt;script&gt;"), "{text}");
    let answer = preview("", &json!({ "content": changed })).await;
    let listed: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    done(&api, name, "publish", json!({ "content": changed })).await;
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(listed["revision"], presence["revision"], "{listed:#}");
    for file in listed["files"].as_array().unwrap() {
        let at = file["path"].as_str().unwrap();
        let answer = preview(&format!("?path={at}"), &json!({})).await;
        assert_eq!(
            answer.headers()["content-type"],
            file["media_type"].as_str().unwrap()
        );
        let previewed = answer.bytes().await.unwrap();
        assert_eq!(previewed, served(&lab, name, at), "{at}");
    }
    assert_eq!(first_page, served(&lab, name, "/"));
    let (_, _, kept) = api.get(&path("content")).await;
    assert_eq!(
        kept["business"]["trade_name"],
        changed["business"]["trade_name"]
    );

    // The claim's facts anew: the document stays over them.
    let mut moved = claim.clone();
    moved["address"]["line"] = "Số 99 phố Dời Đến".into();
    done(&api, name, "publish", json!({ "claim": moved })).await;
    let page = String::from_utf8_lossy(&served(&lab, name, "/")).into_owned();
    assert!(
        page.contains("Số 99 phố Dời Đến") && page.contains("Quán &lt;script&gt;"),
        "{page}"
    );
    let (_, _, still) = api.get(&path("content")).await;
    assert_eq!(still, kept);

    // By the command line.
    let file = lab.state().join("content.json");
    std::fs::write(
        &file,
        json!({ "content": "content/v1", "business": { "tagline": "Từ dòng lệnh" } }).to_string(),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let (ok, told) = lab.asks(&["content", "check", name, file]);
    assert!(ok, "{told}");
    let (ok, told) = lab.asks(&["content", "publish", name, file]);
    assert!(ok, "{told}");
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    ends(&api, &json!({ "id": presence["operation"] }), "succeeded").await;
    let (ok, told) = lab.asks(&["content", "show", name]);
    assert!(ok && told.contains("Từ dòng lệnh"), "{told}");
    let (ok, told) = lab.asks(&["content", "preview", name, "--path", "/"]);
    assert!(ok && told.contains("Số 99 phố Dời Đến"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_looks_like_gambling_waits_for_a_person() {
    let lab = Lab::start();
    let api = lab.api();
    let claim = variant("pho-shop.json", 1);
    let name = claim["domain"].as_str().unwrap();
    let (status, _, _) = api.submit(claim.to_string(), "claim").await;
    assert_eq!(status, 202);
    api.live(name, LIMIT).await;
    let first = served(&lab, name, "/");
    let risky = |tagline: &str| json!({ "content": { "content": "content/v1", "business": { "tagline": tagline } } });
    let decide = async |decision: &str| {
        wait_for("the decision to be taken", LIMIT, async || {
            match ask(&api, name, "review", json!({ "decision": decision })).await {
                (202, _) => Ok(()),
                // A worker may be at the operation this moment.
                (_, answer) => Err(format!("{answer:#}")),
            }
        })
        .await;
    };

    let (status, operation) = ask(&api, name, "publish", risky("Tài xỉu uy tín")).await;
    assert_eq!(status, 202, "{operation:#}");
    let presence = api.comes_to(name, "needs_attention", LIMIT).await;
    assert_eq!(presence["held_for_review"], true, "{presence:#}");
    let (_, told) = lab.asks(&["status", name]);
    assert!(
        told.contains("tagline") && told.contains("tài xỉu"),
        "{told}"
    );
    assert_eq!(served(&lab, name, "/"), first);
    decide("refuse").await;
    ends(&api, &operation, "abandoned").await;
    let presence = api.live(name, LIMIT).await;
    assert_eq!(presence["held_for_review"], false, "{presence:#}");
    assert_eq!(served(&lab, name, "/"), first);

    let (status, operation) = ask(&api, name, "publish", risky("Tài xỉu uy tín")).await;
    assert_eq!(status, 202, "{operation:#}");
    api.comes_to(name, "needs_attention", LIMIT).await;
    decide("approve").await;
    ends(&api, &operation, "succeeded").await;
    let page = String::from_utf8_lossy(&served(&lab, name, "/")).into_owned();
    assert!(page.contains("Tài xỉu uy tín"), "{page}");
    // What was let through once is not held again.
    done(&api, name, "publish", risky("Bán cờ tài xỉu bằng gỗ")).await;
}
