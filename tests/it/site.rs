//! Sites: every template with every kind of content, and how their revisions are kept.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hiendien_domain::content::{Language, SiteContent};
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_engine::ports::{ErrorChain, FailureKind, Origin, SiteStore};
use hiendien_render::{ContentKind, Template, render, template, variants};
use hiendien_store::revisions::Revisions;
use integration_tests::site::templates;
use roxmltree::{Document, Node};

// ---- content ---------------------------------------------------------------------------------------------

const SCRIPT: &str = "</script></title></p><script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover=\"alert(3)' x='{{ 7*7 }}{% raw %}&lt;\u{0}\u{b}\u{202e}";

fn hostile_text() -> String {
    format!("{SCRIPT} {}", "Nghiêng".repeat(60))
}

/// Every template with its sample, minimal and hostile content.
pub(crate) fn all_sites() -> Vec<(String, Template, SiteContent)> {
    let root = templates();
    let names = template::names(&root).unwrap();
    assert!(names.len() >= 2, "{names:?}");
    let sites = names.iter().flat_map(|name| {
        let template = Template::load(&root, name).unwrap();
        let sample = template::sample(&root, name).unwrap();
        assert!(template.kinds.contains(&ContentKind::of(&sample)));
        let kinds = [
            ("minimal", variants::minimal(&sample)),
            ("long", variants::long(&sample)),
            ("hostile", variants::filled(&sample, &hostile_text())),
            ("sample", sample),
        ];
        kinds.map(|(kind, content)| (format!("{name}, {kind}"), template.clone(), content))
    });
    sites.collect()
}

// ---- what every page must be -----------------------------------------------------------------------------

/// The page as XML: its only differences are the empty elements.
fn as_xml(html: &str) -> String {
    let mut xml = html
        .trim_start()
        .trim_start_matches("<!DOCTYPE html>")
        .trim_start_matches("<!doctype html>")
        .to_owned();
    for element in ["meta", "link", "img", "source"] {
        let mut closed = String::new();
        let mut rest = xml.as_str();
        while let Some(start) = rest.find(&format!("<{element} ")) {
            let end = start + rest[start..].find('>').expect("the element ends");
            closed += &rest[..end];
            closed += "/>";
            rest = &rest[end + 1..];
        }
        xml = closed + rest;
    }
    for element in ["br", "wbr", "hr"] {
        xml = xml.replace(&format!("<{element}>"), &format!("<{element}/>"));
    }
    xml
}

fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|text| text.text()).collect()
}

fn text_of_report(content: &SiteContent) -> String {
    match content.site().language {
        Language::Vi => "Báo cáo vi phạm".to_owned(),
        Language::En => "Report abuse".to_owned(),
    }
}

fn check_page(site: &str, path: &str, html: &str, host: &str) {
    let xml = as_xml(html);
    let page =
        Document::parse(&xml).unwrap_or_else(|error| panic!("{site}, {path}: {error}\n{html}"));
    let here = format!("{site}, {path}");
    for node in page.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        for attribute in node.attributes() {
            let (attribute, value) = (attribute.name(), attribute.value());
            assert!(
                !attribute.starts_with("on") && attribute != "style",
                "{here}: {attribute} in <{name}>"
            );
            match (name, attribute) {
                ("img", "src") => assert!(
                    value.starts_with('/') && !value.starts_with("//"),
                    "{here}: {value}"
                ),
                ("link", "href") => {
                    let own = value.starts_with(&format!("https://{host}/"));
                    let local = value.starts_with('/') && !value.starts_with("//");
                    assert!(own || local, "{here}: {value}");
                }
                (_, "href") => {
                    let leads = ["https://", "http://", "mailto:", "tel:", "/", "#"];
                    assert!(
                        leads.iter().any(|start| value.starts_with(start)),
                        "{here}: {value}"
                    );
                }
                ("img" | "source", "srcset") => {
                    let files = value.split(", ");
                    assert!(
                        files.clone().all(|file| file.starts_with("/anh/")),
                        "{here}: {value}"
                    );
                }
                (_, "src" | "srcset" | "action" | "formaction" | "data") => {
                    panic!("{here}: {attribute} in <{name}>")
                }
                _ => {}
            }
        }
        match name {
            "script" => {
                assert_eq!(
                    node.attribute("type"),
                    Some("application/ld+json"),
                    "{here}"
                );
                let data: serde_json::Value = serde_json::from_str(&text_of(node)).unwrap();
                assert_eq!(data["@context"], "https://schema.org", "{here}");
            }
            "style" | "iframe" | "object" | "embed" | "form" | "base" => panic!("{here}: <{name}>"),
            "title" | "h1" | "h2" | "h3" | "h4" | "p" | "li" | "dt" | "dd" | "th" | "section"
            | "a" => {
                let told = |inner: Node<'_, '_>| {
                    inner.has_tag_name("img")
                        && inner.attribute("alt").is_some_and(|alt| !alt.is_empty())
                };
                let named = !text_of(node).trim().is_empty()
                    || node.attribute("aria-label").is_some()
                    || node.descendants().any(told);
                assert!(named, "{here}: an empty <{name}>\n{html}");
            }
            _ => {}
        }
    }
    let count = |name: &str| {
        page.descendants()
            .filter(|node| node.has_tag_name(name))
            .count()
    };
    assert_eq!(
        (count("h1"), count("main"), count("title")),
        (1, 1, 1),
        "{here}"
    );
    assert_eq!(page.root_element().attribute("lang"), Some("vi"), "{here}");
    let ids = page.descendants().filter_map(|node| node.attribute("id"));
    let mut seen = HashSet::new();
    for id in ids {
        assert!(seen.insert(id), "{here}: id `{id}` is there twice");
    }
}

