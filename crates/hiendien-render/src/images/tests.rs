use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};

use super::*;
use crate::job::{read_picture, write_picture};

/// A sky with grain in it, and a red corner at the top left by which one sees how it lies.
fn photo(width: u32, height: u32) -> RgbImage {
    let mut grain = 1u32;
    ImageBuffer::from_fn(width, height, |x, y| {
        grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = u8::try_from(grain >> 28).unwrap();
        if x < width / 4 && y < height / 4 {
            return Rgb([200, noise, noise]);
        }
        let part = |value: u32, of: u32| u8::try_from(value * 180 / of).unwrap();
        Rgb([
            part(x, width) + noise,
            100 + noise,
            part(y, height) + 60 + noise,
        ])
    })
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A JPEG with what cameras put in: orientation, camera, place; and XMP.
fn jpeg(image: &RgbImage, orientation: u8, profile: Option<&[u8]>) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0".to_vec();
    // Camera, orientation, where the place is.
    exif.extend([3, 0]);
    exif.extend(*b"\x0f\x01\x02\0\x0a\0\0\0\x32\0\0\0");
    exif.extend([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    exif.extend(*b"\x25\x88\x04\0\x01\0\0\0\x3c\0\0\0");
    exif.extend([0; 4]);
    exif.extend(*b"SecretCam\0");
    // North.
    exif.extend(*b"\x01\0\x01\0\x02\0\x02\0\0\0N\0\0\0\0\0\0\0");
    exif.extend(*b"GPS 21.0285");
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 90);
    encoder.add_app_segment(1, &exif).unwrap();
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>SecretCam</x:xmpmeta>";
    encoder.add_app_segment(1, xmp).unwrap();
    if let Some(profile) = profile {
        encoder.add_icc_profile(profile).unwrap();
    }
    let side = |pixels: u32| u16::try_from(pixels).unwrap();
    let (width, height) = (side(image.width()), side(image.height()));
    encoder
        .encode(image, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    out.extend(b"SecretCam trailer");
    out
}

fn made(upload: &[u8]) -> (Picture, FileTree) {
    picture(&ImageId::of(upload), upload).unwrap()
}

fn fault_of(upload: &[u8]) -> PictureFault {
    match picture(&ImageId::of(upload), upload) {
        Err(ImageFault::Refused(fault)) => fault,
        other => panic!("{:?}", other.map(|(picture, _)| picture)),
    }
}

fn shown(files: &FileTree, picture: &Picture, width: u32, form: Form) -> RgbImage {
    let octets = &files.get(&picture.id.path(width, form)).unwrap().identity;
    image::load_from_memory(octets).unwrap().into_rgb8()
}

/// Width and height that an AVIF tells in its `ispe` box.
fn size_of_avif(octets: &[u8]) -> (u32, u32) {
    let at = octets.windows(4).position(|four| four == b"ispe").unwrap() + 8;
    let number = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().unwrap());
    (number(at), number(at + 4))
}

/// Everything a picture has to be, whatever it was made of.
#[track_caller]
fn check(picture: &Picture, files: &FileTree) {
    assert_eq!(files.len(), picture.widths.len() * 3);
    assert_eq!(picture.widths.last(), Some(&picture.width));
    for (path, form) in picture.files() {
        let octets = &files.get(&path).unwrap().identity;
        assert!(form.begins(octets), "{path}");
        for secret in [
            &b"Exif"[..],
            b"GPS",
            b"SecretCam",
            b"ns.adobe.com",
            b"ICC_PROFILE",
            b"ICCP",
            b"iCCP",
        ] {
            let is_in = octets.windows(secret.len()).any(|part| part == secret);
            assert!(!is_in, "{path} holds {:?}", String::from_utf8_lossy(secret));
        }
        let width: u32 = path.rsplit(['-', '.']).nth(1).unwrap().parse().unwrap();
        let height = match form {
            Form::Avif => {
                let (wide, high) = size_of_avif(octets);
                assert_eq!(wide, width);
                high
            }
            Form::Webp | Form::Jpeg => {
                let image = image::load_from_memory(octets).unwrap();
                assert_eq!(image.width(), width);
                image.height()
            }
        };
        let meant = f64::from(picture.height) * f64::from(width) / f64::from(picture.width);
        assert!((f64::from(height) - meant).abs() <= 1.0, "{path}: {height}");
    }
    let blur = picture.placeholder.strip_prefix(PLACEHOLDER_START).unwrap();
    let blur = STANDARD.decode(blur).unwrap();
    assert!(image::load_from_memory_with_format(&blur, ImageFormat::WebP).is_ok());
    assert!(picture.placeholder.len() <= PLACEHOLDER_BYTES_MAX);
}

#[test]
fn a_photograph_becomes_all_forms_upright_and_without_its_secrets() {
    let upload = jpeg(&photo(480, 320), 6, None);
    let (picture, files) = made(&upload);
    check(&picture, &files);
    assert_eq!((picture.width, picture.height), (320, 480));
    assert_eq!(picture.widths, [320]);
    // What was at the top left is at the top right once it is turned clockwise.
    for form in [Form::Jpeg, Form::Webp] {
        let image = shown(&files, &picture, 320, form);
        let [right, left] = [image.width() - 20, 20].map(|x| image.get_pixel(x, 20).0);
        assert!(right[0] > 180 && right[1] < 40, "{form:?}: {right:?}");
        assert!(left[1] > 80, "{form:?}: {left:?}");
    }
}

#[test]
fn each_orientation_brings_the_corner_to_its_place() {
    let image = photo(64, 48);
    // Where the top left of the stored image is seen, by the numbers of EXIF.
    let corners = [
        (0, 0),
        (1, 0),
        (1, 1),
        (0, 1),
        (0, 0),
        (1, 0),
        (1, 1),
        (0, 1),
    ];
    for (orientation, (right, down)) in (1u8..).zip(corners) {
        let (picture, files) = made(&jpeg(&image, orientation, None));
        let lies = orientation >= 5;
        let size = if lies { (48, 64) } else { (64, 48) };
        assert_eq!((picture.width, picture.height), size, "{orientation}");
        let seen = shown(&files, &picture, picture.width, Form::Jpeg);
        let place = |far: u32, side: u32| if far == 1 { side - 4 } else { 3 };
        let pixel = seen.get_pixel(place(right, size.0), place(down, size.1)).0;
        assert!(pixel[0] > 150 && pixel[1] < 60, "{orientation}: {pixel:?}");
    }
}

#[test]
fn every_kind_of_pixel_is_taken() {
    let rgb = photo(120, 80);
    let deep = DynamicImage::ImageRgb8(rgb.clone()).into_rgb16();
    let grey: ImageBuffer<Luma<u8>, _> = DynamicImage::ImageRgb8(rgb.clone()).into_luma8();
    let deep_grey = DynamicImage::ImageRgb8(rgb.clone()).into_luma16();
    let deep_clear = DynamicImage::ImageRgb8(rgb.clone()).into_rgba16();
    for upload in [
        png(rgb.clone()),
        png(deep),
        png(deep_clear),
        png(grey.clone()),
        png(DynamicImage::ImageLuma16(deep_grey)),
        encoded(rgb.clone(), ImageFormat::WebP),
        encoded(
            DynamicImage::ImageRgb8(rgb.clone()).into_rgba8(),
            ImageFormat::WebP,
        ),
        encoded(grey, ImageFormat::Jpeg),
        webp::Encoder::from_rgb(&rgb, 120, 80).encode(80.0).to_vec(),
    ] {
        let (picture, files) = made(&upload);
        check(&picture, &files);
        assert_eq!(picture.widths, [120]);
        let seen = shown(&files, &picture, 120, Form::Webp);
        let pixel = seen.get_pixel(100, 10).0;
        assert!(pixel[0] > 60 && pixel[1] > 60, "{pixel:?}");
    }
}

#[test]
fn what_is_transparent_is_white_in_every_form() {
    let image = ImageBuffer::from_fn(200, 200, |x, _| match x {
        0..100 => Rgba([0, 0, 0, 0]),
        _ => Rgba([0u8, 0, 200, 255]),
    });
    let (picture, files) = made(&png(image));
    for form in [Form::Jpeg, Form::Webp] {
        let seen = shown(&files, &picture, 200, form);
        let clear = seen.get_pixel(40, 100).0;
        assert!(
            clear.iter().all(|value| *value > 245),
            "{form:?}: {clear:?}"
        );
        let blue = seen.get_pixel(160, 100).0;
        assert!(blue[2] > 150 && blue[0] < 40, "{form:?}: {blue:?}");
    }
}

#[test]
fn colours_of_a_wider_space_are_converted() {
    let image = RgbImage::from_pixel(100, 100, Rgb([200, 100, 50]));
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let plain = made(&jpeg(&image, 1, None));
    let wide = made(&jpeg(&image, 1, Some(&profile)));
    check(&wide.0, &wide.1);
    let pixel = |(picture, files): &(Picture, FileTree)| {
        shown(files, picture, 100, Form::Jpeg).get_pixel(50, 50).0
    };
    let (plain, wide) = (pixel(&plain), pixel(&wide));
    assert!(plain[0].abs_diff(200) < 4, "{plain:?}");
    // The same colour needs more red in the narrower space.
    assert!(wide[0] > plain[0] + 8 && wide[2] < plain[2], "{wide:?}");
    // A profile that is none is no reason to refuse.
    let (picture, files) = made(&jpeg(&image, 1, Some(b"not a profile")));
    check(&picture, &files);
}

#[test]
fn the_largest_uploads_of_every_shape_fit_into_memory() {
    for width in (SIDE_MIN..=SIDE_MAX).step_by(61) {
        let height = u32::try_from(PIXELS_MAX / u64::from(width)).unwrap();
        let height = height.clamp(SIDE_MIN, SIDE_MAX);
        let side = reduction(width, height);
        let left = u64::from(width / side) * u64::from(height / side);
        assert!(
            left <= 25_000_000,
            "{width} by {height}: {left} pixels are left"
        );
        let last = *widths(width, height).last().unwrap();
        assert!(
            side == 1 || width / side >= last + last / 2,
            "{width} by {height}"
        );
    }
}

#[test]
fn the_same_upload_gives_the_same_files() {
    let upload = jpeg(&photo(100, 60), 1, None);
    assert!(made(&upload) == made(&upload));
}

#[test]
fn what_was_cut_off_is_refused() {
    let image = photo(300, 200);
    for whole in [
        jpeg(&image, 1, None),
        png(image.clone()),
        encoded(image.clone(), ImageFormat::WebP),
        webp::Encoder::from_rgb(&image, 300, 200)
            .encode(80.0)
            .to_vec(),
    ] {
        for part in [20, whole.len() / 3, whole.len() * 3 / 4] {
            assert_eq!(fault_of(&whole[..part]), PictureFault::Damaged, "{part}");
        }
    }
}

fn chunk(kind: [u8; 4], inner: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(&kind);
    crc.update(inner);
    let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
    [&length[..], &kind, inner, &crc.sum().to_be_bytes()].concat()
}

/// A PNG that says it is so large and has hardly anything in it.
fn hollow_png(width: u32, height: u32) -> Vec<u8> {
    let head = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 6, 0, 0, 0],
    ]
    .concat();
    let zeros = crate::gzipped(&vec![0; 50_000]).unwrap();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(*b"IHDR", &head),
        chunk(*b"IDAT", &zeros),
        chunk(*b"IEND", &[]),
    ]
    .concat()
}

