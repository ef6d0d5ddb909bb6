//! The counts of the real corpora beside the repository; each test says so on standard error and passes where they are absent.

use std::path::{Path, PathBuf};

use data::prepare::{Prepared, Settings, SplitFiles, TagStyle, prepare};
use data::readers::{Column, Columns, Options, Quoting, Separator, find_reader};
use data::statistics::Counting;
use data::tags::Encoding;

/// The folder of real data; `None`, with a word about it, where there is none.
#[expect(
    clippy::print_stderr,
    reason = "a test that proves nothing must say so"
)]
pub(crate) fn shared(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PIPELINE_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    if folder.join("README.md").is_file() {
        return Some(folder);
    }
    eprintln!(
        "{test}: skipped, no real data at `{}`; set PIPELINE_SHARED_DATA",
        folder.display()
    );
    None
}

struct Corpus {
    settings: Settings,
    splits: Vec<(&'static str, &'static str)>,
}

impl Corpus {
    fn new(reader: &str, splits: &[(&'static str, &'static str)]) -> Self {
        Self {
            settings: Settings {
                name: "corpus".to_owned(),
                reader: find_reader(reader).expect("in the table"),
                options: Options::default(),
                tags: TagStyle::default(),
                rename_labels: [].into(),
                labels: Vec::new(),
                counting: Counting::default(),
                divide: None,
                document_id_end: None,
                duplicates: data::prepare::Duplicates::Count,
            },
            splits: splits.to_vec(),
        }
    }

    fn prepare(&self, shared: &Path) -> Counts {
        let folder = tempfile::tempdir().expect("a folder");
        let splits: Vec<SplitFiles> = self
            .splits
            .iter()
            .map(|(name, file)| SplitFiles {
                name: (*name).to_owned(),
                files: vec![((*file).to_owned(), shared.join(file))],
            })
            .collect();
        let prepared = prepare(&splits, &self.settings, folder.path(), &mut |_| {})
            .expect("the real files are sound");
        for split in &splits {
            let path = folder.path().join(format!("{}.jsonl", split.name));
            let mut n = 0_u64;
            data::jsonl::read(&path, &mut |_| {
                n += 1;
                Ok(())
            })
            .expect("what was written reads back");
            let counts = Counts(prepared.clone());
            assert_eq!(n, counts.get(&split.name, "examples", ""));
        }
        Counts(prepared)
    }
}

struct Counts(Prepared);

impl Counts {
    /// A number; an empty split means all together, an empty class over all.
    fn get(&self, split: &str, metric: &str, class: &str) -> u64 {
        let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let row = self.0.rows.iter().find(|row| {
            row.split == given(split) && row.metric == metric && row.class == given(class)
        });
        row.unwrap_or_else(|| panic!("no row {split} {metric} {class}: {:#?}", self.0.rows))
            .value as u64
    }

    fn splits(&self, metric: &str, names: [&str; 3]) -> [u64; 3] {
        names.map(|name| self.get(name, metric, ""))
    }

    fn odd(&self, what: &str) -> u64 {
        self.0.oddities.get(what).map_or(0, |odd| odd.count)
    }
}

const SPLITS: [&str; 3] = ["train", "dev", "test"];

fn labels_of(path: &Path) -> Vec<String> {
    let text = fs_err::read_to_string(path).expect("readable");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn ncbi_disease_tokens() {
    let Some(shared) = shared("ncbi_disease_tokens") else {
        return;
    };
    let corpus = Corpus::new(
        "conll",
        &[
            ("train", "ner/NCBI-disease/train.txt"),
            ("dev", "ner/NCBI-disease/dev.txt"),
            ("test", "ner/NCBI-disease/test.txt"),
        ],
    );
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.splits("sentences", SPLITS), [5429, 923, 941]);
    assert_eq!(counts.splits("entities", SPLITS), [5134, 787, 960]);
    assert_eq!(counts.get("", "entities", "Disease"), 6881);
    assert_eq!(counts.splits("tokens", SPLITS), [135_701, 23_969, 24_497]);
    assert_eq!(
        counts.0.labels.labels,
        labels_of(&shared.join("ner/NCBI-disease/labels.txt"))
    );
    assert_eq!(counts.odd("irregular_tags"), 0);
}

