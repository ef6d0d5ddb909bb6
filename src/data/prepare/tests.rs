//! Data sets of a few lines through `prepare`.

use super::*;
use crate::jsonl;
use crate::readers::find_reader;

fn settings(reader: &str) -> Settings {
    Settings {
        name: "toy".to_owned(),
        reader: find_reader(reader).expect("in the table"),
        options: Options::default(),
        tags: TagStyle::default(),
        rename_labels: BTreeMap::new(),
        labels: Vec::new(),
        counting: Counting::default(),
        divide: None,
        document_id_end: None,
        duplicates: Duplicates::Count,
    }
}

fn run(settings: &Settings, texts: &[(&str, &str)]) -> Result<(Prepared, Vec<Example>), DataError> {
    let folder = tempfile::tempdir().expect("a folder");
    let splits: Vec<SplitFiles> = texts
        .iter()
        .map(|(name, text)| {
            let path = folder.path().join(format!("{name}.txt"));
            fs_err::write(&path, text).expect("written");
            SplitFiles {
                name: (*name).to_owned(),
                files: vec![((*name).to_owned(), path)],
            }
        })
        .collect();
    let prepared = prepare(&splits, settings, folder.path(), &mut |_| {})?;
    let mut examples = Vec::new();
    for split in &splits {
        let path = folder.path().join(format!("{}.jsonl", split.name));
        jsonl::read(&path, &mut |example| {
            examples.push(example);
            Ok(())
        })?;
    }
    Ok((prepared, examples))
}

fn tags(example: &Example) -> &[String] {
    match example {
        Example::Tagging(example) => &example.tags,
        other => panic!("not a sentence: {other:?}"),
    }
}

#[test]
fn writes_tags_in_the_style_wanted() {
    let text = "a I-X\nb I-Y\nc I-Y\n";
    let mut settings = settings("conll");
    settings.rename_labels = [("Y".to_owned(), "X".to_owned())].into();
    let (prepared, examples) = run(&settings, &[("train", text)]).expect("prepared");
    assert_eq!(tags(&examples[0]), ["B-X", "B-X", "I-X"]);
    assert_eq!(prepared.labels.labels, ["B-X", "I-X"]);
    assert_eq!(prepared.oddities["irregular_tags"].count, 2);
    settings.tags = TagStyle::Iobes;
    let (_, examples) = run(&settings, &[("train", text)]).expect("prepared");
    assert_eq!(tags(&examples[0]), ["S-X", "B-X", "E-X"]);
    settings.tags = TagStyle::AsRead;
    settings
        .rename_labels
        .insert("Z".to_owned(), "X".to_owned());
    let (prepared, examples) = run(&settings, &[("train", text)]).expect("prepared");
    assert_eq!(tags(&examples[0]), ["I-X", "I-X", "I-X"]);
    assert_eq!(prepared.unused, ["rename_labels.Z"]);
}

#[test]
fn makes_ids_unique_and_counts_them() {
    let text = "index\tsentence\tlabel\na\tx\ty\na\tx\tz\na#2\tv\ty\n";
    let mut settings = settings("tsv");
    settings.options.columns.id = Some(crate::readers::Column::Index(0));
    let (prepared, examples) = run(&settings, &[("dev", text)]).expect("prepared");
    let ids: Vec<&str> = examples.iter().map(Example::id).collect();
    assert_eq!(ids, ["a", "a#2", "a#2#2"]);
    assert_eq!(prepared.oddities["duplicate_ids"].count, 2);
}

#[test]
fn refuses_unknown_labels_and_empty_splits() {
    let mut settings = settings("conll");
    settings.labels = vec!["B-Disease".to_owned(), "O".to_owned()];
    let error = run(&settings, &[("train", "a B-Disese\n")]).expect_err("a fault");
    assert_eq!(
        error.to_string(),
        "the label `B-Disese` of example `train-1` in split `train` is not in `labels`"
    );
    assert_eq!(
        error.help(),
        Some("add it to `labels`, or set `rename_labels: {Disese: Disease}`")
    );
    let error = run(&settings, &[("dev", "\n\n")]).expect_err("a fault");
    assert_eq!(error.to_string(), "split `dev` has no examples in `dev`");
}

