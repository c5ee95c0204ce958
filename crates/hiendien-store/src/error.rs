use std::path::PathBuf;

use hiendien_engine::ports::PortError;
use rusqlite::ErrorCode;

/// Why the store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
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
    #[error("`{}` has schema version {found}, newer than this program knows ({known}): use a newer program", path.display())]
    TooNew {
        path: PathBuf,
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

    /// Tells the engine what to do about it.
    pub(crate) fn into_port(self, action: &str) -> PortError {
        let passing = match &self {
            Self::Database(error) => matches!(
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
            Self::DiskFull { .. } | Self::File { .. } | Self::Stopped => true,
            Self::Corrupt { .. } | Self::Unseal { .. } | Self::TooNew { .. } => false,
        };
        if passing {
            PortError::transient(action, self)
        } else {
            PortError::misconfigured(action, self)
        }
    }
}
