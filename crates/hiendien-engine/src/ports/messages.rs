use async_trait::async_trait;
use hiendien_domain::name::MailAddress;

use super::PortError;

/// A letter to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Becomes the Message-ID, so that a letter sent twice is one letter to its reader. Letters, digits, `-`, `.`.
    pub id: String,
    pub to: MailAddress,
    pub subject: String,
    /// UTF-8 plain text, lines ended by `\n`.
    pub text: String,
    pub html: Option<String>,
}

/// Sends letters to people.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Returns once the platform's mail server has taken the letter into its queue.
    async fn send(&self, letter: &Letter) -> Result<(), PortError>;
}
