//! Objects that are gone, damaged, or written to by stages: a miss said aloud and made again, never a wrong result.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::space::{Space, files_below};

/// Each stage notes in `ran` that it worked. `BYTES` is what `one` makes.
fn chain(bytes: &str) -> Space {
    Space::with(&format!(
        "params: {{ n: 1 }}
stages:
  one:
    kind: command
    with: {{ argv: [sh, -c, 'echo one >> ../../../../ran; {bytes} > out'] }}
    outputs: {{ out: out }}
  aside:
    kind: command
    needs: {{ in: one }}
    with: {{ argv: [sh, -c, 'echo aside >> ../../../../ran; wc -c < in > out'] }}
    outputs: {{ out: out }}
  two:
    kind: command
    needs: {{ in: one }}
    with: {{ argv: [sh, -c, 'echo two >> ../../../../ran; cksum < in > out'] }}
    outputs: {{ out: out }}
  three:
    kind: command
    needs: {{ in: two }}
    with: {{ argv: [sh, -c, 'echo three >> ../../../../ran; cat in params.json > out'], params: {{ n: '${{params.n}}' }} }}
    outputs: {{ out: out }}
"
    ))
}

const SMALL: &str = "echo something small";
/// Beyond the size from which objects are linked, not copied.
const LARGE: &str = "yes something large | head -c 3000000";

fn object(space: &Space, stage: &str) -> PathBuf {
    let printed = space.call(&["path", "p.yaml", stage]).exits(0).stdout;
    PathBuf::from(printed.trim())
}

/// What ran since the last look.
fn ran(space: &Space) -> Vec<String> {
    let mut lines = space.lines("ran");
    lines.sort();
    space.write("ran", "");
    lines
}

#[test]
fn of_deleted_objects_only_what_is_read_is_made_again_and_the_plan_says_so() {
    let space = chain(SMALL);
    space.run(&[]).exits(0);
    ran(&space);
    let right = fs_err::read(object(&space, "two")).expect("an object");
    for file in files_below(&space.path("cache/objects-v1")) {
        fs_err::remove_file(file).expect("removes");
    }
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [4, 0, 4, 0, 0]);
    let plan = space
        .call(&["plan", "p.yaml", "--json", "--set", "n=2"])
        .exits(0)
        .stdout;
    let rows: Vec<Value> = serde_json::from_str(&plan).expect("JSON");
    let row = |stage: &str| {
        rows.iter()
            .find(|row| row["stage"] == stage)
            .expect("a row")
    };
    assert_eq!(row("aside")["state"], "cached");
    assert_eq!(row("three")["state"], "will_run");
    assert_eq!(
        row("two")["because"],
        "`three` needs its output `out`, which is not in the cache"
    );
    assert_eq!(
        row("one")["because"],
        "`two` needs its output `out`, which is not in the cache"
    );
    assert_eq!(
        space.run(&["--json", "--set", "n=2"]).exits(0).counts(),
        [4, 3, 1, 0, 0]
    );
    assert_eq!(ran(&space), ["one", "three", "two"]);
    assert_eq!(
        fs_err::read(object(&space, "two")).expect("an object"),
        right
    );
    // What is there is not made again: now only the last stage differs.
    space.run(&["--set", "n=3"]).exits(0);
    assert_eq!(ran(&space), ["three"]);
}

/// Damages the object of `one`, then has something new read it.
#[track_caller]
fn remakes(bytes: &str, damage: impl Fn(&mut Vec<u8>)) {
    let space = chain(bytes);
    space.run(&[]).exits(0);
    ran(&space);
    let (two, path) = (object(&space, "two"), object(&space, "one"));
    let right = fs_err::read(&path).expect("an object");
    let sum = fs_err::read(&two).expect("an object");
    let mut wrong = right.clone();
    damage(&mut wrong);
    // In place, as a failing disk or a careless script does it.
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    fs_err::write(&path, wrong).expect("damages");
    // `two` is gone, so that making it again reads what is damaged.
    fs_err::remove_file(&two).expect("removes");
    space
        .run(&["--set", "n=2"])
        .exits(0)
        .says("does not match its digest");
    assert_eq!(ran(&space), ["one", "three", "two"]);
    assert_eq!(fs_err::read(&path).expect("an object"), right);
    assert_eq!(fs_err::read(&two).expect("an object"), sum);
    assert_eq!(files_below(&space.path("cache/quarantine")).len(), 1);
    space.call(&["cache", "verify"]).exits(0);
}

#[test]
fn a_flipped_bit_in_a_small_object_is_a_miss_said_aloud() {
    remakes(SMALL, |bytes| bytes[3] ^= 1);
}

#[test]
fn a_flipped_bit_in_a_large_object_is_a_miss_said_aloud() {
    remakes(LARGE, |bytes| bytes[2_000_000] ^= 1);
}

#[test]
fn a_truncated_small_object_is_a_miss_said_aloud() {
    remakes(SMALL, |bytes| bytes.truncate(5));
}

