//! A corpus made of small files of every format: what stays, what goes and why, and that threads do not show.

use std::path::Path;

use data::corpus::config::{Format, Lengths, OnOverlap, Settings, Steps, Tokens};
use data::corpus::steps::overlap::HeldOut;
use data::corpus::{Outcome, Sources, make};
use data::texts::TextFile;
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const PLAIN: Steps = Steps {
    split: false,
    lower_case: false,
    ascii: false,
    tokens: Tokens::None,
    possessives: false,
};

pub(crate) const NCBI: Steps = Steps {
    split: true,
    lower_case: true,
    ascii: true,
    tokens: Tokens::Treebank,
    possessives: true,
};

pub(crate) fn settings(format: Format, steps: Steps) -> Settings {
    Settings {
        format,
        text_fields: vec!["text".to_owned()],
        titles: true,
        section_labels: false,
        abstracts_only: false,
        steps,
        deduplicate: false,
        lengths: Lengths {
            sentence: (0, u64::MAX),
            document: (0, u64::MAX),
        },
        on_overlap: OnOverlap::Remove,
        max_bad_records: 0,
        shard_bytes: u64::MAX,
        max_document_bytes: 1 << 20,
        piece_bytes: 1 << 20,
        threads: 1,
    }
}

/// The shards, and the outcome or what went wrong.
type Run = (Vec<Vec<u8>>, Result<Outcome, String>);

fn run(texts: &[&[u8]], settings: &Settings, held: &HeldOut) -> Run {
    let space = tempfile::tempdir().expect("a folder");
    let files = texts.iter().enumerate().map(|(i, text)| {
        let path = space.path().join(format!("input-{i}"));
        fs_err::write(&path, text).expect("written");
        let name = format!("f{i}");
        TextFile { name, path }
    });
    let sources = Sources::plain(files.collect());
    let folder = space.path().join("out");
    fs_err::create_dir(&folder).expect("made");
    let mut last = 0;
    let outcome = make(&sources, settings, held, &folder, &mut |done| {
        assert!(done >= last, "progress goes back");
        last = done;
    });
    let outcome = outcome.map_err(|error| {
        assert!(error.help().is_some(), "{error} says no next action");
        error.to_string()
    });
    let shards = (0..)
        .map(|i| folder.join(format!("{i:05}.txt")))
        .take_while(|path| path.is_file())
        .map(|path| fs_err::read(path).expect("readable"))
        .collect();
    (shards, outcome)
}

fn made(text: &str, settings: &Settings) -> (String, Outcome) {
    made_of(&[text], settings, &HeldOut::default())
}

fn made_of(texts: &[&str], settings: &Settings, held: &HeldOut) -> (String, Outcome) {
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let (shards, outcome) = run(&texts, settings, held);
    let outcome = outcome.expect("it is made");
    assert_eq!(shards.len() as u64, outcome.counts.shards);
    assert_eq!(
        shards.iter().map(Vec::len).sum::<usize>() as u64,
        outcome.counts.bytes
    );
    let text = shards.join(b"=\n".as_slice());
    (String::from_utf8(text).expect("UTF-8"), outcome)
}

fn error(text: &[u8], settings: &Settings) -> String {
    run(&[text], settings, &HeldOut::default())
        .1
        .expect_err("refused")
}

#[test]
fn all_steps_in_their_order() {
    let text =
        "Crohn's disease isn't na\u{ef}ve (Fig. 2). \u{3b2}-Catenin\r\nrose 5\u{b1}2%.\n\n\nX.\n";
    let (made, outcome) = made(text, &settings(Format::Paragraphs, NCBI));
    assert_eq!(
        made,
        "crohn's disease is n't na ve ( fig. 2 ) .\n-catenin rose 5 2 % .\n\nx .\n"
    );
    let counts = outcome.counts;
    assert_eq!(
        (counts.documents, counts.sentences, counts.words),
        (2, 3, 19)
    );
}

