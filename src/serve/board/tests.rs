//! Boards of a few stages and the lines of made-up logs.

use flow::event::{Counts, End, Event};
use flow::run::watch::{Line, Seen};

use super::events::{LONGEST_NAME, MOST_STRANGERS};
use super::*;

fn board(stages: &[&str]) -> Board {
    let mut board = Board::default();
    for name in stages {
        let group = name.split('[').next().unwrap_or(name);
        board.add(name, group, "command");
    }
    board
}

fn event(board: &mut Board, seconds: i128, event: Event) {
    let time_ns = Some(seconds * 1_000_000_000);
    let line = Line::Event(Box::new(event));
    board.take(&Seen { time_ns, line });
}

fn started(stage: &str) -> Event {
    Event::StageStarted {
        stage: stage.into(),
        key: Digest::ZERO,
        because: "new".into(),
        attempt: 1,
        expected_seconds: None,
    }
}

fn finished(stage: &str, end: End, seconds: f64) -> Event {
    Event::StageFinished {
        stage: stage.into(),
        end,
        seconds,
        key: None,
    }
}

#[test]
fn a_damaged_log_adds_so_many_stages_and_no_more() {
    let mut board = board(&["a"]);
    let names = (0..MOST_STRANGERS + 5).map(|i| format!("x{i}"));
    let line = Line::Cached(names.chain(["a".to_owned()]).collect());
    let time_ns = None;
    board.take(&Seen { time_ns, line });
    assert_eq!(board.cells.len(), 1 + MOST_STRANGERS);
    assert_eq!(board.count(State::Cached), 1 + MOST_STRANGERS);
    event(&mut board, 1, started("one too many"));
    event(&mut board, 1, started("a"));
    assert_eq!(board.in_state(State::Running).collect::<Vec<_>>(), [0]);
    let mut other = Board::default();
    event(&mut other, 1, started(&"long".repeat(LONGEST_NAME)));
    assert!(other.cells.is_empty());
}

#[test]
fn time_left_is_what_the_like_took_shared_among_those_at_work() {
    let mut board = board(&["a[1]", "a[2]", "a[3]", "a[4]", "b"]);
    event(&mut board, 100, started("a[1]"));
    assert_eq!(board.seconds_left(105.0), None, "nothing is known yet");
    event(&mut board, 110, finished("a[1]", End::Executed, 10.0));
    event(&mut board, 110, started("a[2]"));
    event(&mut board, 110, started("a[3]"));
    // 6 s of each of two at work and 10 s of one to come, two at once; `b` is unknown.
    assert_eq!(board.seconds_left(114.0), Some((11.0, false)));
    board.cells[4].past_seconds = Some(30.0);
    assert_eq!(
        board.seconds_left(114.0),
        Some((30.0, true)),
        "no less than the longest"
    );
}

#[test]
fn what_a_run_did_not_reach_is_skipped() {
    let mut board = board(&["a", "b", "c", "d"]);
    let head = Head {
        whole: true,
        ..Head::default()
    };
    let line = Line::Head(head);
    board.take(&Seen {
        time_ns: None,
        line,
    });
    let line = Line::Cached(vec!["a".into()]);
    board.take(&Seen {
        time_ns: None,
        line,
    });
    event(&mut board, 1, started("b"));
    event(&mut board, 2, finished("b", End::Failed, 1.0));
    let counts = Counts {
        total: 4,
        failed: 1,
        skipped: 1,
        ..Counts::default()
    };
    let over = Event::RunFinished {
        counts,
        wall_seconds: 2.0,
        reports: Vec::new(),
        interrupted: None,
    };
    event(&mut board, 2, over);
    let keys = BTreeMap::from([
        ("a".to_owned(), Digest::ZERO),
        ("d".to_owned(), Digest::ZERO),
    ]);
    let line = Line::Keys(keys);
    board.take(&Seen {
        time_ns: None,
        line,
    });
    let states: Vec<&str> = board.cells.iter().map(|cell| cell.state.word()).collect();
    assert_eq!(states, ["cached", "failed", "skipped", "cached"]);
}