#[test]
fn a_truncated_large_object_is_a_miss_said_aloud() {
    remakes(LARGE, |bytes| bytes.truncate(1_500_000));
}

#[test]
fn an_emptied_object_is_a_miss_said_aloud() {
    remakes(LARGE, Vec::clear);
}

#[test]
fn a_damaged_listing_of_a_folder_is_a_miss_said_aloud() {
    let space = Space::with(
        "params: { n: 1 }
stages:
  one:
    kind: command
    with: { argv: [sh, -c, 'mkdir out; echo a > out/a; echo b > out/b'] }
    outputs: { out: out }
  two:
    kind: command
    needs: { in: one }
    with: { argv: [sh, -c, 'cat in/a in/b params.json > out'], params: { n: '${params.n}' } }
    outputs: { out: out }
",
    );
    space.run(&[]).exits(0);
    let digest = space.records()["one"]["outputs"]["out"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let path = space.path(&format!(
        "cache/objects-v1/{}/{}",
        &digest[..2],
        &digest[2..]
    ));
    let mut listing = fs_err::read(&path).expect("a listing");
    listing[10] ^= 1;
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    fs_err::write(&path, listing).expect("damages");
    let done = space
        .run(&["--json", "--set", "n=2"])
        .exits(0)
        .says("does not match its digest");
    assert_eq!(done.counts(), [2, 2, 0, 0, 0]);
    space.call(&["cache", "verify"]).exits(0).says("all whole");
}

#[test]
fn a_damaged_output_is_not_handed_to_a_person() {
    for bytes in [SMALL, LARGE] {
        let space = chain(bytes);
        space.run(&[]).exits(0);
        let path = object(&space, "one");
        let mut wrong = fs_err::read(&path).expect("an object");
        wrong[3] ^= 1;
        fs_err::remove_file(&path).expect("removes");
        fs_err::write(&path, wrong).expect("damages");
        let ran = space.call(&["get", "p.yaml", "one", "--to", "mine"]);
        assert_ne!(ran.code, Some(0), "{}", ran.stderr);
        ran.says("does not match its digest");
        assert_eq!(files_below(&space.path("mine")), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_stage_that_writes_into_its_linked_object_is_tainted_and_the_object_set_aside() {
    let space = Space::with(
        "params: { write: 'chmod u+w \"$(readlink -f in)\"; echo mine >> in' }
stages:
  one:
    kind: command
    with: { argv: [sh, -c, 'yes large | head -c 3000000 > out'] }
    outputs: { out: out }
  two:
    kind: command
    needs: { in: one }
    with: { argv: [sh, -c, '${params.write}; cksum < in > out'] }
    outputs: { out: out }
",
    );
    space
        .run(&[])
        .exits(1)
        .says("`two` wrote into object")
        .says("its result is not recorded");
    assert!(!space.records().contains_key("two"));
    assert_eq!(files_below(&space.path("cache/quarantine")).len(), 1);
    let done = space.run(&["--json", "--set", "write=true"]).exits(0);
    assert_eq!(done.counts(), [2, 2, 0, 0, 0]);
    let content = space.records()["one"]["outputs"]["out"]["bytes"].clone();
    assert_eq!(content, 3_000_000);
    space.call(&["cache", "verify"]).exits(0).says("all whole");
}

#[test]
fn what_is_kept_until_used_goes_after_the_run_and_comes_back_when_read() {
    for keep in ["never", "until_used"] {
        let space = Space::with(&format!(
            "params: {{ n: 1 }}
stages:
  one:
    kind: command
    with: {{ argv: [sh, -c, 'echo one >> ../../../../ran; echo bulky > out'] }}
    outputs: {{ out: {{ path: out, keep: {keep} }} }}
  two:
    kind: command
    needs: {{ in: one }}
    with: {{ argv: [sh, -c, 'cat in params.json > out'], params: {{ n: '${{params.n}}' }} }}
    outputs: {{ out: out }}
"
        ));
        assert_eq!(space.run(&["--json"]).exits(0).counts()[1], 2);
        let bulky = |space: &Space| {
            space
                .objects()
                .values()
                .filter(|bytes| **bytes == b"bulky\n")
                .count()
        };
        assert_eq!(bulky(&space), 0, "{keep}");
        assert_eq!(space.run(&["--json"]).exits(0).counts()[1], 0);
        assert_eq!(
            space.run(&["--json", "--set", "n=2"]).exits(0).counts()[1],
            2
        );
        assert_eq!(bulky(&space), 0, "{keep}");
        assert_eq!(space.lines("ran").len(), 2);
        // How long bytes are kept is not in the key.
        let text = space.read("p.yaml").replace(keep, "always");
        space.write("p.yaml", text);
        assert_eq!(
            space.run(&["--json", "--set", "n=2"]).exits(0).counts()[1],
            0
        );
    }
}
