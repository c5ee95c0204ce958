-- The engine writes; Postfix and Dovecot read the views. Everything is keyed by presence, never by name.

CREATE TABLE mail_domain (
    presence_id TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,               -- seconds since 1970; new names may send little
    state       TEXT NOT NULL DEFAULT 'active'
) STRICT;

CREATE TABLE mailbox (
    store_id    TEXT PRIMARY KEY,               -- names the directory of the mail itself
    presence_id TEXT NOT NULL REFERENCES mail_domain (presence_id),
    local_part  TEXT NOT NULL,
    address     TEXT NOT NULL UNIQUE,
    password    TEXT,                           -- Argon2id with its scheme; NULL until the owner sets one
    quota_bytes INTEGER NOT NULL,
    node        TEXT NOT NULL DEFAULT 'mail1',
    state       TEXT NOT NULL DEFAULT 'active',
    UNIQUE (presence_id, local_part)
) STRICT;

CREATE TABLE alias (
    presence_id TEXT NOT NULL REFERENCES mail_domain (presence_id),
    address     TEXT PRIMARY KEY,
    target      TEXT NOT NULL
) STRICT;

CREATE TABLE dkim_key (
    presence_id TEXT NOT NULL REFERENCES mail_domain (presence_id),
    selector    TEXT NOT NULL,
    text        TEXT NOT NULL,                  -- the record to publish
    file        TEXT NOT NULL,                  -- of the private key, in the signer's directory
    PRIMARY KEY (presence_id, selector)
) STRICT;

-- Opens one mailbox for a probe, for a moment, under a login of the probe's own.
CREATE TABLE probe_credential (
    login      TEXT PRIMARY KEY,
    address    TEXT NOT NULL,
    password   TEXT NOT NULL,
    expires_at INTEGER NOT NULL                 -- seconds since 1970
) STRICT;

CREATE VIEW v_domain AS SELECT name FROM mail_domain WHERE state = 'active';
CREATE VIEW v_mailbox AS
    SELECT m.address, m.store_id, m.password, m.quota_bytes, m.node
    FROM mailbox m JOIN mail_domain d USING (presence_id)
    WHERE m.state = 'active' AND d.state = 'active';
CREATE VIEW v_login AS SELECT address, password FROM v_mailbox WHERE password IS NOT NULL;
CREATE VIEW v_alias AS
    SELECT a.address, a.target FROM alias a JOIN mail_domain d USING (presence_id) WHERE d.state = 'active';
CREATE VIEW v_probe AS
    SELECT p.login, p.address, p.password FROM probe_credential p JOIN v_mailbox m USING (address)
    WHERE p.expires_at > CAST(strftime('%s', 'now') AS INTEGER);
