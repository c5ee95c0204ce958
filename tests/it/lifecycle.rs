//! The life of a presence by its API, asked at the real servers after each verb.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it needs is missing"
)]

use std::process::Command;
use std::time::Duration;

use integration_tests::lab::{Api, Lab, variant};
use integration_tests::net;
use integration_tests::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};

use crate::provision::imap;

const LIMIT: Duration = Duration::from_secs(90);

/// Asks a verb; the status and the answer.
pub(crate) async fn ask(api: &Api, name: &str, verb: &str, body: Value) -> (u16, Value) {
    ask_once(api, name, verb, body, &uuid::Uuid::new_v4().to_string()).await
}

async fn ask_once(api: &Api, name: &str, verb: &str, body: Value, key: &str) -> (u16, Value) {
    let request = api
        .request(Method::POST, &format!("/v1/presences/{name}/{verb}"))
        .header("idempotency-key", key)
        .body(body.to_string());
    let (status, _, answer) = api.send(request).await;
    (status, answer)
}

/// Asks a verb and waits until it is done.
pub(crate) async fn done(api: &Api, name: &str, verb: &str, body: Value) -> Value {
    let (status, operation) = ask(api, name, verb, body).await;
    assert_eq!(status, 202, "{verb}: {operation:#}");
    ends(api, &operation, "succeeded").await
}

pub(crate) async fn ends(api: &Api, operation: &Value, state: &str) -> Value {
    let id = operation["id"].as_str().unwrap().to_owned();
    wait_for(
        &format!("operation `{id}` to be {state}"),
        LIMIT,
        async || {
            let (_, _, found) = api.get(&format!("/v1/operations/{id}")).await;
            if found["state"] == state {
                Ok(found)
            } else {
                Err(format!("{found:#}"))
            }
        },
    )
    .await
}

