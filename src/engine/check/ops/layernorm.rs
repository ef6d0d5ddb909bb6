//! Layer normalisation, with and without what stands before it.

use crate::arena::Plan;
use crate::backend::{Array, Dropout, DropoutAt};
use crate::ops::layernorm::{LayerNorm, NormSaved, NormWeights};
use crate::random::{Network, Place, Rate, Site};

use crate::check::{Bounds, DROPS, Judge, Laid, Outputs, Weights, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 2e-6,
    bf16: 1e-2,
};

fn case<B: LayerNorm>(
    device: &mut B,
    lengths: &[usize],
    width: usize,
    dropout: &Dropout,
) -> Outputs {
    let n: usize = lengths.iter().sum();
    let mut plan = Plan::default();
    let laid = Laid::new(&mut plan, lengths, 7);
    let [h, x, y, d, dh] = std::array::from_fn(|_| plan.act(n * width));
    let saved = NormSaved {
        z: plan.act(n * width),
        mean: plan.real(n),
        rstd: plan.real(n),
    };
    let mut weights = Weights::default();
    let norm = NormWeights {
        gain: weights.add(width),
        bias: weights.add(width),
        width,
        eps: 1e-12,
    };
    let site = Site {
        network: Network::Discriminator,
        layer: 1,
        place: Place::FeedForward,
    };
    let at = DropoutAt {
        site,
        rate: Rate::new(0.1),
    };
    device.allocate(&plan, weights.memory()).expect("fits");
    laid.write(device);
    device.write_acts(h, &numbers(1, n * width));
    device.write_acts(x, &numbers(2, n * width));
    device.write_weights(Array::Value, norm.gain, &numbers(3, width));
    device.write_weights(Array::Value, norm.bias, &numbers(4, width));
    device.set_dropout(dropout.clone());
    let mut outputs = Vec::new();
    device.residual_norm(h, x, norm, at, laid.rows, saved, y);
    outputs.push(("z".to_owned(), device.read_acts(saved.z)));
    outputs.push(("y".to_owned(), device.read_acts(y)));
    outputs.push(("mean".to_owned(), device.read_reals(saved.mean)));
    outputs.push(("rstd".to_owned(), device.read_reals(saved.rstd)));
    device.write_acts(d, &numbers(5, n * width));
    // Gradients are added to.
    device.write_weights(Array::Gradient, norm.bias, &numbers(6, width));
    device.residual_norm_backward(d, saved, norm, at, laid.rows, dh);
    outputs.push(("dz".to_owned(), device.read_acts(d)));
    outputs.push(("dh".to_owned(), device.read_acts(dh)));
    outputs.push((
        "d gain".to_owned(),
        device.read_weights(Array::Gradient, norm.gain),
    ));
    outputs.push((
        "d bias".to_owned(),
        device.read_weights(Array::Gradient, norm.bias),
    ));
    device.norm(norm, n, saved, y);
    outputs.push(("plain y".to_owned(), device.read_acts(y)));
    device.write_acts(d, &numbers(7, n * width));
    device.norm_backward(d, saved, norm, n);
    outputs.push(("plain dz".to_owned(), device.read_acts(d)));
    outputs.push((
        "plain d gain".to_owned(),
        device.read_weights(Array::Gradient, norm.gain),
    ));
    outputs
}

fn on_all<D: Driver>(judge: &mut dyn Judge<D>, lengths: &[usize], width: usize, dropout: &Dropout) {
    same(
        judge,
        BOUNDS,
        |cpu| case(cpu, lengths, width, dropout),
        |cuda| case(cuda, lengths, width, dropout),
    );
}

pub(crate) fn odd_rows_and_widths<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, &[1], 1, &Dropout::Off);
    on_all(judge, &[2, 3], 33, &DROPS);
    on_all(judge, &[31, 4, 7], 96, &DROPS);
    on_all(judge, &[5], 257, &DROPS);
}

pub(crate) fn widths_of_models<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, &[9, 70], 128, &DROPS);
    on_all(judge, &[3], 768, &DROPS);
    on_all(judge, &[2], 1024, &DROPS);
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let bounds = Bounds {
        f32: 1e-5,
        bf16: 1e-2,
    };
    for width in [256, 768] {
        let lengths = &[512, 370, 128, 512, 511, 33, 512];
        same(
            judge,
            bounds,
            |cpu| case(cpu, lengths, width, &DROPS),
            |cuda| case(cuda, lengths, width, &DROPS),
        );
    }
}
