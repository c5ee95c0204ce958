//! Contents to try a template with, made from its sample: as little as a claim gives, and as much and
//! as long as one can. For tests and for the judges of pages; the render binary has no use for it.

use hiendien_domain::content::{
    Closure, Experience, OpeningHours, Page, Phone, Post, Product, Reference, SiteContent, Skill,
};

/// Letters of a word that no line holds.
const LONG_WORD_LETTERS: usize = 200;
const PRODUCTS: usize = 60;
const POSTS: usize = 30;
const PAGES: usize = 8;
const ENTRIES: usize = 25;

/// The sample without anything that a claim need not have.
pub fn minimal(sample: &SiteContent) -> SiteContent {
    let mut content = sample.emptied();
    match (&mut content, sample) {
        (SiteContent::Business(least), SiteContent::Business(sample)) => {
            least.trade_name.clone_from(&sample.trade_name);
            least.about = format!(
                "{} là {} tại {}.",
                sample.trade_name,
                sample.legal.subject.to_lowercase(),
                sample.address.province
            );
            least.address.line.clone_from(&sample.address.line);
            least.address.province.clone_from(&sample.address.province);
            least.legal.legal_name.clone_from(&sample.legal.legal_name);
            least.legal.subject.clone_from(&sample.legal.subject);
            least.legal.tax_id.clone_from(&sample.legal.tax_id);
        }
        (SiteContent::Cv(least), SiteContent::Cv(sample)) => {
            least.full_name.clone_from(&sample.full_name);
            least.headline.clone_from(&sample.headline);
            least.summary = format!("Xin chào, mình là {}.", sample.full_name);
        }
        _ => {}
    }
    content.site_mut().accent = None;
    content
}

/// Members whose form is ours and not the owner's.
const KEPT: [&str; 12] = [
    "kind",
    "host",
    "email",
    "since",
    "language",
    "accent",
    "legal_profile",
    "id",
    "placeholder",
    "slug",
    "date",
    "network",
];

/// The sample with `text` in place of every text an owner can write, links included. For scripts and
/// whatever else must come out as text.
pub fn filled(sample: &SiteContent, text: &str) -> SiteContent {
    fn fill(value: &mut serde_json::Value, text: &str) {
        match value {
            serde_json::Value::String(own) => text.clone_into(own),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| fill(item, text)),
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    if !KEPT.contains(&name.as_str()) {
                        fill(member, text);
                    }
                }
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(sample).expect("content has text keys only");
    fill(&mut value, text);
    serde_json::from_value(value).expect("texts of owners have no form")
}

