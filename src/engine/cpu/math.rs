//! Elementary functions that compilers turn into vector code, and the switch that picks the widest vectors. No tables,
//! no branches. Errors are those against f64, measured by the tests below.

use pulp::Arch;

/// Runs a closure compiled for the widest vectors of this processor; use it through [`vectors!`](crate::cpu::vectors).
#[inline]
pub(crate) fn dispatch<R>(kernel: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(kernel)
}

/// The vectors that [`dispatch`] takes on this processor.
pub(crate) fn vector_set() -> &'static str {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "AVX2",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "NEON",
        _ => "what every processor of its kind has",
    }
}

/// An expression compiled for the widest vectors of this processor. The closure must be inlined where the wide
/// instructions are allowed, and so must all that it calls: mark those `#[inline(always)]`, or each fused
/// multiplication becomes a call of the C library.
macro_rules! vectors {
    ($work:expr) => {
        $crate::cpu::math::dispatch(
            #[inline(always)]
            || $work,
        )
    };
}
pub(crate) use vectors;

/// `e^x`, relative error below 2e-7; 0 below -87.3, and the largest of its kind above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few bits, so that its multiples are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let inside = x.clamp(-87.3, 88.0);
    // Adding and taking away 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = inside.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, inside));
    // Least squares of the relative error at 600 Chebyshev nodes.
    let p = 0.001_375_140_7_f32;
    let p = p.mul_add(r, 0.008_368_916);
    let p = p.mul_add(r, 0.041_669_533);
    let p = p.mul_add(r, 0.166_665_18);
    let p = p.mul_add(r, 0.499_999_88);
    let value = p.mul_add(r * r, r) + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32).wrapping_add(127);
    let value = value * f32::from_bits((exponent as u32) << 23);
    if x < -87.3 { 0.0 } else { value }
}

/// `ln x` for positive normal `x`, error below 2e-7 of the larger of 1 and the result.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // The exponent is taken so that the mantissa lies in [sqrt(1/2), sqrt(2)).
    let shifted = bits.wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let exponent = ((shifted >> 23) as i32).wrapping_sub(127) as f32;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let f = mantissa - 1.0;
    let p = 0.066_752_72_f32;
    let p = p.mul_add(f, -0.116_464_35);
    let p = p.mul_add(f, 0.119_047_12);
    let p = p.mul_add(f, -0.124_112_69);
    let p = p.mul_add(f, 0.142_178_91);
    let p = p.mul_add(f, -0.166_676_43);
    let p = p.mul_add(f, 0.200_022_04);
    let p = p.mul_add(f, -0.250_000_15);
    let p = p.mul_add(f, 0.333_333_1);
    let square = f * f;
    let low = p.mul_add(square * f, exponent * -2.121_944_4e-4);
    let low = square.mul_add(-0.5, low);
    exponent.mul_add(0.693_359_4, f + low)
}

/// Distribution and density of the standard normal at `x`: `(Φ(x), φ(x))`, absolute error below 2e-7.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let size = x.abs();
    let bell = exp(-0.5 * size * size);
    let t = 1.0 / 0.4_f32.mul_add(size, 1.0);
    // The tail over the bell, a polynomial in t = 1 / (1 + 0.4 |x|): least squares of the relative error on 0..13.
    let p = -0.040_170_833_f32;
    let p = p.mul_add(t, 0.203_093_71);
    let p = p.mul_add(t, -0.378_273_07);
    let p = p.mul_add(t, 0.255_604_2);
    let p = p.mul_add(t, -0.015_175_117);
    let p = p.mul_add(t, 0.159_439_98);
    let p = p.mul_add(t, 0.155_563_97);
    let p = p.mul_add(t, 0.159_930_38);
    let p = p.mul_add(t, -1.326_198e-5);
    let tail = bell * p;
    let below = if x > 0.0 { 1.0 - tail } else { tail };
    (below, bell * 0.398_942_3)
}

/// `x Φ(x)`, the exact GELU (not the tanh form). Spec C.1.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// The GELU and its derivative `Φ(x) + x φ(x)`.
#[inline(always)]
pub(crate) fn gelu_and_slope(x: f32) -> (f32, f32) {
    let (below, density) = normal(x);
    (x * below, x.mul_add(density, below))
}

/// Running sums of a row, added at its end by [`tree`]: an order that does not depend on the width of vectors.
pub(crate) const LANES: usize = 16;

#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = if *value > *lane { *value } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f64, to: f64) -> impl Iterator<Item = f32> {
        (0..=200_000).map(move |i| (from + (to - from) * f64::from(i) / 200_000.0) as f32)
    }

    #[test]
    fn exponentials() {
        let mut worst = 0.0_f64;
        for x in grid(-87.0, 88.0).chain(grid(-2.0, 2.0)) {
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / truth - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn logarithms() {
        let mut worst = 0.0_f64;
        for x in grid(1e-9, 4.0).chain(grid(0.9, 1.1)).chain(grid(1.0, 1e9)) {
            let truth = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - truth).abs() / truth.abs().max(1.0));
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn gelus_are_those_of_the_error_function() {
        let (mut worst, mut worst_slope) = (0.0_f64, 0.0_f64);
        for x in grid(-6.0, 6.0) {
            let (value, slope) = gelu_and_slope(x);
            let x = f64::from(x);
            let below = crate::check::ops::linear::below(x);
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            worst = worst.max((f64::from(value) - x * below).abs() / x.abs().max(1.0));
            worst_slope = worst_slope.max((f64::from(slope) - below - x * density).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
        assert!(worst_slope < 4e-7, "{worst_slope:e}");
        // The tanh form differs by up to 4.7e-4: it may not slip in.
        let tanh_form = |x: f64| {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        };
        let apart = grid(-4.0, 4.0)
            .map(|x| (f64::from(gelu(x)) - tanh_form(f64::from(x))).abs())
            .fold(0.0, f64::max);
        assert!((4e-4..6e-4).contains(&apart), "{apart:e}");
        assert_eq!(gelu(-40.0), 0.0);
        assert_eq!(gelu(40.0), 40.0);
    }
}
