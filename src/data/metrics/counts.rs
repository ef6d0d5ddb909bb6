//! True positives, false positives, false negatives, and the scores made of them. Knows nothing of examples.

use std::collections::BTreeMap;

use super::Outcome;

/// How often something was found, invented and missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) found: u64,
    pub(super) invented: u64,
    pub(super) missed: u64,
}

impl Counts {
    pub(super) fn right(&self) -> u64 {
        self.found + self.missed
    }

    pub(super) fn add(&mut self, other: Self) {
        self.found += other.found;
        self.invented += other.invented;
        self.missed += other.missed;
    }

    /// Percent of what was predicted that is right; 0 where nothing was predicted.
    pub(super) fn precision(&self) -> f64 {
        percent(self.found, self.found + self.invented)
    }

    /// Percent of what is right that was predicted; 0 where nothing is right.
    pub(super) fn recall(&self) -> f64 {
        percent(self.found, self.right())
    }

    /// The harmonic mean of both: `2 found / (predicted + right)`; 0 where both are empty.
    pub(super) fn f1(&self) -> f64 {
        percent(2 * self.found, 2 * self.found + self.invented + self.missed)
    }
}

/// `100 part / whole`, 0 where `whole` is 0.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    }
}

/// Rows for each class, then over all classes: `precision`, `recall`, `f1` pooled, and `macro_f1`, the mean over classes.
/// `n` is the number of right items.
pub(super) fn rows(outcome: &mut Outcome, classes: &BTreeMap<String, Counts>) -> Counts {
    let mut all = Counts::default();
    for (class, counts) in classes {
        push(outcome, Some(class), counts);
        all.add(*counts);
    }
    push(outcome, None, &all);
    let mean = mean(classes.values().map(Counts::f1));
    outcome.add("macro_f1", None, mean, all.right());
    all
}

fn push(outcome: &mut Outcome, class: Option<&str>, counts: &Counts) {
    outcome.add("precision", class, counts.precision(), counts.right());
    outcome.add("recall", class, counts.recall(), counts.right());
    outcome.add("f1", class, counts.f1(), counts.right());
}

/// The arithmetic mean; 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0_u64);
    for value in values {
        sum += value;
        n += 1;
    }
    if n == 0 { 0.0 } else { sum / n as f64 }
}
