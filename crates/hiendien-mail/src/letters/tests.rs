use std::fmt::Write as _;

use hiendien_domain::ids::{ClaimId, PresenceId};
use hiendien_domain::lifecycle::{PresenceState, Programme, Standing};
use hiendien_engine::presence::{Life, PresencePlan};

use super::*;

fn platform() -> Arc<Platform> {
    Arc::new(Platform {
        apex: "hiendien.test".parse().unwrap(),
        name_servers: Vec::new(),
        edge_addresses: Vec::new(),
        mail_exchangers: Vec::new(),
        mail_address: "192.0.2.25".parse().unwrap(),
        outbound_addresses: Vec::new(),
        abuse_url: "https://hiendien.test/bao-cao".to_owned(),
    })
}

/// A presence that holds what no letter may tell: a telephone number, an address, a tax code.
fn presence() -> Presence {
    let content = serde_json::json!({
        "kind": "business",
        "site": {
            "host": "quan-pho-mau.biz.vn", "host_unicode": "quan-pho-mau.biz.vn",
            "email": "lienhe@quan-pho-mau.biz.vn", "abuse_url": "https://hiendien.test/bao-cao",
            "since": "2026-01-01",
        },
        "trade_name": "Quán Phở Mẫu", "about": "Phở mẫu.", "industry": null,
        "phone": { "e164": "+84710000001", "display": "0710 000 001" },
        "address": { "line": "1 Phố Mẫu", "ward": null, "province": "Lào Cai" },
        "hours": [], "products": [], "links": [], "geo": null, "bank": null,
        "legal": {
            "legal_name": "Hộ kinh doanh Phở Mẫu", "subject": "Hộ kinh doanh", "tax_id": "8000000001",
            "registration_no": null, "registered_on": null, "registered_by": null, "representative": null,
        },
    });
    let created_at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Presence {
        id: PresenceId::new(),
        claim: ClaimId::new(),
        registrar: "nha-dang-ky-mau".to_owned(),
        reference: "HS-2026-0001".to_owned(),
        standing: Standing::Serving,
        state: PresenceState::Live,
        created_at,
        live_at: Some(created_at),
        plan: PresencePlan {
            name: "quan-pho-mau.biz.vn".parse().unwrap(),
            programme: Programme::Biz,
            owner_name: "Nguyễn Thị Mẫu <Phở & Bún>".to_owned(),
            contact_email: "chu-quan@example.com".parse().unwrap(),
            mailboxes: vec!["lienhe".parse().unwrap()],
            template: "storefront".to_owned(),
            content: serde_json::from_value(content).unwrap(),
        },
        revision: None,
        planes: Vec::new(),
        operation: OperationId::new(),
        life: Life::default(),
    }
}

fn notices() -> Vec<(&'static str, Notice)> {
    // 00:30 of the next day in Vietnam.
    let at: Timestamp = "2027-02-28T17:30:00Z".parse().unwrap();
    let links = |address: &str| {
        let address: MailAddress = address.parse().unwrap();
        let url = "https://hiendien.test/mat-khau/mau?a=1&b=2".to_owned();
        (address, url)
    };
    let password_links = Notice::PasswordLinks {
        password_urls: vec![
            links("lienhe@quan-pho-mau.biz.vn"),
            links("ban-hang@quan-pho-mau.biz.vn"),
        ],
        links_expire_at: at,
    };
    let reason = "Bị khiếu nại về nhãn hiệu.\n\nhttps://example.com/lừa-đảo".to_owned();
    vec![
        ("password-links", password_links),
        ("term-ends", Notice::TermEnds { at }),
        ("term-ended", Notice::TermEnded { renew_until: at }),
        ("suspended", Notice::Suspended { reason }),
        ("resumed", Notice::Resumed),
        ("renewed", Notice::Renewed { until: Some(at) }),
        ("renewed-without-end", Notice::Renewed { until: None }),
        ("transferred", Notice::Transferred),
        ("released", Notice::Released { erased_at: at }),
        ("dossier-due", Notice::DossierDue { by: at }),
        ("dormant", Notice::Dormant),
    ]
}

#[test]
fn the_words_of_every_notice() {
    let letters = OwnerLetters {
        platform: platform(),
    };
    let presence = presence();
    let mut all = String::new();
    for (id, notice) in notices() {
        let letter = letters.notice(&presence, id, &notice);
        assert_eq!(letter.id, id);
        assert_eq!(letter.to, presence.plan.contact_email);
        let (subject, text) = (&letter.subject, &letter.text);
        writeln!(all, "=== {id}\n{subject}\n\n{text}").unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_notice_tells_nothing_that_is_not_its_matter() {
    let letters = OwnerLetters {
        platform: platform(),
    };
    let presence = presence();
    for (id, notice) in notices() {
        let letter = letters.notice(&presence, id, &notice);
        let html = letter.html.unwrap();
        for text in [&letter.subject, &letter.text, &html] {
            for secret in [
                "0710",
                "1 Phố Mẫu",
                "8000000001",
                "HS-2026-0001",
                "example.com",
            ] {
                let told = text.contains(secret) && !(id == "suspended" && secret == "example.com");
                assert!(!told, "{id} tells {secret}");
            }
            // Nothing is left to fill in, and nothing was indented by the source.
            assert!(!text.contains(['{', '}']), "{id}: {text}");
            assert!(!text.contains("  "), "{id}: {text}");
        }
        assert!(!letter.subject.contains('\n'));
        assert!(html.contains("Nguyễn Thị Mẫu &lt;Phở &amp; Bún&gt;"));
        // What somebody else wrote is no link.
        assert!(!html.contains("href=\"https://example.com"), "{html}");
    }
}
