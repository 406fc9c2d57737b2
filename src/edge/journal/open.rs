//! Opening a journal: what is on disk decides. Verify every record, cut a torn end, report what is missing, refuse damage.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, watch};

use super::health::Health;
use super::segment::{self, HeaderFault, Segment};
use super::writer::{self, MakeMedium, Writer};
use super::{Error, Journal, Reader, Settings, Size};
use crate::edge::segments::sync_folder;

/// Payloads that may wait for the writer. More than the receiver has connections, so a handler hardly ever waits here; the
/// bytes they hold are counted by the receiver.
const QUEUE_MAX: usize = 1024;

/// A segment is rolled at this size: large enough that rolling costs nothing, small enough that a checkpoint soon frees
/// one.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// And at this share of the quota: the segment being written cannot be freed, so it must not be most of a small quota.
const SEGMENTS_IN_QUOTA: u64 = 8;

/// A journal, open for both sides.
#[derive(Debug)]
pub struct Opened {
    /// For the receiver (append) and the agent (release, close).
    pub journal: Journal,
    /// The source.
    pub reader: Reader,
    /// What was found missing; already logged.
    pub losses: Vec<Loss>,
}

/// Something that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A torn end, cut off: written, but never answered for.
    Cut {
        /// The segment.
        path: PathBuf,
        /// Byte of the file it was cut at.
        offset: u64,
        /// Bytes cut off.
        bytes: u64,
        /// What was wrong with them.
        reason: &'static str,
    },
    /// No segment holds these offsets, though no checkpoint was past them.
    Gap {
        /// First missing offset.
        from: u64,
        /// First offset that is there again.
        to: u64,
    },
    /// The journal ends before the checkpoint (an older copy, or deleted): numbering goes on at the checkpoint, so that
    /// nothing new is taken for old.
    Behind {
        /// Its end.
        end: u64,
        /// The checkpoint.
        checkpointed: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut {
                path,
                offset,
                bytes,
                reason,
            } => {
                write!(
                    formatter,
                    "{}:{offset}: cut {bytes} torn bytes: {reason}",
                    path.display()
                )
            }
            Self::Gap { from, to } => write!(formatter, "offsets {from} to {to} are missing"),
            Self::Behind { end, checkpointed } => {
                write!(
                    formatter,
                    "it ends at {end}, before the checkpoint at {checkpointed}"
                )
            }
        }
    }
}

/// Opens the journal, or makes it. `checkpointed` is where the last durable checkpoint goes on reading: whole segments
/// below it are deleted unread. Blocks while it verifies the rest.
///
/// # Errors
/// [`Error::InUse`], [`Error::Damaged`], or the disk's own.
pub fn open(settings: &Settings, checkpointed: u64) -> Result<Opened, Error> {
    open_on(settings, checkpointed, Box::new(|file| Box::new(file)))
}

/// The same, writing through what `medium` makes of a file.
pub(super) fn open_on(
    settings: &Settings,
    checkpointed: u64,
    medium: MakeMedium,
) -> Result<Opened, Error> {
    let folder = settings.folder();
    make_folder(&folder)?;
    let lock = lock(&folder)?;
    let mut losses = Vec::new();
    let mut segments = recover(&folder, checkpointed, &mut losses)?;
    let end = segments.last().map_or(0, |last| last.end);
    if segments.is_empty() || end < checkpointed {
        if !segments.is_empty() || checkpointed > 0 {
            losses.push(Loss::Behind { end, checkpointed });
        }
        let (_, made) = segment::create(&folder, checkpointed)
            .map_err(Error::io("create a segment in", &folder))?;
        segments.push(made);
    }
    for loss in &losses {
        tracing::warn!(folder = %folder.display(), %loss, "the journal is not whole");
    }
    let last = segments
        .last()
        .map_or_else(|| folder.clone(), |last| last.path.clone());
    let file = OpenOptions::new()
        .append(true)
        .open(&last)
        .map_err(Error::io("open", &last))?;
    // What a crash left valid but unsynced is about to be read as durable.
    file.sync_all().map_err(Error::io("sync", &last))?;

    let end = segments.last().map_or(0, |last| last.end);
    let (durable_sender, durable) = watch::channel(end);
    let (commands, queue) = mpsc::channel(QUEUE_MAX);
    let released = Arc::new(AtomicU64::new(checkpointed));
    let bytes = Arc::new(AtomicU64::new(0));
    let health = Health::default();
    health.durable(end, checkpointed);
    let writer = Writer::new(writer::Parts {
        folder: folder.clone(),
        lock,
        file: medium(file),
        medium,
        segments: segments.into(),
        bytes_max: settings.bytes_max,
        short_lived: settings.short_lived,
        segment_bytes_max: SEGMENT_BYTES_MAX.min(settings.bytes_max / SEGMENTS_IN_QUOTA),
        durable: durable_sender,
        released: Arc::clone(&released),
        bytes: Arc::clone(&bytes),
        health: health.clone(),
    });
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run(queue))
        .map_err(Error::io("start the writer of", &folder))?;
    let reader = Reader::new(settings, durable.clone());
    Ok(Opened {
        journal: Journal {
            commands,
            released,
            size: Size {
                bytes,
                durable,
                health,
            },
        },
        reader,
        losses,
    })
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(Error::io("create the folder", folder))?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent).map_err(Error::io("sync the folder", parent))?;
    }
    Ok(())
}

