-- Images that were uploaded for a presence, and the pictures made of them. Their octets are in a folder.

CREATE TABLE picture (
    presence_id  TEXT NOT NULL REFERENCES presence (id),
    id           TEXT NOT NULL,                 -- the upload's hash
    state        TEXT NOT NULL,                 -- waiting, ready, refused
    picture      TEXT,                          -- JSON, where it is ready
    fault        TEXT,                          -- where it is refused
    upload_bytes INTEGER NOT NULL,
    kept_bytes   INTEGER NOT NULL,              -- of the upload while it waits, of the picture's files after
    uploaded_at  INTEGER NOT NULL,
    due_at       INTEGER NOT NULL,              -- while it waits: when it may be taken
    attempts     INTEGER NOT NULL DEFAULT 0,    -- since it was uploaded
    fence        INTEGER NOT NULL DEFAULT 0,    -- times it was taken, ever
    PRIMARY KEY (presence_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX picture_due ON picture (due_at) WHERE state = 'waiting';
