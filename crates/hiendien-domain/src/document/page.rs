//! The page that a document makes of what the claim gives.

use std::collections::BTreeMap;

use super::{Business, Document, Facts, Links, Photo, Purpose};
use crate::claim::content::{self as from_claim, bank_transfer, opening_hours};
use crate::content::{
    BusinessContent, Closure, CvContent, Experience, ImageId, Language, Link, Page, Picture, Post,
    Product, SiteContent,
};

/// Uploaded images by name, without what they show.
pub(crate) type Pictures = BTreeMap<ImageId, Picture>;

/// Fills the page. Images that are not known are left out; the check has told of them.
pub(crate) fn page(
    document: &Document,
    facts: &Facts,
    pictures: &Pictures,
    in_texts: &[ImageId],
) -> SiteContent {
    let album = Album { pictures };
    let mut content = facts.content.clone();
    let site = content.site_mut();
    site.language = document.language.unwrap_or_default();
    site.accent.clone_from(&document.accent);
    match &mut content {
        SiteContent::Business(page) => business(page, document, facts, &album),
        SiteContent::Cv(page) => cv(page, document, facts, &album),
    }
    let (posts, pages) = match &mut content {
        SiteContent::Business(page) => (&mut page.posts, &mut page.pages),
        SiteContent::Cv(page) => (&mut page.posts, &mut page.pages),
    };
    if let Some(written) = &document.posts {
        *posts = written
            .iter()
            .map(|post| shown_post(post, &album))
            .collect();
        // Of one day, the one written first stands first.
        posts.sort_by(|left, right| right.date.cmp(&left.date));
    }
    *pages = document
        .pages
        .iter()
        .map(|page| Page {
            slug: page.slug.clone().unwrap_or_default(),
            title: page.title.clone(),
            body: page.body.clone(),
        })
        .collect();
    let mut used = shown_pictures(&content);
    for id in in_texts {
        if let Some(picture) = pictures.get(id) {
            used.entry(id.clone()).or_insert_with(|| picture.clone());
        }
    }
    content.site_mut().pictures = used.into_values().collect();
    content
}

struct Album<'a> {
    pictures: &'a Pictures,
}

impl Album<'_> {
    fn picture(&self, photo: &Photo) -> Option<Picture> {
        let picture = self.pictures.get(&photo.image)?;
        Some(Picture {
            alt: photo.alt.clone(),
            ..picture.clone()
        })
    }

    fn optional(&self, photo: Option<&Photo>) -> Option<Picture> {
        photo.and_then(|photo| self.picture(photo))
    }
}

fn business(page: &mut BusinessContent, document: &Document, facts: &Facts, album: &Album<'_>) {
    let nothing = Business::default();
    let written = document.business.as_ref().unwrap_or(&nothing);
    let publishes_phone = agreed(document, facts, Purpose::PublishPhone);
    page.phone = facts.phone.clone().filter(|_| publishes_phone);
    if let Some(name) = &written.trade_name {
        page.trade_name.clone_from(name);
    }
    if written.industry.is_some() {
        page.industry.clone_from(&written.industry);
    }
    page.tagline.clone_from(&written.tagline);
    if let Some(hours) = &written.hours {
        page.hours = hours.iter().map(opening_hours).collect();
    }
    page.closures = written
        .closures
        .iter()
        .map(|closure| Closure {
            from: closure.from.to_string(),
            to: closure.to.to_string(),
            reason: closure.reason.clone(),
        })
        .collect();
    page.closures
        .sort_by(|left, right| (&left.from, &left.to).cmp(&(&right.from, &right.to)));
    if let Some(products) = &written.products {
        page.products = products
            .iter()
            .map(|product| Product {
                name: product.name.clone(),
                unit: product.unit.clone(),
                price_vnd: product.price_vnd,
                tax_included: product.tax_included,
                description: product.description.clone(),
                group: product.group.clone(),
                photo: album.optional(product.photo.as_ref()),
            })
            .collect();
    }
    page.cover = album.optional(written.cover.as_ref());
    page.gallery = written
        .gallery
        .iter()
        .filter_map(|photo| album.picture(photo))
        .collect();
    if let Some(links) = &written.links {
        page.links = shown_links(links, page.site.language);
    }
    if let Some(geo) = &written.geo {
        page.geo = Some(from_claim::place(geo));
    }
    if let Some(bank) = &written.bank {
        page.bank = Some(bank_transfer(bank));
    }
    if !agreed(document, facts, Purpose::PublishQr) {
        page.bank = None;
    }
    if let Some(about) = &written.about {
        page.about.clone_from(about);
    } else if facts.about_is_ours {
        page.about = from_claim::about(page);
    }
}

