//! From what stages need to the instances that have it: joins by axis, fan-in, the output meant.
//! Knows nothing of contents and keys.

use std::collections::BTreeMap;

use super::conditions::LeftOut;
use super::matrix::Cell;
use super::needs::{Filter, Need, Source, Wanted};
use super::suggest;
use super::{METRICS, Origin, OutputRef, OutputSpec, StageId};
use crate::diagnostic::Diagnostic;
use crate::kind::Ports;
use crate::source::Span;

/// What linking knows of every stage of the file.
pub(crate) struct Linker<'a> {
    stages: BTreeMap<&'a str, Target<'a>>,
    left_out: &'a LeftOut,
}

/// The instances of one stage of the file.
#[derive(Default)]
pub(crate) struct Target<'a> {
    /// Each with its index; empty when the stage itself is wrong and has been reported.
    instances: Vec<(StageId, &'a Cell, &'a [OutputSpec])>,
    declares_outputs: bool,
    /// Whether it leaves numbers: a kind always does, a command with `numbers:` only.
    has_numbers: bool,
    /// Whether an instance is wrong itself and left out, so that its absence is no news.
    incomplete: bool,
    /// By the texts of the axes in the stage's own order.
    by_texts: BTreeMap<Vec<&'a str>, usize>,
}

impl<'a> Linker<'a> {
    /// `names` are all stages of the file, also those without instances.
    pub(crate) fn new(names: impl Iterator<Item = &'a str>, left_out: &'a LeftOut) -> Self {
        Self {
            left_out,
            stages: names.map(|name| (name, Target::default())).collect(),
        }
    }

    pub(crate) fn add(
        &mut self,
        stage: &'a str,
        id: StageId,
        cell: &'a Cell,
        outputs: &'a [OutputSpec],
        declares_outputs: bool,
        has_numbers: bool,
    ) {
        let target = self.stages.entry(stage).or_default();
        target.declares_outputs = declares_outputs;
        target.has_numbers = has_numbers;
        let texts = cell.iter().map(|axis| axis.text.as_str()).collect();
        target.by_texts.insert(texts, target.instances.len());
        target.instances.push((id, cell, outputs));
    }

    /// Notes that an instance of `stage` could not be made.
    pub(crate) fn miss(&mut self, stage: &'a str) {
        self.stages.entry(stage).or_default().incomplete = true;
    }

    /// The instance of a stage in the cell of these texts, in the order of its axes.
    pub(crate) fn instance(&self, stage: &str, texts: &[String]) -> Option<StageId> {
        let target = self.stages.get(stage)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Some(target.instances[*target.by_texts.get(&texts)?].0)
    }

