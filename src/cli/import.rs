//! `pipeline import`: records and objects of a bundle into a cache. (`pipeline import-dvc` stands in `import_dvc.rs`.)

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::store::Store;

use super::Done;
use super::args::ImportArgs;
use crate::console::{Console, format};
use crate::share::import::Intent;
use crate::share::opened::{LIMIT_BYTES, open};

/// Looks at the bundle, says what it brings, and takes it over.
pub(super) fn import(args: &ImportArgs, console: &mut Console) -> Done {
    let opened = open(&args.bundle, args.limit.unwrap_or(LIMIT_BYTES))?;
    let cache = std::path::absolute(&args.cache).unwrap_or_else(|_| args.cache.clone());
    let store = Store::open(&cache).map_err(|error| {
        let message = format!("the cache `{}` cannot be used", args.cache.display());
        let diagnostic = Diagnostic::error("run::cache", message)
            .detail(error.to_string())
            .help("choose another place with `--cache`, or make this one writable and leave it some space");
        Failure::one(Class::Environment, diagnostic)
    })?;
    let intent = Intent::new(&opened, &store)?;
    for line in opened.doubts.iter().chain(&opened.unproven) {
        console.note(line);
    }
    for gap in &opened.gaps {
        console.note(&gap.line());
    }
    console.note(&format!(
        "bundle {} of `{}`: {} new, {} known here; {} with {}",
        opened.id.short(),
        opened.bundle.pipeline,
        format::counted(intent.records(), "record"),
        intent.known,
        format::counted(intent.objects(), "object"),
        format::bytes(intent.bytes),
    ));
    let done = intent.carry_out(&store)?;
    console.report(&done.conflicts);
    console.note(&format!(
        "imported {} and {} into {}; digests hold, `pipeline verify {}` says what else does",
        format::counted(done.records, "record"),
        format::counted(done.objects, "object"),
        args.cache.display(),
        args.bundle.display(),
    ));
    console.note(&format!(
        "the pipeline is {}; copy its folder to a place of your own and run it there{}",
        args.bundle.join(&opened.bundle.file).display(),
        match opened.bundle.settings.words("") {
            words if words.is_empty() => words,
            words => format!(" with{words}"),
        }
    ));
    if let Some(words) = opened.bundle.settings.mirrored() {
        console.note(&words);
    }
    Ok(0)
}
