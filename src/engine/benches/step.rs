//! Training steps on this machine's processor: `cargo bench -p engine --bench step -- pretrain|finetune|predict|gemm
//! [--size small] [--batch 16] [--length 128] [--mean-length 0] [--precision f32] [--threads 2] [--steps 5]`.
//!
//! One JSON line a run, with the fields of the PyTorch peer. `--mean-length` draws lengths around it; without it every
//! sequence is as long as `--length`. With `--products` the step's products are written down while it takes them, and
//! then taken again alone: `products_s` a step, which is what cannot be saved, and its `share`. With `--list` each shape
//! has a line of its own. `gemm` does this for the configurations that documentation tells of, in both precisions.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its line and stops at the first fault"
)]

use std::time::Instant;

use engine::arena::Plan;
use engine::backend::{Dropout, Memory, Precision};
use engine::config::Size;
use engine::cpu::Cpu;
use engine::mask::{Duplicates, Masking};
use engine::model::batch::{BatchPlan, Sequence};
use engine::model::heads::{HeadKind, TaskModel};
use engine::model::pretraining::{MaskedSequence, PretrainingModel, Replacements, Scales};
use engine::ops::adamw::{AdamW, Update};
use engine::ops::losses::Losses;
use engine::ops::mlm::Sampling;
use engine::random::{Draw, Purpose, Stream, below};
use engine::schedule::groups;
use engine::weights::initialise;

const VOCABULARY: usize = 31_090;

struct Case {
    work: String,
    size: Size,
    batch: usize,
    length: usize,
    mean_length: usize,
    threads: usize,
    steps: usize,
    precision: Precision,
    products: bool,
    list: bool,
}

/// A device, and what takes step `i` on it and says of how many tokens.
type Step<'a> = (Cpu, Box<dyn FnMut(&mut Cpu, usize) -> usize + 'a>);

impl Case {
    fn cpu(&self) -> Cpu {
        Cpu::new(self.threads)
            .unwrap()
            .with_precision(self.precision)
    }
}

/// Work, size, batch, length, mean length, steps.
type Told = (&'static str, Size, usize, usize, usize, usize);

/// What documentation tells of.
const TOLD: &[Told] = &[
    ("pretrain", Size::Small, 16, 128, 0, 5),
    ("pretrain", Size::Small, 16, 128, 64, 5),
    ("pretrain", Size::Base, 8, 128, 0, 3),
    ("pretrain", Size::Base, 4, 512, 0, 2),
    ("pretrain", Size::Base, 4, 512, 256, 3),
    ("finetune", Size::Base, 16, 128, 0, 3),
    ("finetune", Size::Base, 16, 128, 40, 5),
    ("predict", Size::Base, 16, 128, 0, 5),
    ("predict", Size::Base, 16, 128, 40, 5),
];

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    };
    let has = |name: &str| words.iter().any(|word| word == name);
    let number = |name: &str, default: usize| value(name).map_or(default, |v| v.parse().unwrap());
    let size = value("--size").unwrap_or_else(|| "small".to_owned());
    let precision = value("--precision").map(|v| serde_json::from_value(v.into()).unwrap());
    let case = Case {
        work: match words.first().filter(|word| !word.starts_with("--")) {
            Some(word) => word.clone(),
            None => "pretrain".to_owned(),
        },
        size: serde_json::from_value(size.into()).unwrap(),
        batch: number("--batch", 16),
        length: number("--length", 128),
        mean_length: number("--mean-length", 0),
        threads: number("--threads", 2),
        steps: number("--steps", 5),
        precision: precision.unwrap_or(Precision::F32),
        products: has("--products"),
        list: has("--list"),
    };
    if case.work != "gemm" {
        return case.run();
    }
    for &(work, size, batch, length, mean_length, steps) in TOLD {
        for one in [Precision::F32, Precision::Bf16] {
            if precision.is_none_or(|asked| asked == one) {
                let case = Case {
                    work: work.to_owned(),
                    size,
                    batch,
                    length,
                    mean_length,
                    threads: case.threads,
                    steps,
                    precision: one,
                    products: true,
                    list: case.list,
                };
                case.run();
            }
        }
    }
}

