//! Uploaded images on their way to pictures.
//!
//! The API takes an upload in and holds no container socket, so it is kept and noted; [`work_off`]
//! takes what waits, one at a time, has the picture made and notes what came of it. A picture is
//! made at least once: its files are named by the upload, so making it again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::picture::PictureFault;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::ports::{ErrorChain, FailureKind, Made, PictureFiles, PictureMaker, PortError};

/// How long one image is held by whoever works on it: longer than the maker may take.
pub const HOLD: Duration = Duration::from_mins(5);
/// Looks for what waits in any case after this long.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// The pause after a failure of ours, doubled with each attempt.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// Attempts that end in silence or take too long, until the upload itself is held to be the cause.
pub const ATTEMPTS_MAX: u32 = 5;

/// How far an uploaded image has come.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageState {
    Waiting,
    /// Without words on what it shows: those are the content's.
    Ready(Picture),
    Refused(PictureFault),
}

/// An uploaded image of a presence.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pub id: ImageId,
    pub state: ImageState,
    pub uploaded_at: Timestamp,
    /// Of what was uploaded.
    pub upload_bytes: u64,
    /// Of all that is kept of it.
    pub kept_bytes: u64,
}

/// What became of taking an image in.
#[derive(Debug, Clone, PartialEq)]
pub enum Added {
    /// It waits for its turn; new, or refused before.
    Waits(Image),
    /// It waits already, or is ready; nothing was changed.
    Known(Image),
    /// The presence has as many as it may have.
    TooMany,
    /// The presence keeps as many bytes as it may.
    TooMuch,
    /// The presence has given its name up, or there is none.
    GivenUp,
}

/// What became of removing an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Removed,
    /// There was none.
    Unknown,
    /// The site shows it.
    InUse,
}

/// The images of presences, for the API.
#[async_trait]
pub trait Pictures: Send + Sync {
    /// Notes an image whose upload is kept.
    async fn add(
        &self,
        presence: PresenceId,
        image: &ImageId,
        upload_bytes: u64,
        now: Timestamp,
    ) -> Result<Added, PortError>;

    /// All images, by identifier.
    async fn images(&self, presence: PresenceId) -> Result<Vec<Image>, PortError>;

    async fn image(
        &self,
        presence: PresenceId,
        image: &ImageId,
    ) -> Result<Option<Image>, PortError>;

    /// Forgets an image, unless the presence's content shows it. Its files are the caller's to erase, afterwards.
    async fn remove(&self, presence: PresenceId, image: &ImageId) -> Result<Removed, PortError>;

    /// Moves on when something may have changed. A hint: look again from time to time in any case.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The right to settle one image. Once it was held too long another may have it, and the fence tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    pub presence: PresenceId,
    pub image: ImageId,
    pub fence: i64,
    /// Counts from 1.
    pub attempt: u32,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum PictureOutcome {
    Ready {
        picture: Picture,
        kept_bytes: u64,
    },
    Refused(PictureFault),
    /// Again at this moment.
    Again(Timestamp),
}

/// What became of noting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Noted,
    /// Another has it now; nothing was noted.
    Lost,
    /// The image is not there any more; nothing was noted, and nothing of it may be kept.
    Gone,
}

/// Hands out images that wait, under holds that expire.
#[async_trait]
pub trait PictureQueue: Send + Sync {
    /// Gives out the image that has waited longest, and to no other before `now + hold`.
    async fn take(&self, now: Timestamp, hold: Duration) -> Result<Option<HeldImage>, PortError>;

    /// Notes what came of one.
    async fn settle(
        &self,
        held: &HeldImage,
        outcome: PictureOutcome,
        now: Timestamp,
    ) -> Result<Noted, PortError>;

    /// Moves on when an image may be waiting. A hint: look again from time to time in any case.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What pictures are made with.
#[derive(Clone)]
pub struct PictureWork {
    pub queue: Arc<dyn PictureQueue>,
    pub files: Arc<dyn PictureFiles>,
    pub maker: Arc<dyn PictureMaker>,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PictureWork {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PictureWork")
            .finish_non_exhaustive()
    }
}

/// Makes pictures of what waits, one at a time, until `stopping` turns true. Several processes may.
pub async fn work_off(work: PictureWork, mut stopping: watch::Receiver<bool>) {
    let mut changes = work.queue.changes();
    while !*stopping.borrow() {
        changes.borrow_and_update();
        match work.one().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                warn!(error = %ErrorChain(&error), "could not work on an uploaded image, will again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND_EVERY) => {}
            Ok(()) = changes.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

impl PictureWork {
    /// Works on the image that has waited longest. `false` when none waits.
    pub async fn one(&self) -> Result<bool, PortError> {
        let Some(held) = self.queue.take(self.clock.now(), HOLD).await? else {
            return Ok(false);
        };
        let HeldImage {
            presence, image, ..
        } = &held;
        let outcome = match self.attempt(&held).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // A person must act where a server of ours is missing; trying again then succeeds.
                error!(
                    presence.id = %presence, image = %image, attempt = held.attempt,
                    error = %ErrorChain(&error), "could not make a picture, will again"
                );
                PictureOutcome::Again(self.again_at(held.attempt))
            }
        };
        let is_over = !matches!(outcome, PictureOutcome::Again(_));
        match self.queue.settle(&held, outcome, self.clock.now()).await? {
            Noted::Noted if is_over => self.files.remove_upload(*presence, image).await?,
            Noted::Gone => self.files.remove_image(*presence, image).await?,
            Noted::Noted | Noted::Lost => {}
        }
        Ok(true)
    }

    async fn attempt(&self, held: &HeldImage) -> Result<PictureOutcome, PortError> {
        let HeldImage {
            presence, image, ..
        } = held;
        let Some(upload) = self.files.upload(*presence, image).await? else {
            return Ok(PictureOutcome::Refused(PictureFault::Lost));
        };
        let made = match self.maker.make(image, upload).await {
            Err(error)
                if held.attempt >= ATTEMPTS_MAX
                    && !matches!(error.kind, FailureKind::Misconfigured) =>
            {
                warn!(
                    presence.id = %presence, image = %image, error = %ErrorChain(&error),
                    "a picture could not be made time and again, its upload is refused"
                );
                Made::Refused(PictureFault::TooHeavy)
            }
            made => made?,
        };
        Ok(match made {
            Made::Refused(fault) => {
                info!(presence.id = %presence, image = %image, %fault, "an uploaded image was refused");
                PictureOutcome::Refused(fault)
            }
            Made::Picture { picture, files } => {
                let kept_bytes = files.identity_bytes();
                self.files.put_files(*presence, image, files).await?;
                info!(presence.id = %presence, image = %image, kept_bytes, "a picture was made");
                PictureOutcome::Ready {
                    picture,
                    kept_bytes,
                }
            }
        })
    }

    fn again_at(&self, attempt: u32) -> Timestamp {
        let doubled = PAUSE.saturating_mul(1 << attempt.min(10));
        let now = self.clock.now();
        now.checked_add(doubled.min(PAUSE_MAX)).unwrap_or(now)
    }
}
