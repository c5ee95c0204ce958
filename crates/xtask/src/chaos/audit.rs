//! The auditor: what was promised must be seen at the servers, and what is there must be somebody's.
//!
//! It is told every presence by the API, and believes of each only what it is meant to be.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::load::Told;
use super::wire::{Api, dig, logs_in, mail_rows, page, pause, recipients, store_rows, text};
use crate::stack::{Stack, output};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Promised, and not to be seen.
    Lost,
    /// Made twice.
    Doubled,
    Zone,
    Certificate,
    Route,
    Container,
    Revision,
    Mailbox,
    DkimKey,
    PasswordLink,
    /// Neither at its end nor waiting for a person who is told why.
    Stuck,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Lost,
        Self::Doubled,
        Self::Zone,
        Self::Certificate,
        Self::Route,
        Self::Container,
        Self::Revision,
        Self::Mailbox,
        Self::DkimKey,
        Self::PasswordLink,
        Self::Stuck,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Zone => "orphaned zone",
            Self::Certificate => "orphaned certificate",
            Self::Route => "orphaned route",
            Self::Container => "orphaned container",
            Self::Revision => "orphaned revision",
            Self::Mailbox => "orphaned mailbox",
            Self::DkimKey => "orphaned DKIM key",
            Self::PasswordLink => "orphaned password link",
            Self::Stuck => "stuck without a reason",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Finding {
    kind: Kind,
    /// Presence, name, or both.
    of: String,
    what: String,
    /// A command that shows it.
    shown_by: String,
}

pub(super) fn print(findings: &[Finding]) {
    println!("\n{:<24} count", "finding");
    for kind in Kind::ALL {
        let count = findings
            .iter()
            .filter(|finding| finding.kind == kind)
            .count();
        println!("{:<24} {count:>5}", kind.name());
    }
    for finding in findings {
        println!(
            "{}: {}: {}\n    shown by: {}",
            finding.kind.name(),
            finding.of,
            finding.what,
            finding.shown_by
        );
    }
}

/// A presence as the API tells it.
#[derive(Debug)]
struct Presence {
    id: String,
    name: String,
    reference: String,
    standing: String,
    state: String,
    revision: String,
    mailboxes: Vec<String>,
    /// Its operation has not ended, so that anything may be there and anything missing.
    is_open: bool,
}

impl Presence {
    fn of(view: &Value, open: &BTreeSet<String>) -> Self {
        let mailboxes = view["mailboxes"].as_array().cloned().unwrap_or_default();
        let id = text(view, "id").to_owned();
        Self {
            is_open: open.contains(&id),
            id,
            name: text(view, "name").to_owned(),
            reference: text(view, "reference").to_owned(),
            standing: text(view, "standing").to_owned(),
            state: text(view, "state").to_owned(),
            revision: text(view, "revision").to_owned(),
            mailboxes: mailboxes
                .iter()
                .filter_map(|address| Some(address.as_str()?.to_owned()))
                .collect(),
        }
    }

    /// Whether it has the name, and so all that goes with it.
    fn holds(&self) -> bool {
        ["provisioned", "serving", "suspended", "expired"].contains(&self.standing.as_str())
    }

    /// Whether site and mail are kept, though nothing is served.
    fn is_kept(&self) -> bool {
        self.holds() || self.standing == "released"
    }
}

struct Audit<'a> {
    stack: &'a Stack,
    presences: BTreeMap<String, Presence>,
    findings: Mutex<Vec<Finding>>,
}

/// The platform's own things are kept under this one.
const PLATFORM: &str = "00000000-0000-0000-0000-000000000000";

