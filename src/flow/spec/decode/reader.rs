//! A node as serde reads it: each fault with the node that it is about, and what is marked passed over or made up.

use std::fmt;

use serde::de::{self, Deserializer, IntoDeserializer as _, Unexpected, Visitor};

use super::{Context, Mark, address, scalar_text};
use crate::spec::node::{Entry, Node, Value};
use crate::spec::suggest;

/// A fault, and the address of the node that it is about.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) kind: Kind,
    pub(super) node: Option<usize>,
}

/// What serde found wrong.
#[derive(Debug)]
pub(in crate::spec) enum Kind {
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

/// serde's view of a node.
pub(super) struct Reader<'c, 'a> {
    pub(super) node: &'c Node,
    pub(super) context: &'c Context<'a>,
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
