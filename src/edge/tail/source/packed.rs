//! The compressed half of a source: its turn is to unpack, and its news is that the file is there, or whole at last.

use std::io;

use bytes::Bytes;
use tracing::{info, warn};

use super::{READ_BYTES, Source, TURN_BYTES};
use crate::edge::tail::identity::Seen;
use crate::edge::tail::packed::{Broken, Packing, Unpacker};
use crate::flow::engine::Intake;
use crate::flow::event::Fault;
use crate::flow::lines::Run;

/// As much of a record that was cut off as its dead letter keeps.
const EXCERPT_BYTES_MAX: usize = 1024;

impl Source {
    pub(in crate::edge::tail) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// It has been read to its end, and looks as it did then.
    pub(in crate::edge::tail) fn is_unpacked(&self) -> bool {
        self.unpacked == Some(self.seen)
    }

    /// Its turn came and it could not be unpacked further: it may not be whole yet.
    pub(in crate::edge::tail) fn is_broken(&self) -> bool {
        self.cut.is_some()
    }

    /// It is in the midst of being unpacked, and holds a decoder's memory.
    pub(in crate::edge::tail) fn is_unpacking(&self) -> bool {
        self.unpacker.is_some()
    }

    /// Goes on with a stream that stands where this source is.
    pub(in crate::edge::tail) fn go_on_with(&mut self, unpacker: Unpacker) {
        debug_assert_eq!(unpacker.position(), self.offset());
        self.unpacker = Some(unpacker);
    }

    /// It is there already at the first start, of which only what comes later is wanted.
    pub(in crate::edge::tail) fn skip_packed(&mut self) -> Intake {
        self.unpacked = Some(self.seen);
        self.end()
    }

    /// One turn. True if there may be more.
    pub(super) fn read_packed(&mut self, out: &mut Vec<Intake>) -> io::Result<bool> {
        let (Some(file), Some(packing)) = (&self.file, self.packing) else {
            return Ok(false);
        };
        self.seen = Seen::of(&file.metadata()?);
        let is_hopeless = self.cut.as_ref().is_some_and(|cut| cut.seen == self.seen);
        if self.is_unpacked() || is_hopeless {
            return Ok(false);
        }
        self.cut = None;
        if self.unpacker.is_none() {
            let unpacker = Unpacker::new(file, packing)?;
            self.give_back();
            self.unpacker = Some(unpacker);
        }
        let outcome = self.unpack(packing, out);
        self.read_to = self.splitter.read_offset();
        // How much the rest unpacks to is not known: it counts as it is, and as something if there must be more.
        let packed_position = self.unpacker.as_ref().map_or(0, Unpacker::packed_position);
        let rest = self.seen.size.saturating_sub(packed_position);
        self.size = self.read_to + rest.max(1);
        match outcome {
            Ok(false) => return Ok(true),
            Ok(true) => {
                self.unpacked = Some(self.seen);
                self.finish(out);
                out.push(self.end());
            }
            Err(Broken::Disk(error)) => {
                self.give_back();
                return Err(error);
            }
            Err(broken) => {
                let unfinished = self.splitter.unfinished();
                let excerpt = unfinished.get(..EXCERPT_BYTES_MAX).unwrap_or(unfinished);
                self.cut = Some(Cut {
                    seen: self.seen,
                    why: broken.to_string(),
                    length: unfinished.len() as u64,
                    excerpt: excerpt.to_vec(),
                });
            }
        }
        self.give_back();
        Ok(false)
    }

    /// It cannot be unpacked, and what could be was read elsewhere.
    pub(in crate::edge::tail) fn condemn(&mut self, why: &str, out: &mut Vec<Intake>) {
        self.cut = Some(Cut {
            seen: self.seen,
            why: why.to_owned(),
            length: 0,
            excerpt: Vec::new(),
        });
        self.give_up(out);
    }

    /// Nothing is expected of a broken file any more: what is missing becomes one dead letter.
    pub(in crate::edge::tail) fn give_up(&mut self, out: &mut Vec<Intake>) {
        let Some(cut) = self.cut.take() else {
            return;
        };
        let offset = self.offset();
        warn!(
            path = %self.path.display(), offset, why = cut.why,
            "compressed file cannot be unpacked to its end: the records before this offset of its content are kept"
        );
        self.unpacked = Some(cut.seen);
        self.size = offset;
        let fault = Fault {
            offset,
            length: cut.length,
            reason: format!(
                "compressed file cannot be unpacked from here on: {}",
                cut.why
            ),
            excerpt: cut.excerpt,
        };
        let run = Run {
            base: offset,
            bytes: Bytes::new(),
            faults: vec![fault],
        };
        out.push(self.batch(run));
    }

    /// True at the end of the stream; false when the turn is over.
    fn unpack(&mut self, packing: Packing, out: &mut Vec<Intake>) -> Result<bool, Broken> {
        let mut budget = TURN_BYTES;
        while budget > 0 {
            let Some(unpacker) = &mut self.unpacker else {
                return Ok(false);
            };
            let from = self.splitter.read_offset();
            let passed = unpacker.position();
            if passed < from {
                let length = usize::try_from(from - passed).unwrap_or(READ_BYTES);
                let mut passing = Vec::new();
                let read = unpacker.read(&mut passing, length.min(READ_BYTES))?;
                budget = budget.saturating_sub(read.max(1));
                let is_there = unpacker.position() == from;
                let continues = self.fingerprint.fits_beginning(unpacker.beginning())
                    && self.marker.fits_end(unpacker.last());
                if read == 0 || (is_there && !continues) {
                    self.unpack_anew(packing)?;
                }
                continue;
            }
            let read = unpacker.read(self.splitter.space(READ_BYTES), READ_BYTES)?;
            if read == 0 {
                return Ok(true);
            }
            while let Some(run) = self.splitter.take() {
                self.hand_over(run, out);
            }
            budget = budget.saturating_sub(read);
        }
        Ok(false)
    }

    /// Other content than what was read is in it now.
    fn unpack_anew(&mut self, packing: Packing) -> Result<(), Broken> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let unpacker = Unpacker::new(file, packing).map_err(Broken::Disk)?;
        info!(path = %self.path.display(), old_offset = self.offset(), "compressed file was replaced: reading it from its start");
        self.start_over(0);
        self.read_again_from(0);
        self.unpacker = Some(unpacker);
        Ok(())
    }

    /// No records, but a head that knows that this was all.
    fn end(&mut self) -> Intake {
        self.size = self.offset();
        self.batch(Run {
            base: self.offset(),
            bytes: Bytes::new(),
            faults: Vec::new(),
        })
    }
}

/// Where and why a compressed file could not be unpacked further.
#[derive(Debug)]
pub(super) struct Cut {
    /// How the file looked.
    seen: Seen,
    why: String,
    /// Bytes of the record that was cut off, and as many of them as are worth keeping.
    length: u64,
    excerpt: Vec<u8>,
}
