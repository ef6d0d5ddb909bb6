//! The stages of a `dvc.yaml`, loops unrolled and `${}` resolved, as DVC understands them. Knows nothing of what they
//! become here.

use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::source::Span;
use flow::spec::node::{Entry, Node, Value};
use flow::spec::suggest;

use super::scope::{DEFAULT_PARAMS, Files, Origin, Round, Scope, Values, budget};
use super::text::{Piece, Text, as_axis_value, shown};

/// How many stages loops may make.
const MAX_STAGES: usize = 10_000;
/// How DVC is to draw a plot.
const PLOT_OPTIONS: [&str; 7] = [
    "template", "x", "y", "x_label", "y_label", "title", "header",
];
/// Names under `matrix:` of a pipeline file that are no axes.
const RESERVED: [&str; 4] = ["zip", "include", "exclude", "from"];

/// An entry of `stages:`.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) span: Span,
    /// The parameter a loop over simple values goes through, if it is one.
    pub(super) over: Option<Vec<String>>,
    /// Whether the axes go together; else all combinations are meant.
    pub(super) zip: bool,
    pub(super) members: Vec<Member>,
}

/// One stage as DVC runs it.
#[derive(Debug)]
pub(super) struct Member {
    /// What stands after `@`, if it comes from a loop.
    pub(super) key: Option<String>,
    /// Axes and their values, where the loop can be a matrix.
    pub(super) cell: Vec<(String, Node)>,
    pub(super) doc: Option<String>,
    pub(super) wdir: Text,
    pub(super) commands: Vec<(Text, Span)>,
    pub(super) deps: Vec<(Text, Span)>,
    pub(super) outs: Vec<Out>,
    pub(super) params: Vec<Params>,
    pub(super) frozen: bool,
}

/// What a file that a stage writes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Out,
    Metric,
    Plot,
}

/// A path that a stage writes.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) path: Text,
    pub(super) role: Role,
    pub(super) span: Span,
}

/// Parameters of one file that a stage names.
#[derive(Debug)]
pub(super) struct Params {
    pub(super) file: Text,
    /// `None` for all.
    pub(super) keys: Option<Vec<(String, Span)>>,
    pub(super) span: Span,
}

/// What reading came to.
pub(super) struct Stages {
    pub(super) groups: Vec<Group>,
    pub(super) global: Values,
    /// What is not carried over.
    pub(super) notes: Vec<Diagnostic>,
}

/// A note that something has no counterpart.
pub(super) fn left_out(what: impl Into<String>, span: Span, help: impl Into<String>) -> Diagnostic {
    Diagnostic::warning("import::left_out", what)
        .at(span, "")
        .help(help)
}

fn wrong(what: impl Into<String>, span: Span) -> Diagnostic {
    Diagnostic::error("import::dvc", what).at(span, "")
}

struct Reader<'f> {
    folder: &'f Path,
    files: &'f mut Files,
    global: Values,
    budget: std::cell::Cell<usize>,
    notes: Vec<Diagnostic>,
    count: usize,
    /// How DVC unpacks lists and booleans into arguments.
    append_lists: bool,
    name_false: bool,
}

