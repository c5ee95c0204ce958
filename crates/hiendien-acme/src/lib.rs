//! Certificates from a CA by ACME (RFC 8555), with dns-01 answered by our own zones.
//!
//! The account, each order and its key are stored before they are used, so that a crash takes the
//! same order up again and a restart orders nothing. Nothing here runs inside a TLS handshake, and
//! nothing here decides to renew: it is asked when a certificate is due ([`Certificates::renewal_at`]).

mod certificate;
mod failure;
mod http;
mod removal;
mod renewal;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::records::CaaIssuer;
use hiendien_domain::secret::Secret;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    Certificate, CertificateOrder, CertificateVault, Certificates, ErrorChain, FailureKind,
    PortError, Probes, Zones,
};
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, CertificateIdentifier,
    ChallengeStatus, ChallengeType, Identifier, Key, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivateKeyDer;
use tokio::sync::Mutex;

use crate::failure::{Failure, doing};
use crate::http::{Busy, Http};
use crate::renewal::Suggestions;

/// How often an order goes on after a CA refused three nonces in a row.
const NONCE_ROUNDS_MAX: usize = 16;

/// How one CA is used.
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    /// URL of the CA's directory (RFC 8555, 7.1.1).
    pub directory: String,
    /// PEM file with the root of the CA's HTTPS server, where it is not a public one.
    pub root: Option<PathBuf>,
    /// Told to the CA for notices about the account.
    pub contact: Option<MailAddress>,
    /// The CA's issuer domain name for CAA records (RFC 8659, 4.2).
    pub issuer_domain: String,
    /// Bound of one request.
    pub request_timeout: Duration,
    /// First wait between two looks at an order; it grows with each.
    pub poll_first: Duration,
    /// Bound of waiting for the CA to validate, and again to issue.
    pub poll_limit: Duration,
    /// Wait after a validation that failed. CAs count failures: Let's Encrypt allows 5 an hour for a name.
    pub validation_wait: Duration,
}

impl AcmeSettings {
    /// Settings that suit a public CA.
    pub fn new(directory: impl Into<String>, issuer_domain: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            root: None,
            contact: None,
            issuer_domain: issuer_domain.into(),
            request_timeout: Duration::from_secs(10),
            poll_first: Duration::from_millis(20),
            poll_limit: Duration::from_mins(1),
            validation_wait: Duration::from_mins(12),
        }
    }
}

/// The [`Certificates`] port over ACME.
pub struct AcmeCertificates {
    settings: AcmeSettings,
    vault: Arc<dyn CertificateVault>,
    zones: Arc<dyn Zones>,
    probes: Arc<dyn Probes>,
    clock: Arc<dyn Clock>,
    account: Mutex<Option<Account>>,
    busy: Busy,
    suggestions: Suggestions,
    /// One order at a time for a presence.
    ordering: std::sync::Mutex<HashMap<PresenceId, Weak<Mutex<()>>>>,
}

