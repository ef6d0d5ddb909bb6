//! The live view on a terminal: finished stages scroll by, running ones stand below with a footer of counts. Knows
//! nothing of scheduling.
//!
//! One write a redraw, at most ten a second, nothing written when nothing changed. Lines are overwritten, never cleared
//! first, and cut to the width, so nothing flickers or wraps. The cursor is neither hidden nor is the screen switched:
//! a runner that is killed leaves the terminal as it was.

use std::io::Write;

use flow::event::{End, Event, Observer};
use flow::source::Sources;

use super::board::{Board, Running, State};
use super::clock::Clock;
use super::diagnostic::render;
use super::format;
use super::summary::{closing, reached};
use super::terminal::{Ink, Look, Size};

const REDRAW_SECONDS: f64 = 0.1;
/// Running stages shown at most, however high the terminal is.
const MAX_ROWS: usize = 20;
const BAR_COLUMNS: usize = 16;
const MAX_NAME_COLUMNS: usize = 44;
const BEGIN_FRAME: &str = "\u{1b}[?2026h";
const END_FRAME: &str = "\u{1b}[?2026l";

/// The view.
pub struct Live<W: Write, C: Clock> {
    out: W,
    clock: C,
    look: Look,
    size: Box<dyn FnMut() -> Option<Size>>,
    sources: Sources,
    board: Board,
    /// Text to go above the live lines with the next redraw.
    pending: String,
    /// The live lines on the screen, without colours.
    shown: Vec<String>,
    shown_size: Option<Size>,
    drawn_at: f64,
    name_columns: usize,
    held: bool,
}

impl<W: Write, C: Clock> Live<W, C> {
    /// A view that writes to `out`, the terminal whose size `size` tells; while it tells none there are no live lines.
    pub fn new(out: W, clock: C, look: Look, size: impl FnMut() -> Option<Size> + 'static) -> Self {
        Self {
            out,
            clock,
            look,
            size: Box::new(size),
            sources: Sources::default(),
            board: Board::default(),
            pending: String::new(),
            shown: Vec::new(),
            shown_size: None,
            drawn_at: f64::NEG_INFINITY,
            name_columns: 8,
            held: false,
        }
    }