/// The sample with many long texts: words that no line holds, more of everything than a page is made for.
pub fn long(sample: &SiteContent) -> SiteContent {
    let mut content = sample.clone();
    let word: String = "Nghiêng".chars().cycle().take(LONG_WORD_LETTERS).collect();
    let sentence =
        "Câu này dài hơn mọi câu mà một trang bình thường có, để thấy chữ xuống dòng ra sao. ";
    let text = format!("{} {word}", sentence.repeat(6));
    let some = || Some(format!("{sentence}{word}"));
    let entries = || -> Vec<Experience> {
        (1..=ENTRIES)
            .map(|number| Experience {
                title: format!("Mục {number} {sentence}{word}"),
                organisation: some(),
                url: Some(format!(
                    "https://mau.example/{}",
                    "a".repeat(LONG_WORD_LETTERS)
                )),
                from: Some("01/2001".to_owned()),
                to: (number > 1).then(|| "12/2026".to_owned()),
                summary: Some(text.clone()),
                highlights: vec![text.clone(), word.clone(), sentence.to_owned()],
                picture: None,
            })
            .collect()
    };
    let skills = || -> Vec<Skill> {
        (1..=ENTRIES)
            .map(|number| Skill {
                name: format!("Kỹ năng {number} {word}"),
                level: some(),
                keywords: vec![word.clone(), sentence.to_owned()],
            })
            .collect()
    };
    let posts: Vec<Post> = (1..=POSTS)
        .map(|number| Post {
            slug: format!("bai-{number}-{}", "dai-".repeat(20).trim_end_matches('-')),
            title: format!("Bài {number}: {sentence}{word}"),
            date: format!("2026-{:02}-{:02}", 12 - number % 12, 28 - number % 28),
            body: format!(
                "{text}\n\n# {word}\n\n## {sentence}\n\n- {text}\n- {word}\n\n> {text}\n\n```\n{word}{word}\n```\n\n\
                 | {word} | {word} | Cột | Cột | Cột |\n|---|---|---|---|---|\n| {word} | 1 | 2 | 3 | 4 |\n\n\
                 [{word}](https://mau.example/{word})\n\n1. {text}\n"
            ),
            tags: vec![word.clone(), "ngắn".to_owned(), sentence.to_owned()],
            cover: None,
        })
        .collect();
    let pages: Vec<Page> = (1..=PAGES)
        .map(|number| Page {
            slug: format!("trang-{number}"),
            title: format!("Trang {number} {sentence}"),
            body: posts[0].body.clone(),
        })
        .collect();
    match &mut content {
        SiteContent::Business(business) => {
            business.trade_name = format!("{} {sentence}{word}", business.trade_name);
            business.tagline = some();
            business.about = format!("{text}\n\n{text}\n\n{word}");
            business.industry = some();
            business.phone = Some(Phone {
                e164: "+84710000001".to_owned(),
                display: "0710 000 001".to_owned(),
            });
            business.address.line = format!("{sentence}{word}");
            business.address.ward = some();
            business.hours = (0..6)
                .map(|span| OpeningHours {
                    days: vec![1, 3, 5, 7],
                    opens: format!("{:02}:00", 2 * span + 6),
                    closes: format!("{:02}:30", 2 * span + 7),
                })
                .collect();
            business.closures = (1..=9)
                .map(|number| Closure {
                    from: format!("2027-0{number}-01"),
                    to: format!("2027-0{number}-20"),
                    reason: some(),
                })
                .collect();
            let photos: Vec<_> = business
                .products
                .iter()
                .filter_map(|product| product.photo.clone())
                .collect();
            business.products = (0..PRODUCTS)
                .map(|number| Product {
                    name: format!("Món {number} {sentence}{word}"),
                    unit: Some(word.clone()),
                    price_vnd: (number % 3 > 0).then_some(u64::from(u32::MAX) * 1000),
                    tax_included: number % 2 == 0,
                    description: (number % 4 > 0).then(|| text.clone()),
                    group: (number % 7 > 0).then(|| format!("Nhóm {} {word}", number % 4)),
                    photo: photos.get(number % (2 * photos.len()).max(1)).cloned(),
                })
                .collect();
            for link in &mut business.links {
                link.label = format!("{} {word}", link.label);
            }
            if let Some(bank) = &mut business.bank {
                "NGUYEN ".repeat(20).trim_end().clone_into(&mut bank.holder);
            }
            let legal = &mut business.legal;
            legal.legal_name = format!("{sentence}{word}");
            legal.registered_by = some();
            legal.representative = some();
            business.posts = posts;
            business.pages = pages;
        }
        SiteContent::Cv(cv) => {
            cv.full_name = format!("{} {word}", cv.full_name);
            cv.headline = format!("{sentence}{word}");
            cv.summary = format!("{text}\n\n{text}");
            cv.school = some();
            cv.study_field = some();
            cv.location = some();
            for link in &mut cv.links {
                link.label = format!("{} {word}", link.label);
            }
            for section in [
                &mut cv.work,
                &mut cv.volunteer,
                &mut cv.projects,
                &mut cv.education,
                &mut cv.awards,
                &mut cv.certificates,
                &mut cv.publications,
            ] {
                *section = entries();
            }
            for section in [&mut cv.skills, &mut cv.languages, &mut cv.interests] {
                *section = skills();
            }
            cv.references = (1..=ENTRIES)
                .map(|number| Reference {
                    name: format!("Người {number} {word}"),
                    text: text.clone(),
                })
                .collect();
            cv.posts = posts;
            cv.pages = pages;
        }
    }
    content
}
