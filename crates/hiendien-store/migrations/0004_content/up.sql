-- What owners edit: of each presence the document published last, and the one before it, to which an abandoned
-- operation goes back. A presence without a row shows what its claim gives.

CREATE TABLE content (
    presence_id  TEXT NOT NULL REFERENCES presence (id),
    place        INTEGER NOT NULL,              -- 0: the present one, 1: the one before it
    operation_id TEXT NOT NULL,                 -- that brought it
    document     BLOB NOT NULL,                 -- sealed; empty where a claim came anew and never a document
    facts        BLOB NOT NULL,                 -- sealed: what the claim gives
    PRIMARY KEY (presence_id, place)
) STRICT, WITHOUT ROWID;
