//! Packs a corpus into training examples, a file for each length. Knows nothing of the builder, caching or scheduling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use data::error::DataError;
use data::packed::builder::{self, SHORTEST};
use data::packed::pack::{self, Packed, Settings, Step, Target};
use flow::cost::{Cost, Known};
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::stage_error;
use super::facts;
use super::texts::{
    agree, find_texts, is_two_hundred, is_yes, load_vocabulary, problem, tell, two_hundred, words,
    yes,
};

/// `with:` of a stage of kind `pack`.
///
/// `needs` names `text` (a file, or a folder of `.txt` files as `corpus` makes it: a sentence a line, an empty line
/// between documents; gzip and zstd are read too) and `vocabulary` (`vocab.txt` or `tokenizer.json`). For each length L
/// there is an output `examples-L`, a file of packed examples.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The corpus's name in every number, such as `pubmed`.
    pub name: String,
    /// Positions of an example, such as `[128, 512]` for training in two phases; an output each.
    pub lengths: Vec<u32>,
    /// Of the builder's draws and of the order of the examples.
    pub seed: u64,
    /// Whether an empty line ends an example, as in ELECTRA's program; else examples run on over documents and are full.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub flush_documents: bool,
    /// What becomes of pieces beyond an example's end.
    #[serde(default, skip_serializing_if = "is_drop")]
    pub overflow: Overflow,
    /// Whether the examples are in random order; else in that of the text.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub shuffle: bool,
    /// Lower-case text before it is spelt.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub lower_case: bool,
    /// Take accents off letters (NFD without category Mn); unless given, where text is lower-cased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_accents: Option<bool>,
    /// Longer words, in characters, become `[UNK]`: 200 in ELECTRA's program, 100 in Hugging Face's.
    #[serde(default = "two_hundred", skip_serializing_if = "is_two_hundred")]
    pub max_word_chars: u32,
}

/// What becomes of pieces beyond an example's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// They are lost, as in ELECTRA's program.
    #[default]
    Drop,
    /// They begin the next example, so that none is lost.
    Carry,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
fn is_drop(overflow: &Overflow) -> bool {
    *overflow == Overflow::Drop
}

/// Shorter examples hold next to nothing beside `[CLS]` and `[SEP]`.
const LEAST: u32 = 2 * SHORTEST;
/// What the file can hold.
const MOST: u32 = u16::MAX as u32;
/// A share of unknown pieces, in percent, that is worth a word.
const MANY_UNKNOWN: f64 = 2.0;

fn output(length: u32) -> String {
    format!("examples-{length}")
}

impl StageKind for Pack {
    const NAME: &'static str = "pack";
    /// 1: first.
    const VERSION: u32 = 1;
    const COSTS: bool = true;
    const DOC: &'static str = "pack a corpus into training examples as ELECTRA's builder does";

    fn ports(&self) -> Ports {
        let mut ports = Ports::inputs(["text", "vocabulary"]);
        let outputs = self.lengths.iter().map(|length| {
            let name = output(*length);
            (name.clone(), format!("{name}.packed"))
        });
        ports.outputs = outputs.collect();
        ports
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            let help = "name the corpus, such as `pubmed`";
            problems.push(problem(&["name"], "`name` is empty", help));
        }
        if self.lengths.is_empty() {
            let help = "give the positions of an example, such as `[512]`";
            problems.push(problem(&["lengths"], "there is no length", help));
        }
        for (i, length) in self.lengths.iter().enumerate() {
            let path = ["lengths", &i.to_string()];
            if !(LEAST..=MOST).contains(length) {
                let help = format!("give {LEAST} to {MOST} positions; models have 512 at most");
                problems.push(problem(&path, format!("{length} is out of bounds"), help));
            }
            if self.lengths[..i].contains(length) {
                problems.push(problem(
                    &path,
                    format!("{length} stands twice"),
                    "remove one",
                ));
            }
        }
        if self.max_word_chars == 0 {
            let help = "give the longest word, such as 200";
            problems.push(problem(&["max_word_chars"], "no word is that short", help));
        }
        problems
    }

    /// How long examples are is what others want to know; how many there are follows from the bytes of the text.
    fn cost(&self, known: &Known<'_>) -> Cost {
        let rows = known.numbers();
        let gives = self.lengths.iter().map(|length| {
            let class = length.to_string();
            let of = |metric: &str| facts::class_number(&rows, None, metric, Some(&class));
            let mean = of("tokens").zip(of("examples")).map(|(t, n)| t / n);
            (output(*length), json!({ "length": length, "mean": mean }))
        });
        let pieces = facts::text_bytes(known, "text").map(|n| n as f64 / facts::BYTES_A_PIECE);
        let mut assumed = Vec::new();
        if pieces.is_some() {
            assumed.push(format!("{} bytes of text a piece", facts::BYTES_A_PIECE));
        }
        // Two bytes a piece, in each file; while examples are put in order they stand on the disk twice.
        let bytes = pieces.map(|pieces| (2.0 * pieces) as u64 * self.lengths.len() as u64);
        Cost {
            bytes,
            scratch_bytes: bytes,
            assumed,
            gives: gives.collect(),
            ..Cost::default()
        }
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        self.make(stage).map_err(stage_error)
    }
}

