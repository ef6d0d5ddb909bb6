//! The reference of the command line as Markdown, from its definition. Knows nothing of what the words do.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::args::Args;

/// The page.
pub(super) fn reference() -> String {
    let mut program = Args::command();
    program.build();
    let mut page = String::from(
        "# Commands\n\nMade from the program by `pipeline dev generate`; `pipeline help COMMAND` prints the same.\n\
         Data goes to standard output, everything else to standard error.\n\n",
    );
    let all: Vec<(String, &Command)> = leaves("pipeline", &program);
    for (name, _) in &all {
        let anchor: String = name.replace(' ', "-");
        let _ = writeln!(page, "- [`{name}`](#{anchor})");
    }
    for (name, command) in &all {
        section(name, command, &mut page);
    }
    page.push_str(EXIT_CODES);
    page
}

const EXIT_CODES: &str = "\n## Exit codes\n\n\
| code | meaning |\n| --- | --- |\n\
| 0 | done |\n\
| 1 | a stage failed, or with `--strict` a claim is not met |\n\
| 2 | input: the pipeline file or the command line is wrong, or a protected result would be remade |\n\
| 3 | environment: disk, network, permissions, devices |\n\
| 70 | a bug of the program; please report it |\n\
| 130, 143 | interrupted by SIGINT, by SIGTERM or SIGUSR1; the same command goes on |\n";

fn leaves<'a>(name: &str, command: &'a Command) -> Vec<(String, &'a Command)> {
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .flat_map(|sub| {
            let name = format!("{name} {}", sub.get_name());
            if sub.has_subcommands() {
                leaves(&name, sub)
            } else {
                vec![(name, sub)]
            }
        })
        .collect()
}

fn section(name: &str, command: &Command, page: &mut String) {
    let about = command.get_about().map(ToString::to_string);
    let _ = writeln!(page, "\n## {name}\n\n{}.", about.unwrap_or_default());
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let places: Vec<&Arg> = command.get_positionals().filter(shown).collect();
    let mut usage = name.to_owned();
    if command.get_opts().next().is_some() {
        usage.push_str(" [OPTIONS]");
    }
    for place in &places {
        usage.push(' ');
        usage.push_str(&place_name(place));
    }
    let _ = writeln!(page, "\n```text\n{usage}\n```\n");
    let mut rows: Vec<(String, String)> = places
        .iter()
        .map(|place| (format!("`{}`", place_name(place)), help_of(place)))
        .collect();
    let options = command.get_arguments().filter(|arg| !arg.is_positional());
    rows.extend(
        options
            .filter(shown)
            .map(|arg| (option_name(arg), help_of(arg))),
    );
    if !rows.is_empty() {
        page.push_str("| word | meaning |\n| --- | --- |\n");
        for (word, meaning) in rows {
            let _ = writeln!(page, "| {word} | {meaning} |");
        }
    }
    if let Some(after) = command.get_after_help() {
        let text = after.to_string();
        if let Some(examples) = text.strip_prefix("Examples:\n") {
            page.push_str("\n```text\n");
            for line in examples.lines() {
                let _ = writeln!(page, "{}", line.trim_start());
            }
            page.push_str("```\n");
        }
    }
}

fn value_names(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn place_name(arg: &Arg) -> String {
    let many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    let name = match value_names(arg) {
        name if name.is_empty() => arg.get_id().to_string().to_uppercase(),
        name => name,
    };
    match (arg.is_required_set(), many) {
        (true, _) => name,
        (false, true) => format!("[{name}…]"),
        (false, false) => format!("[{name}]"),
    }
}

fn option_name(arg: &Arg) -> String {
    let mut name = String::new();
    if let Some(short) = arg.get_short() {
        let _ = write!(name, "-{short}, ");
    }
    if let Some(long) = arg.get_long() {
        let _ = write!(name, "--{long}");
    }
    if arg.get_action().takes_values() {
        let _ = write!(name, " {}", value_names(arg));
    }
    format!("`{name}`")
}

fn help_of(arg: &Arg) -> String {
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !choices.is_empty() && arg.get_action().takes_values() {
        let _ = write!(help, " One of {}.", choices.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let _ = write!(help, " Default: {}.", defaults.join(", "));
    }
    help.replace('|', "\\|")
}
