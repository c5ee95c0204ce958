//! The store's contract, told through the ports. It runs on SQLite and on PostgreSQL alike; where
//! many processes share one store, the racers each have a store of their own.

#![expect(
    clippy::unwrap_used,
    reason = "a conformance suite fails where it is let down"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::{ClaimId, OperationId, PresenceId};
use hiendien_domain::lifecycle::{
    OperationState, Plane, PlaneState, PresenceState, Programme, StepState, Verb,
};
use hiendien_domain::name::DomainName;
use hiendien_domain::picture::{IMAGES_BYTES_MAX, PictureFault};
use hiendien_domain::records::{RecordData, Rrset, ZoneSpec, service_names};
use hiendien_domain::secret::Secret;
use hiendien_domain::site::{FileTree, RevisionHash, SiteFile};
use hiendien_engine::clock::Clock;
use hiendien_engine::operation::{Event, PlaneChange, RunEnd, StepLog};
use hiendien_engine::pictures::{
    Added, HeldImage, ImageState, Noted, PictureOutcome, PictureQueue, Pictures, Removed,
};
use hiendien_engine::ports::{
    Certificate, CertificateOrder, CertificateVault, Delegation, Delegations, FailureKind,
    HostRole, PasswordLink, PasswordLinks, PortError, Serving, ZoneSource, Zones,
};
use hiendien_engine::presence::{Life, PresencePlan};
use hiendien_engine::store::{
    Abandoning, AcceptError, Accepted, ApiKey, ApiKeys, Change, Contents, Directory,
    IdempotencyKeys, IdempotentReply, Intake, KeptContent, Lease, LeaseError, NewClaim,
    NewOperation, OperationLog, Publications,
};
use hiendien_render::template;
use hiendien_store::Store;
use jiff::Timestamp;
use serde_json::json;

use crate::site::templates;

const LEASE: Duration = Duration::from_mins(1);

