//! The octets of images in a folder: one directory per presence, in it what was uploaded and was not
//! worked on yet, and the files of pictures, each under the name it has in a site.
//!
//! Each file is written beside its place, flushed, and renamed into it. All are named by what was
//! uploaded, so writing one again changes nothing.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::picture::Form;
use hiendien_domain::site::{FileTree, SiteFile};
use hiendien_engine::ports::{PictureFiles, PortError};
use uuid::Uuid;

/// Begins the name of an upload.
const UPLOAD: &str = "upload-";
/// Begins the name of a file on its way in.
const NEW: &str = ".new-";
/// Begins the name of a presence's directory on its way out.
const GONE: &str = ".gone-";
/// Where the files of pictures are in a site.
const IN_SITE: &str = "anh/";

/// The [`PictureFiles`] port over a folder.
#[derive(Debug, Clone)]
pub struct FolderPictures {
    root: PathBuf,
}

impl FolderPictures {
    /// Uses the folder `root`, made where there is none; what a crash left half-written or
    /// half-erased is cleared away.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for presence in fs::read_dir(root)? {
            let presence = presence?;
            if begins(&presence, GONE) {
                unless_gone(fs::remove_dir_all(presence.path()))?;
                continue;
            }
            let Some(entries) = unless_gone(fs::read_dir(presence.path()))? else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                if begins(&entry, NEW) {
                    clear(&entry.path())?;
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        presence: PresenceId,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let directory = self.root.join(presence.to_string());
        let done = tokio::task::spawn_blocking(move || work(&directory))
            .await
            .map_err(|error| PortError::transient(action, error))?;
        done.map_err(|error| {
            let root = self.root.display();
            let action = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("{action}: the disk that holds `{root}` is full, free some space; it")
                }
                _ => format!("{action} under `{root}`"),
            };
            PortError::transient(action, error)
        })
    }
}

fn begins(entry: &fs::DirEntry, with: &str) -> bool {
    entry.file_name().to_string_lossy().starts_with(with)
}

/// `None` where it is not there any more.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Clears a half-written file away, unless a process that lives is writing it.
fn clear(new: &Path) -> io::Result<()> {
    let Some(file) = unless_gone(File::open(new))? else {
        return Ok(());
    };
    match file.try_lock() {
        Ok(()) => unless_gone(fs::remove_file(new)).map(drop),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn put(directory: &Path, name: &str, octets: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{NEW}{}", Uuid::new_v4()));
    let mut file = File::create(&new)?;
    // Held while it is written, so that a process that starts knows it from what a crash has left.
    file.lock()?;
    let written = file
        .write_all(octets)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, directory.join(name)));
    if written.is_err() {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&new);
    }
    written
}

/// The name in the folder of a path in a site; only paths of pictures have one.
fn name_of(path: &str) -> Option<(&str, Form)> {
    let name = path.strip_prefix(IN_SITE)?;
    let form = Form::ALL
        .into_iter()
        .find(|form| name.ends_with(&format!(".{}", form.extension())))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_ours = name.len() <= 64 && !name.starts_with('.') && name.bytes().all(is_plain);
    is_ours.then_some((name, form))
}

