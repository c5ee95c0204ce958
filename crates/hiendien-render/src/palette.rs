//! A palette for light and for dark from one colour, with contrast assured.
//!
//! Colours are made in OKLCH, where lightness is what eyes see; then lightness alone is moved until
//! the WCAG ratio holds, which it does for every colour (see the tests).

use std::fmt::Write as _;

use serde::Serialize;

/// Least contrast of text (WCAG 1.4.3).
pub(crate) const TEXT_CONTRAST_MIN: f64 = 4.5;
/// Least contrast of what is read at length (WCAG 1.4.6).
pub(crate) const BODY_CONTRAST_MIN: f64 = 7.0;
/// A little more than asked, since colours are rounded to eight bits and mixed by templates.
const MARGIN: f64 = 0.15;
/// Strongest tint of a surface, OKLCH chroma.
const SURFACE_CHROMA_MAX: f64 = 0.012;

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rgb(pub(crate) [u8; 3]);

impl Rgb {
    /// `#rrggbb`; black where it is none.
    pub(crate) fn parse(text: &str) -> Self {
        let channel = |at: usize| {
            text.get(at..at + 2)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .unwrap_or_default()
        };
        Self([channel(1), channel(3), channel(5)])
    }

    pub(crate) fn css(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// So much of `other` in it, 0 to 1.
    pub(crate) fn mixed(self, other: Self, share: f64) -> Self {
        let mix = |index: usize| {
            let (own, other) = (f64::from(self.0[index]), f64::from(other.0[index]));
            eight_bits((own + (other - own) * share) / 255.0)
        };
        Self([mix(0), mix(1), mix(2)])
    }

    fn linear(self) -> [f64; 3] {
        self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    /// WCAG relative luminance.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.linear();
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// WCAG contrast ratio, 1 to 21.
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }
}

/// A colour as lightness (0 to 1), chroma and hue (radians).
#[derive(Debug, Clone, Copy)]
struct Oklch {
    lightness: f64,
    chroma: f64,
    hue: f64,
}

impl Oklch {
    fn of(colour: Rgb) -> Self {
        let [red, green, blue] = colour.linear();
        let long =
            (0.412_221_470_8 * red + 0.536_332_536_3 * green + 0.051_445_992_9 * blue).cbrt();
        let medium =
            (0.211_903_498_2 * red + 0.680_699_545_1 * green + 0.107_396_956_6 * blue).cbrt();
        let short =
            (0.088_302_461_9 * red + 0.281_718_837_6 * green + 0.629_978_700_5 * blue).cbrt();
        let lightness = 0.210_454_255_3 * long + 0.793_617_785_0 * medium - 0.004_072_046_8 * short;
        let a = 1.977_998_495_1 * long - 2.428_592_205_0 * medium + 0.450_593_709_9 * short;
        let b = 0.025_904_037_1 * long + 0.782_771_766_2 * medium - 0.808_675_766_0 * short;
        Self {
            lightness,
            chroma: a.hypot(b),
            hue: b.atan2(a),
        }
    }

    /// The nearest sRGB colour of this lightness and hue: chroma gives way.
    fn rgb(self) -> Rgb {
        let lightness = self.lightness.clamp(0.0, 1.0);
        let (mut low, mut high) = (0.0, self.chroma);
        if let Some(colour) = within(lightness, high, self.hue) {
            return colour;
        }
        let mut best = within(lightness, 0.0, self.hue).unwrap_or(Rgb([0, 0, 0]));
        for _ in 0..12 {
            let middle = f64::midpoint(low, high);
            if let Some(colour) = within(lightness, middle, self.hue) {
                best = colour;
                low = middle;
            } else {
                high = middle;
            }
        }
        best
    }

    fn at(self, lightness: f64, chroma_max: f64) -> Self {
        Self {
            lightness,
            chroma: self.chroma.min(chroma_max),
            ..self
        }
    }

    /// This colour, lighter or darker by as little as gives `ratio` on all of `grounds`.
    fn readable(self, grounds: &[Rgb], ratio: f64) -> Rgb {
        let enough = |colour: Rgb| {
            grounds
                .iter()
                .all(|ground| colour.contrast(*ground) >= ratio)
        };
        let own = self.rgb();
        if enough(own) {
            return own;
        }
        let brightest = grounds
            .iter()
            .map(|ground| ground.luminance())
            .fold(0.0, f64::max);
        // Middle grey by WCAG's ratio: below it, white is further away than black.
        let end = if brightest < 0.18 { 1.0 } else { 0.0 };
        let (mut near, mut far) = (self.lightness, end);
        for _ in 0..14 {
            let middle = f64::midpoint(near, far);
            if enough(self.at(middle, self.chroma).rgb()) {
                far = middle;
            } else {
                near = middle;
            }
        }
        self.at(far, self.chroma).rgb()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 255"
)]
fn eight_bits(value: f64) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The sRGB colour, `None` where the screen has none such.
fn within(lightness: f64, chroma: f64, hue: f64) -> Option<Rgb> {
    let (sin, cos) = hue.sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701_0 * short,
    ];
    let mut channels = [0; 3];
    for (channel, value) in channels.iter_mut().zip(linear) {
        if !(-0.0005..=1.0005).contains(&value) {
            return None;
        }
        let value = value.clamp(0.0, 1.0);
        let encoded = if value <= 0.003_130_8 {
            value * 12.92
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        *channel = eight_bits(encoded);
    }
    Some(Rgb(channels))
}

/// The colours of one scheme, `#rrggbb`. README.md of the site templates tells what each is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Scheme {
    pub(crate) accent: String,
    pub(crate) on_accent: String,
    pub(crate) accent_fill: String,
    pub(crate) tint: String,
    pub(crate) on_tint: String,
    pub(crate) ink: String,
    pub(crate) soft: String,
    pub(crate) paper: String,
    pub(crate) card: String,
    pub(crate) line: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Palette {
    pub(crate) light: Scheme,
    pub(crate) dark: Scheme,
}

impl Palette {
    pub(crate) fn new(accent: Rgb) -> Self {
        let accent = Oklch::of(accent);
        let light = Lightness {
            paper: 0.985,
            card: 1.0,
            tint: 0.945,
            line: 0.88,
            ink: 0.24,
            soft: 0.47,
            fill: accent.lightness.clamp(0.35, 0.62),
            accent: accent.lightness.min(0.5),
        };
        let dark = Lightness {
            paper: 0.19,
            card: 0.235,
            tint: 0.3,
            line: 0.37,
            ink: 0.95,
            soft: 0.76,
            fill: accent.lightness.clamp(0.4, 0.62),
            accent: accent.lightness.max(0.78),
        };
        Self {
            light: scheme(accent, &light),
            dark: scheme(accent, &dark),
        }
    }

