//! Windows that have left memory for a store on disk, and come back when something asks for them.
//!
//! What leaves is a *row*: the panes of all slices of one length, start and series, for they are touched together. Of a row
//! away, memory keeps its slices and when its last prediction came. The invariant is that of the open predictions
//! ([`crate::flow::join::Cold`]): the store never knows more than the checkpoint a restart goes on from. So rows leave with
//! a checkpoint, stay readable in memory until that is saved, and a row that is touched meanwhile stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::ColdError;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Pane, WindowKey, Windows};

/// The panes of all slices of one stretch of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// The windows' length.
    pub length: Length,
    /// The panes' start.
    pub start: Timestamp,
    /// Model and version.
    pub series: u32,
}

/// Where rows lie that are not in memory.
pub trait Rows: fmt::Debug + Send {
    /// The bytes of a row, if the store has it.
    ///
    /// # Errors
    /// The store cannot be read: the engine must not go on.
    fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, ColdError>;
}

/// What the store must learn with a checkpoint. Applying it twice changes nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsDelta {
    /// Rows to keep.
    pub kept: Vec<(RowKey, Vec<u8>)>,
    /// Rows to forget.
    pub gone: Vec<RowKey>,
}

impl RowsDelta {
    /// True if the store stays as it is.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gone.is_empty()
    }
}

/// What memory keeps of a row in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Away {
    pub(super) last_arrival: Timestamp,
    pub(super) slices: Vec<u32>,
}

/// The rows in the store, on their way there, and to be forgotten there.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    bytes_max: usize,
    store: Option<Box<dyn Rows>>,
    fault: Option<String>,
    pub(super) away: BTreeMap<RowKey, Away>,
    /// Rows that left with a checkpoint not known to be saved: still in memory, too.
    leaving: BTreeMap<RowKey, (u64, Away)>,
    /// Rows the store may still have, and the last checkpoint made before they came back or became final: the next ones
    /// must tell the store to forget them.
    gone: BTreeMap<RowKey, u64>,
    /// Number of the last checkpoint made.
    made: u64,
}

impl Spilled {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }

    /// The pane is in the store.
    pub(super) fn has(&self, key: &WindowKey) -> bool {
        self.away
            .get(&row_of(key))
            .is_some_and(|away| away.slices.binary_search(&key.slice).is_ok())
    }

    /// The wholes in the store, and when their last prediction came.
    pub(super) fn wholes(&self) -> impl Iterator<Item = (WindowKey, Timestamp)> {
        self.away
            .iter()
            .map(|(row, away)| (key_of(row, ALL), away.last_arrival))
    }

    /// All panes in the store.
    pub(super) fn keys(&self) -> impl Iterator<Item = WindowKey> {
        self.away
            .iter()
            .flat_map(|(row, away)| away.slices.iter().map(move |slice| key_of(row, *slice)))
    }

    /// A row was touched: if it was about to leave, it stays.
    pub(super) fn stay(&mut self, row: &RowKey) {
        if self.leaving.remove(row).is_some() {
            self.gone.insert(*row, self.made);
        }
    }

    /// Number of the last checkpoint made.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// True if rows are on their way to the store.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    fn forget(&mut self, row: RowKey) {
        self.away.remove(&row);
        self.leaving.remove(&row);
        self.gone.insert(row, self.made);
    }
}

impl Windows {
    /// Windows beyond `bytes_max` lie in this store, as the checkpoint resumed from left it.
    pub fn spill_to(&mut self, store: Box<dyn Rows>) {
        self.spilled.store = Some(store);
    }

    /// Why the windows cannot go on: the store could not be read.
    pub fn fault(&self) -> Option<&str> {
        self.spilled.fault.as_deref()
    }

    /// Brings a row back into memory, if it is in the store.
    pub(super) fn fetch_row(&mut self, row: &RowKey) {
        if !self.spilled.away.contains_key(row) {
            return;
        }
        let read = match &self.spilled.store {
            Some(store) => store.row(row),
            None => Err(ColdError("there is no store of windows".into())),
        };
        let panes = read.map_err(|error| error.to_string()).and_then(|bytes| {
            let bytes = bytes.ok_or(
                "the store of windows has lost one; restore the whole data folder from one backup",
            )?;
            postcard::from_bytes::<Vec<(u32, Pane)>>(&bytes)
                .map_err(|error| format!("a stored window cannot be read: {error}"))
        });
        match panes {
            Ok(panes) => {
                for (slice, pane) in panes {
                    self.panes.insert(key_of(row, slice), pane);
                }
                self.spilled.forget(*row);
            }
            Err(fault) => {
                self.spilled.fault.get_or_insert(fault);
            }
        }
    }

    /// Brings back all panes of these windows, and those of the other versions beside them, with which they are compared.
    pub fn fetch(&mut self, keys: &[WindowKey]) {
        if self.spilled.away.is_empty() {
            return;
        }
        let stretches: BTreeSet<(Length, Timestamp)> = keys
            .iter()
            .flat_map(|key| {
                key.length
                    .panes_of(key.start)
                    .map(|start| (key.length, start))
            })
            .collect();
        let mut rows = Vec::new();
        for (length, start) in stretches {
            let beside = |series| RowKey {
                length,
                start,
                series,
            };
            rows.extend(
                self.spilled
                    .away
                    .range(beside(0)..=beside(u32::MAX))
                    .map(|(row, _)| *row),
            );
        }
        for row in rows {
            self.fetch_row(&row);
        }
    }

