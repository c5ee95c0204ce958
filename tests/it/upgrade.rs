//! A store written by an earlier program, with operations in flight: they end under this one.

use std::sync::Arc;
use std::time::Duration;

use hiendien_domain::lifecycle::{OperationState, Standing, Verb};
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{Certificates, MailDomain, MailService, Mailboxes};
use hiendien_engine::request::{By, Request, ask};
use hiendien_engine::store::{Directory, OperationLog};
use hiendien_engine::worker::{WorkerSettings, work};
use hiendien_store::Place;
use integration_tests::lab::root;
use integration_tests::wait::wait_for;
use integration_tests::world::World;
use rusqlite::Connection;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_begun_under_schema_1_end_under_this_program() {
    let folder = tempfile::tempdir().unwrap();
    let written = std::fs::read_to_string(root().join("tests/stores/schema-1.sql")).unwrap();
    let key = written.lines().nth(2).unwrap().trim_start_matches("-- ");
    let octets: Vec<u8> = (0..key.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap())
        .collect();
    std::fs::write(folder.path().join("seal.key"), octets).unwrap();
    let path = folder.path().join("store.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(&written)
        .unwrap();

    let world = World::at(Place::Sqlite(path), folder.path()).await;
    let presences = world.store.presences(None, None, 10).await.unwrap();
    let standings: Vec<_> = presences.iter().map(|presence| presence.standing).collect();
    assert_eq!(
        standings,
        [
            Standing::Serving,
            Standing::Provisioned,
            Standing::Provisioned
        ]
    );
    // What the earlier program had made at the mail servers is there.
    for presence in &presences {
        let operation = world
            .store
            .operation(presence.operation)
            .await
            .unwrap()
            .unwrap();
        let made = operation
            .steps
            .iter()
            .any(|step| step.name == "create-mailboxes" && step.output.is_some());
        if made {
            let domain = MailDomain {
                name: presence.plan.name.clone(),
                mailboxes: presence.plan.mailboxes.clone(),
                quota_bytes: 1 << 30,
                desk: "abuse@hiendien.test".parse().unwrap(),
                service: MailService::Active,
            };
            world.mail.put_domain(presence.id, &domain).await.unwrap();
        }
    }
    world.store.break_leases(world.clock.now()).await.unwrap();
    let (_stop, stopping) = watch::channel(false);
    let log: Arc<dyn OperationLog> = world.store.clone();
    tokio::spawn(work(
        WorkerSettings::named("worker"),
        log,
        Arc::clone(&world.ports),
        stopping,
    ));
    let succeeds = async |operation| {
        wait_for("the operation to succeed", LIMIT, async || {
            let found = world.store.operation(operation).await.unwrap().unwrap();
            if found.state == OperationState::Succeeded {
                Ok(())
            } else {
                Err(format!("{found:#?}"))
            }
        })
        .await;
    };
    for presence in &presences {
        succeeds(presence.operation).await;
        assert_eq!(
            world.presence(presence.id).await.standing,
            Standing::Serving
        );
        // The certificate that was there is the one that is served: nothing was ordered twice.
        assert!(world.ca.renewal_at(presence.id).await.unwrap().is_some());
    }
    // The one that had its certificate kept it; only the one that was killed before asked for one.
    assert!(world.ca.orders() <= 1, "{} orders", world.ca.orders());

    // What was live before has a life like any other from now on.
    let rules = &world.ports.settings.term;
    let store = &*world.store;
    let reason = "để thử".to_owned();
    let request = Request::Suspend { reason };
    let asked = ask(
        store,
        store,
        rules,
        presences[0].id,
        &request,
        By::name("test"),
        world.clock.now(),
    );
    asked.await.unwrap();
    let suspended = world.presence(presences[0].id).await;
    succeeds(suspended.operation).await;
    let last = world
        .store
        .operation(suspended.operation)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.verb, Verb::Suspend);
}
