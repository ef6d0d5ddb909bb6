//! Messages about the user's input: what is wrong, where, and what to do next. Knows nothing of how they are drawn.

use serde::{Deserialize, Serialize};

use crate::source::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run goes on.
    Warning,
    /// The run cannot start, or the stage failed.
    Error,
}

/// A stretch of text with a remark; a place without a remark is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// The remark, a lower-case fragment; may be empty.
    pub text: String,
}

/// One message. Text style: lower-case fragment, no full stop, literals in backticks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// `room::what`, such as `spec::unknown_key`; stable, people search for it.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Places, the main one first.
    pub labels: Vec<Label>,
    /// Facts under the message, one line each, without the cause repeated.
    pub details: Vec<String>,
    /// The next action.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with a code and a message.
    #[must_use]
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            details: Vec::new(),
            help: None,
        }
    }

    /// A warning with a code and a message.
    #[must_use]
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Adds a place with a remark.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds a place if it is known.
    #[must_use]
    pub fn at_if(self, span: Option<Span>, text: impl Into<String>) -> Self {
        match span {
            Some(span) => self.at(span, text),
            None => self,
        }
    }

    /// Adds a line under the message.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Says the next action.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What decides the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 1: a stage, or with `--strict` a claim, failed.
    Stage,
    /// 2: specification or arguments.
    Input,
    /// 3: device, disk, network, permissions.
    Environment,
    /// 70: a bug of ours.
    Bug,
}

impl Class {
    /// The exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Stage => 1,
            Self::Input => 2,
            Self::Environment => 3,
            Self::Bug => 70,
        }
    }
}

/// One or more messages of one class: what stops a command.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", diagnostics.first().map_or("failed", |d| d.message.as_str()))]
pub struct Failure {
    /// Decides the exit code.
    pub class: Class,
    /// At least one; all that were found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Failure {
    /// A failure of the user's input.
    #[must_use]
    pub fn input(diagnostics: Vec<Diagnostic>) -> Self {
        Self {
            class: Class::Input,
            diagnostics,
        }
    }

    /// A failure of one message.
    #[must_use]
    pub fn one(class: Class, diagnostic: Diagnostic) -> Self {
        Self {
            class,
            diagnostics: vec![diagnostic],
        }
    }
}
