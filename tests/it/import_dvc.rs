//! `pipeline import-dvc`: projects of DVC give here what they gave there, byte for byte, and nothing makes it panic.
//!
//! What DVC gives is in `tests/golden/dvc.json`, made by `tests/parity/dvc.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use crate::space::{Ran, Space, contents, files_below, names_in, skip};

const FILE: &str = "pipelines/p.yaml";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/dvc")
        .join(name)
}

/// A copy of a project.
fn project(name: &str) -> Space {
    let space = Space::new();
    for (path, bytes) in contents(&fixture(name)) {
        space.write(path.to_str().expect("a plain name"), bytes);
    }
    space
}

fn import(space: &Space) -> Ran {
    space.call(&["import-dvc", "--out", FILE])
}

fn run(space: &Space, more: &[&str]) -> Ran {
    let mut command = space.command(&[&["run", FILE, "--json"], more].concat());
    Ran::of(
        &command
            .env("GREETING", "good day")
            .output()
            .expect("it starts"),
    )
}

/// Every file below the outputs of all stages, by its path in the project.
fn made(space: &Space) -> BTreeMap<String, String> {
    let mut made = BTreeMap::new();
    for (count, (stage, record)) in space.records().into_iter().enumerate() {
        let manifest = record["manifest"].as_str().expect("the text of the key");
        for output in record["outputs"].as_object().expect("outputs").keys() {
            let line = format!("output.{output} = ");
            let Some(place) = manifest.lines().find_map(|l| l.strip_prefix(&line)) else {
                continue;
            };
            let place: String = serde_json::from_str(place).expect("a quoted path");
            let to = format!("copies/{count}-{output}");
            let wanted = format!("{stage}.{output}");
            let mut command = space.command(&["get", FILE, &wanted, "--to", &to]);
            let got = command
                .env("GREETING", "good day")
                .output()
                .expect("it starts");
            Ran::of(&got).exits(0);
            for file in files_below(&space.path(&to)) {
                let below = file.strip_prefix(space.path(&to)).expect("below");
                let mut path = PathBuf::from(&place);
                // The first step is the output itself.
                path.extend(below.components().skip(1));
                let text = fs_err::read_to_string(&file).expect("text");
                made.insert(path.display().to_string(), text);
            }
        }
    }
    made
}

fn golden(name: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dvc.json");
    let all: Value = serde_json::from_slice(&fs_err::read(path).expect("there")).expect("JSON");
    serde_json::from_value(all[name].clone()).expect("paths and texts")
}

fn has_python() -> bool {
    let version = std::process::Command::new("python3")
        .args(["-c", "import tomllib"])
        .output();
    let is_there = version.is_ok_and(|output| output.status.success());
    if !is_there {
        skip("no `python3` of 3.11 or later");
    }
    is_there
}

fn gives_what_dvc_gives(name: &str, stages: u64) -> Option<Space> {
    if !has_python() {
        return None;
    }
    let space = project(name);
    import(&space).exits(0);
    space.call(&["check", FILE]).exits(0);
    assert_eq!(
        run(&space, &[]).exits(0).counts(),
        [stages, stages, 0, 0, 0]
    );
    assert_eq!(made(&space), golden(name));
    assert_eq!(
        run(&space, &[]).exits(0).counts(),
        [stages, 0, stages, 0, 0]
    );
    Some(space)
}

#[test]
fn the_get_started_project_gives_what_dvc_gives() {
    let Some(space) = gives_what_dvc_gives("start", 4) else {
        return;
    };
    // Only what uses a parameter runs again.
    let changed = run(&space, &["--set", "train={rounds: 2, rate: 0.5}"]).exits(0);
    assert_eq!(changed.counts(), [4, 2, 2, 0, 0]);
    let text = space.read(FILE);
    assert!(
        text.contains("argv: [python3, src/train.py, data/features, model.json]"),
        "{text}"
    );
    assert!(text.contains("# src/train.py imports it"), "{text}");
}

#[test]
fn loops_and_templates_give_what_dvc_gives() {
    let Some(space) = gives_what_dvc_gives("countries", 9) else {
        return;
    };
    let text = space.read(FILE);
    assert!(
        text.contains("matrix: { item: \"${params.depths}\" }"),
        "{text}"
    );
    assert!(
        text.contains("no stage uses the parameter `unused`"),
        "{text}"
    );
    let changed = run(&space, &["--set", "depths=[1]"]).exits(0);
    assert_eq!(changed.counts(), [8, 0, 8, 0, 0]);
}

