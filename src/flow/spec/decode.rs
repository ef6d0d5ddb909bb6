//! From [`Node`] to typed configuration through serde, with every problem at its place. Knows no kind and no stage.
//!
//! serde stops at the first error. To report all of them, each is written down and decoding starts again with the
//! offending value replaced by a harmless one of the wanted type, or left out where there is none.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Unexpected, Visitor};

use super::node::{Entry, Node, Value};
use super::suggest;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

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

#[derive(Debug)]
struct Error {
    kind: Kind,
    node: Option<usize>,
}

/// What serde found wrong.
#[derive(Debug)]
pub(super) enum Kind {
    Type(String),
    Value(String),
    UnknownVariant {
        variant: String,
        expected: &'static [&'static str],
    },
    UnknownField {
        field: String,
        expected: &'static [&'static str],
    },
    MissingField(&'static str),
    Custom(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Error {}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { kind, node: None }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Kind::Custom(message.to_string()).into()
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Kind::Type(expected.to_string()).into()
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Kind::Value(expected.to_string()).into()
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Kind::Value(expected.to_string()).into()
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Kind::UnknownVariant {
            variant: variant.to_owned(),
            expected,
        }
        .into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Kind::UnknownField {
            field: field.to_owned(),
            expected,
        }
        .into()
    }

    fn missing_field(field: &'static str) -> Self {
        Kind::MissingField(field).into()
    }
}

struct Reader<'c, 'a> {
    node: &'c Node,
    context: &'c Context<'a>,
}

impl<'c, 'a> Reader<'c, 'a> {
    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            error.node.get_or_insert_with(|| address(self.node));
            error
        })
    }

    fn is_placeholder(&self) -> bool {
        self.context.mark(self.node) == Some(Mark::Placeholder)
    }

    fn map_of(&self, fields: Option<&'static [&'static str]>) -> Map<'c, 'a> {
        let entries = if self.is_placeholder() {
            &[]
        } else {
            self.node.entries()
        };
        if let Some(fields) = fields {
            for entry in entries {
                if !fields.contains(&entry.key.as_str()) {
                    self.context.refuse_key(self.node, entry, fields);
                }
            }
        }
        let memory = self.context.memory.borrow();
        let supplied = memory
            .supplied
            .get(&address(self.node))
            .map_or_else(Vec::new, |fields| fields.iter().copied().collect());
        Map {
            entries: entries.iter(),
            supplied,
            value: None,
            context: self.context,
        }
    }

    fn visit_any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error>
    where
        'c: 'de,
    {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Sequence(items) => visitor.visit_seq(Sequence {
                items: items.iter(),
                context: self.context,
            }),
            Value::Map(_) => visitor.visit_map(self.map_of(None)),
        }
    }

    fn integer<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error>
    where
        'c: 'de,
    {
        /// Above this not every whole number has a float of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if self.is_placeholder() {
            return self.located(visitor.visit_u64(1));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be whole and within the exact range"
        )]
        let result = match self.node.value {
            Value::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT => {
                let value = value as i64;
                match u64::try_from(value) {
                    Ok(value) => visitor.visit_u64(value),
                    Err(_) => visitor.visit_i64(value),
                }
            }
            _ => self.visit_any(visitor),
        };
        self.located(result)
    }

    fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error>
    where
        'c: 'de,
    {
        if self.is_placeholder() {
            return self.located(visitor.visit_str(""));
        }
        // What came in by `${…}` cannot be quoted at the place of use, so a number becomes its text there.
        let substituted = match &self.node.value {
            Value::String(_) => None,
            value if self.node.defined.is_some() => scalar_text(value),
            _ => None,
        };
        self.located(match substituted {
            Some(text) => visitor.visit_string(text),
            None => self.visit_any(visitor),
        })
    }
}

macro_rules! read_as {
    ($method:ident: $($name:ident)*) => {
        $(fn $name<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$method(visitor)
        })*
    };
}

