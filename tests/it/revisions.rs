//! Revisions: the contract of both places, and what owners and operators do with them.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::SiteContent;
use hiendien_domain::document::Facts;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{OperationState, Plane, Verb};
use hiendien_domain::site::RevisionHash;
use hiendien_engine::clock::{Clock as _, SystemClock};
use hiendien_engine::ports::{RevisionShelf as _, SiteStore as _};
use hiendien_engine::presence::Life;
use hiendien_engine::reconcile::observe;
use hiendien_engine::request::{Asked, By, NewContent, Request, ask};
use hiendien_engine::store::{Directory as _, Intake as _, KeptContent, NewClaim, OperationLog};
use hiendien_engine::verbs;
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_store::Place;
use hiendien_store::revisions::Revisions;
use integration_tests::conformance::revisions::{self as suite, Bed};
use integration_tests::conformance::store::claim;
use integration_tests::lab::{Lab, root, sample};
use integration_tests::s3::{S3, names_in};
use integration_tests::wait::wait_for;
use integration_tests::world::World;
use reqwest::Method;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_mins(1);

struct Folder(tempfile::TempDir);

struct Bucket(S3);

impl Bucket {
    async fn start() -> Self {
        Self(S3::start().await)
    }
}

impl Folder {
    fn start() -> Self {
        // In memory where there is such a place: the machine itself is not killed here.
        let memory = PathBuf::from("/dev/shm");
        Self(if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        })
    }
}

/// Neither a lock nor a note of what is to go.
fn is_kept_for_good(piece: &str) -> bool {
    !piece.starts_with('.')
        && !piece.contains("/.")
        && !["lease.json", "unnamed.json"].contains(&piece)
}

#[async_trait]
impl Bed for Folder {
    fn revisions(&self) -> Revisions {
        Revisions::in_folder(self.0.path()).unwrap()
    }

    async fn pieces(&self, presence: PresenceId) -> Vec<String> {
        let mut pieces = names_in(&self.0.path().join(presence.to_string()));
        pieces.retain(|piece| is_kept_for_good(piece));
        pieces
    }

    async fn read(&self, presence: PresenceId, piece: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(presence.to_string()).join(piece)).unwrap()
    }

    async fn write(&self, presence: PresenceId, piece: &str, octets: Vec<u8>) {
        std::fs::write(self.0.path().join(presence.to_string()).join(piece), octets).unwrap();
    }
}

#[async_trait]
impl Bed for Bucket {
    fn revisions(&self) -> Revisions {
        Revisions::in_bucket(&self.0.settings(), Arc::new(SystemClock)).unwrap()
    }

    async fn pieces(&self, presence: PresenceId) -> Vec<String> {
        let mut pieces = self.0.names(&format!("{presence}/")).await;
        pieces.retain(|piece| is_kept_for_good(piece));
        pieces
    }

    async fn read(&self, presence: PresenceId, piece: &str) -> Vec<u8> {
        self.0.read(&format!("{presence}/{piece}")).await
    }

    async fn write(&self, presence: PresenceId, piece: &str, octets: Vec<u8>) {
        self.0.write(&format!("{presence}/{piece}"), octets).await;
    }
}

macro_rules! conformance {
    ($($story:ident),+ $(,)?) => {
        mod folder {
            use super::{Folder, suite};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                suite::$story(&Folder::start()).await;
            })+
        }

        mod s3 {
            use super::{Bucket, suite};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                suite::$story(&Bucket::start().await).await;
            })+
        }
    };
}

