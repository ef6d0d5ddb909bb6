//! `pipeline doctor`: what this machine computes with, how fast, and whether its numbers are right. Knows no pipelines.

use std::path::Path;
use std::time::Duration;

use engine::backend::Precision;
use engine::cpu::Cpu;
use engine::cuda::nvidia::libraries::{self, Surroundings};
use engine::cuda::nvidia::{self, Survey};
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
    cuda: Survey,
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
    if let Some(folder) = &args.fetch_cuda {
        return fetch(folder, console);
    }
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
        cuda: cuda(args),
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

/// What there is of GPUs; this program's own word comes last, when the machine has everything.
fn cuda(args: &DoctorArgs) -> Survey {
    let libraries = Surroundings::of_process(args.cuda_libs.clone());
    let mut found = nvidia::survey(&libraries);
    if found.missing.is_none() {
        let checked = crate::kinds::device::check("cuda", args.cuda_libs.as_deref());
        found.missing = checked.err().map(|problem| problem.message);
    }
    found
}

/// What is printed of it.
fn cuda_page(found: &Survey, is_verbose: bool) -> String {
    let state = found.missing.as_deref().unwrap_or("ready");
    let mut text = format!("cuda: {state}\n");
    for (index, device) in found.devices.iter().enumerate() {
        let (major, minor) = device.capability;
        text.push_str(&format!(
            "  cuda:{index}: {}, capability {major}.{minor}, {} of memory\n",
            device.name,
            format::bytes(device.memory)
        ));
    }
    for seen in &found.libraries {
        let title = seen.library.title();
        let Some(path) = &seen.path else {
            let fault = seen.fault.as_deref().unwrap_or("it is not there");
            text.push_str(&format!("  {title}: {fault}\n"));
            if is_verbose {
                for folder in &seen.looked_in {
                    text.push_str(&format!("    looked in `{}`\n", folder.display()));
                }
            }
            text.push_str(&format!("    to do: {}\n", seen.install));
            continue;
        };
        let version = seen.version.as_ref();
        let version = version.map_or_else(String::new, |version| format!(", CUDA {version}"));
        text.push_str(&format!("  {title}: `{}`{version}\n", path.display()));
    }
    if !found
        .libraries
        .iter()
        .skip(1)
        .all(|seen| seen.path.is_some())
    {
        text.push_str(
            "  without pip, or for a machine without a network: `pipeline doctor --fetch-cuda DIR`\n",
        );
    }
    text
}

/// Downloads the libraries.
fn fetch(folder: &Path, console: &mut Console) -> Done {
    let laid = crate::kinds::fetch::cuda_libraries(folder, |_| {});
    let laid = laid.map_err(|error| Failure::one(Class::Environment, error.diagnostic))?;
    for path in &laid {
        console.text(&format!("{}\n", path.display()));
    }
    console.note(&format!(
        "name the folder by `--cuda-libs {}` or `{}`, or carry it over as `{}` beside the program",
        folder.display(),
        libraries::VARIABLE,
        libraries::BESIDE
    ));
    Ok(0)
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
    text.push_str(&cuda_page(&findings.cuda, is_verbose));
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
            cuda: nvidia::survey(&Surroundings {
                named: Some("/nowhere".into()),
                root: "/nowhere".into(),
                ..Surroundings::default()
            }),
            products: Vec::new(),
            within_bounds: numbers.iter().all(Difference::is_within),
            numbers: numbers.into_iter().map(checked).collect(),
        }
    }

    #[test]
    fn what_is_missing_for_a_gpu_is_said_with_how_to_get_it() {
        let found = findings(0.0).cuda;
        let text = cuda_page(&found, false);
        assert!(
            text.starts_with("cuda: NVIDIA's driver is not on this machine: no `libcuda.so.1`")
        );
        for words in [
            "  NVRTC: NVRTC is not on this machine",
            "    to do: pip install 'nvidia-cuda-nvrtc-cu12==12.8.93'",
            "    to do: pip install 'nvidia-cublas-cu12==12.8.4.1'",
            "`pipeline doctor --fetch-cuda DIR`",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(cuda_page(&found, true).contains("    looked in `/nowhere/lib64`\n"));
        let mut ready = found;
        ready.missing = None;
        ready.devices.push(engine::cuda::driver::DeviceFacts {
            name: "NVIDIA H200".to_owned(),
            capability: (9, 0),
            multiprocessors: 132,
            memory: 141 << 30,
            shared_per_block: 1,
        });
        for seen in &mut ready.libraries {
            (seen.path, seen.version) = (Some("/l/lib.so".into()), Some("12.8".to_owned()));
        }
        let expected = "cuda: ready\n  cuda:0: NVIDIA H200, capability 9.0, 141 GiB of memory\n  NVIDIA's driver: \
                        `/l/lib.so`, CUDA 12.8\n  NVRTC: `/l/lib.so`, CUDA 12.8\n  cuBLASLt: `/l/lib.so`, CUDA 12.8\n";
        assert_eq!(cuda_page(&ready, false), expected);
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
