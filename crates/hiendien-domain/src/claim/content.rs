//! What a site says, from the claim alone: sentences are written from the facts where the owner gave none.

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Business, Claim, Network, Person, Purpose, SubjectType, identifiers, names, provinces,
};
use crate::content::{
    Address, BankTransfer, BusinessContent, CvContent, Experience, Geo, Language, LegalFooter,
    LegalProfile, Link, OpeningHours, Phone, Post, Product, Reference, SiteContent, SiteIdentity,
    Skill,
};
use crate::platform::Platform;

pub(crate) fn of(claim: &Claim, platform: &Platform) -> SiteContent {
    let site = SiteIdentity {
        host: claim.domain.clone(),
        host_unicode: claim.domain.to_unicode(),
        email: claim.mailboxes[0].at(&claim.domain),
        abuse_url: platform.abuse_url.clone(),
        since: claim.granted_on.to_string(),
        language: Language::default(),
        accent: None,
        legal_profile: LegalProfile::default(),
        pictures: Vec::new(),
    };
    match (&claim.business, &claim.person) {
        (Some(business), _) => {
            SiteContent::Business(Box::new(business_content(claim, business, site)))
        }
        (None, Some(person)) => SiteContent::Cv(Box::new(cv_content(person, site))),
        (None, None) => unreachable!("a checked claim has the part of its programme"),
    }
}

fn business_content(claim: &Claim, business: &Business, site: SiteIdentity) -> BusinessContent {
    let address = Address {
        line: claim.address.line.clone(),
        ward: claim.address.ward.clone(),
        province: provinces::current_name(&claim.address.province)
            .unwrap_or_default()
            .to_owned(),
    };
    let profile = business.profile.clone().unwrap_or_default();
    let subject = match business.subject_type {
        SubjectType::Enterprise => "Doanh nghiệp",
        SubjectType::Household => "Hộ kinh doanh",
    };
    let industry = business
        .industry
        .as_ref()
        .and_then(|industry| industry.text.clone());
    let phone = claim.consents_to(Purpose::PublishPhone).then(|| Phone {
        e164: claim.contact.phone.clone(),
        display: identifiers::phone_display(&claim.contact.phone),
    });
    let date = |date: jiff::civil::Date| date.strftime("%d/%m/%Y").to_string();
    BusinessContent {
        about: profile.about.clone().unwrap_or_else(|| {
            about(
                business,
                subject,
                industry.as_deref(),
                &address,
                phone.is_some(),
            )
        }),
        trade_name: business.trade_name.clone(),
        tagline: None,
        industry,
        phone,
        hours: profile
            .hours
            .iter()
            .map(|hours| OpeningHours {
                days: hours.days.clone(),
                opens: hours.opens.clone(),
                closes: hours.closes.clone(),
            })
            .collect(),
        closures: Vec::new(),
        products: profile
            .products
            .iter()
            .map(|product| Product {
                name: product.name.clone(),
                unit: product.unit.clone(),
                price_vnd: product.price_vnd,
                tax_included: product.tax_included,
                description: None,
                group: None,
                photo: None,
            })
            .collect(),
        cover: None,
        gallery: Vec::new(),
        links: profile
            .links
            .iter()
            .map(|link| network_link(link.network, &link.url))
            .collect(),
        geo: profile.geo.as_ref().map(|geo| Geo {
            latitude: geo.lat,
            longitude: geo.lon,
        }),
        bank: profile
            .bank
            .as_ref()
            .filter(|_| claim.consents_to(Purpose::PublishQr))
            .map(|bank| BankTransfer {
                bin: bank.bin.clone(),
                account: bank.account.clone(),
                holder: bank.holder.clone(),
            }),
        legal: LegalFooter {
            legal_name: business.legal_name.clone(),
            subject: subject.to_owned(),
            tax_id: identifiers::public_number(&business.tax_id),
            // A household's registration number may be its owner's personal id as well.
            registration_no: business
                .registration_no
                .as_deref()
                .map(identifiers::public_number),
            registered_on: business.registered_on.map(date),
            registered_by: business.registered_by.clone(),
            representative: business
                .representative
                .as_ref()
                .map(|person| format!("{} ({})", person.full_name, person.role)),
        },
        address,
        site,
        posts: Vec::new(),
        pages: Vec::new(),
    }
}

