//! The embedded name servers and the lab's registry, asked over the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hiendien_dns::{AskError, Asker, DnsError, DnsServer, Transport};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::{
    CaaIssuer, DkimRecord, RecordKind, ZoneInputs, ZoneSpec, ZoneStage, platform_zone,
    presence_zone,
};
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    Delegation, Delegations as _, ErrorChain, FailureKind, PortError, Probes as _, ServedZone,
    ZoneSource, Zones as _,
};
use integration_tests::dns::{self, Dns, dig};
use integration_tests::net::address;
use jiff::Timestamp;
use tokio::sync::watch;

/// Makes serials the same in every run.
#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        "2026-11-24T00:00:00Z".parse().unwrap()
    }
}

async fn bed() -> Dns {
    Dns::start(Arc::new(StandingClock)).await
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn zone(dns: &Dns, apex: &str, stage: ZoneStage) -> ZoneSpec {
    zone_with_key(dns, apex, stage, 410)
}

/// The zone of a presence whose DKIM record has a text of this length.
fn zone_with_key(dns: &Dns, apex: &str, stage: ZoneStage, key_octets: usize) -> ZoneSpec {
    let issuers = [CaaIssuer {
        domain: "pebble.test".to_owned(),
        account_uri: Some("https://pebble.test/my-account/1".to_owned()),
    }];
    let head = "v=DKIM1; k=rsa; p=";
    let dkim = [DkimRecord {
        selector: "k2611r".to_owned(),
        text: format!("{head}{}", "A".repeat(key_octets - head.len())),
    }];
    let inputs = ZoneInputs {
        apex: &name(apex),
        issuers: &issuers,
        dkim: &dkim,
        stage,
    };
    presence_zone(inputs, &dns.platform)
}

async fn put(dns: &Dns, spec: &ZoneSpec) -> u32 {
    dns.store.put_zone(PresenceId::new(), spec).await.unwrap()
}

#[tokio::test]
async fn serves_the_whole_record_set_of_a_presence() {
    let dns = bed().await;
    let spec = zone(&dns, "mau-quan-pho.biz.vn", ZoneStage::Complete);
    put(&dns, &spec).await;
    let mut told = dig(53, "+noall +answer mau-quan-pho.biz.vn SOA").await;
    for rrset in &spec.rrsets {
        let kind = serde_json::to_value(rrset.records[0].kind()).unwrap();
        let question = format!("+noall +answer {} {}", rrset.owner, kind.as_str().unwrap());
        let answer = dig(53, &question).await;
        assert!(!answer.is_empty(), "no answer to {question}");
        let mut lines: Vec<&str> = answer.lines().collect();
        lines.sort_unstable();
        told.push('\n');
        told.push_str(&lines.join("\n"));
        assert_eq!(
            answer.lines().count(),
            dig(54, &question).await.lines().count()
        );
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn follows_a_cname_inside_of_the_zone() {
    let dns = bed().await;
    put(
        &dns,
        &zone(&dns, "mau-quan-pho.biz.vn", ZoneStage::Complete),
    )
    .await;
    let answer = dig(53, "+noall +answer www.mau-quan-pho.biz.vn A").await;
    insta::assert_snapshot!(answer, @r"
    www.mau-quan-pho.biz.vn. 300 IN CNAME mau-quan-pho.biz.vn.
    mau-quan-pho.biz.vn. 300 IN A 192.0.2.10
    ");
}

#[tokio::test]
async fn serves_the_platform_zone() {
    let dns = bed().await;
    put(&dns, &platform_zone(&dns.platform, "20261124000000")).await;
    let outsider = dns.outsider();
    for host in ["ns1.hiendien.test", "edge.hiendien.test"] {
        let found = outsider
            .asker
            .rrset(address(53).into(), &name(host), RecordKind::A)
            .await;
        assert!(found.unwrap().is_some(), "{host}");
    }
}

#[tokio::test]
async fn a_new_zone_and_a_change_are_visible_without_restart() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    let outsider = dns.outsider();
    let before = outsider
        .asker
        .soa_serial(address(53).into(), &apex, Transport::Udp)
        .await;
    assert!(
        matches!(before, Err(AskError::Refused { .. })),
        "{before:?}"
    );

    let presence = PresenceId::new();
    let first = zone(&dns, apex.as_str(), ZoneStage::BeforeCertificate);
    let serial = dns.store.put_zone(presence, &first).await.unwrap();
    let seen = |transport| {
        outsider
            .asker
            .soa_serial(address(54).into(), &apex, transport)
    };
    assert_eq!(seen(Transport::Udp).await.unwrap(), serial);
    assert_eq!(seen(Transport::Tcp).await.unwrap(), serial);

    let second = zone(&dns, apex.as_str(), ZoneStage::Complete);
    let newer = dns.store.put_zone(presence, &second).await.unwrap();
    assert!(newer > serial);
    assert_eq!(seen(Transport::Udp).await.unwrap(), newer);
    let https = second
        .rrsets
        .iter()
        .find(|rrset| rrset.records[0].kind() == RecordKind::Https);
    outsider.rrset(&apex, https.unwrap()).await.unwrap();
}

#[tokio::test]
async fn challenges_come_and_go_beside_the_records() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    let serial = put(&dns, &zone(&dns, apex.as_str(), ZoneStage::Complete)).await;
    let owner = apex.prefixed("_acme-challenge").unwrap();
    let values = [
        (owner.clone(), "first".to_owned()),
        (owner.clone(), "second".to_owned()),
    ];
    let with = dns.store.add_challenges(&apex, &values).await.unwrap();
    assert!(with > serial);
    let question = format!("+short {owner} TXT");
    let mut seen: Vec<String> = dig(53, &question)
        .await
        .lines()
        .map(str::to_owned)
        .collect();
    seen.sort();
    assert_eq!(seen, ["\"first\"", "\"second\""]);

    dns.store
        .remove_challenges(&apex, &values[..1])
        .await
        .unwrap();
    assert_eq!(dig(53, &question).await, "\"second\"");
    dns.store.remove_challenges(&apex, &values).await.unwrap();
    assert_eq!(dig(53, &question).await, "");
}

#[tokio::test]
async fn says_what_is_not_there() {
    let dns = bed().await;
    put(
        &dns,
        &zone(&dns, "mau-quan-pho.biz.vn", ZoneStage::Complete),
    )
    .await;
    let status = |question: &'static str| async move {
        let answer = dig(53, &format!("+noall +comments +authority {question}")).await;
        let header = answer
            .lines()
            .find_map(|line| line.split("status: ").nth(1));
        let code = header.unwrap().split(',').next().unwrap().to_owned();
        let flags = answer
            .lines()
            .find(|line| line.starts_with(";; flags"))
            .unwrap()
            .to_owned();
        (code, flags, answer)
    };
    let soa = "mau-quan-pho.biz.vn. 300 IN SOA ns1.hiendien.test. hostmaster.hiendien.test.";
    for (question, code) in [
        ("nothing.mau-quan-pho.biz.vn A", "NXDOMAIN"),
        ("*.mau-quan-pho.biz.vn A", "NXDOMAIN"),
        ("a_b!c.mau-quan-pho.biz.vn A", "NXDOMAIN"),
        ("a.b.c.d.e.f.g.h.i.j.k.mau-quan-pho.biz.vn A", "NXDOMAIN"),
        ("mau-quan-pho.biz.vn TLSA", "NOERROR"),
        // There are names below it, so it exists.
        ("_tcp.mau-quan-pho.biz.vn TXT", "NOERROR"),
    ] {
        let (seen, flags, answer) = status(question).await;
        assert_eq!(seen, code, "{question}");
        assert!(flags.contains(" aa"), "{question}: {flags}");
        assert!(answer.contains(soa), "{question}: {answer}");
    }
    for question in [
        "example.org A",
        "biz.vn SOA",
        ". NS",
        "mau-quan-pho.biz.vn AXFR +tcp +comments",
        "mau-quan-pho.biz.vn IXFR=1",
        "version.bind CH TXT",
        "mau-quan-pho.biz.vn CH TXT",
    ] {
        let answer = dig(53, question).await;
        let refused = answer.contains("status: REFUSED") || answer.contains("Transfer failed");
        assert!(refused, "{question}: {answer}");
    }
    let (_, flags, _) = status("mau-quan-pho.biz.vn A +recurse").await;
    assert!(!flags.contains(" ra"), "{flags}");
    // One RRset answers ANY (RFC 8482).
    let any = dig(53, "+noall +answer +notcp mau-quan-pho.biz.vn ANY").await;
    assert_eq!(
        any.lines().count(),
        1,
        "one address is all of one type: {any}"
    );
    // Capitals are the same name (RFC 4343).
    let capitals = dig(53, "+short MAU-quan-PHO.biz.vn A").await;
    assert_eq!(capitals, "192.0.2.10");
}

#[tokio::test]
async fn cuts_over_udp_what_does_not_fit_and_gives_it_over_tcp() {
    let dns = bed().await;
    let apex = "mau-quan-pho.biz.vn";
    put(&dns, &zone_with_key(&dns, apex, ZoneStage::Complete, 2000)).await;
    let owner = "k2611r._domainkey.mau-quan-pho.biz.vn";
    for how in ["+noedns", "+bufsize=512", "+bufsize=4096"] {
        let cut = dig(53, &format!("{how} +ignore +comments {owner} TXT")).await;
        let flags = cut.lines().find(|line| line.starts_with(";; flags"));
        assert!(flags.unwrap().contains(" tc"), "{how}: {cut}");
    }
    let whole = dig(53, &format!("+short {owner} TXT")).await;
    let key_octets = 2000 - "v=DKIM1; k=rsa; p=".len();
    assert_eq!(whole.matches('A').count(), key_octets);
    let asked = Asker::default()
        .rrset(address(53).into(), &name(owner), RecordKind::Txt)
        .await;
    assert_eq!(asked.unwrap().unwrap().records.len(), 1);
}

#[tokio::test]
async fn the_registry_refers_to_children() {
    let dns = bed().await;
    let child = name("mau-quan-pho.biz.vn");
    let servers = vec![name("ns1.hiendien.test"), name("ns2.hiendien.test")];
    let delegation = Delegation {
        child: child.clone(),
        name_servers: servers.clone(),
    };
    dns.store
        .put_delegation(PresenceId::new(), &delegation)
        .await
        .unwrap();
    let seen = Asker::default()
        .delegation(address(10).into(), &child)
        .await
        .unwrap();
    assert_eq!(seen, servers);

    let referral = dig(
        10,
        "+noall +comments +answer +authority www.mau-quan-pho.biz.vn A",
    )
    .await;
    assert!(referral.contains("status: NOERROR"), "{referral}");
    let flags = referral
        .lines()
        .find(|line| line.starts_with(";; flags"))
        .unwrap();
    assert!(
        !flags.contains(" aa"),
        "a referral has no authority: {flags}"
    );
    assert!(
        referral.contains("mau-quan-pho.biz.vn. 300 IN NS ns1.hiendien.test."),
        "{referral}"
    );
    assert!(!referral.contains("ANSWER SECTION"), "{referral}");

    for (question, status, authority) in [
        ("nobody.biz.vn A", "NXDOMAIN", "biz.vn. 300 IN SOA"),
        ("*.id.vn A", "NXDOMAIN", "id.vn. 300 IN SOA"),
        ("nobody.vn A", "NXDOMAIN", "vn. 300 IN SOA"),
        ("mau-quan-pho.biz.vn DS", "NOERROR", "biz.vn. 300 IN SOA"),
        ("biz.vn DS", "NOERROR", "vn. 300 IN SOA"),
        ("biz.vn A", "NOERROR", "biz.vn. 300 IN SOA"),
    ] {
        let answer = dig(10, &format!("+noall +comments +authority {question}")).await;
        assert!(
            answer.contains(&format!("status: {status}")),
            "{question}: {answer}"
        );
        let found = answer.lines().any(|line| line.starts_with(authority));
        assert!(found, "{question}: {answer}");
    }
    let apex = dig(10, "+short id.vn NS").await;
    assert_eq!(apex, "a.registry.hiendien.test.");
    let foreign = dig(10, "example.org A").await;
    assert!(foreign.contains("status: REFUSED"), "{foreign}");
}

#[tokio::test]
async fn proofs_tell_the_last_status_when_they_fail() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    let serial = put(&dns, &zone(&dns, apex.as_str(), ZoneStage::Complete)).await;
    let mut outsider = dns.outsider();
    outsider.asker.limit = Duration::from_millis(200);
    let told = |error: PortError| {
        assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
        ErrorChain(&error).to_string()
    };

    let undelegated = told(outsider.zone(&apex, serial).await.unwrap_err());
    assert!(
        undelegated.contains("delegates `mau-quan-pho.biz.vn` to no server"),
        "{undelegated}"
    );
    let delegation = Delegation {
        child: apex.clone(),
        name_servers: dns
            .platform
            .name_servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
    };
    dns.store
        .put_delegation(PresenceId::new(), &delegation)
        .await
        .unwrap();
    let proof = outsider.zone(&apex, serial).await.unwrap();
    assert_eq!((proof.serial, proof.servers), (serial, 2));

    let old = told(outsider.zone(&apex, serial + 1).await.unwrap_err());
    assert!(
        old.contains(&format!("still answers serial {serial}")),
        "{old}"
    );

    outsider.asker.port = 5353;
    let silent = told(outsider.zone(&apex, serial).await.unwrap_err());
    assert!(silent.contains("could not talk to"), "{silent}");
}

