//! Compressed files as logs: a stream of unpacked bytes whose offsets are those of the file that was compressed.
//!
//! A stream goes forward only; to go on at an offset is to unpack again up to it. Memory is the decoder's window and two
//! small proofs (the beginning, and what was unpacked last), whatever the file unpacks to. Whose rotation a file is,
//! [`Inspection`](super::inspection::Inspection) finds out.

mod zstd;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::identity::{FINGERPRINT_BYTES, MARKER_BYTES};
use zstd::Frames;

/// Compressed bytes read at a time.
const INPUT_BYTES: usize = 64 * 1024;

/// How a file is compressed, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// `None`: not compressed.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        let is = |word: &str| extension.eq_ignore_ascii_case(word);
        if is("gz") {
            Some(Self::Gzip)
        } else if is("zst") || is("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// Why no more can be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(io::Error),
    /// It ends too early: its writer is not done, or never will be.
    #[error("it ends too early, as if its writer had been stopped")]
    Short,
    /// It is not what its name says, or was damaged.
    #[error("{0}")]
    Corrupt(String),
}

/// A compressed file on its way through its decoder.
pub(super) struct Unpacker {
    decoder: Decoder,
    position: u64,
    beginning: Vec<u8>,
    last: Vec<u8>,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<BufReader<Raw>>>),
    Zstd(Box<Frames<BufReader<Raw>>>),
}

impl Unpacker {
    /// At its start.
    pub(super) fn new(file: &File, packing: Packing) -> io::Result<Self> {
        let raw = Raw {
            file: file.try_clone()?,
            position: 0,
            is_at_end: false,
            failure: None,
        };
        let input = BufReader::with_capacity(INPUT_BYTES, raw);
        let decoder = match packing {
            Packing::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Packing::Zstd => Decoder::Zstd(Box::new(Frames::new(input))),
        };
        Ok(Self {
            decoder,
            position: 0,
            beginning: Vec::new(),
            last: Vec::new(),
        })
    }

    /// Appends up to `length` unpacked bytes; 0 at the end of the whole file.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<usize, Broken> {
        let start = buffer.len();
        buffer.resize(start + length, 0);
        let room = buffer.get_mut(start..).unwrap_or_default();
        let read = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.read(room),
            Decoder::Zstd(decoder) => decoder.read(room),
        };
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(read) => {
                self.remember(buffer.get(start..).unwrap_or_default());
                Ok(read)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Offset of the next unpacked byte.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Compressed bytes that were read so far.
    pub(super) fn packed_position(&self) -> u64 {
        self.raw().position
    }

    /// The first unpacked bytes, as many as a fingerprint may cover.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// The bytes before the position, as many as a marker may cover.
    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.position += bytes.len() as u64;
        let missing = FINGERPRINT_BYTES.saturating_sub(self.beginning.len());
        let first = bytes.get(..missing).unwrap_or(bytes);
        self.beginning.extend_from_slice(first);
        let new = bytes.len().saturating_sub(MARKER_BYTES);
        self.last
            .extend_from_slice(bytes.get(new..).unwrap_or_default());
        let surplus = self.last.len().saturating_sub(MARKER_BYTES);
        self.last.drain(..surplus);
    }

    fn broken(&mut self, error: &io::Error) -> Broken {
        let raw = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut().get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut().get_mut(),
        };
        if let Some(failure) = raw.failure.take() {
            Broken::Disk(failure)
        } else if raw.is_at_end {
            Broken::Short
        } else {
            Broken::Corrupt(error.to_string())
        }
    }

    fn raw(&self) -> &Raw {
        match &self.decoder {
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Unpacker")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The compressed bytes, and what went wrong with them: decoders wrap errors beyond recognition.
struct Raw {
    file: File,
    position: u64,
    /// More was asked for than there is.
    is_at_end: bool,
    failure: Option<io::Error>,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::retry_on_intr(|| {
            rustix::io::pread(&self.file, &mut *buffer, self.position)
        }) {
            Ok(read) => {
                self.position += read as u64;
                self.is_at_end |= read == 0 && !buffer.is_empty();
                Ok(read)
            }
            Err(error) => {
                self.failure = Some(error.into());
                Err(error.into())
            }
        }
    }
}

/// True if a reader has no more bytes.
fn is_empty(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.is_empty())
}

#[cfg(test)]
mod tests;
