//! Makes the FROM-scratch image: one file, the static render binary.

use std::io;
use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hiendien_domain::site::hex;
use sha2::{Digest, Sha256};

use crate::pool::Trouble;

/// Path of the binary in the image.
pub(crate) const COMMAND: &str = "/hiendien-render";
const REPOSITORY: &str = "hiendien-render";

/// The name of the image made from `binary`, made where the engine has none. Its tag is the
/// binary's hash, so another binary is another image.
pub(crate) async fn ensure(docker: &Docker, binary: &Path) -> Result<String, Trouble> {
    let octets = tokio::fs::read(binary).await.map_err(|error| Trouble {
        action: format!(
            "reading the render binary `{}` (to build it: `cargo rustc -p hiendien-render --bin hiendien-render \
             --release -- -C target-feature=+crt-static`)",
            binary.display()
        ),
        cause: error.to_string(),
    })?;
    let failed = |error: &dyn std::error::Error| Trouble {
        action: "making the build image".to_owned(),
        cause: error.to_string(),
    };
    let tag = hex(&Sha256::digest(&octets));
    let name = format!("{REPOSITORY}:{tag}");
    match docker.inspect_image(&name).await {
        Ok(_) => return Ok(name),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => {}
        Err(error) => return Err(failed(&error)),
    }
    let archive = archive(&octets).map_err(|error| failed(&error))?;
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(REPOSITORY)
        .tag(&tag)
        .build();
    docker
        .create_image(
            Some(options),
            Some(bollard::body_full(Bytes::from(archive))),
            None,
        )
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| failed(&error))?;
    Ok(name)
}

fn archive(binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(binary.len() as u64);
    header.set_mode(0o555);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, COMMAND.trim_start_matches('/'), binary)?;
    builder.into_inner()
}
