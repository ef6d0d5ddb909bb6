//! Every word of the command line, as types. Knows nothing of what the words make happen.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint};
use flow::exec::environment::quoted;

pub use clap_complete::Shell;

use super::plan::devices::Device;
mod cache;
mod share;
mod show;

pub use cache::{CacheCommand, CachePlace, GcArgs};
pub use share::{ExportArgs, ImportArgs, ImportDvcArgs, VerifyArgs};
pub use show::{
    DiffArgs, GetArgs, GetFormat, GraphArgs, GraphFormat, PathArgs, ResultsArgs, ServeArgs,
    StatusArgs,
};

use super::values::{Mirror, Setting, parse_device, parse_duration, parse_selector};

/// Runs declarative experiment pipelines: a YAML file in, cached results and reports out.
///
/// Stages are identified by the hash of what decides their result, so what was done once is not done again.
#[derive(Debug, Parser)]
#[command(
    name = "pipeline",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Examples:\n  pipeline init my-experiment\n  pipeline run pipelines/quickstart.yaml\n  pipeline why pipelines/quickstart.yaml pretrain\n\nExit codes: 0 done, 1 a stage failed, 2 input, 3 environment, 70 bug, 130/143 interrupted."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run what is not cached
    #[command(
        after_help = "Examples:\n  pipeline run pipelines/quickstart.yaml\n  pipeline run pipelines/paper.yaml 'finetune[task=ddi,seed=*]' --jobs 4 --keep-going\n  pipeline run pipelines/datasets.yaml --mirrors tests/mirrors.txt --offline --json"
    )]
    Run(RunArgs),
    /// Check the file and report all its errors at once; does no work
    #[command(
        after_help = "Examples:\n  pipeline check pipelines/paper.yaml\n  pipeline check pipelines/paper.yaml --profile smoke --json"
    )]
    Check(CheckArgs),
    /// Show what would run, why, and what it costs in operations, time and disk
    #[command(
        after_help = "Examples:\n  pipeline plan pipelines/paper.yaml\n  pipeline plan pipelines/paper.yaml --on h200\n  pipeline plan pipelines/paper.yaml table --set epochs=5 --json"
    )]
    Plan(PlanArgs),
    /// Show the changed lines of a stage's manifest
    #[command(after_help = "Examples:\n  pipeline why pipelines/paper.yaml 'finetune[ddi,1]'")]
    Why(StageArgs),
    /// Show each stage: cached, outdated, running, failed; or follow a run
    #[command(
        after_help = "Examples:\n  pipeline status pipelines/paper.yaml\n  pipeline status pipelines/paper.yaml --json\n  pipeline status pipelines/paper.yaml --follow"
    )]
    Status(StatusArgs),
    /// Show axes, parameters, numbers, state and time of each instance, also while a run is going on
    #[command(
        after_help = "Examples:\n  pipeline results pipelines/paper.yaml finetune --sort -f1\n  pipeline results pipelines/paper.yaml finetune --where task=ddi --where 'f1>=0.8'\n  pipeline results pipelines/paper.yaml finetune --mean --columns f1,precision\n  pipeline results pipelines/paper.yaml finetune --compare learning_rate=1e-4,3e-4 --columns f1\n\nA name is an axis, a parameter (its path or the end of it), a number (`f1`, `dev/f1`, `ddi/dev/f1[effect]`) or one of stage, instance, kind, state, time, device, because, key. `axis.`, `with.` and `number.` before it say which."
    )]
    Results(ResultsArgs),
    /// Show a pipeline and its run on a page in the browser, read-only
    #[command(
        after_help = "Prints the address of the page, and answers until it is interrupted. It reads the files of the run and writes nothing.\n\nExamples:\n  pipeline serve\n  pipeline serve pipelines/paper.yaml --port 8080"
    )]
    Serve(ServeArgs),
    /// Copy an output of a stage out of the cache
    #[command(
        after_help = "Examples:\n  pipeline get pipelines/paper.yaml table --to results/\n  pipeline get pipelines/paper.yaml 'finetune[ddi,1].model' --to models/\n  pipeline get pipelines/paper.yaml 'finetune[ddi,1]' --format huggingface --to electra-ddi"
    )]
    Get(GetArgs),
    /// Print where an output of a stage lies in the cache
    #[command(
        after_help = "Examples:\n  pipeline path pipelines/paper.yaml pretrain.model\n  pipeline path pipelines/paper.yaml 'finetune[ddi,1]'"
    )]
    Path(PathArgs),
    /// Print what a stage printed
    #[command(
        after_help = "Examples:\n  pipeline log pipelines/paper.yaml pretrain\n  pipeline log pipelines/paper.yaml 'finetune[ddi,1]'"
    )]
    Log(StageArgs),
    /// Set two runs side by side: parameters, numbers, times, devices, environments
    #[command(
        after_help = "Examples:\n  pipeline diff pipelines/paper.yaml latest~1 latest\n  pipeline diff pipelines/paper.yaml latest~1 latest 'finetune[task=ddi]' --json\n  pipeline diff pipelines/paper.yaml 20261121T011900Z-4f2a latest"
    )]
    Diff(DiffArgs),
    /// Draw the graph of stages, a matrix as one node
    #[command(
        after_help = "Examples:\n  pipeline graph pipelines/paper.yaml --format mermaid\n  pipeline graph pipelines/paper.yaml --format dot"
    )]
    Graph(GraphArgs),
    /// Declare the present outputs of a stage valid for its changed definition, visibly
    #[command(
        after_help = "Examples:\n  pipeline accept pipelines/paper.yaml pretrain --reason 'only a comment in the script changed'"
    )]
    Accept(AcceptArgs),
    /// Write the digests of what was fetched beside the file
    #[command(
        after_help = "Examples:\n  pipeline lock pipelines/datasets.yaml\n  pipeline lock pipelines/datasets.yaml --update squad"
    )]
    Lock(LockArgs),
    /// Write results as a folder for others: report, records, numbers, what scores are made from
    #[command(
        after_help = "Numbers and reports always come along, and so do predictions and labels where their terms allow it. What stays behind is named.\n\nExamples:\n  pipeline export pipelines/paper.yaml --out paper-results\n  pipeline export pipelines/paper.yaml table --out review --anonymous\n  pipeline export pipelines/paper.yaml --out everything --objects"
    )]
    Export(ExportArgs),
    /// Say what holds of results that somebody exported, and what that does not prove
    #[command(
        after_help = "Four rungs: digests; tables from the numbers; scores from predictions and labels; with `--rerun` stages carried out here, programs of the author's in a sandbox. Nothing is written outside of a temporary folder. Exit code 1 when a rung fails.\n\nExamples:\n  pipeline verify paper-results\n  pipeline verify paper-results --rerun 3\n  pipeline verify paper-results --rerun 'finetune[ddi,1]' --cache cache"
    )]
    Verify(VerifyArgs),
    /// Take records and objects of exported results into a cache
    #[command(
        after_help = "Digests are checked first. Nothing of a bundle is run, and no result that is here is replaced. Results are marked: `pipeline why` and `pipeline status` say where they came from.\n\nExamples:\n  pipeline import paper-results\n  pipeline import paper-results --cache ../mine/cache"
    )]
    Import(ImportArgs),
    /// Look after the cache
    #[command(
        subcommand,
        after_help = "Examples:\n  pipeline cache stats\n  pipeline cache gc --keep-runs 5 --dry-run"
    )]
    Cache(CacheCommand),
    /// Show what this machine computes with, how fast, and whether its numbers are right
    #[command(
        after_help = "Takes some seconds. Exit codes: 0 all within bounds, 70 numbers differ, 3 a device cannot be used.\n\nExamples:\n  pipeline doctor\n  pipeline doctor --verbose\n  pipeline doctor --json"
    )]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of pipeline files, for editors
    #[command(after_help = "Examples:\n  pipeline schema > pipeline.schema.json")]
    Schema,
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  pipeline completions bash > ~/.local/share/bash-completion/completions/pipeline\n  pipeline completions zsh > ~/.zfunc/_pipeline"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write a commented starter pipeline that runs
    #[command(after_help = "Examples:\n  pipeline init\n  pipeline init my-experiment")]
    Init {
        /// The folder, made where it is missing.
        #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Write a pipeline file from the dvc.yaml of a project that uses DVC
    #[command(
        after_help = "What cannot be carried over is listed, with its place and what to do. DVC is not needed.\n\nExamples:\n  pipeline import-dvc dvc.yaml\n  pipeline import-dvc ../paper/dvc.yaml --out pipelines/paper.yaml"
    )]
    ImportDvc(ImportDvcArgs),
    /// Print a manual page
    #[command(
        after_help = "Examples:\n  pipeline man > pipeline.1\n  pipeline man run > pipeline-run.1"
    )]
    Man {
        /// The subcommand; the program's own page without it.
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
    /// Carry out one job in this process
    #[command(hide = true)]
    Exec {
        /// The job's file, as the runner wrote it.
        #[arg(value_name = "JOB", value_hint = ValueHint::FilePath)]
        job: PathBuf,
        /// Which of the processes that carry it out together this is, the first being 0.
        #[arg(long, value_name = "N", default_value_t = 0)]
        rank: u32,
        /// The device of this one.
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
    },
    /// Start and watch stages for a runner, over standard input and output
    #[command(hide = true)]
    Supervise,
    /// Work on this program's own repository
    #[command(hide = true, subcommand)]
    Dev(DevCommand),
}

