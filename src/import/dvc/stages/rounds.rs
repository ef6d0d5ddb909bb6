//! The rounds of `foreach:` and `matrix:`, and the axes that they are here. Knows no other key of a stage.

use flow::diagnostic::Diagnostic;
use flow::spec::node::{Entry, Node, Value};

use super::{MAX_STAGES, Reader, wrong};
use crate::import::dvc::names;
use crate::import::dvc::scope::{Origin, Round};
use crate::import::dvc::text::{Piece, as_axis_value, shown};

/// Names under `matrix:` of a pipeline file that are no axes.
const RESERVED: [&str; 4] = ["zip", "include", "exclude", "from"];

impl Reader<'_> {
    /// The rounds of a `matrix:`, the last axis fastest.
    pub(super) fn combinations(&self, node: &Node) -> Result<Vec<Round>, Diagnostic> {
        let scope = self.scope();
        let mut axes: Vec<(&str, Vec<Node>)> = Vec::new();
        if !matches!(node.value, Value::Map(_)) {
            return Err(wrong("`matrix` is not a map", node.span));
        }
        let mut total = 1_usize;
        for entry in node.entries() {
            let (values, _) = scope.value(&entry.value)?;
            let Value::Sequence(values) = values.value else {
                return Err(wrong(
                    format!("`{}` of the matrix is not a list", entry.key),
                    entry.value.span,
                ));
            };
            total = total.saturating_mul(values.len());
            axes.push((&entry.key, values));
        }
        if total > MAX_STAGES {
            return Err(wrong(
                format!("this matrix makes more than {MAX_STAGES} stages"),
                node.span,
            )
            .help("leave out values, or split the stage"));
        }
        let names = axis_names(axes.iter().map(|(name, _)| *name));
        let is_simple = axes
            .iter()
            .all(|(_, values)| values.iter().all(|value| shown(&value.value).is_some()));
        let mut rounds = Vec::with_capacity(total);
        for index in 0..total {
            let mut left = index;
            let mut chosen: Vec<(usize, &Node)> = axes
                .iter()
                .rev()
                .map(|(_, values)| {
                    let at = left % values.len();
                    left /= values.len();
                    (at, &values[at])
                })
                .collect();
            chosen.reverse();
            let mut fragments = Vec::new();
            let mut round = Round {
                name: String::new(),
                item: Node {
                    value: Value::Null,
                    span: node.span,
                    defined: None,
                },
                has_key: true,
                axes: Vec::new(),
                key_parts: Vec::new(),
            };
            let mut item = Vec::new();
            for (((key, _), name), (at, value)) in axes.iter().zip(&names).zip(chosen) {
                let fragment = shown(&value.value).unwrap_or_else(|| format!("{key}{at}"));
                if is_simple {
                    round.key_parts.push(Piece::Axis {
                        axis: name.clone(),
                        text: fragment.clone(),
                    });
                    let path = Some(vec![(*key).to_owned()]);
                    round
                        .axes
                        .extend(as_axis_value(value).map(|v| (name.clone(), path, v)));
                }
                fragments.push(fragment);
                item.push(Entry {
                    key: (*key).to_owned(),
                    key_span: value.span,
                    value: value.clone(),
                });
            }
            round.name = fragments.join("-");
            round.item.value = Value::Map(item);
            // Equal names are one stage to DVC, the last of them.
            rounds.retain(|earlier: &Round| earlier.name != round.name);
            rounds.push(round);
        }
        Ok(rounds)
    }
}

