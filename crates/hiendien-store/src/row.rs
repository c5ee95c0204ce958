//! Reads columns as our types: the database is parsed like any outsider.

use std::error::Error;
use std::str::FromStr;

use hiendien_engine::ports::PortError;
use hiendien_engine::webhooks::is_told;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::sql::{Connection, Row, params};
use crate::webhooks::{self, NewEvent};

pub(crate) fn parse<T>(column: &'static str, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    text.parse()
        .map_err(|error| StoreError::corrupt(column, error))
}

/// A column that must parse.
pub(crate) fn text<T>(row: &Row<'_>, column: &'static str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    parse(column, row.str(column)?)
}

/// A column that must parse where it is not NULL.
pub(crate) fn optional_text<T>(row: &Row<'_>, column: &'static str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    row.optional_str(column)?
        .map(|text| parse(column, text))
        .transpose()
}

pub(crate) fn moment(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    let millis = row.integer(column)?;
    Timestamp::from_millisecond(millis).map_err(|error| StoreError::corrupt(column, error))
}

pub(crate) fn optional_moment(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<Timestamp>, StoreError> {
    row.optional_integer(column)?
        .map(|millis| {
            Timestamp::from_millisecond(millis).map_err(|error| StoreError::corrupt(column, error))
        })
        .transpose()
}

pub(crate) fn from_json<T: DeserializeOwned>(
    column: &'static str,
    json: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::corrupt(column, error))
}

pub(crate) fn to_json<T: Serialize>(column: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt(column, error))
}

/// Adds an event row, and a delivery for each endpoint of the presence's registrar that wants to be told of it.
pub(crate) fn add_event(
    connection: &Connection<'_>,
    now: Timestamp,
    presence: &str,
    operation: Option<&str>,
    kind: &str,
    step: Option<&str>,
    detail: &Value,
) -> Result<(), StoreError> {
    connection.before_event()?;
    let sequence = connection.query_one(
        "INSERT INTO event (at, presence_id, operation_id, kind, step, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING sequence",
        params![
            now.as_millisecond(),
            presence,
            operation,
            kind,
            step,
            &detail.to_string(),
        ],
        |row| row.integer("sequence"),
    )?;
    if is_told(kind) {
        let event = NewEvent {
            now,
            sequence,
            presence,
            operation,
            kind,
            detail,
        };
        webhooks::tell(connection, &event)?;
    }
    Ok(())
}

/// The detail of an event that has none.
pub(crate) fn no_detail() -> Value {
    json!({})
}

/// Turns a store failure into what the ports speak.
pub(crate) trait IntoPort<T> {
    fn port(self, action: &str) -> Result<T, PortError>;
}

impl<T> IntoPort<T> for Result<T, StoreError> {
    fn port(self, action: &str) -> Result<T, PortError> {
        self.map_err(|error| error.into_port(action))
    }
}
