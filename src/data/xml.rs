//! Elements of an XML text one after another, with places for messages; the door to the parser. Knows no format.
//!
//! Documents declare no entities that are expanded: only the five of XML itself and character references are known.

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::events::attributes::Attributes;

use crate::error::{DataError, Place, Problem};

/// What the text holds next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A start tag, or the start of an empty element.
    Start {
        /// Its name.
        name: String,
        /// Its attributes, unescaped, in order.
        attributes: Vec<(String, String)>,
    },
    /// An end tag, or the end of an empty element.
    End(String),
}

/// A cursor over the elements of a text; text between them is passed over.
pub(crate) struct Elements<'a> {
    reader: quick_xml::Reader<&'a [u8]>,
    text: &'a str,
    file: &'a str,
    at: usize,
}

impl<'a> Elements<'a> {
    /// Before the first element of `text`, which `file` names.
    pub(crate) fn new(text: &'a str, file: &'a str) -> Self {
        let mut reader = quick_xml::Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self {
            reader,
            text,
            file,
            at: 0,
        }
    }

    /// The next start or end of an element; `None` at the end.
    ///
    /// # Errors
    /// Where the text is no well-formed XML.
    pub(crate) fn advance(&mut self) -> Result<Option<Piece>, DataError> {
        loop {
            self.at = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(error) => {
                    let at = usize::try_from(self.reader.error_position()).unwrap_or(self.at);
                    self.at = at;
                    return Err(self.broken(
                        format!("this is no well-formed XML: {error}"),
                        "is the file whole? fetch it again, or repair it",
                    ));
                }
            };
            match event {
                Event::Start(tag) => {
                    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    let attributes = attributes(tag.attributes())
                        .map_err(|message| self.broken(message, "repair the element"))?;
                    return Ok(Some(Piece::Start { name, attributes }));
                }
                Event::End(tag) => {
                    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    return Ok(Some(Piece::End(name)));
                }
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    /// Where the last piece starts.
    pub(crate) fn place(&self) -> Place {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        Place {
            file: self.file.to_owned(),
            line: lines as u64 + 1,
            column: 0,
        }
    }

    /// A fault of the last piece.
    pub(crate) fn broken(&self, message: impl Into<String>, help: impl Into<String>) -> DataError {
        Problem::new(message, help).at(self.place())
    }
}

fn attributes(attributes: Attributes<'_>) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for attribute in attributes {
        let attribute = attribute.map_err(|error| format!("an attribute is broken: {error}"))?;
        let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        let value: Cow<'_, str> = attribute
            .unescape_value()
            .map_err(|error| format!("the attribute `{name}` is broken: {error}"))?;
        found.push((name, value.into_owned()));
    }
    Ok(found)
}

/// A piece of an element's content, borrowed from the text.
pub(crate) enum Part<'a> {
    /// A start tag, or the start of an empty element.
    Start(Tag<'a>),
    /// Text: as it stands, of CDATA, or of a reference.
    Text(Cow<'a, str>),
    /// An end tag, or the end of an empty element.
    End,
}

/// A start tag whose attributes are looked at only when asked for.
pub(crate) struct Tag<'a>(quick_xml::events::BytesStart<'a>);

impl Tag<'_> {
    /// The element's name.
    pub(crate) fn name(&self) -> &[u8] {
        self.0.name().into_inner()
    }

    /// An attribute, unescaped; what is wrong with it.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<String>, String> {
        match self.0.try_get_attribute(name) {
            Ok(None) => Ok(None),
            Ok(Some(attribute)) => match attribute.unescape_value() {
                Ok(value) => Ok(Some(value.into_owned())),
                Err(error) => Err(format!("the attribute `{name}` is broken: {error}")),
            },
            Err(error) => Err(format!("an attribute is broken: {error}")),
        }
    }
}

/// Goes through one element, tags and text in order; end tags must fit, and nothing may be left open.
///
/// # Errors
/// What is wrong with the text, or what `visit` says.
pub(crate) fn walk<'a>(
    text: &'a str,
    visit: &mut dyn FnMut(Part<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open = 0_u64;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("this is no well-formed XML: {error}"))?;
        match event {
            Event::Start(tag) => {
                open += 1;
                visit(Part::Start(Tag(tag)))?;
            }
            Event::Empty(tag) => {
                visit(Part::Start(Tag(tag)))?;
                visit(Part::End)?;
            }
            Event::End(_) => {
                open = open.saturating_sub(1);
                visit(Part::End)?;
            }
            Event::Text(text) => visit(Part::Text(decoded(text.decode())?))?,
            Event::CData(text) => visit(Part::Text(decoded(text.decode())?))?,
            Event::GeneralRef(reference) => visit(Part::Text(referred(&reference)?))?,
            Event::Eof if open > 0 => return Err("an element has no end".to_owned()),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn decoded<'a, E: std::fmt::Display>(
    text: Result<Cow<'a, str>, E>,
) -> Result<Cow<'a, str>, String> {
    text.map_err(|error| format!("this is no well-formed XML: {error}"))
}

fn referred<'a>(reference: &quick_xml::events::BytesRef<'_>) -> Result<Cow<'a, str>, String> {
    let found = reference
        .resolve_char_ref()
        .map_err(|error| format!("a character reference is broken: {error}"))?;
    if let Some(c) = found {
        return Ok(Cow::Owned(c.to_string()));
    }
    let name = decoded(reference.decode())?;
    match quick_xml::escape::resolve_xml_entity(&name) {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => Err(format!("the entity `&{name};` is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_with_their_attributes_and_lines() {
        let mut elements = Elements::new("<a>\n <b x=\"1 &lt; &#946;\"/>text</a>\n", "x.xml");
        let mut pieces = Vec::new();
        while let Some(piece) = elements.advance().expect("well-formed") {
            pieces.push((piece, elements.place().line));
        }
        let start = |name: &str, attributes: &[(&str, &str)]| Piece::Start {
            name: name.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        assert_eq!(
            pieces,
            [
                (start("a", &[]), 1),
                (start("b", &[("x", "1 < \u{3b2}")]), 2),
                (Piece::End("b".to_owned()), 2),
                (Piece::End("a".to_owned()), 2),
            ]
        );
    }

    #[test]
    fn broken_text_has_a_place() {
        for (text, message) in [
            ("<a>\n</b>", "x.xml:2: this is no well-formed XML"),
            ("<a x=\"&nbsp;\"/>", "x.xml:1: the attribute `x` is broken"),
        ] {
            let mut elements = Elements::new(text, "x.xml");
            let error = loop {
                match elements.advance() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{text} was read to its end"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(error.starts_with(message), "{error}");
        }
    }
}
