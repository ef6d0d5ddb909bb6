//! Whether a mean over repetitions is as close to a stated number as is asked, told from their spread. Knows no claims.

use serde::Serialize;

use crate::stats::{self, Summary};

/// How an [`Interval`] is made and judged, as the report prints it.
pub const EQUIVALENCE_FORMULA: &str = "d ± t(0.95, ν) · √(s²/n + s₀²/n₀), where d is the mean of n repetitions minus the stated number, s their standard deviation, s₀ and n₀ those of the stated number, and ν = (s²/n + s₀²/n₀)² / ((s²/n)²/(n − 1) + (s₀²/n₀)²/(n₀ − 1)) (Welch and Satterthwaite); never narrower than t(0.95, n − 1) · s/√n or t(0.95, n₀ − 1) · s₀/√n₀ alone. Where no s₀ is stated ours is taken for it, with ν = n − 1; where no n₀ is stated the number counts as one run, n₀ = 1";

/// More repetitions than this are not counted out.
pub const MOST_REPETITIONS: usize = 1000;
/// The 0.95 quantile of the normal distribution, below which no quantile of Student's lies.
const NORMAL_QUANTILE: f64 = 1.644_853_626_951_472_2;
/// One-sided level of each of the two tests.
const LEVEL: f64 = 0.95;

/// What is known of the spread behind a stated number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "spread")]
pub enum Stated {
    /// Standard deviation over `n` runs, at least two, as stated.
    Known {
        /// Standard deviation, in the unit of the number.
        deviation: f64,
        /// How many runs.
        n: usize,
    },
    /// Ours is taken for it, over `n` runs: 1 where nobody says how many.
    Assumed {
        /// How many runs.
        n: usize,
    },
}

/// The 90 % interval of mean minus stated, in the unit of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Mean minus stated.
    pub difference: f64,
    /// Half its width.
    pub half_width: f64,
}

/// Where the interval lies: inside the margin means two one-sided tests at 5 % (Schuirmann 1987).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Wholly within ± margin.
    Inside,
    /// Wholly beyond one edge of it.
    Outside,
    /// Across an edge.
    Open,
}

/// What would settle an open outcome, were mean and spread to stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// This many repetitions in all.
    By(usize),
    /// More than [`MOST_REPETITIONS`].
    ByMore,
    /// No number of them: the difference is the margin, or the stated number is itself too uncertain.
    Never,
}

/// The interval of a sample of two or more; `None` for one value, which shows no spread.
#[must_use]
pub fn interval(sample: &Summary, value: f64, stated: Stated) -> Option<Interval> {
    Some(Interval {
        difference: sample.mean - value,
        half_width: half_width(sample.deviation?, sample.n, stated),
    })
}

impl Interval {
    /// Where the interval lies against ± `margin`; `slack` is what the rounding of binary fractions may do.
    #[must_use]
    pub fn outcome(&self, margin: f64, slack: f64) -> Outcome {
        let distance = self.difference.abs();
        if distance + self.half_width <= margin + slack {
            Outcome::Inside
        } else if distance - self.half_width > margin + slack {
            Outcome::Outside
        } else {
            Outcome::Open
        }
    }

    /// The smallest number of repetitions, more than those of `sample`, with which the interval would no longer be open.
    #[must_use]
    pub fn settled_by(&self, sample: &Summary, stated: Stated, margin: f64, slack: f64) -> Settled {
        let deviation = sample.deviation.unwrap_or_default();
        let gap = margin - self.difference.abs();
        // At the very edge one more digit of the mean decides, not one more run.
        if gap.abs() <= slack || least_half_width(deviation, stated) >= gap.abs() {
            return Settled::Never;
        }
        let settles = |n: usize| {
            // The normal quantile is below any of Student's, and costs nothing.
            NORMAL_QUANTILE * standard_error(deviation, n, stated) <= gap.abs() + slack
                && Self {
                    half_width: half_width(deviation, n, stated),
                    ..*self
                }
                .outcome(margin, slack)
                    != Outcome::Open
        };
        let first = sample.n.max(1) + 1;
        (first..=MOST_REPETITIONS)
            .find(|n| settles(*n))
            .map_or(Settled::ByMore, Settled::By)
    }
}

/// √(s²/n + s₀²/n₀).
fn standard_error(deviation: f64, n: usize, stated: Stated) -> f64 {
    let (ours, theirs) = variances(deviation, n, stated);
    (ours + theirs).sqrt()
}

/// Variances of the two means.
fn variances(deviation: f64, n: usize, stated: Stated) -> (f64, f64) {
    let ours = deviation.powi(2) / n as f64;
    match stated {
        Stated::Known { deviation, n } => (ours, deviation.powi(2) / n as f64),
        Stated::Assumed { n } => (ours, deviation.powi(2) / n as f64),
    }
}

