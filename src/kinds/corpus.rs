//! Makes a corpus of raw text: sentences, tokens, documents left out, in shards. Knows nothing of formats, caching or scheduling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::corpus::config::{Format, Lengths, OnOverlap, Settings, Steps, Tokens};
use data::corpus::steps::overlap::HeldOut;
use data::corpus::{Outcome, Sources, make};
use data::error::DataError;
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::stage_error;
use super::fetch::each_text;
use super::texts::{find_files, is_yes, problem, tell, yes};

/// `with:` of a stage of kind `corpus`.
///
/// `needs` names `text` (files, or folders of them; gzip, zstd and tar are known by their content) and, where documents
/// of test sets are to be kept out, `held_out`: canonical examples (`.jsonl`, or the folder of a `dataset` stage) or text
/// with a sentence a line (`.txt`). The output `corpus` is a folder of shards `00000.txt` …: a sentence a line, an empty
/// line between documents. The steps run in the order of the options below; the defaults are those of NCBI-BERT's text.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corpus {
    /// The corpus's name in every number, such as `pubmed`.
    pub name: String,
    /// How documents stand in the files.
    pub format: Format,
    /// `json_lines`: the fields that are text, in the order wanted; `text` unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text_fields: Vec<String>,
    /// `pubmed_xml`: begin each document with its title.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub titles: bool,
    /// `pubmed_xml`: begin each section of an abstract with its label, such as `METHODS:`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub section_labels: bool,
    /// `pubmed_xml`: leave out records without an abstract.
    #[serde(default, skip_serializing_if = "is_default")]
    pub abstracts_only: bool,
    /// Find sentences in running text; unless given, in every format but `sentences`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_sentences: Option<bool>,
    /// Lower-case, as Python's `str.lower`.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub lower_case: bool,
    /// Make each run of characters outside ASCII one space.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub ascii_only: bool,
    /// How a sentence becomes tokens, with one space between them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: Tokens,
    /// Attach `'s` to the word before it again, which the Treebank's rules part from it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub attach_possessives: bool,
    /// Leave out documents whose text, after these steps, came before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deduplicate: bool,
    /// Leave out sentences of fewer words.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_sentence_words: u64,
    /// Leave out sentences of more words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sentence_words: Option<u64>,
    /// Leave out documents of fewer words.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_document_words: u64,
    /// Leave out documents of more words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_document_words: Option<u64>,
    /// What becomes of documents with a sentence of the input `held_out`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_overlap: OnOverlap,
    /// Splits (`SPLIT.jsonl`) that count where `held_out` is a folder; unless given, all but `train`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out_splits: Vec<String>,
    /// Sentences of `held_out` with fewer letters and digits are not looked for: they stand in many texts.
    #[serde(default = "forty", skip_serializing_if = "is_forty")]
    pub held_out_min_characters: u32,
    /// So many broken lines and records are left out, counted and told; with one more the stage fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_bad_records: u64,
    /// Bytes after which a shard is closed; documents are never parted.
    #[serde(default = "shard", skip_serializing_if = "is_shard")]
    pub shard_bytes: u64,
    /// Longer documents (bytes as read) are cut between lines; lines and records longer by themselves are broken.
    #[serde(default = "document", skip_serializing_if = "is_document")]
    pub max_document_bytes: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A default, and whether a value is it.
macro_rules! defaults {
    ($($name:ident, $is:ident: $type:ty = $value:expr;)*) => {$(
        fn $name() -> $type {
            $value
        }
        #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for, of small types and larger ones")]
        fn $is(value: &$type) -> bool {
            *value == $value
        }
    )*};
}

defaults! {
    forty, is_forty: u32 = 40;
    shard, is_shard: u64 = 100_000_000;
    document, is_document: u64 = 4 << 20;
}

/// Bytes a worker takes at once.
const PIECE_BYTES: usize = 1 << 20;
/// Documents that fit into memory many times over.
const LARGEST_DOCUMENT: u64 = 64 << 20;

/// Endings of files in folders, by format.
fn endings(format: Format) -> &'static [&'static str] {
    match format {
        Format::Sentences | Format::Paragraphs | Format::Lines => &[
            ".txt", ".txt.gz", ".txt.zst", ".tar", ".tar.gz", ".tgz", ".tar.zst",
        ],
        Format::JsonLines => &[
            ".jsonl",
            ".jsonl.gz",
            ".jsonl.zst",
            ".ndjson",
            ".ndjson.gz",
            ".json.gz",
            ".tar",
            ".tar.gz",
            ".tgz",
        ],
        Format::PubmedXml => &[".xml", ".xml.gz", ".xml.zst", ".tar", ".tar.gz", ".tgz"],
    }
}

