use std::fs;

use hiendien_domain::ids::OperationId;
use hiendien_engine::ports::KeepRules;

use super::*;

fn file(text: &str) -> SiteFile {
    SiteFile {
        media_type: "text/html; charset=utf-8".to_owned(),
        identity: text.as_bytes().to_vec(),
        gzip: None,
        brotli: Some(vec![1, 2, 3]),
    }
}

fn tree(files: &[(&str, &str)]) -> FileTree {
    let mut tree = FileTree::default();
    for (path, text) in files {
        tree.insert(path, file(text)).unwrap();
    }
    tree
}

fn origin() -> Origin {
    Origin {
        built_at: Timestamp::UNIX_EPOCH,
        template: "storefront".to_owned(),
        operation: OperationId::new(),
        content: b"{}".to_vec(),
    }
}

/// As the program before this one wrote it.
fn write_former(root: &Path, presence: PresenceId, tree: &FileTree) -> RevisionHash {
    let revision = tree.revision();
    let place = root.join(presence.to_string()).join(revision.as_str());
    fs::create_dir_all(place.join("files")).unwrap();
    let mut files = serde_json::Map::new();
    for (number, (path, file)) in tree.iter().enumerate() {
        let body = place.join("files").join(number.to_string());
        fs::write(&body, &file.identity).unwrap();
        if let Some(form) = &file.brotli {
            fs::write(body.with_extension("br"), form).unwrap();
        }
        let entry = serde_json::json!({
            "body": number.to_string(),
            "media_type": file.media_type,
            "gzip": false,
            "brotli": file.brotli.is_some(),
        });
        files.insert(path.to_owned(), entry);
    }
    let manifest = serde_json::json!({ "files": files }).to_string();
    fs::write(place.join("manifest.json"), manifest).unwrap();
    revision
}

