//! Attention, forward and backward, on tensor cores and without; and its gradients against their definition in f64.

use crate::arena::Plan;
use crate::backend::{Dropout, DropoutAt, Precision, Sequences};
use crate::ops::attention::{Attention, Heads};
use crate::random::{Draw, Network, Place, Purpose, Rate, Site, Stream};

use crate::check::{Bounds, DROPS, FLOOR, Judge, Outputs, compare, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 2e-6,
    bf16: 8e-3,
};
const SITE: Site = Site {
    network: Network::Discriminator,
    layer: 1,
    place: Place::Attention,
};
/// Number of the first sequence in the global batch.
const FIRST: u32 = 11;

/// Sequences, with a tail behind them, and heads.
#[derive(Clone, Copy)]
struct Batch<'a> {
    lengths: &'a [usize],
    /// Rows of each sequence that are no keys.
    padding: usize,
    tail: usize,
    heads: Heads,
    /// Share of the probabilities that is dropped, where dropout is on.
    drop: f32,
    /// From this row on numbers are larger, so that queries meet their largest scores late.
    louder: usize,
}

impl Batch<'_> {
    fn tokens(&self) -> usize {
        self.lengths.iter().sum::<usize>() + self.tail
    }

    fn keys(&self, i: usize) -> usize {
        self.lengths[i].saturating_sub(self.padding).max(1)
    }

    fn qkv(&self) -> Vec<f32> {
        let width = 3 * self.heads.width();
        let mut values = numbers(1, self.tokens() * width);
        for (i, value) in values.iter_mut().enumerate() {
            // Wide scores, so that probabilities are far from even.
            *value *= if i / width < self.louder { 2.0 } else { 8.0 };
        }
        values
    }

    fn d_context(&self) -> Vec<f32> {
        numbers(2, self.tokens() * self.heads.width())
    }
}

fn case<B: Attention>(device: &mut B, batch: Batch<'_>, dropout: &Dropout) -> Outputs {
    let (n, heads) = (batch.tokens(), batch.heads);
    let width = heads.width();
    let count = batch.lengths.len();
    let mut plan = Plan::default();
    let [qkv, d_qkv] = std::array::from_fn(|_| plan.act(3 * n * width));
    let [context, d_context] = std::array::from_fn(|_| plan.act(n * width));
    let lse = plan.real(n * heads.count);
    let sequences = Sequences {
        count,
        starts: plan.ints(count + 1),
        keys: plan.ints(count),
        index: plan.ints(count),
    };
    let at = DropoutAt {
        site: SITE,
        rate: Rate::new(batch.drop),
    };
    device.allocate(&plan, 0).expect("fits");
    let small = |value: usize| u32::try_from(value).expect("small");
    let mut starts = vec![0];
    for length in batch.lengths {
        starts.push(starts.last().expect("one") + small(*length));
    }
    let keys: Vec<u32> = (0..count).map(|i| small(batch.keys(i))).collect();
    let index: Vec<u32> = (FIRST..).take(count).collect();
    device.write_ints(sequences.starts, &starts);
    device.write_ints(sequences.keys, &keys);
    device.write_ints(sequences.index, &index);
    device.set_dropout(dropout.clone());
    // What is overwritten, and what nobody may read, shows where it stays.
    let nothing = vec![f32::NAN; 3 * n * width];
    let mut given = batch.qkv();
    let tail = (n - batch.tail) * width;
    given[3 * tail..].fill(f32::NAN);
    device.write_acts(qkv, &given);
    device.write_acts(context, &nothing[..n * width]);
    device.write_reals(lse, &nothing[..n * heads.count]);
    device.attention(qkv, heads, sequences, at, lse, context);
    let mut outputs = vec![
        ("context".to_owned(), device.read_acts(context)),
        ("lse".to_owned(), device.read_reals(lse)),
    ];
    let mut given = batch.d_context();
    given[tail..].fill(f32::NAN);
    device.write_acts(d_context, &given);
    device.write_acts(d_qkv, &nothing);
    device.attention_backward(d_context, qkv, context, heads, sequences, at, lse, d_qkv);
    outputs.push(("d_qkv".to_owned(), device.read_acts(d_qkv)));
    for (name, values) in &outputs {
        assert!(values.iter().all(|v| v.is_finite()), "{name}");
    }
    assert!(outputs[0].1[tail..].iter().all(|v| *v == 0.0));
    assert!(outputs[2].1[3 * tail..].iter().all(|v| *v == 0.0));
    for lse in outputs[1].1.chunks(n) {
        assert!(lse[n - batch.tail..].iter().all(|v| *v == 0.0));
    }
    // The thirds apart, so that each is held to its own largest number.
    let (_, all) = outputs.pop().expect("it was put there");
    for (third, name) in ["d queries", "d keys", "d values"].iter().enumerate() {
        let rows = all.chunks(3 * width);
        let own = rows.flat_map(|row| &row[third * width..(third + 1) * width]);
        outputs.push(((*name).to_owned(), own.copied().collect()));
    }
    outputs
}

