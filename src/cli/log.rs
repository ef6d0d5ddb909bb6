//! `pipeline log`: what a stage printed, the last time it ran or while it runs.

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::plan::Decision;

use super::Done;
use super::args::StageArgs;
use super::session::Session;
use crate::console::Console;

/// Prints the log of a stage: of its running or failed attempt, else of its record.
pub(super) fn log(args: &StageArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let id = session.one_stage(&args.stage, console)?;
    let mut planner = session.planner()?;
    let name = session.workflow().stages[id.index()].name.clone();
    let mut key = None;
    for upstream in flow::graph::upstream(session.workflow(), &[id]) {
        match planner
            .decide(upstream)
            .map_err(|problem| session.failure(vec![problem], console))?
        {
            Decision::Hit(known) if upstream == id => key = Some(known.key),
            Decision::Miss { key: planned, .. } if upstream == id => key = Some(planned),
            _ => {}
        }
    }
    // A stage whose inputs are open has no key now; the last one it had is what people mean.
    let last = planner.last_key(&session.workflow().stages[id.index()]);
    for key in key.into_iter().chain(last) {
        if let Some(path) = flow::exec::last_log(&session.store, &key)
            && let Ok(text) = fs_err::read(path)
        {
            console.printed(&text);
            return Ok(0);
        }
        if let Some(record) = session.store.find_record(&key) {
            let Some(content) = record.log else {
                console.note(&format!("`{name}` printed nothing"));
                return Ok(0);
            };
            let text =
                fs_err::read(session.store.object_path(&content.digest)).map_err(|error| {
                    let diagnostic = Diagnostic::error(
                        "cli::no_bytes",
                        format!("the log of `{name}` is not in the cache any more"),
                    )
                    .detail(error.to_string());
                    Failure::one(Class::Environment, diagnostic)
                })?;
            console.printed(&text);
            return Ok(0);
        }
    }
    let diagnostic =
        Diagnostic::error("cli::no_log", format!("`{name}` has not run yet")).help(format!(
            "`pipeline run {} '{name}'` runs it",
            args.pipeline.file.display()
        ));
    Err(Failure::one(Class::Input, diagnostic))
}
