//! Stories first, each driving the step-able [`Tailer`] without a thread or a pause; then [`run`] with the real watcher
//! (`live`); the file-action model is in `model`.

mod live;
mod model;
mod status;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::tailer::{OPEN_MAX, QUIET_SCANS_RENAMED, Tailer};
use super::*;
use crate::flow::event::{Batch, Fault, Timestamp};
use crate::flow::lines::records;

const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A folder, and somebody who tails it and remembers what an engine would.
struct Desk {
    folder: tempfile::TempDir,
    settings: Vec<Settings>,
    once: bool,
    now: Timestamp,
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
        };
        Self {
            folder,
            settings: vec![settings],
            once: false,
            now: Timestamp(0),
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

    /// Scans once and reads until nothing waits.
    fn poll(&mut self) {
        let mut tailer = self
            .tailer
            .take()
            .unwrap_or_else(|| Tailer::new(self.settings.clone(), &self.heads, self.once).unwrap());
        let mut intakes = Vec::new();
        tailer.scan(self.now, &mut intakes);
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
fn a_file_renamed_within_the_globs_is_read_once() {
    let mut desk = Desk::new(&["a.log*"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.write("a.log", "two\nlast");
    desk.rename("a.log", "a.log.1");
    desk.write("a.log", "three\n");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log.1:two", "a.log:one", "a.log:three"]);
    desk.polls(QUIET_SCANS_RENAMED + 1);
    assert_eq!(desk.news(), ["a.log.1:last"], "nobody will complete it");
}

#[test]
fn a_file_renamed_out_of_the_globs_is_read_to_its_end() {
    let mut desk = Desk::new(&["a.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.rename("a.log", "old");
    desk.write("a.log", "new\n");
    desk.write("old", "two\n");
    desk.poll();
    desk.write("old", "three\nend");
    desk.polls(2);
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log:new", "a.log:one", "a.log:three", "a.log:two"]);
    desk.polls(QUIET_SCANS_RENAMED + 1);
    assert_eq!(desk.news(), ["a.log:end"]);
    desk.rename("old", "a.log");
    desk.polls(2);
    assert_eq!(desk.news(), NOTHING, "it is known when it comes back");
}

#[test]
fn a_file_renamed_out_of_the_globs_while_the_agent_was_down_is_read_to_its_end() {
    let mut desk = Desk::new(&["a.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.restart();
    desk.write("a.log", "two\n");
    desk.rename("a.log", "a.log-20261124");
    desk.write("a.log", "three\n");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log-20261124:two", "a.log:one", "a.log:three"]);
}

#[test]
fn a_file_deleted_while_open_is_read_to_its_end_and_then_gone() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    let key = desk.heads.keys().next().unwrap().clone();
    desk.write("a.log", "two\nend");
    fs::remove_file(desk.path("a.log")).unwrap();
    desk.polls(3);
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:end"]);
    assert_eq!((desk.gone.clone(), desk.heads.len()), (vec![key], 0));
}

#[test]
fn a_truncated_file_is_a_new_source_and_the_loss_is_counted() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\ntwo\n");
    desk.poll();
    desk.write("a.log", "never seen\n");
    fs::write(desk.path("a.log"), "new\n").unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:new"]);
    assert_eq!(
        (desk.restarts, desk.gone.len(), desk.heads.len()),
        (2, 1, 1)
    );
}

#[test]
fn a_file_rewritten_longer_than_before_is_noticed() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    fs::write(desk.path("a.log"), "other\nand more\n").unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:other", "a.log:and more"]);
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
    assert_eq!(desk.heads.len(), 1);
}

#[test]
fn a_file_deleted_and_made_again_is_new_even_with_the_same_inode() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    // Nobody holds it open, so many file systems give the inode to the next file.
    desk.restart();
    fs::remove_file(desk.path("a.log")).unwrap();
    desk.write("a.log", "six\nseven\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:six", "a.log:seven"]);
}

#[test]
fn a_remounted_file_is_known_by_its_content_unless_two_could_be_it() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.write("b.log", "eins\n");
    desk.poll();
    desk.news();
    desk.restart();
    for head in desk.heads.values_mut() {
        let mut evidence: identity::Evidence = serde_json::from_str(&head.evidence).unwrap();
        evidence.dev += 1;
        head.evidence = serde_json::to_string(&evidence).unwrap();
    }
    desk.write("a.log", "two\n");
    desk.write("b.log", "zwei\n");
    fs::copy(desk.path("b.log"), desk.path("c.log")).unwrap();
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(
        news,
        [
            "a.log:two",
            "b.log:eins",
            "b.log:zwei",
            "c.log:eins",
            "c.log:zwei"
        ]
    );
}

#[test]
fn two_names_of_one_file_are_read_once_and_a_switched_link_leads_to_the_new_one() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("first", "one\n");
    std::os::unix::fs::symlink("first", desk.path("current.log")).unwrap();
    fs::hard_link(desk.path("first"), desk.path("other.log")).unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["current.log:one"]);
    fs::remove_file(desk.path("other.log")).unwrap();
    desk.write("second", "three\n");
    desk.write("first", "two\n");
    std::os::unix::fs::symlink("second", desk.path("switch")).unwrap();
    desk.rename("switch", "current.log");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["current.log:three", "current.log:two"]);
}

#[test]
fn bytes_pass_as_they_are_and_compressed_files_not_at_all() {
    let mut desk = Desk::new(&["*"]);
    desk.write("a.log", b"nul \0\xFF\xFE\n\n\xEF\xBB\xBFx\r\n");
    desk.write("a.log.1.gz", b"\x1F\x8B\n\n");
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
    let count = OPEN_MAX + 50;
    for round in 0..3 {
        for index in 0..count {
            desk.write(&format!("{index:03}.log"), format!("{round}-{index}\nhalf"));
        }
        desk.poll();
        assert_eq!(desk.news().len(), count);
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(open < 2 * OPEN_MAX, "{open} descriptors");
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
    let error = Tailer::new(desk.settings.clone(), &BTreeMap::new(), false).unwrap_err();
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
