//! The standard runs of every verb at the real servers: DNS, CA, build container, edge and mail.
//!
//! `verbs.rs` cuts each step at each place on both stores, one fault a run, in a small world. Here every
//! fault happens once to every step of every verb while all verbs are under way, on one PostgreSQL: it fails
//! before its effect, its reply is lost, its effect happens twice, its worker dies right before and right
//! after each of its log lines. What each server shows in the end is what it shows after an undisturbed run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use hiendien::{Config, Hands, Kept};
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{Direction, Verb};
use hiendien_domain::secret::Secret;
use hiendien_engine::operation::{Operation, PlaneChange, RunEnd, StepLog};
use hiendien_engine::ports::PortError;
use hiendien_engine::presence::Presence;
use hiendien_engine::request::{Registrant, Request};
use hiendien_engine::retry::RetryPolicy;
use hiendien_engine::store::{Directory, Lease, LeaseError, OperationLog};
use hiendien_engine::verbs::step_names;
use hiendien_engine::worker::{Injection, WorkerSettings, work};
use integration_tests::lab::{Lab, output, variant};
use integration_tests::net;
use integration_tests::wait::wait_for;
use integration_tests::world::locked;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::verbs::{asked, new_content};

/// Until an operation has come through all that happens to it.
const LIMIT: Duration = Duration::from_mins(4);
const LEASE: Duration = Duration::from_secs(2);
const WORKERS: usize = 8;
const PASSWORD: &str = "mat-khau-du-dai";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Before,
    ReplyLost,
    Twice,
    /// The worker dies: the line about the step's beginning, or its end, is not written, or just was.
    BeforeBeginning,
    AfterBeginning,
    BeforeEnd,
    AfterEnd,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Before,
        Self::ReplyLost,
        Self::Twice,
        Self::BeforeBeginning,
        Self::AfterBeginning,
        Self::BeforeEnd,
        Self::AfterEnd,
    ];
}

/// What has not happened yet: each is taken once.
#[derive(Debug, Default)]
struct Faults(Mutex<BTreeSet<(Verb, &'static str, Fault)>>);

impl Faults {
    /// Every fault at every step of every verb.
    fn all() -> Self {
        let of_verb = |verb| {
            let steps = step_names(verb).into_iter();
            steps.flat_map(move |step| Fault::ALL.map(|fault| (verb, step, fault)))
        };
        Self(Mutex::new(
            Verb::ALL.iter().copied().flat_map(of_verb).collect(),
        ))
    }

    fn take(&self, verb: Option<Verb>, step: &'static str, fault: Fault) -> bool {
        verb.is_some_and(|verb| locked(&self.0).remove(&(verb, step, fault)))
    }
}

/// One life of a worker that has one operation at a time.
struct Mortal {
    log: Arc<dyn OperationLog>,
    faults: Arc<Faults>,
    at_work: Mutex<Option<Verb>>,
    died: Notify,
}

impl std::fmt::Debug for Mortal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mortal").finish_non_exhaustive()
    }
}

impl Mortal {
    fn takes(&self, step: &'static str, fault: Fault) -> bool {
        let verb = *locked(&self.at_work);
        self.faults.take(verb, step, fault)
    }

    fn happens(&self, lines: &[StepLog], beginning: Fault, end: Fault) -> bool {
        // Lines that are written together meet the same fate, so each of them is asked.
        let met = lines.iter().filter(|line| match line {
            StepLog::Started { step, .. } => self.takes(step, beginning),
            StepLog::Succeeded { step, .. } => self.takes(step, end),
            _ => false,
        });
        met.count() > 0
    }

    async fn die(&self) -> ! {
        self.died.notify_one();
        std::future::pending().await
    }

    async fn between<W: Future<Output = Result<(), LeaseError>>>(
        &self,
        lines: &[StepLog],
        write: W,
    ) -> Result<(), LeaseError> {
        if self.happens(lines, Fault::BeforeBeginning, Fault::BeforeEnd) {
            self.die().await;
        }
        let dies = self.happens(lines, Fault::AfterBeginning, Fault::AfterEnd);
        write.await?;
        if dies {
            self.die().await;
        }
        Ok(())
    }
}

