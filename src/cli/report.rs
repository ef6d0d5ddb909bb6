//! `run.html` and `run.json` beside each report of a run: what differs from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::clock;
use flow::cost::Cost;
use flow::event::End;
use flow::render::draw_run;
use flow::run::{RunSummary, StageSummary};
use flow::spec::load::{LoadOptions, flatten};
use flow::spec::{METRICS, StageId, StageSpec};
use report::{RunSummary as Page, RunTotals, StageLine, render_run};

use super::args::PipelineArgs;
use super::session::Session;
use crate::console::Console;
use crate::kinds::KINDS;

/// The page of a run, and the same for programs.
const PAGE: &str = "run.html";
const DATA: &str = "run.json";
/// Longer texts of a pipeline do not stand on the page.
const LONGEST_TEXT: usize = 1 << 18;

/// Writes both files into every report's folder. A run that found everything done leaves pages of the same stages where the
/// cache has learned nothing since: they have the times of the run that did the work, and such a run is over before they
/// could be made.
pub(super) fn write_run_pages(
    args: &PipelineArgs,
    session: &Session,
    summary: &RunSummary,
    console: &mut Console,
) {
    let root = &session.workflow().root;
    let did_nothing = summary.counts.cached == summary.counts.total;
    let mut places = summary.reports.iter().map(|report| root.join(&report.path));
    if summary.reports.is_empty() || did_nothing && places.all(|at| tells_of(&at, session, summary))
    {
        return;
    }
    let mut page = page(args, session, summary);
    page.graph = Some(graph(session, summary));
    page.text = text(args, session);
    page.tested = super::tested::tested(session, summary);
    let html = render_run(&page, flow::amounts::duration);
    let mut json = serde_json::to_vec_pretty(&page).expect("summaries serialise");
    json.push(b'\n');
    for report in &summary.reports {
        let folder = session.workflow().root.join(&report.path);
        let written = fs_err::write(folder.join(PAGE), &html)
            .and_then(|()| fs_err::write(folder.join(DATA), &json));
        if let Err(error) = written {
            console.note(&format!("the page of this run cannot be written: {error}"));
        }
    }
}

/// Whether the pages in a folder tell of the stages and keys of this run, and of all that was computed until now.
fn tells_of(folder: &Path, session: &Session, summary: &RunSummary) -> bool {
    #[derive(serde::Deserialize)]
    struct Told {
        stages: Vec<ToldStage>,
    }
    #[derive(serde::Deserialize)]
    struct ToldStage {
        name: String,
        key: Option<String>,
    }
    let Ok(json) = fs_err::read(folder.join(DATA)) else {
        return false;
    };
    let Ok(told) = serde_json::from_slice::<Told>(&json) else {
        return false;
    };
    let of_this_run = |(told, one): (&ToldStage, &StageSummary)| {
        told.name == one.stage && told.key == one.key.map(|key| key.to_string())
    };
    let written = |path: &Path| fs_err::metadata(path).and_then(|of| of.modified()).ok();
    let page = written(&folder.join(PAGE));
    page.is_some()
        && page > written(&session.store.index_path())
        && told.stages.len() == summary.stages.len()
        && told.stages.iter().zip(&summary.stages).all(of_this_run)
}

fn page(args: &PipelineArgs, session: &Session, summary: &RunSummary) -> Page {
    let ended = clock::now_ns();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nanoseconds of a run fit by far"
    )]
    let began = ended - (summary.wall_seconds * 1e9) as i128;
    let counts = summary.counts;
    let costs = costs(session, summary);
    Page {
        pipeline: summary.pipeline.clone(),
        run: summary.run.clone(),
        started: clock::rfc3339(began),
        ended: clock::rfc3339(ended),
        host: flow::store::record::this_machine().host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command_line: std::env::args().collect::<Vec<_>>().join(" "),
        wall_seconds: summary.wall_seconds,
        totals: RunTotals {
            total: counts.total,
            executed: counts.executed,
            cached: counts.cached,
            failed: counts.failed,
            skipped: counts.skipped,
        },
        stages: summary
            .stages
            .iter()
            .map(|stage| StageLine {
                name: stage.stage.clone(),
                state: word(stage.end).to_owned(),
                start_seconds: stage.started_after_seconds,
                seconds: (stage.end != End::Skipped).then_some(stage.seconds),
                key: stage.key.map(|key| key.to_string()),
                because: (stage.key.filter(|_| stage.end == End::Cached))
                    .and_then(|key| session.store.imported(&key))
                    .map_or_else(|| stage.because.clone(), |imported| imported.words()),
                device: (!stage.device.is_empty()).then(|| stage.device.clone()),
                commands: commands(args, session, stage),
                flop: costs.get(&stage.stage).and_then(|cost| cost.flop),
                tokens: costs.get(&stage.stage).and_then(|cost| cost.tokens),
            })
            .collect(),
        warnings: summary
            .warnings
            .iter()
            .map(|warning| warning.message.clone())
            .collect(),
        reports: vec!["index.html".to_owned()],
        graph: None,
        text: None,
        tested: None,
    }
}

