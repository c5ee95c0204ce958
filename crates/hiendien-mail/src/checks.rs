//! Questions to the mail servers that need no mailbox and leave nothing, for `hiendien doctor`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_engine::ports::PortError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::probe::{Failure, greet, read_roots, within};

/// Longest reply line that is read, octets; RFC 5321, 4.5.3.1.5 allows 512.
const LINE_MAX: u64 = 2048;
const REPLY_LINES_MAX: usize = 64;

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
        let mut plain = Dialogue(BufReader::new(TcpStream::connect(server).await?));
        let banner = plain.ask("").await?;
        let offers = plain.ask("EHLO doctor.invalid").await?;
        if !offers
            .lines()
            .any(|line| line[4..].eq_ignore_ascii_case("STARTTLS"))
        {
            return Err("it does not offer STARTTLS".into());
        }
        plain.ask("STARTTLS").await?;
        let connector = TlsConnector::from(Arc::clone(&roots.config));
        let name = ServerName::try_from(host.to_string())?;
        let stream = connector.connect(name, plain.0.into_inner()).await?;
        let mut secure = Dialogue(BufReader::new(stream));
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

struct Dialogue<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Dialogue<S> {
    /// Sends a command, unless empty, and returns the whole positive reply.
    async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        use tokio::io::AsyncReadExt as _;
        if !command.is_empty() {
            self.0
                .write_all(format!("{command}\r\n").as_bytes())
                .await?;
            self.0.flush().await?;
        }
        let mut reply = String::new();
        for _ in 0..REPLY_LINES_MAX {
            let mut line = String::new();
            (&mut self.0).take(LINE_MAX).read_line(&mut line).await?;
            let told = line.trim_end();
            if !told.is_ascii() || told.len() < 4 || !told.starts_with('2') {
                return Err(format!("it answered `{told}` to `{command}`").into());
            }
            reply.push_str(told);
            reply.push('\n');
            // A hyphen after the code tells that more lines follow (RFC 5321, 4.2.1).
            if told.as_bytes()[3] != b'-' {
                return Ok(reply);
            }
        }
        Err(format!("its answer to `{command}` does not end").into())
    }
}
