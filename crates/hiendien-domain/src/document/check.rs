//! From bytes to a document and the page it makes, every fault at once.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::page::{self, Pictures};
use super::{
    Business, CONTENT_BYTES_MAX, Checked, Closure, Consent, Cv, Document, Facts, Links, Page,
    Photo, Post, Product, ProjectPhoto, Purpose, RESERVED_SLUGS,
};
use crate::claim::check::business::{all_hours, bank, geo, price};
use crate::claim::check::person::check_resume;
use crate::claim::check::{date, moment, sweep};
use crate::claim::content::{free_slug, project_titles};
use crate::claim::{Network, identifiers};
use crate::content::{Accent, ImageId, Language, SiteContent};
use crate::fault::Faults;
use crate::reader::{Findings, Format, Kind, Lines, Object, Stray, json, walk};

const CONSENTS_MAX: usize = 2;
const CLOSURES_MAX: usize = 30;
const PRODUCTS_MAX: usize = 200;
const GALLERY_MAX: usize = 30;
const PROJECT_PHOTOS_MAX: usize = 30;
const PROJECT_CHARACTERS_MAX: usize = 200;
const POSTS_MAX: usize = 100;
const PAGES_MAX: usize = 20;
const TAGS_MAX: usize = 10;
const BODY_CHARACTERS_MAX: usize = 50_000;
const ABOUT_CHARACTERS_MAX: usize = 4000;
const ALT_CHARACTERS_MAX: usize = 250;
const URL_CHARACTERS_MAX: usize = 300;
const SLUG_BYTES_MAX: usize = 100;
/// Different images that the texts of one site may name.
const IMAGES_IN_TEXTS_MAX: usize = 500;

/// Members that people look for here and that are the claim's.
const OF_THE_CLAIM: [&str; 9] = [
    "legal_name",
    "tax_id",
    "address",
    "registration_no",
    "registered_on",
    "registered_by",
    "representative",
    "phone",
    "email",
];

const MEMBER_OF_CLAIM: Format = Format {
    code: "member.of_claim",
    vi: "Thông tin này lấy từ hồ sơ đã duyệt, không sửa được trong nội dung; hãy bỏ trường này, cần thay đổi thì liên hệ nhà đăng ký.",
    en: "this comes from the approved claim and cannot be changed by content; remove it, and ask the registrar where it is to change",
};

const KIND: Kind = Kind {
    version: "content/v1",
    vi: "Nội dung",
    en: "the content",
    stray: |name| {
        if OF_THE_CLAIM.contains(&name) {
            Stray::Refused(&MEMBER_OF_CLAIM)
        } else {
            Stray::Unknown
        }
    },
};

/// Checks a document against what the claim gives and the images that the presence has. All faults come back at
/// once; a document that is too large, has too many values, is not UTF-8 or is not JSON gives that one fault.
pub fn check(bytes: &[u8], facts: &Facts, pictures: &Pictures) -> Result<Checked, Faults> {
    let mut findings = Findings::of(&KIND);
    let value =
        json::read(bytes, CONTENT_BYTES_MAX, &mut findings).map_err(|fault| Faults(vec![fault]))?;
    let mut reading = Reading {
        facts,
        pictures,
        findings,
        in_texts: BTreeSet::new(),
    };
    let document =
        Object::new(&value, "", &mut reading.findings).and_then(|object| reading.document(object));
    let Reading {
        mut findings,
        in_texts,
        ..
    } = reading;
    walk(&value, &mut String::new(), &mut |pointer, value| {
        if let Value::String(text) = value {
            check_text(text, pointer, facts, &mut findings);
        }
    });
    match document {
        Some(document) if findings.faults.is_empty() => {
            let in_texts: Vec<ImageId> = in_texts.into_iter().collect();
            Ok(Checked {
                content: page::page(&document, facts, pictures, &in_texts),
                document,
                warnings: findings.warnings,
            })
        }
        _ => Err(Faults(findings.faults)),
    }
}

/// A document under reading, and what it is read against.
struct Reading<'a> {
    facts: &'a Facts,
    pictures: &'a Pictures,
    findings: Findings,
    /// Images that texts name.
    in_texts: BTreeSet<ImageId>,
}