fn on_all<D: Driver>(judge: &mut dyn Judge<D>, batch: Batch<'_>, dropout: &Dropout) {
    same(
        judge,
        BOUNDS,
        |cpu| case(cpu, batch, dropout),
        |cuda| case(cuda, batch, dropout),
    );
}

fn heads(count: usize, size: usize) -> Heads {
    Heads { count, size }
}

pub(crate) fn odd_lengths_of_heads_of_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let batch = Batch {
        lengths: &[1, 31, 33, 64, 65, 130],
        padding: 0,
        tail: 0,
        heads: heads(1, 64),
        drop: 0.1,
        louder: usize::MAX,
    };
    on_all(judge, batch, &DROPS);
    let batch = Batch {
        lengths: &[70, 5],
        heads: heads(2, 64),
        ..batch
    };
    on_all(judge, batch, &Dropout::Off);
}

pub(crate) fn a_long_sequence_between_short_ones<D: Driver>(judge: &mut dyn Judge<D>) {
    let batch = Batch {
        lengths: &[3, 257, 2],
        padding: 0,
        tail: 0,
        heads: heads(1, 16),
        drop: 0.1,
        louder: usize::MAX,
    };
    on_all(judge, batch, &DROPS);
    // Thresholds of more than half of what 16 bits say are compared in another way.
    let drop = 0.7;
    on_all(judge, Batch { drop, ..batch }, &DROPS);
    // Probabilities near 1 leave small differences of large numbers of 16 bits.
    let (louder, bf16) = (140, 3e-2);
    let batch = Batch { louder, ..batch };
    same(
        judge,
        Bounds { bf16, ..BOUNDS },
        |cpu| case(cpu, batch, &DROPS),
        |cuda| case(cuda, batch, &DROPS),
    );
}

pub(crate) fn heads_of_every_size<D: Driver>(judge: &mut dyn Judge<D>) {
    for (count, size) in [(3, 16), (2, 24), (1, 128), (1, 72), (2, 7)] {
        let batch = Batch {
            lengths: &[31, 66],
            padding: 0,
            tail: 0,
            heads: heads(count, size),
            drop: 0.1,
            louder: usize::MAX,
        };
        on_all(judge, batch, &DROPS);
    }
}

/// Whose rows take so much shared memory that blocks have fewer warps, as many as a device has room for.
pub(crate) fn heads_wider_than_tiles<D: Driver>(judge: &mut dyn Judge<D>) {
    for (lengths, size) in [(&[5, 33][..], 128), (&[3, 34], 800), (&[35], 2048)] {
        let batch = Batch {
            lengths,
            padding: 0,
            tail: 0,
            heads: heads(1, size),
            drop: 0.1,
            louder: usize::MAX,
        };
        on_all(judge, batch, &DROPS);
    }
}

pub(crate) fn padding_and_rows_of_no_sequence<D: Driver>(judge: &mut dyn Judge<D>) {
    for size in [32, 20] {
        let batch = Batch {
            lengths: &[33, 1, 0, 131, 0],
            padding: 9,
            tail: 150,
            heads: heads(2, size),
            drop: 0.1,
            louder: usize::MAX,
        };
        on_all(judge, batch, &DROPS);
    }
    // Nothing but such rows, and blocks of which none is a key.
    let batch = Batch {
        lengths: &[],
        padding: 0,
        tail: 5,
        heads: heads(1, 16),
        drop: 0.1,
        louder: usize::MAX,
    };
    on_all(judge, batch, &Dropout::Off);
    let batch = Batch {
        lengths: &[200],
        padding: 130,
        ..batch
    };
    on_all(judge, batch, &DROPS);
}

