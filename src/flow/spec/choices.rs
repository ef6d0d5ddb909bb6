//! What stages may choose, and references to it: the values an axis may come to, and the cells a reference means.
//! Knows nothing of how a choice is made.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::place_of;
use super::keys::Template;
use super::link::{admits, agrees};
use super::matrix::Cell;
use super::needs::{Need, Source};
use super::node::{Node, Value};
use super::substitute::{AxisValue, Chosen, Piece, Stages, pieces};
use super::suggest;
use crate::diagnostic::Diagnostic;
use crate::kind::Choosing;
use crate::source::Span;

/// The keys of a stage in which a choice may be referred to. What else a stage has must be known before anything runs.
pub(crate) const KEYS: [&str; 3] = ["with", "env", "needs"];

/// How many possible stages one instance may stand for.
const MAX_VARIANTS: usize = 1000;

/// `${choose.learning_rate}` in a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The stage that chooses.
    pub(crate) stage: String,
    /// The axis; empty where the reference names none.
    pub(crate) axis: String,
    /// As it is written, between the braces.
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A reference in one cell: the instance that chooses, by its place among the cells of its stage.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    pub(crate) stage: String,
    /// The values of that instance's axes, as texts.
    pub(crate) cell: Vec<String>,
    pub(crate) axis: String,
    pub(crate) span: Span,
}

/// What the instances of a stage may choose.
#[derive(Debug, Default)]
pub(crate) struct Grids<'a> {
    by_stage: BTreeMap<&'a str, Grid>,
}

/// What the instances of one stage may choose.
#[derive(Debug)]
struct Grid {
    /// The names of its own axes.
    own: Vec<String>,
    /// The axes it chooses.
    axes: Vec<String>,
    /// By the texts of `own`: the combinations there are, each with a value for each of `axes`.
    rows: BTreeMap<Vec<String>, Vec<Cell>>,
}

/// A stage in one cell with its references settled: what they mean, and each way they may come out.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) picks: Vec<Pick>,
    /// A value for each pick; one empty way where there are no references.
    pub(crate) ways: Vec<Vec<Chosen>>,
}

/// The references of a stage to choices, in the order they stand.
pub(crate) fn references(template: &Template<'_>, stages: &Stages<'_>) -> Vec<Reference> {
    let mut found = Vec::new();
    for key in KEYS {
        let Some(entry) = template.entry.value.find(key) else {
            continue;
        };
        for part in entry.value.entries() {
            // Nothing is substituted there.
            if key != "with" || part.key != "script" {
                collect(&part.value, stages, &mut found);
            }
        }
    }
    found
}

fn collect(node: &Node, stages: &Stages<'_>, found: &mut Vec<Reference>) {
    match &node.value {
        Value::String(text) if text.contains("${") => {
            for piece in pieces(text).unwrap_or_default() {
                let Piece::Reference(text) = piece else {
                    continue;
                };
                let mut steps = text.split('.').map(str::trim);
                let stage = steps.next().unwrap_or("").to_owned();
                if stages.chooses(&stage) {
                    found.push(Reference {
                        stage,
                        axis: steps.next().unwrap_or("").to_owned(),
                        text: text.clone(),
                        span: node.span,
                    });
                }
            }
        }
        Value::Sequence(items) => {
            for item in items {
                collect(item, stages, found);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                collect(&entry.value, stages, found);
            }
        }
        _ => {}
    }
}

