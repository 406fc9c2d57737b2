//! The spool by itself: what goes in comes out, once, in order, whatever is torn, flipped, full or killed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use std::io::Write;

use super::*;
use crate::flow::document::Action;

/// Some 100 bytes a document that deflate makes little of.
fn documents(ids: impl IntoIterator<Item = u64>) -> Documents {
    let mut documents = Documents::default();
    for id in ids {
        let noise = blake3::hash(&id.to_le_bytes()).to_hex();
        documents.add(Action::Create, "i", &id.to_string(), id ^ 0x77, |out| {
            out.extend_from_slice(format!("{{\"n\":{id},\"x\":\"{noise}\"}}").as_bytes());
        });
    }
    documents
}

fn append(spool: &mut Spool, ids: std::ops::Range<u64>) -> Result<(), Error> {
    let documents = documents(ids);
    spool.append(&documents, &mut 0, documents.items.len())
}

/// Ids and keys are those of the lines: what is read is what was appended.
fn ids(batch: &Batch) -> Vec<u64> {
    let Documents { bytes, items, .. } = &batch.documents;
    let id = |item: &crate::flow::document::Item| {
        let lines = std::str::from_utf8(&bytes[item.lines.clone()]).unwrap();
        let (action, source) = lines.split_at(item.action_length);
        let source: serde_json::Value = serde_json::from_str(source).unwrap();
        let id = source["n"].as_u64().unwrap();
        assert!(action.contains(&format!("\"_id\":\"{id}\"")) && action.ends_with('\n'));
        assert_eq!(item.key, id ^ 0x77);
        id
    };
    items.iter().map(id).collect()
}

/// Everything unread, and what was lost.
fn drain(spool: &mut Spool) -> (Vec<u64>, u64) {
    let (mut all, mut lost) = (Vec::new(), 0);
    loop {
        let batch = spool.read().unwrap();
        lost += batch.losses.iter().map(|loss| loss.documents).sum::<u64>();
        if batch.documents.items.is_empty() {
            assert_eq!(spool.unread(), 0);
            return (all, lost);
        }
        all.extend(ids(&batch));
    }
}

/// In a temporary folder, so small that a few documents fill a segment.
fn small(folder: &tempfile::TempDir, checkpoint: Option<u64>) -> Spool {
    open(&folder.path().join("spool"), 16 << 10, checkpoint)
        .unwrap()
        .unwrap()
}

fn segments(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let found = segment::list(&folder.path().join("spool")).unwrap();
    found.into_iter().map(|(_, path)| path).collect()
}

#[test]
fn documents_come_out_as_they_went_in_and_settled_segments_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, Some(4));
    append(&mut spool, 0..30).unwrap();
    append(&mut spool, 30..31).unwrap();
    let first = spool.read().unwrap();
    assert_eq!((first.end, spool.unread()), (30, 1));
    append(&mut spool, 31..60).unwrap();
    assert_eq!(ids(&first), (0..30).collect::<Vec<_>>());
    assert_eq!(drain(&mut spool), ((30..60).collect(), 0));
    append(&mut spool, 60..61).unwrap();
    assert_eq!(drain(&mut spool), (vec![60], 0));
    let before = spool.bytes();
    spool.settle(31).unwrap();
    assert!(spool.bytes() < before);
    spool.clear().unwrap();
    assert_eq!((spool.bytes(), spool.unread()), (0, 0));
    assert!(segments(&folder).is_empty());
}

#[test]
fn only_the_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, None);
    append(&mut spool, 0..1).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("spool")), 0o700);
    assert_eq!(mode(&segments(&folder)[0]), 0o600);
}

#[test]
fn a_step_larger_than_a_frame_comes_out_in_frames() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder.path().join("spool"), 1 << 30, None)
        .unwrap()
        .unwrap();
    append(&mut spool, 0..20_000).unwrap();
    let first = spool.read().unwrap();
    assert!((1..20_000).contains(&first.documents.items.len()));
    assert!(first.documents.bytes.len() <= frame::RAW_BYTES_MAX);
    let rest = drain(&mut spool).0;
    assert_eq!(ids(&first).len() + rest.len(), 20_000);
    // Readable text deflates well: a spool of 1 GiB holds several.
    assert!(spool.bytes() < 20_000 * 120);
}

#[test]
fn without_a_spool_wanted_or_found_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    assert!(open(&path, 0, Some(1)).unwrap().is_none());
    assert!(open(&path, 1 << 20, Some(1)).unwrap().is_some());
    assert!(!path.try_exists().unwrap(), "made when first needed");
}

