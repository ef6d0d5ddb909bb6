//! `params:` of the pipeline file: what stages use of parameter files and `vars`. Knows nothing of stages.

use std::collections::{BTreeMap, BTreeSet};

use flow::diagnostic::Diagnostic;
use flow::spec::node::{Node, Value};

use super::names;
use super::scope::Values;
use super::stages::Params;
use super::write::Yaml;

/// Values, each with the keys down to it.
type Named<'n> = Vec<(String, &'n Node)>;

/// What the pipeline file will have under `params:`, as it comes to be used.
pub(super) struct Parameters<'a> {
    global: &'a Values,
    /// Names of top-level values in use.
    named: BTreeMap<String, String>,
    /// Other files, each one parameter: path, name, tree, keys in use.
    files: Vec<(String, String, Node, BTreeSet<String>)>,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(global: &'a Values) -> Self {
        Self {
            global,
            named: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// The reference to a value of the whole file; `None` where a reference cannot name it.
    pub(super) fn global(&mut self, path: &[String]) -> Option<String> {
        let (top, rest) = path.split_first()?;
        if !can_be_named(rest) || !self.global.entries().iter().any(|e| e.key == *top) {
            return None;
        }
        let name = match self.named.get(top) {
            Some(name) => name.clone(),
            None => {
                let name = self.new_name(top);
                self.named.insert(top.clone(), name.clone());
                name
            }
        };
        Some(joined(&name, rest))
    }

    fn new_name(&self, from: &str) -> String {
        names::unique(&names::name(from, "param"), |name| {
            self.named.values().any(|other| other == name)
                || self.files.iter().any(|(_, other, ..)| other == name)
        })
    }

    fn of_file(&mut self, path: &str, tree: &Node, keys: &[String]) -> Option<String> {
        let top = keys.first()?;
        if !can_be_named(keys) {
            return None;
        }
        let index = match self.files.iter().position(|(known, ..)| known == path) {
            Some(index) => index,
            None => {
                let stem = path.rsplit('/').next().unwrap_or(path);
                let stem = stem.split('.').next().unwrap_or(stem);
                let name = self.new_name(stem);
                self.files
                    .push((path.to_owned(), name, tree.clone(), BTreeSet::new()));
                self.files.len() - 1
            }
        };
        let (_, name, _, used) = &mut self.files[index];
        used.insert(top.clone());
        Some(joined(name, keys))
    }

    /// What a stage finds in a parameter file: the keys it names, each a reference.
    /// Besides, the values themselves.
    pub(super) fn contents<'n>(
        &mut self,
        params: &Params,
        path: &str,
        is_global: bool,
        tree: &'n Node,
    ) -> Result<(Yaml, Named<'n>), Diagnostic> {
        let keys: Vec<(Vec<String>, _)> = match &params.keys {
            Some(keys) => keys
                .iter()
                .map(|(key, span)| (key.split('.').map(str::to_owned).collect(), *span))
                .collect(),
            None => tree
                .entries()
                .iter()
                .map(|entry| (vec![entry.key.clone()], params.span))
                .collect(),
        };
        let mut found = Yaml::Map(Vec::new());
        let mut nodes = Vec::new();
        for (keys, span) in keys {
            let mut node = tree;
            let mut taken = 0;
            for key in &keys {
                match &node.value {
                    // An item of a list is not taken out of it: the list goes in whole.
                    Value::Sequence(_) => break,
                    _ => match node.find(key) {
                        Some(entry) => node = &entry.value,
                        None => {
                            return Err(Diagnostic::error(
                                "import::params",
                                format!("`{}` has no `{}`", params.file.plain(), keys.join(".")),
                            )
                            .at(span, "a parameter of this stage")
                            .help("DVC needs it too; add it, or take it out of `params`"));
                        }
                    },
                }
                taken += 1;
            }
            let keys = &keys[..taken];
            let reference = if is_global {
                self.global(keys)
            } else {
                self.of_file(path, tree, keys)
            };
            let value = match reference {
                Some(reference) => Yaml::text(format!("${{{reference}}}")),
                None => Yaml::of(node),
            };
            insert(&mut found, keys, value);
            nodes.push((keys.join("."), node));
        }
        Ok((found, nodes))
    }

    /// The map `params:`, in the order of the files.
    pub(super) fn written(&self) -> Vec<(String, Yaml)> {
        let global = self.global.entries().iter().filter_map(|entry| {
            let name = self.named.get(&entry.key)?;
            Some((name.clone(), Yaml::of(&entry.value)))
        });
        let files = self.files.iter().map(|(_, name, tree, used)| {
            let entries = tree.entries().iter();
            let used = entries.filter(|entry| used.contains(&entry.key));
            let used = used.map(|entry| (entry.key.clone(), Yaml::of(&entry.value)));
            (name.clone(), Yaml::Map(used.collect()))
        });
        global.chain(files).collect()
    }

    /// Top-level values that no stage uses.
    pub(super) fn unused(&self) -> Vec<(&str, flow::source::Span)> {
        let entries = self.global.entries().iter();
        entries
            .filter(|entry| !self.named.contains_key(&entry.key))
            .map(|entry| (entry.key.as_str(), entry.key_span))
            .collect()
    }
}

fn can_be_named(path: &[String]) -> bool {
    path.iter().all(|step| {
        !step.is_empty()
            && step
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

fn joined(name: &str, rest: &[String]) -> String {
    let mut reference = format!("params.{name}");
    for step in rest {
        reference.push('.');
        reference.push_str(step);
    }
    reference
}

/// Puts a value at a path; what holds it already stays, since it holds more.
fn insert(tree: &mut Yaml, path: &[String], value: Yaml) {
    let (Yaml::Map(entries), Some((key, rest))) = (tree, path.split_first()) else {
        return;
    };
    let at = match entries.iter().position(|(own, _)| own == key) {
        Some(at) => at,
        None => {
            entries.push((key.clone(), Yaml::Map(Vec::new())));
            entries.len() - 1
        }
    };
    if rest.is_empty() {
        entries[at].1 = value;
    } else {
        insert(&mut entries[at].1, rest, value);
    }
}
