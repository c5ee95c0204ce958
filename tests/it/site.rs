//! Sites: every template with every kind of content, and the container they are built in.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hiendien_container::ContainerBuilder;
use hiendien_domain::content::{
    Experience, OpeningHours, Post, Product, Reference, SiteContent, Skill,
};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::FileTree;
use hiendien_engine::ports::{
    BuildJob, ErrorChain, FailureKind, PortError, SiteBuilder, SiteStore,
};
use hiendien_render::{ContentKind, Template, render, template};
use hiendien_store::revisions::FolderRevisions;
use integration_tests::lab::root;
use integration_tests::site::{builder_settings, engine_socket, render_binary, templates};
use integration_tests::wait::wait_for;
use roxmltree::{Document, Node};

const LIMIT: Duration = Duration::from_mins(1);

// ---- content ---------------------------------------------------------------------------------------------

/// The sample with all taken out that a claim need not have.
fn minimal(sample: &SiteContent) -> SiteContent {
    let mut content = sample.clone();
    match &mut content {
        SiteContent::Business(business) => {
            business.about = format!("{} là hộ kinh doanh.", business.trade_name);
            business.industry = None;
            business.phone = None;
            business.address.ward = None;
            business.hours.clear();
            business.products.clear();
            business.links.clear();
            business.geo = None;
            business.bank = None;
            let legal = &mut business.legal;
            legal.registration_no = None;
            legal.registered_on = None;
            legal.registered_by = None;
            legal.representative = None;
        }
        SiteContent::Cv(cv) => {
            cv.summary = format!("Xin chào, mình là {}.", cv.full_name);
            cv.school = None;
            cv.study_field = None;
            cv.location = None;
            cv.links.clear();
            for section in [
                &mut cv.work,
                &mut cv.volunteer,
                &mut cv.projects,
                &mut cv.education,
                &mut cv.awards,
                &mut cv.certificates,
                &mut cv.publications,
            ] {
                section.clear();
            }
            for section in [&mut cv.skills, &mut cv.languages, &mut cv.interests] {
                section.clear();
            }
            cv.references.clear();
            cv.posts.clear();
        }
    }
    content
}

const SCRIPT: &str = "</script></title></p><script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover=\"alert(3)' x='{{ 7*7 }}{% raw %}&lt;\u{0}\u{b}\u{202e}";

fn hostile_text() -> String {
    format!("{SCRIPT} {}", "Nghiêng".repeat(60))
}

