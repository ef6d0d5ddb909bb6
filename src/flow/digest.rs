//! Content digests: BLAKE3-256, one derivation context a use. Knows nothing of where the bytes come from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A BLAKE3-256 digest. Written as 64 hex digits, shown to people as 10 ([`Digest::short`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// What a digest is taken of; each use has its own BLAKE3 context so that equal bytes in two roles never collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The bytes of one file. Plain BLAKE3 (no context), so that `b3sum` prints the same digest.
    File,
    /// The sorted listing of a directory tree.
    Tree,
    /// The text of a manifest; the digest is the stage's key.
    Manifest,
    /// The texts and settings a cached plan was made from.
    Plan,
}

impl Use {
    /// A hasher for this use.
    #[must_use]
    pub fn hasher(self) -> blake3::Hasher {
        match self {
            Self::File => blake3::Hasher::new(),
            Self::Tree => blake3::Hasher::new_derive_key("pipeline 2026-11-21 tree listing v1"),
            Self::Manifest => blake3::Hasher::new_derive_key("pipeline 2026-11-21 manifest v1"),
            Self::Plan => blake3::Hasher::new_derive_key("pipeline 2026-11-21 plan v1"),
        }
    }

    /// The digest of `bytes` in this use.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        Digest::from(&hasher)
    }
}

impl Digest {
    /// No content has it; stands for one that is not there.
    pub const ZERO: Self = Self([0; 32]);

    /// The first 10 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

impl From<&blake3::Hasher> for Digest {
    fn from(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// A text that is not 64 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of 64 hex digits")]
pub struct ParseDigestError(pub String);

/// The value of each hex digit; 255 for every other byte.
const NIBBLES: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDigestError(text.chars().take(80).collect());
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(error());
        }
        let mut digest = [0_u8; 32];
        let mut wrong = 0;
        for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
            wrong |= high | low;
            *byte = (high << 4) | low;
        }
        // Hex digits give 0 to 15; anything else has set a higher bit.
        if wrong > 15 {
            Err(error())
        } else {
            Ok(Self(digest))
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_through_hex_and_matches_b3sum() {
        let digest = Use::File.digest(b"");
        assert_eq!(
            digest.to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(
            digest
                .to_string()
                .parse::<Digest>()
                .expect("own text parses"),
            digest
        );
        assert!("af13".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn uses_do_not_collide() {
        assert_ne!(Use::File.digest(b"x"), Use::Tree.digest(b"x"));
        assert_ne!(Use::Tree.digest(b"x"), Use::Manifest.digest(b"x"));
    }
}
