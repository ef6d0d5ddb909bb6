//! Numbers over repetitions: mean, spread, interval. Knows nothing of where they come from.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// How [`Summary::half_width`] is made, as the report prints it.
pub const INTERVAL_FORMULA: &str = "mean ± t(0.975, n − 1) · s / √n, where s = √(Σ(x − mean)² / (n − 1)) and t is the quantile of Student's distribution";

/// A sample in short.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation, over n − 1; `None` for one value.
    pub deviation: Option<f64>,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// Half the width of the 95 % interval of the mean; `None` for one value.
    pub half_width: Option<f64>,
}

impl Summary {
    /// The summary of `values`, summed in their order; `None` when there are none.
    ///
    /// mean = Σx / n; s² = Σ(x − mean)² / (n − 1); half width = t(0.975, n − 1) · s / √n.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let (&first, rest) = values.split_first()?;
        if rest.iter().all(|value| *value == first) {
            // No rounding of the sum can turn equal values into a spread.
            let spread = (!rest.is_empty()).then_some(0.0);
            return Some(Self {
                n: values.len(),
                mean: first,
                deviation: spread,
                min: first,
                max: first,
                half_width: spread,
            });
        }
        let count = values.len() as f64;
        // Distances from the first value keep the digits of large, close numbers.
        let mean = first + values.iter().map(|value| value - first).sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0)).sqrt();
        Some(Self {
            n: values.len(),
            mean,
            deviation: Some(deviation),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            half_width: Some(student_quantile(0.975, count - 1.0) * deviation / count.sqrt()),
        })
    }
}

/// The quantile at `level` of Student's distribution with `freedom` degrees of freedom, not always a whole number.
pub(crate) fn student_quantile(level: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom)
        .expect("more than no degrees of freedom")
        .inverse_cdf(level)
}

/// The chance of a |t| at least this large, with `freedom` degrees of freedom, where there is no difference.
pub(crate) fn student_two_sided(t: f64, freedom: usize) -> f64 {
    let student = StudentsT::new(0.0, 1.0, freedom as f64).expect("at least one degree of freedom");
    // Of the far tail, so that a tiny chance keeps its digits.
    (2.0 * student.sf(t.abs())).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} against {right}");
    }

    #[test]
    fn hand_values() {
        // Σx = 40, mean 5, Σ(x − 5)² = 32, s² = 32/7.
        let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("eight values");
        assert_eq!(summary.n, 8);
        close(summary.mean, 5.0, 1e-12);
        close(summary.deviation.expect("n > 1"), 2.138_089_935, 1e-9);
        assert_eq!((summary.min, summary.max), (2.0, 9.0));
        // t(0.975, 7) = 2.364624.
        close(summary.half_width.expect("n > 1"), 1.787_487, 1e-5);
    }

    #[test]
    fn quantiles_agree_with_printed_tables() {
        for (freedom, quantile) in [
            (1.0, 12.706),
            (2.0, 4.303),
            (3.0, 3.182),
            (4.0, 2.776),
            (9.0, 2.262),
            (30.0, 2.042),
        ] {
            close(student_quantile(0.975, freedom), quantile, 6e-4);
        }
    }

    #[test]
    fn one_value_has_no_spread_and_none_has_no_summary() {
        let summary = Summary::of(&[90.03]).expect("one value");
        assert_eq!((summary.deviation, summary.half_width), (None, None));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn equal_values_have_no_spread() {
        let summary = Summary::of(&[0.1; 3]).expect("three values");
        assert_eq!((summary.mean, summary.deviation), (0.1, Some(0.0)));
    }

    proptest! {
        #[test]
        fn mean_lies_between_and_shifts(values in prop::collection::vec(-1e6_f64..1e6, 2..20), shift in -1e6_f64..1e6) {
            let summary = Summary::of(&values).expect("two values or more");
            prop_assert!(summary.min <= summary.mean + 1e-9 && summary.mean <= summary.max + 1e-9);
            let moved: Vec<f64> = values.iter().map(|value| value + shift).collect();
            let moved = Summary::of(&moved).expect("two values or more");
            prop_assert!((moved.mean - summary.mean - shift).abs() < 1e-6);
            let (before, after) = (summary.deviation.expect("n > 1"), moved.deviation.expect("n > 1"));
            prop_assert!((before - after).abs() < 1e-6 * before.max(1.0));
        }
    }
}
