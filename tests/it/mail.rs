//! Mail on the real Postfix, Dovecot and rspamd: each test starts a node of its own and asks the servers.
#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up fails the test, in helpers too"
)]
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unused_self,
    clippy::used_underscore_binding,
    clippy::unused_async,
    reason = "the bed tells what it measures, and its parts are alike to call"
)]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_imap::extensions::idle::IdleResponse;
use futures_util::TryStreamExt as _;
use hiendien_dns::{DnsServer, ServerSettings};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::{DomainName, MailAddress};
use hiendien_domain::platform::{Platform, PlatformHost};
use hiendien_domain::records::{DkimRecord, ZoneInputs, ZoneStage, presence_zone};
use hiendien_domain::secret::Secret;
use hiendien_engine::clock::{Clock, SystemClock};
use hiendien_engine::ports::{
    Delegation, ErrorChain, FailureKind, Letter, MailDomain, MailService, Mailboxes as _,
    Messages as _, PortError, ServedZone, ZoneSource,
};
use hiendien_mail::{
    MailProbe, MailProbeSettings, MailboxSettings, OutsideMailbox, SessionSettings, SmtpMessages,
    SmtpSettings, SqliteMailboxes, checks,
};
use integration_tests::lab::root;
use integration_tests::net;
use integration_tests::wait::wait_for;
use jiff::SignedDuration;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, Tls, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use mail_parser::MessageParser;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

const SHOP: &str = "quan-pho-mau.biz.vn";
const PASSWORD: &str = "Mật khẩu mẫu 2026";
const OUTSIDE: &str = "outside@outside.test";
const LONG: Duration = Duration::from_secs(15);

// --- the stories ---------------------------------------------------------------------------

#[tokio::test]
async fn a_mailbox_opens_with_its_password_alone() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let address = address(&format!("info@{SHOP}"));
    // Nobody has set a password: nothing opens it.
    for attempt in ["", "!", "NULL", PASSWORD] {
        assert!(bed.sign_in(&address, attempt).await.is_err(), "{attempt}");
    }
    let password = Secret::new(PASSWORD);
    bed.mailboxes
        .set_password(presence, &address, &password)
        .await
        .unwrap();
    assert!(bed.sign_in(&address, PASSWORD).await.is_ok());
    assert!(bed.sign_in(&address, "wrong").await.is_err());

    let strangers = bed
        .mailboxes
        .set_password(PresenceId::new(), &address, &password)
        .await;
    assert_eq!(strangers.unwrap_err().kind, FailureKind::Rejected);
    // Only a hash is kept.
    let stored = std::fs::read(bed.state.join("mail/mail.db")).unwrap();
    let log = std::fs::read(bed.state.join("mail/mail.db-wal")).unwrap_or_default();
    for bytes in [stored, log] {
        assert!(
            !bytes
                .windows(PASSWORD.len())
                .any(|part| part == PASSWORD.as_bytes())
        );
    }
}

#[tokio::test]
async fn mail_from_outside_comes_in_and_strangers_are_refused() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let info = address(&format!("info@{SHOP}"));
    bed.mailboxes
        .set_password(presence, &info, &Secret::new(PASSWORD))
        .await
        .unwrap();
    let from = "khach-mau@elsewhere.test";
    bed.exchange(from, info.as_str(), "Hỏi giá").await.unwrap();
    bed.await_subject(&info, PASSWORD, "Hỏi giá").await;

    // The desk's aliases lead out to the desk, whoever the name belongs to.
    for alias in ["postmaster", "abuse", "security"] {
        let subject = format!("Gửi {alias}");
        bed.exchange(from, &format!("{alias}@{SHOP}"), &subject)
            .await
            .unwrap();
        bed.await_outside(&subject).await;
    }

    let unknown = bed
        .exchange(from, &format!("khong-co@{SHOP}"), "x")
        .await
        .unwrap_err();
    assert!(
        unknown.starts_with("permanent error (550): 5.1.1"),
        "{unknown}"
    );
    let relay = bed
        .exchange(from, "ai-do@another.test", "x")
        .await
        .unwrap_err();
    assert!(relay.starts_with("permanent error (554): 5.7.1"), "{relay}");
}

