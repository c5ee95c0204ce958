//! Files of published revisions, kept in memory up to a bound of bytes.
//!
//! A revision never changes, so an entry is never out of date. A path that does not exist is not
//! kept, so asking for such paths cannot push files out.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hiendien_domain::ids::PresenceId;
use hiendien_domain::site::{RevisionHash, SiteFile};
use hiendien_engine::ports::{PortError, SiteStore};
use http::HeaderValue;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::settings::Limits;

/// A file ready to be sent.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) media_type: HeaderValue,
    pub(crate) identity: Form,
    pub(crate) gzip: Option<Form>,
    pub(crate) brotli: Option<Form>,
}

/// One form of a file: its bytes and its strong entity tag.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    pub(crate) etag: HeaderValue,
}

impl Served {
    fn new(file: SiteFile) -> Self {
        let form = |bytes: Vec<u8>| Form::new(&file.media_type, bytes);
        Self {
            media_type: HeaderValue::from_str(&file.media_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
            identity: form(file.identity),
            gzip: file.gzip.map(form),
            brotli: file.brotli.map(form),
        }
    }

    fn bytes(&self) -> usize {
        let length = |form: &Option<Form>| form.as_ref().map_or(0, |form| form.bytes.len());
        self.identity.bytes.len() + length(&self.gzip) + length(&self.brotli)
    }
}

impl Form {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let hash = Sha256::new()
            .chain_update(media_type)
            .chain_update([0])
            .chain_update(&bytes)
            .finalize();
        let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash[..16]));
        Self {
            bytes: bytes.into(),
            etag: HeaderValue::from_str(&etag).expect("an entity tag is base64url in quotes"),
        }
    }
}

/// See the module.
pub(crate) struct Files {
    store: Arc<dyn SiteStore>,
    cache: Cache<Key, Arc<Served>, Weight>,
    store_timeout: Duration,
}

type Key = (PresenceId, RevisionHash, String);

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Key, Arc<Served>> for Weight {
    fn weight(&self, (_, _, path): &Key, file: &Arc<Served>) -> u64 {
        // What an entry costs beside its bodies, roughly.
        const OVERHEAD: usize = 512;
        (OVERHEAD + path.len() + file.bytes()) as u64
    }
}

impl Files {
    pub(crate) fn new(store: Arc<dyn SiteStore>, limits: &Limits) -> Self {
        const USUAL_FILE_BYTES: u64 = 16 * 1024;
        let files = usize::try_from(limits.cached_file_bytes / USUAL_FILE_BYTES).unwrap_or(1024);
        Self {
            store,
            cache: Cache::with_weighter(files, limits.cached_file_bytes, Weight),
            store_timeout: limits.store,
        }
    }

    /// One file of a revision, `None` where the revision has no such path. Many requests for the
    /// same file read it once.
    pub(crate) async fn file(
        &self,
        presence: PresenceId,
        revision: &RevisionHash,
        path: &str,
    ) -> Result<Option<Arc<Served>>, PortError> {
        let key = (presence, revision.clone(), path.to_owned());
        let read = async {
            let file = self.store.file(presence, revision, path);
            match tokio::time::timeout(self.store_timeout, file).await {
                Ok(Ok(Some(file))) => Ok(Arc::new(Served::new(file))),
                Ok(Ok(None)) => Err(None),
                Ok(Err(error)) => Err(Some(error)),
                Err(elapsed) => {
                    let action = format!("read `{path}` of revision `{revision}`");
                    Err(Some(PortError::transient(action, elapsed)))
                }
            }
        };
        match self.cache.get_or_insert_async(&key, read).await {
            Ok(file) => Ok(Some(file)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }
}