impl StageKind for Corpus {
    const NAME: &'static str = "corpus";
    /// 1: first.
    const VERSION: u32 = 1;
    const DOC: &'static str = "make a corpus of raw text: sentences, tokens, documents left out";

    fn ports(&self) -> Ports {
        Ports::inputs(["text"])
            .optional("held_out")
            .outputs(["corpus"])
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            let help = "name the corpus, such as `pubmed`";
            problems.push(problem(&["name"], "`name` is empty", help));
        }
        self.check_use(&mut problems);
        for (least, most, what) in [
            (self.min_sentence_words, self.max_sentence_words, "sentence"),
            (self.min_document_words, self.max_document_words, "document"),
        ] {
            if let Some(most) = most
                && most < least.max(1)
            {
                let message = format!("no {what} has {} to {most} words", least.max(1));
                let path = format!("max_{what}_words");
                problems.push(problem(&[&path], message, "give a larger bound"));
            }
        }
        if self.shard_bytes == 0 {
            let help = "give the size of a file, such as 100000000";
            problems.push(problem(&["shard_bytes"], "no shard is that small", help));
        }
        if !(1..=LARGEST_DOCUMENT).contains(&self.max_document_bytes) {
            let help = format!("give 1 to {LARGEST_DOCUMENT} bytes");
            let message = format!("{} is out of bounds", self.max_document_bytes);
            problems.push(problem(&["max_document_bytes"], message, help));
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        self.make(stage).map_err(stage_error)
    }
}

impl Corpus {
    /// Options that are given although the format does not know them.
    fn check_use(&self, problems: &mut Vec<ConfigProblem>) {
        let given = [
            (
                "text_fields",
                !self.text_fields.is_empty(),
                Format::JsonLines,
            ),
            ("titles", !self.titles, Format::PubmedXml),
            ("section_labels", self.section_labels, Format::PubmedXml),
            ("abstracts_only", self.abstracts_only, Format::PubmedXml),
        ];
        for (option, given, format) in given {
            if given && self.format != format {
                let needed = serde_json::to_value(format).unwrap_or_default();
                let needed = needed.as_str().unwrap_or_default();
                problems.push(problem(
                    &[option],
                    format!("`{option}` means nothing to this format"),
                    format!("remove it; it belongs to `format: {needed}`"),
                ));
            }
        }
        for (i, field) in self.text_fields.iter().enumerate() {
            if self.text_fields[..i].contains(field) {
                let message = format!("the field `{field}` stands twice");
                problems.push(problem(
                    &["text_fields", &i.to_string()],
                    message,
                    "remove one",
                ));
            }
        }
    }

    fn settings(&self, cores: u32) -> Settings {
        let bounds = |least: u64, most: Option<u64>| (least, most.unwrap_or(u64::MAX));
        Settings {
            format: self.format,
            text_fields: match self.text_fields.is_empty() {
                true => vec!["text".to_owned()],
                false => self.text_fields.clone(),
            },
            titles: self.titles,
            section_labels: self.section_labels,
            abstracts_only: self.abstracts_only,
            steps: Steps {
                split: self.split_sentences.unwrap_or(!self.format.has_sentences()),
                lower_case: self.lower_case,
                ascii: self.ascii_only,
                tokens: self.tokens,
                possessives: self.attach_possessives,
            },
            deduplicate: self.deduplicate,
            lengths: Lengths {
                sentence: bounds(self.min_sentence_words, self.max_sentence_words),
                document: bounds(self.min_document_words, self.max_document_words),
            },
            on_overlap: self.on_overlap,
            max_bad_records: self.max_bad_records,
            shard_bytes: self.shard_bytes,
            max_document_bytes: usize::try_from(self.max_document_bytes).unwrap_or(usize::MAX),
            piece_bytes: PIECE_BYTES,
            threads: cores as usize,
        }
    }

    fn make(&self, stage: &StageContext) -> Result<StageReport, DataError> {
        let (files, mut warnings) = find_files(stage, "text", endings(self.format))?;
        let sources = Sources {
            files,
            open: each_text,
        };
        let held = self.held_out(stage, &mut warnings)?;
        let folder = stage.output("corpus");
        fs_err::create_dir_all(&folder)?;
        let total = sources.size_bytes()?;
        // Many thousand pieces a second would be many thousand lines: one a step of the total is enough.
        let step = total / 1000;
        let mut told = 0;
        let mut progress = |done: u64| {
            if done >= told + step {
                told = done;
                tell(stage, done, Some(total), "making the corpus");
            }
        };
        let settings = self.settings(stage.cores);
        let outcome = make(&sources, &settings, &held, &folder, &mut progress)?;
        warnings.extend(warning_of(&outcome));
        Ok(StageReport {
            numbers: self.rows(&outcome),
            warnings,
            ..StageReport::default()
        })
    }

