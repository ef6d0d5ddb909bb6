//! Every configuration whose score on a test set of a run was ever computed into this cache, so that choosing by test sets shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use flow::content::Content;
use flow::digest::Digest;
use flow::key::Manifest;
use flow::made_by::MadeBy;
use flow::metric::MetricRow;
use flow::run::RunSummary;
use flow::spec::METRICS;
use flow::store::Store;
use flow::store::record::Record;
use report::run_page::{Tested, TestedLine};
use serde_json::Value;

use super::session::Session;

/// Records that are looked at; in a larger cache nothing is listed, and the page says so.
const MOST_RECORDS: usize = 50_000;
/// Kinds whose records are read.
const LOOKED_AT: [&str; 4] = ["score", "predict", "finetune", "pretrain"];
/// Threads that read them.
const MOST_THREADS: usize = 8;
/// Lines on the page.
const MOST_LINES: usize = 100;
/// The number that stands for a score, the first of these that it has.
const TELLING: [&str; 5] = ["f1", "mrr", "exact_match", "pearson", "strict_accuracy"];

/// What is known of the records of a cache.
#[derive(Default)]
struct Found {
    scores: Vec<Record>,
    /// Predictions and models by the digests of their outputs.
    makers: BTreeMap<Digest, Arc<Record>>,
}

/// Scores with the same settings but for the seed.
#[derive(Default)]
struct Group {
    numbers: BTreeMap<String, Vec<f64>>,
    runs: usize,
    is_of_this_run: bool,
    stages: BTreeSet<String>,
}

/// What the page lists; nothing where no stage of the run scores a test set.
pub(super) fn tested(session: &Session, summary: &RunSummary) -> Option<Tested> {
    let store = &session.store;
    let kinds: BTreeMap<&str, &str> = (session.workflow().stages.iter())
        .map(|stage| (stage.name.as_str(), stage.kind.as_str()))
        .collect();
    let scored = (summary.stages.iter())
        .filter(|one| kinds.get(one.stage.as_str()) == Some(&"score"))
        .filter_map(|one| one.key);
    let own: BTreeSet<Digest> = scored.collect();
    let sets: BTreeSet<(String, String)> = (own.iter())
        .filter_map(|key| test_set(&store.find_record(key)?))
        .collect();
    if sets.is_empty() {
        return None;
    }
    let Some(found) = look(store) else {
        let sentence =
            format!("The cache holds more than {MOST_RECORDS} records and was not searched.");
        return Some(Tested {
            sentence,
            ..Tested::default()
        });
    };
    let mut groups = Groups::new();
    let mut computed = 0;
    for score in &found.scores {
        let Some(set) = test_set(score).filter(|set| sets.contains(set)) else {
            continue;
        };
        computed += 1;
        let made = MadeBy::of(&Manifest(score.manifest.clone()));
        let name = made.as_ref().and_then(|made| made.config.get("name"));
        let name = name.and_then(Value::as_str).unwrap_or("data").to_owned();
        let group = groups
            .entry((name, set.1, settings(&found, score)))
            .or_default();
        group.runs += 1;
        group.is_of_this_run |= own.contains(&score.key);
        let stage = score.stage.split('[').next().unwrap_or_default();
        group
            .stages
            .insert(format!("{} of {}", stage, score.pipeline));
        if let Some((metric, value)) = number(store, score.outputs.get(METRICS)) {
            group.numbers.entry(metric).or_default().push(value);
        }
    }
    Some(listed(&groups, computed, sets.len()))
}

/// All records that matter, of a cache that is not too large. Every run that executes something waits for this, so it is
/// shared among threads.
fn look(store: &Store) -> Option<Found> {
    let mut paths = Vec::new();
    let records = store.dir().join("records-v1");
    for folder in fs_err::read_dir(records).ok()?.flatten() {
        let Ok(files) = fs_err::read_dir(folder.path()) else {
            continue;
        };
        paths.extend(files.flatten().map(|file| file.path()));
        if paths.len() > MOST_RECORDS {
            return None;
        }
    }
    paths.sort_unstable();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let each = paths.len().div_ceil(threads.min(MOST_THREADS)).max(1);
    let mut found = thread::scope(|scope| {
        let parts: Vec<_> = (paths.chunks(each))
            .map(|part| scope.spawn(|| part_of(part)))
            .collect();
        let mut found = Found::default();
        for part in parts {
            let part = part.join().expect("no thread panics");
            found.scores.extend(part.scores);
            found.makers.extend(part.makers);
        }
        found
    });
    found.scores.sort_by_key(|record| record.key);
    Some(found)
}