/// A clock that stands until it is moved.
#[derive(Debug, Clone)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    pub fn at(second: i64) -> Self {
        Self(Arc::new(AtomicI64::new(second)))
    }

    pub fn set(&self, second: i64) {
        self.0.store(second, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A new store, and as many views of it as a test wants.
#[async_trait::async_trait]
pub trait Bed: Send + Sync {
    /// The store, with everything in it read through this clock.
    fn store(&self) -> &Store;

    fn clock(&self) -> &SetClock;

    /// `count` more users of the same store: other processes where the store is made for them.
    async fn users(&self, count: usize) -> Vec<Store>;
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// A moment counted in seconds from the one when all these stories begin.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A claim to a name, by a registrar, for a subject named after it.
pub fn claim(registrar: &str, label: &str) -> NewClaim {
    let apex = name(&format!("{label}.biz.vn"));
    let mut content = template::sample(&templates(), "storefront").unwrap();
    // Nobody has uploaded those of the sample.
    content.site_mut().pictures.clear();
    let plan = PresencePlan {
        name: apex,
        programme: Programme::Biz,
        owner_name: "Phở Hà Mẫu".to_owned(),
        contact_email: "chu@example.vn".parse().unwrap(),
        mailboxes: vec!["lien-he".parse().unwrap()],
        template: "storefront".to_owned(),
        content,
    };
    NewClaim {
        claim: ClaimId::new(),
        presence: PresenceId::new(),
        operation: OperationId::new(),
        registrar: registrar.to_owned(),
        reference: format!("ref-{label}"),
        fingerprint: format!("print-{label}"),
        subject_key: Secret::new(format!("subject-{label}")),
        document: Secret::new("{\"số định danh\": \"000000000000\"}"),
        plan,
        life: Life::default(),
        care_at: at(3600),
        steps: vec!["put_zone", "delegate"],
    }
}

async fn accepted(store: &Store, label: &str, now: Timestamp) -> Accepted {
    store.accept(claim("nhan-hoa", label), now).await.unwrap()
}

async fn lease(store: &Store, now: Timestamp) -> Option<Lease> {
    let leased = store.lease_next("worker-a", now, LEASE).await.unwrap();
    leased.map(|(lease, _, _)| lease)
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// A claim comes in once by its reference, a name and a subject have one presence each, and of
/// eight who hand in at the same moment one is taken in.
pub async fn claims(bed: &dyn Bed) {
    let store = bed.store();
    let first = claim("nhan-hoa", "pho");
    let made = store.accept(first.clone(), at(0)).await.unwrap();
    assert!(!made.repeated);
    assert_eq!(made.presence, first.presence);
    let again = NewClaim {
        claim: ClaimId::new(),
        presence: PresenceId::new(),
        operation: OperationId::new(),
        ..first.clone()
    };
    let repeated = store.accept(again, at(1)).await.unwrap();
    assert_eq!(
        repeated,
        Accepted {
            repeated: true,
            ..made
        }
    );
    let other_content = NewClaim {
        fingerprint: "other".to_owned(),
        ..claim("nhan-hoa", "pho")
    };
    assert!(matches!(
        store.accept(other_content, at(1)).await,
        Err(AcceptError::ReferenceReused { .. })
    ));
    let name_taken = NewClaim {
        reference: "ref-2".to_owned(),
        subject_key: Secret::new("someone else"),
        ..claim("nhan-hoa", "pho")
    };
    assert!(matches!(
        store.accept(name_taken, at(1)).await,
        Err(AcceptError::NameTaken { name }) if name == first.plan.name
    ));
    for (registrar, told) in [
        ("nhan-hoa", Some(first.plan.name.clone())),
        ("mat-bao", None),
    ] {
        let served = NewClaim {
            subject_key: first.subject_key.clone(),
            ..claim(registrar, "bun")
        };
        match store.accept(served, at(1)).await {
            Err(AcceptError::SubjectServed { name }) => assert_eq!(name, told),
            other => panic!("{other:?}"),
        }
    }

    // What was taken in is what is read.
    let presence = store.presence(made.presence).await.unwrap().unwrap();
    assert_eq!(presence.plan, first.plan);
    assert_eq!(presence.state, PresenceState::Accepted);
    assert_eq!(presence.created_at, at(0));
    let planes: Vec<_> = presence.planes.iter().map(|status| status.plane).collect();
    assert_eq!(planes, [Plane::Dns, Plane::Mail, Plane::Site, Plane::Tls]);
    let operation = store.operation(made.operation).await.unwrap().unwrap();
    assert_eq!(operation.state, OperationState::Queued);
    let steps: Vec<_> = operation.steps.iter().map(|step| &step.name).collect();
    assert_eq!(steps, ["put_zone", "delegate"]);
    let found = store.claim_presence(made.claim).await.unwrap();
    assert_eq!(found, Some(made.presence));
    assert_eq!(store.claim_presence(ClaimId::new()).await.unwrap(), None);
    let by_name = store.presence_by_name(&first.plan.name).await.unwrap();
    assert_eq!(by_name.unwrap().id, made.presence);

    // The same claim eight times at once is one claim.
    let users = bed.users(8).await;
    for round in 0..20 {
        let label = format!("race-{round}");
        let racers = users.iter().map(|user| accepted(user, &label, at(2)));
        let outcomes = join_all(racers).await;
        assert_eq!(outcomes.iter().filter(|made| !made.repeated).count(), 1);
        let places: BTreeSet<_> = outcomes.iter().map(|made| made.presence).collect();
        assert_eq!(places.len(), 1);
    }
    // Eight claims to one name, and eight names for one subject: the first takes it.
    for (label, same_name) in [("one-name", true), ("one-subject", false)] {
        let racers = users.iter().enumerate().map(|(number, user)| {
            let mut racer = claim("nhan-hoa", &format!("{label}-{number}"));
            if same_name {
                racer.plan.name = name("one-name.biz.vn");
            } else {
                racer.subject_key = Secret::new("one subject");
            }
            user.accept(racer, at(3))
        });
        let outcomes = join_all(racers).await;
        assert_eq!(outcomes.iter().filter(|made| made.is_ok()).count(), 1);
        assert!(outcomes.iter().all(|made| matches!(
            (made, same_name),
            (Ok(_), _)
                | (Err(AcceptError::NameTaken { .. }), true)
                | (Err(AcceptError::SubjectServed { .. }), false)
        )));
    }
}

/// What is due is given to one worker each, the longest waiting first. Who lost a lease cannot write.
pub async fn leases(bed: &dyn Bed) {
    let store = bed.store();
    assert_eq!(lease(store, at(0)).await, None);
    let mut due = BTreeSet::new();
    for number in 0..24 {
        let made = accepted(store, &format!("due-{number}"), at(number)).await;
        due.insert(made.operation);
    }
    assert_eq!(lease(store, at(-1)).await, None);
    let users = bed.users(16).await;
    let takers = users.iter().enumerate().map(|(number, user)| async move {
        let mut taken = Vec::new();
        let worker = format!("worker-{number}");
        while let Some((lease, operation, presence)) =
            user.lease_next(&worker, at(100), LEASE).await.unwrap()
        {
            assert_eq!(lease.operation, operation.id);
            assert_eq!(operation.presence, presence.id);
            assert_eq!(operation.state, OperationState::Running);
            taken.push(lease);
        }
        taken
    });
    let taken: Vec<Lease> = join_all(takers).await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 24, "each is given once");
    let operations: BTreeSet<_> = taken.iter().map(|lease| lease.operation).collect();
    assert_eq!(operations, due);

    // A lease that is extended lasts; one that is not goes over to another.
    let held = taken.iter().find(|lease| lease.fence == 1).unwrap();
    store.extend(held, at(130), LEASE).await.unwrap();
    let mut later = Vec::new();
    while let Some(lease) = lease(store, at(170)).await {
        later.push(lease);
    }
    assert_eq!(later.len(), 23);
    assert!(later.iter().all(|lease| lease.operation != held.operation));
    let presence = store.operation(held.operation).await.unwrap().unwrap();
    let presence = store.presence(presence.presence).await.unwrap().unwrap();
    assert_eq!(presence.state, PresenceState::Provisioning);
    let over = lease(store, at(1000)).await.unwrap();
    let lost = taken
        .iter()
        .find(|lease| lease.operation == over.operation)
        .unwrap();
    assert!(over.fence > lost.fence);
    assert_lost(&store.extend(lost, at(1000), LEASE).await);
    assert_lost(&store.write(lost, Vec::new(), Vec::new(), at(1000)).await);
    let lines = vec![StepLog::Started {
        step: "put_zone",
        attempt: 9,
    }];
    let end = store
        .end_run(lost, lines, Vec::new(), RunEnd::Succeeded, at(1000))
        .await;
    assert_lost(&end);
    let operation = store.operation(over.operation).await.unwrap().unwrap();
    assert_eq!(operation.state, OperationState::Running);
    assert_eq!(operation.steps[0].attempt, 0, "nothing of it was kept");
    store.extend(&over, at(1000), LEASE).await.unwrap();
}

fn assert_lost(written: &Result<(), LeaseError>) {
    assert!(matches!(written, Err(LeaseError::Lost(_))), "{written:?}");
}

/// The log of steps, the planes, and each way to let go of an operation.
pub async fn operation_log(bed: &dyn Bed) {
    let store = bed.store();
    let made = accepted(store, "so-ghi", at(0)).await;
    let held = lease(store, at(1)).await.unwrap();
    let plane = |state, reason: Option<&str>, next: Option<i64>| PlaneChange {
        plane: Plane::Dns,
        state,
        reason: reason.map(str::to_owned),
        next_attempt_at: next.map(at),
    };
    let started = |attempt| StepLog::Started {
        step: "put_zone",
        attempt,
    };
    store
        .write(
            &held,
            vec![started(1)],
            vec![plane(PlaneState::Working, None, None)],
            at(2),
        )
        .await
        .unwrap();
    let failed = StepLog::Failed {
        step: "put_zone",
        attempt: 1,
        duration_ms: 5,
        error: "không tới được \0 máy chủ".to_owned(),
        next_attempt_at: Some(at(30)),
    };
    let parked = RunEnd::Parked {
        until: at(30),
        needs_attention: false,
    };
    let waiting = plane(PlaneState::Working, Some("no answer"), Some(30));
    store
        .end_run(&held, vec![failed], vec![waiting], parked, at(3))
        .await
        .unwrap();
    let read = async || store.operation(made.operation).await.unwrap().unwrap();
    let dns = async || {
        let presence = store.presence(made.presence).await.unwrap().unwrap();
        let mut planes = presence.planes.into_iter();
        planes.find(|status| status.plane == Plane::Dns).unwrap()
    };
    let operation = read().await;
    assert_eq!(operation.state, OperationState::Parked);
    assert_eq!(operation.next_run_at, Some(at(30)));
    let step = &operation.steps[0];
    assert_eq!(step.state, StepState::Waiting);
    assert_eq!((step.attempt, step.started_at), (1, Some(at(2))));
    assert_eq!(
        (step.ended_at, step.next_attempt_at),
        (Some(at(3)), Some(at(30)))
    );
    assert!(step.error.as_ref().unwrap().starts_with("không tới được"));
    let status = dns().await;
    assert_eq!(status.state, PlaneState::Working);
    assert_eq!(status.since, at(2), "it has been so since then");
    assert_eq!(status.reason.as_deref(), Some("no answer"));
    assert_eq!(status.next_attempt_at, Some(at(30)));

    // Parked until then, unless someone asks for it at once.
    assert_eq!(lease(store, at(29)).await, None);
    assert!(store.retry(made.operation, at(10)).await.unwrap());
    assert!(!store.retry(made.operation, at(10)).await.unwrap());
    assert_eq!(read().await.steps[0].next_attempt_at, None);
    let held = lease(store, at(10)).await.unwrap();
    let stuck = RunEnd::Stuck {
        reason: "the registry refuses".to_owned(),
    };
    store
        .end_run(&held, vec![started(2)], Vec::new(), stuck, at(11))
        .await
        .unwrap();
    assert_lost(&store.extend(&held, at(11), LEASE).await);
    let operation = read().await;
    assert_eq!(operation.state, OperationState::Stuck);
    assert_eq!(operation.reason.as_deref(), Some("the registry refuses"));
    let presence = store.presence(made.presence).await.unwrap().unwrap();
    assert_eq!(presence.state, PresenceState::NeedsAttention);
    assert_eq!(lease(store, at(10_000)).await, None, "a person must act");

    assert!(store.retry(made.operation, at(20)).await.unwrap());
    let held = lease(store, at(20)).await.unwrap();
    store
        .end_run(&held, Vec::new(), Vec::new(), RunEnd::Released, at(21))
        .await
        .unwrap();
    let held = lease(store, at(21)).await.unwrap();
    let done = StepLog::Succeeded {
        step: "put_zone",
        attempt: 2,
        duration_ms: 7,
        output: json!({ "serial": 1 }),
    };
    let ready = plane(PlaneState::Ready, None, None);
    store
        .end_run(
            &held,
            vec![done],
            vec![ready.clone()],
            RunEnd::Succeeded,
            at(22),
        )
        .await
        .unwrap();
    let operation = read().await;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(
        (operation.ended_at, operation.next_run_at),
        (Some(at(22)), None)
    );
    assert_eq!(operation.steps[0].output, Some(json!({ "serial": 1 })));
    assert_eq!(operation.steps[0].error, None);
    assert_eq!(operation.steps[1].state, StepState::Pending);
    let presence = store.presence(made.presence).await.unwrap().unwrap();
    assert_eq!(presence.state, PresenceState::Live);
    assert_eq!(presence.live_at, Some(at(22)));
    assert_eq!(dns().await.since, at(22));
    assert!(!store.retry(made.operation, at(30)).await.unwrap());

    let events = store.events(Some(made.presence), 0, 100).await.unwrap();
    assert_eq!(
        kinds(&events),
        [
            "claim.accepted",
            "operation.running",
            "step.started",
            "step.failed",
            "operation.parked",
            "operation.retried",
            "operation.running",
            "step.started",
            "operation.stuck",
            "presence.needs_attention",
            "operation.retried",
            "operation.running",
            "operation.released",
            "operation.running",
            "step.succeeded",
            "plane.ready",
            "operation.succeeded",
            "presence.live",
        ]
    );
}

/// Pages go on after the last of the page before, and hold what was asked for.
pub async fn directory(bed: &dyn Bed) {
    let store = bed.store();
    let mut made = Vec::new();
    for number in 0..5 {
        let registrar = if number % 2 == 0 {
            "nhan-hoa"
        } else {
            "mat-bao"
        };
        let new = claim(registrar, &format!("trang-{number}"));
        made.push(store.accept(new, at(number)).await.unwrap().presence);
    }
    made.sort_by_key(ToString::to_string);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.presences(None, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|presence| presence.id));
    }
    assert_eq!(seen, made);
    let mine = store.presences(Some("mat-bao"), None, 10).await.unwrap();
    assert_eq!(mine.len(), 2);
    for presence in mine {
        assert_eq!(presence.registrar, "mat-bao");
        let alone = store.presence(presence.id).await.unwrap();
        assert_eq!(alone, Some(presence));
    }
    assert_eq!(store.presence(PresenceId::new()).await.unwrap(), None);
    assert_eq!(store.operation(OperationId::new()).await.unwrap(), None);
    let operations = store.operations(made[0], 10).await.unwrap();
    assert_eq!(operations.len(), 1);

    let all = store.events(None, 0, 100).await.unwrap();
    assert_eq!(all.len(), 5);
    let rest = store.events(None, all[1].sequence, 2).await.unwrap();
    assert_eq!(rest, all[2..4]);
    let of_one = store.events(Some(all[3].presence), 0, 10).await.unwrap();
    assert_eq!(of_one, all[3..4]);
}

/// Writers of many processes add events while a reader follows them: it misses none, and each
/// presence's come in the order of its writing.
pub async fn events_in_order(bed: &dyn Bed) {
    let store = bed.store();
    let writers = bed.users(8).await;
    let write = |number: usize, user: Store| async move {
        for round in 0..12 {
            accepted(&user, &format!("su-kien-{number}-{round}"), at(0)).await;
            let (held, _, _) = user
                .lease_next("worker", at(1), LEASE)
                .await
                .unwrap()
                .unwrap();
            for attempt in 1..4 {
                let line = StepLog::Started {
                    step: "put_zone",
                    attempt,
                };
                user.write(&held, vec![line], Vec::new(), at(2))
                    .await
                    .unwrap();
            }
            user.end_run(&held, Vec::new(), Vec::new(), RunEnd::Succeeded, at(3))
                .await
                .unwrap();
        }
    };
    let writing = writers
        .into_iter()
        .enumerate()
        .map(|(number, user)| write(number, user));
    let writing = tokio::spawn(join_all(writing));
    let mut seen: Vec<Event> = Vec::new();
    loop {
        let ended = writing.is_finished();
        let after = seen.last().map_or(0, |event| event.sequence);
        let page = store.events(None, after, 50).await.unwrap();
        if page.is_empty() && ended {
            break;
        }
        seen.extend(page);
    }
    writing.await.unwrap();
    let all = store.events(None, 0, 10_000).await.unwrap();
    assert_eq!(all.len(), 8 * 12 * 7);
    assert_eq!(seen, all);
    for presence in all
        .iter()
        .map(|event| event.presence)
        .collect::<BTreeSet<_>>()
    {
        let own: Vec<Event> = all
            .iter()
            .filter(|event| event.presence == presence)
            .cloned()
            .collect();
        assert_eq!(
            kinds(&own),
            [
                "claim.accepted",
                "operation.running",
                "step.started",
                "step.started",
                "step.started",
                "operation.succeeded",
                "presence.live"
            ]
        );
    }
}

fn zone_spec(apex: &str, addresses: &[&str]) -> ZoneSpec {
    let records = addresses
        .iter()
        .map(|address| RecordData::A {
            address: address.parse().unwrap(),
        })
        .collect();
    ZoneSpec {
        apex: name(apex),
        primary: name("ns1.hiendien.test"),
        hostmaster: name("hostmaster.hiendien.test"),
        negative_ttl_secs: 300,
        rrsets: vec![Rrset {
            owner: name(apex),
            ttl_secs: 300,
            records,
        }],
    }
}

/// Reads a zone as the name server does: off the async threads.
async fn served<T: Send + 'static>(
    store: &Store,
    read: impl FnOnce(&Store) -> Result<T, PortError> + Send + 'static,
) -> T {
    let store = store.clone();
    let task = tokio::task::spawn_blocking(move || read(&store));
    task.await.unwrap().unwrap()
}

