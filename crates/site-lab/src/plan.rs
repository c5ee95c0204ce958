//! What a program outside is told of sites that are served.

use std::net::IpAddr;

use hiendien_domain::site::FileTree;
use serde_json::{Value, json};

use crate::serve::Served;

/// A site to serve.
#[derive(Debug)]
pub struct Site {
    pub template: String,
    pub content: String,
    pub tree: FileTree,
    /// What else is told of it; a text where it could not be rendered.
    pub note: Value,
}

/// The name a site answers to.
pub fn host(template: &str, content: &str) -> String {
    format!("mau-{template}-{content}.biz.vn")
}

/// The sites with their files, where they are, and the key to trust.
pub fn plan(sites: Vec<Site>, address: IpAddr) -> anyhow::Result<(Served, Value)> {
    let told: Vec<Value> = sites.iter().map(describe).collect();
    let trees: Vec<_> = sites
        .into_iter()
        .map(|site| Ok((host(&site.template, &site.content).parse()?, site.tree)))
        .collect::<anyhow::Result<_>>()?;
    let served = Served::new(trees)?;
    let plan = json!({ "address": address, "key_pin": served.key_pin, "sites": told });
    Ok((served, plan))
}

fn describe(site: &Site) -> Value {
    let files: Vec<Value> = site
        .tree
        .iter()
        .map(|(path, file)| {
            json!({ "path": path, "type": file.media_type, "bytes": file.identity.len() })
        })
        .collect();
    json!({
        "template": site.template,
        "content": site.content,
        "host": host(&site.template, &site.content),
        "revision": site.tree.revision().as_str(),
        "files": files,
        "note": site.note,
    })
}
