//! A WordPiece vocabulary learned from a text. Knows no stages; the one door to the `tokenizers` library.
//!
//! Words are counted here, by the tokenizer that will read them, and the library only merges: it counts words one by
//! one, without bound, and numbers letters in the order of a hash map that differs from run to run. Given every letter
//! in a fixed order beforehand, its merges are decided by counts and ids alone.

use std::collections::BTreeMap;

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, BpeTrainer};

use super::{SPECIALS, Vocabulary};
use crate::error::DataError;
use crate::texts::{Piece as TextPiece, Texts, in_order};
use crate::wordpiece::{CONTINUATION, Settings, Splitter};

/// What decides the vocabulary, beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// Entries wanted, special, reserved and letters among them.
    pub size: u32,
    /// Entries `[unused0]` … behind `[PAD]`, for later use.
    pub reserved: u32,
    /// Pairs that occur less often are not merged.
    pub min_frequency: u64,
    /// Letters kept, the most frequent first; words with others are left out.
    pub alphabet: u32,
    /// Distinct words in memory at once; when there are more, the rarest are forgotten.
    pub max_words: usize,
}

/// What was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// The vocabulary.
    pub vocabulary: Vocabulary,
    /// Words read.
    pub words: u64,
    /// Distinct words that the merges were learned from.
    pub distinct: u64,
    /// Occurrences of words that were forgotten to bound memory; at most so many are missing from the counts.
    pub forgotten: u64,
    /// Occurrences of words left out for their letters or their length.
    pub left_out: u64,
    /// Letters kept.
    pub letters: u64,
}

/// Bytes of text after which the counts of all threads meet and the rarest words are forgotten. Fixed, so that what is
/// forgotten depends on the text alone.
const BATCH_BYTES: usize = 32 << 20;
/// The library counts pairs in 32 bits; counts are halved until all letters together fit.
const MAX_LETTERS: u64 = i32::MAX as u64;

type Counts = BTreeMap<String, u64>;

/// Learns a vocabulary; `progress` gets bytes read from disk.
///
/// Memory: [`Training::max_words`] distinct words and those of one batch of 32 MiB, some 100 bytes each while counting
/// and 850 while merging: 1.45 GB for 500 MB of text made to hold 1.7 million distinct words. The result does not depend on `threads`.
///
/// # Errors
/// Text that is not UTF-8 or holds no word, a size too small for its letters, the file system's.
pub fn train(
    texts: &Texts,
    settings: Settings,
    training: &Training,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Trained, DataError> {
    let (counts, words, forgotten) = count(texts, settings, training, threads, progress)?;
    let (counts, alphabet, left_out) = limit(counts, settings, training);
    if counts.is_empty() {
        return Err(DataError::mismatch(
            "the text holds no word to learn from",
            "give files with a sentence a line",
        ));
    }
    let specials = specials(training.reserved);
    // Words begin with a letter and go on with its marked form, as the library spells them.
    let letters = alphabet.iter().map(char::to_string);
    let inner = alphabet.iter().map(|c| format!("{CONTINUATION}{c}"));
    let first: Vec<String> = specials.into_iter().chain(letters).chain(inner).collect();
    if first.len() >= training.size as usize {
        return Err(DataError::mismatch(
            format!(
                "a vocabulary of {} entries has no room beside {} special entries and letters",
                training.size,
                first.len()
            ),
            "raise `size`, or lower `alphabet` or `reserved`",
        ));
    }
    let distinct = counts.len() as u64;
    let entries = merge(&first, counts, training)?;
    Ok(Trained {
        vocabulary: Vocabulary::new(entries, "the learned vocabulary")?,
        words,
        distinct,
        forgotten,
        left_out,
        letters: alphabet.len() as u64,
    })
}

/// `[PAD]`, the reserved ones, then the others: BERT's order.
fn specials(reserved: u32) -> Vec<String> {
    let mut specials = vec![SPECIALS[0].to_owned()];
    specials.extend((0..reserved).map(|i| format!("[unused{i}]")));
    specials.extend(SPECIALS[1..].iter().map(|name| (*name).to_owned()));
    specials
}

fn count(
    texts: &Texts,
    settings: Settings,
    training: &Training,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<(Counts, u64, u64), DataError> {
    let worker = || {
        let mut splitter = Splitter::new(settings);
        move |piece: &TextPiece| {
            let text = piece.text()?;
            let mut counts = Counts::new();
            for line in text.lines() {
                splitter.words(line, &mut |word| match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(word.to_owned(), 1);
                    }
                });
            }
            Ok((counts, text.len()))
        }
    };
    let mut all = Counts::new();
    let (mut words, mut forgotten, mut batch) = (0, 0, 0);
    in_order(
        texts,
        threads,
        &worker,
        &mut |(counts, bytes): (Counts, usize), read| {
            for (word, count) in counts {
                words += count;
                *all.entry(word).or_default() += count;
            }
            batch += bytes;
            if batch >= BATCH_BYTES {
                batch = 0;
                forgotten += forget(&mut all, training.max_words);
            }
            progress(read);
            Ok(())
        },
    )?;
    forgotten += forget(&mut all, training.max_words);
    Ok((all, words, forgotten))
}