pub(super) fn audit(stack: &Stack, api: &Api, told: &Told) -> anyhow::Result<Vec<Finding>> {
    let open_operations = store_rows(
        stack,
        "SELECT id, presence_id, verb, state, reason FROM operation
         WHERE state NOT IN ('succeeded', 'abandoned')",
    )?;
    let open = open_operations
        .iter()
        .map(|operation| text(operation, "presence_id").to_owned())
        .collect();
    let presences = api
        .presences()?
        .iter()
        .map(|view| {
            let presence = Presence::of(view, &open);
            (presence.id.clone(), presence)
        })
        .collect();
    let audit = Audit {
        stack,
        presences,
        findings: Mutex::default(),
    };
    for operation in &open_operations {
        if text(operation, "state") != "stuck" || text(operation, "reason").is_empty() {
            let id = text(operation, "id");
            audit.find(
                Kind::Stuck,
                text(operation, "presence_id"),
                format!(
                    "{} `{id}` is {}",
                    text(operation, "verb"),
                    text(operation, "state")
                ),
                format!(
                    "hiendien --config {}/hiendien.toml status {}",
                    stack.state.display(),
                    text(operation, "presence_id")
                ),
            );
        }
    }
    audit.promises(told)?;
    audit.names()?;
    audit.store()?;
    audit.revisions()?;
    audit.mail()?;
    let findings = audit.findings.into_inner();
    let mut findings = findings.unwrap_or_else(PoisonError::into_inner);
    findings.sort_by(|left, right| (left.kind, &left.of).cmp(&(right.kind, &right.of)));
    Ok(findings)
}

/// Once nothing works any more, no container may be left.
pub(super) fn containers_left(stack: &Stack) -> anyhow::Result<Vec<Finding>> {
    let socket = format!(
        "unix://{}",
        stack.state.join("engine/docker.sock").display()
    );
    let left = output(Command::new("docker").args([
        "--host",
        &socket,
        "ps",
        "--all",
        "--format",
        "{{.ID}} {{.Status}} {{.Label \"hiendien.owner\"}}",
    ]))?;
    let finding = |line: &str| Finding {
        kind: Kind::Container,
        of: line.split(' ').next().unwrap_or_default().to_owned(),
        what: format!("it is left though no process of ours runs: {line}"),
        shown_by: format!("docker --host {socket} ps --all"),
    };
    Ok(left.lines().map(finding).collect())
}

