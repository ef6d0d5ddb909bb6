//! Two settings over the same repetitions: is their difference more than chance? Knows nothing of settings and names.
//!
//! Student's paired test needs differences that are nearly normal, which nobody can check on five of them; beside it
//! stands the exact sign-flip test of the mean difference (Fisher 1935; Pitman 1937), which needs only that each
//! difference could as well have had the other sign. Both are two-sided.

use serde::Serialize;

use crate::stats::{Summary, student_two_sided};

/// What the t-test is called.
pub const T_TEST: &str = "paired t-test, two-sided";
/// What the exact test is called.
pub const EXACT_TEST: &str = "exact sign-flip permutation test of the mean difference, two-sided";
/// Pairs up to which every choice of signs is counted.
pub const EXACT_UP_TO: usize = 30;

/// Second minus first, over pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// How many pairs.
    pub n: usize,
    /// Mean of the first values.
    pub first: f64,
    /// Mean of the second values.
    pub second: f64,
    /// Mean of second − first.
    pub difference: f64,
    /// Sample standard deviation of the differences, over n − 1; `None` for one pair.
    pub deviation: Option<f64>,
    /// Half the width of the 95 % interval of the mean difference, t(0.975, n − 1) · s / √n; `None` for one pair.
    pub half_width: Option<f64>,
    /// difference / (s / √n); `None` for one pair, and where the differences have no spread.
    pub t: Option<f64>,
    /// p of the t-test with n − 1 degrees of freedom; `None` where there is no t.
    pub p_t: Option<f64>,
    /// p of the exact test; `None` above [`EXACT_UP_TO`] pairs.
    pub p_exact: Option<f64>,
    /// The smallest p that the exact test can reach with so many pairs: 2 of 2ⁿ choices of signs.
    pub smallest_exact: Option<f64>,
}

/// Compares the values of each pair; `None` without pairs.
#[must_use]
pub fn compare(pairs: &[(f64, f64)]) -> Option<Paired> {
    let mean = |values: Vec<f64>| Summary::of(&values).map(|summary| summary.mean);
    let first = mean(pairs.iter().map(|pair| pair.0).collect())?;
    let second = mean(pairs.iter().map(|pair| pair.1).collect())?;
    let mut differences: Vec<f64> = pairs.iter().map(|pair| pair.1 - pair.0).collect();
    // Scores such as 90.1 − 90.0 and 80.1 − 80.0 are equal on paper and differ in their last bits.
    let noise = 4.0
        * f64::EPSILON
        * pairs
            .iter()
            .map(|pair| pair.0.abs() + pair.1.abs())
            .sum::<f64>();
    let at_first = differences[0];
    if differences
        .iter()
        .all(|difference| (difference - at_first).abs() <= noise)
    {
        differences.fill(if at_first.abs() <= noise {
            0.0
        } else {
            at_first
        });
    }
    let summary = Summary::of(&differences)?;
    let n = summary.n;
    let t = summary
        .deviation
        .filter(|deviation| *deviation > 0.0)
        .map(|deviation| summary.mean / (deviation / (n as f64).sqrt()));
    Some(Paired {
        n,
        first,
        second,
        difference: summary.mean,
        deviation: summary.deviation,
        half_width: summary.half_width,
        t,
        p_t: t.map(|t| student_two_sided(t, n - 1)),
        p_exact: (n <= EXACT_UP_TO).then(|| sign_flip(&differences, noise)),
        smallest_exact: (n <= EXACT_UP_TO)
            .then(|| 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX) - 1)),
    })
}

/// The part of all 2ⁿ choices of signs whose sum lies at least as far from 0 as the sum that was seen. Sums within
/// `noise` are equal, so that rounding never makes a result look rarer than it is.
///
/// Both halves are summed over their own signs, and each sum of the left half finds by bisection how many of the right
/// half go with it: 2^(n/2) steps instead of 2ⁿ.
fn sign_flip(differences: &[f64], noise: f64) -> f64 {
    let seen = differences.iter().sum::<f64>().abs() - noise;
    let (left, right) = differences.split_at(differences.len() / 2);
    let left = signed_sums(left);
    let mut right = signed_sums(right);
    right.sort_by(f64::total_cmp);
    let all = left.len() as f64 * right.len() as f64;
    let mut as_far = 0_usize;
    for sum in &left {
        let above = right.len() - right.partition_point(|other| sum + other < seen);
        let below = right.partition_point(|other| sum + other <= -seen);
        as_far += if seen <= 0.0 {
            right.len()
        } else {
            above + below
        };
    }
    as_far as f64 / all
}

