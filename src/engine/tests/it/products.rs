//! What a device does with products: that none is forgotten where they are written down, and that what is kept of
//! weights is that of the weights as they are. And that prediction in less room says the same.

use engine::arena::Plan;
use engine::backend::{Array, Memory, Precision};
use engine::config::ElectraConfig;
use engine::cost;
use engine::cpu::Cpu;
use engine::model::batch::{BatchPlan, Sequence};
use engine::model::heads::{HeadKind, TaskModel, TaskPlan};
use engine::weights::{Tensors, initialise, load, save};

const LENGTHS: [usize; 4] = [70, 3, 128, 31];
const CLASSES: usize = 5;

fn config() -> ElectraConfig {
    let text = r#"{"vocab_size": 203, "embedding_size": 48, "hidden_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 3, "intermediate_size": 200, "max_position_embeddings": 128}"#;
    serde_json::from_str(text).expect("a configuration")
}

struct Predictor {
    cpu: Cpu,
    model: TaskModel,
    rows: BatchPlan,
    room: TaskPlan,
}

impl Predictor {
    fn new(precision: Precision, seed: u64) -> Self {
        Self::with_room(precision, seed, TaskModel::plan_forward)
    }

    fn with_room(
        precision: Precision,
        seed: u64,
        room: impl FnOnce(&TaskModel, &mut Plan, usize, usize) -> TaskPlan,
    ) -> Self {
        let model = TaskModel::new(&config(), HeadKind::Tokens, CLASSES);
        let mut plan = Plan::default();
        let tokens = LENGTHS.iter().sum();
        let rows = BatchPlan::new(&mut plan, tokens, LENGTHS.len());
        let room = room(&model, &mut plan, tokens, LENGTHS.len());
        let mut cpu = Cpu::new(2).expect("threads").with_precision(precision);
        cpu.allocate(&plan, model.parameters.memory())
            .expect("fits");
        initialise(&mut cpu, &model.parameters, seed);
        Self {
            cpu,
            model,
            rows,
            room,
        }
    }

    fn logits(&mut self) -> Vec<u32> {
        let data: Vec<(Vec<u32>, Vec<u32>)> = LENGTHS
            .iter()
            .map(|length| ((0..*length as u32).collect(), vec![0; *length]))
            .collect();
        let sequences: Vec<Sequence<'_>> = (0_u32..)
            .zip(&data)
            .map(|(index, (ids, types))| Sequence { ids, types, index })
            .collect();
        let Self {
            cpu,
            model,
            rows,
            room,
        } = self;
        let logits = cpu.on_threads(|cpu| {
            let batch = rows.write(cpu, &sequences, None);
            let logits = model.forward(cpu, &batch, room);
            cpu.read_reals(logits)
        });
        logits.iter().map(|logit| logit.to_bits()).collect()
    }

    fn weights(&mut self) -> Tensors {
        save(&mut self.cpu, &self.model.parameters, Array::Value)
    }
}

/// Layers that share their room say what layers with room of their own say.
#[test]
fn room_of_one_layer_is_enough_to_go_forward() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut small = Predictor::new(precision, 1);
        let mut large = Predictor::with_room(precision, 1, TaskModel::plan);
        let (small, large) = (small.logits(), large.logits());
        assert!(small == large, "{precision:?}");
    }
}

#[test]
fn kept_weights_are_those_of_now() {
    let mut kept = Predictor::new(Precision::Bf16, 1);
    let first = kept.logits();
    for _ in 0..3 {
        assert_eq!(kept.logits(), first);
    }
    let mut other = Predictor::new(Precision::Bf16, 2);
    let unmatched = load(&mut kept.cpu, &kept.model.parameters, &other.weights());
    assert!(unmatched.expect("fits").missing.is_empty());
    let changed = kept.logits();
    assert_ne!(changed, first);
    for _ in 0..3 {
        assert_eq!(kept.logits(), changed);
    }
    assert_eq!(changed, other.logits());
}

/// As many operations as the formulas of spec H.1 say, and those of the head.
#[test]
fn every_product_is_written_down() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut predictor = Predictor::new(precision, 1);
        assert!(predictor.cpu.recorded_products().is_empty(), "off at first");
        predictor.cpu.record_products(true);
        predictor.logits();
        let recorded = predictor.cpu.recorded_products();
        let flop: u64 = recorded.iter().map(|(s, n)| s.flop() * *n as u64).sum();
        let expected = LENGTHS.iter().map(|length| {
            let length = *length as f64;
            let head = 2 * config().hidden_size * CLASSES;
            length * (cost::encoder(&config(), length) + head as f64)
        });
        assert_eq!(flop as f64, expected.sum::<f64>());
        // Each can be taken again.
        for (shape, count) in recorded {
            predictor.cpu.replay(shape)(count.min(3));
        }
        predictor.cpu.record_products(false);
        predictor.logits();
        assert!(predictor.cpu.recorded_products().is_empty(), "off again");
    }
}
