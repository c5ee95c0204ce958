//! Seals values at rest: AES-256-GCM under one key in a file of its own, so that a copy of the
//! database alone shows neither citizen numbers nor private keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use crate::error::StoreError;

const KEY_LEN: usize = 32;

/// Holds the sealing key. Its `Debug` shows only where the key came from.
pub struct Seal {
    key: RandomizedNonceKey,
    token_key: hmac::Key,
    path: PathBuf,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Seal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Seal {
    /// Reads the key file, or makes one (mode 0600) where there is none.
    pub fn load_or_make(path: &Path) -> Result<Self, StoreError> {
        let file = |action: &'static str| {
            let path = path.to_owned();
            move |source| StoreError::File {
                action,
                path,
                source,
            }
        };
        if !path.exists() {
            let mut key = [0; KEY_LEN];
            SystemRandom::new()
                .fill(&mut key)
                .map_err(|_| file("draw random bytes for")(std::io::ErrorKind::Other.into()))?;
            // Whole or not there at all, and of several processes that start at once the first one's.
            let new = path.with_extension(format!("new-{}", Uuid::new_v4().simple()));
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut out = options.open(&new).map_err(file("make the key file"))?;
            let put = out
                .write_all(&key)
                .and_then(|()| out.sync_all())
                .and_then(|()| match fs::hard_link(&new, path) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                    linked => linked,
                })
                .and_then(|()| match path.parent() {
                    Some(directory) => fs::File::open(directory)?.sync_all(),
                    None => Ok(()),
                });
            let removed = fs::remove_file(&new);
            put.and(removed).map_err(file("write the key file"))?;
        }
        let key = fs::read(path).map_err(file("read the key file"))?;
        if key.len() != KEY_LEN {
            return Err(file("use the key file, it must hold 32 bytes:")(
                std::io::ErrorKind::InvalidData.into(),
            ));
        }
        let unusable = || StoreError::Unseal {
            path: path.to_owned(),
        };
        let derive = |purpose: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), purpose);
        Ok(Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, derive(b"seal").as_ref())
                .map_err(|_| unusable())?,
            token_key: hmac::Key::new(hmac::HMAC_SHA256, derive(b"token").as_ref()),
            path: path.to_owned(),
        })
    }

    /// Seals `text`; `place` (table, column, row) is bound to it, so that values cannot be swapped.
    pub(crate) fn seal(&self, place: &str, text: &str) -> Result<Vec<u8>, StoreError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed)
            .map_err(|_| StoreError::Unseal {
                path: self.path.clone(),
            })?;
        let mut out = nonce.as_ref().to_vec();
        out.append(&mut sealed);
        Ok(out)
    }

    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<String, StoreError> {
        let refused = || StoreError::Unseal {
            path: self.path.clone(),
        };
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut body = body.to_vec();
        let text = self
            .key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_| refused())?;
        String::from_utf8(text.to_vec()).map_err(|_| refused())
    }

    /// A token that only the holder of the key can make, the same for the same `subject`.
    pub(crate) fn token(&self, subject: &str) -> String {
        hiendien_domain::site::hex(hmac::sign(&self.token_key, subject.as_bytes()).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_start_at_once_have_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let start = || Seal::load_or_make(&path).unwrap().token("a");
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            let started = starting.into_iter();
            started.map(|one| one.join().unwrap()).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn opens_only_at_its_own_place_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Seal::load_or_make(&directory.path().join("key")).unwrap();
        let sealed = seal.seal("claim.document.1", "số định danh").unwrap();
        assert_eq!(
            seal.open("claim.document.1", &sealed).unwrap(),
            "số định danh"
        );
        assert!(seal.open("claim.document.2", &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(seal.open("claim.document.1", &changed).is_err());
        assert!(seal.open("claim.document.1", &[]).is_err());

        let same = Seal::load_or_make(&directory.path().join("key")).unwrap();
        assert_eq!(
            same.open("claim.document.1", &sealed).unwrap(),
            "số định danh"
        );
        assert_eq!(same.token("a"), seal.token("a"));
        assert_ne!(seal.token("a"), seal.token("b"));
    }
}
