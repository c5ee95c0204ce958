//! The pictures of a template's sample, as they join its site.
//!
//! A sample names pictures by the hash of what lies in its folder `sample`, as an owner's upload is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::digest;
use hiendien_domain::site::{FileTree, SiteFile, hex};
use serde_json::Value;

/// Bytes of an image's name: the first 128 bits of the hash of what was uploaded.
const NAME_BYTES: usize = 16;

/// Adds the files of all pictures that are in `content`, wherever.
pub fn add(
    tree: &mut FileTree,
    templates: &Path,
    template: &str,
    content: &Value,
) -> anyhow::Result<()> {
    let mut wanted = BTreeMap::new();
    find(content, &mut wanted);
    if wanted.is_empty() {
        return Ok(());
    }
    let directory = templates.join(template).join("sample");
    let listed = fs::read_dir(&directory).with_context(|| {
        format!(
            "the sample has pictures, but there is no `{}`",
            directory.display()
        )
    })?;
    let mut uploads = BTreeMap::new();
    for entry in listed {
        let octets = fs::read(entry?.path())?;
        let hash = digest::digest(&digest::SHA256, &octets);
        uploads.insert(hex(&hash.as_ref()[..NAME_BYTES]), octets);
    }
    for (id, widths) in wanted {
        let octets = uploads
            .get(&id)
            .with_context(|| format!("no file in `{}` has the hash `{id}`", directory.display()))?;
        for width in widths {
            for (form, media_type) in [
                ("avif", "image/avif"),
                ("webp", "image/webp"),
                ("jpg", "image/jpeg"),
            ] {
                let file = SiteFile {
                    media_type: media_type.to_owned(),
                    identity: octets.clone(),
                    gzip: None,
                    brotli: None,
                };
                tree.insert(&format!("anh/{id}-{width}.{form}"), file)?;
            }
        }
    }
    Ok(())
}

/// Ids and widths of the pictures in a value.
fn find(value: &Value, wanted: &mut BTreeMap<String, Vec<u64>>) {
    match value {
        Value::Object(members) => {
            if let (Some(Value::String(id)), Some(Value::Array(widths))) =
                (members.get("id"), members.get("widths"))
            {
                let widths = widths.iter().filter_map(Value::as_u64).collect();
                wanted.insert(id.clone(), widths);
            }
            members.values().for_each(|member| find(member, wanted));
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, wanted)),
        _ => {}
    }
}