#[test]
fn every_template_shows_every_content_without_a_script_or_a_gap() {
    let mut revisions = String::new();
    for (site, template, content) in all_sites() {
        let tree = render(&template, &content).unwrap_or_else(|error| panic!("{site}: {error}"));
        assert_eq!(
            render(&template, &content).unwrap(),
            tree,
            "{site} is deterministic"
        );
        writeln!(revisions, "{} {site}", tree.revision().as_str()).unwrap();
        let identity = match &content {
            SiteContent::Business(business) => &business.site,
            SiteContent::Cv(cv) => &cv.site,
        };
        for (path, file) in tree.iter() {
            let Ok(text) = std::str::from_utf8(&file.identity) else {
                let binary = ["image/", "font/", "application/pdf"];
                let known = binary.iter().any(|kind| file.media_type.starts_with(kind));
                assert!(known, "{site}, {path}: {}", file.media_type);
                continue;
            };
            assert!(
                !text.contains("7*7") || text.contains("{{ 7*7 }}"),
                "{site}, {path}"
            );
            for letter in ['\u{0}', '\u{b}', '\u{202e}'] {
                assert!(!text.contains(letter), "{site}, {path} has {letter:?}");
            }
            match path.rsplit('.').next().unwrap() {
                "html" => check_page(&site, path, text, identity.host.as_str()),
                "svg" | "xml" => {
                    let parsed = Document::parse(text);
                    parsed.unwrap_or_else(|error| panic!("{site}, {path}: {error}\n{text}"));
                }
                _ => {}
            }
            for (form, octets) in [("gzip", &file.gzip), ("brotli", &file.brotli)] {
                let Some(octets) = octets else { continue };
                let mut plain = Vec::new();
                match form {
                    "gzip" => {
                        let mut decoder = flate2::read::GzDecoder::new(octets.as_slice());
                        std::io::copy(&mut decoder, &mut plain).unwrap();
                    }
                    _ => brotli::BrotliDecompress(&mut octets.as_slice(), &mut plain).unwrap(),
                }
                assert_eq!(plain, file.identity, "{site}, {path}, {form}");
                assert!(octets.len() < file.identity.len());
            }
        }
        for path in [
            "index.html",
            "404.html",
            "rieng-tu/index.html",
            "icon.svg",
            "icon-192.png",
            "icon-512.png",
            "apple-touch-icon.png",
            "favicon.ico",
            "og.png",
            "site.webmanifest",
            "robots.txt",
            "sitemap.xml",
        ] {
            assert!(tree.get(path).is_some(), "{site} has no {path}");
        }
        let text =
            |path: &str| String::from_utf8(tree.get(path).unwrap().identity.clone()).unwrap();
        let security = text(".well-known/security.txt");
        let expires = security
            .lines()
            .find_map(|line| line.strip_prefix("Expires: "));
        assert!(
            expires
                .is_some_and(|day| day >= "2028-08-01T00:00:00Z" && day.ends_with("-01T00:00:00Z")),
            "{security}"
        );
        assert!(text("index.html").contains(&text_of_report(&content)));
        if let SiteContent::Business(business) = &content
            && site.ends_with("sample")
        {
            let page = text("index.html");
            let phone = business.phone.as_ref().expect("a sample has a phone");
            assert!(page.contains(&format!("tel:{}", phone.e164)), "{site}");
            assert!(page.contains(&business.legal.tax_id));
        }
    }
    // The same on every machine. One that has changed here changes at its next build.
    insta::assert_snapshot!("revisions", revisions);
}

