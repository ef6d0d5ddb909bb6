//! Words of the commands that hand results on and take them over.

use std::path::PathBuf;

use clap::ValueHint;

use super::PipelineArgs;
use crate::cli::values::{parse_selector, parse_share, parse_size};

/// `pipeline export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only these stages and what they were made from [default: all].
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stages: Vec<String>,
    /// The folder to write; nothing may lie there.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Also all other outputs, what stages printed, and files of yours above 1 MiB.
    #[arg(long)]
    pub objects: bool,
    /// Also models.
    #[arg(long)]
    pub models: bool,
    /// Also what terms forbid to pass on.
    #[arg(long)]
    pub include_restricted: bool,
    /// Leave out people, hosts and folders of this machine, and search all that was written for them.
    #[arg(long)]
    pub anonymous: bool,
}

/// `pipeline verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The folder that `pipeline export` wrote.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub bundle: PathBuf,
    /// Carry out so many stages again, chosen at random, or those named.
    #[arg(long, value_name = "N|STAGE", num_args = 1..)]
    pub rerun: Vec<String>,
    /// Chooses other stages.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rerun")]
    pub seed: u64,
    /// How far numbers of a stage may differ and count as stable, relative.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = parse_share, requires = "rerun")]
    pub tolerance: f64,
    /// A cache of yours, for inputs that the bundle does not hold; it is only read.
    #[arg(long = "cache", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache: Option<PathBuf>,
    /// Refuse a bundle with more bytes [default: 256GiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: Option<u64>,
    /// Name every stage that cannot be judged, and all that was found.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print the rungs as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `pipeline import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The folder that `pipeline export` wrote.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub bundle: PathBuf,
    /// The cache that takes it, made where it is missing.
    #[arg(long = "cache", value_name = "DIR", default_value = "cache", value_hint = ValueHint::DirPath)]
    pub cache: PathBuf,
    /// Refuse a bundle with more bytes [default: 256GiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: Option<u64>,
}

/// `pipeline import-dvc`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportDvcArgs {
    /// The `dvc.yaml`; its parameter files are read beside it.
    #[arg(value_name = "DVC_YAML", default_value = "dvc.yaml", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The pipeline file to write [default: `pipelines/NAME.yaml` beside it, NAME being that of its folder].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}
