//! `pipeline run --trace`: one run of a stage under watch, and what to declare.

use std::fmt::Write as _;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::exec::job::{Force, Job};
use flow::exec::trace::{IS_POSSIBLE, Place, Traced, trace as run_watched};
use flow::plan::{Decision, inputs_of};
use flow::run::{RunOptions, run as run_stages, selected};
use flow::spec::StageId;

use super::Done;
use super::session::Session;
use crate::console::{Console, format};
use crate::kinds::KINDS;

/// Brings about what the stage needs, runs it once under watch, and prints what it read.
pub(super) fn trace(
    session: &Session,
    selector: &str,
    verbose: bool,
    options: RunOptions,
    console: &mut Console,
) -> Done {
    if !IS_POSSIBLE {
        let problem = Diagnostic::error("trace::system", "only Linux lets a program be watched")
            .help("run it there, or find undeclared files with `sandbox: strict`");
        return Err(Failure::one(Class::Environment, problem));
    }
    let id = session.one_stage(selector, console)?;
    let workflow = session.workflow();
    let stage = &workflow.stages[id.index()];
    let mut producers: Vec<StageId> = inputs_of(stage).map(|output| output.stage).collect();
    producers.sort_unstable();
    producers.dedup();
    let offline = options.offline;
    if !producers.is_empty() {
        let options = RunOptions {
            targets: producers,
            ..options
        };
        let summary = run_stages(workflow, &session.store, KINDS, &options, console)?;
        if let Some(signal) = &summary.interrupted {
            return Ok(if signal == "SIGINT" { 130 } else { 143 });
        }
        if let Some(class) = summary.class {
            return Ok(class.exit_code());
        }
    }
    let mut planner = session.planner()?;
    let mut key = None;
    for id in selected(workflow, &[id]) {
        key = match planner.decide(id) {
            Ok(Decision::Hit(known)) => Some(known.key),
            Ok(Decision::Miss { key, .. }) => Some(key),
            Ok(Decision::Open) => None,
            Err(problem) => return Err(session.failure(vec![problem], console)),
        };
    }
    let Some(key) = key else {
        let problem = Diagnostic::error(
            "trace::input",
            format!("what `{}` needs is not known", stage.name),
        )
        .help("run the pipeline up to it first");
        return Err(Failure::one(Class::Input, problem));
    };
    let inputs = planner
        .job_inputs(id)
        .map_err(|problem| session.failure(vec![problem], console))?;
    let job = Job {
        key,
        manifest: String::new(),
        stage: stage.name.clone(),
        pipeline: workflow.name.clone(),
        root: workflow.root.clone(),
        cache: session.store.dir().to_path_buf(),
        kind: stage.kind.clone(),
        config: stage.config.clone(),
        inputs,
        outputs: stage.outputs.clone(),
        launch: stage.launch.clone(),
        policy: stage.policy.clone(),
        gpus: None,
        offline,
        force: Force::Always,
        with_records: planner.reads_records(&stage.kind),
        cooperates: false,
    };
    let traced = run_watched(&job, &session.store)
        .map_err(|error| Failure::one(error.class, error.diagnostic))?;
    console.text(&told(&stage.name, &stage.stage, &traced, verbose));
    if traced.ended_well {
        return Ok(0);
    }
    let mut problem = Diagnostic::error("trace::failed", format!("`{}` failed", stage.name));
    for line in &traced.last_lines {
        problem = problem.detail(line);
    }
    let problem = problem.help("what it looked for may be in the lists above");
    Err(Failure::one(Class::Stage, problem))
}

/// What was read, as text.
fn told(name: &str, stage: &str, traced: &Traced, verbose: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!(
        "{name} ran once under watch; nothing of it is in the cache"
    ));
    if traced.undeclared.is_empty() {
        line("it reads no file that it does not declare".to_owned());
    } else {
        line("not declared:".to_owned());
        for file in &traced.undeclared {
            let how = match (file.only_looked_for, file.place) {
                (true, _) => "  (looked for in the stage's folder, where it is not)",
                (false, Place::Project) => "  (read where it lies)",
                (false, Place::Home) => "  (of the home folder)",
                (false, Place::Elsewhere) => "",
            };
            line(format!("  {}{how}", file.path));
        }
        line(format!("add under `needs:` of `{stage}`:"));
        for file in &traced.undeclared {
            line(format!("      {}", file.line));
        }
        if traced.undeclared.iter().any(|file| !file.only_looked_for) {
            line(
                "and let the command read what it reads where it lies by the name after `as`"
                    .to_owned(),
            );
        }
    }
    if !traced.unread.is_empty() {
        line("declared and never read:".to_owned());
        for (port, place) in &traced.unread {
            line(format!("  {port}: {place}"));
        }
    }
    if !traced.missing.is_empty() {
        line("looked for in the stage's folder, and nowhere:".to_owned());
        for path in &traced.missing {
            line(format!("  {path}"));
        }
    }
    if verbose {
        for path in traced.libraries.iter().chain(&traced.system) {
            line(format!("also read: {path}"));
        }
    } else {
        let count = |files: &[String]| format::counted(files.len(), "file");
        line(format!(
            "not listed without `--verbose`: {} of languages, {} of the system",
            count(&traced.libraries),
            count(&traced.system)
        ));
    }
    out
}
