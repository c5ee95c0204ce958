//! The store: one contract on two databases, and what each does by itself.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::lifecycle::{Plane, PlaneState};
use hiendien_engine::operation::{PlaneChange, StepLog};
use hiendien_engine::ports::{ErrorChain, FailureKind};
use hiendien_engine::store::{Directory, Intake, OperationLog};
use hiendien_store::{
    Migrated, Place, PostgresSettings, SCHEMA_VERSION, Store, StoreError, StoreSettings, migrate,
    migrate_to,
};
use integration_tests::conformance::store::{self as suite, Bed, SetClock, at, claim};
use integration_tests::postgres::Postgres;
use integration_tests::wait::wait_for;
use tempfile::TempDir;

const LEASE: Duration = Duration::from_mins(1);

struct Sqlite {
    store: Store,
    clock: SetClock,
    _folder: TempDir,
}

struct Server {
    store: Option<Store>,
    clock: SetClock,
    folder: TempDir,
    postgres: Postgres,
}

async fn open(place: Place, folder: &TempDir, clock: &SetClock) -> Result<Store, StoreError> {
    let settings = StoreSettings {
        place,
        seal_key: folder.path().join("seal.key"),
    };
    let clock = Arc::new(clock.clone());
    tokio::task::spawn_blocking(move || Store::open(&settings, clock))
        .await
        .unwrap()
}

async fn migrated(place: Place) -> Result<Migrated, StoreError> {
    tokio::task::spawn_blocking(move || migrate(&place))
        .await
        .unwrap()
}

impl Sqlite {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = SetClock::at(1_800_000_000);
        let place = Place::Sqlite(folder.path().join("store.db"));
        Self {
            store: open(place, &folder, &clock).await.unwrap(),
            clock,
            _folder: folder,
        }
    }
}

impl Server {
    async fn start() -> Self {
        let postgres = Postgres::start();
        let folder = tempfile::tempdir().unwrap();
        let clock = SetClock::at(1_800_000_000);
        let place = Place::Postgres(postgres.settings());
        migrated(place.clone()).await.unwrap();
        Self {
            store: Some(open(place, &folder, &clock).await.unwrap()),
            clock,
            folder,
            postgres,
        }
    }

    async fn open(&self, settings: PostgresSettings) -> Store {
        open(Place::Postgres(settings), &self.folder, &self.clock)
            .await
            .unwrap()
    }
}

#[async_trait]
impl Bed for Sqlite {
    fn store(&self) -> &Store {
        &self.store
    }

    fn clock(&self) -> &SetClock {
        &self.clock
    }

    async fn users(&self, count: usize) -> Vec<Store> {
        vec![self.store.clone(); count]
    }
}

#[async_trait]
impl Bed for Server {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn clock(&self) -> &SetClock {
        &self.clock
    }

    async fn users(&self, count: usize) -> Vec<Store> {
        let mut users = Vec::new();
        for _ in 0..count {
            let settings = PostgresSettings {
                pool_max: 2,
                ..self.postgres.settings()
            };
            users.push(self.open(settings).await);
        }
        users
    }
}

macro_rules! conformance {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            use super::{Sqlite, suite};
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                suite::$story(&Sqlite::start().await).await;
            })+
        }

        mod postgres {
            use super::{Server, suite};
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                suite::$story(&Server::start().await).await;
            })+
        }
    };
}

conformance!(
    claims,
    leases,
    operation_log,
    directory,
    events_in_order,
    zones,
    certificates,
    serving,
    password_links,
    idempotency,
    contents,
    pictures,
    api_keys,
    changes,
);

