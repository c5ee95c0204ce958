//! Markdown for posts: HTML in it is shown as text, links lead only where links may lead, and
//! images of other hosts are not fetched.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hiendien_domain::content::{Picture, SiteContent};
use minijinja::HtmlEscape;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::filters::href;

/// How a text names a picture of the site.
const PICTURE_SCHEME: &str = "anh:";
/// Width of a text's column as `sizes` tells it.
const PICTURE_SIZES: &str = "(min-width: 48rem) 44rem, 92vw";

/// The pictures that texts may name.
#[derive(Debug, Default)]
pub(crate) struct Pictures(BTreeMap<String, Picture>);

impl Pictures {
    pub(crate) fn of(content: &SiteContent) -> Self {
        let pictures = content.site().pictures.iter();
        Self(
            pictures
                .map(|picture| (picture.id.to_string(), picture.clone()))
                .collect(),
        )
    }

    fn named(&self, url: &str) -> Option<&Picture> {
        self.0.get(url.strip_prefix(PICTURE_SCHEME)?)
    }
}

/// As the macro `picture` has it.
fn picture_html(picture: &Picture, alt: &str) -> String {
    let files = |form: &str| {
        let files = picture.widths.iter().map(|width| {
            let id = &picture.id;
            format!("/anh/{id}-{width}.{form} {width}w")
        });
        files.collect::<Vec<_>>().join(", ")
    };
    let alt = HtmlEscape(if alt.is_empty() { &picture.alt } else { alt });
    let mut html = format!(
        "<picture class=\"picture ph-{}\">",
        &picture.id.as_str()[..12]
    );
    for form in ["avif", "webp"] {
        let files = files(form);
        write!(
            html,
            "<source type=\"image/{form}\" srcset=\"{files}\" sizes=\"{PICTURE_SIZES}\">"
        )
        .expect("writing to a string cannot fail");
    }
    let (id, width, height) = (&picture.id, picture.width, picture.height);
    let smallest = picture.widths.first().copied().unwrap_or(width);
    let files = files("jpg");
    write!(
        html,
        "<img src=\"/anh/{id}-{smallest}.jpg\" srcset=\"{files}\" sizes=\"{PICTURE_SIZES}\" \
         width=\"{width}\" height=\"{height}\" alt=\"{alt}\" loading=\"lazy\" decoding=\"async\"></picture>"
    )
    .expect("writing to a string cannot fail");
    html
}

/// Letters of a post's lead.
const LEAD_LETTERS_MAX: usize = 180;

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// Levels of headings as a page has them: its own first heading is the page's, and none is skipped
/// on the way down, whatever a text begins with.
struct Levels(u8);

impl Levels {
    fn next(&mut self, level: HeadingLevel) -> HeadingLevel {
        let wanted = level as u8 + 1;
        self.0 = wanted.min(self.0 + 1).min(6);
        self.current()
    }

    fn current(&self) -> HeadingLevel {
        HeadingLevel::try_from(usize::from(self.0)).unwrap_or(HeadingLevel::H6)
    }
}

pub(crate) fn to_html(text: &str, pictures: &Pictures) -> String {
    // The description of a picture while it is read; a picture has its own element in its place.
    let mut shown: Option<(&Picture, String)> = None;
    let mut levels = Levels(1);
    let events = parser(text).filter_map(|event| {
        if let Some((picture, alt)) = &mut shown {
            match event {
                Event::Text(text) | Event::Code(text) => alt.push_str(&text),
                Event::SoftBreak | Event::HardBreak => alt.push(' '),
                Event::End(TagEnd::Image) => {
                    let html = picture_html(picture, alt.trim());
                    shown = None;
                    return Some(Event::InlineHtml(html.into()));
                }
                _ => {}
            }
            return None;
        }
        if let Event::Start(Tag::Image { dest_url, .. }) = &event
            && let Some(picture) = pictures.named(dest_url)
        {
            shown = Some((picture, String::new()));
            return None;
        }
        Some(match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }) => Event::Start(Tag::Link {
                link_type,
                dest_url: CowStr::from(href(&dest_url).to_owned()),
                title,
                id,
            }),
            // An image is told by its description.
            Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
            Event::End(TagEnd::Image) => Event::End(TagEnd::Emphasis),
            Event::Start(Tag::Heading {
                level,
                id,
                classes,
                attrs,
            }) => Event::Start(Tag::Heading {
                level: levels.next(level),
                id,
                classes,
                attrs,
            }),
            Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Heading(levels.current())),
            other => other,
        })
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// The text of the first paragraph, cut at a word where it is long.
pub(crate) fn lead(text: &str) -> String {
    let mut lead = String::new();
    let mut within = false;
    for event in parser(text) {
        match event {
            Event::Start(Tag::Paragraph) => within = true,
            Event::End(TagEnd::Paragraph) => break,
            Event::Text(text) | Event::Code(text) if within => lead.push_str(&text),
            Event::SoftBreak | Event::HardBreak if within => lead.push(' '),
            _ => {}
        }
    }
    cut(&lead, LEAD_LETTERS_MAX)
}

/// `text`, cut at a word where it is long.
pub(crate) fn cut(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return text.to_owned();
    }
    let start: String = text.chars().take(letters_max).collect();
    let end = start.rfind(' ').unwrap_or(start.len());
    format!("{}…", start[..end].trim_end_matches([',', '.', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_comes_through() {
        let out = to_html(
            "# A\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) <b onclick=x>b</b> \
             ![y](https://other.example/p.png) ![z](anh:00) <picture class=\"picture\">",
            &Pictures::default(),
        );
        assert!(out.contains("&lt;script&gt;"), "{out}");
        for active in ["javascript:", "<img", "<script", "<b "] {
            assert!(!out.contains(active), "{active} in {out}");
        }
        assert!(out.contains("<h2>A</h2>"), "{out}");
        let out = to_html("### A\n\n# B\n\n### C", &Pictures::default());
        assert_eq!(out, "<h2>A</h2>\n<h2>B</h2>\n<h3>C</h3>\n");
        assert!(
            to_html("[a](https://a.example/)", &Pictures::default())
                .contains("href=\"https://a.example/\"")
        );
    }

    #[test]
    fn the_lead_is_the_first_paragraph_without_marks() {
        assert_eq!(
            lead("# Đề\n\nHôm *nay*\ntrời `đẹp`.\n\nHai."),
            "Hôm nay trời đẹp."
        );
        assert!(lead(&"chữ ".repeat(200)).ends_with("chữ…"));
        assert_eq!(lead(""), "");
    }
}
