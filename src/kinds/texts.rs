//! Inputs that are text, and how text becomes words: what the kinds over the data room share. Knows no stages by name.

use std::path::Path;

use data::error::DataError;
use data::texts::{TextFile, Texts};
use data::vocabulary::{Stated, Vocabulary};
use data::wordpiece::Settings;
use flow::diagnostic::Diagnostic;
use flow::event::Progress;
use flow::kind::{ConfigProblem, StageContext, StageInput};

use super::dataset::{files_below, listed, mismatch};
use super::fetch::decompressed;

pub(crate) use data::wordpiece::{composed, decomposed};

/// Endings of text in folders.
const ENDINGS: [&str; 3] = [".txt", ".txt.gz", ".txt.zst"];

/// The text of an input: a file (plain, gzip or zstd), or the files of a folder that end in `.txt`, `.txt.gz` or
/// `.txt.zst`, by name. Other files of a folder are named in a warning.
pub(super) fn find_texts(
    stage: &StageContext,
    port: &str,
) -> Result<(Texts, Vec<Diagnostic>), DataError> {
    let (files, warnings) = find_files(stage, port, &ENDINGS)?;
    let texts = Texts {
        files,
        decode: decompressed,
    };
    Ok((texts, warnings))
}

/// The files of an input: those it names, and of its folders those with one of `endings`, by name. Other files of a
/// folder are named in a warning, but for checksums.
pub(super) fn find_files(
    stage: &StageContext,
    port: &str,
    endings: &[&str],
) -> Result<(Vec<TextFile>, Vec<Diagnostic>), DataError> {
    let Some(input) = stage.inputs.get(port) else {
        return Err(mismatch(
            format!("the stage has no input `{port}`"),
            format!("add `{port}: FILE` to `needs`"),
        ));
    };
    let listed = |names: &[&str]| listed(names.iter().copied());
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for place in places(input) {
        let path = stage.folder.join(place);
        if !path.is_dir() {
            let name = place.to_owned();
            files.push(TextFile { name, path });
            continue;
        }
        for inner in files_below(&path)? {
            let name = format!("{place}/{inner}");
            match endings.iter().any(|ending| inner.ends_with(ending)) {
                true => files.push(TextFile {
                    path: path.join(inner),
                    name,
                }),
                false if inner.ends_with(".md5") || inner.ends_with(".sha256") => {}
                false => others.push(name),
            }
        }
    }
    if files.is_empty() {
        return Err(mismatch(
            format!("the input `{port}` is a folder without text"),
            match others.is_empty() {
                true => "name a file, or a folder that holds some".to_owned(),
                false => format!(
                    "text ends in {}; it holds {}",
                    listed(endings),
                    listed(&names(&others))
                ),
            },
        ));
    }
    let mut warnings = Vec::new();
    if !others.is_empty() {
        let warning = Diagnostic::warning(
            "data::ignored",
            format!("files of the input `{port}` are no text and were not read"),
        );
        warnings.push(warning.help(format!(
            "they are {}; text ends in {}",
            listed(&names(&others)),
            listed(endings)
        )));
    }
    Ok((files, warnings))
}

fn names(files: &[String]) -> Vec<&str> {
    files.iter().map(String::as_str).collect()
}

fn places(input: &StageInput) -> Vec<&str> {
    match input.many {
        true => input.items.iter().map(|item| item.path.as_str()).collect(),
        false => vec![input.place.as_str()],
    }
}

/// A vocabulary from an input, and what its file says about text.
pub(super) fn load_vocabulary(
    path: &Path,
    port: &str,
) -> Result<(Vocabulary, Option<Stated>), DataError> {
    if path.is_dir() {
        return Err(mismatch(
            format!("the input `{port}` is a folder"),
            "name the file in it: `vocab.txt` or `tokenizer.json`",
        ));
    }
    Vocabulary::parse(&fs_err::read(path)?, port)
}

