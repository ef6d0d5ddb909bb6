//! Embeddings, and the gradients of their tables: keys that stand once, in several chunks, in none.

use crate::arena::Plan;
use crate::backend::{Array, Dropout, DropoutAt};
use crate::ops::embedding::{Embedding, EmbeddingInputs, EmbeddingWeights};
use crate::ops::layernorm::{NormSaved, NormWeights};
use crate::random::{Network, Place, Rate, Site};

use crate::check::{Bounds, DROPS, Judge, Laid, Outputs, Weights, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 3e-6,
    bf16: 1e-2,
};

/// Ids of rows among `entries`: one of them a third of all, as with masks.
fn ids(n: usize, entries: usize) -> Vec<u32> {
    let spread = numbers(8, n);
    let id = |(i, value): (usize, &f32)| match i % 3 {
        0 => entries as u32 / 2,
        _ => ((value * 0.5 + 0.5) * (entries - 1) as f32) as u32,
    };
    spread.iter().enumerate().map(id).collect()
}

fn case<B: Embedding>(
    device: &mut B,
    lengths: &[usize],
    width: usize,
    entries: usize,
    dropout: &Dropout,
) -> Outputs {
    let n: usize = lengths.iter().sum();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut plan = Plan::default();
    let laid = Laid::new(&mut plan, lengths, 7);
    let inputs = EmbeddingInputs {
        ids: plan.ints(n),
        types: plan.ints(n),
    };
    let [y, d] = std::array::from_fn(|_| plan.act(n * width));
    let saved = NormSaved {
        z: plan.act(n * width),
        mean: plan.real(n),
        rstd: plan.real(n),
    };
    let mut parameters = Weights::default();
    let weights = EmbeddingWeights {
        tokens: parameters.add(entries * width),
        positions: parameters.add(longest * width),
        types: parameters.add(2 * width),
        norm: NormWeights {
            gain: parameters.add(width),
            bias: parameters.add(width),
            width,
            eps: 1e-12,
        },
    };
    let site = Site {
        network: Network::Generator,
        layer: 0,
        place: Place::Embeddings,
    };
    let at = DropoutAt {
        site,
        rate: Rate::new(0.1),
    };
    let all = [
        ("tokens", weights.tokens),
        ("positions", weights.positions),
        ("types", weights.types),
        ("gain", weights.norm.gain),
        ("bias", weights.norm.bias),
    ];
    device.allocate(&plan, parameters.memory()).expect("fits");
    laid.write(device);
    device.write_ints(inputs.ids, &ids(n, entries));
    let kinds: Vec<u32> = (0..n).map(|i| u32::from(i % 7 > 3)).collect();
    device.write_ints(inputs.types, &kinds);
    for (seed, (_, weight)) in (1..).zip(all) {
        device.write_weights(Array::Value, weight, &numbers(seed, weight.len()));
        // Gradients are added to.
        device.write_weights(Array::Gradient, weight, &numbers(seed + 10, weight.len()));
    }
    device.set_dropout(dropout.clone());
    device.embedding(inputs, weights, at, laid.rows, saved, y);
    let mut outputs = vec![
        ("z".to_owned(), device.read_acts(saved.z)),
        ("y".to_owned(), device.read_acts(y)),
        ("mean".to_owned(), device.read_reals(saved.mean)),
        ("rstd".to_owned(), device.read_reals(saved.rstd)),
    ];
    device.write_acts(d, &numbers(20, n * width));
    device.embedding_backward(d, inputs, weights, at, laid.rows, saved);
    for (name, weight) in all {
        let gradient = device.read_weights(Array::Gradient, weight);
        outputs.push((format!("d {name}"), gradient));
    }
    outputs
}

fn on_all<D: Driver>(
    judge: &mut dyn Judge<D>,
    lengths: &[usize],
    width: usize,
    entries: usize,
    dropout: &Dropout,
) {
    same(
        judge,
        BOUNDS,
        |cpu| case(cpu, lengths, width, entries, dropout),
        |cuda| case(cuda, lengths, width, entries, dropout),
    );
}

pub(crate) fn odd_rows_and_widths<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, &[1], 1, 1, &Dropout::Off);
    on_all(judge, &[31, 2], 31, 5, &DROPS);
    on_all(judge, &[33], 33, 257, &DROPS);
    on_all(judge, &[257, 1], 8, 66_000, &DROPS);
}

pub(crate) fn more_rows_than_a_block_sorts<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, &[600, 500, 37], 16, 300, &DROPS);
}

pub(crate) fn widths_of_models<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, &[70], 128, 1000, &DROPS);
    on_all(judge, &[9, 68], 768, 300, &DROPS);
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let bounds = Bounds {
        f32: 2e-5,
        bf16: 2e-2,
    };
    let lengths = &[512, 370, 128, 512, 511, 33, 512];
    same(
        judge,
        bounds,
        |cpu| case(cpu, lengths, 768, 31_090, &DROPS),
        |cuda| case(cuda, lengths, 768, 31_090, &DROPS),
    );
}
