//! Properties that hold for any input: round trips, offsets that slice the text, no panic on broken files.

use data::example::{
    Answer, Classification, Document, Example, Question, Relation, Span, Tagging, slice,
};
use data::jsonl;
use data::readers::{Input, Options, READERS, Reader, find_reader};
use data::tags::{Encoding, TokenSpan, decode, encode};
use proptest::collection::vec;
use proptest::prelude::*;

fn reader(name: &str) -> &'static dyn Reader {
    find_reader(name).expect("in the table")
}

fn read(reader: &dyn Reader, text: &str, options: &Options) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    let mut bytes = text.as_bytes();
    let input = Input {
        file: "x",
        split: "train",
        already: 0,
        path: None,
        reader: &mut bytes,
    };
    reader
        .read(input, options, &mut |example, _| {
            examples.push(example);
            Ok(())
        })
        .map_err(|error| {
            assert!(error.help().is_some(), "{error} says no next action");
            error.to_string()
        })?;
    Ok(examples)
}

/// Spans in order and apart, with the number of tokens.
fn spans() -> impl Strategy<Value = (Vec<TokenSpan>, usize)> {
    vec((0_usize..3, 1_usize..4, "[XY]"), 0..8).prop_flat_map(|pieces| {
        let mut at = 0;
        let spans: Vec<TokenSpan> = pieces
            .into_iter()
            .map(|(gap, length, label)| {
                let start = at + gap;
                at = start + length;
                TokenSpan {
                    start,
                    end: at,
                    label,
                }
            })
            .collect();
        (Just(spans), (at.max(1))..(at + 4))
    })
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé漢😀\"\\\\ \t]{0,12}[a-z漢😀]"
}

fn token() -> impl Strategy<Value = String> {
    "[!-~é漢😀]{1,6}".prop_filter("not a mark of documents", |token| token != "-DOCSTART-")
}

fn sentences() -> impl Strategy<Value = Vec<Example>> {
    vec(
        spans().prop_flat_map(|(spans, n)| (Just(spans), vec(token(), n))),
        1..6,
    )
    .prop_map(|sentences| {
        let sentence = |(i, (spans, tokens)): (usize, (Vec<TokenSpan>, Vec<String>))| {
            Example::Tagging(Tagging {
                id: format!("train-{}", i + 1),
                tags: encode(Encoding::Iob2, &spans, tokens.len()),
                tokens,
            })
        };
        sentences.into_iter().enumerate().map(sentence).collect()
    })
}

/// A stretch of a text in characters.
fn stretch(text: &str) -> impl Strategy<Value = (usize, usize)> + use<> {
    let n = text.chars().count();
    (0..n, 1..=n).prop_map(move |(start, length)| (start, (start + length).min(n)))
}

fn document() -> impl Strategy<Value = Document> {
    text().prop_flat_map(|text| {
        let span = (stretch(&text), "[A-Z]{1,3}", "[A-Z0-9|+ -]{1,6}");
        (Just(text), vec(span, 0..4), vec("[A-Z]{2}", 0..3)).prop_map(|(text, spans, relations)| {
            Document {
                id: "7".to_owned(),
                text,
                spans: spans
                    .into_iter()
                    .map(|((start, end), label, concept)| Span {
                        start,
                        end,
                        label,
                        id: None,
                        concept: Some(concept),
                        parts: Vec::new(),
                    })
                    .collect(),
                relations: relations
                    .into_iter()
                    .map(|label| Relation {
                        label,
                        head: "D1".to_owned(),
                        tail: "D2".to_owned(),
                    })
                    .collect(),
            }
        })
    })
}

