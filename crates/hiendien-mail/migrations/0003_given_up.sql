-- Presences whose mail was taken away, for good: who was asleep meanwhile must not bring it back.
CREATE TABLE given_up (
    presence_id TEXT PRIMARY KEY
) STRICT;