/// `pipeline dev …`.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Write the files that are made from the program: schema, reference of commands, tables of keys
    #[command(after_help = "Examples:\n  pipeline dev generate\n  pipeline dev generate --check")]
    Generate {
        /// The root of the repository.
        #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
        root: PathBuf,
        /// Write nothing; fail and name what would change.
        #[arg(long)]
        check: bool,
    },
}

/// Which pipeline, and the settings that can change a key.
#[derive(Clone, Debug, clap::Args)]
pub struct PipelineArgs {
    /// The pipeline file.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Apply a profile of the file; repeat for several, later ones win.
    #[arg(long = "profile", value_name = "NAME", help_heading = "Settings")]
    pub profiles: Vec<String>,
    /// Set a parameter, over file and profiles; the value is YAML.
    #[arg(long = "set", value_name = "NAME=VALUE", help_heading = "Settings")]
    pub settings: Vec<Setting>,
    /// Take what would be fetched from URLs with this beginning from there instead.
    #[arg(
        long = "mirror",
        value_name = "URL_PREFIX=DIR_OR_URL",
        help_heading = "Settings"
    )]
    pub mirrors: Vec<Mirror>,
    /// Read mirrors from a file, a line each.
    #[arg(long = "mirrors", value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Settings")]
    pub mirrors_file: Option<PathBuf>,
    /// What pretrain, finetune and predict compute on, over what the file says: auto, cpu, cuda, cuda:N, or reference,
    /// slow and made to check the others; its results have keys of their own.
    #[arg(long = "device", value_name = "DEVICE", value_parser = parse_device, help_heading = "Settings")]
    pub device: Option<String>,
    /// Where results are kept [default: `cache` in the pipeline's root].
    #[arg(long = "cache", value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Settings")]
    pub cache: Option<PathBuf>,
}

