//! Makes the FROM-scratch image: one file, the static render binary.

use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hiendien_domain::site::hex;
use hiendien_engine::ports::PortError;
use sha2::{Digest, Sha256};

const REPOSITORY: &str = "hiendien-render";

/// The name of the image made from `binary`, made where the engine has none.
pub(crate) async fn ensure(docker: &Docker, binary: &Path) -> Result<String, PortError> {
    let action = || format!("making the build image from `{}`", binary.display());
    let octets = tokio::fs::read(binary).await.map_err(|error| {
        PortError::misconfigured(
            format!("{}; `cargo xtask image` makes the binary. It", action()),
            error,
        )
    })?;
    let tag = hex(&Sha256::digest(&octets))[..16].to_owned();
    let name = format!("{REPOSITORY}:{tag}");
    match docker.inspect_image(&name).await {
        Ok(_) => return Ok(name),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => {}
        Err(error) => return Err(PortError::transient(action(), error)),
    }
    let archive = archive(&octets).map_err(|error| PortError::misconfigured(action(), error))?;
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
        .map_err(|error| PortError::transient(action(), error))?;
    Ok(name)
}

fn archive(binary: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(binary.len() as u64);
    header.set_mode(0o555);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "hiendien-render", binary)?;
    builder.into_inner()
}
