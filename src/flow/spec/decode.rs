//! From [`Node`] to typed configuration through serde, with every problem at its place. Knows no kind and no stage.
//!
//! serde stops at the first error. To report all of them, each is written down and decoding starts again with the
//! offending value replaced by a harmless one of the wanted type, or left out where there is none.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use self::reader::{Error, Reader};
use super::node::{Entry, Node, Value};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

mod reader;

pub(super) use reader::Kind;

/// Decodes `node`; `what` names the whole in messages, such as ``stage `pretrain` ``.
///
/// Unknown keys are refused whether or not the type says so. Nothing (`null`) is an empty map.
///
/// # Errors
/// Every unknown key, wrong type, missing key and unaccepted value, each with its place.
pub fn from_node<T: DeserializeOwned>(node: &Node, what: &str) -> Result<T, Vec<Diagnostic>> {
    decode(node, what, None)
}

/// Like [`from_node`], with the word that unknown keys are said not to belong to, such as the kind's name.
pub(crate) fn decode<T: DeserializeOwned>(
    node: &Node,
    what: &str,
    owner: Option<&str>,
) -> Result<T, Vec<Diagnostic>> {
    /// Each round settles one problem; nobody reads more than this.
    const MAX_ROUNDS: usize = 100;
    let context = Context {
        root: node,
        what,
        owner,
        blank: Node {
            value: Value::Null,
            span: node.span,
            defined: None,
        },
        memory: RefCell::default(),
    };
    for _ in 0..MAX_ROUNDS {
        match T::deserialize(context.reader(node)) {
            Ok(value) if context.memory.borrow().problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => {
                if !context.settle(&error) {
                    break;
                }
            }
        }
    }
    Err(context.memory.into_inner().problems)
}

/// The text a scalar becomes inside a longer string or where a string is wanted; `None` for lists, maps and nothing.
#[must_use]
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(float_text(*value)),
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Sequence(_) | Value::Map(_) => None,
    }
}

/// The shortest text that reads back as the same number.
#[must_use]
pub fn float_text(value: f64) -> String {
    serde_json::Number::from_f64(value)
        .map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// The value as JSON; keys keep their order.
#[must_use]
pub fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(text) => text.as_str().into(),
        Value::Sequence(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), to_json(&entry.value)))
                .collect(),
        ),
    }
}

/// Follows keys and indices as far as they lead and returns the last node reached.
pub(crate) fn walk<'a, S: AsRef<str>>(node: &'a Node, path: &[S]) -> &'a Node {
    let mut node = node;
    for step in path {
        let step = step.as_ref();
        let next = match &node.value {
            Value::Map(_) => node.find(step).map(|entry| &entry.value),
            Value::Sequence(items) => step.parse().ok().and_then(|i: usize| items.get(i)),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    /// Gives a harmless value of the wanted type.
    Placeholder,
    /// Is left out.
    Skip,
}

#[derive(Default)]
struct Memory {
    problems: Vec<Diagnostic>,
    marks: BTreeMap<usize, Mark>,
    /// Keys of maps that were absent and are now supplied.
    supplied: BTreeMap<usize, BTreeSet<&'static str>>,
    /// Keys that are refused and passed over, by the address of their value.
    refused: BTreeSet<usize>,
}

pub(super) struct Context<'a> {
    root: &'a Node,
    pub(super) what: &'a str,
    pub(super) owner: Option<&'a str>,
    blank: Node,
    memory: RefCell<Memory>,
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl<'a> Context<'a> {
    fn reader<'c>(&'c self, node: &'c Node) -> Reader<'c, 'a> {
        Reader {
            node,
            context: self,
        }
    }

    fn mark(&self, node: &Node) -> Option<Mark> {
        if address(node) == address(&self.blank) {
            return Some(Mark::Placeholder);
        }
        self.memory.borrow().marks.get(&address(node)).copied()
    }

    fn passes_over(&self, node: &Node) -> bool {
        let memory = self.memory.borrow();
        memory.refused.contains(&address(node))
            || memory.marks.get(&address(node)) == Some(&Mark::Skip)
    }

    /// Writes the problem down and arranges that the next round gets past it. False when it cannot.
    fn settle(&self, error: &Error) -> bool {
        let id = error.node.unwrap_or_else(|| address(self.root));
        if id == address(&self.blank) {
            return false;
        }
        let Some((node, path)) = locate(self.root, id) else {
            return false;
        };
        let mark = self.mark(node);
        match &error.kind {
            Kind::MissingField(field) => {
                let skipped = node.find(field).is_some();
                if mark.is_none() && !skipped {
                    self.push(self.missing(node, &path, field));
                }
                let mut memory = self.memory.borrow_mut();
                memory.supplied.entry(id).or_default().insert(field)
            }
            Kind::UnknownField { field, expected } => match node.find(field) {
                Some(entry) => self.refuse_key(node, entry, expected),
                None => false,
            },
            kind => {
                let next = match mark {
                    None => {
                        self.push(self.unaccepted(node, &path, kind));
                        Mark::Placeholder
                    }
                    Some(Mark::Placeholder) if !path.is_empty() => Mark::Skip,
                    Some(_) => return false,
                };
                self.memory.borrow_mut().marks.insert(id, next);
                true
            }
        }
    }

    fn push(&self, problem: Diagnostic) {
        self.memory.borrow_mut().problems.push(problem);
    }

    /// Reports a key that is not among `expected`; false when that was done before.
    fn refuse_key(&self, map: &Node, entry: &Entry, expected: &[&'static str]) -> bool {
        if !self
            .memory
            .borrow_mut()
            .refused
            .insert(address(&entry.value))
        {
            return false;
        }
        let path = locate(self.root, address(map)).map_or_else(Vec::new, |(_, path)| path);
        self.push(self.unknown_key(&path, entry, expected));
        true
    }

    /// The map at a path.
    pub(super) fn root_of(&self, path: &[String]) -> Option<&Node> {
        let node = walk(self.root, path);
        matches!(node.value, Value::Map(_)).then_some(node)
    }
}

/// Finds the node at an address, and the way there.
fn locate(root: &Node, id: usize) -> Option<(&Node, Vec<String>)> {
    fn search<'a>(node: &'a Node, id: usize, path: &mut Vec<String>) -> Option<&'a Node> {
        if address(node) == id {
            return Some(node);
        }
        match &node.value {
            Value::Map(entries) => entries.iter().find_map(|entry| {
                path.push(entry.key.clone());
                let found = search(&entry.value, id, path);
                if found.is_none() {
                    path.pop();
                }
                found
            }),
            Value::Sequence(items) => items.iter().enumerate().find_map(|(index, item)| {
                path.push(index.to_string());
                let found = search(item, id, path);
                if found.is_none() {
                    path.pop();
                }
                found
            }),
            _ => None,
        }
    }
    let mut path = Vec::new();
    search(root, id, &mut path).map(|node| (node, path))
}

/// A place inside a configuration, for problems found after decoding.
pub(crate) fn place_of(node: &Node, path: &[String]) -> (Span, Option<Span>) {
    let found = walk(node, path);
    (found.span, found.defined)
}

#[cfg(test)]
mod tests;
