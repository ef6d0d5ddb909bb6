//! Facts that travel with a result to everything made from it: licences, stand-ins, what may not be passed on.

use std::collections::BTreeMap;

use serde_json::Value;

/// Facts by name, as kinds state them in their reports.
pub type Notes = BTreeMap<String, Value>;

/// Adds to `into` what `from`, the notes of something it was made from, hands on: `stand_in` (true wins),
/// `redistribute` (false wins), `licence` and `accepted` (each text once, sorted).
pub fn inherit(into: &mut Notes, from: &Notes) {
    if from.get("stand_in") == Some(&Value::Bool(true)) {
        into.insert("stand_in".to_owned(), Value::Bool(true));
    }
    if from.get("redistribute") == Some(&Value::Bool(false)) {
        into.insert("redistribute".to_owned(), Value::Bool(false));
    }
    for name in ["licence", "accepted"] {
        let Some(new) = from.get(name) else { continue };
        let mut texts = list(into.get(name));
        for text in list(Some(new)) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.sort_by_key(ToString::to_string);
        let one = if texts.len() == 1 { texts.pop() } else { None };
        into.insert(name.to_owned(), one.unwrap_or(Value::Array(texts)));
    }
}

fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(many)) => many.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// Only what [`inherit`] hands on.
#[must_use]
pub fn travelling(notes: &Notes) -> Notes {
    let mut travelling = Notes::new();
    inherit(&mut travelling, notes);
    travelling
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notes(value: &Value) -> Notes {
        serde_json::from_value(value.clone()).expect("a map")
    }

    #[test]
    fn the_stricter_fact_wins_and_licences_add_up() {
        let mut into = notes(&json!({ "licence": "MIT", "redistribute": true, "origin": "here" }));
        inherit(
            &mut into,
            &notes(
                &json!({ "licence": ["CC BY-NC", "MIT"], "redistribute": false, "origin": "there" }),
            ),
        );
        inherit(&mut into, &notes(&json!({ "stand_in": true })));
        inherit(
            &mut into,
            &notes(&json!({ "stand_in": false, "redistribute": true })),
        );
        let expected = json!({ "licence": ["CC BY-NC", "MIT"], "redistribute": false, "origin": "here", "stand_in": true });
        assert_eq!(into, notes(&expected));
        assert_eq!(
            travelling(&notes(&json!({ "origin": "x", "licence": "MIT" }))),
            notes(&json!({ "licence": "MIT" }))
        );
    }
}