    /// While held, nothing is drawn: what is told of the past comes at once.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        if !held {
            self.draw_if_due();
        }
    }

    /// The texts that messages point into.
    pub fn set_sources(&mut self, sources: Sources) {
        self.sources = sources;
    }

    /// Prints text above the live lines, at once.
    pub fn print(&mut self, text: &str) {
        self.push(text);
        self.draw();
    }

    fn push(&mut self, text: &str) {
        self.pending.push_str(text);
        if !text.ends_with('\n') {
            self.pending.push('\n');
        }
    }

    fn push_line(&mut self, sign: &str, ink: Ink, name: &str, rest: &str) {
        self.board.bury_others(name);
        let line = format!(
            "{} {}  {}\n",
            self.look.paint(ink, sign),
            self.look.paint(Ink::Name, name),
            self.look.paint(Ink::Faint, rest)
        );
        self.push(&line);
    }

    fn sign(&self, end: End) -> (&'static str, Ink) {
        let (unicode, ascii, ink) = match end {
            End::Executed | End::Cached | End::Shared => ("✓", "+", Ink::Good),
            End::Failed => ("✗", "x", Ink::Bad),
            End::Stopped | End::Held | End::Skipped => ("■", "#", Ink::Warning),
        };
        (if self.look.unicode { unicode } else { ascii }, ink)
    }

    fn finished(&mut self, stage: &str, end: End, seconds: f64) {
        let time = format::duration(seconds);
        let rest = match end {
            End::Cached | End::Skipped => return,
            End::Executed => time,
            End::Shared => format!("made by another runner, waited {time}"),
            End::Failed => format!("failed after {time}"),
            End::Stopped => format!("stopped after {time}"),
            End::Held => "held back".to_owned(),
        };
        let (sign, ink) = self.sign(end);
        self.push_line(sign, ink, stage, &rest);
    }

    /// Draws when it is time to.
    fn draw_if_due(&mut self) {
        if self.clock.seconds() - self.drawn_at >= REDRAW_SECONDS {
            self.draw();
        }
    }

    fn draw(&mut self) {
        if self.held {
            return;
        }
        let size = (self.size)();
        match size {
            Some(size) => self.look.width = size.columns.max(40),
            // In the background: what was drawn now stands among the shell's lines and is not ours any more.
            None => self.shown.clear(),
        }
        let lines = size.map_or_else(Vec::new, |size| self.frame(size));
        let bare: Vec<String> = lines.iter().map(|line| plain_text(line)).collect();
        self.drawn_at = self.clock.seconds();
        let still = bare == self.shown && (size == self.shown_size || bare.is_empty());
        if self.pending.is_empty() && still {
            return;
        }
        if bare.is_empty() && self.shown.is_empty() {
            let text = std::mem::take(&mut self.pending);
            self.write(&text);
            return;
        }
        let mut text = String::from(BEGIN_FRAME);
        let rows = self.rows_on_screen(size);
        text.push_str(&to_top(rows));
        if size != self.shown_size {
            // A row that a narrower terminal wrapped stays marked as wrapped until it is cleared as a whole, and would
            // be joined with the next one later. Clearing to the end of the screen instead would fill the scrollback.
            text.push_str(&vec!["\u{1b}[2K"; rows].join("\u{1b}[B"));
            text.push_str(&to_top(rows));
        }
        for line in self.pending.lines() {
            text.push_str(line);
            text.push_str("\u{1b}[K\r\n");
        }
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&paint_line(self.look, line));
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        text.push_str(END_FRAME);
        self.pending.clear();
        self.shown = bare;
        self.shown_size = size;
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        // A terminal that went away must not stop the run.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// Rows that the live lines take. A terminal that became narrower has wrapped them.
    fn rows_on_screen(&self, size: Option<Size>) -> usize {
        let columns = size.map_or(usize::MAX, |size| size.columns.max(1));
        let rows = self
            .shown
            .iter()
            .map(|line| format::width(line).div_ceil(columns).max(1));
        rows.sum()
    }

    /// The live lines: running stages, oldest first, and the footer. Never more than fit above the last row.
    fn frame(&mut self, size: Size) -> Vec<Line> {
        if self.board.running.is_empty() && self.board.left() == 0 {
            return Vec::new();
        }
        let now = self.clock.seconds();
        let columns = size.columns.saturating_sub(1);
        let room = size.rows.saturating_sub(2).min(MAX_ROWS);
        let running = self.board.running.len();
        let rows = if running <= room {
            running
        } else {
            room.saturating_sub(1)
        };
        let widest = self.board.running.iter().take(rows);
        let widest = widest.map(|stage| format::width(&stage.stage)).max();
        let limit = (columns / 3).clamp(8, MAX_NAME_COLUMNS);
        self.name_columns = self.name_columns.max(widest.unwrap_or(0)).min(limit);
        let (look, name_columns) = (self.look, self.name_columns);
        let mut lines: Vec<Line> = self
            .board
            .running
            .iter_mut()
            .take(rows)
            .map(|stage| row(stage, now, columns, name_columns, look))
            .collect();
        if running > rows && room > 0 {
            let more = format::count((running - rows) as u64);
            let text = format!("  {} and {more} more running", look.ellipsis());
            lines.push(vec![(Ink::Faint, text)]);
        }
        lines.push(self.footer(now));
        for line in &mut lines {
            fit_line(line, columns, look);
        }
        lines
    }

    fn footer(&self, now: f64) -> Line {
        let board = &self.board;
        let parts = [
            (board.cached, "cached", Ink::Text),
            (board.executed, "done", Ink::Good),
            (board.failed, "failed", Ink::Bad),
            (board.skipped, "skipped", Ink::Warning),
            (board.stopped.len(), "stopped", Ink::Warning),
            (board.running.len(), "running", Ink::Accent),
            (board.left(), "left", Ink::Text),
        ];
        let always = ["cached", "done", "running", "left"];
        let mut line = vec![(Ink::Name, format!("  {}  ", board.pipeline))];
        for (number, word, ink) in parts {
            if number == 0 && !always.contains(&word) {
                continue;
            }
            let comma = if line.len() > 1 { ", " } else { "" };
            let ink = if number == 0 { Ink::Faint } else { ink };
            let number = format::count(number as u64);
            line.push((ink, format!("{comma}{number} {word}")));
        }
        let time = format::clock(now - board.started);
        line.push((Ink::Faint, format!("  {time}")));
        line
    }
}

/// Stretches of text with their colours.
type Line = Vec<(Ink, String)>;

/// `name  12 m 04 s  bar  41 %  1 h 20 m left  41,000 of 100,000 step  12 step/s  loss 3.2`: what matters less stands
/// further right, where a narrow terminal cuts.
fn row(stage: &mut Running, now: f64, columns: usize, name_columns: usize, look: Look) -> Line {
    let elapsed = now - stage.started;
    let name = format::elide_middle(&stage.stage, name_columns, look.ellipsis());
    let padding = " ".repeat(name_columns.saturating_sub(format::width(&name)));
    let mut line = vec![
        (Ink::Name, format!("  {name}{padding}")),
        (Ink::Text, format!("  {:>9}", format::clock(elapsed))),
    ];
    match &stage.state {
        State::Waiting(holder) => {
            line.push((Ink::Faint, format!("  waits for {holder}")));
            return line;
        }
        State::Retrying { message, until } => {
            let wait = format::clock((until - now).ceil());
            let message = format::clean_line(message);
            line.push((Ink::Warning, format!("  tries again in {wait}: {message}")));
            return line;
        }
        State::Working => {}
    }
    let Some(progress) = &stage.progress else {
        line.push((Ink::Faint, expectation(elapsed, stage.expected_seconds)));
        return line;
    };
    stage.pace.refresh(now, progress.total);
    let left = stage.pace.seconds_left(now);
    if let Some(total) = progress.total.filter(|total| *total > 0) {
        let done = progress.done.min(total);
        if columns >= 72 {
            line.push((Ink::Text, "  ".to_owned()));
            line.extend(bar(done, total, look));
        }
        let percent = u128::from(done) * 100 / u128::from(total);
        line.push((Ink::Text, format!("  {percent:>3} %")));
        if let Some(left) = left {
            line.push((Ink::Text, format!("  {} left", format::clock(left))));
        }
    } else {
        line.push((Ink::Faint, expectation(elapsed, stage.expected_seconds)));
    }
    line.push((Ink::Faint, format!("  {}", reached(progress))));
    if let Some(rate) = stage.pace.rate() {
        line.push((
            Ink::Faint,
            format!("  {}", format::rate(rate, &progress.unit)),
        ));
    }
    if !progress.text.is_empty() {
        let text = format::clean_line(&progress.text);
        line.push((Ink::Faint, format!("  {text}")));
    }
    line
}

