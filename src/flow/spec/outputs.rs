//! `outputs:` of a stage, and that nothing in its folder stands in another's place. Knows nothing of other stages.

use serde::Deserialize;

use super::decode::from_node;
use super::node::{Entry, Node, Value};
use super::paths::{inside, overlap};
use super::suggest;
use super::{Keep, METRICS, OutputSpec, check_name, name_help};
use crate::diagnostic::Diagnostic;
use crate::kind::Ports;
use crate::source::Span;

#[derive(Deserialize)]
struct OutputKeys {
    path: Option<String>,
    #[serde(default)]
    keep: Keep,
}

/// The outputs of a stage: those it declares, or its kind's with `keep` filled in.
pub(crate) fn read(
    node: Option<&Node>,
    ports: &Ports,
    stage: &str,
    kind: &str,
    problems: &mut Vec<Diagnostic>,
) -> Vec<OutputSpec> {
    let mut outputs: Vec<OutputSpec> = ports
        .outputs
        .iter()
        .map(|(name, path)| OutputSpec {
            name: name.clone(),
            path: path.clone(),
            keep: Keep::default(),
        })
        .collect();
    let Some(node) = node else {
        return outputs;
    };
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        problems.push(
            Diagnostic::error(
                "spec::wrong_type",
                format!(
                    "`outputs` of stage `{stage}` is {}, not a map",
                    node.type_name()
                ),
            )
            .at(node.span, "")
            .help("write `outputs: { name: path }`"),
        );
        return outputs;
    }
    for entry in node.entries() {
        let Some(keys) = keys(entry, stage, problems) else {
            continue;
        };
        if ports.declares_outputs {
            outputs.extend(declared(entry, keys, stage, problems));
            continue;
        }
        let known = outputs.iter_mut().find(|output| output.name == entry.key);
        match known {
            None => {
                let names = ports.outputs.iter().map(|(name, _)| name.as_str());
                let help = suggest::help(&entry.key, names, "stages of this kind have no outputs");
                problems.push(
                    Diagnostic::error(
                        "spec::unknown_output",
                        format!("stage `{stage}` has no output `{}`", entry.key),
                    )
                    .at(entry.key_span, format!("not an output of `{kind}`"))
                    .help(help),
                );
            }
            Some(_) if keys.path.is_some() => problems.push(
                Diagnostic::error(
                    "spec::outputs",
                    format!("the place of `{}` is fixed by the kind `{kind}`", entry.key),
                )
                .at(entry.value.span, "")
                .help("only `keep` can be set: `{ keep: always | until_used | never }`"),
            ),
            Some(output) => output.keep = keys.keep,
        }
    }
    outputs
}

fn keys(entry: &Entry, stage: &str, problems: &mut Vec<Diagnostic>) -> Option<OutputKeys> {
    let what = format!("output `{}` of stage `{stage}`", entry.key);
    let keys = match entry.value.value {
        Value::Map(_) => from_node(&entry.value, &what),
        _ => from_node::<String>(&entry.value, &what).map(|path| OutputKeys {
            path: Some(path),
            keep: Keep::default(),
        }),
    };
    keys.map_err(|found| problems.extend(found)).ok()
}

fn declared(
    entry: &Entry,
    keys: OutputKeys,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<OutputSpec> {
    if !check_name(&entry.key) {
        problems.push(
            Diagnostic::error(
                "spec::name",
                format!("`{}` cannot name an output", entry.key),
            )
            .at(entry.key_span, "")
            .help(name_help(&entry.key)),
        );
        return None;
    }
    if entry.key == METRICS {
        problems.push(
            Diagnostic::error(
                "spec::name",
                format!("`{METRICS}` is the name of a stage's numbers"),
            )
            .at(entry.key_span, "")
            .help(
                "choose another name; numbers the stage writes to a file go under `numbers: FILE`",
            ),
        );
        return None;
    }
    let Some(path) = keys.path else {
        problems.push(
            Diagnostic::error(
                "spec::missing_key",
                format!("output `{}` of stage `{stage}` has no path", entry.key),
            )
            .at(entry.value.span, "has no `path`")
            .help("add `path: …`, where the stage leaves it in its folder"),
        );
        return None;
    };
    match inside(&path) {
        Ok(path) => Some(OutputSpec {
            name: entry.key.clone(),
            path,
            keep: keys.keep,
        }),
        Err(why) => {
            problems.push(
                Diagnostic::error(
                    "spec::path",
                    format!("`{path}` cannot be an output of stage `{stage}`: {why}"),
                )
                .at(entry.value.span, "")
                .help("write a relative path that stays inside the stage's folder"),
            );
            None
        }
    }
}

/// Something that takes a place in the stage's folder.
pub(crate) struct Occupant {
    /// Such as ``the input `text` ``.
    pub(crate) what: String,
    pub(crate) place: String,
    pub(crate) span: Span,
}

/// Refuses two occupants of one place, or one inside another.
pub(crate) fn check_places(stage: &str, occupants: &[Occupant], problems: &mut Vec<Diagnostic>) {
    let mut order: Vec<&Occupant> = occupants.iter().collect();
    // By components, so that what lies inside a folder follows it directly.
    order.sort_by(|a, b| a.place.split('/').cmp(b.place.split('/')));
    let mut open: Vec<&Occupant> = Vec::new();
    for occupant in order {
        open.retain(|earlier| overlap(&earlier.place, &occupant.place));
        if let Some(earlier) = open.last() {
            let relation = if earlier.place == occupant.place {
                format!("both stand at `{}`", occupant.place)
            } else {
                format!(
                    "overlap: `{}` lies inside `{}`",
                    occupant.place, earlier.place
                )
            };
            problems.push(
                Diagnostic::error(
                    "spec::same_place",
                    format!(
                        "{} and {} of stage `{stage}` {relation}",
                        earlier.what, occupant.what
                    ),
                )
                .at(occupant.span, "")
                .at(earlier.span, "")
                .help("give one of them another place; `as:` places an input"),
            );
        }
        open.push(occupant);
    }
}
