//! Steps of replaced token detection that another program took, taken again with its weights, masks and samples. Knows
//! no bounds: it says how far both are apart.

use std::collections::BTreeMap;
use std::path::Path;

use engine::arena::Plan;
use engine::backend::{Array, Dropout, Memory};
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::model::pretraining::{
    MaskedSequence, PretrainingModel, PretrainingPlan, Replacements, Scales,
};
use engine::ops::adamw::{AdamW, Update};
use engine::schedule::{Schedule, Shape, groups};
use engine::weights::{self, Tensors};

use crate::oracles::{Padded, ints, padded};

/// `rtd.json` and `rtd.safetensors` of a folder.
#[derive(serde::Deserialize)]
pub(crate) struct Case {
    /// Of the schedule; as many steps are taken as there are losses.
    steps: u64,
    warmup: u64,
    learning_rate: f64,
    /// Units are dropped as the engine draws them from this seed.
    #[serde(default)]
    dropout_seed: Option<u64>,
    pub(crate) discriminator: serde_json::Value,
    pub(crate) generator: serde_json::Value,
    losses: Vec<BTreeMap<String, f64>>,
    #[serde(skip)]
    pub(crate) tensors: Tensors,
}

/// Differences of a step, as shares of what is expected where that is above 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    pub(crate) mlm: f64,
    pub(crate) rtd: f64,
    pub(crate) norm: f64,
}

/// What the engine came to.
pub(crate) struct Followed {
    pub(crate) losses: Vec<Losses>,
    /// The discriminator's, of the first step.
    pub(crate) logits: Vec<f32>,
    /// Of the first step.
    pub(crate) gradients: Tensors,
    /// Weights after the last.
    pub(crate) after: Tensors,
}

impl Case {
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs_err::read_to_string(folder.join("rtd.json")).expect("readable");
        let mut case: Self = serde_json::from_str(&text).expect("a case");
        case.tensors = weights::read(&folder.join("rtd.safetensors")).expect("read");
        case
    }

    /// Tensors under a prefix, by our names.
    pub(crate) fn of(&self, prefix: &str) -> Tensors {
        self.tensors
            .iter()
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(prefix)?;
                let name = name.strip_prefix("discriminator.").unwrap_or(name);
                Some((name.to_owned(), tensor.clone()))
            })
            .collect()
    }
}

/// Where a step's masks are and what stands there instead.
struct Slots {
    rows: Vec<u32>,
    columns: Vec<u32>,
    keeps: Vec<u32>,
    samples: Vec<u32>,
}

impl Slots {
    fn read(tensors: &Tensors, prefix: &str) -> Self {
        let field = |name: &str| ints(tensors, &format!("{prefix}{name}"));
        Self {
            rows: field("slot_rows"),
            columns: field("slot_columns"),
            keeps: field("slot_keep"),
            samples: field("samples"),
        }
    }

    fn mask<'a>(&self, input: &'a Padded) -> Vec<MaskedSequence<'a>> {
        let of = |index: u32, values: &[u32]| -> Vec<u32> {
            let mine = self
                .rows
                .iter()
                .zip(values)
                .filter(|(row, _)| **row == index);
            mine.map(|(_, value)| *value).collect()
        };
        let masked = input
            .sequences()
            .into_iter()
            .map(|original| MaskedSequence {
                positions: of(original.index, &self.columns),
                keeps: of(original.index, &self.keeps)
                    .iter()
                    .map(|keep| *keep == 1)
                    .collect(),
                original,
            });
        masked.collect()
    }
}