fn expectation(elapsed: f64, expected: Option<f64>) -> String {
    match expected {
        Some(expected) if elapsed <= expected => {
            format!(" of about {}", format::duration(expected))
        }
        Some(expected) => format!(", {} last time", format::duration(expected)),
        None => String::new(),
    }
}

fn bar(done: u64, total: u64, look: Look) -> [(Ink, String); 2] {
    let filled = u128::from(done) * BAR_COLUMNS as u128 / u128::from(total);
    let filled = usize::try_from(filled)
        .unwrap_or(BAR_COLUMNS)
        .min(BAR_COLUMNS);
    let (full, empty) = if look.unicode {
        ("━", "─")
    } else {
        ("=", "-")
    };
    [
        (Ink::Accent, full.repeat(filled)),
        (Ink::Faint, empty.repeat(BAR_COLUMNS - filled)),
    ]
}

fn to_top(rows: usize) -> String {
    match rows {
        0 | 1 => "\r".to_owned(),
        _ => format!("\r\u{1b}[{}A", rows - 1),
    }
}

fn plain_text(line: &[(Ink, String)]) -> String {
    line.iter().map(|(_, text)| text.as_str()).collect()
}

fn paint_line(look: Look, line: &Line) -> String {
    line.iter()
        .map(|(ink, text)| look.paint(*ink, text))
        .collect()
}

/// Fits a line into `columns`: what does not fit is left out from the right, long stretches are shortened instead.
fn fit_line(line: &mut Line, columns: usize, look: Look) {
    const WORTH_SHORTENING: usize = 24;
    let mut left = columns;
    let fits = line.iter().position(|(_, text)| {
        let width = format::width(text);
        let fits = width <= left;
        left = if fits { left - width } else { left };
        !fits
    });
    let Some(first_out) = fits else {
        return;
    };
    line.truncate(first_out + 1);
    if let Some((_, text)) = line.last_mut() {
        let mark = look.ellipsis();
        let room = left.saturating_sub(format::width(mark));
        if first_out == 0 || format::width(text) >= WORTH_SHORTENING && room > 2 {
            *text = format!("{}{mark}", format::cut(text, room));
        } else {
            line.pop();
        }
    }
}

impl<W: Write, C: Clock> Observer for Live<W, C> {
    fn event(&mut self, event: &Event) {
        let now = self.clock.seconds();
        self.board.event(event, now);
        match event {
            Event::StageFinished {
                stage,
                end,
                seconds,
                ..
            } => self.finished(stage, *end, *seconds),
            Event::StageRetried {
                stage,
                message,
                wait_seconds,
            } => {
                let sign = if self.look.unicode { "↻" } else { "~" };
                let next = match *wait_seconds {
                    0.0 => "at once".to_owned(),
                    seconds => format!("in {}", format::duration(seconds)),
                };
                let rest = format!("{}; next try {next}", format::clean_line(message));
                self.push_line(sign, Ink::Warning, stage, &rest);
            }
            Event::Message { stage, diagnostic } => {
                self.board.bury_others(stage.as_deref().unwrap_or_default());
                let text = render(diagnostic, &self.sources, self.look);
                self.print(&format!("{text}\n"));
            }
            // What is over at once needs no live lines.
            Event::RunStarted { .. } => self.drawn_at = now,
            Event::RunFinished { .. } => {
                self.board.total = 0;
                let text = closing(&self.board, event, &self.sources, self.look);
                self.print(&text);
            }
            _ => {}
        }
        // A cached stage is not worth asking the clock for a frame: ten thousand of them come in a blink.
        if !matches!(event, Event::StageCached { .. } | Event::RunStarted { .. }) {
            self.draw_if_due();
        }
    }

    fn tick(&mut self) {
        self.draw_if_due();
    }
}

impl<W: Write, C: Clock> Drop for Live<W, C> {
    /// Leaves what was printed and takes the live lines away.
    fn drop(&mut self) {
        self.board.total = 0;
        self.board.running.clear();
        self.held = false;
        self.draw();
    }
}

#[cfg(test)]
#[path = "tty_tests.rs"]
mod tests;
