//! The one stylesheet of a site: colours, fonts, likenesses of pictures, what is shared, what is the
//! template's own.

use std::fmt::Write as _;

use hiendien_domain::content::SiteContent;
use hiendien_domain::site::hex;
use sha2::{Digest, Sha256};

use crate::fonts::{self, Face};
use crate::palette::Palette;
use crate::template::{COMMON, Template};

/// Octets of a fingerprint in a file's name.
const FINGERPRINT_OCTETS: usize = 8;

pub(crate) struct Style {
    pub(crate) css: String,
    url: String,
    /// Fonts that the first page needs at once.
    pub(crate) preloads: Vec<String>,
}

impl Style {
    pub(crate) fn new(template: &Template, content: &SiteContent, palette: &Palette) -> Self {
        let mut css = palette.css();
        css.push_str(&fonts::css(&template.fonts));
        for picture in &content.site().pictures {
            likeness(&mut css, picture.id.as_str(), &picture.placeholder);
        }
        for file in [&format!("{COMMON}/base.css"), "static/style.css"] {
            css.push_str(template.files.get(file).map_or("", String::as_str));
        }
        let url = format!("/style.{}.css", fingerprint(css.as_bytes()));
        Self {
            css,
            url,
            preloads: preloads(&template.fonts),
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

fn preloads(faces: &[Face]) -> Vec<String> {
    fonts::first_seen(faces).map(Face::url).collect()
}

/// What stands where a picture is still to come. Only what the image step makes is let in.
fn likeness(css: &mut String, id: &str, url: &str) {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let octets = url.strip_prefix("data:image/webp;base64,");
    if octets.is_some_and(|octets| octets.bytes().all(base64)) {
        writeln!(css, ".ph-{}{{background-image:url({url})}}", &id[..12])
            .expect("writing to a string cannot fail");
    }
}

/// Tells one content from another in a file's name; the edge keeps such files for long.
pub(crate) fn fingerprint(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets)[..FINGERPRINT_OCTETS])
}
