//! `pipeline cache stats`, `verify` and `gc` on caches that real runs have made.

use serde_json::Value;

use crate::space::{Space, files_below, wait_until};

const CHAIN: &str = "params: { n: 1 }
stages:
  base:
    kind: command
    with: { argv: [sh, -c, 'echo base > out; echo base >> ../../../../base.ran'] }
    outputs: { out: out }
  top:
    kind: command
    needs: { in: base }
    with: { argv: [sh, -c, 'cat in > out; cat params.json >> out'], params: { n: '${params.n}' } }
    outputs: { out: out }
";

fn chain() -> Space {
    Space::with(CHAIN)
}

#[track_caller]
fn executed(space: &Space, more: &[&str]) -> u64 {
    space.run(&[&["--json"], more].concat()).exits(0).counts()[1]
}

#[test]
fn stats_counts_what_is_there() {
    let space = chain();
    space.run(&[]).exits(0);
    space.run(&["--set", "n=2"]).exits(0);
    let ran = space.call(&["cache", "stats", "--json"]).exits(0);
    let stats: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(stats["records"]["count"], 3);
    assert_eq!(stats["objects"]["count"], space.objects().len());
    let bytes: usize = space.objects().values().map(Vec::len).sum();
    assert_eq!(stats["objects"]["bytes"], bytes);
    assert_eq!(stats["runs"]["count"], 2);
    assert_eq!(stats["stages"][0]["stage"], "top");
    assert_eq!(stats["stages"][0]["records"], 2);
    let text = space.call(&["cache", "stats"]).exits(0).stdout;
    assert!(
        text.contains("BIGGEST STAGES") && text.contains("p top"),
        "{text}"
    );
}

#[test]
fn a_folder_that_is_no_cache_is_refused_and_left_alone() {
    let space = chain();
    for command in ["stats", "verify", "gc"] {
        space
            .call(&["cache", command, "--cache", "typo"])
            .exits(2)
            .says("there is no cache at `typo`")
            .says("`--cache DIR`");
    }
    assert!(!space.exists("typo"));
}

#[test]
fn verify_moves_damage_away_and_says_whose_it_is() {
    let space = chain();
    space.run(&[]).exits(0);
    space.call(&["cache", "verify"]).exits(0).says("all whole");
    let path = space.call(&["path", "p.yaml", "base"]).exits(0).stdout;
    let path = std::path::Path::new(path.trim());
    fs_err::remove_file(path).expect("removes");
    fs_err::write(path, "basE\n").expect("damages");
    space
        .call(&["cache", "verify"])
        .exits(1)
        .says("does not match its digest")
        .says("named by the record of `base`")
        .says("1 record without all their objects");
    assert_eq!(files_below(&space.path("cache/quarantine")).len(), 1);
    // The damage is out of the way: what is left is information, and a hit does not need its bytes.
    space.call(&["cache", "verify"]).exits(0).says("p base");
    assert_eq!(executed(&space, &[]), 0);
    assert_eq!(executed(&space, &["--set", "n=2"]), 2);
    space.call(&["cache", "verify"]).exits(0).says("all whole");
}

#[test]
fn a_damaged_record_is_moved_away_and_its_stage_runs_again() {
    let space = chain();
    space.run(&[]).exits(0);
    let record = files_below(&space.path("cache/records-v1"))
        .into_iter()
        .find(|path| {
            fs_err::read_to_string(path).is_ok_and(|text| text.contains("\"stage\":\"base\""))
        })
        .expect("a record");
    let text = fs_err::read_to_string(&record).expect("readable");
    fs_err::write(&record, &text[..text.len() / 2]).expect("cuts it");
    space
        .call(&["cache", "gc"])
        .exits(0)
        .says("1 record cannot be read, so objects that no record names stay");
    space
        .call(&["cache", "verify"])
        .exits(1)
        .says("moved to cache/quarantine");
    assert_eq!(executed(&space, &[]), 1);
}

#[test]
fn gc_removes_what_the_kept_runs_do_not_reach() {
    let space = chain();
    for n in ["n=1", "n=2", "n=3"] {
        space.run(&["--set", n]).exits(0);
    }
    let before = (space.records(), space.objects());
    let dry = space
        .call(&["cache", "gc", "--keep-runs", "2", "--dry-run"])
        .exits(0)
        .says("would free");
    assert!(dry.stdout.contains("result p top"), "{}", dry.stdout);
    assert!(
        dry.stdout
            .contains("none of the last 2 runs of its pipeline reaches it"),
        "{}",
        dry.stdout
    );
    assert_eq!(dry.stdout.lines().count(), 2, "{}", dry.stdout);
    assert!(before == (space.records(), space.objects()));
    space
        .call(&["cache", "gc", "--keep-runs", "2"])
        .exits(0)
        .says("3 records stay");
    for n in ["n=2", "n=3"] {
        assert_eq!(executed(&space, &["--set", n]), 0);
    }
    space.call(&["cache", "verify"]).exits(0).says("all whole");
    assert_eq!(executed(&space, &["--set", "n=1"]), 1);
    // The default keeps ten runs: nothing here is beyond them.
    let dry = space.call(&["cache", "gc", "--dry-run"]).exits(0);
    assert_eq!(dry.stdout, "");
}

