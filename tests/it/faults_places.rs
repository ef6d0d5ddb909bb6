//! Odd places: spaces, newlines, names that are not text, links, folders that move, bytes that went missing.

use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use crate::space::{Ran, Space, wait_until};

const PIPELINE: &str = "stages:
  makes:
    kind: command
    needs: { text: ./words.txt }
    with: { script: 'echo made >> \"$(dirname \"$(dirname \"$(dirname \"$(dirname \"$PWD\")\")\")\")/ran\"; cat text text > out' }
    outputs: { out: out }
    publish: results/
  after:
    kind: command
    needs: { in: makes }
    with: { argv: [cp, in, out] }
    outputs: { out: out }
";

fn fill(space: &Space) {
    space.write("p.yaml", PIPELINE);
    space.write("words.txt", "words\n");
}

#[test]
fn spaces_quotes_and_newlines_in_the_path_change_nothing() {
    let top = Space::new();
    for name in [
        "with space",
        "quote ' and \"",
        "new\nline",
        "dollar $HOME",
        "-dash",
        "ünï→",
    ] {
        let space = Space::at(&top.path(name));
        fill(&space);
        assert_eq!(
            space.run(&["--json"]).exits(0).counts(),
            [2, 2, 0, 0, 0],
            "{name:?}"
        );
        assert_eq!(
            space.run(&["--json"]).exits(0).counts(),
            [2, 0, 2, 0, 0],
            "{name:?}"
        );
        assert_eq!(space.read("results/out"), "words\nwords\n", "{name:?}");
        assert_eq!(space.work(), [""; 0]);
    }
}

#[test]
fn a_path_that_is_not_text_is_refused_at_once() {
    let top = Space::new();
    let odd = top.root().join(std::ffi::OsStr::from_bytes(b"a\xffb"));
    let space = Space::at(&odd);
    fill(&space);
    space
        .run(&[])
        .exits(2)
        .says("is not UTF-8")
        .says("rename the folder");
    fill(&top);
    let cache = odd.join("cache");
    let arguments = [
        "run".as_ref(),
        "p.yaml".as_ref(),
        "--cache".as_ref(),
        cache.as_os_str(),
    ];
    let mut command = top.command(&arguments);
    Ran::of(&command.output().expect("runs"))
        .exits(2)
        .says("is not UTF-8");
}

#[test]
fn a_project_that_moves_is_still_cached_and_may_still_publish() {
    let top = Space::new();
    let space = Space::at(&top.path("here"));
    fill(&space);
    space.run(&[]).exits(0);
    fs_err::rename(top.path("here"), top.path("there")).expect("moved");
    let space = Space::at(&top.path("there"));
    let ran = space.run(&["--json"]).exits(0).says_not("warning");
    assert_eq!(ran.counts(), [2, 0, 2, 0, 0]);
    fs_err::rename(top.path("there"), top.path("elsewhere")).expect("moved");
    let space = Space::at(&top.path("elsewhere"));
    space.write("words.txt", "other\n");
    space
        .run(&[])
        .exits(0)
        .says_not("was not written by this program");
    assert_eq!(space.read("results/out"), "other\nother\n");
}

#[test]
fn a_root_reached_through_a_link_is_the_same_project() {
    let top = Space::new();
    let space = Space::at(&top.path("real"));
    fill(&space);
    space.write(
        "p.yaml",
        PIPELINE.replace(
            "cat text text > out",
            "cat text text > out; head -c 70000000 /dev/zero >> out",
        ),
    );
    fs_err::os::unix::fs::symlink(space.root(), top.path("link")).expect("linked");
    let linked = Space::at(&top.path("link"));
    assert_eq!(linked.run(&["--json"]).exits(0).counts(), [2, 2, 0, 0, 0]);
    for project in [&space, &linked] {
        let ran = project.run(&["--json"]).exits(0).says_not("not written");
        assert_eq!(ran.counts(), [2, 0, 2, 0, 0]);
    }
    linked.write("words.txt", "other\n");
    linked.run(&[]).exits(0).says_not("not written");
    let published = fs_err::read(space.path("results/out")).expect("published");
    assert!(published.starts_with(b"other\nother\n\0"));
}

#[test]
fn a_file_of_the_users_is_never_published_over() {
    let space = Space::new();
    fill(&space);
    space.write("results/out", "mine\n");
    space
        .run(&[])
        .exits(0)
        .says("was not written by this program");
    assert_eq!(space.read("results/out"), "mine\n");
    fs_err::remove_file(space.path("results/out")).expect("removed");
    space.run(&[]).exits(0);
    assert_eq!(space.read("results/out"), "words\nwords\n");
    space.write("results/out", "edited\n");
    space.write("words.txt", "other\n");
    space.run(&[]).exits(0).says("was changed since");
    assert_eq!(space.read("results/out"), "edited\n");
    assert_eq!(crate::space::names_in(&space.path("results")), ["out"]);
}

