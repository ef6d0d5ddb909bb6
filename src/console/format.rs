//! Numbers as people read them: sizes, times, counts, rates, names cut to a width. Knows nothing of what they measure.
//!
//! Sizes are binary everywhere (`KiB`, `MiB`, `GiB`), as on the command line; they and times are those of `flow`.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use flow::amounts::{bytes, duration};

/// A running clock: like [`duration`] in whole seconds, so that it changes once a second.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).floor();
    if seconds < 10.0 {
        format!("{seconds} s")
    } else {
        duration(seconds)
    }
}

/// `10,000`.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stage`, `10,000 stages`.
#[must_use]
pub fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number as u64))
}

/// An amount of a unit: `4.2 MiB` for `B`, else `41,000`.
#[must_use]
pub fn amount(amount: u64, unit: &str) -> String {
    if unit == "B" {
        bytes(amount)
    } else {
        count(amount)
    }
}

/// Units a second, in the scale that reads best: `12 MiB/s`, `1,204 step/s`, `14 step/min`, `3 step/h`.
#[must_use]
pub fn rate(per_second: f64, unit: &str) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return if unit == "B" {
            "0 B/s".to_owned()
        } else {
            format!("0 {unit}/s").replace("  ", " ").replace(" /", "/")
        };
    }
    if unit == "B" {
        return format!("{}/s", bytes(whole(per_second)));
    }
    let (value, per) = if per_second >= 0.995 {
        (per_second, "s")
    } else if per_second * 60.0 >= 0.995 {
        (per_second * 60.0, "min")
    } else {
        (per_second * 3600.0, "h")
    };
    let separator = if unit.is_empty() { "" } else { " " };
    format!("{}{separator}{unit}/{per}", short_number(value))
}

/// Columns a text takes on a terminal.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns`, its middle replaced by `mark` where it is longer: names differ at both ends.
#[must_use]
pub fn elide_middle(text: &str, columns: usize, mark: &str) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(mark.width()) else {
        return cut(text, columns);
    };
    let head = cut(text, room.div_ceil(2));
    let mut left = room - head.width();
    let tail: Vec<char> = text
        .chars()
        .rev()
        .take_while(|c| {
            let fits = char_width(*c) <= left;
            left = left.saturating_sub(char_width(*c));
            fits
        })
        .collect();
    format!("{head}{mark}{}", tail.iter().rev().collect::<String>())
}

/// The longest start of `text` that fits into `columns`.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    let mut left = columns;
    text.chars()
        .take_while(|c| {
            let fits = char_width(*c) <= left;
            left = left.saturating_sub(char_width(*c));
            fits
        })
        .collect()
}

/// One line of a program's output made safe to show: escape sequences and control characters removed, of a line that
/// was overwritten with carriage returns (progress bars) the last state kept.
#[must_use]
pub fn clean_line(line: &str) -> String {
    let shown = line
        .trim_end_matches(['\r', '\n'])
        .rsplit('\r')
        .find(|part| !part.is_empty())
        .unwrap_or("");
    anstream::adapter::strip_str(shown)
        .to_string()
        .chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .collect()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `4.2`, `31`, `1,204`.
fn short_number(value: f64) -> String {
    if value < 9.95 {
        one_decimal(value)
    } else {
        count(whole(value.round()))
    }
}

/// `4.2`, and `4` for `4.0`.
fn one_decimal(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers pass non-negative numbers; a saturated cast is the right answer for huge ones"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "three digits are shown, 53 bits are kept"
)]
pub(super) fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_changes_once_a_second() {
        assert_eq!(clock(4.9), "4 s");
        assert_eq!(clock(0.01), "0 s");
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(counted(1, "stage"), "1 stage");
        assert_eq!(counted(10_000, "stage"), "10,000 stages");
    }

    #[test]
    fn rates_choose_a_scale() {
        assert_eq!(rate(12.4 * 1024.0 * 1024.0, "B"), "12 MiB/s");
        assert_eq!(rate(1204.4, "step"), "1,204 step/s");
        assert_eq!(rate(0.24, "step"), "14 step/min");
        assert_eq!(rate(0.001, "step"), "3.6 step/h");
        assert_eq!(rate(0.0, "step"), "0 step/s");
        assert_eq!(rate(3.0, ""), "3/s");
        assert_eq!(rate(0.0, ""), "0/s");
    }

    #[test]
    fn names_are_cut_in_the_middle() {
        assert_eq!(elide_middle("short", 10, "…"), "short");
        let cut = elide_middle("finetune[task=ncbi-disease,seed=1]", 20, "…");
        assert_eq!(cut, "finetune[t…e,seed=1]");
        assert_eq!(width(&cut), 20);
        assert_eq!(elide_middle("語語語語", 5, "…"), "語…語");
        assert_eq!(elide_middle("abcdef", 2, "..."), "ab");
    }

    #[test]
    fn output_lines_are_made_safe() {
        assert_eq!(clean_line("\u{1b}[31mred\u{1b}[0m\u{7}"), "red");
        assert_eq!(clean_line(" 10%\r 20%\r\n"), " 20%");
        assert_eq!(clean_line("a\tb"), "a\tb");
    }
}
