//! Reads and checks what a CA sends.

use hiendien_domain::name::DomainName;
use hiendien_domain::site::hex;
use hiendien_engine::ports::{Certificate, CertificateOrder};
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a chain is not what was ordered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("the chain is not PEM with a certificate in it")]
    Chain,
    #[error("the certificate names {found:?}, {wanted:?} were ordered")]
    Names {
        found: Vec<String>,
        wanted: Vec<String>,
    },
    #[error("the certificate is for another key")]
    Key,
    #[error("its validity is no time we know")]
    Validity,
}

/// Whether the certificate is for exactly these names and has more than a third of its life left.
pub(crate) fn is_fresh(certificate: &Certificate, names: &[DomainName], now: Timestamp) -> bool {
    let life = certificate.not_after.as_second() - certificate.not_before.as_second();
    let left = certificate.not_after.as_second() - now.as_second();
    certificate.names == names && left * 3 > life
}

/// Reads the end entity and holds it against the order.
pub(crate) fn checked(
    chain_pem: &str,
    order: &CertificateOrder,
) -> Result<Certificate, CertificateError> {
    let leaf = CertificateDer::from_pem_slice(chain_pem.as_bytes())
        .map_err(|_| CertificateError::Chain)?;
    let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|_| CertificateError::Chain)?;
    let mut found: Vec<String> = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| &names.value.general_names)
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    let mut wanted: Vec<String> = order.names.iter().map(ToString::to_string).collect();
    found.sort();
    wanted.sort();
    if found != wanted {
        return Err(CertificateError::Names { found, wanted });
    }
    let key = KeyPair::from_pem(order.key_pem.expose()).map_err(|_| CertificateError::Key)?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(CertificateError::Key);
    }
    let moment = |seconds| Timestamp::from_second(seconds).map_err(|_| CertificateError::Validity);
    Ok(Certificate {
        names: order.names.clone(),
        chain_pem: chain_pem.to_owned(),
        key_pem: order.key_pem.clone(),
        serial: hex(parsed.raw_serial()),
        not_before: moment(parsed.validity().not_before.timestamp())?,
        not_after: moment(parsed.validity().not_after.timestamp())?,
    })
}
