//! What training takes of memory, told before its first step and held against what there is. Knows no model.

use engine::arena::{Footprint, MOST_TOKENS};
use flow::amounts::bytes;
use flow::event::Progress;
use flow::kind::{OUT_OF_MEMORY, StageContext, StageError};
use flow::store::record::total_memory_bytes;

/// Most tokens a processor takes at once, where the pipeline does not say.
const USUAL_TOKENS: usize = 4_096;
/// Most tokens a GPU takes at once: a batch of the paper's second phase, 256 sequences of 512.
const MOST_ON_GPU: usize = 131_072;
/// Bytes that a process takes of a GPU beside what it plans: the driver's context, kernels, graphs of steps.
const BESIDE_ON_GPU: u64 = (1 << 30) + LOADED_LATER;
/// Those of them that come after the plan is made: kernels that are loaded when they are first used, graphs of steps.
pub(in crate::kinds) const LOADED_LATER: u64 = 512 << 20;

/// What trains, as far as memory goes.
#[derive(Clone, Debug)]
pub(in crate::kinds) struct Room {
    /// `this machine`, or the GPU's name.
    pub(in crate::kinds) who: String,
    /// Bytes it has for training; 0 where that is not known.
    pub(in crate::kinds) available: u64,
    /// Bytes it has at all, where it takes as many tokens as fit; its share of a copy lies elsewhere then.
    pub(in crate::kinds) fills: Option<u64>,
}

impl Room {
    /// The processor's.
    pub(in crate::kinds) fn of_machine() -> Self {
        Self {
            who: "this machine".to_owned(),
            available: total_memory_bytes(),
            fills: None,
        }
    }

    /// What each of several processes has of it.
    pub(in crate::kinds) fn shared_by(mut self, processes: usize) -> Self {
        self.available /= processes as u64;
        self
    }

    /// Bytes that a plan takes of it: copies for checkpoints lie in the machine's memory.
    fn needs(&self, plan: &Footprint) -> u64 {
        match self.fills {
            None => plan.total(),
            Some(_) => plan.total() - plan.copy,
        }
    }

    /// Whether training by a plan has room here, as far as that is known, and is counted here.
    fn holds(&self, plan: &Footprint) -> bool {
        let has_room = self.available == 0 || self.needs(plan) <= self.available;
        has_room && plan.too_long().is_none()
    }

    /// Tokens it takes at once of batches of so many, where the pipeline does not say. What decides is the memory of a
    /// device, never how much of it is free at the moment, since the number shows in the last bits.
    fn usual(&self, extent: Extent, footprint: &dyn Fn(usize) -> Footprint) -> usize {
        extent.bounded(self.usual_of_any(footprint))
    }

    fn usual_of_any(&self, footprint: &dyn Fn(usize) -> Footprint) -> usize {
        let Some(bytes) = self.fills else {
            return USUAL_TOKENS;
        };
        let fits = |tokens: usize| {
            let plan = footprint(tokens);
            self.needs(&plan) <= bytes / 10 * 9 && plan.too_long().is_none()
        };
        let halves = std::iter::successors(Some(MOST_ON_GPU), |tokens| Some(tokens / 2));
        let mut halves = halves.take_while(|tokens| *tokens > USUAL_TOKENS);
        let found = halves.find(|tokens| fits(*tokens));
        found.unwrap_or(USUAL_TOKENS)
    }
}

/// What is computed on together.
#[derive(Clone, Copy, Debug)]
pub(in crate::kinds) struct Extent {
    /// How many at most: those of a batch.
    pub(in crate::kinds) most: usize,
    /// Tokens of the longest.
    pub(in crate::kinds) longest: usize,
}

impl Extent {
    /// So many tokens, as far as there are as many; at least one row's.
    fn bounded(self, tokens: usize) -> usize {
        let all = self.most.saturating_mul(self.longest);
        tokens.min(all).max(self.longest)
    }

    /// Bytes that training on these rows takes of a GPU that it does not fill: its plan, and what comes beside it.
    pub(in crate::kinds) fn bytes_on_gpu(
        self,
        micro_batch: Option<u32>,
        footprint: &dyn Fn(usize) -> Footprint,
    ) -> u64 {
        let tokens = match micro_batch {
            Some(sequences) => (sequences as usize).saturating_mul(self.longest),
            None => self.bounded(MOST_ON_GPU),
        };
        let plan = footprint(tokens.min(MOST_TOKENS));
        plan.total() - plan.copy + BESIDE_ON_GPU
    }
}

