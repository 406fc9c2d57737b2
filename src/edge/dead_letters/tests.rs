//! What the log keeps, over restarts, caps and takers.

use super::files::take;
use super::*;

fn letter(text: &str) -> DeadLetter {
    DeadLetter {
        reason: "no field `id`".to_owned(),
        origin: "p.jsonl:17".to_owned(),
        position: None,
        text: text.to_owned(),
        action: None,
        record: None,
    }
}

fn texts(folder: &Path) -> Vec<String> {
    let lines = open(folder).unwrap().into_iter().flatten();
    let entries = lines.filter_map(|line| line.unwrap().entry);
    entries.map(|entry| entry.letter.text).collect()
}

fn log(folder: &Path, bytes_max: u64) -> DeadLetters {
    DeadLetters::new(folder, Settings { bytes_max })
}

#[test]
fn what_is_appended_is_read_back_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["a", "b\n\"{"] {
        let mut log = log(folder.path(), 1 << 20);
        log.append(&[letter(text)]).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(texts(folder.path()), ["a", "b\n\"{"]);
    let mode = folder.path().join(CURRENT).metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_torn_line_is_skipped_and_counted_and_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path(), 1 << 20).append(&[letter("a")]).unwrap();
    let path = folder.path().join(CURRENT);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"time\":\"20");
    std::fs::write(&path, bytes).unwrap();
    log(folder.path(), 1 << 20).append(&[letter("b")]).unwrap();
    let lines: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
    let are_entries: Vec<_> = lines.iter().map(|line| line.entry.is_some()).collect();
    assert_eq!(are_entries, [true, false, true]);
}

#[test]
fn at_the_cap_it_refuses_whole_and_takes_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log(folder.path(), 300);
    log.append(&[letter("a")]).unwrap();
    let error = log.append(&[letter(&"x".repeat(300))]).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert_eq!(texts(folder.path()), ["a"]);
    for path in take(folder.path()).unwrap() {
        std::fs::remove_file(path).unwrap();
    }
    log.append(&[letter("b")]).unwrap();
    assert_eq!(texts(folder.path()), ["b"]);
}

#[test]
fn what_is_taken_grows_no_more_while_the_agent_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log(folder.path(), 1 << 20);
    log.append(&[letter("a")]).unwrap();
    let taken = take(folder.path()).unwrap();
    log.append(&[letter("b")]).unwrap();
    let again = take(folder.path()).unwrap();
    assert_eq!((taken.len(), again.len()), (1, 2));
    let first: Vec<_> = read(&taken[0])
        .unwrap()
        .map(|line| line.unwrap().entry.unwrap().letter.text)
        .collect();
    assert_eq!(first, ["a"]);
    assert_eq!(texts(folder.path()), ["a", "b"]);
}

#[test]
fn a_full_file_is_rolled_and_order_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log(folder.path(), 1 << 30);
    let large = "x".repeat(usize::try_from(ROLL_BYTES / 2).unwrap());
    for text in ["1", large.as_str(), large.as_str(), "2"] {
        log.append(&[letter(text)]).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(files(folder.path()).unwrap().len(), 2);
    let read = texts(folder.path());
    assert_eq!((read[0].as_str(), read[3].as_str()), ("1", "2"));
}
