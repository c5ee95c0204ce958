//! Images of a presence, from the command line.
#![expect(
    clippy::print_stdout,
    reason = "the output of a command is what it is for"
)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use hiendien_api::ImageView;

use crate::client::Client;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Images that a presence's content may show
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Hands in a JPEG, PNG or WebP file, waits for its picture and prints its identifier
    Add { name: String, file: PathBuf },
    /// Lists them
    List { name: String },
    /// Erases one that the site does not show
    Remove { name: String, image: String },
}

pub(crate) async fn ask(client: &Client, command: &ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Add { name, file } => {
            let octets =
                std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            let mut image = client.add_image(name, octets).await?;
            while image.state == "waiting" {
                tokio::time::sleep(LOOK_EVERY).await;
                image = client.image(name, &image.id).await?;
            }
            if let Some(fault) = &image.fault {
                bail!(
                    "`{}` is refused: {} [{}]\n    {}",
                    file.display(),
                    fault.en,
                    fault.code,
                    fault.vi
                );
            }
            println!("{}", image.id);
        }
        ImageCommand::List { name } => {
            for image in client.images(name).await?.images {
                println!("{}", line(&image));
            }
        }
        ImageCommand::Remove { name, image } => {
            client.remove_image(name, &image.parse()?).await?;
        }
    }
    Ok(())
}

fn line(image: &ImageView) -> String {
    let what = match (image.width.zip(image.height), &image.fault) {
        (Some((width, height)), _) => format!("{width}x{height}, {} bytes", image.kept_bytes),
        (None, Some(fault)) => fault.code.clone(),
        (None, None) => format!("{} bytes", image.upload_bytes),
    };
    format!("{}  {:<8} {what}", image.id, image.state)
}
