//! Sites a second: this renderer beside Hugo on the same content, on the same machine, in turns.
//!
//! Hugo has the best of it: its theme (`bench/hugo`) makes the same pages of less markup, our stylesheet, fonts and pictures
//! are handed to it ready-made, and beside one process a site, as a service would run it, one process builds all sites at
//! once. Compression is what the edge serves: gzip and Brotli of every text at the same levels, by gzip and brotli for Hugo.
//! With pictures, those of the sample are made into all widths: by us into AVIF, WebP and JPEG by a process each, as it is
//! done at an upload; by Hugo into WebP and JPEG, since it makes no AVIF.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hiendien_domain::content::{BusinessContent, ImageId, SiteContent};
use hiendien_domain::site::FileTree;
use hiendien_render::job::{ImageJob, image_octets, read_picture};
use hiendien_render::{Template, render, template};
use serde_json::{Value, json};

use crate::stack::{built, output, run};

const TEMPLATES: &str = "site-templates";
const THEME: &str = "crates/xtask/src/bench/hugo";
const WORK: &str = "/var/tmp/hiendien-bench-sites";
/// What Hugo makes by itself; all else of our site is handed to it.
const MADE_BY_HUGO: [&str; 7] = [
    "text/html",
    "application/xml",
    "application/atom",
    "application/feed",
    "application/json",
    "application/manifest",
    "text/plain",
];

/// How the benchmark is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Sites of a round
    #[arg(long, default_value_t = 40)]
    sites: usize,
    /// Rounds, taken in turns; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads of ours, and processes of Hugo's, at once
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// A template for businesses, whose sample is the content
    #[arg(long, default_value = "storefront")]
    template: String,
    /// Sites of a round with pictures
    #[arg(long, default_value_t = 6)]
    sites_with_pictures: usize,
    /// Measure only this renderer
    #[arg(long)]
    without_hugo: bool,
    /// Leave out builds in containers, which need a container engine
    #[arg(long)]
    pub(crate) without_container: bool,
    /// Write the numbers here as JSON too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The ways a round is built, in the order they take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Ours,
    OursUncompressed,
    HugoEach,
    HugoEachCompressed,
    HugoAll,
    HugoAllCompressed,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Ours,
        Self::OursUncompressed,
        Self::HugoEach,
        Self::HugoEachCompressed,
        Self::HugoAll,
        Self::HugoAllCompressed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Ours => "hiendien, compressed",
            Self::OursUncompressed => "hiendien, not compressed",
            Self::HugoEach => "Hugo, a process a site, not compressed",
            Self::HugoEachCompressed => "Hugo, a process a site, compressed",
            Self::HugoAll => "Hugo, one process for all, not compressed",
            Self::HugoAllCompressed => "Hugo, one process for all, compressed",
        }
    }

    fn is_hugo(self) -> bool {
        !matches!(self, Self::Ours | Self::OursUncompressed)
    }
}

