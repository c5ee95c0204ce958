//! Renders one job from standard input to standard output. Runs in a container without network.

use std::error::Error;
use std::io::{self, BufWriter};
use std::process::ExitCode;

use hiendien_render::job::{read_job, write_tree};
use hiendien_render::render;

fn run() -> Result<(), Box<dyn Error>> {
    let job = read_job(&mut io::stdin().lock())?;
    let tree = render(&job.template, &job.content)?;
    write_tree(&tree, &mut BufWriter::new(io::stdout().lock()))?;
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "standard error is how the container tells its one fault"
)]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                line = format!("{line}: {cause}");
                source = cause.source();
            }
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}
