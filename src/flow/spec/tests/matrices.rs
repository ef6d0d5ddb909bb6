//! Tests of axes: cells, joins, and what can be wrong with them.

use crate::spec::testing::{TOOL, bad, expect_all, good, names, origin, stage};

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
            "stage `none` leaves no output / declare one under its `outputs:`",
            "stage `none` leaves no numbers / name the file it writes them to: `numbers: scores.json`",
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
fn a_wrong_instance_does_not_make_its_readers_wrong() {
    let found = bad(
        "stages:\n  t: {kind: train, matrix: {n: [0, 1]}, needs: {data: ./main.yaml}, with: {epochs: '${matrix.n}'}}\n  r: {kind: tool, matrix: {from: t}, needs: {m: t.model}}\n",
    );
    expect_all(&found, &["nothing is trained in 0 epochs"]);
}
