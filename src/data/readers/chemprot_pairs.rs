//! Reads the original files of ChemProt into one example for each pair of a chemical and a gene in a sentence, the two
//! replaced by dummies as BLUE does (spec E.4). Knows nothing of splits or statistics.
//!
//! An example's id is `PMID.T1.T2`, its label the class of the relation in the gold standard or `false`; a pair with two
//! classes is two examples. Of the two dummies the first in the sentence is `@CHEMICAL$` and the second `@GENE$`,
//! whichever is which, because that is what BLUE ships; mentions that overlap become one `@CHEM-GENE$`. Unlike BLUE's
//! rows the text keeps its characters beyond ASCII.
//!
//! Sentences end after `.`, `?` or `!` before white space and something that can begin one; after an abbreviation or an
//! initial they do not, nor inside a mention, and a title is one of its own. No relation is lost to this: where its two
//! mentions stand in different sentences, the example holds all from the one to the other, and that is counted.

use std::collections::BTreeMap;

use super::chemprot::{documents, is_abstracts};
use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Place, Problem, excerpt};
use crate::example::{Classification, Document, Example, Span, Task};

/// See the module.
pub(super) struct ChemProtPairs;

impl Reader for ChemProtPairs {
    fn name(&self) -> &'static str {
        "chemprot_pairs"
    }

    fn doc(&self) -> &'static str {
        "the tables of `chemprot`; one example a pair of chemical and gene in a sentence, replaced by dummies as BLUE does"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn wants(&self, file: &str) -> bool {
        is_abstracts(file)
    }

    fn read_with(
        &self,
        mut input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let file = input.file.to_owned();
        let mut n_documents = 0;
        let mut tally = documents(&mut input, &mut |document, tally| {
            n_documents += 1;
            let place = Place {
                file: format!("{file}, document `{}`", excerpt(&document.id)),
                line: 0,
                column: 0,
            };
            pairs(&document, &place, tally, emit)
        })?;
        tally.documents = n_documents;
        Ok(tally)
    }
}

fn pairs(
    document: &Document,
    place: &Place,
    tally: &mut Tally,
    emit: &mut Emit<'_>,
) -> Result<(), DataError> {
    let text: Vec<char> = document.text.chars().collect();
    let ends = sentence_ends(&text, &document.spans);
    let sentence = |span: &Span| ends.partition_point(|end| *end <= span.start);
    let id = |span: &Span| span.id.clone().unwrap_or_default();
    let by_id: BTreeMap<String, &Span> = (document.spans.iter())
        .map(|span| (id(span), span))
        .collect();
    let mut labels: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for relation in &document.relations {
        let is_pair = |a: &str, b: &str| {
            let has = |id, wanted| {
                by_id
                    .get(id)
                    .is_some_and(|span| is_chemical(span) == wanted)
            };
            has(a, true) && has(b, false)
        };
        let (head, tail) = (&relation.head, &relation.tail);
        let pair = if is_pair(head, tail) {
            (head.clone(), tail.clone())
        } else if is_pair(tail, head) {
            (tail.clone(), head.clone())
        } else {
            return Err(Problem::new(
                format!(
                    "the relation of `{}` and `{}` is not between a chemical and a gene",
                    excerpt(head),
                    excerpt(tail)
                ),
                "give the entities and the gold standard of the same split",
            )
            .at(place.clone()));
        };
        labels.entry(pair).or_default().push(&relation.label);
    }
    let (mut chemicals, mut genes): (Vec<&Span>, Vec<&Span>) =
        document.spans.iter().partition(|span| is_chemical(span));
    chemicals.sort_by_key(|span| (span.start, span.end));
    genes.sort_by_key(|span| (span.start, span.end));
    for chemical in &chemicals {
        for gene in &genes {
            let found = labels.get(&(id(chemical), id(gene)));
            let (first, last) = match (sentence(chemical), sentence(gene)) {
                (a, b) if a == b => (a, a),
                (a, b) if found.is_some() => (a.min(b), a.max(b)),
                _ => continue,
            };
            for label in found.map_or(["false"].as_slice(), Vec::as_slice) {
                if first != last {
                    tally.odd("relations_across_sentences", || place.clone());
                }
                let from = first.checked_sub(1).map_or(0, |before| ends[before]);
                let example = Classification {
                    id: format!("{}.{}.{}", document.id, id(chemical), id(gene)),
                    text: dummified(&text, from..ends[last], chemical, gene),
                    label: (*label).to_owned(),
                };
                emit(Example::Classification(example), Some(&document.id))?;
            }
        }
    }
    Ok(())
}

fn is_chemical(span: &Span) -> bool {
    span.label == "CHEMICAL"
}

/// The stretch with two mentions replaced, without white space around it; tabs are spaces.
fn dummified(text: &[char], stretch: std::ops::Range<usize>, a: &Span, b: &Span) -> String {
    let (left, right) = match (a.start, a.end) <= (b.start, b.end) {
        true => (a, b),
        false => (b, a),
    };
    let part = |from: usize, to: usize| -> String {
        let characters = text[from..to].iter();
        characters
            .map(|c| if *c == '\t' { ' ' } else { *c })
            .collect()
    };
    let whole = if left.end > right.start {
        let end = left.end.max(right.end);
        [
            &part(stretch.start, left.start),
            "@CHEM-GENE$",
            &part(end, stretch.end),
        ]
        .concat()
    } else {
        [
            &part(stretch.start, left.start),
            "@CHEMICAL$",
            &part(left.end, right.start),
            "@GENE$",
            &part(right.end, stretch.end),
        ]
        .concat()
    };
    whole.trim().to_owned()
}