impl fmt::Debug for AcmeCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AcmeCertificates")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Certificates for AcmeCertificates {
    async fn issuers(&self) -> Result<Vec<CaaIssuer>, PortError> {
        let account = self.account().await;
        let account = account.map_err(|failure| self.port_error(failure))?;
        Ok(vec![CaaIssuer {
            domain: self.settings.issuer_domain.clone(),
            account_uri: Some(account.id().to_owned()),
        }])
    }

    async fn obtain(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        let lock = self.lock_of(presence);
        let _held = lock.lock().await;
        if let Some(certificate) = self.vault.certificate(presence).await?
            && certificate::is_fresh(&certificate, names, self.clock.now())
        {
            return Ok(certificate);
        }
        let job = Job {
            presence,
            apex,
            names,
            replaces: None,
        };
        self.persist(|| self.order(job)).await
    }

    async fn renewal_at(&self, presence: PresenceId) -> Result<Option<Timestamp>, PortError> {
        let Some(certificate) = self.vault.certificate(presence).await? else {
            return Ok(None);
        };
        Ok(Some(self.renewal(presence, &certificate).await.at))
    }

    async fn renew(
        &self,
        presence: PresenceId,
        apex: &DomainName,
        names: &[DomainName],
    ) -> Result<Certificate, PortError> {
        let lock = self.lock_of(presence);
        let _held = lock.lock().await;
        let mut replaces = None;
        if let Some(certificate) = self.vault.certificate(presence).await?
            && certificate.names == names
        {
            let renewal = self.renewal(presence, &certificate).await;
            if self.clock.now() < renewal.at {
                return Ok(certificate);
            }
            replaces = renewal.replaces;
        }
        let job = Job {
            presence,
            apex,
            names,
            replaces: replaces.as_ref(),
        };
        self.persist(|| self.order(job)).await
    }

    async fn remove(&self, presence: PresenceId) -> Result<(), PortError> {
        let lock = self.lock_of(presence);
        let _held = lock.lock().await;
        self.persist(|| self.give_up(presence)).await?;
        self.vault.remove_certificates(presence).await?;
        self.suggestions.forget(presence);
        Ok(())
    }
}

/// What a certificate is wanted for.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    presence: PresenceId,
    apex: &'a DomainName,
    names: &'a [DomainName],
    /// The certificate that this one takes the place of, where the CA is to know (RFC 9773, 5).
    replaces: Option<&'a CertificateIdentifier<'static>>,
}

/// An owner name with the TXT value that answers its challenge.
type ChallengeValue = (DomainName, String);

