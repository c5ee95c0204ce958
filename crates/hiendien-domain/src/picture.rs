//! What may be uploaded to become a picture, which forms are made of it, and why one is refused.
//!
//! Nothing here decodes: only the container does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::content::{ImageId, Picture};
use crate::fault::Fault;
use crate::site::hex;

/// Bound of an upload, bytes.
pub const UPLOAD_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Bound of an upload's width times its height.
pub const PIXELS_MAX: u64 = 40_000_000;
/// Bounds of an upload's width and of its height, pixels.
pub const SIDE_MIN: u32 = 16;
pub const SIDE_MAX: u32 = 12_000;
/// Images of one presence.
pub const IMAGES_MAX: usize = 200;
/// Bound of all that is kept of one presence's images, bytes.
pub const IMAGES_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bound of all the pictures that one site shows, bytes: a revision is put together in memory.
pub const SITE_PICTURES_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Widths that pages choose among, pixels. None is larger than the upload; the largest made is always there.
pub const WIDTHS: [u32; 4] = [320, 640, 960, 1440];
/// Bound of the largest form's width times its height: what is very tall becomes narrower.
pub const FORM_PIXELS_MAX: u64 = 1440 * 1920;
/// Begins every placeholder.
pub const PLACEHOLDER_START: &str = "data:image/webp;base64,";
/// Bound of a placeholder, bytes.
pub const PLACEHOLDER_BYTES_MAX: usize = 320;

/// The forms of a picture, the smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Avif,
    Webp,
    Jpeg,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Avif, Self::Webp, Self::Jpeg];

    pub fn extension(self) -> &'static str {
        match self {
            Self::Avif => "avif",
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Avif => "image/avif",
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// Whether `octets` begin as this form does.
    pub fn begins(self, octets: &[u8]) -> bool {
        match self {
            Self::Avif => octets.get(4..12) == Some(b"ftypavif"),
            Self::Webp => Upload::of(octets) == Ok(Upload::Webp),
            Self::Jpeg => Upload::of(octets) == Ok(Upload::Jpeg),
        }
    }
}

impl ImageId {
    /// Names what was uploaded.
    pub fn of(upload: &[u8]) -> Self {
        let digest = hex(&Sha256::digest(upload)[..16]);
        digest
            .parse()
            .expect("32 lower-case hexadecimal digits are an image")
    }

    /// Path of one form in a site.
    pub fn path(&self, width: u32, form: Form) -> String {
        format!("anh/{self}-{width}.{}", form.extension())
    }
}

impl Picture {
    /// Each of its files: path and form.
    pub fn files(&self) -> impl Iterator<Item = (String, Form)> {
        self.widths.iter().flat_map(|width| {
            Form::ALL
                .into_iter()
                .map(|form| (self.id.path(*width, form), form))
        })
    }
}

/// The forms an upload may have, told by its first octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    Jpeg,
    Png,
    Webp,
}

impl Upload {
    pub fn of(octets: &[u8]) -> Result<Self, PictureFault> {
        if octets.starts_with(&[0xff, 0xd8, 0xff]) {
            return Ok(Self::Jpeg);
        }
        if octets.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Ok(Self::Png);
        }
        if octets.starts_with(b"RIFF") && octets.get(8..12) == Some(b"WEBP") {
            return Ok(Self::Webp);
        }
        Err(if octets.starts_with(b"GIF8") {
            PictureFault::Gif
        } else if octets.get(4..8) == Some(b"ftyp") {
            match octets.get(8..12) {
                Some(b"avif" | b"avis") => PictureFault::Avif,
                _ => PictureFault::Heic,
            }
        } else if is_markup(octets) {
            PictureFault::Svg
        } else {
            PictureFault::UnknownType
        })
    }
}

fn is_markup(octets: &[u8]) -> bool {
    let text = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    text.trim_ascii_start().starts_with(b"<")
}

/// Why an upload does not become a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFault {
    Empty,
    TooManyBytes,
    Gif,
    Avif,
    Heic,
    Svg,
    UnknownType,
    TooLarge,
    TooSmall,
    Animated,
    Cmyk,
    Damaged,
    TooHeavy,
    Lost,
}

/// A word that is none of the faults.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a fault of a picture")]
pub struct NoSuchFault(pub String);

