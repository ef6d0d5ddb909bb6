//! `pipeline get --format huggingface`: a model as a folder for the hub, with a card of what is known of it.

use std::path::{Path, PathBuf};

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::kind::StageError;
use flow::plan::{Decision, Planner};
use flow::spec::{StageId, StageSpec};
use report::card::{Card, Made, Model};
use serde_json::Value;

use super::members::{MODELS, Members};
use super::{disk, not_cached, unreadable_object};
use crate::cli::Done;
use crate::cli::args::GetArgs;
use crate::cli::session::Session;
use crate::console::Console;
use crate::kinds::handing_out::{Described, describe, write_tokenizer};
use crate::share::bundle::authors;
use crate::share::lineage::Lineage;

/// Writes the folder, whole or not at all.
pub(super) fn hand_out(args: &GetArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let id = session.one_stage(&args.output.stage, console)?;
    let to = free_place(&args.to)?;
    let mut planner = session.planner()?;
    for needed in flow::graph::upstream(session.workflow(), &[id]) {
        let decided = planner.decide(needed);
        let decision = decided.map_err(|problem| session.failure(vec![problem], console))?;
        if needed == id && !matches!(decision, Decision::Hit(_)) {
            return Err(not_cached(&args.pipeline, planner.stage(id)));
        }
    }
    let stage = planner.stage(id);
    let output = model_output(stage, args.output.output.as_deref())?;
    let is_restricted = planner.notes(id).get("redistribute") == Some(&Value::Bool(false));
    let members = Members::of(session.workflow(), id, &output);
    for other in flow::graph::upstream(session.workflow(), &members.all()) {
        if planner.known(other).is_none() {
            // What cannot be looked at now has no numbers; the model itself has been.
            let _ = planner.decide(other);
        }
    }
    let mut card = begin(&session, &planner, id, &output, &members, is_restricted);
    if is_restricted && !args.include_restricted {
        return Err(restricted(&card));
    }
    card.name = to
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let temporary = to.with_file_name(format!(".{}.{}.tmp", card.name, std::process::id()));
    let written = write(args, &session, &planner, id, &output, card, &temporary)
        .and_then(|()| fs_err::rename(&temporary, &to).map_err(|error| disk(&error)));
    if let Err(failure) = written {
        let _ = flow::store::remove_tree(&temporary);
        return Err(failure);
    }
    let _ = planner.flush();
    console.note(&args.to.display().to_string());
    Ok(0)
}

/// The folder to be: its parent is made, and nothing lies at its place but perhaps an empty folder.
fn free_place(to: &Path) -> Result<PathBuf, Failure> {
    let whole = std::path::absolute(to).map_err(|error| disk(&error))?;
    let is_empty = fs_err::read_dir(&whole).is_ok_and(|mut entries| entries.next().is_none());
    let is_free = std::fs::symlink_metadata(&whole).is_err() || is_empty;
    let (Some(parent), Some(_), true) = (whole.parent(), whole.file_name(), is_free) else {
        let message = format!("`{}` is there already", to.display());
        let diagnostic = Diagnostic::error("cli::exists", message)
            .help("move it away, or name another folder with `--to`");
        return Err(Failure::one(Class::Input, diagnostic));
    };
    fs_err::create_dir_all(parent).map_err(|error| disk(&error))?;
    Ok(whole)
}

/// The output that is meant, if it is a model.
fn model_output(stage: &StageSpec, named: Option<&str>) -> Result<String, Failure> {
    let is_named =
        |name: &str| ["model", "generator"].contains(&name) || name.starts_with("snapshot-");
    let is_model = |name: &str| MODELS.contains(&stage.kind.as_str()) && is_named(name);
    let outputs = stage.outputs.iter().map(|output| output.name.as_str());
    let models: Vec<&str> = outputs.filter(|name| is_model(name)).collect();
    let wanted = named.or(models.first().copied());
    if let Some(name) = wanted.filter(|name| models.contains(name)) {
        return Ok(name.to_owned());
    }
    let what = match named {
        Some(output) => format!("`{}.{output}` is no model", stage.name),
        None => format!("`{}` is no model: its kind is `{}`", stage.name, stage.kind),
    };
    let help = if models.is_empty() {
        "name a stage of kind `pretrain`, `finetune` or `checkpoint`".to_owned()
    } else {
        format!("its models are {}", flow::spec::suggest::list(&models))
    };
    let diagnostic = Diagnostic::error("cli::no_model", what).help(help);
    Err(Failure::one(Class::Input, diagnostic))
}

