//! Properties of collection over made-up caches.

use proptest::prelude::*;

use super::*;
use crate::content::Content;
use crate::digest::Use;
use crate::exec::job::entry_of;
use crate::store::index::append_record;
use crate::store::record::Record;

const NO_GRACE: Limits = Limits {
    keep_runs: None,
    older_than: None,
    down_to_bytes: None,
    grace: Duration::ZERO,
};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("temp");
    let store = Store::open(&folder.path().join("cache")).expect("opens");
    (folder, store)
}

/// A record of stage `s<number>` with these outputs, as a supervisor writes it.
fn put(store: &Store, number: usize, outputs: &[Content], seconds: f64) -> Digest {
    let manifest = format!("number = {number}\n");
    let key = Use::Manifest.digest(manifest.as_bytes());
    let outputs: serde_json::Map<_, _> = outputs
        .iter()
        .enumerate()
        .map(|(i, content)| (format!("o{i}"), serde_json::json!(content)))
        .collect();
    let record: Record = serde_json::from_value(serde_json::json!({
        "version": 1, "key": key, "manifest": manifest, "stage": format!("s{number}"), "pipeline": "p",
        "outputs": outputs, "seconds": seconds, "finished": "2026-11-21T00:00:00.000Z", "attempts": [],
        "machine": {"host": "h", "system": "s", "processor": "p", "cores": 1, "memory_bytes": 1},
        "device": "cpu", "program": "test",
    }))
    .expect("a record");
    store.write_record(&record).expect("writes");
    append_record(store.dir(), &key, &entry_of(&record)).expect("appends");
    key
}

fn run(number: usize, whole: bool, keys: &[(usize, Digest)]) -> RunLine {
    RunLine {
        run: format!("run{number:04}"),
        begun: String::new(),
        pipeline: "p.yaml".to_owned(),
        age_seconds: 1000.0 - f64::from(u32::try_from(number).expect("few")),
        keys: keys
            .iter()
            .map(|(stage, key)| (format!("s{stage}"), *key))
            .collect(),
        whole,
        facts: crate::run::RunFacts::default(),
    }
}

fn names(collection: &Collection) -> Vec<&What> {
    collection
        .removals
        .iter()
        .map(|removal| &removal.what)
        .collect()
}

#[test]
fn what_the_last_runs_reach_stays_whole_and_the_rest_goes() {
    let (_folder, store) = store();
    let shared = store.put_bytes(b"shared").expect("puts");
    let only = store.put_bytes(b"only the old one").expect("puts");
    let tree = store
        .put_tree(&crate::content::Tree::new(vec![
            crate::content::TreeEntry {
                path: "a".into(),
                content: Some(shared),
            },
        ]))
        .expect("puts");
    let orphan = store.put_bytes(b"nobody's").expect("puts");
    let old = put(&store, 1, &[only, shared], 1.0);
    let new = put(&store, 2, &[tree], 1.0);
    let runs = [run(1, true, &[(1, old)]), run(2, true, &[(1, new)])];
    let limits = Limits {
        keep_runs: Some(1),
        ..NO_GRACE
    };
    let collection = decide(&store, &runs, &limits).expect("decides");
    assert!(
        store.find_record(&old).is_some(),
        "deciding changes nothing"
    );
    collect(&store, &collection).expect("collects");
    assert!(store.find_record(&old).is_none());
    assert!(
        Index::load(store.dir())
            .expect("loads")
            .find(&old)
            .is_none()
    );
    assert!(
        Index::load(store.dir())
            .expect("loads")
            .find(&new)
            .is_some()
    );
    assert!(!store.has(&only) && !store.has(&orphan));
    store.verify(&tree).expect("the tree and its file stay");
    let again = decide(&store, &runs, &limits).expect("decides");
    assert_eq!(names(&again), Vec::<&What>::new());
}