const VERSION: Format = Format {
    code: "content.version",
    vi: "Dịch vụ này chỉ nhận phiên bản `content/v1`; hãy ghi `content/v1`.",
    en: "write `content/v1`, the version this service takes",
};

const ACCENT: Format = Format {
    code: "accent.format",
    vi: "Hãy ghi màu theo dạng `#rrggbb`, ví dụ `#b3541e`.",
    en: "write the colour as `#rrggbb`, such as `#b3541e`",
};

const IMAGE: Format = Format {
    code: "image.format",
    vi: "Mã ảnh gồm 32 chữ số thập lục phân viết thường, như câu trả lời khi tải ảnh lên; hãy chép lại.",
    en: "an image is named by 32 lower-case hexadecimal digits, as its upload was answered; copy them",
};

const SLUG: Format = Format {
    code: "slug.format",
    vi: "Đường dẫn gồm 1 đến 100 ký tự a-z, 0-9 và `-`, bắt đầu và kết thúc bằng chữ hoặc số; hãy ghi lại, ví dụ `gioi-thieu`, hoặc bỏ trường này.",
    en: "write the path with 1 to 100 of a-z, 0-9 and `-`, a letter or digit at both ends, such as `about-us`, or leave it out",
};

fn slug(text: &str) -> Option<String> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let is_slug = bytes.len() <= SLUG_BYTES_MAX
        && bytes.iter().all(|byte| is_letter(*byte) || *byte == b'-')
        && bytes.first().copied().is_some_and(is_letter)
        && bytes.last().copied().is_some_and(is_letter);
    is_slug.then(|| text.to_owned())
}

impl<'a> Reading<'a> {
    fn document(&mut self, mut object: Object<'a>) -> Option<Document> {
        let version = |text: &str| (text == "content/v1").then(|| text.to_owned());
        let content = object.formatted("content", &VERSION, version, &mut self.findings);
        let language: Option<Language> = match object.optional("language") {
            Some(_) => object.word("language", &["vi", "en"], &mut self.findings),
            None => None,
        };
        let colour = |text: &str| text.parse::<Accent>().ok();
        let accent = object.optional_formatted("accent", &ACCENT, colour, &mut self.findings);
        let consents = self.consents(&mut object);
        let is_business = matches!(self.facts.content, SiteContent::Business(_));
        let business = self
            .part(&mut object, "business", is_business)
            .map(|object| self.business(object));
        let cv = self
            .part(&mut object, "cv", !is_business)
            .map(|object| self.cv(object));
        let posts = object.optional("posts").map(|_| self.posts(&mut object));
        let pages = self.pages(&mut object);
        object.finish(&mut self.findings);
        let document = Document {
            content: content?,
            language,
            accent,
            consents,
            business,
            cv,
            posts,
            pages,
        };
        self.check_bank_consent(&document);
        Some(document)
    }

