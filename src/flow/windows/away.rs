//! Windows that have left memory for a store on disk, and come back when something asks for them.
//!
//! What leaves is a *row*: the panes of all slices of one length, start and series, for they are touched together. Of a row
//! away, memory keeps its slices and when its last prediction came. The invariant is that of the open predictions
//! ([`crate::flow::join::Cold`]): the store never knows more than the checkpoint a restart goes on from. So rows leave with
//! a checkpoint, stay readable in memory until that is saved, and a row that is touched meanwhile stays.
//!
//! There are two bounds. What rests and is not in the store is written with every checkpoint, so it leaves for the store
//! beyond a few mebibytes ([`CUT_SHARE`]). There it is of no weight to a checkpoint, and memory keeps it as well, to be looked at and
//! added to without a read, up to the bound of all windows in memory; beyond, what the store has is let go.
//!
//! ```text
//!              leaves with a checkpoint       that is saved           memory is needed
//! in memory ──────────────────────────▶ leaving ─────────▶ in both ───────────────────▶ away
//!     ▲                                    │                 │  ▲                        │
//!     └────────── touched ─────────────────┴─────────────────┘  └──────── read ──────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::ColdError;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Pane, WindowKey, Windows};

/// The part of the bound of all windows in memory that a checkpoint may hold, but for what changes: a few mebibytes are written
/// in a moment, and a pipeline of hours and days never needs the store.
const CUT_SHARE: usize = 8;

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
    #[serde(with = "in_bulk")]
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

