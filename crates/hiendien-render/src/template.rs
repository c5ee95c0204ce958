//! A template: the files of one directory under the site templates.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use hiendien_domain::content::{Accent, SiteContent};
use serde::{Deserialize, Serialize};

use crate::fonts::{self, Face};

/// Bound of one template file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bound of all files of one template, bytes.
const TEMPLATE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const FILES_MAX: usize = 500;
const DEPTH_MAX: usize = 8;
const MANIFEST: &str = "template.toml";
const SAMPLE: &str = "sample.toml";
/// Pictures of the sample, as an owner would upload them.
const SAMPLE_PICTURES: &str = "sample";
/// What all templates share, beside them.
pub(crate) const COMMON: &str = "_common";

/// A template, ready to render, joined with what all templates share. README.md of the site
/// templates tells what its files become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub name: String,
    /// What it can show.
    pub kinds: Vec<ContentKind>,
    /// The colour of a site whose owner chose none.
    pub accent: Option<Accent>,
    /// Of schema.org, for a business.
    pub schema_type: Option<String>,
    /// By path; what is shared lies under `_common/`.
    pub files: BTreeMap<String, String>,
    pub fonts: Vec<Face>,
}

/// What a site is about, as in [`SiteContent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentKind {
    Business,
    Cv,
}

impl ContentKind {
    pub fn of(content: &SiteContent) -> Self {
        match content {
            SiteContent::Business(_) => Self::Business,
            SiteContent::Cv(_) => Self::Cv,
        }
    }

    /// The word used in `template.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Cv => "cv",
        }
    }
}

/// What `template.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateManifest {
    /// The same as the directory's name.
    pub name: String,
    pub kinds: Vec<ContentKind>,
    pub description_vi: String,
    pub description_en: String,
    #[serde(default)]
    pub accent: Option<Accent>,
    #[serde(default)]
    pub display_font: Option<String>,
    #[serde(default)]
    pub schema_type: Option<String>,
    /// Templates that are no more, whose sites are built with this one.
    #[serde(default)]
    pub replaces: Vec<String>,
}

/// Why a template was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("there is no template `{name}` in `{root}`")]
    Unknown { name: String, root: String },
    #[error("cannot read `{path}`")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the font `{path}`; `deploy/fonts/make` makes it")]
    Fonts {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read `{path}`: {message}")]
    Malformed { path: String, message: String },
    #[error("template `{name}` is out of bounds: {fault}")]
    OutOfBounds { name: String, fault: &'static str },
}

impl Template {
    /// Loads the directory `name` under `root`. Links in it are not followed.
    pub fn load(root: &Path, name: &str) -> Result<Self, TemplateError> {
        let manifest = manifest(root, name)?;
        let fonts = fonts::load(root, manifest.display_font.as_deref())?;
        let mut reading = Reading {
            name,
            bytes: 0,
            files: BTreeMap::new(),
        };
        reading.directory(&root.join(&manifest.name), "", 0)?;
        reading.directory(&root.join(COMMON), &format!("{COMMON}/"), 0)?;
        let mut files = reading.files;
        files.remove(MANIFEST);
        files.remove(SAMPLE);
        Ok(Self {
            name: manifest.name,
            kinds: manifest.kinds,
            accent: manifest.accent,
            schema_type: manifest.schema_type,
            fonts,
            files,
        })
    }

    /// What a product of the business is, for schema.org.
    pub(crate) fn schema_offer(&self) -> &'static str {
        match self.schema_type.as_deref() {
            Some("ProfessionalService" | "LodgingBusiness" | "HomeAndConstructionBusiness") => {
                "Service"
            }
            _ => "Product",
        }
    }
}

/// The names of all templates under `root`, sorted: its directories that hold a `template.toml`.
pub fn names(root: &Path) -> Result<Vec<String>, TemplateError> {
    let failed = |source| TemplateError::Read {
        path: root.display().to_string(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string()
            && is_plain(&name)
            && entry.path().join(MANIFEST).is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads `template.toml` of the template `name`, or of the one that replaces it.
pub fn manifest(root: &Path, name: &str) -> Result<TemplateManifest, TemplateError> {
    if is_plain(name) && root.join(name).join(MANIFEST).is_file() {
        return manifest_of(root, name);
    }
    for other in names(root)? {
        let manifest = manifest_of(root, &other)?;
        if manifest.replaces.iter().any(|former| former == name) {
            return Ok(manifest);
        }
    }
    Err(TemplateError::Unknown {
        name: name.chars().take(64).collect(),
        root: root.display().to_string(),
    })
}

fn manifest_of(root: &Path, name: &str) -> Result<TemplateManifest, TemplateError> {
    let path = root.join(name).join(MANIFEST);
    let manifest: TemplateManifest = read_toml(&path)?;
    if manifest.name != name {
        return Err(TemplateError::Malformed {
            path: path.display().to_string(),
            message: format!("`name` must be `{name}`, as the directory is called"),
        });
    }
    Ok(manifest)
}

/// The sample content that comes with the template `name`.
pub fn sample(root: &Path, name: &str) -> Result<SiteContent, TemplateError> {
    let manifest = manifest(root, name)?;
    read_toml(&root.join(manifest.name).join(SAMPLE))
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, TemplateError> {
    let text = fs::read_to_string(path).map_err(|source| TemplateError::Read {
        path: path.display().to_string(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        TemplateError::Malformed {
            path: format!("{}:{line}", path.display()),
            message: error.message().to_owned(),
        }
    })
}

/// A name that is one plain path segment.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

struct Reading<'a> {
    name: &'a str,
    bytes: u64,
    files: BTreeMap<String, String>,
}

impl Reading<'_> {
    fn directory(
        &mut self,
        directory: &Path,
        prefix: &str,
        depth: usize,
    ) -> Result<(), TemplateError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| TemplateError::Read { path, source }
        };
        for entry in fs::read_dir(directory).map_err(failed(directory))? {
            let entry = entry.map_err(failed(directory))?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(failed(&entry.path()))?;
            if kind.is_dir() && path == SAMPLE_PICTURES {
                // Not text, and of no use to a site that is not the sample.
            } else if kind.is_dir() {
                if depth == DEPTH_MAX {
                    return Err(self.out_of_bounds("its directories are nested too deeply"));
                }
                self.directory(&entry.path(), &format!("{path}/"), depth + 1)?;
            } else if kind.is_file() {
                let bytes = entry.metadata().map_err(failed(&entry.path()))?.len();
                self.bytes += bytes;
                if bytes > FILE_BYTES_MAX || self.bytes > TEMPLATE_BYTES_MAX {
                    return Err(self.out_of_bounds("its files are too large"));
                }
                if self.files.len() == FILES_MAX {
                    return Err(self.out_of_bounds("it has too many files"));
                }
                let text = fs::read_to_string(entry.path()).map_err(failed(&entry.path()))?;
                self.files.insert(path, text);
            }
        }
        Ok(())
    }

    fn out_of_bounds(&self, fault: &'static str) -> TemplateError {
        TemplateError::OutOfBounds {
            name: self.name.to_owned(),
            fault,
        }
    }
}
