//! `ro-crate-metadata.json`: a bundle for programs. RO-Crate 1.1 with the profiles of workflow runs, each stage an action
//! of its own (Provenance Run Crate 0.5). Knows nothing of files but their names and sizes.

use std::collections::{BTreeMap, BTreeSet};

use flow::digest::Digest;
use flow::store::record::Record;
use serde_json::{Value, json};

use super::super::bundle::{BundleStage, README, authors};
use super::readme::Facts;
use super::writer::Listed;
use super::{file_of, folder_of};
use crate::kinds::KINDS;

/// Profiles that a bundle is of.
const PROFILES: [(&str, &str, &str); 4] = [
    (
        "https://w3id.org/ro/wfrun/process/0.5",
        "Process Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "Workflow Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/provenance/0.5",
        "Provenance Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
        "Workflow RO-Crate",
        "1.0",
    ),
];

/// The file's bytes.
pub(super) fn graph(facts: &Facts<'_>, listed: &[Listed]) -> Vec<u8> {
    let mut crates = Crate {
        facts,
        graph: Vec::new(),
        places: facts
            .bundle
            .objects
            .iter()
            .map(|(digest, place)| (*digest, place.path.as_str()))
            .collect(),
        folders: BTreeSet::new(),
        absent: BTreeSet::new(),
    };
    crates.root(listed);
    crates.workflow(listed);
    crates.files(listed);
    crates.run();
    crates.rest();
    let context = json!([
        "https://w3id.org/ro/crate/1.1/context",
        "https://w3id.org/ro/terms/workflow-run/context"
    ]);
    let graph: Vec<Value> = crates.graph.into_iter().map(single).collect();
    let document = json!({ "@context": context, "@graph": graph });
    let mut text = serde_json::to_vec_pretty(&document).expect("metadata serialises");
    text.push(b'\n');
    text
}

struct Crate<'a> {
    facts: &'a Facts<'a>,
    graph: Vec<Value>,
    places: BTreeMap<Digest, &'a str>,
    /// Outputs that are folders of the bundle.
    folders: BTreeSet<String>,
    /// Contents that are named and not there.
    absent: BTreeSet<Digest>,
}

fn id(text: &str) -> Value {
    json!({ "@id": text })
}

fn ids<'i>(texts: impl IntoIterator<Item = &'i str>) -> Vec<Value> {
    texts.into_iter().map(id).collect()
}

/// An entity as RO-Crate wants its lists: one value stands alone, and none is left out.
fn single(mut entity: Value) -> Value {
    if let Value::Object(fields) = &mut entity {
        fields.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
        for value in fields.values_mut() {
            if let Value::Array(items) = value
                && items.len() == 1
            {
                *value = items.swap_remove(0);
            }
        }
    }
    entity
}

