//! What `bundle.json` says. Knows nothing of how a bundle is made or read.
//!
//! Format 1: one JSON object. A reader refuses another `version` and fields it does not know, so that nothing in a bundle
//! is passed over by a check.

use std::collections::BTreeMap;

use flow::content::Content;
use flow::digest::Digest;
use flow::kind::KindEntry;
use flow::restate::Restated;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kinds::KINDS;

/// The version this program writes and reads.
pub(crate) const VERSION: u32 = 1;

/// The file with a [`Bundle`].
pub(crate) const BUNDLE: &str = "bundle.json";
/// The page for people.
pub(crate) const README: &str = "README.md";
/// The page for programs.
pub(crate) const CRATE: &str = "ro-crate-metadata.json";
/// SHA-256 of every other file.
pub(crate) const SHA256SUMS: &str = "SHA256SUMS";
/// BLAKE3 of every file but itself and [`SHA256SUMS`].
pub(crate) const B3SUMS: &str = "B3SUMS";
/// The pipeline with its settings merged in, to be read; it is run as it was written, with the settings.
pub(crate) const RESOLVED: &str = "resolved.yaml";
/// The mirrors, in the folder of the pipeline.
pub(crate) const MIRRORS: &str = "mirrors.txt";
/// The folder of records.
pub(crate) const RECORDS: &str = "records";
/// The folder of listings.
pub(crate) const TREES: &str = "trees";

/// What a bundle holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bundle {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// Name and version of the program that wrote it.
    pub(crate) program: String,
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// The pipeline as one file, by its path in the bundle.
    pub(crate) file: String,
    /// `about:` of the pipeline file; without people where it is anonymous.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) about: Value,
    /// Whether people and machines were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) anonymous: bool,
    /// What the pipeline was run with.
    pub(crate) settings: Settings,
    /// Its stages, each after all that it needs.
    pub(crate) stages: Vec<BundleStage>,
    /// Where the bytes of each object lie.
    pub(crate) objects: BTreeMap<Digest, Place>,
    /// Files of the author's that stages read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<SourceFile>,
    /// What a reader may miss, and why it is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<LeftOut>,
    /// Stages that the pipeline as one file has otherwise than the file it was made from; readers take `original/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unlike: Vec<String>,
}

/// Settings beside the file that stand in it by now, or that another run needs again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Profiles that were laid over the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) profiles: Vec<String>,
    /// Parameters that were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<String>,
    /// `--device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// Mirrors, in the order in which they were asked: `URL_PREFIX=DIR_OR_URL`. Keys of downloads hang on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mirrors: Vec<String>,
}

impl Settings {
    /// As words of a command line, each with a blank before it. `folder` is where the pipeline's folder is seen from there:
    /// nothing, or a path that ends with a slash.
    pub(crate) fn words(&self, folder: &str) -> String {
        let quoted = |text: &String| format!("'{}'", text.replace('\'', "'\\''"));
        let mut words = String::new();
        for profile in &self.profiles {
            words.push_str(&format!(" --profile {}", quoted(profile)));
        }
        for set in &self.set {
            words.push_str(&format!(" --set {}", quoted(set)));
        }
        if let Some(device) = &self.device {
            words.push_str(&format!(" --device {}", quoted(device)));
        }
        if !self.mirrors.is_empty() {
            words.push_str(&format!(" --mirrors {folder}{MIRRORS}"));
        }
        words
    }

    /// The mirrors as a loader takes them; a line that is none is passed over.
    pub(crate) fn mirror_pairs(&self) -> Vec<(String, String)> {
        let pairs = self.mirrors.iter().filter_map(|line| line.split_once('='));
        pairs
            .map(|(prefix, target)| (prefix.trim().to_owned(), target.trim().to_owned()))
            .collect()
    }

