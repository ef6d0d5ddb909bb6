//! The head of Google's code for questions against a plain restatement in f64: losses, every gradient by central
//! differences, beams; padding, micro-batches and threads.

use std::collections::BTreeMap;

use engine::arena::Plan;
use engine::backend::{Array, Memory};
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::finetune::{Finetuning, Label, Said, TaskExample, TaskTrainer};
use engine::model::batch::{BatchPlan, Sequence};
use engine::model::heads::{HeadKind, TaskModel};
use engine::model::joint::{ANSWERABLE_WEIGHT, Answers, BEAM, Beams};
use engine::ops::losses::RTD_SUMS;
use engine::random::{Draw, Purpose, Stream, below, unit};
use engine::schedule::{Schedule, Shape};
use engine::weights::{self, Tensor, Tensors};

const H: usize = 21;

fn config(layers: usize) -> ElectraConfig {
    let text = format!(
        r#"{{"vocab_size": 40, "embedding_size": {H}, "hidden_size": {H}, "num_hidden_layers": {layers},
        "num_attention_heads": 3, "intermediate_size": 70, "max_position_embeddings": 48}}"#
    );
    serde_json::from_str(&text).expect("a configuration")
}

/// A question, a context, and where the answer is: rows of the whole.
struct Case {
    ids: Vec<u32>,
    types: Vec<u32>,
    answer: (u32, u32),
    is_impossible: bool,
}

/// `[CLS] question [SEP] context [SEP]` of unequal lengths; the third has no answer, the fourth's is elsewhere.
fn cases() -> Vec<Case> {
    let stream = Stream::new(4, Purpose::Shuffle);
    let sizes = [(3, 7), (1, 31), (4, 2), (2, 26), (6, 33)];
    (0_u32..)
        .zip(sizes)
        .map(|(sequence, (question, context))| {
            let draw = Draw { step: 0, sequence };
            let mut ids = vec![2];
            let word = |i: usize| 5 + below(stream.word(draw, i as u64), 34);
            ids.extend((0..question).map(word));
            ids.push(3);
            ids.extend((question..question + context).map(word));
            ids.push(3);
            let types = (0..ids.len()).map(|i| u32::from(i >= question + 2));
            let first = question as u32 + 2;
            Case {
                types: types.collect(),
                ids,
                answer: match sequence {
                    2 | 3 => (0, 0),
                    0 => (first + 4, first + 4),
                    _ => (first + 1, first + 3),
                },
                is_impossible: sequence == 2,
            }
        })
        .collect()
}

fn sequences(cases: &[Case]) -> Vec<Sequence<'_>> {
    (0_u32..)
        .zip(cases)
        .map(|(index, case)| Sequence {
            ids: &case.ids,
            types: &case.types,
            index,
        })
        .collect()
}

/// Values that no initialiser gives, so that no gradient is zero by symmetry.
fn values(model: &TaskModel) -> Tensors {
    let stream = Stream::new(7, Purpose::Shuffle);
    let list = model.parameters.list().iter();
    (0_u32..)
        .zip(list)
        .map(|(sequence, parameter)| {
            let draw = Draw { step: 1, sequence };
            let is_gain = parameter.name.ends_with("LayerNorm.weight");
            let value = |i: usize| {
                let at = unit(stream.word(draw, i as u64)) - 0.5;
                if is_gain { 1.0 + at } else { 0.5 * at }
            };
            let tensor = Tensor {
                shape: parameter.shape.clone(),
                values: (0..parameter.at.len()).map(value).collect(),
            };
            (parameter.name.clone(), tensor)
        })
        .collect()
}

/// The whole model of no layers in f64, as spec E.5 says it: no shared work, no arena, sums over lists.
struct Plain(BTreeMap<String, Vec<f64>>);

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|l| l.exp()).sum();
    logits.iter().map(|l| l - sum.ln()).collect()
}

