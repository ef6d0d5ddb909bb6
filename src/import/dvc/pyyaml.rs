//! What PyYAML, which reads YAML 1.1, makes of a scalar, where that is not what is read here. Knows no stages.

use flow::source::{Sources, Span};
use flow::spec::node::{Node, Value};

/// A scalar that PyYAML reads otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Otherwise {
    /// Where it stands.
    pub(super) span: Span,
    /// Which it is, as it is written.
    pub(super) what: String,
    /// What it is here.
    pub(super) here: String,
    /// What it is to PyYAML.
    pub(super) there: String,
    /// What to do.
    pub(super) help: String,
}

/// The scalars in a value that PyYAML reads otherwise than they are read here.
pub(super) fn read_otherwise(node: &Node, path: &str, sources: &Sources) -> Vec<Otherwise> {
    let mut found = Vec::new();
    collect(node, path, sources, &mut found);
    found
}

fn collect(node: &Node, path: &str, sources: &Sources, found: &mut Vec<Otherwise>) {
    match &node.value {
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}.{index}"), sources, found);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let key = Value::String(entry.key.clone());
                add(&key, entry.key_span, sources, found, |written| {
                    format!("the key `{written}` in `{path}`")
                });
                let path = format!("{path}.{}", entry.key);
                collect(&entry.value, &path, sources, found);
            }
        }
        value => add(
            value,
            node.defined.unwrap_or(node.span),
            sources,
            found,
            |written| format!("`{path}: {written}`"),
        ),
    }
}

fn add(
    value: &Value,
    span: Span,
    sources: &Sources,
    found: &mut Vec<Otherwise>,
    what: impl Fn(&str) -> String,
) {
    let from = span.offset as usize;
    let text = &sources.get(span.source).text;
    let written = text.get(from..from + span.len as usize).map(str::trim);
    if let Some(written) = written
        && let Some((there, help)) = otherwise(written, value)
    {
        let here = match value {
            Value::String(text) => format!("the text `{text}`"),
            value => super::text::shown(value)
                .map_or_else(|| "nothing".to_owned(), |text| format!("`{text}`")),
        };
        found.push(Otherwise {
            span,
            what: what(written),
            here,
            there,
            help,
        });
    }
}

/// What PyYAML reads, and what to do, where it is not the value.
fn otherwise(written: &str, value: &Value) -> Option<(String, String)> {
    let write = |word: String| format!("write `{word}` if that is meant, else quote it");
    match meaning(written) {
        Meaning::Bool(truth) => (*value != Value::Bool(truth)).then(|| {
            let word = truth.to_string();
            (word.clone(), write(word))
        }),
        Meaning::Int(number) => {
            let is_same = matches!(value, Value::Int(own) if i128::from(*own) == number);
            (!is_same).then(|| (format!("the number {number}"), write(number.to_string())))
        }
        Meaning::Float => (!matches!(value, Value::Float(_) | Value::Null)).then(|| {
            let help = "write the number in decimal, else quote it".to_owned();
            ("a number".to_owned(), help)
        }),
        Meaning::Date => matches!(value, Value::String(_)).then(|| {
            let help = "quote it, and have the program take a text".to_owned();
            ("a date".to_owned(), help)
        }),
        Meaning::Other => matches!(value, Value::Int(_) | Value::Float(_)).then(|| {
            let help = if matches!(value, Value::Int(_)) {
                "write the number in decimal, or quote it to have a text in both"
            } else {
                "write the number with a point and a sign, as `1.0e-5`, or quote it to have a text in both"
            };
            ("a text".to_owned(), help.to_owned())
        }),
    }
}

enum Meaning {
    Bool(bool),
    Int(i128),
    Float,
    Date,
    /// Text, null, or not a plain scalar.
    Other,
}

fn meaning(written: &str) -> Meaning {
    match written {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Meaning::Bool(true);
        }
        "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Meaning::Bool(false);
        }
        _ => {}
    }
    if let Some(number) = whole(written) {
        return Meaning::Int(number);
    }
    if is_float(written) {
        return Meaning::Float;
    }
    if is_date(written) {
        return Meaning::Date;
    }
    Meaning::Other
}

