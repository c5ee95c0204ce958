//! SMTP by hand, for questions that a mail client would not stop at: what does the server answer to this line?

use hiendien_domain::name::MailAddress;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

use crate::probe::Failure;

/// Longest reply line that is read, octets; RFC 5321, 4.5.3.1.5 allows 512.
const LINE_MAX: u64 = 2048;
const REPLY_LINES_MAX: usize = 64;

/// A whole reply: its lines joined by `\n`, each with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply(pub(crate) String);

impl Reply {
    /// The command was carried out.
    pub(crate) fn is_positive(&self) -> bool {
        self.0.starts_with('2')
    }

    /// The server refuses for good (RFC 5321, 4.2.1).
    pub(crate) fn is_permanent(&self) -> bool {
        self.0.starts_with('5')
    }

    pub(crate) fn code(&self) -> &str {
        &self.0[..3]
    }
}

/// A connection to an SMTP server.
pub(crate) struct Dialogue<S>(pub(crate) BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Dialogue<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends a command, unless empty, and returns the whole reply.
    pub(crate) async fn reply(&mut self, command: &str) -> Result<Reply, Failure> {
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
            let bytes = told.as_bytes();
            if bytes.is_empty() {
                return Err("the server closed the connection instead of answering".into());
            }
            let coded = bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit);
            if !told.is_ascii() || !coded {
                return Err(format!("it answered `{}`", told.escape_debug()).into());
            }
            if !reply.is_empty() {
                reply.push('\n');
            }
            reply.push_str(told);
            // A hyphen after the code tells that more lines follow (RFC 5321, 4.2.1).
            if bytes.get(3) != Some(&b'-') {
                return Ok(Reply(reply));
            }
        }
        Err("its answer does not end".into())
    }

    /// Like [`Dialogue::reply`], where any but a positive reply is an error. Not for secrets: the
    /// error tells the command.
    pub(crate) async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let reply = self.reply(command).await?;
        if reply.is_positive() {
            return Ok(reply.0);
        }
        Err(format!("it answered `{}` to `{command}`", reply.0).into())
    }

    /// What the server says to a message from `from` to `to`, of which nothing is handed in. Any answer but
    /// one about the recipient is an error.
    pub(crate) async fn recipient(
        &mut self,
        hello: &str,
        from: &MailAddress,
        to: &MailAddress,
    ) -> Result<Reply, Failure> {
        self.ask("").await?;
        self.ask(&format!("EHLO {hello}")).await?;
        self.ask(&format!("MAIL FROM:<{from}>")).await?;
        let reply = self.reply(&format!("RCPT TO:<{to}>")).await?;
        // What the server said stands, whether it still hears this or has hung up.
        let _ = self.0.write_all(b"QUIT\r\n").await;
        let _ = self.0.flush().await;
        Ok(reply)
    }
}
