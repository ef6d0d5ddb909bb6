//! Sentences of test sets, and whether a sentence is one of them. Knows nothing of what follows from it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::sentences;
use crate::error::DataError;
use crate::example::Example;
use crate::jsonl;

/// Sentences to keep out of a corpus, by what they hold: ASCII letters and digits, without case.
///
/// White space, punctuation and other characters do not count, so that tokens and running text, and a text before and
/// after the corpus' own steps, are alike. Shorter sentences than `min_characters` such letters and digits are left
/// out: "Data were analyzed" stands in many texts.
#[derive(Clone, Debug, Default)]
pub struct HeldOut {
    hashes: Vec<u64>,
    min_characters: usize,
}

impl HeldOut {
    /// Without sentences.
    #[must_use]
    pub fn new(min_characters: usize) -> Self {
        Self {
            hashes: Vec::new(),
            min_characters,
        }
    }

    /// Adds the texts of canonical examples: tokens of a sentence, or the sentences of each text and context.
    ///
    /// # Errors
    /// Whatever is wrong with the file.
    pub fn add_examples(&mut self, path: &Path) -> Result<(), DataError> {
        jsonl::read(path, &mut |example| {
            match &example {
                Example::Tagging(sentence) => self.add(&sentence.tokens.join(" ")),
                Example::Spans(document) => self.add_text(&document.text),
                Example::Classification(example) => self.add_text(&example.text),
                Example::MultiLabel(example) => self.add_text(&example.text),
                Example::Regression(example) => {
                    for text in &example.texts {
                        self.add_text(text);
                    }
                }
                Example::QuestionAnswering(question) => {
                    self.add_text(&question.question);
                    self.add_text(&question.context);
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Adds the lines of a text file, each a sentence; white space at their ends and blank lines do not count.
    ///
    /// # Errors
    /// A file that cannot be read, or is no UTF-8.
    pub fn add_lines(&mut self, path: &Path) -> Result<(), DataError> {
        for line in BufReader::new(fs_err::File::open(path)?).lines() {
            self.add(&line?);
        }
        Ok(())
    }

    /// Adds a text, sentence by sentence and as a whole.
    pub fn add_text(&mut self, text: &str) {
        self.add(text);
        sentences::split(text, &mut |sentence| self.add(sentence));
    }

    /// Adds one sentence.
    pub fn add(&mut self, sentence: &str) {
        if let Some(hash) = fingerprint(sentence.as_bytes(), self.min_characters, &mut Vec::new()) {
            self.hashes.push(hash);
        }
    }

    /// Makes it ready for [`HeldOut::contains`].
    pub fn finish(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    /// How many different sentences it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether a sentence is held out; `scratch` is overwritten.
    pub(crate) fn contains(&self, sentence: &[u8], scratch: &mut Vec<u8>) -> bool {
        !self.hashes.is_empty()
            && fingerprint(sentence, self.min_characters, scratch)
                .is_some_and(|hash| self.hashes.binary_search(&hash).is_ok())
    }
}

/// The hash of what a sentence holds; `None` where that is too little.
fn fingerprint(sentence: &[u8], min_characters: usize, scratch: &mut Vec<u8>) -> Option<u64> {
    scratch.clear();
    scratch.extend(
        sentence
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase),
    );
    (scratch.len() >= min_characters.max(1)).then(|| super::super::hash(scratch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_running_text_are_alike() {
        let mut held = HeldOut::new(10);
        held.add("The BRCA1 gene ( β-type ) isn 't lost .");
        held.add_text("Too short. But this sentence is long enough.");
        held.finish();
        assert_eq!(held.len(), 3);
        let mut scratch = Vec::new();
        for (sentence, expected) in [
            ("the brca1 gene (-type) isn't lost.", true),
            ("The BRCA1 gene isn't lost.", false),
            ("Too short.", false),
            ("but this sentence is long enough", true),
        ] {
            assert_eq!(
                held.contains(sentence.as_bytes(), &mut scratch),
                expected,
                "{sentence}"
            );
        }
        assert!(!HeldOut::new(1).contains(b"x", &mut scratch));
    }
}