impl Pack {
    fn make(&self, stage: &StageContext) -> Result<StageReport, DataError> {
        let words = words(self.lower_case, self.strip_accents, self.max_word_chars);
        let (texts, mut warnings) = find_texts(stage, "text")?;
        let path = stage.folder.join(&stage.inputs["vocabulary"].place);
        let (vocabulary, stated) = load_vocabulary(&path, "vocabulary")?;
        agree(stated, words)?;
        let settings = Settings {
            words,
            flush_documents: self.flush_documents,
            overflow: match self.overflow {
                Overflow::Drop => builder::Overflow::Drop,
                Overflow::Carry => builder::Overflow::Carry,
            },
            shuffle: self.shuffle,
            seed: self.seed,
        };
        let target = |length: &u32| Target {
            length: *length,
            path: stage.output(&format!("{}.packed", output(*length))),
        };
        let targets: Vec<Target> = self.lengths.iter().map(target).collect();
        let total = texts.size_bytes()?;
        let mut progress = |step| match step {
            Step::Read(done) => tell(stage, done, Some(total), "packing"),
            Step::Written(length, done) => {
                tell(
                    stage,
                    done,
                    None,
                    &format!("shuffling examples of {length}"),
                );
            }
        };
        let work = stage.scratch.join("buckets");
        let threads = stage.cores as usize;
        let packed = pack::pack(
            &texts,
            &vocabulary,
            &settings,
            &targets,
            threads,
            &work,
            &mut progress,
        )?;
        fs_err::remove_dir_all(&work)?;
        let counts = packed.counts;
        let unknown = 100.0 * counts.unknown as f64 / counts.pieces.max(1) as f64;
        if unknown > MANY_UNKNOWN {
            let warning = Diagnostic::warning(
                "data::unknown",
                format!("{unknown:.1} % of the pieces are `[UNK]`"),
            );
            warnings.push(warning.help("is this the vocabulary of such text, and are `lower_case` and `strip_accents` as it was made with?"));
        }
        Ok(StageReport {
            numbers: self.rows(&packed),
            warnings,
            ..StageReport::default()
        })
    }

    /// Counts of the text, then those of each length, with the length as their class.
    fn rows(&self, packed: &Packed) -> Vec<MetricRow> {
        let row = |metric: &str, class: Option<u32>, value: f64, n: u64| MetricRow {
            dataset: Some(self.name.clone()),
            split: None,
            metric: metric.to_owned(),
            class: class.map(|length| length.to_string()),
            value,
            n: Some(n),
        };
        let counts = packed.counts;
        let of_text = [
            ("documents", counts.documents),
            ("lines", counts.lines),
            ("bytes", counts.bytes),
            ("pieces", counts.pieces),
            ("unknown_pieces", counts.unknown),
        ];
        let mut rows: Vec<MetricRow> = of_text
            .into_iter()
            .map(|(metric, value)| row(metric, None, value as f64, counts.documents))
            .collect();
        for (built, header) in &packed.targets {
            let (length, n) = (header.sequence_length, built.examples);
            let positions = n as f64 * f64::from(length);
            for (metric, value) in [
                ("examples", n as f64),
                ("examples_with_two_segments", built.pairs as f64),
                ("tokens", built.tokens as f64),
                ("dropped_pieces", built.dropped as f64),
                ("mean_fill_percent", 100.0 * built.tokens as f64 / positions),
            ] {
                rows.push(row(metric, Some(length), value, n));
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests;