pub(crate) fn run_bench(settings: &Settings) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        bail!("built without optimisation; `cargo xtask bench sites` builds itself anew");
    }
    if !settings.without_hugo {
        for program in ["hugo", "gzip", "brotli"] {
            let found = Command::new(program).arg("--version").output();
            let found = found.is_ok() || Command::new(program).arg("version").output().is_ok();
            if !found {
                bail!(
                    "`{program}` is missing; install it with\n  deploy/apt-quiet {program}\nor measure with `--without-hugo`"
                );
            }
        }
    }
    let template = Template::load(Path::new(TEMPLATES), &settings.template)?;
    let contents = contents(settings)?;
    let first = render(&template, &contents[0])?;
    let again = render(&template, &contents[0])?;
    if first.revision() != again.revision() {
        bail!("the same content gave two different sites");
    }
    println!(
        "{} sites of `{}`: {} files, {} bytes each; {} rounds, {} at once",
        settings.sites,
        settings.template,
        first.len(),
        first.identity_bytes(),
        settings.rounds,
        settings.at_once
    );
    println!(
        "revision of the first, the same twice and on every machine: {}\n",
        first.revision()
    );

    let work = Path::new(WORK);
    let _ = fs::remove_dir_all(work);
    if !settings.without_hugo {
        projects(work, &contents, &first)?;
    }
    let ways: Vec<Way> = Way::ALL
        .into_iter()
        .filter(|way| !(way.is_hugo() && settings.without_hugo))
        .collect();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); ways.len()];
    for _ in 0..settings.rounds.max(1) {
        for (way, times) in ways.iter().zip(&mut times) {
            times.push(build(*way, settings, &template, &contents, work)?);
        }
    }
    let rates: Vec<(Way, f64)> = ways
        .into_iter()
        .zip(times)
        .map(|(way, mut times)| {
            times.sort_unstable();
            let median = times[(times.len() - 1) / 2];
            (way, count(settings.sites) / median.as_secs_f64())
        })
        .collect();
    for (way, rate) in &rates {
        println!(
            "{:<44} {rate:>8.1} sites/s {:>8.1} ms a site",
            way.label(),
            1000.0 / rate
        );
    }
    let rate = |way: Way| {
        rates
            .iter()
            .find(|(of, _)| *of == way)
            .map(|(_, rate)| *rate)
    };
    let mut ratios = json!({});
    for (ours, peer) in [
        (Way::Ours, Way::HugoEachCompressed),
        (Way::Ours, Way::HugoAllCompressed),
        (Way::OursUncompressed, Way::HugoEach),
        (Way::OursUncompressed, Way::HugoAll),
    ] {
        if let (Some(ours), Some(peer_rate)) = (rate(ours), rate(peer)) {
            println!(
                "ratio hiendien / {:<40} {:>6.1}",
                peer.label(),
                ours / peer_rate
            );
            ratios[peer.label()] = (ours / peer_rate).into();
        }
    }
    let mut numbers = json!({
        "template": settings.template,
        "revision": first.revision(),
        "sites_per_second": rates.iter().map(|(way, rate)| (way.label().to_owned(), Value::from(*rate))).collect::<serde_json::Map<_, _>>(),
        "ratios": ratios,
    });
    numbers["with_pictures"] = with_pictures(settings, &template, &contents, &first)?;
    if !settings.without_container {
        let pictured = numbers["with_pictures"]["hugo"].as_f64();
        let peer = (rate(Way::HugoEachCompressed), pictured);
        numbers["container"] = in_containers(settings, peer)?;
    }
    if let Some(path) = &settings.json {
        fs::write(path, format!("{numbers:#}\n"))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let _ = fs::remove_dir_all(work);
    Ok(())
}

/// An upload, and the job that makes a picture of it.
struct Upload {
    id: ImageId,
    path: PathBuf,
    job: Vec<u8>,
}

fn uploads(settings: &Settings) -> anyhow::Result<Vec<Upload>> {
    let directory = Path::new(TEMPLATES).join(&settings.template).join("sample");
    let listed = fs::read_dir(&directory)
        .with_context(|| format!("the sample has no pictures in `{}`", directory.display()))?;
    listed
        .map(|entry| {
            let path = entry?.path();
            let upload = fs::read(&path)?;
            let id = ImageId::of(&upload);
            let job = ImageJob {
                id: id.clone(),
                upload,
            };
            let job = image_octets(&job)?;
            Ok(Upload { id, path, job })
        })
        .collect()
}

fn with_pictures(
    settings: &Settings,
    template: &Template,
    contents: &[SiteContent],
    ours: &FileTree,
) -> anyhow::Result<Value> {
    let uploads = uploads(settings)?;
    let contents = &contents[..settings.sites_with_pictures.clamp(1, contents.len())];
    let work = Path::new(WORK).join("pictures");
    let project = |number: usize| work.join(format!("{number}"));
    let theme = fs::canonicalize(THEME).context("run this in the checkout")?;
    for (number, content) in contents.iter().enumerate() {
        if settings.without_hugo {
            break;
        }
        let SiteContent::Business(business) = content else {
            bail!("not for businesses");
        };
        let project = project(number);
        one_project(&project, &theme, content, business, "pictures = true\n")?;
        ready(&project.join("static"), ours)?;
        let assets = project.join("assets/anh");
        fs::create_dir_all(&assets)?;
        for upload in &uploads {
            let kind = upload.path.extension().unwrap_or_default();
            let name = Path::new(upload.id.as_str()).with_extension("webp");
            if kind != "webp" {
                bail!("`{}` is no WebP", upload.path.display());
            }
            fs::copy(&upload.path, assets.join(name))?;
        }
    }
    let renderer = built("release", "hiendien-render")?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds.max(1) {
        let began = Instant::now();
        at_once(settings, contents.len(), |number| {
            for upload in &uploads {
                make_picture(&renderer, upload)?;
            }
            render(template, &contents[number])?;
            Ok(())
        })?;
        here.push(began.elapsed());
        if settings.without_hugo {
            continue;
        }
        for number in 0..contents.len() {
            // What it made before it would not make again.
            for made in ["resources", "out"] {
                let _ = fs::remove_dir_all(project(number).join(made));
            }
        }
        let began = Instant::now();
        at_once(settings, contents.len(), |number| {
            let out = project(number).join("out");
            hugo(&project(number), &out)?;
            compress(&out, 1)
        })?;
        there.push(began.elapsed());
    }
    let rate = |mut times: Vec<Duration>| {
        times.sort_unstable();
        let median = times.get((times.len().max(1) - 1) / 2);
        median.map(|median| count(contents.len()) / median.as_secs_f64())
    };
    let (here, there) = (rate(here), rate(there));
    println!(
        "\nwith {} pictures a site, made anew, {} sites, compressed:",
        uploads.len(),
        contents.len()
    );
    for (label, rate) in [
        ("hiendien, AVIF, WebP and JPEG", here),
        ("Hugo, a process a site, WebP and JPEG", there),
    ] {
        if let Some(rate) = rate {
            println!(
                "{label:<44} {rate:>8.2} sites/s {:>8.0} ms a site",
                1000.0 / rate
            );
        }
    }
    let ratio = here.zip(there).map(|(here, there)| here / there);
    if let Some(ratio) = ratio {
        println!("ratio hiendien / Hugo with pictures {ratio:>26.1}");
    }
    Ok(json!({ "pictures": uploads.len(), "hiendien": here, "hugo": there, "ratio": ratio }))
}

