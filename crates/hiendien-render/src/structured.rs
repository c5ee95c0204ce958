//! What a page says to machines: schema.org as JSON-LD.

use hiendien_domain::content::{
    BusinessContent, Closure, CvContent, Link, OpeningHours, Picture, Post, SiteContent,
};
use serde_json::{Value, json};

use crate::filters;
use crate::template::Template;
use crate::text::Words;
use crate::values::{Page, PageKind, Site, Subject};

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// One graph for the page; null for a page that does not exist.
pub(crate) fn data(
    page: &Page,
    subject: Subject<'_>,
    site: &Site,
    template: &Template,
    content: &SiteContent,
    words: &Words,
) -> Value {
    let mut graph = Vec::new();
    match (page.kind, subject) {
        (PageKind::Missing, _) => return Value::Null,
        (PageKind::Home, _) => {
            graph.push(json!({
                "@type": "WebSite",
                "@id": format!("{}#trang", site.url),
                "url": site.url,
                "name": site.name,
                "inLanguage": words.get("lang"),
                "publisher": { "@id": owner_id(site) },
            }));
            match content {
                SiteContent::Business(business) => graph.push(shop(business, site, template)),
                SiteContent::Cv(cv) => {
                    graph.push(json!({
                        "@type": "ProfilePage",
                        "@id": site.url,
                        "url": site.url,
                        "name": page.title,
                        "inLanguage": words.get("lang"),
                        "dateCreated": cv.site.since,
                        "dateModified": site.modified,
                        "mainEntity": { "@id": owner_id(site) },
                    }));
                    graph.push(person(cv, site));
                }
            }
        }
        (_, Subject::Post(post)) => {
            graph.push(article(post, page, site, words));
            let posts = (words.get("posts"), format!("{}bai-viet/", site.url));
            graph.push(crumbs(
                site,
                words,
                &[posts, (&post.title, page.url.clone())],
            ));
        }
        (_, Subject::Own(own)) => {
            graph.push(web_page(page, site, words));
            graph.push(crumbs(site, words, &[(&own.title, page.url.clone())]));
        }
        (PageKind::Posts, _) => {
            graph.push(json!({
                "@type": "Blog",
                "@id": page.url,
                "url": page.url,
                "name": page.title,
                "inLanguage": words.get("lang"),
                "publisher": owner(site),
            }));
            graph.push(crumbs(
                site,
                words,
                &[(words.get("posts"), page.url.clone())],
            ));
        }
        (PageKind::Privacy, _) => {
            graph.push(web_page(page, site, words));
            graph.push(crumbs(
                site,
                words,
                &[(words.get("privacy"), page.url.clone())],
            ));
        }
        (PageKind::Post | PageKind::Own | PageKind::Other, Subject::File(_)) => {
            graph.push(web_page(page, site, words));
        }
    }
    json!({ "@context": "https://schema.org", "@graph": graph })
}

fn owner_id(site: &Site) -> String {
    format!("{}#chu", site.url)
}

/// The site's owner in a word, on pages that do not tell all of them.
fn owner(site: &Site) -> Value {
    json!({
        "@type": if site.kind == "cv" { "Person" } else { "Organization" },
        "@id": owner_id(site),
        "name": site.name,
        "url": site.url,
    })
}

fn web_page(page: &Page, site: &Site, words: &Words) -> Value {
    json!({
        "@type": "WebPage",
        "@id": page.url,
        "url": page.url,
        "name": page.title,
        "description": page.description,
        "inLanguage": words.get("lang"),
        "publisher": owner(site),
    })
}

fn crumbs(site: &Site, words: &Words, trail: &[(&str, String)]) -> Value {
    let home = [(words.get("home"), site.url.clone())];
    let items: Vec<Value> = home
        .iter()
        .chain(trail)
        .enumerate()
        .map(|(index, (name, url))| {
            json!({ "@type": "ListItem", "position": index + 1, "name": name, "item": url })
        })
        .collect();
    json!({ "@type": "BreadcrumbList", "itemListElement": items })
}

fn image(picture: &Picture, site: &Site) -> String {
    format!("{}anh/{}-{}.jpg", site.url, picture.id, picture.width)
}

/// Where else the owner is, as far as it is a place on the web.
fn same_as(links: &[Link]) -> Vec<&str> {
    let urls = links.iter().map(|link| filters::href(&link.url));
    urls.filter(|url| url.starts_with("http")).collect()
}

