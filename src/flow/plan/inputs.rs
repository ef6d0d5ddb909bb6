//! What inputs of stages hold: files of the user's, outputs of stages, and the notes that travel with them. Decides nothing.

use std::path::Path;

use super::{ABSENT, Planner};
use crate::content::Form;
use crate::diagnostic::Diagnostic;
use crate::exec::job::{JobInput, JobItem, JobSource};
use crate::key::{ItemRecord, PlannedItem, PortContent};
use crate::notes::{self, Notes};
use crate::spec::{Input, METRICS, Origin, OutputRef, StageId, StageSpec, Upstream, Workflow};

impl Planner<'_> {
    pub(super) fn port_content(
        &mut self,
        stage: &StageSpec,
        input: &Input,
    ) -> Result<Option<PortContent>, Diagnostic> {
        let plain = |content| PlannedItem {
            content,
            axes: Vec::new(),
            record: None,
        };
        Ok(match &input.origin {
            Origin::Path(path) => Some(PortContent::One(plain(
                self.path_content(stage, input, path)?,
            ))),
            Origin::KeyOnly(path) => Some(PortContent::KeyOnly(plain(
                self.path_content(stage, input, path)?,
            ))),
            Origin::Put(path) => {
                let content = match self.workflow.root.join(path).exists() {
                    true => self.path_content(stage, input, path)?,
                    false => ABSENT,
                };
                Some(PortContent::KeyOnly(plain(content)))
            }
            Origin::Glob(pattern) => Some(PortContent::One(plain(
                self.glob_content(stage, input, pattern)?,
            ))),
            Origin::Stage(output) => self
                .output_item(stage, input, output)?
                .map(PortContent::One),
            Origin::Many(outputs) => {
                let mut items = Vec::with_capacity(outputs.len());
                for output in outputs {
                    match self.output_item(stage, input, output)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                let file = outputs
                    .first()
                    .and_then(|output| file_name(self.workflow, output, items.first()));
                Some(PortContent::Many { file, items })
            }
        })
    }

    fn output_item(
        &self,
        reader: &StageSpec,
        input: &Input,
        output: &OutputRef,
    ) -> Result<Option<PlannedItem>, Diagnostic> {
        let producer = self.stage(output.stage);
        let Some(known) = self.known(output.stage) else {
            return Ok(None);
        };
        let Some(content) = known.entry.output(&output.output) else {
            let has: Vec<_> = known
                .entry
                .outputs
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            return Err(Diagnostic::error(
                "run::no_such_output",
                format!(
                    "the result of `{}` has no output `{}`",
                    producer.name, output.output
                ),
            )
            .at(input.span, "needed here")
            .help(format!(
                "it has {}; numbers of a command come from its `numbers:` key",
                has.join(", ")
            )));
        };
        let mut notes = notes::of_output(&self.notes[output.stage.index()], &output.output);
        let choosers = reader.choices.iter().map(|choice| choice.stage.index());
        let choosers: Vec<&Upstream> = choosers.map(|chooser| &self.upstream[chooser]).collect();
        let producer_upstream = &self.upstream[output.stage.index()];
        // It travels by the plan, not by records: one result may be as written in one run and not in another.
        notes.extend(Upstream::beside(reader, producer_upstream, &choosers));
        Ok(Some(PlannedItem {
            content: *content,
            axes: producer.axes.clone(),
            record: Some(ItemRecord {
                key: known.key,
                device: known.entry.device.clone(),
                notes,
            }),
        }))
    }

    /// What the inputs of a stage hold, in their order; `None` where something upstream is not known.
    ///
    /// # Errors
    /// As [`Planner::decide`].
    pub fn contents(&mut self, id: StageId) -> Result<Option<Vec<PortContent>>, Diagnostic> {
        let stage = self.stage(id);
        stage
            .inputs
            .iter()
            .map(|input| self.port_content(stage, input))
            .collect()
    }

    /// The inputs of a stage whose upstream is known, as its supervisor takes them.
    ///
    /// # Errors
    /// As [`Planner::decide`].
    pub fn job_inputs(&mut self, id: StageId) -> Result<Vec<JobInput>, Diagnostic> {
        let stage = self.stage(id);
        let with_records = self.reads_records(&stage.kind);
        let mut inputs = Vec::new();
        for input in &stage.inputs {
            let Some(content) = self.port_content(stage, input)? else {
                continue;
            };
            let root = &self.workflow.root;
            let source = match &input.origin {
                Origin::Put(path) if !root.join(path).exists() => continue,
                Origin::Path(path) | Origin::KeyOnly(path) | Origin::Put(path) => {
                    JobSource::Path(root.join(path))
                }
                Origin::Glob(pattern) => {
                    let (base, files) = self
                        .glob_files(pattern)
                        .map_err(|error| self.unreadable(stage, input, pattern, &error))?;
                    JobSource::Files { base, files }
                }
                Origin::Stage(_) | Origin::Many(_) => JobSource::Object,
            };
            let (many, file, items, place) = match content {
                PortContent::One(item) => (false, None, vec![item], input.place.clone()),
                PortContent::KeyOnly(item) => (false, None, vec![item], String::new()),
                PortContent::Many { file, items } => (true, file, items, input.place.clone()),
            };
            let items = items
                .into_iter()
                .map(|item| Self::job_item(item, source.clone(), with_records))
                .collect();
            inputs.push(JobInput {
                port: input.port.clone(),
                place,
                file,
                many,
                items,
            });
        }
        Ok(inputs)
    }

    fn job_item(item: PlannedItem, source: JobSource, with_records: bool) -> JobItem {
        let (mut key, mut device, mut notes) = (None, None, Notes::new());
        if let Some(record) = item.record {
            (key, device) = (Some(record.key), Some(record.device));
            // What does not travel is for kinds whose key knows of it.
            notes = if with_records {
                record.notes
            } else {
                notes::travelling(&record.notes)
            };
        }
        JobItem {
            source,
            content: item.content,
            axes: item.axes,
            key,
            device,
            notes,
        }
    }
}

fn file_name(
    workflow: &Workflow,
    output: &OutputRef,
    first: Option<&PlannedItem>,
) -> Option<String> {
    if first.is_some_and(|item| item.content.form == Form::Tree) {
        return None;
    }
    if output.output == METRICS {
        return Some("metrics.jsonl".to_owned());
    }
    let producer = &workflow.stages[output.stage.index()];
    let path = producer
        .outputs
        .iter()
        .find(|declared| declared.name == output.output)
        .map(|declared| &declared.path)?;
    Path::new(path)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

/// Every stage output a stage reads.
pub fn inputs_of(stage: &StageSpec) -> impl Iterator<Item = &OutputRef> {
    stage.inputs.iter().flat_map(outputs_of)
}

/// Every stage output an input is made of.
pub(super) fn outputs_of(input: &Input) -> &[OutputRef] {
    match &input.origin {
        Origin::Stage(output) => std::slice::from_ref(output),
        Origin::Many(outputs) => outputs.as_slice(),
        Origin::Path(_) | Origin::Glob(_) | Origin::KeyOnly(_) | Origin::Put(_) => &[],
    }
}
