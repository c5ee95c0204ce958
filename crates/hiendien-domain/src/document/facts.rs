//! What a claim gives a site.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Business, Closure, Cv, Document, Links, Page, Photo, Post, Product};
use crate::claim::{Bank, Geo, Hours};
use crate::content::{
    BusinessContent, CvContent, Language, Phone, Picture, Post as ShownPost, SiteContent,
};
use crate::secret::Secret;

/// What a claim gives a site: the page it makes alone, and what a document may show of it with consent.
///
/// `Debug` shows whose it is and nothing else.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the site says without a document.
    pub(crate) content: SiteContent,
    /// The contact number, shown with consent only.
    pub(crate) phone: Option<Phone>,
    pub(crate) agrees: Agreed,
    /// The text about a business was written from the other facts, and is written anew where they change.
    pub(crate) about_is_ours: bool,
    /// JSON Resume, as the claim had it.
    pub(crate) resume: Option<Value>,
    /// Numbers of persons, which no text may show.
    pub(crate) personal_ids: Vec<String>,
}

/// What its owner agreed to have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    pub(crate) publish_phone: bool,
    pub(crate) publish_qr: bool,
}

impl Facts {
    /// What is left to go by where the claim is not at hand: the page that it made.
    pub fn of_page(content: &SiteContent) -> Self {
        let (phone, has_bank) = match content {
            SiteContent::Business(business) => (business.phone.clone(), business.bank.is_some()),
            SiteContent::Cv(_) => (None, false),
        };
        Self {
            agrees: Agreed {
                publish_phone: phone.is_some(),
                publish_qr: has_bank,
            },
            content: content.clone(),
            phone,
            about_is_ours: false,
            resume: None,
            personal_ids: Vec::new(),
        }
    }

    /// The page of the claim alone.
    pub fn content(&self) -> &SiteContent {
        &self.content
    }

    pub(crate) fn into_content(self) -> SiteContent {
        self.content
    }

    /// The résumé the claim had.
    pub fn resume(&self) -> Option<&Value> {
        self.resume.as_ref()
    }

    /// For the store, which seals it: there is a telephone number in it that may not be public.
    pub fn to_json(&self) -> Secret {
        Secret::new(serde_json::to_string(self).expect("facts have only string keys"))
    }

    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// A document that makes the same page, for an editor to begin with.
    pub fn document(&self) -> Document {
        let site = self.content.site();
        let (business, cv, posts, pages) = match &self.content {
            SiteContent::Business(content) => (
                Some(business(content)),
                None,
                &content.posts,
                &content.pages,
            ),
            SiteContent::Cv(content) => {
                (None, Some(self.cv(content)), &content.posts, &content.pages)
            }
        };
        Document {
            content: "content/v1".to_owned(),
            language: (site.language != Language::default()).then_some(site.language),
            accent: site.accent.clone(),
            consents: Vec::new(),
            business,
            cv,
            posts: Some(posts.iter().filter_map(post).collect()),
            pages: pages
                .iter()
                .map(|page| Page {
                    slug: Some(page.slug.clone()),
                    title: page.title.clone(),
                    body: page.body.clone(),
                })
                .collect(),
        }
    }

    fn cv(&self, content: &CvContent) -> Cv {
        let resume = self
            .resume
            .clone()
            .unwrap_or_else(|| json!({ "basics": { "name": content.full_name } }));
        Cv {
            resume: Some(resume),
            portrait: content.portrait.as_ref().map(photo),
            project_photos: Vec::new(),
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Facts")
            .field("host", &self.content.site().host)
            .finish_non_exhaustive()
    }
}

fn photo(picture: &Picture) -> Photo {
    Photo {
        image: picture.id.clone(),
        alt: picture.alt.clone(),
    }
}

fn post(post: &ShownPost) -> Option<Post> {
    Some(Post {
        title: post.title.clone(),
        slug: Some(post.slug.clone()),
        date: post.date.parse().ok()?,
        body: post.body.clone(),
        tags: post.tags.clone(),
        cover: post.cover.as_ref().map(photo),
    })
}

fn business(content: &BusinessContent) -> Business {
    let hours = |hours: &crate::content::OpeningHours| Hours {
        days: hours.days.clone(),
        opens: hours.opens.clone(),
        closes: hours.closes.clone(),
    };
    let closure = |closure: &crate::content::Closure| {
        Some(Closure {
            from: closure.from.parse().ok()?,
            to: closure.to.parse().ok()?,
            reason: closure.reason.clone(),
        })
    };
    let product = |product: &crate::content::Product| Product {
        name: product.name.clone(),
        description: product.description.clone(),
        group: product.group.clone(),
        unit: product.unit.clone(),
        price_vnd: product.price_vnd,
        tax_included: product.tax_included,
        photo: product.photo.as_ref().map(photo),
    };
    Business {
        trade_name: Some(content.trade_name.clone()),
        tagline: content.tagline.clone(),
        about: Some(content.about.clone()),
        industry: content.industry.clone(),
        hours: Some(content.hours.iter().map(hours).collect()),
        closures: content.closures.iter().filter_map(closure).collect(),
        products: Some(content.products.iter().map(product).collect()),
        cover: content.cover.as_ref().map(photo),
        gallery: content.gallery.iter().map(photo).collect(),
        links: links(content),
        geo: content.geo.map(|geo| Geo {
            lat: geo.latitude,
            lon: geo.longitude,
        }),
        bank: content.bank.as_ref().map(|bank| Bank {
            bin: bank.bin.clone(),
            account: bank.account.clone(),
            holder: bank.holder.clone(),
        }),
    }
}

/// `None`, which leaves the claim's as they are, where a network stands twice: a document has one of each.
fn links(content: &BusinessContent) -> Option<Links> {
    let mut links = Links::default();
    for link in &content.links {
        let place = match link.network.as_str() {
            "zalo" => &mut links.zalo,
            "facebook" => &mut links.facebook,
            "shopee" => &mut links.shopee,
            "tiktok" => &mut links.tiktok,
            "lazada" => &mut links.lazada,
            "youtube" => &mut links.youtube,
            "map" => &mut links.map,
            _ => return None,
        };
        if place.replace(link.url.clone()).is_some() {
            return None;
        }
    }
    Some(links)
}
