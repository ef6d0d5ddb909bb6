//! What a stage's surroundings are: variables it sees, and programs that describe them. Knows nothing of results.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::process::{ATTEMPT_VARIABLE, base_environment, signal_group};
use crate::spec::EnvVar;

/// How long one command of `environment.record` may take.
const RECORD_LIMIT: Duration = Duration::from_secs(60);

/// The variables a program of the user's sees, apart from `PIPELINE_*`.
#[must_use]
pub fn variables(declared: &[EnvVar]) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = base_environment().into_iter().collect();
    for variable in declared {
        let value = match &variable.value {
            Some(value) => Some(OsString::from(value)),
            None => std::env::var_os(&variable.name),
        };
        if let Some(value) = value {
            variables.insert(OsString::from(&variable.name), value);
        }
    }
    variables
}

/// What a command said in these surroundings.
type Asked = (Vec<String>, BTreeMap<OsString, OsString>, PathBuf);

/// Each command is asked once by a process, however many stages have it.
static ANSWERS: Mutex<BTreeMap<Asked, String>> = Mutex::new(BTreeMap::new());

/// Whether this process was asked to stop, so that nobody waits for an answer any more.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Ends the commands of `environment.record` that this process waits for, and lets it start no more.
pub(crate) fn give_up() {
    GIVEN_UP.store(true, Ordering::Relaxed);
}

/// Whether [`give_up`] was called, so that what [`record`] answered is not the truth.
pub(crate) fn has_given_up() -> bool {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// Runs the commands of `environment.record` in the pipeline's root with the variables a stage declares, and returns
/// what each printed, by its words. A command that fails is recorded as failing, since a missing tool is a fact about
/// the environment too. `attempt` is the folder of the stage it is asked for, by which what is left of it is found.
#[must_use]
pub fn record(
    commands: &[Vec<String>],
    declared: &[EnvVar],
    root: &Path,
    attempt: Option<&Path>,
) -> BTreeMap<String, String> {
    if commands.is_empty() {
        return BTreeMap::new();
    }
    let variables = variables(declared);
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    commands
        .iter()
        .map(|argv| {
            let asked = (argv.clone(), variables.clone(), root.to_path_buf());
            let answer = answers
                .entry(asked)
                .or_insert_with(|| output_of(argv, &variables, root, attempt));
            (argv.join(" "), answer.clone())
        })
        .collect()
}

fn output_of(
    argv: &[String],
    variables: &BTreeMap<OsString, OsString>,
    root: &Path,
    attempt: Option<&Path>,
) -> String {
    let Some((program, arguments)) = argv.split_first() else {
        return String::new();
    };
    if has_given_up() {
        return "not asked: the run was stopped".to_owned();
    }
    // A file, not a pipe: a command that prints much cannot block on us while we wait for it.
    let Ok(mut file) = tempfile::tempfile() else {
        return "no temporary file".to_owned();
    };
    let (Ok(out), Ok(err)) = (file.try_clone(), file.try_clone()) else {
        return "no temporary file".to_owned();
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(variables);
    if let Some(attempt) = attempt {
        // What a killed supervisor leaves of it is found like the stage itself.
        command.env(ATTEMPT_VARIABLE, attempt);
    }
    let child = command
        .process_group(0)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return format!("does not start: {}", error.kind()),
    };
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < RECORD_LIMIT && !has_given_up() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => {
                signal_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                return format!("stopped after {} s", RECORD_LIMIT.as_secs());
            }
        }
    };
    let mut text = Vec::new();
    use std::io::{Read as _, Seek as _};
    let _ = file.rewind();
    let _ = file.take(64 << 10).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    if status.success() {
        text
    } else {
        format!("{status}\n{text}")
    }
}

/// A word as a shell would need it, for showing a command to a person; nothing here is ever given to a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word.chars().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, '_' | '-' | '.' | '/' | '=' | ':' | ',' | '+' | '@' | '%')
        });
    if is_plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_what_commands_print_and_that_they_fail() {
        let argv = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let commands = [
            argv(&["echo", "tool 1.2"]),
            argv(&["sh", "-c", "echo no; exit 3"]),
            argv(&["no-such-program-here"]),
        ];
        let folder = tempfile::tempdir().expect("temp");
        let record = record(&commands, &[], folder.path(), None);
        assert_eq!(record["echo tool 1.2"], "tool 1.2");
        assert!(record["sh -c echo no; exit 3"].ends_with("no"));
        assert!(record["no-such-program-here"].starts_with("does not start"));
    }

    #[test]
    fn quotes_what_a_shell_would_split() {
        assert_eq!(quoted("a/b.txt"), "a/b.txt");
        assert_eq!(quoted("wc -l < 'x'"), r"'wc -l < '\''x'\'''");
        assert_eq!(quoted(""), "''");
    }
}
