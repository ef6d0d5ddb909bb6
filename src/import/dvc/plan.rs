//! What each stage reads and writes, and who makes it: paths of a `dvc.yaml` against each other and against the disk.
//! Knows nothing of how a pipeline file says it.

use std::collections::BTreeMap;
use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::source::Span;

use super::project::{absolute, common, entries, imports, is_in, parent, path_words};
use super::stages::{Group, Member, Role, left_out};
use super::text::Text;

/// How deep folders are looked into that hold both files and outputs of stages.
const MAX_FOLDERS_DEEP: usize = 8;

/// One of DVC's stages by the places of its group and of itself.
pub(super) type Id = (usize, usize);

/// A stage with its paths from `/`.
#[derive(Debug)]
pub(super) struct Plan {
    /// The folder that becomes the stage's own: the deepest that holds where it runs and all that it touches.
    pub(super) base: String,
    /// Where it runs.
    pub(super) wdir: Text,
    pub(super) needs: Vec<Need>,
    pub(super) outs: Vec<(Text, Role)>,
    /// Parameter files, in the order of the stage's `params`.
    pub(super) params: Vec<Text>,
    /// Folders of the project that the stage writes into and nothing placed makes.
    pub(super) folders: Vec<String>,
    /// Frozen, with its outputs on disk: they are files to whoever reads them.
    pub(super) is_left_out: bool,
}

/// Something a stage reads.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) path: Text,
    pub(super) source: Source,
    /// Why it is there although the stage does not name it.
    pub(super) because: Option<String>,
}

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The disk.
    File,
    /// An output of a stage, by its place among them.
    Stage(Id, usize),
}

/// What writes each path.
struct Producers(BTreeMap<String, (Id, usize, Text)>);

impl Producers {
    /// The output that a path is or lies in.
    fn of(&self, path: &str) -> Option<(Id, usize, &Text)> {
        let mut at = path;
        loop {
            if let Some((id, out, text)) = self.0.get(at) {
                return Some((*id, *out, text));
            }
            if at == "/" {
                return None;
            }
            at = parent(at);
        }
    }

    /// The outputs in a folder.
    fn inside(&self, folder: &str) -> impl Iterator<Item = (&str, Id, usize, &Text)> {
        let first = format!("{folder}/");
        self.0
            .range(first.clone()..)
            .take_while(move |(path, _)| path.starts_with(&first))
            .map(|(path, (id, out, text))| (path.as_str(), *id, *out, text))
    }
}

/// Plans all stages of the `dvc.yaml` in `folder`, a normal path.
pub(super) fn plan(
    groups: &[Group],
    folder: &str,
    notes: &mut Vec<Diagnostic>,
) -> Result<Vec<Vec<Plan>>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut producers = Producers(BTreeMap::new());
    let mut plans: Vec<Vec<Plan>> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let mut of_group = Vec::new();
        for (m, member) in group.members.iter().enumerate() {
            let plan = paths(member, folder);
            for (o, (path, _)) in plan.outs.iter().enumerate() {
                let text = path.plain();
                let span = member.outs[o].span;
                if plan.is_left_out {
                    continue;
                }
                if let Some(((other, _), ..)) = producers.0.get(&text) {
                    problems.push(
                        Diagnostic::error(
                            "import::dvc",
                            format!("`{}` is written twice", shown(&text, folder)),
                        )
                        .at(span, format!("by `{}`", group.name))
                        .at(groups[*other].span, "and by this stage")
                        .help("DVC refuses this too; let one of them write elsewhere"),
                    );
                }
                producers.0.insert(text, ((g, m), o, path.clone()));
            }
            if member.frozen {
                notes.push(frozen(group, plan.is_left_out));
            }
            of_group.push(plan);
        }
        plans.push(of_group);
    }
    for (g, group) in groups.iter().enumerate() {
        for (m, member) in group.members.iter().enumerate() {
            let plan = &mut plans[g][m];
            if !plan.is_left_out {
                let mut finder = Finder {
                    id: (g, m),
                    producers: &producers,
                    project: folder,
                    needs: Vec::new(),
                    notes,
                };
                finder.find(group, member, plan);
                plan.needs = finder.needs;
                plan.folders = folders(plan);
            }
        }
    }
    notes.dedup();
    if problems.is_empty() {
        Ok(plans)
    } else {
        Err(problems)
    }
}

fn frozen(group: &Group, is_left_out: bool) -> Diagnostic {
    let name = &group.name;
    let help = if is_left_out {
        "it is left out, and its outputs are read as files where they lie; take `frozen` away and import again to run it"
    } else {
        "its outputs are not here, so it will run once; `protect: true` then holds the result"
    };
    left_out(format!("stage `{name}` is frozen"), group.span, help)
}

