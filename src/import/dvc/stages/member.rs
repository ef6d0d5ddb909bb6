//! The keys of one stage, with what `${}` in them names. Knows nothing of loops but the round it is in.

use flow::diagnostic::Diagnostic;
use flow::source::Span;
use flow::spec::node::{Entry, Node, Value};

use super::{Member, Out, Params, Reader, Role, left_out, wrong};
use crate::import::dvc::scope::{DEFAULT_PARAMS, Round, Scope, Values};
use crate::import::dvc::text::Text;

/// How DVC is to draw a plot.
const PLOT_OPTIONS: [&str; 7] = [
    "template", "x", "y", "x_label", "y_label", "title", "header",
];
impl Reader<'_> {
    #[expect(clippy::too_many_lines, reason = "one arm for each key that DVC knows")]
    pub(super) fn member(
        &mut self,
        entry: &Entry,
        body: &Node,
        round: Option<&Round>,
    ) -> Result<Member, Diagnostic> {
        let stage = &entry.key;
        let mut scope = self.scope();
        scope.round = round;
        let wdir = match body.find("wdir") {
            Some(wdir) => scope.text(&wdir.value, false)?,
            None => Text::literal("."),
        };
        let mut local = Values::default();
        let vars = body.find("vars").map(|entry| &entry.value);
        local.load(vars, &self.folder.join(wdir.plain()), self.files)?;
        let mut scope = Scope {
            append_lists: self.append_lists,
            name_false: self.name_false,
            ..Scope::new(&self.global, &self.budget)
        };
        scope.round = round;
        scope.local = Some(&local);
        let mut member = Member {
            key: round.map(|round| round.name.clone()),
            cell: round.map_or_else(Vec::new, |round| {
                let axes = round.axes.iter();
                axes.map(|(name, _, value)| (name.clone(), value.clone()))
                    .collect()
            }),
            doc: None,
            wdir,
            commands: Vec::new(),
            deps: Vec::new(),
            outs: Vec::new(),
            params: Vec::new(),
            frozen: false,
        };
        let mut notes = Vec::new();
        let mut note = |what: String, span: Span, help: &str| {
            notes.push(left_out(what, span, help));
        };
        for entry in body.entries() {
            let span = entry.key_span;
            match entry.key.as_str() {
                "cmd" => member.commands = commands(&entry.value, &scope)?,
                "deps" => {
                    for node in list(entry, "deps")? {
                        member.deps.push((scope.text(node, false)?, node.span));
                    }
                }
                "outs" | "metrics" | "plots" => {
                    let role = match entry.key.as_str() {
                        "outs" => Role::Out,
                        "metrics" => Role::Metric,
                        _ => Role::Plot,
                    };
                    for node in list(entry, &entry.key)? {
                        for (name, options) in named(node) {
                            let path = scope.text(&name, false)?;
                            let shown = name.as_str().unwrap_or_default();
                            let mut drawing = Vec::new();
                            for option in options.into_iter().flat_map(option_entries) {
                                let key = &option.key;
                                if role == Role::Plot && PLOT_OPTIONS.contains(&key.as_str()) {
                                    drawing.push(format!("`{key}`"));
                                } else if let Some(help) = output_option(option) {
                                    let what = format!("`{key}` of `{shown}` in stage `{stage}`");
                                    note(what, option.key_span, help);
                                }
                            }
                            if role == Role::Plot {
                                let with = match drawing.as_slice() {
                                    [] => String::new(),
                                    options => format!(", whatever {} say", options.join(", ")),
                                };
                                let what = format!(
                                    "`{shown}` of stage `{stage}` is written, not drawn{with}"
                                );
                                note(
                                    what,
                                    name.span,
                                    "add a stage of kind `report` that needs it; curves come from `numbers`",
                                );
                            }
                            member.outs.push(Out {
                                path,
                                role,
                                span: name.span,
                            });
                        }
                    }
                }
                "params" => {
                    for node in list(entry, "params")? {
                        params(node, &scope, &mut member.params)?;
                    }
                }
                "desc" => member.doc = Some(scope.text(&entry.value, false)?.plain()),
                "frozen" => member.frozen = is_true(&scope.value(&entry.value)?.0),
                "always_changed" => {
                    if is_true(&scope.value(&entry.value)?.0) {
                        note(
                            format!("stage `{stage}` is always changed"),
                            span,
                            "run it with `--force` when it is to run again; what it fetches belongs into a stage of kind `fetch`",
                        );
                    }
                }
                "meta" => note(
                    format!("`meta` of stage `{stage}`"),
                    span,
                    "nothing reads it here either; keep what people need in `doc` or `about`",
                ),
                "wdir" | "vars" | "matrix" => {}
                other => note(
                    format!("`{other}` of stage `{stage}`"),
                    span,
                    "DVC has no such key; look for a mistake in writing",
                ),
            }
        }
        if member.commands.is_empty() {
            return Err(wrong(
                format!("stage `{stage}` has no `cmd`"),
                entry.key_span,
            ));
        }
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(member)
    }
}

