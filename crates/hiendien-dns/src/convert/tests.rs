use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::BinEncodable as _;
use proptest::prelude::*;

use super::*;

fn domain_names() -> impl Strategy<Value = DomainName> {
    let label = "_?[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
    proptest::collection::vec(label, 1..6).prop_map(|labels| labels.join(".").parse().unwrap())
}

fn data() -> impl Strategy<Value = RecordData> {
    let tags = prop_oneof![
        Just(CaaTag::Issue),
        Just(CaaTag::IssueWild),
        Just(CaaTag::IssueMail),
        Just(CaaTag::Iodef),
    ];
    prop_oneof![
        any::<u32>().prop_map(|bits| RecordData::A {
            address: Ipv4Addr::from(bits)
        }),
        any::<u128>().prop_map(|bits| RecordData::Aaaa {
            address: Ipv6Addr::from(bits)
        }),
        domain_names().prop_map(|target| RecordData::Cname { target }),
        domain_names().prop_map(|target| RecordData::Ns { target }),
        (any::<u16>(), domain_names()).prop_map(|(preference, exchange)| RecordData::Mx {
            preference,
            exchange
        }),
        // Characters of several octets must survive being cut at octet 255.
        "[ -~ăđểởữ]{0,400}".prop_map(|text| RecordData::Txt { text }),
        (
            any::<u16>(),
            any::<u16>(),
            any::<u16>(),
            proptest::option::of(domain_names())
        )
            .prop_map(|(priority, weight, port, target)| RecordData::Srv {
                priority,
                weight,
                port,
                target
            }),
        (tags, "[ -~]{1,200}").prop_map(|(tag, value)| RecordData::Caa { tag, value }),
        (1u16.., proptest::collection::vec("[a-z0-9/.]{1,10}", 0..4))
            .prop_map(|(priority, alpn)| RecordData::Https { priority, alpn }),
    ]
}

proptest! {
    #[test]
    fn records_survive_the_wire(owner in domain_names(), ttl_secs in 0u32..=0x7fff_ffff, data in data()) {
        let rrset = Rrset { owner, ttl_secs, records: vec![data] };
        let mut message = Message::query();
        message.add_answers(records(&rrset).unwrap());
        let read = Message::from_vec(&message.to_bytes().unwrap()).unwrap();
        let [record] = read.answers.as_slice() else { panic!("one record went in: {read:?}") };
        prop_assert_eq!(domain(&record.name), Some(rrset.owner));
        prop_assert_eq!(record.ttl, rrset.ttl_secs);
        prop_assert_eq!(record_data(&record.data), rrset.records.into_iter().next());
    }
}