fn make_picture(renderer: &Path, upload: &Upload) -> anyhow::Result<()> {
    let mut child = Command::new(renderer)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", renderer.display()))?;
    // It reads its whole job before it answers.
    let mut stdin = child.stdin.take().context("its input is piped")?;
    stdin.write_all(&upload.job)?;
    drop(stdin);
    let made = child.wait_with_output()?;
    let (_, files) = read_picture(&upload.id, &made.stdout)?
        .map_err(|fault| anyhow::anyhow!("`{}` is refused: {fault}", upload.path.display()))?;
    if files.is_empty() {
        bail!("nothing was made of `{}`", upload.path.display());
    }
    Ok(())
}

/// What a container of the warm pool adds to a build, for every template, and how many are built a second through
/// containers and through confined processes: an example of the adapter measures it, and proves that the site is the
/// same. `peer` is the rate of Hugo, and with pictures.
fn in_containers(settings: &Settings, peer: (Option<f64>, Option<f64>)) -> anyhow::Result<Value> {
    let socket = output(Command::new("deploy/lab").args(["docker", "bench-sites"]))?;
    let measure = |engine: &str| {
        output(
            Command::new(built("release", "examples/overhead")?)
                .arg(engine)
                .arg(built("release", "hiendien-render")?)
                .args([TEMPLATES, &settings.sites.to_string(), &settings.template])
                .stderr(Stdio::inherit()),
        )
    };
    let measured = measure(socket.trim());
    output(Command::new("deploy/lab").args(["docker", "release", "bench-sites"]))?;
    let mut told: Value = serde_json::from_str(&measured?)?;
    told["processes"] = serde_json::from_str(&measure("process")?)?;
    println!("\nthrough a container of the warm pool, one after the other, medians in ms:");
    for template in told["templates"].as_array().into_iter().flatten() {
        let median = |what: &str| template[what]["median"].as_f64().unwrap_or_default();
        println!(
            "  {:<12} built {:>7.1}  rendered here {:>7.1}  overhead {:>6.1}",
            template["template"].as_str().unwrap_or_default(),
            median("built_ms"),
            median("rendered_here_ms"),
            median("overhead_ms")
        );
    }
    println!("\nwithout pause, a room for each job, Hugo's processes as above:");
    for (rooms, told) in [
        ("containers", &told["without_pause"]),
        ("confined processes", &told["processes"]["without_pause"]),
    ] {
        for (what, rate, peer) in [
            ("", &told["sites_per_second"], peer.0),
            (
                ", with pictures",
                &told["sites_per_second_with_pictures"],
                peer.1,
            ),
        ] {
            let rate = rate.as_f64().unwrap_or_default();
            let ratio = peer.map(|peer| format!("  ratio {:.2}", rate / peer));
            println!(
                "{:<44} {rate:>8.2} sites/s{}",
                format!("hiendien through {rooms}{what}"),
                ratio.unwrap_or_default()
            );
        }
    }
    Ok(told)
}

#[expect(clippy::cast_precision_loss, reason = "a small count")]
fn count(sites: usize) -> f64 {
    sites as f64
}

