//! Gives certificates up: revoked at the CA first, erased here last, so that a crash between repeats.

use hiendien_domain::ids::PresenceId;
use hiendien_engine::ports::ErrorChain;
use instant_acme::{
    Account, AuthorizationStatus, Order, OrderStatus, RevocationReason, RevocationRequest,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::AcmeCertificates;
use crate::failure::{self, Failure, doing};

impl AcmeCertificates {
    /// All but erasing. Whoever has nothing to give up needs no CA.
    pub(crate) async fn give_up(&self, presence: PresenceId) -> Result<(), Failure> {
        let order = self.vault.order(presence).await?;
        let order = order.filter(|order| order.directory == self.settings.directory);
        if let Some(order) = order {
            let account = self.account().await?;
            match account.order(order.order_url).await {
                Ok(order) => self.give_order_up(&account, order).await?,
                Err(error) if failure::is_gone(&error) => {}
                Err(error) => return Err(doing("reading an order to give up")(error)),
            }
        }
        let now = self.clock.now();
        for certificate in self.vault.certificates(presence).await? {
            if now < certificate.not_after {
                let account = self.account().await?;
                revoke(&account, &certificate.chain_pem, &certificate.serial).await?;
            }
        }
        Ok(())
    }

    /// An order may have led to a certificate that never got here.
    async fn give_order_up(&self, account: &Account, mut order: Order) -> Result<(), Failure> {
        let chain = match order.state().status {
            OrderStatus::Pending => return deactivate(&mut order).await,
            // Without its key, which is erased next, nobody can use it.
            OrderStatus::Ready | OrderStatus::Invalid => return Ok(()),
            OrderStatus::Valid => order.certificate().await.map(Option::unwrap_or_default),
            OrderStatus::Processing => order.poll_certificate(&self.retries()).await,
        };
        match (chain, order.state().status) {
            (Ok(chain), _) => revoke(account, &chain, "of an order").await,
            (Err(_), OrderStatus::Invalid) => Ok(()),
            (Err(error), _) => Err(doing("fetching a certificate to revoke")(error)),
        }
    }
}

/// Takes the pending authorizations back; the valid ones may serve the name's next holder. A CA that
/// will not does no harm: they run out.
async fn deactivate(order: &mut Order) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(doing("reading an authorization"))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        match authorization.deactivate().await {
            Ok(_) => {}
            Err(error) if failure::is_refused(&error) => {
                tracing::debug!(error = %ErrorChain(&error), "An authorization stays pending");
            }
            Err(error) => return Err(doing("deactivating an authorization")(error)),
        }
    }
    Ok(())
}

async fn revoke(account: &Account, chain_pem: &str, serial: &str) -> Result<(), Failure> {
    let Ok(leaf) = CertificateDer::from_pem_slice(chain_pem.as_bytes()) else {
        tracing::warn!(
            serial,
            "A kept certificate is not PEM and cannot be revoked"
        );
        return Ok(());
    };
    let request = RevocationRequest {
        certificate: &leaf,
        reason: Some(RevocationReason::CessationOfOperation),
    };
    match account.revoke(&request).await {
        Ok(()) => Ok(()),
        Err(error) if failure::is_already_revoked(&error) => Ok(()),
        Err(error) if failure::is_unknown_certificate(&error) => {
            tracing::warn!(
                serial,
                error = %ErrorChain(&error),
                "The CA does not know a certificate that was to be revoked"
            );
            Ok(())
        }
        Err(error) => Err(doing("revoking a certificate")(error)),
    }
}