conformance!(
    what_is_put_is_read_as_it_was,
    every_sequence_of_octets_is_kept_once_in_a_presence,
    damage_is_found_never_handed_out_and_mended_by_the_next_build,
    what_is_over_is_taken_away_and_nothing_else,
    octets_that_are_named_again_in_the_time_of_grace_stay,
    many_who_build_at_once_do_not_hinder_one_another,
    more_than_a_page_of_files_is_kept_listed_and_erased,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_served_is_lost_in_a_folder() {
    let bed: Arc<dyn Bed> = Arc::new(Folder::start());
    suite::nothing_that_is_served_is_lost_while_all_work_at_once(bed, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_served_is_lost_in_a_bucket() {
    let bed: Arc<dyn Bed> = Arc::new(Bucket::start().await);
    suite::nothing_that_is_served_is_lost_while_all_work_at_once(bed, 40).await;
}

/// A process that is killed leaves its lease behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_left_behind_is_in_the_way_for_a_while_alone() {
    let bed = Bucket::start().await;
    let s3 = &bed.0;
    let presence = PresenceId::new();
    let lease = |until: &str| {
        let holder = "0192f0c1-2345-7000-8000-000000000000";
        format!(r#"{{"holder":"{holder}","until":"{until}"}}"#).into_bytes()
    };
    let key = format!("{presence}/lease.json");
    let revisions = bed.revisions();
    let tidy = async || {
        let keeping = hiendien_engine::ports::Keeping {
            rules: hiendien_engine::ports::KeepRules::default(),
            named: Vec::new(),
            now: SystemClock.now(),
        };
        revisions.tidy(presence, &keeping).await.unwrap();
        s3.read(&key).await
    };
    s3.write(&key, lease("2999-01-01T00:00:00Z")).await;
    assert_eq!(tidy().await, lease("2999-01-01T00:00:00Z"));
    for over in [lease("2020-01-01T00:00:00Z"), b"half".to_vec()] {
        s3.write(&key, over.clone()).await;
        assert_ne!(tidy().await, over, "it is taken over");
    }
}

/// A world with a worker; it ends with this.
struct Working {
    world: World,
    folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl Working {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("store.db"));
        let world = World::at(place, folder.path()).await;
        let (stop, stopping) = watch::channel(false);
        let log: Arc<dyn OperationLog> = world.store.clone();
        let settings = WorkerSettings {
            poll: Duration::from_millis(50),
            ..WorkerSettings::named("worker")
        };
        tokio::spawn(work(settings, log, Arc::clone(&world.ports), stopping));
        Self {
            world,
            folder,
            _stop: stop,
        }
    }

    async fn ends(&self, operation: OperationId) {
        wait_for("the operation to succeed", LIMIT, async || {
            let found = self
                .world
                .store
                .operation(operation)
                .await
                .unwrap()
                .unwrap();
            match found.state {
                OperationState::Succeeded => Ok(()),
                _ => Err(format!("{found:?}")),
            }
        })
        .await;
    }

    async fn live(&self, label: &str) -> PresenceId {
        let now = self.world.clock.now();
        let new = NewClaim {
            steps: verbs::step_names(Verb::Provision),
            life: Life::default(),
            ..claim("nha-dang-ky-mau", label)
        };
        let accepted = self.world.store.accept(new, now).await.unwrap();
        self.ends(accepted.operation).await;
        accepted.presence
    }

    async fn asked(&self, presence: PresenceId, request: Request) -> Asked {
        let (store, rules) = (&*self.world.store, &self.world.ports.settings.term);
        let (by, now) = (By::name("test"), self.world.clock.now());
        let asked = ask(store, store, rules, presence, &request, by, now);
        asked.await.unwrap()
    }

    async fn done(&self, presence: PresenceId, request: Request) {
        match self.asked(presence, request).await {
            Asked::Begun(operation) => self.ends(operation).await,
            Asked::Already(operation) => panic!("`{operation}` has made it so already"),
        }
    }

    /// Publishes content that says `about`, and gives its revision.
    async fn publish(&self, presence: PresenceId, about: &str) -> RevisionHash {
        let mut content = self.world.presence(presence).await.plan.content;
        match &mut content {
            SiteContent::Business(content) => about.clone_into(&mut content.about),
            SiteContent::Cv(content) => about.clone_into(&mut content.summary),
        }
        let request = Request::Publish {
            template: None,
            content: Some(Box::new(NewContent {
                kept: KeptContent {
                    document: None,
                    facts: Facts::of_page(&content).to_json(),
                },
                page: content,
            })),
        };
        self.done(presence, request).await;
        self.served(presence).await
    }

    async fn served(&self, presence: PresenceId) -> RevisionHash {
        self.world.presence(presence).await.revision.unwrap()
    }

    /// Changes one bit of every blob of a presence that begins so.
    fn rot(&self, presence: PresenceId, begins: &str) {
        let blobs = self
            .folder
            .path()
            .join(format!("revisions/{presence}/blobs"));
        let mut rotten = 0;
        for name in names_in(&blobs) {
            let path = blobs.join(name);
            let mut octets = std::fs::read(&path).unwrap();
            if octets.starts_with(begins.as_bytes()) {
                octets[begins.len()] ^= 1;
                std::fs::write(path, octets).unwrap();
                rotten += 1;
            }
        }
        assert!(rotten > 0, "no blob begins with `{begins}`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_rolled_back_stays_so_and_goes_on_from_its_content() {
    let working = Working::start().await;
    let presence = working.live("quay-lai").await;
    let first = working.served(presence).await;
    let second = working.publish(presence, "Bản thứ hai").await;
    assert_ne!(first, second);
    let back = Request::Rollback {
        revision: first.clone(),
    };
    working.done(presence, back.clone()).await;
    assert_eq!(working.served(presence).await, first);
    // What is so already begins nothing.
    let again = working.asked(presence, back).await;
    assert!(matches!(again, Asked::Already(_)), "{again:?}");
    // The content is what was written last, and nothing but a publish goes back to it.
    let plan = working.world.presence(presence).await.plan;
    let content = serde_json::to_string(&plan.content).unwrap();
    assert!(content.contains("Bản thứ hai"), "{content}");
    working.done(presence, Request::Repair).await;
    assert_eq!(working.served(presence).await, first);
    let suspend = Request::Suspend {
        reason: "để thử".to_owned(),
    };
    working.done(presence, suspend).await;
    working.done(presence, Request::Resume).await;
    assert_eq!(working.served(presence).await, first);
    let request = Request::Publish {
        template: Some(plan.template),
        content: None,
    };
    working.done(presence, request).await;
    assert_eq!(working.served(presence).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_file_is_found_by_the_look_at_the_servers_and_repaired() {
    let working = Working::start().await;
    let world = &working.world;
    let presence = working.live("hong-tep").await;
    let first = working.served(presence).await;
    working.publish(presence, "Bản thứ hai").await;
    let back = Request::Rollback {
        revision: first.clone(),
    };
    working.done(presence, back).await;
    let found = observe(&world.ports, &world.presence(presence).await).await;
    assert_eq!(found, []);

    // The page of this world's builder is JSON; so is what it was built from, which stays as it is here.
    working.rot(presence, "{\"content\":");
    let found = observe(&world.ports, &world.presence(presence).await).await;
    let planes: Vec<Plane> = found.iter().map(|drift| drift.plane).collect();
    assert_eq!(planes, [Plane::Site], "{found:?}");
    assert!(found[0].found.contains("damaged"), "{found:?}");
    working.done(presence, Request::Repair).await;
    // Built anew from what it was built from: the same revision, though the content is another now.
    assert_eq!(working.served(presence).await, first);
    assert_eq!(world.revisions.damage(presence, &first).await.unwrap(), []);
    let found = observe(&world.ports, &world.presence(presence).await).await;
    assert_eq!(found, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_revision_is_kept_with_a_released_presence_until_it_is_purged() {
    let working = Working::start().await;
    let presence = working.live("giu-lai").await;
    let served = working.served(presence).await;
    working.done(presence, Request::Release).await;
    assert_eq!(working.served(presence).await, served);
    let revisions = &working.world.revisions;
    assert_eq!(revisions.damage(presence, &served).await.unwrap(), []);
    assert!(
        revisions
            .content(presence, &served)
            .await
            .unwrap()
            .is_some()
    );
    working.done(presence, Request::Purge).await;
    assert_eq!(revisions.revisions(presence).await.unwrap(), []);
    let left = working.folder.path().join(format!("revisions/{presence}"));
    assert!(!left.exists());
}

/// The files of an export.
fn unzipped(zip: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut files = Vec::new();
    for number in 0..archive.len() {
        let mut file = archive.by_index(number).unwrap();
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).unwrap();
        files.push((file.name().unwrap().into_owned(), octets));
    }
    files
}

/// The whole of it on real servers, with the revisions in a bucket that worker and edge share.
#[tokio::test]
async fn revisions_in_a_bucket_are_served_listed_compared_rolled_back_exported_and_repaired() {
    let s3 = S3::start().await;
    let lab = Lab::start_with(|config, _| format!("{config}\n{}", s3.config()));
    let api = lab.api();
    let run = |arguments: &[&str]| {
        let (succeeded, told) = lab.asks(arguments);
        assert!(succeeded, "{arguments:?}: {told}");
        told
    };
    let told = run(&[
        "claim",
        "submit",
        "--wait",
        "--timeout",
        "90",
        &sample("pho-shop.json").to_string_lossy(),
    ]);
    let name = told.split("live at https://").nth(1).unwrap();
    let name = name.split('/').next().unwrap().to_owned();
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    let id: PresenceId = presence["id"].as_str().unwrap().parse().unwrap();
    let first = presence["revision"].as_str().unwrap().to_owned();
    let images = format!("/v1/presences/{name}/images");
    let photo = std::fs::read(root().join("site-templates/food-drink/sample/mon-pho.webp"));
    let send = api
        .request(Method::POST, &images)
        .header("prefer", "wait=60")
        .body(photo.unwrap());
    let (_, _, image) = api.send(send).await;
    assert_eq!(image["state"], "ready", "{image:#}");
    // What was uploaded goes once its picture is noted.
    wait_for("the picture alone to be kept", LIMIT, async || {
        let kept = s3.names(&format!("pictures/{id}/")).await;
        let is_upload = |name: &String| name.starts_with("upload");
        if kept.is_empty() || kept.iter().any(is_upload) {
            return Err(format!("{kept:?}"));
        }
        Ok(())
    })
    .await;
    for folder in ["revisions", "pictures"] {
        assert!(!lab.state().join(folder).exists(), "{folder}");
    }

    // Another template is another revision.
    let claim: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sample("pho-shop.json")).unwrap()).unwrap();
    let mut changed = claim.clone();
    changed["business"]["profile"]["about"] = "Phở gà ta và phở bò, mở cửa từ sáng sớm.".into();
    let path = lab.state().join("changed.json");
    std::fs::write(&path, changed.to_string()).unwrap();
    run(&[
        "presence",
        "publish",
        &name,
        "--claim",
        &path.to_string_lossy(),
    ]);
    let second = wait_for("another revision to be served", LIMIT, async || {
        let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
        let revision = presence["revision"].as_str().unwrap().to_owned();
        let (_, _, operation) = api
            .get(&format!(
                "/v1/operations/{}",
                presence["operation"].as_str().unwrap()
            ))
            .await;
        if revision != first && operation["state"] == "succeeded" {
            Ok(revision)
        } else {
            Err(format!("{operation:#}"))
        }
    })
    .await;
    assert!(lab.page(&name, "/").contains("mở cửa từ sáng sớm"));

    let (status, _, listed) = api.get(&format!("/v1/presences/{name}/revisions")).await;
    assert_eq!(status, 200, "{listed:#}");
    assert_eq!(listed["served"], second.as_str());
    let revisions = listed["revisions"].as_array().unwrap();
    let order: Vec<&str> = revisions
        .iter()
        .map(|revision| revision["revision"].as_str().unwrap())
        .collect();
    assert_eq!(order, [&second, &first]);
    assert_eq!(revisions[0]["served"], true);
    assert!(revisions[0]["bytes"].as_u64().unwrap() > 1000);
    let told = run(&["revisions", &name]);
    assert!(told.contains(&format!("* {}", &second[..12])), "{told}");
    let told = run(&["revision", "diff", &name, &first[..8], &second[..8]]);
    assert!(told.contains("~ index.html"), "{told}");
    assert!(told.contains("mở cửa từ sáng sớm"), "{told}");

    run(&["rollback", &name, &first[..12]]);
    wait_for("the first revision to be served again", LIMIT, async || {
        let page = lab.page(&name, "/");
        if page.contains("mở cửa từ sáng sớm") {
            Err("it is the second".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    let none = "0".repeat(64);
    let (succeeded, told) = lab.asks(&["rollback", &name, &none]);
    assert!(!succeeded && told.contains("not kept any more"), "{told}");

    let zip = lab.state().join("export.zip");
    run(&[
        "export",
        &name,
        &zip.to_string_lossy(),
        "--revision",
        &second,
    ]);
    let exported = std::fs::read(&zip).unwrap();
    run(&[
        "export",
        &name,
        &zip.to_string_lossy(),
        "--revision",
        &second,
    ]);
    assert_eq!(
        std::fs::read(&zip).unwrap(),
        exported,
        "it is the same each time"
    );
    let files = unzipped(exported);
    let text = |name: &str| {
        let found = files.iter().find(|(found, _)| found == name);
        let found = found.unwrap_or_else(|| panic!("no `{name}` in the export"));
        String::from_utf8(found.1.clone()).unwrap()
    };
    assert!(text("content.json").contains("mở cửa từ sáng sớm"));
    assert!(text("revision.json").contains(&second));
    let page = text("site/index.html");
    assert!(!page.contains("href=\"/style"), "{page}");
    for part in page.split("href=\"").skip(1) {
        let link = part.split('"').next().unwrap();
        let is_own = !link.contains(':') && !link.starts_with('#') && !link.starts_with('/');
        if is_own {
            let file = link.split(['#', '?']).next().unwrap();
            let place = format!("site/{file}");
            assert!(files.iter().any(|(found, _)| *found == place), "{place}");
        }
    }

    // One bit of a front page: of the one that nobody is served a person finds it,
    let rot = async |revision: &str| {
        let path = format!("/v1/presences/{name}/revisions/{revision}/verify");
        let (_, _, verified) = api.get(&path).await;
        assert_eq!(verified["is_whole"], true, "{verified:#}");
        let hash = verified["files"]["index.html"]["sha256"].as_str().unwrap();
        let key = format!("{id}/blobs/{hash}");
        let mut octets = s3.read(&key).await;
        octets[100] ^= 1;
        s3.write(&key, octets).await;
    };
    rot(&second).await;
    let (succeeded, told) = lab.asks(&["revision", "verify", &name, &second]);
    assert!(!succeeded && told.contains("index.html"), "{told}");
    let (succeeded, told) = lab.asks(&["rollback", &name, &second]);
    assert!(succeeded, "{told}");
    let operation = wait_for("the rollback to be refused", LIMIT, async || {
        let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
        let id = presence["operation"].as_str().unwrap().to_owned();
        let (_, _, operation) = api.get(&format!("/v1/operations/{id}")).await;
        match operation["state"].as_str() {
            Some("stuck") => Ok(id),
            _ => Err(format!("{operation:#}")),
        }
    })
    .await;
    run(&["operation", "abandon", &operation]);
    let rests = async || {
        wait_for("the operation to end", LIMIT, async || {
            let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
            let id = presence["operation"].as_str().unwrap();
            let (_, _, operation) = api.get(&format!("/v1/operations/{id}")).await;
            match operation["state"].as_str() {
                Some("succeeded" | "abandoned") => Ok(()),
                _ => Err(format!("{operation:#}")),
            }
        })
        .await;
    };
    rests().await;
    // of the one that is served the look at the servers may be first.
    rot(&first).await;
    let _ = lab.asks(&["presence", "repair", &name]);
    wait_for("the site to be well", LIMIT, async || {
        match lab.asks(&["doctor", &name]) {
            (true, told) if told.contains("files are as they were built") => Ok(()),
            (_, told) => Err(told),
        }
    })
    .await;
    rests().await;
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    assert_eq!(presence["revision"], first.as_str());

    // Released, it can still be exported; purged, nothing is left in the bucket.
    run(&["presence", "release", &name, "--yes"]);
    api.comes_to(&id.to_string(), "released", LIMIT).await;
    let (status, _, _) = api.get(&format!("/v1/presences/{id}/export")).await;
    assert_eq!(status, 200);
    run(&["presence", "purge", &id.to_string(), "--yes"]);
    api.comes_to(&id.to_string(), "purged", LIMIT).await;
    for folder in ["", "pictures/"] {
        let left = s3.names(&format!("{folder}{id}/")).await;
        assert_eq!(left, Vec::<String>::new());
    }
    let (status, _, _) = api.get(&format!("/v1/presences/{id}/export")).await;
    assert_eq!(status, 404);
}