/// Half the interval for `n` ≥ 2 repetitions, as [`EQUIVALENCE_FORMULA`] has it.
///
/// The plain interval of Welch narrows where the smaller spread grows, since two spreads of a size are worth more degrees
/// of freedom than one: with a stated number over two runs, noise of ours would make a verdict surer. The two floors are
/// what either side alone leaves open; with them the interval grows with both spreads.
fn half_width(deviation: f64, n: usize, stated: Stated) -> f64 {
    let (ours, theirs) = variances(deviation, n, stated);
    let own_freedom = n as f64 - 1.0;
    let error = (ours + theirs).sqrt();
    if error == 0.0 {
        return 0.0;
    }
    if !error.is_finite() {
        // Spreads whose squares are beyond numbers: nothing is shown.
        return f64::INFINITY;
    }
    match stated {
        Stated::Assumed { .. } => student_quantile(own_freedom) * error,
        Stated::Known { n: runs, .. } => {
            let their_freedom = runs as f64 - 1.0;
            // Shares of the variance, so that tiny numbers do not square to nothing.
            let (share, rest) = (ours / (ours + theirs), theirs / (ours + theirs));
            let freedom = 1.0 / (share.powi(2) / own_freedom + rest.powi(2) / their_freedom);
            let alone = (student_quantile(own_freedom) * ours.sqrt())
                .max(student_quantile(their_freedom) * theirs.sqrt());
            (student_quantile(freedom) * error).max(alone)
        }
    }
}

/// What is left of the half width with ever more repetitions.
fn least_half_width(deviation: f64, stated: Stated) -> f64 {
    match stated {
        Stated::Known { deviation, n } => {
            student_quantile(n as f64 - 1.0) * deviation / (n as f64).sqrt()
        }
        Stated::Assumed { n } => NORMAL_QUANTILE * deviation / (n as f64).sqrt(),
    }
}

