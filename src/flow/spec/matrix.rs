//! `matrix` and `replicate`: from axes to cells. Knows nothing of what a stage does in a cell.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::{scalar_text, to_json};
use super::node::{Entry, Node, Value};
use super::substitute::AxisValue;
use super::suggest;
use super::{check_name, name_help};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// One cell: a value for each axis, the axis of repetition last.
pub(crate) type Cell = Vec<AxisValue>;

/// The axes of one stage of the file, parameters substituted.
pub(crate) struct Axes<'a> {
    pub(crate) stage: &'a str,
    pub(crate) span: Span,
    pub(crate) matrix: Option<Node>,
    pub(crate) replicate: Option<Node>,
}

/// The words under `matrix:` that are not axes.
const RESERVED: [&str; 4] = ["zip", "include", "exclude", "from"];

/// The cells of every stage, in the order of `stages`; one empty cell where there are no axes.
/// A stage whose axes are wrong has `None`, and a problem says why.
pub(crate) fn expand(
    stages: &[Axes<'_>],
    limit: usize,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Option<Vec<Cell>>> {
    let by_name = stages
        .iter()
        .enumerate()
        .map(|(index, axes)| (axes.stage, index))
        .collect();
    let mut expander = Expander {
        stages,
        by_name,
        done: vec![None; stages.len()],
        limit,
        problems,
    };
    for index in expander.order() {
        let cells = expander.stage(index);
        expander.done[index] = cells;
    }
    expander.done
}

struct Expander<'a, 'p> {
    stages: &'a [Axes<'a>],
    by_name: BTreeMap<&'a str, usize>,
    done: Vec<Option<Vec<Cell>>>,
    limit: usize,
    problems: &'p mut Vec<Diagnostic>,
}

impl Expander<'_, '_> {
    fn axes_from(&self, index: usize) -> Option<&Entry> {
        self.stages[index].matrix.as_ref()?.find("from")
    }

    fn parent(&self, index: usize) -> Option<usize> {
        let from = self.axes_from(index)?;
        self.by_name.get(from.value.as_str()?).copied()
    }

    /// Every stage after the one its axes come `from`. A ring of `from` is reported and its members left out.
    fn order(&mut self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.stages.len());
        let mut placed = vec![false; self.stages.len()];
        for start in 0..self.stages.len() {
            let mut chain = Vec::new();
            let mut on_chain = BTreeSet::new();
            let mut next = Some(start);
            while let Some(index) = next {
                if placed[index] {
                    break;
                }
                if !on_chain.insert(index) {
                    let begin = chain.iter().position(|i| *i == index).unwrap_or(0);
                    self.refuse_ring(&chain[begin..]);
                    break;
                }
                chain.push(index);
                next = self.parent(index);
            }
            for index in chain.into_iter().rev() {
                placed[index] = true;
                order.push(index);
            }
        }
        order
    }

    fn refuse_ring(&mut self, ring: &[usize]) {
        let mut names: Vec<&str> = ring.iter().map(|i| self.stages[*i].stage).collect();
        names.extend(names.first().copied());
        let mut problem = Diagnostic::error(
            "spec::matrix",
            format!("axes come `from` each other: {}", names.join(" -> ")),
        )
        .help("give one of these stages axes of its own");
        for index in ring {
            if let Some(from) = self.axes_from(*index) {
                problem = problem.at(from.value.span, "");
            }
        }
        self.problems.push(problem);
    }

    fn problem(&mut self, message: String, span: Span, help: impl Into<String>) {
        self.problems.push(
            Diagnostic::error("spec::matrix", message)
                .at(span, "")
                .help(help),
        );
    }

    fn stage(&mut self, index: usize) -> Option<Vec<Cell>> {
        let stage = &self.stages[index];
        let before = self.problems.len();
        let mut groups: Vec<Vec<Cell>> = Vec::new();
        let mut include = Vec::new();
        let mut exclude = Vec::new();
        if let Some(matrix) = &stage.matrix {
            match &matrix.value {
                Value::Map(entries) => {
                    for entry in entries {
                        match entry.key.as_str() {
                            "zip" => groups.extend(self.zip(stage, entry)),
                            "from" => groups.extend(self.from(stage, entry)),
                            "include" => include = self.cells(stage, entry),
                            "exclude" => exclude = self.cells(stage, entry),
                            _ => groups.extend(self.axis(stage, entry, false)),
                        }
                    }
                }
                Value::Null => {}
                _ => self.problem(
                    format!(
                        "`matrix` of stage `{}` is {}, not a map",
                        stage.stage,
                        matrix.type_name()
                    ),
                    matrix.span,
                    "write `matrix: { axis: [value, value] }`",
                ),
            }
        }
        let repetition = self.replicate(stage);
        if self.problems.len() > before {
            return None;
        }
        self.check_distinct(stage, &groups, repetition.as_ref());
        let mut total = if groups.is_empty() && !include.is_empty() {
            0
        } else {
            groups
                .iter()
                .fold(1_usize, |total, group| total.saturating_mul(group.len()))
        };
        total = total.saturating_add(include.len());
        total = total.saturating_mul(repetition.as_ref().map_or(1, Vec::len));
        if total > self.limit {
            self.problem(
                format!(
                    "stage `{}` has {total} instances, more than {}",
                    stage.stage, self.limit
                ),
                stage.span,
                "leave out values, or split the stage",
            );
        }
        if self.problems.len() > before {
            return None;
        }
        let mut cells = if groups.is_empty() && !include.is_empty() {
            Vec::new()
        } else {
            product(&groups)
        };
        self.exclude(stage, &mut cells, &exclude);
        self.include(stage, &mut cells, include);
        if let Some(repetition) = repetition {
            cells = product(&[cells, repetition]);
        }
        for cell in &mut cells {
            cell.sort_by_key(|axis| axis.replicate);
        }
        self.check_cells(stage, &cells);
        (self.problems.len() == before).then_some(cells)
    }

    fn axis(&mut self, stage: &Axes<'_>, entry: &Entry, replicate: bool) -> Option<Vec<Cell>> {
        if !check_name(&entry.key) {
            self.problem(
                format!("`{}` cannot name an axis", entry.key),
                entry.key_span,
                name_help(&entry.key),
            );
            return None;
        }
        let Value::Sequence(items) = &entry.value.value else {
            self.problem(
                format!(
                    "the axis `{}` of stage `{}` is {}, not a list",
                    entry.key,
                    stage.stage,
                    entry.value.type_name()
                ),
                entry.value.span,
                format!("write `{}: [value, value]`", entry.key),
            );
            return None;
        };
        if items.is_empty() {
            self.problem(
                format!(
                    "the axis `{}` of stage `{}` has no values",
                    entry.key, stage.stage
                ),
                entry.value.span,
                "give it a value, or remove the axis",
            );
            return None;
        }
        Some(
            items
                .iter()
                .map(|item| vec![axis_value(&entry.key, item, replicate)])
                .collect(),
        )
    }

    fn zip(&mut self, stage: &Axes<'_>, entry: &Entry) -> Option<Vec<Cell>> {
        let before = self.problems.len();
        let columns: Vec<Vec<Cell>> = entry
            .value
            .entries()
            .iter()
            .filter_map(|entry| self.axis(stage, entry, false))
            .collect();
        if self.problems.len() > before {
            return None;
        }
        let Some(length) = columns.first().map(Vec::len) else {
            self.problem(
                format!("`zip` of stage `{}` has no axes", stage.stage),
                entry.key_span,
                "write `zip: { a: [1, 2], b: [x, y] }`",
            );
            return None;
        };
        if columns.iter().any(|column| column.len() != length) {
            let lengths: Vec<String> = entry
                .value
                .entries()
                .iter()
                .zip(&columns)
                .map(|(entry, column)| format!("`{}` has {}", entry.key, column.len()))
                .collect();
            self.problem(
                format!(
                    "the lists under `zip` of stage `{}` differ in length: {}",
                    stage.stage,
                    lengths.join(", ")
                ),
                entry.key_span,
                "zipped axes go in step; give each the same number of values",
            );
            return None;
        }
        Some(
            (0..length)
                .map(|row| columns.iter().flat_map(|c| c[row].clone()).collect())
                .collect(),
        )
    }

    fn from(&mut self, stage: &Axes<'_>, entry: &Entry) -> Option<Vec<Cell>> {
        let Some(name) = entry.value.as_str() else {
            self.problem(
                format!("`from` of stage `{}` names no stage", stage.stage),
                entry.value.span,
                "write `from: STAGE` to have the axes of that stage",
            );
            return None;
        };
        let Some(parent) = self.by_name.get(name).copied() else {
            let help = suggest::help(
                name,
                self.by_name.keys().copied(),
                "there are no other stages",
            );
            self.problems.push(
                Diagnostic::error(
                    "spec::unknown_stage",
                    format!(
                        "`from` of stage `{}` names an unknown stage `{name}`",
                        stage.stage
                    ),
                )
                .at(entry.value.span, "")
                .help(help),
            );
            return None;
        };
        // Where the other stage is wrong itself, its own message is enough.
        self.done[parent].clone()
    }

    fn replicate(&mut self, stage: &Axes<'_>) -> Option<Vec<Cell>> {
        let node = stage.replicate.as_ref()?;
        match node.entries() {
            [entry] => self.axis(stage, entry, true),
            [] if node.value == Value::Null => None,
            _ => {
                self.problem(
                    format!("`replicate` of stage `{}` is not one axis", stage.stage),
                    node.span,
                    "write `replicate: { seed: [1, 2, 3] }`; further axes belong under `matrix`",
                );
                None
            }
        }
    }

    /// Two groups may not bring the same axis, and there is one axis of repetition.
    fn check_distinct(&mut self, stage: &Axes<'_>, groups: &[Vec<Cell>], own: Option<&Vec<Cell>>) {
        let mut seen = BTreeSet::new();
        let mut repetitions = 0;
        for group in groups.iter().chain(own) {
            for axis in group.first().into_iter().flatten() {
                repetitions += usize::from(axis.replicate);
                if !seen.insert(axis.name.as_str()) {
                    self.problem(
                        format!("stage `{}` has the axis `{}` twice", stage.stage, axis.name),
                        stage.span,
                        "remove one of the two",
                    );
                }
            }
        }
        if repetitions > 1 {
            self.problem(
                format!("stage `{}` has two axes of repetition", stage.stage),
                stage.span,
                "`from` brings the other stage's `replicate`; remove the one here",
            );
        }
    }

    /// The maps under `include` or `exclude`.
    fn cells(&mut self, stage: &Axes<'_>, entry: &Entry) -> Vec<(Span, Cell)> {
        let Value::Sequence(items) = &entry.value.value else {
            self.problem(
                format!(
                    "`{}` of stage `{}` is {}, not a list of maps",
                    entry.key,
                    stage.stage,
                    entry.value.type_name()
                ),
                entry.value.span,
                format!("write `{}: [{{ axis: value }}]`", entry.key),
            );
            return Vec::new();
        };
        let mut cells = Vec::new();
        for item in items {
            if item.entries().is_empty() {
                self.problem(
                    format!(
                        "an entry of `{}` of stage `{}` is no cell",
                        entry.key, stage.stage
                    ),
                    item.span,
                    "write `{ axis: value }`",
                );
                continue;
            }
            for axis in item.entries() {
                if !check_name(&axis.key) || RESERVED.contains(&axis.key.as_str()) {
                    self.problem(
                        format!("`{}` cannot name an axis", axis.key),
                        axis.key_span,
                        name_help(&axis.key),
                    );
                }
            }
            let cell = item
                .entries()
                .iter()
                .map(|axis| axis_value(&axis.key, &axis.value, false))
                .collect();
            cells.push((item.span, cell));
        }
        cells
    }

    fn exclude(&mut self, stage: &Axes<'_>, cells: &mut Vec<Cell>, exclude: &[(Span, Cell)]) {
        for (span, pattern) in exclude {
            let matches = |cell: &Cell| {
                pattern.iter().all(|want| {
                    cell.iter()
                        .any(|have| have.name == want.name && have.text == want.text)
                })
            };
            let before = cells.len();
            cells.retain(|cell| !matches(cell));
            if cells.len() == before {
                self.problem(
                    format!(
                        "this entry of `exclude` of stage `{}` removes nothing",
                        stage.stage
                    ),
                    *span,
                    "compare its axes and values with those of the matrix, or remove it",
                );
            }
        }
    }

    fn include(&mut self, stage: &Axes<'_>, cells: &mut Vec<Cell>, include: Vec<(Span, Cell)>) {
        for (span, cell) in include {
            let wanted: Option<Vec<&str>> = cells
                .first()
                .map(|first| first.iter().map(|axis| axis.name.as_str()).collect());
            let Some(wanted) = wanted else {
                cells.push(cell);
                continue;
            };
            let mut ordered = Vec::with_capacity(wanted.len());
            for name in &wanted {
                ordered.extend(cell.iter().find(|axis| axis.name == *name).cloned());
            }
            if ordered.len() == wanted.len() && cell.len() == wanted.len() {
                cells.push(ordered);
            } else {
                let names = suggest::list(&wanted);
                self.problem(
                    format!(
                        "this entry of `include` of stage `{}` has other axes than the matrix",
                        stage.stage
                    ),
                    span,
                    format!("give it a value for each of {names} and no other"),
                );
            }
        }
    }

    fn check_cells(&mut self, stage: &Axes<'_>, cells: &[Cell]) {
        if cells.is_empty() {
            self.problem(
                format!("`exclude` leaves nothing of stage `{}`", stage.stage),
                stage.span,
                "remove the stage or exclude less",
            );
        }
        let mut seen = BTreeSet::new();
        for cell in cells {
            let texts: Vec<&str> = cell.iter().map(|axis| axis.text.as_str()).collect();
            if !seen.insert(texts.clone()) {
                let span = cell.last().map_or(stage.span, |axis| axis.node.span);
                self.problem(
                    format!(
                        "stage `{}` has the instance `{}` twice",
                        stage.stage,
                        display_name(stage.stage, cell)
                    ),
                    span,
                    "remove the value that repeats another",
                );
                return;
            }
        }
    }
}

