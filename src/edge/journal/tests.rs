mod names;

use std::fs;
use std::fs::File;
use std::sync::Mutex;

use proptest::prelude::*;

use super::open::open_on;
use super::*;
use crate::edge::segments::Medium;
use crate::flow::engine::Intake;

/// What a journal should give back: each line with its kind and offset.
type Lines = Vec<(Option<Kind>, u64, String)>;

fn settings(data: &Path, bytes_max: u64) -> Settings {
    Settings {
        data: data.to_owned(),
        input: InputId(3),
        bytes_max,
        short_lived: false,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn append(journal: &Journal, kind: Option<Kind>, text: &str) -> Result<u64, AppendError> {
    journal
        .append(kind, Bytes::copy_from_slice(text.as_bytes()))
        .await
}

/// Reads what is durable from `from` on, checking that batches join up.
async fn drain(reader: Reader, from: u64) -> Result<Lines, Error> {
    let (out, mut batches) = mpsc::channel(1);
    let (_stop, stopping) = watch::channel(false);
    let reading = tokio::spawn(reader.run(from, Until::Drained, out, stopping));
    let mut lines = Lines::new();
    let mut head = None;
    while let Some(intake) = batches.recv().await {
        let Intake::Batch(batch) = intake else {
            panic!("a journal gives batches")
        };
        assert!(
            head.is_none_or(|head| head <= batch.base),
            "batches never go back"
        );
        assert_eq!(batch.source.0.as_ref(), "http-3");
        assert_eq!(batch.head.offset, batch.base + batch.bytes.len() as u64);
        head = Some(batch.head.offset);
        let mut offset = batch.base;
        for line in batch.bytes.split_inclusive(|&byte| byte == b'\n') {
            assert!(line.ends_with(b"\n"), "batches are whole lines");
            lines.push((
                batch.kind,
                offset,
                String::from_utf8_lossy(line).into_owned(),
            ));
            offset += line.len() as u64;
        }
    }
    reading.await.expect("the reader ends")?;
    Ok(lines)
}

fn lines_of(kind: Option<Kind>, offset: u64, text: &str) -> Lines {
    let mut at = offset;
    let mut lines = Lines::new();
    for line in text.split_inclusive('\n') {
        lines.push((kind, at, line.to_owned()));
        at += line.len() as u64;
    }
    lines
}

#[test]
fn what_was_answered_is_read_back_after_a_restart() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        let Opened {
            journal, losses, ..
        } = open(&settings, 0).expect("opens");
        assert_eq!(losses, []);
        assert_eq!(
            append(&journal, None, "{\"a\":1}\n{\"b\":2}\n").await,
            Ok(0)
        );
        assert_eq!(append(&journal, Some(Kind::Label), "{}\n").await, Ok(16));
        journal.close().await;
        let Opened {
            journal,
            reader,
            losses,
        } = open(&settings, 0).expect("opens again");
        assert_eq!((journal.size().end(), losses), (19, vec![]));
        let mut expect = lines_of(None, 0, "{\"a\":1}\n{\"b\":2}\n");
        expect.extend(lines_of(Some(Kind::Label), 16, "{}\n"));
        assert_eq!(drain(reader, 0).await.expect("reads"), expect);
    });
}

#[test]
fn reading_may_go_on_inside_a_payload() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let Opened {
            journal, reader, ..
        } = open(&settings(data.path(), 1 << 30), 0).expect("opens");
        append(&journal, None, "{}\n").await.expect("appends");
        // Larger than a batch, with one line larger than a batch in it.
        let line = format!("{{\"x\":\"{}\"}}\n", "y".repeat(300_000));
        let long = format!("{{\"x\":\"{}\"}}\n", "z".repeat(2_000_000));
        let text = format!("{}{long}{line}", line.repeat(9));
        append(&journal, None, &text).await.expect("appends");
        let expect = lines_of(None, 3, &text);
        let from = expect[4].1;
        assert_eq!(drain(reader, from).await.expect("reads"), expect[4..]);
    });
}

#[test]
fn folder_and_files_are_for_the_owner_only_and_for_one_process() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().expect("a folder");
    let settings = settings(data.path(), 1 << 20);
    let opened = open(&settings, 0).expect("opens");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&settings.folder()), 0o700);
    for (_, path) in segment::list(&settings.folder()).expect("lists") {
        assert_eq!(mode(&path), 0o600);
    }
    assert!(matches!(open(&settings, 0), Err(Error::InUse { .. })));
    drop(opened);
}

