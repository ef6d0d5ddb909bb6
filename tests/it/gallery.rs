//! The gallery of messages: what a person sees who made one mistake. One snapshot each, the file above the message.

use crate::shell::{self, PROGRAM};
use crate::space::Space;

/// A pipeline file with a mistake, and the command that meets it.
fn show(name: &str, pipeline: &str, command: &str) {
    let space = Space::new();
    space.write("pipelines/paper.yaml", pipeline);
    space.write("data/words.txt", "one two\n");
    judge(name, &space, pipeline, command);
}

fn judge(name: &str, space: &Space, pipeline: &str, command: &str) {
    let printed = shell::run(space, command);
    let shown = keep_columns(space, &printed.text.replace(PROGRAM, "pipeline"));
    let text = format!(
        "{}\n$ {command}\n{shown}[exit code {}]",
        pipeline.trim_end(),
        printed.code
    );
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Plain text whose excerpts keep their columns: only lines without a frame are made plain.
fn keep_columns(space: &Space, text: &str) -> String {
    let framed = |line: &str| line.contains(['│', '·', '╭', '╰']);
    text.lines()
        .map(|line| {
            let line = if framed(line) {
                line.trim_end().to_owned()
            } else {
                shell::plain(space, line)
            };
            line.replace(&space.root().display().to_string(), "HERE") + "\n"
        })
        .collect()
}

const CHECK: &str = "pipeline check pipelines/paper.yaml";
const RUN: &str = "pipeline run pipelines/paper.yaml -j1";

const STOPPABLE: &str = "\
params: { ready: ready }
stages:
  read:
    kind: command
    with: { argv: [touch, words] }
    outputs: { words: words }
  train:
    kind: command
    needs: { words: read }
    with: { script: 'echo > $READY; exec tail -f /dev/null' }
    env: { READY: { value: '${params.ready}', secret: true } }
    outputs: { model: model }
    checkpoint: saved
";

/// `name: (command, pipeline)`.
macro_rules! gallery {
    ($($(#[$doc:meta])* $name:ident: $command:expr, $pipeline:expr;)*) => {
        $($(#[$doc])* #[test] fn $name() { show(stringify!($name), $pipeline, $command); })*
    };
}

gallery! {
    unknown_key: CHECK, "\
stages:
  pretrain:
    kind: command
    with: { argv: [sh, -c, 'echo > model'], parms: { learning_rate: 5.0e-4 } }
    outputs: { model: model }
";
    unknown_stage_key: CHECK, "\
stages:
  read:
    kind: command
    deps: { words: data/words.txt }
    with: { argv: [wc, -l, words] }
";
    unknown_kind: CHECK, "\
stages:
  read:
    kind: comand
    with: { argv: [wc, -l, words] }
";
    missing_file: CHECK, "\
stages:
  read:
    kind: command
    needs: { raw: data/ddi.zip }
    with: { argv: [unzip, raw] }
    outputs: { out: ddi }
";
    cycle: CHECK, "\
stages:
  a:
    kind: command
    needs: { in: c }
    with: { argv: [cp, in, out] }
    outputs: { out: out }
  b:
    kind: command
    needs: { in: a }
    with: { argv: [cp, in, out] }
    outputs: { out: out }
  c:
    kind: command
    needs: { in: b }
    with: { argv: [cp, in, out] }
    outputs: { out: out }
";
    tab_indentation: CHECK, "\
stages:
\tread:
\t\tkind: command
";
    duplicate_key: CHECK, "\
stages:
  read:
    kind: command
    with: { argv: [wc, -l, words] }
    needs: { words: data/words.txt }
    with: { argv: [wc, -c, words] }
";
    stage_name_with_capital: CHECK, "\
stages:
  FineTune:
    kind: command
    with: { argv: [echo, done] }
";
    needs_as_list: CHECK, "\
stages:
  read:
    kind: command
    needs: [data/words.txt]
    with: { argv: [wc, -l, words] }
";
    shell_line_in_argv: CHECK, "\
stages:
  read:
    kind: command
    needs: { words: data/words.txt }
    with: { argv: ['wc -l words > lines'] }
    outputs: { lines: lines }
";
    argv_as_text: CHECK, "\
stages:
  read:
    kind: command
    needs: { words: data/words.txt }
    with: { argv: wc -l words }
    outputs: { lines: lines }
";
    output_outside_the_folder: CHECK, "\
stages:
  read:
    kind: command
    with: { argv: [sh, -c, 'date > ../../out'] }
    outputs: { out: ../../out }
";
    reference_without_prefix: CHECK, "\
params: { epochs: 3 }
stages:
  train:
    kind: command
    with: { argv: [train, --epochs, '${epochs}'] }
    outputs: { model: model }
";
    undefined_parameter: CHECK, "\
params: { epochs: 3 }
stages:
  train:
    kind: command
    with: { argv: [train, --epochs, '${params.epoch}'] }
    outputs: { model: model }
";
    wrong_type: CHECK, "\
stages:
  read:
    kind: fetch
    with: { url: 'https://example.org/a.zip', strip: one }
";
    missing_script_file: CHECK, "\
stages:
  train:
    kind: command
    needs: { code: src/train.py }
    with: { argv: [python3, code] }
    outputs: { model: model }
";
    misspelt_stage: CHECK, "\
stages:
  count:
    kind: command
    needs: { words: claen }
    with: { argv: [cp, words, count] }
    outputs: { count: count }
  clean:
    kind: command
    needs: { text: data/words.txt }
    with: { argv: [cp, text, words] }
    outputs: { words: words }
";
    file_without_a_slash: CHECK, "\
stages:
  count:
    kind: command
    needs: { words: words.txt }
    with: { argv: [cp, words, count] }
    outputs: { count: count }
";
    unknown_axis: CHECK, "\
stages:
  train:
    kind: command
    matrix: { task: [ddi, chemprot] }
    with: { argv: [train, '${matrix.tsk}'] }
    outputs: { model: model }
";
    axis_in_the_wrong_stage: CHECK, "\
stages:
  train:
    kind: command
    with: { argv: [train, '${matrix.task}'] }
    outputs: { model: model }
";
    unknown_stage_selected: "pipeline run pipelines/paper.yaml trian", "\
stages:
  train:
    kind: command
    with: { argv: [touch, model] }
    outputs: { model: model }
";
    unknown_instance_selected: "pipeline run pipelines/paper.yaml 'train[task=dddi]'", "\
stages:
  train:
    kind: command
    matrix: { task: [ddi, chemprot] }
    with: { argv: [touch, model] }
    outputs: { model: model }
";
    wrong_set_name: "pipeline run pipelines/paper.yaml --set epoch=5", "\
params: { epochs: 3 }
stages:
  train:
    kind: command
    with: { argv: [touch, model], params: { epochs: '${params.epochs}' } }
    outputs: { model: model }
";
    set_without_value: "pipeline run pipelines/paper.yaml --set epochs", "\
params: { epochs: 3 }
stages: {}
";
    unknown_profile: "pipeline run pipelines/paper.yaml --profile smoke", "\
params: { epochs: 3 }
profiles: { smoke-test: { params: { epochs: 1 } } }
stages:
  train:
    kind: command
    with: { argv: [touch, model], params: { epochs: '${params.epochs}' } }
    outputs: { model: model }
";
    missing_pipeline_file: "pipeline run pipelines/papr.yaml", "\
stages: {}
";
    missing_recipe: CHECK, "\
stages:
  train:
    use: stages/finetune.yaml
";
    publish_twice: CHECK, "\
stages:
  one:
    kind: command
    with: { argv: [touch, model] }
    outputs: { model: model }
    publish: results
  two:
    kind: command
    with: { argv: [touch, model, log] }
    outputs: { model: model, log: log }
    publish: results
";
    publish_over_a_file_of_the_user: RUN, "\
stages:
  one:
    kind: command
    with: { argv: [touch, words.txt] }
    outputs: { words: words.txt }
    publish: data
";
    program_not_found: RUN, "\
stages:
  train:
    kind: command
    with: { argv: [pyhton3, --version] }
    outputs: { model: model }
";
    exit_code_127: RUN, "\
stages:
  train:
    kind: command
    with:
      script: |
        echo reading
        pyhton3 train.py
    outputs: { model: model }
";
    exit_code_1: RUN, "\
stages:
  train:
    kind: command
    with:
      script: |
        seq 1 30
        echo 'the loss is NaN' >&2
        exit 1
    outputs: { model: model }
  score:
    kind: command
    needs: { model: train }
    with: { argv: [cp, model, scores] }
    outputs: { scores: scores }
";
    missing_output: RUN, "\
stages:
  train:
    kind: command
    with: { argv: [touch, modle] }
    outputs: { model: model }
";
    missing_port: CHECK, "\
stages:
  read:
    kind: dataset
    needs: { trian: data/words.txt }
    with: { reader: conll, name: words }
";
    neither_data_nor_text: CHECK, "\
stages:
  speak:
    kind: predict
    needs: { model: data/ }
    with: { name: notes }
";
    data_and_text_at_once: CHECK, "\
stages:
  speak:
    kind: predict
    needs: { model: data/, data: data/, text: data/words.txt }
    with: { name: notes }
";
    glob_without_match: CHECK, "\
stages:
  read:
    kind: command
    needs: { texts: data/*.xml }
    with: { argv: [ls, texts] }
    outputs: { out: out }
";
    retries_many: CHECK, "\
stages:
  read:
    kind: command
    retries: many
    with: { argv: [touch, out] }
    outputs: { out: out }
";
    time_without_unit: CHECK, "\
stages:
  read:
    kind: command
    resources: { time: a while, memory: 4 gigs }
    with: { argv: [touch, out] }
    outputs: { out: out }
";
    unknown_output_of_a_stage: CHECK, "\
stages:
  train:
    kind: command
    with: { argv: [touch, model] }
    outputs: { model: model }
  score:
    kind: command
    needs: { model: train.modle }
    with: { argv: [cp, model, scores] }
    outputs: { scores: scores }
";
    claims_that_nothing_judges: CHECK, "\
stages:
  train:
    kind: command
    with: { argv: [sh, -c, 'echo 1 > scores.json'] }
    outputs: { scores: scores.json }
expect:
  - { metric: f1, value: 90.03 }
";
    output_called_metrics: CHECK, "\
stages:
  train:
    kind: command
    with: { argv: [touch, m.txt] }
    outputs: { metrics: m.txt }
    numbers: n.json
";
    report_of_a_stage_without_numbers: CHECK, "\
stages:
  train:
    kind: command
    with: { argv: [touch, model] }
    outputs: { model: model }
  table:
    kind: report
    needs: { scores: train }
";
    unknown_value_in_where: CHECK, "\
stages:
  train:
    kind: command
    matrix: { task: [ddi, chemprot] }
    with: { argv: [touch, model] }
    outputs: { model: model }
    numbers: scores.json
  table:
    kind: report
    needs: { scores: { all: train, where: { task: dddi } } }
";
    dataset_without_inputs: CHECK, "\
stages:
  read:
    kind: dataset
    with: { reader: conl, name: words }
";
    fetch_without_source: CHECK, "\
stages:
  get:
    kind: fetch
    with: { sha256: abc }
";
    fetch_with_another_digest: "pipeline run pipelines/paper.yaml -j1 --set \"url=file://$PWD/data/words.txt\"", "\
params: { url: 'https://example.org/words.txt' }
stages:
  get:
    kind: fetch
    with: { url: '${params.url}', blake3: '0000000000000000000000000000000000000000000000000000000000000000' }
";
    fetch_by_hand: RUN, "\
stages:
  get:
    kind: fetch
    with: { manual: register at https://example.org/corpus, put: data/corpus.zip }
";
    fetch_offline: "pipeline run pipelines/paper.yaml -j1 --offline", "\
stages:
  get:
    kind: fetch
    with: { url: 'https://example.org/corpus.zip' }
";
    claim_that_does_not_hold: "pipeline run pipelines/paper.yaml -j1 --strict", "\
stages:
  count:
    kind: command
    needs: { words: data/words.txt }
    with: { script: 'wc -w < words | sed \"s/.*/{\\\"words\\\": &}/\" > n.json' }
    numbers: n.json
  table:
    kind: report
    needs: { count: count }
expect:
  - { metric: words, value: 3, source: Table 1 }
";
    choice_of_an_unknown_axis: CHECK, "\
stages:
  tune:
    kind: command
    matrix: { rate: [1.0e-4, 1.0e-3], epochs: [3, 5] }
    replicate: { seed: [1, 2] }
    with: { argv: [./train, '${matrix.rate}'] }
    numbers: scores.json
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate, epochs], metric: f1 }
  final:
    kind: command
    with: { argv: [./train, '${choose.rte}'] }
    publish: 'results/${choose.rate}'
";
    choice_that_does_not_fit: CHECK, "\
stages:
  tune:
    kind: command
    matrix: { rate: [1.0e-4, fast] }
    with: { argv: [./train, '${matrix.rate}'] }
    numbers: scores.json
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1 }
  final:
    kind: finetune
    needs: { data: data/words.txt, vocabulary: data/words.txt }
    with: { name: words, size: tiny, epochs: 1, batch: 8, learning_rate: '${choose.rate}', seed: 1 }
";
    choice_of_any_task: CHECK, "\
stages:
  tune:
    kind: command
    matrix: { task: [ddi, chemprot], rate: [1.0e-4, 1.0e-3] }
    with: { argv: [./train, '${matrix.rate}'] }
    numbers: scores.json
  choose:
    kind: select
    matrix: { task: [ddi, chemprot] }
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1 }
  final:
    kind: command
    with: { argv: [./train, '${choose.rate}'] }
";
    choice_over_unlike_things: CHECK, "\
stages:
  tune:
    kind: command
    matrix: { task: [ddi, chemprot], rate: [1.0e-4, 1.0e-3] }
    with: { argv: [./train, '${matrix.rate}'] }
    numbers: scores.json
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1 }
";
    choice_on_test: RUN, "\
stages:
  tune:
    kind: command
    matrix: { rate: [1.0e-4, 1.0e-3] }
    with: { script: 'echo \"{\\\"metric\\\": \\\"f1\\\", \\\"split\\\": \\\"test\\\", \\\"value\\\": 0.9}\" > scores.jsonl', params: { rate: '${matrix.rate}' } }
    numbers: scores.jsonl
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1 }
";
    choice_with_a_seed_missing: RUN, "\
stages:
  tune:
    kind: command
    matrix: { rate: [1.0e-4, 1.0e-3] }
    replicate: { seed: [1, 2] }
    with:
      script: |
        grep -q 'rate.*0.001' params.json && grep -q 'seed.*2' params.json && name=loss || name=f1
        echo \"{\\\"metric\\\": \\\"$name\\\", \\\"split\\\": \\\"dev\\\", \\\"value\\\": 0.9}\" > scores.jsonl
      params: { rate: '${matrix.rate}', seed: '${replicate.seed}' }
    numbers: scores.jsonl
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1 }
";
    protected_result: "pipeline run pipelines/paper.yaml -j1 >/dev/null 2>&1; pipeline run pipelines/paper.yaml -j1 --set epochs=5", "\
params: { epochs: 3 }
stages:
  train:
    kind: command
    with: { argv: [touch, model], params: { epochs: '${params.epochs}' } }
    outputs: { model: model }
    protect: true
  score:
    kind: command
    needs: { model: train }
    with: { argv: [cp, model, scores] }
    outputs: { scores: scores }
";
    /// A bit of the object is flipped; the result it belongs to is remade where it is needed.
    corrupt_object: "pipeline run pipelines/paper.yaml -j1 >/dev/null 2>&1; object=$(pipeline path pipelines/paper.yaml train); chmod u+w $object; printf 'Xne two\\n' > $object; pipeline run pipelines/paper.yaml -j1 --set runs=2", "\
params: { runs: 1 }
stages:
  train:
    kind: command
    needs: { words: data/words.txt }
    with: { argv: [cp, words, model] }
    outputs: { model: model }
  score:
    kind: command
    needs: { model: train }
    with: { argv: [cp, model, scores], params: { runs: '${params.runs}' } }
    outputs: { scores: scores }
";
    /// Ctrl-C: the first stage is done, the second was at work.
    interrupted: "mkfifo ready; { read go < ready; kill -INT $$; } & exec pipeline run pipelines/paper.yaml -j1 --set ready=$PWD/ready", STOPPABLE;
    /// What Slurm sends before the time is over.
    terminated: "mkfifo ready; { read go < ready; kill -TERM $$; } & exec pipeline run pipelines/paper.yaml -j1 --set ready=$PWD/ready", STOPPABLE;
    many_at_once: CHECK, "\
params: { epochs: 3 }
stages:
  train:
    kind: comand
    with: { argv: [touch, model] }
  score:
    kind: command
    needs: { model: train.modl, words: data/word.txt }
    with: { argv: [touch, '${params.epoch}'] }
    outputs: { scores: /tmp/scores }
    retires: 2
";
}
