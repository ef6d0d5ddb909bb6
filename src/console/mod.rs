//! Everything that prints, and nothing that decides: data on standard output, the rest on standard error.
//!
//! A [`Console`] is made once. It shows a live view on a terminal and plain lines elsewhere, writes the event file,
//! and hands every event to the observers added to it.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::event::{Event, Observer};
use flow::source::Sources;
use serde::Serialize;

mod board;
pub mod bug;
pub mod clock;
pub mod diagnostic;
mod excerpt;
pub mod format;
pub mod jsonl;
pub mod pace;
pub mod plain;
mod summary;
pub mod table;
pub mod terminal;
pub mod tty;

pub use summary::{RunSummary, sums};

use clock::MachineClock;
use diagnostic::DiagnosticJson;
use jsonl::JsonLines;
use terminal::{Look, harmless};

/// What the command line asks of the console.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `--json`: results and failures also as JSON on standard output.
    pub json: bool,
    /// `--events FILE`.
    pub events: Option<&'a Path>,
}

/// The program's voice.
pub struct Console {
    look: Look,
    clock: MachineClock,
    json: bool,
    sources: Sources,
    view: View,
    events: Option<JsonLines<fs_err::File, MachineClock>>,
    summary: RunSummary,
    /// Whether it is still to be printed.
    is_summary_due: bool,
    observers: Vec<Box<dyn Observer>>,
    data: Data<Box<dyn Write>>,
}

enum View {
    Live(tty::Live<Box<dyn Write>, MachineClock>),
    Lines(plain::Lines<Box<dyn Write>, MachineClock>),
}

impl View {
    /// The one way of texts for people to standard error: whoever wrote them, they cannot move the cursor.
    fn print(&mut self, text: &str, look: Look) {
        let text = harmless(text, look.colour);
        match self {
            Self::Live(view) => view.print(&text),
            Self::Lines(view) => view.print(&text),
        }
    }

    fn observer(&mut self) -> &mut dyn Observer {
        match self {
            Self::Live(view) => view,
            Self::Lines(view) => view,
        }
    }
}

impl Console {
    /// A console on this process's streams.
    ///
    /// # Errors
    /// When the event file cannot be made.
    pub fn new(options: Options<'_>) -> Result<Self, Failure> {
        let look = Look::of_stderr();
        let clock = MachineClock::default();
        let out: Box<dyn Write> = Box::new(io::stderr());
        let view = if terminal::stderr_is_live() {
            View::Live(tty::Live::new(
                out,
                clock.clone(),
                look,
                terminal::stderr_size_in_foreground,
            ))
        } else {
            View::Lines(plain::Lines::new(out, clock.clone(), look))
        };
        let events = match options.events {
            None => None,
            Some(path) => Some(JsonLines::create(path, clock.clone()).map_err(|error| {
                let message = format!("cannot write the events to `{}`", path.display());
                let diagnostic = Diagnostic::error("console::events", message)
                    .detail(error.to_string())
                    .help("name a file in a folder that exists and can be written");
                Failure::one(Class::Environment, diagnostic)
            })?),
        };
        Ok(Self {
            look,
            clock,
            json: options.json,
            sources: Sources::default(),
            view,
            events,
            summary: RunSummary::default(),
            is_summary_due: false,
            observers: Vec::new(),
            data: Data::new(Box::new(io::stdout())),
        })
    }

    /// How text for standard error is drawn. For data there is [`Look::of_stdout`].
    #[must_use]
    pub fn look(&self) -> Look {
        self.look
    }

    /// The texts that messages point into.
    pub fn set_sources(&mut self, sources: &Sources) {
        self.sources = sources.clone();
        match &mut self.view {
            View::Live(view) => view.set_sources(sources.clone()),
            View::Lines(view) => view.set_sources(sources.clone()),
        }
    }

    /// What comes next happened then, in a run that is followed from its files; nothing is drawn before `None` says that
    /// all is told.
    pub fn tell_of(&mut self, moment: Option<SystemTime>) {
        self.clock.tell(moment);
        if let View::Live(view) = &mut self.view {
            view.hold(moment.is_some());
        }
    }

