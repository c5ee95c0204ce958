//! `cargo xtask site`: a template's site as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use hiendien_domain::content::SiteContent;
use hiendien_render::{Template, render, template, variants};

#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Name of a folder under the site templates
    template: String,
    /// `sample`, `minimal`, `long`, or a file of content (JSON or TOML)
    #[arg(long, default_value = "sample")]
    content: String,
    /// Where the templates are
    #[arg(long, default_value = "site-templates")]
    templates: PathBuf,
    /// Folder to write; what it holds stays unless the site has a file of that name
    out: PathBuf,
}

pub(crate) fn write(settings: &Settings) -> anyhow::Result<()> {
    let template = Template::load(&settings.templates, &settings.template)?;
    let sample = || template::sample(&settings.templates, &settings.template);
    let content = match settings.content.as_str() {
        "sample" => sample()?,
        "minimal" => variants::minimal(&sample()?),
        "long" => variants::long(&sample()?),
        file => read(Path::new(file))?,
    };
    let tree = render(&template, &content)?;
    let mut sent = 0;
    for (path, file) in tree.iter() {
        let target = settings.out.join(path);
        let folder = target.parent().unwrap_or(&settings.out);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        fs::write(&target, &file.identity)
            .with_context(|| format!("cannot write `{}`", target.display()))?;
        let wire = file.brotli.as_ref().unwrap_or(&file.identity).len();
        sent += wire;
        println!("{wire:>8} of {:>8} bytes  {path}", file.identity.len());
    }
    println!(
        "{} files, {sent} bytes as they are sent; look at them: \
         python3 -m http.server --bind 127.0.0.1 --directory {}",
        tree.len(),
        settings.out.display()
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