impl Injection for Mortal {
    fn before(&self, step: &'static str, _: u32, direction: Direction) -> Option<PortError> {
        (direction == Direction::Apply && self.takes(step, Fault::Before))
            .then(|| PortError::transient("reaching the server", "the line was cut"))
    }

    fn after(&self, step: &'static str, _: u32, direction: Direction) -> Option<PortError> {
        (direction == Direction::Apply && self.takes(step, Fault::ReplyLost))
            .then(|| PortError::transient("reading the reply", "the line was cut"))
    }

    fn times(&self, step: &'static str, direction: Direction) -> u32 {
        let twice = direction == Direction::Apply && self.takes(step, Fault::Twice);
        if twice { 2 } else { 1 }
    }
}

#[async_trait]
impl OperationLog for Mortal {
    async fn lease_next(
        &self,
        worker: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<(Lease, Operation, Presence)>, PortError> {
        let leased = self.log.lease_next(worker, now, lease).await?;
        *locked(&self.at_work) = leased.as_ref().map(|(_, operation, _)| operation.verb);
        Ok(leased)
    }

    async fn extend(&self, lease: &Lease, now: Timestamp, by: Duration) -> Result<(), LeaseError> {
        self.log.extend(lease, now, by).await
    }

    async fn write(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        let write = self.log.write(lease, lines.clone(), planes, now);
        self.between(&lines, write).await
    }

    async fn end_run(
        &self,
        lease: &Lease,
        lines: Vec<StepLog>,
        planes: Vec<PlaneChange>,
        end: RunEnd,
        now: Timestamp,
    ) -> Result<(), LeaseError> {
        let write = self.log.end_run(lease, lines.clone(), planes, end, now);
        self.between(&lines, write).await
    }

    async fn retry(&self, operation: OperationId, now: Timestamp) -> Result<bool, PortError> {
        self.log.retry(operation, now).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.log.changes()
    }
}

/// The service of a lab as its workers have it.
struct Service {
    lab: Lab,
    kept: Kept,
    hands: Hands,
}

impl Service {
    async fn start() -> Self {
        let lab = Lab::start_on_postgres(|config, _| config);
        // The client of the lab's API may have named it before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = Config::read(&lab.state().join("hiendien.toml")).unwrap();
        let kept = Kept::open(&config).await.unwrap();
        let hands = Hands::make(&config, &kept, "faults").unwrap();
        Self { lab, kept, hands }
    }

    /// Works with one life after the other, until `stopping`; how many lives there were.
    async fn work(
        &self,
        name: String,
        faults: Arc<Faults>,
        stopping: watch::Receiver<bool>,
    ) -> usize {
        let mut lives = 0;
        loop {
            lives += 1;
            let log = Arc::new(Mortal {
                log: self.kept.store.clone(),
                faults: Arc::clone(&faults),
                at_work: Mutex::default(),
                died: Notify::new(),
            });
            let settings = WorkerSettings {
                slots: 1,
                lease: LEASE,
                retry: RetryPolicy {
                    first_max: Duration::from_millis(50),
                    wait_max: Duration::from_millis(500),
                },
                poll: Duration::from_millis(100),
                injection: Some(log.clone()),
                ..WorkerSettings::named(format!("{name}-{lives}"))
            };
            let ports = Arc::clone(&self.hands.ports);
            let mut worker = tokio::spawn(work(settings, log.clone(), ports, stopping.clone()));
            tokio::select! {
                ended = &mut worker => {
                    ended.unwrap();
                    return lives;
                }
                () = log.died.notified() => {
                    worker.abort();
                    let _ = worker.await;
                }
            }
        }
    }

    async fn ends(&self, operation: OperationId) {
        let what = format!("operation `{operation}` to succeed");
        wait_for(&what, LIMIT, async || {
            let found = self.kept.store.operation(operation).await.unwrap().unwrap();
            if found.state.is_final() {
                Ok(())
            } else {
                Err(format!("{found:#?}"))
            }
        })
        .await;
    }

    async fn asks(&self, presence: PresenceId, request: Request) {
        let operation = asked(&self.kept.store, &self.hands.ports, presence, request).await;
        self.ends(operation).await;
    }