/// The sums of `values` under every choice of signs.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums = sums
            .iter()
            .flat_map(|sum| [sum - value, sum + value])
            .collect();
    }
    sums
}

/// Each p corrected for having made all these tests, after Holm (1979): the chance that any of the true null hypotheses
/// is rejected stays below the level. In the order given.
#[must_use]
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let mut corrected = vec![0.0; ps.len()];
    let mut most = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        let times = (ps.len() - rank) as f64;
        most = most.max((times * ps[at]).min(1.0));
        corrected[at] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: Option<f64>, right: f64, tolerance: f64) {
        let left = left.expect("there is a number");
        assert!((left - right).abs() <= tolerance, "{left} against {right}");
    }

    #[test]
    fn five_pairs_by_hand() {
        // Differences 1, 2, 3, 4, 5: mean 3, s² = 10/4, t = 3 / √(2.5/5) = 4.242641.
        let pairs: Vec<(f64, f64)> = (1..=5).map(|d| (80.0, 80.0 + f64::from(d))).collect();
        let found = compare(&pairs).expect("five pairs");
        assert_eq!((found.n, found.first, found.second), (5, 80.0, 83.0));
        close(found.t, 18.0_f64.sqrt(), 1e-12);
        // t(0.975, 4) = 2.776445.
        close(found.half_width, 2.776_445_105 * 0.5_f64.sqrt(), 1e-8);
        // All signs equal: 2 of 32 choices, which is as rare as five pairs can be.
        assert_eq!(
            (found.p_exact, found.smallest_exact),
            (Some(0.0625), Some(0.0625))
        );
        // With −1 for 1 the sum is 13; 15 and 13 are as far: {all +}, {1 −}, and their mirrors.
        let turned: Vec<(f64, f64)> = [-1.0, 2.0, 3.0, 4.0, 5.0].map(|d| (0.0, d)).into();
        assert_eq!(compare(&turned).expect("five").p_exact, Some(4.0 / 32.0));
    }

    #[test]
    fn what_cannot_be_tested_says_so() {
        assert_eq!(compare(&[]), None);
        let one = compare(&[(90.0, 91.0)]).expect("a pair");
        assert_eq!((one.deviation, one.half_width, one.p_t), (None, None, None));
        assert_eq!((one.p_exact, one.smallest_exact), (Some(1.0), Some(1.0)));
        // Equal on paper, not in their last bits: no spread, so no t; three of three better is 2 of 8.
        let even = compare(&[(90.0, 90.1), (80.0, 80.1), (70.0, 70.1)]).expect("pairs");
        assert_eq!((even.t, even.p_t, even.p_exact), (None, None, Some(0.25)));
        let same = compare(&[(0.3, 0.1 + 0.2), (0.7, 0.7)]).expect("pairs");
        assert_eq!((same.difference, same.p_exact), (0.0, Some(1.0)));
        let many = vec![(0.0, 1.0); EXACT_UP_TO + 1];
        assert_eq!(compare(&many).expect("pairs").p_exact, None);
    }

    #[test]
    fn holm_by_hand() {
        // 0.01·4, 0.02·3, 0.03·2 = 0.06, 0.04·1 is below it.
        let corrected = holm(&[0.04, 0.01, 0.03, 0.02]);
        for (found, expected) in corrected.iter().zip([0.06, 0.04, 0.06, 0.06]) {
            assert!((found - expected).abs() < 1e-12, "{corrected:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn the_exact_test_counts_every_choice_of_signs(differences in prop::collection::vec(-20_i32..20, 1..11)) {
            let pairs: Vec<(f64, f64)> = differences.iter().map(|d| (0.0, f64::from(*d))).collect();
            let seen = differences.iter().sum::<i32>().abs();
            let choices = 1_u32 << differences.len();
            let as_far = (0..choices).filter(|signs| {
                let sum: i32 = differences.iter().enumerate()
                    .map(|(at, d)| if signs >> at & 1 == 1 { *d } else { -d }).sum();
                sum.abs() >= seen
            }).count();
            let found = compare(&pairs).expect("pairs");
            prop_assert_eq!(found.p_exact, Some(as_far as f64 / f64::from(choices)));
            let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
            let turned = compare(&turned).expect("pairs");
            prop_assert_eq!((turned.p_exact, -turned.difference), (found.p_exact, found.difference));
        }
    }
}