/// What matters of some records. One that is being written or is none is passed over.
fn part_of(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        let Ok(text) = fs_err::read_to_string(path) else {
            continue;
        };
        // The line of a manifest that names the kind, before anything is parsed.
        if !LOOKED_AT
            .iter()
            .any(|kind| text.contains(&format!("kind = {kind} ")))
        {
            continue;
        }
        let Some(record) = key_of(path).and_then(|key| Record::parse(&text, &key)) else {
            continue;
        };
        let manifest = Manifest(record.manifest.clone());
        let line = manifest.lines().find(|(path, _)| *path == "kind");
        match line.and_then(|(_, kind)| kind.split(' ').next()) {
            Some("score") => found.scores.push(record),
            Some("predict" | "finetune" | "pretrain") => {
                let record = Arc::new(record);
                for content in record.outputs.values() {
                    found.makers.insert(content.digest, Arc::clone(&record));
                }
            }
            _ => {}
        }
    }
    found
}

/// The key that a record's place tells.
fn key_of(path: &Path) -> Option<Digest> {
    let begin = path.parent()?.file_name()?.to_str()?;
    let rest = path.file_stem()?.to_str()?;
    format!("{begin}{rest}").parse().ok()
}

/// The digest of the data and the name of the split of a score on a split that is for testing.
fn test_set(score: &Record) -> Option<(String, String)> {
    let manifest = Manifest(score.manifest.clone());
    let made = MadeBy::of(&manifest)?;
    let split = made.config.get("split").and_then(Value::as_str);
    let split = split.unwrap_or("test").to_owned();
    let data = manifest.lines().find(|(path, _)| *path == "input.data")?.1;
    split.starts_with("test").then(|| (data.to_owned(), split))
}