#[test]
fn folders_of_the_cache_that_went_missing_are_made_again() {
    let space = Space::new();
    fill(&space);
    for gone in [
        "tmp",
        "work",
        "runs-v1",
        "plans-v1",
        "quarantine",
        "objects-v1",
        "records-v1/index",
    ] {
        space.run(&[]).exits(0);
        let path = space.path("cache").join(gone);
        if path.is_dir() {
            fs_err::remove_dir_all(&path).expect("removed");
        } else {
            fs_err::remove_file(&path).expect("removed");
        }
        let ran = space.run(&["--json", "--force", "after"]).exits(0);
        assert_eq!(ran.counts()[3..], [0, 0], "{gone}");
    }
}

#[test]
fn damaged_and_missing_objects_are_remade_only_when_read() {
    let space = Space::new();
    fill(&space);
    space.run(&[]).exits(0);
    let makes = space.records()["makes"]["outputs"]["out"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let object = space
        .path("cache/objects-v1")
        .join(&makes[..2])
        .join(&makes[2..]);
    let whole = b"words\nwords\n".as_slice();
    let flipped = b"wosds\nwords\n".as_slice();
    let damages = [
        ("truncated", &whole[..3]),
        ("flipped", flipped),
        ("empty", b""),
    ];
    for (what, damage) in damages {
        assert_eq!(fs_err::read(&object).expect("there"), whole);
        fs_err::remove_file(&object).expect("removed");
        fs_err::write(&object, damage).expect("damaged");
        assert_eq!(
            space.run(&["--json"]).exits(0).counts(),
            [2, 0, 2, 0, 0],
            "{what}: a hit needs no bytes"
        );
        let before = space.lines("ran").len();
        let ran = space.run(&["--json", "--force", "after"]).exits(0);
        assert_eq!(ran.counts(), [2, 2, 0, 0, 0], "{what}: {}", ran.stderr);
        assert_eq!(space.lines("ran").len(), before + 1);
        space
            .call(&["get", "p.yaml", "after", "--to", what])
            .exits(0);
        assert_eq!(space.read(&format!("{what}/out")), "words\nwords\n");
    }
    fs_err::remove_file(&object).expect("removed");
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
    let ran = space.run(&["--json", "--force", "after"]).exits(0);
    assert_eq!(ran.counts(), [2, 2, 0, 0, 0]);
}

#[test]
fn a_run_goes_on_when_its_program_is_removed() {
    // Rebuilding the program while it runs removes the file it was started from.
    let space = Space::new();
    let root = space.root().display().to_string();
    let after = |name: &str, more: &str| {
        format!(
            "  {name}:\n    kind: command\n{more}    needs: {{ in: one }}\n    with: {{ argv: [cp, in, out] }}\n    outputs: {{ out: out }}\n"
        )
    };
    space.write("p.yaml", format!("stages:\n  one:\n    kind: command\n    with: {{ script: 'touch {root}/started; while [ ! -e {root}/go ]; do sleep 0.01; done; echo x > out' }}\n    outputs: {{ out: out }}\n{}{}", after("two", ""), after("three", "    sandbox: strict\n")));
    let program = space.path("pipeline-copy");
    fs_err::copy(env!("CARGO_BIN_EXE_pipeline"), &program).expect("copied");
    let child = Command::new(&program)
        .args(["run", "p.yaml", "-j", "2"])
        .current_dir(space.root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("a stage runs", || space.exists("started"));
    fs_err::remove_file(&program).expect("removed");
    space.write("go", "");
    Ran::of(&child.wait_with_output().expect("ends")).exits(0);
}

#[test]
fn looking_needs_no_writable_cache() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    needs: { in: ./in.txt }\n    with: { argv: [cp, in, out] }\n    outputs: { out: out }\n",
    );
    space.write("in.txt", "x\n");
    // Nobody, not even root, makes a folder there.
    let nowhere = "/sys/no-cache-of-a-test";
    for command in ["check", "plan", "status", "graph"] {
        space
            .call(&[command, "p.yaml", "--cache", nowhere])
            .exits(0);
    }
    space
        .run(&["--cache", nowhere])
        .exits(3)
        .says("cannot be used")
        .says("`--cache`");
}
