//! Pieces of sealed segments as they were last read. Labels mostly come in the order of their predictions, and these lie
//! beside one another: so a few pieces save most reads.

use super::index::PIECE;
use super::record::{Fault, NOTE, Record, Walk};
use super::segment::Rows;
use crate::flow::join::{Key, Ticket, key_of_row};

/// Pieces that are kept, each in the place that its number gives it.
const KEPT: usize = 64;

/// A piece that has more (its last row ends far behind it) is not kept.
const BYTES_MOST: usize = 32 << 10;

/// Read with a piece: most of its last row.
const ROW_USUAL: u64 = 256;

/// The pieces that are kept.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

/// The rows that begin in a piece, all of them checked.
#[derive(Debug, Default)]
struct Piece {
    segment: u64,
    start: u64,
    rows: Vec<Row>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: u64,
    ticket: Ticket,
    flags: u32,
    /// In the piece's bytes.
    end: usize,
}

impl Pieces {
    /// Calls `look` with the rows of a key that begin in a piece, the newest first, until it returns true.
    pub(super) fn look(
        &mut self,
        rows: &Rows,
        (start, first): (u64, u64),
        key: Key,
        look: &mut impl FnMut(&Rows, u64, Record<'_>) -> bool,
    ) -> Result<bool, Fault> {
        if self.0.is_empty() {
            self.0.resize_with(KEPT, Piece::default);
        }
        // Beside one another, and those of one segment elsewhere than those of the next.
        let place = usize::try_from((start / PIECE).wrapping_add(rows.number * 7) % KEPT as u64);
        let Some(piece) = place.ok().and_then(|place| self.0.get_mut(place)) else {
            return Ok(false);
        };
        if (piece.segment, piece.start) != (rows.number, start) || piece.rows.is_empty() {
            piece.load(rows, start, first)?;
        }
        let mut found = false;
        for place in (0..piece.rows.len()).rev() {
            let Some((row, bytes)) = piece.row(place) else {
                continue;
            };
            if key_of_row(bytes) == Some(key) {
                let Row {
                    at, ticket, flags, ..
                } = row;
                found = look(
                    rows,
                    at,
                    Record {
                        ticket,
                        flags,
                        bytes,
                    },
                );
                if found {
                    break;
                }
            }
        }
        if piece.bytes.len() > BYTES_MOST {
            *piece = Piece::default();
        }
        Ok(found)
    }
}

impl Piece {
    fn load(&mut self, rows: &Rows, start: u64, first: u64) -> Result<(), Fault> {
        // Until it is whole it is nobody's.
        self.segment = 0;
        self.rows.clear();
        self.bytes.clear();
        let end = rows.length.min(start + PIECE);
        let usual = (end + ROW_USUAL).saturating_sub(first);
        let mut walk = Walk::new(&rows.file, first, rows.length).reading(usual);
        while walk.at() < end {
            let next = walk.next().map_err(Fault::io(&rows.path))?;
            let (at, record) = next.ok_or_else(|| rows.damaged())?;
            if record.ticket != NOTE {
                self.bytes.extend_from_slice(record.bytes);
                self.rows.push(Row {
                    at,
                    ticket: record.ticket,
                    flags: record.flags,
                    end: self.bytes.len(),
                });
            }
        }
        (self.segment, self.start) = (rows.number, start);
        Ok(())
    }

    fn row(&self, place: usize) -> Option<(Row, &[u8])> {
        let row = *self.rows.get(place)?;
        let before = place
            .checked_sub(1)
            .and_then(|before| self.rows.get(before));
        let start = before.map_or(0, |before| before.end);
        Some((row, self.bytes.get(start..row.end)?))
    }
}
