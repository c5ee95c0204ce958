//! Webhooks as a registrar's server meets them: signed, in order, again until they are taken, and
//! never about what did not happen.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hiendien_api::{Api, ApiState, HttpSender, Previews, TargetRules};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::secret::Secret;
use hiendien_domain::term::TermRules;
use hiendien_engine::clock::Clock;
use hiendien_engine::operation::RunEnd;
use hiendien_engine::retry::RetryPolicy;
use hiendien_engine::store::{
    ApiKey, ApiKeys, Directory, Intake, LeaseError, Lifecycle, OperationLog,
};
use hiendien_engine::webhooks::{
    DeliveryLine, DeliverySettings, DeliveryState, NewWebhook, Outbox, Outcome, SetUp, Settled,
    Wanted, Webhooks, deliver,
};
use hiendien_store::{Place, Store, StoreSettings, migrate};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use integration_tests::conformance::store::claim;
use integration_tests::net;
use integration_tests::postgres::Postgres;
use integration_tests::site::templates;
use integration_tests::wait::wait_for;
use integration_tests::world::{World, platform};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const REGISTRAR: &str = "nhan-hoa";
const LIMIT: Duration = Duration::from_secs(20);
const LAB: TargetRules = TargetRules {
    private_addresses: true,
    plain_http_to_loopback: true,
};

/// RFC 2104, written out, so that the sender's library does not judge itself.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner);
    outer.finalize().to_vec()
}

fn secret(letter: u8) -> Secret {
    Secret::new(format!("whsec_{}", STANDARD.encode([letter; 32])))
}

#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    fn name(&self) -> String {
        self.json()["data"]["name"].as_str().unwrap().to_owned()
    }

    fn signatures(&self) -> Vec<&str> {
        self.header("webhook-signature").split(' ').collect()
    }

    /// Whether one of the signatures is that of the secret.
    fn is_signed_by(&self, secret: &Secret) -> bool {
        let key = secret.expose().strip_prefix("whsec_").unwrap();
        let mut signed = format!("{}.{}.", self.id(), self.header("webhook-timestamp"));
        signed.push_str(std::str::from_utf8(&self.body).unwrap());
        let tag = hmac(&STANDARD.decode(key).unwrap(), signed.as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(tag));
        self.signatures().contains(&signature.as_str())
    }
}

/// What a receiver answers: a status, with a `Retry-After` or none.
type Answer = (u16, Option<&'static str>);
type Answers = Box<dyn FnMut(&Received) -> Answer + Send>;

/// A registrar's server.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Answers>>,
}