#[test]
fn a_matrix_and_a_folder_of_its_own_give_what_dvc_gives() {
    let Some(space) = gives_what_dvc_gives("grid", 9) else {
        return;
    };
    let text = space.read(FILE);
    for words in [
        "stage `fetch` is frozen",
        "stage `table` is always changed",
        "`meta` of stage `table`",
        "`persist` of `models/${key}.json`",
        "`table.csv` of stage `table` is written, not drawn",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    assert!(!text.contains("  fetch:"), "{text}");
}

#[test]
fn stages_that_differ_become_stages_of_their_own() {
    let space = Space::new();
    space.write(
        "dvc.yaml",
        "\
stages:
  make:
    cmd: sh -c 'echo made > a.txt'
    outs: [a.txt]
  use:
    foreach: [a, b]
    do:
      cmd: cp ${item}.txt ${item}.out
      deps: ['${item}.txt']
      outs: ['${item}.out']
  both:
    cmd: cat a.out b.out > all
    deps: [a.out, b.out]
    outs: [all]
",
    );
    space.write("b.txt", "given\n");
    import(&space)
        .exits(0)
        .says("the stages of `use` differ in more than values");
    assert_eq!(run(&space, &[]).exits(0).counts(), [4, 4, 0, 0, 0]);
    assert_eq!(made(&space)["all"], "made\ngiven\n");
}

#[test]
fn what_lies_elsewhere_and_in_shared_folders_is_found_or_listed() {
    let space = Space::new();
    space.write(
        "sub/dvc.yaml",
        "\
stages:
  make:
    wdir: ../work
    cmd: cp ../given/x out.txt
    deps: [../given/x]
    outs: [out.txt]
  all:
    cmd: cat ../work/* > all.txt
    deps: [../work, 's3://bucket/key', /etc/hostname, missing.txt]
    outs: [all.txt]
",
    );
    space.write("given/x", "x\n");
    space.write("work/beside", "beside\n");
    space.write("sub/missing.txt.dvc", "outs: [{path: missing.txt}]\n");
    let said = space
        .call(&["import-dvc", "sub/dvc.yaml", "--out", FILE])
        .exits(0);
    let said = said
        .says("`s3://bucket/key`, which stage `all` reads, is not in the project")
        .says("`/etc/hostname`, which stage `all` reads, is not in the project")
        .says("`missing.txt`, which stage `all` reads, is not here")
        .says("`missing.txt.dvc` tracks it: bring it here with `dvc pull`");
    drop(said);
    space.write("sub/missing.txt", "");
    run(&space, &[]).exits(0);
    assert_eq!(made(&space)["sub/all.txt"], "beside\nx\n");
}

#[test]
fn scalars_that_pyyaml_reads_otherwise_are_noted() {
    let space = Space::new();
    space.write(
        "params.yaml",
        "\
shuffle: no
inner: {oct: 010, list: [on, 1]}
day: 2024-01-02
short: 1e-5
quoted: 'no'
plain: false
rate: 0.00001
word: north
",
    );
    space.write(
        "dvc.yaml",
        "\
stages:
  make:
    cmd: sh -c 'cat params.yaml > a.txt'
    params: [shuffle, inner, day, short, quoted, plain, rate, word]
    outs: [a.txt]
",
    );
    import(&space)
        .exits(0)
        .says("`shuffle: no` of `params.yaml` is the text `no` here, and false to PyYAML")
        .says("write `false`")
        .says("`inner.oct: 010` of `params.yaml` is")
        .says("`inner.list.0: on` of `params.yaml` is")
        .says("`day: 2024-01-02` of `params.yaml` is")
        .says("`short: 1e-5` of `params.yaml` is");
    let text = space.read(FILE);
    assert_eq!(text.matches("to PyYAML").count(), 5, "{text}");
}

/// A number that a pipeline file cannot hold refuses nothing: commands get the characters that DVC puts there, files of
/// parameters a text, which is noted where it is used and nowhere else.
#[test]
fn numbers_that_do_not_fit_are_carried_as_texts() {
    let space = Space::new();
    space.write(
        "params.yaml",
        "\
limits: {clip: .inf, low: &low -.inf, seeds: [1, 0x1ffffffffffffffff], again: *low}
mask: .nan
zero: -0
unused: .inf
",
    );
    space.write(
        "model.json",
        r#"{"n": 12345678901234567890, "bound": Infinity, "text": "NaN", "rate": 0.5}"#,
    );
    space.write("more.toml", "top = inf\n");
    space.write(
        "dvc.yaml",
        "\
vars: [{big: 9223372036854775808, odd: -.inf}]
stages:
  shell:
    cmd: echo ${big} ${limits.clip} ${odd} ${mask} ${zero} ${limits.seeds[1]} > shell.txt
    outs: [shell.txt]
  loop:
    foreach: [.inf, 3]
    do:
      cmd: echo ${item} > ${item}.txt
      outs: ['${item}.txt']
  files:
    cmd: cat params.yaml model.json more.toml > files.txt
    params: [limits, zero, {model.json: [n, bound, text, rate], more.toml: }]
    outs: [files.txt]
",
    );
    let mut ran = import(&space).exits(0);
    for words in [
        "`limits.clip: .inf` of `params.yaml` is the text `inf` here",
        "`limits.low: -.inf` of `params.yaml` is the text `-inf` here",
        "`limits.again: -.inf` of `params.yaml` is the text `-inf` here",
        "`limits.seeds.1: 0x1ffffffffffffffff` of `params.yaml` is the text `36893488147419103231` here",
        "`n: 12345678901234567890` of `model.json` is the text `12345678901234567890` here",
        "`bound: Infinity` of `model.json` is the text `inf` here",
        "`top: inf` of `more.toml` is the text `inf` here",
    ] {
        ran = ran.says(words);
    }
    // The notes are those seven: what only a command uses is as DVC has it.
    let text = space.read(FILE);
    assert_eq!(text.matches("finite and of 64 bits").count(), 7, "{text}");
    assert!(!text.contains("to PyYAML"), "{text}");
    space.call(&["check", FILE]).exits(0);
    run(&space, &[]).exits(0);
    let made = made(&space);
    assert_eq!(
        made["shell.txt"],
        "9223372036854775808 inf -inf nan 0 36893488147419103231\n"
    );
    assert_eq!(made["inf.txt"], "inf\n");
    assert_eq!(made["3.txt"], "3\n");
    let files = &made["files.txt"];
    for line in [
        "  clip: \"inf\"\n",
        "  seeds: [1, \"36893488147419103231\"]\n",
        "zero: 0\n",
        "\"n\": \"12345678901234567890\"",
        "\"text\": \"NaN\"",
        "\"rate\": 0.5",
        "top = \"inf\"",
    ] {
        assert!(files.contains(line), "no `{line}` in\n{files}");
    }
    // All else that is wrong with a file still refuses it.
    space.write("params.yaml", "a: .inf\na: 1\n");
    let again = space.call(&["import-dvc", "--out", "pipelines/again.yaml"]);
    again.exits(2).says("the key `a` stands twice");
}

#[test]
fn a_parameter_that_is_written_out_is_not_called_unused() {
    let space = Space::new();
    space.write("params.yaml", "lr: 0.00001\nnone: null\nspare: 1\n");
    space.write(
        "dvc.yaml",
        "stages: {make: {cmd: 'sh -c \"echo ${lr} ${none} > a.txt\"', outs: [a.txt]}}\n",
    );
    import(&space)
        .exits(0)
        .says("the parameter `lr` is written out as `1e-05`")
        .says("the parameter `none` is written out as `None`")
        .says("no stage uses the parameter `spare`");
    let text = space.read(FILE);
    assert!(!text.contains("no stage uses the parameter `lr`"), "{text}");
    assert!(
        !text.contains("no stage uses the parameter `none`"),
        "{text}"
    );
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let space = Space::new();
    import(&space).exits(2).says("`dvc.yaml` cannot be read");
    assert!(!space.exists("pipelines"));
    for (text, words) in [
        ("stages: 3\n", "`stages` is not a map"),
        ("a: [\n", "not YAML"),
        ("{}\n", "this file has no stages"),
        ("stages: {a: {cmd: 'x ${no}'}}\n", "`${no}` names nothing"),
        ("stages: {a: {deps: [x]}}\n", "stage `a` has no `cmd`"),
        (
            "stages: {a: {cmd: x, outs: [o]}, b: {cmd: x, outs: [./o]}}\n",
            "`o` is written twice",
        ),
        (
            "vars: [{a: 1}, {a: 2}]\nstages: {a: {cmd: x}}\n",
            "`a` has two values",
        ),
        (
            "stages: {a: {foreach: 3, do: {cmd: x}}}\n",
            "`foreach` goes over a whole number, not a list or a map",
        ),
        ("stages: {a: {foreach: [1]}}\n", "`foreach` has no `do`"),
    ] {
        space.write("dvc.yaml", text);
        import(&space).exits(2).says(words);
        assert!(!space.exists(FILE), "{text}");
    }
    space.write("dvc.yaml", "stages: {a: {cmd: x}}\n");
    import(&space).exits(0);
    import(&space).exits(2).says("is there already");
}

#[test]
fn hostile_files_are_bounded() {
    let space = Space::new();
    let many = (0..200)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let long = "x".repeat(1 << 20);
    let level = |n: usize| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1);
    let bombs = (0..60).fold("a0: &a0 [x]\n".to_owned(), |text, n| text + &level(n));
    for text in [
        format!("stages: {{a: {{matrix: {{a: [{many}], b: [{many}], c: [{many}]}}, cmd: x}}}}\n"),
        format!(
            "vars: [{{l: {long}}}]\nstages: {{a: {{foreach: [{many}], do: {{cmd: 'x ${{l}} ${{item}}'}}}}}}\n"
        ),
        format!("stages: {}\n", "[".repeat(5000)),
        bombs,
    ] {
        space.write("dvc.yaml", text);
        import(&space).exits(2);
    }
    assert_eq!(names_in(&space.path("pipelines")).len(), 0);
}

/// Pieces of files that mean something, put together at random.
fn any_file() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "stages:",
        "vars:",
        "  a:",
        "  b:",
        "    cmd:",
        " x",
        " ${a}",
        " ${item}",
        " ${item.b[0]}",
        "    foreach:",
        "    do:",
        "      cmd: y",
        "    matrix:",
        "      m:",
        " [1, 2]",
        " {k: {v: 1}}",
        "    deps:",
        " [x]",
        " ['../${key}']",
        "    outs:",
        " [o]",
        "      - p: {cache: false}",
        "    params:",
        " [l.r]",
        "      - c.toml: [a]",
        "    wdir:",
        " ..",
        " /",
        "    frozen: true",
        "\n",
        "\n",
        "\n",
        "\n",
        " |",
        " 'it''s'",
        " \"\\u2028\"",
        " é",
        " $",
        " \\${",
        " ${",
        "}",
        " &a",
        " *a",
        " <<:",
        " !!str",
        " ~",
        " 1e-5",
        " -0",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_input_panics(text in any_file()) {
        never_panics(&text);
    }

    /// A real file with a stretch of it replaced is refused or imported, and what is imported can be read.
    #[test]
    fn no_change_of_a_real_file_panics(which in 0_usize..3, at in 0.0..1.0, length in 0_usize..30, with in "\\PC{0,6}|[a-z{}$\\[\\]:,. \n-]{0,6}") {
        let name = ["start", "countries", "grid"][which];
        let mut text: Vec<char> = fs_err::read_to_string(fixture(name).join("dvc.yaml")).expect("there").chars().collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let at = (at * text.len() as f64) as usize;
        let end = (at + length).min(text.len());
        text.splice(at..end, with.chars());
        never_panics(&text.into_iter().collect::<String>());
    }
}

fn never_panics(text: &str) {
    let space = project("countries");
    space.write("dvc.yaml", text);
    let imported = pipeline::import::dvc::import(&space.path("dvc.yaml"), space.root(), "p.yaml");
    if let Ok(imported) = imported {
        let parsed = flow::spec::yaml::parse(&imported.text, flow::source::SourceId(0));
        assert_eq!(parsed.problems, [], "{text}\n--\n{}", imported.text);
    }
}
