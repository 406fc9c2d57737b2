//! The spool: documents that wait on disk while Elasticsearch is away, bounded, compressed, in their order.
//!
//! A spool is a folder of segments; a segment is frames of documents. Driven by `edge::ship`, one call at a time: what
//! comes is appended, what the cluster takes is read from the front, and segments go once all in them is settled.
//!
//! Invariants:
//! - Documents come out in the order they went in. What lies behind a document in the stream of documents lies behind it
//!   in the spool, or is not made yet: so sending the spool again from any segment on ends as sending it once does.
//! - After [`Spool::mark`] everything appended before survives a power cut: a checkpoint may count it as safe.
//! - **The spool ends where the checkpoint does.** A frame says which checkpoint it came behind. [`open()`] cuts off what
//!   came behind the checkpoint that the engine goes on from: the engine makes it again. Sending it twice would be nearly
//!   as good, since ids are deterministic; but versions of windows follow the clock, and a clock that was set back between
//!   two starts must not let what was made first beat what was made last.
//! - A torn end is cut. A damaged frame costs its own documents, is told with their number and its place
//!   ([`Batch::losses`]), and hides none before or behind it.
//! - At most `bytes_max` on disk but for marks of 40 bytes; one frame of 1 MiB (or one larger document) in memory.
//! - After a failed write the file is as before; after a failed fsync nothing is believed until a restart.

mod frame;
mod open;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::edge::segments::Medium;
use crate::edge::segments::sync_folder;
use crate::flow::document::Documents;
pub use open::open;
use segment::Walk;

/// A segment is rolled at this size: large enough that rolling costs nothing, small enough that space soon comes back.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// And at this share of the bound: of a small spool too, most must be free again before all is drained.
const SEGMENTS_IN_BOUND: u64 = 8;

/// The spool of one pipeline, open. Its documents have running numbers.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    /// Oldest first; the last is appended to, if `file` is there.
    segments: VecDeque<Segment>,
    file: Option<Box<dyn Medium>>,
    make_medium: fn(File) -> Box<dyn Medium>,
    /// `file` holds what is not synced.
    dirty: bool,
    next_segment: u64,
    /// What is appended comes behind this checkpoint.
    checkpoint: u64,
    /// Documents before this number were read, or need not be.
    read_to: u64,
    /// Number of the next document.
    end: u64,
    /// Segment being read, and how far.
    reading: usize,
    walk: Option<Walk>,
    /// Not yet told.
    losses: Vec<Loss>,
}

/// What [`Spool::read`] gives.
#[derive(Debug, Default)]
pub struct Batch {
    /// Documents to send, in their order; none at the end of the spool.
    pub documents: Documents,
    /// Number after them: [`Spool::settle`] it once they are settled.
    pub end: u64,
    /// What lay damaged before them.
    pub losses: Vec<Loss>,
}

