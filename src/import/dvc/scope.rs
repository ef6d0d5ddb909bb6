//! What `${}` may name: parameter files, `vars`, and `item` and `key` of a loop. Knows nothing of stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow::diagnostic::Diagnostic;
use flow::source::{Sources, Span};
use flow::spec::decode::scalar_text;
use flow::spec::node::{Entry, Node, Value};
use flow::spec::yaml;

use super::numbers::{self, Carried, joined};
use super::text::{Part, Piece, Text, parts, quoted, shown};
use crate::kinds::params_file::{Format, read_toml};

/// The file that is read without being named.
pub(super) const DEFAULT_PARAMS: &str = "params.yaml";
/// Characters that all resolved texts of a file may have together.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Files that were read, each once, and the texts that messages point into.
#[derive(Default)]
pub(super) struct Files {
    pub(super) sources: Sources,
    read: BTreeMap<PathBuf, Option<Node>>,
    /// Numbers that have become texts, by the file they stand in.
    carried: BTreeMap<PathBuf, Vec<Carried>>,
}

impl Files {
    /// The values of a parameter file. `Ok(None)` where it is not there, or is a program; the error says what is wrong.
    pub(super) fn values(&mut self, path: &Path, used: Span) -> Result<Option<Node>, Diagnostic> {
        if let Some(known) = self.read.get(path) {
            return Ok(known.clone());
        }
        let name = path.display().to_string();
        let format = Format::of(&name);
        let node = match (format, path.is_file()) {
            (None, _) | (_, false) => None,
            (Some(format), true) => {
                let wrong = |why: String| {
                    Diagnostic::error("import::params", format!("`{name}` cannot be read: {why}"))
                        .at(used, "read for this")
                        .help("correct it, then import again")
                };
                let text = fs_err::read_to_string(path)
                    .map_err(|error| wrong(error.kind().to_string()))?;
                Some(match format {
                    Format::Yaml => self.yaml(&name, path, &text)?,
                    Format::Json => {
                        let value = serde_json::from_str(&numbers::mark_json(&text))
                            .map_err(|error| wrong(error.to_string()))?;
                        self.tree(path, &value, used)
                    }
                    Format::Toml => {
                        let value = read_toml(&text, &numbers::marked).map_err(wrong)?;
                        self.tree(path, &value, used)
                    }
                })
            }
        };
        self.read.insert(path.to_path_buf(), node.clone());
        Ok(node)
    }

    /// The tree of a YAML text; its first problem where there is one.
    pub(super) fn yaml(&mut self, name: &str, path: &Path, text: &str) -> Result<Node, Diagnostic> {
        let source = self.sources.add(name, Some(path), text);
        let parsed = yaml::parse(text, source);
        let Some(mut node) = parsed.node else {
            let unknown = || Diagnostic::error("import::dvc", format!("`{name}` cannot be read"));
            return Err(parsed.problems.into_iter().next().unwrap_or_else(unknown));
        };
        let carried = numbers::in_yaml(parsed.problems, &mut node, &self.sources)?;
        self.carried.insert(path.to_path_buf(), carried);
        Ok(node)
    }

    fn tree(&mut self, path: &Path, value: &serde_json::Value, span: Span) -> Node {
        let carried = self.carried.entry(path.to_path_buf()).or_default();
        from_json(value, span, "", carried)
    }

    /// The numbers of a file that have become texts.
    pub(super) fn carried(&self, path: &Path) -> &[Carried] {
        self.carried.get(path).map_or(&[], Vec::as_slice)
    }
}

fn from_json(
    value: &serde_json::Value,
    span: Span,
    path: &str,
    carried: &mut Vec<Carried>,
) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => numbers::in_text(text, path, span, carried)
            .unwrap_or_else(|| Value::String(text.clone())),
        Json::Array(items) => {
            let items = items.iter().enumerate();
            let items =
                items.map(|(index, item)| from_json(item, span, &joined(path, &index), carried));
            Value::Sequence(items.collect())
        }
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_span: span,
                    value: from_json(value, span, &joined(path, key), carried),
                })
                .collect(),
        ),
    };
    Node {
        value,
        span,
        defined: None,
    }
}

/// The values that `${}` of a file or a stage may name.
#[derive(Clone, Default)]
pub(super) struct Values {
    entries: Vec<Entry>,
    whole_files: Vec<PathBuf>,
}

