//! Cuts one input into splits by fraction and seed. Knows nothing of files and formats.
//!
//! Examples of one document stay together; where documents are not known, examples with the same input do. Each such
//! group gets the first 64 bits of BLAKE3 over the seed and the input of its first example; groups in the order of these
//! numbers fill the splits, `train`, `dev`, `test` first and the others by name. A group goes where its middle falls, so
//! that a split's share is met to half a group. Nothing else decides: not names of files, not places in them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::statistics::Hash;

/// What stays together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The examples of a document, where the reader or `document_id_end` knows it; else those with the same input.
    #[default]
    Document,
    /// Examples with the same input, whatever their document.
    Example,
}

/// How an input is cut into splits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Divide {
    /// The input that is cut.
    pub split: String,
    /// The share of each split made of it, between 0 and 1, one in all.
    pub into: BTreeMap<String, f64>,
    /// Another seed, another division.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// What stays together.
    #[serde(default, skip_serializing_if = "is_document")]
    pub by: Unit,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(seed: &u64) -> bool {
    *seed == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_document(unit: &Unit) -> bool {
    *unit == Unit::Document
}

/// The splits that need no naming, in the order they are read and filled.
pub const USUAL_SPLITS: [&str; 3] = ["train", "dev", "test"];

/// Whether a split is one of test: its name is `test`, or has it as a word, such as `test-2`, `Test1`, `ner_testing`.
/// What is kept for the last number must not decide anything before it.
#[must_use]
pub fn is_test_split(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).any(|word| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        matches!(word, "test" | "tests" | "testing")
    })
}

impl Divide {
    /// The splits it makes, in the order they are filled.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let usual = USUAL_SPLITS.into_iter();
        let usual = usual.filter(|name| self.into.contains_key(*name));
        let others = self.into.keys().map(String::as_str);
        usual
            .chain(others.filter(|name| !USUAL_SPLITS.contains(name)))
            .collect()
    }
}

/// What stays together: a document, or an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(pub(crate) Hash);

/// Collects groups and their sizes, about 60 bytes a group.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    seen: BTreeMap<Group, Size>,
}

#[derive(Debug)]
struct Size {
    order: u64,
    examples: u64,
}

impl Groups {
    /// Counts an example of a group; the first one's input decides the order.
    pub(crate) fn add(&mut self, group: Group, input: &Hash, seed: u64) {
        let size = self.seen.entry(group).or_insert_with(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(b"divide\0").update(&seed.to_le_bytes());
            hasher.update(input);
            let mut order = [0; 8];
            hasher.finalize_xof().fill(&mut order);
            Size {
                order: u64::from_le_bytes(order),
                examples: 0,
            }
        });
        size.examples += 1;
    }

    /// The place of each group's split in [`Divide::names`].
    ///
    /// # Errors
    /// When a split would be empty.
    pub(crate) fn divide(self, divide: &Divide) -> Result<BTreeMap<Group, usize>, DataError> {
        let names = divide.names();
        let total: u64 = self.seen.values().map(|size| size.examples).sum();
        let n_groups = self.seen.len();
        let mut ends = Vec::with_capacity(names.len());
        let mut share = 0.0;
        for name in &names {
            share += divide.into[*name];
            ends.push(share * total as f64);
        }
        let mut groups: Vec<(u64, Group, u64)> = (self.seen.into_iter())
            .map(|(group, size)| (size.order, group, size.examples))
            .collect();
        groups.sort_unstable();
        let mut before = 0_u64;
        let mut filled = vec![false; names.len()];
        let mut places = BTreeMap::new();
        for (_, group, examples) in groups {
            let middle = before as f64 + examples as f64 / 2.0;
            let place = ends.iter().position(|end| middle < *end);
            let place = place.unwrap_or(names.len() - 1);
            filled[place] = true;
            places.insert(group, place);
            before += examples;
        }
        match filled.iter().position(|is_filled| !is_filled) {
            Some(empty) if total > 0 => Err(DataError::mismatch(
                format!(
                    "the split `{}` would be empty: `{}` holds {total} examples in {n_groups} groups that stay together",
                    names[empty], divide.split
                ),
                "raise its share, set `by: example`, or name the document in ids with `document_id_end`",
            )),
            _ => Ok(places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divide(into: &[(&str, f64)], seed: u64) -> Divide {
        let into = into
            .iter()
            .map(|(name, share)| ((*name).to_owned(), *share));
        Divide {
            split: "all".to_owned(),
            into: into.collect(),
            seed,
            by: Unit::Document,
        }
    }

    fn places(sizes: &[u64], divide: &Divide) -> Vec<usize> {
        let hash = |i: usize| {
            let mut hash = Hash::default();
            hash[..8].copy_from_slice(&(i as u64).to_le_bytes());
            hash
        };
        let mut groups = Groups::default();
        for (i, size) in sizes.iter().enumerate() {
            for _ in 0..*size {
                groups.add(Group(hash(i)), &hash(i), divide.seed);
            }
        }
        let places = groups.divide(divide).expect("no split is empty");
        (0..sizes.len()).map(|i| places[&Group(hash(i))]).collect()
    }

    #[test]
    fn splits_of_test_are_known_by_a_word_of_their_names() {
        for name in [
            "test",
            "Test",
            "test1",
            "test-2",
            "bioasq_testing",
            "dev.test",
        ] {
            assert!(is_test_split(name), "{name}");
        }
        for name in [
            "dev",
            "train",
            "",
            "contest",
            "latest",
            "attested",
            "validation",
        ] {
            assert!(!is_test_split(name), "{name}");
        }
    }

    #[test]
    fn shares_of_equal_groups_are_exact_and_the_seed_decides() {
        let blurb = divide(&[("test", 0.2), ("train", 0.64), ("dev", 0.16)], 1);
        assert_eq!(blurb.names(), ["train", "dev", "test"]);
        let first = places(&[1; 100], &blurb);
        let count = |place| first.iter().filter(|one| **one == place).count();
        assert_eq!([count(0), count(1), count(2)], [64, 16, 20]);
        assert_eq!(first, places(&[1; 100], &blurb));
        let other = Divide { seed: 2, ..blurb };
        assert_ne!(first, places(&[1; 100], &other));
    }

    #[test]
    fn shares_are_met_to_half_a_group() {
        let sizes: Vec<u64> = (0..200).map(|i| 1 + i % 7).collect();
        let two = divide(&[("train", 0.9), ("dev", 0.1)], 7);
        let total: u64 = sizes.iter().sum();
        let places = places(&sizes, &two);
        let dev: u64 = (places.iter().zip(&sizes))
            .filter(|(place, _)| **place == 1)
            .map(|(_, size)| size)
            .sum();
        assert!(
            (dev as f64 - 0.1 * total as f64).abs() <= 3.5,
            "{dev} of {total}"
        );
    }

    #[test]
    fn an_empty_split_is_refused() {
        let mut groups = Groups::default();
        groups.add(Group(Hash::default()), &Hash::default(), 0);
        let two = divide(&[("train", 0.9), ("dev", 0.1)], 0);
        let error = groups.divide(&two).expect_err("one group, two splits");
        assert_eq!(
            error.to_string(),
            "the split `dev` would be empty: `all` holds 1 examples in 1 groups that stay together"
        );
    }
}
