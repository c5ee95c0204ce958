//! The API as registrars meet it: keys, idempotency, problem documents, events.

use std::time::Duration;

use futures_util::StreamExt;
use integration_tests::lab::{Answer, Api, Lab, variant};
use integration_tests::net;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Asserts a problem document (RFC 9457) with our members, and returns it.
fn problem(answer: Answer, status: u16, code: &str) -> Value {
    let (found, headers, body) = answer;
    assert_eq!(
        (found, body["code"].as_str()),
        (status, Some(code)),
        "{body:#}"
    );
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:hiendien:problem:{code}"));
    for member in ["title", "detail", "correlation_id"] {
        assert!(body[member].is_string(), "`{member}` is missing: {body:#}");
    }
    assert_eq!(
        body["retryable"] == true,
        headers.contains_key("retry-after")
    );
    body
}

#[tokio::test]
async fn a_registrar_hands_in_a_claim_and_follows_it() {
    let lab = Lab::start();
    let operator = lab.api();

    // Keys: an operator makes them, they act for one registrar, and end when they are told to.
    let mut stranger = operator.clone();
    stranger.key = "no-such-key".to_owned();
    problem(stranger.get("/v1/presences").await, 401, "unauthorized");
    let (made, printed) = lab.asks(&[
        "key",
        "add",
        "nha-dang-ky",
        "--registrar",
        "nha-dang-ky-mau",
    ]);
    assert!(made && printed.starts_with("re_"), "{printed}");
    let mut registrar = operator.clone();
    registrar.key = printed.trim().to_owned();
    let (_, printed) = lab.asks(&["key", "add", "nha-khac", "--registrar", "nha-khac"]);
    let mut other = operator.clone();
    other.key = printed.trim().to_owned();
    problem(registrar.get("/v1/keys").await, 403, "operators_only");
    problem(registrar.get("/v1/presences/%ff").await, 404, "not_found");
    problem(registrar.get("/v1/events").await, 403, "operators_only");
    let (_, _, keys) = operator.get("/v1/keys").await;
    assert_eq!(
        keys,
        json!([
            {"name": "nha-dang-ky", "registrar": "nha-dang-ky-mau"},
            {"name": "nha-khac", "registrar": "nha-khac"},
            {"name": "operator", "registrar": null},
        ])
    );
    let own = operator
        .request(Method::PUT, "/v1/keys/operator")
        .body("{\"registrar\": null}");
    problem(operator.send(own).await, 422, "invalid_key");
    let misspelt = operator
        .request(Method::PUT, "/v1/keys/x")
        .body("{\"registar\": \"x\"}");
    problem(operator.send(misspelt).await, 422, "invalid_key");
    let nobody = operator.request(Method::PUT, "/v1/keys/x").body("{}");
    problem(operator.send(nobody).await, 422, "invalid_key");
    assert!(
        !lab.asks(&["key", "add", "x"]).0,
        "whose key it is must be told"
    );
    let wrong = operator.request(Method::DELETE, "/v1/claims");
    problem(operator.send(wrong).await, 405, "method_not_allowed");
    problem(
        operator.get("/v1/presences?limit=many").await,
        400,
        "invalid_query",
    );

    // Without an idempotency key nothing is taken; a refusal leaves the key free for the mended claim.
    let claim = variant("student.json", 1);
    let name = "mau-so-1.id.vn";
    let bare = registrar
        .request(Method::POST, "/v1/claims")
        .body(claim.to_string());
    problem(registrar.send(bare).await, 400, "idempotency_key_missing");
    problem(
        other.submit(claim.to_string(), "a").await,
        403,
        "other_registrar",
    );
    let mut bad = claim.clone();
    bad["contact"]["phone"] = "12".into();
    bad["mailboxes"] = json!([]);
    bad["template"] = "khong-co".into();
    let told = problem(
        registrar.submit(bad.to_string(), "a").await,
        422,
        "invalid_claim",
    );
    let errors: Vec<_> = told["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(errors, ["/mailboxes", "/contact/phone", "/template"]);
    let check = |caller: &Api, claim: &Value| {
        let request = caller.request(Method::POST, "/v1/claims/check");
        request.body(claim.to_string())
    };
    problem(
        registrar.send(check(&registrar, &bad)).await,
        422,
        "invalid_claim",
    );
    problem(
        other.send(check(&other, &claim)).await,
        403,
        "other_registrar",
    );
    let (status, _, checked) = registrar.send(check(&registrar, &claim)).await;
    assert_eq!((status, &checked["name"]), (200, &name.into()));
    let (status, headers, first) = registrar.submit(claim.to_string(), "a").await;
    assert_eq!(status, 202, "{first:#}");
    let operation = first["operation"].as_str().unwrap();
    assert_eq!(headers["location"], format!("/v1/operations/{operation}"));
    assert!(headers.contains_key("retry-after"));
    // The same again is the same answer; the key with another body is not.
    let (status, _, again) = registrar.submit(claim.to_string(), "a").await;
    assert_eq!((status, again), (202, first.clone()));
    let mut changed = claim.clone();
    changed["person"]["study_field"] = "Toán học".into();
    problem(
        registrar.submit(changed.to_string(), "a").await,
        422,
        "idempotency_key_reused",
    );
    // The reference is the permanent key: the same content is the same presence, other content is refused.
    let (status, _, repeated) = registrar.submit(claim.to_string(), "b").await;
    assert_eq!(status, 202);
    assert_eq!(
        (&repeated["presence"], &repeated["repeated"]),
        (&first["presence"], &json!(true))
    );
    problem(
        registrar.submit(changed.to_string(), "c").await,
        409,
        "reference_reused",
    );
    let mut taken = variant("student.json", 2);
    taken["domain"] = name.into();
    problem(
        registrar.submit(taken.to_string(), "d").await,
        409,
        "name_taken",
    );
    let mut served = variant("student.json", 3);
    served["person"]["personal_id_hash"] = claim["person"]["personal_id_hash"].clone();
    problem(
        registrar.submit(served.to_string(), "e").await,
        409,
        "subject_served",
    );

    // Events: a stream that can be taken up where it was left, and the same as pages.
    let events = format!("/v1/presences/{name}/events");
    let (text, _) = registrar.stream(&events, "event: presence.live").await;
    assert!(text.contains("event: step.succeeded"), "{text}");
    let (_, _, page) = registrar.get(&events).await;
    let all = page["events"].as_array().unwrap();
    let (_, _, rest) = registrar
        .get(&format!("{events}?after={}", all[2]["sequence"]))
        .await;
    assert_eq!(rest["events"].as_array().unwrap(), &all[3..]);

    // What a registrar may see, by name and by identifier; to others it is as if there were none.
    let (_, _, presence) = registrar.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(presence["state"], "live");
    assert_eq!(presence["mailboxes"], json!(["chao@mau-so-1.id.vn"]));
    for path in [
        format!("/v1/presences/{}", presence["id"].as_str().unwrap()),
        format!("/v1/claims/{}", first["claim"].as_str().unwrap()),
    ] {
        assert_eq!(registrar.get(&path).await.2, presence, "{path}");
    }
    for path in [
        format!("/v1/presences/{name}"),
        format!("/v1/presences/{name}/operations"),
        events.clone(),
        format!("/v1/operations/{operation}"),
        format!("/v1/claims/{}", first["claim"].as_str().unwrap()),
        "/v1/no-such-thing".to_owned(),
    ] {
        problem(other.get(&path).await, 404, "not_found");
    }
    let (_, _, list) = other.get("/v1/presences").await;
    assert_eq!(list["presences"], json!([]));
    let (_, _, list) = registrar.get("/v1/presences?limit=1").await;
    assert_eq!(list["presences"][0]["name"], name);
    let retry = registrar.request(Method::POST, &format!("/v1/operations/{operation}/retry"));
    let (status, _, ended) = registrar.send(retry).await;
    assert_eq!(
        (status, &ended["state"]),
        (202, &json!("succeeded")),
        "what has ended stays ended"
    );

    // Nothing of a person leaves by the API but what the registrar needs.
    let told = format!("{presence}{ended}{page}");
    for private in [
        "Nguyễn Thị Hường",
        "710000002",
        "2004-03-15",
        "mau-so-1@outside.test",
        "mat-khau/",
    ] {
        assert!(!told.contains(private), "`{private}` leaves: {told}");
    }

    // A service that is asked to end does so, whoever still listens to it.
    let (_, mut open) = registrar.stream(&events, "event: presence.live").await;
    lab.stop("hiendien");
    while let Some(rest) = open.next().await {
        rest.expect("the stream comes to its end and is not cut off");
    }
    lab.serve();

    // A connection that says nothing is not kept for ever.
    let mut silent = TcpStream::connect((net::address(8), 8080)).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut [0; 256])).await;
    closed.expect("the API closes it").unwrap();

    // The command line speaks with a registrar's own key, and what is refused keeps nothing else back.
    let key_file = lab.state().join("registrar-key");
    std::fs::write(&key_file, &registrar.key).unwrap();
    let (bad_file, good_file) = (lab.state().join("bad.json"), lab.state().join("good.json"));
    std::fs::write(&bad_file, bad.to_string()).unwrap();
    std::fs::write(&good_file, variant("student.json", 9).to_string()).unwrap();
    let mut submit = lab.hiendien_elsewhere();
    submit
        .args(["--key-file", &key_file.to_string_lossy()])
        .args(["claim", "submit", "--wait"])
        .args([&bad_file, &good_file]);
    let told = submit.output().unwrap();
    assert!(!told.status.success(), "one of two was refused");
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("template.unknown"), "{told}");
    assert!(told.contains("mau-so-9.id.vn: live at"), "{told}");

    assert!(!lab.asks(&["key", "remove", "nha-dang-ky?x"]).0);
    assert!(lab.asks(&["key", "remove", "nha-dang-ky"]).0);
    problem(registrar.get("/v1/presences").await, 401, "unauthorized");
}