    /// Makes room: rows that rest leave with checkpoint `number`. Returns what the store must learn with it.
    ///
    /// # Errors
    /// The encoder, which has no reason to.
    pub(super) fn leave(&mut self, number: u64) -> Result<RowsDelta, postcard::Error> {
        self.spilled.made = number;
        for (row, away) in self.resting() {
            self.spilled.gone.remove(&row);
            self.spilled.leaving.insert(row, (number, away));
        }
        let mut delta = RowsDelta::default();
        for (row, (_, away)) in &self.spilled.leaving {
            let keys = away.slices.iter().map(|slice| key_of(row, *slice));
            let panes: Vec<(u32, &Pane)> = keys
                .filter_map(|key| Some((key.slice, self.panes.get(&key)?)))
                .collect();
            delta.kept.push((*row, postcard::to_stdvec(&panes)?));
        }
        delta.gone = self.spilled.gone.keys().copied().collect();
        Ok(delta)
    }

    /// Checkpoint `number` is saved, and its delta applied to the store: the rows that left with it leave memory.
    pub fn committed(&mut self, number: u64) {
        // What has come for a row about to leave keeps it here; and panes get other places.
        self.gather();
        self.spilled.gone.retain(|_, made| *made >= number);
        let left: Vec<RowKey> = self
            .spilled
            .leaving
            .iter()
            .filter(|(_, (with, _))| *with <= number)
            .map(|(row, _)| *row)
            .collect();
        if left.is_empty() {
            return;
        }
        for row in &left {
            if let Some((_, away)) = self.spilled.leaving.remove(row) {
                self.spilled.away.insert(*row, away);
            }
        }
        let away = &self.spilled.away;
        self.panes.retain(|key, _| !away.contains_key(&row_of(key)));
        self.panes.shrink_to_fit();
        self.renumber();
    }

    /// What a checkpoint's state holds of the rows that are in the store once it is saved.
    pub(super) fn away(&self) -> BTreeMap<RowKey, Away> {
        let mut away = self.spilled.away.clone();
        let leaving = self.spilled.leaving.iter();
        away.extend(leaving.map(|(row, (_, away))| (*row, away.clone())));
        away
    }

    /// True if the pane is in the checkpoint's own state, and not in the store.
    pub(super) fn stays(&self, key: &WindowKey) -> bool {
        !self.spilled.leaving.contains_key(&row_of(key))
    }

    /// Goes on with the rows a checkpoint left in the store.
    pub(super) fn resume_away(&mut self, away: BTreeMap<RowKey, Away>, made: u64) {
        self.spilled.away = away;
        self.spilled.made = made;
    }

    /// Forgets rows in the store whose windows are final. (They came back to be published; this is for what did not.)
    pub(super) fn forget_rows(&mut self, is_final: impl Fn(&RowKey) -> bool) {
        let rows: Vec<RowKey> = self
            .spilled
            .away
            .keys()
            .filter(|row| is_final(row))
            .copied()
            .collect();
        for row in rows {
            self.spilled.forget(row);
        }
    }

    /// Rows to send away: while memory holds more than its bound, those that rest longest, until 5/8 of it are left.
    fn resting(&self) -> Vec<(RowKey, Away)> {
        if self.spilled.store.is_none() {
            return Vec::new();
        }
        let weight = |pane: &Pane| size_of::<(WindowKey, Pane)>() + pane.tally.heap_bytes();
        let held: usize = self.panes.values().map(weight).sum();
        if held <= self.spilled.bytes_max {
            return Vec::new();
        }
        let mut rows: BTreeMap<RowKey, Resting> = BTreeMap::new();
        for (key, pane) in &self.panes {
            let row = rows.entry(row_of(key)).or_insert_with(Resting::new);
            row.is_busy |= pane.dirty || !self.stays(key) || key.length == Length::Cumulative;
            row.touched = row.touched.max(pane.touched);
            row.bytes += weight(pane);
            row.away.last_arrival = row.away.last_arrival.max(pane.last_arrival);
            row.away.slices.push(key.slice);
        }
        let mut rows: Vec<_> = rows.into_iter().filter(|(_, row)| !row.is_busy).collect();
        rows.sort_unstable_by_key(|(key, row)| (row.touched, key.start));
        let mut over = held - self.spilled.bytes_max / 8 * 5;
        let mut leaves = Vec::new();
        for (key, mut row) in rows {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(row.bytes);
            row.away.slices.sort_unstable();
            leaves.push((key, row.away));
        }
        leaves
    }
}

/// A row in memory that might leave it.
struct Resting {
    is_busy: bool,
    touched: u64,
    bytes: usize,
    away: Away,
}

impl Resting {
    const fn new() -> Self {
        let away = Away {
            last_arrival: Timestamp(i64::MIN),
            slices: Vec::new(),
        };
        Self {
            is_busy: false,
            touched: 0,
            bytes: 0,
            away,
        }
    }
}

pub(super) const fn row_of(key: &WindowKey) -> RowKey {
    RowKey {
        length: key.length,
        start: key.start,
        series: key.series,
    }
}

const fn key_of(row: &RowKey, slice: u32) -> WindowKey {
    WindowKey {
        length: row.length,
        series: row.series,
        slice,
        start: row.start,
    }
}
