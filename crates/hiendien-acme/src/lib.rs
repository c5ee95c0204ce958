//! Certificates from a CA by ACME (RFC 8555), with dns-01 answered by our own zones.
//!
//! The account, each order and its key are stored before they are used, so that a crash takes the
//! same order up again and a restart orders nothing. Nothing here runs inside a TLS handshake.

mod certificate;
mod failure;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::CaaIssuer;
use hiendien_domain::secret::Secret;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    Certificate, CertificateOrder, CertificateVault, Certificates, ErrorChain, PortError, Zones,
};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::sync::Mutex;

use failure::port_error;

/// How one CA is used.
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    /// URL of the CA's directory (RFC 8555, 7.1.1).
    pub directory: String,
    /// PEM file with the root of the CA's HTTPS server, where it is not a public one.
    pub root: Option<PathBuf>,
    /// Told to the CA for notices about the account.
    pub contact: Option<String>,
    /// The CA's issuer domain name for CAA records.
    pub issuer_domain: String,
    /// First wait between two looks at an order; doubled each time.
    pub poll_first: Duration,
    /// Bound of waiting for the CA to validate or to issue.
    pub poll_limit: Duration,
}

/// The [`Certificates`] port over ACME.
pub struct AcmeCertificates {
    settings: AcmeSettings,
    vault: Arc<dyn CertificateVault>,
    zones: Arc<dyn Zones>,
    clock: Arc<dyn Clock>,
    account: Mutex<Option<Account>>,
    /// One order at a time for a presence.
    busy: std::sync::Mutex<HashMap<PresenceId, Weak<Mutex<()>>>>,
}

