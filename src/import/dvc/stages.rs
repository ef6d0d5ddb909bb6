//! The stages of a `dvc.yaml`, loops unrolled and `${}` resolved, as DVC understands them. Knows nothing of what they
//! become here.

use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::source::Span;
use flow::spec::node::{Entry, Node, Value};
use flow::spec::suggest;

use super::scope::{Files, Scope, Values, budget};
use super::text::Text;

mod member;
mod rounds;

use rounds::{each, over};

/// How many stages loops may make.
const MAX_STAGES: usize = 10_000;
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
}
