//! Names as the DNS and mail RFCs know them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A fully qualified domain name: A-labels (RFC 5890), lower case, no final dot, at most 253 octets.
/// Labels may begin with an underscore, as service labels (RFC 8552) do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct DomainName(String);

/// Why a text is not a [`DomainName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DomainNameError {
    #[error("the name is empty")]
    Empty,
    #[error("the name is longer than 253 octets")]
    TooLong,
    #[error("label `{0}` is empty or longer than 63 octets")]
    LabelLength(String),
    #[error("label `{0}` has a character other than a-z, 0-9, `-` and a leading `_`")]
    Character(String),
    #[error("label `{0}` begins or ends with `-`")]
    Hyphen(String),
}

impl DomainName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Prepends labels: `www` to `quan-pho.biz.vn` gives `www.quan-pho.biz.vn`.
    pub fn prefixed(&self, labels: &str) -> Result<Self, DomainNameError> {
        format!("{labels}.{}", self.0).parse()
    }

    /// The name without its first label, `None` at the top level.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .split_once('.')
            .map(|(_, rest)| Self(rest.to_owned()))
    }

    /// Whether this name is `other` or lies below it.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        self.0 == other.0
            || self
                .0
                .strip_suffix(other.0.as_str())
                .is_some_and(|head| head.ends_with('.'))
    }

    /// The labels from the left.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The name as people read it: U-labels where the A-labels decode, for display only.
    pub fn to_unicode(&self) -> String {
        let (unicode, result) = idna::domain_to_unicode(&self.0);
        match result {
            Ok(()) => unicode,
            Err(_) => self.0.clone(),
        }
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(DomainNameError::Empty);
        }
        let name = text.to_ascii_lowercase();
        if name.len() > 253 {
            return Err(DomainNameError::TooLong);
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(DomainNameError::LabelLength(label.to_owned()));
            }
            let body = label.strip_prefix('_').unwrap_or(label);
            if !body
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            {
                return Err(DomainNameError::Character(label.to_owned()));
            }
            if body.is_empty() || body.starts_with('-') || body.ends_with('-') {
                return Err(DomainNameError::Hyphen(label.to_owned()));
            }
        }
        Ok(Self(name))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DomainName({})", self.0)
    }
}

impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DomainName {
    type Error = DomainNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

/// The local part of an address we provision: lower-case ASCII, 1 to 64 octets, letters, digits,
/// `.`, `_` and `-`, no two dots in a row, letters or digits at both ends (a safe subset of RFC 5321).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct LocalPart(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a local part: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit at both ends, no `..`"
)]
pub struct LocalPartError(pub String);

impl LocalPart {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of this local part at `domain`.
    pub fn at(&self, domain: &DomainName) -> MailAddress {
        MailAddress(format!("{}@{domain}", self.0))
    }
}

impl FromStr for LocalPart {
    type Err = LocalPartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let well_formed = !bytes.is_empty()
            && bytes.len() <= 64
            && bytes
                .iter()
                .all(|&byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && alphanumeric(bytes[0])
            && alphanumeric(bytes[bytes.len() - 1])
            && !text.contains("..");
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(LocalPartError(text.to_owned()))
        }
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for LocalPart {
    type Error = LocalPartError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LocalPart> for String {
    fn from(local: LocalPart) -> Self {
        local.0
    }
}

/// A mail address with an ASCII local part without quotes and a domain in A-labels (RFC 5321, 4.1.2).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct MailAddress(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a mail address: write it as `name@domain`")]
pub struct MailAddressError(pub String);

impl MailAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for MailAddress {
    type Err = MailAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || MailAddressError(text.to_owned());
        let (local, domain) = text.rsplit_once('@').ok_or_else(refused)?;
        let atom =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        let well_formed = !local.is_empty()
            && local.len() <= 64
            && local.bytes().all(atom)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let domain: DomainName = domain.parse().map_err(|_| refused())?;
        if well_formed && domain.as_str().contains('.') {
            Ok(Self(format!("{local}@{domain}")))
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for MailAddress {
    type Error = MailAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MailAddress> for String {
    fn from(address: MailAddress) -> Self {
        address.0
    }
}
/// Whether a text is a plain name, of a registrar, an API key or a webhook: 1 to 64 of a-z, 0-9 and `-`.
/// It changes the meaning of no URL it is put into.
pub fn is_slug(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}
