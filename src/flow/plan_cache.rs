//! The expanded workflow in one binary file, so that YAML is parsed only when something it was made from changed.
//!
//! Format `plans-v1`: `PLAN1` and a newline, then postcard of [`CachedPlan`]. The file's name is the digest of the
//! program, the pipeline's path and the settings; what it was made from is listed inside and compared. A file that
//! does not decode is as good as none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Failure};
use crate::digest::{Digest, Use};
use crate::run::publish_conflicts;
use crate::source::Sources;
use crate::spec::Workflow;
use crate::spec::load::{LoadFailure, LoadOptions, Loaded, load};
use crate::store::Store;

const HEADER: &[u8] = b"PLAN1\n";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct CachedPlan {
    read: Vec<(PathBuf, Option<Digest>)>,
    texts: Vec<(String, Option<PathBuf>, Option<String>)>,
    warnings: Vec<Diagnostic>,
    workflow: Workflow,
}

/// A workflow, loaded or taken from the cache.
#[derive(Debug)]
pub struct Ready {
    /// The concrete stages.
    pub workflow: Workflow,
    /// What is worth saying but stops nothing.
    pub warnings: Vec<Diagnostic>,
    texts: Texts,
}

#[derive(Debug)]
enum Texts {
    Loaded(Sources),
    Named(Vec<(String, Option<PathBuf>, Option<String>)>),
}

impl Ready {
    /// The texts behind the workflow, read again where it came from the cache.
    #[must_use]
    pub fn sources(&self) -> Sources {
        match &self.texts {
            Texts::Loaded(sources) => sources.clone(),
            Texts::Named(texts) => {
                let mut sources = Sources::default();
                for (name, path, text) in texts {
                    let text = match (text, path) {
                        (Some(text), _) => text.clone(),
                        (None, Some(path)) => fs_err::read_to_string(path).unwrap_or_default(),
                        (None, None) => String::new(),
                    };
                    sources.add(name.clone(), path.as_deref(), text);
                }
                sources
            }
        }
    }
}

/// Loads a pipeline, from the cache where nothing changed.
///
/// # Errors
/// Those of [`load`], and stages that would publish over each other.
pub fn load_cached(options: &LoadOptions<'_>, store: &Store) -> Result<Ready, LoadFailure> {
    let path = store.dir().join("plans-v1").join(name(options).short());
    if let Some(plan) = find(&path) {
        return Ok(Ready {
            workflow: plan.workflow,
            warnings: plan.warnings,
            texts: Texts::Named(plan.texts),
        });
    }
    let Loaded {
        workflow,
        sources,
        warnings,
        read,
        ..
    } = load(options)?;
    // Before the plan is kept: one that is kept is not looked at again.
    let conflicts = publish_conflicts(&workflow);
    if !conflicts.is_empty() {
        let failure = Failure::input(conflicts);
        return Err(LoadFailure { failure, sources });
    }
    let texts = sources
        .iter()
        .map(|source| {
            let text = source.path.is_none().then(|| source.text.to_string());
            (source.name.clone(), source.path.clone(), text)
        })
        .collect();
    let plan = CachedPlan {
        read,
        texts,
        warnings,
        workflow,
    };
    if let Ok(bytes) = postcard::to_extend(&plan, HEADER.to_vec()) {
        // Without it the next run parses again; that is all.
        // Configurations may hold passwords, such as those of URLs.
        let _ = store.write_private(&path, &bytes);
    }
    let CachedPlan {
        warnings, workflow, ..
    } = plan;
    Ok(Ready {
        workflow,
        warnings,
        texts: Texts::Loaded(sources),
    })
}

fn find(path: &Path) -> Option<CachedPlan> {
    let bytes = fs_err::read(path).ok()?;
    let plan: CachedPlan = postcard::from_bytes(bytes.strip_prefix(HEADER)?).ok()?;
    let is_unchanged = plan.read.iter().all(|(path, digest)| {
        fs_err::read(path).ok().map(|text| Use::File.digest(&text)) == *digest
    }) && plan
        .workflow
        .environment
        .iter()
        .all(|(name, value)| std::env::var(name).ok() == *value);
    is_unchanged.then_some(plan)
}

/// Everything outside the files that decides what they expand to. The program counts by its own file too, so that a
/// new build of the same version does not read the plans of the old one.
fn name(options: &LoadOptions<'_>) -> Digest {
    let program = std::env::current_exe()
        .and_then(fs_err::metadata)
        .map(|metadata| crate::content::Stamp::of(&metadata));
    let kinds: Vec<_> = options
        .kinds
        .iter()
        .map(|kind| (kind.name, kind.version))
        .collect();
    let file = std::path::absolute(options.file).unwrap_or_else(|_| options.file.to_path_buf());
    let text = serde_json::json!([
        env!("CARGO_PKG_VERSION"),
        program.ok(),
        file,
        options.file,
        options.profiles,
        options.set,
        options.mirrors,
        options.device,
        kinds,
    ]);
    Use::Plan.digest(text.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use crate::spec::{Departure, StageSpec};
    use crate::test_support;

    #[test]
    fn a_stage_that_departs_is_read_back() {
        let departure = Departure {
            stage: "a".to_owned(),
            what: "steps".to_owned(),
            here: "1".to_owned(),
            written: "2".to_owned(),
        };
        let stage = StageSpec {
            departures: vec![departure],
            ..test_support::stage("a")
        };
        let bytes = postcard::to_stdvec(&stage).expect("plain data");
        let read: Result<StageSpec, _> = postcard::from_bytes(&bytes);
        assert_eq!(read.ok(), Some(stage));
    }
}
