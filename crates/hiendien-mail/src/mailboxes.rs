//! Mail domains, mailboxes and probe credentials as rows that Postfix and Dovecot read through views.
//!
//! It deliberately starts, reloads and asks no server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::MailAddress;
use hiendien_domain::records::DkimRecord;
use hiendien_domain::secret::Secret;
use hiendien_domain::site::hex;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{MailDomain, Mailboxes, PortError};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use uuid::Uuid;

use crate::keys::{self, KeptKey, KeyPairs};

const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_base.sql")];
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Local parts that belong to the platform's desk under every name (RFC 2142 and habit).
const DESK: [&str; 6] = [
    "postmaster",
    "abuse",
    "hostmaster",
    "webmaster",
    "admin",
    "security",
];
/// Pairs of DKIM keys made in advance.
const KEYS_AHEAD: usize = 8;

/// Where the mail servers look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSettings {
    /// The database the mail servers read; its group must be theirs.
    pub database: PathBuf,
    /// The signer's directory: keys in it, a file a name in its `names/`. Its group must be the signer's.
    pub dkim: PathBuf,
}

/// The [`Mailboxes`] port on the mail servers' SQLite database. Clones share one connection.
#[derive(Debug, Clone)]
pub struct SqliteMailboxes {
    dkim: Arc<PathBuf>,
    connection: Arc<Mutex<Connection>>,
    keys: Arc<AsyncMutex<mpsc::Receiver<KeyPairs>>>,
    clock: Arc<dyn Clock>,
}

/// Why the mail database does not open.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the mail database `{}`", path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: rusqlite::Error,
}

/// Opens one mailbox for a moment, beside the owner's own password.
#[derive(Debug, Clone)]
pub struct ProbeCredential {
    pub login: String,
    pub password: Secret,
}

