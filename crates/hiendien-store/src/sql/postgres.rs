//! PostgreSQL: a bounded pool of connections, one transaction per write, and one connection that
//! listens for what other processes announce.
//!
//! Connections are synchronous and used off the async threads. They keep prepared statements and
//! listen, so whatever stands between us and the server has to pool by session, not by transaction.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::private::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use rand::Rng as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::{Semaphore, watch};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Connection, Param};
use crate::error::StoreError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for one of the pool's connections.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// What the server holds each of our statements and transactions to. All we run is look-ups by
/// index and changes of a few rows, so reaching a limit means that something is wrong over there.
const LIMITS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '15s';
    SET default_transaction_isolation = 'read committed'";
/// How long it takes to notice that the server is gone without a word.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a write that collides with others is run before its caller is told.
const ATTEMPTS_MAX: u32 = 10;
/// What the pause before the next attempt grows by, at most.
const COLLISION_PAUSE_MS: u64 = 20;
/// The listener comes back after a lost connection, at first after this and at last after that.
const LISTEN_PAUSE: Duration = Duration::from_millis(200);
const LISTEN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often a listener that hears nothing asks whether its connection still holds.
const LISTEN_CHECK: Duration = Duration::from_secs(15);
/// How often it looks whether the store has been closed.
const LISTEN_GLANCE: Duration = Duration::from_millis(500);
/// Advisory locks of writers that add events: this, plus the sequence before theirs.
const EVENT_LOCKS: i64 = 0x4869 << 40;
/// Where the next family of advisory locks begins. The first of it is the migrations'.
const EVENT_LOCKS_END: i64 = 0x486a << 40;
pub(crate) const MIGRATION_LOCK: i64 = EVENT_LOCKS_END;

/// Which PostgreSQL, and how many connections to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://hiendien@db.example:5432/hiendien`, or `host=/run/postgresql user=hiendien`.
    /// It holds no password.
    pub url: String,
    /// File with the password, read anew for each connection, so that it can be changed.
    pub password_file: Option<PathBuf>,
    /// PEM file with the roots the server's certificate is checked against. With it every
    /// connection is TLS; without it none is, which is for a socket or a network of one's own.
    pub tls_roots: Option<PathBuf>,
    /// Connections at most, beside the one that listens.
    pub pool_max: usize,
}

/// Where to connect to and how.
pub(crate) struct Server {
    config: Config,
    password_file: Option<PathBuf>,
    tls: Option<MakeRustlsConnect>,
}

impl Server {
    pub(crate) fn new(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let mut config: Config = settings.url.parse().map_err(StoreError::PostgresUrl)?;
        if config.get_password().is_some() {
            return Err(StoreError::PasswordInUrl);
        }
        config.application_name("hiendien");
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(PEER_TIMEOUT);
        config.keepalives_idle(PEER_TIMEOUT / 2);
        config.keepalives_interval(PEER_TIMEOUT / 4);
        config.keepalives_retries(2);
        let tls = match &settings.tls_roots {
            Some(path) => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(trusting(path)?))
            }
            None => None,
        };
        Ok(Self {
            config,
            password_file: settings.password_file.clone(),
            tls,
        })
    }

    pub(crate) fn connect(&self) -> Result<Session, StoreError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            let password = fs::read_to_string(path)
                .map_err(|source| StoreError::file("read the password file", path, source))?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        let mut client = match &self.tls {
            Some(tls) => config.connect(tls.clone())?,
            None => config.connect(NoTls)?,
        };
        client.batch_execute(LIMITS)?;
        Ok(Session {
            client: RefCell::new(client),
            statements: RefCell::default(),
            transaction: Cell::new(Transaction::None),
            broken: Cell::new(false),
            announces: Cell::new(false),
            orders_events: Cell::new(false),
        })
    }
}

/// Runs `work` on a thread of its own: a connection blocks, which no async thread may do, and
/// opening a store is not always done off them.
pub(crate) fn apart<T: Send>(
    work: impl FnOnce() -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("store-opener".to_owned());
        let opening = thread
            .spawn_scoped(scope, work)
            .map_err(StoreError::Thread)?;
        opening.join().map_err(|_| StoreError::Stopped)?
    })
}

