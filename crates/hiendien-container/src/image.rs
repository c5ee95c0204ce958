//! Makes the FROM-scratch image: its files, the static render binary first of them.
//!
//! The archive is one that Docker and Podman load and that OCI tools read. The same files make the
//! same octets on every machine and day, and the tag is their hash, so other files are another image.

use std::io;
use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hiendien_domain::site::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pool::Trouble;

/// Path of the binary in the image.
pub(crate) const COMMAND: &str = "/hiendien-render";
/// With a registry's name before it, or engines would look for it at one of theirs.
const REPOSITORY: &str = "localhost/hiendien-render";

/// A file of the image.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// From the root, without a slash before it.
    pub path: String,
    pub is_executable: bool,
    pub octets: Vec<u8>,
}

/// An image as one file.
#[derive(Debug, Clone)]
pub struct ImageArchive {
    /// What engines call it once they have loaded it.
    pub name: String,
    pub octets: Vec<u8>,
}

/// The files of the build image.
pub fn image_files(render_binary: &Path) -> io::Result<Vec<ImageFile>> {
    Ok(vec![ImageFile {
        path: COMMAND.trim_start_matches('/').to_owned(),
        is_executable: true,
        octets: std::fs::read(render_binary)?,
    }])
}

/// Packs the files into an image of one layer.
pub fn image_archive(files: &[ImageFile]) -> io::Result<ImageArchive> {
    let mut layer = tar::Builder::new(Vec::new());
    for file in files {
        let mode = if file.is_executable { 0o555 } else { 0o444 };
        append(&mut layer, &file.path, mode, &file.octets)?;
    }
    let layer = Blob::of(layer.into_inner()?);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = Blob::of_json(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": [COMMAND], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
    }))?;
    let name = format!("{REPOSITORY}:{}", layer.hash);
    let manifest = Blob::of_json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }))?;
    let mut described = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    described["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": layer.hash,
    });
    let index = json!({ "schemaVersion": 2, "manifests": [described] });
    // What Docker and Podman read.
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [name],
        "Layers": [layer.path()],
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    for blob in [&config, &layer, &manifest] {
        append(&mut archive, &blob.path(), 0o644, &blob.octets)?;
    }
    for (path, document) in [
        ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        ("index.json", index),
        ("manifest.json", docker),
    ] {
        append(&mut archive, path, 0o644, &serde_json::to_vec(&document)?)?;
    }
    Ok(ImageArchive {
        name,
        octets: archive.into_inner()?,
    })
}

/// A content of the archive, which goes by its hash.
struct Blob {
    hash: String,
    octets: Vec<u8>,
}

impl Blob {
    fn of(octets: Vec<u8>) -> Self {
        Self {
            hash: hex(&Sha256::digest(&octets)),
            octets,
        }
    }

    fn of_json(document: &Value) -> io::Result<Self> {
        Ok(Self::of(serde_json::to_vec(document)?))
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest(), "size": self.octets.len() })
    }
}

/// Without an owner, a time or anything else that another machine would have otherwise.
fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    octets: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(octets.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, path, octets)
}

/// The name of the image made from `binary`, loaded where the engine has none.
pub(crate) async fn ensure(docker: &Docker, binary: &Path) -> Result<String, Trouble> {
    let failed = |error: &dyn std::error::Error| Trouble {
        action: "making the build image".to_owned(),
        cause: error.to_string(),
    };
    let owned = binary.to_owned();
    let packed = tokio::task::spawn_blocking(move || image_archive(&image_files(&owned)?));
    let archive = match packed.await {
        Ok(archive) => archive.map_err(|error| crate::no_binary(binary, &error))?,
        Err(error) => return Err(failed(&error)),
    };
    match docker.inspect_image(&archive.name).await {
        Ok(_) => return Ok(archive.name),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => {}
        Err(error) => return Err(failed(&error)),
    }
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let octets = bollard::body_full(Bytes::from(archive.octets));
    docker
        .import_image(options, octets, None)
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| failed(&error))?;
    Ok(archive.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_image_and_others_another() {
        let file = |octets: &[u8]| ImageFile {
            path: "hiendien-render".to_owned(),
            is_executable: true,
            octets: octets.to_vec(),
        };
        let one = image_archive(&[file(b"one")]).unwrap();
        let again = image_archive(&[file(b"one")]).unwrap();
        assert_eq!((&one.name, &one.octets), (&again.name, &again.octets));
        let other = image_archive(&[file(b"other")]).unwrap();
        assert_ne!(one.name, other.name);
    }
}
