//! Numbered migrations, one schema change each, written once in SQLite's dialect.
//!
//! SQLite's `user_version` tells how many have run, PostgreSQL's table `schema_version` which. Each
//! migration works beside the program before it, so a server is migrated first and programs follow.

use std::fmt;
use std::path::Path;

use rusqlite::Connection;

use crate::database::Place;
use crate::error::StoreError;
use crate::sql::postgres::{MIGRATION_LOCK, Server, Session, apart};
use crate::sql::{self, params};

const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_base/up.sql"),
    include_str!("../migrations/0002_lifecycle/up.sql"),
    include_str!("../migrations/0003_webhooks/up.sql"),
    include_str!("../migrations/0004_content/up.sql"),
    include_str!("../migrations/0005_pictures/up.sql"),
];

/// The schema this program works with.
pub const SCHEMA_VERSION: i64 = {
    #[expect(clippy::cast_possible_wrap, reason = "a handful, known as we compile")]
    let count = MIGRATIONS.len() as i64;
    count
};

/// From which schema to which a database was brought; the same where nothing was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    pub from: i64,
    pub to: i64,
}

/// Brings a database to the newest schema this program knows. Many may call this at once.
pub fn migrate(place: &Place) -> Result<Migrated, StoreError> {
    migrate_to(place, SCHEMA_VERSION)
}

/// Brings a database to an earlier schema than the newest, for a program that is still to be replaced.
pub fn migrate_to(place: &Place, version: i64) -> Result<Migrated, StoreError> {
    match place {
        Place::Sqlite(path) => migrate_sqlite_to(&mut Connection::open(path)?, path, version),
        Place::Postgres(settings) => {
            apart(|| migrate_postgres_to(&Server::new(settings)?.connect()?, place, version))
        }
    }
}

fn pending(found: i64, to: i64) -> impl Iterator<Item = (i64, &'static str)> {
    (1..=to)
        .zip(MIGRATIONS.iter().copied())
        .filter(move |(version, _)| *version > found)
}

