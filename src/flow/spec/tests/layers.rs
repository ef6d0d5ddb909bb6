//! Tests of files that lie over each other: `extends`, profiles, settings, recipes, the lock file.

use crate::spec::load::{LoadOptions, load};
use crate::spec::testing::{KINDS, Scene, expect_all, good, names, shown, stage};

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
        device: None,
    };
    let loaded = load(&options).expect("loads");
    assert_eq!(loaded.workflow.root, scene.path());
    assert!(crate::spec::paths::check_paths(&loaded.workflow).is_empty());
    assert!(loaded.read.iter().all(|(_, digest)| digest.is_some()));
    fs_err::remove_file(scene.path().join("data/x")).expect("removed");
    let missing = crate::spec::paths::check_paths(&loaded.workflow);
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
fn a_stage_is_there_where_its_condition_holds() {
    let text = "params: {encoder: made, steps: 3, n: 2}\nstages:\n  made: {kind: tool, when: {encoder: made}, with: {argv: [\"${params.steps}\"]}, outputs: {out: out}}\n  given: {kind: tool, when: {encoder: [given, bought], n: 2}, outputs: {out: out}}\n  use: {kind: tool, needs: {start: \"${params.encoder}\"}}\n";
    let scene = Scene::new(&[("main.yaml", text)]);
    assert_eq!(
        names(&scene.load(None, &[]).expect("loads")),
        ["made", "use"]
    );
    let loaded = scene.load(None, &["encoder=given"]).expect("loads");
    assert_eq!(names(&loaded), ["given", "use"]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let failure = scene
        .load(None, &["encoder=bought"])
        .expect_err("a stage of another name");
    expect_all(
        &shown(&failure),
        &["input `start` of stage `use` needs an unknown stage `bought`"],
    );
    let failure = scene
        .load(None, &["encoder=given", "n=3"])
        .expect_err("nothing is left to begin from");
    expect_all(
        &shown(&failure),
        &[
            "input `start` of stage `use` needs the stage `given`, which its `when` leaves out: `n` is `3`, not `2`",
        ],
    );

    let scene = Scene::new(&[(
        "main.yaml",
        "params: {a: 1, many: [1], other: \"${params.a}\"}\nstages:\n  x: {kind: tool, when: {b: 1}}\n  y: {kind: tool, when: [a]}\n  z: {kind: tool, when: {many: 1, other: 1}}\n  v: {kind: tool, when: {a: \"1\"}}\n  w: {kind: tool, when: null, with: {argv: [\"${params.a}\"]}}\n",
    )]);
    let failure = scene.load(None, &[]).expect_err("problems");
    expect_all(
        &shown(&failure),
        &[
            "`when` of stage `x` looks at an unknown parameter `b`",
            "`when` of stage `y` is a list, not a map",
            "`when` of stage `z` compares `many` with a list",
            "`when` of stage `z` compares `other` with a reference",
        ],
    );
}
