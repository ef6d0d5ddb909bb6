//! Losses on the CPU. They are small: one thread, in order, sums in f64.

use super::{Choices, IGNORED, Losses, RtdSum};
use crate::arena::{Ints, Real};
use crate::backend::Sequences;
use crate::cpu::Cpu;

/// `ln(1 + e^-|x|)` and the logistic function, both safe for any `x`.
fn logistic(x: f64) -> (f64, f64) {
    let small = (-x.abs()).exp();
    let value = if x >= 0.0 {
        1.0 / (1.0 + small)
    } else {
        small / (1.0 + small)
    };
    (small.ln_1p(), value)
}

/// Cross-entropy of one row, its gradient by overwrite. `at` gives the place of class `i` in both.
fn row_loss(
    logits: &[f32],
    at: impl Fn(usize) -> usize,
    classes: usize,
    label: usize,
    scale: f64,
    gradient: Option<&mut [f32]>,
) -> f64 {
    let value = |i: usize| f64::from(logits[at(i)]);
    let top = (0..classes).map(value).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = (0..classes).map(|i| (value(i) - top).exp()).sum();
    let lse = top + sum.ln();
    if let Some(gradient) = gradient {
        for i in 0..classes {
            let target = f64::from(u8::from(i == label));
            gradient[at(i)] = (scale * ((value(i) - lse).exp() - target)) as f32;
        }
    }
    lse - value(label)
}

impl Losses for Cpu {
    fn replaced_token(
        &mut self,
        logits: Real,
        targets: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let targets = self.ints.get(targets.range());
        let scale = gradient.map_or(0.0, |(scale, _)| scale);
        let place = gradient.map_or(0..0, |(_, place)| place.range());
        let ([logits], [d, sums]) = self.reals.views([logits.range()], [place, sums.range()]);
        let mut found = [0.0_f64; super::RTD_SUMS];
        for (i, (logit, target)) in logits.iter().zip(targets).enumerate() {
            if *target == IGNORED {
                if let Some(d) = d.get_mut(i) {
                    *d = 0.0;
                }
                continue;
            }
            let (x, y) = (f64::from(*logit), f64::from(*target));
            let (soft, p) = logistic(x);
            found[RtdSum::Loss as usize] += x.max(0.0) - x * y + soft;
            let is_predicted = *logit > 0.0;
            let is_replaced = *target == 1;
            let one = |is: bool| f64::from(u8::from(is));
            found[RtdSum::Correct as usize] += one(is_predicted == is_replaced);
            found[RtdSum::Predicted as usize] += one(is_predicted);
            found[RtdSum::Replaced as usize] += one(is_replaced);
            found[RtdSum::Both as usize] += one(is_predicted && is_replaced);
            if let Some(d) = d.get_mut(i) {
                *d = (f64::from(scale) * (p - y)) as f32;
            }
        }
        for (sum, found) in sums.iter_mut().zip(found) {
            *sum += found as f32;
        }
    }

    fn cross_entropy(
        &mut self,
        logits: Real,
        labels: Ints,
        classes: usize,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let labels = self.ints.get(labels.range());
        let scale = gradient.map_or(0.0, |(scale, _)| scale);
        let place = gradient.map_or(0..0, |(_, place)| place.range());
        let has_gradient = gradient.is_some();
        let ([logits], [d, sums]) = self.reals.views([logits.range()], [place, sums.range()]);
        let mut loss = 0.0;
        for (row, label) in labels.iter().enumerate() {
            let range = row * classes..(row + 1) * classes;
            if *label == IGNORED {
                if has_gradient {
                    d[range].fill(0.0);
                }
                continue;
            }
            let d = has_gradient.then(|| &mut d[range.clone()]);
            let (logits, label) = (&logits[range], *label as usize);
            loss += row_loss(logits, |i| i, classes, label, f64::from(scale), d);
        }
        sums[0] += loss as f32;
    }

    fn span(
        &mut self,
        logits: Real,
        sequences: Sequences,
        start: Ints,
        end: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let starts = self.ints.get(sequences.starts.range());
        let labels = [start, end].map(|labels| self.ints.get(labels.range()));
        let scale = gradient.map_or(0.0, |(scale, _)| scale);
        let place = gradient.map_or(0..0, |(_, place)| place.range());
        let has_gradient = gradient.is_some();
        let ([logits], [d, sums]) = self.reals.views([logits.range()], [place, sums.range()]);
        let mut loss = 0.0;
        if has_gradient {
            d[2 * starts[sequences.count] as usize..].fill(0.0);
        }
        for i in 0..sequences.count {
            let (first, last) = (starts[i] as usize, starts[i + 1] as usize);
            for (side, labels) in labels.iter().enumerate() {
                let at = |row: usize| 2 * (first + row) + side;
                let (rows, label) = (last - first, labels[i] as usize);
                let half = 0.5 * f64::from(scale);
                let d = has_gradient.then_some(&mut *d);
                loss += 0.5 * row_loss(logits, at, rows, label, half, d);
            }
        }
        sums[0] += loss as f32;
    }

    fn choice(
        &mut self,
        logits: Real,
        choices: Choices,
        labels: Ints,
        weight: f32,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let starts = self.ints.get(choices.sequences.starts.range());
        let allowed = self.ints.get(choices.allowed.range());
        let labels = self.ints.get(labels.range());
        let scale = gradient.map_or(0.0, |(scale, _)| f64::from(scale) * f64::from(weight));
        let place = gradient.map_or(0..0, |(_, place)| place.range());
        let ([logits], [d, sums]) = self.reals.views([logits.range()], [place, sums.range()]);
        let mut loss = 0.0;
        if gradient.is_some() {
            d[starts[choices.sequences.count] as usize..].fill(0.0);
        }
        for i in 0..choices.sequences.count {
            let rows = starts[i] as usize..starts[i + 1] as usize;
            let label = rows.start + labels[i] as usize;
            let of = |row: usize| (allowed[row] == 1).then_some(f64::from(logits[row]));
            let top = rows.clone().filter_map(of).fold(f64::MIN, f64::max);
            let all = rows.clone().filter_map(of);
            let lse = top + all.map(|logit| (logit - top).exp()).sum::<f64>().ln();
            loss += f64::from(weight) * (lse - f64::from(logits[label]));
            if gradient.is_some() {
                for row in rows {
                    let target = f64::from(u8::from(row == label));
                    let share = of(row).map_or(0.0, |logit| (logit - lse).exp() - target);
                    d[row] = (scale * share) as f32;
                }
            }
        }
        sums[0] += loss as f32;
    }

    fn squared_error(
        &mut self,
        predictions: Real,
        targets: Real,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let scale = gradient.map_or(0.0, |(scale, _)| scale);
        let place = gradient.map_or(0..0, |(_, place)| place.range());
        let ([predictions, targets], [d, sums]) = self.reals.views(
            [predictions.range(), targets.range()],
            [place, sums.range()],
        );
        let mut loss = 0.0;
        for (i, (p, t)) in predictions.iter().zip(targets).enumerate() {
            let difference = f64::from(*p) - f64::from(*t);
            loss += difference * difference;
            if let Some(d) = d.get_mut(i) {
                *d = (2.0 * f64::from(scale) * difference) as f32;
            }
        }
        sums[0] += loss as f32;
    }
}
