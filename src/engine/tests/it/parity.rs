//! What PyTorch answered, frozen under `golden/` and, with `PIPELINE_PARITY`, asked anew by `tests/parity/checkpoints.py`
//! (released weights) and `training.py` (steps at the sizes that are trained). Knows no stages.

use std::path::{Path, PathBuf};

use engine::arena::Plan;
use engine::backend::Memory;
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::model::architecture::Architecture;
use engine::model::batch::{BatchPlan, Sequence};
use engine::model::heads::{HeadKind, TaskModel};
use engine::model::pretraining::{GENERATOR, MaskedSequence, PretrainingModel, Replacements};
use engine::weights::{self, Tensors, names, read_any};

use crate::oracles::{Padded, config, padded};
use crate::steps::{Case, follow, shares};

/// Cases: folders with `truth.safetensors`, and the weights in `model` (as `pipeline` made it) or `released`.
fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    let asked = std::env::var_os("PIPELINE_PARITY").map(PathBuf::from);
    let mut found = Vec::new();
    for folder in [Some(golden), asked].into_iter().flatten() {
        for entry in fs_err::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.join("truth.safetensors").is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn weights_of(case: &Path) -> (ElectraConfig, Tensors) {
    let model = case.join("model");
    if model.is_dir() {
        let tensors = weights::read(&model.join("model.safetensors")).expect("read");
        return (config(&model.join("config.json")), tensors);
    }
    let released = case.join("released");
    let tensors = read_any(&released.join("pytorch_model.bin")).expect("read");
    let current = names::current(tensors).expect("no name twice");
    assert!(
        current
            .tensors
            .keys()
            .all(|name| !name.ends_with("position_ids"))
    );
    (config(&released.join("config.json")), current.tensors)
}

/// What the engine says of each token, or of each sequence.
fn answers(config: &ElectraConfig, tensors: &Tensors, input: &Padded) -> Vec<Vec<f32>> {
    let architecture = Architecture::of(tensors, None);
    let comparison = architecture.compare(config, tensors);
    assert_eq!(comparison, Default::default(), "{architecture:?}");
    match architecture {
        Architecture::PreTraining | Architecture::MaskedLm => pretraining(
            config,
            tensors,
            input,
            architecture == Architecture::MaskedLm,
        ),
        Architecture::Tokens(n) => task(config, tensors, input, HeadKind::Tokens, n),
        Architecture::Sequence(n) => task(config, tensors, input, HeadKind::Sequence, n),
        Architecture::Questions => task(config, tensors, input, HeadKind::Span, 2),
        Architecture::Body => body(config, tensors, input),
    }
}

fn task(
    config: &ElectraConfig,
    tensors: &Tensors,
    input: &Padded,
    kind: HeadKind,
    outputs: usize,
) -> Vec<Vec<f32>> {
    let model = TaskModel::new(config, kind, outputs);
    let (n, tokens) = (input.ids.len(), input.ids.iter().map(Vec::len).sum());
    let mut plan = Plan::default();
    let batch = BatchPlan::new(&mut plan, tokens, n);
    let room = model.plan(&mut plan, tokens, n);
    let mut cpu = Cpu::new(2).expect("threads");
    cpu.allocate(&plan, model.parameters.memory())
        .expect("fits");
    let unmatched = weights::load(&mut cpu, &model.parameters, tensors).expect("fits");
    assert_eq!(unmatched, weights::Unmatched::default());
    let batch = batch.write(&mut cpu, &input.sequences(), None);
    let logits = model.forward(&mut cpu, &batch, &room);
    let logits = cpu.read_reals(logits);
    logits.chunks(outputs).map(<[f32]>::to_vec).collect()
}

/// The encoder's output, through a head that picks one unit after the other.
fn body(config: &ElectraConfig, tensors: &Tensors, input: &Padded) -> Vec<Vec<f32>> {
    let h = config.hidden_size;
    let mut with_head = tensors.clone();
    let identity = (0..h * h).map(|i| f32::from(u8::from(i % (h + 1) == 0)));
    let head = [
        ("classifier.weight", vec![h, h], identity.collect()),
        ("classifier.bias", vec![h], vec![0.0; h]),
    ];
    for (name, shape, values) in head {
        with_head.insert(name.to_owned(), weights::Tensor { shape, values });
    }
    task(config, &with_head, input, HeadKind::Tokens, h)
}

/// The discriminator's logit of each token, or the generator's log-probability of each, asked for one at a time.
fn pretraining(
    config: &ElectraConfig,
    tensors: &Tensors,
    input: &Padded,
    is_generator: bool,
) -> Vec<Vec<f32>> {
    let model = PretrainingModel::new(config, config);
    let tokens: usize = input.ids.iter().map(Vec::len).sum();
    let mut plan = Plan::default();
    let room = model.plan(&mut plan, tokens, input.ids.len(), tokens);
    let mut cpu = Cpu::new(2).expect("threads");
    cpu.allocate(&plan, model.parameters.memory())
        .expect("fits");
    let own: Tensors = tensors
        .iter()
        .map(
            |(name, tensor)| match is_generator && !name.starts_with("electra.embeddings.") {
                true => (format!("{GENERATOR}{name}"), tensor.clone()),
                false => (name.clone(), tensor.clone()),
            },
        )
        .collect();
    let unmatched = weights::load(&mut cpu, &model.parameters, &own).expect("fits");
    assert_eq!(unmatched.unused, [""; 0]);
    let as_they_are = |original: Sequence<'_>, positions: Vec<u32>| -> Vec<f32> {
        let batch = [MaskedSequence {
            keeps: vec![true; positions.len()],
            original,
            positions,
        }];
        cpu.zero_reals(room.mlm_sums);
        let samples: Vec<u32> = batch[0]
            .positions
            .iter()
            .map(|p| original.ids[*p as usize])
            .collect();
        let given = Replacements::Given(&samples);
        model.run(&mut cpu, &room, &batch, 4, given, None, None);
        match is_generator {
            true => vec![-cpu.read_reals(room.mlm_sums)[0]],
            false => cpu.read_reals(model.logits(&room, original.ids.len())),
        }
    };
    let mut as_they_are = as_they_are;
    let mut found = Vec::new();
    for sequence in input.sequences() {
        if is_generator {
            let n = u32::try_from(sequence.ids.len()).expect("short");
            found.extend((0..n).map(|position| as_they_are(sequence, vec![position])));
        } else {
            let logits = as_they_are(sequence, vec![0]);
            found.extend(logits.into_iter().map(|logit| vec![logit]));
        }
    }
    found
}

