//! The text of the pipeline file: notes, parameters, stages. Knows nothing of how they were found.

use super::{Converter, View, Written};
use crate::import::dvc::line;
use crate::import::dvc::write::Yaml;
use crate::kinds::params_file::is_printable;

impl Converter<'_> {
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

    pub(super) fn file(mut self, stages: &[Written]) -> String {
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

/// A text that cannot leave its comment.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect()
}
