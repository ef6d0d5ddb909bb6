//! The command line: what was asked for, and who does it. One file a subcommand.

use std::path::Path;
use std::process::ExitCode;

use flow::diagnostic::{Class, Diagnostic, Failure};

use crate::console::terminal::Look;
use crate::console::{Console, Options, bug};

mod accept;
pub mod args;
mod cache;
mod check;
mod claims;
mod dev;
mod diff;
mod doctor;
mod exec;
mod export;
mod follow;
mod get;
mod graph;
mod import;
mod import_dvc;
mod init;
mod lock;
mod log;
mod plan;
mod report;
mod results;
mod run;
mod serve;
mod session;
mod status;
mod tested;
mod trace;
pub mod values;
mod verify;
mod why;

use args::{Args, CacheCommand, Command, DevCommand};

/// What a command ends with: the exit code, or what stopped it.
type Done = Result<u8, Failure>;

/// Parses the arguments, does what they ask for, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    bug::report_panics();
    let done = std::panic::catch_unwind(|| {
        let words: Vec<_> = std::env::args_os().collect();
        match args::parse(words, Look::of_stderr().colour) {
            Ok(args) => start(args),
            Err(refusal) => {
                if let Ok(mut console) = Console::new(Options::default()) {
                    if refusal.asked_for {
                        console.text(&refusal.text);
                    } else {
                        console.note(refusal.text.trim_end());
                    }
                }
                refusal.exit_code
            }
        }
    });
    ExitCode::from(done.unwrap_or(bug::EXIT_CODE))
}

fn start(args: Args) -> u8 {
    // These two speak over pipes and files, not to people.
    match &args.command {
        Command::Exec { job, rank, device } => return exec::exec(job, *rank, device.as_deref()),
        Command::Supervise => return exec::supervise(),
        _ => {}
    }
    let (json, events) = wants(&args.command);
    let mut console = match Console::new(Options { json, events }) {
        Ok(console) => console,
        Err(failure) => {
            return Console::new(Options::default())
                .map_or(Class::Environment.exit_code(), |mut console| {
                    console.fail(&failure)
                });
        }
    };
    let code = match dispatch(args.command, &mut console) {
        Ok(code) => code,
        Err(failure) => console.fail(&failure),
    };
    match console.finish() {
        Ok(()) => code,
        Err(failure) => code.max(failure.class.exit_code()),
    }
}

/// `--json` and `--events`.
fn wants(command: &Command) -> (bool, Option<&Path>) {
    match command {
        Command::Run(run) => (run.json, run.events.as_deref()),
        Command::Check(check) => (check.json, None),
        Command::Plan(plan) => (plan.json, None),
        Command::Status(status) => (status.json, None),
        Command::Results(results) => (results.json, None),
        Command::Diff(diff) => (diff.json, None),
        Command::Doctor(doctor) => (doctor.json, None),
        Command::Verify(verify) => (verify.json, None),
        Command::Cache(CacheCommand::Stats { json, .. }) => (*json, None),
        _ => (false, None),
    }
}

fn dispatch(command: Command, console: &mut Console) -> Done {
    match command {
        Command::Run(args) => run::run(&args, console),
        Command::Check(args) => check::check(&args, console),
        Command::Plan(args) => plan::plan(&args, console),
        Command::Why(args) => why::why(&args, console),
        Command::Status(args) if args.follow => follow::follow(&args, console),
        Command::Status(args) => status::status(&args, console),
        Command::Results(args) => results::results(&args, console),
        Command::Serve(args) => serve::serve(&args, console),
        Command::Get(args) => get::get(&args, console),
        Command::Path(args) => get::path(&args, console),
        Command::Log(args) => log::log(&args, console),
        Command::Diff(args) => diff::diff(&args, console),
        Command::Graph(args) => graph::graph(&args, console),
        Command::Accept(args) => accept::accept(&args, console),
        Command::Lock(args) => lock::lock(&args, console),
        Command::Export(args) => export::export(&args, console),
        Command::Verify(args) => verify::verify(&args, console),
        Command::Import(args) => import::import(&args, console),
        Command::Cache(command) => cache::cache(&command, console),
        Command::Doctor(args) => doctor::doctor(&args, console),
        Command::Schema => {
            let schema = flow::spec::schema::schema(crate::kinds::KINDS);
            console.text(&format!("{schema:#}"));
            Ok(0)
        }
        Command::Completions { shell } => {
            console.bytes(&args::completions(shell));
            Ok(0)
        }
        Command::ImportDvc(args) => import_dvc::import_dvc(&args, console),
        Command::Init { folder } => init::init(&folder, console),
        Command::Man { command } => match args::man(command.as_deref()) {
            Some(page) => {
                console.bytes(&page);
                Ok(0)
            }
            None => Err(unknown_command(command.as_deref().unwrap_or_default())),
        },
        Command::Dev(DevCommand::Generate { root, check }) => dev::generate(&root, check, console),
        Command::Exec { .. } | Command::Supervise => Ok(bug::EXIT_CODE),
    }
}

fn unknown_command(name: &str) -> Failure {
    let diagnostic = Diagnostic::error(
        "cli::unknown_command",
        format!("there is no command `{name}`"),
    )
    .help("`pipeline --help` lists the commands");
    Failure::one(Class::Input, diagnostic)
}
