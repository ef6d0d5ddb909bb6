//! `sandbox: strict`: what was not declared is denied, what was is not. Skips visibly where the kernel has no Landlock.

use crate::space::{Space, skip};

fn has_landlock() -> bool {
    let has = fs_err::read_to_string("/sys/kernel/security/lsm")
        .is_ok_and(|list| list.contains("landlock"));
    // Not every system mounts that file system; the kernel then says it by running a sandboxed stage.
    has || strict("echo x > out", "").run(&[]).code == Some(0)
}

fn strict(script: &str, more: &str) -> Space {
    Space::with(&format!(
        "stages:\n  it:\n    kind: command\n    sandbox: strict\n    with:\n      script: |\n        {}\n{more}    outputs: {{ out: out }}\n",
        script.replace('\n', "\n        ")
    ))
}

#[test]
fn what_was_not_declared_is_denied() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let space = strict("echo x > ../../../../outside; echo y > out", "");
    space.run(&[]).exits(1).says("ermission denied");
    assert!(!space.exists("outside"));
    let space = strict("cat ../../../../secret.txt > out", "");
    space.write("secret.txt", "hidden");
    space.run(&[]).exits(1).says("ermission denied");
    let space = strict("rm ../../../../precious; echo y > out", "");
    space.write("precious", "kept");
    space.run(&[]).exits(1);
    assert_eq!(space.read("precious"), "kept");
}

#[test]
fn what_was_declared_works() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let space = strict(
        "cat in.txt > out\nwc -c < big >> out\necho '{\"done\": 1, \"total\": 2}' >> \"$PIPELINE_PROGRESS\"\necho saved > \"$PIPELINE_CHECKPOINT/x\"\necho gone > /dev/null",
        "    needs: { in: {file: ./in.txt, as: in.txt}, big: ./big }\n    checkpoint: { dir: state }\n",
    );
    space.write("in.txt", "given\n");
    fs_err::File::create(space.path("big"))
        .expect("made")
        .set_len(64 << 20)
        .expect("grown");
    space.run(&[]).exits(0);
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert_eq!(space.read("got/out"), "given\n67108864\n");
}

#[test]
fn an_interpreter_with_its_library_works() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let has_python = std::process::Command::new("python3")
        .arg("--version")
        .output();
    if !has_python.is_ok_and(|output| output.status.success()) {
        return skip("there is no python3");
    }
    let space = strict(
        "python3 -c 'import json, ssl, tempfile, random; f = tempfile.TemporaryFile(); f.write(b\"1\"); print(json.dumps([1]))' > out",
        "",
    );
    space.run(&[]).exits(0);
}

#[test]
fn a_program_folder_in_path_does_not_open_what_lies_beside_it() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let space = strict("cat ../../../../secret.txt > out", "");
    space.write("secret.txt", "hidden");
    space.write("tools/readme", "");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = space.command(&["run", "p.yaml"]);
    command.env("PATH", format!("{}:{path}", space.path("tools").display()));
    crate::space::Ran::of(&command.output().expect("runs"))
        .exits(1)
        .says("ermission denied");
}

#[test]
fn a_stage_has_a_temporary_folder_that_goes_with_it() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let space = strict(
        "f=$(mktemp)\nseq 200000 | sort -S 100k -r > \"$f\"\nhead -n 1 \"$f\" > out\nmv \"$f\" moved\ntouch \"$TMPDIR/left\"\necho \"$TMPDIR\" > where",
        "",
    );
    let text = space.read("p.yaml");
    space.write(
        "p.yaml",
        text.replace("out: out", "out: out, moved: moved, where: where"),
    );
    space.run(&[]).exits(0);
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert_eq!(space.read("got/out"), "99999\n");
    space
        .call(&["get", "p.yaml", "it.where", "--to", "got"])
        .exits(0);
    let place = space.read("got/where");
    assert!(
        place.starts_with(&*space.path("cache").to_string_lossy()),
        "{place}"
    );
    assert!(
        place.len() < space.path("cache").as_os_str().len() + 30,
        "{place}"
    );
    assert!(crate::space::names_in(&space.path("cache/tmp")).is_empty());
    // Also when the stage fails.
    let space = strict("touch \"$TMPDIR/left\"; exit 1", "");
    space.run(&[]).exits(1);
    assert!(crate::space::names_in(&space.path("cache/tmp")).is_empty());
}

#[test]
fn devices_carry_nothing_from_one_stage_to_another() {
    if !has_landlock() {
        return skip("this kernel has no Landlock");
    }
    let name = format!("/dev/shm/pipeline-test-{}", std::process::id());
    if fs_err::write(&name, "hidden").is_err() {
        return skip("there is no /dev/shm to write to");
    }
    for script in [
        format!("cat {name} > out"),
        format!("echo x > {name}; echo y > out"),
        format!("echo x > {name}.new && echo y > out"),
        "ls /dev/shm > out".to_owned(),
    ] {
        strict(&script, "")
            .run(&[])
            .exits(1)
            .says("ermission denied");
    }
    assert_eq!(fs_err::read_to_string(&name).expect("there"), "hidden");
    fs_err::remove_file(&name).expect("removed");
    // What programs do expect of `/dev` is there.
    let space = strict(
        "echo x > /dev/null; head -c 4 /dev/zero > z; head -c 4 /dev/urandom > r; head -c 4 /dev/random > r\necho a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/fd/2; cat /dev/stdin; echo d | cat /dev/fd/0 > out\n! echo x > /dev/full",
        "",
    );
    space.run(&[]).exits(0);
}