/// The rounds of a `foreach:`.
pub(super) fn each(data: &Node) -> Result<Vec<Round>, Diagnostic> {
    let is_composite = |node: &Node| matches!(node.value, Value::Map(_) | Value::Sequence(_));
    let pairs: Vec<(String, Node, bool)> = match &data.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone(), true))
            .collect(),
        Value::Sequence(items) if items.iter().any(is_composite) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item.clone(), false))
            .collect(),
        Value::Sequence(items) => {
            let mut pairs: Vec<(String, Node, bool)> = Vec::new();
            for item in items {
                let name = shown(&item.value).unwrap_or_default();
                pairs.retain(|(earlier, ..)| *earlier != name);
                pairs.push((name, item.clone(), false));
            }
            pairs
        }
        _ => {
            return Err(wrong(
                format!(
                    "`foreach` goes over {}, not a list or a map",
                    data.type_name()
                ),
                data.span,
            ));
        }
    };
    let mut rounds: Vec<Round> = pairs
        .into_iter()
        .map(|(name, item, has_key)| Round {
            name,
            item,
            has_key,
            axes: Vec::new(),
            key_parts: Vec::new(),
        })
        .collect();
    let fields: Vec<Vec<(Vec<String>, Node)>> = rounds
        .iter()
        .map(|round| {
            let mut fields = Vec::new();
            flatten(&round.item, &mut Vec::new(), &mut fields);
            fields
        })
        .collect();
    let Some(first) = fields.first() else {
        return Ok(rounds);
    };
    // A field that some items lack, or that is a list, cannot be an axis.
    let shared: Vec<Vec<String>> = first
        .iter()
        .filter(|(path, _)| {
            let has = |fields: &Vec<(Vec<String>, Node)>| {
                fields
                    .iter()
                    .any(|(own, value)| own == path && as_axis_value(value).is_some())
            };
            fields.iter().all(has)
        })
        .map(|(path, _)| path.clone())
        .collect();
    let has_key = rounds.iter().any(|round| round.has_key);
    let mut wanted: Vec<(String, Option<Vec<String>>)> = Vec::new();
    if has_key {
        wanted.push(("key".to_owned(), None));
    }
    for path in shared {
        let name = if path.is_empty() {
            "item".to_owned()
        } else {
            path.join("_")
        };
        wanted.push((name, Some(path)));
    }
    let names = axis_names(wanted.iter().map(|(name, _)| name.as_str()));
    for (round, fields) in rounds.iter_mut().zip(&fields) {
        for ((_, path), name) in wanted.iter().zip(&names) {
            let value = match path {
                None => Some(Node {
                    value: Value::String(round.name.clone()),
                    span: round.item.span,
                    defined: None,
                }),
                Some(path) => fields
                    .iter()
                    .find(|(own, _)| own == path)
                    .and_then(|(_, value)| as_axis_value(value)),
            };
            round
                .axes
                .extend(value.map(|value| (name.clone(), path.clone(), value)));
        }
    }
    Ok(rounds)
}

/// The parameter that a loop goes through value by value, as one axis can.
pub(super) fn over(origin: &Option<Origin>, data: &Node, rounds: &[Round]) -> Option<Vec<String>> {
    let (Some(Origin::Global(path)), Value::Sequence(items)) = (origin, &data.value) else {
        return None;
    };
    let is_itself = |(round, item): (&Round, &Node)| match round.axes.as_slice() {
        [(_, Some(path), value)] => path.is_empty() && value.value == item.value,
        _ => false,
    };
    (rounds.len() == items.len() && rounds.iter().zip(items).all(is_itself)).then(|| path.clone())
}

/// The values of an item that are no maps, by their paths.
fn flatten(node: &Node, path: &mut Vec<String>, fields: &mut Vec<(Vec<String>, Node)>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                flatten(&entry.value, path, fields);
                path.pop();
            }
        }
        _ => fields.push((path.clone(), node.clone())),
    }
}

/// Names that axes may have, each once.
fn axis_names<'n>(wanted: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for wanted in wanted {
        let mut name = names::name(wanted, "axis");
        if RESERVED.contains(&name.as_str()) {
            name.push_str("_axis");
        }
        names.push(names::unique(&name, |name| {
            names.iter().any(|other| other == name)
        }));
    }
    names
}
