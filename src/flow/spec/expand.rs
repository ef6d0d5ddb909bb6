//! From one merged document to concrete stages. Knows nothing of files and of where the document came from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::keys::{Template, check_top, claims_json, template, text};
use super::link::Linker;
use super::manifest::{Lines, step};
use super::matrix::{self, Axes, Cell, display_name};
use super::needs::{self, Need};
use super::node::{Entry, Node, Value};
use super::outputs::{self, Occupant};
use super::settings::{self, Settings};
use super::substitute::{AxisValue, Params};
use super::{Axis, Input, Launch, Origin, OutputSpec, StageId, StageSpec};
use crate::diagnostic::Diagnostic;
use crate::graph;
use crate::kind::{BindContext, Bound, KindEntry, Ports};
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
    pub(crate) claims: usize,
    pub(crate) stages: Vec<StageSpec>,
    pub(crate) environment: Vec<(String, Option<String>)>,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Files that stages need whose configuration is wrong: stage, file and place, so that all problems come at once.
    pub(crate) loose: Vec<(String, Origin, Span)>,
}

/// A stage in one cell, before it is linked.
struct Instance<'a> {
    template: &'a Template<'a>,
    cell: Cell,
    name: String,
    bound: Bound,
    settings: Settings,
    outputs: Vec<OutputSpec>,
    needs: Vec<Need>,
}

/// Expands a document whose `extends`, profile, settings and recipes are merged in.
pub(crate) fn expand(document: &Node, context: Context<'_>) -> Expanded {
    let mut problems = Vec::new();
    check_top(document, &mut problems);
    let doc = document
        .find("doc")
        .and_then(|doc| text(doc, "the pipeline", &mut problems));
    let no_entries: &[Entry] = &[];
    let section = |key: &str| document.find(key).map_or(no_entries, |e| e.value.entries());
    let params = Params::new(
        section("params"),
        context.limit.saturating_mul(NODES_PER_STAGE),
    );
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
    let mut instances = Vec::new();
    let mut incomplete: BTreeSet<&str> = BTreeSet::new();
    let mut environment = BTreeMap::new();
    let mut loose = Vec::new();
    for (template, cells) in templates.iter().zip(cells) {
        let (Some(template), Some(cells)) = (template, cells) else {
            continue;
        };
        if instances.len() + cells.len() > context.limit {
            problems.push(
                Diagnostic::error(
                    "spec::too_large",
                    format!("there are more than {} stages", context.limit),
                )
                .at(template.entry.key_span, "the limit is reached here")
                .help("split the pipeline into several files"),
            );
            break;
        }
        for cell in cells {
            let maker = Maker {
                template,
                context,
                params: &params,
                claims: &claims,
            };
            match maker.instance(cell, &mut environment, &mut loose, &mut problems) {
                Some(instance) => instances.push(instance),
                None => {
                    incomplete.insert(&template.entry.key);
                }
            }
        }
    }
    let stages = link_all(section("stages"), &incomplete, instances, &mut problems);
    let mut warnings = params.unused();
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
        claims: claims.as_array().map_or(0, Vec::len),
        stages,
        environment: environment.into_iter().collect(),
        problems: tidy(problems),
        warnings,
        loose,
    }
}

struct Maker<'a> {
    template: &'a Template<'a>,
    context: Context<'a>,
    params: &'a Params<'a>,
    claims: &'a serde_json::Value,
}

impl<'a> Maker<'a> {
    fn instance(
        &self,
        cell: Cell,
        environment: &mut BTreeMap<String, Option<String>>,
        loose: &mut Vec<(String, Origin, Span)>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Instance<'a>> {
        let entry = self.template.entry;
        let (stage, kind) = (entry.key.as_str(), self.template.kind);
        let name = display_name(stage, &cell);
        let body = self.body(&cell);
        let find = |key: &str| body.find(key).map(|entry| &entry.value);
        let mut settings = settings::read(&body, stage, problems);
        environment.extend(std::mem::take(&mut settings.environment));
        let device = &mut settings.policy.resources.device;
        if let (true, Some(chosen)) = (kind.uses_device, self.context.device) {
            *device = Some(chosen.to_owned());
        }
        // The one device whose results are its own: it is there to be compared with the others.
        if device.as_deref() == Some("reference") {
            settings.lines.text("device", "reference");
        }
        let nothing = Node {
            value: Value::Null,
            span: entry.key_span,
            defined: None,
        };
        let bind = BindContext {
            root: self.context.root,
            stage: &name,
            mirrors: self.context.mirrors,
            locked: self.context.locked.get(&name).map(String::as_str),
            claims: self.claims,
        };
        let with = find("with").unwrap_or(&nothing);
        let mut bound = match (kind.bind)(with, &bind) {
            Ok(bound) => bound,
            Err(found) => {
                problems.extend(found);
                self.read_unbound(&body, loose, problems);
                return None;
            }
        };
        let before = problems.len();
        let outputs = outputs::read(find("outputs"), &bound.ports, stage, kind.name, problems);
        let needs = needs::read(
            find("needs"),
            &bound.ports,
            stage,
            entry.key_span,
            kind.name,
            problems,
        );
        if let (Launch::Builtin, Some(span)) = (&bound.launch, settings.numbers_span) {
            problems.push(
                Diagnostic::error(
                    "spec::numbers",
                    format!("stage `{stage}` cannot have `numbers`"),
                )
                .at(span, "")
                .help(format!(
                    "a `{}` brings its own numbers; remove the key",
                    kind.name
                )),
            );
        }
        if problems.len() == before {
            self.check_places(&needs, &outputs, &settings, &bound, problems);
        }
        // Written out now: as a tree, the configurations of many stages would be the peak of the program's memory.
        let configuration = std::mem::take(&mut bound.manifest_config);
        if configuration != serde_json::json!({}) {
            settings.lines.flatten("config", &configuration);
        }
        Some(Instance {
            template: self.template,
            cell,
            name,
            bound,
            settings,
            outputs,
            needs,
        })
    }