/// The sample as so many owners: each with a name, a host and words of its own.
fn contents(settings: &Settings) -> anyhow::Result<Vec<SiteContent>> {
    let sample = template::sample(Path::new(TEMPLATES), &settings.template)?;
    (0..settings.sites.max(1))
        .map(|number| {
            let mut content = sample.clone();
            let SiteContent::Business(business) = &mut content else {
                bail!("`{}` is not for businesses", settings.template);
            };
            business.trade_name = format!("{} {number}", business.trade_name);
            business.about = format!("{}\n\nChi nhánh số {number}.", business.about);
            let site = &mut business.site;
            site.host_unicode = format!("mau-{number}.biz.vn");
            site.host = site.host_unicode.parse()?;
            Ok(content)
        })
        .collect()
}

/// How long one round takes in one way.
fn build(
    way: Way,
    settings: &Settings,
    template: &Template,
    contents: &[SiteContent],
    work: &Path,
) -> anyhow::Result<Duration> {
    let out = work.join("out");
    let _ = fs::remove_dir_all(&out);
    let each = |number: usize| -> anyhow::Result<()> {
        let source = work.join(format!("each/{number}"));
        hugo(&source, &out.join(number.to_string()))
    };
    let began = Instant::now();
    match way {
        Way::Ours => at_once(settings, contents.len(), |number| {
            render(template, &contents[number])?;
            Ok(())
        })?,
        Way::OursUncompressed => {
            // What rendering takes without what compressing takes, since rendering always compresses.
            let compressing = Mutex::new(Duration::ZERO);
            at_once(settings, contents.len(), |number| {
                let tree = render(template, &contents[number])?;
                let began = Instant::now();
                for (path, file) in tree.iter().filter(|(_, file)| file.gzip.is_some()) {
                    hiendien_render::file(path, file.identity.clone())?;
                }
                *compressing
                    .lock()
                    .expect("no thread panics while it holds it") += began.elapsed();
                Ok(())
            })?;
            let compressing = compressing.into_inner().expect("no thread panicked");
            let threads = u32::try_from(settings.at_once.max(1))?;
            return Ok(began.elapsed().saturating_sub(compressing * 2 / threads));
        }
        Way::HugoEach => at_once(settings, contents.len(), each)?,
        Way::HugoEachCompressed => at_once(settings, contents.len(), |number| {
            each(number)?;
            compress(&out.join(number.to_string()), 1)
        })?,
        Way::HugoAll => hugo(&work.join("all"), &out)?,
        Way::HugoAllCompressed => {
            hugo(&work.join("all"), &out)?;
            compress(&out, settings.at_once.max(1))?;
        }
    }
    Ok(began.elapsed())
}

/// Does the work for each number, so many at once.
fn at_once(
    settings: &Settings,
    count: usize,
    work: impl Fn(usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let (next, fault) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..settings.at_once.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    if let Err(error) = work(number) {
                        *fault.lock().expect("no thread panics while it holds it") = Some(error);
                        break;
                    }
                }
            });
        }
    });
    let fault = fault.into_inner().expect("no thread panicked");
    fault.map_or(Ok(()), Err)
}

fn hugo(source: &Path, out: &Path) -> anyhow::Result<()> {
    output(
        Command::new("hugo")
            .args(["--quiet", "--source"])
            .arg(source)
            .arg("--destination")
            .arg(out),
    )?;
    Ok(())
}

/// Both forms of every text below a directory, by the tools that are made for it: one process each for many files.
fn compress(directory: &Path, at_once: usize) -> anyhow::Result<()> {
    const FIND: &str = r#"find "$1" -type f \( -name '*.html' -o -name '*.css' -o -name '*.xml' -o -name '*.json' -o -name '*.svg' -o -name '*.webmanifest' -o -name '*.txt' \) -size +255c -print0"#;
    let script = format!(
        "{FIND} | xargs -0 -r -P \"$2\" -n 40 gzip -9 -n -k && {FIND} | xargs -0 -r -P \"$2\" -n 40 brotli -q 7 -w 18 -k"
    );
    run(Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(directory)
        .arg(at_once.to_string()))
}

