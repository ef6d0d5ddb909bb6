//! Logs of made-up runs. Knows the events, not the runner.

use std::cell::RefCell;
use std::rc::Rc;

use flow::diagnostic::Diagnostic;
use flow::digest::Use;
use flow::event::{Counts, Progress, ReportPlace};
use insta::assert_snapshot;

use super::*;
use crate::console::clock::HandClock;

/// A writer that keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Kept(Rc<RefCell<Vec<u8>>>);

impl Kept {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    fn text(&self) -> String {
        String::from_utf8(self.take()).expect("views write UTF-8")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn begun(stages: usize) -> Event {
    Event::RunStarted {
        run: "20261121T011900Z-4f2a".into(),
        pipeline: "paper".into(),
        stages,
    }
}

pub(crate) fn cached(stage: &str) -> Event {
    Event::StageCached {
        stage: stage.into(),
        key: Use::File.digest(stage.as_bytes()),
    }
}

pub(crate) fn started(stage: &str, expected_seconds: Option<f64>) -> Event {
    Event::StageStarted {
        stage: stage.into(),
        key: Use::File.digest(stage.as_bytes()),
        because: "no record".into(),
        attempt: 1,
        expected_seconds,
    }
}

pub(crate) fn progressed(stage: &str, done: u64, total: Option<u64>, unit: &str) -> Event {
    Event::StageProgress {
        stage: stage.into(),
        progress: Progress {
            done,
            total,
            unit: unit.into(),
            text: String::new(),
        },
    }
}

pub(crate) fn finished(stage: &str, end: End, seconds: f64) -> Event {
    Event::StageFinished {
        stage: stage.into(),
        end,
        seconds,
        key: None,
    }
}

pub(crate) fn failure(stage: &str) -> Event {
    Event::Message {
        stage: Some(stage.into()),
        diagnostic: Diagnostic::error(
            "run::failed",
            format!("stage `{stage}` failed with exit code 2"),
        )
        .detail("its last lines:")
        .detail("  ValueError: bad row")
        .help(format!("`pipeline log p.yaml {stage}` shows all of it")),
    }
}

pub(crate) fn over(counts: Counts, wall_seconds: f64) -> Event {
    Event::RunFinished {
        counts,
        wall_seconds,
        reports: Vec::new(),
        interrupted: None,
    }
}

fn log() -> (Lines<Kept, Rc<HandClock>>, Kept, Rc<HandClock>) {
    let (kept, clock) = (Kept::default(), Rc::new(HandClock::default()));
    let look = Look {
        unicode: true,
        ..Look::PLAIN
    };
    let view = Lines::new(kept.clone(), Rc::clone(&clock), look);
    (view, kept, clock)
}

#[test]
fn a_run_that_goes_well() {
    let (mut view, kept, clock) = log();
    view.event(&begun(12));
    for index in 0..9 {
        view.event(&cached(&format!("read[{index}]")));
    }
    view.event(&started("pretrain", Some(41.0)));
    view.event(&started("count", None));
    clock.advance(0.3);
    view.event(&finished("count", End::Executed, 0.3));
    for step in 1..=80 {
        clock.advance(1.0);
        view.event(&progressed("pretrain", step * 10, Some(1000), "step"));
        view.tick();
    }
    view.event(&Event::StageRetried {
        stage: "pretrain".into(),
        message: "connection reset".into(),
        wait_seconds: 4.0,
    });
    view.event(&Event::StageStarted {
        stage: "pretrain".into(),
        key: Use::File.digest(b""),
        because: "no record".into(),
        attempt: 2,
        expected_seconds: None,
    });
    view.event(&finished("pretrain", End::Executed, 100.0));
    view.event(&Event::StageWaiting {
        stage: "table".into(),
        holder: "process 4711 on node7".into(),
    });
    view.event(&finished("table", End::Shared, 2.0));
    view.event(&Event::RunFinished {
        counts: Counts {
            total: 12,
            executed: 2,
            cached: 10,
            ..Counts::default()
        },
        wall_seconds: 104.2,
        reports: vec![ReportPlace {
            stage: "table".into(),
            path: "reports/paper/3f9c2ab410".into(),
            key: Use::File.digest(b""),
        }],
        interrupted: None,
    });
    assert_snapshot!(kept.text(), @"
    01:19:00Z run 20261121T011900Z-4f2a of paper: 12 stages
    01:19:00Z started pretrain: no record, about 41 s
    01:19:00Z started count: no record
    01:19:00Z done count in 0.3 s
    01:19:30Z pretrain: 30 % (step 300 of 1,000), 10 step/s, 1 m 10 s left
    01:20:01Z pretrain: 61 % (step 610 of 1,000), 10 step/s, 39 s left
    01:20:20Z retrying pretrain in 4 s: connection reset
    01:20:20Z started pretrain: no record, try 2
    01:20:20Z done pretrain in 1 m 40 s
    01:20:20Z waiting table: for process 4711 on node7
    01:20:20Z done table: made by another runner, waited 2 s
    report of table: reports/paper/3f9c2ab410
    done: 12 stages, 2 executed, 10 cached in 1 m 44 s
    ");
}

#[test]
fn an_error_that_scrolled_away_comes_back_at_the_end() {
    let (mut view, kept, _) = log();
    view.event(&begun(4));
    view.event(&started("a", None));
    view.event(&started("b", None));
    view.event(&failure("a"));
    view.event(&finished("a", End::Failed, 1.0));
    view.event(&finished("b", End::Executed, 2.0));
    view.event(&finished("c", End::Skipped, 0.0));
    view.event(&over(
        Counts {
            total: 4,
            executed: 1,
            cached: 1,
            failed: 1,
            skipped: 1,
        },
        2.0,
    ));
    assert_snapshot!(kept.text(), @"
    01:19:00Z run 20261121T011900Z-4f2a of paper: 4 stages
    01:19:00Z started a: no record
    01:19:00Z started b: no record
    run::failed
      × stage `a` failed with exit code 2
        its last lines:
          ValueError: bad row
      help: `pipeline log p.yaml a` shows all of it

    01:19:00Z failed a after 1 s
    01:19:00Z done b in 2 s

    what failed, once more (1):

    run::failed
      × stage `a` failed with exit code 2
        its last lines:
          ValueError: bad row
      help: `pipeline log p.yaml a` shows all of it

    failed: 4 stages, 1 executed, 1 cached, 1 failed, 1 skipped in 2 s
    ");
}

#[test]
fn an_error_that_is_still_in_sight_is_not_repeated() {
    let (mut view, kept, _) = log();
    view.event(&begun(1));
    view.event(&started("a", None));
    view.event(&failure("a"));
    view.event(&finished("a", End::Failed, 1.0));
    view.event(&over(
        Counts {
            total: 1,
            failed: 1,
            ..Counts::default()
        },
        1.0,
    ));
    assert_eq!(kept.text().matches("ValueError").count(), 1);
}

#[test]
fn many_errors_end_in_a_list() {
    let (mut view, kept, _) = log();
    view.event(&begun(13));
    for index in 0..13 {
        let stage = format!("s{index}");
        view.event(&started(&stage, None));
        view.event(&failure(&stage));
        view.event(&finished(&stage, End::Failed, 1.0));
    }
    kept.take();
    view.event(&over(
        Counts {
            total: 13,
            failed: 13,
            ..Counts::default()
        },
        1.0,
    ));
    let text = kept.text();
    assert_eq!(text.matches("ValueError").count(), 10);
    for index in 0..12 {
        assert!(text.contains(&format!("stage `s{index}` failed")), "{text}");
    }
}

#[test]
fn an_interrupted_run_says_where_it_stands() {
    let (mut view, kept, clock) = log();
    view.event(&begun(12));
    view.event(&started("pretrain", None));
    view.event(&progressed("pretrain", 41_000, Some(100_000), "step"));
    clock.advance(8040.0);
    view.event(&finished("pretrain", End::Stopped, 8040.0));
    view.event(&Event::RunFinished {
        counts: Counts {
            total: 12,
            executed: 3,
            cached: 4,
            ..Counts::default()
        },
        wall_seconds: 8040.0,
        reports: Vec::new(),
        interrupted: Some("SIGINT".into()),
    });
    assert_snapshot!(kept.text(), @"
    01:19:00Z run 20261121T011900Z-4f2a of paper: 12 stages
    01:19:00Z started pretrain: no record
    03:33:00Z stopped pretrain after 2 h 14 m
    run::killed
      × interrupted by SIGINT after 2 h 14 m; 7 of 12 stages done, 1 stopped
        `pretrain` was stopped at step 41,000 of 100,000
      help: run the same command to go on from there
    ");
}

#[test]
fn a_silent_run_says_now_and_then_that_it_lives() {
    let (mut view, kept, clock) = log();
    view.event(&begun(5));
    view.event(&started("a", None));
    kept.take();
    for _ in 0..7000 {
        clock.advance(0.1);
        view.tick();
    }
    assert_snapshot!(kept.text(), @"
    01:24:00Z still at it: 1 running, 0 waiting, 4 left
    01:29:00Z still at it: 1 running, 0 waiting, 4 left
    ");
}
