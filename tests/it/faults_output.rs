//! Outputs that are missing, empty, special, unreadable, or oddly named. Knows nothing of how stages run.

use std::os::unix::ffi::OsStrExt as _;

use crate::space::{Space, files_below};

fn one(script: &str) -> Space {
    Space::with(&format!(
        "stages:\n  it:\n    kind: command\n    with:\n      script: |\n        {}\n    outputs: {{ out: out }}\n  reads:\n    kind: command\n    needs: {{ in: it }}\n    with: {{ argv: [cp, -r, in, copy] }}\n    outputs: {{ copy: copy }}\n",
        script.replace('\n', "\n        ")
    ))
}

#[track_caller]
fn refused(script: &str, message: &str) -> Space {
    let space = one(script);
    let ran = space
        .run(&["--json"])
        .exits(1)
        .says(message)
        .says("folder kept");
    assert_eq!(ran.counts(), [2, 0, 0, 1, 1]);
    assert!(space.records().is_empty());
    space
}

#[test]
fn an_output_that_was_not_made_is_named() {
    refused("true", "`it` ended well but did not make `out` at `out`");
    refused("ln -s nowhere out", "did not make `out`");
    refused("ln -s out out", "did not make `out`");
}

#[test]
fn special_files_are_refused_and_not_waited_for() {
    refused("mkfifo out", "is neither a file nor a folder");
    refused(
        "mkdir out; mkfifo out/pipe",
        "is neither a file nor a folder",
    );
    refused("mkdir out; ln -s . out/loop", "links back to");
}

#[test]
fn a_name_that_is_not_text_is_refused() {
    refused(
        "mkdir out; touch \"out/$(printf 'a\\377b')\"",
        "is not UTF-8",
    );
}

#[test]
fn empty_outputs_and_names_with_newlines_are_outputs() {
    let space = one(
        "mkdir out; touch out/empty \"out/$(printf 'two\\nlines')\" 'out/sp ace \"q\"'; mkdir out/hollow",
    );
    space.run(&[]).exits(0);
    space
        .call(&["get", "p.yaml", "reads", "--to", "got"])
        .exits(0);
    let copy = space.path("got/copy");
    assert_eq!(
        crate::space::names_in(&copy),
        ["empty", "hollow", "sp ace \"q\"", "two\nlines"]
    );
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
    let space = one(": > out");
    space.run(&[]).exits(0);
}

#[test]
fn a_link_out_of_the_folder_is_copied_not_moved() {
    let space = one("ln -s ../../../../mine out");
    space.write("mine", "the user's\n");
    space.run(&[]).exits(0);
    assert_eq!(space.read("mine"), "the user's\n");
    space.write("mine", "changed\n");
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert_eq!(space.read("got/out"), "the user's\n");
    // A hard link too: the object must not share its bytes with a file of the user's.
    let space = one("ln ../../../../mine out");
    space.write("mine", "the user's\n");
    space.run(&[]).exits(0);
    space.write("mine", "changed bytes\n");
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert_eq!(space.read("got/out"), "the user's\n");
}

#[test]
fn permissions_do_not_stand_in_the_way() {
    use std::os::unix::fs::PermissionsExt as _;
    let space = one(
        "mkdir out; echo a > out/a; echo b > out/b; chmod 0400 out/b; chmod 0500 out; chmod +x out/a",
    );
    space.run(&[]).exits(0);
    space
        .call(&["get", "p.yaml", "reads", "--to", "got"])
        .exits(0);
    let mode = |name: &str| {
        let metadata = fs_err::metadata(space.path(name)).expect("there");
        metadata.permissions().mode() & 0o100
    };
    assert_eq!((mode("got/copy/a"), mode("got/copy/b")), (0o100, 0));
    assert_eq!(space.work(), [""; 0]);
    if rustix::process::geteuid().is_root() {
        let space = one("echo secret > out; chmod 0 out");
        space.run(&[]).exits(0);
    }
}

#[test]
fn outputs_within_outputs_are_refused_before_any_work() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    with: { script: 'mkdir d; echo x > d/f' }\n    outputs: { all: d, part: d/f }\n",
    );
    space
        .run(&[])
        .exits(2)
        .says("overlap: `d/f` lies inside `d`");
}

#[test]
fn a_name_of_an_input_that_is_not_text_is_said_before_any_work() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    needs: { in: ./folder }\n    with: { argv: [cp, -r, in, out] }\n    outputs: { out: out }\n",
    );
    space.write("folder/plain", "");
    let odd = space
        .path("folder")
        .join(std::ffi::OsStr::from_bytes(b"a\xffb"));
    fs_err::write(odd, "").expect("written");
    let ran = space.run(&[]).says("is not UTF-8");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[test]