impl Case {
    /// Takes the steps and prints the line.
    fn run(&self) {
        let mut seconds = Vec::new();
        let mut tokens = 0;
        let (mut cpu, mut step) = self.start();
        for i in 0..=self.steps {
            if i == 1 {
                cpu.record_products(self.products);
            }
            let start = Instant::now();
            let real = step(&mut cpu, i);
            if i > 0 {
                seconds.push(start.elapsed().as_secs_f64());
                tokens += real;
            }
        }
        drop(step);
        let total: f64 = seconds.iter().sum();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let mut line = serde_json::json!({
            "work": self.work, "size": self.size, "batch": self.batch, "length": self.length,
            "mean_length": self.mean_length, "threads": self.threads, "precision": self.precision,
            "engine": "pipeline", "s_per_step": median, "min": seconds[0],
            "positions_per_s": (self.batch * self.length) as f64 / median,
            "tokens_per_s": tokens as f64 / total,
        });
        if let Some(peak) = peak_bytes() {
            line["peak_bytes"] = peak.into();
        }
        if self.products {
            let (products, flop) = self.products_alone(&mut cpu);
            let steps = self.steps as f64;
            line["products_s"] = (products / steps).into();
            line["share"] = (products / total).into();
            line["gflop"] = (flop as f64 / steps / 1e9).into();
            line["products_gflop_per_s"] = (flop as f64 / products / 1e9).into();
        }
        println!("{line}");
    }

    /// Seconds and operations of the recorded products alone. Each shape is taken so often that its time can be told,
    /// and counts for as often as it was taken.
    fn products_alone(&self, cpu: &mut Cpu) -> (f64, u64) {
        const ROUNDS: usize = 3;
        let (mut total, mut flop) = (0.0, 0);
        for (shape, count) in cpu.recorded_products() {
            let mut replay = cpu.replay(shape);
            let fewest = if shape.is_on_one_thread { 16 } else { 2 };
            let times = count.div_ceil(self.steps).clamp(fewest, 256);
            replay(3 * fewest);
            let mut rounds = [0.0; ROUNDS];
            for seconds in &mut rounds {
                let start = Instant::now();
                replay(times);
                *seconds = start.elapsed().as_secs_f64();
            }
            rounds.sort_by(f64::total_cmp);
            let one = rounds[ROUNDS / 2] / times as f64;
            total += one * count as f64;
            flop += shape.flop() * count as u64;
            if self.list {
                println!(
                    "{}",
                    serde_json::json!({
                        "product": shape.shape, "count": count as f64 / self.steps as f64,
                        "is_on_one_thread": shape.is_on_one_thread, "is_of_kept": shape.is_of_kept,
                        "gflop_per_s": shape.flop() as f64 / one / 1e9,
                        "s": one * count as f64 / self.steps as f64,
                    })
                );
            }
        }
        (total, flop)
    }
}

/// The most memory that this program has held so far, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Ids and lengths of a batch.
fn batch(case: &Case, step: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    let stream = Stream::new(1, Purpose::Shuffle);
    (0..case.batch)
        .map(|i| {
            let draw = Draw {
                step: step as u32,
                sequence: i as u32,
            };
            let length = match case.mean_length {
                0 => case.length,
                mean => {
                    let drawn = mean / 2 + below(stream.word(draw, 1 << 20), mean as u32) as usize;
                    drawn.min(case.length)
                }
            };
            let ids = (0..length as u64)
                .map(|t| 105 + below(stream.word(draw, t), VOCABULARY as u32 - 105))
                .collect();
            (ids, vec![0; length])
        })
        .collect()
}

