//! Markdown for posts: HTML in it is shown as text, links lead only where links may lead, and
//! images of other hosts are not fetched.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::filters::href;

/// Letters of a post's lead.
const LEAD_LETTERS_MAX: usize = 180;

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH)
}

/// The page has its own first heading, so those of a post begin one level lower.
fn lowered(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        _ => HeadingLevel::H4,
    }
}

pub(crate) fn to_html(text: &str) -> String {
    let events = parser(text).map(|event| match event {
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
            level: lowered(level),
            id,
            classes,
            attrs,
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lowered(level))),
        other => other,
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
    if lead.chars().count() <= LEAD_LETTERS_MAX {
        return lead;
    }
    let cut: String = lead.chars().take(LEAD_LETTERS_MAX).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end_matches([',', '.', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_comes_through() {
        let out = to_html(
            "# A\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) <b onclick=x>b</b> \
             ![y](https://other.example/p.png)",
        );
        assert!(out.contains("&lt;script&gt;"), "{out}");
        for active in ["javascript:", "<img", "<script", "<b "] {
            assert!(!out.contains(active), "{active} in {out}");
        }
        assert!(out.contains("<h2>A</h2>"), "{out}");
        assert!(to_html("[a](https://a.example/)").contains("href=\"https://a.example/\""));
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