/// The sample with a script and a very long word in every text.
fn hostile(sample: &SiteContent) -> SiteContent {
    let text = hostile_text();
    let some = || Some(hostile_text());
    let mut content = sample.clone();
    let site = match &mut content {
        SiteContent::Business(business) => {
            business.trade_name.clone_from(&text);
            business.about = format!("{text}\n\n{text}");
            business.industry = some();
            if let Some(phone) = &mut business.phone {
                phone.e164.clone_from(&text);
                phone.display.clone_from(&text);
            }
            business.address.line.clone_from(&text);
            business.address.ward = some();
            business.address.province.clone_from(&text);
            let hours = OpeningHours {
                days: vec![0, 1, 1, 8, 255],
                opens: text.clone(),
                closes: text.clone(),
            };
            business.hours = vec![hours];
            let product = Product {
                name: text.clone(),
                unit: some(),
                price_vnd: Some(u64::MAX),
                tax_included: true,
            };
            business.products = vec![product; 100];
            for link in &mut business.links {
                link.label.clone_from(&text);
                link.url = format!("javascript:alert(1)//{text}");
            }
            if let Some(bank) = &mut business.bank {
                bank.bin.clone_from(&text);
                bank.account.clone_from(&text);
                bank.holder.clone_from(&text);
            }
            let legal = &mut business.legal;
            legal.legal_name.clone_from(&text);
            legal.subject.clone_from(&text);
            legal.tax_id.clone_from(&text);
            legal.registration_no = some();
            legal.registered_on = some();
            legal.registered_by = some();
            legal.representative = some();
            &mut business.site
        }
        SiteContent::Cv(cv) => {
            cv.full_name.clone_from(&text);
            cv.headline.clone_from(&text);
            cv.summary.clone_from(&text);
            cv.school = some();
            cv.study_field = some();
            cv.location = some();
            for link in &mut cv.links {
                link.label.clone_from(&text);
                "data:text/html,<script>alert(1)</script>".clone_into(&mut link.url);
            }
            let entry = Experience {
                title: text.clone(),
                organisation: some(),
                url: Some(" javascript:alert(1)".to_owned()),
                from: some(),
                to: some(),
                summary: some(),
                highlights: vec![text.clone(); 3],
            };
            for section in [
                &mut cv.work,
                &mut cv.volunteer,
                &mut cv.projects,
                &mut cv.education,
                &mut cv.awards,
                &mut cv.certificates,
                &mut cv.publications,
            ] {
                *section = vec![entry.clone(); 2];
            }
            let skill = Skill {
                name: text.clone(),
                level: some(),
                keywords: vec![text.clone(); 3],
            };
            for section in [&mut cv.skills, &mut cv.languages, &mut cv.interests] {
                *section = vec![skill.clone(); 2];
            }
            let reference = Reference {
                name: text.clone(),
                text: text.clone(),
            };
            cv.references = vec![reference];
            let body = format!(
                "# {text}\n\n{text}\n\n<script>alert(1)</script>\n\n[a](javascript:alert(1)) ![b](https://other.example/x.png) \
                 <b onclick=alert(1)>b</b>\n\n```\n{text}\n```\n\n<https://a.example/\"onx=\"> [c]: javascript:x\n"
            );
            cv.posts = vec![Post {
                slug: "bai-xau".to_owned(),
                title: text.clone(),
                date: "2026-08-01".to_owned(),
                body,
            }];
            &mut cv.site
        }
    };
    site.host_unicode.clone_from(&text);
    site.abuse_url = format!("javascript:alert(1)//{}", "x".repeat(9));
    content
}

