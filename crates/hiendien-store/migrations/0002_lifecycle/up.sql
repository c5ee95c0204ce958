-- A name may be granted again once its former holder has given it up, and what a presence is meant
-- to be stands beside how far it has come. Neither database can drop the old uniqueness alike, so the tables
-- are made anew and filled from the former ones.

DROP INDEX presence_registrar;
DROP INDEX operation_due;
DROP INDEX operation_presence;
DROP INDEX operation_active;
ALTER TABLE presence RENAME TO presence_1;
ALTER TABLE plane RENAME TO plane_1;
ALTER TABLE operation RENAME TO operation_1;
ALTER TABLE step RENAME TO step_1;

CREATE TABLE presence (
    id             TEXT PRIMARY KEY,
    claim_id       TEXT NOT NULL REFERENCES claim (id),
    registrar      TEXT NOT NULL,
    reference      TEXT NOT NULL,
    name           TEXT NOT NULL,
    held_name      TEXT UNIQUE,                 -- the name while it is held, NULL once it is free
    subject_key    TEXT UNIQUE,                 -- NULL once the subject may be granted another
    standing       TEXT NOT NULL,
    state          TEXT NOT NULL,
    plan           TEXT NOT NULL,               -- JSON
    created_at     INTEGER NOT NULL,
    live_at        INTEGER,
    operation_id   TEXT NOT NULL,
    revision       TEXT,
    published_at   INTEGER,
    service        TEXT NOT NULL DEFAULT 'serving', -- what the edge shows
    term_ends_at   INTEGER,
    ended_at       INTEGER,
    dossier_due_at INTEGER,
    held_for       TEXT,
    touched_at     INTEGER,
    reminded       TEXT,
    care_at        INTEGER                      -- when the clock looks next; NULL when never
) STRICT;
INSERT INTO presence (id, claim_id, registrar, reference, name, held_name, subject_key, standing, state,
    plan, created_at, live_at, operation_id, revision, published_at, care_at)
SELECT id, claim_id, registrar, reference, name, name, subject_key,
    CASE WHEN live_at IS NULL THEN 'provisioned' ELSE 'serving' END, state,
    plan, created_at, live_at, operation_id, revision, published_at, created_at
FROM presence_1;
CREATE INDEX presence_registrar ON presence (registrar, id);
CREATE INDEX presence_name ON presence (name);
CREATE INDEX presence_care ON presence (care_at) WHERE care_at IS NOT NULL;
CREATE INDEX presence_attention ON presence (id) WHERE state = 'needs_attention';

CREATE TABLE plane (
    presence_id     TEXT NOT NULL REFERENCES presence (id),
    plane           TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    since           INTEGER NOT NULL,
    next_attempt_at INTEGER,
    PRIMARY KEY (presence_id, plane)
) STRICT, WITHOUT ROWID;
INSERT INTO plane (presence_id, plane, state, reason, since, next_attempt_at)
SELECT presence_id, plane, state, reason, since, next_attempt_at FROM plane_1;

CREATE TABLE operation (
    id           TEXT PRIMARY KEY,
    presence_id  TEXT NOT NULL REFERENCES presence (id),
    verb         TEXT NOT NULL,
    state        TEXT NOT NULL,
    direction    TEXT NOT NULL DEFAULT 'apply',
    input        TEXT NOT NULL DEFAULT 'null',  -- JSON, what the verb was asked with
    prior        TEXT,                          -- JSON, the presence as it was; while the operation lasts
    asked_by     TEXT NOT NULL DEFAULT 'registrar',
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    -- When a worker may take it: its creation, the end of its pause, the expiry of its lease.
    -- NULL when no worker may.
    due_at       INTEGER,
    lease_owner  TEXT,
    fence        INTEGER NOT NULL DEFAULT 0,
    reason       TEXT
) STRICT;
INSERT INTO operation (id, presence_id, verb, state, created_at, ended_at, due_at, lease_owner, fence, reason)
SELECT id, presence_id, verb, state, created_at, ended_at, due_at, lease_owner, fence, reason FROM operation_1;
CREATE INDEX operation_due ON operation (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX operation_presence ON operation (presence_id, id);
CREATE UNIQUE INDEX operation_active ON operation (presence_id) WHERE state NOT IN ('succeeded', 'abandoned');

CREATE TABLE step (
    operation_id    TEXT NOT NULL REFERENCES operation (id),
    name            TEXT NOT NULL,
    position        INTEGER NOT NULL,
    state           TEXT NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,
    output          TEXT,                       -- JSON
    error           TEXT,
    started_at      INTEGER,
    ended_at        INTEGER,
    next_attempt_at INTEGER,
    PRIMARY KEY (operation_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO step (operation_id, name, position, state, attempt, output, error, started_at, ended_at, next_attempt_at)
SELECT operation_id, name, position, state, attempt, output, error, started_at, ended_at, next_attempt_at FROM step_1;

DROP TABLE step_1;
DROP TABLE operation_1;
DROP TABLE plane_1;
DROP TABLE presence_1;

-- The operation that a key has begun, written with it: a repeat gets it, whatever became of the answer.
ALTER TABLE idempotency ADD COLUMN operation_id TEXT;

CREATE INDEX zone_presence ON zone (presence_id);
CREATE INDEX route_presence ON route (presence_id);
CREATE INDEX certificate_host_certificate ON certificate_host (certificate_id);
