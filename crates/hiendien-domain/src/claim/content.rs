//! What a site says, from the claim alone: sentences are written from the facts where the owner gave none.

use std::collections::BTreeSet;

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Bank, Business, Claim, Hours, Network, Person, Purpose, SubjectType, identifiers, names,
    provinces,
};
use crate::content::{
    Address, BankTransfer, BusinessContent, CvContent, Experience, Geo, Language, LegalFooter,
    LegalProfile, Link, OpeningHours, Phone, Post, Product, Reference, SiteContent, SiteIdentity,
    Skill,
};
use crate::document::{Agreed, Facts};
use crate::platform::Platform;

/// The page alone, and all that a document of the owner's may show beside it.
pub(crate) fn facts(claim: &Claim, platform: &Platform) -> Facts {
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
    let agrees = Agreed {
        publish_phone: claim.consents_to(Purpose::PublishPhone),
        publish_qr: claim.consents_to(Purpose::PublishQr),
    };
    let phone = Phone {
        e164: claim.contact.phone.clone(),
        display: identifiers::phone_display(&claim.contact.phone),
    };
    match (&claim.business, &claim.person) {
        (Some(business), _) => {
            let shown = agrees.publish_phone.then(|| phone.clone());
            let profile = business.profile.as_ref();
            let numbers = [
                Some(business.tax_id.as_str()),
                business.registration_no.as_deref(),
            ];
            Facts {
                content: SiteContent::Business(Box::new(business_content(
                    claim, business, site, shown,
                ))),
                phone: Some(phone),
                agrees,
                about_is_ours: profile.is_none_or(|profile| profile.about.is_none()),
                resume: None,
                personal_ids: numbers
                    .into_iter()
                    .flatten()
                    .map(identifiers::digits)
                    .filter(|digits| identifiers::CitizenId::of(digits).is_some())
                    .collect(),
            }
        }
        (None, Some(person)) => {
            let school = person.school.as_ref().map(|school| school.name.as_str());
            let of = Cv {
                full_name: &person.full_name,
                school,
                study_field: person.study_field.as_deref(),
                resume: person.resume.as_ref(),
            };
            let mut content = of.content(site);
            content.posts = posts(person);
            Facts {
                content: SiteContent::Cv(Box::new(content)),
                phone: Some(phone),
                agrees,
                about_is_ours: true,
                resume: person.resume.clone(),
                personal_ids: Vec::new(),
            }
        }
        (None, None) => unreachable!("a checked claim has the part of its programme"),
    }
}

fn business_content(
    claim: &Claim,
    business: &Business,
    site: SiteIdentity,
    phone: Option<Phone>,
) -> BusinessContent {
    let address = Address {
        line: claim.address.line.clone(),
        ward: claim.address.ward.clone(),
        province: provinces::current_name(&claim.address.province)
            .unwrap_or_default()
            .to_owned(),
    };
    let profile = business.profile.clone().unwrap_or_default();
    let subject = match business.subject_type {
        SubjectType::Enterprise => ENTERPRISE,
        SubjectType::Household => HOUSEHOLD,
    };
    let industry = business
        .industry
        .as_ref()
        .and_then(|industry| industry.text.clone());
    let date = |date: jiff::civil::Date| date.strftime("%d/%m/%Y").to_string();
    let mut content = BusinessContent {
        about: profile.about.clone().unwrap_or_default(),
        trade_name: business.trade_name.clone(),
        tagline: None,
        industry,
        phone,
        hours: profile.hours.iter().map(opening_hours).collect(),
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
        geo: profile.geo.as_ref().map(place),
        bank: profile
            .bank
            .as_ref()
            .filter(|_| claim.consents_to(Purpose::PublishQr))
            .map(bank_transfer),
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
    };
    if profile.about.is_none() {
        content.about = about(&content);
    }
    content
}

pub(crate) fn opening_hours(hours: &Hours) -> OpeningHours {
    OpeningHours {
        days: hours.days.clone(),
        opens: hours.opens.clone(),
        closes: hours.closes.clone(),
    }
}

pub(crate) fn place(geo: &super::Geo) -> Geo {
    Geo {
        latitude: geo.lat,
        longitude: geo.lon,
    }
}