/// What to type for a stage's first output, for its numbers where these are another, and to make it all once more.
fn commands(args: &PipelineArgs, session: &Session, stage: &StageSummary) -> Vec<String> {
    let name = &stage.stage;
    let record = stage.key.and_then(|key| session.store.find_record(&key));
    let mut commands = Vec::new();
    if let Some(record) = record {
        commands.push(args.command_to_get(name, "out"));
        if record.outputs.len() > 1 && record.outputs.contains_key(METRICS) {
            commands.push(args.command_to_get(&format!("{name}.{METRICS}"), "out"));
        }
        commands.push(args.command_to_make_again(name));
    } else {
        commands.push(args.command_to_make(name));
    }
    commands
}

/// The stages of the run as a graph, with how the instances of each came out.
fn graph(session: &Session, summary: &RunSummary) -> (String, Vec<String>) {
    let workflow = session.workflow();
    let stages = workflow.stages.iter();
    let of: BTreeMap<&str, &str> = stages
        .map(|stage| (stage.name.as_str(), stage.stage.as_str()))
        .collect();
    let mut ends: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for one in &summary.stages {
        if let Some(stage) = of.get(one.stage.as_str()) {
            let ends = ends.entry(stage).or_default();
            *ends.entry(word(one.end)).or_default() += 1;
        }
    }
    let words = ends.into_iter().map(|(stage, ends)| {
        let words = match ends.len() {
            1 => ends.into_keys().map(str::to_owned).collect(),
            _ => ends
                .iter()
                .map(|(word, count)| format!("{count} {word}"))
                .collect::<Vec<_>>(),
        };
        (stage.to_owned(), words.join(", "))
    });
    draw_run(workflow, &words.collect())
}

/// The pipeline's text as this run had it; nothing where it is so long that nobody reads it.
fn text(args: &PipelineArgs, session: &Session) -> Option<String> {
    let sources = session.ready.sources();
    if sources
        .iter()
        .map(|source| source.text.len())
        .sum::<usize>()
        > LONGEST_TEXT
    {
        return None;
    }
    let set: Vec<String> = (args.settings.iter())
        .map(|setting| format!("{}={}", setting.name, setting.value))
        .collect();
    let options = LoadOptions {
        file: &args.file,
        profiles: &args.profiles,
        set: &set,
        kinds: KINDS,
        mirrors: &[],
        device: None,
    };
    flatten(&options, &[]).ok()
}

/// What kinds say their stages cost, by the stages' names.
fn costs(session: &Session, summary: &RunSummary) -> BTreeMap<String, Cost> {
    let workflow = session.workflow();
    let names: BTreeSet<&str> = summary
        .stages
        .iter()
        .map(|one| one.stage.as_str())
        .collect();
    let is_costly = |kind: &str| (KINDS.iter()).any(|one| one.name == kind && one.cost.is_some());
    let is_in = |stage: &StageSpec| names.contains(stage.name.as_str());
    if !(workflow.stages.iter()).any(|stage| is_in(stage) && is_costly(&stage.kind)) {
        return BTreeMap::new();
    }
    let Ok(mut planner) = session.planner() else {
        return BTreeMap::new();
    };
    let ids: Vec<StageId> = (0..)
        .map(StageId)
        .zip(&workflow.stages)
        .filter_map(|(id, stage)| is_in(stage).then_some(id))
        .collect();
    for id in &ids {
        // What cannot be decided any more says no cost, and nothing else hangs on it.
        let _ = planner.decide(*id);
    }
    let costs = planner.costs(&ids).into_iter();
    costs
        .map(|(id, cost)| (workflow.stages[id.index()].name.clone(), cost))
        .collect()
}

fn word(end: End) -> &'static str {
    match end {
        End::Cached => "cached",
        End::Executed => "executed",
        End::Shared => "shared",
        End::Failed => "failed",
        End::Skipped => "skipped",
        End::Stopped => "stopped",
        End::Held => "held",
    }
}
