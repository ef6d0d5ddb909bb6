//! Tests of what a stage becomes when it is loaded.

use crate::spec::testing::{bad, expect_all, good, origin, stage};
use crate::spec::{Keep, Launch};

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
