//! Loads a WordPiece vocabulary or learns one, and measures it. Knows nothing of spelling, caching or scheduling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::error::DataError;
use data::texts::Texts;
use data::vocabulary::measure::{self, Fit, Unreachable};
use data::vocabulary::train::{self, Trained, Training};
use data::vocabulary::{SPECIALS, Vocabulary};
use data::wordpiece::{CONTINUATION, Settings};
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

/// `with:` of a stage of kind `vocab`.
///
/// Without `train`, `needs` names `vocabulary`, a `vocab.txt` or `tokenizer.json`; with it, `text` to learn from. A `text`
/// beside a `vocabulary` is measured with it, and `other` is a vocabulary to compare with. The outputs are `vocabulary`
/// (`vocab.txt`), `tokenizer` (`tokenizer.json`) and `unreachable`, the entries that no text leads to, with the reason.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vocab {
    /// The vocabulary's name in every number, such as `scivocab`.
    pub name: String,
    /// Learn the vocabulary from the input `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Train>,
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

/// How a vocabulary is learned.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Entries wanted, special and reserved ones and letters among them.
    pub size: u32,
    /// Pairs of pieces that occur less often are not joined.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub min_frequency: u64,
    /// Letters kept, the most frequent first; words with others are left out.
    #[serde(default = "thousand", skip_serializing_if = "is_thousand")]
    pub alphabet: u32,
    /// Entries `[unused0]` … for later use.
    #[serde(default = "hundred", skip_serializing_if = "is_hundred")]
    pub reserved: u32,
    /// Distinct words in memory at once; the rarest are forgotten after each 32 MiB of text that passes it.
    #[serde(default = "many", skip_serializing_if = "is_many")]
    pub max_words: u64,
}

/// A default, and whether a value is it.
macro_rules! defaults {
    ($($name:ident, $is:ident: $type:ty = $value:literal;)*) => {$(
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
    two, is_two: u64 = 2;
    hundred, is_hundred: u32 = 100;
    thousand, is_thousand: u32 = 1000;
    many, is_many: u64 = 5_000_000;
}

impl StageKind for Vocab {
    const NAME: &'static str = "vocab";
    /// 1: first.
    const VERSION: u32 = 1;
    const COSTS: bool = true;
    const DOC: &'static str = "load a WordPiece vocabulary or learn one, and measure it";

    fn ports(&self) -> Ports {
        let ports = match &self.train {
            Some(_) => Ports::inputs(["text"]),
            None => Ports::inputs(["vocabulary"]).optional("text"),
        };
        let mut ports = ports.optional("other");
        if let Some(other) = ports.inputs.iter_mut().find(|port| port.name == "other") {
            other.output = Some("vocabulary");
        }
        ports.outputs = [
            ("vocabulary", "vocab.txt"),
            ("tokenizer", "tokenizer.json"),
            ("unreachable", "unreachable.tsv"),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_owned()))
        .into();
        ports
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            let help = "name the vocabulary, such as `scivocab`";
            problems.push(problem(&["name"], "`name` is empty", help));
        }
        if self.max_word_chars == 0 {
            let help = "give the longest word, such as 200";
            problems.push(problem(&["max_word_chars"], "no word is that short", help));
        }
        if let Some(train) = &self.train {
            let least = train.reserved.saturating_add(SPECIALS.len() as u32);
            if train.size <= least {
                problems.push(problem(
                    &["train", "size"],
                    format!(
                        "{} entries leave no room beside {least} reserved ones",
                        train.size
                    ),
                    "give more, such as 30000",
                ));
            }
            if train.alphabet == 0 {
                let help = "give how many letters to keep, such as 1000";
                problems.push(problem(
                    &["train", "alphabet"],
                    "nothing can be spelt",
                    help,
                ));
            }
            if train.max_words < 1000 {
                let help = "give at least 1000; 5000000 words take about half a GiB";
                problems.push(problem(
                    &["train", "max_words"],
                    "that is too few words",
                    help,
                ));
            }
        }
        problems
    }

    /// Its size is what others want to know.
    fn cost(&self, known: &Known<'_>) -> Cost {
        let counted = facts::number(&known.numbers(), None, "entries").map(|n| n as usize);
        let wanted = self.train.as_ref().map(|train| train.size as usize);
        let given = || {
            let mut assumed = Vec::new();
            let entries = facts::entries(Some(known.input("vocabulary")?), &mut assumed);
            assumed.is_empty().then_some(entries)
        };
        let entries = facts::of_vocabulary(counted.or(wanted).or_else(given));
        let gives = ["vocabulary", "tokenizer"].map(|name| (name.to_owned(), entries.clone()));
        Cost {
            gives: gives.into(),
            ..Cost::default()
        }
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        self.make(stage).map_err(stage_error)
    }
}

