//! Downloads that break off, lie about their length, have the wrong digest, or are cut by a kill: through the program.

use std::process::Stdio;

use crate::origin::{Answer, Origin};
use crate::space::{Space, files_below, wait_until};

/// Bytes that differ everywhere, so that a wrong seam shows.
fn corpus() -> Vec<u8> {
    (0..400_000_u32)
        .flat_map(|i| format!("{i:05x}\n").into_bytes())
        .collect()
}

fn project(origin: &Origin, pin: Option<&[u8]>) -> Space {
    let pin = pin.map_or_else(String::new, |bytes| {
        format!(", blake3: '{}'", blake3::hash(bytes).to_hex())
    });
    Space::with(&format!(
        "stages:
  corpus:
    kind: fetch
    with: {{ url: '{}'{pin} }}
",
        origin.url("/c.bin")
    ))
}

/// No record, no object, no lock, no output in sight.
#[track_caller]
fn left_nothing(space: &Space) {
    assert!(space.records().is_empty());
    assert!(space.objects().is_empty());
    assert!(!space.exists("p.lock"));
    let left = files_below(&space.path("cache/work"));
    assert!(!left.iter().any(|path| path.ends_with("data")), "{left:?}");
}

/// Partial downloads, which survive for the next try.
fn parts(space: &Space) -> Vec<std::path::PathBuf> {
    files_below(&space.path("cache/work"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "part"))
        .collect()
}

#[track_caller]
fn holds_the_corpus(space: &Space) {
    space.call(&["cache", "verify"]).exits(0);
    let records = space.records();
    let content = &records["corpus"]["outputs"]["data"];
    assert_eq!(content["digest"], blake3::hash(&corpus()).to_hex().as_str());
    let got = space.call(&["path", "p.yaml", "corpus"]).exits(0).stdout;
    assert_eq!(fs_err::read(got.trim()).expect("an object"), corpus());
}

#[test]
fn one_that_breaks_off_leaves_nothing_and_goes_on_in_the_next_run() {
    let origin = Origin::start();
    let body = corpus();
    let space = project(&origin, Some(&body));
    let sent = 1_500_000;
    origin.put("/c.bin", Answer::BreaksOff(body.clone(), sent));
    // The first answer breaks off; a moment later the file is gone altogether.
    let mut child = space
        .command(&["run", "p.yaml"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    wait_until("the first part", || {
        parts(&space)
            .iter()
            .any(|path| fs_err::metadata(path).is_ok_and(|part| part.len() >= 1_000_000))
    });
    origin.remove("/c.bin");
    let code = child.wait().expect("it ends").code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
    left_nothing(&space);
    let have = fs_err::metadata(&parts(&space)[0]).expect("a part").len();
    origin.take_asked();
    origin.put("/c.bin", Answer::Whole(body));
    space.run(&[]).exits(0);
    let asked = origin.take_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].from, usize::try_from(have).ok());
    holds_the_corpus(&space);
    assert!(space.work().is_empty());
}

#[test]
fn a_killed_runner_in_mid_download_goes_on_where_it_was() {
    let origin = Origin::start();
    let body = corpus();
    // Unpinned: only the server's word says that it still is the same file.
    let space = project(&origin, None);
    let sent = 1_200_000;
    origin.put("/c.bin", Answer::Stalls(body.clone(), sent));
    let mut child = space
        .command(&["run", "p.yaml"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    wait_until("the part", || {
        parts(&space)
            .iter()
            .any(|path| fs_err::metadata(path).is_ok_and(|part| part.len() >= 1_000_000))
    });
    child.kill().expect("kill -9");
    child.wait().expect("it is dead");
    left_nothing(&space);
    origin.take_asked();
    origin.put("/c.bin", Answer::Whole(body.clone()));
    space.run(&[]).exits(0);
    let asked = origin.take_asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].from.is_some_and(|from| from >= 1_000_000),
        "{asked:?}"
    );
    holds_the_corpus(&space);
    assert!(space.exists("p.lock"));
}

#[test]
fn a_file_that_changed_since_the_part_is_fetched_from_the_start() {
    let origin = Origin::start();
    let mut old = corpus();
    old[100] ^= 1;
    let space = project(&origin, None);
    origin.put("/c.bin", Answer::Stalls(old, 1_200_000));
    let mut child = space
        .command(&["run", "p.yaml"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    wait_until("the part", || {
        parts(&space)
            .iter()
            .any(|path| fs_err::metadata(path).is_ok_and(|part| part.len() >= 1_000_000))
    });
    child.kill().expect("kill -9");
    child.wait().expect("it is dead");
    origin.put("/c.bin", Answer::Whole(corpus()));
    space.run(&[]).exits(0);
    holds_the_corpus(&space);
}

#[test]
fn a_wrong_digest_is_refused_with_both_and_leaves_nothing() {
    let origin = Origin::start();
    let space = project(&origin, Some(b"expected"));
    origin.put("/c.bin", Answer::Whole(b"something else".to_vec()));
    let ran = space
        .run(&[])
        .says("has another digest than the pipeline file says")
        .says(&blake3::hash(b"expected").to_hex())
        .says(&blake3::hash(b"something else").to_hex());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    left_nothing(&space);
    assert_eq!(parts(&space), Vec::<std::path::PathBuf>::new());
    origin.put("/c.bin", Answer::Whole(b"expected".to_vec()));
    space.run(&[]).exits(0);
}

#[test]
fn a_length_that_cuts_the_file_short_is_found_by_the_digest() {
    let origin = Origin::start();
    let space = project(&origin, Some(b"expected"));
    origin.put("/c.bin", Answer::Lies(b"expected".to_vec(), 5));
    space.run(&[]).exits(1).says("has another digest");
    left_nothing(&space);
    origin.put("/c.bin", Answer::Whole(b"expected".to_vec()));
    space.run(&[]).exits(0);
}

#[test]
fn a_length_longer_than_the_file_is_no_success() {
    let origin = Origin::start();
    let space = project(&origin, None);
    origin.put("/c.bin", Answer::Lies(b"expected".to_vec(), 50));
    let mut child = space
        .command(&["run", "p.yaml"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    wait_until("the second try", || {
        origin.take_asked().iter().any(|asked| asked.from.is_some())
    });
    origin.remove("/c.bin");
    let code = child.wait().expect("it ends").code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
    left_nothing(&space);
}