/// Says which database, for people. There is no password in it.
pub(crate) fn place(settings: &PostgresSettings) -> String {
    settings.url.clone()
}

fn trusting(path: &PathBuf) -> Result<ClientConfig, StoreError> {
    let unusable = |source: Box<dyn Error + Send + Sync>| StoreError::TlsRoots {
        path: path.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.into()))? {
        let root = root.map_err(|error| unusable(error.into()))?;
        roots.add(root).map_err(|error| unusable(error.into()))?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Where a session stands in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement has failed; the server refuses all that follows.
    Failed,
}

/// One connection with its prepared statements. Used by one thread at a time.
pub(crate) struct Session {
    client: RefCell<Client>,
    statements: RefCell<HashMap<String, Statement>>,
    transaction: Cell<Transaction>,
    /// The server has said that it is going, or the connection has failed.
    broken: Cell<bool>,
    announces: Cell<bool>,
    orders_events: Cell<bool>,
}

impl Session {
    /// Runs statements that have no parameters, as one.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        let done = self.client.borrow_mut().batch_execute(sql);
        self.note(done)
    }

    pub(super) fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.run(sql, params, Client::execute)
    }

    pub(super) fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<postgres::Row>, StoreError> {
        self.run(sql, params, Client::query)
    }

    fn run<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        call: impl FnOnce(&mut Client, &Statement, &[&(dyn ToSql + Sync)]) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        let mut client = self.client.borrow_mut();
        let known = self.statements.borrow().get(sql).cloned();
        let answer = match known {
            Some(statement) => Ok(statement),
            None => client.prepare(&numbered(sql)).inspect(|statement| {
                let mut statements = self.statements.borrow_mut();
                statements.insert(sql.to_owned(), statement.clone());
            }),
        }
        .and_then(|statement| {
            let params: Vec<&(dyn ToSql + Sync)> = params
                .iter()
                .map(|param| -> &(dyn ToSql + Sync) { param })
                .collect();
            call(&mut client, &statement, &params)
        });
        if answer.is_err() && self.transaction.get() == Transaction::Open {
            self.transaction.set(Transaction::Failed);
        }
        self.note(answer)
    }

    fn note<T>(&self, answer: Result<T, postgres::Error>) -> Result<T, StoreError> {
        if answer.as_ref().is_err_and(breaks) {
            self.broken.set(true);
        }
        Ok(answer?)
    }

    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        self.announces.set(false);
        self.orders_events.set(false);
        // Set first: should this fail halfway, nobody uses the session again.
        self.transaction.set(Transaction::Open);
        self.batch("BEGIN")
    }

    pub(crate) fn commit(&self) -> Result<(), StoreError> {
        if self.transaction.get() == Transaction::Failed {
            // The server would answer a commit by undoing all, and call that a success.
            return Err(StoreError::FailurePassedOver);
        }
        self.batch(if self.announces.get() {
            "NOTIFY hiendien; COMMIT"
        } else {
            "COMMIT"
        })?;
        self.transaction.set(Transaction::None);
        Ok(())
    }

    fn roll_back(&self) {
        if self.batch("ROLLBACK").is_ok() {
            self.transaction.set(Transaction::None);
        }
    }

    fn is_closed(&self) -> bool {
        self.broken.get() || self.client.borrow().is_closed()
    }

    pub(super) fn announce(&self) {
        self.announces.set(true);
    }

    /// Event sequences are drawn before their transaction is committed, so that a reader could see
    /// the higher one, go on after it, and never see the lower one. A lock that one writer holds
    /// from its first event to its commit would keep order, at the price of one commit at a time.
    /// Instead each writer leaves a mark that the others do not mind: a shared advisory lock whose
    /// number is the last sequence drawn by anyone before its own. The server takes it away with the
    /// transaction, after its rows can be seen.
    pub(super) fn before_event(&self) -> Result<(), StoreError> {
        if self.orders_events.replace(true) {
            return Ok(());
        }
        self.query(
            "SELECT pg_advisory_xact_lock_shared(
                 ?1 + CASE WHEN is_called THEN last_value ELSE 0 END)
             FROM event_sequence_seq",
            &[Param::Integer(EVENT_LOCKS)],
        )?;
        Ok(())
    }

    /// Looks for marks of writers that are under way. Who has left none yet draws a sequence after
    /// `last`, since `last` has been drawn by now; all that a marked one draws lies beyond its mark.
    pub(super) fn settled_events(&self, last: i64) -> Result<i64, StoreError> {
        let rows = self.query(
            "SELECT min(((classid::bigint << 32) | objid::bigint) - ?1) AS mark FROM pg_locks
             WHERE locktype = 'advisory' AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND ((classid::bigint << 32) | objid::bigint) >= ?1
               AND ((classid::bigint << 32) | objid::bigint) < ?2",
            &[Param::Integer(EVENT_LOCKS), Param::Integer(EVENT_LOCKS_END)],
        )?;
        let mark: Option<i64> = match rows.first() {
            Some(row) => row.try_get("mark")?,
            None => None,
        };
        Ok(mark.map_or(last, |mark| mark.min(last)))
    }
}