#[test]
fn formats_part_documents_each_in_its_way() {
    let text = "One is. Two is.\nThree.\n \t\nFour.\n";
    let of = |format| made(text, &settings(format, PLAIN)).0;
    assert_eq!(of(Format::Sentences), "One is. Two is.\nThree.\n\nFour.\n");
    assert_eq!(of(Format::Paragraphs), "One is. Two is. Three.\n\nFour.\n");
    assert_eq!(of(Format::Lines), "One is. Two is.\n\nThree.\n\nFour.\n");
    let json = "{\"text\": [\"One\\nis.\", \"Two\"], \"x\": 1}\n\n{\"text\": \"Three.\"}";
    let (text, _) = made(json, &settings(Format::JsonLines, PLAIN));
    assert_eq!(text, "One is.\nTwo\n\nThree.\n");
}

#[test]
fn shards_end_with_documents() {
    let mut of = settings(Format::Lines, PLAIN);
    of.shard_bytes = 8;
    let (text, outcome) = made("ab\ncd\nefghijklmn\nop\nqr\n\n", &of);
    // 3 + 1 + 3 bytes fit, a document larger than a shard has one for itself.
    assert_eq!(text, "ab\n\ncd\n=\nefghijklmn\n=\nop\n\nqr\n");
    assert_eq!(outcome.counts.shards, 3);
}

#[test]
fn documents_and_sentences_go_for_a_reason() {
    let mut of = settings(Format::Sentences, NCBI);
    of.deduplicate = true;
    of.lengths = Lengths {
        sentence: (2, 6),
        document: (3, 10),
    };
    let mut held = HeldOut::new(10);
    held.add("Serum zinc (Zn) fell in rats .");
    held.finish();
    let text = "\
a b c d\nx\n\n\
A B c  d\nX\n\n\
one two\n\n\
1 2 3 4 5 6\n1 2 3 4 5 6\n\n\
\u{3b1} \u{3b2}\n\n\
1 2 3 4 5 6 7\na b c\n\n\
serum zinc (zn) fell in rats.\nOthers did not.\n";
    let (text, outcome) = made_of(&[text], &of, &held);
    assert_eq!(text, "a b c d\n\na b c\n");
    let counts = outcome.counts;
    assert_eq!(counts.documents_read, 7);
    assert_eq!(counts.documents, 2);
    assert_eq!(
        [counts.duplicates, counts.short, counts.long, counts.empty],
        [1; 4]
    );
    assert_eq!((counts.overlapping, counts.held_out_sentences), (1, 1));
    // A document that goes takes its sentences with it; they were counted where they went on their own.
    assert_eq!((counts.short_sentences, counts.long_sentences), (2, 2));
}

#[test]
fn overlap_can_be_refused_or_only_counted() {
    let mut held = HeldOut::new(5);
    held.add("the zinc fell");
    held.finish();
    let text = "The zinc fell!\nMore.\n\nOther.\n";
    let mut of = settings(Format::Sentences, PLAIN);
    of.on_overlap = OnOverlap::Count;
    let (all, outcome) = made_of(&[text], &of, &held);
    assert_eq!(all, text);
    assert_eq!(outcome.counts.overlapping, 1);
    of.on_overlap = OnOverlap::Refuse;
    let refused = run(&[text.as_bytes()], &of, &held).1.expect_err("refused");
    assert!(
        refused.contains("begins `The zinc fell!` holds a sentence of a test set"),
        "{refused}"
    );
}

#[test]
fn broken_lines_are_refused_or_left_out_counted_and_told() {
    let text = b"good one\n\nbad \xff line\nstays\n\nlast\n\xc3";
    let mut of = settings(Format::Sentences, PLAIN);
    assert_eq!(
        error(text, &of),
        "f0:3: byte 0xff is not UTF-8, after `bad `"
    );
    of.max_bad_records = 1;
    assert!(error(text, &of).contains("one more than the 1 allowed"));
    of.max_bad_records = 2;
    let (shards, outcome) = run(&[text], &of, &HeldOut::default());
    assert_eq!(shards, [b"good one\n\nstays\n\nlast\n".to_vec()]);
    let outcome = outcome.expect("made");
    assert_eq!(outcome.counts.bad_records, 2);
    assert_eq!(
        outcome.samples,
        [
            "f0:3: byte 0xff is not UTF-8, after `bad `",
            "f0:7: byte 0xc3 is not UTF-8, after ``"
        ]
    );
    of.format = Format::JsonLines;
    of.max_bad_records = 0;
    let found = error(b"{\"text\": \"a\"}\n\n{\"txt\": \"a\"}\n", &of);
    assert_eq!(found, "f0:3: the object has no field `text`");
    let found = error(b"\n \n", &settings(Format::Lines, PLAIN));
    assert!(found.starts_with("no document is left of the 0"), "{found}");
}

