//! Laying one map over another: maps merge, lists and scalars replace, null removes. Knows nothing of files.

use super::node::{Entry, Node, Value};

/// `over` laid over `base`. Values keep the place of the text they came from.
pub(crate) fn overlay(base: Node, over: Node) -> Node {
    let Node {
        value,
        span,
        defined,
    } = over;
    match (base.value, value) {
        (Value::Map(base), Value::Map(over)) => Node {
            value: Value::Map(overlay_entries(base, over)),
            span,
            defined,
        },
        (_, value) => Node {
            value: without_nulls(value),
            span,
            defined,
        },
    }
}

/// Entries of `over` replace or extend those of `base`, in whose order they stay; new ones come after.
pub(crate) fn overlay_entries(base: Vec<Entry>, over: Vec<Entry>) -> Vec<Entry> {
    let mut positions: std::collections::BTreeMap<String, usize> = base
        .iter()
        .enumerate()
        .map(|(index, entry)| (entry.key.clone(), index))
        .collect();
    let mut result: Vec<Option<Entry>> = base.into_iter().map(Some).collect();
    for entry in over {
        let slot = positions.get(&entry.key).copied();
        let removes = entry.value.value == Value::Null;
        match slot {
            Some(index) if removes => result[index] = None,
            Some(index) => {
                let Entry {
                    key,
                    key_span,
                    value,
                } = entry;
                let value = match result[index].take() {
                    Some(earlier) => overlay(earlier.value, value),
                    None => value,
                };
                result[index] = Some(Entry {
                    key,
                    key_span,
                    value,
                });
            }
            None if removes => {}
            None => {
                positions.insert(entry.key.clone(), result.len());
                result.push(Some(Entry {
                    value: Node {
                        value: without_nulls(entry.value.value),
                        span: entry.value.span,
                        defined: entry.value.defined,
                    },
                    ..entry
                }));
            }
        }
    }
    result.into_iter().flatten().collect()
}

/// A null that had nothing to remove disappears too.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .filter(|entry| entry.value.value != Value::Null)
                .map(|entry| Entry {
                    value: Node {
                        value: without_nulls(entry.value.value),
                        span: entry.value.span,
                        defined: entry.value.defined,
                    },
                    key: entry.key,
                    key_span: entry.key_span,
                })
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::to_json;
    use super::super::yaml;
    use super::*;
    use crate::source::SourceId;

    fn node(text: &str, source: u32) -> Node {
        yaml::parse(text, SourceId(source)).node.expect("a tree")
    }

    #[test]
    fn maps_merge_lists_replace_and_null_removes() {
        let merged = overlay(
            node("a: {x: 1, y: [1, 2], z: 3}\nb: 1\nc: 2\n", 0),
            node("c: {n: ~, m: 1}\na: {y: [3], z: ~, w: 4}\nd: 5\ne: ~\n", 1),
        );
        assert_eq!(
            to_json(&merged).to_string(),
            r#"{"a":{"x":1,"y":[3],"w":4},"b":1,"c":{"m":1},"d":5}"#
        );
        let a = &merged.find("a").expect("a").value;
        assert_eq!(a.find("x").expect("x").value.span.source, SourceId(0));
        assert_eq!(a.find("y").expect("y").value.span.source, SourceId(1));
    }
}
