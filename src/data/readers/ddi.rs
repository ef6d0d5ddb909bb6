//! Reads the XML of DDI-2013 into one example for each pair of drugs in a sentence, the two replaced by dummies as BLUE
//! does. Knows nothing of splits or statistics.
//!
//! `<document><sentence id text><entity id charOffset type/><pair id e1 e2 ddi type/></sentence></document>`. Offsets
//! count characters and name the last one; of a mention in several stretches (`1-3;7-9`) all from the first to the last
//! is replaced. Both mentions become `@DRUG$`, mentions that overlap together `@DRUG-DRUG$`. The label is `DDI-` with
//! the pair's type, and `DDI-false` without one.

use std::collections::BTreeMap;

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, excerpt};
use crate::example::{Classification, Example, Task};
use crate::xml::{Elements, Piece};

/// See the module.
pub(super) struct Ddi;

impl Reader for Ddi {
    fn name(&self) -> &'static str {
        "ddi"
    }

    fn doc(&self) -> &'static str {
        "the XML of DDI-2013; one example a pair of drugs, replaced by `@DRUG$` as BLUE does"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn wants(&self, file: &str) -> bool {
        file.ends_with(".xml")
    }

    fn read_with(
        &self,
        input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let text = super::whole_text(input.reader, input.file)?;
        let mut elements = Elements::new(&text, input.file);
        let mut tally = Tally::default();
        let mut document: Option<String> = None;
        let mut sentence: Option<Sentence> = None;
        while let Some(piece) = elements.advance()? {
            let Piece::Start { name, attributes } = piece else {
                continue;
            };
            let attributes = Attributes {
                element: &name,
                values: attributes.into_iter().collect(),
            };
            match name.as_str() {
                "document" => {
                    tally.documents += 1;
                    document =
                        (attributes.find("id").filter(|id| !id.is_empty())).map(str::to_owned);
                }
                "sentence" => {
                    sentence = Some(Sentence {
                        text: attributes.get("text", &elements)?.chars().collect(),
                        entities: BTreeMap::new(),
                    });
                }
                "entity" => {
                    let Some(sentence) = &mut sentence else {
                        return Err(stray(&name, &elements));
                    };
                    let offsets = attributes.get("charOffset", &elements)?;
                    let stretch = stretch(offsets)
                        .filter(|(_, end)| *end <= sentence.text.len())
                        .ok_or_else(|| {
                            elements.broken(
                                format!(
                                    "`{}` is no place in the sentence of {} characters",
                                    excerpt(offsets),
                                    sentence.text.len()
                                ),
                                "offsets are `FIRST-LAST`, counted from 0, several with `;` between",
                            )
                        })?;
                    let id = attributes.get("id", &elements)?;
                    sentence.entities.insert(id.to_owned(), stretch);
                }
                "pair" => {
                    let Some(sentence) = &sentence else {
                        return Err(stray(&name, &elements));
                    };
                    let entity = |attribute: &str| {
                        let id = attributes.get(attribute, &elements)?;
                        sentence.entities.get(id).copied().ok_or_else(|| {
                            elements.broken(
                                format!(
                                    "the pair names `{}`, which is no mention of its sentence",
                                    excerpt(id)
                                ),
                                "put mentions before the pairs of their sentence",
                            )
                        })
                    };
                    let (first, second) = (entity("e1")?, entity("e2")?);
                    let label = match (attributes.get("ddi", &elements)?, attributes.find("type")) {
                        ("true", Some(kind)) => format!("DDI-{kind}"),
                        ("true", None) => {
                            tally.odd("untyped_relations", || elements.place());
                            continue;
                        }
                        _ => "DDI-false".to_owned(),
                    };
                    let example = Classification {
                        id: attributes.get("id", &elements)?.to_owned(),
                        text: dummified(&sentence.text, first, second),
                        label,
                    };
                    emit(Example::Classification(example), document.as_deref())?;
                }
                _ => {}
            }
        }
        Ok(tally)
    }
}

struct Sentence {
    text: Vec<char>,
    /// First character and one past the last, by id.
    entities: BTreeMap<String, (usize, usize)>,
}

struct Attributes<'a> {
    element: &'a str,
    values: BTreeMap<String, String>,
}

