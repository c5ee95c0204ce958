//! Content and a template in, files out: [`render`] is pure and deterministic.
//!
//! Knows nothing of containers, stores or the network. The binary of the same name renders one job
//! inside a container; a preview calls [`render`] and gets the same bytes.

mod filters;
pub mod job;
mod markdown;
pub mod template;

use std::io::{self, Write};

use hiendien_domain::content::SiteContent;
use hiendien_domain::site::{FileTree, SiteFile, SitePathError};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context};

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
/// Beyond this, the slowest level takes longer than it saves.
const BROTLI_BEST_BYTES_MAX: usize = 64 * 1024;

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

/// Renders all pages of a site, compressed forms included.
pub fn render(template: &Template, content: &SiteContent) -> Result<FileTree, RenderError> {
    let kind = ContentKind::of(content);
    if !template.kinds.contains(&kind) {
        return Err(RenderError::Kind {
            template: template.name.clone(),
            kind: kind.as_str(),
        });
    }
    let mut site = Site {
        template: &template.name,
        environment: environment(template)?,
        tree: FileTree::default(),
        bytes: 0,
    };
    let values = filters::content_value(content);
    for (path, source) in &template.files {
        if let Some(path) = path.strip_prefix("static/") {
            site.put(path, source.clone().into_bytes())?;
        } else if path == "post.html" {
            let SiteContent::Cv(cv) = content else {
                continue;
            };
            let posts = values.get_attr("posts").unwrap_or_default();
            for (index, post) in cv.posts.iter().enumerate() {
                let value = posts.get_item_by_index(index).unwrap_or_default();
                let page = site.page(path, &context! { content => values, post => value })?;
                site.put(&format!("bai-viet/{}/index.html", post.slug), page)?;
            }
        } else if is_page(path) {
            let page = site.page(path, &context! { content => values })?;
            site.put(path, page)?;
        }
    }
    if site.tree.get("index.html").is_none() {
        return Err(RenderError::NoIndex(template.name.clone()));
    }
    Ok(site.tree)
}

fn is_page(path: &str) -> bool {
    !path
        .rsplit('/')
        .next()
        .is_some_and(|file| file.starts_with('_'))
}

fn environment(template: &Template) -> Result<Environment<'_>, RenderError> {
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
    filters::add(&mut environment);
    let sources = template
        .files
        .iter()
        .filter(|(path, _)| !path.starts_with("static/"));
    for (path, source) in sources {
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
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
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
        quality: if octets.len() <= BROTLI_BEST_BYTES_MAX {
            11
        } else {
            9
        },
        lgwin: 18,
        size_hint: octets.len(),
        mode: brotli::enc::backward_references::BrotliEncoderMode::BROTLI_MODE_TEXT,
        ..Default::default()
    };
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut octets, &mut out, &parameters)?;
    Ok(out)
}