/// Writes `?1` as PostgreSQL does. Our statements hold no other question mark.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

impl ToSql for Param<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) if *kind == Type::INT8 => value.to_sql(kind, out),
            // A text may hold any octet but this one, which SQLite takes and PostgreSQL does not.
            Self::Text(value) if *kind == Type::TEXT && value.contains('\0') => {
                value.replace('\0', "\u{fffd}").to_sql(kind, out)
            }
            Self::Text(value) if *kind == Type::TEXT => value.to_sql(kind, out),
            Self::Bytes(value) if *kind == Type::BYTEA => value.to_sql(kind, out),
            _ => Err(format!("{self:?} stands where the statement has {kind}").into()),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::BYTEA].contains(kind)
    }

    to_sql_checked!();
}

/// Names the column that does not hold what we wrote there.
pub(super) fn wrong<'r, T: FromSql<'r>>(
    column: &'static str,
    value: Result<T, postgres::Error>,
) -> Result<T, StoreError> {
    value.map_err(|error| StoreError::corrupt(column, error))
}

/// Connections that are lent out and come back.
struct Pool {
    server: Server,
    most: usize,
    sessions: Mutex<Sessions>,
    returned: Condvar,
}

#[derive(Default)]
struct Sessions {
    idle: Vec<Session>,
    /// Idle ones and those lent out.
    open: usize,
}

/// A session on loan. It goes back to the pool on `Drop`, unless it is broken or left amid a transaction.
struct Lent<'p> {
    pool: &'p Pool,
    session: Option<Session>,
    /// It has been idle, so that it may have been cut off without our knowing.
    reused: bool,
}

