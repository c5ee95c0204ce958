//! Hostile text through every field of the content model.
//!
//! Fields are found by walking a value, so a new one is covered without being named here. A field whose type or whose
//! use in a page refuses text that is not of its grammar is closed; all others take each text of the corpus.

use anyhow::Context as _;
use hiendien_domain::content::SiteContent;
use hiendien_domain::site::FileTree;
use hiendien_render::{Template, render};
use serde_json::Value;

use crate::content::{pointers, put, read};

/// Texts in the shape of real attacks. All call `hdCanary` or `canary.invalid` if they are taken for more than text.
const CORPUS: &str = include_str!("corpus.json");
/// A field that takes this takes any text.
const TRIAL: &str = "a <b>\"'&`{{c}}\u{1} b";

/// The corpus.
pub fn texts() -> anyhow::Result<Vec<String>> {
    Ok(serde_json::from_str(CORPUS)?)
}

/// The text that a field has in the site `number` of those in which each field has another. Neighbours in the corpus,
/// which belong together, do not meet in neighbouring fields.
pub fn mixed(texts: &[String], field: usize, number: usize) -> &str {
    const STRIDE: usize = 7;
    const TURN: usize = 13;
    &texts[(field * STRIDE + number * TURN) % texts.len()]
}

/// What the fields of some content are like.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fields {
    /// JSON pointers of those that take any text.
    pub open: Vec<String>,
    /// Of those whose type refuses it.
    pub refused_by_type: Vec<String>,
    /// Of those that the renderer refuses it in.
    pub refused_by_renderer: Vec<String>,
}

/// Tries each field of a content in a template.
pub fn fields(template: &Template, content: &SiteContent) -> anyhow::Result<Fields> {
    let own = serde_json::to_value(content)?;
    let mut fields = Fields::default();
    let mut tried = Vec::new();
    for pointer in pointers(&own) {
        let Some(old) = own.pointer(&pointer) else {
            continue;
        };
        if !(old.is_string() || old.is_null()) {
            continue;
        }
        let mut value = own.clone();
        put(&mut value, &pointer, TRIAL.into());
        match read(&value) {
            Ok(_) => tried.push((pointer, TRIAL.to_owned())),
            // An absent member that is not a text.
            Err(_) if old.is_null() => {}
            Err(_) => fields.refused_by_type.push(pointer),
        }
    }
    let mut value = own;
    settle(
        template,
        &mut value,
        &tried,
        &mut fields.refused_by_renderer,
    )?;
    fields.open = tried.into_iter().map(|(pointer, _)| pointer).collect();
    fields
        .open
        .retain(|pointer| !fields.refused_by_renderer.contains(pointer));
    Ok(fields)
}

/// A site whose open fields hold hostile text.
#[derive(Debug)]
pub struct Hostile {
    pub tree: FileTree,
    /// Fields that the renderer refused their text in; they keep their own words.
    pub refused: Vec<String>,
}

/// Fills each open field with what `text` says for it, and renders.
pub fn fill(
    template: &Template,
    content: &SiteContent,
    fields: &[String],
    text: impl Fn(usize) -> String,
) -> anyhow::Result<Hostile> {
    let mut value = serde_json::to_value(content)?;
    let texts: Vec<(String, String)> = fields
        .iter()
        .enumerate()
        .map(|(index, pointer)| (pointer.clone(), text(index)))
        .collect();
    let mut refused = Vec::new();
    settle(template, &mut value, &texts, &mut refused)?;
    let tree = render(template, &read(&value)?).context("what was rendered renders again")?;
    Ok(Hostile { tree, refused })
}

/// Puts the texts into their fields, and leaves out those with which the site is refused: halves are tried while a
/// whole is refused.
fn settle(
    template: &Template,
    value: &mut Value,
    texts: &[(String, String)],
    refused: &mut Vec<String>,
) -> anyhow::Result<()> {
    let before = value.clone();
    for (pointer, text) in texts {
        put(value, pointer, text.as_str().into());
    }
    if read(value).is_ok_and(|content| render(template, &content).is_ok()) {
        return Ok(());
    }
    *value = before;
    if let [(pointer, _)] = texts {
        refused.push(pointer.clone());
        return Ok(());
    }
    let (first, second) = texts.split_at(texts.len() / 2);
    settle(template, value, first, refused)?;
    settle(template, value, second, refused)
}