    /// The part for this kind of presence; the other one is refused.
    fn part(
        &mut self,
        object: &mut Object<'a>,
        name: &'static str,
        is_its: bool,
    ) -> Option<Object<'a>> {
        object.optional(name)?;
        if is_its {
            return object.optional_object(name, &mut self.findings);
        }
        let other = if name == "cv" { "business" } else { "cv" };
        self.findings.refuse(
            &object.at(name),
            "content.kind",
            format!("Trang này không có phần `{name}`; hãy ghi vào `{other}`."),
            format!("this site has no part `{name}`; write into `{other}`"),
        );
        None
    }

    fn consents(&mut self, object: &mut Object<'a>) -> Vec<Consent> {
        let mut consents: Vec<Consent> = Vec::new();
        for mut item in object.objects("consents", CONSENTS_MAX, &mut self.findings) {
            let pointer = item.pointer.clone();
            let words = ["publish_phone", "publish_qr"];
            let purpose: Option<Purpose> = item.word("purpose", &words, &mut self.findings);
            item.required("given", &mut self.findings);
            let given = item.flag("given", &mut self.findings);
            let at = moment(&mut item, "at", &mut self.findings);
            let text_version = item.text("text_version", 64, &mut self.findings);
            item.finish(&mut self.findings);
            let (Some(purpose), Some(given), Some(at), Some(text_version)) =
                (purpose, given, at, text_version)
            else {
                continue;
            };
            if consents.iter().any(|consent| consent.purpose == purpose) {
                self.findings.refuse(
                    &pointer,
                    "consent.twice",
                    "Mục đích này bị ghi hai lần; hãy chỉ giữ lần đồng ý mới nhất.",
                    "this purpose stands twice; keep only the latest consent",
                );
            }
            consents.push(Consent {
                purpose,
                given,
                at,
                text_version,
            });
        }
        consents
    }

    /// An account is shown only where its holder agrees.
    fn check_bank_consent(&mut self, document: &Document) {
        let has_bank = document
            .business
            .as_ref()
            .is_some_and(|business| business.bank.is_some());
        if has_bank && !page::agreed(document, self.facts, Purpose::PublishQr) {
            self.findings.refuse(
                "/business/bank",
                "bank.consent",
                "Muốn hiện tài khoản ngân hàng, hãy ghi sự đồng ý `publish_qr` vào `consents`; nếu chủ tài khoản không đồng ý, hãy bỏ `bank`.",
                "to show a bank account write the consent `publish_qr` into `consents`; where its holder does not agree, leave `bank` out",
            );
        }
    }

    fn business(&mut self, mut object: Object<'a>) -> Business {
        let trade_name = match object.optional("trade_name") {
            Some(_) => object.name("trade_name", 200, &mut self.findings),
            None => None,
        };
        let tagline = object.optional_text("tagline", 160, &mut self.findings);
        let about = object.optional_lines("about", ABOUT_CHARACTERS_MAX, &mut self.findings);
        let industry = object.optional_text("industry", 120, &mut self.findings);
        let hours = object
            .optional("hours")
            .map(|_| all_hours(&mut object, &mut self.findings));
        let closures = object.objects("closures", CLOSURES_MAX, &mut self.findings);
        let closures = closures
            .into_iter()
            .filter_map(|item| self.closure(item))
            .collect();
        let products = object.optional("products").map(|_| {
            let products = object.objects("products", PRODUCTS_MAX, &mut self.findings);
            products
                .into_iter()
                .filter_map(|item| self.product(item))
                .collect()
        });
        let cover = self.photo(&mut object, "cover");
        let gallery = object.objects("gallery", GALLERY_MAX, &mut self.findings);
        let gallery = gallery
            .into_iter()
            .filter_map(|item| self.read_photo(item))
            .collect();
        let links = object
            .optional_object("links", &mut self.findings)
            .map(|item| self.links(item));
        let geo = object
            .optional_object("geo", &mut self.findings)
            .and_then(|item| geo(item, &mut self.findings));
        let bank = object
            .optional_object("bank", &mut self.findings)
            .and_then(|item| bank(item, &mut self.findings));
        object.finish(&mut self.findings);
        Business {
            trade_name,
            tagline,
            about,
            industry,
            hours,
            closures,
            products,
            cover,
            gallery,
            links,
            geo,
            bank,
        }
    }

    fn closure(&mut self, mut object: Object<'a>) -> Option<Closure> {
        let from = date(&mut object, "from", &mut self.findings);
        let to = date(&mut object, "to", &mut self.findings);
        let reason = object.optional_text("reason", 120, &mut self.findings);
        if let (Some(from), Some(to)) = (from, to)
            && to < from
        {
            self.findings.refuse(
                &object.at("to"),
                "closure.order",
                "Ngày nghỉ cuối không thể trước ngày nghỉ đầu `from`; hãy kiểm tra cả hai ngày.",
                "the last day cannot come before the first, `from`; check both",
            );
        }
        object.finish(&mut self.findings);
        Some(Closure {
            from: from?,
            to: to?,
            reason,
        })
    }

    fn product(&mut self, mut object: Object<'a>) -> Option<Product> {
        let name = object.text("name", 120, &mut self.findings);
        let description = object.optional_text("description", 500, &mut self.findings);
        let group = object.optional_text("group", 60, &mut self.findings);
        let unit = object.optional_text("unit", 30, &mut self.findings);
        let price_vnd = price(&mut object, &mut self.findings);
        let tax_included = object.flag("tax_included", &mut self.findings);
        let photo = self.photo(&mut object, "photo");
        object.finish(&mut self.findings);
        Some(Product {
            name: name?,
            description,
            group,
            unit,
            price_vnd,
            tax_included: tax_included.unwrap_or(false),
            photo,
        })
    }

    fn photo(&mut self, object: &mut Object<'a>, name: &'static str) -> Option<Photo> {
        let object = object.optional_object(name, &mut self.findings)?;
        self.read_photo(object)
    }

    fn read_photo(&mut self, mut object: Object<'a>) -> Option<Photo> {
        let id = |text: &str| text.parse::<ImageId>().ok();
        let image = object.formatted("image", &IMAGE, id, &mut self.findings);
        if let Some(image) = &image {
            self.must_be_known(image, &object.at("image"));
        }
        let alt = if object.optional("alt").is_some() {
            object.written("alt", Lines::One, &mut self.findings)
        } else {
            self.findings.warn(
                &object.at("alt"),
                "image.alt",
                "Nên tả ảnh bằng vài từ cho người không nhìn thấy; hãy ghi `alt`, ảnh chỉ để trang trí thì ghi `\"\"`.",
                "say in a few words what the image shows, for who cannot see it; write `alt`, `\"\"` for mere ornament",
            );
            Some(String::new())
        };
        let alt = alt.filter(|alt| {
            self.findings
                .fits(&object.at("alt"), alt, &(0..=ALT_CHARACTERS_MAX))
        });
        object.finish(&mut self.findings);
        Some(Photo {
            image: image?,
            alt: alt?,
        })
    }

    fn must_be_known(&mut self, image: &ImageId, pointer: &str) {
        if !self.pictures.contains_key(image) {
            self.findings.refuse(
                pointer,
                "image.unknown",
                format!("Trang này không có ảnh `{image}`; hãy tải ảnh lên trước, rồi dùng mã được trả về."),
                format!("this site has no image `{image}`; upload it first and use the name it is answered with"),
            );
        }
    }

    fn links(&mut self, mut object: Object<'a>) -> Links {
        let mut link = |name: &'static str, hosts: &'static [&'static str]| {
            let text = object.optional_text(name, URL_CHARACTERS_MAX, &mut self.findings)?;
            let pointer = object.at(name);
            let Some(url) = link_to(&text, hosts) else {
                self.findings.refuse(
                    &pointer,
                    "link.url",
                    format!("Liên kết phải bắt đầu bằng `https://`, trỏ đến {} và không có ký tự lạ; hãy chép lại từ thanh địa chỉ của trình duyệt.", hosts.join(" hoặc ")),
                    format!("write a plain link that begins with `https://` and points at {}", hosts.join(" or ")),
                );
                return None;
            };
            // A link is kept as browsers write it, which may be longer.
            let url = String::from(url);
            if !self
                .findings
                .fits(&pointer, &url, &(1..=URL_CHARACTERS_MAX))
            {
                return None;
            }
            if !page_agrees_to_phone(self.facts) && shows_phone(&url, self.facts) {
                self.findings.warn(
                    &pointer,
                    "link.phone",
                    "Liên kết này cho thấy số điện thoại liên hệ mà hồ sơ chưa có sự đồng ý `publish_phone`; hãy xin sự đồng ý, hoặc dùng liên kết không chứa số.",
                    "this link shows the contact number, for which the claim has no consent `publish_phone`; obtain it, or use a link without the number",
                );
            }
            Some(url)
        };
        let links = Links {
            zalo: link("zalo", Network::Zalo.hosts()),
            facebook: link("facebook", Network::Facebook.hosts()),
            shopee: link("shopee", Network::Shopee.hosts()),
            tiktok: link("tiktok", Network::Tiktok.hosts()),
            lazada: link("lazada", Network::Lazada.hosts()),
            youtube: link("youtube", Network::Youtube.hosts()),
            map: link("map", MAP_HOSTS),
        };
        object.finish(&mut self.findings);
        links
    }

    fn cv(&mut self, mut object: Object<'a>) -> Cv {
        let resume = object.optional("resume");
        if let Some(resume) = resume {
            check_resume(resume, &object.at("resume"), &mut self.findings);
        }
        let portrait = self.photo(&mut object, "portrait");
        let projects = resume
            .or(self.facts.resume.as_ref())
            .map(project_titles)
            .unwrap_or_default();
        let mut project_photos: Vec<ProjectPhoto> = Vec::new();
        for item in object.objects("project_photos", PROJECT_PHOTOS_MAX, &mut self.findings) {
            let photo = self.project_photo(item, &projects, resume.is_some(), &project_photos);
            project_photos.extend(photo);
        }
        object.finish(&mut self.findings);
        Cv {
            resume: resume.cloned(),
            portrait,
            project_photos,
        }
    }

    fn project_photo(
        &mut self,
        mut object: Object<'a>,
        projects: &[String],
        is_own: bool,
        before: &[ProjectPhoto],
    ) -> Option<ProjectPhoto> {
        let project = object.text("project", PROJECT_CHARACTERS_MAX, &mut self.findings);
        let pointer = object.at("project");
        if let Some(name) = &project {
            if !projects.contains(name) {
                // The claim's résumé may change under a document, which must not keep the change out.
                let tell = if is_own {
                    Findings::refuse
                } else {
                    Findings::warn
                };
                tell(
                    &mut self.findings,
                    &pointer,
                    "project.unknown",
                    "Bản CV không có dự án nào tên như vậy; hãy chép đúng `name` của một dự án trong `resume.projects`.",
                    "the résumé has no project of this name; copy the `name` of one in `resume.projects`",
                );
            } else if before.iter().any(|other| other.project == *name) {
                self.findings.refuse(
                    &pointer,
                    "project.twice",
                    "Dự án này đã có ảnh ở trên; mỗi dự án một ảnh, hãy chỉ giữ một.",
                    "this project has a photo above; keep one for each project",
                );
            }
        }
        let photo = object
            .object("photo", &mut self.findings)
            .and_then(|photo| self.read_photo(photo));
        object.finish(&mut self.findings);
        Some(ProjectPhoto {
            project: project?,
            photo: photo?,
        })
    }

    fn posts(&mut self, object: &mut Object<'a>) -> Vec<Post> {
        let mut taken = BTreeSet::new();
        let items = object.objects("posts", POSTS_MAX, &mut self.findings);
        let mut posts: Vec<Post> = items
            .into_iter()
            .filter_map(|item| self.post(item, &mut taken))
            .collect();
        for post in &mut posts {
            if post.slug.is_none() {
                post.slug = Some(free_slug(&post.title, "bai-viet", &mut taken));
            }
        }
        posts
    }

    fn post(&mut self, mut object: Object<'a>, taken: &mut BTreeSet<String>) -> Option<Post> {
        let title = object.text("title", 200, &mut self.findings);
        let slug = self.slug(&mut object, taken);
        let date = date(&mut object, "date", &mut self.findings);
        let body = self.body(&mut object);
        let tags = self.tags(&mut object);
        let cover = self.photo(&mut object, "cover");
        object.finish(&mut self.findings);
        Some(Post {
            title: title?,
            slug,
            date: date?,
            body: body?,
            tags,
            cover,
        })
    }

    fn tags(&mut self, object: &mut Object<'a>) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        for (pointer, item) in object.items("tags", TAGS_MAX, &mut self.findings) {
            let Some(text) = item.as_str() else {
                self.findings.wrong_type(
                    &pointer,
                    "một chuỗi ký tự trong dấu ngoặc kép",
                    "a string in double quotes",
                );
                continue;
            };
            let Some(tag) = self.findings.clean(&pointer, text, Lines::One) else {
                continue;
            };
            if self.findings.fits(&pointer, &tag, &(1..=40)) && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    fn pages(&mut self, object: &mut Object<'a>) -> Vec<Page> {
        let mut taken: BTreeSet<String> = RESERVED_SLUGS
            .iter()
            .map(|slug| (*slug).to_owned())
            .collect();
        let items = object.objects("pages", PAGES_MAX, &mut self.findings);
        let mut pages: Vec<Page> = items
            .into_iter()
            .filter_map(|item| self.page(item, &mut taken))
            .collect();
        for page in &mut pages {
            if page.slug.is_none() {
                page.slug = Some(free_slug(&page.title, "muc", &mut taken));
            }
        }
        pages
    }

    fn page(&mut self, mut object: Object<'a>, taken: &mut BTreeSet<String>) -> Option<Page> {
        let slug = self.slug(&mut object, taken);
        let title = object.text("title", 200, &mut self.findings);
        let body = self.body(&mut object);
        object.finish(&mut self.findings);
        Some(Page {
            slug,
            title: title?,
            body: body?,
        })
    }

    /// A slug that is told; it is taken from then on.
    fn slug(&mut self, object: &mut Object<'a>, taken: &mut BTreeSet<String>) -> Option<String> {
        let slug = object.optional_formatted("slug", &SLUG, slug, &mut self.findings)?;
        let pointer = object.at("slug");
        if taken.insert(slug.clone()) {
            return Some(slug);
        }
        if RESERVED_SLUGS.contains(&slug.as_str()) {
            self.findings.refuse(
                &pointer,
                "slug.reserved",
                format!("Đường dẫn `{slug}` được giữ cho trang có sẵn; hãy chọn đường dẫn khác."),
                format!("the path `{slug}` belongs to a page that is there anyway; choose another"),
            );
        } else {
            self.findings.refuse(
                &pointer,
                "slug.twice",
                format!("Đường dẫn `{slug}` được dùng hai lần; hãy đổi một trong hai."),
                format!("the path `{slug}` stands twice; change one of the two"),
            );
        }
        Some(slug)
    }

    /// Markdown; images in it are looked up.
    fn body(&mut self, object: &mut Object<'a>) -> Option<String> {
        let body = object.lines("body", BODY_CHARACTERS_MAX, &mut self.findings)?;
        let pointer = object.at("body");
        for name in images_named(&body) {
            match name.parse::<ImageId>() {
                Ok(image) if self.in_texts.contains(&image) => {}
                Ok(image) => {
                    self.must_be_known(&image, &pointer);
                    if self.in_texts.len() < IMAGES_IN_TEXTS_MAX {
                        self.in_texts.insert(image);
                    }
                }
                Err(_) => self.findings.misses(&pointer, &IMAGE),
            }
        }
        Some(body)
    }
}