    /// Adds someone who sees each event, such as the run's log.
    pub fn add_observer(&mut self, observer: impl Observer + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Prints messages that stop nothing on standard error.
    pub fn report(&mut self, diagnostics: &[Diagnostic]) {
        let text = diagnostic::render_all(diagnostics, &self.sources, self.look);
        self.view.print(&text, self.look);
    }

    /// Prints what stopped a command; errors of stages come as events and are not given here again. With `--json` also a
    /// JSON list on standard output. Returns the exit code.
    pub fn fail(&mut self, failure: &Failure) -> u8 {
        self.print_summary();
        self.report(&failure.diagnostics);
        if failure.class == Class::Bug {
            self.note("this is a bug of `pipeline`: please report it with the text above");
        }
        if self.json {
            let list: Vec<DiagnosticJson> = failure
                .diagnostics
                .iter()
                .map(|diagnostic| DiagnosticJson::new(diagnostic, &self.sources))
                .collect();
            self.json(&list);
        }
        failure.class.exit_code()
    }

    /// Prints a line for people on standard error.
    pub fn note(&mut self, line: &str) {
        self.view.print(line, self.look);
    }

    /// Prints text on standard output, without control characters; a newline is added where it is missing.
    pub fn text(&mut self, text: &str) {
        let shown = harmless(text, Look::of_stdout().colour);
        self.data.write(shown.as_bytes());
        if !text.is_empty() && !text.ends_with('\n') {
            self.data.write(b"\n");
        }
    }

    /// Prints what a program printed: as it is into a file or a pipe, without control characters on a terminal.
    pub fn printed(&mut self, bytes: &[u8]) {
        if terminal::stdout_is_terminal() {
            let text = String::from_utf8_lossy(bytes);
            let shown = harmless(&text, Look::of_stdout().colour);
            self.data.write(shown.as_bytes());
        } else {
            self.data.write(bytes);
        }
    }

    /// Prints data on standard output as it is.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.data.write(bytes);
    }

    /// Prints a value as JSON on standard output, in a line of its own.
    ///
    /// # Panics
    /// When the value does not serialise, as a map with keys that are not text.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) {
        let mut text = serde_json::to_vec(value).expect("what is printed as JSON serialises");
        text.push(b'\n');
        self.data.write(&text);
    }

    /// The summary of the run so far; complete after its last event.
    #[must_use]
    pub fn run_summary(&self) -> &RunSummary {
        &self.summary
    }

    /// How many claims of a report of this run came out how, for the summary.
    ///
    /// # Panics
    /// When the counts do not serialise, as a map with keys that are not text.
    pub fn set_claims<T: Serialize>(&mut self, report: &Digest, counts: &T) {
        let reports = self.summary.reports.iter_mut();
        for placed in reports.filter(|placed| placed.place.key == *report) {
            placed.claims = Some(serde_json::to_value(counts).expect("counts serialise"));
        }
    }

    /// The summary for scripts, once the run is over and all is known of its claims.
    fn print_summary(&mut self) {
        if std::mem::take(&mut self.is_summary_due) {
            let summary = self.summary.clone();
            self.json(&summary);
        }
    }

    /// Ends: takes the live view away and hands on what is buffered.
    ///
    /// # Errors
    /// When data for standard output or the event file was lost; a closed pipe is not a loss.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.print_summary();
        let mut lost = Vec::new();
        if let Some(error) = self.events.as_mut().and_then(|events| {
            events.flush();
            events.take_error()
        }) {
            lost.push(lost_output("the event file", &error));
        }
        if let Some(error) = self.data.finish() {
            lost.push(lost_output("standard output", &error));
        }
        if lost.is_empty() {
            return Ok(());
        }
        self.report(&lost);
        Err(Failure {
            class: Class::Environment,
            diagnostics: lost,
        })
    }
}

fn lost_output(what: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error("console::lost", format!("{what} is incomplete"))
        .detail(error.to_string())
        .help("make room or choose another place, and run again; what was done is cached")
}

impl Observer for Console {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        if let Some(events) = &mut self.events {
            events.event(event);
        }
        for observer in &mut self.observers {
            observer.event(event);
        }
        self.view.observer().event(event);
        self.is_summary_due |= self.json && matches!(event, Event::RunFinished { .. });
    }

    fn tick(&mut self) {
        if let Some(events) = &mut self.events {
            events.tick();
        }
        for observer in &mut self.observers {
            observer.tick();
        }
        self.view.observer().tick();
    }
}

/// Standard output. A reader that went away (`| head`) is no error: what follows is dropped quietly.
struct Data<W: Write> {
    out: W,
    closed: bool,
    error: Option<io::Error>,
}

impl<W: Write> Data<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            closed: false,
            error: None,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.attempt(|out| out.write_all(bytes));
    }

    fn finish(&mut self) -> Option<io::Error> {
        self.attempt(Write::flush);
        self.error.take()
    }

    fn attempt(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.closed {
            return;
        }
        if let Err(error) = write(&mut self.out) {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.error = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(io::ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_file_that_cannot_be_made_is_told_before_the_run() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("missing/events.jsonl");
        let options = Options {
            json: false,
            events: Some(&path),
        };
        let Err(failure) = Console::new(options) else {
            panic!("the folder does not exist");
        };
        assert_eq!(failure.class, Class::Environment);
        assert_eq!(failure.diagnostics[0].code, "console::events");
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
        let mut closed = Data::new(Refuses(io::ErrorKind::BrokenPipe));
        closed.write(b"x");
        closed.write(b"y");
        assert!(closed.finish().is_none());
        let mut full = Data::new(Refuses(io::ErrorKind::StorageFull));
        full.write(b"x");
        let error = full.finish().expect("a loss is told");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
