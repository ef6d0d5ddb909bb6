//! `${params.x}`, `${matrix.x}`, `${replicate.x}` and `${choose.x}` in values. Knows where a value is used and where it was
//! defined; of a choice it is told the value.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::decode::scalar_text;
use super::node::{Entry, Node, Value};
use super::suggest;
use super::yaml::MAX_DEPTH;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// The longest text that substitution may make.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// How many parameters may refer to each other in a row; each may nest as deep as values may.
const MAX_CHAIN: usize = 64;
/// How deep values may nest along such a row, added up: what the stack of a small thread holds.
const MAX_CHAIN_DEPTH: usize = 4 * MAX_DEPTH;

/// The parameters of a file, each resolved when it is first asked for.
pub(crate) struct Params<'a> {
    raw: &'a [Entry],
    done: RefCell<BTreeMap<String, Option<Node>>>,
    used: RefCell<BTreeSet<String>>,
    chain: RefCell<Vec<String>>,
    budget: Cell<usize>,
    depth: Cell<usize>,
    problems: RefCell<Vec<Diagnostic>>,
    stages: Stages<'a>,
}

/// The stages of the file, as far as references may begin with their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages<'a> {
    /// Each with whether it chooses.
    pub(crate) by_name: BTreeMap<&'a str, bool>,
    /// The kinds that choose.
    pub(crate) kinds: Vec<&'a str>,
}

impl Stages<'_> {
    /// Whether a reference that begins with this word is one to a choice.
    pub(crate) fn chooses(&self, family: &str) -> bool {
        !FAMILIES.contains(&family) && self.by_name.get(family) == Some(&true)
    }
}

/// The words that references begin with whatever the stages are called.
const FAMILIES: [&str; 3] = ["params", "matrix", "replicate"];

/// A value that another stage chose, or may choose.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) stage: String,
    pub(crate) value: AxisValue,
}

/// What a place may refer to beside parameters.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    params: &'a Params<'a>,
    axes: &'a [AxisValue],
    /// Whether `${matrix…}` and `${replicate…}` mean anything here.
    in_stage: bool,
    /// The choices that are known here; `None` where none may be referred to.
    chosen: Option<&'a [Chosen]>,
}

/// An axis with its value in one cell.
#[derive(Clone, Debug)]
pub(crate) struct AxisValue {
    pub(crate) name: String,
    pub(crate) node: Node,
    pub(crate) text: String,
    pub(crate) json: String,
    pub(crate) replicate: bool,
}

impl<'a> Params<'a> {
    /// `budget` is how many values substitution may make in all.
    pub(crate) fn new(raw: &'a [Entry], budget: usize) -> Self {
        Self {
            raw,
            done: RefCell::default(),
            used: RefCell::default(),
            chain: RefCell::default(),
            budget: Cell::new(budget),
            depth: Cell::new(0),
            problems: RefCell::default(),
            stages: Stages::default(),
        }
    }

    /// With the stages of the file.
    pub(crate) fn beside(mut self, stages: Stages<'a>) -> Self {
        self.stages = stages;
        self
    }