#[test]
fn a_full_journal_refuses_until_a_checkpoint_releases() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let Opened {
            journal, reader, ..
        } = open(&settings(data.path(), 10_000), 0).expect("opens");
        let text = format!("{}\n", "x".repeat(999));
        let mut taken = 0;
        let refusal = loop {
            match append(&journal, None, &text).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refusal, AppendError::Full { bytes_max: 10_000 });
        assert_eq!(taken, 9, "9 × (1,025 + a segment's header) fit");
        assert!(journal.size().bytes() <= 10_000);
        journal.release(journal.size().end());
        assert_eq!(append(&journal, None, &text).await, Ok(9_000));
        assert_eq!(
            drain(reader, 9_000).await.expect("reads"),
            lines_of(None, 9_000, &text)
        );
    });
}

#[test]
fn a_quota_of_one_segment_is_freed_too() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let Opened { journal, .. } = open(&settings(data.path(), 1_500), 0).expect("opens");
        let text = format!("{}\n", "x".repeat(999));
        for round in 0..5 {
            assert_eq!(append(&journal, None, &text).await, Ok(round * 1_000));
            assert!(matches!(
                append(&journal, None, &text).await,
                Err(AppendError::Full { .. })
            ));
            journal.release(journal.size().end());
        }
    });
}

#[test]
fn numbering_goes_on_at_the_checkpoint_when_the_journal_is_gone() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        let Opened {
            journal, losses, ..
        } = open(&settings, 500).expect("opens");
        assert_eq!(
            losses,
            [Loss::Behind {
                end: 0,
                checkpointed: 500
            }]
        );
        assert_eq!(append(&journal, None, "{}\n").await, Ok(500));
        journal.close().await;
        let Opened { reader, losses, .. } = open(&settings, 0).expect("opens");
        assert_eq!(losses, [Loss::Gap { from: 0, to: 500 }]);
        assert_eq!(
            drain(reader, 0).await.expect("reads"),
            lines_of(None, 500, "{}\n")
        );
    });
}

#[test]
fn a_follower_gets_each_payload_and_ends_when_told() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let Opened {
            journal, reader, ..
        } = open(&settings(data.path(), 1 << 20), 0).expect("opens");
        let (out, mut batches) = mpsc::channel(1);
        let (stop, stopping) = watch::channel(false);
        let reading = tokio::spawn(reader.run(0, Until::Stopped, out, stopping));
        for round in 0..20_u64 {
            append(&journal, None, "{}\n").await.expect("appends");
            let Some(Intake::Batch(batch)) = batches.recv().await else {
                panic!("a batch")
            };
            assert_eq!((batch.base, &batch.bytes[..]), (round * 3, &b"{}\n"[..]));
        }
        stop.send(true).expect("the reader listens");
        reading.await.expect("ends").expect("well");
    });
}

/// A file on a disk with trouble, set from outside.
#[derive(Debug)]
struct Faulty(File, Arc<Mutex<Trouble>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// Writes a part, then says that the disk is full.
    NoSpace,
    Sync,
}

impl Medium for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if *self.1.lock().expect("lock") == Trouble::NoSpace {
            Medium::append(&mut self.0, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Medium::append(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if *self.1.lock().expect("lock") == Trouble::Sync {
            return Err(io::Error::other("the disk is on fire"));
        }
        Medium::sync(&mut self.0)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        Medium::cut(&mut self.0, length)
    }
}

fn open_faulty(settings: &Settings) -> (Opened, Arc<Mutex<Trouble>>) {
    let trouble = Arc::new(Mutex::new(Trouble::None));
    let shared = Arc::clone(&trouble);
    let medium =
        Box::new(move |file| -> Box<dyn Medium> { Box::new(Faulty(file, Arc::clone(&shared))) });
    (open_on(settings, 0, medium).expect("opens"), trouble)
}

#[test]
fn a_full_disk_refuses_leaves_nothing_behind_and_recovers() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        let (Opened { journal, .. }, trouble) = open_faulty(&settings);
        assert_eq!(append(&journal, None, "{\"a\":1}\n").await, Ok(0));
        *trouble.lock().expect("lock") = Trouble::NoSpace;
        assert_eq!(
            append(&journal, None, "{\"b\":2}\n").await,
            Err(AppendError::NoSpace)
        );
        let size = journal.size();
        let refused = size.refused().map(|(error, _)| error);
        assert_eq!(refused, Some(AppendError::NoSpace));
        assert!(size.age(7).is_some() && size.age(8).is_none());
        *trouble.lock().expect("lock") = Trouble::None;
        assert_eq!(append(&journal, None, "{\"c\":3}\n").await, Ok(8));
        assert_eq!(size.refused(), None);
        assert!(size.age(8).is_some());
        journal.close().await;
        let Opened { reader, losses, .. } = open(&settings, 0).expect("opens");
        assert_eq!(losses, []);
        assert_eq!(
            drain(reader, 0).await.expect("reads"),
            lines_of(None, 0, "{\"a\":1}\n{\"c\":3}\n")
        );
    });
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_a_restart() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        let (
            Opened {
                journal, reader, ..
            },
            trouble,
        ) = open_faulty(&settings);
        assert_eq!(append(&journal, None, "{\"a\":1}\n").await, Ok(0));
        *trouble.lock().expect("lock") = Trouble::Sync;
        let refusal = append(&journal, None, "{\"b\":2}\n")
            .await
            .expect_err("not durable");
        assert!(
            refusal.to_string().ends_with("the disk is on fire"),
            "{refusal}"
        );
        *trouble.lock().expect("lock") = Trouble::None;
        assert_eq!(append(&journal, None, "{\"c\":3}\n").await, Err(refusal));
        assert_eq!(
            drain(reader, 0).await.expect("reads"),
            lines_of(None, 0, "{\"a\":1}\n")
        );
        journal.close().await;
        let Opened { journal, .. } = open(&settings, 0).expect("opens");
        append(&journal, None, "{\"d\":4}\n")
            .await
            .expect("takes records again");
    });
}

