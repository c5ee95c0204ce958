//! A small world for the standard runs of every verb: the real store, and in place of remote servers
//! what they would know, in memory. Its probes ask what is served (the store's rows as the DNS server
//! and the edge read them, the memory of the mail servers), never what the engine believes.
//!
//! The real servers are asked by `tests/it/faults.rs`, where each fault happens once to each step, by the other tests
//! and by the chaos run; here every step is cut at every place, which real servers would make a matter of hours.

mod servers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hiendien_domain::ids::PresenceId;
use hiendien_domain::platform::Platform;
use hiendien_domain::records::service_names;
use hiendien_domain::term::TermRules;
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    CertificateVault, KeepRules, PortError, Serving, SiteStore, ZoneSource,
};
use hiendien_engine::presence::Presence;
use hiendien_engine::step::{Ports, StepSettings};
use hiendien_engine::store::Directory;
use hiendien_store::picture_files::PicturePlace;
use hiendien_store::revisions::Revisions;
use hiendien_store::{Place, Store, StoreSettings};
use jiff::Timestamp;
use serde_json::{Value, json};

use servers::{Builder, Eyes, Writer};
pub use servers::{Ca, Mail, Post};

/// The machine's clock, moved ahead by hand.
#[derive(Debug, Clone, Default)]
pub struct MovedClock(Arc<AtomicI64>);

impl MovedClock {
    pub fn forward(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let ahead = self.0.load(Ordering::SeqCst);
        let now = Timestamp::now() + jiff::SignedDuration::from_millis(ahead);
        // As the store keeps it.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap()
    }
}

/// All there is.
#[derive(Debug, Clone)]
pub struct World {
    pub store: Arc<Store>,
    pub clock: MovedClock,
    pub ca: Arc<Ca>,
    pub mail: Arc<Mail>,
    pub post: Arc<Post>,
    pub revisions: Arc<Revisions>,
    pub picture_files: Arc<PicturePlace>,
    pub ports: Arc<Ports>,
}

/// The platform of the world.
pub fn platform() -> Platform {
    toml::from_str(
        r#"
        apex = "hiendien.test"
        name_servers = [
            { name = "ns1.hiendien.test", addresses = ["127.0.0.1"] },
            { name = "ns2.hiendien.test", addresses = ["127.0.0.2"] },
        ]
        edge_addresses = ["127.0.0.3"]
        mail_exchangers = [{ name = "mx1.mail.hiendien.test", addresses = ["127.0.0.4"] }]
        mail_address = "127.0.0.4"
        outbound_addresses = ["127.0.0.4"]
        abuse_url = "https://hiendien.test/bao-cao/"
        "#,
    )
    .unwrap()
}

impl World {
    /// A world whose store is kept at `place` and whose files lie in `folder`.
    pub async fn at(place: Place, folder: &Path) -> Self {
        let clock = MovedClock::default();
        let settings = StoreSettings {
            place,
            seal_key: folder.join("seal.key"),
        };
        let of_store: Arc<dyn Clock> = Arc::new(clock.clone());
        let opened = tokio::task::spawn_blocking(move || Store::open(&settings, of_store));
        let store = Arc::new(opened.await.unwrap().unwrap());
        Self::on(store, clock, folder)
    }