/// Hugo's sources of all sites: a project for each, and one project that is all of them.
fn projects(work: &Path, contents: &[SiteContent], ours: &FileTree) -> anyhow::Result<()> {
    let theme = fs::canonicalize(THEME).context("run this in the checkout")?;
    let (common, tables) = formats(&theme)?;
    let mut all =
        format!("baseURL = \"https://mau.biz.vn/\"\n{common}defaultContentLanguage = \"s0\"\n");
    let mut languages = String::new();
    let whole = work.join("all");
    for (number, content) in contents.iter().enumerate() {
        let SiteContent::Business(business) = content else {
            bail!("not for businesses");
        };
        let (host, title) = (&business.site.host, json!(business.trade_name));
        let one = work.join(format!("each/{number}"));
        one_project(&one, &theme, content, business, "")?;
        write(
            &whole.join(format!("data/s{number}.json")),
            &serde_json::to_string(content)?,
        )?;
        texts(&whole.join(format!("content/s{number}")), business)?;
        write!(
            languages,
            "[languages.s{number}]\nbaseURL = \"https://{host}/\"\ntitle = {title}\ncontentDir = \"content/s{number}\"\nkey = \"s{number}\"\n"
        )?;
        ready(&one.join("static"), ours)?;
    }
    ready(&whole.join("static"), ours)?;
    std::os::unix::fs::symlink(theme.join("layouts"), whole.join("layouts"))?;
    write!(all, "{languages}\n[{tables}")?;
    write(&whole.join("config.toml"), &all)
}

/// What comes before a project's parameters, and the tables behind them.
fn formats(theme: &Path) -> anyhow::Result<(String, String)> {
    let formats = fs::read_to_string(theme.join("formats.toml"))?;
    let (common, tables) = formats.split_once("\n[").unwrap_or((&formats, ""));
    Ok((format!("{common}\n"), tables.to_owned()))
}

/// A project that is one site.
fn one_project(
    directory: &Path,
    theme: &Path,
    content: &SiteContent,
    business: &BusinessContent,
    parameters: &str,
) -> anyhow::Result<()> {
    let (common, tables) = formats(theme)?;
    let (host, title) = (&business.site.host, json!(business.trade_name));
    let settings = format!(
        "baseURL = \"https://{host}/\"\ntitle = {title}\nlanguageCode = \"vi\"\n{common}[params]\nkey = \"s\"\n{parameters}\n[{tables}"
    );
    write(&directory.join("config.toml"), &settings)?;
    write(
        &directory.join("data/s.json"),
        &serde_json::to_string(content)?,
    )?;
    texts(&directory.join("content"), business)?;
    std::os::unix::fs::symlink(theme.join("layouts"), directory.join("layouts"))?;
    Ok(())
}

/// What an owner wrote, as Hugo wants it.
fn texts(directory: &Path, business: &BusinessContent) -> anyhow::Result<()> {
    write(
        &directory.join("rieng-tu.md"),
        &document("Quyền riêng tư", None, &[], PRIVACY),
    )?;
    for page in &business.pages {
        write(
            &directory.join(format!("{}.md", page.slug)),
            &document(&page.title, None, &[], &page.body),
        )?;
    }
    if !business.posts.is_empty() {
        write(
            &directory.join("bai-viet/_index.md"),
            &document("Bài viết", None, &[], ""),
        )?;
    }
    for post in &business.posts {
        let text = document(&post.title, Some(&post.date), &post.tags, &post.body);
        write(&directory.join(format!("bai-viet/{}.md", post.slug)), &text)?;
    }
    Ok(())
}

fn document(title: &str, date: Option<&str>, labels: &[String], body: &str) -> String {
    let date = date
        .map(|date| format!("date = {date}\n"))
        .unwrap_or_default();
    format!(
        "+++\ntitle = {}\n{date}labels = {}\n+++\n\n{body}\n",
        json!(title),
        json!(labels)
    )
}

const PRIVACY: &str = "Trang này không đặt cookie, không có mã theo dõi, không tải gì từ nơi khác và không hỏi bạn điều gì.\n\n\
    ## Máy chủ ghi lại gì\n\nĐịa chỉ mạng, giờ và trang được xem, giữ trong thời gian ngắn để phòng tấn công, rồi xoá.\n\n\
    ## Thư và điện thoại\n\nKhi bạn gọi hay viết thư, chúng tôi chỉ dùng thông tin bạn cho để trả lời bạn.\n\n\
    ## Quyền của bạn\n\nBạn có thể hỏi, sửa hay yêu cầu xoá thông tin của mình bằng thư điện tử.\n";

/// Files of ours that Hugo need not make: they are copied only.
fn ready(directory: &Path, ours: &FileTree) -> anyhow::Result<()> {
    for (path, file) in ours.iter() {
        let made = MADE_BY_HUGO
            .iter()
            .any(|media_type| file.media_type.starts_with(media_type));
        if made && path != ".well-known/security.txt" {
            continue;
        }
        let to = directory.join(path);
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap_or(directory))?;
            fs::write(&to, &file.identity)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
