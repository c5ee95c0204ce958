//! Compares what a presence is meant to be with what the servers show. It changes nothing: where they
//! differ, a `repair` is asked, which holds the presence's one operation while it works.

use std::time::Duration;

use hiendien_domain::lifecycle::{Plane, Standing};
use hiendien_domain::records::{RecordData, RecordKind, ZoneInputs, ZoneStage, presence_zone};
use hiendien_domain::site::RevisionHash;
use serde::{Deserialize, Serialize};

use crate::ports::{ErrorChain, FileProof, PortError, Revision};
use crate::presence::Presence;
use crate::step::Ports;
use crate::verbs::shared::site_service;

/// Bound of one look at one plane.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Files compared at one look, beside the front page, and the largest of them.
const FILES_AT_ONCE: usize = 4;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Looks that are this far apart compare other files.
const LOOK_APART_SECS: u64 = 60;

/// What a plane does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub plane: Plane,
    pub found: String,
}

/// Asks about every plane of a presence at once; empty when all is as it is meant to be.
pub async fn observe(ports: &Ports, presence: &Presence) -> Vec<Drift> {
    let (zone, site, mail) = tokio::join!(
        bounded(zone(ports, presence)),
        bounded(site(ports, presence)),
        bounded(mail(ports, presence)),
    );
    [(Plane::Dns, zone), (Plane::Site, site), (Plane::Mail, mail)]
        .into_iter()
        .filter_map(|(plane, found)| {
            let error = found.err()?;
            let found = ErrorChain(&error).to_string();
            Some(Drift { plane, found })
        })
        .collect()
}

async fn bounded(look: impl Future<Output = Result<(), PortError>>) -> Result<(), PortError> {
    match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(found) => found,
        Err(elapsed) => Err(PortError::transient("looking at the servers", elapsed)),
    }
}

/// Every name server answers, the parent delegates to them, and the addresses are ours.
async fn zone(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let apex = &presence.plan.name;
    ports.probes.zone(apex, 0).await?;
    let inputs = ZoneInputs {
        apex,
        issuers: &[],
        dkim: &[],
        stage: ZoneStage::Complete,
    };
    let wanted = presence_zone(inputs, &ports.platform);
    for rrset in &wanted.rrsets {
        let kind = rrset.records.first().map(RecordData::kind);
        let is_address = matches!(
            kind,
            Some(RecordKind::A | RecordKind::Aaaa | RecordKind::Mx)
        );
        if is_address && rrset.owner == *apex {
            ports.probes.rrset(apex, rrset).await?;
        }
    }
    Ok(())
}

async fn site(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let apex = &presence.plan.name;
    match presence.standing {
        Standing::Suspended | Standing::Expired => {
            let service = site_service(presence.standing);
            ports.probes.site_stopped(apex, service).await
        }
        _ => {
            let revision = presence.revision.as_ref().ok_or_else(|| {
                PortError::misconfigured("telling which revision is served", "none is published")
            })?;
            ports.probes.site(apex, revision.as_str()).await?;
            files(ports, presence, revision).await
        }
    }
}

/// Some files of the served revision, others at each look: they are kept as they were written, and an
/// outsider gets them so.
async fn files(
    ports: &Ports,
    presence: &Presence,
    revision: &RevisionHash,
) -> Result<(), PortError> {
    let action = "comparing what is served with the revision";
    let kept = ports.shelf.revision(presence.id, revision).await?;
    let kept = kept.ok_or_else(|| {
        PortError::transient(action, format!("revision `{revision}` is not there"))
    })?;
    let looks = u64::try_from(ports.clock.now().as_second()).unwrap_or_default() / LOOK_APART_SECS;
    let sample = sample(&kept, looks);
    for file in &sample {
        let read = ports.sites.file(presence.id, revision, &file.path).await?;
        if read.is_none() {
            let told = format!("`{}` is not there", file.path);
            return Err(PortError::transient(action, told));
        }
    }
    ports.probes.site_files(&presence.plan.name, &sample).await
}

/// The front page, and so many other files that all have their turn.
fn sample(revision: &Revision, looks: u64) -> Vec<FileProof> {
    let (front, others): (Vec<_>, Vec<_>) = revision
        .files
        .iter()
        .filter(|(_, file)| file.identity.bytes <= FILE_BYTES_MAX)
        .partition(|(path, _)| *path == "index.html");
    let from = usize::try_from(looks % others.len().max(1) as u64).unwrap_or_default();
    let from = from * FILES_AT_ONCE % others.len().max(1);
    let turn = others.iter().cycle().skip(from);
    let turn = turn.take(FILES_AT_ONCE.min(others.len()));
    front
        .iter()
        .chain(turn)
        .map(|(path, file)| FileProof {
            path: (*path).clone(),
            sha256: file.identity.sha256.clone(),
        })
        .collect()
}

/// The mail exchanger takes mail for every mailbox; where the standing allows it, a message goes round.
async fn mail(ports: &Ports, presence: &Presence) -> Result<(), PortError> {
    let plan = &presence.plan;
    for mailbox in &plan.mailboxes {
        let address = mailbox.at(&plan.name);
        match presence.standing {
            Standing::Suspended | Standing::Expired => {
                ports.probes.mail_stopped(presence.id, &address).await?;
            }
            _ => ports.probes.mail_served(presence.id, &address).await?,
        }
    }
    Ok(())
}

/// Looks in a row that may find drift before repairs are held.
const DRIFTING_MAX: u32 = 5;

/// Holds repairs when one presence after another drifts: then a server is at fault, not they.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    drifting: u32,
}

impl Brake {
    pub(crate) fn note(&mut self, is_sound: bool) {
        self.drifting = if is_sound { 0 } else { self.drifting + 1 };
    }

    pub(crate) fn holds(&self) -> bool {
        self.drifting >= DRIFTING_MAX
    }

    /// Lets one more look through: it tells whether the fault is over.
    pub(crate) fn release(&mut self) {
        self.drifting = self.drifting.min(DRIFTING_MAX.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hiendien_domain::site::{BlobHash, FileTree};
    use jiff::Timestamp;

    use super::*;
    use crate::ports::{Blob, RevisionFile};

    #[test]
    fn every_file_has_its_turn() {
        for count in [0, 1, 3, 4, 5, 8, 23] {
            let mut files = BTreeMap::new();
            let named = (0..count).map(|number| format!("{number}.css"));
            for path in named.chain(["index.html".to_owned()]) {
                let identity = Blob {
                    sha256: BlobHash::of(path.as_bytes()),
                    bytes: 1,
                };
                let file = RevisionFile {
                    media_type: "text/css".to_owned(),
                    identity,
                    gzip: None,
                    brotli: None,
                };
                files.insert(path, file);
            }
            let revision = Revision {
                hash: FileTree::default().revision(),
                built_at: Timestamp::UNIX_EPOCH,
                template: None,
                operation: None,
                files,
            };
            let mut seen = BTreeSet::new();
            for look in 7..7 + count.max(1) as u64 {
                let sample = sample(&revision, look);
                assert!(sample.len() <= FILES_AT_ONCE + 1);
                assert_eq!(sample[0].path, "index.html");
                seen.extend(sample.into_iter().map(|file| file.path));
            }
            assert_eq!(seen.len(), count + 1, "of {count} files");
        }
    }
}
