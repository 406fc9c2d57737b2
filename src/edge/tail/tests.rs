//! Stories first, each driving the step-able [`Tailer`] without a thread or a pause; then [`run`] with the real watcher
//! (`live`); the file-action model is in `model`.

mod live;
mod model;
mod packed;
mod rotated;
mod status;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::heads::GONE_SCANS;
use super::tailer::{QUIET_SCANS_RENAMED, Tailer};
use super::*;
use crate::flow::event::{Batch, Fault, InputId, Timestamp};
use crate::flow::lines::{Framing, records};

const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A folder, and somebody who tails it and remembers what an engine would.
struct Desk {
    folder: tempfile::TempDir,
    settings: Vec<Settings>,
    once: bool,
    now: Timestamp,
    limits: Limits,
    tailer: Option<Tailer>,
    heads: BTreeMap<SourceKey, Head>,
    /// Records in the order they came, by file name.
    records: Vec<(String, Vec<u8>)>,
    faults: Vec<(String, Fault)>,
    restarts: usize,
    gone: Vec<SourceKey>,
    /// Where the next byte of each source must be.
    next: BTreeMap<SourceKey, u64>,
}

impl Desk {
    fn new(globs: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = globs
            .iter()
            .map(|glob| format!("{}/{glob}", folder.path().display()))
            .collect();
        let settings = Settings {
            input: InputId(3),
            paths,
            framing: Framing::Lines,
            start_at: StartAt::Beginning,
            record_bytes_max: RECORD_BYTES_MAX,
            ignore_older: None,
            close_inactive: Duration::from_mins(5),
            watch: WatchMode::Auto,
            poll: Duration::from_secs(1),
        };
        Self {
            folder,
            settings: vec![settings],
            once: false,
            now: Timestamp(0),
            limits: Limits {
                open_max: 64,
                held_bytes_max: 64 << 20,
            },
            tailer: None,
            heads: BTreeMap::new(),
            records: Vec::new(),
            faults: Vec::new(),
            restarts: 0,
            gone: Vec::new(),
            next: BTreeMap::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        use std::io::Write as _;
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn start(&self) -> Tailer {
        Tailer::new(self.settings.clone(), &self.heads, self.once, self.limits).unwrap()
    }

    /// Scans once and reads until nothing waits.
    fn poll(&mut self) {
        let mut tailer = self.tailer.take().unwrap_or_else(|| self.start());
        let mut intakes = Vec::new();
        tailer.scan(0, self.now, &mut intakes);
        while tailer.read_some(self.now, &mut intakes) {}
        self.tailer = Some(tailer);
        for intake in intakes {
            self.take(intake);
        }
    }

    fn take(&mut self, intake: Intake) {
        match intake {
            Intake::Batch(batch) => self.take_batch(batch),
            Intake::Gone(key) => {
                self.heads.remove(&key);
                self.next.remove(&key);
                self.gone.push(key);
            }
            Intake::Host(_) => unreachable!("a tail knows no host"),
            Intake::Again(_) => unreachable!("a tail knows no letters"),
            Intake::Operations(_) => unreachable!("a tail knows no operations"),
            Intake::Acknowledged(_) | Intake::Accepted(_) | Intake::Pulse(_) => {
                unreachable!("a tail knows no alerts")
            }
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let name = Path::new(&*batch.origin)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let start = batch
            .faults
            .first()
            .map_or(batch.base, |fault| fault.offset);
        let end = batch.base + batch.bytes.len() as u64;
        assert!(
            batch.restart == (start == 0 && end > 0),
            "restart at offset 0 only: {batch:?}"
        );
        if !batch.restart
            && let Some(next) = self.next.get(&batch.source)
        {
            assert_eq!(start, *next, "no gap and no overlap in {name}");
        }
        if batch.restart {
            self.restarts += 1;
        }
        self.next.insert(batch.source.clone(), batch.head.offset);
        for (_, record) in records(&batch.bytes, self.settings[0].framing) {
            self.records.push((name.clone(), record.to_vec()));
        }
        self.faults
            .extend(batch.faults.into_iter().map(|fault| (name.clone(), fault)));
        self.heads.insert(batch.source, batch.head);
    }

    /// The agent stops here and is started again, with the heads of what it had taken in.
    fn restart(&mut self) {
        self.tailer = None;
    }

    /// The records since last asked, as `name:record`.
    fn news(&mut self) -> Vec<String> {
        let text = |(name, record): (String, Vec<u8>)| {
            format!("{name}:{}", String::from_utf8_lossy(&record))
        };
        self.records.drain(..).map(text).collect()
    }

    fn polls(&mut self, times: u32) {
        for _ in 0..times {
            self.poll();
        }
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn lines_are_read_as_they_come_and_a_partial_one_waits() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\r\ntwo\nthr");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:two"]);
    desk.polls(30);
    assert_eq!(desk.news(), NOTHING);
    let head = desk.heads.values().next().unwrap();
    assert_eq!((head.input, head.offset), (3, 9));
    desk.write("a.log", "ee\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:three"]);
    assert_eq!((desk.heads.len(), desk.restarts), (1, 1));
}

#[test]
fn a_restart_goes_on_where_the_heads_say() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\npart");
    desk.poll();
    desk.restart();
    desk.write("a.log", "ial\ntwo\n");
    desk.write("b.log", "new\n");
    desk.poll();
    assert_eq!(
        desk.news(),
        ["a.log:one", "a.log:partial", "a.log:two", "b.log:new"]
    );
    desk.restart();
    desk.poll();
    assert_eq!(desk.news(), NOTHING);
}