/// Refuses a `tokenizer.json` that says otherwise than the stage's configuration.
pub(super) fn agree(stated: Option<Stated>, settings: Settings) -> Result<(), DataError> {
    let stated = stated.unwrap_or_default();
    let disagree = |option: &str, stated: String, wanted: String| {
        Err(mismatch(
            format!("the vocabulary's file states `{option}: {stated}`, the stage says `{wanted}`"),
            format!(
                "set `{option}: {stated}`, or give the vocabulary as `vocab.txt`, which states nothing"
            ),
        ))
    };
    if let Some(lower_case) = stated.lower_case.filter(|it| *it != settings.lower_case) {
        return disagree(
            "lower_case",
            lower_case.to_string(),
            settings.lower_case.to_string(),
        );
    }
    if let Some(strip) = stated
        .strip_accents
        .filter(|it| *it != settings.strip_accents)
    {
        return disagree(
            "strip_accents",
            strip.to_string(),
            settings.strip_accents.to_string(),
        );
    }
    if let Some(chars) = stated
        .max_word_chars
        .filter(|it| *it != settings.max_word_chars)
    {
        return disagree(
            "max_word_chars",
            chars.to_string(),
            settings.max_word_chars.to_string(),
        );
    }
    Ok(())
}

/// How text becomes words, from the options of that name; accents go where case goes unless said.
pub(super) fn words(
    lower_case: bool,
    strip_accents: Option<bool>,
    max_word_chars: u32,
) -> Settings {
    Settings {
        lower_case,
        strip_accents: strip_accents.unwrap_or(lower_case),
        max_word_chars: max_word_chars as usize,
    }
}

/// Says how many bytes of the input have been read.
pub(super) fn tell(stage: &StageContext, done: u64, total: Option<u64>, text: &str) {
    stage.progress(&Progress {
        done,
        total,
        unit: "B".to_owned(),
        text: text.to_owned(),
    });
}

/// A problem of a configuration.
pub(super) fn problem(
    path: &[&str],
    message: impl Into<String>,
    help: impl Into<String>,
) -> ConfigProblem {
    ConfigProblem {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        message: message.into(),
        help: Some(help.into()),
    }
}

pub(super) fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
pub(super) fn is_yes(value: &bool) -> bool {
    *value
}

/// ELECTRA's bound of a word (spec B.2).
pub(super) fn two_hundred() -> u32 {
    200
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
pub(super) fn is_two_hundred(value: &u32) -> bool {
    *value == 200
}

#[cfg(test)]
pub(super) mod testing {
    //! A stage in a folder, for the tests of the kinds over text.

    use std::collections::BTreeMap;
    use std::path::Path;

    use flow::digest::Use;
    use flow::kind::{InputItem, StageContext, StageInput, StageReport};

    /// A stage with files as inputs: port, path inside the folder, text.
    pub(in crate::kinds) fn stage(folder: &Path, files: &[(&str, &str, &str)]) -> StageContext {
        let mut inputs = BTreeMap::new();
        for (port, path, text) in files {
            let full = folder.join(path);
            fs_err::create_dir_all(full.parent().expect("it has one")).expect("made");
            fs_err::write(&full, text).expect("written");
            let place = path.split('/').next().expect("a path").to_owned();
            let item = InputItem {
                path: place.clone(),
                axes: Vec::new(),
                digest: Use::File.digest(text.as_bytes()),
                key: None,
                device: None,
                notes: BTreeMap::new(),
                made_by: None,
            };
            let input = StageInput {
                place,
                items: vec![item],
                many: false,
            };
            inputs.insert((*port).to_owned(), input);
        }
        StageContext {
            cores: 2,
            ..StageContext::in_folder(folder, inputs)
        }
    }

    /// The value of a number.
    pub(in crate::kinds) fn row(report: &StageReport, metric: &str, class: Option<&str>) -> f64 {
        let mut rows = report.numbers.iter();
        let row = rows.find(|row| row.metric == metric && row.class.as_deref() == class);
        row.unwrap_or_else(|| panic!("no row {metric} {class:?}"))
            .value
    }
}
