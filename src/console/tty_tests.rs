//! The live view on an emulated terminal. Knows the events, not the runner.

use std::cell::Cell;
use std::rc::Rc;

use flow::diagnostic::Diagnostic;
use flow::event::{Counts, Progress};
use insta::assert_snapshot;

use super::*;
use crate::console::clock::HandClock;
use crate::console::plain::tests::{
    Kept, begun, cached, failure, finished, over, progressed, started,
};

struct Stage {
    view: Option<Live<Kept, Rc<HandClock>>>,
    kept: Kept,
    clock: Rc<HandClock>,
    size: Rc<Cell<Size>>,
    screen: vt100::Parser,
}

impl Stage {
    fn new(columns: usize, rows: usize) -> Self {
        Self::with_look(
            columns,
            rows,
            Look {
                unicode: true,
                ..Look::PLAIN
            },
        )
    }

    fn with_look(columns: usize, rows: usize, look: Look) -> Self {
        let (kept, clock) = (Kept::default(), Rc::new(HandClock::default()));
        let size = Rc::new(Cell::new(Size { columns, rows }));
        let told = Rc::clone(&size);
        let view = Live::new(kept.clone(), Rc::clone(&clock), look, move || {
            Some(told.get())
        });
        let number = |value: usize| u16::try_from(value).expect("small screens");
        Self {
            view: Some(view),
            kept,
            clock,
            size,
            screen: vt100::Parser::new(number(rows), number(columns), 1000),
        }
    }

    fn event(&mut self, event: &Event) {
        self.view.as_mut().expect("not dropped").event(event);
    }

    fn pass(&mut self, seconds: f64) {
        self.clock.advance(seconds);
        self.view.as_mut().expect("not dropped").tick();
    }

