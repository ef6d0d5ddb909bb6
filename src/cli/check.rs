//! `pipeline check`: all errors at once, no work.

use flow::spec::paths::check_paths;

use super::Done;
use super::args::CheckArgs;
use super::session::Session;
use crate::console::{Console, format};

/// Loads the file and looks for its input files.
pub(super) fn check(args: &CheckArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let problems = check_paths(session.workflow());
    if !problems.is_empty() {
        return Err(session.failure(problems, console));
    }
    if args.json {
        console.json::<[()]>(&[]);
    } else {
        let stages = format::counted(session.workflow().stages.len(), "stage");
        console.note(&format!(
            "{}: {stages}, no errors",
            args.pipeline.file.display()
        ));
    }
    Ok(0)
}
