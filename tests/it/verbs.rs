//! The standard runs of every verb and of every step, on both stores: it succeeds; each step
//! repeated; a failure before the effect; the effect happened and the reply was lost; the worker
//! killed between any two log lines; and, where a verb can be undone, refused at each step and
//! abandoned. The steps are listed by the code, so a new one is covered without being named here;
//! a new verb does not compile until [`story`] says how it comes about.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::SiteContent;
use hiendien_domain::document::Facts;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{Direction, OperationState, Verb};
use hiendien_domain::secret::Secret;
use hiendien_engine::clock::Clock;
use hiendien_engine::operation::{Operation, PlaneChange, RunEnd, StepLog};
use hiendien_engine::ports::{
    CertificateOrder, CertificateVault, FailureKind, Mailboxes, PortError, SiteService, ZoneSource,
    Zones,
};
use hiendien_engine::presence::Presence;
use hiendien_engine::request::{Asked, By, NewContent, Registrant, Request, ask};
use hiendien_engine::retry::RetryPolicy;
use hiendien_engine::step::Ports;
use hiendien_engine::store::{
    Abandoning, Directory, Intake, KeptContent, Lease, LeaseError, Lifecycle, OperationLog,
    Publications,
};
use hiendien_engine::verbs;
use hiendien_engine::worker::{Injection, WorkerSettings, work};
use hiendien_store::{Place, Store, StoreSettings, migrate};
use integration_tests::conformance::store::claim;
use integration_tests::postgres::Postgres;
use integration_tests::world::{MovedClock, World};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, watch};

/// A step that has not come to its end by then never will.
const LIMIT: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_secs(30);

