//! A built site: files, and the hash that names the whole.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// One file as the edge serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// Media type with charset, such as `text/html; charset=utf-8`.
    pub media_type: String,
    pub identity: Vec<u8>,
    /// Compressed forms; absent where compression does not pay.
    pub gzip: Option<Vec<u8>>,
    pub brotli: Option<Vec<u8>>,
}

/// All files of a site by path: relative, `/`-separated, no empty, `.` or `..` segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTree {
    files: BTreeMap<String, SiteFile>,
}

/// A path that a file tree does not take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a site path: use relative segments of letters, digits, `-`, `_`, `.`, none of them `.` or `..`"
)]
pub struct SitePathError(pub String);

impl FileTree {
    pub fn insert(&mut self, path: &str, file: SiteFile) -> Result<(), SitePathError> {
        let segment = |text: &str| {
            !text.is_empty()
                && text != "."
                && text != ".."
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        if path.len() <= 255 && path.split('/').all(segment) {
            self.files.insert(path.to_owned(), file);
            Ok(())
        } else {
            Err(SitePathError(path.to_owned()))
        }
    }

    pub fn get(&self, path: &str) -> Option<&SiteFile> {
        self.files.get(path)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &SiteFile)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Size of the uncompressed files, bytes.
    pub fn identity_bytes(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.identity.len() as u64)
            .sum()
    }

    /// Names the tree by its content: equal trees have equal hashes, on every machine.
    /// Compressed forms do not count, since they follow from the identity form.
    pub fn revision(&self) -> RevisionHash {
        let mut hash = Sha256::new();
        for (path, file) in &self.files {
            for part in [path.as_bytes(), file.media_type.as_bytes(), &file.identity] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        RevisionHash(hex(&hash.finalize()))
    }
}

/// Lower-case hexadecimal of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

/// SHA-256 of a file tree, 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevisionHash(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a revision: it has 64 lower-case hexadecimal digits")]
pub struct RevisionHashError(pub String);

impl RevisionHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RevisionHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RevisionHash {
    type Err = RevisionHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 64
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(RevisionHashError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RevisionHash {
    type Error = RevisionHashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RevisionHash> for String {
    fn from(hash: RevisionHash) -> Self {
        hash.0
    }
}
