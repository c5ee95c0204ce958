//! What a site says, from the claim alone: sentences are written from the facts where the owner gave none.

use serde_json::Value;

use super::{
    Business, Claim, Network, Person, Purpose, SubjectType, identifiers, names, provinces,
};
use crate::content::{
    Address, BankTransfer, BusinessContent, CvContent, Experience, Geo, LegalFooter, Link,
    OpeningHours, Phone, Post, Product, Reference, SiteContent, SiteIdentity, Skill,
};
use crate::platform::Platform;

pub(crate) fn of(claim: &Claim, platform: &Platform) -> SiteContent {
    let site = SiteIdentity {
        host: claim.domain.clone(),
        host_unicode: claim.domain.to_unicode(),
        email: claim.mailboxes[0].at(&claim.domain),
        abuse_url: platform.abuse_url.clone(),
        since: claim.granted_on.to_string(),
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
        products: profile
            .products
            .iter()
            .map(|product| Product {
                name: product.name.clone(),
                unit: product.unit.clone(),
                price_vnd: product.price_vnd,
                tax_included: product.tax_included,
            })
            .collect(),
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
            tax_id: identifiers::tax_id_display(&business.tax_id),
            registration_no: business.registration_no.clone(),
            registered_on: business.registered_on.map(date),
            registered_by: business.registered_by.clone(),
            representative: business
                .representative
                .as_ref()
                .map(|person| format!("{} ({})", person.full_name, person.role)),
        },
        address,
        site,
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
        .map(|industry| format!(", hoạt động trong lĩnh vực {industry}"))
        .unwrap_or_default();
    let way = if has_phone {
        "gọi điện, gửi thư"
    } else {
        "gửi thư"
    };
    format!(
        "{} là {subject} tại {place}{work}.\n\nQuý khách cần tư vấn hoặc đặt hàng, xin vui lòng {way} hoặc ghé trực tiếp \
         {}. Chúng tôi luôn sẵn lòng phục vụ.",
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

/// A member that is a non-empty text.
fn text(value: &Value, name: &str) -> Option<String> {
    value
        .get(name)?
        .as_str()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let items = value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    items
        .filter_map(Value::as_str)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

/// A web address fit for a link.
fn web(value: &Value, name: &str) -> Option<String> {
    let url = url::Url::parse(&text(value, name)?).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.username().is_empty()).then(|| url.into())
}

/// `2024-06-01` and `2024-06` as `06/2024`, `2024` as it is.
fn month(value: &Value, name: &str) -> Option<String> {
    let date = text(value, name)?;
    let mut parts = date.split('-');
    let (year, month) = (parts.next()?, parts.next());
    Some(month.map_or_else(|| year.to_owned(), |month| format!("{month}/{year}")))
}

/// The entries of one section of a JSON Resume; the names differ by section.
fn section(resume: &Value, name: &str, titles: &[&str], organisations: &[&str]) -> Vec<Experience> {
    let first = |item: &Value, names: &[&str]| names.iter().find_map(|name| text(item, name));
    let entry = |item: &Value| {
        let organisation = first(item, organisations);
        let title = first(item, titles).or_else(|| organisation.clone())?;
        Some(Experience {
            organisation: organisation.filter(|organisation| *organisation != title),
            title,
            url: web(item, "url"),
            from: month(item, "startDate")
                .or_else(|| month(item, "date"))
                .or_else(|| month(item, "releaseDate")),
            to: month(item, "endDate"),
            summary: text(item, "summary").or_else(|| text(item, "description")),
            highlights: [texts(item, "highlights"), texts(item, "courses")].concat(),
        })
    };
    resume
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(entry)
        .collect()
}

fn skills(resume: &Value, section: &str, name: &str, level: &str) -> Vec<Skill> {
    let skill = |item: &Value| {
        Some(Skill {
            name: text(item, name)?,
            level: text(item, level),
            keywords: texts(item, "keywords"),
        })
    };
    resume
        .get(section)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(skill)
        .collect()
}

fn cv_content(person: &Person, site: SiteIdentity) -> CvContent {
    let nothing = Value::Null;
    let resume = person.resume.as_ref().unwrap_or(&nothing);
    let basics = resume.get("basics").unwrap_or(&nothing);
    let school = person.school.as_ref().map(|school| school.name.clone());
    let headline = text(basics, "label").unwrap_or_else(|| match (&person.study_field, &school) {
        (Some(field), _) => format!("Sinh viên ngành {field}"),
        (None, Some(school)) => format!("Sinh viên {school}"),
        (None, None) => "Trang cá nhân".to_owned(),
    });
    let summary = text(basics, "summary").unwrap_or_else(|| {
        let studies = match (&person.study_field, &school) {
            (Some(field), Some(school)) => format!(", đang học ngành {field} tại {school}"),
            (Some(field), None) => format!(", theo học ngành {field}"),
            (None, Some(school)) => format!(", đang học tại {school}"),
            (None, None) => String::new(),
        };
        format!(
            "Xin chào, mình là {}{studies}. Đây là trang giới thiệu của mình: nơi mình chia sẻ việc học, những điều đang làm \
             và cách liên hệ. Rất vui được kết nối qua thư điện tử.",
            person.full_name
        )
    });
    let mut education = section(
        resume,
        "education",
        &["studyType", "area"],
        &["institution"],
    );
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
    let profiles = basics
        .get("profiles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(profile);
    let mut interests = skills(resume, "interests", "name", "level");
    interests.truncate(50);
    CvContent {
        site,
        full_name: person.full_name.clone(),
        headline,
        summary,
        school,
        study_field: person.study_field.clone(),
        location: basics
            .get("location")
            .and_then(|location| text(location, "region").or_else(|| text(location, "city"))),
        links: own_site.into_iter().chain(profiles).collect(),
        work: section(resume, "work", &["position"], &["name", "company"]),
        volunteer: section(resume, "volunteer", &["position"], &["organization"]),
        projects: section(resume, "projects", &["name"], &["entity"]),
        education,
        awards: section(resume, "awards", &["title"], &["awarder"]),
        certificates: section(resume, "certificates", &["name"], &["issuer"]),
        publications: section(resume, "publications", &["name"], &["publisher"]),
        skills: skills(resume, "skills", "name", "level"),
        languages: skills(resume, "languages", "language", "fluency"),
        interests,
        references: resume
            .get("references")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|item| {
                Some(Reference {
                    name: text(item, "name")?,
                    text: text(item, "reference")?,
                })
            })
            .collect(),
        posts: posts(person),
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
