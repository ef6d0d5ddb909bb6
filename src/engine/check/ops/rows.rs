//! Rows picked and put back, whole and as halves, in every order of their indices; units dropped.

use crate::arena::{Ints, Plan};
use crate::backend::{Dropout, DropoutAt};
use crate::ops::pairs::{Half, Pairs};
use crate::ops::rows::RowOps;
use crate::random::{Network, Place, Rate, Site};

use crate::check::{Bounds, DROPS, Judge, Laid, Outputs, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 2e-6,
    bf16: 1e-2,
};

/// Picks rows of a matrix of `rows` by `index` and puts rows back, whole and as halves.
fn case<B: RowOps + Pairs>(device: &mut B, rows: usize, width: usize, index: &[u32]) -> Outputs {
    let n = index.len();
    let mut plan = Plan::default();
    let [x, dx] = std::array::from_fn(|_| plan.act(rows * width));
    let y = plan.act(n * width);
    let pairs = plan.act(2 * n * width);
    let at: Ints = plan.ints(n);
    device.allocate(&plan, 0).expect("fits");
    device.write_ints(at, index);
    device.write_acts(x, &numbers(1, rows * width));
    let mut made = Outputs::new();
    device.gather(x, at, width, y);
    made.push(("gathered".to_owned(), device.read_acts(y)));
    device.write_acts(dx, &numbers(2, rows * width));
    device.write_acts(y, &numbers(3, n * width));
    device.gather_backward(y, at, width, dx);
    made.push(("put back".to_owned(), device.read_acts(dx)));
    for half in [Half::First, Half::Second] {
        // The other half stays.
        device.write_acts(pairs, &numbers(4, 2 * n * width));
        device.put_half(x, at, width, half, pairs);
        made.push((format!("{half:?} put"), device.read_acts(pairs)));
        device.write_acts(pairs, &numbers(5, 2 * n * width));
        device.take_half(pairs, at, width, half, dx);
        made.push((format!("{half:?} taken"), device.read_acts(dx)));
    }
    made
}

fn on_all<D: Driver>(judge: &mut dyn Judge<D>, rows: usize, width: usize, index: &[u32]) {
    same(
        judge,
        BOUNDS,
        |cpu| case(cpu, rows, width, index),
        |cuda| case(cuda, rows, width, index),
    );
}

/// Indices below `rows`, some of them again and again.
fn shuffled(n: usize, rows: u16) -> Vec<u32> {
    let many = numbers(6, n);
    let low = many.iter().map(|v| (v + 1.0) / 2.0 * f32::from(rows));
    low.map(|v| v as u32).collect()
}

pub(crate) fn indices_that_ascend<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, 1, 1, &[0]);
    on_all(judge, 40, 33, &[0, 3, 3, 3, 17, 18, 18, 39]);
    on_all(judge, 31, 768, &[1, 2, 5, 30]);
    let all: Vec<u32> = (0..257).collect();
    on_all(judge, 257, 31, &all);
}

pub(crate) fn long_runs_of_one_row<D: Driver>(judge: &mut dyn Judge<D>) {
    for length in [31, 32, 33, 257] {
        let mut index = vec![2, 4];
        index.extend(std::iter::repeat_n(5, length));
        index.extend([6, 7, 7]);
        on_all(judge, 9, 40, &index);
    }
    // At the end, and one of them right behind another.
    let mut index = vec![1; 70];
    index.extend([8; 40]);
    on_all(judge, 9, 257, &index);
}

pub(crate) fn indices_in_any_order<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(judge, 3, 33, &[2, 0, 2, 1, 0, 2]);
    on_all(judge, 20, 31, &shuffled(257, 20));
    on_all(judge, 200, 256, &shuffled(70, 200));
    let mut falling: Vec<u32> = (0..50).collect();
    falling.reverse();
    on_all(judge, 50, 8, &falling);
}

pub(crate) fn units_are_dropped<D: Driver>(judge: &mut dyn Judge<D>) {
    fn case<B: RowOps>(device: &mut B, lengths: &[usize], width: usize) -> Outputs {
        let n: usize = lengths.iter().sum();
        let mut plan = Plan::default();
        let laid = Laid::new(&mut plan, lengths, 3);
        let [x, y] = std::array::from_fn(|_| plan.act(n * width));
        let site = Site {
            network: Network::Discriminator,
            layer: 0,
            place: Place::Head,
        };
        let at = DropoutAt {
            site,
            rate: Rate::new(0.1),
        };
        device.allocate(&plan, 0).expect("fits");
        laid.write(device);
        device.write_acts(x, &numbers(1, n * width));
        let mut made = Outputs::new();
        for dropout in [DROPS, Dropout::Off] {
            device.set_dropout(dropout.clone());
            device.dropout(x, width, at, laid.rows, y);
            made.push((format!("{dropout:?}"), device.read_acts(y)));
        }
        made
    }
    for (lengths, width) in [
        (&[1][..], 1),
        (&[3, 30], 33),
        (&[31, 2], 257),
        (&[9], 768),
        (&[2], 1024),
    ] {
        same(
            judge,
            BOUNDS,
            |cpu| case(cpu, lengths, width),
            |cuda| case(cuda, lengths, width),
        );
    }
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    // Slots of masked tokens, in order, and tokens anywhere.
    let slots: Vec<u32> = (0..9_830).map(|i| i * 20 / 3).collect();
    on_all(judge, 65_536, 256, &slots);
    on_all(judge, 4_096, 768, &shuffled(9_001, 4_096));
}
