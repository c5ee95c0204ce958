use super::*;
use crate::platform::PlatformHost;

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn platform() -> Platform {
    let host = |host: &str, address: &str| PlatformHost {
        name: name(host),
        addresses: vec![address.parse().unwrap()],
    };
    Platform {
        apex: name("hiendien.test"),
        name_servers: vec![
            host("ns1.hiendien.test", "192.0.2.53"),
            host("ns2.elsewhere.test", "192.0.2.54"),
        ],
        edge_addresses: vec!["192.0.2.10".parse().unwrap()],
        mail_exchangers: vec![host("mx1.mail.hiendien.test", "192.0.2.25")],
        mail_address: "192.0.2.25".parse().unwrap(),
        outbound_addresses: vec![
            "192.0.2.25".parse().unwrap(),
            "2001:db8::25".parse().unwrap(),
        ],
        abuse_url: "https://hiendien.test/bao-cao".to_owned(),
    }
}

fn zone(stage: ZoneStage, platform: &Platform) -> ZoneSpec {
    let issuers = [
        CaaIssuer {
            domain: "first-ca.test".to_owned(),
            account_uri: Some("https://first-ca.test/acct/1".to_owned()),
        },
        CaaIssuer {
            domain: "fallback-ca.test".to_owned(),
            account_uri: None,
        },
    ];
    let dkim = [DkimRecord {
        selector: "k2611e".to_owned(),
        text: "v=DKIM1; k=ed25519; p=sample".to_owned(),
    }];
    let inputs = ZoneInputs {
        apex: &name("mau-quan-pho.biz.vn"),
        issuers: &issuers,
        dkim: &dkim,
        stage,
    };
    presence_zone(inputs, platform)
}

fn owners(zone: &ZoneSpec, kind: RecordKind) -> Vec<&str> {
    let of_kind = zone
        .rrsets
        .iter()
        .filter(|rrset| rrset.records[0].kind() == kind);
    of_kind.map(|rrset| rrset.owner.as_str()).collect()
}

#[test]
fn a_zone_is_well_formed() {
    let platform = platform();
    for zone in [
        zone(ZoneStage::BeforeCertificate, &platform),
        zone(ZoneStage::Complete, &platform),
        platform_zone(&platform, "1"),
    ] {
        let mut seen = BTreeSet::new();
        for rrset in &zone.rrsets {
            let kinds: BTreeSet<_> = rrset.records.iter().map(RecordData::kind).collect();
            assert_eq!(kinds.len(), 1, "{rrset:?}");
            let kind = rrset.records[0].kind();
            assert!(rrset.owner.is_at_or_below(&zone.apex), "{rrset:?}");
            assert!(seen.insert((&rrset.owner, kind)), "twice: {rrset:?}");
            let distinct: BTreeSet<_> = rrset.records.iter().collect();
            assert_eq!(distinct.len(), rrset.records.len(), "{rrset:?}");
        }
        // A CNAME stands alone (RFC 1034, 3.6.2).
        for owner in owners(&zone, RecordKind::Cname) {
            let beside = zone
                .rrsets
                .iter()
                .filter(|rrset| rrset.owner.as_str() == owner);
            assert_eq!(beside.count(), 1, "{owner}");
        }
    }
}

#[test]
fn what_promises_https_waits_for_the_certificate() {
    let platform = platform();
    let before = zone(ZoneStage::BeforeCertificate, &platform);
    let complete = zone(ZoneStage::Complete, &platform);
    assert!(owners(&before, RecordKind::Https).is_empty());
    assert!(!owners(&before, RecordKind::Cname).contains(&"_mta-sts.mau-quan-pho.biz.vn"));
    assert_eq!(
        owners(&complete, RecordKind::Https),
        ["mau-quan-pho.biz.vn"]
    );
    assert!(owners(&complete, RecordKind::Cname).contains(&"_mta-sts.mau-quan-pho.biz.vn"));
}

#[test]
fn every_service_name_has_an_address_or_points_at_one() {
    let zone = zone(ZoneStage::BeforeCertificate, &platform());
    for service in service_names(&zone.apex) {
        let found = zone.rrsets.iter().any(|rrset| {
            rrset.owner == service
                && matches!(rrset.records[0].kind(), RecordKind::A | RecordKind::Cname)
        });
        assert!(found, "{service}");
    }
}

#[test]
fn the_platform_zone_has_the_names_that_zones_point_at() {
    let platform = platform();
    let own = platform_zone(&platform, "1");
    let held: BTreeSet<_> = own.rrsets.iter().map(|rrset| &rrset.owner).collect();
    for rrset in zone(ZoneStage::Complete, &platform).rrsets {
        for data in rrset.records {
            let target = match data {
                RecordData::Cname { target } | RecordData::Ns { target } => Some(target),
                RecordData::Mx { exchange, .. } => Some(exchange),
                RecordData::Srv { target, .. } => target,
                _ => None,
            };
            let Some(target) = target else { continue };
            if target.is_at_or_below(&platform.apex) {
                assert!(held.contains(&target), "nothing is at {target}");
            }
        }
    }
}

#[test]
fn the_brake_lets_a_zone_grow_and_holds_what_would_hurt() {
    let platform = platform();
    let before = zone(ZoneStage::BeforeCertificate, &platform);
    let complete = zone(ZoneStage::Complete, &platform);
    assert_eq!(guard(&before, &complete), Ok(()));
    assert_eq!(guard(&complete, &before), Ok(()));
    assert_eq!(guard(&complete, &complete), Ok(()));

    let mut emptied = complete.clone();
    emptied
        .rrsets
        .retain(|rrset| rrset.records[0].kind() != RecordKind::Srv);
    assert_eq!(guard(&complete, &emptied), Ok(()), "6 of 27 records go");
    emptied
        .rrsets
        .retain(|rrset| rrset.records[0].kind() != RecordKind::Txt);
    let refused = guard(&complete, &emptied).unwrap_err();
    assert!(
        matches!(refused, BrakeError::TooMuch { removed: 10, .. }),
        "{refused}"
    );

    let mut moved = platform.clone();
    moved.name_servers[1].name = name("ns3.elsewhere.test");
    let refused = guard(&complete, &zone(ZoneStage::Complete, &moved)).unwrap_err();
    assert_eq!(refused, BrakeError::NameServers(complete.apex.clone()));

    let mut added = platform.clone();
    added.name_servers.push(moved.name_servers[1].clone());
    assert_eq!(guard(&complete, &zone(ZoneStage::Complete, &added)), Ok(()));

    // A small zone may change freely, its name servers aside.
    let mut small = complete.clone();
    small
        .rrsets
        .retain(|rrset| matches!(rrset.records[0].kind(), RecordKind::Ns | RecordKind::Https));
    let mut smaller = small.clone();
    smaller
        .rrsets
        .retain(|rrset| rrset.records[0].kind() == RecordKind::Ns);
    assert_eq!(guard(&small, &smaller), Ok(()));
}
