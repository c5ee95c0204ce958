//! Certificates from the real Pebble, validated over our own name servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hiendien_acme::{AcmeCertificates, AcmeSettings};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{ZoneInputs, ZoneSpec, ZoneStage, presence_zone, service_names};
use hiendien_domain::secret::Secret;
use hiendien_engine::clock::{Clock, SystemClock};
use hiendien_engine::ports::{
    Certificate, CertificateOrder, CertificateVault, Certificates as _, Delegation,
    Delegations as _, ErrorChain, FailureKind, PortError, Zones,
};
use hiendien_store::Store;
use integration_tests::ari::AriFront;
use integration_tests::dns::{Dns, dig};
use integration_tests::net::address;
use integration_tests::pebble::{Pebble, verify};
use jiff::{Timestamp, ToSpan as _};

/// Name servers, a CA, and a presence whose zone is served and delegated.
struct Bed {
    dns: Dns,
    pebble: Pebble,
    directory: String,
    presence: PresenceId,
    apex: DomainName,
}

impl Bed {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let dns = Dns::start(Arc::new(SystemClock)).await;
        let mut pebble = Pebble::new(address(14), SocketAddr::from((address(53), 53)));
        pebble.start(environment).await;
        let bed = Self {
            dns,
            directory: pebble.directory(),
            pebble,
            presence: PresenceId::new(),
            apex: "mau-quan-pho.biz.vn".parse().unwrap(),
        };
        bed.put_presence(bed.presence, &bed.apex).await;
        bed
    }

    async fn put_presence(&self, presence: PresenceId, apex: &DomainName) {
        let inputs = ZoneInputs {
            apex,
            issuers: &[],
            dkim: &[],
            stage: ZoneStage::BeforeCertificate,
        };
        let spec = presence_zone(inputs, &self.dns.platform);
        let servers = &self.dns.platform.name_servers;
        let delegation = Delegation {
            child: apex.clone(),
            name_servers: servers.iter().map(|server| server.name.clone()).collect(),
        };
        let store = &self.dns.store;
        store.put_zone(presence, &spec).await.unwrap();
        store.put_delegation(presence, &delegation).await.unwrap();
    }

    /// Has the CA speak of renewals.
    async fn ari(&mut self) -> AriFront {
        let front = AriFront::start(&self.pebble).await;
        self.directory = front.directory();
        front
    }

    fn settings(&self) -> AcmeSettings {
        AcmeSettings {
            root: Some(self.pebble.https_root()),
            contact: Some("mau@hiendien.test".parse().unwrap()),
            validation_wait: Duration::from_secs(1),
            ..AcmeSettings::new(self.directory.clone(), "pebble.test")
        }
    }

    /// As a process does that starts now: it knows nothing but what is stored.
    fn certificates(&self) -> AcmeCertificates {
        self.certificates_over(Arc::new(self.dns.store.clone()), Arc::new(SystemClock))
    }

    fn certificates_over<S: CertificateVault + Zones + 'static>(
        &self,
        store: Arc<S>,
        clock: Arc<dyn Clock>,
    ) -> AcmeCertificates {
        let vault: Arc<dyn CertificateVault> = store.clone();
        let probes = Arc::new(self.dns.outsider());
        AcmeCertificates::new(self.settings(), vault, store, probes, clock)
    }

    async fn obtain(&self, certificates: &AcmeCertificates) -> Result<Certificate, PortError> {
        let names = service_names(&self.apex);
        certificates.obtain(self.presence, &self.apex, &names).await
    }

    async fn renew(&self, certificates: &AcmeCertificates) -> Result<Certificate, PortError> {
        let names = service_names(&self.apex);
        certificates.renew(self.presence, &self.apex, &names).await
    }

    /// What the edge shows for the apex.
    async fn served(&self) -> Option<Certificate> {
        hiendien_engine::ports::Serving::certificate(&self.dns.store, &self.apex)
            .await
            .unwrap()
    }

    async fn assert_verified(&self, certificate: &Certificate) {
        let root = self.pebble.issuing_root().await;
        for host in service_names(&self.apex) {
            verify(&certificate.chain_pem, &root, host.as_str()).unwrap();
        }
        assert!(verify(&certificate.chain_pem, &root, "example.org").is_err());
        // The key is that of the certificate: rustls refuses any other.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain =
            rustls_pki_types::pem::PemObject::pem_slice_iter(certificate.chain_pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
        let key = rustls_pki_types::pem::PemObject::from_pem_slice(
            certificate.key_pem.expose().as_bytes(),
        )
        .unwrap();
        rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap();
    }

    async fn assert_no_challenges_left(&self) {
        for name in service_names(&self.apex) {
            let left = dig(53, &format!("+short _acme-challenge.{name} TXT")).await;
            assert_eq!(left, "", "a challenge of {name} is left");
        }
    }

    /// How many orders the CA was asked for.
    fn orders(&self) -> usize {
        self.pebble.log_count("Added order \"")
    }
}