impl Pool {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self) -> Result<Lent<'_>, StoreError> {
        let end = Instant::now() + POOL_WAIT;
        let mut sessions = self.sessions();
        loop {
            if let Some(session) = sessions.idle.pop() {
                return Ok(Lent {
                    pool: self,
                    session: Some(session),
                    reused: true,
                });
            }
            if sessions.open < self.most {
                sessions.open += 1;
                drop(sessions);
                // From here on its `Drop` counts.
                let mut lent = Lent {
                    pool: self,
                    session: None,
                    reused: false,
                };
                lent.session = Some(self.server.connect()?);
                return Ok(lent);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Busy { most: self.most });
            }
            (sessions, _) = self
                .returned
                .wait_timeout(sessions, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets go of the idle connections: one was found cut off, so they may all be.
    fn forget_idle(&self) {
        let mut sessions = self.sessions();
        let idle = std::mem::take(&mut sessions.idle);
        sessions.open -= idle.len();
        drop(sessions);
    }

    /// Runs a change in a transaction, once.
    fn write<T>(
        &self,
        change: &(impl Fn(&Connection<'_>) -> Result<T, StoreError> + ?Sized),
    ) -> Result<T, Failure> {
        let lent = self.lend().map_err(Failure::Final)?;
        let session = lent.session()?;
        let changed = session
            .begin()
            .and_then(|()| change(&Connection::Postgres(session)));
        let value = match changed {
            Ok(value) => value,
            Err(error) => {
                session.roll_back();
                return Err(lent.judge(error));
            }
        };
        match session.commit() {
            Ok(()) => Ok(value),
            // A commit that the connection broke in may hold or not; only its caller can tell.
            Err(error) if session.is_closed() => Err(Failure::Final(error)),
            Err(error) => {
                session.roll_back();
                Err(lent.judge(error))
            }
        }
    }

    /// Runs a query, and once more where the connection had been cut off while it was idle.
    fn read<T>(
        &self,
        query: &(impl Fn(&Connection<'_>) -> Result<T, StoreError> + ?Sized),
    ) -> Result<T, StoreError> {
        let once = || {
            let lent = self.lend().map_err(Failure::Final)?;
            let session = lent.session()?;
            query(&Connection::Postgres(session)).map_err(|error| lent.judge(error))
        };
        match once() {
            Err(Failure::Again(_)) => once().map_err(Failure::into_inner),
            Err(Failure::Final(error)) => Err(error),
            Ok(value) => Ok(value),
        }
    }
}

impl Lent<'_> {
    fn session(&self) -> Result<&Session, Failure> {
        self.session
            .as_ref()
            .ok_or(Failure::Final(StoreError::Stopped))
    }

    /// Tells whether what failed, and left nothing behind, should be run once more.
    fn judge(&self, error: StoreError) -> Failure {
        let closed = self.session.as_ref().is_none_or(Session::is_closed);
        if closed {
            if self.reused {
                self.pool.forget_idle();
                return Failure::Again(error);
            }
            return Failure::Final(error);
        }
        match &error {
            StoreError::Postgres(cause) if collides(cause) => Failure::Again(error),
            _ => Failure::Final(error),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let broken = {
            let mut sessions = self.pool.sessions();
            match self.session.take() {
                Some(session)
                    if !session.is_closed() && session.transaction.get() == Transaction::None =>
                {
                    sessions.idle.push(session);
                    None
                }
                broken => {
                    sessions.open -= 1;
                    broken
                }
            }
        };
        self.pool.returned.notify_one();
        // Saying good-bye takes its time: not under the lock.
        drop(broken);
    }
}

/// Whether an attempt is worth another.
enum Failure {
    Again(StoreError),
    Final(StoreError),
}

impl Failure {
    fn into_inner(self) -> StoreError {
        match self {
            Self::Again(error) | Self::Final(error) => error,
        }
    }
}

/// Whether others were in the way: run again, the change sees what they did. A row that another
/// has just inserted is among these, since every change looks before it inserts.
fn collides(error: &postgres::Error) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
    ]
    .iter()
    .any(|state| error.code() == Some(state))
}

/// Whether the connection is of no more use. A server that stops says so, and closes only then.
fn breaks(error: &postgres::Error) -> bool {
    match error.code() {
        Some(state) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(state),
        None => lost(error),
    }
}

fn lost(error: &postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(<dyn Error>::is::<io::Error>)
}

/// Whether it may go well a little later with nothing mended on our side.
pub(crate) fn passes(error: &postgres::Error) -> bool {
    match error.code() {
        Some(state) => {
            // Classes: connection, transaction rollback, resources, operator intervention, system
            // error. 55P03 is a lock that was not had in time, 25006 a server that is being replaced.
            let code = state.code();
            ["08", "40", "53", "57", "58"].contains(&&code[..2])
                || ["23505", "25006", "55P03"].contains(&code)
        }
        None => lost(error),
    }
}

/// The PostgreSQL side of [`crate::database::Database`].
pub(crate) struct PostgresDatabase {
    pool: Arc<Pool>,
    /// As many as the pool has connections, so that no more threads wait for them.
    turns: Arc<Semaphore>,
    committed: watch::Sender<u64>,
    /// Its end tells the listener to stop.
    _listening: Sender<()>,
}

impl PostgresDatabase {
    /// Starts on a database whose schema is known to be ours. `session` is the first of the pool.
    pub(crate) fn start(settings: &PostgresSettings, session: Session) -> Result<Self, StoreError> {
        let most = settings.pool_max.max(1);
        let (committed, _) = watch::channel(0);
        let (listening, stopped) = channel();
        let listener = Server::new(settings)?;
        let thread_committed = committed.clone();
        thread::Builder::new()
            .name("store-listener".to_owned())
            .spawn(move || listen(&listener, &thread_committed, &stopped))
            .map_err(StoreError::Thread)?;
        Ok(Self {
            pool: Arc::new(Pool {
                server: Server::new(settings)?,
                most,
                sessions: Mutex::new(Sessions {
                    idle: vec![session],
                    open: 1,
                }),
                returned: Condvar::new(),
            }),
            turns: Arc::new(Semaphore::new(most)),
            committed,
            _listening: listening,
        })
    }

    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    {
        let change = Arc::new(change);
        let mut attempt = 1;
        loop {
            let change = Arc::clone(&change);
            match self
                .off_the_async_threads(move |pool| pool.write(&*change))
                .await?
            {
                Ok(value) => {
                    move_on(&self.committed);
                    return Ok(value);
                }
                Err(Failure::Again(_)) if attempt < ATTEMPTS_MAX => {
                    let most_ms = COLLISION_PAUSE_MS * u64::from(attempt);
                    let pause_ms = rand::rng().random_range(0..=most_ms);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    attempt += 1;
                }
                Err(failure) => return Err(failure.into_inner()),
            }
        }
    }

    pub(crate) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    {
        self.off_the_async_threads(move |pool| pool.read(&query))
            .await?
    }

    pub(crate) fn read_blocking<T>(
        &self,
        query: &impl Fn(&Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.pool.read(query)
    }

    async fn off_the_async_threads<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pool) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(POOL_WAIT, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| StoreError::Busy {
                most: self.pool.most,
            })?
            .map_err(|_| StoreError::Stopped)?;
        let pool = Arc::clone(&self.pool);
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&pool);
            drop(turn);
            done
        });
        task.await.map_err(|_| StoreError::Stopped)
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // A connection waits for its good-bye to go out, which no async thread may do.
        let idle = std::mem::take(&mut self.pool.sessions().idle);
        let closer = thread::Builder::new().name("store-closer".to_owned());
        if let Err(error) = closer.spawn(move || drop(idle)) {
            tracing::warn!(%error, "could not close the connections to the database");
        }
    }
}

