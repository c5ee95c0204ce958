//! The words of the interface in one language: `_common/text.{vi,en}.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Words(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    One(String),
    List(Vec<String>),
}

impl Words {
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Empty where there is no such word: a page without it is better than none.
    pub(crate) fn get(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Entry::One(word)) => word,
            _ => "",
        }
    }

    /// With `{name}` replaced.
    pub(crate) fn filled(&self, word: &str, name: &str, value: &str) -> String {
        self.get(word).replace(&format!("{{{name}}}"), value)
    }
}