#[tokio::test]
async fn one_order_brings_a_certificate_for_all_service_names() {
    let bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    let issuers = certificates.issuers().await.unwrap();
    let [issuer] = issuers.as_slice() else {
        panic!("one CA is used: {issuers:?}")
    };
    assert_eq!(issuer.domain, "pebble.test");
    let account = issuer.account_uri.as_deref().unwrap();
    assert!(account.starts_with("https://"), "{account}");

    let certificate = bed.obtain(&certificates).await.unwrap();
    bed.assert_verified(&certificate).await;
    assert_eq!(certificate.names, service_names(&bed.apex));
    assert!(certificate.not_before < certificate.not_after);
    bed.assert_no_challenges_left().await;

    // Neither a second call nor a second process orders or registers anything.
    assert_eq!(bed.obtain(&certificates).await.unwrap(), certificate);
    let after_restart = bed.certificates();
    assert_eq!(bed.obtain(&after_restart).await.unwrap(), certificate);
    assert_eq!(after_restart.issuers().await.unwrap(), issuers);
    assert_eq!(bed.orders(), 1, "{}", bed.pebble.log());
}

#[tokio::test]
async fn calls_at_once_make_one_order() {
    let bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    let (one, other) = tokio::join!(bed.obtain(&certificates), bed.obtain(&certificates));
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(bed.orders(), 1);
}

/// A time at which the certificates of Pebble, valid for years, have less than a third of their life left.
#[derive(Debug)]
struct LaterClock(Timestamp);

impl Clock for LaterClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_replaced() {
    // Valid authorizations are used again, so that nothing is left to answer.
    let bed = Bed::start(&[("PEBBLE_AUTHZREUSE", "100")]).await;
    let first = bed.obtain(&bed.certificates()).await.unwrap();
    let later = first.not_after.checked_sub((24 * 30).hours()).unwrap();
    let store = Arc::new(bed.dns.store.clone());
    let certificates = bed.certificates_over(store, Arc::new(LaterClock(later)));
    let second = bed.obtain(&certificates).await.unwrap();
    assert_ne!(first.serial, second.serial);
    assert_ne!(first.key_pem, second.key_pem);
    bed.assert_verified(&second).await;
    assert_eq!(bed.orders(), 2);
}

#[tokio::test]
async fn refused_nonces_are_no_failure() {
    let bed = Bed::start(&[("PEBBLE_WFE_NONCEREJECT", "50")]).await;
    let certificate = bed.obtain(&bed.certificates()).await.unwrap();
    bed.assert_verified(&certificate).await;
    bed.assert_no_challenges_left().await;
    assert_eq!(bed.orders(), 1);
}

/// Does as the store does, and then never answers, from one call on: the process died there.
struct DyingStore {
    store: Store,
    calls_left: AtomicUsize,
    /// What it dies with in its hands: told to lose certificates, it keeps none.
    lost: Option<std::sync::Mutex<Option<Certificate>>>,
}

impl DyingStore {
    fn after(calls: usize, store: &Store) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            calls_left: AtomicUsize::new(calls),
            lost: None,
        })
    }

    fn losing_certificates(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            calls_left: AtomicUsize::new(usize::MAX),
            lost: Some(std::sync::Mutex::default()),
        })
    }

    async fn maybe_die<T>(&self, done: T) -> T {
        let left = self
            .calls_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left == Ok(1) || left.is_err() {
            std::future::pending::<()>().await;
        }
        done
    }
}

#[async_trait]
impl CertificateVault for DyingStore {
    async fn account(&self, directory: &str) -> Result<Option<Secret>, PortError> {
        self.maybe_die(self.store.account(directory).await).await
    }

