//! Snapshots of the messages of the error gallery. Knows the gallery, not who raises its messages.

use flow::diagnostic::Diagnostic;
use flow::source::{SourceId, Sources, Span};
use insta::assert_snapshot;

use super::*;

const LOOK: Look = Look {
    colour: false,
    unicode: true,
    width: 100,
};

const PAPER: &str = "\
stages:
  pretrain:
    kind: pretrain
    with:
      learning_rte: 5.0e-4
      size: small
  read:
    kind: dataset
    with: { format: squad }
    needs:
      raw: data/ddi.zip
";

const CYCLE: &str = "\
stages:
  a:
    kind: command
    needs: { x: c }
  b:
    kind: command
    needs: { x: a }
  c:
    kind: command
    needs: { x: b }
";

/// The span of the `nth` (from 0) occurrence of `needle`.
fn span(sources: &Sources, source: SourceId, needle: &str, nth: usize) -> Span {
    let text = &sources.get(source).text;
    let (offset, found) = text
        .match_indices(needle)
        .nth(nth)
        .expect("the text has it");
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let number = |value: usize| u32::try_from(value).expect("test texts are short");
    Span {
        source,
        offset: number(offset),
        len: number(found.len()),
        line: number(text[..offset].matches('\n').count() + 1),
        column: number(text[start..offset].chars().count() + 1),
    }
}

fn one(name: &str, text: &str) -> (Sources, SourceId) {
    let mut sources = Sources::default();
    let id = sources.add(name, None, text);
    (sources, id)
}

fn unknown_key(sources: &Sources, id: SourceId) -> Diagnostic {
    Diagnostic::error(
        "spec::unknown_key",
        "unknown key `learning_rte` in stage `pretrain`",
    )
    .at(
        span(sources, id, "learning_rte", 0),
        "not a key of `pretrain`",
    )
    .help("did you mean `learning_rate`?")
}

fn missing_file(sources: &Sources, id: SourceId) -> Diagnostic {
    Diagnostic::error(
        "spec::missing_file",
        "input file `data/ddi.zip` of stage `read` is missing",
    )
    .at(
        span(sources, id, "data/ddi.zip", 0),
        "looked in /home/me/paper/data",
    )
    .help("no stage produces it; add a `fetch` stage or copy it there")
}

fn corrupt() -> Diagnostic {
    Diagnostic::warning(
        "store::corrupt",
        "object `3f9c2ab410` does not match its digest (2.1 GiB, cache/objects-v1/3f/9c2a)",
    )
    .detail("moved to cache/quarantine; rebuilding `pack` (its only producer, about 4 m 00 s)")
}

#[test]
fn unknown_key_points_at_the_key() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    assert_snapshot!(render(&unknown_key(&sources, id), &sources, LOOK), @"
    spec::unknown_key
      × unknown key `learning_rte` in stage `pretrain`
       ╭─[pipelines/paper.yaml:5:7]
     5 │       learning_rte: 5.0e-4
       ·       ──────┬─────
       ·             ╰── not a key of `pretrain`
       ╰────
      help: did you mean `learning_rate`?
    ");
}

#[test]
fn missing_file_points_at_the_path() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    assert_snapshot!(render(&missing_file(&sources, id), &sources, LOOK), @"
    spec::missing_file
      × input file `data/ddi.zip` of stage `read` is missing
        ╭─[pipelines/paper.yaml:11:12]
     11 │       raw: data/ddi.zip
        ·            ──────┬─────
        ·                  ╰── looked in /home/me/paper/data
        ╰────
      help: no stage produces it; add a `fetch` stage or copy it there
    ");
}