/// Forgets the rarest words, all of a count together, until at most `max_words` are left; returns their occurrences.
fn forget(counts: &mut Counts, max_words: usize) -> u64 {
    if counts.len() <= max_words {
        return 0;
    }
    let mut words_by_count = BTreeMap::<u64, usize>::new();
    for count in counts.values() {
        *words_by_count.entry(*count).or_default() += 1;
    }
    let (mut left, mut least, mut forgotten) = (counts.len(), 0, 0);
    for (count, words) in words_by_count {
        if left <= max_words {
            break;
        }
        left -= words;
        least = count + 1;
        forgotten += count * words as u64;
    }
    counts.retain(|_, count| *count >= least);
    forgotten
}

/// The alphabet in the order of the code points, and the words that need no other letter.
fn limit(counts: Counts, settings: Settings, training: &Training) -> (Counts, Vec<char>, u64) {
    let mut letters = BTreeMap::<char, u64>::new();
    for (word, count) in &counts {
        for c in word.chars() {
            *letters.entry(c).or_default() += count;
        }
    }
    let mut by_count: Vec<(std::cmp::Reverse<u64>, char)> = letters
        .into_iter()
        .map(|(c, count)| (std::cmp::Reverse(count), c))
        .collect();
    by_count.sort_unstable();
    by_count.truncate(training.alphabet as usize);
    let mut alphabet: Vec<char> = by_count.into_iter().map(|(_, c)| c).collect();
    alphabet.sort_unstable();
    let mut left_out = 0;
    let mut kept = counts;
    kept.retain(|word, count| {
        let is_kept = word.chars().count() <= settings.max_word_chars
            && word.chars().all(|c| alphabet.binary_search(&c).is_ok());
        left_out += if is_kept { 0 } else { *count };
        is_kept
    });
    (kept, alphabet, left_out)
}

/// The library's part: `first`, then what is merged, in order.
fn merge(first: &[String], counts: Counts, training: &Training) -> Result<Vec<String>, DataError> {
    let letters: u64 = (counts.iter())
        .map(|(word, count)| count.saturating_mul(word.chars().count() as u64))
        .fold(0, u64::saturating_add);
    let mut shift = 0;
    while letters >> shift >= MAX_LETTERS {
        shift += 1;
    }
    let tokens = first
        .iter()
        .map(|entry| AddedToken::from(entry.as_str(), true));
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(training.size as usize)
        .min_frequency((training.min_frequency >> shift).max(1))
        .special_tokens(tokens.collect())
        .continuing_subword_prefix(CONTINUATION.to_owned())
        .build();
    let counts = counts.into_iter().filter(|(_, count)| count >> shift > 0);
    let counts = counts
        .map(|(word, count)| (word.into(), count >> shift))
        .collect();
    let mut model = BPE::default();
    let failed = |error: &dyn std::fmt::Display| {
        DataError::mismatch(
            format!("the vocabulary cannot be learned: {error}"),
            "report this with the stage's configuration",
        )
    };
    trainer
        .do_train(&counts, &mut model)
        .map_err(|error| failed(&error))?;
    let mut by_id: Vec<(u32, String)> = model
        .get_vocab()
        .into_iter()
        .map(|(entry, id)| (id, entry))
        .collect();
    by_id.sort_unstable();
    if by_id
        .iter()
        .zip(first)
        .any(|((_, entry), first)| entry != first)
    {
        return Err(failed(&"its first entries are not the ones given"));
    }
    Ok(by_id.into_iter().map(|(_, entry)| entry).collect())
}
