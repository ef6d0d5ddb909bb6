//! All parts one after another, each in a process of its own, in one report.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::cuda::nvidia;
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::parts;

/// What the report calls itself.
const FORMAT: &str = "gpu-check-v1";
const SANITIZER: &str = "compute-sanitizer";
/// What it is asked for: places outside of memory, and threads that do not wait for each other.
const TOOLS: [&str; 2] = ["memcheck", "racecheck"];

/// Runs all parts that were asked for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let mut wanted = parts::all();
    if !arguments.only.is_empty() {
        for only in &arguments.only {
            let is_known = |part: &String| is_of(part, only);
            if !parts::all().iter().any(is_known) {
                eprintln!(
                    "there is no part `{only}`: they are {}",
                    parts::all().join(", ")
                );
                return ExitCode::from(2);
            }
        }
        wanted.retain(|part| arguments.only.iter().any(|only| is_of(part, only)));
    }
    let mut report = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "passed": null,
        "parts": {},
    });
    if let Err(error) = nvidia::check(&arguments.surroundings(), arguments.device) {
        report["passed"] = false.into();
        report["missing"] = error.to_string().into();
        report["survey"] = json!(nvidia::survey(&arguments.surroundings()));
        eprintln!("{error}");
        if let Err(error) = parts::write(&arguments.out, &report) {
            eprintln!("{error}");
        }
        return ExitCode::from(3);
    }
    let mut passed = true;
    for part in wanted {
        let begun = Instant::now();
        let found = match part.as_str() {
            "sanitizer" => sanitized(arguments),
            _ => one(&part, arguments, None),
        };
        let is_passed = found["passed"] == true || found["absent"] == true;
        passed &= is_passed;
        let word = match (is_passed, found["absent"] == true) {
            (_, true) => "absent",
            (true, _) => "passed",
            (false, _) => "FAILED",
        };
        println!("{part:<18} {word} {:>6.1} s", begun.elapsed().as_secs_f64());
        if let Some(fault) = found["fault"].as_str() {
            println!("    {fault}");
        }
        report["parts"][&part] = found;
        if let Err(error) = parts::write(&arguments.out, &report) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    report["passed"] = passed.into();
    if let Err(error) = parts::write(&arguments.out, &report) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::from(!passed))
}

/// Whether a part is one that `only` names: `ops` are all `ops/…`.
fn is_of(part: &str, only: &str) -> bool {
    let inner = part.strip_prefix(only);
    inner.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Longest that a part may take.
fn limit(part: &str, arguments: &Arguments) -> Duration {
    let minutes = match part {
        "throughput" => arguments.minutes + 3.0,
        "sanitizer" => 10.0,
        _ => 5.0,
    };
    Duration::from_secs_f64(60.0 * minutes)
}

/// A part in a process of its own, under another program where there is one.
fn one(part: &str, arguments: &Arguments, under: Option<(&Path, &str)>) -> Value {
    let name = part.replace('/', "-");
    let out = arguments
        .out
        .with_file_name(format!(".gpu-check-{name}.json"));
    // What an earlier run left is no finding of this one; most often there is nothing.
    let _ = fs_err::remove_file(&out);
    let found = process(part, arguments, under, &out);
    let told = fs_err::read_to_string(&out).ok();
    let told = told.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let _ = fs_err::remove_file(&out);
    let mut value = told.unwrap_or_else(|| json!({ "found": null }));
    match found {
        Ok(true) => {}
        Ok(false) => value["passed"] = false.into(),
        Err(fault) => {
            value["passed"] = false.into();
            if value.get("fault").is_none() {
                value["fault"] = fault.into();
            }
        }
    }
    value
}

/// Whether the process ended well.
fn process(
    part: &str,
    arguments: &Arguments,
    under: Option<(&Path, &str)>,
    out: &Path,
) -> Result<bool, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let is_under = under.is_some();
    let mut command = match under {
        None => Command::new(&own),
        Some((program, tool)) => {
            let mut command = Command::new(program);
            command.args(["--tool", tool, "--error-exitcode", "9"]);
            command.arg(&own);
            command
        }
    };
    command.args(["--part", part]).arg("--out").arg(out);
    command.args(["--device", &arguments.device.to_string()]);
    command.args(["--minutes", &arguments.minutes.to_string()]);
    command.args(["--threads", &arguments.threads.to_string()]);
    command.arg("--kernels").arg(arguments.kernels());
    if let Some(libraries) = &arguments.libraries {
        command.arg("--cuda-libs").arg(libraries);
    }
    if arguments.small || is_under {
        command.arg("--small");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let limit = limit(if is_under { "sanitizer" } else { part }, arguments);
    let ended = end_within(command, limit).map_err(|error| error.to_string())?;
    match ended.map(|status| (status.code(), status)) {
        Some((Some(0), _)) => Ok(true),
        Some((Some(1), _)) => Ok(false),
        Some((_, status)) => Err(format!("the part ended by {status}")),
        None => Err(format!("the part did not end within {} s", limit.as_secs())),
    }
}

/// How a program ended whose output is piped; `None` where it had to be killed. It has ended when nobody holds its output
/// any more, or when the time is over.
fn end_within(mut command: Command, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().expect("it is piped");
    let (closed, is_closed) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut output, &mut std::io::sink());
        // Nobody listens where the time was over before.
        let _ = closed.send(());
    });
    if is_closed.recv_timeout(limit).is_ok() {
        return child.wait().map(Some);
    }
    let status = child.try_wait()?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status)
}

/// The small cases of all ops under NVIDIA's sanitizer, where there is one.
fn sanitized(arguments: &Arguments) -> Value {
    let Some(program) = on_path(SANITIZER) else {
        return json!({ "absent": true, "found": format!("`{SANITIZER}` is not on the PATH") });
    };
    let mut passed = true;
    let mut found = json!({});
    for tool in TOOLS {
        let value = one("ops", arguments, Some((&program, tool)));
        passed &= value["passed"] == true;
        found[tool] = value;
    }
    json!({ "passed": passed, "program": program, "found": found })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_by_itself_or_is_ended() {
        let ended = |script: &str, limit: Duration| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            // Nobody writes to it, so that who reads from it waits.
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            end_within(command, limit).expect("it starts")
        };
        let code = |script: &str| ended(script, Duration::MAX).map(|status| status.code());
        assert_eq!(code("echo words; exit 1"), Some(Some(1)));
        assert_eq!(code("kill -9 $$"), Some(None));
        assert_eq!(ended("read line", Duration::ZERO), None);
    }
}
