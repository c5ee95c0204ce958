//! Uploaded images: made in the container, kept, and served with the site that shows them.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::{Compression, Crc, write::ZlibEncoder};
use hiendien_container::ConfinedBuilder;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::picture::{Form, PictureFault};
use hiendien_domain::site::{FileTree, SiteFile};
use hiendien_engine::clock::{Clock as _, SystemClock};
use hiendien_engine::pictures::{Image, ImageState, PictureWork, Pictures};
use hiendien_engine::ports::{Origin, PictureFiles, SiteStore};
use hiendien_engine::store::Intake;
use hiendien_store::Place;
use hiendien_store::picture_files::PicturePlace;
use integration_tests::conformance::store::claim;
use integration_tests::lab::{Lab, root, variant};
use integration_tests::s3::S3;
use integration_tests::site::{BuildEngine, builder_settings, render_binary};
use integration_tests::world::World;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

use crate::contents::served;
use crate::lifecycle::done;

fn chunk(kind: [u8; 4], inner: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(inner);
    let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
    [&length[..], &kind, inner, &crc.sum().to_be_bytes()].concat()
}

/// A PNG that lies on its side and tells so, with a camera's name beside.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for y in 0..height {
        let row: Vec<u8> = (0..width)
            .flat_map(|x| [x, y, x ^ y].map(|value| u8::try_from(value % 256).unwrap()))
            .collect();
        rows.write_all(&[0]).unwrap();
        rows.write_all(&row).unwrap();
    }
    let head = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(*b"IHDR", &head),
        chunk(*b"eXIf", exif),
        chunk(*b"tEXt", b"Model\0SecretCam"),
        chunk(*b"IDAT", &rows.finish().unwrap()),
        chunk(*b"IEND", b""),
    ]
    .concat()
}

fn picture(image: &ImageId) -> (Picture, FileTree) {
    let picture = Picture {
        id: image.clone(),
        alt: String::new(),
        width: 640,
        height: 480,
        widths: vec![320, 640],
        placeholder: String::new(),
    };
    let mut files = FileTree::default();
    for (path, form) in picture.files() {
        let file = SiteFile {
            media_type: form.media_type().to_owned(),
            identity: path.clone().into_bytes(),
            gzip: None,
            brotli: None,
        };
        files.insert(&path, file).unwrap();
    }
    (picture, files)
}

/// Images are kept and erased one by one and all at once, each again without harm.
async fn kept_and_erased(store: &PicturePlace) {
    let (presence, neighbour) = (PresenceId::new(), PresenceId::new());
    let (first, second) = (ImageId::of(b"1"), ImageId::of(b"2"));
    let put = async |presence, image: &ImageId, octets: &[u8]| {
        let put = store.put_upload(presence, image, octets.to_vec()).await;
        put.unwrap();
    };
    let upload = async |image| store.upload(presence, image).await.unwrap();
    let files_of = async |picture| store.files(presence, picture).await.unwrap();
    for _ in 0..2 {
        put(presence, &first, b"1").await;
        put(neighbour, &first, b"1").await;
        assert_eq!(upload(&first).await, Some(b"1".to_vec()));
        assert_eq!(upload(&second).await, None);
    }
    let (one, files) = picture(&first);
    assert_eq!(files_of(&one).await, None);
    for _ in 0..2 {
        let put = store.put_files(presence, &first, files.clone()).await;
        put.unwrap();
        assert_eq!(files_of(&one).await, Some(files.clone()));
    }
    let (two, files) = picture(&second);
    store.put_files(presence, &second, files).await.unwrap();
    for _ in 0..2 {
        store.remove_upload(presence, &first).await.unwrap();
        assert_eq!(upload(&first).await, None);
    }
    put(presence, &first, b"1").await;
    for _ in 0..2 {
        store.remove_image(presence, &first).await.unwrap();
        assert_eq!(files_of(&one).await, None);
        assert_eq!(upload(&first).await, None);
    }
    assert!(files_of(&two).await.is_some());

    // What a process that died has left goes once it is old, and nothing else: the upload of one that is ready,
    // and all of one that nobody knows.
    let image = |id: &ImageId, state| Image {
        id: id.clone(),
        state,
        uploaded_at: Timestamp::now(),
        upload_bytes: 1,
        kept_bytes: 1,
    };
    let (third, fourth) = (ImageId::of(b"3"), ImageId::of(b"4"));
    for id in [&second, &third, &fourth] {
        put(presence, id, id.as_str().as_bytes()).await;
    }
    let (four, files) = picture(&fourth);
    store.put_files(presence, &fourth, files).await.unwrap();
    let known = [
        image(&second, ImageState::Ready(two.clone())),
        image(&third, ImageState::Waiting),
    ];
    let tidy = async |before| store.tidy(presence, &known, before).await.unwrap();
    let now = Timestamp::now();
    assert_eq!(tidy(now - SignedDuration::from_mins(1)).await, 0);
    let of_fourth = 1 + four.files().count();
    assert_eq!(
        tidy(now + SignedDuration::from_mins(1)).await,
        1 + of_fourth
    );
    assert_eq!(tidy(now + SignedDuration::from_mins(1)).await, 0);
    assert!(files_of(&two).await.is_some());
    assert_eq!(upload(&second).await, None);
    assert!(upload(&third).await.is_some());
    assert_eq!(files_of(&four).await, None);

    for _ in 0..2 {
        store.remove_images(presence).await.unwrap();
        assert_eq!(files_of(&two).await, None);
    }
    let of_neighbour = store.upload(neighbour, &first).await.unwrap();
    assert_eq!(of_neighbour, Some(b"1".to_vec()));
    store.remove_images(neighbour).await.unwrap();
}

