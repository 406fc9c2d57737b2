//! The journal as a source: follows the durable end and hands the engine batches of lines, read back from disk.
//!
//! A batch holds payloads of one kind back to back. Offsets count payload bytes, so `base + index` is true for every byte
//! of it, whatever records it was put together from. Every checksum is verified again on the way. The payloads are moved
//! together in the buffer they were read into, which comes back when the engine is done with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use memchr::{memchr, memrchr};
use tokio::sync::{mpsc, watch};

use super::record::{HEADER_LENGTH, Header};
use super::{Error, Settings, segment};
use crate::flow::engine::Intake;
use crate::flow::event::{Batch, Head, InputId, Kind, SourceKey};
use crate::flow::pool::Pool;

/// Bytes of a batch, save where one line is longer: enough to make the cost of a batch vanish, little enough that a few in
/// the channel are no memory to speak of, and that the documents made of them find their room again
/// ([`Budget`](crate::edge::budget::Budget)).
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// When to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When told to stop. What is durable and unread is for the next start.
    Stopped,
    /// When what was durable at the start is read (`--once`).
    Drained,
}

/// The reading side of a journal.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    input: InputId,
    source: SourceKey,
    origin: Arc<str>,
    durable: watch::Receiver<u64>,
}

impl Reader {
    pub(super) fn new(settings: &Settings, durable: watch::Receiver<u64>) -> Self {
        Self {
            folder: settings.folder(),
            input: settings.input,
            source: settings.source(),
            origin: "http".into(),
            durable,
        }
    }

    /// The key of its head in a checkpoint: [`Settings::source`].
    #[must_use]
    pub fn source(&self) -> &SourceKey {
        &self.source
    }

    /// Sends what is durable from offset `from` on, as it becomes durable; waits where `out` is full.
    ///
    /// Ends when told to, when the journal is closed and read to its end, or when `out` is closed. Dropping it loses
    /// nothing: reading goes on from the engine's head.
    ///
    /// # Errors
    /// The disk, or damage since it was written.
    pub async fn run(
        mut self,
        from: u64,
        until: Until,
        out: mpsc::Sender<Intake>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut cursor = Cursor::new(self.folder.clone(), from);
        loop {
            let end = *self.durable.borrow_and_update();
            while cursor.offset < end {
                // Reading is disk and checksums, not for a thread that serves sockets.
                let task = tokio::task::spawn_blocking(move || {
                    let run = cursor.next(end);
                    (cursor, run)
                });
                let (back, run) = task
                    .await
                    .map_err(|error| Error::io("read", &self.folder)(io::Error::other(error)))?;
                cursor = back;
                let Some(run) = run? else { break };
                let intake = Intake::Batch(self.batch(run));
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return Ok(()),
                    sent = out.send(intake) => if sent.is_err() { return Ok(()) },
                }
            }
            if until == Until::Drained {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                changed = self.durable.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    fn batch(&self, run: Run) -> Batch {
        let offset = run.base + run.bytes.len() as u64;
        Batch {
            input: self.input,
            source: self.source.clone(),
            origin: Arc::clone(&self.origin),
            kind: run.kind,
            bytes: run.bytes,
            base: run.base,
            faults: Vec::new(),
            restart: false,
            head: Head {
                input: self.input.0,
                offset,
                evidence: String::new(),
            },
        }
    }
}

/// Ready once told to stop, or once nobody could tell any more. Cancel safe.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

/// Lines of one kind.
#[derive(Debug)]
struct Run {
    kind: Option<Kind>,
    base: u64,
    bytes: Bytes,
}

/// Where reading is. Blocking.
#[derive(Debug)]
struct Cursor {
    folder: PathBuf,
    /// Next payload byte to hand out.
    offset: u64,
    open: Option<Open>,
    /// Of a payload larger than a batch: its kind, and what is still to be handed out.
    rest: (Option<Kind>, Bytes),
    pool: Pool,
}

/// The segment being read.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    base: u64,
    /// Byte of the file where the next record begins.
    position: u64,
    /// Its offset in the journal.
    offset: u64,
}

impl Cursor {
    fn new(folder: PathBuf, offset: u64) -> Self {
        Self {
            folder,
            offset,
            open: None,
            rest: (None, Bytes::new()),
            pool: Pool::default(),
        }
    }

    /// The next lines below `end`, which must be durable. `None`: there are none.
    fn next(&mut self, end: u64) -> Result<Option<Run>, Error> {
        if self.rest.1.is_empty() && !self.fill(end)? {
            return Ok(None);
        }
        let (kind, rest) = &mut self.rest;
        let size = cut(rest);
        let run = Run {
            kind: *kind,
            base: self.offset,
            bytes: rest.split_to(size),
        };
        self.offset += size as u64;
        Ok(Some(run))
    }

