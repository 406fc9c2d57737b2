//! Where a sealed segment has the rows of a key: a table of 32 bits a row, in memory, which never changes.
//!
//! An entry names the piece of the file in which a row begins, and 12 bits of its key. It lies in the first free slot from
//! the one that the key asks for, with a quarter of the slots free: so a key is looked for in one or two lines of the
//! processor's cache, and one that is not here is nearly always known not to be. Beside it lies where the first row of
//! each piece begins, so that a piece can be read by itself.

use smallvec::SmallVec;

use crate::flow::join::Key;

/// Bytes of a file that are read at once: some forty rows.
pub(super) const PIECE: u64 = 4 << 10;

/// Bits of the piece in an entry: no segment is near 4 GiB. The rest is of the key.
const PIECE_BITS: u32 = 20;

/// A slot without an entry. Pieces are counted from 1.
const FREE: u32 = 0;

/// No row begins in a piece.
const NONE: u16 = u16::MAX;

/// Pieces of a file, by where they begin.
pub(super) type Pieces = SmallVec<[u64; 4]>;

/// The index of one segment.
#[derive(Debug)]
pub(super) struct Index {
    slots: Vec<u32>,
    /// Of each piece of the file, how far in it the first row begins.
    firsts: Vec<u16>,
}

impl Index {
    /// Of a file whose rows end at `end`: the mark of each row's key, and where it begins, in order.
    pub(super) fn new(end: u64, rows: impl ExactSizeIterator<Item = (u64, u64)>) -> Self {
        let mut index = Self {
            slots: vec![FREE; slots(rows.len())],
            firsts: vec![NONE; pieces(end)],
        };
        for (mark, at) in rows {
            let entry = entry(mark, at / PIECE);
            let mut place = index.home(mark);
            while let Some(slot) = index.slots.get_mut(place) {
                if *slot == FREE {
                    *slot = entry;
                    break;
                }
                // Two rows of a key in one piece are found together.
                if *slot == entry {
                    break;
                }
                place = index.next(place);
            }
            if let Ok(piece) = usize::try_from(at / PIECE)
                && let Some(first) = index.firsts.get_mut(piece)
            {
                *first = (*first).min(u16::try_from(at % PIECE).unwrap_or(NONE));
            }
        }
        index
    }

    /// The pieces in which rows of a key may begin, the newest first.
    pub(super) fn pieces(&self, mark: u64) -> Pieces {
        let mut pieces = Pieces::new();
        let wanted = entry(mark, 0) >> PIECE_BITS;
        let mut place = self.home(mark);
        while let Some(&slot) = self.slots.get(place)
            && slot != FREE
        {
            if slot >> PIECE_BITS == wanted {
                pieces.push(u64::from((slot & ((1 << PIECE_BITS) - 1)) - 1) * PIECE);
            }
            place = self.next(place);
        }
        pieces.sort_unstable_by(|a, b| b.cmp(a));
        pieces
    }

    /// Where the first row of a piece begins, given where the piece does.
    pub(super) fn first_in(&self, piece: u64) -> u64 {
        let first = usize::try_from(piece / PIECE)
            .ok()
            .and_then(|piece| self.firsts.get(piece));
        piece + u64::from(first.copied().unwrap_or(NONE))
    }

    /// Bytes of the index of so many rows that end at `end`.
    pub(super) fn length(rows: usize, end: u64) -> usize {
        slots(rows)
            .saturating_mul(4)
            .saturating_add(pieces(end).saturating_mul(2))
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.slots
            .iter()
            .for_each(|slot| bytes.extend_from_slice(&slot.to_le_bytes()));
        self.firsts
            .iter()
            .for_each(|first| bytes.extend_from_slice(&first.to_le_bytes()));
    }

    /// From what [`write`](Self::write) wrote, with a length that fits.
    pub(super) fn read(rows: usize, end: u64, bytes: &[u8]) -> Self {
        let (table, firsts) = bytes.split_at(bytes.len().min(slots(rows) * 4));
        debug_assert_eq!(bytes.len(), Self::length(rows, end));
        Self {
            slots: table
                .as_chunks()
                .0
                .iter()
                .map(|slot| u32::from_le_bytes(*slot))
                .collect(),
            firsts: firsts
                .as_chunks()
                .0
                .iter()
                .map(|first| u16::from_le_bytes(*first))
                .collect(),
        }
    }

    /// The lower half of the mark, as if that were a fraction.
    fn home(&self, mark: u64) -> usize {
        (((mark & u64::from(u32::MAX)) * self.slots.len() as u64) >> 32) as usize
    }

    const fn next(&self, place: usize) -> usize {
        let next = place + 1;
        if next == self.slots.len() { 0 } else { next }
    }
}

/// There is always a free one, at which a search ends.
fn slots(rows: usize) -> usize {
    rows.saturating_add(rows / 3).saturating_add(1)
}

fn pieces(end: u64) -> usize {
    usize::try_from(end.div_ceil(PIECE)).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "12 bits, and a piece's 20")]
const fn entry(mark: u64, piece: u64) -> u32 {
    ((mark >> (u64::BITS - (u32::BITS - PIECE_BITS))) as u32) << PIECE_BITS | (piece as u32 + 1)
}

/// What an index knows of a key: 64 of its bits, others than those that choose its place in memory.
pub(super) const fn mark(key: Key) -> u64 {
    (key.0 >> 64) as u64
}