    /// The origin of a need; `None` with a problem, or when the other stage is wrong itself. Of a fan-in that is
    /// `grouped`, the instances that agree with the axes of this stage.
    pub(crate) fn origin(
        &self,
        need: &Need,
        stage: &str,
        cell: &Cell,
        ports: &Ports,
        grouped: bool,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Origin> {
        let (wanted, all) = match &need.source {
            Source::Path(path) => return Some(Origin::Path(path.clone())),
            Source::Glob(path) => return Some(Origin::Glob(path.clone())),
            Source::Stage(wanted) => (wanted, false),
            Source::All(wanted) => (wanted, true),
        };
        let Some(target) = self.stages.get(wanted.stage.as_str()) else {
            problems.push(self.unknown_stage(wanted, need, stage));
            return None;
        };
        let (_, axes, outputs) = target.instances.first()?;
        let before = problems.len();
        check_filters(&wanted.filter, target, axes, &wanted.stage, problems);
        let output = choose_output(wanted, need, target, outputs, ports, stage, problems);
        if problems.len() > before {
            return None;
        }
        let output = output?;
        let reference = |index: usize| OutputRef {
            stage: target.instances[index].0,
            output: output.clone(),
        };
        if all {
            let chosen: Vec<OutputRef> = (0..target.instances.len())
                .filter(|index| {
                    let theirs = target.instances[*index].1;
                    admits(&wanted.filter, theirs)
                        && (!grouped || agrees(&wanted.filter, cell, theirs))
                })
                .map(reference)
                .collect();
            if chosen.is_empty() {
                if target.incomplete {
                    return None;
                }
                problems.push(none_left(wanted, need, stage));
                return None;
            }
            return Some(Origin::Many(chosen));
        }
        let index = join(wanted, need, target, axes, stage, cell, problems)?;
        Some(Origin::Stage(reference(index)))
    }

    fn unknown_stage(&self, wanted: &Wanted, need: &Need, stage: &str) -> Diagnostic {
        if let Some(reason) = self.left_out.stages.get(&wanted.stage) {
            let message = format!(
                "input `{}` of stage `{stage}` needs the stage `{}`, which its `when` leaves out: {reason}",
                need.port, wanted.stage
            );
            return Diagnostic::error("spec::left_out", message)
                .at(wanted.span, "left out")
                .help("give this stage the same `when`, or let it read another stage");
        }
        let names = self.stages.keys().copied();
        let problem = Diagnostic::error(
            "spec::unknown_stage",
            format!(
                "input `{}` of stage `{stage}` needs an unknown stage `{}`",
                need.port, wanted.stage
            ),
        )
        .at(wanted.span, "no stage of this name");
        match suggest::nearest(&wanted.stage, names) {
            Some(found) => problem.help(format!("did you mean `{found}`?")),
            None => {
                let file = match &wanted.output {
                    Some((output, span)) if *span == wanted.span => {
                        format!("{}.{output}", wanted.stage)
                    }
                    _ => wanted.stage.clone(),
                };
                problem.help(format!(
                    "add a stage `{}`, or write `./{file}` if it is a file",
                    wanted.stage
                ))
            }
        }
    }
}

/// Whether an instance is in the same group as this stage: equal on every axis that both have and `where` does not settle.
pub(super) fn agrees(filters: &[Filter], mine: &Cell, theirs: &Cell) -> bool {
    mine.iter().all(|axis| {
        let settled = |filter: &Filter| filter.axis == axis.name && filter.values.len() == 1;
        filters.iter().any(settled)
            || theirs
                .iter()
                .all(|other| other.name != axis.name || other.text == axis.text)
    })
}

pub(super) fn admits(filters: &[Filter], cell: &Cell) -> bool {
    filters.iter().all(|filter| {
        cell.iter().any(|axis| {
            axis.name == filter.axis && filter.values.iter().any(|(text, _)| *text == axis.text)
        })
    })
}

fn check_filters(
    filters: &[Filter],
    target: &Target<'_>,
    axes: &Cell,
    name: &str,
    problems: &mut Vec<Diagnostic>,
) {
    for filter in filters {
        let Some(position) = axes.iter().position(|axis| axis.name == filter.axis) else {
            let names = axes.iter().map(|axis| axis.name.as_str());
            problems.push(
                Diagnostic::error(
                    "spec::unknown_axis",
                    format!("stage `{name}` has no axis `{}`", filter.axis),
                )
                .at(filter.span, "")
                .help(suggest::help(
                    &filter.axis,
                    names,
                    "it has no axes; remove `where`",
                )),
            );
            continue;
        };
        let mut known: Vec<&str> = Vec::new();
        for (_, cell, _) in &target.instances {
            if !known.contains(&cell[position].text.as_str()) && known.len() < 1000 {
                known.push(&cell[position].text);
            }
        }
        for (text, span) in filter.values.iter().filter(|_| !target.incomplete) {
            if !known.contains(&text.as_str()) && known.len() < 1000 {
                problems.push(
                    Diagnostic::error(
                        "spec::unknown_value",
                        format!(
                            "the axis `{}` of stage `{name}` has no value `{text}`",
                            filter.axis
                        ),
                    )
                    .at(*span, "")
                    .help(suggest::help(
                        text,
                        known.iter().copied(),
                        "it has no values",
                    )),
                );
            }
        }
    }
}

fn none_left(wanted: &Wanted, need: &Need, stage: &str) -> Diagnostic {
    Diagnostic::error(
        "spec::no_instance",
        format!("no instance of `{}` fits input `{}` of stage `{stage}`", wanted.stage, need.port),
    )
    .at(need.span, "")
    .help("compare `where` and the axes of the two stages; `exclude` may have removed the combination")
}

/// The one instance that agrees with this stage's axes and with `where`.
fn join(
    wanted: &Wanted,
    need: &Need,
    target: &Target<'_>,
    axes: &Cell,
    stage: &str,
    cell: &Cell,
    problems: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let mut texts = Vec::with_capacity(axes.len());
    let mut open = Vec::new();
    for axis in axes {
        let chosen = wanted.filter.iter().find(|f| f.axis == axis.name);
        let own = cell.iter().find(|mine| mine.name == axis.name);
        match (chosen.map(|filter| filter.values.as_slice()), own) {
            (Some([(text, _)]), _) => texts.push(text.as_str()),
            (None, Some(mine)) => texts.push(mine.text.as_str()),
            (Some(values), Some(mine)) if values.iter().any(|(t, _)| *t == mine.text) => {
                texts.push(mine.text.as_str());
            }
            _ => open.push(axis.name.as_str()),
        }
    }
    if !open.is_empty() {
        let listed = suggest::list(&open);
        let (axis, which) = (
            open[0],
            if open.len() == 1 {
                "the axis"
            } else {
                "the axes"
            },
        );
        problems.push(
            Diagnostic::error(
                "spec::ambiguous_input",
                format!("input `{}` of stage `{stage}` could be any of several instances of `{}`", need.port, wanted.stage),
            )
            .at(need.span, format!("`{}` has {which} {listed}, which `{stage}` has not", wanted.stage))
            .help(format!(
                "take one with `{{ stage: {0}, where: {{ {axis}: VALUE }} }}`, all with `{{ all: {0} }}`, or give `{stage}` the same axes with `matrix: {{ from: {0} }}`",
                wanted.stage
            )),
        );
        return None;
    }
    let found = target.by_texts.get(&texts).copied();
    if found.is_none() && !target.incomplete {
        let cell: Vec<String> = axes
            .iter()
            .zip(&texts)
            .map(|(axis, text)| format!("{}={text}", axis.name))
            .collect();
        problems.push(none_left(wanted, need, stage).detail(format!(
            "there is no `{}[{}]`",
            wanted.stage,
            cell.join(",")
        )));
    }
    found
}

/// Why there is no [`METRICS`] of a command.
fn no_numbers(wanted: &Wanted, span: Span, stage: &str) -> Diagnostic {
    Diagnostic::error(
        "spec::no_numbers",
        format!("stage `{}` leaves no numbers", wanted.stage),
    )
    .at(span, format!("needed by `{stage}`"))
    .help("name the file it writes them to: `numbers: scores.json`")
}

fn choose_output(
    wanted: &Wanted,
    need: &Need,
    target: &Target<'_>,
    outputs: &[OutputSpec],
    ports: &Ports,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<String> {
    let has = |name: &str| outputs.iter().any(|output| output.name == name);
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    let port = ports.inputs.iter().find(|port| port.name == need.port);
    if let Some((Some(only), help)) = port.map(|port| (port.output, port.only))
        && let Some(help) = help
        && !has(only)
        && (wanted.output.as_ref()).is_none_or(|(output, _)| output == only)
    {
        problems.push(
            Diagnostic::error(
                "spec::no_output",
                format!("stage `{}` leaves no output `{only}`", wanted.stage),
            )
            .at(need.span, format!("needed by `{stage}`"))
            .help(help),
        );
        return None;
    }
    if let Some((output, span)) = &wanted.output {
        if has(output) || (output == METRICS && target.has_numbers) {
            return Some(output.clone());
        }
        if output == METRICS {
            problems.push(no_numbers(wanted, *span, stage));
            return None;
        }
        problems.push(
            Diagnostic::error(
                "spec::unknown_output",
                format!("stage `{}` has no output `{output}`", wanted.stage),
            )
            .at(*span, format!("needed by `{stage}`"))
            .help(suggest::help(
                output,
                names
                    .iter()
                    .copied()
                    .chain(target.has_numbers.then_some(METRICS)),
                "it has no outputs",
            )),
        );
        return None;
    }
    let preferred = port.map_or(ports.any_output, |port| port.output);
    if let Some(preferred) = preferred {
        if has(preferred) || (preferred == METRICS && target.has_numbers) {
            return Some(preferred.to_owned());
        }
        if preferred == METRICS {
            problems.push(no_numbers(wanted, need.span, stage));
            return None;
        }
    }
    if has(&need.port) {
        return Some(need.port.clone());
    }
    match names.as_slice() {
        [] => {
            problems.push(
                Diagnostic::error(
                    "spec::no_output",
                    format!("stage `{}` leaves no output", wanted.stage),
                )
                .at(need.span, format!("needed by `{stage}`"))
                .help("declare one under its `outputs:`"),
            );
            None
        }
        [only] => Some((*only).to_owned()),
        [..] if target.declares_outputs => {
            problems.push(
                Diagnostic::error(
                    "spec::ambiguous_output",
                    format!(
                        "stage `{}` leaves several outputs and none is called `{}`",
                        wanted.stage, need.port
                    ),
                )
                .at(need.span, format!("it leaves {}", suggest::list(&names)))
                .help(format!("name one: `{}.{}`", wanted.stage, names[0])),
            );
            None
        }
        [first, ..] => Some((*first).to_owned()),
    }
}
