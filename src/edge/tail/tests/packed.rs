//! Compressed rotations: read once, whoever was up or down when they were made.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

pub(super) fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes.as_ref(), level)
}

fn lines(count: usize) -> String {
    let lines: Vec<_> = (0..count).map(|index| format!("line {index}\n")).collect();
    lines.concat()
}

impl Desk {
    /// As `gzip FILE` does.
    pub(super) fn compress(&self, name: &str, pack: Pack, to: &str) {
        let bytes = fs::read(self.path(name)).unwrap();
        fs::write(self.path(to), pack(bytes)).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }
}

type Pack = fn(Vec<u8>) -> Vec<u8>;

const PACKINGS: [(Pack, &str); 2] = [(gzip, "gz"), (zstd, "zst")];

#[test]
fn a_read_file_that_is_compressed_is_not_read_again() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["a.log*"]);
        let packed = format!("a.log.1.{extension}");
        desk.write("a.log", "one\ntwo\n");
        desk.poll();
        desk.rename("a.log", "a.log.1");
        desk.write("a.log", "three\n");
        desk.poll();
        desk.compress("a.log.1", pack, &packed);
        desk.polls(5);
        desk.restart();
        desk.polls(5);
        desk.rename(&packed, &packed.replace('1', "2"));
        desk.polls(5);
        desk.restart();
        desk.polls(30);
        assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:three"]);
        desk.polls(GONE_SCANS);
        assert_eq!(desk.heads.len(), 2);
    }
}

#[test]
fn a_file_compressed_while_the_agent_was_down_goes_on_where_it_was_read_to() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["a.log*"]);
        desk.write("a.log", "one\n");
        desk.poll();
        desk.restart();
        desk.write("a.log", "two\nlast");
        desk.compress("a.log", pack, &format!("a.log.1.{extension}"));
        desk.write("a.log", "three\n");
        desk.polls(3);
        let mut news = desk.news();
        news.sort();
        let packed = |record: &str| format!("a.log.1.{extension}:{record}");
        let (last, two) = (packed("last"), packed("two"));
        assert_eq!(news, [&last, &two, "a.log:one", "a.log:three"]);
        desk.restart();
        desk.polls(30);
        assert_eq!(desk.news(), NOTHING);
    }
}

/// And the globs do not lead to the compressed file.
#[test]
fn a_file_compressed_out_of_the_globs_while_the_agent_was_down_loses_nothing() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["*.jsonl"]);
        desk.write("a.jsonl", "one\n");
        desk.poll();
        desk.restart();
        desk.write("a.jsonl", "two\n");
        fs::create_dir(desk.path("old")).unwrap();
        let packed = format!("old/a-20261124.jsonl.{extension}");
        desk.compress("a.jsonl", pack, &packed);
        // Another model's: it is none of ours.
        desk.write(&format!("old/ab.{extension}"), pack(b"other\n".to_vec()));
        desk.write("a.jsonl", "three\n");
        desk.polls(4);
        let mut news = desk.news();
        news.sort();
        let two = format!("a-20261124.jsonl.{extension}:two");
        assert_eq!(news, [&two, "a.jsonl:one", "a.jsonl:three"]);
        desk.polls(30);
        desk.restart();
        desk.polls(30);
        assert_eq!(desk.news(), NOTHING);
    }
}

#[test]
fn an_unknown_compressed_file_is_read_whole_and_resumed() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["*"]);
        let name = format!("old.{extension}");
        let lines = lines(400_000);
        let mut packed = pack(lines.clone().into_bytes());
        packed.extend(pack(b"second member\n".to_vec()));
        desk.write(&name, packed);
        let mut tailer = desk.start();
        // Stopped in the midst: whatever was handed over by then is not handed over again.
        let mut intakes = Vec::new();
        tailer.scan(0, desk.now, &mut intakes);
        tailer.scan(0, desk.now, &mut intakes);
        while intakes.is_empty() {
            assert!(tailer.read_some(desk.now, &mut intakes));
        }
        for intake in intakes {
            desk.take(intake);
        }
        let before = desk.records.len();
        assert!(before > 0 && before < 400_000, "{before}");
        desk.polls(4);
        let news: String = desk
            .records
            .iter()
            .map(|(_, record)| String::from_utf8_lossy(record).into_owned() + "\n")
            .collect();
        assert!(news == lines + "second member\n");
        assert_eq!((desk.restarts, desk.heads.len()), (1, 1));
    }
}