#[test]
fn a_full_spool_says_so_changes_nothing_and_takes_again_once_segments_went() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, Some(0));
    let mut next = 0;
    while append(&mut spool, next..next + 5).is_ok() {
        next += 5;
    }
    let full = append(&mut spool, next..next + 5).unwrap_err();
    assert!(matches!(full, Error::Full { bytes_max: 16_384 }) && !full.is_final());
    spool.mark(1).expect("a mark has its place always");
    let count = segments(&folder).len();
    while segments(&folder).len() == count {
        append(&mut spool, next..next + 5).expect_err("still full");
        let end = spool.read().unwrap().end;
        spool.settle(end).unwrap();
    }
    let read = next - spool.unread();
    append(&mut spool, next..next + 5).unwrap();
    assert_eq!(drain(&mut spool), ((read..next + 5).collect(), 0));
}

#[test]
fn what_came_behind_the_checkpoint_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, Some(1));
    append(&mut spool, 0..10).unwrap();
    spool.mark(2).unwrap();
    append(&mut spool, 10..20).unwrap();
    spool.mark(3).unwrap();
    append(&mut spool, 20..40).unwrap();
    drop(spool);
    assert_eq!(small(&folder, Some(3)).unread(), 20);
    // The one before, if the newest is torn; and what is cut off does not come back with the next.
    assert_eq!(drain(&mut small(&folder, Some(2))), ((0..10).collect(), 0));
    let mut spool = small(&folder, Some(2));
    append(&mut spool, 50..51).unwrap();
    spool.mark(3).unwrap();
    drop(spool);
    let expected = (0..10).chain([50]).collect();
    assert_eq!(drain(&mut small(&folder, Some(3))), (expected, 0));
    // A checkpoint of before the spool began: all of it is made again.
    assert_eq!(small(&folder, Some(1)).unread(), 0);
    assert!(segments(&folder).is_empty());
}

#[test]
fn without_a_checkpoint_it_begins_afresh_and_what_one_counted_on_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, None);
    append(&mut spool, 0..10).unwrap();
    drop(spool);
    let mut spool = small(&folder, None);
    assert_eq!((spool.unread(), segments(&folder).len()), (0, 0));
    append(&mut spool, 0..10).unwrap();
    spool.mark(1).unwrap();
    append(&mut spool, 10..20).unwrap();
    drop(spool);
    assert_eq!(small(&folder, None).unread(), 0);
    let aside = folder.path().join("spool.of-checkpoint-1");
    let mut spool = open(&aside, 0, Some(1)).unwrap().unwrap();
    assert_eq!(drain(&mut spool), ((0..10).collect(), 0));
}

#[test]
fn a_newer_format_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut small(&folder, None), 0..1).unwrap();
    let path = &segments(&folder)[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&(segment::FORMAT + 1).to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..28]).to_le_bytes();
    bytes[28..32].copy_from_slice(&checksum);
    fs::write(path, bytes).unwrap();
    let error = open(&folder.path().join("spool"), 1 << 20, Some(1)).unwrap_err();
    assert!(matches!(error, Error::Newer { format: 2, .. }) && error.is_final());
    assert!(
        error
            .to_string()
            .contains("has format 2, and this modelbeat reads up to 1")
    );
}

thread_local! {
    /// What the disk of this test's thread still holds.
    static ROOM: Cell<usize> = const { Cell::new(0) };
}

/// A file on a disk that is nearly full, or that loses what it promised.
#[derive(Debug)]
struct Scarce(File);

impl Medium for Scarce {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = bytes.len().min(ROOM.get());
        ROOM.set(ROOM.get() - written);
        self.0.write_all(&bytes[..written])?;
        if written < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        if ROOM.get() == 0 {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }
}

#[test]
fn a_full_disk_leaves_no_half_frame_and_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, Some(0));
    spool.make_medium = |file| Box::new(Scarce(file));
    ROOM.set(2_000);
    append(&mut spool, 0..10).unwrap();
    let more = documents(10..40);
    let mut from = 0;
    let error = spool.append(&more, &mut from, 30).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.is_final());
    assert_eq!((from, spool.unread()), (0, 10));
    assert_eq!(ids(&spool.read().unwrap()), (0..10).collect::<Vec<_>>());
    ROOM.set(usize::MAX);
    spool.append(&more, &mut from, 30).unwrap();
    assert_eq!(drain(&mut spool), ((10..40).collect(), 0));
    spool.mark(1).unwrap();
    assert_eq!(drain(&mut small(&folder, Some(1))), ((0..40).collect(), 0));
}

