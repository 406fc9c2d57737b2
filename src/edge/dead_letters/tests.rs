//! What the log keeps, over restarts, caps and takers.

use super::*;

fn letter(text: &str) -> DeadLetter {
    DeadLetter {
        reason: "no field `id`".to_owned(),
        origin: "p.jsonl:17".to_owned(),
        position: None,
        text: text.to_owned(),
        action: None,
        record: None,
        notifier: None,
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

/// Decides over every line by its text.
fn sieve(sitting: &Sitting, fate: impl Fn(&str) -> Fate) -> Option<std::path::PathBuf> {
    let mut handed_back = None;
    for path in sitting.files().unwrap() {
        let mut sieve = sitting.sieve(&path).unwrap();
        for line in sieve.run().unwrap() {
            let text = line.entry.as_ref().unwrap().letter.text.clone();
            sieve.put(&line, fate(&text)).unwrap();
        }
        handed_back = sieve.finish().unwrap().or(handed_back);
    }
    handed_back
}

#[test]
fn each_letter_stays_goes_or_is_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log(folder.path(), 1 << 20);
    log.append(&["stay", "go", "hand back"].map(letter))
        .unwrap();
    let sitting = Sitting::open(folder.path()).unwrap();
    let retry = sieve(&sitting, |text| match text {
        "stay" => Fate::Stay,
        "go" => Fate::Go,
        _ => Fate::HandBack,
    });
    log.append(&[letter("new")]).unwrap();
    assert_eq!(texts(folder.path()), ["stay", "new"]);
    let handed_back = read(&retry.unwrap()).unwrap();
    let handed_back: Vec<_> = handed_back
        .map(|line| line.unwrap().entry.unwrap().letter.text)
        .collect();
    assert_eq!(handed_back, ["hand back"]);
    drop(sitting);
    assert_eq!(
        sieve(&Sitting::open(folder.path()).unwrap(), |_| Fate::Go),
        None
    );
    assert_eq!(files(folder.path()).unwrap(), [] as [std::path::PathBuf; 0]);
}

#[test]
fn one_sits_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let sitting = Sitting::open(folder.path()).unwrap();
    assert!(matches!(Sitting::open(folder.path()), Err(Busy::Held(_))));
    drop(sitting);
    Sitting::open(folder.path()).unwrap();
}

/// What a kill leaves after each step of `Sieve::finish`, and that the next to sit down makes one place of two.
#[test]
fn killed_between_any_two_steps_a_letter_is_in_one_place() {
    let name = "retry-1-000001";
    let kept = "dead-letters.000001.kept-1-000001";
    // (files beside the log of two letters, letters then in the log, letters then handed back)
    let steps: [(&[&str], &[&str], usize); 4] = [
        (&[kept], &["a", "b"], 0),
        (&[kept, "retry-1-000001.new"], &["a", "b"], 0),
        (&[kept, "retry-1-000001.ndjson"], &["a"], 1),
        (&["dead-letters.000001.kept"], &["a"], 0),
    ];
    for (left, in_log, handed_back) in steps {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        log(path, 1 << 20).append(&["a", "b"].map(letter)).unwrap();
        let [log] = take(path).unwrap().try_into().unwrap();
        let bytes = std::fs::read(log).unwrap();
        let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for file in left {
            let half = if file.starts_with(name) {
                &bytes[first..]
            } else {
                &bytes[..first]
            };
            std::fs::write(path.join(file), half).unwrap();
        }
        drop(Sitting::open(path).unwrap());
        assert_eq!(texts(path), in_log, "{left:?}");
        assert_eq!(
            handed_back::files(path).unwrap().len(),
            handed_back,
            "{left:?}"
        );
        let names = std::fs::read_dir(path).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let unfinished: Vec<_> = names
            .filter(|name| name.contains(".kept") || name.contains(".new"))
            .collect();
        assert_eq!(unfinished, [] as [String; 0], "{left:?}");
    }
}

#[test]
fn a_number_is_not_given_away_while_its_file_is_being_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    log(path, 1 << 20).append(&[letter("a")]).unwrap();
    take(path).unwrap();
    // Killed when nothing was kept: the empty file is in place, and not removed yet.
    std::fs::write(path.join("dead-letters.000001.ndjson"), "").unwrap();
    log(path, 1 << 20).append(&[letter("b")]).unwrap();
    let sitting = Sitting::open(path).unwrap();
    sitting.files().unwrap();
    assert_eq!(texts(path), ["b"]);
}

#[test]
fn what_a_killed_agent_wrote_twice_is_known() {
    let at = |offset, text| DeadLetter {
        position: Some(crate::flow::event::Position {
            source: crate::flow::event::SourceKey("f".into()),
            offset,
        }),
        ..letter(text)
    };
    let mut twins = Twins::default();
    assert!(twins.is_new(&at(1, "a")));
    assert!(!twins.is_new(&at(1, "a")));
    assert!(twins.is_new(&at(2, "a")));
    // The file began anew, with another record in the same place.
    assert!(twins.is_new(&at(1, "b")));
}
