//! `cargo xtask site`: a template's site as files.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;

use crate::stack::{built, run};

#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// A template, what fills it, and a folder: see `site-lab write --help`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn write(settings: &Settings) -> anyhow::Result<()> {
    run(Command::new(built("debug", "site-lab")?)
        .arg("write")
        .arg("--renderer")
        .arg(built("release", "hiendien-render")?)
        .args(&settings.arguments))
}
