//! `pipeline cache …`: what the cache holds, whether it is whole, and making it smaller. Knows nothing of pipeline files.

use std::path::Path;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::run::read_runs;
use flow::store::Store;
use flow::store::gc::{Collection, GcError, Limits, Removal, What, Why, collect, decide};
use flow::store::survey::{StageUse, Sum, Survey};
use flow::store::verify::{Audit, verify};
use serde::Serialize;

use super::Done;
use super::args::{CacheCommand, CachePlace, GcArgs};
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};

/// Stages that `stats` prints for people.
const MOST_STAGES: usize = 15;
/// Lines that `gc` prints of one kind; a dry run prints all.
const MOST_REMOVALS: usize = 20;
/// Incomplete records that `verify` names.
const MOST_INCOMPLETE: usize = 10;
/// Seconds between two lines of progress.
const PROGRESS_EVERY: f64 = 5.0;

/// Does what was asked with the cache.
pub(super) fn cache(command: &CacheCommand, console: &mut Console) -> Done {
    match command {
        CacheCommand::Stats { place, json } => stats(&open(place)?, *json, console),
        CacheCommand::Verify { place } => verify_all(&open(place)?, console),
        CacheCommand::Gc(args) => gc(&open(&args.place)?, args, console),
    }
}

/// Opens a cache that is there. A word with a typing error must not make one, or look after a folder that is none.
fn open(place: &CachePlace) -> Result<Store, Failure> {
    let path = &place.cache;
    let is_cache =
        |path: &Path| path.join("records-v1").is_dir() || path.join("CACHEDIR.TAG").is_file();
    if !is_cache(path) {
        let diagnostic = Diagnostic::error(
            "cache::none",
            format!("there is no cache at `{}`", path.display()),
        )
        .help("start in the pipeline's root, or name the folder with `--cache DIR`");
        return Err(Failure::one(Class::Input, diagnostic));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Store::open(&absolute).map_err(|error| broken(path, &error))
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error(
        "run::cache",
        format!("the cache `{}` cannot be used", path.display()),
    )
    .detail(error.to_string())
    .help("check that it may be read and written, and that the disk has space");
    Failure::one(Class::Environment, diagnostic)
}

#[derive(Serialize)]
struct Stats<'a> {
    cache: &'a Path,
    total_bytes: u64,
    objects: Sum,
    records: Sum,
    index: Sum,
    runs: Sum,
    plans: Sum,
    work: Sum,
    tmp: Sum,
    quarantine: Sum,
    stages: Vec<StageUse>,
}

fn stats(store: &Store, json: bool, console: &mut Console) -> Done {
    let survey = Survey::take(store).map_err(|error| broken(store.dir(), &error))?;
    let sum = |bytes: &mut dyn Iterator<Item = u64>| {
        let mut sum = Sum::default();
        bytes.for_each(|bytes| sum.add(bytes));
        sum
    };
    let stats = Stats {
        cache: store.dir(),
        total_bytes: survey.total_bytes(),
        objects: sum(&mut survey.objects.values().map(|piece| piece.bytes)),
        records: sum(&mut survey
            .records
            .values()
            .map(|stored| stored.file.bytes)
            .chain(survey.bad_records.iter().map(|file| file.bytes))),
        index: Sum {
            count: usize::from(survey.index_bytes > 0),
            bytes: survey.index_bytes,
        },
        runs: survey.runs,
        plans: sum(&mut survey.plans.iter().map(|piece| piece.bytes)),
        work: sum(&mut survey.work.values().map(|piece| piece.bytes)),
        tmp: sum(&mut survey.leftovers.iter().map(|piece| piece.bytes)),
        quarantine: survey.quarantine,
        stages: survey.stages(store),
    };
    if json {
        console.json(&stats);
        return Ok(0);
    }
    console.text(&totals(&stats));
    if !stats.stages.is_empty() {
        console.text("");
        console.text(&biggest(&stats.stages));
    }
    Ok(0)
}