fn delegation(dns: &Dns, child: &DomainName) -> Delegation {
    let servers = &dns.platform.name_servers;
    Delegation {
        child: child.clone(),
        name_servers: servers.iter().map(|server| server.name.clone()).collect(),
    }
}

#[tokio::test]
async fn a_zone_is_gone_once_no_server_knows_it_and_no_parent_delegates() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    let (presence, stranger) = (PresenceId::new(), PresenceId::new());
    let first = zone(&dns, apex.as_str(), ZoneStage::BeforeCertificate);
    let serial = dns.store.put_zone(presence, &first).await.unwrap();
    let delegation = delegation(&dns, &apex);
    dns.store
        .put_delegation(presence, &delegation)
        .await
        .unwrap();
    let mut outsider = dns.outsider();
    outsider.zone(&apex, serial).await.unwrap();
    outsider.asker.limit = Duration::from_millis(200);
    let refusal = async || {
        let error = outsider.zone_absent(&apex).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
        ErrorChain(&error).to_string()
    };
    let there = refusal().await;
    assert!(
        there.contains(&format!("`{}:53` still", address(53))),
        "{there}"
    );

    // Whom it does not belong to takes nothing away.
    dns.store.remove_zone(stranger, &apex).await.unwrap();
    dns.store.remove_delegation(stranger, &apex).await.unwrap();
    outsider.zone(&apex, serial).await.unwrap();

    for _ in 0..2 {
        dns.store.remove_zone(presence, &apex).await.unwrap();
    }
    for host in [53, 54] {
        for transport in ["+notcp", "+tcp"] {
            let answer = dig(host, &format!("{transport} {apex} SOA")).await;
            assert!(answer.contains("status: REFUSED"), "{answer}");
        }
    }
    let delegated = refusal().await;
    assert!(
        delegated.contains(&format!("`{}:53` still refers to others", address(10))),
        "{delegated}"
    );
    for _ in 0..2 {
        dns.store.remove_delegation(presence, &apex).await.unwrap();
    }
    outsider.zone_absent(&apex).await.unwrap();
    let parent = dig(10, &format!("+noall +comments +authority {apex} NS")).await;
    assert!(parent.contains("status: NXDOMAIN"), "{parent}");
    assert!(parent.contains("biz.vn. 300 IN SOA"), "{parent}");

    // The next holder's zone comes to the same serial within the second, and is its own.
    let next = zone(&dns, apex.as_str(), ZoneStage::Complete);
    let again = dns.store.put_zone(stranger, &next).await.unwrap();
    assert_eq!(again, serial);
    let complete = next.rrsets.iter().find(|rrset| {
        !first.rrsets.contains(rrset) && rrset.records[0].kind() == RecordKind::Https
    });
    outsider.rrset(&apex, complete.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_denial_from_the_zone_above_is_absence_too() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    put(&dns, &zone(&dns, "biz.vn", ZoneStage::BeforeCertificate)).await;
    let denied = dig(53, &format!("+noall +comments +authority {apex} SOA")).await;
    assert!(denied.contains("status: NXDOMAIN"), "{denied}");
    dns.outsider().zone_absent(&apex).await.unwrap();

    put(&dns, &zone(&dns, apex.as_str(), ZoneStage::Complete)).await;
    let mut outsider = dns.outsider();
    outsider.asker.limit = Duration::from_millis(200);
    outsider.zone_absent(&apex).await.unwrap_err();
}

