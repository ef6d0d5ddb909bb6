//! What can be wrong with data: the place, the fault and the next action. Knows nothing of how it is shown.

use std::fmt;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as people know it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u64,
    /// Column in characters (for JSON in bytes), from 1; 0 when the whole line is meant.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// A fault without its place: what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// The next action.
    pub help: String,
}

impl Problem {
    /// A fault and the next action.
    #[must_use]
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }

    /// What a JSON parser says, without its own words on the place; what it quotes may be long and is cut.
    pub(crate) fn of_json(error: &serde_json::Error, help: impl Into<String>) -> Self {
        let text = error.to_string();
        let end = text.rfind(" at line ").unwrap_or(text.len());
        let mut message: String = text[..end].chars().take(200).collect();
        if message.len() < end {
            message.push('…');
        }
        Self::new(message, help)
    }

    /// The fault at a place.
    #[must_use]
    pub fn at(self, place: Place) -> DataError {
        DataError::Broken {
            place,
            message: self.message,
            help: self.help,
        }
    }
}

/// Why data could not be read, checked or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A place in a file breaks the rules of its format.
    #[error("{place}: {message}")]
    Broken {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
        /// The next action.
        help: String,
    },
    /// The examples and the settings do not fit each other.
    #[error("{message}")]
    Mismatch {
        /// What is wrong.
        message: String,
        /// The next action.
        help: String,
    },
    /// The file system's fault; the text names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl DataError {
    /// The next action, where there is one.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Broken { help, .. } | Self::Mismatch { help, .. } => Some(help),
            Self::Io(_) => None,
        }
    }

    pub(crate) fn mismatch(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Mismatch {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// `wanted` misspelt? The nearest of `known` within two edits.
pub(crate) fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A list of names for a message: "`a`, `b`, `c`", cut after 12.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (i, name) in names.into_iter().enumerate() {
        if i == 12 {
            text.push_str(", …");
            break;
        }
        if i > 0 {
            text.push_str(", ");
        }
        text.push('`');
        text.push_str(name);
        text.push('`');
    }
    text
}

/// A text as a message shows it: at most 60 characters.
#[must_use]
pub fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
