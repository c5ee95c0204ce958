//! The pictures of a template's sample, made as those of an owner are: by the program of the build container.
//!
//! A sample names pictures by the hash of what lies in its folder `sample`, as an owner's upload is named.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use hiendien_domain::content::{ImageId, Picture, SiteContent};
use hiendien_domain::site::FileTree;
use hiendien_render::job::{ImageJob, image_octets, read_picture};

/// All pictures of a template's sample.
#[derive(Debug, Default)]
pub struct Album(BTreeMap<ImageId, (Picture, FileTree)>);

impl Album {
    /// Makes a picture of each file in the sample's folder; of none where there is no folder.
    pub fn make(templates: &Path, template: &str, renderer: &Path) -> anyhow::Result<Self> {
        let directory = templates.join(template).join("sample");
        let mut album = Self::default();
        if !directory.exists() {
            return Ok(album);
        }
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let upload = fs::read(&path)?;
            let job = ImageJob {
                id: ImageId::of(&upload),
                upload,
            };
            let made = make(&job, renderer).with_context(|| format!("`{}`", path.display()))?;
            album.0.insert(job.id, made);
        }
        Ok(album)
    }

    /// Adds the files of all pictures that the content shows. One whose form is not as the content tells is an error,
    /// since its page would be laid out wrong.
    pub fn add(&self, content: &SiteContent, tree: &mut FileTree) -> anyhow::Result<()> {
        for shown in pictures(content)? {
            let (made, files) = self
                .0
                .get(&shown.id)
                .with_context(|| format!("the sample has no file of the hash `{}`", shown.id))?;
            let told = Picture {
                alt: made.alt.clone(),
                ..shown.clone()
            };
            if told != *made {
                bail!("a picture is told as {shown:?}, but was made as {made:?}");
            }
            for (path, file) in files.iter() {
                if tree.get(path).is_none() {
                    tree.insert(path, file.clone())?;
                }
            }
        }
        Ok(())
    }
}

fn make(job: &ImageJob, renderer: &Path) -> anyhow::Result<(Picture, FileTree)> {
    let mut child = Command::new(renderer)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", renderer.display()))?;
    // It reads its whole job before it answers.
    let mut input = child.stdin.take().context("its input is piped")?;
    input.write_all(&image_octets(job)?)?;
    drop(input);
    let answer = child.wait_with_output()?.stdout;
    read_picture(&job.id, &answer)?.map_err(|fault| anyhow::anyhow!("it is refused: {fault}"))
}

/// Every picture in the content, wherever.
fn pictures(content: &SiteContent) -> anyhow::Result<Vec<Picture>> {
    fn find(value: &serde_json::Value, found: &mut Vec<Picture>) {
        if let Ok(picture) = serde_json::from_value(value.clone()) {
            found.push(picture);
        } else if let Some(members) = value.as_object() {
            for member in members.values() {
                find(member, found);
            }
        } else if let Some(items) = value.as_array() {
            for item in items {
                find(item, found);
            }
        }
    }
    let mut found = Vec::new();
    find(&serde_json::to_value(content)?, &mut found);
    Ok(found)
}