#[test]
fn runs_of_a_part_failed_runs_and_repetitions_use_up_no_number() {
    let (_folder, store) = store();
    let keys: Vec<Digest> = (0..3).map(|number| put(&store, number, &[], 1.0)).collect();
    let runs = [
        run(1, true, &[(0, keys[0])]),
        run(2, true, &[(0, keys[1])]),
        run(3, false, &[(0, keys[2])]),
        run(4, true, &[(0, keys[1])]),
        run(5, true, &[(0, keys[1])]),
    ];
    let gone = |keep_runs| {
        let limits = Limits {
            keep_runs: Some(keep_runs),
            ..NO_GRACE
        };
        let collection = decide(&store, &runs, &limits).expect("decides");
        collection
            .removals
            .iter()
            .map(|removal| match &removal.what {
                What::Result { key, .. } => *key,
                other => panic!("{other:?}"),
            })
            .collect::<BTreeSet<_>>()
    };
    // Run 5 repeats run 4 and counts as one with it; what ran before them, of a part, is older than the last whole run.
    assert_eq!(gone(1), BTreeSet::from([keys[0], keys[2]]));
    // Run 3 lies between them and run 1.
    assert_eq!(gone(2), BTreeSet::from([]));
}

#[test]
fn a_key_given_by_accept_or_the_lock_file_counts_as_reached() {
    let (_folder, store) = store();
    let first = put(&store, 1, &[], 1.0);
    let alias = put(&store, 2, &[], 1.0);
    let gone = put(&store, 3, &[], 1.0);
    let mut index = Index::load(store.dir()).expect("loads");
    index.set_last_key("p.yaml", "s1", alias);
    index.set_last_key("p.yaml", "no_longer", gone);
    index.flush().expect("flushes");
    let limits = Limits {
        older_than: None,
        keep_runs: Some(1),
        ..NO_GRACE
    };
    let old = [run(0, true, &[(9, gone)]), run(1, true, &[(1, first)])];
    let collection = decide(&store, &old, &limits).expect("decides");
    assert!(matches!(names(&collection)[..], [What::Result { key, .. }] if *key == gone));
}

#[test]
fn young_unnamed_objects_and_records_without_a_run_stay() {
    let (_folder, store) = store();
    let content = store.put_bytes(b"on its way into a record").expect("puts");
    put(&store, 1, &[], 1.0);
    let collection = decide(&store, &[], &Limits::default()).expect("decides");
    assert_eq!(names(&collection), Vec::<&What>::new());
    let collection = decide(&store, &[], &NO_GRACE).expect("decides");
    assert_eq!(names(&collection), [&What::Orphan(content.digest)]);
}

#[test]
fn a_bad_record_protects_what_it_may_name_and_a_later_one_forbids() {
    let (_folder, store) = store();
    let content = store
        .put_bytes(b"named by what cannot be read")
        .expect("puts");
    let key = put(&store, 1, &[content], 1.0);
    fs_err::write(store.record_path(&key), "{").expect("damages");
    let collection = decide(&store, &[], &NO_GRACE).expect("decides");
    assert_eq!(
        (names(&collection), collection.unreadable_records),
        (vec![], 1)
    );
    fs_err::write(store.record_path(&key), "{\"version\": 99}").expect("a later one");
    assert!(matches!(
        decide(&store, &[], &NO_GRACE),
        Err(GcError::Later(1))
    ));
}

#[test]
fn down_to_a_size_takes_bytes_of_reached_results_and_leaves_their_records() {
    let (_folder, store) = store();
    let cheap = store.put_bytes(&vec![1; 100_000]).expect("puts");
    let dear = store.put_bytes(&vec![2; 100_000]).expect("puts");
    let old = store.put_bytes(&vec![3; 1000]).expect("puts");
    let keys = [
        put(&store, 1, &[cheap], 1.0),
        put(&store, 2, &[dear], 10_000.0),
        put(&store, 3, &[old], 10_000.0),
    ];
    let runs = [
        run(1, true, &[(1, keys[2])]),
        run(2, true, &[(1, keys[0]), (2, keys[1])]),
    ];
    // The default keeps ten runs, so everything is reached: bytes only.
    let limits = Limits {
        down_to_bytes: Some(150_000),
        ..NO_GRACE
    };
    let collection = decide(&store, &runs, &limits).expect("decides");
    assert!(matches!(names(&collection)[..], [What::Bytes { key, .. }] if *key == keys[0]));
    collect(&store, &collection).expect("collects");
    assert!(!store.has(&cheap) && store.has(&dear) && store.has(&old));
    assert!(store.find_record(&keys[0]).is_some());
    assert!(
        Index::load(store.dir())
            .expect("loads")
            .find(&keys[0])
            .is_some()
    );
    // With runs to keep, what they reach is not touched, however small the cache should be.
    let limits = Limits {
        keep_runs: Some(1),
        down_to_bytes: Some(0),
        ..NO_GRACE
    };
    let collection = decide(&store, &runs, &limits).expect("decides");
    assert!(matches!(names(&collection)[..], [What::Result { key, .. }] if *key == keys[2]));
}