fn move_on(committed: &watch::Sender<u64>) {
    committed.send_modify(|count| *count = count.wrapping_add(1));
}

/// Moves `committed` on whenever another process announces something, until `stopped` ends.
fn listen(server: &Server, committed: &watch::Sender<u64>, stopped: &Receiver<()>) {
    let mut pause = LISTEN_PAUSE;
    loop {
        let connected = server.connect().and_then(|session| {
            session.batch("LISTEN hiendien")?;
            Ok(session)
        });
        match connected {
            Ok(session) => {
                pause = LISTEN_PAUSE;
                // Whatever was announced in the meantime went unheard.
                move_on(committed);
                match hear(session.client.into_inner(), committed, stopped) {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%error, "lost the connection that listens for changes, polling until it is back");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "could not listen for changes, polling"),
        }
        let jitter = rand::rng().random_range(0.5..=1.0);
        match stopped.recv_timeout(pause.mul_f64(jitter)) {
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LISTEN_PAUSE_MAX),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns when `stopped` ends, and fails when the connection does.
fn hear(
    mut client: Client,
    committed: &watch::Sender<u64>,
    stopped: &Receiver<()>,
) -> Result<(), StoreError> {
    let mut checked = Instant::now();
    loop {
        match stopped.recv_timeout(Duration::ZERO) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let heard = client.notifications().timeout_iter(LISTEN_GLANCE).next()?;
        if heard.is_some() {
            // One look covers all that has been announced so far.
            while client.notifications().iter().next()?.is_some() {}
            move_on(committed);
        } else if client.is_closed() {
            return Err(StoreError::Stopped);
        } else if checked.elapsed() >= LISTEN_CHECK {
            client.is_valid(CONNECT_TIMEOUT)?;
            checked = Instant::now();
        }
    }
}
