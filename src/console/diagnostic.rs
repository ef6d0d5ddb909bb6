//! Draws messages for people (through miette) and writes them as JSON. Knows nothing of what they are about.

use std::fmt;

use flow::diagnostic::{Diagnostic, Severity};
use flow::source::Sources;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use serde::Serialize;

use super::excerpt::Excerpt;
use super::format;
use super::terminal::{Ink, Look};

/// One message: code, text, the lines it points at, details, help. Ends in a newline.
#[must_use]
pub fn render(diagnostic: &Diagnostic, sources: &Sources, look: Look) -> String {
    let ink = ink(diagnostic.severity);
    let mut text = format!("{}\n", look.paint(ink, &diagnostic.code));
    let drawn = Drawn {
        diagnostic,
        message: one_line(&diagnostic.message),
        excerpt: Excerpt::new(diagnostic, sources),
    };
    handler(look)
        .render_report(&mut text, &drawn)
        .expect("a string takes all that is written");
    for detail in &diagnostic.details {
        for line in detail.lines() {
            let line = format::clean_line(line);
            text.push_str(format!("    {line}").trim_end());
            text.push('\n');
        }
    }
    if let Some(help) = &diagnostic.help {
        text.push_str(&render_help(help, look));
    }
    // miette pads some lines.
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Several messages with a blank line between, in the order given, and a closing line of counts when
/// there is more than one. Empty for no messages.
#[must_use]
pub fn render_all(diagnostics: &[Diagnostic], sources: &Sources, look: Look) -> String {
    let mut blocks: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| render(diagnostic, sources, look))
        .collect();
    if diagnostics.len() > 1 {
        blocks.push(format!("{}\n", tally(diagnostics)));
    }
    blocks.join("\n")
}

/// `3 errors, 1 warning`.
#[must_use]
pub fn tally(diagnostics: &[Diagnostic]) -> String {
    let warnings = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Warning)
        .count();
    let parts = [
        (diagnostics.len() - warnings, "error"),
        (warnings, "warning"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| format::counted(number, noun))
        .collect();
    parts.join(", ")
}

/// A message as `--json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiagnosticJson {
    /// Stable name of the message.
    pub code: String,
    /// `error` or `warning`.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where, the main place first.
    pub places: Vec<PlaceJson>,
    /// Facts, a line each.
    pub details: Vec<String>,
    /// The next action.
    pub help: Option<String>,
}

/// A place as `--json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceJson {
    /// Name of the text; `null` where the text is not known any more.
    pub file: Option<String>,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// The remark; may be empty.
    pub text: String,
}

impl DiagnosticJson {
    /// The JSON form of a message.
    #[must_use]
    pub fn new(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let places = diagnostic.labels.iter().map(|label| PlaceJson {
            file: sources
                .iter()
                .nth(label.span.source.0 as usize)
                .map(|source| source.name.clone()),
            line: label.span.line,
            column: label.span.column,
            text: label.text.clone(),
        });
        Self {
            code: diagnostic.code.clone(),
            severity: diagnostic.severity,
            message: diagnostic.message.clone(),
            places: places.collect(),
            details: diagnostic.details.clone(),
            help: diagnostic.help.clone(),
        }
    }
}

/// The colour of a severity.
pub(super) fn ink(severity: Severity) -> Ink {
    match severity {
        Severity::Warning => Ink::Warning,
        Severity::Error => Ink::Bad,
    }
}

fn handler(look: Look) -> GraphicalReportHandler {
    let mut theme = match (look.unicode, look.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme::ascii(),
        (false, false) => GraphicalTheme::none(),
    };
    if !look.colour {
        theme.styles = miette::ThemeStyles::none();
    }
    GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .without_cause_chain()
        .without_syntax_highlighting()
        .with_context_lines(0)
        .with_break_words(false)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation)
        .with_width(look.width)
}

/// Wraps, but never inside backticks: commands must survive copying.
fn render_help(help: &str, look: Look) -> String {
    const HELD_SPACE: char = '\u{f8ff}';
    let mut quoted = false;
    let held: String = help
        .chars()
        .map(|c| {
            quoted ^= c == '`';
            if quoted && c == ' ' { HELD_SPACE } else { c }
        })
        .collect();
    let options = textwrap::Options::new(look.width.saturating_sub(2))
        .initial_indent("  help: ")
        .subsequent_indent("        ")
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let wrapped = textwrap::fill(&held, options).replace(HELD_SPACE, " ");
    let rest = wrapped.strip_prefix("  help:").unwrap_or(&wrapped);
    format!("  {}{rest}\n", look.paint(Ink::Accent, "help:"))
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(format::clean_line)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A message as miette wants it; code, details and help are drawn here, since miette has no place for details.
#[derive(Debug)]
struct Drawn<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    excerpt: Excerpt,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.excerpt.is_empty()).then_some(&self.excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.excerpt.is_empty()).then(|| Box::new(self.excerpt.labels().into_iter()) as Box<_>)
    }
}

#[cfg(test)]
#[path = "diagnostic_tests.rs"]
mod tests;