pub(crate) fn bank_transfer(bank: &Bank) -> BankTransfer {
    BankTransfer {
        bin: bank.bin.clone(),
        account: bank.account.clone(),
        holder: bank.holder.clone(),
    }
}

/// What a footer calls the two kinds of business.
const ENTERPRISE: &str = "Doanh nghiệp";
const HOUSEHOLD: &str = "Hộ kinh doanh";

/// What a business says of itself where its owner has said nothing: sentences from the facts.
pub(crate) fn about(business: &BusinessContent) -> String {
    let (name, address) = (&business.trade_name, &business.address);
    let place = match &address.ward {
        Some(ward) => format!("{ward}, {}", address.province),
        None => address.province.clone(),
    };
    let (industry, has_phone) = (business.industry.as_deref(), business.phone.is_some());
    if business.site.language == Language::En {
        let subject = if business.legal.subject == HOUSEHOLD {
            "a household business"
        } else {
            "a company"
        };
        let work = industry
            .map(|industry| format!(" ({industry})"))
            .unwrap_or_default();
        let way = if has_phone { "call us, " } else { "" };
        return format!(
            "{name} is {subject} in {place}{work}.\n\nTo ask a question or to place an order, please {way}write to us \
             by e-mail or visit us at {}. We look forward to serving you.",
            address.line
        );
    }
    let subject = business.legal.subject.to_lowercase();
    let work = industry
        .map(|industry| format!(", chuyên về {industry}"))
        .unwrap_or_default();
    let way = if has_phone {
        "gọi điện, gửi thư điện tử"
    } else {
        "gửi thư điện tử"
    };
    format!(
        "{name} là {subject} tại {place}{work}.\n\nQuý khách cần tư vấn hoặc đặt hàng, xin vui lòng {way} hoặc ghé thăm \
         chúng tôi tại {}. Rất hân hạnh được phục vụ quý khách.",
        address.line
    )
}

