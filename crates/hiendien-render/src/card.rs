//! Pictures made of words: the card that a shared link shows, and the icons.
//!
//! They have two surfaces and one colour of letters, so each pixel is one of sixteen mixtures and four
//! bits hold it; a picture is some kilobytes.

use hiendien_domain::content::SiteContent;
use tiny_skia::{FillRule, Mask, Path, PathBuilder, Transform};

use crate::fonts;
use crate::lettering::Letters;
use crate::palette::{Palette, Rgb};
use crate::template::Template;
use crate::values::{CARD_HEIGHT, CARD_WIDTH, Site};

/// Mixtures of a surface and the letters, ends included. Two surfaces of these fill four bits.
const LEVELS: u8 = 8;
/// Height of the band at the card's foot, pixels.
const BAND: u32 = 96;
const FAVICON_PIXELS: u32 = 32;
/// Margin of the card, pixels.
const MARGIN: f32 = 88.0;
/// Font sizes of the name that are tried, and how many lines each may take.
const NAME_SIZES: [(f32, usize); 4] = [(112.0, 1), (92.0, 2), (72.0, 3), (56.0, 3)];
const TAGLINE_SIZE: f32 = 36.0;
const HOST_SIZE: f32 = 30.0;

/// What the pictures of one site are drawn from.
pub(crate) struct Drawn<'a> {
    display: Option<Letters<'a>>,
    text: Option<Letters<'a>>,
    site: &'a Site,
    host: &'a str,
    ground: Rgb,
    band: Rgb,
    ink: Rgb,
}

impl<'a> Drawn<'a> {
    pub(crate) fn new(
        template: &'a Template,
        content: &'a SiteContent,
        site: &'a Site,
        palette: &Palette,
    ) -> Self {
        let ground = Rgb::parse(&palette.light.accent_fill);
        let ink = Rgb::parse(&palette.light.on_accent);
        Self {
            display: fonts::display(&template.fonts).and_then(Letters::new),
            text: fonts::body(&template.fonts, fonts::REGULAR).and_then(Letters::new),
            site,
            host: &content.site().host_unicode,
            ground,
            // Darker, so that letters on it are read as well as beside it.
            band: ground.mixed(Rgb([0, 0, 0]), 0.22),
            ink,
        }
    }

    /// 1200 x 630: name, tagline, host.
    pub(crate) fn card(&self) -> Vec<u8> {
        let mut letters = PathBuilder::new();
        let width = pixels(CARD_WIDTH) - 2.0 * MARGIN;
        if let (Some(display), Some(text)) = (&self.display, &self.text) {
            let all = |size: f32| display.lines(&self.site.name, width / size, usize::MAX);
            let (size, lines_max) = NAME_SIZES
                .into_iter()
                .find(|(size, lines)| all(*size).len() <= *lines)
                .unwrap_or(NAME_SIZES[NAME_SIZES.len() - 1]);
            let name = display.lines(&self.site.name, width / size, lines_max);
            let tagline = text.lines(&self.site.tagline, width / TAGLINE_SIZE, 2);
            let mut y = MARGIN + size * 0.95;
            for line in &name {
                display.draw(line, MARGIN, y, size, &mut letters);
                y += size * 1.22;
            }
            y += 12.0;
            for line in &tagline {
                text.draw(line, MARGIN, y, TAGLINE_SIZE, &mut letters);
                y += TAGLINE_SIZE * 1.4;
            }
            let host = text.lines(self.host, width / HOST_SIZE, 1);
            for line in &host {
                let y = pixels(CARD_HEIGHT) - 40.0;
                text.draw(line, MARGIN, y, HOST_SIZE, &mut letters);
            }
        }
        self.png(
            CARD_WIDTH,
            CARD_HEIGHT,
            CARD_HEIGHT - BAND,
            letters.finish(),
        )
    }

    /// The initials, `size` pixels square.
    pub(crate) fn icon(&self, size: u32) -> Vec<u8> {
        let mut letters = PathBuilder::new();
        self.initials(pixels(size), &mut letters);
        self.png(size, size, size, letters.finish())
    }

    /// One picture in the container that browsers ask for by its name.
    pub(crate) fn favicon(&self) -> Vec<u8> {
        let png = self.icon(FAVICON_PIXELS);
        let length = u32::try_from(png.len()).unwrap_or_default();
        let size = u8::try_from(FAVICON_PIXELS).unwrap_or_default();
        let mut icon = vec![0, 0, 1, 0, 1, 0, size, size, 0, 0, 1, 0, 8, 0];
        icon.extend_from_slice(&length.to_le_bytes());
        // Behind the header and this one entry.
        icon.extend_from_slice(&22_u32.to_le_bytes());
        icon.extend_from_slice(&png);
        icon
    }

    pub(crate) fn icon_svg(&self) -> String {
        let mut path = String::new();
        self.initials(64.0, &mut path);
        let (ground, ink) = (self.ground.css(), self.ink.css());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\">\
             <rect width=\"64\" height=\"64\" rx=\"14\" fill=\"{ground}\"/><path fill=\"{ink}\" d=\"{path}\"/></svg>\n"
        )
    }

    /// In the middle of a square, within the circle that a phone may cut out.
    fn initials(&self, square: f32, pen: &mut impl crate::lettering::Draw) {
        let Some(display) = &self.display else {
            return;
        };
        let initials = &self.site.initials;
        let width = display.width(initials);
        let size = square * (0.58 / width.max(0.1)).min(0.5);
        let x = (square - width * size) / 2.0;
        let y = f32::midpoint(square, display.cap_height() * size);
        display.draw(initials, x, y, size, pen);
    }

    /// Letters on the ground, and on the band from the row `band` on.
    fn png(&self, width: u32, height: u32, band: u32, letters: Option<Path>) -> Vec<u8> {
        let mask = letters.and_then(|letters| {
            let mut mask = Mask::new(width, height)?;
            mask.fill_path(&letters, FillRule::Winding, true, Transform::identity());
            Some(mask)
        });
        let row_octets = width.div_ceil(2) as usize;
        let mut rows = vec![0; row_octets * height as usize];
        for (y, row) in rows.chunks_exact_mut(row_octets).enumerate() {
            let surface = if y < band as usize { 0 } else { LEVELS };
            row.fill(surface << 4 | surface);
            let Some(mask) = &mask else { continue };
            let start = y * width as usize;
            for (x, coverage) in mask.data()[start..start + width as usize]
                .iter()
                .enumerate()
            {
                // Eight levels, 0 and 255 being the ends.
                let shift = if x % 2 == 0 { 4 } else { 0 };
                row[x / 2] |= (coverage >> 5) << shift;
            }
        }
        let palette: Vec<u8> = [self.ground, self.band]
            .into_iter()
            .flat_map(|surface| {
                (0..LEVELS).flat_map(move |level| {
                    let share = f64::from(level) / f64::from(LEVELS - 1);
                    surface.mixed(self.ink, share).0
                })
            })
            .collect();
        encoded(width, height, &palette, &rows)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures are some hundred pixels wide"
)]
fn pixels(count: u32) -> f32 {
    count as f32
}

fn encoded(width: u32, height: u32, palette: &[u8], rows: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = png::Encoder::new(&mut octets, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_palette(palette);
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_filter(png::Filter::NoFilter);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(rows));
    written.expect("writing to memory cannot fail, and the picture is as large as it says");
    octets
}
