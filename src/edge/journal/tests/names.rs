//! Segments that are missing, doubled, renamed, or of another version: nothing is taken for what it is not, and nothing deleted.

use std::fs;
use std::path::PathBuf;

use super::{append, block_on, drain, lines_of, settings};
use crate::edge::journal::{Error, Loss, Opened, Settings, open, segment};

/// A journal of three segments: 500 payload bytes each in the first two, the last being written.
fn three_segments() -> (tempfile::TempDir, Settings, Vec<(u64, PathBuf)>) {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(data.path(), 5_000);
    block_on(async {
        let Opened { journal, .. } = open(&settings, 0).unwrap();
        for _ in 0..5 {
            append(&journal, None, &line()).await.unwrap();
        }
        journal.close().await;
    });
    let segments = segment::list(&settings.folder()).unwrap();
    let bases: Vec<u64> = segments.iter().map(|(base, _)| *base).collect();
    assert_eq!(bases, [0, 500, 1_000]);
    (data, settings, segments)
}

fn line() -> String {
    "x".repeat(249) + "\n"
}

fn names(settings: &Settings) -> Vec<PathBuf> {
    let entries = fs::read_dir(settings.folder()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn a_missing_segment_is_a_loss_that_is_said_and_the_others_are_read() {
    for (missing, kept, losses) in [
        (0, vec![500, 1_000], vec![Loss::Gap { from: 0, to: 500 }]),
        (
            1,
            vec![0, 1_000],
            vec![Loss::Gap {
                from: 500,
                to: 1_000,
            }],
        ),
    ] {
        let (_data, settings, segments) = three_segments();
        fs::remove_file(&segments[missing].1).unwrap();
        let Opened {
            reader,
            losses: found,
            ..
        } = open(&settings, 0).unwrap();
        assert_eq!(found, losses);
        let read = block_on(drain(reader, 0)).unwrap();
        let mut expected = Vec::new();
        for base in kept {
            let lines = if base == 1_000 {
                line()
            } else {
                line() + &line()
            };
            expected.extend(lines_of(None, base, &lines));
        }
        assert_eq!(read, expected);
    }
}

/// With the checkpoint behind it, there is no need of it any more.
#[test]
fn a_missing_segment_that_a_checkpoint_covers_is_no_loss() {
    let (_data, settings, segments) = three_segments();
    fs::remove_file(&segments[0].1).unwrap();
    let Opened { losses, .. } = open(&settings, 500).unwrap();
    assert_eq!(losses, []);
}

#[test]
fn a_missing_end_below_the_checkpoint_is_a_loss_that_is_said() {
    let (_data, settings, segments) = three_segments();
    fs::remove_file(&segments[2].1).unwrap();
    let Opened {
        losses, journal, ..
    } = open(&settings, 1_250).unwrap();
    let (end, checkpointed) = (1_000, 1_250);
    assert_eq!(losses, [Loss::Behind { end, checkpointed }]);
    assert_eq!(journal.size().end(), 1_250);
}

/// A copy or a wrong name: the header says what it is. Not one file goes, though by the names some are passed.
#[test]
fn a_segment_by_another_name_is_damage_and_nothing_is_deleted() {
    for which in 0..3 {
        for (name, checkpointed) in [(100, 0), (600, 0), (600, 1_100), (9_000, 0)] {
            for is_copy in [false, true] {
                let (_data, settings, segments) = three_segments();
                let to = settings.folder().join(format!("{name:020}.journal"));
                if is_copy {
                    fs::copy(&segments[which].1, &to).unwrap();
                } else {
                    fs::rename(&segments[which].1, &to).unwrap();
                }
                let before = names(&settings);
                let error = open(&settings, checkpointed).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
                assert_eq!(names(&settings), before);
            }
        }
    }
}

#[test]
fn what_is_not_named_like_a_segment_is_left_alone() {
    let (_data, settings, segments) = three_segments();
    for name in [
        "0.journal",
        "x.journal",
        "00000000000000000500.journal.bak",
        "+0000000000000000500.journal",
    ] {
        fs::copy(&segments[1].1, settings.folder().join(name)).unwrap();
    }
    let before = names(&settings);
    let Opened { losses, reader, .. } = open(&settings, 0).unwrap();
    assert_eq!(losses, []);
    assert_eq!(block_on(drain(reader, 0)).unwrap().len(), 5);
    assert_eq!(names(&settings), before);
}

#[test]
fn a_newer_version_is_refused_wherever_it_stands_and_left_as_it_is() {
    for which in 0..3 {
        let (_data, settings, segments) = three_segments();
        let path = &segments[which].1;
        let mut bytes = fs::read(path).unwrap();
        bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..18]);
        bytes[18..22].copy_from_slice(&sum.to_le_bytes());
        bytes[22..].fill(b'?');
        fs::write(path, &bytes).unwrap();
        let error = open(&settings, 0).unwrap_err();
        assert!(
            matches!(&error, Error::Newer { path: named } if named == path),
            "{error}"
        );
        assert_eq!(fs::read(path).unwrap(), bytes);
    }
}

/// Any byte of a header, of any segment: never a first start, never a silent loss.
#[test]
fn every_byte_of_a_header_counts() {
    for which in 0..3 {
        for at in 0..22 {
            let (_data, settings, segments) = three_segments();
            let path = &segments[which].1;
            let mut bytes = fs::read(path).unwrap();
            bytes[at] ^= 1;
            fs::write(path, &bytes).unwrap();
            let error = open(&settings, 0).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}");
        }
    }
}
