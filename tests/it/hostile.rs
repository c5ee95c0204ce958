//! Hostile input and broken surroundings: a clear message, work that goes on when the fault is gone,
//! and nothing half-made left behind.

use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration_tests::lab::{Lab, output, variant};
use integration_tests::net;
use serde_json::Value;

const LIVE_WITHIN: Duration = Duration::from_mins(1);

/// Texts that would do harm where they are not taken for what they are.
const SCRIPT: &str = "Mẫu <script>alert(1)</script>\"'{{ 7777*9 }}{% raw %}</title>";

/// Puts the script at the end of each free text below `value`.
fn script_everywhere(value: &mut Value, but: &[&str]) {
    match value {
        Value::String(text) => SCRIPT.clone_into(text),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| script_everywhere(item, but)),
        Value::Object(members) => members
            .iter_mut()
            .filter(|(name, _)| !but.contains(&name.as_str()))
            .for_each(|(_, member)| script_everywhere(member, but)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a visitor gets, all pages of the site map among it.
fn site(lab: &Lab, name: &str) -> String {
    let map = lab.page(name, "/sitemap.xml");
    let document = roxmltree::Document::parse(&map).unwrap();
    let pages = document
        .descendants()
        .filter(|node| node.has_tag_name("loc"))
        .map(|node| node.text().unwrap().to_owned());
    let head = format!("https://{name}");
    pages
        .map(|url| lab.page(name, url.strip_prefix(&head).unwrap()))
        .collect()
}

#[tokio::test]
async fn hostile_claims_are_refused_or_shown_as_text() {
    let lab = Lab::start();
    let api = lab.api();
    let (status, _, body) = api.submit(vec![b' '; 10 * 1024 * 1024], "big").await;
    assert_eq!(
        (status, &body["code"]),
        (413, &"claim_too_large".into()),
        "{body}"
    );
    let first_code = |body: &Value| {
        body["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (status, _, body) = api
        .submit(b"{\"registrar\": \"nh\xe0\"}".to_vec(), "utf8")
        .await;
    assert_eq!(
        (status, first_code(&body)),
        (422, "document.utf8".to_owned())
    );
    let mut homograph = variant("pho-shop.json", 1);
    homograph["domain"] = "m\u{0430}u.biz.vn".into();
    let (status, _, body) = api.submit(homograph.to_string(), "homograph").await;
    assert_eq!(
        (status, first_code(&body)),
        (422, "domain.repertoire".to_owned())
    );
    let (_, _, list) = api.get("/v1/presences").await;
    assert_eq!(
        list["presences"],
        serde_json::json!([]),
        "what is refused leaves nothing"
    );

    let mut shop = variant("pho-shop.json", 1);
    let kept = [
        "tax_id",
        "registration_no",
        "registered_on",
        "subject_type",
        "code",
        "hours",
        "network",
        "url",
    ];
    script_everywhere(&mut shop["business"], &kept);
    for text in [
        "/address/line",
        "/address/ward",
        "/approved_by",
        "/evidence/verifier",
    ] {
        *shop.pointer_mut(text).unwrap() = SCRIPT.into();
    }
    // A unit has 30 characters.
    for product in shop["business"]["profile"]["products"]
        .as_array_mut()
        .unwrap()
    {
        product["unit"] = "<script>alert(1)</script>".into();
    }
    let mut student = variant("student.json", 2);
    let kept = [
        "full_name",
        "birth_date",
        "personal_id_hash",
        "date",
        "startDate",
        "endDate",
        "url",
    ];
    script_everywhere(&mut student["person"], &kept);
    for (number, claim) in [shop, student].into_iter().enumerate() {
        let (status, _, body) = api
            .submit(claim.to_string(), &format!("script-{number}"))
            .await;
        assert_eq!(status, 202, "{body:#}");
        let name = claim["domain"].as_str().unwrap();
        api.live(name, LIVE_WITHIN).await;
        let pages = site(&lab, name);
        assert!(!pages.contains("<script>alert"), "{name}:\n{pages}");
        assert!(
            !pages.contains("69993"),
            "an expression was evaluated on {name}:\n{pages}"
        );
        assert!(pages.contains("&lt;script&gt;"), "{name}:\n{pages}");
    }

    // A taken port stops the service before it does anything, and says which.
    lab.kill("hiendien");
    let taken = UdpSocket::bind((net::address(53), 53)).unwrap();
    let (served, told) = lab.asks(&["serve"]);
    assert!(!served);
    for words in [&format!("{}:53", net::address(53)), "ss -"] {
        assert!(told.contains(words), "{told}");
    }
    drop(taken);
    lab.serve();
    api.live("mau-so-1.biz.vn", LIVE_WITHIN).await;
}

/// A small disk of its own, taken away with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Path) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(place);
        output(&mut mount);
        Self(place.to_owned())
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves not one byte free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let end = std::io::copy(&mut std::io::repeat(0x55), &mut file);
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Every entry below a directory, hidden ones too.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let below = if path.is_dir() {
                all_below(&path)
            } else {
                Vec::new()
            };
            below.into_iter().chain([path])
        })
        .collect()
}

#[tokio::test]
async fn work_goes_on_when_the_fault_is_gone() {
    let (mut socket, mut disk) = (PathBuf::new(), None);
    let lab = Lab::start_with(|config, state| {
        let line = |key: &str| {
            let line = config.lines().find(|line| line.starts_with(key));
            line.unwrap().split('"').nth(1).unwrap().to_owned()
        };
        socket = PathBuf::from(line("socket"));
        let templates = state.join("templates");
        output(
            Command::new("cp")
                .arg("-r")
                .arg(line("templates"))
                .arg(&templates),
        );
        disk = Some(SmallDisk::mount(&state.join("small")));
        let own = |key: &str, config: String, to: &Path| {
            config.replace(
                &format!("{key} = \"{}\"", line(key)),
                &format!("{key} = \"{}\"", to.display()),
            )
        };
        let changed = own("state", config.clone(), &state.join("small"));
        let changed = own("socket", changed, &state.join("engine.sock"));
        own("templates", changed, &templates)
    });
    let disk = disk.unwrap();
    // The service's own state lies on the small disk.
    let api = lab.api_at(&lab.state().join("small"));
    let submit = async |api: &integration_tests::lab::Api, kind: &str, number: usize| {
        let claim = variant(kind, number);
        let (status, _, body) = api
            .submit(claim.to_string(), &format!("claim-{number}"))
            .await;
        assert_eq!(status, 202, "{body:#}");
        claim["domain"].as_str().unwrap().to_owned()
    };

    // The container engine is away; the claim waits, and is not served half-made.
    let name = submit(&api, "pho-shop.json", 1).await;
    api.fails(&name, "build-site", &["engine.sock", "container engine"])
        .await;
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    assert_ne!(presence["state"], "live");
    assert_eq!(presence["revision"], Value::Null);
    // Why is the operators' to read, and not the registrar's: it names files and hosts.
    let mut registrar = api.clone();
    let (made, key) = lab.asks(&["key", "add", "mau", "--registrar", "nha-dang-ky-mau"]);
    assert!(made, "{key}");
    registrar.key = key.trim().to_owned();
    let (_, _, seen) = registrar.get(&format!("/v1/presences/{name}")).await;
    let (_, _, events) = registrar.get(&format!("/v1/presences/{name}/events")).await;
    let (_, _, operations) = registrar
        .get(&format!("/v1/presences/{name}/operations"))
        .await;
    let told = format!("{seen}{events}{operations}");
    assert!(told.contains("did not succeed yet"), "{told}");
    assert!(!told.contains("engine.sock"), "{told}");

    // Meanwhile the disk runs full: nothing more is taken in, with a word to come again.
    disk.fill();
    let late = variant("student.json", 2);
    let (status, headers, body) = api.submit(late.to_string(), "claim-2").await;
    assert_eq!(
        (status, &body["retryable"]),
        (503, &true.into()),
        "{body:#}"
    );
    assert!(headers.contains_key("retry-after"));
    let log = std::fs::read_to_string(lab.state().join("log/hiendien.log")).unwrap();
    assert!(
        log.contains("full"),
        "the log does not tell of the full disk:\n{log}"
    );
    // The engine comes back, but there is no room for what it builds.
    symlink(&socket, lab.state().join("engine.sock")).unwrap();
    disk.free();
    api.live(&name, LIVE_WITHIN).await;
    let (status, _, body) = api.submit(late.to_string(), "claim-2").await;
    assert_eq!(status, 202, "{body:#}");
    api.live(late["domain"].as_str().unwrap(), LIVE_WITHIN)
        .await;

    // Full in the middle of the work, and the service killed on top of it.
    let name = submit(&api, "pho-shop.json", 3).await;
    disk.fill();
    lab.kill("hiendien");
    disk.free();
    lab.serve();
    api.live(&name, LIVE_WITHIN).await;

    // A template that someone broke.
    let template = lab.state().join("templates/food-drink/index.html");
    let whole = std::fs::read_to_string(&template).unwrap();
    std::fs::write(
        &template,
        whole.replacen("{%", "{% no_such_statement %}{%", 1),
    )
    .unwrap();
    let name = submit(&api, "pho-shop.json", 4).await;
    api.fails(&name, "build-site", &["index.html", "food-drink"])
        .await;
    let presence = api.comes_to(&name, "needs_attention", LIVE_WITHIN).await;
    std::fs::write(&template, whole).unwrap();
    let operation = presence["operation"].as_str().unwrap();
    let (asked, told) = lab.asks(&["operation", "retry", operation]);
    assert!(asked, "{told}");
    api.live(&name, LIVE_WITHIN).await;

    // The certificate authority is away: all is ready but the certificate, and no HTTPS is promised.
    lab.kill("pebble");
    let name = submit(&api, "student.json", 5).await;
    let directory = format!("https://{}:14000/dir", net::address(14));
    api.fails(&name, "obtain-certificate", &[&directory]).await;
    let https = Command::new("dig")
        .arg(format!("@{}", net::address(53)))
        .args(["+short", &format!("_mta-sts.{name}"), "TXT"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&https.stdout), "");
    lab.up("pebble");
    api.live(&name, LIVE_WITHIN).await;
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", net::address(53)))
        .args(["+short", &format!("_mta-sts.{name}"), "TXT"]);
    assert!(
        output(&mut dig).contains("_mta-sts.mail.hiendien.test."),
        "it is promised once it answers"
    );

    // One revision each, nothing hidden or half-written among them.
    let revisions = lab.state().join("small/revisions");
    let (_, _, list) = api.get("/v1/presences").await;
    let presences = list["presences"].as_array().unwrap();
    assert_eq!(presences.len(), 5);
    assert_eq!(std::fs::read_dir(&revisions).unwrap().count(), 5);
    for presence in presences {
        let own = revisions
            .join(presence["id"].as_str().unwrap())
            .join("revisions");
        let kept: Vec<_> = std::fs::read_dir(own).unwrap().collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
    let hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with('.') && name != ".lock"
    };
    assert_eq!(
        all_below(&lab.state().join("small"))
            .into_iter()
            .find(hidden),
        None
    );
}
