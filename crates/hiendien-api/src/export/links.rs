//! Makes the links of a page or a stylesheet to other files of its site relative.

use std::fmt::Write as _;

/// Attributes whose values are links.
const LINKS: [&str; 5] = ["href", "src", "poster", "data", "action"];
/// Attributes whose values are links with descriptors, separated by commas.
const LINK_LISTS: [&str; 2] = ["srcset", "imagesrcset"];
/// Elements whose text is no markup.
const RAW: [&str; 2] = ["script", "style"];

/// The file with its links made relative; as it is where it is neither HTML nor CSS. `known` tells
/// whether the site has a file.
pub(super) fn relative(
    path: &str,
    media_type: &str,
    octets: Vec<u8>,
    known: &dyn Fn(&str) -> bool,
) -> Vec<u8> {
    let is_css = media_type.starts_with("text/css");
    if !is_css && !media_type.starts_with("text/html") {
        return octets;
    }
    let link = |target: &str| link(path, target, known);
    match String::from_utf8(octets) {
        Ok(text) if is_css => css(&text, &link).into_bytes(),
        Ok(text) => html(&text, &link).into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

/// A link of `path` to `target`, `None` where that is no file of the site.
fn link(path: &str, target: &str, known: &dyn Fn(&str) -> bool) -> Option<String> {
    let inside = target.strip_prefix('/')?;
    let end = inside.find(['?', '#']).unwrap_or(inside.len());
    let (file, rest) = inside.split_at(end);
    let candidates = [
        file.to_owned(),
        format!("{file}index.html"),
        format!("{file}/index.html"),
    ];
    let is_directory = file.is_empty() || file.ends_with('/');
    let found = candidates
        .iter()
        .enumerate()
        .find(|(number, candidate)| (*number != 1 || is_directory) && known(candidate));
    let up = "../".repeat(path.matches('/').count());
    found.map(|(_, file)| format!("{up}{file}{rest}"))
}

fn css(text: &str, link: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("url(") {
        let (before, after) = rest.split_at(at + "url(".len());
        out.push_str(before);
        let end = after.find(')').unwrap_or(after.len());
        let (inside, after) = after.split_at(end);
        let target = inside.trim().trim_matches(['"', '\'']);
        match link(target) {
            Some(link) => {
                let _ = write!(out, "\"{link}\"");
            }
            None => out.push_str(inside),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn html(text: &str, link: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = if after.starts_with("<!--") {
            after.find("-->").map(|end| end + "-->".len())
        } else if after[1..].starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            end_of_tag(after)
        } else {
            Some(1)
        };
        let (markup, after) = after.split_at(end.unwrap_or(after.len()));
        rest = after;
        let name: String = markup[1..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if name.is_empty() {
            out.push_str(markup);
            continue;
        }
        tag(markup, link, &mut out);
        if RAW.contains(&name.as_str()) {
            let close = format!("</{name}");
            let end = rest.find(&close).unwrap_or(rest.len());
            let (raw, after) = rest.split_at(end);
            out.push_str(raw);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Where a tag ends, `>` included; one in a quoted value does not count.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at + 1),
            (None, _) => {}
        }
    }
    None
}

/// Writes a start tag with the quoted links in it made relative.
fn tag(markup: &str, link: &dyn Fn(&str) -> Option<String>, out: &mut String) {
    let mut rest = markup;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let attribute = before
            .trim_end_matches('=')
            .rsplit(|letter: char| letter.is_ascii_whitespace() || letter == '/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let Some(quote) = after
            .chars()
            .next()
            .filter(|first| matches!(first, '"' | '\''))
        else {
            continue;
        };
        let Some(end) = after[1..].find(quote) else {
            continue;
        };
        let value = &after[1..=end];
        // As the renderer escapes it.
        let plain = value.replace("&#x2f;", "/");
        let changed = if LINKS.contains(&attribute.as_str()) {
            link(plain.trim())
        } else if LINK_LISTS.contains(&attribute.as_str()) {
            Some(list(&plain, link))
        } else {
            None
        };
        out.push(quote);
        out.push_str(changed.as_deref().unwrap_or(value));
        out.push(quote);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
}

fn list(value: &str, link: &dyn Fn(&str) -> Option<String>) -> String {
    let candidates = value.split(',').map(|candidate| {
        let candidate = candidate.trim();
        let end = candidate
            .find(|letter: char| letter.is_ascii_whitespace())
            .unwrap_or(candidate.len());
        let (target, descriptor) = candidate.split_at(end);
        match link(target) {
            Some(link) => format!("{link}{descriptor}"),
            None => candidate.to_owned(),
        }
    });
    candidates.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 6] = [
        "index.html",
        "bai-viet/index.html",
        "bai-viet/mot/index.html",
        "style.1a2b3c4d.css",
        "anh/a-480.webp",
        "phong/chu.woff2",
    ];

    fn check(path: &str, media_type: &str, text: &str, wanted: &str) {
        let known = |path: &str| FILES.contains(&path);
        let found = relative(path, media_type, text.as_bytes().to_vec(), &known);
        assert_eq!(String::from_utf8(found).unwrap(), wanted);
    }

    #[test]
    fn links_to_own_files_become_relative() {
        check(
            "bai-viet/mot/index.html",
            "text/html; charset=utf-8",
            "<link rel=stylesheet href=\"/style.1a2b3c4d.css\"><a title='a > b' href='/'>Trang chủ</a>\
             <a href=\"&#x2f;bai-viet&#x2f;#moi\">Bài</a><a href=\"/bai-viet/mot?x=1\">Một</a>\
             <img srcset=\"/anh/a-480.webp 480w, /anh/khong-co.webp 960w\" src=\"/anh/a-480.webp\">",
            "<link rel=stylesheet href=\"../../style.1a2b3c4d.css\"><a title='a > b' href='../../index.html'>Trang chủ</a>\
             <a href=\"../../bai-viet/index.html#moi\">Bài</a><a href=\"../../bai-viet/mot/index.html?x=1\">Một</a>\
             <img srcset=\"../../anh/a-480.webp 480w, /anh/khong-co.webp 960w\" src=\"../../anh/a-480.webp\">",
        );
        check(
            "style.1a2b3c4d.css",
            "text/css",
            "@font-face{src:url(/phong/chu.woff2) format('woff2')}a{background:url(\"data:,x\")}b{c:url('//x/y')}",
            "@font-face{src:url(\"phong/chu.woff2\") format('woff2')}a{background:url(\"data:,x\")}b{c:url('//x/y')}",
        );
    }

    #[test]
    fn what_is_no_link_of_the_site_stays() {
        for text in [
            "<p>1 < 2, href=\"/\" trong chữ</p>",
            "<a href=\"https://example.vn/\">x</a><a href=\"//example.vn/\">x</a><a href=\"#a\">x</a>",
            "<script type=\"application/ld+json\">{\"a\":\"<a href=\\\"/\\\">\"}</script>",
            "<!-- <a href=\"/\"> --><a href=\"/khong-co/\">x</a>",
            "<a href=\"/",
            "<",
        ] {
            check("index.html", "text/html; charset=utf-8", text, text);
        }
        check(
            "a.json",
            "application/json",
            "{\"href\": \"/\"}",
            "{\"href\": \"/\"}",
        );
    }
}