/// Why a piece of work on rows and files did not succeed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the mail database refuses")]
    Rows(#[from] rusqlite::Error),
    #[error("the directory of DKIM keys refuses")]
    Files(#[from] io::Error),
    #[error("{0}")]
    Refused(&'static str),
}

impl Fault {
    fn into_port_error(self, action: &str) -> PortError {
        let code = match &self {
            Self::Rows(error) => error.sqlite_error_code(),
            Self::Refused(_) => return PortError::rejected(action, self),
            Self::Files(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidData
                | io::ErrorKind::ReadOnlyFilesystem => {
                    return PortError::misconfigured(action, self);
                }
                _ => None,
            },
        };
        match code {
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::PermissionDenied,
            ) => PortError::misconfigured(action, self),
            Some(ErrorCode::ConstraintViolation) => PortError::rejected(action, self),
            _ => PortError::transient(action, self),
        }
    }
}

impl SqliteMailboxes {
    /// Opens the database, made where there is none, and begins to make keys in advance.
    /// Needs a running tokio runtime.
    pub fn open(settings: &MailboxSettings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            path: settings.database.clone(),
            source,
        };
        let connection = open(&settings.database).map_err(failed)?;
        let (made, keys) = mpsc::channel(KEYS_AHEAD);
        tokio::spawn(keys::make_ahead(made));
        Ok(Self {
            dkim: Arc::new(settings.dkim.clone()),
            connection: Arc::new(Mutex::new(connection)),
            keys: Arc::new(AsyncMutex::new(keys)),
            clock,
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        action: &str,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, PortError> {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        task.await
            .map_err(|error| PortError::transient(action, error))?
            .map_err(|fault| fault.into_port_error(action))
    }

    /// Keys made in advance, or at once where that has stopped.
    async fn new_keys(&self, action: &str) -> Result<KeyPairs, PortError> {
        let ahead = self.keys.lock().await.recv().await;
        if let Some(keys) = ahead {
            return Ok(keys);
        }
        tokio::task::spawn_blocking(KeyPairs::make)
            .await
            .map_err(|error| PortError::transient(action, error))?
            .map_err(|error| PortError::transient(action, error))
    }

    /// Makes a random credential that opens the mailbox until `expires_at`, and forgets those that ran out.
    pub async fn open_probe(
        &self,
        address: &MailAddress,
        expires_at: Timestamp,
    ) -> Result<ProbeCredential, PortError> {
        let action = "opening a mailbox for a probe";
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| PortError::transient(action, "there is no randomness"))?;
        let credential = ProbeCredential {
            login: format!("{}@probe.invalid", Uuid::new_v4().simple()),
            password: Secret::new(hex(&random)),
        };
        // A random 256-bit password needs no slow hash.
        let hash = hash(&credential.password, 64, 1)?;
        let (login, address) = (credential.login.clone(), address.to_string());
        let now_secs = self.clock.now().as_second();
        self.run(action, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM probe_credential WHERE expires_at <= ?1", [now_secs])?;
            transaction.execute(
                "INSERT INTO probe_credential (login, address, password, expires_at) VALUES (?1, ?2, ?3, ?4)",
                (&login, &address, &hash, expires_at.as_second()),
            )?;
            Ok(transaction.commit()?)
        })
        .await?;
        Ok(credential)
    }

    /// Takes the credential away; one that is gone already is no error.
    pub async fn close_probe(&self, credential: &ProbeCredential) -> Result<(), PortError> {
        let login = credential.login.clone();
        self.run("closing a mailbox after a probe", move |connection| {
            connection.execute("DELETE FROM probe_credential WHERE login = ?1", [&login])?;
            Ok(())
        })
        .await
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // One transaction for all, so that two processes that start at once do not both migrate.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Argon2id with its Dovecot scheme name; `memory_kib` and `passes` are its costs.
fn hash(password: &Secret, memory_kib: u32, passes: u32) -> Result<String, PortError> {
    let refused = |error: &dyn std::fmt::Display| {
        PortError::rejected("hashing a password", error.to_string())
    };
    let params = Params::new(memory_kib, passes, 1, None).map_err(|error| refused(&error))?;
    let salt =
        SaltString::encode_b64(Uuid::new_v4().as_bytes()).map_err(|error| refused(&error))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.expose().as_bytes(), &salt)
        .map_err(|error| refused(&error))?;
    Ok(format!("{{ARGON2ID}}{hash}"))
}

/// Who holds the name, if anyone does.
fn holder(connection: &Connection, domain: &MailDomain) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT presence_id FROM mail_domain WHERE name = ?1")?
        .query_row([domain.name.as_str()], |row| row.get(0))
        .optional()
}

/// The keys of a presence, RSA first.
fn kept_keys(connection: &Connection, presence: PresenceId) -> rusqlite::Result<Vec<KeptKey>> {
    connection
        .prepare_cached(
            "SELECT selector, text, file FROM dkim_key WHERE presence_id = ?1 ORDER BY rowid",
        )?
        .query_map([presence.to_string()], |row| {
            Ok(KeptKey {
                record: DkimRecord {
                    selector: row.get(0)?,
                    text: row.get(1)?,
                },
                file: row.get(2)?,
            })
        })?
        .collect()
}

const TAKEN: Fault = Fault::Refused("the name belongs to another presence");

/// Writes the rows of a mail domain and returns since when it has mail.
fn put_rows(
    transaction: &Transaction<'_>,
    presence: PresenceId,
    domain: &MailDomain,
    keys: &[KeptKey],
    now_secs: i64,
) -> Result<i64, Fault> {
    let presence = presence.to_string();
    if holder(transaction, domain)?.is_some_and(|holder| holder != presence) {
        return Err(TAKEN);
    }
    transaction
        .prepare_cached(
            "INSERT INTO mail_domain (presence_id, name, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (presence_id) DO NOTHING",
        )?
        .execute((&presence, domain.name.as_str(), now_secs))?;
    let (name, since_secs): (String, i64) = transaction
        .prepare_cached("SELECT name, created_at FROM mail_domain WHERE presence_id = ?1")?
        .query_row([&presence], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if name != domain.name.as_str() {
        return Err(Fault::Refused("the presence has mail under another name"));
    }
    for local in &domain.mailboxes {
        transaction
            .prepare_cached(
                "INSERT INTO mailbox (store_id, presence_id, local_part, address, quota_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (presence_id, local_part) DO UPDATE SET quota_bytes = excluded.quota_bytes",
            )?
            .execute((
                // By presence, never by name: the next holder of the name finds an empty mailbox.
                format!("{presence}.{local}"),
                &presence,
                local.as_str(),
                local.at(&domain.name).as_str(),
                domain.quota_bytes,
            ))?;
    }
    for local in DESK {
        transaction
            .prepare_cached(
                "INSERT INTO alias (presence_id, address, target) VALUES (?1, ?2, ?3)
                 ON CONFLICT (address) DO UPDATE SET target = excluded.target",
            )?
            .execute((
                &presence,
                format!("{local}@{}", domain.name),
                domain.desk.as_str(),
            ))?;
    }
    for key in keys {
        transaction
            .prepare_cached(
                "INSERT INTO dkim_key (presence_id, selector, text, file) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (presence_id, selector) DO NOTHING",
            )?
            .execute((&presence, &key.record.selector, &key.record.text, &key.file))?;
    }
    Ok(since_secs)
}

#[async_trait]
impl Mailboxes for SqliteMailboxes {
    async fn put_domain(
        &self,
        presence: PresenceId,
        domain: &MailDomain,
    ) -> Result<Vec<DkimRecord>, PortError> {
        let action = format!("setting up mail for `{}`", domain.name);
        let wanted = domain.clone();
        let has_keys = self
            .run(&action, move |connection| {
                if holder(connection, &wanted)?.is_some_and(|held| held != presence.to_string()) {
                    return Err(TAKEN);
                }
                Ok(!kept_keys(connection, presence)?.is_empty())
            })
            .await?;
        let new_keys = if has_keys {
            None
        } else {
            Some(self.new_keys(&action).await?)
        };
        let (domain, dkim) = (domain.clone(), Arc::clone(&self.dkim));
        let now = self.clock.now();
        self.run(&action, move |connection| {
            // Files before rows, rows before the file that the signer begins with.
            let month = now.strftime("%y%m").to_string();
            let made = match &new_keys {
                Some(keys) => keys::keep(&dkim, presence, &month, keys)?.to_vec(),
                None => Vec::new(),
            };
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let since_secs = put_rows(&transaction, presence, &domain, &made, now.as_second())?;
            let keys = kept_keys(&transaction, presence)?;
            transaction.commit()?;
            keys::point(&dkim, &domain.name, since_secs, &keys)?;
            Ok(keys.into_iter().map(|key| key.record).collect())
        })
        .await
    }

    async fn set_password(
        &self,
        presence: PresenceId,
        address: &MailAddress,
        password: &Secret,
    ) -> Result<(), PortError> {
        let action = "setting a mailbox password";
        let password = password.clone();
        // 19 MiB and two passes (OWASP's first recommendation for Argon2id).
        let hash = tokio::task::spawn_blocking(move || hash(&password, 19_456, 2))
            .await
            .map_err(|error| PortError::transient(action, error))??;
        let (presence, address) = (presence.to_string(), address.to_string());
        self.run(action, move |connection| {
            let changed = connection.execute(
                "UPDATE mailbox SET password = ?3 WHERE presence_id = ?1 AND address = ?2",
                (&presence, &address, &hash),
            )?;
            match changed {
                0 => Err(Fault::Refused("the presence has no such mailbox")),
                _ => Ok(()),
            }
        })
        .await
    }
}