#[test]
fn after_a_failed_fsync_the_checkpoint_is_not_marked() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = small(&folder, Some(0));
    spool.make_medium = |file| Box::new(Scarce(file));
    let frame = frame::encode(&documents(0..10), 0..10, 0, 0).unwrap().0;
    ROOM.set(frame.len() + frame::HEADER_LENGTH);
    append(&mut spool, 0..10).unwrap();
    let error = spool.mark(1).unwrap_err();
    assert!(error.is_final(), "{error}");
}

/// Frames of these many documents, a mark of checkpoint 1 behind those before `marked`. Returns the files' bytes.
fn build(
    folder: &tempfile::TempDir,
    sizes: &[u64],
    marked: usize,
) -> (BTreeMap<PathBuf, Vec<u8>>, u64) {
    let mut spool = small(folder, Some(0));
    let (mut next, mut kept) = (0, 0);
    for (index, size) in sizes.iter().enumerate() {
        if index == marked {
            spool.mark(1).unwrap();
            kept = next;
        }
        append(&mut spool, next..next + size).unwrap();
        next += size;
    }
    if marked >= sizes.len() {
        spool.mark(1).unwrap();
        kept = next;
    }
    let files = segments(folder);
    (
        files
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect(),
        kept,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_flipped_byte_costs_its_own_frame_and_is_told_with_the_number_of_documents(
        sizes in proptest::collection::vec(1_u64..12, 1..12),
        marked in 1_usize..13,
        place: proptest::sample::Index,
        flip in 1_u8..,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (files, kept) = build(&folder, &sizes, marked);
        let total = files.values().map(Vec::len).sum();
        let mut at = place.index(total);
        for (path, bytes) in files {
            if at < bytes.len() {
                let mut bytes = bytes;
                bytes[at] ^= flip;
                fs::write(path, bytes).unwrap();
                break;
            }
            at -= bytes.len();
        }
        let mut spool = small(&folder, Some(1));
        let (got, lost) = drain(&mut spool);
        prop_assert!(got.is_sorted() && got.iter().all(|id| *id < kept));
        prop_assert_eq!(got.len() as u64 + lost, kept);
        let missing: Vec<u64> = (0..kept).filter(|id| !got.contains(id)).collect();
        let is_one_frame = missing.is_empty()
            || sizes.iter().scan(0, |end, size| { *end += size; Some((*end - size, *end)) })
                .any(|(first, end)| missing == (first..end).collect::<Vec<_>>());
        prop_assert!(is_one_frame, "{missing:?}");
        // Whatever it was, the spool takes what comes now, and gives it behind what it had.
        append(&mut spool, 900..903).unwrap();
        prop_assert_eq!(drain(&mut spool), (vec![900, 901, 902], 0));
        spool.mark(2).unwrap();
        drop(spool);
        let (again, lost_again) = drain(&mut small(&folder, Some(2)));
        prop_assert_eq!(again, [got, vec![900, 901, 902]].concat());
        prop_assert_eq!(lost_again, lost);
    }

    #[test]
    fn a_file_cut_at_any_byte_loses_nothing_before_the_cut(
        sizes in proptest::collection::vec(1_u64..12, 1..12),
        marked in 1_usize..13,
        place: proptest::sample::Index,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (files, kept) = build(&folder, &sizes, marked);
        let total = files.values().map(Vec::len).sum();
        let mut at = place.index(total);
        let (mut is_last, mut is_headless, count) = (false, false, files.len());
        for (index, (path, bytes)) in files.into_iter().enumerate() {
            if at < bytes.len() {
                fs::write(path, &bytes[..at]).unwrap();
                is_last = index + 1 == count;
                is_headless = index == 0 && (at as u64) < segment::START;
                break;
            }
            at -= bytes.len();
        }
        let (got, lost) = drain(&mut small(&folder, Some(1)));
        prop_assert!(got.is_sorted() && got.iter().all(|id| *id < kept));
        if is_last {
            prop_assert_eq!(&got, &(0..got.len() as u64).collect::<Vec<_>>());
            prop_assert!(got.len() as u64 + lost <= kept);
        } else {
            // Where the mark is gone too, what came behind it (and is made again) cannot be told from what came before.
            // And of a first file without even a header, nobody knows what it held: that it is there is told.
            let (least, all) = (if is_headless { 0 } else { kept }, sizes.iter().sum());
            prop_assert!((least..=all).contains(&(got.len() as u64 + lost)));
        }
    }
}

/// What happens to a spool and to those around it.
#[derive(Clone, Debug)]
enum Step {
    /// The engine makes so many documents.
    Make(u64),
    /// A checkpoint is marked; false: the process dies before it is saved.
    Checkpoint(bool),
    Read,
    /// All that was read is settled.
    Settle,
    /// Killed; so much of what was not synced is gone.
    Crash(proptest::sample::Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..20).prop_map(Step::Make),
        2 => prop::bool::weighted(0.8).prop_map(Step::Checkpoint),
        4 => Just(Step::Read),
        2 => Just(Step::Settle),
        1 => any::<proptest::sample::Index>().prop_map(Step::Crash),
    ]
}