#[test]
fn what_is_too_large_is_cut_or_broken_wherever_pieces_end() {
    let text = "aaaa\nbbbb\ncccc\n\nshort\n\nxxxxxxxxxxxxxxxx\n\nend\n";
    for piece_bytes in [1, 3, 7, 16, 1000] {
        let mut of = settings(Format::Sentences, PLAIN);
        of.max_document_bytes = 10;
        of.piece_bytes = piece_bytes;
        let found = error(text.as_bytes(), &of);
        assert_eq!(
            found, "f0:7: the line is larger than `max_document_bytes`",
            "pieces of {piece_bytes}"
        );
        of.max_bad_records = 1;
        let (made, outcome) = made(text, &of);
        assert_eq!(made, "aaaa\nbbbb\n\ncccc\n\nshort\n\nend\n");
        assert_eq!(
            (outcome.counts.cut_documents, outcome.counts.bad_records),
            (1, 1),
            "pieces of {piece_bytes}"
        );
    }
}

/// A record as NLM writes it.
fn record(pmid: u32, version: u32, title: &str, sections: &str) -> String {
    format!(
        "<PubmedArticle><MedlineCitation Status=\"MEDLINE\"><PMID Version=\"{version}\">{pmid}</PMID>\n\
         <Article><Journal><Title>J</Title></Journal><ArticleTitle>{title}</ArticleTitle>{sections}</Article>\n\
         <CommentsCorrectionsList><CommentsCorrections><PMID>999</PMID></CommentsCorrections></CommentsCorrectionsList>\n\
         <OtherAbstract><AbstractText>Not this.</AbstractText></OtherAbstract></MedlineCitation></PubmedArticle>\n"
    )
}

fn set(records: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<PubmedArticleSet>\n{}</PubmedArticleSet>\n",
        records.concat()
    )
}

#[test]
fn records_have_titles_sections_and_markup() {
    let text = set(&[
        record(
            1,
            1,
            "Zn<sup>2+</sup> &amp; <i>E. coli</i> [&#946;].",
            "<Abstract><AbstractText Label=\"METHODS\" NlmCategory=\"METHODS\">We did. It <b>was</b>\n  so.</AbstractText>\
             <AbstractText Label=\"UNLABELLED\">More.</AbstractText><AbstractText/>\
             <CopyrightInformation>Copyright.</CopyrightInformation></Abstract>",
        ),
        record(2, 1, "Only a title.", ""),
    ]);
    let mut of = settings(
        Format::PubmedXml,
        Steps {
            split: true,
            ..PLAIN
        },
    );
    let (all, outcome) = made(&text, &of);
    assert_eq!(
        all,
        "Zn2+ & E. coli [\u{3b2}].\nWe did.\nIt was so.\nMore.\n\nOnly a title.\n"
    );
    assert_eq!(outcome.counts.without_abstract, 1);
    of.section_labels = true;
    of.titles = false;
    let (labelled, outcome) = made(&text, &of);
    assert_eq!(labelled, "METHODS: We did.\nIt was so.\nMore.\n");
    assert_eq!(outcome.counts.empty, 1);
    of.abstracts_only = true;
    of.titles = true;
    let (_, outcome) = made(&text, &of);
    assert_eq!((outcome.counts.documents, outcome.counts.empty), (1, 0));
}

