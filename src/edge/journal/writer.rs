//! The one thread that writes: takes what is queued, writes it, syncs once, answers each (group commit).
//!
//! While an fsync runs the next group gathers in the queue, so the slower the disk, the larger the groups: throughput
//! does not hang on the disk's latency. Driven by the commands of [`super::Journal`]; ends with `Close`, or when the last
//! handle is gone.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::AppendError;
use super::health::Health;
use super::record::{self, HEADER_LENGTH};
use super::segment::{self, Segment};
use crate::edge::segments::Medium;
use crate::flow::event::Kind;

/// Bytes written before a sync, save for a single larger payload: bounds the writer's buffer.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the buffer may keep between groups.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

type Answer = oneshot::Sender<Result<u64, AppendError>>;

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        kind: Option<Kind>,
        payload: Bytes,
        answer: Answer,
    },
    /// Look at `released`.
    Wake,
    Close {
        answer: oneshot::Sender<()>,
    },
}

/// What a new segment's file is written through.
pub(super) type MakeMedium = Box<dyn Fn(File) -> Box<dyn Medium> + Send>;

/// What a writer is made of.
pub(super) struct Parts {
    pub(super) folder: PathBuf,
    pub(super) lock: File,
    /// The last segment, open for appending.
    pub(super) file: Box<dyn Medium>,
    pub(super) medium: MakeMedium,
    /// Never empty; the last is the one being written.
    pub(super) segments: VecDeque<Segment>,
    pub(super) bytes_max: u64,
    pub(super) segment_bytes_max: u64,
    /// See [`Settings::short_lived`](crate::edge::journal::Settings::short_lived).
    pub(super) short_lived: bool,
    pub(super) durable: watch::Sender<u64>,
    pub(super) released: Arc<AtomicU64>,
    pub(super) bytes: Arc<AtomicU64>,
    pub(super) health: Health,
}

/// The writer's state. `active` describes what is durable; `buffer` and `waiting` what is on its way.
pub(super) struct Writer {
    parts: Parts,
    active: Segment,
    /// Bytes of all segments before `active`.
    closed_bytes: u64,
    buffer: Vec<u8>,
    waiting: Vec<(Answer, u64)>,
    /// Offset after the last payload in `buffer`.
    staged_end: u64,
    poisoned: Option<Arc<str>>,
    trouble: Option<AppendError>,
}