/// A group of records may reach the disk in any order; only what was synced before must be there.
#[test]
fn a_torn_group_is_cut_but_a_hole_in_the_past_is_damage() {
    for (durable, is_damage) in [(9, false), (18, true)] {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        block_on(async {
            let Opened { journal, .. } = open(&settings, 0).expect("opens");
            append(&journal, None, "{\"a\": 1}\n")
                .await
                .expect("appends");
            journal.close().await;
        });
        let (_, path) = segment::list(&settings.folder()).expect("lists").remove(0);
        let mut bytes = fs::read(&path).expect("reads");
        let good = bytes.len();
        record::encode(None, 9, 9, 9, b"{\"b\": 2}\n", &mut bytes);
        bytes[good + 30] ^= 1;
        record::encode(None, 18, durable, 9, b"{\"c\": 3}\n", &mut bytes);
        fs::write(&path, &bytes).expect("writes");
        match open(&settings, 0) {
            Err(Error::Damaged {
                path: named,
                offset,
                reason,
            }) => {
                assert!(is_damage, "{reason}");
                assert_eq!(
                    (named, offset, reason),
                    (path, good as u64, "checksum mismatch")
                );
            }
            Err(error) => panic!("{error}"),
            Ok(Opened { losses, reader, .. }) => {
                let (offset, bytes) = (good as u64, (bytes.len() - good) as u64);
                assert_eq!(
                    losses,
                    [Loss::Cut {
                        path,
                        offset,
                        bytes,
                        reason: "checksum mismatch"
                    }]
                );
                let read = block_on(drain(reader, 0)).expect("reads");
                assert_eq!(read, lines_of(None, 0, "{\"a\": 1}\n"));
                assert!(!is_damage);
            }
        }
    }
}

#[test]
fn damage_found_while_reading_stops_there_and_names_the_place() {
    block_on(async {
        let data = tempfile::tempdir().expect("a folder");
        let settings = settings(data.path(), 1 << 20);
        let Opened {
            journal, reader, ..
        } = open(&settings, 0).expect("opens");
        append(&journal, None, "{\"a\":1}\n")
            .await
            .expect("appends");
        append(&journal, None, "{\"b\":2}\n")
            .await
            .expect("appends");
        let (_, path) = segment::list(&settings.folder()).expect("lists").remove(0);
        let mut bytes = fs::read(&path).expect("reads");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::write(&path, &bytes).expect("writes");
        let (out, mut batches) = mpsc::channel(9);
        let (_stop, stopping) = watch::channel(false);
        let error = reader
            .run(0, Until::Drained, out, stopping)
            .await
            .expect_err("damage");
        let Some(Intake::Batch(batch)) = batches.recv().await else {
            panic!("what stands before")
        };
        assert_eq!(&batch.bytes[..], b"{\"a\":1}\n");
        assert!(batches.recv().await.is_none());
        let place = bytes.len() - record::HEADER_LENGTH - 8;
        assert!(error.to_string().starts_with(&format!(
            "{}:{place}: the journal is damaged",
            path.display()
        )));
    });
}

