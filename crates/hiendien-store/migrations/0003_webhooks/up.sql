-- Endpoints of registrars, and the outbox of what they are told.

CREATE TABLE webhook (
    id           TEXT PRIMARY KEY,
    registrar    TEXT NOT NULL,
    name         TEXT NOT NULL,
    url          TEXT NOT NULL,
    wanted       TEXT NOT NULL,                 -- JSON
    secrets      BLOB NOT NULL,                 -- sealed: those that sign, the newest first
    state        TEXT NOT NULL,                 -- enabled, disabled (it said it is gone), removed
    created_at   INTEGER NOT NULL,
    failing      INTEGER NOT NULL DEFAULT 0,    -- failures in a row, each of another presence than the last
    failing_lane TEXT,
    paused_until INTEGER NOT NULL DEFAULT 0,
    given_up     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX webhook_name ON webhook (registrar, name) WHERE state <> 'removed';

-- What is told in order: the deliveries of one presence to one endpoint. There while one of them is not over,
-- and locked by whoever adds to it or takes from it.
CREATE TABLE webhook_lane (
    webhook_id TEXT NOT NULL REFERENCES webhook (id),
    lane       TEXT NOT NULL,                   -- the presence's identifier, or the endpoint's for a test
    due_at     INTEGER NOT NULL,                -- when the first of them may be taken
    PRIMARY KEY (webhook_id, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_lane_due ON webhook_lane (webhook_id, due_at);

CREATE TABLE webhook_delivery (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id  TEXT NOT NULL REFERENCES webhook (id),
    lane        TEXT NOT NULL,
    message     TEXT NOT NULL,
    sequence    INTEGER,                        -- of the event; NULL in a test
    kind        TEXT NOT NULL,
    told        TEXT NOT NULL,                  -- JSON
    state       TEXT NOT NULL,                  -- waiting, delivered, given_up
    queued_at   INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,     -- since it was queued
    fence       INTEGER NOT NULL DEFAULT 0,     -- times it was taken, ever
    last_status INTEGER,
    last_error  TEXT,
    next_at     INTEGER
) STRICT;
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, lane, number) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_log ON webhook_delivery (webhook_id, number);
CREATE INDEX webhook_delivery_sequence ON webhook_delivery (webhook_id, sequence);
CREATE INDEX webhook_delivery_changed ON webhook_delivery (changed_at);