#[test]
fn runs_of_single_stages_push_nothing_out() {
    let space = chain();
    space.run(&[]).exits(0);
    for n in ["n=2", "n=3"] {
        space.run(&["base", "--set", n]).exits(0);
    }
    space.call(&["cache", "gc", "--keep-runs", "1"]).exits(0);
    assert_eq!(executed(&space, &[]), 0);
}

#[test]
fn down_to_a_size_leaves_the_stages_cached() {
    let space = chain();
    space.run(&[]).exits(0);
    space
        .call(&["cache", "gc", "--down-to", "1"])
        .exits(0)
        .says("what may go is not enough for 1 B");
    let objects: Vec<Vec<u8>> = space.objects().into_values().collect();
    assert!(objects.is_empty(), "{objects:?}");
    assert_eq!(executed(&space, &[]), 0);
    // Something new reads `base`, so its bytes are made again.
    assert_eq!(executed(&space, &["--set", "n=2"]), 2);
    assert_eq!(space.lines("base.ran").len(), 2);
}

#[test]
fn older_than_spares_what_was_used_since() {
    let space = chain();
    space.run(&[]).exits(0);
    space
        .call(&["cache", "gc", "--older-than", "1h"])
        .exits(0)
        .says("2 records stay");
    space
        .call(&["cache", "gc", "--older-than", "0s"])
        .exits(0)
        .says("0 records stay");
    assert_eq!(executed(&space, &[]), 2);
}

#[test]
fn a_removed_record_does_not_live_on_in_the_index() {
    let space = chain();
    space.run(&[]).exits(0);
    space.run(&["--set", "n=2"]).exits(0);
    space.call(&["cache", "gc", "--keep-runs", "1"]).exits(0);
    let plan = space.call(&["plan", "p.yaml", "--json"]).exits(0).stdout;
    let rows: Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(rows[0]["state"], "cached");
    assert_eq!(rows[1]["state"], "will_run");
}

#[test]
fn gc_waits_for_no_run_and_disturbs_none() {
    let space = Space::with(
        "stages:
  slow:
    kind: command
    with: { argv: [sh, -c, 'touch ../../../../started; while [ ! -e ../../../../go ]; do sleep 0.01; done; echo x > out'] }
    outputs: { out: out }
",
    );
    let mut child = space
        .command(&["run", "p.yaml"])
        .spawn()
        .expect("the program starts");
    wait_until("the stage", || space.exists("started"));
    let ran = space.call(&["cache", "gc", "--older-than", "0s"]);
    let dry = space.call(&["cache", "gc", "--older-than", "0s", "--dry-run"]);
    let verified = space.call(&["cache", "verify"]);
    space.write("go", "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    ran.exits(3)
        .says("a run uses the cache")
        .says("`--dry-run` shows");
    dry.exits(0).says("1 folder of unfinished work");
    verified.exits(0);
    assert_eq!(executed(&space, &[]), 0);
}

/// Where locks hold on one machine only, the cache looks free: what another machine is at work on shows by its claim.
#[test]
fn gc_respects_claims_of_other_machines() {
    let space = Space::with(
        "stages:
  one: { kind: command, with: { argv: [sh, -c, 'echo x > out'] }, outputs: { out: out } }
",
    );
    space.run(&[]).exits(0);
    let claim = format!("cache/work/{}/claim", "0".repeat(64));
    space.write(&claim, "process 7 on elsewhere since x\n");
    let gc = ["cache", "gc", "--older-than", "0s"];
    space
        .call(&gc)
        .exits(3)
        .says("process 7 on elsewhere is at work on a stage");
    assert!(space.exists(&claim));
    fs_err::remove_file(space.path(&claim)).expect("removed");
    space.call(&gc).exits(0);
}

#[test]
fn a_checkpoint_of_an_unfinished_key_survives_every_collection() {
    let space = Space::with(
        "stages:
  train:
    kind: command
    with:
      argv:
        - sh
        - -c
        - |
          if [ \"$PIPELINE_RESUME\" = 1 ]; then cat \"$PIPELINE_CHECKPOINT/step\" > out; exit 0; fi
          echo 41 > \"$PIPELINE_CHECKPOINT/step\"; exit 9
    checkpoint: { dir: state }
    outputs: { out: out }
",
    );
    space.run(&[]).exits(1);
    space
        .call(&["cache", "gc", "--older-than", "0s", "--down-to", "1"])
        .exits(0)
        .says("1 folder of unfinished work");
    space.run(&[]).exits(0);
    let got = space.call(&["path", "p.yaml", "train"]).exits(0).stdout;
    assert_eq!(
        fs_err::read_to_string(got.trim()).expect("an object"),
        "41\n"
    );
    assert!(space.work().is_empty());
}

#[test]
fn failed_attempts_that_nobody_reaches_go() {
    let space = Space::with(
        "params: { code: 1 }
stages:
  s:
    kind: command
    with: { argv: [sh, -c, 'head -c 100000 /dev/zero > big; echo x > out; exit ${params.code}'] }
    outputs: { out: out }
",
    );
    space.run(&[]).exits(1);
    assert_eq!(space.work().len(), 1);
    // Its run is the last one: its folder is what a person will look at.
    space.call(&["cache", "gc"]).exits(0);
    assert_eq!(space.work().len(), 1);
    space.call(&["cache", "gc", "--older-than", "0s"]).exits(0);
    assert!(space.work().is_empty());
}
