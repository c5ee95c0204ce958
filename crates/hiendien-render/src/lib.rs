//! Content and a template in, files out: pure and deterministic.
//!
//! Knows nothing of containers, stores or the network. The binary of the same name does this
//! inside a container; a preview calls [`render`] and gets the same bytes.

mod filters;
pub mod job;
mod markdown;

use std::collections::BTreeMap;
use std::io::Write;

use hiendien_domain::content::SiteContent;
use hiendien_domain::site::{FileTree, SiteFile, SitePathError};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

/// Steps one page may take; an endless loop ends here.
const FUEL_PER_PAGE: u64 = 5_000_000;
/// Bound of one rendered page, bytes.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bound of all files of a site, bytes.
const SITE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Compressing less than this does not pay.
const COMPRESS_BYTES_MIN: usize = 200;

/// The files of one directory of the site templates, by path.
///
/// A file whose name does not begin with `_` becomes a page at its own path; `post.html` becomes a
/// page for each post; what lies under `static/` is taken as it is. A page that renders to nothing is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub name: String,
    pub files: BTreeMap<String, String>,
}

/// Why a site was not rendered. The message names the template's file and line.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("template `{template}` is at fault: {}", explain(source))]
    Template {
        template: String,
        source: minijinja::Error,
    },
    #[error("page `{path}` has {bytes} bytes, at most {PAGE_BYTES_MAX} are taken")]
    PageTooLarge { path: String, bytes: usize },
    #[error("the site has more than {SITE_BYTES_MAX} bytes")]
    SiteTooLarge,
    #[error("a page cannot be stored")]
    Path(#[from] SitePathError),
    #[error("template `{0}` makes no `index.html`")]
    NoIndex(String),
    #[error("could not compress a page")]
    Compress(#[source] std::io::Error),
}

fn explain(error: &minijinja::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Renders all pages of a site.
pub fn render(template: &Template, content: &SiteContent) -> Result<FileTree, RenderError> {
    let failed = |source| RenderError::Template {
        template: template.name.clone(),
        source,
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL_PER_PAGE));
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|path| match path.rsplit('.').next() {
        Some("html" | "xml" | "svg") => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    filters::add(&mut environment);
    for (path, source) in template
        .files
        .iter()
        .filter(|(path, _)| !path.starts_with("static/") && *path != "template.toml")
    {
        environment.add_template(path, source).map_err(failed)?;
    }
    let mut tree = FileTree::default();
    let mut total = 0;
    let mut put = |path: &str, text: String| -> Result<(), RenderError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let bytes = text.len();
        if bytes > PAGE_BYTES_MAX {
            return Err(RenderError::PageTooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        total += bytes as u64;
        if total > SITE_BYTES_MAX {
            return Err(RenderError::SiteTooLarge);
        }
        Ok(tree.insert(path, file(path, text.into_bytes())?)?)
    };
    for (path, source) in &template.files {
        if let Some(path) = path.strip_prefix("static/") {
            put(path, source.clone())?;
        } else if path == "post.html" {
            let posts = match content {
                SiteContent::Cv(cv) => cv.posts.as_slice(),
                SiteContent::Business(_) => &[],
            };
            let page = environment.get_template(path).map_err(failed)?;
            for post in posts {
                let text = page.render(context! { content, post }).map_err(failed)?;
                put(&format!("bai-viet/{}/index.html", post.slug), text)?;
            }
        } else if !path.starts_with('_') && path != "template.toml" {
            let page = environment.get_template(path).map_err(failed)?;
            put(path, page.render(context! { content }).map_err(failed)?)?;
        }
    }
    if tree.get("index.html").is_none() {
        return Err(RenderError::NoIndex(template.name.clone()));
    }
    Ok(tree)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "xml" if path.ends_with("feed.xml") => "application/atom+xml; charset=utf-8",
        "xml" => "application/xml; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    }
}

/// A file with its compressed forms, where they pay.
fn file(path: &str, identity: Vec<u8>) -> Result<SiteFile, RenderError> {
    let (mut gzip, mut brotli) = (None, None);
    if identity.len() >= COMPRESS_BYTES_MIN {
        let mut encoder = flate2::GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), flate2::Compression::best());
        encoder
            .write_all(&identity)
            .map_err(RenderError::Compress)?;
        gzip = Some(encoder.finish().map_err(RenderError::Compress)?);
        let parameters = brotli::enc::BrotliEncoderParams {
            quality: 9,
            lgwin: 18,
            ..Default::default()
        };
        let mut out = Vec::new();
        brotli::BrotliCompress(&mut identity.as_slice(), &mut out, &parameters)
            .map_err(RenderError::Compress)?;
        brotli = Some(out);
    }
    let smaller = |form: &Vec<u8>| form.len() < identity.len();
    Ok(SiteFile {
        media_type: media_type(path).to_owned(),
        gzip: gzip.filter(smaller),
        brotli: brotli.filter(smaller),
        identity,
    })
}
