//! TLS to mail servers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The roots of a PEM file, in the forms that IMAP and SMTP clients take.
#[derive(Clone)]
pub(crate) struct Roots {
    pub(crate) pem: Vec<u8>,
    pub(crate) config: Arc<ClientConfig>,
}

/// Makes a client that trusts exactly the roots in a PEM file.
pub(crate) async fn roots(file: &Path) -> io::Result<Roots> {
    let named = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("the roots in `{}`: {error}", file.display()))
    };
    let pem = tokio::fs::read(file).await.map_err(|error| named(&error))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&pem) {
        let root = root.map_err(|error| named(&error))?;
        roots.add(root).map_err(|error| named(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Roots {
        pem,
        config: Arc::new(config),
    })
}