/// Reads the tree of a `dvc.yaml` in `folder`. All problems come at once, those of one stage singly.
pub(super) fn read(
    tree: &Node,
    folder: &Path,
    files: &mut Files,
    unpacking: (bool, bool),
) -> Result<Stages, Vec<Diagnostic>> {
    if !matches!(tree.value, Value::Map(_) | Value::Null) {
        return Err(vec![
            wrong(
                format!("this file is {}, not a map", tree.type_name()),
                tree.span,
            )
            .help("a `dvc.yaml` has `stages:` at its top"),
        ]);
    }
    let vars = tree.find("vars").map(|entry| &entry.value);
    let global = super::scope::global(vars, folder, tree.span, files).map_err(|p| vec![p])?;
    let mut reader = Reader {
        folder,
        files,
        global,
        budget: budget(),
        notes: Vec::new(),
        count: 0,
        append_lists: unpacking.0,
        name_false: unpacking.1,
    };
    reader.top(tree);
    let mut problems = Vec::new();
    let mut groups = Vec::new();
    match tree.find("stages").map(|entry| &entry.value) {
        Some(stages) if matches!(stages.value, Value::Map(_) | Value::Null) => {
            for entry in stages.entries() {
                match reader.group(entry) {
                    Ok(group) => groups.push(group),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Some(other) => problems.push(wrong("`stages` is not a map", other.span)),
        None => {}
    }
    if problems.is_empty() && groups.iter().all(|group| group.members.is_empty()) {
        problems.push(
            wrong("this file has no stages", tree.span)
                .help("name the `dvc.yaml` that has `stages:`"),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Stages {
        groups,
        global: reader.global,
        notes: reader.notes,
    })
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

impl Reader<'_> {
    fn note(&mut self, what: impl Into<String>, span: Span, help: impl Into<String>) {
        let note = left_out(what, span, help);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What stands beside `stages:`.
    fn top(&mut self, tree: &Node) {
        for entry in tree.entries() {
            let help = match entry.key.as_str() {
                "stages" | "vars" => continue,
                "metrics" => "name the files under `numbers:` of the stage that writes them",
                "plots" => "add a stage of kind `report` for tables and curves of `numbers`",
                "params" => "nothing is needed here: parameters stand under `params:`",
                "artifacts" => "`publish:` of a stage puts its outputs where others find them",
                "datasets" => "fetch them with a stage of kind `fetch`",
                other => {
                    let known = ["stages", "vars", "metrics", "plots", "params", "artifacts"];
                    let help = suggest::help(other, known, "remove it");
                    self.note(
                        format!("DVC has no key `{other}` here"),
                        entry.key_span,
                        help,
                    );
                    continue;
                }
            };
            self.note(format!("`{}` of the file", entry.key), entry.key_span, help);
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            append_lists: self.append_lists,
            name_false: self.name_false,
            ..Scope::new(&self.global, &self.budget)
        }
    }

    fn group(&mut self, entry: &Entry) -> Result<Group, Diagnostic> {
        if !matches!(entry.value.value, Value::Map(_)) {
            return Err(wrong(
                format!("stage `{}` is not a map", entry.key),
                entry.key_span,
            ));
        }
        let mut group = Group {
            name: entry.key.clone(),
            span: entry.key_span,
            over: None,
            zip: false,
            members: Vec::new(),
        };
        let foreach = entry.value.find("foreach");
        let matrix = entry.value.find("matrix");
        let body = match (foreach, matrix) {
            (Some(foreach), _) => {
                let Some(body) = entry.value.find("do") else {
                    return Err(wrong("`foreach` has no `do`", foreach.key_span));
                };
                if !matches!(body.value.value, Value::Map(_)) {
                    return Err(wrong("`do` is not a map", body.key_span));
                }
                &body.value
            }
            _ => &entry.value,
        };
        let rounds = match (foreach, matrix) {
            (Some(foreach), _) => {
                let (data, origin) = self.scope().value(&foreach.value)?;
                let rounds = each(&data)?;
                group.zip = true;
                group.over = over(&origin, &data, &rounds);
                rounds
            }
            (None, Some(matrix)) => self.combinations(&matrix.value)?,
            (None, None) => {
                group.members.push(self.member(entry, body, None)?);
                return Ok(group);
            }
        };
        self.count = self.count.saturating_add(rounds.len());
        if self.count > MAX_STAGES {
            return Err(wrong(
                format!("loops of this file make more than {MAX_STAGES} stages"),
                entry.key_span,
            )
            .help("leave out values, or split the file"));
        }
        for round in &rounds {
            group.members.push(self.member(entry, body, Some(round))?);
        }
        Ok(group)
    }

    /// The rounds of a `matrix:`, the last axis fastest.
    fn combinations(&self, node: &Node) -> Result<Vec<Round>, Diagnostic> {
        let scope = self.scope();
        let mut axes: Vec<(&str, Vec<Node>)> = Vec::new();
        if !matches!(node.value, Value::Map(_)) {
            return Err(wrong("`matrix` is not a map", node.span));
        }
        let mut total = 1_usize;
        for entry in node.entries() {
            let (values, _) = scope.value(&entry.value)?;
            let Value::Sequence(values) = values.value else {
                return Err(wrong(
                    format!("`{}` of the matrix is not a list", entry.key),
                    entry.value.span,
                ));
            };
            total = total.saturating_mul(values.len());
            axes.push((&entry.key, values));
        }
        if total > MAX_STAGES {
            return Err(wrong(
                format!("this matrix makes more than {MAX_STAGES} stages"),
                node.span,
            )
            .help("leave out values, or split the stage"));
        }
        let names = axis_names(axes.iter().map(|(name, _)| *name));
        let is_simple = axes
            .iter()
            .all(|(_, values)| values.iter().all(|value| shown(&value.value).is_some()));
        let mut rounds = Vec::with_capacity(total);
        for index in 0..total {
            let mut left = index;
            let mut chosen: Vec<(usize, &Node)> = axes
                .iter()
                .rev()
                .map(|(_, values)| {
                    let at = left % values.len();
                    left /= values.len();
                    (at, &values[at])
                })
                .collect();
            chosen.reverse();
            let mut fragments = Vec::new();
            let mut round = Round {
                name: String::new(),
                item: Node {
                    value: Value::Null,
                    span: node.span,
                    defined: None,
                },
                has_key: true,
                axes: Vec::new(),
                key_parts: Vec::new(),
            };
            let mut item = Vec::new();
            for (((key, _), name), (at, value)) in axes.iter().zip(&names).zip(chosen) {
                let fragment = shown(&value.value).unwrap_or_else(|| format!("{key}{at}"));
                if is_simple {
                    round.key_parts.push(Piece::Axis {
                        axis: name.clone(),
                        text: fragment.clone(),
                    });
                    let path = Some(vec![(*key).to_owned()]);
                    round
                        .axes
                        .extend(as_axis_value(value).map(|v| (name.clone(), path, v)));
                }
                fragments.push(fragment);
                item.push(Entry {
                    key: (*key).to_owned(),
                    key_span: value.span,
                    value: value.clone(),
                });
            }
            round.name = fragments.join("-");
            round.item.value = Value::Map(item);
            // Equal names are one stage to DVC, the last of them.
            rounds.retain(|earlier: &Round| earlier.name != round.name);
            rounds.push(round);
        }
        Ok(rounds)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each key that DVC knows")]
    fn member(
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

/// The rounds of a `foreach:`.
fn each(data: &Node) -> Result<Vec<Round>, Diagnostic> {
    let is_composite = |node: &Node| matches!(node.value, Value::Map(_) | Value::Sequence(_));
    let pairs: Vec<(String, Node, bool)> = match &data.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone(), true))
            .collect(),
        Value::Sequence(items) if items.iter().any(is_composite) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item.clone(), false))
            .collect(),
        Value::Sequence(items) => {
            let mut pairs: Vec<(String, Node, bool)> = Vec::new();
            for item in items {
                let name = shown(&item.value).unwrap_or_default();
                pairs.retain(|(earlier, ..)| *earlier != name);
                pairs.push((name, item.clone(), false));
            }
            pairs
        }
        _ => {
            return Err(wrong(
                format!(
                    "`foreach` goes over {}, not a list or a map",
                    data.type_name()
                ),
                data.span,
            ));
        }
    };
    let mut rounds: Vec<Round> = pairs
        .into_iter()
        .map(|(name, item, has_key)| Round {
            name,
            item,
            has_key,
            axes: Vec::new(),
            key_parts: Vec::new(),
        })
        .collect();
    let fields: Vec<Vec<(Vec<String>, Node)>> = rounds
        .iter()
        .map(|round| {
            let mut fields = Vec::new();
            flatten(&round.item, &mut Vec::new(), &mut fields);
            fields
        })
        .collect();
    let Some(first) = fields.first() else {
        return Ok(rounds);
    };
    // A field that some items lack, or that is a list, cannot be an axis.
    let shared: Vec<Vec<String>> = first
        .iter()
        .filter(|(path, _)| {
            let has = |fields: &Vec<(Vec<String>, Node)>| {
                fields
                    .iter()
                    .any(|(own, value)| own == path && as_axis_value(value).is_some())
            };
            fields.iter().all(has)
        })
        .map(|(path, _)| path.clone())
        .collect();
    let has_key = rounds.iter().any(|round| round.has_key);
    let mut wanted: Vec<(String, Option<Vec<String>>)> = Vec::new();
    if has_key {
        wanted.push(("key".to_owned(), None));
    }
    for path in shared {
        let name = if path.is_empty() {
            "item".to_owned()
        } else {
            path.join("_")
        };
        wanted.push((name, Some(path)));
    }
    let names = axis_names(wanted.iter().map(|(name, _)| name.as_str()));
    for (round, fields) in rounds.iter_mut().zip(&fields) {
        for ((_, path), name) in wanted.iter().zip(&names) {
            let value = match path {
                None => Some(Node {
                    value: Value::String(round.name.clone()),
                    span: round.item.span,
                    defined: None,
                }),
                Some(path) => fields
                    .iter()
                    .find(|(own, _)| own == path)
                    .and_then(|(_, value)| as_axis_value(value)),
            };
            round
                .axes
                .extend(value.map(|value| (name.clone(), path.clone(), value)));
        }
    }
    Ok(rounds)
}

/// The parameter that a loop goes through value by value, as one axis can.
fn over(origin: &Option<Origin>, data: &Node, rounds: &[Round]) -> Option<Vec<String>> {
    let (Some(Origin::Global(path)), Value::Sequence(items)) = (origin, &data.value) else {
        return None;
    };
    let is_itself = |(round, item): (&Round, &Node)| match round.axes.as_slice() {
        [(_, Some(path), value)] => path.is_empty() && value.value == item.value,
        _ => false,
    };
    (rounds.len() == items.len() && rounds.iter().zip(items).all(is_itself)).then(|| path.clone())
}

/// The values of an item that are no maps, by their paths.
fn flatten(node: &Node, path: &mut Vec<String>, fields: &mut Vec<(Vec<String>, Node)>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                flatten(&entry.value, path, fields);
                path.pop();
            }
        }
        _ => fields.push((path.clone(), node.clone())),
    }
}

/// Names that axes may have, each once.
fn axis_names<'n>(wanted: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for wanted in wanted {
        let mut name = super::names::name(wanted, "axis");
        if RESERVED.contains(&name.as_str()) {
            name.push_str("_axis");
        }
        names.push(super::names::unique(&name, |name| {
            names.iter().any(|other| other == name)
        }));
    }
    names
}
