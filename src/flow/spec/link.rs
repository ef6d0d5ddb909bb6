//! `needs:` of stages: what each source means, and which instance it is. Knows nothing of contents and keys.

use std::collections::BTreeMap;

use super::decode::from_node;
use super::matrix::{Cell, axis_text};
use super::node::{Entry, Node, Value};
use super::paths::{inside, is_glob};
use super::suggest;
use super::{METRICS, Origin, OutputRef, OutputSpec, StageId, check_name, name_help};
use crate::diagnostic::Diagnostic;
use crate::kind::Ports;
use crate::source::Span;

/// One entry of `needs:`, understood but not yet linked.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) port: String,
    pub(crate) place: String,
    pub(crate) span: Span,
    pub(crate) source: Source,
}

#[derive(Debug)]
pub(crate) enum Source {
    Path(String),
    Glob(String),
    Stage(Wanted),
    All(Wanted),
}

/// A stage of the file, perhaps one output of it, perhaps some of its instances.
#[derive(Debug)]
pub(crate) struct Wanted {
    stage: String,
    span: Span,
    output: Option<(String, Span)>,
    filter: Vec<Filter>,
}

#[derive(Debug)]
struct Filter {
    axis: String,
    span: Span,
    values: Vec<(String, Span)>,
}

/// Reads `needs:` of one instance and holds its ports against those of the kind.
pub(crate) fn read(
    node: Option<&Node>,
    ports: &Ports,
    stage: &str,
    stage_span: Span,
    kind: &str,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Need> {
    let entries = match node.map(|node| (&node.value, node)) {
        None | Some((Value::Null, _)) => &[],
        Some((Value::Map(entries), _)) => entries.as_slice(),
        Some((_, node)) => {
            problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "`needs` of stage `{stage}` is {}, not a map",
                        node.type_name()
                    ),
                )
                .at(node.span, "")
                .help("write `needs: { port: source }`; a source is a stage or a path"),
            );
            return Vec::new();
        }
    };
    let names: Vec<&str> = ports.inputs.iter().map(|port| port.name).collect();
    let mut needs = Vec::new();
    for entry in entries {
        if !ports.any_input && !names.contains(&entry.key.as_str()) {
            let help = suggest::help(
                &entry.key,
                names.iter().copied(),
                "stages of this kind read nothing",
            );
            problems.push(
                Diagnostic::error(
                    "spec::unknown_input",
                    format!("unknown input `{}` in stage `{stage}`", entry.key),
                )
                .at(entry.key_span, format!("not an input of `{kind}`"))
                .help(help),
            );
            continue;
        }
        if !check_name(&entry.key) {
            problems.push(
                Diagnostic::error(
                    "spec::name",
                    format!("`{}` cannot name an input", entry.key),
                )
                .at(entry.key_span, "")
                .help(name_help(&entry.key)),
            );
            continue;
        }
        needs.extend(need(entry, stage, problems));
    }
    for port in &ports.inputs {
        let given = entries.iter().any(|entry| entry.key == port.name);
        if !given && !port.optional {
            let span = node.map_or(stage_span, |node| node.span);
            problems.push(
                Diagnostic::error(
                    "spec::missing_input",
                    format!("stage `{stage}` has no input `{}`", port.name),
                )
                .at(span, format!("`{kind}` reads `{}`", port.name))
                .help(format!(
                    "add `{}: SOURCE` under `needs:`; a source is a stage or a path",
                    port.name
                )),
            );
        }
    }
    needs
}