/// Documents that cannot be read any more. Their checkpoint counted them as safe, so they are not made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment in which they are missed.
    pub path: PathBuf,
    /// First bad byte there, or where they should be.
    pub offset: u64,
    /// How many.
    pub documents: u64,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Why the spool does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No room under the bound until segments are settled.
    #[error(
        "the spool is full ({bytes_max} bytes): inputs wait until elasticsearch takes documents again, or \
         output.elasticsearch.spool is larger"
    )]
    Full {
        /// The bound.
        bytes_max: u64,
    },
    /// The disk said no, and nothing was changed: try again later.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What was written may be gone: stop, and replay from the last checkpoint.
    #[error("cannot {doing} {path}: {source}; restart modelbeat once the disk is well", path = path.display())]
    Unsure {
        /// What failed.
        doing: &'static str,
        /// The segment.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Written by a newer modelbeat: do not start.
    #[error(
        "{path} has format {format}, and this modelbeat reads up to {known}; start the newer modelbeat that wrote it, or \
         move the folder away to go on without the documents in it", path = path.display(), known = segment::FORMAT
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl Error {
    /// True if trying again is wrong.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Full { .. } | Self::Io { .. })
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    fn unsure(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unsure {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// What is known of a segment.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Bytes of it that are to be read.
    length: u64,
    /// Number after its last document.
    end: u64,
}

impl Spool {
    fn new(folder: &Path, bytes_max: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            bytes_max,
            segments: VecDeque::new(),
            file: None,
            make_medium: |file| Box::new(file),
            dirty: false,
            next_segment: 0,
            checkpoint: 0,
            read_to: 0,
            end: 0,
            reading: 0,
            walk: None,
            losses: Vec::new(),
        }
    }

    /// Appends items from `from` up to `to`, and moves `from` along: after an error, call it again with the same `from`, and
    /// nothing is in the spool twice. Durable only after [`Self::mark`].
    pub fn append(
        &mut self,
        documents: &Documents,
        from: &mut usize,
        to: usize,
    ) -> Result<(), Error> {
        while *from < to {
            let (frame, next) = frame::encode(documents, *from..to, self.checkpoint, self.end)
                .map_err(Error::io("encode documents for", &self.folder))?;
            if self.bytes() + segment::START + frame.len() as u64 > self.bytes_max {
                let bytes_max = self.bytes_max;
                return Err(Error::Full { bytes_max });
            }
            let documents = (next - *from) as u64;
            self.write(&frame, documents)?;
            *from = next;
        }
        Ok(())
    }

    /// What is appended from now on comes behind this checkpoint, which may be saved: what came before is durable. May
    /// pass the bound.
    pub fn mark(&mut self, checkpoint: u64) -> Result<(), Error> {
        if !self.segments.is_empty() {
            self.write(&frame::mark(checkpoint, self.end), 0)?;
            self.sync()?;
        }
        self.checkpoint = checkpoint;
        Ok(())
    }

    /// The next documents. After an error, what was not given is given by the next call.
    pub fn read(&mut self) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        while let Some(segment) = self.segments.get(self.reading) {
            let path = segment.path.as_path();
            let walk = match &mut self.walk {
                Some(walk) => walk,
                none => none.insert(open_walk(path)?),
            };
            let Some((at, header)) = walk.next(segment.length).map_err(Error::io("read", path))?
            else {
                if self.reading + 1 < self.segments.len() {
                    self.reading += 1;
                    self.walk = None;
                    continue;
                }
                break;
            };
            let skipped = header.number.saturating_sub(self.read_to);
            self.losses
                .extend(Loss::of(path, walk.bad().unwrap_or(at), skipped, TORN));
            self.read_to += skipped;
            if header.end() <= self.read_to {
                continue;
            }
            let payload = walk.payload(at, &header).map_err(|error| {
                walk.back_to(at);
                Error::io("read", path)(error)
            })?;
            self.read_to = header.end();
            match header.documents(&payload) {
                Ok(documents) => {
                    batch.documents = documents;
                    break;
                }
                Err(reason) => {
                    let documents = u64::from(header.documents);
                    self.losses.extend(Loss::of(path, at, documents, reason));
                }
            }
        }
        if batch.documents.items.is_empty() {
            // Damage at the very end shows by nothing behind it.
            let (path, offset) = match self.segments.back() {
                Some(last) => (last.path.as_path(), last.length),
                None => (self.folder.as_path(), 0),
            };
            let missing = Loss::of(path, offset, self.unread(), TORN);
            self.losses.extend(missing);
            self.read_to = self.end;
        }
        batch.losses = std::mem::take(&mut self.losses);
        batch.end = self.read_to;
        Ok(batch)
    }

    /// What is in the spool need not be read: it is on its way already.
    pub fn skip(&mut self) {
        self.read_to = self.end;
    }

    /// Documents before number `below` are settled: segments that hold only such are deleted.
    pub fn settle(&mut self, below: u64) -> Result<(), Error> {
        while self.has_settled_segment(below) {
            self.delete_oldest()?;
        }
        Ok(())
    }

    /// True if [`Self::settle`] would delete something.
    #[must_use]
    pub fn has_settled_segment(&self, below: u64) -> bool {
        let is_settled = |segment: &Segment| segment.end <= below;
        self.segments.len() > 1 && self.segments.front().is_some_and(is_settled)
    }

    /// Everything is settled: the disk is free of it when this returns, also after a power cut.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.file = None;
        self.dirty = false;
        while !self.segments.is_empty() {
            self.delete_oldest()?;
        }
        self.read_to = self.end;
        Ok(())
    }

    /// The checkpoint behind which documents are appended.
    #[must_use]
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// Number of the next document to be appended.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Documents that [`Self::read`] has not given yet.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.end - self.read_to
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Bytes on disk beyond which nothing is appended; 0: this spool is only drained.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The error of whoever must not delete anything yet.
    #[must_use]
    pub fn keeps(&self, why: &str) -> Error {
        Error::io("delete segments in", &self.folder)(io::Error::other(why))
    }

    fn write(&mut self, frame: &[u8], documents: u64) -> Result<(), Error> {
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(self.bytes_max / SEGMENTS_IN_BOUND);
        let length = self.segments.back().map_or(0, |last| last.length);
        let is_full = length > segment::START && length + frame.len() as u64 > segment_bytes_max;
        if self.file.is_none() || is_full {
            self.roll()?;
        }
        let (Some(file), Some(last)) = (&mut self.file, self.segments.back_mut()) else {
            return Ok(());
        };
        self.dirty = true;
        if let Err(source) = file.append(frame) {
            file.cut(last.length)
                .map_err(Error::unsure("undo a partial write to", &last.path))?;
            return Err(Error::io("write to", &last.path)(source));
        }
        last.length += frame.len() as u64;
        self.end += documents;
        last.end = self.end;
        Ok(())
    }

    /// Goes on in a new segment; the one before is durable then.
    fn roll(&mut self) -> Result<(), Error> {
        self.sync()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| self.folder.parent().map_or(Ok(()), sync_folder))
            .map_err(Error::io("create the folder", &self.folder))?;
        let (file, path) = segment::create(&self.folder, self.next_segment, self.end)
            .map_err(Error::io("create a segment in", &self.folder))?;
        self.next_segment += 1;
        self.file = Some((self.make_medium)(file));
        self.segments.push_back(Segment {
            path,
            length: segment::START,
            end: self.end,
        });
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        if let (true, Some(file), Some(last)) = (self.dirty, &mut self.file, self.segments.back()) {
            file.sync().map_err(Error::unsure("fsync", &last.path))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Durably, before the next is deleted: a power cut must not leave an old segment without those behind it.
    fn delete_oldest(&mut self) -> Result<(), Error> {
        let Some(oldest) = self.segments.front() else {
            return Ok(());
        };
        match fs::remove_file(&oldest.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("delete", &oldest.path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        sync_folder(&self.folder).map_err(Error::io("fsync the folder", &self.folder))?;
        self.segments.pop_front();
        if self.reading == 0 {
            self.walk = None;
        }
        self.reading = self.reading.saturating_sub(1);
        Ok(())
    }
}

const TORN: &str = "no whole frame";

impl Loss {
    /// `None` if nothing is lost.
    fn of(path: &Path, offset: u64, documents: u64, reason: &'static str) -> Option<Self> {
        (documents > 0).then(|| Self {
            path: path.to_owned(),
            offset,
            documents,
            reason,
        })
    }
}

fn open_walk(path: &Path) -> Result<Walk, Error> {
    Walk::open(path)
        .map_err(Error::io("open", path))?
        .map_err(|format| Error::Newer {
            path: path.to_owned(),
            format,
        })
}
