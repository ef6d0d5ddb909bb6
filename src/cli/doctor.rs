//! `pipeline doctor`: what this machine computes with, how fast, and whether its numbers are right. Knows no pipelines.

use std::path::PathBuf;
use std::time::Duration;

use engine::backend::Precision;
use engine::cpu::Cpu;
use flow::diagnostic::{Class, Diagnostic, Failure};
use reference::compare::{self, Difference, What};
use serde::Serialize;

use super::Done;
use super::args::DoctorArgs;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};
use crate::kinds::speed::products_per_second;

/// Everything that is found, as `--json` prints it.
#[derive(Serialize)]
struct Findings {
    processor: Processor,
    cuda: Cuda,
    products: Vec<Rate>,
    numbers: Vec<Checked>,
    within_bounds: bool,
}

#[derive(Serialize)]
struct Processor {
    model: String,
    cores: u32,
    memory_bytes: u64,
    vectors: &'static str,
    /// Whether it multiplies in bf16 by instructions of its own.
    bf16: bool,
}

#[derive(Serialize)]
struct Cuda {
    /// Why it cannot be computed on.
    missing: Option<String>,
    /// NVIDIA's driver library.
    driver: Option<PathBuf>,
    /// Where it was looked for.
    looked_in: Vec<PathBuf>,
}

/// How fast matrices are multiplied.
#[derive(Serialize)]
struct Rate {
    precision: &'static str,
    threads: u32,
    gflop_per_second: f64,
}

/// One comparison of engine and reference.
#[derive(Serialize)]
struct Checked {
    case: &'static str,
    what: &'static str,
    name: String,
    error: f64,
    bound: f64,
}

/// Looks at everything and prints it.
pub(super) fn doctor(args: &DoctorArgs, console: &mut Console) -> Done {
    let machine = flow::store::record::this_machine();
    let threads = machine.cores.max(1);
    let mut products = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let rate = products_per_second(precision, threads as usize, TIMED);
        products.push(Rate {
            precision: precision.name(),
            threads,
            gflop_per_second: rate.map_err(|error| unusable(&error))? / 1e9,
        });
    }
    let mut device =
        || -> Result<Cpu, Box<dyn std::error::Error>> { Ok(Cpu::new(threads as usize)?) };
    let mut numbers = compare::all(&mut device).map_err(|error| unusable(&error.to_string()))?;
    // Worst first, by how much of the bound is taken; what is not a number before all.
    let share = |d: &Difference| d.error / d.what.bound();
    numbers.sort_by(|a, b| share(b).abs().total_cmp(&share(a).abs()));
    let findings = Findings {
        processor: Processor {
            model: machine.processor,
            cores: machine.cores,
            memory_bytes: machine.memory_bytes,
            vectors: Cpu::vectors(),
            bf16: Cpu::has_bf16(),
        },
        cuda: cuda(),
        products,
        within_bounds: numbers.iter().all(Difference::is_within),
        numbers: numbers.into_iter().map(checked).collect(),
    };
    if args.json {
        console.json(&findings);
    } else {
        console.text(&page(&findings, args.verbose));
    }
    verdict(&findings)
}

/// Numbers that differ are this program's fault, or the machine's.
fn verdict(findings: &Findings) -> Done {
    if findings.within_bounds {
        return Ok(0);
    }
    let worst = &findings.numbers[0];
    let message = format!(
        "`{}` of `{}` is {:.1e} away from the reference, above {:.0e}",
        worst.name, worst.case, worst.error, worst.bound
    );
    let diagnostic = Diagnostic::error("doctor::numbers", message).help(
        "results of this machine cannot be trusted; report the output of `pipeline doctor --json`",
    );
    Err(Failure::one(Class::Bug, diagnostic))
}

pub(super) fn unusable(reason: &str) -> Failure {
    let diagnostic = Diagnostic::error("engine::device", "the processor cannot be computed on")
        .detail(reason.to_owned())
        .help("see that there are memory and threads to be had");
    Failure::one(Class::Environment, diagnostic)
}

fn checked(difference: Difference) -> Checked {
    Checked {
        case: difference.case,
        what: plural(difference.what),
        bound: difference.what.bound(),
        name: difference.name,
        error: difference.error,
    }
}

fn plural(what: What) -> &'static str {
    match what {
        What::Logits => "logits",
        What::Loss => "losses",
        What::Gradient => "gradients",
    }
}

/// How long each precision is timed.
const TIMED: Duration = Duration::from_millis(300);

/// Where distributions and containers put the driver's library.
const DRIVER_FOLDERS: [&str; 7] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
];
const DRIVER: &str = "libcuda.so.1";