/// A path as people see it.
pub(super) fn shown(path: &str, project: &str) -> String {
    super::project::seen_from(&Text::literal(path), project).plain()
}

fn paths(member: &Member, folder: &str) -> Plan {
    let wdir = absolute(&Text::literal(folder), &member.wdir);
    let at = |path: &Text| absolute(&wdir, path);
    let outs: Vec<(Text, Role)> = member
        .outs
        .iter()
        .map(|out| (at(&out.path), out.role))
        .collect();
    let params: Vec<Text> = member
        .params
        .iter()
        .map(|params| at(&params.file))
        .collect();
    let deps = member
        .deps
        .iter()
        .filter(|(dep, _)| !is_elsewhere(&dep.plain()));
    let deps: Vec<Text> = deps.map(|(dep, _)| at(dep)).collect();
    let mut base = wdir.plain();
    let touched = outs
        .iter()
        .map(|(path, _)| path)
        .chain(&params)
        .chain(&deps);
    for path in touched {
        base = common(&base, parent(&path.plain()));
    }
    let there = |(path, _): &(Text, Role)| Path::new(&path.plain()).exists();
    Plan {
        base,
        wdir,
        needs: Vec::new(),
        is_left_out: member.frozen && !outs.is_empty() && outs.iter().all(there),
        outs,
        params,
        folders: Vec::new(),
    }
}

/// Whether a path is no place of the project: a URL, or a path from `/`.
fn is_elsewhere(path: &str) -> bool {
    path.contains("://") || path.starts_with('/')
}

struct Finder<'p> {
    id: Id,
    producers: &'p Producers,
    project: &'p str,
    needs: Vec<Need>,
    notes: &'p mut Vec<Diagnostic>,
}