/// A moment without parts of seconds, with the offset that profiles ask for.
fn moment(text: &str) -> String {
    match text.strip_suffix('Z') {
        Some(text) => format!("{}+00:00", text.split('.').next().unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// A path as the id of a file or a folder: what URIs have other uses for is encoded.
pub(crate) fn uri(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/=,".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl Crate<'_> {
    fn add(&mut self, entity: Value) {
        self.graph.push(entity);
    }

    fn last_finished(&self) -> &str {
        let finished = self
            .facts
            .records
            .values()
            .map(|record| record.finished.as_str());
        finished.max().unwrap_or("1970-01-01T00:00:00Z")
    }

    fn root(&mut self, listed: &[Listed]) {
        let bundle = self.facts.bundle;
        self.add(json!({
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": id("./"),
            "conformsTo": [id("https://w3id.org/ro/crate/1.1"), id("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
        }));
        let description = match self.facts.doc {
            Some(doc) => doc.to_owned(),
            None => format!(
                "Results of the pipeline {}, with the records of how they came about",
                bundle.pipeline
            ),
        };
        let parts: Vec<Value> = listed.iter().map(|file| id(&uri(&file.path))).collect();
        let mut root = json!({
            "@id": "./",
            "@type": "Dataset",
            "name": bundle.title(),
            "description": description,
            "datePublished": self.last_finished().get(..10).unwrap_or_default(),
            "license": id("#licence"),
            "conformsTo": ids(PROFILES.iter().map(|(id, ..)| *id)),
            "mainEntity": id(&uri(&bundle.file)),
            "hasPart": parts,
            "mentions": self.mentioned(),
        });
        let people = authors(&bundle.about);
        if !people.is_empty() {
            root["author"] = (0..people.len())
                .map(|at| id(&person_id(&people, at)))
                .collect();
        }
        for (ours, theirs) in [
            ("citation", "creditText"),
            ("doi", "identifier"),
            ("url", "url"),
        ] {
            if let Some(text) = bundle.about[ours].as_str() {
                root[theirs] = text.into();
            }
        }
        self.add(root);
        let licence = bundle.about["licence"].as_str();
        self.add(json!({
            "@id": "#licence",
            "@type": "CreativeWork",
            "name": licence.unwrap_or("Not stated"),
            "description": "Terms of the author's own work; those of sources stand in README.md",
        }));
        for (profile, name, version) in PROFILES {
            self.add(json!({ "@id": profile, "@type": "CreativeWork", "name": name, "version": version }));
        }
        for at in 0..people.len() {
            let mut person = json!({ "@id": person_id(&people, at), "@type": "Person", "name": people[at].name });
            if let Some(email) = &people[at].email {
                person["email"] = email.as_str().into();
            }
            if let Some(affiliation) = &people[at].affiliation {
                let organization = format!("#organization-{}", uri(affiliation));
                person["affiliation"] = id(&organization);
                if !self
                    .graph
                    .iter()
                    .any(|known| known["@id"] == organization.as_str())
                {
                    self.add(json!({ "@id": organization, "@type": "Organization", "name": affiliation }));
                }
            }
            self.add(person);
        }
    }

    /// The actions: the run, who organised it, and every stage.
    fn mentioned(&self) -> Vec<Value> {
        let mut actions = vec![id("#run"), id("#organize")];
        for entry in &self.facts.bundle.stages {
            let action = id(&action_id(entry));
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        actions
    }

    /// Stages of the file with their kinds, in the order of the pipeline.
    fn steps(&self) -> Vec<(&str, &str)> {
        let mut steps: Vec<(&str, &str)> = Vec::new();
        for entry in &self.facts.bundle.stages {
            let step = (entry.stage.stage.as_str(), entry.stage.kind.as_str());
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    fn workflow(&mut self, listed: &[Listed]) {
        let bundle = self.facts.bundle;
        let file = listed.iter().find(|file| file.path == bundle.file);
        let version = file
            .and_then(|file| file.sha256.get(..10))
            .unwrap_or_default();
        let steps: Vec<(String, String)> = self
            .steps()
            .into_iter()
            .map(|(step, kind)| (step.to_owned(), kind.to_owned()))
            .collect();
        let kinds: BTreeSet<&str> = steps.iter().map(|(_, kind)| kind.as_str()).collect();
        let workflow = json!({
            "@id": uri(&bundle.file),
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": bundle.pipeline,
            "description": format!("The pipeline {} as one file", bundle.pipeline),
            "encodingFormat": "application/yaml",
            "version": version,
            "conformsTo": id("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
            "programmingLanguage": id("#language"),
            "hasPart": kinds.iter().map(|kind| id(&format!("#kind-{kind}"))).collect::<Vec<_>>(),
            "step": steps.iter().map(|(step, _)| id(&format!("#step-{step}"))).collect::<Vec<_>>(),
            "input": [],
            "output": self.result_parameters(),
        });
        self.add(workflow);
        self.add(json!({
            "@id": "#language", "@type": "ComputerLanguage", "name": "pipeline", "alternateName": "pipeline file",
            "version": version_of(&bundle.program), "url": "https://yaml.org/",
        }));
        self.add(json!({
            "@id": "#program", "@type": "SoftwareApplication", "name": bundle.program,
            "softwareVersion": version_of(&bundle.program), "description": "The program that ran the pipeline",
        }));
        for kind in kinds {
            let known = KINDS.iter().find(|known| known.name == kind);
            self.add(json!({
                "@id": format!("#kind-{kind}"), "@type": "SoftwareApplication", "name": kind,
                "description": known.map_or("", |known| known.doc),
                "softwareVersion": known.map_or_else(String::new, |known| known.version.to_string()),
            }));
        }
        for (at, (step, kind)) in steps.iter().enumerate() {
            self.add(json!({
                "@id": format!("#step-{step}"), "@type": "HowToStep", "name": step,
                "position": (at + 1).to_string(), "workExample": id(&format!("#kind-{kind}")),
            }));
        }
        for entry in self.reports() {
            let step = entry.stage.stage.clone();
            let parameter = format!("#output-{step}");
            if !self
                .graph
                .iter()
                .any(|known| known["@id"] == parameter.as_str())
            {
                self.add(json!({
                    "@id": parameter, "@type": "FormalParameter", "additionalType": "Dataset", "name": step,
                    "description": "A report: open index.html",
                    "conformsTo": id("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
                }));
            }
        }
    }

    fn reports(&self) -> Vec<BundleStage> {
        let is_report = |kind: &str| {
            KINDS
                .iter()
                .any(|known| known.name == kind && known.is_report)
        };
        let stages = self.facts.bundle.stages.iter();
        stages
            .filter(|entry| is_report(&entry.stage.kind))
            .cloned()
            .collect()
    }

    fn result_parameters(&self) -> Vec<Value> {
        let names: BTreeSet<String> = self
            .reports()
            .into_iter()
            .map(|entry| entry.stage.stage)
            .collect();
        names
            .into_iter()
            .map(|name| id(&format!("#output-{name}")))
            .collect()
    }

    fn files(&mut self, listed: &[Listed]) {
        for file in listed {
            if file.path == self.facts.bundle.file {
                continue;
            }
            let mut entity = json!({
                "@id": uri(&file.path),
                "@type": "File",
                "name": file.path,
                "contentSize": file.bytes.to_string(),
                "encodingFormat": format_of(&file.path),
                "sha256": file.sha256,
            });
            if file.path == README {
                entity["about"] = id("./");
            }
            self.add(entity);
        }
    }

    /// Where a result of a stage is named: its file, its folder, or something that is not there.
    fn result(&mut self, digest: &Digest, path: &str, is_tree: bool) -> Value {
        if is_tree {
            let folder = format!("{}/", uri(path));
            let is_there = self.graph.iter().any(|known| {
                known["@id"]
                    .as_str()
                    .is_some_and(|id| id.starts_with(&folder))
            });
            if is_there {
                self.folders.insert(folder.clone());
                return id(&folder);
            }
        } else if self.places.contains_key(digest) {
            let own = uri(path);
            if self.graph.iter().any(|known| known["@id"] == own.as_str()) {
                return id(&own);
            }
        }
        self.absent.insert(*digest);
        id(&format!("#content-{digest}"))
    }

    fn run(&mut self) {
        let entries: Vec<BundleStage> = self.facts.bundle.stages.clone();
        let mut made: BTreeMap<(Digest, Digest), Value> = BTreeMap::new();
        let mut actions = Vec::new();
        for entry in &entries {
            let record = &self.facts.records[&entry.key];
            let folder = folder_of(&entry.stage);
            let mut results = Vec::new();
            for (name, content) in &record.outputs {
                let path = format!("{folder}/{}", file_of(&entry.stage.outputs, name));
                let result = self.result(
                    &content.digest,
                    &path,
                    content.form == flow::content::Form::Tree,
                );
                made.entry((entry.key, content.digest))
                    .or_insert_with(|| result.clone());
                results.push(result);
            }
            let mut objects: Vec<Value> = Vec::new();
            for item in entry.stage.inputs.iter().flat_map(|input| &input.items) {
                let object = match item
                    .key
                    .and_then(|key| made.get(&(key, item.content.digest)))
                {
                    Some(known) => known.clone(),
                    None => match self.places.get(&item.content.digest) {
                        Some(path) if !path.starts_with("trees/") => id(&uri(path)),
                        _ => {
                            self.absent.insert(item.content.digest);
                            id(&format!("#content-{}", item.content.digest))
                        }
                    },
                };
                if !objects.contains(&object) {
                    objects.push(object);
                }
            }
            let (started, ended) = times(record);
            let key = entry.key;
            let mut action = json!({
                "@id": action_id(entry),
                "@type": "CreateAction",
                "name": entry.stage.name,
                "description": format!("Made on {}, key {key}", record.device),
                "instrument": id(&format!("#kind-{}", entry.stage.kind)),
                "actionStatus": "http://schema.org/CompletedActionStatus",
                "startTime": started,
                "endTime": ended,
                "result": results,
            });
            if !objects.is_empty() {
                action["object"] = objects.into();
            }
            let name = action["@id"].as_str().unwrap_or_default().to_owned();
            if self.graph.iter().any(|known| known["@id"] == name.as_str()) {
                continue;
            }
            self.agent(&mut action);
            self.add(action);
            let control = format!("#control-{}-{key}", uri(&entry.stage.stage));
            self.add(json!({
                "@id": control, "@type": "ControlAction", "name": format!("orchestrate {}", entry.stage.name),
                "instrument": id(&format!("#step-{}", entry.stage.stage)), "object": id(&name),
            }));
            actions.push(id(&control));
        }
        let records = self.facts.records;
        let started = records
            .values()
            .map(|record| times(record).0)
            .min()
            .unwrap_or_default();
        let ended = moment(self.last_finished());
        let mut results: Vec<Value> = Vec::new();
        for entry in self.reports() {
            let outputs = &records[&entry.key].outputs;
            let first = entry
                .stage
                .outputs
                .first()
                .and_then(|output| outputs.get(&output.name));
            if let Some(result) = first.and_then(|content| made.get(&(entry.key, content.digest))) {
                results.push(result.clone());
            }
        }
        let file = uri(&self.facts.bundle.file);
        let mut run = json!({
            "@id": "#run", "@type": "CreateAction", "name": format!("run of {}", self.facts.bundle.pipeline),
            "description": "Stages may come from several runs: each has the times of its own",
            "instrument": id(&file), "actionStatus": "http://schema.org/CompletedActionStatus",
            "startTime": started, "endTime": ended, "result": results, "object": [],
        });
        self.agent(&mut run);
        self.add(run);
        let mut organize = json!({
            "@id": "#organize", "@type": "OrganizeAction", "name": format!("run by {}", self.facts.bundle.program),
            "instrument": id("#program"), "object": actions, "result": id("#run"),
            "startTime": started, "endTime": ended,
        });
        self.agent(&mut organize);
        self.add(organize);
    }

    /// Who is named first stands for those who ran it.
    fn agent(&self, action: &mut Value) {
        let people = authors(&self.facts.bundle.about);
        if !people.is_empty() {
            action["agent"] = id(&person_id(&people, 0));
        }
    }

    /// Folders that are results, and what is named and not there.
    fn rest(&mut self) {
        for folder in std::mem::take(&mut self.folders) {
            let parts: Vec<Value> = self
                .graph
                .iter()
                .filter_map(|known| known["@id"].as_str())
                .filter(|known| known.starts_with(&folder))
                .map(id)
                .collect();
            let mut dataset = json!({
                "@id": folder, "@type": "Dataset", "name": folder, "hasPart": parts,
            });
            let report = folder
                .strip_prefix("reports/")
                .and_then(|rest| rest.split('/').next());
            if let Some(stage) = report {
                dataset["exampleOfWork"] = id(&format!("#output-{stage}"));
            }
            self.add(dataset);
            if let Some(root) = self.graph.iter_mut().find(|known| known["@id"] == "./")
                && let Some(parts) = root["hasPart"].as_array_mut()
            {
                parts.push(id(&folder));
            }
        }
        for digest in std::mem::take(&mut self.absent) {
            self.add(json!({
                "@id": format!("#content-{digest}"), "@type": "CreativeWork",
                "name": format!("content {}", digest.short()), "identifier": format!("blake3:{digest}"),
                "description": "Not in this bundle; README.md says why",
            }));
        }
    }
}

/// The id of an author: the ORCID where there is one.
fn person_id(people: &[super::super::bundle::Author], at: usize) -> String {
    match &people[at].orcid {
        Some(orcid) => format!("https://orcid.org/{orcid}"),
        None => format!("#person-{}", at + 1),
    }
}

/// The id of the action that made a stage's results: stages with one key are one action.
fn action_id(entry: &BundleStage) -> String {
    format!("#action-{}-{}", uri(&entry.stage.stage), entry.key)
}

/// When the attempt that made a record began and ended.
fn times(record: &Record) -> (String, String) {
    let started = record
        .attempts
        .last()
        .map_or(&record.finished, |attempt| &attempt.started);
    (moment(started), moment(&record.finished))
}

/// The version in a program's name.
fn version_of(program: &str) -> &str {
    program.rsplit(' ').next().unwrap_or_default()
}

fn format_of(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "json" | "lock" => "application/json",
        "jsonl" => "application/jsonl",
        "yaml" | "yml" => "application/yaml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "tex" => "text/x-tex",
        "parquet" => "application/vnd.apache.parquet",
        "gz" => "application/gzip",
        "safetensors" | "bin" => "application/octet-stream",
        _ => "text/plain",
    }
}