    /// Reads the next payloads of one kind into `rest`: up to a batch, or one that is larger.
    fn fill(&mut self, end: u64) -> Result<bool, Error> {
        while self.offset < end {
            if self.open.is_none() {
                self.open = Some(open_at(&self.folder, self.offset)?);
            }
            let Some(open) = &mut self.open else { break };
            if open.offset > self.offset {
                let (from, to) = (self.offset, open.offset);
                tracing::warn!(from, to, "the journal lacks records");
                self.offset = open.offset;
                continue;
            }
            let start = open.offset;
            let (kind, mut payloads) = read_run(open, end, &self.pool)?;
            if payloads.is_empty() {
                // Read to the end of the segment; its successor begins at this offset or, after a gap, later.
                let (base, past) = (open.base, open.offset);
                let next = open_at(&self.folder, past)?;
                if next.base == base {
                    return Err(open.damaged("the file ends before what was written to it"));
                }
                self.open = Some(next);
                continue;
            }
            // The first record may have begun before the head: a batch ended inside it.
            let skip = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
            payloads.advance(skip.min(payloads.len()));
            self.rest = (kind, payloads);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Open {
    fn damaged(&self, reason: &'static str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset: self.position,
            reason,
        }
    }

    /// Bytes of the file from the next record on: `size`, or fewer at its end.
    fn read(&self, size: usize, mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        bytes.resize(size, 0);
        let mut filled = 0;
        while let Some(free) = bytes.get_mut(filled..)
            && !free.is_empty()
        {
            match self.file.read_at(free, self.position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Bytes of the file from the next record on.
    fn left(&self) -> Result<usize, Error> {
        let length = self
            .file
            .metadata()
            .map_err(Error::io("read", &self.path))?;
        let left = length.len().saturating_sub(self.position);
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Goes past the next record.
    fn pass(&mut self, header: &Header) {
        self.position += HEADER_LENGTH as u64 + u64::from(header.length);
        self.offset = header.end();
    }

    /// Goes to the record that holds `offset`, by the headers alone.
    fn seek(&mut self, offset: u64) -> Result<(), Error> {
        loop {
            let head = self.read(HEADER_LENGTH, Vec::new())?;
            let Some(header) = head.first_chunk().and_then(Header::decode) else {
                return if head.is_empty() {
                    Ok(())
                } else {
                    Err(self.damaged("not a record"))
                };
            };
            if header.offset != self.offset {
                return Err(self.damaged("a record from another place"));
            }
            if header.end() > offset {
                return Ok(());
            }
            self.pass(&header);
        }
    }
}

/// Opens the segment that holds `offset`, at the record that holds it; or the first one after it.
fn open_at(folder: &Path, offset: u64) -> Result<Open, Error> {
    let segments = segment::list(folder).map_err(Error::io("list", folder))?;
    let after = segments
        .iter()
        .position(|(base, _)| *base > offset)
        .unwrap_or(segments.len());
    let mut candidates = segments.into_iter().skip(after.saturating_sub(1));
    let mut open = None;
    for (base, path) in candidates.by_ref().take(2) {
        let mut found = open_segment(path, base)?;
        found.seek(offset)?;
        let is_past_its_end = found.read(1, Vec::new())?.is_empty();
        open = Some(found);
        if !is_past_its_end {
            break;
        }
    }
    open.ok_or_else(|| Error::Damaged {
        path: folder.to_owned(),
        offset,
        reason: "no segment holds this offset or a later one",
    })
}

fn open_segment(path: PathBuf, base: u64) -> Result<Open, Error> {
    let mut file = File::open(&path).map_err(Error::io("open", &path))?;
    let header = segment::check_header(&mut file, base).map_err(Error::io("read", &path))?;
    let open = Open {
        file,
        path,
        base,
        position: segment::START,
        offset: base,
    };
    header.map_err(|fault| Error::Damaged {
        path: open.path.clone(),
        offset: 0,
        reason: fault.reason(),
    })?;
    Ok(open)
}

/// The payloads, back to back, of the next records of one kind below `end`; empty at the end of the segment.
fn read_run(open: &mut Open, end: u64, pool: &Pool) -> Result<(Option<Kind>, Bytes), Error> {
    let buffer = pool.take(BATCH_BYTES_MAX);
    let mut bytes = open.read(BATCH_BYTES_MAX, buffer.unwrap_or_default())?;
    let first = bytes.first_chunk().and_then(Header::decode);
    let needed = first.map_or(0, |header| HEADER_LENGTH + header.length as usize);
    if needed > bytes.len() {
        // A length that is damaged must not take memory for what is not there.
        bytes = open.read(needed.min(open.left()?), bytes)?;
    }
    let mut kind = None;
    // Where the next record begins, and where its payload belongs: the first one's is there already.
    let (mut at, mut to) = (0, HEADER_LENGTH);
    while open.offset < end && at < bytes.len() {
        let header = match check_record(bytes.get(at..).unwrap_or_default(), open.offset) {
            Ok(header) => header,
            // What is good goes out first; the bad record is met again, then at the front.
            Err(_) if at > 0 => break,
            Err(reason) => return Err(open.damaged(reason)),
        };
        if at == 0 {
            kind = header.kind;
        } else if header.kind != kind {
            break;
        }
        let (start, length) = (at + HEADER_LENGTH, header.length as usize);
        if to < start {
            bytes.copy_within(start..start + length, to);
        }
        (at, to) = (start + length, to + length);
        open.pass(&header);
    }
    if at == 0 {
        return Ok((None, Bytes::new()));
    }
    bytes.truncate(to);
    let mut payloads = pool.lend(bytes);
    payloads.advance(HEADER_LENGTH);
    Ok((kind, payloads))
}

/// The header of the record at the front, once the whole record is verified.
fn check_record(bytes: &[u8], offset: u64) -> Result<Header, &'static str> {
    let (head, rest) = bytes
        .split_first_chunk()
        .ok_or("the file ends inside a record's header")?;
    let header = Header::decode(head).ok_or("not a record")?;
    let payload = rest
        .get(..header.length as usize)
        .ok_or("the file ends inside a record")?;
    let mut check = header.check();
    check.update(payload);
    if !check.agrees() {
        return Err("checksum mismatch");
    }
    if header.offset != offset {
        return Err("a record from another place");
    }
    Ok(header)
}

/// How much of `bytes` makes a batch: whole lines.
fn cut(bytes: &Bytes) -> usize {
    let Some(head) = bytes.get(..BATCH_BYTES_MAX) else {
        return bytes.len();
    };
    let last = memrchr(b'\n', head);
    last.or_else(|| memchr(b'\n', bytes))
        .map_or(bytes.len(), |at| at + 1)
}