/// Which fault a run makes, at which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    EachTwice,
    Before(&'static str),
    ReplyLost(&'static str),
    RefusedBefore(&'static str),
    RefusedAfter(&'static str),
}

#[derive(Debug)]
struct Faults {
    of: Fault,
    /// Undoing: each step fails once, and is repeated when it does not.
    undo_fails_once: bool,
}

impl Injection for Faults {
    fn before(&self, step: &'static str, attempt: u32, direction: Direction) -> Option<PortError> {
        let lost = || PortError::transient("reaching the server", "the line was cut");
        match (direction, self.of) {
            (Direction::Undo, _) => (self.undo_fails_once && attempt == 1).then(lost),
            (Direction::Apply, Fault::Before(at)) => (step == at && attempt == 1).then(lost),
            (Direction::Apply, Fault::RefusedBefore(at)) => {
                (step == at).then(|| PortError::rejected("asking the server", "it says no"))
            }
            _ => None,
        }
    }

    fn after(&self, step: &'static str, attempt: u32, direction: Direction) -> Option<PortError> {
        match (direction, self.of) {
            (Direction::Apply, Fault::ReplyLost(at)) => (step == at && attempt == 1)
                .then(|| PortError::transient("reading the reply", "the line was cut")),
            (Direction::Apply, Fault::RefusedAfter(at)) => {
                (step == at).then(|| PortError::rejected("reading the reply", "it says no"))
            }
            _ => None,
        }
    }

    fn times(&self, _: &'static str, direction: Direction) -> u32 {
        let repeated = match direction {
            Direction::Apply => self.of == Fault::EachTwice,
            Direction::Undo => self.undo_fails_once,
        };
        if repeated { 2 } else { 1 }
    }
}

/// A log that lets its worker die at one of its writes.
struct Deadly {
    log: Arc<dyn OperationLog>,
    /// Writes so far.
    writes: AtomicUsize,
    /// The write at which it dies, and whether the write itself is made.
    dies_at: Option<(usize, bool)>,
    died: Notify,
}

impl Deadly {
    fn new(log: Arc<dyn OperationLog>, dies_at: Option<(usize, bool)>) -> Arc<Self> {
        Arc::new(Self {
            log,
            writes: AtomicUsize::new(0),
            dies_at,
            died: Notify::new(),
        })
    }

    /// Whether the write about to be made is the deadly one; `Some(true)` when it is still made.
    fn deadly(&self) -> Option<bool> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        self.dies_at
            .filter(|(at, _)| *at == number)
            .map(|(_, made)| made)
    }

    async fn die(&self) -> ! {
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl OperationLog for Deadly {
    async fn lease_next(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<(Lease, Operation, Presence)>, PortError> {
        self.log.lease_next(worker, now, lease).await
    }

    async fn extend(&self, lease: &Lease, now: Timestamp, by: Duration) -> Result<(), LeaseError> {
        self.log.extend(lease, now, by).await
    }

    async fn write(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        match self.deadly() {
            Some(false) => self.die().await,
            Some(true) => {
                self.log.write(lease, lines, planes, now).await?;
                self.die().await
            }
            None => self.log.write(lease, lines, planes, now).await,
        }
    }

    async fn end_run(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        end: RunEnd,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        match self.deadly() {
            Some(false) => self.die().await,
            Some(true) => {
                self.log.end_run(lease, lines, planes, end, now).await?;
                self.die().await
            }
            None => self.log.end_run(lease, lines, planes, end, now).await,
        }
    }

    async fn retry(&self, operation: OperationId, now: Timestamp) -> Result<bool, PortError> {
        self.log.retry(operation, now).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.log.changes()
    }
}

fn settings(name: &str, faults: Faults) -> WorkerSettings {
    WorkerSettings {
        lease: LEASE,
        retry: RetryPolicy {
            first_max: Duration::from_millis(2),
            wait_max: Duration::from_millis(10),
        },
        poll: Duration::from_millis(20),
        injection: Some(Arc::new(faults)),
        ..WorkerSettings::named(name)
    }
}

/// Works until the operation comes to one of these states.
async fn run(world: &World, operation: OperationId, faults: Faults, until: &[OperationState]) {
    let (stop, stopping) = watch::channel(false);
    let log: Arc<dyn OperationLog> = world.store.clone();
    let worker = tokio::spawn(work(
        settings("worker", faults),
        log,
        Arc::clone(&world.ports),
        stopping,
    ));
    comes_to(world, operation, until).await;
    stop.send_replace(true);
    worker.await.unwrap();
}

async fn comes_to(world: &World, operation: OperationId, until: &[OperationState]) {
    let mut changes = Directory::changes(&*world.store);
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            changes.borrow_and_update();
            let found = world.store.operation(operation).await.unwrap().unwrap();
            if until.contains(&found.state) {
                return;
            }
            // A hint; another process's changes may come without one.
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    });
    if waited.await.is_err() {
        let found = world.store.operation(operation).await.unwrap().unwrap();
        panic!("it should come to {until:?}, and stays {found:#?}");
    }
}

const DONE: &[OperationState] = &[OperationState::Succeeded];
const NO_FAULTS: Faults = Faults {
    of: Fault::None,
    undo_fails_once: false,
};

async fn accept(world: &World, label: &str) -> (PresenceId, OperationId) {
    let new = hiendien_engine::store::NewClaim {
        steps: verbs::step_names(Verb::Provision),
        ..claim("nha-dang-ky-mau", label)
    };
    let accepted = world.store.accept(new, world.clock.now()).await.unwrap();
    (accepted.presence, accepted.operation)
}

pub(crate) async fn asked(
    store: &Store,
    ports: &Ports,
    presence: PresenceId,
    request: Request,
) -> OperationId {
    let (rules, now) = (&ports.settings.term, ports.clock.now());
    match ask(
        store,
        store,
        rules,
        presence,
        &request,
        By::name("test"),
        now,
    )
    .await
    {
        Ok(Asked::Begun(operation)) => operation,
        other => panic!("{request:?}: {other:?}"),
    }
}

async fn done(world: &World, presence: PresenceId, request: Request) {
    let operation = asked(&world.store, &world.ports, presence, request).await;
    run(world, operation, NO_FAULTS, DONE).await;
}

pub(crate) async fn new_content(store: &Store, presence: PresenceId) -> Request {
    let found = store.presence(presence).await.unwrap().unwrap();
    let mut page = found.plan.content;
    match &mut page {
        SiteContent::Business(content) => "Nội dung mới".clone_into(&mut content.about),
        SiteContent::Cv(content) => "Nội dung mới".clone_into(&mut content.summary),
    }
    Request::Publish {
        template: None,
        content: Some(Box::new(NewContent {
            kept: KeptContent {
                document: Some(Secret::new("văn bản mẫu")),
                facts: Facts::of_page(&page).to_json(),
            },
            page,
        })),
    }
}

/// Brings the world to where the verb can be asked, and asks it.
async fn story(bed: &Bed, verb: Verb) -> (PresenceId, OperationId) {
    let world = &bed.world;
    let (presence, operation) = accept(world, &bed.label).await;
    if verb == Verb::Provision {
        return (presence, operation);
    }
    run(world, operation, NO_FAULTS, DONE).await;
    let address = format!("lien-he@{}.biz.vn", bed.label).parse().unwrap();
    let password = Secret::new("mật khẩu mẫu");
    let set = world.mail.set_password(presence, &address, &password).await;
    set.unwrap();
    let suspend = Request::Suspend {
        reason: "để thử".to_owned(),
    };
    let request = match verb {
        Verb::Provision => unreachable!("returned above"),
        Verb::Publish => new_content(&world.store, presence).await,
        Verb::Rollback => {
            let first = world.presence(presence).await.revision.unwrap();
            let publish = new_content(&world.store, presence).await;
            done(world, presence, publish).await;
            let served = world.presence(presence).await.revision;
            assert_ne!(served.as_ref(), Some(&first));
            Request::Rollback { revision: first }
        }
        Verb::Suspend => suspend,
        Verb::Resume => {
            done(world, presence, suspend).await;
            Request::Resume
        }
        Verb::Expire => Request::Expire,
        Verb::Renew => {
            done(world, presence, Request::Expire).await;
            // Past the day on which its certificate is to be renewed.
            world.clock.forward(Duration::from_hours(61 * 24));
            Request::Renew {
                term_ends_at: Some(world.clock.now() + jiff::SignedDuration::from_hours(24 * 365)),
            }
        }
        Verb::Transfer => Request::Transfer {
            registrar: Some(("nha-dang-ky-khac".to_owned(), "chuyen-1".to_owned())),
            registrant: Some(Registrant {
                owner_name: "Chủ mới (mẫu)".to_owned(),
                contact_email: "chu-moi@example.vn".parse().unwrap(),
            }),
        },
        Verb::RenameMailbox => Request::RenameMailbox {
            from: "lien-he".parse().unwrap(),
            to: "cua-hang".parse().unwrap(),
        },
        Verb::ResetPassword => Request::ResetPassword {
            mailbox: "lien-he".parse().unwrap(),
        },
        Verb::Repair => {
            // A server has lost what it was given, on every plane.
            let name = world.presence(presence).await.plan.name;
            world.store.remove_zone(presence, &name).await.unwrap();
            world.store.withdraw(presence).await.unwrap();
            world.mail.lose(presence);
            Request::Repair
        }
        Verb::Release => Request::Release,
        Verb::Purge => {
            done(world, presence, Request::Release).await;
            Request::Purge
        }
    };
    let operation = asked(&world.store, &world.ports, presence, request).await;
    (presence, operation)
}

/// Where the stores of a run are kept.
enum Stores {
    /// A file for each run.
    Sqlite,
    /// One database for all; each run has a name of its own in it.
    Postgres {
        store: Arc<Store>,
        clock: MovedClock,
        runs: AtomicUsize,
        _server: Postgres,
    },
}

/// A world for one run, the label of its name, and a folder for its files.
struct Bed {
    world: World,
    label: String,
    _folder: tempfile::TempDir,
}

impl Stores {
    async fn bed(&self) -> Bed {
        // In memory where there is such a place: what is killed here is a worker, not the machine.
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let (world, label) = match self {
            Self::Sqlite => {
                let place = Place::Sqlite(folder.path().join("store.db"));
                (World::at(place, folder.path()).await, "quan-mau".to_owned())
            }
            Self::Postgres {
                store, clock, runs, ..
            } => {
                let world = World::on(Arc::clone(store), clock.clone(), folder.path());
                let run = runs.fetch_add(1, Ordering::SeqCst);
                (world, format!("quan-mau-{run}"))
            }
        };
        Bed {
            world,
            label,
            _folder: folder,
        }
    }

    async fn postgres() -> Self {
        let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
        let place = Place::Postgres(server.settings());
        let clock = MovedClock::default();
        let key = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            place,
            seal_key: key.path().join("seal.key"),
        };
        let of_store = Arc::new(clock.clone());
        let opened = tokio::task::spawn_blocking(move || {
            migrate(&settings.place).unwrap();
            Store::open(&settings, of_store).unwrap()
        });
        Self::Postgres {
            store: Arc::new(opened.await.unwrap()),
            clock,
            runs: AtomicUsize::new(0),
            _server: server,
        }
    }
}

/// What there is in the end, and what was done on the way.
async fn outcome(bed: &Bed, presence: PresenceId) -> (Value, Value) {
    let world = &bed.world;
    (world.picture(presence).await, world.deeds(&bed.label))
}

async fn stands_its_runs(stores: &Stores, verb: Verb) {
    // It succeeds. Its log lines are counted on the way, for the kills below.
    let bed = stores.bed().await;
    let world = &bed.world;
    let (presence, operation) = story(&bed, verb).await;
    let log = Deadly::new(world.store.clone(), None);
    let (stop, stopping) = watch::channel(false);
    let counted: Arc<dyn OperationLog> = log.clone();
    let worker = tokio::spawn(work(
        settings("worker", NO_FAULTS),
        counted,
        Arc::clone(&world.ports),
        stopping,
    ));
    comes_to(world, operation, DONE).await;
    stop.send_replace(true);
    worker.await.unwrap();
    let writes = log.writes.load(Ordering::SeqCst);
    let good = outcome(&bed, presence).await;
    drop(bed);

    let steps = verbs::step_names(verb);
    let mut faults = vec![Fault::EachTwice];
    for step in &steps {
        faults.push(Fault::Before(step));
        faults.push(Fault::ReplyLost(step));
    }
    for fault in faults {
        let bed = stores.bed().await;
        let (presence, operation) = story(&bed, verb).await;
        let injected = Faults {
            of: fault,
            undo_fails_once: false,
        };
        run(&bed.world, operation, injected, DONE).await;
        let found = outcome(&bed, presence).await;
        assert_eq!(found, good, "{verb} with {fault:?}");
    }

    for (at, made) in (0..writes).flat_map(|at| [(at, false), (at, true)]) {
        let bed = stores.bed().await;
        let world = &bed.world;
        let (presence, operation) = story(&bed, verb).await;
        let log = Deadly::new(world.store.clone(), Some((at, made)));
        let (_stop, stopping) = watch::channel(false);
        let deadly: Arc<dyn OperationLog> = log.clone();
        let worker = tokio::spawn(work(
            settings("worker-that-dies", NO_FAULTS),
            deadly,
            Arc::clone(&world.ports),
            stopping,
        ));
        // Steps that end together share a write, so a run may have fewer than the first had.
        tokio::select! {
            () = log.died.notified() => {}
            () = comes_to(world, operation, DONE) => {}
        }
        worker.abort();
        let _ = worker.await;
        world.clock.forward(LEASE);
        run(world, operation, NO_FAULTS, DONE).await;
        let found = outcome(&bed, presence).await;
        assert_eq!(found, good, "{verb} killed at write {at} (made: {made})");
    }

    if verb.can_be_undone() {
        for step in steps {
            for fault in [Fault::RefusedBefore(step), Fault::RefusedAfter(step)] {
                is_undone(stores, verb, fault).await;
            }
        }
    }
}

/// Refused for good at a step, abandoned, and undone, with every undo failing once and repeated.
async fn is_undone(stores: &Stores, verb: Verb, fault: Fault) {
    let bed = stores.bed().await;
    let world = &bed.world;
    let (presence, operation) = story(&bed, verb).await;
    let before = world
        .store
        .operation(operation)
        .await
        .unwrap()
        .unwrap()
        .before;
    let injected = Faults {
        of: fault,
        undo_fails_once: false,
    };
    run(world, operation, injected, &[OperationState::Stuck]).await;
    let stuck = world.store.operation(operation).await.unwrap().unwrap();
    assert!(stuck.reason.is_some(), "a stuck operation says why");
    let now = world.clock.now();
    let abandoned = world.store.abandon(operation, now).await.unwrap();
    assert_eq!(abandoned, Abandoning::Begun);
    let injected = Faults {
        of: Fault::None,
        undo_fails_once: true,
    };
    run(world, operation, injected, &[OperationState::Abandoned]).await;

    let picture = world.picture(presence).await;
    let told = format!("{verb} undone after {fault:?}: {picture:#}");
    match before {
        None => {
            assert_eq!(picture["standing"], "abandoned", "{told}");
            for gone in ["zone", "delegation"] {
                assert!(picture[gone].is_null(), "{told}");
            }
            assert_eq!(picture["certificates"], 0, "{told}");
            assert_eq!(picture["order"], false, "{told}");
            assert_eq!(picture["revisions"], 0, "{told}");
            assert!(picture["mail"]["domain"].is_null(), "{told}");
            assert_eq!(picture["mail"]["stored"], false, "{told}");
            for host in picture["hosts"].as_object().unwrap().values() {
                assert!(
                    host["site"].is_null() && host["certificate"] == false,
                    "{told}"
                );
            }
            // The name is free: it is granted again, and comes to life.
            let again = hiendien_engine::store::NewClaim {
                steps: verbs::step_names(Verb::Provision),
                reference: format!("again-{}", bed.label),
                ..claim("nha-dang-ky-mau", &bed.label)
            };
            let again = world.store.accept(again, world.clock.now()).await.unwrap();
            run(world, again.operation, NO_FAULTS, DONE).await;
            assert_eq!(world.picture(again.presence).await["state"], "live");
        }
        Some(before) => {
            assert_eq!(picture["standing"], before.standing.word(), "{told}");
            assert_eq!(picture["state"], before.state.word(), "{told}");
            assert_eq!(picture["registrar"], before.registrar, "{told}");
            assert_eq!(picture["owner"], before.plan.owner_name, "{told}");
            assert_eq!(world.presence(presence).await.plan, before.plan, "{told}");
            let shown = &picture["hosts"]["NAME.biz.vn"]["site"];
            if verb != Verb::Repair {
                let revision = world.presence(presence).await.revision;
                assert_eq!(revision, before.revision, "{told}");
                assert_eq!(shown["is_newest"], true, "{told}");
                assert!(!picture["zone"].is_null(), "{told}");
                let boxes = picture["mail"]["domain"]["mailboxes"].as_object().unwrap();
                let kept: Vec<_> = boxes.keys().cloned().collect();
                assert_eq!(kept, ["lien-he"], "{told}");
                let aliases = picture["mail"]["domain"]["aliases"].as_array().unwrap();
                assert!(aliases.is_empty(), "{told}");
            }
        }
    }
}

async fn on_sqlite(verb: Verb) {
    stands_its_runs(&Stores::Sqlite, verb).await;
}

async fn on_postgres(verb: Verb) {
    stands_its_runs(&Stores::postgres().await, verb).await;
}

/// A worker that slept through its lease, and wakes up when others have ended the operation, makes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_when_no_operation_is_under_way() {
    let bed = Stores::Sqlite.bed().await;
    let world = &bed.world;
    let (id, operation) = story(&bed, Verb::Provision).await;
    run(world, operation, NO_FAULTS, DONE).await;
    let presence = world.presence(id).await;
    let name = presence.plan.name.clone();
    let (store, apex) = (Arc::clone(&world.store), name.clone());
    let zone = tokio::task::spawn_blocking(move || store.zone(&apex))
        .await
        .unwrap();
    let zone = zone.unwrap().unwrap().spec;
    let revision = presence.revision.unwrap();
    let now = world.clock.now();
    let order = CertificateOrder {
        directory: "https://ca.test/dir".to_owned(),
        order_url: "https://ca.test/order/1".to_owned(),
        key_pem: Secret::new("key"),
        names: vec![name.clone()],
    };
    let tried = [
        world.store.put_zone(id, &zone).await.map(drop),
        world.store.publish(id, &name, &revision, now).await,
        world.store.set_service(id, SiteService::Suspended).await,
        world.store.put_order(id, &order).await,
    ];
    for refused in tried {
        assert_eq!(refused.unwrap_err().kind, FailureKind::Rejected);
    }
    assert!(world.store.order(id).await.unwrap().is_none());
}

/// One test a verb and store, so that they run side by side; `every_verb_is_run` holds the list complete.
macro_rules! standard_runs {
    ($($name:ident = $verb:ident,)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::on_sqlite(super::Verb::$verb).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::on_postgres(super::Verb::$verb).await;
            })+
        }

        #[test]
        fn every_verb_is_run() {
            assert_eq!(Verb::ALL, [$(Verb::$verb),+]);
        }
    };
}

standard_runs! {
    provision = Provision,
    publish = Publish,
    rollback = Rollback,
    suspend = Suspend,
    resume = Resume,
    expire = Expire,
    renew = Renew,
    transfer = Transfer,
    rename_mailbox = RenameMailbox,
    reset_password = ResetPassword,
    repair = Repair,
    release = Release,
    purge = Purge,
}
