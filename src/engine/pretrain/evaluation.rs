//! What held-out examples say of a generator and a discriminator. Spec D.6. Knows no device.

use crate::model::pretraining::Corrupted;

/// What held-out examples say. Spec D.6; all over real tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct EvaluationNumbers {
    /// Generator's loss in nats a slot.
    pub masked_lm_loss: f64,
    /// Share of the slots whose best entry is the target.
    pub masked_lm_accuracy: f64,
    /// Share of the slots whose sample is the target.
    pub sampled_masked_lm_accuracy: f64,
    /// Mean over examples of the discriminator's mean loss.
    pub disc_loss: f64,
    /// Area under the ROC curve of the discriminator's logits.
    pub disc_auc: f64,
    /// Share of the tokens judged rightly.
    pub disc_accuracy: f64,
    /// Share of those judged replaced that are.
    pub disc_precision: f64,
    /// Share of the replaced that are found.
    pub disc_recall: f64,
}

/// What the generator says of the slots of a batch, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MlmCounts {
    /// Cross-entropy in nats.
    pub loss: f64,
    /// Slots whose best entry is the target.
    pub correct: f64,
    /// Slots whose sample is the target.
    pub sampled_correct: f64,
}

/// A token in evaluation: its example, its logit, whether it was replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Number of its example; those of a batch come in order.
    pub example: usize,
    /// The discriminator's logit.
    pub logit: f32,
    /// Whether it was replaced.
    pub is_replaced: bool,
}

/// Adds the tokens of a corrupted micro-batch, whose logits come in their order.
pub(super) fn judge(corrupted: &Corrupted, logits: &[f32], judged: &mut Vec<Judged>) {
    let first = judged.last().map_or(0, |last| last.example + 1);
    let mut logits = logits.iter();
    for (example, replaced) in (first..).zip(&corrupted.replaced) {
        judged.extend(replaced.iter().map(|is_replaced| Judged {
            example,
            logit: *logits.next().expect("one logit a token"),
            is_replaced: *is_replaced,
        }));
    }
}

impl EvaluationNumbers {
    /// Of a batch with so many slots.
    #[must_use]
    pub fn new(mlm: MlmCounts, slots: usize, mut judged: Vec<Judged>) -> Self {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let count = |is: &dyn Fn(&Judged) -> bool| judged.iter().filter(|j| is(j)).count() as f64;
        let n = judged.len() as f64;
        let replaced = count(&|j| j.is_replaced);
        let predicted = count(&|j| j.logit > 0.0);
        let both = count(&|j| j.is_replaced && j.logit > 0.0);
        let correct = count(&|j| j.is_replaced == (j.logit > 0.0));
        let examples = judged.last().map_or(0, |last| last.example + 1);
        let mut losses = vec![(0.0_f64, 0.0_f64); examples];
        for j in &judged {
            let (x, y) = (f64::from(j.logit), f64::from(u8::from(j.is_replaced)));
            let loss = x.max(0.0) - x * y + (-x.abs()).exp().ln_1p();
            losses[j.example].0 += loss;
            losses[j.example].1 += 1.0;
        }
        let disc_loss = losses.iter().map(|(sum, n)| sum / n).sum::<f64>();
        let slots = slots as f64;
        Self {
            masked_lm_loss: share(mlm.loss, slots),
            masked_lm_accuracy: share(mlm.correct, slots),
            sampled_masked_lm_accuracy: share(mlm.sampled_correct, slots),
            disc_loss: share(disc_loss, examples as f64),
            disc_accuracy: share(correct, n),
            disc_precision: share(both, predicted),
            disc_recall: share(both, replaced),
            disc_auc: area_under_curve(&mut judged),
        }
    }
}

/// The chance that a replaced token has a larger logit than an original one, ties counted half.
fn area_under_curve(judged: &mut [Judged]) -> f64 {
    judged.sort_by(|a, b| a.logit.total_cmp(&b.logit));
    let (mut below, mut area) = (0.0_f64, 0.0_f64);
    let (mut positives, mut negatives) = (0.0_f64, 0.0_f64);
    for ties in judged.chunk_by(|a, b| a.logit == b.logit) {
        let replaced = ties.iter().filter(|j| j.is_replaced).count() as f64;
        let original = ties.len() as f64 - replaced;
        area += replaced * (below + original / 2.0);
        below += original;
        positives += replaced;
        negatives += original;
    }
    if positives * negatives > 0.0 {
        area / (positives * negatives)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs() {
        let mut judged: Vec<Judged> = [
            (0.1, false),
            (0.4, false),
            (0.35, true),
            (0.8, true),
            (0.4, true),
        ]
        .into_iter()
        .map(|(logit, is_replaced)| Judged {
            example: 0,
            logit,
            is_replaced,
        })
        .collect();
        // Pairs: 0.35 beats 0.1 only; 0.8 beats both; 0.4 beats 0.1 and ties with 0.4.
        assert!((area_under_curve(&mut judged) - (1.0 + 2.0 + 1.5) / 6.0).abs() < 1e-12);
    }
}
