//! The contract of the places where revisions are kept, told through the ports. It runs on a folder
//! and on a bucket alike.

#![expect(
    clippy::unwrap_used,
    reason = "a conformance suite fails where it is let down"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::site::{BlobHash, FileTree, RevisionHash, SiteFile};
use hiendien_engine::ports::{
    Damage, DamageFault, KeepRules, Keeping, Origin, RevisionPart, RevisionShelf, SiteStore, Tidied,
};
use hiendien_store::revisions::Revisions;
use jiff::{SignedDuration, Timestamp};

use crate::world::locked;

/// A place, and a way past the ports to what lies in it.
#[async_trait]
pub trait Bed: Send + Sync {
    /// The same place, as another process sees it.
    fn revisions(&self) -> Revisions;

    /// The names of all pieces of a presence that are kept for good.
    async fn pieces(&self, presence: PresenceId) -> Vec<String>;

    async fn read(&self, presence: PresenceId, piece: &str) -> Vec<u8>;

    async fn write(&self, presence: PresenceId, piece: &str, octets: Vec<u8>);
}

const DAY: Duration = Duration::from_hours(24);

fn file(text: &str) -> SiteFile {
    SiteFile {
        media_type: "text/html; charset=utf-8".to_owned(),
        identity: text.as_bytes().to_vec(),
        gzip: None,
        brotli: Some(format!("nén {text}").into_bytes()),
    }
}

