//! DKIM keys as files that the signer reads: one a key, and one a name that tells which keys are its.
//!
//! The file is the truth about a key and is never replaced: whoever makes it first wins, and the
//! record to publish is read from it. So a crash or a second worker cannot publish another key than
//! the one that signs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::name::DomainName;
use hiendien_domain::records::DkimRecord;
use hiendien_domain::secret::Secret;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::mpsc;

/// Times a file that others put in its place meanwhile is opened again.
const OPEN_ATTEMPTS_MAX: usize = 5;

/// Both keys of a name: RSA-2048, which every receiver verifies, and Ed25519 (RFC 8463), in the
/// signer's formats.
#[derive(Debug)]
pub(crate) struct KeyPairs {
    rsa_pem: Secret,
    ed25519_base64: Secret,
}

impl KeyPairs {
    pub(crate) fn make() -> io::Result<Self> {
        let unspecified = |_| io::Error::other("the cryptographic library could not make a key");
        let rsa = KeyPair::generate(KeySize::Rsa2048).map_err(unspecified)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).map_err(unspecified)?;
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in STANDARD.encode(der.as_ref()).as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        let ed25519 = Ed25519KeyPair::generate().map_err(unspecified)?;
        let seed = ed25519.seed().map_err(unspecified)?;
        let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(unspecified)?;
        let both = [seed.as_ref(), ed25519.public_key().as_ref()].concat();
        Ok(Self {
            rsa_pem: Secret::new(pem),
            ed25519_base64: Secret::new(STANDARD.encode(both)),
        })
    }
}

/// One kept key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptKey {
    pub(crate) record: DkimRecord,
    /// Name of its file in the signer's directory.
    pub(crate) file: String,
}

/// Keeps the keys of a presence under dated selectors; keys that are there already stay. RSA comes first.
pub(crate) fn keep(
    directory: &Path,
    presence: PresenceId,
    month: &str,
    keys: &KeyPairs,
) -> io::Result<[KeptKey; 2]> {
    let keep_one = |letter: char, new: &Secret, public: fn(&str) -> Option<String>, kind: &str| {
        let selector = format!("hd{month}{letter}");
        let file = format!("{presence}.{selector}.key");
        let text = create_or_read(&directory.join(&file), new)?;
        let public = public(&text).ok_or_else(|| {
            let told = format!("`{file}` is not a {kind} key: move it away");
            io::Error::new(io::ErrorKind::InvalidData, told)
        })?;
        Ok::<_, io::Error>(KeptKey {
            record: DkimRecord {
                selector,
                text: format!("v=DKIM1; k={kind}; p={public}"),
            },
            file,
        })
    };
    Ok([
        keep_one('r', &keys.rsa_pem, rsa_public, "rsa")?,
        keep_one('e', &keys.ed25519_base64, ed25519_public, "ed25519")?,
    ])
}

fn rsa_public(pem: &str) -> Option<String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?;
    Some(STANDARD.encode(public.as_ref()))
}

fn ed25519_public(base64: &str) -> Option<String> {
    let both = STANDARD.decode(base64.trim()).ok()?;
    let public = both.get(32..64).filter(|_| both.len() == 64)?;
    Some(STANDARD.encode(public))
}

/// Tells the signer which keys a name has and since when it has mail; at once, without a reload.
pub(crate) fn point(
    directory: &Path,
    name: &DomainName,
    since_secs: i64,
    keys: &[KeptKey],
) -> io::Result<()> {
    let lines = keys
        .iter()
        .map(|key| format!("{} {}\n", key.record.selector, key.file));
    let text = format!("{since_secs}\n{}", lines.collect::<String>());
    let place = directory.join("names").join(name.as_str());
    match fs::read_to_string(&place) {
        Ok(there) if there == text => Ok(()),
        _ => write_new(&place, &text, |new, place| fs::rename(new, place)),
    }
}

/// Makes the signer sign for the name no more, at once, where the name's keys are the presence's. One
/// that is gone, or another presence's by now, is no error.
pub(crate) fn unpoint(directory: &Path, presence: PresenceId, name: &str) -> io::Result<()> {
    let place = directory.join("names").join(name);
    let text = match fs::read_to_string(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return remove_file(&beside(&place));
        }
        read => read?,
    };
    let own = format!(" {presence}.");
    if text.lines().skip(1).any(|line| !line.contains(&own)) {
        return Ok(());
    }
    remove_file(&beside(&place))?;
    remove_file(&place)
}