/// A whole number: decimal, `0b`, `0x`, octal after a `0`, or of base 60 with `:`; `_` anywhere but first.
fn whole(written: &str) -> Option<i128> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, written.strip_prefix('+').unwrap_or(written)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = digits.replace('_', "");
    let radix = |text: &str, radix: u32| {
        let is_plain = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        is_plain.then(|| i128::from_str_radix(text, radix).ok())?
    };
    let number = if let Some(rest) = plain.strip_prefix("0b") {
        radix(rest, 2)
    } else if let Some(rest) = plain.strip_prefix("0x") {
        radix(rest, 16)
    } else if plain.contains(':') && !plain.starts_with('0') {
        let mut parts = plain.split(':');
        let first = radix(parts.next()?, 10)?;
        parts.try_fold(first, |sum, part| {
            let part = radix(part, 10).filter(|part| *part < 60)?;
            sum.checked_mul(60)?.checked_add(part)
        })
    } else if plain.len() > 1 && plain.starts_with('0') {
        radix(&plain, 8)
    } else {
        radix(&plain, 10)
    };
    number.map(|number| sign * number)
}

/// A number with a point; an exponent needs a sign.
fn is_float(written: &str) -> bool {
    let digits = written.strip_prefix(['-', '+']).unwrap_or(written);
    let Some((before, after)) = digits.split_once('.') else {
        return false;
    };
    let is_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
    if before.is_empty() {
        let word = after.to_ascii_lowercase();
        if ["inf", "nan"].contains(&word.as_str()) {
            return true;
        }
    } else if !before.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let has_sign = digits.len() != written.len();
    let (fraction, exponent) = match after.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (after, None),
    };
    let is_exponent = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
    });
    let of_sixty = before.contains(':') && exponent.is_none();
    let is_before = if of_sixty {
        before
            .split(':')
            .all(|part| !part.is_empty() && is_digits(part))
    } else {
        is_digits(before)
    };
    // A number that begins with its point has a digit after it, and no sign.
    let is_begun =
        !before.is_empty() || (!has_sign && fraction.starts_with(|c: char| c.is_ascii_digit()));
    is_before && is_begun && is_digits(fraction) && is_exponent
}

/// `2024-01-02`, alone or before a time.
fn is_date(written: &str) -> bool {
    let (day, time) = match written.split_once(['T', 't', ' ', '\t']) {
        Some((day, time)) => (day, Some(time)),
        None => (written, None),
    };
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, date] = parts.as_slice() else {
        return false;
    };
    let is_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let lengths = 1..3;
    let fits = |part: &str| lengths.contains(&part.len()) && is_digits(part);
    let is_day = year.len() == 4 && is_digits(year) && fits(month) && fits(date);
    match time {
        None => is_day && month.len() == 2 && date.len() == 2,
        Some(time) => {
            is_day && time.trim().starts_with(|c: char| c.is_ascii_digit()) && time.contains(':')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_pyyaml_makes_of_them() {
        let number = |text: &str| match meaning(text) {
            Meaning::Int(number) => Some(number),
            _ => None,
        };
        for (text, value) in [
            ("010", 8),
            ("0", 0),
            ("-12", -12),
            ("+3", 3),
            ("1_000", 1000),
            ("0x1f", 31),
            ("0b101", 5),
            ("1:30", 90),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["08", "0o10", "1e5", "x1", "'1'", "1:60", ""] {
            assert!(matches!(meaning(text), Meaning::Other), "{text}");
        }
        for text in [
            "1.", ".5", "1.5e+3", "-0.1", ".inf", "-.INF", "1_0.5", "1:30.5",
        ] {
            assert!(matches!(meaning(text), Meaning::Float), "{text}");
        }
        for text in ["1.5e3", "1e-5", "-.5", ".", "1.2.3", "a.b"] {
            assert!(matches!(meaning(text), Meaning::Other), "{text}");
        }
        for text in ["2024-01-02", "2024-1-2 10:00:00", "2024-01-02T10:00:00Z"] {
            assert!(matches!(meaning(text), Meaning::Date), "{text}");
        }
        for text in ["2024-1-2", "24-01-02", "a-b-c"] {
            assert!(matches!(meaning(text), Meaning::Other), "{text}");
        }
    }
}
