//! Counter-based randomness: Philox4x32-10. Knows nothing of what is drawn.
//!
//! Every number is a function of the seed, its purpose, the step, the sequence's index in the global batch and an
//! index inside that sequence, so that batches may be split, resumed and moved to another device without another draw.
//!
//! Elements of a row are numbered so that vectors of 16 lanes write them in order. With 16-bit draws (dropout) a block
//! is 128 elements: element `e` takes half `(e / 16) % 2` of word `e / 32` of the counter `16 * block + e % 16`. With
//! 32-bit draws (Gumbel noise) a block is 64 elements: element `e` takes word `e / 16` of the counter
//! `16 * block + e % 16`.

/// Elements that share a block of 16 counters when each takes 16 bits.
pub const HALVES_PER_BLOCK: usize = 128;
/// Elements that share a block of 16 counters when each takes 32 bits.
pub const WORDS_PER_BLOCK: usize = 64;

/// What numbers are for. Each purpose has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Which positions are masked.
    Mask,
    /// Which masked positions keep their token.
    Keep,
    /// Noise that samples a replacement.
    Gumbel,
    /// First values of a parameter, by its index in the model.
    Init(u32),
    /// The order of examples in an epoch.
    Shuffle,
    /// Dropout at a place of the model.
    Dropout(Site),
}

/// A place where units are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Which network.
    pub network: Network,
    /// Encoder layer; embeddings and heads have their own numbers.
    pub layer: u16,
    /// Which of the layer's places.
    pub place: Place,
}

/// The two networks of replaced token detection; fine-tuning uses the discriminator alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Proposes replacements.
    Generator = 0,
    /// Tells replaced tokens from original ones.
    Discriminator = 1,
}

/// Where in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Output of the embeddings.
    Embeddings = 0,
    /// Attention probabilities.
    Attention = 1,
    /// Output of the attention block.
    AttentionOutput = 2,
    /// Output of the feed-forward block.
    FeedForward = 3,
    /// Input of a head.
    Head = 4,
    /// Hidden layer of a head.
    HeadHidden = 5,
}

impl Purpose {
    fn words(self) -> [u32; 4] {
        match self {
            Self::Mask => [1, 0, 0, 0],
            Self::Keep => [2, 0, 0, 0],
            Self::Gumbel => [3, 0, 0, 0],
            Self::Init(parameter) => [4, parameter, 0, 0],
            Self::Shuffle => [5, 0, 0, 0],
            Self::Dropout(site) => [
                6,
                site.network as u32,
                u32::from(site.layer),
                site.place as u32,
            ],
        }
    }
}

/// Numbers for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

/// Where in a stream a sequence's numbers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Optimizer step.
    pub step: u32,
    /// Index of the sequence in the global batch of that step.
    pub sequence: u32,
}

impl Stream {
    /// The stream of `seed` for `purpose`.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let [a, b, ..] = philox(purpose.words(), [low(seed), high(seed)]);
        Self { key: [a, b] }
    }

    /// What Philox is keyed with, for devices that draw by themselves.
    #[must_use]
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Four words by index inside a sequence.
    #[must_use]
    pub fn words(&self, draw: Draw, index: u64) -> [u32; 4] {
        philox(
            [low(index), high(index), draw.sequence, draw.step],
            self.key,
        )
    }

    /// Word `index` of a sequence where each index takes one word of its own: for scalar draws.
    #[must_use]
    pub fn word(&self, draw: Draw, index: u64) -> u32 {
        self.words(draw, index / 4)[(index % 4) as usize]
    }

    /// The words of the 16 counters of a block, by word and lane.
    #[inline(always)]
    #[must_use]
    pub fn block(&self, draw: Draw, block: u64) -> [[u32; 16]; 4] {
        let first = block * 16;
        // A block starts at a multiple of 16, so that adding a lane never carries.
        let mut c0 = [low(first); 16];
        for (lane, c) in c0.iter_mut().enumerate() {
            *c |= lane as u32;
        }
        let mut c1 = [high(first); 16];
        let mut c2 = [draw.sequence; 16];
        let mut c3 = [draw.step; 16];
        let [mut k0, mut k1] = self.key;
        for _ in 0..ROUNDS {
            for lane in 0..16 {
                let (h0, l0) = wide(M0, c0[lane]);
                let (h1, l1) = wide(M1, c2[lane]);
                let (n0, n2) = (h1 ^ c1[lane] ^ k0, h0 ^ c3[lane] ^ k1);
                c0[lane] = n0;
                c1[lane] = l1;
                c2[lane] = n2;
                c3[lane] = l0;
            }
            k0 = k0.wrapping_add(W0);
            k1 = k1.wrapping_add(W1);
        }
        [c0, c1, c2, c3]
    }
}