/// What stands behind `](anh:` in a text, for each: an image of the site as Markdown names it.
fn images_named(body: &str) -> impl Iterator<Item = &str> {
    body.split("](").skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches([' ', '<']).strip_prefix("anh:")?;
        let end = rest.find(|character: char| !character.is_ascii_alphanumeric());
        Some(&rest[..end.unwrap_or(rest.len())])
    })
}

/// Hosts of maps.
const MAP_HOSTS: &[&str] = &[
    "google.com",
    "maps.app.goo.gl",
    "openstreetmap.org",
    "maps.apple.com",
    "map.coccoc.com",
];

/// A plain link at one of the hosts, or below it.
fn link_to(text: &str, hosts: &[&str]) -> Option<Url> {
    let url = crate::claim::check::business::plain_link(text, None)?;
    let host = url.host_str()?;
    let is_own = |own: &&str| {
        host.strip_suffix(*own)
            .is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    hosts.iter().any(is_own).then_some(url)
}

fn page_agrees_to_phone(facts: &Facts) -> bool {
    facts.agrees.publish_phone
}

fn shows_phone(url: &str, facts: &Facts) -> bool {
    let Some(phone) = &facts.phone else {
        return false;
    };
    let is_phone = |part: &str| identifiers::phone(part).as_deref() == Some(phone.e164.as_str());
    url.split(['/', '?', '#', '=', '&']).any(is_phone)
}

/// What no text of the document may hold, wherever it stands: a file, and a number of a person's.
fn check_text(text: &str, pointer: &str, facts: &Facts, findings: &mut Findings) {
    if sweep::holds_a_file(text) {
        findings.refuse(
            pointer,
            "text.file",
            "Có tệp nằm trong đoạn chữ này; hãy bỏ đi, tải ảnh lên riêng rồi dùng mã ảnh.",
            "there is a file in this text; remove it, upload the image and use its name",
        );
        return;
    }
    let bare = identifiers::digits(text);
    if facts.personal_ids.iter().any(|id| bare.contains(id)) {
        findings.refuse(
            pointer,
            "text.personal_id",
            "Có số định danh cá nhân trong nội dung này; hãy xoá đi để không bị lộ.",
            "the personal id stands in this text; remove it, so that it does not become public",
        );
    }
}