#[test]
fn of_several_records_the_last_is_meant_and_deletions_hold_in_all_files() {
    let abstract_of =
        |text: &str| format!("<Abstract><AbstractText>{text}</AbstractText></Abstract>");
    let first = set(&[
        record(10, 1, "Old ten.", &abstract_of("Old.")),
        record(11, 1, "Eleven.", ""),
        record(12, 1, "Twelve goes.", ""),
        record(13, 2, "Thirteen, second version.", ""),
    ]);
    let deleted = "<DeleteCitation><PMID Version=\"1\">12</PMID>\n<PMID Version=\"1\">77</PMID></DeleteCitation>\n</PubmedArticleSet>";
    let second = set(&[
        record(10, 1, "New ten.", &abstract_of("New.")),
        record(13, 1, "Thirteen, first version.", ""),
        record(14, 1, "Fourteen.", ""),
    ])
    .replace("</PubmedArticleSet>", deleted);
    let third = set(&[record(77, 1, "Back again.", "")]);
    for (threads, piece_bytes) in [(1, 1 << 20), (3, 64)] {
        let mut of = settings(Format::PubmedXml, PLAIN);
        of.threads = threads;
        of.piece_bytes = piece_bytes;
        let (text, outcome) = made_of(&[&first, &second, &third], &of, &HeldOut::default());
        assert_eq!(
            text,
            "Eleven.\n\nThirteen, second version.\n\nNew ten.\nNew.\n\nFourteen.\n\nBack again.\n"
        );
        assert_eq!(outcome.counts.superseded, 2);
        assert_eq!(outcome.counts.deleted, 1);
    }
}

#[test]
fn broken_records_have_places() {
    let of = settings(Format::PubmedXml, PLAIN);
    let good = record(1, 1, "Good.", "");
    let whole = set(&[good.clone(), record(2, 1, "Bad <i>markup.", "")]);
    let found = error(whole.as_bytes(), &of);
    assert!(
        found.starts_with("f0:7: this is no well-formed XML"),
        "{found}"
    );
    let found = error(whole.replace(">2</PMID>", "></PMID>").as_bytes(), &of);
    assert!(found.starts_with("f0:7: "), "{found}");
    let cut = &whole[..whole.find("Bad").expect("there")];
    let found = error(cut.as_bytes(), &of);
    assert!(
        found.starts_with("f0:7: the record or list of deletions has no end"),
        "{found}"
    );
    let found = error(
        set(&[good]).replace("</PubmedArticleSet>", "").as_bytes(),
        &of,
    );
    assert!(found.contains("the file ends without"), "{found}");
    let found = error(b"<html></html>", &of);
    assert!(found.starts_with("f0:1: the file ends without"), "{found}");
    let mut lenient = of;
    lenient.max_bad_records = 1;
    let (shards, outcome) = run(&[whole.as_bytes()], &lenient, &HeldOut::default());
    assert_eq!(shards, [b"Good.\n".to_vec()]);
    assert_eq!(outcome.expect("made").counts.bad_records, 1);
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Sentences),
        Just(Format::Paragraphs),
        Just(Format::Lines),
        Just(Format::JsonLines),
        Just(Format::PubmedXml),
    ]
}

