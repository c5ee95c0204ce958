-- Moments are milliseconds since 1970-01-01T00:00Z. Identifiers are UUIDs in text.

CREATE TABLE claim (
    id           TEXT PRIMARY KEY,
    presence_id  TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    registrar    TEXT NOT NULL,
    reference    TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    document     BLOB NOT NULL,                 -- sealed: holds personal data
    received_at  INTEGER NOT NULL,
    UNIQUE (registrar, reference)
) STRICT;

CREATE TABLE presence (
    id           TEXT PRIMARY KEY,
    claim_id     TEXT NOT NULL REFERENCES claim (id),
    registrar    TEXT NOT NULL,
    reference    TEXT NOT NULL,
    name         TEXT NOT NULL UNIQUE,
    subject_key  TEXT NOT NULL UNIQUE,
    state        TEXT NOT NULL,
    plan         TEXT NOT NULL,                 -- JSON
    created_at   INTEGER NOT NULL,
    live_at      INTEGER,
    operation_id TEXT NOT NULL,
    revision     TEXT,
    published_at INTEGER
) STRICT;
CREATE INDEX presence_registrar ON presence (registrar, id);

CREATE TABLE plane (
    presence_id     TEXT NOT NULL REFERENCES presence (id),
    plane           TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    since           INTEGER NOT NULL,
    next_attempt_at INTEGER,
    PRIMARY KEY (presence_id, plane)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
    id           TEXT PRIMARY KEY,
    presence_id  TEXT NOT NULL REFERENCES presence (id),
    verb         TEXT NOT NULL,
    state        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    -- When a worker may take it: its creation, the end of its pause, the expiry of its lease.
    -- NULL when no worker may.
    due_at       INTEGER,
    lease_owner  TEXT,
    fence        INTEGER NOT NULL DEFAULT 0,
    reason       TEXT
) STRICT;
CREATE INDEX operation_due ON operation (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX operation_presence ON operation (presence_id, id);
CREATE UNIQUE INDEX operation_active ON operation (presence_id) WHERE state <> 'succeeded';

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

CREATE TABLE event (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    presence_id  TEXT NOT NULL,
    operation_id TEXT,
    kind         TEXT NOT NULL,
    step         TEXT,
    detail       TEXT NOT NULL                  -- JSON
) STRICT;
CREATE INDEX event_presence ON event (presence_id, sequence);

CREATE TABLE zone (
    apex        TEXT PRIMARY KEY,
    presence_id TEXT NOT NULL,
    serial      INTEGER NOT NULL,
    spec        TEXT NOT NULL                   -- JSON
) STRICT;

CREATE TABLE challenge (
    apex  TEXT NOT NULL,
    owner TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (apex, owner, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE delegation (
    child        TEXT PRIMARY KEY,
    presence_id  TEXT NOT NULL,
    name_servers TEXT NOT NULL                  -- JSON
) STRICT;

CREATE TABLE acme_account (
    directory   TEXT PRIMARY KEY,
    credentials BLOB NOT NULL                   -- sealed
) STRICT;

CREATE TABLE certificate_order (
    presence_id TEXT PRIMARY KEY,
    directory   TEXT NOT NULL,
    order_url   TEXT NOT NULL,
    names       TEXT NOT NULL,                  -- JSON
    key_pem     BLOB NOT NULL                   -- sealed
) STRICT;

CREATE TABLE certificate (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    presence_id TEXT NOT NULL,
    serial      TEXT NOT NULL,
    names       TEXT NOT NULL,                  -- JSON
    chain_pem   TEXT NOT NULL,
    key_pem     BLOB NOT NULL,                  -- sealed
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    UNIQUE (presence_id, serial)
) STRICT;

CREATE TABLE certificate_host (
    host           TEXT PRIMARY KEY,
    certificate_id INTEGER NOT NULL REFERENCES certificate (id)
) STRICT;

CREATE TABLE route (
    host        TEXT PRIMARY KEY,
    presence_id TEXT NOT NULL,
    apex        TEXT NOT NULL,
    role        TEXT NOT NULL
) STRICT;

CREATE TABLE serving (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO serving (id, version) VALUES (1, 1);

CREATE TABLE password_link (
    token_hash  BLOB PRIMARY KEY,
    presence_id TEXT NOT NULL,
    address     TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT;
CREATE INDEX password_link_address ON password_link (presence_id, address);

CREATE TABLE api_key (
    key_hash   BLOB PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    registrar  TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    begun_at    INTEGER NOT NULL,
    status      INTEGER,
    body        TEXT,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_begun ON idempotency (begun_at);