/// Erases all keys of the presence, also those that no row tells of. None there is no error.
pub(crate) fn remove(directory: &Path, presence: PresenceId) -> io::Result<()> {
    let own = format!("{presence}.");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // Half-written ones begin with a dot.
        if name
            .to_str()
            .is_some_and(|name| name.trim_start_matches('.').starts_with(&own))
        {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_file(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the file with this text, or returns the text of the one that is there.
fn create_or_read(place: &Path, text: &Secret) -> io::Result<String> {
    match fs::read_to_string(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => {
            // Left by a crash after the file was in its place.
            remove_file(&beside(place))?;
            return read;
        }
    }
    match write_new(place, text.expose(), |new, place| fs::hard_link(new, place)) {
        Ok(()) => Ok(text.expose().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(place),
        Err(error) => Err(error),
    }
}

/// Where a file is written before it is whole; what a crash leaves there is written over by the next attempt.
fn beside(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.new"))
}

/// Writes beside the place, readable by the directory's group, then puts it there whole. One process
/// at a time: another one's attempt fails meanwhile.
fn write_new(place: &Path, text: &str, put: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let new = beside(place);
    let mut file = open_alone(&new)?;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| put(&new, place));
    // A rename has moved it already.
    written.and(remove_file(&new))
}

/// Opens the file for this process alone, whatever a crash has left of it.
fn open_alone(new: &Path) -> io::Result<File> {
    for _ in 0..OPEN_ATTEMPTS_MAX {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(new)?;
        file.try_lock()?;
        // Whoever had it locked may have put it in its place, or taken it away, since it was opened.
        let mine = file.metadata()?;
        match fs::metadata(new) {
            Ok(there) if there.ino() == mine.ino() && there.nlink() == 1 => return Ok(file),
            Ok(there) if there.ino() == mine.ino() => remove_file(new)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::WouldBlock,
        format!("`{}` is being written by others", new.display()),
    ))
}

/// Makes keys in advance until nobody wants them, so that a burst does not wait for prime numbers.
pub(crate) async fn make_ahead(made: mpsc::Sender<KeyPairs>) {
    while let Ok(place) = made.reserve().await {
        match tokio::task::spawn_blocking(KeyPairs::make).await {
            Ok(Ok(keys)) => {
                place.send(keys);
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "Could not make a DKIM key in advance");
                return;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_stays_and_is_the_one_published() {
        let directory = tempfile::tempdir().unwrap();
        let presence = PresenceId::new();
        let (first, second) = (KeyPairs::make().unwrap(), KeyPairs::make().unwrap());
        let kept = keep(directory.path(), presence, "2611", &first).unwrap();
        let again = keep(directory.path(), presence, "2611", &second).unwrap();
        assert_eq!(kept, again);
        assert_eq!(kept[0].record.selector, "hd2611r");
        assert!(kept[0].record.text.starts_with("v=DKIM1; k=rsa; p=MIIBI"));
        assert_eq!(kept[1].record.selector, "hd2611e");
        // 32 octets in base64.
        assert_eq!(
            kept[1].record.text.len(),
            "v=DKIM1; k=ed25519; p=".len() + 44
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_crash_leaves_is_written_over_or_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let presence = PresenceId::new();
        let pair = KeyPairs::make().unwrap();
        let left = |selector: &str| place.join(format!(".{presence}.{selector}.key.new"));
        // Killed while it wrote.
        fs::write(left("hd2611r"), "-----BEGIN PRI").unwrap();
        let kept = keep(place, presence, "2611", &pair).unwrap();
        assert!(kept[0].record.text.starts_with("v=DKIM1; k=rsa; p=MIIBI"));
        // Killed once the file was in its place: the key stays what it is.
        let key = place.join(&kept[1].file);
        fs::hard_link(&key, left("hd2611e")).unwrap();
        let other = KeyPairs::make().unwrap();
        assert_eq!(keep(place, presence, "2611", &other).unwrap(), kept);
        assert_eq!(
            fs::read_dir(place).unwrap().count(),
            2,
            "nothing is left over"
        );
        // Even where the key was not seen yet, what was put in its place is not written into.
        fs::hard_link(&key, left("hd2611e")).unwrap();
        let before = fs::read_to_string(&key).unwrap();
        write_new(&key, "another", |new, place| fs::hard_link(new, place)).unwrap_err();
        assert_eq!(fs::read_to_string(&key).unwrap(), before);
        // Killed while it wrote, and given up.
        fs::write(left("hd2612r"), "-----BEGIN PRI").unwrap();
        remove(place, presence).unwrap();
        assert_eq!(fs::read_dir(place).unwrap().count(), 0);
    }

    #[test]
    fn removing_takes_away_what_is_the_presences_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        fs::create_dir(place.join("names")).unwrap();
        let (former, next) = (PresenceId::new(), PresenceId::new());
        let name: DomainName = "quan-pho-mau.biz.vn".parse().unwrap();
        let pair = KeyPairs::make().unwrap();
        let old = keep(place, former, "2611", &pair).unwrap();
        let new = keep(place, next, "2611", &pair).unwrap();
        point(place, &name, 1, &new).unwrap();

        unpoint(place, former, name.as_str()).unwrap();
        assert!(place.join("names").join(name.as_str()).exists());
        for _ in 0..2 {
            remove(place, former).unwrap();
            assert!(old.iter().all(|key| !place.join(&key.file).exists()));
            assert!(new.iter().all(|key| place.join(&key.file).exists()));
        }
        for _ in 0..2 {
            unpoint(place, next, name.as_str()).unwrap();
            assert!(!place.join("names").join(name.as_str()).exists());
        }
    }
}
