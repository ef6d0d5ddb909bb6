//! Events as JSON lines in a file, each with the time (RFC 3339, UTC). Knows nothing of what they mean.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use flow::event::{Event, Observer};
use serde::Serialize;

use super::clock::Clock;

/// Writes each event as a line `{"time":"2026-11-21T01:19:00.000Z","event":"stage_started",…}`.
pub struct JsonLines<W: Write, C: Clock> {
    out: Option<BufWriter<W>>,
    clock: C,
    error: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl<C: Clock> JsonLines<fs_err::File, C> {
    /// Begins a file, over what was there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, clock: C) -> io::Result<Self> {
        Ok(Self::new(fs_err::File::create(path)?, clock))
    }
}

impl<W: Write, C: Clock> JsonLines<W, C> {
    /// Writes to `out`.
    pub fn new(out: W, clock: C) -> Self {
        Self {
            out: Some(BufWriter::new(out)),
            clock,
            error: None,
        }
    }

    /// The error that stopped the writing, once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) {
        self.attempt(Write::flush);
    }

    /// After the first error nothing more is written: half a log that looks whole would be worse.
    fn attempt(&mut self, write: impl FnOnce(&mut BufWriter<W>) -> io::Result<()>) {
        if let Some(out) = &mut self.out
            && let Err(error) = write(out)
        {
            self.error = Some(error);
            self.out = None;
        }
    }
}

impl<W: Write, C: Clock> Observer for JsonLines<W, C> {
    fn event(&mut self, event: &Event) {
        let line = Line {
            time: humantime::format_rfc3339_millis(self.clock.wall()).to_string(),
            event,
        };
        let mut text = serde_json::to_vec(&line).expect("events serialise");
        text.push(b'\n');
        self.attempt(|out| out.write_all(&text));
        // Cached stages come by the thousand; they wait for the next line that matters.
        if !matches!(event, Event::StageCached { .. }) {
            self.flush();
        }
    }

    fn tick(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use flow::digest::Use;
    use flow::event::{Counts, Progress};

    use super::*;
    use crate::console::clock::HandClock;

    #[test]
    fn each_event_is_a_line_with_its_time() {
        let clock = Rc::new(HandClock::default());
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("events.jsonl");
        let mut log = JsonLines::create(&path, Rc::clone(&clock)).expect("the file can be made");
        log.event(&Event::RunStarted {
            run: "20261121T011900Z-4f2a".into(),
            pipeline: "paper".into(),
            stages: 2,
        });
        clock.advance(1.25);
        log.event(&Event::StageCached {
            stage: "read".into(),
            key: Use::File.digest(b""),
        });
        log.event(&Event::StageProgress {
            stage: "count".into(),
            progress: Progress {
                done: 5,
                ..Progress::default()
            },
        });
        log.event(&Event::RunFinished {
            counts: Counts::default(),
            wall_seconds: 1.5,
            reports: Vec::new(),
            interrupted: None,
        });
        assert!(log.take_error().is_none());
        let text = fs_err::read_to_string(&path).expect("readable");
        insta::assert_snapshot!(text, @r#"
        {"time":"2026-11-21T01:19:00.000Z","event":"run_started","run":"20261121T011900Z-4f2a","pipeline":"paper","stages":2}
        {"time":"2026-11-21T01:19:01.250Z","event":"stage_cached","stage":"read","key":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}
        {"time":"2026-11-21T01:19:01.250Z","event":"stage_progress","stage":"count","progress":{"done":5}}
        {"time":"2026-11-21T01:19:01.250Z","event":"run_finished","counts":{"total":0,"executed":0,"cached":0,"failed":0,"skipped":0},"wall_seconds":1.5,"reports":[]}
        "#);
        for line in text.lines() {
            let event: Event = serde_json::from_str(line).expect("readers ignore the time");
            drop(event);
        }
    }

    #[test]
    fn a_full_disk_is_told_once() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = JsonLines::new(Full, Rc::new(HandClock::default()));
        for _ in 0..3 {
            log.event(&Event::StageWaiting {
                stage: "a".into(),
                holder: "b".into(),
            });
        }
        let error = log.take_error().expect("the error is kept");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(log.take_error().is_none());
    }
}