#[tokio::test]
async fn a_second_put_changes_nothing_and_a_held_name_is_refused() {
    let bed = Bed::start().await;
    let presence = PresenceId::new();
    let domain = bed.domain(SHOP);
    let first = bed.mailboxes.put_domain(presence, &domain).await.unwrap();
    let address = address(&format!("info@{SHOP}"));
    bed.mailboxes
        .set_password(presence, &address, &Secret::new(PASSWORD))
        .await
        .unwrap();
    let files = bed.files_of_keys();
    let again = bed.mailboxes.put_domain(presence, &domain).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(files, bed.files_of_keys());
    assert!(bed.sign_in(&address, PASSWORD).await.is_ok());

    let selectors: Vec<_> = first.iter().map(|key| &key.selector[6..]).collect();
    assert_eq!(selectors, ["r", "e"]);
    let other = bed.mailboxes.put_domain(PresenceId::new(), &domain).await;
    assert_eq!(other.unwrap_err().kind, FailureKind::Rejected);
    assert_eq!(files, bed.files_of_keys());
    assert!(bed.sign_in(&address, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn submitted_mail_is_signed_and_bound_to_its_mailbox() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let info = format!("info@{SHOP}");
    let owner = address(&info);
    bed.mailboxes
        .set_password(presence, &owner, &Secret::new(PASSWORD))
        .await
        .unwrap();
    bed.submit(&info, &info, "Chào khách").await.unwrap();
    let raw = bed.await_outside("Chào khách").await;
    let text = String::from_utf8_lossy(&raw);
    let signatures = text.matches("DKIM-Signature:").count();
    assert_eq!(signatures, 2, "{text}");

    // Neither the envelope nor the header may name another sender.
    let spoofed = bed
        .submit(&format!("giam-doc@{SHOP}"), &info, "x")
        .await
        .unwrap_err();
    assert!(spoofed.contains("5.7.1"), "{spoofed}");
    let spoofed = bed
        .submit(&info, "ngan-hang@elsewhere.test", "x")
        .await
        .unwrap_err();
    assert!(spoofed.contains("From header"), "{spoofed}");
}

#[tokio::test]
async fn a_new_mailbox_sends_little() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let info = format!("info@{SHOP}");
    bed.mailboxes
        .set_password(presence, &address(&info), &Secret::new(PASSWORD))
        .await
        .unwrap();
    let mut sent = 0;
    let refusal = loop {
        match bed.submit(&info, &info, "Quảng cáo mẫu").await {
            Ok(()) => sent += 1,
            Err(refusal) => break refusal,
        }
        assert!(sent <= 40, "no cap");
    };
    // An hour may turn meanwhile; then the count begins anew.
    assert!((20..=40).contains(&sent), "{sent}");
    assert!(refusal.starts_with("transient error (4"), "{refusal}");
    // Another mailbox is not held back.
    let presence = bed.put("tiem-may-mau.biz.vn").await;
    let other = "info@tiem-may-mau.biz.vn";
    bed.mailboxes
        .set_password(presence, &address(other), &Secret::new(PASSWORD))
        .await
        .unwrap();
    bed.submit(other, other, "Chào khách").await.unwrap();
}

#[tokio::test]
async fn the_probe_proves_both_ways_and_leaves_nothing() {
    let bed = Bed::start().await;
    let presence = PresenceId::new();
    let domain = bed.domain(SHOP);
    let keys = bed.mailboxes.put_domain(presence, &domain).await.unwrap();
    let zones = Zones::serve(&bed).await;
    let owner = address(&format!("info@{SHOP}"));
    let probe = bed.probe();

    // The zone is not there yet: the probe says what it saw.
    let now = SystemClock.now();
    let error = probe.prove(&owner, now).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert!(told.starts_with("checking the DKIM signature"), "{told}");
    assert!(told.contains("selector `hd"), "{told}");

    zones.put(&bed, SHOP, &keys);
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let proof = probe.prove(&owner, now).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(proof.selector, keys[0].selector);
        assert!(proof.sent.ends_with(&format!("@{SHOP}")), "{proof:?}");
        assert!(proof.received.ends_with("@outside.test"), "{proof:?}");
    }
    times.sort();
    println!("mail probe: p50 {:?}, slowest {:?}", times[10], times[19]);

    let password = Secret::new(PASSWORD);
    bed.mailboxes
        .set_password(presence, &owner, &password)
        .await
        .unwrap();
    assert_eq!(bed.subjects(&owner, PASSWORD).await.unwrap(), [""; 0]);
    // The failed one stopped after its message was read: nothing stays outside either.
    assert_eq!(bed.outside_subjects().await, [""; 0]);
}

