//! Small vocabularies and texts through every featuriser; what independent programs answer is in `tests/it/parity.rs`.

use super::*;
use crate::example::{Answer, MultiLabel, Question, Tagging, Task};
use crate::vocabulary::SPECIALS;

fn vocabulary() -> Vocabulary {
    let mut entries: Vec<String> = SPECIALS.map(str::to_owned).into();
    for c in ('a'..='z').chain('0'..='9').chain("-.,()@$?é".chars()) {
        entries.extend([c.to_string(), format!("##{c}")]);
    }
    entries.extend(["drug", "gene", "the", "bind", "##s", "##ing"].map(str::to_owned));
    entries.sort();
    entries.dedup();
    Vocabulary::new(entries, "test").expect("sound")
}

fn with<T>(run: impl FnOnce(&mut Featuriser<'_>, &dyn Fn(&Row) -> String) -> T) -> T {
    let vocabulary = vocabulary();
    let compiled = WordPiece::new(&vocabulary, Featuriser::settings());
    let show = |row: &Row| {
        let entries = row
            .ids
            .iter()
            .map(|id| vocabulary.find_entry(*id).expect("an entry"));
        entries.collect::<Vec<_>>().join(" ")
    };
    run(&mut Featuriser::new(&vocabulary, &compiled), &show)
}

fn labels(names: &[&str]) -> LabelSet {
    LabelSet {
        task: Task::Tagging,
        labels: names.iter().map(|name| (*name).to_owned()).collect(),
        negative: Vec::new(),
        relations: Vec::new(),
        texts: None,
    }
}

fn sentence(tokens: &[&str]) -> Tagging {
    Tagging {
        id: "1".to_owned(),
        tokens: tokens.iter().map(|token| (*token).to_owned()).collect(),
        tags: tokens
            .iter()
            .enumerate()
            .map(|(i, _)| if i % 3 == 0 { "B-X" } else { "O" }.to_owned())
            .collect(),
    }
}

#[test]
fn the_first_piece_has_the_label() {
    let set = labels(&["B-X", "O"]);
    let options = TaggingOptions {
        max_length: 128,
        too_long: TagsTooLong::Truncate,
        segment: 0,
    };
    with(|featuriser, show| {
        let sentence = sentence(&["Binds", "\u{1}", "the-ab"]);
        let rows = featuriser
            .tagging(&sentence, &LabelNumbers::new(&set), &options)
            .expect("fits");
        let row = &rows.rows[0];
        assert_eq!(show(&row.row), "[CLS] bind ##s the - a ##b [SEP]");
        let i = IGNORED;
        assert_eq!(row.labels, [i, 0, i, 1, i, i, i, i]);
        let t = Some;
        assert_eq!(row.tokens, [None, t(0), t(0), t(2), t(2), t(2), t(2), None]);
        assert_eq!(
            row.row.offsets[1..4],
            [Some((0, 4)), Some((4, 5)), Some((0, 3))]
        );
        assert_eq!(
            (rows.empty_tokens, rows.lost_tokens, rows.lost_pieces),
            (1, 0, 0)
        );
        assert_eq!(
            tags_of(&rows, &[vec![9, 5, 9, 6, 9, 9, 9, 9]], 3),
            [t(5), None, t(6)]
        );
        let short = TaggingOptions {
            max_length: 5,
            ..options
        };
        let rows = featuriser
            .tagging(&sentence, &LabelNumbers::new(&set), &short)
            .expect("cut");
        assert_eq!(show(&rows.rows[0].row), "[CLS] bind ##s the [SEP]");
        assert_eq!((rows.lost_tokens, rows.lost_pieces), (0, 3));
        let unknown = labels(&["O"]);
        let error = featuriser
            .tagging(&sentence, &LabelNumbers::new(&unknown), &short)
            .expect_err("no B-X");
        assert_eq!(error.to_string(), "the label `B-X` is not in `labels.json`");
    });
}

#[test]
fn markers_stay_when_a_text_is_too_long() {
    let text = "a b c d @DRUG$ e f g h i j @DRUG$ k l m n o p q r s t";
    let markers = || TooLong::KeepMarkers(vec!["@DRUG$".to_owned(), "@GENE$".to_owned()]);
    with(|featuriser, show| {
        let mut kept = |max_length: usize, too_long: TooLong| {
            let found = featuriser
                .texts(
                    &[text],
                    &ClassificationOptions {
                        max_length,
                        too_long,
                    },
                )
                .expect("fits");
            assert!(found.row.ids.len() <= max_length);
            (show(&found.row), found.lost_pieces, found.lost_markers)
        };
        assert_eq!(
            kept(12, TooLong::Truncate),
            ("[CLS] a b c d @ drug $ e f g [SEP]".to_owned(), 16, 0)
        );
        let (row, lost, markers_lost) = kept(18, markers());
        assert_eq!(row, "[CLS] c d @ drug $ e f g h i j @ drug $ k l [SEP]");
        assert_eq!((lost, markers_lost), (10, 0));
        // The stretch itself is too long: its middle goes.
        assert_eq!(
            kept(12, markers()).0,
            "[CLS] d @ drug $ e j @ drug $ k [SEP]"
        );
        assert_eq!(
            kept(8, markers()),
            ("[CLS] @ drug $ @ drug $ [SEP]".to_owned(), 20, 0)
        );
        assert_eq!(kept(7, markers()).2, 1);
        assert_eq!(kept(200, markers()).1, 0);
    });
}

#[test]
fn two_texts_are_cut_at_the_longer_one() {
    with(|featuriser, show| {
        let options = ClassificationOptions {
            max_length: 8,
            too_long: TooLong::Truncate,
        };
        let found = featuriser
            .texts(&["a b", "c d e f g h"], &options)
            .expect("fits");
        assert_eq!(show(&found.row), "[CLS] a b [SEP] c d e [SEP]");
        assert_eq!(found.row.segments, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(found.lost_pieces, 3);
        assert!(
            featuriser
                .texts(
                    &["a", "b"],
                    &ClassificationOptions {
                        max_length: 4,
                        ..options
                    }
                )
                .is_err()
        );
        let set = labels(&["x", "y"]);
        let example = MultiLabel {
            id: "1".to_owned(),
            text: "a".to_owned(),
            labels: vec!["y".to_owned()],
        };
        assert_eq!(
            label_vector(&example, &LabelNumbers::new(&set)).expect("known"),
            [0.0, 1.0]
        );
    });
}

fn pair(context: &str, answer: Option<(&str, usize)>) -> Question {
    Question {
        id: "1".to_owned(),
        question: "what binds?".to_owned(),
        context: context.to_owned(),
        answers: answer
            .map(|(text, start)| Answer {
                text: text.to_owned(),
                start,
            })
            .into_iter()
            .collect(),
    }
}

#[test]
fn answers_shrink_to_their_pieces_and_come_back() {
    let context = "né\t\u{1} (The Gene-9), binds.";
    with(|featuriser, show| {
        let options = QuestionOptions {
            max_length: 60,
            stride: 3,
            max_question: 64,
        };
        let rows = featuriser
            .question(&pair(context, Some(("Gene-9", 10))), &options)
            .expect("fits");
        let window = &rows.windows[0];
        assert_eq!(
            show(&window.row),
            "[CLS] w ##h ##a ##t bind ##s ? [SEP] n ##e ( the gene - 9 ) , bind ##s . [SEP]"
        );
        assert_eq!(window.row.offsets[13], Some((10, 14)));
        assert_eq!(rows.answer, Ok((4, 6)));
        assert_eq!(window.answer, (13, 15));
        let n = window.row.ids.len();
        let (mut starts, mut ends) = (vec![0.0; n + 5], vec![0.0; n + 5]);
        (starts[13], ends[15]) = (9.0, 9.0);
        // The best start is padding, which is passed over.
        starts[n + 2] = 20.0;
        let best = n_best(
            featuriser,
            &rows,
            context,
            &[(starts, ends)],
            &Decoding::default(),
        );
        assert_eq!(
            (best[0].text.as_str(), best[0].span),
            ("Gene-9", Some((10, 16)))
        );
        assert!((best.iter().map(|one| one.probability).sum::<f64>() - 1.0).abs() < 1e-12);
        let none = n_best(
            featuriser,
            &rows,
            context,
            &[(vec![1.0], vec![1.0])],
            &Decoding::default(),
        );
        assert_eq!(
            (none[0].text.as_str(), none[0].span, none.len()),
            ("empty", None, 1)
        );
    });
}

#[test]
fn every_pair_without_an_answer_says_why() {
    with(|featuriser, _| {
        let options = QuestionOptions::default();
        let mut why = |context: &str, answer| {
            featuriser
                .question(&pair(context, answer), &options)
                .expect("fits")
                .answer
        };
        assert_eq!(why("a b", None), Err(Unanswerable::NoAnswer));
        assert_eq!(why(" a b", Some((" a", 0))), Err(Unanswerable::NotInWords));
        assert_eq!(
            why("a \u{1} b", Some(("\u{1}", 2))),
            Err(Unanswerable::NoPieces)
        );
        assert_eq!(
            why("a\u{a0}b", Some(("a\u{a0}b", 0))),
            Err(Unanswerable::NotInWords)
        );
        let nothing = featuriser
            .question(&pair("\u{1}", None), &options)
            .expect("fits");
        assert!(nothing.windows.is_empty());
        let short = QuestionOptions {
            max_length: 10,
            ..options
        };
        assert!(featuriser.question(&pair("a", None), &short).is_err());
    });
}
