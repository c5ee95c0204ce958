//! A built site: files, and the hash that names the whole.

use std::collections::{BTreeMap, btree_map};
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

impl IntoIterator for FileTree {
    type Item = (String, SiteFile);
    type IntoIter = btree_map::IntoIter<String, SiteFile>;

    fn into_iter(self) -> Self::IntoIter {
        self.files.into_iter()
    }
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

macro_rules! sha256_name {
    ($(#[$doc:meta])* $name:ident, $error:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        #[derive(Debug, Clone, PartialEq, Eq, Error)]
        #[error("`{0}` is not {what}: it has 64 lower-case hexadecimal digits", what = $what)]
        pub struct $error(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if text.len() == 64 && text.bytes().all(is_digit) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($error(text.to_owned()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(hash: $name) -> Self {
                hash.0
            }
        }
    };
}

sha256_name!(
    /// SHA-256 of a file tree, 64 lower-case hexadecimal digits.
    RevisionHash,
    RevisionHashError,
    "a revision"
);
sha256_name!(
    /// SHA-256 of octets, 64 lower-case hexadecimal digits.
    BlobHash,
    BlobHashError,
    "the hash of a file"
);

impl BlobHash {
    pub fn of(octets: &[u8]) -> Self {
        Self(hex(&Sha256::digest(octets)))
    }
}
