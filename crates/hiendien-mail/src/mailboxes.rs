//! Mail domains, mailboxes and probe credentials as rows that Postfix and Dovecot read through views.
//!
//! It starts and reloads no server. It asks Dovecot to end sessions, and has the mail node erase mail.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{LocalPart, MailAddress};
use hiendien_domain::records::DkimRecord;
use hiendien_domain::secret::Secret;
use hiendien_domain::site::hex;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{MailDomain, MailService, Mailboxes, PortError};
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use tokio::process::Command;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use uuid::Uuid;

use crate::keys::{self, KeptKey, KeyPairs};
use crate::sessions::{self, SessionSettings};

const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_base.sql"),
    include_str!("../migrations/0002_service.sql"),
    include_str!("../migrations/0003_given_up.sql"),
];
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
/// Bound of erasing the mail of a presence; what is left then, the next try erases.
const ERASE_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest part of a command's message that is passed on, characters.
const TOLD_MAX: usize = 300;

/// Where the mail servers look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSettings {
    /// The database the mail servers read; its group must be theirs.
    pub database: PathBuf,
    /// The signer's directory: keys in it, a file a name in its `names/`. Its group must be the signer's.
    pub dkim: PathBuf,
    /// Where sessions are ended. Without it no mailbox can be suspended, closed or taken away.
    pub sessions: Option<SessionSettings>,
    /// Command that erases the mail of the presence whose identifier is appended: all directories
    /// `<presence>.*` of the store. Without it no mail is ever erased.
    pub erase: Vec<String>,
}

/// The [`Mailboxes`] port on the mail servers' SQLite database. Clones share one connection.
#[derive(Debug, Clone)]
pub struct SqliteMailboxes {
    dkim: Arc<PathBuf>,
    sessions: Option<Arc<SessionSettings>>,
    erase: Arc<[String]>,
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
            sessions: settings.sessions.clone().map(Arc::new),
            erase: settings.erase.as_slice().into(),
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

    /// Ends the sessions under the name. The rows let nobody in any more.
    async fn end_sessions(&self, name: &str) -> Result<(), PortError> {
        let settings = self.sessions.as_ref().ok_or_else(|| {
            let action = format!("ending the mail sessions of `{name}`");
            PortError::misconfigured(action, "it is not configured where they are ended")
        })?;
        sessions::end_all(settings, name).await
    }