fn question() -> impl Strategy<Value = Question> {
    (text(), text()).prop_flat_map(|(question, context)| {
        let answers = vec(stretch(&context), 0..3);
        (Just(question), Just(context), answers).prop_map(|(question, context, answers)| Question {
            id: "q_001".to_owned(),
            question,
            answers: answers
                .into_iter()
                .map(|(start, end)| Answer {
                    text: slice(&context, start, end)
                        .expect("inside the context")
                        .to_owned(),
                    start,
                })
                .collect(),
            context,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encodings_round_trip_and_are_regular((spans, n) in spans()) {
        for encoding in [Encoding::Iob1, Encoding::Iob2, Encoding::Iobes, Encoding::Lenient] {
            let tags = encode(encoding, &spans, n);
            prop_assert_eq!(tags.len(), n);
            prop_assert_eq!(&decode(&tags), &spans, "{:?} {:?}", encoding, tags);
            let parsed: Vec<_> = tags.iter().map(|tag| data::tags::Tag::parse(tag).expect("a tag")).collect();
            let mut before = data::tags::Tag::Outside;
            for tag in parsed {
                prop_assert!(encoding.may_follow(before, tag) && encoding.allows(tag), "{:?} {:?}", encoding, tags);
                before = tag;
            }
        }
    }

    #[test]
    fn any_tags_mean_spans_that_survive_iob2(tags in vec("O|[BIES]-[XY]", 1..12)) {
        let spans = decode(&tags);
        for (before, after) in spans.iter().zip(spans.iter().skip(1)) {
            prop_assert!(before.end <= after.start);
        }
        prop_assert_eq!(decode(&encode(Encoding::Iob2, &spans, tags.len())), spans);
    }

    #[test]
    fn canonical_files_round_trip(sentences in sentences(), document in document(), question in question(), text in text(), label in "[a-z]{1,5}") {
        let folder = tempfile::tempdir().expect("a folder");
        let class = Classification { id: "c".to_owned(), text, label };
        let files = [
            sentences,
            vec![Example::Spans(document)],
            vec![Example::QuestionAnswering(question)],
            vec![Example::Classification(class)],
        ];
        for examples in files {
            let path = folder.path().join("train.jsonl");
            let mut writer = jsonl::Writer::create(&path).expect("created");
            for example in &examples {
                example.check().expect("sound");
                writer.write(example).expect("written");
            }
            writer.finish().expect("written");
            let mut back = Vec::new();
            jsonl::read(&path, &mut |example| { back.push(example); Ok(()) }).expect("readable");
            prop_assert_eq!(back, examples);
        }
    }

    #[test]
    fn conll_round_trips(sentences in sentences()) {
        let mut text = String::new();
        for example in &sentences {
            let Example::Tagging(sentence) = example else { unreachable!("sentences only") };
            for (token, tag) in sentence.tokens.iter().zip(&sentence.tags) {
                text.push_str(&format!("{token} {tag}\n"));
            }
            text.push('\n');
        }
        prop_assert_eq!(read(reader("conll"), &text, &Options::default()).expect("readable"), sentences);
    }

    #[test]
    fn pubtator_mentions_slice_the_text(document in document()) {
        let mut file = format!("7|t|{}\n7|a|\n", document.text.replace('\t', " "));
        for span in &document.spans {
            let mention = slice(&document.text, span.start, span.end).expect("inside").replace('\t', " ");
            let concept = span.concept.as_deref().unwrap_or_default();
            file.push_str(&format!("7\t{}\t{}\t{mention}\t{}\t{concept}\n", span.start, span.end, span.label));
        }
        for relation in &document.relations {
            file.push_str(&format!("7\t{}\t{}\t{}\n", relation.label, relation.head, relation.tail));
        }
        let examples = read(reader("pubtator"), &file, &Options::default()).expect("readable");
        let [Example::Spans(back)] = examples.as_slice() else { panic!("one document") };
        prop_assert_eq!(&back.spans, &document.spans);
        prop_assert_eq!(&back.relations, &document.relations);
    }

    #[test]
    fn squad_answers_slice_the_context(question in question()) {
        let answers: Vec<_> = question.answers.iter()
            .map(|answer| serde_json::json!({"text": answer.text, "answer_start": answer.start}))
            .collect();
        let file = serde_json::json!({"data": [{"paragraphs": [{
            "context": question.context,
            "qas": [{"id": question.id, "question": question.question, "answers": answers}],
        }]}]});
        let examples = read(reader("squad"), &file.to_string(), &Options::default()).expect("readable");
        prop_assert_eq!(examples, [Example::QuestionAnswering(question)]);
    }

    #[test]
    fn tsv_round_trips_with_quotes(rows in vec((text(), "[a-z\"]{1,4}"), 1..6)) {
        let quote = |field: &str| format!("\"{}\"", field.replace('"', "\"\""));
        let mut file = "\u{feff}sentence\tlabel\r\n".to_owned();
        for (text, label) in &rows {
            file.push_str(&format!("{}\t{}\r\n", quote(text), quote(label)));
        }
        let examples = read(reader("tsv"), &file, &Options::default()).expect("readable");
        let back: Vec<(String, String)> = examples.into_iter().map(|example| match example {
            Example::Classification(example) => (example.text, example.label),
            other => panic!("not a text with a class: {other:?}"),
        }).collect();
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn no_reader_panics_or_hands_out_unsound_examples(
        file in "(sentence\tlabel\n)?([a-z0-9\t\" |{}:,\\[\\]\n-]|1\\|[ta]\\||\"data\":|B-X|O|é|\r){0,60}",
    ) {
        for reader in READERS {
            if let Ok(examples) = read(*reader, &file, &Options::default()) {
                for example in examples {
                    prop_assert!(example.check().is_ok(), "{} gave {:?}", reader.name(), example);
                }
            }
        }
    }
}
