//! One tailed file: reads it in turns, notices that it was cut or replaced, and makes batches with heads.
//!
//! Invariant: what is handed over was proven, *after* it was read, to continue what was handed over before (the
//! file's beginning and the bytes before the offset are unchanged). A file whose proof fails starts over as a new
//! source, and what was read in doubt is thrown away.
//!
//! A compressed file is unpacked instead (`packed`): it does not change under its reader, but it may not be whole yet.

mod packed;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::filesystem::Filesystem;
use super::growth::Growth;
use super::identity::{Evidence, FileId, Fingerprint, Marker, Seen, open, read_at, read_whole};
use super::packed::{Packing, Unpacker};
use super::{Settings, SourceStatus};
use crate::flow::engine::Intake;
use crate::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};
use crate::flow::lines::{self, Framing, Run, Splitter};
use crate::flow::pool::Pool;

/// Bytes asked for in one read, and so about the largest batch of a file with short lines: large enough that costs
/// per batch vanish, small enough to stay in a core's second-level cache on its way through the engine.
const READ_BYTES: usize = 256 * 1024;

/// Least room for one read: a quiet file gets a line now and then.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes read of one file before the next has its turn.
const TURN_BYTES: usize = 1024 * 1024;

/// What a file costs its turn when it was found cut or replaced, so that no file can keep the turn for ever.
const GO_BACK_COST: usize = 256 * 1024;

/// Bytes at the end of a copy that are compared with the original.
const END_BYTES: usize = 4 * 1024;

/// One file of one input.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: FileId,
    pub(super) path: PathBuf,
    /// Open while it is read or watched; closed when too many are open.
    pub(super) file: Option<File>,
    /// When it last had a turn: the oldest is closed first.
    pub(super) used: u64,
    /// It waits for a turn.
    pub(super) queued: bool,
    /// A glob led to it at the last scan.
    pub(super) named: bool,
    /// The name it had before it was renamed.
    pub(super) former_path: Option<PathBuf>,
    /// Another file has its former name: the writer went on there.
    pub(super) superseded: bool,
    /// Scans in a row that found it unchanged.
    pub(super) quiet_scans: u32,
    /// As it was at the last scan.
    pub(super) seen: Seen,
    /// The newest size known.
    pub(super) size: u64,
    /// Bytes that were cut away before they were read.
    pub(super) lost_bytes: u64,
    /// Bytes handed over since the agent started.
    pub(super) read_bytes: u64,
    growth: Growth,
    /// When a look at it last brought news.
    news: Option<Timestamp>,
    /// First byte not yet read, also while it is closed.
    read_to: u64,
    key: Option<SourceKey>,
    origin: Arc<str>,
    fingerprint: Fingerprint,
    /// Proof of the bytes before the offset.
    marker: Marker,
    /// Proof of the unfinished record behind it, of which a part has been read.
    unfinished: Marker,
    framing: Framing,
    record_bytes_max: usize,
    pool: Pool,
    splitter: Splitter,
    /// Nothing has been handed over of what starts at offset 0.
    fresh: bool,
    filesystem: Filesystem,
    /// Names that earlier content of this inode has.
    taken: Vec<SourceKey>,
    /// Content that was replaced: its rotation may turn up as a copy, or compressed.
    former: Vec<Former>,
    packing: Option<Packing>,
    unpacker: Option<Unpacker>,
    /// Compressed: it was read to its end when it looked so.
    unpacked: Option<Seen>,
    /// Compressed: why it could not be unpacked further.
    cut: Option<packed::Cut>,
}

/// What a source was before its content was replaced.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) key: SourceKey,
    pub(super) head: Head,
    pub(super) evidence: Evidence,
    /// Bytes that were there and had not been read.
    pub(super) unread_bytes: u64,
}

/// What a file is to what has been read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The same, with more behind it or not.
    Continued,
    /// What was handed over is there; the unfinished record behind it is another.
    Rewound,
    /// Not what was handed over.
    Replaced,
}