#[test]
fn a_file_that_is_still_being_compressed_is_waited_for() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["a*"]);
        let name = format!("a.{extension}");
        let lines = lines(2_000);
        let packed = pack(lines.into_bytes());
        for part in packed.chunks(packed.len() / 20 + 1) {
            desk.write(&name, part);
            desk.polls(3);
        }
        desk.polls(QUIET_SCANS_RENAMED * 3);
        assert_eq!((desk.news().len(), desk.faults.len()), (2_000, 0));
    }
}

#[test]
fn a_corrupt_file_keeps_its_good_records_and_is_one_dead_letter_with_its_offset() {
    for (pack, extension) in PACKINGS {
        let mut desk = Desk::new(&["a*"]);
        desk.settings[0]
            .paths
            .push(format!("{}/b*", desk.folder.path().display()));
        let mut packed = pack(b"one\ntwo\n".to_vec());
        packed.extend(b"no second member");
        desk.write(&format!("a.{extension}"), packed);
        desk.write(&format!("b.{extension}"), "not compressed at all\n");
        desk.polls(QUIET_SCANS_RENAMED * 4);
        let a = format!("a.{extension}");
        assert_eq!(desk.news(), [format!("{a}:one"), format!("{a}:two")]);
        desk.faults.sort_by(|a, b| a.0.cmp(&b.0));
        let faults: Vec<_> = desk
            .faults
            .iter()
            .map(|(name, fault)| (name.as_str(), fault.offset))
            .collect();
        assert_eq!(faults, [(a.as_str(), 8), (&format!("b.{extension}"), 0)]);
        let reason = &desk.faults[0].1.reason;
        assert!(
            reason.starts_with("compressed file cannot be unpacked from here on: "),
            "{reason}"
        );
        desk.restart();
        desk.polls(QUIET_SCANS_RENAMED * 4);
        assert_eq!(
            (desk.news().len(), desk.faults.len()),
            (0, 2),
            "known after a restart"
        );
    }
}

#[test]
fn a_bomb_costs_time_only() {
    let mut desk = Desk::new(&["a*"]);
    desk.settings[0].record_bytes_max = 1 << 20;
    let mut zeros = gzip(vec![0; 64 << 20]);
    zeros.extend(gzip("\nlast\n"));
    desk.write("a.gz", zeros);
    let mut tailer = desk.start();
    let mut intakes = Vec::new();
    for _ in 0..3 {
        tailer.scan(0, desk.now, &mut intakes);
        while tailer.read_some(desk.now, &mut intakes) {
            assert!(tailer.held_bytes() <= 2 << 20);
        }
    }
    for intake in intakes {
        desk.take(intake);
    }
    assert_eq!(desk.news(), ["a.gz:last"]);
    assert_eq!(desk.faults[0].1.length, 64 << 20);
}

#[test]
fn once_reads_compressed_files_too_and_waits_for_none_for_ever() {
    let mut desk = Desk::new(&["*"]);
    desk.write("a.log", "three\n");
    desk.write("a.log.1.gz", gzip("two\n"));
    desk.write("a.log.2.zst", zstd("one\n"));
    let half = gzip("half\n");
    desk.write("half.gz", &half[..half.len() - 1]);
    let mut live = live::start(&desk, Mode::Once, 8);
    live.take_until(&mut desk, 4);
    live.take_rest(&mut desk);
    let mut news = desk.news();
    news.sort();
    assert_eq!(
        news,
        [
            "a.log.1.gz:two",
            "a.log.2.zst:one",
            "a.log:three",
            "half.gz:half"
        ]
    );
    assert_eq!(desk.faults.len(), 1);
}