#[test]
fn cycle_labels_each_edge() {
    let (sources, id) = one("pipelines/loop.yaml", CYCLE);
    let diagnostic = Diagnostic::error("spec::cycle", "stages form a cycle: a -> b -> c -> a")
        .at(span(&sources, id, "x: a", 0), "`b` needs `a`")
        .at(span(&sources, id, "x: b", 0), "`c` needs `b`")
        .at(span(&sources, id, "x: c", 0), "`a` needs `c`")
        .help("remove one of these entries");
    assert_snapshot!(render(&diagnostic, &sources, LOOK), @"
    spec::cycle
      × stages form a cycle: a -> b -> c -> a
       ╭─[pipelines/loop.yaml:4:14]
     4 │     needs: { x: c }
       ·              ──┬─
       ·                ╰── `a` needs `c`
       ╰────
       ╭─[pipelines/loop.yaml:7:14]
     7 │     needs: { x: a }
       ·              ──┬─
       ·                ╰── `b` needs `a`
       ╰────
        ╭─[pipelines/loop.yaml:10:14]
     10 │     needs: { x: b }
        ·              ──┬─
        ·                ╰── `c` needs `b`
        ╰────
      help: remove one of these entries
    ");
}

#[test]
fn corrupt_object_is_a_warning() {
    assert_snapshot!(render(&corrupt(), &Sources::default(), LOOK), @"
    store::corrupt
      ⚠ object `3f9c2ab410` does not match its digest (2.1 GiB, cache/objects-v1/3f/9c2a)
        moved to cache/quarantine; rebuilding `pack` (its only producer, about 4 m 00 s)
    ");
}

#[test]
fn out_of_memory_lists_its_sums() {
    let diagnostic = Diagnostic::error(
        "engine::out_of_memory",
        "GPU 0 cannot hold this model: needs 31.2 GiB, has 23.6 GiB free of 24.0 GiB",
    )
    .detail("weights 0.4, gradients 0.4, optimizer 0.9, activations 29.5 (micro-batch 128)")
    .help("`resources.micro_batch: 80` fits; same updates up to rounding");
    assert_snapshot!(render(&diagnostic, &Sources::default(), LOOK), @"
    engine::out_of_memory
      × GPU 0 cannot hold this model: needs 31.2 GiB, has 23.6 GiB free of 24.0 GiB
        weights 0.4, gradients 0.4, optimizer 0.9, activations 29.5 (micro-batch 128)
      help: `resources.micro_batch: 80` fits; same updates up to rounding
    ");
}

#[test]
fn a_failed_stage_shows_its_last_output_and_how_to_repeat_it() {
    let diagnostic = Diagnostic::error(
        "run::failed",
        "stage `count` failed with exit code 2 after 1.2 s",
    )
    .detail("its last lines:")
    .detail("  \u{1b}[31mTraceback\u{1b}[0m (most recent call last):")
    .detail("   10%|#   \r  100%|####\n  ValueError: bad row")
    .detail("kept in cache/work/3f9c2ab410/1")
    .help("repeat by hand: `cd cache/work/3f9c2ab410/1 && env -i PATH=/usr/bin sh -c 'wc -l < text > lines.txt'`");
    assert_snapshot!(render(&diagnostic, &Sources::default(), LOOK), @"
    run::failed
      × stage `count` failed with exit code 2 after 1.2 s
        its last lines:
          Traceback (most recent call last):
          100%|####
          ValueError: bad row
        kept in cache/work/3f9c2ab410/1
      help: repeat by hand:
            `cd cache/work/3f9c2ab410/1 && env -i PATH=/usr/bin sh -c 'wc -l < text > lines.txt'`
    ");
}

#[test]
fn places_in_several_files_are_all_shown() {
    let mut sources = Sources::default();
    let base = sources.add(
        "pipelines/paper.yaml",
        None,
        "doc: x\nparams: { epochs: \"three\" }\n",
    );
    let mut text = "extends: paper.yaml\n".to_owned();
    text.push_str("stages:\n  tune: { kind: finetune, with: { epochs: \"${params.epochs}\" } }\n");
    let top = sources.add("pipelines/mine.yaml", None, text);
    let diagnostic = Diagnostic::error(
        "spec::type",
        "`epochs` of stage `tune` is text, not a whole number",
    )
    .at(span(&sources, top, "\"${params.epochs}\"", 0), "used here")
    .at(span(&sources, base, "\"three\"", 0), "defined here");
    assert_snapshot!(render(&diagnostic, &sources, LOOK), @r#"
    spec::type
      × `epochs` of stage `tune` is text, not a whole number
       ╭─[pipelines/mine.yaml:3:43]
     3 │   tune: { kind: finetune, with: { epochs: "${params.epochs}" } }
       ·                                           ─────────┬────────
       ·                                                    ╰── used here
       ╰────
       ╭─[pipelines/paper.yaml:2:19]
     2 │ params: { epochs: "three" }
       ·                   ───┬───
       ·                      ╰── defined here
       ╰────
    "#);
}

#[test]
fn several_messages_end_in_counts() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    let all = [
        unknown_key(&sources, id),
        missing_file(&sources, id),
        corrupt(),
    ];
    assert_snapshot!(render_all(&all, &sources, LOOK), @"
    spec::unknown_key
      × unknown key `learning_rte` in stage `pretrain`
       ╭─[pipelines/paper.yaml:5:7]
     5 │       learning_rte: 5.0e-4
       ·       ──────┬─────
       ·             ╰── not a key of `pretrain`
       ╰────
      help: did you mean `learning_rate`?

    spec::missing_file
      × input file `data/ddi.zip` of stage `read` is missing
        ╭─[pipelines/paper.yaml:11:12]
     11 │       raw: data/ddi.zip
        ·            ──────┬─────
        ·                  ╰── looked in /home/me/paper/data
        ╰────
      help: no stage produces it; add a `fetch` stage or copy it there

    store::corrupt
      ⚠ object `3f9c2ab410` does not match its digest (2.1 GiB, cache/objects-v1/3f/9c2a)
        moved to cache/quarantine; rebuilding `pack` (its only producer, about 4 m 00 s)

    2 errors, 1 warning
    ");
    assert_eq!(render_all(&[], &sources, LOOK), "");
}

#[test]
fn ascii_where_the_locale_is_not_utf8() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    assert_snapshot!(render_all(&[unknown_key(&sources, id), corrupt()], &sources, Look::PLAIN), @"
    spec::unknown_key
      x unknown key `learning_rte` in stage `pretrain`
       ,-[pipelines/paper.yaml:5:7]
     5 |       learning_rte: 5.0e-4
       :       ^^^^^^|^^^^^
       :             `-- not a key of `pretrain`
       `----
      help: did you mean `learning_rate`?

    store::corrupt
      ! object `3f9c2ab410` does not match its digest (2.1 GiB, cache/objects-v1/3f/9c2a)
        moved to cache/quarantine; rebuilding `pack` (its only producer, about 4 m 00 s)

    1 error, 1 warning
    ");
}

#[test]
fn colour_changes_no_text() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    let coloured = render(
        &unknown_key(&sources, id),
        &sources,
        Look {
            colour: true,
            ..LOOK
        },
    );
    assert!(coloured.contains("\u{1b}[31m"), "errors are red");
    let bare: String = coloured
        .lines()
        .map(|line| {
            format!(
                "{}\n",
                anstream::adapter::strip_str(line).to_string().trim_end()
            )
        })
        .collect();
    assert_eq!(bare, render(&unknown_key(&sources, id), &sources, LOOK));
}

#[test]
fn odd_texts_and_odd_spans_are_drawn() {
    let long = format!(
        "a: [{}]\nünïcode:\tvälue\u{1b}[31m bad\n",
        "1234567, ".repeat(5000)
    );
    let (sources, id) = one("odd.yaml", &long);
    let far = span(&sources, id, "1234567", 4000);
    let wide = Diagnostic::error("spec::x", "in a long line").at(far, "here");
    let drawn = render(&wide, &sources, LOOK);
    assert!(drawn.lines().all(|line| line.chars().count() < 400));
    assert!(drawn.contains("here"));
    let unicode = Diagnostic::error("spec::x", "after wide characters and a tab")
        .at(span(&sources, id, "bad", 0), "this");
    assert_snapshot!(render(&unicode, &sources, LOOK), @"
    spec::x
      × after wide characters and a tab
       ╭─[odd.yaml:2:21]
     2 │ ünïcode:    välue�[31m bad
       ·                        ─┬─
       ·                         ╰── this
       ╰────
    ");
    for (offset, len, line) in [
        (0, 1 << 20, 1),
        (1 << 24, 4, 99),
        (u32::try_from(long.len()).expect("short"), 0, 3),
    ] {
        let span = Span {
            source: id,
            offset,
            len,
            line,
            column: 1,
        };
        let diagnostic = Diagnostic::error("spec::x", "odd").at(span, "here");
        assert!(render(&diagnostic, &sources, LOOK).contains("odd"));
    }
    let foreign = Span {
        source: SourceId(7),
        offset: 0,
        len: 1,
        line: 1,
        column: 1,
    };
    let diagnostic = Diagnostic::error("spec::x", "text unknown").at(foreign, "");
    assert_snapshot!(render(&diagnostic, &sources, LOOK), @"
    spec::x
      × text unknown
    ");
}

#[test]
fn help_breaks_lines_but_not_commands() {
    let diagnostic = Diagnostic::error("run::held", "3 stages are protected").help(
        "go on with `pipeline run pipelines/paper.yaml --yes pretrain`, or keep the old result with `pipeline run pipelines/paper.yaml --keep-old pretrain`",
    );
    let narrow = Look { width: 60, ..LOOK };
    assert_snapshot!(render(&diagnostic, &Sources::default(), narrow), @"
    run::held
      × 3 stages are protected
      help: go on with
            `pipeline run pipelines/paper.yaml --yes pretrain`,
            or keep the old result with
            `pipeline run pipelines/paper.yaml --keep-old pretrain`
    ");
}

#[test]
fn json_names_file_line_and_column() {
    let (sources, id) = one("pipelines/paper.yaml", PAPER);
    let json = DiagnosticJson::new(&unknown_key(&sources, id), &sources);
    assert_snapshot!(serde_json::to_string_pretty(&json).expect("serialises"), @r#"
    {
      "code": "spec::unknown_key",
      "severity": "error",
      "message": "unknown key `learning_rte` in stage `pretrain`",
      "places": [
        {
          "file": "pipelines/paper.yaml",
          "line": 5,
          "column": 7,
          "text": "not a key of `pretrain`"
        }
      ],
      "details": [],
      "help": "did you mean `learning_rate`?"
    }
    "#);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the spans say, right or wrong, the message is drawn and nothing panics.
    #[test]
    fn any_spans_in_any_texts_are_drawn(
        texts in proptest::collection::vec("[ a-z\u{e9}\u{8a9e}\t\r\n\u{1b}\u{301}\u{feff}]{0,60}", 1..4),
        labels in proptest::collection::vec((0..5_u32, 0..90_u32, 0..20_u32, 0..8_u32, "[a-z]{0,3}"), 0..6),
        unicode in proptest::bool::ANY,
    ) {
        let mut sources = Sources::default();
        for (index, text) in texts.iter().enumerate() {
            sources.add(format!("{index}.yaml"), None, text.as_str());
        }
        let mut diagnostic = Diagnostic::error("spec::x", "odd").help("look");
        for (source, offset, len, line, text) in labels {
            let span = Span { source: SourceId(source), offset, len, line, column: offset };
            diagnostic = diagnostic.at(span, text);
        }
        let drawn = render(&diagnostic, &sources, Look { unicode, ..LOOK });
        proptest::prop_assert!(drawn.contains("odd") && drawn.ends_with("help: look\n"));
        let escapes = drawn.matches('\u{1b}').count();
        proptest::prop_assert_eq!(escapes, 0);
        proptest::prop_assert_eq!(
            DiagnosticJson::new(&diagnostic, &sources).places.len(),
            diagnostic.labels.len()
        );
    }
}
