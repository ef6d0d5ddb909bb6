//! Words of `pipeline cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueHint};

use crate::cli::values::{parse_duration, parse_size};

/// `pipeline cache …`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what the cache holds
    #[command(after_help = "Examples:\n  pipeline cache stats\n  pipeline cache stats --json")]
    Stats {
        /// The cache.
        #[command(flatten)]
        place: CachePlace,
        /// Print the numbers as JSON on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Read every object, and quarantine what does not match its digest
    #[command(
        after_help = "Examples:\n  pipeline cache verify\n  pipeline cache verify --cache /scratch/cache"
    )]
    Verify {
        /// The cache.
        #[command(flatten)]
        place: CachePlace,
    },
    /// Remove what no recent run reaches; never a checkpoint of unfinished work
    #[command(
        after_help = "Examples:\n  pipeline cache gc --dry-run\n  pipeline cache gc --keep-runs 5\n  pipeline cache gc --older-than 30d --down-to 200GiB"
    )]
    Gc(GcArgs),
}

/// Where a cache lies.
#[derive(Clone, Debug, clap::Args)]
pub struct CachePlace {
    /// The cache's folder.
    #[arg(long = "cache", value_name = "DIR", default_value = "cache", value_hint = ValueHint::DirPath)]
    pub cache: PathBuf,
}

/// `pipeline cache gc`.
#[derive(Clone, Debug, clap::Args)]
pub struct GcArgs {
    /// The cache.
    #[command(flatten)]
    pub place: CachePlace,
    /// Keep what the last N runs of each pipeline reach [default: 10, where no other limit is given].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_runs: Option<u32>,
    /// Remove only what no run used for this long.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub older_than: Option<Duration>,
    /// Remove, longest unused and cheapest to make again first, only until the cache is this small.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub down_to: Option<u64>,
    /// Remove nothing; say what would go and why.
    #[arg(long)]
    pub dry_run: bool,
}
