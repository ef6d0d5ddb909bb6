//! Reports end to end: made-up rows to finished files, compared with recorded ones.

#![allow(missing_docs, reason = "a test binary has no documented interface")]

mod fixture;

use fixture::Fixture;
use report::{Claim, Instance, Options, ReportError};
use serde_json::json;

fn options(value: serde_json::Value) -> Options {
    serde_json::from_value(value).expect("valid options")
}

fn claims(value: serde_json::Value) -> Vec<Claim> {
    serde_json::from_value(value).expect("valid claims")
}

fn text(report: &report::Report, name: &str) -> String {
    String::from_utf8(report.files[name].clone()).expect("UTF-8")
}

/// Two tasks over three seeds; one seed lacks a number, one was made elsewhere, one rests on a stand-in.
fn scores(fixture: &mut Fixture) -> Vec<Instance> {
    let mut instances = Vec::new();
    for (task, numbers) in [("bc5cdr", [90.1, 89.7, 90.4]), ("ddi", [79.2, 78.4, 80.1])] {
        for (at, f1) in numbers.into_iter().enumerate() {
            let mut rows = vec![
                json!({"dataset": task, "split": "test", "metric": "loss", "value": 0.1 * (at as f64 + 1.0)}),
            ];
            if task == "bc5cdr" || at != 1 {
                rows.push(json!({"dataset": task, "split": "test", "metric": "f1", "value": f1, "n": 4145}));
            }
            let mut instance = fixture.instance("scores", &rows);
            instance.axes = vec![
                ("task".to_owned(), task.to_owned()),
                ("seed".to_owned(), (at + 1).to_string()),
            ];
            instance.replicate = Some("seed".to_owned());
            instance.device = Some(
                if task == "bc5cdr" && at == 2 {
                    "cuda:0 H200"
                } else {
                    "cpu"
                }
                .to_owned(),
            );
            if task == "ddi" {
                instance.notes.insert(
                    "stand_in".to_owned(),
                    json!("train rows reconstructed from the original corpus"),
                );
                instance
                    .notes
                    .insert("licence".to_owned(), json!(["CC BY-NC 4.0"]));
                instance
                    .notes
                    .insert("redistribute".to_owned(), json!(false));
                instance
                    .notes
                    .insert("origin".to_owned(), json!(["https://example.org/ddi.zip"]));
            }
            instances.push(instance);
        }
    }
    instances
}

fn score_options() -> Options {
    options(json!({
        "title": "Scores",
        "text": "Five *seeds* were planned.",
        "tables": [{
            "title": "Table 7: F1", "doc": "Means over seeds.", "rows": ["task"], "reference": "Paper",
            "where": {"task": ["ddi", "bc5cdr"]},
            "numbers": [{"metric": "f1", "label": "F1", "decimals": 2, "format": "decimals"}, {"metric": "loss", "label": "Loss"}],
            "labels": {"bc5cdr": "BC5CDR", "ddi": "DDI-2013", "task": "Task"}
        }],
        "charts": [
            {"title": "F1 by task", "kind": "bars", "metric": "f1", "x": "task", "from": 70},
            {"title": "Every seed", "kind": "dots", "metric": "f1", "x": "task"},
            {"title": "Loss by seed", "kind": "lines", "metric": "loss", "x": "seed", "series": "task"}
        ]
    }))
}

fn score_claims() -> Vec<Claim> {
    claims(json!([
        {"metric": "f1", "where": {"task": "bc5cdr"}, "value": 90.03, "tolerance": 0.8, "source": "Table 7"},
        {"metric": "f1", "where": {"task": "ddi"}, "value": 81.5, "tolerance": 0.8, "source": "Table 7", "note": "The training rows are reconstructed."},
        {"metric": "f1", "where": {"task": "jnlpba"}, "value": 77.0},
        {"metric": "f1", "where": {"tsk": "ddi"}, "value": 77.0},
        {"metric": "loss", "value": 0.2}
    ]))
}