    /// The text of [`MIRRORS`] beside the pipeline, where there were mirrors.
    pub(crate) fn mirrors_text(&self) -> Option<String> {
        let head = "# What stood in for downloads, as `--mirrors` takes it; keys hang on it. The copies themselves are not here.\n";
        let lines = self.mirrors.iter().map(|line| format!("{line}\n"));
        (!self.mirrors.is_empty()).then(|| head.to_owned() + &lines.collect::<String>())
    }

    /// What a reader must know of mirrors, if there were any.
    pub(crate) fn mirrored(&self) -> Option<String> {
        (!self.mirrors.is_empty()).then(|| {
            format!(
                "the pipeline was run with mirrors in place of downloads, and keys hang on them as `pipeline/{MIRRORS}` names them; a run finds those results only with `--mirrors` and that file, which needs nothing of what it names"
            )
        })
    }
}

/// A stage with its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleStage {
    /// Its key, and the name of its record.
    pub(crate) key: Digest,
    /// What it was.
    pub(crate) stage: Restated,
}

impl BundleStage {
    /// What this program knows of its kind.
    pub(super) fn known_kind(&self) -> Option<&'static KindEntry> {
        KINDS.iter().find(|kind| kind.name == self.stage.kind)
    }

    /// Whether it is a report.
    pub(super) fn is_report(&self) -> bool {
        self.known_kind().is_some_and(|kind| kind.is_report)
    }

    /// Whether it is carried out again only where that is asked for: the rungs before make reports and what follows from
    /// predictions and labels again, and nobody goes to the network unasked.
    pub(super) fn is_for_rerun(&self) -> bool {
        (self.known_kind()).is_some_and(|kind| !kind.is_report && !kind.derives)
            && self.stage.kind != "fetch"
    }
}

/// Where bytes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// Path in the bundle.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

/// A file of the author's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceFile {
    /// As the pipeline names it.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) content: Content,
}

/// Something that is not in the bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeftOut {
    /// The stage, without its axes, or the author's file.
    pub(crate) what: String,
    /// The output; empty for files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) output: String,
    /// Why.
    pub(crate) why: Why,
    /// What the terms of its sources say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) terms: Vec<String>,
    /// How many instances of the stage.
    pub(crate) count: usize,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
}

/// Why something is not in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// Terms of what it was made from forbid to pass it on.
    Restricted,
    /// The author's cache does not hold it any more.
    Gone,
    /// It was not asked for.
    NotAsked,
    /// It lies outside of the project.
    Outside,
    /// It is too large to come along unasked.
    Large,
}

impl Why {
    /// In a few words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Restricted => "its terms forbid to pass it on",
            Self::Gone => "the cache does not hold it any more",
            Self::NotAsked => "not asked for",
            Self::Outside => "it lies outside of the project",
            Self::Large => "too large to come along unasked",
        }
    }
}

impl Bundle {
    /// The title, else the pipeline's name.
    pub(crate) fn title(&self) -> String {
        self.about["title"]
            .as_str()
            .unwrap_or(&self.pipeline)
            .to_owned()
    }

    /// The authors' names.
    pub(crate) fn authors(&self) -> Vec<String> {
        authors(&self.about)
            .into_iter()
            .map(|author| author.name)
            .collect()
    }
}

/// Somebody of `about:`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Author {
    pub(crate) name: String,
    pub(crate) orcid: Option<String>,
    pub(crate) affiliation: Option<String>,
    pub(crate) email: Option<String>,
}

/// The authors of `about:`: one text, or a list of texts and maps.
pub(crate) fn authors(about: &Value) -> Vec<Author> {
    let one = |value: &Value| {
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        let name = value
            .as_str()
            .map(str::to_owned)
            .or_else(|| field("name"))?;
        let orcid = field("orcid");
        Some(Author {
            name,
            orcid: orcid.map(|text| flow::spec::about::orcid_digits(&text).to_owned()),
            affiliation: field("affiliation"),
            email: field("email"),
        })
    };
    match &about["authors"] {
        Value::Array(items) => items.iter().filter_map(one).collect(),
        single => one(single).into_iter().collect(),
    }
}
