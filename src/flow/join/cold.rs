//! Open predictions that have left memory: what the engine asks of a store on disk, and what it tells it.
//!
//! Invariant: the store never knows more than the checkpoint a restart goes on from. So the engine only reads from it;
//! what is to be written rides in the checkpoint as a [`Delta`], and whoever saves the checkpoint applies the delta
//! afterwards. A store ahead of its checkpoint would answer a replayed label with "known already", and the label would
//! be missing in its windows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::join::{Key, Open, Ticket};

/// Bytes of a row in a [`Delta`] before its content: ticket and length.
const ROW_HEAD: usize = 8 + 4;

/// In a row's length: no older row has its key.
const ALONE: u32 = 1 << 31;

/// Bytes of a key, with which every row begins.
const KEY: usize = 16;

/// Where open predictions lie that are not in memory, found by key and by ticket.
pub trait Cold: fmt::Debug + Send {
    /// Calls `found` with every row whose key this is, oldest first.
    ///
    /// # Errors
    /// The store cannot be read: the engine must not go on.
    fn find(&self, key: Key, found: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), ColdError>;

    /// Calls `found` with the oldest rows from `from` on, in order, `most` at most.
    ///
    /// # Errors
    /// The store cannot be read: the engine must not go on.
    fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), ColdError>;
}

/// The store of open predictions cannot be used: what, where and why, for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ColdError(pub String);

/// What the store must hold beside what it held at the last checkpoint known to be saved. Applying it twice, or to a
/// store that has seen a checkpoint in between, changes nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// What the rows are to be read with.
    pub edges: Edges,
    /// The rows, one behind the other.
    pub rows: Vec<u8>,
}

/// The small part of a [`Delta`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edges {
    /// Running number of the checkpoint it belongs to.
    pub number: u64,
    /// The store must have seen the delta of this checkpoint, or of a later one.
    pub upon: u64,
    /// Rows with tickets below are gone.
    pub first: Ticket,
    /// Rows with tickets from here on are new; those below were there.
    pub new_from: Ticket,
    /// There are rows to forget.
    pub sweeps: bool,
}

/// One prediction in a [`Delta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'d> {
    /// Its number.
    pub ticket: Ticket,
    /// What labels join on.
    pub key: Key,
    /// No older row had its key when it came.
    pub alone: bool,
    /// What to keep: [`Cold`] gives it back.
    pub bytes: &'d [u8],
}

impl Delta {
    /// True if the store stays as it is.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.edges.sweeps
    }

    /// What to keep. Ends early at bytes that are no row: the checkpoint's checksum keeps them away.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = self.rows.as_slice();
        std::iter::from_fn(move || {
            let (ticket, tail) = rest.split_first_chunk()?;
            let (length, tail) = tail.split_first_chunk()?;
            let length = u32::from_le_bytes(*length);
            let (bytes, tail) = tail.split_at_checked((length & !ALONE) as usize)?;
            rest = tail;
            Some(Row {
                ticket: u64::from_le_bytes(*ticket),
                key: key_of_row(bytes)?,
                alone: length & ALONE != 0,
                bytes,
            })
        })
    }

    /// Adds a row.
    pub(super) fn push(&mut self, ticket: Ticket, open: &Open) -> Result<(), postcard::Error> {
        let start = self.rows.len();
        self.rows.extend_from_slice(&ticket.to_le_bytes());
        self.rows.extend_from_slice(&[0; 4]);
        write_row(open, &mut self.rows)?;
        // A record of 16 MiB, the longest there is, makes no row of 2 GiB.
        let length = u32::try_from(self.rows.len() - start - ROW_HEAD).unwrap_or(u32::MAX >> 1);
        let length = length | if open.alone { ALONE } else { 0 };
        if let Some(place) = self.rows.get_mut(start + 8..start + ROW_HEAD) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }
}

/// The key that a row's bytes begin with.
pub fn key_of_row(bytes: &[u8]) -> Option<Key> {
    bytes
        .first_chunk::<KEY>()
        .map(|key| Key(u128::from_be_bytes(*key)))
}

/// Appends a prediction as bytes: its key, then the rest in postcard.
pub(super) fn write_row(open: &Open, bytes: &mut Vec<u8>) -> Result<(), postcard::Error> {
    bytes.extend_from_slice(&open.key.0.to_be_bytes());
    let buffer = std::mem::take(bytes);
    *bytes = postcard::to_extend(open, buffer)?;
    Ok(())
}

/// Reads a prediction off the front of `bytes`; returns what is left.
pub(super) fn read_row(bytes: &[u8]) -> Result<(Open, &[u8]), postcard::Error> {
    let (key, rest) = bytes
        .split_first_chunk::<KEY>()
        .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
    let (mut open, rest) = postcard::take_from_bytes::<Open>(rest)?;
    open.key = Key(u128::from_be_bytes(*key));
    Ok((open, rest))
}
