//! Whose rotation a compressed file is: unpacks it past the offsets of the files we know, in turns, and compares.
//!
//! A file that starts as a known one did, and has the known one's last bytes before its offset, goes on there. Of
//! several that fit, the one read furthest.

use std::fs::File;
use std::io;

use super::identity::{FINGERPRINT_BYTES, FileId, Fingerprint, Marker};
use super::packed::{Broken, Packing, Unpacker};
use crate::flow::event::SourceKey;

/// Unpacked bytes at a time.
const STEP_BYTES: usize = 256 * 1024;

/// Steps of one turn: as much as one turn of reading.
const TURN_STEPS: usize = 4;

/// A file we know, in what the rotation must agree with.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) key: SourceKey,
    pub(super) offset: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) marker: Marker,
    /// The file is still there under its own name, and has this size.
    pub(super) live: Option<(FileId, u64)>,
}

/// What a turn found out.
#[derive(Debug)]
pub(super) enum Finding {
    /// Another turn is needed.
    More,
    /// Nobody we know.
    Unknown,
    /// It goes on where this head is; the stream, if it stands there.
    Continues(SourceKey, Option<Unpacker>),
    /// It repeats a file that is still being read: all of it (a copy), or that and more.
    Repeats { of: FileId, is_copy: bool },
    /// It cannot be unpacked far enough to tell. `is_known`: it starts as a known file did; `best`: the head that it goes on
    /// from, as far as can be told.
    Broken {
        broken: Broken,
        is_known: bool,
        best: Option<SourceKey>,
    },
}

/// A compressed file that is being compared.
#[derive(Debug)]
pub(super) struct Inspection {
    unpacker: Unpacker,
    /// Those not ruled out, the one read furthest last.
    candidates: Vec<Candidate>,
    /// The first `compared` of them have been passed, and fit.
    compared: usize,
    has_beginning: bool,
    /// The stream has been read to its end.
    has_ended: bool,
    scratch: Vec<u8>,
}

impl Inspection {
    pub(super) fn new(
        file: &File,
        packing: Packing,
        mut candidates: Vec<Candidate>,
    ) -> io::Result<Self> {
        candidates.sort_by(|a, b| (a.offset, &a.key).cmp(&(b.offset, &b.key)));
        Ok(Self {
            unpacker: Unpacker::new(file, packing)?,
            candidates,
            compared: 0,
            has_beginning: false,
            has_ended: false,
            scratch: Vec::new(),
        })
    }

    /// One turn.
    pub(super) fn step(mut self) -> (Option<Self>, Finding) {
        for _ in 0..TURN_STEPS {
            let finding = match self.next() {
                Ok(Finding::More) => continue,
                Ok(finding) => finding,
                Err(broken) => {
                    let is_known = self.has_beginning && !self.candidates.is_empty();
                    let passed = self.candidates.get(..self.compared).unwrap_or_default();
                    let best = passed.last().filter(|best| best.live.is_none());
                    Finding::Broken {
                        broken,
                        is_known,
                        best: best.map(|best| best.key.clone()),
                    }
                }
            };
            return match finding {
                // The stream goes with it, if it stands at the right place.
                Finding::Continues(key, _) => {
                    let is_there = self
                        .candidates
                        .last()
                        .is_some_and(|last| last.offset == self.unpacker.position());
                    let unpacker = is_there.then_some(self.unpacker);
                    (None, Finding::Continues(key, unpacker))
                }
                finding => (None, finding),
            };
        }
        (Some(self), Finding::More)
    }

    fn next(&mut self) -> Result<Finding, Broken> {
        if !self.has_beginning {
            let missing = FINGERPRINT_BYTES.saturating_sub(self.unpacker.beginning().len());
            if missing > 0 && self.unpack(missing)? {
                return Ok(Finding::More);
            }
            self.has_beginning = true;
            self.rule_out_by_beginning();
        }
        let Some(next) = self.candidates.get(self.compared) else {
            return self.conclude();
        };
        let missing = next.offset.saturating_sub(self.unpacker.position());
        if missing > 0 {
            let length = usize::try_from(missing).unwrap_or(STEP_BYTES);
            if self.unpack(length.min(STEP_BYTES))? {
                return Ok(Finding::More);
            }
            // It ends before any of these: it is none of them.
            self.candidates.truncate(self.compared);
        } else if next.marker.fits_end(self.bytes_before(next.offset)) {
            self.compared += 1;
        } else {
            self.candidates.remove(self.compared);
        }
        Ok(Finding::More)
    }

    /// All candidates that are left fit.
    fn conclude(&mut self) -> Result<Finding, Broken> {
        let Some(best) = self.candidates.last() else {
            return Ok(Finding::Unknown);
        };
        let Some((of, size)) = best.live else {
            return Ok(Finding::Continues(best.key.clone(), None));
        };
        if !self.has_ended && self.unpacker.position() <= size && self.unpack(STEP_BYTES)? {
            return Ok(Finding::More);
        }
        let is_copy = self.unpacker.position() <= size;
        Ok(Finding::Repeats { of, is_copy })
    }

    fn rule_out_by_beginning(&mut self) {
        let beginning = self.unpacker.beginning();
        self.candidates
            .retain(|candidate| candidate.fingerprint.fits_beginning(beginning));
    }

    /// What was unpacked just before an offset at or before the position.
    fn bytes_before(&self, offset: u64) -> &[u8] {
        if offset == self.unpacker.position() {
            return self.unpacker.last();
        }
        // Only the beginning is read in one go, past the offsets in it.
        let beginning = self.unpacker.beginning();
        usize::try_from(offset)
            .ok()
            .and_then(|offset| beginning.get(..offset))
            .unwrap_or_default()
    }

    /// False at the end.
    fn unpack(&mut self, length: usize) -> Result<bool, Broken> {
        self.scratch.clear();
        let read = self.unpacker.read(&mut self.scratch, length)?;
        self.has_ended |= read == 0;
        Ok(read > 0)
    }
}