/// `stage[axis=value,…]`, or the stage's name without axes.
pub(crate) fn display_name(stage: &str, cell: &[AxisValue]) -> String {
    if cell.is_empty() {
        return stage.to_owned();
    }
    let axes: Vec<String> = cell
        .iter()
        .map(|axis| format!("{}={}", axis.name, axis.text))
        .collect();
    format!("{stage}[{}]", axes.join(","))
}

fn axis_value(name: &str, node: &Node, replicate: bool) -> AxisValue {
    AxisValue {
        name: name.to_owned(),
        text: axis_text(node),
        json: to_json(node).to_string(),
        node: node.clone(),
        replicate,
    }
}

/// An axis value as it is shown and compared; text that would confuse a selector is quoted.
pub(crate) fn axis_text(node: &Node) -> String {
    match scalar_text(&node.value) {
        Some(text) if is_plain(&text) => text,
        Some(text) => serde_json::Value::String(text).to_string(),
        None => to_json(node).to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && !"[]{},=*\"'".contains(c))
}

fn product(groups: &[Vec<Cell>]) -> Vec<Cell> {
    let mut cells = vec![Vec::new()];
    for group in groups {
        cells = cells
            .iter()
            .flat_map(|cell: &Cell| {
                group.iter().map(move |more| {
                    let mut cell = cell.clone();
                    cell.extend(more.iter().cloned());
                    cell
                })
            })
            .collect();
    }
    cells
}