#[test]
fn markdown_and_page_of_scores() {
    let mut fixture = Fixture::new();
    let instances = scores(&mut fixture);
    let report =
        report::build(&score_options(), &score_claims(), instances, None).expect("a report");
    assert_eq!(
        (
            report.counts.reproduced,
            report.counts.missing,
            report.counts.not_comparable
        ),
        // Three seeds against one stated run are a wide interval; what rests on a stand-in is not judged.
        (0, 3, 1)
    );
    report
        .write(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("scores"))
        .expect("files");
    insta::assert_snapshot!("scores_markdown", text(&report, "report.md"));
    insta::assert_snapshot!(
        "scores_page",
        text(&report, "index.html")
            .split_once("</style>")
            .expect("a style sheet")
            .1
    );
    insta::assert_snapshot!("scores_latex", text(&report, "tables/table-7-f1.tex"));
    insta::assert_snapshot!("scores_csv", text(&report, "tables/table-7-f1.csv"));
    insta::assert_snapshot!("scores_rows", text(&report, "tables/rows.csv"));
    insta::assert_snapshot!("scores_claims", text(&report, "tables/claims.csv"));
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let build = || {
        let mut fixture = Fixture::new();
        let instances = scores(&mut fixture);
        report::build(&score_options(), &score_claims(), instances, None)
            .expect("a report")
            .files
    };
    let (first, second) = (build(), build());
    assert_eq!(first.len(), 13, "{:?}", first.keys());
    for (name, bytes) in &first {
        assert_eq!(Some(bytes), second.get(name), "{name}");
    }
}

#[test]
fn a_page_needs_nothing_from_outside() {
    let mut fixture = Fixture::new();
    let instances = scores(&mut fixture);
    let report =
        report::build(&score_options(), &score_claims(), instances, None).expect("a report");
    let page = text(&report, "index.html");
    for word in [
        "<script", "<link", "@import", "url(", "<img", "<iframe", " src=",
    ] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn without_options_there_is_a_table_a_data_set() {
    let mut fixture = Fixture::new();
    let rows = [
        json!({"dataset": "ncbi", "split": "train", "metric": "sentences", "value": 5429}),
        json!({"dataset": "ncbi", "split": "dev", "metric": "sentences", "value": 923}),
        json!({"dataset": "ncbi", "split": "train", "metric": "entities", "value": 5134}),
        json!({"dataset": "ncbi", "split": "train", "metric": "entities", "class": "Disease", "value": 5134}),
        json!({"metric": "seconds", "value": 1.5}),
    ];
    let instance = fixture.instance("counts", &rows);
    let report = report::build(&Options::default(), &[], vec![instance], None).expect("a report");
    insta::assert_snapshot!("automatic_markdown", text(&report, "report.md"));
}

#[test]
fn text_is_escaped_everywhere() {
    let nasty = "<script>alert(1)</script> & a|b *c* _d_ 100% $x$ #1 {e} \\f ~ ^ \"q\" 'r'";
    let mut fixture = Fixture::new();
    let mut instance = fixture.instance(
        "in",
        &[
            json!({"dataset": nasty, "metric": "f1", "value": 1.5}),
            json!({"dataset": "plain", "metric": "f1", "value": 2.5}),
        ],
    );
    instance
        .notes
        .insert("origin".to_owned(), json!("javascript:alert(1)"));
    instance.notes.insert("stand_in".to_owned(), json!(nasty));
    instance.notes.insert("licence".to_owned(), json!(nasty));
    let report = report::build(
        &options(json!({
            "title": nasty, "text": nasty,
            "tables": [{"title": nasty, "doc": nasty, "rows": ["dataset"], "labels": {"f1": nasty}, "reference": nasty}],
            "charts": [{"title": nasty, "kind": "bars", "metric": "f1", "x": "dataset"}]
        })),
        &claims(json!([{"metric": "f1", "where": {"dataset": nasty}, "value": 1, "note": nasty, "source": nasty}])),
        vec![instance],
        None,
    )
    .expect("a report");
    for (name, bytes) in &report.files {
        if name.ends_with(".html") || name.ends_with(".md") || name.ends_with(".svg") {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("<script"), "{name}");
            assert!(!text.contains("href=\"javascript"), "{name}");
        }
    }
    let slug = "script-alert-1-script-a-b-c-d-100-x-1-e-f-q-r";
    insta::assert_snapshot!("nasty_latex", text(&report, &format!("tables/{slug}.tex")));
    let markdown = text(&report, "report.md");
    let row = markdown
        .lines()
        .find(|line| line.contains("1.50"))
        .expect("a row");
    let bars = row.replace("\\|", "").matches('|').count();
    let rule = markdown
        .lines()
        .find(|line| line.starts_with("| ---"))
        .expect("a table");
    assert_eq!(bars, rule.matches('|').count(), "{row}");
}