impl PictureFault {
    pub const ALL: [Self; 14] = [
        Self::Empty,
        Self::TooManyBytes,
        Self::Gif,
        Self::Avif,
        Self::Heic,
        Self::Svg,
        Self::UnknownType,
        Self::TooLarge,
        Self::TooSmall,
        Self::Animated,
        Self::Cmyk,
        Self::Damaged,
        Self::TooHeavy,
        Self::Lost,
    ];

    /// Stable, dotted code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "image.empty",
            Self::TooManyBytes => "image.too_many_bytes",
            Self::Gif => "image.gif",
            Self::Avif => "image.avif",
            Self::Heic => "image.heic",
            Self::Svg => "image.svg",
            Self::UnknownType => "image.unknown_type",
            Self::TooLarge => "image.too_large",
            Self::TooSmall => "image.too_small",
            Self::Animated => "image.animated",
            Self::Cmyk => "image.cmyk",
            Self::Damaged => "image.damaged",
            Self::TooHeavy => "image.too_heavy",
            Self::Lost => "image.lost",
        }
    }

    /// What is wrong and how to mend it, in Vietnamese and in English.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Empty => (
                "Tệp ảnh trống: hãy chọn lại tệp và gửi lại.",
                "The file is empty: choose it again and send it again.",
            ),
            Self::TooManyBytes => (
                "Tệp ảnh quá nặng: tối đa 12 MiB; hãy giảm kích thước hoặc chất lượng ảnh rồi gửi lại.",
                "The file has too many bytes: at most 12 MiB; make the image smaller or lower its quality, then send it again.",
            ),
            Self::Gif => (
                "Không nhận ảnh GIF: hãy lưu ảnh thành JPEG, PNG hoặc WebP rồi gửi lại.",
                "GIF is not taken: save the image as JPEG, PNG or WebP and send it again.",
            ),
            Self::Avif => (
                "Không nhận ảnh AVIF: hãy gửi ảnh gốc dạng JPEG, PNG hoặc WebP; bản AVIF sẽ được tạo tự động.",
                "AVIF is not taken: send the original as JPEG, PNG or WebP; an AVIF is made of it.",
            ),
            Self::Heic => (
                "Không nhận ảnh HEIC: trên iPhone, vào Cài đặt > Camera > Định dạng, chọn \"Tương thích nhất\", hoặc xuất ảnh thành JPEG rồi gửi lại.",
                "HEIC is not taken: on an iPhone choose Settings > Camera > Formats > Most Compatible, or export the image as JPEG and send it again.",
            ),
            Self::Svg => (
                "Không nhận ảnh SVG hay tệp văn bản: hãy xuất ảnh thành PNG rồi gửi lại.",
                "SVG and text files are not taken: export the image as PNG and send it again.",
            ),
            Self::UnknownType => (
                "Tệp này không phải ảnh JPEG, PNG hay WebP: hãy gửi ảnh thuộc một trong ba dạng đó.",
                "This file is not a JPEG, PNG or WebP image: send one of these.",
            ),
            Self::TooLarge => (
                "Ảnh quá lớn: tối đa 40 triệu điểm ảnh, mỗi cạnh không quá 12.000 điểm ảnh; hãy thu nhỏ ảnh rồi gửi lại.",
                "The image is too large: at most 40 million pixels, no side above 12,000; make it smaller and send it again.",
            ),
            Self::TooSmall => (
                "Ảnh quá nhỏ: mỗi cạnh cần ít nhất 16 điểm ảnh; hãy gửi ảnh lớn hơn.",
                "The image is too small: each side needs at least 16 pixels; send a larger one.",
            ),
            Self::Animated => (
                "Không nhận ảnh động: hãy lưu một khung hình thành ảnh tĩnh rồi gửi lại.",
                "Animations are not taken: save one frame as a still image and send it again.",
            ),
            Self::Cmyk => (
                "Ảnh dùng hệ màu in (CMYK) nên màu trên màn hình sẽ sai: hãy lưu lại với hệ màu RGB (sRGB) rồi gửi lại.",
                "The image has the colours of print (CMYK), which would look wrong on screens: save it as RGB (sRGB) and send it again.",
            ),
            Self::Damaged => (
                "Ảnh bị hỏng hoặc gửi chưa đủ: hãy mở thử ảnh trên máy, lưu lại rồi gửi lại.",
                "The image is damaged or was cut off: see that it opens on your machine, save it again and send it again.",
            ),
            Self::TooHeavy => (
                "Ảnh cần quá nhiều bộ nhớ hoặc thời gian để xử lý: hãy thu nhỏ ảnh, lưu thành JPEG thường rồi gửi lại.",
                "The image takes too much memory or time: make it smaller, save it as a plain JPEG and send it again.",
            ),
            Self::Lost => (
                "Ảnh gửi lên không còn nữa trước khi được xử lý: hãy gửi lại.",
                "The upload was gone before it was worked on: send it again.",
            ),
        }
    }

    pub fn fault(self) -> Fault {
        let (vi, en) = self.words();
        Fault {
            pointer: String::new(),
            code: self.code().to_owned(),
            vi: vi.to_owned(),
            en: en.to_owned(),
        }
    }
}

