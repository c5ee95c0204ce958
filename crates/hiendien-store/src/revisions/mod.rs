//! Revisions of sites, content-addressed: within a presence every sequence of octets is kept once,
//! under its SHA-256, and a revision is a manifest that names octets.
//!
//! Nothing is shared between presences: erasing one never touches another, and nobody can tell by
//! the time a build takes what another has. Octets are written first and their manifest last, so
//! that a revision is there whole or not at all. Whoever adds to a presence or takes from it is the
//! only one who does.
//!
//! The same layout lies in a folder or in a bucket ([`crate::pieces`]); what a revision is, is
//! written here once. Within a presence `blobs/HASH` are octets, `revisions/HASH.json` what a
//! revision is made of, `unnamed.json` what no revision names.

mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{BlobHash, FileTree, RevisionHash, SiteFile};
use hiendien_engine::clock::Clock;
use hiendien_engine::ports::{
    Blob, Damage, DamageFault, Keeping, Origin, PortError, Revision, RevisionPart, RevisionShelf,
    SiteStore, Tidied,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pieces::{
    Bucket, Folder, Found, Hold, Piece, Pieces, S3Error, S3Settings, Wait, Writing,
};
use manifest::{Manifest, ManifestError};

/// What the places call it when something fails.
const WHAT: &str = "the revisions";
const BLOBS: &str = "blobs";
const REVISIONS: &str = "revisions";
const UNNAMED: &str = "unnamed.json";

/// Pieces read at once.
const READ_AT_ONCE: usize = 16;
/// Revisions, and octets, that one round takes away.
const TAKEN_MAX: usize = 200;
/// Revisions of the former format that one round brings into this one.
const CONVERTED_MAX: usize = 20;

/// The [`SiteStore`] and [`RevisionShelf`] ports over a folder or a bucket.
#[derive(Debug, Clone)]
pub struct Revisions {
    pieces: Arc<dyn Pieces>,
}

/// Since when no revision names these octets.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Unnamed(BTreeMap<BlobHash, Timestamp>);

fn blob_name(hash: &BlobHash) -> String {
    format!("{BLOBS}/{hash}")
}

fn manifest_name(revision: &RevisionHash) -> String {
    format!("{REVISIONS}/{revision}.json")
}

fn busy(action: &str) -> PortError {
    PortError::transient(
        action,
        "another adds to this presence's revisions or takes from them",
    )
}

impl Revisions {
    /// Uses the folder `root`, made where there is none.
    pub fn in_folder(root: &Path) -> io::Result<Self> {
        Ok(Self {
            pieces: Arc::new(Folder::open(root, WHAT)?),
        })
    }

    /// Uses a bucket, which must be there. Asks nothing yet.
    pub fn in_bucket(settings: &S3Settings, clock: Arc<dyn Clock>) -> Result<Self, S3Error> {
        Ok(Self {
            pieces: Arc::new(Bucket::open(settings, "", WHAT, clock)?),
        })
    }

    async fn held(&self, presence: PresenceId, action: &str) -> Result<Box<dyn Hold>, PortError> {
        let hold = self.pieces.hold(presence, Wait::Bounded).await?;
        hold.ok_or_else(|| busy(action))
    }

    /// `None` where the revision is not kept in this format.
    async fn manifest(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Manifest>, PortError> {
        let Some(json) = self.pieces.get(presence, &manifest_name(revision)).await? else {
            return Ok(None);
        };
        Manifest::read(&json, revision).map(Some).map_err(|error| {
            let action = format!("reading what revision `{revision}` is made of");
            match error {
                ManifestError::Newer(_) => PortError::misconfigured(action, error),
                error => PortError::transient(action, error),
            }
        })
    }

    /// In this format or the former one.
    async fn described(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Manifest>, PortError> {
        if let Some(manifest) = self.manifest(presence, revision).await? {
            return Ok(Some(manifest));
        }
        let former = self.pieces.former(presence, revision).await?;
        Ok(former.map(|former| Manifest::of(&former.tree, former.built_at, None).0))
    }

    /// Octets as they were written, `None` where they are missing or not so.
    async fn sound(
        &self,
        presence: PresenceId,
        blob: &Blob,
    ) -> Result<Result<Vec<u8>, DamageFault>, PortError> {
        let found = self.pieces.get(presence, &blob_name(&blob.sha256)).await?;
        Ok(match found {
            None => Err(DamageFault::Missing),
            Some(octets) if BlobHash::of(&octets) == blob.sha256 => Ok(octets),
            Some(_) => Err(DamageFault::Changed),
        })
    }

    /// A compressed form, `None` where there is none or it is not as it was written.
    async fn sound_form(
        &self,
        presence: PresenceId,
        blob: Option<&Blob>,
    ) -> Result<Option<Vec<u8>>, PortError> {
        match blob {
            None => Ok(None),
            Some(blob) => Ok(self.sound(presence, blob).await?.ok()),
        }
    }

    async fn looked_at(
        &self,
        presence: PresenceId,
        (path, part, blob): (String, RevisionPart, Blob),
    ) -> Result<(String, RevisionPart, Result<Vec<u8>, DamageFault>), PortError> {
        Ok((path, part, self.sound(presence, &blob).await?))
    }

    async fn read(
        &self,
        presence: PresenceId,
        revision: RevisionHash,
    ) -> (RevisionHash, Result<Option<Manifest>, PortError>) {
        let manifest = self.manifest(presence, &revision).await;
        (revision, manifest)
    }

    /// Writes what is missing of a tree, and its manifest. The caller holds the presence.
    async fn write(
        &self,
        presence: PresenceId,
        manifest: &Manifest,
        octets: manifest::Octets,
    ) -> Result<(), PortError> {
        let there: BTreeMap<String, u64> = self
            .pieces
            .list(presence, BLOBS)
            .await?
            .into_iter()
            .map(|found| (found.name, found.bytes))
            .collect();
        let looks = octets.into_iter().map(|(sha256, octets)| {
            let size = there.get(sha256.as_str()).copied();
            self.missing(presence, sha256, octets, size)
        });
        let missing: Vec<Option<Piece>> = stream::iter(looks)
            .buffer_unordered(READ_AT_ONCE)
            .try_collect()
            .await?;
        let missing: Vec<Piece> = missing.into_iter().flatten().collect();
        if !missing.is_empty() {
            self.pieces.put(presence, missing).await?;
        }
        self.write_manifest(presence, manifest).await
    }

    /// The piece to be written for these octets, `None` where they are there as they should be. `size`
    /// is that of what is there.
    async fn missing(
        &self,
        presence: PresenceId,
        sha256: BlobHash,
        octets: Bytes,
        size: Option<u64>,
    ) -> Result<Option<Piece>, PortError> {
        let bytes = octets.len() as u64;
        let name = blob_name(&sha256);
        let writing = match size {
            None => Writing::Once,
            // What is there may have rotted, and this is when it is mended.
            Some(size) if size == bytes => {
                let blob = Blob { sha256, bytes };
                match self.sound(presence, &blob).await? {
                    Ok(_) => return Ok(None),
                    Err(_) => Writing::Over,
                }
            }
            Some(_) => Writing::Over,
        };
        Ok(Some(Piece {
            name,
            octets,
            writing,
        }))
    }

    async fn write_manifest(
        &self,
        presence: PresenceId,
        manifest: &Manifest,
    ) -> Result<(), PortError> {
        let json = manifest
            .to_json()
            .map_err(|error| PortError::misconfigured("describing a revision", error))?;
        let piece = Piece::over(manifest_name(&manifest.revision), json);
        self.pieces.put(presence, vec![piece]).await
    }

    async fn unnamed(&self, presence: PresenceId) -> Result<Unnamed, PortError> {
        let json = self.pieces.get(presence, UNNAMED).await?;
        // One that cannot be read is begun anew: what it would have taken away stays longer.
        Ok(json
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default())
    }

    /// Brings revisions of the former format into this one.
    async fn convert(&self, presence: PresenceId) -> Result<(), PortError> {
        let formers = self.pieces.formers(presence).await?;
        for revision in formers.into_iter().take(CONVERTED_MAX) {
            if self.manifest(presence, &revision).await?.is_none()
                && let Some(former) = self.pieces.former(presence, &revision).await?
            {
                let (manifest, octets) = Manifest::of(&former.tree, former.built_at, None);
                if manifest.revision != revision {
                    // Damaged: it stays as it is, for a person or a repair.
                    continue;
                }
                self.write(presence, &manifest, octets).await?;
            }
            self.pieces.remove_former(presence, &revision).await?;
        }
        Ok(())
    }

    async fn tidy_held(
        &self,
        presence: PresenceId,
        keeping: &Keeping,
        hold: &dyn Hold,
    ) -> Result<Tidied, PortError> {
        self.pieces.clear(presence).await?;
        self.convert(presence).await?;
        let mut kept = Vec::new();
        // What cannot be read may name anything.
        let mut all_are_read = true;
        let found = self.pieces.list(presence, REVISIONS).await?;
        let revisions: Vec<RevisionHash> = found.iter().filter_map(revision_of).collect();
        let read = revisions
            .into_iter()
            .map(|revision| self.read(presence, revision));
        let read: Vec<_> = stream::iter(read)
            .buffer_unordered(READ_AT_ONCE)
            .collect()
            .await;
        for (revision, manifest) in read {
            match manifest {
                Ok(Some(manifest)) => kept.push(manifest),
                Ok(None) => {}
                Err(error) => {
                    all_are_read = false;
                    tracing::warn!(
                        presence.id = %presence, %revision, error = %hiendien_engine::ports::ErrorChain(&error),
                        "a revision cannot be read, so nothing it may name is taken away"
                    );
                }
            }
        }
        kept.sort_by(|left, right| {
            (right.kept_at, &right.revision).cmp(&(left.kept_at, &left.revision))
        });
        let rules = &keeping.rules;
        let expendable: Vec<RevisionHash> = kept
            .iter()
            .skip(rules.last)
            .filter(|manifest| {
                let age = keeping.now.duration_since(manifest.kept_at);
                let is_old = !age.is_negative() && age.unsigned_abs() >= rules.younger_than;
                is_old && !keeping.named.contains(&manifest.revision)
            })
            .map(|manifest| manifest.revision.clone())
            .take(TAKEN_MAX)
            .collect();
        let mut tidied = Tidied::default();
        if !expendable.is_empty() && hold.lasts() {
            let names = expendable.iter().map(manifest_name).collect();
            self.pieces.remove(presence, names).await?;
            tidied.revisions = expendable.len();
            kept.retain(|manifest| !expendable.contains(&manifest.revision));
        }
        if all_are_read && hold.lasts() {
            tidied.blobs = self.take_unnamed(presence, keeping, hold, &kept).await?;
        }
        Ok(tidied)
    }

    /// Takes octets away that no revision has named for the time of grace.
    async fn take_unnamed(
        &self,
        presence: PresenceId,
        keeping: &Keeping,
        hold: &dyn Hold,
        kept: &[Manifest],
    ) -> Result<usize, PortError> {
        let named: BTreeSet<BlobHash> = kept.iter().flat_map(Manifest::names).collect();
        let before = self.unnamed(presence).await?;
        let mut unnamed = Unnamed::default();
        let mut taken = Vec::new();
        for found in self.pieces.list(presence, BLOBS).await? {
            let Ok(hash) = found.name.parse::<BlobHash>() else {
                continue;
            };
            if named.contains(&hash) {
                continue;
            }
            let since = before.0.get(&hash).copied().unwrap_or(keeping.now);
            let age = keeping.now.duration_since(since);
            let is_over = !age.is_negative() && age.unsigned_abs() >= keeping.rules.grace;
            if is_over && taken.len() < TAKEN_MAX && before.0.contains_key(&hash) {
                taken.push(blob_name(&hash));
            } else {
                unnamed.0.insert(hash, since);
            }
        }
        let count = taken.len();
        if count > 0 {
            if !hold.lasts() {
                return Ok(0);
            }
            self.pieces.remove(presence, taken).await?;
        }
        if unnamed != before {
            let json = serde_json::to_vec(&unnamed).map_err(|error| {
                PortError::misconfigured("noting what no revision names", error)
            })?;
            let piece = Piece::over(UNNAMED.to_owned(), json);
            self.pieces.put(presence, vec![piece]).await?;
        }
        Ok(count)
    }
}

fn revision_of(found: &Found) -> Option<RevisionHash> {
    found.name.strip_suffix(".json")?.parse().ok()
}

#[async_trait]
impl SiteStore for Revisions {
    async fn put_revision(
        &self,
        presence: PresenceId,
        tree: &FileTree,
        origin: &Origin,
    ) -> Result<RevisionHash, PortError> {
        let action = "writing a revision";
        let hold = self.held(presence, action).await?;
        let (manifest, octets) = Manifest::of(tree, origin.built_at, Some(origin));
        let written = async {
            self.pieces.clear(presence).await?;
            self.write(presence, &manifest, octets).await
        }
        .await;
        // After it another may have begun to take away what this one relies on.
        let lasted = hold.lasts();
        hold.let_go().await;
        written?;
        if !lasted {
            return Err(PortError::transient(
                action,
                "it took longer than its lease",
            ));
        }
        Ok(manifest.revision)
    }

    async fn revisions(&self, presence: PresenceId) -> Result<Vec<RevisionHash>, PortError> {
        let found = self.pieces.list(presence, REVISIONS).await?;
        let mut revisions: BTreeSet<RevisionHash> = found.iter().filter_map(revision_of).collect();
        revisions.extend(self.pieces.formers(presence).await?);
        Ok(revisions.into_iter().collect())
    }

    async fn remove_revisions(&self, presence: PresenceId) -> Result<(), PortError> {
        self.pieces.erase(presence, Some(REVISIONS)).await
    }

    async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<SiteFile>, PortError> {
        let action = || format!("reading `{path}` of revision `{revision}`");
        let Some(manifest) = self.manifest(presence, revision).await? else {
            let former = self.pieces.former(presence, revision).await?;
            let former = former
                .ok_or_else(|| PortError::transient(action(), "the revision is not there"))?;
            return Ok(former.tree.get(path).cloned());
        };
        let Some(entry) = manifest.files.get(path) else {
            return Ok(None);
        };
        let (identity, gzip, brotli) = future::try_join3(
            self.sound(presence, &entry.identity),
            self.sound_form(presence, entry.gzip.as_ref()),
            self.sound_form(presence, entry.brotli.as_ref()),
        )
        .await?;
        let identity = identity.map_err(|fault| {
            let told = match fault {
                DamageFault::Missing => "its octets are missing: ask `repair`",
                DamageFault::Changed => "its octets are damaged: ask `repair`",
            };
            PortError::transient(action(), told)
        })?;
        Ok(Some(SiteFile {
            media_type: entry.media_type.clone(),
            identity,
            gzip,
            brotli,
        }))
    }
}

#[async_trait]
impl RevisionShelf for Revisions {
    async fn revision(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Revision>, PortError> {
        let found = self.described(presence, revision).await?;
        Ok(found.map(Revision::from))
    }

    async fn content(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Option<Vec<u8>>, PortError> {
        let manifest = self.manifest(presence, revision).await?;
        match manifest.and_then(|manifest| manifest.content) {
            None => Ok(None),
            Some(blob) => Ok(self.sound(presence, &blob).await?.ok()),
        }
    }

    async fn keep(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        if self.described(presence, revision).await?.is_none() {
            return Ok(false);
        }
        let hold = self.held(presence, "keeping a revision").await?;
        let kept = async {
            // It may have gone before it was held.
            match self.manifest(presence, revision).await? {
                Some(mut manifest) => {
                    manifest.kept_at = manifest.kept_at.max(now);
                    self.write_manifest(presence, &manifest).await?;
                    Ok(true)
                }
                // In the former format nothing is ever taken away.
                None => Ok(self.pieces.former(presence, revision).await?.is_some()),
            }
        }
        .await;
        hold.let_go().await;
        kept
    }

    async fn damage(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
    ) -> Result<Vec<Damage>, PortError> {
        let of_manifest = |fault| {
            vec![Damage {
                path: String::new(),
                part: RevisionPart::Manifest,
                fault,
            }]
        };
        let name = manifest_name(revision);
        let manifest = match self.pieces.get(presence, &name).await? {
            None => match self.pieces.former(presence, revision).await {
                Ok(Some(former)) if former.tree.revision() == *revision => return Ok(Vec::new()),
                Ok(None) => return Ok(of_manifest(DamageFault::Missing)),
                // A piece of it is not there, or not as it was.
                Ok(Some(_)) | Err(_) => return Ok(of_manifest(DamageFault::Changed)),
            },
            Some(json) => match Manifest::read(&json, revision) {
                Ok(manifest) => manifest,
                Err(error @ ManifestError::Newer(_)) => {
                    return Err(PortError::misconfigured("checking a revision", error));
                }
                Err(_) => return Ok(of_manifest(DamageFault::Changed)),
            },
        };
        let mut parts: Vec<(String, RevisionPart, Blob)> = Vec::new();
        for (path, entry) in &manifest.files {
            for (part, blob) in [
                (RevisionPart::Identity, Some(&entry.identity)),
                (RevisionPart::Gzip, entry.gzip.as_ref()),
                (RevisionPart::Brotli, entry.brotli.as_ref()),
            ] {
                parts.extend(blob.map(|blob| (path.clone(), part, blob.clone())));
            }
        }
        if let Some(blob) = &manifest.content {
            parts.push((String::new(), RevisionPart::Content, blob.clone()));
        }
        let looks = parts.into_iter().map(|part| self.looked_at(presence, part));
        let looks: Vec<_> = stream::iter(looks)
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        let mut damage = Vec::new();
        let mut tree = FileTree::default();
        for (path, part, octets) in looks {
            match octets {
                Err(fault) => damage.push(Damage { path, part, fault }),
                Ok(identity) if part == RevisionPart::Identity => {
                    let media_type = manifest.files[&path].media_type.clone();
                    let file = SiteFile {
                        media_type,
                        identity,
                        gzip: None,
                        brotli: None,
                    };
                    if tree.insert(&path, file).is_err() {
                        return Ok(of_manifest(DamageFault::Changed));
                    }
                }
                Ok(_) => {}
            }
        }
        let all_there = damage
            .iter()
            .all(|damage| damage.part != RevisionPart::Identity);
        // The name of a revision is the hash of all of it: the manifest is held to it as well.
        if all_there && tree.revision() != *revision {
            return Ok(of_manifest(DamageFault::Changed));
        }
        Ok(damage)
    }

    async fn tidy(&self, presence: PresenceId, keeping: &Keeping) -> Result<Tidied, PortError> {
        let (revisions, keeping) = (self.clone(), keeping.clone());
        // Whoever stops waiting must not end the hold while something is still being taken away.
        let tidied = tokio::spawn(async move {
            let Some(hold) = revisions.pieces.hold(presence, Wait::No).await? else {
                return Ok(Tidied::default());
            };
            let tidied = revisions.tidy_held(presence, &keeping, &*hold).await;
            hold.let_go().await;
            tidied
        });
        let tidied = tidied.await;
        tidied.map_err(|error| PortError::transient("taking old revisions away", error))?
    }
}

#[cfg(test)]
mod tests;
