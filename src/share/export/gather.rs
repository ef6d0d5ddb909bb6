//! What comes along in a bundle and what is left out, and why: results of stages, and files of the author's. Writes
//! nothing.

use std::collections::BTreeMap;
use std::path::Path;

use flow::content::{Content, Form};
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::exec::job::JobSource;
use flow::notes::of_output;
use flow::plan::Planner;
use flow::restate::Restated;
use flow::spec::{METRICS, StageId, StageSpec};
use flow::store::record::Record;
use serde_json::Value;

use super::Wish;
use crate::kinds::KINDS;
use crate::share::bundle::{BundleStage, LeftOut, SourceFile, Why};
use crate::share::lineage::{Lineage, lines};
use crate::share::sums::is_plain;

/// Files of the author's up to this size come along unasked.
const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Outputs by their kinds that hold numbers alone, like what every stage counts: terms of texts do not reach them.
const NUMBERS: [(&str, &str); 5] = [
    ("pretrain", "log"),
    ("finetune", "log"),
    ("select", "choice"),
    ("select", "ranking"),
    ("select", "table"),
];
/// Kinds whose first output is a model.
const MODELS: [&str; 3] = ["pretrain", "finetune", "checkpoint"];

/// Whether an output holds numbers alone.
pub(crate) fn is_numbers(kind: &str, output: &str) -> bool {
    output == METRICS || NUMBERS.contains(&(kind, output))
}

/// Everything an export gathers before it writes.
pub(super) struct Gathered {
    pub(super) stages: Vec<BundleStage>,
    pub(super) records: BTreeMap<Digest, Record>,
    /// Of each stage the outputs that come along.
    pub(super) wanted: Vec<Vec<Wanted>>,
    pub(super) files: Vec<(SourceFile, JobSource)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// An output, or a part of one, that comes along.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) content: Content,
    /// Names of files of a folder that come along; all where there is none.
    pub(super) only: Option<Vec<String>>,
    pub(super) left_out: LeftOut,
}

/// What is there of stages, and what of it comes along.
///
/// # Errors
/// Stages without a result.
pub(super) fn gather(
    planner: &mut Planner<'_>,
    selected: &[StageId],
    wish: Wish,
) -> Result<Gathered, Failure> {
    let mut gathered = Gathered {
        stages: Vec::new(),
        records: BTreeMap::new(),
        wanted: Vec::new(),
        files: Vec::new(),
        left_out: Vec::new(),
    };
    let ids: Vec<StageId> = Lineage::of_all(planner, selected).stages().to_vec();
    let one = |diagnostic: Diagnostic| Failure::one(Class::Input, diagnostic);
    let mut missing = Vec::new();
    let mut judged_inputs: BTreeMap<(StageId, String), Option<Vec<String>>> = BTreeMap::new();
    for id in &ids {
        let stage = planner.stage(*id);
        let Some(key) = planner.known(*id).map(|known| known.key) else {
            missing.push(format!("`{}`", stage.name));
            continue;
        };
        let Some(record) = planner.store.find_record(&key) else {
            missing.push(format!("`{}`", stage.name));
            continue;
        };
        let Some(restated) = Restated::of(planner, KINDS, *id).map_err(one)? else {
            missing.push(format!("`{}`", stage.name));
            continue;
        };
        if stage.kind == "score" {
            note_score_inputs(stage, &restated, &mut judged_inputs);
        }
        if planner.is_report(&stage.kind) {
            // Without what it reads, such as logs, nobody could make it again.
            for output in flow::plan::inputs_of(stage) {
                judged_inputs.insert((output.stage, output.output.clone()), None);
            }
        }
        gathered
            .files
            .extend(author_files(planner, *id, wish, &mut gathered.left_out)?);
        gathered.records.insert(key, record);
        gathered.stages.push(BundleStage {
            key,
            stage: restated,
        });
    }
    if !missing.is_empty() {
        let count = missing.len();
        missing.truncate(5);
        let diagnostic = Diagnostic::error(
            "cli::not_cached",
            format!("{} of {} stages have no result yet", count, ids.len()),
        )
        .detail(missing.join(", "))
        .help(
            "`pipeline run FILE` makes them, and only the profiles, settings and mirrors of that run find them; or name the stages to export",
        );
        return Err(one(diagnostic));
    }
    for id in &ids {
        let stage = planner.stage(*id);
        let record = &gathered.records[&planner.known(*id).expect("looked at above").key];
        let mut of_stage = Vec::new();
        for (name, content) in &record.outputs {
            let for_judges = judged_inputs.get(&(*id, name.clone()));
            let wanted = output(planner, *id, stage, name, content, for_judges, wish);
            match wanted {
                Ok(wanted) => of_stage.push(wanted),
                Err(left_out) => gathered.left_out.push(left_out),
            }
        }
        gathered.wanted.push(of_stage);
    }
    Ok(gathered)
}

