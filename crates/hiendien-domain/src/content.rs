//! What a site says: the values a template is filled with.
//!
//! All text is plain text; escaping is the renderer's work. What may not be published (a phone
//! number without consent, a birth date, a full 12-digit tax id) never gets this far.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{DomainName, MailAddress};

/// All the content of one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SiteContent {
    Business(Box<BusinessContent>),
    Cv(Box<CvContent>),
}

impl SiteContent {
    pub fn site(&self) -> &SiteIdentity {
        match self {
            Self::Business(content) => &content.site,
            Self::Cv(content) => &content.site,
        }
    }

    /// The same site, saying nothing of anyone.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let mut site = self.site().clone();
        site.pictures.clear();
        match self {
            Self::Business(_) => Self::Business(Box::new(BusinessContent {
                site,
                trade_name: String::new(),
                tagline: None,
                about: String::new(),
                industry: None,
                phone: None,
                address: Address {
                    line: String::new(),
                    ward: None,
                    province: String::new(),
                },
                hours: Vec::new(),
                closures: Vec::new(),
                products: Vec::new(),
                cover: None,
                gallery: Vec::new(),
                links: Vec::new(),
                geo: None,
                bank: None,
                posts: Vec::new(),
                pages: Vec::new(),
                legal: LegalFooter {
                    legal_name: String::new(),
                    subject: String::new(),
                    tax_id: String::new(),
                    registration_no: None,
                    registered_on: None,
                    registered_by: None,
                    representative: None,
                },
            })),
            Self::Cv(_) => Self::Cv(Box::new(CvContent {
                site,
                full_name: String::new(),
                headline: String::new(),
                summary: String::new(),
                portrait: None,
                school: None,
                study_field: None,
                location: None,
                links: Vec::new(),
                work: Vec::new(),
                volunteer: Vec::new(),
                projects: Vec::new(),
                education: Vec::new(),
                awards: Vec::new(),
                certificates: Vec::new(),
                publications: Vec::new(),
                skills: Vec::new(),
                languages: Vec::new(),
                interests: Vec::new(),
                references: Vec::new(),
                posts: Vec::new(),
                pages: Vec::new(),
            })),
        }
    }

    /// Takes over what is not the owner's to change: where the site is and how it is reached.
    pub fn keep_identity(&mut self, kept: &SiteIdentity) {
        let site = self.site_mut();
        site.host = kept.host.clone();
        site.host_unicode.clone_from(&kept.host_unicode);
        site.email = kept.email.clone();
        site.abuse_url.clone_from(&kept.abuse_url);
        site.since.clone_from(&kept.since);
    }

    pub fn site_mut(&mut self) -> &mut SiteIdentity {
        match self {
            Self::Business(content) => &mut content.site,
            Self::Cv(content) => &mut content.site,
        }
    }
}

/// What every site has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteIdentity {
    /// Canonical host name, A-labels.
    pub host: DomainName,
    /// The host name as people read it.
    pub host_unicode: String,
    /// Provisioned address visitors write to.
    pub email: MailAddress,
    /// Where anyone can report abuse of this site (absolute URL).
    pub abuse_url: String,
    /// Day of the grant, `YYYY-MM-DD`; the content's only date, so that rendering stays deterministic.
    pub since: String,
    /// The language of the owner's texts and of the words around them.
    #[serde(default)]
    pub language: Language,
    /// The colour a palette is made from; a template has its own where there is none.
    #[serde(default)]
    pub accent: Option<Accent>,
    /// Version of the rules a legal footer follows.
    #[serde(default)]
    pub legal_profile: LegalProfile,
    /// All pictures of the site, also those that texts name by `anh:ID`.
    #[serde(default)]
    pub pictures: Vec<Picture>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    #[default]
    Vi,
    En,
}

/// Which rules say what the footer of a business page must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegalProfile {
    /// Decree 52/2013/NĐ-CP, article 29, as amended by Decree 85/2021/NĐ-CP.
    #[default]
    #[serde(rename = "nd52-2013")]
    Decree52,
}

/// A colour, `#rrggbb` in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Accent(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a colour: it is written `#rrggbb`, such as `#b3541e`")]
pub struct AccentError(pub String);

