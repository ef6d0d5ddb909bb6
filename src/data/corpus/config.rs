//! What can be said about making a corpus. Knows nothing of how it is done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How documents stand in a file. Each may be packed with gzip, zstd or tar; that is known by the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A sentence a line, a blank line between documents, as NCBI-BERT's PubMed text.
    Sentences,
    /// Running text, a blank line between documents; ends of lines are white space.
    Paragraphs,
    /// Running text, a document a line.
    Lines,
    /// An object a line; `text_fields` are its texts.
    JsonLines,
    /// PubMed's XML: titles and abstracts; of several records of a PMID the one meant, across all files.
    PubmedXml,
}

impl Format {
    /// Whether a line is a sentence already.
    #[must_use]
    pub fn has_sentences(self) -> bool {
        self == Self::Sentences
    }
}

/// How a sentence becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// By the rules of NLTK's `TreebankWordTokenizer`, one space between them.
    #[default]
    Treebank,
    /// By the same and the four rules that NLTK 3.4 adds to them when it is imported.
    TreebankImported,
    /// Words as they stand, white space as one space.
    None,
}

/// What becomes of a document that holds a sentence of a test set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOverlap {
    /// It is left out and counted.
    #[default]
    Remove,
    /// The stage fails at the first.
    Refuse,
    /// It is counted and kept.
    Count,
}

/// What is done to each sentence, in this order (spec A.1).
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Find sentences in running text; else a line or field is one.
    pub split: bool,
    /// Lower-case, as Python's `str.lower`.
    pub lower_case: bool,
    /// Runs of characters outside ASCII to one space.
    pub ascii: bool,
    /// Tokens.
    pub tokens: Tokens,
    /// Attach `'s` to the word before it again.
    pub possessives: bool,
}

/// Bounds on words, both ends included; words are what stands between spaces in the end.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Of a sentence; others are left out of their document.
    pub sentence: (u64, u64),
    /// Of a document; others are left out.
    pub document: (u64, u64),
}

/// All there is to say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of all files.
    pub format: Format,
    /// `JsonLines`: where the texts are, in order.
    pub text_fields: Vec<String>,
    /// `PubmedXml`: begin with the title.
    pub titles: bool,
    /// `PubmedXml`: keep the names of sections, such as `METHODS:`.
    pub section_labels: bool,
    /// `PubmedXml`: leave out records without an abstract.
    pub abstracts_only: bool,
    /// What is done to sentences.
    pub steps: Steps,
    /// Leave out documents that came before, by the hash of what the steps made of them.
    pub deduplicate: bool,
    /// Bounds.
    pub lengths: Lengths,
    /// What becomes of documents with sentences of test sets.
    pub on_overlap: OnOverlap,
    /// How many broken lines and records are passed over before it is a failure.
    pub max_bad_records: u64,
    /// Size at which a shard is full, in bytes; a document is never parted.
    pub shard_bytes: u64,
    /// Longer documents are cut between lines, longer lines and records are bad; in bytes as read.
    pub max_document_bytes: usize,
    /// Bytes a worker takes at once; never shows in the result.
    pub piece_bytes: usize,
    /// Workers. With 1 everything is done by the calling thread; else one more reads and the calling one writes.
    pub threads: usize,
}
