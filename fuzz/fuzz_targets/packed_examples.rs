//! Any bytes as a file of packed examples, with the checksum of its structure made right: an error, or examples that can
//! all be used. Touches no file.
#![no_main]

use data::packed::format::fuzz_seal;
use data::packed::read::PackedExamples;

/// Bytes aligned as a mapped file is.
struct Aligned(Vec<u64>, usize);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        // The words were filled from bytes in memory order, so they are given back in it.
        let (head, bytes, tail) = unsafe { self.0.align_to::<u8>() };
        assert!(head.is_empty() && tail.is_empty());
        &bytes[..self.1]
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.first().is_some_and(|first| first % 4 != 0) {
        fuzz_seal(&mut bytes);
    }
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_ne_bytes(whole);
    }
    if let Ok(examples) = PackedExamples::new(Aligned(words, bytes.len()), "fuzz") {
        for example in examples.iter() {
            assert!(example.segment_b as usize <= example.ids.len() && !example.ids.is_empty());
            assert_eq!(example.ids.iter().count(), example.ids.len());
        }
        let _ = examples.check_ids();
    }
});