#[test]
fn unfinished_work_stays_and_finished_work_goes_unless_it_is_held() {
    let (_folder, store) = store();
    let finished = put(&store, 1, &[], 1.0);
    let held = put(&store, 2, &[], 1.0);
    let folder = |name: &str| {
        let key = Use::Manifest.digest(name.as_bytes());
        fs_err::create_dir_all(store.work_path(&key).join("1")).expect("mkdir");
        (key, store.work_path(&key))
    };
    for key in [finished, held] {
        fs_err::create_dir_all(store.work_path(&key).join("1")).expect("mkdir");
    }
    let TryKey::Held(_lock) = store.try_lock(&held).expect("locks") else {
        panic!("free")
    };
    let line = |end: &str| {
        format!("{{\"started\":\"t\",\"seconds\":1.0,\"end\":\"{end}\",\"host\":\"h\"}}\n")
    };
    let (failed, at) = folder("failed");
    fs_err::write(at.join("attempts.jsonl"), line("failed")).expect("writes");
    let (_, at) = folder("failed with a checkpoint");
    fs_err::write(at.join("attempts.jsonl"), line("failed")).expect("writes");
    fs_err::create_dir_all(at.join("checkpoint/step-1")).expect("mkdir");
    let (_, at) = folder("a download under way");
    fs_err::create_dir_all(at.join("scratch/fetch")).expect("mkdir");
    let (_, at) = folder("killed, its checkpoint in its folder");
    fs_err::write(at.join("attempts.jsonl"), line("working")).expect("writes");
    let collection = decide(&store, &[], &NO_GRACE).expect("decides");
    let gone: BTreeSet<Digest> = (collection.removals.iter())
        .map(|removal| match removal.what {
            What::Work(key) => key,
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(gone, BTreeSet::from([finished, failed]));
    assert_eq!(collection.unfinished.count, 4);
    collect(&store, &collection).expect("collects");
    assert!(!store.work_path(&finished).exists() && store.work_path(&held).exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the graph of records, objects and runs: what the kept runs reach verifies, what goes leaves no record
    /// with fewer objects than before, and a second collection finds nothing.
    #[test]
    fn nothing_that_is_kept_loses_anything(
        records in prop::collection::vec(prop::collection::vec(0_u8..12, 0..5), 1..8),
        reached in prop::collection::vec(prop::collection::vec(0_usize..8, 1..4), 0..6),
        keep_runs in 1_u32..4,
    ) {
        let (_folder, store) = store();
        let objects: Vec<Content> =
            (0_u8..12).map(|byte| store.put_bytes(&[byte; 3]).expect("puts")).collect();
        let keys: Vec<Digest> = (records.iter().enumerate())
            .map(|(number, used)| {
                let outputs: Vec<Content> = used.iter().map(|i| objects[usize::from(*i)]).collect();
                put(&store, number, &outputs, 1.0)
            })
            .collect();
        let runs: Vec<RunLine> = (reached.iter().enumerate())
            .map(|(number, stages)| {
                let reached: Vec<_> = stages.iter().map(|i| i % keys.len()).map(|i| (i, keys[i])).collect();
                run(number, number % 2 == 0, &reached)
            })
            .collect();
        let limits = Limits { keep_runs: Some(keep_runs), ..NO_GRACE };
        let collection = decide(&store, &runs, &limits).expect("decides");
        collect(&store, &collection).expect("collects");
        let mut index = Index::load(store.dir()).expect("loads");
        let survey = Survey::take(&store).expect("looks");
        prop_assert_eq!(survey.records.len(), collection.kept_records);
        prop_assert_eq!(survey.objects.values().map(|piece| piece.bytes).sum::<u64>() % 3, 0);
        for (key, stored) in &survey.records {
            prop_assert!(index.find(key).is_some());
            for content in contents(&stored.record) {
                prop_assert!(store.verify(content).is_ok());
            }
        }
        if let Some(last) = runs.last() {
            for key in last.keys.values() {
                prop_assert!(survey.records.contains_key(key));
            }
        }
        let named: BTreeSet<Digest> = survey.named(&store).into_values().flatten().collect();
        prop_assert!(survey.objects.keys().all(|digest| named.contains(digest)));
        prop_assert!(decide(&store, &runs, &limits).expect("decides").removals.is_empty());
        index.flush().expect("flushes");
    }
}
