//! Axes: from numbers to places on the paper, and where the ticks stand. Knows nothing of marks.

/// A linear axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// The number at the axis' begin.
    pub from: f64,
    /// The number at its end.
    pub to: f64,
    /// Where the ticks stand, ascending, all within the axis.
    pub ticks: Vec<f64>,
    /// Digits after the point that tell the ticks apart.
    pub decimals: u8,
}

impl Scale {
    /// An axis over `low..high` with about `wanted` ticks at 1, 2, 2.5 or 5 times a power of ten. Begins at `from` if given.
    #[must_use]
    pub fn around(low: f64, high: f64, from: Option<f64>, wanted: usize) -> Self {
        let low = from.unwrap_or(low);
        let (low, high) = if high > low {
            (low, high)
        } else {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (if from.is_some() { low } else { low - room }, low + room)
        };
        let raw = (high - low) / wanted as f64;
        let power = 10_f64.powf(raw.log10().floor());
        let (factor, extra) = [(1.0, 0), (2.0, 0), (2.5, 1), (5.0, 0), (10.0, -1)]
            .into_iter()
            .find(|(factor, _)| factor * power >= raw * 0.999_999)
            .unwrap_or((10.0, -1));
        let step = factor * power;
        let begin = from.unwrap_or_else(|| (low / step).floor() * step);
        let end = (high / step).ceil() * step;
        let first = (begin / step).ceil();
        let count = ((end / step) - first).round().max(0.0) as usize;
        let exponent = power.log10().round() as i32;
        Self {
            from: begin,
            to: end,
            // Multiples of the step, not repeated sums: no error piles up. `+ 0.0` turns −0 into 0.
            ticks: (0..=count)
                .map(|at| (first + at as f64) * step + 0.0)
                .collect(),
            decimals: u8::try_from((extra - exponent).clamp(0, 9)).unwrap_or(0),
        }
    }

    /// The share of the axis at `number`: 0 at its begin, 1 at its end; not clipped.
    #[must_use]
    pub fn share(&self, number: f64) -> f64 {
        (number - self.from) / (self.to - self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        let scale = Scale::around(0.0, 93.0, Some(0.0), 5);
        assert_eq!(scale.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(scale.decimals, 0);
        let scale = Scale::around(0.86, 0.903, None, 5);
        assert_eq!((scale.from, scale.decimals), (0.86, 2));
        assert!(Scale::around(3.0, 3.0, None, 4).ticks.len() > 1);
    }

    proptest! {
        #[test]
        fn everything_is_on_the_axis(low in -1e6_f64..1e6, width in 1e-3_f64..1e6, wanted in 2_usize..9) {
            let scale = Scale::around(low, low + width, None, wanted);
            prop_assert!(scale.from <= low + 1e-6 && scale.to >= low + width - 1e-6);
            prop_assert!(scale.ticks.len() <= 2 * wanted + 3);
            prop_assert!(scale.ticks.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(scale.ticks.iter().all(|tick| scale.share(*tick) > -1e-6 && scale.share(*tick) < 1.0 + 1e-6));
        }
    }
}
