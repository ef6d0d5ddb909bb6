//! Writes canonical examples and reads them back with checks. Knows nothing of the formats they came from.

use std::collections::BTreeSet;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use crate::error::{DataError, Problem};
use crate::example::{Example, Task};
use crate::lines::Lines;

/// Writes examples, one a line.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<fs_err::File>,
}

impl Writer {
    /// A new file; an old one of that name is replaced.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        Ok(Self {
            file: BufWriter::new(fs_err::File::create(path)?),
        })
    }

    /// Adds one example as it is; [`Example::check`] is the caller's business.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn write(&mut self, example: &Example) -> Result<(), DataError> {
        serde_json::to_writer(&mut self.file, example).map_err(std::io::Error::from)?;
        self.file.write_all(b"\n")?;
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn finish(mut self) -> Result<(), DataError> {
        self.file.flush()?;
        Ok(())
    }
}

/// Reads a file of examples line by line and checks each: JSON, fields, [`Example::check`], one task, unique ids.
/// Memory grows with the ids only.
///
/// # Errors
/// The first fault with file, line and column; whatever `emit` refuses.
pub fn read(
    path: &Path,
    emit: &mut dyn FnMut(Example) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let name = path.display().to_string();
    let mut file = BufReader::new(fs_err::File::open(path)?);
    let mut lines = Lines::new(&mut file, &name)?;
    let mut ids = BTreeSet::new();
    let mut task: Option<Task> = None;
    while lines.advance()? {
        let example: Example = serde_json::from_str(lines.text()).map_err(|error| {
            let mut place = lines.place(lines.number());
            place.column = error.column() as u64;
            Problem::of_json(
                &error,
                r#"write one object a line, such as `{"task":"classification","id":"1","text":"…","label":"…"}`"#,
            )
            .at(place)
        })?;
        example
            .check()
            .map_err(|problem| problem.at(lines.place(lines.number())))?;
        let first = *task.get_or_insert(example.task());
        if first != example.task() {
            return Err(lines.broken(
                format!(
                    "task `{}` in a file of `{}`",
                    example.task().name(),
                    first.name()
                ),
                "write one file a task",
            ));
        }
        if !ids.insert(example.id().to_owned()) {
            return Err(lines.broken(
                format!("the id `{}` occurs twice", example.id()),
                "give each example an id of its own: predictions are matched by it",
            ));
        }
        emit(example)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Example>, DataError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("train.jsonl");
        fs_err::write(&path, text).expect("written");
        let mut examples = Vec::new();
        read(&path, &mut |example| {
            examples.push(example);
            Ok(())
        })?;
        Ok(examples)
    }

    fn fault(text: &str) -> String {
        let error = read_text(text).expect_err("a fault").to_string();
        let name = error.find("train.jsonl").expect("the file is named");
        error[name..].to_owned()
    }

    #[test]
    fn names_the_place_of_each_fault() {
        let good = r#"{"task":"classification","id":"a","text":"x","label":"y"}"#;
        assert_eq!(read_text(good).expect("good").len(), 1);
        for (text, expected) in [
            (
                format!("{good}\n{{\"task\":\"classification\",\"id\":\"b\",\"text\":\"x\",\"lable\":\"y\"}}"),
                "train.jsonl:2: unknown field `lable`, expected one of `id`, `text`, `label`",
            ),
            (
                format!("{good}\n{good}"),
                "train.jsonl:2: the id `a` occurs twice",
            ),
            (format!("{good}\n\n"), "train.jsonl:2: EOF while parsing a value"),
            (
                r#"{"task":"tagging","id":"a","tokens":["x"],"tags":["B-X","O"]}"#.to_owned(),
                "train.jsonl:1: 1 tokens have 2 tags",
            ),
            (
                r#"{"task":"tagging","id":"a","tokens":["x"],"tags":["Disease"]}"#.to_owned(),
                "train.jsonl:1: `Disease` is not a tag",
            ),
            (
                r#"{"task":"question_answering","id":"a","question":"q","context":"né Bo","answers":[{"text":"Bo","start":4}]}"#.to_owned(),
                "train.jsonl:1: the answer `Bo` does not stand at character 4 of the context",
            ),
            (
                r#"{"task":"spans","id":"a","text":"né Bo","spans":[{"start":3,"end":6,"label":"x"}]}"#.to_owned(),
                "train.jsonl:1: the span 3..6 does not lie in the text of 5 characters",
            ),
            (
                format!("{good}\n{}", r#"{"task":"tagging","id":"b","tokens":["x"],"tags":["O"]}"#),
                "train.jsonl:2: task `tagging` in a file of `classification`",
            ),
        ] {
            let fault = fault(&text);
            let without_column = fault.replacen(":2:0:", ":2:", 1);
            assert_eq!(without_column, expected);
        }
    }
}
