//! `pipeline run`.

use std::collections::BTreeSet;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::run::{RunOptions, run as run_stages};
use flow::spec::StageId;

use super::Done;
use super::args::{AcceptDevice, RunArgs};
use super::session::Session;
use crate::console::Console;
use crate::kinds::{KINDS, device};

/// Brings the selected stages about.
pub(super) fn run(args: &RunArgs, console: &mut Console) -> Done {
    if let Some(device) = &args.pipeline.device {
        device::check(device, args.cuda_libs.as_deref())
            .map_err(|diagnostic| Failure::one(Class::Environment, diagnostic))?;
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
        auto_device: Some(device::auto),
        environment: environment(args, &session)?,
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
    super::report::write_run_pages(&args.pipeline, &session, &summary, console);
    super::claims::tell(&session, &summary.reports, console);
    if let Some(signal) = &summary.interrupted {
        return Ok(if signal == "SIGINT" { 130 } else { 143 });
    }
    if let Some(class) = summary.class {
        return Ok(class.exit_code());
    }
    if args.strict {
        return super::claims::strict(&session, &summary.reports, console);
    }
    Ok(0)
}

/// What stages that compute on a GPU see besides: where libraries lie and where compiled kernels are kept.
fn environment(
    args: &RunArgs,
    session: &Session,
) -> Result<Vec<(&'static str, std::ffi::OsString)>, Failure> {
    let kernels = session.store.dir().join("kernels-v1");
    let mut variables = vec![(device::KERNELS_VARIABLE, kernels.into_os_string())];
    if let Some(folder) = &args.cuda_libs {
        // Stages have other current folders.
        let folder = std::path::absolute(folder).map_err(|error| {
            let message = format!("`{}` is no folder", folder.display());
            let diagnostic = Diagnostic::error("engine::no_library", message);
            Failure::one(Class::Environment, diagnostic.detail(error.to_string()))
        })?;
        variables.push((device::LIBRARIES_VARIABLE, folder.into_os_string()));
    }
    Ok(variables)
}
