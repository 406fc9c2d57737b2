//! The log against a map, with segments of some forty rows: closed, opened, and cut anywhere behind its last note.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::edge::state::index::{Index, PIECE, mark};
use crate::edge::state::shelf::Shelf;
use crate::flow::event::Timestamp;
use crate::flow::join::{Delta, Edges, Key, Ticket};
use crate::flow::windows::{Length, RowKey, RowsDelta};

const KEYS: u8 = 60;
const WINDOWS: u8 = 10;

/// What one checkpoint brings.
#[derive(Clone, Debug)]
struct Change {
    /// New rows: their keys, and bytes.
    new: Vec<(u8, usize)>,
    /// Old ones that change: which of those there are.
    old: Vec<prop::sample::Index>,
    sweeps: u64,
    /// Windows: which, and bytes; without any, it is gone.
    windows: Vec<(u8, Option<usize>)>,
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Change),
    Reopen,
    /// A crash while it is written: of what it has added to the files, such a part is there.
    Crash(Change, f64),
}

fn change() -> impl Strategy<Value = Change> {
    let length = || prop_oneof![9 => 0..60_usize, 1 => 400..3_000_usize];
    let window = (0..WINDOWS, prop::option::weighted(0.8, 0..200_000_usize));
    (
        prop::collection::vec((0..KEYS, length()), 0..70),
        prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        prop_oneof![2 => Just(0), 1 => 0..80_u64],
        prop::collection::vec(window, 0..3),
    )
        .prop_map(|(new, old, sweeps, windows)| Change {
            new,
            old,
            sweeps,
            windows,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => change().prop_map(Step::Apply),
        1 => Just(Step::Reopen),
        3 => (change(), 0.0..1.0_f64).prop_map(|(change, part)| Step::Crash(change, part)),
    ]
}

/// Every other one has the same 28 bits as all of these in an index.
fn key(id: u8) -> Key {
    let id = u128::from(id);
    if id % 2 == 0 {
        Key((0x0abc_def1_u128 << 36 | id) << 64 | id)
    } else {
        Key::of(&id.to_string(), None)
    }
}

fn window(id: u8) -> RowKey {
    RowKey {
        length: Length::Fixed(60_000),
        start: Timestamp(i64::from(id) * 60_000),
        series: 1,
    }
}

/// What must be found.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<Ticket, (u8, Vec<u8>)>,
    windows: BTreeMap<u8, Vec<u8>>,
    first: Ticket,
    end: Ticket,
    number: u64,
}

impl Model {
    /// The same with a change, and what the store is told of it.
    fn with(&self, change: &Change) -> (Self, Delta, RowsDelta) {
        let mut next = self.clone();
        next.number += 1;
        let (mut rows, mut windows) = (Vec::new(), RowsDelta::default());
        for old in &change.old {
            if !self.rows.is_empty() {
                let (ticket, (id, bytes)) =
                    self.rows.iter().nth(old.index(self.rows.len())).unwrap();
                let mut bytes = bytes.clone();
                bytes.extend(next.number.to_le_bytes());
                // Its first row says whether it was alone, and so does each later one.
                let alone = self.rows.range(..ticket).all(|(_, (other, _))| other != id);
                push(&mut rows, *ticket, alone, &bytes);
                next.rows.insert(*ticket, (*id, bytes));
            }
        }
        for (id, length) in &change.new {
            let mut bytes = key(*id).0.to_be_bytes().to_vec();
            bytes.resize(16 + length, *id);
            let alone = next.rows.values().all(|(other, _)| other != id);
            push(&mut rows, next.end, alone, &bytes);
            next.rows.insert(next.end, (*id, bytes));
            next.end += 1;
        }
        for (id, length) in &change.windows {
            windows.kept.retain(|(key, _)| *key != window(*id));
            windows.gone.retain(|key| *key != window(*id));
            if let Some(length) = length {
                let bytes = vec![*id; *length];
                windows.kept.push((window(*id), bytes.clone()));
                next.windows.insert(*id, bytes);
            } else {
                windows.gone.push(window(*id));
                next.windows.remove(id);
            }
        }
        next.first = (self.first + change.sweeps).min(next.end);
        next.rows = next.rows.split_off(&next.first);
        let edges = Edges {
            number: next.number,
            upon: self.number,
            first: next.first,
            new_from: self.end,
            sweeps: change.sweeps > 0,
        };
        (next, Delta { edges, rows }, windows)
    }

    fn check(&self, shelf: &Shelf) {
        for id in 0..KEYS {
            let mut found = Vec::new();
            let mut keep = |ticket, bytes: &[u8]| found.push((ticket, bytes.to_vec()));
            shelf.find(key(id), &mut keep).unwrap();
            let expected = self.rows.iter().filter(|(_, (of, _))| *of == id);
            let expected: Vec<_> = expected
                .map(|(ticket, (_, bytes))| (*ticket, bytes.clone()))
                .collect();
            assert_eq!(found, expected, "id {id}");
        }
        for most in [usize::MAX, 7] {
            let (mut read, mut from) = (Vec::new(), self.first);
            loop {
                let before = read.len();
                let mut keep = |ticket, bytes: &[u8]| read.push((ticket, bytes.to_vec()));
                shelf.read(from, most, &mut keep).unwrap();
                if read.len() == before {
                    break;
                }
                from = read.last().unwrap().0 + 1;
            }
            let expected = self
                .rows
                .iter()
                .map(|(ticket, (_, bytes))| (*ticket, bytes.clone()));
            assert_eq!(read, expected.collect::<Vec<_>>());
        }
        for id in 0..WINDOWS {
            assert_eq!(
                shelf.window(&window(id)).unwrap().as_ref(),
                self.windows.get(&id)
            );
        }
    }
}

