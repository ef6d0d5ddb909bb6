//! Three kinds, a folder of files and words to ask about what was loaded, for tests. Knows no kind of the program.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::{LoadFailure, LoadOptions, Loaded, load};
use super::pick::Pick;
use super::{Launch, Origin, Program, StageSpec};
use crate::diagnostic::Diagnostic;
use crate::kind::{
    BindContext, ConfigProblem, KindEntry, Ports, StageContext, StageError, StageKind, StageReport,
    kind,
};

/// Like `command`: any inputs, declared outputs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Tool {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    params: Option<serde_json::Value>,
}

impl StageKind for Tool {
    const NAME: &'static str = "tool";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Runs a program.";

    fn ports(&self) -> Ports {
        Ports {
            any_input: true,
            declares_outputs: true,
            ..Ports::default()
        }
    }

    fn launch(&self) -> Launch {
        Launch::Program(Program {
            argv: self.argv.clone(),
            files: Vec::new(),
            numbers: Vec::new(),
        })
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Ok(StageReport::default())
    }
}

fn default_decay() -> f64 {
    0.8
}

fn is_default_decay(value: &f64) -> bool {
    value.to_bits() == default_decay().to_bits()
}

/// Like a built-in kind: fixed ports.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Train {
    epochs: u32,
    #[serde(default = "default_decay", skip_serializing_if = "is_default_decay")]
    layer_decay: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locked: Option<String>,
}

impl StageKind for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Trains.";

    fn ports(&self) -> Ports {
        Ports::inputs(["data"])
            .optional("start")
            .outputs(["model", "log"])
    }

    fn check(&self) -> Vec<ConfigProblem> {
        if self.epochs == 0 {
            return vec![ConfigProblem {
                path: vec!["epochs".to_owned()],
                message: "nothing is trained in 0 epochs".to_owned(),
                help: Some("write at least 1".to_owned()),
            }];
        }
        Vec::new()
    }

    fn complete(&mut self, context: &BindContext<'_>) {
        self.locked = context.locked.map(str::to_owned);
    }

    fn numerics(&self) -> Option<String> {
        Some("f32".to_owned())
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Ok(StageReport::default())
    }
}

pub(crate) const KINDS: &[KindEntry] = &[kind::<Tool>(), kind::<Train>(), kind::<Pick>()];

/// A folder with files and what loading `main.yaml` in it gives.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs_err::write(path, text).expect("a file");
        }
        Self { folder }
    }

    pub(crate) fn load(&self, profile: Option<&str>, set: &[&str]) -> Result<Loaded, LoadFailure> {
        let profiles: Vec<String> = profile.iter().map(|&s| s.to_owned()).collect();
        let set: Vec<String> = set.iter().map(|&s| s.to_owned()).collect();
        load(&LoadOptions {
            file: &self.folder.path().join("main.yaml"),
            profiles: &profiles,
            set: &set,
            kinds: KINDS,
            mirrors: &[],
            device: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn good(text: &str) -> Loaded {
    match Scene::new(&[("main.yaml", text)]).load(None, &[]) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{:#?}", shown(&failure)),
    }
}

pub(crate) fn shown(failure: &LoadFailure) -> Vec<String> {
    let place = |problem: &Diagnostic| {
        problem
            .labels
            .first()
            .map_or_else(String::new, |label| failure.sources.place(label.span))
    };
    failure
        .failure
        .diagnostics
        .iter()
        .map(|problem| {
            format!(
                "{} {} {} / {}",
                place(problem),
                problem.code,
                problem.message,
                problem.help.as_deref().unwrap_or("NO HELP")
            )
        })
        .collect()
}

pub(crate) fn bad(text: &str) -> Vec<String> {
    shown(
        &Scene::new(&[("main.yaml", text)])
            .load(None, &[])
            .expect_err("problems"),
    )
}

/// Each expected fragment is in one message, and there are no others.
#[track_caller]
pub(crate) fn expect_all(found: &[String], expected: &[&str]) {
    for text in expected {
        assert!(
            found.iter().any(|f| f.contains(text)),
            "{text:?} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.iter().all(|f| !f.contains("NO HELP")), "{found:#?}");
}

pub(crate) fn stage<'a>(loaded: &'a Loaded, name: &str) -> &'a StageSpec {
    loaded
        .workflow
        .stages
        .iter()
        .find(|stage| stage.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", names(loaded)))
}

pub(crate) fn names(loaded: &Loaded) -> Vec<&str> {
    loaded
        .workflow
        .stages
        .iter()
        .map(|s| s.name.as_str())
        .collect()
}

/// The name of the stage and output an input comes from.
pub(crate) fn origin(loaded: &Loaded, name: &str, port: &str) -> Vec<String> {
    let input = stage(loaded, name)
        .inputs
        .iter()
        .find(|input| input.port == port)
        .expect("the port");
    let references = match &input.origin {
        Origin::Stage(reference) => std::slice::from_ref(reference),
        Origin::Many(references) => references,
        Origin::Path(path) | Origin::Glob(path) | Origin::KeyOnly(path) | Origin::Put(path) => {
            return vec![path.clone()];
        }
    };
    references
        .iter()
        .map(|r| {
            format!(
                "{}.{}",
                loaded.workflow.stages[r.stage.index()].name,
                r.output
            )
        })
        .collect()
}

pub(crate) const TOOL: &str = "{kind: tool, with: {argv: [x]}, outputs: {out: out}}";

/// Loads a text with the kinds of the tests; no file is read.
pub(crate) fn workflow(text: &str) -> super::Workflow {
    super::load::load_text(text, KINDS).expect("loads").workflow
}
