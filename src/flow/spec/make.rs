//! The instances of every stage: in each cell bound, and where it hangs on choices under every way they may come out.
//! Knows nothing of what other stages' instances an input means.

use std::collections::{BTreeMap, BTreeSet};

use super::choices::{self, Chooser, Grids, Pick, Reference, Settled};
use super::expand::Context;
use super::keys::Template;
use super::matrix::{Cell, display_name};
use super::needs::{self, Need};
use super::node::{Entry, Node, Value};
use super::outputs::{self, Occupant};
use super::settings::{self, Settings};
use super::substitute::{AxisValue, Chosen, Params};
use super::{Launch, Origin, OutputSpec};
use crate::diagnostic::Diagnostic;
use crate::kind::{BindContext, Bound, Ports};
use crate::source::Span;

/// A stage in one cell, before it is linked.
pub(super) struct Instance<'a> {
    pub(super) template: &'a Template<'a>,
    pub(super) cell: Cell,
    pub(super) name: String,
    pub(super) bound: Bound,
    pub(super) settings: Settings,
    pub(super) outputs: Vec<OutputSpec>,
    pub(super) needs: Vec<Need>,
}

/// A stage in one cell: one instance, or where it hangs on choices one for each way they may come out.
pub(super) struct Made<'a> {
    pub(super) picks: Vec<Pick>,
    /// Each with the values of the picks; never empty.
    pub(super) ways: Vec<(Vec<String>, Instance<'a>)>,
}

impl<'a> Made<'a> {
    /// What all ways share: name, cell, outputs, axes chosen.
    pub(super) fn any(&self) -> &Instance<'a> {
        &self.ways[0].1
    }
}

/// What is found beside instances.
#[derive(Default)]
pub(super) struct Found {
    pub(super) environment: BTreeMap<String, Option<String>>,
    pub(super) loose: Vec<(String, Origin, Span)>,
}

/// Makes the instances of every stage.
pub(super) struct Makers<'a> {
    pub(super) templates: &'a [Option<Template<'a>>],
    pub(super) cells: &'a [Option<Vec<Cell>>],
    pub(super) context: Context<'a>,
    pub(super) params: &'a Params<'a>,
    pub(super) claims: &'a serde_json::Value,
}

impl<'a> Makers<'a> {
    /// In the order of the file, however choices hang on each other.
    pub(super) fn all(
        &self,
        incomplete: &mut BTreeSet<&'a str>,
        found: &mut Found,
        problems: &mut Vec<Diagnostic>,
    ) -> Vec<Made<'a>> {
        let stages: Vec<(&Template<'a>, &'a [Cell])> = (self.templates.iter().zip(self.cells))
            .filter_map(|(template, cells)| Some((template.as_ref()?, cells.as_deref()?)))
            .collect();
        let by_name: BTreeMap<&str, &[Cell]> = stages
            .iter()
            .map(|(template, cells)| (template.entry.key.as_str(), *cells))
            .collect();
        let references: Vec<(&str, Vec<Reference>)> = stages
            .iter()
            .map(|(template, _)| {
                let references = choices::references(template, self.params.stages());
                (template.entry.key.as_str(), references)
            })
            .collect();
        let mut grids = Grids::default();
        let mut made: Vec<Vec<Made<'a>>> = stages.iter().map(|_| Vec::new()).collect();
        let mut count = 0_usize;
        for at in choices::order(&references, problems) {
            let (template, cells) = stages[at];
            let name = template.entry.key.as_str();
            if count + cells.len() > self.context.limit {
                problems.push(
                    Diagnostic::error(
                        "spec::too_large",
                        format!("there are more than {} stages", self.context.limit),
                    )
                    .at(template.entry.key_span, "the limit is reached here")
                    .help("split the pipeline into several files"),
                );
                break;
            }
            let maker = Maker {
                template,
                context: self.context,
                params: self.params,
                claims: self.claims,
            };
            for cell in cells {
                let Some(one) = maker.cell(cell, &references[at].1, &grids, found, problems) else {
                    incomplete.insert(name);
                    continue;
                };
                count += one.ways.len();
                for (_, instance) in &one.ways {
                    let Some(choosing) = &instance.bound.choosing else {
                        continue;
                    };
                    let chooser = Chooser {
                        template,
                        cell,
                        needs: &instance.needs,
                        choosing,
                    };
                    if let Some(rows) = chooser.rows(&by_name, problems) {
                        grids.add(name, cell, &choosing.axes, rows);
                    }
                }
                made[at].push(one);
            }
        }
        made.into_iter().flatten().collect()
    }
}