impl PipelineArgs {
    /// The file and every setting as they were typed, quoted for a shell: only with the same ones are the same results found.
    pub(super) fn words(&self) -> String {
        let mut words = vec![quoted(&self.file.to_string_lossy())];
        let mut option = |name: &str, value: &str| {
            words.push(name.to_owned());
            words.push(quoted(value));
        };
        for profile in &self.profiles {
            option("--profile", profile);
        }
        for Setting { name, value } in &self.settings {
            option("--set", &format!("{name}={value}"));
        }
        for Mirror { prefix, target } in &self.mirrors {
            option("--mirror", &format!("{prefix}={target}"));
        }
        if let Some(file) = &self.mirrors_file {
            option("--mirrors", &file.to_string_lossy());
        }
        if let Some(device) = &self.device {
            option("--device", device);
        }
        if let Some(cache) = &self.cache {
            option("--cache", &cache.to_string_lossy());
        }
        words.join(" ")
    }

    /// The command that makes a stage's result: `pipeline run FILE --profile smoke STAGE`.
    pub(super) fn command_to_make(&self, stage: &str) -> String {
        format!("pipeline run {} {}", self.words(), quoted(stage))
    }

    /// The command that makes a stage's result once more although it is there.
    pub(super) fn command_to_make_again(&self, stage: &str) -> String {
        format!("{} --force {}", self.command_to_make(stage), quoted(stage))
    }

    /// The command that copies an output into the folder `to`.
    pub(super) fn command_to_get(&self, output: &str, to: &str) -> String {
        format!(
            "pipeline get {} {} --to {}",
            self.words(),
            quoted(output),
            quoted(to)
        )
    }
}

/// Which stages, and which of them run although they are cached.
#[derive(Clone, Debug, clap::Args)]
pub struct SelectionArgs {
    /// Only these stages and what they need [default: all].
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stages: Vec<String>,
    /// Only stages of this kind and what they need.
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Run this stage although it is cached.
    #[arg(long = "force", value_name = "STAGE", value_parser = parse_selector)]
    pub force: Vec<String>,
    /// Look again at what unpinned fetches name.
    #[arg(long)]
    pub refresh: bool,
}