#[tokio::test]
async fn images_are_kept_and_erased_in_a_folder() {
    let root = tempfile::tempdir().unwrap();
    kept_and_erased(&PicturePlace::in_folder(root.path()).unwrap()).await;
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn images_are_kept_and_erased_in_a_bucket_beside_revisions() {
    let s3 = S3::start().await;
    let clock = Arc::new(SystemClock);
    kept_and_erased(&PicturePlace::in_bucket(&s3.settings(), clock).unwrap()).await;
    assert_eq!(s3.names("").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_made_in_a_container_of_its_own_and_joins_the_revision() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(folder.path().join("store.db"));
    let world = World::at(place, folder.path()).await;
    let owner = format!("pictures-{}", uuid::Uuid::new_v4().simple());
    let builder = Arc::new(ConfinedBuilder::start(builder_settings(
        BuildEngine::Docker,
        &owner,
        render_binary(),
    )));
    let work = PictureWork {
        queue: world.store.clone(),
        files: world.picture_files.clone(),
        maker: builder.clone(),
        clock: Arc::new(world.clock.clone()),
    };
    let new = claim("nhan-hoa", "quan-anh");
    let presence = new.presence;
    world.store.accept(new, world.clock.now()).await.unwrap();
    let (store, files) = (&world.store, &world.picture_files);
    let hand_in = async |upload: Vec<u8>| {
        let image = ImageId::of(&upload);
        let bytes = upload.len() as u64;
        files.put_upload(presence, &image, upload).await.unwrap();
        store
            .add(presence, &image, bytes, world.clock.now())
            .await
            .unwrap();
        image
    };

    let image = hand_in(png(700, 400)).await;
    let began = Instant::now();
    assert!(work.one().await.unwrap());
    println!("a picture took {:?}", began.elapsed());
    let found = store.image(presence, &image).await.unwrap().unwrap();
    let ImageState::Ready(picture) = found.state else {
        panic!("{found:?}");
    };
    assert_eq!((picture.width, picture.height), (400, 700));
    assert_eq!(picture.widths, [320, 400]);
    let made = files.files(presence, &picture).await.unwrap().unwrap();
    for (path, form) in picture.files() {
        let file = made.get(&path).unwrap();
        assert!(form.begins(&file.identity), "{path}");
        assert_eq!(file.media_type, form.media_type());
        let secret = b"SecretCam";
        assert!(!file.identity.windows(9).any(|part| part == secret));
    }
    assert_eq!(files.upload(presence, &image).await.unwrap(), None);

    // Damaged or a bomb: refused, and nothing of it is kept.
    let mut bomb = png(16, 16);
    bomb[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let mut crc = Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let whole = png(300, 300);
    for (upload, fault) in [
        (bomb, PictureFault::TooLarge),
        (whole[..whole.len() / 2].to_vec(), PictureFault::Damaged),
    ] {
        let image = hand_in(upload).await;
        assert!(work.one().await.unwrap());
        let found = store.image(presence, &image).await.unwrap().unwrap();
        assert_eq!(found.state, ImageState::Refused(fault));
        assert_eq!(found.kept_bytes, 0);
        assert_eq!(files.upload(presence, &image).await.unwrap(), None);
    }
    assert!(!work.one().await.unwrap(), "nothing waits any more");

    // Its files are in the tree that becomes a revision, and are served as what they are.
    let origin = Origin {
        built_at: world.clock.now(),
        template: "storefront".to_owned(),
        operation: OperationId::new(),
        content: b"{}".to_vec(),
    };
    let revision = world.revisions.put_revision(presence, &made, &origin).await;
    let revision = revision.unwrap();
    let path = picture.id.path(320, Form::Avif);
    let served = world.revisions.file(presence, &revision, &path).await;
    assert_eq!(served.unwrap().unwrap().media_type, "image/avif");
    builder.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_uploaded_shown_and_kept_while_the_site_shows_it() {
    let lab = Lab::start();
    let api = lab.api();
    let name = "mau-so-1.biz.vn";
    let claim = variant("pho-shop.json", 1);
    let (status, _, _) = api.submit(claim.to_string(), "first").await;
    assert_eq!(status, 202);
    let presence = api.live(name, Duration::from_secs(90)).await;
    let images = format!("/v1/presences/{name}/images");
    let upload = std::fs::read(root().join("site-templates/food-drink/sample/mon-pho.webp"));
    let upload = upload.unwrap();

    let send = api
        .request(Method::POST, &images)
        .header("prefer", "wait=60")
        .body(upload.clone());
    let (status, headers, image) = api.send(send).await;
    assert_eq!(
        (status, &image["state"]),
        (200, &json!("ready")),
        "{image:#}"
    );
    let id = image["id"].as_str().unwrap();
    let at = headers["location"].to_str().unwrap().to_owned();
    assert_eq!(
        at,
        format!(
            "/v1/presences/{}/images/{id}",
            presence["id"].as_str().unwrap()
        )
    );
    let (status, _, listed) = api.get(&images).await;
    assert_eq!((status, &listed["images"][0]["id"]), (200, &image["id"]));
    let again = api.request(Method::POST, &images).body(upload);
    let (status, _, same) = api.send(again).await;
    assert_eq!(
        (status, &same),
        (200, &image),
        "the same octets are the same image"
    );
    let not_one = api
        .request(Method::POST, &images)
        .body("GIF89a and no more");
    let (status, _, problem) = api.send(not_one).await;
    assert_eq!(
        (status, &problem["errors"][0]["code"]),
        (422, &json!("image.gif")),
        "{problem:#}"
    );

    let with = json!({ "content": "content/v1",
        "business": { "cover": { "image": id, "alt": "Tô phở (ảnh mẫu)" } } });
    let without = json!({ "content": "content/v1" });
    let revision = async || api.get(&format!("/v1/presences/{name}")).await.2["revision"].clone();
    done(&api, name, "publish", json!({ "content": with })).await;
    let shows = revision().await;
    assert!(lab.page(name, "/").contains(r#"alt="Tô phở (ảnh mẫu)""#));
    for form in Form::ALL {
        let file = format!("/anh/{id}-320.{}", form.extension());
        assert!(form.begins(&served(&lab, name, &file)), "{file}");
    }
    let remove = async || api.send(api.request(Method::DELETE, &at)).await;
    let stays = async || {
        let (status, _, problem) = remove().await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("image_in_use")),
            "{problem:#}"
        );
    };
    stays().await;

    // Its content shows it no more, but the site does: it was rolled back.
    done(&api, name, "publish", json!({ "content": without })).await;
    done(&api, name, "rollback", json!({ "revision": shows })).await;
    stays().await;

    // Once removed, an earlier revision still has it whole.
    done(&api, name, "publish", json!({ "content": without })).await;
    let plain = revision().await;
    assert_eq!(remove().await.0, 204);
    assert_eq!(api.get(&at).await.0, 404);
    done(&api, name, "rollback", json!({ "revision": shows })).await;
    assert!(Form::Avif.begins(&served(&lab, name, &format!("/anh/{id}-320.avif"))));

    // A damaged one cannot be built anew without it: the site goes on to what its content is meant to be.
    let id = presence["id"].as_str().unwrap();
    let blobs = lab.state().join(format!("revisions/{id}/blobs"));
    let mut damaged = 0;
    for entry in std::fs::read_dir(&blobs).unwrap_or_else(|error| panic!("{blobs:?}: {error}")) {
        let path = entry.unwrap().path();
        let mut octets = std::fs::read(&path).unwrap();
        if Form::Avif.begins(&octets) {
            let last = octets.len() - 1;
            octets[last] ^= 1;
            std::fs::write(path, octets).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    done(&api, name, "repair", json!({})).await;
    assert_eq!(revision().await, plain);
}
