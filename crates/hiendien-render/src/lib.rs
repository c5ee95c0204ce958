//! Content and a template in, files out: [`render`] is pure and deterministic.
//!
//! Knows nothing of containers, stores or the network. The binary of the same name renders one job
//! inside a container; a preview calls [`render`] and gets the same bytes.

mod card;
pub mod confine;
mod filters;
mod fonts;
#[cfg(feature = "images")]
pub mod images;
pub mod job;
mod lettering;
mod markdown;
mod palette;
mod pdf;
mod qr;
mod structured;
mod style;
pub mod template;
mod text;
mod values;
pub mod variants;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use hiendien_domain::content::{Accent, SiteContent};
use hiendien_domain::site::{FileTree, SiteFile, SitePathError};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context};

use crate::markdown::Pictures;
use crate::palette::{Palette, Rgb};
use crate::template::COMMON;
use crate::text::Words;
use crate::values::Subject;

pub use fonts::Face;
pub use template::{ContentKind, Template, TemplateError, TemplateManifest, manifest, names};

/// Instructions one page may take; an endless loop ends here.
const FUEL_PER_PAGE: u64 = 2_000_000;
/// Bound of one rendered page, bytes.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bound of all rendered files of a site, bytes.
const SITE_BYTES_MAX: usize = 8 * 1024 * 1024;
const FILES_MAX: usize = 1000;
/// Compressing less than this does not pay.
const COMPRESS_BYTES_MIN: usize = 256;
/// On pages an eighth of the time of level 10 for a twelfth more octets. Levels 8 and 9 gain nothing and make tables of
/// many MiB for each file, however small.
const BROTLI_QUALITY: i32 = 7;
/// Logarithm of the window's octets. Below 17 the encoder takes the tables of level 9 for every level.
const BROTLI_WINDOW_BITS: i32 = 18;