/// Which outputs a score needs, and which files of them.
fn note_score_inputs(
    stage: &StageSpec,
    restated: &Restated,
    inputs: &mut BTreeMap<(StageId, String), Option<Vec<String>>>,
) {
    let config: Value = restated.config.clone().unwrap_or_default();
    let split = config["split"].as_str().unwrap_or("test");
    for input in &stage.inputs {
        let flow::spec::Origin::Stage(output) = &input.origin else {
            continue;
        };
        let names = ["labels.json".to_owned(), format!("{split}.jsonl")];
        let names = names
            .into_iter()
            .filter(|name| crate::kinds::score::reads(&config, &input.port, name));
        let known = inputs
            .entry((output.stage, output.output.clone()))
            .or_insert_with(|| Some(Vec::new()));
        if crate::kinds::score::reads(&config, &input.port, "anything else") {
            *known = None;
        }
        if let Some(known) = known {
            known.extend(names);
            known.sort();
            known.dedup();
        }
    }
}

/// Whether an output comes along, and which files of it; else why not.
fn output(
    planner: &Planner<'_>,
    id: StageId,
    stage: &StageSpec,
    name: &str,
    content: &Content,
    for_judges: Option<&Option<Vec<String>>>,
    wish: Wish,
) -> Result<Wanted, LeftOut> {
    let notes = of_output(planner.notes(id), name);
    let is_restricted = notes.get("redistribute") == Some(&Value::Bool(false));
    let left_out = |why| LeftOut {
        what: stage.stage.clone(),
        output: name.to_owned(),
        why,
        terms: if why == Why::Restricted {
            lines(notes.get("licence"))
        } else {
            Vec::new()
        },
        count: 1,
        bytes: content.bytes,
    };
    let is_report = planner.is_report(&stage.kind);
    // Numbers are no copies of what they were counted from.
    let is_numbers = is_numbers(&stage.kind, name);
    let is_free = is_report || name == METRICS;
    let is_model = MODELS.contains(&stage.kind.as_str()) && name != METRICS;
    let whole =
        is_free || wish.objects || wish.models && is_model || stage.policy.publish.is_some();
    let only = match (whole, for_judges) {
        (true, _) => None,
        (false, Some(only)) => only.clone(),
        (false, None) => return Err(left_out(Why::NotAsked)),
    };
    if is_restricted && !is_free && !is_numbers && !wish.restricted {
        return Err(left_out(Why::Restricted));
    }
    Ok(Wanted {
        name: name.to_owned(),
        content: *content,
        only: only.filter(|_| content.form == Form::Tree),
        left_out: left_out(Why::Gone),
    })
}

/// Files of the author's that a stage reads and that may come along.
fn author_files(
    planner: &mut Planner<'_>,
    id: StageId,
    wish: Wish,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<(SourceFile, JobSource)>, Failure> {
    let inputs = planner
        .job_inputs(id)
        .map_err(|diagnostic| Failure::one(Class::Input, diagnostic))?;
    let root = &planner.workflow.root;
    let is_restricted = {
        let note = planner.notes(id).get("redistribute");
        note.is_some_and(|note| note.to_string().contains("false"))
    };
    let mut files = Vec::new();
    for input in inputs {
        let asked_for = input.port.starts_with("put/");
        for item in input.items {
            let path = match &item.source {
                JobSource::Path(path) => path.clone(),
                JobSource::Files { base, .. } => base.clone(),
                JobSource::Object => continue,
            };
            let below = path.strip_prefix(root).ok().and_then(Path::to_str);
            let below = below.map(|path| path.trim_start_matches("./").to_owned());
            let shown = below.clone().unwrap_or_else(|| {
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            });
            let why = match &below {
                None => Some(Why::Outside),
                Some(below) if !below.is_empty() && !is_plain(below) => Some(Why::Outside),
                Some(_) if asked_for && is_restricted && !wish.restricted => Some(Why::Restricted),
                Some(_) if item.content.bytes > SMALL_FILE_BYTES && !wish.objects => {
                    Some(Why::Large)
                }
                Some(_) => None,
            };
            if let Some(why) = why {
                left_out.push(LeftOut {
                    what: shown.clone(),
                    output: String::new(),
                    why,
                    terms: Vec::new(),
                    count: 1,
                    bytes: item.content.bytes,
                });
            }
            let source = SourceFile {
                path: shown,
                content: item.content,
            };
            // What stays behind is named with its digest all the same: the chain ends there.
            files.push((
                source,
                if why.is_none() {
                    item.source
                } else {
                    JobSource::Object
                },
            ));
        }
    }
    Ok(files)
}
