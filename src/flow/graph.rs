//! The graph of stages: order, cycles, what hangs on what. Knows nothing of keys and execution.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::Diagnostic;
pub use crate::render::{GraphFormat, render_graph};
use crate::source::Span;
use crate::spec::{Input, Origin, StageId, StageSpec, Workflow};

/// The stages an input needs, in order; none for files.
pub fn needed(input: &Input) -> impl Iterator<Item = StageId> + '_ {
    let (one, many) = match &input.origin {
        Origin::Stage(reference) => (Some(reference), [].as_slice()),
        Origin::Many(references) => (None, references.as_slice()),
        Origin::Path(_) | Origin::Glob(_) | Origin::KeyOnly(_) | Origin::Put(_) => {
            (None, [].as_slice())
        }
    };
    one.into_iter().chain(many).map(|reference| reference.stage)
}

/// Every stage that a stage waits for: those of its inputs, and those whose choice decides what it is.
pub fn awaited(stage: &StageSpec) -> impl Iterator<Item = StageId> + '_ {
    let choices = stage.choices.iter().map(|choice| choice.stage);
    stage.inputs.iter().flat_map(needed).chain(choices)
}

/// The positions of `stages` so that each comes after what it needs; where the needs leave a choice, in the given order.
///
/// # Errors
/// One message for each cycle, with the whole path and the place of each `needs` entry along it.
pub fn order(stages: &[StageSpec]) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut waiting: Vec<usize> = vec![0; stages.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for (index, stage) in stages.iter().enumerate() {
        for source in awaited(stage) {
            waiting[index] += 1;
            readers[source.index()].push(index);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..stages.len())
        .filter(|index| waiting[*index] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(stages.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for reader in &readers[index] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                ready.push(Reverse(*reader));
            }
        }
    }
    if order.len() == stages.len() {
        Ok(order)
    } else {
        Err(cycles(stages))
    }
}

/// Every strongly connected part is reported once, by a shortest cycle in it; instances of one matrix count as one.
fn cycles(stages: &[StageSpec]) -> Vec<Diagnostic> {
    let mut graph: DiGraph<(), Span> = DiGraph::with_capacity(stages.len(), stages.len());
    for _ in stages {
        graph.add_node(());
    }
    for (index, stage) in stages.iter().enumerate() {
        for input in &stage.inputs {
            for source in needed(input) {
                graph.add_edge(
                    NodeIndex::new(index),
                    NodeIndex::new(source.index()),
                    input.span,
                );
            }
        }
        for choice in &stage.choices {
            let to = NodeIndex::new(choice.stage.index());
            graph.add_edge(NodeIndex::new(index), to, choice.span);
        }
    }
    let mut problems = Vec::new();
    let mut said = BTreeSet::new();
    let mut parts: Vec<Vec<usize>> = tarjan_scc(&graph)
        .into_iter()
        .map(|part| {
            let mut part: Vec<usize> = part.into_iter().map(NodeIndex::index).collect();
            part.sort_unstable();
            part
        })
        .collect();
    parts.sort();
    for part in parts {
        let Some(path) = shortest_cycle(&graph, &part) else {
            continue;
        };
        let mut distinct: Vec<&str> = path
            .iter()
            .map(|(i, _)| stages[*i].stage.as_str())
            .collect();
        let one_each = distinct.iter().collect::<BTreeSet<_>>().len() == distinct.len();
        let mut names: Vec<&str> = if one_each {
            distinct.clone()
        } else {
            path.iter().map(|(i, _)| stages[*i].name.as_str()).collect()
        };
        distinct.sort_unstable();
        if !said.insert(distinct) {
            continue;
        }
        names.extend(names.first().copied());
        let mut problem = Diagnostic::error(
            "spec::cycle",
            format!("stages form a cycle: {}", names.join(" -> ")),
        );
        for (position, (_, span)) in path.iter().enumerate() {
            let text = format!("`{}` needs `{}`", names[position], names[position + 1]);
            problem = problem.at(*span, text);
        }
        problems.push(problem.help("remove one of these needs"));
    }
    problems
}

/// A shortest cycle through the first member of a part: each member with the place where it needs the next.
fn shortest_cycle(graph: &DiGraph<(), Span>, part: &[usize]) -> Option<Vec<(usize, Span)>> {
    let start = *part.first()?;
    let members: BTreeSet<usize> = part.iter().copied().collect();
    let mut came_from: BTreeMap<usize, (usize, Span)> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let mut next: Vec<(usize, Span)> = graph
            .edges(NodeIndex::new(at))
            .map(|edge| {
                (
                    petgraph::visit::EdgeRef::target(&edge).index(),
                    *edge.weight(),
                )
            })
            .filter(|(to, _)| members.contains(to))
            .collect();
        next.sort_unstable();
        for (to, span) in next {
            if to == start {
                let mut path = vec![(at, span)];
                let mut step = at;
                while step != start {
                    let (before, span) = came_from[&step];
                    path.push((before, span));
                    step = before;
                }
                path.reverse();
                return Some(path);
            }
            if let std::collections::btree_map::Entry::Vacant(vacant) = came_from.entry(to) {
                vacant.insert((at, span));
                queue.push_back(to);
            }
        }
    }
    None
}

/// The selected stages and all they need, in the workflow's order.
#[must_use]
pub fn upstream(workflow: &Workflow, selected: &[StageId]) -> Vec<StageId> {
    let mut wanted = vec![false; workflow.stages.len()];
    for id in selected {
        wanted[id.index()] = true;
    }
    for index in (0..workflow.stages.len()).rev() {
        if wanted[index] {
            for source in awaited(&workflow.stages[index]) {
                wanted[source.index()] = true;
            }
        }
    }
    marked(&wanted)
}

/// The selected stages and all that hangs on them, in the workflow's order.
#[must_use]
pub fn downstream(workflow: &Workflow, selected: &[StageId]) -> Vec<StageId> {
    let mut reached = vec![false; workflow.stages.len()];
    for id in selected {
        reached[id.index()] = true;
    }
    for (index, stage) in workflow.stages.iter().enumerate() {
        reached[index] = reached[index] || awaited(stage).any(|source| reached[source.index()]);
    }
    marked(&reached)
}

fn marked(marks: &[bool]) -> Vec<StageId> {
    (0_u32..)
        .zip(marks)
        .filter(|(_, mark)| **mark)
        .map(|(index, _)| StageId(index))
        .collect()
}