    /// Brings the verb about on a presence of its own, from its claim on.
    async fn story(&self, number: usize, verb: Verb) -> Told {
        let api = self.lab.api();
        let claim = variant("pho-shop.json", number);
        let name = claim["domain"].as_str().unwrap().to_owned();
        let (status, _, accepted) = api.submit(claim.to_string(), &name).await;
        assert_eq!(status, 202, "{accepted:#}");
        let presence: PresenceId = accepted["presence"].as_str().unwrap().parse().unwrap();
        let store = &self.kept.store;
        let provision = store.presence(presence).await.unwrap().unwrap().operation;
        self.ends(provision).await;
        let plan = store.presence(presence).await.unwrap().unwrap().plan;
        let mailbox = plan.mailboxes[0].clone();
        let (address, password) = (mailbox.at(&plan.name), Secret::new(PASSWORD));
        let mailboxes = &self.hands.ports.mailboxes;
        let set = mailboxes.set_password(presence, &address, &password).await;
        set.unwrap();
        let suspend = Request::Suspend {
            reason: "để thử".to_owned(),
        };
        let request = match verb {
            Verb::Provision => None,
            Verb::Publish => Some(new_content(store, presence).await),
            Verb::Rollback => {
                let first = store.presence(presence).await.unwrap().unwrap().revision;
                self.asks(presence, new_content(store, presence).await)
                    .await;
                let revision = first.unwrap();
                Some(Request::Rollback { revision })
            }
            Verb::Suspend => Some(suspend),
            Verb::Resume => {
                self.asks(presence, suspend).await;
                Some(Request::Resume)
            }
            Verb::Expire => Some(Request::Expire),
            Verb::Renew => {
                self.asks(presence, Request::Expire).await;
                let term_ends_at = Timestamp::now() + SignedDuration::from_hours(24 * 365);
                Some(Request::Renew {
                    term_ends_at: Some(term_ends_at),
                })
            }
            Verb::Transfer => Some(Request::Transfer {
                registrar: Some(("nha-dang-ky-khac".to_owned(), format!("chuyen-{number}"))),
                registrant: Some(Registrant {
                    owner_name: "Chủ mới (mẫu)".to_owned(),
                    contact_email: format!("mau-so-{number}@outside.test").parse().unwrap(),
                }),
            }),
            Verb::RenameMailbox => Some(Request::RenameMailbox {
                from: mailbox,
                to: "hop-thu-moi".parse().unwrap(),
            }),
            Verb::ResetPassword => Some(Request::ResetPassword { mailbox }),
            Verb::Repair => {
                let ports = &self.hands.ports;
                ports.zones.remove_zone(presence, &plan.name).await.unwrap();
                ports.publications.withdraw(presence).await.unwrap();
                self.loses_mailboxes(presence);
                Some(Request::Repair)
            }
            Verb::Release => Some(Request::Release),
            Verb::Purge => {
                self.asks(presence, Request::Release).await;
                Some(Request::Purge)
            }
        };
        if let Some(request) = request {
            self.asks(presence, request).await;
        }
        Told {
            verb,
            number,
            presence,
            name,
            address: address.to_string(),
        }
    }

    /// The mail servers' database comes from a backup that is too old.
    fn loses_mailboxes(&self, presence: PresenceId) {
        let database = rusqlite::Connection::open(self.lab.state().join("mail/mail.db")).unwrap();
        for table in ["alias", "mailbox"] {
            let lose = format!("DELETE FROM {table} WHERE presence_id = ?1");
            assert!(database.execute(&lose, [presence.to_string()]).unwrap() > 0);
        }
    }

    /// All verbs at once. What was told of each, and how often a worker died.
    async fn all_verbs(&self, first: usize, faults: Faults) -> (Vec<Told>, usize, Faults) {
        let faults = Arc::new(faults);
        let (stop, stopping) = watch::channel(false);
        let workers = (0..WORKERS).map(|number| {
            self.work(
                format!("worker-{first}-{number}"),
                Arc::clone(&faults),
                stopping.clone(),
            )
        });
        let stories = async {
            let stories = Verb::ALL.iter().enumerate();
            let told =
                join_all(stories.map(|(number, verb)| self.story(first + number, *verb))).await;
            stop.send_replace(true);
            told
        };
        let (lives, told) = tokio::join!(join_all(workers), stories);
        let deaths = lives.iter().sum::<usize>() - WORKERS;
        (told, deaths, Arc::into_inner(faults).unwrap())
    }