#[test]
fn files_met_together_are_read_oldest_first_whatever_their_inodes_are() {
    let mut desk = Desk::new(&["*.log*"]);
    // Written newest first, so that neither inodes nor names are in the order of the times.
    let epoch = std::time::UNIX_EPOCH;
    for (name, age) in [("a.log", 0), ("a.log.1", 60), ("a.log.2", 120)] {
        desk.write(name, format!("{age}\n"));
        let file = fs::File::options().append(true).open(desk.path(name));
        let modified = epoch + std::time::Duration::from_secs(1_000_000 - age);
        file.unwrap().set_modified(modified).unwrap();
    }
    desk.poll();
    assert_eq!(desk.news(), ["a.log.2:120", "a.log.1:60", "a.log:0"]);
}

#[test]
fn a_writer_may_take_back_half_a_line() {
    let mut desk = Desk::new(&["*.log"]);
    for (name, first) in [
        ("short.log", "one".to_owned()),
        ("long.log", "o".repeat(2_000)),
    ] {
        desk.write(name, format!("{first}\nhalf a line"));
        desk.poll();
        assert_eq!(desk.news(), [format!("{name}:{first}")]);
        let file = fs::File::options()
            .write(true)
            .open(desk.path(name))
            .unwrap();
        file.set_len(first.len() as u64 + 3).unwrap();
        desk.write(name, "appy\n");
        desk.poll();
        assert_eq!(desk.news(), [format!("{name}:haappy")]);
        desk.write(name, "wrong");
        desk.poll();
        file.set_len(first.len() as u64 + 8).unwrap();
        desk.write(name, "right and longer\n");
        desk.poll();
        assert_eq!(desk.news(), [format!("{name}:right and longer")]);
    }
    assert_eq!((desk.restarts, desk.gone.len()), (2, 0));
}

/// A CSV header longer than the fingerprint: only the marker before the offset tells the generations apart.
#[test]
fn a_file_rewritten_under_the_same_long_header_is_noticed() {
    let header = "column,".repeat(200);
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", format!("{header}\n1,a\n"));
    desk.poll();
    fs::write(desk.path("a.log"), format!("{header}\n2,b\n3,c\n")).unwrap();
    desk.poll();
    let (news, first) = (desk.news(), format!("a.log:{header}"));
    assert_eq!(
        news,
        [&first, "a.log:1,a", &first, "a.log:2,b", "a.log:3,c"]
    );
    desk.restart();
    fs::write(desk.path("a.log"), format!("{header}\n4,d\n5,e\n6,f\n")).unwrap();
    desk.poll();
    assert_eq!(desk.news().len(), 4, "also after a restart");
    desk.polls(GONE_SCANS + 1);
    assert_eq!(desk.heads.len(), 1);
}

#[test]
fn bytes_pass_as_they_are() {
    let mut desk = Desk::new(&["*"]);
    desk.write("a.log", b"nul \0\xFF\xFE\n\n\xEF\xBB\xBFx\r\n");
    fs::create_dir(desk.path("folder.log")).unwrap();
    desk.poll();
    let records: Vec<_> = desk
        .records
        .iter()
        .map(|(_, record)| record.as_slice())
        .collect();
    assert_eq!(records, [&b"nul \0\xFF\xFE"[..], b"\xEF\xBB\xBFx"]);
}

#[test]
fn a_line_of_10_mebibytes_passes_and_one_over_the_limit_is_a_fault_with_its_offset() {
    let mut desk = Desk::new(&["*.log"]);
    let long = vec![b'x'; 10 << 20];
    desk.write("a.log", "first\n");
    desk.write("a.log", &long);
    desk.write("a.log", "\n");
    desk.write("a.log", vec![b'y'; (16 << 20) + 1]);
    desk.write("a.log", "\nlast\n");
    desk.poll();
    let records: Vec<_> = desk
        .records
        .iter()
        .map(|(_, record)| record.len())
        .collect();
    assert_eq!(records, [5, 10 << 20, 4]);
    let fault = &desk.faults[0].1;
    assert_eq!(
        (fault.offset, fault.length),
        (6 + (10 << 20) + 1, (16 << 20) + 1)
    );
    assert_eq!(desk.faults.len(), 1);
}

