//! What goes into the container and what comes out of it.
//!
//! In: the length of one JSON document as `u64`, then the document; behind the document of an image as
//! many octets as it says. Out: the length of the answer as `u64`, then the answer: for each file a
//! header of `u32` length and JSON, then its bytes; a header of length zero ends it. Lengths are big
//! endian. The reader takes an answer as hostile: each length is bounded, each path checked.
//!
//! The answer to an image is the files of its picture and `anh/ID.json`, which is the picture without
//! words, or why there is none.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hiendien_domain::content::{ImageId, Picture, SiteContent};
use hiendien_domain::picture::{
    Form, PLACEHOLDER_BYTES_MAX, PLACEHOLDER_START, PictureFault, SIDE_MAX, UPLOAD_BYTES_MAX,
    WIDTHS,
};
use hiendien_domain::site::{FileTree, SiteFile};
use serde::{Deserialize, Serialize};

use crate::{Template, media_type};

/// Bound of a job, bytes.
pub const JOB_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bound of a whole answer, bytes: a site of 8 MiB in three forms, and its headers.
pub const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;
const HEADER_BYTES_MAX: u32 = 4096;
const FILES_MAX: usize = 2000;

/// One site to render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub template: Template,
    pub content: SiteContent,
}

/// One image to make a picture of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageJob {
    pub id: ImageId,
    pub upload: Vec<u8>,
}

/// What one container does.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    Site(Box<Job>),
    Image(ImageJob),
}

/// What stands in the document of a task.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
enum Document<J> {
    Site(J),
    Image { id: ImageId, upload_bytes: u64 },
}

/// A site's job as the container reads it.
pub fn job_octets(job: &Job) -> io::Result<Vec<u8>> {
    document_octets(&Document::Site(job))
}

/// An image's job as the container reads it.
pub fn image_octets(job: &ImageJob) -> io::Result<Vec<u8>> {
    let mut octets = document_octets::<&Job>(&Document::Image {
        id: job.id.clone(),
        upload_bytes: job.upload.len() as u64,
    })?;
    octets.extend_from_slice(&job.upload);
    Ok(octets)
}

fn document_octets<J: Serialize>(document: &Document<J>) -> io::Result<Vec<u8>> {
    let document = serde_json::to_vec(document)?;
    if document.len() as u64 > JOB_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the job is larger than its bound",
        ));
    }
    Ok([&(document.len() as u64).to_be_bytes()[..], &document].concat())
}

/// Reads one job and nothing behind it.
pub fn read_task(input: &mut impl Read) -> io::Result<Task> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > JOB_BYTES_MAX {
        return Err(refused("the job is larger than its bound"));
    }
    let document = take(input, length)?;
    match serde_json::from_slice(&document)? {
        Document::Site(job) => Ok(Task::Site(job)),
        Document::Image { upload_bytes, .. } if upload_bytes > UPLOAD_BYTES_MAX as u64 => {
            Err(refused("the upload is larger than its bound"))
        }
        Document::Image { id, upload_bytes } => Ok(Task::Image(ImageJob {
            id,
            upload: take(input, upload_bytes)?,
        })),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    path: String,
    identity: u64,
    gzip: Option<u64>,
    brotli: Option<u64>,
}

/// Octets of the length before a job and before an answer.
pub const LENGTH_OCTETS: usize = 8;

/// Writes a file tree as the container's answer.
pub fn write_tree(tree: &FileTree, out: &mut impl Write) -> io::Result<()> {
    let length = |form: &Option<Vec<u8>>| form.as_ref().map(|form| form.len() as u64);
    let mut answer = Vec::new();
    for (path, file) in tree.iter() {
        let header = Header {
            path: path.to_owned(),
            identity: file.identity.len() as u64,
            gzip: length(&file.gzip),
            brotli: length(&file.brotli),
        };
        let header = serde_json::to_vec(&header)?;
        let header_length = u32::try_from(header.len()).map_err(io::Error::other)?;
        answer.extend_from_slice(&header_length.to_be_bytes());
        answer.extend_from_slice(&header);
        answer.extend_from_slice(&file.identity);
        for form in [&file.gzip, &file.brotli].into_iter().flatten() {
            answer.extend_from_slice(form);
        }
    }
    answer.extend_from_slice(&0u32.to_be_bytes());
    out.write_all(&(answer.len() as u64).to_be_bytes())?;
    out.write_all(&answer)?;
    out.flush()
}

