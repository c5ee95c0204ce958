//! An uploaded image in, a picture in all its forms out. Runs in the container alone.
//!
//! What was uploaded is hostile: its size is looked at before anything is decoded, a decoder that
//! panics has refused it, and what takes too much memory or time ends with the container. Nothing but
//! pixels gets through: no EXIF (so no place and no camera), no XMP, no colour profile, nothing that was
//! appended. Colours of another RGB space than sRGB are converted; without a profile they are sRGB.
//! Transparent parts become white, so that the three forms show the same.

use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fast_image_resize::images::Image as Canvas;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use hiendien_domain::content::{ImageId, Picture};
use hiendien_domain::picture::{
    Form, PIXELS_MAX, PLACEHOLDER_BYTES_MAX, PLACEHOLDER_START, PictureFault, SIDE_MAX, SIDE_MIN,
    Upload, height_at, widths,
};
use hiendien_domain::site::{FileTree, SiteFile};
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, Limits};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};
use ravif::{Img, RGB8};

/// What decoding may allocate, bytes: 40 million pixels of 16-bit RGBA. With a decoder's own tables and the
/// upload it stays below the memory of the container.
const DECODED_BYTES_MAX: u64 = PIXELS_MAX * 8;
/// Qualities at which faces and dishes look as they were uploaded at arm's length, and pages stay light: on photos AVIF
/// and WebP are equally good by SSIMULACRA 2, and AVIF is a tenth smaller.
const AVIF_QUALITY: f32 = 66.0;
/// Of 1 (slow) to 10: encoding AVIF is most of the work, and a container has one core. 10 makes files larger than WebP;
/// 8 takes three times as long for a twentieth less.
const AVIF_SPEED: u8 = 9;
const WEBP_QUALITY: f32 = 70.0;
const JPEG_QUALITY: u8 = 78;
/// Widths of the blurred likeness, the first that fits is taken.
const PLACEHOLDER_WIDTHS: [u32; 3] = [16, 12, 8];
const PLACEHOLDER_QUALITY: f32 = 20.0;
/// Of linear light.
const WHITE: u16 = u16::MAX;

/// Why no picture was made.
#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// The sender has to send another.
    #[error("the upload is refused: `{0}`")]
    Refused(PictureFault),
    /// Ours.
    #[error("could not encode a picture as {form}: {fault}")]
    Encode { form: &'static str, fault: String },
}

impl From<PictureFault> for ImageFault {
    fn from(fault: PictureFault) -> Self {
        Self::Refused(fault)
    }
}

/// Makes a picture of what was uploaded.
pub fn picture(id: &ImageId, upload: &[u8]) -> Result<(Picture, FileTree), ImageFault> {
    let decoded = panic::catch_unwind(AssertUnwindSafe(|| decode(upload)));
    let Decoded {
        light,
        width,
        height,
        profile,
    } = decoded.unwrap_or(Err(PictureFault::Damaged))?;
    let colours = Colours::of(profile.as_deref());
    let widths = widths(width, height);
    let last = widths.last().copied().unwrap_or(width);
    let largest = light.resized(last, height_at(width, height, last))?;
    drop(light);
    let mut files = FileTree::default();
    for at in &widths {
        let shown = match *at {
            at if at == last => colours.shown(&largest),
            at => colours.shown(&largest.resized(at, height_at(width, height, at))?),
        };
        for form in Form::ALL {
            let file = SiteFile {
                media_type: form.media_type().to_owned(),
                identity: shown.encoded(form)?,
                gzip: None,
                brotli: None,
            };
            files
                .insert(&id.path(*at, form), file)
                .map_err(|error| encode_fault(form, &error))?;
        }
    }
    let picture = Picture {
        id: id.clone(),
        alt: String::new(),
        width: last,
        height: largest.height,
        widths,
        placeholder: placeholder(&largest, &colours)?,
    };
    Ok((picture, files))
}

fn encode_fault(form: Form, fault: &dyn std::fmt::Display) -> ImageFault {
    ImageFault::Encode {
        form: form.extension(),
        fault: fault.to_string(),
    }
}

/// The first width at which the likeness is small enough to stand in a stylesheet.
fn placeholder(largest: &Light, colours: &Colours) -> Result<String, ImageFault> {
    for width in PLACEHOLDER_WIDTHS {
        let width = width.min(largest.width);
        // What is very tall or very wide becomes less so: it is a blur that is stretched.
        let height = height_at(largest.width, largest.height, width).clamp(4, 24);
        let small = colours.shown(&largest.resized(width, height)?);
        let octets = small.webp(PLACEHOLDER_QUALITY);
        let url = format!("{PLACEHOLDER_START}{}", STANDARD.encode(octets));
        if url.len() <= PLACEHOLDER_BYTES_MAX {
            return Ok(url);
        }
    }
    Err(ImageFault::Encode {
        form: "placeholder",
        fault: format!("it has more than {PLACEHOLDER_BYTES_MAX} bytes at every width"),
    })
}