impl Receiver {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((net::address(99), 0)).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(|_| (200, None)))),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (serving, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let serving = serving.clone();
                        async move { Ok::<_, Infallible>(serving.answer(request).await) }
                    });
                    let http = http1::Builder::new();
                    // A sender that breaks off is part of some stories.
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = http.serve_connection(TokioIo::new(stream), service).await;
                            }
                        }
                        None => {
                            let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                });
            }
        });
        receiver
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let received = Received {
            path: head.uri.to_string(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        let (status, retry_after) = (self.answers.lock().unwrap())(&received);
        self.received.lock().unwrap().push(received);
        let mut response = Response::builder().status(status);
        if let Some(retry_after) = retry_after {
            response = response.header("retry-after", retry_after);
        }
        response
            // More than anyone wants to read.
            .body(Full::new(Bytes::from(vec![b'x'; 1 << 20])))
            .unwrap()
    }

    fn answers(&self, answers: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    async fn wait(&self, count: usize) -> Vec<Received> {
        wait_for("requests", LIMIT, || async {
            let received = self.received();
            match received.len() {
                found if found >= count => Ok(received),
                found => Err(found),
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hooks?for=tests", self.address)
    }
}

/// A deliverer that runs until it is stopped.
struct Deliverer {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Deliverer {
    fn start(store: &Arc<Store>, clock: &Arc<dyn Clock>) -> Self {
        Self::start_with(store, clock, LAB)
    }

    fn start_with(store: &Arc<Store>, clock: &Arc<dyn Clock>, rules: TargetRules) -> Self {
        let settings = DeliverySettings {
            // The stories move the clock, and one sick endpoint would be left alone by real time too.
            pause: RetryPolicy {
                first_max: Duration::from_millis(100),
                wait_max: Duration::from_millis(100),
            },
            ..DeliverySettings::default()
        };
        let sender = Arc::new(HttpSender::new(rules, None).unwrap());
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(deliver(
            settings,
            store.clone(),
            sender,
            Arc::clone(clock),
            stopping,
        ));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

struct Bed {
    world: World,
    clock: Arc<dyn Clock>,
    place: Place,
    postgres: Option<Postgres>,
    folder: TempDir,
}

impl Bed {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("store.db"));
        Self::at(place, None, folder).await
    }

    async fn postgres() -> Self {
        let postgres = Postgres::start();
        let place = Place::Postgres(postgres.settings());
        let migrated = place.clone();
        tokio::task::spawn_blocking(move || migrate(&migrated))
            .await
            .unwrap()
            .unwrap();
        Self::at(place, Some(postgres), tempfile::tempdir().unwrap()).await
    }

    async fn at(place: Place, postgres: Option<Postgres>, folder: TempDir) -> Self {
        let world = World::at(place.clone(), folder.path()).await;
        Self {
            clock: Arc::new(world.clock.clone()),
            world,
            place,
            postgres,
            folder,
        }
    }

    fn store(&self) -> &Arc<Store> {
        &self.world.store
    }

    /// Another process, where the store is one that many share.
    async fn other(&self) -> Arc<Store> {
        if self.postgres.is_none() {
            return self.store().clone();
        }
        let settings = StoreSettings {
            place: self.place.clone(),
            seal_key: self.folder.path().join("seal.key"),
        };
        let clock = Arc::clone(&self.clock);
        let opened = tokio::task::spawn_blocking(move || Store::open(&settings, clock));
        Arc::new(opened.await.unwrap().unwrap())
    }

    fn deliverer(&self) -> Deliverer {
        Deliverer::start(self.store(), &self.clock)
    }

    async fn set_up(&self, name: &str, url: &str, wanted: &[&str]) -> SetUp {
        let patterns = wanted.iter().map(|pattern| pattern.parse().unwrap());
        let new = NewWebhook {
            registrar: REGISTRAR.to_owned(),
            name: name.to_owned(),
            url: url.to_owned(),
            wanted: Wanted::new(patterns.collect()).unwrap(),
        };
        let now = self.clock.now();
        self.store().set_up(new, secret(1), now).await.unwrap()
    }

    async fn presence(&self, label: &str) -> PresenceId {
        let accepted = self
            .store()
            .accept(claim(REGISTRAR, label), self.clock.now())
            .await;
        accepted.unwrap().presence
    }

    /// Something that registrars are told, of a presence.
    async fn happens(&self, presence: PresenceId, number: u32) {
        let detail = json!({ "number": number });
        let now = self.clock.now();
        self.store()
            .note(presence, "presence.reminded", detail, now)
            .await
            .unwrap();
    }

    /// Takes the next operation and ends its run.
    async fn ends(&self, end: RunEnd) -> Result<(), LeaseError> {
        let (now, lease) = (self.clock.now(), Duration::from_mins(1));
        let leased = self.store().lease_next("worker", now, lease).await.unwrap();
        let (lease, _, _) = leased.unwrap();
        self.store()
            .end_run(&lease, Vec::new(), Vec::new(), end, now)
            .await
    }

    async fn log(&self, name: &str) -> Vec<DeliveryLine> {
        let log = self.store().deliveries(REGISTRAR, name, 0, 1000).await;
        log.unwrap().unwrap()
    }

    /// Waits until the log of the endpoint says so, and gives it.
    async fn logged(
        &self,
        name: &str,
        is_so: impl Fn(&[DeliveryLine]) -> bool,
    ) -> Vec<DeliveryLine> {
        wait_for("the delivery log", LIMIT, || async {
            let log = self.log(name).await;
            if is_so(&log) { Ok(log) } else { Err(log) }
        })
        .await
    }

    fn forward(&self, by: Duration) {
        self.world.clock.forward(by);
    }

    /// Moves the clock to the next attempt of the delivery, and tells how long that was to wait.
    fn forward_to(&self, line: &DeliveryLine) -> Duration {
        let next = line.next_attempt_at.unwrap();
        let left = next.duration_since(self.clock.now());
        self.forward(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(5));
        next.duration_since(line.changed_at).unsigned_abs()
    }
}

fn has(log: &[DeliveryLine], state: DeliveryState, count: usize) -> bool {
    log.iter().filter(|line| line.state == state).count() == count
}

/// Each is told once, signed, with what the presence is by then and without what is not a registrar's to know.
async fn tells_what_happened(bed: &Bed) {
    let receiver = Receiver::start().await;
    assert_eq!(bed.set_up("main", &receiver.url(), &[]).await, SetUp::Made);
    let presence = bed.presence("pho").await;
    let reason = "554 lien-he@pho.biz.vn refused by 10.0.0.7".to_owned();
    bed.ends(RunEnd::Stuck { reason }).await.unwrap();
    let deliverer = bed.deliverer();
    let operation = bed.world.presence(presence).await.operation;
    assert!(bed.store().retry(operation, bed.clock.now()).await.unwrap());
    bed.ends(RunEnd::Succeeded).await.unwrap();
    let received = receiver.wait(3).await;
    let log = bed
        .logged("main", |log| has(log, DeliveryState::Delivered, 3))
        .await;
    deliverer.stop().await;

    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(
        kinds,
        [
            "operation.stuck",
            "presence.needs_attention",
            "presence.live"
        ]
    );
    let events = bed.store().events(Some(presence), 0, 100).await.unwrap();
    for (received, line) in received.iter().zip(&log) {
        let body = received.json();
        let event = events
            .iter()
            .find(|event| event.sequence == body["data"]["sequence"])
            .unwrap();
        assert_eq!(body["type"], event.kind);
        assert_eq!(body["timestamp"], event.at.to_string());
        assert_eq!(received.path, "/hooks?for=tests");
        assert_eq!(received.header("host"), receiver.address.to_string());
        assert_eq!(received.header("content-type"), "application/json");
        assert!(received.header("user-agent").starts_with("Hiendien/"));
        let sent_at: i64 = received.header("webhook-timestamp").parse().unwrap();
        assert!((bed.clock.now().as_second() - sent_at).abs() < 60);
        assert!(received.is_signed_by(&secret(1)) && !received.is_signed_by(&secret(2)));
        assert_eq!(received.signatures().len(), 1);
        assert_eq!(
            (line.message.clone(), line.attempts, line.last_status),
            (received.id(), 1, Some(200))
        );
        let text = std::str::from_utf8(&received.body).unwrap();
        for private in ["lien-he", "10.0.0.7", "chu@example.vn", "Phở Hà Mẫu"] {
            assert!(!text.contains(private), "{text}");
        }
    }
    assert_eq!(
        received[0].json()["data"]["detail"]["error"],
        "it did not succeed yet; the operators of the platform see why"
    );
    assert_eq!(received[0].json()["data"]["state"], "needs_attention");
    let mut live = received[2].json();
    let sequence = live["data"]["sequence"].take();
    assert!(sequence.is_i64());
    assert_eq!(
        live["data"],
        json!({
            "presence": presence, "name": "pho.biz.vn", "registrar": REGISTRAR,
            "reference": "ref-pho", "state": "live", "standing": "serving",
            "operation": operation, "sequence": null, "detail": {},
        })
    );
    // Nobody listens for other registrars.
    let other = claim("nha-khac", "bun");
    bed.store().accept(other, bed.clock.now()).await.unwrap();
    bed.ends(RunEnd::Succeeded).await.unwrap();
    assert_eq!(bed.log("main").await.len(), 3);
}

/// Again with the same identifier, after growing waits, and not before the receiver asked for it.
async fn tries_again(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let presence = bed.presence("pho").await;
    let answers = [
        (500, None),
        (302, None),
        (500, Some("3600")),
        (503, Some("600")),
        (429, Some("1200")),
    ];
    let mut left = answers.into_iter();
    receiver.answers(move |_| left.next().unwrap_or((204, None)));
    bed.happens(presence, 1).await;
    let deliverer = bed.deliverer();
    for (attempt, (status, asked)) in (1_u32..).zip(answers) {
        let log = bed
            .logged("main", |log| {
                log[0].attempts == attempt && log[0].last_status == Some(status)
            })
            .await;
        let wait = bed.forward_to(&log[0]);
        let most = Duration::from_secs(10) * 2_u32.pow(attempt - 1);
        let asked = match status {
            429 | 503 => Duration::from_secs(asked.unwrap().parse().unwrap()),
            _ => Duration::ZERO,
        };
        assert!(
            (asked + most / 8..=asked + most).contains(&wait),
            "{attempt}: {wait:?}"
        );
    }
    let log = bed
        .logged("main", |log| log[0].state == DeliveryState::Delivered)
        .await;
    assert_eq!((log[0].attempts, log[0].last_status), (6, Some(204)));
    deliverer.stop().await;
    let ids: Vec<_> = receiver.received().iter().map(Received::id).collect();
    assert_eq!(ids, vec![log[0].message.clone(); 6]);
}

/// 410 ends it: nothing more is sent, the presence's events say so, and setting it up again goes on.
async fn is_disabled_when_it_is_gone(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let presence = bed.presence("pho").await;
    receiver.answers(|_| (410, None));
    bed.happens(presence, 1).await;
    bed.happens(presence, 2).await;
    let deliverer = bed.deliverer();
    receiver.wait(1).await;
    wait_for("the end of the endpoint", LIMIT, || async {
        let webhooks = bed.store().webhooks(REGISTRAR).await.unwrap();
        if webhooks[0].is_enabled {
            Err(webhooks)
        } else {
            Ok(())
        }
    })
    .await;
    let events = bed.store().events(Some(presence), 0, 100).await.unwrap();
    let told = events.last().unwrap();
    assert_eq!(
        (told.kind.as_str(), &told.detail),
        ("webhook.disabled", &json!({ "webhook": "main" }))
    );
    bed.happens(presence, 3).await;
    assert_eq!(bed.log("main").await.len(), 2);
    assert_eq!(receiver.received().len(), 1);
    receiver.answers(|_| (200, None));
    assert_eq!(
        bed.set_up("main", &receiver.url(), &[]).await,
        SetUp::Changed
    );
    bed.logged("main", |log| has(log, DeliveryState::Delivered, 2))
        .await;
    deliverer.stop().await;
    assert!(receiver.received()[1].is_signed_by(&secret(1)));
}

/// One presence's delivery fails: its later ones wait for it, those of others do not. Once it is given up the next go on.
async fn keeps_order_within_a_presence(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let (sick, well) = (bed.presence("om").await, bed.presence("khoe").await);
    receiver.answers(|received| match received.name().as_str() {
        "om.biz.vn" => (500, None),
        _ => (200, None),
    });
    for number in 1..=3 {
        bed.happens(sick, number).await;
        bed.happens(well, number).await;
    }
    let deliverer = bed.deliverer();
    let mut log = bed
        .logged("main", |log| has(log, DeliveryState::Delivered, 3))
        .await;
    let numbers = |name: &str| -> Vec<Value> {
        let received = receiver.received();
        let of_name = received.iter().filter(|received| received.name() == name);
        of_name
            .map(|received| received.json()["data"]["detail"]["number"].clone())
            .collect()
    };
    assert_eq!(numbers("khoe.biz.vn"), [1, 2, 3]);
    let mut attempts = 0;
    while log[0].state == DeliveryState::Waiting {
        assert_eq!(log[0].presence, Some(sick));
        log = bed
            .logged("main", |log| {
                log[0].state != DeliveryState::Waiting
                    || log[0].attempts > attempts
                        && log[0].last_status.is_some()
                        && log[0].next_attempt_at > Some(bed.clock.now())
            })
            .await;
        attempts = log[0].attempts;
        if log[0].state == DeliveryState::Waiting {
            bed.forward_to(&log[0]);
        }
    }
    assert_eq!(log[0].state, DeliveryState::GivenUp);
    let tried_for = log[0].changed_at.duration_since(log[0].queued_at);
    let bounds = Duration::from_hours(72)..Duration::from_hours(79);
    assert!(
        bounds.contains(&tried_for.unsigned_abs()),
        "{tried_for:#} in {attempts} attempts"
    );
    // The others are as old, so that each is tried once more and is over.
    receiver.answers(|_| (200, None));
    bed.logged("main", |log| has(log, DeliveryState::Waiting, 0))
        .await;
    deliverer.stop().await;
    let mut told = numbers("om.biz.vn");
    told.dedup();
    assert_eq!(told, [1, 2, 3]);
    let webhooks = bed.store().webhooks(REGISTRAR).await.unwrap();
    let given_up = bed.log("main").await;
    let given_up = given_up
        .iter()
        .filter(|line| line.state == DeliveryState::GivenUp);
    assert_eq!(
        usize::try_from(webhooks[0].given_up).unwrap(),
        given_up.count()
    );
}

/// After a rotation both secrets sign, for a day.
async fn rotates(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let rotate = async |letter| {
        let now = bed.clock.now();
        let rotated = bed.store().rotate(REGISTRAR, "main", secret(letter), now);
        assert!(rotated.await.unwrap());
    };
    let test = async || {
        let sent = bed.store().test(REGISTRAR, "main", bed.clock.now()).await;
        sent.unwrap().unwrap()
    };
    rotate(2).await;
    let message = test().await;
    let deliverer = bed.deliverer();
    let received = receiver.wait(1).await.remove(0);
    assert_eq!(received.id(), message);
    assert_eq!(
        (received.kind().as_str(), &received.json()["data"]),
        ("webhook.test", &json!({ "webhook": "main" }))
    );
    assert_eq!(received.signatures().len(), 2);
    assert!(received.is_signed_by(&secret(2)) && received.is_signed_by(&secret(1)));
    bed.forward(Duration::from_hours(24) + Duration::from_secs(1));
    test().await;
    let received = receiver.wait(2).await.remove(1);
    assert_eq!(received.signatures().len(), 1);
    assert!(received.is_signed_by(&secret(2)));
    // Whoever repeats a rotation whose answer was lost does not lose the one before it.
    rotate(3).await;
    rotate(4).await;
    test().await;
    let received = receiver.wait(3).await.remove(2);
    assert_eq!(received.signatures().len(), 3);
    assert!(received.is_signed_by(&secret(4)) && received.is_signed_by(&secret(2)));
    deliverer.stop().await;
    let now = bed.clock.now();
    let none = bed.store().rotate(REGISTRAR, "none", secret(5), now).await;
    assert!(!none.unwrap());
}

/// What was told is told again from a sequence on, with the same identifiers and in the same order.
async fn replays(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let presence = bed.presence("pho").await;
    for number in 1..=4 {
        bed.happens(presence, number).await;
    }
    let deliverer = bed.deliverer();
    let first = receiver.wait(4).await;
    let log = bed
        .logged("main", |log| has(log, DeliveryState::Delivered, 4))
        .await;
    let after = log[1].sequence.unwrap();
    let replayed = bed
        .store()
        .replay(REGISTRAR, "main", after, bed.clock.now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((replayed.count, replayed.next), (2, None));
    let again = receiver.wait(6).await.split_off(4);
    bed.logged("main", |log| has(log, DeliveryState::Delivered, 4))
        .await;
    deliverer.stop().await;
    let told = |received: &[Received]| -> Vec<_> {
        let told = received
            .iter()
            .map(|received| (received.id(), received.body.clone()));
        told.collect()
    };
    assert_eq!(told(&again), told(&first[2..]));
    // Kept for 30 days, and swept away bit by bit.
    let sweep = async || {
        let before = bed.clock.now() - Duration::from_hours(30 * 24);
        bed.store().sweep(before, 3).await.unwrap()
    };
    bed.forward(Duration::from_hours(29 * 24));
    assert_eq!(sweep().await, 0);
    bed.forward(Duration::from_hours(25));
    assert_eq!(sweep().await, 3);
    assert_eq!(sweep().await, 1);
    assert!(bed.log("main").await.is_empty());
}

/// A deliverer is killed with a delivery in its hands: another goes on when its hold is over, and the first may note nothing any more.
async fn goes_on_after_a_killed_one(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let presence = bed.presence("pho").await;
    bed.happens(presence, 1).await;
    bed.happens(presence, 2).await;
    let hold = Duration::from_mins(1);
    let take = async |store: &Store| {
        let now = bed.clock.now();
        let due = store.due(now, 10).await.unwrap();
        let mut taken = Vec::new();
        for due in due {
            taken.extend(store.take(due.webhook, now, hold, 10).await.unwrap());
        }
        taken
    };
    let killed = take(bed.store()).await;
    assert_eq!(killed.len(), 1, "one at a time of a presence");
    let other = bed.other().await;
    assert!(take(&other).await.is_empty());
    bed.forward(hold + Duration::from_secs(1));
    let deliverer = Deliverer::start(&other, &bed.clock);
    let log = bed
        .logged("main", |log| has(log, DeliveryState::Delivered, 2))
        .await;
    deliverer.stop().await;
    assert_eq!((log[0].attempts, log[1].attempts), (2, 1));
    let late = Settled {
        outcome: Outcome::GivenUp,
        status: Some(500),
        error: None,
    };
    let noted = bed
        .store()
        .settle(&killed[0].held, late, bed.clock.now())
        .await;
    assert!(!noted.unwrap());
    assert!(has(&bed.log("main").await, DeliveryState::Delivered, 2));
}

/// Several deliverers share the work: each message is sent once, and the order of each presence is kept.
async fn many_deliver_at_once(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let mut presences = Vec::new();
    for number in 0..6 {
        presences.push(bed.presence(&format!("pho-{number}")).await);
    }
    let mut deliverers = Vec::new();
    for _ in 0..3 {
        deliverers.push(Deliverer::start(&bed.other().await, &bed.clock));
    }
    let telling = presences.iter().map(|presence| async {
        for number in 0..5 {
            bed.happens(*presence, number).await;
        }
    });
    futures_util::future::join_all(telling).await;
    bed.logged("main", |log| has(log, DeliveryState::Delivered, 30))
        .await;
    for deliverer in deliverers {
        deliverer.stop().await;
    }
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for received in receiver.received() {
        let number = received.json()["data"]["detail"]["number"].clone();
        told.entry(received.name()).or_default().push(number);
    }
    assert_eq!(told.len(), 6);
    for numbers in told.values() {
        assert_eq!(*numbers, [0, 1, 2, 3, 4]);
    }
}

/// An endpoint that takes connections and never answers does not slow another.
async fn a_sick_endpoint_slows_no_other(bed: &Bed) {
    let silent = TcpListener::bind((net::address(98), 0)).await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let receiver = Receiver::start().await;
    bed.set_up("silent", &url, &[]).await;
    bed.set_up("main", &receiver.url(), &[]).await;
    let deliverer = bed.deliverer();
    for number in 0..20 {
        let presence = bed.presence(&format!("pho-{number}")).await;
        bed.happens(presence, number).await;
    }
    let began = std::time::Instant::now();
    receiver.wait(20).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    let silent = bed.log("silent").await;
    let taken = silent.iter().filter(|line| line.attempts > 0).count();
    assert!((1..=4).contains(&taken), "{taken} at once to one endpoint");
    // What is on its way ends within its bound.
    tokio::time::timeout(LIMIT, deliverer.stop()).await.unwrap();
    let silent = bed.log("silent").await;
    assert!(
        silent
            .iter()
            .any(|line| line.last_error.as_deref() == Some("timeout"))
    );
}

/// The rules are looked at when it is sent as well: nothing reaches an address that may not be reached.
async fn refuses_to_reach_inwards(bed: &Bed) {
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    for (name, url) in [
        ("address", format!("https://{}/", receiver.address)),
        ("name", format!("https://localhost:{port}/")),
        ("mapped", format!("https://[::ffff:127.0.0.1]:{port}/")),
        ("plain", receiver.url()),
    ] {
        bed.set_up(name, &url, &[]).await;
    }
    let presence = bed.presence("pho").await;
    bed.happens(presence, 1).await;
    let deliverer = Deliverer::start_with(bed.store(), &bed.clock, TargetRules::default());
    for (name, word) in [
        ("address", "address_refused"),
        ("name", "address_refused"),
        ("mapped", "address_refused"),
        ("plain", "url_refused"),
    ] {
        let log = bed.logged(name, |log| log[0].last_error.is_some()).await;
        assert_eq!(log[0].last_error.as_deref(), Some(word), "{name}");
        assert_eq!(log[0].state, DeliveryState::Waiting);
    }
    deliverer.stop().await;
    assert!(receiver.received().is_empty());
}

/// A write that is undone leaves nothing to tell.
async fn joins_the_transaction(bed: &Bed) {
    let receiver = Receiver::start().await;
    bed.set_up("main", &receiver.url(), &["operation.*", "presence.*"])
        .await;
    bed.presence("pho").await;
    let (obstruct, clear): (&str, &str) = match bed.postgres {
        None => (
            "CREATE TRIGGER obstruct BEFORE INSERT ON event WHEN NEW.kind = 'presence.live'
             BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER obstruct",
        ),
        Some(_) => (
            "CREATE FUNCTION obstruct() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE TRIGGER obstruct BEFORE INSERT ON event FOR EACH ROW
                 WHEN (NEW.kind = 'presence.live') EXECUTE FUNCTION obstruct()",
            "DROP TRIGGER obstruct ON event",
        ),
    };
    let run = |sql: &str| match (&bed.place, &bed.postgres) {
        (Place::Sqlite(path), _) => rusqlite::Connection::open(path)
            .unwrap()
            .execute_batch(sql)
            .unwrap(),
        (_, Some(postgres)) => drop(postgres.ask("store", sql)),
        (_, None) => panic!("a server without a server"),
    };
    run(obstruct);
    let refused = bed.ends(RunEnd::Succeeded).await;
    assert!(matches!(refused, Err(LeaseError::Store(_))), "{refused:?}");
    assert!(bed.log("main").await.is_empty());
    run(clear);
    bed.forward(Duration::from_secs(61));
    bed.ends(RunEnd::Succeeded).await.unwrap();
    let kinds: Vec<_> = bed
        .log("main")
        .await
        .into_iter()
        .map(|line| line.kind)
        .collect();
    assert_eq!(kinds, ["operation.succeeded", "presence.live"]);
    // Taken down, it is told nothing more, and what it was told is swept away.
    let deliverer = bed.deliverer();
    receiver.wait(2).await;
    deliverer.stop().await;
    assert!(bed.store().take_down(REGISTRAR, "main").await.unwrap());
    assert!(!bed.store().take_down(REGISTRAR, "main").await.unwrap());
    assert!(bed.store().webhooks(REGISTRAR).await.unwrap().is_empty());
    let swept = bed.store().sweep(jiff::Timestamp::MIN, 10).await.unwrap();
    assert_eq!(swept, 3, "two deliveries and the endpoint");
    assert_eq!(
        bed.store().sweep(jiff::Timestamp::MIN, 10).await.unwrap(),
        0
    );
    assert_eq!(bed.set_up("main", &receiver.url(), &[]).await, SetUp::Made);
}

macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&super::Bed::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&super::Bed::postgres().await).await;
            })+
        }
    };
}