#[test]
fn bc5cdr_tokens_by_the_lenient_rules() {
    let Some(shared) = shared("bc5cdr_tokens_by_the_lenient_rules") else {
        return;
    };
    let mut corpus = Corpus::new(
        "conll",
        &[
            ("train", "ner/BC5CDR/train.txt"),
            ("dev", "ner/BC5CDR/dev.txt"),
            ("test", "ner/BC5CDR/test.txt"),
        ],
    );
    corpus.settings.options.encoding = Encoding::Lenient;
    corpus.settings.tags = TagStyle::AsRead;
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.splits("sentences", SPLITS), [3951, 3957, 4145]);
    assert_eq!(counts.splits("entities", SPLITS), [9270, 9457, 9662]);
    assert_eq!(counts.odd("irregular_tags"), 0);
    assert_eq!(
        counts.0.labels.labels,
        labels_of(&shared.join("ner/BC5CDR/labels.txt"))
    );
    // The same files as IOB2: the same entities, and thousands of tags that break its rules.
    corpus.settings.options.encoding = Encoding::Iob2;
    corpus.settings.tags = TagStyle::Iob2;
    let strict = corpus.prepare(&shared);
    assert_eq!(strict.splits("entities", SPLITS), [9270, 9457, 9662]);
    assert_eq!(strict.get("train", "irregular_tags", ""), 6770 + 87);
}

#[test]
fn bc5cdr_typed_tokens() {
    let Some(shared) = shared("bc5cdr_typed_tokens") else {
        return;
    };
    let mut corpus = Corpus::new(
        "conll",
        &[
            ("train", "ner/BC5CDR/typed/train.tsv"),
            ("dev", "ner/BC5CDR/typed/dev.tsv"),
            ("test", "ner/BC5CDR/typed/test.tsv"),
        ],
    );
    corpus.settings.options.separator = Some(Separator::Text("\t".to_owned()));
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.splits("entities", SPLITS), [9385, 9593, 9809]);
}

#[test]
fn jnlpba_tokens() {
    let Some(shared) = shared("jnlpba_tokens") else {
        return;
    };
    let corpus = Corpus::new(
        "conll",
        &[
            ("train", "ner/JNLPBA/train.txt"),
            ("dev", "ner/JNLPBA/dev.txt"),
            ("test", "ner/JNLPBA/test.txt"),
        ],
    );
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.splits("sentences", SPLITS), [16_885, 1743, 3869]);
    assert_eq!(counts.splits("entities", SPLITS), [46_758, 4551, 8664]);
    // 46,757 chunks of train start with B; one, after a blank line inside it, with I.
    assert_eq!(counts.get("train", "irregular_tags", ""), 1);
    assert_eq!(counts.get("test", "irregular_tags", ""), 2);
    assert_eq!(
        counts.0.labels.labels,
        labels_of(&shared.join("ner/JNLPBA/labels.txt"))
    );
}

#[test]
fn ncbi_disease_documents() {
    let Some(shared) = shared("ncbi_disease_documents") else {
        return;
    };
    let corpus = Corpus::new(
        "pubtator",
        &[
            ("train", "ner/NCBI-disease/raw/NCBItrainset_corpus.txt"),
            ("dev", "ner/NCBI-disease/raw/NCBIdevelopset_corpus.txt"),
            ("test", "ner/NCBI-disease/raw/NCBItestset_corpus.txt"),
        ],
    );
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.get("", "documents", ""), 793);
    assert_eq!(counts.get("", "entities", ""), 6892);
    // The 790 concepts of the paper are distinct texts of the concept column, spaces and all.
    assert_eq!(counts.get("", "concepts", ""), 790);
    assert_eq!(counts.get("", "concept_identifiers", ""), 751);
    assert_eq!(counts.odd("spaced_concepts"), 5);
    assert_eq!(counts.odd("mention_text_differs"), 1);
    assert_eq!(counts.odd("duplicate_ids"), 1);
}

#[test]
fn bc5cdr_documents() {
    let Some(shared) = shared("bc5cdr_documents") else {
        return;
    };
    let corpus = Corpus::new(
        "pubtator",
        &[
            ("train", "ner/BC5CDR/raw/CDR_TrainingSet.PubTator.txt"),
            ("dev", "ner/BC5CDR/raw/CDR_DevelopmentSet.PubTator.txt"),
            ("test", "ner/BC5CDR/raw/CDR_TestSet.PubTator.txt"),
        ],
    );
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.splits("documents", SPLITS), [500, 500, 500]);
    assert_eq!(counts.get("", "documents", ""), 1500);
    assert_eq!(counts.get("", "entities", "Chemical"), 15_935);
    assert_eq!(counts.get("", "entities", "Disease"), 12_850);
    // One less each than the 4,409 and 5,818 that the corpus's authors state.
    assert_eq!(counts.get("", "document_concepts", "Chemical"), 4408);
    assert_eq!(counts.get("", "document_concepts", "Disease"), 5817);
    assert_eq!(counts.get("train", "document_concepts", "Chemical"), 1467);
    assert_eq!(counts.get("", "relations", ""), 3116);
    assert_eq!(counts.get("", "relations", "CID"), 3116);
    assert_eq!(counts.get("", "mentions_without_concept", ""), 226);
    assert_eq!(counts.0.labels.relations, ["CID"]);
    assert!(counts.0.oddities.is_empty(), "{:?}", counts.0.oddities);
}

