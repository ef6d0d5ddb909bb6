//! `run --trace`: what a command reads against what it declares. Linux only.

#![cfg(target_os = "linux")]

use crate::space::{Ran, Space, skip};

/// The watched run of `stage`; `None`, aloud, where watching is denied.
fn traced(space: &Space, stage: &str, more: &[&str]) -> Option<Ran> {
    let ran = space.run(&[&["--trace", stage], more].concat());
    if ran.stderr.contains("trace::denied") {
        skip("this place lets no program be watched");
        return None;
    }
    Some(ran)
}

fn space(pipeline: &str) -> Space {
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write("p.yaml", pipeline.replace("ROOT", &root));
    space.write("data/declared.txt", "declared\n");
    space.write("data/unused.txt", "unused\n");
    space.write("data/extra.txt", "extra\n");
    space.write("conf.ini", "x = 1\n");
    space
}

const SHELL: &str = "\
stages:
  first:
    kind: command
    with: { script: 'echo made > made.txt' }
    outputs: { made: made.txt }
  read:
    kind: command
    needs:
      made: first
      declared: data/declared.txt
      unused: data/unused.txt
    with:
      script: |
        (sh -c 'cat ROOT/data/extra.txt') > out.txt
        cat declared made >> out.txt
        cat conf.ini 2>/dev/null || cat nowhere.ini 2>/dev/null || true
        echo own > own.txt
        cat own.txt > /dev/null
    outputs: { out: out.txt }
";

#[test]
fn what_is_read_and_not_declared_is_listed_with_the_lines_to_add() {
    let space = space(SHELL);
    let Some(ran) = traced(&space, "read", &[]) else {
        return;
    };
    let ran = ran.exits(0);
    for words in [
        "  data/extra.txt  (read where it lies)",
        "      extra: { file: data/extra.txt, as: data/extra.txt }",
        "  conf.ini  (looked for in the stage's folder, where it is not)",
        "      conf: { file: conf.ini, as: conf.ini }",
        "declared and never read:\n  unused: unused\n",
        "looked for in the stage's folder, and nowhere:\n  nowhere.ini\n",
    ] {
        assert!(
            ran.stdout.contains(words),
            "no `{words}` in\n{}",
            ran.stdout
        );
    }
    for words in ["own.txt", "declared.txt", "/usr", "made"] {
        assert!(!ran.stdout.contains(words), "`{words}` in\n{}", ran.stdout);
    }
    // What it needs was made; of itself nothing is left.
    assert_eq!(space.records().keys().collect::<Vec<_>>(), ["first"]);
    assert_eq!(space.work().len(), 0);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 1, 1, 0, 0]);
    let again = traced(&space, "read", &["--verbose"])
        .expect("as before")
        .exits(0);
    assert!(again.stdout.contains("also read: "), "{}", again.stdout);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
}

/// What is opened for both, as a database is, and what is read and then written, decides a result too; what the stage
/// itself wrote first does not.
#[test]
fn what_is_read_and_then_written_is_listed() {
    let space = space(
        "stages:
  count:
    kind: command
    with:
      script: |
        n=$(cat ROOT/data/counter.txt)
        echo $((n + 1)) > ROOT/data/counter.txt
        exec 3<>ROOT/data/base.db
        cat <&3 > out.txt
        exec 4<>ROOT/data/new.db
        echo made > ROOT/data/made.txt
        cat ROOT/data/made.txt >> out.txt
    outputs: { out: out.txt }
",
    );
    space.write("data/counter.txt", "1\n");
    space.write("data/base.db", "rows\n");
    let Some(ran) = traced(&space, "count", &[]) else {
        return;
    };
    let ran = ran.exits(0);
    for name in ["data/counter.txt", "data/base.db"] {
        let words = format!("  {name}  (read where it lies)");
        assert!(ran.stdout.contains(&words), "{}", ran.stdout);
    }
    for name in ["new.db", "made.txt"] {
        assert!(!ran.stdout.contains(name), "{}", ran.stdout);
    }
}