/// PyTorch's, of real tokens only.
fn expected(truth: &Tensors, input: &Padded) -> Vec<Vec<f32>> {
    let sides = ["start_logits", "end_logits"].map(|name| truth.get(name));
    let (values, width) = match (sides, truth.get("logits"), truth.get("hidden")) {
        ([Some(start), Some(end)], ..) => {
            let both = start.values.iter().zip(&end.values);
            (both.flat_map(|(a, b)| [*a, *b]).collect(), 2)
        }
        (_, Some(logits), _) => {
            let width = match logits.shape.as_slice() {
                [_, _, width] => *width,
                [n, width] if [*n, *width] != [input.ids.len(), input.width] => *width,
                _ => 1,
            };
            (logits.values.clone(), width)
        }
        (_, _, Some(hidden)) => (hidden.values.clone(), hidden.shape[2]),
        _ => (truth["log_probabilities"].values.clone(), 1),
    };
    let rows: Vec<Vec<f32>> = values.chunks(width).map(<[f32]>::to_vec).collect();
    if rows.len() == input.ids.len() {
        return rows;
    }
    let by_sequence = rows.chunks(input.width).zip(&input.ids);
    by_sequence
        .flat_map(|(rows, ids)| rows[..ids.len()].to_vec())
        .collect()
}

