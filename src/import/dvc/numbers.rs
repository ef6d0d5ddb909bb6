//! Numbers of parameter files that a pipeline file cannot hold, as the characters that DVC shows for them: infinities,
//! NaN, `-0.0`, whole numbers beyond 64 bits. Knows no stages.
//!
//! A command gets the same characters either way. A program that reads them from a file of parameters gets a text, so
//! whoever uses one there is told.

use std::collections::BTreeSet;

use flow::diagnostic::Diagnostic;
use flow::source::{Sources, Span};
use flow::spec::node::{Node, Value};

/// The problem by which a reader of YAML refuses a number.
const REFUSED: &str = "spec::number";
/// Begins texts that stand for such a number between two readers. No editor writes it.
const MARK: &str = "\u{1}number\u{1}";

/// A number that has become a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    /// Keys and indices down to it, with dots between.
    pub(super) path: String,
    /// As it is written in the file.
    pub(super) written: String,
    /// The characters that stand for it.
    pub(super) text: String,
    /// Where it stands.
    pub(super) span: Span,
}

impl Carried {
    /// Whether it stands at these keys or below them.
    pub(super) fn is_below(&self, keys: &str) -> bool {
        let rest = self.path.strip_prefix(keys);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// Puts such numbers into a tree of YAML in place of the nulls that its reader left there.
///
/// # Errors
/// The first problem of another kind.
pub(super) fn in_yaml(
    problems: Vec<Diagnostic>,
    node: &mut Node,
    sources: &Sources,
) -> Result<Vec<Carried>, Diagnostic> {
    let mut places = BTreeSet::new();
    for problem in problems {
        match problem.labels.first() {
            Some(label) if problem.code == REFUSED => drop(places.insert(label.span)),
            _ => return Err(problem),
        }
    }
    let mut carried = Vec::new();
    if !places.is_empty() {
        put_back(node, "", &places, sources, &mut carried);
    }
    Ok(carried)
}

fn put_back(
    node: &mut Node,
    path: &str,
    places: &BTreeSet<Span>,
    sources: &Sources,
    carried: &mut Vec<Carried>,
) {
    let span = node.defined.unwrap_or(node.span);
    match &mut node.value {
        Value::Null if places.contains(&span) => {
            let from = span.offset as usize;
            let text = &sources.get(span.source).text;
            let written = text.get(from..from + span.len as usize).unwrap_or_default();
            // A tag makes a number of quoted digits too.
            let written = written.trim_matches(['"', '\'']);
            node.value = value(written, path, span, carried);
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                put_back(item, &joined(path, &index), places, sources, carried);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let path = joined(path, &entry.key);
                put_back(&mut entry.value, &path, places, sources, carried);
            }
        }
        _ => {}
    }
}

/// The path of what stands under a key or an index.
pub(super) fn joined(path: &str, step: &dyn std::fmt::Display) -> String {
    if path.is_empty() {
        step.to_string()
    } else {
        format!("{path}.{step}")
    }
}

/// A number that was refused: the characters that DVC shows, but for `-0`, which is 0.
fn value(written: &str, path: &str, span: Span, carried: &mut Vec<Carried>) -> Value {
    let Some(text) = shown(written) else {
        return Value::Int(0);
    };
    carried.push(Carried {
        path: path.to_owned(),
        written: written.to_owned(),
        text: text.clone(),
        span,
    });
    Value::String(text)
}

/// What Python writes for a number; `None` for the whole number 0.
fn shown(written: &str) -> Option<String> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", written.strip_prefix('+').unwrap_or(written)),
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return Some(format!("{sign}{}", decimal(rest, radix)));
        }
    }
    Some(match digits.to_ascii_lowercase().as_str() {
        ".nan" | "nan" => "nan".to_owned(),
        ".inf" | "inf" | "infinity" => format!("{sign}inf"),
        whole if whole.bytes().all(|b| b.is_ascii_digit()) => {
            let whole = whole.trim_start_matches('0');
            if whole.is_empty() {
                return None;
            }
            format!("{sign}{whole}")
        }
        float => match float.parse::<f64>() {
            Ok(0.0) => format!("{sign}0.0"),
            // Too large for one.
            _ => format!("{sign}inf"),
        },
    })
}