/// Octets the whole answer has, its length included, as its first octets tell; `None` while they are too few.
pub fn answer_octets(start: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = start.first_chunk() else {
        return Ok(None);
    };
    let length = u64::from_be_bytes(*length);
    if length > ANSWER_BYTES_MAX {
        return Err(refused("the answer is larger than its bound"));
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    Ok(Some(LENGTH_OCTETS + length))
}

fn refused(fault: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault.to_owned())
}

/// Reads the answer to a site. Anything out of bounds, malformed, cut off or left over is an error.
pub fn read_tree(answer: &[u8]) -> io::Result<FileTree> {
    let tree = read_files(answer)?;
    if tree.get("index.html").is_none() {
        return Err(refused("the answer has no `index.html`"));
    }
    Ok(tree)
}

/// What became of an image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ImageAnswer {
    Picture(Picture),
    Refused(PictureFault),
}

fn answer_path(id: &ImageId) -> String {
    format!("anh/{id}.json")
}

/// Writes what became of an image as the container's answer.
pub fn write_picture(
    id: &ImageId,
    made: Result<(Picture, FileTree), PictureFault>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (answer, mut tree) = match made {
        Ok((picture, files)) => (ImageAnswer::Picture(picture), files),
        Err(fault) => (ImageAnswer::Refused(fault), FileTree::default()),
    };
    let path = answer_path(id);
    let file = SiteFile {
        media_type: media_type(&path).to_owned(),
        identity: serde_json::to_vec(&answer)?,
        gzip: None,
        brotli: None,
    };
    tree.insert(&path, file).map_err(io::Error::other)?;
    write_tree(&tree, out)
}

/// Reads the answer to an image: exactly the files of a picture that pages can show, each of the form its name
/// says, or a refusal. Anything else is an error.
pub fn read_picture(
    id: &ImageId,
    answer: &[u8],
) -> io::Result<Result<(Picture, FileTree), PictureFault>> {
    let mut tree = FileTree::default();
    let mut told = None;
    for (path, file) in read_files(answer)? {
        if path == answer_path(id) {
            told = Some(serde_json::from_slice(&file.identity)?);
        } else if file.gzip.is_some() || file.brotli.is_some() {
            return Err(refused("the answer has a compressed picture"));
        } else {
            tree.insert(&path, file).map_err(io::Error::other)?;
        }
    }
    match told {
        Some(ImageAnswer::Refused(fault)) if tree.is_empty() => Ok(Err(fault)),
        Some(ImageAnswer::Picture(picture)) => {
            check_picture(id, &picture, &tree)?;
            Ok(Ok((picture, tree)))
        }
        _ => Err(refused("the answer does not tell what became of the image")),
    }
}

fn check_picture(id: &ImageId, picture: &Picture, tree: &FileTree) -> io::Result<()> {
    let Picture {
        id: named,
        alt,
        width,
        height,
        widths,
        placeholder,
    } = picture;
    let is_known = |at: &u32| at == width || WIDTHS.contains(at);
    let are_sound = !widths.is_empty()
        && widths.len() <= WIDTHS.len() + 1
        && widths.is_sorted_by(|before, after| before < after)
        && widths.last() == Some(width)
        && widths.iter().all(is_known)
        && (1..=WIDTHS[WIDTHS.len() - 1]).contains(width)
        && (1..=SIDE_MAX).contains(height);
    if named != id || !alt.is_empty() || !are_sound {
        return Err(refused("the answer has a picture out of bounds"));
    }
    // It stands in a stylesheet.
    let is_blur = placeholder.len() <= PLACEHOLDER_BYTES_MAX
        && placeholder
            .strip_prefix(PLACEHOLDER_START)
            .and_then(|octets| STANDARD.decode(octets).ok())
            .is_some_and(|octets| Form::Webp.begins(&octets));
    if !is_blur {
        return Err(refused("the answer has a placeholder that is none"));
    }
    let mut files = 0;
    for (path, form) in picture.files() {
        let file = tree.get(&path);
        if !file.is_some_and(|file| form.begins(&file.identity)) {
            return Err(refused("the answer lacks a form of the picture"));
        }
        files += 1;
    }
    if files != tree.len() {
        return Err(refused("the answer has files that are not of the picture"));
    }
    Ok(())
}