/// An upload as pixels, upright, and perhaps already smaller than it was.
struct Decoded {
    light: Light,
    /// Of the whole upload, upright.
    width: u32,
    height: u32,
    profile: Option<Vec<u8>>,
}

fn decode(upload: &[u8]) -> Result<Decoded, PictureFault> {
    let mut decoder: Box<dyn ImageDecoder + '_> = match Upload::of(upload)? {
        Upload::Jpeg => {
            look_at_jpeg(upload)?;
            Box::new(JpegDecoder::new(Cursor::new(upload)).map_err(|error| refused(&error))?)
        }
        Upload::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(upload), limits())
                .map_err(|error| refused(&error))?;
            if decoder.is_apng().unwrap_or(false) {
                return Err(PictureFault::Animated);
            }
            Box::new(decoder)
        }
        Upload::Webp => {
            let decoder = WebPDecoder::new(Cursor::new(upload)).map_err(|error| refused(&error))?;
            if decoder.has_animation() {
                return Err(PictureFault::Animated);
            }
            Box::new(decoder)
        }
    };
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    if decoder.total_bytes() > DECODED_BYTES_MAX {
        return Err(PictureFault::TooLarge);
    }
    decoder
        .set_limits(limits())
        .map_err(|error| refused(&error))?;
    // Neither is worth refusing an upload for.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder.icc_profile().ok().flatten();
    let kind = decoder.color_type();
    let length = usize::try_from(decoder.total_bytes()).map_err(|_| PictureFault::TooLarge)?;
    let mut octets = vec![0; length];
    decoder
        .read_image_boxed(&mut octets)
        .map_err(|error| refused(&error))?;
    let pixels = Pixels {
        width: width as usize,
        height: height as usize,
        kind,
        octets,
    };
    let (upright_width, upright_height) = if lies(orientation) {
        (height, width)
    } else {
        (width, height)
    };
    let light = pixels.light(reduction(upright_width, upright_height) as usize)?;
    drop(pixels);
    Ok(Decoded {
        light: light.turned(orientation),
        width: upright_width,
        height: upright_height,
        profile,
    })
}

/// Side of the squares that become a pixel before anything is made: for sharpness what is left is never below one and a
/// half times the largest form, and for memory not much above it.
fn reduction(width: u32, height: u32) -> u32 {
    let last = widths(width, height).last().copied().unwrap_or(1);
    (width * 2 / (last * 3)).max(1)
}

fn check_size(width: u32, height: u32) -> Result<(), PictureFault> {
    if width > SIDE_MAX || height > SIDE_MAX || u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(PictureFault::TooLarge);
    }
    if width < SIDE_MIN || height < SIDE_MIN {
        return Err(PictureFault::TooSmall);
    }
    Ok(())
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    limits
}

fn refused(error: &ImageError) -> PictureFault {
    match error {
        ImageError::Limits(_) => PictureFault::TooLarge,
        _ => PictureFault::Damaged,
    }
}

/// Walks over the segments of a JPEG: the decoder shows what was cut off in grey and guesses at the colours of print.
fn look_at_jpeg(upload: &[u8]) -> Result<(), PictureFault> {
    let mut at = 2;
    loop {
        // A marker may be preceded by any number of fill octets.
        while upload.get(at) == Some(&0xff) && upload.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let (Some(0xff), Some(&marker)) = (upload.get(at), upload.get(at + 1)) else {
            return Err(PictureFault::Damaged);
        };
        at += 2;
        match marker {
            // End of the image.
            0xd9 => return Ok(()),
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let length = match (upload.get(at), upload.get(at + 1)) {
            (Some(high), Some(low)) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(PictureFault::Damaged),
        };
        let segment = upload
            .get(at..at + length.max(2))
            .ok_or(PictureFault::Damaged)?;
        at += length.max(2);
        match marker {
            // Start of frame, of whatever kind: precision, height, width, number of components.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                if let [_, _, _, a, b, c, d, components, ..] = *segment {
                    let height = u16::from_be_bytes([a, b]);
                    let width = u16::from_be_bytes([c, d]);
                    check_size(width.into(), height.into())?;
                    if components == 4 {
                        return Err(PictureFault::Cmyk);
                    }
                }
            }
            // Start of scan: its data go on to the next marker that is no restart.
            0xda => {
                let rest = upload.get(at..).unwrap_or_default();
                let is_end =
                    |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
                at += rest
                    .windows(2)
                    .position(is_end)
                    .ok_or(PictureFault::Damaged)?;
            }
            _ => {}
        }
    }
}

