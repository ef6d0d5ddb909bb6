//! Cores, memory and GPUs: what runs at the same time, as the stages themselves see it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::space::Space;

/// Eight stages that note how many of them are at work together, and what GPUs they were given.
fn crowd(resources: &str) -> Space {
    let space = Space::new();
    let root = space.root().display().to_string();
    fs_err::create_dir(space.path("here")).expect("a folder");
    let mut text = String::from("stages:\n");
    for i in 0..8 {
        let _ = write!(
            text,
            "  s{i}:\n    kind: command\n    resources: {resources}\n    with:\n      script: |\n        touch {root}/here/{i}\n        for n in 1 2 3 4 5; do ls {root}/here | wc -l >> {root}/seen; sleep 0.02; done\n        rm {root}/here/{i}\n        echo \"${{CUDA_VISIBLE_DEVICES-none}} $PIPELINE_CORES\" >> {root}/given\n        echo {i} > out\n    outputs: {{ out: out }}\n"
        );
    }
    space.write("p.yaml", text);
    space
}

fn most_at_once(space: &Space) -> usize {
    let seen = space.lines("seen");
    seen.iter()
        .map(|line| line.trim().parse().expect("a count"))
        .max()
        .expect("some")
}

/// A folder with a `nvidia-smi` that lists GPUs of 24 GB.
fn fake_gpus(space: &Space, count: usize) -> String {
    let mut listing = String::new();
    for i in 0..count {
        let _ = writeln!(listing, "{i}, GPU-{i}aaa, 24000, 3, [N/A]");
    }
    space.write(
        "tools/nvidia-smi",
        format!("#!/bin/sh\ncat <<'E'\n{listing}E\n"),
    );
    let tool = space.path("tools/nvidia-smi");
    fs_err::set_permissions(tool, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", space.path("tools").display())
}

fn run(space: &Space, path: &str, visible: Option<&str>) -> crate::space::Ran {
    let mut command = space.command(&["run", "p.yaml", "-j", "8"]);
    command.env("PATH", path);
    if let Some(visible) = visible {
        command.env("CUDA_VISIBLE_DEVICES", visible);
    }
    crate::space::Ran::of(&command.output().expect("runs"))
}

#[test]
fn jobs_and_cores_bound_what_runs_at_once() {
    let space = crowd("{ cores: 1 }");
    space.run(&["-j", "3"]).exits(0);
    assert!(
        (2..=3).contains(&most_at_once(&space)),
        "{}",
        most_at_once(&space)
    );
    let space = crowd("{ cores: 3 }");
    space.run(&["-j", "8"]).exits(0);
    assert_eq!(most_at_once(&space), 2, "8 cores hold two stages of 3");
    assert!(space.lines("given").iter().all(|line| line == "none 3"));
}

#[test]
fn memory_bounds_what_runs_at_once_and_too_much_is_refused() {
    let text = fs_err::read_to_string("/proc/meminfo").expect("Linux");
    let kib: u64 = text
        .split_whitespace()
        .nth(1)
        .expect("a total")
        .parse()
        .expect("a number");
    let third = kib * 1024 / 100 * 40;
    let space = crowd(&format!("{{ memory: {third}B }}"));
    space.run(&["-j", "8"]).exits(0);
    assert!(most_at_once(&space) <= 2);
    let space = crowd("{ memory: 900TiB }");
    space.run(&[]).exits(3).says("of memory, this machine has");
    assert!(!space.exists("seen"));
}

#[test]
fn each_stage_has_gpus_to_itself() {
    let space = crowd("{ gpu: 1 }");
    let path = fake_gpus(&space, 2);
    run(&space, &path, None).exits(0);
    assert!(most_at_once(&space) <= 2);
    let given = space.lines("given");
    assert!(
        given.iter().all(|line| line == "0 1" || line == "1 1"),
        "{given:?}"
    );
    assert!(
        given.contains(&"0 1".to_owned()) && given.contains(&"1 1".to_owned()),
        "{given:?}"
    );
}

#[test]
fn a_gpus_memory_is_shared_out() {
    let space = crowd("{ gpu: { count: 1, memory: 10GiB } }");
    let path = fake_gpus(&space, 1);
    run(&space, &path, None).exits(0);
    assert_eq!(most_at_once(&space), 2, "24 GB hold two stages of 10 GiB");
    assert!(space.lines("given").iter().all(|line| line == "0 1"));
}

#[test]
fn gpus_that_are_hidden_or_absent_are_not_given() {
    let space = crowd("{ gpu: 1 }");
    let path = fake_gpus(&space, 2);
    run(&space, &path, Some("1")).exits(0);
    assert!(space.lines("given").iter().all(|line| line == "1 1"));
    assert_eq!(most_at_once(&space), 1);
    let space = crowd("{ gpu: 3 }");
    let path = fake_gpus(&space, 2);
    run(&space, &path, None)
        .exits(3)
        .says("asks for 3 GPU, this machine has 2")
        .says("nvidia-smi");
    assert!(!space.exists("seen"));
}

/// The stages fail, since what they read is nothing; what counts is how many were begun side by side before that.
#[test]
fn trainings_share_a_gpu_by_what_they_plan_to_take() {
    let text = |more: &str| {
        format!(
            "stages:\n  tune:\n    kind: finetune\n    replicate: {{ seed: [1, 2, 3, 4, 5, 6, 7, 8] }}\n    needs: {{ data: ./data, vocabulary: ./vocab.txt }}\n    resources: {{ device: cuda{more} }}\n    with: {{ name: nothing, size: base, epochs: 1, batch: 32, learning_rate: 5.0e-5, max_length: 128, seed: \"${{replicate.seed}}\" }}\n"
        )
    };
    let space = Space::with(&text(""));
    space.write("data/none", "");
    space.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n");
    let path = fake_gpus(&space, 1);
    let plan = space.call(&["plan", "p.yaml", "--json"]).exits(0);
    let rows: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let planned = rows[0]["device_bytes"].as_u64().expect("known");
    let fit = (24_000 << 20) / planned;
    assert!((2..8).contains(&fit), "{planned} bytes");
    let begun = || {
        let ran = run(&space, &path, None).exits(1);
        ran.stderr.matches(" started tune[").count() as u64
    };
    assert_eq!(begun(), fit);
    space.write("p.yaml", text(", micro_batch: 8"));
    assert!(begun() > fit, "smaller parts take less");
    space.write("p.yaml", text(", gpu: 1"));
    assert_eq!(begun(), 1, "it is asked for whole");
}
