//! Every page of every template before the judges: Lighthouse, axe, the Nu checker, html-validate, and checks of our own
//! in Debian's Chromium, against the real edge.
//!
//! The judges are programs of Node, so what drives them is too (`crates/xtask/judge`); here is what they need to begin.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::stack::{built, run, target_directory};

const SCRIPTS: &str = "crates/xtask/judge";
/// Where the edge of the judged sites answers.
const ADDRESS: &str = "127.89.0.80";
/// The program that is looked for, and the Debian package that brings it.
const NEEDED: [(&str, &str); 4] = [
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("java", "default-jre-headless"),
];
const XSS: &str = "xss";

/// What is judged.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Only these templates
    #[arg(long, value_name = "NAME")]
    template: Vec<String>,
    /// Only with this content
    #[arg(long, value_parser = ["sample", "minimal", "long"])]
    content: Vec<String>,
    /// Only the page at this path, such as `/rieng-tu/`
    #[arg(long, value_name = "PATH")]
    page: Option<String>,
    /// Write all results here as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these checks
    #[arg(long, value_delimiter = ',', value_parser = ["lighthouse", "axe", "vnu", "html-validate", "markup", "links", "weight", "requests", "layout", XSS])]
    only: Vec<String>,
    /// Runs of Lighthouse for a page that is not at 100 in the first; the median counts
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Lighthouse on all pages, not on the largest of each kind
    #[arg(long)]
    every_page: bool,
    /// Hostile texts in so many sites a template, each field with another, instead of each text in every field
    #[arg(long, value_name = "SITES")]
    mixed: Option<usize>,
    /// Keep screenshots of a page of each kind below the target directory, `judge/shots`
    #[arg(long)]
    shots: bool,
    /// Also make the pictures under `docs/templates/`
    #[arg(long)]
    contact_sheet: bool,
}

pub(crate) fn run_judge(settings: &Settings) -> anyhow::Result<()> {
    need_programs()?;
    let out = target_directory()?.join("judge");
    let only_xss = settings.only == [XSS];
    let mut bound_broken = false;
    if !only_xss {
        let modules = install(&out)?;
        bound_broken |= !judge(settings, &out, &modules)?;
    }
    if settings.only.is_empty() || settings.only.iter().any(|check| check == XSS) {
        let mixed = settings.mixed.map(|sites| sites.to_string());
        let mut arguments = vec!["--xss"];
        if let Some(sites) = &mixed {
            arguments.extend(["--mixed", sites]);
        }
        let sites = Sites::serve(settings, &arguments)?;
        bound_broken |= !script("xss.mjs", &out, &json!({ "plan": sites.plan }))?;
    }
    if bound_broken {
        bail!("a bound is broken; what was found is above");
    }
    Ok(())
}

/// Ends before anything is judged where a judge could not run.
fn need_programs() -> anyhow::Result<()> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| Command::new(program).arg("--version").output().is_err())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the judges need packages that are missing; install them with\n  deploy/apt-quiet {}",
        missing.join(" ")
    )
}

/// Installs the judges as the lock file names them, where they are not there yet, and returns where they are.
fn install(out: &Path) -> anyhow::Result<PathBuf> {
    let modules = out.join("npm");
    let lock = Path::new(SCRIPTS).join("package-lock.json");
    let wanted =
        std::fs::read(&lock).with_context(|| format!("cannot read `{}`", lock.display()))?;
    // Written when all is there.
    let mark = modules.join("installed");
    if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    println!("== judges: npm ci in {} (about 240 MB)", modules.display());
    std::fs::create_dir_all(&modules)?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        std::fs::copy(Path::new(SCRIPTS).join(file), modules.join(file))?;
    }
    run(Command::new("npm").arg("ci").current_dir(&modules))?;
    std::fs::write(&mark, wanted)?;
    Ok(modules)
}

/// Whether all bounds hold.
fn judge(settings: &Settings, out: &Path, modules: &Path) -> anyhow::Result<bool> {
    let rendered = out.join("sites");
    if rendered.exists() {
        std::fs::remove_dir_all(&rendered)?;
    }
    let mut arguments = vec!["--out".to_owned(), rendered.to_string_lossy().into_owned()];
    for content in &settings.content {
        arguments.extend(["--content".to_owned(), content.clone()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sites = Sites::serve(settings, &arguments)?;
    let checks: Vec<&String> = settings.only.iter().filter(|check| *check != XSS).collect();
    script(
        "judge.mjs",
        out,
        &json!({
            "plan": sites.plan,
            "sites": rendered,
            "out": out,
            "modules": modules,
            "only": checks,
            "page": settings.page,
            "runs": settings.runs.max(1),
            "every_page": settings.every_page,
            "shots": settings.shots || settings.contact_sheet,
            "contact_sheet": settings.contact_sheet.then_some("docs/templates"),
            "json": settings.json,
        }),
    )
}

/// Runs one of our scripts; it ends with 1 when a bound is broken.
fn script(name: &str, out: &Path, told: &Value) -> anyhow::Result<bool> {
    let file = out.join(format!("{name}.json"));
    std::fs::create_dir_all(out)?;
    std::fs::write(&file, told.to_string())?;
    let status = Command::new("node")
        .arg(Path::new(SCRIPTS).join(name))
        .arg(&file)
        .status()
        .context("cannot run node")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("`{name}` failed: {status}"),
    }
}

/// Sites behind an edge, served until this is dropped.
struct Sites {
    plan: Value,
    input: Option<ChildStdin>,
    server: Child,
}

impl Sites {
    fn serve(settings: &Settings, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(built("debug", "site-lab")?);
        command
            .args(["serve", "--address", ADDRESS, "--renderer"])
            .arg(built("release", "hiendien-render")?)
            .args(arguments);
        for template in &settings.template {
            command.args(["--template", template]);
        }
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run site-lab")?;
        let input = server.stdin.take();
        let output = server.stdout.take().context("its output is ours")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let plan = serde_json::from_str(&line)
            .context("site-lab does not serve; what it said is above")?;
        Ok(Self {
            plan,
            input,
            server,
        })
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.server.wait();
    }
}
