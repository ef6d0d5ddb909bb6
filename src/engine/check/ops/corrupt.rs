//! The discriminator's input from what was drawn.

use crate::arena::Plan;
use crate::ops::corrupt::{Corrupt, Drawn, NOWHERE};

use crate::check::{Bounds, Judge, same};
use crate::cuda::driver::Driver;

fn case<B: Corrupt>(
    device: &mut B,
    original: &[u32],
    drawn: &[(u32, u32)],
    real: &[u32],
) -> [Vec<u32>; 2] {
    let mut plan = Plan::default();
    let [before, is_real, ids, labels] = std::array::from_fn(|_| plan.ints(original.len()));
    let [rows, samples] = std::array::from_fn(|_| plan.ints(drawn.len()));
    device.allocate(&plan, 0).expect("fits");
    device.write_ints(before, original);
    device.write_ints(is_real, real);
    let (row, sample): (Vec<u32>, Vec<u32>) = drawn.iter().copied().unzip();
    device.write_ints(rows, &row);
    device.write_ints(samples, &sample);
    // What is overwritten was something else.
    device.write_ints(ids, &vec![9; original.len()]);
    device.write_ints(labels, &vec![9; original.len()]);
    device.corrupt(before, Drawn { rows, samples }, is_real, ids, labels);
    [device.read_ints(ids), device.read_ints(labels)]
}

pub(crate) fn devices_agree<D: Driver>(judge: &mut dyn Judge<D>) {
    for n in [1, 31, 33, 257, 1_000] {
        agree(judge, n);
    }
}

fn agree<D: Driver>(judge: &mut dyn Judge<D>, n: u32) {
    let exact = Bounds {
        f32: 0.0,
        bf16: 0.0,
    };
    {
        let original: Vec<u32> = (0..n).map(|i| i * 37 % 31_090).collect();
        let real: Vec<u32> = (0..n).map(|i| u32::from(i < n - n / 9)).collect();
        let mut drawn = Vec::new();
        for row in (0..n - n / 9).filter(|row| row % 7 < 2) {
            let id = original[row as usize];
            drawn.push((row, if row % 2 == 0 { id } else { 31_089 }));
            // Some rows are drawn several times, with an average that is no id of those.
            drawn.extend((0..row % 5).map(|i| (row, i * 1_000 + 3)));
        }
        drawn.extend([(NOWHERE, 0); 40]);
        // Ids and labels are small enough for f32.
        let floats = |[ids, labels]: [Vec<u32>; 2]| {
            let of = |values: Vec<u32>| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
            vec![
                ("ids".to_owned(), of(ids)),
                ("labels".to_owned(), of(labels)),
            ]
        };
        same(
            judge,
            exact,
            |cpu| floats(case(cpu, &original, &drawn, &real)),
            |cuda| floats(case(cuda, &original, &drawn, &real)),
        );
    }
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    agree(judge, 131_072);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use crate::ops::losses::IGNORED;

    #[test]
    fn positions_that_are_drawn_twice_have_the_average_id() {
        let mut cpu = Cpu::new(1).expect("threads");
        let drawn = [(1, 7), (2, 30_000), (2, 31_001), (4, 14), (NOWHERE, 0)];
        let [ids, labels] = case(&mut cpu, &[5, 6, 7, 8, 14, 0], &drawn, &[1, 1, 1, 1, 1, 0]);
        assert_eq!(ids, [5, 7, 30_500, 8, 14, 0]);
        assert_eq!(labels, [0, 1, 1, 0, 0, IGNORED]);
        // Nothing is drawn, and nothing is there.
        assert_eq!(case(&mut cpu, &[5], &[], &[1]), [vec![5], vec![0]]);
        assert_eq!(
            case(&mut cpu, &[], &[], &[]),
            [Vec::<u32>::new(), Vec::new()]
        );
    }
}
