//! Command lines that must and must not parse. Knows nothing of what they do.

use super::*;

fn parsed(words: &[&str]) -> Args {
    match parse(std::iter::once(&"pipeline").chain(words), false) {
        Ok(args) => args,
        Err(refusal) => panic!("{words:?} must parse:\n{}", refusal.text),
    }
}

fn refused(words: &[&str]) -> Refusal {
    parse(std::iter::once(&"pipeline").chain(words), false).expect_err("must not parse")
}

#[test]
fn the_definitions_hold_together() {
    Args::command().debug_assert();
}

/// What a page or a help prints can be typed, and means the same results.
#[test]
fn commands_carry_the_settings_of_the_run_quoted() {
    let Command::Run(run) = parsed(&[
        "run",
        "my files/p.yaml",
        "--profile",
        "smoke",
        "--set",
        "tasks=[ddi, it's]",
        "--mirror",
        "https://example.org/=my files",
        "--mirrors",
        "tests/mirrors.txt",
        "--device",
        "cpu",
        "--cache",
        "/tmp/c",
    ])
    .command
    else {
        panic!("it is a run");
    };
    assert_eq!(
        run.pipeline.command_to_get("score[seed=1].metrics", "out"),
        r"pipeline get 'my files/p.yaml' --profile smoke --set 'tasks=[ddi, it'\''s]' --mirror 'https://example.org/=my files' --mirrors tests/mirrors.txt --device cpu --cache /tmp/c 'score[seed=1].metrics' --to out"
    );
    let plain = parsed(&["run", "p.yaml"]);
    let Command::Run(run) = plain.command else {
        panic!("it is a run");
    };
    assert_eq!(
        run.pipeline.command_to_make_again("score"),
        "pipeline run p.yaml score --force score"
    );
}

#[test]
fn run_takes_every_flag() {
    let args = parsed(&[
        "run",
        "pipelines/paper.yaml",
        "finetune[task=ddi,seed=*]",
        "table",
        "-j",
        "4",
        "--keep-going",
        "--force",
        "read",
        "--profile",
        "smoke",
        "--set",
        "epochs=5",
        "--set",
        "tasks=[ddi, bc5cdr]",
        "--kind",
        "finetune",
        "--mirror",
        "https://example.org/=data/",
        "--mirrors",
        "tests/mirrors.txt",
        "--offline",
        "--locked",
        "--refresh",
        "--yes",
        "pretrain",
        "--keep-old",
        "tokens",
        "--confirm-over",
        "1h30m",
        "--strict",
        "--cache",
        "/scratch/cache",
        "--events",
        "events.jsonl",
        "--json",
    ]);
    let Command::Run(run) = args.command else {
        panic!("run is run");
    };
    assert_eq!(run.pipeline.file, PathBuf::from("pipelines/paper.yaml"));
    assert_eq!(run.selection.stages, ["finetune[task=ddi,seed=*]", "table"]);
    assert_eq!(run.jobs, Some(4));
    assert_eq!(run.confirm_over, Duration::from_secs(5400));
    assert_eq!(run.pipeline.settings[1].value, "[ddi, bc5cdr]");
    assert_eq!(run.pipeline.cache, Some(PathBuf::from("/scratch/cache")));
    assert!(run.keep_going && run.offline && run.locked && run.strict && run.json);
    assert!(run.selection.refresh);
}

#[test]
fn run_has_calm_defaults() {
    let Command::Run(run) = parsed(&["run", "p.yaml"]).command else {
        panic!("run is run");
    };
    assert_eq!(run.confirm_over, Duration::from_secs(3600));
    assert_eq!(run.jobs, None);
    assert!(run.selection.stages.is_empty());
    assert!(!run.keep_going && !run.json);
}