/// Why a site was not rendered. A template's fault is told with its file and line.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("template `{template}` does not show content of kind `{kind}`")]
    Kind {
        template: String,
        kind: &'static str,
    },
    #[error("template `{template}` is at fault: {}", explanation(fault))]
    Template {
        template: String,
        fault: minijinja::Error,
    },
    #[error("page `{path}` of template `{template}` is larger than {PAGE_BYTES_MAX} bytes")]
    PageTooLarge { template: String, path: String },
    #[error("the site is larger than {SITE_BYTES_MAX} bytes or has more than {FILES_MAX} files")]
    SiteTooLarge,
    #[error("cannot read the words of `{file}`: {message}")]
    Words { file: String, message: String },
    #[error("a page cannot be stored")]
    Path(#[from] SitePathError),
    #[error("template `{0}` makes no `index.html`")]
    NoIndex(String),
    #[error("could not compress a page")]
    Compress(#[source] io::Error),
}

/// The fault and what is behind it, in one line.
fn explanation(fault: &minijinja::Error) -> String {
    use std::error::Error as _;
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Renders all files of a site, compressed forms included.
pub fn render(template: &Template, content: &SiteContent) -> Result<FileTree, RenderError> {
    let kind = ContentKind::of(content);
    if !template.kinds.contains(&kind) {
        return Err(RenderError::Kind {
            template: template.name.clone(),
            kind: kind.as_str(),
        });
    }
    let content = &filters::cleaned(content);
    let words = words(template, content)?;
    let palette = Palette::new(accent(template, content));
    let about = values::Site::new(content, &words, &palette);
    let style = style::Style::new(template, content, &palette);

    let mut environment = environment(template, content)?;
    let values = Value::from_serialize(content);
    environment.add_global("content", values.clone());
    environment.add_global("text", Value::from_serialize(&words));
    environment.add_global("site", Value::from_serialize(&about));
    environment.add_global("palette", Value::from_serialize(&palette));
    environment.add_global("style_url", style.url());
    environment.add_global("fonts", Value::from_serialize(&style.preloads));
    let mut site = Site {
        template: &template.name,
        environment,
        tree: FileTree::default(),
        bytes: 0,
    };
    site.put(style.url().trim_start_matches('/'), style.css.into_bytes())?;

    for face in &template.fonts {
        site.put(&face.url()[1..], face.woff2.0.to_vec())?;
    }
    let drawn = card::Drawn::new(template, content, &about, &palette);
    site.put("icon.svg", drawn.icon_svg().into_bytes())?;
    site.put("icon-192.png", drawn.icon(192))?;
    site.put("icon-512.png", drawn.icon(512))?;
    site.put("apple-touch-icon.png", drawn.icon(180))?;
    site.put("favicon.ico", drawn.favicon())?;
    site.put("og.png", drawn.card())?;

    if let SiteContent::Cv(cv) = content {
        let document = pdf::cv(cv, &about, &template.fonts, &words, &palette);
        site.put("cv.pdf", document.unwrap_or_default())?;
    }

    let page = |subject| values::Page::new(subject, &about, template, content, &words);
    for (path, file) in pages(template) {
        if let Some(path) = path.strip_prefix("static/") {
            if path != STYLE {
                site.put(path, template.files[file].clone().into_bytes())?;
            }
        } else if path == POST_PAGE {
            let posts = values.get_attr("posts").unwrap_or_default();
            let all = values::posts(content);
            for (index, post) in all.iter().enumerate() {
                let value = posts.get_item_by_index(index).unwrap_or_default();
                let neighbour = |index: Option<usize>| {
                    let post = index.and_then(|index| posts.get_item_by_index(index).ok());
                    post.filter(|post| !post.is_undefined())
                };
                let context = context! {
                    page => Value::from_serialize(page(Subject::Post(post))),
                    post => context! {
                        newer => neighbour(index.checked_sub(1)),
                        older => neighbour(Some(index + 1)),
                        ..value
                    },
                };
                let path = format!("{}index.html", &values::post_path(post)[1..]);
                let html = site.page(file, &context)?;
                site.put(&path, html)?;
            }
        } else if path == OWN_PAGE {
            let pages = values.get_attr("pages").unwrap_or_default();
            for (index, own) in values::own_pages(content).iter().enumerate() {
                let context = context! {
                    page => Value::from_serialize(page(Subject::Own(own))),
                    own => pages.get_item_by_index(index).unwrap_or_default(),
                };
                let html = site.page(file, &context)?;
                site.put(&format!("{}/index.html", own.slug), html)?;
            }
        } else if !path.starts_with("bai-viet/") || !values::posts(content).is_empty() {
            let context = context! { page => Value::from_serialize(page(Subject::File(path))) };
            let html = site.page(file, &context)?;
            site.put(path, html)?;
        }
    }
    if site.tree.get("index.html").is_none() {
        return Err(RenderError::NoIndex(template.name.clone()));
    }
    Ok(site.tree)
}

/// The template's stylesheet, which becomes part of the site's one.
const STYLE: &str = "style.css";
/// Made once for each post and each of the owner's pages.
const POST_PAGE: &str = "_post.html";
const OWN_PAGE: &str = "_page.html";

/// What becomes files of the site: its path, and the template's file it is made from. The template's
/// own come before what is shared.
fn pages(template: &Template) -> BTreeMap<&str, &str> {
    let shared = format!("{COMMON}/pages/");
    let all = template.files.keys().map(String::as_str);
    let hidden = |path: &str| {
        !matches!(path, POST_PAGE | OWN_PAGE)
            && path.split('/').any(|segment| segment.starts_with('_'))
    };
    let mut pages: BTreeMap<&str, &str> = all
        .clone()
        .filter_map(|file| Some((file.strip_prefix(&shared)?, file)))
        .collect();
    pages.extend(all.map(|file| (file, file)));
    pages.retain(|path, _| !hidden(path));
    pages
}

fn accent(template: &Template, content: &SiteContent) -> Rgb {
    let chosen = content.site().accent.as_ref().or(template.accent.as_ref());
    Rgb::parse(chosen.map_or(ACCENT, Accent::as_str))
}

/// Of a template that names none.
const ACCENT: &str = "#1f5a94";

fn words(template: &Template, content: &SiteContent) -> Result<Words, RenderError> {
    let file = format!("{COMMON}/text.{}.toml", values::language(content.site()));
    let failed = |message: String| RenderError::Words {
        file: file.clone(),
        message,
    };
    let text = template.files.get(&file);
    let text = text.ok_or_else(|| failed("there is no such file".to_owned()))?;
    Words::parse(text).map_err(|error| failed(error.message().to_owned()))
}

fn environment<'a>(
    template: &'a Template,
    content: &SiteContent,
) -> Result<Environment<'a>, RenderError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL_PER_PAGE));
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|path| match path.rsplit('.').next() {
        Some("html" | "xml" | "svg") => AutoEscape::Html,
        Some("json" | "webmanifest") => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    filters::add(&mut environment, &Arc::new(Pictures::of(content)));
    let is_source = |path: &str| {
        !path.starts_with("static/")
            && !matches!(path.rsplit('.').next(), Some("css" | "toml" | "md"))
    };
    for (path, source) in template.files.iter().filter(|(path, _)| is_source(path)) {
        environment
            .add_template(path, source)
            .map_err(|fault| RenderError::Template {
                template: template.name.clone(),
                fault,
            })?;
    }
    Ok(environment)
}

/// A site while it is made.
struct Site<'a> {
    template: &'a str,
    environment: Environment<'a>,
    tree: FileTree,
    bytes: usize,
}

