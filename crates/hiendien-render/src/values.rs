//! What templates see beside the content: the site in the forms pages need, and the page at hand.

use hiendien_domain::content::{
    Address, BusinessContent, Geo, Language, Link, Page as OwnPage, Phone, Post, SiteContent,
    SiteIdentity,
};
use serde::Serialize;
use serde_json::json;

use crate::palette::Palette;
use crate::template::Template;
use crate::text::Words;
use crate::{filters, markdown, structured};

/// A description in search results is cut near here.
const DESCRIPTION_LETTERS_MAX: usize = 160;
/// So is a title.
const TITLE_LETTERS_MAX: usize = 68;
pub(crate) const CARD_WIDTH: u32 = 1200;
pub(crate) const CARD_HEIGHT: u32 = 630;

/// The global `site`.
#[derive(Debug, Serialize)]
pub(crate) struct Site {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// The owner's own line, else what the site is about in a few words; may be empty.
    pub(crate) tagline: String,
    /// Of the home page, with the slash at its end.
    pub(crate) url: String,
    pub(crate) email_display: String,
    pub(crate) initials: String,
    /// The address in one line, or where a person lives; may be empty.
    pub(crate) place: String,
    pub(crate) map_url: Option<String>,
    pub(crate) zalo: Option<Link>,
    pub(crate) phone: Option<Phone>,
    pub(crate) nav: Vec<NavEntry>,
    pub(crate) map: Vec<MapEntry>,
    /// The latest date the content has, `YYYY-MM-DD`.
    pub(crate) modified: String,
    /// Whether there is a `cv.pdf`.
    pub(crate) pdf: bool,
    pub(crate) webmanifest: serde_json::Value,
    pub(crate) json_feed: serde_json::Value,
}

#[derive(Debug, Serialize)]
pub(crate) struct NavEntry {
    pub(crate) path: String,
    pub(crate) title: String,
}

/// A line of the sitemap.
#[derive(Debug, Serialize)]
pub(crate) struct MapEntry {
    pub(crate) url: String,
    pub(crate) modified: String,
}

/// The global `page`.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) kind: PageKind,
    /// From the root, with a slash at its end where it is a folder's index.
    pub(crate) path: String,
    pub(crate) url: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) noindex: bool,
    pub(crate) og_type: &'static str,
    pub(crate) image: Image,
    /// The day of a post.
    pub(crate) published: Option<String>,
    pub(crate) jsonld: serde_json::Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PageKind {
    Home,
    Posts,
    Post,
    Own,
    Privacy,
    Missing,
    Other,
}

#[derive(Debug, Serialize)]
pub(crate) struct Image {
    pub(crate) url: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) alt: String,
}