fn tree(files: &[(&str, &str)]) -> FileTree {
    let mut tree = FileTree::default();
    for (path, text) in files {
        tree.insert(path, file(text)).unwrap();
    }
    tree
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn built_at(built_at: Timestamp) -> Origin {
    Origin {
        built_at,
        template: "storefront".to_owned(),
        operation: OperationId::new(),
        content: r#"{"name":"Quán mẫu"}"#.into(),
    }
}

fn keeping(now: Timestamp, named: &[&RevisionHash]) -> Keeping {
    Keeping {
        rules: KeepRules::default(),
        named: named.iter().copied().cloned().collect(),
        now,
    }
}

async fn put(revisions: &Revisions, presence: PresenceId, tree: &FileTree) -> RevisionHash {
    let origin = built_at(minute(0));
    let put = revisions.put_revision(presence, tree, &origin).await;
    put.unwrap()
}

async fn is_whole(
    revisions: &Revisions,
    presence: PresenceId,
    revision: &RevisionHash,
    tree: &FileTree,
) {
    for (path, file) in tree.iter() {
        let found = revisions.file(presence, revision, path).await.unwrap();
        assert_eq!(found.as_ref(), Some(file), "{path}");
    }
    assert_eq!(revisions.damage(presence, revision).await.unwrap(), []);
}

fn blobs(pieces: &[String]) -> Vec<&String> {
    let blobs = pieces.iter();
    blobs.filter(|piece| piece.starts_with("blobs/")).collect()
}

pub async fn what_is_put_is_read_as_it_was(bed: &dyn Bed) {
    let (writer, reader) = (bed.revisions(), bed.revisions());
    let presence = PresenceId::new();
    let wanted = tree(&[("index.html", "trang chủ"), ("a/b/index.html", "")]);
    let origin = built_at(minute(3));
    for _ in 0..2 {
        let put = writer.put_revision(presence, &wanted, &origin).await;
        assert_eq!(put.unwrap(), wanted.revision());
    }
    let revision = wanted.revision();
    assert_eq!(
        reader.revisions(presence).await.unwrap(),
        std::slice::from_ref(&revision)
    );
    is_whole(&reader, presence, &revision, &wanted).await;
    let none = reader.file(presence, &revision, "../index.html").await;
    assert_eq!(none.unwrap(), None);

    let told = reader.revision(presence, &revision).await.unwrap().unwrap();
    assert_eq!(told.hash, revision);
    assert_eq!(told.built_at, origin.built_at);
    assert_eq!(told.template.as_ref(), Some(&origin.template));
    assert_eq!(told.operation, Some(origin.operation));
    assert_eq!(told.bytes(), wanted.identity_bytes());
    let front = &told.files["index.html"].identity;
    assert_eq!(front.sha256, BlobHash::of("trang chủ".as_bytes()));
    let content = reader.content(presence, &revision).await.unwrap();
    assert_eq!(content, Some(origin.content));

    // Of others there is nothing.
    let other = PresenceId::new();
    assert_eq!(reader.revisions(other).await.unwrap(), []);
    assert!(reader.file(other, &revision, "index.html").await.is_err());
    assert!(reader.revision(other, &revision).await.unwrap().is_none());
    assert!(!reader.keep(other, &revision, minute(4)).await.unwrap());
    let unknown = tree(&[("index.html", "khác")]).revision();
    let read = reader.file(presence, &unknown, "index.html").await;
    assert!(read.is_err(), "{read:?}");
    let damage = reader.damage(presence, &unknown).await.unwrap();
    let lost = Damage {
        path: String::new(),
        part: RevisionPart::Manifest,
        fault: DamageFault::Missing,
    };
    assert_eq!(damage, [lost]);
}

pub async fn every_sequence_of_octets_is_kept_once_in_a_presence(bed: &dyn Bed) {
    let revisions = bed.revisions();
    let (one, other) = (PresenceId::new(), PresenceId::new());
    let before = tree(&[
        ("index.html", "một"),
        ("style.css", "a{}"),
        ("b.css", "a{}"),
    ]);
    let after = tree(&[
        ("index.html", "hai"),
        ("style.css", "a{}"),
        ("b.css", "a{}"),
    ]);
    put(&revisions, one, &before).await;
    // Two files in two forms each, and the content; the same file twice is kept once.
    assert_eq!(blobs(&bed.pieces(one).await).len(), 5);
    put(&revisions, one, &after).await;
    assert_eq!(blobs(&bed.pieces(one).await).len(), 7);
    assert_eq!(revisions.revisions(one).await.unwrap().len(), 2);
    // Not across presences.
    put(&revisions, other, &before).await;
    assert_eq!(blobs(&bed.pieces(other).await).len(), 5);

    revisions.remove_revisions(one).await.unwrap();
    assert_eq!(bed.pieces(one).await, Vec::<String>::new());
    assert_eq!(revisions.revisions(one).await.unwrap(), []);
    let read = revisions.file(one, &after.revision(), "index.html").await;
    assert!(read.is_err(), "{read:?}");
    is_whole(&revisions, other, &before.revision(), &before).await;
    revisions.remove_revisions(one).await.unwrap();
    // Its place may be used again.
    put(&revisions, one, &after).await;
    is_whole(&revisions, one, &after.revision(), &after).await;
}

pub async fn damage_is_found_never_handed_out_and_mended_by_the_next_build(bed: &dyn Bed) {
    let revisions = bed.revisions();
    let presence = PresenceId::new();
    let wanted = tree(&[("index.html", "trang chủ"), ("style.css", "a{}")]);
    let revision = put(&revisions, presence, &wanted).await;
    let damaged = |path: &str, part, fault| Damage {
        path: path.to_owned(),
        part,
        fault,
    };

    // One bit.
    let page = format!("blobs/{}", BlobHash::of("trang chủ".as_bytes()));
    let mut octets = bed.read(presence, &page).await;
    octets[3] ^= 1;
    bed.write(presence, &page, octets).await;
    let style = format!("blobs/{}", BlobHash::of("nén a{}".as_bytes()));
    bed.write(presence, &style, b"longer than before".to_vec())
        .await;
    let read = revisions.file(presence, &revision, "index.html").await;
    assert!(read.is_err(), "{read:?}");
    let read = revisions.file(presence, &revision, "style.css").await;
    let read = read.unwrap().unwrap();
    assert_eq!((read.identity, read.brotli), (b"a{}".to_vec(), None));
    assert_eq!(
        revisions.damage(presence, &revision).await.unwrap(),
        [
            damaged("index.html", RevisionPart::Identity, DamageFault::Changed),
            damaged("style.css", RevisionPart::Brotli, DamageFault::Changed),
        ]
    );
    put(&revisions, presence, &wanted).await;
    is_whole(&revisions, presence, &revision, &wanted).await;

    // The manifest: what it says of a file is held to the name of the whole.
    let manifest = format!("revisions/{revision}.json");
    let json = String::from_utf8(bed.read(presence, &manifest).await).unwrap();
    for (told, fault) in [
        (json.replace("text/html", "text/htm1"), DamageFault::Changed),
        (json[..json.len() / 2].to_owned(), DamageFault::Changed),
    ] {
        bed.write(presence, &manifest, told.into_bytes()).await;
        let found = revisions.damage(presence, &revision).await.unwrap();
        assert_eq!(found, [damaged("", RevisionPart::Manifest, fault)]);
        put(&revisions, presence, &wanted).await;
        is_whole(&revisions, presence, &revision, &wanted).await;
    }
}

pub async fn what_is_over_is_taken_away_and_nothing_else(bed: &dyn Bed) {
    let revisions = bed.revisions();
    let presence = PresenceId::new();
    let mut all = Vec::new();
    for day in 0..14_u32 {
        let tree = tree(&[("index.html", &format!("ngày {day}")), ("style.css", "a{}")]);
        let at = minute(0) + SignedDuration::try_from(DAY * day).unwrap();
        let put = revisions.put_revision(presence, &tree, &built_at(at)).await;
        all.push((put.unwrap(), tree));
    }
    let now = |days: u32| minute(0) + SignedDuration::try_from(DAY * days).unwrap();
    let tidy = async |now: Timestamp| {
        let served = &all[1].0;
        let tidied = revisions.tidy(presence, &keeping(now, &[served])).await;
        tidied.unwrap()
    };
    let is_kept = async || {
        let kept = revisions.revisions(presence).await.unwrap();
        let kept = all.iter().map(|(revision, _)| kept.contains(revision));
        kept.collect::<Vec<bool>>()
    };
    // All are younger than 30 days.
    assert_eq!(tidy(now(14)).await, Tidied::default());
    assert_eq!(is_kept().await, [true; 14]);
    // Of the four oldest, three are old enough, and one of these is served.
    assert_eq!(tidy(now(32)).await.revisions, 2);
    let gone = [true, false, true];
    let kept = is_kept().await;
    assert_eq!(kept[..3], gone.map(|gone| !gone));
    assert_eq!(kept[3..], [true; 11]);
    // What only they named stays for the time of grace.
    let before = bed.pieces(presence).await;
    let tidied = tidy(now(32)).await;
    assert_eq!(tidied, Tidied::default());
    let left = tidy(now(33)).await;
    // A page in two forms each.
    assert_eq!(
        left,
        Tidied {
            revisions: 1,
            blobs: 4
        }
    );
    let after = bed.pieces(presence).await;
    assert_eq!(blobs(&before).len() - blobs(&after).len(), 4);
    // Of what is left, all is whole, and the youngest ten and the served one stay for ever.
    assert_eq!(tidy(now(400)).await.blobs, 2);
    let kept = is_kept().await;
    for ((revision, tree), kept) in all.iter().zip(kept) {
        if kept {
            is_whole(&revisions, presence, revision, tree).await;
        }
    }
    assert_eq!(revisions.revisions(presence).await.unwrap().len(), 11);

    // Kept anew, it is as young as a new one.
    assert!(revisions.keep(presence, &all[1].0, now(400)).await.unwrap());
    let tidied = revisions.tidy(presence, &keeping(now(401), &[])).await;
    // It is among the ten youngest now, so the eleventh is over.
    assert_eq!(tidied.unwrap().revisions, 1);
    let kept = revisions.revisions(presence).await.unwrap();
    assert!(kept.contains(&all[1].0) && !kept.contains(&all[4].0));
}

pub async fn octets_that_are_named_again_in_the_time_of_grace_stay(bed: &dyn Bed) {
    let revisions = bed.revisions();
    let presence = PresenceId::new();
    let first = tree(&[("index.html", "một")]);
    let second = tree(&[("index.html", "hai")]);
    let rules = KeepRules {
        last: 1,
        younger_than: DAY,
        grace: DAY,
    };
    let tidy = async |at: i64, served: &RevisionHash| {
        let keeping = Keeping {
            rules: rules.clone(),
            named: vec![served.clone()],
            now: minute(at * 60),
        };
        revisions.tidy(presence, &keeping).await.unwrap()
    };
    put(&revisions, presence, &first).await;
    let later = built_at(minute(60));
    let served = revisions.put_revision(presence, &second, &later).await;
    let served = served.unwrap();
    assert_eq!(tidy(40, &served).await.revisions, 1);
    assert_eq!(tidy(50, &served).await, Tidied::default());
    // It comes back before its octets are gone, and goes again: grace begins anew.
    let again = built_at(minute(55 * 60));
    let put = revisions.put_revision(presence, &first, &again).await;
    assert_eq!(put.unwrap(), first.revision());
    assert_eq!(tidy(65, &served).await, Tidied::default());
    is_whole(&revisions, presence, &first.revision(), &first).await;
    is_whole(&revisions, presence, &served, &second).await;
}

/// Builds and rounds that take away run against one another, on handles of their own as in many
/// processes. The served revision is whole at every moment.
pub async fn nothing_that_is_served_is_lost_while_all_work_at_once(bed: Arc<dyn Bed>, builds: i64) {
    const TREES: i64 = 4;
    let presence = PresenceId::new();
    let clock = Arc::new(AtomicI64::new(0));
    let served: Arc<Mutex<Option<RevisionHash>>> = Arc::default();
    let ended = Arc::new(AtomicBool::new(false));
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let (revisions, clock) = (bed.revisions(), Arc::clone(&clock));
        let (served, ended) = (Arc::clone(&served), Arc::clone(&ended));
        rounds.push(tokio::spawn(async move {
            let mut taken = Tidied::default();
            while !ended.load(Ordering::SeqCst) {
                let keeping = Keeping {
                    // A build takes a minute by this clock, and what a round has seen as served can be
                    // so much older than it.
                    rules: KeepRules {
                        last: 1,
                        younger_than: Duration::from_mins(2),
                        grace: Duration::from_mins(1),
                    },
                    now: minute(clock.load(Ordering::SeqCst)),
                    named: locked(&served).iter().cloned().collect(),
                };
                let tidied = revisions.tidy(presence, &keeping).await.unwrap();
                taken.revisions += tidied.revisions;
                taken.blobs += tidied.blobs;
                // Builders must have their turn.
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            taken
        }));
    }
    let revisions = bed.revisions();
    for build in 0..builds {
        let now = clock.fetch_add(1, Ordering::SeqCst) + 1;
        // Those that are over come back again and again.
        let number = (build * 7 / 3) % TREES;
        let tree = tree(&[
            ("index.html", &format!("bản {number}")),
            ("style.css", &format!("a{{order:{}}}", number / 2)),
            ("logo.svg", "<svg/>"),
        ]);
        let origin = built_at(minute(now));
        let put = revisions.put_revision(presence, &tree, &origin).await;
        let revision = put.unwrap();
        *locked(&served) = Some(revision.clone());
        is_whole(&revisions, presence, &revision, &tree).await;
    }
    ended.store(true, Ordering::SeqCst);
    let mut taken = Tidied::default();
    for round in rounds {
        let round = round.await.unwrap();
        taken.revisions += round.revisions;
        taken.blobs += round.blobs;
    }
    assert!(taken.revisions > 0 && taken.blobs > 0, "{taken:?}");
    let served = locked(&served).clone().unwrap();
    assert_eq!(revisions.damage(presence, &served).await.unwrap(), []);
}

pub async fn many_who_build_at_once_do_not_hinder_one_another(bed: &dyn Bed) {
    let presence = PresenceId::new();
    let builds = (0..4).map(|number| {
        let revisions = bed.revisions();
        async move {
            let text = format!("bản {}", number / 2);
            let tree = tree(&[("index.html", &text), ("style.css", "a{}")]);
            let revision = put(&revisions, presence, &tree).await;
            (revision, tree)
        }
    });
    let built = futures_util::future::join_all(builds).await;
    let distinct: BTreeSet<_> = built.iter().map(|(revision, _)| revision.clone()).collect();
    let revisions = bed.revisions();
    let kept: BTreeSet<_> = revisions
        .revisions(presence)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(kept, distinct);
    for (revision, tree) in &built {
        is_whole(&revisions, presence, revision, tree).await;
    }
}

/// More than an S3 service tells in one answer.
pub async fn more_than_a_page_of_files_is_kept_listed_and_erased(bed: &dyn Bed) {
    const FILES: usize = 520;
    let revisions = bed.revisions();
    let presence = PresenceId::new();
    let mut wanted = FileTree::default();
    for number in 0..FILES {
        let path = format!("bai-viet/{number}/index.html");
        wanted
            .insert(&path, file(&format!("bài {number}")))
            .unwrap();
    }
    let revision = put(&revisions, presence, &wanted).await;
    assert_eq!(blobs(&bed.pieces(presence).await).len(), 2 * FILES + 1);
    // Another that names none of them, so that all are looked through.
    let other = tree(&[("index.html", "một trang")]);
    let later = built_at(minute(60));
    let put = revisions.put_revision(presence, &other, &later).await;
    let served = put.unwrap();
    assert_eq!(revisions.damage(presence, &revision).await.unwrap(), []);
    let mut keeping = keeping(minute(0), &[&served]);
    keeping.rules.last = 1;
    let mut taken = 0;
    for days in 40..60 {
        keeping.now = minute(days * 24 * 60);
        taken += revisions.tidy(presence, &keeping).await.unwrap().blobs;
    }
    assert_eq!(taken, 2 * FILES);
    is_whole(&revisions, presence, &served, &other).await;
    revisions.remove_revisions(presence).await.unwrap();
    assert_eq!(bed.pieces(presence).await, Vec::<String>::new());
}