/// As a checkpoint holds it.
fn push(rows: &mut Vec<u8>, ticket: Ticket, alone: bool, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap() | u32::from(alone) << 31;
    rows.extend(ticket.to_le_bytes());
    rows.extend(length.to_le_bytes());
    rows.extend(bytes);
}

fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
        .collect()
}

/// Takes back a part of what was added to the file that was written last.
fn crash(folder: &Path, before: &BTreeMap<PathBuf, u64>, part: f64) {
    let now = files(folder);
    let (path, length) = now
        .iter()
        .rfind(|(path, _)| path.extension().unwrap() == "rows")
        .unwrap();
    let was = before.get(path).copied().unwrap_or(0).min(*length);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a file"
    )]
    let there = was + ((length - was) as f64 * part) as u64;
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(there)
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_log_keeps_what_a_map_keeps(steps in prop::collection::vec(step(), 1..24)) {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("store");
        Shelf::make(&folder).unwrap();
        let mut shelf = Shelf::open(&folder).unwrap();
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Apply(change) => {
                    let (next, delta, windows) = model.with(change);
                    shelf.apply(&delta, &windows).unwrap();
                    model = next;
                }
                Step::Reopen => shelf = Shelf::open(&folder).unwrap(),
                Step::Crash(change, part) => {
                    let before = files(&folder);
                    let copies = tempfile::tempdir().unwrap();
                    for path in before.keys() {
                        fs::copy(path, copies.path().join(path.file_name().unwrap())).unwrap();
                    }
                    let (next, delta, windows) = model.with(change);
                    shelf.apply(&delta, &windows).unwrap();
                    drop(shelf);
                    crash(&folder, &before, *part);
                    // A file goes once the note is durable: then the crash was before all that.
                    if before.keys().any(|path| !path.try_exists().unwrap()) {
                        for path in files(&folder).keys() {
                            fs::remove_file(path).unwrap();
                        }
                        for path in before.keys() {
                            fs::copy(copies.path().join(path.file_name().unwrap()), path).unwrap();
                        }
                    }
                    shelf = Shelf::open(&folder).unwrap();
                    prop_assert_eq!(shelf.seen().number, model.number);
                    model.check(&shelf);
                    shelf.apply(&delta, &windows).unwrap();
                    model = next;
                }
            }
            prop_assert_eq!(shelf.seen().number, model.number);
            model.check(&shelf);
        }
        model.check(&Shelf::open(&folder).unwrap());
    }
}

/// What has left takes its files along, and windows that were written again take no more than twice their place.
#[test]
fn the_disk_holds_what_is_open() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("store");
    Shelf::make(&folder).unwrap();
    let shelf = Shelf::open(&folder).unwrap();
    let mut model = Model::default();
    for round in 0..200 {
        let change = Change {
            new: (0..50).map(|id| (id, 40)).collect(),
            old: Vec::new(),
            sweeps: if round < 10 { 0 } else { 50 },
            windows: (0..2).map(|id| (id, Some(20_000))).collect(),
        };
        let (next, delta, windows) = model.with(&change);
        shelf.apply(&delta, &windows).unwrap();
        model = next;
    }
    model.check(&shelf);
    let files = files(&folder);
    // 500 open rows in segments of 50, and one that is written to.
    assert!(files.len() <= 14, "{files:?}");
    let windows = files
        .iter()
        .filter(|(path, _)| path.extension().unwrap() == "windows");
    let windows: Vec<u64> = windows.map(|(_, length)| *length).collect();
    assert!(windows.len() == 1 && windows[0] < 1_300_000, "{windows:?}");
}

#[test]
fn an_index_knows_what_it_was_given_and_little_else() {
    let key = |n: u64| Key::of(&n.to_string(), None);
    // Rows of 100 bytes.
    let place = |n: u64| n * 100;
    let index = Index::new(
        1_000_000,
        (0..10_000_u32).map(|n| (mark(key(n.into())), place(n.into()))),
    );
    let mut bytes = Vec::new();
    index.write(&mut bytes);
    assert_eq!(bytes.len(), Index::length(10_000, 1_000_000));
    let index = Index::read(10_000, 1_000_000, &bytes);
    for n in 0..10_000 {
        let starts: Vec<u64> = index.pieces(mark(key(n))).into_iter().collect();
        assert!(
            starts.contains(&(place(n) / PIECE * PIECE)),
            "{n}: {starts:?}"
        );
        assert!(index.first_in(place(n) / PIECE * PIECE) <= place(n));
    }
    let wrong = (10_000..110_000)
        .filter(|n| !index.pieces(mark(key(*n))).is_empty())
        .count();
    assert!(wrong < 500, "{wrong} of 100,000");
}
