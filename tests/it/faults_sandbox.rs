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
