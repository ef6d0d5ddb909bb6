//! From one merged document to concrete stages. Knows nothing of files and of where the document came from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::conditions::LeftOut;
use super::decode::to_json;
use super::keys::{Template, check_top, claims_json, template, text};
use super::link::Linker;
use super::make::{Found, Instance, Made, Makers};
use super::manifest::{Lines, step};
use super::matrix::{self, Axes};
use super::needs::Need;
use super::node::{Entry, Node, Value};
use super::substitute::{AxisValue, Params, Stages};
use super::{Axis, ChoiceRef, Input, Launch, Origin, StageId, StageSpec, Variant};
use crate::diagnostic::Diagnostic;
use crate::graph;
use crate::kind::KindEntry;
use crate::source::Span;

/// How many values a stage may have on average: what bounds the memory of a hostile file.
const NODES_PER_STAGE: usize = 100;

/// What expansion may look at beside the document.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) root: &'a Path,
    pub(crate) kinds: &'a [KindEntry],
    pub(crate) mirrors: &'a [(String, String)],
    /// The device of all kinds that use one, over what stages say.
    pub(crate) device: Option<&'a str>,
    /// Digests of the lock file by concrete stage.
    pub(crate) locked: &'a BTreeMap<String, String>,
    /// How many instances there may be in all.
    pub(crate) limit: usize,
}

/// Concrete stages, as far as they could be made.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) doc: Option<String>,
    pub(crate) about: Option<String>,
    pub(crate) claims: usize,
    pub(crate) stages: Vec<StageSpec>,
    pub(crate) environment: Vec<(String, Option<String>)>,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Files that stages need whose configuration is wrong: stage, file and place, so that all problems come at once.
    pub(crate) loose: Vec<(String, Origin, Span)>,
}

/// Expands a document whose `extends`, profile, settings and recipes are merged in.
/// `left_out` are stages that `when:` has taken out of it, for messages.
pub(crate) fn expand(document: &Node, context: Context<'_>, left_out: &LeftOut) -> Expanded {
    let mut problems = Vec::new();
    check_top(document, &mut problems);
    let doc = document
        .find("doc")
        .and_then(|doc| text(doc, "the pipeline", &mut problems));
    if let Some(about) = document.find("about") {
        super::about::check(about, &mut problems);
    }
    let about = document
        .find("about")
        .map(|about| to_json(&about.value).to_string());
    let no_entries: &[Entry] = &[];
    let section = |key: &str| document.find(key).map_or(no_entries, |e| e.value.entries());
    let params = Params::new(
        section("params"),
        context.limit.saturating_mul(NODES_PER_STAGE),
    )
    .beside(stages_of(section("stages"), context.kinds));
    params.resolve_all();
    let claims = document.find("expect").map_or_else(
        || Value::Sequence(Vec::new()),
        |expect| params.scope().apply(&expect.value).value,
    );
    let claims = claims_json(claims, document, &mut problems);
    let templates: Vec<Option<Template<'_>>> = section("stages")
        .iter()
        .map(|entry| template(entry, context.kinds, &mut problems))
        .collect();
    let axes: Vec<Axes<'_>> = section("stages")
        .iter()
        .map(|entry| {
            let key = |key: &str| {
                entry
                    .value
                    .find(key)
                    .map(|e| params.scope().apply(&e.value))
            };
            Axes {
                stage: &entry.key,
                span: entry.key_span,
                matrix: key("matrix"),
                replicate: key("replicate"),
            }
        })
        .collect();
    let cells = matrix::expand(&axes, context.limit, &mut problems);
    let mut incomplete: BTreeSet<&str> = BTreeSet::new();
    let mut found = Found::default();
    let makers = Makers {
        templates: &templates,
        cells: &cells,
        context,
        params: &params,
        claims: &claims,
    };
    let made = makers.all(&mut incomplete, &mut found, &mut problems);
    let Found { environment, loose } = found;
    let stages = link_all(
        section("stages"),
        left_out,
        &incomplete,
        made,
        &mut problems,
    );
    let mut warnings = params.unused(&left_out.params);
    let is_report = |stage: &StageSpec| {
        let kind = context.kinds.iter().find(|kind| kind.name == stage.kind);
        kind.is_some_and(|kind| kind.is_report)
    };
    if let Some(expect) = document.find("expect")
        && !stages.iter().any(is_report)
    {
        warnings.push(
            Diagnostic::warning("spec::unjudged", "nothing judges the claims of `expect`")
                .at(expect.key_span, "")
                .help("add a stage of kind `report` that needs the stages with the numbers"),
        );
    }
    problems.extend(params.into_problems());
    let stages = match sort(stages) {
        Ok(stages) => stages,
        Err((stages, cycles)) => {
            problems.extend(cycles);
            stages
        }
    };
    Expanded {
        doc,
        about,
        claims: claims.as_array().map_or(0, Vec::len),
        stages,
        environment: environment.into_iter().collect(),
        problems: tidy(problems),
        warnings,
        loose,
    }
}