/// A zone has one holder, its serial grows with every change and never otherwise, and challenges
/// stand beside its records. Delegations are looked up by exactly their name.
pub async fn zones(bed: &dyn Bed) {
    let store = bed.store();
    let now = at(0).as_second();
    bed.clock().set(now);
    let seconds = u32::try_from(now).unwrap();
    let (apex, holder) = (name("vung.biz.vn"), PresenceId::new());
    let first = zone_spec("vung.biz.vn", &["192.0.2.1"]);
    let serial = |name: DomainName| served(store, move |store| store.zone_serial(&name));
    let zone = |name: DomainName| served(store, move |store| store.zone(&name));
    assert_eq!(serial(apex.clone()).await, None);
    assert_eq!(zone(apex.clone()).await, None);
    assert_eq!(store.put_zone(holder, &first).await.unwrap(), seconds);
    assert_eq!(store.put_zone(holder, &first).await.unwrap(), seconds);
    let second = zone_spec("vung.biz.vn", &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(store.put_zone(holder, &second).await.unwrap(), seconds + 1);
    let other = store
        .put_zone(PresenceId::new(), &second)
        .await
        .unwrap_err();
    assert_eq!(other.kind, FailureKind::Rejected);

    let challenge = |value: &str| (name("_acme-challenge.vung.biz.vn"), value.to_owned());
    let values = [challenge("a"), challenge("b")];
    assert_eq!(
        store.add_challenges(&apex, &values).await.unwrap(),
        seconds + 2
    );
    assert_eq!(
        store.add_challenges(&apex, &values).await.unwrap(),
        seconds + 2
    );
    let read = zone(apex.clone()).await.unwrap();
    assert_eq!((read.serial, read.spec), (seconds + 2, second));
    let read: BTreeSet<_> = read.challenges.into_iter().collect();
    assert_eq!(read, values.iter().cloned().collect());
    let gone = [challenge("a"), challenge("never there")];
    store.remove_challenges(&apex, &gone).await.unwrap();
    store.remove_challenges(&apex, &gone).await.unwrap();
    let read = zone(apex.clone()).await.unwrap();
    assert_eq!(
        (read.serial, read.challenges),
        (seconds + 3, vec![challenge("b")])
    );
    bed.clock().set(now + 1000);
    store.remove_challenges(&apex, &values).await.unwrap();
    store.add_challenges(&apex, &values).await.unwrap();
    for _ in 0..2 {
        store.clear_challenges(&apex).await.unwrap();
        let read = zone(apex.clone()).await.unwrap();
        assert!(read.challenges.is_empty());
    }
    assert_eq!(serial(apex.clone()).await, Some(seconds + 1002));
    assert_eq!(serial(name("khac.biz.vn")).await, None);
    let nowhere = store.add_challenges(&name("khac.biz.vn"), &values).await;
    assert_eq!(nowhere.unwrap_err().kind, FailureKind::Misconfigured);

    // Eight change it at once: eight serials, one after the other.
    let users = bed.users(8).await;
    let racers = users.iter().enumerate().map(|(number, user)| {
        let value = [challenge(&format!("race-{number}"))];
        let apex = apex.clone();
        async move { user.add_challenges(&apex, &value).await.unwrap() }
    });
    let serials: BTreeSet<u32> = join_all(racers).await.into_iter().collect();
    let expected: BTreeSet<u32> = (seconds + 1003..=seconds + 1010).collect();
    assert_eq!(serials, expected);
    assert_eq!(zone(apex.clone()).await.unwrap().challenges.len(), 8);
    // Eight presences make the same zone at once: it is one's.
    let racing = zone_spec("tranh.biz.vn", &["192.0.2.1"]);
    let racers = users
        .iter()
        .map(|user| user.put_zone(PresenceId::new(), &racing));
    let outcomes = join_all(racers).await;
    assert_eq!(outcomes.iter().filter(|put| put.is_ok()).count(), 1);
    let mut refusals = outcomes.into_iter().filter_map(Result::err);
    assert!(refusals.all(|refusal| refusal.kind == FailureKind::Rejected));

    let child = name("vung.biz.vn");
    for servers in [["ns1.hiendien.test"], ["ns2.hiendien.test"]] {
        let delegation = Delegation {
            child: child.clone(),
            name_servers: servers.iter().map(|server| name(server)).collect(),
        };
        store.put_delegation(holder, &delegation).await.unwrap();
        let child = child.clone();
        let read = served(store, move |store| store.delegation(&child)).await;
        assert_eq!(read, Some(delegation));
    }
    let none = served(store, |store| store.delegation(&name("khac.biz.vn"))).await;
    assert_eq!(none, None);
}

fn certificate(apex: &DomainName, serial: &str, not_after: i64) -> Certificate {
    Certificate {
        names: service_names(apex),
        chain_pem: format!("chain {serial}"),
        key_pem: Secret::new(format!("key {serial}")),
        serial: serial.to_owned(),
        not_before: at(0),
        not_after: at(not_after),
    }
}

/// Accounts, orders and certificates come back as they were kept, for who holds the sealing key.
pub async fn certificates(bed: &dyn Bed) {
    let store = bed.store();
    let directory = "https://ca.example/dir";
    assert_eq!(store.account(directory).await.unwrap(), None);
    for credentials in ["one", "two"] {
        let credentials = Secret::new(credentials);
        store.put_account(directory, &credentials).await.unwrap();
        let read = store.account(directory).await.unwrap();
        assert_eq!(read, Some(credentials));
    }
    let made = accepted(store, "chung-thu", at(0)).await;
    let (presence, apex) = (made.presence, name("chung-thu.biz.vn"));
    assert_eq!(store.order(presence).await.unwrap(), None);
    for url in ["https://ca.example/order/1", "https://ca.example/order/2"] {
        let order = CertificateOrder {
            directory: directory.to_owned(),
            order_url: url.to_owned(),
            key_pem: Secret::new(format!("key of {url}")),
            names: service_names(&apex),
        };
        store.put_order(presence, &order).await.unwrap();
        assert_eq!(store.order(presence).await.unwrap(), Some(order));
    }
    store.remove_order(presence).await.unwrap();
    store.remove_order(presence).await.unwrap();
    assert_eq!(store.order(presence).await.unwrap(), None);
    let order = CertificateOrder {
        directory: directory.to_owned(),
        order_url: "https://ca.example/order/3".to_owned(),
        key_pem: Secret::new("key"),
        names: service_names(&apex),
    };
    store.put_order(presence, &order).await.unwrap();

    let newest = || CertificateVault::certificate(store, presence);
    assert_eq!(newest().await.unwrap(), None);
    let before = store.version().await.unwrap();
    let first = certificate(&apex, "0a", 90);
    store.put_certificate(presence, &first).await.unwrap();
    store.put_certificate(presence, &first).await.unwrap();
    assert_eq!(newest().await.unwrap(), Some(first.clone()));
    assert_eq!(store.order(presence).await.unwrap(), None);
    assert!(store.version().await.unwrap() > before);
    let second = certificate(&apex, "0b", 180);
    store.put_certificate(presence, &second).await.unwrap();
    assert_eq!(newest().await.unwrap(), Some(second.clone()));
    for host in service_names(&apex) {
        let served = Serving::certificate(store, &host).await.unwrap();
        assert_eq!(served, Some(second.clone()));
    }
    let nobody = Serving::certificate(store, &name("khac.biz.vn")).await;
    assert_eq!(nobody.unwrap(), None);
}

fn revision(text: &str) -> RevisionHash {
    let mut tree = FileTree::default();
    let file = SiteFile {
        media_type: "text/html; charset=utf-8".to_owned(),
        identity: text.as_bytes().to_vec(),
        gzip: None,
        brotli: None,
    };
    tree.insert("index.html", file).unwrap();
    tree.revision()
}

/// Publishing moves the pointer and makes the host names answer; each time the version moves on.
pub async fn serving(bed: &dyn Bed) {
    let store = bed.store();
    let made = accepted(store, "trang-web", at(0)).await;
    let apex = name("trang-web.biz.vn");
    assert_eq!(store.site(&apex).await.unwrap(), None);
    let mut version = store.version().await.unwrap();
    for text in ["một", "hai", "hai"] {
        let revision = revision(text);
        store
            .publish(made.presence, &apex, &revision, at(5))
            .await
            .unwrap();
        let now = store.version().await.unwrap();
        assert!(now > version);
        version = now;
        let roles = [
            HostRole::Apex,
            HostRole::Www,
            HostRole::MtaSts,
            HostRole::Autoconfig,
            HostRole::Autodiscover,
        ];
        for (host, role) in service_names(&apex).iter().zip(roles) {
            let site = store.site(host).await.unwrap().unwrap();
            assert_eq!((site.presence, site.role), (made.presence, role));
            assert_eq!((&site.apex, site.revision), (&apex, Some(revision.clone())));
        }
        let presence = store.presence(made.presence).await.unwrap().unwrap();
        assert_eq!(presence.revision, Some(revision));
    }
    let users = bed.users(8).await;
    let revision = revision("bốn");
    let racers = users
        .iter()
        .map(|user| user.publish(made.presence, &apex, &revision, at(6)));
    assert!(join_all(racers).await.iter().all(Result::is_ok));
    assert_eq!(store.version().await.unwrap(), version + 8);
}

/// A link works once, even for eight at once, and not after a newer one or its end.
pub async fn password_links(bed: &dyn Bed) {
    let store = bed.store();
    let link = |expires: i64| PasswordLink {
        presence: PresenceId::from_uuid(uuid::Uuid::nil()),
        address: "lien-he@hop-thu.biz.vn".parse().unwrap(),
        expires_at: at(expires),
    };
    let token = store.put_link(&link(100)).await.unwrap();
    assert_eq!(store.put_link(&link(100)).await.unwrap(), token);
    assert_eq!(store.link(&token, at(1)).await.unwrap(), Some(link(100)));
    assert_eq!(store.link(&token, at(100)).await.unwrap(), None);
    assert_eq!(store.take_link(&token, at(100)).await.unwrap(), None);
    let users = bed.users(8).await;
    let takers = users.iter().map(|user| user.take_link(&token, at(2)));
    let taken: Vec<_> = join_all(takers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&link(100)]);
    assert_eq!(store.link(&token, at(3)).await.unwrap(), None);
    // What was used stays used, and a newer link ends the older.
    store.put_link(&link(100)).await.unwrap();
    assert_eq!(store.link(&token, at(3)).await.unwrap(), None);
    let older = store.put_link(&link(200)).await.unwrap();
    let newer = store.put_link(&link(300)).await.unwrap();
    assert_eq!(store.link(&older, at(3)).await.unwrap(), None);
    assert_eq!(store.link(&newer, at(3)).await.unwrap(), Some(link(300)));
    let unknown = Secret::new("unknown");
    assert_eq!(store.take_link(&unknown, at(3)).await.unwrap(), None);
}

