-- mail_domain.state: `active`; `suspended`, when mail still comes in and nobody signs in or sends;
-- `removed`, when nothing works any more and the rows are about to go.

DROP VIEW v_probe;
DROP VIEW v_login;
DROP VIEW v_alias;
DROP VIEW v_mailbox;
DROP VIEW v_domain;

CREATE VIEW v_domain AS SELECT name FROM mail_domain WHERE state IN ('active', 'suspended');
CREATE VIEW v_mailbox AS
    SELECT m.address, m.store_id, m.password, m.quota_bytes, m.node, d.state = 'active' AS opens
    FROM mailbox m JOIN mail_domain d USING (presence_id)
    WHERE m.state = 'active' AND d.state IN ('active', 'suspended');
CREATE VIEW v_alias AS
    SELECT a.address, a.target FROM alias a JOIN mail_domain d USING (presence_id)
    WHERE d.state IN ('active', 'suspended');
CREATE VIEW v_login AS SELECT address, password FROM v_mailbox WHERE opens AND password IS NOT NULL;
CREATE VIEW v_probe AS
    SELECT p.login, p.address, p.password FROM probe_credential p JOIN v_mailbox m USING (address)
    WHERE m.opens AND p.expires_at > CAST(strftime('%s', 'now') AS INTEGER);
-- Asked for each message, so that a session that signed in before sends no more either.
CREATE VIEW v_sender AS
    SELECT m.address FROM v_mailbox m
    WHERE m.opens AND (m.password IS NOT NULL OR EXISTS (SELECT 1 FROM v_probe p WHERE p.address = m.address));
