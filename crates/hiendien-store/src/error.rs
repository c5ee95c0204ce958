use std::path::{Path, PathBuf};

use hiendien_engine::ports::PortError;
use rusqlite::ErrorCode;

use crate::sql::postgres::passes;

/// Why the store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database server refused or does not answer")]
    Postgres(#[from] postgres::Error),
    #[error("the address of the database server cannot be read")]
    PostgresUrl(#[source] postgres::Error),
    #[error("the address of the database server holds a password: put it in a file of its own")]
    PasswordInUrl,
    #[error("the roots in `{}` cannot be used", path.display())]
    TlsRoots {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("all {most} connections to the database server are taken")]
    Busy { most: usize },
    #[error("a statement failed and was passed over, so nothing was kept")]
    FailurePassedOver,
    #[error("a row that must be there is not")]
    NoRow,
    #[error("cannot start a thread for the database")]
    Thread(#[source] std::io::Error),
    #[error("the disk that holds `{}` is full: free some space, then the operation goes on by itself", path.display())]
    DiskFull { path: PathBuf },
    #[error("a stored value of `{column}` cannot be read")]
    Corrupt {
        column: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a sealed value cannot be opened: is `{}` the key it was sealed with?", path.display())]
    Unseal { path: PathBuf },
    #[error("the writer of the database has stopped")]
    Stopped,
    #[error(
        "`{place}` has schema version {found}, and this program needs {known}: run `hiendien migrate`"
    )]
    Outdated {
        place: String,
        found: i64,
        known: i64,
    },
    #[error(
        "`{place}` has schema version {found}, newer than this program knows ({known}): use a newer program"
    )]
    TooNew {
        place: String,
        found: i64,
        known: i64,
    },
}

impl StoreError {
    pub(crate) fn corrupt(
        column: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Corrupt {
            column,
            source: source.into(),
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Tells the engine what to do about it.
    pub(crate) fn into_port(self, action: &str) -> PortError {
        let passing = match &self {
            Self::Postgres(error) => passes(error),
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::OutOfMemory
                )
            ),
            Self::DiskFull { .. }
            | Self::File { .. }
            | Self::Thread(_)
            | Self::Busy { .. }
            | Self::Stopped => true,
            Self::Corrupt { .. }
            | Self::Unseal { .. }
            | Self::PostgresUrl(_)
            | Self::PasswordInUrl
            | Self::TlsRoots { .. }
            | Self::FailurePassedOver
            | Self::NoRow
            | Self::Outdated { .. }
            | Self::TooNew { .. } => false,
        };
        if passing {
            PortError::transient(action, self)
        } else {
            PortError::misconfigured(action, self)
        }
    }
}