fn read(directory: &Path, path: &str) -> io::Result<Option<SiteFile>> {
    let Some((name, form)) = name_of(path) else {
        return Ok(None);
    };
    let read = unless_gone(fs::read(directory.join(name)))?;
    Ok(read.map(|identity| SiteFile {
        media_type: form.media_type().to_owned(),
        identity,
        gzip: None,
        brotli: None,
    }))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[async_trait]
impl PictureFiles for FolderPictures {
    async fn put_upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
        upload: Vec<u8>,
    ) -> Result<(), PortError> {
        let name = format!("{UPLOAD}{image}");
        self.run("keeping an upload", presence, move |directory| {
            fs::create_dir_all(directory)?;
            put(directory, &name, &upload)?;
            sync(directory)
        })
        .await
    }

    async fn upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
    ) -> Result<Option<Vec<u8>>, PortError> {
        let name = format!("{UPLOAD}{image}");
        self.run("reading an upload", presence, move |directory| {
            unless_gone(fs::read(directory.join(name)))
        })
        .await
    }

    async fn remove_upload(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError> {
        let name = format!("{UPLOAD}{image}");
        self.run("erasing an upload", presence, move |directory| {
            unless_gone(fs::remove_file(directory.join(name)))?;
            unless_gone(sync(directory)).map(drop)
        })
        .await
    }

    async fn put_files(
        &self,
        presence: PresenceId,
        _image: &ImageId,
        files: FileTree,
    ) -> Result<(), PortError> {
        self.run("keeping a picture", presence, move |directory| {
            fs::create_dir_all(directory)?;
            for (path, file) in files.iter() {
                let (name, _) = name_of(path)
                    .ok_or_else(|| io::Error::other(format!("`{path}` is not of a picture")))?;
                put(directory, name, &file.identity)?;
            }
            sync(directory)
        })
        .await
    }

    async fn files(
        &self,
        presence: PresenceId,
        picture: &Picture,
    ) -> Result<Option<FileTree>, PortError> {
        let picture = picture.clone();
        self.run("reading a picture", presence, move |directory| {
            let mut tree = FileTree::default();
            for (path, _) in picture.files() {
                let Some(file) = read(directory, &path)? else {
                    return Ok(None);
                };
                tree.insert(&path, file).map_err(io::Error::other)?;
            }
            Ok(Some(tree))
        })
        .await
    }

    async fn file(&self, presence: PresenceId, path: &str) -> Result<Option<SiteFile>, PortError> {
        let path = path.to_owned();
        self.run("reading a file of a picture", presence, move |directory| {
            read(directory, &path)
        })
        .await
    }

    async fn remove_image(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError> {
        let image = image.clone();
        self.run("erasing an image", presence, move |directory| {
            let Some(entries) = unless_gone(fs::read_dir(directory))? else {
                return Ok(());
            };
            let of_it = [format!("{image}-"), format!("{UPLOAD}{image}")];
            for entry in entries {
                let entry = entry?;
                if of_it.iter().any(|with| begins(&entry, with)) {
                    unless_gone(fs::remove_file(entry.path()))?;
                }
            }
            unless_gone(sync(directory)).map(drop)
        })
        .await
    }

    async fn remove_images(&self, presence: PresenceId) -> Result<(), PortError> {
        let root = self.root.clone();
        self.run("erasing the images", presence, move |directory| {
            let gone = format!("{GONE}{presence}-");
            let away = root.join(format!("{gone}{}", Uuid::new_v4()));
            // Renamed first, so that it does not come back in part after a power cut.
            unless_gone(fs::rename(directory, away))?;
            sync(&root)?;
            for entry in fs::read_dir(&root)? {
                let entry = entry?;
                if begins(&entry, &gone) {
                    unless_gone(fs::remove_dir_all(entry.path()))?;
                }
            }
            sync(&root)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn images_are_kept_and_erased_one_by_one_and_all_at_once() {
        let root = tempfile::tempdir().unwrap();
        let store = FolderPictures::open(root.path()).unwrap();
        let presence = PresenceId::new();
        let (first, second) = (ImageId::of(b"1"), ImageId::of(b"2"));
        store
            .put_upload(presence, &first, b"1".to_vec())
            .await
            .unwrap();
        assert_eq!(
            store.upload(presence, &first).await.unwrap(),
            Some(b"1".to_vec())
        );
        assert_eq!(store.upload(presence, &second).await.unwrap(), None);
        let (one, files) = picture(&first);
        store
            .put_files(presence, &first, files.clone())
            .await
            .unwrap();
        assert_eq!(store.files(presence, &one).await.unwrap(), Some(files));
        let (two, files) = picture(&second);
        store.put_files(presence, &second, files).await.unwrap();
        for _ in 0..2 {
            store.remove_upload(presence, &first).await.unwrap();
            assert_eq!(store.upload(presence, &first).await.unwrap(), None);
            store.remove_image(presence, &first).await.unwrap();
            assert_eq!(store.files(presence, &one).await.unwrap(), None);
        }
        assert!(store.files(presence, &two).await.unwrap().is_some());
        for _ in 0..2 {
            store.remove_images(presence).await.unwrap();
            assert_eq!(store.files(presence, &two).await.unwrap(), None);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn only_files_of_pictures_are_read() {
        let root = tempfile::tempdir().unwrap();
        let store = FolderPictures::open(root.path()).unwrap();
        let presence = PresenceId::new();
        let image = ImageId::of(b"1");
        store
            .put_upload(presence, &image, b"raw".to_vec())
            .await
            .unwrap();
        fs::write(root.path().join("secret.jpg"), b"x").unwrap();
        for path in [
            "anh/../../secret.jpg",
            "anh/..%2f..%2fsecret.jpg",
            "anh/.jpg",
            "secret.jpg",
            "anh/",
            &format!("anh/upload-{image}"),
            "anh/a\0.jpg",
        ] {
            assert_eq!(store.file(presence, path).await.unwrap(), None, "{path}");
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_away_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let presence = root.path().join(PresenceId::new().to_string());
        let (half, held) = (presence.join(".new-half"), presence.join(".new-held"));
        let gone = root.path().join(".gone-x");
        fs::create_dir_all(&presence).unwrap();
        fs::create_dir_all(&gone).unwrap();
        fs::write(&half, b"x").unwrap();
        let living = File::create(&held).unwrap();
        living.lock().unwrap();
        FolderPictures::open(root.path()).unwrap();
        assert!(!half.exists() && !gone.exists() && held.exists());
    }
}
