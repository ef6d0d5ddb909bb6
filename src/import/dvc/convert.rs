//! Planned stages as a pipeline file: which loops become matrices, and what each stage looks like. Knows no disk.

use std::collections::BTreeSet;
use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::numbers::read_numbers;
use flow::spec::node::{Node, Value};

use super::numbers::Carried;
use super::parameters::Parameters;
use super::plan::{Id, Plan, Source};
use super::project::seen_from;
use super::pyyaml::{Otherwise, read_otherwise};
use super::scope::{Files, Values};
use super::shell::{Before, argv, variables};
use super::stages::{Group, Role, left_out};
use super::text::{Piece, Text};
use super::write::Yaml;
use super::{is_filled, line, names};
use crate::kinds::params_file::{Format, is_printable};

/// Where things lie.
pub(super) struct Project<'p> {
    /// The `dvc.yaml` as the user named it.
    pub(super) file: &'p str,
    /// The pipeline file as the user will name it.
    pub(super) as_file: &'p str,
    /// The folder of the `dvc.yaml`, normal.
    pub(super) folder: &'p str,
    /// The root of the pipeline, normal.
    pub(super) root: &'p str,
    /// The folder of the `dvc.yaml` as messages show it.
    pub(super) shown_folder: &'p Path,
}

/// A stage as it will be written; equal ones are one stage with axes.
#[derive(Debug, PartialEq)]
struct View {
    doc: Option<String>,
    /// Port, form, and why it is there.
    needs: Vec<(String, Yaml, Option<String>)>,
    with: Vec<(String, Yaml)>,
    outputs: Vec<(String, Yaml)>,
    numbers: Vec<String>,
    env: Vec<String>,
    protect: bool,
}

/// A stage of the new file: its name, the group, the member if it is only one of several, and what it looks like.
type Written = (String, usize, Option<usize>, View);

struct Converter<'c> {
    project: &'c Project<'c>,
    groups: &'c [Group],
    plans: &'c [Vec<Plan>],
    global: &'c Values,
    parameters: Parameters<'c>,
    files: &'c mut Files,
    notes: &'c mut Vec<Diagnostic>,
    /// Names of the groups, and of their members where they are stages of their own.
    names: Vec<(String, Vec<String>)>,
    /// Whether the group is one stage with axes.
    lifted: Vec<bool>,
}

/// The text of the pipeline file.
pub(super) fn convert(
    project: &Project<'_>,
    groups: &[Group],
    plans: &[Vec<Plan>],
    global: &Values,
    files: &mut Files,
    notes: &mut Vec<Diagnostic>,
) -> Result<String, Vec<Diagnostic>> {
    let mut converter = Converter {
        project,
        groups,
        plans,
        global,
        parameters: Parameters::new(global),
        files,
        notes,
        names: stage_names(groups),
        lifted: groups.iter().map(can_be_lifted).collect(),
    };
    converter.settle()?;
    // What was tried and not kept must not leave its mark.
    converter.parameters = Parameters::new(global);
    let stages = converter.stages()?;
    let place = |note: &Diagnostic| note.labels.first().map(|l| (l.span.source, l.span.offset));
    converter.notes.sort_by_key(place);
    Ok(converter.file(&stages))
}

fn stage_names(groups: &[Group]) -> Vec<(String, Vec<String>)> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names: Vec<(String, Vec<String>)> = Vec::new();
    let new = |wanted: String, taken: &mut BTreeSet<String>| {
        let name = names::unique(&wanted, |name| taken.contains(name));
        taken.insert(name.clone());
        name
    };
    for group in groups {
        let name = new(names::name(&group.name, "stage"), &mut taken);
        names.push((name, Vec::new()));
    }
    for (group, (name, members)) in groups.iter().zip(&mut names) {
        for member in &group.members {
            members.push(match &member.key {
                None => name.clone(),
                Some(key) => new(names::name(&format!("{name}-{key}"), "stage"), &mut taken),
            });
        }
    }
    names
}

/// Whether every round has a cell of its own.
fn can_be_lifted(group: &Group) -> bool {
    let mut cells: Vec<String> = group
        .members
        .iter()
        .map(|member| cell_text(&member.cell))
        .collect();
    cells.sort();
    let count = cells.len();
    cells.dedup();
    group.members.iter().all(|member| !member.cell.is_empty()) && cells.len() == count && count > 0
}

