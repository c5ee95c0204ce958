//! The one program: serves all roles, and asks a running one.

use std::process::ExitCode;

use clap::Parser as _;
use hiendien::Arguments;
use hiendien_engine::ports::ErrorChain;

#[expect(clippy::print_stderr, reason = "a failed command tells its reason")]
#[tokio::main]
async fn main() -> ExitCode {
    // Two providers are linked; the one for everything of ours is named once.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: a TLS provider was installed already");
        return ExitCode::FAILURE;
    }
    match hiendien::run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", ErrorChain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
