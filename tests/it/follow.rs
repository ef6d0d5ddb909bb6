//! `status --follow`: a run of another process, followed from its files. Knows nothing of how it is drawn.

use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::processes::signal;
use crate::space::{Ran, Space, wait_until};

/// `first`, then `waits` until the file `go` is there, then `last`, which does what `last` says.
pub(crate) fn waiting(last: &str) -> Space {
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write(
        "p.yaml",
        format!(
            "stages:
  first:
    kind: command
    with: {{ script: 'echo 1 > out' }}
    outputs: {{ out: out }}
  waits:
    kind: command
    needs: {{ first: first }}
    with: {{ script: 'echo begun; touch {root}/begun; while [ ! -e {root}/go ]; do sleep 0.01; done; echo 2 > out' }}
    outputs: {{ out: out }}
  last:
    kind: command
    needs: {{ waits: waits }}
    with: {{ script: '{last}' }}
    outputs: {{ out: out }}
"
        ),
    );
    space
}

/// A command of the program at work; killed with the test.
pub(crate) struct AtWork(pub(crate) Option<Child>);

impl AtWork {
    pub(crate) fn start(space: &Space, arguments: &[&str], errors: &str) -> Self {
        let file = fs_err::File::create(space.path(errors)).expect("a file");
        let child = space
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(file.into_parts().0)
            .spawn()
            .expect("starts");
        Self(Some(child))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not ended")
    }

    fn pid(&mut self) -> i32 {
        i32::try_from(self.child().id()).expect("a process number")
    }

    fn ends(mut self) -> Ran {
        let child = self.0.take().expect("not ended");
        Ran::of(&child.wait_with_output().expect("ends"))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn follow(space: &Space, more: &[&str]) -> AtWork {
    AtWork::start(
        space,
        &[&["status", "p.yaml", "--follow"], more].concat(),
        "followed",
    )
}

fn says(space: &Space, file: &str, text: &str) {
    wait_until(text, || {
        space.exists(file) && space.read(file).contains(text)
    });
}

fn begin(space: &Space) -> AtWork {
    let run = AtWork::start(space, &["run", "p.yaml", "-j", "1"], "ran");
    wait_until("the run", || space.exists("begun"));
    run
}

#[test]
fn a_run_is_followed_to_its_end() {
    let space = waiting("echo 3 > out");
    let run = begin(&space);
    let followed = follow(&space, &["--json"]);
    says(&space, "followed", "started waits: new");
    assert!(space.read("followed").contains("done first in"));
    space.write("go", "");
    let followed = followed.ends().exits(0);
    assert_eq!(followed.counts(), [3, 3, 0, 0, 0]);
    run.ends().exits(0);
    let text = space.read("followed");
    assert!(text.contains("done last in"), "{text}");
    assert!(
        text.contains("done: 3 stages, 3 executed, 0 cached in"),
        "{text}"
    );
    // Both tell the same, but for how far stages were when somebody looked.
    let told = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains(" %"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(told(&space.read("ran")), told(&text));
    assert!(
        !space
            .path("cache/runs-v1")
            .read_dir()
            .expect("there")
            .any(|entry| {
                let path = entry.expect("an entry").path();
                path.extension().is_some_and(|ending| ending == "now")
            })
    );
}

#[test]
fn the_end_of_a_run_is_the_end_of_following_it() {
    let space = waiting("exit 3");
    let run = begin(&space);
    let followed = follow(&space, &[]);
    says(&space, "followed", "started waits");
    space.write("go", "");
    followed.ends().exits(1);
    run.ends().exits(1);
    assert!(
        space
            .read("followed")
            .contains("failed: 3 stages, 2 executed, 0 cached, 1 failed")
    );
    // A run that is over is told again, with the same end.
    let runs = crate::space::names_in(&space.path("cache/runs-v1"));
    let id = runs
        .iter()
        .find_map(|name| name.strip_suffix(".jsonl"))
        .expect("a run");
    space
        .call(&["status", "p.yaml", "--follow", "--run", id])
        .exits(1)
        .says("1 failed");
    let unknown = ["status", "p.yaml", "--follow", "--run", "../../p"];
    space
        .call(&unknown)
        .exits(2)
        .says("there is no run `../../p`");
}

#[test]
fn an_interrupted_run_is_told_as_such() {
    let space = waiting("echo 3 > out");
    let mut run = begin(&space);
    let followed = follow(&space, &[]);
    says(&space, "followed", "started waits");
    signal(run.pid(), Signal::INT);
    run.ends().exits(130);
    followed.ends().exits(130);
    assert!(space.read("followed").contains("interrupted by SIGINT"));
}

#[test]
fn a_killed_run_is_told_as_such() {
    let space = waiting("echo 3 > out");
    let mut run = begin(&space);
    let followed = follow(&space, &[]);
    says(&space, "followed", "started waits");
    signal(run.pid(), Signal::KILL);
    followed.ends().exits(3);
    let text = space.read("followed");
    assert!(
        text.contains("run::vanished") && text.contains("was killed"),
        "{text}"
    );
    // Also for who comes later, as long as no other run began.
    space
        .call(&["status", "p.yaml", "--follow"])
        .exits(3)
        .says("was killed");
    // The run is still to be waited for by its parent, this test: dead, but with a process number.
    drop(run);
}

#[test]
fn a_run_that_starts_later_is_waited_for() {
    let space = waiting("echo 3 > out");
    let followed = follow(&space, &[]);
    says(
        &space,
        "followed",
        "no run of p.yaml is going on; waiting for one to begin",
    );
    assert!(!space.exists("cache"), "looking makes no cache");
    let run = begin(&space);
    says(&space, "followed", "started waits");
    space.write("go", "");
    followed.ends().exits(0);
    run.ends().exits(0);
}

#[test]
fn an_event_file_is_followed_too() {
    let space = waiting("echo 3 > out");
    let run = AtWork::start(&space, &["run", "p.yaml", "--events", "events"], "ran");
    let followed = follow(&space, &["--events", "events"]);
    says(&space, "followed", "started waits");
    // Another cache is not looked at, so what is told comes from the file.
    space.write("go", "");
    followed.ends().exits(0);
    run.ends().exits(0);
    assert!(
        space
            .read("followed")
            .contains("done: 3 stages, 3 executed")
    );
}
