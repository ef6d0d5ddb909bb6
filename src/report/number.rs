//! Numbers as people read them. Knows nothing of what they measure.

use crate::options::Format;

/// A format with its digits settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Digits after the point.
    pub decimals: u8,
    /// Whether fractions are shown as percentages.
    pub percent: bool,
}

impl Style {
    /// The style for a set of numbers. `Auto` takes no digits for whole numbers, two from 10 up, else four.
    #[must_use]
    pub fn of(format: Format, decimals: Option<u8>, numbers: &[f64]) -> Self {
        let auto = || {
            let largest = numbers
                .iter()
                .fold(0.0_f64, |most, number| most.max(number.abs()));
            match () {
                () if numbers.iter().all(|number| number.fract() == 0.0) => 0,
                () if largest >= 10.0 => 2,
                () => 4,
            }
        };
        let decimals = match format {
            Format::Auto => decimals.unwrap_or_else(auto),
            Format::Integer => 0,
            Format::Decimals | Format::Percent => decimals.unwrap_or(2),
        };
        Self {
            decimals,
            percent: format == Format::Percent,
        }
    }

    /// A number, thousands apart, with a real minus sign.
    #[must_use]
    pub fn show(self, number: f64) -> String {
        let mut text = self.bare(number);
        if self.percent {
            text.push_str(" %");
        }
        text
    }

    /// A number without its unit.
    #[must_use]
    pub fn bare(self, number: f64) -> String {
        let scaled = if self.percent { number * 100.0 } else { number };
        group_thousands(&format!("{scaled:.*}", usize::from(self.decimals)))
    }

    /// A difference with its sign; `0` in this style is `±0`.
    #[must_use]
    pub fn signed(self, number: f64) -> String {
        let text = self.bare(number);
        if text.chars().all(|c| matches!(c, '0' | '.' | '−' | ',')) {
            return if number == 0.0 {
                "0".to_owned()
            } else {
                format!("±{}", text.trim_start_matches('−'))
            };
        }
        if number > 0.0 {
            format!("+{text}")
        } else {
            text
        }
    }

    /// A stated number with the digits it was stated with, where they are more than this style's.
    #[must_use]
    pub fn stated(self, number: f64) -> String {
        let scaled = if self.percent { number * 100.0 } else { number };
        let own = significant_fraction(scaled);
        Self {
            decimals: if self.decimals == 0 {
                own
            } else {
                own.max(self.decimals)
            },
            ..self
        }
        .show(number)
    }
}

/// Digits after the point of the shortest text of a number, at most 6.
fn significant_fraction(number: f64) -> u8 {
    let rounded = (number * 1e6).round() / 1e6;
    let text = rounded.to_string();
    text.split_once('.').map_or(0, |(_, digits)| {
        u8::try_from(digits.len()).unwrap_or(6).min(6)
    })
}

/// `-1234567.5` as `−1,234,567.5`.
fn group_thousands(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("−", digits),
        None => ("", text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Style = Style {
        decimals: 0,
        percent: false,
    };

    #[test]
    fn thousands_and_signs() {
        assert_eq!(WHOLE.show(1_234_567.0), "1,234,567");
        assert_eq!(WHOLE.show(999.0), "999");
        assert_eq!(WHOLE.signed(-593.0), "−593");
        assert_eq!(WHOLE.signed(40.0), "+40");
        assert_eq!(WHOLE.signed(0.0), "0");
        assert_eq!(WHOLE.signed(0.2), "±0");
        assert_eq!(WHOLE.signed(-0.2), "±0");
    }

    #[test]
    fn styles() {
        assert_eq!(Style::of(Format::Auto, None, &[1.0, 2000.0]), WHOLE);
        assert_eq!(
            Style::of(Format::Auto, None, &[90.03, 1.0]).show(90.1),
            "90.10"
        );
        assert_eq!(Style::of(Format::Auto, None, &[0.9]).show(0.9), "0.9000");
        let percent = Style::of(Format::Percent, Some(1), &[]);
        assert_eq!(percent.show(0.9003), "90.0 %");
        assert_eq!(percent.stated(0.9003), "90.03 %");
        assert_eq!(WHOLE.stated(3.25), "3.25");
    }
}