    async fn put_account(&self, directory: &str, credentials: &Secret) -> Result<(), PortError> {
        self.maybe_die(self.store.put_account(directory, credentials).await)
            .await
    }

    async fn order(&self, presence: PresenceId) -> Result<Option<CertificateOrder>, PortError> {
        self.maybe_die(self.store.order(presence).await).await
    }

    async fn put_order(
        &self,
        presence: PresenceId,
        order: &CertificateOrder,
    ) -> Result<(), PortError> {
        self.maybe_die(self.store.put_order(presence, order).await)
            .await
    }

    async fn remove_order(&self, presence: PresenceId) -> Result<(), PortError> {
        self.maybe_die(self.store.remove_order(presence).await)
            .await
    }

    async fn certificate(&self, presence: PresenceId) -> Result<Option<Certificate>, PortError> {
        self.maybe_die(self.store.certificate(presence).await).await
    }

    async fn put_certificate(
        &self,
        presence: PresenceId,
        certificate: &Certificate,
    ) -> Result<(), PortError> {
        if let Some(lost) = &self.lost {
            *lost.lock().unwrap() = Some(certificate.clone());
            return std::future::pending().await;
        }
        self.maybe_die(self.store.put_certificate(presence, certificate).await)
            .await
    }

    async fn certificates(&self, presence: PresenceId) -> Result<Vec<Certificate>, PortError> {
        self.maybe_die(self.store.certificates(presence).await)
            .await
    }

    async fn remove_certificates(&self, presence: PresenceId) -> Result<(), PortError> {
        self.maybe_die(self.store.remove_certificates(presence).await)
            .await
    }
}

#[async_trait]
impl Zones for DyingStore {
    async fn put_zone(&self, presence: PresenceId, spec: &ZoneSpec) -> Result<u32, PortError> {
        self.maybe_die(self.store.put_zone(presence, spec).await)
            .await
    }

    async fn remove_zone(&self, presence: PresenceId, apex: &DomainName) -> Result<(), PortError> {
        self.maybe_die(self.store.remove_zone(presence, apex).await)
            .await
    }

    async fn add_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<u32, PortError> {
        self.maybe_die(self.store.add_challenges(apex, values).await)
            .await
    }

    async fn clear_challenges(&self, apex: &DomainName) -> Result<(), PortError> {
        self.store.clear_challenges(apex).await
    }

    async fn remove_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<(), PortError> {
        self.maybe_die(self.store.remove_challenges(apex, values).await)
            .await
    }
}

#[tokio::test]
async fn a_crash_after_each_stored_fact_goes_on_with_the_same_order() {
    let bed = Bed::start(&[]).await;
    // A whole run talks to the store this often: certificate, account, put_account, order, put_order,
    // add_challenges, remove_challenges, put_certificate. It dies after each in turn.
    for (orders_before, calls) in (1..=8).enumerate() {
        let presence = PresenceId::new();
        let apex: DomainName = format!("mau-{calls}.biz.vn").parse().unwrap();
        bed.put_presence(presence, &apex).await;
        let names = service_names(&apex);
        // The account is made anew in the first rounds only; later ones read it and are one call shorter.
        let dying = DyingStore::after(calls, &bed.dns.store);
        let certificates = bed.certificates_over(dying, Arc::new(SystemClock));
        let run = certificates.obtain(presence, &apex, &names);
        let died = tokio::time::timeout(Duration::from_millis(700), run).await;
        let finished = matches!(died, Ok(Ok(_)));

        let restarted = bed.certificates();
        let certificate = restarted.obtain(presence, &apex, &names).await;
        let certificate = certificate.unwrap_or_else(|error| {
            panic!("died after {calls} calls: {}", ErrorChain(&error));
        });
        let root = bed.pebble.issuing_root().await;
        verify(&certificate.chain_pem, &root, apex.as_str()).unwrap();
        assert_eq!(
            bed.orders(),
            orders_before + 1,
            "died after {calls} calls, finished: {finished}"
        );
        for name in &names {
            let left = dig(53, &format!("+short _acme-challenge.{name} TXT")).await;
            assert_eq!(
                left, "",
                "died after {calls} calls, a challenge of {name} is left"
            );
        }
        let order = bed.dns.store.order(presence).await.unwrap();
        assert_eq!(order, None, "died after {calls} calls");
    }
}