impl Writer {
    pub(super) fn new(mut parts: Parts) -> Self {
        let active = parts.segments.pop_back().unwrap_or_else(|| Segment {
            path: parts.folder.clone(),
            base: 0,
            end: 0,
            length: 0,
        });
        let closed_bytes = parts.segments.iter().map(|segment| segment.length).sum();
        let staged_end = active.end;
        let writer = Self {
            parts,
            active,
            closed_bytes,
            buffer: Vec::new(),
            waiting: Vec::new(),
            staged_end,
            poisoned: None,
            trouble: None,
        };
        writer.report_bytes();
        writer
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut closing = None;
        while let Some(first) = queue.blocking_recv() {
            self.free_released();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Append {
                        kind,
                        payload,
                        answer,
                    } => self.stage(kind, &payload, answer),
                    Command::Wake => self.end_segment(),
                    Command::Close { answer } => {
                        queue.close();
                        closing = Some(answer);
                    }
                }
                if self.buffer.len() >= GROUP_BYTES_MAX {
                    break;
                }
                next = queue.try_recv().ok();
            }
            self.flush();
        }
        // Files and lock are free before the answer.
        drop(self);
        if let Some(answer) = closing {
            answer.send(()).ok();
        }
    }

    /// Takes one payload into the group, or refuses it.
    fn stage(&mut self, kind: Option<Kind>, payload: &[u8], answer: Answer) {
        match self.admit(payload) {
            Ok(length) => {
                let offset = self.staged_end;
                record::encode(
                    kind,
                    offset,
                    self.active.end,
                    length,
                    payload,
                    &mut self.buffer,
                );
                self.staged_end += u64::from(length);
                self.waiting.push((answer, offset));
            }
            Err(error) => {
                self.note(Some(&error));
                answer.send(Err(error)).ok();
            }
        }
    }

    /// Makes sure that the payload has a place; rolls the segment where it is due.
    fn admit(&mut self, payload: &[u8]) -> Result<u32, AppendError> {
        self.check_health()?;
        let full = AppendError::Full {
            bytes_max: self.parts.bytes_max,
        };
        let length = u32::try_from(payload.len()).map_err(|_| full.clone())?;
        let size = (HEADER_LENGTH + payload.len()) as u64;
        if self.bytes() + size > self.parts.bytes_max {
            self.free_active();
            self.check_health()?;
            if self.bytes() + size > self.parts.bytes_max {
                return Err(full);
            }
        }
        let is_empty = self.staged_end == self.active.base;
        let would_be = self.active.length + self.buffer.len() as u64 + size;
        if would_be > self.parts.segment_bytes_max && !is_empty {
            self.flush();
            self.check_health()?;
            self.roll()?;
        }
        Ok(length)
    }

    fn check_health(&self) -> Result<(), AppendError> {
        match &self.poisoned {
            Some(reason) => Err(AppendError::Poisoned {
                reason: Arc::clone(reason),
            }),
            None => Ok(()),
        }
    }

    /// Bytes on disk once the group is written.
    fn bytes(&self) -> u64 {
        self.closed_bytes + self.active.length + self.buffer.len() as u64
    }

    /// Writes and syncs the group, and answers for it.
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let outcome = self.write();
        match &outcome {
            Ok(()) => {
                self.active.length += self.buffer.len() as u64;
                self.active.end = self.staged_end;
                let released = self.parts.released.load(Ordering::Relaxed);
                self.parts.health.durable(self.active.end, released);
                self.parts.durable.send_replace(self.active.end);
                self.note(None);
            }
            Err(error) => {
                self.staged_end = self.active.end;
                self.note(Some(error));
            }
        }
        self.report_bytes();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        for (answer, offset) in self.waiting.drain(..) {
            // The asker may have gone; what it sent is durable all the same.
            answer.send(outcome.clone().map(|()| offset)).ok();
        }
    }

    /// Nothing of the group is in the file after an error, unless the journal is poisoned.
    fn write(&mut self) -> Result<(), AppendError> {
        self.check_health()?;
        if let Err(error) = self.parts.file.append(&self.buffer) {
            let cut = self.parts.file.cut(self.active.length);
            return match cut {
                Ok(()) if is_no_space(&error) => Err(AppendError::NoSpace),
                Ok(()) => Err(self.poison("write", &error)),
                Err(cut) => Err(self.poison("undo a partial write", &cut)),
            };
        }
        // After a failed fsync the kernel may have dropped the pages and will say yes next time: believe nothing.
        self.parts
            .file
            .sync()
            .map_err(|error| self.poison("sync", &error))
    }

    fn poison(&mut self, action: &str, error: &io::Error) -> AppendError {
        let reason: Arc<str> =
            format!("cannot {action} {}: {error}", self.active.path.display()).into();
        self.poisoned = Some(Arc::clone(&reason));
        AppendError::Poisoned { reason }
    }

    /// Goes on in a new segment. The group must be flushed.
    fn roll(&mut self) -> Result<(), AppendError> {
        debug_assert!(self.buffer.is_empty(), "a group lies in one segment");
        match segment::create(&self.parts.folder, self.active.end) {
            Ok((file, made)) => {
                self.parts.file = (self.parts.medium)(file);
                let closed = std::mem::replace(&mut self.active, made);
                self.closed_bytes += closed.length;
                self.parts.segments.push_back(closed);
                self.report_bytes();
                Ok(())
            }
            Err(error) if is_no_space(&error) => Err(AppendError::NoSpace),
            Err(error) => Err(self.poison("start a segment after", &error)),
        }
    }

    /// Deletes the segments that a checkpoint has passed.
    fn free_released(&mut self) {
        let released = self.parts.released.load(Ordering::Relaxed);
        while let Some(first) = self.parts.segments.front()
            && first.end <= released
        {
            match fs::remove_file(&first.path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let path = first.path.display();
                    tracing::warn!(%path, %error, "cannot delete a segment of the journal");
                    return;
                }
            }
            self.closed_bytes -= first.length;
            self.parts.segments.pop_front();
            self.report_bytes();
        }
    }

    /// The quota is reached: if all of the segment being written is released too, start another and free it.
    fn free_active(&mut self) {
        self.flush();
        let released = self.parts.released.load(Ordering::Relaxed);
        let is_empty = self.active.end == self.active.base;
        if self.poisoned.is_none()
            && !is_empty
            && released >= self.active.end
            && self.roll().is_ok()
        {
            self.free_released();
        }
    }

    /// A checkpoint was saved: what it covers goes with the next at the latest, if nothing is to lie about.
    fn end_segment(&mut self) {
        if !self.parts.short_lived {
            return;
        }
        self.flush();
        let released = self.parts.released.load(Ordering::Relaxed);
        if self.poisoned.is_none() && released > self.active.base && self.roll().is_ok() {
            self.free_released();
        }
    }

    fn report_bytes(&self) {
        self.parts
            .bytes
            .store(self.closed_bytes + self.active.length, Ordering::Relaxed);
    }

    /// Logs when appending stops and when it goes again, once each.
    fn note(&mut self, trouble: Option<&AppendError>) {
        self.parts.health.appended(trouble);
        let is_still_full = matches!(self.trouble, Some(AppendError::Full { .. }))
            && self.bytes() > self.parts.bytes_max / 8 * 7;
        if self.trouble.as_ref() == trouble || (trouble.is_none() && is_still_full) {
            // Near the quota a small payload may be taken between two large ones that are not.
            return;
        }
        let folder = self.parts.folder.display();
        match trouble {
            Some(error @ AppendError::Full { .. }) => {
                tracing::warn!(%folder, %error, "the journal takes nothing");
            }
            Some(error) => tracing::error!(%folder, %error, "the journal takes nothing"),
            None => tracing::info!(%folder, "the journal takes records again"),
        }
        self.trouble = trouble.cloned();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the file gives the lock up; said here so that nobody takes the field for unused.
        self.parts.lock.unlock().ok();
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}