    fn screen(&mut self) -> String {
        self.screen.process(&self.kept.take());
        let text = self.screen.screen().contents();
        text.lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

#[test]
fn running_stages_stand_below_what_is_done() {
    let mut stage = Stage::new(100, 12);
    stage.event(&begun(420));
    for index in 0..400 {
        stage.event(&cached(&format!("read[{index}]")));
    }
    stage.event(&started("pretrain", None));
    stage.event(&started("count", Some(40.0)));
    stage.event(&started("fetch[squad]", None));
    stage.event(&Event::StageWaiting {
        stage: "pack".into(),
        holder: "process 4711 on node7".into(),
    });
    for step in 0..=41 {
        stage.event(&Event::StageProgress {
            stage: "pretrain".into(),
            progress: Progress {
                done: step * 1000,
                total: Some(100_000),
                unit: "step".into(),
                text: "loss 3.21".into(),
            },
        });
        stage.event(&progressed("fetch[squad]", step << 20, None, "B"));
        stage.pass(1.0);
    }
    stage.event(&finished("tokens", End::Executed, 12.3));
    stage.event(&Event::StageRetried {
        stage: "fetch[squad]".into(),
        message: "connection reset".into(),
        wait_seconds: 4.0,
    });
    stage.pass(1.0);
    assert_snapshot!(stage.screen(), @"
    ✓ tokens  12 s
    ↻ fetch[squad]  connection reset; next try in 4 s
      pretrain           43 s  ━━━━━━──────────   41 %  57 s left  step 41,000 of 100,000  1,000 step/s
      count              43 s, 40 s last time
      fetch[squad]       43 s  tries again in 3 s: connection reset
      pack               43 s  waits for process 4711 on node7
      paper  400 cached, 1 done, 4 running, 15 left  43 s
    ");
    stage.event(&finished("pretrain", End::Executed, 43.0));
    stage.event(&finished("count", End::Executed, 43.0));
    stage.event(&finished("fetch[squad]", End::Failed, 43.0));
    stage.event(&finished("pack", End::Shared, 43.0));
    stage.event(&over(
        Counts {
            total: 420,
            executed: 3,
            cached: 401,
            failed: 1,
            skipped: 15,
        },
        43.0,
    ));
    assert_snapshot!(stage.screen(), @"
    ✓ tokens  12 s
    ↻ fetch[squad]  connection reset; next try in 4 s
    ✓ pretrain  43 s
    ✓ count  43 s
    ✗ fetch[squad]  failed after 43 s
    ✓ pack  made by another runner, waited 43 s
    failed: 420 stages, 3 executed, 401 cached, 1 failed, 15 skipped in 43 s
    ");
    stage.view = None;
    assert!(stage.kept.take().len() < 40, "nothing is left to take away");
}

#[test]
fn never_more_lines_than_the_terminal_has() {
    for rows in 1..30 {
        let mut stage = Stage::new(60, rows);
        stage.event(&begun(100));
        for index in 0..25 {
            stage.event(&started(&format!("train[seed={index}]"), None));
        }
        for second in 0..5 {
            stage.pass(f64::from(second));
        }
        let screen = stage.screen();
        assert!(screen.lines().count() <= rows, "{rows} rows:\n{screen}");
        assert_eq!(screen.matches("running, 75 left").count(), 1, "{screen}");
        let scrolled = {
            stage.screen.screen_mut().set_scrollback(usize::MAX);
            stage.screen.screen().scrollback()
        };
        assert_eq!(scrolled, 0, "{rows} rows: nothing may scroll away");
    }
    let mut stage = Stage::new(60, 6);
    stage.event(&begun(100));
    for index in 0..25 {
        stage.event(&started(&format!("train[seed={index}]"), None));
    }
    stage.pass(1.0);
    assert_snapshot!(stage.screen(), @"
    train[seed=0]        1 s
    train[seed=1]        1 s
    train[seed=2]        1 s
    … and 22 more running
    paper  0 cached, 0 done, 25 running, 75 left  1 s
    ");
}

#[test]
fn long_names_are_cut_in_the_middle_and_narrow_terminals_on_the_right() {
    let mut stage = Stage::new(48, 6);
    stage.event(&begun(3));
    stage.event(&started(
        "finetune[task=ncbi-disease,learning_rate=0.0005,seed=11]",
        None,
    ));
    for second in 0..20 {
        stage.event(&progressed(
            "finetune[task=ncbi-disease,learning_rate=0.0005,seed=11]",
            second * 5,
            Some(1000),
            "step",
        ));
        stage.pass(1.0);
    }
    assert_snapshot!(stage.screen(), @"
    finetun…eed=11]       20 s    9 %
    paper  0 cached, 0 done, 1 running, 2 left
    ");
}

#[test]
fn a_terminal_that_changes_its_size_is_followed() {
    let mut stage = Stage::new(100, 20);
    stage.event(&begun(10));
    for index in 0..8 {
        stage.event(&started(&format!("train[seed={index}]"), None));
    }
    stage.pass(1.0);
    stage.screen();
    stage.size.set(Size {
        columns: 50,
        rows: 5,
    });
    stage.pass(1.0);
    let text = String::from_utf8(stage.kept.take()).expect("UTF-8");
    assert!(text.contains("6 more running"), "{text}");
    let widths = text.split("\r\n").map(|line| {
        let line = anstream::adapter::strip_str(line).to_string();
        format::width(line.trim_start_matches('\r'))
    });
    assert!(widths.max().expect("lines") < 50, "{text}");
}

#[test]
fn in_the_background_there_are_only_lines() {
    let (kept, clock) = (Kept::default(), Rc::new(HandClock::default()));
    let in_front = Rc::new(Cell::new(true));
    let told = Rc::clone(&in_front);
    let mut view = Live::new(kept.clone(), Rc::clone(&clock), Look::PLAIN, move || {
        told.get().then_some(Size {
            columns: 80,
            rows: 24,
        })
    });
    view.event(&begun(3));
    view.event(&started("a", None));
    clock.advance(1.0);
    view.tick();
    assert!(!kept.take().is_empty());
    in_front.set(false);
    for _ in 0..10 {
        clock.advance(1.0);
        view.tick();
    }
    assert!(kept.take().is_empty());
    view.event(&finished("a", End::Executed, 11.0));
    clock.advance(1.0);
    view.tick();
    assert_eq!(kept.take(), b"+ a  11 s\n");
    in_front.set(true);
    view.event(&started("b", None));
    clock.advance(1.0);
    view.tick();
    let text = String::from_utf8(kept.take()).expect("UTF-8");
    assert!(text.contains("1 running"), "{text}");
}

#[test]
fn an_unchanged_picture_is_not_drawn_again() {
    let mut stage = Stage::new(80, 10);
    stage.event(&begun(2));
    stage.event(&started("a", None));
    stage.pass(0.2);
    stage.kept.take();
    let mut writes = 0;
    for _ in 0..100 {
        stage.pass(0.05);
        writes += usize::from(!stage.kept.take().is_empty());
    }
    assert!(writes <= 6, "{writes} redraws in five quiet seconds");
}

#[test]
fn ten_redraws_a_second_at_most() {
    let mut stage = Stage::new(80, 10);
    stage.event(&begun(100_000));
    stage.event(&started("a", None));
    let mut writes = 0;
    for done in 0..2000 {
        stage.event(&progressed("a", done * 1000, Some(2_000_000), "B"));
        stage.event(&finished("b", End::Executed, 0.1));
        stage.pass(0.001);
        writes += usize::from(!stage.kept.take().is_empty());
    }
    assert!(writes <= 21, "{writes} redraws in two seconds");
}

#[test]
fn ten_thousand_cached_stages_write_one_line() {
    let mut stage = Stage::new(80, 24);
    stage.event(&begun(10_000));
    for index in 0..10_000 {
        stage.event(&cached(&format!("s{index}")));
    }
    assert!(stage.kept.take().is_empty());
    stage.event(&over(
        Counts {
            total: 10_000,
            cached: 10_000,
            ..Counts::default()
        },
        0.018,
    ));
    assert_snapshot!(stage.screen(), @"
    done: 10,000 stages, 0 executed, 10,000 cached in 18 ms
    ");
}

#[test]
fn warnings_and_errors_stand_above_and_errors_come_back() {
    let mut stage = Stage::new(80, 40);
    stage.event(&begun(3));
    stage.event(&started("a", None));
    stage.event(&started("b", None));
    stage.event(&Event::Message {
        stage: Some("b".into()),
        diagnostic: Diagnostic::warning("store::corrupt", "object `3f9c2ab410` is damaged"),
    });
    stage.event(&failure("a"));
    stage.event(&finished("a", End::Failed, 1.0));
    stage.pass(1.0);
    assert_snapshot!(stage.screen(), @"
    store::corrupt
      ⚠ object `3f9c2ab410` is damaged

    run::failed
      × stage `a` failed with exit code 2
        its last lines:
          ValueError: bad row
      help: `pipeline log p.yaml a` shows all of it

    ✗ a  failed after 1 s
      b               1 s
      paper  0 cached, 0 done, 1 failed, 1 running, 1 left  1 s
    ");
    stage.event(&finished("b", End::Executed, 2.0));
    stage.event(&over(
        Counts {
            total: 3,
            executed: 1,
            failed: 1,
            skipped: 1,
            cached: 0,
        },
        2.0,
    ));
    assert_snapshot!(stage.screen(), @"
    store::corrupt
      ⚠ object `3f9c2ab410` is damaged

    run::failed
      × stage `a` failed with exit code 2
        its last lines:
          ValueError: bad row
      help: `pipeline log p.yaml a` shows all of it

    ✗ a  failed after 1 s
    ✓ b  2 s

    what failed, once more (1):

    run::failed
      × stage `a` failed with exit code 2
        its last lines:
          ValueError: bad row
      help: `pipeline log p.yaml a` shows all of it

    failed: 3 stages, 1 executed, 0 cached, 1 failed, 1 skipped in 2 s
    ");
}

#[test]
fn a_dropped_view_takes_its_lines_away_and_keeps_what_was_printed() {
    let mut stage = Stage::new(80, 10);
    stage.event(&begun(3));
    stage.event(&started("a", None));
    stage.pass(1.0);
    stage.event(&finished("b", End::Executed, 2.0));
    stage.view = None;
    assert_eq!(stage.screen(), "✓ b  2 s\n");
    let (row, column) = stage.screen.screen().cursor_position();
    assert_eq!((row, column), (1, 0));
    assert!(!stage.screen.screen().hide_cursor());
}

#[test]
fn ascii_and_colour() {
    let mut stage = Stage::with_look(
        100,
        10,
        Look {
            colour: true,
            ..Look::PLAIN
        },
    );
    stage.event(&begun(3));
    stage.event(&started("a", None));
    for second in 0..5 {
        stage.event(&progressed("a", second * 100, Some(1000), "step"));
        stage.pass(1.0);
    }
    stage.event(&finished("b", End::Executed, 2.0));
    stage.pass(1.0);
    let bytes = stage.kept.take();
    assert!(bytes.is_ascii());
    assert!(bytes.windows(5).any(|part| part == b"\x1b[32m"));
    stage.screen.process(&bytes);
    assert_snapshot!(stage.screen(), @"
    + b  2 s
      a               6 s  ======----------   40 %  4 s left  step 400 of 1,000  100 step/s
      paper  0 cached, 1 done, 1 running, 1 left  6 s
    ");
}