#[derive(Clone, Debug)]
enum Action {
    Append(Option<Kind>, Vec<usize>),
    /// A checkpoint at the n-th of the line starts.
    Release(prop::sample::Index),
    Restart,
    Read(prop::sample::Index),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let kind = prop_oneof![
        Just(None),
        Just(Some(Kind::Prediction)),
        Just(Some(Kind::Label))
    ];
    let action = prop_oneof![
        4 => (kind, prop::collection::vec(0..200_usize, 1..4)).prop_map(|(kind, sizes)| Action::Append(kind, sizes)),
        1 => any::<prop::sample::Index>().prop_map(Action::Release),
        1 => Just(Action::Restart),
        1 => any::<prop::sample::Index>().prop_map(Action::Read),
    ];
    prop::collection::vec(action, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_an_endless_file_of_lines(actions in actions()) {
        block_on(async {
            let data = tempfile::tempdir().expect("a folder");
            // Segments of 500 bytes.
            let settings = settings(data.path(), 4_000);
            let mut opened = open(&settings, 0).expect("opens");
            let (mut model, mut end, mut checkpointed) = (Lines::new(), 0_u64, 0_u64);
            for action in actions {
                match action {
                    Action::Append(kind, ref sizes) => {
                        let text: String = sizes.iter().map(|&size| "x".repeat(size) + "\n").collect();
                        match append(&opened.journal, kind, &text).await {
                            Ok(offset) => {
                                assert_eq!(offset, end);
                                model.extend(lines_of(kind, end, &text));
                                end += text.len() as u64;
                            }
                            Err(error) => {
                                assert_eq!(error, AppendError::Full { bytes_max: 4_000 });
                                assert!(opened.journal.size().bytes() + 25 + text.len() as u64 > 4_000);
                            }
                        }
                        assert!(opened.journal.size().bytes() <= 4_000 + segment::START);
                    }
                    Action::Release(index) => {
                        let head = head(&model, index, end);
                        checkpointed = checkpointed.max(head);
                        opened.journal.release(head);
                    }
                    Action::Restart | Action::Read(_) => {
                        opened.journal.close().await;
                        opened = open(&settings, checkpointed).expect("opens again");
                        assert_eq!((opened.journal.size().end(), &opened.losses), (end, &vec![]));
                    }
                }
                if let Action::Read(index) = action {
                    let from = head(&model, index, end).max(checkpointed);
                    let expect: Lines = model.iter().filter(|line| line.1 >= from).cloned().collect();
                    assert_eq!(drain(opened.reader, from).await.expect("reads"), expect);
                    opened.journal.close().await;
                    opened = open(&settings, checkpointed).expect("opens again");
                }
            }
        });
    }

    /// The flagship: one byte of one segment is changed, or the file ends early. What stands before is read, what stands
    /// after is never given as if nothing had happened.
    #[test]
    fn damage_anywhere_is_found(
        sizes in prop::collection::vec(0..120_usize, 1..16),
        place in any::<prop::sample::Index>(),
        change in prop_oneof![Just(None), (1..=255_u8).prop_map(Some)],
    ) {
        block_on(async {
            let data = tempfile::tempdir().expect("a folder");
            let settings = settings(data.path(), 3_000);
            let Opened { journal, .. } = open(&settings, 0).expect("opens");
            let mut model = Lines::new();
            for size in sizes {
                let text = "x".repeat(size) + "\n";
                let offset = append(&journal, None, &text).await.expect("appends");
                model.extend(lines_of(None, offset, &text));
            }
            let end = journal.size().end();
            journal.close().await;

            let (path, at) = pick(&settings.folder(), place);
            let mut bytes = fs::read(&path).expect("reads");
            match change {
                Some(change) => bytes[at] ^= change,
                None => bytes.truncate(at),
            }
            fs::write(&path, bytes).expect("writes");

            match open(&settings, 0) {
                Err(Error::Damaged { path: named, offset, .. }) => {
                    assert_eq!(named, path);
                    assert!(offset <= at as u64);
                }
                Err(error) => panic!("{error}"),
                Ok(Opened { journal, reader, losses }) => {
                    let read = drain(reader, 0).await.expect("reads");
                    // A last segment that ends early at a record's end looks like one that was never longer; a middle
                    // one leaves a gap.
                    let ends_early = change.is_none() && journal.size().end() < end;
                    assert!(!losses.is_empty() || ends_early, "not found");
                    let gap = losses.iter().any(|loss| matches!(loss, Loss::Gap { .. }));
                    let kept = model.iter().filter(|line| read.contains(line)).count();
                    assert_eq!(kept, read.len(), "nothing but what was written");
                    assert!(gap || read == model[..read.len()], "what stands before");
                    assert!(gap || read.len() + 1 >= model.len() || change.is_none(), "what was durable before the last group");
                }
            }
        });
    }
}

/// A checkpoint's head: the start of a line, or the end.
fn head(model: &Lines, index: prop::sample::Index, end: u64) -> u64 {
    let index = index.index(model.len() + 1);
    model.get(index).map_or(end, |line| line.1)
}

fn pick(folder: &Path, place: prop::sample::Index) -> (PathBuf, usize) {
    let segments = segment::list(folder).expect("lists");
    let lengths: Vec<usize> = segments
        .iter()
        .map(|(_, path)| fs::read(path).expect("reads").len())
        .collect();
    let mut at = place.index(lengths.iter().sum());
    for ((_, path), length) in segments.into_iter().zip(lengths) {
        if at < length {
            return (path, at);
        }
        at -= length;
    }
    panic!("the place lies in a segment");
}