#[tokio::test]
async fn a_probe_credential_runs_out_and_is_removed() {
    let bed = Bed::start().await;
    bed.put(SHOP).await;
    let owner = address(&format!("info@{SHOP}"));
    let now = SystemClock.now();
    let short = now + SignedDuration::from_secs(2);
    let ending = bed.mailboxes.open_probe(&owner, short).await.unwrap();
    let long = now + SignedDuration::from_secs(120);
    let staying = bed.mailboxes.open_probe(&owner, long).await.unwrap();
    for credential in [&ending, &staying] {
        let login = address(&credential.login);
        let password = credential.password.expose();
        assert!(bed.sign_in(&login, password).await.is_ok());
        // It opens no mailbox under the owner's name, and nothing without its password.
        assert!(bed.sign_in(&owner, password).await.is_err());
    }
    wait_for("the credential to run out", LONG, async || {
        let login = address(&ending.login);
        match bed.sign_in(&login, ending.password.expose()).await {
            Ok(_) => Err("it still opens"),
            Err(_) => Ok(()),
        }
    })
    .await;
    bed.mailboxes.close_probe(&staying).await.unwrap();
    let login = address(&staying.login);
    assert!(
        bed.sign_in(&login, staying.password.expose())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_suspended_mailbox_takes_mail_in_and_resumes_as_it_was() {
    let bed = Bed::start().await;
    let presence = PresenceId::new();
    let keys = bed
        .mailboxes
        .put_domain(presence, &bed.domain(SHOP))
        .await
        .unwrap();
    let info = address(&format!("info@{SHOP}"));
    bed.set_password(presence, &info).await;
    let neighbour = bed.put("tiem-may-mau.biz.vn").await;
    let other = address("info@tiem-may-mau.biz.vn");
    bed.set_password(neighbour, &other).await;
    let from = "khach-mau@elsewhere.test";
    bed.exchange(from, info.as_str(), "Trước").await.unwrap();
    bed.await_subject(&info, PASSWORD, "Trước").await;
    let files = bed.files_of_keys();
    let mut open = bed.sign_in(&info, PASSWORD).await.unwrap();
    open.select("INBOX").await.unwrap();
    let idling = tokio::spawn(idle(bed.sign_in(&info, PASSWORD).await.unwrap()));
    let mut others = bed.sign_in(&other, PASSWORD).await.unwrap();
    let mut submission = bed.stay_signed_in(&info).await;
    submission.send("Khi còn mở").await.unwrap();
    bed.await_outside("Khi còn mở").await;

    for _ in 0..2 {
        let began = Instant::now();
        bed.set_service(presence, SHOP, MailService::Suspended)
            .await;
        println!("suspended after {:?}", began.elapsed());
    }
    // Sessions have ended when the call returns; the client sees it as soon as it looks.
    tokio::time::timeout(Duration::from_secs(2), idling)
        .await
        .unwrap()
        .unwrap();
    assert!(open.noop().await.is_err());
    others.noop().await.unwrap();
    let refused = submission.send("Không được gửi").await.unwrap_err();
    assert!(refused.contains("5.7.1"), "{refused}");
    let refused = bed.sign_in(&info, PASSWORD).await.unwrap_err();
    assert!(refused.contains("AUTHENTICATIONFAILED"), "{refused}");
    let refused = bed.submit(info.as_str(), info.as_str(), "x").await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("(535): 5.7.8"), "{refused}");
    assert!(bed.sign_in(&other, PASSWORD).await.is_ok());

    // Mail comes in, within the quota, and the desk stays reachable.
    bed.exchange(from, info.as_str(), "Trong lúc ngừng")
        .await
        .unwrap();
    bed.await_stored(presence, 2).await;
    let abuse = format!("abuse@{SHOP}");
    bed.exchange(from, &abuse, "Khiếu nại").await.unwrap();
    bed.await_outside("Khiếu nại").await;
    let full = MailDomain {
        service: MailService::Suspended,
        quota_bytes: 1,
        ..bed.domain(SHOP)
    };
    bed.mailboxes.put_domain(presence, &full).await.unwrap();
    bed.exchange(from, info.as_str(), "Quá đầy").await.unwrap();
    bed.await_outside("Undelivered Mail Returned to Sender")
        .await;
    assert_eq!(bed.messages_stored(presence), 2);

    let again = bed
        .mailboxes
        .put_domain(presence, &bed.domain(SHOP))
        .await
        .unwrap();
    assert_eq!(again, keys);
    assert_eq!(
        bed.subjects(&info, PASSWORD).await.unwrap(),
        ["Trước", "Trong lúc ngừng"]
    );
    let mut after = bed.files_of_keys();
    after.retain(|file| files.contains(file));
    assert_eq!(after, files);
    bed.submit(info.as_str(), info.as_str(), "Trở lại")
        .await
        .unwrap();
    let raw = bed.await_outside("Trở lại").await;
    let text = String::from_utf8_lossy(&raw);
    assert_eq!(text.matches("DKIM-Signature:").count(), 2, "{text}");
    assert!(
        bed.outside_subjects()
            .await
            .iter()
            .all(|subject| subject != "Không được gửi")
    );
}

#[tokio::test]
async fn a_renamed_mailbox_keeps_its_mail_and_its_former_address() {
    let bed = Bed::start().await;
    let presence = PresenceId::new();
    let domain = MailDomain {
        mailboxes: vec!["info".parse().unwrap(), "ban-hang".parse().unwrap()],
        ..bed.domain(SHOP)
    };
    bed.mailboxes.put_domain(presence, &domain).await.unwrap();
    let at_shop = |local: &str| address(&format!("{local}@{SHOP}"));
    let (info, contact, sales) = (at_shop("info"), at_shop("lien-he"), at_shop("ban-hang"));
    bed.set_password(presence, &info).await;
    let from = "khach-mau@elsewhere.test";
    bed.exchange(from, info.as_str(), "Trước").await.unwrap();
    bed.await_subject(&info, PASSWORD, "Trước").await;

    for (from, to) in [
        (&info, &sales),
        (&info, &at_shop("postmaster")),
        (&info, &address("info@ten-khac-mau.biz.vn")),
        (&at_shop("khong-co"), &contact),
        (&at_shop("abuse"), &contact),
    ] {
        let refused = bed.mailboxes.rename(presence, from, to).await;
        assert_eq!(refused.unwrap_err().kind, FailureKind::Rejected, "{to}");
    }
    let strangers = bed.mailboxes.rename(PresenceId::new(), &info, &contact);
    assert_eq!(strangers.await.unwrap_err().kind, FailureKind::Rejected);

    for _ in 0..2 {
        bed.mailboxes
            .rename(presence, &info, &contact)
            .await
            .unwrap();
        // Whoever does not know of it yet changes nothing by saying so.
        bed.mailboxes.put_domain(presence, &domain).await.unwrap();
    }
    bed.exchange(from, info.as_str(), "Địa chỉ cũ")
        .await
        .unwrap();
    bed.await_subject(&contact, PASSWORD, "Địa chỉ cũ").await;
    bed.exchange(from, contact.as_str(), "Địa chỉ mới")
        .await
        .unwrap();
    bed.await_subject(&contact, PASSWORD, "Địa chỉ mới").await;
    assert_eq!(
        bed.subjects(&contact, PASSWORD).await.unwrap(),
        ["Trước", "Địa chỉ cũ", "Địa chỉ mới"]
    );
    assert!(bed.sign_in(&info, PASSWORD).await.is_err());
    let mut submission = bed.stay_signed_in(&contact).await;
    submission.send("Từ địa chỉ mới").await.unwrap();
    bed.await_outside("Từ địa chỉ mới").await;

    // Taken back, as if it had never been.
    for _ in 0..2 {
        bed.mailboxes
            .rename(presence, &contact, &info)
            .await
            .unwrap();
    }
    for _ in 0..2 {
        bed.mailboxes
            .remove_alias(presence, &contact)
            .await
            .unwrap();
    }
    assert_eq!(
        bed.subjects(&info, PASSWORD).await.unwrap(),
        ["Trước", "Địa chỉ cũ", "Địa chỉ mới"]
    );
    let refused = bed.refusal(contact.as_str()).await;
    assert!(refused.contains("(550): 5.1.1"), "{refused}");
    // Neither a mailbox nor the desk is an alias that can be taken away.
    for address in [&info, &at_shop("abuse")] {
        bed.mailboxes.remove_alias(presence, address).await.unwrap();
        bed.exchange(from, address.as_str(), "Vẫn còn")
            .await
            .unwrap();
    }
    bed.await_subject(&info, PASSWORD, "Vẫn còn").await;
    bed.await_outside("Vẫn còn").await;
}

#[tokio::test]
async fn forgotten_passwords_open_nothing_and_the_mail_stays() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let info = address(&format!("info@{SHOP}"));
    bed.set_password(presence, &info).await;
    let neighbour = bed.put("tiem-may-mau.biz.vn").await;
    let other = address("info@tiem-may-mau.biz.vn");
    bed.set_password(neighbour, &other).await;
    let from = "khach-mau@elsewhere.test";
    bed.exchange(from, info.as_str(), "Trước").await.unwrap();
    bed.await_subject(&info, PASSWORD, "Trước").await;
    let idling = tokio::spawn(idle(bed.sign_in(&info, PASSWORD).await.unwrap()));
    let mut submission = bed.stay_signed_in(&info).await;

    for _ in 0..2 {
        bed.mailboxes.clear_passwords(presence).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(2), idling)
        .await
        .unwrap()
        .unwrap();
    for attempt in [PASSWORD, "", "NULL"] {
        assert!(bed.sign_in(&info, attempt).await.is_err());
    }
    let refused = submission.send("Không được gửi").await.unwrap_err();
    assert!(refused.contains("5.7.1"), "{refused}");
    assert!(bed.sign_in(&other, PASSWORD).await.is_ok());
    // A presence without mail has none to forget.
    bed.mailboxes
        .clear_passwords(PresenceId::new())
        .await
        .unwrap();
    bed.probe()
        .prove_served(&info, SystemClock.now())
        .await
        .unwrap();

    let fresh = "Mật khẩu mới 2027";
    bed.mailboxes
        .set_password(presence, &info, &Secret::new(fresh))
        .await
        .unwrap();
    assert_eq!(bed.subjects(&info, fresh).await.unwrap(), ["Trước"]);
    assert!(bed.sign_in(&info, PASSWORD).await.is_err());
}

