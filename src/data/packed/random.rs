//! Philox4x32-10 (Salmon et al., SC 2011): random words as a function of a key and a counter. Knows nothing of examples.

/// What a stream of random words is for, so that no two uses share words (DESIGN section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stream {
    /// Draws of the example builder: counter = (draw, example, sequence length).
    Build = 0x7061_636b,
    /// Order of the examples: counter = (0, example, sequence length).
    Shuffle = 0x7368_7566,
}

/// Four words for a counter under a key.
pub(crate) fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let product = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let ([mut k0, mut k1], [mut a, mut b, mut c, mut d]) = (key, counter);
    for _ in 0..10 {
        let (high0, low0) = product(MULTIPLIERS[0], a);
        let (high1, low1) = product(MULTIPLIERS[1], c);
        [a, b, c, d] = [high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0];
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [a, b, c, d]
}

/// 128 bits for an example: `draw` counts inside it. The seed's upper half is mixed into the stream.
pub(crate) fn words(seed: u64, stream: Stream, draw: u32, example: u64, length: u32) -> [u32; 4] {
    let key = [seed as u32, (seed >> 32) as u32 ^ stream as u32];
    philox(key, [draw, example as u32, (example >> 32) as u32, length])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' library, Random123.
    #[test]
    fn the_generator_gives_the_known_answers() {
        assert_eq!(
            philox([0; 2], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
