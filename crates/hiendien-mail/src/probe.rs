//! Proves that mail comes in and goes out, or does not, as an outsider and as the owner would see it: over
//! the wire, with a credential that opens the mailbox for a moment. Both ways are tried at once.
//!
//! A refusal proves something only where a server said it of the credential or of the address. No connection,
//! no answer, "try later" and a credential that has run out prove nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_imap::{Client, Session};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt as _;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::secret::Secret;
use hiendien_domain::site::hex;
use hiendien_engine::ports::{MailProof, PortError};
use jiff::{SignedDuration, Timestamp};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor, address::Envelope,
};
use mail_auth::common::crypto::Algorithm;
use mail_auth::hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use crate::dialogue::{Dialogue, Reply};
use crate::mailboxes::{ProbeCredential, SqliteMailboxes};
use crate::tls::{self, Roots};

/// Bound of one SMTP or IMAP exchange.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Bound of a sign-in that is to be refused: servers answer late, and later each time, to whoever guesses.
const REFUSAL: Duration = Duration::from_secs(30);
const SIGNING_IN: &str = "signing in to the mailbox over IMAP";
/// What the probe calls itself (RFC 2606).
const HELLO: &str = "probe.invalid";
/// Bound of one question to a name server.
const QUESTION: Duration = Duration::from_secs(2);
/// How long a probe's credential opens a mailbox.
const CREDENTIAL: SignedDuration = SignedDuration::from_secs(120);
/// How often a mailbox is looked at while a message is on its way.
const LOOK: Duration = Duration::from_millis(15);
/// Messages that may have come between the begin of a probe and its first look.
const RECENT: u32 = 500;

/// Where the probe goes.
#[derive(Debug, Clone)]
pub struct MailProbeSettings {
    /// Name and address of the exchanger that mail from outside is handed to, on port 25.
    pub exchanger_host: DomainName,
    pub exchanger: IpAddr,
    /// Every address of every exchanger, asked whether mail is refused.
    pub exchangers: Vec<IpAddr>,
    pub imap_host: DomainName,
    pub smtp_host: DomainName,
    /// Address behind both hosts; ports 993 and 465.
    pub mail: IpAddr,
    /// PEM file with the roots that the mail servers' certificate is verified against. Read for each probe.
    pub roots: PathBuf,
    pub outside: OutsideMailbox,
    /// Name servers that answer for the zones. They are asked directly, past every cache.
    pub name_servers: Vec<SocketAddr>,
    /// How long a message may take.
    pub delivery_limit: Duration,
}

/// A mailbox at another provider that the probe may read.
#[derive(Debug, Clone)]
pub struct OutsideMailbox {
    pub address: MailAddress,
    pub imap: SocketAddr,
    /// The name its certificate is verified for.
    pub imap_name: DomainName,
    pub roots: PathBuf,
    /// File with its password.
    pub password_file: PathBuf,
}

/// Sends and reads.
pub struct MailProbe {
    settings: MailProbeSettings,
    mailboxes: SqliteMailboxes,
    authenticator: MessageAuthenticator,
}

impl fmt::Debug for MailProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailProbe")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
type Imap = Session<TlsStream<TcpStream>>;

pub(crate) fn at<E: Into<Failure>>(stage: &'static str) -> impl FnOnce(E) -> PortError {
    move |error| PortError::transient(stage, error)
}

