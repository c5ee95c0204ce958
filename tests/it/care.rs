//! The life of presences by the clock, which the test moves: days pass in a moment.

use std::sync::Arc;
use std::time::Duration;

use hiendien_domain::content::ImageId;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{Plane, PlaneState, PresenceState, Standing, Verb};
use hiendien_domain::picture::PictureFault;
use hiendien_engine::care;
use hiendien_engine::clock::Clock;
use hiendien_engine::operation::PlaneChange;
use hiendien_engine::pictures::{ImageState, PictureOutcome, PictureQueue, Pictures};
use hiendien_engine::ports::{PictureFiles, Zones};
use hiendien_engine::presence::{Life, Presence};
use hiendien_engine::request::{By, Request, ask, ask_as_seen};
use hiendien_engine::store::{Directory, Intake, Lifecycle, NewClaim, OperationLog};
use hiendien_engine::verbs;
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_store::{Place, migrate};
use integration_tests::conformance::store::claim;
use integration_tests::postgres::Postgres;
use integration_tests::wait::wait_for;
use integration_tests::world::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// A world that works and is looked after; it ends with this.
struct Living {
    world: World,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Living {
    async fn at(place: Place, keepers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = match place {
            Place::Sqlite(_) => Place::Sqlite(folder.path().join("store.db")),
            server @ Place::Postgres(_) => server,
        };
        let world = World::at(place, folder.path()).await;
        let (stop, stopping) = watch::channel(false);
        let log: Arc<dyn OperationLog> = world.store.clone();
        let settings = WorkerSettings {
            poll: Duration::from_millis(50),
            ..WorkerSettings::named("worker")
        };
        tokio::spawn(work(
            settings,
            log,
            Arc::clone(&world.ports),
            stopping.clone(),
        ));
        for _ in 0..keepers {
            let directory: Arc<dyn Directory> = world.store.clone();
            tokio::spawn(care::keep(
                Arc::clone(&world.ports),
                directory,
                stopping.clone(),
                Duration::from_millis(50),
            ));
        }
        Self {
            world,
            _stop: stop,
            _folder: folder,
        }
    }

    async fn embedded() -> Self {
        Self::at(Place::Sqlite(std::path::PathBuf::new()), 1).await
    }

    async fn live(&self, label: &str, life: Life) -> PresenceId {
        let now = self.world.clock.now();
        let new = NewClaim {
            steps: verbs::step_names(Verb::Provision),
            life,
            care_at: now,
            ..claim("nha-dang-ky-mau", label)
        };
        let accepted = self.world.store.accept(new, now).await.unwrap();
        self.comes_to(accepted.presence, PresenceState::Live).await;
        accepted.presence
    }

    async fn comes_to(&self, presence: PresenceId, state: PresenceState) {
        wait_for(&format!("the presence to be {state}"), LIMIT, async || {
            let found = self.world.presence(presence).await;
            if found.state == state {
                Ok(())
            } else {
                Err(format!(
                    "{:?} {:?} {:?}",
                    found.state,
                    found.life,
                    self.world.post.letters()
                ))
            }
        })
        .await;
    }

    async fn told(&self, words: &str, times: usize) {
        wait_for(&format!("{times} letters of {words}"), LIMIT, async || {
            let letters = self.world.post.letters();
            let count = letters
                .iter()
                .filter(|letter| letter.contains(words))
                .count();
            if count == times {
                Ok(())
            } else {
                Err(format!("{letters:?}"))
            }
        })
        .await;
    }

    /// Waits until nothing is under way on it.
    async fn rests(&self, presence: PresenceId) -> Presence {
        wait_for("its operation to end", LIMIT, async || {
            let found = self.world.presence(presence).await;
            let operation = self.world.store.operation(found.operation).await.unwrap();
            match operation {
                Some(operation) if operation.state.is_final() => Ok(found),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Once a plane is so, why.
    async fn shows(&self, presence: PresenceId, plane: Plane, state: PlaneState) -> Option<String> {
        wait_for(&format!("`{plane}` to be {state}"), LIMIT, async || {
            let found = self.world.presence(presence).await;
            let of_plane = found.planes.iter().find(|status| status.plane == plane);
            match of_plane {
                Some(status) if status.state == state => Ok(status.reason.clone()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// A look that finds the mail side wanting, and later ones that do not.
    async fn mail_degrades_and_recovers(&self, presence: PresenceId) {
        let (store, now) = (&self.world.store, self.world.clock.now());
        let degraded = PlaneChange {
            plane: Plane::Mail,
            state: PlaneState::Degraded,
            reason: Some("no domain".to_owned()),
            next_attempt_at: None,
        };
        let seen = self.rests(presence).await;
        let before = Presence {
            operation: OperationId::new(),
            ..seen.clone()
        };
        let drift = || Some(json!([{ "plane": "mail", "found": "no domain" }]));
        let planes = || vec![degraded.clone()];
        let noted = store.observed(&before, planes(), drift(), now).await;
        assert!(!noted.unwrap(), "an operation has begun since");
        assert_eq!(self.world.presence(presence).await.planes, seen.planes);
        let noted = store.observed(&seen, planes(), drift(), now).await;
        assert!(noted.unwrap());
        let reason = self
            .shows(presence, Plane::Mail, PlaneState::Degraded)
            .await;
        assert_eq!(reason.as_deref(), Some("no domain"));
        self.days(1);
        self.shows(presence, Plane::Mail, PlaneState::Ready).await;
        let events = store.events(Some(presence), 0, 1000).await.unwrap();
        let kinds = events.iter().map(|event| event.kind.as_str());
        let ends: Vec<&str> = kinds.rev().take(2).collect();
        assert_eq!(ends, ["plane.ready", "drift.found"]);
    }

    fn days(&self, days: u32) {
        self.world.clock.forward(DAY * days);
    }

    fn in_days(&self, days: i64) -> Timestamp {
        self.world.clock.now() + SignedDuration::from_hours(24 * days)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_ends_after_reminders_and_the_name_goes_the_way_of_all_names() {
    let living = Living::embedded().await;
    let life = Life {
        term_ends_at: Some(living.in_days(100)),
        ..Life::default()
    };
    let presence = living.live("ky-han", life).await;
    // 60, 30, 14, 7 days and one day before the end, each spread over some hours: each once.
    living.world.clock.forward(Duration::from_hours(2));
    for (days, letters) in [(41, 1), (30, 2), (16, 3), (7, 4), (5, 5)] {
        living.days(days);
        living.world.clock.forward(Duration::from_hours(1));
        living.told("TermEnds", letters).await;
    }
    living.days(2);
    living.comes_to(presence, PresenceState::Expired).await;
    living.told("TermEnded", 1).await;
    let picture = living.world.picture(presence).await;
    assert_eq!(
        picture["hosts"]["NAME.biz.vn"]["site"]["service"],
        "expired"
    );
    assert_eq!(picture["mail"]["domain"]["service"], "suspended");
    assert_eq!(picture["planes"]["site"], "suspended");
    assert_eq!(picture["planes"]["dns"], "ready", "the zone stays served");

    // Nobody renews it in 25 days; in the 15 after those the name is withdrawn, then its data erased.
    living.days(40);
    living.comes_to(presence, PresenceState::Released).await;
    living.told("Released", 1).await;
    living.days(31);
    living.comes_to(presence, PresenceState::Purged).await;
    let found = living.world.presence(presence).await;
    assert_eq!(found.plan.owner_name, "");
    wait_for(
        "nothing to be left to look at",
        LIMIT,
        async || match living.world.presence(presence).await.life.care_at {
            None => Ok(()),
            left => Err(format!("{left:?}")),
        },
    )
    .await;
    living.told("TermEnds", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_a_killed_process_left_behind_goes() {
    let living = Living::embedded().await;
    let world = &living.world;
    let presence = living.live("anh-cu", Life::default()).await;
    let (store, files) = (&world.store, &world.picture_files);
    let (settled, unknown) = (ImageId::of(b"settled"), ImageId::of(b"unknown"));
    for image in [&settled, &unknown] {
        let upload = image.as_str().as_bytes().to_vec();
        files.put_upload(presence, image, upload).await.unwrap();
    }
    // One process was killed before it noted what it had kept, the other before it erased it.
    let now = world.clock.now();
    store.add(presence, &settled, 7, now).await.unwrap();
    let held = store.take(now, DAY).await.unwrap().unwrap();
    let outcome = PictureOutcome::Refused(PictureFault::Damaged);
    store.settle(&held, outcome, now).await.unwrap();
    living.days(1);
    for image in [&settled, &unknown] {
        wait_for("the upload to be erased", LIMIT, async || {
            match files.upload(presence, image).await.unwrap() {
                None => Ok(()),
                Some(_) => Err(image.to_string()),
            }
        })
        .await;
    }
    let found = store.image(presence, &settled).await.unwrap().unwrap();
    assert_eq!(found.state, ImageState::Refused(PictureFault::Damaged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_term_is_renewed_in_time_and_not_after() {
    let living = Living::embedded().await;
    let world = &living.world;
    let life = |days| Life {
        term_ends_at: Some(living.in_days(days)),
        ..Life::default()
    };
    let (soon, late) = (
        living.live("kip", life(1)).await,
        living.live("muon", life(1)).await,
    );
    living.days(2);
    for presence in [soon, late] {
        living.comes_to(presence, PresenceState::Expired).await;
    }
    let renew = async |presence| {
        let rules = &world.ports.settings.term;
        let store = &*world.store;
        let term_ends_at = Some(living.in_days(365));
        let request = Request::Renew { term_ends_at };
        ask(
            store,
            store,
            rules,
            presence,
            &request,
            By::name("test"),
            world.clock.now(),
        )
        .await
    };
    living.days(23);
    renew(soon).await.unwrap();
    living.comes_to(soon, PresenceState::Live).await;
    assert_eq!(
        world.picture(soon).await["mail"]["domain"]["service"],
        "active"
    );
    living.days(2);
    let refused = renew(late).await.unwrap_err().to_string();
    assert!(
        refused.contains("the name is being withdrawn") || refused.contains("released"),
        "{refused}"
    );
    living.days(14);
    living.comes_to(late, PresenceState::Released).await;
    assert_eq!(world.presence(soon).await.standing, Standing::Serving);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_papers_stop_it_and_complete_ones_do_not() {
    let living = Living::embedded().await;
    let life = |days| Life {
        dossier_due_at: Some(living.in_days(days)),
        ..Life::default()
    };
    let (missing, complete) = (
        living.live("thieu", life(7)).await,
        living.live("du", life(7)).await,
    );
    let now = living.world.clock.now();
    assert!(
        living
            .world
            .store
            .complete_dossier(complete, now)
            .await
            .unwrap()
    );
    // Three days before, spread over some hours, and no letter in the place of another; with less time at once.
    let both = Life {
        term_ends_at: Some(living.in_days(5)),
        ..life(7)
    };
    let both = living.live("ca-hai", both).await;
    let hurried = living.live("gap", life(1)).await;
    living.told("DossierDue", 1).await;
    living.days(2);
    living.comes_to(hurried, PresenceState::Suspended).await;
    living.told("DossierDue", 1).await;
    living.days(2);
    living.world.clock.forward(Duration::from_hours(6));
    living.told("DossierDue", 3).await;
    living.told("TermEnds", 1).await;
    living.days(1);
    living.comes_to(both, PresenceState::Expired).await;
    living.days(3);
    living.comes_to(missing, PresenceState::Suspended).await;
    living.told("Suspended", 2).await;
    living.told("DossierDue", 3).await;
    living.told("TermEnds", 1).await;
    assert_eq!(
        living.world.presence(complete).await.state,
        PresenceState::Live
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_before_a_renewal_does_not_end_the_new_term() {
    let living = Living::embedded().await;
    let world = &living.world;
    let life = Life {
        term_ends_at: Some(living.in_days(100)),
        ..Life::default()
    };
    let presence = living.live("gia-han", life).await;
    let seen = world.presence(presence).await;
    let (store, rules) = (&*world.store, &world.ports.settings.term);
    let (by, now) = (By::name("test"), world.clock.now());
    let term_ends_at = Some(living.in_days(465));
    let renew = Request::Renew { term_ends_at };
    ask(store, store, rules, presence, &renew, by, now)
        .await
        .unwrap();
    wait_for("the renewal to end", LIMIT, async || {
        let found = world.presence(presence).await;
        let operation = store.operation(found.operation).await.unwrap().unwrap();
        if operation.verb == Verb::Renew && operation.state.is_final() {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", operation.verb, operation.state))
        }
    })
    .await;
    let expired = ask_as_seen(store, store, rules, &seen, &Request::Expire, by, now).await;
    assert_eq!(expired.unwrap(), None);
    let found = world.presence(presence).await;
    assert_eq!(found.standing, Standing::Serving);
    assert_eq!(found.life.term_ends_at, term_ends_at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_in_time_and_drift_is_repaired_and_counted() {
    let living = Living::embedded().await;
    let world = &living.world;
    let presence = living.live("cham-soc", Life::default()).await;
    assert_eq!(world.ca.orders(), 1);
    living.days(61);
    wait_for(
        "the certificate to be renewed",
        LIMIT,
        async || match world.ca.orders() {
            2 => Ok(()),
            orders => Err(format!("{orders} orders")),
        },
    )
    .await;
    // Nobody was seen there for 60 days.
    living.told("Dormant", 1).await;

    // A server loses the zone; another the mail domain. Each is found and put back.
    let name = world.presence(presence).await.plan.name;
    world.store.remove_zone(presence, &name).await.unwrap();
    world.mail.lose(presence);
    living.days(1);
    wait_for("the drift to be repaired", LIMIT, async || {
        let picture = world.picture(presence).await;
        if picture["zone"].is_null() || picture["mail"]["domain"].is_null() {
            Err(format!("{picture:#}"))
        } else {
            Ok(())
        }
    })
    .await;
    let events = world.store.events(Some(presence), 0, 1000).await.unwrap();
    let drift = events
        .iter()
        .find(|event| event.kind == "drift.found")
        .unwrap();
    let planes: Vec<_> = drift.detail["drift"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drift| drift["plane"].clone())
        .collect();
    assert_eq!(planes, ["dns", "mail"]);
    living.comes_to(presence, PresenceState::Live).await;
    assert_eq!(
        world.ca.orders(),
        2,
        "a repair orders no certificate that is good"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_repair_is_shown_as_degraded() {
    let living = Living::embedded().await;
    let world = &living.world;
    // The clock looks at eight at once, and repairs no more where one after another is not as it should be.
    let mut all = Vec::new();
    for number in 0..9 {
        all.push(
            living
                .live(&format!("lech-{number}"), Life::default())
                .await,
        );
    }
    for presence in &all {
        living.rests(*presence).await;
        world.mail.lose(*presence);
    }
    living.days(1);
    let waits = wait_for("one to wait for its repair", LIMIT, async || {
        for presence in &all {
            let found = world.presence(*presence).await;
            let mut planes = found.planes.iter();
            if planes.any(|plane| plane.state == PlaneState::Degraded) {
                return Ok(*presence);
            }
        }
        Err("none is degraded".to_owned())
    })
    .await;
    let reason = living.shows(waits, Plane::Mail, PlaneState::Degraded).await;
    assert!(reason.is_some_and(|reason| !reason.is_empty()));
    wait_for("all to be repaired", LIMIT, async || {
        world.clock.forward(Duration::from_mins(2));
        for presence in &all {
            let found = world.presence(*presence).await;
            if let Some(plane) = found
                .planes
                .iter()
                .find(|plane| plane.state != PlaneState::Ready)
            {
                return Err(format!("{plane:?}"));
            }
        }
        Ok(())
    })
    .await;
    living.mail_degrades_and_recovers(waits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_keepers_of_one_store_remind_an_owner_once() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let place = Place::Postgres(server.settings());
    let migrated = place.clone();
    tokio::task::spawn_blocking(move || migrate(&migrated))
        .await
        .unwrap()
        .unwrap();
    let living = Living::at(place, 3).await;
    let life = |living: &Living| Life {
        term_ends_at: Some(living.in_days(100)),
        ..Life::default()
    };
    for label in ["mot", "hai", "ba", "bon"] {
        let presence = living.live(label, life(&living)).await;
        if label == "mot" {
            living.mail_degrades_and_recovers(presence).await;
        }
    }
    living.days(41);
    living.told("TermEnds", 4).await;
    assert_eq!(living.world.post.sent("TermEnds"), 4, "none was sent twice");
}