    /// Looks at the inputs and outputs of a stage whose configuration is wrong, as far as they can be judged without it.
    fn read_unbound(
        &self,
        body: &Node,
        loose: &mut Vec<(String, Origin, Span)>,
        problems: &mut Vec<Diagnostic>,
    ) {
        let entry = self.template.entry;
        let (stage, kind) = (entry.key.as_str(), self.template.kind.name);
        let find = |key: &str| body.find(key).map(|entry| &entry.value);
        let outputs = find("outputs");
        let has_path = |output: &Entry| output.value.as_str().is_some();
        let ports = Ports {
            any_input: true,
            declares_outputs: outputs.is_some_and(|o| o.entries().iter().any(has_path)),
            ..Ports::default()
        };
        if ports.declares_outputs {
            outputs::read(outputs, &ports, stage, kind, problems);
        }
        let needs = needs::read(find("needs"), &ports, stage, entry.key_span, kind, problems);
        for need in needs {
            let origin = match need.source {
                needs::Source::Path(path) => Origin::Path(path),
                needs::Source::Glob(path) => Origin::Glob(path),
                needs::Source::Stage(_) | needs::Source::All(_) => continue,
            };
            loose.push((stage.to_owned(), origin, need.span));
        }
    }

    /// The stage's map with references replaced; what is decided already is left out.
    fn body(&self, cell: &[AxisValue]) -> Node {
        let scope = self.params.stage_scope(cell);
        let value = &self.template.entry.value;
        let entries = value
            .entries()
            .iter()
            .filter(|entry| {
                !matches!(
                    entry.key.as_str(),
                    "kind" | "use" | "doc" | "matrix" | "replicate"
                )
            })
            .map(|entry| Entry {
                key: entry.key.clone(),
                key_span: entry.key_span,
                value: if entry.key == "with" {
                    scope.apply_but(&entry.value, "script")
                } else {
                    scope.apply(&entry.value)
                },
            })
            .collect();
        Node {
            value: Value::Map(entries),
            span: value.span,
            defined: value.defined,
        }
    }

    fn check_places(
        &self,
        needs: &[Need],
        outputs: &[OutputSpec],
        settings: &Settings,
        bound: &Bound,
        problems: &mut Vec<Diagnostic>,
    ) {
        let entry = self.template.entry;
        let output_span = |name: &str| {
            entry
                .value
                .find("outputs")
                .and_then(|outputs| outputs.value.find(name))
                .map_or(entry.key_span, |output| output.value.span)
        };
        let mut occupants: Vec<Occupant> = needs
            .iter()
            .map(|need| Occupant {
                what: format!("the input `{}`", need.port),
                place: need.place.clone(),
                span: need.span,
            })
            .collect();
        occupants.extend(outputs.iter().map(|output| Occupant {
            what: format!("the output `{}`", output.name),
            place: output.path.clone(),
            span: output_span(&output.name),
        }));
        if let Launch::Program(program) = &bound.launch {
            occupants.extend(program.files.iter().map(|(file, _)| Occupant {
                what: format!("the file `{file}` written for the program"),
                place: file.clone(),
                span: entry.key_span,
            }));
        }
        if let (Some(checkpoint), Some(span)) =
            (&settings.policy.checkpoint, settings.checkpoint_span)
        {
            occupants.push(Occupant {
                what: "the checkpoint folder".to_owned(),
                place: checkpoint.dir.clone(),
                span,
            });
        }
        outputs::check_places(&entry.key, &occupants, problems);
    }
}

fn link_all(
    stages: &[Entry],
    incomplete: &BTreeSet<&str>,
    instances: Vec<Instance<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<StageSpec> {
    let mut linker = Linker::new(stages.iter().map(|entry| entry.key.as_str()));
    for entry in stages {
        if incomplete.contains(entry.key.as_str()) {
            linker.miss(&entry.key);
        }
    }
    for (id, instance) in (0_u32..).zip(&instances) {
        linker.add(
            &instance.template.entry.key,
            StageId(id),
            &instance.cell,
            &instance.outputs,
            instance.bound.ports.declares_outputs,
            instance.bound.launch == Launch::Builtin || !instance.settings.numbers.is_empty(),
        );
    }
    let inputs: Vec<Vec<Input>> = instances
        .iter()
        .map(|instance| inputs_of(instance, &linker, problems))
        .collect();
    drop(linker);
    instances
        .into_iter()
        .zip(inputs)
        .map(|(instance, inputs)| concrete(instance, inputs, problems))
        .collect()
}

fn inputs_of(
    instance: &Instance<'_>,
    linker: &Linker<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Input> {
    let stage = &instance.template.entry.key;
    let mut inputs: Vec<Input> = instance
        .needs
        .iter()
        .filter_map(|need| {
            let origin =
                linker.origin(need, stage, &instance.cell, &instance.bound.ports, problems)?;
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
    for output in &outputs {
        after.text(format!("output.{}", step(&output.name)), &output.path);
    }
    for (index, file) in settings.numbers.iter().enumerate() {
        after.text(format!("output.numbers.{index}"), file);
    }
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
        sorted.push(stage);
    }
    Ok(sorted)
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
