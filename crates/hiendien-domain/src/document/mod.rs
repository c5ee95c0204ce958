//! What an owner edits, version 1 (`content/v1`): its JSON form, its rules, and the page it makes of
//! what the claim gives.
//!
//! [`check`] is the only way in. It lists every fault at once. Legal facts (name, tax id, address,
//! registration) are the claim's, in [`Facts`], and no document changes them; what a document does not
//! speak of stays what the claim gives.

mod check;
mod facts;
mod page;

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claim::{Bank, Geo, Hours};
use crate::content::{Accent, ImageId, Language, SiteContent};
use crate::fault::Fault;
use crate::secret::Secret;

pub use check::check;
pub use facts::{Agreed, Facts};

/// Largest document, bytes.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// Pages a site has anyway or may get: no page of the owner's own lies there.
pub const RESERVED_SLUGS: &[&str] = &[
    "404", "anh", "assets", "bai-viet", "cv", "en", "feed", "icon", "index", "mat-khau", "phong",
    "rieng-tu", "static", "the", "trang", "v1", "vi",
];

/// A document that keeps every rule, and what it makes of the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub document: Document,
    pub content: SiteContent,
    /// Not wrong, but worth a look.
    pub warnings: Vec<Fault>,
}

/// What a site says and looks like, in its owner's words.
///
/// There is no `Deserialize`: [`check`] is the only way to one. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(
    title = "content/v1",
    description = "What a site says and looks like, in its owner's words. What is left out is taken from the claim; legal facts always are.",
    deny_unknown_fields
)]
pub struct Document {
    /// Always `content/v1`.
    #[schemars(regex(pattern = r"^content/v1$"))]
    content: String,
    /// The language of the owner's texts and of the words around them; Vietnamese where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    /// The one colour that the palette is made from; the template's own where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = r"^#[0-9A-Fa-f]{6}$"))]
    accent: Option<Accent>,
    /// What the owner agrees to have shown; goes before what the claim says of the same purpose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 2))]
    consents: Vec<Consent>,
    /// For programme `biz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    business: Option<Business>,
    /// For programme `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cv: Option<Cv>,
    /// Instead of the claim's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    posts: Option<Vec<Post>>,
    /// Pages of the owner's own, each at `/{slug}/`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 20))]
    pages: Vec<Page>,
}

/// An agreement to show something, or its end.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Consent {
    purpose: Purpose,
    given: bool,
    /// RFC 3339 with offset.
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// Which text the owner agreed to.
    #[schemars(length(min = 1, max = 64))]
    text_version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The claim's contact number.
    PublishPhone,
    /// The account for transfers, as a QR code.
    PublishQr,
}

/// What a shop says of itself; everything in it is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Business {
    /// What the sign over the door says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 200))]
    trade_name: Option<String>,
    /// One line below the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 160))]
    tagline: Option<String>,
    /// Paragraphs, separated by blank lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4000))]
    about: Option<String>,
    /// In a few words, such as `quán ăn, phở và bún`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    industry: Option<String>,
    /// Several spans of one day make its breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21))]
    hours: Option<Vec<Hours>>,
    /// Days on which it is closed whatever `hours` say, such as over Tết.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 30))]
    closures: Vec<Closure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    products: Option<Vec<Product>>,
    /// The first thing a visitor sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<Photo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 30))]
    gallery: Vec<Photo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<Geo>,
    /// Needs the consent `publish_qr`, of the claim or of this document.
    #[serde(skip_serializing_if = "Option::is_none")]
    bank: Option<Bank>,
}

/// Days without service, both ends included.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Closure {
    #[schemars(with = "String", extend("format" = "date"))]
    from: Date,
    /// Not before `from`.
    #[schemars(with = "String", extend("format" = "date"))]
    to: Date,
    /// Such as `Nghỉ Tết Nguyên đán`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Product {
    #[schemars(length(min = 1, max = 120))]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    description: Option<String>,
    /// Heading it stands under, such as `Món chính`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    unit: Option<String>,
    /// Whole đồng; absent or null is shown as "giá liên hệ".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    price_vnd: Option<u64>,
    #[schemars(default)]
    tax_included: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo: Option<Photo>,
}

/// An uploaded image where it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Photo {
    /// As the upload was answered: 32 lower-case hexadecimal digits.
    #[schemars(with = "String", regex(pattern = r"^[0-9a-f]{32}$"))]
    image: ImageId,
    /// What it shows, for who cannot see it; empty for mere ornament.
    #[schemars(default, length(max = 250))]
    alt: String,
}

/// The owner's pages elsewhere: `https:` URLs at each network's own host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Links {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    zalo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    facebook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    shopee: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    tiktok: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    lazada: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    youtube: Option<String>,
    /// Of Google, OpenStreetMap, Apple or Cốc Cốc.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    map: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Cv {
    /// JSON Resume 1.3.1, kept as it is, unknown members included. Telephone number, e-mail, address and day of birth
    /// in it are never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    portrait: Option<Photo>,
    /// What was made, for templates that show projects large.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 30))]
    project_photos: Vec<ProjectPhoto>,
}

/// JSON Resume has no place for the picture of a project.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProjectPhoto {
    /// The project's `name` in the résumé.
    #[schemars(length(min = 1, max = 200))]
    project: String,
    photo: Photo,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Post {
    #[schemars(length(min = 1, max = 200))]
    title: String,
    /// The last part of its path: a-z, 0-9 and `-`; made from the title where it is absent.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$"))]
    slug: Option<String>,
    #[schemars(with = "String", extend("format" = "date"))]
    date: Date,
    /// Markdown without HTML; `![what it shows](anh:ID)` is an uploaded image.
    #[schemars(length(min = 1, max = 50_000))]
    body: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 10), inner(length(min = 1, max = 40)))]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<Photo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Page {
    /// Its path: a-z, 0-9 and `-`, none that a site has anyway; made from the title where it is absent.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,98}[a-z0-9])?$"))]
    slug: Option<String>,
    #[schemars(length(min = 1, max = 200))]
    title: String,
    /// Markdown, as in a post.
    #[schemars(length(min = 1, max = 50_000))]
    body: String,
}

/// The JSON Schema of a document, as committed in `docs/content-v1.schema.json`.
pub fn schema() -> Value {
    schemars::schema_for!(Document).into()
}

impl Document {
    /// The résumé in it, as it was given.
    pub fn resume(&self) -> Option<&Value> {
        self.cv.as_ref()?.resume.as_ref()
    }

    /// The document as it is kept: normalised, with every slug told so that addresses stay, the résumé as it was
    /// given. [`check`] reads it back to an equal document. A résumé may have what is not to be public, so store it
    /// encrypted.
    pub fn canonical_json(&self) -> Secret {
        Secret::new(self.to_value().to_string())
    }

    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a document has only string keys")
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Document")
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}