#[tokio::test]
async fn mail_taken_away_is_out_of_reach_of_the_next_holder_and_can_be_erased() {
    let bed = Bed::start().await;
    let former = PresenceId::new();
    let domain = bed.domain(SHOP);
    let old_keys = bed.mailboxes.put_domain(former, &domain).await.unwrap();
    let info = address(&format!("info@{SHOP}"));
    bed.set_password(former, &info).await;
    let from = "khach-mau@elsewhere.test";
    bed.exchange(from, info.as_str(), "Của người trước")
        .await
        .unwrap();
    bed.await_subject(&info, PASSWORD, "Của người trước").await;
    let idling = tokio::spawn(idle(bed.sign_in(&info, PASSWORD).await.unwrap()));
    let mut submission = bed.stay_signed_in(&info).await;
    let early = bed.mailboxes.erase_mail(former).await;
    assert_eq!(early.unwrap_err().kind, FailureKind::Rejected);

    let began = Instant::now();
    bed.mailboxes.remove_domain(former).await.unwrap();
    println!("taken away after {:?}", began.elapsed());
    bed.mailboxes.remove_domain(former).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), idling)
        .await
        .unwrap()
        .unwrap();
    assert!(bed.sign_in(&info, PASSWORD).await.is_err());
    assert!(submission.send("Không được gửi").await.is_err());
    for local in ["info", "abuse", "postmaster"] {
        let refused = bed.refusal(&format!("{local}@{SHOP}")).await;
        assert!(refused.starts_with("permanent error (55"), "{refused}");
    }
    assert_eq!(bed.files_of_keys(), []);
    assert_eq!(bed.messages_stored(former), 1);
    bed.probe()
        .prove_absent(&info, SystemClock.now())
        .await
        .unwrap();

    // At once, the same name in other hands.
    let next = PresenceId::new();
    let new_keys = bed.mailboxes.put_domain(next, &domain).await.unwrap();
    for (old, new) in old_keys.iter().zip(&new_keys) {
        assert_ne!(old.text, new.text);
    }
    assert!(bed.sign_in(&info, PASSWORD).await.is_err());
    bed.set_password(next, &info).await;
    assert_eq!(bed.subjects(&info, PASSWORD).await.unwrap(), [""; 0]);
    let files = bed.files_of_keys();
    // Said again, the former holder's end is no matter of the next one's.
    bed.mailboxes.remove_domain(former).await.unwrap();
    bed.mailboxes.clear_passwords(former).await.unwrap();
    assert_eq!(bed.files_of_keys(), files);
    bed.exchange(from, info.as_str(), "Của người sau")
        .await
        .unwrap();
    bed.await_subject(&info, PASSWORD, "Của người sau").await;
    let zones = Zones::serve(&bed).await;
    zones.put(&bed, SHOP, &new_keys);
    let proof = bed.probe().prove(&info, SystemClock.now()).await.unwrap();
    assert_eq!(proof.selector, new_keys[0].selector);

    assert_eq!(bed.messages_stored(former), 1);
    for _ in 0..2 {
        bed.mailboxes.erase_mail(former).await.unwrap();
        assert!(bed.stored(former).is_empty());
    }
    assert_eq!(
        bed.subjects(&info, PASSWORD).await.unwrap(),
        ["Của người sau"]
    );
    bed.mailboxes.erase_mail(PresenceId::new()).await.unwrap();
    let still = bed.mailboxes.erase_mail(next).await;
    assert_eq!(still.unwrap_err().kind, FailureKind::Rejected);
}

