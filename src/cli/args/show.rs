//! Words of the commands that show what there is: states, results, differences, drawings.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ValueEnum, ValueHint};

use super::PipelineArgs;
use crate::cli::values::{
    Condition, OutputSelector, RunSelector, Setting, Settings, parse_selector,
};

/// `pipeline status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only these stages [default: all].
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stages: Vec<String>,
    /// Follow the run that is going on, here or elsewhere, until it ends; its exit code is the run's.
    #[arg(short, long, conflicts_with = "stages")]
    pub follow: bool,
    /// Follow this run, also one that is over: an id or `latest` [default: the one that goes on and began last].
    #[arg(long, value_name = "RUN", requires = "follow")]
    pub run: Option<String>,
    /// Follow the run that writes this file of events.
    #[arg(long, value_name = "FILE", requires = "follow", conflicts_with = "run", value_hint = ValueHint::FilePath)]
    pub events: Option<PathBuf>,
    /// Print the states as JSON on standard output; with `--follow`, the summary of the run.
    #[arg(long)]
    pub json: bool,
}

/// `pipeline results`.
#[derive(Clone, Debug, clap::Args)]
pub struct ResultsArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only these stages [default: all that have numbers or may come to have some].
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stages: Vec<String>,
    /// Only instances of which this holds: `=`, `!=`, `<`, `<=`, `>`, `>=`; repeat for several.
    #[arg(long = "where", value_name = "NAME=VALUE", help_heading = "Rows")]
    pub conditions: Vec<Condition>,
    /// Sort by this, upwards; `-NAME` downwards. Instances without it come last.
    #[arg(
        long,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "Rows"
    )]
    pub sort: Option<String>,
    /// Sort downwards.
    #[arg(long, requires = "sort", help_heading = "Rows")]
    pub descending: bool,
    /// Show these columns, in this order.
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_delimiter = ',',
        help_heading = "Rows"
    )]
    pub columns: Vec<String>,
    /// Show means, standard deviations and n over the axis of repetition.
    #[arg(long, help_heading = "Statistics")]
    pub mean: bool,
    /// Show means over this axis, or pair by it.
    #[arg(long, value_name = "AXIS", help_heading = "Statistics")]
    pub over: Option<String>,
    /// Test whether the first value of an axis and the others differ, over the same repetitions.
    #[arg(
        long,
        value_name = "AXIS=VALUE,VALUE",
        conflicts_with = "mean",
        help_heading = "Statistics"
    )]
    pub compare: Option<Settings>,
    /// Print CSV on standard output, with every column.
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub csv: bool,
    /// Print JSON on standard output, with every column.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Write a Parquet file, with every column.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub parquet: Option<PathBuf>,
}

/// `pipeline serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The pipeline file [default: that of the run that began last].
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Where to listen; other addresses than this machine's own need `--public`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Let other machines see the page. It is not encrypted: who reads along on the network sees it, too.
    #[arg(long)]
    pub public: bool,
    /// Apply a profile of the file; repeat for several, later ones win.
    #[arg(long = "profile", value_name = "NAME", help_heading = "Settings")]
    pub profiles: Vec<String>,
    /// Set a parameter, over file and profiles; the value is YAML.
    #[arg(long = "set", value_name = "NAME=VALUE", help_heading = "Settings")]
    pub settings: Vec<Setting>,
    /// Where results are kept [default: `cache` in the pipeline's root].
    #[arg(long = "cache", value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Settings")]
    pub cache: Option<PathBuf>,
}

/// `pipeline get`.
#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stage, and the output where it is not the first one.
    #[arg(value_name = "STAGE[.OUTPUT]")]
    pub output: OutputSelector,
    /// The folder that gets the copy, made where it is missing; with `huggingface` it becomes the model's folder.
    #[arg(long = "to", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
    /// What to write.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = GetFormat::Files)]
    pub format: GetFormat,
    /// Write a model for the hub though terms of what it was made from forbid to pass it on.
    #[arg(long, requires = "format")]
    pub include_restricted: bool,
}

/// What `pipeline get` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GetFormat {
    /// The output as it is.
    Files,
    /// A model as a folder for the Hugging Face hub, with its card.
    Huggingface,
}

/// `pipeline path`.
#[derive(Clone, Debug, clap::Args)]
pub struct PathArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stage, and the output where it is not the first one.
    #[arg(value_name = "STAGE[.OUTPUT]")]
    pub output: OutputSelector,
}

/// `pipeline diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The run on the left: an id, `latest`, `latest~1`.
    #[arg(value_name = "RUN")]
    pub left: RunSelector,
    /// The run on the right.
    #[arg(value_name = "RUN")]
    pub right: RunSelector,
    /// Only these stages [default: all].
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stages: Vec<String>,
    /// Print what differs as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `pipeline graph`.
#[derive(Clone, Debug, clap::Args)]
pub struct GraphArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// What to write.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = GraphFormat::Dot)]
    pub format: GraphFormat,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz.
    Dot,
    /// For Markdown pages.
    Mermaid,
    /// A picture.
    Svg,
}