#[tokio::test]
async fn silence_and_failure_prove_no_absence() {
    let dns = bed().await;
    let apex = name("mau-quan-pho.biz.vn");
    let mut outsider = dns.outsider();
    outsider.zone_absent(&apex).await.unwrap();
    outsider.asker.limit = Duration::from_millis(200);
    outsider.asker.timeout = Duration::from_millis(100);
    let refusal = async |outsider: &dns::Outsider| {
        let error = outsider.zone_absent(&apex).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Transient { retry_after: None });
        ErrorChain(&error).to_string()
    };
    // A parent that does not speak for the zone above: here one of our own servers, which refuses.
    let astray = dns::Outsider {
        parents: vec![address(53).into()],
        ..outsider.clone()
    };
    let refused = refusal(&astray).await;
    assert!(refused.contains("answered Query Refused"), "{refused}");
    outsider.asker.port = 5353;
    let nobody = refusal(&outsider).await;
    assert!(nobody.contains("could not talk to"), "{nobody}");
    let silent = tokio::net::UdpSocket::bind(SocketAddr::from((address(53), 5353))).await;
    let _silent = silent.unwrap();
    let unanswered = refusal(&outsider).await;
    assert!(
        unanswered.contains("did not answer") || unanswered.contains("could not talk to"),
        "{unanswered}"
    );
}

