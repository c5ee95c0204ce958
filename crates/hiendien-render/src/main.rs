//! Renders one site, or makes one picture, from standard input to standard output. Runs in a container without network,
//! or confines itself first: see [`hiendien_render::confine`].

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use hiendien_render::confine::{CONFINED, Work, confine};
use hiendien_render::images::{ImageFault, picture};
use hiendien_render::job::{Task, read_task, write_picture, write_tree};
use hiendien_render::render;

fn run() -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    if let Some(work) = std::env::args()
        .nth(1)
        .and_then(|first| Work::of_argument(&first))
    {
        let confined = confine(work)?;
        writeln!(out, "{CONFINED}{confined}")?;
        out.flush()?;
    }
    match read_task(&mut io::stdin().lock())? {
        Task::Site(job) => write_tree(&render(&job.template, &job.content)?, &mut out)?,
        Task::Image(job) => {
            // A decoder that panics has refused its upload, which is all there is to tell.
            std::panic::set_hook(Box::new(|_| {}));
            let made = match picture(&job.id, &job.upload) {
                Err(ImageFault::Refused(fault)) => Err(fault),
                made => Ok(made?),
            };
            write_picture(&job.id, made, &mut out)?;
        }
    }
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
