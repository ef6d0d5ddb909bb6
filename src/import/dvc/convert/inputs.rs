//! What a stage reads: its inputs by port, and its files of parameters. Knows nothing of how they are written.

use std::path::Path;

use flow::diagnostic::Diagnostic;
use flow::spec::node::Node;

use super::Converter;
use crate::import::dvc::plan::{Id, Source, shown as shown_from};
use crate::import::dvc::project::{is_in, seen_from};
use crate::import::dvc::stages::left_out;
use crate::import::dvc::write::Yaml;
use crate::import::dvc::{is_filled, names};
use crate::kinds::params_file::Format;

impl Converter<'_> {
    /// The inputs: port, form, and why. `None` where a stage that is needed cannot be told by axes.
    pub(super) fn needs(
        &mut self,
        id: Id,
        with_axes: bool,
    ) -> Option<Vec<(String, Yaml, Option<String>)>> {
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
    pub(super) fn params_files(
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
                .any(|need| is_in(&plain, &need.path.plain()))
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
                .join(shown_from(&plain, self.project.folder));
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
}
