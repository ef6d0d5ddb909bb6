//! Any bytes as a file of `torch.save`, and any bytes as its pickle within a sound beginning of each layout: tensors whose
//! shapes are as large as their values, or an error. Touches no file.
#![no_main]

use engine::error::TorchError;
use engine::weights::torch::read;

/// The legacy layout up to the state dict: magic number, version, machine.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// An archive that holds `data.pkl` and one storage of 64 bytes, stored. Checksums are made right, so that the pickle
/// is reached.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let storage = [0x3f_u8; 64];
    let mut out = Vec::new();
    let mut central = Vec::new();
    for (name, bytes) in [("m/data.pkl", pickle), ("m/data/0", &storage[..])] {
        let at = out.len() as u32;
        let mut header = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        header.extend(crc(bytes).to_le_bytes());
        header.extend((bytes.len() as u32).to_le_bytes());
        header.extend((bytes.len() as u32).to_le_bytes());
        header.extend((name.len() as u16).to_le_bytes());
        header.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&header);
        out.extend(name.as_bytes());
        out.extend(bytes);
        central.extend(b"PK\x01\x02\x14\0");
        central.extend(&header);
        central.extend([0; 10]);
        central.extend(at.to_le_bytes());
        central.extend(name.as_bytes());
    }
    let at = out.len() as u32;
    out.extend(&central);
    out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    out.extend((central.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// The checksum of zip, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn check(file: &[u8]) {
    match read(file) {
        Ok(tensors) => {
            let total: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
            assert!(total <= 2 * file.len());
            for tensor in tensors.values() {
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len());
            }
        }
        Err(TorchError::Runs { name }) => assert!(!name.contains('\n')),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 3 {
        0 => check(rest),
        1 => check(&[LEGACY, rest].concat()),
        _ => check(&archive(rest)),
    }
});