/// The digest of an input.
fn input(record: &Record, port: &str) -> Option<Digest> {
    let manifest = Manifest(record.manifest.clone());
    let path = format!("input.{port}");
    let (_, line) = manifest.lines().find(|(own, _)| *own == path)?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What the model behind a score was set to, but for its seed: `epochs` to `3`. What it began from counts by its own settings
/// where its record is here, so that the repetitions of an upstream stage are repetitions here too.
fn settings(found: &Found, score: &Record) -> BTreeMap<String, String> {
    let of = |digest: Option<Digest>| {
        digest.and_then(|digest| found.makers.get(&digest).map(Arc::as_ref))
    };
    let predicted = of(input(score, "predictions"));
    let model = predicted.and_then(|one| of(input(one, "model")));
    let Some(maker) = model.or(predicted) else {
        let other = (
            "predictions".to_owned(),
            "of another kind of stage".to_owned(),
        );
        return BTreeMap::from([other]);
    };
    let mut settings = configured(maker, "");
    begun(found, maker, "start", &mut settings);
    settings
}

/// The lines of a manifest that configure, but for the name and the seed.
fn configured(maker: &Record, before: &str) -> BTreeMap<String, String> {
    let manifest = Manifest(maker.manifest.clone());
    (manifest.lines())
        .filter_map(|(path, value)| {
            let name = path.strip_prefix("config.")?;
            (!matches!(name, "seed" | "name"))
                .then(|| (format!("{before}{name}"), flow::key::shorten(value)))
        })
        .collect()
}

/// Adds what a model began from, and that from: settings of stages whose records are here, else digests.
fn begun(found: &Found, model: &Record, place: &str, settings: &mut BTreeMap<String, String>) {
    let manifest = Manifest(model.manifest.clone());
    let Some((_, line)) = (manifest.lines()).find(|(path, _)| *path == "input.start") else {
        return;
    };
    // What a stage made is made from contents that were there before, so this comes to an end.
    let Some(maker) = input(model, "start").and_then(|digest| found.makers.get(&digest)) else {
        settings.insert(place.to_owned(), flow::key::shorten(line));
        return;
    };
    let before = format!("{place}.");
    settings.extend(configured(maker, &before));
    let manifest = Manifest(maker.manifest.clone());
    let others = manifest.lines().filter_map(|(path, value)| {
        let port = path
            .strip_prefix("input.")
            .filter(|port| *port != "start")?;
        Some((format!("{before}{port}"), flow::key::shorten(value)))
    });
    settings.extend(others);
    begun(found, maker, &format!("{before}start"), settings);
}

/// The number that stands for a score; none where its bytes are gone.
fn number(store: &Store, metrics: Option<&Content>) -> Option<(String, f64)> {
    let text = fs_err::read_to_string(store.object_path(&metrics?.digest)).ok()?;
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let rows: Vec<MetricRow> = rows.filter(|row: &MetricRow| row.class.is_none()).collect();
    let named = |name: &&str| rows.iter().find(|row| row.metric == **name);
    let row = TELLING.iter().find_map(named).or(rows.first())?;
    Some((row.metric.clone(), row.value))
}

type Groups = BTreeMap<(String, String, BTreeMap<String, String>), Group>;

fn listed(groups: &Groups, computed: usize, sets: usize) -> Tested {
    let configurations = groups.len();
    let of_others = groups
        .values()
        .filter(|group| !group.is_of_this_run)
        .count();
    let keys: Vec<&(String, String, BTreeMap<String, String>)> = groups.keys().collect();
    // Of settings only those tell anything that differ among the configurations of one set.
    let differing: Vec<String> = (keys.iter())
        .map(|(name, split, settings)| {
            let beside = keys.iter().filter(|one| one.0 == *name && one.1 == *split);
            let beside: Vec<_> = beside.map(|one| &one.2).collect();
            let names: BTreeSet<&String> = beside.iter().flat_map(|one| one.keys()).collect();
            let names = names.into_iter().filter(|name| {
                beside
                    .iter()
                    .any(|one| one.get(*name) != settings.get(*name))
            });
            let shown: Vec<String> = names
                .map(|name| {
                    let value = settings.get(name).map_or("its default", String::as_str);
                    format!("{name} = {value}")
                })
                .collect();
            shown.join(", ")
        })
        .collect();
    let lines = groups.iter().zip(differing).take(MOST_LINES);
    let lines = lines.map(|(((name, split, _), group), settings)| TestedLine {
        set: format!("{name}, {split}"),
        settings,
        numbers: (group.numbers.iter())
            .map(|(metric, values)| {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                format!("{metric} {mean:.2}")
            })
            .collect::<Vec<_>>()
            .join(", "),
        runs: group.runs,
        is_of_this_run: group.is_of_this_run,
        stages: group.stages.iter().cloned().collect::<Vec<_>>().join(", "),
    });
    let counted = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    Tested {
        sentence: format!(
            "{} with {} of settings (seeds apart) on {} of this run {} in this cache; {} of the configurations {} no part of this run. Scores in other caches, and records that were deleted, are not known here.",
            counted(computed, "score"),
            counted(configurations, "configuration"),
            counted(sets, "test set"),
            if computed == 1 { "stands" } else { "stand" },
            of_others,
            if of_others == 1 { "is" } else { "are" },
        ),
        lines: lines.collect(),
        left_out: configurations.saturating_sub(MOST_LINES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a manifest whose output `model` or `predictions` is the digest of one letter.
    fn record(kind: &str, lines: &str, output: char) -> Arc<Record> {
        let manifest = format!("{lines}kind = {kind} 1\n");
        let record = serde_json::json!({
            "version": 1, "key": digest('0'), "manifest": manifest, "stage": "s", "pipeline": "p", "seconds": 1.0,
            "outputs": {"model": {"form": "tree", "digest": digest(output), "bytes": 1}},
            "finished": "", "attempts": [], "device": "cpu", "program": "",
            "machine": {"host": "", "system": "", "processor": "", "cores": 1, "memory_bytes": 1},
        });
        Arc::new(serde_json::from_value(record).expect("a record"))
    }

    fn digest(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    /// The settings of a score of a model `b` that began from a model `a`, made with these lines.
    fn of_chain(upstream: &str, model: &str) -> BTreeMap<String, String> {
        let line = |port: &str, letter| format!("input.{port} = tree {}\n", digest(letter));
        let mut found = Found::default();
        let data = line("data", 'd');
        let makers = [
            record("finetune", &format!("{upstream}{data}"), 'a'),
            record("finetune", &format!("{model}{}", line("start", 'a')), 'b'),
            record("predict", &line("model", 'b'), 'c'),
        ];
        for maker in makers {
            for content in maker.outputs.values() {
                found.makers.insert(content.digest, Arc::clone(&maker));
            }
        }
        settings(&found, &record("score", &line("predictions", 'c'), 'e'))
    }

    #[test]
    fn repetitions_of_what_came_before_are_no_configurations() {
        let one = of_chain("config.epochs = 2\nconfig.seed = 1\n", "config.seed = 1\n");
        let other = of_chain("config.epochs = 2\nconfig.seed = 5\n", "config.seed = 5\n");
        assert_eq!(one, other);
        let told = one.iter().map(|(name, value)| format!("{name} = {value}"));
        let told: Vec<String> = told.collect();
        assert_eq!(told[1], "start.epochs = 2");
        assert!(told[0].starts_with("start.data = "), "{told:?}");
        let longer = of_chain("config.epochs = 4\nconfig.seed = 1\n", "config.seed = 1\n");
        assert_ne!(
            one, longer,
            "other settings before are another configuration"
        );
    }
}