#[tokio::test]
async fn the_probe_tells_served_and_stopped_and_absent_apart() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let info = address(&format!("info@{SHOP}"));
    let probe = bed.probe();
    let now = SystemClock.now();
    let told = |answer: Result<(), PortError>| match answer {
        Ok(()) => "so".to_owned(),
        Err(error) => {
            assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
            ErrorChain(&error).to_string()
        }
    };

    assert_eq!(told(probe.prove_served(&info, now).await), "so");
    let stopped = told(probe.prove_stopped(&info, now).await);
    assert!(stopped.ends_with("IMAP opens the mailbox"), "{stopped}");
    let absent = told(probe.prove_absent(&info, now).await);
    assert!(absent.contains("answers `250 2.1.5"), "{absent}");

    bed.set_service(presence, SHOP, MailService::Suspended)
        .await;
    let began = Instant::now();
    assert_eq!(told(probe.prove_stopped(&info, now).await), "so");
    println!("mail seen stopped after {:?}", began.elapsed());
    let served = told(probe.prove_served(&info, now).await);
    assert!(
        served.contains("refuses a good credential"),
        "it is: {served}"
    );
    let absent = told(probe.prove_absent(&info, now).await);
    assert!(absent.contains("answers `250 2.1.5"), "{absent}");
    // A refusal of a credential that has run out proves nothing.
    let earlier = now - SignedDuration::from_hours(1);
    let stopped = told(probe.prove_stopped(&info, earlier).await);
    assert!(stopped.ends_with("had run out"), "{stopped}");

    bed.mailboxes.remove_domain(presence).await.unwrap();
    assert_eq!(told(probe.prove_absent(&info, now).await), "so");
    let stopped = told(probe.prove_stopped(&info, now).await);
    assert!(stopped.contains("answers `55"), "{stopped}");

    // Whom nobody answers knows nothing.
    bed.script("down").unwrap();
    for answer in [
        probe.prove_served(&info, now).await,
        probe.prove_stopped(&info, now).await,
        probe.prove_absent(&info, now).await,
    ] {
        assert_ne!(told(answer), "so");
    }
}

#[tokio::test]
async fn without_the_right_to_end_sessions_nothing_counts_as_stopped() {
    let bed = Bed::start().await;
    let presence = bed.put(SHOP).await;
    let suspended = MailDomain {
        service: MailService::Suspended,
        ..bed.domain(SHOP)
    };
    let wrong_key = bed.state.join("secrets/wrong-key");
    std::fs::write(&wrong_key, "0123456789abcdef").unwrap();
    let wrong = SessionSettings {
        key_file: wrong_key,
        ..sessions(&bed.state)
    };
    let without = [None, Some(wrong)].map(|settings| mailboxes(&bed.state, settings));
    let mut answers = Vec::new();
    for mailboxes in &without {
        let put = mailboxes.put_domain(presence, &suspended).await;
        answers.push(put.map(drop));
        answers.push(mailboxes.clear_passwords(presence).await);
    }
    for mailboxes in &without {
        answers.push(mailboxes.remove_domain(presence).await);
    }
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind, FailureKind::Misconfigured, "{error:?}");
    }
    // Nobody answers: tried again.
    let nowhere = SessionSettings {
        address: SocketAddr::new(bed.node, 8791),
        ..sessions(&bed.state)
    };
    let error = mailboxes(&bed.state, Some(nowhere))
        .remove_domain(presence)
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
    // Cut off in between, nothing works any more, the name is still held, and the next try ends it.
    let info = format!("info@{SHOP}");
    let refused = bed.refusal(&info).await;
    assert!(refused.starts_with("permanent error (55"), "{refused}");
    let taken = bed
        .mailboxes
        .put_domain(PresenceId::new(), &bed.domain(SHOP))
        .await;
    assert_eq!(taken.unwrap_err().kind, FailureKind::Rejected);
    bed.mailboxes.remove_domain(presence).await.unwrap();
    // Who slept meanwhile does not bring it back.
    let late = bed.mailboxes.put_domain(presence, &bed.domain(SHOP)).await;
    assert_eq!(late.unwrap_err().kind, FailureKind::Rejected);
    bed.put(SHOP).await;
}

#[tokio::test]
async fn a_letter_reaches_its_reader_as_it_was_written() {
    let bed = Bed::start().await;
    let letter = Letter {
        id: "welcome-0192-sample".to_owned(),
        to: address("chu-quan-mau@elsewhere.test"),
        subject: "Trang web và hộp thư của Quán Phở Mẫu đã sẵn sàng".to_owned(),
        text: "Kính gửi chủ quán,\nđây là thư mẫu: ế ợ ữ ẫ ỵ.\n".to_owned(),
        html: Some("<p>Kính gửi chủ quán &amp; gia đình</p>".to_owned()),
    };
    let messages = bed.messages();
    messages.send(&letter).await.unwrap();
    let raw = bed.await_outside(&letter.subject).await;
    let message = MessageParser::default().parse(&raw).unwrap();
    assert_eq!(message.subject(), Some(letter.subject.as_str()));
    assert_eq!(
        message.message_id(),
        Some("welcome-0192-sample@hiendien.test")
    );
    let text = message.body_text(0).unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), letter.text.trim_end());
    assert!(message.body_html(0).unwrap().contains("&amp; gia đình"));
    assert!(message.date().is_some());
    let header = |name: &'static str| {
        let value = message.header_raw(name).unwrap_or_default();
        value.trim().to_owned()
    };
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert_eq!(header("Reply-To"), "ho-tro@hiendien.test");
}

#[tokio::test]
async fn a_letter_given_up_at_any_moment_does_not_hinder_the_next() {
    let bed = Bed::start().await;
    let messages = bed.messages();
    let letter = |number: u64, what: &str| Letter {
        id: format!("{what}-{number}-sample"),
        to: address("chu-quan-mau@elsewhere.test"),
        subject: format!("Thư {what} {number}"),
        text: format!("Đây là thư mẫu {what} {number}.\n"),
        html: None,
    };
    for number in 0..25 {
        let given_up = letter(number, "bo");
        let moment = Duration::from_millis(number);
        let _ = tokio::time::timeout(moment, messages.send(&given_up)).await;
        let next = letter(number, "sau");
        messages.send(&next).await.unwrap();
        let raw = bed.await_outside(&next.subject).await;
        let message = MessageParser::default().parse(&raw).unwrap();
        let text = message.body_text(0).unwrap();
        assert_eq!(
            text.trim_end(),
            next.text.trim_end(),
            "nothing else is in it"
        );
    }
}