/// The definition in f64: context, and gradients of queries, keys and values, rows of `3 H` as `qkv`.
fn definition(batch: Batch<'_>) -> (Vec<f64>, Vec<f64>) {
    let Heads { count, size } = batch.heads;
    let (n, width) = (batch.tokens(), batch.heads.width());
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let (qkv, d_context) = (wide(batch.qkv()), wide(batch.d_context()));
    let (mut context, mut d_qkv) = (vec![0.0; n * width], vec![0.0; 3 * n * width]);
    let stream = Stream::new(5, Purpose::Dropout(SITE));
    let by = 1.0 / (size as f64).sqrt();
    let mut start = 0;
    for (i, length) in batch.lengths.iter().enumerate() {
        let (keys, blocks) = (batch.keys(i), length.div_ceil(128));
        let sequence = FIRST + u32::try_from(i).expect("small");
        for head in 0..count {
            let at =
                |row: usize, third: usize| 3 * (start + row) * width + third * width + head * size;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            for query in 0..*length {
                let out = (start + query) * width + head * size;
                let draw = Draw { step: 3, sequence };
                let mut factors = vec![0.0; keys];
                let first = (head * length + query) * blocks;
                Rate::new(batch.drop).factors(stream, draw, first as u64, &mut factors);
                let q = &qkv[at(query, 0)..][..size];
                let p: Vec<f64> = (0..keys)
                    .map(|key| (by * dot(q, &qkv[at(key, 1)..][..size])).exp())
                    .collect();
                let all: f64 = p.iter().sum();
                let d_out = &d_context[out..][..size];
                // Gradients of the probabilities, then of the scores through the sum over all of them.
                let d: Vec<f64> = (0..keys)
                    .map(|key| f64::from(factors[key]) * dot(d_out, &qkv[at(key, 2)..][..size]))
                    .collect();
                let mean: f64 = p.iter().zip(&d).map(|(p, d)| p / all * d).sum();
                for key in 0..keys {
                    let p = p[key] / all;
                    let (kept, d) = (p * f64::from(factors[key]), p * (d[key] - mean) * by);
                    for c in 0..size {
                        context[out + c] += kept * qkv[at(key, 2) + c];
                        d_qkv[at(query, 0) + c] += d * qkv[at(key, 1) + c];
                        d_qkv[at(key, 1) + c] += d * qkv[at(query, 0) + c];
                        d_qkv[at(key, 2) + c] += kept * d_out[c];
                    }
                }
            }
        }
        start += length;
    }
    (context, d_qkv)
}

/// Context and gradients by definition, named as a case names them.
fn defined(batch: Batch<'_>) -> Outputs {
    let (context, d_qkv) = definition(batch);
    let width = batch.heads.width();
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    let third = |i: usize| {
        let rows = d_qkv.chunks(3 * width);
        let own = rows.flat_map(|row| &row[i * width..(i + 1) * width]);
        narrow(own.copied().collect())
    };
    let [queries, keys, values] = [0, 1, 2].map(third);
    [
        ("context", narrow(context)),
        ("d queries", queries),
        ("d keys", keys),
        ("d values", values),
    ]
    .map(|(name, values)| (name.to_owned(), values))
    .into()
}

pub(crate) fn gradients_are_those_of_the_definition<D: Driver>(judge: &mut dyn Judge<D>) {
    let batch = Batch {
        lengths: &[37, 70],
        padding: 3,
        tail: 0,
        heads: heads(2, 32),
        drop: 0.1,
        louder: usize::MAX,
    };
    // What the definition has no word for is left out.
    let named = |outputs: Outputs| -> Outputs {
        let is_defined = |(name, _): &(String, Vec<f32>)| name != "lse";
        outputs.into_iter().filter(is_defined).collect()
    };
    same(
        judge,
        BOUNDS,
        |cpu| {
            let expected = defined(batch);
            let found = named(case(cpu, batch, &DROPS));
            for one in compare(Precision::F32, BOUNDS.f32, FLOOR, &expected, &found) {
                assert!(one.passed, "the CPU itself: {one}");
            }
            expected
        },
        |cuda| named(case(cuda, batch, &DROPS)),
    );
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    for (lengths, count, tail) in [(&[512, 511, 129, 64, 370][..], 12, 96), (&[512, 300], 4, 0)] {
        let batch = Batch {
            lengths,
            padding: 0,
            tail,
            heads: heads(count, 64),
            drop: 0.1,
            louder: usize::MAX,
        };
        let bounds = Bounds {
            f32: 5e-6,
            bf16: 1e-2,
        };
        same(
            judge,
            bounds,
            |cpu| case(cpu, batch, &DROPS),
            |cuda| case(cuda, batch, &DROPS),
        );
    }
}