#[test]
fn start_at_end_skips_what_is_there_at_the_first_start_only() {
    let mut desk = Desk::new(&["*.log"]);
    desk.settings[0].start_at = StartAt::End;
    desk.write("a.log", "old\nunfini");
    desk.write("empty.log", "");
    desk.poll();
    assert_eq!(desk.news(), NOTHING);
    desk.restart();
    desk.write("a.log", "shed\nnew\n");
    desk.write("b.log", "whole\n");
    desk.write("empty.log", "filled\n");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(
        news,
        [
            "a.log:new",
            "a.log:unfinished",
            "b.log:whole",
            "empty.log:filled"
        ]
    );
}

#[test]
fn the_first_start_was_the_first_even_if_there_was_nothing_to_skip() {
    let mut desk = Desk::new(&["*.log"]);
    desk.settings[0].start_at = StartAt::End;
    desk.poll();
    desk.restart();
    desk.write("a.log", "one\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one"]);
}

#[test]
fn start_at_end_hands_over_the_header_of_a_csv() {
    let mut desk = Desk::new(&["*.csv"]);
    desk.settings[0].start_at = StartAt::End;
    desk.settings[0].framing = Framing::Csv;
    desk.write("a.csv", "id,\"na\nme\"\n1,a\n2,b\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.csv:id,\"na\nme\""]);
    desk.next.clear();
    desk.write("a.csv", "3,c\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.csv:3,c"]);
}

#[test]
fn more_files_than_may_be_open_are_all_read() {
    let mut desk = Desk::new(&["*.log"]);
    let count = desk.limits.open_max + 50;
    for round in 0..3 {
        for index in 0..count {
            desk.write(&format!("{index:03}.log"), format!("{round}-{index}\nhalf"));
        }
        desk.poll();
        assert_eq!(desk.news().len(), count);
        let open = desk.tailer.as_ref().unwrap().open_files();
        assert!(open <= desk.limits.open_max, "{open} descriptors");
    }
    assert_eq!(
        desk.tailer.as_ref().unwrap().snapshot().sources.len(),
        count
    );
    assert_eq!(desk.heads.len(), count);
}

#[test]
fn turns_are_fair() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "x\n".repeat(4 << 20));
    desk.write("b.log", "small\n");
    desk.poll();
    let place = desk
        .records
        .iter()
        .position(|(name, _)| name == "b.log")
        .unwrap();
    assert!(
        place <= 1 << 20,
        "after at most some 2 MiB of the other, not after {place} lines"
    );
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.write("b.log", "two\n");
    fs::set_permissions(desk.path("a.log"), fs::Permissions::from_mode(0o0)).unwrap();
    if fs::File::open(desk.path("a.log")).is_ok() {
        // Root reads everything; then a link that leads to itself is what cannot be read.
        fs::remove_file(desk.path("a.log")).unwrap();
        std::os::unix::fs::symlink("a.log", desk.path("a.log")).unwrap();
    }
    desk.poll();
    assert_eq!(desk.news(), ["b.log:two"]);
    let path = desk.path("a.log");
    assert_eq!(
        desk.tailer.as_ref().unwrap().unread().collect::<Vec<_>>(),
        [&path]
    );
    fs::remove_file(&path).unwrap();
    desk.write("a.log", "one\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one"]);
    assert_eq!(desk.tailer.as_ref().unwrap().unread().count(), 0);
}

#[test]
fn a_glob_that_means_nothing_is_refused_with_its_text() {
    let mut desk = Desk::new(&["logs/[*.log"]);
    desk.settings[0].paths = vec!["logs/[*.log".into()];
    let error =
        Tailer::new(desk.settings.clone(), &BTreeMap::new(), false, desk.limits).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("glob \"logs/[*.log\" cannot be used: "),
        "{error}"
    );
}

#[test]
fn heads_of_others_are_left_alone() {
    let mut desk = Desk::new(&["*.log"]);
    let journal = Head {
        input: 9,
        offset: 77,
        evidence: "segment 3".into(),
    };
    desk.heads
        .insert(SourceKey("journal".into()), journal.clone());
    desk.write("a.log", "one\n");
    desk.poll();
    assert_eq!(desk.gone, []);
    assert_eq!(desk.heads.get(&SourceKey("journal".into())), Some(&journal));
}
