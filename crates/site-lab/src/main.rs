//! `site-lab serve`: templates filled with content, behind the real edge, until standard input ends. `site-lab write`:
//! one of them as files. Run them by `cargo xtask judge` and `cargo xtask site`.
#![expect(clippy::print_stdout, reason = "a tool for a terminal")]

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum as _};
use hiendien_domain::content::SiteContent;
use hiendien_domain::site::FileTree;
use hiendien_render::{Template, render};
use serde_json::{Value, json};
use site_lab::content::{Variant, at_host, content};
use site_lab::corpus::{fields, fill, mixed, texts};
use site_lab::pictures::Album;
use site_lab::plan::{Site, host, plan};

#[derive(Debug, Parser)]
#[command(name = "site-lab")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Renders sites and serves them; prints one line of JSON when it is ready
    Serve(Serve),
    /// Writes the site of a template into a folder
    Write(Write),
}

#[derive(Debug, clap::Args)]
struct Write {
    /// Name of a folder under the site templates
    template: String,
    /// `sample`, `minimal`, `long`, or a file of content (JSON or TOML)
    #[arg(long, default_value = "sample")]
    content: String,
    /// Where the templates are
    #[arg(long, default_value = "site-templates")]
    templates: PathBuf,
    /// The program of the build container, which makes the pictures
    #[arg(long)]
    renderer: PathBuf,
    /// Folder to write; what it holds stays unless the site has a file of that name
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Directory with one directory per template
    #[arg(long, default_value = "site-templates")]
    templates: PathBuf,
    /// Only these
    #[arg(long)]
    template: Vec<String>,
    /// Only with this content
    #[arg(long)]
    content: Vec<Variant>,
    /// Hostile text in every field instead: each text in all fields, a site for each
    #[arg(long)]
    xss: bool,
    /// With `--xss`: so many sites instead, in which each field has another text
    #[arg(long)]
    mixed: Option<usize>,
    /// The program of the build container, which makes the pictures
    #[arg(long, required_unless_present = "xss")]
    renderer: Option<PathBuf>,
    /// Loopback address whose port 443 answers
    #[arg(long)]
    address: IpAddr,
    /// Also write the files of each site below this directory
    #[arg(long)]
    out: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "a tool for a terminal")]
fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Serve(task) => serve(&task),
        Task::Write(task) => write_one(&task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(task: &Serve) -> anyhow::Result<()> {
    let names = if task.template.is_empty() {
        hiendien_render::names(&task.templates)?
    } else {
        task.template.clone()
    };
    let mut sites = Vec::new();
    for name in &names {
        let template = Template::load(&task.templates, name)?;
        if task.xss {
            hostile(task, &template, &mut sites)?;
            continue;
        }
        let renderer = task.renderer.as_deref().context("no renderer is given")?;
        let album = Album::make(&task.templates, name, renderer)?;
        for variant in Variant::ALL {
            if task.content.is_empty() || task.content.contains(&variant) {
                // One that cannot be rendered must not keep the others from being judged.
                let (tree, note) = match filled(&task.templates, &template, variant, &album) {
                    Ok(tree) => (tree, Value::Null),
                    Err(error) => (FileTree::default(), format!("{error:#}").into()),
                };
                sites.push(Site {
                    template: name.clone(),
                    content: variant.as_str().to_owned(),
                    tree,
                    note,
                });
            }
        }
    }
    if let Some(out) = &task.out {
        for site in &sites {
            write(&out.join(&site.template).join(&site.content), &site.tree)?;
        }
    }
    let (served, plan) = plan(sites, task.address)?;
    let served = Arc::new(served);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let edge = served.bind(task.address).await?;
        println!("{plan}");
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        edge.run(async {
            let _ = ended.await;
        })
        .await;
        Ok(())
    })
}

/// The sample and what is made from it, rendered.
fn filled(
    templates: &Path,
    template: &Template,
    variant: Variant,
    album: &Album,
) -> anyhow::Result<FileTree> {
    let name = &template.name;
    let content = content(templates, name, variant)?;
    let content = at_host(&content, &host(name, variant.as_str()))?;
    let mut tree = render(template, &content)?;
    album.add(&content, &mut tree)?;
    Ok(tree)
}

fn write_one(task: &Write) -> anyhow::Result<()> {
    let template = Template::load(&task.templates, &task.template)?;
    let content = match Variant::from_str(&task.content, false) {
        Ok(variant) => content(&task.templates, &task.template, variant)?,
        Err(_) => read(Path::new(&task.content))?,
    };
    let mut tree = render(&template, &content)?;
    Album::make(&task.templates, &task.template, &task.renderer)?.add(&content, &mut tree)?;
    write(&task.out, &tree)?;
    let mut sent = 0;
    for (path, file) in tree.iter() {
        let wire = file.brotli.as_ref().unwrap_or(&file.identity).len();
        sent += wire;
        println!("{wire:>8} of {:>8} bytes  {path}", file.identity.len());
    }
    println!(
        "{} files, {sent} bytes as they are sent; look at them: \
         python3 -m http.server --bind 127.0.0.1 --directory {}",
        tree.len(),
        task.out.display()
    );
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<SiteContent> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&text)?,
        _ => serde_json::from_str(&text)?,
    };
    Ok(content)
}

/// A site for each text of the corpus, and one with harmless words to compare with.
fn hostile(task: &Serve, template: &Template, sites: &mut Vec<Site>) -> anyhow::Result<()> {
    let name = &template.name;
    let content = content(&task.templates, name, Variant::Sample)?;
    let fields = fields(template, &content)?;
    let texts = texts()?;
    let mut add =
        |label: String, note: Value, text: &dyn Fn(usize) -> String| -> anyhow::Result<()> {
            let content = at_host(&content, &host(name, &label))?;
            sites.push(Site {
                template: name.clone(),
                content: label,
                tree: fill(template, &content, &fields.open, text)?.tree,
                note,
            });
            Ok(())
        };
    let about = json!({
        "open": fields.open,
        "refused_by_type": fields.refused_by_type,
        "refused_by_renderer": fields.refused_by_renderer,
    });
    add("harmless".to_owned(), json!({ "about": about }), &|_| {
        "lời thường".to_owned()
    })?;
    if let Some(sites) = task.mixed {
        for number in 0..sites {
            add(format!("mixed{number}"), json!({}), &|index| {
                mixed(&texts, index, number).to_owned()
            })?;
        }
        return Ok(());
    }
    for (number, text) in texts.iter().enumerate() {
        add(format!("x{number}"), json!({ "text": text }), &|_| {
            text.clone()
        })?;
    }
    Ok(())
}

fn write(directory: &Path, tree: &FileTree) -> anyhow::Result<()> {
    for (path, file) in tree.iter() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.identity)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}
