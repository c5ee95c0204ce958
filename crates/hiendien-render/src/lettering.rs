//! Words as outlines, and lines of words that fit a width. For pictures and PDF.
//!
//! Vietnamese in composed form needs no more than each letter's own glyph; kerning is left to browsers.

use std::collections::HashMap;
use std::fmt::Write as _;

use tiny_skia::PathBuilder;
use ttf_parser::{GlyphId, OutlineBuilder};

use crate::fonts::Face;

/// A face, read. Its few hundred letters are looked up once, since a long text asks for each of them
/// many times.
pub(crate) struct Letters<'a> {
    face: ttf_parser::Face<'a>,
    known: HashMap<char, (GlyphId, f32)>,
}

impl<'a> Letters<'a> {
    pub(crate) fn new(face: &'a Face) -> Option<Self> {
        let face = ttf_parser::Face::parse(&face.ttf.0, 0).ok()?;
        let mut known = HashMap::new();
        let em = f32::from(face.units_per_em());
        for table in face.tables().cmap?.subtables {
            table.codepoints(|code| {
                if let Some(letter) = char::from_u32(code)
                    && let Some(glyph) = face.glyph_index(letter)
                {
                    let advance = face.glyph_hor_advance(glyph).unwrap_or_default();
                    known.insert(letter, (glyph, f32::from(advance) / em));
                }
            });
        }
        Some(Self { face, known })
    }

    /// A letter's glyph, and how far it moves the pen in parts of the font size.
    pub(crate) fn glyph(&self, letter: char) -> Option<(GlyphId, f32)> {
        let letter = if letter == '\u{a0}' { ' ' } else { letter };
        self.known.get(&letter).copied()
    }

    fn em(&self) -> f32 {
        f32::from(self.face.units_per_em())
    }

    /// Height of capitals, in parts of the font size.
    pub(crate) fn cap_height(&self) -> f32 {
        let height = self.face.capital_height();
        height.map_or(0.7, |height| f32::from(height) / self.em())
    }

    /// In parts of the font size. A letter the font has not takes no place.
    pub(crate) fn width(&self, text: &str) -> f32 {
        text.chars()
            .filter_map(|letter| self.glyph(letter))
            .map(|(_, advance)| advance)
            .sum()
    }

    /// Adds the outlines of `text`, its baseline beginning at `x`, `y`.
    pub(crate) fn draw(&self, text: &str, x: f32, y: f32, size: f32, pen: &mut impl Draw) {
        let mut x = x;
        for (glyph, advance) in text.chars().filter_map(|letter| self.glyph(letter)) {
            let scale = size / self.em();
            self.face
                .outline_glyph(glyph, &mut Placed { pen, x, y, scale });
            x += advance * size;
        }
    }

    /// `text` in lines of at most `width` (in parts of the font size). A word that no line holds is
    /// broken; what `lines_max` lines do not hold ends in an ellipsis.
    pub(crate) fn lines(&self, text: &str, width: f32, lines_max: usize) -> Vec<String> {
        let mut lines: Vec<String> = vec![String::new()];
        let mut used = 0.0;
        let space = self.width(" ");
        for word in text.split_whitespace() {
            let length = self.width(word);
            let line = lines.last_mut().expect("there is always a line");
            if !line.is_empty() && used + space + length <= width {
                line.push(' ');
                line.push_str(word);
                used += space + length;
                continue;
            }
            if !line.is_empty() {
                lines.push(String::new());
                used = 0.0;
            }
            for letter in word.chars() {
                let advance = self.width(letter.encode_utf8(&mut [0; 4]));
                if used + advance > width && used > 0.0 {
                    lines.push(String::new());
                    used = 0.0;
                }
                lines
                    .last_mut()
                    .expect("there is always a line")
                    .push(letter);
                used += advance;
            }
            if lines.len() > lines_max {
                break;
            }
        }
        if lines.len() > lines_max {
            lines.truncate(lines_max);
            if let Some(last) = lines.last_mut() {
                while !last.is_empty() && self.width(last) + self.width("…") > width {
                    last.pop();
                }
                last.truncate(last.trim_end().len());
                last.push('…');
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }
}

/// Takes an outline.
pub(crate) trait Draw {
    fn start(&mut self, x: f32, y: f32);
    fn line(&mut self, x: f32, y: f32);
    fn quad(&mut self, x1: f32, y1: f32, x: f32, y: f32);
    fn cubic(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32);
    fn end(&mut self);
}

impl Draw for PathBuilder {
    fn start(&mut self, x: f32, y: f32) {
        self.move_to(x, y);
    }

    fn line(&mut self, x: f32, y: f32) {
        self.line_to(x, y);
    }

    fn quad(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.quad_to(x1, y1, x, y);
    }

    fn cubic(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn end(&mut self) {
        self.close();
    }
}

const IN_MEMORY: &str = "writing to a string cannot fail";

/// SVG path data.
impl Draw for String {
    fn start(&mut self, x: f32, y: f32) {
        write!(self, "M{x:.1} {y:.1}").expect(IN_MEMORY);
    }

    fn line(&mut self, x: f32, y: f32) {
        write!(self, "L{x:.1} {y:.1}").expect(IN_MEMORY);
    }

    fn quad(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        write!(self, "Q{x1:.1} {y1:.1} {x:.1} {y:.1}").expect(IN_MEMORY);
    }

    fn cubic(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        write!(self, "C{x1:.1} {y1:.1} {x2:.1} {y2:.1} {x:.1} {y:.1}").expect(IN_MEMORY);
    }

    fn end(&mut self) {
        self.push('z');
    }
}

struct Placed<'a, P> {
    pen: &'a mut P,
    x: f32,
    y: f32,
    scale: f32,
}

impl<P> Placed<'_, P> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl<P: Draw> OutlineBuilder for Placed<'_, P> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.start(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.line(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.pen.quad(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.pen.cubic(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.pen.end();
    }
}
