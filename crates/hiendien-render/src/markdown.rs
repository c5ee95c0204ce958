//! Markdown for posts: HTML in it is shown as text, links lead only where links may lead, and
//! images of other hosts are not fetched.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

const SCHEMES: [&str; 4] = ["https://", "http://", "mailto:", "tel:"];

pub(crate) fn to_html(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(text, options).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            let lower = dest_url.trim().to_ascii_lowercase();
            let allowed = SCHEMES.iter().any(|scheme| lower.starts_with(scheme));
            let dest_url = if allowed {
                dest_url
            } else {
                CowStr::Borrowed("#")
            };
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            })
        }
        Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(TagEnd::Image) => Event::End(TagEnd::Emphasis),
        // The page has its own first heading.
        Event::Start(Tag::Heading {
            level: pulldown_cmark::HeadingLevel::H1,
            id,
            classes,
            attrs,
        }) => Event::Start(Tag::Heading {
            level: pulldown_cmark::HeadingLevel::H2,
            id,
            classes,
            attrs,
        }),
        Event::End(TagEnd::Heading(pulldown_cmark::HeadingLevel::H1)) => {
            Event::End(TagEnd::Heading(pulldown_cmark::HeadingLevel::H2))
        }
        other => other,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

#[cfg(test)]
mod tests {
    use super::to_html;

    #[test]
    fn nothing_active_comes_through() {
        let out = to_html(
            "# A\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) ![y](https://other.example/p.png)",
        );
        assert!(out.contains("&lt;script&gt;"), "{out}");
        assert!(
            !out.contains("javascript:") && !out.contains("<img") && !out.contains("<script"),
            "{out}"
        );
        assert!(out.contains("<h2>A</h2>"), "{out}");
        assert!(to_html("[a](https://a.example/)").contains("href=\"https://a.example/\""));
    }
}