impl fmt::Display for PictureFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl FromStr for PictureFault {
    type Err = NoSuchFault;

    fn from_str(text: &str) -> Result<Self, NoSuchFault> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.code() == text)
            .ok_or_else(|| NoSuchFault(text.to_owned()))
    }
}

/// The widths that are made of an upload of `width` and `height`, ascending; never empty.
pub fn widths(width: u32, height: u32) -> Vec<u32> {
    let mut last = width.min(WIDTHS[WIDTHS.len() - 1]);
    while last > 1 && u64::from(last) * u64::from(height_at(width, height, last)) > FORM_PIXELS_MAX
    {
        last -= 1;
    }
    // One that is hardly smaller than the next saves nobody anything.
    let mut widths: Vec<u32> = WIDTHS
        .into_iter()
        .filter(|candidate| candidate * 10 <= last * 9)
        .collect();
    widths.push(last);
    widths
}

/// The height at `at` pixels of width, rounded, at least one.
pub fn height_at(width: u32, height: u32, at: u32) -> u32 {
    let (width, height, at) = (u64::from(width.max(1)), u64::from(height), u64::from(at));
    let rounded = (height * at + width / 2) / width;
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_told_by_its_first_octets() {
        let webp = [b"RIFF\x10\0\0\0WEBPVP8 ".as_slice(), &[0; 8]].concat();
        for (octets, is) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Ok(Upload::Jpeg)),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Ok(Upload::Png)),
            (&webp, Ok(Upload::Webp)),
            (b"GIF89a", Err(PictureFault::Gif)),
            (b"\0\0\0\x20ftypheic", Err(PictureFault::Heic)),
            (b"\0\0\0\x20ftypmif1", Err(PictureFault::Heic)),
            (b"\0\0\0\x20ftypavif", Err(PictureFault::Avif)),
            (
                b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
                Err(PictureFault::Svg),
            ),
            (
                b"\xef\xbb\xbf \n<?xml version=\"1.0\"?><svg/>",
                Err(PictureFault::Svg),
            ),
            (b"RIFF\x10\0\0\0WAVE", Err(PictureFault::UnknownType)),
            (b"%PDF-1.7", Err(PictureFault::UnknownType)),
            (b"\xff\xd8", Err(PictureFault::UnknownType)),
            (b"", Err(PictureFault::UnknownType)),
        ] {
            assert_eq!(Upload::of(octets), is, "{octets:?}");
        }
    }

    #[test]
    fn widths_are_never_larger_than_the_upload_nor_than_the_bounds() {
        assert_eq!(widths(4032, 3024), [320, 640, 960, 1440]);
        assert_eq!(widths(1440, 1080), [320, 640, 960, 1440]);
        assert_eq!(widths(1000, 750), [320, 640, 1000]);
        assert_eq!(widths(200, 100), [200]);
        assert_eq!(widths(16, 16), [16]);
        for (width, height) in [(12_000, 16), (16, 12_000), (3000, 12_000), (12_000, 3333)] {
            let widths = widths(width, height);
            let last = *widths.last().unwrap();
            assert!(last <= width.min(1440));
            let pixels = u64::from(last) * u64::from(height_at(width, height, last));
            assert!(pixels <= FORM_PIXELS_MAX, "{width}x{height}");
            assert!(widths.is_sorted());
        }
    }

    #[test]
    fn every_fault_has_its_word_and_is_told_in_two_languages() {
        for fault in PictureFault::ALL {
            assert_eq!(fault.code().parse(), Ok(fault));
            let (vi, en) = fault.words();
            assert!(vi.ends_with('.') && en.ends_with('.'), "{fault}");
            assert_ne!(vi, en);
        }
    }

    #[test]
    fn an_image_is_named_by_what_was_uploaded() {
        assert_eq!(
            ImageId::of(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223"
        );
    }
}
