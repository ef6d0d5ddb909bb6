//! One part of the check, in this process: takes the GPU and writes what it finds as it finds it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::check::steps::Training;
use engine::check::{Make, ops, profile, speed, steps};
use engine::cpu::Cpu;
use engine::cuda::driver::{Driver as _, Element};
use engine::cuda::nvidia::{self, Nvidia};
use engine::cuda::{Cuda, SOURCES};
use serde_json::{Value, json};

use crate::arguments::Arguments;

/// Steps whose losses are compared.
const STEPS: u32 = 10;
/// Steps whose kernels are marked.
const MARKED: usize = 3;
/// Sides of the matrices of the product that is the measure of others.
const PRODUCT: usize = 8192;

type Fault = Box<dyn std::error::Error>;

/// Parts in the order in which they are taken, ops one by one.
pub(crate) fn all() -> Vec<String> {
    let ops = ops::names().into_iter().map(|op| format!("ops/{op}"));
    let others = ["gradients", "bits", "throughput", "kernels", "sanitizer"];
    let first = std::iter::once("facts".to_owned());
    first.chain(ops).chain(others.map(str::to_owned)).collect()
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, value: &Value) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(value).expect("JSON has text");
    let new = path.with_extension("new");
    fs_err::write(&new, text + "\n")?;
    fs_err::rename(&new, path)
}

/// Takes a part; the file says what it found.
pub(crate) fn run(part: &str, arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let tell = |body: &Value, passed: Option<bool>, fault: Option<String>| {
        let mut value = json!({ "passed": passed, "seconds": begun.elapsed().as_secs_f64() });
        if let Some(fault) = fault {
            value["fault"] = fault.into();
        }
        value["found"] = body.clone();
        if let Err(error) = write(&arguments.out, &value) {
            eprintln!("{error}");
        }
    };
    let mut body = Value::Null;
    let found = take(part, arguments, &mut body, &|body| tell(body, None, None));
    match found {
        Ok(passed) => {
            tell(&body, Some(passed), None);
            ExitCode::from(u8::from(!passed))
        }
        Err(error) => {
            tell(&body, Some(false), Some(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn take(
    part: &str,
    arguments: &Arguments,
    body: &mut Value,
    tell: &dyn Fn(&Value),
) -> Result<bool, Fault> {
    let open = |graphs| Nvidia::open(arguments.device, &arguments.options(graphs));
    let plain = |precision| Cuda::new(open(false)?, precision);
    let replayed = |precision| Cuda::new(open(true)?, precision);
    let cpu = || Cpu::new(arguments.threads);
    match part {
        "facts" => facts(arguments, body, tell),
        "ops" => {
            let names = ops::names();
            let mut passed = true;
            *body = json!({});
            for op in names {
                let found = ops::run(op, !arguments.small, cpu()?, &plain, &mut |_| {});
                passed &= found.iter().all(|case| case.passed);
                body[op] = json!(found);
                tell(body);
            }
            Ok(passed)
        }
        "gradients" => {
            *body = json!({});
            let mut trainings = vec![Training::tiny()];
            if !arguments.small {
                trainings.push(Training::small());
            }
            let mut passed = true;
            for training in trainings {
                let found = steps::against_the_cpu(&training, STEPS, cpu()?, &replayed)?;
                passed &= found.iter().all(|one| one.passed);
                body[training.name] = json!(found);
                tell(body);
            }
            Ok(passed)
        }
        "bits" => {
            let folder = arguments.out.with_extension("snapshot");
            let otherwise: [(&'static str, Make<'_, Nvidia>); 1] = [("without graphs", &plain)];
            let mut training = Training::tiny();
            if !arguments.small {
                training = Training::small();
            }
            let kept = steps::bits(&training, &folder, &replayed, &otherwise);
            if folder.exists() {
                fs_err::remove_dir_all(&folder)?;
            }
            let kept = kept?;
            *body = json!(kept);
            Ok(kept.iter().all(|one| one.passed))
        }
        "throughput" => {
            let rate = speed::product_rate(&mut open(false)?, PRODUCT, 10)?;
            *body = json!({ "product": { "size": PRODUCT, "flop_per_second": rate } });
            body["tasks"] = json!([]);
            tell(body);
            let tasks = speed::tasks();
            let limit = Duration::from_secs_f64(60.0 * arguments.minutes / tasks.len() as f64);
            for task in &tasks {
                let found = speed::measure(task, limit, Some(rate), &replayed)?;
                body["tasks"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!(found));
                tell(body);
            }
            Ok(true)
        }
        "kernels" => {
            *body = json!([]);
            // Un-padded, as training is.
            for task in speed::tasks().iter().skip(1).take(1) {
                let table = profile::profile(task, MARKED, || open(false))?;
                body.as_array_mut().expect("a list").push(json!(table));
                tell(body);
            }
            Ok(true)
        }
        other => {
            let op = other
                .strip_prefix("ops/")
                .filter(|op| ops::names().contains(op));
            let op = op.ok_or_else(|| format!("there is no part `{other}`"))?;
            let found = ops::run(op, !arguments.small, cpu()?, &plain, &mut |found| {
                tell(&json!(found));
            });
            *body = json!(found);
            Ok(found.iter().all(|case| case.passed))
        }
    }
}

fn facts(arguments: &Arguments, body: &mut Value, tell: &dyn Fn(&Value)) -> Result<bool, Fault> {
    let mut driver = Nvidia::open(arguments.device, &arguments.options(false))?;
    *body = json!({
        "device": driver.facts(),
        "free_bytes": driver.free_bytes()?,
        "peak": speed::peak(&driver.facts().name),
        "libraries": nvidia::survey(&arguments.surroundings()).libraries,
        "cpu": { "threads": arguments.threads, "vectors": Cpu::vectors(), "has_bf16": Cpu::has_bf16() },
        "kernels": [],
    });
    tell(body);
    for precision in [Precision::F32, Precision::Bf16] {
        for source in SOURCES {
            let before = driver.counts().compiled;
            let start = Instant::now();
            driver.prepare(&[*source], Element::from(precision))?;
            let seconds = start.elapsed().as_secs_f64();
            let is_compiled = driver.counts().compiled > before;
            let kernels = body["kernels"].as_array_mut().expect("a list");
            kernels.push(json!({
                "source": source.name, "precision": precision, "seconds": seconds,
                "was_kept": !is_compiled,
            }));
            tell(body);
        }
    }
    driver.finish()?;
    body["counts"] = json!(driver.counts());
    Ok(true)
}