/// The positions of `stages`, each after those whose choices it refers to. A ring is reported and left in any order.
pub(crate) fn order(
    stages: &[(&str, Vec<Reference>)],
    problems: &mut Vec<Diagnostic>,
) -> Vec<usize> {
    let by_name: BTreeMap<&str, usize> = stages
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (*name, at))
        .collect();
    let mut placed = vec![false; stages.len()];
    let mut order = Vec::with_capacity(stages.len());
    for start in 0..stages.len() {
        // Stages on the way, each with how many of its references were followed. A row of choices may be long: no recursion.
        let mut chain = vec![(start, 0_usize)];
        let mut on_chain = BTreeSet::from([start]);
        while let Some((at, followed)) = chain.last_mut() {
            let at = *at;
            let next = stages[at].1.get(*followed);
            *followed += 1;
            let Some(reference) = next.filter(|_| !placed[at]) else {
                chain.pop();
                on_chain.remove(&at);
                if !std::mem::replace(&mut placed[at], true) {
                    order.push(at);
                }
                continue;
            };
            match by_name.get(reference.stage.as_str()) {
                Some(next) if placed[*next] => {}
                Some(next) if on_chain.insert(*next) => chain.push((*next, 0)),
                Some(next) => {
                    let begin = chain.iter().position(|(at, _)| at == next).unwrap_or(0);
                    let ring: Vec<usize> = chain[begin..].iter().map(|(at, _)| *at).collect();
                    problems.push(ring_problem(stages, &ring));
                }
                None => {}
            }
        }
    }
    order
}

fn ring_problem(stages: &[(&str, Vec<Reference>)], ring: &[usize]) -> Diagnostic {
    let names: Vec<&str> = ring.iter().map(|at| stages[*at].0).collect();
    let path = [names.as_slice(), &names[..1]].concat();
    let mut problem = Diagnostic::error(
        "spec::cycle",
        format!("stages form a cycle: {}", path.join(" -> ")),
    );
    for (at, next) in ring.iter().zip(&path[1..]) {
        let (name, references) = &stages[*at];
        if let Some(reference) = references.iter().find(|one| one.stage == *next) {
            let text = format!("`{name}` waits for what `{next}` chooses");
            problem = problem.at(reference.span, text);
        }
    }
    problem.help("give one of them a value of its own")
}

impl<'a> Grids<'a> {
    /// Notes what an instance may choose; several times where that hangs on another choice.
    pub(crate) fn add(&mut self, stage: &'a str, cell: &Cell, axes: &[String], rows: Vec<Cell>) {
        let grid = self.by_stage.entry(stage).or_insert_with(|| Grid {
            own: cell.iter().map(|axis| axis.name.clone()).collect(),
            axes: axes.to_vec(),
            rows: BTreeMap::new(),
        });
        grid.rows.entry(texts(cell)).or_default().extend(rows);
    }