fn blue(splits: &[(&'static str, &'static str)], quoting: Quoting, negative: &str) -> Corpus {
    let mut corpus = Corpus::new("tsv", splits);
    corpus.settings.options.quoting = quoting;
    corpus.settings.options.columns = Columns {
        id: Some(Column::Name("index".to_owned())),
        ..Columns::default()
    };
    corpus.settings.counting.negative_labels = vec![negative.to_owned()];
    corpus
}

#[test]
fn chemprot_rows() {
    let Some(shared) = shared("chemprot_rows") else {
        return;
    };
    let corpus = blue(
        &[
            ("train", "re/ChemProt/train.csv"),
            ("dev", "re/ChemProt/dev.csv"),
            ("test", "re/ChemProt/test.csv"),
        ],
        Quoting::Csv,
        "false",
    );
    let counts = corpus.prepare(&shared);
    // Read without quoting, the 59 quoted sentences of dev do not pass unnoticed.
    let unquoted = blue(&corpus.splits, Quoting::None, "false").prepare(&shared);
    assert_eq!(unquoted.get("dev", "quoted_fields", ""), 59);
    assert_eq!(counts.splits("examples", SPLITS), [18_760, 11_820, 16_350]);
    assert_eq!(counts.splits("relations", SPLITS), [4157, 2416, 3458]);
    assert_eq!(counts.get("", "relations", ""), 10_031);
    for (class, dev, all) in [
        ("CPR:3", 550, 1983),
        ("CPR:4", 1094, 5009),
        ("CPR:5", 116, 484),
        ("CPR:6", 199, 727),
        ("CPR:9", 457, 1828),
    ] {
        assert_eq!(counts.get("dev", "labels", class), dev);
        assert_eq!(counts.get("", "relations", class), all);
    }
    assert_eq!(counts.get("dev", "labels", "false"), 9404);
    assert_eq!(counts.splits("duplicate_ids", SPLITS), [10, 4, 14]);
    assert_eq!(counts.splits("duplicate_examples", SPLITS), [226, 145, 243]);
    assert_eq!(
        counts.0.labels.labels,
        ["CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9", "false"]
    );
}

#[test]
fn ddi_rows() {
    let Some(shared) = shared("ddi_rows") else {
        return;
    };
    let splits = [
        ("train", "re/DDI-2013/train.csv"),
        ("dev", "re/DDI-2013/dev.csv"),
        ("test", "re/DDI-2013/test.csv"),
    ];
    let counts = blue(&splits, Quoting::None, "DDI-false").prepare(&shared);
    assert_eq!(counts.splits("examples", SPLITS), [18_784, 7244, 5761]);
    for (class, expected) in [
        ("DDI-false", [15_845, 6240, 4782]),
        ("DDI-effect", [1214, 396, 360]),
        ("DDI-mechanism", [946, 373, 302]),
        ("DDI-advise", [633, 193, 221]),
        ("DDI-int", [146, 42, 96]),
    ] {
        let found = SPLITS.map(|split| counts.get(split, "labels", class));
        assert_eq!(found, expected, "{class}");
    }
    assert_eq!(counts.get("train", "relations", ""), 2939);
    assert_eq!(counts.get("", "relations", ""), 4922);
    assert!(counts.0.oddities.is_empty(), "{:?}", counts.0.oddities);
}

#[test]
fn bioasq_pairs_and_questions() {
    let Some(shared) = shared("bioasq_pairs_and_questions") else {
        return;
    };
    let mut corpus = Corpus::new(
        "squad",
        &[
            ("train", "qa/BioASQ-7b/BioASQ-train-factoid-partial.json"),
            ("test1", "qa/BioASQ-7b/BioASQ-test-factoid-7b-1.json"),
            ("test2", "qa/BioASQ-7b/BioASQ-test-factoid-7b-2.json"),
            ("test3", "qa/BioASQ-7b/BioASQ-test-factoid-7b-3.json"),
            ("test4", "qa/BioASQ-7b/BioASQ-test-factoid-7b-4.json"),
            ("test5", "qa/BioASQ-7b/BioASQ-test-factoid-7b-5.json"),
        ],
    );
    corpus.settings.counting.question_id_separators = vec!["_".to_owned(), ":".to_owned()];
    let counts = corpus.prepare(&shared);
    for (split, pairs, questions) in [
        // Two ids of the stand-in ask the same question: 176 texts.
        ("train", 1615, 177),
        ("test1", 98, 39),
        ("test2", 56, 25),
        ("test3", 84, 29),
        ("test4", 90, 34),
        ("test5", 79, 35),
    ] {
        assert_eq!(counts.get(split, "pairs", ""), pairs, "{split}");
        assert_eq!(counts.get(split, "questions", ""), questions, "{split}");
    }
    assert_eq!(counts.get("test1", "unanswered", ""), 98);
    assert_eq!(counts.get("train", "unanswered", ""), 0);
    assert_eq!(counts.get("train", "question_texts", ""), 176);
}