/// The 0.95 quantile of Student's distribution with `freedom` degrees of freedom, not always a whole number.
fn student_quantile(freedom: f64) -> f64 {
    stats::student_quantile(LEVEL, freedom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: f64, right: f64) {
        assert!(
            (left - right).abs() <= 1e-6 * right.abs(),
            "{left} against {right}"
        );
    }

    fn sample(mean: f64, deviation: f64, n: usize) -> Summary {
        Summary {
            n,
            mean,
            deviation: Some(deviation),
            min: mean - deviation,
            max: mean + deviation,
            half_width: None,
        }
    }

    #[test]
    fn quantiles_agree_with_printed_tables() {
        for (freedom, quantile) in [(1.0, 6.314), (2.0, 2.920), (4.0, 2.132), (8.0, 1.860)] {
            assert!((student_quantile(freedom) - quantile).abs() < 6e-4);
        }
    }

    #[test]
    fn by_hand_where_the_spread_is_assumed() {
        // 89.6, 90.0, 90.4, 89.8, 90.2: mean 90, Σ(x − 90)² = 0.4, s² = 0.1. Five runs stated as well:
        // √(0.1/5 + 0.1/5) = 0.2, t(0.95, 4) = 2.131847.
        let ours = Summary::of(&[89.6, 90.0, 90.4, 89.8, 90.2]).expect("five values");
        let five = interval(&ours, 90.03, Stated::Assumed { n: 5 }).expect("n > 1");
        close(five.difference, -0.03);
        close(five.half_width, 2.131_847 * 0.2);
        assert_eq!(five.outcome(0.8, 1e-9), Outcome::Inside);
        assert_eq!(five.outcome(0.4, 1e-9), Outcome::Open);
        // One run: √(0.1/5 + 0.1) = 0.346410.
        let one = interval(&ours, 90.03, Stated::Assumed { n: 1 }).expect("n > 1");
        close(one.half_width, 2.131_847 * 0.346_410_16);
        assert_eq!(one.outcome(0.8, 1e-9), Outcome::Inside);
        assert_eq!(one.outcome(0.7, 1e-9), Outcome::Open);
        // 2.131847 · 0.2 = 0.4264: from 0.8264 on it differs by more than 0.4.
        let away = |value| {
            interval(&ours, value, Stated::Assumed { n: 5 })
                .expect("n > 1")
                .outcome(0.4, 1e-9)
        };
        assert_eq!(away(90.83), Outcome::Outside);
        assert_eq!(away(90.82), Outcome::Open);
    }

    #[test]
    fn by_hand_where_the_spread_is_stated() {
        // s = 0.5 over 5, s₀ = 0.3 over 10: variances 0.05 and 0.009; ν = 0.059² / (0.05²/4 + 0.009²/9) = 5.490536.
        let ours = sample(80.0, 0.5, 5);
        let stated = Stated::Known {
            deviation: 0.3,
            n: 10,
        };
        let found = interval(&ours, 79.9, stated).expect("n > 1");
        // scipy.stats.t.ppf(0.95, 5.490536), between 2.015 for 5 and 1.943 for 6.
        close(found.half_width, 1.975_952_5 * 0.059_f64.sqrt());
    }

    #[test]
    fn one_value_has_no_interval_and_equal_values_have_a_point() {
        let one = Summary::of(&[1.0]).expect("one value");
        assert_eq!(interval(&one, 1.0, Stated::Assumed { n: 5 }), None);
        let equal = Summary::of(&[1.0; 4]).expect("four values");
        let point = interval(&equal, 1.0, Stated::Assumed { n: 5 }).expect("n > 1");
        assert_eq!(point.half_width, 0.0);
        assert_eq!(point.outcome(0.0, 0.0), Outcome::Inside);
        // Their spread is still there.
        let known = Stated::Known {
            deviation: 1.0,
            n: 4,
        };
        let open = interval(&equal, 1.0, known).expect("n > 1");
        close(open.half_width, 2.353_363 / 2.0);
    }

    #[test]
    fn repetitions_that_would_settle_it() {
        let settled = |difference: f64, n, runs, margin| {
            let ours = sample(difference, 1.0, n);
            let stated = Stated::Assumed { n: runs };
            let found = interval(&ours, 0.0, stated).expect("n > 1");
            assert_eq!(found.outcome(margin, 1e-9), Outcome::Open);
            found.settled_by(&ours, stated, margin, 1e-9)
        };
        // Half width t(0.95, n − 1) · √(1/n + 1/5): 1.734064 · 0.502625 = 0.8716 at 19, 1.729133 · 0.5 = 0.8646 at 20.
        assert_eq!(settled(0.0, 3, 5, 0.865), Settled::By(20));
        assert_eq!(settled(1.73, 3, 5, 0.865), Settled::By(20));
        // With one stated run no number of ours reaches below 1.645.
        assert_eq!(settled(0.0, 3, 1, 1.6), Settled::Never);
        // At the margin itself.
        assert_eq!(settled(0.5, 3, 5, 0.5), Settled::Never);
        // In reach only far out: 1.6449/√5 = 0.73560 is the limit.
        assert_eq!(settled(0.0, 3, 5, 0.7357), Settled::ByMore);
    }

    proptest! {
        /// More noise with the same mean: the interval only widens, so nothing becomes `Inside`, nothing `Outside`.
        #[test]
        fn noise_never_settles_anything(
            difference in -3.0_f64..3.0, margin in 0.0_f64..2.0, deviation in 0.0_f64..2.0, more in 1.0_f64..50.0,
            n in 2_usize..12, runs in 1_usize..12, theirs in prop::option::of(0.0_f64..2.0), is_ours in any::<bool>(),
        ) {
            let stated = |factor: f64| match theirs {
                Some(theirs) => Stated::Known { deviation: theirs * factor, n: runs + 1 },
                None => Stated::Assumed { n: runs },
            };
            let (ours, their_factor) = if is_ours { (deviation * more, 1.0) } else { (deviation, more) };
            let calm = interval(&sample(difference, deviation, n), 0.0, stated(1.0)).expect("n > 1");
            let loud = interval(&sample(difference, ours, n), 0.0, stated(their_factor)).expect("n > 1");
            prop_assert!(loud.half_width >= calm.half_width * (1.0 - 1e-9), "{calm:?} {loud:?}");
            let (before, after) = (calm.outcome(margin, 1e-7), loud.outcome(margin, 1e-7));
            prop_assert!(after == before || after == Outcome::Open, "{before:?} to {after:?}");
        }

        /// What is said to settle it does, and one repetition less does not.
        #[test]
        fn the_number_that_settles_is_the_smallest(
            difference in -2.0_f64..2.0, margin in 0.01_f64..2.0, deviation in 0.01_f64..2.0, n in 2_usize..8, runs in 1_usize..12,
        ) {
            let stated = Stated::Assumed { n: runs };
            let ours = sample(difference, deviation, n);
            let found = interval(&ours, 0.0, stated).expect("n > 1");
            if found.outcome(margin, 1e-9) == Outcome::Open
                && let Settled::By(needed) = found.settled_by(&ours, stated, margin, 1e-9)
            {
                let with = |n| interval(&sample(difference, deviation, n), 0.0, stated).expect("n > 1").outcome(margin, 1e-9);
                prop_assert!(needed > n);
                prop_assert!(with(needed) != Outcome::Open);
                prop_assert_eq!(with(needed - 1), Outcome::Open);
            }
        }
    }
}