impl fmt::Debug for AcmeCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AcmeCertificates")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl AcmeCertificates {
    pub fn new(
        settings: AcmeSettings,
        vault: Arc<dyn CertificateVault>,
        zones: Arc<dyn Zones>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            settings,
            vault,
            zones,
            clock,
            account: Mutex::default(),
            busy: std::sync::Mutex::default(),
        }
    }

    fn retries(&self) -> RetryPolicy {
        RetryPolicy::new()
            .initial_delay(self.settings.poll_first)
            .backoff(1.6)
            .timeout(self.settings.poll_limit)
    }

    fn error(&self, what: &str, error: Error) -> PortError {
        port_error(
            format!("{what} at the CA `{}`", self.settings.directory),
            error,
        )
    }

    /// Our account, made and stored where there is none yet.
    async fn account(&self) -> Result<Account, PortError> {
        let mut held = self.account.lock().await;
        if let Some(account) = &*held {
            return Ok(account.clone());
        }
        let directory = &self.settings.directory;
        let builder = match &self.settings.root {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        };
        let builder = builder.map_err(|error| {
            PortError::misconfigured(
                "reading the root certificate of the CA (`acme.root`)",
                error,
            )
        })?;
        let account = if let Some(credentials) = self.vault.account(directory).await? {
            let credentials: AccountCredentials = serde_json::from_str(credentials.expose())
                .map_err(|error| {
                    PortError::misconfigured("reading the stored ACME account", error)
                })?;
            builder
                .from_credentials(credentials)
                .await
                .map_err(|error| self.error("opening the account", error))?
        } else {
            let contact: Vec<String> = self
                .settings
                .contact
                .iter()
                .map(|mail| format!("mailto:{mail}"))
                .collect();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            let new = NewAccount {
                contact: &contact,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let (account, credentials) = builder
                .create(&new, directory.clone(), None)
                .await
                .map_err(|error| self.error("making an account", error))?;
            let credentials = serde_json::to_string(&credentials).map_err(|error| {
                PortError::misconfigured("writing down the ACME account", error)
            })?;
            self.vault
                .put_account(directory, &Secret::new(credentials))
                .await?;
            account
        };
        *held = Some(account.clone());
        Ok(account)
    }

    fn lock_of(&self, presence: PresenceId) -> Arc<Mutex<()>> {
        let mut busy = self
            .busy
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(&presence).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Mutex::new(()));
        busy.insert(presence, Arc::downgrade(&lock));
        lock
    }

    /// The order that was begun for these names, or a new one, stored before it is used.
    async fn begin(
        &self,
        account: &Account,
        presence: PresenceId,
        names: &[DomainName],
    ) -> Result<(Order, CertificateOrder), PortError> {
        let begun = self.vault.order(presence).await?;
        if let Some(begun) =
            begun.filter(|begun| begun.directory == self.settings.directory && begun.names == names)
        {
            match account.order(begun.order_url.clone()).await {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok((order, begun));
                    }
                    self.vault.remove_order(presence).await?;
                }
                // The CA has forgotten it; a new one follows.
                Err(Error::Api(_)) => self.vault.remove_order(presence).await?,
                Err(error) => return Err(self.error("taking the order up again", error)),
            }
        }
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| Identifier::Dns(name.to_string()))
            .collect();
        let order = account
            .new_order(&NewOrder::new(&identifiers))
            .await
            .map_err(|error| self.error("placing an order", error))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| PortError::misconfigured("making a P-256 key", error))?;
        let begun = CertificateOrder {
            directory: self.settings.directory.clone(),
            order_url: order.url().to_owned(),
            key_pem: Secret::new(key.serialize_pem()),
            names: names.to_vec(),
        };
        self.vault.put_order(presence, &begun).await?;
        Ok((order, begun))
    }

    /// Answers every pending authorization by dns-01 and waits until the CA has seen it.
    async fn authorize(&self, apex: &DomainName, order: &mut Order) -> Result<(), PortError> {
        let mut values = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.error("reading an authorization", error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let challenge = authorization
                .challenge(ChallengeType::Dns01)
                .ok_or_else(|| {
                    PortError::rejected(
                        "asking the CA for a dns-01 challenge",
                        "it offers none for this name",
                    )
                })?;
            let name: DomainName = challenge
                .identifier()
                .to_string()
                .parse()
                .map_err(|error| {
                    PortError::rejected("reading the name of an authorization", error)
                })?;
            let owner = name
                .prefixed("_acme-challenge")
                .map_err(|error| PortError::rejected("naming the challenge record", error))?;
            values.push((owner, challenge.key_authorization().dns_value()));
        }
        self.zones.add_challenges(apex, &values).await?;
        let answered = self.answer(order).await;
        // Whatever came of it, the values have done their duty.
        let removed = self.zones.remove_challenges(apex, &values).await;
        answered.and(removed)
    }

    async fn answer(&self, order: &mut Order) -> Result<(), PortError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.error("reading an authorization", error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01) {
                challenge
                    .set_ready()
                    .await
                    .map_err(|error| self.error("answering a challenge", error))?;
            }
        }
        match order.poll_ready(&self.retries()).await {
            Ok(OrderStatus::Ready) => Ok(()),
            // The challenges failed; the next attempt places a fresh order.
            Ok(status) => Err(PortError::transient(
                format!("validating at the CA `{}`", self.settings.directory),
                format!("the order became {status:?}: {}", failures(order).await),
            )),
            Err(error) => Err(self.error("waiting for validation", error)),
        }
    }

    async fn finish(
        &self,
        order: &mut Order,
        begun: &CertificateOrder,
    ) -> Result<Certificate, PortError> {
        if order.state().status == OrderStatus::Ready {
            let csr = signing_request(begun)?;
            order
                .finalize_csr(&csr)
                .await
                .map_err(|error| self.error("finalizing the order", error))?;
        }
        let chain = if order.state().status == OrderStatus::Valid {
            order.certificate().await.map(Option::unwrap_or_default)
        } else {
            order.poll_certificate(&self.retries()).await
        };
        let chain = chain.map_err(|error| self.error("fetching the certificate", error))?;
        certificate::checked(&chain, begun)
            .map_err(|error| PortError::rejected("checking the certificate the CA sent", error))
    }
}

/// What the CA says of the authorizations that did not become valid.
async fn failures(order: &mut Order) -> String {
    let mut told = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Err(error) = authorization.refresh().await {
            told.push(ErrorChain(&error).to_string());
        }
        let problems = authorization
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.as_ref());
        told.extend(problems.map(ToString::to_string));
    }
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

#[async_trait]
impl Certificates for AcmeCertificates {
    async fn issuers(&self) -> Result<Vec<CaaIssuer>, PortError> {
        let account = self.account().await?;
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
        let account = self.account().await?;
        let (mut order, begun) = self.begin(&account, presence, names).await?;
        if order.state().status == OrderStatus::Pending {
            self.authorize(apex, &mut order).await?;
        }
        let certificate = self.finish(&mut order, &begun).await?;
        self.vault.put_certificate(presence, &certificate).await?;
        Ok(certificate)
    }
}
