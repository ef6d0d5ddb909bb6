//! `when:` leaves out stages that a parameter rules out. Knows nothing of what stages do.

use std::collections::{BTreeMap, BTreeSet};

use super::load::Loader;
use super::node::{Entry, Node, Value};
use super::suggest;
use crate::diagnostic::Diagnostic;

/// What `when:` has taken out of a document.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Stages by name, and why: what the parameter is, and what it would have to be.
    pub(crate) stages: BTreeMap<String, String>,
    /// Parameters that conditions and those stages look at: not idle, though nothing that is left may need them.
    pub(crate) params: BTreeSet<String>,
    /// Parameters that conditions look at.
    asked: BTreeSet<String>,
}

impl LeftOut {
    /// What conditions look at, as `--set` would say it.
    pub(super) fn alternatives(&self, document: &Node) -> Vec<String> {
        let params = document.find("params");
        let value = |name: &String| {
            let param = params?.value.find(name)?;
            Some(format!("{name}={}", super::decode::to_json(&param.value)))
        };
        self.asked.iter().filter_map(value).collect()
    }

    /// Notes the parameters that a stage refers to.
    fn note(&mut self, node: &Node) {
        match &node.value {
            Value::String(text) => {
                for part in text.split("${params.").skip(1) {
                    let end = part.find(['}', '.']).unwrap_or(part.len());
                    self.params.insert(part[..end].to_owned());
                }
            }
            Value::Sequence(items) => items.iter().for_each(|item| self.note(item)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.note(&entry.value)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }
}

impl Loader<'_> {
    /// Takes stages out of a merged document whose `when:` does not hold, and `when:` out of those that stay.
    pub(super) fn apply_conditions(&mut self, document: &mut Node) {
        let params = document.find("params").map(|params| params.value.clone());
        let Value::Map(entries) = &mut document.value else {
            return;
        };
        let Some(stages) = entries.iter_mut().find(|entry| entry.key == "stages") else {
            return;
        };
        let Value::Map(stages) = &mut stages.value.value else {
            return;
        };
        stages.retain_mut(|stage| {
            let Value::Map(keys) = &mut stage.value.value else {
                return true;
            };
            let Some(place) = keys.iter().position(|entry| entry.key == "when") else {
                return true;
            };
            let when = keys.remove(place);
            match self.unmet(&stage.key, &when, params.as_ref()) {
                Some(reason) => {
                    self.left_out.note(&stage.value);
                    self.left_out.stages.insert(stage.key.clone(), reason);
                    false
                }
                None => true,
            }
        });
    }

    /// Why a condition does not hold; all of its entries must.
    fn unmet(&mut self, stage: &str, when: &Entry, params: Option<&Node>) -> Option<String> {
        if when.value.value == Value::Null {
            return None;
        }
        if !matches!(when.value.value, Value::Map(_)) {
            let message = format!(
                "`when` of stage `{stage}` is {}, not a map",
                when.value.type_name()
            );
            self.problems.push(
                Diagnostic::error("spec::wrong_type", message)
                    .at(when.value.span, "")
                    .help("write `when: { PARAMETER: VALUE }`, or a list of values"),
            );
            return None;
        }
        let mut reason = None;
        for wanted in when.value.entries() {
            let Some(param) = params.and_then(|params| params.find(&wanted.key)) else {
                let known = params.map_or(&[] as &[Entry], Node::entries);
                let names = known.iter().map(|entry| entry.key.as_str());
                let message = format!(
                    "`when` of stage `{stage}` looks at an unknown parameter `{}`",
                    wanted.key
                );
                self.problems.push(
                    Diagnostic::error("spec::unknown_parameter", message)
                        .at(wanted.key_span, "not under `params:`")
                        .help(suggest::help(
                            &wanted.key,
                            names,
                            "the file has no parameters",
                        )),
                );
                continue;
            };
            self.left_out.params.insert(wanted.key.clone());
            self.left_out.asked.insert(wanted.key.clone());
            let choices = match &wanted.value.value {
                Value::Sequence(choices) => &choices[..],
                _ => std::slice::from_ref(&wanted.value),
            };
            let unclear = (choices.iter().chain([&param.value])).find(|node| !is_plain(node));
            if let Some(unclear) = unclear {
                let message = format!(
                    "`when` of stage `{stage}` compares `{}` with {}",
                    wanted.key,
                    match unclear.value {
                        Value::String(_) => "a reference",
                        _ => unclear.type_name(),
                    }
                );
                self.problems.push(
                    Diagnostic::error("spec::condition", message)
                        .at(wanted.key_span, "")
                        .help("compare a parameter that is a text, a number or a boolean with such a value"),
                );
                continue;
            }
            if !choices
                .iter()
                .any(|choice| choice.value == param.value.value)
            {
                let listed: Vec<String> = choices.iter().map(shown).collect();
                let found = shown(&param.value);
                reason.get_or_insert_with(|| {
                    format!("`{}` is {found}, not {}", wanted.key, listed.join(" or "))
                });
            }
        }
        reason
    }
}

/// Whether a value can be compared as it stands.
fn is_plain(node: &Node) -> bool {
    match &node.value {
        Value::String(text) => !text.contains("${"),
        Value::Null | Value::Sequence(_) | Value::Map(_) => false,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => true,
    }
}

fn shown(node: &Node) -> String {
    match node.as_str() {
        Some(text) => format!("`{text}`"),
        None => format!("`{}`", super::decode::to_json(node)),
    }
}