/// Gets a page; its status, head and body, as they come.
fn page(lab: &Lab, name: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--include", "--max-time", "10"])
        .args(["--resolve", &format!("{name}:443:{}", net::address(80))])
        .arg("--cacert")
        .arg(lab.state().join("pebble/roots.pem"))
        .arg(format!("https://{name}/"))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn dig(server: u8, name: &str) -> String {
    let output = Command::new("dig")
        .arg(format!("@{}", net::address(server)))
        .args([name, "SOA", "+time=2", "+tries=2", "+norecurse"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All letters that have come to the owner outside.
fn letters(lab: &Lab) -> String {
    let password = std::fs::read_to_string(lab.state().join("secrets/outside-password")).unwrap();
    let server = net::address(26).to_string();
    imap(lab, &server, "outside@outside.test", password.trim())
}

/// Sets the password of a mailbox by the newest link in the owner's letters.
fn set_password(lab: &Lab, address: &str, password: &str) {
    let letters = letters(lab);
    let after = letters.rsplit(&format!("{address}:")).next().unwrap();
    let link = after
        .split_whitespace()
        .find(|word| word.contains("/mat-khau/"))
        .unwrap_or_else(|| panic!("no link for {address} in {letters}"));
    let status = Command::new("curl")
        .args(["--silent", "--fail", "--output", "/dev/null"])
        .args(["--data-urlencode", &format!("password={password}")])
        .args(["--data-urlencode", &format!("again={password}"), link])
        .status()
        .unwrap();
    assert!(status.success(), "{link} does not take a password");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presence_is_stopped_brought_back_changed_given_up_and_granted_again() {
    let lab = Lab::start();
    let api = lab.api();
    let name = "mau-so-1.biz.vn";
    let claim = variant("pho-shop.json", 1);
    let mailbox = claim["mailboxes"][0].as_str().unwrap().to_owned();
    let (status, _, _) = api.submit(claim.to_string(), "first").await;
    assert_eq!(status, 202);
    api.live(name, LIMIT).await;
    let address = format!("{mailbox}@{name}");
    set_password(&lab, &address, "mat-khau-du-dai");
    assert!(lab.signs_in(&address, "mat-khau-du-dai"));
    let first_page = page(&lab, name);
    assert!(first_page.starts_with("HTTP/2 200"), "{first_page}");

    // Suspended: a notice, no login, the zone stays. Asked twice it is once.
    let reason = json!({ "reason": "để thử" });
    let (status, operation) = ask_once(&api, name, "suspend", reason.clone(), "stop").await;
    assert_eq!(status, 202, "{operation:#}");
    let (_, again) = ask_once(&api, name, "suspend", reason.clone(), "stop").await;
    assert_eq!(again["id"], operation["id"]);
    ends(&api, &operation, "succeeded").await;
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(presence["state"], "suspended", "{presence:#}");
    assert_eq!(ask(&api, name, "suspend", reason).await.0, 200);
    let notice = page(&lab, name);
    assert!(notice.starts_with("HTTP/2 503"), "{notice}");
    assert!(notice.contains("x-service: suspended"), "{notice}");
    assert!(!lab.signs_in(&address, "mat-khau-du-dai"));
    assert!(
        dig(53, name).contains("status: NOERROR"),
        "{}",
        dig(53, name)
    );
    // What is suspended is resumed before it is changed.
    let (status, problem) = ask(&api, name, "publish", json!({ "template": "storefront" })).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("not_now")),
        "{problem:#}"
    );

    done(&api, name, "resume", json!({})).await;
    assert_eq!(
        page(&lab, name).split("\r\n\r\n").nth(1),
        first_page.split("\r\n\r\n").nth(1)
    );
    assert!(lab.signs_in(&address, "mat-khau-du-dai"));

    // New content.
    let (_, _, mut changed) = api.get(&format!("/v1/presences/{name}/content")).await;
    changed["business"]["trade_name"] = "Quán Mẫu Đổi Tên".into();
    done(&api, name, "publish", json!({ "content": changed })).await;
    assert!(page(&lab, name).contains("Quán Mẫu Đổi Tên"));

    // The mailbox gets another address; its password stays, mail to the former address arrives.
    let body = json!({ "from": mailbox, "to": "cua-hang" });
    done(&api, name, "rename-mailbox", body).await;
    let renamed = format!("cua-hang@{name}");
    assert!(lab.signs_in(&renamed, "mat-khau-du-dai"));
    assert!(page(&lab, name).contains(&renamed));

    done(
        &api,
        name,
        "reset-password",
        json!({ "mailbox": "cua-hang" }),
    )
    .await;
    set_password(&lab, &renamed, "mat-khau-thu-hai");
    assert!(lab.signs_in(&renamed, "mat-khau-thu-hai"));

    let until = "2031-01-01T00:00:00Z";
    done(&api, name, "renew", json!({ "term_ends_at": until })).await;
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(presence["term_ends_at"], until, "{presence:#}");

    // Another registrant: the former one's password opens nothing any more.
    let registrant =
        json!({ "owner_name": "Chủ mới (mẫu)", "contact_email": "chu-moi@outside.test" });
    done(&api, name, "transfer", json!({ "registrant": registrant })).await;
    assert!(!lab.signs_in(&renamed, "mat-khau-thu-hai"));
    set_password(&lab, &renamed, "mat-khau-thu-ba");
    assert!(lab.signs_in(&renamed, "mat-khau-thu-ba"));

    // Given up: nothing of it is left at any server, and another may have the name.
    done(&api, name, "release", json!({})).await;
    let (_, _, released) = api.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(released["state"], "released", "{released:#}");
    for server in [53, 54] {
        assert!(
            dig(server, name).contains("status: REFUSED"),
            "{}",
            dig(server, name)
        );
    }
    assert!(
        dig(10, name).contains("status: NXDOMAIN"),
        "{}",
        dig(10, name)
    );
    assert_eq!(page(&lab, name), "", "no certificate, no page");
    assert!(!lab.signs_in(&renamed, "mat-khau-thu-ba"));

    let mut second = claim.clone();
    second["reference"] = "MAU-CAP-LAI".into();
    let (status, _, accepted) = api.submit(second.to_string(), "second").await;
    assert_eq!(status, 202, "{accepted:#}");
    assert_ne!(accepted["presence"], released["id"]);
    api.live(name, LIMIT).await;
    set_password(&lab, &address, "mat-khau-nguoi-sau");
    assert!(lab.signs_in(&address, "mat-khau-nguoi-sau"));
    assert!(!lab.signs_in(&address, "mat-khau-thu-ba"));
    let inbox = imap(
        &lab,
        &net::address(25).to_string(),
        &address,
        "mat-khau-nguoi-sau",
    );
    assert_eq!(
        inbox.matches("Chào mừng").count(),
        1,
        "only its own first letter: {inbox}"
    );

    // The former one's data is erased; the new holder is untouched.
    let former = released["id"].as_str().unwrap();
    done(&api, former, "purge", json!({})).await;
    assert!(!lab.state().join("revisions").join(former).exists());
    let stored = std::fs::read_dir(lab.state().join("mail/store")).unwrap();
    let stored: Vec<_> = stored
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        stored.iter().all(|place| !place.starts_with(former)),
        "{stored:?}"
    );
    assert!(lab.signs_in(&address, "mat-khau-nguoi-sau"));
    assert!(page(&lab, name).starts_with("HTTP/2 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_provisioned_is_abandoned_and_leaves_nothing() {
    let lab = Lab::start();
    let api = lab.api();
    // A name that looks like a bank's waits for a person before it is in the DNS.
    let mut held = variant("pho-shop.json", 1);
    let name = "vietcombank-mau.biz.vn";
    held["domain"] = name.into();
    let (status, _, accepted) = api.submit(held.to_string(), "held").await;
    assert_eq!(status, 202, "{accepted:#}");
    let presence = api.comes_to(name, "needs_attention", LIMIT).await;
    assert_eq!(presence["held_for_review"], true, "{presence:#}");
    assert!(
        dig(53, name).contains("status: REFUSED"),
        "{}",
        dig(53, name)
    );

    let (_, _, waiting) = api.get("/v1/attention").await;
    assert_eq!(waiting[0]["presence"]["name"], name, "{waiting:#}");
    assert!(
        waiting[0]["to_do"].as_str().unwrap().contains("review"),
        "{waiting:#}"
    );
    assert!(lab.asks(&["attention"]).1.contains(name));

    // Refused: all that was made meanwhile is taken back, and seen to be gone.
    let operation = json!({ "id": presence["operation"] });
    wait_for("the name to be refused", LIMIT, async || {
        let (status, answer) = ask(&api, name, "review", json!({ "decision": "refuse" })).await;
        // A worker may be at the operation this moment.
        if status == 202 {
            Ok(())
        } else {
            Err(format!("{answer:#}"))
        }
    })
    .await;
    let undone = ends(&api, &operation, "abandoned").await;
    assert!(
        undone["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["state"] == "undone")
    );
    let id = presence["id"].as_str().unwrap();
    let (_, _, gone) = api.get(&format!("/v1/presences/{id}")).await;
    assert_eq!(gone["state"], "abandoned", "{gone:#}");
    assert!(
        gone["planes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|plane| plane["state"] == "removed"),
        "{gone:#}"
    );
    assert!(!lab.state().join("revisions").join(id).exists());
    let keys = std::fs::read_dir(lab.state().join("mail/dkim")).unwrap();
    let left = keys.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(id)
    });
    assert_eq!(left.count(), 0, "no DKIM key is left");

    // Approved, the same name goes out; its new holder is another presence.
    held["reference"] = "MAU-LAN-HAI".into();
    let (status, _, again) = api.submit(held.to_string(), "held-again").await;
    assert_eq!(status, 202, "{again:#}");
    api.comes_to(name, "needs_attention", LIMIT).await;
    let (status, answer) = ask(&api, name, "review", json!({ "decision": "approve" })).await;
    assert_eq!(status, 202, "{answer:#}");
    api.live(name, LIMIT).await;
}