/// A transaction that drew the lower sequence is held up; the one with the higher commits first.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_go_past_an_event_that_is_still_to_come() {
    let bed = Server::start().await;
    let store = bed.store();
    let made = store
        .accept(claim("nhan-hoa", "cham"), at(0))
        .await
        .unwrap();
    let (lease, _, _) = store.lease_next("a", at(1), LEASE).await.unwrap().unwrap();
    let before = store.events(None, 0, 100).await.unwrap();
    let last = before.last().unwrap().sequence;

    let mut holder = bed.postgres.session();
    let input = holder.stdin.as_mut().unwrap();
    let lock = format!(
        "BEGIN; SELECT 1 FROM plane WHERE presence_id = '{}' FOR UPDATE;\n",
        made.presence
    );
    input.write_all(lock.as_bytes()).unwrap();
    let waiting = async |kind: &str, least: &str| {
        let sql = format!("SELECT count(*) >= {least} FROM pg_stat_activity WHERE {kind}");
        wait_for(kind, Duration::from_secs(10), || async {
            match bed.postgres.ask("store", &sql).as_str() {
                "t" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    };
    waiting(
        "application_name = 'psql' AND state = 'idle in transaction'",
        "1",
    )
    .await;
    let held_up = {
        let store = store.clone();
        let line = StepLog::Started {
            step: "put_zone",
            attempt: 1,
        };
        let plane = PlaneChange {
            plane: Plane::Dns,
            state: PlaneState::Working,
            reason: None,
            next_attempt_at: None,
        };
        tokio::spawn(async move { store.write(&lease, vec![line], vec![plane], at(2)).await })
    };
    waiting(
        "application_name = 'hiendien' AND wait_event_type = 'Lock'",
        "1",
    )
    .await;
    let later = store
        .accept(claim("nhan-hoa", "nhanh"), at(3))
        .await
        .unwrap();
    assert_eq!(store.events(None, last, 100).await.unwrap(), []);
    assert_eq!(
        store.events(Some(later.presence), last, 100).await.unwrap(),
        []
    );
    assert_eq!(store.events(None, 0, 100).await.unwrap(), before);

    input.write_all(b"COMMIT;\n").unwrap();
    held_up.await.unwrap().unwrap();
    let after = store.events(None, last, 100).await.unwrap();
    let kinds: Vec<_> = after.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["step.started", "claim.accepted"]);
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_after_the_server_was_away() {
    let mut bed = Server::start().await;
    let store = bed.store.take().unwrap();
    store.accept(claim("nhan-hoa", "mot"), at(0)).await.unwrap();
    // Several idle connections, all of which will be found cut off.
    let reads = (0..8).map(|_| store.events(None, 0, 10));
    futures_util::future::join_all(reads).await;
    bed.postgres.cut();
    let gone = store.events(None, 0, 10).await.unwrap_err();
    assert!(
        matches!(gone.kind, FailureKind::Transient { .. }),
        "{}",
        ErrorChain(&gone)
    );
    let gone = store.lease_next("a", at(1), LEASE).await.unwrap_err();
    assert!(matches!(gone.kind, FailureKind::Transient { .. }));
    bed.postgres.run();
    assert_eq!(store.events(None, 0, 10).await.unwrap().len(), 1);
    bed.postgres.cut();
    bed.postgres.run();
    store.accept(claim("nhan-hoa", "hai"), at(0)).await.unwrap();

    // The listener comes back by itself.
    let other = bed.open(bed.postgres.settings()).await;
    let mut told = OperationLog::changes(&store);
    let mut number = 0;
    let told = wait_for("the listener to be back", Duration::from_secs(30), || {
        number += 1;
        told.mark_unchanged();
        let (other, mut told) = (other.clone(), told.clone());
        async move {
            let new = claim("nhan-hoa", &format!("tin-{number}"));
            other.accept(new, at(0)).await.unwrap();
            let limit = Duration::from_millis(300);
            tokio::time::timeout(limit, told.changed())
                .await
                .map_err(|_| "nothing heard")
        }
    });
    told.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_due_work_by_a_range_of_its_index() {
    let bed = Server::start().await;
    bed.postgres.ask(
        "store",
        "INSERT INTO claim (id, presence_id, operation_id, registrar, reference, fingerprint, document, received_at)
             SELECT n, n, n, 'r', n, n, '', 0 FROM generate_series(1, 20000) AS n;
         INSERT INTO presence (id, claim_id, registrar, reference, name, held_name, subject_key, standing, state, plan, created_at, operation_id, care_at)
             SELECT n, n, 'r', n, n, n, n, 'serving', 'live', '{}', 0, n, n FROM generate_series(1, 20000) AS n;
         INSERT INTO operation (id, presence_id, verb, state, created_at, due_at)
             SELECT n, n, 'provision', 'queued', 0, n FROM generate_series(1, 20000) AS n;
         ANALYZE operation",
    );
    let plan = bed.postgres.ask(
        "store",
        "SET plan_cache_mode = force_generic_plan;
         PREPARE due (bigint) AS SELECT id FROM operation WHERE due_at <= $1 ORDER BY due_at LIMIT 1
             FOR UPDATE SKIP LOCKED;
         EXPLAIN (COSTS OFF) EXECUTE due (10)",
    );
    assert!(plan.contains("Index Scan using operation_due"), "{plan}");
    assert!(!plan.contains("Sort"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn speaks_tls_and_shows_a_password_over_the_network() {
    let bed = Server::start().await;
    let settings = bed.postgres.settings_over_tls();
    let store = bed.open(settings.clone()).await;
    store.accept(claim("nhan-hoa", "tls"), at(0)).await.unwrap();
    let encrypted = bed.postgres.ask(
        "store",
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE client_addr IS NOT NULL",
    );
    assert_eq!(encrypted, "t");

    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("password");
    std::fs::write(&wrong, "wrong").unwrap();
    let with_password = format!("postgres://postgres:x@{}/store", bed.postgres.address());
    for (settings, part) in [
        (
            PostgresSettings {
                password_file: Some(wrong),
                ..settings.clone()
            },
            "password authentication failed",
        ),
        (
            PostgresSettings {
                url: with_password,
                ..settings.clone()
            },
            "holds a password",
        ),
    ] {
        let refused = open(Place::Postgres(settings), &bed.folder, &bed.clock).await;
        let refused = refused.unwrap_err();
        let told = ErrorChain(&refused).to_string();
        assert!(told.contains(part), "{told}");
    }
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrates_a_server_when_told_to_and_not_before() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at(1_800_000_000);
    let place = |database: &str| Place::Postgres(postgres.settings_of(database));
    let told = |refused: Result<Store, StoreError>| refused.unwrap_err().to_string();
    let early = told(open(place("store"), &folder, &clock).await);
    assert!(early.contains("run `hiendien migrate`"), "{early}");

    // Four processes at once: one does it, the others find it done.
    let racers = (0..4).map(|_| migrated(place("store")));
    let outcomes = futures_util::future::join_all(racers).await;
    let worked = outcomes.iter().filter(|outcome| match outcome {
        Ok(Migrated { from, to }) => {
            assert_eq!(*to, SCHEMA_VERSION);
            *from == 0
        }
        Err(error) => panic!("{}", ErrorChain(error)),
    });
    assert_eq!(worked.count(), 1);
    let newest = postgres.schema("store");
    let nothing = Migrated {
        from: SCHEMA_VERSION,
        to: SCHEMA_VERSION,
    };
    assert_eq!(migrated(place("store")).await.unwrap(), nothing);
    assert_eq!(postgres.schema("store"), newest);
    open(place("store"), &folder, &clock).await.unwrap();

    for earlier in 0..SCHEMA_VERSION {
        let database = format!("from_{earlier}");
        postgres.ask("postgres", &format!("CREATE DATABASE {database}"));
        let from = place(&database);
        tokio::task::spawn_blocking(move || {
            for version in earlier..=SCHEMA_VERSION {
                migrate_to(&from, version).unwrap();
            }
        })
        .await
        .unwrap();
        assert_eq!(postgres.schema(&database), newest, "from {earlier}");
    }

    let version = format!(
        "INSERT INTO schema_version (version) VALUES ({})",
        SCHEMA_VERSION + 1
    );
    postgres.ask("store", &version);
    let late = told(open(place("store"), &folder, &clock).await);
    assert!(late.contains("use a newer program"), "{late}");
    let late = migrated(place("store")).await.unwrap_err();
    assert!(matches!(late, StoreError::TooNew { .. }));
}