impl Vocab {
    fn make(&self, stage: &StageContext) -> Result<StageReport, DataError> {
        let settings = words(self.lower_case, self.strip_accents, self.max_word_chars);
        let mut report = StageReport::default();
        let texts = match stage.inputs.contains_key("text") {
            true => {
                let (texts, warnings) = find_texts(stage, "text")?;
                report.warnings = warnings;
                Some(texts)
            }
            false => None,
        };
        let mut rows = Rows {
            name: &self.name,
            rows: &mut report.numbers,
        };
        let vocabulary = match (&self.train, &texts) {
            (Some(train), Some(texts)) => {
                let trained = learn(stage, texts, settings, train)?;
                rows.training(&trained);
                if trained.vocabulary.size() < train.size {
                    report.warnings.push(small(&trained, train));
                }
                trained.vocabulary
            }
            _ => {
                let path = stage.folder.join(&stage.inputs["vocabulary"].place);
                let (vocabulary, stated) = load_vocabulary(&path, "vocabulary")?;
                agree(stated, settings)?;
                vocabulary
            }
        };
        let unreachable = measure::unreachable(&vocabulary, settings);
        rows.entries(&vocabulary, &unreachable);
        if let Some(texts) = &texts {
            let total = texts.size_bytes()?;
            let threads = stage.cores as usize;
            let mut progress = |done| tell(stage, done, Some(total), "measuring");
            rows.fit(&measure::fit(
                texts,
                &vocabulary,
                settings,
                threads,
                &mut progress,
            )?);
        }
        if let Some(path) = stage.find_input("other") {
            let (other, _) = load_vocabulary(&path, "other")?;
            rows.overlap(measure::overlap(&vocabulary, &other));
        }
        fs_err::write(stage.folder.join("vocab.txt"), vocabulary.to_text())?;
        fs_err::write(
            stage.folder.join("tokenizer.json"),
            vocabulary.to_json(settings),
        )?;
        fs_err::write(
            stage.folder.join("unreachable.tsv"),
            table(&vocabulary, &unreachable),
        )?;
        Ok(report)
    }
}

fn learn(
    stage: &StageContext,
    texts: &Texts,
    settings: Settings,
    train: &Train,
) -> Result<Trained, DataError> {
    let training = Training {
        size: train.size,
        reserved: train.reserved,
        min_frequency: train.min_frequency,
        alphabet: train.alphabet,
        max_words: usize::try_from(train.max_words).unwrap_or(usize::MAX),
    };
    let total = texts.size_bytes()?;
    let mut progress = |done| tell(stage, done, Some(total), "counting words");
    let threads = stage.cores as usize;
    train::train(texts, settings, &training, threads, &mut progress)
}

fn small(trained: &Trained, train: &Train) -> Diagnostic {
    Diagnostic::warning(
        "data::small",
        format!(
            "the text gave {} entries, not {}: no pair is left that occurs {} times",
            trained.vocabulary.size(),
            train.size,
            train.min_frequency
        ),
    )
    .help("give more text, a smaller `size` or a lower `min_frequency`")
}

/// `id`, `entry`, `reason`, tab-separated, with a header. Control characters and tabs are escaped as in Rust.
fn table(vocabulary: &Vocabulary, unreachable: &[(u32, Unreachable)]) -> String {
    let mut text = String::from("id\tentry\treason\n");
    for (id, reason) in unreachable {
        let entry = vocabulary.find_entry(*id).unwrap_or_default();
        let shown: String = entry.chars().map(escaped).collect();
        text.push_str(&format!("{id}\t{shown}\t{}\n", reason.name()));
    }
    text
}

fn escaped(c: char) -> String {
    match c.is_control() || c == '\\' {
        true => c.escape_default().collect(),
        false => c.to_string(),
    }
}

/// The stage's numbers under way.
struct Rows<'a> {
    name: &'a str,
    rows: &'a mut Vec<MetricRow>,
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl Rows<'_> {
    fn add(&mut self, metric: &str, class: Option<String>, value: f64, n: u64) {
        self.rows.push(MetricRow {
            dataset: Some(self.name.to_owned()),
            split: None,
            metric: metric.to_owned(),
            class,
            value,
            n: Some(n),
        });
    }

    fn count(&mut self, metric: &str, value: u64, n: u64) {
        self.add(metric, None, value as f64, n);
    }

    fn training(&mut self, trained: &Trained) {
        let n = trained.words;
        self.count("learned_from_words", n, n);
        self.count("learned_from_distinct_words", trained.distinct, n);
        self.count("forgotten_words", trained.forgotten, n);
        self.count("left_out_words", trained.left_out, n);
        self.count("letters", trained.letters, n);
    }

    fn entries(&mut self, vocabulary: &Vocabulary, unreachable: &[(u32, Unreachable)]) {
        let n = u64::from(vocabulary.size());
        let count = |is: &dyn Fn(&str) -> bool| {
            vocabulary.entries().filter(|entry| is(entry)).count() as u64
        };
        self.count("entries", n, n);
        let continuations = count(&|entry| entry.starts_with(CONTINUATION));
        self.count("continuations", continuations, n);
        self.count("reserved_entries", count(&Vocabulary::is_reserved), n);
        self.count("non_ascii_entries", count(&|entry| !entry.is_ascii()), n);
        self.count("unreachable_entries", unreachable.len() as u64, n);
        for (reason, value) in measure::by_reason(unreachable) {
            let class = Some(reason.name().to_owned());
            self.add("unreachable_entries", class, value as f64, n);
        }
    }

    fn fit(&mut self, fit: &Fit) {
        let n = fit.words;
        self.count("words", n, n);
        self.count("pieces", fit.pieces, n);
        self.add("fertility", None, fit.pieces as f64 / n.max(1) as f64, n);
        self.add("unknown_words_percent", None, percent(fit.unknown, n), n);
        self.add("whole_words_percent", None, percent(fit.whole, n), n);
        self.count("used_entries", fit.used, n);
        for (word, pieces) in &fit.longest {
            self.add(
                "longest_split_pieces",
                Some(word.clone()),
                *pieces as f64,
                n,
            );
        }
    }

    fn overlap(&mut self, [shared, mine, theirs]: [u64; 3]) {
        self.count("shared_entries", shared, mine);
        self.add("overlap_percent", None, percent(shared, mine), mine);
        self.add(
            "overlap_of_other_percent",
            None,
            percent(shared, theirs),
            theirs,
        );
    }
}

#[cfg(test)]
mod tests;