/// Held by the writer for as long as it may write; the kernel gives it back whatever happens to the process.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

/// The good segments, in order. Deletes what is below the checkpoint and cuts a torn end.
fn recover(
    folder: &Path,
    checkpointed: u64,
    losses: &mut Vec<Loss>,
) -> Result<Vec<Segment>, Error> {
    let mut found = segment::list(folder).map_err(Error::io("list", folder))?;
    let passed = found
        .iter()
        .skip(1)
        .take_while(|(base, _)| *base <= checkpointed)
        .count();
    let are_what_they_are_named = found
        .iter()
        .take(passed + 1)
        .all(|(base, path)| segment::has_good_header(path, *base));
    let passed = if are_what_they_are_named { passed } else { 0 };
    for (_, path) in found.drain(..passed) {
        fs::remove_file(&path).map_err(Error::io("delete", &path))?;
    }
    let count = found.len();
    let mut good: Vec<Segment> = Vec::with_capacity(count);
    // The first segment may begin anywhere up to the checkpoint; offsets between the checkpoint and it are missing.
    let mut end = checkpointed;
    for (index, (base, path)) in found.into_iter().enumerate() {
        let is_last = index + 1 == count;
        if base < end && index > 0 {
            return Err(Error::Damaged {
                path,
                offset: 0,
                reason: "it overlaps the segment before it",
            });
        }
        if base > end.max(checkpointed) {
            losses.push(Loss::Gap {
                from: end.max(checkpointed),
                to: base,
            });
        }
        let segment = recover_one(path, base, is_last, losses)?;
        end = segment.end;
        good.push(segment);
    }
    Ok(good)
}

/// One segment, verified; one that is only a torn beginning is made anew.
fn recover_one(
    path: PathBuf,
    base: u64,
    is_last: bool,
    losses: &mut Vec<Loss>,
) -> Result<Segment, Error> {
    let scan = segment::scan(&path, base).map_err(Error::io("read", &path))?;
    let segment::Scan {
        end,
        good,
        length,
        bad,
        header,
    } = scan;
    if let Some(reason) = bad {
        if header == Err(HeaderFault::Newer) {
            return Err(Error::Newer { path });
        }
        let is_misplaced = header == Err(HeaderFault::Misplaced);
        let was_durable = || segment::was_durable(&path, good, end);
        if !is_last || is_misplaced || was_durable().map_err(Error::io("read", &path))? {
            return Err(Error::Damaged {
                path,
                offset: good,
                reason,
            });
        }
        losses.push(Loss::Cut {
            path: path.clone(),
            offset: good,
            bytes: length - good,
            reason,
        });
        if good < segment::START {
            fs::remove_file(&path).map_err(Error::io("delete", &path))?;
            let folder = path.parent().unwrap_or(Path::new("."));
            let made = segment::create(folder, base).map_err(Error::io("create", &path))?;
            return Ok(made.1);
        }
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        file.set_len(good).map_err(Error::io("cut", &path))?;
        file.sync_all().map_err(Error::io("sync", &path))?;
    }
    Ok(Segment {
        path,
        base,
        end,
        length: good,
    })
}