fn keeping(now: Timestamp, named: &[RevisionHash]) -> Keeping {
    Keeping {
        rules: KeepRules::default(),
        named: named.to_vec(),
        now,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_the_program_before_wrote_is_served_and_brought_along() {
    let root = tempfile::tempdir().unwrap();
    let presence = PresenceId::new();
    let wanted = tree(&[("index.html", "trang chủ"), ("style.1a2b3c4d.css", "a{}")]);
    let revision = write_former(root.path(), presence, &wanted);
    let revisions = Revisions::in_folder(root.path()).unwrap();

    let is_whole = async |revisions: &Revisions| {
        assert_eq!(
            revisions.revisions(presence).await.unwrap(),
            std::slice::from_ref(&revision)
        );
        for (path, file) in wanted.iter() {
            let found = revisions.file(presence, &revision, path).await.unwrap();
            assert_eq!(found.as_ref(), Some(file), "{path}");
        }
        let none = revisions.file(presence, &revision, "none").await.unwrap();
        assert_eq!(none, None);
        assert_eq!(revisions.damage(presence, &revision).await.unwrap(), []);
        let told = revisions.revision(presence, &revision).await.unwrap();
        assert_eq!(told.unwrap().files.len(), 2);
    };
    is_whole(&revisions).await;
    let now = Timestamp::now();
    assert!(revisions.keep(presence, &revision, now).await.unwrap());

    let tidied = revisions.tidy(presence, &keeping(now, &[])).await.unwrap();
    assert_eq!(tidied, Tidied::default());
    let directory = root.path().join(presence.to_string());
    assert!(!directory.join(revision.as_str()).exists());
    assert_eq!(names(&directory), [".lock", "blobs", "revisions"]);
    is_whole(&revisions).await;
}

#[tokio::test]
async fn a_damaged_revision_of_the_former_format_stays_until_it_is_mended() {
    let root = tempfile::tempdir().unwrap();
    let presence = PresenceId::new();
    let wanted = tree(&[("index.html", "trang chủ")]);
    let revision = write_former(root.path(), presence, &wanted);
    let place = root.path().join(presence.to_string());
    fs::write(place.join(revision.as_str()).join("files/0"), "sai").unwrap();
    let revisions = Revisions::in_folder(root.path()).unwrap();
    assert_eq!(
        revisions.damage(presence, &revision).await.unwrap().len(),
        1
    );
    let now = Timestamp::now();
    revisions.tidy(presence, &keeping(now, &[])).await.unwrap();
    assert!(place.join(revision.as_str()).exists());
    revisions
        .put_revision(presence, &wanted, &origin())
        .await
        .unwrap();
    assert_eq!(revisions.damage(presence, &revision).await.unwrap(), []);
    revisions.tidy(presence, &keeping(now, &[])).await.unwrap();
    assert!(!place.join(revision.as_str()).exists());
}

#[tokio::test]
async fn what_a_crash_has_left_is_no_piece_and_goes_away() {
    let root = tempfile::tempdir().unwrap();
    let revisions = Revisions::in_folder(root.path()).unwrap();
    let presence = PresenceId::new();
    let kept = revisions
        .put_revision(presence, &tree(&[("index.html", "a")]), &origin())
        .await
        .unwrap();
    let directory = root.path().join(presence.to_string());
    for half in ["blobs/.new-half", "revisions/.new-half"] {
        fs::write(directory.join(half), "half").unwrap();
    }
    fs::create_dir_all(directory.join(".new-former/files")).unwrap();
    assert_eq!(
        revisions.revisions(presence).await.unwrap(),
        std::slice::from_ref(&kept)
    );
    revisions
        .tidy(presence, &keeping(Timestamp::now(), &[kept]))
        .await
        .unwrap();
    assert!(!directory.join(".new-former").exists());
    for folder in ["blobs", "revisions"] {
        let left = names(&directory.join(folder));
        assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    }
}

#[tokio::test]
async fn what_was_half_erased_is_never_served_and_goes_away() {
    let root = tempfile::tempdir().unwrap();
    let revisions = Revisions::in_folder(root.path()).unwrap();
    let presence = PresenceId::new();
    let revision = revisions
        .put_revision(presence, &tree(&[("index.html", "a")]), &origin())
        .await
        .unwrap();
    let left = root.path().join(format!(".gone-{presence}-left"));
    // As after a crash right behind the renaming.
    fs::rename(root.path().join(presence.to_string()), &left).unwrap();
    assert_eq!(revisions.revisions(presence).await.unwrap(), []);
    let read = revisions.file(presence, &revision, "index.html").await;
    assert!(read.is_err(), "{read:?}");
    revisions.remove_revisions(presence).await.unwrap();
    assert!(!left.exists(), "the next attempt clears it away");

    fs::create_dir(&left).unwrap();
    Revisions::in_folder(root.path()).unwrap();
    assert!(!left.exists(), "the next start clears it away");
}

#[tokio::test]
async fn who_is_not_alone_waits_or_leaves() {
    let root = tempfile::tempdir().unwrap();
    let revisions = Revisions::in_folder(root.path()).unwrap();
    let presence = PresenceId::new();
    let hold = revisions.pieces.hold(presence, Wait::No).await.unwrap();
    let other = Revisions::in_folder(root.path()).unwrap();
    let refused = other.pieces.hold(presence, Wait::No).await.unwrap();
    assert!(refused.is_none());
    let tidied = other.tidy(presence, &keeping(Timestamp::now(), &[])).await;
    assert_eq!(tidied.unwrap(), Tidied::default());
    let put = tokio::spawn(async move {
        let tree = tree(&[("index.html", "a")]);
        other.put_revision(presence, &tree, &origin()).await
    });
    tokio::task::yield_now().await;
    assert_eq!(revisions.revisions(presence).await.unwrap(), []);
    hold.unwrap().let_go().await;
    put.await.unwrap().unwrap();
    assert_eq!(revisions.revisions(presence).await.unwrap().len(), 1);
}