/// Tokens of a micro-batch: `resources.micro_batch` of the longest rows, or the usual number. Says what that
/// takes; `footprint` counts it for so many tokens.
///
/// # Errors
/// When it is more than there is, with a micro-batch that fits.
pub(in crate::kinds) fn micro_tokens(
    stage: &StageContext,
    extent: Extent,
    room: &Room,
    footprint: &dyn Fn(usize) -> Footprint,
) -> Result<usize, StageError> {
    let tokens = match stage.micro_batch {
        Some(sequences) => (sequences as usize).saturating_mul(extent.longest),
        None => room.usual(extent, footprint),
    };
    let plan = fitting(tokens, extent.longest, room, footprint)?;
    let text = format!(
        "plans {}: {}; micro-batch {tokens} tokens",
        bytes(plan.total()),
        parts(&plan)
    );
    (stage.say)(&text);
    stage.progress(&Progress {
        unit: "steps".to_owned(),
        text,
        ..Progress::default()
    });
    Ok(tokens)
}

fn parts(plan: &Footprint) -> String {
    format!(
        "weights {}, gradients and moments {}, activations {}, copy for checkpoints {}",
        bytes(plan.weights),
        bytes(plan.states),
        bytes(plan.activations),
        bytes(plan.copy)
    )
}

