//! Several workers on one PostgreSQL: they share the work, and one that is frozen for longer than
//! its lease and wakes up changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::lab::{Api, Lab, variant};
use integration_tests::wait::wait_for;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(3);
const CLAIMS: usize = 18;

/// Which worker process began which operation, the last time, by its events.
async fn workers_of(api: &Api, presence: &str) -> Vec<String> {
    let (_, _, page) = api.get(&format!("/v1/presences/{presence}/events")).await;
    let events = page["events"].as_array().unwrap();
    let running = events
        .iter()
        .filter(|event| event["kind"] == "operation.running");
    running
        .map(|event| {
            let worker = event["detail"]["worker"].as_str().unwrap();
            worker.split('-').next().unwrap().to_owned()
        })
        .collect()
}

async fn operation(api: &Api, presence: &Value) -> Value {
    let id = presence["operation"].as_str().unwrap();
    api.get(&format!("/v1/operations/{id}")).await.2
}

/// Whether the operation of a name is under way, begun last by this worker.
async fn works_on(api: &Api, name: &str, worker: &str) -> bool {
    let (_, _, presence) = api.get(&format!("/v1/presences/{name}")).await;
    operation(api, &presence).await["state"] == "running"
        && workers_of(api, name).await.last().map(String::as_str) == Some(worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_share_the_work_and_a_frozen_one_corrupts_nothing() {
    let lab = Lab::start_on_postgres(|config, _| {
        config.replace("[worker]\n", "[worker]\nlease_secs = 3\n")
    });
    let api = lab.api();
    let workers: Vec<_> = (0..3)
        .map(|number| lab.worker(&format!("worker-{number}"), 2))
        .collect();
    let name = |number| format!("mau-so-{number}.biz.vn");
    for number in 0..CLAIMS {
        let claim = variant("pho-shop.json", number).to_string();
        let (status, _, answer) = api.submit(claim, &format!("claim-{number}")).await;
        assert_eq!(status, 202, "{answer:#}");
    }
    // Freeze the first in the middle of its work, for longer than its lease. Between the look and the
    // signal the work may have ended: only what still runs once it is frozen is held by it.
    let frozen = workers[0].id().to_string();
    let held = wait_for("the first worker to be frozen at work", LIMIT, async || {
        for number in 0..CLAIMS {
            if !works_on(&api, &name(number), &frozen).await {
                continue;
            }
            workers[0].signal("STOP");
            if works_on(&api, &name(number), &frozen).await {
                return Ok(name(number));
            }
            workers[0].signal("CONT");
        }
        Err("it has none".to_owned())
    })
    .await;
    wait_for("another to take what it held", LIMIT, async || {
        let workers = workers_of(&api, &held).await;
        match workers.last() {
            Some(worker) if *worker != frozen => Ok(()),
            _ => Err(format!("{workers:?}")),
        }
    })
    .await;
    // It wakes up in the middle of what another does by now.
    workers[0].signal("CONT");
    for number in 0..CLAIMS {
        api.live(&name(number), LIMIT).await;
    }

    // Awake again it takes part, and what it had held stays as the others have left it.
    for number in CLAIMS..CLAIMS + 6 {
        let claim = variant("pho-shop.json", number).to_string();
        let (status, _, _) = api.submit(claim, &format!("claim-{number}")).await;
        assert_eq!(status, 202);
        api.live(&name(number), LIMIT).await;
    }
    let mut begun = BTreeMap::new();
    for number in 0..CLAIMS + 6 {
        let (_, _, presence) = api.get(&format!("/v1/presences/{}", name(number))).await;
        assert_eq!(presence["state"], "live", "{presence:#}");
        let operation = operation(&api, &presence).await;
        for step in operation["steps"].as_array().unwrap() {
            assert_eq!(step["state"], "succeeded", "{operation:#}");
        }
        let revisions = lab
            .state()
            .join("revisions")
            .join(presence["id"].as_str().unwrap())
            .join("revisions");
        let kept: Vec<_> = std::fs::read_dir(revisions).unwrap().collect();
        assert_eq!(kept.len(), 1, "one revision, whole: {kept:?}");
        assert!(lab.page(&name(number), "/").contains("Mẫu"));
        for worker in workers_of(&api, &name(number)).await {
            *begun.entry(worker).or_insert(0) += 1;
        }
    }
    // Each took its part; the two that were awake about the same.
    let ids: Vec<String> = workers
        .iter()
        .map(|worker| worker.id().to_string())
        .collect();
    let share: Vec<i32> = ids
        .iter()
        .map(|id| begun.get(id).copied().unwrap_or(0))
        .collect();
    assert!(share.iter().all(|share| *share > 0), "{begun:?}");
    assert!(
        share[1] * 3 >= share[2] && share[2] * 3 >= share[1],
        "{begun:?}"
    );
}