impl<'c> Deserializer<'c> for Reader<'c, '_> {
    type Error = Error;

    read_as!(integer: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    read_as!(text: deserialize_str deserialize_string deserialize_char deserialize_identifier
        deserialize_bytes deserialize_byte_buf);

    fn deserialize_any<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.visit_any(visitor);
        self.located(result)
    }

    fn deserialize_bool<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_placeholder() {
            return visitor.visit_bool(false);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_f32<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_placeholder() {
            return self.located(visitor.visit_f64(1.0));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.value == Value::Null || self.is_placeholder() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_placeholder() {
            return visitor.visit_unit();
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'c>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let empty = matches!(&self.node.value, Value::Map(entries) if entries.is_empty());
        if empty {
            return visitor.visit_unit();
        }
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'c>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (node, context) = (self.node, self.context);
        self.located_newtype(visitor, node, context)
    }

    fn deserialize_seq<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_placeholder() {
            return self.located(visitor.visit_seq(Sequence {
                items: [].iter(),
                context: self.context,
            }));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'c>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'c>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'c>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.value == Value::Null || self.is_placeholder() {
            return self.located(visitor.visit_map(self.map_of(None)));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'c>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Map(_) | Value::Null => {}
            _ if self.is_placeholder() => {}
            _ => return self.deserialize_any(visitor),
        }
        self.located(visitor.visit_map(self.map_of(Some(fields))))
    }

    fn deserialize_enum<V: Visitor<'c>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.is_placeholder() {
            let first = variants.first().copied().unwrap_or_default();
            return self.located(visitor.visit_enum(first.into_deserializer()));
        }
        let result = match &self.node.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(self.map_of(None)))
            }
            _ => Err(Kind::Type(format!("one of {}", suggest::list(variants))).into()),
        };
        self.located(result)
    }
}

impl<'c, 'a> Reader<'c, 'a> {
    /// Errors of the wrapper itself (`try_from`) belong to this node too.
    fn located_newtype<V: Visitor<'c>>(
        self,
        visitor: V,
        node: &'c Node,
        context: &'c Context<'a>,
    ) -> Result<V::Value, Error> {
        context
            .reader(node)
            .located(visitor.visit_newtype_struct(self))
    }
}

struct Sequence<'c, 'a> {
    items: std::slice::Iter<'c, Node>,
    context: &'c Context<'a>,
}

impl<'c> de::SeqAccess<'c> for Sequence<'c, '_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'c>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let context = self.context;
        match self.items.find(|item| !context.passes_over(item)) {
            None => Ok(None),
            Some(item) => {
                let result = seed.deserialize(context.reader(item));
                context.reader(item).located(result).map(Some)
            }
        }
    }
}

struct Map<'c, 'a> {
    entries: std::slice::Iter<'c, Entry>,
    supplied: Vec<&'static str>,
    value: Option<&'c Node>,
    context: &'c Context<'a>,
}

impl<'c> de::MapAccess<'c> for Map<'c, '_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'c>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let context = self.context;
        if let Some(entry) = self
            .entries
            .find(|entry| !context.passes_over(&entry.value))
        {
            self.value = Some(&entry.value);
            let result = seed.deserialize(entry.key.as_str().into_deserializer());
            return context.reader(&entry.value).located(result).map(Some);
        }
        match self.supplied.pop() {
            None => Ok(None),
            Some(field) => {
                self.value = Some(&context.blank);
                seed.deserialize(field.into_deserializer()).map(Some)
            }
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'c>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self.value.take().expect("a key came before");
        let result = seed.deserialize(self.context.reader(node));
        self.context.reader(node).located(result)
    }
}

/// A place inside a configuration, for problems found after decoding.
pub(crate) fn place_of(node: &Node, path: &[String]) -> (Span, Option<Span>) {
    let found = walk(node, path);
    (found.span, found.defined)
}

#[cfg(test)]
mod tests;