impl Values {
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether all values of a file are among these.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        let plain = |path: &Path| fs_err::canonicalize(path).ok();
        let path = plain(path);
        path.is_some() && self.whole_files.iter().any(|own| plain(own) == path)
    }

    /// Reads a `vars:` list: names of files, with keys after a `:`, and maps.
    pub(super) fn load(
        &mut self,
        vars: Option<&Node>,
        folder: &Path,
        files: &mut Files,
    ) -> Result<(), Diagnostic> {
        let items = match vars.map(|node| &node.value) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Sequence(items)) => items,
            Some(_) => {
                let place = vars.map(|node| node.span);
                return Err(
                    Diagnostic::error("import::dvc", "`vars` is not a list").at_if(place, "")
                );
            }
        };
        for item in items {
            match &item.value {
                Value::String(name) => self.file(name, folder, item.span, files)?,
                Value::Map(entries) => merge(&mut self.entries, entries)?,
                _ => {
                    return Err(Diagnostic::error(
                        "import::dvc",
                        "an item of `vars` is a file or a map",
                    )
                    .at(item.span, ""));
                }
            }
        }
        Ok(())
    }

    /// Adds `file`, or `file:key,key`.
    pub(super) fn file(
        &mut self,
        name: &str,
        folder: &Path,
        span: Span,
        files: &mut Files,
    ) -> Result<(), Diagnostic> {
        let (name, keys) = name.split_once(':').unwrap_or((name, ""));
        let path = folder.join(name);
        if keys.is_empty() && self.whole_files.contains(&path) {
            return Ok(());
        }
        let missing = |what: String| {
            Diagnostic::error("import::params", what)
                .at(span, "named here")
                .help("DVC does not read this file either; correct it first")
        };
        let Some(node) = files.values(&path, span)? else {
            return Err(missing(format!(
                "the parameter file `{name}` is not there, or is neither YAML, JSON nor TOML"
            )));
        };
        let mut entries = node.entries().to_vec();
        if keys.is_empty() {
            self.whole_files.push(path);
        } else {
            let mut chosen = Vec::new();
            for key in keys.split(',').filter(|key| !key.is_empty()) {
                match entries.iter().find(|entry| entry.key == key) {
                    Some(entry) => chosen.push(entry.clone()),
                    None => return Err(missing(format!("`{name}` has no key `{key}`"))),
                }
            }
            entries = chosen;
        }
        merge(&mut self.entries, &entries)
    }
}

/// Maps merge; a value that stands in both is an error, as in DVC.
fn merge(into: &mut Vec<Entry>, from: &[Entry]) -> Result<(), Diagnostic> {
    for entry in from {
        let Some(present) = into.iter_mut().find(|present| present.key == entry.key) else {
            into.push(entry.clone());
            continue;
        };
        match (&mut present.value.value, &entry.value.value) {
            (Value::Map(inner), Value::Map(more)) => merge(inner, more)?,
            _ => {
                return Err(Diagnostic::error(
                    "import::params",
                    format!("`{}` has two values", entry.key),
                )
                .at(entry.key_span, "here")
                .at(present.key_span, "and here")
                .help("DVC refuses this too; keep one of them"));
            }
        }
    }
    Ok(())
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// Among the values of the whole file, by this path.
    Global(Vec<String>),
    /// In `item`, by the path below it.
    Item(Vec<String>),
    /// `key`.
    Key,
    /// Among the `vars` of the stage.
    Local,
}

/// One round of a loop.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// What DVC puts after the `@` of the stage's name.
    pub(super) name: String,
    /// `item`.
    pub(super) item: Node,
    /// Whether there is a `key`.
    pub(super) has_key: bool,
    /// Axes: name, path below `item` (`None` for `key`), value.
    pub(super) axes: Vec<(String, Option<Vec<String>>, Node)>,
    /// What `key` is made of, where that is axes.
    pub(super) key_parts: Vec<Piece>,
}

/// What a text may name.
pub(super) struct Scope<'a> {
    pub(super) global: &'a Values,
    pub(super) local: Option<&'a Values>,
    pub(super) round: Option<&'a Round>,
    pub(super) budget: &'a std::cell::Cell<usize>,
    pub(super) append_lists: bool,
    pub(super) name_false: bool,
}

impl<'a> Scope<'a> {
    pub(super) fn new(global: &'a Values, budget: &'a std::cell::Cell<usize>) -> Self {
        Self {
            global,
            local: None,
            round: None,
            budget,
            append_lists: false,
            name_false: false,
        }
    }