    /// What the references of a stage mean in one cell. `None` where one of them has no meaning, which is said unless
    /// the stage that chooses is wrong itself.
    pub(crate) fn settle(
        &self,
        references: &[Reference],
        stage: &str,
        cell: &Cell,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Settled> {
        let mut settled = Settled {
            picks: Vec::new(),
            ways: vec![Vec::new()],
        };
        let mut is_whole = true;
        let mut axes_of: BTreeMap<&str, Vec<&Reference>> = BTreeMap::new();
        for reference in references {
            let axes = axes_of.entry(&reference.stage).or_default();
            if axes.iter().all(|other| other.axis != reference.axis) {
                axes.push(reference);
            }
        }
        for (chooser, references) in axes_of {
            let found = self.find(chooser, &references, stage, cell, problems);
            let Some((chooser_cell, rows, columns)) = found else {
                is_whole = false;
                continue;
            };
            // Linking the stage that chooses says that there is nothing to choose from.
            if rows.is_empty() {
                is_whole = false;
                continue;
            }
            let mut seen = BTreeSet::new();
            let mut ways = Vec::new();
            for row in rows {
                let values: Vec<&AxisValue> = columns.iter().map(|at| &row[*at]).collect();
                if seen.insert(
                    values
                        .iter()
                        .map(|one| one.text.as_str())
                        .collect::<Vec<_>>(),
                ) {
                    ways.push(values);
                }
            }
            if ways.len().saturating_mul(settled.ways.len()) > MAX_VARIANTS {
                problems.push(
                    Diagnostic::error(
                        "spec::too_large",
                        format!("choices may make more than {MAX_VARIANTS} different stages of `{stage}`"),
                    )
                    .at(references[0].span, "")
                    .help("let it hang on fewer choices, or choose among fewer values"),
                );
                is_whole = false;
                continue;
            }
            settled.picks.extend(references.iter().map(|one| Pick {
                stage: chooser.to_owned(),
                cell: chooser_cell.clone(),
                axis: one.axis.clone(),
                span: one.span,
            }));
            let before = std::mem::take(&mut settled.ways);
            for way in before {
                settled.ways.extend(ways.iter().map(|values| {
                    let more = values.iter().map(|value| Chosen {
                        stage: chooser.to_owned(),
                        value: (*value).clone(),
                    });
                    way.iter().cloned().chain(more).collect()
                }));
            }
        }
        is_whole.then_some(settled)
    }

    /// The instance a reference means in this cell, what it may choose, and where the axes stand in that.
    fn find(
        &self,
        chooser: &str,
        references: &[&Reference],
        stage: &str,
        cell: &Cell,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<(Vec<String>, &[Cell], Vec<usize>)> {
        let grid = self.by_stage.get(chooser)?;
        let before = problems.len();
        let columns = references
            .iter()
            .filter_map(|reference| {
                let at = grid.axes.iter().position(|axis| *axis == reference.axis);
                if at.is_none() {
                    problems.push(unknown_axis(reference, chooser, &grid.axes));
                }
                at
            })
            .collect();
        if problems.len() > before {
            return None;
        }
        let reference = references[0];
        let mut wanted = Vec::with_capacity(grid.own.len());
        for axis in &grid.own {
            let Some(mine) = cell.iter().find(|mine| mine.name == *axis) else {
                problems.push(
                    Diagnostic::error(
                        "spec::reference",
                        format!(
                            "`${{{}}}` could be the choice of any instance of `{chooser}`",
                            reference.text
                        ),
                    )
                    .at(
                        reference.span,
                        format!("`{chooser}` has the axis `{axis}`, which `{stage}` has not"),
                    )
                    .help(format!(
                        "give `{stage}` the axis too: `matrix: {{ {axis}: […] }}`, or `matrix: {{ from: {chooser} }}`"
                    )),
                );
                return None;
            };
            wanted.push(mine.text.clone());
        }
        let Some(rows) = grid.rows.get(&wanted) else {
            let pairs = grid.own.iter().zip(&wanted);
            let here: Vec<String> = pairs.map(|(axis, text)| format!("{axis}={text}")).collect();
            problems.push(
                Diagnostic::error(
                    "spec::reference",
                    format!("`${{{}}}` is the choice of no instance", reference.text),
                )
                .at(
                    reference.span,
                    format!("there is no `{chooser}[{}]`", here.join(",")),
                )
                .help(format!("compare the axes of `{stage}` and `{chooser}`")),
            );
            return None;
        };
        Some((wanted, rows, columns))
    }
}

fn unknown_axis(reference: &Reference, chooser: &str, axes: &[String]) -> Diagnostic {
    let names = || axes.iter().map(String::as_str);
    if reference.axis.is_empty() {
        let first = names().next().unwrap_or("AXIS");
        return Diagnostic::error(
            "spec::reference",
            format!("`${{{}}}` names no axis", reference.text),
        )
        .at(reference.span, "")
        .help(format!("write `${{{chooser}.{first}}}`"));
    }
    Diagnostic::error(
        "spec::undefined",
        format!(
            "`${{{}}}` refers to an axis that `{chooser}` does not choose",
            reference.text
        ),
    )
    .at(reference.span, "used here")
    .help(suggest::help(
        &reference.axis,
        names(),
        "it chooses nothing",
    ))
}

fn texts(cell: &Cell) -> Vec<String> {
    cell.iter().map(|axis| axis.text.clone()).collect()
}

/// A stage that chooses, in one cell.
pub(crate) struct Chooser<'a> {
    pub(crate) template: &'a Template<'a>,
    pub(crate) cell: &'a Cell,
    pub(crate) needs: &'a [Need],
    pub(crate) choosing: &'a Choosing,
}

impl Chooser<'_> {
    /// The combinations it may choose, in the order of the matrix; `None` with a problem, or where the stage it reads
    /// is wrong itself. `cells` are those of every stage.
    pub(crate) fn rows(
        &self,
        cells: &BTreeMap<&str, &[Cell]>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Vec<Cell>> {
        let name = &self.template.entry.key;
        let need = (self.needs.iter()).find(|need| need.port == self.choosing.port)?;
        let Source::All(wanted) = &need.source else {
            problems.push(
                Diagnostic::error(
                    "spec::source",
                    format!(
                        "input `{}` of stage `{name}` is not a choice of several",
                        need.port
                    ),
                )
                .at(need.span, "")
                .help(format!(
                    "take every instance of a stage: `{}: {{ all: STAGE }}`",
                    need.port
                )),
            );
            return None;
        };
        let theirs = cells.get(wanted.stage.as_str())?;
        let first = theirs.first()?;
        let before = problems.len();
        let named = [
            (self.choosing.axes_key, Some(&self.choosing.axes)),
            (self.choosing.averaged_key, self.choosing.averaged.as_ref()),
        ];
        for (key, axes) in named {
            for (at, axis) in axes.into_iter().flatten().enumerate() {
                self.check_axis(key, at, axis, first, &wanted.stage, problems);
            }
        }
        if problems.len() > before {
            return None;
        }
        let admitted: Vec<&Cell> = theirs
            .iter()
            .filter(|cell| admits(&wanted.filter, cell) && agrees(&wanted.filter, self.cell, cell))
            .collect();
        self.check_rest(&admitted, need.span, &wanted.stage, problems);
        let row = |cell: &&Cell| -> Cell {
            let value = |axis: &String| cell.iter().find(|one| one.name == *axis).cloned();
            self.choosing.axes.iter().filter_map(value).collect()
        };
        (problems.len() == before).then(|| admitted.iter().map(row).collect())
    }

    fn check_axis(
        &self,
        key: &str,
        at: usize,
        axis: &str,
        theirs: &Cell,
        target: &str,
        problems: &mut Vec<Diagnostic>,
    ) {
        let name = &self.template.entry.key;
        let span = self
            .template
            .entry
            .value
            .find("with")
            .map_or(self.template.entry.key_span, |with| {
                place_of(&with.value, &[key.to_owned(), at.to_string()]).0
            });
        if self.cell.iter().any(|mine| mine.name == axis) {
            problems.push(
                Diagnostic::error(
                    "spec::choice",
                    format!("`{axis}` in `{key}` of stage `{name}` is an axis of the stage itself"),
                )
                .at(
                    span,
                    format!("each instance of `{name}` has one value of it"),
                )
                .help("remove it here, or from the `matrix` of the stage"),
            );
        } else if theirs.iter().all(|other| other.name != axis) {
            let names = theirs.iter().map(|other| other.name.as_str());
            problems.push(
                Diagnostic::error(
                    "spec::unknown_axis",
                    format!(
                        "`{key}` of stage `{name}` names `{axis}`, which is no axis of `{target}`"
                    ),
                )
                .at(span, "")
                .help(suggest::help(axis, names, "it has no axes to choose among")),
            );
        }
    }

    /// An axis that is neither chosen, averaged nor the stage's own would put unlike things together.
    fn check_rest(
        &self,
        admitted: &[&Cell],
        span: Span,
        target: &str,
        problems: &mut Vec<Diagnostic>,
    ) {
        let Some(first) = admitted.first() else {
            return;
        };
        let name = &self.template.entry.key;
        for (at, axis) in first.iter().enumerate() {
            let is_averaged = match &self.choosing.averaged {
                Some(averaged) => averaged.contains(&axis.name),
                None => axis.replicate && !self.choosing.axes.contains(&axis.name),
            };
            let is_constant = admitted.iter().all(|cell| cell[at].text == axis.text);
            if is_averaged || is_constant || self.choosing.axes.contains(&axis.name) {
                continue;
            }
            let axis = &axis.name;
            problems.push(
                Diagnostic::error(
                    "spec::choice",
                    format!("stage `{name}` does not say what becomes of the axis `{axis}` of `{target}`"),
                )
                .at(span, format!("`{target}` has several values of `{axis}`"))
                .help(format!(
                    "name it in `{}` or `{}`, give `{name}` the axis too for a choice each, or take one value with `where: {{ {axis}: VALUE }}`",
                    self.choosing.axes_key, self.choosing.averaged_key
                )),
            );
        }
    }
}