impl AcmeCertificates {
    /// `probes` asks our name servers before the CA does, since a CA counts what it could not validate.
    pub fn new(
        settings: AcmeSettings,
        vault: Arc<dyn CertificateVault>,
        zones: Arc<dyn Zones>,
        probes: Arc<dyn Probes>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            settings,
            vault,
            zones,
            probes,
            clock,
            account: Mutex::default(),
            busy: Busy::default(),
            suggestions: Suggestions::default(),
            ordering: std::sync::Mutex::default(),
        }
    }

    fn port_error(&self, failure: Failure) -> PortError {
        failure.into_port(&self.settings.directory, self.busy.left())
    }

    fn retries(&self) -> RetryPolicy {
        RetryPolicy::new()
            .initial_delay(self.settings.poll_first)
            .backoff(1.5)
            .timeout(self.settings.poll_limit)
    }

    fn builder(&self) -> Result<AccountBuilder, PortError> {
        let root = self.settings.root.as_deref();
        let http = Http::new(root, self.settings.request_timeout, self.busy.clone());
        let http = http.map_err(|error| {
            let action = format!("preparing to ask the CA `{}`", self.settings.directory);
            PortError::misconfigured(action, error)
        })?;
        Ok(Account::builder_with_http(Box::new(http)))
    }

    /// Our account, made and stored where there is none yet.
    async fn account(&self) -> Result<Account, Failure> {
        let mut held = self.account.lock().await;
        if let Some(account) = &*held {
            return Ok(account.clone());
        }
        let builder = self.builder()?;
        let account = if let Some(credentials) = self.stored_credentials().await? {
            let opened = builder.from_credentials(credentials).await;
            opened.map_err(doing("opening our account"))?
        } else {
            let contact = self.settings.contact.as_ref();
            let contact: Vec<String> = contact
                .iter()
                .map(|mail| format!("mailto:{mail}"))
                .collect();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            let new = NewAccount {
                contact: &contact,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let made = builder.create(&new, self.settings.directory.clone(), None);
            let (account, credentials) = made.await.map_err(doing("making an account"))?;
            self.store_credentials(&credentials).await?;
            account
        };
        *held = Some(account.clone());
        Ok(account)
    }

    async fn stored_credentials(&self) -> Result<Option<AccountCredentials>, PortError> {
        let stored = self.vault.account(&self.settings.directory).await?;
        stored
            .map(|stored| serde_json::from_str(stored.expose()))
            .transpose()
            .map_err(|error| PortError::misconfigured("reading the stored ACME account", error))
    }

    async fn store_credentials(&self, credentials: &AccountCredentials) -> Result<(), PortError> {
        let text = serde_json::to_string(credentials)
            .map_err(|error| PortError::misconfigured("writing down the ACME account", error))?;
        self.vault
            .put_account(&self.settings.directory, &Secret::new(text))
            .await
    }

    /// Makes an account for the key we have, at a CA that lost it. A CA that closed the account
    /// refuses (RFC 8555, 7.3.6).
    async fn register_again(&self) -> Result<(), Failure> {
        let mut held = self.account.lock().await;
        let Some(credentials) = self.stored_credentials().await? else {
            *held = None;
            return Ok(());
        };
        let former = held.take().map(|account| account.id().to_owned());
        let der = credentials.private_key().clone_key();
        let key = Key::from_pkcs8_der(der.clone_key()).map_err(doing("reading our account key"))?;
        let made = self.builder()?.create_from_key(
            (key, PrivateKeyDer::Pkcs8(der)),
            self.settings.directory.clone(),
        );
        let (account, credentials) = made.await.map_err(doing("making our account again"))?;
        self.store_credentials(&credentials).await?;
        tracing::warn!(
            acme.directory = self.settings.directory,
            acme.former_account = former,
            acme.account = account.id(),
            "The CA had lost our account, made it again with the same key"
        );
        *held = Some(account);
        Ok(())
    }

    fn lock_of(&self, presence: PresenceId) -> Arc<Mutex<()>> {
        let mut ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        ordering.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = ordering.get(&presence).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Mutex::new(()));
        ordering.insert(presence, Arc::downgrade(&lock));
        lock
    }

    /// Does `work` once more where the CA had lost our account, and goes on with it while nonces are
    /// refused. What was done before stays done: each round goes on from there.
    async fn persist<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut outcome = work().await;
        if outcome.as_ref().is_err_and(Failure::is_unknown_account) {
            outcome = match self.register_again().await {
                Ok(()) => work().await,
                Err(failure) => Err(failure),
            };
        }
        // The library tries a nonce three times.
        for _ in 0..NONCE_ROUNDS_MAX {
            if !outcome.as_ref().is_err_and(Failure::is_bad_nonce) {
                break;
            }
            outcome = work().await;
        }
        if outcome.as_ref().is_err_and(Failure::is_estranged) {
            *self.account.lock().await = None;
        }
        outcome.map_err(|failure| self.port_error(failure))
    }

    /// Takes an order from wherever it stands to a stored certificate.
    async fn order(&self, job: Job<'_>) -> Result<Certificate, Failure> {
        let account = self.account().await?;
        if let Some((mut order, begun)) = self.begun(&account, job).await? {
            if order.state().status != OrderStatus::Pending {
                // A crash may have left its challenge values standing.
                let values = values(&mut order, Wanted::All).await?;
                self.zones.remove_challenges(job.apex, &values).await?;
            }
            let certificate = self.carry_out(job, order, &begun).await?;
            if certificate::is_fresh(&certificate, job.names, self.clock.now()) {
                return self.keep(job, certificate).await;
            }
            // It was issued long ago and left lying, by an attempt for a certificate before this one.
            self.vault.remove_order(job.presence).await?;
        }
        let (order, begun) = self.begin(&account, job).await?;
        let certificate = self.carry_out(job, order, &begun).await?;
        self.keep(job, certificate).await
    }

    async fn carry_out(
        &self,
        job: Job<'_>,
        mut order: Order,
        begun: &CertificateOrder,
    ) -> Result<Certificate, Failure> {
        let began = Instant::now();
        if order.state().status == OrderStatus::Pending {
            self.authorize(job, &mut order).await?;
        }
        let authorized_ms = began.elapsed().as_millis();
        let certificate = self.finish(job, &mut order, begun).await?;
        tracing::debug!(
            presence.name = %job.apex,
            authorized_ms,
            issued_ms = began.elapsed().as_millis(),
            "Obtained a certificate"
        );
        Ok(certificate)
    }

    async fn keep(&self, job: Job<'_>, certificate: Certificate) -> Result<Certificate, Failure> {
        // Also those of an order that was cut off and that the CA has forgotten since: nobody knows their values.
        self.zones.clear_challenges(job.apex).await?;
        self.vault
            .put_certificate(job.presence, &certificate)
            .await?;
        Ok(certificate)
    }

    /// The order that was begun for these names, if the CA still goes on with it.
    async fn begun(
        &self,
        account: &Account,
        job: Job<'_>,
    ) -> Result<Option<(Order, CertificateOrder)>, Failure> {
        let Some(begun) = self.vault.order(job.presence).await? else {
            return Ok(None);
        };
        if begun.directory == self.settings.directory && begun.names == job.names {
            match account.order(begun.order_url.clone()).await {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok(Some((order, begun)));
                    }
                }
                Err(error) if failure::is_gone(&error) => {}
                Err(error) => return Err(doing("taking the order up again")(error)),
            }
        }
        self.vault.remove_order(job.presence).await?;
        Ok(None)
    }

    /// Places a new order, stored before it is used.
    async fn begin(
        &self,
        account: &Account,
        job: Job<'_>,
    ) -> Result<(Order, CertificateOrder), Failure> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| PortError::misconfigured("making a P-256 key", error))?;
        let identifiers: Vec<Identifier> = job
            .names
            .iter()
            .map(|name| Identifier::Dns(name.to_string()))
            .collect();
        let new = || NewOrder::new(&identifiers);
        let order = match job.replaces {
            Some(replaced) => match account.new_order(&new().replaces(replaced.clone())).await {
                // An order that was placed and not noted may be said to have replaced it.
                Err(error) if failure::is_refused(&error) => {
                    tracing::debug!(
                        presence.name = %job.apex,
                        error = %ErrorChain(&error),
                        "The CA will not replace the certificate, ordering one beside it"
                    );
                    account.new_order(&new()).await
                }
                order => order,
            },
            None => account.new_order(&new()).await,
        };
        let order = order.map_err(doing("placing an order"))?;
        let begun = CertificateOrder {
            directory: self.settings.directory.clone(),
            order_url: order.url().to_owned(),
            key_pem: Secret::new(key.serialize_pem()),
            names: job.names.to_vec(),
        };
        self.vault.put_order(job.presence, &begun).await?;
        Ok((order, begun))
    }

    /// Answers every pending authorization by dns-01 and waits until the CA has seen it.
    async fn authorize(&self, job: Job<'_>, order: &mut Order) -> Result<(), Failure> {
        let all = values(order, Wanted::All).await?;
        let pending = values(order, Wanted::Pending).await?;
        let answered = self.answer(job, order, &pending).await;
        // Whatever came of it, the values have done their duty; those of an earlier attempt as well.
        let removed = self.zones.remove_challenges(job.apex, &all).await;
        answered?;
        Ok(removed?)
    }

    async fn answer(
        &self,
        job: Job<'_>,
        order: &mut Order,
        pending: &[ChallengeValue],
    ) -> Result<(), Failure> {
        if !pending.is_empty() {
            let serial = self.zones.add_challenges(job.apex, pending).await?;
            self.probes.zone(job.apex, serial).await?;
            set_ready(order).await?;
        }
        let status = order.poll_ready(&self.retries()).await;
        if order.state().status == OrderStatus::Invalid {
            self.vault.remove_order(job.presence).await?;
            let told = problems(order).await;
            return Err(Failure::Port(PortError {
                kind: FailureKind::Transient {
                    retry_after: Some(self.settings.validation_wait),
                },
                action: format!("validation by the CA `{}`", self.settings.directory),
                source: Some(told.into()),
            }));
        }
        status.map_err(doing("waiting for validation")).map(|_| ())
    }

    async fn finish(
        &self,
        job: Job<'_>,
        order: &mut Order,
        begun: &CertificateOrder,
    ) -> Result<Certificate, Failure> {
        if order.state().status == OrderStatus::Ready {
            let request = signing_request(begun)?;
            let finalized = order.finalize_csr(&request).await;
            finalized.map_err(doing("finalizing the order"))?;
        }
        let chain = match order.state().status {
            OrderStatus::Valid => order.certificate().await.map(Option::unwrap_or_default),
            _ => order.poll_certificate(&self.retries()).await,
        };
        if order.state().status == OrderStatus::Invalid {
            self.vault.remove_order(job.presence).await?;
        }
        let chain = chain.map_err(doing("fetching the certificate"))?;
        match certificate::checked(&chain, begun) {
            Ok(certificate) => Ok(certificate),
            Err(error) => {
                self.vault.remove_order(job.presence).await?;
                let action = "checking the certificate that the CA sent";
                Err(Failure::Port(PortError::rejected(action, error)))
            }
        }
    }
}

