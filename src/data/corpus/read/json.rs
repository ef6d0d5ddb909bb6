//! The texts of a JSON object. Knows nothing of lines or documents.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The texts under `fields` in a line of JSON, in that order: a text, or a list of texts one after another. `null` and
/// empty texts are left out; an object without any of the fields is broken.
///
/// # Errors
/// What is wrong with the line.
pub(in crate::corpus) fn texts(line: &str, fields: &[String]) -> Result<Vec<String>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let found = deserializer
        .deserialize_map(Fields(fields))
        .and_then(|found| deserializer.end().map(|()| found))
        .map_err(|error| {
            let text = error.to_string();
            let end = text.rfind(" at line ").unwrap_or(text.len());
            format!("this is no object with the wanted fields: {}", &text[..end])
        })?;
    if found.iter().all(Option::is_none) {
        let names: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
        return Err(format!("the object has no field {}", names.join(" or ")));
    }
    Ok(found
        .into_iter()
        .flatten()
        .flatten()
        .filter(|text| !text.trim().is_empty())
        .collect())
}

struct Fields<'a>(&'a [String]);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Vec<Option<Vec<String>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().position(|field| *field == key) {
                Some(at) if found[at].is_some() => {
                    return Err(A::Error::custom(format!("the field `{key}` stands twice")));
                }
                Some(at) => found[at] = Some(map.next_value_seed(Texts)?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// `null`, a text, or a list of texts.
struct Texts;

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_the_order_wanted() {
        let wanted = ["title".to_owned(), "text".to_owned()];
        let read = |line: &str| texts(line, &wanted);
        assert_eq!(
            read(r#"{"text":"b","n":{"text":[1]},"title":"a"}"#),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            read(r#"{"text":["b"," ","c"],"title":null}"#),
            Ok(vec!["b".to_owned(), "c".to_owned()])
        );
        for (line, message) in [
            (
                r#"{"body":"x"}"#,
                "the object has no field `title` or `text`",
            ),
            (
                r#"{"text":3}"#,
                "invalid type: integer `3`, expected a text or a list of texts",
            ),
            (
                r#"{"text":"a","text":"b"}"#,
                "the field `text` stands twice",
            ),
            (r#"{"text":"a"} x"#, "trailing characters"),
            (r#"["a"]"#, "expected an object"),
            ("{", "EOF while parsing"),
        ] {
            let error = read(line).expect_err("broken");
            assert!(error.contains(message), "{error}");
        }
    }
}