impl Attributes<'_> {
    fn find(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn get(&self, name: &str, elements: &Elements<'_>) -> Result<&str, DataError> {
        self.find(name).ok_or_else(|| {
            elements.broken(
                format!("a `{}` has no attribute `{name}`", self.element),
                "expected the XML of DDI-2013: `sentence`, `entity`, `pair` with `id`, `text`, `charOffset`, `e1`, `e2`, `ddi`",
            )
        })
    }
}

fn stray(name: &str, elements: &Elements<'_>) -> DataError {
    elements.broken(
        format!("a `{name}` stands outside any sentence"),
        "expected the XML of DDI-2013: a `sentence` holds its `entity` and `pair` elements",
    )
}

/// `3-9` or `3-9;12-14`: the first character and one past the last.
fn stretch(offsets: &str) -> Option<(usize, usize)> {
    let mut whole: Option<(usize, usize)> = None;
    for part in offsets.split(';') {
        let (first, last) = part.trim().split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let end = last.checked_add(1).filter(|end| *end > first)?;
        whole = Some(match whole {
            Some((start, before)) => (start.min(first), before.max(end)),
            None => (first, end),
        });
    }
    whole
}

/// The sentence with two mentions replaced, without white space around it.
fn dummified(text: &[char], first: (usize, usize), second: (usize, usize)) -> String {
    let (left, right) = if first <= second {
        (first, second)
    } else {
        (second, first)
    };
    let part = |start: usize, end: usize| text[start..end].iter().collect::<String>();
    let whole = if left.1 > right.0 {
        let end = left.1.max(right.1);
        part(0, left.0) + "@DRUG-DRUG$" + &part(end, text.len())
    } else {
        part(0, left.0) + "@DRUG$" + &part(left.1, right.0) + "@DRUG$" + &part(right.1, text.len())
    };
    whole.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    fn texts(body: &str) -> Vec<(String, String)> {
        let text = format!(
            "<document id=\"d\"><sentence id=\"s\" text=\"aspirin and beta blockers\">{body}</sentence></document>"
        );
        let (examples, _) = read_text(&Ddi, &text, &Options::default()).expect("readable");
        examples
            .into_iter()
            .map(|example| match example {
                Example::Classification(one) => (one.text, one.label),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn pairs_become_examples_with_dummies() {
        let entities = r#"<entity id="a" charOffset="0-6"/><entity id="b" charOffset="12-15"/><entity id="c" charOffset="12-24"/><entity id="d" charOffset="0-1;12-15"/>"#;
        let pair = |e1: &str, e2: &str, rest: &str| {
            format!(r#"<pair id="p" e1="{e1}" e2="{e2}" {rest}/>"#)
        };
        let body = [
            pair("a", "b", r#"ddi="true" type="int""#),
            pair("b", "a", r#"ddi="false""#),
            pair("b", "c", r#"ddi="false" type="effect""#),
            pair("d", "b", r#"ddi="true""#),
            pair("d", "b", r#"ddi="false""#),
        ]
        .concat();
        let expected = [
            ("@DRUG$ and @DRUG$ blockers", "DDI-int"),
            ("@DRUG$ and @DRUG$ blockers", "DDI-false"),
            ("aspirin and @DRUG-DRUG$", "DDI-false"),
            ("@DRUG-DRUG$ blockers", "DDI-false"),
        ];
        let expected = expected.map(|(text, label)| (text.to_owned(), label.to_owned()));
        assert_eq!(texts(&format!("{entities}{body}")), expected);
    }

    #[test]
    fn faults_have_a_place() {
        for (text, message) in [
            (
                "<document>\n<entity id=\"a\"/></document>",
                "x:2: a `entity` stands outside any sentence",
            ),
            (
                "<sentence text=\"ab\"><entity id=\"a\" charOffset=\"1-2\"/></sentence>",
                "x:1: `1-2` is no place in the sentence of 2 characters",
            ),
            (
                "<sentence text=\"ab\"><pair e1=\"a\" e2=\"b\"/></sentence>",
                "x:1: the pair names `a`, which is no mention of its sentence",
            ),
            (
                "<sentence id=\"x\"/>",
                "x:1: a `sentence` has no attribute `text`",
            ),
        ] {
            let (error, help) = read_text(&Ddi, text, &Options::default()).expect_err("a fault");
            assert_eq!(error, message);
            assert!(!help.is_empty());
        }
    }
}
