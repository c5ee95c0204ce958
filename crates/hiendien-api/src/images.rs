//! Images in: kept, looked at by their first octets, and worked on by whoever holds containers.
//!
//! Nothing here decodes. An image is named by its octets, so sending it again makes nothing twice and
//! needs no `Idempotency-Key`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest as _, Path as AxumPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::content::ImageId;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::picture::{IMAGES_BYTES_MAX, IMAGES_MAX, PictureFault, Upload};
use hiendien_engine::pictures::{Added, Image, ImageState, Removed};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::presences::seen_presence;
use crate::request::Path;
use crate::wire::{ImageList, ImageView};
use crate::{ApiState, Problem};

/// Uploads that are read at once, each of which is in memory as a whole.
const UPLOADS_MAX: usize = 16;
static UPLOADS: Semaphore = Semaphore::const_new(UPLOADS_MAX);
/// Longest wait that `Prefer: wait=N` (RFC 7240, section 4.3) brings about.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Looks again after this long in any case.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Parts<T> = Result<AxumPath<T>, PathRejection>;

fn not_found(what: &str) -> Problem {
    let detail = format!("there is no image `{what}` of this presence");
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

fn refused(fault: PictureFault) -> Problem {
    let (status, code) = match fault {
        PictureFault::TooManyBytes => (StatusCode::PAYLOAD_TOO_LARGE, "image_too_large"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_image"),
    };
    let (_, english) = fault.words();
    Problem {
        errors: vec![fault.fault()],
        ..Problem::new(status, code, english)
    }
}

/// Takes an image in. What it becomes is told by its state.
pub(crate) async fn add(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?.id;
    let upload = {
        let Ok(_room) = UPLOADS.try_acquire() else {
            let detail = format!("{UPLOADS_MAX} images are on their way in; send it again");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, "too_many_uploads", detail).retryable());
        };
        let upload = Bytes::from_request(request, &state).await;
        let upload = upload.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => refused(PictureFault::TooManyBytes),
            status => Problem::new(status, "body_unreadable", rejection.body_text()),
        })?;
        if upload.is_empty() {
            return Err(refused(PictureFault::Empty));
        }
        Upload::of(&upload).map_err(refused)?;
        upload
    };
    let image = ImageId::of(&upload);
    let known = state.pictures.image(presence, &image).await?;
    let known = known.filter(|known| !matches!(known.state, ImageState::Refused(_)));
    let (mut status, mut found) = match known {
        Some(known) => (StatusCode::OK, known),
        None => keep(&state, presence, &image, &upload).await?,
    };
    drop(upload);
    if let ImageState::Waiting = found.state {
        found = wait(&state, presence, found, wished(&headers)).await?;
        status = match found.state {
            ImageState::Waiting => StatusCode::ACCEPTED,
            _ => StatusCode::OK,
        };
    }
    tracing::info!(presence.id = %presence, image = %image, by = caller.0.name, "image taken in");
    let headers = [(
        header::LOCATION,
        format!("/v1/presences/{presence}/images/{image}"),
    )];
    Ok((status, headers, Json(ImageView::of(found))).into_response())
}

/// Keeps an upload, and notes it: what is noted is there.
async fn keep(
    state: &ApiState,
    presence: PresenceId,
    image: &ImageId,
    upload: &Bytes,
) -> Result<(StatusCode, Image), Problem> {
    let files = &state.picture_files;
    files.put_upload(presence, image, upload.to_vec()).await?;
    let bytes = upload.len() as u64;
    let now = state.clock.now();
    let (code, detail) = match state.pictures.add(presence, image, bytes, now).await? {
        Added::Waits(image) => return Ok((StatusCode::ACCEPTED, image)),
        Added::Known(found) => {
            // Another was faster, and what it sent has been worked on already.
            if !matches!(found.state, ImageState::Waiting) {
                files.remove_upload(presence, image).await?;
            }
            return Ok((StatusCode::OK, found));
        }
        Added::TooMany => (
            "too_many_images",
            format!("a presence has at most {IMAGES_MAX} images: remove one it does not show"),
        ),
        Added::TooMuch => (
            "too_many_images",
            format!(
                "a presence keeps at most {IMAGES_BYTES_MAX} bytes of images: remove one it does not show"
            ),
        ),
        Added::GivenUp => (
            "not_now",
            "the presence has given its name up: nothing more is kept for it".to_owned(),
        ),
    };
    files.remove_upload(presence, image).await?;
    Err(Problem::new(StatusCode::CONFLICT, code, detail))
}

