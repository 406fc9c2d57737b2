//! Bytes to records: any chunking gives the same records.
//!
//! Two halves. The edge drives a [`Splitter`]: it appends what it read, takes out runs of *whole* records, and asks
//! where reading goes on. The engine walks such a run with [`records`]. Both use one state machine (`Scan`), so what
//! the first calls a record the second finds again.
//!
//! Invariants: the bytes of all runs and faults, in order, plus their line feeds, are the source; a run is never
//! copied (only the unfinished record behind it is); memory is at most one record of the permitted length plus what
//! the caller appends between two calls of [`Splitter::take`]. Absent: any idea of files, encodings or JSON.

use bytes::Bytes;
use memchr::{memchr, memchr2, memrchr};

use crate::flow::pool::Pool;

use crate::flow::event::Fault;

/// As much of an over-long record as its dead letter keeps: enough to recognise who wrote it.
const EXCERPT_BYTES_MAX: usize = 1024;

/// UTF-8's byte order mark, which Windows tools put at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record a line.
    Lines,
    /// CSV: a line feed inside double quotes is part of the record.
    Csv,
}

/// Whole records, contiguous in their source, or what stands in place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset of `bytes[0]` in the source; where `bytes` is empty, of the byte after the last fault.
    pub base: u64,
    /// Whole records, each with its line feed (only the last of a finished source may lack it).
    pub bytes: Bytes,
    /// Over-long records before `base`.
    pub faults: Vec<Fault>,
}

/// Cuts a source into runs of whole records, whatever pieces it arrives in.
///
/// ```
/// # use modelbeat::flow::lines::{Framing, Splitter};
/// let mut splitter = Splitter::new(Framing::Lines, 1024, 0);
/// splitter.space(64).extend_from_slice(b"one\ntwo\nthr");
/// assert_eq!(splitter.take().unwrap().bytes, "one\ntwo\n");
/// assert_eq!((splitter.take(), splitter.offset()), (None, 8));
/// ```
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    record_bytes_max: usize,
    /// The unfinished record, and behind it what the caller appended since.
    buffer: Vec<u8>,
    /// Offset of `buffer[0]` in the source: a record starts there, unless `overlong`.
    base: u64,
    scan: Scan,
    pool: Pool,
    /// The over-long record that is being skipped; its `length` counts what has been skipped.
    overlong: Option<Fault>,
}

impl Splitter {
    /// A splitter for a source whose next byte, at `offset`, starts a record. A record may have `record_bytes_max`
    /// bytes, its line feed not counted.
    pub fn new(framing: Framing, record_bytes_max: usize, offset: u64) -> Self {
        Self {
            framing,
            record_bytes_max,
            buffer: Vec::new(),
            base: offset,
            scan: Scan::default(),
            pool: Pool::default(),
            overlong: None,
        }
    }

    /// The same, with buffers shared with the other splitters of this pool.
    #[must_use]
    pub fn with_pool(self, pool: &Pool) -> Self {
        Self {
            pool: pool.clone(),
            ..self
        }
    }

    /// Where the caller appends the source's next bytes: the vector has room for `bytes` more, or, where a used buffer
    /// can be had, for half as many at least. It must only be appended to.
    pub fn space(&mut self, bytes: usize) -> &mut Vec<u8> {
        let needed = self.buffer.len() + bytes.div_ceil(2);
        if self.buffer.capacity() < needed {
            if let Some(mut used) = self.pool.take(needed) {
                used.extend_from_slice(&self.buffer);
                self.buffer = used;
            } else {
                self.buffer.reserve(bytes);
            }
        }
        &mut self.buffer
    }

    /// The next run of whole records among what was appended; call until `None`.
    ///
    /// A record that is longer than permitted comes as a run of one fault and no bytes, as soon as its end is known.
    /// Its end is the first line feed beyond the permitted length, for CSV too: a stray quote costs one over-long
    /// record and not the rest of the file.
    pub fn take(&mut self) -> Option<Run> {
        if self.overlong.is_none() {
            let (whole, overlong) = self.whole();
            if whole > 0 {
                return Some(self.hand_over(whole));
            }
            if !overlong {
                return None;
            }
            self.start_skipping();
        }
        self.skip()
    }

    /// The source has ended: what is left is its last record, without line feed. Call after [`Splitter::take`] gave
    /// `None`. If the source goes on after all, so may the splitter.
    pub fn finish(&mut self) -> Option<Run> {
        if let Some(fault) = self.overlong.take() {
            return Some(self.fault_run(fault));
        }
        let rest = self.buffer.len();
        (rest > 0).then(|| {
            self.scan = Scan {
                at: rest,
                ..Scan::default()
            };
            self.hand_over(rest)
        })
    }

    /// First byte not yet handed over: where to go on after a restart.
    pub fn offset(&self) -> u64 {
        self.overlong
            .as_ref()
            .map_or(self.base, |fault| fault.offset)
    }