pub(crate) async fn within<T>(
    stage: &'static str,
    exchange: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, PortError> {
    bounded(EXCHANGE, stage, exchange).await
}

async fn bounded<T>(
    limit: Duration,
    stage: &'static str,
    exchange: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, PortError> {
    match tokio::time::timeout(limit, exchange).await {
        Ok(result) => result.map_err(at(stage)),
        Err(_) => Err(at(stage)(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// What came of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SignIn {
    Opened,
    /// The server refuses the credential, for good.
    Refused,
}

pub(crate) async fn read_roots(file: &std::path::Path) -> Result<Roots, PortError> {
    tls::roots(file).await.map_err(|error| {
        PortError::misconfigured("reading the roots of the mail servers' certificate", error)
    })
}

impl MailProbe {
    pub fn new(settings: MailProbeSettings, mailboxes: SqliteMailboxes) -> Result<Self, PortError> {
        let servers = settings
            .name_servers
            .iter()
            .map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                config
            })
            .collect();
        let mut options = ResolverOpts::default();
        // A key that was published a moment ago must not hide behind an older answer.
        options.cache_size = 0;
        options.timeout = QUESTION;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let authenticator = MessageAuthenticator::new(config, options)
            .map_err(|error| PortError::misconfigured("setting up the DKIM check", error))?;
        Ok(Self {
            settings,
            mailboxes,
            authenticator,
        })
    }

    pub fn settings(&self) -> &MailProbeSettings {
        &self.settings
    }

    /// Proves what `Probes::mail` promises for the mailbox at `address`.
    pub async fn prove(
        &self,
        address: &MailAddress,
        now: Timestamp,
    ) -> Result<MailProof, PortError> {
        let roots = read_roots(&self.settings.roots).await?;
        let credential = self.mailboxes.open_probe(address, now + CREDENTIAL).await?;
        let legs = tokio::try_join!(
            Box::pin(self.receive(address, &credential, &roots)),
            Box::pin(self.send(address, &credential, &roots))
        );
        let closed = self.mailboxes.close_probe(&credential).await;
        let (received, (sent, selector)) = legs?;
        closed?;
        Ok(MailProof {
            received,
            sent,
            selector,
        })
    }

    /// Proves what `Probes::mail_served` promises: the exchanger takes mail, and the mailbox opens.
    pub async fn prove_served(
        &self,
        address: &MailAddress,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let roots = read_roots(&self.settings.roots).await?;
        let credential = self.mailboxes.open_probe(address, now + CREDENTIAL).await?;
        let questions = async {
            tokio::try_join!(
                self.recipient(self.settings.exchanger, address),
                self.sign_in(&credential, &roots)
            )
        };
        let answers = questions.await;
        let closed = self.mailboxes.close_probe(&credential).await;
        let (taken, signed_in) = answers?;
        closed?;
        self.taken(&taken)?;
        match signed_in {
            SignIn::Opened => Ok(()),
            SignIn::Refused => Err(at(SIGNING_IN)("the server refuses a good credential")),
        }
    }

    /// Proves what `Probes::mail_stopped` promises: mail still comes in, and nobody signs in.
    pub async fn prove_stopped(
        &self,
        address: &MailAddress,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let question = Box::pin(self.recipient(self.settings.exchanger, address));
        let taken = tokio::try_join!(question, Box::pin(self.prove_closed(address, now)));
        let (taken, ()) = taken?;
        self.taken(&taken)
    }

    /// Proves what `Probes::mail_absent` promises: no exchanger takes mail, and nobody signs in.
    pub async fn prove_absent(
        &self,
        address: &MailAddress,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let everywhere = self.settings.exchangers.iter();
        let questions = everywhere.map(|exchanger| async move {
            let reply = self.recipient(*exchanger, address).await?;
            if reply.is_permanent() {
                return Ok(());
            }
            let told = format!("`{exchanger}` answers `{}`", reply.0);
            Err(at("seeing that mail is refused for good")(told))
        });
        let refused = futures_util::future::try_join_all(questions);
        tokio::try_join!(refused, Box::pin(self.prove_closed(address, now))).map(drop)
    }

    fn taken(&self, reply: &Reply) -> Result<(), PortError> {
        if reply.is_positive() {
            return Ok(());
        }
        let told = format!("`{}` answers `{}`", self.settings.exchanger, reply.0);
        Err(at("seeing that mail is taken in")(told))
    }

    /// A credential that is good in all but what the mailbox may do is refused at IMAP and at submission.
    async fn prove_closed(&self, address: &MailAddress, now: Timestamp) -> Result<(), PortError> {
        let stage = "seeing that nobody signs in";
        let roots = read_roots(&self.settings.roots).await?;
        let credential = self.mailboxes.open_probe(address, now + CREDENTIAL).await?;
        let questions = async {
            let both = tokio::try_join!(
                self.sign_in(&credential, &roots),
                self.sign_in_to_send(&credential, &roots)
            );
            // One that has run out meanwhile, by the clock the servers go by, would be refused in any case.
            let good = self.mailboxes.probe_is_good(&credential).await?;
            Ok::<_, PortError>((both?, good))
        };
        let answers = questions.await;
        let closed = self.mailboxes.close_probe(&credential).await;
        let ((imap, submission), good) = answers?;
        closed?;
        if imap == SignIn::Opened {
            return Err(at(stage)("IMAP opens the mailbox"));
        }
        if submission == SignIn::Opened {
            return Err(at(stage)("submission opens for the mailbox"));
        }
        if !good {
            return Err(at(stage)("the probe's credential had run out"));
        }
        Ok(())
    }

    /// What an exchanger says to mail for the address, of which none is handed in.
    async fn recipient(
        &self,
        exchanger: IpAddr,
        address: &MailAddress,
    ) -> Result<Reply, PortError> {
        within("asking the mail exchanger about a recipient", async {
            let stream = TcpStream::connect(SocketAddr::new(exchanger, 25)).await?;
            let from = &self.settings.outside.address;
            Dialogue::over(stream).recipient(HELLO, from, address).await
        })
        .await
    }

    async fn sign_in(
        &self,
        credential: &ProbeCredential,
        roots: &Roots,
    ) -> Result<SignIn, PortError> {
        let server = SocketAddr::new(self.settings.mail, 993);
        let exchange = async {
            let client = greet(server, &self.settings.imap_host, roots).await?;
            let password = credential.password.expose();
            match client.login(&credential.login, password).await {
                Ok(mut session) => {
                    session.logout().await?;
                    Ok(SignIn::Opened)
                }
                Err((error, _)) if is_refusal(&error) => Ok(SignIn::Refused),
                Err((error, _)) => Err(error.into()),
            }
        };
        bounded(REFUSAL, SIGNING_IN, exchange).await
    }

    async fn sign_in_to_send(
        &self,
        credential: &ProbeCredential,
        roots: &Roots,
    ) -> Result<SignIn, PortError> {
        let server = SocketAddr::new(self.settings.mail, 465);
        let exchange = async {
            let stream = TcpStream::connect(server).await?;
            let name = ServerName::try_from(self.settings.smtp_host.to_string())?;
            let connector = TlsConnector::from(Arc::clone(&roots.config));
            let mut submission = Dialogue::over(connector.connect(name, stream).await?);
            submission.ask("").await?;
            submission.ask(&format!("EHLO {HELLO}")).await?;
            let (login, password) = (&credential.login, credential.password.expose());
            let plain = STANDARD.encode(format!("\0{login}\0{password}"));
            let reply = submission.reply(&format!("AUTH PLAIN {plain}")).await?;
            match reply.code() {
                "235" => Ok(SignIn::Opened),
                // The credential is invalid (RFC 4954, 6); all else says nothing of it. Postfix says so too when
                // Dovecot could not tell, therefore IMAP, where Dovecot owns up to that, is asked beside it.
                "535" => Ok(SignIn::Refused),
                _ => Err(format!("it answered `{}`", reply.0).into()),
            }
        };
        bounded(REFUSAL, "signing in to submission", exchange).await
    }

    /// From outside in, read over IMAP.
    async fn receive(
        &self,
        address: &MailAddress,
        credential: &ProbeCredential,
        roots: &Roots,
    ) -> Result<String, PortError> {
        let letter = ProbeLetter::write(&self.settings.outside.address, address)?;
        let exchanger = self.settings.exchanger.to_string();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(exchanger)
            .port(25)
            .timeout(Some(EXCHANGE))
            .build();
        let server = SocketAddr::new(self.settings.mail, 993);
        let ((), mut inbox) = tokio::try_join!(
            within("handing a message to the mail exchanger", async {
                Ok(transport.send(letter.message).await.map(|_| ())?)
            }),
            within(
                SIGNING_IN,
                Inbox::open(
                    server,
                    &self.settings.imap_host,
                    roots,
                    &credential.login,
                    &credential.password
                )
            )
        )?;
        let stage = "waiting for the message from outside in the mailbox";
        self.take(&mut inbox, &letter.token, stage).await?;
        Ok(letter.id)
    }

    /// From the mailbox out, read at the other side, its signature checked.
    async fn send(
        &self,
        address: &MailAddress,
        credential: &ProbeCredential,
        roots: &Roots,
    ) -> Result<(String, String), PortError> {
        let outside = &self.settings.outside;
        let letter = ProbeLetter::write(address, &outside.address)?;
        let outside_roots = read_roots(&outside.roots).await?;
        let password = tokio::fs::read_to_string(&outside.password_file)
            .await
            .map_err(|error| {
                let file = outside.password_file.display();
                PortError::misconfigured(format!("reading `{file}`"), error)
            })?;
        let password = Secret::new(password.trim());
        let submit = async {
            let parameters = TlsParameters::builder(self.settings.smtp_host.to_string())
                .certificate_store(CertificateStore::None)
                .add_root_certificate(Certificate::from_pem(&roots.pem)?)
                .build_rustls()?;
            let host = self.settings.mail.to_string();
            let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
                .port(465)
                .tls(Tls::Wrapper(parameters))
                .credentials(Credentials::new(
                    credential.login.clone(),
                    credential.password.expose().to_owned(),
                ))
                .timeout(Some(EXCHANGE))
                .build();
            transport.send(letter.message).await?;
            Ok(())
        };
        let ((), mut inbox) = tokio::try_join!(
            within("submitting a message as the mailbox", submit),
            within(
                "signing in to the outside mailbox over IMAP",
                Inbox::open(
                    outside.imap,
                    &outside.imap_name,
                    &outside_roots,
                    outside.address.as_str(),
                    &password
                )
            )
        )?;
        let stage = "waiting for the submitted message in the outside mailbox";
        let raw = self.take(&mut inbox, &letter.token, stage).await?;
        let selector = self.check_signature(&raw, address).await?;
        Ok((letter.id, selector))
    }

    /// Waits for the message with the token, and takes it out of the mailbox: a probe leaves nothing behind.
    async fn take(
        &self,
        inbox: &mut Inbox,
        token: &str,
        stage: &'static str,
    ) -> Result<Vec<u8>, PortError> {
        let limit = self.settings.delivery_limit;
        let end = Instant::now() + limit;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (uid, raw) = loop {
            looks.tick().await;
            if let Some(found) = within(stage, inbox.find(token)).await? {
                break found;
            }
            if Instant::now() > end {
                let waited = limit.as_secs();
                return Err(at(stage)(format!("it did not come within {waited} s")));
            }
        };
        within("deleting a probe's message", inbox.remove(uid)).await?;
        Ok(raw)
    }

    /// Every signature by the address's domain verifies, and one of them is RSA: returns its selector.
    async fn check_signature(
        &self,
        raw: &[u8],
        address: &MailAddress,
    ) -> Result<String, PortError> {
        let stage = "checking the DKIM signature against the zone";
        let wanted = address.domain();
        let verified = within(stage, async {
            let message = AuthenticatedMessage::parse(raw).ok_or("the message cannot be read")?;
            let outputs = self.authenticator.verify_dkim(&message).await;
            let mut rsa = None;
            let mut faults = Vec::new();
            for output in &outputs {
                match (output.result(), output.signature()) {
                    (DkimResult::Pass, Some(signature)) if signature.d == wanted => {
                        if signature.a == Algorithm::RsaSha256 {
                            rsa.get_or_insert_with(|| signature.s.clone());
                        }
                    }
                    (DkimResult::Pass, _) => {}
                    (result, Some(signature)) => {
                        faults.push(format!("selector `{}`: {result:?}", signature.s));
                    }
                    (result, None) => faults.push(format!("{result:?}")),
                }
            }
            if !faults.is_empty() {
                return Err(faults.join("; ").into());
            }
            rsa.ok_or_else(|| {
                let number = outputs.len();
                format!("none of its {number} signatures is an RSA one by `{wanted}`").into()
            })
        });
        verified.await
    }
}

/// The server says of the credential itself that it is not good (RFC 5530), and not that it could not tell.
fn is_refusal(error: &async_imap::error::Error) -> bool {
    // async-imap tells the response code only as it prints it.
    matches!(error, async_imap::error::Error::No(told) if told.contains("[AUTHENTICATIONFAILED]"))
}

/// A message that is recognised by its token.
struct ProbeLetter {
    token: String,
    id: String,
    message: Message,
}

impl ProbeLetter {
    fn write(from: &MailAddress, to: &MailAddress) -> Result<Self, PortError> {
        let token = hex(Uuid::new_v4().as_bytes());
        let id = format!("{token}@{}", from.domain());
        let write = || -> Result<Message, Failure> {
            let (sender, recipient): (Address, Address) =
                (from.as_str().parse()?, to.as_str().parse()?);
            let envelope = Envelope::new(Some(sender.clone()), vec![recipient.clone()])?;
            let message = Message::builder()
                .envelope(envelope)
                .from(sender.into())
                .to(recipient.into())
                .subject("Kiểm tra hộp thư (tự động) / mailbox check (automatic)")
                .message_id(Some(format!("<{id}>")))
                .body("Thư kiểm tra tự động, sẽ được xoá ngay.\r\nAn automatic check; it is deleted at once.\r\n".to_owned())?;
            Ok(message)
        };
        let message =
            write().map_err(|error| PortError::rejected("writing a probe's message", error))?;
        Ok(Self { token, id, message })
    }
}

/// An open IMAP mailbox.
struct Inbox {
    session: Imap,
    /// Messages with a lower UID were there before the probe.
    first_uid: u32,
}

impl Inbox {
    async fn open(
        server: SocketAddr,
        name: &DomainName,
        roots: &Roots,
        user: &str,
        password: &Secret,
    ) -> Result<Self, Failure> {
        let client = greet(server, name, roots).await?;
        let mut session = client
            .login(user, password.expose())
            .await
            .map_err(|(error, _)| error)?;
        let mailbox = session.select("INBOX").await?;
        let first_uid = mailbox.uid_next.unwrap_or(1).saturating_sub(RECENT).max(1);
        Ok(Self { session, first_uid })
    }

    /// The message with the token, its UID first.
    async fn find(&mut self, token: &str) -> Result<Option<(u32, Vec<u8>)>, Failure> {
        self.session.noop().await?;
        let query = format!("UID {}:* HEADER Message-ID {token}", self.first_uid);
        let found = self.session.uid_search(&query).await?;
        let Some(uid) = found.into_iter().next() else {
            return Ok(None);
        };
        let fetched = self.session.uid_fetch(uid.to_string(), "BODY.PEEK[]");
        let messages: Vec<_> = fetched.await?.try_collect().await?;
        let raw = messages.iter().find_map(|message| message.body());
        Ok(raw.map(|raw| (uid, raw.to_vec())))
    }

    async fn remove(&mut self, uid: u32) -> Result<(), Failure> {
        let uid = uid.to_string();
        let stored = self
            .session
            .uid_store(&uid, "+FLAGS.SILENT (\\Deleted)")
            .await?;
        let _: Vec<_> = stored.try_collect().await?;
        let _: Vec<_> = self.session.uid_expunge(&uid).await?.try_collect().await?;
        Ok(self.session.logout().await?)
    }
}

/// Connects over TLS, with the certificate verified for `name`, and reads the greeting.
pub(crate) async fn greet(
    server: SocketAddr,
    name: &DomainName,
    roots: &Roots,
) -> Result<Client<TlsStream<TcpStream>>, Failure> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_string())?;
    let connector = TlsConnector::from(Arc::clone(&roots.config));
    let mut client = Client::new(connector.connect(name, stream).await?);
    client
        .read_response()
        .await?
        .ok_or("the server closed the connection instead of greeting")?;
    Ok(client)
}
