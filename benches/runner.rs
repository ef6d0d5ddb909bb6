//! Side by side with other runners in one run on one machine: trivial stages (`cp`), cold, no-op, one input edited.
//!
//! `cargo bench --bench runner -- [--peers DIR] [--runs 5] [--cap SECONDS] [--only TOOL] [--most STAGES] [--hashing]`
//!
//! `DIR` holds a virtual environment for each Python tool (`DIR/snakemake/bin/snakemake` …); `ninja` and `b3sum` come
//! from `PATH`. What is not installed is left out and said. What runs past the cap is stopped, said, and not tried
//! again; DVC's state is then made by `dvc commit`, so that its no-op can be timed. Every output is compared with its source after `cold` and
//! `edit`. Set `TMPDIR` to a new folder at the top of a quiet file system: ext4 looks past inodes freed within the last
//! minutes, so a place where much was just deleted makes every creation dearer. Wall seconds; median over the runs;
//! peak memory is that of the largest single process.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its table and stops at the first fault"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds to wait before touching files for tools that look at whole seconds.
const COARSE_CLOCK: Duration = Duration::from_millis(1100);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// N independent stages.
    Wide,
    /// N stages in a row.
    Chain,
}

struct Tool {
    name: &'static str,
    write: fn(&Path, &[Stage]),
    set_up: &'static [&'static str],
    command: &'static str,
    /// What makes a folder whose outputs are there look as if it had been run, for a tool too slow to be waited for.
    settle: Option<&'static str>,
    /// Largest number of stages it is asked for in each shape, and of runs.
    limit: fn(Shape) -> usize,
}

struct Stage {
    name: String,
    dep: String,
    out: String,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "shell",
        write: write_shell,
        set_up: &[],
        command: "sh run.sh",
        settle: None,
        limit: |_| 10_000,
    },
    Tool {
        name: "ninja",
        write: write_ninja,
        set_up: &[],
        command: "ninja -j2 --quiet",
        settle: None,
        limit: |_| 10_000,
    },
    Tool {
        name: "pipeline",
        write: write_pipeline,
        set_up: &[],
        command: "{pipeline} run p.yaml -j 2",
        settle: None,
        limit: |_| 10_000,
    },
    Tool {
        name: "snakemake",
        write: write_snakemake,
        set_up: &[],
        command: "{peers}/snakemake/bin/snakemake -c2 -q all",
        settle: None,
        limit: |_| 1_000,
    },
    Tool {
        name: "dvc",
        write: write_dvc,
        set_up: &[
            "{peers}/dvc/bin/dvc init -q --no-scm",
            "{peers}/dvc/bin/dvc config core.analytics false",
        ],
        command: "{peers}/dvc/bin/dvc repro -q",
        settle: Some("{peers}/dvc/bin/dvc commit -q -f"),
        limit: |_| 1_000,
    },
    Tool {
        name: "redun",
        write: write_redun,
        set_up: &[],
        command: "{peers}/redun/bin/redun run workflow.py main",
        settle: None,
        limit: |_| 1_000,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if arguments.first().is_some_and(|word| word == "measure") {
        return measure(&arguments[1], Path::new(&arguments[2]), &arguments[3..]);
    }
    let value = |name: &str| {
        arguments
            .iter()
            .position(|word| word == name)
            .and_then(|at| arguments.get(at + 1))
    };
    let peers = value("--peers")
        .cloned()
        .unwrap_or_else(|| "build/venvs".to_owned());
    let runs: usize = value("--runs").map_or(5, |text| text.parse().unwrap());
    let cap: u64 = value("--cap").map_or(600, |text| text.parse().unwrap());
    let most: usize = value("--most").map_or(usize::MAX, |text| text.parse().unwrap());
    let work = std::env::temp_dir().join(format!("pipeline-bench-{}", std::process::id()));
    let bench = Bench {
        peers,
        runs,
        cap,
        work,
    };
    println!(
        "machine: {} cores, {}",
        std::thread::available_parallelism().unwrap(),
        std::env::consts::ARCH
    );
    if arguments.iter().any(|word| word == "--hashing") {
        bench.hashing();
    } else {
        for (shape, count) in [
            (Shape::Wide, 1_000),
            (Shape::Chain, 200),
            (Shape::Wide, 10_000),
        ]
        .into_iter()
        .filter(|(_, count)| *count <= most)
        {
            bench.compare(shape, count, value("--only"));
        }
        bench.growth(value("--only"), most);
    }
    let _ = fs_err::remove_dir_all(&bench.work);
}