#[tokio::test]
async fn dropped_at_any_moment_it_goes_on() {
    let bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    certificates.issuers().await.unwrap();
    let names = service_names(&bed.apex);
    let mut patience = Duration::from_millis(4);
    let certificate = loop {
        let run = certificates.obtain(bed.presence, &bed.apex, &names);
        match tokio::time::timeout(patience, run).await {
            Ok(certificate) => break certificate.unwrap(),
            Err(_) => patience += Duration::from_millis(4),
        }
    };
    bed.assert_verified(&certificate).await;
    bed.assert_no_challenges_left().await;
    // Dropped while the CA was answering, at most one order was placed and not noted.
    assert!(bed.orders() <= 3, "{} orders", bed.orders());
}

#[tokio::test]
async fn a_ca_that_is_down_is_named_and_waited_for() {
    let mut bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    certificates.issuers().await.unwrap();
    bed.pebble.stop().await;

    let began = Instant::now();
    let error = bed.obtain(&certificates).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
    let told = ErrorChain(&error).to_string();
    assert!(told.contains(&bed.pebble.directory()), "{told}");
    assert!(told.contains("the CA does not answer"), "{told}");
    assert!(told.contains("check that it runs"), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
    let unreachable = bed.certificates().issuers().await.unwrap_err();
    assert_eq!(
        unreachable.kind,
        FailureKind::Transient { retry_after: None }
    );

    // A Pebble that starts again has lost our account: it is made again with the same key.
    bed.pebble.start(&[]).await;
    let certificate = bed.obtain(&certificates).await.unwrap();
    bed.assert_verified(&certificate).await;
    let restarted = bed.certificates();
    assert_eq!(bed.obtain(&restarted).await.unwrap(), certificate);
}

#[tokio::test]
async fn an_order_that_the_ca_forgot_is_placed_anew() {
    let mut bed = Bed::start(&[]).await;
    let dying = DyingStore::after(5, &bed.dns.store);
    let certificates = bed.certificates_over(dying, Arc::new(SystemClock));
    let run = bed.obtain(&certificates);
    tokio::time::timeout(Duration::from_millis(700), run)
        .await
        .unwrap_err();
    let begun = bed.dns.store.order(bed.presence).await.unwrap();
    assert!(begun.is_some());

    bed.pebble.stop().await;
    bed.pebble.start(&[]).await;
    let certificate = bed.obtain(&bed.certificates()).await.unwrap();
    bed.assert_verified(&certificate).await;
}

#[tokio::test]
async fn an_untrusted_ca_is_not_spoken_to() {
    let bed = Bed::start(&[]).await;
    let store = Arc::new(bed.dns.store.clone());
    let build = |root| {
        let settings = AcmeSettings {
            root,
            ..bed.settings()
        };
        let probes = Arc::new(bed.dns.outsider());
        AcmeCertificates::new(
            settings,
            store.clone(),
            store.clone(),
            probes,
            Arc::new(SystemClock),
        )
    };
    let told = |error: &PortError| ErrorChain(error).to_string();
    let public = build(None).issuers().await.unwrap_err();
    assert!(
        told(&public).contains("HTTPS certificate is one we trust"),
        "{}",
        told(&public)
    );
    let missing = build(Some("/no/such/root.pem".into()))
        .issuers()
        .await
        .unwrap_err();
    assert_eq!(missing.kind, FailureKind::Misconfigured);
    assert!(
        told(&missing).contains("`/no/such/root.pem`"),
        "{}",
        told(&missing)
    );
}

/// Adds values that are not the wanted ones, as a name server that lags behind would show.
struct WrongZones(Store);

#[async_trait]
impl Zones for WrongZones {
    async fn put_zone(&self, presence: PresenceId, spec: &ZoneSpec) -> Result<u32, PortError> {
        self.0.put_zone(presence, spec).await
    }

    async fn remove_zone(&self, presence: PresenceId, apex: &DomainName) -> Result<(), PortError> {
        self.0.remove_zone(presence, apex).await
    }

    async fn add_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<u32, PortError> {
        let wrong: Vec<_> = values
            .iter()
            .map(|(owner, _)| (owner.clone(), "not-the-value".to_owned()))
            .collect();
        self.0.add_challenges(apex, &wrong).await
    }

    async fn clear_challenges(&self, apex: &DomainName) -> Result<(), PortError> {
        self.0.clear_challenges(apex).await
    }

    async fn remove_challenges(
        &self,
        apex: &DomainName,
        values: &[(DomainName, String)],
    ) -> Result<(), PortError> {
        self.0.remove_challenges(apex, values).await
    }
}

#[tokio::test]
async fn a_failed_validation_waits_and_takes_a_fresh_order() {
    let bed = Bed::start(&[]).await;
    let store = Arc::new(bed.dns.store.clone());
    let certificates = AcmeCertificates::new(
        bed.settings(),
        store,
        Arc::new(WrongZones(bed.dns.store.clone())),
        Arc::new(bed.dns.outsider()),
        Arc::new(SystemClock),
    );
    let error = bed.obtain(&certificates).await.unwrap_err();
    let retry_after = Some(Duration::from_secs(1));
    assert_eq!(error.kind, FailureKind::Transient { retry_after });
    let told = ErrorChain(&error).to_string();
    assert!(told.contains("urn:ietf:params:acme:error:"), "{told}");

    let certificate = bed.obtain(&bed.certificates()).await.unwrap();
    bed.assert_verified(&certificate).await;
    assert_eq!(bed.orders(), 2);
}

fn days_from_now(days: i64) -> Timestamp {
    Timestamp::now().checked_add((24 * days).hours()).unwrap()
}

#[tokio::test]
async fn without_a_suggestion_two_thirds_of_the_lifetime_go_by() {
    let bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    assert_eq!(certificates.renewal_at(bed.presence).await.unwrap(), None);
    let first = bed.obtain(&certificates).await.unwrap();
    let at = certificates
        .renewal_at(bed.presence)
        .await
        .unwrap()
        .unwrap();
    let life = first.not_after.as_second() - first.not_before.as_second();
    let lived = at.as_second() - first.not_before.as_second();
    assert!(
        lived * 3 >= life * 2 && lived * 10 <= life * 7,
        "{lived} of {life}"
    );
    let elsewhere = bed.certificates().renewal_at(bed.presence).await;
    assert_eq!(elsewhere.unwrap(), Some(at), "the same in every process");

    // A second before, nothing is ordered; at the moment, another certificate takes its place.
    let store = Arc::new(bed.dns.store.clone());
    let early = LaterClock(at.checked_sub(1.second()).unwrap());
    let early = bed.certificates_over(Arc::clone(&store), Arc::new(early));
    assert_eq!(bed.renew(&early).await.unwrap(), first);
    assert_eq!(bed.orders(), 1);
    let due = bed.certificates_over(store, Arc::new(LaterClock(at)));
    let second = bed.renew(&due).await.unwrap();
    assert_ne!(second.serial, first.serial);
    assert_ne!(second.key_pem, first.key_pem);
    bed.assert_verified(&second).await;
    bed.assert_no_challenges_left().await;
    assert_eq!(bed.served().await, Some(second.clone()));
    assert_eq!(bed.renew(&certificates).await.unwrap(), second);
    assert_eq!(bed.orders(), 2);
    // The one before is replaced, not withdrawn: some edge may still show it.
    let status = bed.pebble.certificate_status(&first.serial).await;
    assert_eq!(status, ("Valid".to_owned(), None));
}

#[tokio::test]
async fn the_ca_says_when_to_renew() {
    let mut bed = Bed::start(&[]).await;
    let front = bed.ari().await;
    let window = (days_from_now(10), days_from_now(20));
    front.suggest(Some(window), Some(6 * 3600));
    let certificates = bed.certificates();
    let first = bed.obtain(&certificates).await.unwrap();
    bed.assert_verified(&first).await;
    let at = certificates
        .renewal_at(bed.presence)
        .await
        .unwrap()
        .unwrap();
    assert!(window.0 <= at.checked_add(1.second()).unwrap() && at < window.1);
    let again = certificates.renewal_at(bed.presence).await.unwrap();
    assert_eq!(again, Some(at));
    let asked = front.asked();
    assert_eq!(asked.len(), 1, "once in six hours: {asked:?}");
    let elsewhere = bed.certificates().renewal_at(bed.presence).await;
    assert_eq!(elsewhere.unwrap(), Some(at));

    // The CA wants it replaced at once: seen when it is next to be asked, not before.
    front.suggest_for(&asked[0], (days_from_now(-2), days_from_now(-1)));
    assert_eq!(bed.renew(&certificates).await.unwrap(), first);
    let second = bed.renew(&bed.certificates()).await.unwrap();
    assert_ne!(second.serial, first.serial);
    bed.assert_verified(&second).await;
    assert_eq!(front.replaced(), [asked[0].clone()]);
    assert_eq!(bed.served().await, Some(second.clone()));

    // The new one has a window of its own, so that there is no end to it.
    for certificates in [bed.certificates(), bed.certificates()] {
        assert_eq!(bed.renew(&certificates).await.unwrap(), second);
    }
    assert_eq!(bed.orders(), 2);
    assert_ne!(front.asked().last(), asked.first());
}

#[tokio::test]
async fn hours_later_the_ca_is_asked_again() {
    let mut bed = Bed::start(&[]).await;
    let front = bed.ari().await;
    front.suggest(Some((days_from_now(10), days_from_now(20))), Some(3600));
    let clock = Arc::new(MovedClock::default());
    let store = Arc::new(bed.dns.store.clone());
    let certificates = bed.certificates_over(store, clock.clone());
    bed.obtain(&certificates).await.unwrap();
    let renewal_at = async || {
        certificates
            .renewal_at(bed.presence)
            .await
            .unwrap()
            .unwrap()
    };
    let first = renewal_at().await;
    clock.advance(59 * 60);
    front.suggest(Some((days_from_now(30), days_from_now(40))), Some(3600));
    assert_eq!(renewal_at().await, first);
    clock.advance(2 * 60);
    let second = renewal_at().await;
    assert!(second >= days_from_now(29), "{second}");
    // A CA that says nothing useful for a while does not undo what it said.
    for (window, retry_after) in [
        (None, None),
        (Some((days_from_now(1), days_from_now(2))), None),
    ] {
        clock.advance(7 * 3600);
        front.suggest(window, retry_after);
        assert_eq!(renewal_at().await, second);
    }
    let asked = front.asked().len();
    assert_eq!(renewal_at().await, second);
    assert_eq!(front.asked().len(), asked, "it is left alone for hours");
}

/// The machine's time, and more.
#[derive(Debug, Default)]
struct MovedClock(AtomicUsize);

impl MovedClock {
    fn advance(&self, secs: usize) {
        self.0.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let moved = i64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        Timestamp::now().checked_add(moved.seconds()).unwrap()
    }
}

#[tokio::test]
async fn a_ca_that_will_not_replace_gives_one_beside_it() {
    let mut bed = Bed::start(&[]).await;
    let front = bed.ari().await;
    front.suggest(Some((days_from_now(-2), days_from_now(-1))), Some(3600));
    front.refuse_replacements();
    let first = bed.obtain(&bed.certificates()).await.unwrap();
    let second = bed.renew(&bed.certificates()).await.unwrap();
    assert_ne!(first.serial, second.serial);
    assert_eq!(front.replaced(), Vec::<String>::new());
    assert_eq!(bed.served().await, Some(second));
}

#[tokio::test]
async fn a_crash_in_a_renewal_goes_on_with_the_same_order() {
    let mut bed = Bed::start(&[]).await;
    let front = bed.ari().await;
    front.suggest(Some((days_from_now(10), days_from_now(20))), Some(3600));
    // A whole run talks to the store this often: certificate, account, order, put_order,
    // add_challenges, remove_challenges, put_certificate.
    for calls in 1..=7 {
        bed.presence = PresenceId::new();
        bed.apex = format!("mau-{calls}.biz.vn").parse().unwrap();
        bed.put_presence(bed.presence, &bed.apex).await;
        let first = bed.obtain(&bed.certificates()).await.unwrap();
        bed.certificates().renewal_at(bed.presence).await.unwrap();
        let asked = front.asked();
        front.suggest_for(
            asked.last().unwrap(),
            (days_from_now(-2), days_from_now(-1)),
        );
        let orders_before = bed.orders();

        let dying = DyingStore::after(calls, &bed.dns.store);
        let certificates = bed.certificates_over(dying, Arc::new(SystemClock));
        let run = bed.renew(&certificates);
        let died = tokio::time::timeout(Duration::from_millis(1500), run).await;
        assert!(
            died.is_err(),
            "{calls} calls are fewer than a run's: {died:?}"
        );
        let between = bed.served().await.unwrap();
        if calls < 7 {
            assert_eq!(
                between, first,
                "the old one is served until the new one is there"
            );
            // Whoever wants the certificate that is in use gets it, whatever order is open.
            assert_eq!(bed.obtain(&bed.certificates()).await.unwrap(), first);
        }

        let second = bed.renew(&bed.certificates()).await;
        let second = second.unwrap_or_else(|error| {
            panic!("died after {calls} calls: {}", ErrorChain(&error));
        });
        assert_ne!(second.serial, first.serial);
        bed.assert_verified(&second).await;
        bed.assert_no_challenges_left().await;
        assert_eq!(bed.orders(), orders_before + 1, "died after {calls} calls");
        assert_eq!(bed.served().await, Some(second));
    }
}

#[tokio::test]
async fn an_order_left_lying_for_years_is_not_the_new_certificate() {
    let bed = Bed::start(&[]).await;
    let losing = DyingStore::losing_certificates(&bed.dns.store);
    let certificates = bed.certificates_over(losing.clone(), Arc::new(SystemClock));
    let run = bed.obtain(&certificates);
    tokio::time::timeout(Duration::from_millis(1500), run)
        .await
        .unwrap_err();
    let lost = losing.lost.as_ref().unwrap().lock().unwrap().clone();
    let lost = lost.expect("the CA issued it");

    // Taken up soon, it is what was ordered.
    let soon = DyingStore::losing_certificates(&bed.dns.store);
    let certificates = bed.certificates_over(soon.clone(), Arc::new(SystemClock));
    let run = bed.renew(&certificates);
    tokio::time::timeout(Duration::from_millis(1500), run)
        .await
        .unwrap_err();
    let taken_up = soon.lost.as_ref().unwrap().lock().unwrap().clone();
    assert_eq!(taken_up, Some(lost.clone()));
    assert_eq!(bed.orders(), 1);

    let later = lost.not_after.checked_sub(24.hours()).unwrap();
    let store = Arc::new(bed.dns.store.clone());
    let certificates = bed.certificates_over(store, Arc::new(LaterClock(later)));
    let renewed = bed.renew(&certificates).await.unwrap();
    assert_ne!(renewed.serial, lost.serial);
    assert_eq!(bed.orders(), 2);
}

const REVOKED: (&str, Option<u64>) = ("Revoked", Some(5));

impl Bed {
    async fn assert_revoked(&self, certificate: &Certificate) {
        let (status, reason) = self.pebble.certificate_status(&certificate.serial).await;
        assert_eq!((status.as_str(), reason), REVOKED, "cessationOfOperation");
    }

    async fn assert_erased(&self) {
        let store = &self.dns.store;
        assert_eq!(store.certificates(self.presence).await.unwrap(), []);
        assert_eq!(store.order(self.presence).await.unwrap(), None);
        assert_eq!(self.served().await, None);
    }
}

#[tokio::test]
async fn what_is_given_up_is_revoked_and_erased() {
    let bed = Bed::start(&[]).await;
    let certificates = bed.certificates();
    let first = bed.obtain(&certificates).await.unwrap();
    let at = certificates
        .renewal_at(bed.presence)
        .await
        .unwrap()
        .unwrap();
    let store = Arc::new(bed.dns.store.clone());
    let due = bed.certificates_over(store, Arc::new(LaterClock(at)));
    let second = bed.renew(&due).await.unwrap();
    // Somebody else's stays.
    let other = PresenceId::new();
    let apex: DomainName = "mau-khac.biz.vn".parse().unwrap();
    bed.put_presence(other, &apex).await;
    let kept = certificates
        .obtain(other, &apex, &service_names(&apex))
        .await;
    let kept = kept.unwrap();

    for _ in 0..2 {
        certificates.remove(bed.presence).await.unwrap();
        bed.assert_revoked(&first).await;
        bed.assert_revoked(&second).await;
        bed.assert_erased().await;
        assert_eq!(certificates.renewal_at(bed.presence).await.unwrap(), None);
    }
    let status = bed.pebble.certificate_status(&kept.serial).await;
    assert_eq!(status, ("Valid".to_owned(), None));
    let at_other = hiendien_engine::ports::Serving::certificate(&bed.dns.store, &apex)
        .await
        .unwrap();
    assert_eq!(at_other, Some(kept));
    // The name may be had again.
    let next = bed.obtain(&certificates).await.unwrap();
    bed.assert_verified(&next).await;
}

#[tokio::test]
async fn a_crash_in_a_removal_is_taken_up() {
    let bed = Bed::start(&[]).await;
    // Talks to the store this often: order, certificates, account, remove_certificates.
    for calls in 1..=4 {
        let first = bed.obtain(&bed.certificates()).await.unwrap();
        let dying = DyingStore::after(calls, &bed.dns.store);
        let certificates = bed.certificates_over(dying, Arc::new(SystemClock));
        let run = certificates.remove(bed.presence);
        let died = tokio::time::timeout(Duration::from_millis(700), run).await;
        assert!(
            died.is_err(),
            "{calls} calls are fewer than a run's: {died:?}"
        );
        bed.certificates().remove(bed.presence).await.unwrap();
        bed.assert_revoked(&first).await;
        bed.assert_erased().await;
    }
}

#[tokio::test]
async fn what_was_revoked_elsewhere_or_ran_out_is_no_obstacle() {
    let bed = Bed::start(&[]).await;
    let first = bed.obtain(&bed.certificates()).await.unwrap();
    let again = bed.dns.store.clone();
    bed.certificates().remove(bed.presence).await.unwrap();
    // As after a crash behind the revocation: the row is there still.
    again.put_certificate(bed.presence, &first).await.unwrap();
    bed.certificates().remove(bed.presence).await.unwrap();
    bed.assert_erased().await;

    let second = bed.obtain(&bed.certificates()).await.unwrap();
    let over = second.not_after.checked_add(1.second()).unwrap();
    let certificates = bed.certificates_over(Arc::new(again), Arc::new(LaterClock(over)));
    certificates.remove(bed.presence).await.unwrap();
    bed.assert_erased().await;
    let status = bed.pebble.certificate_status(&second.serial).await;
    assert_eq!(status.0, "Valid", "what has run out is not revoked");
}

#[tokio::test]
async fn an_order_that_was_begun_is_given_up_with_its_certificate() {
    let bed = Bed::start(&[]).await;
    // Placed and not answered.
    let dying = DyingStore::after(5, &bed.dns.store);
    let certificates = bed.certificates_over(dying, Arc::new(SystemClock));
    let run = bed.obtain(&certificates);
    tokio::time::timeout(Duration::from_millis(700), run)
        .await
        .unwrap_err();
    let order = bed.dns.store.order(bed.presence).await.unwrap();
    let order = order.expect("it was noted");
    bed.certificates().remove(bed.presence).await.unwrap();
    bed.assert_erased().await;
    // As after a crash before it was erased; and the CA goes on with it no more.
    let store = &bed.dns.store;
    store.put_order(bed.presence, &order).await.unwrap();
    bed.certificates().remove(bed.presence).await.unwrap();
    bed.assert_erased().await;
    store.put_order(bed.presence, &order).await.unwrap();
    bed.obtain(&bed.certificates()).await.unwrap();
    assert_eq!(bed.orders(), 2);
    bed.certificates().remove(bed.presence).await.unwrap();

    // Issued and not stored.
    let losing = DyingStore::losing_certificates(&bed.dns.store);
    let certificates = bed.certificates_over(losing.clone(), Arc::new(SystemClock));
    let run = bed.obtain(&certificates);
    tokio::time::timeout(Duration::from_millis(1500), run)
        .await
        .unwrap_err();
    let lost = losing.lost.as_ref().unwrap().lock().unwrap().clone();
    let lost = lost.expect("the CA issued it");
    bed.certificates().remove(bed.presence).await.unwrap();
    bed.assert_revoked(&lost).await;
    bed.assert_erased().await;
}

#[tokio::test]
async fn a_removal_needs_the_ca_only_where_there_is_something_to_revoke() {
    let mut bed = Bed::start(&[]).await;
    let first = bed.obtain(&bed.certificates()).await.unwrap();
    bed.pebble.stop().await;
    let certificates = bed.certificates();
    certificates.remove(PresenceId::new()).await.unwrap();
    let error = certificates.remove(bed.presence).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
    // Until it is revoked nothing is erased: without it nobody could revoke it any more.
    assert_eq!(bed.served().await, Some(first));

    // A CA that has forgotten all, our account too, has nothing to revoke.
    bed.pebble.start(&[]).await;
    certificates.remove(bed.presence).await.unwrap();
    bed.assert_erased().await;
}
