//! What a person may look at while a stage trains: JSON lines with times and speed, and TensorBoard's event files, in one
//! stable folder. Decides nothing: what cannot be written is lost quietly. Knows no model.
//!
//! Numbers that differ from run to run stand here alone; the output `log` of a stage holds none of them.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use flow::clock;
use flow::kind::StageContext;

use super::tfevents::EventWriter;

/// The file of JSON lines.
const LINES: &str = "live.jsonl";
/// What the names of our event files begin with, as TensorBoard looks for it.
const EVENTS: &str = "events.out.tfevents.";

/// The live log of a stage.
#[derive(Debug)]
pub(in crate::kinds) struct Live {
    lines: Option<fs_err::File>,
    events: Option<EventWriter<fs_err::File>>,
    began_ns: i128,
}

impl Live {
    /// Opens it for training that goes on after `step` updates. What another training of this stage left goes; what this
    /// one wrote before it was interrupted stays, and readers drop what is written twice.
    pub(in crate::kinds) fn open(stage: &StageContext, step: u64) -> Self {
        let began_ns = clock::now_ns();
        let mut live = Self {
            lines: None,
            events: None,
            began_ns,
        };
        let (Some(folder), Some(training)) = (&stage.live, identity(stage)) else {
            return live;
        };
        if fs_err::create_dir_all(folder).is_err() {
            return live;
        }
        clear(folder, (step > 0).then_some(&training));
        let seconds = began_ns / 1_000_000_000;
        // Readers take the files of a folder in the order of their names.
        let name = format!(
            "{EVENTS}{seconds:010}.{}.{training}",
            began_ns % 1_000_000_000
        );
        let append = |name: &str| {
            fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(folder.join(name))
                .ok()
        };
        live.lines = append(LINES);
        live.events = append(&name)
            .and_then(|file| EventWriter::begin(file, began_ns as f64 / 1e9, step).ok());
        live.line(json!({"event": "start", "step": step}));
        live
    }

    /// Adds the numbers of a step under a group such as `train`, with others that differ from run to run.
    pub(in crate::kinds) fn numbers(
        &mut self,
        group: &str,
        step: u64,
        numbers: &impl Serialize,
        others: &[(&str, f64)],
    ) {
        let mut line = Map::new();
        line.insert("event".to_owned(), json!(group));
        line.insert("step".to_owned(), json!(step));
        if let Ok(Value::Object(fields)) = serde_json::to_value(numbers) {
            line.extend(fields.into_iter().filter(|(name, _)| name != "step"));
        }
        for (name, value) in others {
            line.insert((*name).to_owned(), json!(value));
        }
        let values: Vec<(String, f64)> = line
            .iter()
            .filter(|(name, _)| *name != "step")
            .filter_map(|(name, value)| Some((format!("{group}/{name}"), value.as_f64()?)))
            .collect();
        if let Some(events) = &mut self.events {
            let now = clock::now_ns() as f64 / 1e9;
            let _ = events.scalars(now, step, &values);
        }
        self.line(Value::Object(line));
    }

    fn line(&mut self, mut line: Value) {
        let Some(file) = &mut self.lines else {
            return;
        };
        let now = clock::now_ns();
        line["time"] = json!(clock::rfc3339(now));
        line["seconds"] = json!((now - self.began_ns) as f64 / 1e9);
        let mut text = line.to_string();
        text.push('\n');
        let _ = file.write_all(text.as_bytes());
    }
}

/// What tells this training from another of the same stage: the name of its scratch folder's parent, which is its key.
fn identity(stage: &StageContext) -> Option<String> {
    let key = stage.scratch.parent()?.file_name()?.to_str()?;
    Some(key.chars().take(10).collect())
}

/// Removes our files of other trainings, and all where `kept` is none. Files of other people stay.
fn clear(folder: &Path, kept: Option<&str>) {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let events: Vec<String> = names.filter(|name| name.starts_with(EVENTS)).collect();
    let is_kept = |name: &&String| kept.is_some_and(|kept| name.ends_with(&format!(".{kept}")));
    if !events.iter().any(|name| is_kept(&name)) {
        let _ = fs_err::remove_file(folder.join(LINES));
    }
    for name in events.iter().filter(|name| !is_kept(name)) {
        let _ = fs_err::remove_file(folder.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::texts::testing;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(folder).expect("there");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .map(|name| name.expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_stage_goes_on_in_its_folder_and_begins_anew_under_another_key() {
        let folder = tempfile::tempdir().expect("temp");
        let mut stage = testing::stage(folder.path(), &[]);
        let place = folder.path().join("reports/p/tensorboard/it");
        stage.live = Some(place.clone());
        stage.scratch = folder.path().join("work/0123456789abc/scratch");
        let train = |stage: &StageContext, step: u64| {
            let mut live = Live::open(stage, step);
            let numbers = json!({"step": 7, "loss": 1.5, "note": "text"});
            live.numbers("train", step + 1, &numbers, &[("tokens_per_second", 9.0)]);
        };
        train(&stage, 0);
        train(&stage, 5);
        fs_err::write(place.join("mine.txt"), "a person's").expect("written");
        assert_eq!(names(&place).len(), 4, "{:?}", names(&place));
        let text = fs_err::read_to_string(place.join(LINES)).expect("there");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1]["loss"], 1.5);
        assert_eq!(lines[1]["step"], 1);
        assert_eq!(lines[1]["tokens_per_second"], 9.0);
        assert_eq!(
            (&lines[2]["event"], &lines[2]["step"]),
            (&json!("start"), &json!(5))
        );
        stage.scratch = folder.path().join("work/fedcba9876543/scratch");
        train(&stage, 2);
        let names = names(&place);
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[0].ends_with(".fedcba9876"), "{names:?}");
        assert_eq!(names[2], "mine.txt");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_failure() {
        let folder = tempfile::tempdir().expect("temp");
        let mut stage = testing::stage(folder.path(), &[]);
        fs_err::write(folder.path().join("reports"), "a file").expect("written");
        stage.live = Some(folder.path().join("reports/p/tensorboard/it"));
        let mut live = Live::open(&stage, 0);
        live.numbers("train", 1, &json!({"loss": 1.0}), &[]);
    }
}