/// Every template with its sample, minimal and hostile content.
fn all_sites() -> Vec<(String, Template, SiteContent)> {
    let root = templates();
    let names = template::names(&root).unwrap();
    assert!(names.len() >= 2, "{names:?}");
    let sites = names.iter().flat_map(|name| {
        let template = Template::load(&root, name).unwrap();
        let sample = template::sample(&root, name).unwrap();
        assert!(template.kinds.contains(&ContentKind::of(&sample)));
        let kinds = [
            ("minimal", minimal(&sample)),
            ("hostile", hostile(&sample)),
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
        .trim_start_matches("<!doctype html>")
        .to_owned();
    for element in ["meta", "link", "img"] {
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
    xml
}

fn text_of(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|text| text.text()).collect()
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
            "title" | "h1" | "h2" | "h3" | "h4" | "p" | "li" | "dt" | "dd" | "th" | "td"
            | "section" | "a" => {
                let named =
                    !text_of(node).trim().is_empty() || node.attribute("aria-label").is_some();
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
    let mut lists = String::new();
    for (site, template, content) in all_sites() {
        let tree = render(&template, &content).unwrap_or_else(|error| panic!("{site}: {error}"));
        assert_eq!(
            render(&template, &content).unwrap(),
            tree,
            "{site} is deterministic"
        );
        let identity = match &content {
            SiteContent::Business(business) => &business.site,
            SiteContent::Cv(cv) => &cv.site,
        };
        writeln!(lists, "{site}").unwrap();
        for (path, file) in tree.iter() {
            writeln!(lists, "  {path}: {}", file.media_type).unwrap();
            let text = std::str::from_utf8(&file.identity).unwrap();
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
            "robots.txt",
            "sitemap.xml",
        ] {
            assert!(tree.get(path).is_some(), "{site} has no {path}");
        }
        let text =
            |path: &str| String::from_utf8(tree.get(path).unwrap().identity.clone()).unwrap();
        let security = text(".well-known/security.txt");
        assert!(
            security.contains("\nExpires: 2028-08-01T00:00:00Z\n"),
            "{security}"
        );
        assert!(text("index.html").contains("Báo cáo vi phạm"));
        if let SiteContent::Business(business) = &content
            && site.ends_with("sample")
        {
            let page = text("index.html");
            for shown in [
                "55.000\u{a0}₫",
                "Giá liên hệ",
                "tel:+84710000001",
                "zalo.me",
                "Nghỉ",
                "06:00 – 10:30",
            ] {
                assert!(page.contains(shown), "{site} does not show {shown}");
            }
            assert!(page.contains(&business.legal.tax_id));
        }
    }
    insta::assert_snapshot!("files_of_every_template", lists);
}

#[test]
fn a_template_takes_its_kinds_of_content_only() {
    let root = templates();
    let template = Template::load(&root, "business").unwrap();
    let cv = template::sample(&root, "cv-blog").unwrap();
    let error = render(&template, &cv).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template `business` does not show content of kind `cv`"
    );
    for name in ["../business", "", "nirgends", "business/static"] {
        assert!(Template::load(&root, name).is_err(), "{name}");
    }
}

// ---- containers ------------------------------------------------------------------------------------------

fn sample_job(template: &str) -> BuildJob {
    BuildJob {
        template: template.to_owned(),
        content: template::sample(&templates(), template).unwrap(),
    }
}

/// Containers of this owner, running or not, as the engine tells.
fn containers(owner: &str) -> Vec<String> {
    let output = Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", engine_socket().display()))
        .args([
            "ps",
            "-a",
            "-q",
            "--filter",
            &format!("label=hiendien.owner={owner}"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

async fn until_none_are_left(owner: &str) {
    wait_for("the containers to be gone", LIMIT, || async {
        match containers(owner) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

fn owner() -> String {
    format!("test-{}", uuid::Uuid::new_v4())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_makes_the_same_files_as_the_library() {
    let owner = owner();
    let builder = ContainerBuilder::start(builder_settings(&owner, render_binary()));
    for (site, template, content) in all_sites() {
        let here = render(&template, &content).unwrap();
        let job = BuildJob {
            template: template.name.clone(),
            content,
        };
        let there = builder
            .build(&job)
            .await
            .unwrap_or_else(|error| panic!("{site}: {}", ErrorChain(&error)));
        assert_eq!(there, here, "{site}");
        assert_eq!(there.revision(), here.revision(), "{site}");
    }
    builder.shutdown().await;
    until_none_are_left(&owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_jobs_at_once_are_all_built_with_few_containers() {
    let owner = owner();
    let builder = Arc::new(ContainerBuilder::start(builder_settings(
        &owner,
        render_binary(),
    )));
    let jobs = (0..50).map(|number| {
        let builder = Arc::clone(&builder);
        let mut job = sample_job("business");
        if let SiteContent::Business(business) = &mut job.content {
            business.trade_name = format!("Quán số {number}");
        }
        tokio::spawn(async move { (number, builder.build(&job).await) })
    });
    for job in jobs.collect::<Vec<_>>() {
        let (number, tree) = job.await.unwrap();
        let tree = tree.unwrap();
        let page = String::from_utf8_lossy(&tree.get("index.html").unwrap().identity).into_owned();
        assert!(
            page.contains(&format!("<h1>Quán số {number}</h1>")),
            "each job has its own answer"
        );
    }
    builder.shutdown().await;
    until_none_are_left(&owner).await;
}

/// The templates of the workspace, copied, with one file of `business` changed.
fn changed_templates(file: &str, text: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(
        &templates().join("business"),
        &folder.path().join("business"),
    );
    fs::write(folder.path().join("business").join(file), text).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_template_is_rejected_with_its_place_and_leaves_nothing() {
    let owner = owner();
    let mut settings = builder_settings(&owner, render_binary());
    let doubled = "{% set all = namespace(text='0123456789abcdef') %}{% for i in range(40) %}{% set all.text = all.text ~ all.text %}{% endfor %}x";
    let cases = [
        ("index.html", "a\nb\n{% if %}", "(in index.html:3)"),
        (
            "index.html",
            "a\n{{ content.nothing_of_that_name.at_all }}",
            "(in index.html:2)",
        ),
        (
            "index.html",
            "{% extends \"../../../etc/passwd\" %}",
            "template not found",
        ),
        (
            "index.html",
            "{% include \"/etc/passwd\" %}",
            "template not found",
        ),
        (
            "index.html",
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}",
            "out of fuel",
        ),
        (
            "index.html",
            "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
            "recursion",
        ),
        (
            "index.html",
            "{% for a in range(9999) %}{{ '0123456789abcdef' * 99 }}{% endfor %}",
            "page `index.html` of template `business` is larger than",
        ),
        ("index.html", doubled, "MiB and was killed"),
        ("index.html", " ", "makes no `index.html`"),
        ("bad name.html", "x", "is not a site path"),
        (
            "template.toml",
            "name = 'other'\nkinds = []\n",
            "template.toml",
        ),
    ];
    for (file, text, expected) in cases {
        let changed = changed_templates(file, text);
        settings.templates = changed.path().to_owned();
        let builder = ContainerBuilder::start(settings.clone());
        let error = builder.build(&sample_job("business")).await.unwrap_err();
        let told = ErrorChain(&error).to_string();
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains('\n'), "{told}");
        let kind = if file == "template.toml" {
            FailureKind::Misconfigured
        } else {
            FailureKind::Rejected
        };
        assert_eq!(error.kind, kind, "{text}: {told}");
        builder.shutdown().await;
    }
    until_none_are_left(&owner).await;
}

/// Compiles the program that stands in the renderer's place, static.
fn hostile_renderer(folder: &Path) -> PathBuf {
    let program = folder.join("hostile-renderer");
    let source = root().join("tests/it/hostile_renderer.rs");
    let output = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .arg(&program)
        .arg(source)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

fn hostile_job(what: &str) -> BuildJob {
    let mut job = sample_job("business");
    if let SiteContent::Business(business) = &mut job.content {
        business.trade_name = format!("do:{what};");
    }
    job
}

fn index(tree: &FileTree) -> String {
    String::from_utf8(tree.get("index.html").unwrap().identity.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_program_in_the_container_gets_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner();
    let mut settings = builder_settings(&owner, hostile_renderer(folder.path()));
    settings.timeout = Duration::from_secs(3);
    let builder = ContainerBuilder::start(settings);

    let seen = index(&builder.build(&hostile_job("look")).await.unwrap());
    insta::assert_snapshot!("what_a_hostile_program_can_get_at", seen);
    let children: usize = index(&builder.build(&hostile_job("fork")).await.unwrap())
        .parse()
        .unwrap();
    assert!(children < 16, "{children} children were let");

    let refused = |what: &'static str| {
        let builder = &builder;
        async move {
            let error: PortError = builder.build(&hostile_job(what)).await.unwrap_err();
            (error.kind, ErrorChain(&error).to_string())
        }
    };
    for (what, expected) in [
        ("flood", "larger than its bound"),
        ("escape", "is not a site path"),
        ("absolute", "is not a site path"),
        ("link", "larger than its bound"),
        ("cut", "unexpected end of file"),
        ("memory", "it used more than 128 MiB and was killed"),
    ] {
        let (kind, told) = refused(what).await;
        assert!(told.contains(expected), "{what}: {told}");
        assert_eq!(kind, FailureKind::Rejected, "{what}: {told}");
    }
    for what in ["loop", "trickle", "complain"] {
        let (kind, told) = refused(what).await;
        assert!(
            told.contains("longer than 3 s and was killed"),
            "{what}: {told}"
        );
        assert!(
            matches!(kind, FailureKind::Transient { .. }),
            "{what}: {told}"
        );
    }
    // One that ends without a word is tried again, and then told.
    let (kind, told) = refused("nothing").await;
    assert!(told.contains("ended without a word"), "{told}");
    assert!(matches!(kind, FailureKind::Transient { .. }));
    builder.shutdown().await;
    until_none_are_left(&owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_engine_or_a_binary_it_is_told_what_to_do_and_building_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner();
    let binary = render_binary();
    let mut settings = builder_settings(&owner, folder.path().join("renderer"));
    let engine = settings.socket.clone();
    settings.socket = folder.path().join("engine.sock");
    let builder = ContainerBuilder::start(settings.clone());
    let job = sample_job("cv-blog");
    let error = builder.build(&job).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert_eq!(error.kind, FailureKind::Misconfigured, "{told}");
    assert!(told.contains("start Docker or Podman"), "{told}");
    assert!(
        told.contains(&settings.socket.display().to_string()),
        "{told}"
    );

    // The engine comes back, the binary is still missing.
    std::os::unix::fs::symlink(&engine, &settings.socket).unwrap();
    wait_for("the missing binary to be told", LIMIT, || async {
        let error = builder.build(&job).await.unwrap_err();
        let told = ErrorChain(&error).to_string();
        if told.contains("reading the render binary") && error.kind == FailureKind::Misconfigured {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    fs::copy(binary, &settings.render_binary).unwrap();
    wait_for("a site to be built", LIMIT, || async {
        builder
            .build(&job)
            .await
            .map_err(|error| ErrorChain(&error).to_string())
    })
    .await;

    // All that waits is killed, as by a restart of the engine: the next job does not notice.
    wait_for("containers to wait", LIMIT, || async {
        match containers(&owner).len() {
            2 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    for id in containers(&owner) {
        let host = format!("unix://{}", engine.display());
        assert!(
            Command::new("docker")
                .args(["-H", &host, "kill", &id])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    builder.build(&job).await.unwrap();
    builder.shutdown().await;
    until_none_are_left(&owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_left_behind_is_removed_and_nobody_elses() {
    let (owner, other) = (owner(), owner());
    let binary = render_binary();
    let filled = |owner: String| async move {
        wait_for("the pool to fill", LIMIT, || async {
            match containers(&owner) {
                ids if ids.len() == 2 => Ok(ids),
                ids => Err(ids),
            }
        })
        .await
    };
    // A worker that is killed runs no destructor.
    let killed = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    {
        let _entered = killed.enter();
        std::mem::forget(ContainerBuilder::start(builder_settings(
            &owner,
            binary.clone(),
        )));
    }
    let neighbour = ContainerBuilder::start(builder_settings(&other, binary.clone()));
    let left = filled(owner.clone()).await;
    let others = filled(other.clone()).await;
    killed.shutdown_background();

    let builder = ContainerBuilder::start(builder_settings(&owner, binary));
    builder.build(&sample_job("business")).await.unwrap();
    wait_for("the old containers to be gone", LIMIT, || async {
        let now = containers(&owner);
        if left.iter().any(|id| now.contains(id)) {
            Err(now)
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(containers(&other), others);
    builder.shutdown().await;
    neighbour.shutdown().await;
    until_none_are_left(&owner).await;
    until_none_are_left(&other).await;
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

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_half_made() {
    let job = sample_job("business");
    let template = Template::load(&templates(), &job.template).unwrap();
    let tree = render(&template, &job.content).unwrap();
    let disk = SmallDisk::mount(16);
    let root = disk.0.path().join("revisions");
    let store = FolderRevisions::open(&root).unwrap();
    let presence = PresenceId::new();
    let error = store.put_revision(presence, &tree).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert!(
        matches!(error.kind, FailureKind::Transient { .. }),
        "{told}"
    );
    assert!(
        told.contains(&format!("the disk that holds `{}` is full", root.display())),
        "{told}"
    );
    assert_eq!(files_under(&root), Vec::<PathBuf>::new());

    disk.grow(4096);
    let revision = store.put_revision(presence, &tree).await.unwrap();
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
