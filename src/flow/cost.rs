//! What a stage will cost before it runs: what its kind says, and what it may look at to say so. Knows no kind by name,
//! no device and no time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::content::{Content, Form};
use crate::metric::MetricRow;
use crate::spec::METRICS;
use crate::store::Store;
use crate::store::index::IndexEntry;

/// What a stage will cost, as far as its kind can say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations of what is computed.
    pub flop: Option<f64>,
    /// The same on a device that computes padding too: every sequence as long as the longest.
    pub padded_flop: Option<f64>,
    /// Tokens that pass through a network, once for each pass.
    pub tokens: Option<f64>,
    /// In what it multiplies: `f32`, `bf16`.
    pub precision: Option<&'static str>,
    /// Bytes of its outputs.
    pub bytes: Option<u64>,
    /// Bytes more while it runs.
    pub scratch_bytes: Option<u64>,
    /// Bytes of a GPU's memory, where it computes on one and does not fill it.
    pub device_bytes: Option<u64>,
    /// What was assumed because it is not known yet, a lower-case fragment each.
    pub assumed: Vec<String>,
    /// What stages that read an output may want to know of it, by output; the business of kinds.
    pub gives: BTreeMap<String, Value>,
}

/// What a kind may look at: its inputs as far as they are there, and its own result where a stage has one.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    store: &'a Store,
    inputs: BTreeMap<&'a str, Vec<Given<'a>>>,
    result: Option<&'a IndexEntry>,
    micro_batch: Option<u32>,
}

/// One thing an input is made of.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    store: &'a Store,
    path: Option<PathBuf>,
    content: Option<Content>,
    facts: Option<&'a Value>,
}

impl<'a> Known<'a> {
    /// Of a stage with these inputs and, perhaps, a result.
    #[must_use]
    pub fn new(store: &'a Store, result: Option<&'a IndexEntry>) -> Self {
        Self {
            store,
            inputs: BTreeMap::new(),
            result,
            micro_batch: None,
        }
    }

    /// Says what `resources.micro_batch` is.
    #[must_use]
    pub fn with_micro_batch(mut self, sequences: Option<u32>) -> Self {
        self.micro_batch = sequences;
        self
    }

    /// Sequences that a device takes at once, where the pipeline says.
    #[must_use]
    pub fn micro_batch(&self) -> Option<u32> {
        self.micro_batch
    }

    /// Adds a file or a folder of the user's to an input.
    pub fn add_path(&mut self, port: &'a str, path: PathBuf) {
        let given = Given {
            store: self.store,
            path: Some(path),
            content: None,
            facts: None,
        };
        self.inputs.entry(port).or_default().push(given);
    }

    /// Adds an output of a stage: its content where there is a result, and what the kind that makes it says of it.
    pub fn add_output(
        &mut self,
        port: &'a str,
        content: Option<Content>,
        facts: Option<&'a Value>,
    ) {
        let given = Given {
            store: self.store,
            path: None,
            content,
            facts,
        };
        self.inputs.entry(port).or_default().push(given);
    }

    /// What an input is made of: one thing, or one an instance for fan-in; nothing where it is not given.
    #[must_use]
    pub fn inputs(&self, port: &str) -> &[Given<'a>] {
        self.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// The only thing, or the first, an input is made of.
    #[must_use]
    pub fn input(&self, port: &str) -> Option<&Given<'a>> {
        self.inputs(port).first()
    }

    /// Whether the stage has a result.
    #[must_use]
    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }

    /// The numbers of the stage's result; none where there is no result, or its bytes are gone.
    #[must_use]
    pub fn numbers(&self) -> Vec<MetricRow> {
        let content = self.result.and_then(|entry| entry.output(METRICS));
        let Some(content) = content else {
            return Vec::new();
        };
        // Read as what it is: the object has no ending that would tell.
        let text = fs_err::read_to_string(self.store.object_path(&content.digest));
        let text = text.unwrap_or_default();
        let rows = text.lines().map(serde_json::from_str);
        rows.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// A file in an output of the stage's result.
    #[must_use]
    pub fn result_file(&self, output: &str, name: &str) -> Option<PathBuf> {
        let content = self.result?.output(output)?;
        file_of(self.store, content, name)
    }
}

impl Given<'_> {
    /// What the kind that makes it says of it; null where it says nothing.
    #[must_use]
    pub fn facts(&self) -> &Value {
        self.facts.unwrap_or(&Value::Null)
    }

    /// Its bytes, where it is there.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match (&self.content, &self.path) {
            (Some(content), _) => Some(content.bytes),
            (None, Some(path)) => {
                let metadata = fs_err::metadata(path).ok()?;
                metadata.is_file().then_some(metadata.len())
            }
            (None, None) => None,
        }
    }

    /// The file of this name in it, or itself where it is a file; `None` where that is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        if let Some(content) = &self.content {
            return file_of(self.store, content, name);
        }
        let path = self.path.as_ref()?;
        let inside = path.join(name);
        [path, &inside].into_iter().find(|it| it.is_file()).cloned()
    }
}

fn file_of(store: &Store, content: &Content, name: &str) -> Option<PathBuf> {
    let file = match content.form {
        Form::File | Form::Exec => *content,
        Form::Tree => {
            let tree = store.load_tree(&content.digest).ok()?;
            let entry = tree.entries.into_iter().find(|entry| entry.path == name)?;
            entry.content?
        }
    };
    let path = store.object_path(&file.digest);
    path.is_file().then_some(path)
}
