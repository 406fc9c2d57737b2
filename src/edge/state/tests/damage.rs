//! A store whose files are damaged, lost, or of another time: it is refused, or says so when it is read, or is right.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{State, key};
use crate::flow::event::Timestamp;
use crate::flow::join::{Cold, Delta, Open, Opens, Ticket};
use crate::flow::windows::{Length, RowKey, Rows, RowsDelta};

/// Checkpoints; each adds as many predictions and windows, changes some and forgets some.
const STEPS: u8 = 4;
const WINDOWS_PER_STEP: u8 = 8;
const PREDICTIONS_PER_STEP: u8 = 60;

/// A store as it was left after each checkpoint but the last, and the last one's delta.
struct Store {
    folder: tempfile::TempDir,
    delta: Delta,
    rows: RowsDelta,
}

/// All that the engine may ask.
#[derive(Debug, PartialEq)]
struct Answers {
    predictions: BTreeMap<Ticket, Vec<u8>>,
    by_key: Vec<Vec<Ticket>>,
    windows: Vec<Option<Vec<u8>>>,
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Removed,
    CutTo(u64),
    Flipped(u64),
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        let mut opens = Opens::new(0);
        opens.spill_to(Box::new(state.clone()));
        let (mut last_delta, mut last_rows) = (Delta::default(), RowsDelta::default());
        for step in 0..STEPS {
            for id in 0..PREDICTIONS_PER_STEP {
                let id = step * PREDICTIONS_PER_STEP + id;
                opens.push(Open::new(key(id), Timestamp(0), Timestamp(0), 0, 0));
                for ticket in opens.find(key(id / 2)) {
                    opens.get_mut(ticket).unwrap().revision += 1;
                }
            }
            for _ in 0..step * 5 {
                opens.pop();
            }
            let number = u64::from(step) + 1;
            let (_, delta) = opens.cut(number, None).unwrap();
            let first = step * WINDOWS_PER_STEP;
            let rows = RowsDelta {
                kept: (first..first + WINDOWS_PER_STEP)
                    .map(|n| (row(n), vec![b'w'; 3_000]))
                    .collect(),
                gone: (0..first / 3).map(row).collect(),
            };
            state.apply(&delta, &rows).unwrap();
            opens.committed(number);
            (last_delta, last_rows) = (delta, rows);
        }
        drop((opens, state));
        Self {
            folder,
            delta: last_delta,
            rows: last_rows,
        }
    }

    /// Brings a copy of the store to the last checkpoint and asks it everything.
    fn ask(&self, copy: &Path) -> Result<Answers, String> {
        let state = State::new(copy);
        state
            .recover(Some((&self.delta, &self.rows)))
            .map_err(|error| error.to_string())?;
        let first = self.delta.edges.first;
        let mut predictions = BTreeMap::new();
        let mut keep = |ticket, bytes: &[u8]| {
            predictions.insert(ticket, bytes.to_vec());
        };
        let read = state.read(first, usize::MAX, &mut keep);
        read.map_err(|error| error.to_string())?;
        let mut by_key = Vec::new();
        for id in 0..STEPS * PREDICTIONS_PER_STEP {
            let mut tickets = Vec::new();
            let found = state.find(key(id), &mut |ticket, _| tickets.push(ticket));
            found.map_err(|error| error.to_string())?;
            by_key.push(tickets);
        }
        let windows: Result<Vec<_>, _> = (0..STEPS * WINDOWS_PER_STEP)
            .map(|n| state.row(&row(n)))
            .collect();
        Ok(Answers {
            predictions,
            by_key,
            windows: windows.map_err(|error| error.to_string())?,
        })
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in files(self.folder.path()) {
            let target = copy.path().join(&file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(self.folder.path().join(&file), &target).unwrap();
        }
        copy
    }
}

fn row(n: u8) -> RowKey {
    RowKey {
        length: Length::Fixed(60_000),
        start: Timestamp(i64::from(n) * 60_000),
        series: 1,
    }
}

/// Paths below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Damage worth trying: cuts and flips all over the file, which has some tens of kilobytes.
fn damages(path: &Path) -> Vec<Damage> {
    let length = fs::metadata(path).unwrap().len();
    let step = usize::try_from(length / 100).unwrap().max(1);
    let flips = (0..length).step_by(step).map(Damage::Flipped);
    let cuts = (0..length).step_by(step * 2 + 1).map(Damage::CutTo);
    // Each byte of the header and of what comes last.
    let ends = (0..100).chain(length - 100..length).map(Damage::Flipped);
    [Damage::Removed, Damage::CutTo(length - 1)]
        .into_iter()
        .chain(cuts)
        .chain(flips)
        .chain(ends)
        .collect()
}

fn inflict(damage: Damage, path: &Path) {
    match damage {
        Damage::Removed => fs::remove_file(path).unwrap(),
        Damage::CutTo(length) => {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(length).unwrap();
        }
        Damage::Flipped(at) => {
            use std::os::unix::fs::FileExt;
            let file = File::options().read(true).write(true).open(path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 0x41;
            file.write_all_at(&byte, at).unwrap();
        }
    }
}

#[test]
fn a_damaged_store_is_refused_or_right() {
    let store = Store::new();
    let right = store.ask(store.copy().path()).unwrap();
    assert!(right.predictions.len() > 100);
    let (mut refused, mut harmless) = (0, 0);
    for file in files(store.folder.path()) {
        for damage in damages(&store.folder.path().join(&file)) {
            let copy = store.copy();
            inflict(damage, &copy.path().join(&file));
            match store.ask(copy.path()) {
                Err(words) => {
                    assert!(
                        words.contains("restore the whole data folder") || words.contains("cannot"),
                        "{words}"
                    );
                    refused += 1;
                }
                Ok(answers) => {
                    assert_eq!(answers, right, "{damage:?} in {}", file.display());
                    harmless += 1;
                }
            }
        }
    }
    assert!(
        refused > 10 && harmless > 0,
        "{refused} refused, {harmless} right"
    );
}
