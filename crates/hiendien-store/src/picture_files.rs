//! The octets of images in a folder or a bucket: what was uploaded and was not worked on yet, and the
//! files of pictures, each under the name it has in a site.
//!
//! All are named by what was uploaded, so writing one again changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::picture::Form;
use hiendien_domain::site::{FileTree, SiteFile};
use hiendien_engine::clock::Clock;
use hiendien_engine::pictures::{Image, ImageState};
use hiendien_engine::ports::{PictureFiles, PortError};
use jiff::Timestamp;

use crate::pieces::{Bucket, Folder, Found, Piece, Pieces, S3Error, S3Settings};

/// What the places call it when something fails.
const WHAT: &str = "the pictures";
/// Where they are in a bucket; revisions lie beside it.
const IN_BUCKET: &str = "pictures";
/// Begins the name of an upload.
const UPLOAD: &str = "upload-";
/// Where the files of pictures are in a site.
const IN_SITE: &str = "anh/";
/// Files read at once.
const READ_AT_ONCE: usize = 16;
/// Pieces that one round takes away.
const TAKEN_MAX: usize = 1000;

/// The [`PictureFiles`] port over a folder or a bucket.
#[derive(Debug, Clone)]
pub struct PicturePlace {
    pieces: Arc<dyn Pieces>,
}

impl PicturePlace {
    /// Uses the folder `root`, made where there is none.
    pub fn in_folder(root: &Path) -> io::Result<Self> {
        Ok(Self {
            pieces: Arc::new(Folder::open(root, WHAT)?),
        })
    }

    /// Uses the folder `pictures` of a bucket, which must be there. Asks nothing yet.
    pub fn in_bucket(settings: &S3Settings, clock: Arc<dyn Clock>) -> Result<Self, S3Error> {
        Ok(Self {
            pieces: Arc::new(Bucket::open(settings, IN_BUCKET, WHAT, clock)?),
        })
    }

    async fn read(
        &self,
        presence: PresenceId,
        path: String,
    ) -> Result<(String, Option<SiteFile>), PortError> {
        let file = self.file(presence, &path).await?;
        Ok((path, file))
    }
}

fn upload_name(image: &ImageId) -> String {
    format!("{UPLOAD}{image}")
}

/// The name of the piece of a path in a site; only paths of pictures have one.
fn name_of(path: &str) -> Option<(&str, Form)> {
    let name = path.strip_prefix(IN_SITE)?;
    let form = Form::ALL
        .into_iter()
        .find(|form| name.ends_with(&format!(".{}", form.extension())))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_ours = name.len() <= 64 && !name.starts_with('.') && name.bytes().all(is_plain);
    is_ours.then_some((name, form))
}

/// The image that a piece is of, and whether the piece is its upload.
fn image_of(name: &str) -> Option<(ImageId, bool)> {
    let (image, is_upload) = match name.strip_prefix(UPLOAD) {
        Some(image) => (image, true),
        None => (name.split_once('-')?.0, false),
    };
    image.parse().ok().map(|image| (image, is_upload))
}

#[async_trait]
impl PictureFiles for PicturePlace {
    async fn put_upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
        upload: Vec<u8>,
    ) -> Result<(), PortError> {
        let piece = Piece::over(upload_name(image), upload);
        self.pieces.put(presence, vec![piece]).await
    }

    async fn upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
    ) -> Result<Option<Vec<u8>>, PortError> {
        self.pieces.get(presence, &upload_name(image)).await
    }

    async fn remove_upload(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError> {
        let names = vec![upload_name(image)];
        self.pieces.remove(presence, names).await
    }

    async fn put_files(
        &self,
        presence: PresenceId,
        _image: &ImageId,
        files: FileTree,
    ) -> Result<(), PortError> {
        let mut pieces = Vec::new();
        for (path, file) in files.iter() {
            let (name, _) = name_of(path).ok_or_else(|| {
                let fault = format!("`{path}` is not of a picture");
                PortError::misconfigured("keeping a picture", fault)
            })?;
            pieces.push(Piece::over(name.to_owned(), file.identity.clone()));
        }
        self.pieces.put(presence, pieces).await
    }

    async fn files(
        &self,
        presence: PresenceId,
        picture: &Picture,
    ) -> Result<Option<FileTree>, PortError> {
        let reads = picture.files().map(|(path, _)| self.read(presence, path));
        let read: Vec<_> = stream::iter(reads)
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        let mut tree = FileTree::default();
        for (path, file) in read {
            let Some(file) = file else {
                return Ok(None);
            };
            tree.insert(&path, file)
                .map_err(|error| PortError::transient("reading a picture", error))?;
        }
        Ok(Some(tree))
    }

    async fn file(&self, presence: PresenceId, path: &str) -> Result<Option<SiteFile>, PortError> {
        let Some((name, form)) = name_of(path) else {
            return Ok(None);
        };
        let read = self.pieces.get(presence, name).await?;
        Ok(read.map(|identity| SiteFile {
            media_type: form.media_type().to_owned(),
            identity,
            gzip: None,
            brotli: None,
        }))
    }

    async fn remove_image(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError> {
        let found = self.pieces.list(presence, "").await?;
        let names = found.into_iter().map(|found| found.name);
        let names = names.filter(|name| image_of(name).is_some_and(|(of, _)| of == *image));
        self.pieces.remove(presence, names.collect()).await
    }

    async fn tidy(
        &self,
        presence: PresenceId,
        images: &[Image],
        before: Timestamp,
    ) -> Result<usize, PortError> {
        self.pieces.clear(presence).await?;
        let is_left = |found: &Found| {
            let Some((image, is_upload)) = image_of(&found.name) else {
                return false;
            };
            let known = images.iter().find(|known| known.id == image);
            found.written_at < before
                && known.is_none_or(|known| is_upload && known.state != ImageState::Waiting)
        };
        let found = self.pieces.list(presence, "").await?;
        let left = found.into_iter().filter(is_left).map(|found| found.name);
        let left: Vec<String> = left.take(TAKEN_MAX).collect();
        let count = left.len();
        if count > 0 {
            self.pieces.remove(presence, left).await?;
        }
        Ok(count)
    }

    async fn remove_images(&self, presence: PresenceId) -> Result<(), PortError> {
        self.pieces.erase(presence, None).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[tokio::test]
    async fn only_files_of_pictures_are_read() {
        let root = tempfile::tempdir().unwrap();
        let store = PicturePlace::in_folder(root.path()).unwrap();
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
    async fn what_a_crash_left_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let presence = PresenceId::new();
        let directory = root.path().join(presence.to_string());
        let (half, held) = (directory.join(".new-half"), directory.join(".new-held"));
        let gone = root.path().join(".gone-x");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all(&gone).unwrap();
        fs::write(&half, b"x").unwrap();
        let living = File::create(&held).unwrap();
        living.lock().unwrap();
        let store = PicturePlace::in_folder(root.path()).unwrap();
        assert!(!gone.exists());
        store
            .tidy(presence, &[], Timestamp::UNIX_EPOCH)
            .await
            .unwrap();
        assert!(!half.exists() && held.exists());
    }
}
