//! From the outputs of an attempt that ended well to its record. Starts nothing.

use std::collections::BTreeMap;
use std::io;

use super::ending::is_full;
use super::{Attempt, machine};
use crate::clock;
use crate::content::Content;
use crate::diagnostic::Diagnostic;
use crate::exec::job::{Job, entry_of};
use crate::kind::{Pin, StageError, StageReport};
use crate::metric::MetricRow;
use crate::notes::{self, Notes};
use crate::numbers;
use crate::spec::{Launch, METRICS};
use crate::store::Store;
use crate::store::index::{IndexEntry, append_record};
use crate::store::object::Intake;
use crate::store::record::{Machine, RECORD_VERSION, Record};

impl Attempt {
    /// Takes the outputs into the store, writes the record, and clears the key's folder.
    pub(in crate::exec) fn record(
        &mut self,
        job: &Job,
        store: &Store,
    ) -> Result<(IndexEntry, Option<Pin>, Vec<Diagnostic>), StageError> {
        self.ended_well = true;
        let mut missing = Vec::new();
        for output in &job.outputs {
            if fs_err::metadata(self.folder.join(&output.path)).is_err() {
                missing.push(format!("`{}` at `{}`", output.name, output.path));
            }
        }
        if !missing.is_empty() {
            let failure = StageError::new(
                "run::missing_output",
                format!(
                    "`{}` ended well but did not make {}",
                    job.stage,
                    missing.join(", ")
                ),
            )
            .detail(format!("folder kept: {}", self.folder.display()));
            return Err(failure.help("outputs are paths inside the stage's folder, where it starts; correct `outputs:` or the command"));
        }
        let mut report = match (&job.launch, self.read_result()) {
            (Launch::Builtin, Some(Ok(report))) => report,
            _ => StageReport::default(),
        };
        if let Launch::Program(program) = &job.launch {
            for file in &program.numbers {
                report
                    .numbers
                    .extend(numbers::read_numbers(&self.folder.join(file))?);
            }
        }
        // All are read before any is moved: a fault of the last leaves the folder as the stage left it.
        let mut intakes: BTreeMap<&str, Intake> = BTreeMap::new();
        for output in &job.outputs {
            // Two names may point at one path.
            if !intakes.contains_key(output.path.as_str()) {
                let intake = store
                    .take_in(&self.folder, &self.folder.join(&output.path))
                    .map_err(|error| self.not_kept(job, &output.name, &error))?;
                intakes.insert(&output.path, intake);
            }
        }
        let mut outputs: BTreeMap<String, Content> = BTreeMap::new();
        let mut settled: BTreeMap<&str, Content> = BTreeMap::new();
        for output in &job.outputs {
            let content = match settled.get(output.path.as_str()) {
                Some(content) => *content,
                None => store
                    .settle(&intakes[output.path.as_str()])
                    .map_err(|error| self.not_kept(job, &output.name, &error))?,
            };
            settled.insert(&output.path, content);
            outputs.insert(output.name.clone(), content);
        }
        for (name, content) in &outputs {
            store
                .sync_large([content])
                .map_err(|error| self.not_kept(job, name, &error))?;
        }
        if job.launch == Launch::Builtin || !report.numbers.is_empty() {
            outputs.insert(
                METRICS.to_owned(),
                store.put_bytes(&metrics_bytes(&report.numbers)?)?,
            );
        }
        let log = std::fs::metadata(self.log_path()).is_ok_and(|metadata| metadata.len() > 0);
        let log = if log {
            Some(store.ingest(&self.work, &self.log_path())?)
        } else {
            None
        };
        let seconds = self.seconds();
        let mut attempts = std::mem::take(&mut self.earlier);
        attempts.push(self.as_recorded("done"));
        let notes = report.notes;
        let record = Record {
            version: RECORD_VERSION,
            key: job.key,
            manifest: job.manifest.clone(),
            stage: job.stage.clone(),
            pipeline: job.pipeline.clone(),
            outputs,
            seconds,
            finished: clock::rfc3339(clock::now_ns()),
            attempts,
            machine: Machine {
                gpus: job.gpus.clone().unwrap_or_default(),
                ..machine().clone()
            },
            device: device(job, &notes),
            program: concat!("pipeline ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: match &job.launch {
                Launch::Program(program) => program.argv.clone(),
                Launch::Builtin => Vec::new(),
            },
            environment: std::mem::take(&mut self.environment),
            log,
            notes,
            inherited: inherited_notes(job),
            choice: report.choice,
            accepted: None,
            imported: None,
        };
        store.write_record(&record)?;
        let entry = entry_of(&record);
        // The result stands from here on: what cannot be written now costs the next run time, not the result.
        let mut warnings = report.warnings;
        if let Err(error) = append_record(store.dir(), &job.key, &entry) {
            let warning =
                Diagnostic::warning("store::index", "the index of the cache cannot be written")
                    .detail(error.to_string());
            warnings.push(warning);
        }
        Ok((entry, report.pin, warnings))
    }

    /// An output that no store can keep is the stage's fault; a refusing disk is not. The folder is kept either way.
    fn not_kept(&self, job: &Job, output: &str, error: &io::Error) -> StageError {
        let failure = StageError::new(
            "run::bad_output",
            format!(
                "output `{output}` of `{}` cannot be kept: {error}",
                job.stage
            ),
        )
        .detail(format!("folder kept: {}", self.folder.display()));
        if error.kind() == io::ErrorKind::InvalidData {
            return failure.help("an output is a file or a folder of files, with names in UTF-8 and without links in a circle");
        }
        let failure = failure.environment();
        if is_full(&self.work) {
            return failure.help("the disk of the cache is full: free some space (`pipeline cache gc` may help) and run again");
        }
        failure.help("see that everything in it can be read, and run again")
    }
}

/// What the inputs hand on.
fn inherited_notes(job: &Job) -> Notes {
    let mut notes = Notes::new();
    for item in job.inputs.iter().flat_map(|input| &input.items) {
        notes::inherit(&mut notes, &item.notes);
    }
    notes
}

fn device(job: &Job, notes: &Notes) -> String {
    if let Some(serde_json::Value::String(device)) = notes.get("device") {
        return device.clone();
    }
    match &job.gpus {
        _ if job.policy.resources.device.as_deref() == Some("reference") => "reference".to_owned(),
        Some(gpus) if !gpus.is_empty() => format!("cuda:{}", gpus.join(",")),
        _ => "cpu".to_owned(),
    }
}

fn metrics_bytes(rows: &[MetricRow]) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::new();
    for row in rows {
        if !row.value.is_finite() {
            return Err(StageError::new(
                "run::not_a_number",
                format!("the number `{}` is {}", row.metric, row.value),
            )
            .help("leave a number out where it is undefined"));
        }
        serde_json::to_writer(&mut bytes, row).map_err(io::Error::other)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