fn lies(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// What a decoder gives.
struct Pixels {
    width: usize,
    height: usize,
    kind: ColorType,
    octets: Vec<u8>,
}

impl Pixels {
    /// Averages squares of `side` pixels in linear light.
    fn light(&self, side: usize) -> Result<Light, PictureFault> {
        // Where in a pixel's octets its colours are, and its opacity; of two octets the higher counts.
        let low = usize::from(cfg!(target_endian = "little"));
        let (size, colours, alpha): (usize, [usize; 3], Option<usize>) = match self.kind {
            ColorType::L8 => (1, [0; 3], None),
            ColorType::La8 => (2, [0; 3], Some(1)),
            ColorType::Rgb8 => (3, [0, 1, 2], None),
            ColorType::Rgba8 => (4, [0, 1, 2], Some(3)),
            ColorType::L16 => (2, [low; 3], None),
            ColorType::La16 => (4, [low; 3], Some(2 + low)),
            ColorType::Rgb16 => (6, [low, 2 + low, 4 + low], None),
            ColorType::Rgba16 => (8, [low, 2 + low, 4 + low], Some(6 + low)),
            _ => return Err(PictureFault::Damaged),
        };
        let linear = linear_of_srgb();
        let on_white = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as usize
        };
        let (width, height) = (self.width.div_ceil(side), self.height.div_ceil(side));
        let mut light = Vec::with_capacity(width * height * 3);
        let mut sums = vec![[0u32; 4]; width];
        for rows in self.octets.chunks(self.width * size * side) {
            sums.fill([0; 4]);
            for row in rows.chunks_exact(self.width * size) {
                for (square, sum) in row.chunks(size * side).zip(&mut sums) {
                    for pixel in square.chunks_exact(size) {
                        for (sum, colour) in sum.iter_mut().zip(colours) {
                            let value = match alpha {
                                None => usize::from(pixel[colour]),
                                Some(alpha) => on_white(pixel[colour], pixel[alpha]),
                            };
                            *sum += u32::from(linear[value]);
                        }
                        sum[3] += 1;
                    }
                }
            }
            for [red, green, blue, count] in &sums {
                light.extend(
                    [red, green, blue].map(|sum| u16::try_from(sum / count).unwrap_or(WHITE)),
                );
            }
        }
        let side = |side: usize| u32::try_from(side).map_err(|_| PictureFault::TooLarge);
        Ok(Light {
            width: side(width)?,
            height: side(height)?,
            samples: light,
        })
    }
}

/// An image in linear light, red, green, blue.
struct Light {
    width: u32,
    height: u32,
    samples: Vec<u16>,
}

impl Light {
    fn turned(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let (from_width, from_height) = (self.width as usize, self.height as usize);
        let (width, height) = if lies(orientation) {
            (from_height, from_width)
        } else {
            (from_width, from_height)
        };
        let mut light = Vec::with_capacity(self.samples.len());
        for y in 0..height {
            for x in 0..width {
                let (right, bottom) = (from_width - 1, from_height - 1);
                let (from_x, from_y) = match orientation {
                    Orientation::NoTransforms => (x, y),
                    Orientation::FlipHorizontal => (right - x, y),
                    Orientation::FlipVertical => (x, bottom - y),
                    Orientation::Rotate180 => (right - x, bottom - y),
                    Orientation::Rotate90 => (y, bottom - x),
                    Orientation::Rotate270 => (right - y, x),
                    Orientation::Rotate90FlipH => (y, x),
                    Orientation::Rotate270FlipH => (right - y, bottom - x),
                };
                let at = (from_y * from_width + from_x) * 3;
                light.extend_from_slice(&self.samples[at..at + 3]);
            }
        }
        let (width, height) = if lies(orientation) {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        };
        Self {
            width,
            height,
            samples: light,
        }
    }