fn need(entry: &Entry, stage: &str, problems: &mut Vec<Diagnostic>) -> Option<Need> {
    let node = &entry.value;
    let mut place = entry.key.clone();
    let source = match &node.value {
        Value::String(text) => short_form(text, node.span, entry, stage, problems)?,
        Value::Map(_) => {
            let (source, place_as) = long_form(node, entry, stage, problems)?;
            if let Some(place_as) = place_as {
                place = place_as;
            }
            source
        }
        _ => {
            problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!("input `{}` of stage `{stage}` is {}, not a source", entry.key, node.type_name()),
                )
                .at(node.span, "")
                .at_if(node.defined, "defined here")
                .help("a source is a stage, `stage.output`, a path with a `/`, or `{ all: stage }` for every instance; each further source needs a name of its own"),
            );
            return None;
        }
    };
    Some(Need {
        port: entry.key.clone(),
        place,
        span: node.span,
        source,
    })
}

fn path_source(path: &str) -> Source {
    let path = path
        .strip_prefix("./")
        .filter(|p| !p.is_empty())
        .unwrap_or(path);
    if is_glob(path) {
        Source::Glob(path.to_owned())
    } else {
        let trimmed = path.trim_end_matches('/');
        Source::Path(if trimmed.is_empty() { path } else { trimmed }.to_owned())
    }
}

fn short_form(
    text: &str,
    span: Span,
    entry: &Entry,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<Source> {
    if text.contains('/') {
        return Some(path_source(text));
    }
    let (name, output) = match text.split_once('.') {
        Some((name, output)) => (name, Some(output)),
        None => (text, None),
    };
    if text.contains('[') {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("input `{}` of stage `{stage}` selects an instance", entry.key),
            )
            .at(span, "")
            .help("write `{ stage: NAME, where: { axis: value } }`; a pattern of files begins with `./`"),
        );
        return None;
    }
    if text.is_empty() || text.contains(['*', '?']) {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("input `{}` of stage `{stage}` names no source", entry.key),
            )
            .at(span, "")
            .help("write a stage, or a path with a `/` such as `./*.txt`"),
        );
        return None;
    }
    Some(Source::Stage(Wanted {
        stage: name.to_owned(),
        span,
        output: output.map(|output| (output.to_owned(), span)),
        filter: Vec::new(),
    }))
}

fn long_form(
    node: &Node,
    entry: &Entry,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<(Source, Option<String>)> {
    let before = problems.len();
    let what = format!("input `{}` of stage `{stage}`", entry.key);
    let forms: Vec<&str> = ["file", "stage", "all"]
        .into_iter()
        .filter(|key| node.find(key).is_some())
        .collect();
    let [form] = forms.as_slice() else {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("{what} names no source, or several"),
            )
            .at(node.span, "")
            .help("write one of `file: PATH`, `stage: NAME`, `all: NAME`"),
        );
        return None;
    };
    let allowed: &[&str] = match *form {
        "file" => &["file", "as"],
        _ => &[*form, "output", "where", "as"],
    };
    for key in node.entries() {
        if !allowed.contains(&key.key.as_str()) {
            problems.push(
                Diagnostic::error(
                    "spec::unknown_key",
                    format!("unknown key `{}` in {what}", key.key),
                )
                .at(key.key_span, format!("not a key beside `{form}`"))
                .help(suggest::help(
                    &key.key,
                    allowed.iter().copied(),
                    "remove it",
                )),
            );
        }
    }
    let mut text = |key: &str| -> Option<(String, Span)> {
        let entry = node.find(key)?;
        match from_node::<String>(&entry.value, &format!("`{key}` of {what}")) {
            Ok(text) => Some((text, entry.value.span)),
            Err(found) => {
                problems.extend(found);
                None
            }
        }
    };
    let (named, output, place) = (text(form), text("output"), text("as"));
    let place = match place.map(|(place, span)| (inside(&place), place, span)) {
        None => None,
        Some((Ok(place), ..)) => Some(place),
        Some((Err(why), place, span)) => {
            problems.push(
                Diagnostic::error(
                    "spec::path",
                    format!("`{place}` cannot be the place of {what}: {why}"),
                )
                .at(span, "")
                .help("write a relative path that stays inside the stage's folder"),
            );
            None
        }
    };
    let filter = node
        .find("where")
        .map_or_else(Vec::new, |entry| filters(&entry.value, &what, problems));
    let (name, span) = named?;
    if problems.len() > before {
        return None;
    }
    let wanted = || Wanted {
        stage: name.clone(),
        span,
        output,
        filter,
    };
    let source = match *form {
        "file" if name.is_empty() => return None,
        "file" => path_source(&name),
        "stage" => Source::Stage(wanted()),
        _ => Source::All(wanted()),
    };
    Some((source, place))
}

