//! Sends letters through the platform's own mail server, at its listener for letters
//! (`deploy/mail`, port 10025 on a loopback address), which takes mail from the platform's own hosts
//! without a login. So there is no secret to keep here, and no TLS on a path that leaves no machine.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::name::MailAddress;
use hiendien_engine::ports::{Letter, Messages, PortError};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

/// Bound of handing one letter over.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where letters are handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    /// Host of the listener for letters; it takes mail from the platform's own hosts only.
    pub host: String,
    pub port: u16,
    pub sender: MailAddress,
    pub sender_name: String,
    /// Where an answer goes: a desk with people.
    pub reply_to: MailAddress,
}

/// The [`Messages`] port by lettre.
pub struct SmtpMessages {
    settings: SmtpSettings,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl fmt::Debug for SmtpMessages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmtpMessages")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl SmtpMessages {
    pub fn new(settings: SmtpSettings) -> Self {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .hello_name(ClientId::Domain(settings.sender.domain().to_owned()))
            .timeout(Some(TIMEOUT))
            .build();
        Self {
            settings,
            transport,
        }
    }

    fn message(
        &self,
        letter: &Letter,
    ) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
        let sender = &self.settings.sender;
        let from = Mailbox::new(
            Some(self.settings.sender_name.clone()),
            sender.as_str().parse::<Address>()?,
        );
        let automatic = HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        );
        let mut builder = Message::builder()
            .from(from)
            .reply_to(Mailbox::new(
                None,
                self.settings.reply_to.as_str().parse::<Address>()?,
            ))
            .to(Mailbox::new(None, letter.to.as_str().parse::<Address>()?))
            .subject(&letter.subject)
            .message_id(Some(format!("<{}@{}>", letter.id, sender.domain())));
        builder = builder.raw_header(automatic);
        let text = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone());
        let message = match &letter.html {
            Some(html) => {
                let html = SinglePart::builder()
                    .header(ContentType::TEXT_HTML)
                    .body(html.clone());
                builder.multipart(MultiPart::alternative().singlepart(text).singlepart(html))?
            }
            None => builder.singlepart(text)?,
        };
        Ok(message)
    }
}

#[async_trait]
impl Messages for SmtpMessages {
    async fn send(&self, letter: &Letter) -> Result<(), PortError> {
        let action = "handing a letter to the mail server";
        let message = self
            .message(letter)
            .map_err(|error| PortError::rejected(action, error))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(PortError::rejected(action, error)),
            Err(error) => Err(PortError::transient(action, error)),
        }
    }
}