#[tokio::test]
async fn the_servers_are_asked_without_a_mailbox_and_start_again_after_a_crash() {
    let bed = Bed::start().await;
    bed.put(SHOP).await;
    let roots = bed.state.join("mail/tls/cert.pem");
    let exchanger = SocketAddr::new(bed.node, 25);
    let host = name("mx1.mail.hiendien.test");
    let from = address(OUTSIDE);
    let known = address(&format!("info@{SHOP}"));
    let banner = checks::check_exchanger(exchanger, &host, &roots, &from, &known);
    let banner = banner.await.unwrap();
    assert!(banner.starts_with("220 mx1.mail.hiendien.test"), "{banner}");
    let unknown = address(&format!("khong-co@{SHOP}"));
    let refused = checks::check_exchanger(exchanger, &host, &roots, &from, &unknown);
    let refused = refused.await.unwrap_err();
    assert!(ErrorChain(&refused).to_string().contains("550 5.1.1"));
    let imap = SocketAddr::new(bed.node, 993);
    let imap_host = name("imap.mail.hiendien.test");
    checks::check_imap(imap, &imap_host, &roots).await.unwrap();
    let wrong = checks::check_imap(imap, &name("imap.elsewhere.test"), &roots).await;
    assert!(wrong.is_err());

    // Kill the masters, as a crash would; `up` brings the node back, and twice is once.
    for file in [
        "postfix/spool/pid/master.pid",
        "dovecot/run/master.pid",
        "../run/rspamd.pid",
    ] {
        let pid = std::fs::read_to_string(bed.state.join("mail").join(file)).unwrap();
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.unwrap().success());
    }
    bed.script("up").unwrap();
    bed.script("up").unwrap();
    bed.script("status").unwrap();
    checks::check_imap(imap, &imap_host, &roots).await.unwrap();
    bed.script("down").unwrap();
    assert!(TcpStream::connect(imap).await.is_err());
    assert!(TcpStream::connect(exchanger).await.is_err());
}

// --- the bed -------------------------------------------------------------------------------

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn address(text: &str) -> MailAddress {
    text.parse().unwrap()
}

/// A mail node with its outside world; taken down when dropped.
struct Bed {
    state: PathBuf,
    node: IpAddr,
    outside: IpAddr,
    mailboxes: SqliteMailboxes,
    _directory: TempDir,
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(told) = self.script("down") {
            eprintln!("{told}");
        }
    }
}