#[tokio::test]
async fn a_server_that_fails_proves_no_absence() {
    let platform = Arc::new(dns::platform());
    let settings = dns::settings(&platform);
    let server = DnsServer::bind(&settings, Arc::new(BrokenSource)).await;
    let (_stop, stopping) = watch::channel(false);
    let running = tokio::spawn(server.unwrap().run(stopping));
    let outsider = dns::Outsider {
        asker: Asker {
            limit: Duration::from_millis(200),
            ..Asker::default()
        },
        platform,
        parents: vec![address(10).into()],
    };
    let absent = outsider.zone_absent(&name("mau-quan-pho.biz.vn")).await;
    let failing = ErrorChain(&absent.unwrap_err()).to_string();
    assert!(failing.contains("answered Server Failure"), "{failing}");
    running.abort();
}

#[tokio::test]
async fn a_taken_port_says_what_to_do() {
    let dns = bed().await;
    let again = DnsServer::bind(&dns::settings(&dns.platform), Arc::new(dns.store.clone())).await;
    let error = again.unwrap_err();
    assert!(matches!(error, DnsError::InUse { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains(&format!("`{}:53` (UDP)", address(53))),
        "{message}"
    );
    assert!(message.contains("ss -lunpt 'sport = :53'"), "{message}");
}

/// A source whose disk is gone.
struct BrokenSource;

fn broken<T>() -> Result<T, PortError> {
    Err(PortError::transient("reading a zone", "the disk is gone"))
}

impl ZoneSource for BrokenSource {
    fn zone_serial(&self, _apex: &DomainName) -> Result<Option<u32>, PortError> {
        broken()
    }

    fn zone(&self, _apex: &DomainName) -> Result<Option<ServedZone>, PortError> {
        broken()
    }

    fn delegation(&self, _child: &DomainName) -> Result<Option<Delegation>, PortError> {
        broken()
    }
}

#[tokio::test]
async fn a_source_that_fails_is_servfail_and_stopping_frees_the_port() {
    let platform = Arc::new(dns::platform());
    let settings = dns::settings(&platform);
    let server = DnsServer::bind(&settings, Arc::new(BrokenSource))
        .await
        .unwrap();
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(server.run(stopping));
    for (host, transport) in [(53, "+notcp"), (53, "+tcp"), (10, "+notcp")] {
        let answer = dig(host, &format!("{transport} mau-quan-pho.biz.vn A")).await;
        assert!(answer.contains("status: SERVFAIL"), "{answer}");
    }
    stop.send(true).unwrap();
    running.await.unwrap().unwrap();
    let free = SocketAddr::from((address(53), 53));
    tokio::net::UdpSocket::bind(free).await.unwrap();
}