/// What the document says of a purpose, else what the claim said.
pub(crate) fn agreed(document: &Document, facts: &Facts, purpose: Purpose) -> bool {
    let said = document
        .consents
        .iter()
        .find(|consent| consent.purpose == purpose);
    match (said, purpose) {
        (Some(consent), _) => consent.given,
        (None, Purpose::PublishPhone) => facts.agrees.publish_phone,
        (None, Purpose::PublishQr) => facts.agrees.publish_qr,
    }
}

fn shown_links(links: &Links, language: Language) -> Vec<Link> {
    let map = match language {
        Language::Vi => "Bản đồ",
        Language::En => "Map",
    };
    let all = [
        ("zalo", "Zalo", &links.zalo),
        ("facebook", "Facebook", &links.facebook),
        ("shopee", "Shopee", &links.shopee),
        ("tiktok", "TikTok", &links.tiktok),
        ("lazada", "Lazada", &links.lazada),
        ("youtube", "YouTube", &links.youtube),
        ("map", map, &links.map),
    ];
    all.into_iter()
        .filter_map(|(network, label, url)| {
            Some(Link {
                network: network.to_owned(),
                label: label.to_owned(),
                url: url.clone()?,
            })
        })
        .collect()
}

fn cv(page: &mut CvContent, document: &Document, facts: &Facts, album: &Album<'_>) {
    let written = document.cv.as_ref();
    let resume = document.resume().or(facts.resume.as_ref());
    // A page whose claim is not at hand is all there is to go by, until a résumé comes.
    if resume.is_some() || page.site.language != Language::default() {
        let of = from_claim::Cv {
            full_name: &page.full_name,
            school: page.school.as_deref(),
            study_field: page.study_field.as_deref(),
            resume,
        };
        let posts = std::mem::take(&mut page.posts);
        *page = CvContent {
            posts,
            ..of.content(page.site.clone())
        };
    }
    page.portrait = written.and_then(|cv| album.optional(cv.portrait.as_ref()));
    for shown in written.into_iter().flat_map(|cv| &cv.project_photos) {
        let named = |project: &&mut Experience| project.title == shown.project;
        if let Some(project) = page.projects.iter_mut().find(named) {
            project.picture = album.picture(&shown.photo);
        }
    }
}

fn shown_post(post: &super::Post, album: &Album<'_>) -> Post {
    Post {
        slug: post.slug.clone().unwrap_or_default(),
        title: post.title.clone(),
        date: post.date.to_string(),
        body: post.body.clone(),
        tags: post.tags.clone(),
        cover: album.optional(post.cover.as_ref()),
    }
}

/// Every picture on the page, once.
fn shown_pictures(content: &SiteContent) -> Pictures {
    let (own, posts): (Vec<&Picture>, _) = match content {
        SiteContent::Business(page) => {
            let products = page
                .products
                .iter()
                .filter_map(|product| product.photo.as_ref());
            let own = page.cover.iter().chain(&page.gallery).chain(products);
            (own.collect(), &page.posts)
        }
        SiteContent::Cv(page) => {
            let projects = page
                .projects
                .iter()
                .filter_map(|project| project.picture.as_ref());
            (page.portrait.iter().chain(projects).collect(), &page.posts)
        }
    };
    let covers = posts.iter().filter_map(|post| post.cover.as_ref());
    let mut all = Pictures::new();
    for picture in own.into_iter().chain(covers) {
        all.entry(picture.id.clone())
            .or_insert_with(|| picture.clone());
    }
    all
}