impl Bed {
    async fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("hiendien-mail-")
            .tempdir()
            .unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o711),
        )
        .unwrap();
        let began = Instant::now();
        run_script("up", &state).unwrap_or_else(|told| panic!("{told}"));
        println!("mail node up after {:?}", began.elapsed());
        let mailboxes = mailboxes(&state, Some(sessions(&state)));
        Self {
            state,
            node: net::address(25).into(),
            outside: net::address(26).into(),
            mailboxes,
            _directory: directory,
        }
    }

    fn script(&self, verb: &str) -> Result<(), String> {
        run_script(verb, &self.state)
    }

    fn domain(&self, domain: &str) -> MailDomain {
        MailDomain {
            name: name(domain),
            mailboxes: vec!["info".parse().unwrap()],
            quota_bytes: 50_000_000,
            desk: address("ban-truc@outside.test"),
            service: MailService::Active,
        }
    }

    /// Puts the domain again with another service.
    async fn set_service(&self, presence: PresenceId, domain: &str, service: MailService) {
        let domain = MailDomain {
            service,
            ..self.domain(domain)
        };
        self.mailboxes.put_domain(presence, &domain).await.unwrap();
    }

    async fn set_password(&self, presence: PresenceId, address: &MailAddress) {
        let password = Secret::new(PASSWORD);
        self.mailboxes
            .set_password(presence, address, &password)
            .await
            .unwrap();
    }

    /// Directories of stored mail that are the presence's.
    fn stored(&self, presence: PresenceId) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state.join("mail/store")).unwrap();
        let own = format!("{presence}.");
        entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
            .map(|entry| entry.path())
            .collect()
    }

    /// Number of messages in the store of the presence, seen without signing in.
    fn messages_stored(&self, presence: PresenceId) -> usize {
        let found = Command::new("find")
            .args(self.stored(presence))
            .args(["-path", "*/INBOX/dbox-Mails/u.*"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&found.stdout).lines().count()
    }

    async fn await_stored(&self, presence: PresenceId, number: usize) {
        wait_for("messages in the store", LONG, async || {
            match self.messages_stored(presence) {
                seen if seen == number => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
    }

    /// A connection to submission that is signed in as the mailbox and stays so.
    async fn stay_signed_in(&self, user: &MailAddress) -> Submission {
        let hello = ClientId::Domain("may-tinh.test".to_owned());
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (self.node.to_string(), 465),
            Some(LONG),
            &hello,
            Some(self.tls_parameters()),
            None,
        )
        .await
        .unwrap();
        let credentials = Credentials::new(user.to_string(), PASSWORD.to_owned());
        connection
            .auth(&[Mechanism::Plain], &credentials)
            .await
            .unwrap();
        Submission(connection, user.clone())
    }

    fn tls_parameters(&self) -> TlsParameters {
        let pem = std::fs::read(self.state.join("mail/tls/cert.pem")).unwrap();
        TlsParameters::builder("smtp.mail.hiendien.test".to_owned())
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(&pem).unwrap())
            .build_rustls()
            .unwrap()
    }

    /// The codes of what the exchanger says to mail for the address.
    async fn refusal(&self, to: &str) -> String {
        self.exchange("khach-mau@elsewhere.test", to, "x")
            .await
            .unwrap_err()
    }

    async fn put(&self, domain: &str) -> PresenceId {
        let presence = PresenceId::new();
        let domain = self.domain(domain);
        self.mailboxes.put_domain(presence, &domain).await.unwrap();
        presence
    }

    fn files_of_keys(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for directory in ["mail/dkim", "mail/dkim/names"] {
            for entry in std::fs::read_dir(self.state.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    files.push((path.clone(), std::fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    fn messages(&self) -> SmtpMessages {
        SmtpMessages::new(SmtpSettings {
            host: self.node.to_string(),
            port: 10025,
            sender: address("xin-chao@hiendien.test"),
            sender_name: "Hiện Diện".to_owned(),
            reply_to: address("ho-tro@hiendien.test"),
        })
    }

    fn probe(&self) -> MailProbe {
        let settings = MailProbeSettings {
            exchanger_host: name("mx1.mail.hiendien.test"),
            exchanger: self.node,
            exchangers: vec![self.node],
            imap_host: name("imap.mail.hiendien.test"),
            smtp_host: name("smtp.mail.hiendien.test"),
            mail: self.node,
            roots: self.state.join("mail/tls/cert.pem"),
            outside: OutsideMailbox {
                address: address(OUTSIDE),
                imap: SocketAddr::new(self.outside, 993),
                imap_name: name("imap.outside.test"),
                roots: self.state.join("mail/outside/tls/cert.pem"),
                password_file: self.state.join("secrets/outside-password"),
            },
            name_servers: vec![SocketAddr::new(net::address(53).into(), 53)],
            delivery_limit: Duration::from_secs(10),
        };
        MailProbe::new(settings, self.mailboxes.clone()).unwrap()
    }

    /// Hands a message to the exchanger as a foreign server would.
    async fn exchange(&self, from: &str, to: &str, subject: &str) -> Result<(), String> {
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.node.to_string())
                .port(25)
                .timeout(Some(LONG))
                .build();
        hand_in(&transport, from, from, to, subject).await
    }

    /// Submits as `info@SHOP`'s owner, or of the name in the envelope where it is an `info@`.
    async fn submit(&self, envelope: &str, header: &str, subject: &str) -> Result<(), String> {
        let login = match envelope.split_once('@').unwrap() {
            ("info", _) => envelope.to_owned(),
            (_, domain) => format!("info@{domain}"),
        };
        let parameters = self.tls_parameters();
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.node.to_string())
                .port(587)
                .tls(Tls::Required(parameters))
                .credentials(Credentials::new(login, PASSWORD.to_owned()))
                .timeout(Some(LONG))
                .build();
        hand_in(
            &transport,
            envelope,
            header,
            "khach-mau@elsewhere.test",
            subject,
        )
        .await
    }

    async fn sign_in(&self, user: &MailAddress, password: &str) -> Result<Imap, String> {
        let roots = self.state.join("mail/tls/cert.pem");
        let server = SocketAddr::new(self.node, 993);
        sign_in(
            server,
            "imap.mail.hiendien.test",
            &roots,
            user.as_str(),
            password,
        )
        .await
    }

    async fn subjects(&self, user: &MailAddress, password: &str) -> Result<Vec<String>, String> {
        let mut session = self.sign_in(user, password).await?;
        Ok(read_all(&mut session)
            .await
            .into_iter()
            .map(|(subject, _)| subject)
            .collect())
    }

    async fn await_subject(&self, user: &MailAddress, password: &str, subject: &str) {
        wait_for("a message in the mailbox", LONG, async || {
            let seen = self.subjects(user, password).await?;
            if seen.iter().any(|found| found == subject) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
    }

    async fn outside(&self) -> Vec<(String, Vec<u8>)> {
        let roots = self.state.join("mail/outside/tls/cert.pem");
        let password =
            std::fs::read_to_string(self.state.join("secrets/outside-password")).unwrap();
        let server = SocketAddr::new(self.outside, 993);
        let session = sign_in(
            server,
            "imap.outside.test",
            &roots,
            OUTSIDE,
            password.trim(),
        );
        read_all(&mut session.await.unwrap()).await
    }

    async fn outside_subjects(&self) -> Vec<String> {
        let messages = self.outside().await;
        messages.into_iter().map(|(subject, _)| subject).collect()
    }

    async fn await_outside(&self, subject: &str) -> Vec<u8> {
        wait_for("a message outside", LONG, async || {
            let messages = self.outside().await;
            let seen: Vec<_> = messages
                .iter()
                .map(|(subject, _)| subject.clone())
                .collect();
            let found = messages.into_iter().find(|(found, _)| found == subject);
            found.map(|(_, raw)| raw).ok_or(seen)
        })
        .await
    }
}

fn sessions(state: &Path) -> SessionSettings {
    SessionSettings {
        address: SocketAddr::new(net::address(25).into(), 8790),
        key_file: state.join("secrets/doveadm-key"),
    }
}

fn mailboxes(state: &Path, sessions: Option<SessionSettings>) -> SqliteMailboxes {
    let script = root().join("deploy/mail/node");
    let settings = MailboxSettings {
        database: state.join("mail/mail.db"),
        dkim: state.join("mail/dkim"),
        sessions,
        erase: vec![
            script.display().to_string(),
            "erase".to_owned(),
            state.display().to_string(),
            net_of_test(),
        ],
    };
    SqliteMailboxes::open(&settings, Arc::new(SystemClock)).unwrap()
}

fn net_of_test() -> String {
    let net = net::address(0).to_string();
    net.strip_suffix(".0").unwrap().to_owned()
}

/// A signed-in connection to submission.
struct Submission(AsyncSmtpConnection, MailAddress);

impl Submission {
    async fn send(&mut self, subject: &str) -> Result<(), String> {
        let Self(connection, user) = self;
        let to = "khach-mau@elsewhere.test".parse().unwrap();
        let sender: lettre::Address = user.as_str().parse().unwrap();
        let envelope = Envelope::new(Some(sender), vec![to]).unwrap();
        let message = format!(
            "From: {user}\r\nTo: khach-mau@elsewhere.test\r\nSubject: {subject}\r\n\r\nx\r\n"
        );
        let sent = connection.send(&envelope, message.as_bytes()).await;
        sent.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// A session that waits for mail in IDLE; ends when the server cuts it off.
async fn idle(mut session: Imap) {
    session.select("INBOX").await.unwrap();
    let mut waiting = session.idle();
    waiting.init().await.unwrap();
    loop {
        let (news, _interrupt) = waiting.wait_with_timeout(LONG);
        match news.await {
            Ok(IdleResponse::Timeout) => panic!("it still idles"),
            Ok(IdleResponse::NewData(_)) => {}
            // The end of the connection: nobody else interrupts.
            Ok(IdleResponse::ManualInterrupt) | Err(_) => return,
        }
    }
}

fn run_script(verb: &str, state: &Path) -> Result<(), String> {
    let script = root().join("deploy/mail/node");
    let net = net_of_test();
    let output = Command::new(script)
        .args([verb.as_ref(), state.as_os_str(), net.as_ref()])
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "deploy/mail/node {verb}: {}\n{told}",
        output.status
    ))
}

async fn hand_in(
    transport: &AsyncSmtpTransport<Tokio1Executor>,
    envelope: &str,
    header: &str,
    to: &str,
    subject: &str,
) -> Result<(), String> {
    let message = lettre::Message::builder()
        .envelope(
            Envelope::new(Some(envelope.parse().unwrap()), vec![to.parse().unwrap()]).unwrap(),
        )
        .from(header.parse().unwrap())
        .to(to.parse().unwrap())
        .subject(subject)
        .body("Thư mẫu.\r\n".to_owned())
        .unwrap();
    transport
        .send(message)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

type Imap = async_imap::Session<tokio_rustls::client::TlsStream<TcpStream>>;

async fn sign_in(
    server: SocketAddr,
    host: &str,
    roots: &Path,
    user: &str,
    password: &str,
) -> Result<Imap, String> {
    let mut store = rustls::RootCertStore::empty();
    store
        .add(CertificateDer::from_pem_file(roots).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let stream = TcpStream::connect(server)
        .await
        .map_err(|error| error.to_string())?;
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(host, stream)
        .await
        .unwrap();
    let mut client = async_imap::Client::new(stream);
    client.read_response().await.unwrap().unwrap();
    let session = client.login(user, password).await;
    session.map_err(|(error, _)| error.to_string())
}

/// Subject and whole text of each message of the inbox.
async fn read_all(session: &mut Imap) -> Vec<(String, Vec<u8>)> {
    if session.select("INBOX").await.unwrap().exists == 0 {
        return Vec::new();
    }
    let fetched = session.fetch("1:*", "BODY.PEEK[]").await.unwrap();
    let fetched: Vec<_> = fetched.try_collect().await.unwrap();
    let read = |raw: &[u8]| {
        let message = MessageParser::default().parse(raw).unwrap();
        (
            message.subject().unwrap_or_default().to_owned(),
            raw.to_vec(),
        )
    };
    fetched
        .iter()
        .filter_map(|message| message.body())
        .map(read)
        .collect()
}

/// Our own DNS with the zones put into it.
#[derive(Clone, Default)]
struct Zones {
    zones: Arc<Mutex<HashMap<DomainName, ServedZone>>>,
    _running: Option<Arc<watch::Sender<bool>>>,
}

impl Zones {
    async fn serve(bed: &Bed) -> Self {
        let mut zones = Self::default();
        let settings = ServerSettings {
            listen: vec![SocketAddr::new(net::address(53).into(), 53)],
            listen_registry: Vec::new(),
            platform: Arc::new(platform(bed)),
        };
        let source = Arc::new(zones.clone());
        let server = DnsServer::bind(&settings, source).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(server.run(stopping));
        zones._running = Some(Arc::new(stop));
        zones
    }

    fn put(&self, bed: &Bed, apex: &str, keys: &[DkimRecord]) {
        let apex = name(apex);
        let inputs = ZoneInputs {
            apex: &apex,
            issuers: &[],
            dkim: keys,
            stage: ZoneStage::BeforeCertificate,
        };
        let zone = ServedZone {
            spec: presence_zone(inputs, &platform(bed)),
            serial: 1,
            challenges: Vec::new(),
        };
        self.zones.lock().unwrap().insert(apex, zone);
    }
}

impl ZoneSource for Zones {
    fn zone_serial(&self, apex: &DomainName) -> Result<Option<u32>, PortError> {
        Ok(self.zone(apex)?.map(|zone| zone.serial))
    }

    fn zone(&self, apex: &DomainName) -> Result<Option<ServedZone>, PortError> {
        Ok(self.zones.lock().unwrap().get(apex).cloned())
    }

    fn delegation(&self, _child: &DomainName) -> Result<Option<Delegation>, PortError> {
        Ok(None)
    }
}

fn platform(bed: &Bed) -> Platform {
    let host = |label: &str, last: u8| PlatformHost {
        name: name(&format!("{label}.hiendien.test")),
        addresses: vec![net::address(last).into()],
    };
    Platform {
        apex: name("hiendien.test"),
        name_servers: vec![host("ns1", 53), host("ns2", 54)],
        edge_addresses: vec![net::address(80).into()],
        mail_exchangers: vec![host("mx1.mail", 25)],
        mail_address: bed.node,
        outbound_addresses: vec![bed.node],
        abuse_url: "https://hiendien.test/abuse".to_owned(),
    }
}