    /// What the servers show of a presence, equal for equal presences of other names.
    fn seen(&self, told: &Told, letters: &[BTreeMap<String, String>]) -> Value {
        let Told { name, address, .. } = told;
        let asked: Vec<(String, &str)> = ASKED
            .iter()
            .flat_map(|(below, kinds)| {
                kinds
                    .iter()
                    .map(move |kind| (format!("{below}{name}"), *kind))
            })
            .collect();
        let of_parent = ["NS", "DS"].map(|kind| (name.clone(), kind));
        let records = json!({
            "first": dig(53, &asked),
            "second": dig(54, &asked),
            "parent": dig(10, &of_parent),
        });
        let mut pages = BTreeMap::new();
        for (scheme, host, path) in [
            ("https", "", "/"),
            ("https", "", "/sitemap.xml"),
            ("https", "www.", "/"),
            ("https", "mta-sts.", "/.well-known/mta-sts.txt"),
            ("https", "autoconfig.", "/mail/config-v1.1.xml"),
            ("http", "", "/"),
        ] {
            let host = format!("{host}{name}");
            pages.insert(
                format!("{scheme} {host}{path}"),
                self.page(scheme, &host, path),
            );
        }
        let renamed = format!("hop-thu-moi@{name}");
        let state = self.lab.state();
        let count = |place: String| std::fs::read_dir(state.join(place)).map_or(0, Iterator::count);
        let presence = told.presence;
        let of_mail = output(
            Command::new("doveadm")
                .arg("-c")
                .arg(state.join("mail/dovecot/dovecot.conf"))
                .args(["user", &format!("*@{name}")]),
        );
        let to = format!("mau-so-{}@outside.test", told.number);
        let letters: Vec<&String> = letters
            .iter()
            .filter(|letter| letter["to"].contains(&to))
            .map(|letter| &letter["subject"])
            .collect();
        let seen = json!({
            "records": records,
            "pages": pages,
            "signs_in": self.lab.signs_in(address, PASSWORD),
            "signs_in_renamed": self.lab.signs_in(&renamed, PASSWORD),
            "mailboxes": of_mail.lines().collect::<BTreeSet<_>>(),
            "letters": letters,
            "revisions": count(format!("revisions/{presence}/revisions")),
        });
        let tax_id = format!("1{:09}", 100 + told.number);
        let label = name.split('.').next().unwrap();
        let text = seen
            .to_string()
            .replace(label, "NAME")
            .replace(&tax_id, "TAX-ID");
        serde_json::from_str(&text).unwrap()
    }

