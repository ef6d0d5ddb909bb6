//! JSON values as the YAML between the two lines of three dashes of a card. Knows nothing of what they mean.

use serde_json::Value;

/// An object as block YAML that readers of YAML 1.1 and 1.2 take alike: texts stand in quotes unless they can be
/// nothing else than texts, numbers have a point before their exponent. Empty lists and `null` are left out.
pub(super) fn to_yaml(object: &Value) -> String {
    let mut text = String::new();
    block(object, 0, &mut text);
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(_, field)| !is_empty(field)) {
                text.push_str(&format!("{pad}{name}:"));
                below(field, indent, text);
            }
        }
        Value::Array(items) => {
            for item in items.iter().filter(|item| !is_empty(item)) {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                match item {
                    // The first line of a map stands beside its dash.
                    Value::Object(_) => text.push_str(&format!("{pad}- {}", inner.trim_start())),
                    _ => text.push_str(&format!("{pad}- {}\n", scalar(item))),
                }
            }
        }
        _ => {}
    }
}

fn below(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(_) => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Value::Array(_) => {
            text.push('\n');
            block(value, indent, text);
        }
        one => text.push_str(&format!(" {}\n", scalar(one))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) => quoted(text),
        Value::Number(number) => of_number(&number.to_string()),
        other => other.to_string(),
    }
}

/// Words of letters, digits and inner dashes that no reader takes for a truth, a number or a date.
fn is_plain(text: &str) -> bool {
    let is_word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'));
    let means_something = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    is_word && !means_something.contains(&text)
}

/// As JSON has it, which is YAML too, with all beyond printable ASCII and letters escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// YAML 1.1 takes `1e-7` for a text: it wants a point and a sign.
fn of_number(number: &str) -> String {
    let Some((digits, exponent)) = number.split_once('e') else {
        return number.to_owned();
    };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) {
        ""
    } else {
        "+"
    };
    format!("{digits}{point}e{sign}{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_lists_and_texts_that_look_like_something_else() {
        let value = json!({
            "language": ["en", "no"], "license": "cc-by-4.0", "empty": [], "none": null,
            "index": [{ "name": "a: b", "results": [{ "value": 84.2, "small": 1e-7, "big": 1e300 }] }],
            "text": "say \"x\"\n\u{85}é 1.0", "number": "1e5",
        });
        let expected = "\
language:
- en
- \"no\"
license: cc-by-4.0
index:
- name: \"a: b\"
  results:
  - value: 84.2
    small: 1.0e-7
    big: 1.0e+300
text: \"say \\\"x\\\"\\n\\u0085é 1.0\"
number: \"1e5\"
";
        assert_eq!(to_yaml(&value), expected);
    }
}
