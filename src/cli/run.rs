//! `pipeline run`.

use std::collections::BTreeSet;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::run::{RunOptions, run as run_stages};
use flow::spec::StageId;
use report::claims::Verdict;

use super::Done;
use super::args::{AcceptDevice, RunArgs};
use super::session::Session;
use crate::console::Console;
use crate::kinds::report::claims_number;
use crate::kinds::{KINDS, device};

/// Brings the selected stages about.
pub(super) fn run(args: &RunArgs, console: &mut Console) -> Done {
    if let Some(device) = &args.pipeline.device {
        device::check(device).map_err(|diagnostic| Failure::one(Class::Environment, diagnostic))?;
    }
    let session = Session::open(&args.pipeline, console)?;
    let mut set = |selectors: &[String]| -> Result<BTreeSet<StageId>, Failure> {
        if selectors.is_empty() {
            return Ok(BTreeSet::new());
        }
        session
            .stages(selectors, console)
            .map(|ids| ids.into_iter().collect())
    };
    let (mut force, yes, keep_old) = (
        set(&args.selection.force)?,
        set(&args.yes)?,
        set(&args.keep_old)?,
    );
    if args.selection.refresh {
        force.extend(super::lock::unpinned(&session));
    }
    if args.locked {
        super::lock::require_all(&session)?;
    }
    let options = RunOptions {
        jobs: args.jobs.unwrap_or(0) as usize,
        keep_going: args.keep_going,
        targets: session.targets(&args.selection, console)?,
        force,
        yes,
        keep_old,
        confirm_over_seconds: args.confirm_over.as_secs_f64(),
        accept_device: match args.accept_device {
            AcceptDevice::Cpu => Some("cpu".to_owned()),
            AcceptDevice::Cuda => Some("cuda".to_owned()),
            AcceptDevice::Any => None,
        },
        offline: args.offline,
        cooperates: args.cooperate,
        program: std::path::PathBuf::new(),
        arguments: std::env::args().collect(),
    };
    if let Some(selector) = &args.trace {
        return super::trace::trace(&session, selector, args.verbose, options, console);
    }
    let summary = match run_stages(session.workflow(), &session.store, KINDS, &options, console) {
        Ok(summary) => summary,
        Err(failure) => {
            console.set_sources(&session.ready.sources());
            return Err(failure);
        }
    };
    if !summary.pins.is_empty() {
        super::lock::write(
            &args.pipeline,
            &session,
            &summary.pins,
            args.locked,
            console,
        )?;
    }
    super::report::write_run_pages(&session, &summary, console);
    if let Some(signal) = &summary.interrupted {
        return Ok(if signal == "SIGINT" { 130 } else { 143 });
    }
    if let Some(class) = summary.class {
        return Ok(class.exit_code());
    }
    if args.strict {
        return strict(&session, &summary.reports, console);
    }
    Ok(0)
}

/// `--strict`: a claim that differs or has no number fails the run. What is inconclusive or not comparable says nothing
/// against the claim, and does not.
fn strict(session: &Session, reports: &[flow::event::ReportPlace], console: &mut Console) -> Done {
    let mut unmet = Vec::new();
    if session.workflow().claims > 0 && reports.is_empty() {
        unmet.push(
            Diagnostic::error(
                "run::claims",
                "nothing in this run judged the claims of `expect`",
            )
            .help("run the `report` stage too, or add one that needs the stages with the numbers"),
        );
    }
    for report in reports {
        let Some(record) = session.store.find_record(&report.key) else {
            continue;
        };
        let judged = [
            (Verdict::Differs, "not met"),
            (Verdict::Missing, "without a number"),
        ];
        for (verdict, words) in judged {
            let name = claims_number(verdict);
            let count = super::status::number_of(&session.store, &record, name);
            if count > 0.0 {
                unmet.push(
                    Diagnostic::error(
                        "run::claims",
                        format!(
                            "{count} of the claims in `{}` {} {words}",
                            report.stage,
                            if count > 1.0 { "are" } else { "is" },
                        ),
                    )
                    .help(format!("open `{}/index.html` to see which", report.path)),
                );
            }
        }
    }
    if unmet.is_empty() {
        return Ok(0);
    }
    Ok(console.fail(&Failure {
        class: Class::Stage,
        diagnostics: unmet,
    }))
}