/// What a page is about beside the site.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A file of the template, by its path.
    File(&'a str),
    Post(&'a Post),
    Own(&'a OwnPage),
}

impl Site {
    pub(crate) fn new(content: &SiteContent, words: &Words, palette: &Palette) -> Self {
        let identity = content.site();
        let url = format!("https://{}/", identity.host);
        let (kind, name, tagline) = match content {
            SiteContent::Business(business) => {
                let own = business.tagline.as_ref().or(business.industry.as_ref());
                let tagline = own.cloned().unwrap_or_default();
                ("business", &business.trade_name, tagline)
            }
            SiteContent::Cv(cv) => ("cv", &cv.full_name, cv.headline.clone()),
        };
        let (place, map_url, links) = match content {
            SiteContent::Business(business) => (
                place(&business.address),
                Some(map_url(business)),
                &business.links,
            ),
            SiteContent::Cv(cv) => (cv.location.clone().unwrap_or_default(), None, &cv.links),
        };
        let modified = modified(content);
        let email = identity.email.to_string();
        let mut site = Self {
            kind,
            name: name.clone(),
            tagline,
            email_display: email.replace(identity.host.as_str(), &identity.host_unicode),
            initials: filters::initials(name),
            place,
            map_url,
            zalo: links.iter().find(|link| link.network == "zalo").cloned(),
            phone: match content {
                SiteContent::Business(business) => business.phone.clone(),
                SiteContent::Cv(_) => None,
            },
            nav: nav(content, words),
            map: map(content, &url, &modified),
            pdf: matches!(content, SiteContent::Cv(_)),
            webmanifest: serde_json::Value::Null,
            json_feed: serde_json::Value::Null,
            modified,
            url,
        };
        site.webmanifest = webmanifest(&site, words, palette);
        site.json_feed = json_feed(&site, content, words);
        site
    }
}

/// The latest date the content has: a grant, a post. Closures lie ahead and say nothing of a change.
fn modified(content: &SiteContent) -> String {
    let since = content.site().since.as_str();
    let dates = posts(content).iter().map(|post| post.date.as_str());
    dates.fold(since, std::cmp::max).to_owned()
}

pub(crate) fn posts(content: &SiteContent) -> &[Post] {
    match content {
        SiteContent::Business(content) => &content.posts,
        SiteContent::Cv(content) => &content.posts,
    }
}

pub(crate) fn own_pages(content: &SiteContent) -> &[OwnPage] {
    match content {
        SiteContent::Business(content) => &content.pages,
        SiteContent::Cv(content) => &content.pages,
    }
}

pub(crate) fn post_path(post: &Post) -> String {
    format!("/bai-viet/{}/", post.slug)
}

fn own_path(page: &OwnPage) -> String {
    format!("/{}/", page.slug)
}

pub(crate) fn place(address: &Address) -> String {
    let parts = [
        Some(&address.line),
        address.ward.as_ref(),
        Some(&address.province),
    ];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(", ")
}

/// The owner's own link to a map, or a search for the place.
fn map_url(business: &BusinessContent) -> String {
    if let Some(own) = business.links.iter().find(|link| link.network == "map") {
        return own.url.clone();
    }
    let query = match business.geo {
        Some(Geo {
            latitude,
            longitude,
        }) => format!("{latitude},{longitude}"),
        None => format!("{}, {}", business.trade_name, place(&business.address)),
    };
    let query = filters::percent_encoded(&query);
    format!("https://www.google.com/maps/search/?api=1&query={query}")
}

fn nav(content: &SiteContent, words: &Words) -> Vec<NavEntry> {
    let entry = |path: String, title: &str| NavEntry {
        path,
        title: title.to_owned(),
    };
    let mut nav = Vec::new();
    if !posts(content).is_empty() {
        nav.push(entry("/bai-viet/".to_owned(), words.get("posts")));
    }
    nav.extend(
        own_pages(content)
            .iter()
            .map(|page| entry(own_path(page), &page.title)),
    );
    if !nav.is_empty() {
        nav.insert(0, entry("/".to_owned(), words.get("home")));
    }
    nav
}

fn map(content: &SiteContent, url: &str, modified: &str) -> Vec<MapEntry> {
    let entry = |path: &str, modified: &str| MapEntry {
        url: format!("{url}{}", path.trim_start_matches('/')),
        modified: modified.to_owned(),
    };
    let mut map = vec![entry("", modified)];
    let posts = posts(content);
    if let Some(newest) = posts.iter().map(|post| post.date.as_str()).max() {
        map.push(entry("bai-viet/", newest));
    }
    map.extend(posts.iter().map(|post| entry(&post_path(post), &post.date)));
    let since = &content.site().since;
    map.extend(
        own_pages(content)
            .iter()
            .map(|page| entry(&own_path(page), since)),
    );
    map.push(entry("rieng-tu/", since));
    map
}

fn webmanifest(site: &Site, words: &Words, palette: &Palette) -> serde_json::Value {
    let icon = |file: &str, sizes: &str| json!({ "src": format!("/{file}"), "sizes": sizes, "type": "image/png" });
    json!({
        "name": site.name,
        "short_name": site.initials,
        "description": site.tagline,
        "lang": words.get("lang"),
        "start_url": "/",
        "display": "browser",
        "background_color": palette.light.paper,
        "theme_color": palette.light.accent_fill,
        "icons": [icon("icon-192.png", "192x192"), icon("icon-512.png", "512x512")],
    })
}

fn json_feed(site: &Site, content: &SiteContent, words: &Words) -> serde_json::Value {
    let pictures = markdown::Pictures::of(content);
    let item = |post: &Post| {
        let url = format!("{}bai-viet/{}/", site.url, post.slug);
        json!({
            "id": url,
            "url": url,
            "title": post.title,
            "content_html": markdown::to_html(&post.body, &pictures),
            "date_published": filters::date_rfc3339(&post.date),
            "tags": post.tags,
        })
    };
    json!({
        "version": "https://jsonfeed.org/version/1.1",
        "title": site.name,
        "description": site.tagline,
        "home_page_url": site.url,
        "feed_url": format!("{}feed.json", site.url),
        "icon": format!("{}icon-512.png", site.url),
        "language": words.get("lang"),
        "authors": [{ "name": site.name, "url": site.url }],
        "items": posts(content).iter().map(item).collect::<Vec<_>>(),
    })
}

impl Page {
    pub(crate) fn new(
        subject: Subject<'_>,
        site: &Site,
        template: &Template,
        content: &SiteContent,
        words: &Words,
    ) -> Self {
        let (kind, path) = match subject {
            Subject::Post(post) => (PageKind::Post, post_path(post)),
            Subject::Own(page) => (PageKind::Own, own_path(page)),
            Subject::File("index.html") => (PageKind::Home, "/".to_owned()),
            Subject::File("404.html") => (PageKind::Missing, "/404.html".to_owned()),
            Subject::File("bai-viet/index.html") => (PageKind::Posts, "/bai-viet/".to_owned()),
            Subject::File("rieng-tu/index.html") => (PageKind::Privacy, "/rieng-tu/".to_owned()),
            Subject::File(path) => {
                let path = path.strip_suffix("index.html").unwrap_or(path);
                (PageKind::Other, format!("/{path}"))
            }
        };
        let named = |title: &str| named_with(title, &site.name);
        let title = match (kind, subject) {
            (_, Subject::Post(post)) => named(&post.title),
            (_, Subject::Own(page)) => named(&page.title),
            (PageKind::Missing, _) => named(words.get("missing_title")),
            (PageKind::Posts, _) => named(words.get("posts")),
            (PageKind::Privacy, _) => named(words.get("privacy")),
            _ if site.tagline.is_empty() => site.name.clone(),
            _ => named_with(&site.name, &site.tagline),
        };
        let title = markdown::cut(&title, TITLE_LETTERS_MAX);
        let about = |text: &str| {
            filters::paragraphs(text)
                .into_iter()
                .next()
                .unwrap_or_default()
        };
        let description = match (kind, subject) {
            (_, Subject::Post(post)) => markdown::lead(&post.body),
            (_, Subject::Own(page)) => markdown::lead(&page.body),
            (PageKind::Posts, _) => words.filled("posts_lead", "name", &site.name),
            (PageKind::Privacy, _) => words.filled("privacy_lead", "name", &site.name),
            (PageKind::Missing, _) => words.get("missing_text").to_owned(),
            _ => match content {
                SiteContent::Business(business) => about(&business.about),
                SiteContent::Cv(cv) => about(&cv.summary),
            },
        };
        let description = match description.trim() {
            "" => title.clone(),
            text => markdown::cut(text, DESCRIPTION_LETTERS_MAX),
        };
        let url = format!("{}{}", site.url, path.trim_start_matches('/'));
        let cover = match subject {
            Subject::Post(post) => post.cover.as_ref(),
            _ => None,
        };
        let image = match cover {
            Some(picture) => Image {
                url: format!("{}anh/{}-{}.jpg", site.url, picture.id, picture.width),
                width: picture.width,
                height: picture.height,
                alt: picture.alt.clone(),
            },
            None => Image {
                url: format!("{}og.png", site.url),
                width: CARD_WIDTH,
                height: CARD_HEIGHT,
                alt: site.name.clone(),
            },
        };
        let mut page = Self {
            kind,
            path,
            url,
            title,
            description,
            noindex: kind == PageKind::Missing,
            og_type: match (kind, content) {
                (PageKind::Post, _) => "article",
                (PageKind::Home, SiteContent::Cv(_)) => "profile",
                _ => "website",
            },
            image,
            published: match subject {
                Subject::Post(post) => Some(post.date.clone()),
                _ => None,
            },
            jsonld: serde_json::Value::Null,
        };
        page.jsonld = structured::data(&page, subject, site, template, content, words);
        page
    }
}

/// Both where they fit; the first alone where they do not.
fn named_with(first: &str, second: &str) -> String {
    let both = format!("{first} – {second}");
    if both.chars().count() <= TITLE_LETTERS_MAX {
        both
    } else {
        first.to_owned()
    }
}

/// The language's name as files and attributes have it.
pub(crate) fn language(identity: &SiteIdentity) -> &'static str {
    match identity.language {
        Language::Vi => "vi",
        Language::En => "en",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_owners_own_map_goes_before_a_search_for_the_place() {
        let root = Path::new("../../site-templates");
        let SiteContent::Business(mut shop) = crate::template::sample(root, "storefront").unwrap()
        else {
            panic!("a storefront is a business");
        };
        shop.links.retain(|link| link.network != "map");
        assert!(map_url(&shop).starts_with("https://www.google.com/maps/search/?api=1&query="));
        let own = "https://maps.app.goo.gl/mau".to_owned();
        shop.links.push(Link {
            network: "map".to_owned(),
            label: "Bản đồ".to_owned(),
            url: own.clone(),
        });
        assert_eq!(map_url(&shop), own);
    }
}
