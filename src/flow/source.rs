//! Texts that were read and places in them. Knows nothing of what the texts mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The index of a text in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId(pub u32);

/// A stretch of one text: byte offset and length, with the line and column (both from 1, columns in characters) of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The text it is in.
    pub source: SourceId,
    /// Bytes from the start of the text.
    pub offset: u32,
    /// Bytes covered; 0 marks a point.
    pub len: u32,
    /// Line of the start, from 1.
    pub line: u32,
    /// Column of the start in characters, from 1.
    pub column: u32,
}

/// One text with the name people know it by.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is shown: relative to the root where it can be, or `--set` for a setting.
    pub name: String,
    /// Where it was read from; `None` for settings.
    pub path: Option<PathBuf>,
    /// The whole text.
    pub text: Arc<str>,
}

/// Every text a workflow was read from, so that messages can show the line.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    sources: Vec<Source>,
}

impl Sources {
    /// Adds a text and returns its index.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        path: Option<&Path>,
        text: impl Into<Arc<str>>,
    ) -> SourceId {
        let id = SourceId(u32::try_from(self.sources.len()).expect("fewer than 2^32 texts"));
        self.sources.push(Source {
            name: name.into(),
            path: path.map(Path::to_path_buf),
            text: text.into(),
        });
        id
    }

    /// The text of `id`.
    ///
    /// # Panics
    /// When `id` comes from another `Sources`.
    #[must_use]
    pub fn get(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// All texts, in the order they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// `name:line:column` of a span.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        format!(
            "{}:{}:{}",
            self.get(span.source).name,
            span.line,
            span.column
        )
    }
}
