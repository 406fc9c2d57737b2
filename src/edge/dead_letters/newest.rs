//! The newest letters, without their texts: what a page shows of a log that may hold a GiB.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use super::files;

/// Bytes read of the log's end. A letter that is longer than this alone is not shown.
const TAIL_BYTES: u64 = 256 << 10;

/// What is shown of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// When it was refused: RFC 3339, UTC.
    pub time: String,
    /// Why.
    pub reason: String,
    /// Where it came from.
    pub origin: String,
    /// A document that was refused, not a record that became none.
    pub is_document: bool,
}

/// A line of the log, but for its text, which is passed over.
#[derive(Deserialize)]
struct Line {
    time: String,
    reason: String,
    origin: String,
    action: Option<serde::de::IgnoredAny>,
}

/// The newest letters in this data folder, `count` at most, the newest first: as many of them as stand in the last 256 KiB
/// of the newest file that has any.
///
/// # Errors
/// The log cannot be read.
pub fn newest(folder: &Path, count: usize) -> io::Result<Vec<Newest>> {
    for path in files(folder)?.iter().rev() {
        let found = match end_of(path) {
            Ok(bytes) => letters(&bytes, count),
            // A command has just finished with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    // Bounded, though the agent may append meanwhile.
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is cut short, at either end, is no letter.
fn letters(bytes: &[u8], count: usize) -> Vec<Newest> {
    let lines = bytes.rsplit(|byte| *byte == b'\n');
    let read = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    read.take(count)
        .map(|line| Newest {
            time: line.time,
            reason: line.reason,
            origin: line.origin,
            is_document: line.action.is_some(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::dead_letters::{DeadLetters, Settings, take};
    use crate::flow::document::DeadLetter;

    fn letter(reason: &str, text: &str, action: Option<&str>) -> DeadLetter {
        DeadLetter {
            reason: reason.to_owned(),
            origin: "p.jsonl:17".to_owned(),
            position: None,
            text: text.to_owned(),
            action: action.map(str::to_owned),
            record: None,
            notifier: None,
        }
    }

    fn reasons(folder: &Path, count: usize) -> Vec<String> {
        let newest = newest(folder, count).unwrap();
        newest.into_iter().map(|letter| letter.reason).collect()
    }

    #[test]
    fn the_newest_come_first_also_of_a_log_that_was_rolled() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path(), 9).unwrap(), []);
        let mut log = DeadLetters::new(folder.path(), Settings::default());
        log.append(&[
            letter("first", "x", None),
            letter("second", "x", Some("{}")),
            letter("third", "x", None),
        ])
        .unwrap();
        assert_eq!(reasons(folder.path(), 2), ["third", "second"]);
        take(folder.path()).unwrap();
        assert_eq!(reasons(folder.path(), 9), ["third", "second", "first"]);
        let kinds = newest(folder.path(), 9).unwrap();
        let kinds: Vec<_> = kinds.iter().map(|letter| letter.is_document).collect();
        assert_eq!(kinds, [false, true, false]);
        log.append(&[letter("fourth", "x", None)]).unwrap();
        assert_eq!(reasons(folder.path(), 9), ["fourth"]);
    }

    #[test]
    fn a_line_that_is_cut_or_too_long_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = DeadLetters::new(folder.path(), Settings::default());
        let long = "x".repeat(usize::try_from(TAIL_BYTES).unwrap());
        log.append(&[letter("long", &long, None)]).unwrap();
        assert_eq!(reasons(folder.path(), 9), [""; 0]);
        log.append(&[letter("short", "x", None)]).unwrap();
        let path = &files(folder.path()).unwrap()[0];
        let mut bytes = std::fs::read(path).unwrap();
        bytes.extend_from_slice(b"{\"time\":\"20");
        std::fs::write(path, bytes).unwrap();
        assert_eq!(reasons(folder.path(), 9), ["short"]);
    }
}