impl Accent {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Accent {
    type Err = AccentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let colour = text.to_ascii_lowercase();
        match colour.strip_prefix('#') {
            Some(digits)
                if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Ok(Self(colour))
            }
            _ => Err(AccentError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Accent {
    type Error = AccentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Accent> for String {
    fn from(accent: Accent) -> Self {
        accent.0
    }
}

/// Names an uploaded image within its presence: the first 128 bits of the SHA-256 of what was
/// uploaded, 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an image: it has 32 lower-case hexadecimal digits")]
pub struct ImageIdError(pub String);

impl ImageId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = ImageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 32 && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ImageIdError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ImageId {
    type Error = ImageIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

/// An image that was decoded and re-encoded in the container, as pages show it. Its files are
/// `anh/{id}-{width}.{avif,webp,jpg}`, one for each width and form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub id: ImageId,
    /// What it shows, for who cannot see it; empty for mere ornament.
    pub alt: String,
    /// Of the largest form, pixels.
    pub width: u32,
    pub height: u32,
    /// Of all forms, pixels, ascending; the last is `width`.
    pub widths: Vec<u32>,
    /// A blurred likeness of a few pixels: a `data:image/webp;base64,` URL.
    pub placeholder: String,
}

/// A shop, an enterprise, a household business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusinessContent {
    pub site: SiteIdentity,
    /// What the sign over the door says.
    pub trade_name: String,
    /// One line below the name, the owner's own.
    #[serde(default)]
    pub tagline: Option<String>,
    /// One or two paragraphs, separated by blank lines; written from the claim's facts when the owner gave none.
    pub about: String,
    /// What the business does, in a few words.
    pub industry: Option<String>,
    pub phone: Option<Phone>,
    pub address: Address,
    pub hours: Vec<OpeningHours>,
    /// Days on which it is closed whatever `hours` say, such as over Tết; in order.
    #[serde(default)]
    pub closures: Vec<Closure>,
    pub products: Vec<Product>,
    /// The first thing a visitor sees, above the fold.
    #[serde(default)]
    pub cover: Option<Picture>,
    #[serde(default)]
    pub gallery: Vec<Picture>,
    pub links: Vec<Link>,
    pub geo: Option<Geo>,
    pub bank: Option<BankTransfer>,
    pub legal: LegalFooter,
    /// The newest first.
    #[serde(default)]
    pub posts: Vec<Post>,
    #[serde(default)]
    pub pages: Vec<Page>,
}

/// Days without service, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// `YYYY-MM-DD`.
    pub from: String,
    /// `YYYY-MM-DD`, not before `from`.
    pub to: String,
    /// Such as `Nghỉ Tết Nguyên đán`.
    pub reason: Option<String>,
}

/// A telephone number in the two forms a page needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// `+84912345678`, for `tel:` links.
    pub e164: String,
    /// `0710 000 001`, for people.
    pub display: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// House number and street.
    pub line: String,
    pub ward: Option<String>,
    /// Name of the province valid since 2025-07-01.
    pub province: String,
}

/// One span of opening on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningHours {
    /// ISO weekdays, 1 is Monday, 7 is Sunday.
    pub days: Vec<u8>,
    /// `HH:MM`, 24-hour clock, `Asia/Ho_Chi_Minh`.
    pub opens: String,
    pub closes: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub name: String,
    /// Sold by this unit, such as `tô` or `kg`.
    pub unit: Option<String>,
    /// Whole đồng; `None` is shown as "giá liên hệ".
    pub price_vnd: Option<u64>,
    pub tax_included: bool,
    #[serde(default)]
    pub description: Option<String>,
    /// Heading it stands under, such as `Món chính`; equal groups stand together.
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub photo: Option<Picture>,
}

/// A link to the owner's page elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `zalo`, `facebook`, `shopee`, `tiktok`, `github`, `linkedin`, `website` or another lower-case word.
    pub network: String,
    /// What people read, such as `Facebook`.
    pub label: String,
    /// Absolute `https:` URL; a résumé may have `http:` ones as well.
    pub url: String,
}

/// WGS 84, degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Geo {
    pub latitude: f64,
    pub longitude: f64,
}

/// Account shown for transfers; present only with the owner's explicit consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankTransfer {
    pub bin: String,
    pub account: String,
    pub holder: String,
}

/// What the law wants in the footer of a business page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalFooter {
    pub legal_name: String,
    /// "Doanh nghiệp" or "Hộ kinh doanh".
    pub subject: String,
    /// Tax id fit for print: whole when it is a tax code, masked when it is a person's id.
    pub tax_id: String,
    pub registration_no: Option<String>,
    /// `dd/mm/yyyy`.
    pub registered_on: Option<String>,
    pub registered_by: Option<String>,
    pub representative: Option<String>,
}

/// A person's CV, with posts when there are any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CvContent {
    pub site: SiteIdentity,
    pub full_name: String,
    /// What the person does or studies, in a few words.
    pub headline: String,
    /// Written from the claim's facts when the owner gave none.
    pub summary: String,
    #[serde(default)]
    pub portrait: Option<Picture>,
    pub school: Option<String>,
    pub study_field: Option<String>,
    /// Province name, when the owner's résumé gives a location.
    pub location: Option<String>,
    pub links: Vec<Link>,
    pub work: Vec<Experience>,
    pub volunteer: Vec<Experience>,
    pub projects: Vec<Experience>,
    pub education: Vec<Experience>,
    pub awards: Vec<Experience>,
    pub certificates: Vec<Experience>,
    pub publications: Vec<Experience>,
    pub skills: Vec<Skill>,
    pub languages: Vec<Skill>,
    pub interests: Vec<Skill>,
    pub references: Vec<Reference>,
    /// The newest first.
    pub posts: Vec<Post>,
    #[serde(default)]
    pub pages: Vec<Page>,
}

/// A dated entry of a CV, whatever its section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experience {
    /// Position, degree, title of an award.
    pub title: String,
    /// Company, school, awarder.
    pub organisation: Option<String>,
    pub url: Option<String>,
    /// `MM/YYYY` or `YYYY`.
    pub from: Option<String>,
    pub to: Option<String>,
    pub summary: Option<String>,
    pub highlights: Vec<String>,
    /// What was made, for a template that shows projects large.
    #[serde(default)]
    pub picture: Option<Picture>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    pub name: String,
    pub level: Option<String>,
    pub keywords: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Lower-case ASCII, unique within the site.
    pub slug: String,
    pub title: String,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// Markdown; raw HTML in it is shown as text. `![what it shows](anh:ID)` is a picture of the site.
    pub body: String,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub cover: Option<Picture>,
}

/// A page of the owner's own, at `/{slug}/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Lower-case ASCII, unique within the site, none of the paths a site has anyway.
    pub slug: String,
    pub title: String,
    /// Markdown, as in [`Post`].
    pub body: String,
}