/// What references may begin with beside the words that are always there.
fn stages_of<'a>(stages: &'a [Entry], kinds: &'a [KindEntry]) -> Stages<'a> {
    let choosing = || {
        kinds
            .iter()
            .filter(|kind| kind.chooses)
            .map(|kind| kind.name)
    };
    let chooses = |entry: &Entry| {
        let kind = entry
            .value
            .find("kind")
            .and_then(|kind| kind.value.as_str());
        kind.is_some_and(|kind| choosing().any(|name| name == kind))
    };
    Stages {
        by_name: stages
            .iter()
            .map(|entry| (entry.key.as_str(), chooses(entry)))
            .collect(),
        kinds: choosing().collect(),
    }
}

fn link_all(
    stages: &[Entry],
    left_out: &LeftOut,
    incomplete: &BTreeSet<&str>,
    made: Vec<Made<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<StageSpec> {
    let mut linker = Linker::new(stages.iter().map(|entry| entry.key.as_str()), left_out);
    for entry in stages {
        if incomplete.contains(entry.key.as_str()) {
            linker.miss(&entry.key);
        }
    }
    for (id, made) in (0_u32..).zip(&made) {
        let instance = made.any();
        linker.add(
            &instance.template.entry.key,
            StageId(id),
            &instance.cell,
            &instance.outputs,
            instance.bound.ports.declares_outputs,
            instance.bound.launch == Launch::Builtin || !instance.settings.numbers.is_empty(),
        );
    }
    let links: Vec<(Vec<ChoiceRef>, Vec<Vec<Input>>)> = made
        .iter()
        .map(|made| {
            let choices = made.picks.iter().filter_map(|pick| {
                Some(ChoiceRef {
                    stage: linker.instance(&pick.stage, &pick.cell)?,
                    axis: pick.axis.clone(),
                    span: pick.span,
                })
            });
            let inputs = |(_, instance): &(_, _)| inputs_of(instance, &linker, problems);
            (choices.collect(), made.ways.iter().map(inputs).collect())
        })
        .collect();
    drop(linker);
    made.into_iter()
        .zip(links)
        .map(|(made, (choices, inputs))| joined(made, &choices, inputs, problems))
        .collect()
}

/// One stage of all the ways it may come out: until the choice is made it needs what any of them needs.
fn joined(
    made: Made<'_>,
    choices: &[ChoiceRef],
    inputs: Vec<Vec<Input>>,
    problems: &mut Vec<Diagnostic>,
) -> StageSpec {
    let mut variants: Vec<Variant> = made
        .ways
        .into_iter()
        .zip(inputs)
        .map(|((values, instance), inputs)| {
            let mut stage = concrete(instance, inputs, problems);
            stage.choices = choices.to_vec();
            Variant { values, stage }
        })
        .collect();
    if choices.is_empty() {
        return variants.swap_remove(0).stage;
    }
    let mut stage = variants[0].stage.clone();
    for variant in &variants[1..] {
        for input in &variant.stage.inputs {
            if !stage.inputs.contains(input) {
                stage.inputs.push(input.clone());
            }
        }
    }
    stage.config.clear();
    stage.lines_before.clear();
    stage.lines_after.clear();
    StageSpec { variants, ..stage }
}

fn inputs_of(
    instance: &Instance<'_>,
    linker: &Linker<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Input> {
    let stage = &instance.template.entry.key;
    let choosing = instance.bound.choosing.as_ref();
    let agreeing = choosing.map(|choosing| choosing.port);
    let agreeing = agreeing.or(instance.bound.ports.agreeing);
    let grouped = |need: &Need| agreeing.is_some_and(|port| port == need.port);
    let mut inputs: Vec<Input> = instance
        .needs
        .iter()
        .filter_map(|need| {
            let origin = linker.origin(
                need,
                stage,
                &instance.cell,
                &instance.bound.ports,
                grouped(need),
                problems,
            )?;
            Some(Input {
                port: need.port.clone(),
                place: need.place.clone(),
                origin,
                span: need.span,
            })
        })
        .collect();
    let put = instance.bound.ports.put_files.iter().map(|path| Input {
        port: format!("put/{}", file_step(path)),
        place: String::new(),
        origin: Origin::Put(path.clone()),
        span: instance.template.entry.key_span,
    });
    inputs.extend(put);
    let mut taken = BTreeSet::new();
    for (path, span) in &instance.settings.key_files {
        let path = path.strip_prefix("./").unwrap_or(path);
        let mut port = format!("environment/{}", file_step(path));
        while !taken.insert(port.clone()) {
            port.push('+');
        }
        inputs.push(Input {
            place: port.clone(),
            port,
            origin: Origin::KeyOnly(path.to_owned()),
            span: *span,
        });
    }
    inputs.sort_by(|a, b| a.port.cmp(&b.port));
    inputs
}

/// The file's name as it can stand in a line of the manifest.
fn file_step(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    if name.bytes().all(plain) {
        name.to_owned()
    } else {
        step(name)
    }
}

fn concrete(
    instance: Instance<'_>,
    inputs: Vec<Input>,
    problems: &mut Vec<Diagnostic>,
) -> StageSpec {
    let Instance {
        template,
        cell,
        name,
        bound,
        settings,
        outputs,
        ..
    } = instance;
    let mut after = Lines::default();
    after.push(
        "kind",
        format!("{} {}", template.kind.name, template.kind.version),
    );
    if let Some(numerics) = &bound.numerics {
        after.text("numerics", numerics);
    }
    after.outputs(&outputs, &settings.numbers);
    let mut launch = bound.launch;
    if let Launch::Program(program) = &mut launch {
        program.numbers = settings.numbers;
    }
    let entry = template.entry;
    let doc = entry
        .value
        .find("doc")
        .and_then(|doc| text(doc, &format!("stage `{}`", entry.key), problems));
    StageSpec {
        name,
        stage: entry.key.clone(),
        axes: cell.into_iter().map(axis).collect(),
        doc,
        kind: template.kind.name.to_owned(),
        version: template.kind.version,
        config: bound.config,
        lines_before: settings.lines.into_text(),
        lines_after: after.into_text(),
        inputs,
        outputs,
        launch,
        policy: settings.policy,
        chooses: bound
            .choosing
            .map(|choosing| choosing.axes)
            .unwrap_or_default(),
        choices: Vec::new(),
        variants: Vec::new(),
        departures: Vec::new(),
        span: entry.key_span,
    }
}

fn axis(value: AxisValue) -> Axis {
    Axis {
        name: value.name,
        text: value.text,
        json: value.json,
        replicate: value.replicate,
    }
}

/// Puts stages behind what they need and renumbers the references.
fn sort(stages: Vec<StageSpec>) -> Result<Vec<StageSpec>, (Vec<StageSpec>, Vec<Diagnostic>)> {
    let order = match graph::order(&stages) {
        Ok(order) => order,
        Err(cycles) => return Err((stages, cycles)),
    };
    let mut position = vec![StageId(0); stages.len()];
    for (new, old) in (0_u32..).zip(&order) {
        position[*old] = StageId(new);
    }
    let mut slots: Vec<Option<StageSpec>> = stages.into_iter().map(Some).collect();
    let mut sorted = Vec::with_capacity(slots.len());
    for old in order {
        let mut stage = slots[old].take().expect("an order names each stage once");
        renumber(&mut stage, &position);
        sorted.push(stage);
    }
    Ok(sorted)
}

fn renumber(stage: &mut StageSpec, position: &[StageId]) {
    for input in &mut stage.inputs {
        let references = match &mut input.origin {
            Origin::Stage(reference) => std::slice::from_mut(reference),
            Origin::Many(references) => references.as_mut_slice(),
            Origin::Path(_) | Origin::Glob(_) | Origin::KeyOnly(_) | Origin::Put(_) => &mut [],
        };
        for reference in references {
            reference.stage = position[reference.stage.index()];
        }
    }
    for choice in &mut stage.choices {
        choice.stage = position[choice.stage.index()];
    }
    for variant in &mut stage.variants {
        renumber(&mut variant.stage, position);
    }
}

/// Each problem once, in the order of the texts. Where a value could not be had at all, what it then is not is left out.
pub(crate) fn tidy(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    const CAUSES: [&str; 6] = [
        "spec::undefined",
        "spec::reference",
        "spec::parameter_cycle",
        "spec::too_large",
        "spec::number",
        "spec::yaml",
    ];
    let place = |problem: &Diagnostic| problem.labels.first().map(|label| label.span);
    let is_cause = |problem: &Diagnostic| CAUSES.contains(&problem.code.as_str());
    let causes: BTreeSet<Span> = problems
        .iter()
        .filter(|p| is_cause(p))
        .filter_map(place)
        .collect();
    let mut seen = BTreeSet::new();
    let mut problems: Vec<Diagnostic> = problems
        .into_iter()
        .filter(|problem| {
            let follows = place(problem).is_some_and(|span| causes.contains(&span));
            let places: Vec<Span> = problem.labels.iter().map(|label| label.span).collect();
            (is_cause(problem) || !follows) && seen.insert((problem.message.clone(), places))
        })
        .collect();
    problems.sort_by_key(|problem| place(problem).map(|span| (span.source, span.offset)));
    problems
}