fn totals(stats: &Stats<'_>) -> String {
    let mut table = Table::new([
        ("WHAT", Align::Left),
        ("COUNT", Align::Right),
        ("BYTES", Align::Right),
        ("", Align::Left),
    ]);
    let rows = [
        ("objects", stats.objects, "contents of outputs, each once"),
        ("records", stats.records, "what each key produced"),
        ("index", stats.index, ""),
        ("runs", stats.runs, "logs of runs"),
        ("plans", stats.plans, "expanded pipelines"),
        ("work", stats.work, "stages at work, failed or unfinished"),
        ("tmp", stats.tmp, "writes under way or interrupted"),
        (
            "quarantine",
            stats.quarantine,
            "damaged objects, moved away",
        ),
    ];
    for (what, sum, remark) in rows {
        table.row([
            Cell::new(Ink::Text, what),
            Cell::new(Ink::Text, format::count(sum.count as u64)),
            Cell::new(Ink::Text, format::bytes(sum.bytes)),
            Cell::new(Ink::Faint, remark),
        ]);
    }
    table.row([
        Cell::new(Ink::Accent, "total"),
        Cell::from(""),
        Cell::new(Ink::Accent, format::bytes(stats.total_bytes)),
        Cell::from(""),
    ]);
    table.render(Look::of_stdout(), false)
}

fn biggest(stages: &[StageUse]) -> String {
    let mut table = Table::new([
        ("BIGGEST STAGES", Align::Left),
        ("RECORDS", Align::Right),
        ("BYTES", Align::Right),
        ("TIME", Align::Right),
    ]);
    for row in stages.iter().take(MOST_STAGES) {
        table.row([
            Cell::new(Ink::Text, format!("{} {}", row.pipeline, row.stage)),
            Cell::new(Ink::Text, format::count(row.records as u64)),
            Cell::new(Ink::Text, format::bytes(row.bytes)),
            Cell::new(Ink::Text, format::duration(row.seconds)),
        ]);
    }
    let mut text = table.render(Look::of_stdout(), false);
    if stages.len() > MOST_STAGES {
        text.push_str(&format!(
            "and {} more: `--json` lists all\n",
            stages.len() - MOST_STAGES
        ));
    }
    text
}

fn verify_all(store: &Store, console: &mut Console) -> Done {
    // Runs may go on meanwhile; only `gc` must not.
    let _in_use = store
        .mark_in_use()
        .map_err(|error| broken(store.dir(), &error))?;
    let started = std::time::Instant::now();
    let mut told = 0.0;
    let mut progress = |done: u64, all: u64| {
        let seconds = started.elapsed().as_secs_f64();
        if seconds - told >= PROGRESS_EVERY {
            told = seconds;
            console.note(&format!(
                "read {} of {}",
                format::bytes(done),
                format::bytes(all)
            ));
        }
    };
    let audit = verify(store, &mut progress).map_err(|error| broken(store.dir(), &error))?;
    console.report(&audit.damage);
    incomplete(&audit, console);
    let found = if audit.damage.is_empty() {
        "all whole".to_owned()
    } else {
        format!("{} damaged", format::count(audit.damage.len() as u64))
    };
    console.note(&format!(
        "read {} ({}) and {} in {}: {found}",
        format::counted(audit.objects, "object"),
        format::bytes(audit.bytes),
        format::counted(audit.records, "record"),
        format::duration(started.elapsed().as_secs_f64()),
    ));
    Ok(u8::from(!audit.damage.is_empty()))
}

fn incomplete(audit: &Audit, console: &mut Console) {
    if audit.incomplete.is_empty() {
        return;
    }
    console.note(&format!(
        "{} without all their objects; they stay cached, and what is read is made again:",
        format::counted(audit.incomplete.len(), "record"),
    ));
    for record in audit.incomplete.iter().take(MOST_INCOMPLETE) {
        console.note(&format!(
            "  {} {} ({}): {}",
            record.pipeline,
            record.stage,
            record.key.short(),
            record.outputs.join(", ")
        ));
    }
    if audit.incomplete.len() > MOST_INCOMPLETE {
        console.note(&format!(
            "  and {} more",
            audit.incomplete.len() - MOST_INCOMPLETE
        ));
    }
}

fn gc(store: &Store, args: &GcArgs, console: &mut Console) -> Done {
    let environment = |error: std::io::Error| broken(store.dir(), &error);
    let alone = store.try_alone().map_err(environment)?;
    if !args.dry_run {
        if let Some(holder) = store.any_claim().map_err(environment)? {
            return Err(in_use(store, Some(&holder)));
        }
        match &alone {
            None => return Err(in_use(store, None)),
            Some(alone) if !alone.is_certain() => console.report(&[Diagnostic::warning(
                "store::no_locks",
                format!("the file system of `{}` keeps no locks", store.dir().display()),
            )
            .detail("whether a run uses the cache cannot be seen; what it may be about to record is kept")]),
            Some(_) => {}
        }
    }
    let limits = Limits {
        keep_runs: args.keep_runs,
        older_than: args.older_than,
        down_to_bytes: args.down_to,
        ..Limits::default()
    };
    let runs = read_runs(store).map_err(environment)?;
    let collection = decide(store, &runs, &limits).map_err(|error| match error {
        GcError::Io(error) => broken(store.dir(), &error),
        GcError::Later(_) => {
            let diagnostic = Diagnostic::error("cache::later", error.to_string()).help(
                "what they name cannot be told from what nobody names: use the later version",
            );
            Failure::one(Class::Environment, diagnostic)
        }
    })?;
    if args.dry_run {
        console.text(&table(&collection.removals, usize::MAX));
    } else {
        console.note(table(&collection.removals, MOST_REMOVALS).trim_end());
        collect(store, &collection).map_err(environment)?;
    }
    remarks(&collection, args, console);
    Ok(0)
}

