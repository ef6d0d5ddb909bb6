//! The examples of each step, read and masked while the step before is taken, so that a device does not wait for them.
//! Knows no device and no losses.

use data::packed::read::PackedExamples;
use engine::mask::{Masked, Masking};
use engine::pretrain::Example;
use engine::random::Draw;

/// A part of the training: from a step on, the examples of a file.
pub(super) struct Phase<'a> {
    pub(super) examples: &'a PackedExamples,
    pub(super) first_step: u64,
    /// Examples of an update.
    pub(super) batch: usize,
    /// Examples at the end of the file that are not trained on.
    pub(super) held_out: u64,
    /// Tokens of the longest example.
    pub(super) longest: usize,
    pub(super) masking: Masking,
}

impl Phase<'_> {
    /// Places in the file of a step's examples: the file is in random order, so training reads on and begins again at
    /// its end.
    fn places(&self, step: u64) -> Vec<u64> {
        let n = self.examples.len() - self.held_out;
        let size = self.batch as u64;
        let first = (step - self.first_step) * size;
        (0..size).map(|i| (first + i) % n).collect()
    }

    pub(super) fn held_out(&self) -> Batch {
        let n = self.examples.len();
        Batch::read(self.examples, (n - self.held_out..n).collect())
    }
}

/// The phase of the update that follows `step` updates.
pub(super) fn phase_of<'p, 'a>(phases: &'p [Phase<'a>], step: u64) -> &'p Phase<'a> {
    let begun = phases.iter().rev().find(|phase| phase.first_step <= step);
    begun.expect("the first begins at step 0")
}

/// Examples as they were read.
pub(super) struct Batch {
    /// Where they are in their file.
    pub(super) places: Vec<u64>,
    /// Ids and segments.
    rows: Vec<(Vec<u32>, Vec<u32>)>,
    /// What is predicted in each, where it was drawn.
    masked: Vec<Masked>,
}

impl Batch {
    fn read(examples: &PackedExamples, places: Vec<u64>) -> Self {
        let rows = places.iter().map(|place| {
            let example = examples.find(*place).expect("below their number");
            let second = example.segment_b as usize;
            let ids: Vec<u32> = example.ids.iter().collect();
            let types = (0..ids.len()).map(|i| u32::from(i >= second)).collect();
            (ids, types)
        });
        Self {
            rows: rows.collect(),
            places,
            masked: Vec::new(),
        }
    }

    /// Draws what is predicted, as the trainer would.
    fn mask(&mut self, masking: &Masking, seed: u64, step: u64) {
        let step = u32::try_from(step).expect("fewer than 2^32 steps");
        let rows = (0_u32..).zip(&self.rows);
        let masked = rows.map(|(sequence, (ids, _))| {
            let draw = Draw { step, sequence };
            masking.mask(ids, seed, draw)
        });
        self.masked = masked.collect();
    }

    pub(super) fn examples(&self) -> Vec<Example<'_>> {
        let mut masked = self.masked.iter();
        let rows = self.rows.iter();
        rows.map(|(ids, types)| Example {
            masked: masked.next(),
            ..Example::new(ids, types)
        })
        .collect()
    }
}