/// Words of the interface are there in both languages, and a CV is a PDF that is the same each time.
#[test]
fn a_site_speaks_the_owners_language_and_a_cv_can_be_taken_along() {
    let root = templates();
    let words = |language: &str| -> BTreeMap<String, toml::Value> {
        let path = root.join(format!("_common/text.{language}.toml"));
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let (vi, en) = (words("vi"), words("en"));
    assert!(vi.keys().eq(en.keys()));
    for name in template::names(&root).unwrap() {
        let template = Template::load(&root, &name).unwrap();
        let mut content = template::sample(&root, &name).unwrap();
        content.site_mut().language = Language::En;
        let tree = render(&template, &content).unwrap();
        let page = String::from_utf8(tree.get("rieng-tu/index.html").unwrap().identity.clone());
        if page.unwrap().contains("<html lang=\"en\"") {
            let pdf = tree.get("cv.pdf");
            assert_eq!(
                pdf.is_some(),
                matches!(content, SiteContent::Cv(_)),
                "{name}"
            );
            assert!(
                pdf.is_none_or(|pdf| pdf.identity.starts_with(b"%PDF-1.")),
                "{name}"
            );
        }
    }
}

#[test]
fn a_template_takes_its_kinds_of_content_only() {
    let root = templates();
    let template = Template::load(&root, "storefront").unwrap();
    let cv = template::sample(&root, "cv").unwrap();
    let error = render(&template, &cv).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template `storefront` does not show content of kind `cv`"
    );
    for name in ["../business", "", "nirgends", "business/static"] {
        assert!(Template::load(&root, name).is_err(), "{name}");
    }
}

// ---- revisions -------------------------------------------------------------------------------------------

/// A file system of its own, so that it can be full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kibibytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self(folder);
        disk.run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs"],
        );
        disk
    }

    fn grow(&self, kibibytes: u32) {
        self.run("mount", &["-o", &format!("remount,size={kibibytes}k")]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program)
            .args(arguments)
            .arg(self.0.path())
            .status()
            .unwrap();
        assert!(
            status.success(),
            "`{program}` needs root: run the tests as root"
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a file may still be open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn files_under(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_under(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

fn origin() -> Origin {
    Origin {
        built_at: jiff::Timestamp::UNIX_EPOCH,
        template: "storefront".to_owned(),
        operation: OperationId::new(),
        content: b"{}".to_vec(),
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_half_made() {
    let template = Template::load(&templates(), "storefront").unwrap();
    let content = template::sample(&templates(), "storefront").unwrap();
    let tree = render(&template, &content).unwrap();
    let disk = SmallDisk::mount(16);
    let root = disk.0.path().join("revisions");
    let store = Revisions::in_folder(&root).unwrap();
    let presence = PresenceId::new();
    let error = store
        .put_revision(presence, &tree, &origin())
        .await
        .unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert!(
        matches!(error.kind, FailureKind::Transient { .. }),
        "{told}"
    );
    assert!(
        told.contains(&format!("the disk that holds `{}` is full", root.display())),
        "{told}"
    );
    assert_eq!(store.revisions(presence).await.unwrap(), []);
    let half = |path: &PathBuf| path.to_string_lossy().contains("/.new-");
    let halves: Vec<PathBuf> = files_under(&root).into_iter().filter(half).collect();
    assert_eq!(halves, Vec::<PathBuf>::new());

    disk.grow(4096);
    let revision = store
        .put_revision(presence, &tree, &origin())
        .await
        .unwrap();
    assert_eq!(revision, tree.revision());
    for (path, file) in tree.iter() {
        assert_eq!(
            store
                .file(presence, &revision, path)
                .await
                .unwrap()
                .as_ref(),
            Some(file)
        );
    }
}
