//! The log of resting windows: rows as they came, and in memory where the newest of each lies.
//!
//! `<number, 20 digits>.windows`: a header, then records, whose "ticket" says whether the row is kept or gone. How much of
//! it counts is said by the notes in the log of predictions ([`Seen`]): what is behind that was never finished. It is written
//! anew, with the next number, once most of it is outdated.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::record::{self, Fault, HEAD, Record, START, Seen, Walk, Writing};
use crate::edge::segments;
use crate::flow::windows::{RowKey, RowsDelta};

/// What the name of a log ends in.
pub(super) const SUFFIX: &str = ".windows";

const MAGIC: [u8; 8] = *b"MBWIND\r\n";

const KEPT: u64 = 0;
const GONE: u64 = 1;

/// Bytes that may be outdated, beside as many as are not.
const OUTDATED_MOST: u64 = 1 << 20;

/// The rows of resting windows.
#[derive(Debug, Default)]
pub(super) struct Windows {
    folder: PathBuf,
    log: Option<Log>,
    /// Where each row lies, and how many bytes its record has.
    rows: BTreeMap<RowKey, (u64, u64)>,
    /// Bytes of the records in `rows`.
    live: u64,
}

#[derive(Debug)]
struct Log {
    number: u64,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Windows {
    /// The log that a note names.
    pub(super) fn open(folder: &Path, seen: Seen) -> Result<Self, Fault> {
        let mut windows = Self {
            folder: folder.to_owned(),
            ..Self::default()
        };
        if seen.windows == 0 {
            return Ok(windows);
        }
        let path = folder.join(segments::name_of(seen.windows, SUFFIX));
        let log = Log::open(path, seen.windows, seen.windows_length)?;
        let damaged = || Fault::altered(&log.path);
        record::read_header(&log.file, &log.path, MAGIC, log.number)?.ok_or_else(damaged)?;
        if log.file.metadata().map_err(Fault::io(&log.path))?.len() < log.length {
            return Err(damaged());
        }
        let mut walk = Walk::new(&log.file, START, log.length);
        while let Some((at, record)) = walk.next().map_err(Fault::io(&log.path))? {
            let (key, _) = postcard::take_from_bytes(record.bytes).map_err(|_| damaged())?;
            let length = (HEAD + record.bytes.len()) as u64;
            windows.learn(key, (record.ticket == KEPT).then_some((at, length)));
        }
        if walk.at() != log.length {
            return Err(damaged());
        }
        windows.log = Some(log);
        Ok(windows)
    }

    /// The bytes of a row.
    pub(super) fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, Fault> {
        let (Some(log), Some((at, _))) = (&self.log, self.rows.get(key)) else {
            return Ok(None);
        };
        let damaged = || Fault::altered(&log.path);
        let mut buffer = Vec::new();
        let record = record::read_at(&log.file, *at, log.length, &mut buffer)
            .map_err(Fault::io(&log.path))?;
        let (found, bytes) = postcard::take_from_bytes::<RowKey>(record.ok_or_else(damaged)?.bytes)
            .map_err(|_| damaged())?;
        if found == *key {
            Ok(Some(bytes.to_vec()))
        } else {
            Err(damaged())
        }
    }

    /// Writes what changed, durably, and says in `seen` where it is. Returns a log that is of no use once that is noted.
    pub(super) fn append(
        &mut self,
        delta: &RowsDelta,
        seen: &mut Seen,
    ) -> Result<Option<PathBuf>, Fault> {
        if !delta.is_empty() {
            let log = match self.log.take() {
                Some(log) => log,
                None => Log::create(&self.folder, seen.windows + 1)?,
            };
            let log = self.log.insert(log);
            let mut writing = log.writing()?;
            let mut learnt = Vec::new();
            for key in &delta.gone {
                write(&mut writing, GONE, key, &[])?;
                learnt.push((*key, None));
            }
            for (key, row) in &delta.kept {
                learnt.push((*key, Some(write(&mut writing, KEPT, key, row)?)));
            }
            log.length = writing.end()?;
            for (key, place) in learnt {
                self.learn(key, place);
            }
        }
        let log = self.log.as_ref();
        let is_outdated = log.is_some_and(|log| log.length > 2 * self.live + OUTDATED_MOST);
        let outdated = if is_outdated { self.rewrite()? } else { None };
        if let Some(log) = &self.log {
            (seen.windows, seen.windows_length) = (log.number, log.length);
        }
        Ok(outdated)
    }

    /// Writes what is not outdated to a log of its own; returns the one before.
    fn rewrite(&mut self) -> Result<Option<PathBuf>, Fault> {
        let Some(old) = &self.log else {
            return Ok(None);
        };
        let mut log = Log::create(&self.folder, old.number + 1)?;
        let mut rows = BTreeMap::new();
        let mut writing = log.writing()?;
        for key in self.rows.keys() {
            let row = self.row(key)?.unwrap_or_default();
            rows.insert(*key, write(&mut writing, KEPT, key, &row)?);
        }
        log.length = writing.end()?;
        self.rows = rows;
        Ok(self.log.replace(log).map(|old| old.path))
    }

    fn learn(&mut self, key: RowKey, place: Option<(u64, u64)>) {
        let old = match place {
            Some(place) => self.rows.insert(key, place),
            None => self.rows.remove(&key),
        };
        self.live += place.map_or(0, |(_, length)| length);
        self.live -= old.map_or(0, |(_, length)| length);
    }
}

impl Log {
    fn create(folder: &Path, number: u64) -> Result<Self, Fault> {
        // What a crash, or a full disk, left of an earlier try: no note names it.
        let path = folder.join(segments::name_of(number, SUFFIX));
        fs::remove_file(&path).ok();
        let made = segments::create(
            folder,
            number,
            SUFFIX,
            &record::header(MAGIC, number, Seen::default()),
        );
        made.map_err(Fault::io(folder))?;
        Self::open(path, number, START)
    }

    fn open(path: PathBuf, number: u64, length: u64) -> Result<Self, Fault> {
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(Fault::io(&path))?;
        Ok(Self {
            number,
            path,
            file,
            length,
        })
    }

    /// To write behind what counts.
    fn writing(&self) -> Result<Writing<'_>, Fault> {
        Writing::behind(&self.file, &self.path, self.length)
    }
}

/// Where the record lies, and how many bytes it has.
fn write(
    writing: &mut Writing<'_>,
    ticket: u64,
    key: &RowKey,
    row: &[u8],
) -> Result<(u64, u64), Fault> {
    // A key is three numbers: the encoder has no reason to fail.
    let mut content = postcard::to_stdvec(key).unwrap_or_default();
    content.extend_from_slice(row);
    writing.write(&Record {
        ticket,
        flags: 0,
        bytes: &content,
    })
}
