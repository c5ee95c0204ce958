//! What a revision is made of, as it is written down: the hash of every form of every file.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hiendien_domain::ids::OperationId;
use hiendien_domain::site::{BlobHash, FileTree, RevisionHash};
use hiendien_engine::ports::{Blob, Origin, Revision, RevisionFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The format written and the only one read under this name.
const VERSION: u32 = 1;

/// A manifest file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    pub(super) revision: RevisionHash,
    pub(super) built_at: Timestamp,
    /// When it was last made as young as new; its age counts from here.
    pub(super) kept_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<OperationId>,
    /// JSON of what it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Blob>,
    pub(super) files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) media_type: String,
    pub(super) identity: Blob,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gzip: Option<Blob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) brotli: Option<Blob>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("the manifest is of version {0}, this program reads {VERSION}: use a newer program")]
    Newer(u32),
    #[error("the manifest is damaged")]
    Damaged(#[source] serde_json::Error),
    #[error("the manifest is that of revision `{0}`")]
    Other(RevisionHash),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The octets of a tree by their hash, each once.
pub(super) type Octets = BTreeMap<BlobHash, Bytes>;

fn blob(octets: &[u8], all: &mut Octets) -> Blob {
    let sha256 = BlobHash::of(octets);
    all.entry(sha256.clone())
        .or_insert_with(|| Bytes::copy_from_slice(octets));
    Blob {
        sha256,
        bytes: octets.len() as u64,
    }
}

impl Manifest {
    /// Describes a tree, and gives the octets that it names.
    pub(super) fn of(
        tree: &FileTree,
        built_at: Timestamp,
        origin: Option<&Origin>,
    ) -> (Self, Octets) {
        let mut octets = Octets::new();
        let mut files = BTreeMap::new();
        for (path, file) in tree.iter() {
            let entry = Entry {
                media_type: file.media_type.clone(),
                identity: blob(&file.identity, &mut octets),
                gzip: file.gzip.as_ref().map(|form| blob(form, &mut octets)),
                brotli: file.brotli.as_ref().map(|form| blob(form, &mut octets)),
            };
            files.insert(path.to_owned(), entry);
        }
        let manifest = Self {
            version: VERSION,
            revision: tree.revision(),
            built_at,
            kept_at: built_at,
            template: origin.map(|origin| origin.template.clone()),
            operation: origin.map(|origin| origin.operation),
            content: origin.map(|origin| blob(&origin.content, &mut octets)),
            files,
        };
        (manifest, octets)
    }

    pub(super) fn read(json: &[u8], revision: &RevisionHash) -> Result<Self, ManifestError> {
        let Version { version } = serde_json::from_slice(json).map_err(ManifestError::Damaged)?;
        if version > VERSION {
            return Err(ManifestError::Newer(version));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(ManifestError::Damaged)?;
        if manifest.revision != *revision {
            return Err(ManifestError::Other(manifest.revision));
        }
        Ok(manifest)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The hashes of all it names.
    pub(super) fn names(&self) -> BTreeSet<BlobHash> {
        let forms = self.files.values().flat_map(|entry| {
            [
                Some(&entry.identity),
                entry.gzip.as_ref(),
                entry.brotli.as_ref(),
            ]
        });
        let all = forms.chain([self.content.as_ref()]);
        all.flatten().map(|blob| blob.sha256.clone()).collect()
    }
}

impl From<Manifest> for Revision {
    fn from(manifest: Manifest) -> Self {
        let file = |entry: Entry| RevisionFile {
            media_type: entry.media_type,
            identity: entry.identity,
            gzip: entry.gzip,
            brotli: entry.brotli,
        };
        Self {
            hash: manifest.revision,
            built_at: manifest.built_at,
            template: manifest.template,
            operation: manifest.operation,
            files: manifest
                .files
                .into_iter()
                .map(|(path, entry)| (path, file(entry)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_manifest_is_refused_by_its_version_alone() {
        let tree = FileTree::default();
        let (manifest, _) = Manifest::of(&tree, Timestamp::UNIX_EPOCH, None);
        let json = manifest.to_json().unwrap();
        assert_eq!(Manifest::read(&json, &tree.revision()).unwrap(), manifest);
        let newer = String::from_utf8(json).unwrap();
        let newer = newer.replace("\"version\":1", "\"version\":2,\"more\":true");
        let refused = Manifest::read(newer.as_bytes(), &tree.revision());
        assert!(
            matches!(refused, Err(ManifestError::Newer(2))),
            "{refused:?}"
        );
    }
}