struct Maker<'a> {
    template: &'a Template<'a>,
    context: Context<'a>,
    params: &'a Params<'a>,
    claims: &'a serde_json::Value,
}

impl<'a> Maker<'a> {
    /// The stage in one cell, bound under every choice that may be made.
    fn cell(
        &self,
        cell: &Cell,
        references: &[Reference],
        grids: &Grids<'_>,
        found: &mut Found,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Made<'a>> {
        let name = self.template.entry.key.as_str();
        let Some(Settled { picks, ways }) = grids.settle(references, name, cell, problems) else {
            // Looked at all the same, so that what else is wrong with it is said too.
            let mut others = Vec::new();
            self.instance(cell.clone(), &[], found, &mut others);
            let is_apart = |problem: &Diagnostic| {
                let spans = problem.labels.iter().map(|label| label.span);
                spans
                    .into_iter()
                    .all(|at| references.iter().all(|one| one.span != at))
            };
            problems.extend(others.into_iter().filter(is_apart));
            return None;
        };
        let mut made = Vec::with_capacity(ways.len());
        let mut is_whole = true;
        for way in ways {
            match self.instance(cell.clone(), &way, found, problems) {
                Some(instance) => {
                    let values = way.into_iter().map(|one| one.value.text).collect();
                    made.push((values, instance));
                }
                None => is_whole = false,
            }
        }
        let outputs = made.first().map(|(_, instance)| &instance.outputs);
        if made
            .iter()
            .any(|(_, other)| Some(&other.outputs) != outputs)
        {
            problems.push(
                Diagnostic::error(
                    "spec::choice",
                    format!("what stage `{name}` leaves hangs on a choice"),
                )
                .at(
                    self.template.entry.key_span,
                    "its outputs must be the same whatever is chosen",
                )
                .help("take the choice out of what decides its outputs"),
            );
            return None;
        }
        is_whole.then_some(Made { picks, ways: made })
    }

    fn instance(
        &self,
        cell: Cell,
        chosen: &[Chosen],
        found: &mut Found,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Instance<'a>> {
        let Found { environment, loose } = found;
        let entry = self.template.entry;
        let (stage, kind) = (entry.key.as_str(), self.template.kind);
        let name = display_name(stage, &cell);
        let body = self.body(&cell, chosen);
        let find = |key: &str| body.find(key).map(|entry| &entry.value);
        let mut settings = settings::read(&body, stage, problems);
        environment.extend(std::mem::take(&mut settings.environment));
        let device = &mut settings.policy.resources.device;
        if let (true, Some(chosen)) = (kind.uses_device, self.context.device) {
            *device = Some(chosen.to_owned());
        }
        if let (false, Some(processes)) = (
            kind.in_processes,
            find("resources").and_then(|resources| resources.find("processes")),
        ) {
            let name = kind.name;
            let message = format!("stages of kind `{name}` compute in one process");
            let problem = Diagnostic::error("spec::processes", message).at(processes.key_span, "");
            problems.push(problem.help("leave `processes` out of `resources` here"));
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
    fn body(&self, cell: &[AxisValue], chosen: &[Chosen]) -> Node {
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
                value: match entry.key.as_str() {
                    "with" => scope.with_choices(chosen).apply_but(&entry.value, "script"),
                    key if choices::KEYS.contains(&key) => {
                        scope.with_choices(chosen).apply(&entry.value)
                    }
                    _ => scope.apply(&entry.value),
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
