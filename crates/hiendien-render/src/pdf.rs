//! A CV as PDF: A4, from the same data as the page, with its fonts in it.
//!
//! First everything is placed on pages, then drawn, since a link is made of its page and not of what
//! is on it.

use std::ops::Range;

use hiendien_domain::content::{CvContent, Experience, Skill};
use krilla::action::LinkAction;
use krilla::annotation::{LinkAnnotation, Target};
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use krilla::{Data, Document};

use crate::filters;
use crate::fonts::{self, Face};
use crate::lettering::Letters;
use crate::palette::{Palette, Rgb};
use crate::text::Words;
use crate::values::Site;

/// A4 and its margin, points.
const WIDTH: f32 = 595.28;
const HEIGHT: f32 = 841.89;
const MARGIN: f32 = 51.0;
const PAGES_MAX: usize = 60;
const TEXT: f32 = 10.0;
const LEADING: f32 = 1.45;
/// Lines a single text may take.
const LINES_MAX: usize = 200;

/// `None` where the template has no fonts to write it with.
pub(crate) fn cv(
    cv: &CvContent,
    site: &Site,
    faces: &[Face],
    words: &Words,
    palette: &Palette,
) -> Option<Vec<u8>> {
    let colour = |text: &str| Rgb::parse(text);
    let face = |face: &'_ Face| Font::new(Data::from(face.ttf.0.to_vec()), 0);
    let display = fonts::display(faces)?;
    let regular = fonts::body(faces, fonts::REGULAR)?;
    let bold = fonts::body(faces, fonts::BOLD)?;
    let mut sheet = Sheet {
        letters: [
            Letters::new(display)?,
            Letters::new(regular)?,
            Letters::new(bold)?,
        ],
        pages: vec![Vec::new()],
        y: MARGIN,
        ink: colour(&palette.light.ink),
        soft: colour(&palette.light.soft),
        accent: colour(&palette.light.accent),
    };
    sheet.cv(cv, site, words);

    let fonts = [face(display)?, face(regular)?, face(bold)?];
    let mut document = Document::new();
    let language = words.get("lang").to_owned();
    document.set_metadata(
        Metadata::new()
            .title(site.name.clone())
            .authors(vec![site.name.clone()])
            .description(cv.headline.clone())
            .language(language),
    );
    for marks in &sheet.pages {
        let mut page = document.start_page_with(PageSettings::from_wh(WIDTH, HEIGHT)?);
        let mut surface = page.surface();
        for mark in marks {
            match mark {
                Mark::Words { x, y, hand, text } => {
                    let letters = &sheet.letters[hand.face as usize];
                    surface.set_fill(Some(fill(hand.colour)));
                    surface.draw_glyphs(
                        Point::from_xy(*x, *y),
                        &glyphs(letters, text),
                        fonts[hand.face as usize].clone(),
                        text,
                        hand.size,
                        false,
                    );
                }
                Mark::Line { y, colour } => {
                    let mut path = PathBuilder::new();
                    path.push_rect(Rect::from_xywh(MARGIN, *y, WIDTH - 2.0 * MARGIN, 0.8)?);
                    surface.set_fill(Some(fill(*colour)));
                    surface.draw_path(&path.finish()?);
                }
                Mark::Link { .. } => {}
            }
        }
        surface.finish();
        for mark in marks {
            if let Mark::Link { area, url } = mark {
                let target = Target::Action(LinkAction::new(url.clone()).into());
                let area = Rect::from_ltrb(area.0.start, area.1.start, area.0.end, area.1.end)?;
                page.add_annotation(LinkAnnotation::new(area, target).into());
            }
        }
        page.finish();
    }
    document.finish().ok()
}

fn fill(colour: Rgb) -> Fill {
    let [red, green, blue] = colour.0;
    Fill {
        paint: rgb::Color::new(red, green, blue).into(),
        opacity: NormalizedF32::ONE,
        rule: krilla::paint::FillRule::default(),
    }
}

fn glyphs(letters: &Letters<'_>, text: &str) -> Vec<KrillaGlyph> {
    let glyph = |(index, letter): (usize, char)| {
        let (glyph, advance) = letters.glyph(letter)?;
        let range = index..index + letter.len_utf8();
        let id = GlyphId::new(u32::from(glyph.0));
        Some(KrillaGlyph::new(id, advance, 0.0, 0.0, 0.0, range, None))
    };
    text.char_indices().filter_map(glyph).collect()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Display = 0,
    Regular = 1,
    Bold = 2,
}

