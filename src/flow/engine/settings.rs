//! What the engine is told at the start, what it is sent, and what it hands back to be kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flow::document::DeadLetter;
use crate::flow::event::{Batch, Head, Kind, SourceKey};
use crate::flow::host::HostSnapshot;
use crate::flow::operation::Entry;
use crate::flow::{alert, decode, join, mapping, privacy, quality, windows};

/// What the edges send to the engine.
#[derive(Debug)]
pub enum Intake {
    /// Records.
    Batch(Batch),
    /// What the host was doing.
    Host(HostSnapshot),
    /// A source is gone for good and read to its end: forget its head.
    Gone(SourceKey),
    /// Records of the dead-letter log, to be read anew.
    Again(Again),
    /// Somebody has seen the alert of this id.
    Acknowledged(String),
    /// Somebody takes what the alert of this id is about for the new normal.
    Accepted(String),
    /// How the agent fares.
    Pulse(alert::Pulse),
    /// Entries of the operation log.
    Operations(Operations),
}

/// A run of entries of the operation log, which is a replayable source as well.
#[derive(Clone, Debug)]
pub struct Operations {
    /// The log.
    pub source: SourceKey,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Where to go on in it.
    pub head: Head,
}

/// A run of records' dead letters that somebody handed back, as a replayable source of its own.
#[derive(Clone, Debug)]
pub struct Again {
    /// The log they were handed back in.
    pub source: SourceKey,
    /// The letters, each whole.
    pub letters: Vec<DeadLetter>,
    /// Where to go on in that log.
    pub head: Head,
}

/// {positions, engine state} at one batch boundary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Where each source goes on.
    pub heads: BTreeMap<SourceKey, Head>,
    /// The engine's own state, in its own encoding.
    pub state: Vec<u8>,
    /// What the store of open predictions must learn once this is saved; carries the checkpoint's number.
    pub cold: join::Delta,
    /// What the store of windows must learn with it.
    pub rows: windows::RowsDelta,
}

impl Checkpoint {
    /// Its size, near enough: its parts are encoded already, apart from the heads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rows = self.rows.kept.iter().map(|(_, row)| row.len());
        self.state.len() + self.cold.rows.len() + rows.sum::<usize>()
    }
}

/// Everything the engine must know, as meant by the pipeline file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pipeline name: part of every document and id.
    pub pipeline: String,
    /// Who computes: part of every window's identity.
    pub agent: Agent,
    /// First part of every index name.
    pub index_prefix: String,
    /// One entry for each of the pipeline's `inputs:`.
    pub inputs: Vec<Input>,
    /// Which path is what.
    pub mapping: mapping::Settings,
    /// What the model does.
    pub task: quality::Task,
    /// Lengths of windows, and how they follow one another.
    pub windows: Vec<windows::Length>,
    /// Horizon, patience, hold.
    pub join: join::Settings,
    /// `slices.max_values`: distinct values a slice name may have; beyond, `__other__`.
    pub slice_values_max: usize,
    /// `slices.cross`: combinations of slice names that are counted as slices of their own.
    pub slice_crosses: Vec<Vec<String>>,
    /// `privacy.keep_record`: put the original record into the prediction's document.
    pub keep_record: bool,
    /// `privacy:`, the rest of it.
    pub privacy: privacy::Settings,
    /// Windows that changed are published at most this often, in milliseconds.
    pub publish_every_ms: i64,
    /// Labelled predictions below which a window is marked `quality.low_support`.
    pub min_support: u64,
    /// Memory that windows may take, in bytes; beyond it those that rest lie on disk.
    pub window_bytes_max: usize,
    /// A host snapshot says something of the predictions of the next so many milliseconds.
    pub host_tolerance_ms: i64,
    /// `alerts:`
    pub alerts: alert::Settings,
    /// Horizons and patience end (not so under `--once`: nothing expires before the end).
    pub expires: bool,
}

/// The agent's name in documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Stable over restarts and a lost data folder; unique among the agents of a model.
    pub id: String,
    /// For people: the host name unless the file says otherwise.
    pub name: Arc<str>,
}

/// How the records of one input are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Format of its records.
    pub format: decode::Format,
    /// What they are, if the file holds only one kind.
    pub kind: Option<Kind>,
}