/// 60 sentences of 20 documents, the last two sentences of each alike in all of them.
fn twenty_documents() -> String {
    let mut text = String::new();
    for document in 0..20 {
        for sentence in 0..3 {
            let word = if sentence == 0 {
                document
            } else {
                100 + sentence
            };
            text.push_str(&format!("d{document}.s{sentence}\tword {word}\tx\n"));
        }
    }
    text
}

fn divided() -> Settings {
    let mut settings = settings("tsv");
    settings.options.header = Some(false);
    settings.options.columns =
        serde_json::from_str(r#"{"id":0,"text":1,"label":2}"#).expect("columns");
    settings.document_id_end = Some(".s".to_owned());
    settings.divide = Some(
        serde_json::from_str(
            r#"{"split":"all","into":{"dev":0.1,"train":0.7,"test":0.2},"seed":3}"#,
        )
        .expect("a division"),
    );
    settings
}

/// `run` reads back the inputs; of a divided one the parts are read instead.
fn parts(settings: &Settings, text: &str) -> Result<(Prepared, Vec<Vec<String>>), DataError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("all.tsv");
    fs_err::write(&path, text).expect("written");
    let split = SplitFiles {
        name: "all".to_owned(),
        files: vec![("all".to_owned(), path)],
    };
    let prepared = prepare(&[split], settings, folder.path(), &mut |_| {})?;
    let parts = ["train", "dev", "test"].map(|name| {
        let mut ids = Vec::new();
        let path = folder.path().join(format!("{name}.jsonl"));
        jsonl::read(&path, &mut |example| {
            ids.push(example.id().to_owned());
            Ok(())
        })
        .expect("written");
        ids
    });
    Ok((prepared, parts.into()))
}

#[test]
fn documents_stay_together_wherever_they_stand_in_the_file() {
    let text = twenty_documents();
    let (prepared, found) = parts(&divided(), &text).expect("it divides");
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [42, 6, 12]);
    let documents = |ids: &[String]| -> BTreeSet<String> {
        ids.iter()
            .map(|id| id[..id.find('.').expect("a dot")].to_owned())
            .collect()
    };
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(documents(&found[a]).is_disjoint(&documents(&found[b])));
    }
    let number = |metric: &str, split: &str, class: &str| {
        let row = prepared.rows.iter().find(|row| {
            row.metric == metric
                && row.split.as_deref() == Some(split)
                && row.class.as_deref() == Some(class)
        });
        row.map(|row| row.value)
    };
    assert_eq!(number("shared_documents", "test", "train"), Some(0.0));
    assert_eq!(number("shared_examples", "dev", "train"), Some(4.0));

    let mut documents_turned: Vec<&str> = text.lines().collect();
    documents_turned.reverse();
    documents_turned.sort_by_key(|line| {
        line.split(".s").nth(1).map(|rest| rest.starts_with('0')) != Some(true)
    });
    let (_, turned) = parts(&divided(), &(documents_turned.join("\n") + "\n")).expect("it divides");
    for (a, b) in found.iter().zip(&turned) {
        assert_eq!(documents(a), documents(b));
    }
}

#[test]
fn examples_alike_are_not_parted_when_examples_are_divided() {
    let mut settings = divided();
    settings.duplicates = Duplicates::Refuse;
    let error = parts(&settings, &twenty_documents()).expect_err("documents share sentences");
    let error = error.to_string();
    assert!(
        error.starts_with("4 examples of `dev` also stand in `train`, the first is `d"),
        "{error}"
    );
    assert!(
        error.ends_with(", 8 of `test` in `dev`, 8 of `test` in `train`"),
        "{error}"
    );
    settings.divide.as_mut().expect("given").by = Unit::Example;
    settings.divide.as_mut().expect("given").into = [("train", 0.5), ("dev", 0.1), ("test", 0.4)]
        .map(|(name, share)| (name.to_owned(), share))
        .into();
    let (_, found) = parts(&settings, &twenty_documents()).expect("nothing is shared");
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 60);
}
