//! What lies where results are published: a person's own things, other stages' results, what the cache no longer has.

use crate::space::{Space, files_below};

fn tree(v: u32) -> String {
    format!(
        "stages:
  it:
    kind: command
    with: {{ script: 'mkdir paper paper/empty; echo {v} > paper/a' }}
    outputs: {{ o: paper }}
    publish: res
"
    )
}

#[test]
fn what_a_person_added_to_a_published_folder_is_never_deleted() {
    // Names that no digest of an input counts, among them.
    for added in [
        ".git/HEAD",
        "notes.txt~",
        "__pycache__/x.pyc",
        ".DS_Store",
        "mine.txt",
    ] {
        let space = Space::with(&tree(1));
        space.run(&[]).exits(0);
        let mine = format!("res/paper/{added}");
        space.write(&mine, "mine\n");
        space.run(&[]).exits(0).says_not("warning");
        space.write("p.yaml", tree(2));
        space
            .run(&[])
            .exits(0)
            .says("was not written by this program, or was changed since");
        assert_eq!(space.read(&mine), "mine\n");
        assert_eq!(space.read("res/paper/a"), "1\n");
        fs_err::remove_dir_all(space.path("res/paper")).expect("moved away");
        space.run(&[]).exits(0).says_not("warning");
        assert_eq!(space.read("res/paper/a"), "2\n");
    }
}

#[test]
fn what_a_person_filled_an_empty_folder_with_stays() {
    let space = Space::with(&tree(1));
    space.run(&[]).exits(0);
    assert!(space.path("res/paper/empty").is_dir());
    space.write("res/paper/empty/mine", "mine\n");
    space.run(&[]).exits(0).says_not("warning");
    space.write("p.yaml", tree(2));
    space.run(&[]).exits(0).says("is left as it is");
    assert_eq!(space.read("res/paper/empty/mine"), "mine\n");
}

#[test]
fn a_published_folder_nobody_touched_follows_its_stage() {
    let space = Space::with(&tree(1));
    space.run(&[]).exits(0);
    for v in [2, 1] {
        space.write("p.yaml", tree(v));
        space.run(&[]).exits(0).says_not("warning");
        assert_eq!(space.read("res/paper/a"), format!("{v}\n"));
    }
}

#[test]
fn a_link_of_a_persons_that_leads_nowhere_stays() {
    let space = Space::with(&tree(1));
    fs_err::create_dir(space.path("res")).expect("made");
    fs_err::os::unix::fs::symlink("/unmounted/disk", space.path("res/paper")).expect("linked");
    space.run(&[]).exits(0).says("is left as it is");
    let there = fs_err::read_link(space.path("res/paper")).expect("a link");
    assert_eq!(there, std::path::Path::new("/unmounted/disk"));
}

#[test]
fn a_place_inside_what_another_publishes_is_refused() {
    let nested = |outer: &str, inner: &str| {
        format!(
            "stages:
  a:
    kind: command
    with: {{ script: 'mkdir x; echo 1 > x/a' }}
    outputs: {{ o: x }}
    publish: {outer}
  b:
    kind: command
    with: {{ script: 'echo 2 > y' }}
    outputs: {{ o: y }}
    publish: {inner}
"
        )
    };
    let space = Space::with(&nested("res", "res/x"));
    // A second time, too: a plan that is refused is not taken for a checked one.
    for _ in 0..2 {
        let check = space.call(&["check", "p.yaml"]).exits(2);
        check.says("`b` would publish to `res/x/y`, inside `res/x` of `a`");
    }
    space.run(&[]).exits(2);
    assert!(!space.exists("res"));
    let space = Space::with(&nested("res/y/deep", "res"));
    space
        .run(&[])
        .exits(2)
        .says("`b` would publish to `res/y`, around `res/y/deep/x` of `a`");
    // Names that only begin alike are not in each other's way.
    let space = Space::with(&nested("res", "res/x.b"));
    space.run(&[]).exits(0);
    assert_eq!(space.read("res/x.b/y"), "2\n");
}

#[test]
fn a_large_published_file_outlives_its_object() {
    let space = Space::with(
        "stages:\n  big:\n    kind: command\n    with: { script: 'head -c 70000000 /dev/zero > y' }\n    outputs: { o: y }\n    publish: pub\n",
    );
    space.run(&[]).exits(0);
    let whole = |space: &Space| {
        let metadata = fs_err::metadata(space.path("pub/y")).expect("it leads somewhere");
        assert_eq!(metadata.len(), 70_000_000);
    };
    whole(&space);
    let gc = ["cache", "gc", "--down-to", "0B"];
    space.call(&gc).exits(0);
    let large = files_below(&space.path("cache/objects-v1"))
        .iter()
        .filter(|path| fs_err::metadata(path).expect("there").len() > 1 << 20)
        .count();
    assert_eq!(large, 0, "the object went");
    whole(&space);
    let ran = space.run(&["--json"]).exits(0).says_not("warning");
    assert_eq!(ran.counts(), [1, 0, 1, 0, 0]);
    fs_err::remove_dir_all(space.path("cache")).expect("removed");
    whole(&space);
}

#[test]
fn a_link_that_an_earlier_version_published_becomes_a_file() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    with: { script: 'echo 1 > y' }\n    outputs: { o: y }\n    publish: pub\n",
    );
    space.run(&[]).exits(0);
    let digest = space.records()["it"]["outputs"]["o"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let object = format!("objects-v1/{}/{}", &digest[..2], &digest[2..]);
    for cache in [space.path("cache"), "/gone/cache".into()] {
        fs_err::remove_file(space.path("pub/y")).expect("removed");
        fs_err::os::unix::fs::symlink(cache.join(&object), space.path("pub/y")).expect("linked");
        space.run(&[]).exits(0).says_not("warning");
        assert!(
            fs_err::symlink_metadata(space.path("pub/y"))
                .expect("there")
                .is_file()
        );
        assert_eq!(space.read("pub/y"), "1\n");
    }
}