    fn resized(&self, width: u32, height: u32) -> Result<Self, ImageFault> {
        let fault = |fault: &dyn std::fmt::Display| ImageFault::Encode {
            form: "a smaller image",
            fault: fault.to_string(),
        };
        let octets = self.samples.iter().flat_map(|value| value.to_ne_bytes());
        let from = Canvas::from_vec_u8(self.width, self.height, octets.collect(), PixelType::U16x3)
            .map_err(|error| fault(&error))?;
        let mut to = Canvas::new(width, height, PixelType::U16x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
        Resizer::new()
            .resize(&from, &mut to, &options)
            .map_err(|error| fault(&error))?;
        let pairs = to.buffer().chunks_exact(2);
        Ok(Self {
            width,
            height,
            samples: pairs
                .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
                .collect(),
        })
    }
}

/// How linear light becomes what screens show.
struct Colours {
    srgb: Vec<u8>,
    /// From the upload's own colours to sRGB.
    transform: Option<std::sync::Arc<moxcms::Transform8BitExecutor>>,
}

impl Colours {
    /// A profile that cannot be used is none.
    fn of(profile: Option<&[u8]>) -> Self {
        let transform = profile.and_then(|profile| {
            let made = panic::catch_unwind(|| {
                let profile = ColorProfile::new_from_slice(profile).ok()?;
                if profile.color_space != DataColorSpace::Rgb {
                    return None;
                }
                profile
                    .create_transform_8bit(
                        Layout::Rgb,
                        &ColorProfile::new_srgb(),
                        Layout::Rgb,
                        TransformOptions::default(),
                    )
                    .ok()
            });
            made.ok().flatten()
        });
        Self {
            srgb: srgb_of_linear(),
            transform,
        }
    }

    fn shown(&self, light: &Light) -> Shown {
        let octets: Vec<u8> = light
            .samples
            .iter()
            .map(|value| self.srgb[usize::from(*value)])
            .collect();
        let mut converted = vec![0; octets.len()];
        let octets = match &self.transform {
            Some(transform) if transform.transform(&octets, &mut converted).is_ok() => converted,
            _ => octets,
        };
        Shown {
            width: light.width,
            height: light.height,
            octets,
        }
    }
}

/// An image as screens show it, 8 bits of red, green, blue.
struct Shown {
    width: u32,
    height: u32,
    octets: Vec<u8>,
}

impl Shown {
    fn encoded(&self, form: Form) -> Result<Vec<u8>, ImageFault> {
        match form {
            Form::Avif => self.avif().map_err(|fault| encode_fault(form, &fault)),
            Form::Webp => Ok(self.webp(WEBP_QUALITY)),
            Form::Jpeg => self.jpeg().map_err(|fault| encode_fault(form, &fault)),
        }
    }

    fn avif(&self) -> Result<Vec<u8>, ravif::Error> {
        let pixels: Vec<RGB8> = self
            .octets
            .chunks_exact(3)
            .map(|pixel| RGB8::new(pixel[0], pixel[1], pixel[2]))
            .collect();
        let image = Img::new(&pixels[..], self.width as usize, self.height as usize);
        let encoded = ravif::Encoder::new()
            .with_quality(AVIF_QUALITY)
            .with_speed(AVIF_SPEED)
            .with_bit_depth(ravif::BitDepth::Eight)
            .with_num_threads(Some(1))
            .encode_rgb(image)?;
        Ok(encoded.avif_file)
    }

    fn webp(&self, quality: f32) -> Vec<u8> {
        webp::Encoder::from_rgb(&self.octets, self.width, self.height)
            .encode(quality)
            .to_vec()
    }

    fn jpeg(&self) -> Result<Vec<u8>, String> {
        let side = |side: u32| u16::try_from(side).map_err(|error| error.to_string());
        let mut out = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut out, JPEG_QUALITY);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
        encoder.set_progressive(true);
        encoder.set_optimized_huffman_tables(true);
        encoder
            .encode(
                &self.octets,
                side(self.width)?,
                side(self.height)?,
                jpeg_encoder::ColorType::Rgb,
            )
            .map_err(|error| error.to_string())?;
        Ok(out)
    }
}

/// Linear light of each value of sRGB (IEC 61966-2-1).
fn linear_of_srgb() -> [u16; 256] {
    std::array::from_fn(|value| {
        let value = f64::from(u8::try_from(value).unwrap_or(u8::MAX)) / 255.0;
        let linear = if value <= 0.040_45 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is 0 to 1"
        )]
        let linear = (linear * f64::from(WHITE)).round() as u16;
        linear
    })
}

/// The value of sRGB for each amount of linear light.
fn srgb_of_linear() -> Vec<u8> {
    (0..=WHITE)
        .map(|linear| {
            let linear = f64::from(linear) / f64::from(WHITE);
            let value = if linear <= 0.003_130_8 {
                linear * 12.92
            } else {
                1.055 * linear.powf(1.0 / 2.4) - 0.055
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is 0 to 1"
            )]
            let value = (value * 255.0).round() as u8;
            value
        })
        .collect()
}

#[cfg(test)]
mod tests;