impl Source {
    /// A file nobody has read yet.
    pub(super) fn new(
        settings: &Settings,
        pool: &Pool,
        path: PathBuf,
        file: File,
        filesystem: Filesystem,
    ) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            id: FileId::of(settings.input, &path, &metadata, filesystem),
            packing: Packing::of(&path),
            origin: Arc::from(path.to_string_lossy()),
            path,
            fingerprint: Fingerprint::default(),
            file: Some(file),
            used: 0,
            queued: false,
            named: true,
            former_path: None,
            superseded: false,
            quiet_scans: 0,
            seen: Seen::of(&metadata),
            size: metadata.len(),
            lost_bytes: 0,
            read_bytes: 0,
            growth: Growth::new(modified(&metadata)),
            news: None,
            read_to: 0,
            key: None,
            marker: Marker::default(),
            unfinished: Marker::default(),
            framing: settings.framing,
            record_bytes_max: settings.record_bytes_max,
            splitter: Splitter::new(settings.framing, settings.record_bytes_max, 0).with_pool(pool),
            pool: pool.clone(),
            fresh: true,
            filesystem,
            taken: Vec::new(),
            former: Vec::new(),
            unpacker: None,
            unpacked: None,
            cut: None,
        })
    }

    /// Goes on where a head says, its evidence having been found to fit.
    pub(super) fn resume(&mut self, key: SourceKey, offset: u64, evidence: Evidence) {
        let evidence_path = PathBuf::from(evidence.path);
        if evidence_path != self.path {
            self.former_path = Some(evidence_path);
        }
        self.key = Some(key);
        self.fingerprint = evidence.fingerprint;
        self.marker = evidence.marker;
        self.unpacked = evidence.unpacked;
        if self.is_unpacked() {
            self.size = offset;
        }
        self.read_again_from(offset);
        self.read_to = offset;
        self.fresh = offset == 0;
    }

    /// Goes on after the last whole record that is there now. For CSV the header is handed over all the same: the
    /// decoder cannot do without it. The batch may be empty: it is the head that must be remembered.
    pub(super) fn skip_to_end(&mut self) -> io::Result<Option<Intake>> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let end = last_line_end(file, file.metadata()?.len())?;
        if end == 0 {
            return Ok(None);
        }
        let mut header = None;
        if self.framing == Framing::Csv {
            read_at(file, self.splitter.space(READ_BYTES), 0)?;
            header = self.splitter.take().and_then(|run| first_record(&run));
        }
        let mut last = Vec::with_capacity(READ_BYTES_MIN);
        read_at(file, &mut last, end.saturating_sub(64))?;
        last.truncate(usize::try_from(end.min(64)).unwrap_or(64));

        self.fingerprint.cover(file, end)?;
        self.read_again_from(end);
        self.read_to = end;
        self.fresh = header.is_some();
        let empty = Run {
            base: end,
            bytes: bytes::Bytes::new(),
            faults: Vec::new(),
        };
        self.marker = Marker::of(&last);
        Ok(Some(self.batch(header.unwrap_or(empty))))
    }

    /// One turn: reads up to [`TURN_BYTES`]. True if there may be more.
    pub(super) fn read(&mut self, out: &mut Vec<Intake>) -> io::Result<bool> {
        if self.packing.is_some() {
            return self.read_packed(out);
        }
        let mut budget = TURN_BYTES;
        while budget > 0 {
            let Some(file) = &self.file else {
                return Ok(false);
            };
            let from = self.splitter.read_offset();
            let waiting = usize::try_from(self.size.saturating_sub(from)).unwrap_or(READ_BYTES);
            // One byte more than is known to be there, so that a file that grew is noticed.
            let room = waiting.saturating_add(1).clamp(READ_BYTES_MIN, READ_BYTES);
            let read = read_at(file, self.splitter.space(room), from)?;
            let metadata = file.metadata()?;
            let state = self.state(metadata.len(), from, from + read as u64)?;
            if state != State::Continued {
                self.go_back(state, metadata.len());
                budget = budget.saturating_sub(GO_BACK_COST);
                continue;
            }
            self.size = metadata.len();
            if read == 0 {
                return Ok(false);
            }
            while let Some(run) = self.splitter.take() {
                self.hand_over(run, out);
            }
            self.unfinished = Marker::of(self.splitter.unfinished());
            self.read_to = self.splitter.read_offset();
            budget = budget.saturating_sub(read);
        }
        Ok(true)
    }

    /// Hands over what is left as the last record: nothing will be added to it.
    pub(super) fn finish(&mut self, out: &mut Vec<Intake>) {
        if self.packing.is_some() && !self.is_unpacked() {
            return;
        }
        self.unfinished = Marker::default();
        if let Some(run) = self.splitter.finish() {
            self.hand_over(run, out);
        }
    }

    /// Opens it again under its name. False if another file has the name now.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let file = open(&self.path)?;
        let metadata = file.metadata()?;
        let id = FileId::of(self.id.input, &self.path, &metadata, self.filesystem);
        let is_same = id == self.id;
        if is_same {
            self.file = Some(file);
        }
        Ok(is_same)
    }

    /// Gives the descriptor back, and with it the memory of an unfinished record, which is read again later.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.give_back();
    }

    /// Gives back the memory of an unfinished record.
    pub(super) fn give_back(&mut self) {
        self.unpacker = None;
        self.read_again_from(self.offset());
    }

    /// Bytes of an unfinished record in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.splitter.unfinished().len()
    }

    /// There are bytes that were not read, or not since they were given back.
    pub(super) fn is_behind(&self) -> bool {
        self.splitter.read_offset() < self.size
    }

    /// When a look at it last brought news.
    pub(super) fn idle_since(&self, now: Timestamp) -> Timestamp {
        self.news.unwrap_or(now)
    }

    /// Its descriptor says where its name leads: not so where the file system makes up inodes, and a name that leads
    /// elsewhere by now cannot be noticed.
    pub(super) fn may_stay_open(&self) -> bool {
        self.filesystem.has_inodes
    }

    /// The contents it had before, if any were replaced.
    pub(super) fn take_former(&mut self) -> Vec<Former> {
        std::mem::take(&mut self.former)
    }

    /// Not to be used as its name.
    pub(super) fn avoid(&mut self, key: SourceKey) {
        self.taken.push(key);
    }

    /// True if this file, of this size and starting so, repeats what was handed over of this source. The second tells
    /// whether it repeats nothing but what is in this one, too.
    pub(super) fn is_repeated_by(
        &self,
        other: &File,
        size: u64,
        beginning: &[u8],
    ) -> io::Result<Option<bool>> {
        if self.fingerprint.is_empty() || size == 0 {
            return Ok(None);
        }
        let offset = self.offset();
        let starts_alike = self.fingerprint.fits_beginning(beginning);
        let is_copy = size <= self.size.max(offset)
            && match self.packing {
                Some(_) => starts_alike && size == offset,
                None => self.has_in_it(other, size, beginning)?,
            };
        let repeats =
            is_copy || (starts_alike && size >= offset && self.marker.fits(other, offset)?);
        Ok(repeats.then_some(is_copy))
    }

    /// True if the other file, of this size, starts and ends as this one does there.
    fn has_in_it(&self, other: &File, size: u64, beginning: &[u8]) -> io::Result<bool> {
        let reopened;
        let own = if let Some(file) = &self.file {
            file
        } else {
            reopened = open(&self.path)?;
            &reopened
        };
        let length = usize::try_from(size).map_or(END_BYTES, |size| size.min(END_BYTES));
        let start = size - length as u64;
        Ok(read_whole(own, 0, beginning.len())? == beginning
            && read_whole(own, start, length)? == read_whole(other, start, length)?)
    }

    pub(super) fn rename(&mut self, path: PathBuf) {
        info!(from = %self.path.display(), to = %path.display(), offset = self.offset(), "file was renamed");
        self.origin = Arc::from(path.to_string_lossy());
        self.superseded = false;
        self.former_path = Some(std::mem::replace(&mut self.path, path));
    }

    /// First byte not yet handed over.
    pub(super) fn offset(&self) -> u64 {
        self.splitter.offset()
    }

    /// The name its records were handed over under, if any were.
    pub(super) fn key(&self) -> Option<&SourceKey> {
        self.key.as_ref()
    }

    /// Remembers when it had which size.
    pub(super) fn look(&mut self, now: Timestamp) {
        if self.quiet_scans == 0 {
            self.news = Some(now);
        }
        self.growth.look(self.size, self.read_to, now);
    }

    pub(super) fn status(&self) -> SourceStatus {
        SourceStatus {
            input: self.id.input,
            key: self.key.clone(),
            path: self.path.clone(),
            offset: self.offset(),
            size: self.size,
            lag_bytes: self.size.saturating_sub(self.offset()),
            waiting_since: self.growth.waiting_since(self.size, self.read_to),
        }
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            path: self.path.to_string_lossy().into_owned(),
            dev: self.id.dev,
            inode: self.id.inode,
            fingerprint: self.fingerprint.clone(),
            marker: self.marker,
            unpacked: self.unpacked,
        }
    }

    /// What of it a rotation must agree with.
    pub(super) fn fingerprint_and_marker(&self) -> (&Fingerprint, Marker) {
        (&self.fingerprint, self.marker)
    }

    pub(super) fn head(&self) -> Head {
        Head {
            input: self.id.input.0,
            offset: self.offset(),
            evidence: serde_json::to_string(&self.evidence()).unwrap_or_default(),
        }
    }

    /// What the file, now of this `size`, is to what was read of it before `from`, and just now up to `end`.
    fn state(&self, size: u64, from: u64, end: u64) -> io::Result<State> {
        let Some(file) = &self.file else {
            return Ok(State::Continued);
        };
        let offset = self.offset();
        if size < offset || !self.fingerprint.fits(file)? || !self.marker.fits(file, offset)? {
            Ok(State::Replaced)
        } else if size < end || !self.unfinished.fits(file, from)? {
            Ok(State::Rewound)
        } else {
            Ok(State::Continued)
        }
    }

    /// Reads again what was not handed over, or, where the file was cut or its content replaced, all of it: from here
    /// on it is a new source.
    fn go_back(&mut self, state: State, size: u64) {
        let old_offset = self.offset();
        let from = if state == State::Rewound {
            old_offset
        } else {
            0
        };
        let kept = if state == State::Rewound {
            size
        } else {
            old_offset
        };
        let unread_bytes = self.size.saturating_sub(kept.max(old_offset));
        warn!(
            path = %self.path.display(), old_offset, size, unread_bytes, reading_from = from,
            "file was truncated or replaced: going back"
        );
        self.size = size;
        if state == State::Rewound || self.key.is_none() {
            self.lost_bytes += unread_bytes;
        }
        if state == State::Replaced {
            self.start_over(unread_bytes);
        }
        self.read_again_from(from);
        self.read_to = from;
    }

    /// From here on it is a new source. What it was may go on elsewhere.
    fn start_over(&mut self, unread_bytes: u64) {
        let (head, evidence) = (self.head(), self.evidence());
        if let Some(key) = self.key.take() {
            self.avoid(key.clone());
            self.former.push(Former {
                key,
                head,
                evidence,
                unread_bytes,
            });
        }
        self.fingerprint = Fingerprint::default();
        self.marker = Marker::default();
        self.fresh = true;
        self.unpacked = None;
    }

    fn read_again_from(&mut self, offset: u64) {
        self.unfinished = Marker::default();
        self.splitter =
            Splitter::new(self.framing, self.record_bytes_max, offset).with_pool(&self.pool);
    }

    fn hand_over(&mut self, run: Run, out: &mut Vec<Intake>) {
        self.marker = Marker::of(&run.bytes);
        let offset = self.offset();
        if let Some(unpacker) = &self.unpacker {
            self.fingerprint
                .cover_beginning(unpacker.beginning(), offset);
        } else if let Some(file) = &self.file
            && self.packing.is_none()
            && let Err(error) = self.fingerprint.cover(file, offset)
        {
            // The records are good all the same, and the marker proves them.
            warn!(path = %self.path.display(), %error, "cannot read the file's beginning");
        }
        let batch = self.batch(run);
        out.push(batch);
    }

    fn batch(&mut self, run: Run) -> Intake {
        let skipped = run.faults.iter().map(|fault| fault.length).sum::<u64>();
        self.read_bytes += run.bytes.len() as u64 + skipped;
        // Where nothing has been passed yet, the start is still to come.
        let restart = self.fresh && self.offset() > 0;
        self.fresh &= !restart;
        let (id, fingerprint, taken) = (self.id, &self.fingerprint, &self.taken);
        let key = self
            .key
            .get_or_insert_with(|| name(id, fingerprint, taken))
            .clone();
        Intake::Batch(Batch {
            input: self.id.input,
            source: key,
            origin: Arc::clone(&self.origin),
            kind: None,
            bytes: run.bytes,
            base: run.base,
            faults: run.faults,
            restart,
            head: self.head(),
        })
    }
}