#[test]
fn squad_questions() {
    let Some(shared) = shared("squad_questions") else {
        return;
    };
    let corpus = Corpus::new(
        "squad",
        &[
            ("train", "qa/SQuAD-v1.1/train-slice.json"),
            ("dev", "qa/SQuAD-v1.1/dev-v1.1.part.json"),
        ],
    );
    let counts = corpus.prepare(&shared);
    assert_eq!(counts.get("dev", "questions", ""), 8839);
    assert_eq!(counts.get("dev", "pairs", ""), 8839);
    assert_eq!(counts.get("dev", "documents", ""), 40);
    assert_eq!(counts.get("train", "pairs", ""), 4285);
    assert_eq!(counts.get("train", "empty_answers", ""), 1);
    assert_eq!(counts.odd("moved_answers"), 0);
}

/// The pairs made from the original files, against the rows that BLUE ships of them: id to text and label.
#[test]
fn chemprot_pairs_are_blues_but_for_its_sentences() {
    let Some(shared) = shared("chemprot_pairs_are_blues_but_for_its_sentences") else {
        return;
    };
    let raw = |split: &str, suffix: &str| {
        format!("re/ChemProt/raw/chemprot_{split}_abstracts{suffix}.tsv")
    };
    let rows = |reader: &str, options: &Options, file: &str| {
        let reader = find_reader(reader).expect("in the table");
        let mut rows = std::collections::BTreeMap::<String, Vec<(String, String)>>::new();
        let path = shared.join(file);
        data::readers::read_file(reader, &path, file, "dev", 0, options, &mut |example, _| {
            let data::example::Example::Classification(row) = example else {
                panic!("{example:?}");
            };
            rows.entry(row.id).or_default().push((row.label, row.text));
            Ok(())
        })
        .expect("sound");
        for texts in rows.values_mut() {
            texts.sort();
        }
        rows
    };
    let blue = Options {
        columns: Columns {
            id: Some(Column::Name("index".to_owned())),
            ..Columns::default()
        },
        ..Options::default()
    };
    let n = |rows: &std::collections::BTreeMap<String, Vec<(String, String)>>| {
        let all = rows.values().flatten();
        let relations = all.clone().filter(|(label, _)| label != "false").count();
        (all.count(), relations)
    };
    let (mut equal, mut odd) = (0, 0);
    for (split, suffix, file, expected) in [
        ("training", "", "train", [18_270, 28, 518]),
        ("development", "", "dev", [11_511, 100, 409]),
        ("test", "_gs", "test", [15_897, 12, 465]),
    ] {
        let ours = rows("chemprot_pairs", &Options::default(), &raw(split, suffix));
        let theirs = rows("tsv", &blue, &format!("re/ChemProt/{file}.csv"));
        // Every relation is there with its class, and no pair has another class.
        assert_eq!(n(&ours).1, n(&theirs).1, "{file}");
        for (id, rows) in &ours {
            if let Some(others) = theirs.get(id) {
                let classes = |rows: &[(String, String)]| -> Vec<String> {
                    rows.iter().map(|row| row.0.clone()).collect()
                };
                assert_eq!(classes(rows), classes(others), "{id}");
            }
        }
        // The rest are pairs without a relation in sentences that only one of the two splitters parts.
        let here = ours.keys().filter(|id| !theirs.contains_key(*id)).count();
        let there = theirs.keys().filter(|id| !ours.contains_key(*id)).count();
        assert_eq!([n(&ours).0, here, there], expected, "{file}");
        // Where a text differs though it is ASCII, one of the two holds the other: it was not parted.
        for (id, rows) in &ours {
            for ((_, text), (_, other)) in rows.iter().zip(theirs.get(id).into_iter().flatten()) {
                let is_part = text.contains(other.as_str()) || other.contains(text.as_str());
                odd += usize::from(text.is_ascii() && !is_part);
                equal += usize::from(text == other);
            }
        }
    }
    // 14 where each splitter parts what the other does not.
    assert_eq!((equal, odd), (39_365, 14));
}