/// Takes the steps of a case.
pub(crate) fn follow(
    folder: &Path,
    case: &Case,
    [discriminator, generator]: &[ElectraConfig; 2],
    is_padded: bool,
) -> Followed {
    let model = PretrainingModel::new(discriminator, generator);
    let first = padded(&case.tensors, "step0.");
    let (count, rows) = (first.ids.len(), first.ids.len() * first.width);
    let mut plan = Plan::default();
    let room = model.plan(&mut plan, rows, count, rows / 3);
    let mut cpu = Cpu::new(2).expect("threads");
    cpu.allocate(&plan, model.parameters.memory())
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let unmatched = weights::load(&mut cpu, &model.parameters, &case.of("before.")).expect("fits");
    assert_eq!(unmatched, weights::Unmatched::default());
    let groups = groups(
        &model.parameters,
        discriminator.num_hidden_layers,
        0.01,
        None,
    );
    let schedule = Schedule {
        peak: case.learning_rate,
        steps: case.steps,
        warmup: case.warmup,
        shape: Shape::Product,
    };
    let mut found = Followed {
        losses: Vec::new(),
        logits: Vec::new(),
        gradients: Tensors::new(),
        after: Tensors::new(),
    };
    for (step, wanted) in (0_u32..).zip(&case.losses) {
        let prefix = format!("step{step}.");
        let input = padded(&case.tensors, &prefix);
        let slots = Slots::read(&case.tensors, &prefix);
        let batch = slots.mask(&input);
        let tokens: usize = input.ids.iter().map(Vec::len).sum();
        let scales = Scales::new(slots.rows.len(), tokens, 1.0, 50.0);
        if let Some(seed) = case.dropout_seed {
            cpu.set_dropout(Dropout::Counted { seed, step });
        }
        let width = is_padded.then_some(input.width);
        let norm = cpu.on_threads(|cpu| {
            cpu.zero_gradients();
            cpu.zero_reals(room.mlm_sums);
            cpu.zero_reals(room.rtd_sums);
            let given = Replacements::Given(&slots.samples);
            model.run(cpu, &room, &batch, 104, given, Some(scales), width);
            cpu.gradient_norm(room.norm);
            cpu.read_reals(room.norm)[0]
        });
        found
            .losses
            .push(compare(&mut cpu, &room, scales, norm, wanted));
        if step == 0 {
            let count = if is_padded { rows } else { tokens };
            found.logits = cpu.read_reals(model.logits(&room, count));
            found.gradients = weights::save(&mut cpu, &model.parameters, Array::Gradient);
        }
        let update = Update {
            learning_rate: schedule.rate(u64::from(step)) as f32,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            correction: 1.0,
            clip: Some(1.0),
        };
        cpu.adamw(&groups, update, room.norm);
    }
    found.after = weights::save(&mut cpu, &model.parameters, Array::Value);
    found
}

fn compare(
    cpu: &mut Cpu,
    room: &PretrainingPlan,
    scales: Scales,
    norm: f32,
    wanted: &BTreeMap<String, f64>,
) -> Losses {
    let apart = |found: f32, name: &str| {
        let wanted = wanted[name];
        (f64::from(found) - wanted).abs() / wanted.abs().max(1.0)
    };
    let mlm = cpu.read_reals(room.mlm_sums)[0] * scales.mlm;
    let rtd = cpu.read_reals(room.rtd_sums)[0] * scales.rtd / 50.0;
    Losses {
        mlm: apart(mlm, "mlm"),
        rtd: apart(rtd, "rtd"),
        norm: apart(norm, "grad_norm"),
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// For each tensor the norm of the difference as a share of the gradient's own, or of a hundred-thousandth of all
/// gradients' where that is more: a bias of keys has none but rounding.
pub(crate) fn shares(found: &Tensors, truth: &Tensors) -> BTreeMap<String, f64> {
    let all = norm(
        truth
            .values()
            .flat_map(|t| t.values.iter().map(|v| f64::from(*v))),
    );
    let share = |(name, truth): (&String, &weights::Tensor)| {
        // PyTorch gives [PAD], the table's first row, none; ours has none to give without padding.
        let skipped = if name.contains("word_embeddings") {
            truth.shape[1]
        } else {
            0
        };
        let (found, truth) = (&found[name].values[skipped..], &truth.values[skipped..]);
        let pairs = found.iter().zip(truth);
        let apart = norm(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let own = norm(truth.iter().map(|v| f64::from(*v)));
        (name.clone(), apart / own.max(1e-5 * all))
    };
    truth.iter().map(share).collect()
}