    /// What an expression such as `a.b[0]` names.
    pub(super) fn find(&self, expression: &str, span: Span) -> Result<(Node, Origin), Diagnostic> {
        let normal = expression.replace('[', ".").replace(']', "");
        let path: Vec<String> = normal.split('.').map(|s| s.trim().to_owned()).collect();
        let unknown = || {
            Diagnostic::error(
                "import::undefined",
                format!("`${{{}}}` names nothing", expression.trim()),
            )
            .at(span, "used here")
            .help(
                "define it in `params.yaml` or `vars`; DVC needs it too. `\\${` is the text itself",
            )
        };
        let (first, rest) = path.split_first().ok_or_else(unknown)?;
        if let Some(round) = self.round {
            if first == "item" {
                let node = step_down(&round.item, rest).ok_or_else(unknown)?;
                return Ok((node.clone(), Origin::Item(rest.to_vec())));
            }
            if first == "key" && round.has_key && rest.is_empty() {
                let node = Node {
                    value: Value::String(round.name.clone()),
                    span,
                    defined: None,
                };
                return Ok((node, Origin::Key));
            }
        }
        let within = |values: &Values| {
            let entry = values.entries.iter().find(|entry| entry.key == *first)?;
            step_down(&entry.value, rest).cloned()
        };
        if let Some(node) = within(self.global) {
            return Ok((node, Origin::Global(path.clone())));
        }
        let local = self.local.and_then(within).ok_or_else(unknown)?;
        Ok((local, Origin::Local))
    }

    /// The value of a node: itself, or what its text names where that is one expression.
    pub(super) fn value(&self, node: &Node) -> Result<(Node, Option<Origin>), Diagnostic> {
        if let Value::String(text) = &node.value
            && let [Part::Expression(expression)] = parts(text).as_slice()
        {
            let (found, origin) = self.find(expression, node.span)?;
            return Ok((found, Some(origin)));
        }
        let value = match &node.value {
            Value::Sequence(items) => {
                let items: Result<Vec<Node>, Diagnostic> =
                    items.iter().map(|item| Ok(self.value(item)?.0)).collect();
                Value::Sequence(items?)
            }
            Value::Map(entries) => {
                let entries: Result<Vec<Entry>, Diagnostic> = entries
                    .iter()
                    .map(|entry| {
                        Ok(Entry {
                            key: entry.key.clone(),
                            key_span: entry.key_span,
                            value: self.value(&entry.value)?.0,
                        })
                    })
                    .collect();
                Value::Map(entries?)
            }
            Value::String(_) => Value::String(self.text(node, false)?.plain()),
            other => other.clone(),
        };
        Ok((
            Node {
                value,
                span: node.span,
                defined: None,
            },
            None,
        ))
    }

    /// The text of a node, with what it names. Maps are arguments of a command, and refused elsewhere.
    pub(super) fn text(&self, node: &Node, in_command: bool) -> Result<Text, Diagnostic> {
        let Some(text) = node.as_str() else {
            return shown(&node.value).map(Text::literal).ok_or_else(|| {
                Diagnostic::error(
                    "import::dvc",
                    format!("this is {}, not a text", node.type_name()),
                )
                .at(node.span, "")
            });
        };
        let mut resolved = Text::default();
        for part in parts(text) {
            match part {
                Part::Text(text) => resolved.push(&text),
                Part::Expression(expression) => {
                    let (found, origin) = self.find(expression, node.span)?;
                    self.insert(&mut resolved, &found, &origin, in_command, node.span)?;
                }
            }
        }
        let bytes = resolved.plain().len() + 1;
        let left = self.budget.get();
        if bytes > left {
            return Err(Diagnostic::error(
                "import::too_large",
                "the texts of this file unfold too far",
            )
            .at(node.span, "the limit is reached here")
            .help("let fewer stages repeat long texts"));
        }
        self.budget.set(left - bytes);
        Ok(resolved)
    }

    fn insert(
        &self,
        text: &mut Text,
        found: &Node,
        origin: &Origin,
        in_command: bool,
        span: Span,
    ) -> Result<(), Diagnostic> {
        match &found.value {
            Value::Map(_) if in_command => {
                let mut words = Vec::new();
                self.arguments(&mut words, found, origin, "", span)?;
                for (index, word) in words.into_iter().enumerate() {
                    if index > 0 {
                        text.push(" ");
                    }
                    *text = std::mem::take(text).then(&word);
                }
                Ok(())
            }
            Value::Map(_) | Value::Sequence(_) => Err(Diagnostic::error(
                "import::dvc",
                format!("{} cannot stand in a text", found.type_name()),
            )
            .at(span, "")
            .help("name one of its entries; DVC refuses this too")),
            _ => {
                match self.round.map(|round| round.key_parts.as_slice()) {
                    // The `key` of a matrix is made of its values.
                    Some(parts) if *origin == Origin::Key && !parts.is_empty() => {
                        for (index, part) in parts.iter().enumerate() {
                            if index > 0 {
                                text.push("-");
                            }
                            text.0.push(part.clone());
                        }
                    }
                    _ => text.0.push(self.piece(found, origin)),
                }
                Ok(())
            }
        }
    }