/// `{path: options}` or `path`, the forms of outputs.
fn named(node: &Node) -> Vec<(Node, Option<&Node>)> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let name = Node {
                    value: Value::String(entry.key.clone()),
                    span: entry.key_span,
                    defined: None,
                };
                (name, Some(&entry.value))
            })
            .collect(),
        _ => vec![(node.clone(), None)],
    }
}

fn list<'n>(entry: &'n Entry, what: &str) -> Result<&'n [Node], Diagnostic> {
    match &entry.value.value {
        Value::Sequence(items) => Ok(items),
        Value::Null => Ok(&[]),
        _ => Err(wrong(format!("`{what}` is not a list"), entry.value.span)),
    }
}

fn is_true(node: &Node) -> bool {
    node.value == Value::Bool(true)
}

/// Options of an output; plots may have a list of them.
fn option_entries(node: &Node) -> Vec<&Entry> {
    match &node.value {
        Value::Sequence(items) => items.iter().flat_map(Node::entries).collect(),
        _ => node.entries().iter().collect(),
    }
}

/// What to do about an option without a counterpart.
fn output_option(option: &Entry) -> Option<&'static str> {
    let is_on = is_true(&option.value);
    match option.key.as_str() {
        // The cache is another; whether DVC keeps a copy in its own says nothing about this one.
        "cache" | "desc" | "type" | "labels" => None,
        "persist" | "checkpoint" if is_on => Some(
            "each run begins without it; `checkpoint: { dir: PLACE }` keeps a folder over kill and retry",
        ),
        "persist" | "checkpoint" => None,
        "push" if !is_on => Some(
            "nothing is pushed; `redistribute: false` of a `fetch` marks what must not be passed on",
        ),
        "push" => None,
        "remote" => Some("there is one cache; `--cache DIR` chooses its place"),
        "meta" => Some("nothing reads it here either"),
        _ => Some("DVC has no such option; look for a mistake in writing"),
    }
}

/// The commands of a stage: a text is a command a line, as DVC takes it.
fn commands(node: &Node, scope: &Scope<'_>) -> Result<Vec<(Text, Span)>, Diagnostic> {
    let nodes: Vec<Node> = match &node.value {
        Value::Sequence(items) => items.clone(),
        Value::String(text) => text
            .lines()
            .map(|line| Node {
                value: Value::String(line.to_owned()),
                span: node.span,
                defined: None,
            })
            .collect(),
        _ => vec![node.clone()],
    };
    let mut commands = Vec::new();
    for node in nodes {
        let text = scope.text(&node, true)?;
        if !text.plain().trim().is_empty() {
            commands.push((text, node.span));
        }
    }
    Ok(commands)
}

fn params(node: &Node, scope: &Scope<'_>, into: &mut Vec<Params>) -> Result<(), Diagnostic> {
    if let Value::Map(entries) = &node.value {
        for entry in entries {
            let name = Node {
                value: Value::String(entry.key.clone()),
                span: entry.key_span,
                defined: None,
            };
            let keys = match &entry.value.value {
                Value::Sequence(items) if !items.is_empty() => {
                    let keys: Result<Vec<_>, Diagnostic> = items
                        .iter()
                        .map(|item| Ok((scope.text(item, false)?.plain(), item.span)))
                        .collect();
                    Some(keys?)
                }
                _ => None,
            };
            into.push(Params {
                file: scope.text(&name, false)?,
                keys,
                span: entry.key_span,
            });
        }
        return Ok(());
    }
    let key = (scope.text(node, false)?.plain(), node.span);
    let default = into
        .iter_mut()
        .find(|params| params.file.plain() == DEFAULT_PARAMS);
    match default {
        Some(params) => params.keys.get_or_insert_default().push(key),
        None => into.push(Params {
            file: Text::literal(DEFAULT_PARAMS),
            keys: Some(vec![key]),
            span: node.span,
        }),
    }
    Ok(())
}