/// Rows are written and read as the strings of bytes they are: byte by byte, which comes to the same, takes long.
mod in_bulk {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Bytes};

    use super::RowKey;

    pub(super) fn serialize<S: Serializer>(
        rows: &[(RowKey, Vec<u8>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows.iter().map(|(key, bytes)| (key, Bytes::new(bytes))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(RowKey, Vec<u8>)>, D::Error> {
        let rows = Vec::<(RowKey, ByteBuf)>::deserialize(deserializer)?;
        let rows = rows.into_iter();
        Ok(rows.map(|(key, bytes)| (key, bytes.into_vec())).collect())
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
    /// Rows that are the same in the store and in memory.
    in_both: BTreeMap<RowKey, Away>,
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

    /// A row in memory was touched: what the store has of it, or was about to get, is not it any more.
    pub(super) fn stay(&mut self, row: &RowKey) {
        if self.leaving.remove(row).is_some() || self.in_both.remove(row).is_some() {
            self.gone.insert(*row, self.made);
        }
    }

    /// Bytes that may come together before their time is over.
    pub(super) fn heavy(&self) -> usize {
        if self.store.is_some() {
            self.bytes_max / 2
        } else {
            usize::MAX
        }
    }

    /// Number of the last checkpoint made.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// The checkpoint's own state holds the row: it is neither in the store nor on its way there.
    fn is_here_only(&self, row: &RowKey) -> bool {
        !self.leaving.contains_key(row) && !self.in_both.contains_key(row)
    }
}

impl Windows {
    /// Windows that rest lie in this store, as the checkpoint resumed from left it. The newest come back into memory, as far as
    /// there is room.
    pub fn spill_to(&mut self, store: Box<dyn Rows>) {
        self.spilled.store = Some(store);
        let mut rows: Vec<RowKey> = self.spilled.away.keys().copied().collect();
        rows.sort_unstable_by_key(|row| (row.length.end(row.start), row.start));
        let mut room = low_water(self.spilled.bytes_max).saturating_sub(self.bytes());
        while room > 0
            && let Some(row) = rows.pop()
        {
            room = room.saturating_sub(self.fetch_row(&row));
        }
    }

    /// Why the windows cannot go on: the store could not be read.
    pub fn fault(&self) -> Option<&str> {
        self.spilled.fault.as_deref()
    }

    /// Brings a row back into memory, if it is only in the store. Returns how many bytes it takes there.
    pub(super) fn fetch_row(&mut self, row: &RowKey) -> usize {
        if !self.spilled.away.contains_key(row) {
            return 0;
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
                let bytes = panes.iter().map(|(_, pane)| pane.bytes()).sum();
                self.grown.unweighed += bytes;
                for (slice, pane) in panes {
                    self.panes.insert(key_of(row, slice), pane);
                }
                if let Some(away) = self.spilled.away.remove(row) {
                    self.spilled.in_both.insert(*row, away);
                }
                bytes
            }
            Err(fault) => {
                self.spilled.fault.get_or_insert(fault);
                0
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
        self.let_go();
        for (row, away) in self.resting() {
            self.spilled.gone.remove(&row);
            self.spilled.leaving.insert(row, (number, away));
        }
        let mut delta = RowsDelta::default();
        // Written in one place over and over, and kept in as few bytes as it has.
        let mut scratch = Vec::new();
        for (row, (_, away)) in &self.spilled.leaving {
            let keys = away.slices.iter().map(|slice| key_of(row, *slice));
            let panes: Vec<(u32, &Pane)> = keys
                .filter_map(|key| Some((key.slice, self.panes.get(&key)?)))
                .collect();
            scratch.clear();
            scratch = postcard::to_extend(&panes, scratch)?;
            delta.kept.push((*row, scratch.as_slice().to_vec()));
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
        for row in left {
            if let Some((_, away)) = self.spilled.leaving.remove(&row) {
                self.spilled.in_both.insert(row, away);
            }
        }
        self.let_go();
    }

    /// What a checkpoint's state holds of the rows that are in the store once it is saved.
    pub(super) fn away(&self) -> BTreeMap<RowKey, Away> {
        let mut away = self.spilled.away.clone();
        let leaving = self.spilled.leaving.iter();
        away.extend(leaving.map(|(row, (_, away))| (*row, away.clone())));
        let in_both = self.spilled.in_both.iter();
        away.extend(in_both.map(|(row, away)| (*row, away.clone())));
        away
    }

    /// True if the pane is in the checkpoint's own state, and not in the store.
    pub(super) fn stays(&self, key: &WindowKey) -> bool {
        self.spilled.is_here_only(&row_of(key))
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
            self.spilled.away.remove(&row);
            self.spilled.gone.insert(row, self.spilled.made);
        }
    }

    /// Bytes of all windows in memory.
    pub(super) fn bytes(&self) -> usize {
        self.panes.values().map(Pane::bytes).sum()
    }

    /// Rows to send to the store: while a checkpoint must hold more than it should, those that rest longest.
    fn resting(&self) -> Vec<(RowKey, Away)> {
        if self.spilled.store.is_none() {
            return Vec::new();
        }
        let most = self.spilled.bytes_max / CUT_SHARE;
        if self.bytes() <= most {
            return Vec::new();
        }
        let mut rows = self.rows(|row| self.spilled.is_here_only(row));
        let held: usize = rows.values().map(|row| row.bytes).sum();
        if held <= most {
            return Vec::new();
        }
        rows.retain(|key, row| !row.is_dirty && key.length != Length::Cumulative);
        oldest(rows, held - low_water(most))
            .map(|(key, mut row)| {
                row.away.slices.sort_unstable();
                (key, row.away)
            })
            .collect()
    }

    /// Lets go of what the store has, too, if there may be too much of it. Looking costs by the windows in memory: it is done
    /// when they have grown by a part of the bound.
    pub(super) fn let_go_in_time(&mut self) {
        if self.grown.unweighed > self.spilled.bytes_max / 8 {
            self.let_go();
        }
    }

    /// Lets go of what the store has, too: while memory holds more than its bound, those rows that rest longest.
    fn let_go(&mut self) {
        self.grown.unweighed = 0;
        if self.spilled.in_both.is_empty() {
            return;
        }
        let held = self.bytes();
        if held <= self.spilled.bytes_max {
            return;
        }
        let rows = self.rows(|row| self.spilled.in_both.contains_key(row));
        let over = held - low_water(self.spilled.bytes_max);
        for (row, _) in oldest(rows, over) {
            if let Some(away) = self.spilled.in_both.remove(&row) {
                self.spilled.away.insert(row, away);
            }
        }
        let away = &self.spilled.away;
        self.panes.retain(|key, _| !away.contains_key(&row_of(key)));
        self.panes.shrink_to_fit();
        self.renumber();
    }

    /// These rows of those in memory.
    fn rows(&self, wanted: impl Fn(&RowKey) -> bool) -> BTreeMap<RowKey, Resting> {
        let mut rows: BTreeMap<RowKey, Resting> = BTreeMap::new();
        let wanted = |(key, _): &(&WindowKey, &Pane)| wanted(&row_of(key));
        for (key, pane) in self.panes.iter().filter(wanted) {
            let row = rows.entry(row_of(key)).or_insert_with(Resting::new);
            row.is_dirty |= pane.dirty;
            row.touched = row.touched.max(pane.touched);
            row.bytes += pane.bytes();
            row.away.last_arrival = row.away.last_arrival.max(pane.last_arrival);
            row.away.slices.push(key.slice);
        }
        rows
    }
}

/// What is left of a bound once it is made room: not for every row that comes another must go.
const fn low_water(bytes_max: usize) -> usize {
    bytes_max / 8 * 5
}

/// The rows that rest longest, until so many bytes are together.
fn oldest(
    rows: BTreeMap<RowKey, Resting>,
    bytes: usize,
) -> impl Iterator<Item = (RowKey, Resting)> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable_by_key(|(key, row)| (row.touched, key.start));
    let mut wanted = bytes;
    rows.into_iter().take_while(move |(_, row)| {
        let is_wanted = wanted > 0;
        wanted = wanted.saturating_sub(row.bytes);
        is_wanted
    })
}

/// A row in memory that might leave it.
struct Resting {
    is_dirty: bool,
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
            is_dirty: false,
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