#[test]
fn a_module_of_the_project_is_found_where_it_lies_and_where_it_lacks() {
    let has_python = std::process::Command::new("python3")
        .arg("--version")
        .output();
    if !has_python.is_ok_and(|output| output.status.success()) {
        return skip("no `python3`");
    }
    let space = space(
        "\
stages:
  where-it-lies:
    kind: command
    with: { argv: [python3, ROOT/src/main.py] }
  placed:
    kind: command
    needs: { main: { file: src/main.py, as: src/main.py } }
    with: { argv: [python3, src/main.py] }
",
    );
    space.write("src/main.py", "import helper\nprint(helper.x)\n");
    space.write("src/helper.py", "x = 1\n");
    let Some(ran) = traced(&space, "where-it-lies", &[]) else {
        return;
    };
    let ran = ran.exits(0);
    for words in [
        "      helper: { file: src/helper.py, as: src/helper.py }",
        "      main: { file: src/main.py, as: src/main.py }",
    ] {
        assert!(
            ran.stdout.contains(words),
            "no `{words}` in\n{}",
            ran.stdout
        );
    }
    let ran = traced(&space, "placed", &[]).expect("as before").exits(1);
    let line = "      helper: { file: src/helper.py, as: src/helper.py }";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    ran.says("No module named 'helper'").says("`placed` failed");
}

#[test]
fn threads_signals_and_exit_codes_come_through() {
    let space = space(
        "\
stages:
  fails: { kind: command, with: { argv: [sh, -c, 'exit 7'] } }
  killed: { kind: command, with: { argv: [sh, -c, 'kill -9 $$'] } }
  caught: { kind: command, with: { script: \"trap 'exit 0' USR1; kill -USR1 $$; exit 1\" } }
  leaves: { kind: command, with: { script: '(exec tail -f /dev/null) & :' } }
  absent: { kind: command, with: { argv: [no-such-program-here, x] } }
",
    );
    let Some(ran) = traced(&space, "fails", &[]) else {
        return;
    };
    ran.exits(1);
    for (stage, code) in [("killed", 1), ("caught", 0), ("leaves", 0), ("absent", 1)] {
        let ran = traced(&space, stage, &[]).expect("as before");
        assert_eq!(ran.code, Some(code), "{stage}: {}", ran.stderr);
    }
    assert!(space.records().is_empty());
}

/// Timers, runtimes and libraries of threads send them; `nix` knows no signal above 31.
#[test]
fn real_time_signals_reach_whom_they_are_for() {
    let space = space(
        "\
stages:
  handles:
    kind: command
    with:
      script: |
        trap 'cat ROOT/data/extra.txt > out.txt' 40
        kill -40 $$
        cat ROOT/conf.ini >> out.txt
    outputs: { out: out.txt }
  ended: { kind: command, with: { argv: [sh, -c, 'cat ROOT/conf.ini; kill -40 $$; cat ROOT/data/extra.txt'] } }
",
    );
    let Some(ran) = traced(&space, "handles", &[]) else {
        return;
    };
    let ran = ran.exits(0);
    for name in ["data/extra.txt", "conf.ini"] {
        let words = format!("  {name}  (read where it lies)");
        assert!(ran.stdout.contains(&words), "{name}: {}", ran.stdout);
    }
    // One that nobody handles ends the program, and what it had read by then is listed.
    let ran = traced(&space, "ended", &[]).expect("as before").exits(1);
    assert!(ran.stdout.contains("  conf.ini  ("), "{}", ran.stdout);
    assert!(!ran.stdout.contains("extra.txt"), "{}", ran.stdout);
}

#[test]
fn a_built_in_kind_is_refused() {
    let space = space("stages:\n  get: { kind: fetch, with: { url: 'https://example.org/x' } }\n");
    let ran = space.run(&["--trace", "get"]);
    ran.exits(1).says("`get` is of kind `fetch`");
    // What it has no answer to is refused, not passed over.
    for word in ["--json", "--cooperate"] {
        let ran = space.run(&["--trace", "get", word]);
        ran.exits(2).says("cannot be used with");
    }
}
