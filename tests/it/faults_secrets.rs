//! Variables of the environment: in the key, or secret and nowhere at all; what is recorded of surroundings.

use crate::space::{Ran, Space, files_below};

const SECRET: &str = "tOpSeCrEt-4711-value";

fn with_token(space: &Space, value: &str, more: &[&str]) -> Ran {
    let mut command = space.command(&[&["run", "p.yaml", "--json"], more].concat());
    command.env("TOKEN", value);
    Ran::of(&command.output().expect("runs"))
}

fn files_with(space: &Space, word: &str) -> Vec<String> {
    files_below(space.root())
        .into_iter()
        .filter(|path| {
            let bytes = fs_err::read(path).unwrap_or_default();
            bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_secret_reaches_the_stage_and_nothing_else() {
    let space = Space::with(
        "stages:
  good:
    kind: command
    env: { TOKEN: {from: environment, secret: true} }
    environment: { record: [[sh, -c, 'echo tool 1.2']] }
    with: { script: 'printf %s \"$TOKEN\" | wc -c > out' }
    outputs: { out: out }
  bad:
    kind: command
    env: { TOKEN: {from: environment, secret: true} }
    checkpoint: { dir: state }
    with: { script: '[ -z \"$TOKEN\" ] && echo x > out' }
    outputs: { out: out }
  strict:
    kind: command
    sandbox: strict
    env: { TOKEN: {from: environment, secret: true} }
    with: { script: 'printf %s \"$TOKEN\" | wc -c > out; exit 4' }
    outputs: { out: out }
",
    );
    let events = space.path("events.jsonl").display().to_string();
    let ran = with_token(&space, SECRET, &["--keep-going", "--events", &events]);
    assert_eq!(ran.counts(), [3, 1, 0, 2, 0], "{}", ran.stderr);
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET));
    assert_eq!(files_with(&space, SECRET), [""; 0]);
    space
        .call(&["get", "p.yaml", "good", "--to", "got"])
        .exits(0);
    assert_eq!(space.read("got/out").trim(), SECRET.len().to_string());
    // Another secret, the same key.
    let ran = with_token(&space, "other", &["good"]);
    assert_eq!(ran.counts(), [1, 0, 1, 0, 0]);
}

#[test]
fn a_variable_that_is_no_secret_decides_the_key() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    env: { TOKEN: {from: environment} }\n    with: { script: 'printf %s \"$TOKEN\" > out' }\n    outputs: { out: out }\n",
    );
    assert_eq!(
        with_token(&space, "one", &[]).exits(0).counts(),
        [1, 1, 0, 0, 0]
    );
    assert_eq!(
        with_token(&space, "two", &[]).exits(0).counts(),
        [1, 1, 0, 0, 0]
    );
    assert_eq!(
        with_token(&space, "one", &[]).exits(0).counts(),
        [1, 0, 1, 0, 0]
    );
}

#[test]
fn variables_that_were_not_declared_do_not_pass() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    with: { script: 'echo \"[${TOKEN-}]\" > out; echo \"$HOME\" >> out' }\n    outputs: { out: out }\n",
    );
    with_token(&space, "seen", &[]).exits(0);
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert!(space.read("got/out").starts_with("[]\n"));
}

#[test]
fn surroundings_are_recorded_warned_of_and_with_strict_decide() {
    for (strict, executed) in [("false", 0), ("true", 1)] {
        let space = Space::new();
        let version = space.path("version").display().to_string();
        space.write(
            "p.yaml",
            format!("stages:\n  it:\n    kind: command\n    environment: {{ record: [[cat, {version}]], strict: {strict} }}\n    with: {{ script: 'echo x > out' }}\n    outputs: {{ out: out }}\n"),
        );
        space.write("version", "tool 1\n");
        space.run(&[]).exits(0);
        let record = &space.records()["it"];
        assert_eq!(record["environment"][format!("cat {version}")], "tool 1");
        space.write("version", "tool 2\n");
        let ran = space.run(&["--json"]).exits(0);
        assert_eq!(
            ran.counts()[1],
            executed,
            "strict: {strict}\n{}",
            ran.stderr
        );
    }
}

#[test]
fn strict_surroundings_are_asked_with_the_stages_own_variables() {
    let stage = |name: &str, value: &str| {
        format!(
            "  {name}:
    kind: command
    env: {{ V: {value} }}
    environment: {{ record: [[sh, -c, \"echo $V in $(ls p.yaml)\"]], strict: true }}
    with: {{ argv: [touch, out] }}
    outputs: {{ out: out }}
"
        )
    };
    let space = Space::with(&format!(
        "stages:\n{}{}",
        stage("one", "a"),
        stage("two", "b")
    ));
    space.run(&[]).exits(0);
    for (name, said) in [("one", "a in p.yaml"), ("two", "b in p.yaml")] {
        let record = &space.records()[name];
        let manifest = record["manifest"].as_str().expect("a text");
        assert!(manifest.contains(&format!("= \"{said}\"")), "{manifest}");
        assert!(record["environment"].to_string().contains(said));
    }
}

#[test]
fn a_password_in_a_url_is_in_no_file_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let space = Space::with(
        "stages:\n  it:\n    kind: fetch\n    with: { url: \"http://user:pa55word@127.0.0.1:9/x\" }\n",
    );
    let ran = space.run(&[]);
    assert_ne!(ran.code, Some(0));
    let holds = |path: &std::path::PathBuf| {
        let bytes = fs_err::read(path).expect("readable");
        bytes.windows(8).any(|part| part == b"pa55word")
    };
    let holding: Vec<_> = files_below(&space.path("cache"))
        .into_iter()
        .filter(holds)
        .collect();
    assert!(!holding.is_empty(), "the plan needs it");
    for path in holding {
        let mode = fs_err::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}