#[test]
fn what_is_too_large_or_too_small_is_refused_before_it_is_decoded() {
    for (width, height) in [(30_000, 30_000), (12_001, 20), (20, 12_001), (9000, 9000)] {
        assert_eq!(fault_of(&hollow_png(width, height)), PictureFault::TooLarge);
    }
    // A JPEG's frame is looked at before the decoder gets to see it.
    let mut large = jpeg(&photo(64, 64), 1, None);
    let frame = large
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert_eq!(fault_of(&large), PictureFault::TooLarge);
    for (width, height) in [(15, 100), (100, 15), (1, 1)] {
        assert_eq!(fault_of(&png(photo(width, height))), PictureFault::TooSmall);
    }
}

#[test]
fn what_is_no_still_picture_for_screens_is_refused() {
    let mut print = Vec::new();
    jpeg_encoder::Encoder::new(&mut print, 80)
        .encode(&[128; 32 * 32 * 4], 32, 32, jpeg_encoder::ColorType::Cmyk)
        .unwrap();
    assert_eq!(fault_of(&print), PictureFault::Cmyk);

    let still = png(photo(32, 32));
    let head = 8 + 25;
    let plays = chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]);
    let moving = [&still[..head], &plays, &still[head..]].concat();
    assert_eq!(fault_of(&moving), PictureFault::Animated);

    let config = webp::WebPConfig::new().unwrap();
    let mut moving = webp::AnimEncoder::new(32, 32, &config);
    let (one, two) = (photo(32, 32), RgbImage::new(32, 32));
    moving.add_frame(webp::AnimFrame::from_rgb(&one, 32, 32, 0));
    moving.add_frame(webp::AnimFrame::from_rgb(&two, 32, 32, 100));
    assert_eq!(fault_of(&moving.encode()), PictureFault::Animated);

    assert_eq!(fault_of(b"GIF89a\x01\0\x01\0"), PictureFault::Gif);
    assert_eq!(fault_of(b"<svg onload='x()'/>"), PictureFault::Svg);
    assert_eq!(fault_of(b"\0\0\0\x18ftypheic"), PictureFault::Heic);
    assert_eq!(fault_of(b""), PictureFault::UnknownType);
}