/// An image is noted once, given out to one at a time, becomes a picture that content may name, and goes
/// when it is removed; nothing is noted for whoever lost it or has given the name up.
pub async fn pictures(bed: &dyn Bed) {
    let store = bed.store();
    let presence = accepted(store, "anh", at(0)).await.presence;
    let (one, two) = (ImageId::of(b"1"), ImageId::of(b"2"));
    let add = async |image: &ImageId, second| store.add(presence, image, 7, at(second)).await;
    assert!(matches!(add(&one, 1).await.unwrap(), Added::Waits(_)));
    assert!(matches!(add(&one, 2).await.unwrap(), Added::Known(_)));
    assert!(matches!(add(&two, 3).await.unwrap(), Added::Waits(_)));
    let three = ImageId::of(b"3");
    let too_much = store.add(presence, &three, IMAGES_BYTES_MAX, at(3));
    assert_eq!(too_much.await.unwrap(), Added::TooMuch);
    let nobody = store.add(PresenceId::new(), &one, 7, at(3));
    assert_eq!(nobody.await.unwrap(), Added::GivenUp);

    let hold = Duration::from_mins(1);
    let users = bed.users(4).await;
    let taken = join_all(users.iter().map(|user| user.take(at(4), hold))).await;
    let mut taken: Vec<HeldImage> = taken.into_iter().filter_map(Result::unwrap).collect();
    // Where all looked at the same moment one may have come away with nothing.
    while let Some(held) = store.take(at(4), hold).await.unwrap() {
        taken.push(held);
    }
    taken.sort_by_key(|held| held.image != one);
    let images: Vec<&ImageId> = taken.iter().map(|held| &held.image).collect();
    assert_eq!(images, [&one, &two]);
    let picture = Picture {
        id: one.clone(),
        alt: String::new(),
        width: 320,
        height: 200,
        widths: vec![320],
        placeholder: "data:image/webp;base64,AAAA".to_owned(),
    };
    let ready = PictureOutcome::Ready {
        picture: picture.clone(),
        kept_bytes: 900,
    };
    let settled = store.settle(&taken[0], ready.clone(), at(5)).await;
    assert_eq!(settled.unwrap(), Noted::Noted);
    let again = store.settle(&taken[0], ready.clone(), at(5)).await;
    assert_eq!(again.unwrap(), Noted::Lost);
    // Held too long, it is another's.
    let other = store.take(at(70), hold).await.unwrap().unwrap();
    assert_eq!((&other.image, other.attempt), (&two, 2));
    let refused = || PictureOutcome::Refused(PictureFault::Damaged);
    let late = store.settle(&taken[1], refused(), at(71)).await;
    assert_eq!(late.unwrap(), Noted::Lost);
    let settled = store.settle(&other, refused(), at(71)).await;
    assert_eq!(settled.unwrap(), Noted::Noted);
    let kept = store.images(presence).await.unwrap();
    let states: BTreeMap<&ImageId, &ImageState> =
        kept.iter().map(|image| (&image.id, &image.state)).collect();
    assert_eq!(states[&one], &ImageState::Ready(picture.clone()));
    assert_eq!(states[&two], &ImageState::Refused(PictureFault::Damaged));
    let known = Contents::pictures(store, presence).await.unwrap();
    assert_eq!(known, BTreeMap::from([(one.clone(), picture)]));
    let events = store.events(Some(presence), 0, 100).await.unwrap();
    let told = kinds(&events);
    assert!(told.contains(&"image.ready") && told.contains(&"image.refused"));

    // What was refused may be tried again, and what is removed is gone for who works on it.
    assert!(matches!(add(&two, 80).await.unwrap(), Added::Waits(_)));
    let held = store.take(at(81), hold).await.unwrap().unwrap();
    assert_eq!(held.attempt, 1);
    for expected in [Removed::Removed, Removed::Unknown] {
        assert_eq!(
            Pictures::remove(store, presence, &two).await.unwrap(),
            expected
        );
    }
    let gone = store.settle(&held, ready, at(82)).await;
    assert_eq!(gone.unwrap(), Noted::Gone);
    hiendien_engine::store::Lifecycle::erase(store, presence, at(90))
        .await
        .unwrap();
    assert_eq!(store.images(presence).await.unwrap(), []);
}