fn what_an_output_links_to_stays_where_it_is() {
    let space = Space::with(
        "stages:
  folder:
    kind: command
    with: { argv: [sh, -c, \"mkdir out; ln -s $PWD/../../../../mine out/linked; ln -s step5 out/best; mkdir out/step5; echo m > out/step5/model\"] }
    outputs: { out: out }
  through:
    kind: command
    with: { argv: [sh, -c, \"ln -s $PWD/../../../../mine d\"] }
    outputs: { out: d/precious.txt }
",
    );
    space.write("mine/precious.txt", "precious\n");
    space.run(&[]).exits(0);
    assert_eq!(space.read("mine/precious.txt"), "precious\n");
    space.write("mine/precious.txt", "mine to change\n");
    space
        .call(&["get", "p.yaml", "folder", "--to", "got"])
        .exits(0);
    assert_eq!(space.read("got/out/linked/precious.txt"), "precious\n");
    assert_eq!(space.read("got/out/best/model"), "m\n");
}

#[test]
fn an_output_that_cannot_be_kept_leaves_the_folder() {
    let space = Space::with(
        "stages:
  it:
    kind: command
    with: { argv: [sh, -c, \"echo work > good; mkdir bad; ln -s ../bad bad/again\"] }
    outputs: { good: good, bad: bad }
",
    );
    space
        .run(&[])
        .exits(1)
        .says("output `bad` of `it` cannot be kept")
        .says("folder kept:");
    let left = files_below(&space.path("cache/work"))
        .into_iter()
        .find(|path| path.ends_with("1/good"))
        .expect("as the stage left it");
    assert_eq!(fs_err::read_to_string(left).expect("readable"), "work\n");
}

#[test]
fn a_fan_in_is_read_anew_when_its_index_changes() {
    let pipeline = |axis: &str| {
        format!(
            "stages:
  score:
    kind: command
    {axis}
    with: {{ argv: [sh, -c, \"echo 1 > s\"] }}
    outputs: {{ s: s }}
  all:
    kind: command
    needs: {{ scores: {{ all: score }} }}
    with: {{ argv: [cp, scores/index.jsonl, index] }}
    outputs: {{ index: index }}
    publish: out
"
        )
    };
    let space = Space::with(&pipeline("matrix: { k: [1, 2] }"));
    space.run(&[]).exits(0);
    let mut seen = vec![space.read("out/index")];
    for axis in [
        "matrix: { k: [2, 1] }",
        "matrix: { k: [\"1\", \"2\"] }",
        "replicate: { k: [1, 2] }",
    ] {
        space.write("p.yaml", pipeline(axis));
        space.run(&[]).exits(0);
        let index = space.read("out/index");
        assert!(!seen.contains(&index), "{axis}: {index}");
        seen.push(index);
    }
}

#[test]
fn a_file_whose_time_was_set_back_is_hashed_again() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    needs: { in: ./in.txt }\n    with: { argv: [cp, in, out] }\n    outputs: { out: out }\n    publish: got\n",
    );
    space.write("in.txt", "aaaa\n");
    let set_back = || {
        let status = std::process::Command::new("touch")
            .args(["-d", "2020-01-01"])
            .arg(space.path("in.txt"))
            .status();
        assert!(status.expect("touch runs").success());
    };
    set_back();
    for _ in 0..2 {
        space.run(&[]).exits(0);
    }
    space.write("in.txt", "bbbb\n");
    set_back();
    space.run(&[]).exits(0);
    assert_eq!(space.read("got/out"), "bbbb\n");
}

#[test]
fn a_pattern_at_the_root_matches_neither_cache_nor_reports() {
    let space = Space::with(
        "stages:
  it:
    kind: command
    needs: { tables: \"./**/*.csv\", all: ./ }
    with: { argv: [sh, -c, \"find tables all -name '*.csv' | sort > out; cp out made.csv\"] }
    outputs: { out: out, made: made.csv }
",
    );
    space.write("data/a.csv", "x,y\n");
    space.write("cache/kept.csv", "x\n");
    space.write("reports/old/tables.csv", "x\n");
    space.run(&[]).exits(0);
    let second = space.run(&["--json"]).exits(0);
    assert_eq!(second.counts(), [1, 0, 1, 0, 0]);
    space
        .call(&["get", "p.yaml", "it.out", "--to", "got"])
        .exits(0);
    assert_eq!(space.read("got/out"), "all/data/a.csv\ntables/data/a.csv\n");
}