/// What so many tokens take, if it is at most what there is.
fn fitting(
    tokens: usize,
    longest: usize,
    room: &Room,
    footprint: &dyn Fn(usize) -> Footprint,
) -> Result<Footprint, StageError> {
    let plan = footprint(tokens.min(MOST_TOKENS));
    let fits = |sequences: usize| room.holds(&footprint(sequences * longest));
    if tokens <= MOST_TOKENS && room.holds(&plan) {
        return Ok(plan);
    }
    let (needed, available) = (room.needs(&plan), room.available);
    let why = match plan.too_long() {
        _ if available > 0 && needed > available => {
            format!("it needs {}, there are {}", bytes(needed), bytes(available))
        }
        Some(most) => format!(
            "a buffer of it has {} numbers, and {most} are the most",
            plan.longest
        ),
        None => format!("{MOST_TOKENS} tokens at once are the most"),
    };
    let error = StageError::new(
        OUT_OF_MEMORY,
        format!("{} cannot hold the training: {why}", room.who),
    )
    .detail(format!("{}; micro-batch {tokens} tokens", parts(&plan)))
    .environment();
    if !fits(1) {
        let help = "take a smaller `size` or shorter examples, or a larger machine";
        return Err(error.help(help));
    }
    // The largest number of sequences that fits: `least` does, `most` does not.
    let (mut least, mut most) = (1, tokens.min(MOST_TOKENS).div_ceil(longest).max(2));
    while most - least > 1 {
        let middle = least.midpoint(most);
        match fits(middle) {
            true => least = middle,
            false => most = middle,
        }
    }
    let help = format!("`resources.micro_batch: {least}` fits; same updates up to rounding");
    Err(error.help(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::arena::{Granularity, Plan};

    /// 1 MiB of weights, and 1 KiB of activations a token.
    fn footprint(tokens: usize) -> Footprint {
        let mut plan = Plan::default();
        plan.real(tokens << 8);
        Footprint::new(&plan, 1 << 18)
    }

    fn room(available: u64) -> Room {
        Room {
            available,
            ..Room::of_machine()
        }
    }

    #[test]
    fn a_gpu_takes_as_many_tokens_as_it_has_memory_for() {
        let gpu = |bytes: u64, free: u64| Room {
            who: "a GPU".to_owned(),
            available: free,
            fills: Some(bytes),
        };
        let extent = |most: usize, longest: usize| Extent { most, longest };
        let many = extent(1 << 20, 128);
        let usual = |bytes| gpu(bytes, 0).usual(many, &footprint);
        assert_eq!(usual(1 << 40), 131_072);
        // 128 MiB of activations beside 4 MiB of the rest, in nine tenths.
        assert_eq!([usual(147 << 20), usual(146 << 20)], [131_072, 65_536]);
        assert_eq!(usual(1 << 20), 4_096);
        let long = extent(1 << 20, 5_000);
        assert_eq!(gpu(1 << 20, 0).usual(long, &footprint), 5_000);
        assert_eq!(room(0).usual(many, &footprint), 4_096);
        // No more than a batch has.
        assert_eq!(gpu(1 << 40, 0).usual(extent(48, 128), &footprint), 6_144);
        assert_eq!(room(0).usual(extent(16, 128), &footprint), 2_048);
        // 4 MiB of weights, gradients and moments, 6 MiB of activations, and what comes beside a plan.
        let planned = |micro_batch| extent(48, 128).bytes_on_gpu(micro_batch, &footprint);
        assert_eq!(planned(None) - BESIDE_ON_GPU, 10 << 20);
        assert_eq!(planned(Some(8)) - BESIDE_ON_GPU, 5 << 20);
        // What is planned before is what is taken then.
        for extent in [
            extent(1, 8),
            extent(48, 128),
            extent(16, 512),
            extent(4_000, 512),
        ] {
            let large = gpu(1 << 40, 1 << 40);
            let taken = large.needs(&footprint(large.usual(extent, &footprint)));
            assert_eq!(extent.bytes_on_gpu(None, &footprint), taken + BESIDE_ON_GPU);
        }
        // The copy of 3 MiB lies elsewhere.
        assert!(fitting(4_096, 128, &gpu(1 << 30, 8 << 20), &footprint).is_ok());
        let error = fitting(4_096, 128, &gpu(1 << 30, 7 << 20), &footprint).expect_err("too much");
        let text = &error.diagnostic.message;
        assert_eq!(
            text,
            "a GPU cannot hold the training: it needs 8 MiB, there are 7 MiB"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        let fits = fitting(4_096, 128, &room(11 << 20), &footprint).expect("4 MiB beside 7");
        assert_eq!(fits.total(), 11 << 20);
        assert!(fitting(1 << 20, 128, &room(0), &footprint).is_ok());
        let error = fitting(4_097, 128, &room(11 << 20), &footprint).expect_err("too much");
        let help = error.diagnostic.help.as_deref().unwrap_or_default();
        assert!(
            help.starts_with("`resources.micro_batch: 32` fits"),
            "{help}"
        );
        let text = &error.diagnostic.message;
        assert!(
            text.ends_with("it needs 11 MiB, there are 11 MiB"),
            "{text}"
        );
        let details = error.diagnostic.details.join("\n");
        assert!(details.contains("weights 1 MiB") && details.contains("4097 tokens"));
        let error = fitting(4_096, 128, &room(7 << 20), &footprint).expect_err("nothing fits");
        let help = error.diagnostic.help.unwrap_or_default();
        assert!(help.contains("smaller `size`"), "{help}");
        let error = fitting(usize::MAX, 128, &room(8 << 20), &footprint).expect_err("too much");
        let help = error.diagnostic.help.unwrap_or_default();
        assert!(
            help.starts_with("`resources.micro_batch: 8` fits"),
            "{help}"
        );
    }

    #[test]
    fn what_is_not_counted_is_refused_with_what_is() {
        // 512 numbers a token, on a device with memory enough, or of which nobody knows how much it has.
        let on_gpu = |tokens: usize| {
            let mut plan = Plan::new(Granularity::ACCELERATOR);
            plan.act(tokens << 9);
            Footprint::new(&plan, 1)
        };
        let refused = |tokens, available, footprint: &dyn Fn(usize) -> Footprint| {
            let error = fitting(tokens, 512, &room(available), footprint).expect_err("too much");
            (
                error.diagnostic.message,
                error.diagnostic.help.unwrap_or_default(),
            )
        };
        for available in [0, u64::MAX] {
            let most = (1 << 22) - 512;
            assert!(fitting(most, 512, &room(available), &on_gpu).is_ok());
            let (text, help) = refused(1 << 22, available, &on_gpu);
            let expected = "a buffer of it has 2147483648 numbers, and 2147483647 are the most";
            assert!(text.ends_with(expected), "{text}");
            assert!(
                help.starts_with("`resources.micro_batch: 8191` fits"),
                "{help}"
            );
            refused(usize::MAX, available, &on_gpu);
        }
        let (text, help) = refused(usize::MAX, 0, &footprint);
        assert!(
            text.ends_with("4294967296 tokens at once are the most"),
            "{text}"
        );
        assert!(
            help.starts_with("`resources.micro_batch: 8388607` fits"),
            "{help}"
        );
    }
}