/// Abramowitz and Stegun have seven digits; this series has all of f64's for the small values here.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    let mut n = 0.0;
    while term.abs() > 1e-18 {
        n += 1.0;
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

impl Plain {
    fn new(tensors: &Tensors) -> Self {
        let wide = |(name, tensor): (&String, &Tensor)| {
            let values = tensor.values.iter().map(|v| f64::from(*v)).collect();
            (name.clone(), values)
        };
        Self(tensors.iter().map(wide).collect())
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = &self.0[&format!("{name}.weight")];
        let bias = &self.0[&format!("{name}.bias")];
        let rows = weight.chunks(x.len()).zip(bias);
        rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
            .collect()
    }

    fn two_layers(&self, hidden: &str, last: &str, left: &[f64], right: &[f64]) -> f64 {
        let u = self.linear(hidden, &[left, right].concat());
        let gelu = |u: f64| u * 0.5 * (1.0 + erf(u / 2.0_f64.sqrt()));
        self.linear(last, &u.into_iter().map(gelu).collect::<Vec<f64>>())[0]
    }

    fn rows(&self, case: &Case) -> Vec<Vec<f64>> {
        let table = |name: &str, at: usize| -> &[f64] {
            &self.0[&format!("electra.embeddings.{name}_embeddings.weight")][at * H..][..H]
        };
        let gain = &self.0["electra.embeddings.LayerNorm.weight"];
        let bias = &self.0["electra.embeddings.LayerNorm.bias"];
        let rows = case.ids.iter().zip(&case.types).enumerate();
        rows.map(|(at, (id, segment))| {
            let sum: Vec<f64> = (0..H)
                .map(|i| {
                    table("word", *id as usize)[i]
                        + table("position", at)[i]
                        + table("token_type", *segment as usize)[i]
                })
                .collect();
            let mean = sum.iter().sum::<f64>() / H as f64;
            let variance = sum.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / H as f64;
            let normal = sum.iter().map(|v| (v - mean) / (variance + 1e-12).sqrt());
            normal
                .zip(gain)
                .zip(bias)
                .map(|((n, g), b)| n * g + b)
                .collect()
        })
        .collect()
    }

    fn choices(case: &Case) -> Vec<usize> {
        (0..case.ids.len())
            .filter(|i| *i == 0 || case.types[*i] == 1)
            .collect()
    }

    fn ends(&self, x: &[Vec<f64>], choices: &[usize], start: usize) -> Vec<f64> {
        let of = |i: &usize| self.two_layers("joint.end_hidden", "joint.end", &x[start], &x[*i]);
        log_softmax(&choices.iter().map(of).collect::<Vec<f64>>())
    }

    fn starts(&self, x: &[Vec<f64>], choices: &[usize]) -> Vec<f64> {
        let of = |i: &usize| self.linear("joint.start", &x[*i])[0];
        log_softmax(&choices.iter().map(of).collect::<Vec<f64>>())
    }

    fn impossible(&self, x: &[Vec<f64>], choices: &[usize], starts: &[f64]) -> f64 {
        let mut mean = vec![0.0; H];
        for (i, score) in choices.iter().zip(starts) {
            for (mean, x) in mean.iter_mut().zip(&x[*i]) {
                *mean += score.exp() * x;
            }
        }
        self.two_layers("joint.answerable_hidden", "joint.answerable", &x[0], &mean)
    }

    /// The mean over sequences.
    fn loss(&self, cases: &[Case]) -> f64 {
        let mut loss = 0.0;
        for case in cases {
            let (x, choices) = (self.rows(case), Self::choices(case));
            let place = |row: u32| {
                choices
                    .iter()
                    .position(|i| *i == row as usize)
                    .expect("there")
            };
            let starts = self.starts(&x, &choices);
            let ends = self.ends(&x, &choices, case.answer.0 as usize);
            let logit = self.impossible(&x, &choices, &starts);
            let target = f64::from(u8::from(case.is_impossible));
            let binary = (1.0 + logit.exp()).ln() - target * logit;
            loss -= 0.5 * (starts[place(case.answer.0)] + ends[place(case.answer.1)]);
            loss += 0.5 * binary;
        }
        loss / cases.len() as f64
    }
}

struct Outcome {
    loss: f32,
    gradients: Tensors,
}

fn run(
    model: &TaskModel,
    tensors: &Tensors,
    cases: &[Case],
    padded_to: Option<usize>,
    threads: usize,
) -> Outcome {
    let tokens = cases.len() * 48;
    let mut plan = Plan::default();
    let batch = BatchPlan::new(&mut plan, tokens, cases.len());
    let room = model.plan(&mut plan, tokens, cases.len());
    let sums = [plan.real(1), plan.real(RTD_SUMS)];
    let mut cpu = Cpu::new(threads).expect("threads");
    cpu.allocate(&plan, model.parameters.memory())
        .expect("fits");
    let unmatched = weights::load(&mut cpu, &model.parameters, tensors).expect("fits");
    assert_eq!(unmatched, weights::Unmatched::default());
    let of = |value: fn(&Case) -> u32| cases.iter().map(value).collect::<Vec<u32>>();
    let (starts, ends) = (of(|c| c.answer.0), of(|c| c.answer.1));
    let impossible = of(|c| u32::from(c.is_impossible));
    let sequences = sequences(cases);
    cpu.on_threads(|cpu| {
        let on_device = batch.write(cpu, &sequences, padded_to);
        model.forward(cpu, &on_device, &room);
        let answers = Answers {
            sequences: &sequences,
            starts: &starts,
            ends: &ends,
            impossible: &impossible,
            padded_to,
        };
        let scale = 1.0 / cases.len() as f32;
        model.joint_loss(cpu, &on_device, &room, &answers, scale, sums);
        model.backward(cpu, &on_device, &room);
        let answerable = ANSWERABLE_WEIGHT * cpu.read_reals(sums[1])[0];
        Outcome {
            loss: (cpu.read_reals(sums[0])[0] + answerable) * scale,
            gradients: weights::save(cpu, &model.parameters, Array::Gradient),
        }
    })
}

#[test]
fn losses_and_gradients_are_those_of_a_plain_restatement() {
    let model = TaskModel::new(&config(0), HeadKind::Joint, 1);
    let tensors = values(&model);
    let cases = cases();
    let found = run(&model, &tensors, &cases, None, 2);
    let mut plain = Plain::new(&tensors);
    let truth = plain.loss(&cases);
    assert!(
        (f64::from(found.loss) - truth).abs() < 1e-5 * truth,
        "{} {truth}",
        found.loss
    );
    let stream = Stream::new(8, Purpose::Shuffle);
    for (name, gradient) in &found.gradients {
        let n = gradient.values.len() as u32;
        let top = gradient
            .values
            .iter()
            .fold(0.0_f32, |top, v| top.max(v.abs()));
        // What is added to all logits of a softmax changes nothing.
        let is_common = ["joint.start.bias", "joint.end.bias"].contains(&name.as_str());
        assert_eq!(top > 1e-6, !is_common, "{name}: {top:e}");
        let draw = Draw {
            step: 2,
            sequence: n,
        };
        let some = (0..4).map(|i| below(stream.word(draw, i), n) as usize);
        for i in some {
            let at = plain.0[name][i];
            let step = 1e-4;
            let mut loss_at = |value: f64| {
                plain.0.get_mut(name).expect("there")[i] = value;
                plain.loss(&cases)
            };
            // Of order four, so that what is left is rounding.
            let near = loss_at(at + step) - loss_at(at - step);
            let far = loss_at(at + 2.0 * step) - loss_at(at - 2.0 * step);
            loss_at(at);
            let slope = (8.0 * near - far) / (12.0 * step);
            let difference = (f64::from(gradient.values[i]) - slope).abs();
            assert!(
                difference < 2e-6 * f64::from(top).max(0.1),
                "{name}[{i}]: {difference:e}"
            );
        }
    }
}

#[test]
fn padding_and_threads_change_nothing() {
    let model = TaskModel::new(&config(2), HeadKind::Joint, 1);
    let tensors = values(&model);
    let cases = cases();
    let one = run(&model, &tensors, &cases, None, 1);
    for threads in [2, 3] {
        let several = run(&model, &tensors, &cases, None, threads);
        assert_eq!(one.loss.to_bits(), several.loss.to_bits());
        assert_eq!(one.gradients, several.gradients, "{threads} threads");
    }
    let padded = run(&model, &tensors, &cases, Some(48), 2);
    assert!((one.loss - padded.loss).abs() < 1e-5 * one.loss);
    for (name, gradient) in &one.gradients {
        let top = gradient
            .values
            .iter()
            .fold(1e-3_f32, |top, v| top.max(v.abs()));
        let other = &padded.gradients[name].values;
        // The first row of the table stands for padding, which nothing sees.
        for (a, b) in gradient.values.iter().zip(other) {
            assert!((a - b).abs() < 2e-5 * top, "{name}: {a} {b}");
        }
    }
}

fn settings(layers: usize) -> Finetuning {
    Finetuning {
        config: config(layers),
        head: HeadKind::Joint,
        outputs: 1,
        schedule: Schedule {
            peak: 1e-3,
            steps: 10,
            warmup: 0,
            shape: Shape::Product,
        },
        layer_decay: None,
        weight_decay: 0.01,
        bias_correction: false,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        seed: 3,
    }
}

fn example(case: &Case) -> TaskExample<'_> {
    TaskExample {
        ids: &case.ids,
        types: &case.types,
        label: Label::Answer {
            start: case.answer.0,
            end: case.answer.1,
            is_impossible: case.is_impossible,
        },
    }
}