/// Digits of another base in decimal, however many.
fn decimal(digits: &str, radix: u32) -> String {
    // Groups of nine decimal digits, the last ones first.
    let mut groups: Vec<u64> = vec![0];
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        let mut carry = u64::from(digit);
        for group in &mut groups {
            carry += *group * u64::from(radix);
            *group = carry % 1_000_000_000;
            carry /= 1_000_000_000;
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let padded: String = groups.iter().rev().map(|g| format!("{g:09}")).collect();
    match padded.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// A number of TOML that is not finite, for [`in_text`].
pub(super) fn marked(number: f64) -> serde_json::Value {
    format!("{MARK}{number}").to_lowercase().into()
}

/// The number that a text stands for, if it does.
pub(super) fn in_text(
    text: &str,
    path: &str,
    span: Span,
    carried: &mut Vec<Carried>,
) -> Option<Value> {
    let written = text.strip_prefix(MARK)?;
    Some(value(written, path, span, carried))
}

/// A text of JSON in which such numbers, and Python's `NaN` and `Infinity`, are texts for [`in_text`].
pub(super) fn mark_json(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let mark = MARK.replace('\u{1}', "\\u0001");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || is_word(c)) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let is_string = tail.starts_with('"');
        let length = if is_string {
            end_of_string(tail)
        } else {
            tail.find(|c| !is_word(c)).unwrap_or(tail.len())
        };
        let (token, after) = tail.split_at(length);
        if !is_string && is_beyond(token) {
            out.push_str(&format!("\"{mark}{token}\""));
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out + rest
}

/// The bytes of a string of JSON with its quotes.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a word of JSON is a number, in Python's reading, that does not fit.
fn is_beyond(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    if matches!(token, "NaN" | "Infinity" | "-Infinity" | "-0") {
        return true;
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // Other leading zeros are no JSON, which its reader says.
        return !digits.starts_with('0') && token.parse::<i64>().is_err();
    }
    let number = token.parse::<f64>();
    number.is_ok_and(|number| number.is_infinite() || number == 0.0 && number.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_python_shows_them() {
        for (written, text) in [
            (".inf", Some("inf")),
            ("-.INF", Some("-inf")),
            ("+.Inf", Some("inf")),
            (".NaN", Some("nan")),
            ("1e999", Some("inf")),
            ("-1.0e+999", Some("-inf")),
            ("-0.0", Some("-0.0")),
            ("-0", None),
            ("9223372036854775808", Some("9223372036854775808")),
            ("+12345678901234567890", Some("12345678901234567890")),
            ("0x1fffffffffffffffff", Some("590295810358705651711")),
            ("0o7777777777777777777777", Some("73786976294838206463")),
        ] {
            assert_eq!(shown(written).as_deref(), text, "{written}");
        }
        assert_eq!(
            decimal("ffffffffffffffffffffffffffffffff", 16),
            u128::MAX.to_string()
        );
        assert_eq!(
            decimal("1000000000000000000000", 8),
            (1_u64 << 63).to_string()
        );
    }

    #[test]
    fn json_is_marked_outside_of_texts_only() {
        let text = r#"{"a 1e999 NaN": ["\"NaN", 1e999, -0, NaN, 12345678901234567890, 1.5, true], "b\\": -Infinity}"#;
        let marked = mark_json(text);
        let value: serde_json::Value = serde_json::from_str(&marked).expect("JSON");
        let place = Span {
            source: flow::source::SourceId(0),
            offset: 0,
            len: 0,
            line: 1,
            column: 1,
        };
        let mut carried = Vec::new();
        let mut read = |value: &serde_json::Value| {
            let text = value.as_str().expect("a text");
            in_text(text, "p", place, &mut carried)
        };
        let list = &value["a 1e999 NaN"];
        assert_eq!(read(&list[0]), None);
        assert_eq!(read(&list[1]), Some(Value::String("inf".to_owned())));
        assert_eq!(read(&list[2]), Some(Value::Int(0)));
        assert_eq!(read(&list[3]), Some(Value::String("nan".to_owned())));
        let whole = "12345678901234567890".to_owned();
        assert_eq!(read(&list[4]), Some(Value::String(whole)));
        assert_eq!((&list[5], &list[6]), (&1.5.into(), &true.into()));
        assert_eq!(read(&value["b\\"]), Some(Value::String("-inf".to_owned())));
        assert_eq!(carried.len(), 4);
        for text in ["", "\"open", "\"open\\", "01", "{\"é\": NaN", "nul"] {
            let _ = mark_json(text);
        }
        assert_eq!(mark_json("[01, -x, 1.5e3]"), "[01, -x, 1.5e3]");
    }
}