impl Finder<'_> {
    fn find(&mut self, group: &Group, member: &Member, plan: &Plan) {
        for (dep, span) in &member.deps {
            self.dep(group, dep, *span, plan);
        }
        self.tidy();
        for (command, span) in &member.commands {
            self.named(group, &command.plain(), *span, plan);
        }
        self.imported(group, plan);
        self.tidy();
    }

    fn dep(&mut self, group: &Group, dep: &Text, span: Span, plan: &Plan) {
        let text = dep.plain();
        if is_elsewhere(&text) {
            let help = if text.contains("://") {
                "fetch it with a stage of kind `fetch` and need that"
            } else {
                "add it under `needs` as `{ file: PATH, as: NAME }` and let the command read NAME"
            };
            let what = format!(
                "`{text}`, which stage `{}` reads, is not in the project",
                group.name
            );
            self.notes.push(left_out(what, span, help));
            return;
        }
        let path = absolute(&plan.wdir, dep);
        let plain = path.plain();
        if let Some((id, out, whole)) = self.producers.of(&plain) {
            if id == self.id {
                let what = format!("stage `{}` reads `{text}`, which it writes", group.name);
                let help = "a stage begins without its outputs; `checkpoint` keeps what goes on from run to run";
                self.notes.push(left_out(what, span, help));
                return;
            }
            let whole = if whole.plain() == plain {
                path
            } else {
                whole.clone()
            };
            self.add(whole, Source::Stage(id, out), None);
            return;
        }
        self.folder_or_file(group, path, span, 0);
    }

    /// A path of the disk, which may be a folder that stages write into.
    fn folder_or_file(&mut self, group: &Group, path: Text, span: Span, deep: usize) {
        let plain = path.plain();
        let inside: Vec<(Text, Id, usize)> = self
            .producers
            .inside(&plain)
            .map(|(_, id, out, text)| (text.clone(), id, out))
            .collect();
        let exists = Path::new(&plain).exists();
        if inside.is_empty() {
            if !exists {
                self.missing(group, &plain, span);
            }
            self.add(path, Source::File, None);
            return;
        }
        for (text, id, out) in inside {
            if id != self.id {
                self.add(text, Source::Stage(id, out), None);
            }
        }
        if !exists {
            return;
        }
        let Some(names) = entries(&plain).filter(|_| deep < MAX_FOLDERS_DEEP) else {
            let what = format!(
                "`{}` holds outputs of stages and too much beside",
                shown(&plain, self.project)
            );
            let help =
                "name the files that the stage reads one by one in `deps`, then import again";
            self.notes.push(left_out(what, span, help));
            return;
        };
        for name in names {
            let entry = format!("{plain}/{name}");
            if !self.producers.0.contains_key(&entry) {
                self.folder_or_file(group, Text::literal(entry), span, deep + 1);
            }
        }
    }

    fn missing(&mut self, group: &Group, path: &str, span: Span) {
        let name = shown(path, self.project);
        let tracked = [path, parent(path)]
            .into_iter()
            .map(|path| format!("{path}.dvc"))
            .find(|file| Path::new(file).is_file());
        let help = match tracked {
            Some(file) => format!(
                "`{}` tracks it: bring it here with `dvc pull`",
                shown(&file, self.project)
            ),
            None => "no stage makes it; put it there".to_owned(),
        };
        let what = format!("`{name}`, which stage `{}` reads, is not here", group.name);
        self.notes.push(left_out(what, span, help));
    }

    /// Files that a command names and the stage does not: DVC runs it where they lie.
    fn named(&mut self, group: &Group, command: &str, span: Span, plan: &Plan) {
        for word in path_words(command) {
            if is_elsewhere(word) {
                continue;
            }
            let path = absolute(&plan.wdir, &Text::literal(word)).plain();
            if !is_in(&path, &plan.base) || self.is_there(&path, plan) {
                continue;
            }
            let producer = self
                .producers
                .of(&path)
                .map(|(id, out, text)| (id, out, text.clone()));
            let source = match producer {
                Some((id, ..)) if id == self.id => continue,
                Some((id, out, text)) => (text, Source::Stage(id, out)),
                None if Path::new(&path).is_file() => (Text::literal(&*path), Source::File),
                None => continue,
            };
            let name = shown(&path, self.project);
            self.add(source.0, source.1, Some("the command names it".to_owned()));
            let what = format!(
                "the command of stage `{}` names `{name}`, which is not among its `deps`",
                group.name
            );
            let help = "it is among the inputs now, since a stage sees nothing else: changing it runs the stage again";
            self.notes.push(
                Diagnostic::warning("import::added", what)
                    .at(span, "")
                    .help(help),
            );
        }
    }

    /// Modules of the project that Python files among the inputs import.
    fn imported(&mut self, group: &Group, plan: &Plan) {
        let wdir = plan.wdir.plain();
        let scripts: Vec<String> = self
            .needs
            .iter()
            .filter(|need| need.source == Source::File)
            .map(|need| need.path.plain())
            .filter(|path| path.ends_with(".py"))
            .collect();
        for script in scripts {
            let mut added = Vec::new();
            for module in imports(&script, &[&wdir], &plan.base) {
                if !self.is_there(&module, plan) && self.producers.of(&module).is_none() {
                    let by = shown(&script, self.project);
                    added.push(format!("`{}`", shown(&module, self.project)));
                    self.add(
                        Text::literal(module),
                        Source::File,
                        Some(format!("{by} imports it")),
                    );
                }
            }
            if !added.is_empty() {
                let what = format!(
                    "`{}` of stage `{}` imports {}, not among its `deps`",
                    shown(&script, self.project),
                    group.name,
                    added.join(", ")
                );
                let help = "it is among the inputs now, since a stage sees nothing else: changing it runs the stage again";
                self.notes.push(
                    Diagnostic::warning("import::added", what)
                        .at(group.span, "")
                        .help(help),
                );
            }
        }
    }

    /// Whether the stage has a path already.
    fn is_there(&self, path: &str, plan: &Plan) -> bool {
        let mut taken = self.needs.iter().map(|need| need.path.plain());
        taken.any(|taken| is_in(path, &taken))
            || plan.outs.iter().any(|(out, _)| is_in(path, &out.plain()))
            || plan.params.iter().any(|file| file.plain() == path)
    }

    fn add(&mut self, path: Text, source: Source, because: Option<String>) {
        let plain = path.plain();
        if !self.needs.iter().any(|need| need.path.plain() == plain) {
            self.needs.push(Need {
                path,
                source,
                because,
            });
        }
    }

    /// Drops what lies in a folder that is brought whole.
    fn tidy(&mut self) {
        let all: Vec<String> = self.needs.iter().map(|need| need.path.plain()).collect();
        self.needs.retain(|need| {
            let path = need.path.plain();
            !all.iter()
                .any(|other| *other != path && is_in(&path, other))
        });
    }
}

/// The folders that are there in the project, are not made by placing inputs, and are written into or run in.
fn folders(plan: &Plan) -> Vec<String> {
    let wdir = plan.wdir.plain();
    let written = plan.outs.iter().map(|(out, _)| out.plain());
    let mut wanted: Vec<String> = written
        .map(|out| parent(&out).to_owned())
        .filter(|folder| Path::new(folder).is_dir())
        .collect();
    wanted.push(wdir);
    let placed: Vec<String> = plan
        .needs
        .iter()
        .map(|need| &need.path)
        .chain(&plan.params)
        .map(|path| parent(&path.plain()).to_owned())
        .collect();
    wanted.sort();
    wanted.dedup();
    let all = wanted.clone();
    wanted.retain(|folder| {
        *folder != plan.base
            && is_in(folder, &plan.base)
            && !placed.iter().any(|other| is_in(other, folder))
            && !all
                .iter()
                .any(|other| other != folder && is_in(other, folder))
    });
    wanted
}