#[test]
fn micro_batches_change_nothing_but_rounding() {
    let cases = cases();
    let steps = |micro_tokens: usize| {
        let cpu = Cpu::new(2).expect("threads");
        let mut trainer = TaskTrainer::new(cpu, settings(2), 48, micro_tokens).expect("fits");
        let examples: Vec<TaskExample<'_>> = cases.iter().map(example).collect();
        let losses: Vec<f32> = (0..3)
            .map(|_| trainer.train(&examples).expect("sound").loss)
            .collect();
        losses
    };
    let whole = steps(400);
    assert!(whole[2] < whole[0], "{whole:?}");
    for micro_tokens in [48, 80] {
        for (a, b) in whole.iter().zip(steps(micro_tokens)) {
            assert!((a - b).abs() < 2e-4 * a, "{micro_tokens}: {a} {b}");
        }
    }
}

#[test]
fn beams_are_those_of_a_plain_restatement() {
    let cases = cases();
    let model = TaskModel::new(&config(0), HeadKind::Joint, 1);
    let tensors = values(&model);
    let plain = Plain::new(&tensors);
    let inputs: Vec<(&[u32], &[u32])> = cases.iter().map(|c| (&c.ids[..], &c.types[..])).collect();
    let of = |micro_tokens: usize| -> Vec<Beams> {
        let cpu = Cpu::new(2).expect("threads");
        let mut trainer = TaskTrainer::new(cpu, settings(0), 48, micro_tokens).expect("fits");
        trainer.start_from(&tensors).expect("fits");
        let said = trainer.predict(&inputs).expect("sound");
        said.into_iter()
            .map(|said| match said {
                Said::Answers(beams) => beams,
                Said::Logits(_) => panic!("answers are asked for"),
            })
            .collect()
    };
    let found = of(400);
    for (case, beams) in cases.iter().zip(&found) {
        let (x, choices) = (plain.rows(case), Plain::choices(case));
        let starts = plain.starts(&x, &choices);
        let top = |scores: &[f64]| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            order.truncate(BEAM);
            order
        };
        let mut expected = Vec::new();
        for i in top(&starts) {
            let ends = plain.ends(&x, &choices, choices[i]);
            for j in top(&ends) {
                expected.push((choices[i], choices[j], starts[i], ends[j]));
            }
        }
        assert_eq!(beams.spans.len(), expected.len());
        assert_eq!(expected.len(), choices.len().min(BEAM).pow(2));
        for (span, (start, end, start_score, end_score)) in beams.spans.iter().zip(expected) {
            assert_eq!((span.start as usize, span.end as usize), (start, end));
            assert!((f64::from(span.start_score) - start_score).abs() < 1e-5);
            assert!((f64::from(span.end_score) - end_score).abs() < 1e-5);
        }
        let impossible = plain.impossible(&x, &choices, &starts);
        assert!((f64::from(beams.impossible) - impossible).abs() < 1e-5);
    }
    // Pairs of rows are taken in parts as large as a batch.
    for (a, b) in found.iter().zip(of(48)) {
        assert_eq!(a.spans.len(), b.spans.len());
        for (a, b) in a.spans.iter().zip(&b.spans) {
            assert_eq!((a.start, a.end), (b.start, b.end));
        }
    }
}

#[test]
fn answers_outside_the_context_are_refused() {
    let cases = cases();
    let cpu = Cpu::new(1).expect("threads");
    let mut trainer = TaskTrainer::new(cpu, settings(0), 48, 48).expect("fits");
    for (start, end) in [(1, 6), (6, 1), (6, 99)] {
        let label = Label::Answer {
            start,
            end,
            is_impossible: false,
        };
        assert!(
            trainer
                .train(&[TaskExample {
                    label,
                    ..example(&cases[0])
                }])
                .is_err()
        );
    }
    let label = Label::Span(6, 7);
    assert!(
        trainer
            .train(&[TaskExample {
                label,
                ..example(&cases[0])
            }])
            .is_err()
    );
}