    /// A world on a store that is open already, with the clock it was opened with. Its remote servers are new.
    pub fn on(store: Arc<Store>, clock: MovedClock, folder: &Path) -> Self {
        let revisions = Arc::new(Revisions::in_folder(&folder.join("revisions")).unwrap());
        let picture_files = Arc::new(PicturePlace::in_folder(&folder.join("pictures")).unwrap());
        let ca = Arc::new(Ca::new(Arc::clone(&store), clock.clone()));
        let (mail, post) = (Arc::new(Mail::default()), Arc::new(Post::default()));
        let eyes = Eyes {
            store: Arc::clone(&store),
            mail: Arc::clone(&mail),
            revisions: Arc::clone(&revisions),
        };
        let ports = Arc::new(Ports {
            platform: Arc::new(platform()),
            settings: StepSettings {
                mailbox_quota_bytes: 1 << 30,
                password_url: "https://hiendien.test/mat-khau/".to_owned(),
                password_link_for: Duration::from_hours(14 * 24),
                term: TermRules::default(),
                revisions: KeepRules::default(),
            },
            clock: Arc::new(clock.clone()),
            zones: store.clone(),
            delegations: store.clone(),
            certificates: ca.clone(),
            builder: Arc::new(Builder),
            sites: revisions.clone(),
            shelf: revisions.clone(),
            pictures: store.clone(),
            picture_files: picture_files.clone(),
            publications: store.clone(),
            lifecycle: store.clone(),
            mailboxes: mail.clone(),
            password_links: store.clone(),
            messages: post.clone(),
            letters: Arc::new(Writer),
            probes: Arc::new(eyes),
        });
        Self {
            store,
            clock,
            ca,
            mail,
            post,
            revisions,
            picture_files,
            ports,
        }
    }

    pub async fn presence(&self, id: PresenceId) -> Presence {
        self.store.presence(id).await.unwrap().unwrap()
    }

    /// All that is there of a presence, at every server, without moments and identifiers: equal
    /// ways to the same end give equal pictures.
    pub async fn picture(&self, id: PresenceId) -> Value {
        let presence = self.presence(id).await;
        let name = presence.plan.name.clone();
        let (store, apex) = (Arc::clone(&self.store), name.clone());
        let dns = tokio::task::spawn_blocking(move || {
            let zone = store.zone(&apex).unwrap();
            let delegation = store.delegation(&apex).unwrap();
            (zone, delegation)
        });
        let (zone, delegation) = dns.await.unwrap();
        let zone =
            zone.map(|zone| json!({ "rrsets": zone.spec.rrsets, "challenges": zone.challenges }));
        let mut hosts = BTreeMap::new();
        for host in service_names(&name) {
            let site = self.store.site(&host).await.unwrap();
            let certificate = Serving::certificate(&*self.store, &host).await.unwrap();
            let shown = site.map(|site| {
                let is_newest = site.revision.is_some() && site.revision == presence.revision;
                json!({ "role": site.role, "is_newest": is_newest, "service": site.service })
            });
            hosts.insert(
                host.to_string(),
                json!({ "site": shown, "certificate": certificate.is_some() }),
            );
        }
        let certificates = self.store.certificates(id).await.unwrap().len();
        let order = self.store.order(id).await.unwrap().is_some();
        let revisions = self.revisions.revisions(id).await.unwrap().len();
        let planes: BTreeMap<String, String> = presence
            .planes
            .iter()
            .map(|plane| (plane.plane.to_string(), plane.state.to_string()))
            .collect();
        let picture = json!({
            "standing": presence.standing,
            "state": presence.state,
            "planes": planes,
            "registrar": presence.registrar,
            "owner": presence.plan.owner_name,
            "contact": presence.plan.contact_email,
            "mailboxes": presence.plan.mailboxes,
            "template": presence.plan.template,
            "content": presence.plan.content,
            "zone": zone,
            "delegation": delegation.map(|delegation| delegation.name_servers),
            "hosts": hosts,
            "certificates": certificates,
            "order": order,
            "revisions": revisions,
            "mail": self.mail.picture(id),
        });
        // Equal but for their names: each has its own.
        let label = name.as_str().split('.').next().unwrap();
        serde_json::from_str(&picture.to_string().replace(label, "NAME")).unwrap()
    }

    /// What was done at the CA, and which letters were sent, each counted once however often it was tried.
    pub fn deeds(&self, name: &str) -> Value {
        let deeds = json!({ "orders": self.ca.orders(), "letters": self.post.letters() });
        let label = name.split('.').next().unwrap();
        serde_json::from_str(&deeds.to_string().replace(label, "NAME")).unwrap()
    }
}

/// Locks what a test that failed may have poisoned.
pub fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a server of this world answers that does not do what it was asked.
pub(crate) fn not_so(action: &str, found: impl Into<String>) -> PortError {
    PortError::transient(action, found.into())
}