impl Audit<'_> {
    fn find(&self, kind: Kind, of: &str, what: impl Into<String>, shown_by: impl Into<String>) {
        let named = match self.presences.get(of) {
            Some(presence) => format!("{of} ({}, {})", presence.name, presence.standing),
            None => of.to_owned(),
        };
        let finding = Finding {
            kind,
            of: named,
            what: what.into(),
            shown_by: shown_by.into(),
        };
        let findings = self.findings.lock();
        findings
            .unwrap_or_else(PoisonError::into_inner)
            .push(finding);
    }

    /// What registrars were answered.
    fn promises(&self, told: &Told) -> anyhow::Result<()> {
        for (reference, (id, name)) in &told.claims {
            if self
                .presences
                .get(id)
                .is_none_or(|presence| presence.name != *name)
            {
                self.find(
                    Kind::Lost,
                    id,
                    format!("the claim `{reference}` for `{name}` was taken in"),
                    "GET /v1/presences",
                );
            }
        }
        let known: BTreeSet<String> = store_rows(self.stack, "SELECT id FROM operation")?
            .iter()
            .map(|row| text(row, "id").to_owned())
            .collect();
        for (operation, (verb, presence)) in &told.operations {
            if !known.contains(operation) {
                self.find(
                    Kind::Lost,
                    presence,
                    format!("`{verb}` was promised as operation `{operation}`"),
                    format!("GET /v1/operations/{operation}"),
                );
            }
        }
        for doubled in &told.doubled {
            self.find(
                Kind::Doubled,
                "request",
                doubled.clone(),
                "the log of the service",
            );
        }
        let begun = store_rows(
            self.stack,
            "SELECT presence_id, verb, count(*) AS n FROM operation
             WHERE asked_by = 'operator' GROUP BY 1, 2",
        )?;
        for row in &begun {
            let (id, verb) = (text(row, "presence_id"), text(row, "verb"));
            let keys = told.keys.get(&(id.to_owned(), verb.to_owned()));
            let keys = keys.copied().unwrap_or_default();
            if row["n"].as_u64() > u64::try_from(keys).ok() {
                self.find(
                    Kind::Doubled,
                    id,
                    format!("{} operations `{verb}` came of {keys} keys", row["n"]),
                    format!("GET /v1/presences/{id}/operations"),
                );
            }
        }
        let (mut of_name, mut of_reference) = (BTreeMap::new(), BTreeMap::new());
        for presence in self.presences.values() {
            if presence.holds()
                && let Some(other) = of_name.insert(&presence.name, &presence.id)
            {
                self.find(
                    Kind::Doubled,
                    &presence.id,
                    format!("`{other}` holds the same name"),
                    "GET /v1/presences",
                );
            }
            if let Some(other) = of_reference.insert(&presence.reference, &presence.id) {
                self.find(
                    Kind::Doubled,
                    &presence.id,
                    format!("`{other}` has the same reference"),
                    "GET /v1/presences",
                );
            }
            let reached = match presence.standing.as_str() {
                "serving" => "live",
                "provisioned" => "nothing: it was never live",
                standing => standing,
            };
            if !presence.is_open && presence.state != reached {
                self.find(
                    Kind::Lost,
                    &presence.id,
                    format!(
                        "its state is `{}`, and no operation is under way",
                        presence.state
                    ),
                    format!("GET /v1/presences/{}", presence.id),
                );
            }
        }
        Ok(())
    }

    /// Asks the servers about every name.
    fn names(&self) -> anyhow::Result<()> {
        let mut of_name: BTreeMap<&str, Vec<&Presence>> = BTreeMap::new();
        for presence in self.presences.values() {
            of_name.entry(&presence.name).or_default().push(presence);
        }
        let all: Vec<(&str, Vec<&Presence>)> = of_name.into_iter().collect();
        let next = AtomicUsize::new(0);
        let database = self.stack.state.join("mail/mail.db");
        // Credentials of the kind that the service's own probe signs in with.
        let mut logins = Vec::new();
        for presence in self.presences.values() {
            for (number, address) in presence.mailboxes.iter().enumerate() {
                logins.push(format!(
                    "('chaos-{}-{number}@probe.invalid', '{address}', '{{PLAIN}}{}', 9999999999)",
                    presence.id, presence.id
                ));
            }
        }
        if !logins.is_empty() {
            let insert = format!(
                "INSERT INTO probe_credential (login, address, password, expires_at) VALUES {}",
                logins.join(", ")
            );
            mail_rows(&database, &insert)?;
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((name, presences)) =
                        all.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        self.name(name, presences);
                    }
                });
            }
        });
        mail_rows(
            &database,
            "DELETE FROM probe_credential WHERE login LIKE 'chaos-%'",
        )?;
        Ok(())
    }

    fn name(&self, name: &str, presences: &[&Presence]) {
        if presences.iter().any(|presence| presence.is_open) {
            return;
        }
        let holder = presences.iter().find(|presence| presence.holds());
        // What is on its way through a server may take a moment.
        for attempt in 0..3 {
            let seen = match holder {
                Some(holder) => self.present(holder),
                None => self.absent(name, presences),
            };
            if attempt == 2 || seen.is_empty() {
                for finding in seen {
                    let findings = self.findings.lock();
                    findings
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(finding);
                }
                return;
            }
            pause(Duration::from_secs(2));
        }
    }

    /// What a holder lacks.
    fn present(&self, presence: &Presence) -> Vec<Finding> {
        let (name, net) = (&presence.name, &self.stack.net);
        let mut found = Vec::new();
        let mut lost = |what: String, shown_by: String| {
            found.push(Finding {
                kind: Kind::Lost,
                of: format!("{} ({name}, {})", presence.id, presence.standing),
                what,
                shown_by,
            });
        };
        let mut serials = BTreeSet::new();
        for host in ["53", "54"] {
            let answer = dig(&format!("{net}.{host}"), name, "SOA");
            let soa = answer
                .records
                .iter()
                .find(|record| record.contains(" SOA "));
            match soa {
                Some(soa) if answer.status == "NOERROR" => {
                    serials.insert(soa.split(' ').nth(6).unwrap_or_default().to_owned());
                }
                _ => lost(
                    format!("its zone is not at {net}.{host}: {}", answer.status),
                    format!("dig @{net}.{host} {name} SOA"),
                ),
            }
        }
        if serials.len() > 1 {
            lost(
                format!("the name servers have serials {serials:?}"),
                format!("dig @{net}.53 {name} SOA"),
            );
        }
        let delegation = dig(&format!("{net}.10"), name, "NS");
        if !delegation
            .records
            .iter()
            .any(|record| record.contains(" NS ns1."))
        {
            lost(
                format!("the parent does not delegate it: {}", delegation.status),
                format!("dig @{net}.10 {name} NS"),
            );
        }
        let https = format!(
            "curl --cacert {}/pebble/roots.pem --resolve {name}:443:{net}.80 https://{name}/",
            self.stack.state.display()
        );
        let is_stopped = presence.standing != "serving";
        match page(self.stack, name) {
            Ok((503, _)) if is_stopped => {}
            Ok((200, revision)) if !is_stopped && revision == presence.revision => {}
            Ok((status, revision)) => lost(
                format!(
                    "its page is {status} with revision `{revision}`, and should be {} with `{}`",
                    if is_stopped { 503 } else { 200 },
                    presence.revision
                ),
                https,
            ),
            Err(error) => lost(format!("there is no page: {error}"), https),
        }
        match recipients(self.stack, &presence.mailboxes) {
            Ok(replies) => {
                for (address, reply) in presence.mailboxes.iter().zip(replies) {
                    if !reply.starts_with('2') {
                        lost(
                            format!("mail for `{address}` is refused: {reply}"),
                            format!("swaks --server {net}.25 --to {address}"),
                        );
                    }
                }
            }
            Err(error) => lost(
                format!("the mail exchanger does not answer: {error}"),
                format!("nc {net}.25 25"),
            ),
        }
        for (number, address) in presence.mailboxes.iter().enumerate() {
            let login = format!("chaos-{}-{number}@probe.invalid", presence.id);
            match logs_in(self.stack, &login, &presence.id) {
                Ok(is_in) if is_in != is_stopped => {}
                Ok(is_in) => lost(
                    format!(
                        "`{address}` {} in",
                        if is_in { "is let" } else { "is not let" }
                    ),
                    format!("a row of `probe_credential` for it, then a login at {net}.25:993"),
                ),
                Err(error) => lost(
                    format!("a login for `{address}` says neither yes nor no: {error}"),
                    format!("openssl s_client -connect {net}.25:993"),
                ),
            }
        }
        found
    }

    /// What is still there of a name that nobody holds.
    fn absent(&self, name: &str, presences: &[&Presence]) -> Vec<Finding> {
        let net = &self.stack.net;
        let Some(last) = presences.last() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut left = |kind: Kind, what: String, shown_by: String| {
            found.push(Finding {
                kind,
                of: format!("{} ({name}, {})", last.id, last.standing),
                what,
                shown_by,
            });
        };
        for host in ["53", "54"] {
            let answer = dig(&format!("{net}.{host}"), name, "SOA");
            if answer.status.is_empty()
                || answer
                    .records
                    .iter()
                    .any(|record| record.contains(" SOA ") && record.starts_with(name))
            {
                left(
                    Kind::Zone,
                    format!("its zone is still at {net}.{host}: {}", answer.status),
                    format!("dig @{net}.{host} {name} SOA"),
                );
            }
        }
        let delegation = dig(&format!("{net}.10"), name, "NS");
        if delegation.status != "NXDOMAIN" {
            left(
                Kind::Zone,
                format!("the parent still knows it: {}", delegation.status),
                format!("dig @{net}.10 {name} NS"),
            );
        }
        if let Ok((status, _)) = page(self.stack, name) {
            left(
                Kind::Certificate,
                format!("its page is still there, with {status}"),
                format!("curl --resolve {name}:443:{net}.80 https://{name}/"),
            );
        }
        for presence in presences {
            match recipients(self.stack, &presence.mailboxes) {
                Ok(replies) => {
                    for (address, reply) in presence.mailboxes.iter().zip(replies) {
                        if !reply.starts_with('5') {
                            left(
                                Kind::Mailbox,
                                format!("mail for `{address}`: {reply}"),
                                format!("swaks --server {net}.25 --to {address}"),
                            );
                        }
                    }
                }
                Err(error) => left(
                    Kind::Mailbox,
                    format!("the mail exchanger does not answer: {error}"),
                    format!("nc {net}.25 25"),
                ),
            }
        }
        found
    }

    /// Whether a presence may own something that goes with a name.
    fn may_hold(&self, id: &str) -> bool {
        self.presences
            .get(id)
            .is_some_and(|presence| presence.is_open || presence.holds())
    }

    /// Rows of the store.
    fn store(&self) -> anyhow::Result<()> {
        let tables = [
            (Kind::Zone, "zone", "apex", 1),
            (Kind::Zone, "delegation", "child", 1),
            (Kind::Route, "route", "host", 5),
            (Kind::Certificate, "certificate", "serial", 1),
        ];
        for (kind, table, named, wanted) in tables {
            let shown_by = format!("psql: SELECT * FROM {table} WHERE presence_id = ");
            let rows = store_rows(
                self.stack,
                &format!("SELECT presence_id, {named} AS named FROM {table}"),
            )?;
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for row in &rows {
                let id = text(row, "presence_id");
                *counts.entry(id).or_default() += 1;
                if id != PLATFORM && !self.may_hold(id) {
                    self.find(
                        kind,
                        id,
                        format!("{table} `{}` is left", text(row, "named")),
                        format!("{shown_by}'{id}'"),
                    );
                }
            }
            for presence in self.presences.values() {
                let count = counts
                    .get(presence.id.as_str())
                    .copied()
                    .unwrap_or_default();
                if presence.is_open || !presence.holds() || count == wanted {
                    continue;
                }
                let kind = if count < wanted {
                    Kind::Lost
                } else {
                    Kind::Doubled
                };
                // A renewal explains another certificate; the one before is kept.
                if table != "certificate"
                    || count < wanted
                    || count > wanted + self.renewals(&presence.id)?
                {
                    self.find(
                        kind,
                        &presence.id,
                        format!("it has {count} of {table}, not {wanted}"),
                        format!("{shown_by}'{}'", presence.id),
                    );
                }
            }
        }
        for row in store_rows(
            self.stack,
            "SELECT presence_id, order_url FROM certificate_order",
        )? {
            let id = text(&row, "presence_id");
            if id != PLATFORM
                && !self
                    .presences
                    .get(id)
                    .is_some_and(|presence| presence.is_open)
            {
                self.find(
                    Kind::Certificate,
                    id,
                    format!(
                        "the order `{}` is left with its key",
                        text(&row, "order_url")
                    ),
                    "psql: SELECT * FROM certificate_order",
                );
            }
        }
        let challenges = store_rows(
            self.stack,
            "SELECT challenge.apex, max(zone.presence_id) AS presence_id, count(*) AS n
             FROM challenge LEFT JOIN zone ON zone.apex = challenge.apex GROUP BY challenge.apex",
        )?;
        for row in challenges {
            let id = text(&row, "presence_id");
            let presence = self.presences.get(id);
            if !presence.is_some_and(|presence| presence.is_open) {
                self.find(
                    Kind::Zone,
                    id,
                    format!(
                        "{} challenges are left in `{}`",
                        row["n"],
                        text(&row, "apex")
                    ),
                    "psql: SELECT * FROM challenge",
                );
            }
        }
        for row in store_rows(self.stack, "SELECT presence_id, address FROM password_link")? {
            let id = text(&row, "presence_id");
            if !self.may_hold(id) {
                self.find(
                    Kind::PasswordLink,
                    id,
                    format!("a link for `{}` is left", text(&row, "address")),
                    "psql: SELECT * FROM password_link",
                );
            }
        }
        Ok(())
    }

    fn renewals(&self, id: &str) -> anyhow::Result<usize> {
        let rows = store_rows(
            self.stack,
            &format!(
                "SELECT id FROM operation WHERE presence_id = '{id}' AND verb IN ('renew', 'repair', 'resume')"
            ),
        )?;
        Ok(rows.len())
    }

    /// The folder of revisions.
    fn revisions(&self) -> anyhow::Result<()> {
        let root = self.stack.state.join("revisions");
        for id in names_in(&root)? {
            let place = root.join(&id);
            let shown_by = format!("ls -a {}", place.display());
            let keeps = self
                .presences
                .get(&id)
                .is_some_and(|presence| presence.is_open || presence.is_kept());
            if !keeps {
                self.find(Kind::Revision, &id, "its revisions are left", shown_by);
                continue;
            }
            for folder in ["", "blobs", "revisions"] {
                let folder = place.join(folder);
                if !folder.is_dir() {
                    continue;
                }
                for piece in names_in(&folder)? {
                    if piece.starts_with(".new-") {
                        self.find(
                            Kind::Revision,
                            &id,
                            format!("`{piece}` is left half-written"),
                            shown_by.clone(),
                        );
                    }
                }
            }
        }
        for presence in self.presences.values() {
            if !presence.is_open
                && presence.holds()
                && !root
                    .join(&presence.id)
                    .join(format!("revisions/{}.json", presence.revision))
                    .is_file()
            {
                self.find(
                    Kind::Lost,
                    &presence.id,
                    format!("revision `{}` is not kept", presence.revision),
                    format!("ls {}", root.display()),
                );
            }
        }
        Ok(())
    }

    /// Rows and files of the mail servers.
    fn mail(&self) -> anyhow::Result<()> {
        let mail = self.stack.state.join("mail");
        let database = mail.join("mail.db");
        let shown_by = format!("sqlite3 {}", database.display());
        let of_presence = |rows: &[Value], member: &str| -> BTreeMap<String, BTreeSet<String>> {
            let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for row in rows {
                all.entry(text(row, "presence_id").to_owned())
                    .or_default()
                    .insert(text(row, member).to_owned());
            }
            all
        };
        let domains = mail_rows(
            &database,
            "SELECT presence_id, name || ' ' || state AS named FROM mail_domain",
        )?;
        let mailboxes = mail_rows(
            &database,
            "SELECT presence_id, address AS named FROM mailbox",
        )?;
        let aliases = mail_rows(&database, "SELECT presence_id, address AS named FROM alias")?;
        let keys = mail_rows(&database, "SELECT presence_id, file AS named FROM dkim_key")?;
        for (kind, rows, table) in [
            (Kind::Mailbox, &domains, "mail_domain"),
            (Kind::Mailbox, &mailboxes, "mailbox"),
            (Kind::Mailbox, &aliases, "alias"),
            (Kind::DkimKey, &keys, "dkim_key"),
        ] {
            for row in rows {
                let id = text(row, "presence_id");
                if !self.may_hold(id) {
                    self.find(
                        kind,
                        id,
                        format!("{table} `{}` is left", text(row, "named")),
                        &shown_by,
                    );
                }
            }
        }
        let (domains, mailboxes, keys) = (
            of_presence(&domains, "named"),
            of_presence(&mailboxes, "named"),
            of_presence(&keys, "named"),
        );
        for presence in self
            .presences
            .values()
            .filter(|presence| !presence.is_open && presence.holds())
        {
            let id = &presence.id;
            let state = if presence.standing == "serving" {
                "active"
            } else {
                "suspended"
            };
            let wanted = BTreeSet::from([format!("{} {state}", presence.name)]);
            if domains.get(id) != Some(&wanted) {
                self.find(
                    Kind::Lost,
                    id,
                    format!("its mail domain is {:?}, not {wanted:?}", domains.get(id)),
                    &shown_by,
                );
            }
            let wanted: BTreeSet<String> = presence.mailboxes.iter().cloned().collect();
            let there = mailboxes.get(id).cloned().unwrap_or_default();
            for address in wanted.difference(&there) {
                self.find(
                    Kind::Lost,
                    id,
                    format!("it has no mailbox `{address}`"),
                    &shown_by,
                );
            }
            for address in there.difference(&wanted) {
                self.find(
                    Kind::Mailbox,
                    id,
                    format!("the mailbox `{address}` is not among its own"),
                    &shown_by,
                );
            }
            let there = keys.get(id).cloned().unwrap_or_default();
            if there.len() != 2 {
                let kind = if there.len() < 2 {
                    Kind::Lost
                } else {
                    Kind::Doubled
                };
                self.find(
                    kind,
                    id,
                    format!("it has the DKIM keys {there:?}"),
                    &shown_by,
                );
            }
            let pointer = mail.join("dkim/names").join(&presence.name);
            let pointed = fs::read_to_string(&pointer).unwrap_or_default();
            let pointed: BTreeSet<String> = pointed
                .lines()
                .skip(1)
                .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
                .collect();
            if pointed != there {
                self.find(
                    Kind::Lost,
                    id,
                    format!("the signer is pointed to {pointed:?}"),
                    format!("cat {}", pointer.display()),
                );
            }
            for file in &there {
                if !mail.join("dkim").join(file).is_file() {
                    self.find(
                        Kind::Lost,
                        id,
                        format!("the key file `{file}` is not there"),
                        format!("ls {}/dkim", mail.display()),
                    );
                }
            }
        }
        for file in names_in(&mail.join("dkim"))? {
            let id = file.split('.').next().unwrap_or_default();
            let is_kept = self
                .presences
                .get(id)
                .is_some_and(|presence| presence.is_open)
                || keys.get(id).is_some_and(|files| files.contains(&file)) && self.may_hold(id);
            if file != "names" && !is_kept {
                self.find(
                    Kind::DkimKey,
                    id,
                    format!("the file `{file}` is left"),
                    format!("ls -a {}/dkim", mail.display()),
                );
            }
        }
        for name in names_in(&mail.join("dkim/names"))? {
            let is_held = self
                .presences
                .values()
                .any(|presence| presence.name == name && (presence.is_open || presence.holds()));
            if !is_held {
                self.find(
                    Kind::DkimKey,
                    &name,
                    "the signer is still pointed to keys",
                    format!("cat {}/dkim/names/{name}", mail.display()),
                );
            }
        }
        for directory in names_in(&mail.join("store"))? {
            let id = directory.split('.').next().unwrap_or_default();
            let is_kept = self
                .presences
                .get(id)
                .is_some_and(|presence| presence.is_open || presence.is_kept());
            if directory != "outside" && !is_kept {
                self.find(
                    Kind::Mailbox,
                    id,
                    format!("stored mail `{directory}` is left"),
                    format!("ls {}/store", mail.display()),
                );
            }
        }
        Ok(())
    }
}

fn names_in(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