pub(crate) fn network_link(network: Network, url: &str) -> Link {
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

fn section(resume: &Value, section: &Section, language: Language) -> Vec<Experience> {
    let entry = |item: &Value| {
        let organisation = text(item, section.organisation);
        let titles: Vec<_> = section
            .titles
            .iter()
            .filter_map(|name| text(item, name))
            .collect();
        let title = Some(titles.join(", ")).filter(|title| !title.is_empty());
        let title = title.or_else(|| organisation.clone())?;
        let score = text(item, "score").map(|score| match language {
            Language::Vi => format!("Kết quả: {score}"),
            Language::En => format!("Result: {score}"),
        });
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
            picture: None,
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

const PROJECTS: Section = Section {
    name: "projects",
    titles: &["name"],
    organisation: "entity",
};

/// What the projects of a résumé are called on its page.
pub(crate) fn project_titles(resume: &Value) -> Vec<String> {
    let projects = section(resume, &PROJECTS, Language::default());
    projects.into_iter().map(|project| project.title).collect()
}

/// What a CV is made from.
pub(crate) struct Cv<'a> {
    pub(crate) full_name: &'a str,
    pub(crate) school: Option<&'a str>,
    pub(crate) study_field: Option<&'a str>,
    /// JSON Resume. Telephone number, address and e-mail in it are never shown.
    pub(crate) resume: Option<&'a Value>,
}

impl Cv<'_> {
    /// What the person does or studies, where the résumé does not tell.
    fn headline(&self, language: Language) -> String {
        match (language, self.study_field, self.school) {
            (Language::Vi, Some(field), _) => format!("Theo học ngành {field}"),
            (Language::Vi, None, Some(school)) => format!("Người học tại {school}"),
            (Language::Vi, None, None) => "Trang cá nhân".to_owned(),
            (Language::En, Some(field), _) => format!("Student of {field}"),
            (Language::En, None, Some(school)) => format!("Student at {school}"),
            (Language::En, None, None) => "Personal page".to_owned(),
        }
    }

    /// A greeting from the facts, where the résumé has none.
    fn summary(&self, language: Language) -> String {
        let name = self.full_name;
        let studies = match (language, self.study_field, self.school) {
            (Language::Vi, Some(field), Some(school)) => {
                format!(", đang học ngành {field} tại {school}")
            }
            (Language::Vi, Some(field), None) => format!(", đang theo học ngành {field}"),
            (Language::Vi, None, Some(school)) => format!(", đang học tại {school}"),
            (Language::En, Some(field), Some(school)) => {
                format!(" and I study {field} at {school}")
            }
            (Language::En, Some(field), None) => format!(" and I study {field}"),
            (Language::En, None, Some(school)) => format!(" and I study at {school}"),
            (_, None, None) => String::new(),
        };
        match language {
            Language::Vi => format!(
                "Xin chào, mình là {name}{studies}. Đây là trang cá nhân của mình, nơi mình ghi lại việc học, những điều đang làm \
                 và cách liên hệ. Rất vui được làm quen với bạn qua thư điện tử."
            ),
            Language::En => format!(
                "Hello, I am {name}{studies}. This is my own page, where I keep what I learn, what I work on and how to reach \
                 me. I would be glad to hear from you by e-mail."
            ),
        }
    }

    /// The page, without posts and pages.
    pub(crate) fn content(&self, site: SiteIdentity) -> CvContent {
        let nothing = Value::Null;
        let language = site.language;
        let resume = self.resume.unwrap_or(&nothing);
        let basics = resume.get("basics").unwrap_or(&nothing);
        let read = |name, titles, organisation| {
            let of = Section {
                name,
                titles,
                organisation,
            };
            section(resume, &of, language)
        };
        let mut education = read("education", &["studyType", "area"], "institution");
        if education.is_empty() {
            education.extend(self.school.map(|school| Experience {
                title: self.study_field.unwrap_or(school).to_owned(),
                organisation: self.study_field.map(|_| school.to_owned()),
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
            full_name: self.full_name.to_owned(),
            headline: text(basics, "label").unwrap_or_else(|| self.headline(language)),
            summary: text(basics, "summary").unwrap_or_else(|| self.summary(language)),
            portrait: None,
            school: self.school.map(str::to_owned),
            study_field: self.study_field.map(str::to_owned),
            location: basics
                .get("location")
                .and_then(|location| text(location, "region").or_else(|| text(location, "city"))),
            links: own_site.into_iter().chain(profiles).collect(),
            work: read("work", &["position"], "name"),
            volunteer: read("volunteer", &["position"], "organization"),
            projects: section(resume, &PROJECTS, language),
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
            posts: Vec::new(),
            pages: Vec::new(),
        }
    }
}

/// Posts, the newest first, each with a slug of its own.
fn posts(person: &Person) -> Vec<Post> {
    let mut taken = BTreeSet::new();
    let mut posts: Vec<Post> = person
        .posts
        .iter()
        .map(|post| Post {
            slug: free_slug(&post.title, "bai-viet", &mut taken),
            title: post.title.clone(),
            date: post.date.to_string(),
            body: post.body.clone(),
            tags: Vec::new(),
            cover: None,
        })
        .collect();
    posts.sort_by(|left, right| right.date.cmp(&left.date));
    posts
}

/// A slug made from a title, numbered where it is taken; `otherwise` where no letter is left. It is taken from then on.
pub(crate) fn free_slug(title: &str, otherwise: &str, taken: &mut BTreeSet<String>) -> String {
    let base = slug(title).unwrap_or_else(|| otherwise.to_owned());
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let slug = std::iter::once(base.clone())
        .chain(numbered)
        .find(|slug| !taken.contains(slug))
        .unwrap_or_default();
    taken.insert(slug.clone());
    slug
}

/// Lower-case ASCII for a path: `Nhật ký số 1` becomes `nhat-ky-so-1`.
fn slug(title: &str) -> Option<String> {
    let plain = names::without_marks(title).to_lowercase();
    let words: Vec<String> = plain
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let mut slug = words.join("-");
    slug.truncate(SLUG_OF_TITLE_BYTES_MAX);
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// Bound of a slug made from a title; a number may follow.
const SLUG_OF_TITLE_BYTES_MAX: usize = 80;
