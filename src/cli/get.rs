//! `pipeline get` and `pipeline path`: outputs for people.

use flow::content::Content;
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::plan::Decision;
use flow::spec::{METRICS, StageSpec};
use flow::store::StoreError;

use super::Done;
use super::args::{GetArgs, GetFormat, PathArgs, PipelineArgs};
use super::session::Session;
use super::values::OutputSelector;
use crate::console::Console;

mod huggingface;
mod members;

/// Copies an output, of one stage or of several, into a folder.
pub(super) fn get(args: &GetArgs, console: &mut Console) -> Done {
    if args.format == GetFormat::Huggingface {
        return huggingface::hand_out(args, console);
    }
    let session = Session::open(&args.pipeline, console)?;
    let found = outputs(&args.pipeline, &session, &args.output, console)?;
    fs_err::create_dir_all(&args.to).map_err(|error| disk(&error))?;
    let several = found.len() > 1;
    for output in &found {
        let name = if several {
            format!("{}.{}", safe(&output.stage.name), output.file)
        } else {
            output.file.clone()
        };
        let to = args.to.join(name);
        if std::fs::symlink_metadata(&to).is_ok() {
            let diagnostic = Diagnostic::error(
                "cli::exists",
                format!("`{}` is there already", to.display()),
            )
            .help("move it away, or name another folder with `--to`");
            return Err(Failure::one(Class::Input, diagnostic));
        }
        let temporary = to.with_file_name(format!(".{}.{}.tmp", output.file, std::process::id()));
        let copied = session
            .store
            .copy_out(&output.content, &temporary)
            .and_then(|()| fs_err::rename(&temporary, &to).map_err(StoreError::from));
        if let Err(error) = copied {
            let _ = flow::store::remove_tree(&temporary);
            return Err(unreadable(&args.pipeline, &session, output, &error));
        }
        console.note(&to.display().to_string());
    }
    Ok(0)
}

/// Prints where outputs lie in the cache.
pub(super) fn path(args: &PathArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    for output in outputs(&args.pipeline, &session, &args.output, console)? {
        if !session.store.has(&output.content) {
            return Err(unreadable(
                &args.pipeline,
                &session,
                &output,
                &StoreError::Missing {
                    digest: output.content.digest,
                },
            ));
        }
        if output.content.form == flow::content::Form::Tree {
            let diagnostic = Diagnostic::error(
                "cli::tree",
                format!(
                    "output `{}` of `{}` is a folder, kept as single files",
                    output.name, output.stage.name
                ),
            )
            .help(format!(
                "`{}` copies it",
                (args.pipeline)
                    .command_to_get(&format!("{}.{}", output.stage.name, output.name), "DIR")
            ));
            return Err(Failure::one(Class::Input, diagnostic));
        }
        console.text(
            &session
                .store
                .object_path(&output.content.digest)
                .display()
                .to_string(),
        );
    }
    Ok(0)
}

struct Found<'a> {
    stage: &'a StageSpec,
    name: String,
    file: String,
    content: Content,
    key: Digest,
}

fn outputs<'a>(
    args: &PipelineArgs,
    session: &'a Session,
    selector: &OutputSelector,
    console: &mut Console,
) -> Result<Vec<Found<'a>>, Failure> {
    let ids = session.stages(std::slice::from_ref(&selector.stage), console)?;
    let mut planner = session.planner()?;
    let mut found = Vec::new();
    for id in flow::graph::upstream(session.workflow(), &ids) {
        let decision = planner
            .decide(id)
            .map_err(|problem| session.failure(vec![problem], console))?;
        if !ids.contains(&id) {
            continue;
        }
        let stage = &session.workflow().stages[id.index()];
        let Decision::Hit(known) = decision else {
            return Err(not_cached(args, stage));
        };
        let name = match &selector.output {
            Some(name) => name.clone(),
            None => stage
                .outputs
                .first()
                .map_or_else(|| METRICS.to_owned(), |output| output.name.clone()),
        };
        let Some(content) = known.entry.output(&name).copied() else {
            let names: Vec<&str> = known
                .entry
                .outputs
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            let diagnostic = Diagnostic::error(
                "spec::unknown_output",
                format!("`{}` has no output `{name}`", stage.name),
            )
            .help(format!("it has {}", flow::spec::suggest::list(&names)));
            return Err(Failure::one(Class::Input, diagnostic));
        };
        let declared = stage
            .outputs
            .iter()
            .find(|output| output.name == name)
            .map(|output| output.path.as_str());
        let file = declared
            .unwrap_or("metrics.jsonl")
            .rsplit('/')
            .next()
            .unwrap_or(&name)
            .to_owned();
        found.push(Found {
            stage,
            name,
            file,
            content,
            key: known.key,
        });
    }
    let _ = planner.flush();
    Ok(found)
}

fn not_cached(args: &PipelineArgs, stage: &StageSpec) -> Failure {
    let diagnostic = Diagnostic::error(
        "cli::not_cached",
        format!("`{}` has no result yet", stage.name),
    )
    .help(format!(
        "one made with other profiles, settings, mirrors or another device is found with those; `{}` makes it",
        args.command_to_make(&stage.name)
    ));
    Failure::one(Class::Input, diagnostic)
}

fn unreadable(
    args: &PipelineArgs,
    session: &Session,
    output: &Found<'_>,
    error: &StoreError,
) -> Failure {
    unreadable_object(args, session, &output.stage.name, &output.key, error)
}

fn unreadable_object(
    args: &PipelineArgs,
    session: &Session,
    name: &str,
    key: &Digest,
    error: &StoreError,
) -> Failure {
    let again = args.command_to_make_again(name);
    match error {
        StoreError::Missing { .. } => {
            let diagnostic = Diagnostic::error(
                "cli::no_bytes",
                format!("the record of `{name}` is there, its bytes are not in the cache"),
            )
            .detail(format!("key {}", key.short()))
            .help(format!("`{again}` makes them again"));
            Failure::one(Class::Environment, diagnostic)
        }
        StoreError::Corrupt { digest, .. } => {
            let moved = session.store.quarantine(digest).is_ok();
            let diagnostic = Diagnostic::error(
                "store::corrupt",
                format!(
                    "object {} of `{name}` does not match its digest",
                    digest.short()
                ),
            )
            .detail(if moved {
                "moved to cache/quarantine"
            } else {
                "it cannot be moved to cache/quarantine"
            })
            .help(format!("`{again}` makes it again"));
            Failure::one(Class::Environment, diagnostic)
        }
        StoreError::Io(error) => disk(error),
    }
}

fn disk(error: &std::io::Error) -> Failure {
    let diagnostic =
        Diagnostic::error("cli::write", "the copy cannot be written").detail(error.to_string());
    Failure::one(Class::Environment, diagnostic)
}

/// A stage's name as part of a file name.
fn safe(name: &str) -> String {
    name.chars()
        .map(|c| if c == '/' { '_' } else { c })
        .collect()
}