    /// First byte not yet appended: where to read next.
    pub fn read_offset(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// What is there of the next record; empty while an over-long one is skipped.
    pub fn unfinished(&self) -> &[u8] {
        &self.buffer
    }

    /// Length of the whole records at the front of the buffer, and whether an over-long one follows them.
    fn whole(&mut self) -> (usize, bool) {
        let mut start = 0;
        loop {
            let rest = self.buffer.get(start..).unwrap_or_default();
            if self.framing == Framing::Lines
                && self.scan.at == start
                && rest.len() <= self.record_bytes_max.saturating_add(1)
                && let Some(last) = memrchr(b'\n', rest)
            {
                // The hot path: no record in so few bytes can be over-long, so the last line feed says it all.
                start += last + 1;
                self.scan = Scan::from(start);
                continue;
            }
            // The line feed of a permitted record is found in this window or not at all.
            let limit = start
                .saturating_add(self.record_bytes_max)
                .saturating_add(1);
            let window = self.buffer.get(..limit).unwrap_or(&self.buffer);
            // Only at the very beginning of a source: elsewhere these bytes are text.
            let mark = match self.base {
                0 if start == 0 => byte_order_mark(window),
                _ => 0,
            };
            match self.scan.record_end(self.framing, window, start + mark) {
                Some(end) => {
                    start = end + 1;
                    self.scan = Scan::from(start);
                }
                None => return (start, self.buffer.len() >= limit),
            }
        }
    }

    /// Gives away the first `length` bytes; only the bytes behind them are copied.
    fn hand_over(&mut self, length: usize) -> Run {
        let rest = self.buffer.split_off(length);
        let run = Run {
            base: self.base,
            bytes: self.pool.lend(std::mem::replace(&mut self.buffer, rest)),
            faults: Vec::new(),
        };
        self.base += length as u64;
        self.scan.shift(length);
        run
    }

    fn start_skipping(&mut self) {
        let certain = self
            .record_bytes_max
            .saturating_add(1)
            .min(self.buffer.len());
        let rest = self.buffer.split_off(certain);
        let mut excerpt = std::mem::replace(&mut self.buffer, rest);
        excerpt.truncate(EXCERPT_BYTES_MAX);
        excerpt.shrink_to_fit();
        self.overlong = Some(Fault {
            offset: self.base,
            length: certain as u64,
            reason: format!("record is longer than {} bytes", self.record_bytes_max),
            excerpt,
        });
        self.base += certain as u64;
        self.scan = Scan::default();
    }

    fn skip(&mut self) -> Option<Run> {
        let mut fault = self.overlong.take()?;
        if let Some(end) = memchr(b'\n', &self.buffer) {
            fault.length += end as u64;
            self.base += end as u64 + 1;
            self.buffer = self.buffer.split_off(end + 1);
            return Some(self.fault_run(fault));
        }
        fault.length += self.buffer.len() as u64;
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        self.overlong = Some(fault);
        None
    }

    fn fault_run(&self, fault: Fault) -> Run {
        Run {
            base: self.base,
            bytes: Bytes::new(),
            faults: vec![fault],
        }
    }
}

/// The records of a run and where in it each starts, in order: line feed and one carriage return before it stripped,
/// blank lines left out. A byte order mark is the caller's to cut off: see [`byte_order_mark`].
pub fn records(bytes: &[u8], framing: Framing) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < bytes.len() {
            let start = next;
            let end = Scan::from(start)
                .record_end(framing, bytes, start)
                .unwrap_or(bytes.len());
            next = end + 1;
            let record = bytes.get(start..end).unwrap_or_default();
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            if !record.iter().all(u8::is_ascii_whitespace) {
                return Some((start, record));
            }
        }
        None
    })
}

/// How many bytes of a UTF-8 byte order mark these bytes start with: 3 or 0. To be skipped at offset 0 of a source.
pub fn byte_order_mark(bytes: &[u8]) -> usize {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    }
}

/// How far a record has been looked through, and in what state.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// Bytes before this index have been looked at.
    at: usize,
    /// CSV: `at` is inside quotes.
    quoted: bool,
    /// CSV: one past the quote that closed last; a quote right there is an escaped one and opens again.
    closed: usize,
}

impl Scan {
    fn from(at: usize) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Index of the line feed that ends the record whose first field is at `start`.
    fn record_end(&mut self, framing: Framing, bytes: &[u8], start: usize) -> Option<usize> {
        loop {
            let rest = bytes.get(self.at..)?;
            let found = match (framing, self.quoted) {
                (Framing::Lines, _) => memchr(b'\n', rest),
                (Framing::Csv, false) => memchr2(b'\n', b'"', rest),
                (Framing::Csv, true) => memchr(b'"', rest),
            };
            let Some(index) = found.map(|index| self.at + index) else {
                self.at = bytes.len();
                return None;
            };
            self.at = index + 1;
            if bytes.get(index) == Some(&b'\n') {
                return Some(index);
            }
            if self.quoted {
                self.quoted = false;
                self.closed = self.at;
            } else {
                let escaped = self.closed > start && self.closed == index;
                self.quoted = escaped || field_starts(bytes, start, index);
            }
        }
    }

    /// `length` bytes before everything that matters went away.
    fn shift(&mut self, length: usize) {
        self.at = self.at.saturating_sub(length);
        self.closed = self.closed.saturating_sub(length);
    }
}

/// CSV: a quote opens a quoted field only as its first byte; elsewhere (`5" disk`) it is text, as `csv-core` has it.
fn field_starts(bytes: &[u8], start: usize, index: usize) -> bool {
    matches!(bytes.get(start..index), None | Some([] | [.., b',']))
}

#[cfg(test)]
mod tests;
