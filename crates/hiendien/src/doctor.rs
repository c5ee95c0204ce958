//! Asks the outside world about a presence and says what to do.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use hiendien_dns::{Asker, Transport};
use hiendien_domain::name::DomainName;
use hiendien_edge::probe::{Answer, Prober, Scheme};
use hiendien_engine::ports::{Blob, ErrorChain, FileProof, SiteService};
use hiendien_mail::checks::{check_exchanger, check_imap};

use crate::client::Client;
use crate::config::Config;
use crate::probes::{mail_settings, site_settings};

/// The largest file that is asked for.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What was found of one thing.
struct Finding {
    what: String,
    /// What was seen, or why it is wrong.
    result: Result<String, String>,
    /// What to do when it is wrong.
    hint: &'static str,
}

fn finding(what: impl Into<String>, result: Result<String, String>, hint: &'static str) -> Finding {
    Finding {
        what: what.into(),
        result,
        hint,
    }
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    ErrorChain(error).to_string()
}

pub(crate) async fn examine(
    config: &Config,
    client: anyhow::Result<Client>,
    name: &str,
) -> anyhow::Result<ExitCode> {
    let ascii = hiendien_domain::claim::ascii_name(name).unwrap_or_else(|| name.to_owned());
    let apex: DomainName = ascii.parse()?;
    let mut findings = dns(config, &apex).await;
    findings.extend(web(config, &apex).await);
    findings.extend(files(config, client, &apex).await);
    findings.extend(mail(config, &apex).await?);
    let mut wrong = 0;
    for finding in &findings {
        match &finding.result {
            Ok(seen) => println!("ok     {}: {seen}", finding.what),
            Err(seen) => {
                wrong += 1;
                println!(
                    "wrong  {}: {seen}\n       do: {}",
                    finding.what, finding.hint
                );
            }
        }
    }
    println!(
        "{} of {} checks of `{apex}` are well",
        findings.len() - wrong,
        findings.len()
    );
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn dns(config: &Config, apex: &DomainName) -> Vec<Finding> {
    let asker = Asker::default();
    let mut findings = Vec::new();
    for server in &config.platform.name_servers {
        for &address in &server.addresses {
            for transport in [Transport::Udp, Transport::Tcp] {
                let serial = asker.soa_serial(address, apex, transport).await;
                findings.push(finding(
                    format!("zone at {} ({address}, {transport})", server.name),
                    serial
                        .map(|serial| format!("serial {serial}"))
                        .map_err(|error| told(&error)),
                    "see that `hiendien serve` runs and `hiendien status` shows the zone written",
                ));
            }
        }
    }
    let mut wanted: Vec<String> = config
        .platform
        .name_servers
        .iter()
        .map(|server| server.name.to_string())
        .collect();
    wanted.sort();
    for &parent in &config.dns.parent_servers {
        let delegated = match asker.delegation(parent, apex).await {
            Ok(servers) => {
                let mut servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                servers.sort();
                if servers == wanted {
                    Ok(servers.join(", "))
                } else {
                    Err(format!("{servers:?}, {wanted:?} is wanted"))
                }
            }
            Err(error) => Err(told(&error)),
        };
        findings.push(finding(
            format!("delegation at {parent}"),
            delegated,
            "have the registrar set the name servers of the name to ours",
        ));
    }
    findings
}

async fn web(config: &Config, apex: &DomainName) -> Vec<Finding> {
    let hint = "see the site and tls planes in `hiendien status`; the certificate comes before the site answers";
    let settings = match site_settings(&config.platform, &config.acme.issuing_roots) {
        Ok(settings) => settings,
        Err(error) => return vec![finding("web", Err(told(&error)), hint)],
    };
    let prober = match Prober::new(&settings) {
        Ok(prober) => prober,
        Err(error) => return vec![finding("web", Err(told(&error)), hint)],
    };
    let mut findings = Vec::new();
    for &address in &config.platform.edge_addresses {
        for scheme in [Scheme::Https, Scheme::Http] {
            let result = match prober.get(scheme, apex, address, "/").await {
                Ok(answer) => page(scheme, &answer),
                Err(error) => Err(told(&error)),
            };
            findings.push(finding(
                format!("{scheme:?} at {address}").to_lowercase(),
                result,
                hint,
            ));
        }
    }
    findings
}

/// Whether the served revision is kept as it was written, and every edge serves it so.
async fn files(config: &Config, client: anyhow::Result<Client>, apex: &DomainName) -> Vec<Finding> {
    let what = "files of the revision as they are kept";
    let hint = "`hiendien presence repair` builds what is damaged anew; look at the disk as well";
    let asked = async {
        let client = client?;
        let listed = client.revisions(apex.as_str()).await?;
        let served = listed.served.context("nothing was published")?;
        client.verify_revision(apex.as_str(), served.as_str()).await
    };
    let told = match asked.await {
        Ok(told) => told,
        Err(error) => return vec![finding(what, Err(format!("{error:#}")), hint)],
    };
    let files = told.files.unwrap_or_default();
    let kept = if told.is_whole {
        Ok(format!("{} files are whole", files.len()))
    } else {
        Err(format!(
            "{} places are damaged, see `hiendien revision verify {apex}`",
            told.damage.len()
        ))
    };
    let mut findings = vec![finding(what, kept, hint)];
    let Ok(settings) = site_settings(&config.platform, &config.acme.issuing_roots) else {
        return findings;
    };
    let Ok(prober) = Prober::new(&settings) else {
        return findings;
    };
    for &address in &config.platform.edge_addresses {
        findings.push(finding(
            format!("files of the revision at {address}"),
            served(&prober, apex, address, &files).await,
            "restart the edge; if it serves the same again, ask `hiendien presence repair`",
        ));
    }
    findings
}

/// Compares what an edge serves with the revision, file by file.
async fn served(
    prober: &Prober<'_>,
    apex: &DomainName,
    address: IpAddr,
    files: &BTreeMap<String, Blob>,
) -> Result<String, String> {
    // A stopped site shows its notice, whatever is asked.
    let front = prober.get(Scheme::Https, apex, address, "/").await;
    let front = front.map_err(|error| told(&error))?;
    if front.status == 503 {
        return Ok("not compared: it shows a notice".to_owned());
    }
    let mut compared = 0;
    for (path, blob) in files
        .iter()
        .filter(|(_, blob)| blob.bytes <= FILE_BYTES_MAX)
    {
        let file = FileProof {
            path: path.clone(),
            sha256: blob.sha256.clone(),
        };
        let asked = prober.file(apex, address, &file).await;
        asked.map_err(|error| told(&error))?;
        compared += 1;
    }
    Ok(format!(
        "{compared} of {} files are as they were built",
        files.len()
    ))
}

/// What a front page tells. A notice is as well as a page: whether it is due, the store knows, and
/// whoever asks from outside does not.
fn page(scheme: Scheme, answer: &Answer) -> Result<String, String> {
    let service = answer.header("x-service");
    if service == "unknown" {
        return Err(format!(
            "{}: the edge does not know the name",
            answer.status
        ));
    }
    let notice = answer.status == 503
        && [SiteService::Suspended, SiteService::Expired]
            .iter()
            .any(|stopped| stopped.word() == service);
    let is_wanted = match scheme {
        Scheme::Https => answer.status == 200 || notice,
        Scheme::Http => answer.status.is_redirection(),
    };
    if !is_wanted {
        return Err(format!("it answers {}", answer.status));
    }
    let missing = answer.missing_security_headers();
    if scheme == Scheme::Https && !missing.is_empty() {
        return Err(format!("headers are missing: {missing:?}"));
    }
    let shown = if notice {
        format!(", the notice of a site that is {service}")
    } else {
        String::new()
    };
    let until = answer.tls.as_ref().map(|tls| {
        let not_after = tls.certificate.not_after;
        format!(", certificate until {not_after}")
    });
    Ok(format!(
        "{}{shown}{}",
        answer.status,
        until.unwrap_or_default()
    ))
}

async fn mail(config: &Config, apex: &DomainName) -> anyhow::Result<Vec<Finding>> {
    let settings = mail_settings(config)?;
    let (from, to) = (
        &settings.outside.address,
        format!("postmaster@{apex}").parse()?,
    );
    let server = SocketAddr::new(settings.exchanger, 25);
    let exchanger =
        check_exchanger(server, &settings.exchanger_host, &settings.roots, from, &to).await;
    let imap = check_imap(
        SocketAddr::new(settings.mail, 993),
        &settings.imap_host,
        &settings.roots,
    )
    .await;
    Ok(vec![
        finding(
            format!("mail exchanger at {}", settings.exchanger),
            exchanger
                .map(|_| "takes mail for the name, over TLS".to_owned())
                .map_err(|error| told(&error)),
            "see that Postfix runs and reads the mail database; its log tells why it refuses",
        ),
        finding(
            format!("IMAP at {}", settings.mail),
            imap.map(|()| "greets with a certificate that verifies".to_owned())
                .map_err(|error| told(&error)),
            "see that Dovecot runs and has the certificate of the mail hosts",
        ),
    ])
}