fn filters(node: &Node, what: &str, problems: &mut Vec<Diagnostic>) -> Vec<Filter> {
    if !matches!(node.value, Value::Map(_)) {
        problems.push(
            Diagnostic::error(
                "spec::wrong_type",
                format!("`where` of {what} is {}, not a map", node.type_name()),
            )
            .at(node.span, "")
            .help("write `where: { axis: value }`; a list of values takes each of them"),
        );
    }
    node.entries()
        .iter()
        .map(|entry| {
            let values = match &entry.value.value {
                Value::Sequence(items) => items.iter().map(|i| (axis_text(i), i.span)).collect(),
                _ => vec![(axis_text(&entry.value), entry.value.span)],
            };
            Filter {
                axis: entry.key.clone(),
                span: entry.key_span,
                values,
            }
        })
        .collect()
}

/// What linking knows of every stage of the file.
pub(crate) struct Linker<'a> {
    stages: BTreeMap<&'a str, Target<'a>>,
}

/// The instances of one stage of the file.
#[derive(Default)]
pub(crate) struct Target<'a> {
    /// Each with its index; empty when the stage itself is wrong and has been reported.
    instances: Vec<(StageId, &'a Cell, &'a [OutputSpec])>,
    declares_outputs: bool,
    /// Whether an instance is wrong itself and left out, so that its absence is no news.
    incomplete: bool,
    /// By the texts of the axes in the stage's own order.
    by_texts: BTreeMap<Vec<&'a str>, usize>,
}

impl<'a> Linker<'a> {
    /// `names` are all stages of the file, also those without instances.
    pub(crate) fn new(names: impl Iterator<Item = &'a str>) -> Self {
        Self {
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
    ) {
        let target = self.stages.entry(stage).or_default();
        target.declares_outputs = declares_outputs;
        let texts = cell.iter().map(|axis| axis.text.as_str()).collect();
        target.by_texts.insert(texts, target.instances.len());
        target.instances.push((id, cell, outputs));
    }

    /// Notes that an instance of `stage` could not be made.
    pub(crate) fn miss(&mut self, stage: &'a str) {
        self.stages.entry(stage).or_default().incomplete = true;
    }

    /// The origin of a need; `None` with a problem, or when the other stage is wrong itself.
    pub(crate) fn origin(
        &self,
        need: &Need,
        stage: &str,
        cell: &Cell,
        ports: &Ports,
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
                .filter(|index| admits(&wanted.filter, target.instances[*index].1))
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

fn admits(filters: &[Filter], cell: &Cell) -> bool {
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
    if let Some((output, span)) = &wanted.output {
        if has(output) || output == METRICS {
            return Some(output.clone());
        }
        problems.push(
            Diagnostic::error(
                "spec::unknown_output",
                format!("stage `{}` has no output `{output}`", wanted.stage),
            )
            .at(*span, format!("needed by `{stage}`"))
            .help(suggest::help(
                output,
                names.iter().copied().chain([METRICS]),
                "it has no outputs",
            )),
        );
        return None;
    }
    let preferred = ports
        .inputs
        .iter()
        .find(|port| port.name == need.port)
        .and_then(|port| port.output);
    if let Some(preferred) = preferred
        && (has(preferred) || preferred == METRICS)
    {
        return Some(preferred.to_owned());
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
                .help(format!(
                    "declare one under its `outputs:`, or write `{}.{METRICS}` for its numbers",
                    wanted.stage
                )),
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
