//! One SQL for two databases. A statement is written once, in what SQLite and PostgreSQL have in
//! common; this module carries it to either and reads the rows that come back.
//!
//! Statements have `?1` placeholders, `ON CONFLICT`, `RETURNING` and `IS DISTINCT FROM`, and may
//! end in ` FOR UPDATE` or ` FOR UPDATE SKIP LOCKED`, which SQLite does without: it has one writer.
//! Integers are 64 bits wide, moments are milliseconds, texts are compared by their octets.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::num::TryFromIntError;

use crate::error::StoreError;

/// A value handed to a statement. It borrows, so that calling costs no copy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Param<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Param<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u16> for Param<'_> {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Param<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Makes the parameters of a statement: `params![id, at]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::Param::from($value)),*]
    };
}
pub(crate) use params;

/// A row as it comes back, read by column name. It lives as long as the call that reads it.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r ::postgres::Row),
}

/// A type of ours that a column can be read as.
pub(crate) trait Column: Sized {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError>;
}

impl Column for String {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError> {
        row.str(column).map(str::to_owned)
    }
}

impl Column for Option<String> {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError> {
        Ok(row.optional_str(column)?.map(str::to_owned))
    }
}

impl Column for i64 {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError> {
        row.integer(column)
    }
}

impl Column for u32 {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError> {
        narrow(column, row.integer(column)?)
    }
}

impl Column for Option<u16> {
    fn read(row: &Row<'_>, column: &'static str) -> Result<Self, StoreError> {
        row.optional_integer(column)?
            .map(|value| narrow(column, value))
            .transpose()
    }
}

fn narrow<T: TryFrom<i64, Error = TryFromIntError>>(
    column: &'static str,
    value: i64,
) -> Result<T, StoreError> {
    T::try_from(value).map_err(|error| StoreError::corrupt(column, error))
}

impl Row<'_> {
    pub(crate) fn get<T: Column>(&self, column: &'static str) -> Result<T, StoreError> {
        T::read(self, column)
    }

    pub(crate) fn str(&self, column: &'static str) -> Result<&str, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::wrong(column, row.get_ref(column)?.as_str()),
            Self::Postgres(row) => postgres::wrong(column, row.try_get(column)),
        }
    }

    pub(crate) fn optional_str(&self, column: &'static str) -> Result<Option<&str>, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::wrong(column, row.get_ref(column)?.as_str_or_null()),
            Self::Postgres(row) => postgres::wrong(column, row.try_get(column)),
        }
    }

    pub(crate) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::wrong(column, row.get_ref(column)?.as_i64()),
            Self::Postgres(row) => postgres::wrong(column, row.try_get(column)),
        }
    }

    pub(crate) fn optional_integer(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::wrong(column, row.get_ref(column)?.as_i64_or_null()),
            Self::Postgres(row) => postgres::wrong(column, row.try_get(column)),
        }
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError> {
        match self {
            Self::Sqlite(row) => sqlite::wrong(column, row.get_ref(column)?.as_blob()),
            Self::Postgres(row) => postgres::wrong(column, row.try_get(column)),
        }
    }
}

/// Where statements run: inside a write, or in a read.
pub(crate) enum Connection<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c postgres::Session),
}

impl Connection<'_> {
    /// Runs a statement and tells how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Self::Postgres(session) => session.execute(sql, params),
        }
    }

    /// Runs a statement and reads each row that comes back.
    pub(crate) fn query<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut found = Vec::new();
                sqlite::query(connection, sql, params, |row| {
                    found.push(read(row)?);
                    Ok(sqlite::Next::Row)
                })?;
                Ok(found)
            }
            Self::Postgres(session) => {
                let rows = session.query(sql, params)?;
                rows.iter().map(|row| read(&Row::Postgres(row))).collect()
            }
        }
    }

    /// Runs a statement and reads the first row that comes back, where there is one.
    pub(crate) fn query_first<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut found = None;
                sqlite::query(connection, sql, params, |row| {
                    found = Some(read(row)?);
                    Ok(sqlite::Next::Stop)
                })?;
                Ok(found)
            }
            Self::Postgres(session) => {
                let rows = session.query(sql, params)?;
                rows.first()
                    .map(|row| read(&Row::Postgres(row)))
                    .transpose()
            }
        }
    }

    /// Runs a statement that gives one row, and reads it.
    pub(crate) fn query_one<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.query_first(sql, params, read)?
            .ok_or(StoreError::NoRow)
    }

    /// Tells other processes, once this write is committed, that something has become due or that
    /// a reader may be waiting for it. Commits that tell wait for each other, so call it sparingly.
    pub(crate) fn announce(&self) {
        match self {
            // There is no other process.
            Self::Sqlite(_) => {}
            Self::Postgres(session) => session.announce(),
        }
    }

    /// Must come before a write's first event; see [`Connection::settled_events`].
    pub(crate) fn before_event(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.before_event(),
        }
    }

    /// Up to where, at most `last`, a reader may go on: no event at or below what this answers can
    /// still appear. Read the events after asking, not before. `None` where all events may be read.
    pub(crate) fn settled_events(&self, last: i64) -> Result<Option<i64>, StoreError> {
        match self {
            // One writer: what has the lower sequence is committed first.
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(session) => session.settled_events(last).map(Some),
        }
    }
}
