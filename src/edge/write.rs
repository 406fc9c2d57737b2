//! The `file` output: bulk NDJSON, one file an index; no Elasticsearch.
//!
//! `edge::ship` appends and syncs before a barrier passes. A file can be sent to `_bulk` as it is. After a crash, what
//! was written behind the last checkpoint is written again; ids and versions make loading both the same as loading one. What a
//! crash cut short, half a line or an action without its document, is cut off before anything is written behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use memchr::memrchr;

use crate::edge::segments::sync_folder;
use crate::flow::document::Documents;

/// `output.file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder; made if missing.
    pub path: PathBuf,
}

/// Files open at once: today's indices, and some days of late labels. Beyond, the one opened first is synced and closed.
const OPEN_MAX: usize = 64;

/// What the lines begin with that say what becomes of the next one.
const ACTIONS: [&str; 3] = ["{\"create\":", "{\"index\":", "{\"update\":"];

/// Bytes of the longest of [`ACTIONS`].
const ACTIONS_LONGEST: usize = 10;

/// The output, open.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    open: IndexMap<Arc<str>, Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    dirty: bool,
}

/// The disk said no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of this step was written: try again later.
    #[error("cannot {doing} the output file {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What was written may be gone: stop, and replay from the last checkpoint.
    #[error("cannot fsync the output file {path}: {source}", path = path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Output {
    /// Makes the folder and finds out whether it can be written to.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let folder = settings.path.clone();
        std::fs::create_dir_all(&folder).map_err(|source| Error::Io {
            doing: "make the folder of",
            path: folder.clone(),
            source,
        })?;
        Ok(Self {
            folder,
            open: IndexMap::new(),
        })
    }

    /// Appends items from index `from` on, each to its index's file, and moves `from` along: after an error, call it
    /// again with the same `from`, and nothing is written twice.
    pub fn append(&mut self, documents: &Documents, from: &mut usize) -> Result<(), Error> {
        while let Some(first) = documents.items.get(*from) {
            // Neighbours that go to one index are one write.
            let rest = documents.items.get(*from..).unwrap_or_default();
            let index = documents.index_of(first);
            let run = rest
                .iter()
                .take_while(|item| documents.index_of(item) == index);
            let (count, end) = run.fold((0, first.lines.start), |(count, end), item| {
                (count + 1, end.max(item.lines.end))
            });
            let lines = documents
                .bytes
                .get(first.lines.start..end)
                .unwrap_or_default();
            self.append_lines(index, lines)?;
            *from += count;
        }
        Ok(())
    }

    /// Makes all that was appended survive a power cut.
    pub fn sync(&mut self) -> Result<(), Error> {
        for (index, open) in &mut self.open {
            open.sync(&self.folder, index)?;
        }
        Ok(())
    }

    fn append_lines(&mut self, index: &str, lines: &[u8]) -> Result<(), Error> {
        let path = path(&self.folder, index);
        let error = |doing| {
            let path = path.clone();
            move |source| Error::Io {
                doing,
                path,
                source,
            }
        };
        if !self.open.contains_key(index) {
            if self.open.len() >= OPEN_MAX
                && let Some((oldest, mut open)) = self.open.shift_remove_index(0)
            {
                open.sync(&self.folder, &oldest)?;
            }
            let open = Open::new(&path).map_err(error("open"))?;
            self.open.insert(index.into(), open);
        }
        let Some(open) = self.open.get_mut(index) else {
            return Ok(());
        };
        open.dirty = true;
        match open.file.write_all(lines) {
            Ok(()) => {
                open.length += lines.len() as u64;
                Ok(())
            }
            Err(source) => {
                // The next attempt begins where this one did. If even that fails, half a line stays, and shows.
                open.file.set_len(open.length).ok();
                Err(error("write")(source))
            }
        }
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let found = file.metadata()?.len();
        let length = end_of_whole(&file, found)?;
        if length < found {
            let bytes = found - length;
            tracing::warn!(path = %path.display(), offset = length, bytes, "cut off what a crash had left unfinished in an output file");
            file.set_len(length)?;
        }
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ok(Self {
            file,
            length,
            dirty: false,
        })
    }

    fn sync(&mut self, folder: &Path, index: &str) -> Result<(), Error> {
        if self.dirty {
            self.file.sync_data().map_err(|source| Error::Sync {
                path: path(folder, index),
                source,
            })?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Bytes of `file`, which is `length` long, up to the end of its last document.
fn end_of_whole(file: &File, length: u64) -> io::Result<u64> {
    let end = start_of_line(file, length)?;
    if end == 0 {
        return Ok(0);
    }
    // No document begins with the name of an action.
    let last = start_of_line(file, end - 1)?;
    let mut head = [0; ACTIONS_LONGEST];
    let size = head
        .len()
        .min(usize::try_from(end - last).unwrap_or(usize::MAX));
    let head = head.get_mut(..size).unwrap_or_default();
    file.read_exact_at(head, last)?;
    let is_action = ACTIONS
        .iter()
        .any(|action| head.starts_with(action.as_bytes()));
    Ok(if is_action { last } else { end })
}

/// Where the line begins that `before` lies in or ends: behind the last line feed before it.
fn start_of_line(file: &File, before: u64) -> io::Result<u64> {
    let mut block = [0; 16 * 1024];
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let size = usize::try_from(end - start).unwrap_or(block.len());
        let bytes = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        if let Some(at) = memrchr(b'\n', bytes) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// An index name cannot leave the folder: Elasticsearch forbids `/` in it, and so do we.
fn path(folder: &Path, index: &str) -> PathBuf {
    let name = index.replace(['/', '\\', '\0'], "_");
    folder.join(format!("{name}.ndjson"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::document::Action;

    fn documents(items: &[(&str, &str)]) -> Documents {
        let mut documents = Documents::default();
        for (key, (index, source)) in (0..).zip(items) {
            documents.add(Action::Create, index, "id", key, |out| {
                out.extend_from_slice(source.as_bytes());
            });
        }
        documents
    }

    /// A file's lines without what they have in common.
    fn sources(folder: &Path, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        text.lines().skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn append(output: &mut Output, items: &[(&str, &str)]) {
        let mut from = 0;
        output.append(&documents(items), &mut from).unwrap();
        assert_eq!(from, items.len());
    }

    #[test]
    fn each_index_has_its_file_and_lines_keep_their_order_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: folder.path().join("out"),
        };
        append(
            &mut Output::open(&settings).unwrap(),
            &[("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")],
        );
        let mut output = Output::open(&settings).unwrap();
        append(&mut output, &[("b", "5")]);
        output.sync().unwrap();
        assert_eq!(sources(&settings.path, "a.ndjson"), ["1", "2", "4"]);
        assert_eq!(sources(&settings.path, "b.ndjson"), ["3", "5"]);
    }

    #[test]
    fn more_indices_than_open_files_are_all_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(&Settings {
            path: folder.path().to_owned(),
        })
        .unwrap();
        let names: Vec<String> = (0..OPEN_MAX * 2).map(|n| format!("i{n}")).collect();
        let items: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        append(&mut output, &items);
        append(&mut output, &items);
        assert!(output.open.len() <= OPEN_MAX);
        assert_eq!(sources(folder.path(), "i0.ndjson"), ["x", "x"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_stops_there_and_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(&Settings {
            path: folder.path().to_owned(),
        })
        .unwrap();
        let obstacle = folder.path().join("b.ndjson");
        std::fs::create_dir(&obstacle).unwrap();
        let documents = documents(&[("a", "1"), ("b", "2")]);
        let mut from = 0;
        output.append(&documents, &mut from).unwrap_err();
        assert_eq!(from, 1);
        std::fs::remove_dir(&obstacle).unwrap();
        output.append(&documents, &mut from).unwrap();
        assert_eq!(sources(folder.path(), "a.ndjson"), ["1"]);
        assert_eq!(sources(folder.path(), "b.ndjson"), ["2"]);
    }

    /// Whatever a kill leaves of the last document: what is written behind it stands on its own.
    #[test]
    fn what_a_crash_cut_short_is_cut_off() {
        let whole = "{\"create\":{\"_id\":\"1\"}}\n{\"a\":1}\n";
        let next = "{\"create\":{\"_index\":\"a\",\"_id\":\"id\"}}\n{\"b\":2}\n";
        let long = format!(
            "{{\"create\":{{\"_id\":\"3\"}}}}\n{{\"c\":\"{}\"}}\n",
            "x".repeat(200_000)
        );
        for last in [next, &long] {
            let step = last.len().div_ceil(40);
            for cut in (0..last.len()).step_by(step) {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().to_owned();
                let file = path.join("a.ndjson");
                std::fs::write(&file, format!("{whole}{}", &last[..cut])).unwrap();
                let mut output = Output::open(&Settings { path }).unwrap();
                append(&mut output, &[("a", "{\"b\":2}")]);
                let found = std::fs::read_to_string(&file).unwrap();
                assert_eq!(found, format!("{whole}{next}"), "cut at {cut}");
            }
        }
    }

    #[test]
    fn an_index_name_cannot_leave_the_folder() {
        assert_eq!(
            path(Path::new("/out"), "../x"),
            Path::new("/out/.._x.ndjson")
        );
    }
}