/// Bytes that mean something to some format, put together at random.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let atom = prop_oneof![
        8 => "[a-cA-C .,]{1,12}".prop_map(String::into_bytes),
        4 => Just(b"\n".to_vec()),
        3 => Just(b"\n\n".to_vec()),
        1 => Just(b"\r\n \t\n".to_vec()),
        1 => Just("\u{3b2} \u{e9}".as_bytes().to_vec()),
        1 => Just(b"\xff\xc3".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        3 => "[a-d. ]{0,9}".prop_map(|text| format!("\n{{\"text\": \"{text}\"}}\n").into_bytes()),
        1 => Just(b"{\"text\": [\"a\", 3]}".to_vec()),
        3 => (0_u32..9, 1_u32..3).prop_map(|(pmid, version)| record(pmid, version, "Ab. Ca.", "<Abstract><AbstractText>x</AbstractText></Abstract>").into_bytes()),
        1 => Just(b"<MedlineCitation>".to_vec()),
        1 => Just(b"</MedlineCitation>".to_vec()),
        1 => Just(b"<MedlineCitation><PMID>3</PMID>&x;<Article>".to_vec()),
        1 => (0_u32..9).prop_map(|pmid| format!("<DeleteCitation><PMID>{pmid}</PMID></DeleteCitation>").into_bytes()),
        1 => Just(b"<DeleteCitation>".to_vec()),
        1 => Just(b"</PubmedArticleSet>".to_vec()),
    ];
    vec(atom, 0..24).prop_map(|atoms| atoms.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Nothing panics, and the same bytes, numbers and messages come of any threads and pieces.
    #[test]
    fn shards_do_not_depend_on_threads_or_pieces(
        texts in vec(text(), 1..4),
        format in format(),
        ncbi in any::<bool>(),
        deduplicate in any::<bool>(),
        bad in prop_oneof![Just(0_u64), Just(2), Just(u64::MAX)],
        document in prop_oneof![Just(40_usize), Just(700), Just(1 << 20)],
        shard_bytes in prop_oneof![Just(30_u64), Just(u64::MAX)],
        threads in 1_usize..4,
        piece_bytes in prop_oneof![1_usize..20, Just(64), Just(500)],
    ) {
        let mut of = settings(format, if ncbi { NCBI } else { PLAIN });
        of.deduplicate = deduplicate;
        of.max_bad_records = bad;
        of.max_document_bytes = document;
        of.shard_bytes = shard_bytes;
        let mut held = HeldOut::new(4);
        held.add("abc");
        held.finish();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let expected = run(&texts, &of, &held);
        of.threads = threads;
        of.piece_bytes = piece_bytes;
        let found = run(&texts, &of, &held);
        if let Ok(outcome) = &found.1 {
            let counts = outcome.counts;
            prop_assert_eq!(
                counts.documents_read,
                counts.documents + counts.duplicates + counts.empty + counts.short + counts.long + counts.overlapping
            );
            prop_assert_eq!(counts.bytes_read, texts.iter().map(|text| text.len() as u64).sum::<u64>());
            let text = found.0.join(b"\n".as_slice());
            let blocks = String::from_utf8(text).expect("UTF-8");
            let blocks: Vec<&str> = blocks.split("\n\n").collect();
            prop_assert_eq!(blocks.len() as u64, counts.documents);
            let lines = blocks.iter().flat_map(|block| block.lines());
            prop_assert_eq!(lines.clone().count() as u64, counts.sentences);
            let words = lines.flat_map(|line| line.split(' '));
            prop_assert!(words.clone().all(|word| !word.is_empty()));
            prop_assert_eq!(words.count() as u64, counts.words);
        }
        prop_assert_eq!(&found.1, &expected.1);
        if found.1.is_ok() {
            prop_assert_eq!(found.0, expected.0);
        }
    }
}

/// The real text through the paper's steps: documents and sentences as its own README counts them.
#[test]
fn the_real_text_has_its_documents_and_sentences() {
    let Some(shared) = crate::real_files::shared("the_real_text") else {
        return;
    };
    let unzip: data::corpus::Open = |bytes, visit| {
        visit(None, &mut flate2::read::MultiGzDecoder::new(bytes));
        Ok(())
    };
    let file = |path: &Path| TextFile {
        name: path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned(),
        path: path.to_owned(),
    };
    for (name, documents, sentences, bytes) in [
        ("ncbi-disease-train-abstracts", 587, 5609, 740_339),
        ("jnlpba-train-abstracts", 1717, 15939, 2_566_841),
        ("ohsumed-abstracts", 7368, 64025, 9_330_707),
    ] {
        let path = shared.join(format!("corpus/{name}.txt.gz"));
        let sources = Sources {
            files: vec![file(&path)],
            open: unzip,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let mut of = settings(
            Format::Sentences,
            Steps {
                split: false,
                ..NCBI
            },
        );
        of.threads = 2;
        let outcome = make(
            &sources,
            &of,
            &HeldOut::default(),
            folder.path(),
            &mut |_| {},
        );
        let counts = outcome.expect("sound").counts;
        assert_eq!(counts.documents, documents, "{name}");
        assert_eq!(counts.sentences, sentences, "{name}");
        assert_eq!(counts.bytes_read, bytes, "{name}");
    }
    // `pubmed26n1334` holds records and deletions, `medsamp2014` records without abstracts.
    let names = ["medsamp2014.xml.gz", "pubmed26n1334.xml.gz"];
    let folder = tempfile::tempdir().expect("a folder");
    let files = names.map(|name| file(&shared.join("pubmed").join(name)));
    let sources = Sources {
        files: files.into(),
        open: unzip,
    };
    let of = settings(Format::PubmedXml, NCBI);
    let outcome = make(
        &sources,
        &of,
        &HeldOut::default(),
        folder.path(),
        &mut |_| {},
    );
    let counts = outcome.expect("sound").counts;
    assert_eq!(counts.bad_records, 0);
    assert_eq!(
        [
            counts.documents,
            counts.superseded,
            counts.deleted,
            counts.without_abstract
        ],
        [190, 0, 0, 65]
    );
}