    /// Status, where it leads and what is there; the certificate is verified.
    fn page(&self, scheme: &str, host: &str, path: &str) -> String {
        let port = if scheme == "https" { 443 } else { 80 };
        let seen = Command::new("curl")
            .args(["--silent", "--max-time", "10"])
            .args(["--resolve", &format!("{host}:{port}:{}", net::address(80))])
            .args([
                "--write-out",
                "\n%{exitcode} %{http_code} %{redirect_url} %header{x-service}",
            ])
            .arg("--cacert")
            .arg(self.lab.state().join("pebble/roots.pem"))
            .arg(format!("{scheme}://{host}{path}"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&seen.stdout).into_owned()
    }

    /// All letters that came to the outside, each once however often it was sent.
    fn letters(&self) -> Vec<BTreeMap<String, String>> {
        let script = "import imaplib,ssl,sys,email,json\n\
            from email.header import decode_header,make_header\n\
            c=ssl.create_default_context();c.check_hostname=False;c.verify_mode=ssl.CERT_NONE\n\
            m=imaplib.IMAP4_SSL(sys.argv[1],993,ssl_context=c);m.login('outside@outside.test',sys.argv[2]);m.select('INBOX')\n\
            found={}\n\
            for i in m.search(None,'ALL')[1][0].split():\n\
            \x20 l=email.message_from_bytes(m.fetch(i,'(RFC822)')[1][0][1])\n\
            \x20 found[l['Message-ID']]={'to':l['To'],'subject':str(make_header(decode_header(l['Subject'])))}\n\
            print(json.dumps(sorted(found.values(),key=lambda l:(l['to'],l['subject']))))\n";
        let password = self.lab.state().join("secrets/outside-password");
        let password = std::fs::read_to_string(password).unwrap();
        let server = net::address(26).to_string();
        let told = output(Command::new("python3").args(["-c", script, &server, password.trim()]));
        serde_json::from_str(&told).unwrap()
    }
}

/// One verb's presence.
#[derive(Debug)]
struct Told {
    verb: Verb,
    number: usize,
    presence: PresenceId,
    name: String,
    address: String,
}

/// What is asked of the DNS, below the name.
const ASKED: [(&str, &[&str]); 11] = [
    ("", &["SOA", "NS", "A", "MX", "TXT", "CAA"]),
    ("www.", &["A"]),
    ("mta-sts.", &["A"]),
    ("autoconfig.", &["A"]),
    ("_dmarc.", &["TXT"]),
    ("_mta-sts.", &["CNAME"]),
    ("_smtp._tls.", &["TXT"]),
    ("_acme-challenge.", &["TXT"]),
    ("_imaps._tcp.", &["SRV"]),
    ("_submissions._tcp.", &["SRV"]),
    ("_autodiscover._tcp.", &["SRV"]),
];

/// The status of each answer, and the records in it.
fn dig(server: u8, asked: &[(String, &str)]) -> BTreeMap<String, String> {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", net::address(server)));
    dig.args(["+time=2", "+tries=3", "+norecurse", "+noall", "+comments"]);
    dig.args(["+answer", "+authority", "+nottlid"]);
    for (name, kind) in asked {
        dig.args([name.as_str(), kind]);
    }
    let told = output(&mut dig);
    let answers: Vec<&str> = told.split("->>HEADER<<-").skip(1).collect();
    assert_eq!(answers.len(), asked.len(), "{told}");
    let shown = answers
        .into_iter()
        .zip(asked)
        .map(|(answer, (name, kind))| {
            let status = answer.split("status: ").nth(1).unwrap_or_default();
            let status = status.split(',').next().unwrap_or_default();
            let mut records: Vec<&str> = answer
                .lines()
                .skip(1)
                // A serial is a moment.
                .filter(|line| !line.starts_with(';') && !line.is_empty() && !line.contains("SOA"))
                .collect();
            records.sort_unstable();
            (
                format!("{name} {kind}"),
                format!("{status} {}", records.join("\n")),
            )
        });
    shown.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_step_of_every_verb_leaves_the_servers_as_no_fault_does() {
    let service = Service::start().await;
    let (calm, deaths, _) = service.all_verbs(100, Faults::default()).await;
    assert_eq!(deaths, 0);
    let (faulty, deaths, faults) = service.all_verbs(200, Faults::all()).await;
    let left = faults.0.into_inner().unwrap();
    assert!(left.is_empty(), "these never happened: {left:?}");
    assert!(deaths > 100, "{deaths}");

    let letters = service.letters();
    let seen = |told: &Told| service.seen(told, &letters);
    std::thread::scope(|scope| {
        for (calm, faulty) in calm.iter().zip(&faulty) {
            scope.spawn(move || look(&seen(calm), &seen(faulty), calm.verb, faulty.verb));
        }
    });
    service.hands.builder.shutdown().await;
}

fn look(should_be: &Value, is: &Value, verb: Verb, of_faulty: Verb) {
    assert_eq!(verb, of_faulty);
    let wrong = differences(should_be, is);
    assert!(wrong.is_empty(), "{verb}: {wrong:#?}");
    assert!(
        !should_be["letters"].as_array().unwrap().is_empty(),
        "{verb}"
    );
    let page = should_be["pages"]["https NAME.biz.vn/"].as_str().unwrap();
    let is_served = !matches!(verb, Verb::Release | Verb::Purge);
    assert_eq!(page.contains("</html>"), is_served, "{verb}: {page}");
}

/// Where two pictures differ, with what is in both.
fn differences(left: &Value, right: &Value) -> Vec<String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let (none, mut found) = (Value::Null, Vec::new());
            for key in keys {
                let of =
                    |side: &serde_json::Map<String, Value>| side.get(key).unwrap_or(&none).clone();
                let below = differences(&of(left), &of(right));
                found.extend(below.into_iter().map(|told| format!("{key}: {told}")));
            }
            found
        }
        _ if left == right => Vec::new(),
        _ => vec![format!("{left} and not {right}")],
    }
}
