//! Parameters as files that programs read: JSON, YAML and TOML by the file's ending. The only door to TOML; knows
//! nothing of stages.
//!
//! The YAML is written for readers of YAML 1.1 as well as 1.2, since PyYAML is one of the former: a number such as
//! `1e-05` is a text to it, `1.0e-05` is not, and so words like `yes` are quoted.

use std::fmt::Write as _;

use serde_json::Value;

/// What a file of parameters is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
}

impl Format {
    /// The format that the ending of a file's name stands for.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// The text of a file that holds `value`, keys sorted.
    ///
    /// # Errors
    /// Why the format cannot hold it: TOML has no `null`, and a file of it is a map.
    pub fn write(self, value: &Value) -> Result<String, String> {
        let mut value = value.clone();
        value.sort_all_objects();
        Ok(match self {
            Self::Json => {
                serde_json::to_string_pretty(&value).expect("parameters serialise") + "\n"
            }
            Self::Yaml => {
                let mut text = String::new();
                match &value {
                    Value::Object(map) if !map.is_empty() => block(&mut text, &value, 0),
                    _ => {
                        flow(&mut text, &value);
                        text.push('\n');
                    }
                }
                text
            }
            Self::Toml => {
                if holds_null(&value) {
                    return Err("TOML has no `null`".to_owned());
                }
                toml::to_string(&value).map_err(|_| "a TOML file holds a map".to_owned())?
            }
        })
    }
}

/// The values of a TOML text; dates become text, and numbers that are not finite what `infinite` makes of them, since
/// JSON has none.
///
/// # Errors
/// What is wrong with it, in the words of the library, which name line and column.
pub fn read_toml(text: &str, infinite: &dyn Fn(f64) -> Value) -> Result<Value, String> {
    fn plain(value: toml::Value, infinite: &dyn Fn(f64) -> Value) -> Value {
        match value {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) if !number.is_finite() => infinite(number),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(truth) => truth.into(),
            toml::Value::Datetime(date) => date.to_string().into(),
            toml::Value::Array(items) => {
                let items = items.into_iter().map(|item| plain(item, infinite));
                items.collect()
            }
            toml::Value::Table(table) => {
                let entries = table.into_iter();
                let entries = entries.map(|(key, value)| (key, plain(value, infinite)));
                Value::Object(entries.collect())
            }
        }
    }
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        error
            .to_string()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    })?;
    Ok(plain(toml::Value::Table(table), infinite))
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(map) => map.values().any(holds_null),
        _ => false,
    }
}

fn block(text: &mut String, value: &Value, indent: usize) {
    let Value::Object(map) = value else {
        return;
    };
    for (key, value) in map {
        let _ = write!(text, "{:indent$}", "");
        scalar(text, key);
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(text, value, indent + 2);
            }
            _ => {
                text.push(' ');
                flow(text, value);
                text.push('\n');
            }
        }
    }
}

fn flow(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => {
                let mut float = float_text(float);
                if !float.contains('.')
                    && let Some(at) = float.find('e')
                {
                    float.insert_str(at, ".0");
                }
                text.push_str(&float);
            }
            _ => text.push_str(&number.to_string()),
        },
        Value::String(word) => scalar(text, word),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                flow(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                scalar(text, key);
                text.push_str(": ");
                flow(text, value);
            }
            text.push('}');
        }
    }
}

/// A text, plain where no reader could take it for anything else.
fn scalar(text: &mut String, word: &str) {
    const WORDS: [&str; 11] = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf",
    ];
    let is_plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !WORDS.contains(&word.to_ascii_lowercase().as_str());
    if is_plain {
        text.push_str(word);
    } else {
        text.push_str(&double_quoted(word));
    }
}

/// Whether YAML has a character stand in a text as it is. Its own breaks of lines count as not.
#[must_use]
pub fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// A text in double quotes: what JSON escapes, YAML reads, and it wants more of it.
#[must_use]
pub fn double_quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        if is_printable(c) {
            quoted.push(c);
        } else {
            let _ = write!(quoted, "\\u{:04x}", u32::from(c));
        }
    }
    quoted
}

/// A number as Python's `repr` writes it: `1e-05`, `1e+16`, `100000.0`. Shortest digits that read back as the same.
#[must_use]
pub fn float_text(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (value, expected) in [
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.0, "-2.0"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(float_text(value), expected);
        }
    }

    #[test]
    fn each_format_is_written_and_read_back() {
        let value = json!({"train": {"lr": 1e-5, "name": "yes", "layers": [1, 2.0, "a b"], "deep": {"on": true}}, "n": -3});
        let yaml = Format::of("a/params.yaml")
            .expect("known")
            .write(&value)
            .expect("held");
        assert_eq!(
            yaml,
            "\"n\": -3\ntrain:\n  deep:\n    \"on\": true\n  layers: [1, 2.0, \"a b\"]\n  lr: 1.0e-05\n  name: \"yes\"\n"
        );
        let toml = Format::Toml.write(&value).expect("held");
        let text = |number: f64| number.to_string().into();
        let mut back = read_toml(&toml, &text).expect("it reads");
        back.sort_all_objects();
        let mut sorted = value.clone();
        sorted.sort_all_objects();
        assert_eq!(back, sorted, "{toml}");
        assert_eq!(Format::Yaml.write(&json!({})), Ok("{}\n".to_owned()));
        assert!(Format::Toml.write(&json!({"a": null})).is_err());
        assert!(Format::Toml.write(&json!(3)).is_err());
        assert!(
            read_toml("a = ", &text).is_err_and(|why| !why.contains('\n')),
            "one line"
        );
        assert_eq!(
            read_toml("a = [-inf, nan]", &text),
            Ok(json!({"a": ["-inf", "NaN"]}))
        );
        assert_eq!(Format::of("params.py"), None);
    }
}
