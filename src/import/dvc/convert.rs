//! Planned stages as a pipeline file: which loops become matrices, and what each stage looks like. Knows no disk.

use std::collections::BTreeSet;
use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::numbers::read_numbers;
use flow::spec::node::Node;

use super::names;
use super::parameters::Parameters;
use super::plan::{Id, Plan};
use super::project::seen_from;
use super::scope::{Files, Values};
use super::shell::{Before, argv, variables};
use super::stages::{Group, Role};
use super::text::Text;
use super::write::Yaml;

mod file;
mod inputs;
mod notes;

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
}

/// Whether a metric file has an ending that numbers are read from, and, where it is on disk, can be.
fn can_be_numbers(path: &str) -> bool {
    let known = [".json", ".jsonl", ".csv", ".tsv"];
    let path_ends = known.iter().any(|ending| path.ends_with(ending));
    path_ends && (!Path::new(path).is_file() || read_numbers(Path::new(path)).is_ok())
}