/// A number in `[0, 1)` with 24 random bits.
#[inline(always)]
#[must_use]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A number below `bound`, uniform up to 2⁻³².
#[must_use]
pub fn below(word: u32, bound: u32) -> u32 {
    high(u64::from(word) * u64::from(bound))
}

/// Dropout: units are kept with a probability that 16 bits can say, and scaled by its inverse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    threshold: u16,
}

impl Rate {
    /// The rate nearest to `probability` of being dropped, which must lie in `[0, 1)`.
    #[must_use]
    pub fn new(probability: f32) -> Self {
        debug_assert!((0.0..1.0).contains(&probability));
        let threshold = (probability * 65_536.0).round().min(65_535.0);
        Self {
            threshold: threshold as u16,
        }
    }

    /// Whether nothing is dropped.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.threshold == 0
    }

    /// Draws of 16 bits below it are dropped.
    #[must_use]
    pub fn threshold(self) -> u32 {
        u32::from(self.threshold)
    }

    /// What kept units are multiplied with.
    #[must_use]
    pub fn scale(self) -> f32 {
        65_536.0 / (65_536.0 - f32::from(self.threshold))
    }

    /// Factors (0 or [`scale`](Self::scale)) of the elements of a row that begins at a block.
    #[inline(always)]
    pub fn factors(self, stream: Stream, draw: Draw, first_block: u64, out: &mut [f32]) {
        let (threshold, scale) = (u32::from(self.threshold), self.scale());
        for (block, out) in (first_block..).zip(out.chunks_mut(HALVES_PER_BLOCK)) {
            let words = stream.block(draw, block);
            let mut row = [0.0_f32; HALVES_PER_BLOCK];
            for (word, words) in words.iter().enumerate() {
                for lane in 0..16 {
                    let (low, high) = (words[lane] & 0xffff, words[lane] >> 16);
                    row[32 * word + lane] = if low < threshold { 0.0 } else { scale };
                    row[32 * word + 16 + lane] = if high < threshold { 0.0 } else { scale };
                }
            }
            out.copy_from_slice(&row[..out.len()]);
        }
    }
}

const ROUNDS: usize = 10;
// Multipliers and key increments of Philox4x32, Salmon et al. 2011, table 2 and section 4.
const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

#[inline(always)]
fn wide(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    (high(product), low(product))
}

#[inline(always)]
fn low(x: u64) -> u32 {
    x as u32
}

#[inline(always)]
fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

fn philox(mut c: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let (h0, l0) = wide(M0, c[0]);
        let (h1, l1) = wide(M1, c[2]);
        c = [h1 ^ c[1] ^ key[0], l1, h0 ^ c[3] ^ key[1], l0];
        key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with the authors' Random123 library.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn blocks_are_the_counters_one_by_one() {
        let stream = Stream::new(7, Purpose::Gumbel);
        let draw = Draw {
            step: 3,
            sequence: 9,
        };
        for block in [0, 1, 5, (1 << 28) - 1, 1 << 28, 1 << 40] {
            let words = stream.block(draw, block);
            for lane in 0..16 {
                let one = stream.words(draw, block * 16 + lane as u64);
                assert_eq!(one, [0, 1, 2, 3].map(|word| words[word][lane]));
            }
        }
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        let site = Site {
            network: Network::Discriminator,
            layer: 2,
            place: Place::FeedForward,
        };
        let stream = Stream::new(1, Purpose::Dropout(site));
        let rate = Rate::new(0.1);
        let mut factors = vec![0.0; 1_000_003];
        let draw = Draw {
            step: 0,
            sequence: 0,
        };
        rate.factors(stream, draw, 0, &mut factors);
        let dropped = factors.iter().filter(|f| **f == 0.0).count();
        // Four standard deviations of a binomial with n = 1e6, p = 0.1.
        assert!(dropped.abs_diff(100_000) < 1_200, "{dropped}");
        assert!((rate.scale() - 1.0 / 0.9).abs() < 1e-5);
        let mut part = vec![0.0; 300];
        rate.factors(stream, draw, 2, &mut part);
        assert_eq!(part[..], factors[256..556]);
    }

    #[test]
    fn purposes_do_not_share_numbers() {
        let draw = Draw {
            step: 0,
            sequence: 0,
        };
        let of = |purpose| Stream::new(1, purpose).words(draw, 0);
        assert_ne!(of(Purpose::Mask), of(Purpose::Keep));
        assert_ne!(of(Purpose::Init(0)), of(Purpose::Init(1)));
        assert_ne!(
            Stream::new(1, Purpose::Mask).words(draw, 0),
            Stream::new(1 << 32, Purpose::Mask).words(draw, 0)
        );
    }
}
