//! What the other end can show: colour, Unicode, width. Knows nothing of what is shown.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};

/// Columns where there is no terminal to ask.
pub const DEFAULT_WIDTH: usize = 100;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// ANSI colours.
    pub colour: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
}

impl Look {
    /// Neither colour nor Unicode, 100 columns.
    pub const PLAIN: Self = Self {
        colour: false,
        unicode: false,
        width: DEFAULT_WIDTH,
    };

    /// From the environment (`NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `TERM`, `LC_ALL`, `LC_CTYPE`, `LANG`), whether
    /// the stream is a terminal, and the terminal's width.
    #[must_use]
    pub fn detect(
        variable: impl Fn(&str) -> Option<OsString>,
        is_terminal: bool,
        width: Option<usize>,
    ) -> Self {
        let text = |name: &str| {
            variable(name)
                .map(|value| value.to_string_lossy().into_owned())
                .filter(|value| !value.is_empty())
        };
        let forced = text("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let refused = text("NO_COLOR").is_some()
            || text("CLICOLOR").is_some_and(|value| value == "0") && !forced
            || text("TERM").is_some_and(|value| value == "dumb") && !forced;
        let locale = text("LC_ALL")
            .or_else(|| text("LC_CTYPE"))
            .or_else(|| text("LANG"))
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self {
            colour: !refused && (is_terminal || forced),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            width: width.unwrap_or(DEFAULT_WIDTH).max(40),
        }
    }

    /// For standard error as it is now.
    #[must_use]
    pub fn of_stderr() -> Self {
        Self::of(std::io::stderr())
    }

    /// For standard output as it is now.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::of(std::io::stdout())
    }

    fn of(stream: impl AsFd) -> Self {
        Self::detect(
            |name| std::env::var_os(name),
            stream.as_fd().is_terminal(),
            size_of(stream).map(|size| size.columns),
        )
    }

    /// `text` in a colour, where there are colours.
    #[must_use]
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let style = ink.style();
        if !self.colour || style == Style::new() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }

    /// The sign that something was left out.
    #[must_use]
    pub fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// Text as a terminal may have it, whoever wrote it: lines and tabs stay, colours where there are any, and a stand-in is
/// put for every other control character. What hides text is no colour.
#[must_use]
pub fn harmless(text: &str, colour: bool) -> Cow<'_, str> {
    let is_kept = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c| !is_kept(c)) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(style) = style_of(rest).filter(|_| colour) {
            shown.push_str(style);
            rest = &rest[style.len()..];
            continue;
        }
        let odd = rest.chars().next().map_or(1, char::len_utf8);
        // The end of a line on other systems is the end of a line.
        if !rest.starts_with("\r\n") {
            shown.push('\u{fffd}');
        }
        rest = &rest[odd..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The sequence at the beginning of a text, where it changes colours and the weight of letters and does nothing else.
fn style_of(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    let (parameters, after) = parameters.split_at(end);
    // 8 hides what follows, but for a colour by number behind 38 or 48.
    let hides = parameters
        .split(';')
        .any(|number| number.trim_start_matches('0') == "8");
    (after.starts_with('m') && !hides).then(|| &text[..2 + end + 1])
}

/// What a stretch of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Ordinary.
    Text,
    /// Beside the point.
    Faint,
    /// The name of a thing.
    Name,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It deserves a look.
    Warning,
    /// Something moves.
    Accent,
}

impl Ink {
    fn style(self) -> Style {
        match self {
            Self::Text => Style::new(),
            Self::Faint => Style::new().dimmed(),
            Self::Name => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Accent => AnsiColor::Cyan.on_default(),
        }
    }
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// Whether standard output is a terminal.
#[must_use]
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The size of the terminal behind standard error; `None` where there is none, or where it does not know.
#[must_use]
pub fn stderr_size() -> Option<Size> {
    size_of(std::io::stderr())
}

/// The same, and `None` too while this process is in the background, where live lines would fall into the shell's.
#[must_use]
pub fn stderr_size_in_foreground() -> Option<Size> {
    let stderr = std::io::stderr();
    let in_front = rustix::termios::tcgetpgrp(&stderr)
        .map_or(true, |group| group == rustix::process::getpgrp());
    if in_front { size_of(stderr) } else { None }
}

fn size_of(stream: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| Size {
        columns: usize::from(size.ws_col),
        rows: usize::from(size.ws_row),
    })
}

/// Whether standard error can be drawn on again and again: a terminal that is not `dumb`.
#[must_use]
pub fn stderr_is_live() -> bool {
    std::io::stderr().is_terminal()
        && stderr_size().is_some()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(variables: &[(&str, &str)], is_terminal: bool) -> Look {
        Look::detect(
            |name| {
                variables
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| OsString::from(value))
            },
            is_terminal,
            None,
        )
    }

    #[test]
    fn colour_follows_the_environment() {
        assert!(look(&[], true).colour);
        assert!(!look(&[], false).colour);
        assert!(!look(&[("NO_COLOR", "1")], true).colour);
        assert!(look(&[("NO_COLOR", "")], true).colour);
        assert!(!look(&[("CLICOLOR", "0")], true).colour);
        assert!(look(&[("CLICOLOR_FORCE", "1")], false).colour);
        assert!(!look(&[("CLICOLOR_FORCE", "0")], false).colour);
        assert!(!look(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false).colour);
        assert!(!look(&[("TERM", "dumb")], true).colour);
    }

    #[test]
    fn unicode_follows_the_locale() {
        assert!(!look(&[], true).unicode);
        assert!(look(&[("LANG", "de_DE.UTF-8")], true).unicode);
        assert!(look(&[("LANG", "C.utf8")], true).unicode);
        assert!(!look(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], true).unicode);
        assert!(
            look(
                &[
                    ("LC_ALL", ""),
                    ("LC_CTYPE", "en_US.UTF-8"),
                    ("LANG", "POSIX")
                ],
                true
            )
            .unicode
        );
    }

    #[test]
    fn nothing_but_colour_reaches_a_terminal() {
        let text = "a\u{1b}[31mb\u{1b}[0m\tc\r\nd\u{1b}[2Je\u{1b}]0;pwn\u{7}f\u{9b}1Ag\u{1b}[8mh\u{1b}[1;08mi\re";
        assert_eq!(
            harmless(text, true),
            "a\u{1b}[31mb\u{1b}[0m\tc\nd\u{fffd}[2Je\u{fffd}]0;pwn\u{fffd}f\u{fffd}1Ag\u{fffd}[8mh\u{fffd}[1;08mi\u{fffd}e"
        );
        assert!(!harmless(text, false).contains('\u{1b}'));
        assert!(matches!(
            harmless("plain\n\ttext ü", false),
            Cow::Borrowed(_)
        ));
        for cut in ["\u{1b}", "\u{1b}[", "\u{1b}[31", "\u{1b}[31\u{1b}[m"] {
            let _ = harmless(cut, true);
        }
    }

    #[test]
    fn paint_is_nothing_without_colour() {
        assert_eq!(Look::PLAIN.paint(Ink::Bad, "x"), "x");
        let coloured = Look {
            colour: true,
            ..Look::PLAIN
        };
        assert_eq!(coloured.paint(Ink::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(coloured.paint(Ink::Text, "x"), "x");
    }
}
