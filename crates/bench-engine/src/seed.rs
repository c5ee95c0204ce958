//! Fills a store with presences that were provisioned long ago: copies of one that really was, with
//! identifiers, names and subjects of their own, so that rows are in proportion.

use anyhow::Context as _;

use crate::place::{Site, Sql};

/// Endpoints beside which those of a claim's registrar are looked up.
const ENDPOINTS: u32 = 200;

/// Identifiers like ours, which begin with their moment: `h` counts, `r` is drawn by lot.
fn identifier(random: &str) -> String {
    format!(
        "'0190' || substr(h, 1, 4) || '-' || substr(h, 5, 4) || '-7' || substr({random}, 1, 3)
         || '-8' || substr({random}, 4, 3) || '-' || substr({random}, 7, 12)"
    )
}

/// Presences of one transaction: the journal of more would be as large as the store.
const CHUNK: u32 = 50_000;

/// The first presence of the store is the model.
pub(crate) fn fill(site: &Site, presences: u32) -> anyhow::Result<()> {
    let mut sql = site.sql()?;
    let model = sql.rows("SELECT id FROM presence ORDER BY id LIMIT 1")?;
    let model = &model.first().context("a presence to copy")?[0];
    if let Sql::Sqlite(_) = sql {
        // Made once and thrown away with the run; what is measured afterwards is as durable as ever.
        sql.run(
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA temp_store = MEMORY",
        )?;
    }
    let mut first = 1;
    while first <= presences {
        let last = presences.min(first + CHUNK - 1);
        chunk(&mut sql, model, first, last)?;
        first = last + 1;
    }
    if let Sql::Postgres(_) = sql {
        // What its own daemon would have done by the time there are that many.
        sql.run("VACUUM ANALYZE")
            .and_then(|()| sql.run("CHECKPOINT"))?;
    }
    Ok(())
}

fn chunk(sql: &mut Sql, model: &str, first: u32, last: u32) -> anyhow::Result<()> {
    let series = match &sql {
        Sql::Sqlite(_) => format!(
            "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
             SELECT i, printf('%08x', i) AS h, lower(hex(randomblob(16))) AS r1,
                 lower(hex(randomblob(16))) AS r2, lower(hex(randomblob(16))) AS r3,
                 lower(hex(randomblob(16))) AS subject FROM n"
        ),
        Sql::Postgres(_) => format!(
            "SELECT i, lpad(to_hex(i), 8, '0') AS h, md5(random()::text) AS r1,
                 md5(random()::text) AS r2, md5(random()::text) AS r3,
                 md5(random()::text) AS subject FROM generate_series({first}, {last}) AS n(i)"
        ),
    };
    let (claim, presence, operation) = (identifier("r1"), identifier("r2"), identifier("r3"));
    sql.run(&format!(
        "CREATE TEMPORARY TABLE drawn AS {series};
         CREATE TEMPORARY TABLE seed AS
             SELECT i, {claim} AS claim, {presence} AS presence, {operation} AS operation, subject FROM drawn;
         BEGIN;
         INSERT INTO claim (id, presence_id, operation_id, registrar, reference, fingerprint, document,
             received_at)
         SELECT seed.claim, seed.presence, seed.operation, registrar, 'seed-' || i, fingerprint, document,
             received_at
         FROM seed CROSS JOIN claim WHERE claim.presence_id = '{model}';
         INSERT INTO presence (id, claim_id, registrar, reference, name, held_name, subject_key, standing,
             state, plan, created_at, live_at, operation_id, revision, published_at, service, care_at)
         SELECT seed.presence, seed.claim, registrar, 'seed-' || i, 'seed-' || i || '.biz.vn',
             'seed-' || i || '.biz.vn', subject, standing, state, plan, created_at, live_at,
             seed.operation, revision, published_at, service, created_at + 864000000 + i
         FROM seed CROSS JOIN presence WHERE presence.id = '{model}';
         INSERT INTO plane (presence_id, plane, state, reason, since, next_attempt_at)
         SELECT presence, plane, state, reason, since, next_attempt_at
         FROM seed CROSS JOIN plane WHERE plane.presence_id = '{model}';
         INSERT INTO operation (id, presence_id, verb, state, direction, input, prior, asked_by, created_at,
             ended_at, due_at, lease_owner, fence, reason)
         SELECT seed.operation, seed.presence, verb, state, direction, input, prior, asked_by, created_at,
             ended_at, due_at, lease_owner, fence, reason
         FROM seed CROSS JOIN operation WHERE operation.presence_id = '{model}';
         INSERT INTO step (operation_id, name, position, state, attempt, output, error, started_at, ended_at,
             next_attempt_at)
         SELECT seed.operation, name, position, step.state, attempt, output, error, started_at, step.ended_at,
             next_attempt_at
         FROM seed CROSS JOIN operation JOIN step ON step.operation_id = operation.id
         WHERE operation.presence_id = '{model}';
         INSERT INTO event (at, presence_id, operation_id, kind, step, detail)
         SELECT at, seed.presence, seed.operation, kind, step, detail
         FROM seed CROSS JOIN event WHERE event.presence_id = '{model}' ORDER BY seed.i, event.sequence;"
    ))?;
    // Endpoints of other registrars; two deliveries of each presence that are over, and a waiting one of each
    // tenth.
    sql.run(&format!(
        "INSERT INTO webhook (id, registrar, name, url, wanted, secrets, state, created_at)
         SELECT claim, 'seed-' || i, 'crm', 'https://crm.test/' || i, '[]', {digits}, 'enabled', 0
         FROM seed WHERE i <= {ENDPOINTS};
         CREATE TEMPORARY TABLE endpoint AS
             SELECT id, CAST(substr(registrar, 6) AS INTEGER) AS i FROM webhook WHERE registrar LIKE 'seed-%';
         INSERT INTO webhook_delivery (webhook_id, lane, message, sequence, kind, told, state, queued_at,
             changed_at)
         SELECT endpoint.id, seed.presence, 'msg_' || seed.subject, seed.i, 'presence.live', '{{}}',
             'delivered', seed.i, seed.i
         FROM seed JOIN endpoint ON endpoint.i = seed.i % {ENDPOINTS} + 1;
         INSERT INTO webhook_delivery (webhook_id, lane, message, sequence, kind, told, state, queued_at,
             changed_at)
         SELECT endpoint.id, seed.presence, 'msq_' || seed.subject, seed.i, 'plane.ready', '{{}}',
             CASE WHEN seed.i % 10 = 0 THEN 'waiting' ELSE 'delivered' END, seed.i, seed.i
         FROM seed JOIN endpoint ON endpoint.i = seed.i % {ENDPOINTS} + 1;
         INSERT INTO webhook_lane (webhook_id, lane, due_at)
         SELECT endpoint.id, seed.presence, 4102444800000 + seed.i
         FROM seed JOIN endpoint ON endpoint.i = seed.i % {ENDPOINTS} + 1 WHERE seed.i % 10 = 0;
         COMMIT;
         DROP TABLE endpoint;
         DROP TABLE seed;
         DROP TABLE drawn;",
        digits = match &sql {
            Sql::Sqlite(_) => "zeroblob(100)",
            Sql::Postgres(_) => "decode(repeat('00', 100), 'hex')",
        }
    ))?;
    match &sql {
        Sql::Sqlite(_) => sql.run("PRAGMA wal_checkpoint(TRUNCATE)"),
        Sql::Postgres(_) => Ok(()),
    }
}
