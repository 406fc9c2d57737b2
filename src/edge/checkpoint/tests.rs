//! What survives which crash.

use proptest::prelude::*;

use super::*;
use crate::flow::event::Timestamp;
use crate::flow::event::{Head, SourceKey};
use crate::flow::join::{Cold, Edges, Key, Open, Opens};
use crate::flow::windows::{Length, RowKey, Rows, RowsDelta};

fn checkpoint(offset: u64) -> Checkpoint {
    let head = Head {
        input: 1,
        offset,
        evidence: "{\"path\":\"/var/log/p.jsonl\"}".to_owned(),
    };
    Checkpoint {
        heads: [(SourceKey("file:1:2".into()), head)].into(),
        state: vec![7; 300],
        cold: Delta::default(),
        rows: RowsDelta::default(),
    }
}

fn write(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    Encoded::of(checkpoint)?.write(path)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data")).unwrap();
    (folder, store)
}

#[test]
fn the_first_start_has_no_checkpoint_and_the_next_has_the_last() {
    let (_folder, store) = store();
    assert_eq!(store.load().unwrap(), None);
    store.save(&checkpoint(1)).unwrap();
    store.save(&checkpoint(2)).unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint(2)));
}

#[test]
fn a_torn_checkpoint_gives_way_to_the_one_before() {
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    store.save(&checkpoint(2)).unwrap();
    std::fs::write(store.folder().join(CURRENT), b"torn").unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint(1)));
}

#[test]
fn a_crash_between_the_renames_loses_nothing() {
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    write(&store.folder().join(NEW), &checkpoint(2)).unwrap();
    std::fs::rename(store.folder().join(CURRENT), store.folder().join(PREVIOUS)).unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint(2)));
}

#[test]
fn a_crash_while_writing_leaves_the_old_one() {
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    std::fs::write(store.folder().join(NEW), b"MBCK").unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint(1)));
}

#[test]
fn nothing_but_torn_files_is_said_and_not_taken_for_a_first_start() {
    let (_folder, store) = store();
    std::fs::write(store.folder().join(CURRENT), b"torn").unwrap();
    let message = store.load().unwrap_err().to_string();
    assert!(message.contains("no whole checkpoint"), "{message}");
}

/// The prediction leaves memory with the checkpoint, and the process dies before the store of open predictions hears it.
#[test]
fn a_crash_before_the_store_hears_of_it_loses_nothing() {
    let (_folder, store) = store();
    let mut opens = Opens::new(0);
    opens.spill_to(Box::new(store.state().clone()));
    let key = Key::of("p-1", None);
    opens.push(Open::new(key, Timestamp(0), Timestamp(0), 0, 0));
    let (_, cold) = opens.cut(1, None).unwrap();
    let checkpoint = Checkpoint {
        cold,
        ..checkpoint(1)
    };
    write(&store.folder().join(CURRENT), &checkpoint).unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint));
    let mut found = Vec::new();
    store
        .state()
        .find(key, &mut |ticket, _| found.push(ticket))
        .unwrap();
    assert_eq!(found, [0]);
}

