//! Outputs that are missing, empty, special, unreadable, or oddly named. Knows nothing of how stages run.

use std::os::unix::ffi::OsStrExt as _;

use crate::space::Space;

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