fn modified(metadata: &Metadata) -> Timestamp {
    Timestamp(
        metadata
            .mtime()
            .saturating_mul(1_000)
            .saturating_add(metadata.mtime_nsec() / 1_000_000),
    )
}

/// Two generations of an inode differ in the fingerprint; where they do not, in a sign behind it.
fn name(id: FileId, fingerprint: &Fingerprint, taken: &[SourceKey]) -> SourceKey {
    let FileId {
        input: InputId(input),
        dev,
        inode,
    } = id;
    let mut name = format!("file-{input}-{dev:x}-{inode:x}-{}", fingerprint.short());
    while taken.iter().any(|key| *key.0 == *name) {
        name.push('+');
    }
    SourceKey(name.into())
}

/// The first record of a run, as a run.
fn first_record(run: &Run) -> Option<Run> {
    let mark = lines::byte_order_mark(&run.bytes);
    let text = run.bytes.get(mark..).unwrap_or_default();
    let mut records = lines::records(text, Framing::Csv);
    let (start, record) = records.next()?;
    let end = records.next().map_or(text.len(), |(next, _)| next);
    let end = mark + end.max(start + record.len());
    Some(Run {
        base: run.base,
        bytes: run.bytes.slice(..end),
        faults: Vec::new(),
    })
}

/// Offset after the last line feed before `end`; 0 if there is none.
fn last_line_end(file: &File, mut end: u64) -> io::Result<u64> {
    while end > 0 {
        let length = end.min(READ_BYTES as u64);
        let mut block = Vec::with_capacity(READ_BYTES);
        read_at(file, &mut block, end - length)?;
        block.truncate(usize::try_from(length).unwrap_or(READ_BYTES));
        if let Some(index) = memchr::memrchr(b'\n', &block) {
            return Ok(end - length + index as u64 + 1);
        }
        end -= length;
    }
    Ok(0)
}