    /// Whether the credential is one that the servers would take now, by their own clock: kept, and not run out.
    pub(crate) async fn probe_is_good(
        &self,
        credential: &ProbeCredential,
    ) -> Result<bool, PortError> {
        let login = credential.login.clone();
        self.run("looking at a probe's credential", move |connection| {
            let good = connection.query_row(
                "SELECT count(*) FROM probe_credential
                 WHERE login = ?1 AND expires_at > CAST(strftime('%s', 'now') AS INTEGER)",
                [&login],
                |row| row.get::<_, i64>(0),
            )?;
            Ok(good == 1)
        })
        .await
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

/// Whether the mail of the presence was taken away. A worker that slept through its lease may not know.
fn is_given_up(connection: &Connection, presence: PresenceId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM given_up WHERE presence_id = ?1")?
        .exists([presence.to_string()])
}

const GIVEN_UP: Fault = Fault::Refused("the mail of the presence was taken away for good");
const TAKEN: Fault = Fault::Refused("the name belongs to another presence");
const NO_MAILBOX: Fault = Fault::Refused("the presence has no such mailbox");

const ACTIVE: &str = "active";
const SUSPENDED: &str = "suspended";
/// Written before anything of a mail domain is taken away, so that whoever is cut off in between finds what to end.
const REMOVED: &str = "removed";

/// Name and state of the presence's mail domain, if it has one.
fn domain_row(
    connection: &Connection,
    presence: &str,
) -> rusqlite::Result<Option<(String, String)>> {
    connection
        .prepare_cached("SELECT name, state FROM mail_domain WHERE presence_id = ?1")?
        .query_row([presence], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The directory of the mailbox at the address, if there is such a mailbox.
fn store_id(
    connection: &Connection,
    presence: &str,
    address: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT store_id FROM mailbox WHERE presence_id = ?1 AND address = ?2")?
        .query_row((presence, address), |row| row.get(0))
        .optional()
}

/// Where mail to the address goes, if it is an alias.
fn alias_target(
    connection: &Connection,
    presence: &str,
    address: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT target FROM alias WHERE presence_id = ?1 AND address = ?2")?
        .query_row((presence, address), |row| row.get(0))
        .optional()
}

/// A directory for a new mailbox that no mailbox of the presence has, also not one that was called so before.
fn new_store_id(
    connection: &Connection,
    presence: &str,
    local: &LocalPart,
) -> rusqlite::Result<String> {
    let mut taken = connection.prepare_cached("SELECT 1 FROM mailbox WHERE store_id = ?1")?;
    // By presence, never by name: the next holder of the name finds an empty mailbox.
    let mut id = format!("{presence}.{local}");
    let mut number = 1;
    while taken.exists([&id])? {
        number += 1;
        // No local part has a plus sign.
        id = format!("{presence}.{local}+{number}");
    }
    Ok(id)
}

/// Whether a mailbox had the address before it was renamed. It still gets its mail, and no second mailbox
/// is made of it: whoever asks for one may just not know of the new address yet.
fn is_former_address(
    connection: &Connection,
    presence: &str,
    address: &str,
) -> rusqlite::Result<bool> {
    match alias_target(connection, presence, address)? {
        Some(target) => Ok(store_id(connection, presence, &target)?.is_some()),
        None => Ok(false),
    }
}

/// Gives a mailbox its new address.
fn rename_rows(
    transaction: &Transaction<'_>,
    presence: &str,
    from: &MailAddress,
    to: &MailAddress,
) -> Result<(), Fault> {
    match domain_row(transaction, presence)? {
        Some((name, state)) if name == from.domain() && state != REMOVED => {}
        _ => return Err(NO_MAILBOX),
    }
    let (from_id, to_id) = (
        store_id(transaction, presence, from.as_str())?,
        store_id(transaction, presence, to.as_str())?,
    );
    let id = match (from_id, to_id) {
        (Some(_), Some(_)) if from == to => return Ok(()),
        (Some(_), Some(_)) => return Err(Fault::Refused("the new address is another mailbox")),
        (Some(id), None) => id,
        (None, Some(_)) => {
            let target = alias_target(transaction, presence, from.as_str())?;
            return match target {
                Some(target) if target == to.as_str() => Ok(()),
                _ => Err(NO_MAILBOX),
            };
        }
        (None, None) => return Err(NO_MAILBOX),
    };
    if to.domain() != from.domain() {
        return Err(Fault::Refused("the new address is under another name"));
    }
    if DESK.contains(&to.local_part()) || to.local_part().parse::<LocalPart>().is_err() {
        return Err(Fault::Refused("no mailbox may have the new address"));
    }
    match alias_target(transaction, presence, to.as_str())? {
        Some(target) if target != from.as_str() => {
            return Err(Fault::Refused("the new address is another mailbox's alias"));
        }
        _ => {}
    }
    transaction.execute(
        "DELETE FROM alias WHERE presence_id = ?1 AND address = ?2",
        (presence, to.as_str()),
    )?;
    transaction.execute(
        "UPDATE mailbox SET address = ?2, local_part = ?3 WHERE store_id = ?1",
        (&id, to.as_str(), to.local_part()),
    )?;
    transaction.execute(
        "UPDATE alias SET target = ?3 WHERE presence_id = ?1 AND target = ?2",
        (presence, from.as_str(), to.as_str()),
    )?;
    transaction.execute(
        "INSERT INTO alias (presence_id, address, target) VALUES (?1, ?2, ?3)",
        (presence, from.as_str(), to.as_str()),
    )?;
    Ok(())
}

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
    let state = match domain.service {
        MailService::Active => ACTIVE,
        MailService::Suspended => SUSPENDED,
    };
    transaction
        .prepare_cached(
            "INSERT INTO mail_domain (presence_id, name, created_at, state) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (presence_id) DO UPDATE SET state = excluded.state WHERE state <> ?5",
        )?
        .execute((&presence, domain.name.as_str(), now_secs, state, REMOVED))?;
    let (name, since_secs, state): (String, i64, String) = transaction
        .prepare_cached("SELECT name, created_at, state FROM mail_domain WHERE presence_id = ?1")?
        .query_row([&presence], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if name != domain.name.as_str() {
        return Err(Fault::Refused("the presence has mail under another name"));
    }
    if state == REMOVED {
        return Err(Fault::Refused("its mail is being taken away"));
    }
    for local in &domain.mailboxes {
        let address = local.at(&domain.name);
        let there = transaction
            .prepare_cached(
                "UPDATE mailbox SET quota_bytes = ?3 WHERE presence_id = ?1 AND local_part = ?2",
            )?
            .execute((&presence, local.as_str(), domain.quota_bytes))?;
        if there > 0 || is_former_address(transaction, &presence, address.as_str())? {
            continue;
        }
        let id = new_store_id(transaction, &presence, local)?;
        transaction
            .prepare_cached(
                "INSERT INTO mailbox (store_id, presence_id, local_part, address, quota_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                id,
                &presence,
                local.as_str(),
                address.as_str(),
                domain.quota_bytes,
            ))?;
    }
    for local in DESK {
        transaction
            .prepare_cached(
                "INSERT INTO alias (presence_id, address, target) VALUES (?1, ?2, ?3)
                 ON CONFLICT (address) DO UPDATE SET target = excluded.target WHERE presence_id = excluded.presence_id",
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
                if is_given_up(connection, presence)? {
                    return Err(GIVEN_UP);
                }
                Ok(!kept_keys(connection, presence)?.is_empty())
            })
            .await?;
        let new_keys = if has_keys {
            None
        } else {
            Some(self.new_keys(&action).await?)
        };
        let (wanted, dkim) = (domain.clone(), Arc::clone(&self.dkim));
        let now = self.clock.now();
        let work = self.run(&action, move |connection| {
            let domain = wanted;
            // Files before rows, rows before the file that the signer begins with; each under the lock that
            // whoever takes the mail away waits for, after which nothing is made any more.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if is_given_up(&transaction, presence)? {
                return Err(GIVEN_UP);
            }
            let month = now.strftime("%y%m").to_string();
            let made = match &new_keys {
                Some(keys) => keys::keep(&dkim, presence, &month, keys)?.to_vec(),
                None => Vec::new(),
            };
            let since_secs = put_rows(&transaction, presence, &domain, &made, now.as_second())?;
            let keys = kept_keys(&transaction, presence)?;
            transaction.commit()?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if is_given_up(&transaction, presence)? {
                return Err(GIVEN_UP);
            }
            keys::point(&dkim, &domain.name, since_secs, &keys)?;
            transaction.commit()?;
            Ok(keys.into_iter().map(|key| key.record).collect())
        });
        let records = work.await?;
        if domain.service == MailService::Suspended {
            self.end_sessions(domain.name.as_str()).await?;
        }
        Ok(records)
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
                0 => Err(NO_MAILBOX),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn rename(
        &self,
        presence: PresenceId,
        from: &MailAddress,
        to: &MailAddress,
    ) -> Result<(), PortError> {
        let action = format!("renaming the mailbox `{from}` to `{to}`");
        let (presence, from, to) = (presence.to_string(), from.clone(), to.clone());
        self.run(&action, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            rename_rows(&transaction, &presence, &from, &to)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn remove_alias(
        &self,
        presence: PresenceId,
        address: &MailAddress,
    ) -> Result<(), PortError> {
        let action = format!("taking the alias `{address}` away");
        let (presence, address) = (presence.to_string(), address.to_string());
        self.run(&action, move |connection| {
            // The desk's aliases lead to no mailbox of the presence, and stay.
            connection.execute(
                "DELETE FROM alias WHERE presence_id = ?1 AND address = ?2
                 AND target IN (SELECT address FROM mailbox WHERE presence_id = ?1)",
                (&presence, &address),
            )?;
            Ok(())
        })
        .await
    }

    async fn clear_passwords(&self, presence: PresenceId) -> Result<(), PortError> {
        let action = "forgetting the passwords of a presence";
        let presence = presence.to_string();
        let work = self.run(action, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "UPDATE mailbox SET password = NULL WHERE presence_id = ?1",
                [&presence],
            )?;
            let domain = domain_row(&transaction, &presence)?;
            transaction.commit()?;
            Ok(domain)
        });
        match work.await? {
            Some((name, _)) => self.end_sessions(&name).await,
            None => Ok(()),
        }
    }

    async fn remove_domain(&self, presence: PresenceId) -> Result<(), PortError> {
        let action = "taking a mail domain away";
        // First nothing works any more, and the name is still held: nobody else's sessions are ended below,
        // and who is cut off here finds the row again.
        let id = presence.to_string();
        let work = self.run(action, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "UPDATE mail_domain SET state = ?2 WHERE presence_id = ?1",
                (&id, REMOVED),
            )?;
            transaction.execute(
                "DELETE FROM probe_credential
                 WHERE address IN (SELECT address FROM mailbox WHERE presence_id = ?1)",
                [&id],
            )?;
            let domain = domain_row(&transaction, &id)?;
            transaction.commit()?;
            Ok(domain)
        });
        if let Some((name, _)) = work.await? {
            self.end_sessions(&name).await?;
        }
        let (id, dkim) = (presence.to_string(), Arc::clone(&self.dkim));
        self.run(action, move |connection| {
            // Files before rows, under the lock that whoever takes the name next waits for.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some((name, _)) = domain_row(&transaction, &id)? {
                keys::unpoint(&dkim, presence, &name)?;
            }
            keys::remove(&dkim, presence)?;
            transaction.execute(
                "INSERT INTO given_up (presence_id) VALUES (?1) ON CONFLICT DO NOTHING",
                [&id],
            )?;
            for table in ["alias", "dkim_key", "mailbox", "mail_domain"] {
                transaction.execute(
                    &format!("DELETE FROM {table} WHERE presence_id = ?1"),
                    [&id],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn erase_mail(&self, presence: PresenceId) -> Result<(), PortError> {
        let action = "erasing the mail of a presence";
        let id = presence.to_string();
        self.run(action, move |connection| {
            match domain_row(connection, &id)? {
                Some(_) => Err(Fault::Refused("it still has a mail domain")),
                None => Ok(()),
            }
        })
        .await?;
        let Some((program, arguments)) = self.erase.split_first() else {
            let told = "it is not configured which command erases mail";
            return Err(PortError::misconfigured(action, told));
        };
        let output = Command::new(program)
            .args(arguments)
            .arg(presence.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(ERASE_TIMEOUT, output)
            .await
            .map_err(|elapsed| PortError::transient(action, elapsed))?
            .map_err(|error| PortError::misconfigured(format!("running `{program}`"), error))?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let told: String = told.trim().chars().take(TOLD_MAX).collect();
        let told = format!("`{program}` ended with {}: {told}", output.status);
        Err(PortError::misconfigured(action, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a view answers, sorted, its columns joined by a blank.
    fn rows(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| row.get::<_, String>(column));
            values
                .collect::<Result<Vec<_>, _>>()
                .map(|row| row.join(" "))
        };
        let mut rows: Vec<String> = statement
            .query_map([], read)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        rows.sort();
        rows
    }

    #[test]
    fn a_database_of_the_first_release_is_brought_on_with_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mail.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute_batch(
            "INSERT INTO mail_domain (presence_id, name, created_at) VALUES
                 ('p1', 'a.biz.vn', 1), ('p2', 'b.biz.vn', 1), ('p3', 'c.biz.vn', 1);
             INSERT INTO mailbox (store_id, presence_id, local_part, address, password, quota_bytes) VALUES
                 ('p1.info', 'p1', 'info', 'info@a.biz.vn', 'x', 1), ('p2.info', 'p2', 'info', 'info@b.biz.vn', 'x', 1),
                 ('p3.info', 'p3', 'info', 'info@c.biz.vn', 'x', 1), ('p1.moi', 'p1', 'moi', 'moi@a.biz.vn', NULL, 1);
             INSERT INTO alias (presence_id, address, target) VALUES
                 ('p1', 'abuse@a.biz.vn', 'd@x.vn'), ('p2', 'abuse@b.biz.vn', 'd@x.vn'), ('p3', 'abuse@c.biz.vn', 'd@x.vn');
             INSERT INTO probe_credential (login, address, password, expires_at) VALUES
                 ('one', 'moi@a.biz.vn', 'x', 9999999999), ('old', 'moi@a.biz.vn', 'x', 1),
                 ('two', 'info@b.biz.vn', 'x', 9999999999), ('three', 'info@c.biz.vn', 'x', 9999999999);",
        )
        .unwrap();
        drop(old);

        for _ in 0..2 {
            let connection = open(&path).unwrap();
            let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
            assert_eq!(version, Ok(MIGRATIONS.len()));
            let mailboxes = rows(
                &connection,
                "SELECT address, store_id FROM v_mailbox WHERE opens",
            );
            assert_eq!(mailboxes.len(), 4, "{mailboxes:?}");
        }
        let connection = open(&path).unwrap();
        connection
            .execute_batch(
                "UPDATE mail_domain SET state = 'suspended' WHERE presence_id = 'p2';
                 UPDATE mail_domain SET state = 'removed' WHERE presence_id = 'p3';",
            )
            .unwrap();
        let of = |sql| rows(&connection, sql);
        assert_eq!(of("SELECT name FROM v_domain"), ["a.biz.vn", "b.biz.vn"]);
        assert_eq!(
            of("SELECT address FROM v_mailbox"),
            ["info@a.biz.vn", "info@b.biz.vn", "moi@a.biz.vn"]
        );
        assert_eq!(
            of("SELECT address FROM v_alias"),
            ["abuse@a.biz.vn", "abuse@b.biz.vn"]
        );
        assert_eq!(of("SELECT address FROM v_login"), ["info@a.biz.vn"]);
        assert_eq!(of("SELECT login FROM v_probe"), ["one"]);
        // One without a password sends for the while of a probe.
        assert_eq!(
            of("SELECT address FROM v_sender"),
            ["info@a.biz.vn", "moi@a.biz.vn"]
        );
    }
}