#[test]
fn parity_of_checkpoints() {
    let cases = cases();
    assert!(
        cases.len() >= 2,
        "the frozen cases are part of the repository"
    );
    let mut worst = 0.0_f32;
    for case in &cases {
        let truth = weights::read(&case.join("truth.safetensors")).expect("read");
        let (config, tensors) = weights_of(case);
        let input = padded(&truth, "");
        let (found, expected) = (answers(&config, &tensors, &input), expected(&truth, &input));
        assert_eq!(found.len(), expected.len(), "{}", case.display());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len(), "{}", case.display());
            for (a, b) in found.iter().zip(expected) {
                let difference = (a - b).abs();
                assert!(difference < 1e-4, "{}: {a} is not {b}", case.display());
                worst = worst.max(difference);
            }
        }
    }
    report(&format!(
        "{} checkpoints, largest difference of a logit {worst:.1e}",
        cases.len()
    ));
}

/// Steps at the sizes that are trained; and what they came to when they were last asked for is within the bounds too.
#[test]
fn parity_of_training() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/training.json");
    let frozen: Frozen =
        serde_json::from_slice(&fs_err::read(golden).expect("readable")).expect("numbers");
    assert!(frozen.cases.len() >= 2);

    for case in &frozen.cases {
        case.engine.check(&case.case);
    }
    let Some(asked) = std::env::var_os("PIPELINE_PARITY").map(PathBuf::from) else {
        return report("only the frozen numbers: `tests/parity/training.py` asks PyTorch anew");
    };
    for entry in fs_err::read_dir(asked).expect("readable") {
        let folder = entry.expect("readable").path();
        if folder.join("rtd.json").is_file() {
            let measured = measure(&folder);
            report(&serde_json::to_string(&measured).expect("numbers"));
            measured.check(&folder.display().to_string());
        }
    }
}

#[derive(serde::Deserialize)]
struct Frozen {
    cases: Vec<FrozenCase>,
}

#[derive(serde::Deserialize)]
struct FrozenCase {
    case: String,
    engine: Measured,
}

/// Largest differences of a case.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Measured {
    /// Of a logit of the discriminator.
    logits: f32,
    /// Of a tensor's gradient, as a share: see [`shares`].
    gradient: f64,
    worst_gradient: String,
    /// Of a loss of any step, as a share.
    losses: f64,
    gradient_norm: f64,
}

impl Measured {
    fn check(&self, case: &str) {
        assert!(self.logits < 1e-4, "{case}: {self:?}");
        assert!(self.gradient < 1e-3, "{case}: {self:?}");
        assert!(self.losses < 1e-4, "{case}: {self:?}");
        assert!(self.gradient_norm < 1e-3, "{case}: {self:?}");
    }
}

fn measure(folder: &Path) -> Measured {
    let case = Case::read(folder);
    let configs = [&case.discriminator, &case.generator]
        .map(|config| serde_json::from_value(config.clone()).expect("a configuration"));
    let found = follow(folder, &case, &configs, false);
    let shares = shares(&found.gradients, &case.of("grad."));
    let (worst, share) = shares
        .into_iter()
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .expect("tensors");
    let logits = case.tensors["discriminator_logits"].values.iter();
    assert_eq!(logits.len(), found.logits.len());
    let losses = found.losses.iter();
    Measured {
        logits: logits
            .zip(&found.logits)
            .fold(0.0, |most, (a, b)| most.max((a - b).abs())),
        gradient: share,
        worst_gradient: worst,
        losses: losses
            .clone()
            .fold(0.0, |most, of| most.max(of.mlm).max(of.rtd)),
        gradient_norm: losses.fold(0.0, |most, of| most.max(of.norm)),
    }
}

/// For the person who runs the script.
#[expect(clippy::print_stderr, reason = "it is asked for with `--nocapture`")]
pub(crate) fn report(line: &str) {
    eprintln!("{line}");
}
