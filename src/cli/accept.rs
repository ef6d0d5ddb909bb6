//! `pipeline accept`: blesses present outputs for a new key, visibly.

use flow::clock;
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::exec::job::entry_of;
use flow::key::Change;
use flow::plan::Decision;
use flow::store::index::append_record;
use flow::store::record::Accepted;

use super::Done;
use super::args::AcceptArgs;
use super::session::Session;
use crate::console::Console;

/// Records the last result of a stage under its present key, with the reason.
pub(super) fn accept(args: &AcceptArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let id = session.one_stage(&args.stage, console)?;
    let stage = &session.workflow().stages[id.index()];
    let name = &stage.name;
    let refuse = |code: &str, message: String, help: String| {
        Err(Failure::one(
            Class::Input,
            Diagnostic::error(code, message).help(help),
        ))
    };
    let mut planner = session.planner()?;
    let mut decision = Decision::Open;
    for upstream in flow::graph::upstream(session.workflow(), &[id]) {
        decision = planner
            .decide(upstream)
            .map_err(|problem| session.failure(vec![problem], console))?;
    }
    let (key, manifest) = match decision {
        Decision::Miss { key, manifest } => (key, manifest),
        Decision::Hit(_) => {
            return refuse(
                "accept::cached",
                format!("`{name}` has a record under its present key"),
                "there is nothing to accept".into(),
            );
        }
        Decision::Open => {
            return refuse(
                "accept::open",
                format!("`{name}` has no key yet: stages before it are outdated"),
                "accept or run those first; `pipeline plan FILE` lists them".into(),
            );
        }
    };
    let Some(old) = planner.last_record(stage, &key) else {
        return refuse(
            "accept::no_record",
            format!("`{name}` has no earlier result to accept"),
            format!("`{}` makes one", args.pipeline.command_to_make(name)),
        );
    };
    let mut missing: Vec<&str> = stage
        .outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect();
    missing.retain(|output| !old.outputs.contains_key(*output));
    if !missing.is_empty() {
        return refuse(
            "accept::outputs",
            format!(
                "the earlier result of `{name}` has no output {}",
                flow::spec::suggest::list(&missing)
            ),
            "a result with other outputs cannot stand in; run the stage".into(),
        );
    }
    let changes = manifest.changes_from(&flow::key::Manifest(old.manifest.clone()));
    let mut record = old.clone();
    record
        .notes
        .insert("accepted".to_owned(), args.reason.clone().into());
    record.accepted = Some(Accepted {
        reason: args.reason.clone(),
        from: old.key,
        date: clock::rfc3339(clock::now_ns()),
    });
    (record.key, record.manifest) = (key, manifest.0);
    let written = session
        .store
        .write_record(&record)
        .and_then(|()| append_record(session.store.dir(), &key, &entry_of(&record)));
    written.map_err(|error| {
        Failure::one(
            Class::Environment,
            Diagnostic::error("accept::write", "the record cannot be written")
                .detail(error.to_string()),
        )
    })?;
    planner.note_key(stage, key);
    let _ = planner.flush();
    console.note(&format!(
        "`{name}`: the result of {} is accepted for the key {}",
        old.finished,
        key.short()
    ));
    for change in changes.iter().map(Change::words) {
        console.note(&format!("  {change}"));
    }
    Ok(0)
}