    /// The custom properties, for both schemes.
    pub(crate) fn css(&self) -> String {
        let mut css = String::from(":root{color-scheme:light dark;");
        self.light.properties(&mut css);
        css.push_str("}@media (prefers-color-scheme:dark){:root{");
        self.dark.properties(&mut css);
        css.push_str("}}\n");
        css
    }
}

impl Scheme {
    fn properties(&self, css: &mut String) {
        for (name, colour) in [
            ("accent", &self.accent),
            ("on-accent", &self.on_accent),
            ("accent-fill", &self.accent_fill),
            ("tint", &self.tint),
            ("on-tint", &self.on_tint),
            ("ink", &self.ink),
            ("soft", &self.soft),
            ("paper", &self.paper),
            ("card", &self.card),
            ("line", &self.line),
        ] {
            write!(css, "--{name}:{colour};").expect("writing to a string cannot fail");
        }
    }
}

/// Wanted lightness of each colour; text moves on from there until it can be read.
struct Lightness {
    paper: f64,
    card: f64,
    tint: f64,
    line: f64,
    ink: f64,
    soft: f64,
    fill: f64,
    accent: f64,
}

fn scheme(accent: Oklch, wanted: &Lightness) -> Scheme {
    let surface = |lightness, chroma| accent.at(lightness, chroma).rgb();
    let paper = surface(wanted.paper, SURFACE_CHROMA_MAX / 2.0);
    let card = surface(wanted.card, SURFACE_CHROMA_MAX);
    let tint = surface(wanted.tint, 0.045);
    let grounds = [paper, card, tint];
    let text = TEXT_CONTRAST_MIN + MARGIN;
    let body = BODY_CONTRAST_MIN + MARGIN;
    // White on the fill, as the eye expects of a button; the fill gets darker for it.
    let white = Rgb([255, 255, 255]);
    let fill = accent
        .at(wanted.fill, accent.chroma)
        .readable(&[white], text);
    Scheme {
        accent: accent
            .at(wanted.accent, accent.chroma)
            .readable(&grounds, text)
            .css(),
        on_accent: white.css(),
        accent_fill: fill.css(),
        tint: tint.css(),
        on_tint: accent.at(wanted.ink, 0.03).readable(&[tint], body).css(),
        ink: accent.at(wanted.ink, 0.015).readable(&grounds, body).css(),
        soft: accent.at(wanted.soft, 0.02).readable(&grounds, text).css(),
        paper: paper.css(),
        card: card.css(),
        line: surface(wanted.line, 0.02).css(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(accent: [u8; 3]) {
        let palette = Palette::new(Rgb(accent));
        for scheme in [&palette.light, &palette.dark] {
            let least = |text: &str, ground: &str, ratio: f64| {
                let contrast = Rgb::parse(text).contrast(Rgb::parse(ground));
                assert!(
                    contrast >= ratio,
                    "{text} on {ground}: {contrast} for {accent:?}"
                );
            };
            for ground in [&scheme.paper, &scheme.card, &scheme.tint] {
                least(&scheme.ink, ground, BODY_CONTRAST_MIN);
                least(&scheme.soft, ground, TEXT_CONTRAST_MIN);
                least(&scheme.accent, ground, TEXT_CONTRAST_MIN);
            }
            least(&scheme.on_tint, &scheme.tint, BODY_CONTRAST_MIN);
            least(&scheme.on_accent, &scheme.accent_fill, TEXT_CONTRAST_MIN);
        }
    }

    #[test]
    fn corners_of_the_colours_can_be_read() {
        for red in [0, 128, 255] {
            for green in [0, 128, 255] {
                for blue in [0, 128, 255] {
                    check([red, green, blue]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_accent_gives_text_that_can_be_read(accent: [u8; 3]) {
            check(accent);
        }
    }

    #[test]
    fn the_ratio_is_the_one_of_wcag() {
        let (black, white) = (Rgb([0; 3]), Rgb([255; 3]));
        assert!((black.contrast(white) - 21.0).abs() < 1e-9);
        // A worked value: #777777 on white.
        assert!((Rgb([0x77; 3]).contrast(white) - 4.478).abs() < 0.001);
        assert_eq!(Rgb::parse("#b3541e").css(), "#b3541e");
    }
}