    /// `--key value` for each entry, as DVC unpacks a map.
    fn arguments(
        &self,
        words: &mut Vec<Text>,
        map: &Node,
        origin: &Origin,
        prefix: &str,
        span: Span,
    ) -> Result<(), Diagnostic> {
        for entry in map.entries() {
            let name = format!("{prefix}{}", entry.key);
            let here = below(origin, &entry.key);
            match &entry.value.value {
                Value::Map(_) => {
                    self.arguments(words, &entry.value, &here, &format!("{name}."), span)?;
                }
                Value::Bool(true) => words.push(Text::literal(format!("--{name}"))),
                Value::Bool(false) if self.name_false => {
                    words.push(Text::literal(format!("--no-{name}")));
                }
                Value::Bool(false) => {}
                Value::Sequence(items) => {
                    for (at, item) in items.iter().enumerate() {
                        if at == 0 || self.append_lists {
                            words.push(Text::literal(format!("--{name}")));
                        }
                        words.push(self.argument(item, &below(&here, &at.to_string()), span)?);
                    }
                }
                _ => {
                    words.push(Text::literal(format!("--{name}")));
                    words.push(self.argument(&entry.value, &here, span)?);
                }
            }
        }
        Ok(())
    }

    fn argument(&self, value: &Node, origin: &Origin, span: Span) -> Result<Text, Diagnostic> {
        match &value.value {
            Value::String(word) if quoted(word) != word.as_str() => {
                Ok(Text::literal(quoted(word).into_owned()))
            }
            // Inside lists of arguments Python's own words stand, not those of YAML.
            Value::Bool(truth) => Ok(Text::literal(if *truth { "True" } else { "False" })),
            _ => {
                let mut text = Text::default();
                self.insert(&mut text, value, origin, false, span)?;
                Ok(text)
            }
        }
    }

    fn piece(&self, found: &Node, origin: &Origin) -> Piece {
        let text = shown(&found.value).unwrap_or_default();
        let axis = |path: Option<&[String]>| {
            let axes = &self.round?.axes;
            let (name, ..) = axes.iter().find(|(_, own, _)| own.as_deref() == path)?;
            Some(name.clone())
        };
        let axis = match origin {
            Origin::Global(path) if scalar_text(&found.value).as_ref() == Some(&text) => {
                let path = path.clone();
                return Piece::Param { path, text };
            }
            Origin::Global(path) => {
                let path = path.clone();
                return Piece::Written { path, text };
            }
            Origin::Item(path) => axis(Some(path)),
            Origin::Key => axis(None),
            Origin::Local => None,
        };
        match axis {
            Some(axis) => Piece::Axis { axis, text },
            None => Piece::Literal(text),
        }
    }
}

fn below(origin: &Origin, key: &str) -> Origin {
    let longer = |path: &[String]| [path, &[key.to_owned()]].concat();
    match origin {
        Origin::Global(path) => Origin::Global(longer(path)),
        Origin::Item(path) => Origin::Item(longer(path)),
        Origin::Key | Origin::Local => Origin::Local,
    }
}

fn step_down<'n>(node: &'n Node, path: &[String]) -> Option<&'n Node> {
    path.iter().try_fold(node, |node, step| match &node.value {
        Value::Map(entries) => {
            let entry = entries.iter().find(|entry| entry.key == *step)?;
            Some(&entry.value)
        }
        Value::Sequence(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A budget for the texts of one file.
pub(super) fn budget() -> std::cell::Cell<usize> {
    std::cell::Cell::new(MAX_TEXT_BYTES)
}

/// Reads `params.yaml` of the folder, if there is one, and `vars`.
pub(super) fn global(
    vars: Option<&Node>,
    folder: &Path,
    start: Span,
    files: &mut Files,
) -> Result<Values, Diagnostic> {
    let mut values = Values::default();
    if folder.join(DEFAULT_PARAMS).is_file() {
        values.file(DEFAULT_PARAMS, folder, start, files)?;
    }
    values.load(vars, folder, files)?;
    Ok(values)
}