#[test]
fn other_commands_parse() {
    let Command::Get(get) = parsed(&["get", "p.yaml", "a[x=1.5].model", "--to", "out"]).command
    else {
        panic!("get is get");
    };
    assert_eq!(get.output.stage, "a[x=1.5]");
    assert_eq!(get.output.output.as_deref(), Some("model"));
    let Command::Cache(CacheCommand::Gc(gc)) =
        parsed(&["cache", "gc", "--older-than", "30d", "--down-to", "200GiB"]).command
    else {
        panic!("gc is gc");
    };
    assert_eq!(gc.older_than, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(gc.down_to, Some(200 << 30));
    assert_eq!(gc.place.cache, PathBuf::from("cache"));
    assert!(matches!(
        parsed(&["exec", "job.json"]).command,
        Command::Exec { .. }
    ));
    assert!(matches!(parsed(&["supervise"]).command, Command::Supervise));
}

#[test]
fn mistakes_say_what_is_expected() {
    let cases: &[(&[&str], &str)] = &[
        (&["run"], "<FILE>"),
        (
            &["run", "p.yaml", "--confirm-over", "90"],
            "the unit is missing",
        ),
        (&["run", "p.yaml", "--set", "epochs"], "NAME=VALUE"),
        (&["run", "p.yaml", "--mirror", "x"], "URL_PREFIX=DIR_OR_URL"),
        (&["run", "p.yaml", "finetune[ddi"], "`]` is missing"),
        (&["run", "p.yaml", "--jobs", "0"], "0 is not in 1.."),
        (&["cache", "gc", "--down-to", "lots"], "expected a size"),
        (
            &["accept", "p.yaml", "a", "--reason", ""],
            "value is required",
        ),
        (&["accept", "p.yaml", "a"], "--reason"),
        (&["plam", "p.yaml"], "'plan'"),
        (&["run", "p.yaml", "--keep-goign"], "'--keep-going'"),
        (&["push", "x"], "unrecognized subcommand"),
        (
            &["verify", "x", "--rerun", "1", "--tolerance", "2"],
            "from 0 to 1",
        ),
        (&["export", "p.yaml"], "--out"),
        (&["run", "p.yaml", "--device", "tpu"], "expected `auto`"),
    ];
    for (words, expected) in cases {
        let refusal = refused(words);
        assert!(
            refusal.text.contains(expected),
            "{words:?} says:\n{}",
            refusal.text
        );
        assert_eq!(refusal.exit_code, 2);
        assert!(!refusal.asked_for);
        assert!(!refusal.text.contains('\u{1b}'));
    }
}

#[test]
fn help_is_asked_for() {
    let refusal = refused(&["--help"]);
    assert!(refusal.asked_for);
    assert_eq!(refusal.exit_code, 0);
    assert!(
        !refusal.text.contains("supervise"),
        "hidden words stay hidden"
    );
    assert!(refused(&["--version"]).text.starts_with("pipeline "));
}

#[test]
fn every_example_parses_and_every_command_has_one() {
    fn walk(command: &clap::Command, examples: &mut Vec<String>) {
        if !command.is_hide_set() && command.get_name() != "help" {
            let text = command
                .get_after_help()
                .unwrap_or_else(|| panic!("`{}` has no examples", command.get_name()))
                .to_string();
            let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
            let before = examples.len();
            examples.extend(lines.map(str::to_owned));
            assert!(examples.len() > before, "{}", command.get_name());
        }
        for inner in command.get_subcommands() {
            walk(inner, examples);
        }
    }
    let mut examples = Vec::new();
    walk(&Args::command(), &mut examples);
    assert!(examples.len() > 25);
    for example in examples {
        let words = shell_words(example.split(" > ").next().expect("there is a first part"));
        assert_eq!(words[0], "pipeline", "{example}");
        if let Err(refusal) = parse(&words, false) {
            panic!("`{example}`:\n{}", refusal.text);
        }
    }
}

/// Splits at spaces outside single quotes; the examples need no more.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(c),
        }
    }
    words
}

#[test]
fn scripts_and_pages_are_written() {
    for shell in Shell::value_variants() {
        let script = String::from_utf8(completions(*shell)).expect("scripts are text");
        assert!(script.contains("keep-going"), "{shell}");
    }
    let page = String::from_utf8(man(None).expect("the program has a page")).expect("text");
    assert!(page.contains(".TH pipeline 1"));
    let page = String::from_utf8(man(Some("run")).expect("run has a page")).expect("text");
    assert!(page.contains("confirm\\-over"), "{page}");
    assert!(man(Some("fly")).is_none());
}