/// The batches of a training, one ahead.
pub(super) struct Batches<'a> {
    phases: Vec<Phase<'a>>,
    seed: u64,
    /// Updates in all.
    steps: u64,
    /// The one that was read ahead, and the step it is for.
    ahead: Option<(u64, Batch)>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(phases: Vec<Phase<'a>>, seed: u64, steps: u64) -> Self {
        Self {
            phases,
            seed,
            steps,
            ahead: None,
        }
    }

    /// The phase of the update that follows `step` updates.
    pub(super) fn phase(&self, step: u64) -> &Phase<'a> {
        phase_of(&self.phases, step)
    }

    fn read(&self, step: u64) -> Batch {
        let phase = self.phase(step);
        let mut batch = Batch::read(phase.examples, phase.places(step));
        batch.mask(&phase.masking, self.seed, step);
        batch
    }

    /// Does the update that follows `step` updates with its batch, and reads the next one meanwhile.
    pub(super) fn train<R>(&mut self, step: u64, update: impl FnOnce(&Batch) -> R) -> R {
        let read_ahead = self.ahead.take().filter(|(of, _)| *of == step);
        let batch = read_ahead.map_or_else(|| self.read(step), |(_, batch)| batch);
        let next = step + 1;
        let this = &*self;
        let (done, ahead) = std::thread::scope(|scope| {
            let reader = (next < this.steps).then(|| scope.spawn(move || this.read(next)));
            let done = update(&batch);
            let ahead = reader.map(|reader| match reader.join() {
                Ok(ahead) => (next, ahead),
                Err(panic) => std::panic::resume_unwind(panic),
            });
            (done, ahead)
        });
        self.ahead = ahead;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::packed::write::{Order, Writer};
    use data::vocabulary::Vocabulary;
    use engine::mask::Duplicates;

    fn examples(folder: &std::path::Path, count: u32) -> PackedExamples {
        let entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
        let words = (0..200).map(|i| format!("word{i}"));
        let entries: Vec<String> = entries.into_iter().chain(words).collect();
        let vocabulary = Vocabulary::new(entries, "vocab.txt").expect("a vocabulary");
        let work = folder.join("work");
        let mut writer = Writer::new(&vocabulary, 16, 1, Order::AsBuilt, &work).expect("a folder");
        for i in 0..count {
            let ids: Vec<u32> = [2]
                .into_iter()
                .chain((0..12).map(|j| 5 + i + j))
                .chain([3])
                .collect();
            let example = data::packed::builder::Example {
                ids: &ids,
                segment_b: 9,
            };
            writer.add(example).expect("written");
        }
        let path = folder.join("examples.packed");
        writer.finish(&path, &mut |_| {}).expect("written");
        PackedExamples::open(&path).expect("sound")
    }

    /// Over the end of the file, from one phase to the next, and where training begins anew at another step.
    #[test]
    fn what_is_read_ahead_is_what_the_step_would_draw() {
        let folder = tempfile::tempdir().expect("a folder");
        let examples = examples(folder.path(), 10);
        let masking = |share| Masking::new(share, 14, Duplicates::None, vec![2, 3]);
        let phase = |first_step, batch, share| Phase {
            examples: &examples,
            first_step,
            batch,
            held_out: 3,
            longest: 16,
            masking: masking(share),
        };
        let phases = || vec![phase(0, 4, 0.15), phase(3, 2, 0.3)];
        let mut batches = Batches::new(phases(), 7, 6);
        let mut seen = Vec::new();
        for step in [0, 1, 2, 3, 4, 5, 1, 2] {
            let (places, masked) = batches.train(step, |batch| {
                let share = if step < 3 { 0.15 } else { 0.3 };
                for (sequence, example) in (0..).zip(batch.examples()) {
                    let draw = Draw {
                        step: step as u32,
                        sequence,
                    };
                    let drawn = masking(share).mask(example.ids, 7, draw);
                    assert_eq!(example.masked, Some(&drawn), "step {step}");
                    assert_eq!(
                        (example.ids[0], example.types[8], example.types[9]),
                        (2, 0, 1)
                    );
                }
                (batch.places.clone(), batch.masked.clone())
            });
            assert_eq!(places.len(), masked.len());
            seen.push(places);
            let ahead = batches.ahead.as_ref().map(|(step, _)| *step);
            assert_eq!(ahead, (step < 5).then_some(step + 1));
        }
        let four = [[0, 1, 2, 3], [4, 5, 6, 0], [1, 2, 3, 4]];
        assert_eq!(seen[..3], four);
        assert_eq!(seen[3..6], [[0, 1], [2, 3], [4, 5]]);
        assert_eq!(seen[6..], four[1..]);
        let held_out = phases()[0].held_out();
        assert_eq!(held_out.places, [7, 8, 9]);
        assert!(
            held_out
                .examples()
                .iter()
                .all(|example| example.masked.is_none())
        );
    }
}
