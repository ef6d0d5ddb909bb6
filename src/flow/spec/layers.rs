//! What a document is laid over and what is laid over it: `extends`, profiles, `--set`, recipes.
//! Knows nothing of what stages mean.

use std::path::{Path, PathBuf};

use super::keys::{STAGE_KEYS, TOP_KEYS};
use super::load::Loader;
use super::merge::{overlay, overlay_entries};
use super::node::{Entry, Node, Value};
use super::{suggest, yaml};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// How many files may extend each other in a row.
const MAX_EXTENDS: usize = 32;

impl Loader<'_> {
    /// The document with what it extends, a profile, settings and recipes merged in.
    pub(super) fn settle(
        &mut self,
        node: Node,
        file: &Path,
        profiles: &[String],
        set: &[String],
    ) -> Node {
        let mut node = self.extend(node, file);
        node = self.apply_profiles(node, profiles);
        for (index, setting) in set.iter().enumerate() {
            self.apply_setting(&mut node, setting, index);
        }
        self.apply_recipes(&mut node);
        self.apply_conditions(&mut node);
        node
    }

    /// Lays the file over the chain it extends.
    fn extend(&mut self, node: Node, file: &Path) -> Node {
        let mut layers = vec![node];
        let mut chain = vec![normal(file)];
        loop {
            let top = layers.last_mut().expect("begins with one layer");
            let Some(entry) = top.find("extends").cloned() else {
                break;
            };
            if let Value::Map(entries) = &mut top.value {
                entries.retain(|entry| entry.key != "extends");
            }
            let span = entry.value.span;
            let Some(name) = entry.value.as_str().filter(|name| !name.is_empty()) else {
                self.problems.push(
                    Diagnostic::error(
                        "spec::wrong_type",
                        format!("`extends` is {}, not a path", entry.value.type_name()),
                    )
                    .at(span, "")
                    .help("write the path of one file, relative to this one"),
                );
                break;
            };
            let current = chain.last().expect("begins with one file");
            let path = normal(&current.parent().unwrap_or(Path::new("")).join(name));
            if chain.contains(&path) || chain.len() >= MAX_EXTENDS {
                let begin = chain.iter().position(|p| *p == path).unwrap_or(0);
                let mut names: Vec<String> = chain[begin..].iter().map(|p| self.shown(p)).collect();
                names.push(self.shown(&path));
                self.problems.push(
                    Diagnostic::error(
                        "spec::extends_cycle",
                        format!("files extend each other: {}", names.join(" -> ")),
                    )
                    .at(span, "")
                    .help("remove one of these `extends`"),
                );
                break;
            }
            let Some(base) = self.node(&path, "the extended file", Some(span)) else {
                break;
            };
            layers.push(base);
            chain.push(path);
        }
        let mut merged = layers.pop().expect("begins with one layer");
        while let Some(layer) = layers.pop() {
            // An empty text extends to the base itself.
            if layer.value != Value::Null {
                merged = overlay(merged, layer);
            }
        }
        merged
    }

    fn apply_profiles(&mut self, mut node: Node, chosen: &[String]) -> Node {
        let profiles = node.find("profiles").cloned();
        let entries = profiles
            .as_ref()
            .map_or(&[] as &[Entry], |p| p.value.entries());
        for entry in entries {
            self.check_profile(entry);
        }
        for name in chosen {
            match entries.iter().find(|entry| entry.key == *name) {
                Some(chosen) => {
                    if let (Value::Map(base), Value::Map(over)) =
                        (&mut node.value, &chosen.value.value)
                    {
                        *base = overlay_entries(std::mem::take(base), over.clone());
                    }
                }
                None => {
                    let names = entries.iter().map(|entry| entry.key.as_str());
                    let span = profiles.as_ref().map(|profiles| profiles.key_span);
                    self.problems.push(
                        Diagnostic::error(
                            "spec::unknown_profile",
                            format!("unknown profile `{name}`"),
                        )
                        .at_if(span, "the profiles stand here")
                        .help(suggest::help(
                            name,
                            names,
                            "the file has no profiles; leave `--profile` out",
                        )),
                    );
                }
            }
        }
        node
    }

    fn check_profile(&mut self, entry: &Entry) {
        if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
            self.problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "profile `{}` is {}, not a map",
                        entry.key,
                        entry.value.type_name()
                    ),
                )
                .at(entry.value.span, "")
                .help("write what it changes: `{ params: { epochs: 1 } }`"),
            );
        }
        for key in entry.value.entries() {
            let allowed = TOP_KEYS
                .iter()
                .copied()
                .filter(|key| !matches!(*key, "extends" | "profiles"));
            if !allowed.clone().any(|known| known == key.key) {
                self.problems.push(
                    Diagnostic::error(
                        "spec::unknown_key",
                        format!("unknown key `{}` in profile `{}`", key.key, entry.key),
                    )
                    .at(key.key_span, "not a key of a profile")
                    .help(suggest::help(&key.key, allowed, "remove it")),
                );
            }
        }
    }

    /// `--set NAME=VALUE`: the value is YAML, the name may lead into maps with dots.
    fn apply_setting(&mut self, document: &mut Node, setting: &str, _index: usize) {
        let source = self.sources.add("--set", None, setting);
        let place = |len: usize| Span {
            source,
            offset: 0,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            line: 1,
            column: 1,
        };
        let Some((name, value)) = setting.split_once('=') else {
            self.problems.push(
                Diagnostic::error("spec::setting", format!("`--set {setting}` has no value"))
                    .at(place(setting.len()), "")
                    .help("write `--set NAME=VALUE`"),
            );
            return;
        };
        let skip = setting.len() - value.len();
        let parsed = yaml::parse_from(setting, skip, source);
        self.problems.extend(parsed.problems);
        let Some(value) = parsed.node else { return };
        let name = name.trim();
        let params = match &mut document.value {
            Value::Map(entries) => entries.iter_mut().find(|entry| entry.key == "params"),
            _ => None,
        };
        let Err((unknown, known)) = put(params.map(|entry| &mut entry.value), name, value) else {
            return;
        };
        let help = suggest::help(
            &unknown,
            known.iter().map(String::as_str),
            "the file has no parameters to set",
        );
        self.problems.push(
            Diagnostic::error(
                "spec::unknown_parameter",
                format!("unknown parameter `{name}`"),
            )
            .at(place(name.len()), "not under `params:`")
            .help(help),
        );
    }

    fn apply_recipes(&mut self, document: &mut Node) {
        let Value::Map(entries) = &mut document.value else {
            return;
        };
        let Some(stages) = entries.iter_mut().find(|entry| entry.key == "stages") else {
            return;
        };
        let Value::Map(stages) = &mut stages.value.value else {
            return;
        };
        for stage in stages {
            if let Some(recipe) = stage.value.find("use").cloned() {
                self.apply_recipe(stage, &recipe);
            }
        }
    }

    fn apply_recipe(&mut self, stage: &mut Entry, recipe: &Entry) {
        let span = recipe.value.span;
        if let Some(kind) = stage.value.find("kind") {
            self.problems.push(
                Diagnostic::error(
                    "spec::two_kinds",
                    format!("stage `{}` has both `kind` and `use`", stage.key),
                )
                .at(recipe.key_span, "the recipe says the kind")
                .at(kind.key_span, "here too")
                .help("remove one of the two; `use: null` removes one that comes from an extended file"),
            );
            return;
        }
        let Some(name) = recipe.value.as_str().filter(|name| !name.is_empty()) else {
            self.problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "`use` of stage `{}` is {}, not a path",
                        stage.key,
                        recipe.value.type_name()
                    ),
                )
                .at(span, "")
                .help("write the path of a recipe: `use: stages/NAME.yaml`"),
            );
            return;
        };
        let path = self.root.join(name);
        let node = match self.recipes.get(&path) {
            Some(known) => known.clone(),
            None => {
                let read = self.node(&path, "the recipe", Some(span));
                let read = read.filter(|node| self.check_recipe(node, &path, span));
                self.recipes.insert(path, read.clone());
                read
            }
        };
        if let Some(node) = node {
            let own = std::mem::replace(
                &mut stage.value,
                Node {
                    value: Value::Null,
                    span,
                    defined: None,
                },
            );
            stage.value = overlay(node, own);
        }
    }

    fn check_recipe(&mut self, node: &Node, path: &Path, asked: Span) -> bool {
        let shown = self.shown(path);
        let problem = if !matches!(node.value, Value::Map(_)) {
            Diagnostic::error(
                "spec::recipe",
                format!("the recipe `{shown}` is {}, not a map", node.type_name()),
            )
            .at(node.span, "")
        } else if let Some(entry) = node.find("use").or_else(|| node.find("extends")) {
            Diagnostic::error(
                "spec::recipe",
                format!("the recipe `{shown}` has the key `{}`", entry.key),
            )
            .at(entry.key_span, "")
        } else if node.find("kind").is_none() {
            Diagnostic::error("spec::recipe", format!("the recipe `{shown}` says no kind"))
                .at(node.span, "")
        } else if node.find("stages").is_some() {
            Diagnostic::error(
                "spec::recipe",
                format!("`{shown}` is a pipeline, not a recipe"),
            )
            .at(node.span, "")
        } else {
            return true;
        };
        let keys: Vec<&str> = STAGE_KEYS
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| *key != "use")
            .collect();
        self.problems
            .push(problem.at(asked, "used here").help(format!(
                "a recipe is one stage with `kind`; its keys are {}",
                suggest::list(&keys)
            )));
        false
    }
}

/// A path without `.` and `..` where that can be said without looking at the disk.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut result = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}

/// Replaces the value at a dotted name; the error is the step that is unknown and what there is.
fn put(params: Option<&mut Node>, name: &str, value: Node) -> Result<(), (String, Vec<String>)> {
    let Some(params) = params else {
        return Err((name.to_owned(), Vec::new()));
    };
    let Value::Map(entries) = &mut params.value else {
        return Err((name.to_owned(), Vec::new()));
    };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *name) {
        entry.value = value;
        return Ok(());
    }
    let known = || entries.iter().map(|entry| entry.key.clone()).collect();
    let Some((first, rest)) = name.split_once('.') else {
        return Err((name.to_owned(), known()));
    };
    let Some(position) = entries.iter().position(|entry| entry.key == first) else {
        return Err((first.to_owned(), known()));
    };
    put(Some(&mut entries[position].value), rest, value)
}
