//! What is wrong with the configuration of a data set, before any file is read. Knows no files.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use data::example::Task;
use data::readers::{Column, READERS, Reader, Separator, find_reader};
use data::tags::Tag;
use flow::kind::ConfigProblem;

use super::{Dataset, is_default, listed};

/// Problems of a configuration, collected.
#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.0.push(ConfigProblem {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            message: message.into(),
            help: Some(help.into()),
        });
    }
}

impl Dataset {
    /// All problems.
    pub(super) fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Problems::default();
        match find_reader(&self.reader) {
            Some(reader) => {
                self.check_use(reader, &mut problems);
                self.check_columns(reader, &mut problems);
                self.check_labels(reader, &mut problems);
            }
            None => {
                let names = || READERS.iter().map(|reader| reader.name());
                let near = names().find(|name| strsim::osa_distance(name, &self.reader) <= 2);
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("readers are {}", listed(names())),
                };
                problems.add(
                    &["reader"],
                    format!("there is no reader `{}`", self.reader),
                    help,
                );
            }
        }
        self.check_names(&mut problems);
        problems.0
    }

    /// Options that are given although nothing would read them.
    fn check_use(&self, reader: &dyn Reader, problems: &mut Problems) {
        let task = reader.task();
        let of_task: &[&str] = match task {
            Task::Tagging => &["tags", "labels", "rename_labels"],
            Task::Spans => &["labels", "rename_labels"],
            Task::Classification | Task::MultiLabel => {
                &["labels", "rename_labels", "negative_labels"]
            }
            Task::Regression => &[],
            Task::QuestionAnswering => &["question_id_separators"],
        };
        let given = [
            ("separator", self.separator.is_some()),
            ("header", self.header.is_some()),
            ("quoting", !is_default(&self.quoting)),
            ("encoding", !is_default(&self.encoding)),
            ("entity_type", self.entity_type.is_some()),
            ("comment", self.comment.is_some()),
            ("tag_names", !self.tag_names.is_empty()),
            ("label_separator", self.label_separator.is_some()),
            ("label_names", !self.label_names.is_empty()),
            ("tags", !is_default(&self.tags)),
            ("labels", !self.labels.is_empty()),
            ("rename_labels", !self.rename_labels.is_empty()),
            ("negative_labels", !self.negative_labels.is_empty()),
            (
                "question_id_separators",
                !self.question_id_separators.is_empty(),
            ),
        ];
        let used = || reader.options().iter().chain(of_task).copied();
        let columns = self
            .columns
            .named()
            .map(|(what, column)| (format!("columns.{what}"), column.is_some()));
        let given = given.map(|(option, given)| (option.to_owned(), given));
        for (option, given) in columns.into_iter().chain(given) {
            if given && used().all(|name| name != option) {
                let path: Vec<&str> = option.split('.').collect();
                problems.add(
                    &path,
                    format!("`{option}` means nothing to the reader `{}`", reader.name()),
                    format!("remove it; `{}` knows {}", reader.name(), listed(used())),
                );
            }
        }
    }

    fn check_columns(&self, reader: &dyn Reader, problems: &mut Problems) {
        let options = self.options().or(&reader.defaults());
        if reader.options().contains(&"quoting") && options.separator == Some(Separator::Whitespace)
        {
            problems.add(
                &["separator"],
                "a table cannot be separated by `whitespace`: its texts hold spaces",
                "set `separator: tab`, or the character that stands between columns",
            );
        }
        if options.header == Some(true) {
            return;
        }
        for (what, column) in options.columns.named() {
            if let Some(Column::Name(name)) = column
                && reader
                    .options()
                    .contains(&format!("columns.{what}").as_str())
            {
                problems.add(
                    &["columns", what],
                    format!("the {what} column `{name}` has a name, but the files have no header"),
                    "set `header: true`, or give the column's index",
                );
            }
        }
    }

    fn check_labels(&self, reader: &dyn Reader, problems: &mut Problems) {
        let mut seen = BTreeSet::new();
        for (i, label) in self.labels.iter().enumerate() {
            let path = ["labels", &i.to_string()];
            if !seen.insert(label) {
                problems.add(
                    &path,
                    format!("`{label}` stands twice in `labels`"),
                    "remove one",
                );
            }
            if reader.task() == Task::Tagging && Tag::parse(label).is_none() {
                problems.add(
                    &path,
                    format!("`{label}` is not a tag"),
                    format!("list tags, such as `B-{label}`, `I-{label}`, `O`"),
                );
            }
        }
        for (i, label) in self.negative_labels.iter().enumerate() {
            if !self.labels.is_empty() && !self.labels.contains(label) {
                problems.add(
                    &["negative_labels", &i.to_string()],
                    format!("`{label}` is not in `labels`"),
                    "add it to `labels`, or leave `labels` out",
                );
            }
        }
        for (from, to) in &self.rename_labels {
            if to.is_empty() {
                problems.add(
                    &["rename_labels", from],
                    "a label cannot become empty",
                    "give it a name",
                );
            }
        }
        for (i, separator) in self.question_id_separators.iter().enumerate() {
            if separator.is_empty() || separator.ends_with(|c: char| c.is_ascii_digit()) {
                problems.add(
                    &["question_id_separators", &i.to_string()],
                    format!("`{separator}` cannot be told from the number behind it"),
                    "give what stands before the number, such as `_`",
                );
            }
        }
    }

    fn check_names(&self, problems: &mut Problems) {
        if self.name.trim().is_empty() {
            problems.add(
                &["name"],
                "`name` is empty",
                "name the data set, such as `ncbi-disease`",
            );
        }
        for (option, text) in [
            ("entity_type", &self.entity_type),
            ("comment", &self.comment),
            ("label_separator", &self.label_separator),
            ("document_id_end", &self.document_id_end),
        ] {
            if text.as_deref() == Some("") {
                problems.add(
                    &[option],
                    format!("`{option}` is empty"),
                    "remove it or give a text",
                );
            }
        }
        let mut seen = BTreeSet::new();
        for (i, split) in self.splits.iter().enumerate() {
            let path = ["splits", &i.to_string()];
            if !is_name(split) {
                problems.add(
                    &path,
                    format!("`{split}` is not a name"),
                    "names match `[a-z][a-z0-9_-]*`",
                );
            } else if !seen.insert(split) {
                problems.add(
                    &path,
                    format!("the split `{split}` is listed twice"),
                    "remove one",
                );
            }
        }
        self.check_divide(problems);
        for (split, file) in &self.files {
            if !self.split_names().any(|name| name == split) {
                problems.add(
                    &["files", split],
                    format!("there is no split `{split}`"),
                    format!("splits are {}", listed(self.split_names())),
                );
            }
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if file.is_empty() || !Path::new(file).components().all(inside) {
                problems.add(
                    &["files", split],
                    format!("`{file}` is not a path inside the input's folder"),
                    "give a relative path without `..`",
                );
            }
        }
    }

    fn check_divide(&self, problems: &mut Problems) {
        let Some(divide) = &self.divide else {
            return;
        };
        if !self.split_names().any(|name| name == divide.split) {
            problems.add(
                &["divide", "split"],
                format!("there is no split `{}` to divide", divide.split),
                format!("splits are {}", listed(self.split_names())),
            );
        }
        let mut sum = 0.0;
        for (name, share) in &divide.into {
            sum += share;
            if !is_name(name) {
                problems.add(
                    &["divide", "into", name],
                    format!("`{name}` is not a name"),
                    "names match `[a-z][a-z0-9_-]*`",
                );
            }
            if !(*share > 0.0 && *share < 1.0) {
                problems.add(
                    &["divide", "into", name],
                    format!("the share of `{name}` is {share}"),
                    "give a share between 0 and 1",
                );
            }
        }
        if divide.into.len() < 2 || (sum - 1.0).abs() > 1e-9 {
            problems.add(
                &["divide", "into"],
                format!("the {} shares sum to {sum}", divide.into.len()),
                "give two or more shares that sum to 1, such as `{train: 0.8, dev: 0.1, test: 0.1}`",
            );
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}