/// Words whose full stop does not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "al", "approx", "ca", "cf", "e.g", "fig", "figs", "i.e", "no", "resp", "sp", "spp", "subsp",
    "var", "vs",
];

/// The end of each sentence, one past its last character and the white space behind it; the last is the text's.
fn sentence_ends(text: &[char], mentions: &[Span]) -> Vec<usize> {
    let mut ends = Vec::new();
    for at in 1..text.len() {
        let is_inside = |span: &Span| span.start < at && at < span.end;
        if is_boundary(text, at) && !mentions.iter().any(is_inside) {
            ends.push(at);
        }
    }
    ends.push(text.len());
    ends
}

/// Whether a sentence begins at `at`.
fn is_boundary(text: &[char], at: usize) -> bool {
    if text[at - 1] == '\t' {
        return true;
    }
    if !text[at - 1].is_whitespace() || text[at].is_whitespace() {
        return false;
    }
    let is_closing = |c: char| matches!(c, ')' | ']' | '"' | '\'' | '”' | '’');
    let is_opening = |c: char| matches!(c, '(' | '[' | '"' | '“' | '‘');
    let before = &text[..at];
    let before = &before[..before
        .iter()
        .rposition(|c| !c.is_whitespace())
        .map_or(0, |last| last + 1)];
    let closed = before.iter().rev().take_while(|c| is_closing(**c)).count();
    let before = &before[..before.len() - closed];
    let next = text[at..].iter().find(|c| !is_opening(**c));
    let begins = next.is_some_and(|c| !c.is_lowercase());
    match before.last() {
        Some('?' | '!') => begins,
        Some('.') => {
            let word_start = before
                .iter()
                .rposition(|c| c.is_whitespace() || is_opening(*c));
            let word: String = before[word_start.map_or(0, |space| space + 1)..before.len() - 1]
                .iter()
                .collect();
            let is_initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
            begins && !is_initial && !ABBREVIATIONS.contains(&word.to_lowercase().as_str())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        let mut from = 0;
        let mut found = Vec::new();
        for end in sentence_ends(&characters, &[]) {
            found.push(
                characters[from..end]
                    .iter()
                    .collect::<String>()
                    .trim()
                    .to_owned(),
            );
            from = end;
        }
        found
    }

    #[test]
    fn sentences_end_where_one_can_begin() {
        assert_eq!(
            sentences(
                "A title.\tWe saw it (see Fig. 2). In E. coli, e.g. K12, pH was 7.4. \"Why?\" Nobody knew. p53 did."
            ),
            [
                "A title.",
                "We saw it (see Fig. 2).",
                "In E. coli, e.g. K12, pH was 7.4.",
                "\"Why?\"",
                "Nobody knew. p53 did.",
            ]
        );
    }

    #[test]
    fn pairs_are_masked_in_the_order_of_the_text_and_no_relation_is_lost() {
        let text = "On né acid.\tThe Bo gene binds né acid. Nothing else. Al-ase is far.";
        let span = |id: &str, label: &str, word: &str, nth: usize| {
            let at = text.match_indices(word).nth(nth).expect("it is there").0;
            let start = text[..at].chars().count();
            Span {
                start,
                end: start + word.chars().count(),
                label: label.to_owned(),
                id: Some(id.to_owned()),
                concept: None,
                parts: Vec::new(),
            }
        };
        let document = Document {
            id: "7".to_owned(),
            text: text.to_owned(),
            spans: vec![
                span("T1", "CHEMICAL", "né acid", 1),
                span("T2", "GENE-Y", "Bo gene", 0),
                span("T3", "GENE-N", "Al-ase", 0),
                span("T4", "CHEMICAL", "Al", 0),
            ],
            relations: vec![("CPR:3", "T2"), ("CPR:4", "T2"), ("CPR:9", "T3")]
                .into_iter()
                .map(|(label, tail)| crate::example::Relation {
                    label: label.to_owned(),
                    head: "T1".to_owned(),
                    tail: tail.to_owned(),
                })
                .collect(),
        };
        let mut found = Vec::new();
        let mut tally = Tally::default();
        let place = Place {
            file: "x".to_owned(),
            line: 0,
            column: 0,
        };
        pairs(&document, &place, &mut tally, &mut |example, document| {
            let Example::Classification(example) = example else {
                panic!("{example:?}");
            };
            assert_eq!(document, Some("7"));
            found.push((example.id, example.text, example.label));
            Ok(())
        })
        .expect("sound");
        let row =
            |id: &str, text: &str, label: &str| (id.to_owned(), text.to_owned(), label.to_owned());
        assert_eq!(
            found,
            [
                row("7.T1.T2", "The @CHEMICAL$ binds @GENE$.", "CPR:3"),
                row("7.T1.T2", "The @CHEMICAL$ binds @GENE$.", "CPR:4"),
                row(
                    "7.T1.T3",
                    "The Bo gene binds @CHEMICAL$. Nothing else. @GENE$ is far.",
                    "CPR:9"
                ),
                row("7.T4.T3", "@CHEM-GENE$ is far.", "false"),
            ]
        );
        assert_eq!(tally.oddities["relations_across_sentences"].count, 1);
    }
}
