//! Tests of loading as a whole, with two kinds of their own. Knows no kind of the program.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::{LoadFailure, LoadOptions, Loaded, load};
use super::{Keep, Launch, Origin, Program, StageSpec};
use crate::diagnostic::Diagnostic;
use crate::kind::{
    BindContext, ConfigProblem, KindEntry, Ports, StageContext, StageError, StageKind, StageReport,
    kind,
};

/// Like `command`: any inputs, declared outputs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Tool {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    params: Option<serde_json::Value>,
}

impl StageKind for Tool {
    const NAME: &'static str = "tool";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Runs a program.";

    fn ports(&self) -> Ports {
        Ports {
            any_input: true,
            declares_outputs: true,
            ..Ports::default()
        }
    }

    fn launch(&self) -> Launch {
        Launch::Program(Program {
            argv: self.argv.clone(),
            files: Vec::new(),
            numbers: Vec::new(),
        })
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Ok(StageReport::default())
    }
}

fn default_decay() -> f64 {
    0.8
}

fn is_default_decay(value: &f64) -> bool {
    value.to_bits() == default_decay().to_bits()
}

/// Like a built-in kind: fixed ports.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Train {
    epochs: u32,
    #[serde(default = "default_decay", skip_serializing_if = "is_default_decay")]
    layer_decay: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked: Option<String>,
}

impl StageKind for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Trains.";

    fn ports(&self) -> Ports {
        Ports::inputs(["data"])
            .optional("start")
            .outputs(["model", "log"])
    }

    fn check(&self) -> Vec<ConfigProblem> {
        if self.epochs == 0 {
            return vec![ConfigProblem {
                path: vec!["epochs".to_owned()],
                message: "nothing is trained in 0 epochs".to_owned(),
                help: Some("write at least 1".to_owned()),
            }];
        }
        Vec::new()
    }

    fn complete(&mut self, context: &BindContext<'_>) {
        self.locked = context.locked.map(str::to_owned);
    }

    fn numerics(&self) -> Option<String> {
        Some("f32".to_owned())
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Ok(StageReport::default())
    }
}

pub(super) const KINDS: &[KindEntry] = &[kind::<Tool>(), kind::<Train>()];

