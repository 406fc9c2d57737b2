//! One record on disk, as bytes. Pure.
//!
//! ```text
//! length u32 │ checksum u32 │ kind u8 │ offset u64 │ durable u64 │ payload        little endian
//! ```
//!
//! The checksum (CRC-32) covers everything but itself. `offset` is the record's own, so that a stale or misplaced block is
//! no valid record. `durable` is how far the journal was synced when the record was written: a record that is bad
//! *below* the `durable` of a later good one was once on disk for sure, so it is damage and not a torn write.

use crate::flow::event::Kind;

pub(super) const HEADER_LENGTH: usize = 25;

/// Header of a record, taken as it stands: nothing is known to be right before the checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Payload bytes.
    pub(super) length: u32,
    checksum: u32,
    pub(super) kind: Option<Kind>,
    /// Offset of the payload's first byte in the journal.
    pub(super) offset: u64,
    /// End of what was durable when this was written.
    pub(super) durable: u64,
}

impl Header {
    /// Offset after the payload.
    pub(super) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }

    /// Reads a header; `None` if no header looks like that.
    pub(super) fn decode(bytes: &[u8; HEADER_LENGTH]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (durable, _) = rest.split_first_chunk()?;
        let header = Self {
            length: u32::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
            kind: match *kind {
                0 => None,
                1 => Some(Kind::Prediction),
                2 => Some(Kind::Label),
                _ => return None,
            },
            offset: u64::from_le_bytes(*offset),
            durable: u64::from_le_bytes(*durable),
        };
        (header.length > 0).then_some(header)
    }

    /// Starts the checksum of the payload that follows.
    pub(super) fn check(&self) -> Check {
        Check {
            hasher: start(self.length, self.kind, self.offset, self.durable),
            expect: self.checksum,
        }
    }
}

/// A checksum being compared, piece by piece.
pub(super) struct Check {
    hasher: crc32fast::Hasher,
    expect: u32,
}

impl Check {
    pub(super) fn update(&mut self, payload: &[u8]) {
        self.hasher.update(payload);
    }

    pub(super) fn agrees(self) -> bool {
        self.hasher.finalize() == self.expect
    }
}

/// Appends header and payload to `out`. `length` is the payload's.
pub(super) fn encode(
    kind: Option<Kind>,
    offset: u64,
    durable: u64,
    length: u32,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    debug_assert_eq!(length as usize, payload.len());
    let mut hasher = start(length, kind, offset, durable);
    hasher.update(payload);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    out.push(code_of(kind));
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(payload);
}

fn start(length: u32, kind: Option<Kind>, offset: u64, durable: u64) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&[code_of(kind)]);
    hasher.update(&offset.to_le_bytes());
    hasher.update(&durable.to_le_bytes());
    hasher
}

const fn code_of(kind: Option<Kind>) -> u8 {
    match kind {
        None => 0,
        Some(Kind::Prediction) => 1,
        Some(Kind::Label) => 2,
    }
}