fn restricted(card: &Card) -> Failure {
    let message = format!("`{}` was made from what must not be passed on", card.stage);
    let mut diagnostic = Diagnostic::error("cli::restricted", message);
    for source in card.sources.iter().filter(|source| source.is_restricted) {
        let terms = match source.licences.as_slice() {
            [] => "no licence was stated".to_owned(),
            licences => licences.join("; "),
        };
        diagnostic = diagnostic.detail(format!("`{}`: {terms}", source.name));
    }
    let diagnostic = diagnostic.help(
        "where its terms allow you to, such as for a folder that stays with you, add `--include-restricted`",
    );
    Failure::one(Class::Input, diagnostic)
}

/// The card but for what only the model's files tell.
fn begin(
    session: &Session,
    planner: &Planner<'_>,
    id: StageId,
    output: &str,
    members: &Members,
    is_restricted: bool,
) -> Card {
    let workflow = session.workflow();
    let stage = planner.stage(id);
    let lineage = Lineage::of(planner, id);
    let (start, base_model) = lineage.beginning(stage);
    let about: Value = workflow
        .about
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let config: Value = serde_json::from_str(&stage.config).unwrap_or_default();
    let scores = members.scores(planner);
    let has_dev = scores
        .iter()
        .any(|score| score.stage == stage.stage && score.split.as_deref() == Some("dev"));
    Card {
        pipeline: workflow.name.clone(),
        doc: workflow.doc.clone(),
        stage: stage.name.clone(),
        stage_doc: stage.doc.clone(),
        kind: stage.kind.clone(),
        output: output.to_owned(),
        start,
        base_model,
        sources: lineage.sources(),
        datasets: lineage.datasets(),
        members: members.listed(planner, id),
        is_chosen_on_dev: stage.kind == "finetune" && config["keep"] != "last" && has_dev,
        scores,
        is_restricted,
        languages: texts(&about["language"]),
        citation: citation(&about),
        ..Card::default()
    }
}

/// Copies the model to `to` and puts beside it what the hub wants.
fn write(
    args: &GetArgs,
    session: &Session,
    planner: &Planner<'_>,
    id: StageId,
    output: &str,
    mut card: Card,
    to: &Path,
) -> Result<(), Failure> {
    let known = planner.known(id).expect("decided before");
    let content = known.entry.output(output).expect("a declared output");
    let name = &planner.stage(id).name;
    session
        .store
        .copy_out(content, to)
        .map_err(|error| unreadable_object(&args.pipeline, session, name, &known.key, &error))?;
    let described = describe(to).map_err(of_stage)?;
    write_tokenizer(to).map_err(of_stage)?;
    let record = session.store.find_record(&known.key);
    card.made = Made {
        key: known.key.to_string(),
        digest: content.line(),
        weights: described.sha256.clone(),
        ..Made::default()
    };
    if let Some(record) = record {
        card.made.program = record.program;
        card.made.device = record.device;
        card.made.finished = record.finished;
        card.made.manifest = record.manifest;
        card.made.accepted = record.accepted.map(|accepted| accepted.reason);
    }
    card.model = model(described);
    let pages = card
        .page()
        .and_then(|page| Ok((page, card.licence_page()?)));
    let (page, licences) = pages.map_err(|error| {
        let diagnostic = Diagnostic::error("cli::card", error.to_string());
        Failure::one(Class::Bug, diagnostic)
    })?;
    let mut files = vec![("README.md", page)];
    files.extend(licences.map(|text| ("LICENSE.md", text)));
    for (name, text) in files {
        fs_err::write(to.join(name), text).map_err(|error| disk(&error))?;
    }
    Ok(())
}

fn of_stage(error: StageError) -> Failure {
    Failure::one(error.class, error.diagnostic)
}

fn model(described: Described) -> Model {
    let [layers, width, heads, vocabulary] = described.sizes;
    Model {
        class: described.class,
        task: described.task.map(|task| task.name().to_owned()),
        is_native: described.is_native,
        labels: described.labels,
        parameters: described.parameters,
        layers,
        width,
        heads,
        vocabulary,
        max_length: described.max_length,
        lower_case: described.lower_case,
        extra: described.extra,
        missing: described.missing,
    }
}

/// A text, or several.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Number(number) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

/// `citation` of `about:` as it is, else a line of title, authors, year and address.
fn citation(about: &Value) -> Option<String> {
    if let Some(text) = about["citation"].as_str() {
        return Some(text.to_owned());
    }
    let part = |name: &str| texts(&about[name]).join(", ");
    let title = Some(part("title")).filter(|title| !title.is_empty())?;
    let people: Vec<String> = authors(about)
        .into_iter()
        .map(|author| author.name)
        .collect();
    let parts = [
        people.join(", "),
        part("year"),
        title,
        part("doi"),
        part("url"),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Some(format!("{}.", parts.join(". ")))
}