    /// The stages of the file.
    pub(crate) fn stages(&self) -> &Stages<'a> {
        &self.stages
    }

    /// Resolves every parameter, used or not, so that a wrong one is reported in any case.
    pub(crate) fn resolve_all(&self) {
        for entry in self.raw {
            self.find(&entry.key);
        }
    }

    /// The problems found so far.
    pub(crate) fn into_problems(self) -> Vec<Diagnostic> {
        self.problems.into_inner()
    }

    /// A warning for each parameter that nothing refers to and that is not among `others`.
    pub(crate) fn unused(&self, others: &BTreeSet<String>) -> Vec<Diagnostic> {
        let used = self.used.borrow();
        self.raw
            .iter()
            .filter(|entry| !used.contains(&entry.key) && !others.contains(&entry.key))
            .map(|entry| {
                Diagnostic::warning(
                    "spec::unused_parameter",
                    format!("nothing refers to the parameter `{}`", entry.key),
                )
                .at(entry.key_span, "")
                .help(format!("use it as `${{params.{}}}`, or remove it; nothing is substituted inside a `script`", entry.key))
            })
            .collect()
    }

    /// A scope outside stages: parameters only.
    pub(crate) fn scope(&'a self) -> Scope<'a> {
        Scope {
            params: self,
            axes: &[],
            in_stage: false,
            chosen: None,
        }
    }

    /// A scope inside a stage.
    pub(crate) fn stage_scope(&'a self, axes: &'a [AxisValue]) -> Scope<'a> {
        Scope {
            params: self,
            axes,
            in_stage: true,
            chosen: None,
        }
    }

    fn find(&self, name: &str) -> Option<Node> {
        if let Some(done) = self.done.borrow().get(name) {
            return done.clone();
        }
        let entry = self.raw.iter().find(|entry| entry.key == name)?;
        let mut chain = self.chain.borrow().clone();
        if chain.iter().any(|earlier| earlier == name) || chain.len() >= MAX_CHAIN {
            chain.push(name.to_owned());
            self.problem(
                Diagnostic::error(
                    "spec::parameter_cycle",
                    format!("parameters refer to each other: {}", chain.join(" -> ")),
                )
                .at(entry.key_span, "")
                .help("give one of them a value of its own"),
            );
            return None;
        }
        self.chain.borrow_mut().push(name.to_owned());
        let node = self.scope().apply(&entry.value);
        self.chain.borrow_mut().pop();
        self.done
            .borrow_mut()
            .insert(name.to_owned(), Some(node.clone()));
        Some(node)
    }

    fn problem(&self, problem: Diagnostic) {
        let mut problems = self.problems.borrow_mut();
        // The same text is visited once an instance; a thousand unlike problems are enough for anyone.
        if problems.len() < 1000 && !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Uses the budget up, since a bound of another sort was reached.
    fn exhaust(&self, place: Span) {
        if self.budget.get() > 0 {
            self.budget.set(1);
            self.spend(1, place);
        }
    }

    /// Takes from the budget; false when it is used up (said once).
    fn spend(&self, amount: usize, place: Span) -> bool {
        let left = self.budget.get();
        if left == 0 {
            return false;
        }
        self.budget.set(left.saturating_sub(amount));
        if self.budget.get() == 0 {
            self.problem(
                Diagnostic::error("spec::too_large", "the values of this file unfold too far")
                    .at(place, "the limit is reached here")
                    .help("let fewer parameters repeat each other"),
            );
        }
        self.budget.get() > 0
    }
}

impl<'a> Scope<'a> {
    /// The same place, where these choices may be referred to.
    pub(crate) fn with_choices(self, chosen: &'a [Chosen]) -> Self {
        Self {
            chosen: Some(chosen),
            ..self
        }
    }

    /// A copy of `node` with every reference replaced. Problems are kept in the [`Params`].
    pub(crate) fn apply(&self, node: &Node) -> Node {
        self.rewrite(node, 0)
    }

    /// Like [`Scope::apply`], but the entry `literal` of the map itself is left as it is.
    pub(crate) fn apply_but(&self, node: &Node, literal: &str) -> Node {
        let Value::Map(entries) = &node.value else {
            return self.apply(node);
        };
        let entries = entries
            .iter()
            .map(|entry| {
                if entry.key == literal {
                    entry.clone()
                } else {
                    self.entry(entry, 1)
                }
            })
            .collect();
        Node {
            value: Value::Map(entries),
            ..*node
        }
        .keeping(node)
    }

    fn entry(&self, entry: &Entry, depth: usize) -> Entry {
        Entry {
            key: entry.key.clone(),
            key_span: entry.key_span,
            value: self.rewrite(&entry.value, depth),
        }
    }

    fn rewrite(&self, node: &Node, depth: usize) -> Node {
        let level = self.params.depth.get();
        if level >= MAX_CHAIN_DEPTH {
            self.params.exhaust(node.span);
        }
        if !self.params.spend(1, node.span) {
            return empty(node);
        }
        self.params.depth.set(level + 1);
        let result = self.rewrite_within(node, depth);
        self.params.depth.set(level);
        result
    }