fn article(post: &Post, page: &Page, site: &Site, words: &Words) -> Value {
    let picture = post.cover.as_ref().map(|picture| image(picture, site));
    json!({
        "@type": "BlogPosting",
        "@id": page.url,
        "mainEntityOfPage": page.url,
        "url": page.url,
        "headline": post.title,
        "description": page.description,
        "datePublished": post.date,
        "dateModified": post.date,
        "inLanguage": words.get("lang"),
        "image": picture.unwrap_or_else(|| page.image.url.clone()),
        "keywords": post.tags,
        "author": owner(site),
        "publisher": owner(site),
    })
}

/// Days by the numbers of ISO 8601; others are left out.
fn hours(span: &OpeningHours) -> Value {
    let names: Vec<&str> = span
        .days
        .iter()
        .filter_map(|day| DAYS.get(usize::from(*day).wrapping_sub(1)).copied())
        .collect();
    json!({
        "@type": "OpeningHoursSpecification",
        "dayOfWeek": names,
        "opens": span.opens,
        "closes": span.closes,
    })
}

/// Equal times of opening and closing tell that it is closed.
fn closed(closure: &Closure) -> Value {
    json!({
        "@type": "OpeningHoursSpecification",
        "name": closure.reason,
        "opens": "00:00",
        "closes": "00:00",
        "validFrom": closure.from,
        "validThrough": closure.to,
    })
}

fn shop(business: &BusinessContent, site: &Site, template: &Template) -> Value {
    let pictures: Vec<String> = business
        .cover
        .iter()
        .chain(&business.gallery)
        .map(|picture| image(picture, site))
        .collect();
    let offers: Vec<Value> = business
        .products
        .iter()
        .map(|product| {
            let photo = product.photo.as_ref().map(|picture| image(picture, site));
            json!({
                "@type": "Offer",
                "itemOffered": {
                    "@type": template.schema_offer(),
                    "name": product.name,
                    "description": product.description,
                    "category": product.group,
                    "image": photo,
                },
                "price": product.price_vnd,
                "priceCurrency": product.price_vnd.map(|_| "VND"),
            })
        })
        .collect();
    json!({
        "@type": template.schema_type.as_deref().unwrap_or("LocalBusiness"),
        "@id": owner_id(site),
        "name": business.trade_name,
        "legalName": business.legal.legal_name,
        "slogan": business.tagline,
        "description": filters::paragraphs(&business.about).first(),
        "url": site.url,
        "logo": format!("{}icon-512.png", site.url),
        "image": if pictures.is_empty() { vec![format!("{}og.png", site.url)] } else { pictures },
        "email": business.site.email.to_string(),
        "telephone": business.phone.as_ref().map(|phone| &phone.e164),
        "address": {
            "@type": "PostalAddress",
            "streetAddress": business.address.line,
            "addressLocality": business.address.ward,
            "addressRegion": business.address.province,
            "addressCountry": "VN",
        },
        "geo": business.geo.map(|geo| json!({
            "@type": "GeoCoordinates", "latitude": geo.latitude, "longitude": geo.longitude,
        })),
        "hasMap": site.map_url,
        "openingHoursSpecification": business.hours.iter().map(hours).collect::<Vec<_>>(),
        "specialOpeningHoursSpecification": business.closures.iter().map(closed).collect::<Vec<_>>(),
        "sameAs": same_as(&business.links),
        "currenciesAccepted": "VND",
        "taxID": business.legal.tax_id,
        "makesOffer": offers,
    })
}

fn person(cv: &CvContent, site: &Site) -> Value {
    let school = cv
        .school
        .as_ref()
        .map(|school| json!({ "@type": "EducationalOrganization", "name": school }));
    let place = cv.location.as_ref().map(|location| {
        json!({ "@type": "PostalAddress", "addressRegion": location, "addressCountry": "VN" })
    });
    json!({
        "@type": "Person",
        "@id": owner_id(site),
        "name": cv.full_name,
        "description": filters::paragraphs(&cv.summary).first(),
        "jobTitle": cv.headline,
        "url": site.url,
        "image": cv.portrait.as_ref().map(|picture| image(picture, site)),
        "email": cv.site.email.to_string(),
        "sameAs": same_as(&cv.links),
        "affiliation": school,
        "address": place,
        "knowsAbout": cv.skills.iter().map(|skill| &skill.name).collect::<Vec<_>>(),
        "knowsLanguage": cv.languages.iter().map(|language| &language.name).collect::<Vec<_>>(),
    })
}
