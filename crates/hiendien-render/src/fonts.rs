//! The fonts of a template, as `deploy/fonts/make` has made them.
//!
//! They are part of the template, so a container and a preview have the same, and a template is whole
//! without a folder beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::style::fingerprint;
use crate::template::TemplateError;

/// Folder beside the templates.
const FOLDER: &str = "_fonts";
const INDEX: &str = "fonts.toml";
/// Bound of one font file, bytes.
const FONT_BYTES_MAX: u64 = 256 * 1024;
/// Family of running text.
pub(crate) const BODY: &str = "Be Vietnam Pro";
pub(crate) const REGULAR: u16 = 400;
pub(crate) const BOLD: u16 = 700;

/// The octets of a file; base64 in JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Octets(pub(crate) Arc<Vec<u8>>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} octets", self.0.len())
    }
}

impl TryFrom<String> for Octets {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(Arc::new(BASE64_STANDARD.decode(text)?)))
    }
}

impl From<Octets> for String {
    fn from(octets: Octets) -> Self {
        BASE64_STANDARD.encode(octets.0.as_slice())
    }
}

/// One family in one weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    #[serde(flatten)]
    pub(crate) about: About,
    /// For pages.
    pub(crate) woff2: Octets,
    /// The same letters, for pictures and PDF.
    pub(crate) ttf: Octets,
}

/// An entry of `fonts.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    file: String,
    pub(crate) family: String,
    pub(crate) weight: u16,
    /// `serif` or `sans-serif`.
    kind: String,
    stand_in: Vec<StandIn>,
}

/// A font that some systems have, shown until the face is there, scaled so that lines stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StandIn {
    /// Full names, all of equal widths.
    names: Vec<String>,
    size_adjust: String,
    ascent: String,
    descent: String,
    line_gap: String,
}

#[derive(Deserialize)]
struct Index {
    face: Vec<About>,
}

impl Face {
    /// Where pages find it.
    pub(crate) fn url(&self) -> String {
        let print = fingerprint(&self.woff2.0);
        format!("/phong/{}.{print}.woff2", self.about.file)
    }

    fn css(&self, css: &mut String) {
        let (family, weight) = (&self.about.family, self.about.weight);
        writeln!(
            css,
            "@font-face{{font-family:\"{family}\";font-weight:{weight};font-display:swap;\
             src:url({url}) format(\"woff2\")}}",
            url = self.url(),
        )
        .expect("writing to a string cannot fail");
        for (number, stand_in) in self.about.stand_in.iter().enumerate() {
            let StandIn {
                names,
                size_adjust,
                ascent,
                descent,
                line_gap,
            } = stand_in;
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("local(\"{name}\")"))
                .collect();
            writeln!(
                css,
                "@font-face{{font-family:\"{family} {number}\";font-weight:{weight};src:{names};\
                 size-adjust:{size_adjust};ascent-override:{ascent};descent-override:{descent};\
                 line-gap-override:{line_gap}}}",
                names = names.join(","),
            )
            .expect("writing to a string cannot fail");
        }
    }

    /// The face and what stands in for it, as `font-family` names them.
    fn stack(&self) -> String {
        let family = &self.about.family;
        let mut stack = format!("\"{family}\"");
        for number in 0..self.about.stand_in.len() {
            write!(stack, ",\"{family} {number}\"").expect("writing to a string cannot fail");
        }
        stack
    }
}

/// The faces and the two properties that name them.
pub(crate) fn css(faces: &[Face]) -> String {
    let mut css = String::new();
    for face in faces {
        face.css(&mut css);
    }
    let body = body(faces, REGULAR).map_or_else(
        || "system-ui,sans-serif".to_owned(),
        |face| format!("{},system-ui,sans-serif", face.stack()),
    );
    let display = display(faces).map_or_else(
        || body.clone(),
        |face| format!("{},\"{BODY}\",{}", face.stack(), face.about.kind),
    );
    writeln!(css, ":root{{--body:{body};--display:{display}}}")
        .expect("writing to a string cannot fail");
    css
}

/// The face of headings.
pub(crate) fn display(faces: &[Face]) -> Option<&Face> {
    let is_own = |face: &&Face| face.about.family != BODY && face.about.weight == BOLD;
    let own = faces.iter().find(is_own);
    own.or_else(|| body(faces, BOLD))
}

/// The face of running text in a weight.
pub(crate) fn body(faces: &[Face], weight: u16) -> Option<&Face> {
    faces
        .iter()
        .find(|face| face.about.family == BODY && face.about.weight == weight)
}

/// What the first screen has most of: the faces of the family of headings, and that of running text unless that family
/// has a face for it as well.
pub(crate) fn first_seen(faces: &[Face]) -> impl Iterator<Item = &Face> {
    let family = display(faces).map(|face| face.about.family.as_str());
    let is_of_display = move |face: &Face| Some(face.about.family.as_str()) == family;
    let has_regular = faces
        .iter()
        .any(|face| is_of_display(face) && face.about.weight == REGULAR);
    faces.iter().filter(move |face| {
        let is_running = face.about.family == BODY && face.about.weight == REGULAR;
        is_of_display(face) || (is_running && !has_regular)
    })
}

/// The faces of running text and of `display`, from beside the templates under `root`.
pub(crate) fn load(root: &Path, display: Option<&str>) -> Result<Vec<Face>, TemplateError> {
    let folder = root.join(FOLDER);
    let index = folder.join(INDEX);
    let missing = |path: &Path, source| TemplateError::Fonts {
        path: path.display().to_string(),
        source,
    };
    let text = fs::read_to_string(&index).map_err(|source| missing(&index, source))?;
    let malformed = |message: String| TemplateError::Malformed {
        path: index.display().to_string(),
        message,
    };
    let Index { face } =
        toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    if let Some(display) = display
        && !face.iter().any(|about| about.family == display)
    {
        let mut families: Vec<&str> = face.iter().map(|about| about.family.as_str()).collect();
        families.dedup();
        return Err(malformed(format!(
            "there is no font `{display}` in it; use one of {}",
            families.join(", ")
        )));
    }
    let wanted = face
        .into_iter()
        .filter(|about| about.family == BODY || Some(about.family.as_str()) == display);
    let read = |file: String| {
        let path = folder.join(file);
        let octets = fs::metadata(&path).and_then(|about| {
            if about.len() > FONT_BYTES_MAX {
                return Err(std::io::Error::other("the font is too large"));
            }
            fs::read(&path)
        });
        let octets = octets.map_err(|source| missing(&path, source))?;
        Ok(Octets(Arc::new(octets)))
    };
    wanted
        .map(|about| {
            Ok(Face {
                woff2: read(format!("{}.woff2", about.file))?,
                ttf: read(format!("{}.ttf", about.file))?,
                about,
            })
        })
        .collect()
}