    fn rewrite_within(&self, node: &Node, depth: usize) -> Node {
        let value = match &node.value {
            Value::String(text) if text.contains("${") => return self.string(node, text, depth),
            Value::Sequence(items) => Value::Sequence(
                items
                    .iter()
                    .map(|item| self.rewrite(item, depth + 1))
                    .collect(),
            ),
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|entry| self.entry(entry, depth + 1))
                    .collect(),
            ),
            other => other.clone(),
        };
        Node {
            value,
            span: node.span,
            defined: node.defined,
        }
    }

    fn string(&self, node: &Node, text: &str, depth: usize) -> Node {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(rest) => {
                self.params.problem(
                    Diagnostic::error(
                        "spec::reference",
                        format!("`{rest}` opens a reference that is not closed"),
                    )
                    .at(node.span, "")
                    .help("write `${params.x}`, or `$${` for the two characters themselves"),
                );
                return node.clone();
            }
        };
        if let [Piece::Reference(reference)] = pieces.as_slice() {
            return match self.look_up(reference, node.span) {
                Some(found) => self.whole(node, found, depth),
                None => empty(node),
            };
        }
        let mut result = String::new();
        let mut defined = node.defined;
        for piece in pieces {
            match piece {
                Piece::Text(text) => result.push_str(&text),
                Piece::Reference(reference) => {
                    let Some(found) = self.look_up(&reference, node.span) else {
                        continue;
                    };
                    defined = defined.or(found.defined.or(Some(found.span)));
                    match scalar_text(&found.value) {
                        Some(text) => result.push_str(&text),
                        None => self.params.problem(
                            Diagnostic::error(
                                "spec::reference",
                                format!("`${{{reference}}}` is {} and cannot stand inside a longer text", found.type_name()),
                            )
                            .at(node.span, "")
                            .at(found.defined.unwrap_or(found.span), "defined here")
                            .help("let it be the whole value, or refer to one of its entries"),
                        ),
                    }
                    let fits = result.len() <= MAX_TEXT_BYTES;
                    if !fits || !self.params.spend(result.len() / 16 + 1, node.span) {
                        if !fits {
                            self.params.exhaust(node.span);
                        }
                        return empty(node);
                    }
                }
            }
        }
        Node {
            value: Value::String(result),
            span: node.span,
            defined,
        }
    }

    /// A reference that is the whole scalar: the value keeps its type.
    fn whole(&self, node: &Node, mut found: Node, depth: usize) -> Node {
        let (size, height) = measure(&found);
        if depth + height > MAX_DEPTH || !self.params.spend(size, node.span) {
            self.params.exhaust(node.span);
            return empty(node);
        }
        found.defined = Some(found.defined.unwrap_or(found.span));
        found.span = node.span;
        found
    }

    fn look_up(&self, reference: &str, place: Span) -> Option<Node> {
        let mut steps = reference.split('.').map(str::trim);
        let (family, name) = (steps.next().unwrap_or(""), steps.next());
        if self.params.stages.chooses(family) {
            let found = self.choice(reference, family, name, place)?;
            return self.within(found, steps, reference, place);
        }
        let replicate = match family {
            "params" => None,
            "matrix" if self.in_stage => Some(false),
            "replicate" if self.in_stage => Some(true),
            _ => {
                self.params
                    .problem(self.unknown_family(reference, family, place));
                return None;
            }
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            self.params.problem(
                Diagnostic::error(
                    "spec::reference",
                    format!("`${{{reference}}}` names nothing"),
                )
                .at(place, "")
                .help(format!("write `${{{family}.NAME}}`")),
            );
            return None;
        };
        let found = match replicate {
            None => {
                if !self.params.raw.iter().any(|entry| entry.key == name) {
                    let names = self.params.raw.iter().map(|entry| entry.key.as_str());
                    self.undefined(reference, name, "parameter", names, place);
                    return None;
                }
                self.params.used.borrow_mut().insert(name.to_owned());
                self.params.find(name)?
            }
            Some(replicate) => {
                let axis = self
                    .axes
                    .iter()
                    .find(|axis| axis.name == name && (axis.replicate == replicate));
                match axis {
                    Some(axis) => axis.node.clone(),
                    None => {
                        let names = self
                            .axes
                            .iter()
                            .filter(|axis| axis.replicate == replicate)
                            .map(|axis| axis.name.as_str());
                        self.undefined(reference, name, "axis", names, place);
                        return None;
                    }
                }
            }
        };
        self.within(found, steps, reference, place)
    }

    /// What a reference to a choice stands for.
    fn choice(
        &self,
        reference: &str,
        stage: &str,
        name: Option<&str>,
        place: Span,
    ) -> Option<Node> {
        let Some(chosen) = self.chosen else {
            self.params.problem(
                Diagnostic::error(
                    "spec::reference",
                    format!("`${{{reference}}}` cannot stand here"),
                )
                .at(
                    place,
                    format!("what `{stage}` chooses is known only when it has run"),
                )
                .help("a choice can be used in `with`, `env` and `needs` of a stage"),
            );
            return None;
        };
        // What is not there has been reported where choices are looked for.
        let is_meant = |one: &&Chosen| one.stage == stage && Some(one.value.name.as_str()) == name;
        Some(chosen.iter().find(is_meant)?.value.node.clone())
    }

    /// Follows the rest of a reference into a list or a map.
    fn within<'s>(
        &self,
        mut found: Node,
        steps: impl Iterator<Item = &'s str>,
        reference: &str,
        place: Span,
    ) -> Option<Node> {
        for step in steps {
            let next = match &found.value {
                Value::Map(_) => found.find(step).map(|entry| entry.value.clone()),
                Value::Sequence(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index).cloned()),
                _ => None,
            };
            match next {
                Some(next) => found = next,
                None => {
                    let names = found.entries().iter().map(|entry| entry.key.as_str());
                    self.undefined(reference, step, "entry", names, place);
                    return None;
                }
            }
        }
        Some(found)
    }

    fn unknown_family(&self, reference: &str, family: &str, place: Span) -> Diagnostic {
        let problem = Diagnostic::error(
            "spec::reference",
            format!("`${{{reference}}}` is not a reference"),
        )
        .at(place, "");
        if matches!(family, "matrix" | "replicate") {
            return problem.help("only `${params.NAME}` can be used outside a stage");
        }
        if self.params.raw.iter().any(|entry| entry.key == family) {
            return problem.help(format!("write `${{params.{reference}}}`"));
        }
        if let Some(axis) = self.axes.iter().find(|axis| axis.name == family) {
            let family = if axis.replicate {
                "replicate"
            } else {
                "matrix"
            };
            return problem.help(format!("write `${{{family}.{reference}}}`"));
        }
        if self.params.stages.by_name.contains_key(family) {
            let kinds = suggest::list(&self.params.stages.kinds);
            return problem.help(format!(
                "`{family}` chooses nothing that can be referred to; stages of kind {kinds} do"
            ));
        }
        problem.help(format!(
            "references begin with `params.`, `matrix.` or `replicate.`; write `$${{{reference}}}` for the text itself"
        ))
    }

    fn undefined<'n>(
        &self,
        reference: &str,
        name: &str,
        what: &str,
        names: impl Iterator<Item = &'n str>,
        place: Span,
    ) {
        let names: Vec<&str> = names.collect();
        let otherwise = match what {
            "parameter" => "this file has no parameters; add them under `params:`".to_owned(),
            "axis" => {
                "this stage has no such axis; add it under `matrix:` or `replicate:`".to_owned()
            }
            _ => "it has no entries".to_owned(),
        };
        self.params.problem(
            Diagnostic::error(
                "spec::undefined",
                format!("`${{{reference}}}` refers to an undefined {what} `{name}`"),
            )
            .at(place, "used here")
            .help(suggest::help(name, names, &otherwise)),
        );
    }
}

impl Node {
    fn keeping(mut self, other: &Node) -> Self {
        self.span = other.span;
        self.defined = other.defined;
        self
    }
}

fn empty(node: &Node) -> Node {
    Node {
        value: Value::Null,
        span: node.span,
        defined: node.defined,
    }
}

fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<(usize, usize)> = match &node.value {
        Value::Sequence(items) => items.iter().map(measure).collect(),
        Value::Map(entries) => entries.iter().map(|e| measure(&e.value)).collect(),
        _ => return (1, 1),
    };
    let size = children.iter().map(|(size, _)| size).sum::<usize>() + 1;
    let height = children.iter().map(|(_, h)| *h).max().unwrap_or(0) + 1;
    (size, height)
}

pub(super) enum Piece {
    Text(String),
    Reference(String),
}

/// Splits a text at its references; an unclosed one is the error.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            return Err(rest[at..].chars().take(40).collect());
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Reference(inside[..end].trim().to_owned()));
        rest = &inside[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
