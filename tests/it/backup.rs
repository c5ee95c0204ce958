//! Backups: taken while the service works, restored onto nothing, refused when they are not whole;
//! and a PostgreSQL brought back to a moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hiendien_engine::store::{Directory as _, Intake as _};
use hiendien_store::{Place, Store, StoreSettings, migrate};
use integration_tests::conformance::store::{SetClock, at, claim};
use integration_tests::lab::{Lab, output, root, sample, variant};
use integration_tests::net;
use integration_tests::postgres::Postgres;

use crate::provision::imap;

// Python's client speaks ASCII only.
const PASSWORD: &str = "mat khau du dai 2026";

/// The one directory that a directory holds.
fn only_directory(directory: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The serial number of the certificate that the edge shows for a name.
fn serial(name: &str) -> String {
    let script = format!(
        "openssl s_client -connect {}:443 -servername {name} </dev/null 2>/dev/null | openssl x509 -noout -serial",
        net::address(80)
    );
    output(Command::new("sh").args(["-c", &script]))
}

/// How many orders the CA has had.
fn orders(lab: &Lab) -> usize {
    let log = fs::read_to_string(lab.state().join("log/pebble.log")).unwrap();
    log.matches("POST /order-plz").count()
}

#[tokio::test]
async fn a_backup_taken_at_work_brings_all_of_it_back() {
    let mut engine = None;
    let lab = Lab::start_with(|config, state| {
        let line = |key: &str| {
            let line = config
                .lines()
                .find(|line| line.starts_with(&format!("{key} = ")));
            line.unwrap().split('"').nth(1).unwrap().to_owned()
        };
        let socket = line("socket");
        let link = state.join("engine.sock");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let changed = config
            .replace(
                &format!("state = \"{}\"", state.display()),
                &format!("state = \"{}\"", state.join("service").display()),
            )
            .replace(&socket, &link.display().to_string());
        engine = Some((PathBuf::from(socket), link));
        changed
    });
    let (socket, link) = engine.unwrap();
    let state = lab.state().join("service");
    let backups = lab.state().join("backups");
    let api = lab.api_at(&state);
    let run = |arguments: &[&str]| lab.asks(arguments);

    // Two sites are live, and an owner has set a password.
    let (_, told) = run(&[
        "claim",
        "submit",
        "--wait",
        "--timeout",
        "90",
        &sample("pho-shop.json").to_string_lossy(),
        &sample("student.json").to_string_lossy(),
    ]);
    assert_eq!(told.matches(": live at https://").count(), 2, "{told}");
    let names: Vec<String> = told
        .lines()
        .filter_map(|line| line.split_once(": live at https://"))
        .map(|(_, url)| url.split('/').next().unwrap().trim().to_owned())
        .collect();
    let outside = fs::read_to_string(lab.state().join("secrets/outside-password")).unwrap();
    let letters = imap(
        &lab,
        &net::address(26).to_string(),
        "outside@outside.test",
        outside.trim(),
    );
    let links = letters
        .split_whitespace()
        .filter(|word| word.contains("/mat-khau/"));
    for link in links {
        output(
            Command::new("curl")
                .args(["--silent", "--fail", "--output", "/dev/null"])
                .args(["--data-urlencode", &format!("password={PASSWORD}")])
                .args(["--data-urlencode", &format!("again={PASSWORD}")])
                .arg(link),
        );
    }
    let users = output(
        Command::new("doveadm")
            .arg("-c")
            .arg(lab.state().join("mail/dovecot/dovecot.conf"))
            .args(["user", "*"]),
    );
    let user = users
        .lines()
        .find(|user| !user.ends_with("@outside.test"))
        .unwrap()
        .to_owned();
    imap(&lab, &net::address(25).to_string(), &user, PASSWORD);
    let seen = |name: &String| (lab.page(name, "/"), serial(name));
    let before: Vec<_> = names.iter().map(seen).collect();

    // A third one is under way: its site cannot be built yet.
    // The service begins anew, since it holds connections to the engine and containers in reserve.
    lab.stop("hiendien");
    fs::remove_file(&link).unwrap();
    lab.serve();
    let third = variant("pho-shop.json", 3);
    let (status, _, body) = api.submit(third.to_string(), "third").await;
    assert_eq!(status, 202, "{body:#}");
    let third = third["domain"].as_str().unwrap().to_owned();
    api.fails(&third, "build-site", &["engine.sock"]).await;
    let to = backups.to_string_lossy().into_owned();
    let (made, told) = run(&["backup", "--to", &to]);
    assert!(made, "{told}");
    println!("{told}");
    assert!(told.contains("not in it: the stored mail"), "{told}");
    let backup = only_directory(&backups);
    let from = backup.to_string_lossy().into_owned();
    let (whole, told) = run(&["backup", "--check", &from]);
    assert!(whole && told.contains("is whole"), "{told}");
    let (refused, told) = run(&["restore", "--from", &from, "--replace"]);
    assert!(!refused && told.contains("stop it first"), "{told}");
    let ordered = orders(&lab);

    // The machine is lost, but for the backup and the configuration.
    lab.kill("hiendien");
    fs::remove_dir_all(&state).unwrap();
    let node = |verb: &str| {
        output(
            Command::new(root().join("deploy/mail/node"))
                .arg(verb)
                .arg(lab.state())
                .arg(format!("127.77.{}", net::slot())),
        )
    };
    node("down");
    fs::remove_dir_all(lab.state().join("mail/dkim")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(lab.state().join(format!("mail/mail.db{suffix}")));
    }
    lab.up("mail");

    // A backup with a changed byte is found and refused, before anything is done.
    let copy = lab.state().join("changed");
    output(Command::new("cp").arg("-r").arg(&backup).arg(&copy));
    let revisions = copy.join("revisions");
    let body = first_blob(&revisions);
    let mut octets = fs::read(&body).unwrap();
    octets[10] ^= 1;
    fs::write(&body, octets).unwrap();
    let changed = copy.to_string_lossy().into_owned();
    let (whole, told) = run(&["backup", "--check", &changed]);
    assert!(
        !whole && told.contains("is not as it was written"),
        "{told}"
    );
    let (restored, told) = run(&["restore", "--from", &changed]);
    assert!(!restored && told.contains("nothing was changed"), "{told}");
    assert!(!state.exists());

    let (restored, told) = run(&["restore", "--from", &from]);
    assert!(restored, "{told}");
    println!("{told}");
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    lab.serve();

    // All is as it was, and the third one becomes live.
    assert_eq!(names.iter().map(seen).collect::<Vec<_>>(), before);
    imap(&lab, &net::address(25).to_string(), &user, PASSWORD);
    let api = lab.api_at(&state);
    api.live(&third, Duration::from_mins(1)).await;
    lab.page(&third, "/");
    assert_eq!(names.iter().map(seen).collect::<Vec<_>>(), before);
    assert!(orders(&lab) <= ordered + 1, "only the third may be ordered");
    let key = state.join("secrets/seal.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // The next backup shares what has not changed.
    let (made, told) = run(&["backup", "--to", &to]);
    assert!(made && !told.contains(" 0 of the files shared"), "{told}");

    // What is there is not written over unasked, and moved aside when asked.
    lab.stop("hiendien");
    let (restored, told) = run(&["restore", "--from", &from]);
    assert!(!restored && told.contains("--replace"), "{told}");
    let (restored, told) = run(&["restore", "--from", &from, "--replace"]);
    assert!(restored && told.contains("what was there before"), "{told}");
    let aside = fs::read_dir(lab.state()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("service.before-restore-").then_some(path)
    });
    assert!(aside.unwrap().join("store.db").exists());
    lab.serve();
    api.live(&third, Duration::from_mins(1)).await;
    assert_eq!(names.iter().map(seen).collect::<Vec<_>>(), before);
    let (well, told) = run(&["doctor", &names[0]]);
    assert!(well, "{told}");
}

/// A file of the first presence's only revision.
fn first_blob(revisions: &Path) -> PathBuf {
    let presence = fs::read_dir(revisions).unwrap().next().unwrap();
    let blobs = presence.unwrap().path().join("blobs");
    fs::read_dir(blobs).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn postgres_comes_back_as_it_was_at_a_moment() {
    let mut postgres = Postgres::start_archiving();
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        place: Place::Postgres(postgres.settings()),
        seal_key: folder.path().join("seal.key"),
    };
    let open = async || {
        let (settings, clock) = (settings.clone(), Arc::new(SetClock::at(1_800_000_000)));
        tokio::task::spawn_blocking(move || {
            migrate(&settings.place)?;
            Store::open(&settings, clock)
        })
        .await
        .unwrap()
        .unwrap()
    };
    let store = open().await;
    postgres.back_up();
    let (first, second) = (claim("nhan-hoa", "truoc"), claim("nhan-hoa", "sau"));
    store.accept(first.clone(), at(0)).await.unwrap();
    let moment = postgres.ask("store", "SELECT clock_timestamp()");
    store.accept(second.clone(), at(1)).await.unwrap();
    postgres.archive();
    drop(store);

    postgres.recover(&moment);
    let store = open().await;
    let presence = async |id| store.presence(id).await.unwrap();
    assert_eq!(
        presence(first.presence).await.unwrap().plan.name,
        first.plan.name
    );
    assert!(presence(second.presence).await.is_none());
    // It is a store like any other: the second claim comes in again.
    store.accept(second.clone(), at(2)).await.unwrap();
    assert!(presence(second.presence).await.is_some());
}