/// How long the caller would rather wait than ask again.
fn wished(headers: &HeaderMap) -> Duration {
    let wished = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.trim().strip_prefix("wait="))
        .find_map(|seconds| seconds.trim().parse().ok());
    wished
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(WAIT_MAX)
}

/// Waits until an image has become something, as long as the caller wishes.
async fn wait(
    state: &ApiState,
    presence: PresenceId,
    mut image: Image,
    wished: Duration,
) -> Result<Image, Problem> {
    let until = Instant::now() + wished;
    let mut changes = state.pictures.changes();
    let mut stopping = state.stopping.clone();
    while matches!(image.state, ImageState::Waiting) && Instant::now() < until {
        tokio::select! {
            () = tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)) => {}
            Ok(()) = changes.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(image),
        }
        match state.pictures.image(presence, &image.id).await? {
            Some(found) => image = found,
            None => return Err(not_found(image.id.as_str())),
        }
    }
    Ok(image)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Path(which): Path,
) -> Result<Json<ImageList>, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let images = state.pictures.images(presence.id).await?;
    Ok(Json(ImageList {
        images: images.into_iter().map(ImageView::of).collect(),
    }))
}

/// The presence and the image that a path names.
async fn named(
    state: &ApiState,
    caller: &Caller,
    which: &str,
    image: &str,
) -> Result<(PresenceId, ImageId), Problem> {
    let presence = seen_presence(state, caller, which).await?.id;
    let image = image.parse().map_err(|_| not_found(image))?;
    Ok((presence, image))
}

pub(crate) async fn show(
    State(state): State<ApiState>,
    caller: Caller,
    path: Parts<(String, String)>,
) -> Result<Json<ImageView>, Problem> {
    let AxumPath((which, image)) = path.map_err(|_| not_found("that"))?;
    let (presence, image) = named(&state, &caller, &which, &image).await?;
    let found = state.pictures.image(presence, &image).await?;
    let found = found.ok_or_else(|| not_found(image.as_str()))?;
    Ok(Json(ImageView::of(found)))
}

/// One file of a picture, such as `320.webp`.
pub(crate) async fn file(
    State(state): State<ApiState>,
    caller: Caller,
    path: Parts<(String, String, String)>,
) -> Result<Response, Problem> {
    let AxumPath((which, image, file)) = path.map_err(|_| not_found("that"))?;
    let (presence, image) = named(&state, &caller, &which, &image).await?;
    let place = format!("anh/{image}-{file}");
    let found = state.picture_files.file(presence, &place);
    let found = found
        .await?
        .ok_or_else(|| not_found(&format!("{image}/{file}")))?;
    let headers = [
        (header::CONTENT_TYPE, found.media_type.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, found.identity).into_response())
}

pub(crate) async fn remove(
    State(state): State<ApiState>,
    caller: Caller,
    path: Parts<(String, String)>,
) -> Result<StatusCode, Problem> {
    let AxumPath((which, image)) = path.map_err(|_| not_found("that"))?;
    let presence = seen_presence(&state, &caller, &which).await?;
    let image: ImageId = image.parse().map_err(|_| not_found(&image))?;
    let in_use = || {
        let detail = "the site shows it: publish content without it first";
        Problem::new(StatusCode::CONFLICT, "image_in_use", detail)
    };
    // After a rollback the site shows what its content does not.
    if let Some(revision) = &presence.revision {
        let served = state.shelf.revision(presence.id, revision).await?;
        let shows = |path: &String| path.starts_with(&format!("anh/{image}-"));
        if served.is_some_and(|served| served.files.keys().any(shows)) {
            return Err(in_use());
        }
    }
    let presence = presence.id;
    match state.pictures.remove(presence, &image).await? {
        Removed::InUse => Err(in_use()),
        // What an earlier attempt left of it goes as well.
        Removed::Removed | Removed::Unknown => {
            state.picture_files.remove_image(presence, &image).await?;
            Ok(StatusCode::NO_CONTENT)
        }
    }
}