/// A folder with files and what loading `main.yaml` in it gives.
pub(super) struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs_err::write(path, text).expect("a file");
        }
        Self { folder }
    }

    pub(super) fn load(&self, profile: Option<&str>, set: &[&str]) -> Result<Loaded, LoadFailure> {
        let profiles: Vec<String> = profile.iter().map(|&s| s.to_owned()).collect();
        let set: Vec<String> = set.iter().map(|&s| s.to_owned()).collect();
        load(&LoadOptions {
            file: &self.folder.path().join("main.yaml"),
            profiles: &profiles,
            set: &set,
            kinds: KINDS,
            mirrors: &[],
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(super) fn good(text: &str) -> Loaded {
    match Scene::new(&[("main.yaml", text)]).load(None, &[]) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{:#?}", shown(&failure)),
    }
}

pub(super) fn shown(failure: &LoadFailure) -> Vec<String> {
    let place = |problem: &Diagnostic| {
        problem
            .labels
            .first()
            .map_or_else(String::new, |label| failure.sources.place(label.span))
    };
    failure
        .failure
        .diagnostics
        .iter()
        .map(|problem| {
            format!(
                "{} {} {} / {}",
                place(problem),
                problem.code,
                problem.message,
                problem.help.as_deref().unwrap_or("NO HELP")
            )
        })
        .collect()
}

pub(super) fn bad(text: &str) -> Vec<String> {
    shown(
        &Scene::new(&[("main.yaml", text)])
            .load(None, &[])
            .expect_err("problems"),
    )
}

/// Each expected fragment is in one message, and there are no others.
#[track_caller]
pub(super) fn expect_all(found: &[String], expected: &[&str]) {
    for text in expected {
        assert!(
            found.iter().any(|f| f.contains(text)),
            "{text:?} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.iter().all(|f| !f.contains("NO HELP")), "{found:#?}");
}

fn stage<'a>(loaded: &'a Loaded, name: &str) -> &'a StageSpec {
    loaded
        .workflow
        .stages
        .iter()
        .find(|stage| stage.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", names(loaded)))
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded
        .workflow
        .stages
        .iter()
        .map(|s| s.name.as_str())
        .collect()
}

/// The name of the stage and output an input comes from.
fn origin(loaded: &Loaded, name: &str, port: &str) -> Vec<String> {
    let input = stage(loaded, name)
        .inputs
        .iter()
        .find(|input| input.port == port)
        .expect("the port");
    let references = match &input.origin {
        Origin::Stage(reference) => std::slice::from_ref(reference),
        Origin::Many(references) => references,
        Origin::Path(path) | Origin::Glob(path) | Origin::KeyOnly(path) => {
            return vec![path.clone()];
        }
    };
    references
        .iter()
        .map(|r| {
            format!(
                "{}.{}",
                loaded.workflow.stages[r.stage.index()].name,
                r.output
            )
        })
        .collect()
}

const TOOL: &str = "{kind: tool, with: {argv: [x]}, outputs: {out: out}}";

#[test]
fn a_plain_stage_becomes_concrete() {
    let loaded = good(
        "doc: One line.\nstages:\n  count:\n    kind: tool\n    doc: Counts.\n    needs: {text: ./data/in.txt}\n    with: {argv: [sh, -c, 'wc -l']}\n    outputs: {lines: ./lines.txt, more: {path: m, keep: until_used}}\n    numbers: n.json\n    env: {B: 2, A: x}\n    resources: {cores: 2, memory: 20GiB, time: 1h30m, gpu: {count: 2, memory: 4GB}}\n    retries: 3\n    checkpoint: ckpt\n    protect: true\n    sandbox: strict\n    publish: results/\n",
    );
    assert_eq!(loaded.workflow.name, "main");
    assert_eq!(loaded.workflow.doc.as_deref(), Some("One line."));
    let count = stage(&loaded, "count");
    assert_eq!(
        count.lines_before,
        "config.argv.0 = \"sh\"\nconfig.argv.1 = \"-c\"\nconfig.argv.2 = \"wc -l\"\nenv.A = \"x\"\nenv.B = \"2\"\n"
    );
    assert_eq!(
        count.lines_after,
        "kind = tool 1\noutput.lines = \"lines.txt\"\noutput.more = \"m\"\noutput.numbers.0 = \"n.json\"\n"
    );
    assert_eq!(origin(&loaded, "count", "text"), ["data/in.txt"]);
    assert_eq!(count.outputs[1].keep, Keep::UntilUsed);
    assert_eq!(count.policy.resources.memory_bytes, 20 << 30);
    assert_eq!(count.policy.resources.time_seconds, Some(5400.0));
    assert_eq!(count.policy.resources.gpu_memory_bytes, 4_000_000_000);
    assert_eq!(
        count.policy.checkpoint.as_ref().expect("checkpoint").signal,
        "SIGTERM"
    );
    assert_eq!(count.policy.publish.as_deref(), Some("results"));
    assert!(matches!(&count.launch, Launch::Program(p) if p.numbers == ["n.json"]));
    assert!(count.policy.protect && count.policy.sandbox && count.policy.retries == 3);
    assert_eq!(loaded.read.len(), 2);
    assert!(loaded.read[0].1.is_some() && loaded.read[1].1.is_none());
}

#[test]
fn a_built_in_kind_has_numerics_and_leaves_defaults_out() {
    let with = |more: &str| {
        let text = format!(
            "stages:\n  t: {{kind: train, needs: {{data: ./d}}, with: {{epochs: 3{more}}}, outputs: {{log: {{keep: never}}}}}}\n"
        );
        let loaded = good(&text);
        let spec = stage(&loaded, "t").clone();
        (spec.lines_before, spec.lines_after, spec.outputs)
    };
    let (before, after, outputs) = with("");
    assert_eq!(before, "config.epochs = 3\n");
    assert_eq!(
        after,
        "kind = train 2\nnumerics = \"f32\"\noutput.log = \"log\"\noutput.model = \"model\"\n"
    );
    assert_eq!(outputs[1].keep, Keep::Never);
    assert_eq!(with(", layer_decay: 0.8").0, before);
    assert_eq!(with(", layer_decay: 8.0e-1").0, before);
    assert_eq!(
        with(", layer_decay: 1e-4").0,
        "config.epochs = 3\nconfig.layer_decay = 0.0001\n"
    );
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let found = bad(
        "stages:\n  one:\n    kind: train\n    epochs: 3\n    with: {epochs: x, layer_dcay: 1}\n    needs: {dat: ./x}\n  two:\n    kind: trian\n  Three:\n    kind: tool\n    cmd: ls\n    needs: {a: won, b: data.csv, c: ./nowhere.txt, d: ./no*thing}\n    env: {1A: x}\n    retries: many\n    resources: {memory: 20 apples, device: tpu, cores: 0}\n  three: {kind: train, with: {epochs: 0}}\n  four: 5\nstagess: {}\nparams: {x: 1, x: 2}\n",
    );
    expect_all(
        &found,
        &[
            "main.yaml:4:5 spec::unknown_key unknown key `epochs` in stage `one` / `epochs` belongs under `with:`",
            "main.yaml:5:20 spec::wrong_type `epochs` of stage `one` is a string, not a whole number",
            "main.yaml:5:23 spec::unknown_key unknown key `layer_dcay` in stage `one` / did you mean `layer_decay`?",
            "main.yaml:6:18 spec::missing_file input file `x` of stage `one` is missing",
            "main.yaml:8:11 spec::unknown_kind unknown kind `trian` in stage `two` / did you mean `train`?",
            "main.yaml:9:3 spec::name `Three` cannot name a stage",
            "main.yaml:11:5 spec::unknown_key unknown key `cmd` in stage `Three` / write `with: { argv: [...] }`",
            "spec::unknown_stage input `a` of stage `Three` needs an unknown stage `won`",
            "write `./data.csv` if it is a file",
            "spec::missing_file input file `nowhere.txt` of stage `Three` is missing / no stage produces it",
            "spec::empty_glob the pattern `no*thing` of stage `Three` matches no file",
            "`1A` cannot name a variable",
            "`retries` of stage `Three` is a string, not a whole number",
            "`memory` of `resources` of stage `Three` has a value that is not accepted / write an amount such as `20GiB`",
            "`device` of `resources` of stage `Three` has a value that is not accepted",
            "`cores` of `resources` of stage `Three` has a value that is not accepted",
            "spec::config `epochs` of stage `three`: nothing is trained in 0 epochs / write at least 1",
            "main.yaml:17:9 spec::wrong_type stage `four` is a whole number, not a map",
            "main.yaml:18:1 spec::unknown_key unknown key `stagess` in the pipeline / did you mean `stages`?",
            "main.yaml:19:16 spec::duplicate_key the key `x` stands twice in one map",
        ],
    );
}

#[test]
fn inputs_are_held_against_the_kind() {
    expect_all(
        &bad(
            "stages:\n  t: {kind: train, with: {epochs: 1}, needs: {dta: ./x}, numbers: n.json, outputs: {modl: {keep: never}, log: log.txt}}\n",
        ),
        &[
            "spec::unknown_input unknown input `dta` in stage `t` / did you mean `data`?",
            "spec::missing_input stage `t` has no input `data` / add `data: SOURCE`",
            "spec::numbers stage `t` cannot have `numbers`",
            "spec::unknown_output stage `t` has no output `modl` / did you mean `model`?",
            "the place of `log` is fixed by the kind `train`",
        ],
    );
}

#[test]
fn claims_are_held_to_their_form_before_any_work() {
    let found = bad(
        "stages:\n  one: {kind: tool, with: {argv: [x]}}\nexpect:\n  - {metric: f1, value: 1, nte: x}\n  - {metric: f1, value: high, where: [a]}\n  - {value: 1}\n  - 5\n",
    );
    expect_all(
        &found,
        &[
            "main.yaml:4:28 spec::unknown_key unknown key `nte` in a claim / did you mean `note`?",
            "main.yaml:5:25 spec::wrong_type `value` of a claim is a string, not a number",
            "main.yaml:5:38 spec::wrong_type `where` of a claim is a list, not a map",
            "main.yaml:6:5 spec::missing_key `metric` is missing in a claim",
            "main.yaml:7:5 spec::wrong_type a claim is a whole number, not a map",
        ],
    );
}

#[test]
fn cycles_show_the_whole_path() {
    let text = "stages:\n  a: {kind: tool, needs: {x: b}, outputs: {o: o}}\n  b: {kind: tool, needs: {x: c.o}, outputs: {o: o}}\n  c: {kind: tool, needs: {y: ./f, x: a}, outputs: {o: o}}\n  d: {kind: tool, needs: {x: d}, outputs: {o: o}}\n";
    let failure = Scene::new(&[("main.yaml", text), ("f", "")])
        .load(None, &[])
        .expect_err("problems");
    expect_all(
        &shown(&failure),
        &[
            "spec::cycle stages form a cycle: a -> b -> c -> a",
            "stages form a cycle: d -> d",
        ],
    );
    let places: Vec<(u32, u32)> = failure.failure.diagnostics[0]
        .labels
        .iter()
        .map(|label| (label.span.line, label.span.column))
        .collect();
    assert_eq!(places, [(2, 30), (3, 30), (4, 38)]);
}

#[test]
fn a_cycle_of_a_matrix_is_one_cycle() {
    let found = bad(
        "stages:\n  a: {kind: tool, matrix: {x: [1, 2, 3]}, needs: {i: b}, outputs: {o: o}}\n  b: {kind: tool, matrix: {from: a}, needs: {i: a}, outputs: {o: o}}\n",
    );
    expect_all(&found, &["stages form a cycle: a -> b -> a"]);
}

#[test]
fn matrices_expand_and_join_by_axis() {
    let loaded = good(&format!(
        "params: {{tasks: [ddi, bc5]}}\nstages:\n  base: {TOOL}\n  data: {{kind: tool, matrix: {{task: \"${{params.tasks}}\"}}, with: {{argv: [\"${{matrix.task}}\"]}}, outputs: {{train: t, test: e}}}}\n  tune:\n    kind: train\n    matrix: {{task: \"${{params.tasks}}\"}}\n    replicate: {{seed: [1, 2]}}\n    needs: {{data: data.train, start: base}}\n    with: {{epochs: 3, seed: \"${{replicate.seed}}\"}}\n  score: {{kind: tool, matrix: {{from: tune}}, needs: {{model: tune, test: data.test}}, with: {{argv: [\"${{matrix.task}}-${{replicate.seed}}\", \"${{replicate.seed}}\"]}}, outputs: {{out: o}}}}\n  table: {{kind: tool, needs: {{all: {{all: score, where: {{seed: [2, 1], task: bc5}}}}, rows: {{all: tune, output: metrics}}, one: {{stage: tune, where: {{task: ddi, seed: 2}}, output: log}}}}}}\n",
    ));
    assert_eq!(
        names(&loaded),
        [
            "base",
            "data[task=ddi]",
            "data[task=bc5]",
            "tune[task=ddi,seed=1]",
            "tune[task=ddi,seed=2]",
            "tune[task=bc5,seed=1]",
            "tune[task=bc5,seed=2]",
            "score[task=ddi,seed=1]",
            "score[task=ddi,seed=2]",
            "score[task=bc5,seed=1]",
            "score[task=bc5,seed=2]",
            "table"
        ]
    );
    assert_eq!(
        origin(&loaded, "tune[task=bc5,seed=2]", "data"),
        ["data[task=bc5].train"]
    );
    assert_eq!(
        origin(&loaded, "tune[task=bc5,seed=2]", "start"),
        ["base.out"]
    );
    assert_eq!(
        origin(&loaded, "score[task=bc5,seed=2]", "model"),
        ["tune[task=bc5,seed=2].model"]
    );
    assert_eq!(
        origin(&loaded, "table", "all"),
        ["score[task=bc5,seed=1].out", "score[task=bc5,seed=2].out"]
    );
    assert_eq!(
        origin(&loaded, "table", "one"),
        ["tune[task=ddi,seed=2].log"]
    );
    assert_eq!(origin(&loaded, "table", "rows").len(), 4);
    let score = stage(&loaded, "score[task=ddi,seed=2]");
    assert!(
        score
            .lines_before
            .contains("config.argv.0 = \"ddi-2\"\nconfig.argv.1 = \"2\"\n")
    );
    assert_eq!(score.axes[1].json, "2");
    assert!(score.axes[1].replicate && !score.axes[0].replicate);
}

#[test]
fn files_extend_each_other_and_messages_name_the_file() {
    let scene = Scene::new(&[
        (
            "base.yaml",
            "doc: Base.\nparams: {epochs: 3, rate: 0.1}\nprofiles: {smoke: {params: {epochs: 1}}}\nstages:\n  a: {kind: tool, with: {argv: [\"${params.epochs}\", \"${params.rate}\"]}, retries: 2}\n  b: {kind: tool}\n",
        ),
        (
            "sub/middle.yaml",
            "extends: ../base.yaml\nparams: {rate: 0.2}\nstages: {b: null, c: {kind: tool}}\n",
        ),
        (
            "main.yaml",
            "extends: sub/middle.yaml\nstages: {a: {retries: null, protect: true}}\n",
        ),
    ]);
    let loaded = scene.load(None, &[]).expect("loads");
    assert_eq!(names(&loaded), ["a", "c"]);
    let a = stage(&loaded, "a");
    assert_eq!(
        a.lines_before,
        "config.argv.0 = \"3\"\nconfig.argv.1 = \"0.2\"\n"
    );
    assert!(a.policy.protect && a.policy.retries == 0);
    assert_eq!(loaded.workflow.doc.as_deref(), Some("Base."));
    let loaded = scene.load(Some("smoke"), &["rate=1e-3"]).expect("loads");
    assert_eq!(
        stage(&loaded, "a").lines_before,
        "config.argv.0 = \"1\"\nconfig.argv.1 = \"0.001\"\n"
    );
    let loaded = scene.load(Some("smoke"), &["epochs=9"]).expect("loads");
    assert!(
        stage(&loaded, "a")
            .lines_before
            .contains("config.argv.0 = \"9\"")
    );
    assert_eq!(loaded.read.len(), 4);

    let failure = scene
        .load(Some("smok"), &["epoch=3", "rate=[", "rate"])
        .expect_err("problems");
    expect_all(
        &shown(&failure),
        &[
            "unknown profile `smok` / did you mean `smoke`?",
            "--set:1:1 spec::unknown_parameter unknown parameter `epoch` / did you mean `epochs`?",
            "--set:1:6 spec::yaml the text is not YAML",
            "--set:1:1 spec::setting `--set rate` has no value",
        ],
    );
    let scene = Scene::new(&[
        (
            "other.yaml",
            "extends: main.yaml\nstages: {a: {kind: tool, rtries: 1}}\n",
        ),
        ("main.yaml", "extends: other.yaml\n"),
    ]);
    expect_all(
        &shown(&scene.load(None, &[]).expect_err("problems")),
        &[
            "files extend each other: main.yaml -> other.yaml -> main.yaml",
            "other.yaml:2:26 spec::unknown_key unknown key `rtries` in stage `a` / did you mean `retries`?",
        ],
    );
}

#[test]
fn settings_lead_into_maps_and_point_into_themselves() {
    let text = "params: {opt: {rate: 0.1}, n: 2}\nstages:\n  t: {kind: train, needs: {data: ./d}, with: {epochs: \"${params.n}\"}}\n  u: {kind: tool, with: {params: \"${params.opt}\"}}\n";
    let scene = Scene::new(&[("main.yaml", text), ("d", "")]);
    let loaded = scene.load(None, &["opt.rate=5e-4"]).expect("loads");
    assert_eq!(
        stage(&loaded, "u").lines_before,
        "config.params.rate = 0.0005\n"
    );
    let failure = scene.load(None, &["n=many"]).expect_err("problems");
    let problem = &failure.failure.diagnostics[0];
    assert_eq!(
        failure.sources.place(problem.labels[0].span),
        "main.yaml:3:55"
    );
    assert_eq!(failure.sources.place(problem.labels[1].span), "--set:1:3");
    let failure = scene.load(None, &["opt.rte=1"]).expect_err("problems");
    assert_eq!(
        failure.failure.diagnostics[0].help.as_deref(),
        Some("did you mean `rate`?")
    );
}

#[test]
fn recipes_are_defaults_under_the_stage() {
    let scene = Scene::new(&[
        (
            "stages/r.yaml",
            "kind: train\ndoc: A recipe.\nwith: {epochs: 3, layer_decay: 0.5}\nresources: {cores: 4}\n",
        ),
        (
            "main.yaml",
            "stages:\n  a: {use: stages/r.yaml, needs: {data: ./main.yaml}, with: {epochs: 5}}\n",
        ),
    ]);
    let loaded = scene.load(None, &[]).expect("loads");
    let a = stage(&loaded, "a");
    assert_eq!(
        a.lines_before,
        "config.epochs = 5\nconfig.layer_decay = 0.5\n"
    );
    assert_eq!(a.doc.as_deref(), Some("A recipe."));
    assert_eq!(a.policy.resources.cores, 4);
    let scene = Scene::new(&[
        (
            "stages/r.yaml",
            "kind: train\nwith: {epochs: 3, layr_decay: 1}\n",
        ),
        ("stages/none.yaml", "with: {}\n"),
        (
            "main.yaml",
            "stages:\n  a: {use: stages/r.yaml, needs: {data: ./main.yaml}}\n  b: {use: stages/gone.yaml}\n  c: {use: stages/r.yaml, kind: tool}\n  d: {use: stages/none.yaml}\n",
        ),
    ]);
    expect_all(
        &shown(&scene.load(None, &[]).expect_err("problems")),
        &[
            "stages/r.yaml:2:19 spec::unknown_key unknown key `layr_decay` in stage `a` / did you mean `layer_decay`?",
            "main.yaml:3:12 spec::missing_file the recipe `stages/gone.yaml` is missing",
            "main.yaml:4:7 spec::two_kinds stage `c` has both `kind` and `use`",
            "stages/none.yaml:1:1 spec::recipe the recipe `stages/none.yaml` says no kind",
        ],
    );
}

#[test]
fn the_folder_pipelines_is_not_the_root() {
    let scene = Scene::new(&[
        ("stages/r.yaml", "kind: tool\n"),
        (
            "pipelines/p.yaml",
            "stages: {a: {use: stages/r.yaml, needs: {x: data/x}}}\n",
        ),
        ("data/x", ""),
        (
            "pipelines/p.lock",
            "{\"version\":1,\"stages\":{\"a\":{\"url\":\"u\",\"digest\":\"sha256:0\",\"bytes\":1,\"date\":\"d\"}}}",
        ),
    ]);
    let file = scene.path().join("pipelines/p.yaml");
    let options = LoadOptions {
        file: &file,
        profiles: &[],
        set: &[],
        kinds: KINDS,
        mirrors: &[],
    };
    let loaded = load(&options).expect("loads");
    assert_eq!(loaded.workflow.root, scene.path());
    assert!(super::paths::check_paths(&loaded.workflow).is_empty());
    assert!(loaded.read.iter().all(|(_, digest)| digest.is_some()));
    fs_err::remove_file(scene.path().join("data/x")).expect("removed");
    let missing = super::paths::check_paths(&loaded.workflow);
    assert_eq!(missing.len(), 1);
    assert!(missing[0].labels[0].text.ends_with("/data"), "{missing:?}");
}

#[test]
fn the_lock_file_reaches_its_stage() {
    let lock = "{\"version\":1,\"stages\":{\"t[x=1]\":{\"url\":\"u\",\"digest\":\"sha256:ab\",\"bytes\":1,\"date\":\"d\"}}}";
    let main = "stages: {t: {kind: train, matrix: {x: [1, 2]}, needs: {data: ./main.yaml}, with: {epochs: 1}}}\n";
    let scene = Scene::new(&[("main.yaml", main), ("main.lock", lock)]);
    let loaded = scene.load(None, &[]).expect("loads");
    assert!(
        stage(&loaded, "t[x=1]")
            .lines_before
            .contains("config.locked = \"sha256:ab\"")
    );
    assert!(!stage(&loaded, "t[x=2]").lines_before.contains("locked"));
    let scene = Scene::new(&[
        ("main.yaml", main),
        ("main.lock", "{\"version\":1,\n \"stags\":{}}"),
    ]);
    let found = shown(&scene.load(None, &[]).expect_err("problems"));
    assert!(found[0].starts_with("main.lock:2:"), "{found:?}");
}

#[test]
fn matrix_mistakes_are_explained() {
    expect_all(
        &bad(
            "stages:\n  a: {kind: tool, matrix: {x: [1, 1]}}\n  b: {kind: tool, matrix: {zip: {x: [1, 2], y: [1]}}}\n  c: {kind: tool, matrix: {x: 3}}\n  d: {kind: tool, replicate: {s: [1], t: [2]}}\n  e: {kind: tool, matrix: {from: nothing}}\n  f: {kind: tool, matrix: {from: g}}\n  g: {kind: tool, matrix: {from: f}}\n  h: {kind: tool, matrix: {X: [1]}}\n  i: {kind: tool, matrix: {x: [1, 2], exclude: [{x: 3}]}}\n  j: {kind: tool, matrix: {x: [1, 2], include: [{y: 3}]}}\n  k: {kind: tool, matrix: {x: []}}\n  l: {kind: tool, matrix: {x: [1], zip: {x: [1]}}}\n  m: {kind: tool, matrix: {x: [1, 2], exclude: [{x: 1}, {x: 2}]}}\n",
        ),
        &[
            "stage `a` has the instance `a[x=1]` twice",
            "the lists under `zip` of stage `b` differ in length: `x` has 2, `y` has 1",
            "the axis `x` of stage `c` is a whole number, not a list",
            "`replicate` of stage `d` is not one axis",
            "`from` of stage `e` names an unknown stage `nothing`",
            "axes come `from` each other: f -> g -> f",
            "`X` cannot name an axis",
            "this entry of `exclude` of stage `i` removes nothing",
            "this entry of `include` of stage `j` has other axes than the matrix",
            "the axis `x` of stage `k` has no values",
            "stage `l` has the axis `x` twice",
            "`exclude` leaves nothing of stage `m`",
        ],
    );
}

#[test]
fn zip_include_and_exclude_shape_the_cells() {
    let loaded = good(
        "stages:\n  a: {kind: tool, matrix: {zip: {m: [s, l], n: [1, 2]}, t: [x, 'y z'], exclude: [{m: s, t: x}], include: [{m: q, n: 9, t: x}]}, replicate: {seed: [1]}}\n  b: {kind: tool, matrix: {include: [{x: 1, y: 2}, {y: 3, x: 4}]}}\n",
    );
    assert_eq!(
        names(&loaded),
        [
            "a[m=s,n=1,t=\"y z\",seed=1]",
            "a[m=l,n=2,t=x,seed=1]",
            "a[m=l,n=2,t=\"y z\",seed=1]",
            "a[m=q,n=9,t=x,seed=1]",
            "b[x=1,y=2]",
            "b[x=4,y=3]"
        ]
    );
}

#[test]
fn joins_that_cannot_be_made_are_explained() {
    expect_all(
        &bad(&format!(
            "stages:\n  plain: {TOOL}\n  many: {{kind: tool, matrix: {{t: [a, b]}}, outputs: {{o: o}}}}\n  two: {{kind: tool, outputs: {{p: p, q: q}}}}\n  none: {{kind: tool}}\n  a: {{kind: tool, needs: {{x: many}}}}\n  b: {{kind: tool, matrix: {{t: [c]}}, needs: {{x: many}}}}\n  c: {{kind: tool, needs: {{x: {{stage: many, where: {{t: aa, u: 1}}}}}}}}\n  d: {{kind: tool, needs: {{x: two, q: two, p: {{stage: two, output: r}}}}}}\n  e: {{kind: tool, needs: {{x: none, m: none.metrics}}}}\n  f: {{kind: tool, needs: {{x: 'many[t=a]', y: 3, z: {{stage: plain, file: ./x}}, w: {{al: plain}}, v: {{all: many, wher: {{}}}}}}}}\n"
        )),
        &[
            "input `x` of stage `a` could be any of several instances of `many` / take one with",
            "no instance of `many` fits input `x` of stage `b`",
            "the axis `t` of stage `many` has no value `aa` / did you mean `a`?",
            "stage `many` has no axis `u`",
            "stage `two` leaves several outputs and none is called `x` / name one: `two.p`",
            "stage `two` has no output `r`",
            "stage `none` leaves no output / declare one under its `outputs:`, or write `none.metrics`",
            "input `x` of stage `f` selects an instance",
            "input `y` of stage `f` is a whole number, not a source",
            "input `z` of stage `f` names no source, or several",
            "input `w` of stage `f` names no source, or several",
            "unknown key `wher` in input `v` of stage `f` / did you mean `where`?",
        ],
    );
}

#[test]
fn a_stage_may_read_other_instances_of_itself() {
    let loaded = good(
        "stages:\n  first: {kind: tool, outputs: {o: o}}\n  a: {kind: tool, matrix: {step: [2, 1]}, needs: {all: {all: first}}, outputs: {o: o}}\n",
    );
    assert_eq!(names(&loaded), ["first", "a[step=2]", "a[step=1]"]);
}

#[test]
fn places_do_not_collide() {
    expect_all(
        &bad(
            "stages:\n  a: {kind: tool, needs: {x: ./f, y: {file: ./g, as: x}}}\n  b: {kind: tool, needs: {x: ./f}, outputs: {o: x/y}}\n  c: {kind: tool, needs: {x: {file: ./f, as: ../up}}, outputs: {o: /abs, p: a/../../b}}\n  d: {kind: tool, outputs: {o: ck/x}, checkpoint: {dir: ck, signal: USR1, grace: 2m}}\n  e: {kind: tool, publish: ../out, numbers: [../n]}\n",
        ),
        &[
            "the input `x` and the input `y` of stage `a` both stand at `x`",
            "the input `x` and the output `o` of stage `b` overlap",
            "`../up` cannot be the place of input `x` of stage `c`",
            "`/abs` cannot be an output of stage `c`: it is absolute",
            "`a/../../b` cannot be an output of stage `c`: it leads out",
            "the checkpoint folder and the output `o` of stage `d` overlap",
            "`../out` cannot be `publish` of stage `e`",
            "`../n` cannot be `numbers` of stage `e`",
            "input file `f` of stage `a` is missing",
            "input file `g` of stage `a` is missing",
            "input file `f` of stage `b` is missing",
        ],
    );
}

#[test]
fn scripts_are_literal_and_secrets_stay_out() {
    let loaded = good(
        "params: {n: 3}\nstages:\n  a:\n    kind: tool\n    with: {script: 'echo ${params.n} $${x}', argv: ['${params.n}']}\n    env:\n      PLAIN: '${params.n}'\n      PIPELINE_TEST_SURELY_UNSET: {from: environment}\n      TOKEN: {from: environment, secret: true}\n      INLINE: {value: abc, secret: true}\n    environment: {files: [./main.yaml, sub/uv.lock], record: [[python, --version]], strict: true}\n    resources: {device: reference}\n",
    );
    let a = stage(&loaded, "a");
    assert_eq!(
        a.lines_before,
        "config.argv.0 = \"3\"\nconfig.script = \"echo ${params.n} $${x}\"\ndevice = \"reference\"\nenv.PIPELINE_TEST_SURELY_UNSET = null\nenv.PLAIN = \"3\"\n"
    );
    assert_eq!(
        loaded.workflow.environment,
        [("PIPELINE_TEST_SURELY_UNSET".to_owned(), None)]
    );
    let inline = a
        .policy
        .env
        .iter()
        .find(|v| v.name == "INLINE")
        .expect("INLINE");
    assert!(inline.secret && inline.value.as_deref() == Some("abc"));
    assert!(a.policy.record_strict);
    assert_eq!(origin(&loaded, "a", "environment/main.yaml"), ["main.yaml"]);
}

#[test]
fn a_parameter_nobody_uses_is_a_warning() {
    let loaded = good(
        "params: {a: 1, b: '${params.a}', c: 2}\nstages: {s: {kind: tool, with: {argv: ['${params.b}']}}}\n",
    );
    let codes: Vec<&str> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(codes, ["nothing refers to the parameter `c`"]);
}

#[test]
fn a_wrong_instance_does_not_make_its_readers_wrong() {
    let found = bad(
        "stages:\n  t: {kind: train, matrix: {n: [0, 1]}, needs: {data: ./main.yaml}, with: {epochs: '${matrix.n}'}}\n  r: {kind: tool, matrix: {from: t}, needs: {m: t.model}}\n",
    );
    expect_all(&found, &["nothing is trained in 0 epochs"]);
}

#[test]
fn values_come_from_the_environment_of_the_run() {
    let (name, value) = std::env::vars()
        .find(|(name, value)| {
            !value.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        })
        .expect("tests have some environment");
    let loaded = good(&format!(
        "stages: {{s: {{kind: tool, env: {{{name}: {{from: environment}}}}}}}}\n"
    ));
    assert_eq!(
        loaded.workflow.environment,
        [(name.clone(), Some(value.clone()))]
    );
    assert_eq!(stage(&loaded, "s").policy.env[0].value, Some(value));
    assert!(
        stage(&loaded, "s")
            .lines_before
            .starts_with(&format!("env.{name} = "))
    );
}

#[test]
fn an_undefined_reference_is_one_message() {
    let found = bad(
        "params: {epochs: 1, self: '${params.self}'}\nstages:\n  t: {kind: train, matrix: {x: '${params.y}'}, needs: {data: ./main.yaml}, with: {epochs: 1}}\n  u: {kind: train, needs: {data: '${matrix.z}'}, with: {epochs: '${params.epoch}', layer_decay: -0}, resources: {cores: '${cores}'}}\n",
    );
    expect_all(
        &found,
        &[
            "parameters refer to each other: self -> self",
            "`${params.y}` refers to an undefined parameter `y`",
            "`${matrix.z}` refers to an undefined axis `z`",
            "`${params.epoch}` refers to an undefined parameter `epoch` / did you mean `epochs`?",
            "`-0` is not accepted",
            "`${cores}` is not a reference",
        ],
    );
}