#[test]
fn what_is_appended_or_hidden_does_not_get_through() {
    let script = b"<script>alert(1)</script><?php system('id'); ?>PK\x03\x04".as_slice();
    let image = photo(100, 80);
    for upload in [
        [&jpeg(&image, 1, None), script].concat(),
        [&png(image.clone()), script].concat(),
    ] {
        let (picture, files) = made(&upload);
        check(&picture, &files);
        for (path, file) in files.iter() {
            for part in [&b"<script"[..], b"<?php", b"PK\x03\x04"] {
                let is_in = file
                    .identity
                    .windows(part.len())
                    .any(|octets| octets == part);
                assert!(!is_in, "{path}");
            }
        }
    }
}

#[test]
fn octets_changed_at_random_are_a_picture_or_refused() {
    let image = photo(48, 40);
    let mut state = 7u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for whole in [
        jpeg(&image, 3, None),
        png(image.clone()),
        encoded(image.clone(), ImageFormat::WebP),
        webp::Encoder::from_rgb(&image, 48, 40)
            .encode(80.0)
            .to_vec(),
    ] {
        for _ in 0..15 {
            let mut changed = whole.clone();
            for _ in 0..=random(6) {
                let at = random(changed.len());
                changed[at] = u8::try_from(random(256)).unwrap();
            }
            match picture(&ImageId::of(&changed), &changed) {
                Ok((picture, files)) => check(&picture, &files),
                Err(ImageFault::Refused(_)) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
    }
}

#[test]
fn an_answer_is_read_as_it_was_written_and_nothing_else_is() {
    let upload = png(photo(400, 100));
    let id = ImageId::of(&upload);
    let (picture, files) = made(&upload);
    let written = |made| {
        let mut out = Vec::new();
        write_picture(&id, made, &mut out).unwrap();
        out
    };
    let answer = written(Ok((picture.clone(), files.clone())));
    let read = read_picture(&id, &answer).unwrap().unwrap();
    assert!(read == (picture.clone(), files.clone()));
    let refused = written(Err(PictureFault::Damaged));
    assert_eq!(
        read_picture(&id, &refused).unwrap().unwrap_err(),
        PictureFault::Damaged
    );
    assert!(read_picture(&ImageId::of(b"another"), &answer).is_err());
    assert!(read_picture(&id, &answer[..answer.len() - 1]).is_err());

    let hostile = |change: &dyn Fn(&mut Picture, &mut FileTree)| {
        let (mut picture, mut files) = (picture.clone(), files.clone());
        change(&mut picture, &mut files);
        read_picture(&id, &written(Ok((picture, files)))).is_err()
    };
    let page = |path: &str| {
        let path = path.to_owned();
        move |_: &mut Picture, files: &mut FileTree| {
            let file = SiteFile {
                media_type: "text/html".to_owned(),
                identity: b"<script>".to_vec(),
                gzip: None,
                brotli: None,
            };
            files.insert(&path, file).unwrap();
        }
    };
    assert!(!hostile(&|_, _| {}));
    assert!(hostile(&page("index.html")));
    assert!(hostile(&page(&id.path(320, Form::Avif))));
    assert!(hostile(&page(&id.path(640, Form::Jpeg))));
    assert!(hostile(&|picture, _| picture.alt = "<b>".to_owned()));
    assert!(hostile(&|picture, _| picture.widths = vec![320, 320, 400]));
    assert!(hostile(&|picture, _| picture.widths.clear()));
    assert!(hostile(&|picture, _| picture.height = 0));
    assert!(hostile(&|picture, _| picture.id = ImageId::of(b"another")));
    for placeholder in [
        "",
        "https://evil.example/x.webp",
        "data:image/webp;base64,AAAA",
        "data:image/webp;base64,UklGRgAAAABXRUJQ\"); x: url(\"",
        "data:image/svg+xml,<svg/>",
    ] {
        assert!(hostile(&|picture, _| {
            picture.placeholder = placeholder.to_owned();
        }));
    }
}
