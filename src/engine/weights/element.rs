//! Numbers as files hold them, little-endian, and what they are in f32. Knows no files.

/// A type of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// All whole numbers in `bytes`, in f32: f64 is rounded, integers are exact up to 2²⁴.
    pub(super) fn values(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
        }
        match self {
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |b| half(u16::from_le_bytes(b))),
            Self::BF16 => each(bytes, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            }),
            Self::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Self::U8 => each(bytes, |[b]| f32::from(b)),
            Self::Bool => each(bytes, |[b]| f32::from(u8::from(b != 0))),
        }
    }
}

/// IEEE half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * mantissa * 2.0_f32.powi(-24),
        31 if mantissa == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + mantissa / 1024.0) * 2.0_f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65_504.0),
            (0x7c00, f32::INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn every_type_is_read_in_little_endian_order() {
        let cases: [(Element, &[u8], f32); 10] = [
            (Element::F64, &(-2.5_f64).to_le_bytes(), -2.5),
            (Element::F32, &0.1_f32.to_le_bytes(), 0.1),
            (Element::F16, &[0x00, 0xc0], -2.0),
            (Element::BF16, &[0x80, 0x3f], 1.0),
            (Element::I64, &(-3_i64).to_le_bytes(), -3.0),
            (Element::I32, &70_000_i32.to_le_bytes(), 70_000.0),
            (Element::I16, &(-258_i16).to_le_bytes(), -258.0),
            (Element::I8, &[0xff], -1.0),
            (Element::U8, &[0xff], 255.0),
            (Element::Bool, &[2], 1.0),
        ];
        for (element, bytes, value) in cases {
            assert_eq!(element.size(), bytes.len());
            assert_eq!(element.values(bytes), [value], "{element:?}");
        }
    }
}
