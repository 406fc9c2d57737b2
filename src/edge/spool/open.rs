//! Opening a spool: what is on disk is walked from frame to frame, and ends where the checkpoint does.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::frame::Header;
use super::{Error, Segment, Spool, open_walk, segment};
use crate::edge::segments::sync_folder;

/// The spool in `folder`, at checkpoint number `checkpoint`: the one the engine goes on from. What came behind it is
/// cut off, since the engine makes it again; what came before is read again from the oldest segment on. `None` if
/// there is none and none is wanted (`bytes_max` is 0). Reads headers only: payloads are verified when they are read.
///
/// Without a checkpoint, inputs are read from their start and all documents made again. A spool that knows of a
/// checkpoint then is moved aside, for its inputs may be gone.
///
/// # Errors
/// [`Error::Newer`], or the disk's own.
pub fn open(
    folder: &Path,
    bytes_max: u64,
    checkpoint: Option<u64>,
) -> Result<Option<Spool>, Error> {
    let found = segment::list(folder).map_err(Error::io("list", folder))?;
    if found.is_empty() && bytes_max == 0 {
        return Ok(None);
    }
    let remains = survey(&found, checkpoint)?;
    let mut spool = Spool::new(folder, bytes_max);
    let Some(checkpoint) = checkpoint else {
        match remains.newest {
            Some(newest) if newest > 0 => set_aside(folder, newest)?,
            _ => cut(folder, &found, &[])?,
        }
        return Ok(Some(spool));
    };
    cut(folder, &found, &remains.segments)?;
    spool.checkpoint = checkpoint;
    spool.next_segment = found.last().map_or(0, |(number, _)| number + 1);
    spool.end = remains.end;
    spool.read_to = remains.first.unwrap_or(remains.end);
    if spool.unread() > 0 && !remains.is_marked {
        warn!(
            folder = %folder.display(),
            checkpoint,
            "the spool ends before the checkpoint that counts on it: documents at its end may be missing"
        );
    }
    spool.segments = remains.segments.into();
    Ok(Some(spool))
}

/// What is to be kept.
#[derive(Default)]
struct Remains {
    segments: Vec<Segment>,
    /// Number of the first document; `None`: nothing is to be kept.
    first: Option<u64>,
    /// Number after the last document that came before the checkpoint. What is missing in between shows by the numbers.
    end: u64,
    /// The place of the checkpoint was found.
    is_marked: bool,
    /// The newest checkpoint that a frame speaks of, up to that place.
    newest: Option<u64>,
}

fn survey(found: &[(u64, PathBuf)], checkpoint: Option<u64>) -> Result<Remains, Error> {
    let mut remains = Remains::default();
    for (_, path) in found {
        let length = fs::metadata(path)
            .map_err(Error::io("look at", path))?
            .len();
        let mut walk = open_walk(path)?;
        if walk.first().is_none() {
            warn!(path = %path.display(), length, "a segment of the spool has no whole header");
        }
        remains.first = remains.first.or(walk.first());
        let mut good = segment::START;
        while let Some((at, header)) = walk.next(length).map_err(Error::io("read", path))? {
            let is_behind = remains.ends_at(header, checkpoint);
            // The mark itself stays, so that the next start finds it again.
            if !is_behind || header.is_mark_of(checkpoint) {
                good = at + header.frame_length();
            } else {
                good = at;
            }
            if is_behind {
                break;
            }
        }
        if !remains.is_marked
            && let Some(header) = walk.cut_short()
        {
            remains.ends_at(header, checkpoint);
        }
        if good > segment::START {
            remains.segments.push(Segment {
                path: path.clone(),
                length: good,
                end: remains.end,
            });
        }
        if remains.is_marked {
            break;
        }
    }
    if remains.first.is_none_or(|first| first >= remains.end) {
        remains.first = None;
        remains.segments.clear();
    }
    Ok(remains)
}

impl Remains {
    /// Counts a frame in that came before the checkpoint. True if it did not.
    fn ends_at(&mut self, header: Header, checkpoint: Option<u64>) -> bool {
        self.newest = self.newest.max(Some(header.checkpoint));
        self.first.get_or_insert(header.number);
        self.is_marked = checkpoint.is_some_and(|checkpoint| checkpoint <= header.checkpoint);
        self.end = if self.is_marked {
            header.number
        } else {
            header.end()
        };
        self.is_marked
    }
}

fn set_aside(folder: &Path, checkpoint: u64) -> Result<(), Error> {
    let aside = folder.with_extension(format!("of-checkpoint-{checkpoint}"));
    fs::rename(folder, &aside).map_err(Error::io("set aside", folder))?;
    warn!(
        folder = %aside.display(),
        "there is no checkpoint, and inputs are read from their start: documents spooled before are set aside, delete the \
         folder once all inputs were read"
    );
    folder.parent().map_or(Ok(()), |parent| {
        sync_folder(parent).map_err(Error::io("fsync the folder", parent))
    })
}

/// Cuts the files to what remains, durably, so that nothing cut off can come back once there is a newer checkpoint.
/// The newest first: a crash in the middle leaves a spool that is cut again.
fn cut(folder: &Path, found: &[(u64, PathBuf)], remain: &[Segment]) -> Result<(), Error> {
    for (_, path) in found.iter().rev() {
        match remain.iter().find(|segment| segment.path == *path) {
            None => fs::remove_file(path).map_err(Error::io("delete", path))?,
            Some(segment) => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map_err(Error::io("open", path))?;
                file.set_len(segment.length)
                    .and_then(|()| file.sync_all())
                    .map_err(Error::io("cut", path))?;
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    sync_folder(folder).map_err(Error::io("fsync the folder", folder))
}