fn about(
    business: &Business,
    subject: &str,
    industry: Option<&str>,
    address: &Address,
    has_phone: bool,
) -> String {
    let place = match &address.ward {
        Some(ward) => format!("{ward}, {}", address.province),
        None => address.province.clone(),
    };
    let subject = subject.to_lowercase();
    let work = industry
        .map(|industry| format!(", chuyên về {industry}"))
        .unwrap_or_default();
    let way = if has_phone {
        "gọi điện, gửi thư điện tử"
    } else {
        "gửi thư điện tử"
    };
    format!(
        "{} là {subject} tại {place}{work}.\n\nQuý khách cần tư vấn hoặc đặt hàng, xin vui lòng {way} hoặc ghé thăm \
         chúng tôi tại {}. Rất hân hạnh được phục vụ quý khách.",
        business.trade_name, address.line
    )
}

fn network_link(network: Network, url: &str) -> Link {
    let (word, label) = match network {
        Network::Zalo => ("zalo", "Zalo"),
        Network::Facebook => ("facebook", "Facebook"),
        Network::Shopee => ("shopee", "Shopee"),
        Network::Tiktok => ("tiktok", "TikTok"),
        Network::Lazada => ("lazada", "Lazada"),
        Network::Youtube => ("youtube", "YouTube"),
    };
    Link {
        network: word.to_owned(),
        label: label.to_owned(),
        url: url.to_owned(),
    }
}

/// Most entries of one section that a page shows.
const SECTION_ENTRIES_MAX: usize = 100;

/// A non-empty text as a page shows it: trimmed, NFC.
fn shown(text: &str) -> Option<String> {
    let text: String = text.trim().nfc().collect();
    (!text.is_empty()).then_some(text)
}

/// A member that is a non-empty text.
fn text(value: &Value, name: &str) -> Option<String> {
    shown(value.get(name)?.as_str()?)
}

/// The entries of a list, none where there is no list.
fn entries<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let items = value.get(name).and_then(Value::as_array);
    items.into_iter().flatten().take(SECTION_ENTRIES_MAX)
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    entries(value, name)
        .filter_map(Value::as_str)
        .filter_map(shown)
        .collect()
}

/// A web address fit for a link.
fn web(value: &Value, name: &str) -> Option<String> {
    let url = url::Url::parse(&text(value, name)?).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.username().is_empty()).then(|| url.into())
}

/// `2024-06-01` and `2024-06` as `06/2024`, `2024` as it is; anything else is no date.
fn month(value: &Value, name: &str) -> Option<String> {
    let date = text(value, name)?;
    let mut parts = date.split('-');
    let mut number = |length: usize| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let year = number(4)?;
    Some(match number(2) {
        Some(month) => format!("{month}/{year}"),
        None => year.to_owned(),
    })
}

/// Where a section of a JSON Resume keeps what all sections have.
struct Section {
    name: &'static str,
    /// Members that make the title, joined.
    titles: &'static [&'static str],
    organisation: &'static str,
}

fn section(resume: &Value, section: &Section) -> Vec<Experience> {
    let entry = |item: &Value| {
        let organisation = text(item, section.organisation);
        let titles: Vec<_> = section
            .titles
            .iter()
            .filter_map(|name| text(item, name))
            .collect();
        let title = Some(titles.join(", ")).filter(|title| !title.is_empty());
        let title = title.or_else(|| organisation.clone())?;
        let score = text(item, "score").map(|score| format!("Kết quả: {score}"));
        Some(Experience {
            organisation: organisation.filter(|organisation| *organisation != title),
            title,
            url: web(item, "url"),
            from: ["startDate", "date", "releaseDate"]
                .iter()
                .find_map(|name| month(item, name)),
            to: month(item, "endDate"),
            summary: text(item, "summary")
                .or_else(|| text(item, "description"))
                .or(score),
            highlights: [texts(item, "highlights"), texts(item, "courses")].concat(),
        })
    };
    entries(resume, section.name).filter_map(entry).collect()
}

fn skills(resume: &Value, section: &str, name: &str, level: &str) -> Vec<Skill> {
    let skill = |item: &Value| {
        Some(Skill {
            name: text(item, name)?,
            level: text(item, level),
            keywords: texts(item, "keywords"),
        })
    };
    entries(resume, section).filter_map(skill).collect()
}

