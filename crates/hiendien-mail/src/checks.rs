//! Questions to the mail servers that need no mailbox and leave nothing, for `hiendien doctor`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_engine::ports::PortError;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::dialogue::Dialogue;
use crate::probe::{greet, read_roots, within};

/// Asks the exchanger whether it would take mail from `from` to `to`, over STARTTLS with a
/// certificate that verifies for `host`; hands nothing in. Returns its banner.
pub async fn check_exchanger(
    server: SocketAddr,
    host: &DomainName,
    roots: &Path,
    from: &MailAddress,
    to: &MailAddress,
) -> Result<String, PortError> {
    let roots = read_roots(roots).await?;
    within("asking the mail exchanger", async {
        let mut plain = Dialogue::over(TcpStream::connect(server).await?);
        let banner = plain.ask("").await?;
        let offers = plain.ask("EHLO doctor.invalid").await?;
        if !offers.lines().any(|line| {
            line.get(4..)
                .is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))
        }) {
            return Err("it does not offer STARTTLS".into());
        }
        plain.ask("STARTTLS").await?;
        let connector = TlsConnector::from(Arc::clone(&roots.config));
        let name = ServerName::try_from(host.to_string())?;
        let stream = connector.connect(name, plain.0.into_inner()).await?;
        let mut secure = Dialogue::over(stream);
        secure.ask("EHLO doctor.invalid").await?;
        secure.ask(&format!("MAIL FROM:<{from}>")).await?;
        secure.ask(&format!("RCPT TO:<{to}>")).await?;
        secure.ask("QUIT").await?;
        Ok(banner.trim_end().to_owned())
    })
    .await
}

/// Asks whether the IMAP server greets behind a certificate that verifies for `host`; signs in to nothing.
pub async fn check_imap(
    server: SocketAddr,
    host: &DomainName,
    roots: &Path,
) -> Result<(), PortError> {
    let roots = read_roots(roots).await?;
    within("asking the IMAP server", async {
        greet(server, host, &roots).await.map(drop)
    })
    .await
}