/// The spool, and a model of the engine before and the cluster behind it.
struct Story {
    folder: tempfile::TempDir,
    spool: Spool,
    /// Bytes of the newest segment that are durable.
    synced: (PathBuf, u64),
    /// Documents made so far; a crash takes this back to the saved checkpoint.
    made: u64,
    /// Number and `made` of the checkpoint that is saved.
    saved: (u64, u64),
    checkpoints: u64,
    /// What the cluster was sent since the last start.
    sent: Vec<u64>,
    /// Documents before this number are stored for sure.
    stored: u64,
}

impl Story {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            spool: small(&folder, Some(0)),
            folder,
            synced: (PathBuf::new(), 0),
            made: 0,
            saved: (0, 0),
            checkpoints: 0,
            sent: Vec::new(),
            stored: 0,
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Make(count) => match append(&mut self.spool, self.made..self.made + count) {
                Ok(()) => self.made += count,
                Err(error) => assert!(matches!(error, Error::Full { .. })),
            },
            Step::Checkpoint(is_saved) => {
                self.checkpoints += 1;
                self.spool.mark(self.checkpoints).unwrap();
                if let Some(last) = self.spool.segments.back() {
                    self.synced = (last.path.clone(), last.length);
                }
                if *is_saved {
                    self.saved = (self.checkpoints, self.made);
                }
            }
            Step::Read => {
                let batch = self.spool.read().unwrap();
                assert_eq!(batch.losses, []);
                self.sent.extend(ids(&batch));
            }
            Step::Settle => {
                let all_read = self.spool.end() - self.spool.unread();
                self.spool.settle(all_read).unwrap();
                self.stored = self.stored.max(self.sent.last().map_or(0, |last| last + 1));
            }
            Step::Crash(place) => self.crash(*place),
        }
    }

    /// The cluster may have got what is cut off here: the engine makes it again, and the same ids store it once.
    fn crash(&mut self, place: proptest::sample::Index) {
        self.check_sent();
        if let Some(last) = self.spool.segments.back() {
            let durable = if self.synced.0 == last.path {
                self.synced.1
            } else {
                segment::START
            };
            let unsynced = usize::try_from(last.length - durable).unwrap();
            let length = durable + place.index(unsynced + 1) as u64;
            let file = File::options().write(true).open(&last.path).unwrap();
            file.set_len(length).unwrap();
        }
        self.checkpoints = self.saved.0;
        self.made = self.saved.1;
        self.sent.clear();
        self.spool = small(&self.folder, Some(self.saved.0));
        let last = self.spool.segments.back();
        self.synced = last.map_or_else(Default::default, |last| (last.path.clone(), last.length));
    }

    /// In order, each once, and beginning no later than where the start before had stored to.
    fn check_sent(&self) {
        if let (Some(first), Some(last)) = (self.sent.first(), self.sent.last()) {
            assert_eq!(self.sent, (*first..=*last).collect::<Vec<_>>());
        }
    }

    fn end(mut self) {
        let unread = self.spool.unread();
        let first_unread = self.made - unread;
        let (rest, lost) = drain(&mut self.spool);
        assert_eq!((rest, lost), ((first_unread..self.made).collect(), 0));
        assert!(self.sent.is_empty() || self.sent.last() == first_unread.checked_sub(1).as_ref());
        // What was read before this start and not stored is read in it.
        let begin = self.sent.first().copied().unwrap_or(first_unread);
        assert!(
            begin <= self.stored.min(self.made),
            "{begin} {}",
            self.stored
        );
        self.check_sent();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn in_any_order_of_events_every_document_comes_out_once_in_order(
        steps in proptest::collection::vec(any_step(), 0..60),
    ) {
        let mut story = Story::new();
        for step in &steps {
            story.play(step);
        }
        story.end();
    }
}