#[test]
fn unlike_rows_are_never_averaged() {
    let mut fixture = Fixture::new();
    let instance = fixture.instance(
        "in",
        &[
            json!({"split": "dev", "metric": "f1", "value": 1}),
            json!({"split": "test", "metric": "f1", "value": 2}),
        ],
    );
    let table = |value: serde_json::Value| {
        report::build(
            &options(json!({"tables": [value]})),
            &[],
            vec![instance.clone()],
            None,
        )
    };
    let error = table(json!({"title": "T"})).expect_err("two splits in one cell");
    insta::assert_snapshot!(format!("{error}\n{}", error.help().expect("help")), @r"
    table `T`, cell `f1`: one cell would mix rows that differ in `split`
    add `split` to `rows` or `columns`, or choose one value in `where`
    ");
    let error = table(json!({"title": "T", "rows": ["spilt"]})).expect_err("no such column");
    insta::assert_snapshot!(format!("{error}\n{}", error.help().expect("help")), @r"
    table `T` names the column `spilt`, which no row has
    did you mean `split`?
    ");
    let twice = fixture.instance(
        "in",
        &[
            json!({"metric": "f1", "value": 1}),
            json!({"metric": "f1", "value": 2}),
        ],
    );
    let error = report::build(&Options::default(), &[], vec![twice], None).expect_err("said twice");
    assert!(
        matches!(error, ReportError::Twice { rows: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_bad_line_is_named() {
    let mut fixture = Fixture::new();
    let instance = fixture.instance(
        "in",
        &[
            json!({"metric": "f1", "value": 1}),
            json!({"metric": "f1", "value": "high"}),
        ],
    );
    let error =
        report::build(&Options::default(), &[], vec![instance], None).expect_err("not a number");
    assert!(error.to_string().contains("line 2 of"), "{error}");
}

#[test]
fn users_may_bring_a_template() {
    let mut fixture = Fixture::new();
    let instances = scores(&mut fixture);
    let page = "<h1>{{ title }}</h1>{% for table in tables %}{{ table.title }}{% endfor %}";
    let report =
        report::build(&score_options(), &[], instances.clone(), Some(page)).expect("a report");
    assert_eq!(text(&report, "index.html"), "<h1>Scores</h1>Table 7: F1");
    let error = report::build(&score_options(), &[], instances, Some("{% for %}"))
        .expect_err("not a template");
    assert_eq!(error.code(), "report::template");
}

#[test]
fn a_fan_in_folder_is_read_by_its_index() {
    let mut fixture = Fixture::new();
    let one = fixture.instance("in", &[json!({"metric": "f1", "value": 1})]);
    let folder = one.path.parent().expect("a folder").to_path_buf();
    let name = one
        .path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let line = json!({"path": name, "axes": {"task": "ddi", "seed": 1}, "replicate": "seed", "key": null, "device": null, "notes": {}});
    fs_err::write(folder.join(report::INDEX_FILE), format!("{line}\n")).expect("an index");
    let read = report::load_index("scores", &folder).expect("an index");
    assert_eq!(read[0].name(), "scores[task=ddi,seed=1]");
    assert_eq!(read[0].replicate_value(), Some("1"));
    assert_eq!(read[0].path, one.path);
}

#[test]
fn the_paper_tables_come_out() {
    let mut fixture = Fixture::new();
    let (options, claims, instances) = fixture::paper(&mut fixture);
    let report = report::build(&options, &claims, instances, None).expect("a report");
    // Left behind for people to look at: target/tmp/paper/index.html.
    report
        .write(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("paper"))
        .expect("files");
    assert_eq!(report.counts.missing, 1);
    insta::assert_snapshot!("paper_markdown", text(&report, "report.md"));
    insta::assert_snapshot!(
        "paper_latex",
        text(&report, "tables/table-2-entity-recognition.tex")
    );
}

#[test]
fn a_report_judges_only_the_claims_it_is_about() {
    let mut fixture = Fixture::new();
    let instances = scores(&mut fixture);
    let mut options = score_options();
    options
        .expect
        .insert("source".to_owned(), json!(["Table 7", "Table 8"]));
    let report = report::build(&options, &score_claims(), instances, None).expect("a report");
    let counts = report.counts;
    assert_eq!((counts.total(), counts.missing), (2, 0));
}

#[test]
fn axes_may_be_called_like_fields() {
    let mut fixture = Fixture::new();
    let instances: Vec<Instance> = [("a", "1", "small"), ("b", "2", "large")]
        .into_iter()
        .map(|(input, n, dataset)| {
            let mut instance = fixture.instance(
                "in",
                &[json!({"dataset": "d", "metric": "f1", "value": 2.5, "n": 7})],
            );
            instance.axes = [("input", input), ("n", n), ("dataset", dataset)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            instance
        })
        .collect();
    let options = options(
        json!({"tables": [{"rows": ["input", "n", "axis.dataset"], "labels": {"n": "mean"}, "where": {"n": [2, 1]}}]}),
    );
    let report = report::build(&options, &[], instances, None).expect("a report");
    insta::assert_snapshot!(text(&report, "tables/rows.csv"), @r"
    input,n,axis.dataset,dataset,split,metric,class,value,row n
    a,1,small,d,,f1,,2.5,7
    b,2,large,d,,f1,,2.5,7
    ");
    assert!(
        text(&report, "tables/numbers.csv").starts_with("input,row 2: mean,axis.dataset,number")
    );
}

#[test]
fn a_table_without_rows_says_so() {
    let mut fixture = Fixture::new();
    let instances = scores(&mut fixture);
    let options = options(
        json!({"tables": [{"title": "Empty", "where": {"task": "none"}, "rows": ["task"]}]}),
    );
    let report = report::build(&options, &[], instances, None).expect("a report");
    assert_eq!(report.warnings, ["no row matches table `Empty`"]);
    assert!(text(&report, "index.html").contains("No rows match"));
}

#[test]
fn polars_has_one_door() {
    let room = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![room.to_path_buf()];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).expect("a folder of the room") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs_err::read_to_string(&path).expect("source");
                let is_door = path.ends_with("frame.rs") || path.ends_with("tests/report.rs");
                assert!(is_door || !code.contains("polars::"), "{}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 10);
}

#[test]
fn a_run_has_a_page_of_its_own() {
    let stage =
        |name: &str, state: &str, time: Option<(f64, f64)>, because: &str| report::StageLine {
            name: name.to_owned(),
            state: state.to_owned(),
            start_seconds: time.map(|time| time.0),
            seconds: time.map(|time| time.1),
            key: Some("3f9c2ab410".repeat(7)[..64].to_owned()),
            because: because.to_owned(),
            device: None,
            commands: vec![
                format!("pipeline get p.yaml '{name}' --to out"),
                format!("pipeline run p.yaml '{name}' --force '{name}'"),
            ],
            flop: (name == "table").then_some(1.209e12),
            tokens: (name == "table").then_some(120_900.0),
        };
    let run = report::RunSummary {
        pipeline: "datasets".to_owned(),
        run: "20261121T011900Z-4hex".to_owned(),
        started: "2026-11-21 01:19:00 UTC".to_owned(),
        ended: "2026-11-21 01:22:05 UTC".to_owned(),
        host: "node7".to_owned(),
        version: "0.1.0".to_owned(),
        command_line: "pipeline run pipelines/datasets.yaml --set 'x=<1>'".to_owned(),
        wall_seconds: 185.0,
        totals: report::RunTotals {
            total: 4,
            executed: 2,
            cached: 1,
            failed: 1,
            skipped: 0,
        },
        stages: vec![
            stage("fetch[set=ncbi]", "cached", None, ""),
            stage("fetch[set=ddi]", "executed", Some((0.0, 61.0)), "never ran"),
            stage(
                "dataset[set=ddi]",
                "executed",
                Some((61.0, 2.4)),
                "input.raw changed",
            ),
            stage(
                "table",
                "failed",
                Some((64.0, 120.9)),
                "input <counts> changed",
            ),
        ],
        warnings: vec!["object 3f9c2ab410 does not match its digest".to_owned()],
        reports: vec!["../reports/datasets/latest/index.html".to_owned()],
        tested: None,
        graph: Some((
            "<svg><title>drawn</title></svg>".to_owned(),
            vec!["table needs <fetch>".to_owned()],
        )),
        text: Some("doc: \"<b>not bold</b>\"\n".to_owned()),
    };
    let page = report::render_run(&run, |seconds| format!("{seconds:.1} s"));
    fs_err::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("run.html"),
        &page,
    )
    .expect("a page");
    insta::assert_snapshot!(
        "run_page",
        page.split_once("</style>").expect("a style sheet").1
    );
    let empty = report::render_run(&report::RunSummary::default(), |_| String::new());
    assert!(!empty.contains("<svg"));
}