/// Which authorizations of an order are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Pending,
    All,
}

/// The dns-01 values of the order's authorizations, read from the CA at the first look.
async fn values(order: &mut Order, wanted: Wanted) -> Result<Vec<ChallengeValue>, Failure> {
    let mut values = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(doing("reading an authorization"))?;
        if wanted == Wanted::Pending && authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(challenge) = authorization.challenge(ChallengeType::Dns01) else {
            if wanted == Wanted::All {
                continue;
            }
            let action = "asking the CA for a dns-01 challenge";
            let refusal = PortError::rejected(action, "it offers none for the name");
            return Err(Failure::Port(refusal));
        };
        let name: Result<DomainName, _> = challenge.identifier().to_string().parse();
        let owner = name.and_then(|name| name.prefixed("_acme-challenge"));
        let owner = owner
            .map_err(|error| PortError::rejected("reading the name of an authorization", error))?;
        values.push((owner, challenge.key_authorization().dns_value()));
    }
    Ok(values)
}

/// Tells the CA that the pending challenges can be looked at.
async fn set_ready(order: &mut Order) -> Result<(), Failure> {
    if set_each_ready(order).await.is_err() {
        // A resumed order may have been validated between our reading and our answer: read it anew.
        let state = order.refresh().await;
        state.map_err(doing("reading the order"))?;
        set_each_ready(order).await?;
    }
    Ok(())
}

async fn set_each_ready(order: &mut Order) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(doing("reading an authorization"))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        if let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01)
            && challenge.status == ChallengeStatus::Pending
        {
            let answered = challenge.set_ready().await;
            answered.map_err(doing("answering a challenge"))?;
        }
    }
    Ok(())
}

/// What the CA says of the authorizations that did not become valid.
async fn problems(order: &mut Order) -> String {
    let mut told = Vec::new();
    told.extend(order.state().error.as_ref().map(ToString::to_string));
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        match authorization.refresh().await {
            Ok(state) => told.extend(
                state
                    .challenges
                    .iter()
                    .filter_map(|challenge| challenge.error.as_ref())
                    .map(ToString::to_string),
            ),
            Err(error) => told.push(ErrorChain(&error).to_string()),
        }
    }
    told.dedup();
    told.join("; ")
}

fn signing_request(begun: &CertificateOrder) -> Result<Vec<u8>, PortError> {
    let request = || -> Result<Vec<u8>, rcgen::Error> {
        let key = KeyPair::from_pem(begun.key_pem.expose())?;
        let names: Vec<String> = begun.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&key)?.der().to_vec())
    };
    request().map_err(|error| PortError::rejected("making the certificate signing request", error))
}