fn cuda() -> Cuda {
    let from_environment = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut looked_in: Vec<PathBuf> = std::env::split_paths(&from_environment)
        .filter(|folder| folder.is_absolute())
        .chain(DRIVER_FOLDERS.map(PathBuf::from))
        .collect();
    looked_in.dedup();
    let driver = looked_in
        .iter()
        .map(|folder| folder.join(DRIVER))
        .find(|path| path.exists());
    Cuda {
        missing: crate::kinds::device::check("cuda")
            .err()
            .map(|diagnostic| diagnostic.message),
        driver,
        looked_in,
    }
}

fn page(findings: &Findings, is_verbose: bool) -> String {
    let Processor {
        model,
        cores,
        memory_bytes,
        vectors,
        bf16,
    } = &findings.processor;
    let cores = format::counted(*cores as usize, "core");
    let memory = format::bytes(*memory_bytes);
    let mut text = format!("processor: {model}, {cores}, {memory} of memory\n");
    let products = if *bf16 {
        "by instructions"
    } else {
        "emulated, so slower than f32"
    };
    text.push_str(&format!(
        "  vectors: {vectors}; products in bf16: {products}\n"
    ));
    for rate in &findings.products {
        text.push_str(&format!(
            "  products in {}: {:.0} GFLOP/s on {}\n",
            rate.precision,
            rate.gflop_per_second,
            format::counted(rate.threads as usize, "thread"),
        ));
    }
    let cuda = &findings.cuda;
    let state = cuda.missing.as_deref().unwrap_or("ready");
    text.push_str(&format!("cuda: {state}\n"));
    match &cuda.driver {
        Some(path) => text.push_str(&format!("  driver: `{}`\n", path.display())),
        None => {
            let folders: Vec<String> = cuda
                .looked_in
                .iter()
                .map(|p| p.display().to_string())
                .collect();
            let folders = folders.join(", ");
            text.push_str(&format!("  driver: no `{DRIVER}` in {folders}\n"));
        }
    }
    let count = findings.numbers.len();
    text.push_str(&format!(
        "numbers: engine against reference in {count} places\n"
    ));
    text.push_str(&table(&findings.numbers, is_verbose).render(Look::of_stdout(), true));
    if findings.within_bounds {
        text.push_str("all within bounds\n");
    }
    text
}

/// The worst of each sort, or everything.
fn table(numbers: &[Checked], is_verbose: bool) -> Table {
    let mut table = Table::new([
        ("OF", Align::Left),
        ("COUNT", Align::Right),
        ("ERROR", Align::Right),
        ("BOUND", Align::Right),
        ("WHERE", Align::Left),
    ]);
    for (i, number) in numbers.iter().enumerate() {
        let is_alike = |other: &&Checked| other.what == number.what;
        let is_worst = !numbers[..i].iter().any(|other| is_alike(&other));
        if !is_verbose && !is_worst {
            continue;
        }
        let count = if is_verbose {
            1
        } else {
            numbers.iter().filter(is_alike).count()
        };
        let is_within = number.error <= number.bound;
        table.row([
            Cell::new(Ink::Text, number.what),
            Cell::new(Ink::Faint, count.to_string()),
            Cell::new(
                if is_within { Ink::Text } else { Ink::Bad },
                format!("{:.1e}", number.error),
            ),
            Cell::new(Ink::Faint, format!("{:.0e}", number.bound)),
            Cell::new(Ink::Text, format!("{}: {}", number.case, number.name)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(error: f64) -> Findings {
        let of = |what, name: &str, error| Difference {
            case: "tagging",
            what,
            name: name.to_owned(),
            error,
        };
        let numbers = vec![
            of(What::Gradient, "classifier.bias", error),
            of(What::Gradient, "classifier.weight", 1e-7),
            of(What::Logits, "logits", 1e-7),
        ];
        Findings {
            processor: Processor {
                model: "a processor".to_owned(),
                cores: 1,
                memory_bytes: 1 << 30,
                vectors: "AVX2",
                bf16: false,
            },
            cuda: cuda(),
            products: Vec::new(),
            within_bounds: numbers.iter().all(Difference::is_within),
            numbers: numbers.into_iter().map(checked).collect(),
        }
    }

    #[test]
    fn a_difference_is_said_with_its_place() {
        assert_eq!(verdict(&findings(1e-6)).ok(), Some(0));
        for error in [0.5, f64::NAN] {
            let failure = verdict(&findings(error)).expect_err("they differ");
            assert_eq!(failure.class.exit_code(), 70);
            assert!(
                failure.diagnostics[0]
                    .message
                    .contains("`classifier.bias` of `tagging`")
            );
        }
        let text = page(&findings(0.5), false);
        assert!(
            text.contains("gradients      2  5.0e-1   1e-4  tagging: classifier.bias"),
            "{text}"
        );
        assert!(
            !text.contains("all within bounds") && !text.contains("classifier.weight"),
            "{text}"
        );
        assert!(page(&findings(0.0), true).contains("classifier.weight"));
    }
}
