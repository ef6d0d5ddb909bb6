//! What a corpus holds and what was left out of it, as numbers. Knows nothing of stages.

use std::ops::AddAssign;

/// Numbers of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents written.
    pub documents: u64,
    /// Sentences written.
    pub sentences: u64,
    /// Words written: what stands between spaces.
    pub words: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Files written.
    pub shards: u64,
    /// Bytes read, unpacked.
    pub bytes_read: u64,
    /// Documents read: those written and those left out for a reason below, broken lines apart.
    pub documents_read: u64,
    /// Documents left out: their text came before.
    pub duplicates: u64,
    /// Documents left out: nothing in them passed the steps.
    pub empty: u64,
    /// Documents left out: too few words.
    pub short: u64,
    /// Documents left out: too many words.
    pub long: u64,
    /// Documents left out (with `OnOverlap::Count` only counted): they hold a sentence of a test set.
    pub overlapping: u64,
    /// XML: records left out, since another of their PMID is meant.
    pub superseded: u64,
    /// XML: records left out, since their PMID was deleted.
    pub deleted: u64,
    /// XML: records without an abstract; left out with `abstracts_only`, else written.
    pub without_abstract: u64,
    /// Sentences left out: too few words.
    pub short_sentences: u64,
    /// Sentences left out: too many words.
    pub long_sentences: u64,
    /// Documents cut in two, since they were larger than allowed.
    pub cut_documents: u64,
    /// Lines and records that could not be used.
    pub bad_records: u64,
    /// Sentences of test sets that were looked for.
    pub held_out_sentences: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.documents += other.documents;
        self.sentences += other.sentences;
        self.words += other.words;
        self.bytes += other.bytes;
        self.shards += other.shards;
        self.bytes_read += other.bytes_read;
        self.documents_read += other.documents_read;
        self.duplicates += other.duplicates;
        self.empty += other.empty;
        self.short += other.short;
        self.long += other.long;
        self.overlapping += other.overlapping;
        self.superseded += other.superseded;
        self.deleted += other.deleted;
        self.without_abstract += other.without_abstract;
        self.short_sentences += other.short_sentences;
        self.long_sentences += other.long_sentences;
        self.cut_documents += other.cut_documents;
        self.bad_records += other.bad_records;
        self.held_out_sentences += other.held_out_sentences;
    }
}
