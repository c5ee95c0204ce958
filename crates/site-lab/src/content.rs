//! Content of several kinds, and a look at it whatever its fields are.

use std::path::Path;

use hiendien_domain::content::SiteContent;
use hiendien_render::variants;
use serde_json::Value;

/// How much the owner has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// The template's own sample.
    Sample,
    /// Only what no site can be without.
    Minimal,
    /// Long words, long texts, long lists.
    Long,
}

impl Variant {
    pub const ALL: [Self; 3] = [Self::Sample, Self::Minimal, Self::Long];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Minimal => "minimal",
            Self::Long => "long",
        }
    }
}

/// The content of `variant` for a template.
pub fn content(templates: &Path, template: &str, variant: Variant) -> anyhow::Result<SiteContent> {
    let sample = hiendien_render::template::sample(templates, template)?;
    Ok(match variant {
        Variant::Sample => sample,
        Variant::Minimal => variants::minimal(&sample),
        Variant::Long => variants::long(&sample),
    })
}

/// The same content at another host name.
pub fn at_host(content: &SiteContent, host: &str) -> anyhow::Result<SiteContent> {
    let mut content = content.clone();
    let site = content.site_mut();
    site.host = host.parse()?;
    host.clone_into(&mut site.host_unicode);
    site.email = format!("lienhe@{host}").parse()?;
    Ok(content)
}

/// Content from its JSON form; what its types refuse is refused.
pub fn read(value: &Value) -> serde_json::Result<SiteContent> {
    serde_json::from_value(value.clone())
}

/// JSON pointers of all members and items, parents first.
pub fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        let mut go = |key: &str, child: &Value| {
            let pointer = format!("{at}/{key}");
            found.push(pointer.clone());
            walk(child, &pointer, found);
        };
        match value {
            Value::Object(members) => members.iter().for_each(|(key, child)| go(key, child)),
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate() {
                    go(&index.to_string(), child);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// Sets what lies at a pointer, if it is still there, and returns what it was.
pub fn put(value: &mut Value, pointer: &str, new: Value) -> Option<Value> {
    value
        .pointer_mut(pointer)
        .map(|place| std::mem::replace(place, new))
}