/// How something is written.
#[derive(Clone, Copy)]
struct Hand {
    face: Kind,
    size: f32,
    colour: Rgb,
}

enum Mark {
    Words {
        x: f32,
        y: f32,
        hand: Hand,
        text: String,
    },
    Line {
        y: f32,
        colour: Rgb,
    },
    Link {
        area: (Range<f32>, Range<f32>),
        url: String,
    },
}

/// Pages while things are placed on them.
struct Sheet<'a> {
    letters: [Letters<'a>; 3],
    pages: Vec<Vec<Mark>>,
    /// Where the next line begins, from the top.
    y: f32,
    ink: Rgb,
    soft: Rgb,
    accent: Rgb,
}

impl Sheet<'_> {
    fn hand(&self, face: Kind, size: f32) -> Hand {
        let colour = self.ink;
        Hand { face, size, colour }
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    /// Begins a page where `height` has no more room on this one.
    fn room(&mut self, height: f32) {
        if self.y + height > HEIGHT - MARGIN && self.pages.len() < PAGES_MAX {
            self.pages.push(Vec::new());
            self.y = MARGIN;
        }
    }

    /// Lines of text from `indent` on; what is beyond the last page is left out.
    fn text(&mut self, text: &str, hand: Hand, indent: f32, right: f32) {
        if self.y + hand.size > HEIGHT - MARGIN && self.pages.len() == PAGES_MAX {
            return;
        }
        let width = WIDTH - 2.0 * MARGIN - indent - right;
        let letters = &self.letters[hand.face as usize];
        for line in letters.lines(text, width / hand.size, LINES_MAX) {
            self.room(hand.size * LEADING);
            if self.y + hand.size > HEIGHT - MARGIN {
                return;
            }
            let y = self.y + hand.size;
            self.mark(Mark::Words {
                x: MARGIN + indent,
                y,
                hand,
                text: line,
            });
            self.y += hand.size * LEADING;
        }
    }

    /// One line whose parts are links, with a dot between them; goes on below where it is full.
    fn links(&mut self, links: &[(String, Option<String>)], hand: Hand) {
        let mut x = MARGIN;
        self.room(hand.size * LEADING);
        for (text, url) in links {
            let letters = &self.letters[hand.face as usize];
            let full = (WIDTH - 2.0 * MARGIN) / hand.size;
            let text = letters.lines(text, full, 1).pop().unwrap_or_default();
            let width = letters.width(&text) * hand.size;
            if x > MARGIN && x + width > WIDTH - MARGIN {
                x = MARGIN;
                self.y += hand.size * LEADING;
                self.room(hand.size * LEADING);
            }
            let y = self.y + hand.size;
            let colour = if url.is_some() {
                self.accent
            } else {
                hand.colour
            };
            self.mark(Mark::Words {
                x,
                y,
                hand: Hand { colour, ..hand },
                text,
            });
            if let Some(url) = url {
                let area = (x..x + width, self.y..y + hand.size * 0.3);
                self.mark(Mark::Link {
                    area,
                    url: url.clone(),
                });
            }
            x += width + 14.0;
        }
        self.y += hand.size * LEADING;
    }

    fn heading(&mut self, text: &str) {
        self.y += 12.0;
        // Not alone at the foot of a page.
        self.room(60.0);
        let hand = Hand {
            face: Kind::Display,
            size: 12.5,
            colour: self.accent,
        };
        self.text(text, hand, 0.0, 0.0);
        let (y, colour) = (self.y - 1.0, self.accent.mixed(Rgb([255; 3]), 0.6));
        self.mark(Mark::Line { y, colour });
        self.y += 6.0;
    }

    fn cv(&mut self, cv: &CvContent, site: &Site, words: &Words) {
        self.text(&cv.full_name, self.hand(Kind::Display, 25.0), 0.0, 0.0);
        let headline = Hand {
            colour: self.accent,
            ..self.hand(Kind::Bold, 12.0)
        };
        self.text(&cv.headline, headline, 0.0, 0.0);
        self.y += 4.0;
        let mut reach = vec![
            (
                site.email_display.clone(),
                Some(format!("mailto:{}", cv.site.email)),
            ),
            (cv.site.host_unicode.clone(), Some(site.url.clone())),
        ];
        reach.extend(cv.location.iter().map(|place| (place.clone(), None)));
        reach.extend(cv.links.iter().filter_map(|link| {
            let url = filters::href(&link.url);
            (url != "#").then(|| (link.label.clone(), Some(url.to_owned())))
        }));
        let small = Hand {
            colour: self.soft,
            ..self.hand(Kind::Regular, 9.5)
        };
        self.links(&reach, small);
        let text = self.hand(Kind::Regular, TEXT);
        if !cv.summary.trim().is_empty() {
            self.heading(words.get("summary"));
            for paragraph in filters::paragraphs(&cv.summary) {
                self.text(&paragraph, text, 0.0, 0.0);
                self.y += 3.0;
            }
        }
        for (word, entries) in [
            ("work", &cv.work),
            ("education", &cv.education),
            ("projects", &cv.projects),
            ("volunteer", &cv.volunteer),
            ("awards", &cv.awards),
            ("certificates", &cv.certificates),
            ("publications", &cv.publications),
        ] {
            if !entries.is_empty() {
                self.heading(words.get(word));
            }
            for entry in entries {
                self.entry(entry, words);
            }
        }
        for (word, skills) in [
            ("skills", &cv.skills),
            ("languages", &cv.languages),
            ("interests", &cv.interests),
        ] {
            if !skills.is_empty() {
                self.heading(words.get(word));
            }
            for skill in skills {
                self.text(&told(skill), text, 0.0, 0.0);
            }
        }
        if !cv.references.is_empty() {
            self.heading(words.get("references"));
        }
        for reference in &cv.references {
            self.text(&reference.name, self.hand(Kind::Bold, TEXT), 0.0, 0.0);
            self.text(&reference.text, text, 0.0, 0.0);
            self.y += 4.0;
        }
    }

    fn entry(&mut self, entry: &Experience, words: &Words) {
        const DATES: f32 = 110.0;
        self.room(TEXT * LEADING * 2.0);
        let dates = match (&entry.from, &entry.to) {
            (Some(from), to) => {
                let to = to.as_deref().unwrap_or(words.get("now"));
                format!("{from} – {to}")
            }
            (None, Some(to)) => to.clone(),
            (None, None) => String::new(),
        };
        let soft = Hand {
            colour: self.soft,
            ..self.hand(Kind::Regular, TEXT)
        };
        let letters = &self.letters[Kind::Regular as usize];
        let dates = letters.lines(&dates, DATES / TEXT, 1).pop();
        if let Some(text) = dates {
            let x = WIDTH - MARGIN - letters.width(&text) * TEXT;
            let y = self.y + TEXT;
            self.mark(Mark::Words {
                x,
                y,
                hand: soft,
                text,
            });
        }
        let (page, top) = (self.pages.len(), self.y);
        let title = self.hand(Kind::Bold, TEXT + 0.5);
        self.text(&entry.title, title, 0.0, DATES + 12.0);
        let url = entry.url.as_deref().map(filters::href);
        if let Some(url) = url.filter(|url| *url != "#" && page == self.pages.len()) {
            let area = (MARGIN..WIDTH - MARGIN - DATES - 12.0, top..self.y);
            if area.1.end > area.1.start {
                self.mark(Mark::Link {
                    area,
                    url: url.to_owned(),
                });
            }
        }
        if let Some(organisation) = &entry.organisation {
            self.text(organisation, soft, 0.0, 0.0);
        }
        let text = self.hand(Kind::Regular, TEXT);
        if let Some(summary) = &entry.summary {
            self.text(summary, text, 0.0, 0.0);
        }
        for highlight in &entry.highlights {
            self.room(TEXT * LEADING);
            let y = self.y + TEXT;
            self.mark(Mark::Words {
                x: MARGIN + 2.0,
                y,
                hand: text,
                text: "•".to_owned(),
            });
            self.text(highlight, text, 12.0, 0.0);
        }
        self.y += 6.0;
    }
}

/// `Tiếng Anh (IELTS 6.5): đọc, viết`.
fn told(skill: &Skill) -> String {
    let mut text = skill.name.clone();
    if let Some(level) = &skill.level {
        text = format!("{text} ({level})");
    }
    if !skill.keywords.is_empty() {
        text = format!("{text}: {}", skill.keywords.join(", "));
    }
    text
}