fn in_use(store: &Store, holder: Option<&str>) -> Failure {
    let mut diagnostic = Diagnostic::error(
        "cache::in_use",
        format!("a run uses the cache `{}`", store.dir().display()),
    )
    .help("try again when it is over; `--dry-run` shows meanwhile what would go");
    if let Some(holder) = holder {
        diagnostic = diagnostic
            .detail(format!(
                "{holder} is at work on a stage, or was until it was cut off"
            ))
            .help("try again when it is over; what was cut off is forgotten ten minutes after");
    }
    Failure::one(Class::Environment, diagnostic)
}

fn table(removals: &[Removal], most: usize) -> String {
    let mut table = Table::new([
        ("WHAT", Align::Left),
        ("BYTES", Align::Right),
        ("WHY", Align::Left),
    ]);
    for removal in removals.iter().take(most) {
        table.row([
            Cell::new(Ink::Text, what(&removal.what)),
            Cell::new(Ink::Text, format::bytes(removal.bytes)),
            Cell::new(Ink::Faint, why(&removal.why)),
        ]);
    }
    if table.is_empty() {
        return String::new();
    }
    let mut text = table.render(Look::of_stdout(), false);
    if removals.len() > most {
        text.push_str(&format!(
            "and {} more\n",
            format::count((removals.len() - most) as u64)
        ));
    }
    text
}

fn what(what: &What) -> String {
    match what {
        What::Result { key, stage } => format!("result {stage} ({})", key.short()),
        What::Bytes { key, stage } => format!("bytes of {stage} ({})", key.short()),
        What::Orphan(digest) => format!("object {}", digest.short()),
        What::Work(key) => format!("work of {}", key.short()),
        What::Leftover => "file in tmp".to_owned(),
        What::Plan => "expanded plan".to_owned(),
    }
}

fn why(why: &Why) -> String {
    match why {
        Why::Unreached(1) => "the last run of its pipeline does not reach it".to_owned(),
        Why::Unreached(runs) => format!("none of the last {runs} runs of its pipeline reaches it"),
        Why::Idle(seconds) => format!("unused for {}", format::duration(*seconds)),
        Why::Room { idle, remake } => format!(
            "unused for {}, made in {}",
            format::duration(*idle),
            format::duration(*remake)
        ),
        Why::Unnamed => "no record names it".to_owned(),
        Why::Finished => "the key has a record".to_owned(),
        Why::Failed => "failed, and no run that counts reaches it".to_owned(),
        Why::Interrupted => "left from an interrupted write".to_owned(),
        Why::Old => "not made anew for a week".to_owned(),
    }
}

fn remarks(collection: &Collection, args: &GcArgs, console: &mut Console) {
    if collection.unreadable_records > 0 {
        console.note(&format!(
            "{} cannot be read, so objects that no record names stay: `pipeline cache verify` first",
            format::counted(collection.unreadable_records, "record")
        ));
    }
    if collection.unfinished.count > 0 {
        console.note(&format!(
            "kept: {} of unfinished work ({})",
            format::counted(collection.unfinished.count, "folder"),
            format::bytes(collection.unfinished.bytes)
        ));
    }
    if collection.quarantine.count > 0 {
        console.note(&format!(
            "kept: {} in quarantine ({}); remove them by hand when you have looked at them",
            format::counted(collection.quarantine.count, "object"),
            format::bytes(collection.quarantine.bytes)
        ));
    }
    if let Some(most) = args.down_to
        && collection.after_bytes() > most
    {
        console.note(&format!(
            "what may go is not enough for {}",
            format::bytes(most)
        ));
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    console.note(&format!(
        "{verb} {} of {}; {} {} stay",
        format::bytes(collection.freed_bytes()),
        format::bytes(collection.before_bytes),
        format::count(collection.kept_records as u64),
        if collection.kept_records == 1 {
            "record"
        } else {
            "records"
        },
    ));
}
