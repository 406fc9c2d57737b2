//! One frame on disk, as bytes. Pure.
//!
//! ```text
//! header   "MBSF" │ checkpoint u64 │ number u64 │ documents u32 │ raw u32 │ length u32 │ CRC-32 of payload │ CRC-32 of header
//! payload  deflated: documents × (key u64 │ action length u32 │ length u32), then the bulk lines of all      little-endian
//! ```
//!
//! `number` is the running number of the frame's first document: a jump between two frames says how many documents lay
//! between them. `checkpoint` is the last checkpoint before the frame. A frame of no documents marks a checkpoint's place.
//! The header has a checksum of its own, so that a damaged payload costs its own documents and no others.

use std::io::{self, Read, Write};
use std::ops::Range;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use memchr::memmem;

use crate::flow::document::{Documents, Item};

pub(super) const HEADER_LENGTH: usize = 40;

/// Bytes of documents in a frame, save for a single larger document: what reading one takes.
pub(super) const RAW_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"MBSF";

/// A document's entry in the table before the lines.
const ENTRY_LENGTH: usize = 16;

/// What a header says; only made from one whose checksum agrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The last checkpoint before this frame.
    pub(super) checkpoint: u64,
    /// Number of the first document.
    pub(super) number: u64,
    /// Documents in it.
    pub(super) documents: u32,
    /// Bytes of the payload once inflated.
    raw: u32,
    /// Bytes of the payload.
    length: u32,
    payload_checksum: u32,
}

impl Header {
    /// Bytes of the whole frame.
    pub(super) const fn frame_length(&self) -> u64 {
        HEADER_LENGTH as u64 + self.length as u64
    }

    /// Number after the last document.
    pub(super) const fn end(&self) -> u64 {
        self.number.saturating_add(self.documents as u64)
    }

    /// True if it only marks the place of that checkpoint.
    pub(super) fn is_mark_of(&self, checkpoint: Option<u64>) -> bool {
        self.documents == 0 && checkpoint == Some(self.checkpoint)
    }

    /// Reads a header; `None` if these bytes are none.
    pub(super) fn decode(bytes: &[u8; HEADER_LENGTH]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (checkpoint, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (documents, rest) = rest.split_first_chunk()?;
        let (raw, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (payload_checksum, rest) = rest.split_first_chunk()?;
        let (checksum, _) = rest.split_first_chunk()?;
        let checked = bytes.get(..HEADER_LENGTH - 4)?;
        if *magic != MAGIC || crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
            return None;
        }
        Some(Self {
            checkpoint: u64::from_le_bytes(*checkpoint),
            number: u64::from_le_bytes(*number),
            documents: u32::from_le_bytes(*documents),
            raw: u32::from_le_bytes(*raw),
            length: u32::from_le_bytes(*length),
            payload_checksum: u32::from_le_bytes(*payload_checksum),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LENGTH);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.checkpoint.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        for field in [self.documents, self.raw, self.length, self.payload_checksum] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The documents, from a payload of [`Self::frame_length`] less the header's bytes; the error says what is wrong.
    pub(super) fn documents(&self, payload: &[u8]) -> Result<Documents, &'static str> {
        if crc32fast::hash(payload) != self.payload_checksum {
            return Err("checksum mismatch");
        }
        let mut raw = Vec::with_capacity(self.raw as usize);
        DeflateDecoder::new(payload)
            .take(u64::from(self.raw))
            .read_to_end(&mut raw)
            .map_err(|_| "it cannot be inflated")?;
        let table_length = self.documents as usize * ENTRY_LENGTH;
        if raw.len() != self.raw as usize || raw.len() < table_length {
            return Err("it is shorter than its header says");
        }
        let bytes = raw.split_off(table_length);
        let items = items(&raw, bytes.len()).ok_or("its table is not about its lines")?;
        Ok(Documents {
            changes: Vec::new(),
            notices: Vec::new(),
            bytes,
            items,
            dead_letters: Vec::new(),
        })
    }
}

/// As many documents from `range` on as a frame holds. Returns the frame and the first item behind it.
pub(super) fn encode(
    documents: &Documents,
    range: Range<usize>,
    checkpoint: u64,
    number: u64,
) -> io::Result<(Vec<u8>, usize)> {
    let (mut table, mut lines, mut next) = (Vec::new(), Vec::new(), range.start);
    let too_large = || io::Error::other("a document is larger than 4 GiB");
    for item in documents.items.get(range).unwrap_or_default() {
        let own = documents.bytes.get(item.lines.clone()).unwrap_or_default();
        if !lines.is_empty() && lines.len() + own.len() > RAW_BYTES_MAX {
            break;
        }
        let lengths = (
            u32::try_from(item.action_length).map_err(|_| too_large())?,
            u32::try_from(own.len()).map_err(|_| too_large())?,
        );
        table.extend_from_slice(&item.key.to_le_bytes());
        table.extend_from_slice(&lengths.0.to_le_bytes());
        table.extend_from_slice(&lengths.1.to_le_bytes());
        lines.extend_from_slice(own);
        next += 1;
    }
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflated.write_all(&table)?;
    deflated.write_all(&lines)?;
    let payload = deflated.finish()?;
    let number_of = |count: usize| u32::try_from(count).map_err(|_| too_large());
    let header = Header {
        checkpoint,
        number,
        documents: number_of(table.len() / ENTRY_LENGTH)?,
        raw: number_of(table.len() + lines.len())?,
        length: number_of(payload.len())?,
        payload_checksum: crc32fast::hash(&payload),
    };
    let mut frame = header.encode();
    frame.extend_from_slice(&payload);
    Ok((frame, next))
}

/// The frame that marks the place of a checkpoint: no documents.
pub(super) fn mark(checkpoint: u64, number: u64) -> Vec<u8> {
    Header {
        checkpoint,
        number,
        ..Header::default()
    }
    .encode()
}

/// The first place in `bytes` where a header stands that [`Header::decode`] believes.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, &MAGIC).find(|at| {
        bytes
            .get(*at..)
            .and_then(|rest| rest.first_chunk())
            .and_then(Header::decode)
            .is_some()
    })
}

/// `None` if the table's lengths are not those of `lines_length` bytes of lines.
fn items(table: &[u8], lines_length: usize) -> Option<Vec<Item>> {
    let mut start = 0;
    let mut items = Vec::with_capacity(table.len() / ENTRY_LENGTH);
    let mut rest = table;
    while let Some((key, behind)) = rest.split_first_chunk() {
        let (action_length, behind) = behind.split_first_chunk()?;
        let (length, behind) = behind.split_first_chunk()?;
        rest = behind;
        let end = start + u32::from_le_bytes(*length) as usize;
        let action_length = u32::from_le_bytes(*action_length) as usize;
        if end > lines_length || action_length > end - start {
            return None;
        }
        items.push(Item {
            key: u64::from_le_bytes(*key),
            lines: start..end,
            action_length,
        });
        start = end;
    }
    (start == lines_length).then_some(items)
}