fn cv_content(person: &Person, site: SiteIdentity) -> CvContent {
    let nothing = Value::Null;
    let resume = person.resume.as_ref().unwrap_or(&nothing);
    let basics = resume.get("basics").unwrap_or(&nothing);
    let school = person.school.as_ref().map(|school| school.name.clone());
    let headline = text(basics, "label").unwrap_or_else(|| match (&person.study_field, &school) {
        (Some(field), _) => format!("Theo học ngành {field}"),
        (None, Some(school)) => format!("Người học tại {school}"),
        (None, None) => "Trang cá nhân".to_owned(),
    });
    let summary = text(basics, "summary").unwrap_or_else(|| {
        let studies = match (&person.study_field, &school) {
            (Some(field), Some(school)) => format!(", đang học ngành {field} tại {school}"),
            (Some(field), None) => format!(", đang theo học ngành {field}"),
            (None, Some(school)) => format!(", đang học tại {school}"),
            (None, None) => String::new(),
        };
        format!(
            "Xin chào, mình là {}{studies}. Đây là trang cá nhân của mình, nơi mình ghi lại việc học, những điều đang làm \
             và cách liên hệ. Rất vui được làm quen với bạn qua thư điện tử.",
            person.full_name
        )
    });
    let read = |name, titles, organisation| {
        section(
            resume,
            &Section {
                name,
                titles,
                organisation,
            },
        )
    };
    let mut education = read("education", &["studyType", "area"], "institution");
    if education.is_empty() {
        education.extend(school.clone().map(|school| Experience {
            title: person.study_field.clone().unwrap_or_else(|| school.clone()),
            organisation: person.study_field.as_ref().map(|_| school.clone()),
            ..Experience::default()
        }));
    }
    let profile = |item: &Value| {
        let url = web(item, "url")?;
        let network = text(item, "network")?;
        Some(Link {
            label: network.clone(),
            network: network.to_lowercase(),
            url,
        })
    };
    let own_site = web(basics, "url").map(|url| Link {
        network: "website".to_owned(),
        label: "Website".to_owned(),
        url,
    });
    let profiles = entries(basics, "profiles").filter_map(profile);
    CvContent {
        site,
        full_name: person.full_name.clone(),
        headline,
        summary,
        portrait: None,
        school,
        study_field: person.study_field.clone(),
        location: basics
            .get("location")
            .and_then(|location| text(location, "region").or_else(|| text(location, "city"))),
        links: own_site.into_iter().chain(profiles).collect(),
        work: read("work", &["position"], "name"),
        volunteer: read("volunteer", &["position"], "organization"),
        projects: read("projects", &["name"], "entity"),
        education,
        awards: read("awards", &["title"], "awarder"),
        certificates: read("certificates", &["name"], "issuer"),
        publications: read("publications", &["name"], "publisher"),
        skills: skills(resume, "skills", "name", "level"),
        languages: skills(resume, "languages", "language", "fluency"),
        interests: skills(resume, "interests", "name", "level"),
        references: entries(resume, "references")
            .filter_map(|item| {
                Some(Reference {
                    name: text(item, "name")?,
                    text: text(item, "reference")?,
                })
            })
            .collect(),
        posts: posts(person),
        pages: Vec::new(),
    }
}

/// Posts, the newest first, each with a slug of its own.
fn posts(person: &Person) -> Vec<Post> {
    let mut posts: Vec<Post> = Vec::new();
    for post in &person.posts {
        let base = slug(&post.title);
        let taken = |slug: &str| posts.iter().any(|post| post.slug == slug);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let slug = std::iter::once(base.clone())
            .chain(numbered)
            .find(|slug| !taken(slug))
            .unwrap_or_default();
        posts.push(Post {
            slug,
            title: post.title.clone(),
            date: post.date.to_string(),
            body: post.body.clone(),
            tags: Vec::new(),
            cover: None,
        });
    }
    posts.sort_by(|left, right| right.date.cmp(&left.date));
    posts
}

/// Lower-case ASCII for a path: `Nhật ký số 1` becomes `nhat-ky-so-1`.
fn slug(title: &str) -> String {
    let plain = names::without_marks(title).to_lowercase();
    let words: Vec<String> = plain
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let mut slug = words.join("-");
    slug.truncate(80);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "bai-viet".to_owned()
    } else {
        slug.to_owned()
    }
}
