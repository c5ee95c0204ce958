use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::picture::PictureFault;
use hiendien_domain::site::{FileTree, SiteFile};
use jiff::Timestamp;

use super::PortError;
use crate::pictures::Image;

/// What became of an uploaded image.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// The picture, without words on what it shows, and exactly its files ([`Picture::files`]).
    Picture { picture: Picture, files: FileTree },
    /// The sender has to send another.
    Refused(PictureFault),
}

/// Makes pictures of uploaded images, isolated from everything else: nothing else decodes one.
#[async_trait]
pub trait PictureMaker: Send + Sync {
    /// Decodes an image, turns it upright and encodes it anew in all its forms; nothing else that the upload
    /// held is in them. Equal uploads give equal files.
    ///
    /// Transient when it took too long, misconfigured when no container engine answers.
    async fn make(&self, image: &ImageId, upload: Vec<u8>) -> Result<Made, PortError>;
}

/// Keeps uploads until they were worked on, and the files of pictures.
#[async_trait]
pub trait PictureFiles: Send + Sync {
    /// Keeps what was uploaded, durably. The same again is no change.
    async fn put_upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
        upload: Vec<u8>,
    ) -> Result<(), PortError>;

    /// What was uploaded, `None` where it is not there any more.
    async fn upload(
        &self,
        presence: PresenceId,
        image: &ImageId,
    ) -> Result<Option<Vec<u8>>, PortError>;

    async fn remove_upload(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError>;

    /// Keeps the files of a picture durably, in place of any there are; all of them are there or none.
    async fn put_files(
        &self,
        presence: PresenceId,
        image: &ImageId,
        files: FileTree,
    ) -> Result<(), PortError>;

    /// All files of a picture, by their paths in a site. `None` where one is missing.
    async fn files(
        &self,
        presence: PresenceId,
        picture: &Picture,
    ) -> Result<Option<FileTree>, PortError>;

    /// One file by its path in a site, `None` where there is none.
    async fn file(&self, presence: PresenceId, path: &str) -> Result<Option<SiteFile>, PortError>;

    /// Erases an image, its upload too. Nothing kept is no error.
    async fn remove_image(&self, presence: PresenceId, image: &ImageId) -> Result<(), PortError>;

    /// Erases what a process that died has left: of what was written before `before`, all that belongs to none of
    /// `images`, and the uploads of those that do not wait any more. Returns how many files.
    async fn tidy(
        &self,
        presence: PresenceId,
        images: &[Image],
        before: Timestamp,
    ) -> Result<usize, PortError>;

    /// Erases all images of a presence. Nothing kept is no error.
    async fn remove_images(&self, presence: PresenceId) -> Result<(), PortError>;
}