fn refuse_newer(place: &dyn fmt::Display, found: i64) -> Result<(), StoreError> {
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew {
            place: place.to_string(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(())
}

/// Runs the migrations that have not run yet, each in a transaction of its own.
pub(crate) fn migrate_sqlite(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate_sqlite_to(connection, path, SCHEMA_VERSION).map(|_| ())
}

fn migrate_sqlite_to(
    connection: &mut Connection,
    path: &Path,
    to: i64,
) -> Result<Migrated, StoreError> {
    let from: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    refuse_newer(&path.display(), from)?;
    let mut reached = from;
    for (version, sql) in pending(from, to) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        reached = version;
    }
    Ok(Migrated { from, to: reached })
}

/// The schema of a server's database, 0 where there is none.
fn postgres_version(session: &Session) -> Result<i64, StoreError> {
    let connection = sql::Connection::Postgres(session);
    let there = connection.query_first(
        "SELECT to_regclass('schema_version')::text AS place",
        params![],
        |row| Ok(row.optional_str("place")?.is_some()),
    )?;
    if there != Some(true) {
        return Ok(0);
    }
    let version = connection.query_first(
        "SELECT max(version) AS version FROM schema_version",
        params![],
        |row| row.optional_integer("version"),
    )?;
    Ok(version.flatten().unwrap_or(0))
}

/// Refuses a server whose schema is not the one this program knows.
pub(crate) fn check_postgres(session: &Session, place: &Place) -> Result<(), StoreError> {
    let found = postgres_version(session)?;
    refuse_newer(&place, found)?;
    if found < SCHEMA_VERSION {
        return Err(StoreError::Outdated {
            place: place.to_string(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(())
}

fn migrate_postgres_to(session: &Session, place: &Place, to: i64) -> Result<Migrated, StoreError> {
    // Another may be migrating, and building an index takes its time: both may.
    session.batch("SET statement_timeout = 0; SET lock_timeout = 0")?;
    // The session's lock goes with the session, however this ends.
    session.batch(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))?;
    let from = postgres_version(session)?;
    refuse_newer(&place, from)?;
    if from == 0 {
        session.batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
                 version BIGINT PRIMARY KEY,
                 applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
             )",
        )?;
    }
    let mut reached = from;
    for (version, sql) in pending(from, to) {
        session.begin()?;
        session.batch(&for_postgres(sql))?;
        sql::Connection::Postgres(session).execute(
            "INSERT INTO schema_version (version) VALUES (?1)",
            params![version],
        )?;
        session.commit()?;
        reached = version;
    }
    Ok(Migrated { from, to: reached })
}

/// What SQLite's words are in PostgreSQL, the longer before the shorter. Texts are ordered by their
/// octets, as SQLite does, whatever the database's language.
const WORDS: &[(&str, &str)] = &[
    (
        "INTEGER PRIMARY KEY AUTOINCREMENT",
        "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    ),
    (" STRICT, WITHOUT ROWID", ""),
    (" STRICT", ""),
    ("INTEGER", "BIGINT"),
    ("BLOB", "BYTEA"),
    ("TEXT", "TEXT COLLATE \"C\""),
];

/// Says a migration in PostgreSQL's dialect. Comments and quoted texts are left alone.
fn for_postgres(sql: &str) -> String {
    let mut said = String::with_capacity(sql.len() * 2);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let whole_word = said.chars().next_back().is_none_or(|last| !is_word(last));
        let word = WORDS.iter().find(|(ours, _)| {
            (whole_word || ours.starts_with(' '))
                && rest
                    .strip_prefix(ours)
                    .is_some_and(|after| !after.starts_with(is_word))
        });
        if let Some((ours, theirs)) = word {
            said.push_str(theirs);
            rest = &rest[ours.len()..];
            continue;
        }
        let as_it_is = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '\'' || first == '"' {
            rest[1..].find(first).map_or(rest.len(), |end| end + 2)
        } else {
            first.len_utf8()
        };
        said.push_str(&rest[..as_it_is]);
        rest = &rest[as_it_is..];
    }
    said
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_table_in_postgresql() {
        let ours = "-- INTEGER and TEXT are SQLite's\nCREATE TABLE event (\n    \
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,\n    at INTEGER NOT NULL, -- STRICT\n    \
            INTEGER_like TEXT DEFAULT 'BLOB''s',\n    detail BLOB\n) STRICT;\n\
            CREATE TABLE a (b TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;\n";
        let theirs = "-- INTEGER and TEXT are SQLite's\nCREATE TABLE event (\n    \
            sequence BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,\n    at BIGINT NOT NULL, -- STRICT\n    \
            INTEGER_like TEXT COLLATE \"C\" DEFAULT 'BLOB''s',\n    detail BYTEA\n);\n\
            CREATE TABLE a (b TEXT COLLATE \"C\" PRIMARY KEY);\n";
        assert_eq!(for_postgres(ours), theirs);
    }

    #[test]
    fn no_word_of_sqlite_is_left() {
        for migration in MIGRATIONS {
            for line in for_postgres(migration).lines() {
                let code = line.split("--").next().unwrap();
                for word in [
                    "INTEGER",
                    "BLOB",
                    "STRICT",
                    "ROWID",
                    "AUTOINCREMENT",
                    "PRAGMA",
                ] {
                    assert!(!code.contains(word), "`{word}` is left in `{line}`");
                }
            }
        }
    }

    /// What the database says its tables and indexes are.
    fn schema(path: &Path) -> Vec<String> {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT coalesce(sql, name) FROM sqlite_master ORDER BY name")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn every_way_to_the_newest_schema_ends_at_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at_once = folder.path().join("at-once.db");
        let place = Place::Sqlite(at_once.clone());
        let all = Migrated {
            from: 0,
            to: SCHEMA_VERSION,
        };
        assert_eq!(migrate(&place).unwrap(), all);
        let newest = schema(&at_once);
        let none = Migrated {
            from: SCHEMA_VERSION,
            ..all
        };
        assert_eq!(migrate(&place).unwrap(), none);
        assert_eq!(schema(&at_once), newest);
        for earlier in 0..SCHEMA_VERSION {
            let path = folder.path().join(format!("{earlier}.db"));
            let place = Place::Sqlite(path.clone());
            migrate_to(&place, earlier).unwrap();
            for version in earlier + 1..=SCHEMA_VERSION {
                migrate_to(&place, version).unwrap();
            }
            assert_eq!(schema(&path), newest, "from {earlier}");
        }
    }

    #[test]
    fn refuses_a_schema_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let newer = Connection::open(&path).unwrap();
        newer
            .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
            .unwrap();
        let refused = migrate(&Place::Sqlite(path)).unwrap_err().to_string();
        assert!(refused.contains("use a newer program"), "{refused}");
    }
}