/// `pipeline run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stages.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How many stages run at once [default: as many as there are cores].
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// After a failure, go on with what does not depend on it.
    #[arg(short = 'k', long)]
    pub keep_going: bool,
    /// Take NVRTC and cuBLASLt from this folder, where a GPU computes [default: where they are found].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Settings")]
    pub cuda_libs: Option<PathBuf>,
    /// Never use the network.
    #[arg(long)]
    pub offline: bool,
    /// Share the work with other runs of the file, on this machine or others with the same cache: each takes stages that
    /// no other has, and waits only when none is left.
    #[arg(long, conflicts_with_all = ["force", "refresh"])]
    pub cooperate: bool,
    /// Refuse to run while an unpinned download is not in the lock file; what differs from it is refused always.
    #[arg(long)]
    pub locked: bool,
    /// Make again what these kinds made on another device; results of all devices share a key.
    #[arg(long, value_name = "DEVICE", value_enum, default_value_t = AcceptDevice::Any)]
    pub accept_device: AcceptDevice,
    /// Also fail when a claim of the file (`expect:`) differs or has no number, or none can be judged.
    #[arg(long)]
    pub strict: bool,
    /// Remake this protected or long-running stage.
    #[arg(long = "yes", value_name = "STAGE", value_parser = parse_selector, help_heading = "Protected results")]
    pub yes: Vec<String>,
    /// Go on with the present result of this protected or long-running stage.
    #[arg(long = "keep-old", value_name = "STAGE", value_parser = parse_selector, help_heading = "Protected results")]
    pub keep_old: Vec<String>,
    /// Stop before remaking what took longer than this.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration, help_heading = "Protected results")]
    pub confirm_over: Duration,
    /// Run this stage of kind `command` once under watch, list the files it reads and does not declare, and those it
    /// declares and never reads; nothing of that run enters the cache.
    #[arg(long, value_name = "STAGE", value_parser = parse_selector, conflicts_with_all = ["stages", "kinds", "json", "cooperate"], help_heading = "Output")]
    pub trace: Option<String>,
    /// With `--trace`: also list files of the system and of languages.
    #[arg(long, requires = "trace", help_heading = "Output")]
    pub verbose: bool,
    /// Also write what happens to a file, as JSON lines.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub events: Option<PathBuf>,
    /// Print a summary as JSON on standard output.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Which records count, by the device they were made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AcceptDevice {
    /// The processor's.
    Cpu,
    /// A GPU's.
    Cuda,
    /// All.
    Any,
}

/// `pipeline check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Print the messages as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `pipeline plan`.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stages.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Expect times of training and prediction on this device instead of this machine.
    #[arg(long, value_name = "DEVICE", value_enum)]
    pub on: Option<Device>,
    /// Name the downloads that `run --offline` would be refused; planning itself never uses the network.
    #[arg(long)]
    pub offline: bool,
    /// Print the plan as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `pipeline doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    /// Show every tensor that was compared, worst first.
    #[arg(short, long)]
    pub verbose: bool,
    /// Look for NVRTC and cuBLASLt in this folder alone.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cuda_libs: Option<PathBuf>,
    /// Download NVRTC and cuBLASLt (680 MB) into this folder, for a machine without a network, and do nothing else.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub fetch_cuda: Option<PathBuf>,
    /// Print everything as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// A pipeline and one of its stages: `why`, `log`.
#[derive(Clone, Debug, clap::Args)]
pub struct StageArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stage, such as `'finetune[ddi,1]'`.
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stage: String,
}

/// `pipeline accept`.
#[derive(Clone, Debug, clap::Args)]
pub struct AcceptArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The stage.
    #[arg(value_name = "STAGE", value_parser = parse_selector)]
    pub stage: String,
    /// Why the old result still holds; goes into the record and the report.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// `pipeline lock`.
#[derive(Clone, Debug, clap::Args)]
pub struct LockArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Fetch this stage anew and lock what comes.
    #[arg(long = "update", value_name = "STAGE", value_parser = parse_selector)]
    pub update: Vec<String>,
}

/// Why there are no arguments to act on: help that was asked for, or a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to print, ready.
    pub text: String,
    /// Whether it was asked for and so belongs on standard output.
    pub asked_for: bool,
    /// 0, or 2 for a mistake.
    pub exit_code: u8,
}

/// The arguments of a command line whose first word is the program.
///
/// # Errors
/// Help, version, or what is wrong, with a suggestion.
pub fn parse<I, T>(words: I, colour: bool) -> Result<Args, Refusal>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    Args::try_parse_from(words).map_err(|error| {
        let text = error.render();
        Refusal {
            text: if colour {
                text.ansi().to_string()
            } else {
                text.to_string()
            },
            asked_for: !error.use_stderr(),
            exit_code: if error.use_stderr() { 2 } else { 0 },
        }
    })
}

/// The completion script for a shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "pipeline", &mut script);
    script
}

/// The manual page of the program, or of one subcommand, as roff; `None` when there is no such subcommand.
#[must_use]
pub fn man(command: Option<&str>) -> Option<Vec<u8>> {
    let mut program = Args::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => program
            .find_subcommand(name)?
            .clone()
            .version(env!("CARGO_PKG_VERSION")),
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut roff)
        .expect("a vector takes all that is written");
    Some(roff)
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
