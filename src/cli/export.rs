//! `pipeline export`: results of a pipeline as a folder for others.

use std::path::Path;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::spec::load::{LoadOptions, flatten, lock_path, root_of};

use super::Done;
use super::args::ExportArgs;
use super::session::{Session, mirrors};
use crate::console::{Console, format};
use crate::kinds::KINDS;
use crate::kinds::fetch::redact;
use crate::share::bundle::{Settings, Why};
use crate::share::export::{Texts, Wish, export as write};

/// Writes the bundle and says what is in it.
pub(super) fn export(args: &ExportArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let selected = session.stages(&args.stages, console)?;
    let mut planner = session.planner()?;
    for id in flow::graph::upstream(session.workflow(), &selected) {
        if let Err(problem) = planner.decide(id) {
            return Err(session.failure(vec![problem], console));
        }
    }
    let wish = Wish {
        objects: args.objects,
        models: args.models,
        restricted: args.include_restricted,
        anonymous: args.anonymous,
    };
    let texts = texts(args, &session, console)?;
    let settings = Settings {
        profiles: args.pipeline.profiles.clone(),
        set: (args.pipeline.settings.iter())
            .map(|setting| format!("{}={}", setting.name, setting.value))
            .collect(),
        device: args.pipeline.device.clone(),
        mirrors: mirror_lines(args)?,
    };
    let done = write(&mut planner, &selected, &texts, settings, wish, &args.out)?;
    let _ = planner.flush();
    let bundle = &done.bundle;
    console.note(&format!(
        "wrote {}: {}, {}, {} of {}; bundle {}",
        args.out.display(),
        format::counted(done.files, "file"),
        format::bytes(done.bytes),
        format::counted(bundle.objects.len(), "object"),
        format::counted(bundle.stages.len(), "stage"),
        done.id.short(),
    ));
    if args.anonymous {
        console.note(&format!(
            "searched for {} that would give people or machines away, and found none",
            format::counted(done.searched, "word")
        ));
    }
    if !done.doubtful.is_empty() {
        let mut diagnostic = Diagnostic::warning(
            "share::perhaps",
            "family names and short names of authors occur, of whomever they may be",
        );
        diagnostic.details.clone_from(&done.doubtful);
        console.report(&[diagnostic.help(
            "look whether they mean an author; names in texts and data of others are no harm",
        )]);
    }
    let restricted = bundle
        .left_out
        .iter()
        .filter(|out| out.why == Why::Restricted);
    let mut names: Vec<String> = restricted
        .map(|out| match out.output.as_str() {
            "" => format!("`{}`", out.what),
            output => format!("`{}.{output}`", out.what),
        })
        .collect();
    if !names.is_empty() {
        names.dedup();
        let diagnostic = Diagnostic::warning(
            "share::restricted",
            format!(
                "{} must not be passed on, and stay behind",
                names.join(", ")
            ),
        )
        .help("where their terms allow you to, add `--include-restricted`");
        console.report(&[diagnostic]);
    }
    for excerpt in done.excerpts.iter().filter(|_| !args.include_restricted) {
        let diagnostic = Diagnostic::warning(
            "share::excerpts",
            format!(
                "the page of `{}` shows texts that must not be passed on, and comes along",
                excerpt.report
            ),
        )
        .detail(format!("texts of {}", excerpt.told()))
        .help("take its parts `samples` out or let their `where` leave those texts out, run and export again; or hand the folder on only with leave");
        console.report(&[diagnostic]);
    }
    let gone = bundle.left_out.iter().filter(|out| out.why == Why::Gone);
    let gone: Vec<String> = gone
        .map(|out| format!("`{}.{}`", out.what, out.output))
        .collect();
    if !gone.is_empty() {
        let diagnostic = Diagnostic::warning(
            "share::gone",
            format!("the cache does not hold {} any more", gone.join(", ")),
        )
        .help(format!(
            "`pipeline run {} STAGE --force STAGE` makes them again; then export once more",
            args.pipeline.words()
        ));
        console.report(&[diagnostic]);
    }
    if !bundle.unlike.is_empty() {
        let names = bundle.unlike.iter().take(5).map(|name| format!("`{name}`"));
        let diagnostic = Diagnostic::warning(
            "share::flat",
            format!(
                "as one file the pipeline has other stages: {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        )
        .help(
            "readers take `original/`; a recipe's value that a profile removes is the usual cause",
        );
        console.report(&[diagnostic]);
    }
    console.note(&format!("next: pipeline verify {}", args.out.display()));
    Ok(0)
}

/// The mirrors as lines for others: without passwords, and those of the project's folder from there, as keys have both.
fn mirror_lines(args: &ExportArgs) -> Result<Vec<String>, Failure> {
    let root = root_of(&args.pipeline.file);
    let mut lines = Vec::new();
    for (prefix, target) in mirrors(&args.pipeline, &root)? {
        let target = match Path::new(&target).strip_prefix(&root) {
            Ok(inside) if inside.as_os_str().is_empty() => "./".to_owned(),
            Ok(inside) => inside.to_string_lossy().into_owned(),
            Err(_) => redact(&target),
        };
        lines.push(format!("{}={target}", redact(&prefix)));
    }
    Ok(lines)
}

fn texts(args: &ExportArgs, session: &Session, console: &mut Console) -> Result<Texts, Failure> {
    let set: Vec<String> = (args.pipeline.settings.iter())
        .map(|setting| format!("{}={}", setting.name, setting.value))
        .collect();
    let people: &[&str] = if args.anonymous { &["about"] } else { &[] };
    let mut flat = |profiles: &[String], set: &[String]| {
        let options = LoadOptions {
            file: &args.pipeline.file,
            profiles,
            set,
            kinds: KINDS,
            mirrors: &[],
            device: None,
        };
        flatten(&options, people).map_err(|failure| {
            console.set_sources(&failure.sources);
            failure.failure
        })
    };
    let written = flat(&[], &[])?;
    let resolved = match args.pipeline.profiles.is_empty() && set.is_empty() {
        true => None,
        false => Some(flat(&args.pipeline.profiles, &set)?),
    };
    let sources = session.ready.sources();
    let originals = sources
        .iter()
        .filter(|source| source.path.is_some())
        .map(|source| (source.name.clone(), source.text.to_string()));
    let lock = match fs_err::read(lock_path(&args.pipeline.file)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let diagnostic = Diagnostic::error("lock::read", "the lock file cannot be read")
                .detail(error.to_string());
            return Err(Failure::one(Class::Environment, diagnostic));
        }
    };
    Ok(Texts {
        flat: written,
        resolved,
        originals: originals.collect(),
        lock,
    })
}