struct Bench {
    peers: String,
    runs: usize,
    cap: u64,
    work: PathBuf,
}

#[derive(Clone, Debug)]
struct Sample {
    wall: f64,
    cpu: f64,
    peak_mib: f64,
    done: bool,
}

impl Bench {
    fn words(&self, text: &str) -> Vec<String> {
        let text = text
            .replace("{peers}", &self.peers)
            .replace("{pipeline}", env!("CARGO_BIN_EXE_pipeline"));
        text.split(' ').map(str::to_owned).collect()
    }

    fn is_installed(&self, tool: &Tool) -> bool {
        let program = &self.words(tool.command)[0];
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    }

    /// One command in a process of its own, so that its children's peak memory can be told apart.
    fn run(&self, root: &Path, command: &str) -> Sample {
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this)
            .args(["measure", &self.cap.to_string(), root.to_str().unwrap()])
            .args(self.words(command))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.lines().last().unwrap_or_default().split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().unwrap();
        assert!(
            words.len() == 4,
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Sample {
            wall: number(0),
            cpu: number(1),
            peak_mib: number(2),
            done: words[3] == "done",
        }
    }

    /// A new folder each time; nothing is removed before the end, since that would make the next creations dearer.
    fn fresh(&self, tool: &Tool, stages: &[Stage], inputs: usize, round: usize) -> PathBuf {
        let name = tool.name;
        let root = (0..)
            .map(|n| {
                self.work
                    .join(format!("{name}-{}-{round}-{n}", stages.len()))
            })
            .find(|root| !root.exists())
            .unwrap();
        for folder in ["in", "out"] {
            fs_err::create_dir_all(root.join(folder)).unwrap();
        }
        for i in 0..inputs {
            fs_err::write(root.join(format!("in/{i:05}.txt")), format!("input {i}\n")).unwrap();
        }
        (tool.write)(&root, stages);
        for command in tool.set_up {
            let words = self.words(command);
            assert!(
                Command::new(&words[0])
                    .args(&words[1..])
                    .current_dir(&root)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        root
    }

    fn compare(&self, shape: Shape, count: usize, only: Option<&String>) {
        let title = if shape == Shape::Wide {
            "independent stages"
        } else {
            "stages in a row"
        };
        println!(
            "\n{count} {title}, 2 jobs, median of {} (wall s [cpu s], peak MiB)",
            self.runs
        );
        let header = [
            "tool",
            "cold",
            "first no-op",
            "later no-op",
            "one input edited",
            "peak",
        ];
        println!(
            "| {} |\n|{}",
            header.join(" | "),
            " --- |".repeat(header.len())
        );
        let stages = stages(shape, count);
        let inputs = if shape == Shape::Wide { count } else { 1 };
        for tool in TOOLS
            .iter()
            .filter(|tool| only.is_none_or(|name| name == tool.name))
        {
            if (tool.limit)(shape) < count {
                continue;
            }
            if !self.is_installed(tool) {
                println!("| {} | not installed |", tool.name);
                continue;
            }
            let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
            let is_stopped = |samples: &BTreeMap<&str, Vec<Sample>>, phase: &str| {
                let stopped = |sample: &Sample| !sample.done;
                samples
                    .get(phase)
                    .is_some_and(|samples| samples.iter().any(stopped))
            };
            for round in 0..self.runs {
                // What was stopped once is not waited for again.
                let mut root = self.fresh(tool, &stages, inputs, round);
                if !is_stopped(&samples, "cold") {
                    let cold = self.run(&root, tool.command);
                    samples.entry("cold").or_default().push(cold);
                }
                if is_stopped(&samples, "cold") {
                    let Some(settle) = tool.settle else { break };
                    root = self.fresh(tool, &stages, inputs, round);
                    fill(&root, shape, count);
                    if !self.run(&root, settle).done {
                        break;
                    }
                }
                check(&root, shape, count);
                if tool.name == "shell" {
                    continue;
                }
                std::thread::sleep(COARSE_CLOCK);
                for phase in ["noop", "later", "later"] {
                    if is_stopped(&samples, phase) {
                        break;
                    }
                    let sample = self.run(&root, tool.command);
                    samples.entry(phase).or_default().push(sample);
                }
                if is_stopped(&samples, "edit") {
                    continue;
                }
                let edited = root.join(format!(
                    "in/{:05}.txt",
                    if shape == Shape::Wide { count / 2 } else { 0 }
                ));
                let text = fs_err::read_to_string(&edited).unwrap() + "edit\n";
                fs_err::write(&edited, text).unwrap();
                let sample = self.run(&root, tool.command);
                let is_done = sample.done;
                samples.entry("edit").or_default().push(sample);
                if is_done {
                    check(&root, shape, count);
                }
            }
            let cell = |phase: &str| {
                samples
                    .get(phase)
                    .map_or_else(|| "-".to_owned(), |samples| cell(samples))
            };
            let peak = samples
                .values()
                .flatten()
                .map(|sample| sample.peak_mib)
                .fold(0.0, f64::max);
            println!(
                "| {} | {} | {} | {} | {} | {peak:.0} |",
                tool.name,
                cell("cold"),
                cell("noop"),
                cell("later"),
                cell("edit")
            );
        }
    }

    /// Milliseconds a stage above the shell loop, from 10 to 10,000 stages.
    fn growth(&self, only: Option<&String>, most: usize) {
        if only.is_some_and(|name| name != "pipeline") {
            return;
        }
        println!(
            "\nmilliseconds a stage above the shell loop, cold, independent stages, 1 job each"
        );
        println!("| stages | shell | pipeline -j 1 | above |\n| --- | --- | --- | --- |");
        for count in [10, 100, 1_000, 10_000]
            .into_iter()
            .filter(|count| *count <= most)
        {
            let stages = stages(Shape::Wide, count);
            let mut walls: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for round in 0..self.runs.min(if count > 1_000 { 3 } else { 5 }) {
                for (name, command) in [
                    ("shell", "sh run.sh"),
                    ("pipeline", "{pipeline} run p.yaml -j 1"),
                ] {
                    let tool = TOOLS.iter().find(|tool| tool.name == name).unwrap();
                    let root = self.fresh(tool, &stages, count, round);
                    walls
                        .entry(name)
                        .or_default()
                        .push(self.run(&root, command).wall);
                }
            }
            let ms = |name: &str| median(walls[name].clone()) * 1000.0 / count as f64;
            println!(
                "| {count} | {:.2} | {:.2} | {:+.2} |",
                ms("shell"),
                ms("pipeline"),
                ms("pipeline") - ms("shell")
            );
        }
    }

    /// One 2 GiB file, page cache warm, nothing remembered: a run that only hashes it, against `b3sum`.
    fn hashing(&self) {
        let root = self.work.join("hashing");
        fs_err::create_dir_all(&root).unwrap();
        let block: Vec<u8> = (0..1_u32 << 22)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let big = root.join("big.bin");
        let mut file = fs_err::File::create(&big).unwrap();
        for i in 0..128_u8 {
            let mut block = block.clone();
            block[0] = i;
            std::io::Write::write_all(&mut file, &block).unwrap();
        }
        let text = "stages:\n  s: { kind: command, needs: { src: ./big.bin }, with: { argv: [\"true\"] }, outputs: {} }\n";
        fs_err::write(root.join("p.yaml"), text).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            theirs.push(self.run(&root, "b3sum big.bin").wall);
            let _ = fs_err::remove_dir_all(root.join("cache"));
            ours.push(self.run(&root, "{pipeline} plan p.yaml").wall);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "\none 2 GiB file: b3sum {theirs:.3} s, pipeline plan {ours:.3} s, {:.2} of its speed",
            theirs / ours
        );
    }
}

fn cell(samples: &[Sample]) -> String {
    let wall = median(samples.iter().map(|sample| sample.wall).collect());
    let cpu = median(samples.iter().map(|sample| sample.cpu).collect());
    if samples.iter().any(|sample| !sample.done) {
        return format!("stopped after {wall:.0} s");
    }
    format!("{wall:.3} [{cpu:.2}]")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The outputs as a finished run leaves them.
fn fill(root: &Path, shape: Shape, count: usize) {
    for i in 0..count {
        let source = if shape == Shape::Wide { i } else { 0 };
        let (from, to) = (format!("in/{source:05}.txt"), format!("out/{i:05}.txt"));
        fs_err::copy(root.join(from), root.join(to)).unwrap();
    }
}

fn check(root: &Path, shape: Shape, count: usize) {
    for i in 0..count {
        let source = root.join(format!(
            "in/{:05}.txt",
            if shape == Shape::Wide { i } else { 0 }
        ));
        let out = root.join(format!("out/{i:05}.txt"));
        assert_eq!(
            fs_err::read(&out).unwrap(),
            fs_err::read(&source).unwrap(),
            "{}",
            out.display()
        );
    }
}

/// Runs a command and prints wall seconds, processor seconds, the largest child's peak in MiB, and how it ended.
fn measure(cap: &str, root: &Path, command: &[String]) {
    use nix::sys::resource::{UsageWho, getrusage};
    let log = fs_err::File::create(root.join("bench.log"))
        .unwrap()
        .into_parts()
        .0;
    let started = Instant::now();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let id = child.id();
    let waiter = std::thread::spawn(move || {
        let status = child.wait().unwrap();
        let _ = sender.send((status, started.elapsed()));
    });
    let limit = Duration::from_secs(cap.parse().unwrap());
    let (end, wall) = match receiver.recv_timeout(limit) {
        Ok((status, wall)) => {
            let log = fs_err::read_to_string(root.join("bench.log")).unwrap_or_default();
            assert!(status.success(), "{command:?}: {status}\n{log}");
            ("done", wall)
        }
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
            ("stopped", started.elapsed())
        }
    };
    waiter.join().unwrap();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!(
        "{} {cpu} {} {end}",
        wall.as_secs_f64(),
        usage.max_rss() as f64 / 1024.0
    );
}

fn stages(shape: Shape, count: usize) -> Vec<Stage> {
    let mut dep = "in/00000.txt".to_owned();
    (0..count)
        .map(|i| {
            let out = format!("out/{i:05}.txt");
            let dep = match shape {
                Shape::Wide => format!("in/{i:05}.txt"),
                Shape::Chain => std::mem::replace(&mut dep, out.clone()),
            };
            Stage {
                name: format!("s{i:05}"),
                dep,
                out,
            }
        })
        .collect()
}

fn lines(stages: &[Stage], mut line: impl FnMut(&mut String, &Stage)) -> String {
    let mut text = String::new();
    for stage in stages {
        line(&mut text, stage);
    }
    text
}

fn write_shell(root: &Path, stages: &[Stage]) {
    let text = lines(stages, |text, s| {
        writeln!(text, "sh -c 'cp {} {}'", s.dep, s.out).unwrap();
    });
    fs_err::write(root.join("run.sh"), text).unwrap();
}

fn write_ninja(root: &Path, stages: &[Stage]) {
    let text = lines(stages, |text, s| {
        writeln!(text, "build {}: step {}", s.out, s.dep).unwrap();
    });
    fs_err::write(
        root.join("build.ninja"),
        format!("rule step\n  command = cp $in $out\n{text}"),
    )
    .unwrap();
}

fn write_pipeline(root: &Path, stages: &[Stage]) {
    let text = lines(stages, |text, s| {
        let dep = match s.dep.strip_prefix("out/") {
            Some(number) => format!("s{}", number.trim_end_matches(".txt")),
            None => s.dep.clone(),
        };
        let file = &s.out[4..];
        let needs = format!("needs: {{ src: {dep} }}");
        writeln!(
            text,
            "  {}: {{ kind: command, {needs}, with: {{ argv: [cp, src, {file}] }}, outputs: {{ out: {file} }}, publish: out }}",
            s.name
        )
        .unwrap();
    });
    fs_err::write(root.join("p.yaml"), format!("stages:\n{text}")).unwrap();
}

fn write_snakemake(root: &Path, stages: &[Stage]) {
    let count = stages.len();
    let is_chain = stages
        .get(1)
        .is_some_and(|stage| stage.dep.starts_with("out/"));
    let text = if is_chain {
        format!(
            "rule all:\n    input: \"out/{:05}.txt\"\n\ndef dep(w):\n    k = int(w.i)\n    \
             return \"in/00000.txt\" if k == 0 else f\"out/{{k - 1:05d}}.txt\"\n\n\
             rule step:\n    input: dep\n    output: \"out/{{i}}.txt\"\n    shell: \"cp {{input}} {{output}}\"\n",
            count - 1
        )
    } else {
        format!(
            "IDS = [f\"{{i:05d}}\" for i in range({count})]\n\nrule all:\n    input: expand(\"out/{{i}}.txt\", i=IDS)\n\n\
             rule step:\n    input: \"in/{{i}}.txt\"\n    output: \"out/{{i}}.txt\"\n    shell: \"cp {{input}} {{output}}\"\n"
        )
    };
    fs_err::write(root.join("Snakefile"), text).unwrap();
}

fn write_dvc(root: &Path, stages: &[Stage]) {
    let text = lines(stages, |text, s| {
        let Stage { name, dep, out } = s;
        writeln!(
            text,
            "  {name}:\n    cmd: cp {dep} {out}\n    deps: [{dep}]\n    outs: [{out}]"
        )
        .unwrap();
    });
    fs_err::write(root.join("dvc.yaml"), format!("stages:\n{text}")).unwrap();
}

fn write_redun(root: &Path, stages: &[Stage]) {
    let count = stages.len();
    let is_chain = stages
        .get(1)
        .is_some_and(|stage| stage.dep.starts_with("out/"));
    let body = if is_chain {
        format!(
            "    f = ContentFile('in/00000.txt')\n    for i in range({count}):\n        f = step(f, f'out/{{i:05d}}.txt')\n    return f\n"
        )
    } else {
        format!(
            "    return [step(ContentFile(f'in/{{i:05d}}.txt'), f'out/{{i:05d}}.txt') for i in range({count})]\n"
        )
    };
    let text = format!(
        "import subprocess, sys\nfrom redun import task\nfrom redun.file import ContentFile\n\
         sys.setrecursionlimit(100000)\nredun_namespace = 'bench'\n\n\
         @task()\ndef step(dep: ContentFile, out: str) -> ContentFile:\n    \
         subprocess.run(['cp', dep.path, out], check=True)\n    return ContentFile(out)\n\n\
         @task()\ndef main():\n{body}"
    );
    fs_err::write(root.join("workflow.py"), text).unwrap();
    fs_err::create_dir_all(root.join(".redun")).unwrap();
    let settings = "[backend]\ndb_uri = sqlite:///redun.db\n[executors.default]\ntype = local\nmax_workers = 2\n";
    fs_err::write(root.join(".redun/redun.ini"), settings).unwrap();
}