impl Case {
    fn start(&self) -> Step<'_> {
        match self.work.as_str() {
            "pretrain" => self.pretrain(),
            "finetune" => self.finetune(true),
            "predict" => self.finetune(false),
            other => panic!("no work `{other}`"),
        }
    }

    fn pretrain(&self) -> Step<'_> {
        let config = self.size.config(VOCABULARY);
        let generator = config.generator(self.size.generator_share(), 1.0);
        let model = PretrainingModel::new(&config, &generator);
        let masking = Masking::new(0.15, self.length, Duplicates::None, vec![102, 103, 104]);
        let mut plan = Plan::default();
        let tokens = self.batch * self.length;
        let room = model.plan(&mut plan, tokens, self.batch, self.batch * masking.most);
        let mut cpu = self.cpu();
        cpu.allocate(&plan, model.parameters.memory()).unwrap();
        initialise(&mut cpu, &model.parameters, 1);
        let groups = groups(&model.parameters, config.num_hidden_layers, 0.01, None);
        let take = move |cpu: &mut Cpu, step: usize| {
            let data = batch(self, step);
            let masked: Vec<MaskedSequence<'_>> = (0_u32..)
                .zip(&data)
                .map(|(index, (ids, types))| {
                    let draw = Draw {
                        step: step as u32,
                        sequence: index,
                    };
                    let masked = masking.mask(ids, 1, draw);
                    MaskedSequence {
                        original: Sequence { ids, types, index },
                        positions: masked.positions,
                        keeps: masked.keeps,
                    }
                })
                .collect();
            let real: usize = data.iter().map(|(ids, _)| ids.len()).sum();
            let slots = masked.iter().map(|m| m.positions.len()).sum();
            let scales = Scales::new(slots, real, 1.0, 50.0);
            let sampling = Sampling {
                seed: 1,
                step: step as u32,
                temperature: 1.0,
                disallow_correct: false,
            };
            cpu.set_dropout(Dropout::Counted {
                seed: 1,
                step: step as u32,
            });
            cpu.on_threads(|cpu| {
                cpu.zero_gradients();
                let from = Replacements::Sampled(sampling);
                model.run(cpu, &room, &masked, 104, from, Some(scales), None);
                cpu.gradient_norm(room.norm);
                cpu.adamw(&groups, update(), room.norm);
            });
            real
        };
        (cpu, Box::new(take))
    }

    fn finetune(&self, trains: bool) -> Step<'_> {
        let config = self.size.config(VOCABULARY);
        let model = TaskModel::new(&config, HeadKind::Tokens, 3);
        let mut plan = Plan::default();
        let tokens = self.batch * self.length;
        let rows = BatchPlan::new(&mut plan, tokens, self.batch);
        let room = match trains {
            true => model.plan(&mut plan, tokens, self.batch),
            false => model.plan_forward(&mut plan, tokens, self.batch),
        };
        let labels = plan.ints(tokens);
        let (sum, norm) = (plan.real(1), plan.real(1));
        let mut cpu = self.cpu();
        cpu.allocate(&plan, model.parameters.memory()).unwrap();
        initialise(&mut cpu, &model.parameters, 1);
        let groups = groups(&model.parameters, config.num_hidden_layers, 0.0, Some(0.8));
        let take = move |cpu: &mut Cpu, step: usize| {
            let data = batch(self, step);
            let sequences: Vec<Sequence<'_>> = (0_u32..)
                .zip(&data)
                .map(|(index, (ids, types))| Sequence { ids, types, index })
                .collect();
            let real: usize = data.iter().map(|(ids, _)| ids.len()).sum();
            if trains {
                cpu.set_dropout(Dropout::Counted {
                    seed: 1,
                    step: step as u32,
                });
            }
            cpu.on_threads(|cpu| {
                let on_device = rows.write(cpu, &sequences, None);
                let logits = model.forward(cpu, &on_device, &room);
                if !trains {
                    cpu.read_reals(logits);
                    return;
                }
                cpu.zero_gradients();
                let labels = labels.first(real);
                let values: Vec<u32> = data
                    .iter()
                    .flat_map(|(ids, _)| ids.iter().map(|id| id % 3))
                    .collect();
                cpu.write_ints(labels, &values);
                let d = room.head.d_logits.first(real * 3);
                let gradient = Some((1.0 / real as f32, d));
                cpu.cross_entropy(logits, labels, 3, gradient, sum);
                model.backward(cpu, &on_device, &room);
                cpu.gradient_norm(norm);
                cpu.adamw(&groups, update(), norm);
            });
            real
        };
        (cpu, Box::new(take))
    }
}

fn update() -> Update {
    Update {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        correction: 1.0,
        clip: Some(1.0),
    }
}
