//! Streams of both kinds, whole, cut and damaged.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
    }
}

/// All that can be unpacked, and how that ended.
fn unpack(packing: Packing, packed: &[u8]) -> (Vec<u8>, Result<(), Broken>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(packed).unwrap();
    let mut unpacker = Unpacker::new(&file, packing).unwrap();
    let mut bytes = Vec::new();
    loop {
        match unpacker.read(&mut bytes, 1_000) {
            Ok(0) => {
                assert_eq!(unpacker.position(), bytes.len() as u64);
                assert!(bytes.starts_with(unpacker.beginning()));
                assert!(bytes.ends_with(unpacker.last()));
                return (bytes, Ok(()));
            }
            Ok(_) => {}
            Err(broken) => return (bytes, Err(broken)),
        }
    }
}

fn text(lines: usize) -> Vec<u8> {
    let line = |index: usize| format!("line {index} of {}\n", index * 7_919 % 1_000);
    (0..lines).map(line).collect::<String>().into_bytes()
}

const BOTH: [Packing; 2] = [Packing::Gzip, Packing::Zstd];

#[test]
fn members_and_frames_one_after_another_are_one_stream() {
    for packing in BOTH {
        let (first, second) = (text(10_000), text(3));
        let mut packed = pack(packing, &first);
        if packing == Packing::Zstd {
            // A skippable frame: magic, length, content.
            packed.extend_from_slice(b"\x53\x2A\x4D\x18\x04\0\0\0skip");
        }
        packed.extend_from_slice(&pack(packing, &second));
        let (bytes, end) = unpack(packing, &packed);
        assert!(end.is_ok(), "{packing:?}: {end:?}");
        assert!(bytes == [first, second].concat(), "{packing:?}");
    }
}

#[test]
fn a_stream_cut_anywhere_is_short_and_what_came_before_is_right() {
    for packing in BOTH {
        let whole = text(200);
        let packed = pack(packing, &whole);
        for length in 0..packed.len() {
            let (bytes, end) = unpack(packing, &packed[..length]);
            assert!(
                matches!(end, Err(Broken::Short)),
                "{packing:?} {length}: {end:?}"
            );
            assert!(whole.starts_with(&bytes), "{packing:?} {length}");
        }
    }
}

/// A flipped byte in a header may go unnoticed (the time in gzip's), but never gives other bytes without a complaint.
#[test]
fn a_damaged_stream_never_panics_and_never_passes_for_whole() {
    for packing in BOTH {
        let whole = text(200);
        let packed = pack(packing, &whole);
        for index in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[index] ^= 0x55;
            let (bytes, end) = unpack(packing, &damaged);
            assert!(bytes == whole || end.is_err(), "{packing:?} {index}");
        }
    }
}

#[test]
fn names_say_how_a_file_is_compressed() {
    let of = |name: &str| Packing::of(Path::new(name));
    assert_eq!(of("a.log.1.gz"), Some(Packing::Gzip));
    assert_eq!(of("a.log.ZST"), Some(Packing::Zstd));
    assert_eq!(of("gz"), None);
}
