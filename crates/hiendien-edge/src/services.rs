//! What machines of the mail world ask a web server for: the MTA-STS policy (RFC 8461) and the
//! settings of mail clients (Mozilla autoconfig, Outlook autodiscover).
//!
//! The answers name the platform's hosts, which are the same for all presences.

use std::fmt::Write as _;

use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::Platform;
use sha2::{Digest, Sha256};

use crate::settings::{EdgeSettings, MtaStsMode};

/// The policy served at `https://mta-sts.NAME/.well-known/mta-sts.txt` for every presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaStsPolicy(String);

impl MtaStsPolicy {
    pub fn new(settings: &EdgeSettings) -> Self {
        let mode = match settings.mta_sts_mode {
            MtaStsMode::Testing => "testing",
            MtaStsMode::Enforce => "enforce",
        };
        let mut text = format!("version: STSv1\r\nmode: {mode}\r\n");
        for exchanger in &settings.platform.mail_exchangers {
            write!(text, "mx: {}\r\n", exchanger.name).expect("writing to a string cannot fail");
        }
        write!(text, "max_age: {}\r\n", settings.mta_sts_max_age_secs)
            .expect("writing to a string cannot fail");
        Self(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The id of the `_mta-sts` record (RFC 8461, 3.1): another policy has another id.
    pub fn id(&self) -> String {
        hiendien_domain::site::hex(&Sha256::digest(&self.0)[..16])
    }
}

/// Settings for Thunderbird and the clients that read the same file, for every mailbox of a domain.
pub(crate) fn autoconfig(domain: &DomainName, platform: &Platform) -> String {
    let name = domain.to_unicode();
    let name = escape(&name);
    let imap = platform.imap_host();
    let smtp = platform.smtp_host();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1">
  <emailProvider id="{domain}">
    <domain>{domain}</domain>
    <displayName>{name}</displayName>
    <displayShortName>{name}</displayShortName>
    <incomingServer type="imap">
      <hostname>{imap}</hostname>
      <port>993</port>
      <socketType>SSL</socketType>
      <authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username>
    </incomingServer>
    <outgoingServer type="smtp">
      <hostname>{smtp}</hostname>
      <port>465</port>
      <socketType>SSL</socketType>
      <authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username>
    </outgoingServer>
  </emailProvider>
</clientConfig>
"#
    )
}

/// The address in an Outlook autodiscover request, where there is a well-formed one.
pub(crate) fn autodiscover_address(body: &str) -> Option<MailAddress> {
    let (_, rest) = body.split_once("<EMailAddress>")?;
    let (address, _) = rest.split_once("</EMailAddress>")?;
    address.trim().parse().ok()
}

/// Settings for Outlook, in its "plain old XML" form.
pub(crate) fn autodiscover(address: &MailAddress, platform: &Platform) -> String {
    let login = escape(address.as_str());
    let protocol = |kind: &str, host: DomainName, port: u16| {
        format!(
            r"      <Protocol>
        <Type>{kind}</Type>
        <Server>{host}</Server>
        <Port>{port}</Port>
        <LoginName>{login}</LoginName>
        <DomainRequired>off</DomainRequired>
        <SPA>off</SPA>
        <SSL>on</SSL>
        <AuthRequired>on</AuthRequired>
      </Protocol>
"
        )
    };
    let imap = protocol("IMAP", platform.imap_host(), 993);
    let smtp = protocol("SMTP", platform.smtp_host(), 465);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
  <Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">
    <Account>
      <AccountType>email</AccountType>
      <Action>settings</Action>
{imap}{smtp}    </Account>
  </Response>
</Autodiscover>
"#
    )
}

/// Says that the request was not understood, in the form Outlook expects (code 600).
pub(crate) fn autodiscover_refusal() -> String {
    r#"<?xml version="1.0" encoding="UTF-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
  <Response>
    <Error>
      <ErrorCode>600</ErrorCode>
      <Message>Invalid Request</Message>
    </Error>
  </Response>
</Autodiscover>
"#
    .to_owned()
}

/// For text and attribute values, in XML and HTML alike.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_address_is_taken_from_a_request() {
        let address = |inner: &str| {
            autodiscover_address(&format!(
                "<Request><EMailAddress>{inner}</EMailAddress></Request>"
            ))
        };
        assert_eq!(
            address(" lan@quan-pho.biz.vn ").unwrap().as_str(),
            "lan@quan-pho.biz.vn"
        );
        assert_eq!(address("<script>@quan-pho.biz.vn"), None);
        assert_eq!(address(""), None);
        assert_eq!(autodiscover_address("<EMailAddress>lan@a.vn"), None);
        assert_eq!(escape("a&'b<"), "a&amp;&#39;b&lt;");
    }
}
