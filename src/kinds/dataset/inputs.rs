//! The files of a data set's splits among the inputs of its stage. Knows nothing of what is in them.

use std::path::{Path, PathBuf};

use data::error::DataError;
use data::prepare::SplitFiles;
use data::readers::Reader;
use flow::kind::{StageContext, StageInput};

use super::{Dataset, listed, mismatch};

impl Dataset {
    /// The splits that have an input, in order, with their files.
    pub(super) fn find_splits(
        &self,
        stage: &StageContext,
        reader: &dyn Reader,
    ) -> Result<Vec<SplitFiles>, DataError> {
        let names: Vec<&str> = self.split_names().collect();
        if let Some(port) = stage
            .inputs
            .keys()
            .find(|port| !names.contains(&port.as_str()))
        {
            return Err(mismatch(
                format!("the input `{port}` is no split of `{}`", self.name),
                format!(
                    "add it to `with.splits`, now {}, or rename it in `needs`",
                    listed(names)
                ),
            ));
        }
        let mut splits = Vec::new();
        for name in names {
            match stage.inputs.get(name) {
                Some(input) => splits.push(SplitFiles {
                    name: name.to_owned(),
                    files: self.find_files(stage, name, input, reader)?,
                }),
                None if self.splits.is_empty() => {}
                None => {
                    return Err(mismatch(
                        format!("the split `{name}` of `{}` has no input", self.name),
                        format!("add `{name}: FILE` to `needs`, or take it out of `with.splits`"),
                    ));
                }
            }
        }
        if let Some(divide) = &self.divide {
            let taken = |name: &&String| **name != divide.split && stage.inputs.contains_key(*name);
            if let Some(name) = divide.into.keys().find(taken) {
                return Err(mismatch(
                    format!(
                        "the split `{name}` has an input of its own, and `divide` makes it of `{}`",
                        divide.split
                    ),
                    "remove one of the two",
                ));
            }
            if !stage.inputs.contains_key(&divide.split) {
                return Err(mismatch(
                    format!("`divide` has no input `{}` to divide", divide.split),
                    format!("add `{}: FILE` to `needs`", divide.split),
                ));
            }
        }
        if splits.is_empty() {
            return Err(mismatch(
                format!("`{}` has no input to read", self.name),
                "add `train: FILE`, `dev: FILE` or `test: FILE` to `needs`",
            ));
        }
        if let Some(split) = self
            .files
            .keys()
            .find(|split| !stage.inputs.contains_key(*split))
        {
            return Err(mismatch(
                format!("`with.files.{split}` is given, but the stage has no input `{split}`"),
                format!("add `{split}: …` to `needs`, or remove it from `files`"),
            ));
        }
        Ok(splits)
    }

    fn find_files(
        &self,
        stage: &StageContext,
        split: &str,
        input: &StageInput,
        reader: &dyn Reader,
    ) -> Result<Vec<(String, PathBuf)>, DataError> {
        let places: Vec<&str> = if input.many {
            input.items.iter().map(|item| item.path.as_str()).collect()
        } else {
            vec![input.place.as_str()]
        };
        let mut files = Vec::new();
        for place in places {
            let path = stage.folder.join(place);
            match (path.is_dir(), self.files.get(split)) {
                (true, Some(inner)) => {
                    let file = path.join(inner);
                    if !file.is_file() {
                        return Err(missing(&path, place, inner));
                    }
                    files.push((format!("{place}/{inner}"), file));
                }
                (true, None) => {
                    let wanted = files_below(&path)?
                        .into_iter()
                        .filter(|inner| reader.wants(inner));
                    for inner in wanted {
                        files.push((format!("{place}/{inner}"), path.join(&inner)));
                    }
                }
                (false, Some(_)) => {
                    return Err(mismatch(
                        format!("`with.files.{split}` is given, but the input `{place}` is a file"),
                        "remove it: `files` picks from inputs that are folders",
                    ));
                }
                (false, None) => files.push((place.to_owned(), path)),
            }
        }
        if files.is_empty() {
            return Err(mismatch(
                format!(
                    "the input `{split}` is a folder without files for `{}`",
                    reader.name()
                ),
                "name a file, or a folder that holds some",
            ));
        }
        Ok(files)
    }
}

/// Every file below a folder, by its path there, sorted.
pub(in crate::kinds) fn files_below(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
    {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_type().is_file() {
            let inner = entry.path().strip_prefix(folder).expect("it lies below");
            files.push(inner.display().to_string());
        }
    }
    Ok(files)
}

fn missing(folder: &Path, place: &str, inner: &str) -> DataError {
    let files = files_below(folder).unwrap_or_default();
    mismatch(
        format!("the input `{place}` holds no file `{inner}`"),
        format!("it holds {}", listed(files.iter().map(String::as_str))),
    )
}
