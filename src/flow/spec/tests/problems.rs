//! Tests of what is said of a wrong file.

use crate::spec::testing::{Scene, bad, expect_all, good, shown};

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
fn a_parameter_nobody_uses_is_a_warning() {
    let loaded = good(
        "params: {a: 1, b: '${params.a}', c: 2}\nstages: {s: {kind: tool, with: {argv: ['${params.b}']}}}\n",
    );
    let codes: Vec<&str> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(codes, ["nothing refers to the parameter `c`"]);
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