stories!(
    tells_what_happened,
    tries_again,
    is_disabled_when_it_is_gone,
    keeps_order_within_a_presence,
    rotates,
    replays,
    goes_on_after_a_killed_one,
    many_deliver_at_once,
    a_sick_endpoint_slows_no_other,
    refuses_to_reach_inwards,
    joins_the_transaction,
);

/// Over TLS the receiver's certificate is verified, against the public roots and those of the operator.
#[tokio::test(flavor = "multi_thread")]
async fn verifies_the_receiver() {
    let bed = Bed::sqlite().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let address = net::address(99).to_string();
    let certificate = rcgen::CertificateParams::new([address])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let roots = bed.folder.path().join("roots.pem");
    std::fs::write(&roots, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let receiver = Receiver::start_with(Some(TlsAcceptor::from(Arc::new(tls)))).await;
    bed.set_up("main", &format!("https://{}/", receiver.address), &[])
        .await;
    bed.store()
        .test(REGISTRAR, "main", bed.clock.now())
        .await
        .unwrap();
    let deliverer = bed.deliverer();
    let log = bed.logged("main", |log| log[0].last_error.is_some()).await;
    assert_eq!(log[0].last_error.as_deref(), Some("tls_failed"));
    assert!(receiver.received().is_empty());
    deliverer.stop().await;
    bed.forward_to(&log[0]);
    let sender = HttpSender::new(LAB, Some(&roots)).unwrap();
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(deliver(
        DeliverySettings::default(),
        bed.store().clone(),
        Arc::new(sender),
        Arc::clone(&bed.clock),
        stopping,
    ));
    let received = receiver.wait(1).await;
    assert!(received[0].is_signed_by(&secret(1)));
    stop.send_replace(true);
    task.await.unwrap();
}

/// The API of the world, and callers of it.
struct Served {
    base: String,
    http: reqwest::Client,
    _stop: watch::Sender<bool>,
}

impl Served {
    async fn start(bed: &Bed) -> Self {
        let store = bed.store();
        for (name, registrar) in [
            ("clerk", Some(REGISTRAR)),
            ("stranger", Some("nha-khac")),
            ("boss", None),
        ] {
            let key = ApiKey {
                name: name.to_owned(),
                registrar: registrar.map(str::to_owned),
            };
            let hash: [u8; 32] = Sha256::digest(name).into();
            store.put(hash, &key, bed.clock.now()).await.unwrap();
        }
        let (stop, stopping) = watch::channel(false);
        let state = ApiState {
            platform: Arc::new(platform()),
            clock: Arc::clone(&bed.clock),
            intake: store.clone(),
            directory: store.clone(),
            keys: store.clone(),
            operations: store.clone(),
            lifecycle: store.clone(),
            term: TermRules::default(),
            idempotency: store.clone(),
            password_links: store.clone(),
            mailboxes: bed.world.mail.clone(),
            webhooks: store.clone(),
            sites: bed.world.revisions.clone(),
            shelf: bed.world.revisions.clone(),
            pictures: store.clone(),
            picture_files: bed.world.picture_files.clone(),
            webhook_targets: LAB,
            templates: templates(),
            contents: store.clone(),
            previews: Previews::default(),
            stopping,
        };
        let port = {
            let free = std::net::TcpListener::bind((net::address(97), 0)).unwrap();
            free.local_addr().unwrap()
        };
        let api = Api::bind(port, state).await.unwrap();
        tokio::spawn(api.run());
        Self {
            base: format!("http://{port}/v1/webhooks"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _stop: stop,
        }
    }

    async fn ask(&self, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.bearer_auth(key).body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrar_sets_webhooks_up_by_the_api() {
    // Two providers are linked; the client asks for the one of the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let bed = Bed::sqlite().await;
    let receiver = Receiver::start().await;
    let served = Served::start(&bed).await;
    let refused = async |key: &str, method: &str, path: &str, body: Value| {
        let (status, body) = served.ask(key, method, path, body).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    let url = json!({ "url": receiver.url() });

    let (status, made) = served.ask("clerk", "PUT", "/main", url.clone()).await;
    assert_eq!(status, 201, "{made}");
    let told = made["secret"].as_str().unwrap().to_owned();
    let octets = STANDARD.decode(told.strip_prefix("whsec_").unwrap());
    assert_eq!(octets.unwrap().len(), 32);
    let some = json!({ "url": receiver.url(), "events": ["presence.live", "plane.*"] });
    let (status, changed) = served.ask("clerk", "PUT", "/main", some).await;
    assert_eq!((status, &changed["secret"]), (200, &Value::Null));
    let (_, listed) = served.ask("clerk", "GET", "", Value::Null).await;
    assert_eq!(listed[0]["events"], json!(["presence.live", "plane.*"]));
    assert_eq!(
        (&listed[0]["enabled"], &listed[0]["secret"]),
        (&json!(true), &Value::Null)
    );

    // Whose they are.
    let none = Value::Null;
    let (_, others) = served.ask("stranger", "GET", "", none.clone()).await;
    assert_eq!(others, json!([]));
    let of_other = format!("?registrar={REGISTRAR}");
    assert_eq!(
        refused("stranger", "GET", &of_other, none.clone()).await,
        is(403, "other_registrar")
    );
    assert_eq!(
        refused("boss", "GET", "", none.clone()).await,
        is(400, "invalid_query")
    );
    let (_, seen) = served.ask("boss", "GET", &of_other, none.clone()).await;
    assert_eq!(seen, listed);
    for (method, path) in [
        ("POST", "/main/rotate"),
        ("POST", "/main/test"),
        ("GET", "/main/deliveries"),
    ] {
        let answer = refused("stranger", method, path, none.clone()).await;
        assert_eq!(answer, is(404, "not_found"), "{path}");
    }

    // What is no webhook.
    for body in [
        json!({}),
        json!({ "url": "https://example.vn/", "event": [] }),
        json!({ "url": "ftp://example.vn/" }),
        json!({ "url": "https://a:b@example.vn/" }),
        json!({ "url": "http://8.8.8.8/" }),
        json!({ "url": "https://example.vn/", "events": ["step.failed"] }),
        json!({ "url": "https://example.vn/", "events": vec!["presence.*"; 33] }),
    ] {
        let answer = refused("clerk", "PUT", "/main", body.clone()).await;
        assert_eq!(answer, is(422, "invalid_webhook"), "{body}");
    }
    assert_eq!(
        refused("clerk", "PUT", "/Main", url.clone()).await,
        is(422, "invalid_webhook")
    );
    for number in 1..16 {
        let path = format!("/more-{number}");
        assert_eq!(served.ask("clerk", "PUT", &path, url.clone()).await.0, 201);
    }
    assert_eq!(
        refused("clerk", "PUT", "/too-many", url).await,
        is(409, "too_many_webhooks")
    );

    // Rotation, a test, the log, a replay, the end.
    let (status, rotated) = served
        .ask("clerk", "POST", "/main/rotate", none.clone())
        .await;
    let new = Secret::new(rotated["secret"].as_str().unwrap());
    assert!(status == 200 && new.expose() != told);
    let (status, test) = served
        .ask("clerk", "POST", "/main/test", none.clone())
        .await;
    assert_eq!(status, 202);
    let presence = bed.presence("pho").await;
    bed.ends(RunEnd::Succeeded).await.unwrap();
    let deliverer = bed.deliverer();
    let received = receiver.wait(2 + 15).await;
    let tested = received
        .iter()
        .find(|received| received.id() == test["message"])
        .unwrap();
    assert!(tested.is_signed_by(&new) && tested.is_signed_by(&Secret::new(told)));
    bed.logged("main", |log| has(log, DeliveryState::Delivered, 2))
        .await;
    let (_, log) = served
        .ask("clerk", "GET", "/main/deliveries", none.clone())
        .await;
    let live = &log["deliveries"][1];
    assert_eq!(
        (
            &live["kind"],
            &live["presence"],
            &live["last_status"],
            &live["state"]
        ),
        (
            &json!("presence.live"),
            &json!(presence),
            &json!(200),
            &json!("delivered")
        )
    );
    let path = format!("/main/deliveries?after={}", log["deliveries"][0]["number"]);
    let (_, rest) = served.ask("clerk", "GET", &path, none.clone()).await;
    assert_eq!(rest["deliveries"].as_array().unwrap().len(), 1);
    let from = json!({ "after": 0 });
    let (status, replayed) = served.ask("clerk", "POST", "/main/replay", from).await;
    assert_eq!(
        (status, replayed),
        (202, json!({ "replayed": 1, "next": null }))
    );
    let again = receiver.wait(18).await;
    let of_live = again
        .iter()
        .filter(|received| received.id() == live["message"]);
    assert_eq!(of_live.count(), 2);
    deliverer.stop().await;
    assert_eq!(
        served.ask("clerk", "DELETE", "/main", none.clone()).await.0,
        204
    );
    assert_eq!(
        served.ask("clerk", "DELETE", "/main", none.clone()).await.0,
        204
    );
    assert_eq!(
        refused("clerk", "POST", "/main/replay", json!({ "after": 0 })).await,
        is(404, "not_found")
    );
}
