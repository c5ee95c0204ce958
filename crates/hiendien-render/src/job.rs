//! What goes into the container and what comes out of it.
//!
//! In: the length of one JSON document as `u64`, then the document. Out: for each file a header of `u32` length and JSON, then its bytes; a
//! header of length zero ends the stream. The reader takes it as hostile: every length is bounded.

use std::io::{self, Read, Write};

use hiendien_domain::content::SiteContent;
use hiendien_domain::site::{FileTree, SiteFile};
use serde::{Deserialize, Serialize};

use crate::Template;

/// Bound of a job, bytes.
pub const JOB_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bound of a whole answer, bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
const HEADER_BYTES_MAX: u32 = 4096;
const FILES_MAX: usize = 2000;

/// One site to render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub template: Template,
    pub content: SiteContent,
}

/// A job as the container reads it.
pub fn job_octets(job: &Job) -> io::Result<Vec<u8>> {
    let document = serde_json::to_vec(job)?;
    if document.len() as u64 > JOB_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the job is larger than its bound",
        ));
    }
    Ok([&(document.len() as u64).to_be_bytes()[..], &document].concat())
}

/// Reads one job and nothing behind it.
pub fn read_job(input: &mut impl Read) -> io::Result<Job> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let document = take(input, u64::from_be_bytes(length), &mut { JOB_BYTES_MAX })?;
    Ok(serde_json::from_slice(&document)?)
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    path: String,
    media_type: String,
    identity: u64,
    gzip: Option<u64>,
    brotli: Option<u64>,
}

/// Writes a file tree as the container's answer.
pub fn write_tree(tree: &FileTree, out: &mut impl Write) -> io::Result<()> {
    let length = |form: &Option<Vec<u8>>| form.as_ref().map(|form| form.len() as u64);
    for (path, file) in tree.iter() {
        let header = Header {
            path: path.to_owned(),
            media_type: file.media_type.clone(),
            identity: file.identity.len() as u64,
            gzip: length(&file.gzip),
            brotli: length(&file.brotli),
        };
        let header = serde_json::to_vec(&header)?;
        out.write_all(
            &u32::try_from(header.len())
                .map_err(io::Error::other)?
                .to_be_bytes(),
        )?;
        out.write_all(&header)?;
        out.write_all(&file.identity)?;
        for form in [&file.gzip, &file.brotli].into_iter().flatten() {
            out.write_all(form)?;
        }
    }
    out.write_all(&0u32.to_be_bytes())?;
    out.flush()
}

/// Reads an answer. Anything out of bounds, malformed or cut off is an error.
pub fn read_tree(input: &mut impl Read) -> io::Result<FileTree> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut tree = FileTree::default();
    let mut left = ANSWER_BYTES_MAX;
    loop {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length == 0 {
            return Ok(tree);
        }
        if length > HEADER_BYTES_MAX || tree.len() >= FILES_MAX {
            return Err(refused(
                "the answer has a header or a number of files out of bounds",
            ));
        }
        let header: Header = serde_json::from_slice(&take(input, u64::from(length), &mut left)?)?;
        let identity = take(input, header.identity, &mut left)?;
        let gzip = header
            .gzip
            .map(|length| take(input, length, &mut left))
            .transpose()?;
        let brotli = header
            .brotli
            .map(|length| take(input, length, &mut left))
            .transpose()?;
        let file = SiteFile {
            media_type: header.media_type,
            identity,
            gzip,
            brotli,
        };
        tree.insert(&header.path, file)
            .map_err(|error| refused(&error.to_string()))?;
    }
}

fn take(input: &mut impl Read, length: u64, left: &mut u64) -> io::Result<Vec<u8>> {
    *left = left.checked_sub(length).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the answer is larger than its bound",
        )
    })?;
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written_and_no_further() {
        let mut tree = FileTree::default();
        let file = SiteFile {
            media_type: "text/plain".to_owned(),
            identity: b"abc".to_vec(),
            gzip: Some(b"z".to_vec()),
            brotli: None,
        };
        tree.insert("a/b.txt", file).unwrap();
        let mut octets = Vec::new();
        write_tree(&tree, &mut octets).unwrap();
        assert_eq!(read_tree(&mut octets.as_slice()).unwrap(), tree);
        for cut in 0..octets.len() {
            assert!(read_tree(&mut &octets[..cut]).is_err(), "cut at {cut}");
        }
        let hostile = |path: &str, identity: u64| {
            let header = serde_json::json!({ "path": path, "media_type": "x", "identity": identity, "gzip": null, "brotli": null });
            let header = header.to_string();
            let mut octets = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
            octets.extend_from_slice(header.as_bytes());
            octets.extend_from_slice(&[0; 8]);
            read_tree(&mut octets.as_slice())
        };
        for path in ["../x", "/etc/passwd", "a//b", "a/./b", "a\0b", ""] {
            assert!(hostile(path, 0).is_err(), "{path:?}");
        }
        assert!(hostile("huge", u64::MAX).is_err());
        assert!(hostile("fine", 4).is_ok());
    }
}