/// One call of many with the same key goes on; the others hear of it, and later its answer.
pub async fn idempotency(bed: &dyn Bed) {
    let store = bed.store();
    let users = bed.users(8).await;
    let racers = users
        .iter()
        .map(|user| user.begin("caller", "key", "body", at(0)));
    let replies: Vec<_> = join_all(racers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let begun = replies
        .iter()
        .filter(|reply| **reply == IdempotentReply::Begun);
    assert_eq!(begun.count(), 1);
    let in_flight = replies
        .iter()
        .filter(|reply| **reply == IdempotentReply::InFlight);
    assert_eq!(in_flight.count(), 7);
    let begin = async |caller: &str, body: &str, second: i64| {
        store.begin(caller, "key", body, at(second)).await.unwrap()
    };
    assert_eq!(begin("caller", "other", 1).await, IdempotentReply::Mismatch);
    assert_eq!(begin("another", "other", 1).await, IdempotentReply::Begun);
    store.finish("caller", "key", 201, "{}").await.unwrap();
    let finished = IdempotentReply::Finished {
        status: 201,
        body: "{}".to_owned(),
    };
    assert_eq!(begin("caller", "body", 500).await, finished);
    store.forget("another", "key").await.unwrap();
    assert_eq!(begin("another", "new", 2).await, IdempotentReply::Begun);
    // A crash cut the call off: after a minute the key is free again, and so it is after a week.
    assert_eq!(begin("another", "new", 61).await, IdempotentReply::InFlight);
    assert_eq!(begin("another", "new", 63).await, IdempotentReply::Begun);
    assert_eq!(
        begin("caller", "anew", 8 * 24 * 3600).await,
        IdempotentReply::Begun
    );
}

/// What a page is made from is kept with the operation that publishes it, sealed, goes back with one
/// that is undone, and is gone once it is erased.
pub async fn contents(bed: &dyn Bed) {
    // Not above: the keys of requests have a `begin` of their own.
    use hiendien_engine::store::Lifecycle;

    let store = bed.store();
    let made = accepted(store, "noi-dung", at(0)).await;
    let ended = async |end: RunEnd, second: i64| {
        let held = lease(store, at(second)).await.unwrap();
        store
            .end_run(&held, Vec::new(), Vec::new(), end, at(second))
            .await
            .unwrap();
    };
    ended(RunEnd::Succeeded, 1).await;
    assert_eq!(store.content(made.presence).await.unwrap(), None);
    let claim = store.claim_document(made.presence).await.unwrap().unwrap();
    assert!(claim.expose().contains("000000000000"));

    let kept = |document: Option<&str>, facts: &str| KeptContent {
        document: document.map(Secret::new),
        facts: Secret::new(facts),
    };
    let publish = async |content: &KeptContent, second: i64| {
        let presence = store.presence(made.presence).await.unwrap().unwrap();
        let operation = OperationId::new();
        let new = NewOperation {
            operation,
            presence: made.presence,
            verb: Verb::Publish,
            seen: presence.operation,
            standing: presence.standing,
            change: Change {
                content: Some(content.clone()),
                ..Change::default()
            },
            input: json!(null),
            asked_by: "nhan-hoa".to_owned(),
            asked_with: None,
            steps: vec!["build-site"],
        };
        Lifecycle::begin(store, new, at(second))
            .await
            .map(|()| operation)
    };
    let first = kept(None, "facts 1");
    publish(&first, 2).await.unwrap();
    assert_eq!(
        store.content(made.presence).await.unwrap(),
        Some(first.clone())
    );
    // One that is refused changes nothing.
    assert!(
        publish(&kept(Some("document 0"), "facts 0"), 3)
            .await
            .is_err()
    );
    assert_eq!(
        store.content(made.presence).await.unwrap(),
        Some(first.clone())
    );
    ended(RunEnd::Succeeded, 4).await;
    let second = kept(Some("document 2"), "facts 2");
    publish(&second, 5).await.unwrap();
    ended(RunEnd::Succeeded, 6).await;
    for number in 7..9 {
        let third = kept(Some("document 3"), "facts 3");
        let operation = publish(&third, number).await.unwrap();
        assert_eq!(store.content(made.presence).await.unwrap(), Some(third));
        let turned = store.abandon(operation, at(number)).await.unwrap();
        assert_eq!(turned, Abandoning::Begun);
        ended(RunEnd::Undone, number).await;
        assert_eq!(
            store.content(made.presence).await.unwrap(),
            Some(second.clone())
        );
    }
    store.erase(made.presence, at(10)).await.unwrap();
    assert_eq!(store.content(made.presence).await.unwrap(), None);
    assert_eq!(store.claim_document(made.presence).await.unwrap(), None);
}

/// A key is found by its hash, a name has one key, and an ended key is gone.
pub async fn api_keys(bed: &dyn Bed) {
    let store = bed.store();
    let key = |name: &str, registrar: Option<&str>| ApiKey {
        name: name.to_owned(),
        registrar: registrar.map(str::to_owned),
    };
    let (clerk, operator) = (key("clerk", Some("nhan-hoa")), key("Operator", None));
    store.put([1; 32], &clerk, at(0)).await.unwrap();
    store.put([2; 32], &operator, at(0)).await.unwrap();
    assert_eq!(store.find(&[1; 32]).await.unwrap(), Some(clerk.clone()));
    assert_eq!(store.find(&[3; 32]).await.unwrap(), None);
    store.put([3; 32], &clerk, at(1)).await.unwrap();
    assert_eq!(store.find(&[1; 32]).await.unwrap(), None);
    assert_eq!(store.find(&[3; 32]).await.unwrap(), Some(clerk.clone()));
    // By their octets, whatever language the database speaks.
    assert_eq!(store.list().await.unwrap(), [operator, clerk]);
    let users = bed.users(8).await;
    let shared = key("shared", None);
    let racers = (10u8..)
        .zip(&users)
        .map(|(number, user)| user.put([number; 32], &shared, at(2)));
    assert!(join_all(racers).await.iter().all(Result::is_ok));
    assert_eq!(store.list().await.unwrap().len(), 3);
    assert!(ApiKeys::remove(store, "clerk").await.unwrap());
    assert!(!ApiKeys::remove(store, "clerk").await.unwrap());
    assert_eq!(store.find(&[3; 32]).await.unwrap(), None);
}

/// Whoever waits for changes is told of a commit, one of another process as well.
pub async fn changes(bed: &dyn Bed) {
    let store = bed.store();
    let other = bed.users(1).await.remove(0);
    let mut told = OperationLog::changes(store);
    // The listener tells once when it has come about.
    told.mark_unchanged();
    let limit = Duration::from_secs(10);
    let mut number = 0;
    loop {
        accepted(&other, &format!("tin-{number}"), at(0)).await;
        number += 1;
        let before = std::time::Instant::now();
        tokio::time::timeout(limit, told.changed())
            .await
            .unwrap()
            .unwrap();
        if number > 3 {
            assert!(before.elapsed() < Duration::from_secs(1));
            break;
        }
    }
    assert_eq!(store.events(None, 0, 10).await.unwrap().len(), number);
}