#[test]
fn a_newer_format_is_not_guessed_at() {
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    let path = store.folder().join(CURRENT);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 3;
    let body = HEADER + blake3::OUT_LEN;
    let sum = checksum(&[&bytes[..HEADER], &bytes[body..]]);
    bytes[HEADER..body].copy_from_slice(sum.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let message = store.load().unwrap_err().to_string();
    assert!(message.contains("has format 3"), "{message}");
}

/// Whatever a newer layout looks like, and though ours would find nothing in it that fits.
#[test]
fn a_newer_layout_is_not_taken_for_a_torn_file() {
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    store.save(&checkpoint(2)).unwrap();
    for length in [HEADER + blake3::OUT_LEN, 500] {
        let mut bytes = vec![9; length];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        std::fs::write(store.folder().join(CURRENT), bytes).unwrap();
        let message = store.load().unwrap_err().to_string();
        assert!(message.contains("has format 2"), "{message}");
    }
}

/// A checkpoint whose delta moves the store on.
fn moving(number: u64) -> Checkpoint {
    let mut checkpoint = checkpoint(number);
    let row = RowKey {
        length: Length::Month,
        start: Timestamp(0),
        series: 3,
    };
    checkpoint.cold.edges.number = number;
    checkpoint.cold.edges.upon = number - 1;
    checkpoint
        .rows
        .kept
        .push((row, number.to_le_bytes().to_vec()));
    checkpoint
}

#[test]
fn damage_to_one_file_strands_nobody_though_the_store_moves_on() {
    let (_folder, store) = store();
    store.save(&moving(1)).unwrap();
    store.save(&moving(2)).unwrap();
    for name in [CURRENT, PREVIOUS] {
        let path = store.folder().join(name);
        let whole = std::fs::read(&path).unwrap();
        for torn in [None, Some(&b""[..]), Some(&whole[..whole.len() - 1])] {
            match torn {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert_eq!(store.load().unwrap(), Some(moving(2)));
        }
        std::fs::write(&path, whole).unwrap();
    }
}

/// Every state that a kill in the middle of a save can leave, made by hand: the store is at 1 or at 2.
#[test]
fn a_kill_at_any_step_of_a_save_is_gone_on_from() {
    for step in 0..7 {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save(&moving(1)).unwrap();
        let path = |name| store.folder().join(name);
        let expected = if step < 2 { 1 } else { 2 };
        if step >= 1 {
            write(&path(NEW), &moving(2)).unwrap();
        }
        if step >= 2 {
            std::fs::rename(path(CURRENT), path(PREVIOUS)).unwrap();
        }
        if step >= 3 {
            std::fs::rename(path(NEW), path(CURRENT)).unwrap();
        }
        if step >= 4 {
            std::fs::write(path(NEW), &MAGIC[..5]).unwrap();
        }
        if step >= 5 {
            write(&path(NEW), &moving(2)).unwrap();
            std::fs::rename(path(NEW), path(PREVIOUS)).unwrap();
        }
        if step >= 6 {
            let Checkpoint { cold, rows, .. } = moving(2);
            store.state().apply(&cold, &rows).unwrap();
        }
        assert_eq!(store.load().unwrap(), Some(moving(expected)), "step {step}");
        let row = moving(1).rows.kept[0].0;
        let found = store.state().row(&row).unwrap();
        assert_eq!(found, Some(expected.to_le_bytes().to_vec()), "step {step}");
        store.save(&moving(expected + 1)).unwrap();
        assert_eq!(store.load().unwrap(), Some(moving(expected + 1)));
    }
}

#[test]
fn a_checkpoint_that_was_taken_away_is_not_a_first_start() {
    let (_folder, store) = store();
    store.save(&moving(1)).unwrap();
    std::fs::remove_file(store.folder().join(CURRENT)).unwrap();
    std::fs::remove_file(store.folder().join(PREVIOUS)).unwrap();
    let message = store.load().unwrap_err().to_string();
    assert!(message.contains("no checkpoint beside it"), "{message}");
}

#[test]
fn the_folder_belongs_to_one_process_and_the_other_is_named() {
    let (_folder, store) = store();
    let message = Store::open(store.folder()).unwrap_err().to_string();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_enter_or_read() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, store) = store();
    store.save(&checkpoint(1)).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.folder()), 0o700);
    assert_eq!(mode(&store.folder().join(CURRENT)), 0o600);
}

proptest! {
    /// Whatever one fault makes of one file, a start goes on from one of the last two, or is refused; never from nothing.
    #[test]
    fn one_fault_never_makes_a_first_start(
        saves in 1_u64..4,
        which in 0_usize..3,
        at: prop::sample::Index,
        change in prop::option::of(1_u8..),
    ) {
        let (_folder, store) = store();
        for offset in 1..=saves {
            store.save(&checkpoint(offset)).unwrap();
        }
        write(&store.folder().join(NEW), &checkpoint(saves + 1)).unwrap();
        let path = store.folder().join([CURRENT, PREVIOUS, NEW][which]);
        if let Ok(mut bytes) = std::fs::read(&path) {
            let at = at.index(bytes.len());
            match change {
                Some(change) => bytes[at] ^= change,
                None => bytes.truncate(at),
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let loaded = store.load().unwrap().unwrap();
        prop_assert!(loaded == checkpoint(saves) || which == 0 && loaded == checkpoint(saves + 1));
    }

    #[test]
    fn any_truncation_is_detected(length in 0_usize..400) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        write(&path, &checkpoint(9)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        prop_assume!(length < bytes.len());
        std::fs::write(&path, &bytes[..length]).unwrap();
        prop_assert!(matches!(read(&path), Err(Unread::Torn(_))));
    }

    #[test]
    fn any_changed_byte_is_detected(at: prop::sample::Index, change in 1_u8..) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        write(&path, &checkpoint(9)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(matches!(read(&path), Err(Unread::Torn(_))));
    }

    #[test]
    fn what_is_written_is_read(
        state in proptest::collection::vec(any::<u8>(), 0..2000),
        (number, rows) in (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..2000)),
        heads in proptest::collection::btree_map(".{0,20}", (any::<u16>(), any::<u64>(), ".{0,20}"), 0..8),
    ) {
        let heads = heads.into_iter().map(|(key, (input, offset, evidence))| {
            (SourceKey(key.into()), Head { input, offset, evidence })
        });
        let cold = Delta { edges: Edges { number, ..Edges::default() }, rows };
        let start = Timestamp(60_000);
        let row = RowKey { length: Length::Month, start, series: 3 };
        let windows = RowsDelta { kept: vec![(row, state.clone())], gone: vec![row] };
        let checkpoint = Checkpoint { heads: heads.collect(), state, cold, rows: windows };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        write(&path, &checkpoint).unwrap();
        prop_assert_eq!(read(&path).ok(), Some(checkpoint));
    }
}