    /// Sentences of the input `held_out`, where there is one.
    fn held_out(
        &self,
        stage: &StageContext,
        warnings: &mut Vec<Diagnostic>,
    ) -> Result<HeldOut, DataError> {
        let mut held = HeldOut::new(self.held_out_min_characters as usize);
        if !stage.inputs.contains_key("held_out") {
            return Ok(held);
        }
        let (files, ignored) = find_files(stage, "held_out", &[".jsonl", ".txt"])?;
        // A folder of examples holds `labels.json` besides; there is nothing to say about it.
        drop(ignored);
        let mut taken = 0;
        for file in &files {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let (stem, is_text) = match (name.strip_suffix(".jsonl"), name.strip_suffix(".txt")) {
                (Some(stem), _) => (stem, false),
                (None, Some(stem)) => (stem, true),
                // An input that is a file has its port's name and no ending.
                (None, None) => ("", !begins_with_object(&file.path)?),
            };
            let is_wanted = match self.held_out_splits.is_empty() {
                true => stem != "train",
                false => stem.is_empty() || self.held_out_splits.iter().any(|split| split == stem),
            };
            if is_wanted {
                taken += 1;
                match is_text {
                    true => held.add_lines(&file.path)?,
                    false => held.add_examples(&file.path)?,
                }
            }
        }
        held.finish();
        if held.is_empty() {
            let warning = Diagnostic::warning(
                "data::held_out",
                format!(
                    "no sentence of the input `held_out` is looked for ({taken} files were read)"
                ),
            );
            warnings.push(warning.help("see `held_out_splits` and `held_out_min_characters`"));
        }
        Ok(held)
    }

    /// Numbers of the corpus, then what was left out, with the reason as the class.
    fn rows(&self, outcome: &Outcome) -> Vec<MetricRow> {
        let counts = outcome.counts;
        let row = |metric: &str, class: Option<&str>, value: u64, n: u64| MetricRow {
            dataset: Some(self.name.clone()),
            split: None,
            metric: metric.to_owned(),
            class: class.map(str::to_owned),
            value: value as f64,
            n: Some(n),
        };
        let read = counts.documents_read;
        let removed = match self.on_overlap {
            OnOverlap::Count => 0,
            OnOverlap::Remove | OnOverlap::Refuse => counts.overlapping,
        };
        let without = match self.abstracts_only {
            true => counts.without_abstract,
            false => 0,
        };
        let reasons = [
            ("superseded", counts.superseded),
            ("deleted", counts.deleted),
            ("without_abstract", without),
            ("empty", counts.empty),
            ("duplicate", counts.duplicates),
            ("too_short", counts.short),
            ("too_long", counts.long),
            ("overlapping", removed),
        ];
        let dropped = reasons.iter().map(|(_, value)| value).sum();
        let mut rows: Vec<MetricRow> = [
            ("documents", counts.documents),
            ("sentences", counts.sentences),
            ("words", counts.words),
            ("bytes", counts.bytes),
            ("shards", counts.shards),
            ("documents_read", read),
            ("bytes_read", counts.bytes_read),
            ("dropped_documents", dropped),
        ]
        .into_iter()
        .map(|(metric, value)| row(metric, None, value, read))
        .collect();
        for (reason, value) in reasons {
            rows.push(row("dropped_documents", Some(reason), value, read));
        }
        for (reason, value) in [
            ("too_short", counts.short_sentences),
            ("too_long", counts.long_sentences),
        ] {
            rows.push(row("dropped_sentences", Some(reason), value, read));
        }
        for (metric, value) in [
            ("overlapping_documents", counts.overlapping),
            ("held_out_sentences", counts.held_out_sentences),
            ("records_without_abstract", counts.without_abstract),
            ("cut_documents", counts.cut_documents),
            ("bad_records", counts.bad_records),
        ] {
            rows.push(row(metric, None, value, read));
        }
        rows
    }
}

fn begins_with_object(path: &std::path::Path) -> Result<bool, DataError> {
    let mut head = [0];
    let mut file = fs_err::File::open(path)?;
    let got = std::io::Read::read(&mut file, &mut head)?;
    Ok(got == 1 && head[0] == b'{')
}

/// Broken lines and records, the first with their places.
fn warning_of(outcome: &Outcome) -> Option<Diagnostic> {
    if outcome.counts.bad_records == 0 {
        return None;
    }
    let mut warning = Diagnostic::warning(
        "data::bad_records",
        format!(
            "{} lines or records were broken and left out",
            outcome.counts.bad_records
        ),
    )
    .help("look at the first places to judge it; `max_bad_records: 0` makes each an error");
    for sample in &outcome.samples {
        warning = warning.detail(sample.clone());
    }
    Some(warning)
}

#[cfg(test)]
mod tests;