impl Site<'_> {
    fn page(&self, path: &str, context: &Value) -> Result<Vec<u8>, RenderError> {
        let failed = |fault: minijinja::Error| RenderError::Template {
            template: self.template.to_owned(),
            fault,
        };
        let mut page = Bounded(Vec::new());
        let template = self.environment.get_template(path).map_err(failed)?;
        match template.render_captured_to(context, &mut page) {
            Ok(_) => Ok(page.0),
            Err(fault) if fault.kind() == ErrorKind::WriteFailure => {
                Err(RenderError::PageTooLarge {
                    template: self.template.to_owned(),
                    path: path.to_owned(),
                })
            }
            Err(fault) => Err(failed(fault)),
        }
    }

    /// Adds a file with its compressed forms; an empty one is left out.
    fn put(&mut self, path: &str, identity: Vec<u8>) -> Result<(), RenderError> {
        if identity.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.bytes += identity.len();
        if self.bytes > SITE_BYTES_MAX || self.tree.len() >= FILES_MAX {
            return Err(RenderError::SiteTooLarge);
        }
        Ok(self.tree.insert(path, file(path, identity)?)?)
    }
}

/// Takes a page's text up to its bound.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.0.len() + octets.len() > PAGE_BYTES_MAX {
            return Err(io::Error::other("the page is too large"));
        }
        self.0.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The media type of the file at `path`.
pub(crate) fn media_type(path: &str) -> &'static str {
    if path == "feed.xml" || path.ends_with("/feed.xml") {
        return "application/atom+xml; charset=utf-8";
    }
    if path == "feed.json" {
        return "application/feed+json";
    }
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "xml" => "application/xml; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "pdf" => "application/pdf",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    }
}

/// A file with its compressed forms, where they pay.
pub fn file(path: &str, identity: Vec<u8>) -> Result<SiteFile, RenderError> {
    let (mut gzip, mut brotli) = (None, None);
    let packed = [".png", ".woff2", ".ico", ".pdf"];
    if identity.len() >= COMPRESS_BYTES_MIN && !packed.iter().any(|end| path.ends_with(end)) {
        gzip = Some(gzipped(&identity).map_err(RenderError::Compress)?);
        brotli = Some(brotlied(&identity).map_err(RenderError::Compress)?);
    }
    let smaller = |form: &Vec<u8>| form.len() < identity.len();
    Ok(SiteFile {
        media_type: media_type(path).to_owned(),
        gzip: gzip.filter(smaller),
        brotli: brotli.filter(smaller),
        identity,
    })
}

fn gzipped(octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(octets)?;
    encoder.finish()
}

fn brotlied(mut octets: &[u8]) -> io::Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: octets.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut octets, &mut out, &parameters)?;
    Ok(out)
}