fn cell_text(cell: &[(String, Node)]) -> String {
    let values = cell.iter().map(|(_, value)| Yaml::of(value).inline());
    values.collect::<Vec<_>>().join(",")
}

impl Converter<'_> {
    /// Takes back every matrix that does not work out, until all that are left do.
    fn settle(&mut self) -> Result<(), Vec<Diagnostic>> {
        loop {
            let mut changed = false;
            for g in 0..self.groups.len() {
                if self.lifted[g] && !self.is_one_stage(g)? {
                    self.lifted[g] = false;
                    changed = true;
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    fn is_one_stage(&mut self, g: usize) -> Result<bool, Vec<Diagnostic>> {
        if self.plans[g].iter().any(|plan| plan.is_left_out) {
            return Ok(false);
        }
        let Some(first) = self.view((g, 0), true)? else {
            return Ok(false);
        };
        for m in 1..self.plans[g].len() {
            if self.view((g, m), true)?.as_ref() != Some(&first) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn render(&mut self, text: &Text, with_axes: bool) -> String {
        let parameters = &mut self.parameters;
        text.render(with_axes, &mut |path| parameters.global(path))
    }

    /// A stage as it will look, with axes or by itself. `None` where axes do not work out.
    fn view(&mut self, id: Id, with_axes: bool) -> Result<Option<View>, Vec<Diagnostic>> {
        let (g, m) = id;
        let plans = self.plans;
        let (member, plan) = (&self.groups[g].members[m], &plans[g][m]);
        let Some(needs) = self.needs(id, with_axes) else {
            return Ok(None);
        };
        let commands: Vec<Text> = member
            .commands
            .iter()
            .map(|(text, _)| text.clone())
            .collect();
        let wdir = seen_from(&plan.wdir, &plan.base);
        let before = Before {
            folders: plan
                .folders
                .iter()
                .map(|folder| super::plan::shown(folder, &plan.base))
                .collect(),
            folder: (wdir.plain() != ".").then_some(wdir),
        };
        let argv = argv(&commands, &before)
            .iter()
            .map(|word| Yaml::text(self.render(word, with_axes)))
            .collect();
        let mut with = vec![("argv".to_owned(), Yaml::List(argv))];
        let params = self.params_files(id, with_axes)?;
        if !params.is_empty() {
            with.push(("params_files".to_owned(), Yaml::Map(params)));
        }
        let names = self.output_names(id, with_axes);
        let mut outputs = Vec::new();
        let mut numbers = Vec::new();
        for ((path, role), name) in plan.outs.iter().zip(names) {
            let place = self.render(&seen_from(path, &plan.base), with_axes);
            if *role == Role::Metric && can_be_numbers(&path.plain()) {
                numbers.push(place.clone());
            }
            outputs.push((name, Yaml::text(place)));
        }
        let mut env = Vec::new();
        for command in &commands {
            for name in variables(&command.plain()) {
                let base = flow::exec::process::BASE_ENVIRONMENT;
                let passes = base.iter().any(|known| match known.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == *known,
                });
                if !passes && !name.starts_with("DVC_") && name != "PWD" && !env.contains(&name) {
                    env.push(name);
                }
            }
        }
        Ok(Some(View {
            doc: member.doc.clone(),
            needs,
            with,
            outputs,
            numbers,
            env,
            protect: member.frozen,
        }))
    }

    fn output_names(&self, (g, m): Id, with_axes: bool) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (path, _) in &self.plans[g][m].outs {
            let path = if with_axes {
                path.literals()
            } else {
                path.plain()
            };
            // `metrics` is the name of a stage's numbers.
            let name = names::of_path(&path, "output", |name| {
                name == "metrics" || names.iter().any(|other| other == name)
            });
            names.push(name);
        }
        names
    }

    /// The inputs: port, form, and why. `None` where a stage that is needed cannot be told by axes.
    fn needs(&mut self, id: Id, with_axes: bool) -> Option<Vec<(String, Yaml, Option<String>)>> {
        let (g, m) = id;
        let plan = &self.plans[g][m];
        let mut needs: Vec<(String, Yaml, Option<String>)> = Vec::new();
        for (index, need) in plan.needs.iter().enumerate() {
            let path = if with_axes {
                need.path.literals()
            } else {
                need.path.plain()
            };
            let port = names::of_path(&path, "input", |name| {
                needs.iter().any(|(other, ..)| other == name)
            });
            let mut form = match need.source {
                Source::File => {
                    let path = seen_from(&need.path, self.project.root);
                    let mut file = self.render(&path, with_axes);
                    if path.plain().contains(['*', '?', '[']) {
                        let what = format!("`{}` would be taken for a pattern", path.plain());
                        let help = "rename the file, then import again";
                        self.note(left_out(what, self.groups[g].span, help));
                    }
                    if let Some(place) = file.strip_prefix("./").map(str::to_owned) {
                        file = place;
                    }
                    vec![("file".to_owned(), Yaml::text(file))]
                }
                Source::Stage(producer, out) => self.stage(id, index, producer, out, with_axes)?,
            };
            let place = self.render(&seen_from(&need.path, &plan.base), with_axes);
            form.push(("as".to_owned(), Yaml::text(place)));
            needs.push((port, Yaml::Map(form), need.because.clone()));
        }
        Some(needs)
    }

    fn note(&mut self, note: Diagnostic) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The form that names an output of a stage, and of its instances the right one.
    fn stage(
        &self,
        (g, m): Id,
        index: usize,
        producer: Id,
        out: usize,
        with_axes: bool,
    ) -> Option<Vec<(String, Yaml)>> {
        let (pg, pm) = producer;
        let is_lifted = self.lifted[pg];
        let name = if is_lifted {
            &self.names[pg].0
        } else {
            &self.names[pg].1[pm]
        };
        let mut form = vec![("stage".to_owned(), Yaml::text(name.clone()))];
        if out > 0 {
            let output = self.output_names(producer, is_lifted)[out].clone();
            form.push(("output".to_owned(), Yaml::text(output)));
        }
        if !is_lifted {
            return Some(form);
        }
        // Consumer by consumer: its own cell, and that of the instance it reads.
        let mut pairs = Vec::new();
        let members = if with_axes {
            0..self.plans[g].len()
        } else {
            m..m + 1
        };
        for member in members {
            let need = self.plans[g][member].needs.get(index)?;
            match need.source {
                Source::Stage((other, cell), o) if other == pg && o == out => pairs.push((
                    self.groups[g].members[member].cell.as_slice(),
                    self.groups[pg].members[cell].cell.as_slice(),
                )),
                _ => return None,
            }
        }
        let mut chosen = Vec::new();
        for (axis, value) in &self.groups[pg].members[pm].cell {
            let of = |cell: &[(String, Node)], axis: &str| {
                let found = cell.iter().find(|(name, _)| name == axis);
                found.map(|(_, value)| Yaml::of(value).inline())
            };
            let follows = |mine: &str| {
                with_axes
                    && pairs
                        .iter()
                        .all(|(own, theirs)| of(own, mine) == of(theirs, axis))
            };
            if follows(axis) {
                continue;
            }
            let own = self.groups[g].members[m].cell.iter();
            let other = own.map(|(name, _)| name).find(|name| follows(name));
            let form = match other {
                Some(mine) => Yaml::text(format!("${{matrix.{mine}}}")),
                None if pairs
                    .iter()
                    .all(|(_, theirs)| of(theirs, axis) == of(pairs[0].1, axis)) =>
                {
                    Yaml::of(value)
                }
                None => return None,
            };
            chosen.push((axis.clone(), form));
        }
        if !chosen.is_empty() {
            form.push(("where".to_owned(), Yaml::Map(chosen)));
        }
        Some(form)
    }

    /// Files with the parameters that a stage names.
    fn params_files(
        &mut self,
        (g, m): Id,
        with_axes: bool,
    ) -> Result<Vec<(String, Yaml)>, Vec<Diagnostic>> {
        let (member, plan) = (&self.groups[g].members[m], &self.plans[g][m]);
        let mut files: Vec<(String, Yaml)> = Vec::new();
        for (params, path) in member.params.iter().zip(&plan.params) {
            let plain = path.plain();
            if plan
                .needs
                .iter()
                .any(|need| super::project::is_in(&plain, &need.path.plain()))
            {
                let what = format!(
                    "`{}` is a dependency of stage `{}` too",
                    params.file.plain(),
                    self.groups[g].name
                );
                let help = "the stage gets the whole file and runs again whatever changes in it; take it out of `deps` to have it run for its parameters only";
                self.note(left_out(what, params.span, help));
                continue;
            }
            let shown = self
                .project
                .shown_folder
                .join(super::plan::shown(&plain, self.project.folder));
            let tree = self
                .files
                .values(&shown, params.span)
                .map_err(|problem| vec![problem])?;
            let Some(tree) = tree else {
                let is_there = Path::new(&plain).exists();
                let what = format!(
                    "`{}` of stage `{}`",
                    params.file.plain(),
                    self.groups[g].name
                );
                let (what, help) = if is_there && Format::of(&plain).is_none() {
                    (
                        format!("{what} is a program, not values"),
                        "add it under `needs` as a file: the stage then runs again whatever changes in it",
                    )
                } else {
                    (
                        format!("{what} is not there"),
                        "DVC needs it too; put it there",
                    )
                };
                self.note(left_out(what, params.span, help));
                continue;
            };
            let is_global = self.global.has_file(&shown);
            let (contents, nodes) = self
                .parameters
                .contents(params, &plain, is_global, &tree)
                .map_err(|problem| vec![problem])?;
            let place = self.render(&seen_from(path, &plan.base), with_axes);
            for (keys, node) in nodes {
                self.note_carried(&params.file.plain(), &keys, &shown);
                if Format::of(&plain) == Some(Format::Yaml) {
                    self.note_pyyaml(&params.file.plain(), &keys, node, &shown);
                }
            }
            if is_filled(&tree) {
                files.push((place, contents));
            }
        }
        Ok(files)
    }

    /// Notes on numbers that a program will find as texts.
    fn note_carried(&mut self, file: &str, keys: &str, path: &Path) {
        let carried = self.files.carried(path).iter();
        let below: Vec<Carried> = carried.filter(|c| c.is_below(keys)).cloned().collect();
        for number in below {
            let Carried {
                path,
                written,
                text,
                span,
            } = number;
            let what = format!(
                "`{path}: {written}` of `{file}` is the text `{text}` here: numbers of a pipeline file are finite and of 64 bits"
            );
            let help = "have the program make a number of it, as `float(…)` does, or write a number that fits";
            self.note(
                Diagnostic::warning("import::number", what)
                    .at(span, "")
                    .help(help),
            );
        }
    }

    /// Notes on scalars that a program with PyYAML found otherwise in the file than they are written for it here.
    fn note_pyyaml(&mut self, file: &str, keys: &str, node: &Node, path: &Path) {
        let mut scalars = read_otherwise(node, keys, &self.files.sources);
        // They have a note of their own.
        let carried = self.files.carried(path);
        scalars.retain(|scalar| carried.iter().all(|number| number.span != scalar.span));
        for scalar in scalars {
            let Otherwise {
                span,
                what,
                here,
                there,
                help,
            } = scalar;
            let what = format!("{what} of `{file}` is {here} here, and {there} to PyYAML");
            self.note(
                Diagnostic::warning("import::pyyaml", what)
                    .at(span, "")
                    .help(help),
            );
        }
    }

    /// The stages in the order of the file: name, the group, and what it looks like.
    fn stages(&mut self) -> Result<Vec<Written>, Vec<Diagnostic>> {
        let mut stages = Vec::new();
        for g in 0..self.groups.len() {
            let members = if self.lifted[g] {
                1
            } else {
                self.plans[g].len()
            };
            for m in 0..members {
                if self.plans[g][m].is_left_out {
                    continue;
                }
                let Some(view) = self.view((g, m), self.lifted[g])? else {
                    continue;
                };
                let (group, singles) = &self.names[g];
                let name = if self.lifted[g] { group } else { &singles[m] };
                let of = (!self.lifted[g]).then_some(m);
                stages.push((name.clone(), g, of, view));
            }
            if !self.lifted[g] && self.plans[g].len() > 1 {
                let group = &self.groups[g];
                let what = format!("the stages of `{}` differ in more than values", group.name);
                let help = "each is a stage of its own here; a `matrix` can join them once they read and write alike";
                self.note(
                    Diagnostic::warning("import::unrolled", what)
                        .at(group.span, "")
                        .help(help),
                );
            }
        }
        self.left_over(&stages);
        Ok(stages)
    }

    /// Notes on what no single stage says.
    fn left_over(&mut self, stages: &[Written]) {
        for (name, g, _, view) in stages {
            let group = &self.groups[*g];
            for metric in group.members.iter().flat_map(|member| &member.outs) {
                let path = metric.path.plain();
                if metric.role == Role::Metric && view.numbers.is_empty() {
                    let what = format!("`{path}` of stage `{name}` does not become numbers");
                    let help = "the file is kept as an output; numbers are read from JSON, JSON lines and CSV with nothing but numbers in them";
                    self.note(left_out(what, metric.span, help));
                }
            }
            let commands = group.members.iter().flat_map(|member| &member.commands);
            for (command, span) in commands {
                if command.plain().contains("DVC_") {
                    let what = format!("the command of stage `{name}` speaks of a variable of DVC");
                    let help =
                        "`DVC_ROOT` and `DVC_STAGE` are not set here; write what they stand for";
                    self.note(left_out(what, *span, help));
                }
            }
        }
        let written = self.written_out();
        for (name, text, span) in &written {
            let what = format!("the parameter `{name}` is written out as `{text}`");
            let help = "a reference would not give the characters that DVC puts there; change it in the stage";
            self.note(left_out(what, *span, help));
        }
        let unused: Vec<(String, flow::source::Span)> = self
            .parameters
            .unused()
            .into_iter()
            .filter(|(key, _)| !self.is_looped_over(key))
            .filter(|(key, _)| {
                let mut names = written.iter().map(|(name, ..)| name.split('.').next());
                !names.any(|name| name == Some(key))
            })
            .map(|(key, span)| (key.to_owned(), span))
            .collect();
        for (key, span) in unused {
            let what = format!("no stage uses the parameter `{key}`");
            let help = "it is left out; name it in `params` of the stage that reads it";
            self.note(left_out(what, span, help));
        }
    }

    /// Parameters that stand in texts as characters: name, characters, where.
    fn written_out(&self) -> Vec<(String, String, flow::source::Span)> {
        let mut found = Vec::new();
        for member in self.groups.iter().flat_map(|group| &group.members) {
            let texts = member.commands.iter().chain(&member.deps);
            let texts = texts.map(|(text, span)| (text, *span));
            let outs = member.outs.iter().map(|out| (&out.path, out.span));
            for (text, span) in texts.chain(outs) {
                for piece in &text.0 {
                    if let Piece::Written { path, text } = piece {
                        found.push((path.join("."), text.clone(), span));
                    }
                }
            }
        }
        found
    }

    /// Whether the values of a parameter have become axes.
    fn is_looped_over(&self, key: &str) -> bool {
        self.groups.iter().any(|group| {
            let cells = group.members.iter().flat_map(|member| &member.cell);
            let entry = self.global.entries().iter().find(|entry| entry.key == key);
            let holds = |span| entry.is_some_and(|entry| holds(&entry.value, span));
            let mut cells = cells;
            cells.any(|(_, value)| holds(value.span))
                || group
                    .members
                    .iter()
                    .any(|m| m.key.is_some() && m.cell.is_empty())
        })
    }

    fn matrix(&mut self, g: usize) -> Yaml {
        let group = &self.groups[g];
        let axes = group.members[0].cell.iter().map(|(name, _)| name.clone());
        if let (Some(path), [(axis, _)]) = (&group.over, group.members[0].cell.as_slice())
            && let Some(reference) = self.parameters.global(path)
        {
            let reference = Yaml::text(format!("${{{reference}}}"));
            return Yaml::Map(vec![(axis.clone(), reference)]);
        }
        let mut lists: Vec<(String, Yaml)> = Vec::new();
        for (index, axis) in axes.enumerate() {
            let mut values: Vec<Yaml> = Vec::new();
            for member in &group.members {
                let value = Yaml::of(&member.cell[index].1);
                if group.zip || !values.contains(&value) {
                    values.push(value);
                }
            }
            lists.push((axis, Yaml::List(values)));
        }
        if group.zip && lists.len() > 1 {
            Yaml::Map(vec![("zip".to_owned(), Yaml::Map(lists))])
        } else {
            Yaml::Map(lists)
        }
    }

    fn file(mut self, stages: &[Written]) -> String {
        let matrices: Vec<Option<Yaml>> = stages
            .iter()
            .map(|(_, g, of, _)| of.is_none().then(|| self.matrix(*g)))
            .collect();
        let mut out = String::new();
        let file = self.project.as_file;
        out.push_str(&format!(
            "# Imported from {} of DVC. It is yours now: change it as you like.\n",
            comment(self.project.file)
        ));
        out.push_str("# DVC writes results into the project; here they are in the cache, and copied out by\n");
        out.push_str(&format!("# `pipeline get {} STAGE.OUTPUT --to DIR`, or wherever `publish: DIR` of a stage says.\n", comment(file)));
        if !self.notes.is_empty() {
            out.push_str("#\n# What differs from DVC, or is added:\n");
        }
        for note in self.notes.iter() {
            let place = note
                .labels
                .first()
                .map(|label| line(&self.files.sources, label.span));
            let place = place.map_or_else(String::new, |place| format!("{}: ", comment(&place)));
            out.push_str(&format!("# - {place}{}\n", comment(&note.message)));
            if let Some(help) = &note.help {
                out.push_str(&format!("#   {}\n", comment(help)));
            }
        }
        out.push('\n');
        let params = self.parameters.written();
        if !params.is_empty() {
            out.push_str("params:\n");
            for (key, value) in &params {
                value.entry(&mut out, key, 2);
            }
            out.push('\n');
        }
        out.push_str("stages:\n");
        for ((name, g, of, view), matrix) in stages.iter().zip(matrices) {
            self.write_stage(&mut out, name, *g, *of, view, matrix);
        }
        out
    }

    fn write_stage(
        &self,
        out: &mut String,
        name: &str,
        g: usize,
        of: Option<usize>,
        view: &View,
        matrix: Option<Yaml>,
    ) {
        let group = &self.groups[g];
        out.push_str(&format!("  {name}:"));
        let dvc_name = match of.map(|m| &group.members[m].key) {
            Some(Some(key)) => format!("{}@{key}", group.name),
            _ => group.name.clone(),
        };
        if dvc_name != name {
            out.push_str(&format!(
                "  # {} in {}",
                comment(&dvc_name),
                comment(self.project.file)
            ));
        }
        out.push('\n');
        if let Some(doc) = &view.doc {
            let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
            Yaml::text(doc).entry(out, "doc", 4);
        }
        out.push_str("    kind: command\n");
        if let Some(matrix) = matrix {
            matrix.entry(out, "matrix", 4);
        }
        if !view.needs.is_empty() {
            out.push_str("    needs:\n");
            for (port, form, because) in &view.needs {
                match because {
                    None => form.entry(out, port, 6),
                    Some(because) => {
                        out.push_str(&format!("      # {}\n", comment(because)));
                        form.entry(out, port, 6);
                    }
                }
            }
        }
        Yaml::Map(view.with.clone()).entry(out, "with", 4);
        if !view.outputs.is_empty() {
            Yaml::Map(view.outputs.clone()).entry(out, "outputs", 4);
        }
        match view.numbers.as_slice() {
            [] => {}
            [one] => Yaml::text(one).entry(out, "numbers", 4),
            several => {
                Yaml::List(several.iter().map(Yaml::text).collect()).entry(out, "numbers", 4);
            }
        }
        if !view.env.is_empty() {
            let from = Yaml::Map(vec![("from".to_owned(), Yaml::text("environment"))]);
            let env = view.env.iter().map(|name| (name.clone(), from.clone()));
            Yaml::Map(env.collect()).entry(out, "env", 4);
        }
        if view.protect {
            out.push_str("    protect: true\n");
        }
    }
}

/// Whether a node or something in it stands at a place.
fn holds(node: &Node, span: flow::source::Span) -> bool {
    node.span == span
        || match &node.value {
            Value::Map(entries) => entries
                .iter()
                .any(|entry| entry.key_span == span || holds(&entry.value, span)),
            Value::Sequence(items) => items.iter().any(|item| holds(item, span)),
            _ => false,
        }
}

/// Whether a metric file has an ending that numbers are read from, and, where it is on disk, can be.
fn can_be_numbers(path: &str) -> bool {
    let known = [".json", ".jsonl", ".csv", ".tsv"];
    let path_ends = known.iter().any(|ending| path.ends_with(ending));
    path_ends && (!Path::new(path).is_file() || read_numbers(Path::new(path)).is_ok())
}

/// A text that cannot leave its comment.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect()
}