fn read_files(answer: &[u8]) -> io::Result<FileTree> {
    match answer_octets(answer)? {
        Some(octets) if octets == answer.len() => {}
        Some(octets) if octets < answer.len() => {
            return Err(refused("the answer goes on behind its end"));
        }
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let mut answer = &answer[LENGTH_OCTETS..];
    let mut tree = FileTree::default();
    loop {
        let mut length = [0; 4];
        answer.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length == 0 {
            break;
        }
        if length > HEADER_BYTES_MAX || tree.len() >= FILES_MAX {
            return Err(refused(
                "the answer has a header or a number of files out of bounds",
            ));
        }
        let header: Header = serde_json::from_slice(&take(&mut answer, u64::from(length))?)?;
        if tree.get(&header.path).is_some() {
            return Err(refused("the answer has a path twice"));
        }
        let identity = take(&mut answer, header.identity)?;
        let mut form = |length: Option<u64>| length.map(|length| take(&mut answer, length));
        let file = SiteFile {
            media_type: media_type(&header.path).to_owned(),
            identity,
            gzip: form(header.gzip).transpose()?,
            brotli: form(header.brotli).transpose()?,
        };
        tree.insert(&header.path, file)
            .map_err(|error| refused(&error.to_string()))?;
    }
    if !answer.is_empty() {
        return Err(refused("the answer goes on behind its end"));
    }
    Ok(tree)
}

/// Exactly `length` octets. Allocates no more than there are.
fn take(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    input.take(length).read_to_end(&mut octets)?;
    if octets.len() as u64 == length {
        Ok(octets)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(path: &str, identity: u64, octets: &[u8]) -> Vec<u8> {
        let header = serde_json::json!({ "path": path, "identity": identity });
        let header = header.to_string();
        let length = u32::try_from(header.len()).unwrap();
        [&length.to_be_bytes(), header.as_bytes(), octets].concat()
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_no_further() {
        let mut tree = FileTree::default();
        let file = |media_type: &str| SiteFile {
            media_type: media_type.to_owned(),
            identity: b"abc".to_vec(),
            gzip: Some(b"z".to_vec()),
            brotli: None,
        };
        tree.insert("index.html", file("text/html; charset=utf-8"))
            .unwrap();
        tree.insert("a/b.txt", file("text/plain; charset=utf-8"))
            .unwrap();
        let mut octets = Vec::new();
        write_tree(&tree, &mut octets).unwrap();
        assert_eq!(read_tree(&octets).unwrap(), tree);
        for cut in 0..octets.len() {
            assert!(read_tree(&octets[..cut]).is_err(), "cut at {cut}");
        }
        octets.push(0);
        assert!(read_tree(&octets).is_err());
    }

    #[test]
    fn a_hostile_answer_is_refused() {
        const END: [u8; 4] = [0; 4];
        let read_tree =
            |frames: &[u8]| read_tree(&[&(frames.len() as u64).to_be_bytes(), frames].concat());
        let index = framed("index.html", 1, b"x");
        assert!(read_tree(&[index.as_slice(), &END].concat()).is_ok());
        for path in [
            "../x",
            "/etc/passwd",
            "a//b",
            "a/./b",
            "a\0b",
            "a b",
            "",
            "..",
            "index.html",
        ] {
            let second = framed(path, 0, b"");
            let answer = [index.as_slice(), &second, &END].concat();
            assert!(read_tree(&answer).is_err(), "{path:?}");
        }
        let many: Vec<u8> = (0..=FILES_MAX)
            .flat_map(|number| framed(&format!("{number}"), 0, b""))
            .collect();
        for answer in [
            [framed("other.html", 0, b"").as_slice(), &END].concat(),
            framed("index.html", u64::MAX, b""),
            vec![0xff; 64],
            b"\0\0\0\x02{]".to_vec(),
            [index, many, END.to_vec()].concat(),
            vec![0; usize::try_from(ANSWER_BYTES_MAX).unwrap() + 1],
        ] {
            assert!(read_tree(&answer).is_err());
        }
    }
}
